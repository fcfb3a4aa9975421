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
/* Deepest tree: each split halves the space between two floats along an axis, or the
 * number of triangles. */
#define STACK 1024

struct node {
	float lo[3], hi[3];
	uint32_t first, count; /* triangles of a leaf; count 0: children first, + 1 */
};

struct tree {
	float (*corner)[3][3]; /* of each triangle, in the order of the leaves */
	struct node *node;
	uint32_t nodes;
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
off_box(const float p[3], const struct node *n)
{
	float sum = 0;

	for (int d = 0; d < 3; d++) {
		float off = FG_MAX(FG_MAX(n->lo[d] - p[d], p[d] - n->hi[d]), 0);

		sum += off * off;
	}
	return sum;
}

/* --- the tree */

static void
bound(const struct tree *t, struct node *n, float mid_lo[3], float mid_hi[3])
{
	for (int d = 0; d < 3; d++) {
		n->lo[d] = mid_lo[d] = FLT_MAX;
		n->hi[d] = mid_hi[d] = -FLT_MAX;
	}
	for (uint32_t i = n->first; i < n->first + n->count; i++) {
		for (int d = 0; d < 3; d++) {
			float a = t->corner[i][0][d], b = t->corner[i][1][d];
			float c = t->corner[i][2][d], mid = a + b + c;

			n->lo[d] = FG_MIN(n->lo[d], FG_MIN(a, FG_MIN(b, c)));
			n->hi[d] = FG_MAX(n->hi[d], FG_MAX(a, FG_MAX(b, c)));
			mid_lo[d] = FG_MIN(mid_lo[d], mid);
			mid_hi[d] = FG_MAX(mid_hi[d], mid);
		}
	}
}

/* Triangles of n whose middle is below `at` along d go first; returns how many. Where
 * that parts nothing, the half. */
static uint32_t
part(const struct tree *t, const struct node *n, int d, float at)
{
	uint32_t i = n->first, end = n->first + n->count;

	for (uint32_t j = i; j < end; j++) {
		float c[3][3];

		if (t->corner[j][0][d] + t->corner[j][1][d] + t->corner[j][2][d] >= at)
			continue;
		memcpy(c, t->corner[j], sizeof c);
		memcpy(t->corner[j], t->corner[i], sizeof c);
		memcpy(t->corner[i], c, sizeof c);
		i++;
	}
	return i == n->first || i == end ? n->count / 2 : i - n->first;
}

/* Nodes are split in the order in which they were made, until leaves are left. */
static int
tree_init(struct tree *t, const struct fg_mesh *m, const double origin[3],
    struct fg_err *err)
{
	t->corner = fg_try_alloc(m->triangles, sizeof *t->corner);
	t->node = fg_try_alloc(2 * (size_t)m->triangles + 1, sizeof *t->node);
	if (!t->corner || !t->node)
		return fg_fail(err, FG_ENOMEM, "no memory to measure %u triangles",
		    m->triangles);
	for (size_t i = 0; i < 3 * (size_t)m->triangles; i++) {
		const float *p = m->xyz + 3 * (size_t)m->index[i];

		for (int d = 0; d < 3; d++)
			t->corner[i / 3][i % 3][d] = (float)((double)p[d] - origin[d]);
	}
	t->node[0] = (struct node){.count = m->triangles};
	t->nodes = 1;
	for (uint32_t k = 0; k < t->nodes; k++) {
		struct node *n = &t->node[k];
		float lo[3], hi[3];
		int axis = 0;

		bound(t, n, lo, hi);
		if (n->count <= LEAF)
			continue;
		for (int d = 1; d < 3; d++) {
			if (hi[d] - lo[d] > hi[axis] - lo[axis])
				axis = d;
		}
		uint32_t low = part(t, n, axis, (lo[axis] + hi[axis]) / 2);
		t->node[t->nodes] = (struct node){.first = n->first, .count = low};
		t->node[t->nodes + 1] =
		    (struct node){.first = n->first + low, .count = n->count - low};
		n->first = t->nodes;
		n->count = 0;
		t->nodes += 2;
	}
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
		const struct node *at = &t->node[stack[--n]];

		if (off_box(p, at) >= best)
			continue;
		for (uint32_t i = at->first; i < at->first + at->count; i++) {
			float off = off_triangle(p, (const float(*)[3])t->corner[i]);

			if (off < best) {
				best = off;
				s->last = i;
			}
		}
		if (at->count)
			continue;
		fg_assert(n + 2 <= STACK);
		const struct node *child = &t->node[at->first];
		uint32_t near = off_box(p, child) > off_box(p, child + 1);
		stack[n++] = at->first + !near;
		stack[n++] = at->first + near;
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

int
fg_distance_measure(const struct fg_mesh *a, const struct fg_mesh *b, double spacing_nm,
    double *nm, struct fg_err *err)
{
	struct tree ta = {0}, tb = {0};
	double origin[3] = {INFINITY, INFINITY, INFINITY};
	int rc = -1;

	if (!isfinite(spacing_nm) || !(spacing_nm > 0))
		return fg_fail(err, FG_EINVAL, "a spacing of %g nm is not possible",
		    spacing_nm);
	if (a->triangles == 0 || b->triangles == 0) {
		*nm = a->triangles == b->triangles ? 0 : INFINITY;
		return 0;
	}
	for (size_t i = 0; i < 3 * (size_t)a->vertices; i++)
		origin[i % 3] = FG_MIN(origin[i % 3], (double)a->xyz[i]);
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
