/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernels of the back end "cuda" (C++, included by seg/cuda.cu; the tests compile
 * the same text for the host, tests/cuda/emulate.h).
 *
 * Activations are channels-last with one shared voxel of padding: a patch of X * Y * Z
 * voxels is rows of X + 1, planes of Y + 1 rows, and zeros before and behind. The voxel
 * behind a row is the one before the next row, so a neighbour is a constant distance
 * away in one linear order, and zero padding costs no test. Padding is zeroed once and
 * never written. 6 % of the positions are padding that is computed in vain.
 *
 * conv3: implicit GEMM of 256 consecutive positions by C channels per thread block, on
 * mma.m16n8k16 (16-bit inputs, float sums). For one kz, the three ky and three kx of
 * all its positions lie in one strip of 256 + 2 rows + 2 voxels, which is brought to
 * shared memory once (cp.async, two strips in turn) and serves 9 taps. Weights stay in
 * shared memory for the life of a block, in the order of the fragments. Blocks are
 * persistent: each goes through tiles with the stride of the grid.
 *
 * A tile lies in one patch, and its sums go over kz, ky, kx, channels in this order: a
 * patch's bits depend neither on the batch nor on the place in it.
 *
 * Roofline, 12 modules of 32 channels, 33^3 voxels: 45.8 GFLOP a patch, 48.6 with the
 * padding. Device memory: a module's two convolutions read and write 7 times 2.6 MB:
 * 0.21 GB a patch, 220 GFLOP/GB: 0.06 ms of an H100's 3.35 TB/s beside 0.05 ms of its
 * 989 TFLOP/s. Shared memory: a warp's 64 positions by 16 channels take 2 KB and their
 * weights 1 KB per 65.5 kFLOP; at 128 B a clock and multiprocessor that bounds the rate
 * at 2 / 3 of the peak. L2: a tile brings 61 KB per 14.2 MFLOP, of no concern. Not
 * measured: written without a GPU.
 */
#ifndef FG_SEG_CUDA_KERNELS_H
#define FG_SEG_CUDA_KERNELS_H

#include <stdint.h>

#define FG_CUDA_TILE 256
#define FG_CUDA_THREADS 128

/* Of one model; voxels. */
struct fg_cuda_shape {
	int fov[3];
	int row, plane; /* distance of y and z neighbours */
	int front;      /* zeros before the first voxel of a patch */
	int stride;     /* from patch to patch */
	int tiles;      /* of a patch */
};

/* One step, for the kernels round the network. */
struct fg_cuda_slot {
	const void *image; /* u8 or u16 */
	float *logit;      /* canvas, NaN = never predicted */
	long long size[2]; /* of the canvas, x, y */
	long long lo[3];   /* of the patch */
	int wide;          /* image is u16 */
	float mean, stddev, pad, move, freeze;
	int delta[3];
};

struct fg_cuda_face {
	float score;
	int off[3];
};

/* ------------------------------------------------------------- arithmetic */

struct fg_bf16 {
	FG_DEVICE static float
	get(uint16_t v)
	{
		return fg_bits_float((uint32_t)v << 16);
	}
	FG_DEVICE static uint16_t
	put(float v)
	{
		return fg_put_bf16(v);
	}
	FG_DEVICE static void
	mma(float d[4], const uint32_t a[4], const uint32_t b[2])
	{
		fg_mma_bf16(d, a, b);
	}
};

struct fg_f16 {
	FG_DEVICE static float
	get(uint16_t v)
	{
		return fg_get_f16(v);
	}
	FG_DEVICE static uint16_t
	put(float v)
	{
		return fg_put_f16(v);
	}
	FG_DEVICE static void
	mma(float d[4], const uint32_t a[4], const uint32_t b[2])
	{
		fg_mma_f16(d, a, b);
	}
};

/* Position p (from the first voxel of a patch) as voxel; false: padding or behind. */
FG_DEVICE static inline bool
fg_cuda_voxel(const fg_cuda_shape &s, int p, int at[3])
{
	at[2] = p / s.plane;
	int in = p - at[2] * s.plane;
	at[1] = in / s.row;
	at[0] = in - at[1] * s.row;
	return at[0] < s.fov[0] && at[1] < s.fov[1] && at[2] < s.fov[2];
}

FG_DEVICE static inline size_t
fg_cuda_position(const fg_cuda_shape &s, int x, int y, int z)
{
	return (size_t)s.front + (size_t)z * s.plane + (size_t)y * s.row + x;
}

/* ------------------------------------------------------------- 3x3x3, 16-bit */

template <int C> struct fg_cuda_conv {
	static const int chunks = C / 8; /* 16 bytes each, of a voxel */
	static const int steps = C / 16; /* of 16 channels */
	static const int pairs = C / 16; /* of two fragments of 8 output channels */
	static const int weights = 27 * C * C / 8; /* 16 bytes each */
};

/* Where a chunk of a strip's voxel lies: turned so that the same chunk of 8 voxels in
 * a row is in 8 different places of 128 bytes. */
template <int C>
FG_DEVICE static inline int
fg_cuda_chunk(int voxel, int chunk)
{
	return C == 32 ? voxel * 4 + (chunk ^ (voxel >> 1 & 3))
		       : voxel * 2 + (chunk ^ (voxel >> 2 & 1));
}

/* Bytes of shared memory. */
template <int C>
static inline size_t
fg_cuda_conv_shared(const fg_cuda_shape &s)
{
	size_t strip = (size_t)(FG_CUDA_TILE + 2 * s.row + 2) * C * 2;

	return (size_t)fg_cuda_conv<C>::weights * 16 + 2 * strip;
}

template <int C>
FG_DEVICE static inline void
fg_cuda_bring(uint4 *strip, const uint4 *src, int rows)
{
	for (int i = FG_THREAD; i < rows * fg_cuda_conv<C>::chunks;
	     i += FG_CUDA_THREADS)
		fg_copy_async(&strip[fg_cuda_chunk<C>(i / fg_cuda_conv<C>::chunks,
				  i % fg_cuda_conv<C>::chunks)],
		    &src[i]);
}

/* The 9 taps of one kz for 64 positions of a warp. w: of this kz. */
template <class T, int C>
FG_DEVICE static inline void
fg_cuda_taps(float sum[4][2 * fg_cuda_conv<C>::pairs][4], const uint4 *strip,
    const uint4 *w, int row)
{
	const int lane = FG_THREAD % 32, first = FG_THREAD / 32 * 64;
	const int voxel = first + (lane & 15), half = lane >> 4;

	for (int tap = 0; tap < 9; tap++) {
		int at = voxel + tap / 3 * row + tap % 3;

		FG_UNROLL
		for (int k = 0; k < fg_cuda_conv<C>::steps; k++) {
			uint32_t b[fg_cuda_conv<C>::pairs][4];

			FG_UNROLL
			for (int n = 0; n < fg_cuda_conv<C>::pairs; n++) {
				uint4 v = w[((tap * fg_cuda_conv<C>::steps + k) *
						    fg_cuda_conv<C>::pairs +
						n) *
						32 +
					    lane];

				b[n][0] = v.x;
				b[n][1] = v.y;
				b[n][2] = v.z;
				b[n][3] = v.w;
			}
			FG_UNROLL
			for (int f = 0; f < 4; f++) {
				uint32_t a[4];

				fg_load_matrices(a, &strip[fg_cuda_chunk<C>(at + 16 * f,
							2 * k + half)]);
				FG_UNROLL
				for (int n = 0; n < fg_cuda_conv<C>::pairs; n++) {
					T::mma(sum[f][2 * n], a, b[n]);
					T::mma(sum[f][2 * n + 1], a, b[n] + 2);
				}
			}
		}
	}
}

/* Sums of a warp's 64 positions to memory, with bias, residual and relu. */
template <class T, int C>
FG_DEVICE static inline void
fg_cuda_finish(const float sum[4][2 * fg_cuda_conv<C>::pairs][4], int first,
    const fg_cuda_shape &s, size_t base, const uint16_t *residual, uint16_t *raw,
    uint16_t *act, const float *bias)
{
	const int lane = FG_THREAD % 32;

	FG_UNROLL
	for (int f = 0; f < 8; f++) {
		int p = first + FG_THREAD / 32 * 64 + f * 8 + lane / 4, at[3];

		if (!fg_cuda_voxel(s, p, at))
			continue;
		FG_UNROLL
		for (int n = 0; n < 2 * fg_cuda_conv<C>::pairs; n++) {
			int c = n * 8 + lane % 4 * 2;
			size_t i = (base + s.front + p) * C + c;
			float v0 = sum[f / 2][n][f % 2 * 2] + bias[c];
			float v1 = sum[f / 2][n][f % 2 * 2 + 1] + bias[c + 1];

			if (residual) {
				uint32_t r = *(const uint32_t *)(residual + i);

				v0 += T::get((uint16_t)r);
				v1 += T::get((uint16_t)(r >> 16));
			}
			uint16_t q0 = T::put(v0), q1 = T::put(v1);
			if (raw)
				*(uint32_t *)(raw + i) = q0 | (uint32_t)q1 << 16;
			q0 = v0 > 0 ? q0 : 0;
			q1 = v1 > 0 ? q1 : 0;
			*(uint32_t *)(act + i) = q0 | (uint32_t)q1 << 16;
		}
	}
}

/*
 * n_tiles: of all patches. raw and residual may be NULL and may be the same; act gets
 * relu of what raw gets. weights: fg_cuda_conv<C>::weights chunks in fragment order.
 */
template <class T, int C>
FG_GLOBAL void
fg_cuda_conv3(const uint16_t *src, const uint16_t *residual, uint16_t *raw,
    uint16_t *act, const uint4 *weights, const float *bias, fg_cuda_shape s,
    int n_tiles)
{
	FG_SHARED_DYNAMIC(uint4, shared);
	const int rows = FG_CUDA_TILE + 2 * s.row + 2;
	const int chunks = fg_cuda_conv<C>::chunks;
	uint4 *strip = shared + fg_cuda_conv<C>::weights;
	float sum[4][2 * fg_cuda_conv<C>::pairs][4];
	int turn = 0;

	for (int i = FG_THREAD; i < fg_cuda_conv<C>::weights; i += FG_CUDA_THREADS)
		fg_copy_async(&shared[i], &weights[i]);
	/* From the first voxel that a tile's first position touches at kz = 0. */
	for (int tile = FG_BLOCK; tile < n_tiles; tile += FG_BLOCKS) {
		size_t base = (size_t)(tile / s.tiles) * s.stride;
		int first = tile % s.tiles * FG_CUDA_TILE;
		const uint4 *from =
		    (const uint4 *)src +
		    (base + s.front + first - s.plane - s.row - 1) * chunks;

		if (tile == (int)FG_BLOCK)
			fg_cuda_bring<C>(strip, from, rows);
		for (int f = 0; f < 4; f++)
			for (int n = 0; n < 2 * fg_cuda_conv<C>::pairs; n++)
				for (int k = 0; k < 4; k++)
					sum[f][n][k] = 0;
		for (int kz = 0; kz < 3; kz++, turn ^= 1) {
			const uint4 *next = from + (size_t)(kz + 1) * s.plane * chunks;
			int after = tile + FG_BLOCKS;

			if (kz == 2)
				next = (const uint4 *)src +
				       ((size_t)(after / s.tiles) * s.stride + s.front +
					   after % s.tiles * FG_CUDA_TILE - s.plane -
					   s.row - 1) *
					   chunks;
			fg_copy_wait();
			fg_sync_block();
			if (kz < 2 || after < n_tiles)
				fg_cuda_bring<C>(strip + (turn ^ 1) * rows * chunks,
				    next, rows);
			fg_cuda_taps<T, C>(sum, strip + turn * rows * chunks,
			    shared + kz * (fg_cuda_conv<C>::weights / 3), s.row);
		}
		fg_cuda_finish<T, C>(sum, first, s, base, residual, raw, act, bias);
	}
}

/* ------------------------------------------------------------- first, last, f32 */

/* 2 -> C channels from float pairs, relu. w[27][2][C], as in struct fg_conv. One thread
 * a position; grid.y: patch. */
template <class T, int C>
FG_GLOBAL void
fg_cuda_first(const float2 *in, uint16_t *act, const float *w, const float *bias,
    fg_cuda_shape s)
{
	int p = FG_BLOCK * FG_CUDA_THREADS + FG_THREAD, at[3];
	size_t base = (size_t)FG_BLOCK_Y * s.stride + s.front;
	float sum[C];

	if (!fg_cuda_voxel(s, p, at))
		return;
	FG_UNROLL
	for (int c = 0; c < C; c++)
		sum[c] = bias[c];
	for (int tap = 0; tap < 27; tap++) {
		float2 v = in[base + p + (tap / 9 - 1) * s.plane +
			      (tap / 3 % 3 - 1) * s.row + tap % 3 - 1];

		FG_UNROLL
		for (int c = 0; c < C; c++)
			sum[c] = fmaf(v.y, w[(2 * tap + 1) * C + c],
			    fmaf(v.x, w[2 * tap * C + c], sum[c]));
	}
	FG_UNROLL
	for (int c = 0; c < C; c++)
		act[(base + p) * C + c] = T::put(sum[c] > 0 ? sum[c] : 0);
}

/* C -> 1 channel, and the input logits added; out is dense. grid.y: patch. */
template <class T>
FG_GLOBAL void
fg_cuda_last(const float2 *in, const uint16_t *act, float *out, const float *w,
    const float *bias, int channels, fg_cuda_shape s)
{
	int p = FG_BLOCK * FG_CUDA_THREADS + FG_THREAD, at[3];
	size_t i = (size_t)FG_BLOCK_Y * s.stride + s.front + p;
	size_t voxels = (size_t)s.fov[0] * s.fov[1] * s.fov[2];
	float sum = bias[0];

	if (!fg_cuda_voxel(s, p, at))
		return;
	for (int c = 0; c < channels; c++)
		sum = fmaf(T::get(act[i * channels + c]), w[c], sum);
	out[(size_t)FG_BLOCK_Y * voxels +
	    ((size_t)at[2] * s.fov[1] + at[1]) * s.fov[0] + at[0]] = in[i].y + sum;
}

/* Any 3x3x3 convolution in float, one thread an output: the reference on the device.
 * Arguments as of fg_cuda_conv3; w as in struct fg_conv. grid.y: patch. */
FG_GLOBAL static void
fg_cuda_plain(const float *src, const float *residual, float *raw, float *act,
    const float *w, const float *bias, int channels_in, int channels, fg_cuda_shape s)
{
	long long k = (long long)FG_BLOCK * FG_CUDA_THREADS + FG_THREAD;
	int p = (int)(k / channels), c = (int)(k % channels), at[3];
	size_t base = (size_t)FG_BLOCK_Y * s.stride + s.front + p;
	float sum = bias[c];

	if (!fg_cuda_voxel(s, p, at))
		return;
	for (int tap = 0; tap < 27; tap++) {
		const float *v = src + (base + (tap / 9 - 1) * s.plane +
					   (tap / 3 % 3 - 1) * s.row + tap % 3 - 1) *
					   channels_in;

		for (int i = 0; i < channels_in; i++)
			sum =
			    fmaf(v[i], w[(tap * channels_in + i) * channels + c], sum);
	}
	if (residual)
		sum += residual[base * channels + c];
	if (raw)
		raw[base * channels + c] = sum;
	act[base * channels + c] = sum > 0 ? sum : 0;
}

FG_GLOBAL static void
fg_cuda_last_plain(const float2 *in, const float *act, float *out, const float *w,
    const float *bias, int channels, fg_cuda_shape s)
{
	int p = FG_BLOCK * FG_CUDA_THREADS + FG_THREAD, at[3];
	size_t i = (size_t)FG_BLOCK_Y * s.stride + s.front + p;
	size_t voxels = (size_t)s.fov[0] * s.fov[1] * s.fov[2];
	float sum = bias[0];

	if (!fg_cuda_voxel(s, p, at))
		return;
	for (int c = 0; c < channels; c++)
		sum = fmaf(act[i * channels + c], w[c], sum);
	out[(size_t)FG_BLOCK_Y * voxels +
	    ((size_t)at[2] * s.fov[1] + at[1]) * s.fov[0] + at[0]] = in[i].y + sum;
}

/* ------------------------------------------------------------- patches */

/* Dense patches (image, then logits) to padded pairs. One thread a voxel; grid.y:
 * patch. */
FG_GLOBAL static void
fg_cuda_spread(const float *dense, float2 *in, fg_cuda_shape s)
{
	int v = FG_BLOCK * FG_CUDA_THREADS + FG_THREAD;
	int voxels = s.fov[0] * s.fov[1] * s.fov[2];
	const float *d = dense + (size_t)FG_BLOCK_Y * 2 * voxels;

	if (v >= voxels)
		return;
	in[(size_t)FG_BLOCK_Y * s.stride +
	    fg_cuda_position(s, v % s.fov[0], v / s.fov[0] % s.fov[1],
		v / (s.fov[0] * s.fov[1]))] = make_float2(d[v], d[voxels + v]);
}

FG_DEVICE static inline size_t
fg_cuda_canvas_at(const fg_cuda_slot &t, const fg_cuda_shape &s, int v)
{
	long long x = t.lo[0] + v % s.fov[0], y = t.lo[1] + v / s.fov[0] % s.fov[1],
		  z = t.lo[2] + v / (s.fov[0] * s.fov[1]);

	return (size_t)((z * t.size[1] + y) * t.size[0] + x);
}

/* From canvases: normalised image and logits (pad for NaN); old keeps the NaN. */
FG_GLOBAL static void
fg_cuda_gather(const fg_cuda_slot *slot, float2 *in, float *old, int *above,
    fg_cuda_shape s)
{
	int v = FG_BLOCK * FG_CUDA_THREADS + FG_THREAD;
	int voxels = s.fov[0] * s.fov[1] * s.fov[2];
	const fg_cuda_slot &t = slot[FG_BLOCK_Y];

	if (v == 0)
		above[FG_BLOCK_Y] = 0;
	if (v >= voxels)
		return;
	size_t at = fg_cuda_canvas_at(t, s, v);
	float image =
	    t.wide ? ((const uint16_t *)t.image)[at] : ((const uint8_t *)t.image)[at];
	float logit = t.logit[at];

	old[(size_t)FG_BLOCK_Y * voxels + v] = logit;
	in[(size_t)FG_BLOCK_Y * s.stride + fg_cuda_position(s, v % s.fov[0],
					       v / s.fov[0] % s.fov[1],
					       v / (s.fov[0] * s.fov[1]))] =
	    make_float2(fg_divide(image - t.mean, t.stddev),
		logit != logit ? t.pad : logit);
}

/* How many new logits reach the move threshold: whole numbers, so order is free. */
FG_GLOBAL static void
fg_cuda_count(const fg_cuda_slot *slot, const float *out, int *above, fg_cuda_shape s)
{
	int v = FG_BLOCK * FG_CUDA_THREADS + FG_THREAD;
	int voxels = s.fov[0] * s.fov[1] * s.fov[2];
	bool yes =
	    v < voxels && out[(size_t)FG_BLOCK_Y * voxels + v] >= slot[FG_BLOCK_Y].move;
	int n = fg_count_warp(yes);

	if (FG_THREAD % 32 == 0 && n > 0)
		fg_add(&above[FG_BLOCK_Y], n);
}

/* Freeze rule, and the patch into the canvas; out becomes what was written. */
FG_GLOBAL static void
fg_cuda_scatter(const fg_cuda_slot *slot, float *out, const float *old,
    const int *above, fg_cuda_shape s)
{
	int v = FG_BLOCK * FG_CUDA_THREADS + FG_THREAD;
	int voxels = s.fov[0] * s.fov[1] * s.fov[2];
	const fg_cuda_slot &t = slot[FG_BLOCK_Y];

	if (v >= voxels)
		return;
	size_t i = (size_t)FG_BLOCK_Y * voxels + v;
	float logit = out[i];
	bool freeze = t.freeze >= 0 &&
		      (double)above[FG_BLOCK_Y] / (double)voxels > (double)t.freeze;

	if (freeze && old[i] < 0 && logit > old[i])
		logit = old[i];
	out[i] = logit;
	t.logit[fg_cuda_canvas_at(t, s, v)] = logit;
}

/* The maximum of each face, the first in z, y, x order; a block of 6 warps a patch,
 * one warp a face (2 * axis + side). A face without a number keeps offset 0 and
 * -infinity. */
FG_GLOBAL static void
fg_cuda_faces(const fg_cuda_slot *slot, const float *out, fg_cuda_face *face,
    fg_cuda_shape s)
{
	FG_SHARED float score[192];
	FG_SHARED int where[192];
	const fg_cuda_slot &t = slot[FG_BLOCK];
	const int voxels = s.fov[0] * s.fov[1] * s.fov[2];
	const int f = FG_THREAD / 32, lane = FG_THREAD % 32, axis = f / 2;
	int lo[3], n[3];
	float best = -INFINITY;
	int at = 0x7fffffff;

	for (int d = 0; d < 3; d++) {
		lo[d] = d != axis ? -t.delta[d] : f % 2 ? t.delta[d] : -t.delta[d];
		n[d] = d == axis ? 1 : 2 * t.delta[d] + 1;
	}
	for (int k = lane; k < n[0] * n[1] * n[2]; k += 32) {
		int x = lo[0] + k % n[0] + s.fov[0] / 2;
		int y = lo[1] + k / n[0] % n[1] + s.fov[1] / 2;
		int z = lo[2] + k / (n[0] * n[1]) + s.fov[2] / 2;
		float v = out[(size_t)FG_BLOCK * voxels +
			      ((size_t)z * s.fov[1] + y) * s.fov[0] + x];

		if (v > best) {
			best = v;
			at = k;
		}
	}
	score[FG_THREAD] = best;
	where[FG_THREAD] = at;
	fg_sync_block();
	if (lane != 0)
		return;
	for (int k = 1; k < 32; k++) {
		int o = FG_THREAD + k;

		if (score[o] > best || (score[o] == best && where[o] < at)) {
			best = score[o];
			at = where[o];
		}
	}
	fg_cuda_face *to = &face[FG_BLOCK * 6 + f];
	bool none = at == 0x7fffffff;
	to->score = best;
	to->off[0] = none ? 0 : lo[0] + at % n[0];
	to->off[1] = none ? 0 : lo[1] + at / n[0] % n[1];
	to->off[2] = none ? 0 : lo[2] + at / (n[0] * n[1]);
}

#endif
