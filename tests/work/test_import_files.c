/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Import of files of other programs (tests/cases/files, see test_foreign.c for their
 * voxels): every data type, and the encodings of labels.
 */
#include "config.h"

#include "work/import.h"

#include <stdlib.h>
#include <unistd.h>

#include "store/source.h"
#include "tests/tap.h"

static char top[256];

static double
value_at(const struct fg_array *a, size_t i)
{
	switch (a->dtype) {
	case FG_U8:
		return ((uint8_t *)a->data)[i];
	case FG_I8:
		return ((int8_t *)a->data)[i];
	case FG_U16:
		return ((uint16_t *)a->data)[i];
	case FG_I16:
		return ((int16_t *)a->data)[i];
	case FG_U32:
		return ((uint32_t *)a->data)[i];
	case FG_I32:
		return ((int32_t *)a->data)[i];
	case FG_U64:
		return (double)((uint64_t *)a->data)[i];
	default:
		return ((float *)a->data)[i];
	}
}

/* Voxels of the imported layer that are not 1 + x + 3y + 7z + 11c (a quarter of it in
 * float32). */
static size_t
wrong_voxels(const char *name, enum fg_dtype t)
{
	struct fg_err err = FG_ERR_INIT;
	char *path = fg_asprintf("%s/layers/%s", top, name);
	struct fg_source *s = fg_source_open(path, &err);
	struct fg_array a = FG_ARRAY_INIT;
	size_t wrong = SIZE_MAX;

	free(path);
	if (!s) {
		printf("# %s\n", err.msg);
		return wrong;
	}
	const int64_t *n = s->info.scale[0].size;
	struct fg_box all = {.hi = {n[0], n[1], n[2]}};
	if (s->info.dtype == t &&
	    fg_array_init(&a, t, (int64_t[4]){n[0], n[1], n[2], s->info.channels},
		&err) == 0 &&
	    fg_source_box(s, 0, &all, &a, NULL, &err) == 0)
		wrong = 0;
	for (size_t i = 0; wrong != SIZE_MAX && i < fg_array_count(&a); i++) {
		size_t x = i % (size_t)n[0], y = i / (size_t)n[0] % (size_t)n[1];
		size_t z = i / (size_t)(n[0] * n[1]) % (size_t)n[2];
		size_t c = i / (size_t)(n[0] * n[1] * n[2]);
		double v = (double)(1 + x + 3 * y + 7 * z + 11 * c);

		wrong += value_at(&a, i) != (t == FG_F32 ? v / 4 : v);
	}
	if (err.code != FG_OK)
		printf("# %s\n", err.msg);
	fg_array_fini(&a);
	fg_source_close(s);
	return wrong;
}

static void
import(const char *input, enum fg_volume_type type, enum fg_encoding e, enum fg_dtype t)
{
	static int number;
	struct fg_err err = FG_ERR_INIT;
	struct fg_import_summary sum;
	const char *files = strchr(input, '@');
	char *path = fg_asprintf("%.*s%s/tests/cases/files/%s", (int)(files - input),
	    input, getenv("srcdir"), files + 1);
	char name[32];

	snprintf(name, sizeof name, "v%d", number++);
	struct fg_import im = {.input = path,
	    .root = top,
	    .name = name,
	    .type = type,
	    .nm = {8, 8, 8},
	    .chunk = {4, 4, 4},
	    .encoding = e,
	    .jxl_quality = e == FG_ENC_JXL ? 100 : 0,
	    .jpeg_quality = -1,
	    .png_level = -1};
	if (tap_rc(fg_import_run(&im, &sum, &err), &err, input)) {
		tap_int(sum.dtype, t, "%s: %s", input, fg_dtype_name(sum.dtype));
		tap_int(wrong_voxels(name, t), 0, "%s: %s: the same voxels", input,
		    fg_encoding_name(e));
	}
	free(path);
}

static void
refuse(const char *input, enum fg_code code, const char *part)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_import_summary sum;
	char *path = fg_asprintf("%s/tests/cases/files/%s", getenv("srcdir"), input);
	struct fg_import im = {.input = path,
	    .root = top,
	    .name = "refused",
	    .nm = {8, 8, 8},
	    .chunk = {4, 4, 4},
	    .jpeg_quality = -1,
	    .png_level = -1};

	tap_fails(fg_import_run(&im, &sum, &err), &err, code, part, input);
	free(path);
}

int
main(void)
{
	const char *tmp = getenv("TMPDIR");
	char cmd[400];

	snprintf(top, sizeof top, "%s/fg-import-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	fg_assert(mkdtemp(top));
	import("@v2-gzip.zarr", FG_IMAGE, FG_ENC_RAW, FG_F32);
	import("@v2-raw.zarr", FG_IMAGE, FG_ENC_RAW, FG_U32);
	import("@v3-zstd.zarr", FG_SEGMENTATION, FG_ENC_CSEG, FG_U64);
	import("@v3-zstd.zarr", FG_SEGMENTATION, FG_ENC_COMPRESSO, FG_U64);
	import("zarr:@v2-zlib-f.zarr", FG_IMAGE, FG_ENC_RAW, FG_I16);
	import("zarr:@v2-zlib-f.zarr", FG_SEGMENTATION, FG_ENC_COMPRESSO, FG_U16);
	import("zarr:@v2-zstd.zarr", FG_IMAGE, FG_ENC_RAW, FG_U8);
	import("@zstd.n5", FG_IMAGE, FG_ENC_RAW, FG_I8);
	import("n5:@gzip.n5", FG_SEGMENTATION, FG_ENC_RAW, FG_U64);
#ifdef HAVE_HDF5
	import("@a.h5:/raw", FG_IMAGE, FG_ENC_PNG, FG_U8);
	import("@a.h5:/vol/gzip", FG_IMAGE, FG_ENC_PNG, FG_U16);
	import("hdf5:@a.h5:/xyz?axes=xyz", FG_IMAGE, FG_ENC_RAW, FG_I32);
	import("hdf5:@a.h5:/i8", FG_SEGMENTATION, FG_ENC_COMPRESSO, FG_U64);
	import("hdf5:@a.h5:/zyxc", FG_IMAGE, FG_ENC_PNG, FG_U8);
	refuse("a.h5:/none", FG_ENOENT, "no dataset");
	refuse("a.h5:/negative", FG_ENOTSUP, "negative");
#ifdef HAVE_JXL
	import("@a.h5:/raw", FG_IMAGE, FG_ENC_JXL, FG_U8);
	import("@a.h5:/vol/gzip", FG_IMAGE, FG_ENC_JXL, FG_U16);
#endif
#endif
#ifdef HAVE_TIFF
	import("@u1.tif", FG_IMAGE, FG_ENC_RAW, FG_U8);
	import("@f4-big.tif", FG_IMAGE, FG_ENC_RAW, FG_F32);
	import("tiff:@u4-tiles.tif", FG_IMAGE, FG_ENC_RAW, FG_U32);
	import("tiff:@rgb.tif", FG_IMAGE, FG_ENC_RAW, FG_U8);
	refuse("odd.tif", FG_EINVAL, "page 1");
#endif
	refuse("long.n5", FG_ECORRUPT, "long.n5: 0/0/0: block has extent 4000000000");
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", top);
	if (system(cmd) != 0)
		printf("# could not remove %s\n", top);
	return tap_done();
}
