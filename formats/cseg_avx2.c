/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks of compressed_segmentation with rows of eight 32-bit labels, by AVX2: the bits
 * of a row are spread over the lanes of one vector, and the table is looked up inside
 * registers (up to 16 entries) or by a gather. Same results as the loops of cseg.c.
 */
#include "config.h"

#include "formats/cseg.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define INLINE static inline __attribute__((target("avx2"), always_inline))

bool
fg_cseg_has_avx2(void)
{
	return __builtin_cpu_supports("avx2");
}

/* Eight indices of b bits, b <= 4, from 8 * b bits on a byte border. */
INLINE __m256i
spread(const uint8_t *p, int b)
{
	const __m256i by =
	    _mm256_setr_epi32(0, b, 2 * b, 3 * b, 4 * b, 5 * b, 6 * b, 7 * b);
	uint32_t w = 0;

	memcpy(&w, p, (size_t)b);
	return _mm256_and_si256(_mm256_srlv_epi32(_mm256_set1_epi32((int)w), by),
	    _mm256_set1_epi32((1 << b) - 1));
}

INLINE void
rows(const struct fg_cseg_rows *r, int b)
{
	__m256i low = _mm256_loadu_si256((const void *)r->table);
	__m256i high = _mm256_loadu_si256((const void *)(r->table + 8));

	for (int64_t z = 0; z < r->nz; z++) {
		const uint8_t *p = r->values + (size_t)(z * r->block_y * b);
		uint32_t *to = r->out + z * r->step_z;

		for (int64_t y = 0; y < r->ny; y++, p += b, to += r->step_y) {
			__m256i i, v;

			if (b == 8) {
				__m128i bytes = _mm_loadl_epi64((const void *)p);

				v = _mm256_i32gather_epi32((const int *)r->table,
				    _mm256_cvtepu8_epi32(bytes), 4);
			} else {
				i = spread(p, b);
				v = _mm256_permutevar8x32_epi32(low, i);
				if (b == 4)
					v = _mm256_castps_si256(
					    _mm256_blendv_ps(_mm256_castsi256_ps(v),
						_mm256_castsi256_ps(
						    _mm256_permutevar8x32_epi32(high,
							i)),
						_mm256_castsi256_ps(
						    _mm256_slli_epi32(i, 28))));
			}
			_mm256_storeu_si256((void *)to, v);
		}
	}
}

__attribute__((target("avx2"))) void
fg_cseg_rows_avx2(const struct fg_cseg_rows *r, int bits)
{
	if (bits == 1)
		rows(r, 1);
	else if (bits == 2)
		rows(r, 2);
	else if (bits == 4)
		rows(r, 4);
	else
		rows(r, 8);
}

#else

bool
fg_cseg_has_avx2(void)
{
	return false;
}

void
fg_cseg_rows_avx2(const struct fg_cseg_rows *r FG_UNUSED, int bits FG_UNUSED)
{
	fg_assert(false);
}

#endif
