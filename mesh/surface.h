/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surfaces of all labels of a block, by marching cubes, in one pass.
 *
 * Each vertex lies halfway between the centres of two neighbouring voxels of which one
 * has the label. Voxel i spans [i, i + 1) * nm and has its centre at (i + 0.5) * nm
 * (the field's convention), so coordinates are whole or half voxels times nm.
 *
 * A cell is the cube between eight voxel centres. Cells that hold several labels get a
 * surface for each of them, so two labels that touch have surfaces that coincide there.
 * Where voxels of a label touch only along an edge or a corner the surface separates
 * them (what is inside is connected through faces).
 *
 * Blocks that lie side by side are to share the layer of voxels between them: one block
 * is given voxels lo..hi, the next hi..., each with those of hi. Then both meshes have
 * their border in the plane of that layer's centres, with the same vertices, bit for
 * bit, and the same edges, in opposite directions: put together they are closed.
 */
#ifndef FG_MESH_SURFACE_H
#define FG_MESH_SURFACE_H

#include "base/array.h"
#include "formats/mesh.h"

/* Faces of a block, for fg_surface_params.close. */
enum {
	FG_FACE_X_LO = 1,
	FG_FACE_X_HI = 2,
	FG_FACE_Y_LO = 4,
	FG_FACE_Y_HI = 8,
	FG_FACE_Z_LO = 16,
	FG_FACE_Z_HI = 32,
	FG_FACE_ALL = 63,
};

struct fg_surface_params {
	double nm[3];         /* size of a voxel, each finite and > 0 */
	int64_t origin_vx[3]; /* the block's first voxel in the frame of the volume */
	/* Faces behind which there is nothing: the surface is closed there, in the
	 * plane of the voxels' outer sides. Wanted where the block ends at the volume's
	 * border; at the other faces the surface stays open. */
	unsigned close;
	const uint64_t *only; /* labels wanted; NULL: all but 0 */
	size_t only_count;
	size_t memory; /* bytes that may be taken in all; 0: no limit */
};

/* Meshes of the labels that have triangles, ascending by label. They lie in two arrays
 * of the surface's own: don't fg_mesh_fini() them. */
struct fg_surface {
	size_t count;
	struct fg_mesh *mesh;
	uint64_t vertices, triangles; /* of all */
	float *xyz;
	uint32_t *index;
};

/*
 * Make the surfaces.
 *
 *   labels  u8, u16, u32 or u64, shape (x, y, z, 1); 0 is background. They may not
 *           change during the call: above 18 million voxels they are read twice
 *
 * Memory: 12 bytes per vertex and triangle, 16 per label, a bit per voxel; 4 bytes per
 * voxel up to 18 million of them, beyond that two layers (a large block of neurites:
 * about 10 bytes per voxel, nearly all of it the meshes; noise: 180). Beside that about
 * 100 bytes per label for numbering them and for the list of meshes, which p->memory
 * does not count. Released with fg_surface_fini.
 * Fails: FG_EINVAL (labels, params), FG_EFULL (memory limit), FG_ENOTSUP (one label
 * with 2^32 vertices or triangles), FG_ENOMEM.
 */
int fg_surface_make(const struct fg_array *labels, const struct fg_surface_params *p,
    struct fg_surface *out, struct fg_err *err) FG_MUST_USE;

/* The mesh of a label, or NULL. */
const struct fg_mesh *fg_surface_find(const struct fg_surface *s, uint64_t label);

void fg_surface_fini(struct fg_surface *s);

#endif
