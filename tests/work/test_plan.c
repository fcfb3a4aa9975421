/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner with a stand-in for the segmentation: jobs and what becomes of them, over
 * restarts, beside each other, with blocks that fail.
 */
#include "config.h"

#include "base/json.h"
#include "tests/work/sched_world.h"
#include "tests/work/tiny_image.h"
#include "tests/work/tiny_net.h"
#include "work/plan.h"

static char *root;
static struct fg_store *store;
static struct fg_catalog *catalog;
static struct fg_sched *sched;
static struct fg_plan *plan;

static void
must(bool good, const struct fg_err *err)
{
	if (good)
		return;
	printf("Bail out! %s\n", err->msg);
	exit(1);
}

static void
add_layer(const char *fmt)
{
	struct fg_err err = FG_ERR_INIT;
	char *text = fg_asprintf(fmt, root);
	json_t *j = json_loads(text, 0, NULL);
	struct fg_layer *l = NULL;

	must(j && fg_catalog_add(catalog, j, &l, &err) == 0, &err);
	fg_layer_unref(l);
	json_decref(j);
	free(text);
}

/* running 0: without a scheduler. */
static void
open_all(int running)
{
	struct fg_sched_options opt = {.run = fake_run,
	    .devices = "a,b",
	    .retry_ms = 5,
	    .attempts = 3};
	struct fg_err err = FG_ERR_INIT;

	store = wt_store(root);
	catalog = fg_catalog_open(store, &err);
	must(catalog != NULL, &err);
	sched = running ? fg_sched_new(store, catalog, &opt, &err) : NULL;
	must(sched || !running, &err);
	plan = fg_plan_new(store, catalog, sched, running, &err);
	must(plan != NULL, &err);
}

static void
close_all(void)
{
	fg_plan_stop(plan);
	if (sched)
		fg_sched_stop(sched, 0);
	fg_plan_free(plan);
	fg_sched_free(sched);
	fg_catalog_close(catalog);
	fg_store_close(store);
}

/* A data directory with the 3 x 2 x 1 blocks of layer seg. */
static void
begin_all(bool hold)
{
	char *em, *net;

	fake_reset(hold);
	root = wt_folder();
	em = fg_asprintf("%s/layers/em", root);
	net = fg_asprintf("%s/net", root);
	tiny_image(em, false);
	tiny_net(net, 20);
	open_all(0);
	add_layer("{\"name\":\"em\",\"source\":\"%s/layers/em\"}");
	add_layer("{\"name\":\"seg\",\"ffn\":{\"image\":\"em\",\"model\":\"%s/net\","
		  "\"fov\":[9,9,9],\"delta\":[2,2,2],\"precision\":\"f32\","
		  "\"block\":[16,16,16],\"chunk\":[8,8,8],\"halo\":[4,4,4]}}");
	close_all();
	open_all(4);
	free(em);
	free(net);
}

static void
end_all(void)
{
	fake_release();
	close_all();
	wt_remove(root);
}

/* ------------------------------------------------------------- asking */

static int64_t
submit(const char *spec)
{
	struct fg_err err = FG_ERR_INIT;
	json_t *j = json_loads(spec, 0, NULL), *out = NULL;

	must(j && fg_plan_submit(plan, j, &out, &err) == 0, &err);
	int64_t id = json_integer_value(json_object_get(out, "id"));
	json_decref(out);
	json_decref(j);
	return id;
}

static json_t *
show(int64_t id)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *r = fg_reader_open(store, &err);
	json_t *out = NULL;

	must(r && fg_plan_show(plan, id, r, &out, &err) == 0, &err);
	fg_reader_close(r);
	return out;
}

static bool
is_in(int64_t id, const char *state)
{
	json_t *j = show(id);
	bool yes = strcmp(json_string_value(json_object_get(j, "state")), state) == 0;

	json_decref(j);
	return yes;
}

static int64_t
number(int64_t id, const char *key)
{
	json_t *j = show(id);
	int64_t n = json_integer_value(json_object_get(j, key));

	json_decref(j);
	return n;
}

static int
order(int64_t id, enum fg_plan_order what, struct fg_err *err)
{
	json_t *out = NULL;
	int rc = fg_plan_order(plan, id, what, &out, err);

	json_decref(out);
	return rc;
}

static struct fg_sched_stats
now(void)
{
	struct fg_sched_stats st;

	fg_sched_get_stats(sched, &st);
	return st;
}

#define WHOLE "{\"layer\":\"seg\"}"
#define FIRST "{\"layer\":\"seg\",\"box\":[5,-3,100,6,-2,101]}"

/* ------------------------------------------------------------- tests */

static void
test_whole(void)
{
	begin_all(false);
	int64_t id = submit(WHOLE);
	WAIT(is_in(id, "done"));
	tap_int(id, 1, "the first job");
	tap_int(number(id, "all"), 6, "blocks in all");
	tap_int(number(id, "done"), 6, "all made");
	int swaps = 0; /* two run at a time, and either may note its start late */
	for (int i = 0; i < 6; i++) {
		for (int k = i + 1; k < 6; k++)
			swaps += fake.order[i] > fake.order[k];
	}
	tap_ok(swaps <= 5, "in Morton order, about (%d of 15 pairs swapped)", swaps);
	tap_ok(fake_get(&fake.most) <= 2, "never more at once than devices");
	int64_t again = submit(WHOLE);
	WAIT(is_in(again, "done"));
	tap_int(number(again, "skipped"), 6, "the same again skips them");
	tap_int(number(again, "done"), 0, "and makes none");
	tap_int(fake_get(&fake.started), 6, "none was made twice");
	close_all();
	open_all(4);
	tap_ok(is_in(id, "done") && number(id, "done") == 6,
	    "both are remembered, with their counts");
	tap_int(fake_get(&fake.started), 6, "and not done again");
	end_all();
}

static void
test_overlap(void)
{
	begin_all(true);
	int64_t a = submit("{\"layer\":\"seg\",\"box\":[5,-3,100,37,13,116]}");
	int64_t b = submit("{\"layer\":\"seg\",\"box\":[21,-3,100,45,13,116],"
			   "\"stages\":[\"segment\"],\"class\":\"idle\"}");
	WAIT(is_in(a, "running") && is_in(b, "running"));
	fake_release();
	WAIT(is_in(a, "done") && is_in(b, "done"));
	tap_int(fake_get(&fake.started), 3, "what two jobs share is made once");
	tap_int(number(a, "all") + number(b, "all"), 4, "and counted by both");
	tap_int(number(b, "done") + number(b, "skipped"), 2, "as done or present");
	end_all();
}

static void
test_window(void)
{
	begin_all(true);
	int64_t a = submit(WHOLE);
	WAIT(fake_get(&fake.running) == 2);
	WAIT(now().queued[FG_BULK] == 4);
	tap_int(now().queued[FG_BULK], 4, "a window is queued, beside two running");
	struct fg_err err = FG_ERR_INIT;
	tap_rc(order(a, FG_PLAN_PAUSE, &err), &err, "pause");
	tap_ok(is_in(a, "paused"), "it is paused");
	WAIT(now().queued[FG_BULK] == 0);
	tap_int(fake_get(&fake.cancelled), 0, "running blocks are not cancelled");
	fake_let(2);
	WAIT(now().done == 2);
	tap_fails(order(a, FG_PLAN_PAUSE, &err), &err, FG_EINVAL, "is paused",
	    "pausing twice");
	close_all();
	open_all(4);
	tap_ok(is_in(a, "paused"), "it stays paused over a restart");
	tap_int(fake_get(&fake.started), 2, "nothing begins");
	tap_rc(order(a, FG_PLAN_RESUME, &err), &err, "resume");
	fake_release();
	WAIT(is_in(a, "done"));
	tap_int(fake_get(&fake.started), 6, "what was made was kept");
	tap_int(number(a, "done") + number(a, "skipped"), 6, "all are counted");
	end_all();
}

static void
test_cancel(void)
{
	struct fg_err err = FG_ERR_INIT;

	begin_all(true);
	int64_t a = submit(WHOLE);
	WAIT(fake_get(&fake.running) == 2);
	tap_rc(order(a, FG_PLAN_CANCEL, &err), &err, "cancel");
	WAIT(now().running == 0 && now().queued[FG_BULK] == 0);
	tap_int(fake_get(&fake.cancelled), 2, "running blocks are cancelled");
	tap_ok(is_in(a, "cancelled"), "it is cancelled");
	tap_fails(order(a, FG_PLAN_RESUME, &err), &err, FG_EINVAL, "is cancelled",
	    "it is not resumed");
	tap_fails(order(99, FG_PLAN_CANCEL, &err), &err, FG_ENOENT, "no job 99",
	    "an unknown one");
	fake_release();
	tap_rc(order(a, FG_PLAN_RETRY, &err), &err, "but may be tried again");
	WAIT(is_in(a, "done"));
	end_all();
}

static void
test_failures(void)
{
	struct fg_err err = FG_ERR_INIT;

	begin_all(false);
	fake_fail(1, FG_EINVAL, false);
	int64_t a = submit(WHOLE);
	WAIT(is_in(a, "failed"));
	json_t *j = show(a);
	json_t *f = json_array_get(json_object_get(j, "failures"), 0);
	tap_int((int64_t)json_array_size(json_object_get(j, "failures")), 1,
	    "one failure is listed");
	tap_str(json_string_value(json_object_get(f, "error")), "made to fail",
	    "with its reason");
	json_decref(j);
	tap_int(number(a, "done"), 5, "the others were made");
	close_all();
	open_all(4);
	tap_ok(is_in(a, "failed") && number(a, "failed") == 1,
	    "a restart changes none");
	tap_int(fake_get(&fake.started), 6, "of it");
	tap_rc(order(a, FG_PLAN_RETRY, &err), &err, "retry");
	WAIT(is_in(a, "done"));
	tap_int(fake_get(&fake.started), 7, "makes the one that failed");
	tap_int(number(a, "failed"), 0, "and no failure is left");
	end_all();
}

static void
test_attempts(void)
{
	begin_all(false);
	fake_fail(100, FG_EIO, false);
	int64_t a = submit(FIRST);
	WAIT(is_in(a, "failed"));
	tap_int(fake_get(&fake.started), 3, "a block is tried so often and no more");
	int64_t b = submit(FIRST);
	WAIT(is_in(b, "failed"));
	tap_int(fake_get(&fake.started), 3, "also for the next job");
	fake_reset(false);
	struct fg_err err = FG_ERR_INIT;
	tap_rc(order(b, FG_PLAN_RETRY, &err), &err, "until a retry is asked for");
	WAIT(is_in(b, "done"));
	tap_ok(is_in(a, "failed"), "the other job does not change");
	end_all();
}

static void
test_no_device(void)
{
	struct fg_err err = FG_ERR_INIT;

	begin_all(false);
	fake_fail(1, FG_ENOTSUP, true);
	int64_t a = submit(FIRST);
	WAIT(!is_in(a, "running"));
	WAIT(is_in(a, "waiting") && fake_get(&fake.started) == 1);
	json_t *j = show(a);
	tap_ok(strstr(json_string_value(json_object_get(j, "error")), "made to fail"),
	    "a job without a device waits and says why: %s",
	    json_string_value(json_object_get(j, "error")));
	json_decref(j);
	tap_rc(order(a, FG_PLAN_RETRY, &err), &err, "a retry");
	struct fg_layer *l = fg_catalog_find(catalog, "seg", 3);
	tap_rc(fg_sched_retry(sched, l, UINT64_MAX, &err), &err, "of the layer, too");
	fg_layer_unref(l);
	WAIT(is_in(a, "done"));
	end_all();
}

static void
test_restart(void)
{
	struct fg_err err = FG_ERR_INIT;

	begin_all(true);
	int64_t a = submit(WHOLE);
	WAIT(fake_get(&fake.running) == 2);
	fake_let(3);
	WAIT(now().done == 3);
	close_all();
	int made = fake_get(&fake.started) - fake_get(&fake.cancelled);
	tap_int(made, 3, "three blocks were made before the end");
	tap_rc(fg_store_reindex(root, NULL, NULL, NULL, NULL, NULL, &err), &err,
	    "reindex");
	fake_release();
	open_all(4);
	WAIT(is_in(a, "done"));
	tap_int(fake_get(&fake.started) - fake_get(&fake.cancelled), 6,
	    "the wish survives, from the slabs alone, and the rest is made");
	tap_int(submit(FIRST), 2, "numbers go on");
	close_all();
	open_all(0);
	int64_t c = submit(WHOLE);
	tap_ok(is_in(c, "waiting"), "without a scheduler a job waits");
	tap_rc(order(c, FG_PLAN_PAUSE, &err), &err, "and can be paused");
	tap_rc(order(c, FG_PLAN_RESUME, &err), &err, "and resumed");
	close_all();
	open_all(1);
	WAIT(is_in(c, "done"));
	tap_int(number(c, "skipped"), 6, "the next one with a scheduler does it");
	end_all();
}

/* Write a job that is over, with this column `stages`; its number. */
static int64_t
put_row(const char *stages)
{
	struct fg_layer *l = fg_catalog_find(catalog, "seg", 3);
	struct fg_err err = FG_ERR_INIT;
	struct fg_job_row row = {.layer = l->id,
	    .box = fg_strdup("[5,-3,100,21,13,116]"),
	    .stages = fg_strdup(stages),
	    .cls = FG_BULK,
	    .state = FG_JOB_CANCELLED};

	must(fg_store_job_put(store, &row, &err) == 0, &err);
	int64_t id = row.job;
	fg_job_row_fini(&row);
	fg_layer_unref(l);
	return id;
}

/* Rows of before stages had counts of their own. */
static void
test_old_rows(void)
{
	static const struct {
		const char *stages;
		int64_t all, done, skipped, failed;
	} old[] = {
	    {"\"segment\",\"stitch\"", 1, 4, 3, 2},
	    {"\"downsample\",\"mesh\"", 9, 4, 3, 2},
	    {"\"skeleton\"", 9, 4, 3, 2},
	    {"\"mesh\",\"skeleton\"", 0, 0, 0, 0},
	    {"\"stitch\"", 1, 0, 0, 0},
	    {"\"downsample\"", 0, 0, 0, 0},
	};
	int64_t id[FG_COUNTOF(old)];

	begin_all(false);
	for (size_t i = 0; i < FG_COUNTOF(old); i++) {
		char *text = fg_asprintf("{\"stages\":[%s],\"all\":9,\"done\":4,"
					 "\"skipped\":3,\"failed\":2,\"seconds\":1}",
		    old[i].stages);

		id[i] = put_row(text);
		free(text);
	}
	close_all();
	open_all(0);
	for (size_t i = 0; i < FG_COUNTOF(old); i++) {
		tap_int(number(id[i], "all"), old[i].all, "an old job of %s",
		    old[i].stages);
		tap_int(number(id[i], "done"), old[i].done, "made");
		tap_int(number(id[i], "skipped"), old[i].skipped, "present");
		tap_int(number(id[i], "failed"), old[i].failed, "failed");
	}
	end_all();
}

static void
test_turns(void)
{
	begin_all(true);
	close_all();
	open_all(1);
	int64_t a = submit(WHOLE);
	WAIT(is_in(a, "running"));
	int64_t b = submit("{\"layer\":\"seg\",\"class\":\"idle\"}");
	int64_t c = submit(FIRST);
	tap_ok(is_in(b, "waiting") && is_in(c, "waiting"), "others wait their turn");
	uint64_t since = UINT64_MAX;
	json_t *open = fg_plan_changes(plan, &since);
	tap_int((int64_t)json_array_size(open), 3, "all that are not over");
	json_decref(open);
	fake_release();
	WAIT(is_in(b, "done") && is_in(c, "done"));
	json_t *jb = show(b), *jc = show(c);
	tap_ok(json_integer_value(json_object_get(jc, "updated")) <=
		   json_integer_value(json_object_get(jb, "updated")),
	    "bulk comes before idle");
	json_decref(jb);
	json_decref(jc);
	open = fg_plan_changes(plan, &since);
	tap_int((int64_t)json_array_size(open), 3, "all of them changed");
	json_decref(open);
	WAIT((open = fg_plan_changes(plan, &since), json_decref(open), true));
	open = fg_plan_changes(plan, &since);
	tap_int((int64_t)json_array_size(open), 0, "and then no more");
	json_decref(open);
	end_all();
}

static void
test_layer_goes(void)
{
	struct fg_err err = FG_ERR_INIT;

	begin_all(true);
	submit(WHOLE);
	WAIT(fake_get(&fake.running) == 2);
	struct fg_layer *l = fg_catalog_find(catalog, "seg", 3);
	tap_rc(fg_catalog_pause(catalog, "seg", true, &err), &err,
	    "the layer is paused");
	fg_sched_forget_layer(sched, l->id, false);
	fake_let(2);
	WAIT(is_in(1, "waiting"));
	tap_ok(true, "its job waits");
	tap_rc(fg_catalog_pause(catalog, "seg", false, &err), &err, "and goes on");
	WAIT(is_in(1, "running"));
	tap_rc(fg_catalog_remove(catalog, "seg", &err), &err, "the layer is removed");
	fg_plan_forget_layer(plan, l->id);
	fg_sched_forget_layer(sched, l->id, true);
	fg_layer_unref(l);
	json_t *list = fg_plan_list(plan);
	tap_int((int64_t)json_array_size(list), 0, "its jobs are gone");
	json_decref(list);
	close_all();
	open_all(1);
	list = fg_plan_list(plan);
	tap_int((int64_t)json_array_size(list), 0, "for good");
	json_decref(list);
	end_all();
}

static void
test_specs(void)
{
	static const struct {
		const char *spec, *part;
		enum fg_code code;
	} bad[] = {
	    {"[]", "object", FG_EINVAL},
	    {"{\"layer\":\"none\"}", "none", FG_ENOENT},
	    {"{\"layer\":\"em\"}", "served as it is", FG_EINVAL},
	    {"{\"layer\":\"seg\",\"box\":[5,-3,100,6,-2]}", "six", FG_EINVAL},
	    {"{\"layer\":\"seg\",\"box\":[4,-3,100,6,-2,101]}", "inside", FG_EINVAL},
	    {"{\"layer\":\"seg\",\"stages\":[\"meshes\"]}", "no stage", FG_EINVAL},
	    {"{\"layer\":\"seg\",\"ids\":[1]}", "mesh and skeleton only", FG_EINVAL},
	    {"{\"layer\":\"seg\",\"stages\":[\"mesh\"],\"ids\":[0]}", "entry 0",
		FG_EINVAL},
	    {"{\"layer\":\"seg\",\"stages\":[\"mesh\"],\"objects\":\"all\"}",
		"whole or base", FG_EINVAL},
	    {"{\"layer\":\"seg\",\"stages\":[1]}", "no stage", FG_EINVAL},
	    {"{\"layer\":\"seg\",\"unit\":\"nm\",\"box\":[0,0,0,9,9,9]}", "inside",
		FG_EINVAL},
	};
	struct fg_err err = FG_ERR_INIT;
	json_t *out = NULL;

	begin_all(false);
	for (size_t i = 0; i < FG_COUNTOF(bad); i++) {
		json_t *j = json_loads(bad[i].spec, 0, NULL);

		tap_fails(fg_plan_submit(plan, j, &out, &err), &err, bad[i].code,
		    bad[i].part, bad[i].spec);
		json_decref(j);
	}
	json_t *j = json_loads("{\"layer\":\"seg\",\"unit\":\"nm\","
			       "\"box\":[40,-24,1600,176,1e4,1601]}",
	    0, NULL);
	tap_rc(fg_plan_dry(plan, j, false, &out, &err), &err, "a dry run");
	json_t *want = json_loads("[5,-3,100,22,21,101]", 0, NULL);
	tap_ok(json_equal(json_object_get(out, "box"), want),
	    "a box in nanometres is widened and cut");
	tap_int(json_integer_value(json_object_get(out, "blocks")), 4, "its blocks");
	tap_ok(json_is_null(json_object_get(out, "device_hours")) &&
		   json_number_value(json_object_get(out, "bytes")) > 0,
	    "what is not known is null");
	json_decref(want);
	json_decref(out);
	json_decref(j);
	json_t *list = fg_plan_list(plan);
	tap_int((int64_t)json_array_size(list), 0, "nothing came of all that");
	json_decref(list);
	end_all();
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	test_whole();
	test_overlap();
	test_window();
	test_cancel();
	test_failures();
	test_attempts();
	test_no_device();
	test_restart();
	test_old_rows();
	test_turns();
	test_layer_goes();
	test_specs();
	return tap_done();
}
