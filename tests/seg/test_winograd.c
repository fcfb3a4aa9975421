/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loops in f32 and bf16 against plain ones, on random networks and fields of view
 * of odd proportions, and the instruction sets against one another, bit for bit.
 */
#include "config.h"

#include "seg/winograd.h"

#include "tests/seg/random_net.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

/* The new logits by one instruction set; NULL where this processor has it not. */
static float *
run(const struct fg_net *net, enum fg_precision prec, enum fg_winograd_isa isa,
    const float *in, size_t n)
{
	struct fg_model *m = NULL;
	float *out;

	if (!fg_winograd_can_run(net, isa) ||
	    !tap_rc(fg_winograd_load(net, prec, isa, &m, &err), &err, "load"))
		return NULL;
	out = fg_alloc(n * sizeof *out);
	/* Twice: the second time finds what the first one left. */
	for (int k = 0; k < 2; k++)
		tap_rc(m->backend->forward(m, 1, in, out, &err), &err, "run");
	m->backend->unload(m);
	return out;
}

static void
compare(enum fg_precision prec, int depth, int features, const int64_t fov[3])
{
	size_t n = (size_t)(fov[0] * fov[1] * fov[2]);
	float *in = fg_alloc(2 * n * sizeof *in), *want = fg_alloc(n * sizeof *want);
	float *narrow, *wide;
	struct fg_net net;
	double rms;

	random_net(&net, depth, features, fov);
	for (size_t i = 0; i < 2 * n; i++)
		in[i] = 2 * uniform();
	tap_rc(fg_device_reference(&net, in, want, &err), &err, "plain loops");
	narrow = run(&net, prec, FG_WINOGRAD_AVX2, in, n);
	wide = run(&net, prec, FG_WINOGRAD_AVX512, in, n);
	if (narrow) {
		rms = relative(narrow, want, in + n, n);
		tap_ok(prec == FG_PREC_F32 ? rms < 3e-6 : rms > 1e-5 && rms < 0.006,
		    "%s, depth %d, %d features, %lld x %lld x %lld: rms error %.2g of "
		    "the update",
		    fg_precision_name(prec), depth, features, (long long)fov[0],
		    (long long)fov[1], (long long)fov[2], rms);
	}
	if (narrow && wide)
		tap_ok(memcmp(narrow, wide, n * sizeof *narrow) == 0,
		    "vectors of 8 and of 16 give the same bits");
	net_fini(&net);
	free(in);
	free(want);
	free(narrow);
	free(wide);
}

int
main(void)
{
	static const int64_t fov[][3] = {{1, 1, 1}, {3, 3, 3}, {9, 9, 9}, {33, 5, 7},
	    {5, 33, 3}, {3, 7, 19}, {65, 3, 3}, {15, 1, 9}, {13, 13, 1}, {17, 17, 17},
	    {21, 21, 21}, {37, 11, 3}, {39, 3, 5}};
	struct fg_net net;

	random_net(&net, 1, 32, fov[0]);
	if (!fg_winograd_can_run(&net, FG_WINOGRAD_BEST))
		tap_skip_all("no AVX2 with FMA on this processor");
	net_fini(&net);
	for (size_t i = 0; i < FG_COUNTOF(fov); i++) {
		compare(FG_PREC_F32, 1 + (int)i % 3, 32, fov[i]);
		compare(FG_PREC_F32, 1 + (int)(i + 1) % 3, 16, fov[i]);
		compare(FG_PREC_BF16, 1 + (int)i % 3, 32, fov[i]);
		compare(FG_PREC_BF16, 1 + (int)(i + 1) % 3, 16, fov[i]);
	}
	for (int64_t side = 23; side <= 35;
	     side += 2) /* every number of rows at once */
		compare(FG_PREC_F32, 1, 32, (int64_t[]){side, 3, 3});
	random_net(&net, 2, 32, fov[2]);
	net.conv[2].out = 16;
	tap_ok(!fg_winograd_can_run(&net, FG_WINOGRAD_BEST),
	    "features that differ by layer are not for it");
	net_fini(&net);
	random_net(&net, 2, 24, fov[2]);
	tap_ok(!fg_winograd_can_run(&net, FG_WINOGRAD_BEST), "nor are 24 of them");
	net_fini(&net);
	return tap_done();
}
