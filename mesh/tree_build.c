/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The arrays of one component, and geodesic distances in it: Dijkstra's algorithm with
 * a ring of buckets as wide as the shortest step, in which any order is right (Dial
 * 1969; Dinic 1978). A voxel that is improved later is simply queued again, so a ring
 * that had to be coarse is only slower.
 */
#include "config.h"

#include "mesh/tree_heap.h"

#include <math.h>
#include <stdlib.h>

#define RING 4096 /* most buckets; beyond that they get wider */

struct bucket {
	uint32_t *v;
	size_t count, room;
};

struct ring {
	struct bucket *bucket;
	size_t size, pending;
	double width;
};

/* --- geodesic distances */

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

static int
spread_bucket(struct fg_tree *t, struct ring *r, size_t turn, struct fg_err *err)
{
	float *dist = t->daf;
	struct bucket *b = &r->bucket[turn % r->size];

	for (size_t i = 0; i < b->count; i++) {
		uint32_t v = b->v[i];
		const fg_tree_cell *map = t->map + t->cell[v];
		float d = dist[v];

		r->pending--;
		/* Improved since, and done in an earlier bucket. */
		if ((size_t)((double)d / r->width) < turn)
			continue;
		for (int k = 0; k < 26; k++) {
			uint32_t u = map[t->off[k]];
			float there;

			if (!(u & FG_TREE_OURS))
				continue;
			u ^= FG_TREE_OURS;
			if (!((there = d + t->step[k]) < dist[u]))
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

int
fg_tree_geodesic(struct fg_tree *t, uint32_t from, double radius, struct fg_err *err)
{
	float *dist = t->daf;
	const double *nm = t->p->nm;
	double least = fmin(nm[0], fmin(nm[1], nm[2]));
	double most = sqrt(nm[0] * nm[0] + nm[1] * nm[1] + nm[2] * nm[2]);
	struct ring r = {.width = fmax(least, most / (RING - 4))};
	int64_t a[3], b[3];
	int rc = -1;

	r.size = (size_t)(most / r.width) + 3;
	r.bucket = fg_calloc(r.size, sizeof *r.bucket);
	fg_tree_place(t, from, a);
	for (uint32_t v = 0; v < t->n; v++) {
		double d2 = v == from ? 0 : INFINITY;

		if (radius > 0) {
			fg_tree_place(t, v, b);
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
		if (spread_bucket(t, &r, turn, err) < 0)
			goto out;
	}
	rc = 0;
out:
	for (size_t i = 0; i < r.size; i++)
		free(r.bucket[i].v);
	free(r.bucket);
	return rc;
}

/* The distances again, with one queue, up to the first that is `most`. *at: that one;
 * left as it is, one of them, should none be met. */
static int
search_again(struct fg_tree *t, uint32_t from, float most, uint32_t *at,
    struct fg_err *err)
{
	float *dist = t->daf;

	for (uint32_t v = 0; v < t->n; v++)
		dist[v] = INFINITY;
	dist[from] = 0;
	t->heap.count = 0;
	if (fg_tree_push(&t->heap, 0, from, err) < 0)
		return -1;
	for (size_t turns = 1; t->heap.count > 0; turns++) {
		struct fg_tree_item top = fg_tree_pop(&t->heap);
		const fg_tree_cell *map = t->map + t->cell[top.v];

		if (top.key >= most) {
			*at = top.v;
			return 0;
		}
		if ((turns & 0xffff) == 0 && t->p->cancel && *t->p->cancel)
			return fg_fail(err, FG_ECANCELED, "cancelled");
		if (top.key > dist[top.v])
			continue;
		for (int k = 0; k < 26; k++) {
			uint32_t u = map[t->off[k]];

			if (!(u & FG_TREE_OURS))
				continue;
			u ^= FG_TREE_OURS;
			float there = top.key + t->step[k];
			if (!(there < dist[u]))
				continue;
			dist[u] = there;
			if (fg_tree_push(&t->heap, there, u, err) < 0)
				return -1;
		}
	}
	return 0;
}

/* Buckets do not say which of equal ones a queue comes to first. All nearer than the
 * farthest have then been done, so all distances are known again. */
int
fg_tree_farthest(struct fg_tree *t, uint32_t from, uint32_t *at, struct fg_err *err)
{
	const float *dist = t->daf;
	uint32_t equal = 0;

	*at = 0;
	for (uint32_t v = 1; v < t->n; v++) {
		equal = dist[v] > dist[*at] ? 0 : equal + (dist[v] >= dist[*at]);
		*at = dist[v] > dist[*at] ? v : *at;
	}
	return equal ? search_again(t, from, dist[*at], at, err) : 0;
}

/* Two rounds of 16 bits; the bits of floats >= 0 are in the floats' order. */
void
fg_tree_sort(struct fg_tree *t, uint32_t *spare)
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

/* The 26 neighbours in kimimaro's order: by faces, by edges (along its first axis the
 * lower two first), by corners (fewer steps up first). Floats make many ways equal, and
 * the order decides which of these is found. */
static void
list_steps(struct fg_tree *t)
{
	/* Bits for x, y, z: which axes, and on which of them upwards. */
	static const uint8_t axes[] = {1, 2, 4, 3, 6, 5, 7};
	static const uint8_t sides[2][8] = {{0, 4, 2, 1, 3, 5, 6, 7},
	    {0, 1, 2, 4, 3, 5, 6, 7}};
	const double *nm = t->p->nm;
	int i = 0;

	for (size_t k = 0; k < FG_COUNTOF(axes); k++) {
		for (size_t j = 0; j < 8; j++) {
			const unsigned side = sides[axes[k] == 7][j];
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

int
fg_tree_set_up(struct fg_tree *t, const struct fg_component *c,
    const struct fg_run *run, const struct fg_tree_field *field,
    struct fg_tree_room *room, struct fg_err *err)
{
	const int64_t *n = field->n, *o = field->at;
	size_t k = c->voxels;
	uint32_t v = 0;

	t->map = room ? room->map : (fg_tree_cell *)(void *)field->dbf;
	for (int d = 0; d < 3; d++) {
		t->lo[d] = room ? c->lo[d] : o[d] + 1;
		t->side[d] = room ? c->hi[d] - c->lo[d] + 2 : n[d];
	}
	list_steps(t);
	t->cell = fg_try_alloc(k, sizeof *t->cell);
	t->depth = fg_try_alloc(k, sizeof *t->depth);
	t->state = fg_try_alloc(k, 1);
	if (!t->cell || !t->depth || !t->state)
		return fg_fail(err, FG_ENOMEM,
		    "no memory for the skeleton of %zu voxels", k);
	t->n = (uint32_t)k;
	for (size_t r = 0; r < c->runs; r++) {
		const struct fg_run *q = &run[c->first_run + r];
		const float *from =
		    field->dbf - o[0] + n[0] * (q->y - o[1] + n[1] * (q->z - o[2]));
		int64_t at = 1 - t->lo[0] +
			     t->side[0] * (q->y - t->lo[1] + 1 +
					      t->side[1] * (q->z - t->lo[2] + 1));

		for (int64_t x = q->x0; x < q->x1; x++, v++) {
			t->cell[v] = (uint32_t)(at + x);
			t->depth[v].nm = from[x];
			t->dbf_max = fmaxf(t->dbf_max, from[x]);
			t->map[at + x] = FG_TREE_OURS | v;
		}
	}
	memset(t->state, FG_TREE_ALIVE | FG_TREE_NOT_YET << FG_TREE_FROM_SHIFT, k);
	t->left = t->n;
	return 0;
}

void
fg_tree_tear_down(struct fg_tree *t)
{
	for (uint32_t v = 0; v < t->n; v++)
		t->map[t->cell[v]] = 0;
	free(t->cell);
	free(t->depth);
	free(t->state);
	free(t->daf);
	free(t->order);
	free(t->penalty);
	free(t->owner);
	free(t->touched);
	free(t->heap.item);
	free(t->path);
}
