/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floodgate job: the daemon's jobs. Without a daemon they are kept in the data
 * directory by this process, and begin when a daemon starts.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/json.h"
#include "store/store.h"
#include "work/catalog.h"
#include "work/control.h"
#include "work/plan.h"
#include "work/tool_follow.h"

static const struct fg_tool_option submit_options[] = {
    {"box", "BOX",
	"x0-x1_y0-y1_z0-z1 in voxels of the finest scale, or\nwhole (default whole)",
	0},
    {"scale", "KEY", "the box is in voxels of this scale", 0},
    {"nm", NULL, "the box is in nanometres", 0},
    {"stages", "LIST",
	"stages with commas between: segment, stitch, resegment,\ndownsample, mesh, "
	"skeleton (default all up to downsample\nbut resegment)",
	0},
    {"class", "CLASS",
	"bulk, or idle: only when nothing else is to be done\n(default bulk)", 0},
    {"dry-run", NULL, "say what it would cost, and do nothing", 0},
    {"watch", NULL, "stay and show how far it is, as job watch does", 0},
    {NULL, NULL, NULL, 0},
};

/* Jobs through the daemon, or in the data directory itself: exactly one is set. */
struct jobs {
	struct fg_session s;
	struct fg_plan *plan;
};

static int
open_jobs(struct jobs *j, const struct fg_tool *t, struct fg_err *err)
{
	if (fg_session_open(&j->s, t, false, err) < 0)
		return -1;
	if (j->s.control)
		return 0;
	j->plan = fg_plan_new(j->s.store, j->s.catalog, NULL, 1, err);
	return j->plan ? 0 : -1;
}

static void
close_jobs(struct jobs *j)
{
	fg_plan_free(j->plan);
	fg_session_close(&j->s);
}

static int
parse_number(const char *text, int64_t *id, struct fg_err *err)
{
	size_t n = strlen(text);

	if (n == 0 || n > 18 || strspn(text, "0123456789") != n)
		return fg_fail(err, FG_EINVAL, "\"%.40s\" is not the number of a job",
		    text);
	*id = strtoll(text, NULL, 10);
	return 0;
}

/* "segment,downsample" */
static json_t *
split_list(const char *text)
{
	json_t *list = json_array();

	while (*text) {
		size_t n = strcspn(text, ",");

		json_array_append_new(list, json_stringn(text, n));
		text += n + (text[n] == ',');
	}
	return list;
}

static json_t *
make_spec(const struct fg_tool *t, struct fg_err *err)
{
	const char *box = fg_tool_text(t, "box", "whole");
	json_t *spec = json_pack("{s:s}", "layer", t->arg[0]);
	struct fg_box b;

	if (!spec)
		return fg_fail_null(err, FG_EINVAL, "the name is not UTF-8");
	if (strcmp(box, "whole") != 0) {
		if (fg_tool_box(box, &b, err) < 0) {
			json_decref(spec);
			return NULL;
		}
		json_object_set_new(spec, "box", fg_follow_box(&b));
	}
	if (fg_tool_has(t, "nm"))
		json_object_set_new(spec, "unit", json_string("nm"));
	if (fg_tool_has(t, "scale"))
		json_object_set_new(spec, "scale",
		    json_string(fg_tool_text(t, "scale", "")));
	if (fg_tool_has(t, "stages"))
		json_object_set_new(spec, "stages",
		    split_list(fg_tool_text(t, "stages", "")));
	if (fg_tool_has(t, "class"))
		json_object_set_new(spec, "class",
		    json_string(fg_tool_text(t, "class", "")));
	return spec;
}

static double
number_in(const json_t *j, const char *key)
{
	return json_number_value(json_object_get(j, key));
}

static const char *
text_in(const json_t *j, const char *key)
{
	const char *s = json_string_value(json_object_get(j, key));

	return s ? s : "";
}

static void
print_dry(const json_t *j)
{
	char bytes[32];

	if (!json_is_integer(json_object_get(j, "all"))) {
		printf("%s: how many %s there are to make is not known before%s\n",
		    text_in(j, "layer"), text_in(j, "counted"),
		    strcmp(text_in(j, "counted"), "chunks") == 0
			? ""
			: ": the layer has too many objects to count");
		return;
	}
	printf("%s: %llu %s, %llu present, %llu to make", text_in(j, "layer"),
	    (unsigned long long)fg_follow_count(j, "all"), text_in(j, "counted"),
	    (unsigned long long)fg_follow_count(j, "present"),
	    (unsigned long long)fg_follow_count(j, "to_make"));
	if (fg_follow_count(j, "failed"))
		printf(", %llu failed",
		    (unsigned long long)fg_follow_count(j, "failed"));
	if (fg_follow_count(j, "to_make") == 0) {
		putchar('\n');
		return;
	}
	if (json_is_number(json_object_get(j, "bytes")))
		printf(", about %s (%s)", fg_tool_bytes(number_in(j, "bytes"), bytes),
		    text_in(j, "bytes_basis"));
	putchar('\n');
	if (json_is_number(json_object_get(j, "device_hours")))
		printf("about %.3g device-hours, %.3g hours with %llu devices (%s)\n",
		    number_in(j, "device_hours"), number_in(j, "hours"),
		    (unsigned long long)fg_follow_count(j, "devices"),
		    text_in(j, "time_basis"));
	else
		printf("how long it takes is not known%s\n",
		    json_is_number(json_object_get(j, "bytes"))
			? ": no block was made yet"
			: " before");
}

static void
print_job(const json_t *j)
{
	const char *error = text_in(j, "error");
	char time[32];

	printf("%-5llu %-20s %-9s %5.1f %%  %llu of %llu %s",
	    (unsigned long long)fg_follow_count(j, "id"), text_in(j, "layer"),
	    text_in(j, "state"), 100 * number_in(j, "fraction"),
	    (unsigned long long)(fg_follow_count(j, "done") +
				 fg_follow_count(j, "skipped")),
	    (unsigned long long)fg_follow_count(j, "all"), text_in(j, "counted"));
	if (fg_follow_count(j, "failed"))
		printf(", %llu failed",
		    (unsigned long long)fg_follow_count(j, "failed"));
	if (json_is_number(json_object_get(j, "left_s")))
		printf(", %s left", fg_tool_time(number_in(j, "left_s"), time));
	printf("%s%s\n", *error ? ": " : "", error);
}

/* Watch a job and report it like floodgate segment does. */
static int
watch_job(const struct fg_tool *t, struct jobs *jobs, int64_t id, struct fg_err *err)
{
	struct fg_follow f = {.bar = {.quiet = t->quiet}};
	char *path = fg_asprintf("/api/jobs/%lld", (long long)id);
	char *what = fg_asprintf("job %lld", (long long)id);
	int rc;

	f.bar.what = what;
	if (!jobs->s.control) {
		rc = fg_fail(err, FG_EBUSY,
		    "no daemon holds %s: the job begins when one does", t->root);
	} else {
		fg_tool_catch_signals();
		rc = fg_follow_job(&jobs->s, path, false, &f, err);
		fg_progress_end(&f.bar);
		if (f.last.all > 0 && !t->json)
			fg_follow_report(t, what, &f);
	}
	free(path);
	free(what);
	return rc;
}

static int
run_submit(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct jobs jobs = {0};
	json_t *spec = make_spec(t, &err), *reply = NULL;
	bool dry = fg_tool_has(t, "dry-run");
	int64_t id = 0;
	int rc = -1;

	if (!spec || open_jobs(&jobs, t, &err) < 0)
		goto out;
	if (jobs.s.control)
		rc = fg_control_call(jobs.s.control, "POST",
		    dry ? "/api/jobs?dry=1" : "/api/jobs", spec, &reply, &err);
	else
		rc = dry ? fg_plan_dry(jobs.plan, spec, false, &reply, &err)
			 : fg_plan_submit(jobs.plan, spec, &reply, &err);
	if (rc == 0 && !dry)
		rc = fg_json_get_int(reply, "id", FG_JSON_NEEDED, 1, INT64_MAX, &id,
		    &err);
	if (rc < 0)
		goto out;
	if (!dry && fg_tool_has(t, "watch"))
		rc = watch_job(t, &jobs, id, &err);
	else if (t->json)
		fg_tool_print_json(json_incref(reply));
	else if (dry)
		print_dry(reply);
	else
		printf("job %lld\n", (long long)id);
out:
	json_decref(reply);
	json_decref(spec);
	close_jobs(&jobs);
	return rc < 0 ? fg_tool_fail(t, &err) : FG_EXIT_OK;
}

static int
run_list(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct jobs jobs = {0};
	json_t *list = NULL, *j;
	size_t i;
	int rc = -1;

	if (open_jobs(&jobs, t, &err) < 0)
		goto out;
	if (jobs.s.control) {
		rc = fg_control_call(jobs.s.control, "GET", "/api/jobs", NULL, &list,
		    &err);
	} else {
		list = fg_plan_list(jobs.plan);
		rc = 0;
	}
	if (rc == 0 && t->json) {
		fg_tool_print_json(json_incref(list));
	} else if (rc == 0) {
		json_array_foreach(list, i, j) print_job(j);
	}
out:
	json_decref(list);
	close_jobs(&jobs);
	return rc < 0 ? fg_tool_fail(t, &err) : FG_EXIT_OK;
}

/* One call about one job; word NULL: look at it, "" cancel it. */
static int
call_job(struct jobs *jobs, int64_t id, const char *word, enum fg_plan_order what,
    json_t **out, struct fg_err *err)
{
	struct fg_reader *r;
	char *path;
	int rc = -1;

	if (jobs->s.control) {
		path = fg_asprintf("/api/jobs/%lld%s%s", (long long)id,
		    word && *word ? "/" : "", word ? word : "");
		rc = fg_control_call(jobs->s.control,
		    !word   ? "GET"
		    : *word ? "POST"
			    : "DELETE",
		    path, NULL, out, err);
		free(path);
		return rc;
	}
	if (word)
		return fg_plan_order(jobs->plan, id, what, out, err);
	r = fg_reader_open(jobs->s.store, err);
	if (r)
		rc = fg_plan_show(jobs->plan, id, r, out, err);
	fg_reader_close(r);
	return rc;
}

static int
run_call(struct fg_tool *t, const char *word, enum fg_plan_order what)
{
	struct fg_err err = FG_ERR_INIT;
	struct jobs jobs = {0};
	json_t *job = NULL;
	int64_t id;
	int rc = -1;

	if (parse_number(t->arg[0], &id, &err) < 0 || open_jobs(&jobs, t, &err) < 0)
		goto out;
	rc = call_job(&jobs, id, word, what, &job, &err);
	if (rc < 0)
		goto out;
	if (t->json)
		fg_tool_print_json(json_incref(job));
	else if (word)
		print_job(job);
	else
		fg_tool_print_facts(job, 0);
out:
	json_decref(job);
	close_jobs(&jobs);
	return rc < 0 ? fg_tool_fail(t, &err) : FG_EXIT_OK;
}

static int
run_show(struct fg_tool *t)
{
	return run_call(t, NULL, FG_PLAN_CANCEL);
}

static int
run_cancel(struct fg_tool *t)
{
	return run_call(t, "", FG_PLAN_CANCEL);
}

static int
run_pause(struct fg_tool *t)
{
	return run_call(t, "pause", FG_PLAN_PAUSE);
}

static int
run_resume(struct fg_tool *t)
{
	return run_call(t, "resume", FG_PLAN_RESUME);
}

static int
run_retry(struct fg_tool *t)
{
	return run_call(t, "retry", FG_PLAN_RETRY);
}

static int
run_watch(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct jobs jobs = {0};
	int64_t id;
	int rc = -1;

	if (parse_number(t->arg[0], &id, &err) == 0 && open_jobs(&jobs, t, &err) == 0)
		rc = watch_job(t, &jobs, id, &err);
	close_jobs(&jobs);
	return rc < 0 ? fg_tool_fail(t, &err) : FG_EXIT_OK;
}

const struct fg_tool_command fg_tool_job_commands[] = {
    {.name = "job submit",
	.args = "LAYER",
	.least = 1,
	.most = 1,
	.summary = "ask for a region to be made, in the background",
	.details =
	    "The order is on the disk when this returns: the daemon goes on with it "
	    "after a\nrestart, too. Without a daemon it begins when one starts. "
	    "Regions may overlap:\nnothing is made twice.",
	.options = submit_options,
	.run = run_submit},
    {.name = "job list", .summary = "list jobs, newest first", .run = run_list},
    {.name = "job show",
	.args = "JOB",
	.least = 1,
	.most = 1,
	.summary = "show all of one job, with the blocks that failed",
	.run = run_show},
    {.name = "job watch",
	.args = "JOB",
	.least = 1,
	.most = 1,
	.summary = "show how far a job is until it is over",
	.details = "Exit code 0 when it is done, 1 when blocks failed, 130 when it was "
		   "cancelled.\nCtrl-C ends the watching, not the job.",
	.run = run_watch},
    {.name = "job cancel",
	.args = "JOB",
	.least = 1,
	.most = 1,
	.summary = "give a job up; what it has made stays",
	.run = run_cancel},
    {.name = "job pause",
	.args = "JOB",
	.least = 1,
	.most = 1,
	.summary = "let a job wait; running blocks are still made",
	.run = run_pause},
    {.name = "job resume",
	.args = "JOB",
	.least = 1,
	.most = 1,
	.summary = "let a paused job go on",
	.run = run_resume},
    {.name = "job retry",
	.args = "JOB",
	.least = 1,
	.most = 1,
	.summary = "forget the failures in a job's region and try them again",
	.run = run_retry},
    {.name = NULL},
};
