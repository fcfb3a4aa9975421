/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One skeleton from pieces of it: those of neighbouring blocks, which have vertices in
 * common (fix_borders of mesh/skeleton.h), and repairs of what the seams leave behind.
 */
#ifndef FG_MESH_JOIN_H
#define FG_MESH_JOIN_H

#include <math.h>

#include "formats/skeleton.h"

/* Names and defaults as the field knows them from kimimaro's postprocess() and
 * join_close_components(); lengths in nm. */
struct fg_join_params {
	double dust_threshold; /* trees of at most this cable length are dropped */
	double tick_threshold; /* branches that end within this length are dropped */
	double radius; /* trees are joined only over at most this distance; INFINITY */
	bool restrict_by_radius; /* ... and only if closer than the sum of the radii of
				  * the two vertices */
	bool remove_loops;
};

#define FG_JOIN_PARAMS                                                                 \
	((struct fg_join_params){.dust_threshold = 1500,                               \
	    .tick_threshold = 3000,                                                    \
	    .radius = INFINITY,                                                        \
	    .restrict_by_radius = true,                                                \
	    .remove_loops = true})

/*
 * Join `count` pieces (of one object) and repair, in this order:
 *
 *   1. vertices at the same place (bit for bit) become one, with the least of their
 *      radii (a block cannot see that the object ends behind its face); edges that
 *      are then doubled are dropped
 *   2. trees of a cable length <= dust_threshold are dropped
 *   3. loops: one without branch is cut at its longest edge; of one with a branch, the
 *      longer way from there to its farthest vertex goes; with two branches, the
 *      shorter way between them; with more, all are joined to the loop's vertex
 *      nearest their centre if they lie within its radius, else the shortest way
 *      between two of them goes
 *   4. the nearest vertices of different trees are joined by an edge, nearest first,
 *      where radius and restrict_by_radius allow it
 *   5. the shortest of the branches that end and are shorter than tick_threshold is
 *      dropped, again and again; the two branches that are left where there were three
 *      are one from then on, and a tree keeps its last
 *
 * out owns its arrays and has the label of the first piece; no vertex without edge; may
 * be empty. It has areas and contacts if all pieces with vertices have (of vertices at
 * the same place, those of the section that touches the fewest faces).
 * Fails: FG_EINVAL (thresholds), FG_EFULL (2^32 vertices), FG_ENOMEM.
 */
int fg_skeleton_join(const struct fg_skeleton *const *piece, size_t count,
    const struct fg_join_params *p, struct fg_skeleton *out,
    struct fg_err *err) FG_MUST_USE;

#endif
