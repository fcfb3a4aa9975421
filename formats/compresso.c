/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading compresso; formats/compresso.h tells the format. Every number of the stream
 * is checked before it is used, and one that leads nowhere or is left over is an error:
 * the streams of all writers use each number once.
 */
#include "config.h"

#include "formats/compresso.h"

#include <stdlib.h>

#include "formats/chunk.h"

struct header {
	int width; /* bytes of a label */
	int64_t step[3];
	size_t window; /* bytes of a window */
	uint64_t ids, values, locations;
	int connectivity;
	bool indexed; /* version 1 */
};

/* A stream under way. */
struct reader {
	struct header h;
	const uint8_t *ids, *values, *locations, *tokens;
	size_t n_tokens;
	struct fg_compresso_map m;
	uint8_t *out;
};

static int
read_sizes(struct header *h, const uint8_t *p, size_t n, const struct fg_array *out,
    struct fg_err *err)
{
	if (n < FG_COMPRESSO_HEADER || memcmp(p, "cpso", 4) != 0)
		return fg_fail(err, FG_ECORRUPT,
		    "compresso: no stream (%zu bytes without \"cpso\" or header)", n);
	if (p[4] > 1)
		return fg_fail(err, FG_ECORRUPT,
		    "compresso: version %d, only 0 and 1 are known", p[4]);
	*h = (struct header){.width = p[5],
	    .step = {p[12], p[13], p[14]},
	    .ids = fg_get_u64le(p + 15),
	    .values = fg_get_u32le(p + 23),
	    .locations = fg_get_u64le(p + 27),
	    .connectivity = p[35],
	    .indexed = p[4] == 1};
	if ((size_t)h->width != fg_dtype_size(out->dtype))
		return fg_fail(err, FG_ECORRUPT,
		    "compresso: labels of %d bytes, not %zu", h->width,
		    fg_dtype_size(out->dtype));
	for (int d = 0; d < 3; d++) {
		if (fg_get_u16le(p + 6 + 2 * d) != out->shape[d])
			return fg_fail(err, FG_ECORRUPT,
			    "compresso: %u x %u x %u voxels, not %lld x %lld x %lld",
			    fg_get_u16le(p + 6), fg_get_u16le(p + 8),
			    fg_get_u16le(p + 10), (long long)out->shape[0],
			    (long long)out->shape[1], (long long)out->shape[2]);
	}
	return 0;
}

static int
read_header(struct header *h, const uint8_t *p, size_t n, const struct fg_array *out,
    struct fg_err *err)
{
	if (read_sizes(h, p, n, out, err) < 0)
		return -1;
	int64_t bits = h->step[0] * h->step[1] * h->step[2];
	if (bits < 1 || bits > 64)
		return fg_fail(err, FG_ECORRUPT,
		    "compresso: windows of %lld x %lld x %lld voxels, not 1 to 64",
		    (long long)h->step[0], (long long)h->step[1],
		    (long long)h->step[2]);
	if (h->connectivity != 4 && h->connectivity != 6)
		return fg_fail(err, FG_ECORRUPT,
		    "compresso: connectivity %d, not 4 or 6", h->connectivity);
	h->window = bits <= 8 ? 1 : bits <= 16 ? 2 : bits <= 32 ? 4 : 8;
	return 0;
}

/* Where the parts are; every later access stays inside them. */
static int
find_parts(struct reader *r, const uint8_t *p, size_t n, struct fg_err *err)
{
	const struct header *h = &r->h;
	size_t width = (size_t)h->width, left = n - FG_COMPRESSO_HEADER, index = 0;

	if (h->indexed)
		index =
		    2 * (size_t)r->m.n[2] *
		    fg_compresso_width(2 * (uint64_t)r->m.n[0] * (uint64_t)r->m.n[1]);
	if (h->ids > left / width || h->locations > left / width ||
	    h->values > left / h->window || index > left ||
	    h->ids * width + h->locations * width + h->values * h->window + index >
		left)
		return fg_fail(err, FG_ECORRUPT,
		    "compresso: %llu labels, %llu windows, %llu codes and %zu bytes of "
		    "index are more than %zu bytes",
		    (unsigned long long)h->ids, (unsigned long long)h->values,
		    (unsigned long long)h->locations, index, n);
	r->ids = p + FG_COMPRESSO_HEADER;
	r->values = r->ids + h->ids * width;
	r->locations = r->values + h->values * h->window;
	r->tokens = r->locations + h->locations * width;
	left -= (size_t)(r->tokens - r->ids) + index;
	if (left % h->window != 0)
		return fg_fail(err, FG_ECORRUPT,
		    "compresso: %zu bytes of windows of %zu bytes", left, h->window);
	r->n_tokens = left / h->window;
	return 0;
}

/* The bits of one window into the map; b is the window's place. */
static void
put_window(struct fg_compresso_map *m, const int64_t step[3], const int64_t b[3],
    uint64_t v)
{
	int64_t x = b[0] * step[0];
	int shift = (int)(x % 64);

	for (int64_t z = b[2] * step[2]; z < (b[2] + 1) * step[2] && z < m->n[2]; z++) {
		for (int64_t i = 0; i < step[1]; i++) {
			int64_t y = b[1] * step[1] + i;
			uint64_t part = v & fg_compresso_bits(step[0]);

			v = step[0] < 64 ? v >> step[0] : 0;
			if (y >= m->n[1])
				continue;
			uint64_t *at = m->bits + (size_t)(z * m->n[1] + y) * m->words +
				       (size_t)x / 64;
			*at |= part << shift;
			if (shift > 0 && (size_t)x / 64 + 1 < m->words)
				at[1] |= part >> (64 - shift);
		}
	}
}

static int
read_windows(struct reader *r, struct fg_err *err)
{
	const struct header *h = &r->h;
	uint64_t grid[3], all, at = 0;

	for (int d = 0; d < 3; d++)
		grid[d] = (uint64_t)fg_div_ceil(r->m.n[d], h->step[d]);
	all = grid[0] * grid[1] * grid[2];
	for (size_t i = 0; i < r->n_tokens; i++) {
		uint64_t token = fg_compresso_load(r->tokens, i, h->window);
		uint64_t run = token & 1 ? token >> 1 : 1;
		uint64_t index = token & 1 ? 0 : token >> 1;

		if (index >= h->values || run > all - at)
			return fg_fail(err, FG_ECORRUPT,
			    "compresso: window %llu of %llu: %llu times entry %llu of "
			    "%llu",
			    (unsigned long long)at, (unsigned long long)all,
			    (unsigned long long)run, (unsigned long long)index,
			    (unsigned long long)h->values);
		uint64_t v = fg_compresso_load(r->values, index, h->window);
		for (uint64_t k = at; v && k < at + run; k++)
			put_window(&r->m, h->step,
			    (int64_t[3]){(int64_t)(k % grid[0]),
				(int64_t)(k / grid[0] % grid[1]),
				(int64_t)(k / grid[0] / grid[1])},
			    v);
		at += run;
	}
	if (at != all)
		return fg_fail(err, FG_ECORRUPT, "compresso: %llu windows, not %llu",
		    (unsigned long long)at, (unsigned long long)all);
	for (size_t row = 0; row < r->m.rows; row++)
		r->m.bits[(row + 1) * r->m.words - 1] &=
		    fg_compresso_bits(r->m.n[0] - (int64_t)(r->m.words - 1) * 64);
	return 0;
}

/* n voxels from `at` on get the label v. */
static void
fill(uint8_t *out, size_t width, size_t at, size_t n, uint64_t v)
{
	switch (width) {
	case 1:
		memset(out + at, (int)v, n);
		break;
	case 2:
		for (size_t i = 0; i < n; i++)
			((uint16_t *)out)[at + i] = (uint16_t)v;
		break;
	case 4:
		for (size_t i = 0; i < n; i++)
			((uint32_t *)out)[at + i] = (uint32_t)v;
		break;
	default:
		for (size_t i = 0; i < n; i++)
			((uint64_t *)out)[at + i] = v;
		break;
	}
}

static int
fill_runs(struct reader *r, struct fg_err *err)
{
	struct fg_compresso_map *m = &r->m;
	size_t width = (size_t)r->h.width;
	uint64_t count = 0;

	if (fg_compresso_map_components(m, &count, err) < 0)
		return -1;
	if (count != r->h.ids)
		return fg_fail(err, FG_ECORRUPT,
		    "compresso: %llu labels for %llu components",
		    (unsigned long long)r->h.ids, (unsigned long long)count);
	for (size_t row = 0; row < m->rows; row++) {
		for (size_t i = m->first[row]; i < m->first[row + 1]; i++)
			fill(r->out, width, row * (size_t)m->n[0] + m->runs[i].lo,
			    (size_t)(m->runs[i].hi - m->runs[i].lo),
			    fg_compresso_load(r->ids, m->runs[i].parent, width));
	}
	return 0;
}

/* Voxels of `mask` (from index `at` on) take the label that is `back` before them. */
static void
copy_labels(uint8_t *out, size_t width, size_t at, uint64_t mask, size_t back)
{
	for (; mask; mask &= mask - 1) {
		size_t i = at + (size_t)__builtin_ctzll(mask);

		fg_compresso_store(out, i, width,
		    fg_compresso_load(out, i - back, width));
	}
}

/* One voxel's label from the stream; *next is the next code. */
static int
read_code(struct reader *r, size_t row, int64_t x, uint64_t *next, struct fg_err *err)
{
	size_t width = (size_t)r->h.width, at, from = 0;
	uint64_t code, label;

	at = row * (size_t)r->m.n[0] + (size_t)x;
	if (*next >= r->h.locations)
		return fg_fail(err, FG_ECORRUPT,
		    "compresso: %llu codes are too few (voxel %zu)",
		    (unsigned long long)r->h.locations, at);
	code = fg_compresso_load(r->locations, (*next)++, width);
	if (code > FG_COMPRESSO_NEXT) {
		label = code - FG_COMPRESSO_CODES;
	} else if (code == FG_COMPRESSO_NEXT && *next < r->h.locations) {
		label = fg_compresso_load(r->locations, (*next)++, width);
	} else if (code < FG_COMPRESSO_NEXT &&
		   fg_compresso_map_neighbour(&r->m, (int)code, row, x, &from)) {
		label = fg_compresso_load(r->out, from, width);
	} else {
		return fg_fail(err, FG_ECORRUPT,
		    "compresso: code %llu of voxel %zu leads to no label",
		    (unsigned long long)code, at);
	}
	fg_compresso_store(r->out, at, width, label);
	return 0;
}

static int
fill_border(struct reader *r, struct fg_err *err)
{
	struct fg_compresso_map *m = &r->m;
	size_t width = (size_t)r->h.width, sx = (size_t)m->n[0];
	uint64_t next = 0;

	for (size_t row = 0; row < m->rows; row++) {
		for (size_t w = 0; w < m->words; w++) {
			struct fg_compresso_origin o =
			    fg_compresso_map_origin(m, row, w);
			size_t at = row * sx + w * 64;

			copy_labels(r->out, width, at, o.left, 1);
			copy_labels(r->out, width, at, o.up, sx);
			copy_labels(r->out, width, at, o.below, sx * (size_t)m->n[1]);
			for (; o.code; o.code &= o.code - 1) {
				int64_t x = (int64_t)w * 64 + __builtin_ctzll(o.code);

				if (read_code(r, row, x, &next, err) < 0)
					return -1;
			}
		}
	}
	if (next != r->h.locations)
		return fg_fail(err, FG_ECORRUPT,
		    "compresso: %llu codes, but %llu are needed",
		    (unsigned long long)r->h.locations, (unsigned long long)next);
	return 0;
}

int
fg_compresso_decode(const uint8_t *p, size_t n, struct fg_array *out,
    struct fg_err *err)
{
	struct reader r = {.out = out->data};
	int rc = -1;

	if (read_header(&r.h, p, n, out, err) < 0)
		return -1;
	if (fg_compresso_map_init(&r.m, out->shape, r.h.connectivity, err) < 0)
		goto out;
	if (find_parts(&r, p, n, err) < 0 || read_windows(&r, err) < 0 ||
	    fill_runs(&r, err) < 0 || fill_border(&r, err) < 0)
		goto out;
	rc = 0;
out:
	fg_compresso_map_fini(&r.m);
	return rc;
}
