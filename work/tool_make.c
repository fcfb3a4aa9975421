/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floodgate segment: make all blocks of a box now, here or in the daemon that holds
 * the data directory. Blocks that exist are skipped, so it may be stopped and started
 * as one likes.
 */
#include "config.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/json.h"
#include "store/store.h"
#include "work/catalog.h"
#include "work/control.h"
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

struct making {
	struct fg_progress bar;
	struct fg_bulk_progress last;
};

static void
on_progress(void *ctx, const struct fg_bulk_progress *p)
{
	struct making *m = ctx;
	char note[64];

	m->last = *p;
	snprintf(note, sizeof note, "%llu of %llu blocks",
	    (unsigned long long)(p->done + p->skipped), (unsigned long long)p->all);
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
box_body(const struct fg_box *vx)
{
	return json_pack("{s:[I,I,I,I,I,I]}", "box", (json_int_t)vx->lo[0],
	    (json_int_t)vx->lo[1], (json_int_t)vx->lo[2], (json_int_t)vx->hi[0],
	    (json_int_t)vx->hi[1], (json_int_t)vx->hi[2]);
}

static uint64_t
count_of(const json_t *j, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(j, key));

	return v > 0 ? (uint64_t)v : 0;
}

/* One look at the job: 1 when it is over, 0 while it runs. */
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

	on_progress(m, &p);
	if (!state)
		return fg_fail(err, FG_EIO, "the daemon's reply has no \"state\"");
	if (strcmp(state, "running") == 0)
		return 0;
	if (strcmp(state, "done") == 0)
		return 1;
	if (strncmp(state, "cancel", 6) == 0)
		return fg_fail(err, FG_ECANCELED, "cancelled");
	return fg_fail(err, FG_EIO, "%s", error ? error : "failed");
}

static int
follow(struct fg_session *s, const char *path, struct making *m, struct fg_err *err)
{
	const struct timespec nap = {.tv_nsec = POLL_NS};

	for (;;) {
		json_t *j = NULL;
		int over;

		if (fg_tool_stop) {
			if (fg_control_call(s->control, "DELETE", path, NULL, NULL,
				err) < 0)
				return fg_err_prefix(err, "interrupted, and the daemon "
							  "goes on");
			return fg_fail(err, FG_ECANCELED, "interrupted");
		}
		if (fg_control_call(s->control, "GET", path, NULL, &j, err) < 0)
			return -1;
		over = look(j, m, err);
		json_decref(j);
		if (over)
			return over < 0 ? -1 : 0;
		nanosleep(&nap, NULL);
	}
}

static int
make_there(struct fg_session *s, const char *layer, const struct fg_box *vx,
    struct making *m, struct fg_err *err)
{
	json_t *body = box_body(vx), *reply = NULL;
	char *path = fg_asprintf("/api/layers/%s/segment", layer);
	int64_t id = 0;
	int rc = fg_control_call(s->control, "POST", path, body, &reply, err);

	free(path);
	json_decref(body);
	if (rc == 0)
		rc = fg_json_get_int(reply, "id", FG_JSON_NEEDED, 0, INT64_MAX, &id,
		    err);
	json_decref(reply);
	if (rc < 0)
		return -1;
	path = fg_asprintf("/api/segment/%lld", (long long)id);
	rc = follow(s, path, m, err);
	free(path);
	return rc;
}

/* ------------------------------------------------------------- the command */

static void
report(const struct fg_tool *t, const struct making *m)
{
	const struct fg_bulk_progress *p = &m->last;
	char time[32];

	if (t->json)
		fg_tool_print_json(json_pack("{s:s, s:I, s:I, s:I, s:I, s:f}", "layer",
		    t->arg[0], "all", (json_int_t)p->all, "done", (json_int_t)p->done,
		    "skipped", (json_int_t)p->skipped, "failed", (json_int_t)p->failed,
		    "seconds", p->seconds));
	else
		printf("%s: %llu blocks made, %llu were there, %llu failed, %s\n",
		    t->arg[0], (unsigned long long)p->done,
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
	rc = s.control ? make_there(&s, l->name, &vx, &m, &err)
		       : make_here(t, &s, l, &vx, &m, &err);
	fg_progress_end(&m.bar);
	if (rc == 0 || m.last.all > 0)
		report(t, &m);
out:
	free(what);
	fg_layer_unref(l);
	fg_session_close(&here);
	fg_session_close(&s);
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
    {.name = NULL},
};
