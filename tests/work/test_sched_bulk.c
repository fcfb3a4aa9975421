/* SPDX-License-Identifier: Apache-2.0 */
/* The scheduler: jobs beside viewers, coarse chunks, shutting down, a crowd. */
#include "config.h"

#include "tests/work/sched_world.h"

static void *
run_bulk(void *arg)
{
	struct world *w = arg;
	struct fg_err *err = fg_calloc(1, sizeof *err);

	if (fg_sched_bulk(w->sched, w->layer,
		&(struct fg_box){{0, 0, 0}, {128, 16, 16}}, NULL, NULL, NULL, err) == 0)
		err->code = FG_OK;
	return err;
}

static enum fg_code
join_bulk(pthread_t thread)
{
	void *p;
	enum fg_code code;

	pthread_join(thread, &p);
	code = ((struct fg_err *)p)->code;
	free(p);
	return code;
}

static void
test_promotion(void)
{
	struct world w;
	struct viewer a, b, c;
	struct fg_err err = FG_ERR_INIT;
	pthread_t thread;

	fake_reset(true);
	begin(&w, NULL);
	viewer_init(&a, &w);
	viewer_init(&b, &w);
	viewer_init(&c, &w);
	pthread_create(&thread, NULL, run_bulk, &w);
	WAIT(fake_get(&fake.started) == 2 && stats(&w).queued[FG_BULK] == 4);
	tap_int(fake_get(&fake.most), 2, "as many bulk blocks as devices");
	tap_int(stats(&w).queued[FG_BULK], 4, "and a window of them queued");
	/* Block 5 is queued by the job; it gets the interactive place. */
	ask(&w, 5, 0, FG_INTERACTIVE, &a, &err);
	WAIT(fake_get(&fake.started) == 3);
	tap_ok(fake.order[2] == fg_morton_encode((int64_t[3]){5, 0, 0}),
	    "a queued bulk block is promoted and runs beside the bulk ones");
	/* Block 0 runs already. */
	ask(&w, 0, 0, FG_INTERACTIVE, &b, &err);
	tap_int(stats(&w).promoted, 2, "and a running one is promoted");
	/* Whoever asked for a queued block leaves: it goes back to its job. */
	ask(&w, 4, 0, FG_INTERACTIVE, &c, &err);
	tap_int(stats(&w).queued[FG_INTERACTIVE], 1,
	    "another is promoted in the queue");
	tap_ok(fg_sched_leave(w.sched, &c.w), "its viewer leaves");
	tap_ok(stats(&w).queued[FG_INTERACTIVE] == 0 && stats(&w).dropped == 0,
	    "it goes back to the job's class");
	/* The viewer of the running block leaves: that one is BULK again. */
	fg_sched_leave(w.sched, &b.w);
	fake_release();
	WAIT(wakes(&a) == 1);
	tap_int(join_bulk(thread), FG_OK, "the job ends well");
	tap_int(class_of(2), FG_INTERACTIVE, "class of the promoted block");
	tap_int(class_of(0), FG_BULK, "class of the one whose viewer left");
	tap_int(fake_get(&fake.started), 8, "every block was made once");
	end(&w);
}

static void
test_bulk(void)
{
	struct world w;
	struct viewer v;
	struct fg_err err = FG_ERR_INIT;
	_Atomic bool cancel = false;

	fake_reset(false);
	begin(&w, NULL);
	viewer_init(&v, &w);
	ask(&w, 3, 0, FG_INTERACTIVE, &v, &err);
	WAIT(wakes(&v) == 1);
	fake_fail(1, FG_EINVAL, false);
	tap_fails(fg_sched_bulk(w.sched, w.layer,
		      &(struct fg_box){{20, 0, 0}, {33, 5, 5}}, NULL, NULL, &cancel,
		      &err),
	    &err, FG_EINVAL, "1 of 2 blocks failed: made to fail", "a failed block");
	tap_int(fake_get(&fake.ended), 3, "the other was made");
	tap_fails(fg_sched_bulk(w.sched, w.layer,
		      &(struct fg_box){{0, 0, 0}, {128, 32, 32}}, NULL, NULL, &cancel,
		      &err),
	    &err, FG_EIO, "1 of 32 blocks failed", "failures are remembered");
	tap_int(fake_get(&fake.ended), 32,
	    "all others were made, those present skipped");
	tap_ok(fake_get(&fake.most) <= 2, "never more at once than devices");
	tap_fails(fg_sched_bulk(w.sched, w.layer,
		      &(struct fg_box){{500, 0, 0}, {501, 1, 1}}, NULL, NULL, &cancel,
		      &err),
	    &err, FG_EINVAL, "outside", "a box elsewhere");
	/* Morton order of a fresh layer's first blocks. */
	end(&w);
}

static uint64_t told_done;

static void
on_progress(void *ctx, const struct fg_bulk_progress *p)
{
	_Atomic bool *cancel = ctx;

	told_done = p->done;
	if (p->done >= 2)
		*cancel = true;
	else
		fake_let(1);
}

static void
test_bulk_cancel(void)
{
	struct world w;
	struct fg_err err = FG_ERR_INIT;
	_Atomic bool cancel = false;

	fake_reset(true);
	begin(&w, &(struct fg_sched_options){.devices = "one"});
	tap_fails(fg_sched_bulk(w.sched, w.layer,
		      &(struct fg_box){{0, 0, 0}, {128, 32, 32}}, on_progress, &cancel,
		      &cancel, &err),
	    &err, FG_ECANCELED, "cancelled", "a job is cancelled from its progress");
	tap_int(told_done, 2, "after two blocks");
	WAIT(stats(&w).running == 0);
	tap_int(fake_get(&fake.cancelled), 1, "the running block is cancelled");
	tap_ok(stats(&w).queued[FG_BULK] == 0, "queued ones are dropped");
	bool morton = true;
	for (int i = 0; i < 3; i++)
		morton &= fake.order[i] == (uint64_t)i;
	tap_ok(morton, "blocks come in Morton order");
	end(&w);
}

static void
test_interactive_beside_bulk(void)
{
	struct world w;
	struct viewer v;
	struct fg_err err = FG_ERR_INIT;
	struct fg_key key;
	pthread_t thread;

	fake_reset(true);
	begin(&w, NULL);
	pthread_create(&thread, NULL, run_bulk, &w);
	WAIT(fake_get(&fake.started) == 2);
	viewer_init(&v, &w);
	key = chunk_key(&w, 0, 0, 3, 3);
	fg_sched_want(w.sched, w.layer, &key, FG_INTERACTIVE, &v.w, &err);
	WAIT(fake_get(&fake.started) == 3);
	tap_int(fake_get(&fake.running), 3,
	    "an interactive block runs beside bulk ones");
	tap_int(fake.floods[0], 1, "bulk blocks do not speculate");
	tap_int(fake.floods[2], 0, "the interactive one does");
	fake_release();
	WAIT(wakes(&v) == 1);
	tap_int(join_bulk(thread), FG_OK, "the job ends well");
	end(&w);
}

static void
test_shutdown(void)
{
	struct world w;
	struct viewer v[3];
	struct fg_err err = FG_ERR_INIT;
	pthread_t thread;

	fake_reset(true);
	begin(&w, NULL);
	for (int i = 0; i < 3; i++)
		viewer_init(&v[i], &w);
	ask(&w, 0, 0, FG_INTERACTIVE, &v[0], &err);
	WAIT(fake_get(&fake.started) == 1);
	ask(&w, 1, 0, FG_INTERACTIVE, &v[1], &err);
	pthread_create(&thread, NULL, run_bulk, &w);
	WAIT(fake_get(&fake.started) == 3);
	fg_sched_stop(w.sched, fg_clock_ns() + 20 * FG_NS_PER_MS);
	tap_ok(v[0].wakes == 1 && v[0].how == FG_WAKE_SHUTDOWN,
	    "a waiter of a running block is told");
	tap_ok(v[1].wakes == 1 && v[1].how == FG_WAKE_SHUTDOWN,
	    "and one of a queued block");
	tap_int(join_bulk(thread), FG_EBUSY, "the job returns");
	tap_int(ask(&w, 2, 0, FG_INTERACTIVE, &v[2], &err), FG_WANT_REFUSED,
	    "then wants are refused");
	tap_ok(strstr(err.msg, "shutting down") != NULL, "with the reason");
	tap_ok(!fg_sched_call(w.sched, FG_RES_IO, FG_INTERACTIVE, NULL, NULL),
	    "and calls");
	end(&w);

	/* With time enough a running block is finished. */
	fake_reset(false);
	begin(&w, NULL);
	viewer_init(&v[0], &w);
	ask(&w, 0, 0, FG_INTERACTIVE, &v[0], &err);
	WAIT(fake_get(&fake.started) == 1);
	fg_sched_stop(w.sched, fg_clock_ns() + 20 * FG_NS_PER_S);
	tap_ok(v[0].wakes == 1 && v[0].how == FG_WAKE_BYTES,
	    "a running block may finish before the deadline");
	end(&w);
}

static void
test_coarse(void)
{
	struct world w;
	struct viewer v;
	struct fg_err err = FG_ERR_INIT;
	struct fg_key key;
	struct fg_place p = {0};

	fake_reset(false);
	begin(&w, NULL);
	viewer_init(&v, &w);
	key = chunk_key(&w, 1, 0, 0, 0);
	tap_int(fg_sched_want(w.sched, w.layer, &key, FG_INTERACTIVE, &v.w, &err),
	    FG_WANT_ABSENT, "a coarse chunk above nothing starts no flood");
	ask(&w, 0, 0, FG_INTERACTIVE, &v, &err);
	WAIT(wakes(&v) == 1);
	WAIT(fg_reader_find(w.reader, &key, &p, &err) == 0 && p.state == FG_PRESENT);
	tap_int(p.state, FG_PRESENT, "one above a whole block is made when idle");
	key = chunk_key(&w, 2, 0, 0, 0);
	WAIT(fg_reader_find(w.reader, &key, &p, &err) == 0 && p.state != FG_ABSENT);
	tap_int(p.state, FG_PARTIAL, "the next one knows that most is missing");
	tap_rc(fg_sched_bulk(w.sched, w.layer,
		   &(struct fg_box){{0, 0, 0}, {128, 32, 32}}, NULL, NULL, NULL, &err),
	    &err, "make everything");
	tap_rc(fg_reader_find(w.reader, &key, &p, &err), &err, "find");
	tap_ok(p.state == FG_PRESENT && !p.dirty,
	    "when the job returns the pyramid is whole");
	viewer_init(&v, &w);
	tap_int(fg_sched_want(w.sched, w.layer, &key, FG_INTERACTIVE, &v.w, &err),
	    FG_WANT_READY, "and ready");
	tap_int(fake_get(&fake.started), 32, "no block was made twice");
	end(&w);
}

/* Many viewers that come and go while blocks are made: for the thread sanitizer. */
static void *
crowd(void *arg)
{
	struct world *w = arg;
	struct fg_err err = FG_ERR_INIT;
	struct viewer v;
	unsigned seed = (unsigned)(uintptr_t)&v;
	int served = 0;

	for (int i = 0; i < 60; i++) {
		struct fg_key key = chunk_key(w, 0, rand_r(&seed) % 16,
		    rand_r(&seed) % 4, rand_r(&seed) % 4);

		viewer_init(&v, w);
		fg_err_clear(&err);
		switch (fg_sched_want(w->sched, w->layer, &key, FG_INTERACTIVE, &v.w,
		    &err)) {
		case FG_WANT_PARKED:
			if (rand_r(&seed) % 3 == 0 && fg_sched_leave(w->sched, &v.w))
				break;
			WAIT(wakes(&v) == 1);
			served += v.how == FG_WAKE_BYTES;
			break;
		case FG_WANT_READY:
			served++;
			break;
		default:
			break;
		}
	}
	return (void *)(intptr_t)served;
}

static void
test_crowd(void)
{
	struct world w;
	pthread_t t[8], bulk;
	int served = 0;
	void *n;

	fake_reset(false);
	begin(&w, &(struct fg_sched_options){.queue_s = 1000});
	pthread_create(&bulk, NULL, run_bulk, &w);
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, crowd, &w);
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], &n);
		served += (int)(intptr_t)n;
	}
	tap_int(join_bulk(bulk), FG_OK, "a job beside a crowd");
	tap_ok(served > 200, "%d of 480 requests served", served);
	tap_ok(fake_get(&fake.started) <= 32, "no block was made twice");
	tap_int(stats(&w).waiters, 0, "nobody is left behind");
	end(&w);
}

/* A program that ended after the blocks and before their coarse chunks: a coarse chunk
 * two scales up is asked for, and a job finds everything made but the pyramid. */
static void
test_coarse_left(void)
{
	struct world w;
	struct viewer v;
	struct fg_err err = FG_ERR_INIT;
	struct fg_key key;
	struct fg_place p = {0};
	enum fg_want want;

	fake_reset(false);
	begin(&w, NULL);
	fake_coarse = false;
	for (int x = 0; x < 2; x++) {
		viewer_init(&v, &w);
		ask(&w, x, 0, FG_INTERACTIVE, &v, &err);
		WAIT(wakes(&v) == 1);
	}
	close_world(&w);
	fake_coarse = true;
	open_world(&w, NULL);
	key = chunk_key(&w, 2, 0, 0, 0);
	viewer_init(&v, &w);
	want = fg_sched_want(w.sched, w.layer, &key, FG_INTERACTIVE, &v.w, &err);
	tap_int(want, FG_WANT_REFUSED, "a coarse chunk whose finer scale is missing");
	tap_ok(err.code == FG_EBUSY && strstr(err.msg, "finer"), "has to wait: %s",
	    err.msg);
	WAIT(fg_reader_find(w.reader, &key, &p, NULL) == 0 && p.state != FG_ABSENT);
	tap_int(p.state, FG_PARTIAL, "but is made, one scale after the other");
	tap_rc(fg_sched_bulk(w.sched, w.layer,
		   &(struct fg_box){{0, 0, 0}, {32, 16, 16}}, NULL, NULL, NULL, &err),
	    &err, "a job over what is present");
	key = chunk_key(&w, 1, 1, 0, 0);
	tap_rc(fg_reader_find(w.reader, &key, &p, &err), &err, "find");
	tap_int(p.state, FG_PRESENT, "makes the missing part of the pyramid");
	tap_int(fake_get(&fake.started), 2, "and no block again");
	end(&w);
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	test_promotion();
	test_bulk();
	test_bulk_cancel();
	test_interactive_beside_bulk();
	test_shutdown();
	test_coarse();
	test_coarse_left();
	test_crowd();
	return tap_done();
}
