/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tree of one component: root, penalties, paths, and what each path covers.
 *
 * Paths: the search for the least sum of penalties begins at the target and ends where
 * it first sees a voxel of the tree, which costs nothing more. So after the first path,
 * which may take all of the component, it looks round the new branch only. Without
 * fix_branching, one search from the root outward serves all targets.
 */
#include "config.h"

#include "mesh/tree.h"

#include <math.h>
#include <stdlib.h>

#include "mesh/tree_heap.h"

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
	return t->map[cell] & FG_TREE_OURS ? t->map[cell] ^ FG_TREE_OURS : FG_TREE_NONE;
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

			if (t->depth[v].nm != t->dbf_max)
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
 * floats throughout: what is equally deep must have equal penalties, to the bit. It is
 * multiplied by inverses, also floats, as kimimaro's are: the last bit decides between
 * ways that are equally good. Penalties take the place of DAF. */
static void
fill_penalty(struct fg_tree *t)
{
	const float shrink = 1 / powf(t->dbf_max, 1.01f);
	const double e = t->p->pdrf_exponent;
	const bool whole = e >= 0 && e <= 64 && e == floor(e);
	float far = 0, *at = t->daf;

	for (uint32_t v = 0; v < t->n; v++)
		far = fmaxf(far, isfinite(at[v]) ? at[v] : 0);
	const float near = far > 0 ? 1 / far : 0;
	for (uint32_t v = 0; v < t->n; v++) {
		float base = fmaxf(0, 1 - t->depth[v].nm * shrink), power = 1;

		if (whole) {
			for (unsigned k = (unsigned)e; k; k >>= 1, base *= base)
				power *= k & 1 ? base : 1;
		} else {
			power = (float)pow((double)base, e);
		}
		at[v] = (float)t->p->pdrf_scale * power + at[v] * near;
	}
	t->penalty = at;
	t->daf = NULL;
}

/* A voxel of the path, from which others are covered. */
struct centre {
	int64_t at[3];
	double reach; /* nm */
};

static double
square(const struct fg_tree *t, int d, int64_t steps)
{
	double nm = t->p->nm[d] * (double)steps;

	return nm * nm;
}

/* Squared distance between two voxels, nm^2. */
static float
distance2(const struct fg_tree *t, const int64_t a[3], const int64_t b[3])
{
	return (float)(square(t, 0, a[0] - b[0]) + square(t, 1, a[1] - b[1]) +
		       square(t, 2, a[2] - b[2]));
}

/* From the voxel v, which is covered from the path's voxel number `by`, those around it
 * may be covered too, where no nearer one of the path does it. */
static int
hand_on(struct fg_tree *t, uint32_t v, uint32_t by, const struct centre *centre,
    struct fg_err *err)
{
	const fg_tree_cell *map = t->map + t->cell[v];
	const struct centre *c = &centre[by];
	double part[3][3];
	int64_t at[3];

	fg_tree_place(t, v, at);
	for (int d = 0; d < 3; d++) {
		for (int j = -1; j <= 1; j++)
			part[d][j + 1] = square(t, d, at[d] - c->at[d] + j);
	}
	for (int k = 0; k < 26; k++) {
		const int *to = t->delta[k];
		uint32_t u = map[t->off[k]];

		if (!(u & FG_TREE_OURS) ||
		    !(t->state[u ^= FG_TREE_OURS] & FG_TREE_ALIVE))
			continue;
		double d2 =
		    part[0][to[0] + 1] + part[1][to[1] + 1] + part[2][to[2] + 1];
		if (d2 >= c->reach * c->reach)
			continue;
		if (t->state[u] & FG_TREE_OFFERED) {
			const int64_t there[3] = {at[0] + to[0], at[1] + to[1],
			    at[2] + to[2]};

			if ((float)d2 >= distance2(t, there, centre[t->owner[u]].at))
				continue;
		}
		t->state[u] |= FG_TREE_OFFERED;
		t->owner[u] = by;
		if (fg_tree_push(&t->heap, (float)d2, u, err) < 0)
			return -1;
	}
	return 0;
}

/* Cover what is within scale * DBF + const of the path's voxels, which are vertices. A
 * voxel is covered from the nearest of those that can hand it on through their own
 * balls. Voxels of the path that had been covered before cover no more: where a path
 * runs close to another one, its neighbourhood has been looked after (and kimimaro does
 * so).
 */
static int
cover(struct fg_tree *t, const uint32_t *path, size_t len, double scale,
    double constant, const float *radius, struct fg_err *err)
{
	struct centre *centre = fg_try_alloc(len, sizeof *centre);
	int rc = -1;

	if (!centre)
		return fg_fail(err, FG_ENOMEM, "no memory for a path");
	t->heap.count = 0;
	for (size_t i = 0; i < len; i++) {
		uint32_t v = path[i];
		double depth = (double)radius[t->depth[v].vertex];

		fg_tree_place(t, v, centre[i].at);
		centre[i].reach = (float)(scale * depth + constant);
		if (!(t->state[v] & FG_TREE_ALIVE))
			continue;
		t->left -= t->state[v] & FG_TREE_ALIVE;
		t->state[v] &= (uint8_t)~FG_TREE_ALIVE;
		t->state[v] |= FG_TREE_OFFERED;
		t->owner[v] = (uint32_t)i;
		if (fg_tree_push(&t->heap, 0, v, err) < 0)
			goto out;
	}
	while (t->heap.count > 0) {
		uint32_t v = fg_tree_pop(&t->heap).v, by = t->owner[v];

		/* From a nearer one, already. */
		if (!(t->state[v] & FG_TREE_OFFERED))
			continue;
		t->left -= t->state[v] & FG_TREE_ALIVE;
		t->state[v] &= (uint8_t) ~(FG_TREE_ALIVE | FG_TREE_OFFERED);
		if (hand_on(t, v, by, centre, err) < 0)
			goto out;
	}
	rc = 0;
out:
	free(centre);
	return rc;
}

static void
set_from(struct fg_tree *t, uint32_t v, unsigned from)
{
	unsigned rest = t->state[v] & ((1u << FG_TREE_FROM_SHIFT) - 1);

	t->state[v] = (uint8_t)(rest | from << FG_TREE_FROM_SHIFT);
}

/* Forget the last search. */
static void
forget(struct fg_tree *t)
{
	if (t->touches > t->touch_room) {
		for (uint32_t v = 0; v < t->n; v++)
			set_from(t, v, FG_TREE_NOT_YET);
	} else {
		for (size_t i = 0; i < t->touches; i++)
			set_from(t, t->touched[i], FG_TREE_NOT_YET);
	}
	t->touches = 0;
	t->heap.count = 0;
}

static int
queue(struct fg_tree *t, uint32_t v, float cost, unsigned from, struct fg_err *err)
{
	if (t->touches < t->touch_room)
		t->touched[t->touches] = v;
	t->touches++;
	set_from(t, v, from);
	return fg_tree_push(&t->heap, cost, v, err);
}

/* The voxel from which the last search came to v; FG_TREE_NONE: it began there. */
static uint32_t
came_from(const struct fg_tree *t, uint32_t v)
{
	unsigned k = t->state[v] >> FG_TREE_FROM_SHIFT;

	return k == FG_TREE_START ? FG_TREE_NONE
				  : t->map[t->cell[v] - t->off[k]] ^ FG_TREE_OURS;
}

/*
 * The way with the least penalties of the voxels entered, from `start` to the first
 * voxel of the tree that is met. *end: that voxel; came_from leads back from it. NULL:
 * to all voxels. The penalty is that of the voxel entered, wherever one comes from: who
 * comes first comes cheapest, and no voxel is queued twice.
 */
static int
reach(struct fg_tree *t, uint32_t start, uint32_t *end, struct fg_err *err)
{
	unsigned turns = 0;

	forget(t);
	if (end && t->state[start] & FG_TREE_VERTEX) {
		*end = start;
		set_from(t, start, FG_TREE_START);
		t->touched[t->touches++] = start;
		return 0;
	}
	if (queue(t, start, 0, FG_TREE_START, err) < 0)
		return -1;
	while (t->heap.count > 0) {
		struct fg_tree_item top = fg_tree_pop(&t->heap);
		const fg_tree_cell *map = t->map + t->cell[top.v];

		if ((++turns & 0xffff) == 0 && t->p->cancel && *t->p->cancel)
			return fg_fail(err, FG_ECANCELED, "cancelled");
		for (unsigned k = 0; k < 26; k++) {
			uint32_t u = map[t->off[k]];

			if (!(u & FG_TREE_OURS))
				continue;
			u ^= FG_TREE_OURS;
			if (t->state[u] >> FG_TREE_FROM_SHIFT != FG_TREE_NOT_YET)
				continue;
			if (queue(t, u, top.key + t->penalty[u], k, err) < 0)
				return -1;
			if (end && t->state[u] & FG_TREE_VERTEX) {
				*end = u;
				return 0;
			}
		}
	}
	fg_assert(!end);
	return 0;
}

static int
add_vertex(struct fg_tree *t, struct fg_tree_out *o, uint32_t v, struct fg_err *err)
{
	int64_t at[3];

	if (t->state[v] & FG_TREE_VERTEX)
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
	o->radius[o->vertices] = t->depth[v].nm;
	t->depth[v].vertex = (uint32_t)o->vertices++;
	t->state[v] |= FG_TREE_VERTEX;
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
	o->edge[2 * o->edges] = t->depth[a].vertex;
	o->edge[2 * o->edges + 1] = t->depth[b].vertex;
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
			if (t->state[v] & FG_TREE_VERTEX)
				return 0;
			v = came_from(t, v);
		}
		return -1;
	}
	if (reach(t, target, &v, err) < 0)
		return -1;
	for (; v != FG_TREE_NONE; v = came_from(t, v)) {
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
	for (size_t i = 0; i + 1 < t->path_len; i++) {
		if (add_edge(t, o, t->path[i], t->path[i + 1], err) < 0)
			return -1;
		t->penalty[t->path[i]] = 0;
	}
	if (cover(t, t->path, t->path_len, t->p->scale, t->p->const_nm, o->radius,
		err) < 0)
		return -1;
	/* At least the target is covered, or the loop would not end. */
	t->left -= t->state[target] & FG_TREE_ALIVE;
	t->state[target] &= (uint8_t)~FG_TREE_ALIVE;
	return 0;
}

/* *first: the first target, or NONE if that is an ordinary one. */
static int
choose_root(struct fg_tree *t, uint32_t *forced, size_t *count, uint32_t *first,
    struct fg_err *err)
{
	*first = FG_TREE_NONE;
	t->soma = (double)t->dbf_max > t->p->soma_acceptance_threshold;
	if (t->soma) {
		t->root = soma_root(t);
	} else if (*count > 0) {
		t->root = forced[--*count];
	} else {
		if (fg_tree_geodesic(t, 0, 0, err) < 0 ||
		    fg_tree_farthest(t, 0, &t->root, err) < 0)
			return -1;
	}
	if (fg_tree_geodesic(t, t->root, t->soma ? (double)t->dbf_max : 0, err) < 0)
		return -1;
	return t->soma || *count > 0 ? 0 : fg_tree_farthest(t, t->root, first, err);
}

/* The order of targets, and penalties: what is left of the distances from the root. */
static int
use_distances(struct fg_tree *t, struct fg_err *err)
{
	t->order = fg_try_alloc(t->n, sizeof *t->order);
	t->owner = fg_try_alloc(t->n, sizeof *t->owner);
	t->touch_room = t->n / 8 + 1;
	t->touched = fg_try_alloc(t->touch_room, sizeof *t->touched);
	if (!t->order || !t->owner || !t->touched)
		return fg_fail(err, FG_ENOMEM,
		    "no memory for the skeleton of %u voxels", t->n);
	fg_tree_sort(t, t->owner);
	fill_penalty(t);
	return 0;
}

static int
trace(struct fg_tree *t, uint32_t *forced, size_t count, struct fg_tree_out *o,
    struct fg_err *err)
{
	uint64_t limit = t->p->max_paths ? t->p->max_paths : UINT64_MAX;
	uint32_t first;

	t->daf = fg_try_alloc(t->n, sizeof *t->daf);
	if (!t->daf)
		return fg_fail(err, FG_ENOMEM,
		    "no memory for the skeleton of %u voxels", t->n);
	if (choose_root(t, forced, &count, &first, err) < 0)
		return -1;
	if (count >= limit)
		return 0;
	if (use_distances(t, err) < 0)
		return -1;
	/* Now a path that comes to the root ends there. */
	t->penalty[t->root] = 0;
	if (add_vertex(t, o, t->root, err) < 0 ||
	    (!t->p->fix_branching && reach(t, t->root, NULL, err) < 0))
		return -1;
	if (t->soma && cover(t, &t->root, 1, t->p->soma_invalidation_scale,
			   t->p->soma_invalidation_const, o->radius, err) < 0)
		return -1;
	size_t cursor = t->n;
	for (uint64_t i = 0; i < limit && (count > 0 || t->left > 0); i++) {
		uint32_t target;

		if (count > 0) {
			target = forced[--count];
		} else if (i == 0 && first != FG_TREE_NONE) {
			target = first;
		} else {
			while (!(t->state[t->order[cursor - 1]] & FG_TREE_ALIVE))
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
	struct fg_tree t = {.p = p};
	uint32_t *forced = fg_calloc(targets, sizeof *forced);
	size_t count = 0;
	int rc = -1;

	if (fg_tree_set_up(&t, c, run, field, room, err) < 0)
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
