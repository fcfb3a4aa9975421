/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What seg/cuda_kernels.h asks of the machine, on a GPU of compute capability 8.0 or
 * later. Fragments are those of PTX's mma.m16n8k16; tests/cuda/emulate.h has the same
 * for the host.
 */
#ifndef FG_SEG_CUDA_DEVICE_H
#define FG_SEG_CUDA_DEVICE_H

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#include <math.h>
#include <stdint.h>

#include <type_traits>

#define FG_DEVICE __device__
#define FG_BOTH __host__ __device__
#define FG_GLOBAL __global__
#define FG_SHARED __shared__
#define FG_SHARED_DYNAMIC(type, name) extern __shared__ type name[]
#define FG_BOUNDS(threads, blocks) __launch_bounds__(threads, blocks)
#define FG_UNROLL _Pragma("unroll")
#define FG_THREAD ((int)threadIdx.x)
#define FG_BLOCK ((int)blockIdx.x)
#define FG_BLOCKS ((int)gridDim.x)
#define FG_BLOCK_Y (blockIdx.y)

/* Two values, rounded to nearest even; the low half comes first in memory. */
FG_DEVICE static inline uint32_t
fg_pair_bf16(float low, float high)
{
	uint32_t v;

	asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(v) : "f"(high), "f"(low));
	return v;
}

/* What f16 cannot hold becomes its largest number. */
FG_DEVICE static inline uint32_t
fg_pair_f16(float low, float high)
{
	const float most = 65504;
	uint32_t v;

	asm("cvt.rn.f16x2.f32 %0, %1, %2;"
	    : "=r"(v)
	    : "f"(fminf(fmaxf(high, -most), most)),
	    "f"(fminf(fmaxf(low, -most), most)));
	return v;
}

FG_DEVICE static inline float
fg_low_f16(uint32_t pair)
{
	return __half2float(__ushort_as_half((uint16_t)pair));
}

FG_DEVICE static inline float
fg_high_f16(uint32_t pair)
{
	return __half2float(__ushort_as_half((uint16_t)(pair >> 16)));
}

/* On the host, for weights. */
static inline uint16_t
fg_host_bf16(float v)
{
	return __bfloat16_as_ushort(__float2bfloat16_rn(v));
}

static inline uint16_t
fg_host_f16(float v)
{
	return __half_as_ushort(__float2half_rn(v));
}

static inline float
fg_host_of_f16(uint16_t v)
{
	return __half2float(__ushort_as_half(v));
}

/* Rounded as the host's, whatever the compiler's options. */
FG_DEVICE static inline float
fg_divide(float a, float b)
{
	return __fdiv_rn(a, b);
}

FG_DEVICE static inline void
fg_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
		     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),
		     "r"(b[1]));
}

FG_DEVICE static inline void
fg_mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
	asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
		     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
		     : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
		     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]),
		     "r"(b[1]));
}

/* Four 8x8 matrices of 16-bit values; lane l gives the address of row l % 8 of matrix
 * l / 8, in shared memory. */
FG_DEVICE static inline void
fg_load_matrices(uint32_t a[4], const uint4 *row)
{
	uint32_t at = (uint32_t)__cvta_generic_to_shared(row);

	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
		     : "=r"(a[0]), "=r"(a[1]), "=r"(a[2]), "=r"(a[3])
		     : "r"(at)
		     : "memory");
}

/* 16 bytes from global to shared memory, there after fg_copy_wait by this thread. */
FG_DEVICE static inline void
fg_copy_async(uint4 *to, const uint4 *from)
{
	uint32_t at = (uint32_t)__cvta_generic_to_shared(to);

	asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from)
		     : "memory");
}

FG_DEVICE static inline void
fg_copy_wait(void)
{
	asm volatile("cp.async.wait_all;" ::: "memory");
}

FG_DEVICE static inline void
fg_sync_block(void)
{
	__syncthreads();
}

FG_DEVICE static inline int
fg_count_warp(bool yes)
{
	return __popc(__ballot_sync(0xffffffffu, yes));
}

/* Of four lanes side by side, in all of them. */
FG_DEVICE static inline float
fg_sum_quad(float v)
{
	v += __shfl_xor_sync(0xffffffffu, v, 1);
	return v + __shfl_xor_sync(0xffffffffu, v, 2);
}

FG_DEVICE static inline void
fg_add(int *to, int n)
{
	atomicAdd(to, n);
}

template <class... A>
static void
fg_launch(void (*kernel)(A...), dim3 grid, int threads, size_t shared, cudaStream_t s,
    typename std::common_type<A>::type... args)
{
	kernel<<<grid, threads, shared, s>>>(args...);
}

#endif
