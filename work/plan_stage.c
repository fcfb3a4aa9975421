/* SPDX-License-Identifier: Apache-2.0 */
/* The stages of jobs: a table, a row each. A job's thread runs them one by one. */
#include "config.h"

#include "work/plan_priv.h"

#include <stdlib.h>

static void
on_progress(void *ctx, const struct fg_bulk_progress *now)
{
	struct fg_stage_run *r = ctx;

	pthread_mutex_lock(&r->p->lock);
	r->job->progress[r->job->stage] = *now;
	r->job->changed = ++r->p->changes;
	pthread_mutex_unlock(&r->p->lock);
}

static struct fg_bulk_call
call_of(struct fg_stage_run *r)
{
	return (struct fg_bulk_call){
	    .layer = r->layer,
	    .vx = r->job->wish.vx,
	    .cls = r->job->wish.cls,
	    .progress = on_progress,
	    .ctx = r,
	    .cancel = &r->job->cancel,
	    .spare = &r->job->spare,
	};
}

static int
run_segment(struct fg_stage_run *r, struct fg_err *err)
{
	struct fg_bulk_call call = call_of(r);
	int rc = fg_sched_blocks(r->p->sched, &call, err);

	r->complete = call.complete;
	return rc;
}

static int
run_stitch(struct fg_stage_run *r, struct fg_err *err)
{
	struct fg_bulk_call call = call_of(r);
	int rc = fg_sched_stitch(r->p->sched, &call, err);

	r->complete = call.complete;
	return rc;
}

static int
run_resegment(struct fg_stage_run *r, struct fg_err *err)
{
	struct fg_bulk_call call = call_of(r);
	int rc = fg_sched_resegment(r->p->sched, &call, err);

	r->complete = call.complete;
	return rc;
}

static int
run_downsample(struct fg_stage_run *r, struct fg_err *err)
{
	struct fg_bulk_call call = call_of(r);
	int rc = fg_sched_coarse(r->p->sched, &call, err);

	r->complete = call.complete;
	return rc;
}

struct fg_layer *
fg_plan_objects_layer(struct fg_plan *p, struct fg_layer *l, const struct fg_wish *w)
{
	char *name = fg_asprintf("%s.agg", l->name);
	struct fg_layer *whole =
	    w->base ? NULL : fg_catalog_find(p->catalog, name, strlen(name));

	free(name);
	/* Another layer may have that name. */
	if (whole && whole->base == l)
		return whole;
	fg_layer_unref(whole);
	return fg_layer_ref(l);
}

static int
run_objects(struct fg_stage_run *r, enum fg_kind kind, struct fg_err *err)
{
	const struct fg_wish *w = &r->job->wish;
	struct fg_bulk_call call = call_of(r);
	int rc;

	call.layer = fg_plan_objects_layer(r->p, r->layer, w);
	rc = fg_sched_objects(r->p->sched, &call, kind, w->id, w->ids, err);
	r->complete = call.complete;
	fg_layer_unref(call.layer);
	return rc;
}

static int
run_mesh(struct fg_stage_run *r, struct fg_err *err)
{
	return run_objects(r, FG_KIND_MESH, err);
}

static int
run_skeleton(struct fg_stage_run *r, struct fg_err *err)
{
	return run_objects(r, FG_KIND_SKELETON, err);
}

/* Each goes over the whole box and returns when that is done: 0, or -1 with r->complete
 * when parts failed for good. NULL: not available in this build. */
static int (*const stage_run[FG_STAGES])(struct fg_stage_run *r, struct fg_err *err) = {
    [FG_STAGE_SEGMENT] = run_segment,
    [FG_STAGE_STITCH] = run_stitch,
    [FG_STAGE_RESEGMENT] = run_resegment,
    [FG_STAGE_DOWNSAMPLE] = run_downsample,
    [FG_STAGE_MESH] = run_mesh,
    [FG_STAGE_SKELETON] = run_skeleton,
};

bool
fg_plan_has_stage(int stage)
{
	return stage_run[stage] != NULL;
}

int
fg_plan_run_stage(int stage, struct fg_stage_run *r, struct fg_err *err)
{
	return stage_run[stage](r, err);
}
