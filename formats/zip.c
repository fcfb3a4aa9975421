/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored compression: gzip by libdeflate, zstd and brotli by their own libraries; see
 * codec.h. Brotli is only read: it is here for files that others wrote.
 *
 * All decoders grow their output up to the caller's limit and never trust a size that
 * the stream claims beyond what the compressed bytes could hold.
 */
#include "config.h"

#include <stdlib.h>

#include <libdeflate.h>
#include <zstd.h>
#ifdef HAVE_BROTLI
#include <brotli/decode.h>
#endif

#include "formats/codec.h"

#define GZIP_LEVEL 6           /* libdeflate 1..12 */
#define ZSTD_LEVEL 3           /* zstd 1..19 */
#define DEFLATE_RATIO_MAX 1032 /* deflate cannot do better: 258 bytes from 2 bits */
#define GZIP_MEMBER_MIN 18     /* header and trailer */
#define ZSTD_WINDOW_LOG_MAX 25 /* 32 MiB: what a decoder may be made to allocate */

/* An output that grows. */
struct output {
	uint8_t *p;
	size_t len, cap, limit;
};

/* Twice the room, at most the limit; false if it is there already. */
static int
grow(struct output *o, struct fg_err *err)
{
	size_t cap;
	uint8_t *p;

	if (o->cap == o->limit)
		return fg_fail(err, FG_ECORRUPT,
		    "unpacks to more than the %zu bytes expected", o->limit);
	cap = o->cap > o->limit / 2 ? o->limit : FG_MIN(o->limit, 2 * o->cap + 64);
	p = realloc(o->p, FG_MAX(cap, 1u));
	if (!p)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu bytes", cap);
	o->p = p;
	o->cap = cap;
	return 0;
}

static int
output_init(struct output *o, size_t first, size_t limit, struct fg_err *err)
{
	*o = (struct output){.limit = limit, .cap = FG_MIN(first, limit)};
	o->p = malloc(FG_MAX(o->cap, 1u));
	if (!o->p)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu bytes", o->cap);
	return 0;
}

/* Hands the bytes over, or frees them. */
static int
output_end(struct output *o, int rc, struct fg_buf **out)
{
	uint8_t *fit;

	if (rc < 0) {
		free(o->p);
		return rc;
	}
	fit = realloc(o->p, FG_MAX(o->len, 1u));
	*out = fg_buf_take(fit ? fit : o->p, o->len);
	return 0;
}

/* --- gzip */

static int
gzip_compress(int level, const uint8_t *p, size_t n, struct fg_buf **out,
    struct fg_err *err)
{
	struct libdeflate_compressor *c =
	    libdeflate_alloc_compressor(FG_MIN(level ? level : GZIP_LEVEL, 12));
	struct output o = {.p = NULL};
	int rc = -1;

	if (!c)
		return fg_fail(err, FG_ENOMEM, "no memory for a gzip compressor");
	size_t bound = libdeflate_gzip_compress_bound(c, n);
	if (output_init(&o, bound, bound, err) == 0) {
		o.len = libdeflate_gzip_compress(c, p, n, o.p, o.cap);
		fg_assert(o.len > 0);
		rc = output_end(&o, 0, out);
	}
	libdeflate_free_compressor(c);
	return rc;
}

/* One member from p[0..n) to the end of o; *used is its length. */
static int
gzip_member(struct libdeflate_decompressor *d, const uint8_t *p, size_t n,
    struct output *o, size_t *used, struct fg_err *err)
{
	for (;;) {
		size_t made = 0;
		enum libdeflate_result r = libdeflate_gzip_decompress_ex(d, p, n,
		    o->p + o->len, o->cap - o->len, used, &made);

		if (r == LIBDEFLATE_SUCCESS) {
			o->len += made;
			return 0;
		}
		if (r != LIBDEFLATE_INSUFFICIENT_SPACE)
			return fg_fail(err, FG_ECORRUPT,
			    "gzip: damaged or cut off (%zu bytes)", n);
		if (grow(o, err) < 0)
			return fg_err_prefix(err, "gzip");
	}
}

static int
gzip_decompress(const uint8_t *p, size_t n, size_t limit, struct fg_buf **out,
    struct fg_err *err)
{
	struct libdeflate_decompressor *d;
	struct output o;
	size_t first = 0;
	int rc = 0;

	/* The trailer says the size of the last member: usually all there is. */
	if (n >= GZIP_MEMBER_MIN)
		first = fg_get_u32le(p + n - 4);
	if (first / DEFLATE_RATIO_MAX > n)
		first = n; /* impossible, so the stream is damaged or of many members */
	if (output_init(&o, first, limit, err) < 0)
		return -1;
	d = libdeflate_alloc_decompressor();
	if (!d)
		rc = fg_fail(err, FG_ENOMEM, "no memory for a gzip decompressor");
	for (size_t at = 0, used = 0; rc == 0 && (at == 0 || at < n); at += used)
		rc = gzip_member(d, p + at, n - at, &o, &used, err);
	libdeflate_free_decompressor(d);
	return output_end(&o, rc, out);
}

int
fg_zlib_decompress(const uint8_t *p, size_t n, size_t limit, struct fg_buf **out,
    struct fg_err *err)
{
	struct libdeflate_decompressor *d;
	struct output o;
	int rc = 0;

	if (output_init(&o, n > limit / 4 ? limit : 4 * n, limit, err) < 0)
		return -1;
	d = libdeflate_alloc_decompressor();
	if (!d)
		rc = fg_fail(err, FG_ENOMEM, "no memory for a zlib decompressor");
	while (rc == 0) {
		size_t used = 0;
		enum libdeflate_result r =
		    libdeflate_zlib_decompress_ex(d, p, n, o.p, o.cap, &used, &o.len);

		if (r == LIBDEFLATE_SUCCESS && used == n)
			break;
		if (r != LIBDEFLATE_INSUFFICIENT_SPACE)
			rc = fg_fail(err, FG_ECORRUPT,
			    "zlib: damaged or cut off (%zu bytes)", n);
		else if (grow(&o, err) < 0)
			rc = fg_err_prefix(err, "zlib");
	}
	libdeflate_free_decompressor(d);
	return output_end(&o, rc, out);
}

/* --- zstd */

static int
zstd_compress(int level, const uint8_t *p, size_t n, struct fg_buf **out,
    struct fg_err *err)
{
	struct output o;
	size_t bound = ZSTD_compressBound(n);

	if (ZSTD_isError(bound))
		return fg_fail(err, FG_EINVAL, "zstd: %zu bytes are too many", n);
	if (output_init(&o, bound, bound, err) < 0)
		return -1;
	o.len = ZSTD_compress(o.p, o.cap, p, n,
	    level ? FG_MIN(level, ZSTD_maxCLevel()) : ZSTD_LEVEL);
	if (ZSTD_isError(o.len))
		return output_end(&o,
		    fg_fail(err, FG_ENOMEM, "zstd: %s", ZSTD_getErrorName(o.len)), out);
	return output_end(&o, 0, out);
}

/* All frames of p[0..n). */
static int
zstd_frames(ZSTD_DCtx *d, const uint8_t *p, size_t n, struct output *o,
    struct fg_err *err)
{
	ZSTD_inBuffer in = {.src = p, .size = n};
	size_t more = 1;

	while (in.pos < in.size || more != 0) {
		ZSTD_outBuffer to = {.dst = o->p + o->len, .size = o->cap - o->len};
		size_t was = in.pos;

		more = ZSTD_decompressStream(d, &to, &in);
		if (ZSTD_isError(more))
			return fg_fail(err, FG_ECORRUPT, "zstd: %s",
			    ZSTD_getErrorName(more));
		o->len += to.pos;
		if (to.pos > 0 || in.pos > was)
			continue;
		/* No progress: either the output is full or the input is cut off. */
		if (o->len < o->cap)
			return fg_fail(err, FG_ECORRUPT,
			    "zstd: ends within a frame (%zu bytes)", n);
		if (more != 0 && grow(o, err) < 0)
			return fg_err_prefix(err, "zstd");
	}
	return 0;
}

static int
zstd_decompress(const uint8_t *p, size_t n, size_t limit, struct fg_buf **out,
    struct fg_err *err)
{
	unsigned long long size = ZSTD_getFrameContentSize(p, n);
	struct output o;
	ZSTD_DCtx *d;
	int rc;

	if (size == ZSTD_CONTENTSIZE_ERROR)
		return fg_fail(err, FG_ECORRUPT, "zstd: no frame in %zu bytes", n);
	if (size != ZSTD_CONTENTSIZE_UNKNOWN && size > limit)
		return fg_fail(err, FG_ECORRUPT,
		    "zstd: unpacks to %llu bytes, more than the %zu expected", size,
		    limit);
	if (size == ZSTD_CONTENTSIZE_UNKNOWN || size / 4096 > n)
		size = 4 * (unsigned long long)n; /* may be true, but let it grow */
	if (output_init(&o, size, limit, err) < 0)
		return -1;
	d = ZSTD_createDCtx();
	if (d) {
		ZSTD_DCtx_setParameter(d, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG_MAX);
		rc = zstd_frames(d, p, n, &o, err);
	} else {
		rc = fg_fail(err, FG_ENOMEM, "no memory for a zstd decompressor");
	}
	ZSTD_freeDCtx(d);
	return output_end(&o, rc, out);
}

/* --- brotli */

#ifdef HAVE_BROTLI
/* The library's own window limit (16 MiB, large windows off) bounds what it takes. */
static int
brotli_stream(BrotliDecoderState *d, const uint8_t *p, size_t n, struct output *o,
    struct fg_err *err)
{
	for (size_t left = n;;) {
		size_t room = o->cap - o->len;
		uint8_t *to = o->p + o->len;
		BrotliDecoderResult r =
		    BrotliDecoderDecompressStream(d, &left, &p, &room, &to, NULL);

		o->len = o->cap - room;
		switch (r) {
		case BROTLI_DECODER_RESULT_SUCCESS:
			if (left > 0)
				return fg_fail(err, FG_ECORRUPT,
				    "brotli: %zu bytes after the end of the stream",
				    left);
			return 0;
		case BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT:
			if (grow(o, err) < 0)
				return fg_err_prefix(err, "brotli");
			break;
		case BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT:
			return fg_fail(err, FG_ECORRUPT,
			    "brotli: ends within the stream (%zu bytes)", n);
		default:
			return fg_fail(err, FG_ECORRUPT, "brotli: damaged (%s)",
			    BrotliDecoderErrorString(BrotliDecoderGetErrorCode(d)));
		}
	}
}

static int
brotli_decompress(const uint8_t *p, size_t n, size_t limit, struct fg_buf **out,
    struct fg_err *err)
{
	BrotliDecoderState *d;
	struct output o;
	int rc;

	if (output_init(&o, n > limit / 4 ? limit : 4 * n, limit, err) < 0)
		return -1;
	d = BrotliDecoderCreateInstance(NULL, NULL, NULL);
	if (d)
		rc = brotli_stream(d, p, n, &o, err);
	else
		rc = fg_fail(err, FG_ENOMEM, "no memory for a brotli decompressor");
	BrotliDecoderDestroyInstance(d);
	return output_end(&o, rc, out);
}
#else
static int
brotli_decompress(const uint8_t *p FG_UNUSED, size_t n FG_UNUSED,
    size_t limit FG_UNUSED, struct fg_buf **out FG_UNUSED, struct fg_err *err)
{
	return fg_fail(err, FG_ENOTSUP, "brotli is not available in this build");
}
#endif

/* --- dispatch */

int
fg_compress(enum fg_coding c, int level, const uint8_t *p, size_t n,
    struct fg_buf **out, struct fg_err *err)
{
	switch (c) {
	case FG_CODING_NONE:
		*out = fg_buf_copy(p, n);
		return 0;
	case FG_CODING_GZIP:
		return gzip_compress(level, p, n, out, err);
	case FG_CODING_ZSTD:
		return zstd_compress(level, p, n, out, err);
	case FG_CODING_BROTLI:
		break;
	}
	return fg_fail(err, FG_ENOTSUP, "brotli is only read, not written");
}

int
fg_decompress(enum fg_coding c, const uint8_t *p, size_t n, size_t limit,
    struct fg_buf **out, struct fg_err *err)
{
	switch (c) {
	case FG_CODING_NONE:
		if (n > limit)
			return fg_fail(err, FG_ECORRUPT,
			    "has %zu bytes, more than the %zu expected", n, limit);
		*out = fg_buf_copy(p, n);
		return 0;
	case FG_CODING_GZIP:
		return gzip_decompress(p, n, limit, out, err);
	case FG_CODING_ZSTD:
		return zstd_decompress(p, n, limit, out, err);
	case FG_CODING_BROTLI:
		return brotli_decompress(p, n, limit, out, err);
	}
	return fg_fail(err, FG_EINVAL, "no such coding: %d", (int)c);
}
