/* SPDX-License-Identifier: Apache-2.0 */
/* The parallel loop: every item once, the first failure wins, cancelling stops it. */
#include "config.h"

#include "work/parallel.h"

#include "tests/tap.h"

#define N 10000

struct seen {
	_Atomic int times[N];
	_Atomic int sum;
	size_t fail_at; /* N: nowhere */
	_Atomic bool cancel;
	size_t cancel_at;
};

static int
visit(void *ctx, size_t i, struct fg_err *err)
{
	struct seen *s = ctx;

	s->times[i]++;
	s->sum++;
	if (i == s->cancel_at)
		s->cancel = true;
	if (i >= s->fail_at)
		return fg_fail(err, FG_EIO, "item %zu", i);
	return 0;
}

static struct seen *
fresh(size_t fail_at, size_t cancel_at)
{
	struct seen *s = fg_calloc(1, sizeof *s);

	s->fail_at = fail_at;
	s->cancel_at = cancel_at;
	return s;
}

static void
test_all(int threads)
{
	struct seen *s = fresh(N, N);
	struct fg_err err = FG_ERR_INIT;
	int wrong = 0;

	tap_rc(fg_parallel_for(N, threads, visit, s, &s->cancel, &err), &err,
	    "the loop");
	for (int i = 0; i < N; i++)
		wrong += s->times[i] != 1;
	tap_int(wrong, 0, "%d threads: every item once", threads);
	free(s);
}

int
main(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct seen *s;

	tap_ok(fg_parallel_cores() >= 1, "there is a core");
	test_all(1);
	test_all(2);
	test_all(64);
	test_all(1000);

	s = fresh(100, N);
	tap_fails(fg_parallel_for(N, 8, visit, s, NULL, &err), &err, FG_EIO, "item ",
	    "a failure is returned");
	tap_ok(s->sum >= 101 && s->sum < N, "and stops the loop (after %d items)",
	    s->sum);
	free(s);
	s = fresh(100, N);
	tap_fails(fg_parallel_for(N, 1, visit, s, NULL, &err), &err, FG_EIO, "item 100",
	    "on one thread it is the first");
	tap_int(s->sum, 101, "with nothing begun after it");
	free(s);
	s = fresh(N, 200);
	tap_fails(fg_parallel_for(N, 1, visit, s, &s->cancel, &err), &err, FG_ECANCELED,
	    "interrupted", "cancelling is a failure of its own");
	tap_int(s->sum, 201, "and stops the loop");
	free(s);
	s = fresh(0, N);
	tap_rc(fg_parallel_for(0, 4, visit, s, NULL, &err), &err, "no items");
	tap_int(s->sum, 0, "no calls");
	free(s);
	return tap_done();
}
