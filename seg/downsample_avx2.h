/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Downsampling of windows two voxels wide with AVX2. Each function does as many whole
 * vectors of windows as there are and returns the number of windows done; the results
 * are those of the plain loops of seg/downsample.c, bit for bit. Only that file uses
 * this header.
 *
 *   row      fine rows, y fastest, then z; 2 * windows values of each are read
 *   windows  coarse voxels
 */
#ifndef FG_SEG_DOWNSAMPLE_AVX2_H
#define FG_SEG_DOWNSAMPLE_AVX2_H

#include "base/base.h"

/* Mean of 2 * rows = 2^shift values each; even: to the nearest, halves to the even one,
 * else floor. At most 64 rows. */
typedef int64_t fg_downsample_mean_fn(const void *const *row, int64_t rows, int shift,
    bool even, int64_t windows, void *out);
/* Majority of 2x2x1 (2 rows) and 2x2x2 (4 rows); 0 for others. */
typedef int64_t fg_downsample_mode_fn(const void *const *row, int64_t rows,
    int64_t windows, void *out);

struct fg_downsample_avx2 {
	fg_downsample_mean_fn *mean_u8, *mean_u16;
	fg_downsample_mode_fn *mode_u32, *mode_u64;
};

/* NULL: this processor has no AVX2. */
const struct fg_downsample_avx2 *fg_downsample_avx2(void);

#endif
