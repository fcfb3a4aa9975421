/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tile loops against plain ones, on random networks of 32 features and fields of
 * view of odd proportions. Skipped on processors without tiles, like tests of a GPU.
 */
#include "config.h"

#include "seg/amx.h"

#include <math.h>

#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;
static uint32_t state = 3;

static float
uniform(void)
{
	state = state * 1664525u + 1013904223u;
	return (float)(state >> 8) / (float)(1 << 23) - 1;
}

/* A network of `depth` modules whose activations stay near 1. */
static void
random_net(struct fg_net *net, int depth, const int64_t fov[3])
{
	size_t n = 0, used = 0;

	memset(net, 0, sizeof *net);
	memcpy(net->shape.fov, fov, sizeof net->shape.fov);
	net->depth = depth;
	net->convs = 2 * depth + 1;
	net->conv = fg_calloc((size_t)net->convs, sizeof *net->conv);
	for (int i = 0; i < net->convs; i++) {
		bool last = i == net->convs - 1;
		struct fg_conv *c = &net->conv[i];

		*c = (struct fg_conv){.in = i ? 32 : 2,
		    .out = last ? 1 : 32,
		    .k = last ? 1 : 3};
		n += (size_t)c->k * c->k * c->k * c->in * c->out + (size_t)c->out;
	}
	net->weights = fg_calloc(n, sizeof(float));
	for (int i = 0; i < net->convs; i++) {
		struct fg_conv *c = &net->conv[i];
		size_t k = (size_t)c->k * c->k * c->k * c->in * c->out;

		c->w = net->weights + used;
		c->b = c->w + k;
		for (size_t j = 0; j < k; j++)
			net->weights[used++] =
			    uniform() * 2 / sqrtf((float)(c->k * c->k * c->k * c->in));
		for (int j = 0; j < c->out; j++)
			net->weights[used++] = uniform() / 4;
	}
}

static void
net_fini(struct fg_net *net)
{
	free(net->conv);
	free(net->weights);
}

static void
compare(int depth, const int64_t fov[3])
{
	size_t n = (size_t)(fov[0] * fov[1] * fov[2]);
	float *in = fg_alloc(2 * n * sizeof *in), *got = fg_alloc(n * sizeof *got);
	float *want = fg_alloc(n * sizeof *want);
	double sum = 0, scale = 0;
	struct fg_model *m = NULL;
	struct fg_net net;

	random_net(&net, depth, fov);
	for (size_t i = 0; i < 2 * n; i++)
		in[i] = 2 * uniform();
	if (!fg_amx_can_run(&net))
		tap_skip_all("no AMX tiles with bf16 on this processor");
	if (tap_rc(fg_amx_load(&net, &m, &err), &err, "load")) {
		/* Twice: the second time finds what the first one left. */
		for (int k = 0; k < 2; k++)
			tap_rc(m->backend->forward(m, 1, in, got, &err), &err, "run");
		tap_rc(fg_device_reference(&net, in, want, &err), &err, "plain loops");
		m->backend->unload(m);
		for (size_t i = 0; i < n; i++) {
			sum += pow(got[i] - want[i], 2);
			scale += pow(want[i] - in[n + i], 2);
		}
		double rms = sqrt(sum / scale);
		tap_ok(rms < 0.01,
		    "depth %d, %lld x %lld x %lld: rms error %.2g of "
		    "the update",
		    depth, (long long)fov[0], (long long)fov[1], (long long)fov[2],
		    rms);
	}
	net_fini(&net);
	free(in);
	free(got);
	free(want);
}

int
main(void)
{
	static const int64_t fov[][3] = {{1, 1, 1}, {3, 3, 3}, {9, 9, 9}, {33, 5, 7},
	    {5, 33, 3}, {3, 7, 19}, {65, 3, 3}, {15, 1, 9}, {13, 13, 1}, {17, 17, 17}};

	for (size_t i = 0; i < FG_COUNTOF(fov); i++)
		compare(1 + (int)i % 3, fov[i]);
	struct fg_net net;
	random_net(&net, 2, fov[2]);
	net.conv[2].out = 16;
	tap_ok(!fg_amx_can_run(&net), "other numbers of features are not for it");
	net_fini(&net);
	return tap_done();
}
