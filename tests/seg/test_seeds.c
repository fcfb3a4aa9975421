/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Seeds: the generator, the distance transform against all pairs, masks and other
 * special boxes, and the published run's list on the FIB-25 sample.
 */
#include "config.h"

#include "seg/seeds.h"

#include <math.h>

#include "tests/seg/sample.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;
static const struct fg_net_shape shape = {{33, 33, 33}, {8, 8, 8}, 128, 33};
static const struct fg_net_shape small = {{5, 5, 5}, {1, 1, 1}, 128, 33};
static const double cube_nm[3] = {10, 10, 10};

static void
generator(void)
{
	struct fg_mt19937 g;

	fg_mt19937_init(&g, 42);
	tap_ok(fg_mt19937_double(&g) == 0.3745401188473625, "first double");
	tap_ok(fg_mt19937_double(&g) == 0.9507143064099162, "second");
	tap_ok(fg_mt19937_double(&g) == 0.7319939418114051, "third");
	/* The C++ standard ([rand.predef]): output 10,000 of seed 5489 is 4123659995.
	 */
	fg_mt19937_init(&g, 5489);
	for (int i = 0; i < 4999; i++)
		fg_mt19937_double(&g);
	double d = fg_mt19937_double(&g) * 9007199254740992.0;
	tap_int((uint64_t)d & 0x3ffffff, 4123659995u >> 6,
	    "output 10,000 of seed 5489");
}

enum { DX = 13, DY = 9, DZ = 7, DN = DX * DY * DZ };

/* Squared distance by trying every edge voxel. */
static double
by_hand(const uint8_t *edge, const double step[3], int at)
{
	double best = INFINITY;

	for (int i = 0; i < DN; i++) {
		double x = (i % DX - at % DX) * step[0];
		double y = (i / DX % DY - at / DX % DY) * step[1];
		double z = (i / (DX * DY) - at / (DX * DY)) * step[2];

		if (edge[i])
			best = fmin(best, x * x + y * y + z * z);
	}
	return best;
}

static void
distances(const double step[3], int one_in, const char *what)
{
	const int64_t size[3] = {DX, DY, DZ};
	uint8_t edge[DN];
	float got[DN];
	uint32_t s = 99;
	int wrong = 0;

	for (int i = 0; i < DN; i++) {
		s = s * 1664525u + 1013904223u;
		edge[i] = one_in && (s >> 8) % (uint32_t)one_in == 0;
	}
	tap_rc(fg_seeds_distance2(edge, size, step, got, &err), &err, what);
	for (int i = 0; i < DN; i++) {
		double want = by_hand(edge, step, i);

		wrong += isinf(want) ? !isinf(got[i])
				     : !(fabs(got[i] - want) <= 1e-6 * want);
	}
	tap_int(wrong, 0, "%s: all distances", what);
}

static struct fg_seeds
seeds_of(const struct fg_array *im, const struct fg_array *mask,
    const struct fg_net_shape *s)
{
	struct fg_seeds out = {.n = 0};

	if (fg_seeds_peaks(im, mask, s, cube_nm, NULL, &out, &err) < 0) {
		tap_ok(false, "seeds: %s", err.msg);
		fg_err_clear(&err);
	}
	return out;
}

/* A box of the image: the same in 16 bits; half masked; all masked; cancelled. */
static void
masks(void)
{
	const struct fg_box box = {{30, 30, 30}, {90, 90, 80}};
	struct fg_array im, wide, mask;
	_Atomic bool cancel = true;
	size_t same = 0, in_mask = 0;

	sample_image(&box, &im);
	if (fg_array_init(&wide, FG_U16, im.shape, &err) < 0 ||
	    fg_array_init_zero(&mask, FG_U8, im.shape, &err) < 0)
		sample_die("arrays", &err);
	for (size_t i = 0; i < fg_array_count(&im); i++)
		((uint16_t *)wide.data)[i] = ((uint8_t *)im.data)[i];
	struct fg_seeds a = seeds_of(&im, NULL, &small);
	struct fg_seeds b = seeds_of(&wide, NULL, &small);
	tap_ok(a.n > 20, "%zu seeds in a box of 60 x 60 x 50", a.n);
	if (tap_int(a.n, b.n, "as many in 16 bits") && a.n)
		same = memcmp(a.at, b.at, a.n * sizeof *a.at) == 0;
	tap_ok(same, "and the same ones");
	fg_seeds_fini(&b);
	memset(mask.data, 1, fg_array_count(&mask) / 2); /* the lower z */
	b = seeds_of(&im, &mask, &small);
	for (size_t i = 0; i < b.n; i++)
		in_mask += b.at[i][2] < 25;
	tap_ok(b.n > 0 && b.n < a.n, "fewer seeds under a mask (%zu)", b.n);
	tap_int(in_mask, 0, "none where there is no data");
	fg_seeds_fini(&b);
	memset(mask.data, 1, fg_array_count(&mask));
	b = seeds_of(&im, &mask, &small);
	tap_int(b.n, 0, "no data at all: no seeds");
	tap_fails(fg_seeds_peaks(&im, NULL, &small, cube_nm, &cancel, &b, &err), &err,
	    FG_ECANCELED, "cancelled", "cancel");
	fg_seeds_fini(&a);
	fg_array_fini(&im);
	fg_array_fini(&wide);
	fg_array_fini(&mask);
}

static void
odd_boxes(void)
{
	static uint8_t grey[40 * 40 * 40];
	struct fg_array im = {.dtype = FG_U8, .shape = {40, 40, 40, 1}, .data = grey};
	struct fg_seeds s;

	memset(grey, 77, sizeof grey);
	s = seeds_of(&im, NULL, &small);
	tap_int(s.n, 0, "an even grey has no edges and no seeds");
	for (int k = 1; k <= 6; k++) {
		int64_t box[4] = {k, 7 - k, 2, 1};

		memcpy(im.shape, box, sizeof box);
		for (int i = 0; i < 12; i++)
			grey[i] = (uint8_t)(i * 53);
		s = seeds_of(&im, NULL, &small);
		if (s.n)
			tap_ok(false, "seeds in a box of %d x %d x 2", k, 7 - k);
		fg_seeds_fini(&s);
	}
	/* A dark ball on a bright ground, with steps of 4 along z: its middle is found.
	 */
	memcpy(im.shape, (int64_t[]){40, 40, 40, 1}, sizeof im.shape);
	for (int i = 0; i < 40 * 40 * 40; i++) {
		int x = i % 40 - 20, y = i / 40 % 40 - 20, z = (i / 1600 - 20) * 4;

		grey[i] = x * x + y * y + z * z < 144 ? 60 : 200;
	}
	if (fg_seeds_peaks(&im, NULL, &small, (double[]){10, 10, 40}, NULL, &s, &err) <
	    0)
		tap_ok(false, "%s", err.msg);
	size_t middle = 0;
	for (size_t i = 0; i < s.n; i++)
		middle += abs(s.at[i][0] - 20) <= 1 && abs(s.at[i][1] - 20) <= 1 &&
			  abs(s.at[i][2] - 20) <= 1;
	tap_int(middle, 1, "the middle of an anisotropic ball is a seed");
	fg_seeds_fini(&s);
}

static void
published(void)
{
	static const int first[10][3] = {{16, 18, 109}, {16, 19, 228}, {16, 22, 140},
	    {16, 24, 204}, {16, 27, 136}, {16, 35, 25}, {16, 40, 124}, {16, 41, 181},
	    {16, 43, 231}, {16, 54, 71}};
	struct fg_array im;
	size_t unsorted = 0;

	sample_whole(&im);
	struct fg_seeds s = seeds_of(&im, NULL, &shape);
	tap_int(s.n, 12464, "seeds of the sample");
	tap_int(s.peaks, 17524, "peaks before the margin");
	tap_ok(fabs(s.edge - 0.4270) < 5e-5, "share of edges 0.4270");
	tap_ok(fabs(s.distance_max - 7.6158) < 5e-5, "largest distance 7.6158");
	for (size_t i = 0; i < 10 && i < s.n; i++)
		tap_ok(s.at[i][2] == first[i][0] && s.at[i][1] == first[i][1] &&
			   s.at[i][0] == first[i][2],
		    "seed %zu is %d, %d, %d", i, s.at[i][2], s.at[i][1], s.at[i][0]);
	for (size_t i = 1; i < s.n; i++) {
		const int32_t *a = s.at[i - 1], *b = s.at[i];

		unsorted += (int64_t)a[2] * 62500 + a[1] * 250 + a[0] >=
			    (int64_t)b[2] * 62500 + b[1] * 250 + b[0];
	}
	tap_int(unsorted, 0, "in order");
	fg_seeds_fini(&s);
	fg_array_fini(&im);
}

int
main(void)
{
	tap_need_data();
	generator();
	distances((double[]){1, 1, 1}, 25, "isotropic");
	distances((double[]){1, 1.5, 4.125}, 40, "anisotropic");
	distances((double[]){1, 1, 1}, 0, "no edges");
	distances((double[]){1, 1, 1}, 1, "only edges");
	masks();
	odd_boxes();
	published();
	return tap_done();
}
