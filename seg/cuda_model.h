/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A network on a GPU: what it owns, and how it gets there (C++, part of seg/cuda.cu).
 * All work of a model, loading too, goes through its own stream: beside others of the
 * same device nothing here waits for the device as a whole.
 */
#ifndef FG_SEG_CUDA_MODEL_H
#define FG_SEG_CUDA_MODEL_H

#ifndef FG_EMULATE /* else the tests' header stands before this file */
#include "seg/cuda_device.h"
#endif
#include "seg/cuda_kernels.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <map>
#include <mutex>
#include <utility>
#include <vector>

/* Words of C; what is atomic in our headers is not touched here. */
#define _Atomic
#define _Static_assert static_assert
extern "C" {
#include "seg/plugin.h"
}

#ifndef FG_CUDA_NAME
#define FG_CUDA_NAME "cuda"
#endif
#define DEVICES_MAX 64
#define BATCH_MAX 64
/* Patches that go through all layers together, before the next ones do: few enough, and
 * their activations (7.8 MB a patch of 33^3 voxels and 32 features) stay in the
 * second-level cache; many, and the last round of blocks wastes less. */
#ifndef FG_CUDA_GROUP
#define FG_CUDA_GROUP BATCH_MAX
#endif
/* Parts of a large batch of steps: the host takes one while the next is computed. */
#define PARTS 3
/* Left free for others, of all memory: one part in so many. */
#define RESERVE 32

static struct {
	std::mutex lock;
	char why[DEVICES_MAX][96]; /* not empty: lost */
} lost;

struct layer {
	int in, out;
	void *w; /* on the device; fragments at 16 bits */
	float *bias;
};

/* The graph of forward, instead of the first place of steps. */
enum { FORWARD = -1 };

struct model {
	struct fg_model base; /* first */
	int device, blocks;   /* blocks: of a persistent grid */
	int group;            /* FG_CUDA_GROUP */
	enum fg_precision prec;
	int features, convs;
	std::vector<layer> layers;
	fg_cuda_shape shape;
	size_t voxels, shared;
	cudaStream_t stream;
	/* By FORWARD or the first place, and the number of patches. */
	std::map<std::pair<int, int>, cudaGraphExec_t> graph;
	int part; /* steps whose results are handed over together */
	std::vector<cudaEvent_t> event; /* a part has arrived */
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

static const struct fg_backend *table(void);

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
	for (const auto &g : m->graph)
		cudaGraphExecDestroy(g.second);
	for (cudaEvent_t e : m->event)
		cudaEventDestroy(e);
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

/* By the model's own stream, as all that follows: another model of this device may be
 * recording a graph, when nothing may wait for the device as a whole. */
static int
to_device(model *m, const void *from, size_t bytes, void **to, struct fg_err *err)
{
	if (check(m->device, cudaMalloc(to, bytes), "weights", err) < 0 ||
	    check(m->device,
		cudaMemcpyAsync(*to, from, bytes, cudaMemcpyHostToDevice, m->stream),
		"weights", err) < 0)
		return -1;
	return check(m->device, cudaStreamSynchronize(m->stream), "weights", err);
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
		rc = to_device(m, w.data(), w.size() * 4, &l.w, err);
	} else {
		rc = to_device(m, c->w, floats * 4, &l.w, err);
	}
	if (rc == 0)
		rc = to_device(m, c->b, (size_t)c->out * 4, (void **)&l.bias, err);
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
	return check(m->device, cudaMemsetAsync(p, 0, bytes, m->stream), "activations",
	    err);
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
	const void *kernel = (const void *)fg_cuda_conv3<T, C>;
	int per = 0, units = 0, most = 0;

	m->shared = fg_cuda_conv_shared<C>(m->shape);
	if (check(m->device,
		cudaDeviceGetAttribute(&units, cudaDevAttrMultiProcessorCount,
		    m->device),
		"attributes", err) < 0 ||
	    check(m->device,
		cudaDeviceGetAttribute(&most, cudaDevAttrMaxSharedMemoryPerBlockOptin,
		    m->device),
		"attributes", err) < 0)
		return -1;
	if (m->shared > (size_t)most)
		return fail(err, FG_ENOTSUP,
		    "%zu bytes of shared memory for this field of view, %d here",
		    m->shared, most);
	/* All of it as shared memory, else there may be room for one block only. */
	if (check(m->device,
		cudaFuncSetAttribute(kernel,
		    cudaFuncAttributeMaxDynamicSharedMemorySize, (int)m->shared),
		"shared memory", err) < 0 ||
	    check(m->device,
		cudaFuncSetAttribute(kernel,
		    cudaFuncAttributePreferredSharedMemoryCarveout,
		    cudaSharedmemCarveoutMaxShared),
		"shared memory", err) < 0 ||
	    check(m->device,
		cudaOccupancyMaxActiveBlocksPerMultiprocessor(&per, kernel,
		    FG_CUDA_THREADS, m->shared),
		"occupancy", err) < 0)
		return -1;
	if (per < 1)
		return fail(err, FG_ENOTSUP, "no room for a block of the convolution");
	m->blocks = units * per;
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

/* A part is a third of the largest batch, and then as much as fills its last round of
 * blocks. */
static int
prepare_parts(model *m, struct fg_err *err)
{
	int third = (BATCH_MAX + PARTS - 1) / PARTS;
	int rounds =
	    m->blocks ? (third * m->shape.tiles + m->blocks - 1) / m->blocks : 0;

	m->part = third;
	if (rounds)
		m->part = rounds * m->blocks / m->shape.tiles;
#ifdef FG_CUDA_PART
	m->part = FG_CUDA_PART;
#endif
	for (int i = 0; i < m->base.batch_max; i += m->part) {
		cudaEvent_t e;

		if (check(m->device,
			cudaEventCreateWithFlags(&e, cudaEventDisableTiming), "event",
			err) < 0)
			return -1;
		m->event.push_back(e);
	}
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
	m->group = FG_CUDA_GROUP;
	m->features = net->conv[0].out;
	m->convs = net->convs;
	m->voxels = (size_t)(net->shape.fov[0] * net->shape.fov[1] * net->shape.fov[2]);
	make_shape(net, &m->shape);
	int rc = check(m->device,
	    cudaStreamCreateWithFlags(&m->stream, cudaStreamNonBlocking), "stream",
	    err);
	if (rc == 0)
		rc = prepare(m, err);
	if (rc == 0)
		rc = prepare_parts(m, err);
	for (int i = 0; i < net->convs && rc == 0; i++)
		rc = load_layer(m, &net->conv[i], i, err);
	if (rc == 0)
		rc = allocate(m, err);
	if (rc == 0)
		rc = check(m->device, cudaStreamSynchronize(m->stream), "loading", err);
	if (rc < 0) {
		unload(&m->base);
		return -1;
	}
	*out = &m->base;
	return 0;
}

#endif
