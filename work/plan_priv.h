/* SPDX-License-Identifier: Apache-2.0 */
/* What plan.c (life of jobs), plan_stage.c (what they do) and plan_view.c (their JSON,
 * in and out) share. */
#ifndef FG_WORK_PLAN_PRIV_H
#define FG_WORK_PLAN_PRIV_H

#include <pthread.h>

#include "work/plan.h"

enum fg_stage {
	FG_STAGE_SEGMENT,
	FG_STAGE_STITCH,
	FG_STAGE_RESEGMENT,
	FG_STAGE_DOWNSAMPLE,
	FG_STAGE_MESH,
	FG_STAGE_SKELETON,
	FG_STAGES
};

/* The stages that are about objects, as bits. */
#define FG_STAGES_OBJECTS (1u << FG_STAGE_MESH | 1u << FG_STAGE_SKELETON)

/* A job as it is stored and as it was asked for. */
struct fg_wish {
	uint32_t layer;
	struct fg_box vx; /* voxels of the finest scale */
	unsigned stages;  /* bits by enum fg_stage */
	enum fg_class cls;
	bool base;    /* meshes and skeletons: of base objects, not of components */
	uint64_t *id; /* the same: of these; NULL: of all in the box. malloc'ed */
	size_t ids;
};

struct fg_plan_job {
	int64_t id;
	struct fg_wish wish;
	char *layer_name;
	uint64_t blocks; /* in the box */
	_Atomic bool cancel, spare;
	/* guarded by fg_plan.lock */
	enum fg_job_state state;
	bool active; /* a thread is at it */
	bool gone;   /* out of the list; freed by the thread that is at it */
	bool again;  /* retry was asked for while it ran */
	int stage;   /* the one being run, or -1 */
	struct fg_bulk_progress progress[FG_STAGES];
	uint64_t done_before; /* of what is counted (fg_wish_counted): made in runs
				 before this one or the last */
	double seconds_before;
	int64_t run_ns;   /* when this run began */
	int64_t due_ns;   /* not before */
	uint64_t changed; /* fg_plan.changes at its last change */
	int64_t created_ms, updated_ms;
	char error[480]; /* why it failed, or why it waits */
	struct fg_plan_job *next;
};

struct fg_plan {
	struct fg_store *store;
	struct fg_catalog *catalog;
	struct fg_sched *sched;
	int running_max;
	pthread_mutex_t lock; /* after the store's writer lock, before no other */
	/* guarded by lock */
	pthread_cond_t changed;
	struct fg_plan_job *first; /* newest first */
	uint64_t changes;
	pthread_t *thread;
	int threads, idle;
	size_t open; /* jobs not over */
	bool stopping;
};

/* ------------------------------------------------------------- plan_stage.c */

struct fg_stage_run {
	struct fg_plan *p;
	struct fg_plan_job *job;
	struct fg_layer *layer;
	bool complete; /* out: the stage went over the whole box */
};

/* The layer whose objects a wish is about: of components, in which people think, or of
 * base objects where that was asked for. A new reference. */
struct fg_layer *fg_plan_objects_layer(struct fg_plan *p, struct fg_layer *l,
    const struct fg_wish *w) FG_MUST_USE;
/* Whether this build has the stage. */
bool fg_plan_has_stage(int stage);
int fg_plan_run_stage(int stage, struct fg_stage_run *r,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- plan_view.c */

/* *w is overwritten; fg_wish_fini it after success. *l: a reference to the layer named
 * in the spec (NAME for NAME.agg). */
int fg_wish_parse(struct fg_plan *p, const json_t *spec, struct fg_wish *w,
    struct fg_layer **l, struct fg_err *err) FG_MUST_USE;
void fg_wish_fini(struct fg_wish *w);
/* The stages, as bits, whose numbers are the job's, summed: segment if it is wanted,
 * else mesh and skeleton, else the last of those that there are. */
unsigned fg_wish_counted(const struct fg_wish *w);
/* What these count: "blocks", "objects", "meshes and skeletons", "chunks". */
const char *fg_wish_unit(const struct fg_wish *w);
/* What the stages that are counted have made in this run. */
uint64_t fg_wish_made(const struct fg_plan_job *j);
char *fg_wish_box_format(const struct fg_wish *w);
/* Box, stages and class, into out. */
void fg_wish_describe(const struct fg_wish *w, json_t *out);
/* The column `stages`: also holds the counts of a job that is over. */
char *fg_wish_stages_format(const struct fg_plan_job *j);
int fg_wish_read(const struct fg_job_row *row, struct fg_plan_job *j,
    struct fg_err *err) FG_MUST_USE;
/* Under the lock. */
json_t *fg_plan_describe(const struct fg_plan_job *j) FG_MUST_USE;

/* ------------------------------------------------------------- plan_dry.c */

/* Failed blocks of a box: calls fn for each. */
int fg_plan_failed_blocks(struct fg_reader *r, uint32_t layer, const struct fg_box *blk,
    void (*fn)(void *ctx, const struct fg_block_row *row), void *ctx,
    struct fg_err *err) FG_MUST_USE;

#endif
