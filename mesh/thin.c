/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Edge collapse in place. Sides know what is behind them, so the triangles around a
 * vertex are walked without lists, and moving a vertex is a few assignments. Vertices
 * are gone through in sweeps with growing errors, in their order, and one is looked at
 * again only when something beside it changed or the error has reached what it would
 * cost: there is no queue and no sorting, which is what the time of the general way
 * goes into.
 *
 * The planes that a vertex stands for are kept as the quadratic form of a place's
 * distance from it, so that floats do for objects of any extent; sides are to be
 * between 1e-8 and 1e8 nm.
 */
#include "config.h"

#include "mesh/thin.h"

#include <math.h>
#include <stdlib.h>

#define NONE FG_SHEET_NONE
/* Triangles around a vertex that are looked at; with more it stays. */
#define FAN 32
/* Neighbours of a vertex that are tried before it stays. */
#define TRIES 3
/* A triangle may turn by this much in one move: the cosine. */
#define TURN 0.25f
/* Of two neighbours of one price the nearer: part of the square of the way. */
#define WAY 1e-4f

/* Sweeps: the error of each as a part of what is allowed. Of the first error two, for
 * what rested in one; it is a small part of the further one, which makes more steps. */
static const float first_sweeps[] = {1, 1}, further_sweeps[] = {0.4f, 0.6f, 0.8f, 1};

enum kind {
	STAYS,  /* and is nobody's target: several pieces of surface meet in it */
	TARGET, /* stays, others may be moved onto it */
	FREE
};

typedef float four __attribute__((vector_size(16)));

/* Sum over planes of area times squared distance, of the place d away:
 * sum s_i d_i^2 + sum t_i d_i d_(i+1) + sum r_i d_i + c. */
struct planes {
	four s; /* c behind it */
	four t; /* the area behind it */
	four r; /* 0 behind it */
};

struct thin {
	const struct fg_sheet *sheet;
	/* Sides have the numbers 4 t + k here: walking is mostly finding the next. */
	uint32_t *corner; /* where they begin; NONE in a triangle's first: it is gone */
	uint32_t *behind;
	uint32_t *side; /* of a vertex: one that begins there */
	uint8_t *kind;
	uint8_t *rest; /* sweep in which it was another's target */
	struct planes *planes;
	float *price; /* it is not moved for less; 0: not known */
	/* How far the surface around it may be from what it was, added up over the
	 * moves, of both errors: a mean over much that is flat tells nothing of a spike
	 * beside it. An estimate: only where a vertex is moved to is charged, not the
	 * others around it, whose triangles change as well. */
	float *off;
	float most_off;
	uint32_t left, target; /* triangles */
};

/* The triangles around a vertex in their order: triangle k is at vertices next[k] and
 * next[k + 1], and begins with side[k] from the vertex to next[k]. */
struct fan {
	uint32_t side[FAN], next[FAN];
	uint32_t n;
};

static inline uint32_t
after(uint32_t side)
{
	return (side & 3) == 2 ? side - 2 : side + 1;
}

static inline uint32_t
before(uint32_t side)
{
	return (side & 3) == 0 ? side + 2 : side - 1;
}

/* --- the planes */

/* The way from a to b, and 1. A sheet has room for one number more. */
static inline four
way_from(const float *a, const float *b)
{
	four p, q;

	memcpy(&p, a, sizeof p);
	memcpy(&q, b, sizeof q);
	q -= p;
	q[3] = 1;
	return q;
}

/* Of each the next one's, and 0. */
static inline four
turned(four d)
{
	return __builtin_shufflevector(d, (four){0}, 1, 2, 0, 4);
}

static inline four
cross(four a, four b)
{
	four c = a * turned(b) - turned(a) * b;

	return turned(c);
}

static inline float
sum(four a)
{
	a += __builtin_shufflevector(a, a, 2, 3, 0, 1);
	return a[0] + a[1];
}

static inline float
value(const struct planes *f, four d)
{
	return sum(d * (f->s * d + f->t * turned(d) + f->r));
}

static void
add_triangle(struct thin *h, const uint32_t *c)
{
	const float *at = fg_sheet_at(h->sheet, c[0]);
	four n = cross(way_from(at, fg_sheet_at(h->sheet, c[1])),
	    way_from(at, fg_sheet_at(h->sheet, c[2])));
	float area = sqrtf(sum(n * n));
	four by = n * (area > 0 ? 1 / area : 0), s = n * by, t = 2 * turned(n) * by;

	t[3] = area;
	for (int k = 0; k < 3; k++) {
		h->planes[c[k]].s += s;
		h->planes[c[k]].t += t;
	}
}

/* The planes of what is moved by d go to where it is moved. */
static void
move_planes(struct planes *to, const struct planes *from, four d)
{
	four t = from->t, s = from->s;
	four r = from->r + 2 * s * d + t * turned(d) +
		 __builtin_shufflevector(t * d, d, 2, 0, 1, 3);

	r[3] = 0;
	s[3] = FG_MAX(value(from, d), 0);
	to->r += r;
	to->s += s;
	to->t += t;
}

/* --- around a vertex */

/* False: there are too many, or a border. */
static bool
walk(const struct thin *h, uint32_t v, struct fan *f)
{
	uint32_t i = h->side[v];

	f->n = 0;
	do {
		if (f->n == FAN)
			return false;
		f->side[f->n] = i;
		f->next[f->n++] = h->corner[after(i)];
		i = h->behind[before(i)];
	} while (i != h->side[v] && i != NONE);
	return i != NONE;
}

/* Triangles that hang together around a vertex, from one of its sides. */
static uint32_t
count_around(const uint32_t *behind, uint32_t begin, uint32_t most, bool *open)
{
	uint32_t n = 1, i = begin;

	*open = false;
	for (;;) {
		i = behind[before(i)];
		if (i == begin || n > most)
			return n;
		if (i == NONE)
			break;
		n++;
	}
	*open = true;
	for (i = behind[begin]; i != NONE && n <= most; n++)
		i = behind[after(i)];
	return n;
}

/* Whether a side of v has four triangles or more; so it is taken to be with many. */
static bool
is_crowded(const struct fg_sheet *s, uint32_t v)
{
	const uint32_t *x = s->next + s->first[v];
	uint32_t n = s->first[v + 1] - s->first[v];

	for (uint32_t i = 1; i < n && n <= FAN; i++) {
		for (uint32_t k = 0; k < i; k++) {
			if (x[i] == x[k])
				return true;
		}
	}
	return n > FAN;
}

static void
find_kind(struct thin *h, uint32_t v)
{
	uint32_t n = h->sheet->first[v + 1] - h->sheet->first[v];
	bool open;

	if (n > 0 && count_around(h->behind, h->side[v], n, &open) == n)
		h->kind[v] = open || is_crowded(h->sheet, v) ? TARGET : FREE;
}

/* Whether some triangle around v turns over, or nearly, when v is moved onto next[j].
 * off2: how far next[j] is from their planes at most, squared. */
static bool
turns(const struct thin *h, const float at[3], const struct fan *f, uint32_t j,
    float *off2)
{
	const float *to = fg_sheet_at(h->sheet, f->next[j]);
	four way = way_from(at, to);

	*off2 = 0;
	for (uint32_t k = 0; k < f->n; k++) {
		uint32_t l = k + 1 == f->n ? 0 : k + 1;

		if (k == j || l == j)
			continue;
		const float *p = fg_sheet_at(h->sheet, f->next[k]);
		four side = way_from(p, fg_sheet_at(h->sheet, f->next[l]));
		four was = cross(side, way_from(p, at));
		four is = cross(side, way_from(p, to));
		float both = sum(was * is), was2 = sum(was * was);
		float above = sum(was * way);

		/* Length to the fourth is all that a float has room for. */
		if (!(both > TURN * sqrtf(was2) * sqrtf(sum(is * is))))
			return true;
		above = above / was2 * above;
		*off2 = FG_MAX(*off2, above);
	}
	return false;
}

/* Whether v and next[j] have neighbours in common besides the two at their side, so
 * that the surface would touch itself; or what is left around next[j] would be two
 * triangles on each other's back. */
static bool
pinches(const struct thin *h, uint32_t v, const struct fan *f, uint32_t j)
{
	uint32_t u = f->next[j], l = j + 1 == f->n ? 0 : j + 1,
		 k = j == 0 ? f->n - 1 : j - 1;
	uint32_t i = h->side[u], seen = 0;

	if (f->next[k] == f->next[l])
		return true;
	for (uint32_t m = 0; m < f->n; m++) {
		if (f->next[m] == u && m != j)
			return true;
	}
	/* A tetrahedron's corner. */
	if (f->n == 3) {
		uint32_t far = h->behind[after(f->side[l])];

		if (far == NONE || h->corner[before(far)] == u)
			return true;
	}
	/* To the beginning, where it has a border. */
	while (h->behind[i] != NONE) {
		i = after(h->behind[i]);
		if (i == h->side[u] || seen++ > FAN)
			break;
	}
	if (seen > FAN)
		return true;
	for (uint32_t begin = i, n = 0;; n++) {
		uint32_t last = before(i), x = h->corner[after(i)];

		if (n > FAN)
			return true;
		for (int end = 0; end < 2; end++) {
			for (uint32_t m = 0; m < f->n; m++) {
				if (f->next[m] == x && m != k && m != l && x != v)
					return true;
			}
			/* Of the last triangle at a border both ends. */
			if (h->behind[last] != NONE)
				break;
			x = h->corner[last];
		}
		i = h->behind[last];
		if (i == NONE)
			return false;
		/* Both fans less two triangles each. At a border one may be left. */
		if (i == begin)
			return f->n + n + 1 < 3 + 4;
	}
}

static inline void
pair(struct thin *h, uint32_t a, uint32_t b)
{
	if (a != NONE)
		h->behind[a] = b;
	if (b != NONE)
		h->behind[b] = a;
}

/* Move v onto next[j]: the two triangles at that side go. */
static void
move(struct thin *h, const struct fan *f, uint32_t j)
{
	uint32_t u = f->next[j], k = j == 0 ? f->n - 1 : j - 1;
	uint32_t here = f->side[j], there = h->behind[here];
	/* v, u, a: after(here) is u to a, before(here) a to v. */
	uint32_t a = h->corner[before(here)], ua = h->behind[after(here)],
		 va = h->behind[before(here)];
	/* u, v, b: after(there) is v to b, before(there) b to u. */
	uint32_t b = h->corner[before(there)], bv = h->behind[after(there)],
		 ub = h->behind[before(there)];

	for (uint32_t m = 0; m < f->n; m++) {
		if (m != j && m != k)
			h->corner[f->side[m]] = u;
	}
	pair(h, va, ua);
	pair(h, bv, ub);
	h->side[u] = va;
	h->side[a] = after(va);
	h->side[b] = bv;
	h->corner[here & ~3u] = NONE;
	h->corner[there & ~3u] = NONE;
}

/* --- the sweeps */

/* Move v, if that is possible within `most`. */
static bool
try(struct thin *h, uint32_t v, float most, uint8_t sweep)
{
	const float *at = fg_sheet_at(h->sheet, v);
	const struct planes *own = &h->planes[v];
	const float area = own->t[3];
	float price[FAN], later = INFINITY, off;
	struct fan f;

	h->price[v] = INFINITY;
	if (!walk(h, v, &f))
		return false;
	for (uint32_t k = 0; k < f.n; k++) {
		uint32_t u = f.next[k];

		price[k] = INFINITY;
		if (h->kind[u] == STAYS)
			continue;
		four way = way_from(at, fg_sheet_at(h->sheet, u)), flat = way;
		flat[3] = 0;
		float p = FG_MAX(value(own, way), 0);
		if (p > most * area)
			later = FG_MIN(later, p);
		else if (h->rest[u] == sweep)
			later = 0;
		else
			price[k] = p + WAY * area * sum(flat * flat);
	}
	h->price[v] = area > 0 ? later / area : INFINITY;
	for (int tries = 0; tries < TRIES; tries++) {
		uint32_t j = 0;

		for (uint32_t k = 1; k < f.n; k++)
			j = price[k] < price[j] ? k : j;
		if (!(price[j] < INFINITY))
			return false;
		if (turns(h, at, &f, j, &off) ||
		    h->off[v] + (off = sqrtf(off)) > h->most_off ||
		    pinches(h, v, &f, j)) {
			price[j] = INFINITY;
			continue;
		}
		move(h, &f, j);
		if (h->kind[f.next[j]] == FREE)
			move_planes(&h->planes[f.next[j]], own,
			    way_from(at, fg_sheet_at(h->sheet, f.next[j])));
		h->off[f.next[j]] = FG_MAX(h->off[f.next[j]], h->off[v] + off);
		h->rest[f.next[j]] = sweep;
		h->kind[v] = STAYS;
		for (uint32_t k = 0; k < f.n; k++)
			h->price[f.next[k]] = 0;
		return true;
	}
	return false;
}

static void
sweep_all(struct thin *h, float error, const float *sweeps, uint8_t n)
{
	const uint32_t vertices = h->sheet->mesh->vertices;

	for (uint8_t i = 0; i < n; i++) {
		float most = sweeps[i] * sweeps[i] * error * error;

		for (uint32_t v = 0; v < vertices; v++) {
			if (h->left <= h->target)
				return;
			if (h->kind[v] == FREE && h->price[v] <= most &&
			    h->rest[v] != i + 1 && try(h, v, most, (uint8_t)(i + 1)))
				h->left -= 2;
		}
	}
}

static uint32_t
in_fours(uint32_t side)
{
	return side == NONE ? NONE : side + side / 3;
}

static void
begin(struct thin *h, const uint8_t *mark)
{
	const struct fg_sheet *s = h->sheet;
	const struct fg_mesh *m = s->mesh;

	for (uint32_t t = 0; t < m->triangles; t++) {
		const uint32_t *c = m->index + 3 * (size_t)t;

		for (uint32_t k = 0; k < 3; k++) {
			uint32_t side = 4 * t + k;

			h->corner[side] = c[k];
			h->side[c[k]] = side;
			h->behind[side] = in_fours(s->behind[3 * (size_t)t + k]);
		}
		add_triangle(h, c);
	}
	for (uint32_t v = 0; v < m->vertices; v++)
		find_kind(h, v);
	for (uint32_t t = 0; t < m->triangles; t++) {
		const uint32_t *c = m->index + 3 * (size_t)t;

		for (size_t k = 0; k < 3 && mark[t]; k++)
			h->kind[c[k]] = FG_MIN(h->kind[c[k]], TARGET);
	}
}

/* With the planes of what is left by now. */
static void
begin_anew(struct thin *h)
{
	const struct fg_mesh *m = h->sheet->mesh;
	size_t v = (size_t)m->vertices + 1;

	memset(h->planes, 0, v * sizeof *h->planes);
	memset(h->price, 0, v * sizeof *h->price);
	memset(h->rest, 0, v * sizeof *h->rest);
	for (size_t t = 0; t < m->triangles; t++) {
		if (h->corner[4 * t] != NONE)
			add_triangle(h, h->corner + 4 * t);
	}
}

int
fg_thin_make(const struct fg_sheet *s, const uint8_t *mark,
    const struct fg_thin_params *p, uint32_t *index, uint32_t *triangles,
    struct fg_err *err)
{
	size_t n = 4 * (size_t)s->mesh->triangles, v = (size_t)s->mesh->vertices + 1;
	struct thin h = {.sheet = s, .most_off = p->off, .target = p->triangles};
	uint32_t left = 0;
	int rc = -1;

	/* Sides are told by 32 bits. */
	if (n >= NONE)
		return fg_fail(err, FG_ENOTSUP, "%u triangles are too many to simplify",
		    s->mesh->triangles);
	h.corner = fg_try_alloc(n + 1, sizeof *h.corner);
	h.behind = fg_try_alloc(n + 1, sizeof *h.behind);
	h.side = fg_try_alloc(v, sizeof *h.side);
	h.kind = calloc(v, sizeof *h.kind);
	h.rest = calloc(v, sizeof *h.rest);
	h.planes = calloc(v, sizeof *h.planes);
	h.price = calloc(v, sizeof *h.price);
	h.off = calloc(v, sizeof *h.off);
	if (!h.corner || !h.behind || !h.side || !h.kind || !h.rest || !h.planes ||
	    !h.price || !h.off) {
		fg_fail(err, FG_ENOMEM, "no memory to simplify %u triangles",
		    s->mesh->triangles);
		goto out;
	}
	begin(&h, mark);
	h.left = s->mesh->triangles;
	sweep_all(&h, p->first, first_sweeps, FG_COUNTOF(first_sweeps));
	begin_anew(&h);
	sweep_all(&h, p->further, further_sweeps, FG_COUNTOF(further_sweeps));
	for (size_t t = 0; t < s->mesh->triangles; t++) {
		if (!mark[t] && h.corner[4 * t] != NONE)
			memcpy(index + 3 * (size_t)left++, h.corner + 4 * t, 12);
	}
	*triangles = left;
	rc = 0;
out:
	free(h.corner);
	free(h.behind);
	free(h.side);
	free(h.kind);
	free(h.rest);
	free(h.planes);
	free(h.price);
	free(h.off);
	return rc;
}
