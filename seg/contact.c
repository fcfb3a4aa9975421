/* SPDX-License-Identifier: Apache-2.0 */
/* Where objects touch: see the header. Faces are listed, sorted by pair, and each run
 * of a pair is looked through twice: for the closest places, and for the middle of
 * them. */
#include "config.h"

#include "seg/contact.h"

#include <stdlib.h>

struct face {
	uint64_t a, b;
	uint32_t at;   /* lower voxel */
	uint16_t away; /* steps that both sides grew */
};

struct grown {
	const int64_t *shape;
	uint64_t *label;
	uint8_t *step; /* 0: was there from the start */
};

struct faces {
	struct face *list;
	size_t n, cap;
};

static int64_t
stride_of(const struct grown *g, int d)
{
	return d == 0 ? 1 : d == 1 ? g->shape[0] : g->shape[0] * g->shape[1];
}

/* The lowest label that step `now` - 1 put or left beside voxel i. */
static uint64_t
neighbour(const struct grown *g, const int64_t p[3], int64_t i, int now)
{
	uint64_t best = 0;

	for (int d = 0; d < 3; d++) {
		for (int side = -1; side <= 1; side += 2) {
			int64_t q = p[d] + side, k = i + side * stride_of(g, d);

			if (q < 0 || q >= g->shape[d] || g->label[k] == 0 ||
			    g->step[k] >= now)
				continue;
			if (best == 0 || g->label[k] < best)
				best = g->label[k];
		}
	}
	return best;
}

static void
grow_once(struct grown *g, int now)
{
	int64_t p[3], i = 0;

	for (p[2] = 0; p[2] < g->shape[2]; p[2]++) {
		for (p[1] = 0; p[1] < g->shape[1]; p[1]++) {
			for (p[0] = 0; p[0] < g->shape[0]; p[0]++, i++) {
				uint64_t v;

				if (g->label[i] != 0)
					continue;
				v = neighbour(g, p, i, now);
				if (v == 0)
					continue;
				g->label[i] = v;
				g->step[i] = (uint8_t)now;
			}
		}
	}
}

static bool
add_face(struct faces *f, const struct grown *g, int64_t i, int64_t k)
{
	uint64_t a = g->label[i], b = g->label[k];

	if (f->n == f->cap) {
		struct face *more;

		f->cap = FG_MAX(2 * f->cap, (size_t)1024);
		more = fg_try_alloc(f->cap, sizeof *more);
		if (more && f->n > 0)
			memcpy(more, f->list, f->n * sizeof *more);
		free(f->list);
		f->list = more;
		if (!more)
			return false;
	}
	f->list[f->n++] = (struct face){
	    .a = FG_MIN(a, b),
	    .b = FG_MAX(a, b),
	    .at = (uint32_t)i,
	    .away = (uint16_t)(g->step[i] + g->step[k]),
	};
	return true;
}

static bool
list_faces(struct faces *f, const struct grown *g, const struct fg_box *own)
{
	int64_t p[3];

	for (p[2] = own->lo[2]; p[2] < own->hi[2]; p[2]++) {
		for (p[1] = own->lo[1]; p[1] < own->hi[1]; p[1]++) {
			for (p[0] = own->lo[0]; p[0] < own->hi[0]; p[0]++) {
				int64_t i =
				    (p[2] * g->shape[1] + p[1]) * g->shape[0] + p[0];

				for (int d = 0; d < 3; d++) {
					int64_t k = i + stride_of(g, d);

					if (p[d] + 1 >= g->shape[d] ||
					    g->label[i] == 0 || g->label[k] == 0 ||
					    g->label[i] == g->label[k])
						continue;
					if (!add_face(f, g, i, k))
						return false;
				}
			}
		}
	}
	return true;
}

static int
by_pair(const void *px, const void *py)
{
	const struct face *x = px, *y = py;

	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	if (x->b != y->b)
		return x->b < y->b ? -1 : 1;
	if (x->away != y->away)
		return x->away < y->away ? -1 : 1;
	return x->at < y->at ? -1 : x->at > y->at;
}

static void
voxel_of(const struct grown *g, uint32_t at, int64_t p[3])
{
	p[0] = at % g->shape[0];
	p[1] = at / g->shape[0] % g->shape[1];
	p[2] = at / g->shape[0] / g->shape[1];
}

/* The place of n faces of one pair, of which the closest come first. */
static void
choose_place(const struct grown *g, const struct face *f, size_t n,
    struct fg_contact_place *out)
{
	double sum[3] = {0, 0, 0}, best = 0;
	size_t close = 0;
	int64_t p[3];

	for (; close < n && f[close].away == f[0].away; close++) {
		voxel_of(g, f[close].at, p);
		for (int d = 0; d < 3; d++)
			sum[d] += (double)p[d];
	}
	for (size_t i = 0; i < close; i++) {
		double off = 0;

		voxel_of(g, f[i].at, p);
		for (int d = 0; d < 3; d++) {
			double e = (double)p[d] - sum[d] / (double)close;

			off += e * e;
		}
		if (i == 0 || off < best) {
			best = off;
			memcpy(out->vx, p, sizeof out->vx);
		}
	}
	out->a = f[0].a;
	out->b = f[0].b;
	out->faces = n;
}

int
fg_contact_find(const struct fg_array *labels, const struct fg_box *own, int64_t reach,
    uint64_t faces_min, struct fg_contact_place **out, size_t *n, struct fg_err *err)
{
	size_t voxels = fg_array_count(labels), kept = 0;
	struct grown g = {.shape = labels->shape};
	struct fg_contact_place *list = NULL;
	struct faces f = {0};
	int rc = -1;

	fg_assert(labels->dtype == FG_U64 && reach >= 0 && reach <= 100);
	if (voxels >= INT32_MAX)
		return fg_fail(err, FG_EINVAL, "%zu voxels are too many to look at",
		    voxels);
	g.label = fg_try_alloc(voxels + 1, sizeof *g.label);
	g.step = fg_try_alloc(voxels + 1, 1);
	if (!g.label || !g.step)
		goto out;
	memcpy(g.label, labels->data, voxels * sizeof *g.label);
	memset(g.step, 0, voxels);
	for (int i = 1; i <= reach; i++)
		grow_once(&g, i);
	if (!list_faces(&f, &g, own))
		goto out;
	if (f.n > 0)
		qsort(f.list, f.n, sizeof *f.list, by_pair);
	list = fg_try_alloc(f.n + 1, sizeof *list);
	if (!list)
		goto out;
	for (size_t i = 0, end; i < f.n; i = end) {
		for (end = i + 1; end < f.n && f.list[end].a == f.list[i].a &&
				  f.list[end].b == f.list[i].b;
		     end++)
			;
		if (end - i >= faces_min)
			choose_place(&g, &f.list[i], end - i, &list[kept++]);
	}
	*out = list;
	*n = kept;
	rc = 0;
out:
	if (rc < 0)
		fg_fail(err, FG_ENOMEM, "no memory to look for contacts");
	free(g.label);
	free(g.step);
	free(f.list);
	return rc;
}
