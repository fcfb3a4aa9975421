/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coarser scales from finer ones: each voxel of the coarse array stands for a window of
 * the fine one, whose corner is the coarse voxel's position times the factor. Windows
 * at the upper edges use what is there.
 *
 * Both functions make one pass without allocating; channels are done one by one.
 */
#ifndef FG_SEG_DOWNSAMPLE_H
#define FG_SEG_DOWNSAMPLE_H

#include "base/array.h"

#define FG_DOWNSAMPLE_FACTOR_MAX 8

enum fg_rounding {
	FG_ROUND_FLOOR,        /* towards minus infinity */
	FG_ROUND_NEAREST_EVEN, /* to the nearest, halves to the even one */
};

/* ceil(src / factor) on the first three axes, the same number of channels. */
void fg_downsample_shape(const int64_t src[4], const int64_t factor[3], int64_t out[4]);

/*
 * Downsample an image by the mean of each window.
 *
 *   src       any dtype, shape (x, y, z, channels), voxels of scale s
 *   factor    window in voxels, each 1..8
 *   rounding  for whole-number dtypes, of the exact mean; float32 sums in double and
 *             rounds once
 *   dst       same dtype, shape as by fg_downsample_shape; caller allocates; not src
 *
 * The mean is exact for the array at hand. Making scale s + 2 from s + 1 rounds twice,
 * so with FG_ROUND_FLOOR a pyramid darkens by up to half a grey level per scale.
 * Fails: FG_EINVAL on dtype, factor or shape.
 */
int fg_downsample_mean(const struct fg_array *src, const int64_t factor[3],
    enum fg_rounding rounding, struct fg_array *dst, struct fg_err *err) FG_MUST_USE;

/*
 * Downsample labels by the most frequent one of each window.
 *
 *   src, factor, dst  as above; dtype u8, u16, u32 or u64
 *
 * A window of 2x2x1 voxels, a b in the first row and c d in the second, gives: a if
 * a = b or a = c, else b if b = c, else d (the usual rule of the field, a majority
 * where there is one). All others: the label with the most voxels, of equals the one
 * met first in x, y, z order. 0 votes like any other label.
 * Fails: FG_EINVAL on dtype, factor or shape.
 */
int fg_downsample_mode(const struct fg_array *src, const int64_t factor[3],
    struct fg_array *dst, struct fg_err *err) FG_MUST_USE;

/*
 * The same where 0 says that there is nothing (sparse data): it counts in a window only
 * if all of it is 0. labels: the most frequent of the others, of equals the one met
 * first in x, y, z order; else their mean, rounded as above.
 *
 *   src, factor, dst  as above; labels: dtype u8, u16, u32 or u64
 *
 * Cost: plain loops, several times that of the others.
 */
int fg_downsample_sparse(const struct fg_array *src, const int64_t factor[3],
    bool labels, enum fg_rounding rounding, struct fg_array *dst,
    struct fg_err *err) FG_MUST_USE;

#endif
