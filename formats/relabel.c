/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Labels of encoded chunks replaced: see the header.
 *
 * In compressed_segmentation (formats/cseg.c) a table has no length of its own. It ends
 * at the next thing that some block's header points at, or where the index of as many
 * bits as its widest block uses cannot reach further. Chunks whose tables and values
 * lie one in the other (our encoder makes none) are decoded and encoded again instead.
 */
#include "config.h"

#include "formats/relabel.h"

#include <stdlib.h>

#include "formats/codec.h"

/* ------------------------------------------------------------- tables */

/* Something a header points at. */
struct piece {
	uint32_t at, end; /* words from the start of the channel */
	bool table;
};

static int
by_start(const void *pa, const void *pb)
{
	const struct piece *a = pa, *b = pb;

	if (a->at != b->at)
		return a->at < b->at ? -1 : 1;
	return a->table != b->table ? (a->table ? -1 : 1) : 0;
}

/* The pieces of a chunk of one channel, sorted. */
static void
list_pieces(const uint8_t *p, size_t words, size_t blocks, size_t voxels,
    struct piece *list, size_t *n)
{
	const uint8_t *channel = p + 4;
	size_t k = 0;

	for (size_t i = 0; i < blocks; i++) {
		uint32_t head = fg_get_u32le(channel + 8 * i);
		uint32_t bits = head >> 24, values = fg_get_u32le(channel + 8 * i + 4);
		uint64_t entries = UINT64_C(1) << FG_MIN(bits, 20u);

		list[k++] = (struct piece){
		    .at = head & 0xffffff,
		    .end = (uint32_t)FG_MIN((head & 0xffffff) + 2 * entries, words),
		    .table = true,
		};
		if (bits > 0)
			list[k++] = (struct piece){
			    .at = values,
			    .end = values + (uint32_t)((voxels * bits + 31) / 32),
			};
	}
	qsort(list, k, sizeof *list, by_start);
	*n = k;
}

/* Make of overlapping lists of one table one, and cut each at what follows it. False:
 * tables and values lie in one another, or outside. */
static bool
settle_pieces(struct piece *list, size_t *n, size_t blocks, size_t words)
{
	size_t out = 0;

	for (size_t i = 0; i < *n; i++) {
		struct piece *last = out > 0 ? &list[out - 1] : NULL;

		if (list[i].at < 2 * blocks || list[i].at >= words ||
		    list[i].end > words)
			return false;
		if (last && last->table && list[i].table && last->at == list[i].at) {
			last->end = FG_MAX(last->end, list[i].end);
			continue;
		}
		if (last && last->end > list[i].at) {
			/* Equal values may be shared; a table only ends early. */
			if (!last->table && last->at != list[i].at)
				return false;
			if (last->table)
				last->end = list[i].at;
		}
		if (last && last->table && (last->end - last->at) % 2)
			return false;
		list[out++] = list[i];
	}
	*n = out;
	return out == 0 || !list[out - 1].table ||
	       (list[out - 1].end - list[out - 1].at) % 2 == 0;
}

static int
relabel_tables(const struct piece *list, size_t n, struct fg_buf *bytes,
    fg_relabel_fn *fn, void *ctx, struct fg_buf **out, struct fg_err *err)
{
	uint64_t *label, *at;
	struct fg_buf *b;
	size_t labels = 0;
	int rc = -1;

	for (size_t i = 0; i < n; i++)
		labels += list[i].table ? (list[i].end - list[i].at) / 2 : 0;
	label = fg_calloc(labels + 1, sizeof *label);
	at = label;
	for (size_t i = 0; i < n; i++) {
		for (uint32_t w = list[i].at; list[i].table && w < list[i].end; w += 2)
			*at++ = fg_get_u64le(bytes->data + 4 + 4 * (size_t)w);
	}
	if (fn(ctx, label, labels, err) < 0)
		goto out;
	b = fg_buf_copy(bytes->data, bytes->len);
	at = label;
	for (size_t i = 0; i < n; i++) {
		for (uint32_t w = list[i].at; list[i].table && w < list[i].end; w += 2)
			fg_put_u64le(b->data + 4 + 4 * (size_t)w, *at++);
	}
	if (memcmp(b->data, bytes->data, b->len) == 0) {
		fg_buf_unref(b);
		b = fg_buf_ref(bytes);
	}
	*out = b;
	rc = 0;
out:
	free(label);
	return rc;
}

/* 1: done; 0: not laid out as this needs; -1. */
static int
relabel_cseg(const struct fg_scale *s, const int64_t shape[4], struct fg_buf *bytes,
    fg_relabel_fn *fn, void *ctx, struct fg_buf **out, struct fg_err *err)
{
	size_t words, blocks = 1, voxels = 1, n = 0;
	struct piece *list;
	int rc = 0;

	for (int d = 0; d < 3; d++) {
		blocks *= (size_t)fg_div_ceil(shape[d], s->cseg_block[d]);
		voxels *= (size_t)s->cseg_block[d];
	}
	if (bytes->len < 8 || fg_get_u32le(bytes->data) != 1)
		return 0;
	words = bytes->len / 4 - 1;
	if (2 * blocks > words || words > UINT32_MAX)
		return 0;
	list = fg_try_alloc(2 * blocks, sizeof *list);
	if (!list)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu blocks", blocks);
	list_pieces(bytes->data, words, blocks, voxels, list, &n);
	if (settle_pieces(list, &n, blocks, words))
		rc = relabel_tables(list, n, bytes, fn, ctx, out, err) < 0 ? -1 : 1;
	free(list);
	return rc;
}

/* ------------------------------------------------------------- any encoding */

static int
by_value(const void *pa, const void *pb)
{
	uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;

	return a < b ? -1 : a > b;
}

/* The labels of a, each once, sorted; free(). Runs are skipped before sorting. */
static uint64_t *
list_labels(const uint64_t *v, size_t n, size_t *labels)
{
	uint64_t *list = NULL;
	size_t k = 0, cap = 0, out = 0;

	for (size_t i = 0; i < n; i++) {
		if (i > 0 && v[i] == v[i - 1])
			continue;
		if (k == cap) {
			cap = FG_MAX(2 * cap, (size_t)256);
			list = fg_realloc(list, cap, sizeof *list);
		}
		list[k++] = v[i];
	}
	if (k > 0)
		qsort(list, k, sizeof *list, by_value);
	for (size_t i = 0; i < k; i++) {
		if (out == 0 || list[i] != list[out - 1])
			list[out++] = list[i];
	}
	*labels = out;
	return list;
}

static void
replace(uint64_t *v, size_t n, const uint64_t *from, const uint64_t *to, size_t labels)
{
	uint64_t last = 0, now = 0;

	for (size_t i = 0; i < n; i++) {
		if (i == 0 || v[i] != last) {
			const uint64_t *f =
			    bsearch(&v[i], from, labels, sizeof *from, by_value);

			last = v[i];
			now = to[f - from];
		}
		v[i] = now;
	}
}

/* *same: nothing changed. */
static int
relabel_array(uint64_t *v, size_t n, fg_relabel_fn *fn, void *ctx, bool *same,
    struct fg_err *err)
{
	size_t labels;
	uint64_t *from = list_labels(v, n, &labels);
	uint64_t *to = fg_calloc(labels + 1, sizeof *to);
	int rc;

	if (labels > 0)
		memcpy(to, from, labels * sizeof *to);
	rc = fn(ctx, to, labels, err);
	if (rc == 0) {
		*same = labels == 0 || memcmp(from, to, labels * sizeof *to) == 0;
		if (!*same)
			replace(v, n, from, to, labels);
	}
	free(from);
	free(to);
	return rc;
}

int
fg_relabel_voxels(uint64_t *label, size_t n, fg_relabel_fn *fn, void *ctx,
    struct fg_err *err)
{
	bool same;

	return relabel_array(label, n, fn, ctx, &same, err);
}

static int
relabel_any(const struct fg_scale *s, const int64_t shape[4], struct fg_buf *bytes,
    fg_relabel_fn *fn, void *ctx, struct fg_buf **out, struct fg_err *err)
{
	struct fg_array a = FG_ARRAY_INIT;
	bool same;
	int rc = -1;

	if (fg_array_init(&a, FG_U64, shape, err) < 0)
		return -1;
	if (fg_codec_decode(s, bytes->data, bytes->len, &a, err) < 0 ||
	    relabel_array(a.data, fg_array_count(&a), fn, ctx, &same, err) < 0)
		goto out;
	if (same)
		*out = fg_buf_ref(bytes);
	rc = same ? 0 : fg_codec_encode(s, &a, out, err);
out:
	fg_array_fini(&a);
	return rc;
}

int
fg_relabel_chunk(const struct fg_scale *s, enum fg_dtype dtype, const int64_t shape[4],
    struct fg_buf *bytes, fg_relabel_fn *fn, void *ctx, struct fg_buf **out,
    struct fg_err *err)
{
	int rc;

	if (dtype != FG_U64 || shape[3] != 1)
		return fg_fail(err, FG_ENOTSUP, "labels of %s cannot be replaced",
		    fg_dtype_name(dtype));
	if (s->encoding == FG_ENC_CSEG) {
		rc = relabel_cseg(s, shape, bytes, fn, ctx, out, err);
		if (rc != 0)
			return FG_MIN(rc, 0);
	}
	return relabel_any(s, shape, bytes, fn, ctx, out, err);
}
