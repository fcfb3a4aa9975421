/* SPDX-License-Identifier: Apache-2.0 */
/* Which encoding holds what, and the dispatch. */
#include "config.h"

#include "formats/codec.h"
#include "tests/tap.h"

static void
test_check(void)
{
	struct fg_err err = FG_ERR_INIT;

	tap_rc(fg_codec_check(FG_ENC_RAW, FG_F32, 1024, &err), &err, "raw holds all");
	tap_rc(fg_codec_check(FG_ENC_JPEG, FG_U8, 1, &err), &err, "jpeg");
	tap_rc(fg_codec_check(FG_ENC_JPEG, FG_U8, 3, &err), &err, "jpeg, RGB");
	tap_rc(fg_codec_check(FG_ENC_PNG, FG_U16, 4, &err), &err, "png");
	tap_rc(fg_codec_check(FG_ENC_CSEG, FG_U32, 40, &err), &err, "cseg");
	tap_fails(fg_codec_check(FG_ENC_RAW, FG_U8, 0, &err), &err, FG_EINVAL,
	    "raw cannot hold 0 channels", "no channels");
	tap_fails(fg_codec_check(FG_ENC_JPEG, FG_I8, 1, &err), &err, FG_EINVAL,
	    "jpeg cannot hold int8", "jpeg of int8");
	tap_fails(fg_codec_check(FG_ENC_JPEG, FG_U8, 2, &err), &err, FG_EINVAL,
	    "jpeg cannot hold 2 channels", "jpeg of 2 channels");
	tap_fails(fg_codec_check(FG_ENC_JPEG, FG_U8, 33, &err), &err, FG_EINVAL,
	    "jpeg cannot hold 33 channels", "jpeg of 33 channels");
	tap_fails(fg_codec_check(FG_ENC_PNG, FG_F32, 1, &err), &err, FG_EINVAL,
	    "png cannot hold float32", "png of floats");
	tap_fails(fg_codec_check(FG_ENC_CSEG, FG_U16, 1, &err), &err, FG_EINVAL,
	    "compressed_segmentation cannot hold uint16", "cseg of uint16");
	tap_rc(fg_codec_check(FG_ENC_COMPRESSO, FG_U8, 1, &err), &err, "compresso");
	tap_fails(fg_codec_check(FG_ENC_COMPRESSO, FG_I32, 1, &err), &err, FG_EINVAL,
	    "compresso cannot hold int32", "compresso of int32");
	tap_fails(fg_codec_check(FG_ENC_COMPRESSO, FG_U32, 2, &err), &err, FG_EINVAL,
	    "compresso cannot hold 2 channels", "compresso of 2 channels");
}

/* Through the dispatch: lossless encodings give back what went in. */
static void
test_round_trip(enum fg_encoding e, enum fg_dtype t, int64_t channels)
{
	struct fg_scale s = {.encoding = e,
	    .cseg_block = {8, 8, 8},
	    .jpeg_quality = -1,
	    .png_level = -1};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a, back;
	struct fg_buf *f = NULL, *again = NULL;
	int64_t shape[4] = {7, 5, 3, channels};

	tap_rc(fg_array_init(&a, t, shape, &err), &err, "array");
	tap_rc(fg_array_init_zero(&back, t, shape, &err), &err, "array");
	for (size_t i = 0; i < fg_array_bytes(&a); i++)
		((uint8_t *)a.data)[i] = (uint8_t)(i * 37 >> 2);
	if (tap_rc(fg_codec_encode(&s, &a, &f, &err), &err, fg_encoding_name(e)) &&
	    tap_rc(fg_codec_encode(&s, &a, &again, &err), &err, "again") &&
	    tap_rc(fg_codec_decode(&s, f->data, f->len, &back, &err), &err, "back")) {
		tap_ok(memcmp(a.data, back.data, fg_array_bytes(&a)) == 0,
		    "%s %s x %d: the same voxels", fg_encoding_name(e),
		    fg_dtype_name(t), (int)channels);
		tap_ok(f->len == again->len &&
			   memcmp(f->data, again->data, f->len) == 0,
		    "the same bytes");
		tap_fails(fg_codec_decode(&s, f->data, f->len - 1, &back, &err), &err,
		    FG_ECORRUPT, "", "cut off");
		tap_fails(fg_codec_decode(&s, f->data, 0, &back, &err), &err,
		    FG_ECORRUPT, "", "no bytes");
	}
	fg_buf_unref(f);
	fg_buf_unref(again);
	fg_array_fini(&a);
	fg_array_fini(&back);
}

int
main(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_scale s = {.encoding = FG_ENC_RAW};
	struct fg_array a;

	test_check();
	for (enum fg_dtype t = 0; t < FG_DTYPES; t++)
		test_round_trip(FG_ENC_RAW, t, 2);
	for (int c = 1; c <= 4; c++) {
		test_round_trip(FG_ENC_PNG, FG_U8, c);
		test_round_trip(FG_ENC_PNG, FG_U16, c);
	}
	test_round_trip(FG_ENC_CSEG, FG_U32, 2);
	test_round_trip(FG_ENC_CSEG, FG_U64, 2);
	test_round_trip(FG_ENC_COMPRESSO, FG_U8, 1);
	test_round_trip(FG_ENC_COMPRESSO, FG_U16, 1);
	test_round_trip(FG_ENC_COMPRESSO, FG_U32, 1);
	test_round_trip(FG_ENC_COMPRESSO, FG_U64, 1);
	tap_rc(fg_array_init_zero(&a, FG_U8, (int64_t[4]){2, 2, 2, 1}, &err), &err,
	    "array");
	tap_fails(fg_codec_decode(&s, a.data, 7, &a, &err), &err, FG_ECORRUPT,
	    "raw chunk has 7 bytes, not 8", "raw, one short");
	tap_fails(fg_codec_decode(&s, a.data, 9, &a, &err), &err, FG_ECORRUPT,
	    "raw chunk has 9 bytes, not 8", "raw, one too many");
	tap_str(fg_encoding_mime(FG_ENC_PNG), "image/png", "mime");
	tap_str(fg_encoding_mime(FG_ENC_RAW), "application/octet-stream", "mime");
	fg_array_fini(&a);
	return tap_done();
}
