/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of seg/winograd_loops.h with vectors of 8. */
#include "config.h"

#include "seg/winograd_priv.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx2,fma")))
#define LANES 8
#define ROWS_16 6 /* rows of sums that registers hold, of 16 and of 32 features */
#define ROWS_32 3
#define RUN fg_winograd_avx2

typedef __m256 vec;

#define load(p) _mm256_loadu_ps(p)
#define store(p, v) _mm256_storeu_ps(p, v)
#define all_of(f) _mm256_set1_ps(f)
#define zero() _mm256_setzero_ps()
#define add(a, b) _mm256_add_ps(a, b)
#define sub(a, b) _mm256_sub_ps(a, b)
#define max(a, b) _mm256_max_ps(a, b)
#define mul_add(a, b, c) _mm256_fmadd_ps(a, b, c)  /* a * b + c */
#define mul_sub(a, b, c) _mm256_fnmadd_ps(a, b, c) /* c - a * b */

/* fg_bf16_of() of each, as floats. */
static inline TARGET vec
to_bf16(vec v)
{
	const __m256i half_less = _mm256_set1_epi32(0x7fff);
	__m256i u = _mm256_castps_si256(v);
	__m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));

	u = _mm256_add_epi32(_mm256_add_epi32(u, half_less), odd);
	return _mm256_castsi256_ps(_mm256_and_si256(u, _mm256_set1_epi32(-0x10000)));
}

#include "seg/winograd_loops.h"

#endif
