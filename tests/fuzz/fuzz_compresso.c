/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compresso. Byte 0 bit 0: the stream's own size and width (else those of bytes 1-3);
 * what decodes is encoded again and must give the same voxels.
 */
#include "config.h"

#include "formats/codec.h"

#define VOXELS_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static enum fg_dtype
dtype_of(unsigned width)
{
	return width == 1 ? FG_U8 : width == 2 ? FG_U16 : width == 4 ? FG_U32 : FG_U64;
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_scale s = {.encoding = FG_ENC_COMPRESSO};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a, back;
	struct fg_buf *f = NULL;

	if (n < 4)
		return 0;
	int64_t shape[4] = {p[1] % 80 + 1, p[2] % 32 + 1, p[3] % 8 + 1, 1};
	enum fg_dtype t = dtype_of(1u << (p[0] >> 1 & 3));
	if (p[0] & 1 && n >= 4 + 36) {
		for (int d = 0; d < 3; d++)
			shape[d] = fg_get_u16le(p + 4 + 6 + 2 * d);
		t = dtype_of(p[4 + 5]);
	}
	if (shape[0] * shape[1] * shape[2] == 0 ||
	    shape[0] * shape[1] * shape[2] > VOXELS_MAX)
		return 0;
	fg_assert(fg_array_init_zero(&a, t, shape, &err) == 0);
	fg_assert(fg_array_init_zero(&back, t, shape, &err) == 0);
	if (fg_codec_decode(&s, p + 4, n - 4, &a, &err) < 0) {
		fg_assert(err.code == FG_ECORRUPT && err.msg[0]);
	} else {
		fg_assert(fg_codec_encode(&s, &a, &f, &err) == 0);
		fg_assert(fg_codec_decode(&s, f->data, f->len, &back, &err) == 0);
		fg_assert(memcmp(a.data, back.data, fg_array_bytes(&a)) == 0);
		fg_buf_unref(f);
	}
	fg_array_fini(&a);
	fg_array_fini(&back);
	return 0;
}
