/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loops in bf16 against plain ones, on random networks of 32 features and fields of
 * view of odd proportions: by dot products and by tiles, where the processor has them.
 */
#include "config.h"

#include "seg/bf16.h"

#include <math.h>

#include "tests/seg/random_net.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

#ifdef FG_TILES_EMULATED
static const enum fg_bf16_isa tiles_isa = FG_BF16_DOTS; /* what they stand for */
#else
static const enum fg_bf16_isa tiles_isa = FG_BF16_TILES;
#endif

/* The root of the mean square error by one way to multiply, as a share of the update's;
 * negative where the processor has not what it needs. */
static double
error_of(const struct fg_net *net, enum fg_bf16_isa isa, const float *in,
    const float *want, size_t n)
{
	double sum = 0, scale = 0;
	struct fg_model *m = NULL;
	float *got;

	if (!fg_bf16_can_run(net, isa == FG_BF16_TILES ? tiles_isa : isa))
		return -1;
	if (!tap_rc(fg_bf16_load(net, isa, &m, &err), &err, "load"))
		return 1;
	got = fg_alloc(n * sizeof *got);
	/* Twice: the second time finds what the first one left. */
	for (int k = 0; k < 2; k++)
		tap_rc(m->backend->forward(m, 1, in, got, &err), &err, "run");
	m->backend->unload(m);
	for (size_t i = 0; i < n; i++) {
		sum += pow((double)(got[i] - want[i]), 2);
		scale += pow((double)(want[i] - in[n + i]), 2);
	}
	free(got);
	return sqrt(sum / scale);
}

static void
compare(int depth, const int64_t fov[3])
{
	static const char *const way[] = {NULL, "dot products", "tiles"};
	size_t n = (size_t)(fov[0] * fov[1] * fov[2]);
	float *in = fg_alloc(2 * n * sizeof *in), *want = fg_alloc(n * sizeof *want);
	struct fg_net net;

	random_net(&net, depth, 32, fov);
	for (size_t i = 0; i < 2 * n; i++)
		in[i] = 2 * uniform();
	tap_rc(fg_device_reference(&net, in, want, &err), &err, "plain loops");
	for (int isa = FG_BF16_DOTS; isa <= FG_BF16_TILES; isa++) {
		double rms = error_of(&net, (enum fg_bf16_isa)isa, in, want, n);

		if (rms >= 0)
			tap_ok(rms < 0.006,
			    "depth %d, %lld x %lld x %lld, %s: rms error %.2g of the "
			    "update",
			    depth, (long long)fov[0], (long long)fov[1],
			    (long long)fov[2], way[isa], rms);
	}
	net_fini(&net);
	free(in);
	free(want);
}

int
main(void)
{
	static const int64_t fov[][3] = {{1, 1, 1}, {3, 3, 3}, {9, 9, 9}, {33, 5, 7},
	    {5, 33, 3}, {3, 7, 19}, {65, 3, 3}, {15, 1, 9}, {13, 13, 1}, {17, 17, 17}};
	struct fg_net net;

	random_net(&net, 1, 32, fov[0]);
	if (!fg_bf16_can_run(&net, FG_BF16_DOTS))
		tap_skip_all("no products of bf16 on this processor");
	net_fini(&net);
	for (size_t i = 0; i < FG_COUNTOF(fov); i++)
		compare(1 + (int)i % 3, fov[i]);
	random_net(&net, 2, 32, fov[2]);
	net.conv[2].out = 16;
	tap_ok(!fg_bf16_can_run(&net, FG_BF16_BEST),
	    "other numbers of features are not for it");
	net_fini(&net);
	return tap_done();
}
