/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Skeletons of all labels of a block: TEASAR (Sato, Bitter, Bender, Kaufman, Nakajima,
 * "TEASAR: tree-structure extraction algorithm for accurate and robust skeletons",
 * 2000) with the penalty field and the parameters that the field knows from kimimaro.
 *
 * A connected component (26 neighbours) of a label is a tree. Its root is an end of it.
 * Again and again the voxel farthest from the root that is not covered yet is joined to
 * the tree by the path with the least penalty (which keeps to the middle), and all that
 * lies within  scale * (distance to the surface) + const  of the path is covered.
 * Skeletons are those of kimimaro, most of them vertex for vertex (tests/mesh/peers.py
 * says what is left).
 */
#ifndef FG_MESH_SKELETON_H
#define FG_MESH_SKELETON_H

#include "base/array.h"
#include "formats/skeleton.h"

struct fg_skeleton_params {
	double nm[3];         /* "anisotropy": size of a voxel, finite, > 0 */
	int64_t origin_vx[3]; /* the block's first voxel in the frame of the volume */
	/* "teasar_params" */
	double scale;                     /* >= 0 */
	double const_nm;                  /* "const", >= 0 */
	double pdrf_scale;                /* >= 0 */
	double pdrf_exponent;             /* >= 0 */
	double soma_detection_threshold;  /* nm; holes of what is thicker are filled */
	double soma_acceptance_threshold; /* nm; what still is thicker is a soma */
	double soma_invalidation_scale;
	double soma_invalidation_const; /* nm */
	uint64_t max_paths;             /* per component; 0: no limit */
	/* others */
	uint64_t dust_threshold; /* components of at most so many voxels are left out */
	bool fix_branching; /* a path may join any earlier one where that is cheapest */
	bool fix_borders; /* paths to the middle of what is cut by a face of the block,
			   * so that skeletons of blocks that share a layer meet */
	unsigned border_faces; /* of fix_borders: only these faces, a bit for each as in
				* fg_skeleton.contacts; where the object ends at a
				* face there is nothing to meet */
	unsigned shared_upper; /* bits 1, 2, 4: the block's last layer along x, y, z is
				* the first one of its neighbour, to which components
				* that lie in it alone are left */
	bool cross_sectional_area; /* measure it at each vertex (mesh/section.h) */
	/* Steps to both sides between which the direction there is taken, >= 1. */
	unsigned cross_sectional_area_smoothing_window;
	const uint64_t *only; /* labels wanted; NULL: all but 0 */
	size_t only_count;
	_Atomic bool *cancel; /* NULL, or set by another thread to stop */
};

/* kimimaro's defaults; set nm (and what differs) after it. */
#define FG_SKELETON_PARAMS                                                             \
	((struct fg_skeleton_params){.nm = {1, 1, 1},                                  \
	    .scale = 1.5,                                                              \
	    .const_nm = 300,                                                           \
	    .pdrf_scale = 100000,                                                      \
	    .pdrf_exponent = 4,                                                        \
	    .soma_detection_threshold = 750,                                           \
	    .soma_acceptance_threshold = 3500,                                         \
	    .soma_invalidation_scale = 2,                                              \
	    .soma_invalidation_const = 300,                                            \
	    .dust_threshold = 1000,                                                    \
	    .fix_branching = true,                                                     \
	    .fix_borders = true,                                                       \
	    .border_faces = 0x3f,                                                      \
	    .cross_sectional_area_smoothing_window = 5})

struct fg_skeletons {
	size_t count;
	struct fg_skeleton
	    *skeleton; /* ascending by label; all trees of one together */
};

/*
 * Make the skeletons.
 *
 *   labels  u8, u16, u32 or u64, shape (x, y, z, 1), fewer than 2^31 voxels
 *
 * Vertices are voxel centres (nm), radius the distance to the surface there (nm). What
 * lies inside a component that is thicker than soma_detection_threshold and is not of
 * it (a nucleus with a label of its own) counts as its own; areas are without it.
 * Memory: 8 bytes per voxel of the block (u32 labels: 4; with areas 9), and about 22
 * per voxel of the largest component; filling takes 9 per voxel of the component's box,
 * and 4 for a map of it.
 * Released with fg_skeletons_fini. Fails: FG_EINVAL (labels, params), FG_ENOMEM,
 * FG_ECANCELED.
 */
int fg_skeletons_make(const struct fg_array *labels, const struct fg_skeleton_params *p,
    struct fg_skeletons *out, struct fg_err *err) FG_MUST_USE;

const struct fg_skeleton *fg_skeletons_find(const struct fg_skeletons *s,
    uint64_t label);
void fg_skeletons_fini(struct fg_skeletons *s);

#endif
