/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JPEG XL chunks by libjxl, the only file that knows it: 8 or 16 bits, 1, 3 or 4
 * channels (the fourth as alpha), any width and height whose product is the chunk's
 * voxel count. Neuroglancer shows 8 bits; 16 bits are for other readers.
 *
 * Quality is that of the cjxl tool: 100 is lossless, 90 distance 1 (hardly visible).
 * One frame of the whole image is a chunk; animations, cropped frames and images of
 * another size are refused before their pixels are decoded.
 * Limit: libjxl as Debian 12 builds it tells standard error about damaged images, and
 * allocates for frames that are only referred to without asking us.
 */
#include "config.h"

#ifdef HAVE_JXL
#include <stdlib.h>

#include <jxl/decode.h>
#include <jxl/encode.h>
#endif

#include "formats/chunk.h"

#ifdef HAVE_JXL

#define QUALITY_8 90       /* default of 8-bit images; 16-bit ones are lossless */
#define EFFORT_DEFAULT 3   /* 20 MB/s; libjxl's own 7: 3, and EM gets no smaller */
#define EFFORT_MAX 9       /* newer writers know 10 */
#define SIDE_MAX (1 << 18) /* codestream level 5 */
#define CONTAINER_LEVEL 10 /* what more than 12 bits need */

static JxlPixelFormat
pixel_format(const struct fg_array *a)
{
	return (JxlPixelFormat){.num_channels = (uint32_t)a->shape[3],
	    .data_type = a->dtype == FG_U8 ? JXL_TYPE_UINT8 : JXL_TYPE_UINT16,
	    .endianness = JXL_LITTLE_ENDIAN};
}

static size_t
voxels_of(const struct fg_array *a)
{
	return (size_t)(a->shape[0] * a->shape[1] * a->shape[2]);
}

/* --- decoding */

static int
check_info(JxlDecoder *d, const struct fg_array *out, struct fg_err *err)
{
	JxlBasicInfo i;
	unsigned bits = (unsigned)fg_dtype_size(out->dtype) * 8;

	if (JxlDecoderGetBasicInfo(d, &i) != JXL_DEC_SUCCESS)
		return fg_fail(err, FG_ECORRUPT, "JPEG XL: no header");
	if ((uint64_t)i.xsize * i.ysize != voxels_of(out))
		return fg_fail(err, FG_ECORRUPT,
		    "JPEG XL chunk has %u x %u pixels, not %zu in all", i.xsize,
		    i.ysize, voxels_of(out));
	if (i.num_color_channels + i.num_extra_channels != out->shape[3] ||
	    i.num_extra_channels != (i.alpha_bits > 0))
		return fg_fail(err, FG_ECORRUPT,
		    "JPEG XL chunk has %u colours and %u further channels, not %lld in "
		    "all",
		    i.num_color_channels, i.num_extra_channels,
		    (long long)out->shape[3]);
	if (i.bits_per_sample != bits || i.exponent_bits_per_sample != 0)
		return fg_fail(err, FG_ECORRUPT, "JPEG XL chunk has %u bits%s, not %u",
		    i.bits_per_sample, i.exponent_bits_per_sample ? " (float)" : "",
		    bits);
	if (i.have_animation)
		return fg_fail(err, FG_ECORRUPT, "JPEG XL chunk is an animation");
	return 0;
}

static int
check_frame(JxlDecoder *d, struct fg_err *err)
{
	JxlFrameHeader h;

	if (JxlDecoderGetFrameHeader(d, &h) != JXL_DEC_SUCCESS)
		return fg_fail(err, FG_ECORRUPT, "JPEG XL: a damaged frame");
	if (h.layer_info.have_crop || !h.is_last)
		return fg_fail(err, FG_ECORRUPT,
		    "JPEG XL chunk is of several layers, not one");
	return 0;
}

static int
set_output(JxlDecoder *d, const struct fg_array *out, void *pixels, struct fg_err *err)
{
	JxlPixelFormat f = pixel_format(out);
	size_t want = fg_array_bytes(out), got = 0;

	if (JxlDecoderImageOutBufferSize(d, &f, &got) != JXL_DEC_SUCCESS ||
	    got != want ||
	    JxlDecoderSetImageOutBuffer(d, &f, pixels, want) != JXL_DEC_SUCCESS)
		return fg_fail(err, FG_ECORRUPT,
		    "JPEG XL: %zu bytes of pixels, not %zu", got, want);
	return 0;
}

static int
decode(JxlDecoder *d, const uint8_t *p, size_t n, const struct fg_array *out,
    void *pixels, struct fg_err *err)
{
	bool complete = false;

	if (JxlDecoderSubscribeEvents(d, JXL_DEC_BASIC_INFO | JXL_DEC_FRAME |
					     JXL_DEC_FULL_IMAGE) != JXL_DEC_SUCCESS ||
	    JxlDecoderSetCoalescing(d, JXL_FALSE) != JXL_DEC_SUCCESS ||
	    JxlDecoderSetKeepOrientation(d, JXL_TRUE) != JXL_DEC_SUCCESS ||
	    JxlDecoderSetInput(d, p, n) != JXL_DEC_SUCCESS)
		return fg_fail(err, FG_ENOMEM, "JPEG XL: no decoder");
	/* The input stays open, so that a file that is cut off is told from damage. */
	for (;;) {
		int rc = 0;

		switch (JxlDecoderProcessInput(d)) {
		case JXL_DEC_BASIC_INFO:
			rc = check_info(d, out, err);
			break;
		case JXL_DEC_FRAME:
			rc = check_frame(d, err);
			break;
		case JXL_DEC_NEED_IMAGE_OUT_BUFFER:
			rc = set_output(d, out, pixels, err);
			break;
		case JXL_DEC_FULL_IMAGE:
			complete = true;
			break;
		case JXL_DEC_SUCCESS:
			if (complete)
				return 0;
			return fg_fail(err, FG_ECORRUPT, "JPEG XL: no image in it");
		case JXL_DEC_NEED_MORE_INPUT:
			if (complete)
				return 0;
			return fg_fail(err, FG_ECORRUPT,
			    "JPEG XL: ends within the image (%zu bytes)", n);
		default:
			return fg_fail(err, FG_ECORRUPT, "JPEG XL: damaged");
		}
		if (rc < 0)
			return -1;
	}
}

int
fg_jxl_decode(const uint8_t *p, size_t n, struct fg_array *out, struct fg_err *err)
{
	size_t size = fg_dtype_size(out->dtype);
	int channels = (int)out->shape[3], rc;
	JxlDecoder *d = JxlDecoderCreate(NULL);
	void *pixels = out->data;

	if (channels > 1)
		pixels = fg_try_alloc(voxels_of(out), size * (size_t)channels);
	if (!d || !pixels) {
		rc = fg_fail(err, FG_ENOMEM, "JPEG XL: no memory for %zu pixels",
		    voxels_of(out));
	} else {
		rc = decode(d, p, n, out, pixels, err);
		if (rc == 0 && channels > 1)
			fg_chunk_split(pixels, voxels_of(out), channels, size,
			    out->data);
	}
	if (pixels != out->data)
		free(pixels);
	if (d)
		JxlDecoderDestroy(d);
	return rc;
}

/* --- encoding */

/* Quality 0..99 -> butteraugli distance, as the cjxl tool maps them. */
static float
distance_of(int quality)
{
	double q = quality;

	return (float)(quality >= 30 ? 0.1 + (100 - q) * 0.09
				     : 53.0 / 3000 * q * q - 23.0 / 20 * q + 25);
}

static bool
set_image(JxlEncoder *e, const struct fg_array *in, int64_t width, int64_t height,
    bool lossless)
{
	unsigned bits = (unsigned)fg_dtype_size(in->dtype) * 8;
	JxlColorEncoding colour;
	JxlBasicInfo i;

	JxlEncoderInitBasicInfo(&i);
	i.xsize = (uint32_t)width;
	i.ysize = (uint32_t)height;
	i.bits_per_sample = bits;
	i.num_color_channels = in->shape[3] == 1 ? 1 : 3;
	if (in->shape[3] == 4) {
		i.num_extra_channels = 1;
		i.alpha_bits = bits;
	}
	i.uses_original_profile = lossless;
	JxlColorEncodingSetToSRGB(&colour, in->shape[3] == 1);
	return (bits == 8 || JxlEncoderSetCodestreamLevel(e, CONTAINER_LEVEL) ==
				 JXL_ENC_SUCCESS) &&
	       JxlEncoderSetBasicInfo(e, &i) == JXL_ENC_SUCCESS &&
	       JxlEncoderSetColorEncoding(e, &colour) == JXL_ENC_SUCCESS;
}

static bool
add_frame(JxlEncoder *e, const struct fg_array *in, const void *pixels, int quality,
    int effort)
{
	JxlEncoderFrameSettings *s = JxlEncoderFrameSettingsCreate(e, NULL);
	JxlPixelFormat f = pixel_format(in);

	if (!s || JxlEncoderFrameSettingsSetOption(s, JXL_ENC_FRAME_SETTING_EFFORT,
		      effort) != JXL_ENC_SUCCESS)
		return false;
	if (quality == 100) {
		if (JxlEncoderSetFrameLossless(s, JXL_TRUE) != JXL_ENC_SUCCESS)
			return false;
	} else if (JxlEncoderSetFrameDistance(s, distance_of(quality)) !=
		   JXL_ENC_SUCCESS) {
		return false;
	}
	if (JxlEncoderAddImageFrame(s, &f, pixels, fg_array_bytes(in)) !=
	    JXL_ENC_SUCCESS)
		return false;
	JxlEncoderCloseInput(e);
	return true;
}

static bool
collect(JxlEncoder *e, struct fg_str *out)
{
	uint8_t part[65536];

	for (;;) {
		uint8_t *to = part;
		size_t room = sizeof part;
		JxlEncoderStatus s = JxlEncoderProcessOutput(e, &to, &room);

		fg_str_put(out, part, sizeof part - room);
		if (s == JXL_ENC_SUCCESS)
			return true;
		if (s != JXL_ENC_NEED_MORE_OUTPUT)
			return false;
	}
}

int
fg_jxl_encode(int quality, int effort, const struct fg_array *in, struct fg_buf **out,
    struct fg_err *err)
{
	size_t size = fg_dtype_size(in->dtype);
	int channels = (int)in->shape[3], rc = -1;
	struct fg_str bytes = FG_STR_INIT;
	JxlEncoder *e = JxlEncoderCreate(NULL);
	void *pixels = in->data;
	int64_t width, height;

	if (quality <= 0)
		quality = in->dtype == FG_U8 ? QUALITY_8 : 100;
	if (!fg_chunk_image_size(in->shape, SIDE_MAX, &width, &height)) {
		fg_fail(err, FG_EINVAL, "chunk of %zu voxels does not fit a JPEG XL",
		    voxels_of(in));
		goto out;
	}
	if (channels > 1) {
		pixels = fg_try_alloc(voxels_of(in), size * (size_t)channels);
		if (pixels)
			fg_chunk_join(in->data, voxels_of(in), channels, size, pixels);
	}
	if (!e || !pixels) {
		fg_fail(err, FG_ENOMEM, "JPEG XL: no memory for %zu pixels",
		    voxels_of(in));
		goto out;
	}
	if (!set_image(e, in, width, height, quality == 100) ||
	    !add_frame(e, in, pixels, quality,
		effort > 0 ? FG_MIN(effort, EFFORT_MAX) : EFFORT_DEFAULT) ||
	    !collect(e, &bytes)) {
		fg_fail(err, FG_EINVAL,
		    "JPEG XL: libjxl does not encode %lld x %lld pixels of %d "
		    "channels (%s)",
		    (long long)width, (long long)height, channels,
		    fg_dtype_name(in->dtype));
		goto out;
	}
	*out = fg_str_take(&bytes);
	rc = 0;
out:
	fg_str_fini(&bytes);
	if (pixels != in->data)
		free(pixels);
	if (e)
		JxlEncoderDestroy(e);
	return rc;
}

#else

int
fg_jxl_decode(const uint8_t *p FG_UNUSED, size_t n FG_UNUSED,
    struct fg_array *out FG_UNUSED, struct fg_err *err)
{
	return fg_fail(err, FG_ENOTSUP, "encoding jxl is not available in this build");
}

int
fg_jxl_encode(int quality FG_UNUSED, int effort FG_UNUSED,
    const struct fg_array *in FG_UNUSED, struct fg_buf **out FG_UNUSED,
    struct fg_err *err)
{
	return fg_fail(err, FG_ENOTSUP, "encoding jxl is not available in this build");
}

#endif
