/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `raw` encoding: the voxels as they lie in memory (x fastest, channel slowest,
 * little-endian), which is also how struct fg_array keeps them.
 */
#include "config.h"

#include "formats/chunk.h"

int
fg_raw_decode(const uint8_t *p, size_t n, struct fg_array *out, struct fg_err *err)
{
	size_t want = fg_array_bytes(out);

	if (n != want)
		return fg_fail(err, FG_ECORRUPT, "raw chunk has %zu bytes, not %zu", n,
		    want);
	if (n > 0)
		memcpy(out->data, p, n);
	return 0;
}

int
fg_raw_encode(const struct fg_array *in, struct fg_buf **out, struct fg_err *err)
{
	size_t n = fg_array_bytes(in);
	struct fg_buf *b = fg_buf_new(n);

	if (!b)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu bytes", n);
	if (n > 0)
		memcpy(b->data, in->data, n);
	*out = b;
	return 0;
}
