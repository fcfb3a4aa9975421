/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What tree.c (paths) and tree_build.c (the component's arrays and distances) share.
 *
 * A component's voxels are numbered 0, 1, 2... ; all fields (distance to the surface,
 * distance from the root, penalty, ...) are arrays of that length, and there are as few
 * as can be: the largest component of a block decides how much memory it takes. A map
 * of the padded box says which number a cell has, so that the 26 neighbours need no
 * tests of bounds. It may be the field of distances itself: those are not negative, and
 * a number has the sign bit set.
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

/* A voxel's depth is not asked for once it is a vertex, whose radius it is. */
union fg_tree_depth {
	float nm;
	uint32_t vertex;
};

/* A cell of the map: a number if the sign bit is set. */
typedef uint32_t fg_tree_cell __attribute__((may_alias));
#define FG_TREE_OURS ((uint32_t)1 << 31)

/* A voxel's state. The upper bits say by which step (of `off`) the last search came to
 * it, or that the search began there, or that it was not there. */
#define FG_TREE_ALIVE 1u   /* not covered yet */
#define FG_TREE_OFFERED 2u /* being covered: it has an owner */
#define FG_TREE_VERTEX 4u  /* of the tree */
#define FG_TREE_FROM_SHIFT 3
#define FG_TREE_START 30u
#define FG_TREE_NOT_YET 31u

struct fg_tree {
	const struct fg_skeleton_params *p;
	fg_tree_cell *map;
	int64_t lo[3], side[3]; /* of the padded box: its cell 0 is voxel lo - 1 */
	int64_t off[26];
	int delta[26][3];
	float step[26];
	uint32_t n;
	uint32_t *cell; /* of each voxel, as the following */
	union fg_tree_depth *depth;
	uint8_t *state;
	float *daf; /* until penalties are known, which then are in its place */
	uint32_t *order;
	float *penalty;
	uint32_t *owner; /* of an offered one: place in the path of what covers it */
	uint32_t left;   /* alive ones */
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
	uint32_t i = t->cell[v], row = i / (uint32_t)t->side[0];
	uint32_t layer = row / (uint32_t)t->side[1];

	at[0] = i - row * (uint32_t)t->side[0];
	at[1] = row - layer * (uint32_t)t->side[1];
	at[2] = layer;
}

/* Fill cell, depth and state of a zeroed tree (p set) from the component; room: NULL
 * for a map in the field. Fails: FG_ENOMEM; fg_tree_tear_down in any case, which
 * empties the map. */
int fg_tree_set_up(struct fg_tree *t, const struct fg_component *c,
    const struct fg_run *run, const struct fg_tree_field *field,
    struct fg_tree_room *room, struct fg_err *err) FG_MUST_USE;
void fg_tree_tear_down(struct fg_tree *t);

/* daf: geodesic distance of every voxel from voxel `from`; in soma mode, 0 for all
 * within `radius` of it. Fails: FG_ENOMEM, FG_ECANCELED. */
int fg_tree_geodesic(struct fg_tree *t, uint32_t from, double radius,
    struct fg_err *err) FG_MUST_USE;
/* By DAF, from which it was measured without a radius. Of several, the one that a
 * search with mesh/tree_heap.h comes to first. Fails: FG_ENOMEM, FG_ECANCELED. */
int fg_tree_farthest(struct fg_tree *t, uint32_t from, uint32_t *at,
    struct fg_err *err) FG_MUST_USE;
/* order: all voxels by ascending DAF, equal ones by number. spare: n values. */
void fg_tree_sort(struct fg_tree *t, uint32_t *spare);

#endif
