/* SPDX-License-Identifier: Apache-2.0 */
/* PNG: chunks (cases made by hand with zlib and by Pillow) and images of a stack. */
#include "config.h"

#include "tests/formats/cases.h"

/* Read the input of a case as an image of a stack. */
static int
read_image(const char *name, int64_t limit, struct fg_array *a, struct fg_err *err)
{
	char dir[1024];
	struct fg_buf *in;
	int rc;

	snprintf(dir, sizeof dir, "%s/tests/cases/png", getenv("srcdir"));
	in = cases_read(dir, name, "input");
	if (!in)
		return fg_fail(err, FG_ENOENT, "no case %s", name);
	rc = fg_png_read(in->data, in->len, limit, a, err);
	fg_buf_unref(in);
	return rc;
}

static void
test_stack(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a = FG_ARRAY_INIT;

	tap_rc(read_image("ok-u8-1", 15, &a, &err), &err, "8-bit image");
	tap_ok(a.dtype == FG_U8 && a.shape[0] == 7 && a.shape[1] == 15 &&
		   a.shape[2] == 1 && a.shape[3] == 1,
	    "its shape");
	fg_array_fini(&a);
	tap_rc(read_image("ok-u16-1", 100, &a, &err), &err, "16-bit image");
	tap_int(a.dtype, FG_U16, "its dtype");
	fg_array_fini(&a);
	tap_rc(read_image("ok-interlaced", 100, &a, &err), &err, "interlaced image");
	fg_array_fini(&a);
	tap_fails(read_image("ok-u8-1", 14, &a, &err), &err, FG_EINVAL,
	    "7 x 15 pixels, at most 14", "limit");
	tap_fails(read_image("bad-huge", 100000, &a, &err), &err, FG_EINVAL,
	    "2147483647 x 2147483647", "huge image");
	tap_fails(read_image("ok-u8-3", 100, &a, &err), &err, FG_ENOTSUP,
	    "RGB of 8 bits", "RGB");
	tap_fails(read_image("ok-u8-2", 100, &a, &err), &err, FG_ENOTSUP,
	    "grey with alpha of 8 bits", "alpha");
	tap_fails(read_image("bad-palette", 100, &a, &err), &err, FG_ENOTSUP, "palette",
	    "palette");
	tap_fails(read_image("bad-one-bit", 100, &a, &err), &err, FG_ENOTSUP,
	    "grey of 1 bits", "1 bit");
	tap_fails(read_image("bad-cut-in-data", 100, &a, &err), &err, FG_ECORRUPT,
	    "ends after 60 bytes", "cut off");
	tap_fails(read_image("bad-data-crc", 100, &a, &err), &err, FG_ECORRUPT, "CRC",
	    "checksum");
	tap_ok(a.data == NULL, "nothing is left after a failure");
}

static void
test_probe(void)
{
	/* Only the header: probing must not need the pixels. */
	static const uint8_t head[] = "\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\0\0\2\0"
				      "\x10\0\0\0\0\x18\x61\x31\x64\0\0\0\0IDAT";
	struct fg_err err = FG_ERR_INIT;
	int64_t w = -1, h = -1;
	enum fg_dtype t = FG_U8;

	tap_rc(fg_png_probe(head, sizeof head - 1, &w, &h, &t, &err), &err, "probe");
	tap_ok(w == 256 && h == 512 && t == FG_U16, "256 x 512, 16 bits");
	tap_fails(fg_png_probe(head, 30, &w, &h, &t, &err), &err, FG_ECORRUPT,
	    "ends after 30 bytes", "probe of a cut header");
	tap_ok(fg_png_probe(head, 0, &w, &h, &t, NULL) < 0, "nobody wants the message");
}

int
main(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_scale s = {.encoding = FG_ENC_PNG, .png_level = 0};
	struct fg_array a;
	struct fg_buf *plain = NULL, *packed = NULL;

	cases_run("png", FG_ENC_PNG, 0);
	test_stack();
	test_probe();
	tap_rc(fg_array_init_zero(&a, FG_U8, (int64_t[4]){64, 64, 64, 1}, &err), &err,
	    "64^3");
	tap_rc(fg_codec_encode(&s, &a, &plain, &err), &err, "level 0");
	s.png_level = 9;
	tap_rc(fg_codec_encode(&s, &a, &packed, &err), &err, "level 9");
	tap_ok(plain->len > 64 * 64 * 64 && packed->len < 4096, "the level is used");
	fg_buf_unref(plain);
	fg_buf_unref(packed);
	fg_array_fini(&a);
	return tap_done();
}
