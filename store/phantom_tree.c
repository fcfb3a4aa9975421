/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who owns a segment of the phantom: the hierarchy soma > tube > glia > run, each
 * decided from hashes alone, with walks of bounded length. All in unwarped lattice
 * space, in nm.
 *
 * Walks along rods ask for the same segments again and again, so answers are kept in a
 * direct-mapped table of fixed size (a memo, never the only place of anything).
 */
#include "config.h"

#include "store/phantom_tree.h"

#include <math.h>
#include <stdlib.h>

#define MEMO_BITS 13
#define RUN_MAX 64      /* segments of a run at most */
#define RUN_CUT 40      /* one segment in so many begins a new run by chance */
#define SOMA_CELL 16000 /* nm */

struct entry {
	int32_t u, v, m;
	int8_t fam; /* 0..2 with `solid`, 4..6 with an owner; -1 nothing */
	struct fg_phantom_owner owner; /* label 0: not in a solid */
};

struct fg_phantom_memo {
	struct entry e[1 << MEMO_BITS];
};

struct fg_phantom_memo *
fg_phantom_memo_new(void)
{
	struct fg_phantom_memo *m = fg_calloc(1, sizeof *m);

	for (int i = 0; i < 1 << MEMO_BITS; i++)
		m->e[i].fam = -1;
	return m;
}

void
fg_phantom_memo_free(struct fg_phantom_memo *m)
{
	free(m);
}

static struct entry *
slot(struct fg_phantom_memo *memo, int fam, int64_t u, int64_t v, int64_t m)
{
	uint64_t h =
	    (uint64_t)u * 0x9e3779b97f4a7c15u + (uint64_t)v * 0xc2b2ae3d27d4eb4fu +
	    (uint64_t)m * 0x165667b19e3779f9u + (uint64_t)fam * 0x27d4eb2f165667c5u;

	return &memo->e[(h ^ (h >> 31)) >> 13 & ((1 << MEMO_BITS) - 1)];
}

static bool
slot_is(const struct entry *e, int fam, int64_t u, int64_t v, int64_t m)
{
	return e->fam == fam && e->u == u && e->v == v && e->m == m;
}

static void
slot_put(struct entry *e, int fam, int64_t u, int64_t v, int64_t m,
    struct fg_phantom_owner o)
{
	*e = (struct entry){(int32_t)u, (int32_t)v, (int32_t)m, (int8_t)fam, o};
}

/* Names: 2 bits family (3: not a run), then three numbers. Lattice positions start a
 * little below 0, because the warp looks past the volume's edge. */
static uint64_t
run_label(int fam, int64_t u, int64_t v, int64_t m)
{
	const int64_t k = 64, mask = (1 << 17) - 1;

	return (uint64_t)fam << 51 | (uint64_t)((u + k) & mask) << 34 |
	       (uint64_t)((v + k) & mask) << 17 | (uint64_t)((m + k) & mask);
}

static uint64_t
solid_label(int kind, int64_t x, int64_t y, int64_t z)
{
	const int64_t k = 64, mask = (1 << 16) - 1;

	return (uint64_t)3 << 51 | (uint64_t)kind << 48 |
	       (uint64_t)((x + k) & mask) << 32 | (uint64_t)((y + k) & mask) << 16 |
	       (uint64_t)((z + k) & mask);
}

/* ------------------------------------------------------------- somata */

struct soma {
	int64_t cell[3];
	double centre[3], radius;
	uint64_t hash;
};

#define SOMA_REACH (0.36 * SOMA_CELL) /* arms end here: a soma stays in its cell */

static bool
find_soma(const struct fg_phantom *par, const double at[3], struct soma *s)
{
	for (int d = 0; d < 3; d++)
		s->cell[d] = (int64_t)floor(at[d] / SOMA_CELL);
	s->hash = fg_phantom_hash(par->seed, 0x500, s->cell[0], s->cell[1], s->cell[2]);
	if ((int64_t)(s->hash >> 50) % 100 >= par->somata)
		return false;
	for (int d = 0; d < 3; d++)
		s->centre[d] =
		    ((double)s->cell[d] + 0.5) * SOMA_CELL +
		    fg_phantom_s16(s->hash, 16 * d) * (0.1 * SOMA_CELL / 32768);
	s->radius = 2200 + (double)(s->hash & 1023);
	return true;
}

/* Distance from the soma's middle if `at` is inside body or arms, else -1. */
static bool
soma_holds(const struct fg_phantom *par, const struct soma *s, const double at[3],
    uint8_t *cls)
{
	double x[3], r2 = 0;

	for (int d = 0; d < 3; d++) {
		x[d] = at[d] - s->centre[d];
		r2 += x[d] * x[d];
	}
	if (r2 > SOMA_REACH * SOMA_REACH)
		return false;
	*cls = FG_PHANTOM_SOMA;
	if (r2 < s->radius * s->radius)
		return true;
	*cls = FG_PHANTOM_ARM;
	for (int arm = 0; arm < 5; arm++) {
		uint64_t h = fg_phantom_hash(s->hash, 0x501, arm, 0, 0);
		double n2 = 0, dot = 0, w;

		for (int d = 0; d < 3; d++) {
			double n = fg_phantom_s16(h, 16 * d) + 0.5;

			n2 += n * n;
			dot += n * x[d];
		}
		if (dot < 0)
			continue;
		w = 0.85 * (double)par->calibre +
		    900 * (1 - dot / sqrt(n2) / SOMA_REACH);
		if (r2 - dot * dot / n2 < w * w)
			return true;
	}
	return false;
}

bool
fg_phantom_geom_nucleus(const struct fg_phantom_geom *g, const int64_t at[3],
    int64_t centre[3], int64_t *radius)
{
	double x[3] = {(double)at[0], (double)at[1], (double)at[2]};
	struct soma s;

	if (!find_soma(g->par, x, &s))
		return false;
	for (int d = 0; d < 3; d++)
		centre[d] = (int64_t)s.centre[d];
	*radius = (int64_t)(s.radius * 0.68);
	return true;
}

/* ------------------------------------------------------------- tubes */

/* Packings of thick processes: period and radii in units of the calibre. */
static const struct tube_layer {
	int64_t period;
	double least, most;
	int present; /* per cent of runs */
	int myelin;  /* per cent of those */
} layers[] = {{9, 1.15, 1.75, 60, 35}, {4, 0.62, 0.95, 75, 8}};

static bool tube_holds(const struct fg_phantom *par, int upto, const double at[3],
    double margin, struct fg_phantom_owner *o);

/* Middle line of a tube's node at fraction f along it. */
static void
tube_axis(const struct fg_phantom *par, int layer, int fam, int64_t u, int64_t v,
    double along, double out[3])
{
	double q = (double)(layers[layer].period * par->calibre);
	uint64_t h = fg_phantom_hash(par->seed,
	    0x600u + 16u * (unsigned)layer + (unsigned)fam, u, v, 0);

	out[fam] = along * q;
	out[(fam + 1) % 3] = ((double)u + fg_phantom_s16(h, 0) / 655360.) * q;
	out[(fam + 2) % 3] = ((double)v + 0.5 + fg_phantom_s16(h, 16) / 655360.) * q;
}

/* True if nothing may be at this node: a soma or a thicker tube is too near. */
static bool
tube_blocked(const struct fg_phantom *par, int layer, int fam, int64_t u, int64_t v,
    int64_t m)
{
	double margin = (layers[layer].most + 0.8) * (double)par->calibre;

	for (int i = 0; i <= 4; i++) {
		struct fg_phantom_owner o;
		struct soma s;
		double x[3], r2 = 0;

		tube_axis(par, layer, fam, u, v, (double)m + i / 4., x);
		if (find_soma(par, x, &s)) {
			for (int d = 0; d < 3; d++)
				r2 += (x[d] - s.centre[d]) * (x[d] - s.centre[d]);
			if (r2 < (SOMA_REACH + margin) * (SOMA_REACH + margin))
				return true;
		}
		if (layer > 0 && tube_holds(par, layer, x, margin, &o))
			return true;
	}
	return false;
}

static bool
tube_cut(const struct fg_phantom *par, int layer, int fam, int64_t u, int64_t v,
    int64_t m)
{
	uint64_t h = fg_phantom_hash(par->seed,
	    0x640u + 16u * (unsigned)layer + (unsigned)fam, u * 65599 + v, m, 0);

	return h % 9 == 0 || (m & 15) == 0;
}

/* First node of the tube that node m belongs to; false if m is empty. */
static bool
tube_run(const struct fg_phantom *par, int layer, int fam, int64_t u, int64_t v,
    int64_t m, int64_t *start, uint64_t *hash)
{
	if (tube_blocked(par, layer, fam, u, v, m))
		return false;
	while (!tube_cut(par, layer, fam, u, v, m) &&
	       !tube_blocked(par, layer, fam, u, v, m - 1))
		m--;
	*start = m;
	*hash = fg_phantom_hash(par->seed,
	    0x680u + 16u * (unsigned)layer + (unsigned)fam, u * 65599 + v, m, 0);
	return (int)(*hash % 100) < layers[layer].present;
}

/* Is `at` inside a tube of layers 0 .. upto-1, or nearer than margin to one? */
static bool
tube_holds(const struct fg_phantom *par, int upto, const double at[3], double margin,
    struct fg_phantom_owner *o)
{
	for (int k = 0; k < upto; k++) {
		const struct tube_layer *t = &layers[k];
		double p = (double)par->calibre, q = p * (double)t->period;
		double far = t->most * p + margin;

		for (int fam = 0; fam < 3; fam++) {
			int a = (fam + 1) % 3, b = (fam + 2) % 3;
			int64_t u = (int64_t)floor(at[a] / q + 0.5);
			int64_t v = (int64_t)floor(at[b] / q);
			int64_t m = (int64_t)floor(at[fam] / q), start;
			double x[3], d2, r;
			uint64_t h;

			tube_axis(par, k, fam, u, v, (double)m, x);
			d2 = (at[a] - x[a]) * (at[a] - x[a]) +
			     (at[b] - x[b]) * (at[b] - x[b]);
			if (d2 >= far * far ||
			    !tube_run(par, k, fam, u, v, m, &start, &h))
				continue;
			r = p * (t->least + (t->most - t->least) *
						(double)(h >> 40 & 255) / 255.) +
			    margin;
			if (d2 >= r * r)
				continue;
			o->label = solid_label(2 + 3 * k + fam, u, v, start);
			o->cls = (int)(h >> 20 & 1023) % 100 < t->myelin
				     ? FG_PHANTOM_MYELIN
				     : FG_PHANTOM_DENDRITE;
			return true;
		}
	}
	return false;
}

/* ------------------------------------------------------------- glia */

static bool
glia_holds(const struct fg_phantom *par, const double at[3], struct fg_phantom_owner *o)
{
	double p = (double)par->calibre, g = 13 * p, x[3], r2 = 0;
	int64_t cell[3];
	uint64_t h;

	for (int d = 0; d < 3; d++)
		cell[d] = (int64_t)floor(at[d] / g);
	h = fg_phantom_hash(par->seed, 0x700, cell[0], cell[1], cell[2]);
	if ((h >> 50) % 100 >= 45)
		return false;
	for (int d = 0; d < 3; d++) {
		x[d] = at[d] - ((double)cell[d] + 0.5) * g -
		       fg_phantom_s16(h, 16 * d) * (0.08 * g / 32768);
		r2 += x[d] * x[d];
	}
	if (r2 > 0.4 * g * 0.4 * g)
		return false;
	o->label = solid_label(1, cell[0], cell[1], cell[2]);
	o->cls = FG_PHANTOM_GLIA;
	if (r2 < p * p)
		return true;
	for (int i = 0; i < 2; i++) {
		uint64_t k = fg_phantom_hash(h, 0x701, i, 0, 0);
		double n2 = 0, dot = 0;

		for (int d = 0; d < 3; d++) {
			double n = fg_phantom_s16(k, 16 * d) + 0.5;

			n2 += n * n;
			dot += n * x[d];
		}
		if (dot * dot < n2 * (0.42 * p) * (0.42 * p))
			return true;
	}
	return false;
}

/* ------------------------------------------------------------- segments */

/* The soma, tube or glial cell that a segment's middle is in; label 0 if none. */
static struct fg_phantom_owner
segment_solid(struct fg_phantom_geom *g, int fam, int64_t u, int64_t v, int64_t m)
{
	const struct fg_phantom *par = g->par;
	struct entry *e = slot(g->memo, fam, u, v, m);
	struct fg_phantom_owner o = {0, FG_PHANTOM_AXON};
	double p = (double)par->calibre, at[3];
	struct soma s;

	if (slot_is(e, fam, u, v, m))
		return e->owner;
	at[fam] = ((double)m + 0.5) * p;
	at[(fam + 1) % 3] = (double)u * p;
	at[(fam + 2) % 3] = ((double)v + 0.5) * p;
	if (find_soma(par, at, &s) && soma_holds(par, &s, at, &o.cls))
		o.label = solid_label(0, s.cell[0], s.cell[1], s.cell[2]);
	else if (!tube_holds(par, FG_COUNTOF(layers), at, 0, &o) &&
		 !glia_holds(par, at, &o))
		o = (struct fg_phantom_owner){0, FG_PHANTOM_AXON};
	slot_put(e, fam, u, v, m, o);
	return o;
}

static bool
run_cut(const struct fg_phantom *par, int fam, int64_t u, int64_t v, int64_t m)
{
	uint64_t h =
	    fg_phantom_hash(par->seed, 0x800u + (unsigned)fam, u * 1048583 + v, m, 0);
	uint64_t rod = fg_phantom_hash(par->seed, 0x810u + (unsigned)fam, u, v, 0);

	return h % RUN_CUT == 0 || ((uint64_t)m + rod) % RUN_MAX == 0;
}

/* First segment of the run that free segment m belongs to. */
static int64_t
run_start(struct fg_phantom_geom *g, int fam, int64_t u, int64_t v, int64_t m)
{
	while (!run_cut(g->par, fam, u, v, m) &&
	       segment_solid(g, fam, u, v, m - 1).label == 0)
		m--;
	return m;
}

/* The segment of the next family that crosses the middle of (fam; u, v, m) at a
 * distance of P/2, on one of its two sides. */
static void
crossing(int64_t u, int64_t v, int64_t m, int side, int64_t other[3])
{
	other[0] = v + side;
	other[1] = m;
	other[2] = u;
}

/* The segment that the run beginning at m hangs on, and what that is: a solid, or a
 * run, whose first segment is then *start. Levels only rise from branch to stem, so
 * there are no circles and at most three steps. */
static bool
find_stem(struct fg_phantom_geom *g, int fam, int64_t u, int64_t v, int64_t m,
    int64_t x[3], struct fg_phantom_owner *solid, int64_t *start)
{
	uint64_t h = fg_phantom_hash(g->par->seed, 0x820u + (unsigned)fam,
	    u * 1048583 + v, m, 0);
	int next = (fam + 1) % 3;
	uint64_t hx;

	if ((h >> 8) % 100 >= 70)
		return false;
	crossing(u, v, m, (int)(h >> 20 & 1), x);
	*solid = segment_solid(g, next, x[0], x[1], x[2]);
	if (solid->label != 0)
		return solid->cls != FG_PHANTOM_MYELIN && solid->cls != FG_PHANTOM_GLIA;
	*start = run_start(g, next, x[0], x[1], x[2]);
	hx = fg_phantom_hash(g->par->seed, 0x820u + (unsigned)next,
	    x[0] * 1048583 + x[1], *start, 0);
	return (hx & 3) > (h & 3);
}

/* Owner of the run that starts at m. */
static struct fg_phantom_owner
run_owner(struct fg_phantom_geom *g, int fam, int64_t u, int64_t v, int64_t m)
{
	struct fg_phantom_owner o;
	int64_t x[3], start;

	while (find_stem(g, fam, u, v, m, x, &o, &start)) {
		if (o.label != 0) {
			o.cls = FG_PHANTOM_AXON;
			return o;
		}
		fam = (fam + 1) % 3;
		u = x[0];
		v = x[1];
		m = start;
	}
	return (struct fg_phantom_owner){run_label(fam, u, v, m), FG_PHANTOM_AXON};
}

bool
fg_phantom_geom_stem(struct fg_phantom_geom *g, int fam, int64_t u, int64_t v,
    int64_t m, int64_t other[3])
{
	struct fg_phantom_owner o;
	int64_t start;

	return segment_solid(g, fam, u, v, m).label == 0 &&
	       run_start(g, fam, u, v, m) == m &&
	       find_stem(g, fam, u, v, m, other, &o, &start);
}

struct fg_phantom_owner
fg_phantom_geom_owner(struct fg_phantom_geom *g, int fam, int64_t u, int64_t v,
    int64_t m)
{
	struct entry *e = slot(g->memo, fam + 4, u, v, m);
	struct fg_phantom_owner o;

	if (slot_is(e, fam + 4, u, v, m))
		return e->owner;
	o = segment_solid(g, fam, u, v, m);
	if (o.label == 0)
		o = run_owner(g, fam, u, v, run_start(g, fam, u, v, m));
	slot_put(e, fam + 4, u, v, m, o);
	return o;
}

bool
fg_phantom_geom_synapse(struct fg_phantom_geom *g, int fam, int64_t u, int64_t v,
    int64_t m, int64_t other[3])
{
	uint64_t h = fg_phantom_hash(g->par->seed, 0x900u + (unsigned)fam,
	    u * 1048583 + v, m, 0);
	struct fg_phantom_owner a, b;

	if ((int64_t)(h % 10000) >= 22 * g->par->organelles)
		return false;
	a = fg_phantom_geom_owner(g, fam, u, v, m);
	if (a.cls != FG_PHANTOM_AXON)
		return false;
	crossing(u, v, m, (int)(h >> 40 & 1), other);
	b = fg_phantom_geom_owner(g, (fam + 1) % 3, other[0], other[1], other[2]);
	return b.label != a.label && b.cls != FG_PHANTOM_GLIA &&
	       b.cls != FG_PHANTOM_MYELIN;
}
