/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pieces of a skeleton become one graph, which is repaired step by step and then
 * written out. The steps are in the header's order.
 *
 * Trees are joined in rounds: each tree proposes the shortest step to another one that
 * is allowed, found in a grid of cells; shortest first, those that still join something
 * become edges. After a round there are at most half as many trees that can be joined.
 */
#include "config.h"

#include "mesh/join.h"

#include <stdlib.h>

#include "mesh/graph.h"

#define NONE UINT32_MAX

/* --- one graph */

struct place {
	float xyz[3];
	uint32_t vertex; /* of all pieces, counted through */
};

static int
by_place(const void *a, const void *b)
{
	const struct place *p = a, *q = b;
	int c = memcmp(p->xyz, q->xyz, sizeof p->xyz);

	return c ? c : (p->vertex > q->vertex) - (p->vertex < q->vertex);
}

static int
by_ends(const void *a, const void *b)
{
	uint64_t p = *(const uint64_t *)a, q = *(const uint64_t *)b;

	return (p > q) - (p < q);
}

struct join {
	struct fg_graph g;
	const struct fg_join_params *p;
	float *area; /* of the graph's vertices, or NULL */
	uint8_t *contacts;
	uint32_t *tree; /* a vertex of the same tree, nearer to the tree's name */
};

static int
no_memory(struct fg_err *err)
{
	return fg_fail(err, FG_ENOMEM, "no memory to join a skeleton");
}

/* Vertex u of a piece is at vertex v of the graph, which is new if `fresh`. */
static void
merge_vertex(struct join *j, uint32_t v, const struct fg_skeleton *s, uint32_t u,
    bool fresh)
{
	struct fg_graph *g = &j->g;

	if (fresh)
		memcpy(g->xyz + 3 * (size_t)v, s->xyz + 3 * (size_t)u, 12);
	if (fresh || s->radius[u] < g->radius[v])
		g->radius[v] = s->radius[u];
	if (!j->area)
		return;
	if (fresh ||
	    __builtin_popcount(s->contacts[u]) < __builtin_popcount(j->contacts[v])) {
		j->area[v] = s->area[u];
		j->contacts[v] = s->contacts[u];
	}
}

/* The vertices; number[v] of each one of the pieces. */
static int
merge_vertices(struct join *j, const struct fg_skeleton *const *piece, size_t count,
    size_t vertices, uint32_t *number, struct fg_err *err)
{
	struct place *at = fg_try_alloc(vertices, sizeof *at);
	struct fg_graph *g = &j->g;
	size_t n = 0;

	if (!at)
		return no_memory(err);
	for (size_t i = 0; i < count; i++) {
		for (size_t v = 0; v < piece[i]->vertices; v++, n++) {
			at[n].vertex = (uint32_t)n;
			for (size_t d = 0; d < 3; d++) /* -0 becomes 0 */
				at[n].xyz[d] = piece[i]->xyz[3 * v + d] + 0.0f;
		}
	}
	qsort(at, n, sizeof *at, by_place);
	/* The lowest vertex of each place; numbers without gaps below. */
	for (size_t i = 0; i < n; i++) {
		bool same =
		    i > 0 && memcmp(at[i].xyz, at[i - 1].xyz, sizeof at[i].xyz) == 0;

		number[at[i].vertex] = same ? number[at[i - 1].vertex] : at[i].vertex;
	}
	free(at);
	n = 0;
	for (size_t i = 0; i < count; i++) {
		for (uint32_t v = 0; v < piece[i]->vertices; v++, n++) {
			bool fresh = number[n] == n;

			number[n] = fresh ? g->vertices++ : number[number[n]];
			merge_vertex(j, number[n], piece[i], v, fresh);
		}
	}
	return 0;
}

/* The edges, each once. */
static int
merge_edges(struct join *j, const struct fg_skeleton *const *piece, size_t count,
    size_t edges, const uint32_t *number, struct fg_err *err)
{
	uint64_t *all = fg_try_alloc(edges, sizeof *all);
	size_t n = 0, base = 0;
	int rc = -1;

	if (!all)
		return no_memory(err);
	for (size_t i = 0; i < count; i++) {
		for (size_t e = 0; e < piece[i]->edges; e++) {
			uint32_t a = number[base + piece[i]->edge[2 * e]];
			uint32_t b = number[base + piece[i]->edge[2 * e + 1]];

			if (a != b)
				all[n++] = (uint64_t)FG_MIN(a, b) << 32 | FG_MAX(a, b);
		}
		base += piece[i]->vertices;
	}
	qsort(all, n, sizeof *all, by_ends);
	for (size_t i = 0; i < n; i++) {
		if (i > 0 && all[i] == all[i - 1])
			continue;
		if (fg_graph_add(&j->g, (uint32_t)(all[i] >> 32), (uint32_t)all[i],
			err) < 0)
			goto out;
	}
	rc = fg_graph_link(&j->g, err);
out:
	free(all);
	return rc;
}

static int
merge(struct join *j, const struct fg_skeleton *const *piece, size_t count,
    struct fg_err *err)
{
	size_t vertices = 0, edges = 0;
	bool areas = true;
	int rc;

	for (size_t i = 0; i < count; i++) {
		vertices += piece[i]->vertices;
		edges += piece[i]->edges;
		if (piece[i]->vertices && !(piece[i]->area && piece[i]->contacts))
			areas = false;
	}
	if (vertices >= UINT32_MAX)
		return fg_fail(err, FG_EFULL, "a skeleton of %zu vertices is too large",
		    vertices);
	uint32_t *number = fg_try_alloc(vertices, sizeof *number);
	j->g.xyz = fg_try_alloc(vertices, 12);
	j->g.radius = fg_try_alloc(vertices, 4);
	j->tree = fg_try_alloc(vertices, 4);
	if (areas && vertices) {
		j->area = fg_try_alloc(vertices, 4);
		j->contacts = fg_try_alloc(vertices, 1);
	}
	if (!number || !j->g.xyz || !j->g.radius || !j->tree ||
	    (areas && vertices && (!j->area || !j->contacts))) {
		free(number);
		return no_memory(err);
	}
	rc = merge_vertices(j, piece, count, vertices, number, err);
	if (rc == 0)
		rc = merge_edges(j, piece, count, edges, number, err);
	free(number);
	return rc;
}

/* --- trees */

static uint32_t
tree_of(const struct join *j, uint32_t v)
{
	while (j->tree[v] != v) {
		j->tree[v] = j->tree[j->tree[v]];
		v = j->tree[v];
	}
	return v;
}

static void
find_trees(struct join *j)
{
	const struct fg_graph *g = &j->g;

	for (uint32_t v = 0; v < g->vertices; v++)
		j->tree[v] = v;
	for (size_t e = 0; e < g->edges; e++) {
		uint32_t a = tree_of(j, g->edge[2 * e]);
		uint32_t b = tree_of(j, g->edge[2 * e + 1]);

		if (!g->gone[e])
			j->tree[FG_MAX(a, b)] = FG_MIN(a, b);
	}
}

static int
drop_dust(struct join *j, struct fg_err *err)
{
	struct fg_graph *g = &j->g;
	double *cable = calloc((size_t)g->vertices + 1, sizeof *cable);

	if (!cable)
		return no_memory(err);
	for (size_t e = 0; e < g->edges; e++)
		cable[tree_of(j, g->edge[2 * e])] += fg_graph_length(g, e);
	for (size_t e = 0; e < g->edges; e++) {
		if (cable[tree_of(j, g->edge[2 * e])] <= j->p->dust_threshold)
			fg_graph_drop(g, e);
	}
	free(cable);
	return 0;
}

/* --- joining trees */

/* Vertices by cell of a grid: order[] sorted by key. */
struct cells {
	double side;
	struct cell {
		uint64_t key;
		uint32_t v;
	} * cell;
	size_t count;
};

static uint64_t
key_of(const int64_t c[3])
{
	uint64_t key = 0;

	/* 21 bits an axis: cells far apart may share a key, which only costs. */
	for (int d = 0; d < 3; d++)
		key = key << 21 | ((uint64_t)c[d] & 0x1fffff);
	return key;
}

static void
cell_of(const struct cells *c, const float p[3], double off, int64_t out[3])
{
	for (int d = 0; d < 3; d++)
		out[d] = (int64_t)floor(((double)p[d] + off) / c->side);
}

static int
by_key(const void *a, const void *b)
{
	const struct cell *p = a, *q = b;

	if (p->key != q->key)
		return p->key < q->key ? -1 : 1;
	return (p->v > q->v) - (p->v < q->v);
}

static int
fill_cells(const struct join *j, struct cells *c, struct fg_err *err)
{
	const struct fg_graph *g = &j->g;
	double sum = 0;

	c->cell = fg_try_alloc(g->vertices, sizeof *c->cell);
	if (!c->cell)
		return no_memory(err);
	for (uint32_t v = 0; v < g->vertices; v++) {
		if (g->degree[v]) {
			sum += (double)g->radius[v];
			c->cell[c->count++].v = v;
		}
	}
	c->side = isfinite(j->p->radius) && !j->p->restrict_by_radius
		      ? j->p->radius
		      : 2 * sum / (double)(c->count + 1);
	/* Positions are floats: no more than 2^24 cells along them make sense. */
	c->side = FG_MAX(c->side, 1);
	for (size_t i = 0; i < c->count; i++) {
		int64_t at[3];

		cell_of(c, g->xyz + 3 * (size_t)c->cell[i].v, 0, at);
		c->cell[i].key = key_of(at);
	}
	qsort(c->cell, c->count, sizeof *c->cell, by_key);
	return 0;
}

struct step {
	double length;
	uint32_t a, b; /* b: NONE for none */
};

static void
try_step(struct join *j, uint32_t a, uint32_t b, struct step *best)
{
	const struct fg_graph *g = &j->g;

	if (tree_of(j, a) == tree_of(j, b))
		return;
	double d = fg_graph_apart(g, a, b);
	if (d > j->p->radius || d >= best->length ||
	    (j->p->restrict_by_radius &&
		d >= (double)g->radius[a] + (double)g->radius[b]))
		return;
	*best = (struct step){d, a, b};
}

/* The shortest step from vertex a that is allowed, to a vertex that is not thicker
 * (that one would look itself). */
static void
look_round(struct join *j, const struct cells *c, uint32_t a, struct step *best)
{
	const struct fg_graph *g = &j->g;
	double reach = j->p->radius;
	int64_t lo[3], hi[3], at[3];
	double cells = 1;

	if (j->p->restrict_by_radius)
		reach = FG_MIN(reach, 2 * (double)g->radius[a]);
	reach = FG_MIN(reach, best->length);
	for (int d = 0; d < 3; d++)
		cells *= 2 * reach / c->side + 2;
	if (!(cells < (double)c->count)) {
		for (size_t i = 0; i < c->count; i++)
			try_step(j, a, c->cell[i].v, best);
		return;
	}
	cell_of(c, g->xyz + 3 * (size_t)a, -reach, lo);
	cell_of(c, g->xyz + 3 * (size_t)a, reach, hi);
	for (at[2] = lo[2]; at[2] <= hi[2]; at[2]++) {
		for (at[1] = lo[1]; at[1] <= hi[1]; at[1]++) {
			for (at[0] = lo[0]; at[0] <= hi[0]; at[0]++) {
				uint64_t key = key_of(at);
				size_t l = 0, r = c->count;

				while (l < r) {
					size_t m = l + (r - l) / 2;

					if (c->cell[m].key < key)
						l = m + 1;
					else
						r = m;
				}
				for (; l < c->count && c->cell[l].key == key; l++)
					try_step(j, a, c->cell[l].v, best);
			}
		}
	}
}

static int
by_length(const void *a, const void *b)
{
	const struct step *p = a, *q = b;

	if (p->length != q->length)
		return p->length < q->length ? -1 : 1;
	return (p->a > q->a) - (p->a < q->a);
}

/* One round; *more: something was joined. */
static int
join_round(struct join *j, const struct cells *c, struct step *best, bool *more,
    struct fg_err *err)
{
	struct fg_graph *g = &j->g;
	size_t n = 0;

	for (uint32_t v = 0; v < g->vertices; v++)
		best[v] = (struct step){INFINITY, v, NONE};
	for (size_t i = 0; i < c->count; i++)
		look_round(j, c, c->cell[i].v, &best[tree_of(j, c->cell[i].v)]);
	for (uint32_t v = 0; v < g->vertices; v++) {
		if (best[v].b != NONE)
			best[n++] = best[v];
	}
	qsort(best, n, sizeof *best, by_length);
	*more = false;
	for (size_t i = 0; i < n; i++) {
		uint32_t a = tree_of(j, best[i].a), b = tree_of(j, best[i].b);

		if (a == b)
			continue;
		if (fg_graph_add(g, best[i].a, best[i].b, err) < 0)
			return -1;
		j->tree[FG_MAX(a, b)] = FG_MIN(a, b);
		*more = true;
	}
	return 0;
}

static int
join_trees(struct join *j, struct fg_err *err)
{
	struct fg_graph *g = &j->g;
	struct cells c = {0};
	struct step *best = NULL;
	size_t trees = 0;
	bool more = true;
	int rc = -1;

	for (uint32_t v = 0; v < g->vertices; v++)
		trees += g->degree[v] && j->tree[v] == v;
	if (trees < 2 || !(j->p->radius > 0))
		return 0;
	best = fg_try_alloc(g->vertices, sizeof *best);
	if (!best) {
		no_memory(err);
		goto out;
	}
	if (fill_cells(j, &c, err) < 0)
		goto out;
	while (more) {
		if (join_round(j, &c, best, &more, err) < 0)
			goto out;
	}
	rc = fg_graph_link(g, err);
out:
	free(best);
	free(c.cell);
	return rc;
}

/* --- ticks */

/* Walk from the end `v` to the next branch: *length of the way, up to `limit`. False:
 * there is no branch (the way is the whole tree), or it is too far. `drop`: the edges
 * behind go. */
static bool
walk(struct fg_graph *g, uint32_t v, double limit, bool drop, double *length)
{
	size_t by = SIZE_MAX;

	*length = 0;
	for (;;) {
		size_t next = SIZE_MAX;

		for (size_t i = g->first[v]; i < g->first[v + 1]; i++) {
			if (!g->gone[g->arc[i]] && g->arc[i] != by) {
				next = g->arc[i];
				break;
			}
		}
		if (next == SIZE_MAX)
			return false;
		by = next;
		*length += fg_graph_length(g, by);
		if (!(*length < limit))
			return false;
		v = fg_graph_other(g, by, v);
		uint32_t degree = g->degree[v];
		if (drop)
			fg_graph_drop(g, by);
		if (degree > 2)
			return true;
	}
}

struct queue {
	struct step *item; /* a: the end */
	size_t count;
};

static void
queue_put(struct queue *q, double length, uint32_t a)
{
	size_t i = q->count++;

	for (; i > 0 && q->item[(i - 1) / 2].length > length; i = (i - 1) / 2)
		q->item[i] = q->item[(i - 1) / 2];
	q->item[i] = (struct step){length, a, NONE};
}

static struct step
queue_take(struct queue *q)
{
	struct step top = q->item[0], last = q->item[--q->count];
	size_t i = 0;

	for (;;) {
		size_t k = 2 * i + 1;

		if (k >= q->count)
			break;
		if (k + 1 < q->count && q->item[k + 1].length < q->item[k].length)
			k++;
		if (q->item[k].length >= last.length)
			break;
		q->item[i] = q->item[k];
		i = k;
	}
	q->item[i] = last;
	return top;
}

/* A branch only grows while others go, so one that has grown is queued again. */
static int
drop_ticks(struct join *j, struct fg_err *err)
{
	struct fg_graph *g = &j->g;
	struct queue q = {.item = fg_try_alloc(g->vertices + 1, sizeof *q.item)};
	const double limit = j->p->tick_threshold;
	double length;

	if (!q.item)
		return no_memory(err);
	for (uint32_t v = 0; v < g->vertices; v++) {
		if (g->degree[v] == 1 && walk(g, v, limit, false, &length))
			queue_put(&q, length, v);
	}
	while (q.count > 0) {
		struct step s = queue_take(&q);

		if (!walk(g, s.a, limit, false, &length))
			continue;
		if (length > s.length)
			queue_put(&q, length, s.a);
		else
			(void)walk(g, s.a, limit, true, &length);
	}
	free(q.item);
	return 0;
}

/* --- the result */

static int
write_out(const struct join *j, uint64_t label, struct fg_skeleton *out,
    struct fg_err *err)
{
	const struct fg_graph *g = &j->g;
	struct fg_skeleton s = {.label = label};
	size_t left = 0;

	for (size_t e = 0; e < g->edges; e++)
		left += !g->gone[e];
	uint32_t *number = fg_try_alloc(g->vertices, sizeof *number);
	s.xyz = fg_try_alloc(g->vertices, 12);
	s.radius = fg_try_alloc(g->vertices, 4);
	s.edge = fg_try_alloc(left, 8);
	if (j->area) {
		s.area = fg_try_alloc(g->vertices, 4);
		s.contacts = fg_try_alloc(g->vertices, 1);
	}
	if (!number || !s.xyz || !s.radius || !s.edge ||
	    (j->area && (!s.area || !s.contacts))) {
		free(number);
		fg_skeleton_fini(&s);
		return no_memory(err);
	}
	for (uint32_t v = 0; v < g->vertices; v++) {
		if (!g->degree[v])
			continue;
		memcpy(s.xyz + 3 * (size_t)s.vertices, g->xyz + 3 * (size_t)v, 12);
		s.radius[s.vertices] = g->radius[v];
		if (j->area) {
			s.area[s.vertices] = j->area[v];
			s.contacts[s.vertices] = j->contacts[v];
		}
		number[v] = s.vertices++;
	}
	for (size_t e = 0; e < g->edges; e++) {
		if (g->gone[e])
			continue;
		s.edge[2 * (size_t)s.edges] = number[g->edge[2 * e]];
		s.edge[2 * (size_t)s.edges++ + 1] = number[g->edge[2 * e + 1]];
	}
	free(number);
	*out = s;
	return 0;
}

static int
repair(struct join *j, struct fg_err *err)
{
	find_trees(j);
	if (drop_dust(j, err) < 0)
		return -1;
	if (j->p->remove_loops) {
		if (fg_graph_open_loops(&j->g, err) < 0)
			return -1;
		find_trees(j);
	}
	if (join_trees(j, err) < 0)
		return -1;
	return drop_ticks(j, err);
}

int
fg_skeleton_join(const struct fg_skeleton *const *piece, size_t count,
    const struct fg_join_params *p, struct fg_skeleton *out, struct fg_err *err)
{
	struct join j = {.p = p};
	int rc = -1;

	if (!(p->dust_threshold >= 0) || !(p->tick_threshold >= 0) || !(p->radius >= 0))
		return fg_fail(err, FG_EINVAL,
		    "thresholds of %g, %g and %g nm are not possible",
		    p->dust_threshold, p->tick_threshold, p->radius);
	if (merge(&j, piece, count, err) < 0 || repair(&j, err) < 0)
		goto out;
	rc = write_out(&j, count ? piece[0]->label : 0, out, err);
out:
	fg_graph_fini(&j.g);
	free(j.area);
	free(j.contacts);
	free(j.tree);
	return rc;
}
