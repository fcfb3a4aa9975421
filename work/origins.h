/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the objects of a block began: the seed of the flood that made each label, from
 * the flood (seg/segment.h) through further passes to the object's row. One thread.
 */
#ifndef FG_WORK_ORIGINS_H
#define FG_WORK_ORIGINS_H

#include "base/array.h"
#include "base/box.h"

struct fg_origins {
	struct fg_origin *of; /* by label - 1 */
	size_t n;
};

void fg_origins_fini(struct fg_origins *o);

/* The flood of `label` (1 ..) began at vx, a voxel of the layer's finest scale. */
void fg_origins_put(struct fg_origins *o, uint32_t label, const int64_t vx[3]);
/* False: not known; vx stays. */
bool fg_origins_find(const struct fg_origins *o, uint32_t label, int64_t vx[3]);

/*
 * Around a pass that splits labels (seg/consensus.h). Before it, forget the seeds that
 * do not lie in their own object (a flood may leave its seed below the threshold);
 * after it, each seed belongs to the piece that has it, other pieces have none.
 * labels: u32 of the box.
 */
void fg_origins_confine(struct fg_origins *o, const struct fg_array *labels,
    const struct fg_box *box);
void fg_origins_follow(struct fg_origins *o, const struct fg_array *labels,
    const struct fg_box *box);

#endif
