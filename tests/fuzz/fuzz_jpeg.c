/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JPEG chunks. Bytes 0-2: extents; byte 3: bit 0 3 channels, bit 1 take the extents
 * from the file (else few changes of its header get further); then the file.
 */
#include "config.h"

#include "formats/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* Width and height of the first frame header, if they are small. */
static void
find_size(const uint8_t *p, size_t n, int64_t shape[4])
{
	for (size_t i = 0; i + 9 < n; i++) {
		if (p[i] == 0xff && p[i + 1] >= 0xc0 && p[i + 1] <= 0xc2) {
			int64_t h = p[i + 5] << 8 | p[i + 6],
				w = p[i + 7] << 8 | p[i + 8];

			if (w > 0 && h > 0 && w * h <= 65536) {
				shape[0] = w;
				shape[1] = h;
				shape[2] = 1;
			}
			return;
		}
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_scale s = {.encoding = FG_ENC_JPEG};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;

	if (n < 4)
		return 0;
	int64_t shape[4] = {p[0] % 64 + 1, p[1] % 64 + 1, p[2] % 16 + 1,
	    p[3] & 1 ? 3 : 1};
	if (p[3] & 2)
		find_size(p + 4, n - 4, shape);
	fg_assert(fg_array_init_zero(&a, FG_U8, shape, &err) == 0);
	if (fg_codec_decode(&s, p + 4, n - 4, &a, &err) < 0)
		fg_assert(err.code == FG_ECORRUPT && err.msg[0]);
	fg_array_fini(&a);
	return 0;
}
