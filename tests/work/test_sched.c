/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler: asking, waiting, leaving, failing, calls. */
#include "config.h"

#include "tests/work/sched_world.h"

static void
test_coalescing(void)
{
	struct world w;
	struct viewer v[40];
	struct fg_err err = FG_ERR_INIT;
	int parked = 0, good = 0;

	fake_reset(true);
	begin(&w, NULL);
	for (int i = 0; i < 40; i++) {
		viewer_init(&v[i], &w);
		parked +=
		    ask(&w, 1, i % 8, FG_INTERACTIVE, &v[i], &err) == FG_WANT_PARKED;
	}
	tap_int(parked, 40, "forty wants of one block's chunks are parked");
	tap_int(stats(&w).waiters, 40, "forty wait");
	WAIT(fake_get(&fake.started) == 1);
	fake_release();
	for (int i = 0; i < 40; i++)
		WAIT(wakes(&v[i]) == 1);
	for (int i = 0; i < 40; i++)
		good +=
		    v[i].how == FG_WAKE_BYTES && v[i].committed &&
		    v[i].id == fg_recipe_id(w.layer->recipe, (int64_t[3]){1, 0, 0}, 1);
	tap_int(good, 40, "forty get the bytes, after the commit");
	tap_int(fake_get(&fake.started), 1, "one generation");
	tap_int(stats(&w).coalesced, 39, "thirty-nine joined it");
	tap_int(stats(&w).waiters, 0, "nobody waits");
	tap_int(ask(&w, 1, 3, FG_INTERACTIVE, &v[0], &err), FG_WANT_READY,
	    "then it is there");
	end(&w);
}

static void
test_queue(void)
{
	struct world w;
	struct viewer v[6];
	struct fg_err err = FG_ERR_INIT;

	/* 120 s at 30 s a block not measured yet: four may wait. */
	fake_reset(true);
	begin(&w, NULL);
	for (int i = 0; i < 6; i++)
		viewer_init(&v[i], &w);
	ask(&w, 0, 0, FG_INTERACTIVE, &v[0], &err);
	WAIT(fake_get(&fake.started) == 1);
	for (int i = 1; i < 5; i++)
		tap_int(ask(&w, i, 0, FG_INTERACTIVE, &v[i], &err), FG_WANT_PARKED,
		    "waiting block %d", i);
	tap_int(ask(&w, 5, 0, FG_INTERACTIVE, &v[5], &err), FG_WANT_REFUSED,
	    "the fifth is refused");
	tap_ok(err.code == FG_EBUSY && strstr(err.msg, "waiting"), "with a reason: %s",
	    err.msg);
	fg_err_clear(&err);
	tap_int(ask(&w, 4, 1, FG_INTERACTIVE, &v[5], &err), FG_WANT_PARKED,
	    "joining is not refused");
	tap_int(fake_get(&fake.most), 1, "one interactive block at a time");
	fake_release();
	for (int i = 0; i < 6; i++)
		WAIT(wakes(&v[i]) == 1);
	tap_ok(fake.order[1] == fg_morton_encode((int64_t[3]){4, 0, 0}),
	    "the block asked for twice comes first");
	tap_ok(fake.order[2] == fg_morton_encode((int64_t[3]){1, 0, 0}) &&
		   fake.order[3] == fg_morton_encode((int64_t[3]){2, 0, 0}),
	    "then first come first served");
	tap_int(fake.floods[0], 0, "an interactive block speculates on all devices");
	tap_ok(stats(&w).block_s > 0, "block time is measured");
	fake_reset(true);
	/* Measured now: milliseconds a block, so thousands may wait. */
	for (int i = 0; i < 5; i++) {
		struct fg_key key = chunk_key(&w, 0, 2 * i, 2, 0);

		viewer_init(&v[i], &w);
		tap_int(fg_sched_want(w.sched, w.layer, &key, FG_INTERACTIVE, &v[i].w,
			    &err),
		    FG_WANT_PARKED, "measured: block %d is admitted", i);
	}
	end(&w);
	int woken = 0;
	for (int i = 0; i < 5; i++)
		woken += v[i].wakes;
	tap_int(woken, 5, "everybody is woken at the end");
}

static double
rest_of(struct world *w, int block)
{
	struct fg_key key = chunk_key(w, 0, 2 * block, 0, 0);

	return fg_sched_rest(w->sched, w->layer, &key);
}

/* When to come back. */
static void
test_rest(void)
{
	struct world w;
	struct viewer v[8];
	struct fg_err err = FG_ERR_INIT;

	fake_reset(true);
	begin(&w, NULL);
	for (int i = 0; i < 8; i++)
		viewer_init(&v[i], &w);
	tap_ok(rest_of(&w, 0) == 0, "of what nobody wants nothing is expected");
	ask(&w, 0, 0, FG_INTERACTIVE, &v[0], &err);
	WAIT(fake_get(&fake.started) == 1);
	WAIT(rest_of(&w, 0) > 0);
	tap_ok(rest_of(&w, 0) < 10, "the first block: soon, as it has just begun");
	fake.took_ms = 40 * 1000;
	fake_release();
	WAIT(wakes(&v[0]) == 1);

	fake_reset(true);
	fake.took_ms = 40 * 1000;
	ask(&w, 1, 0, FG_INTERACTIVE, &v[1], &err);
	WAIT(fake_get(&fake.started) == 1);
	ask(&w, 2, 0, FG_INTERACTIVE, &v[2], &err);
	ask(&w, 3, 0, FG_INTERACTIVE, &v[3], &err);
	double first = rest_of(&w, 1), second = rest_of(&w, 2), third = rest_of(&w, 3);
	tap_ok(first > 20 && first <= 41,
	    "then as long as blocks take, less the time "
	    "so far: %g s",
	    first);
	tap_ok(second > first + 30 && second < first + 45, "the next after it: %g s",
	    second);
	tap_ok(third > second + 30 && third < second + 45, "and so on: %g s", third);
	tap_ok(rest_of(&w, 5) == 0, "while there is room a new one is not refused");
	ask(&w, 4, 0, FG_INTERACTIVE, &v[4], &err);
	tap_int(ask(&w, 5, 0, FG_INTERACTIVE, &v[5], &err), FG_WANT_REFUSED,
	    "120 s at 40 s each: three may wait");
	double room = rest_of(&w, 5);
	tap_ok(room > 20 && room <= 41, "there is room after the running one: %g s",
	    room);
	fake_release();
	for (int i = 1; i < 5; i++)
		WAIT(wakes(&v[i]) == 1);
	tap_ok(rest_of(&w, 1) == 0, "of what is there nothing is expected");

	fake_reset(true);
	fake.seeds = 99;
	fake.of = 100;
	ask(&w, 6, 0, FG_INTERACTIVE, &v[6], &err);
	WAIT(fake_get(&fake.started) == 1);
	tap_ok(rest_of(&w, 6) < 10,
	    "with nearly all its seeds handled it is soon made");
	fake_release();
	WAIT(wakes(&v[6]) == 1);
	fg_err_clear(&err);
	end(&w);
}

static void
test_repeated(void)
{
	struct world w;
	struct viewer v[6];
	struct fg_err err = FG_ERR_INIT;

	fake_reset(true);
	begin(&w, NULL);
	for (int i = 0; i < 6; i++)
		viewer_init(&v[i], &w);
	ask(&w, 0, 0, FG_INTERACTIVE, &v[0], &err);
	WAIT(fake_get(&fake.started) == 1);
	ask(&w, 1, 0, FG_INTERACTIVE, &v[1], &err);
	ask(&w, 2, 0, FG_INTERACTIVE, &v[2], &err);
	tap_ok(fg_sched_leave(w.sched, &v[2].w), "the second of two leaves");
	tap_int(stats(&w).queued[FG_INTERACTIVE], 1, "its block is dropped");
	tap_int(stats(&w).dropped, 1, "and counted");
	tap_ok(!fg_sched_leave(w.sched, &v[2].w), "leaving twice does nothing");
	tap_int(ask(&w, 2, 0, FG_INTERACTIVE, &v[2], &err), FG_WANT_PARKED,
	    "it asks again");
	fake_release();
	WAIT(wakes(&v[1]) == 1 && wakes(&v[2]) == 1);
	tap_ok(fake.order[1] == fg_morton_encode((int64_t[3]){2, 0, 0}),
	    "and is served before who asked once");
	end(&w);
}

static void
test_left_running(void)
{
	struct world w;
	struct viewer a, b;
	struct fg_err err = FG_ERR_INIT;

	fake_reset(true);
	begin(&w, NULL);
	viewer_init(&a, &w);
	viewer_init(&b, &w);
	ask(&w, 0, 0, FG_INTERACTIVE, &a, &err);
	WAIT(fake_get(&fake.started) == 1);
	tap_ok(fg_sched_leave(w.sched, &a.w), "the viewer of a running block leaves");
	tap_int(stats(&w).running, 1, "it runs on");
	ask(&w, 1, 0, FG_INTERACTIVE, &b, &err);
	WAIT(fake_get(&fake.started) == 2);
	tap_int(fake_get(&fake.started), 2, "it does not keep the next viewer waiting");
	fake_release();
	WAIT(wakes(&b) == 1);
	WAIT(stats(&w).done >= 2);
	tap_int(class_of(0), FG_BULK, "as BULK");
	tap_int(ask(&w, 0, 0, FG_INTERACTIVE, &a, &err), FG_WANT_READY,
	    "the next try finds its result");
	tap_int(a.wakes, 0, "who left is not woken");
	end(&w);
}

static struct fg_block_row
memo(struct world *w, int64_t x)
{
	struct fg_block_row row = {0};

	if (fg_reader_block(w->reader, w->layer->id,
		fg_morton_encode((int64_t[3]){x, 0, 0}), &row, NULL) < 0)
		row.tries = -1;
	return row;
}

static void
test_failures(void)
{
	struct world w;
	struct viewer v;
	struct fg_err err = FG_ERR_INIT;

	fake_reset(false);
	begin(&w, NULL);
	fake_fail(2, FG_EIO, false);
	viewer_init(&v, &w);
	ask(&w, 0, 0, FG_INTERACTIVE, &v, &err);
	WAIT(wakes(&v) == 1);
	tap_int(v.how, FG_WAKE_BYTES, "FG_EIO twice, then bytes");
	tap_int(fake_get(&fake.started), 3, "three tries");
	fake_fail(1, FG_ECORRUPT, false);
	viewer_init(&v, &w);
	ask(&w, 1, 0, FG_INTERACTIVE, &v, &err);
	WAIT(wakes(&v) == 1);
	tap_int(v.how, FG_WAKE_FAILED, "FG_ECORRUPT fails at once");
	tap_str(v.why, "made to fail", "with its reason");
	tap_ok(memo(&w, 1).state == FG_BLOCK_FAILED && memo(&w, 1).tries == 1 &&
		   memo(&w, 1).next_try_ms == 0,
	    "the memo says: for good");
	tap_int(ask(&w, 1, 0, FG_INTERACTIVE, &v, &err), FG_WANT_FAILED,
	    "asking again makes no new attempt");
	tap_str(err.msg, "made to fail", "and tells the reason");
	fg_err_clear(&err);
	tap_rc(fg_sched_retry(w.sched, w.layer, fg_morton_encode((int64_t[3]){1, 0, 0}),
		   &err),
	    &err, "a retry is asked for");
	viewer_init(&v, &w);
	tap_int(ask(&w, 1, 0, FG_INTERACTIVE, &v, &err), FG_WANT_PARKED, "then it may");
	WAIT(wakes(&v) == 1);
	tap_int(v.how, FG_WAKE_BYTES, "and works");
	fake_fail(9, FG_EIO, false);
	viewer_init(&v, &w);
	ask(&w, 2, 0, FG_INTERACTIVE, &v, &err);
	WAIT(wakes(&v) == 1);
	tap_ok(v.how == FG_WAKE_FAILED && memo(&w, 2).tries == 3 &&
		   fake_get(&fake.fail) == 6,
	    "given up after three tries");
	tap_int(stats(&w).failed, 2, "two failures counted");
	end(&w);
}

static void
test_delay(void)
{
	struct world w;
	struct viewer v;
	struct fg_sched_options opt = {.retry_ms = 60};
	struct fg_err err = FG_ERR_INIT;

	fake_reset(false);
	begin(&w, &opt);
	fake_fail(2, FG_ENOMEM, false);
	viewer_init(&v, &w);
	int64_t t0 = fg_clock_ns();
	ask(&w, 0, 0, FG_INTERACTIVE, &v, &err);
	WAIT(memo(&w, 0).tries == 1);
	tap_ok(memo(&w, 0).state == FG_BLOCK_FAILED && memo(&w, 0).next_try_ms > 0,
	    "a failed try leaves a memo with the time of the next");
	tap_int(wakes(&v), 0, "its waiter stays parked");
	WAIT(wakes(&v) == 1);
	int64_t took = (fg_clock_ns() - t0) / FG_NS_PER_MS;
	tap_ok(took >= 60 + 120, "the delay doubles (%lld ms)", (long long)took);
	/* The memo outlives the program. The first delay leaves time to stop in. */
	close_world(&w);
	opt.retry_ms = 3000;
	open_world(&w, &opt);
	fake_fail(9, FG_EIO, false);
	viewer_init(&v, &w);
	ask(&w, 1, 0, FG_INTERACTIVE, &v, &err);
	WAIT(memo(&w, 1).tries == 1);
	close_world(&w);
	tap_int(v.how, FG_WAKE_SHUTDOWN, "a delayed task ends with the scheduler");
	opt.retry_ms = 60;
	open_world(&w, &opt);
	viewer_init(&v, &w);
	tap_int(ask(&w, 1, 0, FG_INTERACTIVE, &v, &err), FG_WANT_PARKED,
	    "a later want waits for the next try");
	WAIT(wakes(&v) == 1);
	tap_ok(v.how == FG_WAKE_FAILED && memo(&w, 1).tries == 3,
	    "and goes on counting");
	end(&w);
}

static void
test_forget(void)
{
	struct world w;
	struct viewer v[3];
	struct fg_err err = FG_ERR_INIT;

	fake_reset(true);
	begin(&w, NULL);
	for (int i = 0; i < 3; i++)
		viewer_init(&v[i], &w);
	ask(&w, 0, 0, FG_INTERACTIVE, &v[0], &err);
	WAIT(fake_get(&fake.started) == 1);
	ask(&w, 1, 0, FG_INTERACTIVE, &v[1], &err);
	w.layer->paused = true;
	fg_sched_forget_layer(w.sched, w.layer->id, false);
	tap_ok(v[1].wakes == 1 && v[1].how == FG_WAKE_RETRY,
	    "a paused layer's queued block is dropped");
	tap_int(wakes(&v[0]), 0, "the running one goes on");
	tap_int(ask(&w, 2, 0, FG_INTERACTIVE, &v[2], &err), FG_WANT_REFUSED,
	    "new wants are refused");
	tap_ok(strstr(err.msg, "paused") != NULL, "with the reason");
	fg_err_clear(&err);
	w.layer->removed = true;
	fg_sched_forget_layer(w.sched, w.layer->id, true);
	WAIT(wakes(&v[0]) == 1);
	tap_int(v[0].how, FG_WAKE_RETRY,
	    "a removed layer's running block is cancelled");
	tap_int(fake_get(&fake.cancelled), 1, "at once");
	end(&w);
}

static void
test_no_engine(void)
{
	struct world w;
	struct viewer v[2];
	struct fg_err err = FG_ERR_INIT;
	char why[200] = "";

	fake_reset(true);
	begin(&w, NULL);
	viewer_init(&v[0], &w);
	viewer_init(&v[1], &w);
	fake_fail(1, FG_ENOTSUP, true);
	ask(&w, 0, 0, FG_INTERACTIVE, &v[0], &err);
	WAIT(fake_get(&fake.started) == 1);
	ask(&w, 1, 0, FG_INTERACTIVE, &v[1], &err);
	fake_release();
	WAIT(wakes(&v[0]) == 1 && wakes(&v[1]) == 1);
	tap_ok(v[0].how == FG_WAKE_RETRY && v[1].how == FG_WAKE_RETRY,
	    "no device for the recipe: who waits may ask again");
	tap_int(memo(&w, 0).state, FG_BLOCK_ABSENT, "the block is not to blame");
	tap_ok(fg_sched_stopped(w.sched, w.layer->id, why), "the layer is stopped");
	tap_str(why, "made to fail", "with the reason");
	tap_int(ask(&w, 0, 0, FG_INTERACTIVE, &v[0], &err), FG_WANT_REFUSED,
	    "wants are refused");
	tap_ok(strstr(err.msg, "made to fail") != NULL, "with the reason");
	fg_err_clear(&err);
	tap_rc(fg_sched_retry(w.sched, w.layer, UINT64_MAX, &err), &err, "a retry");
	viewer_init(&v[0], &w);
	tap_int(ask(&w, 0, 0, FG_INTERACTIVE, &v[0], &err), FG_WANT_PARKED,
	    "starts it again");
	WAIT(wakes(&v[0]) == 1);
	end(&w);
}

static void
test_wrong(void)
{
	struct world w;
	struct fg_err err = FG_ERR_INIT;
	struct fg_key key;

	fake_reset(false);
	begin(&w, NULL);
	key = chunk_key(&w, 0, 16, 0, 0);
	tap_int(fg_sched_want(w.sched, w.layer, &key, FG_INTERACTIVE, NULL, &err),
	    FG_WANT_REFUSED, "a chunk outside the grid");
	fg_err_clear(&err);
	key = chunk_key(&w, 3, 0, 0, 0);
	tap_int(fg_sched_want(w.sched, w.layer, &key, FG_INTERACTIVE, NULL, &err),
	    FG_WANT_REFUSED, "a scale that is not there");
	fg_err_clear(&err);
	w.layer->broken = true;
	key = chunk_key(&w, 0, 0, 0, 0);
	tap_int(fg_sched_want(w.sched, w.layer, &key, FG_INTERACTIVE, NULL, &err),
	    FG_WANT_REFUSED, "a broken layer");
	w.layer->broken = false;
	fg_err_clear(&err);
	tap_int(fg_sched_want(w.sched, w.layer, &key, FG_BULK, NULL, &err),
	    FG_WANT_PARKED, "a prefetch");
	WAIT(stats(&w).done >= 1);
	tap_int(fake_get(&fake.started), 1, "is made");
	end(&w);
}

static void
test_full_disk(void)
{
	struct world w;
	struct viewer v;
	struct fg_err err = FG_ERR_INIT;

	fake_reset(false);
	begin(&w, NULL);
	close_world(&w);
	fg_store_close(w.store);
	w.store = wt_store_free(w.root, 0.999999);
	open_world(&w, NULL);
	viewer_init(&v, &w);
	tap_int(ask(&w, 0, 0, FG_INTERACTIVE, &v, &err), FG_WANT_REFUSED,
	    "a disk below min_free");
	tap_ok(err.code == FG_EFULL && strstr(err.msg, "free"), "with the reason: %s",
	    err.msg);
	fg_err_clear(&err);
	tap_fails(fg_sched_bulk(w.sched, w.layer,
		      &(struct fg_box){{0, 0, 0}, {128, 32, 32}}, NULL, NULL, NULL,
		      &err),
	    &err, FG_EFULL, "free", "jobs too");
	tap_int(fake_get(&fake.started), 0, "nothing was started");
	end(&w);
}

static _Atomic int called;

static void
on_call(void *ctx)
{
	(void)ctx;
	called++;
}

static void
test_calls(void)
{
	struct world w;

	fake_reset(false);
	begin(&w, NULL);
	int taken = 0;
	for (int i = 0; i < 1000; i++)
		taken += fg_sched_call(w.sched, i % 2 ? FG_RES_IO : FG_RES_CPU,
		    (enum fg_class)(i % 3), on_call, NULL);
	fg_sched_stop(w.sched, 0);
	tap_ok(taken > 0 && called == taken, "accepted calls are made, %d of them",
	    taken);
	end(&w);
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	test_coalescing();
	test_queue();
	test_rest();
	test_repeated();
	test_left_running();
	test_failures();
	test_delay();
	test_forget();
	test_no_engine();
	test_wrong();
	test_full_disk();
	test_calls();
	return tap_done();
}
