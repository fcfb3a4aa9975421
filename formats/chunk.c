/* SPDX-License-Identifier: Apache-2.0 */
/* What the image codecs (jpeg.c, png.c) share: see the header. */
#include "config.h"

#include "formats/chunk.h"

void
fg_chunk_split(const void *pixels, size_t n, int channels, size_t size, void *planes)
{
	for (int c = 0; c < channels; c++) {
		if (size == 1) {
			const uint8_t *src = (const uint8_t *)pixels + c;
			uint8_t *dst = (uint8_t *)planes + (size_t)c * n;

			for (size_t i = 0; i < n; i++)
				dst[i] = src[i * (size_t)channels];
		} else {
			const uint16_t *src = (const uint16_t *)pixels + c;
			uint16_t *dst = (uint16_t *)planes + (size_t)c * n;

			for (size_t i = 0; i < n; i++)
				dst[i] = src[i * (size_t)channels];
		}
	}
}

void
fg_chunk_join(const void *planes, size_t n, int channels, size_t size, void *pixels)
{
	for (int c = 0; c < channels; c++) {
		if (size == 1) {
			const uint8_t *src = (const uint8_t *)planes + (size_t)c * n;
			uint8_t *dst = (uint8_t *)pixels + c;

			for (size_t i = 0; i < n; i++)
				dst[i * (size_t)channels] = src[i];
		} else {
			const uint16_t *src = (const uint16_t *)planes + (size_t)c * n;
			uint16_t *dst = (uint16_t *)pixels + c;

			for (size_t i = 0; i < n; i++)
				dst[i * (size_t)channels] = src[i];
		}
	}
}

bool
fg_chunk_image_size(const int64_t shape[4], int64_t limit, int64_t *width,
    int64_t *height)
{
	int64_t rows = shape[1] * shape[2];

	for (int64_t k = 1; k <= rows && shape[0] * k <= limit; k++) {
		if (rows % k == 0 && rows / k <= limit) {
			*width = shape[0] * k;
			*height = rows / k;
			return true;
		}
	}
	return false;
}
