/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of seg/winograd_loops.h with vectors of 16. */
#include "config.h"

#include "seg/winograd_priv.h"

#if defined(__x86_64__)

#include <immintrin.h>

#define TARGET __attribute__((target("avx512f,avx2,fma")))
#define LANES 16
#define ROWS_16 12 /* rows of sums that registers hold, of 16 and of 32 features */
#define ROWS_32 12
#define RUN fg_winograd_avx512

typedef __m512 vec;

#define load(p) _mm512_loadu_ps(p)
#define store(p, v) _mm512_storeu_ps(p, v)
#define all_of(f) _mm512_set1_ps(f)
#define zero() _mm512_setzero_ps()
#define add(a, b) _mm512_add_ps(a, b)
#define sub(a, b) _mm512_sub_ps(a, b)
#define max(a, b) _mm512_max_ps(a, b)
#define mul_add(a, b, c) _mm512_fmadd_ps(a, b, c)  /* a * b + c */
#define mul_sub(a, b, c) _mm512_fnmadd_ps(a, b, c) /* c - a * b */

/* fg_bf16_of() of each, as floats. */
static inline TARGET vec
to_bf16(vec v)
{
	const __m512i half_less = _mm512_set1_epi32(0x7fff);
	__m512i u = _mm512_castps_si512(v);
	__m512i odd = _mm512_and_si512(_mm512_srli_epi32(u, 16), _mm512_set1_epi32(1));

	u = _mm512_add_epi32(_mm512_add_epi32(u, half_less), odd);
	return _mm512_castsi512_ps(_mm512_and_si512(u, _mm512_set1_epi32(-0x10000)));
}

/* The sum of the first and the second half. */
static inline TARGET __m256
half(__m512 v)
{
	__m512d d = _mm512_castps_pd(v);

	return _mm256_add_ps(_mm512_castps512_ps256(v),
	    _mm256_castpd_ps(_mm512_extractf64x4_pd(d, 1)));
}

#include "seg/winograd_loops.h"

#endif
