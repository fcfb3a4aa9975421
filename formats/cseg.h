/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of compressed_segmentation (cseg.c, cseg_encode.c) share. */
#ifndef FG_FORMATS_CSEG_H
#define FG_FORMATS_CSEG_H

#include "base/array.h"

/* Offsets of tables have 24 bits; those of values too in the viewer. In words. */
#define FG_CSEG_OFFSET_MAX ((UINT32_C(1) << 24) - 1)

/* For functions that take the label's width, or bits per voxel, as an argument that is
 * constant at each call: the compiler makes one copy for each value. */
#define FG_CSEG_SPECIALISED inline __attribute__((always_inline))

/* Whether such labels and blocks can be encoded at all; FG_EINVAL if not. */
int fg_cseg_check(const int64_t block[3], const struct fg_array *a,
    struct fg_err *err) FG_MUST_USE;

/* Rows of exactly eight 32-bit labels, for machines with AVX2 (cseg_avx2.c). */
struct fg_cseg_rows {
	const uint8_t *values;  /* packed, from the block's first voxel on */
	const uint32_t *table;  /* 16 entries, or 256 for 8 bits */
	uint32_t *out;          /* first label of the block */
	int64_t ny, nz;         /* rows that exist */
	int64_t block_y;        /* rows of a plane of the block */
	int64_t step_y, step_z; /* labels from a row, and from a plane, to the next */
};
bool fg_cseg_has_avx2(void);
/* bits: 1, 2, 4 or 8. */
void fg_cseg_rows_avx2(const struct fg_cseg_rows *r, int bits);

#endif
