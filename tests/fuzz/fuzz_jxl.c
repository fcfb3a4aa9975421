/* SPDX-License-Identifier: Apache-2.0 */
/* JPEG XL chunks. Bytes 0-2: extents; byte 3: channels and bits; then the file. */
#include "config.h"

#include "formats/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const int channels[] = {1, 3, 4, 1};
	struct fg_scale s = {.encoding = FG_ENC_JXL};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;

	if (n < 4)
		return 0;
	int64_t shape[4] = {p[0] % 64 + 1, p[1] % 64 + 1, p[2] % 16 + 1,
	    channels[p[3] & 3]};
	fg_assert(fg_array_init_zero(&a, p[3] & 4 ? FG_U16 : FG_U8, shape, &err) == 0);
	if (fg_codec_decode(&s, p + 4, n - 4, &a, &err) < 0)
		fg_assert(
		    (err.code == FG_ECORRUPT || err.code == FG_ENOTSUP) && err.msg[0]);
	fg_array_fini(&a);
	return 0;
}
