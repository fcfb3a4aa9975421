/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The voxels of one object, read from the stored chunks of its blocks.
 *
 * What belongs to it is known from the index: the labels of each of its blocks. Voxels
 * of other blocks are never its own, so nothing else is read.
 */
#include "config.h"

#include "work/artefact.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/morton.h"
#include "formats/codec.h"

/* Voxels of a box that are looked at in one go: a byte each, then five for those around
 * the object. */
#define MASK_MAX (INT64_C(1) << 30)

/* The box of the object's blocks: nobody has looked closer yet. */
static void
find_extent(struct fg_body *b)
{
	for (size_t i = 0; i < b->parts; i++) {
		struct fg_box core;
		int64_t blk[3];

		fg_morton_decode(b->part[i].at, blk);
		fg_body_core(b, blk, &core);
		for (int d = 0; d < 3; d++) {
			int64_t *lo = &b->object.lo[d], *hi = &b->object.hi[d];

			*lo = i == 0 ? core.lo[d] : FG_MIN(*lo, core.lo[d]);
			*hi = i == 0 ? core.hi[d] : FG_MAX(*hi, core.hi[d]);
		}
	}
}

int
fg_body_init(struct fg_body *b, const struct fg_task *t, struct fg_env *env,
    struct fg_err *err)
{
	const struct fg_layer *l = t->layer;

	*b = (struct fg_body){
	    .task = t,
	    .env = env,
	    .scale = &l->info.scale[0],
	    .kind = fg_key_objects(&t->key),
	};
	memcpy(b->block, l->block, sizeof b->block);
	memcpy(b->blocks, l->blocks, sizeof b->blocks);
	fg_scale_bounds(b->scale, &b->bounds);
	if (b->kind == FG_OBJECTS_PLACED &&
	    fg_scan_layer(l, env, t->key.at, 1, &t->cancel, NULL, err) < 0)
		return -1;
	if (env->object(env->ctx, t->key.layer, b->kind, t->key.at, &b->object,
		&b->part, &b->parts, err) < 0)
		return -1;
	if (b->kind == FG_OBJECTS_PLACED)
		find_extent(b);
	return 0;
}

void
fg_body_fini(struct fg_body *b)
{
	free(b->part);
	b->part = NULL;
}

size_t
fg_body_find(const struct fg_body *b, uint64_t at, size_t *first)
{
	size_t lo = 0, hi = b->parts, n = 0;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (b->part[mid].at < at)
			lo = mid + 1;
		else
			hi = mid;
	}
	*first = lo;
	while (lo + n < b->parts && b->part[lo + n].at == at)
		n++;
	return n;
}

uint64_t
fg_body_hash(const struct fg_body *b, const int64_t blk[3], const uint64_t params[2])
{
	struct fg_str s = FG_STR_INIT;
	uint64_t hash;

	fg_str_put(&s, params, 2 * sizeof *params);
	for (int e = 0; e < 8; e++) {
		int64_t p[3];
		size_t first, n;

		for (int d = 0; d < 3; d++)
			p[d] = blk[d] + (e >> d & 1);
		if (p[0] >= b->blocks[0] || p[1] >= b->blocks[1] ||
		    p[2] >= b->blocks[2])
			continue;
		n = fg_body_find(b, fg_morton_encode(p), &first);
		for (size_t i = 0; i < n; i++) {
			uint64_t v[2] = {b->part[first + i].at, b->part[first + i].id};

			fg_str_put(&s, v, sizeof v);
		}
	}
	hash = fg_hash64(s.data, s.len);
	fg_str_fini(&s);
	return hash;
}

void
fg_body_core(const struct fg_body *b, const int64_t blk[3], struct fg_box *core)
{
	for (int d = 0; d < 3; d++) {
		core->lo[d] = b->bounds.lo[d] + blk[d] * b->block[d];
		core->hi[d] = FG_MIN(core->lo[d] + b->block[d], b->bounds.hi[d]);
	}
}

/* ------------------------------------------------------------- one chunk */

/* The labels of the object in one block. */
struct labels {
	const struct fg_object_block *part;
	size_t n;
	uint64_t last; /* label seen last, and whether it is one of them */
	bool in;
};

static bool
is_in(struct labels *l, uint64_t id)
{
	size_t lo = 0, hi = l->n;

	if (id == l->last)
		return l->in;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (l->part[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	l->last = id;
	l->in = lo < l->n && l->part[lo].id == id;
	return l->in;
}

/* Most objects are one label of a block, and most voxels are not theirs. */
#define MARK_ONE(type)                                                                 \
	do {                                                                           \
		const type *p = (const type *)chunk->data + from;                      \
		const type id = (type)l->part->id;                                     \
                                                                                       \
		if (id != l->part->id) /* too wide for the chunk: no voxel has it */   \
			return;                                                        \
		for (size_t x = 0; x < n; x++)                                         \
			to[x] = p[x] == id;                                            \
	} while (0)

/* A row of the mask, so far 0, from voxels of the chunk. */
static void
mark_row(struct labels *l, const struct fg_array *chunk, size_t from, uint8_t *to,
    size_t n)
{
	if (l->n == 1 && chunk->dtype == FG_U32) {
		MARK_ONE(uint32_t);
	} else if (l->n == 1 && chunk->dtype == FG_U64) {
		MARK_ONE(uint64_t);
	} else {
		for (size_t x = 0; x < n; x++)
			to[x] = is_in(l, fg_array_label(chunk, from + x));
	}
}

/* Set the mask (which fills `box`) where the chunk (filling `vx`) holds the labels, and
 * widen the hull. */
static void
mark(struct labels *l, const struct fg_array *chunk, const struct fg_box *vx,
    uint8_t *mask, const struct fg_box *box, struct fg_box *hull)
{
	int64_t n[3], m[3];
	struct fg_box c;

	if (!fg_box_intersect(vx, box, &c))
		return;
	fg_box_shape(vx, n);
	fg_box_shape(box, m);
	for (int64_t z = c.lo[2]; z < c.hi[2]; z++) {
		for (int64_t y = c.lo[1]; y < c.hi[1]; y++) {
			size_t from =
			    (size_t)((c.lo[0] - vx->lo[0]) +
				     n[0] * ((y - vx->lo[1]) + n[1] * (z - vx->lo[2])));
			uint8_t *to =
			    mask + (c.lo[0] - box->lo[0]) +
			    m[0] * ((y - box->lo[1]) + m[1] * (z - box->lo[2]));
			size_t wide = (size_t)(c.hi[0] - c.lo[0]);

			mark_row(l, chunk, from, to, wide);
			const uint8_t *first = memchr(to, 1, wide);
			if (!first)
				continue;
			const uint8_t *last = memrchr(to, 1, wide);
			const int64_t lo[3] = {c.lo[0] + (first - to), y, z};
			const int64_t hi[3] = {c.lo[0] + (last - to) + 1, y + 1, z + 1};
			for (int d = 0; d < 3; d++) {
				hull->lo[d] = FG_MIN(hull->lo[d], lo[d]);
				hull->hi[d] = FG_MAX(hull->hi[d], hi[d]);
			}
		}
	}
}

static int
read_chunk(struct fg_body *b, const int64_t ch[3], struct labels *l, uint8_t *mask,
    const struct fg_box *box, struct fg_box *hull, struct fg_err *err)
{
	struct fg_key key = {.layer = b->task->key.layer,
	    .kind = FG_KIND_CHUNK,
	    .at = fg_morton_encode(ch)};
	struct fg_array labels = FG_ARRAY_INIT;
	int64_t shape[4] = {1, 1, 1, 1};
	enum fg_state state = FG_ABSENT;
	struct fg_buf *bytes = NULL;
	struct fg_box vx;
	int rc = -1;

	if (b->kind == FG_OBJECTS_PLACED) {
		state = FG_EMPTY;
		if (fg_source_chunk(b->task->layer->source, 0, ch, &bytes, err) < 0)
			return -1;
	} else if (b->env->child(b->env->ctx, &key, &state, &bytes, err) < 0) {
		return -1;
	}
	if (!bytes && state == FG_ABSENT)
		return fg_fail(err, FG_ECORRUPT,
		    "a chunk of a block that is recorded as made is missing: run "
		    "floodgate verify");
	if (!bytes)
		return 0;
	b->chunks++;
	fg_scale_chunk_box(b->scale, ch, &vx);
	fg_box_shape(&vx, shape);
	if (fg_array_init(&labels, b->task->layer->info.dtype, shape, err) < 0 ||
	    fg_codec_decode(b->scale, bytes->data, bytes->len, &labels, err) < 0)
		goto out;
	l->last = 0;
	l->in = false;
	mark(l, &labels, &vx, mask, box, hull);
	rc = 0;
out:
	fg_array_fini(&labels);
	fg_buf_unref(bytes);
	return rc;
}

/* ------------------------------------------------------------- a box */

static int
read_box(struct fg_body *b, const struct fg_box *vx, uint8_t *mask, struct fg_box *hull,
    struct fg_err *err)
{
	const struct fg_scale *s = b->scale;
	struct fg_box g;
	int64_t ch[3];

	for (int d = 0; d < 3; d++) {
		g.lo[d] = (vx->lo[d] - s->offset[d]) / s->chunk[d];
		g.hi[d] = fg_div_ceil(vx->hi[d] - s->offset[d], s->chunk[d]);
	}
	for (ch[2] = g.lo[2]; ch[2] < g.hi[2]; ch[2]++) {
		for (ch[1] = g.lo[1]; ch[1] < g.hi[1]; ch[1]++) {
			for (ch[0] = g.lo[0]; ch[0] < g.hi[0]; ch[0]++) {
				struct labels l = {0};
				int64_t blk[3];
				size_t first;

				if (b->task->cancel)
					return fg_fail(err, FG_ECANCELED, "cancelled");
				for (int d = 0; d < 3; d++)
					blk[d] = ch[d] * s->chunk[d] / b->block[d];
				l.n = fg_body_find(b, fg_morton_encode(blk), &first);
				l.part = b->part + first;
				if (l.n > 0 &&
				    read_chunk(b, ch, &l, mask, vx, hull, err) < 0)
					return -1;
			}
		}
	}
	return 0;
}

int
fg_body_mask(struct fg_body *b, const struct fg_box *vx, struct fg_array *mask,
    struct fg_box *hull, struct fg_err *err)
{
	struct fg_array all = FG_ARRAY_INIT, part = FG_ARRAY_INIT;
	int64_t shape[4] = {1, 1, 1, 1}, t0 = fg_clock_ns();
	struct fg_box h = {.lo = {INT64_MAX, INT64_MAX, INT64_MAX},
	    .hi = {INT64_MIN, INT64_MIN, INT64_MIN}};
	int rc = -1;

	fg_box_shape(vx, shape);
	if ((double)shape[0] * (double)shape[1] * (double)shape[2] > (double)MASK_MAX)
		return fg_fail(err, FG_ENOTSUP,
		    "object %llu: a piece of %lld x %lld x %lld voxels is more than "
		    "the %lld that are taken in one go",
		    (unsigned long long)b->object.id, (long long)shape[0],
		    (long long)shape[1], (long long)shape[2], (long long)MASK_MAX);
	if (fg_array_init_zero(&all, FG_U8, shape, err) < 0 ||
	    read_box(b, vx, all.data, &h, err) < 0)
		goto out;
	*hull = h;
	if (h.lo[0] == INT64_MAX) {
		*hull = (struct fg_box){0};
		*mask = FG_ARRAY_INIT;
		rc = 0;
		goto out;
	}
	for (int d = 0; d < 3; d++) {
		hull->lo[d] = FG_MAX(h.lo[d] - 1, vx->lo[d]);
		hull->hi[d] = FG_MIN(h.hi[d] + 1, vx->hi[d]);
	}
	fg_box_shape(hull, shape);
	if (fg_array_init(&part, FG_U8, shape, err) < 0)
		goto out;
	fg_array_copy_box(&part, hull, &all, vx);
	*mask = part;
	rc = 0;
out:
	fg_array_fini(&all);
	b->read_ns += fg_clock_ns() - t0;
	return rc;
}
