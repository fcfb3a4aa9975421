/* SPDX-License-Identifier: Apache-2.0 */
/* How far two surfaces are apart: the Hausdorff distance of triangle meshes. */
#ifndef FG_MESH_DISTANCE_H
#define FG_MESH_DISTANCE_H

#include "formats/mesh.h"

/*
 * The largest distance from a point of either surface to the nearest point of the
 * other, from above: triangles are divided until no side is longer than spacing_nm (or
 * twice, four times that, so that there are no more than 20 points a triangle), corners
 * are looked at, and what can lie between them, side / sqrt(3), is added. So the true
 * value is at most *nm, and mostly at least *nm - spacing_nm / 1.7.
 *
 * Two empty meshes are 0 apart, an empty one and another INFINITY.
 * Cost: about 0.3 s per million triangles where the meshes are close; 60 bytes per
 * triangle. Fails: FG_EINVAL (spacing not > 0), FG_ENOMEM.
 */
int fg_distance_measure(const struct fg_mesh *a, const struct fg_mesh *b,
    double spacing_nm, double *nm, struct fg_err *err) FG_MUST_USE;

#endif
