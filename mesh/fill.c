/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A map of the component's box, one layer larger where the block goes on. Background is
 * flooded from the map's sides; what is left is holes. With them, runs and distances
 * are made anew.
 */
#include "config.h"

#include "mesh/fill.h"

#include <stdlib.h>

#include "mesh/edt.h"

enum { UNKNOWN, INSIDE, OUTSIDE };

struct map {
	int64_t n[3];
	uint8_t *cell;
	uint32_t *stack;
	size_t top, room;
};

static int
mark(struct map *m, size_t at, struct fg_err *err)
{
	if (m->cell[at] != UNKNOWN)
		return 0;
	if (m->top == m->room) {
		size_t room = 2 * m->room + 4096;
		uint32_t *p = realloc(m->stack, room * sizeof *p);

		if (!p)
			return fg_fail(err, FG_ENOMEM, "no memory to fill holes");
		m->stack = p;
		m->room = room;
	}
	m->cell[at] = OUTSIDE;
	m->stack[m->top++] = (uint32_t)at;
	return 0;
}

static int
flood(struct map *m, struct fg_err *err)
{
	const int64_t *n = m->n, step[3] = {1, n[0], n[0] * n[1]};

	for (int64_t z = 0; z < n[2]; z++) {
		for (int64_t y = 0; y < n[1]; y++) {
			bool side = y == 0 || y == n[1] - 1 || z == 0 || z == n[2] - 1;
			int64_t jump = side ? 1 : FG_MAX(n[0] - 1, 1);

			for (int64_t x = 0; x < n[0]; x += jump) {
				if (mark(m, (size_t)(x + n[0] * (y + n[1] * z)), err) <
				    0)
					return -1;
			}
		}
	}
	while (m->top > 0) {
		int64_t at = m->stack[--m->top];
		const int64_t p[3] = {at % n[0], at / n[0] % n[1], at / step[2]};

		for (int d = 0; d < 3; d++) {
			if (p[d] > 0 && mark(m, (size_t)(at - step[d]), err) < 0)
				return -1;
			if (p[d] + 1 < n[d] && mark(m, (size_t)(at + step[d]), err) < 0)
				return -1;
		}
	}
	return 0;
}

/* Runs of all that is not outside. */
static int
make_runs(const struct map *m, struct fg_filled *f, struct fg_err *err)
{
	const int64_t *n = m->n;
	size_t count = 0, room = 0;

	f->component.voxels = 0;
	for (int64_t r = 0; r < n[1] * n[2]; r++) {
		const uint8_t *row = m->cell + n[0] * r;

		for (int64_t a = 0, b; a < n[0]; a = b) {
			for (b = a + 1;
			     b < n[0] && (row[b] == OUTSIDE) == (row[a] == OUTSIDE);
			     b++)
				;
			if (row[a] == OUTSIDE)
				continue;
			if (count == room) {
				room = 2 * room + 1024;
				struct fg_run *p =
				    realloc(f->run, room * sizeof *f->run);
				if (!p)
					return fg_fail(err, FG_ENOMEM,
					    "no memory to fill holes");
				f->run = p;
			}
			f->run[count++] = (struct fg_run){(int32_t)(a + f->at[0]),
			    (int32_t)(b + f->at[0]), (int32_t)(r % n[1] + f->at[1]),
			    (int32_t)(r / n[1] + f->at[2])};
			f->component.voxels += (size_t)(b - a);
		}
	}
	f->component.first_run = 0;
	f->component.runs = count;
	return 0;
}

static int
make_distances(const struct map *m, const double nm[3], struct fg_filled *f,
    struct fg_err *err)
{
	struct fg_array label,
	    dbf = {.dtype = FG_F32, .shape = {m->n[0], m->n[1], m->n[2], 1}};
	size_t n = fg_array_count(&dbf);

	if (fg_array_init(&label, FG_U32, dbf.shape, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++)
		((uint32_t *)label.data)[i] = m->cell[i] != OUTSIDE;
	f->dbf = dbf.data = fg_try_alloc(n, sizeof *f->dbf);
	int rc = f->dbf ? fg_edt_make(&label, nm, false, &dbf, err)
			: fg_fail(err, FG_ENOMEM, "no memory to fill holes");
	fg_array_fini(&label);
	return rc;
}

int
fg_fill_holes(const struct fg_component *c, const struct fg_run *run,
    const int64_t n[3], const double nm[3], struct fg_filled *out, struct fg_err *err)
{
	struct fg_filled f = {.component = *c};
	struct map m = {0};
	size_t cells = 1;
	int rc = -1;

	for (int d = 0; d < 3; d++) {
		f.at[d] = FG_MAX(c->lo[d] - 1, 0);
		m.n[d] = FG_MIN(c->hi[d] + 1, n[d]) - f.at[d];
		f.shape[d] = m.n[d];
		cells *= (size_t)m.n[d];
	}
	if (cells > UINT32_MAX)
		return fg_fail(err, FG_ENOTSUP, "a box of 2^32 voxels to fill");
	m.cell = calloc(cells, 1);
	if (!m.cell)
		return fg_fail(err, FG_ENOMEM, "no memory to fill holes");
	for (size_t i = 0; i < c->runs; i++) {
		const struct fg_run *r = &run[c->first_run + i];

		memset(m.cell + (r->x0 - f.at[0]) +
			   m.n[0] * (r->y - f.at[1] + m.n[1] * (r->z - f.at[2])),
		    INSIDE, (size_t)(r->x1 - r->x0));
	}
	if (flood(&m, err) < 0)
		goto out;
	for (size_t i = 0; i < cells; i++)
		f.holes += m.cell[i] == UNKNOWN;
	if (f.holes &&
	    (make_runs(&m, &f, err) < 0 || make_distances(&m, nm, &f, err) < 0))
		goto out;
	*out = f;
	rc = 0;
out:
	if (rc < 0)
		fg_filled_fini(&f);
	free(m.cell);
	free(m.stack);
	return rc;
}

void
fg_filled_fini(struct fg_filled *f)
{
	free(f->run);
	free(f->dbf);
	*f = (struct fg_filled){0};
}
