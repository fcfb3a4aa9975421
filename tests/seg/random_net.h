/* SPDX-License-Identifier: Apache-2.0 */
/* Networks with random weights for tests of the loops that run them. */
#ifndef FG_TESTS_SEG_RANDOM_NET_H
#define FG_TESTS_SEG_RANDOM_NET_H

#include <math.h>
#include <stdlib.h>

#include "seg/device.h"

static uint32_t random_state = 3;

/* -1 to 1. */
static inline float
uniform(void)
{
	random_state = random_state * 1664525u + 1013904223u;
	return (float)(random_state >> 8) / (float)(1 << 23) - 1;
}

/* A network of `depth` modules whose activations stay near 1. Freed with net_fini. */
static inline void
random_net(struct fg_net *net, int depth, int features, const int64_t fov[3])
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

		*c = (struct fg_conv){.in = i ? features : 2,
		    .out = last ? 1 : features,
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

static inline void
net_fini(struct fg_net *net)
{
	free(net->conv);
	free(net->weights);
}

/* The root of the mean square of a - b over that of b - from. */
static inline double
relative(const float *a, const float *b, const float *from, size_t n)
{
	double sum = 0, scale = 0;

	for (size_t i = 0; i < n; i++) {
		sum += pow((double)(a[i] - b[i]), 2);
		scale += pow((double)(b[i] - from[i]), 2);
	}
	return sqrt(sum / scale);
}

#endif
