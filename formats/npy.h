/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NumPy arrays: .npy files (format 1.0 to 3.0) and members of .npz (zip, stored or
 * deflated, ZIP64 not needed below 4 GiB). C order (z, y, x) becomes our (x, y, z);
 * Fortran order (x, y, z) is taken as it is. 1 to 4 axes; in C order a fourth, last
 * axis is the channel. Pickled objects are refused.
 * Source: numpy.lib.format's specification; PKWARE APPNOTE 6.3.
 */
#ifndef FG_FORMATS_NPY_H
#define FG_FORMATS_NPY_H

#include "base/array.h"
#include "base/buf.h"

/* One .npy. dtypes: those of fg_dtype plus int64 (kept as u64 bits; negative values
 * are refused) and bool (u8). `limit`: most bytes of voxel data to allocate. */
int fg_npy_decode(const uint8_t *p, size_t n, size_t limit, struct fg_array *out,
    struct fg_err *err) FG_MUST_USE;
/* What the header at p[0..n) says. shape and axes are the file's: slowest first, unless
 * fortran. */
struct fg_npy_head {
	enum fg_dtype dtype;
	bool is_signed64, swap, fortran;
	int rank; /* 1..4 */
	int64_t shape[4];
	size_t values; /* bytes before the first value */
};
int fg_npy_probe(const uint8_t *p, size_t n, struct fg_npy_head *out,
    struct fg_err *err) FG_MUST_USE;

/* Member `name` (with or without ".npy") of a .npz. name NULL: the only member. */
int fg_npz_decode(const uint8_t *p, size_t n, const char *name, size_t limit,
    struct fg_array *out, struct fg_err *err) FG_MUST_USE;
/* A .npy 1.0 file of the array, C order, axes (z, y, x) or (z, y, x, channel). */
int fg_npy_encode(const struct fg_array *in, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;

#endif
