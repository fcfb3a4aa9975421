/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The planner: jobs, that is, wishes for whole regions.
 *
 * A job names a layer, a box, the stages to take it through, and a class. The wish is
 * durable (fg_store_job_put), the queue is not: after a restart every job that is not
 * over begins again, and what is present is skipped. For the same reason overlapping
 * jobs and viewers share work, and none of it is done twice.
 *
 * Life of a job:
 *
 *   waiting -> running -> done | failed (blocks used up their attempts: listed)
 *      ^          |
 *      +----------+  layer paused, disk full, no device: again in a while
 *   paused, cancelled: by the user; retry brings failed and cancelled ones back
 *
 * At most `running` jobs run at once, each on a thread of the planner's own that sits
 * in the scheduler; others wait, bulk before idle, then by age. Stages run one after
 * the other over the box; coarse chunks are also made as soon as there is something
 * below them (sched_coarse.c), so the later stages mostly find their work done.
 *
 * A stage is one row in the table of plan_stage.c. A stage that this build lacks is
 * refused when a job asks for it.
 *
 * JSON of a job: {"id", "url", "layer", "box": [x0, y0, z0, x1, y1, z1] in voxels of
 * the finest scale, "class", "state": "waiting" | "running" | "paused" | "done" |
 * "failed" | "cancelled", "stages": [{"name", "state", "all", "done", "present",
 * "failed", "running", "queued"}], and of what is "counted" (fg_wish_unit: blocks,
 * objects, meshes and skeletons, chunks) "all", "done", "skipped" (were present),
 * "failed"; "fraction"; "rate" of these per second and "left_s", null while unknown;
 * "seconds" that it ran; "created", "updated" (wall clock, ms), "error"}.
 *
 * Any thread may call; no call waits for computation.
 */
#ifndef FG_WORK_PLAN_H
#define FG_WORK_PLAN_H

#include <jansson.h>

#include "work/catalog.h"
#include "work/sched.h"

struct fg_plan;

/* Read the wishes of the data directory. With a scheduler their work goes on at once;
 * without one (NULL) they are only kept, for a daemon to come. running: jobs at the
 * same time, 1 .. 1000. */
struct fg_plan *fg_plan_new(struct fg_store *store, struct fg_catalog *catalog,
    struct fg_sched *sched, int running, struct fg_err *err) FG_MUST_USE;
/* No further job begins, and running ones let go of the scheduler (their running blocks
 * go on); before fg_sched_stop. Then fg_plan_free, before fg_sched_free. */
void fg_plan_stop(struct fg_plan *p);
void fg_plan_free(struct fg_plan *p);

/*
 * A new job. spec: {"layer": NAME, "box": six whole numbers, absent: the whole volume;
 * "unit": "voxels" (default) or "nm"; "scale": key of the scale whose voxels are meant
 * (default the finest); "stages": names (default segment, stitch, downsample), "class":
 * "bulk" (default) or "idle"}. A box in other units than voxels of the finest scale is
 * widened to whole voxels and cut at the volume. *out: the job as JSON, json_decref().
 * Returns when the wish is on the disk.
 * Fails: FG_EINVAL (spec), FG_ENOENT (no such layer), FG_ENOTSUP (stage not available),
 * FG_EBUSY (layer paused or broken, too many open jobs), FG_EFULL, FG_EIO.
 */
int fg_plan_submit(struct fg_plan *p, const json_t *spec, json_t **out,
    struct fg_err *err) FG_MUST_USE;

/*
 * What such a job would do, without making it: {"layer", "box", "stages", "class",
 * "blocks" and "voxels" of the box; "counted" as in a job, and of these "all",
 * "present", "failed" (given up before, or no object), "to_make" (of stitch and
 * resegment: at most); "bytes" (estimated, to be written), "bytes_basis",
 * "device_hours", "hours" (with the devices of this machine), "time_basis"}. "all",
 * "present" and "to_make" are null, not known before, of chunks and of the objects of a
 * box in a layer that has more than 100,000. Estimates are of blocks: null with any
 * other thing counted, unless there is nothing to make. Objects are those that there
 * are by now. basis: "measured" on blocks of this layer, "estimated" from the network's
 * speed, "assumed" or "unknown". measure: also measure the network when no block of the
 * layer was made yet (seconds). Fails as fg_plan_submit; FG_EINVAL: a layer that is not
 * made here.
 */
int fg_plan_dry(struct fg_plan *p, const json_t *spec, bool measure, json_t **out,
    struct fg_err *err) FG_MUST_USE;

/* The names of the stages that this build has, in their order. */
json_t *fg_plan_stages(void) FG_MUST_USE;
/* The voxels (finest scale) of the box of such a job. Fails as fg_plan_submit for its
 * layer, box and stages. */
int fg_plan_voxels(struct fg_plan *p, const json_t *spec, double *voxels,
    struct fg_err *err) FG_MUST_USE;

/* How many jobs there are: waiting, running, paused, done, failed, cancelled. */
#define FG_PLAN_STATES 6
void fg_plan_counts(struct fg_plan *p, uint64_t out[FG_PLAN_STATES]);

/* All jobs, newest first. */
json_t *fg_plan_list(struct fg_plan *p) FG_MUST_USE;
/* One job, with "failures": [{"block", "error", "tries", "next_try"}] (at most 100, the
 * rest is counted by "failed") read through r. FG_ENOENT. */
int fg_plan_show(struct fg_plan *p, int64_t job, struct fg_reader *r, json_t **out,
    struct fg_err *err) FG_MUST_USE;

/* Orders. Each is durable when it returns; *out: the job then. A job that is in no
 * state for it: FG_EINVAL. */
enum fg_plan_order {
	FG_PLAN_CANCEL, /* waiting, running, paused or failed ones */
	FG_PLAN_PAUSE,  /* running blocks go on; waiting or running ones */
	FG_PLAN_RESUME, /* paused ones */
	FG_PLAN_RETRY,  /* forget failures in the box; failed, cancelled or open ones */
};
int fg_plan_order(struct fg_plan *p, int64_t job, enum fg_plan_order what, json_t **out,
    struct fg_err *err) FG_MUST_USE;

/* The layer was removed, and its jobs with it. */
void fg_plan_forget_layer(struct fg_plan *p, uint32_t layer);

/* Jobs (same JSON) whose state or counts changed after *since, which goes on: for
 * polling. UINT64_MAX: all that are not over. */
json_t *fg_plan_changes(struct fg_plan *p, uint64_t *since) FG_MUST_USE;

#endif
