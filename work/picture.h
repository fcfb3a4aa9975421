/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The picture that floods of a layer see: a box of its image, and the voxels where no
 * flood may start and no field of view may be centred: where the image has no data, and
 * where the recipe forbids it (struct fg_guard).
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

#endif
