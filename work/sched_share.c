/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parts of one task on several threads: what somebody waits for is to be there as soon
 * as the machine's idle processors allow.
 *
 * The task's own thread does its parts one after the other. Helpers, one less than
 * there are cpu threads, do nothing but take further parts off it, as long as tasks
 * that are under way and helpers together are no more than the cpu threads; those that
 * flood for a job do not count, for they give way to a viewer. A helper asks again
 * before each part, so it is in nobody's way for longer than one takes. Which thread
 * does what makes no difference to what comes out.
 */
#include "config.h"

#include "work/sched_priv.h"

/* A call of fg_sched_share, on its stack. Guarded by the scheduler's lock. */
struct share {
	struct share *next;
	const struct fg_task *task;
	size_t n, at; /* parts, and those begun */
	int (*fn)(void *arg, size_t i, struct fg_err *err);
	void *arg;
	int helpers; /* in it now */
	pthread_cond_t left;
	size_t failed_at; /* the lowest that is known to have failed */
	struct fg_err err;
};

static bool
has_more(const struct share *h)
{
	return h->at < h->n && h->err.code == FG_OK;
}

/* Under the lock, which is given up meanwhile. */
static void
do_next(struct fg_sched *s, struct share *h)
{
	struct fg_err e = FG_ERR_INIT;
	size_t i = h->at++;
	int rc;

	pthread_mutex_unlock(&s->lock);
	rc = h->fn(h->arg, i, &e);
	pthread_mutex_lock(&s->lock);
	if (rc < 0 && (h->err.code == FG_OK || i < h->failed_at)) {
		h->failed_at = i;
		h->err = e;
	}
}

int
fg_sched_share(void *ctx, const struct fg_task *t, size_t n,
    int (*fn)(void *arg, size_t i, struct fg_err *err), void *arg, struct fg_err *err)
{
	struct fg_sched *s = ctx;
	struct share h = {.task = t, .n = n, .fn = fn, .arg = arg}, **p;

	h.err = FG_ERR_INIT;
	pthread_cond_init(&h.left, NULL);
	pthread_mutex_lock(&s->lock);
	for (p = &s->share; *p; p = &(*p)->next)
		;
	*p = &h;
	while (has_more(&h)) {
		/* Each time: others may have become free. */
		if (h.at + 1 < n)
			pthread_cond_broadcast(&s->sharing);
		do_next(s, &h);
	}
	for (p = &s->share; *p != &h; p = &(*p)->next)
		;
	*p = h.next;
	while (h.helpers > 0)
		pthread_cond_wait(&h.left, &s->lock);
	pthread_mutex_unlock(&s->lock);
	pthread_cond_destroy(&h.left);
	if (h.err.code != FG_OK)
		return fg_fail(err, h.err.code, "%s", h.err.msg);
	return 0;
}

/* What a helper may do a part of, or NULL. Under the lock. */
static struct share *
pick(const struct fg_sched *s)
{
	struct share *found = NULL;
	int busy = s->helping;

	for (const struct task *t = s->running.first; t; t = t->next)
		busy +=
		    !fg_sched_kind_floods(t->t.key.kind) || t->t.cls == FG_INTERACTIVE;
	if (busy >= s->opt.cpu_threads)
		return NULL;
	for (struct share *h = s->share; h; h = h->next) {
		if (has_more(h) && (!found || h->task->cls < found->task->cls))
			found = h;
	}
	return found;
}

void *
fg_sched_help(void *arg)
{
	struct fg_sched *s = arg;

	pthread_mutex_lock(&s->lock);
	while (!s->quit) {
		struct share *h = pick(s);

		if (!h) {
			pthread_cond_wait(&s->sharing, &s->lock);
			continue;
		}
		s->helping++;
		h->helpers++;
		do_next(s, h);
		s->helping--;
		if (--h->helpers == 0)
			pthread_cond_signal(&h->left);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}
