/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tree.c (paths) and tree_build.c (the component's arrays and distances) share.
 *
 * A component's voxels are numbered 0, 1, 2... ; all fields (distance to the surface,
 * distance from the root, penalty, ...) are arrays of that length. A map of the padded
 * box says number + 1 of a cell, 0 outside, so that the 26 neighbours need no tests of
 * bounds.
 */
#ifndef FG_MESH_TREE_PRIV_H
#define FG_MESH_TREE_PRIV_H

#include "mesh/tree.h"

#define FG_TREE_NONE UINT32_MAX

struct fg_tree_item {
	float key;
	uint32_t v;
};

struct fg_tree_heap {
	struct fg_tree_item *item;
	size_t count, room;
};

/* What a search reads and writes of a voxel, in one place of the memory. */
struct fg_tree_node {
	float cost, penalty;
	uint32_t from; /* the voxel by which it was reached */
	uint32_t cell;
};

struct fg_tree {
	const struct fg_skeleton_params *p;
	struct fg_tree_room *room;
	int64_t lo[3], side[3]; /* of the padded box: its cell 0 is voxel lo - 1 */
	int64_t off[26];
	int delta[26][3];
	float step[26];
	uint32_t n;
	struct fg_tree_node *node; /* of each voxel, as the following */
	float *dbf, *daf;
	float *offer;    /* squared distance to the owner; in the place of daf */
	uint32_t *owner; /* place in the path by which a voxel is being covered */
	uint32_t *vertex, *order;
	uint8_t *alive;
	uint32_t left; /* alive ones */
	struct fg_tree_heap heap;
	/* Voxels that the last search has reached; if more than `touch_room`, any. */
	uint32_t *touched;
	size_t touches, touch_room;
	uint32_t *path;
	size_t path_len, path_room;
	uint32_t root;
	float dbf_max;
	bool soma;
};

/* Where a voxel is in the padded box. */
static inline void
fg_tree_place(const struct fg_tree *t, uint32_t v, int64_t at[3])
{
	uint32_t i = t->node[v].cell, row = i / (uint32_t)t->side[0];
	uint32_t layer = row / (uint32_t)t->side[1];

	at[0] = i - row * (uint32_t)t->side[0];
	at[1] = row - layer * (uint32_t)t->side[1];
	at[2] = layer;
}

/* Fill the arrays of a zeroed tree (p and room set) from the component. Fails:
 * FG_ENOMEM; fg_tree_tear_down in any case, which makes the map zero again. */
int fg_tree_set_up(struct fg_tree *t, const struct fg_component *c,
    const struct fg_run *run, const struct fg_tree_field *field,
    struct fg_err *err) FG_MUST_USE;
void fg_tree_tear_down(struct fg_tree *t);

/* dist: geodesic distance of every voxel from voxel `from`; in soma mode, 0 for all
 * within `radius` of it. Fails: FG_ENOMEM, FG_ECANCELED. */
int fg_tree_geodesic(struct fg_tree *t, uint32_t from, double radius, float *dist,
    struct fg_err *err) FG_MUST_USE;
/* Of several, the last: as later targets are taken. */
uint32_t fg_tree_farthest(const struct fg_tree *t, const float *dist);
/* order: all voxels by ascending DAF, equal ones by number. spare: n values. */
void fg_tree_sort(struct fg_tree *t, uint32_t *spare);

#endif
