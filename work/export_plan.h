/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an export writes, fixed before it begins: scales, boxes, encodings, sharding.
 * Internal to work/export.c.
 */
#ifndef FG_WORK_EXPORT_PLAN_H
#define FG_WORK_EXPORT_PLAN_H

#include "work/export.h"

#define FG_EXPORT_MESH "mesh" /* folders, as info names them */
#define FG_EXPORT_SKELETONS "skeletons"
#define FG_EXPORT_PROPERTIES "segment_properties"

struct fg_export_plan {
	struct fg_info info; /* as written; scales.. of the next members */
	struct {
		int from;         /* scale of the layer */
		int64_t first[3]; /* chunk of the layer that is chunk 0,0,0 */
		int64_t grid[3];
		uint64_t chunks; /* product of grid */
		bool recode;
	} scale[FG_SCALES_MAX];
	uint64_t chunks; /* of all scales */
};

int fg_export_plan_init(struct fg_export_plan *p, const struct fg_export *x,
    struct fg_err *err) FG_MUST_USE;
void fg_export_plan_fini(struct fg_export_plan *p);
/* The plan as one line of JSON: the same line, the same export. free(). */
char *fg_export_plan_text(const struct fg_export_plan *p,
    const struct fg_export *x) FG_MUST_USE;

#endif
