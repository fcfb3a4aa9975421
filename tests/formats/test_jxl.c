/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JPEG XL: images that a newer libjxl wrote through the imagecodecs package (cases; the
 * lossy ones may differ by 2 from what that decoded), and our own round trips.
 */
#include "config.h"

#include <stdlib.h>

#include "tests/formats/cases.h"

#ifdef HAVE_JXL

/* A smooth image with a little noise, like EM. */
static void
make_image(struct fg_array *a, enum fg_dtype t, int64_t channels)
{
	struct fg_err err = FG_ERR_INIT;
	uint32_t seed = 7;

	tap_rc(fg_array_init(a, t, (int64_t[4]){32, 16, 8, channels}, &err), &err,
	    "array");
	for (size_t i = 0; i < fg_array_count(a); i++) {
		seed = seed * 1664525u + 1013904223u;
		uint16_t v = (uint16_t)(100 + i % 32 * 3 + i / 512 + (seed >> 30));

		if (t == FG_U8)
			((uint8_t *)a->data)[i] = (uint8_t)v;
		else
			((uint16_t *)a->data)[i] = (uint16_t)(v * 201);
	}
}

/* Encode and decode; the largest difference, or -1. *bytes: of the encoding. */
static int
round_trip(const struct fg_scale *s, enum fg_dtype t, int64_t channels, size_t *bytes)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a, back;
	struct fg_buf *f = NULL;
	int worst = -1;

	make_image(&a, t, channels);
	tap_rc(fg_array_init_zero(&back, t, a.shape, &err), &err, "array");
	if (tap_rc(fg_codec_encode(s, &a, &f, &err), &err, "encode") &&
	    tap_rc(fg_codec_decode(s, f->data, f->len, &back, &err), &err, "decode")) {
		worst = 0;
		for (size_t i = 0; i < fg_array_count(&a); i++) {
			int d =
			    t == FG_U8
				? ((uint8_t *)a.data)[i] - ((uint8_t *)back.data)[i]
				: ((uint16_t *)a.data)[i] - ((uint16_t *)back.data)[i];

			worst = FG_MAX(worst, abs(d));
		}
		*bytes = f->len;
	}
	fg_buf_unref(f);
	fg_array_fini(&a);
	fg_array_fini(&back);
	return worst;
}

static void
test_ours(void)
{
	struct fg_scale s = {.encoding = FG_ENC_JXL, .jxl_quality = 100};
	size_t lossless = 0, fine = 0, coarse = 0, slow = 0;
	int64_t channels[] = {1, 3, 4};

	for (int i = 0; i < 3; i++) {
		tap_int(round_trip(&s, FG_U8, channels[i], &lossless), 0,
		    "lossless, 8 bits, %d channels", (int)channels[i]);
		tap_int(round_trip(&s, FG_U16, channels[i], &lossless), 0,
		    "lossless, 16 bits, %d channels", (int)channels[i]);
	}
	round_trip(&s, FG_U8, 1, &lossless);
	s.jxl_effort = 10; /* as newer writers allow: taken as 9 */
	tap_int(round_trip(&s, FG_U8, 1, &slow), 0, "lossless, most effort");
	s = (struct fg_scale){.encoding = FG_ENC_JXL};
	int worst = round_trip(&s, FG_U8, 1, &fine);
	tap_ok(worst > 0 && worst <= 6, "default quality: %d off at most", worst);
	tap_int(round_trip(&s, FG_U16, 1, &coarse), 0, "16 bits are lossless");
	s.jxl_quality = 30;
	worst = round_trip(&s, FG_U8, 1, &coarse);
	tap_ok(worst > 0 && worst < 60, "quality 30: %d off at most", worst);
	s.jxl_quality = 10;
	worst = round_trip(&s, FG_U8, 3, &slow);
	tap_ok(worst > 0, "quality 10, RGB: %d off at most", worst);
	tap_ok(coarse < fine && fine < lossless, "%zu < %zu < %zu bytes", coarse, fine,
	    lossless);
}

int
main(void)
{
	cases_run("jxl", FG_ENC_JXL, 0);
	cases_run("jxl-lossy", FG_ENC_JXL, 2);
	test_ours();
	return tap_done();
}

#else

int
main(void)
{
	struct fg_scale s = {.encoding = FG_ENC_JXL};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;
	struct fg_buf *f = NULL;

	tap_rc(fg_array_init_zero(&a, FG_U8, (int64_t[4]){2, 2, 2, 1}, &err), &err,
	    "array");
	tap_fails(fg_codec_check(FG_ENC_JXL, FG_U8, 1, &err), &err, FG_ENOTSUP,
	    "jxl is not available", "not built");
	tap_fails(fg_codec_encode(&s, &a, &f, &err), &err, FG_ENOTSUP, "jxl",
	    "encode without a codec");
	tap_fails(fg_codec_decode(&s, a.data, 8, &a, &err), &err, FG_ENOTSUP, "jxl",
	    "decode without a codec");
	fg_array_fini(&a);
	return tap_done();
}

#endif
