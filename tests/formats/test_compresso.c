/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compresso: streams of the PyPI package (tests/cases/compresso), round trips, and that
 * our bytes are those of the package.
 */
#include "config.h"

#include <stdlib.h>

#include "tests/formats/cases.h"

static const struct fg_scale scale = {.encoding = FG_ENC_COMPRESSO};

/* A case that the package wrote with its defaults must come out of our encoder. */
static void
test_bytes(const char *name)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_buf *made = NULL;
	char dir[1024];

	snprintf(dir, sizeof dir, "%s/tests/cases/compresso", getenv("srcdir"));
	struct fg_buf *in = cases_read(dir, name, "input");
	struct fg_buf *spec = cases_read(dir, name, "spec");
	struct fg_buf *voxels = cases_read(dir, name, "expected");
	if (!tap_ok(in && spec && voxels && cases_spec(spec, &a), "%s is there", name))
		goto out;
	memcpy(a.data, voxels->data, voxels->len);
	if (tap_rc(fg_codec_encode(&scale, &a, &made, &err), &err, name))
		tap_ok(made->len == in->len &&
			   memcmp(made->data, in->data, in->len) == 0,
		    "%s: the package's bytes", name);
out:
	fg_buf_unref(in);
	fg_buf_unref(spec);
	fg_buf_unref(voxels);
	fg_buf_unref(made);
	fg_array_fini(&a);
}

/* n^3 or so voxels, labels below `labels` in cubes of `side`, pseudo-random. */
static void
test_round_trip(enum fg_dtype t, const int64_t shape[4], uint64_t labels, int64_t side,
    int step)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a, back;
	struct fg_buf *f = NULL;
	size_t i = 0;

	tap_rc(fg_array_init(&a, t, shape, &err), &err, "array");
	tap_rc(fg_array_init_zero(&back, t, shape, &err), &err, "array");
	for (int64_t z = 0; z < shape[2]; z++) {
		for (int64_t y = 0; y < shape[1]; y++) {
			for (int64_t x = 0; x < shape[0]; x++, i++) {
				uint64_t v =
				    (uint64_t)(x / side) * 0x9e3779b97f4a7c15u +
				    (uint64_t)(y / side) * 0xd1b54a32d192ed03u +
				    (uint64_t)(z / side) * 0x8cb92ba72f3d8dd7u;
				v = (v ^ v >> 29) * 0xbf58476d1ce4e5b9u;
				v = (v >> 32) % labels;
				memcpy((uint8_t *)a.data + i * fg_dtype_size(t), &v,
				    fg_dtype_size(t));
			}
		}
	}
	if (tap_rc(fg_codec_encode(&scale, &a, &f, &err), &err, "encode") &&
	    tap_rc(fg_codec_decode(&scale, f->data, f->len, &back, &err), &err,
		"decode")) {
		tap_ok(memcmp(a.data, back.data, fg_array_bytes(&a)) == 0,
		    "%lld x %lld x %lld %s: the same voxels", (long long)shape[0],
		    (long long)shape[1], (long long)shape[2], fg_dtype_name(t));
		tap_int(f->data[12], step, "window");
	}
	fg_buf_unref(f);
	fg_array_fini(&a);
	fg_array_fini(&back);
}

/* Every cut of a stream is refused. */
static void
test_cuts(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;
	struct fg_buf *f = NULL;
	size_t refused = 0;

	tap_rc(fg_array_init_zero(&a, FG_U16, (int64_t[4]){12, 9, 2, 1}, &err), &err,
	    "array");
	for (size_t i = 0; i < fg_array_count(&a); i++)
		((uint16_t *)a.data)[i] = (uint16_t)(i / 5 % 7);
	tap_rc(fg_codec_encode(&scale, &a, &f, &err), &err, "encode");
	for (size_t cut = 0; cut < f->len; cut++) {
		uint8_t *exact = malloc(cut + !cut);
		struct fg_err e = FG_ERR_INIT;

		memcpy(exact, f->data, cut);
		refused += fg_codec_decode(&scale, exact, cut, &a, &e) < 0 &&
			   e.code == FG_ECORRUPT;
		free(exact);
	}
	tap_int(refused, f->len, "each cut is refused");
	fg_buf_unref(f);
	fg_array_fini(&a);
}

int
main(void)
{
	static const char *const ours[] = {"ok-u64", "ok-u32-wide-row", "ok-u8-noise",
	    "ok-u16-top-labels", "ok-u64-constant", "ok-u64-one-voxel"};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;
	struct fg_buf *f = NULL;

	cases_run("compresso", FG_ENC_COMPRESSO, 0);
	for (size_t i = 0; i < FG_COUNTOF(ours); i++)
		test_bytes(ours[i]);
	test_round_trip(FG_U64, (int64_t[4]){64, 64, 64, 1}, 1000, 9, 4);
	test_round_trip(FG_U8, (int64_t[4]){63, 65, 7, 1}, 3, 1, 4);
	test_round_trip(FG_U32, (int64_t[4]){1, 200, 3, 1}, 50, 2, 4);
	test_round_trip(FG_U32, (int64_t[4]){200, 1, 1, 1}, 50, 2, 4);
	test_round_trip(FG_U16, (int64_t[4]){65535, 2, 1, 1}, 60000, 3, 4);
	test_round_trip(FG_U16, (int64_t[4]){1000, 1000, 16, 1}, 2, 1, 8);
	test_cuts();
	tap_rc(fg_array_init_zero(&a, FG_U8, (int64_t[4]){65536, 1, 1, 1}, &err), &err,
	    "array");
	tap_fails(fg_codec_encode(&scale, &a, &f, &err), &err, FG_EINVAL,
	    "a side of 65536 voxels", "too wide");
	fg_array_fini(&a);
	return tap_done();
}
