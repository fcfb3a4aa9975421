/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CUDA plug-in without a GPU: seg/cuda.cu is compiled by the host's compiler with
 * this instead of the CUDA headers (FG_EMULATE), kernels included.
 *
 * A launch runs its blocks one after the other. The threads of a block are fibres
 * (contexts with stacks of their own) that run in turn until each waits or has ended.
 * A wait is that of the block (fg_sync_block) or of a warp: an operation of a warp puts
 * the lane's arguments down, waits for the others, and the last to come computes for
 * all 32, from fragments laid out as PTX defines them for ldmatrix and mma.m16n8k16.
 * The runtime's calls that the plug-in uses work at once; a graph is the list of what
 * was recorded. Device memory is the host's, EMULATED_MEMORY bytes and then no more.
 *
 * What this shows: indexing, fragments, barriers that do not match, arithmetic to the
 * rounding of mma's inner sums (taken in double here, rounded once per instruction).
 * What it does not: races, since fibres never run at the same time, and speed.
 */
#ifndef FG_TESTS_CUDA_EMULATE_H
#define FG_TESTS_CUDA_EMULATE_H

#include <math.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include <functional>
#include <map>
#include <mutex>
#include <type_traits>
#include <utility>
#include <vector>

#define FG_DEVICE
#define FG_BOTH
#define FG_GLOBAL
#define FG_SHARED static thread_local
#define FG_SHARED_DYNAMIC(type, name) type *name = (type *)fg_emu.dynamic
#define FG_BOUNDS(threads, blocks)
#define FG_UNROLL
#define FG_THREAD (fg_emu.thread)
#define FG_BLOCK (fg_emu.block[0])
#define FG_BLOCKS (fg_emu.blocks)
#define FG_BLOCK_Y ((unsigned)fg_emu.block[1])
#define FG_CUDA_NAME "emulated"
#define FG_CUDA_GROUP 5
#define FG_CUDA_PART 2
#define EMULATED_MEMORY (64u << 20)
#define EMULATED_SHARED (163 << 10) /* of a block; so has compute capability 8.0 */
#define EMULATED_STACK (64 << 10)
#define EMULATED_THREADS 192

struct alignas(16) uint4 {
	uint32_t x, y, z, w;
};
struct float2 {
	float x, y;
};
struct float4 {
	float x, y, z, w;
};
static inline float2
make_float2(float x, float y)
{
	return {x, y};
}
static inline uint4
make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w)
{
	return {x, y, z, w};
}
struct dim3 {
	unsigned x, y;
	dim3(unsigned a, unsigned b = 1) : x(a), y(b)
	{
	}
};

/* ------------------------------------------------------------- fibres */

enum fg_emu_state { EMU_READY, EMU_AT_BLOCK, EMU_AT_WARP, EMU_ENDED };

struct fg_emu_lane {
	float *d;
	const uint32_t *a, *b;
	uint32_t *out;
	const uint4 *row;
	int value, *count;
};

struct fg_emu_fibre {
	ucontext_t first;
	jmp_buf at;
	std::vector<char> stack;
	std::vector<std::pair<uint4 *, const uint4 *>> copies; /* on their way */
	bool begun;
	fg_emu_state state;
};

static thread_local struct {
	int thread, block[2], blocks, threads;
	char *dynamic;
	jmp_buf scheduler;
	fg_emu_fibre fibre[EMULATED_THREADS];
	fg_emu_lane lane[EMULATED_THREADS];
	int arrived[EMULATED_THREADS / 32];
	std::function<void()> *body;
} fg_emu;

/* Give way to the scheduler; comes back when the state is EMU_READY again. */
static inline void
fg_emu_wait(fg_emu_state s)
{
	fg_emu_fibre *f = &fg_emu.fibre[fg_emu.thread];

	f->state = s;
	if (_setjmp(f->at) == 0)
		_longjmp(fg_emu.scheduler, 1);
}

static inline void
fg_emu_main(void)
{
	(*fg_emu.body)();
	fg_emu.fibre[fg_emu.thread].state = EMU_ENDED;
	_longjmp(fg_emu.scheduler, 1);
}

/* Run fibre t until it waits or ends. */
static inline void
fg_emu_resume(int t)
{
	fg_emu_fibre *f = &fg_emu.fibre[t];

	fg_emu.thread = t;
	if (_setjmp(fg_emu.scheduler) != 0)
		return;
	if (f->begun)
		_longjmp(f->at, 1);
	f->begun = true;
	setcontext(&f->first);
}

static inline void
fg_emu_prepare(int t)
{
	fg_emu_fibre *f = &fg_emu.fibre[t];

	if (f->stack.empty())
		f->stack.resize(EMULATED_STACK);
	getcontext(&f->first);
	f->first.uc_stack.ss_sp = f->stack.data();
	f->first.uc_stack.ss_size = f->stack.size();
	f->first.uc_link = NULL;
	makecontext(&f->first, fg_emu_main, 0);
	f->begun = false;
	f->state = EMU_READY;
	f->copies.clear();
}

static inline void
fg_emu_die(const char *what)
{
	fprintf(stderr, "emulated kernel: %s\n", what);
	abort();
}

/* One block: rounds over the fibres until all have ended. */
static inline void
fg_emu_block(void)
{
	for (int t = 0; t < fg_emu.threads; t++)
		fg_emu_prepare(t);
	memset(fg_emu.arrived, 0, sizeof fg_emu.arrived);
	for (;;) {
		int ended = 0, barrier = 0;
		bool ran = false;

		for (volatile int t = 0; t < fg_emu.threads; t++) {
			if (fg_emu.fibre[t].state != EMU_READY)
				continue;
			ran = true;
			fg_emu_resume(t);
		}
		for (int t = 0; t < fg_emu.threads; t++) {
			ended += fg_emu.fibre[t].state == EMU_ENDED;
			barrier += fg_emu.fibre[t].state == EMU_AT_BLOCK;
		}
		if (ended == fg_emu.threads)
			return;
		if (barrier == fg_emu.threads) {
			for (int t = 0; t < fg_emu.threads; t++)
				fg_emu.fibre[t].state = EMU_READY;
		} else if (!ran) {
			fg_emu_die("threads wait for others that never come");
		}
	}
}

template <class... A>
static void
fg_emu_run(void (*kernel)(A...), dim3 grid, int threads, size_t shared, A... args)
{
	std::function<void()> body = [&] { kernel(args...); };
	std::vector<uint4> dynamic(shared / 16 + 1);

	if (threads > EMULATED_THREADS || threads % 32)
		fg_emu_die("number of threads");
	fg_emu.body = &body;
	fg_emu.threads = threads;
	fg_emu.blocks = (int)grid.x;
	fg_emu.dynamic = (char *)dynamic.data();
	for (unsigned y = 0; y < grid.y; y++) {
		for (unsigned x = 0; x < grid.x; x++) {
			fg_emu.block[0] = (int)x;
			fg_emu.block[1] = (int)y;
			/* What the last block left must not help the next one. */
			memset(dynamic.data(), 0xff, shared);
			fg_emu_block();
		}
	}
}

/* ------------------------------------------------------------- of a warp */

/* Put this lane's part down; the last of the warp computes for all. */
template <class F>
static void
fg_emu_warp(const fg_emu_lane &mine, F compute)
{
	int w = fg_emu.thread / 32;

	fg_emu.lane[fg_emu.thread] = mine;
	if (++fg_emu.arrived[w] < 32) {
		fg_emu_wait(EMU_AT_WARP);
		return;
	}
	fg_emu.arrived[w] = 0;
	compute(&fg_emu.lane[w * 32]);
	for (int t = w * 32; t < w * 32 + 32; t++)
		if (t != fg_emu.thread)
			fg_emu.fibre[t].state = EMU_READY;
}

static inline float
fg_bits_float(uint32_t v)
{
	float f;

	memcpy(&f, &v, sizeof f);
	return f;
}

/* To nearest, ties to even; numbers only. */
static inline uint16_t
fg_put_bf16(float v)
{
	uint32_t u;

	memcpy(&u, &v, sizeof u);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float
fg_get_f16(uint16_t v)
{
	int e = v >> 10 & 31, m = v & 1023;
	float f = e == 0    ? ldexpf((float)m, -24)
		  : e == 31 ? (m ? NAN : INFINITY)
			    : ldexpf((float)(m + 1024), e - 25);

	return v & 0x8000 ? -f : f;
}

/* The nearest of what fg_get_f16 gives, ties to even. */
static inline uint16_t
fg_put_f16(float v)
{
	float a = fabsf(v);
	uint16_t sign = signbit(v) ? 0x8000 : 0;

	if (isnan(v))
		return 0x7e00;
	if (a >= 65520)
		return sign | 0x7c00;
	int e;
	frexpf(a, &e);
	/* Units in the last place; subnormal below 2^-14. */
	int unit = a < ldexpf(1, -14) ? -24 : e - 11;
	long m = lrintf(ldexpf(a, -unit));
	if (unit == -24)
		return (uint16_t)(sign | m);
	return (uint16_t)(sign | ((unit + 25) * 1024 + (m - 1024)));
}

static inline uint32_t
fg_pair_bf16(float low, float high)
{
	return fg_put_bf16(low) | (uint32_t)fg_put_bf16(high) << 16;
}

static inline uint32_t
fg_pair_f16(float low, float high)
{
	const float most = 65504;

	return fg_put_f16(fminf(fmaxf(low, -most), most)) |
	       (uint32_t)fg_put_f16(fminf(fmaxf(high, -most), most)) << 16;
}

static inline float
fg_low_f16(uint32_t pair)
{
	return fg_get_f16((uint16_t)pair);
}

static inline float
fg_high_f16(uint32_t pair)
{
	return fg_get_f16((uint16_t)(pair >> 16));
}

static inline uint16_t
fg_host_bf16(float v)
{
	return fg_put_bf16(v);
}

static inline uint16_t
fg_host_f16(float v)
{
	return fg_put_f16(v);
}

static inline float
fg_host_of_f16(uint16_t v)
{
	return fg_get_f16(v);
}

static inline float
fg_divide(float a, float b)
{
	return a / b;
}

static inline float
fg_emu_value(uint32_t pair, int which, bool bf16)
{
	uint16_t v = (uint16_t)(pair >> (16 * which));

	return bf16 ? fg_bits_float((uint32_t)v << 16) : fg_get_f16(v);
}

/* PTX ISA, mma.m16n8k16 with 16-bit inputs: with g = lane / 4 and t = lane % 4,
 * a: rows g (registers 0, 2) and g + 8 (1, 3), columns 2 t and 2 t + 1, + 8 in
 * registers 2, 3; b: rows 2 t and 2 t + 1 (+ 8 in register 1), column g; c, d: row g
 * (0, 1) and g + 8 (2, 3), columns 2 t and 2 t + 1. */
static inline void
fg_emu_mma(fg_emu_lane *lane, bool bf16)
{
	float a[16][16], b[16][8];

	for (int l = 0; l < 32; l++) {
		int g = l / 4, t = l % 4;

		for (int r = 0; r < 4; r++)
			for (int k = 0; k < 2; k++)
				a[g + r % 2 * 8][2 * t + k + r / 2 * 8] =
				    fg_emu_value(lane[l].a[r], k, bf16);
		for (int r = 0; r < 2; r++)
			for (int k = 0; k < 2; k++)
				b[2 * t + k + r * 8][g] =
				    fg_emu_value(lane[l].b[r], k, bf16);
	}
	for (int l = 0; l < 32; l++) {
		for (int r = 0; r < 4; r++) {
			int row = l / 4 + r / 2 * 8, column = l % 4 * 2 + r % 2;
			double sum = lane[l].d[r];

			for (int k = 0; k < 16; k++)
				sum += (double)a[row][k] * b[k][column];
			lane[l].d[r] = (float)sum;
		}
	}
}

static inline void
fg_mma_bf16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
	fg_emu_warp({d, a, b, NULL, NULL, 0, NULL},
	    [](fg_emu_lane *lane) { fg_emu_mma(lane, true); });
}

static inline void
fg_mma_f16(float d[4], const uint32_t a[4], const uint32_t b[2])
{
	fg_emu_warp({d, a, b, NULL, NULL, 0, NULL},
	    [](fg_emu_lane *lane) { fg_emu_mma(lane, false); });
}

/* PTX ISA, ldmatrix.x4: the address of row r of matrix m comes from lane 8 m + r; lane
 * l receives values 2 (l % 4) and the next of row l / 4 of each matrix. Rows of a
 * matrix that share a place of 128 bytes would come one after the other. */
static inline void
fg_emu_matrices(fg_emu_lane *lane)
{
	for (int m = 0; m < 4; m++) {
		unsigned places = 0;

		for (int r = 0; r < 8; r++)
			places |= 1u << ((uintptr_t)lane[8 * m + r].row / 16 % 8);
		if (places != 0xff)
			fg_emu_die("rows of a matrix in the same banks");
	}
	for (int l = 0; l < 32; l++)
		for (int m = 0; m < 4; m++)
			memcpy(&lane[l].out[m],
			    (const char *)lane[8 * m + l / 4].row + l % 4 * 4, 4);
}

static inline void
fg_load_matrices(uint32_t a[4], const uint4 *row)
{
	if ((uintptr_t)row % 16)
		fg_emu_die("a row of a matrix is not aligned");
	fg_emu_warp({NULL, NULL, NULL, a, row, 0, NULL}, fg_emu_matrices);
}

/* Butterflies over 1 and 2 lanes. */
static inline void
fg_emu_quads(fg_emu_lane *lane)
{
	for (int l = 0; l < 32; l += 4) {
		float a = *lane[l].d + *lane[l + 1].d;
		float b = *lane[l + 2].d + *lane[l + 3].d;

		for (int k = 0; k < 4; k++)
			*lane[l + k].d = a + b;
	}
}

static inline float
fg_sum_quad(float v)
{
	fg_emu_warp({&v, NULL, NULL, NULL, NULL, 0, NULL}, fg_emu_quads);
	return v;
}

static inline int
fg_count_warp(bool yes)
{
	int n = 0;

	fg_emu_warp({NULL, NULL, NULL, NULL, NULL, yes, &n}, [](fg_emu_lane *lane) {
		int all = 0;

		for (int l = 0; l < 32; l++)
			all += lane[l].value;
		for (int l = 0; l < 32; l++)
			*lane[l].count = all;
	});
	return n;
}

static inline void
fg_add(int *to, int n)
{
	*to += n;
}

static inline void
fg_sync_block(void)
{
	fg_emu_wait(EMU_AT_BLOCK);
}

/* A copy destroys what was there at once and arrives when it is waited for: who still
 * reads the old, or does not wait for the new, gets NaN. */
static inline void
fg_copy_async(uint4 *to, const uint4 *from)
{
	if ((uintptr_t)to % 16 || (uintptr_t)from % 16)
		fg_emu_die("a copy is not aligned");
	memset(to, 0xff, sizeof *to);
	fg_emu.fibre[fg_emu.thread].copies.push_back({to, from});
}

static inline void
fg_copy_wait(void)
{
	for (const std::pair<uint4 *, const uint4 *> &c :
	    fg_emu.fibre[fg_emu.thread].copies)
		*c.first = *c.second;
	fg_emu.fibre[fg_emu.thread].copies.clear();
}

/* ------------------------------------------------------------- the runtime */

typedef enum {
	cudaSuccess,
	cudaErrorMemoryAllocation,
	cudaErrorInvalidValue,
	cudaErrorLaunchFailure
} cudaError_t;
typedef std::vector<std::function<void()>> fg_emu_list;
typedef fg_emu_list *cudaGraph_t;
typedef fg_emu_list *cudaGraphExec_t;
struct fg_emu_stream {
	fg_emu_list *recording;
};
typedef fg_emu_stream *cudaStream_t;
typedef int cudaEvent_t;
enum { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };
enum {
	cudaStreamNonBlocking,
	cudaStreamCaptureModeThreadLocal,
	cudaEventDisableTiming
};
enum { cudaDevAttrMultiProcessorCount, cudaDevAttrMaxSharedMemoryPerBlockOptin };
enum {
	cudaFuncAttributeMaxDynamicSharedMemorySize,
	cudaFuncAttributePreferredSharedMemoryCarveout
};
enum { cudaSharedmemCarveoutMaxShared = 100 };
struct cudaDeviceProp {
	char name[64];
	int major, minor, multiProcessorCount;
	size_t totalGlobalMem;
};

static struct {
	std::mutex lock;
	std::map<void *, size_t> block;
	size_t used;
} fg_emu_memory;

static thread_local int fg_emu_launches;

static inline cudaError_t
cudaGetLastError(void)
{
	return cudaSuccess;
}
static inline const char *
cudaGetErrorString(cudaError_t e)
{
	return e == cudaErrorLaunchFailure ? "unspecified launch failure" : "error";
}
static inline cudaError_t
cudaGetDeviceCount(int *n)
{
	*n = 1;
	return cudaSuccess;
}
static inline cudaError_t
cudaSetDevice(int i)
{
	return i < 1 ? cudaSuccess : cudaErrorInvalidValue;
}
static inline cudaError_t
cudaDriverGetVersion(int *v)
{
	*v = 13000;
	return cudaSuccess;
}
static inline cudaError_t
cudaGetDeviceProperties(cudaDeviceProp *p, int i)
{
	*p = {"emulated on the host", 8, 0, 2, EMULATED_MEMORY};
	return i < 1 ? cudaSuccess : cudaErrorInvalidValue;
}
static inline cudaError_t
cudaDeviceGetAttribute(int *v, int what, int)
{
	*v = what == cudaDevAttrMultiProcessorCount ? 2 : EMULATED_SHARED;
	return cudaSuccess;
}
static inline cudaError_t
cudaFuncSetAttribute(const void *, int, int value)
{
	return value <= EMULATED_SHARED ? cudaSuccess : cudaErrorInvalidValue;
}
static inline cudaError_t
cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *n, const void *, int, size_t)
{
	*n = 1;
	return cudaSuccess;
}
static inline cudaError_t
cudaMalloc(void **p, size_t n)
{
	std::lock_guard<std::mutex> hold(fg_emu_memory.lock);

	if (fg_emu_memory.used + n > EMULATED_MEMORY)
		return cudaErrorMemoryAllocation;
	*p = malloc(n);
	/* Not zero: who needs zeros has to write them. */
	memset(*p, 0x7f, n);
	fg_emu_memory.block[*p] = n;
	fg_emu_memory.used += n;
	return cudaSuccess;
}
static inline cudaError_t
cudaFree(void *p)
{
	std::lock_guard<std::mutex> hold(fg_emu_memory.lock);

	if (p) {
		fg_emu_memory.used -= fg_emu_memory.block.at(p);
		fg_emu_memory.block.erase(p);
	}
	free(p);
	return cudaSuccess;
}
static inline cudaError_t
cudaMallocHost(void **p, size_t n)
{
	*p = malloc(n);
	return cudaSuccess;
}
static inline cudaError_t
cudaFreeHost(void *p)
{
	free(p);
	return cudaSuccess;
}
static inline cudaError_t
cudaMemGetInfo(size_t *now, size_t *all)
{
	std::lock_guard<std::mutex> hold(fg_emu_memory.lock);

	*all = EMULATED_MEMORY;
	*now = EMULATED_MEMORY - fg_emu_memory.used;
	return cudaSuccess;
}

static inline cudaError_t
cudaStreamCreateWithFlags(cudaStream_t *s, int)
{
	*s = new fg_emu_stream();
	return cudaSuccess;
}
static inline cudaError_t
cudaStreamDestroy(cudaStream_t s)
{
	delete s;
	return cudaSuccess;
}
static inline cudaError_t
cudaStreamSynchronize(cudaStream_t)
{
	return cudaSuccess;
}

/* What was put into a stream before is done already. */
static inline cudaError_t
cudaEventCreateWithFlags(cudaEvent_t *e, int)
{
	*e = 0;
	return cudaSuccess;
}
static inline cudaError_t
cudaEventDestroy(cudaEvent_t)
{
	return cudaSuccess;
}
static inline cudaError_t
cudaEventRecord(cudaEvent_t, cudaStream_t)
{
	return cudaSuccess;
}
static inline cudaError_t
cudaEventSynchronize(cudaEvent_t)
{
	return cudaSuccess;
}

/* Now, or when the graph that is being recorded is launched. */
static inline cudaError_t
fg_emu_do(cudaStream_t s, std::function<void()> what)
{
	if (s->recording)
		s->recording->push_back(what);
	else
		what();
	return cudaSuccess;
}
static inline cudaError_t
cudaMemcpyAsync(void *to, const void *from, size_t n, int, cudaStream_t s)
{
	return fg_emu_do(s, [=] { memcpy(to, from, n); });
}
static inline cudaError_t
cudaMemsetAsync(void *p, int v, size_t n, cudaStream_t s)
{
	return fg_emu_do(s, [=] { memset(p, v, n); });
}
static inline cudaError_t
cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
    size_t row, size_t rows, int, cudaStream_t s)
{
	return fg_emu_do(s, [=] {
		for (size_t y = 0; y < rows; y++)
			memcpy((char *)to + y * to_pitch,
			    (const char *)from + y * from_pitch, row);
	});
}
static inline cudaError_t
cudaStreamBeginCapture(cudaStream_t s, int)
{
	s->recording = new fg_emu_list();
	return cudaSuccess;
}
static inline cudaError_t
cudaStreamEndCapture(cudaStream_t s, cudaGraph_t *g)
{
	*g = s->recording;
	s->recording = NULL;
	return cudaSuccess;
}
static inline cudaError_t
cudaGraphInstantiate(cudaGraphExec_t *e, cudaGraph_t g, int)
{
	*e = new fg_emu_list(*g);
	return cudaSuccess;
}
static inline cudaError_t
cudaGraphDestroy(cudaGraph_t g)
{
	delete g;
	return cudaSuccess;
}
static inline cudaError_t
cudaGraphExecDestroy(cudaGraphExec_t e)
{
	delete e;
	return cudaSuccess;
}
/* FG_EMULATE_LOSS=n: the device breaks down at the n-th launch. */
static inline cudaError_t
cudaGraphLaunch(cudaGraphExec_t e, cudaStream_t)
{
	const char *loss = getenv("FG_EMULATE_LOSS");

	if (loss && ++fg_emu_launches >= atoi(loss))
		return cudaErrorLaunchFailure;
	for (const std::function<void()> &f : *e)
		f();
	return cudaSuccess;
}

template <class... A>
static void
fg_launch(void (*kernel)(A...), dim3 grid, int threads, size_t shared, cudaStream_t s,
    typename std::common_type<A>::type... args)
{
	fg_emu_do(s, [=] { fg_emu_run<A...>(kernel, grid, threads, shared, args...); });
}

#endif
