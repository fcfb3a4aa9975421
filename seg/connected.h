/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects whose voxels do not hang together, taken apart.
 *
 * A flood's object is what its canvas raised above the threshold, less what earlier
 * objects have: it may be several pieces, which touch nowhere. Where these belong to
 * two neurons the object joins them, and stitching carries that through the volume.
 * Published pipelines take objects apart when they load a segmentation, and drop what
 * is smaller than an object may be.
 *
 * Pieces hang together by the faces of voxels. The largest of a label keeps its name
 * (of equals the one whose first voxel comes first), the others are numbered from the
 * largest label + 1 on, by label, then first voxel. Pieces of fewer than `least` voxels
 * become 0.
 */
#ifndef FG_SEG_CONNECTED_H
#define FG_SEG_CONNECTED_H

#include "base/array.h"

/* labels: u32; out: u32 of that shape, may be labels. Fails: FG_ENOMEM, FG_EFULL (more
 * than 2^32 - 1 voxels or names). Memory: 4 bytes a voxel, and up to 72 a run of voxels
 * along x while their list grows. */
int fg_connected_split(const struct fg_array *labels, uint64_t least,
    struct fg_array *out, struct fg_err *err) FG_MUST_USE;

#endif
