/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How fast the kernels of the plug-in "cuda" are, by the GPU's own clock:
 *
 *   bench/cuda_rate [TFLOPS]
 *
 * TFLOPS: a measured bf16 matrix rate to take shares of (bench/cuda_torch.py prints
 * it). Prints what mma.sync reaches without any memory, which bounds the convolutions;
 * for bf16 and f16 the error against float on the same GPU; patches a second at batch
 * 1, 8 and 64, of the network alone and of whole steps on canvases; and the time of
 * each kernel. All times are medians of runs after warm-up, from events. Contains the
 * plug-in: make bench/cuda_rate (nvcc).
 */
#include "seg/cuda.cu"

#include <math.h>

#include <algorithm>
#include <functional>

#define DEPTH 12
#define FEATURES 32
#define FOV 33
#define RUNS 51
#define MMA_LOOPS 2048
#define MMA_CHAINS 16

static const double tflop =
    2e-12 * FOV * FOV * FOV *
    (23.0 * 27 * FEATURES * FEATURES + 27 * 2 * FEATURES + FEATURES);
static double wanted_rate;

static void
must(cudaError_t e, const char *what)
{
	if (e == cudaSuccess)
		return;
	fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(e));
	exit(1);
}

static void
must_do(int rc, const struct fg_err *err)
{
	if (rc == 0)
		return;
	fprintf(stderr, "%s\n", err->msg);
	exit(1);
}

/* Median milliseconds of what `work` puts into the stream. */
static double
median_ms(cudaStream_t s, const std::function<void()> &work)
{
	std::vector<float> ms(RUNS);
	cudaEvent_t begin, end;

	must(cudaEventCreate(&begin), "event");
	must(cudaEventCreate(&end), "event");
	for (int i = -5; i < RUNS; i++) {
		must(cudaEventRecord(begin, s), "event");
		work();
		must(cudaGetLastError(), "launch");
		must(cudaEventRecord(end, s), "event");
		must(cudaEventSynchronize(end), "run");
		if (i >= 0)
			must(cudaEventElapsedTime(&ms[i], begin, end), "event");
	}
	cudaEventDestroy(begin);
	cudaEventDestroy(end);
	std::sort(ms.begin(), ms.end());
	return ms[RUNS / 2];
}

/* ------------------------------------------------------------- mma.sync alone */

FG_GLOBAL static void
only_mma(float *out, uint32_t seed)
{
	float sum[MMA_CHAINS][4] = {};
	uint32_t a[4], b[2];

	/* Numbers, not zeros: power bounds the clock. */
	for (int i = 0; i < 4; i++)
		a[i] = 0x3f803f80u ^ (FG_THREAD * 2654435761u + i * seed) % 0x00700070u;
	b[0] = a[0] ^ 0x00010001u;
	b[1] = a[1] ^ 0x80008000u;
	for (int k = 0; k < MMA_LOOPS; k++) {
		FG_UNROLL
		for (int i = 0; i < MMA_CHAINS; i++)
			fg_mma_bf16(sum[i], a, b);
	}
	for (int i = 0; i < MMA_CHAINS; i++)
		if (sum[i][0] + sum[i][1] + sum[i][2] + sum[i][3] == 12345)
			out[0] = sum[i][0];
}

static void
measure_mma(void)
{
	cudaDeviceProp p;
	cudaStream_t s;
	float *out;
	int per = 8;

	must(cudaGetDeviceProperties(&p, 0), "device");
	must(cudaStreamCreateWithFlags(&s, cudaStreamNonBlocking), "stream");
	must(cudaMalloc((void **)&out, 4), "memory");
	printf("%s, %d multiprocessors, %d KB of shared memory each\n", p.name,
	    p.multiProcessorCount, (int)(p.sharedMemPerMultiprocessor >> 10));
	double ms = median_ms(s, [&] {
		fg_launch(only_mma, dim3((unsigned)p.multiProcessorCount), 32 * per, 0,
		    s, out, 7u);
	});
	double n = (double)MMA_LOOPS * MMA_CHAINS * per * p.multiProcessorCount;
	printf("mma.sync alone: %.0f TFLOP/s", n * 4096 / ms * 1e-9);
	if (wanted_rate > 0)
		printf(", %.0f %% of %.0f", n * 4096 / ms * 1e-7 / wanted_rate,
		    wanted_rate);
	printf("\n");
	cudaFree(out);
	cudaStreamDestroy(s);
}

/* ------------------------------------------------------------- the network */

static float
noise(uint32_t *s)
{
	*s = *s * 1664525u + 1013904223u;
	return (float)(*s >> 8) / (float)(1 << 23) - 1;
}

/* As fg_probe_net: random weights that keep the size of activations. */
static void
make_net(struct fg_net *net, std::vector<struct fg_conv> *conv, std::vector<float> *w)
{
	uint32_t s = 25;
	size_t at = 0;

	*net = {};
	net->depth = DEPTH;
	net->convs = 2 * DEPTH + 1;
	conv->resize((size_t)net->convs);
	w->resize((size_t)net->convs * (27 * FEATURES + 1) * FEATURES);
	for (int i = 0; i < net->convs; i++) {
		bool last = i == 2 * DEPTH;
		int k = last ? 1 : 3, in = i ? FEATURES : 2, out = last ? 1 : FEATURES;
		float bound = (i % 2 ? 0.5f : 1) * sqrtf(6.0f / (in * k * k * k));
		float *to = w->data() + at;

		for (int n = 0; n < k * k * k * in * out; n++)
			to[n] = bound * noise(&s);
		at += (size_t)(k * k * k * in * out);
		for (int n = 0; n < out; n++)
			w->data()[at + n] = 0.1f * noise(&s);
		(*conv)[i] = {in, out, k, to, w->data() + at};
		at += (size_t)out;
	}
	net->conv = conv->data();
	for (int d = 0; d < 3; d++) {
		net->shape.fov[d] = FOV;
		net->shape.delta[d] = FOV / 4;
	}
	net->shape.mean = 128;
	net->shape.stddev = 33;
}

static model *
load_net(struct fg_device *dev, enum fg_precision prec, int batch)
{
	std::vector<struct fg_conv> conv;
	std::vector<float> w;
	struct fg_model *m;
	struct fg_net net;
	struct fg_err err = {};

	make_net(&net, &conv, &w);
	must_do(load(dev, &net, prec, batch, &m, &err), &err);
	return (model *)m;
}

/* Of the update, on one patch. */
static void
print_error(struct fg_device *dev, enum fg_precision prec)
{
	model *m[2] = {load_net(dev, FG_PREC_F32, 1), load_net(dev, prec, 1)};
	std::vector<float> in(2 * m[0]->voxels), out[2];
	double e2 = 0, u2 = 0, most = 0;
	struct fg_err err = {};
	uint32_t s = 3;

	for (float &v : in)
		v = 2.5f * noise(&s);
	for (int i = 0; i < 2; i++) {
		out[i].resize(m[0]->voxels);
		must_do(forward(&m[i]->base, 1, in.data(), out[i].data(), &err), &err);
	}
	for (size_t i = 0; i < m[0]->voxels; i++) {
		double e = (double)out[1][i] - out[0][i];
		double u = (double)out[0][i] - in[m[0]->voxels + i];

		e2 += e * e;
		u2 += u * u;
		most = std::max(most, fabs(e));
	}
	double size = sqrt(u2 / m[0]->voxels);
	printf("error against f32 on the GPU: rms %.2g, max %.2g of the update\n",
	    sqrt(e2 / m[0]->voxels) / size, most / size);
	unload(&m[0]->base);
	unload(&m[1]->base);
}

static void
print_rate(const char *what, int n, double ms)
{
	double rate = n * tflop / ms * 1e3;

	printf("%-12s batch %2d: %8.1f patches/s, %4.0f TFLOP/s", what, n, n / ms * 1e3,
	    rate);
	if (wanted_rate > 0)
		printf(", %4.1f %% of %.0f", 100 * rate / wanted_rate, wanted_rate);
	printf("\n");
}

/* Graphs as the plug-in launches them; each patch in a canvas of its own. */
static void
measure_steps(model *m, int n)
{
	struct fg_step_params params = {};
	struct fg_array image = {};
	std::vector<uint8_t> voxels(64 * 64 * 64, 120);
	std::vector<struct fg_remote *> canvas((size_t)n);
	struct fg_err err = {};
	int in_it;

	params.move = params.pad = -1;
	params.freeze = -1;
	image.dtype = FG_U8;
	image.data = voxels.data();
	for (int d = 0; d < 3; d++) {
		image.shape[d] = 64;
		params.delta[d] = 8;
	}
	image.shape[3] = 1;
	for (int i = 0; i < n; i++) {
		struct fg_step s = {};

		must_do(canvas_open(&m->base, &image, 128, 33, &canvas[i], &err), &err);
		s.params = &params;
		s.remote = canvas[i];
		s.centre[0] = s.centre[1] = s.centre[2] = 30;
		fill_slot(m, &s, &m->host_slot[i]);
	}
	must_do(launch_parts(m, n, &in_it, &err), &err);
	print_rate("steps", n,
	    median_ms(m->stream, [&] { launch_parts(m, n, &in_it, NULL); }));
	for (struct fg_remote *c : canvas)
		canvas_close(c);
}

/* The network in a graph of its own. */
static double
network_ms(model *m, int n)
{
	cudaGraphExec_t exec;
	cudaGraph_t graph;

	must(cudaStreamBeginCapture(m->stream, cudaStreamCaptureModeThreadLocal),
	    "recording");
	launch_network(m, 0, n);
	must(cudaStreamEndCapture(m->stream, &graph), "recording");
	must(cudaGraphInstantiate(&exec, graph, 0), "recording");
	double ms = median_ms(m->stream, [&] { cudaGraphLaunch(exec, m->stream); });
	cudaGraphExecDestroy(exec);
	cudaGraphDestroy(graph);
	return ms;
}

/* Of 64 patches, in groups: what FG_CUDA_GROUP should be. */
static void
measure_groups(model *m)
{
	static const int sizes[] = {3, 5, 7, 14, 23, 31, 62};
	int usual = m->group;

	for (int g : sizes) {
		char what[24];

		m->group = g;
		snprintf(what, sizeof what, "groups of %d", g);
		print_rate(what, BATCH_MAX, network_ms(m, BATCH_MAX));
	}
	m->group = usual;
}

/* One kernel ten times in a row. */
static void
print_kernel(const model *m, const char *what, int n, const std::function<void()> &one,
    bool conv)
{
	double ms = median_ms(m->stream, [&] {
		for (int i = 0; i < 10; i++)
			one();
	}) / 10;
	double rate = n * (tflop / 23) / ms * 1e3;

	printf("  %-34s %8.1f us at batch %d", what, 1e3 * ms, n);
	if (conv)
		printf(", %4.0f TFLOP/s", rate);
	printf("\n");
}

template <class T>
static void
measure_kernels(const model *m, int n)
{
	int tiles = n * m->shape.tiles, grid = tiles < m->blocks ? tiles : m->blocks;
	const layer &l = m->layers[2], &last = m->layers[m->convs - 1];
	uint16_t *mid = (uint16_t *)m->mid, *raw = (uint16_t *)m->raw,
		 *act = (uint16_t *)m->act;
	fg_cuda_to plain = {}, added = {}, ended = {};
	const struct {
		const char *what;
		const fg_cuda_to &to;
	} kinds[] = {{"conv3 with relu", plain}, {"conv3 with residual", added},
	    {"conv3 with residual and the last", ended}};

	plain.act = mid;
	added.residual = ended.residual = added.raw = raw;
	added.act = mid;
	ended.out = m->out;
	ended.in = m->in;
	ended.w = (const float *)last.w;
	ended.bias = last.bias;
	printf("  %d blocks of %zu bytes of shared memory, %d tiles\n", grid, m->shared,
	    tiles);
	print_kernel(
	    m, "first", n,
	    [&] {
		    fg_launch(fg_cuda_first<T, FEATURES>,
			dim3((unsigned)m->shape.tiles, (unsigned)n), FG_CUDA_THREADS, 0,
			m->stream, m->in, act, (const float4 *)m->layers[0].w,
			m->layers[0].bias, m->shape);
	    },
	    false);
	for (const auto &k : kinds)
		print_kernel(
		    m, k.what, n,
		    [&] {
			    fg_launch(fg_cuda_conv3<T, FEATURES>, dim3((unsigned)grid),
				FG_CUDA_THREADS, m->shared, m->stream, act, k.to,
				(const uint4 *)l.w, l.bias, m->shape, tiles);
		    },
		    true);
}

int
main(int argc, char **argv)
{
	static const int sizes[] = {1, 8, 64};
	struct fg_device *dev = NULL;
	struct fg_err err = {};

	wanted_rate = argc > 1 ? atof(argv[1]) : 0;
	must_do(open_device(0, &dev, &err), &err);
	measure_mma();
	for (enum fg_precision prec : {FG_PREC_BF16, FG_PREC_F16}) {
		printf("\n%s\n", prec == FG_PREC_BF16 ? "bf16" : "f16");
		print_error(dev, prec);
		model *m = load_net(dev, prec, BATCH_MAX);
		printf("memory: %s\n", m->base.plan);
		for (int n : sizes) {
			print_rate("network", n, network_ms(m, n));
			measure_steps(m, n);
		}
		measure_groups(m);
		for (int n : {1, BATCH_MAX}) {
			if (prec == FG_PREC_BF16)
				measure_kernels<fg_bf16>(m, n);
			else
				measure_kernels<fg_f16>(m, n);
		}
		unload(&m->base);
	}
	close_device(dev);
	return 0;
}
