/* SPDX-License-Identifier: Apache-2.0 */
/* Dense voxel arrays: see the header. */
#include "config.h"

#include "base/array.h"

#include <stdlib.h>
#include <strings.h>

static const struct {
	const char *name;
	size_t size;
} dtypes[FG_DTYPES] = {
    [FG_U8] = {"uint8", 1},
    [FG_I8] = {"int8", 1},
    [FG_U16] = {"uint16", 2},
    [FG_I16] = {"int16", 2},
    [FG_U32] = {"uint32", 4},
    [FG_I32] = {"int32", 4},
    [FG_U64] = {"uint64", 8},
    [FG_F32] = {"float32", 4},
};

size_t
fg_dtype_size(enum fg_dtype t)
{
	fg_assert((unsigned)t < FG_DTYPES);
	return dtypes[t].size;
}

const char *
fg_dtype_name(enum fg_dtype t)
{
	fg_assert((unsigned)t < FG_DTYPES);
	return dtypes[t].name;
}

int
fg_dtype_parse(const char *name, enum fg_dtype *out, struct fg_err *err)
{
	for (int t = 0; t < FG_DTYPES; t++) {
		if (strcasecmp(name, dtypes[t].name) == 0) {
			*out = (enum fg_dtype)t;
			return 0;
		}
	}
	return fg_fail(err, FG_EINVAL, "data type \"%.40s\" is not known", name);
}

/* Bytes of such an array, or false on overflow or a negative extent. */
static bool
byte_count(enum fg_dtype t, const int64_t shape[4], size_t *bytes)
{
	size_t n = fg_dtype_size(t);

	for (int d = 0; d < 4; d++) {
		if (shape[d] < 0 || __builtin_mul_overflow(n, (size_t)shape[d], &n))
			return false;
	}
	*bytes = n;
	return n <= SIZE_MAX / 2;
}

int
fg_array_init(struct fg_array *a, enum fg_dtype t, const int64_t shape[4],
    struct fg_err *err)
{
	size_t bytes;
	void *p;

	if (!byte_count(t, shape, &bytes))
		return fg_fail(err, FG_EINVAL,
		    "array of %lld x %lld x %lld x %lld values is too large",
		    (long long)shape[0], (long long)shape[1], (long long)shape[2],
		    (long long)shape[3]);
	p = fg_try_alloc(bytes, 1);
	if (!p)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu bytes", bytes);
	*a = (struct fg_array){.dtype = t, .data = p};
	memcpy(a->shape, shape, sizeof a->shape);
	return 0;
}

int
fg_array_init_zero(struct fg_array *a, enum fg_dtype t, const int64_t shape[4],
    struct fg_err *err)
{
	if (fg_array_init(a, t, shape, err) < 0)
		return -1;
	memset(a->data, 0, fg_array_bytes(a));
	return 0;
}

void
fg_array_fini(struct fg_array *a)
{
	free(a->data);
	*a = FG_ARRAY_INIT;
}

size_t
fg_array_count(const struct fg_array *a)
{
	return (size_t)(a->shape[0] * a->shape[1] * a->shape[2] * a->shape[3]);
}

size_t
fg_array_bytes(const struct fg_array *a)
{
	return fg_array_count(a) * fg_dtype_size(a->dtype);
}

double
fg_array_real(const struct fg_array *a, size_t i)
{
	switch (a->dtype) {
	case FG_U8:
		return ((const uint8_t *)a->data)[i];
	case FG_I8:
		return ((const int8_t *)a->data)[i];
	case FG_U16:
		return ((const uint16_t *)a->data)[i];
	case FG_I16:
		return ((const int16_t *)a->data)[i];
	case FG_U32:
		return ((const uint32_t *)a->data)[i];
	case FG_I32:
		return ((const int32_t *)a->data)[i];
	case FG_U64:
		return (double)((const uint64_t *)a->data)[i];
	case FG_F32:
		return ((const float *)a->data)[i];
	case FG_DTYPES:
		break;
	}
	return 0;
}

uint64_t
fg_array_label(const struct fg_array *a, size_t i)
{
	switch (a->dtype) {
	case FG_U8:
		return ((const uint8_t *)a->data)[i];
	case FG_U16:
		return ((const uint16_t *)a->data)[i];
	case FG_U32:
		return ((const uint32_t *)a->data)[i];
	default:
		return ((const uint64_t *)a->data)[i];
	}
}

bool
fg_array_is_zero(const struct fg_array *a)
{
	const uint8_t *p = a->data;
	size_t n = fg_array_bytes(a);

	/* The buffer equals itself shifted by one byte if it starts with zero. */
	return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Value index of voxel (x, y, z), channel c of an array that fills box b. */
static size_t
at(const struct fg_array *a, const struct fg_box *b, int64_t x, int64_t y, int64_t z,
    int64_t c)
{
	return (size_t)((x - b->lo[0]) +
			a->shape[0] *
			    ((y - b->lo[1]) +
				a->shape[1] * ((z - b->lo[2]) + a->shape[2] * c)));
}

void
fg_array_copy_box(struct fg_array *dst, const struct fg_box *dst_box,
    const struct fg_array *src, const struct fg_box *src_box)
{
	struct fg_box b;
	size_t size = fg_dtype_size(dst->dtype);

	fg_assert(dst->dtype == src->dtype && dst->shape[3] == src->shape[3]);
	for (int d = 0; d < 3; d++) {
		fg_assert(dst->shape[d] == dst_box->hi[d] - dst_box->lo[d]);
		fg_assert(src->shape[d] == src_box->hi[d] - src_box->lo[d]);
	}
	if (!fg_box_intersect(dst_box, src_box, &b))
		return;
	size_t row = (size_t)(b.hi[0] - b.lo[0]) * size;
	for (int64_t c = 0; c < dst->shape[3]; c++) {
		for (int64_t z = b.lo[2]; z < b.hi[2]; z++) {
			for (int64_t y = b.lo[1]; y < b.hi[1]; y++) {
				memcpy((char *)dst->data +
					   at(dst, dst_box, b.lo[0], y, z, c) * size,
				    (const char *)src->data +
					at(src, src_box, b.lo[0], y, z, c) * size,
				    row);
			}
		}
	}
}
