/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunk encodings: one chunk of bytes <-> one array of voxels. Stateless and
 * re-entrant. Every decoder takes the shape and dtype that the info file promises and
 * fails when the bytes say otherwise; allocation is bounded by that shape.
 *
 * fg_codec_* dispatch on the encoding; each codec lives in a file of its own
 * (raw.c, jpeg.c, png.c, cseg.c, compresso.c, jxl.c). An encoding that this build lacks
 * is FG_ENOTSUP.
 */
#ifndef FG_FORMATS_CODEC_H
#define FG_FORMATS_CODEC_H

#include "formats/info.h"

/* Bytes -> voxels. `out` must be initialised by the caller with the wanted dtype and
 * shape (x, y, z, channel); its data is overwritten. `scale` gives the encoding and
 * its parameters. Fails: FG_ECORRUPT with found and wanted, FG_ENOTSUP. */
int fg_codec_decode(const struct fg_scale *scale, const uint8_t *p, size_t n,
    struct fg_array *out, struct fg_err *err) FG_MUST_USE;

/* Voxels -> bytes (one new reference). Same bytes for the same array, parameters
 * and library versions. Fails: FG_EINVAL where the encoding cannot hold the dtype or
 * channel count, FG_ENOMEM. */
int fg_codec_encode(const struct fg_scale *scale, const struct fg_array *in,
    struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

/* Whether the encoding can hold such voxels; for checking a layer at its creation. */
int fg_codec_check(enum fg_encoding e, enum fg_dtype t, int channels,
    struct fg_err *err) FG_MUST_USE;

/* The HTTP Content-Type of chunks in that encoding. */
const char *fg_encoding_mime(enum fg_encoding e);

/* --- compressed_segmentation by itself: in is u32 or u64, any channel count. block:
 * extent of a block in voxels, each >= 1, product at most FG_CSEG_BLOCK_MAX (a channel
 * of more packed words than that could not be addressed anyway). */
#define FG_CSEG_BLOCK_MAX (1 << 24)
int fg_cseg_decode(const int64_t block[3], const uint8_t *p, size_t n,
    struct fg_array *out, struct fg_err *err) FG_MUST_USE;
int fg_cseg_encode(const int64_t block[3], const struct fg_array *in,
    struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

/* --- stored compression, formats/zip.c */
enum fg_coding { FG_CODING_NONE, FG_CODING_GZIP, FG_CODING_ZSTD, FG_CODING_BROTLI };

/* Compress p[0..n): gzip by libdeflate, zstd. level 0 = our default. Brotli is only
 * read: FG_ENOTSUP. */
int fg_compress(enum fg_coding c, int level, const uint8_t *p, size_t n,
    struct fg_buf **out, struct fg_err *err) FG_MUST_USE;
/* Undo it; results above `limit` bytes are refused (FG_ECORRUPT) before they are
 * allocated. Several gzip members after one another are one stream. */
int fg_decompress(enum fg_coding c, const uint8_t *p, size_t n, size_t limit,
    struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

/* The same for one zlib stream (RFC 1950). */
int fg_zlib_decompress(const uint8_t *p, size_t n, size_t limit, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;

/* --- images of a stack, formats/png.c: any 8- or 16-bit grey PNG (other kinds are
 * FG_ENOTSUP with what was found). Result: shape (width, height, 1, 1), u8 or u16;
 * width or height above `limit` are refused before allocating. */
int fg_png_read(const uint8_t *p, size_t n, int64_t limit, struct fg_array *out,
    struct fg_err *err) FG_MUST_USE;
/* Header only: width, height, bits. */
int fg_png_probe(const uint8_t *p, size_t n, int64_t *width, int64_t *height,
    enum fg_dtype *dtype, struct fg_err *err) FG_MUST_USE;

/* --- the same for JPEG, formats/jpeg.c: 8 bits, 1 or 3 channels. Reading is
 * fg_codec_decode's with an array of that size. */
int fg_jpeg_probe(const uint8_t *p, size_t n, int64_t *width, int64_t *height,
    int *channels, struct fg_err *err) FG_MUST_USE;
int fg_jpeg_decode(const uint8_t *p, size_t n, struct fg_array *out,
    struct fg_err *err) FG_MUST_USE;

#endif
