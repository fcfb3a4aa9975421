/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The skeletons of a block: labels renumbered, components found, distances of all in
 * one transform, targets on the faces, then each component that is no dust by itself
 * (mesh/tree.c). Components come in the order of their labels, so the trees of one
 * label are put together as they are made.
 */
#include "config.h"

#include "mesh/skeleton.h"

#include <math.h>
#include <stdlib.h>

#include "mesh/border.h"
#include "mesh/components.h"
#include "mesh/edt.h"
#include "mesh/fill.h"
#include "mesh/section.h"
#include "mesh/tree.h"

/* A component with a larger box has its map in the field of distances. For others, a
 * map of their own is closer together. */
#define ROOM_CELLS ((size_t)2 << 20)

struct work {
	const struct fg_skeleton_params *p;
	struct fg_labels labels;
	struct fg_components components;
	float *dbf; /* of the block and a layer of zeros round it */
	struct fg_target *target;
	size_t targets;
	struct fg_tree_room room;
	size_t *mine;       /* targets of the component at hand */
	uint32_t *by_label; /* components, ascending by label */
	struct fg_section section;
};

static int
check_params(const struct fg_array *labels, const struct fg_skeleton_params *p,
    struct fg_err *err)
{
	const double least[] = {p->scale, p->const_nm, p->pdrf_scale, p->pdrf_exponent,
	    p->soma_invalidation_scale, p->soma_invalidation_const};
	double n = 1;

	for (int d = 0; d < 3; d++) {
		if (!(p->nm[d] >= FG_EDT_NM_MIN && p->nm[d] <= FG_EDT_NM_MAX))
			return fg_fail(err, FG_EINVAL, "voxels are %g nm along axis %d",
			    p->nm[d], d);
		n *= (double)labels->shape[d] + 2;
	}
	for (size_t i = 0; i < FG_COUNTOF(least); i++) {
		if (!isfinite(least[i]) || least[i] < 0)
			return fg_fail(err, FG_EINVAL,
			    "skeleton parameter %g is negative or no number", least[i]);
	}
	if (p->cross_sectional_area && p->cross_sectional_area_smoothing_window < 1)
		return fg_fail(err, FG_EINVAL,
		    "a direction cannot be taken over no steps");
	/* Numbers of voxels share their words with a bit (FG_TREE_OURS). */
	if (n > INT32_MAX)
		return fg_fail(err, FG_EINVAL, "the block has 2^31 voxels or more");
	return 0;
}

static bool
is_skipped(const struct work *w, const struct fg_component *c)
{
	const int64_t *n = w->labels.shape;

	for (int d = 0; d < 3; d++) {
		if (w->p->shared_upper >> d & 1 && n[d] > 1 && c->lo[d] == n[d] - 1)
			return true;
	}
	return c->voxels <= w->p->dust_threshold;
}

/* What lies dense gets a layer of zeros on all sides, in the same place: rows are moved
 * from the last to the first. */
static void
pad(float *f, const int64_t n[3])
{
	const int64_t row = n[0] + 2, layer = row * (n[1] + 2);
	float *end = f + layer * (n[2] + 2);

	for (int64_t z = n[2]; z-- > 0;) {
		for (int64_t y = n[1]; y-- > 0;) {
			float *to = f + 1 + row * (y + 1) + layer * (z + 1);

			memmove(to, f + n[0] * (y + n[1] * z),
			    (size_t)n[0] * sizeof *f);
			memset(to + n[0], 0, (size_t)(end - to - n[0]) * sizeof *f);
			end = to;
		}
	}
	memset(f, 0, (size_t)(end - f) * sizeof *f);
}

/* Distances of components are those of their labels: where two components of one label
 * are near each other, a voxel between them is nearer. So plain labels are taken as
 * they are, and the components' numbers may be gone. A block that is full of one label
 * has no other border than its faces. */
static int
fill_distances(struct work *w, const struct fg_array *labels, struct fg_err *err)
{
	const int64_t *n = w->labels.shape;
	struct fg_array dense = {.dtype = FG_U32,
	    .shape = {n[0], n[1], n[2], 1},
	    .data = w->labels.dense};
	struct fg_array dbf = {.dtype = FG_F32, .shape = {n[0], n[1], n[2], 1}};
	bool full = w->components.count == 1 &&
		    w->components.component[1].voxels == fg_array_count(&dense);

	w->dbf = fg_try_alloc((size_t)((n[0] + 2) * (n[1] + 2) * (n[2] + 2)),
	    sizeof *w->dbf);
	if (!w->dbf)
		return fg_fail(err, FG_ENOMEM, "no memory for distances");
	dbf.data = w->dbf;
	if (fg_edt_make(dense.data ? &dense : labels, w->p->nm, full, &dbf, err) < 0)
		return -1;
	pad(w->dbf, n);
	return 0;
}

static size_t
cells_of(const struct fg_component *c)
{
	size_t cells = 1;

	for (int d = 0; d < 3; d++)
		cells *= (size_t)(c->hi[d] - c->lo[d] + 2);
	return cells;
}

/* One map for all components but the large ones. */
static int
make_room(struct work *w, struct fg_err *err)
{
	for (uint32_t k = 1; k <= w->components.count; k++) {
		const struct fg_component *c = &w->components.component[k];

		if (!is_skipped(w, c) && cells_of(c) <= ROOM_CELLS)
			w->room.cells = FG_MAX(w->room.cells, cells_of(c));
	}
	w->room.map = calloc(w->room.cells + 1, sizeof *w->room.map);
	w->mine = calloc(w->targets + 1, sizeof *w->mine);
	if (!w->room.map || !w->mine)
		return fg_fail(err, FG_ENOMEM, "no memory for skeletons");
	return 0;
}

static void
drop_dense(struct work *w)
{
	free(w->labels.dense);
	w->labels.dense = NULL;
}

static int
prepare(struct work *w, const struct fg_array *labels, struct fg_err *err)
{
	const struct fg_skeleton_params *p = w->p;

	if (fg_labels_init(&w->labels, labels, p->only, p->only_count, NULL, NULL,
		err) < 0 ||
	    fg_components_find(&w->labels, &w->components, err) < 0)
		return -1;
	if (p->fix_borders && fg_border_find(w->labels.dense, w->labels.shape, p->nm,
				  p->border_faces, &w->target, &w->targets, err) < 0)
		return -1;
	if (labels->dtype == FG_U32 && !p->cross_sectional_area)
		drop_dense(w);
	if (fill_distances(w, labels, err) < 0)
		return -1;
	if (p->cross_sectional_area) {
		w->section.label = w->labels.dense;
		for (int d = 0; d < 3; d++) {
			w->section.n[d] = w->labels.shape[d];
			w->section.nm[d] = p->nm[d];
			w->section.origin_vx[d] = p->origin_vx[d];
		}
	} else {
		drop_dense(w);
	}
	return make_room(w, err);
}

/* Components ordered by label: by_label[k] for k < count. */
struct entry {
	uint64_t label;
	uint32_t component;
};

static int
by_label(const void *a, const void *b)
{
	const struct entry *p = a, *q = b;

	if (p->label != q->label)
		return p->label < q->label ? -1 : 1;
	return (p->component > q->component) - (p->component < q->component);
}

static int
sort_components(struct work *w, struct fg_err *err)
{
	uint32_t n = w->components.count;
	struct entry *e = calloc(n + 1, sizeof *e);

	w->by_label = calloc(n + 1, sizeof *w->by_label);
	if (!e || !w->by_label) {
		free(e);
		return fg_fail(err, FG_ENOMEM, "no memory for %u components", n);
	}
	for (uint32_t k = 1; k <= n; k++)
		e[k - 1] =
		    (struct entry){w->labels.id[w->components.component[k].number], k};
	qsort(e, n, sizeof *e, by_label);
	for (uint32_t k = 0; k < n; k++)
		w->by_label[k] = e[k].component;
	free(e);
	return 0;
}

/* The targets of component k are put into w->mine; their number. */
static size_t
find_targets(struct work *w, uint32_t k)
{
	size_t lo = 0, hi = w->targets, n = 0;

	while (lo < hi) {
		size_t middle = lo + (hi - lo) / 2;

		if (w->target[middle].component < k)
			lo = middle + 1;
		else
			hi = middle;
	}
	for (; lo < w->targets && w->target[lo].component == k; lo++)
		w->mine[n++] = w->target[lo].voxel;
	return n;
}

static bool
is_thick(const struct work *w, const struct fg_component *c)
{
	const int64_t *n = w->labels.shape;
	const float limit = (float)w->p->soma_detection_threshold;

	for (size_t i = 0; i < c->runs; i++) {
		const struct fg_run *r = &w->components.run[c->first_run + i];
		const float *dbf =
		    w->dbf + 1 + (n[0] + 2) * (r->y + 1 + (n[1] + 2) * (r->z + 1));

		for (int64_t x = r->x0; x < r->x1; x++) {
			if (dbf[x] > limit)
				return true;
		}
	}
	return false;
}

/* Areas of the vertices and edges that component k has brought, those from v0 and e0
 * on. */
static int
measure(struct work *w, uint32_t k, size_t v0, size_t e0, struct fg_tree_out *o,
    struct fg_err *err)
{
	size_t n = o->vertices - v0;
	float *area = realloc(o->area, o->vertices * sizeof *area + 1);

	if (area)
		o->area = area;
	uint8_t *contacts = area ? realloc(o->contacts, o->vertices + 1) : NULL;
	if (contacts)
		o->contacts = contacts;
	uint32_t *edge = fg_try_alloc(2 * (o->edges - e0), sizeof *edge);
	if (!area || !contacts || !edge) {
		free(edge);
		return fg_fail(err, FG_ENOMEM, "no memory for areas");
	}
	for (size_t i = 0; i < 2 * (o->edges - e0); i++)
		edge[i] = o->edge[2 * e0 + i] - (uint32_t)v0;
	int rc = fg_section_measure(&w->section, k, o->xyz + 3 * v0, n, edge,
	    o->edges - e0, w->p->cross_sectional_area_smoothing_window, w->p->cancel,
	    o->area + v0, o->contacts + v0, err);
	free(edge);
	return rc;
}

static int
trace(struct work *w, uint32_t k, struct fg_tree_out *o, struct fg_err *err)
{
	const struct fg_component *c = &w->components.component[k];
	const struct fg_run *run = w->components.run;
	const int64_t *n = w->labels.shape;
	struct fg_tree_field field = {.dbf = w->dbf,
	    .at = {-1, -1, -1},
	    .n = {n[0] + 2, n[1] + 2, n[2] + 2},
	    .padded = true};
	struct fg_filled filled = {0};
	struct fg_tree_room own = {0}, *room = &w->room;
	size_t targets = find_targets(w, k), v0 = o->vertices, e0 = o->edges;
	int rc = -1;

	if (is_skipped(w, c))
		return 0;
	if (is_thick(w, c) && fg_fill_holes(c, run, n, w->p->nm, &filled, err) < 0)
		return -1;
	if (filled.holes) {
		c = &filled.component;
		run = filled.run;
		field.dbf = filled.dbf;
		memcpy(field.at, filled.at, sizeof field.at);
		memcpy(field.n, filled.shape, sizeof field.n);
		field.padded = false;
	}
	if (cells_of(c) > w->room.cells && field.padded) {
		room = NULL;
	} else if (cells_of(c) > w->room.cells) {
		own.cells = cells_of(c);
		own.map = calloc(own.cells + 1, sizeof *own.map);
		room = &own;
		if (!own.map) {
			fg_fail(err, FG_ENOMEM, "no memory for a skeleton");
			goto out;
		}
	}
	if (fg_tree_trace(c, run, &field, n, w->mine, targets, w->p, room, o, err) < 0)
		goto out;
	if (w->p->cross_sectional_area && measure(w, k, v0, e0, o, err) < 0)
		goto out;
	rc = 0;
out:
	free(own.map);
	fg_filled_fini(&filled);
	return rc;
}

static void
drop_out(struct fg_tree_out *o)
{
	free(o->xyz);
	free(o->radius);
	free(o->edge);
	free(o->area);
	free(o->contacts);
	*o = (struct fg_tree_out){0};
}

/* The trees of one label, if there are any, become a skeleton. */
static int
put(struct fg_skeletons *s, uint64_t label, struct fg_tree_out *o, struct fg_err *err)
{
	struct fg_skeleton *p;

	if (o->edges == 0) {
		drop_out(o);
		return 0;
	}
	if (o->vertices > UINT32_MAX - 1)
		return fg_fail(err, FG_EFULL, "the skeleton has too many vertices");
	p = realloc(s->skeleton, (s->count + 1) * sizeof *p);
	if (!p)
		return fg_fail(err, FG_ENOMEM, "no memory for skeletons");
	s->skeleton = p;
	p[s->count++] = (struct fg_skeleton){.label = label,
	    .vertices = (uint32_t)o->vertices,
	    .edges = (uint32_t)o->edges,
	    .xyz = o->xyz,
	    .radius = o->radius,
	    .edge = o->edge,
	    .area = o->area,
	    .contacts = o->contacts};
	*o = (struct fg_tree_out){0};
	return 0;
}

int
fg_skeletons_make(const struct fg_array *labels, const struct fg_skeleton_params *p,
    struct fg_skeletons *out, struct fg_err *err)
{
	struct work w = {.p = p};
	struct fg_skeletons s = {0};
	struct fg_tree_out o = {0};
	int rc = -1;

	if (check_params(labels, p, err) < 0)
		return -1;
	if (prepare(&w, labels, err) < 0 || sort_components(&w, err) < 0)
		goto out;
	for (uint32_t i = 0; i < w.components.count; i++) {
		const struct fg_component *c = w.components.component;
		uint32_t number = c[w.by_label[i]].number;

		if (trace(&w, w.by_label[i], &o, err) < 0)
			goto out;
		if (i + 1 == w.components.count ||
		    c[w.by_label[i + 1]].number != number) {
			if (put(&s, w.labels.id[number], &o, err) < 0)
				goto out;
		}
	}
	*out = s;
	rc = 0;
out:
	if (rc < 0)
		fg_skeletons_fini(&s);
	drop_out(&o);
	fg_section_fini(&w.section);
	free(w.target);
	free(w.mine);
	free(w.by_label);
	free(w.room.map);
	free(w.dbf);
	fg_components_fini(&w.components);
	fg_labels_fini(&w.labels);
	return rc;
}

static int
by_skeleton_label(const void *a, const void *b)
{
	const struct fg_skeleton *p = a, *q = b;

	return (p->label > q->label) - (p->label < q->label);
}

const struct fg_skeleton *
fg_skeletons_find(const struct fg_skeletons *s, uint64_t label)
{
	struct fg_skeleton key = {.label = label};

	return s->count
		   ? bsearch(&key, s->skeleton, s->count, sizeof key, by_skeleton_label)
		   : NULL;
}

void
fg_skeletons_fini(struct fg_skeletons *s)
{
	for (size_t i = 0; i < s->count; i++)
		fg_skeleton_fini(&s->skeleton[i]);
	free(s->skeleton);
	*s = (struct fg_skeletons){0};
}
