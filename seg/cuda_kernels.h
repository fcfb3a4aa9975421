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
 * shared memory once (cp.async, two strips in turn) and serves 9 taps. Of a warp's 64
 * positions a fragment holds 16 that are 4 apart, so that the fragment of the next
 * position is that of the next kx: six are loaded for the four positions and three kx.
 * Weights stay in shared memory for the life of a block, in the order of the fragments.
 * Blocks are persistent: each goes through tiles with the stride of the grid.
 *
 * The columns of weights are in such an order that a lane has a quarter of a voxel's
 * channels in a row: residual, bias and relu work on vectors of 16 bytes. The residual
 * stream is f16 in either precision (bf16 would lose three bits of it in each module);
 * the first convolution and the last are float, the last one in the epilogue of the one
 * before it.
 *
 * A tile lies in one patch, and its sums go over kz, ky, channels, kx in this order: a
 * patch's bits depend neither on the batch nor on the place in it.
 *
 * Roofline, 12 modules of 32 channels, 33^3 voxels: 45.8 GFLOP a patch, 48.6 with the
 * padding. All of it is ESTIMATED, from the machine code for compute capability 9.0 and
 * a model of its issue; bench/cuda_rate measures it.
 *
 * Matrix units: mma.sync reaches a half (the rate of an A100's multiprocessor) to five
 * eighths of the dense peak that wgmma has on an H100: 495 to 620 of 989 TFLOP/s.
 *
 * Issue: a kz takes a warp 288 mma, 72 loads of 512 bytes from shared memory and 97
 * other instructions; no spills at 250 registers, no bank conflicts. A scheduler's two
 * warps then keep the matrix unit busy for 96 % of the time, one alone for 90 %.
 * Between tiles a warp has some 1200 instructions, while the other block's computes.
 *
 * Shared memory: 1152 clocks a kz beside 1843 to 2304 of the matrix units. 97 KB a
 * block: two fit an H100 multiprocessor, one an A100's.
 *
 * Rounds: 9536 tiles of 64 patches are 36.1 rounds of 264 blocks (98 % of 37), of 8
 * patches 4.5 (90 %); one patch gives 17 of 132 multiprocessors two tiles.
 *
 * Device memory: a module reads and writes six times 2.4 MB, 0.18 GB a patch: 0.06 ms
 * of the 3.0 TB/s that a copy reaches. Second-level cache: 63 KB a tile of 14.2 MFLOP,
 * 2.1 TB/s at 450 TFLOP/s.
 *
 * Together: 0.10 to 0.12 ms a patch at batch 64, 380 to 460 TFLOP/s, 48 to 58 % of the
 * 790 TFLOP/s of a large matrix product.
 */
#ifndef FG_SEG_CUDA_KERNELS_H
#define FG_SEG_CUDA_KERNELS_H

#include <stdint.h>

#define FG_CUDA_THREADS 128
/* Positions side by side that belong to one row of a warp's fragments. */
#define FG_CUDA_SIDE 4
#define FG_CUDA_TILE (FG_CUDA_THREADS / 32 * 16 * FG_CUDA_SIDE)

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
	FG_DEVICE static uint32_t
	pair(float low, float high)
	{
		return fg_pair_bf16(low, high);
	}
	FG_DEVICE static void
	mma(float d[4], const uint32_t a[4], const uint32_t b[2])
	{
		fg_mma_bf16(d, a, b);
	}
};

struct fg_f16 {
	FG_DEVICE static uint32_t
	pair(float low, float high)
	{
		return fg_pair_f16(low, high);
	}
	FG_DEVICE static void
	mma(float d[4], const uint32_t a[4], const uint32_t b[2])
	{
		fg_mma_f16(d, a, b);
	}
};

/* What a convolution has of one voxel in one lane: C / 4 channels in a row. */
template <int C> struct alignas(C / 2) fg_cuda_piece {
	uint32_t pair[C / 8];
};

FG_DEVICE static inline bool
fg_cuda_inside(const fg_cuda_shape &s, const int at[3])
{
	return at[0] < s.fov[0] && at[1] < s.fov[1] && at[2] < s.fov[2];
}

/* Position p (from the first voxel of a patch) as voxel; false: padding or behind. */
FG_DEVICE static inline bool
fg_cuda_voxel(const fg_cuda_shape &s, int p, int at[3])
{
	at[2] = p / s.plane;
	int in = p - at[2] * s.plane;
	at[1] = in / s.row;
	at[0] = in - at[1] * s.row;
	return fg_cuda_inside(s, at);
}

/* To the next position. */
FG_DEVICE static inline void
fg_cuda_forth(const fg_cuda_shape &s, int at[3])
{
	if (++at[0] < s.row)
		return;
	at[0] = 0;
	if (++at[1] * s.row < s.plane)
		return;
	at[1] = 0;
	at[2]++;
}

FG_DEVICE static inline size_t
fg_cuda_dense(const fg_cuda_shape &s, int patch, const int at[3])
{
	return (((size_t)patch * s.fov[2] + at[2]) * s.fov[1] + at[1]) * s.fov[0] +
	       at[0];
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

/* Where a strip's i-th chunk lies, voxels in order and chunks of a voxel in order:
 * turned so that the same chunk of 8 voxels FG_CUDA_SIDE apart is in 8 different places
 * of 128 bytes. Rising by a multiple of FG_CUDA_THREADS changes nothing of that. */
template <int C>
FG_DEVICE static inline int
fg_cuda_chunk(int i)
{
	return i ^ (i / (fg_cuda_conv<C>::chunks * FG_CUDA_SIDE) & 7);
}

/* Voxels of a strip that are wanted, and that there is room for: whole turns. */
FG_BOTH static inline int
fg_cuda_strip(const fg_cuda_shape &s)
{
	return FG_CUDA_TILE + 2 * s.row + 2;
}

FG_BOTH static inline int
fg_cuda_strip_room(const fg_cuda_shape &s)
{
	return (fg_cuda_strip(s) + 7) / 8 * 8;
}

/* Bytes of shared memory. */
template <int C>
static inline size_t
fg_cuda_conv_shared(const fg_cuda_shape &s)
{
	return (size_t)fg_cuda_conv<C>::weights * 16 +
	       2 * (size_t)fg_cuda_strip_room(s) * C * 2;
}

template <int C>
FG_DEVICE static inline void
fg_cuda_bring(uint4 *strip, const uint4 *src, int voxels)
{
	const int thread = FG_THREAD;
	uint4 *to = strip + fg_cuda_chunk<C>(thread) - thread;

	for (int i = thread; i < voxels * fg_cuda_conv<C>::chunks; i += FG_CUDA_THREADS)
		fg_copy_async(&to[i], &src[i]);
}

/* The first voxel that the first position of a tile touches at kz = 0. */
template <int C>
FG_DEVICE static inline const uint4 *
fg_cuda_corner(const uint16_t *src, const fg_cuda_shape &s, int tile)
{
	long long p = (long long)(tile / s.tiles) * s.stride + s.front +
		      tile % s.tiles * FG_CUDA_TILE - s.plane - s.row - 1;

	return (const uint4 *)src + p * fg_cuda_conv<C>::chunks;
}

/* First of the positions, FG_CUDA_SIDE in a row, that a lane has in rows lane / 4
 * (half 0) and lane / 4 + 8 (half 1) of a fragment. */
FG_DEVICE static inline int
fg_cuda_own(int half)
{
	return FG_THREAD / 32 * 16 * FG_CUDA_SIDE +
	       (FG_THREAD % 32 / 4 + 8 * half) * FG_CUDA_SIDE;
}

/* The 9 taps of one kz for a warp's 16 x FG_CUDA_SIDE positions. w: of this kz. A
 * fragment is 16 voxels FG_CUDA_SIDE apart, and serves three kx: of the sums number
 * i, i - 1 and i - 2. */
template <class T, int C>
FG_DEVICE static inline void
fg_cuda_taps(float sum[FG_CUDA_SIDE][2 * fg_cuda_conv<C>::pairs][4], const uint4 *strip,
    const uint4 *w, int row)
{
	const int steps = fg_cuda_conv<C>::steps, pairs = fg_cuda_conv<C>::pairs;
	const int lane = FG_THREAD % 32, half = lane >> 4;
	const int voxel = (FG_THREAD / 32 * 16 + (lane & 15)) * FG_CUDA_SIDE;

	FG_UNROLL
	for (int ky = 0; ky < 3; ky++) {
		FG_UNROLL
		for (int k = 0; k < steps; k++) {
			uint4 b[3][pairs];

			FG_UNROLL
			for (int kx = 0; kx < 3; kx++) {
				FG_UNROLL
				for (int n = 0; n < pairs; n++)
					b[kx][n] =
					    w[(((ky * 3 + kx) * steps + k) * pairs +
						  n) *
						    32 +
						lane];
			}
			FG_UNROLL
			for (int i = 0; i < FG_CUDA_SIDE + 2; i++) {
				uint32_t a[4];

				fg_load_matrices(a, &strip[fg_cuda_chunk<C>(
							(voxel + ky * row + i) *
							    fg_cuda_conv<C>::chunks +
							2 * k + half)]);
				FG_UNROLL
				for (int kx = 0; kx < 3; kx++) {
					if (i - kx < 0 || i - kx >= FG_CUDA_SIDE)
						continue;
					FG_UNROLL
					for (int n = 0; n < pairs; n++) {
						const uint32_t q[4] = {b[kx][n].x,
						    b[kx][n].y, b[kx][n].z, b[kx][n].w};

						T::mma(sum[i - kx][2 * n], a, q);
						T::mma(sum[i - kx][2 * n + 1], a,
						    q + 2);
					}
				}
			}
		}
	}
}

/* What becomes of the sums: NULL is none. */
struct fg_cuda_to {
	const uint16_t *residual; /* f16, added */
	uint16_t *raw, *act;      /* f16 stream, may be residual; and relu of it */
	/* Instead: C -> 1 channel of relu, and the input logits added; dense. */
	float *out;
	const float2 *in;
	const float *w, *bias;
};

/* A lane's channels of one voxel: n-th fragment's two sums are the n-th pair. */
template <class T, int C>
FG_DEVICE static inline void
fg_cuda_store(const float v[C / 4], const fg_cuda_to &to, size_t piece)
{
	fg_cuda_piece<C> raw, act;

	FG_UNROLL
	for (int n = 0; n < C / 8; n++) {
		raw.pair[n] = fg_pair_f16(v[2 * n], v[2 * n + 1]);
		act.pair[n] = T::pair(fmaxf(v[2 * n], 0), fmaxf(v[2 * n + 1], 0));
	}
	if (to.raw)
		((fg_cuda_piece<C> *)to.raw)[piece] = raw;
	((fg_cuda_piece<C> *)to.act)[piece] = act;
}

/* Of all channels; the same in the four lanes of a voxel. */
template <int C>
FG_DEVICE static inline float
fg_cuda_dot(const float v[C / 4], const float w[C / 4])
{
	float sum = 0;

	FG_UNROLL
	for (int c = 0; c < C / 4; c++)
		sum = fmaf(fmaxf(v[c], 0), w[c], sum);
	return fg_sum_quad(sum);
}

/* Sums of a warp's positions to where they go; r: residual, zeros where there is none.
 * Padding is computed in vain and left as it is. */
template <class T, int C>
FG_DEVICE static inline void
fg_cuda_finish(const float sum[FG_CUDA_SIDE][2 * fg_cuda_conv<C>::pairs][4],
    const fg_cuda_piece<C> r[2][FG_CUDA_SIDE], int first, const fg_cuda_shape &s,
    int patch, const fg_cuda_to &to)
{
	const int quarter = FG_THREAD % 4;
	float w[C / 4];

	if (to.out) {
		FG_UNROLL
		for (int c = 0; c < C / 4; c++)
			w[c] = to.w[quarter * (C / 4) + c];
	}
	FG_UNROLL
	for (int half = 0; half < 2; half++) {
		int p = first + fg_cuda_own(half), at[3];
		size_t q = (size_t)patch * s.stride + s.front + p;

		fg_cuda_voxel(s, p, at);
		FG_UNROLL
		for (int i = 0; i < FG_CUDA_SIDE; i++, fg_cuda_forth(s, at)) {
			float v[C / 4];

			FG_UNROLL
			for (int n = 0; n < C / 8; n++) {
				uint32_t add = r[half][i].pair[n];

				v[2 * n] = sum[i][n][2 * half] + fg_low_f16(add);
				v[2 * n + 1] =
				    sum[i][n][2 * half + 1] + fg_high_f16(add);
			}
			if (to.out) {
				float dot = fg_cuda_dot<C>(v, w);

				if (quarter == 0 && fg_cuda_inside(s, at))
					to.out[fg_cuda_dense(s, patch, at)] =
					    to.in[q + i].y + (dot + to.bias[0]);
			} else if (fg_cuda_inside(s, at)) {
				fg_cuda_store<T, C>(v, to, (q + i) * 4 + quarter);
			}
		}
	}
}

/* What a lane adds in the end, fetched early. Padding may be read. */
template <int C>
FG_DEVICE static inline void
fg_cuda_residual(fg_cuda_piece<C> r[2][FG_CUDA_SIDE], const uint16_t *residual,
    size_t first)
{
	FG_UNROLL
	for (int half = 0; half < 2; half++) {
		const fg_cuda_piece<C> *from = (const fg_cuda_piece<C> *)residual +
					       (first + fg_cuda_own(half)) * 4 +
					       FG_THREAD % 4;

		FG_UNROLL
		for (int i = 0; i < FG_CUDA_SIDE; i++)
			r[half][i] = from[4 * i];
	}
}

/* n_tiles: of all patches. weights: fg_cuda_conv<C>::weights chunks in fragment order;
 * all taps after each other. */
template <class T, int C>
FG_GLOBAL void
FG_BOUNDS(FG_CUDA_THREADS, 2) fg_cuda_conv3(const uint16_t *src, fg_cuda_to to,
    const uint4 *weights, const float *bias, fg_cuda_shape s, int n_tiles)
{
	FG_SHARED_DYNAMIC(uint4, shared);
	const int voxels = fg_cuda_strip(s), quarter = FG_THREAD % 4;
	const int room = fg_cuda_strip_room(s) * fg_cuda_conv<C>::chunks;
	uint4 *strip = shared + fg_cuda_conv<C>::weights;
	fg_cuda_piece<C> r[2][FG_CUDA_SIDE] = {};
	float start[C / 4], sum[FG_CUDA_SIDE][C / 8][4];
	int turn = 0;

	for (int i = FG_THREAD; i < fg_cuda_conv<C>::weights; i += FG_CUDA_THREADS)
		fg_copy_async(&shared[i], &weights[i]);
	FG_UNROLL
	for (int c = 0; c < C / 4; c++)
		start[c] = bias[quarter * (C / 4) + c];
	if (FG_BLOCK < n_tiles)
		fg_cuda_bring<C>(strip, fg_cuda_corner<C>(src, s, FG_BLOCK), voxels);
	for (int tile = FG_BLOCK; tile < n_tiles; tile += FG_BLOCKS) {
		int patch = tile / s.tiles, first = tile % s.tiles * FG_CUDA_TILE;
		const uint4 *from = fg_cuda_corner<C>(src, s, tile);

		FG_UNROLL
		for (int i = 0; i < FG_CUDA_SIDE; i++) {
			FG_UNROLL
			for (int k = 0; k < C / 2; k++)
				sum[i][k / 4][k % 4] = start[k / 4 * 2 + k % 2];
		}
		for (int kz = 0; kz < 3; kz++, turn ^= 1) {
			uint4 *next = strip + (turn ^ 1) * room;

			/* This strip is there, and nobody reads the other one. */
			fg_copy_wait();
			fg_sync_block();
			if (kz < 2)
				fg_cuda_bring<C>(next,
				    from + (size_t)(kz + 1) * s.plane *
					       fg_cuda_conv<C>::chunks,
				    voxels);
			else if (tile + FG_BLOCKS < n_tiles)
				fg_cuda_bring<C>(next,
				    fg_cuda_corner<C>(src, s, tile + FG_BLOCKS),
				    voxels);
			if (kz == 2 && to.residual)
				fg_cuda_residual<C>(r, to.residual,
				    (size_t)patch * s.stride + s.front + first);
			fg_cuda_taps<T, C>(sum, strip + turn * room,
			    shared + kz * (fg_cuda_conv<C>::weights / 3), s.row);
		}
		fg_cuda_finish<T, C>(sum, r, first, s, patch, to);
	}
}

/* ------------------------------------------------------------- first, f32 */

/* 2 -> C channels from float pairs, relu. w[27][2][C], as in struct fg_conv. A thread
 * has two positions, for one load of the weights; grid: tiles, patches. */
template <class T, int C>
FG_GLOBAL void
fg_cuda_first(const float2 *in, uint16_t *act, const float4 *w, const float *bias,
    fg_cuda_shape s)
{
	const int p = FG_BLOCK * FG_CUDA_TILE + FG_THREAD;
	const size_t base = (size_t)FG_BLOCK_Y * s.stride + s.front + p;
	float sum[2][C];

	FG_UNROLL
	for (int c = 0; c < C; c++)
		sum[0][c] = sum[1][c] = bias[c];
	for (int tap = 0; tap < 27; tap++) {
		const float2 *v = in + base + (tap / 9 - 1) * s.plane +
				  (tap / 3 % 3 - 1) * s.row + tap % 3 - 1;
		const float x[2][2] = {{v[0].x, v[FG_CUDA_THREADS].x},
		    {v[0].y, v[FG_CUDA_THREADS].y}};

		FG_UNROLL
		for (int c = 0; c < 2 * C; c += 4) {
			const float4 q = w[(2 * tap * C + c) / 4];

			FG_UNROLL
			for (int i = 0; i < 2; i++) {
				float *to = &sum[i][c % C];

				to[0] = fmaf(x[c / C][i], q.x, to[0]);
				to[1] = fmaf(x[c / C][i], q.y, to[1]);
				to[2] = fmaf(x[c / C][i], q.z, to[2]);
				to[3] = fmaf(x[c / C][i], q.w, to[3]);
			}
		}
	}
	FG_UNROLL
	for (int i = 0; i < 2; i++) {
		uint4 *to = (uint4 *)act +
			    (base + i * FG_CUDA_THREADS) * fg_cuda_conv<C>::chunks;
		int at[3];

		if (!fg_cuda_voxel(s, p + i * FG_CUDA_THREADS, at))
			continue;
		FG_UNROLL
		for (int k = 0; k < fg_cuda_conv<C>::chunks; k++) {
			uint32_t q[4];

			FG_UNROLL
			for (int n = 0; n < 4; n++)
				q[n] = T::pair(fmaxf(sum[i][8 * k + 2 * n], 0),
				    fmaxf(sum[i][8 * k + 2 * n + 1], 0));
			to[k] = make_uint4(q[0], q[1], q[2], q[3]);
		}
	}
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
	float sum = bias[0];

	if (!fg_cuda_voxel(s, p, at))
		return;
	for (int c = 0; c < channels; c++)
		sum = fmaf(act[i * channels + c], w[c], sum);
	out[fg_cuda_dense(s, (int)FG_BLOCK_Y, at)] = in[i].y + sum;
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
