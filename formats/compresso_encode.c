/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing compresso; formats/compresso.h tells the format. The bytes are those that the
 * PyPI package writes by default.
 */
#include "config.h"

#include "formats/compresso.h"

#include <stdlib.h>

#include "formats/chunk.h"

#define SIDE_MAX 65535    /* sizes are u16 */
#define WINDOWS_MAX 32768 /* indices that fit a 16-bit token */

/* The parts of a stream before they are put together. */
struct writer {
	const struct fg_array *in;
	size_t width;
	struct fg_compresso_map m;
	uint64_t n_ids, n_locations;
	uint8_t *locations;
	uint64_t *starts;  /* first code of each section */
	uint64_t *windows; /* as bits, then as indices */
	uint64_t *values;
	size_t n_windows, n_values, n_tokens;
	int64_t side; /* of a window: 4 or 8 */
};

/* 64 bytes of 0 or 1 -> 64 bits. */
static uint64_t
pack_bits(const uint8_t byte[64])
{
	uint64_t bits = 0;

	for (int i = 0; i < 8; i++) {
		uint64_t eight = fg_get_u64le(byte + 8 * i);

		/* Byte k's lowest bit moves to bit 56 + k; nothing else gets there. */
		bits |= (eight * 0x0102040810204080u >> 56) << (8 * i);
	}
	return bits;
}

#define COMPARE(type)                                                                  \
	do {                                                                           \
		const type *a = (const type *)p, *b = (const type *)q;                 \
		for (size_t i = 0; i < n; i++)                                         \
			byte[i] |= a[i] != b[i];                                       \
	} while (0)

/* byte[i] |= whether label i of p is another one than label i of q. */
static void
compare(const uint8_t *p, const uint8_t *q, size_t n, size_t width, uint8_t *byte)
{
	switch (width) {
	case 1:
		COMPARE(uint8_t);
		break;
	case 2:
		COMPARE(uint16_t);
		break;
	case 4:
		COMPARE(uint32_t);
		break;
	default:
		COMPARE(uint64_t);
		break;
	}
}

static void
find_border(struct writer *w)
{
	struct fg_compresso_map *m = &w->m;
	size_t sx = (size_t)m->n[0], sy = (size_t)m->n[1];

	for (size_t row = 0; row < m->rows; row++) {
		const uint8_t *p = (const uint8_t *)w->in->data + row * sx * w->width;

		for (size_t x = 0; x < sx; x += 64) {
			uint8_t byte[64] = {0};
			size_t n = FG_MIN(sx - x, 64u);
			const uint8_t *at = p + x * w->width;

			compare(at, at + w->width, x + n < sx ? n : n - 1, w->width,
			    byte);
			if (row % sy + 1 < sy)
				compare(at, at + sx * w->width, n, w->width, byte);
			m->bits[row * m->words + x / 64] = pack_bits(byte);
		}
	}
}

static uint64_t
code_of(const struct writer *w, size_t row, int64_t x, uint64_t label)
{
	/* x-1 and y-1 would have been found; z is left out so that sections can be
	 * read one by one, as version 1 promises. */
	static const int tried[] = {1, 3};
	uint64_t max = ~(uint64_t)0 >> (64 - 8 * w->width);
	size_t at;

	for (size_t i = 0; i < FG_COUNTOF(tried); i++) {
		if (fg_compresso_map_neighbour(&w->m, tried[i], row, x, &at) &&
		    fg_compresso_load(w->in->data, at, w->width) == label)
			return (uint64_t)tried[i];
	}
	return label > max - FG_COMPRESSO_CODES ? FG_COMPRESSO_NEXT
						: label + FG_COMPRESSO_CODES;
}

static int
make_locations(struct writer *w, struct fg_err *err)
{
	struct fg_compresso_map *m = &w->m;
	size_t most = 0, sy = (size_t)m->n[1];
	uint64_t n = 0;

	for (size_t row = 0; row < m->rows; row++) {
		for (size_t k = 0; k < m->words; k++)
			most += (size_t)__builtin_popcountll(
			    fg_compresso_map_origin(m, row, k).code);
	}
	w->locations = malloc(FG_MAX(2 * most, 1u) * w->width);
	if (!w->locations)
		return fg_fail(err, FG_ENOMEM, "compresso: no memory for %zu codes",
		    most);
	for (size_t row = 0; row < m->rows; row++) {
		if (row % sy == 0)
			w->starts[row / sy] = n;
		for (size_t k = 0; k < m->words; k++) {
			uint64_t left = fg_compresso_map_origin(m, row, k).code;

			for (; left; left &= left - 1) {
				int64_t x = (int64_t)k * 64 + __builtin_ctzll(left);
				uint64_t label = fg_compresso_load(w->in->data,
				    row * (size_t)m->n[0] + (size_t)x, w->width);
				uint64_t code = code_of(w, row, x, label);

				fg_compresso_store(w->locations, n++, w->width, code);
				if (code == FG_COMPRESSO_NEXT)
					fg_compresso_store(w->locations, n++, w->width,
					    label);
			}
		}
	}
	w->n_locations = n;
	return 0;
}

/* The map in windows of side x side x 1. */
static void
cut_windows(struct writer *w, int64_t side)
{
	const struct fg_compresso_map *m = &w->m;
	int64_t nx = fg_div_ceil(m->n[0], side), ny = fg_div_ceil(m->n[1], side);
	uint64_t *out = w->windows;

	w->side = side;
	w->n_windows = (size_t)(nx * ny * m->n[2]);
	for (int64_t z = 0; z < m->n[2]; z++) {
		for (int64_t by = 0; by < ny; by++) {
			int64_t rows = FG_MIN(side, m->n[1] - by * side);
			const uint64_t *first =
			    m->bits + (size_t)(z * m->n[1] + by * side) * m->words;

			for (int64_t bx = 0; bx < nx; bx++) {
				uint64_t v = 0;

				for (int64_t i = 0; i < rows; i++)
					v |= (first[(size_t)i * m->words +
						    (size_t)(bx * side / 64)] >>
						     (bx * side % 64) &
						 fg_compresso_bits(side))
					     << (i * side);
				*out++ = v;
			}
		}
	}
}

static int
compare_u64(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The table of the distinct windows, ascending, and the index of each window. */
static void
number_small_windows(struct writer *w, uint16_t index[65536])
{
	memset(index, 0, 65536 * sizeof *index);
	for (size_t i = 0; i < w->n_windows; i++)
		index[w->windows[i]] = 1;
	w->n_values = 0;
	for (uint32_t v = 0; v < 65536; v++) {
		if (index[v]) {
			w->values[w->n_values] = v;
			index[v] = (uint16_t)w->n_values++;
		}
	}
	if (w->n_values > WINDOWS_MAX)
		return; /* the caller takes larger ones */
	for (size_t i = 0; i < w->n_windows; i++)
		w->windows[i] = index[w->windows[i]];
}

static void
number_large_windows(struct writer *w)
{
	size_t n = 0;

	memcpy(w->values, w->windows, w->n_windows * sizeof *w->values);
	qsort(w->values, w->n_windows, sizeof *w->values, compare_u64);
	for (size_t i = 0; i < w->n_windows; i++) {
		if (i == 0 || w->values[i] != w->values[n - 1])
			w->values[n++] = w->values[i];
	}
	w->n_values = n;
	for (size_t i = 0; i < w->n_windows; i++) {
		const uint64_t *at = bsearch(&w->windows[i], w->values, n,
		    sizeof *w->values, compare_u64);

		w->windows[i] = (uint64_t)(at - w->values);
	}
}

/* Indices -> tokens, in place: there are never more. */
static void
make_tokens(struct writer *w)
{
	uint64_t run_max = w->side == 4 ? WINDOWS_MAX - 1 : INT64_MAX, run = 0;
	size_t n = 0;

	for (size_t i = 0; i < w->n_windows; i++) {
		uint64_t v = w->windows[i];

		run += v == 0;
		if (run > 0 && (v != 0 || run == run_max)) {
			w->windows[n++] = run << 1 | 1;
			run = 0;
		}
		if (v != 0)
			w->windows[n++] = v << 1;
	}
	if (run > 0)
		w->windows[n++] = run << 1 | 1;
	w->n_tokens = n;
}

static int
make_windows(struct writer *w, struct fg_err *err)
{
	uint16_t *index = malloc(65536 * sizeof *index);
	size_t most =
	    (size_t)(fg_div_ceil(w->m.n[0], 4) * fg_div_ceil(w->m.n[1], 4) * w->m.n[2]);

	w->windows = malloc((most + 1) * sizeof *w->windows);
	w->values = malloc(FG_MAX(most, 65536u) * sizeof *w->values);
	if (!index || !w->windows || !w->values) {
		free(index);
		return fg_fail(err, FG_ENOMEM, "compresso: no memory for %zu windows",
		    most);
	}
	cut_windows(w, 4);
	number_small_windows(w, index);
	free(index);
	if (w->n_values > WINDOWS_MAX) {
		cut_windows(w, 8);
		number_large_windows(w);
	}
	make_tokens(w);
	return 0;
}

static void
put_header(const struct writer *w, uint8_t *p)
{
	memcpy(p, "cpso", 4);
	p[4] = 1;
	p[5] = (uint8_t)w->width;
	for (int d = 0; d < 3; d++)
		fg_put_u16le(p + 6 + 2 * d, (uint16_t)w->m.n[d]);
	p[12] = p[13] = (uint8_t)w->side;
	p[14] = 1;
	fg_put_u64le(p + 15, w->n_ids);
	fg_put_u32le(p + 23, (uint32_t)w->n_values);
	fg_put_u64le(p + 27, w->n_locations);
	p[35] = 4;
}

/* The label of each component, at its first run. */
static void
put_ids(const struct writer *w, uint8_t *p)
{
	const struct fg_compresso_map *m = &w->m;
	uint64_t next = 0;

	for (size_t row = 0; row < m->rows; row++) {
		for (size_t i = m->first[row]; i < m->first[row + 1]; i++) {
			if (m->runs[i].parent == next)
				fg_compresso_store(p, next++, w->width,
				    fg_compresso_load(w->in->data,
					row * (size_t)m->n[0] + m->runs[i].lo,
					w->width));
		}
	}
}

static int
put_stream(const struct writer *w, struct fg_buf **out, struct fg_err *err)
{
	size_t window = w->side == 4 ? 2 : 8;
	size_t sections = (size_t)w->m.n[2];
	size_t index =
	    fg_compresso_width(2 * (uint64_t)w->m.n[0] * (uint64_t)w->m.n[1]);
	size_t n = FG_COMPRESSO_HEADER + (w->n_ids + w->n_locations) * w->width +
		   (w->n_values + w->n_tokens) * window + 2 * sections * index;
	struct fg_buf *b = fg_buf_new(n);
	uint8_t *p;

	if (!b)
		return fg_fail(err, FG_ENOMEM, "compresso: no memory for %zu bytes", n);
	p = b->data;
	put_header(w, p);
	p += FG_COMPRESSO_HEADER;
	put_ids(w, p);
	p += w->n_ids * w->width;
	for (size_t i = 0; i < w->n_values; i++)
		fg_compresso_store(p, i, window, w->values[i]);
	p += w->n_values * window;
	memcpy(p, w->locations, w->n_locations * w->width);
	p += w->n_locations * w->width;
	for (size_t i = 0; i < w->n_tokens; i++)
		fg_compresso_store(p, i, window, w->windows[i]);
	p += w->n_tokens * window;
	for (size_t z = 0; z < sections; z++) {
		fg_compresso_store(p, z, index, w->m.components[z]);
		fg_compresso_store(p, sections + z, index,
		    z > 0 ? w->starts[z] - w->starts[z - 1] : 0);
	}
	*out = b;
	return 0;
}

int
fg_compresso_encode(const struct fg_array *in, struct fg_buf **out, struct fg_err *err)
{
	struct writer w = {.in = in, .width = fg_dtype_size(in->dtype)};
	int rc = -1;

	for (int d = 0; d < 3; d++) {
		if (in->shape[d] > SIDE_MAX)
			return fg_fail(err, FG_EINVAL,
			    "compresso: a side of %lld voxels, at most %d",
			    (long long)in->shape[d], SIDE_MAX);
	}
	if (fg_compresso_map_init(&w.m, in->shape, 4, err) < 0)
		goto out;
	w.starts = calloc((size_t)in->shape[2], sizeof *w.starts);
	if (!w.starts) {
		fg_fail(err, FG_ENOMEM, "compresso: no memory");
		goto out;
	}
	find_border(&w);
	if (fg_compresso_map_components(&w.m, &w.n_ids, err) < 0 ||
	    make_locations(&w, err) < 0 || make_windows(&w, err) < 0 ||
	    put_stream(&w, out, err) < 0)
		goto out;
	rc = 0;
out:
	free(w.starts);
	free(w.locations);
	free(w.windows);
	free(w.values);
	fg_compresso_map_fini(&w.m);
	return rc;
}
