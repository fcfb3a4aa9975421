/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The single codecs behind fg_codec_decode and fg_codec_encode; only formats/ uses
 * this header. All follow the contract of formats/codec.h; the caller (codec.c) has
 * checked with fg_codec_check that dtype and channel count fit the encoding.
 */
#ifndef FG_FORMATS_CHUNK_H
#define FG_FORMATS_CHUNK_H

#include "base/array.h"
#include "base/buf.h"
#include "base/err.h"

int fg_raw_decode(const uint8_t *p, size_t n, struct fg_array *out,
    struct fg_err *err) FG_MUST_USE;
int fg_raw_encode(const struct fg_array *in, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;

/* quality 0..100, -1 = ours */
/* fg_jpeg_decode is in formats/codec.h */
int fg_jpeg_encode(int quality, const struct fg_array *in, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;

/* level 0..9, -1 = ours */
int fg_png_decode(const uint8_t *p, size_t n, struct fg_array *out,
    struct fg_err *err) FG_MUST_USE;
int fg_png_encode(int level, const struct fg_array *in, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;

/* u8 or u16; quality 1..99 lossy, 100 lossless, 0 = ours; effort 1..9, 0 = ours.
 * FG_ENOTSUP in builds without libjxl. */
int fg_jxl_decode(const uint8_t *p, size_t n, struct fg_array *out,
    struct fg_err *err) FG_MUST_USE;
int fg_jxl_encode(int quality, int effort, const struct fg_array *in,
    struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

/* u8, u16, u32 or u64, one channel, sides below 65536 */
int fg_compresso_decode(const uint8_t *p, size_t n, struct fg_array *out,
    struct fg_err *err) FG_MUST_USE;
int fg_compresso_encode(const struct fg_array *in, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;

/*
 * Pixels of an image (channels together) <-> planes of an array (channel slowest).
 * n pixels of `channels` samples of `size` (1 or 2) bytes; no overlap.
 */
void fg_chunk_split(const void *pixels, size_t n, int channels, size_t size,
    void *planes);
void fg_chunk_join(const void *planes, size_t n, int channels, size_t size,
    void *pixels);

/* Width and height of an image for nx * ny * nz voxels: width is a multiple of nx
 * (nx where possible), neither above `limit`; false if there are none. */
bool fg_chunk_image_size(const int64_t shape[4], int64_t limit, int64_t *width,
    int64_t *height);

#endif
