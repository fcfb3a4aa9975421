/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floodgate segment: make all blocks of a box now, here or, as a job, in the daemon
 * that holds the data directory. Blocks that exist are skipped, so it may be stopped
 * and started as one likes.
 *
 * floodgate mesh, floodgate skeleton: the same for meshes and skeletons of objects.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "store/store.h"
#include "work/catalog.h"
#include "work/control.h"
#include "work/sched.h"
#include "work/tool_follow.h"

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
    const struct fg_box *vx, struct fg_follow *f, struct fg_err *err)
{
	struct fg_sched_options opt = {.devices = fg_tool_text(t, "devices", NULL)};
	struct fg_sched *sched = fg_sched_new(s->store, s->catalog, &opt, err);
	int rc;

	if (!sched)
		return -1;
	rc = fg_sched_bulk(sched, l, vx, fg_follow_progress, f, &fg_tool_stop, err);
	fg_sched_stop(sched, fg_clock_ns() + (fg_tool_stop ? 0 : STOP_NS));
	fg_sched_free(sched);
	return rc;
}

/* ------------------------------------------------------------- in the daemon */

/* Have the daemon do it; body is given up. */
static int
make_there(struct fg_session *s, json_t *body, struct fg_follow *f, struct fg_err *err)
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
	rc = fg_follow_job(s, path, true, f, err);
	free(path);
	return rc;
}

/* ------------------------------------------------------------- floodgate segment */

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
	struct fg_follow f = {.bar = {.quiet = t->quiet}};
	struct fg_layer *l = NULL;
	struct fg_box vx;
	int rc = -1;

	char *what = fg_asprintf("segment %s", t->arg[0]);
	f.bar.what = what;
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
	rc = s.control ? make_there(&s,
			     json_pack("{s:s, s:o}", "layer", l->name, "box",
				 fg_follow_box(&vx)),
			     &f, &err)
		       : make_here(t, &s, l, &vx, &f, &err);
	fg_progress_end(&f.bar);
	if (rc == 0 || f.last.all > 0)
		fg_follow_report(t, t->arg[0], &f);
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
    enum fg_kind kind, const uint64_t *id, size_t n, struct fg_follow *f,
    struct fg_err *err)
{
	struct fg_sched *sched = fg_sched_new(s->store, s->catalog, NULL, err);
	struct fg_bulk_call call = {.layer = l,
	    .vx = *vx,
	    .cls = FG_BULK,
	    .progress = fg_follow_progress,
	    .ctx = f,
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
	    fg_follow_box(vx), "stages", kind == FG_KIND_MESH ? "mesh" : "skeleton");
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
tell_interrupted(const struct fg_follow *f, struct fg_err *err)
{
	const struct fg_bulk_progress *p = &f->last;

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
	struct fg_follow f = {.bar = {.quiet = t->quiet}, .unit = "objects"};
	struct fg_layer *l = NULL;
	uint64_t *id = NULL;
	size_t n = 0;
	struct fg_box vx;
	int rc = -1;

	char *what = fg_asprintf("%s %s", word, t->arg[0]);
	f.bar.what = what;
	if ((fg_tool_has(t, "ids") &&
		parse_ids(fg_tool_text(t, "ids", ""), &id, &n, &err) < 0) ||
	    fg_session_open(&s, t, false, &err) < 0 ||
	    (s.control && fg_session_read(&here, t, &err) < 0))
		goto out;
	l = fg_session_layer(s.control ? &here : &s, t->arg[0], &err);
	if (!l || choose_box(t, &l->info, &vx, &err) < 0)
		goto out;
	fg_tool_catch_signals();
	rc = s.control ? make_there(&s, objects_body(l, &vx, kind, id, n), &f, &err)
		       : objects_here(&s, l, &vx, kind, id, n, &f, &err);
	fg_progress_end(&f.bar);
	if (rc < 0)
		tell_interrupted(&f, &err);
	if (rc == 0 || f.last.all > 0)
		fg_follow_report(t, t->arg[0], &f);
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
    {.name = NULL},
};
