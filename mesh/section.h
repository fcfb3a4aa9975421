/* SPDX-License-Identifier: Apache-2.0 */
/* Areas of cross-sections at a skeleton's vertices; for mesh/skeleton.c. */
#ifndef FG_MESH_SECTION_H
#define FG_MESH_SECTION_H

#include "base/err.h"

struct fg_section {
	const uint32_t *label; /* of each voxel of the block */
	int64_t n[3];
	double nm[3];
	int64_t origin_vx[3];
	uint8_t *stamp; /* a number for each voxel, made when first needed */
	uint8_t stamps;
	size_t lo, hi; /* voxels that may have one, from lo to hi - 1 */
};

/*
 * At each vertex the plane through it whose normal is the direction of the skeleton
 * there, and of the voxels of one label that it cuts the ones that hang together with
 * the vertex's (26 neighbours): the area in which plane and voxels meet, exactly.
 *
 *   label     number of the component in s->label
 *   xyz       vertices, centres of its voxels; a forest
 *   edge      pairs of them
 *   window    the direction is taken between the vertices that many steps away on both
 *             sides; it ends at branches. At a branch, the mean of all its arms
 *   area      nm^2, written
 *   contacts  a bit for each face of the block at which the section ends, written
 *
 * Cost: some 0.1 us per voxel cut; a byte per voxel of the block.
 * Fails: FG_ENOMEM, FG_ECANCELED.
 */
int fg_section_measure(struct fg_section *s, uint32_t label, const float *xyz,
    size_t vertices, const uint32_t *edge, size_t edges, unsigned window,
    const _Atomic bool *cancel, float *area, uint8_t *contacts,
    struct fg_err *err) FG_MUST_USE;
void fg_section_fini(struct fg_section *s); /* the stamps */

#endif
