/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Means and majorities by vectors: see the header.
 *
 * Neighbours along x are brought into two vectors (first and second voxel of each
 * window) whose lanes are in one order for all rows; the order is put right once, in
 * the result. Votes of eight: each voxel counts how many of the others equal it, and
 * the greatest count wins, of equals the first.
 */
#include "config.h"

#include "seg/downsample_avx2.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define INLINE static inline __attribute__((target("avx2"), always_inline))

static bool
is_here(void)
{
	return __builtin_cpu_supports("avx2");
}

INLINE __m256i
load(const void *p)
{
	return _mm256_loadu_si256(p);
}

/* ------------------------------------------------------------- means */

INLINE __m256i
divide16(__m256i sum, int shift, bool even)
{
	__m128i by = _mm_cvtsi32_si128(shift);

	if (even) {
		__m256i odd =
		    _mm256_and_si256(_mm256_srl_epi16(sum, by), _mm256_set1_epi16(1));
		__m256i half = _mm256_set1_epi16((short)((1 << (shift - 1)) - 1));

		sum = _mm256_add_epi16(sum, _mm256_add_epi16(half, odd));
	}
	return _mm256_srl_epi16(sum, by);
}

/* Sums of 16 windows from byte `at` of the rows on. */
INLINE __m256i
sum_u8(const void *const *row, int64_t rows, int64_t at)
{
	const __m256i ones = _mm256_set1_epi8(1);
	__m256i sum = _mm256_setzero_si256();

	for (int64_t r = 0; r < rows; r++)
		sum = _mm256_add_epi16(sum,
		    _mm256_maddubs_epi16(load((const uint8_t *)row[r] + at), ones));
	return sum;
}

AVX2 int64_t
fg_downsample_avx2_mean_u8(const void *const *row, int64_t rows, int shift, bool even,
    int64_t windows, uint8_t *out)
{
	int64_t i = 0;

	if (!is_here())
		return 0;
	for (; i + 32 <= windows; i += 32) {
		__m256i a = divide16(sum_u8(row, rows, 2 * i), shift, even);
		__m256i b = divide16(sum_u8(row, rows, 2 * i + 32), shift, even);
		__m256i both = _mm256_packus_epi16(a, b);

		_mm256_storeu_si256((void *)(out + i),
		    _mm256_permute4x64_epi64(both, 0xd8));
	}
	return i;
}

INLINE __m256i
divide32(__m256i sum, int shift, bool even)
{
	__m128i by = _mm_cvtsi32_si128(shift);

	if (even) {
		__m256i odd =
		    _mm256_and_si256(_mm256_srl_epi32(sum, by), _mm256_set1_epi32(1));
		__m256i half = _mm256_set1_epi32((1 << (shift - 1)) - 1);

		sum = _mm256_add_epi32(sum, _mm256_add_epi32(half, odd));
	}
	return _mm256_srl_epi32(sum, by);
}

/* Sums of 8 windows from value `at` of the rows on. */
INLINE __m256i
sum_u16(const void *const *row, int64_t rows, int64_t at)
{
	__m256i sum = _mm256_setzero_si256();

	for (int64_t r = 0; r < rows; r++) {
		__m256i v = load((const uint16_t *)row[r] + at);

		sum = _mm256_add_epi32(sum,
		    _mm256_add_epi32(_mm256_and_si256(v, _mm256_set1_epi32(0xffff)),
			_mm256_srli_epi32(v, 16)));
	}
	return sum;
}

AVX2 int64_t
fg_downsample_avx2_mean_u16(const void *const *row, int64_t rows, int shift, bool even,
    int64_t windows, uint16_t *out)
{
	int64_t i = 0;

	if (!is_here())
		return 0;
	for (; i + 16 <= windows; i += 16) {
		__m256i a = divide32(sum_u16(row, rows, 2 * i), shift, even);
		__m256i b = divide32(sum_u16(row, rows, 2 * i + 16), shift, even);
		__m256i both = _mm256_packus_epi32(a, b);

		_mm256_storeu_si256((void *)(out + i),
		    _mm256_permute4x64_epi64(both, 0xd8));
	}
	return i;
}

/* ------------------------------------------------------------- majorities */

/* First and second voxels of the windows of two vectors of a row. */
INLINE void
split64(const void *p, __m256i *first, __m256i *second)
{
	__m256i v0 = load(p), v1 = load((const uint8_t *)p + 32);

	*first = _mm256_unpacklo_epi64(v0, v1);
	*second = _mm256_unpackhi_epi64(v0, v1);
}

INLINE void
split32(const void *p, __m256i *first, __m256i *second)
{
	__m256 v0 = _mm256_castsi256_ps(load(p));
	__m256 v1 = _mm256_castsi256_ps(load((const uint8_t *)p + 32));

	*first = _mm256_castps_si256(_mm256_shuffle_ps(v0, v1, 0x88));
	*second = _mm256_castps_si256(_mm256_shuffle_ps(v0, v1, 0xdd));
}

INLINE __m256i
equal(__m256i a, __m256i b, bool wide)
{
	return wide ? _mm256_cmpeq_epi64(a, b) : _mm256_cmpeq_epi32(a, b);
}

INLINE __m256i
subtract(__m256i a, __m256i b, bool wide)
{
	return wide ? _mm256_sub_epi64(a, b) : _mm256_sub_epi32(a, b);
}

INLINE __m256i
greater(__m256i a, __m256i b, bool wide)
{
	return wide ? _mm256_cmpgt_epi64(a, b) : _mm256_cmpgt_epi32(a, b);
}

/* a if a = b or a = c, else b if b = c, else d. */
INLINE __m256i
vote_plane(const __m256i v[4], bool wide)
{
	__m256i first =
	    _mm256_or_si256(equal(v[0], v[1], wide), equal(v[0], v[2], wide));
	__m256i rest = _mm256_blendv_epi8(v[3], v[1], equal(v[1], v[2], wide));

	return _mm256_blendv_epi8(rest, v[0], first);
}

INLINE __m256i
vote_cube(const __m256i v[8], bool wide)
{
	__m256i count[8], best, most;

	for (int i = 0; i < 8; i++)
		count[i] = _mm256_setzero_si256();
	for (int i = 0; i < 8; i++) {
		for (int j = i + 1; j < 8; j++) {
			__m256i same = equal(v[i], v[j], wide);

			count[i] = subtract(count[i], same, wide);
			count[j] = subtract(count[j], same, wide);
		}
	}
	best = v[0];
	most = count[0];
	for (int i = 1; i < 8; i++) {
		__m256i more = greater(count[i], most, wide);

		best = _mm256_blendv_epi8(best, v[i], more);
		most = _mm256_blendv_epi8(most, count[i], more);
	}
	return best;
}

/* Nearly all windows lie inside one object or hold its border: in all of the vector, do
 * four of eight voxels equal the first one, itself counted? Then nothing has more, and
 * of equals the first wins. */
INLINE bool
first_wins(const __m256i v[8], bool wide)
{
	__m256i count = equal(v[0], v[1], wide);

	for (int i = 2; i < 8; i++)
		count = wide ? _mm256_add_epi64(count, equal(v[0], v[i], true))
			     : _mm256_add_epi32(count, equal(v[0], v[i], false));
	/* Each equal one has added -1. */
	__m256i wins =
	    greater(wide ? _mm256_set1_epi64x(-2) : _mm256_set1_epi32(-2), count, wide);
	return _mm256_movemask_epi8(wins) == -1;
}

INLINE int64_t
mode(const void *const *row, int64_t rows, int64_t windows, void *out, bool wide)
{
	const int64_t lanes = wide ? 4 : 8;
	int64_t i = 0;

	if (!is_here() || (rows != 2 && rows != 4))
		return 0;
	for (; i + lanes <= windows; i += lanes) {
		__m256i v[8], best;

		for (int64_t r = 0; r < rows; r++) {
			const uint8_t *p = (const uint8_t *)row[r] + 64 * (i / lanes);

			if (wide)
				split64(p, &v[2 * r], &v[2 * r + 1]);
			else
				split32(p, &v[2 * r], &v[2 * r + 1]);
		}
		if (rows == 2)
			best = vote_plane(v, wide);
		else
			best = first_wins(v, wide) ? v[0] : vote_cube(v, wide);
		_mm256_storeu_si256((void *)((uint8_t *)out + 32 * (i / lanes)),
		    _mm256_permute4x64_epi64(best, 0xd8));
	}
	return i;
}

AVX2 int64_t
fg_downsample_avx2_mode_u32(const void *const *row, int64_t rows, int64_t windows,
    uint32_t *out)
{
	return rows == 2 ? mode(row, 2, windows, out, false)
			 : mode(row, rows, windows, out, false);
}

AVX2 int64_t
fg_downsample_avx2_mode_u64(const void *const *row, int64_t rows, int64_t windows,
    uint64_t *out)
{
	return rows == 2 ? mode(row, 2, windows, out, true)
			 : mode(row, rows, windows, out, true);
}

#else

int64_t
fg_downsample_avx2_mean_u8(const void *const *row FG_UNUSED, int64_t rows FG_UNUSED,
    int shift FG_UNUSED, bool even FG_UNUSED, int64_t windows FG_UNUSED,
    uint8_t *out FG_UNUSED)
{
	return 0;
}

int64_t
fg_downsample_avx2_mean_u16(const void *const *row FG_UNUSED, int64_t rows FG_UNUSED,
    int shift FG_UNUSED, bool even FG_UNUSED, int64_t windows FG_UNUSED,
    uint16_t *out FG_UNUSED)
{
	return 0;
}

int64_t
fg_downsample_avx2_mode_u32(const void *const *row FG_UNUSED, int64_t rows FG_UNUSED,
    int64_t windows FG_UNUSED, uint32_t *out FG_UNUSED)
{
	return 0;
}

int64_t
fg_downsample_avx2_mode_u64(const void *const *row FG_UNUSED, int64_t rows FG_UNUSED,
    int64_t windows FG_UNUSED, uint64_t *out FG_UNUSED)
{
	return 0;
}

#endif
