/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each mesh in turn gets a tree of boxes, and points of the other are looked up in it.
 * Only the largest distance is wanted, so a point is done with as soon as it is known
 * to be no farther than the largest so far; mostly the triangle that was near the point
 * before shows that at once.
 *
 * Coordinates are taken relative to the meshes' common corner, so that floats are exact
 * enough far from the origin of the volume.
 */
#include "config.h"

#include "mesh/distance.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define LEAF 4
#define STACK 64 /* a path through 2^32 triangles, two nodes a step */

struct box {
	float lo[3], hi[3];
};

/* Triangles along a Z curve, in 2^n leaves of equal numbers; node i has the children
 * 2i + 1 and 2i + 2, the last 2^n nodes are the leaves. */
struct tree {
	float (*corner)[3][3];
	uint32_t triangles, leaves;
	struct box *node;
};

/* --- geometry */

static inline float
dot(const float a[3], const float b[3])
{
	return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

static inline void
minus(float out[3], const float a[3], const float b[3])
{
	for (int d = 0; d < 3; d++)
		out[d] = a[d] - b[d];
}

/* Squared distance of p from the segment a + t ab, t in 0..1; ap = p - a. */
static inline float
off_segment(const float ap[3], const float ab[3])
{
	float n = dot(ab, ab), t = n > 0 ? dot(ap, ab) / n : 0;
	float v[3];

	t = FG_MIN(FG_MAX(t, 0), 1);
	for (int d = 0; d < 3; d++)
		v[d] = ap[d] - t * ab[d];
	return dot(v, v);
}

/* Squared distance of p from a triangle: by its plane if p is above the inside, else
 * the nearest side. */
static float
off_triangle(const float p[3], const float (*c)[3])
{
	float ab[3], ac[3], ap[3], bc[3], bp[3];

	minus(ab, c[1], c[0]);
	minus(ac, c[2], c[0]);
	minus(ap, p, c[0]);
	float aa = dot(ab, ab), bb = dot(ac, ac), x = dot(ab, ac);
	float u = dot(ap, ab), v = dot(ap, ac), det = aa * bb - x * x;
	if (det > 0) {
		float s = bb * u - x * v, t = aa * v - x * u;

		if (s >= 0 && t >= 0 && s + t <= det) {
			float r[3];

			for (int d = 0; d < 3; d++)
				r[d] = ap[d] - s / det * ab[d] - t / det * ac[d];
			return dot(r, r);
		}
	}
	minus(bc, c[2], c[1]);
	minus(bp, p, c[1]);
	float best = off_segment(ap, ab);
	best = FG_MIN(best, off_segment(ap, ac));
	return FG_MIN(best, off_segment(bp, bc));
}

static inline float
off_box(const float p[3], const struct box *n)
{
	float sum = 0;

	for (int d = 0; d < 3; d++) {
		float off = FG_MAX(FG_MAX(n->lo[d] - p[d], p[d] - n->hi[d]), 0);

		sum += off * off;
	}
	return sum;
}

/* --- the tree */

/* Every third bit of 30 from ten. */
static uint32_t
spread(uint32_t v)
{
	v = (v | v << 16) & 0x030000ff;
	v = (v | v << 8) & 0x0300f00f;
	v = (v | v << 4) & 0x030c30c3;
	return (v | v << 2) & 0x09249249;
}

/* Where a triangle is along the curve, and which one. */
struct place {
	uint32_t code, triangle;
};

/* Sorted by code: three passes by 10 bits, to and fro. Returns which of both it is in.
 */
static struct place *
sort_places(struct place *a, struct place *b, uint32_t n)
{
	for (int shift = 0; shift < 30; shift += 10) {
		uint32_t count[1025] = {0};
		struct place *t = a;

		for (uint32_t i = 0; i < n; i++)
			count[(a[i].code >> shift & 1023) + 1]++;
		for (int k = 0; k < 1024; k++)
			count[k + 1] += count[k];
		for (uint32_t i = 0; i < n; i++)
			b[count[a[i].code >> shift & 1023]++] = a[i];
		a = b;
		b = t;
	}
	return a;
}

static void
fill_places(const struct fg_mesh *m, struct place *out)
{
	float lo[3] = {FLT_MAX, FLT_MAX, FLT_MAX}, side = 0;

	for (size_t i = 0; i < 3 * (size_t)m->vertices; i++)
		lo[i % 3] = FG_MIN(lo[i % 3], m->xyz[i]);
	for (size_t i = 0; i < 3 * (size_t)m->vertices; i++)
		side = FG_MAX(side, m->xyz[i] - lo[i % 3]);
	float scale = side > 0 ? 1023 / (3 * side) : 0;
	for (uint32_t t = 0; t < m->triangles; t++) {
		const uint32_t *c = m->index + 3 * (size_t)t;

		out[t] = (struct place){.triangle = t};
		for (int d = 0; d < 3; d++) {
			float mid = m->xyz[3 * (size_t)c[0] + (size_t)d] - lo[d];

			mid += m->xyz[3 * (size_t)c[1] + (size_t)d] - lo[d];
			mid += m->xyz[3 * (size_t)c[2] + (size_t)d] - lo[d];
			out[t].code |=
			    spread((uint32_t)FG_MIN(FG_MAX(mid * scale, 0), 1023)) << d;
		}
	}
}

static inline uint32_t
leaf_begin(const struct tree *t, uint32_t leaf)
{
	return (uint32_t)((uint64_t)t->triangles * leaf / t->leaves);
}

static void
fill_boxes(struct tree *t)
{
	for (uint32_t k = 2 * t->leaves - 1; k-- > 0;) {
		struct box *n = &t->node[k];
		const struct box *child = n + k + 1;

		if (k < t->leaves - 1) {
			for (int d = 0; d < 3; d++) {
				n->lo[d] = FG_MIN(child[0].lo[d], child[1].lo[d]);
				n->hi[d] = FG_MAX(child[0].hi[d], child[1].hi[d]);
			}
			continue;
		}
		uint32_t leaf = k + 1 - t->leaves, end = leaf_begin(t, leaf + 1);
		*n = (struct box){{FLT_MAX, FLT_MAX, FLT_MAX},
		    {-FLT_MAX, -FLT_MAX, -FLT_MAX}};
		for (uint32_t i = leaf_begin(t, leaf); i < end; i++) {
			for (int c = 0; c < 9; c++) {
				float x = t->corner[i][c / 3][c % 3];

				n->lo[c % 3] = FG_MIN(n->lo[c % 3], x);
				n->hi[c % 3] = FG_MAX(n->hi[c % 3], x);
			}
		}
	}
}

static int
tree_init(struct tree *t, const struct fg_mesh *m, const double origin[3],
    struct fg_err *err)
{
	struct place *place = fg_try_alloc(2 * (size_t)m->triangles, sizeof *place);
	const struct place *sorted;

	*t = (struct tree){.triangles = m->triangles, .leaves = 1};
	while ((uint64_t)t->leaves * LEAF < m->triangles)
		t->leaves *= 2;
	t->corner = fg_try_alloc(m->triangles, sizeof *t->corner);
	t->node = fg_try_alloc(2 * (size_t)t->leaves, sizeof *t->node);
	if (!place || !t->corner || !t->node) {
		free(place);
		return fg_fail(err, FG_ENOMEM, "no memory to measure %u triangles",
		    m->triangles);
	}
	fill_places(m, place);
	sorted = sort_places(place, place + m->triangles, m->triangles);
	for (uint32_t i = 0; i < m->triangles; i++) {
		const uint32_t *index = m->index + 3 * (size_t)sorted[i].triangle;

		for (int k = 0; k < 9; k++)
			t->corner[i][k / 3][k % 3] =
			    (float)((double)m->xyz[3 * (size_t)index[k / 3] +
						   (size_t)(k % 3)] -
				    origin[k % 3]);
	}
	free(place);
	fill_boxes(t);
	return 0;
}

static void
tree_fini(struct tree *t)
{
	free(t->corner);
	free(t->node);
}

struct search {
	const struct tree *tree;
	uint32_t last;  /* a triangle that was near the point before */
	float farthest; /* squared: largest distance so far */
	double gap;     /* largest side of what triangles were divided into */
};

/* Take one point: farthest grows if it is farther than that. */
static void
look_up(struct search *s, const float p[3])
{
	uint32_t stack[STACK];
	const struct tree *t = s->tree;
	float best = off_triangle(p, (const float(*)[3])t->corner[s->last]);
	int n = 0;

	stack[n++] = 0;
	while (n > 0 && best > s->farthest) {
		uint32_t k = stack[--n];

		if (off_box(p, &t->node[k]) >= best)
			continue;
		if (k < t->leaves - 1) {
			const struct box *child = &t->node[2 * k + 1];
			uint32_t near = off_box(p, child) > off_box(p, child + 1);

			stack[n++] = 2 * k + 1 + !near;
			stack[n++] = 2 * k + 1 + near;
			continue;
		}
		uint32_t leaf = k + 1 - t->leaves, end = leaf_begin(t, leaf + 1);
		for (uint32_t i = leaf_begin(t, leaf); i < end; i++) {
			float off = off_triangle(p, (const float(*)[3])t->corner[i]);

			if (off < best) {
				best = off;
				s->last = i;
			}
		}
	}
	s->farthest = FG_MAX(s->farthest, best);
}

/* Points of a triangle in a lattice that divides its sides into `steps`. */
static void
look_up_triangle(struct search *s, const float (*c)[3], int steps)
{
	for (int i = 0; i <= steps; i++) {
		for (int j = 0; i + j <= steps; j++) {
			float u = (float)i / (float)steps, v = (float)j / (float)steps;
			float p[3];

			for (int d = 0; d < 3; d++)
				p[d] = c[0][d] + u * (c[1][d] - c[0][d]) +
				       v * (c[2][d] - c[0][d]);
			look_up(s, p);
		}
	}
}

static double
longest_side(const float (*c)[3])
{
	float longest = 0;

	for (int k = 0; k < 3; k++) {
		float v[3];

		minus(v, c[(k + 1) % 3], c[k]);
		longest = FG_MAX(longest, dot(v, v));
	}
	return sqrt((double)longest);
}

/* A spacing, at least as asked, with which there are not too many points. */
static double
choose_spacing(const struct tree *from, uint32_t triangles, double spacing)
{
	const double most = 20 * (double)triangles + 200000;

	for (;; spacing *= 2) {
		double points = 0;

		for (uint32_t i = 0; i < triangles; i++) {
			double n = longest_side((const float(*)[3])from->corner[i]);

			n = n / spacing + 1;
			points += n * n / 2;
		}
		if (!(points > most))
			return spacing;
	}
}

/* Triangles of `from` against the tree; their corners are its own tree's. */
static double
one_way(const struct tree *from, uint32_t triangles, const struct tree *to,
    double spacing)
{
	struct search s = {.tree = to};

	spacing = choose_spacing(from, triangles, spacing);
	for (uint32_t i = 0; i < triangles; i++) {
		const float(*c)[3] = (const float(*)[3])from->corner[i];
		double side = longest_side(c), steps = FG_MAX(ceil(side / spacing), 1);

		s.gap = FG_MAX(s.gap, side / steps);
		look_up_triangle(&s, c, (int)steps);
	}
	return sqrt((double)s.farthest) + s.gap / sqrt(3);
}

/* --- within a limit */

/* Whether all of a triangle is near one of the tree: the distance from something convex
 * is largest at a corner. */
static inline bool
is_near(const struct search *s, const float (*c)[3], uint32_t i, float limit2)
{
	const float(*to)[3] = (const float(*)[3])s->tree->corner[i];

	return off_triangle(c[0], to) <= limit2 && off_triangle(c[1], to) <= limit2 &&
	       off_triangle(c[2], to) <= limit2;
}

/* Look for what is nearest to the triangle's middle, or as near as makes all of it
 * near. NO: nothing is; MAYBE: its parts are to be looked at. */
enum near { NO, YES, MAYBE };

static enum near
find_near(struct search *s, const float (*c)[3], const float mid[3], float limit2,
    float enough2)
{
	uint32_t stack[STACK];
	const struct tree *t = s->tree;
	float best = limit2;
	int n = 0;

	stack[n++] = 0;
	while (n > 0) {
		uint32_t k = stack[--n];

		if (off_box(mid, &t->node[k]) >= best)
			continue;
		if (k < t->leaves - 1) {
			const struct box *child = &t->node[2 * k + 1];
			uint32_t near = off_box(mid, child) > off_box(mid, child + 1);

			stack[n++] = 2 * k + 1 + !near;
			stack[n++] = 2 * k + 1 + near;
			continue;
		}
		uint32_t leaf = k + 1 - t->leaves, end = leaf_begin(t, leaf + 1);
		for (uint32_t i = leaf_begin(t, leaf); i < end; i++) {
			float off = off_triangle(mid, (const float(*)[3])t->corner[i]);

			if (off >= best)
				continue;
			best = off;
			s->last = i;
			if (best <= enough2)
				return YES;
		}
	}
	if (best < limit2)
		return is_near(s, c, s->last, limit2) ? YES : MAYBE;
	return NO;
}

/* One triangle, or its quarters, down to `depth` times. */
static bool
is_within(struct search *s, const float (*c)[3], float limit2, int depth)
{
	float mid[3], m[3][3], part[4][3][3], longest = 0, r2 = 0;
	enum near near = MAYBE;

	if (is_near(s, c, s->last, limit2))
		return true;
	for (int k = 0; k < 3; k++) {
		float v[3];

		minus(v, c[(k + 1) % 3], c[k]);
		longest = FG_MAX(longest, dot(v, v));
		mid[k] = (c[0][k] + c[1][k] + c[2][k]) / 3;
	}
	for (int k = 0; k < 3; k++) {
		float v[3];

		minus(v, c[k], mid);
		r2 = FG_MAX(r2, dot(v, v));
	}
	/* Something much larger than the limit is near no single one, mostly. */
	float enough = FG_MAX(sqrtf(limit2) - sqrtf(r2), 0);
	if (longest < 16 * limit2)
		near = find_near(s, c, mid, limit2, enough * enough);
	if (near != MAYBE)
		return near == YES;
	if (depth == 0 || longest < limit2 / 4)
		return false;
	for (int k = 0; k < 3; k++) {
		for (int d = 0; d < 3; d++)
			m[k][d] = (c[k][d] + c[(k + 1) % 3][d]) / 2;
	}
	for (int k = 0; k < 3; k++) {
		memcpy(part[k][0], c[k], sizeof part[k][0]);
		memcpy(part[k][1], m[k], sizeof part[k][1]);
		memcpy(part[k][2], m[(k + 2) % 3], sizeof part[k][2]);
	}
	memcpy(part[3], m, sizeof m);
	for (int k = 0; k < 4; k++) {
		if (!is_within(s, (const float(*)[3])part[k], limit2, depth - 1))
			return false;
	}
	return true;
}

static bool
all_within(const struct tree *from, const struct tree *to, float limit)
{
	struct search s = {.tree = to};

	for (uint32_t i = 0; i < from->triangles; i++) {
		const float(*c)[3] = (const float(*)[3])from->corner[i];

		if (!is_within(&s, c, limit * limit, 24))
			return false;
	}
	return true;
}

static void
find_origin(const struct fg_mesh *m, double origin[3])
{
	for (int d = 0; d < 3; d++)
		origin[d] = INFINITY;
	for (size_t i = 0; i < 3 * (size_t)m->vertices; i++)
		origin[i % 3] = FG_MIN(origin[i % 3], (double)m->xyz[i]);
}

struct fg_distance {
	struct tree tree;
	double origin[3];
};

struct fg_distance *
fg_distance_new(const struct fg_mesh *m, struct fg_err *err)
{
	struct fg_distance *d = fg_calloc(1, sizeof *d);

	find_origin(m, d->origin);
	if (m->triangles == 0 || tree_init(&d->tree, m, d->origin, err) == 0)
		return d;
	fg_distance_free(d);
	return NULL;
}

void
fg_distance_free(struct fg_distance *d)
{
	if (!d)
		return;
	tree_fini(&d->tree);
	free(d);
}

int
fg_distance_within(const struct fg_distance *d, const struct fg_mesh *m,
    double limit_nm, bool *within, struct fg_err *err)
{
	struct tree t = {0};
	int rc = 0;

	if (!isfinite(limit_nm) || !(limit_nm > 0))
		return fg_fail(err, FG_EINVAL, "a limit of %g nm is not possible",
		    limit_nm);
	if (d->tree.triangles == 0 || m->triangles == 0) {
		*within = d->tree.triangles == m->triangles;
		return 0;
	}
	rc = tree_init(&t, m, d->origin, err);
	if (rc == 0)
		*within = all_within(&t, &d->tree, (float)limit_nm) &&
			  all_within(&d->tree, &t, (float)limit_nm);
	tree_fini(&t);
	return rc;
}

int
fg_distance_measure(const struct fg_mesh *a, const struct fg_mesh *b, double spacing_nm,
    double *nm, struct fg_err *err)
{
	struct tree ta = {0}, tb = {0};
	double origin[3];
	int rc = -1;

	if (!isfinite(spacing_nm) || !(spacing_nm > 0))
		return fg_fail(err, FG_EINVAL, "a spacing of %g nm is not possible",
		    spacing_nm);
	if (a->triangles == 0 || b->triangles == 0) {
		*nm = a->triangles == b->triangles ? 0 : INFINITY;
		return 0;
	}
	find_origin(a, origin);
	if (tree_init(&ta, a, origin, err) < 0 || tree_init(&tb, b, origin, err) < 0)
		goto out;
	double there = one_way(&ta, a->triangles, &tb, spacing_nm);
	double back = one_way(&tb, b->triangles, &ta, spacing_nm);
	*nm = FG_MAX(there, back);
	rc = 0;
out:
	tree_fini(&ta);
	tree_fini(&tb);
	return rc;
}
