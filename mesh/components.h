/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connected components of all labels of a block: voxels of one label that touch by
 * face, edge or corner (26 neighbours).
 */
#ifndef FG_MESH_COMPONENTS_H
#define FG_MESH_COMPONENTS_H

#include "mesh/labels.h"

/* Voxels a..b-1 of a row. */
struct fg_run {
	int32_t x0, x1, y, z;
};

struct fg_component {
	uint32_t number; /* of its label, in fg_labels */
	int64_t lo[3], hi[3];
	size_t voxels;
	size_t first_run, runs; /* in fg_components.run; x fastest */
};

struct fg_components {
	uint32_t count; /* components 1..count; entry 0 is not used */
	struct fg_component *component;
	struct fg_run *run; /* grouped by component */
};

/*
 * Find them, and write the component's number over each voxel of l->dense.
 * Cost: one pass; about 40 bytes per run. Fails: FG_ENOMEM, FG_ENOTSUP (2^32 runs).
 */
int fg_components_find(struct fg_labels *l, struct fg_components *out,
    struct fg_err *err) FG_MUST_USE;
void fg_components_fini(struct fg_components *c);

#endif
