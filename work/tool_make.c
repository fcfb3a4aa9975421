/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floodgate segment: make all blocks of a box now, here or, as a job, in the daemon
 * that holds the data directory. Blocks that exist are skipped, so it may be stopped
 * and started as one likes.
 *
 * floodgate mesh, floodgate skeleton: the same for meshes and skeletons of objects.
 *
 * floodgate job: the daemon's jobs. Without a daemon they are kept in the data
 * directory by this process, and begin when a daemon starts.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "store/store.h"
#include "work/catalog.h"
#include "work/control.h"
#include "work/plan.h"
#include "work/sched.h"
#include "work/tool.h"

/* How often the daemon is asked how far it is. */
#define POLL_NS (500 * FG_NS_PER_MS)
/* After Ctrl-C a running block is given this long before it is cancelled: none, its
 * voxels could not be kept anyway. */
#define STOP_NS (2 * FG_NS_PER_S)

static const struct fg_tool_option options[] = {
    {"box", "BOX",
	"x0-x1_y0-y1_z0-z1 in voxels of the finest scale, or\nwhole (default whole)",
	0},
    {"devices", "LIST",
	"devices to use, like cpu:0,cpu:1 (default all; ignored\nwhere a daemon does "
	"the "
	"work)",
	0},
    {NULL, NULL, NULL, 0},
};

static const struct fg_tool_option object_options[] = {
    {"box", "BOX",
	"objects that reach into x0-x1_y0-y1_z0-z1, voxels of the\nfinest scale (of a "
	"layer that is served as it is: into a\nblock that it touches), or whole "
	"(default whole)",
	0},
    {"ids", "LIST",
	"these objects only, with commas between; a part of an\nobject is a name of "
	"it, what is no object is an error",
	0},
    {NULL, NULL, NULL, 0},
};

struct making {
	struct fg_progress bar;
	const char *unit; /* NULL: blocks */
	struct fg_bulk_progress last;
};

static void
on_progress(void *ctx, const struct fg_bulk_progress *p)
{
	struct making *m = ctx;
	char note[64];

	m->last = *p;
	snprintf(note, sizeof note, "%llu of %llu %s",
	    (unsigned long long)(p->done + p->skipped), (unsigned long long)p->all,
	    m->unit ? m->unit : "blocks");
	fg_progress_note(&m->bar, p->fraction, 1, note);
}

/* The box that was asked for, inside the layer. */
static int
choose_box(const struct fg_tool *t, const struct fg_info *info, struct fg_box *vx,
    struct fg_err *err)
{
	const char *text = fg_tool_text(t, "box", "whole");
	char bounds[FG_TOOL_BOX];
	struct fg_box all;

	fg_scale_bounds(&info->scale[0], &all);
	*vx = all;
	if (strcmp(text, "whole") == 0)
		return 0;
	if (fg_tool_box(text, vx, err) < 0)
		return -1;
	fg_tool_box_text(&all, bounds);
	if (!fg_box_contains(&all, vx))
		return fg_fail(err, FG_EINVAL, "--box %s is not inside the volume, %s",
		    text, bounds);
	return 0;
}

/* ------------------------------------------------------------- in this process */

static int
make_here(const struct fg_tool *t, struct fg_session *s, struct fg_layer *l,
    const struct fg_box *vx, struct making *m, struct fg_err *err)
{
	struct fg_sched_options opt = {.devices = fg_tool_text(t, "devices", NULL)};
	struct fg_sched *sched = fg_sched_new(s->store, s->catalog, &opt, err);
	int rc;

	if (!sched)
		return -1;
	rc = fg_sched_bulk(sched, l, vx, on_progress, m, &fg_tool_stop, err);
	fg_sched_stop(sched, fg_clock_ns() + (fg_tool_stop ? 0 : STOP_NS));
	fg_sched_free(sched);
	return rc;
}

/* ------------------------------------------------------------- in the daemon */

static json_t *
box_json(const struct fg_box *vx)
{
	return json_pack("[I,I,I,I,I,I]", (json_int_t)vx->lo[0], (json_int_t)vx->lo[1],
	    (json_int_t)vx->lo[2], (json_int_t)vx->hi[0], (json_int_t)vx->hi[1],
	    (json_int_t)vx->hi[2]);
}

static uint64_t
count_of(const json_t *j, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(j, key));

	return v > 0 ? (uint64_t)v : 0;
}

/* The counts of a job that has but one stage, and that about objects. */
static void
count_objects(const json_t *j, struct fg_bulk_progress *p)
{
	const json_t *list = json_object_get(j, "stages"), *s = json_array_get(list, 0);
	const char *name = json_string_value(json_object_get(s, "name"));

	if (json_array_size(list) != 1 || !name ||
	    (strcmp(name, "mesh") != 0 && strcmp(name, "skeleton") != 0))
		return;
	p->all = count_of(s, "all");
	p->done = count_of(s, "done");
	p->skipped = count_of(s, "present");
	p->failed = count_of(s, "failed");
}

/* One look at the job: 1 when it is over, 0 while it is not. */
static int
look(const json_t *j, struct making *m, struct fg_err *err)
{
	const char *state = json_string_value(json_object_get(j, "state"));
	const char *error = json_string_value(json_object_get(j, "error"));
	struct fg_bulk_progress p = {.all = count_of(j, "all"),
	    .done = count_of(j, "done"),
	    .skipped = count_of(j, "skipped"),
	    .failed = count_of(j, "failed"),
	    .seconds = json_number_value(json_object_get(j, "seconds")),
	    .fraction = json_number_value(json_object_get(j, "fraction"))};

	count_objects(j, &p);
	on_progress(m, &p);
	if (!state)
		return fg_fail(err, FG_EIO, "the daemon's reply has no \"state\"");
	if (strcmp(state, "running") == 0 || strcmp(state, "waiting") == 0 ||
	    strcmp(state, "paused") == 0)
		return 0;
	if (strcmp(state, "done") == 0)
		return 1;
	if (strncmp(state, "cancel", 6) == 0)
		return fg_fail(err, FG_ECANCELED, "cancelled");
	return fg_fail(err, FG_EIO, "%s", error ? error : "failed");
}

/* Watch a job until it is over. take_back: an interrupt cancels it. */
static int
follow(struct fg_session *s, const char *path, bool take_back, struct making *m,
    struct fg_err *err)
{
	const struct timespec nap = {.tv_nsec = POLL_NS};

	for (;;) {
		json_t *j = NULL;
		int over;

		if (fg_tool_stop && !take_back)
			return fg_fail(err, FG_ECANCELED,
			    "interrupted; the job goes on");
		if (fg_tool_stop) {
			if (fg_control_call(s->control, "DELETE", path, NULL, NULL,
				err) < 0)
				return fg_err_prefix(err, "interrupted, and the daemon "
							  "goes on");
			return fg_fail(err, FG_ECANCELED, "interrupted");
		}
		if (fg_control_call(s->control, "GET", path, NULL, &j, err) < 0)
			return fg_err_prefix(err, "job %s goes on when a daemon starts",
			    strrchr(path, '/') + 1);
		over = look(j, m, err);
		json_decref(j);
		if (over)
			return over < 0 ? -1 : 0;
		nanosleep(&nap, NULL);
	}
}

/* Have the daemon do it; body is given up. */
static int
make_there(struct fg_session *s, json_t *body, struct making *m, struct fg_err *err)
{
	json_t *reply = NULL;
	int64_t id = 0;
	char *path;
	int rc = fg_control_call(s->control, "POST", "/api/jobs", body, &reply, err);

	json_decref(body);
	if (rc == 0)
		rc = fg_json_get_int(reply, "id", FG_JSON_NEEDED, 1, INT64_MAX, &id,
		    err);
	json_decref(reply);
	if (rc < 0)
		return -1;
	path = fg_asprintf("/api/jobs/%lld", (long long)id);
	rc = follow(s, path, true, m, err);
	free(path);
	return rc;
}

/* ------------------------------------------------------------- floodgate segment */

static void
report(const struct fg_tool *t, const char *name, const struct making *m)
{
	const struct fg_bulk_progress *p = &m->last;
	char time[32];

	if (t->json)
		fg_tool_print_json(json_pack("{s:s, s:I, s:I, s:I, s:I, s:f}", "layer",
		    name, "all", (json_int_t)p->all, "done", (json_int_t)p->done,
		    "skipped", (json_int_t)p->skipped, "failed", (json_int_t)p->failed,
		    "seconds", p->seconds));
	else
		printf("%s: %llu %s made, %llu were there, %llu failed, %s\n", name,
		    (unsigned long long)p->done, m->unit ? m->unit : "blocks",
		    (unsigned long long)p->skipped, (unsigned long long)p->failed,
		    fg_tool_time(p->seconds, time));
}

static int
check_generated(const struct fg_layer *l, struct fg_err *err)
{
	if (l->broken)
		return fg_fail(err, FG_EIO, "layer %s: %s", l->name, l->why);
	if (l->base)
		return fg_fail(err, FG_EINVAL, "layer %s is made together with %s",
		    l->name, l->base->name);
	if (!l->recipe)
		return fg_fail(err, FG_EINVAL,
		    "layer %s is served as it is, not generated", l->name);
	return 0;
}

static int
run_segment(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_session s = {0}, here = {0};
	struct making m = {.bar = {.quiet = t->quiet}};
	struct fg_layer *l = NULL;
	struct fg_box vx;
	int rc = -1;

	char *what = fg_asprintf("segment %s", t->arg[0]);
	m.bar.what = what;
	if (fg_session_open(&s, t, false, &err) < 0)
		goto out;
	/* The layer's size is read here in any case: one way to check the box. */
	if (s.control && fg_session_read(&here, t, &err) < 0)
		goto out;
	l = fg_session_layer(s.control ? &here : &s, t->arg[0], &err);
	if (!l)
		goto out;
	if (check_generated(l, &err) < 0)
		goto out;
	if (choose_box(t, &l->info, &vx, &err) < 0)
		goto out;
	fg_tool_catch_signals();
	rc = s.control
		 ? make_there(&s,
		       json_pack("{s:s, s:o}", "layer", l->name, "box", box_json(&vx)),
		       &m, &err)
		 : make_here(t, &s, l, &vx, &m, &err);
	fg_progress_end(&m.bar);
	if (rc == 0 || m.last.all > 0)
		report(t, t->arg[0], &m);
out:
	free(what);
	fg_layer_unref(l);
	fg_session_close(&here);
	fg_session_close(&s);
	return rc < 0 ? fg_tool_fail(t, &err) : FG_EXIT_OK;
}

/* ------------------------------------------------------------- mesh, skeleton */

/* "17,18" */
static int
parse_ids(const char *text, uint64_t **out, size_t *n, struct fg_err *err)
{
	uint64_t *id = NULL;
	size_t k = 0;

	for (const char *p = text;; p++) {
		size_t len = strspn(p, "0123456789");
		char *end;

		errno = 0;
		id = fg_realloc(id, k + 1, sizeof *id);
		id[k] = strtoull(p, &end, 10);
		if (len == 0 || errno != 0 || id[k] == 0 || (p[len] && p[len] != ',')) {
			free(id);
			return fg_fail(err, FG_EINVAL,
			    "--ids %.60s: wanted ids with commas between", text);
		}
		k++;
		p += len;
		if (!*p)
			break;
	}
	*out = id;
	*n = k;
	return 0;
}

static int
objects_here(struct fg_session *s, struct fg_layer *l, const struct fg_box *vx,
    enum fg_kind kind, const uint64_t *id, size_t n, struct making *m,
    struct fg_err *err)
{
	struct fg_sched *sched = fg_sched_new(s->store, s->catalog, NULL, err);
	struct fg_bulk_call call = {.layer = l,
	    .vx = *vx,
	    .cls = FG_BULK,
	    .progress = on_progress,
	    .ctx = m,
	    .cancel = &fg_tool_stop};
	int rc;

	if (!sched)
		return -1;
	rc = fg_sched_objects(sched, &call, kind, id, n, err);
	fg_sched_stop(sched, fg_clock_ns() + (fg_tool_stop ? 0 : STOP_NS));
	fg_sched_free(sched);
	return rc;
}

static json_t *
objects_body(const struct fg_layer *l, const struct fg_box *vx, enum fg_kind kind,
    const uint64_t *id, size_t n)
{
	json_t *body = json_pack("{s:s, s:o, s:[s]}", "layer", l->name, "box",
	    box_json(vx), "stages", kind == FG_KIND_MESH ? "mesh" : "skeleton");
	json_t *list = json_array();
	char text[24];

	for (size_t i = 0; i < n; i++) {
		snprintf(text, sizeof text, "%llu", (unsigned long long)id[i]);
		json_array_append_new(list, json_string(text));
	}
	if (n > 0)
		json_object_set(body, "ids", list);
	json_decref(list);
	if (!l->agglomerated)
		json_object_set_new(body, "objects", json_string("base"));
	return body;
}

/* Ctrl-C: what was made until then, and how to go on. */
static void
tell_interrupted(const struct making *m, struct fg_err *err)
{
	const struct fg_bulk_progress *p = &m->last;

	if (err->code != FG_ECANCELED || !fg_tool_stop)
		return;
	fg_err_clear(err);
	fg_fail(err, FG_ECANCELED,
	    "interrupted: %llu of %llu objects are there; the same command goes on",
	    (unsigned long long)(p->done + p->skipped), (unsigned long long)p->all);
}

static int
run_objects(struct fg_tool *t, enum fg_kind kind)
{
	const char *word = kind == FG_KIND_MESH ? "mesh" : "skeleton";
	struct fg_err err = FG_ERR_INIT;
	struct fg_session s = {0}, here = {0};
	struct making m = {.bar = {.quiet = t->quiet}, .unit = "objects"};
	struct fg_layer *l = NULL;
	uint64_t *id = NULL;
	size_t n = 0;
	struct fg_box vx;
	int rc = -1;

	char *what = fg_asprintf("%s %s", word, t->arg[0]);
	m.bar.what = what;
	if ((fg_tool_has(t, "ids") &&
		parse_ids(fg_tool_text(t, "ids", ""), &id, &n, &err) < 0) ||
	    fg_session_open(&s, t, false, &err) < 0 ||
	    (s.control && fg_session_read(&here, t, &err) < 0))
		goto out;
	l = fg_session_layer(s.control ? &here : &s, t->arg[0], &err);
	if (!l || choose_box(t, &l->info, &vx, &err) < 0)
		goto out;
	fg_tool_catch_signals();
	rc = s.control ? make_there(&s, objects_body(l, &vx, kind, id, n), &m, &err)
		       : objects_here(&s, l, &vx, kind, id, n, &m, &err);
	fg_progress_end(&m.bar);
	if (rc < 0)
		tell_interrupted(&m, &err);
	if (rc == 0 || m.last.all > 0)
		report(t, t->arg[0], &m);
out:
	free(id);
	free(what);
	fg_layer_unref(l);
	fg_session_close(&here);
	fg_session_close(&s);
	return rc < 0 ? fg_tool_fail(t, &err) : FG_EXIT_OK;
}

static int
run_mesh(struct fg_tool *t)
{
	return run_objects(t, FG_KIND_MESH);
}

static int
run_skeleton(struct fg_tool *t)
{
	return run_objects(t, FG_KIND_SKELETON);
}

/* ------------------------------------------------------------- floodgate job */

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
		json_object_set_new(spec, "box", box_json(&b));
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

	printf("%s: %llu blocks, %llu present, %llu to make, about %s (%s)\n",
	    text_in(j, "layer"), (unsigned long long)count_of(j, "blocks"),
	    (unsigned long long)count_of(j, "present"),
	    (unsigned long long)count_of(j, "to_make"),
	    fg_tool_bytes(number_in(j, "bytes"), bytes), text_in(j, "bytes_basis"));
	if (json_is_number(json_object_get(j, "device_hours")))
		printf("about %.3g device-hours, %.3g hours with %llu devices (%s)\n",
		    number_in(j, "device_hours"), number_in(j, "hours"),
		    (unsigned long long)count_of(j, "devices"),
		    text_in(j, "time_basis"));
	else
		printf("how long it takes is not known: no block was made yet\n");
}

static void
print_job(const json_t *j)
{
	const char *error = text_in(j, "error");
	char time[32];

	printf("%-5llu %-20s %-9s %5.1f %%  %llu of %llu %s",
	    (unsigned long long)count_of(j, "id"), text_in(j, "layer"),
	    text_in(j, "state"), 100 * number_in(j, "fraction"),
	    (unsigned long long)(count_of(j, "done") + count_of(j, "skipped")),
	    (unsigned long long)count_of(j, "all"), text_in(j, "counted"));
	if (count_of(j, "failed"))
		printf(", %llu failed", (unsigned long long)count_of(j, "failed"));
	if (json_is_number(json_object_get(j, "left_s")))
		printf(", %s left", fg_tool_time(number_in(j, "left_s"), time));
	printf("%s%s\n", *error ? ": " : "", error);
}

/* Watch a job and report it like floodgate segment does. */
static int
watch_job(const struct fg_tool *t, struct jobs *jobs, int64_t id, struct fg_err *err)
{
	struct making m = {.bar = {.quiet = t->quiet}};
	char *path = fg_asprintf("/api/jobs/%lld", (long long)id);
	char *what = fg_asprintf("job %lld", (long long)id);
	int rc;

	m.bar.what = what;
	if (!jobs->s.control) {
		rc = fg_fail(err, FG_EBUSY,
		    "no daemon holds %s: the job begins when one does", t->root);
	} else {
		fg_tool_catch_signals();
		rc = follow(&jobs->s, path, false, &m, err);
		fg_progress_end(&m.bar);
		if (m.last.all > 0 && !t->json)
			report(t, what, &m);
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

const struct fg_tool_command fg_tool_make_commands[] = {
    {.name = "segment",
	.args = "LAYER",
	.least = 1,
	.most = 1,
	.summary = "make all blocks of a box now",
	.details =
	    "What exists is skipped, so this may be interrupted and started again. "
	    "Where a\ndaemon holds the data directory it does the work, and this "
	    "command shows how far\nit is; Ctrl-C takes the order back.",
	.options = options,
	.run = run_segment},
    {.name = "mesh",
	.args = "LAYER",
	.least = 1,
	.most = 1,
	.summary = "make the meshes of a layer's objects now",
	.details =
	    "LAYER.agg: of whole objects; LAYER: of the objects of single blocks. "
	    "What is there\nis skipped, so this may be interrupted and started again. "
	    "Nobody has to run it:\na mesh that is asked for is made then.",
	.options = object_options,
	.run = run_mesh},
    {.name = "skeleton",
	.args = "LAYER",
	.least = 1,
	.most = 1,
	.summary = "make the skeletons of a layer's objects now",
	.details = "As floodgate mesh.",
	.options = object_options,
	.run = run_skeleton},
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
