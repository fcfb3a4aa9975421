/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of one component.
 *
 * Its voxels are numbered 0, 1, 2... ; all fields (distance to the surface, distance
 * from the root, penalty, ...) are arrays of that length. A map of the padded box says
 * number
 * + 1 of a cell, 0 outside, so that the 26 neighbours need no tests of bounds.
 *
 * Geodesic distances: Dijkstra's algorithm with a ring of buckets as wide as the
 * shortest step, in which any order is right (Dial 1969; Dinic 1978). A voxel that is
 * improved later is simply queued again, so a ring that had to be coarse is only
 * slower.
 *
 * Paths: the search for the least sum of penalties begins at the target and ends at the
 * first voxel of the tree that it takes from the queue. So after the first path, which
 * may take all of the component, it looks round the new branch only. Without
 * fix_branching, one search from the root outward serves all targets.
 */
#include "config.h"

#include "mesh/tree.h"

#include <math.h>
#include <stdlib.h>

#define NONE UINT32_MAX
#define RING 4096 /* most buckets; beyond that they get wider */

struct item {
	float key;
	uint32_t v;
};

struct heap {
	struct item *item;
	size_t count, room;
};

/* What a search reads and writes of a voxel, in one place of the memory. */
struct node {
	float cost, penalty;
	uint32_t from; /* the voxel by which it was reached */
	uint32_t cell;
};

struct bucket {
	uint32_t *v;
	size_t count, room;
};

struct tree {
	const struct fg_skeleton_params *p;
	struct fg_tree_room *room;
	int64_t lo[3], side[3]; /* of the padded box: its cell 0 is voxel lo - 1 */
	int64_t off[26];
	int delta[26][3];
	float step[26];
	uint32_t n;
	struct node *node; /* of each voxel, as the following */
	float *dbf, *daf;
	float *offer;    /* squared distance to the owner; in the place of daf */
	uint32_t *owner; /* place in the path by which a voxel is being covered */
	uint32_t *vertex, *order;
	uint8_t *alive;
	uint32_t left; /* alive ones */
	struct heap heap;
	/* Voxels that the last search has reached; if more than `touch_room`, any. */
	uint32_t *touched;
	size_t touches, touch_room;
	uint32_t *path;
	size_t path_len, path_room;
	uint32_t root;
	float dbf_max;
	bool soma;
};

/* --- queues */

static int
heap_push(struct heap *h, float key, uint32_t v, struct fg_err *err)
{
	size_t i = h->count;

	if (i == h->room) {
		size_t room = h->room * 2 + 1024;
		struct item *p = realloc(h->item, room * sizeof *p);

		if (!p)
			return fg_fail(err, FG_ENOMEM, "no memory for a queue");
		h->item = p;
		h->room = room;
	}
	h->count++;
	for (; i > 0 && h->item[(i - 1) / 4].key > key; i = (i - 1) / 4)
		h->item[i] = h->item[(i - 1) / 4];
	h->item[i] = (struct item){key, v};
	return 0;
}

static struct item
heap_pop(struct heap *h)
{
	struct item top = h->item[0], last = h->item[--h->count];
	size_t i = 0;

	for (;;) {
		size_t first = 4 * i + 1, end = FG_MIN(first + 4, h->count), k = first;

		if (first >= h->count)
			break;
		for (size_t j = first + 1; j < end; j++) {
			if (h->item[j].key < h->item[k].key)
				k = j;
		}
		if (h->item[k].key >= last.key)
			break;
		h->item[i] = h->item[k];
		i = k;
	}
	h->item[i] = last;
	return top;
}

static int
bucket_put(struct bucket *b, uint32_t v, struct fg_err *err)
{
	if (b->count == b->room) {
		size_t room = b->room * 2 + 64;
		uint32_t *p = realloc(b->v, room * sizeof *p);

		if (!p)
			return fg_fail(err, FG_ENOMEM, "no memory for a queue");
		b->v = p;
		b->room = room;
	}
	b->v[b->count++] = v;
	return 0;
}

/* --- geodesic distances */

struct ring {
	struct bucket *bucket;
	size_t size, pending;
	double width;
};

static void
place_of(const struct tree *t, uint32_t v, int64_t at[3])
{
	uint32_t i = t->node[v].cell, row = i / (uint32_t)t->side[0];
	uint32_t layer = row / (uint32_t)t->side[1];

	at[0] = i - row * (uint32_t)t->side[0];
	at[1] = row - layer * (uint32_t)t->side[1];
	at[2] = layer;
}

static int
spread_bucket(struct tree *t, struct ring *r, float *dist, size_t turn,
    struct fg_err *err)
{
	struct bucket *b = &r->bucket[turn % r->size];

	for (size_t i = 0; i < b->count; i++) {
		uint32_t v = b->v[i];
		const uint32_t *map = t->room->map + t->node[v].cell;
		float d = dist[v];

		r->pending--;
		/* Improved since, and done in an earlier bucket. */
		if ((size_t)((double)d / r->width) < turn)
			continue;
		for (int k = 0; k < 26; k++) {
			uint32_t u = map[t->off[k]] - 1;
			float there;

			if (u == NONE || !((there = d + t->step[k]) < dist[u]))
				continue;
			dist[u] = there;
			size_t to = (size_t)((double)there / r->width);
			if (bucket_put(&r->bucket[to % r->size], u, err) < 0)
				return -1;
			r->pending++;
		}
	}
	b->count = 0;
	return 0;
}

/* dist: geodesic distance of every voxel from voxel `from`; in soma mode, 0 for all
 * within `radius` of it. */
static int
geodesic(struct tree *t, uint32_t from, double radius, float *dist, struct fg_err *err)
{
	const double *nm = t->p->nm;
	double least = fmin(nm[0], fmin(nm[1], nm[2]));
	double most = sqrt(nm[0] * nm[0] + nm[1] * nm[1] + nm[2] * nm[2]);
	struct ring r = {.width = fmax(least, most / (RING - 4))};
	int64_t a[3], b[3];
	int rc = -1;

	r.size = (size_t)(most / r.width) + 3;
	r.bucket = fg_calloc(r.size, sizeof *r.bucket);
	place_of(t, from, a);
	for (uint32_t v = 0; v < t->n; v++) {
		double d2 = v == from ? 0 : INFINITY;

		if (radius > 0) {
			place_of(t, v, b);
			d2 = 0;
			for (int d = 0; d < 3; d++)
				d2 += pow(nm[d] * (double)(a[d] - b[d]), 2);
		}
		dist[v] = INFINITY;
		if (d2 > 0 && d2 > radius * radius)
			continue;
		dist[v] = 0;
		if (bucket_put(&r.bucket[0], v, err) < 0)
			goto out;
		r.pending++;
	}
	for (size_t turn = 0; r.pending > 0; turn++) {
		if (t->p->cancel && *t->p->cancel) {
			fg_fail(err, FG_ECANCELED, "cancelled");
			goto out;
		}
		if (spread_bucket(t, &r, dist, turn, err) < 0)
			goto out;
	}
	rc = 0;
out:
	for (size_t i = 0; i < r.size; i++)
		free(r.bucket[i].v);
	free(r.bucket);
	return rc;
}

/* Of several, the last: as later targets are taken. */
static uint32_t
farthest(const struct tree *t, const float *dist)
{
	uint32_t best = 0;

	for (uint32_t v = 1; v < t->n; v++) {
		if (dist[v] >= dist[best])
			best = v;
	}
	return best;
}

/* order: all voxels by ascending DAF, equal ones by number (two rounds of 16 bits; the
 * bits of floats >= 0 are in the floats' order). `spare`: n values. */
static void
sort_by_daf(struct tree *t, uint32_t *spare)
{
	size_t *first = fg_calloc(65537, sizeof *first);

	for (int round = 0; round < 2; round++) {
		const uint32_t *from = round ? spare : NULL;
		uint32_t *to = round ? t->order : spare;

		memset(first, 0, 65537 * sizeof *first);
		for (uint32_t v = 0; v < t->n; v++)
			first[(fg_get_u32le(&t->daf[v]) >> 16 * round & 0xffff) + 1]++;
		for (size_t k = 1; k < 65536; k++)
			first[k] += first[k - 1];
		for (uint32_t i = 0; i < t->n; i++) {
			uint32_t v = from ? from[i] : i;

			to[first[fg_get_u32le(&t->daf[v]) >> 16 * round & 0xffff]++] =
			    v;
		}
	}
	free(first);
}

/* --- the component's arrays */

/* The 26 neighbours, by faces first, then by edges, then by corners: floats make many
 * ways equal, and of these the straighter is found first. */
static void
list_steps(struct tree *t)
{
	/* Bits for x, y, z: which axes, and on which of them upwards. */
	static const uint8_t axes[] = {1, 2, 4, 3, 6, 5, 7};
	static const uint8_t sides[] = {0, 1, 2, 4, 3, 5, 6, 7};
	const double *nm = t->p->nm;
	int i = 0;

	for (size_t k = 0; k < FG_COUNTOF(axes); k++) {
		for (size_t j = 0; j < FG_COUNTOF(sides); j++) {
			const unsigned side = sides[j];
			double d2 = 0;
			int64_t off = 0;

			if (side & ~(unsigned)axes[k])
				continue;
			for (int d = 2; d >= 0; d--) {
				int by =
				    axes[k] >> d & 1 ? (side >> d & 1 ? 1 : -1) : 0;

				t->delta[i][d] = by;
				off = off * t->side[d] + by;
				d2 += by * by * nm[d] * nm[d];
			}
			t->off[i] = off;
			t->step[i++] = (float)sqrt(d2);
		}
	}
}

static int
set_up(struct tree *t, const struct fg_component *c, const struct fg_run *run,
    const struct fg_tree_field *field, struct fg_err *err)
{
	const int64_t *n = field->n, *o = field->at;
	size_t k = c->voxels;
	uint32_t v = 0;

	for (int d = 0; d < 3; d++) {
		t->lo[d] = c->lo[d];
		t->side[d] = c->hi[d] - c->lo[d] + 2;
	}
	list_steps(t);
	t->touch_room = k / 8 + 1;
	t->touched = fg_try_alloc(t->touch_room, 4);
	t->node = fg_try_alloc(k, sizeof *t->node);
	t->dbf = fg_try_alloc(k, 4);
	t->daf = fg_try_alloc(k, 4);
	t->vertex = fg_try_alloc(k, 4);
	t->order = fg_try_alloc(k, 4);
	t->owner = fg_try_alloc(k, 4);
	t->alive = fg_try_alloc(k, 1);
	if (!t->touched || !t->node || !t->dbf || !t->daf || !t->vertex || !t->order ||
	    !t->owner || !t->alive)
		return fg_fail(err, FG_ENOMEM,
		    "no memory for the skeleton of %zu voxels", k);
	t->n = (uint32_t)k;
	for (size_t r = 0; r < c->runs; r++) {
		const struct fg_run *q = &run[c->first_run + r];
		const float *from =
		    field->dbf - o[0] + n[0] * (q->y - o[1] + n[1] * (q->z - o[2]));
		int64_t at = 1 - c->lo[0] +
			     t->side[0] * (q->y - c->lo[1] + 1 +
					      t->side[1] * (q->z - c->lo[2] + 1));

		for (int64_t x = q->x0; x < q->x1; x++, v++) {
			t->node[v].cell = (uint32_t)(at + x);
			t->dbf[v] = from[x];
			t->room->map[at + x] = v + 1;
			t->dbf_max = fmaxf(t->dbf_max, from[x]);
		}
	}
	memset(t->alive, 1, k);
	t->left = t->n;
	return 0;
}

static void
tear_down(struct tree *t)
{
	for (uint32_t v = 0; t->node && v < t->n; v++)
		t->room->map[t->node[v].cell] = 0;
	free(t->touched);
	free(t->node);
	free(t->dbf);
	free(t->daf);
	free(t->vertex);
	free(t->order);
	free(t->owner);
	free(t->alive);
	free(t->heap.item);
	free(t->path);
}

/* Number of a voxel of the block, given as x + nx (y + ny z); NONE if not ours. */
static uint32_t
number_of(const struct tree *t, const int64_t n[3], size_t voxel)
{
	const int64_t at[3] = {(int64_t)voxel % n[0], (int64_t)voxel / n[0] % n[1],
	    (int64_t)voxel / n[0] / n[1]};
	int64_t cell = 0;

	for (int d = 2; d >= 0; d--) {
		int64_t i = at[d] - t->lo[d] + 1;

		if (i < 0 || i >= t->side[d])
			return NONE;
		cell = cell * t->side[d] + i;
	}
	return t->room->map[cell] - 1;
}

/* --- steps of the method */

/* A soma's root: of the voxels deepest inside, the one nearest their centre of mass. */
static uint32_t
soma_root(const struct tree *t)
{
	double sum[3] = {0}, count = 0, least = INFINITY;
	uint32_t best = 0;
	int64_t at[3];

	for (int round = 0; round < 2; round++) {
		for (uint32_t v = 0; v < t->n; v++) {
			double d2 = 0;

			if (t->dbf[v] != t->dbf_max)
				continue;
			place_of(t, v, at);
			for (int d = 0; d < 3; d++) {
				if (round == 0)
					sum[d] += (double)at[d];
				else
					d2 += pow(t->p->nm[d] *
						      ((double)at[d] - sum[d] / count),
					    2);
			}
			count += round == 0;
			if (round == 1 && d2 < least) {
				least = d2;
				best = v;
			}
		}
	}
	return best;
}

/* PDRF = pdrf_scale (1 - DBF / max(DBF)^1.01)^pdrf_exponent + DAF / max(DAF), in
 * floats throughout: what is equally deep must have equal penalties, to the bit. */
static void
fill_penalty(struct tree *t)
{
	const float top = (float)pow((double)t->dbf_max, 1.01);
	const double e = t->p->pdrf_exponent;
	const bool whole = e >= 0 && e <= 64 && e == floor(e);
	float far = 0;

	for (uint32_t v = 0; v < t->n; v++)
		far = fmaxf(far, isfinite(t->daf[v]) ? t->daf[v] : 0);
	for (uint32_t v = 0; v < t->n; v++) {
		float base = fmaxf(0, 1 - t->dbf[v] / top), power = 1;

		if (whole) {
			for (unsigned k = (unsigned)e; k; k >>= 1, base *= base)
				power *= k & 1 ? base : 1;
		} else {
			power = (float)pow((double)base, e);
		}
		t->node[v].penalty =
		    (float)t->p->pdrf_scale * power + (far > 0 ? t->daf[v] / far : 0);
		t->node[v].cost = INFINITY;
		t->node[v].from = NONE;
	}
}

/* The voxel u, `away` voxels off the path's voxel number `by`, is to be covered from
 * there if no nearer one does it. */
static int
offer(struct tree *t, uint32_t u, const int32_t away[3], double reach, uint32_t by,
    struct fg_err *err)
{
	double d2 = 0;

	for (int d = 0; d < 3; d++)
		d2 += pow(t->p->nm[d] * (double)away[d], 2);
	if (d2 >= reach * reach || (float)d2 >= t->offer[u])
		return 0;
	t->offer[u] = (float)d2;
	t->owner[u] = by;
	return heap_push(&t->heap, (float)d2, u, err);
}

/* Cover what is within scale * DBF + const of the path's voxels. A voxel is covered
 * from the nearest of those that can hand it on through their own balls. */
static int
cover(struct tree *t, const uint32_t *path, size_t len, double scale, double constant,
    struct fg_err *err)
{
	t->heap.count = 0;
	for (size_t i = 0; i < len; i++) {
		uint32_t v = path[i];

		t->left -= t->alive[v];
		t->alive[v] = 0;
		t->owner[v] = (uint32_t)i;
		if (heap_push(&t->heap, 0, v, err) < 0)
			return -1;
	}
	while (t->heap.count > 0) {
		struct item top = heap_pop(&t->heap);
		const uint32_t *map = t->room->map + t->node[top.v].cell;
		uint32_t by = t->owner[top.v], centre = path[by];
		double reach = (float)(scale * (double)t->dbf[centre] + constant);
		int64_t at[3], from[3];

		if (top.key > 0 && !t->alive[top.v])
			continue;
		t->left -= t->alive[top.v];
		t->alive[top.v] = 0;
		place_of(t, top.v, at);
		place_of(t, centre, from);
		for (int k = 0; k < 26; k++) {
			uint32_t u = map[t->off[k]] - 1;
			int32_t away[3];

			if (u == NONE || !t->alive[u])
				continue;
			for (int d = 0; d < 3; d++)
				away[d] = (int32_t)(at[d] - from[d]) + t->delta[k][d];
			if (offer(t, u, away, reach, by, err) < 0)
				return -1;
		}
	}
	return 0;
}

/* Forget the last search. */
static void
forget(struct tree *t)
{
	if (t->touches > t->touch_room) {
		for (uint32_t v = 0; v < t->n; v++)
			t->node[v].cost = INFINITY;
	} else {
		for (size_t i = 0; i < t->touches; i++)
			t->node[t->touched[i]].cost = INFINITY;
	}
	t->touches = 0;
	t->heap.count = 0;
}

static int
queue(struct tree *t, uint32_t v, float cost, uint32_t from, struct fg_err *err)
{
	struct node *n = &t->node[v];

	if (n->cost == INFINITY) {
		if (t->touches < t->touch_room)
			t->touched[t->touches] = v;
		t->touches++;
	}
	n->cost = cost;
	n->from = from;
	return heap_push(&t->heap, cost, v, err);
}

/* The way from the target to the tree with the least penalties of the voxels entered.
 * *end: where it comes to the tree; from there `from` leads back. */
static int
reach(struct tree *t, uint32_t target, uint32_t *end, struct fg_err *err)
{
	unsigned turns = 0;

	forget(t);
	if (queue(t, target, 0, NONE, err) < 0)
		return -1;
	while (t->heap.count > 0) {
		struct item top = heap_pop(&t->heap);
		const uint32_t *map = t->room->map + t->node[top.v].cell;

		if (top.key > t->node[top.v].cost)
			continue;
		if (t->vertex[top.v] != NONE) {
			*end = top.v;
			return 0;
		}
		if ((++turns & 0xffff) == 0 && t->p->cancel && *t->p->cancel)
			return fg_fail(err, FG_ECANCELED, "cancelled");
		for (int k = 0; k < 26; k++) {
			uint32_t u = map[t->off[k]] - 1;

			if (u == NONE)
				continue;
			float cost = top.key + t->node[u].penalty;
			if (cost < t->node[u].cost && queue(t, u, cost, top.v, err) < 0)
				return -1;
		}
	}
	fg_assert(!"a component that does not hang together");
	return -1;
}

/* The same from the root to all voxels: then `from` leads to it. A voxel's cost is that
 * of whoever enters it. */
static int
reach_all(struct tree *t, struct fg_err *err)
{
	unsigned turns = 0;

	forget(t);
	if (queue(t, t->root, 0, NONE, err) < 0)
		return -1;
	while (t->heap.count > 0) {
		struct item top = heap_pop(&t->heap);
		const uint32_t *map = t->room->map + t->node[top.v].cell;

		if (top.key > t->node[top.v].cost)
			continue;
		if ((++turns & 0xffff) == 0 && t->p->cancel && *t->p->cancel)
			return fg_fail(err, FG_ECANCELED, "cancelled");
		for (int k = 0; k < 26; k++) {
			uint32_t u = map[t->off[k]] - 1;

			if (u == NONE)
				continue;
			float cost = top.key + t->node[u].penalty;
			if (cost < t->node[u].cost && queue(t, u, cost, top.v, err) < 0)
				return -1;
		}
	}
	return 0;
}

static int
add_vertex(struct tree *t, struct fg_tree_out *o, uint32_t v, struct fg_err *err)
{
	int64_t at[3];

	if (t->vertex[v] != NONE)
		return 0;
	if (o->vertices == o->vertex_room) {
		size_t room = 2 * o->vertex_room + 256;
		float *xyz = realloc(o->xyz, room * 12);
		float *radius = NULL;

		if (xyz) {
			o->xyz = xyz;
			radius = realloc(o->radius, room * 4);
		}
		if (!radius)
			return fg_fail(err, FG_ENOMEM, "no memory for a skeleton");
		o->radius = radius;
		o->vertex_room = room;
	}
	place_of(t, v, at);
	for (int d = 0; d < 3; d++)
		o->xyz[3 * o->vertices + (size_t)d] =
		    (float)(((double)(at[d] - 1 + t->lo[d] + t->p->origin_vx[d]) +
				0.5) *
			    t->p->nm[d]);
	o->radius[o->vertices] = t->dbf[v];
	t->vertex[v] = (uint32_t)o->vertices++;
	return 0;
}

static int
add_edge(struct tree *t, struct fg_tree_out *o, uint32_t a, uint32_t b,
    struct fg_err *err)
{
	if (add_vertex(t, o, a, err) < 0 || add_vertex(t, o, b, err) < 0)
		return -1;
	if (o->edges == o->edge_room) {
		size_t room = 2 * o->edge_room + 256;
		uint32_t *edge = realloc(o->edge, room * 8);

		if (!edge)
			return fg_fail(err, FG_ENOMEM, "no memory for a skeleton");
		o->edge = edge;
		o->edge_room = room;
	}
	o->edge[2 * o->edges] = t->vertex[a];
	o->edge[2 * o->edges + 1] = t->vertex[b];
	o->edges++;
	return 0;
}

static int
path_put(struct tree *t, uint32_t v, struct fg_err *err)
{
	if (t->path_len + 2 > t->path_room) {
		size_t room = 2 * t->path_room + 256;
		uint32_t *p = realloc(t->path, room * sizeof *p);

		if (!p)
			return fg_fail(err, FG_ENOMEM, "no memory for a path");
		t->path = p;
		t->path_room = room;
	}
	t->path[t->path_len++] = v;
	return 0;
}

/* The path from the target to the first voxel of the tree, both included. */
static int
find_path(struct tree *t, uint32_t target, struct fg_err *err)
{
	uint32_t v = target;

	t->path_len = 0;
	if (!t->p->fix_branching) {
		while (path_put(t, v, err) == 0) {
			if (t->vertex[v] != NONE)
				return 0;
			v = t->node[v].from;
		}
		return -1;
	}
	if (reach(t, target, &v, err) < 0)
		return -1;
	for (; v != NONE; v = t->node[v].from) {
		if (path_put(t, v, err) < 0)
			return -1;
	}
	for (size_t i = 0, j = t->path_len - 1; i < j; i++, j--) {
		v = t->path[i];
		t->path[i] = t->path[j];
		t->path[j] = v;
	}
	return 0;
}

/* What of the path lies inside a soma is left out; if its end does, the path ends in
 * one step to the root instead. */
static void
cut_in_soma(struct tree *t)
{
	double within = (double)t->dbf_max * t->p->soma_invalidation_scale +
			t->p->soma_invalidation_const;
	int64_t root[3], at[3];
	uint32_t end = t->path[t->path_len - 1];
	size_t n = 0;

	place_of(t, t->root, root);
	for (size_t i = 0; i < t->path_len; i++) {
		uint32_t v = t->path[i];
		double d2 = 0;

		place_of(t, v, at);
		for (int d = 0; d < 3; d++)
			d2 += pow(t->p->nm[d] * (double)(at[d] - root[d]), 2);
		if (v == t->root || d2 >= within * within)
			t->path[n++] = v;
	}
	/* find_path left room for one more. */
	if (n > 0 && t->path[n - 1] != end)
		t->path[n++] = t->root;
	t->path_len = n;
}

static int
add_path(struct tree *t, uint32_t target, struct fg_tree_out *o, struct fg_err *err)
{
	if (find_path(t, target, err) < 0)
		return -1;
	if (t->soma)
		cut_in_soma(t);
	/* At least the target is covered, or the loop would not end. */
	if (t->alive[target]) {
		t->alive[target] = 0;
		t->left--;
	}
	for (size_t i = 0; i + 1 < t->path_len; i++) {
		if (add_edge(t, o, t->path[i], t->path[i + 1], err) < 0)
			return -1;
		t->node[t->path[i]].penalty = 0;
	}
	return cover(t, t->path, t->path_len, t->p->scale, t->p->const_nm, err);
}

static int
choose_root(struct tree *t, uint32_t *forced, size_t *count, struct fg_err *err)
{
	t->soma = (double)t->dbf_max > t->p->soma_acceptance_threshold;
	if (t->soma) {
		t->root = soma_root(t);
	} else if (*count > 0) {
		t->root = forced[--*count];
	} else {
		if (geodesic(t, 0, 0, t->daf, err) < 0)
			return -1;
		t->root = farthest(t, t->daf);
	}
	return geodesic(t, t->root, t->soma ? (double)t->dbf_max : 0, t->daf, err);
}

static int
trace(struct tree *t, uint32_t *forced, size_t count, struct fg_tree_out *o,
    struct fg_err *err)
{
	uint64_t limit = t->p->max_paths ? t->p->max_paths : UINT64_MAX;

	if (choose_root(t, forced, &count, err) < 0)
		return -1;
	if (count >= limit)
		return 0;
	sort_by_daf(t, t->vertex);
	memset(t->vertex, 0xff, t->n * sizeof *t->vertex);
	fill_penalty(t);
	t->offer = t->daf;
	for (uint32_t v = 0; v < t->n; v++)
		t->offer[v] = INFINITY;
	/* Now a path that comes to the root ends there. */
	t->node[t->root].penalty = 0;
	if (add_vertex(t, o, t->root, err) < 0 ||
	    (!t->p->fix_branching && reach_all(t, err) < 0))
		return -1;
	if (t->soma && cover(t, &t->root, 1, t->p->soma_invalidation_scale,
			   t->p->soma_invalidation_const, err) < 0)
		return -1;
	size_t cursor = t->n;
	for (uint64_t i = 0; i < limit && (count > 0 || t->left > 0); i++) {
		uint32_t target;

		if (count > 0) {
			target = forced[--count];
		} else {
			while (!t->alive[t->order[cursor - 1]])
				cursor--;
			target = t->order[cursor - 1];
		}
		if (add_path(t, target, o, err) < 0)
			return -1;
	}
	return 0;
}

int
fg_tree_trace(const struct fg_component *c, const struct fg_run *run,
    const struct fg_tree_field *field, const int64_t n[3], const size_t *target,
    size_t targets, const struct fg_skeleton_params *p, struct fg_tree_room *room,
    struct fg_tree_out *out, struct fg_err *err)
{
	struct tree t = {.p = p, .room = room};
	uint32_t *forced = fg_calloc(targets, sizeof *forced);
	size_t count = 0;
	int rc = -1;

	if (set_up(&t, c, run, field, err) < 0)
		goto out;
	for (size_t i = 0; i < targets; i++) {
		uint32_t v = number_of(&t, n, target[i]);

		if (v != NONE)
			forced[count++] = v;
	}
	rc = trace(&t, forced, count, out, err);
out:
	tear_down(&t);
	free(forced);
	return rc;
}
