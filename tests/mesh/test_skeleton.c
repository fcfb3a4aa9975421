/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Skeletons of figures whose middle lines are known: a straight tube, a Y, a tube
 * through two blocks; and noise, which must give trees.
 */
#include "config.h"

#include "mesh/skeleton.h"

#include "tests/mesh/geometry.h"

static struct fg_err err = FG_ERR_INIT;

static struct fg_skeletons
make(const struct fg_array *a, const struct fg_skeleton_params *p)
{
	struct fg_skeletons s = {0};

	tap_rc(fg_skeletons_make(a, p, &s, &err), &err, "skeletons");
	return s;
}

static double
cable(const struct fg_skeleton *s)
{
	double sum = 0;

	for (size_t i = 0; i < s->edges; i++) {
		double d2 = 0;

		for (int d = 0; d < 3; d++)
			d2 +=
			    pow((double)s->xyz[3 * (size_t)s->edge[2 * i] + d] -
				    (double)s->xyz[3 * (size_t)s->edge[2 * i + 1] + d],
				2);
		sum += sqrt(d2);
	}
	return sum;
}

/* Number of trees; a loop would make vertices - edges smaller than this. */
static size_t
count_trees(const struct fg_skeleton *s)
{
	uint32_t *up = calloc(s->vertices + 1, sizeof *up);
	size_t n = s->vertices;

	for (uint32_t v = 0; v < s->vertices; v++)
		up[v] = v;
	for (size_t i = 0; i < s->edges; i++) {
		uint32_t a = s->edge[2 * i], b = s->edge[2 * i + 1];

		while (up[a] != a)
			a = up[a];
		while (up[b] != b)
			b = up[b];
		n -= a != b;
		up[a] = b;
	}
	free(up);
	return n;
}

static size_t
count_ends(const struct fg_skeleton *s)
{
	uint32_t *degree = calloc(s->vertices + 1, sizeof *degree);
	size_t n = 0;

	for (size_t i = 0; i < 2 * (size_t)s->edges; i++)
		degree[s->edge[i]]++;
	for (uint32_t v = 0; v < s->vertices; v++)
		n += degree[v] == 1;
	free(degree);
	return n;
}

static bool
in_tube(const double p[3])
{
	double y = p[1] - 15.5, z = p[2] - 15.5;

	return p[0] > 5 && p[0] < 115 && y * y + z * z < 8.2 * 8.2;
}

static bool
in_y(const double p[3])
{
	double x = p[0] - 40, z = p[2] - 15.5;
	double arm = fabs(p[1] - 40 - (x > 0 ? x : 0) * 0.8) * (x > 0 ? 0.78 : 1);
	double other = fabs(p[1] - 40 + (x > 0 ? x : 0) * 0.8) * (x > 0 ? 0.78 : 1);
	double off = fmin(arm, other);

	return p[0] > 4 && p[0] < 76 && off * off + z * z < 5 * 5;
}

static void
test_tube(void)
{
	struct fg_array a = blank(FG_U32, 120, 31, 31);
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	double worst = 0;

	paint(&a, 6, in_tube);
	p.nm[0] = p.nm[1] = p.nm[2] = 10;
	p.const_nm = 100;
	p.origin_vx[0] = 1000;
	struct fg_skeletons s = make(&a, &p);
	if (tap_int(s.count, 1, "a tube has a skeleton")) {
		const struct fg_skeleton *k = &s.skeleton[0];

		tap_int(k->label, 6, "its label");
		tap_int(count_trees(k), 1, "one tree");
		tap_int((long long)k->vertices - (long long)k->edges, 1, "no loops");
		tap_int(count_ends(k), 2, "two ends");
		tap_near(cable(k), 1100, 0.1, "as long as the tube");
		for (uint32_t v = 0; v < k->vertices; v++) {
			const float *q = k->xyz + 3 * (size_t)v;

			/* Not near the ends, where it goes to a rim. */
			if (q[0] > 10200 && q[0] < 11000)
				worst = fmax(worst,
				    hypot((double)q[1] - 155, (double)q[2] - 155));
		}
		tap_ok(worst < 15, "in the middle: at most %.1f nm off", worst);
		tap_near(k->radius[k->vertices / 2], 85, 0.12, "radius");
	}
	fg_skeletons_fini(&s);
	fg_array_fini(&a);
}

static void
test_fork(void)
{
	struct fg_array a = blank(FG_U32, 80, 80, 31);
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;

	paint(&a, 1, in_y);
	p.nm[0] = p.nm[1] = p.nm[2] = 10;
	p.const_nm = 80;
	struct fg_skeletons s = make(&a, &p);
	if (tap_int(s.count, 1, "a Y has a skeleton")) {
		tap_int(count_ends(&s.skeleton[0]), 3, "with three ends");
		tap_int((long long)s.skeleton[0].vertices -
			    (long long)s.skeleton[0].edges,
		    1, "one tree");
	}
	fg_skeletons_fini(&s);
	p.max_paths = 1;
	s = make(&a, &p);
	tap_int(s.count == 1 ? count_ends(&s.skeleton[0]) : 0, 2,
	    "max_paths 1: a line");
	fg_skeletons_fini(&s);
	p.dust_threshold = 1000000;
	s = make(&a, &p);
	tap_int(s.count, 0, "dust has none");
	fg_skeletons_fini(&s);
	fg_array_fini(&a);
}

/* The tube in two blocks with a layer in common: both have a vertex at one place. */
static void
test_borders(void)
{
	struct fg_array a = blank(FG_U32, 120, 31, 31);
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	struct fg_skeletons s[2];
	size_t same = 0;

	paint(&a, 6, in_tube);
	p.nm[0] = p.nm[1] = 10;
	p.nm[2] = 12;
	for (int i = 0; i < 2; i++) {
		struct fg_array b = blank(FG_U32, i ? 61 : 60, 31, 31);
		int64_t lo = i ? 59 : 0;

		p.origin_vx[0] = lo;
		fg_array_copy_box(&b,
		    &(struct fg_box){{lo, 0, 0}, {lo + 60 + i, 31, 31}}, &a,
		    &(struct fg_box){{0}, {120, 31, 31}});
		s[i] = make(&b, &p);
		fg_array_fini(&b);
	}
	if (tap_ok(s[0].count == 1 && s[1].count == 1, "a skeleton in each block")) {
		for (uint32_t v = 0; v < s[0].skeleton->vertices; v++) {
			for (uint32_t u = 0; u < s[1].skeleton->vertices; u++)
				same += memcmp(s[0].skeleton->xyz + 3 * v,
					    s[1].skeleton->xyz + 3 * u, 12) == 0;
		}
		tap_ok(same >= 1, "they meet: %zu vertices in common", same);
	}
	fg_skeletons_fini(&s[0]);
	fg_skeletons_fini(&s[1]);
	fg_array_fini(&a);
}

static void
test_noise(void)
{
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	size_t bad = 0, trees = 0;

	p.dust_threshold = 0;
	for (int i = 0; i < 40; i++) {
		struct fg_array a = blank(FG_U8, 1 + (int64_t)roll(20),
		    1 + (int64_t)roll(20), 1 + (int64_t)roll(9));
		uint64_t kinds = 1 + roll(4);
		struct fg_skeletons s = {0};

		for (size_t k = 0; k < fg_array_count(&a); k++)
			((uint8_t *)a.data)[k] = (uint8_t)(1 + roll(kinds)) % 4;
		p.nm[0] = i % 3 ? 8 : 1e-4;
		p.nm[2] = i % 2 ? 30 : 1e5;
		p.const_nm = i % 4 ? 10 : 0;
		p.scale = i % 5 ? 1.5 : 0;
		p.fix_branching = i % 7;
		p.soma_acceptance_threshold = i % 11 ? 3500 : 9;
		if (fg_skeletons_make(&a, &p, &s, &err) < 0) {
			printf("# %s\n", err.msg);
			bad++;
		}
		for (size_t k = 0; k < s.count; k++) {
			const struct fg_skeleton *t = &s.skeleton[k];

			bad += t->vertices - t->edges != count_trees(t);
			trees += count_trees(t);
		}
		fg_skeletons_fini(&s);
		fg_array_fini(&a);
	}
	tap_int(bad, 0, "noise gives %zu trees without loops", trees);
}

static void
test_refusals(void)
{
	struct fg_array a = blank(FG_F32, 3, 3, 3);
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	struct fg_skeletons s = {0};
	_Atomic bool cancel = true;

	tap_fails(fg_skeletons_make(&a, &p, &s, &err), &err, FG_EINVAL, "float32",
	    "labels that are floats");
	p.scale = -1;
	tap_fails(fg_skeletons_make(&a, &p, &s, &err), &err, FG_EINVAL, "-1",
	    "a negative scale");
	fg_array_fini(&a);
	a = blank(FG_U32, 120, 31, 31);
	paint(&a, 6, in_tube);
	p = FG_SKELETON_PARAMS;
	p.cancel = &cancel;
	tap_fails(fg_skeletons_make(&a, &p, &s, &err), &err, FG_ECANCELED, "cancelled",
	    "cancelled");
	fg_array_fini(&a);
}

int
main(void)
{
	test_tube();
	test_fork();
	test_borders();
	test_noise();
	test_refusals();
	return tap_done();
}
