/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network in bf16 by tiles against plain loops and against the loops in float that
 * round to bf16, on random networks of 32 features and fields of view of odd
 * proportions.
 */
#include "config.h"

#include "seg/bf16.h"

#include <math.h>

#include "seg/winograd.h"
#include "tests/seg/random_net.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

/* Whether tiles, or what stands for them, can run the net. */
static bool
can_run(const struct fg_net *net)
{
#ifdef FG_TILES_EMULATED
	return has_shape(net) && __builtin_cpu_supports("avx512bf16");
#else
	return fg_bf16_can_run(net);
#endif
}

/* The new logits by a model, which is released. */
static float *
run(struct fg_model *m, const float *in, size_t n)
{
	float *out = fg_alloc(n * sizeof *out);

	/* Twice: the second time finds what the first one left. */
	for (int k = 0; k < 2; k++)
		tap_rc(m->backend->forward(m, 1, in, out, &err), &err, "run");
	m->backend->unload(m);
	return out;
}

static void
compare(int depth, const int64_t fov[3])
{
	size_t n = (size_t)(fov[0] * fov[1] * fov[2]);
	float *in = fg_alloc(2 * n * sizeof *in), *want = fg_alloc(n * sizeof *want);
	struct fg_model *tiles = NULL, *rounded = NULL;
	float *got = NULL, *same = NULL;
	struct fg_net net;
	char what[64];

	snprintf(what, sizeof what, "depth %d, %lld x %lld x %lld", depth,
	    (long long)fov[0], (long long)fov[1], (long long)fov[2]);
	random_net(&net, depth, 32, fov);
	for (size_t i = 0; i < 2 * n; i++)
		in[i] = 2 * uniform();
	tap_rc(fg_device_reference(&net, in, want, &err), &err, "plain loops");
	if (tap_rc(fg_bf16_load(&net, &tiles, &err), &err, "load"))
		got = run(tiles, in, n);
	if (tap_rc(fg_winograd_load(&net, FG_PREC_BF16, FG_WINOGRAD_BEST, &rounded,
		       &err),
		&err, "load the loops in float"))
		same = run(rounded, in, n);
	if (got && same) {
		double rms = relative(got, want, in + n, n);

		tap_ok(rms < 0.006, "%s: rms error %.2g of the update", what, rms);
		rms = relative(got, same, in + n, n);
		tap_ok(rms < 0.001, "%s: %.2g from the loops in float", what, rms);
	}
	free(got);
	free(same);
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
	if (!can_run(&net))
		tap_skip_all("no tiles of bf16 on this processor");
	net_fini(&net);
	for (size_t i = 0; i < FG_COUNTOF(fov); i++)
		compare(1 + (int)i % 3, fov[i]);
	random_net(&net, 2, 32, fov[2]);
	net.conv[2].out = 16;
	tap_ok(!can_run(&net), "other numbers of features are not for it");
	net_fini(&net);
	return tap_done();
}
