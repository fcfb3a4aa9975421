/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fewer triangles for a surface, by collapsing edges: meshoptimizer's quadrics, or, to
 * a limit that is measured, our own (mesh/thin.h) and meshoptimizer's where that takes
 * too much; where all do, the surface stays as it is.
 *
 * Vertices of the result are vertices of the input, so they stay on the lattice of half
 * voxels. Those on an open border are not touched: two fragments that met before meet
 * after.
 */
#ifndef FG_MESH_SIMPLIFY_H
#define FG_MESH_SIMPLIFY_H

#include "formats/mesh.h"

struct fg_simplify_params {
	double error_nm;    /* largest error wanted, >= 0; 0: only what costs nothing */
	uint32_t triangles; /* stop at this number; 0: go as far as the error allows */
	bool sharp; /* no point of either surface is farther than error_nm from the
		     * other: measured, and done again with less where it is. Not
		     * with an error_nm of 0, which cannot be measured */
};

/*
 * Simplify one mesh.
 *
 *   out       owns its arrays; label of `in`; no vertices without triangle
 *   error_nm  NULL, or what was reached. Not sharp: an error of planes (quadrics), as
 *             bounded by the parameter; the largest distance between the two surfaces
 *             can be two to four times that, and above 0 where that is 0. Sharp: the
 *             limit, to which that distance keeps
 *
 * Cost: about 0.5 s per million triangles; some 80 bytes per triangle, and what
 * meshoptimizer takes. Sharp: much the same time, and more where surfaces are so rough
 * that the limit is passed. 120 bytes per triangle while that goes, less afterwards,
 * beside the mesh itself. Fails: FG_EINVAL (parameters; sharp: an error below 1.2e-38
 * but not 0), FG_ENOTSUP (sharp: 2^30 triangles or more), FG_ENOMEM.
 */
int fg_simplify_make(const struct fg_mesh *in, const struct fg_simplify_params *p,
    struct fg_mesh *out, double *error_nm, struct fg_err *err) FG_MUST_USE;

#endif
