/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Means and majorities by vectors: see the header.
 *
 * Neighbours along x are brought into two vectors (first and second voxel of each
 * window) whose lanes are in one order for all rows; the order is put right once, in
 * the result. Votes of eight: each voxel counts how many of those behind it equal it,
 * and the greatest count wins, of equals the first.
 */
#include "config.h"

#include "seg/downsample_avx2.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define INLINE static inline __attribute__((target("avx2"), always_inline))

/* Bytes that reading is ahead of work: a row of a window ends before the processor's
 * own prefetching has begun. Not less, or in rows of 256 labels it would be the next
 * row, which is read at the same time. */
#define AHEAD 4096

INLINE __m256i
load(const void *p)
{
	return _mm256_loadu_si256(p);
}

INLINE __m256i
load_ahead(const uint8_t *p)
{
	_mm_prefetch((const char *)p + AHEAD, _MM_HINT_T0);
	return load(p);
}

/* ------------------------------------------------------------- means */

/* Whole numbers of 16 or (wide) 32 bits. */
INLINE __m256i
add(__m256i a, __m256i b, bool wide)
{
	return wide ? _mm256_add_epi32(a, b) : _mm256_add_epi16(a, b);
}

INLINE __m256i
all_of(int v, bool wide)
{
	return wide ? _mm256_set1_epi32(v) : _mm256_set1_epi16((short)v);
}

INLINE __m256i
shift_right(__m256i v, int shift, bool wide)
{
	__m128i by = _mm_cvtsi32_si128(shift);

	return wide ? _mm256_srl_epi32(v, by) : _mm256_srl_epi16(v, by);
}

INLINE __m256i
divide(__m256i sum, int shift, bool even, bool wide)
{
	if (even) {
		__m256i odd =
		    _mm256_and_si256(shift_right(sum, shift, wide), all_of(1, wide));
		__m256i half = all_of((1 << (shift - 1)) - 1, wide);

		sum = add(sum, add(half, odd, wide), wide);
	}
	return shift_right(sum, shift, wide);
}

/* Sums of the windows of one vector of each row: 16 of bytes, 8 of (wide) 16 bits. */
INLINE __m256i
sum_rows(const void *const *row, int64_t rows, int64_t byte, bool wide)
{
	const __m256i ones = _mm256_set1_epi8(1), low = _mm256_set1_epi32(0xffff);
	__m256i sum = _mm256_setzero_si256();

	for (int64_t r = 0; r < rows; r++) {
		__m256i v = load_ahead((const uint8_t *)row[r] + byte);

		sum = add(sum,
		    wide ? _mm256_add_epi32(_mm256_and_si256(v, low),
			       _mm256_srli_epi32(v, 16))
			 : _mm256_maddubs_epi16(v, ones),
		    wide);
	}
	return sum;
}

/* Inlined with constants for the usual numbers of rows: those loops then unroll. */
INLINE int64_t
mean(const void *const *row, int64_t rows, int shift, bool even, int64_t windows,
    uint8_t *out, bool wide)
{
	const int64_t step = wide ? 16 : 32;
	int64_t i = 0;

	for (; i + step <= windows; i += step) {
		int64_t byte = 64 * (i / step);
		__m256i a = divide(sum_rows(row, rows, byte, wide), shift, even, wide);
		__m256i b =
		    divide(sum_rows(row, rows, byte + 32, wide), shift, even, wide);
		__m256i both =
		    wide ? _mm256_packus_epi32(a, b) : _mm256_packus_epi16(a, b);

		_mm256_storeu_si256((void *)(out + byte / 2),
		    _mm256_permute4x64_epi64(both, 0xd8));
	}
	return i;
}

INLINE int64_t
mean_rows(const void *const *row, int64_t rows, int shift, bool even, int64_t windows,
    uint8_t *out, bool wide)
{
	if (rows == 2)
		return mean(row, 2, 2, even, windows, out, wide);
	if (rows == 4)
		return mean(row, 4, 3, even, windows, out, wide);
	return mean(row, rows, shift, even, windows, out, wide);
}

AVX2 static int64_t
mean_u8(const void *const *row, int64_t rows, int shift, bool even, int64_t windows,
    void *out)
{
	return mean_rows(row, rows, shift, even, windows, out, false);
}

AVX2 static int64_t
mean_u16(const void *const *row, int64_t rows, int shift, bool even, int64_t windows,
    void *out)
{
	return mean_rows(row, rows, shift, even, windows, out, true);
}

/* ------------------------------------------------------------- majorities */

/* First and second voxels of the windows of two vectors of a row. */
INLINE void
split64(const void *p, __m256i *first, __m256i *second)
{
	__m256i v0 = load_ahead(p), v1 = load((const uint8_t *)p + 32);

	*first = _mm256_unpacklo_epi64(v0, v1);
	*second = _mm256_unpackhi_epi64(v0, v1);
}

INLINE void
split32(const void *p, __m256i *first, __m256i *second)
{
	__m256 v0 = _mm256_castsi256_ps(load_ahead(p));
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
add_labels(__m256i a, __m256i b, bool wide)
{
	return wide ? _mm256_add_epi64(a, b) : _mm256_add_epi32(a, b);
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

/* How many of the voxels behind v[i] equal it, below zero. */
INLINE __m256i
equal_behind(const __m256i v[8], int i, bool wide)
{
	__m256i count = equal(v[i], v[i + 1], wide);

	for (int j = i + 2; j < 8; j++)
		count = add_labels(count, equal(v[i], v[j], wide), wide);
	return count;
}

/*
 * The most frequent of eight, of equals the first. Only the first voxel of a label sees
 * all others of it behind itself, so the first one that sees most of them has it.
 * Nearly all windows lie inside one object or hold its border: if three equal v[0] in
 * all lanes, nothing has more.
 */
INLINE __m256i
vote_cube(const __m256i v[8], bool wide)
{
	__m256i best = v[0], most = equal_behind(v, 0, wide);
	__m256i wins =
	    greater(wide ? _mm256_set1_epi64x(-2) : _mm256_set1_epi32(-2), most, wide);

	if (_mm256_movemask_epi8(wins) == -1)
		return best;
	for (int i = 1; i < 7; i++) {
		__m256i count = equal_behind(v, i, wide);
		__m256i more = greater(most, count, wide);

		best = _mm256_blendv_epi8(best, v[i], more);
		most = _mm256_blendv_epi8(most, count, more);
	}
	return best;
}

INLINE int64_t
mode(const void *const *row, int64_t rows, int64_t windows, void *out, bool wide)
{
	const int64_t lanes = wide ? 4 : 8;
	int64_t i = 0;

	for (; i + lanes <= windows; i += lanes) {
		__m256i v[8], best;

		for (int64_t r = 0; r < rows; r++) {
			const uint8_t *p = (const uint8_t *)row[r] + 64 * (i / lanes);

			if (wide)
				split64(p, &v[2 * r], &v[2 * r + 1]);
			else
				split32(p, &v[2 * r], &v[2 * r + 1]);
		}
		best = rows == 2 ? vote_plane(v, wide) : vote_cube(v, wide);
		_mm256_storeu_si256((void *)((uint8_t *)out + 32 * (i / lanes)),
		    _mm256_permute4x64_epi64(best, 0xd8));
	}
	return i;
}

INLINE int64_t
mode_rows(const void *const *row, int64_t rows, int64_t windows, void *out, bool wide)
{
	return rows == 2   ? mode(row, 2, windows, out, wide)
	       : rows == 4 ? mode(row, 4, windows, out, wide)
			   : 0;
}

AVX2 static int64_t
mode_u32(const void *const *row, int64_t rows, int64_t windows, void *out)
{
	return mode_rows(row, rows, windows, out, false);
}

AVX2 static int64_t
mode_u64(const void *const *row, int64_t rows, int64_t windows, void *out)
{
	return mode_rows(row, rows, windows, out, true);
}

const struct fg_downsample_avx2 *
fg_downsample_avx2(void)
{
	static const struct fg_downsample_avx2 all = {mean_u8, mean_u16, mode_u32,
	    mode_u64};

	return __builtin_cpu_supports("avx2") ? &all : NULL;
}

#else

const struct fg_downsample_avx2 *
fg_downsample_avx2(void)
{
	return NULL;
}

#endif
