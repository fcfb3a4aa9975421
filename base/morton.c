/* SPDX-License-Identifier: Apache-2.0 */
/* Z-order codes: see the header. */
#include "config.h"

#include "base/morton.h"

/* Spread the low 21 bits so that two zero bits stand between each. */
static uint64_t
spread(uint64_t v)
{
	v &= 0x1fffff;
	v = (v | v << 32) & UINT64_C(0x001f00000000ffff);
	v = (v | v << 16) & UINT64_C(0x001f0000ff0000ff);
	v = (v | v << 8) & UINT64_C(0x100f00f00f00f00f);
	v = (v | v << 4) & UINT64_C(0x10c30c30c30c30c3);
	v = (v | v << 2) & UINT64_C(0x1249249249249249);
	return v;
}

static uint64_t
gather(uint64_t v)
{
	v &= UINT64_C(0x1249249249249249);
	v = (v | v >> 2) & UINT64_C(0x10c30c30c30c30c3);
	v = (v | v >> 4) & UINT64_C(0x100f00f00f00f00f);
	v = (v | v >> 8) & UINT64_C(0x001f0000ff0000ff);
	v = (v | v >> 16) & UINT64_C(0x001f00000000ffff);
	v = (v | v >> 32) & 0x1fffff;
	return v;
}

uint64_t
fg_morton_encode(const int64_t p[3])
{
	for (int d = 0; d < 3; d++)
		fg_assert(p[d] >= 0 && p[d] <= FG_MORTON_AXIS_MAX);
	return spread((uint64_t)p[0]) | spread((uint64_t)p[1]) << 1 |
	       spread((uint64_t)p[2]) << 2;
}

void
fg_morton_decode(uint64_t code, int64_t p[3])
{
	for (int d = 0; d < 3; d++)
		p[d] = (int64_t)gather(code >> d);
}

uint64_t
fg_morton_compressed(const int64_t p[3], const int64_t grid[3])
{
	uint64_t code = 0;
	int out = 0;

	for (int i = 0; i < 63; i++) {
		bool any = false;

		for (int d = 0; d < 3; d++) {
			if ((INT64_C(1) << i) >= grid[d])
				continue;
			fg_assert(out < 64);
			code |= ((uint64_t)p[d] >> i & 1) << out++;
			any = true;
		}
		if (!any)
			break;
	}
	return code;
}
