/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Downsampling of windows two voxels wide with AVX2. Each function does as many whole
 * vectors of windows as there are and returns the number of windows done, 0 on machines
 * without AVX2; the results are those of the plain loops of seg/downsample.c, bit for
 * bit. Only that file uses this header.
 *
 *   row      fine rows, y fastest, then z; 2 * windows values of each are read
 *   windows  coarse voxels
 */
#ifndef FG_SEG_DOWNSAMPLE_AVX2_H
#define FG_SEG_DOWNSAMPLE_AVX2_H

#include "base/base.h"

/* Means of 2 * rows = 2^shift values each; even: to the nearest, halves to the even
 * one, else floor. At most 64 rows. */
int64_t fg_downsample_avx2_mean_u8(const void *const *row, int64_t rows, int shift,
    bool even, int64_t windows, uint8_t *out);
int64_t fg_downsample_avx2_mean_u16(const void *const *row, int64_t rows, int shift,
    bool even, int64_t windows, uint16_t *out);

/* Majorities of 2x2x1 (2 rows) and 2x2x2 (4 rows). */
int64_t fg_downsample_avx2_mode_u32(const void *const *row, int64_t rows,
    int64_t windows, uint32_t *out);
int64_t fg_downsample_avx2_mode_u64(const void *const *row, int64_t rows,
    int64_t windows, uint64_t *out);

#endif
