/* SPDX-License-Identifier: Apache-2.0 */
/* Where skeletons of neighbouring blocks meet. */
#ifndef FG_MESH_BORDER_H
#define FG_MESH_BORDER_H

#include "base/err.h"

struct fg_target {
	uint32_t component;
	size_t voxel; /* x + nx (y + ny z) */
};

/*
 * On each of the six faces of a block, for each connected patch (8 neighbours) of a
 * component, the voxel farthest from the patch's border. Of several: the one nearest to
 * the voxel of the patch's centre of mass (rounded towards the middle of the face),
 * then to the middle of the face, then to a corner of it, then to an edge, then the
 * first. So two blocks that have the layer in common choose the same voxel. It is the
 * one that kimimaro chooses, so that pieces of either meet; therefore the middle of the
 * second step is where kimimaro has it: as many voxels from the first as half the face
 * has nm.
 *
 *   component  of each voxel, 0 for background; shape n
 *   faces      those looked at, a bit for each: 1 x low, 2 x high, 4 y low, ...
 *   out        malloc'ed list, ascending by component; NULL if empty
 *
 * Fails: FG_ENOMEM.
 */
int fg_border_find(const uint32_t *component, const int64_t n[3], const double nm[3],
    unsigned faces, struct fg_target **out, size_t *count,
    struct fg_err *err) FG_MUST_USE;

#endif
