/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dense arrays of voxels: shape (x, y, z, channel), x fastest, channel slowest
 * (the order of the precomputed format's `raw` encoding). 3-D data has shape[3] = 1.
 */
#ifndef FG_BASE_ARRAY_H
#define FG_BASE_ARRAY_H

#include "base/box.h"
#include "base/err.h"

enum fg_dtype {
	FG_U8,
	FG_I8,
	FG_U16,
	FG_I16,
	FG_U32,
	FG_I32,
	FG_U64,
	FG_F32,
	FG_DTYPES /* their number */
};

struct fg_array {
	enum fg_dtype dtype;
	int64_t shape[4];
	void *data;
};

#define FG_ARRAY_INIT ((struct fg_array){.dtype = FG_U8})

size_t fg_dtype_size(enum fg_dtype t);      /* bytes per value: 1, 2, 4 or 8 */
const char *fg_dtype_name(enum fg_dtype t); /* "uint8", ... as in an info file */
/* Reads such a name (any case); fails: FG_EINVAL. */
int fg_dtype_parse(const char *name, enum fg_dtype *out,
    struct fg_err *err) FG_MUST_USE;

/* Allocate data for dtype and shape (every extent >= 0), not zeroed. The caller
 * releases it with fg_array_fini. Fails: FG_ENOMEM, FG_EINVAL on overflow. */
int fg_array_init(struct fg_array *a, enum fg_dtype t, const int64_t shape[4],
    struct fg_err *err) FG_MUST_USE;
/* The same, all zero. */
int fg_array_init_zero(struct fg_array *a, enum fg_dtype t, const int64_t shape[4],
    struct fg_err *err) FG_MUST_USE;
void fg_array_fini(struct fg_array *a);

/* Number of values, and of bytes. */
size_t fg_array_count(const struct fg_array *a);
size_t fg_array_bytes(const struct fg_array *a);
/* The value at index i as a real number: exact but for uint64 above 2^53. */
double fg_array_real(const struct fg_array *a, size_t i);
/* The same of unsigned integers, exactly: labels, masks. */
uint64_t fg_array_label(const struct fg_array *a, size_t i);
/* True if every byte is zero. */
bool fg_array_is_zero(const struct fg_array *a);

/*
 * Copy a box of voxels (all channels) between arrays of the same dtype and channel
 * count. `src_box` and `dst_box` are the boxes that the arrays fill, in one common
 * frame; the voxels in both are copied, the others of dst stay as they are.
 */
void fg_array_copy_box(struct fg_array *dst, const struct fg_box *dst_box,
    const struct fg_array *src, const struct fg_box *src_box);

#endif
