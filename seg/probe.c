/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One device from open to close. What is right is decided by fg_device_load; here the
 * same patches are run in every place of small and full batches and compared bit by
 * bit, then timed.
 */
#include "config.h"

#include "seg/probe.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "seg/device.h"

#define RUNS_LEAST 3
#define RUNS_MOST 101

static float
random_unit(uint32_t *s)
{
	*s = *s * 1664525u + 1013904223u;
	return (float)(*s >> 8) / (float)(1 << 23) - 1;
}

/* Uniform weights of variance 2 / inputs keep the size of activations; the second
 * convolution of a module is smaller, as its result is added. */
static float *
fill_conv(struct fg_conv *c, int in, int out, int k, float scale, float *w, uint32_t *s)
{
	int taps = k * k * k;
	float bound = scale * sqrtf(6.0f / (float)(in * taps));

	*c = (struct fg_conv){.in = in,
	    .out = out,
	    .k = k,
	    .w = w,
	    .b = w + taps * in * out};
	for (int i = 0; i < taps * in * out; i++)
		*w++ = bound * random_unit(s);
	for (int i = 0; i < out; i++)
		*w++ = 0.1f * random_unit(s);
	return w;
}

struct fg_net *
fg_probe_net(int depth, int features, int64_t fov)
{
	struct fg_net *net = fg_calloc(1, sizeof *net);
	int f = features;
	size_t square = (size_t)(27 * f * f + f), all;
	uint32_t s = 25;
	float *w;

	all = (size_t)(27 * 2 * f + f) + (size_t)(2 * depth - 1) * square +
	      (size_t)(f + 1);
	net->depth = depth;
	net->convs = 2 * depth + 1;
	net->conv = fg_calloc((size_t)net->convs, sizeof *net->conv);
	net->weights = w = fg_alloc(all * sizeof *w);
	net->shape = (struct fg_net_shape){.mean = 128, .stddev = 33};
	for (int d = 0; d < 3; d++) {
		net->shape.fov[d] = fov;
		net->shape.delta[d] = fov / 4;
	}
	for (int i = 0; i < 2 * depth; i++)
		w = fill_conv(&net->conv[i], i ? f : 2, f, 3, i % 2 ? 0.5f : 1, w, &s);
	w = fill_conv(&net->conv[2 * depth], f, 1, 1, 1, w, &s);
	fg_assert((size_t)(w - net->weights) == all);
	net->path = fg_strdup("random weights");
	return net;
}

static void
fill_patches(float *in, size_t floats)
{
	uint32_t s = 3;

	for (size_t i = 0; i < floats; i++)
		in[i] = 2.5f * random_unit(&s);
}

/* Run n patches of which number k is `in`'s first, and compare that with want. */
static int
in_place(struct fg_model *m, int n, int k, float *in, float *out, const float *want,
    struct fg_probe *p, struct fg_err *err)
{
	size_t v = (size_t)(m->fov[0] * m->fov[1] * m->fov[2]);
	float *at = in + 2 * v * (size_t)k;

	/* Swap: what stood there takes the first place. */
	for (size_t i = 0; i < 2 * v; i++) {
		float t = at[i];
		at[i] = in[i];
		in[i] = t;
	}
	int rc = m->backend->forward(m, n, in, out, err);
	for (size_t i = 0; i < 2 * v; i++) {
		float t = at[i];
		at[i] = in[i];
		in[i] = t;
	}
	if (rc == 0 && memcmp(out + v * (size_t)k, want, v * sizeof *want) != 0)
		p->same = false;
	return rc;
}

static int
check_places(struct fg_model *m, float *in, float *out, struct fg_probe *p,
    struct fg_err *err)
{
	size_t v = (size_t)(m->fov[0] * m->fov[1] * m->fov[2]);
	float *want = fg_alloc(v * sizeof *want);
	int rc = m->backend->forward(m, 1, in, want, err);

	p->same = true;
	for (int s = 0; s < p->sizes && rc == 0; s++) {
		int n = p->batch[s];

		/* Every place of the full batch, the ends of the others. */
		for (int k = 0; k < n && rc == 0; k++) {
			if (s + 1 == p->sizes || k == 0 || k + 1 == n)
				rc = in_place(m, n, k, in, out, want, p, err);
		}
	}
	free(want);
	return rc;
}

static int
compare_doubles(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int
measure(struct fg_model *m, float *in, float *out, double seconds, struct fg_probe *p,
    struct fg_err *err)
{
	double took[RUNS_MOST];

	for (int s = 0; s < p->sizes; s++) {
		int64_t end = fg_clock_ns() + (int64_t)(seconds * 1e9 / p->sizes);
		int runs = 0;

		while (runs < RUNS_LEAST || (runs < RUNS_MOST && fg_clock_ns() < end)) {
			int64_t start = fg_clock_ns();

			if (m->backend->forward(m, p->batch[s], in, out, err) < 0)
				return -1;
			took[runs++] = (double)(fg_clock_ns() - start) / 1e9;
		}
		qsort(took, (size_t)runs, sizeof *took, compare_doubles);
		p->patches_s[s] = p->batch[s] / took[runs / 2];
	}
	return 0;
}

static int
probe_model(struct fg_model *m, double seconds, struct fg_probe *p, struct fg_err *err)
{
	size_t v = (size_t)(m->fov[0] * m->fov[1] * m->fov[2]);
	size_t n = (size_t)m->batch_max;
	float *in = fg_try_alloc(2 * v * n, sizeof *in);
	float *out = fg_try_alloc(v * n, sizeof *out);
	int rc = -1;

	p->batch_max = m->batch_max;
	memcpy(p->plan, m->plan, sizeof p->plan);
	p->batch[p->sizes++] = 1;
	if (m->batch_max > 8)
		p->batch[p->sizes++] = 8;
	if (m->batch_max > 1)
		p->batch[p->sizes++] = m->batch_max;
	if (!in || !out) {
		fg_fail(err, FG_ENOMEM, "no memory for %zu patches", n);
	} else {
		fill_patches(in, 2 * v * n);
		rc = check_places(m, in, out, p, err);
		if (rc == 0 && seconds > 0)
			rc = measure(m, in, out, seconds, p, err);
	}
	free(in);
	free(out);
	return rc;
}

int
fg_probe_device(const char *name, const struct fg_net *net, enum fg_precision prec,
    int batch_max, double seconds, struct fg_probe *out, struct fg_err *err)
{
	const struct fg_backend *b;
	struct fg_device *dev = NULL;
	struct fg_model *m = NULL;
	int i;

	if (fg_device_find(name, &b, &i, err) < 0)
		return -1;
	*out = (struct fg_probe){.checked = false};
	if (b->open(i, &dev, &out->err) == 0 &&
	    fg_device_load(dev, net, prec, batch_max, &m, &out->err) == 0)
		out->checked = probe_model(m, seconds, out, &out->err) == 0;
	if (m)
		m->backend->unload(m);
	if (dev)
		b->close(dev);
	return 0;
}
