/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A section is flooded from the vertex's voxel over all voxels that the plane cuts.
 * What a plane cuts from a box with sides w is a derivative: the volume below the plane
 * is a sum of cubes over the box's corners, so the area is a sum of squares,
 *
 *     sum over corners k  (-1)^|k| max(0, t - n k)^2  /  (2 n_x n_y n_z)
 *
 * with the unit normal n >= 0 and t the plane's distance from the lowest corner.
 */
#include "config.h"

#include "mesh/section.h"

#include <math.h>
#include <stdlib.h>

/* Components of a normal are at least this, lest the sum cancels; it turns the plane
 * by less than 0.01 degrees. */
#define LEAST 1e-4

struct plane {
	double normal[3], at[3]; /* at: a point, nm from the block's corner */
	double size[3];          /* |normal| * side of a voxel */
	double half, factor;
};

static bool
plane_init(struct plane *p, const double normal[3], const double at[3],
    const double nm[3])
{
	double length = 0, sum = 0;

	for (int d = 0; d < 3; d++)
		length += normal[d] * normal[d];
	if (!(length > 0))
		return false;
	length = sqrt(length);
	for (int d = 0; d < 3; d++) {
		double v = normal[d] / length;

		p->normal[d] = copysign(fmax(fabs(v), LEAST), v);
		sum += p->normal[d] * p->normal[d];
	}
	p->half = 0;
	p->factor = 0.5;
	for (int d = 0; d < 3; d++) {
		p->normal[d] /= sqrt(sum);
		p->at[d] = at[d];
		p->size[d] = fabs(p->normal[d]) * nm[d];
		p->half += p->size[d] / 2;
		p->factor /= fabs(p->normal[d]);
	}
	return true;
}

/* Area in which the plane meets a voxel whose middle is `off` away from it. */
static double
cut(const struct plane *p, double off)
{
	double sum = 0, t = p->half - fabs(off);

	for (unsigned k = 0; k < 8; k++) {
		double rest = t;

		for (int d = 0; d < 3; d++)
			rest -= k >> d & 1 ? p->size[d] : 0;
		if (rest > 0)
			sum += __builtin_parity(k) ? -rest * rest : rest * rest;
	}
	return fmax(sum * p->factor, 0);
}

/* --- one section */

struct flood {
	struct fg_section *s;
	uint32_t label;
	size_t *stack, top, room;
};

static int
take(struct flood *f, size_t at, struct fg_err *err)
{
	if (f->s->stamp[at] == f->s->stamps)
		return 0;
	f->s->stamp[at] = f->s->stamps;
	if (f->s->label[at] != f->label)
		return 0;
	if (f->top == f->room) {
		size_t room = 2 * f->room + 1024;
		size_t *p = realloc(f->stack, room * sizeof *p);

		if (!p)
			return fg_fail(err, FG_ENOMEM, "no memory for a section");
		f->stack = p;
		f->room = room;
	}
	f->stack[f->top++] = at;
	return 0;
}

static int
next_stamp(struct fg_section *s, struct fg_err *err)
{
	size_t n = (size_t)(s->n[0] * s->n[1] * s->n[2]);

	if (!s->stamp) {
		s->stamp = calloc(n, sizeof *s->stamp);
		if (!s->stamp)
			return fg_fail(err, FG_ENOMEM, "no memory for sections");
	}
	if (++s->stamps == 0) {
		memset(s->stamp, 0, n * sizeof *s->stamp);
		s->stamps = 1;
	}
	return 0;
}

static double
plane_off(const struct plane *p, const double nm[3], const int64_t v[3])
{
	double off = 0;

	for (int d = 0; d < 3; d++)
		off += p->normal[d] * (((double)v[d] + 0.5) * nm[d] - p->at[d]);
	return off;
}

/* Neighbours of voxel v that the plane cuts. */
static int
spread(struct flood *f, const struct plane *p, const int64_t v[3], struct fg_err *err)
{
	const int64_t *n = f->s->n;
	int64_t lo[3], hi[3], u[3];

	for (int d = 0; d < 3; d++) {
		lo[d] = FG_MAX(v[d] - 1, 0);
		hi[d] = FG_MIN(v[d] + 1, n[d] - 1);
	}
	for (u[2] = lo[2]; u[2] <= hi[2]; u[2]++) {
		for (u[1] = lo[1]; u[1] <= hi[1]; u[1]++) {
			for (u[0] = lo[0]; u[0] <= hi[0]; u[0]++) {
				if (fabs(plane_off(p, f->s->nm, u)) < p->half &&
				    take(f,
					(size_t)(u[0] + n[0] * (u[1] + n[1] * u[2])),
					err) < 0)
					return -1;
			}
		}
	}
	return 0;
}

static int
section(struct flood *f, const struct plane *p, const int64_t start[3], double *area,
    uint8_t *contacts, struct fg_err *err)
{
	const int64_t *n = f->s->n;

	*area = 0;
	if (next_stamp(f->s, err) < 0 ||
	    take(f, (size_t)(start[0] + n[0] * (start[1] + n[1] * start[2])), err) < 0)
		return -1;
	while (f->top > 0) {
		int64_t at = (int64_t)f->stack[--f->top];
		const int64_t v[3] = {at % n[0], at / n[0] % n[1], at / (n[0] * n[1])};

		*area += cut(p, plane_off(p, f->s->nm, v));
		for (int d = 0; d < 3; d++) {
			*contacts |= (uint8_t)((v[d] == 0) << 2 * d);
			*contacts |= (uint8_t)((v[d] == n[d] - 1) << (2 * d + 1));
		}
		if (spread(f, p, v, err) < 0)
			return -1;
	}
	return 0;
}

/* --- directions */

struct arms {
	size_t *first;
	uint32_t *next; /* neighbours of v: next[first[v]..first[v + 1]) */
};

/* The vertex `window` steps from v by way of u, or the last before that. */
static uint32_t
away(const struct arms *a, uint32_t v, uint32_t u, unsigned window)
{
	for (unsigned i = 1; i < window && a->first[u + 1] - a->first[u] == 2; i++) {
		uint32_t w = a->next[a->first[u]];

		if (w == v)
			w = a->next[a->first[u] + 1];
		v = u;
		u = w;
	}
	return u;
}

static int
fill_arms(struct arms *a, const uint32_t *edge, size_t edges, size_t vertices,
    struct fg_err *err)
{
	a->first = calloc(vertices + 2, sizeof *a->first);
	a->next = calloc(2 * edges + 1, sizeof *a->next);
	if (!a->first || !a->next)
		return fg_fail(err, FG_ENOMEM, "no memory for sections");
	for (size_t i = 0; i < 2 * edges; i++)
		a->first[edge[i] + 2]++;
	for (size_t v = 2; v < vertices + 2; v++)
		a->first[v] += a->first[v - 1];
	for (size_t i = 0; i < 2 * edges; i++)
		a->next[a->first[edge[i] + 1]++] = edge[i ^ 1];
	return 0;
}

/* The sections of vertex v: one for a point of a line, else one for each arm. */
static int
measure(struct flood *f, const struct arms *a, const float *xyz, uint32_t v,
    unsigned window, float *area, uint8_t *contacts, struct fg_err *err)
{
	const struct fg_section *s = f->s;
	size_t degree = a->first[v + 1] - a->first[v], planes = 0;
	const uint32_t *next = a->next + a->first[v];
	double at[3], sum = 0;
	int64_t voxel[3];

	*area = 0;
	*contacts = 0;
	for (int d = 0; d < 3; d++) {
		at[d] = (double)xyz[3 * (size_t)v + (size_t)d] -
			(double)s->origin_vx[d] * s->nm[d];
		voxel[d] = (int64_t)floor(at[d] / s->nm[d]);
		voxel[d] = FG_MIN(FG_MAX(voxel[d], 0), s->n[d] - 1);
	}
	for (size_t k = 0; k < (degree == 2 ? 1 : degree); k++) {
		const float *p = xyz + 3 * (size_t)away(a, v, next[k], window);
		const float *q = degree == 2
				     ? xyz + 3 * (size_t)away(a, v, next[1], window)
				     : xyz + 3 * (size_t)v;
		double normal[3], one;
		struct plane plane;

		for (int d = 0; d < 3; d++)
			normal[d] = (double)p[d] - (double)q[d];
		if (!plane_init(&plane, normal, at, s->nm))
			continue;
		if (section(f, &plane, voxel, &one, contacts, err) < 0)
			return -1;
		sum += one;
		planes++;
	}
	*area = planes ? (float)(sum / (double)planes) : 0;
	return 0;
}

int
fg_section_measure(struct fg_section *s, uint32_t label, const float *xyz,
    size_t vertices, const uint32_t *edge, size_t edges, unsigned window,
    const _Atomic bool *cancel, float *area, uint8_t *contacts, struct fg_err *err)
{
	struct flood f = {.s = s, .label = label};
	struct arms a = {0};
	int rc = -1;

	if (fill_arms(&a, edge, edges, vertices, err) < 0)
		goto out;
	for (uint32_t v = 0; v < vertices; v++) {
		if (cancel && *cancel) {
			fg_fail(err, FG_ECANCELED, "cancelled");
			goto out;
		}
		if (measure(&f, &a, xyz, v, window, &area[v], &contacts[v], err) < 0)
			goto out;
	}
	rc = 0;
out:
	free(a.first);
	free(a.next);
	free(f.stack);
	return rc;
}

void
fg_section_fini(struct fg_section *s)
{
	free(s->stamp);
	s->stamp = NULL;
}
