/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each fine triangle is looked at a few times in all, for it is above few coarse ones;
 * no tree, no search.
 */
#include "config.h"

#include "mesh/cover.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

/* A side this little inside a coarse triangle counts as outside: corners and locked
 * borders are on its own sides, but for rounding. Part of the triangle's height. */
#define ROUNDING 1e-5f
/* Where the covers are counted: inside, and on no line that lattices have. */
#define HERE_U 0.3371f
#define HERE_V 0.2913f

int
fg_cover_init(struct fg_cover *c, const struct fg_sheet *fine, float limit,
    struct fg_err *err)
{
	size_t v = (size_t)fine->mesh->vertices + 1,
	       t = (size_t)fine->mesh->triangles + 1;

	*c = (struct fg_cover){.fine = fine, .limit = limit};
	c->view = calloc(v, sizeof *c->view);
	c->seen = calloc(t, sizeof *c->seen);
	c->stack = fg_try_alloc(FG_MAX(t, v), sizeof *c->stack);
	c->face = fg_try_alloc(v, sizeof *c->face);
	c->off2 = fg_try_alloc(v, sizeof *c->off2);
	c->near = calloc(t, sizeof *c->near);
	if (!c->view || !c->seen || !c->stack || !c->face || !c->off2 || !c->near)
		return fg_fail(err, FG_ENOMEM, "no memory to measure %u triangles",
		    fine->mesh->triangles);
	memset(c->face, 0xff, v * sizeof *c->face);
	for (size_t i = 0; i < v; i++)
		c->off2[i] = INFINITY;
	return 0;
}

void
fg_cover_fini(struct fg_cover *c)
{
	free(c->view);
	free(c->seen);
	free(c->stack);
	free(c->face);
	free(c->off2);
	free(c->near);
}

typedef float four __attribute__((vector_size(16)));

/* The coarse triangle: its first corner, and what one step along each axis makes in the
 * view: of u, v, height, nothing. */
struct frame {
	float at[3], limit;
	float beside2; /* square of the way from the farthest that counts as above */
	float slack;   /* rounding of u and v, as a part of the largest of them */
	float side[3]; /* lengths: along u, along v, the longer of the two */
	float limit2;
	four by[3];
	uint32_t id;
};

static void
cross(float out[3], const float a[3], const float b[3])
{
	out[0] = a[1] * b[2] - a[2] * b[1];
	out[1] = a[2] * b[0] - a[0] * b[2];
	out[2] = a[0] * b[1] - a[1] * b[0];
}

/* False: it has no area to speak of. */
static bool
frame_init(struct frame *f, const float (*c)[3])
{
	float p[3], q[3], n[3], to_u[3], to_v[3];

	fg_minus(p, c[1], c[0]);
	fg_minus(q, c[2], c[0]);
	cross(n, p, q);
	float nn = fg_dot(n, n), size = fg_dot(p, p) + fg_dot(q, q);

	if (!(nn > 1e-6f * size * size))
		return false;
	/* Three times ROUNDING of the longest side: p, q, or their difference. */
	f->beside2 = 9 * ROUNDING * ROUNDING * 2 * size;
	f->side[0] = sqrtf(fg_dot(p, p));
	f->side[1] = sqrtf(fg_dot(q, q));
	f->side[2] = FG_MAX(f->side[0], f->side[1]);
	f->limit2 = f->limit * f->limit;
	/* It grows with the sides' length by the height on them. */
	f->slack = 8 * FLT_EPSILON * size / sqrtf(nn);
	cross(to_u, q, n);
	cross(to_v, n, p);
	for (int d = 0; d < 3; d++) {
		f->at[d] = c[0][d];
		f->by[d] = (four){to_u[d] / nn, to_v[d] / nn, n[d] / sqrtf(nn), 0};
	}
	return true;
}

/* How far a place is from the triangle, squared, from above: the way to its plane, and
 * in that to where neither part is negative, and back to the third side. */
static inline float
off_corner2(const struct frame *f, float u, float v, float off)
{
	float in_u = FG_MAX(u, 0), in_v = FG_MAX(v, 0);
	float beside = (in_u - u) * f->side[0] + (in_v - v) * f->side[1] +
		       FG_MAX(in_u + in_v - 1, 0) * f->side[2];

	return off * off + beside * beside;
}

static inline const struct fg_cover_view *
look(struct fg_cover *c, const struct frame *f, uint32_t vertex)
{
	struct fg_cover_view *w = &c->view[vertex];
	const float *p = fg_sheet_at(c->fine, vertex);

	if (w->round == c->round)
		return w;
	four r = (p[0] - f->at[0]) * f->by[0] + (p[1] - f->at[1]) * f->by[1] +
		 (p[2] - f->at[2]) * f->by[2];
	w->round = c->round;
	w->u = r[0];
	w->v = r[1];
	w->off = r[2];
	w->hu = r[0] - HERE_U;
	w->hv = r[1] - HERE_V;
	w->outside = (uint8_t)((r[0] <= ROUNDING) | (r[1] <= ROUNDING) << 1 |
			       (r[0] + r[1] >= 1 - ROUNDING) << 2);
	w->far = !(off_corner2(f, r[0], r[1], r[2]) <= f->limit2);
	/* On a side it is above the triangle, too, or a little beside it. */
	float off2 = r[2] * r[2] + (w->outside ? f->beside2 : 0);
	if (r[0] >= -ROUNDING && r[1] >= -ROUNDING && r[0] + r[1] <= 1 + ROUNDING &&
	    off2 < c->off2[vertex]) {
		c->face[vertex] = f->id;
		c->off2[vertex] = off2;
	}
	return w;
}

/* Which side of the line from a to b the place of counting is on; the same number with
 * the other sign from b to a, so that it is in one of two triangles at a side. That
 * holds only while both products are rounded: this folder is compiled with
 * -ffp-contract=off, and must be. */
static inline bool
is_left(const struct fg_cover_view *a, const struct fg_cover_view *b)
{
	float s = a->hu * b->hv - b->hu * a->hv;

	return s != 0 ? s > 0 : a < b;
}

/* Whether the line from a to b certainly does not cross the coarse triangle: all of its
 * corners are on one side, by more than rounding. */
static inline bool
passes_by(const struct frame *f, const struct fg_cover_view *a,
    const struct fg_cover_view *b)
{
	float du = b->u - a->u, dv = b->v - a->v;
	float first = dv * a->u - du * a->v, second = first - dv, third = first + du;
	float far =
	    FG_MAX(FG_MAX(fabsf(a->u), fabsf(a->v)), FG_MAX(fabsf(b->u), fabsf(b->v)));
	float margin = f->slack * (fabsf(du) + fabsf(dv)) * FG_MAX(far, 1);

	return FG_MIN(FG_MIN(first, second), third) > margin ||
	       FG_MAX(FG_MAX(first, second), third) < -margin;
}

/* Corners of a triangle that three lines have cut. A convex polygon gets one more from
 * each; but rounding may bend it, and then every side can cross the line: 3 corners
 * become 4, 6 (two inside, four crossings) and 9 at most. */
#define CORNERS 9

/* The part of a polygon on the inner side of a line, where `in` is positive; its number
 * of corners, half as many again at most. */
static uint32_t
cut(float (*c)[3], uint32_t n, float (*in)(const float c[3]))
{
	float out[CORNERS][3];
	uint32_t m = 0;

	for (uint32_t i = 0; i < n; i++) {
		const float *p = c[i], *q = c[i + 1 == n ? 0 : i + 1];
		float a = in(p), b = in(q);

		if (a > 0) {
			fg_assert(m < CORNERS);
			memcpy(out[m++], p, sizeof out[0]);
		}
		if ((a > 0) == (b > 0))
			continue;
		fg_assert(m < CORNERS);
		for (int d = 0; d < 3; d++) {
			float x = p[d] + a / (a - b) * (q[d] - p[d]);

			out[m][d] =
			    FG_MAX(FG_MIN(p[d], q[d]), FG_MIN(x, FG_MAX(p[d], q[d])));
		}
		m++;
	}
	memcpy(c, out, m * sizeof out[0]);
	return m;
}

static float
in_u(const float c[3])
{
	return c[0] - ROUNDING;
}

static float
in_v(const float c[3])
{
	return c[1] - ROUNDING;
}

static float
in_w(const float c[3])
{
	return 1 - ROUNDING - c[0] - c[1];
}

/* How far the part of a fine triangle that is above the coarse one is from it; -1:
 * there is none. */
static float
off_above(const struct fg_cover_view *const w[3])
{
	float c[CORNERS][3], off = -1;
	uint32_t n = 3;

	for (int k = 0; k < 3; k++) {
		c[k][0] = w[k]->u;
		c[k][1] = w[k]->v;
		c[k][2] = w[k]->off;
	}
	n = cut(c, n, in_u);
	n = cut(c, n, in_v);
	n = cut(c, n, in_w);
	for (uint32_t i = 0; i < n; i++)
		off = FG_MAX(off, fabsf(c[i][2]));
	return off;
}

static inline bool
is_far(const struct frame *f, const struct fg_cover_view *const w[3])
{
	return fabsf(w[0]->off) > f->limit || fabsf(w[1]->off) > f->limit ||
	       fabsf(w[2]->off) > f->limit;
}

/* Triangles to begin with: those around a vertex that may be above the inside. */
static uint32_t
begin(struct fg_cover *c, const struct frame *f, uint32_t start)
{
	const struct fg_sheet *s = c->fine;
	uint32_t n = 0;

	for (uint32_t i = s->first[start]; i < s->first[start + 1]; i++) {
		uint32_t t = s->ring[i];
		const uint32_t *p = s->mesh->index + 3 * (size_t)t;
		unsigned all = look(c, f, p[0])->outside;

		all &= look(c, f, p[1])->outside;
		all &= look(c, f, p[2])->outside;
		if (all || c->seen[t] == c->round)
			continue;
		c->seen[t] = c->round;
		c->stack[n++] = t;
	}
	return n;
}

/* Go on to what is behind the sides of a triangle that are above the inside. False if
 * the surface ends there. */
static inline bool
go_on(struct fg_cover *c, const struct frame *f, uint32_t t,
    const struct fg_cover_view *const w[3], uint32_t *n)
{
	for (size_t k = 0; k < 3; k++) {
		const struct fg_cover_view *a = w[k], *b = w[k == 2 ? 0 : k + 1];

		if (a->outside & b->outside)
			continue;
		if (a->outside && b->outside && passes_by(f, a, b))
			continue;
		uint32_t side = c->fine->behind[3 * (size_t)t + k];

		if (side == FG_SHEET_NONE)
			return false;
		if (c->seen[side / 3] == c->round)
			continue;
		c->seen[side / 3] = c->round;
		c->stack[(*n)++] = side / 3;
	}
	return true;
}

bool
fg_cover_triangle(struct fg_cover *c, const float (*corner)[3], uint32_t start,
    uint32_t id)
{
	struct frame f = {.limit = c->limit, .id = id};
	int covers = 0;

	if (!frame_init(&f, corner))
		return false;
	c->round++;
	for (uint32_t n = begin(c, &f, start); n > 0;) {
		uint32_t t = c->stack[--n];
		const uint32_t *p = c->fine->mesh->index + 3 * (size_t)t;
		const struct fg_cover_view *w[3] = {look(c, &f, p[0]),
		    look(c, &f, p[1]), look(c, &f, p[2])};
		int left = 0;

		if (is_far(&f, w)) {
			float off = off_above(w);

			if (off > f.limit)
				return false;
			if (off < 0)
				continue;
		}
		/* To something convex a corner is farthest. */
		if (!(w[0]->far | w[1]->far | w[2]->far))
			c->near[t] = true;
		if (!go_on(c, &f, t, w, &n))
			return false;
		for (int k = 0; k < 3; k++)
			left += is_left(w[k], w[(k + 1) % 3]);
		covers += left == 3 ? 1 : left == 0 ? -1 : 0;
	}
	return covers != 0;
}
