/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A face is a block one voxel thick, so components and distances come from the files
 * that make them for blocks. Its thickness is given as larger than the face, so that
 * what lies before and behind it is never the nearest.
 */
#include "config.h"

#include "mesh/border.h"

#include <math.h>
#include <stdlib.h>

#include "mesh/components.h"
#include "mesh/edt.h"

struct list {
	struct fg_target *item;
	size_t count, room;
};

struct face {
	int64_t side[2];
	double nm[2];
	struct fg_components patches;
	struct fg_array distance;
};

/* Smaller is better, from the first number on: -distance, then what the header says. */
struct rank {
	double by[5];
};

static struct rank
rank_of(const struct face *f, const double centre[2], int64_t u, int64_t v)
{
	const float *distance = f->distance.data;
	const int64_t at[2] = {u, v};
	struct rank r = {{-(double)distance[u + f->side[0] * v], 0, 0, 0, INFINITY}};
	double corner = 0;

	for (int d = 0; d < 2; d++) {
		double end = fmin((double)at[d], (double)(f->side[d] - 1 - at[d]));

		r.by[1] += pow(f->nm[d] * ((double)at[d] - centre[d]), 2);
		/* Half of the face in nm, taken as voxels: see the header. */
		r.by[2] +=
		    pow(f->nm[d] * ((double)at[d] - f->nm[d] * (double)f->side[d] / 2),
			2);
		corner += pow(f->nm[d] * end, 2);
		r.by[4] = fmin(r.by[4], f->nm[d] * end);
	}
	r.by[3] = corner;
	return r;
}

static bool
is_better(const struct rank *a, const struct rank *b)
{
	for (int k = 0; k < 5; k++) {
		if (a->by[k] != b->by[k])
			return a->by[k] < b->by[k];
	}
	return false;
}

/* The chosen voxel of a patch. */
static void
choose(const struct face *f, const struct fg_component *c, int64_t at[2])
{
	struct rank best = {{INFINITY}};
	double centre[2] = {0};

	for (size_t i = 0; i < c->runs; i++) {
		const struct fg_run *r = &f->patches.run[c->first_run + i];
		double len = r->x1 - r->x0;

		centre[0] += len * (r->x0 + r->x1 - 1);
		centre[1] += len * 2 * r->y;
	}
	/* Exact up to here, so what is a whole number comes out as one. */
	for (int d = 0; d < 2; d++)
		centre[d] /= 2 * (double)c->voxels;
	/* To a voxel, towards the middle: so are kimimaro's, and blocks that either has
	 * made are to meet. */
	for (int d = 0; d < 2; d++)
		centre[d] = floor(centre[d]) + (2 * centre[d] < (double)f->side[d]);
	for (size_t i = 0; i < c->runs; i++) {
		const struct fg_run *r = &f->patches.run[c->first_run + i];

		for (int64_t x = r->x0; x < r->x1; x++) {
			struct rank now = rank_of(f, centre, x, r->y);

			if (!is_better(&now, &best))
				continue;
			best = now;
			at[0] = x;
			at[1] = r->y;
		}
	}
}

static int
add(struct list *l, uint32_t component, size_t voxel, struct fg_err *err)
{
	if (l->count == l->room) {
		size_t room = 2 * l->room + 64;
		struct fg_target *p = realloc(l->item, room * sizeof *p);

		if (!p)
			return fg_fail(err, FG_ENOMEM, "no memory for border targets");
		l->item = p;
		l->room = room;
	}
	l->item[l->count++] = (struct fg_target){component, voxel};
	return 0;
}

static int
do_face(const uint32_t *component, const int64_t n[3], const double nm[3], int axis,
    bool upper, struct list *l, struct fg_err *err)
{
	/* The two axes of the face in ascending order, as a neighbour would take them.
	 */
	const int u = axis == 0, v = axis == 2 ? 1 : 2;
	const int64_t step[3] = {1, n[0], n[0] * n[1]};
	const int64_t shape[4] = {n[u], n[v], 1, 1};
	const size_t first = (size_t)(upper ? (n[axis] - 1) * step[axis] : 0);
	struct face f = {.side = {n[u], n[v]}, .nm = {nm[u], nm[v]}};
	struct fg_labels labels = {.shape = {n[u], n[v], 1}};
	struct fg_array plane = {.dtype = FG_U32};
	int rc = -1;

	if (fg_array_init(&plane, FG_U32, shape, err) < 0)
		return -1;
	labels.dense = plane.data;
	for (int64_t j = 0; j < n[v]; j++) {
		for (int64_t i = 0; i < n[u]; i++)
			labels.dense[i + n[u] * j] =
			    component[first + (size_t)(i * step[u] + j * step[v])];
	}
	if (fg_components_find(&labels, &f.patches, err) < 0 ||
	    fg_array_init(&f.distance, FG_F32, shape, err) < 0)
		goto out;
	double thick = ceil(nm[u] * (double)n[u] + nm[v] * (double)n[v] + 1);
	if (fg_edt_make(&plane, (double[3]){nm[u], nm[v], thick}, true, &f.distance,
		err) < 0)
		goto out;
	for (uint32_t k = 1; k <= f.patches.count; k++) {
		const struct fg_component *c = &f.patches.component[k];
		int64_t at[2] = {0};

		choose(&f, c, at);
		if (add(l, c->number,
			first + (size_t)(at[0] * step[u] + at[1] * step[v]), err) < 0)
			goto out;
	}
	rc = 0;
out:
	fg_array_fini(&plane);
	fg_array_fini(&f.distance);
	fg_components_fini(&f.patches);
	return rc;
}

static int
by_component(const void *a, const void *b)
{
	const struct fg_target *p = a, *q = b;

	if (p->component != q->component)
		return p->component < q->component ? -1 : 1;
	return (p->voxel > q->voxel) - (p->voxel < q->voxel);
}

int
fg_border_find(const uint32_t *component, const int64_t n[3], const double nm[3],
    unsigned faces, struct fg_target **out, size_t *count, struct fg_err *err)
{
	struct list l = {0};

	for (int face = 0; face < 6; face++) {
		if (!(faces >> face & 1))
			continue;
		if (do_face(component, n, nm, face / 2, face % 2, &l, err) < 0) {
			free(l.item);
			return -1;
		}
	}
	if (l.count)
		qsort(l.item, l.count, sizeof *l.item, by_component);
	*out = l.item;
	*count = l.count;
	return 0;
}
