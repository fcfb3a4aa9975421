/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of equal labels are the unit: each is joined (union-find) with runs of the same
 * label in the four earlier rows next to its own that lie within one voxel of it. Rows
 * are walked side by side, so the cost is the number of runs.
 */
#include "config.h"

#include "mesh/components.h"

#include <stdlib.h>

#include "base/union.h"

struct work {
	const struct fg_labels *labels;
	struct fg_run *run;
	uint32_t *number; /* label of each run */
	uint32_t *parent;
	size_t *row; /* first run of each row; one entry more */
	size_t runs, room;
};

static int
grow(struct work *w, struct fg_err *err)
{
	size_t room = w->room + w->room / 2 + 4096;
	void *run, *number;

	if (room > UINT32_MAX)
		return fg_fail(err, FG_ENOTSUP,
		    "more than %u runs of labels in a block", UINT32_MAX);
	run = realloc(w->run, room * sizeof *w->run);
	if (run)
		w->run = run;
	number = realloc(w->number, room * sizeof *w->number);
	if (number)
		w->number = number;
	if (!run || !number)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu runs", room);
	w->room = room;
	return 0;
}

static int
find_runs(struct work *w, struct fg_err *err)
{
	const int64_t *n = w->labels->shape;
	const uint32_t *label = w->labels->dense;
	size_t r = 0;

	for (int64_t z = 0; z < n[2]; z++) {
		for (int64_t y = 0; y < n[1]; y++, label += n[0]) {
			w->row[r++] = w->runs;
			for (int64_t a = 0, b; a < n[0]; a = b) {
				for (b = a + 1; b < n[0] && label[b] == label[a]; b++)
					;
				if (!label[a])
					continue;
				if (w->runs == w->room && grow(w, err) < 0)
					return -1;
				w->number[w->runs] = label[a];
				w->run[w->runs++] = (struct fg_run){(int32_t)a,
				    (int32_t)b, (int32_t)y, (int32_t)z};
			}
		}
	}
	w->row[r] = w->runs;
	return 0;
}

/* Join two runs if they have one label and touch, also by a corner. */
static void
join_runs(struct work *w, size_t i, size_t j)
{
	const struct fg_run *p = &w->run[i], *q = &w->run[j];

	if (w->number[i] != w->number[j] || p->x0 > q->x1 || q->x0 > p->x1)
		return;
	fg_union_join(w->parent, (uint32_t)i, (uint32_t)j);
}

static void
join_rows(struct work *w, size_t a, size_t b)
{
	size_t i = w->row[a], j = w->row[b];

	while (i < w->row[a + 1] && j < w->row[b + 1]) {
		join_runs(w, i, j);
		/* Runs that end together both touch the other's successor. */
		if (w->run[i].x1 == w->run[j].x1 && i + 1 < w->row[a + 1])
			join_runs(w, i + 1, j);
		if (w->run[i].x1 < w->run[j].x1)
			i++;
		else
			j++;
	}
}

static void
join_all(struct work *w)
{
	const int64_t *n = w->labels->shape;

	for (int64_t z = 0; z < n[2]; z++) {
		for (int64_t y = 0; y < n[1]; y++) {
			size_t r = (size_t)(y + n[1] * z);

			if (y > 0)
				join_rows(w, r - 1, r);
			if (z == 0)
				continue;
			for (int64_t d = -1; d <= 1; d++) {
				if (y + d >= 0 && y + d < n[1])
					join_rows(w, (size_t)((int64_t)r - n[1] + d),
					    r);
			}
		}
	}
}

/* parent becomes the component of each run; they are measured. */
static int
number_components(struct work *w, struct fg_components *c, struct fg_err *err)
{
	size_t room = 1;

	for (size_t i = 0; i < w->runs; i++)
		room += w->parent[i] == i;
	c->component = calloc(room, sizeof *c->component);
	if (!c->component)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu components", room);
	for (size_t i = 0; i < w->runs; i++) {
		const struct fg_run *r = &w->run[i];
		const int64_t lo[3] = {r->x0, r->y, r->z};
		const int64_t hi[3] = {r->x1, r->y + 1, r->z + 1};
		/* Parents have smaller numbers and are renumbered already. */
		bool new = w->parent[i] == i;
		uint32_t k = new ? ++c->count : w->parent[w->parent[i]];
		struct fg_component *o = &c->component[k];

		w->parent[i] = k;
		for (int d = 0; d < 3; d++) {
			o->lo[d] = new ? lo[d] : FG_MIN(o->lo[d], lo[d]);
			o->hi[d] = new ? hi[d] : FG_MAX(o->hi[d], hi[d]);
		}
		o->number = w->number[i];
		o->voxels += (size_t)(r->x1 - r->x0);
		o->runs++;
	}
	return 0;
}

static int
group_runs(struct work *w, struct fg_labels *l, struct fg_components *c,
    struct fg_err *err)
{
	size_t first = 0;

	c->run = fg_try_alloc(w->runs, sizeof *c->run);
	if (!c->run)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu runs", w->runs);
	for (uint32_t k = 1; k <= c->count; k++) {
		c->component[k].first_run = first;
		first += c->component[k].runs;
		c->component[k].runs = 0;
	}
	for (size_t i = 0; i < w->runs; i++) {
		const struct fg_run *r = &w->run[i];
		struct fg_component *o = &c->component[w->parent[i]];
		uint32_t *to = l->dense + l->shape[0] * (r->y + l->shape[1] * r->z);

		c->run[o->first_run + o->runs++] = *r;
		for (int32_t x = r->x0; x < r->x1; x++)
			to[x] = w->parent[i];
	}
	return 0;
}

int
fg_components_find(struct fg_labels *l, struct fg_components *out, struct fg_err *err)
{
	struct work w = {.labels = l};
	struct fg_components c = {0};
	int rc = -1;

	w.row = fg_try_alloc((size_t)(l->shape[1] * l->shape[2]) + 1, sizeof *w.row);
	if (!w.row) {
		fg_fail(err, FG_ENOMEM, "no memory for components");
		goto out;
	}
	if (find_runs(&w, err) < 0)
		goto out;
	w.parent = fg_try_alloc(w.runs, sizeof *w.parent);
	if (!w.parent) {
		fg_fail(err, FG_ENOMEM, "no memory for %zu runs", w.runs);
		goto out;
	}
	for (size_t i = 0; i < w.runs; i++)
		w.parent[i] = (uint32_t)i;
	join_all(&w);
	for (size_t i = 0; i < w.runs; i++)
		w.parent[i] = fg_union_top(w.parent, (uint32_t)i);
	if (number_components(&w, &c, err) < 0 || group_runs(&w, l, &c, err) < 0)
		goto out;
	*out = c;
	rc = 0;
out:
	if (rc < 0)
		fg_components_fini(&c);
	free(w.run);
	free(w.number);
	free(w.parent);
	free(w.row);
	return rc;
}

void
fg_components_fini(struct fg_components *c)
{
	free(c->component);
	free(c->run);
	*c = (struct fg_components){0};
}
