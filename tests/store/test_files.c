/* SPDX-License-Identifier: Apache-2.0 */
/* File sources: options of the URL, the info that is made, boxes and chunks. */
#include "config.h"

#include <stdlib.h>

#include "store/source.h"
#include "tests/tap.h"

static struct fg_source *
open_file(const char *scheme, const char *rest, struct fg_err *err)
{
	char *url =
	    fg_asprintf("%s:%s/tests/cases/files/%s", scheme, getenv("srcdir"), rest);
	struct fg_source *s = fg_source_open(url, err);

	free(url);
	return s;
}

static void
refused(const char *scheme, const char *rest, enum fg_code code, const char *part)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_source *s = open_file(scheme, rest, &err);

	tap_ok(!s && err.code == code && strstr(err.msg, part), "%s: %s: %s", rest,
	    fg_code_name(err.code), err.msg);
	fg_source_close(s);
}

/* A pyramid: every scale has its grid; chunks are raw voxels of the box. */
static void
test_scales(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = NULL;
	struct fg_source *s = open_file("n5",
	    "scales.n5?nm=4,4,40&offset=10,-20,30&chunk=8,4,2&type=segmentation", &err);

	if (!tap_ok(s != NULL, "opens %s", err.msg))
		return;
	const struct fg_scale *s0 = &s->info.scale[0], *s1 = &s->info.scale[1];
	tap_int(s->info.scales, 2, "scales");
	tap_int(s->info.type, FG_SEGMENTATION, "type");
	tap_str(s0->key, "4_4_40", "key");
	tap_str(s1->key, "8_8_80", "key of scale 1");
	tap_ok(s0->offset[0] == 10 && s0->offset[1] == -20 && s0->offset[2] == 30,
	    "offset");
	tap_ok(s1->offset[0] == 5 && s1->offset[1] == -10 && s1->offset[2] == 15,
	    "offset of scale 1");
	tap_ok(s0->chunk[0] == 8 && s0->chunk[1] == 4 && s0->chunk[2] == 2, "chunk");
	tap_ok(s1->chunk[0] == 4 && s1->chunk[1] == 4 && s1->chunk[2] == 2,
	    "chunks are cut to the volume");
	if (tap_rc(fg_source_chunk(s, 0, (int64_t[3]){0, 1, 3}, &b, &err), &err,
		"a chunk")) {
		tap_int(b->len, 8 * 4 * 2, "its bytes");
		tap_int(b->data[0], 1 + 3 * 4 + 7 * 6, "its first voxel");
		tap_int(b->data[63], 1 + 7 + 3 * 7 + 7 * 7, "its last voxel");
		fg_buf_unref(b);
	}
	struct fg_array a, absent;
	struct fg_box vx = {{11, -18, 30}, {13, -17, 32}};
	tap_rc(fg_array_init(&a, FG_U8, (int64_t[4]){2, 1, 2, 1}, &err), &err, "array");
	tap_rc(fg_array_init(&absent, FG_U8, (int64_t[4]){2, 1, 2, 1}, &err), &err,
	    "mask");
	if (tap_rc(fg_source_box(s, 0, &vx, &a, &absent, &err), &err, "a box")) {
		uint8_t *v = a.data;

		tap_ok(v[0] == 8 && v[1] == 9 && v[2] == 15 && v[3] == 16,
		    "its voxels: %u %u %u %u", v[0], v[1], v[2], v[3]);
		tap_ok(fg_array_is_zero(&absent), "nothing is absent");
	}
	vx.hi[0] = 19;
	tap_fails(fg_source_box(s, 0, &vx, &a, NULL, &err), &err, FG_EINVAL,
	    "not inside", "a box outside");
	fg_array_fini(&a);
	fg_array_fini(&absent);
	fg_source_close(s);
}

static void
test_options(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_source *s = open_file("n5", "gzip.n5", &err);

	if (tap_ok(s != NULL, "the file's own resolution %s", err.msg))
		tap_ok(s->info.scale[0].nm[2] == 40 && s->info.dtype == FG_U64 &&
			   s->info.scale[0].chunk[0] == 9,
		    "40 nm, uint64");
	fg_source_close(s);
	s = open_file("n5", "gzip.n5?nm=1,2,3.5", &err);
	if (tap_ok(s != NULL, "another one %s", err.msg))
		tap_str(s->info.scale[0].key, "1_2_3.5", "3.5 nm");
	fg_source_close(s);
	s = open_file("n5", "gzip.n5?nm=1,1,1&axes=zyx", &err);
	if (tap_ok(s != NULL, "axes turned round %s", err.msg))
		tap_ok(s->info.scale[0].size[0] == 5 && s->info.scale[0].size[2] == 9,
		    "5 x 7 x 9");
	fg_source_close(s);
	refused("n5", "zstd.n5", FG_EINVAL, "add ?nm=X,Y,Z");
	refused("n5", "zstd.n5?nm=8,8", FG_EINVAL, "nm=8,8 is not possible");
	refused("n5", "zstd.n5?nm=8,8,0", FG_EINVAL, "is not possible");
	refused("n5", "zstd.n5?nm=8,8,8,8", FG_EINVAL, "is not possible");
	refused("n5", "zstd.n5?nm=8,8,nan", FG_EINVAL, "is not possible");
	refused("n5", "zstd.n5?nm=8,8,8&chunk=0,1,1", FG_EINVAL, "chunk=0,1,1");
	refused("n5", "zstd.n5?nm=8,8,8&chunk=1.5,1,1", FG_EINVAL, "chunk=1.5,1,1");
	refused("n5", "zstd.n5?nm=8,8,8&colour=red", FG_EINVAL, "option \"colour\"");
	refused("n5", "zstd.n5?nm=8,8,8&type", FG_EINVAL, "has no value");
	refused("n5", "zstd.n5?nm=8,8,8&type=mesh", FG_EINVAL, "type=mesh");
#ifdef HAVE_BLOSC
	refused("n5", "blosc.n5?nm=8,8,8&type=segmentation", FG_EINVAL, "float32");
#endif
	refused("n5", "none.n5?nm=8,8,8", FG_ENOENT, "no N5 dataset");
	refused("zarr", "f8.zarr?nm=8,8,8", FG_ENOTSUP, "float64");
}

static void
test_libraries(void)
{
	static const struct {
		const char *scheme, *rest;
		bool built;
	} all[] = {
#ifdef HAVE_HDF5
	    {"hdf5", "a.h5:/raw?nm=8,8,8", true},
#else
	    {"hdf5", "a.h5:/raw?nm=8,8,8", false},
#endif
#ifdef HAVE_TIFF
	    {"tiff", "u1.tif?nm=8,8,8", true},
#else
	    {"tiff", "u1.tif?nm=8,8,8", false},
#endif
	    {"zarr", "v2-gzip.zarr?nm=8,8,8", true},
	};

	for (size_t i = 0; i < FG_COUNTOF(all); i++) {
		struct fg_err err = FG_ERR_INIT;
		struct fg_buf *b = NULL;
		struct fg_source *s = open_file(all[i].scheme, all[i].rest, &err);

		if (!all[i].built) {
			tap_ok(!s && err.code == FG_ENOTSUP, "%s: %s", all[i].rest,
			    err.msg);
		} else if (tap_ok(s != NULL, "%s opens %s", all[i].rest, err.msg)) {
			tap_rc(fg_source_chunk(s, 0, (int64_t[3]){0, 0, 0}, &b, &err),
			    &err, "a chunk");
			tap_int(b ? b->len : 0,
			    9 * 7 * 5 * fg_dtype_size(s->info.dtype), "its bytes");
		}
		fg_buf_unref(b);
		fg_source_close(s);
	}
}

int
main(void)
{
	test_scales();
	test_options();
	test_libraries();
	return tap_done();
}
