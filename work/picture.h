/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The picture that floods of a layer see: a box of its image, and the voxels where no
 * flood may start and no field of view may be centred: where the image has no data, and
 * where the recipe forbids it (work/passes.h). And the same box at a coarser scale, for
 * the pass before.
 */
#ifndef FG_WORK_PICTURE_H
#define FG_WORK_PICTURE_H

#include "work/catalog.h"

/*
 * image becomes the box (voxels of the layer's finest scale) in the image's dtype; mask
 * u8 of its shape, not 0 = forbidden, or is left empty where all is allowed. Fails: as
 * fg_source_box; a read error is never taken for a missing chunk.
 */
int fg_picture_read(const struct fg_layer *l, const struct fg_box *box,
    struct fg_array *image, struct fg_array *mask, struct fg_err *err) FG_MUST_USE;

struct fg_picture_coarse {
	bool there; /* that scale has something of it */
	int64_t factor[3];
	struct fg_box box; /* its voxels, counted from 0 as windows of `factor` */
	struct fg_array image, mask;
};
/* Image and absent voxels of a coarser scale of the image under a box; arrays are the
 * caller's to release, also after a failure. Where the recipe forbids the finer scale
 * something the coarser one is not asked. */
int fg_picture_coarse(const struct fg_layer *l, int scale, const struct fg_box *box,
    struct fg_picture_coarse *out, struct fg_err *err) FG_MUST_USE;
/* Labels (u32) of that box on the finer voxels of box; out: u32, of its shape. */
void fg_picture_spread(const struct fg_picture_coarse *c, const struct fg_array *labels,
    const struct fg_box *box, struct fg_array *out);

#endif
