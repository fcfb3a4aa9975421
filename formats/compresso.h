/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compresso: labels as a bit map of their borders (Matejek et al., MICCAI 2017), in the
 * stream of the PyPI package, versions 0 and 1 of the format.
 *
 * A voxel is *border* if its label differs from that of x + 1 or y + 1 (with
 * connectivity 6 also z + 1). The others fall into connected components, per section
 * or, with connectivity 6, in the volume, numbered by their first voxel in memory
 * order; the stream has one label for each. A border voxel has the label of x - 1, else
 * of y - 1 (else, with 6, of z - 1) if that one is not border; for the rest, the
 * stream has a code in memory order:
 *   0..5  as the neighbour x-1, x+1, y-1, y+1, z-1, z+1     6  the next number
 *   else  the number less 7
 * The border map is cut into windows; the distinct ones are a table, and the windows
 * are tokens: index << 1, or run << 1 | 1 for a run of index 0.
 *
 *   header (36)  | labels | table | codes | tokens | version 1: index of the sections
 *   0 "cpso"  4 version  5 label bytes  6 size (3 x u16)  12 window (3 x u8)
 *   15 labels (u64)  23 table (u32)  27 codes (u64)  35 connectivity (u8)
 *
 * Both directions hold the border as bit rows and work on runs of voxels that are not
 * border, so that a run of one label costs a few operations whatever its length. We
 * write version 1 with 4 x 4 x 1 windows, or 8 x 8 x 1 where those are too many.
 */
#ifndef FG_FORMATS_COMPRESSO_H
#define FG_FORMATS_COMPRESSO_H

#include "base/base.h"
#include "base/err.h"

#define FG_COMPRESSO_HEADER 36
#define FG_COMPRESSO_CODES 7 /* numbers that are not labels */
#define FG_COMPRESSO_NEXT 6  /* code: the next number is the label */

/* Voxels lo <= x < hi of a row that are not border. */
struct fg_compresso_run {
	uint32_t parent; /* first as a forest of runs, then the component's number */
	uint16_t lo, hi;
};

/* The border as bits, and what is between it. */
struct fg_compresso_map {
	int64_t n[3];
	int connectivity;
	size_t rows, words; /* rows of so many words; bit x % 64 of word x / 64 */
	uint64_t *bits;     /* 1: border; 0 beyond the row's end */
	struct fg_compresso_run *runs; /* in memory order */
	size_t *first;                 /* of each row, and their number at the end */
	uint64_t *components;          /* per section */
};

/* The map of n[0] x n[1] x n[2] voxels, no border yet. connectivity: 4 or 6. Release
 * with fg_compresso_map_fini also after a failure (FG_ENOMEM). */
int fg_compresso_map_init(struct fg_compresso_map *m, const int64_t n[3],
    int connectivity, struct fg_err *err) FG_MUST_USE;
void fg_compresso_map_fini(struct fg_compresso_map *m);

/* Of the border as it is now: the runs, with the number of each one's component as
 * parent (0, 1, ... in memory order), and how many components there are. */
int fg_compresso_map_components(struct fg_compresso_map *m, uint64_t *count,
    struct fg_err *err) FG_MUST_USE;

/* Where the voxels of word w of a row get their labels from. */
struct fg_compresso_origin {
	uint64_t left, up, below; /* masks: from x - 1, y - 1, z - 1 */
	uint64_t code;            /* from the stream */
};

struct fg_compresso_origin fg_compresso_map_origin(const struct fg_compresso_map *m,
    size_t row, size_t w);

/* The neighbour of code 0..5, if it is in the volume and not border: its index. */
bool fg_compresso_map_neighbour(const struct fg_compresso_map *m, int code, size_t row,
    int64_t x, size_t *at);

/* Bytes of the smallest integer that holds v. */
static inline size_t
fg_compresso_width(uint64_t v)
{
	return v <= UINT8_MAX ? 1 : v <= UINT16_MAX ? 2 : v <= UINT32_MAX ? 4 : 8;
}

static inline uint64_t
fg_compresso_load(const void *p, size_t i, size_t width)
{
	const uint8_t *at = (const uint8_t *)p + i * width;

	switch (width) {
	case 1:
		return *at;
	case 2:
		return fg_get_u16le(at);
	case 4:
		return fg_get_u32le(at);
	default:
		return fg_get_u64le(at);
	}
}

static inline void
fg_compresso_store(void *p, size_t i, size_t width, uint64_t v)
{
	uint8_t *at = (uint8_t *)p + i * width;

	switch (width) {
	case 1:
		*at = (uint8_t)v;
		break;
	case 2:
		fg_put_u16le(at, (uint16_t)v);
		break;
	case 4:
		fg_put_u32le(at, (uint32_t)v);
		break;
	default:
		fg_put_u64le(at, v);
		break;
	}
}

static inline uint64_t
fg_compresso_bits(int64_t n)
{
	return n >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << n) - 1;
}

#endif
