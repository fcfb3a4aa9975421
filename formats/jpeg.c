/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JPEG chunks by libjpeg-turbo, the only file that knows it: 8 bits, 1 channel (grey)
 * or 3 (stored as YCbCr), any width and height whose product is the chunk's voxel
 * count.
 *
 * libjpeg reports errors through a handler that must not return: ours jumps back to
 * the setjmp of decode or encode, whose caller owns everything that must be released.
 * libjpeg goes on after damaged data with a mere warning and invents pixels; here such
 * a warning is an error, because the pixels would be taken for measurements. Two
 * warnings are harmless and pass (stray bytes between segments, an odd Adobe marker).
 */
#include "config.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>

#include <jpeglib.h>
#include <jerror.h>

#include "formats/chunk.h"
#include "formats/codec.h"

#define QUALITY_DEFAULT 85 /* usual for EM: no visible blocks, about 4:1 */
#define SIDE_MAX 65500     /* JPEG_MAX_DIMENSION of libjpeg */
#define SCANS_MAX 200      /* a progressive file has about 10; each costs a full pass */

struct handler {
	struct jpeg_error_mgr mgr; /* first: libjpeg hands out a pointer to it */
	jmp_buf jump;
	struct fg_err *err;
	enum fg_code code;
};

struct decoder {
	struct jpeg_decompress_struct j;
	struct jpeg_progress_mgr progress;
	struct handler h;
	uint8_t *pixels; /* where channels must be split */
};

struct encoder {
	struct jpeg_compress_struct j;
	struct handler h;
	struct jpeg_destination_mgr dest;
	struct fg_str out;
	uint8_t *pixels;
	uint8_t piece[16384]; /* what dest fills before it goes to out */
};

static void
on_error(j_common_ptr j)
{
	struct handler *h = (struct handler *)j->err;
	char text[JMSG_LENGTH_MAX];

	(*j->err->format_message)(j, text);
	fg_fail(h->err, h->code, "JPEG: %.160s", text);
	longjmp(h->jump, 1);
}

static void
on_message(j_common_ptr j, int level)
{
	int code = j->err->msg_code;

	if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_ADOBE_XFORM)
		on_error(j);
}

static void
on_progress(j_common_ptr j)
{
	struct handler *h = (struct handler *)j->err;

	if (j->is_decompressor &&
	    ((j_decompress_ptr)j)->input_scan_number > SCANS_MAX) {
		fg_fail(h->err, h->code, "JPEG: more than %d scans", SCANS_MAX);
		longjmp(h->jump, 1);
	}
}

static struct jpeg_error_mgr *
handler_init(struct handler *h, enum fg_code code, struct fg_err *err)
{
	jpeg_std_error(&h->mgr);
	h->mgr.error_exit = on_error;
	h->mgr.emit_message = on_message;
	h->err = err;
	h->code = code;
	return &h->mgr;
}

/* The header says what the info file promised. */
static int
check_header(struct decoder *d, const struct fg_array *out)
{
	uint64_t voxels = (uint64_t)(out->shape[0] * out->shape[1] * out->shape[2]);

	if (d->j.num_components != (int)out->shape[3])
		return fg_fail(d->h.err, FG_ECORRUPT,
		    "JPEG chunk has %d channels, not %d", d->j.num_components,
		    (int)out->shape[3]);
	if ((uint64_t)d->j.image_width * d->j.image_height != voxels)
		return fg_fail(d->h.err, FG_ECORRUPT,
		    "JPEG chunk has %u x %u pixels, not %llu in all", d->j.image_width,
		    d->j.image_height, (unsigned long long)voxels);
	return 0;
}

static int
decode(struct decoder *d, const uint8_t *p, size_t n, struct fg_array *out)
{
	int channels = (int)out->shape[3];
	size_t voxels = (size_t)(out->shape[0] * out->shape[1] * out->shape[2]);

	if (setjmp(d->h.jump))
		return -1;
	jpeg_create_decompress(&d->j);
	d->progress.progress_monitor = on_progress;
	d->j.progress = &d->progress;
	jpeg_mem_src(&d->j, p, n);
	jpeg_read_header(&d->j, TRUE);
	if (check_header(d, out) < 0)
		return -1;
	d->j.out_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
	if (channels > 1) {
		d->pixels = fg_try_alloc(voxels, (size_t)channels);
		if (!d->pixels)
			return fg_fail(d->h.err, FG_ENOMEM, "no memory for %zu pixels",
			    voxels);
	}
	jpeg_start_decompress(&d->j);
	while (d->j.output_scanline < d->j.output_height) {
		JSAMPROW row =
		    (d->pixels ? d->pixels : (uint8_t *)out->data) +
		    (size_t)d->j.output_scanline * d->j.output_width * (size_t)channels;

		jpeg_read_scanlines(&d->j, &row, 1);
	}
	jpeg_finish_decompress(&d->j);
	if (d->pixels)
		fg_chunk_split(d->pixels, voxels, channels, 1, out->data);
	return 0;
}

int
fg_jpeg_decode(const uint8_t *p, size_t n, struct fg_array *out, struct fg_err *err)
{
	struct fg_err local = FG_ERR_INIT;
	struct decoder d = {.pixels = NULL};
	int rc;

	if (n ==
	    0) /* libjpeg reads an empty source as a broken file, not an empty one */
		return fg_fail(err, FG_ECORRUPT, "JPEG chunk is empty");
	d.j.err = handler_init(&d.h, FG_ECORRUPT, err ? err : &local);
	rc = decode(&d, p, n, out);
	jpeg_destroy_decompress(&d.j);
	free(d.pixels);
	return rc;
}

static int
read_header(struct decoder *d, const uint8_t *p, size_t n)
{
	if (setjmp(d->h.jump))
		return -1;
	jpeg_create_decompress(&d->j);
	jpeg_mem_src(&d->j, p, n);
	jpeg_read_header(&d->j, TRUE);
	return 0;
}

int
fg_jpeg_probe(const uint8_t *p, size_t n, int64_t *width, int64_t *height,
    int *channels, struct fg_err *err)
{
	struct fg_err local = FG_ERR_INIT;
	struct decoder d = {.pixels = NULL};
	int rc;

	if (n == 0)
		return fg_fail(err, FG_ECORRUPT, "JPEG file is empty");
	d.j.err = handler_init(&d.h, FG_ECORRUPT, err ? err : &local);
	rc = read_header(&d, p, n);
	if (rc == 0 && d.j.num_components != 1 && d.j.num_components != 3)
		rc =
		    fg_fail(err, FG_ENOTSUP, "JPEG of %d channels", d.j.num_components);
	if (rc == 0) {
		*width = d.j.image_width;
		*height = d.j.image_height;
		*channels = d.j.num_components;
	}
	jpeg_destroy_decompress(&d.j);
	return rc;
}

/* The destination is ours because that of libjpeg loses track of its memory when an
 * error jumps out. */
static void
on_start(j_compress_ptr j)
{
	struct encoder *e = j->client_data;

	e->dest.next_output_byte = e->piece;
	e->dest.free_in_buffer = sizeof e->piece;
}

static boolean
on_full(j_compress_ptr j)
{
	struct encoder *e = j->client_data;

	fg_str_put(&e->out, e->piece, sizeof e->piece);
	on_start(j);
	return TRUE;
}

static void
on_end(j_compress_ptr j)
{
	struct encoder *e = j->client_data;

	fg_str_put(&e->out, e->piece, sizeof e->piece - e->dest.free_in_buffer);
}

static int
encode(struct encoder *e, int quality, int64_t width, int64_t height, int channels,
    const uint8_t *pixels)
{
	if (setjmp(e->h.jump))
		return -1;
	jpeg_create_compress(&e->j);
	e->dest.init_destination = on_start;
	e->dest.empty_output_buffer = on_full;
	e->dest.term_destination = on_end;
	e->j.dest = &e->dest;
	e->j.client_data = e;
	e->j.image_width = (JDIMENSION)width;
	e->j.image_height = (JDIMENSION)height;
	e->j.input_components = channels;
	e->j.in_color_space = channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
	jpeg_set_defaults(&e->j);
	jpeg_set_quality(&e->j, quality < 0 ? QUALITY_DEFAULT : quality, TRUE);
	/* Colour at full resolution: rows one below the other may be of two slices. */
	for (int c = 0; c < channels; c++)
		e->j.comp_info[c].h_samp_factor = e->j.comp_info[c].v_samp_factor = 1;
	jpeg_start_compress(&e->j, TRUE);
	while (e->j.next_scanline < e->j.image_height) {
		JSAMPROW row = (JSAMPROW)pixels + (size_t)e->j.next_scanline *
						      (size_t)width * (size_t)channels;

		jpeg_write_scanlines(&e->j, &row, 1);
	}
	jpeg_finish_compress(&e->j);
	return 0;
}

int
fg_jpeg_encode(int quality, const struct fg_array *in, struct fg_buf **out,
    struct fg_err *err)
{
	struct fg_err local = FG_ERR_INIT;
	struct encoder e = {.pixels = NULL};
	size_t voxels = (size_t)(in->shape[0] * in->shape[1] * in->shape[2]);
	int channels = (int)in->shape[3], rc;
	int64_t width, height;

	if (!fg_chunk_image_size(in->shape, SIDE_MAX, &width, &height))
		return fg_fail(err, FG_EINVAL,
		    "chunk of %lld x %lld x %lld voxels does not fit a JPEG",
		    (long long)in->shape[0], (long long)in->shape[1],
		    (long long)in->shape[2]);
	if (channels > 1) {
		e.pixels = fg_try_alloc(voxels, (size_t)channels);
		if (!e.pixels)
			return fg_fail(err, FG_ENOMEM, "no memory for %zu pixels",
			    voxels);
		fg_chunk_join(in->data, voxels, channels, 1, e.pixels);
	}
	e.j.err = handler_init(&e.h, FG_EINVAL, err ? err : &local);
	rc = encode(&e, quality, width, height, channels,
	    e.pixels ? e.pixels : (const uint8_t *)in->data);
	jpeg_destroy_compress(&e.j);
	if (rc == 0)
		*out = fg_str_take(&e.out);
	fg_str_fini(&e.out);
	free(e.pixels);
	return rc;
}
