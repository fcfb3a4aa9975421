/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AMX tiles in software, for processors without them: included before seg/bf16.c, whose
 * intrinsics then are these. Shapes are fixed, as that file sets them: eight tiles of
 * 16 rows of 64 bytes. Sums are those that Intel's manual gives for TDPBF16PS: the even
 * and the odd products of a row apart, then both to the tile.
 */
#ifndef FG_TESTS_SEG_EMULATE_TILES_H
#define FG_TESTS_SEG_EMULATE_TILES_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

static uint8_t emulated_tile[8][16][64];

static inline void
emulate_load(int t, const void *from, size_t stride)
{
	for (size_t r = 0; r < 16; r++)
		memcpy(emulated_tile[t][r], (const char *)from + r * stride, 64);
}

static inline void
emulate_store(int t, void *to, size_t stride)
{
	for (size_t r = 0; r < 16; r++)
		memcpy((char *)to + r * stride, emulated_tile[t][r], 64);
}

/* bf16 number i of a row. */
static inline float
emulate_item(int t, int row, int i)
{
	uint16_t half;
	uint32_t bits;
	float f;

	memcpy(&half, emulated_tile[t][row] + 2 * i, sizeof half);
	bits = (uint32_t)half << 16;
	memcpy(&f, &bits, sizeof f);
	return f;
}

static inline void
emulate_product(int sum, int a, int b)
{
	for (int m = 0; m < 16; m++) {
		float row[16];

		memcpy(row, emulated_tile[sum][m], sizeof row);
		for (int n = 0; n < 16; n++) {
			float even = 0, odd = 0;

			for (int k = 0; k < 16; k++) {
				even = fmaf(emulate_item(a, m, 2 * k),
				    emulate_item(b, k, 2 * n), even);
				odd = fmaf(emulate_item(a, m, 2 * k + 1),
				    emulate_item(b, k, 2 * n + 1), odd);
			}
			row[n] += even + odd;
		}
		memcpy(emulated_tile[sum][m], row, sizeof row);
	}
}

#undef _tile_loadconfig
#undef _tile_loadd
#undef _tile_stored
#undef _tile_dpbf16ps
#undef _tile_release
#define _tile_loadconfig(config) ((void)(config))
#define _tile_loadd(t, from, stride) emulate_load(t, from, stride)
#define _tile_stored(t, to, stride) emulate_store(t, to, stride)
#define _tile_dpbf16ps(sum, a, b) emulate_product(sum, a, b)
#define _tile_release() ((void)0)

#endif
