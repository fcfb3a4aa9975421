/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of one component: root, penalties, paths, and what each path covers.
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

#include "mesh/tree_priv.h"

/* --- queues */

static int
heap_push(struct fg_tree_heap *h, float key, uint32_t v, struct fg_err *err)
{
	size_t i = h->count;

	if (i == h->room) {
		size_t room = h->room * 2 + 1024;
		struct fg_tree_item *p = realloc(h->item, room * sizeof *p);

		if (!p)
			return fg_fail(err, FG_ENOMEM, "no memory for a queue");
		h->item = p;
		h->room = room;
	}
	h->count++;
	for (; i > 0 && h->item[(i - 1) / 4].key > key; i = (i - 1) / 4)
		h->item[i] = h->item[(i - 1) / 4];
	h->item[i] = (struct fg_tree_item){key, v};
	return 0;
}

static struct fg_tree_item
heap_pop(struct fg_tree_heap *h)
{
	struct fg_tree_item top = h->item[0], last = h->item[--h->count];
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

/* Number of a voxel of the block, given as x + nx (y + ny z); FG_TREE_NONE if not ours.
 */
static uint32_t
number_of(const struct fg_tree *t, const int64_t n[3], size_t voxel)
{
	const int64_t at[3] = {(int64_t)voxel % n[0], (int64_t)voxel / n[0] % n[1],
	    (int64_t)voxel / n[0] / n[1]};
	int64_t cell = 0;

	for (int d = 2; d >= 0; d--) {
		int64_t i = at[d] - t->lo[d] + 1;

		if (i < 0 || i >= t->side[d])
			return FG_TREE_NONE;
		cell = cell * t->side[d] + i;
	}
	return t->room->map[cell] - 1;
}

/* --- steps of the method */

/* A soma's root: of the voxels deepest inside, the one nearest their centre of mass. */
static uint32_t
soma_root(const struct fg_tree *t)
{
	double sum[3] = {0}, count = 0, least = INFINITY;
	uint32_t best = 0;
	int64_t at[3];

	for (int round = 0; round < 2; round++) {
		for (uint32_t v = 0; v < t->n; v++) {
			double d2 = 0;

			if (t->dbf[v] != t->dbf_max)
				continue;
			fg_tree_place(t, v, at);
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
fill_penalty(struct fg_tree *t)
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
		t->node[v].from = FG_TREE_NONE;
	}
}

/* The voxel u, `away` voxels off the path's voxel number `by`, is to be covered from
 * there if no nearer one does it. */
static int
offer(struct fg_tree *t, uint32_t u, const int32_t away[3], double reach, uint32_t by,
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
cover(struct fg_tree *t, const uint32_t *path, size_t len, double scale,
    double constant, struct fg_err *err)
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
		struct fg_tree_item top = heap_pop(&t->heap);
		const uint32_t *map = t->room->map + t->node[top.v].cell;
		uint32_t by = t->owner[top.v], centre = path[by];
		double reach = (float)(scale * (double)t->dbf[centre] + constant);
		int64_t at[3], from[3];

		if (top.key > 0 && !t->alive[top.v])
			continue;
		t->left -= t->alive[top.v];
		t->alive[top.v] = 0;
		fg_tree_place(t, top.v, at);
		fg_tree_place(t, centre, from);
		for (int k = 0; k < 26; k++) {
			uint32_t u = map[t->off[k]] - 1;
			int32_t away[3];

			if (u == FG_TREE_NONE || !t->alive[u])
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
forget(struct fg_tree *t)
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
queue(struct fg_tree *t, uint32_t v, float cost, uint32_t from, struct fg_err *err)
{
	struct fg_tree_node *n = &t->node[v];

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
reach(struct fg_tree *t, uint32_t target, uint32_t *end, struct fg_err *err)
{
	unsigned turns = 0;

	forget(t);
	if (queue(t, target, 0, FG_TREE_NONE, err) < 0)
		return -1;
	while (t->heap.count > 0) {
		struct fg_tree_item top = heap_pop(&t->heap);
		const uint32_t *map = t->room->map + t->node[top.v].cell;

		if (top.key > t->node[top.v].cost)
			continue;
		if (t->vertex[top.v] != FG_TREE_NONE) {
			*end = top.v;
			return 0;
		}
		if ((++turns & 0xffff) == 0 && t->p->cancel && *t->p->cancel)
			return fg_fail(err, FG_ECANCELED, "cancelled");
		for (int k = 0; k < 26; k++) {
			uint32_t u = map[t->off[k]] - 1;

			if (u == FG_TREE_NONE)
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
reach_all(struct fg_tree *t, struct fg_err *err)
{
	unsigned turns = 0;

	forget(t);
	if (queue(t, t->root, 0, FG_TREE_NONE, err) < 0)
		return -1;
	while (t->heap.count > 0) {
		struct fg_tree_item top = heap_pop(&t->heap);
		const uint32_t *map = t->room->map + t->node[top.v].cell;

		if (top.key > t->node[top.v].cost)
			continue;
		if ((++turns & 0xffff) == 0 && t->p->cancel && *t->p->cancel)
			return fg_fail(err, FG_ECANCELED, "cancelled");
		for (int k = 0; k < 26; k++) {
			uint32_t u = map[t->off[k]] - 1;

			if (u == FG_TREE_NONE)
				continue;
			float cost = top.key + t->node[u].penalty;
			if (cost < t->node[u].cost && queue(t, u, cost, top.v, err) < 0)
				return -1;
		}
	}
	return 0;
}

static int
add_vertex(struct fg_tree *t, struct fg_tree_out *o, uint32_t v, struct fg_err *err)
{
	int64_t at[3];

	if (t->vertex[v] != FG_TREE_NONE)
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
	fg_tree_place(t, v, at);
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
add_edge(struct fg_tree *t, struct fg_tree_out *o, uint32_t a, uint32_t b,
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
path_put(struct fg_tree *t, uint32_t v, struct fg_err *err)
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
find_path(struct fg_tree *t, uint32_t target, struct fg_err *err)
{
	uint32_t v = target;

	t->path_len = 0;
	if (!t->p->fix_branching) {
		while (path_put(t, v, err) == 0) {
			if (t->vertex[v] != FG_TREE_NONE)
				return 0;
			v = t->node[v].from;
		}
		return -1;
	}
	if (reach(t, target, &v, err) < 0)
		return -1;
	for (; v != FG_TREE_NONE; v = t->node[v].from) {
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
cut_in_soma(struct fg_tree *t)
{
	double within = (double)t->dbf_max * t->p->soma_invalidation_scale +
			t->p->soma_invalidation_const;
	int64_t root[3], at[3];
	uint32_t end = t->path[t->path_len - 1];
	size_t n = 0;

	fg_tree_place(t, t->root, root);
	for (size_t i = 0; i < t->path_len; i++) {
		uint32_t v = t->path[i];
		double d2 = 0;

		fg_tree_place(t, v, at);
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
add_path(struct fg_tree *t, uint32_t target, struct fg_tree_out *o, struct fg_err *err)
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
choose_root(struct fg_tree *t, uint32_t *forced, size_t *count, struct fg_err *err)
{
	t->soma = (double)t->dbf_max > t->p->soma_acceptance_threshold;
	if (t->soma) {
		t->root = soma_root(t);
	} else if (*count > 0) {
		t->root = forced[--*count];
	} else {
		if (fg_tree_geodesic(t, 0, 0, t->daf, err) < 0)
			return -1;
		t->root = fg_tree_farthest(t, t->daf);
	}
	return fg_tree_geodesic(t, t->root, t->soma ? (double)t->dbf_max : 0, t->daf,
	    err);
}

static int
trace(struct fg_tree *t, uint32_t *forced, size_t count, struct fg_tree_out *o,
    struct fg_err *err)
{
	uint64_t limit = t->p->max_paths ? t->p->max_paths : UINT64_MAX;

	if (choose_root(t, forced, &count, err) < 0)
		return -1;
	if (count >= limit)
		return 0;
	fg_tree_sort(t, t->vertex);
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
	struct fg_tree t = {.p = p, .room = room};
	uint32_t *forced = fg_calloc(targets, sizeof *forced);
	size_t count = 0;
	int rc = -1;

	if (fg_tree_set_up(&t, c, run, field, err) < 0)
		goto out;
	for (size_t i = 0; i < targets; i++) {
		uint32_t v = number_of(&t, n, target[i]);

		if (v != FG_TREE_NONE)
			forced[count++] = v;
	}
	rc = trace(&t, forced, count, out, err);
out:
	fg_tree_tear_down(&t);
	free(forced);
	return rc;
}
