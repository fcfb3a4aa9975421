/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network alone, and a flood around it:
 *
 *   bench/ffn DATA [runs]
 *
 * For f32 and bf16, on one core and on two at once: milliseconds per field of view
 * (the least of `runs`), beside oneDNN's own bare convolutions of the same shapes in
 * the same run, and the share of what the core's registers alone can do (the peak of
 * FMA, or of AMX tiles). Then a flood of a 64^3 box: how much of its time was spent
 * outside the network. Memory: the most this process has held.
 */
#include "config.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "base/clock.h"
#include "base/file.h"
#include "formats/codec.h"
#include "seg/batcher.h"
#include "seg/onednn.h"

#define THREADS_MAX 2
#define BOX 64

FG_NORETURN static void
die(const char *what, const struct fg_err *err)
{
	fprintf(stderr, "%s: %s\n", what, err->msg);
	exit(1);
}

/* --------------------------------------------------------------- peaks */

#if defined(__x86_64__)
/* Ten independent sums of 16 floats, nothing from memory. */
#define FMA(k) s##k = _mm512_fmadd_ps(s##k, a, a)

__attribute__((target("avx512f"))) static double
peak_fma(void)
{
	const int64_t rounds = 500000;
	const __m512 a = _mm512_set1_ps(0.5f);
	/* Each from another number: the compiler makes one of what is equal. */
	__m512 s0 = a, s1 = s0 + a, s2 = s1 + a, s3 = s2 + a, s4 = s3 + a, s5 = s4 + a,
	       s6 = s5 + a, s7 = s6 + a, s8 = s7 + a, s9 = s8 + a;
	int64_t start = fg_clock_ns();

	for (int64_t i = 0; i < rounds; i++) {
		FMA(0);
		FMA(1);
		FMA(2);
		FMA(3);
		FMA(4);
		FMA(5);
		FMA(6);
		FMA(7);
		FMA(8);
		FMA(9);
	}
	double ns = (double)(fg_clock_ns() - start);
	s0 += s1 + s2 + s3 + s4 + s5 + s6 + s7 + s8 + s9;
	/* Used, or there would be nothing to time. */
	return isnan(_mm512_reduce_add_ps(s0)) ? 0 : (double)rounds * 10 * 16 * 2 / ns;
}

/* Palette 1; eight tiles of 16 rows of 64 bytes. Constant in memory: gcc's
 * _tile_loadconfig does not tell that it reads all of it. */
static const struct {
	uint8_t palette, start_row, zero[14];
	uint16_t bytes[16];
	uint8_t rows[16];
} tile_config = {.palette = 1,
    .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
    .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

/* Four tile products of 16 x 32 by 32 x 16, nothing from memory. */
__attribute__((target("amx-tile,amx-bf16"))) static double
peak_amx(void)
{
	const int64_t rounds = 100000;
	/* Linux gives a process the tiles when it asks (ARCH_REQ_XCOMP_PERM, 18). */
	if (syscall(SYS_arch_prctl, 0x1023, 18) != 0)
		return 0;
	_tile_loadconfig(&tile_config);
	int64_t start = fg_clock_ns();
	for (int64_t i = 0; i < rounds; i++) {
		_tile_dpbf16ps(0, 6, 7);
		_tile_dpbf16ps(1, 6, 7);
		_tile_dpbf16ps(2, 6, 7);
		_tile_dpbf16ps(3, 6, 7);
	}
	double gflops =
	    (double)rounds * 4 * 16 * 16 * 32 * 2 / (double)(fg_clock_ns() - start);
	_tile_release();
	return gflops;
}

static double
peak(enum fg_precision prec)
{
	struct fg_device_desc d;
	double best = 0;

	fg_backend_cpu.describe(0, &d);
	if (prec == FG_PREC_BF16 ? !strstr(d.detail, "AMX")
				 : !__builtin_cpu_supports("avx512f"))
		return 0;
	for (int i = 0; i < 20; i++)
		best = fmax(best, prec == FG_PREC_BF16 ? peak_amx() : peak_fma());
	return best;
}
#else
static double
peak(enum fg_precision prec)
{
	(void)prec;
	return 0;
}
#endif

/* ------------------------------------------------------------- the network */

struct worker {
	const struct fg_net *net;
	enum fg_precision prec;
	int core, runs;
	pthread_barrier_t *barrier;
	pthread_t thread;
	double ms, bare_ms, peak; /* least; GFLOP/s */
};

static void
time_forward(struct worker *w, struct fg_model *m)
{
	size_t n = (size_t)(m->fov[0] * m->fov[1] * m->fov[2]);
	float *in = fg_calloc(2 * n, sizeof *in), *out = fg_alloc(n * sizeof *out);
	struct fg_err err = FG_ERR_INIT;

	for (size_t i = 0; i < 2 * n; i++)
		in[i] = (float)(i % 7) / 3 - 1;
	w->ms = INFINITY;
	for (int k = 0; k < w->runs; k++) {
		int64_t start = fg_clock_ns();

		if (m->backend->forward(m, 1, in, out, &err) < 0)
			die("forward", &err);
		w->ms = fmin(w->ms, (double)(fg_clock_ns() - start) / 1e6);
	}
	free(in);
	free(out);
}

static void *
work(void *arg)
{
	struct worker *w = arg;
	struct fg_err err = FG_ERR_INIT;
	struct fg_device *dev;
	struct fg_model *m;

	if (fg_backend_cpu.open(w->core, &dev, &err) < 0 ||
	    fg_device_load(dev, w->net, w->prec, 1, &m, &err) < 0)
		die("device", &err);
	pthread_barrier_wait(w->barrier);
	w->peak = peak(w->prec);
	pthread_barrier_wait(w->barrier);
	time_forward(w, m);
	pthread_barrier_wait(w->barrier);
	if (fg_onednn_time_bare(fg_cpu_onednn(dev), w->net, w->prec, w->runs,
		&w->bare_ms, &err) < 0)
		die("bare convolutions", &err);
	m->backend->unload(m);
	dev->backend->close(dev);
	return NULL;
}

static void
network(const struct fg_net *net, enum fg_precision prec, int threads, int runs)
{
	struct worker w[THREADS_MAX];
	pthread_barrier_t barrier;
	double ms = 0, bare = 0, top = 0;

	pthread_barrier_init(&barrier, NULL, (unsigned)threads);
	for (int i = 0; i < threads; i++) {
		w[i] = (struct worker){.net = net,
		    .prec = prec,
		    .core = i,
		    .runs = runs,
		    .barrier = &barrier};
		if (pthread_create(&w[i].thread, NULL, work, &w[i]) != 0)
			exit(1);
	}
	for (int i = 0; i < threads; i++) {
		pthread_join(w[i].thread, NULL);
		ms += w[i].ms / threads;
		bare += w[i].bare_ms / threads;
		top += w[i].peak / threads;
	}
	pthread_barrier_destroy(&barrier);
	printf("%-5s %d thread%s  %7.2f ms per field of view, oneDNN's bare "
	       "convolutions %7.2f ms: %.2f of their speed",
	    fg_precision_name(prec), threads, threads > 1 ? "s" : " ", ms, bare,
	    bare / ms);
	if (top > 0)
		printf("; %.0f %% of the peak of %.0f GFLOP/s",
		    100 * fg_net_flops(net) / 1e6 / ms / top, top);
	putchar('\n');
}

/* -------------------------------------------------------------- a flood */

/* The real back end with a stopwatch round forward. */
static const struct fg_backend *timed;
static int64_t timed_ns;

static int
timed_forward(struct fg_model *m, int n, const float *in, float *out,
    struct fg_err *err)
{
	int64_t start = fg_clock_ns();
	int rc = timed->forward(m, n, in, out, err);

	timed_ns += fg_clock_ns() - start;
	return rc;
}

struct flood {
	struct fg_batcher *batcher;
	const struct fg_net *net;
	enum fg_precision prec;
};

static void *
serve(void *arg)
{
	struct flood *f = arg;
	struct fg_err err = FG_ERR_INIT;
	struct fg_backend backend;
	struct fg_device *dev;
	struct fg_model *m;

	if (fg_backend_cpu.open(0, &dev, &err) < 0 ||
	    fg_device_load(dev, f->net, f->prec, 1, &m, &err) < 0)
		die("device", &err);
	timed = m->backend;
	backend = *timed;
	backend.forward = timed_forward;
	m->backend = &backend;
	if (fg_batcher_serve_model(f->batcher, m, &err) < 0)
		die("serve", &err);
	timed->unload(m);
	dev->backend->close(dev);
	return NULL;
}

static void
read_box(const char *dir, struct fg_array *out)
{
	const struct fg_box box = {{0, 0, 0}, {BOX, BOX, BOX}};
	const int64_t shape[4] = {BOX, BOX, BOX, 1};
	struct fg_err err = FG_ERR_INIT;

	if (fg_array_init(out, FG_U8, shape, &err) < 0)
		die("image", &err);
	for (int64_t z = 0; z < BOX; z++) {
		char *path = fg_asprintf("%s/training_sample2_grayscale/iso.%lld.png",
		    dir, (long long)(2600 + z));
		struct fg_buf *b = fg_file_read(path, 1 << 20, &err);
		struct fg_array slice = FG_ARRAY_INIT;

		if (!b || fg_png_read(b->data, b->len, 4096, &slice, &err) < 0)
			die(path, &err);
		struct fg_box at = {{0, 0, z}, {slice.shape[0], slice.shape[1], z + 1}};
		fg_array_copy_box(out, &box, &slice, &at);
		fg_array_fini(&slice);
		fg_buf_unref(b);
		free(path);
	}
}

static void
flood(const char *dir, const struct fg_net *net, enum fg_precision prec)
{
	struct fg_err err = FG_ERR_INIT;
	struct flood f = {fg_batcher_new(net, prec, 0, &err), net, prec};
	struct fg_flood_params params;
	struct fg_array image, labels;
	struct fg_seg_stats st;
	_Atomic int cls = FG_BULK;
	pthread_t thread;

	read_box(dir, &image);
	fg_flood_params_default(&params);
	if (!f.batcher || fg_array_init(&labels, FG_U32, image.shape, &err) < 0)
		die("flood", &err);
	if (pthread_create(&thread, NULL, serve, &f) != 0)
		exit(1);
	while (fg_batcher_devices(f.batcher) == 0)
		nanosleep(&(struct timespec){0, FG_NS_PER_MS}, NULL);
	struct fg_block_call call = {.image = &image,
	    .params = &params,
	    .cls = &cls,
	    .floods = 1};
	timed_ns = 0;
	if (fg_segment_block(f.batcher, &call, &labels, NULL, &st, &err) < 0)
		die("flood", &err);
	fg_batcher_stop(f.batcher);
	pthread_join(thread, NULL);
	printf("%-5s flood of %d^3: %llu fields of view, %.2f ms each, %.1f %% of the "
	       "time outside the network\n",
	    fg_precision_name(prec), BOX, (unsigned long long)st.steps,
	    (double)st.flood_ns / 1e6 / (double)st.steps,
	    100 * (1 - (double)timed_ns / (double)st.flood_ns));
	fg_batcher_free(f.batcher);
	fg_seg_stats_fini(&st);
	fg_array_fini(&labels);
	fg_array_fini(&image);
}

int
main(int argc, char **argv)
{
	struct fg_net_shape shape = {{33, 33, 33}, {8, 8, 8}, 128, 33};
	int runs = argc > 2 ? atoi(argv[2]) : 20;
	struct fg_err err = FG_ERR_INIT;
	struct fg_device_desc d;
	struct rusage ru;

	if (argc < 2 || runs < 1) {
		fprintf(stderr, "usage: ffn DATA [runs], see bench/ffn.c\n");
		return 1;
	}
	char *model = fg_asprintf("%s/model.ckpt-27465036", argv[1]);
	struct fg_net *net = fg_net_load(model, &shape, &err);
	if (!net)
		die(model, &err);
	fg_backend_cpu.describe(0, &d);
	printf("%s: %s\n", d.name, d.detail);
	for (int threads = 1; threads <= FG_MIN(THREADS_MAX, fg_backend_cpu.count());
	     threads++) {
		network(net, FG_PREC_F32, threads, FG_MAX(1, runs / 4));
		network(net, FG_PREC_BF16, threads, runs);
	}
	flood(argv[1], net, FG_PREC_BF16);
	getrusage(RUSAGE_SELF, &ru);
	printf("peak memory %.2f GB\n", (double)ru.ru_maxrss / 1e6);
	fg_net_free(net);
	free(model);
	return 0;
}
