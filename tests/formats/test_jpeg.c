/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JPEG chunks. The cases were made and decoded by Pillow; decoders may differ by one
 * in the colour conversion.
 */
#include "config.h"

#include <math.h>

#include "tests/formats/cases.h"

static uint8_t
pattern(int64_t x, int64_t y, int64_t z, int64_t c)
{
	return (uint8_t)(128 +
			 60 * sin((double)(x + 3 * c) / 5) * cos((double)(y + z) / 7));
}

/* Encode and decode; returns the largest difference, -1 on failure. */
static int
round_trip(const int64_t n[4], int quality, size_t *bytes)
{
	struct fg_scale s = {.encoding = FG_ENC_JPEG, .jpeg_quality = quality};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a, back;
	struct fg_buf *f = NULL;
	int worst = -1;
	size_t i = 0;

	if (!tap_rc(fg_array_init(&a, FG_U8, n, &err), &err, "array") ||
	    !tap_rc(fg_array_init_zero(&back, FG_U8, n, &err), &err, "array"))
		return -1;
	for (int64_t c = 0; c < n[3]; c++) {
		for (int64_t z = 0; z < n[2]; z++) {
			for (int64_t y = 0; y < n[1]; y++) {
				for (int64_t x = 0; x < n[0]; x++)
					((uint8_t *)a.data)[i++] = pattern(x, y, z, c);
			}
		}
	}
	if (tap_rc(fg_codec_encode(&s, &a, &f, &err), &err, "encode") &&
	    tap_rc(fg_codec_decode(&s, f->data, f->len, &back, &err), &err, "decode")) {
		worst = 0;
		for (i = 0; i < fg_array_bytes(&a); i++)
			worst = FG_MAX(worst,
			    abs(((uint8_t *)a.data)[i] - ((uint8_t *)back.data)[i]));
		if (bytes)
			*bytes = f->len;
	}
	fg_buf_unref(f);
	fg_array_fini(&a);
	fg_array_fini(&back);
	return worst;
}

static void
test_limits(void)
{
	struct fg_scale s = {.encoding = FG_ENC_JPEG, .jpeg_quality = 50};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;
	struct fg_buf *f = NULL;

	/* 65536 rows do not fit a JPEG; the area rule lets two stand side by side. */
	tap_ok(round_trip((int64_t[4]){4, 256, 256, 1}, 90, NULL) >= 0,
	    "more rows than a JPEG can have");
	/* A prime number of rows cannot be folded. */
	tap_rc(fg_array_init_zero(&a, FG_U8, (int64_t[4]){1, 65537, 1, 1}, &err), &err,
	    "array");
	tap_fails(fg_codec_encode(&s, &a, &f, &err), &err, FG_EINVAL,
	    "1 x 65537 x 1 voxels does not fit", "65537 rows");
	fg_array_fini(&a);
}

/* Every truncation is refused, none crashes. */
static void
test_truncation(void)
{
	struct fg_scale s = {.encoding = FG_ENC_JPEG, .jpeg_quality = -1};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;
	struct fg_buf *f = NULL;
	int accepted = 0;

	tap_rc(fg_array_init(&a, FG_U8, (int64_t[4]){16, 8, 4, 3}, &err), &err,
	    "array");
	for (size_t i = 0; i < fg_array_bytes(&a); i++)
		((uint8_t *)a.data)[i] = (uint8_t)(i * 7);
	tap_rc(fg_codec_encode(&s, &a, &f, &err), &err, "encode");
	for (size_t n = 0; n < f->len; n++) {
		accepted += fg_codec_decode(&s, f->data, n, &a, &err) == 0;
		fg_err_clear(&err);
	}
	tap_int(accepted, 0, "no truncated file is accepted");
	fg_buf_unref(f);
	fg_array_fini(&a);
}

int
main(void)
{
	size_t fine, coarse;

	cases_run("jpeg", FG_ENC_JPEG, 1);
	tap_ok(round_trip((int64_t[4]){64, 64, 8, 1}, 100, &fine) <= 2, "quality 100");
	tap_ok(round_trip((int64_t[4]){64, 64, 8, 1}, 60, &coarse) <= 24, "quality 60");
	tap_ok(coarse * 2 < fine, "the quality is used");
	tap_ok(round_trip((int64_t[4]){64, 64, 8, 3}, 100, NULL) <= 4,
	    "RGB: colour at full resolution");
	tap_ok(round_trip((int64_t[4]){1, 1, 1, 1}, -1, NULL) >= 0, "one voxel");
	test_limits();
	test_truncation();
	return tap_done();
}
