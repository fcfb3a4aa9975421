/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Euclidean distance transform of all labels at once: for each voxel with a label,
 * the distance from its centre to the centre of the nearest voxel that does not have it
 * (another label or background).
 */
#ifndef FG_MESH_EDT_H
#define FG_MESH_EDT_H

#include "base/array.h"

#define FG_EDT_NM_MIN 1e-12
#define FG_EDT_NM_MAX 1e12

/*
 * Distances of a block.
 *
 *   labels  u8, u16, u32 or u64; shape (x, y, z, 1); 0 is background
 *   nm      size of a voxel, each in the range below, where no square leaves a float
 *   border  true: what lies outside the block counts as background ("black border");
 *           false: it counts as nothing, and a block full of one label is infinitely
 *           far from everything
 *   out     f32, same shape, allocated by the caller: nm; 0 for background
 *
 * Exact (the nearest float to the true distance) where voxel sizes are whole numbers
 * and the block's diagonal, squared, in units of their common divisor is below 2^24:
 * all blocks up to 512 voxels at 1:1:2, say. Else within 1e-6 of it, relatively. Cost:
 * three passes; some 800 bytes per voxel of the longest axis, and for other types than
 * u32 a copy of 4 bytes per voxel. Fails: FG_EINVAL (types, shapes, nm), FG_ENOMEM.
 */
int fg_edt_make(const struct fg_array *labels, const double nm[3], bool border,
    struct fg_array *out, struct fg_err *err) FG_MUST_USE;

#endif
