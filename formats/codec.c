/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which encoding holds what, and the dispatch to the codecs; see the header.
 * A new encoding is a row of `kinds`, a case in decode and encode, and a file.
 */
#include "config.h"

#include "formats/codec.h"

#include "formats/chunk.h"

#define BIT(t) (1u << (t))
#ifdef HAVE_JXL
#define JXL_BUILT true
#else
#define JXL_BUILT false
#endif

/* What the viewer's decoders take (formats reference, "chunk contents"). */
static const struct {
	unsigned dtypes, channels; /* bit sets; channels 0: any number */
	bool built;
	const char *mime;
} kinds[FG_ENCODINGS] = {
    [FG_ENC_RAW] = {~0u, 0, true, "application/octet-stream"},
    [FG_ENC_JPEG] = {BIT(FG_U8), BIT(1) | BIT(3), true, "image/jpeg"},
    [FG_ENC_PNG] = {BIT(FG_U8) | BIT(FG_U16), BIT(1) | BIT(2) | BIT(3) | BIT(4), true,
	"image/png"},
    [FG_ENC_CSEG] = {BIT(FG_U32) | BIT(FG_U64), 0, true, "application/octet-stream"},
    [FG_ENC_COMPRESSO] = {BIT(FG_U8) | BIT(FG_U16) | BIT(FG_U32) | BIT(FG_U64), BIT(1),
	true, "application/octet-stream"},
    [FG_ENC_JXL] = {BIT(FG_U8) | BIT(FG_U16), BIT(1) | BIT(3) | BIT(4), JXL_BUILT,
	"image/jxl"},
};

const char *
fg_encoding_mime(enum fg_encoding e)
{
	fg_assert((unsigned)e < FG_ENCODINGS);
	return kinds[e].mime;
}

int
fg_codec_check(enum fg_encoding e, enum fg_dtype t, int channels, struct fg_err *err)
{
	fg_assert((unsigned)e < FG_ENCODINGS && (unsigned)t < FG_DTYPES);
	if (!(kinds[e].dtypes & BIT(t)))
		return fg_fail(err, FG_EINVAL, "encoding %s cannot hold %s",
		    fg_encoding_name(e), fg_dtype_name(t));
	if (channels < 1 ||
	    (kinds[e].channels &&
		(channels > 31 || !(kinds[e].channels & BIT(channels)))))
		return fg_fail(err, FG_EINVAL, "encoding %s cannot hold %d channels",
		    fg_encoding_name(e), channels);
	if (!kinds[e].built)
		return fg_fail(err, FG_ENOTSUP,
		    "encoding %s is not available in this build", fg_encoding_name(e));
	return 0;
}

static int
check_array(const struct fg_scale *scale, const struct fg_array *a, struct fg_err *err)
{
	for (int d = 0; d < 4; d++) {
		if (a->shape[d] < 1 || a->shape[d] > INT32_MAX)
			return fg_fail(err, FG_EINVAL, "chunk has extent %lld",
			    (long long)a->shape[d]);
	}
	return fg_codec_check(scale->encoding, a->dtype, (int)a->shape[3], err);
}

int
fg_codec_decode(const struct fg_scale *scale, const uint8_t *p, size_t n,
    struct fg_array *out, struct fg_err *err)
{
	if (check_array(scale, out, err) < 0)
		return -1;
	switch (scale->encoding) {
	case FG_ENC_RAW:
		return fg_raw_decode(p, n, out, err);
	case FG_ENC_JPEG:
		return fg_jpeg_decode(p, n, out, err);
	case FG_ENC_PNG:
		return fg_png_decode(p, n, out, err);
	case FG_ENC_CSEG:
		return fg_cseg_decode(scale->cseg_block, p, n, out, err);
	case FG_ENC_COMPRESSO:
		return fg_compresso_decode(p, n, out, err);
	case FG_ENC_JXL:
		return fg_jxl_decode(p, n, out, err);
	default:
		fg_assert(!"an encoding without a decoder passed fg_codec_check");
		return -1;
	}
}

int
fg_codec_encode(const struct fg_scale *scale, const struct fg_array *in,
    struct fg_buf **out, struct fg_err *err)
{
	if (check_array(scale, in, err) < 0)
		return -1;
	switch (scale->encoding) {
	case FG_ENC_RAW:
		return fg_raw_encode(in, out, err);
	case FG_ENC_JPEG:
		return fg_jpeg_encode(scale->jpeg_quality, in, out, err);
	case FG_ENC_PNG:
		return fg_png_encode(scale->png_level, in, out, err);
	case FG_ENC_CSEG:
		return fg_cseg_encode(scale->cseg_block, in, out, err);
	case FG_ENC_COMPRESSO:
		return fg_compresso_encode(in, out, err);
	case FG_ENC_JXL:
		return fg_jxl_encode(scale->jxl_quality, scale->jxl_effort, in, out,
		    err);
	default:
		fg_assert(!"an encoding without an encoder passed fg_codec_check");
		return -1;
	}
}
