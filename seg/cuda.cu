/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plug-in "cuda": networks and canvases on NVIDIA GPUs of compute capability 8.0
 * or later. Kernels are in seg/cuda_kernels.h, the only calls to the CUDA runtime here;
 * it is linked statically, so the plug-in needs nothing but the driver.
 *
 * A model owns one stream and all buffers for its largest batch, allocated at load.
 * Work of a batch size (upload, kernels, download) is recorded as a CUDA graph the
 * first time that size comes and launched as a whole after that; what differs from
 * call to call lies in pinned memory at fixed addresses. No managed memory.
 *
 * One thread at a time per model. A runtime error other than lack of memory is taken as
 * the loss of the device, because the runtime allows nothing more after most of them:
 * the device says so from then on and is not usable until the process starts again.
 *
 * Limit: features of 16 or 32 channels at 16 bits; others only in float, slowly.
 */
#ifndef FG_EMULATE /* else the tests' header stands before this file */
#include "seg/cuda_device.h"
#endif
#include "seg/cuda_kernels.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mutex>
#include <vector>

/* Words of C; what is atomic in our headers is not touched here. */
#define _Atomic
#define _Static_assert static_assert
extern "C" {
#include "seg/plugin.h"
const struct fg_backend *fg_plugin(void);
}

#ifndef FG_CUDA_NAME
#define FG_CUDA_NAME "cuda"
#endif
#define DEVICES_MAX 64
#define BATCH_MAX 64
/* Left free for others, of all memory: one part in so many. */
#define RESERVE 32

static struct {
	std::mutex lock;
	char why[DEVICES_MAX][96]; /* not empty: lost */
} lost;

struct remote {
	struct model *model;
	void *image;
	float *logit;
	int64_t size[3];
	bool wide;
	float mean, stddev;
};

struct layer {
	int in, out;
	void *w; /* on the device; fragments at 16 bits */
	float *bias;
};

enum { FORWARD, STEP, KINDS };

struct model {
	struct fg_model base; /* first */
	int device, blocks;   /* blocks: of a persistent grid */
	enum fg_precision prec;
	int features, convs;
	std::vector<layer> layers;
	fg_cuda_shape shape;
	size_t voxels, shared;
	cudaStream_t stream;
	cudaGraphExec_t graph[KINDS][BATCH_MAX + 1];
	/* On the device, for batch_max patches. */
	float2 *in;
	void *mid, *raw, *act;
	float *dense, *old, *out;
	int *above;
	fg_cuda_slot *slot;
	fg_cuda_face *face;
	/* Pinned. */
	float *host_in, *host_out;
	fg_cuda_slot *host_slot;
	fg_cuda_face *host_face;
};

static int
fail(struct fg_err *err, enum fg_code code, const char *fmt, ...)
{
	va_list ap;

	if (!err || err->code != FG_OK)
		return -1;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
	va_end(ap);
	return -1;
}

static int
check(int device, cudaError_t e, const char *what, struct fg_err *err)
{
	if (e == cudaSuccess)
		return 0;
	cudaGetLastError();
	if (e == cudaErrorMemoryAllocation)
		return fail(err, FG_ENOMEM, "%s: out of device memory", what);
	std::lock_guard<std::mutex> hold(lost.lock);
	snprintf(lost.why[device], sizeof lost.why[device], "lost: %.20s: %.60s", what,
	    cudaGetErrorString(e));
	return fail(err, FG_EIO, "%s: %s", what, cudaGetErrorString(e));
}

/* ------------------------------------------------------------- devices */

/* Hardware without a driver that fits: worth a line in the list. */
static bool
has_hardware(void)
{
	return access("/dev/nvidiactl", F_OK) == 0;
}

static int
count(void)
{
	int n = 0;
	cudaError_t e = cudaGetDeviceCount(&n);

	if (e != cudaSuccess) {
		cudaGetLastError();
		return has_hardware() ? 1 : 0;
	}
	return n < DEVICES_MAX ? n : DEVICES_MAX;
}

static void
describe(int i, struct fg_device_desc *d)
{
	cudaDeviceProp p;
	cudaError_t e = cudaGetDeviceProperties(&p, i);
	int driver = 0;

	snprintf(d->name, sizeof d->name, "%s:%d", FG_CUDA_NAME, i);
	if (e != cudaSuccess) {
		cudaGetLastError();
		snprintf(d->detail, sizeof d->detail, "NVIDIA GPU");
		snprintf(d->why, sizeof d->why, "%s", cudaGetErrorString(e));
		return;
	}
	cudaDriverGetVersion(&driver);
	snprintf(d->detail, sizeof d->detail,
	    "%.60s, compute %d.%d, %d multiprocessors, driver for CUDA %d.%d", p.name,
	    p.major, p.minor, p.multiProcessorCount, driver / 1000, driver % 1000 / 10);
	d->memory = p.totalGlobalMem;
	d->usable = p.major >= 8;
	d->bf16 = d->f16 = d->usable;
	if (!d->usable)
		snprintf(d->why, sizeof d->why, "compute %d.%d, wanted 8.0 or later",
		    p.major, p.minor);
	std::lock_guard<std::mutex> hold(lost.lock);
	if (lost.why[i][0]) {
		d->usable = false;
		snprintf(d->why, sizeof d->why, "%s", lost.why[i]);
	}
}

static const struct fg_backend *table(void);

static int
open_device(int i, struct fg_device **out, struct fg_err *err)
{
	struct fg_device_desc d = {};
	struct fg_device *dev;

	describe(i, &d);
	if (!d.usable)
		return fail(err, FG_ENOTSUP, "%s", d.why);
	if (check(i, cudaSetDevice(i), "choosing the device", err) < 0)
		return -1;
	dev = (struct fg_device *)calloc(1, sizeof *dev);
	if (!dev)
		return fail(err, FG_ENOMEM, "no memory");
	dev->backend = table();
	dev->index = i;
	*out = dev;
	return 0;
}

static void
close_device(struct fg_device *dev)
{
	free(dev);
}

/* ------------------------------------------------------------- loading */

static void
unload(struct fg_model *base)
{
	model *m = (model *)base;
	void *const device[] = {m->in, m->mid, m->raw, m->act, m->dense, m->old, m->out,
	    m->above, m->slot, m->face};
	void *const pinned[] = {m->host_in, m->host_out, m->host_slot, m->host_face};

	/* After a loss all of these fail, which changes nothing. */
	cudaSetDevice(m->device);
	for (int k = 0; k < KINDS; k++)
		for (int n = 0; n <= BATCH_MAX; n++)
			if (m->graph[k][n])
				cudaGraphExecDestroy(m->graph[k][n]);
	for (void *p : device)
		cudaFree(p);
	for (void *p : pinned)
		cudaFreeHost(p);
	for (const layer &l : m->layers) {
		cudaFree(l.w);
		cudaFree(l.bias);
	}
	if (m->stream)
		cudaStreamDestroy(m->stream);
	cudaGetLastError();
	delete m;
}

/* One size of features throughout, and 3x3x3 but for the last. */
static int
check_net(const struct fg_net *net, enum fg_precision prec, struct fg_err *err)
{
	int f = net->conv[0].out;

	for (int i = 0; i + 1 < net->convs; i++) {
		const struct fg_conv *c = &net->conv[i];

		if (c->k != 3 || c->out != f || c->in != (i ? f : 2))
			return fail(err, FG_ENOTSUP,
			    "convolution %d is %d to %d channels, edge %d; this back "
			    "end takes %d throughout, edge 3",
			    i, c->in, c->out, c->k, f);
	}
	if (prec != FG_PREC_F32 && f != 16 && f != 32)
		return fail(err, FG_ENOTSUP,
		    "%d features: 16-bit precisions take 16 or 32; f32 takes any", f);
	for (int d = 0; d < 3; d++) {
		if (net->shape.fov[d] > 129 || net->shape.delta[d] > 127)
			return fail(err, FG_ENOTSUP,
			    "field of view %lld: at most 129 voxels",
			    (long long)net->shape.fov[d]);
	}
	return 0;
}

static void
make_shape(const struct fg_net *net, fg_cuda_shape *s)
{
	for (int d = 0; d < 3; d++)
		s->fov[d] = (int)net->shape.fov[d];
	s->row = s->fov[0] + 1;
	s->plane = s->row * (s->fov[1] + 1);
	s->front = s->plane + s->row + 1;
	int last = (s->fov[2] - 1) * s->plane + (s->fov[1] - 1) * s->row + s->fov[0];
	s->tiles = (last + FG_CUDA_TILE - 1) / FG_CUDA_TILE;
	s->stride = (2 * s->front + s->tiles * FG_CUDA_TILE + 7) / 8 * 8;
}

static uint16_t
to_bits(enum fg_precision prec, float v)
{
	return prec == FG_PREC_BF16 ? fg_host_bf16(v) : fg_host_f16(v);
}

static float
of_bits(enum fg_precision prec, uint16_t v)
{
	uint32_t u = (uint32_t)v << 16;
	float f;

	if (prec == FG_PREC_F16)
		return fg_host_of_f16(v);
	memcpy(&f, &u, sizeof f);
	return f;
}

/* The weights w[tap][in][out], rounded so that the sum over the taps is right: what
 * one loses the next one gets (why: seg/bf16.h). */
static std::vector<uint16_t>
round_weights(const struct fg_conv *c, enum fg_precision prec)
{
	size_t n = (size_t)c->in * c->out;
	std::vector<uint16_t> w(27 * n);

	for (size_t i = 0; i < n; i++) {
		float owed = 0;

		for (size_t at = i; at < w.size(); at += n) {
			float want = c->w[at] + owed;

			w[at] = to_bits(prec, want);
			owed = want - of_bits(prec, w[at]);
		}
	}
	return w;
}

/*
 * Fragment order: [tap][16 input channels][pair of fragments][lane][4] registers of two
 * values. Register 2 h + r of a lane: column lane / 4 of fragment 2 pair + h, input
 * channels 8 r + lane % 4 * 2 and the next. Columns are channels in such an order that
 * a lane's sums, columns 2 t and 2 t + 1 of each fragment with t = lane % 4, are those
 * of a quarter of the channels, in a row.
 */
static std::vector<uint32_t>
pack_weights(const struct fg_conv *c, enum fg_precision prec)
{
	std::vector<uint16_t> from = round_weights(c, prec);
	std::vector<uint32_t> w;
	int n = c->out;

	for (int tap = 0; tap < 27; tap++)
		for (int k = 0; k < n / 16; k++)
			for (int pair = 0; pair < n / 16; pair++)
				for (int i = 0; i < 128; i++) {
					int lane = i / 4, h = i % 4 / 2, r = i % 2;
					int o = lane / 8 * (n / 4) +
						2 * (2 * pair + h) + lane / 4 % 2;
					int in = k * 16 + r * 8 + lane % 4 * 2;
					const uint16_t *v =
					    &from[((size_t)tap * n + in) * n + o];

					w.push_back(v[0] | (uint32_t)v[n] << 16);
				}
	return w;
}

static int
to_device(int device, const void *from, size_t bytes, void **to, struct fg_err *err)
{
	if (check(device, cudaMalloc(to, bytes), "weights", err) < 0)
		return -1;
	return check(device, cudaMemcpy(*to, from, bytes, cudaMemcpyHostToDevice),
	    "weights", err);
}

static int
load_layer(model *m, const struct fg_conv *c, int i, struct fg_err *err)
{
	layer l = {c->in, c->out, NULL, NULL};
	bool packed = m->prec != FG_PREC_F32 && i > 0 && i + 1 < m->convs;
	size_t floats = (size_t)c->k * c->k * c->k * c->in * c->out;
	int rc;

	if (packed) {
		std::vector<uint32_t> w = pack_weights(c, m->prec);
		rc = to_device(m->device, w.data(), w.size() * 4, &l.w, err);
	} else {
		rc = to_device(m->device, c->w, floats * 4, &l.w, err);
	}
	if (rc == 0)
		rc = to_device(m->device, c->b, (size_t)c->out * 4, (void **)&l.bias,
		    err);
	m->layers.push_back(l);
	return rc;
}

/* Bytes of a patch on the device. */
static size_t
patch_bytes(const model *m)
{
	size_t value = m->prec == FG_PREC_F32 ? 4 : 2;

	return (size_t)m->shape.stride * (8 + 3 * m->features * value) + m->voxels * 16;
}

template <class P>
static int
buffer(model *m, P **out, size_t bytes, struct fg_err *err)
{
	void *p = NULL;

	if (check(m->device, cudaMalloc(&p, bytes), "activations", err) < 0)
		return -1;
	*out = (P *)p;
	/* Padding is zero for good. */
	return check(m->device, cudaMemset(p, 0, bytes), "activations", err);
}

template <class P>
static int
pinned(model *m, P **out, size_t bytes, struct fg_err *err)
{
	void *p = NULL;

	if (check(m->device, cudaMallocHost(&p, bytes), "pinned memory", err) < 0)
		return -1;
	*out = (P *)p;
	return 0;
}

static int
allocate(model *m, struct fg_err *err)
{
	size_t n = (size_t)m->base.batch_max, free_now = 0, all = 0;
	size_t value = m->prec == FG_PREC_F32 ? 4 : 2;
	size_t act = n * m->shape.stride * m->features * value;
	size_t dense = n * m->voxels * 4, need = n * patch_bytes(m);

	if (check(m->device, cudaMemGetInfo(&free_now, &all), "memory", err) < 0)
		return -1;
	snprintf(m->base.plan, sizeof m->base.plan,
	    "%zu patches of %.1f MB = %.2f GB, beside 2 to 5 bytes a canvas voxel; "
	    "%.2f of %.2f GB free",
	    n, patch_bytes(m) / 1e6, need / 1e9, free_now / 1e9, all / 1e9);
	if (need + all / RESERVE > free_now)
		return fail(err, FG_ENOMEM, "out of device memory: %s", m->base.plan);
	if (buffer(m, &m->in, n * m->shape.stride * sizeof(float2), err) < 0 ||
	    buffer(m, &m->mid, act, err) < 0 || buffer(m, &m->raw, act, err) < 0 ||
	    buffer(m, &m->act, act, err) < 0 ||
	    buffer(m, &m->dense, 2 * dense, err) < 0 ||
	    buffer(m, &m->old, dense, err) < 0 || buffer(m, &m->out, dense, err) < 0 ||
	    buffer(m, &m->above, n * sizeof *m->above, err) < 0 ||
	    buffer(m, &m->slot, n * sizeof *m->slot, err) < 0 ||
	    buffer(m, &m->face, n * 6 * sizeof *m->face, err) < 0 ||
	    pinned(m, &m->host_in, 2 * dense, err) < 0 ||
	    pinned(m, &m->host_out, dense, err) < 0 ||
	    pinned(m, &m->host_slot, n * sizeof *m->slot, err) < 0 ||
	    pinned(m, &m->host_face, n * 6 * sizeof *m->face, err) < 0)
		return -1;
	return 0;
}

template <class T, int C>
static int
prepare_conv(model *m, struct fg_err *err)
{
	int per = 0, units = 0;

	m->shared = fg_cuda_conv_shared<C>(m->shape);
	if (check(m->device,
		cudaDeviceGetAttribute(&units, cudaDevAttrMultiProcessorCount,
		    m->device),
		"attributes", err) < 0)
		return -1;
	/* A strip too long for shared memory is a matter of shape, not a loss. */
	if (cudaFuncSetAttribute((const void *)fg_cuda_conv3<T, C>,
		cudaFuncAttributeMaxDynamicSharedMemorySize,
		(int)m->shared) != cudaSuccess) {
		cudaGetLastError();
		return fail(err, FG_ENOTSUP,
		    "%zu bytes of shared memory for this field of view: not here",
		    m->shared);
	}
	if (check(m->device,
		cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per,
		    (const void *)fg_cuda_conv3<T, C>, FG_CUDA_THREADS, m->shared),
		"occupancy", err) < 0)
		return -1;
	m->blocks = units * (per > 0 ? per : 1);
	return 0;
}

static int
prepare(model *m, struct fg_err *err)
{
	if (m->prec == FG_PREC_BF16)
		return m->features == 32 ? prepare_conv<fg_bf16, 32>(m, err)
					 : prepare_conv<fg_bf16, 16>(m, err);
	if (m->prec == FG_PREC_F16)
		return m->features == 32 ? prepare_conv<fg_f16, 32>(m, err)
					 : prepare_conv<fg_f16, 16>(m, err);
	return 0;
}

static int
load(struct fg_device *dev, const struct fg_net *net, enum fg_precision prec,
    int batch_max, struct fg_model **out, struct fg_err *err)
{
	if (check_net(net, prec, err) < 0 ||
	    check(dev->index, cudaSetDevice(dev->index), "choosing the device", err) <
		0)
		return -1;
	model *m = new model();
	m->base.backend = table();
	m->base.batch_max = batch_max < BATCH_MAX ? batch_max : BATCH_MAX;
	memcpy(m->base.fov, net->shape.fov, sizeof m->base.fov);
	m->device = dev->index;
	m->prec = prec;
	m->features = net->conv[0].out;
	m->convs = net->convs;
	m->voxels = (size_t)(net->shape.fov[0] * net->shape.fov[1] * net->shape.fov[2]);
	make_shape(net, &m->shape);
	int rc = check(m->device,
	    cudaStreamCreateWithFlags(&m->stream, cudaStreamNonBlocking), "stream",
	    err);
	if (rc == 0)
		rc = prepare(m, err);
	for (int i = 0; i < net->convs && rc == 0; i++)
		rc = load_layer(m, &net->conv[i], i, err);
	if (rc == 0)
		rc = allocate(m, err);
	if (rc == 0)
		rc = check(m->device, cudaDeviceSynchronize(), "loading", err);
	if (rc < 0) {
		unload(&m->base);
		return -1;
	}
	*out = &m->base;
	return 0;
}

/* ------------------------------------------------------------- kernels */

static unsigned
blocks_for(size_t n)
{
	return (unsigned)((n + FG_CUDA_THREADS - 1) / FG_CUDA_THREADS);
}

static unsigned
position_blocks(const model *m)
{
	return blocks_for((size_t)m->shape.tiles * FG_CUDA_TILE);
}

template <class T, int C>
static void
launch_stack(const model *m, int n)
{
	int tiles = n * m->shape.tiles, grid = tiles < m->blocks ? tiles : m->blocks;
	uint16_t *mid = (uint16_t *)m->mid, *raw = (uint16_t *)m->raw,
		 *act = (uint16_t *)m->act;
	const layer &first = m->layers[0], &last = m->layers[m->convs - 1];

	fg_launch(fg_cuda_first<T, C>, dim3((unsigned)m->shape.tiles, (unsigned)n),
	    FG_CUDA_THREADS, 0, m->stream, m->in, mid, (const float4 *)first.w,
	    first.bias, m->shape);
	for (int i = 1; i + 1 < m->convs; i++) {
		const layer &l = m->layers[i];
		bool second = i % 2 == 1;
		fg_cuda_to to = {};

		if (second && i > 1)
			to.residual = raw;
		if (i + 2 == m->convs) {
			to.out = m->out;
			to.in = m->in;
			to.w = (const float *)last.w;
			to.bias = last.bias;
		} else {
			to.raw = second ? raw : NULL;
			to.act = second ? act : mid;
		}
		fg_launch(fg_cuda_conv3<T, C>, dim3((unsigned)grid), FG_CUDA_THREADS,
		    m->shared, m->stream, second ? mid : act, to, (const uint4 *)l.w,
		    l.bias, m->shape, tiles);
	}
}

static void
launch_plain(const model *m, int n)
{
	size_t all = (size_t)m->shape.tiles * FG_CUDA_TILE * m->features;
	dim3 outputs(blocks_for(all), (unsigned)n);
	float *mid = (float *)m->mid, *raw = (float *)m->raw, *act = (float *)m->act;
	const layer &last = m->layers[m->convs - 1];

	for (int i = 0; i + 1 < m->convs; i++) {
		const layer &l = m->layers[i];
		bool second = i % 2 == 1;

		fg_launch(fg_cuda_plain, outputs, FG_CUDA_THREADS, 0, m->stream,
		    i == 0   ? (const float *)m->in
		    : second ? mid
			     : act,
		    second && i > 1 ? raw : NULL, second ? raw : NULL,
		    second ? act : mid, (const float *)l.w, l.bias, l.in, l.out,
		    m->shape);
	}
	fg_launch(fg_cuda_last_plain, dim3(position_blocks(m), (unsigned)n),
	    FG_CUDA_THREADS, 0, m->stream, m->in, act, m->out, (const float *)last.w,
	    last.bias, last.in, m->shape);
}

static void
launch_network(const model *m, int n)
{
	if (m->prec == FG_PREC_F32)
		launch_plain(m, n);
	else if (m->prec == FG_PREC_BF16 && m->features == 32)
		launch_stack<fg_bf16, 32>(m, n);
	else if (m->prec == FG_PREC_BF16)
		launch_stack<fg_bf16, 16>(m, n);
	else if (m->features == 32)
		launch_stack<fg_f16, 32>(m, n);
	else
		launch_stack<fg_f16, 16>(m, n);
}

static void
record_forward(const model *m, int n)
{
	size_t bytes = (size_t)n * m->voxels * 4;

	cudaMemcpyAsync(m->dense, m->host_in, 2 * bytes, cudaMemcpyHostToDevice,
	    m->stream);
	fg_launch(fg_cuda_spread, dim3(blocks_for(m->voxels), (unsigned)n),
	    FG_CUDA_THREADS, 0, m->stream, m->dense, m->in, m->shape);
	launch_network(m, n);
	cudaMemcpyAsync(m->host_out, m->out, bytes, cudaMemcpyDeviceToHost, m->stream);
}

static void
record_step(const model *m, int n)
{
	dim3 voxels(blocks_for(m->voxels), (unsigned)n);

	cudaMemcpyAsync(m->slot, m->host_slot, (size_t)n * sizeof *m->slot,
	    cudaMemcpyHostToDevice, m->stream);
	fg_launch(fg_cuda_gather, voxels, FG_CUDA_THREADS, 0, m->stream, m->slot, m->in,
	    m->old, m->above, m->shape);
	launch_network(m, n);
	fg_launch(fg_cuda_count, voxels, FG_CUDA_THREADS, 0, m->stream, m->slot, m->out,
	    m->above, m->shape);
	fg_launch(fg_cuda_scatter, voxels, FG_CUDA_THREADS, 0, m->stream, m->slot,
	    m->out, m->old, m->above, m->shape);
	fg_launch(fg_cuda_faces, dim3((unsigned)n), 192, 0, m->stream, m->slot, m->out,
	    m->face, m->shape);
	cudaMemcpyAsync(m->host_face, m->face, (size_t)n * 6 * sizeof *m->face,
	    cudaMemcpyDeviceToHost, m->stream);
}

static int
record(model *m, int kind, int n, struct fg_err *err)
{
	cudaGraph_t graph;

	if (check(m->device,
		cudaStreamBeginCapture(m->stream, cudaStreamCaptureModeThreadLocal),
		"recording", err) < 0)
		return -1;
	if (kind == FORWARD)
		record_forward(m, n);
	else
		record_step(m, n);
	if (check(m->device, cudaStreamEndCapture(m->stream, &graph), "recording",
		err) < 0)
		return -1;
	int rc = check(m->device, cudaGraphInstantiate(&m->graph[kind][n], graph, 0),
	    "recording", err);
	cudaGraphDestroy(graph);
	return rc;
}

static int
launch_graph(model *m, int kind, int n, struct fg_err *err)
{
	if (check(m->device, cudaSetDevice(m->device), "choosing the device", err) <
		0 ||
	    (!m->graph[kind][n] && record(m, kind, n, err) < 0))
		return -1;
	return check(m->device, cudaGraphLaunch(m->graph[kind][n], m->stream), "launch",
	    err);
}

static int
forward(struct fg_model *base, int n, const float *in, float *out, struct fg_err *err)
{
	model *m = (model *)base;

	memcpy(m->host_in, in, (size_t)n * 2 * m->voxels * 4);
	if (launch_graph(m, FORWARD, n, err) < 0 ||
	    check(m->device, cudaStreamSynchronize(m->stream), "forward", err) < 0)
		return -1;
	memcpy(out, m->host_out, (size_t)n * m->voxels * 4);
	return 0;
}

/* ------------------------------------------------------------- canvases */

static void
canvas_close(struct fg_remote *r)
{
	remote *c = (remote *)r;

	cudaSetDevice(c->model->device);
	cudaFree(c->image);
	cudaFree(c->logit);
	cudaGetLastError();
	delete c;
}

static size_t
canvas_voxels(const remote *c)
{
	return (size_t)(c->size[0] * c->size[1] * c->size[2]);
}

static int
canvas_clear(struct fg_remote *r, struct fg_err *err)
{
	remote *c = (remote *)r;

	/* All bits set is a NaN. */
	return check(c->model->device,
	    cudaMemsetAsync(c->logit, 0xff, canvas_voxels(c) * 4, c->model->stream),
	    "clearing a canvas", err);
}

static int
canvas_open(struct fg_model *base, const struct fg_array *image, double mean,
    double stddev, struct fg_remote **out, struct fg_err *err)
{
	model *m = (model *)base;
	remote *c = new remote();
	size_t bytes;
	void *p = NULL;
	int rc;

	c->model = m;
	memcpy(c->size, image->shape, sizeof c->size);
	c->wide = image->dtype == FG_U16;
	c->mean = (float)mean;
	c->stddev = (float)stddev;
	bytes = canvas_voxels(c) * (c->wide ? 2 : 1);
	rc = check(m->device, cudaSetDevice(m->device), "choosing the device", err);
	if (rc == 0)
		rc = check(m->device, cudaMalloc(&c->image, bytes), "a canvas", err);
	if (rc == 0)
		rc = check(m->device, cudaMalloc(&p, canvas_voxels(c) * 4), "a canvas",
		    err);
	c->logit = (float *)p;
	if (rc == 0)
		rc = check(m->device,
		    cudaMemcpyAsync(c->image, image->data, bytes,
			cudaMemcpyHostToDevice, m->stream),
		    "a canvas", err);
	if (rc == 0)
		rc = canvas_clear((struct fg_remote *)c, err);
	/* The image is lent for this call only. */
	if (rc == 0)
		rc =
		    check(m->device, cudaStreamSynchronize(m->stream), "a canvas", err);
	if (rc < 0) {
		canvas_close((struct fg_remote *)c);
		return -1;
	}
	*out = (struct fg_remote *)c;
	return 0;
}

/* A box between host (dense) and canvas, plane by plane. */
static int
move_box(const remote *c, const struct fg_box *vx, float *host, bool up,
    struct fg_err *err)
{
	size_t row = (size_t)(vx->hi[0] - vx->lo[0]) * 4,
	       pitch = (size_t)c->size[0] * 4;
	size_t rows = (size_t)(vx->hi[1] - vx->lo[1]);
	cudaStream_t s = c->model->stream;
	int device = c->model->device;

	for (int64_t z = vx->lo[2]; z < vx->hi[2]; z++) {
		float *at =
		    c->logit + (z * c->size[1] + vx->lo[1]) * c->size[0] + vx->lo[0];
		float *own = host + (size_t)(z - vx->lo[2]) * rows * (row / 4);
		cudaError_t e = up ? cudaMemcpy2DAsync(at, pitch, own, row, row, rows,
					 cudaMemcpyHostToDevice, s)
				   : cudaMemcpy2DAsync(own, row, at, pitch, row, rows,
					 cudaMemcpyDeviceToHost, s);

		if (check(device, e, "moving a box", err) < 0)
			return -1;
	}
	return check(device, cudaStreamSynchronize(s), "moving a box", err);
}

static int
canvas_write(struct fg_remote *r, const struct fg_box *vx, const float *logit,
    struct fg_err *err)
{
	return move_box((remote *)r, vx, (float *)logit, true, err);
}

static int
canvas_read(struct fg_remote *r, const struct fg_box *vx, float *logit,
    struct fg_err *err)
{
	return move_box((remote *)r, vx, logit, false, err);
}

static void
fill_slot(const model *m, const struct fg_step *s, fg_cuda_slot *to)
{
	const remote *c = (const remote *)s->remote;
	const struct fg_step_params *p = s->params;

	to->image = c->image;
	to->logit = c->logit;
	to->wide = c->wide;
	to->mean = c->mean;
	to->stddev = c->stddev;
	to->pad = p->pad;
	to->move = p->move;
	to->freeze = p->freeze;
	for (int d = 0; d < 3; d++) {
		to->lo[d] = s->centre[d] - m->base.fov[d] / 2;
		to->delta[d] = p->delta[d];
	}
	to->size[0] = c->size[0];
	to->size[1] = c->size[1];
}

/* a before b: by score, then offset z, y, x, all descending. */
static bool
before(const struct fg_face *a, const struct fg_face *b)
{
	if (a->score != b->score)
		return a->score > b->score;
	for (int d = 2; d > 0; d--)
		if (a->off[d] != b->off[d])
			return a->off[d] > b->off[d];
	return a->off[0] > b->off[0];
}

/* Candidates in order, equal ones once. */
static void
take_faces(const fg_cuda_face *from, struct fg_step *s)
{
	s->faces = 0;
	for (int f = 0; f < 6; f++) {
		struct fg_face c = {from[f].score, {}};
		int at = s->faces;

		if (s->params->delta[f / 2] == 0 || !(c.score >= s->params->move))
			continue;
		for (int d = 0; d < 3; d++)
			c.off[d] = (int8_t)from[f].off[d];
		while (at > 0 && before(&c, &s->face[at - 1]))
			at--;
		if (at > 0 && !before(&s->face[at - 1], &c))
			continue; /* the same point of another face */
		memmove(&s->face[at + 1], &s->face[at],
		    (size_t)(s->faces - at) * sizeof c);
		s->face[at] = c;
		s->faces++;
	}
}

static int
step(struct fg_model *base, int n, struct fg_step *const *steps, float *patch,
    struct fg_err *err)
{
	model *m = (model *)base;
	size_t bytes = (size_t)n * m->voxels * 4;

	for (int i = 0; i < n; i++)
		fill_slot(m, steps[i], &m->host_slot[i]);
	if (launch_graph(m, STEP, n, err) < 0)
		return -1;
	if (patch && check(m->device,
			 cudaMemcpyAsync(m->host_out, m->out, bytes,
			     cudaMemcpyDeviceToHost, m->stream),
			 "download", err) < 0)
		return -1;
	if (check(m->device, cudaStreamSynchronize(m->stream), "step", err) < 0)
		return -1;
	if (patch)
		memcpy(patch, m->host_out, bytes);
	for (int i = 0; i < n; i++)
		take_faces(&m->host_face[6 * i], steps[i]);
	return 0;
}

static const struct fg_backend *
table(void)
{
	static const struct fg_backend backend = {FG_BACKEND_ABI,
	    sizeof(struct fg_backend), FG_CUDA_NAME, count, describe, open_device,
	    close_device, load, unload, forward, step, canvas_open, canvas_clear,
	    canvas_write, canvas_read, canvas_close};

	return &backend;
}

extern "C" __attribute__((visibility("default"))) const struct fg_backend *
fg_plugin(void)
{
	return table();
}
