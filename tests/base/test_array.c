/* SPDX-License-Identifier: Apache-2.0 */
/* Voxel arrays and boxes. */
#include "config.h"

#include "base/array.h"
#include "tests/tap.h"

int
main(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a, b;
	enum fg_dtype t;

	tap_rc(fg_array_init_zero(&a, FG_U16, (int64_t[4]){4, 3, 2, 2}, &err), &err,
	    "zero array");
	tap_int(fg_array_bytes(&a), 96, "bytes");
	tap_ok(fg_array_is_zero(&a), "is zero");
	tap_fails(fg_array_init(&b, FG_U64, (int64_t[4]){1 << 30, 1 << 30, 1 << 30, 1},
		      &err),
	    &err, FG_EINVAL, "too large", "overflow");
	tap_fails(fg_array_init(&b, FG_U8, (int64_t[4]){1, -1, 1, 1}, &err), &err,
	    FG_EINVAL, "too large", "negative extent");
	tap_rc(fg_array_init(&b, FG_U16, (int64_t[4]){3, 3, 3, 2}, &err), &err,
	    "another");
	for (size_t i = 0; i < fg_array_count(&b); i++)
		((uint16_t *)b.data)[i] = (uint16_t)(i + 1);
	/* b's box begins at (2,1,1) of a's frame: the common part is 2 x 2 x 1. */
	struct fg_box abox = {{0, 0, 0}, {4, 3, 2}}, bbox = {{2, 1, 1}, {5, 4, 4}};
	fg_array_copy_box(&a, &abox, &b, &bbox);
	const uint16_t *p = a.data;
	tap_int(p[2 + 4 * (1 + 3 * 1)], 1, "first voxel of b");
	tap_int(p[3 + 4 * (2 + 3 * 1)], 5, "(1,1,0) of b");
	tap_int(p[2 + 4 * (1 + 3 * (1 + 2))], 28, "second channel");
	tap_int(p[1 + 4 * (1 + 3 * 1)], 0, "outside b untouched");
	struct fg_array one = {.data = (int8_t[2]){1, -7}, .dtype = FG_I8};
	tap_ok(fg_array_real(&one, 1) == -7, "a signed value");
	one = (struct fg_array){.data = (uint32_t[1]){UINT32_MAX}, .dtype = FG_U32};
	tap_ok(fg_array_real(&one, 0) == 4294967295.0, "a large one");
	one = (struct fg_array){.data = (float[1]){0.25f}, .dtype = FG_F32};
	tap_ok(fg_array_real(&one, 0) == 0.25, "a fraction");
	tap_rc(fg_dtype_parse("Float32", &t, &err), &err, "dtype name, any case");
	tap_int(t, FG_F32, "its value");
	tap_fails(fg_dtype_parse("float64", &t, &err), &err, FG_EINVAL, "float64",
	    "unknown dtype");
	struct fg_box r;
	tap_ok(!fg_box_intersect(&abox, &(struct fg_box){{9, 0, 0}, {10, 1, 1}}, &r) &&
		   fg_box_is_empty(&r),
	    "disjoint boxes");
	fg_array_fini(&a);
	fg_array_fini(&b);
	return tap_done();
}
