/* SPDX-License-Identifier: Apache-2.0 */
/* Measures of meshes and label volumes that the tests of mesh/ share. */
#ifndef FG_TESTS_MESH_GEOMETRY_H
#define FG_TESTS_MESH_GEOMETRY_H

#include <math.h>

#include "base/array.h"
#include "formats/mesh.h"
#include "tests/tap.h"

static uint64_t geometry_seed = 88172645463325252;

static inline uint64_t
roll(uint64_t below)
{
	geometry_seed ^= geometry_seed << 13;
	geometry_seed ^= geometry_seed >> 7;
	geometry_seed ^= geometry_seed << 17;
	return geometry_seed % below;
}

/* A zeroed array of labels; ends the program without memory. */
static inline struct fg_array
blank(enum fg_dtype t, int64_t x, int64_t y, int64_t z)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;

	if (fg_array_init_zero(&a, t, (int64_t[4]){x, y, z, 1}, &err) < 0) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	return a;
}

static inline size_t
at(const struct fg_array *a, int64_t x, int64_t y, int64_t z)
{
	return (size_t)(x + a->shape[0] * (y + a->shape[1] * z));
}

static inline uint32_t *
u32_at(const struct fg_array *a, int64_t x, int64_t y, int64_t z)
{
	return (uint32_t *)a->data + at(a, x, y, z);
}

/* Sets the voxels whose centre is `inside`; returns their number. */
static inline size_t
paint(struct fg_array *a, uint32_t label, bool (*inside)(const double p[3]))
{
	size_t n = 0;

	for (int64_t z = 0; z < a->shape[2]; z++) {
		for (int64_t y = 0; y < a->shape[1]; y++) {
			for (int64_t x = 0; x < a->shape[0]; x++) {
				double p[3] = {(double)x + 0.5, (double)y + 0.5,
				    (double)z + 0.5};

				if (!inside(p))
					continue;
				*u32_at(a, x, y, z) = label;
				n++;
			}
		}
	}
	return n;
}

static inline double
mesh_volume(const struct fg_mesh *m)
{
	double sum = 0;

	for (size_t t = 0; t < m->triangles; t++) {
		const float *a = m->xyz + 3 * (size_t)m->index[3 * t];
		const float *b = m->xyz + 3 * (size_t)m->index[3 * t + 1];
		const float *c = m->xyz + 3 * (size_t)m->index[3 * t + 2];

		sum += a[0] * ((double)b[1] * c[2] - (double)b[2] * c[1]) +
		       a[1] * ((double)b[2] * c[0] - (double)b[0] * c[2]) +
		       a[2] * ((double)b[0] * c[1] - (double)b[1] * c[0]);
	}
	return sum / 6;
}

static inline double
mesh_area(const struct fg_mesh *m)
{
	double sum = 0;

	for (size_t t = 0; t < m->triangles; t++) {
		const float *a = m->xyz + 3 * (size_t)m->index[3 * t];
		double u[3], v[3];

		for (int d = 0; d < 3; d++) {
			u[d] = m->xyz[3 * (size_t)m->index[3 * t + 1] + d] - a[d];
			v[d] = m->xyz[3 * (size_t)m->index[3 * t + 2] + d] - a[d];
		}
		double n[3] = {u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2],
		    u[0] * v[1] - u[1] * v[0]};
		sum += sqrt(n[0] * n[0] + n[1] * n[1] + n[2] * n[2]) / 2;
	}
	return sum;
}

/* An edge by the exact bits of its ends; way: +1 or -1. */
struct half_edge {
	float end[2][3];
	int way;
};

static inline int
by_ends(const void *a, const void *b)
{
	return memcmp(((const struct half_edge *)a)->end,
	    ((const struct half_edge *)b)->end, 24);
}

struct edges {
	size_t all;        /* different edges */
	size_t unbalanced; /* run through more often one way than the other */
	size_t crowded;    /* of more than two triangles */
};

/* The edges of several meshes taken as one: vertices at one place are one vertex. */
static inline struct edges
count_edges(const struct fg_mesh *const *m, size_t count)
{
	struct edges out = {0};
	size_t n = 0, i = 0;

	for (size_t k = 0; k < count; k++)
		n += 3 * (size_t)m[k]->triangles;
	struct half_edge *e = calloc(n + 1, sizeof *e);
	for (size_t k = 0; k < count; k++) {
		for (size_t j = 0; j < 3 * (size_t)m[k]->triangles; j++, i++) {
			size_t next = j % 3 == 2 ? j - 2 : j + 1;
			const float *a = m[k]->xyz + 3 * (size_t)m[k]->index[j];
			const float *b = m[k]->xyz + 3 * (size_t)m[k]->index[next];

			e[i].way = memcmp(a, b, 12) < 0 ? 1 : -1;
			memcpy(e[i].end[e[i].way < 0], a, 12);
			memcpy(e[i].end[e[i].way > 0], b, 12);
		}
	}
	qsort(e, n, sizeof *e, by_ends);
	for (i = 0; i < n;) {
		size_t j = i;
		int net = 0;

		for (; j < n && by_ends(&e[i], &e[j]) == 0; j++)
			net += e[j].way;
		out.all++;
		out.unbalanced += net != 0;
		out.crowded += j - i > 2;
		i = j;
	}
	free(e);
	return out;
}

static inline struct edges
count_edges_of(const struct fg_mesh *m)
{
	return count_edges(&m, 1);
}

/* got within `part` (0.01: one in a hundred) of want. */
static inline void
tap_near(double got, double want, double part, const char *what)
{
	if (!tap_ok(fabs(got - want) <= part * fabs(want), "%s", what))
		printf("# got %.9g, wanted %.9g within %g\n", got, want, part);
}

#endif
