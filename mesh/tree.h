/* SPDX-License-Identifier: Apache-2.0 */
/* One component's tree; the inside of mesh/skeleton.c. */
#ifndef FG_MESH_TREE_H
#define FG_MESH_TREE_H

#include "mesh/components.h"
#include "mesh/skeleton.h"

/* Distances to the surface: f32, of the voxels from `at` on, shape n. */
struct fg_tree_field {
	float *dbf;
	int64_t at[3], n[3];
	/* The outermost layer is 0 and of no component, and what a component has in it
	 * may be lost once it is traced: then no map is needed. */
	bool padded;
};

/* Growing vertices and edges of the label at hand; area and contacts, if they are
 * wanted, grow elsewhere. */
struct fg_tree_out {
	float *xyz, *radius, *area;
	uint8_t *contacts;
	uint32_t *edge;
	size_t vertices, edges, vertex_room, edge_room;
};

struct fg_tree_room {
	uint32_t *map; /* zeroed; for the largest padded box */
	size_t cells;
};

/*
 * Trace one component.
 *
 *   c, run   the component and its runs
 *   field    distances of the whole block or of a box that holds the component
 *   n        shape of the block
 *   target   border targets: voxels of the block, x + nx (y + ny z); may be 0 of them
 *   room     map is zero before and after; NULL: the field, which is padded, is used
 *   out      vertices and edges are added
 *
 * Fails: FG_ENOMEM, FG_ECANCELED.
 */
int fg_tree_trace(const struct fg_component *c, const struct fg_run *run,
    const struct fg_tree_field *field, const int64_t n[3], const size_t *target,
    size_t targets, const struct fg_skeleton_params *p, struct fg_tree_room *room,
    struct fg_tree_out *out, struct fg_err *err) FG_MUST_USE;

#endif
