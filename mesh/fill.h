/* SPDX-License-Identifier: Apache-2.0 */
/* Holes inside a component filled, as a soma around its nucleus needs it; for
 * mesh/skeleton.c. */
#ifndef FG_MESH_FILL_H
#define FG_MESH_FILL_H

#include "mesh/components.h"

struct fg_filled {
	size_t holes; /* voxels filled; 0: the rest is not set */
	struct fg_component component;
	struct fg_run *run; /* the component's, from first_run = 0 on */
	/* Distances to the filled surface, nm, of the box from voxel `at` on. */
	float *dbf;
	int64_t at[3], shape[3];
};

/*
 * Fill what is no voxel of the component and cannot be reached through faces from
 * outside its bounding box or from the faces of the block (shape n).
 * Memory: 9 bytes per voxel of the box. Fails: FG_ENOMEM, FG_ENOTSUP.
 */
int fg_fill_holes(const struct fg_component *c, const struct fg_run *run,
    const int64_t n[3], const double nm[3], struct fg_filled *out,
    struct fg_err *err) FG_MUST_USE;
void fg_filled_fini(struct fg_filled *f);

#endif
