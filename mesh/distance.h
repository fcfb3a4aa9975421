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

/* A surface that others are held against. */
struct fg_distance;

/* m is borrowed until the end. Cost: 32 bytes per triangle,
 * 44 from the first question on, and 27 more during one about a mesh whose vertices are
 * some of m's. Fails: FG_ENOMEM. */
struct fg_distance *fg_distance_new(const struct fg_mesh *m,
    struct fg_err *err) FG_MUST_USE;
void fg_distance_free(struct fg_distance *d); /* NULL: nothing */

/* The surface with its pairs (mesh/sheet.h), for mesh/simplify.c. Fails: as
 * fg_sheet_pair. */
struct fg_sheet;
const struct fg_sheet *fg_distance_sheet(struct fg_distance *d,
    struct fg_err *err) FG_MUST_USE;

/*
 * Whether the Hausdorff distance of the two surfaces is limit_nm at most. "Yes" is
 * certain but for rounding: triangles are divided until each part is near enough to the
 * other surface as a whole. What is closer to the limit than a third of it may get a
 * "no".
 *
 * Cost: for a mesh whose vertices are some of d's, in their order, 0.3 s per million
 * triangles; ten times that for others.
 * Fails: FG_EINVAL (limit below 1.2e-38, where floats end), FG_ENOMEM.
 */
int fg_distance_within(struct fg_distance *d, const struct fg_mesh *m, double limit_nm,
    bool *within, struct fg_err *err) FG_MUST_USE;

/*
 * As fg_distance_within, but all is looked at, and where the surfaces are too far from
 * each other d's triangles are marked.
 *
 *   mark       one for each triangle of d's mesh; those within around_nm (three
 * quarters of it at least) of d's place nearest to such a spot become 1, others are
 *              left alone; it ends early when half of them became 1. Only of a mesh
 *              whose vertices are some of d's, in their order
 */
int fg_distance_mark(struct fg_distance *d, const struct fg_mesh *m, double limit_nm,
    double around_nm, uint8_t *mark, bool *within, struct fg_err *err) FG_MUST_USE;

/*
 * A limit to which the two surfaces keep: never below their distance, and mostly less
 * than twice that, but not below from_nm (> 0), where it begins. It grows where they
 * are farther from each other, so all is looked at once.
 *
 * One mesh empty and the other not: INFINITY. Fails: as fg_distance_within.
 */
int fg_distance_bound(struct fg_distance *d, const struct fg_mesh *m, double from_nm,
    double *nm, struct fg_err *err) FG_MUST_USE;

#endif
