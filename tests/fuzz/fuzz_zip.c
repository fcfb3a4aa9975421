/* SPDX-License-Identifier: Apache-2.0 */
/* Compressed streams. Byte 0: coding; then the stream. */
#include "config.h"

#include "formats/codec.h"

#define LIMIT 65536

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	enum fg_coding c = n > 0 ? p[0] % 4 : FG_CODING_NONE;
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = NULL, *again = NULL;

	if (n == 0)
		return 0;
	if (fg_decompress(c, p + 1, n - 1, LIMIT, &b, &err) < 0) {
		fg_assert(err.code != FG_OK && err.msg[0] && !b);
		return 0;
	}
	fg_assert(b->len <= LIMIT);
	fg_buf_unref(b);
	b = NULL;
	if (c == FG_CODING_BROTLI)
		return 0;
	/* The input as something to compress. */
	fg_assert(fg_compress(c, 1, p, n, &b, &err) == 0);
	fg_assert(fg_decompress(c, b->data, b->len, n, &again, &err) == 0);
	fg_assert(again->len == n && memcmp(again->data, p, n) == 0);
	fg_buf_unref(b);
	fg_buf_unref(again);
	return 0;
}
