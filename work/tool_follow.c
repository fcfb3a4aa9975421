/* SPDX-License-Identifier: Apache-2.0 */
/* See work/tool_follow.h. */
#include "config.h"

#include "work/tool_follow.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "work/control.h"

/* How often the daemon is asked how far it is. */
#define POLL_NS (500 * FG_NS_PER_MS)

void
fg_follow_progress(void *ctx, const struct fg_bulk_progress *p)
{
	struct fg_follow *f = ctx;
	char note[64];

	f->last = *p;
	snprintf(note, sizeof note, "%llu of %llu %s",
	    (unsigned long long)(p->done + p->skipped), (unsigned long long)p->all,
	    f->unit ? f->unit : "blocks");
	fg_progress_note(&f->bar, p->fraction, 1, note);
}

json_t *
fg_follow_box(const struct fg_box *vx)
{
	return json_pack("[I,I,I,I,I,I]", (json_int_t)vx->lo[0], (json_int_t)vx->lo[1],
	    (json_int_t)vx->lo[2], (json_int_t)vx->hi[0], (json_int_t)vx->hi[1],
	    (json_int_t)vx->hi[2]);
}

uint64_t
fg_follow_count(const json_t *j, const char *key)
{
	json_int_t v = json_integer_value(json_object_get(j, key));

	return v > 0 ? (uint64_t)v : 0;
}

/* One look at the job: 1 when it is over, 0 while it is not. */
static int
look(const json_t *j, struct fg_follow *f, struct fg_err *err)
{
	static const char *const units[] = {"blocks", "objects", "meshes and skeletons",
	    "chunks"};
	const char *state = json_string_value(json_object_get(j, "state"));
	const char *error = json_string_value(json_object_get(j, "error"));
	const char *counted = json_string_value(json_object_get(j, "counted"));
	struct fg_bulk_progress p = {.all = fg_follow_count(j, "all"),
	    .done = fg_follow_count(j, "done"),
	    .skipped = fg_follow_count(j, "skipped"),
	    .failed = fg_follow_count(j, "failed"),
	    .seconds = json_number_value(json_object_get(j, "seconds")),
	    .fraction = json_number_value(json_object_get(j, "fraction"))};

	for (size_t i = 0; counted && i < FG_COUNTOF(units); i++) {
		if (strcmp(counted, units[i]) == 0)
			f->unit = units[i];
	}
	fg_follow_progress(f, &p);
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

int
fg_follow_job(struct fg_session *s, const char *path, bool take_back,
    struct fg_follow *f, struct fg_err *err)
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
		over = look(j, f, err);
		json_decref(j);
		if (over)
			return over < 0 ? -1 : 0;
		nanosleep(&nap, NULL);
	}
}

void
fg_follow_report(const struct fg_tool *t, const char *name, const struct fg_follow *f)
{
	const struct fg_bulk_progress *p = &f->last;
	char time[32];

	if (t->json)
		fg_tool_print_json(json_pack("{s:s, s:I, s:I, s:I, s:I, s:f}", "layer",
		    name, "all", (json_int_t)p->all, "done", (json_int_t)p->done,
		    "skipped", (json_int_t)p->skipped, "failed", (json_int_t)p->failed,
		    "seconds", p->seconds));
	else
		printf("%s: %llu %s made, %llu were there, %llu failed, %s\n", name,
		    (unsigned long long)p->done, f->unit ? f->unit : "blocks",
		    (unsigned long long)p->skipped, (unsigned long long)p->failed,
		    fg_tool_time(p->seconds, time));
}
