/* SPDX-License-Identifier: Apache-2.0 */
/* Downsampling: cases small enough for paper, then all dtypes, factors and odd sizes
 * against the definitions written out voxel by voxel. */
#include "config.h"

#include "seg/downsample.h"

#include <math.h>

#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

/* ------------------------------------------------------------- by hand */

static void
one_mean(enum fg_dtype t, const void *v, int64_t n, enum fg_rounding r, void *out)
{
	struct fg_array src = {.dtype = t, .shape = {n, 1, 1, 1}, .data = (void *)v};
	struct fg_array dst = {.dtype = t, .shape = {1, 1, 1, 1}, .data = out};

	if (fg_downsample_mean(&src, (int64_t[3]){n, 1, 1}, r, &dst, &err) < 0)
		tap_ok(false, "%s", err.msg);
}

static void
test_rounding(void)
{
	const uint8_t half[] = {1, 2}, even_half[] = {2, 3}, thirds[] = {1, 1, 3};
	const int8_t negative[] = {-1, -2}, negative_third[] = {-1, -1, 0};
	const uint64_t huge[] = {UINT64_MAX, UINT64_MAX, UINT64_MAX - 3};
	const float real[] = {1, 2.5f};
	uint8_t u = 0;
	int8_t i = 0;
	uint64_t w = 0;
	float f = 0;

	one_mean(FG_U8, half, 2, FG_ROUND_FLOOR, &u);
	tap_int(u, 1, "1.5 down");
	one_mean(FG_U8, half, 2, FG_ROUND_NEAREST_EVEN, &u);
	tap_int(u, 2, "1.5 to the even 2");
	one_mean(FG_U8, even_half, 2, FG_ROUND_NEAREST_EVEN, &u);
	tap_int(u, 2, "2.5 to the even 2");
	one_mean(FG_U8, thirds, 3, FG_ROUND_NEAREST_EVEN, &u);
	tap_int(u, 2, "5/3 to the nearest");
	one_mean(FG_U8, thirds, 3, FG_ROUND_FLOOR, &u);
	tap_int(u, 1, "5/3 down");
	one_mean(FG_I8, negative, 2, FG_ROUND_FLOOR, &i);
	tap_int(i, -2, "-1.5 down is -2");
	one_mean(FG_I8, negative, 2, FG_ROUND_NEAREST_EVEN, &i);
	tap_int(i, -2, "-1.5 to the even -2");
	one_mean(FG_I8, negative_third, 3, FG_ROUND_NEAREST_EVEN, &i);
	tap_int(i, -1, "-2/3 to the nearest");
	one_mean(FG_U64, huge, 3, FG_ROUND_FLOOR, &w);
	tap_ok(w == UINT64_MAX - 1, "uint64 sums do not overflow");
	one_mean(FG_F32, real, 2, FG_ROUND_FLOOR, &f);
	tap_ok(f == 1.75f, "real numbers are not rounded");
}

/* A 2x2x1 window "a b / c d". */
static uint64_t
plane(uint64_t a, uint64_t b, uint64_t c, uint64_t d)
{
	uint64_t v[4] = {a, b, c, d}, out = 99;
	struct fg_array src = {.dtype = FG_U64, .shape = {2, 2, 1, 1}, .data = v};
	struct fg_array dst = {.dtype = FG_U64, .shape = {1, 1, 1, 1}, .data = &out};

	if (fg_downsample_mode(&src, (int64_t[3]){2, 2, 1}, &dst, &err) < 0)
		tap_ok(false, "%s", err.msg);
	return out;
}

static void
test_plane_rule(void)
{
	tap_int(plane(7, 7, 7, 7), 7, "2x2x1: all equal");
	tap_int(plane(1, 1, 2, 2), 1, "a = b wins a tie");
	tap_int(plane(1, 2, 1, 2), 1, "a = c wins a tie");
	tap_int(plane(1, 2, 2, 1), 2, "b = c wins over a = d");
	tap_int(plane(1, 2, 3, 2), 2, "b = d");
	tap_int(plane(1, 2, 3, 3), 3, "c = d");
	tap_int(plane(1, 2, 3, 1), 1, "a = d");
	tap_int(plane(1, 2, 3, 4), 4, "all different: d");
	tap_int(plane(0, 0, 5, 6), 0, "background votes");
	tap_ok(plane(5, (uint64_t)1 << 40, (uint64_t)1 << 40, 6) == (uint64_t)1 << 40,
	    "labels beyond 32 bits");
}

static void
test_cube_rule(void)
{
	uint32_t tie[8] = {3, 9, 9, 3, 4, 5, 6, 7}, most[8] = {1, 2, 3, 4, 5, 6, 6, 8};
	uint32_t out = 0;
	struct fg_array src = {.dtype = FG_U32, .shape = {2, 2, 2, 1}, .data = tie};
	struct fg_array dst = {.dtype = FG_U32, .shape = {1, 1, 1, 1}, .data = &out};
	const int64_t two[3] = {2, 2, 2};

	tap_rc(fg_downsample_mode(&src, two, &dst, &err), &err, "2x2x2");
	tap_int(out, 3, "of two labels with two voxels, the one met first");
	src.data = most;
	tap_rc(fg_downsample_mode(&src, two, &dst, &err), &err, "2x2x2");
	tap_int(out, 6, "two of eight are a majority");
}

/* ------------------------------------------------------------- by definition */

static uint64_t random_state = 7;

static uint64_t
next_random(void)
{
	random_state = random_state * 6364136223846793005u + 1442695040888963407u;
	return random_state >> 31 ^ random_state << 20;
}

/* Few labels with a common one for the votes; all bits for the means. */
static void
fill(struct fg_array *a, bool labels)
{
	for (size_t i = 0; i < fg_array_count(a); i++) {
		uint64_t r = next_random();
		uint64_t v = labels ? (r & 3 ? r >> 8 & 1 : r >> 8 & 7) : r;

		if (a->dtype == FG_F32)
			((float *)a->data)[i] = (float)(r & 0xffff) / 16 - 1000;
		else
			memcpy((uint8_t *)a->data + i * fg_dtype_size(a->dtype), &v,
			    fg_dtype_size(a->dtype));
	}
}

static long double
value_at(const struct fg_array *a, int64_t x, int64_t y, int64_t z, int64_t c)
{
	size_t i =
	    (size_t)(((c * a->shape[2] + z) * a->shape[1] + y) * a->shape[0] + x);

	switch (a->dtype) {
	case FG_U8:
		return ((uint8_t *)a->data)[i];
	case FG_I8:
		return ((int8_t *)a->data)[i];
	case FG_U16:
		return ((uint16_t *)a->data)[i];
	case FG_I16:
		return ((int16_t *)a->data)[i];
	case FG_U32:
		return ((uint32_t *)a->data)[i];
	case FG_I32:
		return ((int32_t *)a->data)[i];
	case FG_U64:
		return ((uint64_t *)a->data)[i];
	default:
		return ((float *)a->data)[i];
	}
}

static __int128
round_exactly(__int128 sum, int64_t n, enum fg_rounding rounding)
{
	__int128 floor = (sum - (sum % n + n) % n) / n, rest2 = 2 * (sum - floor * n);

	if (rounding == FG_ROUND_FLOOR || rest2 < n)
		return floor;
	return rest2 > n || floor % 2 != 0 ? floor + 1 : floor;
}

static bool
mean_is_right(const struct fg_array *src, const struct fg_array *dst,
    const int64_t f[3], const int64_t p[4], enum fg_rounding rounding)
{
	long double got = value_at(dst, p[0], p[1], p[2], p[3]);
	__int128 sum = 0;
	double real = 0;
	int64_t n = 0;

	for (int64_t z = p[2] * f[2]; z < FG_MIN((p[2] + 1) * f[2], src->shape[2]); z++)
		for (int64_t y = p[1] * f[1];
		     y < FG_MIN((p[1] + 1) * f[1], src->shape[1]); y++)
			for (int64_t x = p[0] * f[0];
			     x < FG_MIN((p[0] + 1) * f[0], src->shape[0]); x++, n++) {
				long double v = value_at(src, x, y, z, p[3]);

				sum += (__int128)v;
				real += (double)v;
			}
	if (src->dtype == FG_F32)
		return (float)got == (float)(real / (double)n);
	return (__int128)got == round_exactly(sum, n, rounding);
}

/* The vote, counted for each voxel of the window anew. */
static bool
mode_is_right(const struct fg_array *src, const struct fg_array *dst,
    const int64_t f[3], const int64_t p[4])
{
	long double v[512], best = -1;
	int n = 0, most = 0;

	for (int64_t z = p[2] * f[2]; z < FG_MIN((p[2] + 1) * f[2], src->shape[2]); z++)
		for (int64_t y = p[1] * f[1];
		     y < FG_MIN((p[1] + 1) * f[1], src->shape[1]); y++)
			for (int64_t x = p[0] * f[0];
			     x < FG_MIN((p[0] + 1) * f[0], src->shape[0]); x++)
				v[n++] = value_at(src, x, y, z, p[3]);
	for (int i = 0; i < n; i++) {
		int votes = 0;

		for (int k = 0; k < n; k++)
			votes += v[k] == v[i];
		if (votes > most) {
			most = votes;
			best = v[i];
		}
	}
	if (n == 4 && f[0] > 1 && f[1] > 1 && src->shape[0] - p[0] * f[0] > 1 &&
	    src->shape[1] - p[1] * f[1] > 1 &&
	    (f[2] == 1 || src->shape[2] - p[2] * f[2] == 1))
		best = v[0] == v[1] || v[0] == v[2] ? v[0] : v[1] == v[2] ? v[1] : v[3];
	return value_at(dst, p[0], p[1], p[2], p[3]) == best;
}

/* One array, all of its output checked; rounding < 0: the vote. */
static int
count_wrong(enum fg_dtype t, const int64_t shape[4], const int64_t f[3], int rounding)
{
	struct fg_array src, dst;
	int64_t m[4], p[4];
	int wrong = 0, rc;

	fg_downsample_shape(shape, f, m);
	if (fg_array_init(&src, t, shape, &err) < 0 ||
	    fg_array_init_zero(&dst, t, m, &err) < 0)
		return -1;
	fill(&src, rounding < 0);
	rc = rounding < 0
		 ? fg_downsample_mode(&src, f, &dst, &err)
		 : fg_downsample_mean(&src, f, (enum fg_rounding)rounding, &dst, &err);
	for (p[3] = 0; p[3] < m[3]; p[3]++)
		for (p[2] = 0; p[2] < m[2]; p[2]++)
			for (p[1] = 0; p[1] < m[1]; p[1]++)
				for (p[0] = 0; p[0] < m[0]; p[0]++)
					wrong += rounding < 0
						     ? !mode_is_right(&src, &dst, f, p)
						     : !mean_is_right(&src, &dst, f, p,
							   (enum fg_rounding)rounding);
	fg_array_fini(&src);
	fg_array_fini(&dst);
	return rc < 0 ? -1 : wrong;
}

static const int64_t shapes[][4] = {{8, 6, 4, 1}, {7, 5, 3, 2}, {1, 1, 1, 3},
    {523, 3, 3, 1}, {0, 4, 4, 1}};
static const int64_t factors[][3] = {{2, 2, 1}, {2, 2, 2}, {1, 1, 1}, {1, 1, 2},
    {3, 2, 1}, {2, 1, 2}, {8, 8, 8}, {4, 4, 1}};

static void
test_means(void)
{
	for (int t = 0; t < FG_DTYPES; t++) {
		for (int r = FG_ROUND_FLOOR; r <= FG_ROUND_NEAREST_EVEN; r++) {
			int wrong = 0;

			for (size_t s = 0; s < FG_COUNTOF(shapes); s++)
				for (size_t f = 0; f < FG_COUNTOF(factors); f++)
					wrong += count_wrong((enum fg_dtype)t,
						     shapes[s], factors[f], r) != 0;
			tap_int(wrong, 0, "means of %s, rounding %d",
			    fg_dtype_name((enum fg_dtype)t), r);
		}
	}
}

static void
test_modes(void)
{
	const enum fg_dtype types[] = {FG_U8, FG_U16, FG_U32, FG_U64};

	for (size_t t = 0; t < FG_COUNTOF(types); t++) {
		int wrong = 0;

		for (size_t s = 0; s < FG_COUNTOF(shapes); s++)
			for (size_t f = 0; f < FG_COUNTOF(factors); f++)
				wrong += count_wrong(types[t], shapes[s], factors[f],
					     -1) != 0;
		tap_int(wrong, 0, "votes of %s", fg_dtype_name(types[t]));
	}
}

static void
test_bad_input(void)
{
	uint8_t v[64] = {0}, w[64];
	struct fg_array a = {.dtype = FG_U8, .shape = {4, 4, 1, 1}, .data = v};
	struct fg_array b = {.dtype = FG_U8, .shape = {2, 2, 1, 1}, .data = w};
	const int64_t two[3] = {2, 2, 1};

	tap_fails(fg_downsample_mode(&a, (int64_t[3]){2, 9, 1}, &b, &err), &err,
	    FG_EINVAL, "factor 9 on axis y, wanted 1 to 8", "factor too large");
	tap_fails(fg_downsample_mean(&a, (int64_t[3]){0, 1, 1}, 0, &b, &err), &err,
	    FG_EINVAL, "factor 0 on axis x", "factor 0");
	b.shape[1] = 3;
	tap_fails(fg_downsample_mode(&a, two, &b, &err), &err, FG_EINVAL,
	    "has 3 on axis 1, wanted 2", "wrong shape");
	b.shape[1] = 2;
	b.dtype = FG_I8;
	tap_fails(fg_downsample_mean(&a, two, 0, &b, &err), &err, FG_EINVAL,
	    "uint8 to int8", "dtypes differ");
	a.dtype = b.dtype = FG_F32;
	tap_fails(fg_downsample_mode(&a, two, &b, &err), &err, FG_EINVAL,
	    "found float32", "a vote of real numbers");
}

int
main(void)
{
	test_rounding();
	test_plane_rule();
	test_cube_rule();
	test_means();
	test_modes();
	test_bad_input();
	return tap_done();
}
