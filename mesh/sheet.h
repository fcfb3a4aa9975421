/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mesh to walk about on: which triangles and vertices are around a vertex, which
 * triangle is behind a side. Private to mesh/distance.c and what it is made of.
 */
#ifndef FG_MESH_SHEET_H
#define FG_MESH_SHEET_H

#include "formats/mesh.h"
#include "mesh/nearest.h"

#define FG_SHEET_NONE UINT32_MAX

struct fg_sheet {
	const struct fg_mesh *mesh; /* borrowed */
	const double *origin;       /* positions are relative to it; borrowed */
	float *at;
	/* Triangles around vertex v: ring[first[v]] ... ring[first[v + 1] - 1]; next:
	 * the corners that follow v in them, all its neighbours but one at a border. */
	uint32_t *first, *ring, *next;
	/* The side of another triangle that is behind side k (from corner k to the
	 * one that follows) of triangle t: behind[3 t + k], or NONE at a border. */
	uint32_t *behind; /* NULL before fg_sheet_pair */
	bool planted;
	struct fg_nearest tree; /* if planted */
};

/* Cost: 5 ms and 32 MB a million triangles, 44 with `behind`. Fails: FG_ENOMEM; then
 * fg_sheet_fini frees what there is. */
int fg_sheet_init(struct fg_sheet *s, const struct fg_mesh *m, const double origin[3],
    struct fg_err *err) FG_MUST_USE;
void fg_sheet_fini(struct fg_sheet *s);

/* Find what is behind each side. Sides are paired one to one: of four triangles at one
 * edge two are behind each other. Fails: FG_ENOTSUP (2^32 sides), FG_ENOMEM. */
int fg_sheet_pair(struct fg_sheet *s, struct fg_err *err) FG_MUST_USE;

/* Whether all of triangle c is within a limit of the sheet, by the tree, which is
 * planted if it is not there; `last` as in fg_nearest_within. Fails: FG_ENOMEM. */
int fg_sheet_near(struct fg_sheet *s, uint32_t *last, const float (*c)[3], float limit2,
    bool *near, struct fg_err *err) FG_MUST_USE;

static inline bool
fg_sheet_uses(const struct fg_sheet *s, uint32_t v)
{
	return s->first[v] < s->first[v + 1];
}

static inline const float *
fg_sheet_at(const struct fg_sheet *s, uint32_t v)
{
	return s->at + 3 * (size_t)v;
}

static inline void
fg_sheet_corners(const struct fg_sheet *s, uint32_t t, float c[3][3])
{
	const uint32_t *v = s->mesh->index + 3 * (size_t)t;

	memcpy(c[0], fg_sheet_at(s, v[0]), 12);
	memcpy(c[1], fg_sheet_at(s, v[1]), 12);
	memcpy(c[2], fg_sheet_at(s, v[2]), 12);
}

/* Squared distance of a point from triangle t. */
static inline float
fg_sheet_off(const struct fg_sheet *s, uint32_t t, const float p[3])
{
	float c[3][3];

	fg_sheet_corners(s, t, c);
	return fg_off_triangle(p, (const float(*)[3])c);
}

#endif
