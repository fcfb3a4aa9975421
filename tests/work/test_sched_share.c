/* SPDX-License-Identifier: Apache-2.0 */
/* Parts of one task on several threads: who does them, how many at once, for whom
 * first.
 */
#include "config.h"

#include <unistd.h>

#include "tests/work/sched_world.h"

#define PARTS 40
#define PATIENCE_S 20

/* Block x of the grid does its parts, then is what fake_block makes of it. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int gather;   /* parts wait until so many are under way together */
	bool gate[2]; /* of block 0, 1: parts wait */
	int fail[2];  /* parts that fail, -1: none */
	int seen[2][PARTS];
	int inside, most; /* parts under way */
	pthread_t owner[2];
	int helped[2]; /* parts begun by another thread */
	int first;     /* block that was helped first since this was -1 */
} parts = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void
parts_reset(int gather)
{
	pthread_mutex_lock(&parts.lock);
	memset(parts.seen, 0, sizeof parts.seen);
	parts.gather = gather;
	parts.gate[0] = parts.gate[1] = false;
	parts.fail[0] = parts.fail[1] = -1;
	parts.inside = parts.most = parts.helped[0] = parts.helped[1] = 0;
	parts.first = -1;
	pthread_mutex_unlock(&parts.lock);
}

static void
parts_wait(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 1;
	pthread_cond_timedwait(&parts.changed, &parts.lock, &t);
}

static int
part(void *arg, size_t i, struct fg_err *err)
{
	int b = *(const int *)arg, rc = 0;
	int64_t deadline = fg_clock_ns() + PATIENCE_S * FG_NS_PER_S;

	pthread_mutex_lock(&parts.lock);
	parts.seen[b][i]++;
	parts.inside++;
	parts.most = FG_MAX(parts.most, parts.inside);
	if (!pthread_equal(pthread_self(), parts.owner[b])) {
		parts.helped[b]++;
		parts.first = parts.first < 0 ? b : parts.first;
	}
	pthread_cond_broadcast(&parts.changed);
	while ((parts.most < parts.gather || parts.gate[b]) && fg_clock_ns() < deadline)
		parts_wait();
	/* Those behind are not all done before the failing ones have told. */
	if (parts.fail[0] >= 0 && (int)i > parts.fail[0]) {
		pthread_mutex_unlock(&parts.lock);
		usleep(20000);
		pthread_mutex_lock(&parts.lock);
	}
	if (parts.fail[0] == (int)i || parts.fail[1] == (int)i)
		rc = fg_fail(err, FG_EINVAL, "part %zu cannot be done", i);
	parts.inside--;
	pthread_mutex_unlock(&parts.lock);
	return rc;
}

static int
run_parts(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err)
{
	int64_t blk[3];
	int b;

	if (t->key.kind != FG_KIND_BLOCK)
		return fg_fail(err, FG_ECANCELED, "not now");
	fg_morton_decode(t->key.at, blk);
	b = blk[0] & 1;
	pthread_mutex_lock(&parts.lock);
	parts.owner[b] = pthread_self();
	pthread_mutex_unlock(&parts.lock);
	if (env->share(env->ctx, t, PARTS, part, &b, err) < 0)
		return -1;
	return fake_block(t, out, err);
}

static int
get(const int *what)
{
	pthread_mutex_lock(&parts.lock);
	int v = *what;
	pthread_mutex_unlock(&parts.lock);
	return v;
}

static void
open_gate(int b)
{
	pthread_mutex_lock(&parts.lock);
	parts.gate[b] = false;
	pthread_cond_broadcast(&parts.changed);
	pthread_mutex_unlock(&parts.lock);
}

static int
once(int b)
{
	int n = 0;

	for (int i = 0; i < PARTS; i++)
		n += get(&parts.seen[b][i]) == 1;
	return n;
}

static void
begin_parts(struct world *w, int cpu_threads)
{
	begin(w,
	    &(struct fg_sched_options){.run = run_parts, .cpu_threads = cpu_threads});
}

static void
test_threads(void)
{
	for (int threads = 1; threads <= 5; threads += 2) {
		struct fg_err err = FG_ERR_INIT;
		struct world w;
		struct viewer v;

		parts_reset(threads);
		begin_parts(&w, threads);
		viewer_init(&v, &w);
		ask(&w, 0, 0, FG_INTERACTIVE, &v, &err);
		WAIT(wakes(&v) == 1);
		tap_int(v.how, FG_WAKE_BYTES, "%d threads: the block is made", threads);
		tap_int(once(0), PARTS, "each part was done once");
		tap_int(get(&parts.most), threads, "so many at a time");
		end(&w);
	}
}

static void
test_failure(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct world w;
	struct viewer v;

	parts_reset(1);
	parts.fail[0] = 9;
	parts.fail[1] = 6;
	begin_parts(&w, 4);
	viewer_init(&v, &w);
	ask(&w, 0, 0, FG_INTERACTIVE, &v, &err);
	WAIT(wakes(&v) == 1);
	tap_int(v.how, FG_WAKE_FAILED, "two parts fail");
	tap_ok(strstr(v.why, "part 6") != NULL, "the task fails by the first: %s",
	    v.why);
	tap_int(get(&parts.seen[0][PARTS - 1]), 0, "the last ones are not begun");
	end(&w);
}

/* Two threads. A task whose viewer left is helped; somebody else's comes, and the
 * helper goes over to it. */
static void
test_first(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct world w;
	struct viewer left, v;

	parts_reset(1);
	parts.gate[0] = parts.gate[1] = true;
	begin_parts(&w, 3);
	viewer_init(&left, &w);
	viewer_init(&v, &w);
	ask(&w, 0, 0, FG_INTERACTIVE, &left, &err);
	WAIT(get(&parts.helped[0]) == 2);
	tap_ok(fg_sched_leave(w.sched, &left.w), "a viewer leaves");
	ask(&w, 1, 0, FG_INTERACTIVE, &v, &err);
	WAIT(get(&parts.inside) == 4);
	tap_int(get(&parts.helped[1]), 0, "nobody is free for the next one's task");
	pthread_mutex_lock(&parts.lock);
	parts.first = -1;
	pthread_mutex_unlock(&parts.lock);
	open_gate(0);
	WAIT(get(&parts.first) >= 0);
	tap_int(get(&parts.first), 1, "who becomes free helps that first");
	open_gate(1);
	WAIT(wakes(&v) == 1);
	WAIT(stats(&w).done == 2);
	tap_int(once(0) + once(1), 2 * PARTS, "all parts were done once");
	end(&w);
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	test_threads();
	test_failure();
	test_first();
	return tap_done();
}
