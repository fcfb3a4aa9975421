/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tile loops against plain ones, on random networks of 32 features and fields of
 * view of odd proportions. Skipped on processors without tiles, like tests of a GPU.
 */
#include "config.h"

#include "seg/amx.h"

#include <math.h>

#include "tests/seg/random_net.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

/* Whether the loops can run here. */
static bool
runs(const struct fg_net *net)
{
#if defined(FG_TILES_EMULATED) && defined(__x86_64__)
	return __builtin_cpu_supports("avx512bf16") && has_shape(net);
#else
	return fg_amx_can_run(net);
#endif
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

	random_net(&net, depth, 32, fov);
	for (size_t i = 0; i < 2 * n; i++)
		in[i] = 2 * uniform();
	if (!runs(&net))
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
	random_net(&net, 2, 32, fov[2]);
	net.conv[2].out = 16;
	tap_ok(!runs(&net), "other numbers of features are not for it");
	net_fini(&net);
	return tap_done();
}
