/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether a fine surface lies all along a triangle of a coarse one, and which of its
 * vertices are above the triangle. Private to mesh/distance.c.
 */
#ifndef FG_MESH_COVER_H
#define FG_MESH_COVER_H

#include "mesh/sheet.h"

/* A fine vertex as seen from the triangle at hand. */
struct fg_cover_view {
	uint32_t round;  /* of the triangle */
	float u, v;      /* parts of the way to its second and third corner */
	float off;       /* from its plane, to either side */
	float hu, hv;    /* u and v from the place where covers are counted */
	uint8_t outside; /* a bit for each side that it is beyond */
	bool far;        /* it may be farther from the triangle than the limit */
};

struct fg_cover {
	const struct fg_sheet *fine; /* with pairs; borrowed */
	float limit;
	struct fg_cover_view *view; /* of vertices */
	uint32_t *seen;             /* round in which a fine triangle was met last */
	uint32_t *stack;            /* fine triangles, or vertices */
	/* For each fine vertex that is above some triangle: the one of these that is
	 * nearest, and the square of its distance, from above; NONE for the others. */
	uint32_t *face;
	float *off2;
	/* Of each fine triangle: whether all of it is near one of the triangles. Those
	 * of which that was not seen on the way may be near all the same. */
	bool *near;
	uint32_t round;
};

/* Fails: FG_ENOMEM; fg_cover_fini frees what there is. */
int fg_cover_init(struct fg_cover *c, const struct fg_sheet *fine, float limit,
    struct fg_err *err) FG_MUST_USE;
void fg_cover_fini(struct fg_cover *c);

/*
 * Look at one triangle: true if each of its points is within the limit of the fine
 * surface. False: that is not known.
 *
 *   corner  where its corners are
 *   start   the fine vertex that its first corner is
 *   id      goes into face
 *
 * Fine triangles above it are spread over from `start` as long as they belong together
 * and are no farther from its plane than the limit. Where none of their common border
 * is above the triangle, each of its points is covered as many times (counted with
 * sign) as any other, by what winding numbers are: and it is enough to count at one.
 * What covers a point is no farther from it than the corners of its triangle are from
 * the plane; or those of the part of it that is above the triangle.
 */
bool fg_cover_triangle(struct fg_cover *c, const float (*corner)[3], uint32_t start,
    uint32_t id);

#endif
