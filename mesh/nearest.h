/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Triangles in a tree of boxes, to find those near a point; and distances of points
 * from triangles. Private to mesh/distance.c.
 */
#ifndef FG_MESH_NEAREST_H
#define FG_MESH_NEAREST_H

#include "formats/mesh.h"

static inline float
fg_dot(const float a[3], const float b[3])
{
	return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

static inline void
fg_minus(float out[3], const float a[3], const float b[3])
{
	out[0] = a[0] - b[0];
	out[1] = a[1] - b[1];
	out[2] = a[2] - b[2];
}

/* Squared distance of p from the segment a + t ab, t in 0..1; ap = p - a. */
static inline float
fg_off_segment(const float ap[3], const float ab[3])
{
	float n = fg_dot(ab, ab), t = n > 0 ? fg_dot(ap, ab) / n : 0;
	float v[3];

	t = FG_MIN(FG_MAX(t, 0), 1);
	v[0] = ap[0] - t * ab[0];
	v[1] = ap[1] - t * ab[1];
	v[2] = ap[2] - t * ab[2];
	return fg_dot(v, v);
}

/* Squared distance of p from a triangle: by its plane if p is above the inside, else
 * the nearest side. */
static inline float
fg_off_triangle(const float p[3], const float (*c)[3])
{
	float ab[3], ac[3], ap[3], bc[3], bp[3];

	fg_minus(ab, c[1], c[0]);
	fg_minus(ac, c[2], c[0]);
	fg_minus(ap, p, c[0]);
	float aa = fg_dot(ab, ab), bb = fg_dot(ac, ac), x = fg_dot(ab, ac);
	float u = fg_dot(ap, ab), v = fg_dot(ap, ac), det = aa * bb - x * x;
	if (det > 0) {
		float s = bb * u - x * v, t = aa * v - x * u;

		if (s >= 0 && t >= 0 && s + t <= det) {
			float r[3], by = 1 / det;

			s *= by;
			t *= by;
			r[0] = ap[0] - s * ab[0] - t * ac[0];
			r[1] = ap[1] - s * ab[1] - t * ac[1];
			r[2] = ap[2] - s * ab[2] - t * ac[2];
			return fg_dot(r, r);
		}
	}
	fg_minus(bc, c[2], c[1]);
	fg_minus(bp, p, c[1]);
	float best = fg_off_segment(ap, ab);
	best = FG_MIN(best, fg_off_segment(ap, ac));
	return FG_MIN(best, fg_off_segment(bp, bc));
}

struct fg_nearest_box {
	float lo[3], hi[3];
};

/* Triangles along a Z curve, in 2^n leaves of equal numbers; node i has the children
 * 2i + 1 and 2i + 2, the last 2^n nodes are the leaves. */
struct fg_nearest {
	float (*corner)[3][3];
	uint32_t triangles, leaves;
	struct fg_nearest_box *node;
};

/*
 * Put a mesh's triangles, at least one, into a tree; positions relative to origin, so
 * that floats are exact enough far from the origin of the volume. m is not needed
 * afterwards. Cost: 0.1 s and 100 MB per million triangles. Fails: FG_ENOMEM; then
 * fg_nearest_fini frees what there is.
 */
int fg_nearest_init(struct fg_nearest *t, const struct fg_mesh *m,
    const double origin[3], struct fg_err *err) FG_MUST_USE;
void fg_nearest_fini(struct fg_nearest *t);

/*
 * The squared distance of p from the nearest triangle, or one that is enough2 at most.
 *
 *   last  a triangle that is likely to be near (0 at first); becomes the one found
 */
float fg_nearest_off(const struct fg_nearest *t, uint32_t *last, const float p[3],
    float enough2);

/*
 * Whether no point of the triangle c is farther than sqrt(limit2) from the nearest of
 * the tree. "Yes" is certain but for rounding; what is closer to the limit than a third
 * of it may get a "no". last as above.
 */
bool fg_nearest_within(const struct fg_nearest *t, uint32_t *last, const float (*c)[3],
    float limit2);

#endif
