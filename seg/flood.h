/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One flood: from a start voxel over a growing set of fields of view, as a state
 * machine. Nothing is computed here:
 *
 *   fg_flood_start(f, ...);
 *   while (fg_flood_next(f, labels, mask)) {
 *           ... run f->step on a device ...
 *           fg_flood_took(f);
 *   }
 *   if (f->weak) ...
 *
 * What a flood did depends on the labels of its time only through the voxels in
 * f->centre, which were free. Labels are only ever added, so the flood is what it
 * would be under later labels exactly if those voxels are still free then.
 */
#ifndef FG_SEG_FLOOD_H
#define FG_SEG_FLOOD_H

#include "seg/canvas.h"

struct fg_flood {
	const struct fg_step_params *params;
	int64_t fov[3], shape[3]; /* field of view, box: voxels */
	int64_t start[3];
	struct fg_canvas *canvas; /* owned */
	struct fg_step step;      /* what to run next, and what came of it */
	int32_t (*centre)[3];     /* fields of view predicted so far, in order */
	size_t centres, centres_cap;
	bool weak; /* the start's logit has fallen below the move threshold */

	/* own */
	int32_t (*queue)[3];
	size_t queue_head, queue_n, queue_cap;
	uint64_t *visited; /* cells, open addressed; 0 = free */
	size_t visited_n, visited_slots;
};

/* Thresholds as logits. */
void fg_flood_step_params(const struct fg_flood_params *p,
    const struct fg_net_shape *shape, struct fg_step_params *out);

/* image, shape and params are lent until fini. */
void fg_flood_init(struct fg_flood *f, const struct fg_array *image,
    const struct fg_net_shape *shape, const struct fg_step_params *params);
void fg_flood_fini(struct fg_flood *f);

/* Forget everything and put the first point into the queue; `start` has a whole field
 * of view round it. Fails: FG_ENOMEM. */
int fg_flood_start(struct fg_flood *f, const int64_t start[3],
    struct fg_err *err) FG_MUST_USE;
/* Fill f->step with the next field of view; false when there is none. labels: u32 of
 * the box, not 0 = taken; mask: u8 of the box, not 0 = no centre there, or NULL. */
bool fg_flood_next(struct fg_flood *f, const uint32_t *labels, const uint8_t *mask);
/* f->step was run. */
void fg_flood_took(struct fg_flood *f);

/* Whether a field of view centred there lies in the box. */
bool fg_flood_fits(const struct fg_flood *f, const int64_t vx[3]);

#endif
