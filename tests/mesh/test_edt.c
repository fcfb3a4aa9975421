/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Distances against the definition: for every voxel, all others are asked. Figures are
 * small but longer than the reach of the search along one axis, so that both ways of
 * doing a column are tried. (test_peers compares with scipy on real labels.)
 */
#include "config.h"

#include "mesh/edt.h"

#include "tests/mesh/geometry.h"

static struct fg_err err = FG_ERR_INIT;
static const double n_nm[3] = {4, 4, 10};

static struct fg_array
distances(const struct fg_array *a, const double nm[3], bool border)
{
	struct fg_array d = blank(FG_F32, a->shape[0], a->shape[1], a->shape[2]);

	if (fg_edt_make(a, nm, border, &d, &err) < 0) {
		tap_ok(false, "distances: %s", err.msg);
		fg_err_clear(&err);
	}
	return d;
}

/* The distance of one voxel by the definition. */
static float
slowly(const struct fg_array *a, const double nm[3], bool border, const int64_t p[3])
{
	uint32_t own = *u32_at(a, p[0], p[1], p[2]);
	double best = INFINITY;

	if (!own)
		return 0;
	for (int64_t z = 0; z < a->shape[2]; z++) {
		for (int64_t y = 0; y < a->shape[1]; y++) {
			for (int64_t x = 0; x < a->shape[0]; x++) {
				double dx = nm[0] * (double)(x - p[0]);
				double dy = nm[1] * (double)(y - p[1]);
				double dz = nm[2] * (double)(z - p[2]);

				if (*u32_at(a, x, y, z) != own)
					best = fmin(best, dx * dx + dy * dy + dz * dz);
			}
		}
	}
	for (int d = 0; d < 3 && border; d++) {
		double out = nm[d] * (double)FG_MIN(p[d] + 1, a->shape[d] - p[d]);

		best = fmin(best, out * out);
	}
	return (float)sqrt(best);
}

static size_t
count_wrong(const struct fg_array *a, const double nm[3], bool border, double within)
{
	struct fg_array d = distances(a, nm, border);
	const float *got = d.data;
	size_t wrong = 0;

	for (int64_t z = 0; z < a->shape[2]; z++) {
		for (int64_t y = 0; y < a->shape[1]; y++) {
			for (int64_t x = 0; x < a->shape[0]; x++, got++) {
				float want =
				    slowly(a, nm, border, (int64_t[]){x, y, z});

				wrong += !(
				    *got == want || fabs((double)*got - (double)want) <=
							within * (double)want);
			}
		}
	}
	fg_array_fini(&d);
	return wrong;
}

/* Runs of labels along a chosen axis, with holes. */
static struct fg_array
runs(const int64_t n[3], int axis, uint64_t length)
{
	struct fg_array a = blank(FG_U32, n[0], n[1], n[2]);

	for (int64_t z = 0; z < n[2]; z++) {
		for (int64_t y = 0; y < n[1]; y++) {
			for (int64_t x = 0; x < n[0]; x++) {
				const int64_t p[3] = {x, y, z};
				int64_t q[3] = {x, y, z};

				q[axis]--;
				*u32_at(&a, x, y, z) =
				    p[axis] > 0 && roll(length)
					? *u32_at(&a, q[0], q[1], q[2])
					: (uint32_t)roll(4);
			}
		}
	}
	return a;
}

static void
test_random(void)
{
	static const double sides[4][3] = {{1, 1, 1}, {8, 8, 40}, {33, 4, 4},
	    {16, 16, 40}};
	static const int64_t shapes[4][3] = {{190, 4, 3}, {5, 180, 3}, {4, 3, 200},
	    {17, 9, 11}};

	for (int i = 0; i < 16; i++) {
		struct fg_array a =
		    runs(shapes[i % 4], i % 4 % 3, i < 8 ? 300 : 4 + roll(20));
		const double *nm = sides[i / 4];

		for (int border = 0; border < 2; border++)
			tap_int(count_wrong(&a, nm, border, 0), 0,
			    "%lld x %lld x %lld voxels of %g x %g x %g nm, %s",
			    (long long)a.shape[0], (long long)a.shape[1],
			    (long long)a.shape[2], nm[0], nm[1], nm[2],
			    border ? "border" : "no border");
		fg_array_fini(&a);
	}
	struct fg_array a = runs(shapes[2], 2, 300);
	tap_int(count_wrong(&a, (double[3]){4.05, 0.3, 29.7}, true, 1e-6), 0,
	    "sides that are no whole numbers");
	tap_int(count_wrong(&a, (double[3]){1e-7, 1e5, 3}, false, 1e-6), 0,
	    "absurd sides");
	fg_array_fini(&a);
}

static void
test_full(void)
{
	static const double nm[3] = {3, 4, 12};
	struct fg_array a = blank(FG_U32, 70, 100, 90), d;
	size_t wrong = 0;

	for (size_t i = 0; i < fg_array_count(&a); i++)
		((uint32_t *)a.data)[i] = 5;
	d = distances(&a, nm, false);
	for (size_t i = 0; i < fg_array_count(&a); i++)
		wrong += !isinf(((float *)d.data)[i]);
	tap_int(wrong, 0, "a full block is infinitely far without a border");
	fg_array_fini(&d);
	d = distances(&a, nm, true);
	wrong = 0;
	for (int64_t z = 0; z < 90; z++) {
		for (int64_t y = 0; y < 100; y++) {
			for (int64_t x = 0; x < 70; x++) {
				int64_t want = FG_MIN(3 * FG_MIN(x + 1, 70 - x),
				    FG_MIN(4 * FG_MIN(y + 1, 100 - y),
					12 * FG_MIN(z + 1, 90 - z)));

				wrong +=
				    ((float *)d.data)[at(&d, x, y, z)] != (float)want;
			}
		}
	}
	tap_int(wrong, 0, "with one: the distance to the nearest face");
	fg_array_fini(&d);
	*u32_at(&a, 10, 20, 30) = 6;
	d = distances(&a, nm, false);
	wrong = 0;
	for (int64_t z = 0; z < 90; z++) {
		for (int64_t y = 0; y < 100; y++) {
			for (int64_t x = 0; x < 70; x++) {
				double want = 9.0 * (double)((x - 10) * (x - 10)) +
					      16.0 * (double)((y - 20) * (y - 20)) +
					      144.0 * (double)((z - 30) * (z - 30));

				wrong += ((float *)d.data)[at(&d, x, y, z)] !=
					     (float)sqrt(want) &&
					 want > 0;
			}
		}
	}
	tap_int(wrong, 0, "a hole of one voxel: the distance to it");
	tap_ok(((float *)d.data)[at(&d, 10, 20, 30)] == 3, "its own distance");
	fg_array_fini(&d);
	fg_array_fini(&a);
}

static void
test_types(void)
{
	const int64_t n[3] = {40, 20, 10};
	struct fg_array a = runs(n, 0, 9), want = distances(&a, n_nm, true);
	static const enum fg_dtype types[] = {FG_U8, FG_U16, FG_U64};

	for (size_t t = 0; t < 3; t++) {
		struct fg_array b = blank(types[t], n[0], n[1], n[2]);

		for (size_t i = 0; i < fg_array_count(&a); i++) {
			uint64_t v = ((uint32_t *)a.data)[i];

			if (types[t] == FG_U8)
				((uint8_t *)b.data)[i] = (uint8_t)v;
			else if (types[t] == FG_U16)
				((uint16_t *)b.data)[i] = (uint16_t)(v << 12);
			else
				((uint64_t *)b.data)[i] = v << 62;
		}
		/* 2^62, 2^63 and both: different, and none of them 0. */
		struct fg_array d = distances(&b, n_nm, true);
		tap_ok(memcmp(d.data, want.data, fg_array_bytes(&d)) == 0,
		    "the same distances for %s", fg_dtype_name(types[t]));
		fg_array_fini(&d);
		fg_array_fini(&b);
	}
	fg_array_fini(&want);
	fg_array_fini(&a);
}

static void
test_refusals(void)
{
	struct fg_array a = blank(FG_U32, 3, 3, 3), f = blank(FG_F32, 3, 3, 3);
	struct fg_array i = blank(FG_I16, 3, 3, 3), small = blank(FG_F32, 3, 3, 2);

	tap_fails(fg_edt_make(&a, (double[3]){1, 1, 1}, true, &a, &err), &err,
	    FG_EINVAL, "uint32", "distances that are no floats");
	tap_fails(fg_edt_make(&a, (double[3]){1, 1, 1}, true, &small, &err), &err,
	    FG_EINVAL, "different shapes", "another shape");
	tap_fails(fg_edt_make(&i, (double[3]){1, 1, 1}, true, &f, &err), &err,
	    FG_EINVAL, "int16", "signed labels");
	tap_fails(fg_edt_make(&a, (double[3]){1, NAN, 1}, true, &f, &err), &err,
	    FG_EINVAL, "nan", "a side that is no number");
	fg_array_fini(&a);
	fg_array_fini(&f);
	fg_array_fini(&i);
	fg_array_fini(&small);
}

int
main(void)
{
	test_random();
	test_full();
	test_types();
	test_refusals();
	return tap_done();
}
