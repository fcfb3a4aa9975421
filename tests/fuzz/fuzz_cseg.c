/* SPDX-License-Identifier: Apache-2.0 */
/*
 * compressed_segmentation. Byte 0: bit 0 labels are u64, bit 1 two channels, bit 2 the
 * rest is labels to encode rather than a file; bytes 1-3 extents, 4-6 block extents.
 * What was decoded, or is encoded, must come back from our encoder and decoder.
 */
#include "config.h"

#include "formats/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check_round_trip(const int64_t block[3], const struct fg_array *a)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array back;
	struct fg_buf *f = NULL;

	fg_assert(fg_cseg_encode(block, a, &f, &err) == 0);
	fg_assert(fg_array_init(&back, a->dtype, a->shape, &err) == 0);
	fg_assert(fg_cseg_decode(block, f->data, f->len, &back, &err) == 0);
	fg_assert(memcmp(a->data, back.data, fg_array_bytes(a)) == 0);
	fg_array_fini(&back);
	fg_buf_unref(f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	int64_t shape[4], block[3];
	struct fg_array a;

	if (n < 7)
		return 0;
	for (int d = 0; d < 3; d++) {
		shape[d] = p[1 + d] % 24 + 1;
		block[d] = p[4 + d] % 12 + 1;
	}
	shape[3] = p[0] & 2 ? 2 : 1;
	fg_assert(fg_array_init_zero(&a, p[0] & 1 ? FG_U64 : FG_U32, shape, &err) == 0);
	if (p[0] & 4) {
		size_t size = fg_dtype_size(a.dtype);

		/* One byte a label, so that labels repeat. */
		for (size_t i = 0; i < FG_MIN(n - 7, fg_array_count(&a)); i++)
			((uint8_t *)a.data)[i * size + (size > 4 ? i % 2 * 4 : 0)] =
			    p[7 + i];
		check_round_trip(block, &a);
	} else if (fg_cseg_decode(block, p + 7, n - 7, &a, &err) == 0) {
		check_round_trip(block, &a);
	} else {
		fg_assert(err.code == FG_ECORRUPT && err.msg[0]);
	}
	fg_array_fini(&a);
	return 0;
}
