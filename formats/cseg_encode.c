/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The encoder of compressed_segmentation; the layout is drawn in cseg.c.
 *
 * A strip of blocks is gathered into dense arrays, each padded to full blocks and
 * groups of 64 voxels with its first label (padding may be any label that occurs). A
 * block is then described by one bit set per label: bit i of set k = "voxel i has label
 * k". Finding the sets is one comparison of all still undescribed groups of 64 voxels
 * per label, which vector units do at memory speed; a block of one label is recognised
 * by its first set being full. The index bits then are unions of sets (plane j = union
 * of the sets k that have bit j), and packing b bits per voxel is interleaving b
 * planes. Blocks of more than SETS_MAX labels (rare: 8^3 voxels of real segmentations
 * hold 1 to 4) go through a hash table instead.
 *
 * Tables of sets are sorted, so that blocks with the same labels share one; a table
 * already written is found by its hash.
 */
#include "config.h"

#include "formats/cseg.h"

#include <stdlib.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include "base/hash.h"
#include "formats/codec.h"

#define SETS_MAX 16
#define STRIP 8192 /* voxels gathered at once, where blocks are smaller: 64 KiB */

struct set {
	uint64_t label;
	uint64_t *bits;
};

struct encoder {
	int64_t block[3], shape[3], grid[3];
	size_t voxels;  /* of a full block */
	size_t groups;  /* ceil(voxels / 64) */
	bool wide;      /* labels are u64 */
	int64_t strip;  /* blocks along x that are gathered at once */
	size_t stride;  /* bytes from one to the next in dense */
	void *dense;    /* 64 * groups labels of each of them */
	const void *at; /* those of the block at hand */
	uint64_t *undone;
	struct set set[SETS_MAX];
	uint64_t *bits; /* of all sets */
	/* more labels than sets */
	uint32_t *index;  /* per voxel, into labels */
	uint64_t *labels; /* distinct, in order of appearance */
	uint32_t *slots;  /* hash table of positions in labels + 1 */
	size_t slots_n;   /* power of two, at least twice the voxels */
	/* the file */
	uint32_t *out;
	size_t out_n, out_cap; /* words */
	size_t channel;        /* start of the channel at hand */
	/* tables of the channel: hash -> offset and count */
	struct table {
		uint64_t hash;
		uint32_t offset, count; /* count 0: free slot */
	} * tables;
	size_t tables_n; /* power of two, more than twice the blocks */
};

/* Bit i = labels[i] equals label, for 64 labels. */
static FG_CSEG_SPECIALISED uint64_t
equal64(const void *labels, size_t at, uint64_t label, bool wide)
{
	uint64_t m = 0;

#ifdef __SSE2__
	const __m128i lo = _mm_set1_epi32((int)(uint32_t)label);
	const __m128i hi = _mm_set1_epi32((int)(uint32_t)(label >> 32));

	for (size_t k = 0; k < 64; k += 16) {
		__m128i eq[4];

		for (size_t q = 0; q < 4; q++) {
			size_t i = at + k + 4 * q;

			if (wide) {
				const __m128 *p =
				    (const __m128 *)((const uint64_t *)labels + i);
				__m128i l =
				    _mm_castps_si128(_mm_shuffle_ps(p[0], p[1], 0x88));
				__m128i h =
				    _mm_castps_si128(_mm_shuffle_ps(p[0], p[1], 0xdd));

				eq[q] = _mm_and_si128(_mm_cmpeq_epi32(l, lo),
				    _mm_cmpeq_epi32(h, hi));
			} else {
				const __m128i *p =
				    (const __m128i *)((const uint32_t *)labels + i);

				eq[q] = _mm_cmpeq_epi32(*p, lo);
			}
		}
		__m128i b = _mm_packs_epi16(_mm_packs_epi32(eq[0], eq[1]),
		    _mm_packs_epi32(eq[2], eq[3]));

		m |= (uint64_t)(uint16_t)_mm_movemask_epi8(b) << k;
	}
#else
	for (size_t i = 0; i < 64; i++) {
		uint64_t v = wide ? ((const uint64_t *)labels)[at + i]
				  : ((const uint32_t *)labels)[at + i];

		m |= (uint64_t)(v == label) << i;
	}
#endif
	return m;
}

static FG_CSEG_SPECIALISED uint64_t
label_at(const struct encoder *e, size_t i, bool wide)
{
	return wide ? ((const uint64_t *)e->at)[i] : ((const uint32_t *)e->at)[i];
}

/* n labels equal to the first of `from`. */
static FG_CSEG_SPECIALISED void
fill(void *to, size_t n, const void *from, bool wide)
{
	for (size_t i = 0; i < n; i++) {
		if (wide)
			((uint64_t *)to)[i] = fg_get_u64le(from);
		else
			((uint32_t *)to)[i] = fg_get_u32le(from);
	}
}

/* One row of a strip, n labels, to the same row of its dense blocks. The row `ahead`
 * bytes on is wanted soon. */
static FG_CSEG_SPECIALISED void
scatter(uint8_t *to, size_t stride, const uint8_t *from, int64_t n, int64_t width,
    size_t ahead, bool wide)
{
	size_t size = wide ? 8 : 4;

	for (; n >= width; n -= width, to += stride, from += (size_t)width * size) {
		__builtin_prefetch((const void *)((uintptr_t)from + ahead));
		if (width != 8) {
			memcpy(to, from, (size_t)width * size);
			continue;
		}
		/* Usual. Piecewise, because gcc makes a slow string instruction of a
		 * memcpy of the whole row. */
		for (size_t k = 0; k < 8 * size; k += 16)
			memcpy(to + k, from + k, 16);
	}
	if (n > 0)
		memcpy(to, from, (size_t)n * size);
}

/* Copy `count` blocks from `at` along x to e->dense; what lies outside the chunk gets
 * the first label of its block. Row by row through all of them, because memory likes
 * to be read in order. */
static FG_CSEG_SPECIALISED void
gather(struct encoder *e, const uint8_t *src, const int64_t at[3], int64_t count,
    bool wide)
{
	size_t size = wide ? 8 : 4, stride = e->stride;
	const int64_t *b = e->block;
	int64_t n[3], lo[3];

	for (int d = 0; d < 3; d++) {
		lo[d] = at[d] * b[d];
		n[d] = FG_MIN(d == 0 ? count * b[0] : b[d], e->shape[d] - lo[d]);
	}
	src += (size_t)(lo[0] + e->shape[0] * (lo[1] + e->shape[1] * lo[2])) * size;
	for (int64_t k = 0; k < count; k++) {
		uint8_t *to = (uint8_t *)e->dense + (size_t)k * stride;
		bool whole = n[0] >= (k + 1) * b[0] && n[1] == b[1] && n[2] == b[2];
		size_t used = whole ? e->voxels : 0;

		fill(to + used * size, 64 * e->groups - used,
		    src + (size_t)(k * b[0]) * size, wide);
	}
	for (int64_t z = 0; z < n[2]; z++) {
		for (int64_t y = 0; y < n[1]; y++)
			scatter((uint8_t *)e->dense +
				    (size_t)(b[0] * (y + b[1] * z)) * size,
			    stride,
			    src + (size_t)(e->shape[0] * (y + e->shape[1] * z)) * size,
			    n[0], b[0], (size_t)(e->shape[0] * b[1]) * size, wide);
	}
}

/* Fill e->set; returns the number of labels, 0 if there are more than SETS_MAX. */
static FG_CSEG_SPECIALISED size_t
find_sets(struct encoder *e, bool wide)
{
	size_t first = 0; /* groups before it are fully described */
	size_t k = 0;

	for (size_t g = 0; g < e->groups; g++)
		e->undone[g] = UINT64_MAX;
	for (;;) {
		while (first < e->groups && e->undone[first] == 0)
			first++;
		if (first == e->groups)
			return k;
		if (k == SETS_MAX)
			return 0;
		struct set *s = &e->set[k];

		s->bits = e->bits + k * e->groups;
		s->label = label_at(e,
		    first * 64 + (size_t)__builtin_ctzll(e->undone[first]), wide);
		for (size_t g = 0; g < first; g++)
			s->bits[g] = 0;
		for (size_t g = first; g < e->groups; g++) {
			uint64_t m = 0;

			if (e->undone[g])
				m = equal64(e->at, g * 64, s->label, wide);
			s->bits[g] = m;
			e->undone[g] &= ~m;
		}
		k++;
	}
}

static void
sort_sets(struct set *s, size_t n)
{
	for (size_t i = 1; i < n; i++) {
		struct set one = s[i];
		size_t j = i;

		for (; j > 0 && s[j - 1].label > one.label; j--)
			s[j] = s[j - 1];
		s[j] = one;
	}
}

static int
reserve(struct encoder *e, size_t words, struct fg_err *err)
{
	size_t cap = e->out_cap;
	uint32_t *p;

	if (words <= cap - e->out_n)
		return 0;
	cap = FG_MAX(cap + cap / 2, e->out_n + words);
	p = realloc(e->out, cap * sizeof *p);
	if (!p)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu bytes", 4 * cap);
	e->out = p;
	e->out_cap = cap;
	return 0;
}

/* Bits 0..15 of x to the even bits of the result. */
static inline uint32_t
spread2(uint32_t x)
{
	x = (x | x << 8) & 0x00ff00ff;
	x = (x | x << 4) & 0x0f0f0f0f;
	x = (x | x << 2) & 0x33333333;
	return (x | x << 1) & 0x55555555;
}

/* Bits 0..7 of x to every fourth bit of the result. */
static inline uint32_t
spread4(uint32_t x)
{
	x = (x | x << 12) & 0x000f000f;
	x = (x | x << 6) & 0x03030303;
	return (x | x << 3) & 0x11111111;
}

/* 64 voxels, given as planes of index bits, to 2 * b words (b = 1, 2 or 4). */
static FG_CSEG_SPECIALISED void
interleave(const uint64_t plane[4], int b, uint32_t *out)
{
	for (int w = 0; w < 2 * b; w++) {
		int shift = w * (32 / b);
		uint32_t v;

		if (b == 1)
			v = (uint32_t)(plane[0] >> shift);
		else if (b == 2)
			v = spread2((plane[0] >> shift) & 0xffff) |
			    spread2((plane[1] >> shift) & 0xffff) << 1;
		else
			v = spread4((plane[0] >> shift) & 0xff) |
			    spread4((plane[1] >> shift) & 0xff) << 1 |
			    spread4((plane[2] >> shift) & 0xff) << 2 |
			    spread4((plane[3] >> shift) & 0xff) << 3;
		out[w] = v;
	}
}

/* Append the values of a block of n <= SETS_MAX sorted sets. There is room for whole
 * groups; only the words that belong to the block count. */
static void
put_planes(struct encoder *e, size_t n, int b)
{
	uint32_t *out = e->out + e->out_n;

	for (size_t g = 0; g < e->groups; g++, out += 2 * b) {
		uint64_t plane[4] = {0, 0, 0, 0};

		for (size_t k = 1; k < n; k++) {
			uint64_t m = e->set[k].bits[g];

			plane[0] |= k & 1 ? m : 0;
			plane[1] |= k & 2 ? m : 0;
			plane[2] |= k & 4 ? m : 0;
			plane[3] |= k & 8 ? m : 0;
		}
		if (b == 1)
			interleave(plane, 1, out);
		else if (b == 2)
			interleave(plane, 2, out);
		else
			interleave(plane, 4, out);
	}
	e->out_n += (e->voxels * (size_t)b + 31) / 32;
}

/* --- blocks of more than SETS_MAX labels */

/* Fill e->labels and e->index; returns the number of labels. */
static FG_CSEG_SPECIALISED size_t
find_many(struct encoder *e, bool wide)
{
	size_t n = 0, mask = e->slots_n - 1;

	memset(e->slots, 0, e->slots_n * sizeof *e->slots);
	for (size_t i = 0; i < e->voxels; i++) {
		uint64_t v = label_at(e, i, wide);

		if (i > 0 && v == label_at(e, i - 1, wide)) {
			e->index[i] = e->index[i - 1];
			continue;
		}
		size_t s = (v * UINT64_C(0x9e3779b97f4a7c15) >> 32) & mask;

		while (e->slots[s] && e->labels[e->slots[s] - 1] != v)
			s = (s + 1) & mask;
		if (!e->slots[s]) {
			e->labels[n] = v;
			e->slots[s] = (uint32_t)++n;
		}
		e->index[i] = e->slots[s] - 1;
	}
	return n;
}

/* Work space for find_many, when the first block of many labels turns up. */
static int
many_init(struct encoder *e, struct fg_err *err)
{
	if (e->index)
		return 0;
	e->slots_n = 64;
	while (e->slots_n < 2 * e->voxels)
		e->slots_n *= 2;
	e->index = fg_try_alloc(e->voxels, sizeof *e->index);
	e->labels = fg_try_alloc(e->voxels, sizeof *e->labels);
	e->slots = fg_try_alloc(e->slots_n, sizeof *e->slots);
	if (!e->index || !e->labels || !e->slots)
		return fg_fail(err, FG_ENOMEM, "no memory for blocks of %zu labels",
		    e->voxels);
	return 0;
}

/* Append the values of such a block. */
static void
put_indices(struct encoder *e, int b)
{
	uint32_t *out = e->out + e->out_n;
	size_t per_word = 32 / (size_t)b;
	size_t words = (e->voxels + per_word - 1) / per_word;

	for (size_t w = 0, i = 0; w < words; w++) {
		uint32_t v = 0;

		for (size_t k = 0; k < per_word && i < e->voxels; k++, i++)
			v |= e->index[i] << (k * (size_t)b);
		out[w] = v;
	}
	e->out_n += words;
}

/* Offset in the channel of a table with these labels, appended if it is new. */
static uint32_t
put_table(struct encoder *e, const uint64_t *labels, size_t n)
{
	size_t wpe = e->wide ? 2 : 1, mask = e->tables_n - 1;
	uint64_t hash = n == 1 ? labels[0] * UINT64_C(0x9e3779b97f4a7c15)
			       : fg_hash64(labels, n * sizeof *labels);
	size_t slot = (hash >> 20) & mask;
	struct table *t;

	for (; (t = &e->tables[slot])->count; slot = (slot + 1) & mask) {
		const uint32_t *old = e->out + e->channel + t->offset;
		bool same = t->hash == hash && t->count == n;

		for (size_t i = 0; same && i < n; i++)
			same = e->wide ? fg_get_u64le(old + 2 * i) == labels[i]
				       : old[i] == labels[i];
		if (same)
			return t->offset;
	}
	*t = (struct table){hash, (uint32_t)(e->out_n - e->channel), (uint32_t)n};
	for (size_t i = 0; i < n; i++) {
		e->out[e->out_n] = (uint32_t)labels[i];
		if (e->wide)
			e->out[e->out_n + 1] = (uint32_t)(labels[i] >> 32);
		e->out_n += wpe;
	}
	return t->offset;
}

static int
bits_for(size_t labels)
{
	int b = 0;

	while (b < 32 && (UINT64_C(1) << b) < labels)
		b = b ? 2 * b : 1;
	return b;
}

/* Append one block; header gets its two words. */
static FG_CSEG_SPECIALISED int
put_block(struct encoder *e, size_t header, bool wide, struct fg_err *err)
{
	uint64_t labels[SETS_MAX];
	const uint64_t *table = labels;
	size_t n = find_sets(e, wide), values, words;
	bool many = n == 0;
	int b;

	if (many) {
		if (many_init(e, err) < 0)
			return -1;
		n = find_many(e, wide);
		table = e->labels;
	}
	b = bits_for(n);
	words = many ? (e->voxels * (size_t)b + 31) / 32 : 2 * (size_t)b * e->groups;
	if (reserve(e, words + 2 * n, err) < 0)
		return -1;
	values = e->out_n - e->channel;
	if (many) {
		put_indices(e, b);
	} else {
		sort_sets(e->set, n);
		for (size_t k = 0; k < n; k++)
			labels[k] = e->set[k].label;
		if (b > 0)
			put_planes(e, n, b);
	}
	size_t offset = put_table(e, table, n);

	if (offset > FG_CSEG_OFFSET_MAX || values > FG_CSEG_OFFSET_MAX)
		return fg_fail(err, FG_EINVAL,
		    "chunk is too varied for compressed_segmentation: a channel grows "
		    "beyond %u words",
		    FG_CSEG_OFFSET_MAX + 1);
	e->out[header] = (uint32_t)offset | (uint32_t)b << 24;
	e->out[header + 1] = (uint32_t)values;
	return 0;
}

/* Append the n blocks in e->dense; *header moves behind theirs. */
static FG_CSEG_SPECIALISED int
put_strip(struct encoder *e, size_t *header, int64_t n, bool wide, struct fg_err *err)
{
	e->at = e->dense;
	for (int64_t k = 0; k < n; k++, *header += 2) {
		if (put_block(e, *header, wide, err) < 0)
			return -1;
		e->at = (const uint8_t *)e->at + e->stride;
	}
	return 0;
}

static FG_CSEG_SPECIALISED int
put_channel(struct encoder *e, const uint8_t *src, bool wide, struct fg_err *err)
{
	size_t blocks = (size_t)(e->grid[0] * e->grid[1] * e->grid[2]),
	       header = e->out_n;
	int64_t at[3];

	memset(e->tables, 0, e->tables_n * sizeof *e->tables);
	e->channel = e->out_n;
	if (reserve(e, 2 * blocks, err) < 0)
		return -1;
	e->out_n += 2 * blocks;
	for (at[2] = 0; at[2] < e->grid[2]; at[2]++) {
		for (at[1] = 0; at[1] < e->grid[1]; at[1]++) {
			for (at[0] = 0; at[0] < e->grid[0]; at[0] += e->strip) {
				int64_t n = FG_MIN(e->strip, e->grid[0] - at[0]);

				gather(e, src, at, n, wide);
				if (put_strip(e, &header, n, wide, err) < 0)
					return -1;
			}
		}
	}
	return 0;
}

static int
encoder_init(struct encoder *e, const int64_t block[3], const struct fg_array *in,
    struct fg_err *err)
{
	uint64_t blocks = 1;

	*e = (struct encoder){.wide = in->dtype == FG_U64, .voxels = 1};
	for (int d = 0; d < 3; d++) {
		e->block[d] = block[d];
		e->shape[d] = in->shape[d];
		e->grid[d] = fg_div_ceil(in->shape[d], block[d]);
		e->voxels *= (size_t)block[d];
		/* Each step is below 2^24 * 2^31. */
		blocks *= (uint64_t)e->grid[d];
		if (2 * blocks > FG_CSEG_OFFSET_MAX)
			return fg_fail(err, FG_EINVAL,
			    "chunk has too many blocks for compressed_segmentation");
	}
	e->groups = (e->voxels + 63) / 64;
	e->tables_n = 64;
	while (e->tables_n < 2 * blocks + 2)
		e->tables_n *= 2;
	e->out_cap =
	    (size_t)in->shape[3] * (1 + 2 * blocks) + fg_array_count(in) / 16 + 1024;
	e->out = fg_try_alloc(e->out_cap, sizeof *e->out);
	e->strip = FG_MAX(1, FG_MIN(e->grid[0], (int64_t)(STRIP / (64 * e->groups))));
	/* Not a power of two: rows of neighbours would fall on the same cache lines. */
	e->stride = 64 * e->groups * (e->wide ? 8 : 4) + 192;
	e->dense = fg_try_alloc((size_t)e->strip, e->stride);
	e->undone = fg_try_alloc(e->groups, sizeof *e->undone);
	e->bits = fg_try_alloc(e->groups * SETS_MAX, sizeof *e->bits);
	e->tables = fg_try_alloc(e->tables_n, sizeof *e->tables);
	if (!e->out || !e->dense || !e->undone || !e->bits || !e->tables)
		return fg_fail(err, FG_ENOMEM,
		    "no memory to encode %zu voxels in blocks of %zu",
		    fg_array_count(in), e->voxels);
	return 0;
}

static void
encoder_fini(struct encoder *e)
{
	free(e->dense);
	free(e->undone);
	free(e->bits);
	free(e->index);
	free(e->labels);
	free(e->slots);
	free(e->tables);
	free(e->out);
}

int
fg_cseg_encode(const int64_t block[3], const struct fg_array *in, struct fg_buf **out,
    struct fg_err *err)
{
	struct encoder e = {.out = NULL};
	size_t channels = (size_t)in->shape[3];
	int rc = -1;

	if (fg_cseg_check(block, in, err) < 0)
		return -1;
	if (encoder_init(&e, block, in, err) < 0)
		goto out;
	size_t stride = fg_array_bytes(in) / channels;
	e.out_n = channels;
	for (size_t c = 0; c < channels; c++) {
		const uint8_t *src = (const uint8_t *)in->data + c * stride;

		if (e.out_n > UINT32_MAX) {
			fg_fail(err, FG_EINVAL,
			    "chunk is too large for compressed_segmentation");
			goto out;
		}
		e.out[c] = (uint32_t)e.out_n;
		if ((e.wide ? put_channel(&e, src, true, err)
			    : put_channel(&e, src, false, err)) < 0)
			goto out;
	}
	/* Give back what was reserved: encoded chunks are kept in caches. */
	uint32_t *fit = realloc(e.out, 4 * e.out_n);

	*out = fg_buf_take(fit ? fit : e.out, 4 * e.out_n);
	e.out = NULL;
	rc = 0;
out:
	encoder_fini(&e);
	return rc;
}
