/* SPDX-License-Identifier: Apache-2.0 */
/* Skeleton files: what can be decoded comes back from the encoder byte for byte, and
 * can be written as SWC. */
#include "config.h"

#include "formats/skeleton.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_skeleton s;
	struct fg_buf *b = NULL;

	if (fg_skeleton_decode(p, n, &s, &err) < 0) {
		fg_assert(err.code == FG_ECORRUPT && err.msg[0]);
		return 0;
	}
	fg_assert(fg_skeleton_encode(&s, &b, &err) == 0);
	fg_assert(b->len == n && memcmp(b->data, p, n) == 0);
	fg_buf_unref(b);
	fg_assert(fg_skeleton_encode_swc(&s, &b, &err) == 0);
	fg_buf_unref(b);
	fg_skeleton_fini(&s);
	return 0;
}
