/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NIfTI-1 and NIfTI-2 images in one file (.nii, .nii.gz), either byte order
 * (nifti.nimh.nih.gov: nifti1.h, nifti2.h).
 *
 * Voxels are taken as they lie in the file, x fastest: the orientation that qform and
 * sform give is not applied, nor is the offset. The fourth or fifth axis, if it is
 * longer than 1, is the channel. Where the header scales the values (scl_slope,
 * scl_inter), they become float32. Not read: complex, RGB and float64 values, and pairs
 * of .hdr and .img.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/flat.h"

#define HEAD1 348
#define HEAD2 540

/* What both versions tell. */
struct head {
	int64_t dim[8];
	double pixdim[8], slope, inter, offset;
	int type, units;
	bool swap;
};

static uint64_t
swapped(uint64_t v, size_t n)
{
	return __builtin_bswap64(v) >> (64 - 8 * n);
}

static uint64_t
get(const struct head *h, const uint8_t *p, size_t n)
{
	uint64_t v = n == 2   ? fg_get_u16le(p)
		     : n == 4 ? fg_get_u32le(p)
			      : fg_get_u64le(p);

	return h->swap ? swapped(v, n) : v;
}

static double
get_float(const struct head *h, const uint8_t *p)
{
	uint32_t v = (uint32_t)get(h, p, 4);
	float f;

	memcpy(&f, &v, sizeof f);
	return f;
}

/* A decimal fraction that was stored as a float: 0.008, not 0.00800000038. */
static double
get_decimal(const struct head *h, const uint8_t *p)
{
	char text[32];

	snprintf(text, sizeof text, "%.7g", get_float(h, p));
	return strtod(text, NULL);
}

static double
get_double(const struct head *h, const uint8_t *p)
{
	uint64_t v = get(h, p, 8);
	double f;

	memcpy(&f, &v, sizeof f);
	return f;
}

static int
parse_head1(struct head *h, const uint8_t *p, struct fg_err *err)
{
	if (memcmp(p + 344, "ni1", 4) == 0)
		return fg_fail(err, FG_ENOTSUP,
		    "NIfTI: header and voxels are in two files, which is not read");
	if (memcmp(p + 344, "n+1", 4) != 0)
		return fg_fail(err, FG_ECORRUPT,
		    "NIfTI: no magic bytes at 344: found %08x, wanted 6e2b3100",
		    __builtin_bswap32(fg_get_u32le(p + 344)));
	for (int i = 0; i < 8; i++) {
		h->dim[i] = (int16_t)get(h, p + 40 + 2 * i, 2);
		h->pixdim[i] = get_decimal(h, p + 76 + 4 * i);
	}
	h->type = (int16_t)get(h, p + 70, 2);
	h->offset = get_float(h, p + 108);
	h->slope = get_float(h, p + 112);
	h->inter = get_float(h, p + 116);
	h->units = p[123];
	return 0;
}

static int
parse_head2(struct head *h, const uint8_t *p, struct fg_err *err)
{
	if (memcmp(p + 4, "ni2", 4) == 0)
		return fg_fail(err, FG_ENOTSUP,
		    "NIfTI: header and voxels are in two files, which is not read");
	if (memcmp(p + 4, "n+2\0\r\n\032\n", 8) != 0)
		return fg_fail(err, FG_ECORRUPT,
		    "NIfTI: no magic bytes at 4: found %016llx, wanted "
		    "6e2b32000d0a1a0a",
		    (unsigned long long)__builtin_bswap64(fg_get_u64le(p + 4)));
	for (int i = 0; i < 8; i++) {
		h->dim[i] = (int64_t)get(h, p + 16 + 8 * i, 8);
		h->pixdim[i] = get_double(h, p + 104 + 8 * i);
	}
	h->type = (int16_t)get(h, p + 12, 2);
	h->offset = (double)(int64_t)get(h, p + 168, 8);
	h->slope = get_double(h, p + 176);
	h->inter = get_double(h, p + 184);
	h->units = (int)get(h, p + 500, 4);
	return 0;
}

static int
read_head(struct fg_flat *f, struct head *h, struct fg_err *err)
{
	uint8_t p[HEAD2];
	uint32_t first;

	if (fg_flat_read(f, 0, p, HEAD1, err) < 0)
		return fg_err_prefix(err, "NIfTI header");
	first = fg_get_u32le(p);
	h->swap = first != HEAD1 && first != HEAD2;
	if (h->swap)
		first = (uint32_t)swapped(first, 4);
	if (first != HEAD1 && first != HEAD2)
		return fg_fail(err, FG_ECORRUPT,
		    "no NIfTI file: its header is neither of %d nor of %d bytes", HEAD1,
		    HEAD2);
	if (first == HEAD1)
		return parse_head1(h, p, err);
	if (fg_flat_read(f, HEAD1, p + HEAD1, HEAD2 - HEAD1, err) < 0)
		return fg_err_prefix(err, "NIfTI header");
	return parse_head2(h, p, err);
}

static int
parse_type(struct fg_flat *f, int type, struct fg_err *err)
{
	static const struct {
		int code;
		enum fg_dtype dtype;
	} types[] = {{2, FG_U8}, {4, FG_I16}, {8, FG_I32}, {16, FG_F32}, {256, FG_I8},
	    {512, FG_U16}, {768, FG_U32}, {1024, FG_U64}, {1280, FG_U64}};

	for (size_t i = 0; i < FG_COUNTOF(types); i++) {
		if (types[i].code == type) {
			f->stored = types[i].dtype;
			f->is_signed64 = type == 1024;
			return 0;
		}
	}
	return fg_fail(err, FG_ENOTSUP, "NIfTI: values of type %d%s", type,
	    type == 64 ? " (float64)" : "");
}

/* Axes, fastest first: "xyz", then t and v; the one of them that is longer than 1 is
 * the channel. */
static int
parse_axes(struct fg_flat *f, const struct head *h, const char *axes, int64_t shape[4],
    struct fg_err *err)
{
	int rank = (int)FG_MAX(h->dim[0], 3);
	int64_t size[FG_FOREIGN_AXES];
	char usual[FG_FOREIGN_AXES + 1] = "xyztv";

	if (h->dim[0] < 1 || h->dim[0] > 7)
		return fg_fail(err, FG_ECORRUPT, "NIfTI: %lld axes",
		    (long long)h->dim[0]);
	for (int i = 1; i < 8; i++) {
		int64_t n = i <= h->dim[0] ? h->dim[i] : 1;

		if (i > FG_FOREIGN_AXES && n != 1)
			return fg_fail(err, FG_ENOTSUP,
			    "NIfTI: axis %d has extent %lld", i, (long long)n);
		if (i <= FG_FOREIGN_AXES)
			size[i - 1] = n;
	}
	rank = FG_MIN(rank, FG_FOREIGN_AXES);
	if (rank == 5 && size[3] <= 1)
		usual[4] = 'c';
	else if (rank >= 4)
		usual[3] = 'c';
	usual[rank] = '\0';
	return fg_axes_parse(&f->axes, axes, usual, rank, size, shape, err);
}

static void
set_resolution(struct fg_foreign *r, const struct fg_flat *f, const struct head *h)
{
	static const double nm[8] = {[1] = 1e9, [2] = 1e6, [3] = 1e3};
	double unit = nm[h->units & 7];

	for (int i = 0; i < f->axes.rank; i++) {
		int of = f->axes.of[i];
		double v = fabs(h->pixdim[i + 1]) * unit;

		if (of >= 0 && of < 3 && isfinite(v))
			r->scale[0].nm[of] = v;
	}
}

static int
nifti_open(struct fg_foreign *r, const char *path, const char *axes, struct fg_err *err)
{
	struct fg_flat *f = fg_calloc(1, sizeof *f);
	struct head h = {0};
	int64_t shape[4];

	r->priv = f;
	pthread_mutex_init(&f->lock, NULL);
	if (fg_flat_open(f, path, err) < 0 || read_head(f, &h, err) < 0 ||
	    parse_type(f, h.type, err) < 0 || parse_axes(f, &h, axes, shape, err) < 0)
		return -1;
	if (!(h.offset >= HEAD1 && h.offset < 1e15 && h.offset == floor(h.offset)))
		return fg_fail(err, FG_ECORRUPT, "NIfTI: voxels begin at byte %g",
		    h.offset);
	f->offset = (uint64_t)h.offset;
	f->swap = h.swap;
	/* A slope of 0 says that there is no scaling; so does one that is no number. */
	f->slope = isfinite(h.slope) && h.slope != 0 ? h.slope : 1;
	f->inter = isfinite(h.inter) && h.slope != 0 ? h.inter : 0;
	f->scaled = f->slope != 1 || f->inter != 0;
	if (fg_flat_check(f, err) < 0)
		return -1;
	fg_flat_describe(f, shape, r);
	set_resolution(r, f, &h);
	return 0;
}

static int
nifti_box(struct fg_foreign *r, int scale FG_UNUSED, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err)
{
	return fg_flat_box(r->priv, vx, out, err);
}

static void
nifti_close(struct fg_foreign *r)
{
	struct fg_flat *f = r->priv;

	fg_flat_close(f);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

const struct fg_foreign_ops fg_nifti_ops = {"nifti", nifti_open, nifti_box,
    nifti_close};
