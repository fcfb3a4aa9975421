/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Measuring: each mesh in turn gets a tree of boxes (mesh/nearest.h), and points of the
 * other are looked up in it. Only the largest distance is wanted, so a point is done
 * with as soon as it is known to be no farther than the largest so far.
 *
 * Holding against a limit: where the other mesh is this one simplified, its vertices
 * are some of this one's, in their order, so the two can be followed side by side
 * without looking anything up. From a vertex that both have the triangle that is near
 * goes from vertex to vertex of the fine mesh, now and then over to a neighbour; and
 * parts of the coarse mesh's triangles step from one near vertex of the fine one to the
 * next. What this does not show to be near is looked up in a tree, as is all of a mesh
 * that is no simplified one; trees grow when they are wanted first.
 *
 * Coordinates are taken relative to the meshes' common corner, so that floats are exact
 * enough far from the origin of the volume.
 */
#include "config.h"

#include "mesh/distance.h"

#include <math.h>
#include <stdlib.h>

#include "mesh/nearest.h"

#define NONE UINT32_MAX

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

/* A mesh in relative coordinates; the triangles around its vertex v are
 * ring[first[v]] ... ring[first[v + 1] - 1], next the corners that follow v in them:
 * all its neighbours, but one at a border. */
struct sheet {
	const struct fg_mesh *mesh;
	float *at;
	uint32_t *first, *ring, *next;
	bool planted;
	struct fg_nearest tree; /* if planted */
};

struct fg_distance {
	struct sheet sheet;
	double origin[3];
};

static int
sheet_init(struct sheet *s, const struct fg_mesh *m, const double origin[3],
    struct fg_err *err)
{
	size_t n = 3 * (size_t)m->triangles;

	*s = (struct sheet){.mesh = m};
	s->at = fg_try_alloc(3 * (size_t)m->vertices + 1, sizeof *s->at);
	s->first = calloc((size_t)m->vertices + 2, sizeof *s->first);
	s->ring = fg_try_alloc(n + 1, sizeof *s->ring);
	s->next = fg_try_alloc(n + 1, sizeof *s->next);
	if (!s->at || !s->first || !s->ring || !s->next)
		return fg_fail(err, FG_ENOMEM, "no memory to measure %u triangles",
		    m->triangles);
	for (size_t i = 0; i < m->vertices; i++) {
		for (size_t d = 0; d < 3; d++)
			s->at[3 * i + d] =
			    (float)((double)m->xyz[3 * i + d] - origin[d]);
	}
	/* first[v + 1] is the begin of v's while they are filled in, then their end. */
	for (size_t i = 0; i < n; i++)
		s->first[(size_t)m->index[i] + 2]++;
	for (size_t v = 2; v <= m->vertices; v++)
		s->first[v] += s->first[v - 1];
	for (uint32_t t = 0; t < m->triangles; t++) {
		const uint32_t *c = m->index + 3 * (size_t)t;

		for (size_t k = 0; k < 3; k++) {
			uint32_t i = s->first[(size_t)c[k] + 1]++;

			s->ring[i] = t;
			s->next[i] = c[(k + 1) % 3];
		}
	}
	return 0;
}

static void
sheet_fini(struct sheet *s)
{
	free(s->at);
	free(s->first);
	free(s->ring);
	free(s->next);
	fg_nearest_fini(&s->tree);
}

static inline void
corners_of(const struct sheet *s, uint32_t t, float c[3][3])
{
	for (size_t k = 0; k < 3; k++)
		memcpy(c[k], s->at + 3 * (size_t)s->mesh->index[3 * (size_t)t + k], 12);
}

static inline float
off(const struct sheet *s, uint32_t t, const float p[3])
{
	float c[3][3];

	corners_of(s, t, c);
	return fg_off_triangle(p, (const float(*)[3])c);
}

/* Two meshes beside each other. */
struct pair {
	struct sheet *fine, *coarse;
	const double *origin;
	float limit, limit2;
	uint32_t *place;  /* of the coarse mesh's vertices in the fine one */
	uint32_t *face;   /* a coarse triangle near the fine vertex, or NONE */
	float *face_off;  /* how far, squared */
	uint32_t *queue;  /* fine vertices */
	uint32_t last[2]; /* what was near in the fine tree, in the coarse one */
};

static inline bool
is_used(const struct sheet *s, uint32_t v)
{
	return s->first[v] < s->first[v + 1];
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
		if (v == a->vertices || (is_used(p->coarse, u) && !is_used(p->fine, v)))
			return false;
		p->place[u] = v;
	}
	return true;
}

/* Look it up. */
static int
search(struct pair *p, bool in_fine, const float (*c)[3], bool *near,
    struct fg_err *err)
{
	struct sheet *s = in_fine ? p->fine : p->coarse;

	if (!s->planted && fg_nearest_init(&s->tree, s->mesh, p->origin, err) < 0)
		return -1;
	s->planted = true;
	*near = fg_nearest_within(&s->tree, &p->last[!in_fine], c, p->limit2);
	return 0;
}

static inline bool
all_near(const struct sheet *s, uint32_t t, const float (*c)[3], float limit2)
{
	float to[3][3];

	corners_of(s, t, to);
	return fg_off_triangle(c[0], (const float(*)[3])to) <= limit2 &&
	       fg_off_triangle(c[1], (const float(*)[3])to) <= limit2 &&
	       fg_off_triangle(c[2], (const float(*)[3])to) <= limit2;
}

/* --- the fine mesh's triangles */

/* A triangle around the corners of f that is nearer to a point, if there is one; good
 * enough is good2. */
static uint32_t
turn(const struct sheet *s, uint32_t f, const float at[3], float good2, float *best)
{
	const uint32_t *c = s->mesh->index + 3 * (size_t)f;

	for (size_t k = 0; k < 3; k++) {
		for (uint32_t i = s->first[c[k]]; i < s->first[c[k] + 1]; i++) {
			float d = off(s, s->ring[i], at);

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
	float best = off(p->coarse, f, at);

	while (best > p->limit2 / 4 && f != from) {
		from = f;
		f = turn(p->coarse, f, at, p->limit2 / 4, &best);
	}
	p->face[u] = f;
	p->face_off[u] = best;
}

/* A near triangle for each vertex, from those that both meshes have outwards. */
static void
spread_faces(struct pair *p)
{
	const struct sheet *s = p->fine;
	uint32_t begin = 0, end = 0;

	memset(p->face, 0xff, s->mesh->vertices * sizeof *p->face);
	for (uint32_t v = 0; v < p->coarse->mesh->vertices; v++) {
		uint32_t u = p->place[v];

		if (!is_used(p->coarse, v))
			continue;
		p->face[u] = p->coarse->ring[p->coarse->first[v]];
		p->face_off[u] = 0;
		p->queue[end++] = u;
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
	if (far <= p->limit2 && f[0] == f[1] && f[1] == f[2])
		return 0;
	corners_of(p->fine, t, c);
	if (sqrtf(far) + sqrtf(longest2((const float(*)[3])c) / 3) <= p->limit)
		return 0;
	for (int k = 0; k < 3; k++) {
		if (f[k] != NONE &&
		    all_near(p->coarse, f[k], (const float(*)[3])c, p->limit2))
			return 0;
	}
	return search(p, false, (const float(*)[3])c, near, err);
}

/* --- the coarse mesh's triangles */

/* From vertex to vertex of the fine mesh as long as they come nearer to a point. */
static uint32_t
step(const struct sheet *s, uint32_t v, const float at[3], float *best)
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
off_fine(const struct sheet *s, const float at[3], uint32_t *v, float enough)
{
	float best;

	*v = step(s, *v, at, &best);
	for (uint32_t i = s->first[*v];
	     i < s->first[*v + 1] && best > enough * fabsf(enough); i++) {
		float d = off(s, s->ring[i], at);

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
	float longest = longest2(c), reach = sqrtf(longest / 3);
	struct part q[4];

	*near = true;
	/* As above: what is far from all corners does not belong to the triangle. */
	if (reach + FG_MAX(FG_MAX(a->off[0], a->off[1]), a->off[2]) <= p->limit)
		return 0;
	if (longest < p->limit2 / 4)
		return search(p, true, c, near, err);
	divide(p, a, p->limit - reach / 2, q);
	for (int k = 0; k < 4 && *near; k++) {
		if (coarse_is_near(p, &q[k], near, err) < 0)
			return -1;
	}
	return 0;
}

/* --- all of them */

static int
follow(struct pair *p, bool *near, struct fg_err *err)
{
	spread_faces(p);
	*near = true;
	for (uint32_t t = 0; t < p->fine->mesh->triangles && *near; t++) {
		if (fine_is_near(p, t, near, err) < 0)
			return -1;
	}
	for (uint32_t t = 0; t < p->coarse->mesh->triangles && *near; t++) {
		const uint32_t *v = p->coarse->mesh->index + 3 * (size_t)t;
		struct part a = {0};

		corners_of(p->coarse, t, a.c);
		for (int k = 0; k < 3; k++)
			a.v[k] = p->place[v[k]];
		if (coarse_is_near(p, &a, near, err) < 0)
			return -1;
	}
	return 0;
}

static int
search_all(struct pair *p, bool *near, struct fg_err *err)
{
	*near = true;
	for (int in_fine = 0; in_fine < 2; in_fine++) {
		const struct sheet *s = in_fine ? p->coarse : p->fine;

		for (uint32_t t = 0; t < s->mesh->triangles && *near; t++) {
			float c[3][3];

			corners_of(s, t, c);
			if (search(p, in_fine, (const float(*)[3])c, near, err) < 0)
				return -1;
		}
	}
	return 0;
}

struct fg_distance *
fg_distance_new(const struct fg_mesh *m, struct fg_err *err)
{
	struct fg_distance *d = fg_calloc(1, sizeof *d);

	find_origin(m, d->origin);
	if (sheet_init(&d->sheet, m, d->origin, err) == 0)
		return d;
	fg_distance_free(d);
	return NULL;
}

void
fg_distance_free(struct fg_distance *d)
{
	if (!d)
		return;
	sheet_fini(&d->sheet);
	free(d);
}

int
fg_distance_within(struct fg_distance *d, const struct fg_mesh *m, double limit_nm,
    bool *within, struct fg_err *err)
{
	const size_t n = (size_t)d->sheet.mesh->vertices + 1;
	struct sheet other = {0};
	struct pair p = {.fine = &d->sheet, .coarse = &other, .origin = d->origin};
	int rc = -1;

	if (!isfinite(limit_nm) || !(limit_nm > 0))
		return fg_fail(err, FG_EINVAL, "a limit of %g nm is not possible",
		    limit_nm);
	if (d->sheet.mesh->triangles == 0 || m->triangles == 0) {
		*within = d->sheet.mesh->triangles == m->triangles;
		return 0;
	}
	p.limit = (float)limit_nm;
	p.limit2 = p.limit * p.limit;
	p.place = fg_try_alloc((size_t)m->vertices + 1, sizeof *p.place);
	p.face = fg_try_alloc(n, sizeof *p.face);
	p.face_off = fg_try_alloc(n, sizeof *p.face_off);
	p.queue = fg_try_alloc(n, sizeof *p.queue);
	if (!p.place || !p.face || !p.face_off || !p.queue)
		fg_fail(err, FG_ENOMEM, "no memory to measure %u triangles",
		    m->triangles);
	else if (sheet_init(&other, m, d->origin, err) == 0)
		rc = match(&p) ? follow(&p, within, err) : search_all(&p, within, err);
	sheet_fini(&other);
	free(p.place);
	free(p.face);
	free(p.face_off);
	free(p.queue);
	return rc;
}
