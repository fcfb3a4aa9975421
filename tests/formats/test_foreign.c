/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes in other programs' files: tests/cases/files, written by h5py, tifffile,
 * nibabel, numpy and zarr-python (N5 by hand from its specification). Voxel (x, y, z,
 * c) of each is 1 + x + 3y + 7z + 11c, modulo the type's largest number; float: a
 * quarter of it.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "formats/foreign.h"
#include "tests/tap.h"

static char *
path_of(const char *name)
{
	return fg_asprintf("%s/tests/cases/files/%s", getenv("srcdir"), name);
}

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

static double
wanted(enum fg_dtype t, int64_t x, int64_t y, int64_t z, int64_t c)
{
	int64_t v = 1 + x + 3 * y + 7 * z + 11 * c;

	return t == FG_U8    ? (double)(v % 255)
	       : t == FG_I8  ? (double)(v % 127)
	       : t == FG_F32 ? (double)v / 4
			     : (double)v;
}

/* Voxels of the box that are not as they should be. */
static size_t
wrong_voxels(struct fg_foreign *f, const struct fg_box *vx)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;
	int64_t n[4];
	size_t wrong = 0, i = 0;

	fg_box_shape(vx, n);
	n[3] = f->channels;
	if (fg_array_init(&a, f->dtype, n, &err) < 0)
		return SIZE_MAX;
	memset(a.data, 0x5a, fg_array_bytes(&a));
	if (fg_foreign_box(f, 0, vx, &a, &err) < 0) {
		printf("# %s\n", err.msg);
		wrong = SIZE_MAX;
	}
	for (int64_t c = 0; wrong != SIZE_MAX && c < n[3]; c++) {
		for (int64_t z = vx->lo[2]; z < vx->hi[2]; z++) {
			for (int64_t y = vx->lo[1]; y < vx->hi[1]; y++) {
				for (int64_t x = vx->lo[0]; x < vx->hi[0]; x++, i++)
					wrong += value_at(&a, i) !=
						 wanted(f->dtype, x, y, z, c);
			}
		}
	}
	fg_array_fini(&a);
	return wrong;
}

/* Shape and type, all voxels, and boxes at odd places. */
static void
good(const char *kind, const char *name, enum fg_dtype t, const int64_t n[4])
{
	static const struct fg_box parts[] = {{{0, 0, 0}, {1, 1, 1}},
	    {{8, 6, 1}, {9, 7, 2}}, {{3, 2, 0}, {7, 5, 2}}, {{1, 0, 1}, {9, 7, 2}},
	    {{4, 3, 0}, {5, 4, 1}}};
	struct fg_err err = FG_ERR_INIT;
	char *path = path_of(name);
	struct fg_foreign *f = fg_foreign_open(kind, path, NULL, &err);
	struct fg_box all = {.hi = {n[0], n[1], n[2]}};

	free(path);
	if (!tap_ok(f != NULL, "%s:%s opens %s", kind, name, err.msg))
		return;
	if (tap_ok(f->dtype == t && f->channels == n[3] &&
		       memcmp(f->scale[0].size, n, 3 * sizeof n[0]) == 0,
		"%s:%s: %s, %lld x %lld x %lld x %d", kind, name,
		fg_dtype_name(f->dtype), (long long)f->scale[0].size[0],
		(long long)f->scale[0].size[1], (long long)f->scale[0].size[2],
		f->channels)) {
		tap_int(wrong_voxels(f, &all), 0, "%s:%s: all voxels", kind, name);
		for (size_t i = 0; i < FG_COUNTOF(parts); i++)
			tap_int(wrong_voxels(f, &parts[i]), 0, "%s:%s: part %zu", kind,
			    name, i);
	}
	fg_foreign_close(f);
}

static void
refused(const char *kind, const char *name, const char *axes, enum fg_code code,
    const char *part)
{
	struct fg_err err = FG_ERR_INIT;
	char *path = path_of(name);
	struct fg_foreign *f = fg_foreign_open(kind, path, axes, &err);

	free(path);
	tap_ok(!f && err.code == code && strstr(err.msg, part), "%s:%s: %s: %s", kind,
	    name, fg_code_name(err.code), err.msg);
	fg_foreign_close(f);
}

/* Opens, but its voxels cannot be read. */
static void
broken(const char *kind, const char *name, enum fg_code code, const char *part)
{
	struct fg_err err = FG_ERR_INIT;
	char *path = path_of(name);
	struct fg_foreign *f = fg_foreign_open(kind, path, NULL, &err);
	struct fg_array a = FG_ARRAY_INIT;

	free(path);
	if (!tap_ok(f != NULL, "%s:%s opens %s", kind, name, err.msg))
		return;
	int64_t n[4] = {f->scale[0].size[0], f->scale[0].size[1], f->scale[0].size[2],
	    f->channels};
	struct fg_box all = {.hi = {n[0], n[1], n[2]}};
	tap_rc(fg_array_init(&a, f->dtype, n, &err), &err, "array");
	tap_fails(fg_foreign_box(f, 0, &all, &a, &err), &err, code, part, name);
	fg_array_fini(&a);
	fg_foreign_close(f);
}

static void
resolution(const char *kind, const char *name, int scale, double x, double y, double z)
{
	struct fg_err err = FG_ERR_INIT;
	char *path = path_of(name);
	struct fg_foreign *f = fg_foreign_open(kind, path, NULL, &err);

	free(path);
	if (!tap_ok(f && f->scales > scale, "%s has scale %d", name, scale))
		return;
	const double *nm = f->scale[scale].nm;
	tap_ok(fabs(nm[0] - x) < 1e-6 && fabs(nm[1] - y) < 1e-6 &&
		   fabs(nm[2] - z) < 1e-6,
	    "%s: %g %g %g nm", name, nm[0], nm[1], nm[2]);
	fg_foreign_close(f);
}

static const int64_t small[4] = {9, 7, 5, 1};

static void
test_hdf5(void)
{
#ifdef HAVE_HDF5
	good("hdf5", "a.h5:/raw", FG_U8, small);
	good("hdf5", "a.h5:/vol/gzip", FG_U16, small);
	good("hdf5", "a.h5:/xyz", FG_I32, small);
	good("hdf5", "a.h5:/zyxc", FG_U8, (int64_t[4]){9, 7, 5, 3});
	good("hdf5", "a.h5:/czyx", FG_F32, (int64_t[4]){9, 7, 5, 2});
	good("hdf5", "a.h5:/f4", FG_F32, small);
	good("hdf5", "a.h5:/u8", FG_U64, small);
	good("hdf5", "a.h5:/i8", FG_U64, small);
	resolution("hdf5", "a.h5:/vol/gzip", 0, 4, 4, 40);
	resolution("hdf5", "a.h5:/xyz", 0, 4, 8, 30);
	broken("hdf5", "a.h5:/negative", FG_ENOTSUP, "int64 value -5 is negative");
	refused("hdf5", "a.h5:/f8", NULL, FG_ENOTSUP, "8 bytes");
	refused("hdf5", "a.h5:/line", NULL, FG_ENOTSUP, "1 axes");
	refused("hdf5", "a.h5:/none", NULL, FG_ENOENT, "no dataset /none");
	refused("hdf5", "a.h5:/vol", NULL, FG_ENOENT, "no dataset /vol");
	refused("hdf5", "a.h5", NULL, FG_EINVAL, "wanted FILE:/PATH");
	refused("hdf5", "none.h5:/raw", NULL, FG_ENOENT, "none.h5");
	refused("hdf5", "cut.h5:/raw", NULL, FG_ECORRUPT, "no HDF5 file");
	refused("hdf5", "text.h5:/raw", NULL, FG_ECORRUPT, "no HDF5 file");
	refused("hdf5", "a.h5:/raw", "zy", FG_EINVAL, "array of 3 axes");
	refused("hdf5", "a.h5:/raw", "zyy", FG_EINVAL, "y twice");
	refused("hdf5", "a.h5:/raw", "tyx", FG_ENOTSUP, "axis t has extent 5");
	refused("hdf5", "a.h5:/raw", "zcx", FG_EINVAL, "without x or y");
#else
	refused("hdf5", "a.h5:/raw", NULL, FG_ENOTSUP, "not available");
#endif
}

static void
test_tiff(void)
{
#ifdef HAVE_TIFF
	good("tiff", "u1.tif", FG_U8, small);
	good("tiff", "u2-deflate.tif", FG_U16, small);
	good("tiff", "i2-lzw.tif", FG_I16, small);
	good("tiff", "f4-big.tif", FG_F32, small);
	good("tiff", "u4-tiles.tif", FG_U32, (int64_t[4]){50, 40, 3, 1});
	good("tiff", "rgb.tif", FG_U8, (int64_t[4]){9, 7, 5, 3});
	good("tiff", "rgb-planes.tif", FG_U8, (int64_t[4]){9, 7, 2, 3});
	good("tiff", "u8.tif", FG_U64, (int64_t[4]){9, 7, 2, 1});
	refused("tiff", "white.tif", NULL, FG_ENOTSUP, "neither grey");
	refused("tiff", "bits.tif", NULL, FG_ENOTSUP, "1 bits");
	refused("tiff", "odd.tif", NULL, FG_EINVAL, "page 1 is 10 x 7");
	refused("tiff", "cut.tif", NULL, FG_ECORRUPT, "TIFF");
	refused("tiff", "text.tif", NULL, FG_ECORRUPT, "no TIFF");
	refused("tiff", "none.tif", NULL, FG_ENOENT, "none.tif");
	refused("tiff", "u1.tif", "xyz", FG_EINVAL, "pages of a TIFF are z");
#else
	refused("tiff", "u1.tif", NULL, FG_ENOTSUP, "not available");
#endif
}

/* Pieces that do not exist are the fill value. */
static void
test_fill(const char *kind, const char *name, double here, double elsewhere)
{
	struct fg_err err = FG_ERR_INIT;
	char *path = path_of(name);
	struct fg_foreign *f = fg_foreign_open(kind, path, NULL, &err);
	struct fg_array a;

	free(path);
	if (!tap_ok(f != NULL, "%s opens %s", name, err.msg))
		return;
	tap_rc(fg_array_init(&a, f->dtype, small, &err), &err, "array");
	tap_rc(fg_foreign_box(f, 0, &(struct fg_box){.hi = {9, 7, 5}}, &a, &err), &err,
	    "box");
	tap_ok(value_at(&a, 0) == here && value_at(&a, 9 * 7 * 5 - 1) == elsewhere,
	    "%s: %g and %g", name, value_at(&a, 0), value_at(&a, 9 * 7 * 5 - 1));
	fg_array_fini(&a);
	fg_foreign_close(f);
}

static void
test_zarr(void)
{
#ifdef HAVE_BLOSC
	good("zarr", "v2-blosc.zarr", FG_U16, small);
	good("zarr", "v3-blosc.zarr", FG_I32, small);
	good("n5", "blosc.n5", FG_F32, small);
	broken("zarr", "cut.zarr", FG_ECORRUPT, "0.0.0: blosc");
	refused("zarr", "escape.zarr", NULL, FG_ECORRUPT, "leads out of the folder");
	resolution("zarr", "ome4.zarr", 1, 16, 8, 80);
	resolution("zarr", "ome4.zarr", 0, 8, 4, 40);
#else
	refused("zarr", "v2-blosc.zarr", NULL, FG_ENOTSUP, "blosc is not available");
#endif
	good("zarr", "v2-zlib-f.zarr", FG_I16, small);
	good("zarr", "v2-raw.zarr", FG_U32, small);
	good("zarr", "v2-gzip.zarr", FG_F32, small);
	good("zarr", "v2-zstd.zarr", FG_U8, (int64_t[4]){9, 7, 5, 2});
	good("zarr", "v3-zstd.zarr", FG_U64, small);
	good("zarr", "v3-gzip-crc-big.zarr", FG_U16, small);
	good("zarr", "v3-xyz.zarr", FG_U64, small);
	test_fill("zarr", "v2-fill.zarr", 5, 77);
	resolution("zarr", "ome5.zarr", 1, 16, 8, 80);
	refused("zarr", "v3-shards.zarr", NULL, FG_ENOTSUP, "sharding_indexed");
	refused("zarr", "f8.zarr", NULL, FG_ENOTSUP, "float64");
	refused("zarr", "none.zarr", NULL, FG_ENOENT, "neither zarr.json nor .zarray");
}

static void
test_n5(void)
{
	good("n5", "gzip.n5", FG_U64, small);
	good("n5", "zstd.n5", FG_I8, small);
	test_fill("n5", "raw.n5", 0, 1 + 8 + 18 + 28);
	resolution("n5", "gzip.n5", 0, 4, 5, 40);
	resolution("n5", "scales.n5", 0, 4, 4, 40);
	refused("n5", "xz.n5", NULL, FG_ENOTSUP, "compression \"xz\"");
	refused("n5", "ome4.zarr", NULL, FG_ENOENT, "no N5 dataset");
	broken("n5", "long.n5", FG_ECORRUPT, "extent 4000000000 on axis 2");
}

static void
test_nifti(void)
{
	good("nifti", "u1.nii", FG_U8, small);
	good("nifti", "u2.nii.gz", FG_U16, small);
	good("nifti", "u4.nii.gz", FG_U32, small);
	good("nifti", "i2-big.nii", FG_I16, small);
	good("nifti", "f4-2.nii", FG_F32, small);
	good("nifti", "u8.nii", FG_U64, small);
	good("nifti", "i8.nii", FG_U64, small);
	good("nifti", "scaled.nii", FG_F32, small); /* int16 with a slope of 1/4 */
	good("nifti", "i1-channels.nii", FG_I8, (int64_t[4]){9, 7, 5, 3});
	good("nifti", "u1-vectors.nii", FG_U8, (int64_t[4]){9, 7, 5, 2});
	resolution("nifti", "u1.nii", 0, 8000, 8000, 40000);
	resolution("nifti", "u2.nii.gz", 0, 8000, 8000, 40000);
	resolution("nifti", "f4-2.nii", 0, 8000, 8000, 40000);
	refused("nifti", "cut.nii", NULL, FG_ECORRUPT, "has 666 bytes");
	refused("nifti", "huge.nii", NULL, FG_ECORRUPT, "values need");
	refused("nifti", "short.nii", NULL, FG_ECORRUPT, "NIfTI header");
	refused("nifti", "pair.nii", NULL, FG_ENOTSUP, "two files");
	refused("nifti", "magic.nii", NULL, FG_ECORRUPT, "no magic bytes");
	refused("nifti", "axes-0.nii", NULL, FG_ECORRUPT, "0 axes");
	refused("nifti", "size-minus.nii", NULL, FG_EINVAL, "axis x has extent -9");
	refused("nifti", "f8.nii", NULL, FG_ENOTSUP, "float64");
	refused("nifti", "offset.nii", NULL, FG_ECORRUPT, "begin at byte 100");
	refused("nifti", "u2.npy", NULL, FG_ECORRUPT, "no NIfTI file");
	refused("nifti", "none.nii", NULL, FG_ENOENT, "none.nii");
	refused("nifti", "u1.nii", "xy", FG_EINVAL, "array of 3 axes");
	broken("nifti", "cut.nii.gz", FG_ECORRUPT, "gzip: ends after");
}

static void
test_npy(void)
{
	good("npy", "u2.npy", FG_U16, small);
	good("npy", "u2.npy.gz", FG_U16, small);
	good("npy", "f4-fortran.npy", FG_F32, small);
	good("npy", "u4-channels.npy", FG_U32, (int64_t[4]){9, 7, 5, 3});
	good("npy", "i8.npy", FG_U64, small);
	broken("npy", "negative.npy", FG_ENOTSUP, "int64 value -5 is negative");
	refused("npy", "cut.npy", NULL, FG_ECORRUPT, "has 757 bytes");
	refused("npy", "text.npy", NULL, FG_ECORRUPT, "npy: no magic bytes");
	refused("npy", "short.nii", NULL, FG_ECORRUPT, "npy: no magic bytes");
	refused("npy", "u2.npy", "yx", FG_EINVAL, "array of 3 axes");
}

int
main(void)
{
	test_nifti();
	test_npy();
	test_hdf5();
	test_tiff();
	test_zarr();
	test_n5();
	refused("doc", "a.doc", NULL, FG_ENOTSUP, "files of kind \"doc\"");
	return tap_done();
}
