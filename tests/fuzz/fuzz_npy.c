/* SPDX-License-Identifier: Apache-2.0 */
/* NumPy files. Byte 0: odd: .npz (bit 1: member "x"), even: .npy; then the file. */
#include "config.h"

#include "formats/npy.h"

#define LIMIT 65536

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a = FG_ARRAY_INIT, back = FG_ARRAY_INIT;
	struct fg_buf *f = NULL;
	int rc;

	if (n == 0)
		return 0;
	if (p[0] & 1)
		rc =
		    fg_npz_decode(p + 1, n - 1, p[0] & 2 ? "x" : NULL, LIMIT, &a, &err);
	else
		rc = fg_npy_decode(p + 1, n - 1, LIMIT, &a, &err);
	if (rc < 0) {
		fg_assert(err.code != FG_OK && err.msg[0] && !a.data);
		return 0;
	}
	fg_assert(fg_array_bytes(&a) <= LIMIT);
	fg_assert(fg_npy_encode(&a, &f, &err) == 0);
	fg_assert(fg_npy_decode(f->data, f->len, LIMIT, &back, &err) == 0);
	fg_assert(
	    back.dtype == a.dtype && memcmp(back.shape, a.shape, sizeof a.shape) == 0);
	fg_assert(memcmp(back.data, a.data, fg_array_bytes(&a)) == 0);
	fg_buf_unref(f);
	fg_array_fini(&a);
	fg_array_fini(&back);
	return 0;
}
