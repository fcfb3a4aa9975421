/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Levels of detail of one object: a neuroglancer_multilod_draco manifest and its data,
 * from the object's surface in pieces, one piece a block.
 *
 * The grid is that of the blocks and the same for all objects, so a node's fragment
 * depends only on what lies in it. A node of level 0 is a block from the centres of its
 * first voxels to the centres of the next block's first: where surfaces of neighbours
 * meet (mesh/surface.h). A node of level l is the eight (octants) below it, each
 * simplified by itself with its border locked: neighbours of a level meet vertex by
 * vertex, no triangle crosses from octant to octant, and vertices between octants are
 * quantised to the same plane as the viewer cuts by.
 *
 * Errors double from level to level; the distance between a surface and what it became
 * is measured (mesh/distance.h). What is written as a level's scale is the sum of the
 * largest distances of all levels up to it, and half a step of quantisation.
 *
 * Pieces are given in Z order and let go at once: only one open node of each level is
 * kept, and the fragments made.
 */
#ifndef FG_MESH_LOD_H
#define FG_MESH_LOD_H

#include "formats/mesh.h"
#include "formats/multilod.h"

#define FG_LOD_LEVELS 16

struct fg_lod_params {
	double nm[3];          /* size of a voxel, finite, > 0 */
	int64_t origin_vx[3];  /* first voxel of the block at (0, 0, 0) */
	int64_t block_vx[3];   /* core of a block, 1..2^16 voxels along each axis */
	unsigned bits;         /* of a position: 16, or 10 */
	unsigned levels;       /* most levels, 1..FG_LOD_LEVELS */
	double piece_error_nm; /* what the pieces are off already, >= 0 */
	double error_nm; /* of planes, that level 1 may be off level 0, > 0; doubles */
	size_t memory;   /* bytes that may be held, the result included; 0: no limit */
	const _Atomic bool *cancel; /* NULL, or set by another thread to stop */
};

/* 16 bits, 8 levels; set nm, grid and errors (a voxel's size suits error_nm). */
#define FG_LOD_PARAMS ((struct fg_lod_params){.bits = 16, .levels = 8})

struct fg_lod;

/* Fails: FG_EINVAL (params), FG_ENOTSUP (built without libdraco). p is copied. */
struct fg_lod *fg_lod_new(const struct fg_lod_params *p,
    struct fg_err *err) FG_MUST_USE;

/*
 * Add a piece.
 *
 *   at     its block, 0..2^20 along each axis; behind the last in Z order (x lowest);
 *          blocks without surface may be given (0 triangles), and become empty nodes
 *   piece  vertices on the lattice of half voxels (fg_surface_make, fg_simplify_make);
 *          borrowed. Those up to half a voxel outside the node, where a surface is
 *          closed at the low border of a volume, are put onto its side
 *
 * Fails: FG_EINVAL (order, a vertex outside), FG_EFULL (memory), FG_ENOTSUP (more in
 * one node than 32 bits tell), FG_ECANCELED, FG_ENOMEM; then the whole is to be freed.
 */
int fg_lod_add(struct fg_lod *lod, const uint32_t at[3], const struct fg_mesh *piece,
    struct fg_err *err) FG_MUST_USE;

/*
 * The files `ID.index` and `ID`. Levels end with the first that is one node and no
 * longer worth simplifying, or with params.levels. Without any piece: FG_EINVAL.
 * lod can only be freed after it.
 */
int fg_lod_end(struct fg_lod *lod, struct fg_buf **manifest, struct fg_buf **data,
    struct fg_err *err) FG_MUST_USE;

void fg_lod_free(struct fg_lod *lod); /* NULL: nothing */

#endif
