/* SPDX-License-Identifier: Apache-2.0 */
/* Manifests of multi-resolution meshes: what can be decoded comes back from the encoder
 * byte for byte. */
#include "config.h"

#include "formats/multilod.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_multilod m;
	struct fg_buf *b = NULL;

	if (fg_multilod_decode(p, n, &m, &err) < 0) {
		fg_assert(
		    (err.code == FG_ECORRUPT || err.code == FG_ENOTSUP) && err.msg[0]);
		return 0;
	}
	fg_assert(fg_multilod_encode(&m, &b, &err) == 0);
	fg_assert(b->len == n && memcmp(b->data, p, n) == 0);
	fg_assert(fg_multilod_bytes(&m) < UINT64_MAX / 2);
	fg_buf_unref(b);
	fg_multilod_fini(&m);
	return 0;
}
