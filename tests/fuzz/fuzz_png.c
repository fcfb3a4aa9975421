/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PNG chunks and stack images. Bytes 0-2: extents; byte 3: bits 0-1 channels - 1, bit 2
 * 16 bits, bit 3 make the checksums right first (else hardly any change gets past
 * them), bit 4 take the extents from the file; then the file.
 */
#include "config.h"

#include <stdlib.h>

#include <libdeflate.h>

#include "formats/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static uint32_t
get_u32be(const uint8_t *p)
{
	return __builtin_bswap32(fg_get_u32le(p));
}

/* The CRC of each chunk: length, type, data, CRC. */
static void
seal(uint8_t *p, size_t n)
{
	size_t at = 8;

	while (at + 12 <= n) {
		size_t len = get_u32be(p + at);

		if (len > n - at - 12)
			return;
		fg_put_u32le(p + at + 8 + len,
		    __builtin_bswap32(libdeflate_crc32(0, p + at + 4, len + 4)));
		at += 12 + len;
	}
}

static void
check_chunk(const uint8_t *head, const uint8_t *p, size_t n)
{
	struct fg_scale s = {.encoding = FG_ENC_PNG};
	int64_t shape[4] = {head[0] % 64 + 1, head[1] % 64 + 1, head[2] % 16 + 1,
	    (head[3] & 3) + 1};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a, back;
	struct fg_buf *f = NULL;

	if (head[3] & 16 && n >= 24) {
		int64_t w = get_u32be(p + 16), h = get_u32be(p + 20);

		if (w > 0 && h > 0 && w <= 65536 && h <= 65536 / w) {
			shape[0] = w;
			shape[1] = h;
			shape[2] = 1;
		}
	}
	fg_assert(
	    fg_array_init_zero(&a, head[3] & 4 ? FG_U16 : FG_U8, shape, &err) == 0);
	if (fg_codec_decode(&s, p, n, &a, &err) < 0) {
		fg_assert(err.code == FG_ECORRUPT && err.msg[0]);
	} else {
		fg_assert(fg_array_init_zero(&back, a.dtype, shape, &err) == 0);
		fg_assert(fg_codec_encode(&s, &a, &f, &err) == 0);
		fg_assert(fg_codec_decode(&s, f->data, f->len, &back, &err) == 0);
		fg_assert(memcmp(a.data, back.data, fg_array_bytes(&a)) == 0);
		fg_array_fini(&back);
		fg_buf_unref(f);
	}
	fg_array_fini(&a);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a = FG_ARRAY_INIT;
	int64_t w = 0, h = 0;
	enum fg_dtype t = FG_U8;
	uint8_t *copy;

	if (n < 4)
		return 0;
	copy = malloc(n - 4 + 1);
	fg_assert(copy != NULL);
	memcpy(copy, p + 4, n - 4);
	if (p[3] & 8)
		seal(copy, n - 4);
	check_chunk(p, copy, n - 4);
	if (fg_png_read(copy, n - 4, 64, &a, &err) == 0) {
		fg_assert(fg_png_probe(copy, n - 4, &w, &h, &t, &err) == 0);
		fg_assert(w == a.shape[0] && h == a.shape[1] && t == a.dtype);
		fg_array_fini(&a);
	}
	free(copy);
	return 0;
}
