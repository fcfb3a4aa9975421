/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plug-in "cuda": networks and canvases on NVIDIA GPUs of compute capability 8.0
 * or later. Kernels are in seg/cuda_kernels.h, loading in seg/cuda_model.h. The CUDA
 * runtime is linked statically, so the plug-in needs nothing but the driver.
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
#include "seg/cuda_model.h"

#include <unistd.h>

extern "C" {
const struct fg_backend *fg_plugin(void);
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

/* All layers of n patches, in the first places of the activations. */
template <class T, int C>
static void
launch_stack(const model *m, int from, int n)
{
	float2 *in = m->in + (size_t)from * m->shape.stride;
	int tiles = n * m->shape.tiles, grid = tiles < m->blocks ? tiles : m->blocks;
	uint16_t *mid = (uint16_t *)m->mid, *raw = (uint16_t *)m->raw,
		 *act = (uint16_t *)m->act;
	const layer &first = m->layers[0], &last = m->layers[m->convs - 1];

	fg_launch(fg_cuda_first<T, C>, dim3((unsigned)m->shape.tiles, (unsigned)n),
	    FG_CUDA_THREADS, 0, m->stream, in, mid, (const float4 *)first.w, first.bias,
	    m->shape);
	for (int i = 1; i + 1 < m->convs; i++) {
		const layer &l = m->layers[i];
		bool second = i % 2 == 1;
		fg_cuda_to to = {};

		if (second && i > 1)
			to.residual = raw;
		if (i + 2 == m->convs) {
			to.out = m->out + (size_t)from * m->voxels;
			to.in = in;
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
launch_plain(const model *m, int first, int n)
{
	const float2 *in = m->in + (size_t)first * m->shape.stride;
	size_t all = (size_t)m->shape.tiles * FG_CUDA_TILE * m->features;
	dim3 outputs(blocks_for(all), (unsigned)n);
	float *mid = (float *)m->mid, *raw = (float *)m->raw, *act = (float *)m->act;
	const layer &last = m->layers[m->convs - 1];

	for (int i = 0; i + 1 < m->convs; i++) {
		const layer &l = m->layers[i];
		bool second = i % 2 == 1;

		fg_launch(fg_cuda_plain, outputs, FG_CUDA_THREADS, 0, m->stream,
		    i == 0   ? (const float *)in
		    : second ? mid
			     : act,
		    second && i > 1 ? raw : NULL, second ? raw : NULL,
		    second ? act : mid, (const float *)l.w, l.bias, l.in, l.out,
		    m->shape);
	}
	fg_launch(fg_cuda_last_plain, dim3(position_blocks(m), (unsigned)n),
	    FG_CUDA_THREADS, 0, m->stream, in, act, m->out + (size_t)first * m->voxels,
	    (const float *)last.w, last.bias, last.in, m->shape);
}

static void
launch_network(const model *m, int first, int n)
{
	if (m->prec == FG_PREC_F32) {
		launch_plain(m, first, n);
		return;
	}
	for (int from = first; from < first + n; from += m->group) {
		int k = first + n - from < m->group ? first + n - from : m->group;

		if (m->prec == FG_PREC_BF16 && m->features == 32)
			launch_stack<fg_bf16, 32>(m, from, k);
		else if (m->prec == FG_PREC_BF16)
			launch_stack<fg_bf16, 16>(m, from, k);
		else if (m->features == 32)
			launch_stack<fg_f16, 32>(m, from, k);
		else
			launch_stack<fg_f16, 16>(m, from, k);
	}
}

/* What is recorded; a kernel that cannot be launched is told by cudaGetLastError. */
static int
record_forward(const model *m, int n, struct fg_err *err)
{
	size_t bytes = (size_t)n * m->voxels * 4;

	if (check(m->device,
		cudaMemcpyAsync(m->dense, m->host_in, 2 * bytes, cudaMemcpyHostToDevice,
		    m->stream),
		"recording", err) < 0)
		return -1;
	fg_launch(fg_cuda_spread, dim3(blocks_for(m->voxels), (unsigned)n),
	    FG_CUDA_THREADS, 0, m->stream, m->dense, m->in, m->shape);
	launch_network(m, 0, n);
	return check(m->device,
	    cudaMemcpyAsync(m->host_out, m->out, bytes, cudaMemcpyDeviceToHost,
		m->stream),
	    "recording", err);
}

/* n steps of the slots from `first` on. */
static int
record_step(const model *m, int first, int n, struct fg_err *err)
{
	dim3 voxels(blocks_for(m->voxels), (unsigned)n);
	float2 *in = m->in + (size_t)first * m->shape.stride;
	float *old = m->old + (size_t)first * m->voxels;
	float *out = m->out + (size_t)first * m->voxels;
	int *above = m->above + first;
	fg_cuda_slot *slot = m->slot + first;
	fg_cuda_face *face = m->face + 6 * first;

	if (check(m->device,
		cudaMemcpyAsync(slot, m->host_slot + first, (size_t)n * sizeof *slot,
		    cudaMemcpyHostToDevice, m->stream),
		"recording", err) < 0)
		return -1;
	fg_launch(fg_cuda_gather, voxels, FG_CUDA_THREADS, 0, m->stream, slot, in, old,
	    above, m->shape);
	launch_network(m, first, n);
	fg_launch(fg_cuda_count, voxels, FG_CUDA_THREADS, 0, m->stream, slot, out,
	    above, m->shape);
	fg_launch(fg_cuda_scatter, voxels, FG_CUDA_THREADS, 0, m->stream, slot, out,
	    old, above, m->shape);
	fg_launch(fg_cuda_faces, dim3((unsigned)n), 192, 0, m->stream, slot, out, face,
	    m->shape);
	if (check(m->device,
		cudaMemcpyAsync(m->host_out + (size_t)first * m->voxels, out,
		    (size_t)n * m->voxels * 4, cudaMemcpyDeviceToHost, m->stream),
		"recording", err) < 0)
		return -1;
	return check(m->device,
	    cudaMemcpyAsync(m->host_face + 6 * first, face,
		(size_t)n * 6 * sizeof *face, cudaMemcpyDeviceToHost, m->stream),
	    "recording", err);
}

/* The graph of n patches, recorded when it is first wanted. first: of steps, or
 * FORWARD. */
static int
find_graph(model *m, int first, int n, cudaGraphExec_t *out, struct fg_err *err)
{
	auto known = m->graph.find({first, n});
	cudaGraph_t graph = NULL;
	int rc;

	if (known != m->graph.end()) {
		*out = known->second;
		return 0;
	}
	if (check(m->device,
		cudaStreamBeginCapture(m->stream, cudaStreamCaptureModeThreadLocal),
		"recording", err) < 0)
		return -1;
	rc = first == FORWARD ? record_forward(m, n, err)
			      : record_step(m, first, n, err);
	if (rc == 0)
		rc = check(m->device, cudaGetLastError(), "recording", err);
	cudaError_t e = cudaStreamEndCapture(m->stream, &graph);
	if (rc == 0)
		rc = check(m->device, e, "recording", err);
	if (rc == 0)
		rc = check(m->device, cudaGraphInstantiate(out, graph, 0), "recording",
		    err);
	if (rc == 0)
		m->graph[{first, n}] = *out;
	if (graph)
		cudaGraphDestroy(graph);
	return rc;
}

static int
launch_graph(model *m, int first, int n, struct fg_err *err)
{
	cudaGraphExec_t graph = NULL;

	if (check(m->device, cudaSetDevice(m->device), "choosing the device", err) <
		0 ||
	    find_graph(m, first, n, &graph, err) < 0)
		return -1;
	return check(m->device, cudaGraphLaunch(graph, m->stream), "launch", err);
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

struct remote {
	struct model *model;
	void *image;
	float *logit;
	int64_t size[3];
	bool wide;
	float mean, stddev;
};

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
	int device = c->model->device;

	if (check(device, cudaSetDevice(device), "choosing the device", err) < 0)
		return -1;
	/* All bits set is a NaN. */
	return check(device,
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

	if (check(device, cudaSetDevice(device), "choosing the device", err) < 0)
		return -1;
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
part_of(const model *m, int from, int n)
{
	return n - from < m->part ? n - from : m->part;
}

/* Put the parts into the stream, as many as go: *in_it steps. */
static int
launch_parts(model *m, int n, int *in_it, struct fg_err *err)
{
	for (*in_it = 0; *in_it < n; *in_it += part_of(m, *in_it, n)) {
		int from = *in_it;

		if (launch_graph(m, from, part_of(m, from, n), err) < 0 ||
		    check(m->device,
			cudaEventRecord(m->event[from / m->part], m->stream), "step",
			err) < 0)
			return -1;
	}
	return 0;
}

static int
step(struct fg_model *base, int n, struct fg_step *const *steps, fg_step_fn *done,
    void *arg, struct fg_err *err)
{
	model *m = (model *)base;
	int in_it, rc;

	for (int i = 0; i < n; i++)
		fill_slot(m, steps[i], &m->host_slot[i]);
	rc = launch_parts(m, n, &in_it, err);
	/* What runs writes to canvases: also when others failed. */
	for (int from = 0, k; from < in_it; from += k) {
		k = part_of(m, from, n);
		if (check(m->device, cudaEventSynchronize(m->event[from / m->part]),
			"step", err) < 0) {
			rc = -1;
			break;
		}
		for (int i = from; i < from + k; i++)
			take_faces(&m->host_face[6 * i], steps[i]);
		done(arg, from, k, m->host_out + (size_t)from * m->voxels);
	}
	/* Of the part that failed some may run still, on memory of this call. */
	if (rc < 0) {
		cudaStreamSynchronize(m->stream);
		cudaGetLastError();
	}
	return rc;
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
