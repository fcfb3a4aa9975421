/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tree of boxes over triangles in the order of a Z curve, and searches in it. The
 * triangle that was near the point before is tried first: it is mostly near the next
 * point too, and then what is farther is left out at once.
 */
#include "config.h"

#include "mesh/nearest.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#define LEAF 4
#define STACK 64 /* a path through 2^32 triangles, two nodes a step */

static inline float
off_box(const float p[3], const struct fg_nearest_box *n)
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
leaf_begin(const struct fg_nearest *t, uint32_t leaf)
{
	return (uint32_t)((uint64_t)t->triangles * leaf / t->leaves);
}

static void
fill_boxes(struct fg_nearest *t)
{
	for (uint32_t k = 2 * t->leaves - 1; k-- > 0;) {
		struct fg_nearest_box *n = &t->node[k];
		const struct fg_nearest_box *child = n + k + 1;

		if (k < t->leaves - 1) {
			for (int d = 0; d < 3; d++) {
				n->lo[d] = FG_MIN(child[0].lo[d], child[1].lo[d]);
				n->hi[d] = FG_MAX(child[0].hi[d], child[1].hi[d]);
			}
			continue;
		}
		uint32_t leaf = k + 1 - t->leaves, end = leaf_begin(t, leaf + 1);
		*n = (struct fg_nearest_box){{FLT_MAX, FLT_MAX, FLT_MAX},
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

int
fg_nearest_init(struct fg_nearest *t, const struct fg_mesh *m, const double origin[3],
    struct fg_err *err)
{
	struct place *place = fg_try_alloc(2 * (size_t)m->triangles, sizeof *place);
	const struct place *sorted;

	*t = (struct fg_nearest){.triangles = m->triangles, .leaves = 1};
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

void
fg_nearest_fini(struct fg_nearest *t)
{
	free(t->corner);
	free(t->node);
}

/* --- searches */

float
fg_nearest_off(const struct fg_nearest *t, uint32_t *last, const float p[3],
    float enough2)
{
	uint32_t stack[STACK];
	float best = fg_off_triangle(p, (const float(*)[3])t->corner[*last]);
	int n = 0;

	stack[n++] = 0;
	while (n > 0 && best > enough2) {
		uint32_t k = stack[--n];

		if (off_box(p, &t->node[k]) >= best)
			continue;
		if (k < t->leaves - 1) {
			const struct fg_nearest_box *child = &t->node[2 * k + 1];
			uint32_t near = off_box(p, child) > off_box(p, child + 1);

			stack[n++] = 2 * k + 1 + !near;
			stack[n++] = 2 * k + 1 + near;
			continue;
		}
		uint32_t leaf = k + 1 - t->leaves, end = leaf_begin(t, leaf + 1);
		for (uint32_t i = leaf_begin(t, leaf); i < end; i++) {
			float off = fg_off_triangle(p, (const float(*)[3])t->corner[i]);

			if (off < best) {
				best = off;
				*last = i;
			}
		}
	}
	return best;
}

struct search {
	const struct fg_nearest *tree;
	uint32_t last; /* a triangle that was near the point before */
};

/* Whether all of a triangle is near one of the tree: the distance from something convex
 * is largest at a corner. */
static inline bool
is_near(const struct search *s, const float (*c)[3], uint32_t i, float limit2)
{
	const float(*to)[3] = (const float(*)[3])s->tree->corner[i];

	return fg_off_triangle(c[0], to) <= limit2 &&
	       fg_off_triangle(c[1], to) <= limit2 &&
	       fg_off_triangle(c[2], to) <= limit2;
}

/* Look for what is nearest to the triangle's middle, or as near as makes all of it
 * near. NO: nothing is; MAYBE: its parts are to be looked at. */
enum near { NO, YES, MAYBE };

static enum near
find_near(struct search *s, const float (*c)[3], const float mid[3], float limit2,
    float enough2)
{
	uint32_t stack[STACK];
	const struct fg_nearest *t = s->tree;
	float best = limit2;
	int n = 0;

	stack[n++] = 0;
	while (n > 0) {
		uint32_t k = stack[--n];

		if (off_box(mid, &t->node[k]) >= best)
			continue;
		if (k < t->leaves - 1) {
			const struct fg_nearest_box *child = &t->node[2 * k + 1];
			uint32_t near = off_box(mid, child) > off_box(mid, child + 1);

			stack[n++] = 2 * k + 1 + !near;
			stack[n++] = 2 * k + 1 + near;
			continue;
		}
		uint32_t leaf = k + 1 - t->leaves, end = leaf_begin(t, leaf + 1);
		for (uint32_t i = leaf_begin(t, leaf); i < end; i++) {
			float off =
			    fg_off_triangle(mid, (const float(*)[3])t->corner[i]);

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

		fg_minus(v, c[(k + 1) % 3], c[k]);
		longest = FG_MAX(longest, fg_dot(v, v));
		mid[k] = (c[0][k] + c[1][k] + c[2][k]) / 3;
	}
	for (int k = 0; k < 3; k++) {
		float v[3];

		fg_minus(v, c[k], mid);
		r2 = FG_MAX(r2, fg_dot(v, v));
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

bool
fg_nearest_within(const struct fg_nearest *t, uint32_t *last, const float (*c)[3],
    float limit2)
{
	struct search s = {.tree = t, .last = *last};
	bool yes = is_within(&s, c, limit2, 5);

	*last = s.last;
	return yes;
}
