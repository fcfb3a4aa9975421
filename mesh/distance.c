/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measuring: each mesh in turn gets a tree of boxes (mesh/nearest.h), and points of the
 * other are looked up in it. Only the largest distance is wanted, so a point is done
 * with as soon as it is known to be no farther than the largest so far.
 *
 * Holding against a limit: where the other mesh is this one simplified, its vertices
 * are some of this one's, in their order, so the two can be followed side by side
 * without looking anything up. Most coarse triangles have the fine surface all along
 * them, which mesh/cover.h shows in one go, and tells what is above them. Of the others
 * parts step from one near vertex of the fine mesh to the next; and fine vertices above
 * no triangle take that of a neighbour and turn to nearer ones. What this does not show
 * to be near is looked up in a tree, as is all of a mesh that is no simplified one;
 * trees grow when they are wanted first.
 *
 * Coordinates are taken relative to the meshes' common corner, so that floats are exact
 * enough far from the origin of the volume.
 */
#include "config.h"

#include "mesh/distance.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "mesh/cover.h"
#include "mesh/sheet.h"

#define NONE FG_SHEET_NONE
/* Of a limit that is looked for. */
#define GROWTH 1.25f

/* --- measuring */

struct search {
	const struct fg_nearest *tree;
	uint32_t last;  /* a triangle that was near the point before */
	float farthest; /* squared: largest distance so far */
	double gap;     /* largest side of what triangles were divided into */
};

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
			float off = fg_nearest_off(s->tree, &s->last, p, s->farthest);

			s->farthest = FG_MAX(s->farthest, off);
		}
	}
}

/* The longest side of a triangle, squared. */
static float
longest2(const float (*c)[3])
{
	float longest = 0;

	for (int k = 0; k < 3; k++) {
		float v[3];

		fg_minus(v, c[(k + 1) % 3], c[k]);
		longest = FG_MAX(longest, fg_dot(v, v));
	}
	return longest;
}

static double
longest_side(const float (*c)[3])
{
	return sqrt((double)longest2(c));
}

/* A spacing, at least as asked, with which there are not too many points. */
static double
choose_spacing(const struct fg_nearest *from, uint32_t triangles, double spacing)
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
one_way(const struct fg_nearest *from, uint32_t triangles, const struct fg_nearest *to,
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

static void
find_origin(const struct fg_mesh *m, double origin[3])
{
	for (int d = 0; d < 3; d++)
		origin[d] = INFINITY;
	for (size_t i = 0; i < 3 * (size_t)m->vertices; i++)
		origin[i % 3] = FG_MIN(origin[i % 3], (double)m->xyz[i]);
}

int
fg_distance_measure(const struct fg_mesh *a, const struct fg_mesh *b, double spacing_nm,
    double *nm, struct fg_err *err)
{
	struct fg_nearest ta = {0}, tb = {0};
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
	if (fg_nearest_init(&ta, a, origin, err) < 0 ||
	    fg_nearest_init(&tb, b, origin, err) < 0)
		goto out;
	double there = one_way(&ta, a->triangles, &tb, spacing_nm);
	double back = one_way(&tb, b->triangles, &ta, spacing_nm);
	*nm = FG_MAX(there, back);
	rc = 0;
out:
	fg_nearest_fini(&ta);
	fg_nearest_fini(&tb);
	return rc;
}

/* --- within a limit */

struct fg_distance {
	struct fg_sheet sheet;
	double origin[3];
	float reach; /* of its triangles, the largest; see reach2 */
};

/* Two meshes beside each other. */
struct pair {
	struct fg_sheet *fine, *coarse;
	float limit, limit2;
	bool grows;      /* the limit does, where something is far, until it is not */
	float reach;     /* of fine triangles, the largest; see reach2 */
	float near2;     /* corners as near as this make any fine triangle near */
	uint32_t *place; /* of the coarse mesh's vertices in the fine one */
	uint32_t *face;  /* a coarse triangle near the fine vertex, or NONE */
	float *face_off; /* how far, squared */
	uint32_t *queue; /* fine vertices */
	/* Left: with absurd voxels a triangle is as large as a million limits, and is
	 * said to be far. Surfaces of neurites take one division a triangle. */
	uint64_t divisions;
	/* Where triangles of the fine mesh are marked around what is far, and how far
	 * around; NULL: it is over with the first. */
	uint8_t *mark;
	float around;
	struct spot {
		float at[3], reach;
	} * spot; /* around which all is marked */
	size_t spots, spots_cap;
	uint32_t marked;   /* triangles, now */
	bool far;          /* something was */
	uint32_t far_fine; /* a fine vertex near it */
	float far_at[3];
	uint32_t last[2]; /* what was near in the fine tree, in the coarse one */
};

static void
set_limit(struct pair *p, float limit)
{
	float beyond = FG_MAX(limit - p->reach, 0);

	p->limit = limit;
	p->limit2 = limit * limit;
	p->near2 = beyond * beyond;
	p->divisions = 1000 + 8 * (uint64_t)p->coarse->mesh->triangles;
}

/* What was near before stays so. */
static bool
grow(struct pair *p)
{
	if (!p->grows || !isfinite(p->limit))
		return false;
	set_limit(p, GROWTH * p->limit);
	return true;
}

/* Where the coarse mesh's vertices are in the fine one; false if some are not there in
 * this order, or belong to no triangle there. */
static bool
match(struct pair *p)
{
	const struct fg_mesh *a = p->fine->mesh, *b = p->coarse->mesh;
	uint32_t v = 0;

	for (uint32_t u = 0; u < b->vertices; u++, v++) {
		while (v < a->vertices &&
		       memcmp(a->xyz + 3 * (size_t)v, b->xyz + 3 * (size_t)u, 12) != 0)
			v++;
		if (v == a->vertices ||
		    (fg_sheet_uses(p->coarse, u) && !fg_sheet_uses(p->fine, v)))
			return false;
		p->place[u] = v;
	}
	return true;
}

static int
search(struct pair *p, bool in_fine, const float (*c)[3], bool *near,
    struct fg_err *err)
{
	return fg_sheet_near(in_fine ? p->fine : p->coarse, &p->last[!in_fine], c,
	    p->limit2, near, err);
}

static inline bool
all_near(const struct fg_sheet *s, uint32_t t, const float (*c)[3], float limit2)
{
	float to[3][3];

	fg_sheet_corners(s, t, to);
	return fg_off_triangle(c[0], (const float(*)[3])to) <= limit2 &&
	       fg_off_triangle(c[1], (const float(*)[3])to) <= limit2 &&
	       fg_off_triangle(c[2], (const float(*)[3])to) <= limit2;
}

/* The same of the triangles around a vertex. */
static bool
all_near_around(const struct fg_sheet *s, uint32_t v, const float (*c)[3], float limit2)
{
	for (uint32_t i = s->first[v]; i < s->first[v + 1]; i++) {
		if (all_near(s, s->ring[i], c, limit2))
			return true;
	}
	return false;
}

/* No point of a triangle is farther from its nearest corner; squared. In one with an
 * obtuse angle the farthest is on the longest side, else it is the middle of the circle
 * through the corners. */
static float
reach2(const float (*c)[3])
{
	float a[3], b[3], d[3];

	fg_minus(a, c[1], c[0]);
	fg_minus(b, c[2], c[0]);
	fg_minus(d, c[2], c[1]);
	float aa = fg_dot(a, a), bb = fg_dot(b, b), dd = fg_dot(d, d),
	      ab = fg_dot(a, b);
	float longest = FG_MAX(FG_MAX(aa, bb), dd);

	if (2 * longest >= aa + bb + dd)
		return longest / 4;
	/* Never above that of three equal sides, so that parts of slivers, whose area
	 * is a matter of rounding, get smaller too. */
	float four_area2 = aa * bb - ab * ab;
	float circle = four_area2 > 0 ? aa * bb * dd / (4 * four_area2) : longest;

	return FG_MIN(circle, longest / 3);
}

/* --- the fine mesh's triangles */

/* A triangle around the corners of f that is nearer to a point, if there is one; good
 * enough is good2. */
static uint32_t
turn(const struct fg_sheet *s, uint32_t f, const float at[3], float good2, float *best)
{
	const uint32_t *c = s->mesh->index + 3 * (size_t)f;

	for (size_t k = 0; k < 3; k++) {
		for (uint32_t i = s->first[c[k]]; i < s->first[c[k] + 1]; i++) {
			float d = fg_sheet_off(s, s->ring[i], at);

			if (d >= *best)
				continue;
			*best = d;
			f = s->ring[i];
			if (d <= good2)
				return f;
		}
	}
	return f;
}

/* From a triangle near u to nearer ones, as far as half the limit. */
static void
approach(struct pair *p, uint32_t u)
{
	const float *at = p->fine->at + 3 * (size_t)u;
	uint32_t f = p->face[u], from = NONE;
	float best = fg_sheet_off(p->coarse, f, at);

	while (best > p->limit2 / 4 && f != from) {
		from = f;
		f = turn(p->coarse, f, at, p->limit2 / 4, &best);
	}
	p->face[u] = f;
	p->face_off[u] = best;
}

/* A near triangle for each vertex that is above none: from its neighbours. */
static void
spread_faces(struct pair *p)
{
	const struct fg_sheet *s = p->fine;
	uint32_t begin = 0, end = 0;

	for (uint32_t v = 0; v < p->coarse->mesh->vertices; v++) {
		uint32_t u = p->place[v];

		if (!fg_sheet_uses(p->coarse, v))
			continue;
		p->face[u] = p->coarse->ring[p->coarse->first[v]];
		p->face_off[u] = 0;
	}
	for (uint32_t v = 0; v < s->mesh->vertices; v++) {
		if (p->face[v] != NONE)
			p->queue[end++] = v;
	}
	while (begin < end) {
		uint32_t v = p->queue[begin++];

		for (uint32_t i = s->first[v]; i < s->first[v + 1]; i++) {
			uint32_t u = s->next[i];

			if (p->face[u] != NONE)
				continue;
			p->face[u] = p->face[v];
			approach(p, u);
			p->queue[end++] = u;
		}
	}
}

static int
fine_is_near(struct pair *p, uint32_t t, bool *near, struct fg_err *err)
{
	const uint32_t *v = p->fine->mesh->index + 3 * (size_t)t;
	uint32_t f[3] = {p->face[v[0]], p->face[v[1]], p->face[v[2]]};
	float c[3][3], far = 0;

	*near = true;
	for (int k = 0; k < 3; k++)
		far = FG_MAX(far, f[k] == NONE ? INFINITY : p->face_off[v[k]]);
	/* To something convex a corner is farthest; and no point of a triangle is
	 * farther from its nearest corner than side / sqrt(3). */
	if (far < p->near2 || (far <= p->limit2 && f[0] == f[1] && f[1] == f[2]))
		return 0;
	fg_sheet_corners(p->fine, t, c);
	if (sqrtf(far) + sqrtf(reach2((const float(*)[3])c)) <= p->limit)
		return 0;
	for (int k = 0; k < 3; k++) {
		if (f[k] != NONE &&
		    all_near(p->coarse, f[k], (const float(*)[3])c, p->limit2))
			return 0;
	}
	for (size_t k = 0; k < 9; k++) {
		uint32_t face = f[k / 3];

		if (face != NONE &&
		    all_near_around(p->coarse,
			p->coarse->mesh->index[3 * (size_t)face + k % 3],
			(const float(*)[3])c, p->limit2))
			return 0;
	}
	return search(p, false, (const float(*)[3])c, near, err);
}

/* --- the coarse mesh's triangles */

/* From vertex to vertex of the fine mesh as long as they come nearer to a point. */
static uint32_t
step(const struct fg_sheet *s, uint32_t v, const float at[3], float *best)
{
	uint32_t from = NONE;
	float w[3];

	fg_minus(w, at, s->at + 3 * (size_t)v);
	*best = fg_dot(w, w);
	while (v != from) {
		from = v;
		for (uint32_t i = s->first[from]; i < s->first[from + 1]; i++) {
			fg_minus(w, at, s->at + 3 * (size_t)s->next[i]);
			float d = fg_dot(w, w);

			if (d < *best) {
				*best = d;
				v = s->next[i];
			}
		}
	}
	return v;
}

/* How far a point is from the fine surface, from above; or enough. v: a vertex that is
 * not far, becomes one that is near. */
static float
off_fine(const struct fg_sheet *s, const float at[3], uint32_t *v, float enough)
{
	float best;

	*v = step(s, *v, at, &best);
	for (uint32_t i = s->first[*v];
	     i < s->first[*v + 1] && best > enough * fabsf(enough); i++) {
		float d = fg_sheet_off(s, s->ring[i], at);

		best = FG_MIN(best, d);
	}
	return sqrtf(best);
}

/* Part of a coarse triangle: its corners, how far they are from the fine surface, and
 * vertices of that near them. */
struct part {
	float c[3][3], off[3];
	uint32_t v[3];
};

static void
take_corner(struct part *to, int k, const struct part *from, int i)
{
	memcpy(to->c[k], from->c[i], sizeof to->c[k]);
	to->off[k] = from->off[i];
	to->v[k] = from->v[i];
}

/* Into quarters. */
static void
divide(const struct pair *p, const struct part *a, float enough, struct part q[4])
{
	struct part *m = &q[3];

	for (int k = 0; k < 3; k++) {
		for (int d = 0; d < 3; d++)
			m->c[k][d] = (a->c[k][d] + a->c[(k + 1) % 3][d]) / 2;
		m->v[k] = a->v[k];
		m->off[k] = off_fine(p->fine, m->c[k], &m->v[k], enough);
		if (m->off[k] > enough) {
			/* The walk may have ended before a gap: from the other end. */
			uint32_t v = a->v[(k + 1) % 3];
			float off = off_fine(p->fine, m->c[k], &v, enough);

			if (off < m->off[k]) {
				m->off[k] = off;
				m->v[k] = v;
			}
		}
	}
	for (int k = 0; k < 3; k++) {
		take_corner(&q[k], 0, a, k);
		take_corner(&q[k], 1, m, k);
		take_corner(&q[k], 2, m, (k + 2) % 3);
	}
}

static int
coarse_is_near(struct pair *p, const struct part *a, bool *near, struct fg_err *err)
{
	const float(*c)[3] = (const float(*)[3])a->c;
	float reach = sqrtf(reach2(c));
	struct part q[4];

	*near = true;
	p->far_fine = a->v[0];
	memcpy(p->far_at, c[0], sizeof p->far_at);
	/* As above: what is far from all corners does not belong to the triangle. */
	if (reach + FG_MAX(FG_MAX(a->off[0], a->off[1]), a->off[2]) <= p->limit)
		return 0;
	for (int k = 0; k < 3 && reach < p->limit / 2; k++) {
		if (all_near_around(p->fine, a->v[k], c, p->limit2))
			return 0;
	}
	if (reach < p->limit / 4)
		return search(p, true, c, near, err);
	if (p->divisions == 0) {
		*near = false;
		return 0;
	}
	p->divisions--;
	divide(p, a, p->limit - reach / 2, q);
	for (int k = 0; k < 4 && *near; k++) {
		if (coarse_is_near(p, &q[k], near, err) < 0)
			return -1;
	}
	return 0;
}

/* --- all of them */

/* Whether all within `reach` of a place was marked before, but for a quarter of
 * `around`: what is far lies close together. */
static bool
is_marked(struct pair *p, const float at[3], float reach)
{
	float v[3];

	for (size_t i = p->spots; i-- > 0;) {
		const struct spot *s = &p->spot[i];

		fg_minus(v, s->at, at);
		if (sqrtf(fg_dot(v, v)) + reach <= s->reach + p->around / 4)
			return true;
	}
	if (p->spots == p->spots_cap) {
		p->spots_cap = p->spots_cap ? 2 * p->spots_cap : 64;
		p->spot = fg_realloc(p->spot, p->spots_cap, sizeof *p->spot);
	}
	p->spot[p->spots++] = (struct spot){{at[0], at[1], at[2]}, reach};
	return false;
}

/* Something is far from the other mesh: mark the fine triangles around it, or be done,
 * also when most are marked: then nobody asks which. */
static void
note_far(struct pair *p, struct fg_cover *c, bool *near)
{
	const struct fg_sheet *s = p->fine;
	const float *mid = fg_sheet_at(s, p->far_fine);
	float v[3], most;
	uint32_t n = 0;

	p->far = true;
	if (!p->mark || 2 * (uint64_t)p->marked > s->mesh->triangles)
		return;
	*near = true;
	fg_minus(v, p->far_at, mid);
	most = p->around + sqrtf(fg_dot(v, v));
	if (is_marked(p, mid, most))
		return;
	c->round++;
	c->stack[n++] = s->ring[s->first[p->far_fine]];
	c->seen[c->stack[0]] = c->round;
	while (n > 0) {
		uint32_t t = c->stack[--n];

		p->marked += !p->mark[t];
		p->mark[t] = 1;
		for (size_t k = 0; k < 3; k++) {
			uint32_t u = s->mesh->index[3 * (size_t)t + k];

			fg_minus(v, fg_sheet_at(s, u), mid);
			if (fg_dot(v, v) > most * most)
				continue;
			for (uint32_t i = s->first[u]; i < s->first[u + 1]; i++) {
				if (c->seen[s->ring[i]] == c->round)
					continue;
				c->seen[s->ring[i]] = c->round;
				c->stack[n++] = s->ring[i];
			}
		}
	}
}

/* The corner with the fewest fine triangles goes first: there looking begins. */
static void
turn_to_fewest(const struct pair *p, struct part *a)
{
	const uint32_t *first = p->fine->first;
	struct part was = *a;
	int least = 0;

	for (int k = 1; k < 3; k++) {
		if (first[a->v[k] + 1] - first[a->v[k]] <
		    first[a->v[least] + 1] - first[a->v[least]])
			least = k;
	}
	for (int k = 0; k < 3 && least > 0; k++)
		take_corner(a, k, &was, (k + least) % 3);
}

static int
coarse_are_near(struct pair *p, struct fg_cover *cover, bool *near, struct fg_err *err)
{
	for (uint32_t t = 0; t < p->coarse->mesh->triangles && *near; t++) {
		const uint32_t *v = p->coarse->mesh->index + 3 * (size_t)t;
		struct part a = {0};

		fg_sheet_corners(p->coarse, t, a.c);
		for (int k = 0; k < 3; k++)
			a.v[k] = p->place[v[k]];
		turn_to_fewest(p, &a);
		do {
			cover->limit = p->limit;
			*near =
			    fg_cover_triangle(cover, (const float(*)[3])a.c, a.v[0], t);
			if (!*near && coarse_is_near(p, &a, near, err) < 0)
				return -1;
		} while (!*near && grow(p));
		if (!*near)
			note_far(p, cover, near);
	}
	return 0;
}

static int
follow(struct pair *p, bool *near, struct fg_err *err)
{
	struct fg_cover cover = {0};
	int rc = -1;

	*near = true;
	if ((!p->fine->behind && fg_sheet_pair(p->fine, err) < 0) ||
	    fg_cover_init(&cover, p->fine, p->limit, err) < 0 ||
	    coarse_are_near(p, &cover, near, err) < 0)
		goto out;
	p->face = cover.face;
	p->face_off = cover.off2;
	p->queue = cover.stack;
	if (*near)
		spread_faces(p);
	for (uint32_t t = 0; t < p->fine->mesh->triangles && *near; t++) {
		if (cover.near[t])
			continue;
		do {
			if (fine_is_near(p, t, near, err) < 0)
				goto out;
		} while (!*near && grow(p));
		if (*near)
			continue;
		p->far_fine = p->fine->mesh->index[3 * (size_t)t];
		memcpy(p->far_at, fg_sheet_at(p->fine, p->far_fine), sizeof p->far_at);
		note_far(p, &cover, near);
	}
	*near = !p->far;
	rc = 0;
out:
	fg_cover_fini(&cover);
	return rc;
}

static int
search_all(struct pair *p, bool *near, struct fg_err *err)
{
	*near = true;
	for (int in_fine = 0; in_fine < 2; in_fine++) {
		const struct fg_sheet *s = in_fine ? p->coarse : p->fine;

		for (uint32_t t = 0; t < s->mesh->triangles && *near; t++) {
			float c[3][3];

			fg_sheet_corners(s, t, c);
			do {
				if (search(p, in_fine, (const float(*)[3])c, near,
					err) < 0)
					return -1;
			} while (!*near && grow(p));
		}
	}
	return 0;
}

struct fg_distance *
fg_distance_new(const struct fg_mesh *m, struct fg_err *err)
{
	struct fg_distance *d = fg_calloc(1, sizeof *d);

	find_origin(m, d->origin);
	if (fg_sheet_init(&d->sheet, m, d->origin, err) < 0) {
		fg_distance_free(d);
		return NULL;
	}
	for (uint32_t t = 0; t < m->triangles; t++) {
		float c[3][3];

		fg_sheet_corners(&d->sheet, t, c);
		d->reach = FG_MAX(d->reach, reach2((const float(*)[3])c));
	}
	d->reach = sqrtf(d->reach);
	return d;
}

void
fg_distance_free(struct fg_distance *d)
{
	if (!d)
		return;
	fg_sheet_fini(&d->sheet);
	free(d);
}

const struct fg_sheet *
fg_distance_sheet(struct fg_distance *d, struct fg_err *err)
{
	if (!d->sheet.behind && fg_sheet_pair(&d->sheet, err) < 0)
		return NULL;
	return &d->sheet;
}

/* Both have triangles. */
static int
compare(struct fg_distance *d, const struct fg_mesh *m, double limit_nm, struct pair *p,
    bool *near, struct fg_err *err)
{
	struct fg_sheet other = {.mesh = m};
	int rc = -1;

	p->fine = &d->sheet;
	p->coarse = &other;
	p->reach = d->reach;
	set_limit(p, (float)limit_nm);
	p->place = fg_try_alloc((size_t)m->vertices + 1, sizeof *p->place);
	if (!p->place)
		fg_fail(err, FG_ENOMEM, "no memory to measure %u triangles",
		    m->triangles);
	else if (fg_sheet_init(&other, m, d->origin, err) == 0)
		rc = match(p) ? follow(p, near, err) : search_all(p, near, err);
	fg_sheet_fini(&other);
	free(p->place);
	free(p->spot);
	return rc;
}

static int
check_limit(double nm, struct fg_err *err)
{
	if (!isfinite(nm) || !((float)nm >= FLT_MIN))
		return fg_fail(err, FG_EINVAL, "a limit of %g nm is not possible", nm);
	return 0;
}

int
fg_distance_mark(struct fg_distance *d, const struct fg_mesh *m, double limit_nm,
    double around_nm, uint8_t *mark, bool *within, struct fg_err *err)
{
	struct pair p = {.mark = mark, .around = (float)around_nm};

	if (check_limit(limit_nm, err) < 0)
		return -1;
	if (d->sheet.mesh->triangles == 0 || m->triangles == 0) {
		*within = d->sheet.mesh->triangles == m->triangles;
		return 0;
	}
	return compare(d, m, limit_nm, &p, within, err);
}

int
fg_distance_within(struct fg_distance *d, const struct fg_mesh *m, double limit_nm,
    bool *within, struct fg_err *err)
{
	return fg_distance_mark(d, m, limit_nm, 0, NULL, within, err);
}

int
fg_distance_bound(struct fg_distance *d, const struct fg_mesh *m, double from_nm,
    double *nm, struct fg_err *err)
{
	struct pair p = {.grows = true};
	bool near = false;
	float from = (float)from_nm;

	if (check_limit(from_nm, err) < 0)
		return -1;
	if (d->sheet.mesh->triangles == 0 || m->triangles == 0) {
		*nm = d->sheet.mesh->triangles == m->triangles ? from_nm : INFINITY;
		return 0;
	}
	if ((double)from < from_nm)
		from = nextafterf(from, INFINITY);
	if (compare(d, m, (double)from, &p, &near, err) < 0)
		return -1;
	*nm = near ? (double)p.limit : INFINITY;
	return 0;
}
