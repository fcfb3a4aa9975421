/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How far a long order is, for the commands that give one or watch it: the progress of
 * work in this process or of a job in the daemon, and the words when it is over.
 */
#ifndef FG_WORK_TOOL_FOLLOW_H
#define FG_WORK_TOOL_FOLLOW_H

#include "work/sched.h"
#include "work/tool.h"

struct fg_follow {
	struct fg_progress bar;
	const char *unit;             /* what is made; NULL: blocks */
	struct fg_bulk_progress last; /* as it was last told */
};

/* An fg_bulk_progress function whose ctx is a struct fg_follow. */
void fg_follow_progress(void *ctx, const struct fg_bulk_progress *p);

/* Watch the job at a path of the daemon's interface until it is over. take_back: an
 * interrupt cancels it. Fails: FG_ECANCELED (cancelled or interrupted), FG_EIO. */
int fg_follow_job(struct fg_session *s, const char *path, bool take_back,
    struct fg_follow *f, struct fg_err *err) FG_MUST_USE;

/* What was made, on standard output; name: the layer's or the job's. */
void fg_follow_report(const struct fg_tool *t, const char *name,
    const struct fg_follow *f);

/* A count of a description of jobs; 0 where it is absent. */
uint64_t fg_follow_count(const json_t *j, const char *key);

/* A box as orders have it: six numbers. */
json_t *fg_follow_box(const struct fg_box *vx);

#endif
