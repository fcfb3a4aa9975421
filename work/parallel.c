/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A loop on several threads: each takes the next index from one counter until there is
 * none or somebody failed. The failure that is returned is that of the lowest index
 * among those seen, so that messages do not depend on timing more than they must.
 */
#include "config.h"

#include "work/parallel.h"

#include <pthread.h>
#include <sched.h>

#define THREADS_MAX 64

struct loop {
	size_t n;
	int (*fn)(void *ctx, size_t i, struct fg_err *err);
	void *ctx;
	const _Atomic bool *cancel;
	_Atomic size_t next;
	_Atomic bool stop;
	pthread_mutex_t lock;
	size_t failed_at;  /* guarded by lock */
	struct fg_err err; /* guarded by lock */
};

int
fg_parallel_cores(void)
{
	cpu_set_t set;

	if (sched_getaffinity(0, sizeof set, &set) < 0)
		return 1;
	int n = CPU_COUNT(&set);
	return n < 1 ? 1 : n > THREADS_MAX ? THREADS_MAX : n;
}

static void
note_failure(struct loop *l, size_t i, const struct fg_err *e)
{
	pthread_mutex_lock(&l->lock);
	if (l->err.code == FG_OK || i < l->failed_at) {
		l->err = *e;
		l->failed_at = i;
	}
	pthread_mutex_unlock(&l->lock);
	l->stop = true;
}

static void *
run(void *arg)
{
	struct loop *l = arg;

	while (!l->stop) {
		size_t i = l->next++;
		struct fg_err e = FG_ERR_INIT;

		if (i >= l->n)
			break;
		if (l->cancel && *l->cancel) {
			fg_fail(&e, FG_ECANCELED, "interrupted");
			note_failure(l, i, &e);
		} else if (l->fn(l->ctx, i, &e) < 0) {
			fg_assert(e.code != FG_OK);
			note_failure(l, i, &e);
		}
	}
	return NULL;
}

int
fg_parallel_for(size_t n, int threads,
    int (*fn)(void *ctx, size_t i, struct fg_err *err), void *ctx,
    const _Atomic bool *cancel, struct fg_err *err)
{
	struct loop l = {.n = n, .fn = fn, .ctx = ctx, .cancel = cancel};
	pthread_t id[THREADS_MAX];
	int more = 0;

	l.err = FG_ERR_INIT;
	pthread_mutex_init(&l.lock, NULL);
	while (more + 1 < threads && more < THREADS_MAX && (size_t)more + 1 < n) {
		if (pthread_create(&id[more], NULL, run, &l) != 0)
			break;
		more++;
	}
	run(&l);
	for (int i = 0; i < more; i++)
		pthread_join(id[i], NULL);
	pthread_mutex_destroy(&l.lock);
	if (l.err.code != FG_OK)
		return fg_fail(err, l.err.code, "%s", l.err.msg);
	return 0;
}
