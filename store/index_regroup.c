/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: components worked out anew from their edges.
 *
 * From some objects, everything that joining edges reach is read into memory: nodes,
 * edges, cuts. The edges are then taken in the order that store/object.h states, each
 * component keeping a list of the cuts it has an end of, so that an edge which would
 * unite the two ends of one is recognised by going through the shorter of two lists.
 * What differs from the rows is written. The same edges give the same components,
 * whatever was there before.
 */
#include "config.h"

#include <stdlib.h>

#include "store/index_object.h"
#include "store/index_sql.h"

#define NONE UINT32_MAX

struct node {
	uint64_t id, old_root, voxels;
	int64_t lo[3], hi[3];
	uint32_t up;    /* union-find */
	uint32_t size;  /* of a representative */
	uint32_t cut;   /* first of a representative's cut ends, NONE */
	uint32_t cuts;  /* and how many they are */
	uint32_t tail;  /* the last of them */
	uint32_t piece; /* union-find of what edges tie together, cut or not */
	int64_t gen;    /* of its component so far; of a piece's head: the largest */
	bool there;     /* the layer has such an object */
	bool marked;    /* it is an end of a cut; of a piece's head: any is */
};

struct edge {
	uint64_t a, b, weight; /* shared voxels; of a decision: its number */
	uint8_t kind;          /* 0: evidence, else enum fg_edit_kind */
	bool late;             /* evidence: a contact, after all merges */
	bool dropped;
};

/* One end of a cut, in the list of the component that it lies in. */
struct end {
	uint32_t other; /* node at the other end */
	uint32_t next;
};

struct group {
	struct fg_index *ix;
	uint32_t layer;
	struct node *node;
	size_t n, cap;
	uint32_t *slot; /* open hash: index of a node by its id */
	size_t slots;   /* power of two */
	struct edge *edge;
	size_t edges, edge_cap;
	struct end *end;
	size_t ends;
};

/* ------------------------------------------------------------- nodes by id */

static size_t
slot_of(const struct group *g, uint64_t id)
{
	size_t i = (size_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 20) & (g->slots - 1);

	while (g->slot[i] != NONE && g->node[g->slot[i]].id != id)
		i = (i + 1) & (g->slots - 1);
	return i;
}

static void
grow_slots(struct group *g)
{
	free(g->slot);
	g->slots = FG_MAX(4 * g->slots, (size_t)256);
	g->slot = fg_alloc(g->slots * sizeof *g->slot);
	memset(g->slot, 0xff, g->slots * sizeof *g->slot);
	for (size_t i = 0; i < g->n; i++)
		g->slot[slot_of(g, g->node[i].id)] = (uint32_t)i;
}

static uint32_t
find_node(const struct group *g, uint64_t id)
{
	return g->slots ? g->slot[slot_of(g, id)] : NONE;
}

static void
add_node(struct group *g, uint64_t id)
{
	if (2 * (g->n + 1) > g->slots)
		grow_slots(g);
	size_t i = slot_of(g, id);
	if (g->slot[i] != NONE)
		return;
	if (g->n == g->cap) {
		g->cap = FG_MAX(2 * g->cap, (size_t)64);
		g->node = fg_realloc(g->node, g->cap, sizeof *g->node);
	}
	g->slot[i] = (uint32_t)g->n;
	g->node[g->n] = (struct node){
	    .id = id,
	    .up = (uint32_t)g->n,
	    .piece = (uint32_t)g->n,
	    .cut = NONE,
	};
	g->n++;
}

static void
add_edge(struct group *g, uint64_t a, uint64_t b, uint64_t weight, int kind, bool late)
{
	if (g->edges == g->edge_cap) {
		g->edge_cap = FG_MAX(2 * g->edge_cap, (size_t)64);
		g->edge = fg_realloc(g->edge, g->edge_cap, sizeof *g->edge);
	}
	g->edge[g->edges++] = (struct edge){a, b, weight, (uint8_t)kind, late, false};
}

/* ------------------------------------------------------------- reading */

/* Everything that names this object as its representative. */
static int
read_fellows(struct group *g, uint64_t root, struct fg_err *err)
{
	sqlite3_stmt *st =
	    fg_sql(g->ix, err, "SELECT id FROM objects WHERE layer = ? AND parent = ?",
		"ii", (int64_t)g->layer, root);
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(g->ix, st, err)) > 0)
		add_node(g, (uint64_t)sqlite3_column_int64(st, 0));
	return rc;
}

/* Read a node's row, and its present fellows where it is their representative (or was,
 * if it is gone). */
static int
read_node(struct group *g, size_t i, struct fg_err *err)
{
	uint64_t id = g->node[i].id;
	sqlite3_stmt *st = fg_sql(g->ix, err,
	    "SELECT o.parent, o.voxels, o.lo, o.hi, r.gen FROM objects o"
	    " LEFT JOIN objects r ON r.layer = o.layer AND r.id = o.parent"
	    " WHERE o.layer = ? AND o.id = ?",
	    "ii", (int64_t)g->layer, id);
	int rc = st ? fg_sql_step(g->ix, st, err) : -1;

	if (rc < 0)
		return -1;
	if (rc == 0)
		return read_fellows(g, id, err);
	struct node *v = &g->node[i];
	v->there = true;
	v->old_root = (uint64_t)sqlite3_column_int64(st, 0);
	v->voxels = (uint64_t)sqlite3_column_int64(st, 1);
	fg_index_get_corner(st, 2, v->lo);
	fg_index_get_corner(st, 3, v->hi);
	v->gen = sqlite3_column_int64(st, 4);
	sqlite3_reset(st);
	uint64_t root = v->old_root;
	add_node(g, root);
	return root == id ? read_fellows(g, id, err) : 0;
}

static int
read_evidence(struct group *g, uint64_t id, struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(g->ix, err,
	    "SELECT a, b, both, 0 FROM merges"
	    " WHERE layer = ?1 AND a = ?2 AND state = 1 UNION ALL"
	    " SELECT a, b, both, 0 FROM merges"
	    " WHERE layer = ?1 AND b = ?2 AND state = 1 UNION ALL"
	    " SELECT a, b, both, 1 FROM contacts"
	    " WHERE layer = ?1 AND a = ?2 AND state = 1 UNION ALL"
	    " SELECT a, b, both, 1 FROM contacts"
	    " WHERE layer = ?1 AND b = ?2 AND state = 1",
	    "ii", (int64_t)g->layer, id);
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(g->ix, st, err)) > 0) {
		uint64_t a = (uint64_t)sqlite3_column_int64(st, 0);
		uint64_t b = (uint64_t)sqlite3_column_int64(st, 1);

		/* Both ends are nodes in the end: each edge is taken at its first. */
		if (a == id)
			add_edge(g, a, b, (uint64_t)sqlite3_column_int64(st, 2), 0,
			    sqlite3_column_int(st, 3) != 0);
		add_node(g, a == id ? b : a);
	}
	return rc;
}

static int
read_decisions(struct group *g, size_t i, struct fg_err *err)
{
	uint64_t id = g->node[i].id;
	sqlite3_stmt *st = fg_sql(g->ix, err,
	    "SELECT a, b, edit, kind FROM edits"
	    " WHERE layer = ?1 AND a = ?2 AND undone = 0 UNION ALL"
	    " SELECT a, b, edit, kind FROM edits"
	    " WHERE layer = ?1 AND b = ?2 AND undone = 0",
	    "ii", (int64_t)g->layer, id);
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(g->ix, st, err)) > 0) {
		uint64_t a = (uint64_t)sqlite3_column_int64(st, 0);
		uint64_t b = (uint64_t)sqlite3_column_int64(st, 1);
		int kind = sqlite3_column_int(st, 3);

		if (a == id)
			add_edge(g, a, b, (uint64_t)sqlite3_column_int64(st, 2), kind,
			    false);
		if (kind == FG_EDIT_JOIN)
			add_node(g, a == id ? b : a);
		else
			g->node[i].marked = true;
	}
	return rc;
}

static int
read_group(struct group *g, struct fg_err *err)
{
	for (size_t i = 0; i < g->n; i++) {
		if (read_node(g, i, err) < 0)
			return -1;
		if (!g->node[i].there)
			continue;
		if (read_evidence(g, g->node[i].id, err) < 0 ||
		    read_decisions(g, i, err) < 0)
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------- edges in their order */

static int
by_pair(const void *pa, const void *pb)
{
	const struct edge *a = pa, *b = pb;

	if (a->a != b->a)
		return a->a < b->a ? -1 : 1;
	if (a->b != b->b)
		return a->b < b->b ? -1 : 1;
	if (!a->kind != !b->kind)
		return a->kind ? -1 : 1; /* decisions first */
	if (a->late != b->late)
		return a->late ? 1 : -1;
	return a->weight > b->weight ? -1 : a->weight < b->weight;
}

static int
by_turn(const void *pa, const void *pb)
{
	const struct edge *a = pa, *b = pb;

	if (a->dropped != b->dropped)
		return a->dropped ? 1 : -1;
	if (!a->kind != !b->kind)
		return a->kind ? -1 : 1;
	if (a->late != b->late)
		return a->late ? 1 : -1;
	if (a->weight != b->weight)
		return (a->weight < b->weight) == (a->kind != 0) ? -1 : 1;
	if (a->a != b->a)
		return a->a < b->a ? -1 : 1;
	return a->b < b->b ? -1 : a->b > b->b;
}

/* Of each pair the first of by_pair counts: its newest decision, else its evidence. */
static void
settle_pairs(struct group *g)
{
	if (g->edges == 0)
		return;
	qsort(g->edge, g->edges, sizeof *g->edge, by_pair);
	for (size_t i = 1; i < g->edges; i++)
		g->edge[i].dropped = g->edge[i].a == g->edge[i - 1].a &&
				     g->edge[i].b == g->edge[i - 1].b;
}

static uint32_t
top(struct group *g, uint32_t i)
{
	while (g->node[i].up != i) {
		g->node[i].up = g->node[g->node[i].up].up;
		i = g->node[i].up;
	}
	return i;
}

static uint32_t
piece_of(struct group *g, uint32_t i)
{
	while (g->node[i].piece != i) {
		g->node[i].piece = g->node[g->node[i].piece].piece;
		i = g->node[i].piece;
	}
	return i;
}

/* Two pieces are tied together; the head with the lower index stays. */
static void
tie(struct group *g, uint32_t a, uint32_t b)
{
	uint32_t pa = piece_of(g, a), pb = piece_of(g, b);
	uint32_t head = FG_MIN(pa, pb), other = FG_MAX(pa, pb);

	g->node[other].piece = head;
	g->node[head].marked |= g->node[other].marked;
	g->node[head].gen = FG_MAX(g->node[head].gen, g->node[other].gen);
}

static void
hang_end(struct group *g, uint32_t at, uint32_t other)
{
	struct node *v = &g->node[at];
	uint32_t e = (uint32_t)g->ends++;

	g->end[e] = (struct end){.other = other, .next = v->cut};
	if (v->cut == NONE)
		v->tail = e;
	v->cut = e;
	v->cuts++;
}

static void
hang_cuts(struct group *g)
{
	g->end = fg_calloc(2 * g->edges + 1, sizeof *g->end);
	for (size_t i = 0; i < g->edges; i++) {
		struct edge *e = &g->edge[i];
		uint32_t a, b;

		if (e->kind != FG_EDIT_CUT || e->dropped)
			continue;
		e->dropped = true;
		a = find_node(g, e->a);
		b = find_node(g, e->b);
		if (a == NONE || b == NONE)
			continue;
		hang_end(g, a, b);
		hang_end(g, b, a);
	}
}

/* The end e, which follows `before` in the list of a, becomes its first. */
static void
move_to_front(struct group *g, uint32_t a, uint32_t before, uint32_t e)
{
	struct node *v = &g->node[a];

	if (before == NONE)
		return;
	g->end[before].next = g->end[e].next;
	if (v->tail == e)
		v->tail = before;
	g->end[e].next = v->cut;
	v->cut = e;
}

/* What is found is found at once the next time: many edges may be in vain because of
 * one cut, in a list as long as users like to make it. */
static bool
is_cut(struct group *g, uint32_t a, uint32_t b)
{
	uint32_t before = NONE;

	if (g->node[a].cuts > g->node[b].cuts) {
		uint32_t t = a;

		a = b;
		b = t;
	}
	for (uint32_t e = g->node[a].cut; e != NONE; e = g->end[e].next) {
		if (top(g, g->end[e].other) == b) {
			move_to_front(g, a, before, e);
			return true;
		}
		before = e;
	}
	return false;
}

static void
unite(struct group *g, uint32_t a, uint32_t b)
{
	struct node *v = &g->node[a], *w = &g->node[b];

	w->up = a;
	v->size += w->size;
	v->cuts += w->cuts;
	if (w->cut == NONE)
		return;
	if (v->cut == NONE)
		v->cut = w->cut;
	else
		g->end[v->tail].next = w->cut;
	v->tail = w->tail;
}

static void
join_all(struct group *g)
{
	for (size_t i = 0; i < g->n; i++)
		g->node[i].size = 1;
	settle_pairs(g);
	hang_cuts(g);
	if (g->edges > 0)
		qsort(g->edge, g->edges, sizeof *g->edge, by_turn);
	for (size_t i = 0; i < g->edges && !g->edge[i].dropped; i++) {
		uint32_t a = find_node(g, g->edge[i].a), b = find_node(g, g->edge[i].b);

		if (a == NONE || b == NONE || !g->node[a].there || !g->node[b].there)
			continue;
		tie(g, a, b);
		a = top(g, a);
		b = top(g, b);
		if (a == b || is_cut(g, a, b))
			continue;
		if (g->node[a].size >= g->node[b].size)
			unite(g, a, b);
		else
			unite(g, b, a);
	}
}

/* ------------------------------------------------------------- writing */

/* A component as it is now, at the index of its representative in memory. */
struct sum {
	uint64_t min, voxels, old_root;
	int64_t lo[3], hi[3];
	uint64_t size;
	bool mixed; /* its members had different representatives */
};

static void
add_up(struct group *g, struct sum *sum)
{
	for (size_t i = 0; i < g->n; i++) {
		const struct node *v = &g->node[i];
		struct sum *s = &sum[top(g, (uint32_t)i)];

		if (!v->there)
			continue;
		if (s->size == 0) {
			*s = (struct sum){.min = v->id, .old_root = v->old_root};
			memcpy(s->lo, v->lo, sizeof s->lo);
			memcpy(s->hi, v->hi, sizeof s->hi);
		}
		s->size++;
		s->min = FG_MIN(s->min, v->id);
		s->voxels += v->voxels;
		s->mixed |= v->old_root != s->old_root;
		for (int d = 0; d < 3; d++) {
			s->lo[d] = FG_MIN(s->lo[d], v->lo[d]);
			s->hi[d] = FG_MAX(s->hi[d], v->hi[d]);
		}
	}
}

/* How many members the component of that representative had before: its rows now. */
static int
old_size(struct group *g, uint64_t root, uint64_t *size, struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(g->ix, err,
	    "SELECT size FROM objects WHERE layer = ? AND id = ? AND parent = id", "ii",
	    (int64_t)g->layer, root);
	int rc = st ? fg_sql_step(g->ix, st, err) : -1;

	*size = 0; /* the representative is gone */
	if (rc <= 0)
		return rc;
	*size = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return 0;
}

static int
write_root(struct group *g, const struct sum *s, const struct node *head,
    int64_t gen_floor, struct fg_err *err)
{
	uint8_t lo[24], hi[24];
	int64_t gen = FG_MAX(head->gen, gen_floor) + 1;

	for (int d = 0; d < 3; d++) {
		fg_put_u64le(lo + 8 * d, (uint64_t)s->lo[d]);
		fg_put_u64le(hi + 8 * d, (uint64_t)s->hi[d]);
	}
	return fg_sql_run(g->ix, err,
	    "UPDATE objects SET size = ?, public = ?, all_voxels = ?, gen = ?,"
	    " all_lo = ?, all_hi = ?, cut = ? WHERE layer = ? AND id = ?",
	    "iiiibbiii", s->size, s->min, s->voxels, gen, lo, 24, hi, 24,
	    (int64_t)head->marked, (int64_t)g->layer, s->min);
}

static int
write_group(struct group *g, int64_t gen_floor, bool *changed, struct fg_err *err)
{
	struct sum *sum = fg_calloc(g->n + 1, sizeof *sum);
	bool *same = fg_calloc(g->n + 1, sizeof *same);
	uint64_t size;
	int rc = 0;

	add_up(g, sum);
	for (size_t i = 0; i < g->n && rc == 0; i++) {
		if (sum[i].size == 0)
			continue;
		rc = old_size(g, sum[i].old_root, &size, err);
		same[i] = !sum[i].mixed && size == sum[i].size;
	}
	/* All parents first: a representative's row is read by nobody meanwhile. */
	for (size_t i = 0; i < g->n && rc == 0; i++) {
		const struct node *v = &g->node[i];
		uint32_t t = top(g, (uint32_t)i);

		if (!v->there || same[t] || v->old_root == sum[t].min)
			continue;
		rc = fg_sql_run(g->ix, err,
		    "UPDATE objects SET parent = ? WHERE layer = ? AND id = ?", "iii",
		    sum[t].min, (int64_t)g->layer, v->id);
	}
	for (size_t i = 0; i < g->n && rc == 0; i++) {
		const struct node *head = &g->node[piece_of(g, (uint32_t)i)];

		if (sum[i].size == 0)
			continue;
		if (!same[i]) {
			*changed = true;
			rc = write_root(g, &sum[i], head, gen_floor, err);
		} else {
			rc = fg_sql_run(g->ix, err,
			    "UPDATE objects SET cut = ?1 WHERE layer = ?2 AND id = ?3"
			    " AND cut <> ?1",
			    "iii", (int64_t)head->marked, (int64_t)g->layer,
			    sum[i].old_root);
		}
	}
	free(sum);
	free(same);
	return rc;
}

int
fg_index_regroup(struct fg_index *ix, uint32_t layer, const struct fg_ids *seed,
    int64_t gen_floor, bool *changed, struct fg_err *err)
{
	struct group g = {.ix = ix, .layer = layer};
	int rc;

	for (size_t i = 0; i < seed->n; i++)
		add_node(&g, seed->id[i]);
	rc = read_group(&g, err);
	if (rc == 0) {
		join_all(&g);
		rc = write_group(&g, gen_floor, changed, err);
	}
	free(g.node);
	free(g.slot);
	free(g.edge);
	free(g.end);
	return rc;
}
