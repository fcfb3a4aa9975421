/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "seg/winograd.h"

#include <stdlib.h>

#include "seg/bf16.h"
#include "seg/winograd_priv.h"

#define FEATURES_MAX 32
#define ALIGN 64

/* The filter transform: row p takes the three weights along an axis to the factor of
 * point p (0, 2, -1, 1/2, infinity). */
static const double to_factor[WINOGRAD_IN][3] = {
    {1, 0, 0},
    {1 / 9., 2 / 9., 4 / 9.},
    {-2 / 9., 2 / 9., -2 / 9.},
    {-8 / 9., -4 / 9., -2 / 9.},
    {0, 0, 1},
};

#if defined(__x86_64__)

static bool
processor_has(enum fg_winograd_isa isa)
{
	bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
	bool avx512 = avx2 && __builtin_cpu_supports("avx512f");

	return isa == FG_WINOGRAD_AVX512 ? avx512 : avx2;
}

static void
choose_loops(struct winograd_model *m, enum fg_winograd_isa isa)
{
	bool wide = isa == FG_WINOGRAD_AVX512 ||
		    (isa == FG_WINOGRAD_BEST && processor_has(FG_WINOGRAD_AVX512));

	m->run = wide ? fg_winograd_avx512 : fg_winograd_avx2;
}

#else

static bool
processor_has(enum fg_winograd_isa isa)
{
	(void)isa;
	return false;
}

static void
choose_loops(struct winograd_model *m, enum fg_winograd_isa isa)
{
	(void)isa;
	m->run = NULL;
}

#endif

bool
fg_winograd_can_run(const struct fg_net *net, enum fg_winograd_isa isa)
{
	int features = net->conv[0].out;

	if (features != 16 && features != FEATURES_MAX)
		return false;
	for (int i = 1; i < net->convs; i++) {
		const struct fg_conv *c = &net->conv[i];

		if (c->in != features || (i < net->convs - 1 && c->out != features))
			return false;
	}
	return processor_has(isa);
}

/* ------------------------------------------------------------- loading */

/* One axis of the filter transform: of `count` groups of three successive items of
 * `size` doubles each, five. */
static void
transform_axis(const double *from, double *to, int64_t count, int64_t size)
{
	for (int64_t g = 0; g < count; g++, from += 3 * size, to += 5 * size) {
		for (int p = 0; p < WINOGRAD_IN; p++) {
			for (int64_t i = 0; i < size; i++)
				to[p * size + i] = to_factor[p][0] * from[i] +
						   to_factor[p][1] * from[size + i] +
						   to_factor[p][2] * from[2 * size + i];
		}
	}
}

/* The weights as doubles, rounded to bf16 or not. */
static void
read_weights(const struct fg_conv *c, bool bf16, double *to)
{
	int64_t matrix = (int64_t)c->in * c->out;
	uint16_t rounded[27];

	for (int64_t i = 0; i < 27 * matrix; i++)
		to[i] = (double)c->w[i];
	for (int64_t i = 0; bf16 && i < matrix; i++) {
		fg_bf16_of_taps(c->w + i, (size_t)matrix, rounded);
		for (int64_t t = 0; t < 27; t++)
			to[t * matrix + i] = (double)fg_bf16_to(rounded[t]);
	}
}

/* In double, rounded once: [kz][ky][kx][in][out] to [pz][py][px][in][out]. */
static void
transform_filter(const struct fg_conv *c, bool bf16, double *a, double *b, float *to)
{
	int64_t matrix = (int64_t)c->in * c->out;

	read_weights(c, bf16, a);
	transform_axis(a, b, 9, matrix);
	transform_axis(b, a, 3, 5 * matrix);
	transform_axis(a, b, 1, 25 * matrix);
	for (int64_t i = 0; i < WINOGRAD_POINTS * matrix; i++)
		to[i] = (float)b[i];
}

static int
pack(struct winograd_model *m, const struct fg_net *net)
{
	size_t f = (size_t)m->features, one = WINOGRAD_POINTS * f * f;
	double *a = fg_try_alloc(2 * one, sizeof *a);
	const struct fg_conv *last = &net->conv[net->convs - 1];

	if (!a)
		return -1;
	memcpy(m->first, net->conv[0].w, 27 * 2 * f * sizeof(float));
	for (int c = 0; c < net->convs - 1; c++) {
		memcpy(m->bias + (size_t)c * f, net->conv[c].b, f * sizeof(float));
		if (c > 0)
			transform_filter(&net->conv[c], m->bf16, a, a + one,
			    m->filters + (size_t)(c - 1) * one);
	}
	memcpy(m->last, last->w, f * sizeof(float));
	m->last_bias = last->b[0];
	free(a);
	return 0;
}

static void
measure(struct winograd_model *m)
{
	for (int a = 0; a < 3; a++) {
		m->n[a] = m->base.fov[a];
		m->tiles[a] = fg_div_ceil(m->n[a], WINOGRAD_OUT);
	}
	m->row = WINOGRAD_OUT * m->tiles[0] + 2;
	m->plane = (WINOGRAD_OUT * m->tiles[1] + 2) * m->row;
}

static float *
zeroed(size_t n)
{
	size_t bytes = fg_div_ceil((int64_t)(n * sizeof(float)), ALIGN) * ALIGN;
	void *p = NULL;

	if (n > SIZE_MAX / 2 / sizeof(float) || posix_memalign(&p, ALIGN, bytes) != 0)
		return NULL;
	memset(p, 0, bytes);
	return p;
}

static void
winograd_unload(struct fg_model *base)
{
	struct winograd_model *m = (struct winograd_model *)base;

	if (!m)
		return;
	free(m->first);
	free(m->filters);
	free(m->bias);
	free(m->in);
	free(m->stream);
	free(m->mid);
	free(m->planes);
	free(m->points);
	free(m->sums);
	free(m);
}

static int
winograd_forward(struct fg_model *base, int n, const float *in, float *out,
    struct fg_err *err)
{
	const struct winograd_model *m = (const struct winograd_model *)base;

	(void)err;
	fg_assert(n == 1);
	m->run(m, in, in + m->n[0] * m->n[1] * m->n[2], out);
	return 0;
}

static const struct fg_backend winograd_backend = {
    .abi = FG_BACKEND_ABI,
    .size = sizeof(struct fg_backend),
    .name = "cpu",
    .unload = winograd_unload,
    .forward = winograd_forward,
};

int
fg_winograd_load(const struct fg_net *net, enum fg_precision prec,
    enum fg_winograd_isa isa, struct fg_model **out, struct fg_err *err)
{
	struct winograd_model *m = fg_calloc(1, sizeof *m);
	size_t f = (size_t)net->conv[0].out, convs = (size_t)net->convs - 1, voxels;

	m->base.backend = &winograd_backend;
	m->base.batch_max = 1;
	memcpy(m->base.fov, net->shape.fov, sizeof m->base.fov);
	m->bf16 = prec == FG_PREC_BF16;
	m->depth = net->depth;
	m->features = (int)f;
	measure(m);
	choose_loops(m, isa);
	voxels = (size_t)((WINOGRAD_OUT * m->tiles[2] + 2) * m->plane);
	m->first = zeroed(27 * 2 * f);
	m->filters = zeroed((convs - 1) * WINOGRAD_POINTS * f * f);
	m->bias = zeroed(convs * f);
	m->in = zeroed(2 * (voxels + WINOGRAD_SLACK));
	m->stream = zeroed(voxels * f);
	m->mid = zeroed(voxels * f);
	m->planes = zeroed(25 * (size_t)m->row * f);
	m->points = zeroed(WINOGRAD_IN * (size_t)m->tiles[0] * f);
	m->sums = zeroed(25 * WINOGRAD_OUT * (size_t)m->tiles[0] * f);
	if (!m->first || !m->filters || !m->bias || !m->in || !m->stream || !m->mid ||
	    !m->planes || !m->points || !m->sums || pack(m, net) < 0) {
		winograd_unload(&m->base);
		return fg_fail(err, FG_ENOMEM, "no memory for activations");
	}
	*out = &m->base;
	return 0;
}
