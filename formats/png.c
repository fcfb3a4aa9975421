/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PNG by libpng, the only file that knows it: chunks (8 or 16 bits, 1 to 4 channels,
 * any width and height whose product is the chunk's voxel count) and the grey images
 * of a stack.
 *
 * libpng reports errors with longjmp. The jump stays inside the two functions that
 * call setjmp (read_image, write_image); what has to be released after a jump hangs on
 * a struct of their caller, so no local variable changes between the two. Sizes are
 * checked against what the caller expects after the header was read and before any
 * row is allocated.
 */
#include "config.h"

#include <setjmp.h>
#include <stdlib.h>

#include <png.h>

#include "formats/chunk.h"
#include "formats/codec.h"

#define SIZE_LIMIT 0x7fffffff /* what a PNG header can say */
#define LEVEL_DEFAULT 3 /* deflate level: most of the gain at a third of the time */

struct reader {
	const uint8_t *p;
	size_t n, at;
	png_structp png;
	png_infop info;
	struct fg_err *err;
	/* from the header */
	int64_t width, height;
	int bits, colour;
	bool interlaced;
	void *pixels; /* rows, when they cannot go to their place directly */
};

struct writer {
	struct fg_str out;
	png_structp png;
	png_infop info;
	struct fg_err *err;
	uint8_t *pixels;
};

static void
on_read_error(png_structp png, png_const_charp msg)
{
	struct reader *r = png_get_error_ptr(png);

	fg_fail(r->err, FG_ECORRUPT, "PNG: %.120s", msg);
	png_longjmp(png, 1);
}

static void
on_warning(png_structp png FG_UNUSED, png_const_charp msg FG_UNUSED)
{
	/* Warnings concern ancillary chunks, which do not touch the pixels. */
}

static void
on_read(png_structp png, png_bytep to, size_t n)
{
	struct reader *r = png_get_io_ptr(png);

	if (n > r->n - r->at) {
		fg_fail(r->err, FG_ECORRUPT, "PNG: ends after %zu bytes", r->n);
		png_longjmp(png, 1);
	}
	memcpy(to, r->p + r->at, n);
	r->at += n;
}

static int
channels_of(int colour)
{
	switch (colour) {
	case PNG_COLOR_TYPE_GRAY:
		return 1;
	case PNG_COLOR_TYPE_GRAY_ALPHA:
		return 2;
	case PNG_COLOR_TYPE_RGB:
		return 3;
	case PNG_COLOR_TYPE_RGB_ALPHA:
		return 4;
	default: /* palette */
		return 0;
	}
}

static const char *
colour_name(int colour)
{
	static const char *const names[] = {"palette", "grey", "grey with alpha", "RGB",
	    "RGB with alpha"};

	return names[channels_of(colour)];
}

static void
reader_fini(struct reader *r)
{
	if (r->png)
		png_destroy_read_struct(&r->png, &r->info, NULL);
	free(r->pixels);
}

/* Everything up to the first image data. */
static int
read_header(struct reader *r)
{
	png_uint_32 width, height;
	int interlace;

	r->png =
	    png_create_read_struct(PNG_LIBPNG_VER_STRING, r, on_read_error, on_warning);
	r->info = r->png ? png_create_info_struct(r->png) : NULL;
	if (!r->info)
		return fg_fail(r->err, FG_ENOMEM, "no memory for a PNG reader");
	if (setjmp(png_jmpbuf(r->png)))
		return -1;
	png_set_read_fn(r->png, r, on_read);
	png_set_user_limits(r->png, SIZE_LIMIT, SIZE_LIMIT);
	/* Text, profiles and the like are of no use here: keep none. */
	png_set_keep_unknown_chunks(r->png, PNG_HANDLE_CHUNK_NEVER, NULL, -1);
	png_set_chunk_malloc_max(r->png, 1 << 20);
	png_set_chunk_cache_max(r->png, 16);
	png_read_info(r->png, r->info);
	png_get_IHDR(r->png, r->info, &width, &height, &r->bits, &r->colour, &interlace,
	    NULL, NULL);
	r->width = width;
	r->height = height;
	r->interlaced = interlace != PNG_INTERLACE_NONE;
	return 0;
}

/* All rows into `to`, samples little-endian; then the rest of the file, so that a
 * missing end or a wrong checksum is noticed. */
static int
read_rows(struct reader *r, uint8_t *to)
{
	size_t row;
	int passes;

	if (setjmp(png_jmpbuf(r->png)))
		return -1;
	if (r->bits == 16)
		png_set_swap(r->png);
	passes = png_set_interlace_handling(r->png);
	png_read_update_info(r->png, r->info);
	row = png_get_rowbytes(r->png, r->info);
	fg_assert(row == (size_t)r->width * (size_t)channels_of(r->colour) *
			     ((size_t)r->bits / 8));
	for (int pass = 0; pass < passes; pass++) {
		for (int64_t y = 0; y < r->height; y++)
			png_read_row(r->png, to + (size_t)y * row, NULL);
	}
	png_read_end(r->png, NULL);
	return 0;
}

static int
decode_chunk(struct reader *r, struct fg_array *out)
{
	size_t size = fg_dtype_size(out->dtype);
	size_t voxels = (size_t)(out->shape[0] * out->shape[1] * out->shape[2]);
	int channels = (int)out->shape[3];

	if (read_header(r) < 0)
		return -1;
	if (channels_of(r->colour) != channels || r->bits != (int)size * 8)
		return fg_fail(r->err, FG_ECORRUPT,
		    "PNG chunk is %s of %d bits, not %d channels of %zu bits",
		    colour_name(r->colour), r->bits, channels, size * 8);
	if ((uint64_t)r->width * (uint64_t)r->height != voxels)
		return fg_fail(r->err, FG_ECORRUPT,
		    "PNG chunk has %lld x %lld pixels, not %zu in all",
		    (long long)r->width, (long long)r->height, voxels);
	if (channels == 1)
		return read_rows(r, out->data);
	r->pixels = fg_try_alloc(voxels, size * (size_t)channels);
	if (!r->pixels)
		return fg_fail(r->err, FG_ENOMEM, "no memory for %zu pixels", voxels);
	if (read_rows(r, r->pixels) < 0)
		return -1;
	fg_chunk_split(r->pixels, voxels, channels, size, out->data);
	return 0;
}

int
fg_png_decode(const uint8_t *p, size_t n, struct fg_array *out, struct fg_err *err)
{
	struct fg_err local = FG_ERR_INIT;
	struct reader r = {.p = p, .n = n, .err = err ? err : &local};
	int rc = decode_chunk(&r, out);

	reader_fini(&r);
	return rc;
}

static int
check_grey(const struct reader *r, int64_t limit)
{
	if (r->width > limit || r->height > limit)
		return fg_fail(r->err, FG_EINVAL,
		    "PNG has %lld x %lld pixels, at most %lld on a side are read",
		    (long long)r->width, (long long)r->height, (long long)limit);
	if (r->colour != PNG_COLOR_TYPE_GRAY || (r->bits != 8 && r->bits != 16))
		return fg_fail(r->err, FG_ENOTSUP,
		    "PNG is %s of %d bits, not grey of 8 or 16", colour_name(r->colour),
		    r->bits);
	return 0;
}

int
fg_png_read(const uint8_t *p, size_t n, int64_t limit, struct fg_array *out,
    struct fg_err *err)
{
	struct fg_err local = FG_ERR_INIT;
	struct reader r = {.p = p, .n = n, .err = err ? err : &local};
	struct fg_array a = FG_ARRAY_INIT;
	int rc = -1;

	if (read_header(&r) < 0 || check_grey(&r, limit) < 0 ||
	    fg_array_init(&a, r.bits == 16 ? FG_U16 : FG_U8,
		(int64_t[4]){r.width, r.height, 1, 1}, r.err) < 0 ||
	    read_rows(&r, a.data) < 0)
		goto out;
	*out = a;
	a = FG_ARRAY_INIT;
	rc = 0;
out:
	fg_array_fini(&a);
	reader_fini(&r);
	return rc;
}

int
fg_png_probe(const uint8_t *p, size_t n, int64_t *width, int64_t *height,
    enum fg_dtype *dtype, struct fg_err *err)
{
	struct fg_err local = FG_ERR_INIT;
	struct reader r = {.p = p, .n = n, .err = err ? err : &local};
	int rc = -1;

	if (read_header(&r) < 0 || check_grey(&r, SIZE_LIMIT) < 0)
		goto out;
	*width = r.width;
	*height = r.height;
	*dtype = r.bits == 16 ? FG_U16 : FG_U8;
	rc = 0;
out:
	reader_fini(&r);
	return rc;
}

/* --- writing */

static void
on_write_error(png_structp png, png_const_charp msg)
{
	struct writer *w = png_get_error_ptr(png);

	fg_fail(w->err, FG_EINVAL, "PNG: %.120s", msg);
	png_longjmp(png, 1);
}

static void
on_write(png_structp png, png_bytep from, size_t n)
{
	struct writer *w = png_get_io_ptr(png);

	fg_str_put(&w->out, from, n);
}

static void
on_flush(png_structp png FG_UNUSED)
{
}

static int
write_image(struct writer *w, int level, int64_t width, int64_t height, int bits,
    int channels, const uint8_t *pixels)
{
	static const int colours[] = {0, PNG_COLOR_TYPE_GRAY, PNG_COLOR_TYPE_GRAY_ALPHA,
	    PNG_COLOR_TYPE_RGB, PNG_COLOR_TYPE_RGB_ALPHA};
	size_t row = (size_t)width * (size_t)channels * ((size_t)bits / 8);

	w->png = png_create_write_struct(PNG_LIBPNG_VER_STRING, w, on_write_error,
	    on_warning);
	w->info = w->png ? png_create_info_struct(w->png) : NULL;
	if (!w->info)
		return fg_fail(w->err, FG_ENOMEM, "no memory for a PNG writer");
	if (setjmp(png_jmpbuf(w->png)))
		return -1;
	png_set_write_fn(w->png, w, on_write, on_flush);
	png_set_user_limits(w->png, SIZE_LIMIT, SIZE_LIMIT);
	png_set_compression_level(w->png, level < 0 ? LEVEL_DEFAULT : level);
	png_set_IHDR(w->png, w->info, (png_uint_32)width, (png_uint_32)height, bits,
	    colours[channels], PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
	    PNG_FILTER_TYPE_DEFAULT);
	png_write_info(w->png, w->info);
	if (bits == 16)
		png_set_swap(w->png);
	for (int64_t y = 0; y < height; y++)
		png_write_row(w->png, pixels + (size_t)y * row);
	png_write_end(w->png, NULL);
	return 0;
}

static int
encode_chunk(struct writer *w, int level, const struct fg_array *in)
{
	size_t size = fg_dtype_size(in->dtype);
	size_t voxels = (size_t)(in->shape[0] * in->shape[1] * in->shape[2]);
	int channels = (int)in->shape[3];
	const uint8_t *pixels = in->data;
	int64_t width, height;

	if (!fg_chunk_image_size(in->shape, SIZE_LIMIT, &width, &height))
		return fg_fail(w->err, FG_EINVAL,
		    "chunk of %zu voxels does not fit a PNG", voxels);
	if (channels > 1) {
		w->pixels = fg_try_alloc(voxels, size * (size_t)channels);
		if (!w->pixels)
			return fg_fail(w->err, FG_ENOMEM, "no memory for %zu pixels",
			    voxels);
		fg_chunk_join(in->data, voxels, channels, size, w->pixels);
		pixels = w->pixels;
	}
	return write_image(w, level, width, height, (int)size * 8, channels, pixels);
}

int
fg_png_encode(int level, const struct fg_array *in, struct fg_buf **out,
    struct fg_err *err)
{
	struct fg_err local = FG_ERR_INIT;
	struct writer w = {.err = err ? err : &local};
	int rc = encode_chunk(&w, level, in);

	if (rc == 0)
		*out = fg_str_take(&w.out);
	if (w.png)
		png_destroy_write_struct(&w.png, &w.info);
	fg_str_fini(&w.out);
	free(w.pixels);
	return rc;
}
