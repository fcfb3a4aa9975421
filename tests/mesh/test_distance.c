/* SPDX-License-Identifier: Apache-2.0 */
/* The distance of surfaces, against what geometry says, and against a search through
 * all pairs. */
#include "config.h"

#include "mesh/distance.h"

#include "tests/mesh/geometry.h"

static struct fg_err err = FG_ERR_INIT;

static double
measure(const struct fg_mesh *a, const struct fg_mesh *b, double spacing)
{
	double nm = -1;

	tap_rc(fg_distance_measure(a, b, spacing, &nm, &err), &err, "measure");
	return nm;
}

/* A square of side 100 in the plane z, cut into 2 n n triangles. */
static struct fg_mesh
square(uint32_t n, float z, float far)
{
	struct fg_mesh m = {.vertices = (n + 1) * (n + 1), .triangles = 2 * n * n};

	m.xyz = calloc(3 * (size_t)m.vertices, sizeof *m.xyz);
	m.index = calloc(3 * (size_t)m.triangles, sizeof *m.index);
	for (uint32_t v = 0; v < m.vertices; v++) {
		m.xyz[3 * v] = far + 100.0f * (float)(v % (n + 1)) / (float)n;
		m.xyz[3 * v + 1] = 100.0f * (float)(v / (n + 1)) / (float)n;
		m.xyz[3 * v + 2] = z;
	}
	uint32_t *t = m.index;
	for (uint32_t y = 0; y < n; y++) {
		for (uint32_t x = 0; x < n; x++, t += 6) {
			uint32_t v = x + (n + 1) * y;
			uint32_t six[6] = {v, v + 1, v + n + 1, v + 1, v + n + 2,
			    v + n + 1};

			memcpy(t, six, sizeof six);
		}
	}
	return m;
}

static void
test_planes(void)
{
	struct fg_mesh a = square(1, 0, 0), b = square(17, 12, 0);
	struct fg_mesh c = square(17, 12, 3e6f), d = square(1, 0, 3e6f);
	double off = measure(&a, &b, 1);

	tap_ok(off >= 12 && off <= 12.6, "two planes: %.3f of 12", off);
	off = measure(&c, &d, 1);
	tap_ok(off >= 12 && off <= 12.6, "far from the origin: %.3f of 12", off);
	off = measure(&a, &a, 0.2);
	tap_ok(off >= 0 && off < 0.3, "a mesh and itself: %.4f", off);
	/* One vertex pulled out: only one of the two ways sees it all. */
	b.xyz[3 * 150 + 2] += 40;
	off = measure(&b, &a, 1);
	tap_ok(off >= 52 && off <= 52.6, "a spike: %.3f of 52", off);
	tap_near(measure(&a, &b, 1), off, 1e-6, "the same the other way round");
	/* A hole: each point of b is on a, but not the reverse. */
	fg_mesh_fini(&b);
	b = square(10, 0, 0);
	uint32_t kept = 0;
	for (uint32_t t = 0; t < b.triangles; t++) {
		uint32_t x = t / 2 % 10, y = t / 20;

		if (x >= 3 && x < 6 && y >= 3 && y < 6)
			continue;
		memmove(b.index + 3 * (size_t)kept++, b.index + 3 * (size_t)t, 12);
	}
	b.triangles = kept;
	off = measure(&a, &b, 0.5);
	tap_ok(off >= 14.8 && off <= 15.3, "a hole of 30 by 30: %.3f of 15", off);
	fg_mesh_fini(&a);
	fg_mesh_fini(&b);
	fg_mesh_fini(&c);
	fg_mesh_fini(&d);
}

/* Squared distance of p from a triangle by trying its plane, sides and corners, in
 * another way than the code under test: over a fine lattice of the triangle. */
static double
by_lattice(const double p[3], const struct fg_mesh *m, uint32_t t)
{
	double best = INFINITY;

	for (int i = 0; i <= 60; i++) {
		for (int j = 0; i + j <= 60; j++) {
			double sum = 0;

			for (int d = 0; d < 3; d++) {
				double a = m->xyz[3 * m->index[3 * t] + d];
				double b = m->xyz[3 * m->index[3 * t + 1] + d];
				double c = m->xyz[3 * m->index[3 * t + 2] + d];
				double q = a + (b - a) * i / 60 + (c - a) * j / 60;

				sum += (p[d] - q) * (p[d] - q);
			}
			best = fmin(best, sum);
		}
	}
	return best;
}

/* A few random triangles, slivers among them, against one small triangle. */
static void
test_random(void)
{
	size_t wrong = 0;

	for (int round = 0; round < 60; round++) {
		float xyz[30];
		uint32_t index[12] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 4, 8};
		struct fg_mesh m = {.vertices = 10,
		    .triangles = 4,
		    .xyz = xyz,
		    .index = index};
		float dot[9];
		uint32_t one[3] = {0, 1, 2};
		struct fg_mesh p = {.vertices = 3,
		    .triangles = 1,
		    .xyz = dot,
		    .index = one};
		double at[3], there = INFINITY, back = 0, off = -1;

		for (int i = 0; i < 30; i++)
			xyz[i] = (float)roll(1000) / (i % 9 < 3 && round % 3 ? 50 : 10);
		for (int d = 0; d < 3; d++) {
			at[d] = (double)roll(1000) / 10;
			for (int k = 0; k < 3; k++)
				dot[3 * k + d] = (float)at[d];
		}
		for (uint32_t t = 0; t < 4; t++)
			there = fmin(there, by_lattice(at, &m, t));
		/* The farthest point of triangles from one point is a corner. */
		for (int k = 0; k < 9; k++) {
			double sum = 0;

			for (int d = 0; d < 3; d++)
				sum += ((double)xyz[3 * k + d] - at[d]) *
				       ((double)xyz[3 * k + d] - at[d]);
			back = fmax(back, sum);
		}
		if (fg_distance_measure(&p, &m, 0.05, &off, &err) < 0)
			wrong++;
		wrong += fabs(off - sqrt(fmax(there, back))) > 0.3;
	}
	tap_int(wrong, 0, "sixty sets of triangles around a point");
}

static bool
within(const struct fg_mesh *a, const struct fg_mesh *b, double limit)
{
	struct fg_distance *d = fg_distance_new(a, &err);
	bool yes = false;

	if (!d || fg_distance_within(d, b, limit, &yes, &err) < 0)
		tap_ok(false, "within: %s", err.msg);
	fg_distance_free(d);
	return yes;
}

/* A limit is kept or not, whichever of the two is far from the other. */
static void
test_within(void)
{
	struct fg_mesh a = square(1, 0, 0), b = square(17, 12, 0), none = {0};
	size_t early = 0, late = 0;

	tap_ok(!within(&a, &b, 11.99) && !within(&b, &a, 11.99), "two planes: too far");
	tap_ok(within(&a, &b, 16) && within(&b, &a, 16), "near enough");
	tap_ok(within(&a, &a, 0.5), "a mesh and itself");
	b.xyz[3 * 150 + 2] += 40;
	tap_ok(!within(&b, &a, 51.9) && !within(&a, &b, 51.9), "a spike");
	tap_ok(within(&b, &a, 72) && within(&a, &b, 72), "and a limit that has it in");
	tap_ok(within(&none, &none, 1) && !within(&none, &a, 1) &&
		   !within(&a, &none, 1),
	    "nothing and something");
	/* Rough planes: a yes is right, a no is not far off. */
	for (int round = 0; round < 100; round++) {
		struct fg_mesh p = square(9, 0, 0), q = square(5, 2, 0);
		double far;

		for (uint32_t v = 0; v < p.vertices; v++)
			p.xyz[3 * v + 2] += (float)roll(100) / 20;
		for (uint32_t v = 0; v < q.vertices; v++)
			q.xyz[3 * v + 2] += (float)roll(100) / 20;
		far = measure(&p, &q, 0.05);
		for (int k = 50; k < 200; k += 10) {
			double limit = far * k / 100;
			bool yes = within(&p, &q, limit);

			early += yes && limit < far - 0.1;
			late += !yes && limit > 1.5 * far;
		}
		fg_mesh_fini(&p);
		fg_mesh_fini(&q);
	}
	tap_int(early, 0, "a yes is never wrong");
	tap_int(late, 0, "nor a no by much");
	fg_mesh_fini(&a);
	fg_mesh_fini(&b);
}

/* Every second vertex of a rough plane of 8 by 8 cells, the way a surface is
 * simplified: those that stay are where they were, in their order. */
static struct fg_mesh
every_second(const struct fg_mesh *fine)
{
	struct fg_mesh m = square(4, 0, 0);

	for (uint32_t v = 0; v < m.vertices; v++)
		memcpy(m.xyz + 3 * v,
		    fine->xyz + 3 * (size_t)(2 * (v % 5) + 9 * 2 * (v / 5)),
		    3 * sizeof *m.xyz);
	return m;
}

/* A surface beside the one it was made from, which is followed and not searched. */
static void
test_followed(void)
{
	size_t early = 0, late = 0, yeses = 0, noes = 0;

	for (int round = 0; round < 120; round++) {
		struct fg_mesh fine = square(8, 0, 0), coarse;
		double far;

		for (uint32_t v = 0; v < fine.vertices; v++)
			fine.xyz[3 * v + 2] += (float)roll(100) / 10;
		coarse = every_second(&fine);
		if (round % 3 == 1) /* what the coarse one does not have */
			fine.xyz[3 * (1 + 2 * roll(4) + 9 * (1 + 2 * roll(4))) + 2] +=
			    60;
		if (round % 3 == 2) /* what only the coarse one lacks */
			coarse.triangles -= 1 + (uint32_t)roll(3);
		far = measure(&fine, &coarse, 0.05);
		for (int k = 30; k < 240; k += 10) {
			double limit = far * k / 100;
			bool yes = within(&fine, &coarse, limit);

			early += yes && limit < far - 0.1;
			late += !yes && limit > 1.5 * far;
			yeses += yes;
			noes += !yes;
		}
		fg_mesh_fini(&fine);
		fg_mesh_fini(&coarse);
	}
	tap_int(early, 0, "a surface that is followed: a yes is never wrong");
	tap_int(late, 0, "nor a no by much");
	tap_ok(yeses > 500 && noes > 500, "of both there are some: %zu, %zu", yeses,
	    noes);
}

/* A flat sheet without one triangle, whose three corners are all there. The nearest of
 * what is left to its middle is an edge: the radius of the inscribed circle away. */
static void
test_hole(void)
{
	struct fg_mesh fine = square(10, 0, 0), coarse = square(10, 0, 0);
	const double radius = 10 - 5 * 1.4142136;
	const uint32_t hole = 101;

	memmove(coarse.index + 3 * (size_t)hole, coarse.index + 3 * (size_t)(hole + 1),
	    3 * (size_t)(coarse.triangles - hole - 1) * sizeof *coarse.index);
	coarse.triangles--;
	tap_ok(!within(&fine, &coarse, 1), "a triangle is missing: not within 1");
	tap_ok(!within(&fine, &coarse, 0.9 * radius),
	    "nor within nine tenths of what is");
	tap_ok(within(&fine, &coarse, 1.5 * radius),
	    "but within one and a half times it");
	fg_mesh_fini(&fine);
	fg_mesh_fini(&coarse);
}

/* A bound is no less than the distance, and not much more unless it is begun there. */
static void
test_bound(void)
{
	struct fg_mesh none = {0}, one = square(1, 0, 0);
	struct fg_distance *d = fg_distance_new(&none, &err);
	size_t early = 0, late = 0, failed = 0;
	double nm = 0;

	for (int round = 0; round < 60; round++) {
		struct fg_mesh fine = square(8, 0, 0), coarse;
		static const double from[] = {0.01, 1, 8, 1000};
		double far;

		for (uint32_t v = 0; v < fine.vertices; v++)
			fine.xyz[3 * v + 2] += (float)roll(100) / 10;
		coarse = every_second(&fine);
		far = measure(&fine, &coarse, 0.05);
		struct fg_distance *beside = fg_distance_new(&fine, &err);
		failed += !beside || fg_distance_bound(beside, &coarse, from[round % 4],
					 &nm, &err) < 0;
		/* What is measured is up to 0.25 too much here. */
		early += nm < far - 0.25;
		late += nm > FG_MAX(2 * far, 1.001 * from[round % 4]);
		fg_distance_free(beside);
		fg_mesh_fini(&fine);
		fg_mesh_fini(&coarse);
	}
	tap_int(failed, 0, "sixty bounds");
	tap_int(early, 0, "none below the distance");
	tap_int(late, 0, "nor far above");
	if (d && tap_rc(fg_distance_bound(d, &one, 1, &nm, &err), &err, "of nothing"))
		tap_ok(isinf(nm), "there is none");
	fg_distance_free(d);
	fg_mesh_fini(&one);
}

static void
test_edges(void)
{
	struct fg_mesh none = {0}, a = square(1, 0, 0);
	struct fg_distance *d = fg_distance_new(&a, &err);
	bool yes;
	double nm = -1;

	tap_ok(measure(&none, &none, 1) == 0, "nothing and nothing");
	tap_ok(isinf(measure(&none, &a, 1)), "nothing and something");
	tap_fails(fg_distance_measure(&a, &a, 0, &nm, &err), &err, FG_EINVAL,
	    "spacing of 0", "no spacing");
	tap_fails(fg_distance_measure(&a, &a, NAN, &nm, &err), &err, FG_EINVAL,
	    "spacing of", "a spacing that is no number");
	if (d)
		tap_fails(fg_distance_within(d, &a, 0, &yes, &err), &err, FG_EINVAL,
		    "a limit of 0", "no limit");
	if (d)
		tap_fails(fg_distance_within(d, &a, 1e-39, &yes, &err), &err, FG_EINVAL,
		    "a limit of 1e-39", "a limit that floats cannot tell from none");
	if (d && tap_rc(fg_distance_bound(d, &a, 0.1234567890123, &nm, &err), &err,
		     "a bound of the same"))
		tap_ok(nm >= 0.1234567890123, "not below where it begins: %.9g", nm);
	fg_distance_free(d);
	fg_mesh_fini(&a);
}

int
main(void)
{
	test_planes();
	test_random();
	test_within();
	test_followed();
	test_hole();
	test_bound();
	test_edges();
	return tap_done();
}
