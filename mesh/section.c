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
	double corner[8]; /* distance of the box's corners from its lowest one */
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
	for (unsigned k = 0; k < 8; k++) {
		p->corner[k] = 0;
		for (int d = 0; d < 3; d++)
			p->corner[k] += k >> d & 1 ? p->size[d] : 0;
	}
	return true;
}

/* Area in which the plane meets a voxel whose middle is `off` away from it. */
static double
cut(const struct plane *p, double off)
{
	static const double sign[8] = {1, -1, -1, 1, -1, 1, 1, -1};
	double sum = 0, t = p->half - fabs(off);

	for (unsigned k = 0; k < 8; k++) {
		double rest = t - p->corner[k];

		rest = rest > 0 ? rest : 0;
		sum += sign[k] * rest * rest;
	}
	return fmax(sum * p->factor, 0);
}

/* --- one section */

struct flood {
	struct fg_section *s;
	uint32_t label;
	struct voxel {
		int32_t v[3];
	} * stack;
	size_t top, room;
};

/* A voxel of the label that the plane cuts, not seen before: it comes to the stack. */
static int
push(struct flood *f, const int64_t v[3], struct fg_err *err)
{
	if (f->top == f->room) {
		size_t room = 2 * f->room + 1024;
		struct voxel *p = realloc(f->stack, room * sizeof *p);

		if (!p)
			return fg_fail(err, FG_ENOMEM, "no memory for a section");
		f->stack = p;
		f->room = room;
	}
	f->stack[f->top++] =
	    (struct voxel){{(int32_t)v[0], (int32_t)v[1], (int32_t)v[2]}};
	return 0;
}

static int
next_stamp(struct fg_section *s, struct fg_err *err)
{
	size_t n = (size_t)(s->n[0] * s->n[1] * s->n[2]);

	if (!s->stamp) {
		s->stamp = calloc(n + 3, 1); /* rows are read by fours */
		s->lo = n;
		s->hi = 0;
		if (!s->stamp)
			return fg_fail(err, FG_ENOMEM, "no memory for sections");
	}
	if (++s->stamps == 0) {
		/* Only where there are any: a thin neurite's planes are in few layers.
		 */
		if (s->lo < s->hi)
			memset(s->stamp + s->lo, 0, s->hi - s->lo);
		s->lo = n;
		s->hi = 0;
		s->stamps = 1;
	}
	return 0;
}

/* Along one axis, of the plane to the middle of voxel v. */
static double
axis_off(const struct plane *p, const double nm[3], int d, int64_t v)
{
	return p->normal[d] * (((double)v + 0.5) * nm[d] - p->at[d]);
}

static double
plane_off(const struct plane *p, const double nm[3], const int64_t v[3])
{
	return axis_off(p, nm, 0, v[0]) +
	       (axis_off(p, nm, 1, v[1]) + axis_off(p, nm, 2, v[2]));
}

/* Neighbours of voxel v that the plane cuts. Each voxel is judged once a plane: most
 * neighbours have been seen, and their stamps are all that is read, a row at once. */
static int
spread(struct flood *f, const struct plane *p, const int64_t v[3], struct fg_err *err)
{
	struct fg_section *s = f->s;
	const int64_t *n = s->n;
	const uint8_t stamp = s->stamps;
	const uint32_t all = stamp * 0x010101u;
	int64_t lo[3], hi[3];
	double off[3][3];

	for (int d = 0; d < 3; d++) {
		lo[d] = FG_MAX(v[d] - 1, 0);
		hi[d] = FG_MIN(v[d] + 1, n[d] - 1);
		for (int64_t i = lo[d]; i <= hi[d]; i++)
			off[d][i - lo[d]] = axis_off(p, s->nm, d, i);
	}
	s->lo = FG_MIN(s->lo, (size_t)(lo[0] + n[0] * (lo[1] + n[1] * lo[2])));
	s->hi = FG_MAX(s->hi, (size_t)(hi[0] + n[0] * (hi[1] + n[1] * hi[2])) + 1);
	const uint32_t row_mask = 0xffffffu >> 8 * (2 - (hi[0] - lo[0]));
	for (int64_t z = lo[2]; z <= hi[2]; z++) {
		for (int64_t y = lo[1]; y <= hi[1]; y++) {
			const size_t row = (size_t)(n[0] * (y + n[1] * z));
			const double yz = off[1][y - lo[1]] + off[2][z - lo[2]];
			const uint32_t *label = s->label + row;
			uint8_t *seen = s->stamp + row;

			if (((fg_get_u32le(seen + lo[0]) ^ all) & row_mask) == 0)
				continue;
			for (int64_t x = lo[0]; x <= hi[0]; x++) {
				if (seen[x] == stamp)
					continue;
				seen[x] = stamp;
				if (!(fabs(off[0][x - lo[0]] + yz) < p->half) ||
				    label[x] != f->label)
					continue;
				if (push(f, (int64_t[]){x, y, z}, err) < 0)
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
	size_t first = (size_t)(start[0] + n[0] * (start[1] + n[1] * start[2]));
	if (next_stamp(f->s, err) < 0)
		return -1;
	f->s->stamp[first] = f->s->stamps;
	f->s->lo = FG_MIN(f->s->lo, first);
	f->s->hi = FG_MAX(f->s->hi, first + 1);
	if (f->s->label[first] == f->label && push(f, start, err) < 0)
		return -1;
	while (f->top > 0) {
		const int32_t *at = f->stack[--f->top].v;
		const int64_t v[3] = {at[0], at[1], at[2]};

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
