/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compressed_segmentation: labels in small blocks, each with a table of the labels in
 * it and an index of b bits per voxel (neuroglancer/src/sliceview/
 * compressed_segmentation). This file decodes, cseg_encode.c encodes.
 *
 *   word 0..C-1             start of each channel, in words from the start of the file
 *   channel: 2 words/block  table offset (24 bits) | b << 24, offset of the values
 *            values, tables anywhere; offsets in words from the start of the channel
 *
 * Values are packed as if every block were whole; those of voxels that do not exist are
 * neither read nor asked for. Decoding copies each table to a small array first
 * (b <= 8) and checks the offsets once per block, not once per voxel.
 */
#include "config.h"

#include "formats/cseg.h"

#include <stdio.h>

#include "formats/codec.h"

int
fg_cseg_check(const int64_t block[3], const struct fg_array *a, struct fg_err *err)
{
	int64_t n = 1;

	if (a->dtype != FG_U32 && a->dtype != FG_U64)
		return fg_fail(err, FG_EINVAL, "compressed_segmentation cannot hold %s",
		    fg_dtype_name(a->dtype));
	for (int d = 0; d < 4; d++) {
		if (a->shape[d] < 1 || a->shape[d] > INT32_MAX)
			return fg_fail(err, FG_EINVAL,
			    "compressed_segmentation of extent %lld",
			    (long long)a->shape[d]);
	}
	for (int d = 0; d < 3; d++) {
		if (block[d] < 1 || block[d] > FG_CSEG_BLOCK_MAX / n)
			return fg_fail(err, FG_EINVAL,
			    "compressed_segmentation block of %lld x %lld x %lld "
			    "voxels",
			    (long long)block[0], (long long)block[1],
			    (long long)block[2]);
		n *= block[d];
	}
	return 0;
}

struct decoder {
	bool avx2;              /* of this machine */
	const uint8_t *channel; /* its first word */
	size_t words;           /* from there to the end of the file */
	int64_t block[3], shape[3], grid[3];
	uint8_t *out; /* first voxel of the channel */
	struct fg_err *err;
};

/* One block as its header describes it. */
struct packed {
	int64_t at[3]; /* in the grid */
	int64_t n[3];  /* voxels that exist */
	int bits;
	const uint8_t *values, *table;
	size_t entries; /* that fit between the table and the end of the file */
};

/* fmt takes two sizes. */
static int __attribute__((cold, noinline, format(printf, 3, 0)))
bad_block(const struct decoder *d, const struct packed *p, const char *fmt, size_t a,
    size_t b)
{
	char what[96];

	snprintf(what, sizeof what, fmt, a, b);
	return fg_fail(d->err, FG_ECORRUPT,
	    "compressed_segmentation block %lld,%lld,%lld: %s", (long long)p->at[0],
	    (long long)p->at[1], (long long)p->at[2], what);
}

static FG_CSEG_SPECIALISED uint64_t
entry(const uint8_t *table, size_t i, bool wide)
{
	return wide ? fg_get_u64le(table + 8 * i) : fg_get_u32le(table + 4 * i);
}

static FG_CSEG_SPECIALISED void
store(uint8_t *row, int64_t x, uint64_t label, bool wide)
{
	if (wide)
		fg_put_u64le(row + 8 * x, label);
	else
		fg_put_u32le(row + 4 * x, (uint32_t)label);
}

static FG_CSEG_SPECIALISED uint8_t *
row_of(const struct decoder *d, const struct packed *p, int64_t y, int64_t z, bool wide)
{
	int64_t at = p->at[0] * d->block[0] +
		     d->shape[0] * ((p->at[1] * d->block[1] + y) +
				       d->shape[1] * (p->at[2] * d->block[2] + z));

	return d->out + (size_t)at * (wide ? 8 : 4);
}

static FG_CSEG_SPECIALISED void
fill_block(const struct decoder *d, const struct packed *p, bool wide)
{
	uint64_t label = entry(p->table, 0, wide);

	for (int64_t z = 0; z < p->n[2]; z++) {
		for (int64_t y = 0; y < p->n[1]; y++) {
			uint8_t *row = row_of(d, p, y, z, wide);

			for (int64_t x = 0; x < p->n[0]; x++)
				store(row, x, label, wide);
		}
	}
}

/* b <= 8 and every index that b bits can say is in table. */
static FG_CSEG_SPECIALISED void
unpack_rows(const struct decoder *d, const struct packed *p, const uint64_t *table,
    int b, bool wide)
{
	const uint32_t mask = (UINT32_C(1) << b) - 1;

	for (int64_t z = 0; z < p->n[2]; z++) {
		for (int64_t y = 0; y < p->n[1]; y++) {
			uint8_t *row = row_of(d, p, y, z, wide);
			size_t bit =
			    (size_t)(d->block[0] * (y + d->block[1] * z)) * (size_t)b;
			int64_t x = 0;

			while (x < p->n[0]) {
				uint32_t w = fg_get_u32le(p->values + bit / 32 * 4) >>
					     (bit % 32);
				int64_t left = (int64_t)(32 - bit % 32) / b;
				int64_t end = FG_MIN(p->n[0], x + left);

				bit += (size_t)(left * b);
				for (; x + 4 <= end; x += 4) {
					for (int k = 0; k < 4; k++, w >>= b)
						store(row, x + k, table[w & mask],
						    wide);
				}
				for (; x < end; x++, w >>= b)
					store(row, x, table[w & mask], wide);
			}
		}
	}
}

/* Any number of bits, each index checked. */
static FG_CSEG_SPECIALISED int
unpack_checked(const struct decoder *d, const struct packed *p, bool wide)
{
	size_t b = (size_t)p->bits;
	const uint32_t mask = b == 32 ? UINT32_MAX : (UINT32_C(1) << b) - 1;

	for (int64_t z = 0; z < p->n[2]; z++) {
		for (int64_t y = 0; y < p->n[1]; y++) {
			uint8_t *row = row_of(d, p, y, z, wide);
			size_t bit = (size_t)(d->block[0] * (y + d->block[1] * z)) * b;

			for (int64_t x = 0; x < p->n[0]; x++, bit += b) {
				uint32_t i = fg_get_u32le(p->values + bit / 32 * 4) >>
						 (bit % 32) &
					     mask;

				if (i >= p->entries)
					return bad_block(d, p,
					    "table entry %zu of at most %zu", i,
					    p->entries);
				store(row, x, entry(p->table, i, wide), wide);
			}
		}
	}
	return 0;
}

/* Rows of eight labels at once. */
static void
unpack_eights(const struct decoder *d, const struct packed *p)
{
	uint32_t table[256];
	size_t n = (size_t)1 << p->bits;
	struct fg_cseg_rows r = {
	    .values = p->values,
	    .table = table,
	    .out = (uint32_t *)(void *)row_of(d, p, 0, 0, false),
	    .ny = p->n[1],
	    .nz = p->n[2],
	    .block_y = d->block[1],
	    .step_y = d->shape[0],
	    .step_z = d->shape[0] * d->shape[1],
	};

	memcpy(table, p->table, 4 * n);
	if (n < 16)
		memset(table + n, 0, 4 * (16 - n));
	fg_cseg_rows_avx2(&r, p->bits);
}

/* Labels of a block of nothing but one, in rows of eight: one long store each. */
static void
fill_eights(const struct decoder *d, const struct packed *p)
{
	uint32_t label = fg_get_u32le(p->table), eight[8];

	for (int k = 0; k < 8; k++)
		eight[k] = label;
	for (int64_t z = 0; z < p->n[2]; z++) {
		for (int64_t y = 0; y < p->n[1]; y++)
			memcpy(row_of(d, p, y, z, false), eight, sizeof eight);
	}
}

static FG_CSEG_SPECIALISED int
unpack_block(const struct decoder *d, const struct packed *p, bool wide)
{
	uint64_t table[256];
	size_t n = (size_t)1 << (p->bits & 15);
	bool eights = !wide && d->avx2 && d->block[0] == 8 && p->n[0] == 8;

	if (p->bits == 0 && eights) {
		fill_eights(d, p);
		return 0;
	}
	if (p->bits == 0) {
		fill_block(d, p, wide);
		return 0;
	}
	if (p->bits > 8 || p->entries < n)
		return unpack_checked(d, p, wide);
	if (eights) {
		unpack_eights(d, p);
		return 0;
	}
	for (size_t i = 0; i < n; i++)
		table[i] = entry(p->table, i, wide);
	/* Constants, so that each gets a loop of its own. */
	if (p->bits == 1)
		unpack_rows(d, p, table, 1, wide);
	else if (p->bits == 2)
		unpack_rows(d, p, table, 2, wide);
	else if (p->bits == 4)
		unpack_rows(d, p, table, 4, wide);
	else
		unpack_rows(d, p, table, 8, wide);
	return 0;
}

/* Read and check the header of block number i. */
static FG_CSEG_SPECIALISED int
read_header(const struct decoder *d, size_t i, struct packed *p, bool wide)
{
	uint32_t head = fg_get_u32le(d->channel + 8 * i);
	size_t values = fg_get_u32le(d->channel + 8 * i + 4),
	       table = head & FG_CSEG_OFFSET_MAX;
	int bits = (int)(head >> 24);
	size_t last; /* position of the last voxel that exists */

	for (int k = 0; k < 3; k++)
		p->n[k] = FG_MIN(d->block[k], d->shape[k] - p->at[k] * d->block[k]);
	if (bits > 32 || (bits & (bits - 1)))
		return bad_block(d, p, "%zu bits per voxel", (size_t)bits, 0);
	if (table > d->words || d->words - table < (wide ? 2 : 1))
		return bad_block(d, p, "table at word %zu of %zu", table, d->words);
	if (bits > 0) {
		last = (size_t)((p->n[0] - 1) +
				d->block[0] *
				    ((p->n[1] - 1) + d->block[1] * (p->n[2] - 1)));
		if (values > d->words ||
		    d->words - values < last * (size_t)bits / 32 + 1)
			return bad_block(d, p, "values at word %zu of %zu", values,
			    d->words);
	} else {
		values = 0; /* not read */
	}
	p->bits = bits;
	p->values = d->channel + 4 * values;
	p->table = d->channel + 4 * table;
	p->entries = (d->words - table) / (wide ? 2 : 1);
	return 0;
}

static FG_CSEG_SPECIALISED int
unpack_channel(const struct decoder *d, bool wide)
{
	struct packed p;
	size_t i = 0;

	for (p.at[2] = 0; p.at[2] < d->grid[2]; p.at[2]++) {
		for (p.at[1] = 0; p.at[1] < d->grid[1]; p.at[1]++) {
			for (p.at[0] = 0; p.at[0] < d->grid[0]; p.at[0]++, i++) {
				if (read_header(d, i, &p, wide) < 0 ||
				    unpack_block(d, &p, wide) < 0)
					return -1;
			}
		}
	}
	return 0;
}

int
fg_cseg_decode(const int64_t block[3], const uint8_t *p, size_t n, struct fg_array *out,
    struct fg_err *err)
{
	struct decoder d = {.err = err, .avx2 = fg_cseg_has_avx2()};
	size_t words = n / 4, channels = (size_t)out->shape[3];
	uint64_t blocks = 1;

	if (fg_cseg_check(block, out, err) < 0)
		return -1;
	for (int k = 0; k < 3; k++) {
		d.block[k] = block[k];
		d.shape[k] = out->shape[k];
		d.grid[k] = fg_div_ceil(out->shape[k], block[k]);
		if (__builtin_mul_overflow(blocks, (uint64_t)d.grid[k], &blocks))
			blocks =
			    UINT64_MAX; /* more than any file holds; noticed below */
	}
	if (n % 4 != 0 || words < channels)
		return fg_fail(err, FG_ECORRUPT,
		    "compressed_segmentation chunk of %zu bytes with %zu channels", n,
		    channels);
	for (size_t c = 0; c < channels; c++) {
		size_t start = fg_get_u32le(p + 4 * c);

		if (start < channels || start > words || (words - start) / 2 < blocks)
			return fg_fail(err, FG_ECORRUPT,
			    "compressed_segmentation channel %zu begins at word %zu of "
			    "%zu, too late for the headers of %llu blocks",
			    c, start, words, (unsigned long long)blocks);
		d.channel = p + 4 * start;
		d.words = words - start;
		d.out = (uint8_t *)out->data + c * (fg_array_bytes(out) / channels);
		if ((out->dtype == FG_U64 ? unpack_channel(&d, true)
					  : unpack_channel(&d, false)) < 0)
			return fg_err_prefix(err, "channel %zu", c);
	}
	return 0;
}
