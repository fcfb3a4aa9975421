/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The phantom's skeletons and synapses. They are known before any voxel is: the lattice
 * is walked wherever the box, bent and turned into lattice space, can reach, and what
 * is found there is taken back into voxels by inverting the warp.
 */
#include "config.h"

#include "store/phantom.h"

#include <stdlib.h>

#include "store/phantom_geom.h"

struct walk {
	struct fg_phantom_geom *g;
	const struct fg_box *vx;
	fg_phantom_line_fn fn;
	void *arg;
	bool synapses;
};

/* Lattice cells that hold everything the box can show: corners of the box, and more for
 * the bending, of which no point is moved by more than 2.2 periods per axis. */
static struct fg_box
lattice_box(const struct walk *w)
{
	const struct fg_phantom *par = w->g->par;
	int64_t p16 = par->calibre * 16;
	struct fg_box b = {{INT64_MAX, INT64_MAX, INT64_MAX},
	    {INT64_MIN, INT64_MIN, INT64_MIN}};

	for (int c = 0; c < 8; c++) {
		int64_t at[3], to[3];

		for (int d = 0; d < 3; d++)
			at[d] = (c >> d & 1 ? w->vx->hi[d] : w->vx->lo[d]) *
				par->nm[d] * 16;
		fg_phantom_geom_warp(w->g, at, to);
		for (int d = 0; d < 3; d++) {
			b.lo[d] = FG_MIN(b.lo[d], fg_div_floor(to[d], p16) - 6);
			b.hi[d] = FG_MAX(b.hi[d], fg_div_floor(to[d], p16) + 7);
		}
	}
	return b;
}

/* Lattice place to voxels; true if it is in the box. */
static bool
to_voxel(const struct walk *w, const int64_t at16[3], double out[3])
{
	int64_t x16[3];
	bool in = true;

	fg_phantom_geom_unwarp(w->g, at16, x16);
	for (int d = 0; d < 3; d++) {
		out[d] = (double)x16[d] / (double)(16 * w->g->par->nm[d]);
		in = in && out[d] >= (double)w->vx->lo[d] &&
		     out[d] < (double)w->vx->hi[d];
	}
	return in;
}

static int
emit(const struct walk *w, uint64_t a, uint64_t b, const int64_t from16[3],
    const int64_t to16[3])
{
	struct fg_phantom_line line = {.a = a, .b = b};

	if (!to_voxel(w, from16, line.from))
		return 0;
	(void)to_voxel(w, to16, line.to);
	return w->fn(&line, w->arg);
}

static void
middle(const int64_t a[3], const int64_t b[3], int64_t out[3])
{
	for (int d = 0; d < 3; d++)
		out[d] = (a[d] + b[d]) / 2;
}

/* A quarter of the way along a segment: at its first knot another run may end. */
static void
quarter(const struct walk *w, int fam, const int64_t s[3], int64_t out[3])
{
	int64_t a[3], b[3];

	fg_phantom_geom_knot(w->g, fam, s[0], s[1], s[2], a);
	fg_phantom_geom_knot(w->g, fam, s[0], s[1], s[2] + 1, b);
	for (int d = 0; d < 3; d++)
		out[d] = a[d] + (b[d] - a[d]) / 4;
}

/* What begins at segment (fam; u, v, m). */
static int
visit(const struct walk *w, int fam, int64_t u, int64_t v, int64_t m)
{
	int64_t k0[3], k1[3], mid[3], x[3], stem[3];
	int next = (fam + 1) % 3, rc;
	uint64_t label;

	fg_phantom_geom_knot(w->g, fam, u, v, m, k0);
	fg_phantom_geom_knot(w->g, fam, u, v, m + 1, k1);
	middle(k0, k1, mid);
	if (w->synapses) {
		if (!fg_phantom_geom_synapse(w->g, fam, u, v, m, x))
			return 0;
		quarter(w, next, x, stem);
		return emit(w, fg_phantom_geom_owner(w->g, fam, u, v, m).label,
		    fg_phantom_geom_owner(w->g, next, x[0], x[1], x[2]).label, mid,
		    stem);
	}
	label = fg_phantom_geom_owner(w->g, fam, u, v, m).label;
	if ((rc = emit(w, label, label, k0, k1)) != 0)
		return rc;
	if (!fg_phantom_geom_stem(w->g, fam, u, v, m, x))
		return 0;
	quarter(w, next, x, stem);
	return emit(w, label, label, mid, stem);
}

static int
walk(const struct fg_phantom *p, const struct fg_box *vx, bool synapses,
    fg_phantom_line_fn fn, void *arg)
{
	struct fg_phantom_geom *g = fg_phantom_geom_new(p, p->nm);
	struct walk w = {g, vx, fn, arg, synapses};
	struct fg_box b = lattice_box(&w);
	int rc = 0;

	for (int fam = 0; fam < 3 && rc == 0; fam++) {
		int u = (fam + 1) % 3, v = (fam + 2) % 3;

		for (int64_t k = b.lo[v]; k < b.hi[v] && rc == 0; k++)
			for (int64_t j = b.lo[u]; j < b.hi[u] && rc == 0; j++)
				for (int64_t m = b.lo[fam]; m < b.hi[fam] && rc == 0;
				     m++)
					rc = visit(&w, fam, j, k, m);
	}
	fg_phantom_geom_free(g);
	return rc;
}

int
fg_phantom_curves(const struct fg_phantom *p, const struct fg_box *vx,
    fg_phantom_line_fn fn, void *arg)
{
	return walk(p, vx, false, fn, arg);
}

int
fg_phantom_synapses(const struct fg_phantom *p, const struct fg_box *vx,
    fg_phantom_line_fn fn, void *arg)
{
	return walk(p, vx, true, fn, arg);
}
