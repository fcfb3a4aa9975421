/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Skeletons of figures whose middle lines are known: a straight tube, a Y, a tube
 * through two blocks; and noise, which must give trees.
 */
#include "config.h"

#include "mesh/skeleton.h"

#include "mesh/border.h"
#include "mesh/tree_heap.h"
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

/* A long thin tube across a block, in another label: its box is so large that its map
 * is in the field of distances, where the other label's distances are as well. */
static bool
in_diagonal(const double p[3])
{
	static const double way[3] = {0.72, 0.5568, 0.4147};
	double t = 0, off = 0;

	for (int d = 0; d < 3; d++)
		t += (p[d] - 6) * way[d];
	for (int d = 0; d < 3; d++)
		off += pow(p[d] - 6 - t * way[d], 2);
	return t > 0 && t < 225 && off < 5 * 5;
}

static void
test_large_box(void)
{
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	struct fg_array a = blank(FG_U32, 176, 138, 106);
	size_t outside = 0;

	for (size_t i = 0; i < fg_array_count(&a); i++)
		((uint32_t *)a.data)[i] = 9;
	paint(&a, 4, in_diagonal);
	p.const_nm = 30;
	p.soma_detection_threshold = 1e9;
	p.max_paths = 3;
	p.fix_borders = false;
	struct fg_skeletons s = make(&a, &p);
	const struct fg_skeleton *k = fg_skeletons_find(&s, 4);
	if (tap_ok(s.count == 2 && k, "a thin tube across a full block")) {
		for (uint32_t v = 0; v < k->vertices; v++) {
			const float *q = k->xyz + 3 * (size_t)v;

			outside += *u32_at(&a, (int64_t)q[0], (int64_t)q[1],
				       (int64_t)q[2]) != 4 ||
				   !(k->radius[v] >= 1 && k->radius[v] < 6.5F);
		}
		tap_int(outside, 0, "lies in it, and its radii are the tube's");
		tap_int(count_trees(k), 1, "one tree");
		tap_near(cable(k), 225, 0.12, "as long as the tube");
	}
	k = fg_skeletons_find(&s, 9);
	outside = 0;
	for (uint32_t v = 0; k && v < k->vertices; v++) {
		const float *q = k->xyz + 3 * (size_t)v;

		outside +=
		    *u32_at(&a, (int64_t)q[0], (int64_t)q[1], (int64_t)q[2]) != 9;
	}
	tap_ok(k && k->vertices > 0 && outside == 0,
	    "what is around it keeps out of it");
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

/* A soma of radius 40 with a nucleus of another label, and a neurite from it. */
static bool
in_soma(const double p[3])
{
	double y = p[1] - 45, z = p[2] - 45;
	double r2 = (p[0] - 45) * (p[0] - 45) + y * y + z * z;

	return r2 < 1600 || (p[0] > 45 && p[0] < 190 && y * y + z * z < 36);
}

static bool
in_nucleus(const double p[3])
{
	double r2 = 0;

	for (int d = 0; d < 3; d++)
		r2 += (p[d] - 45) * (p[d] - 45);
	return r2 < 28 * 28;
}

/* Which of equal ones: nearest to the centre of mass, that is to its voxel, rounded
 * towards the middle of the face. */
static void
test_border_ties(void)
{
	static const struct {
		int64_t lo, hi, want;
	} row[] = {{2, 4, 4}, {2, 5, 4}, {16, 18, 17}, {15, 18, 16}};
	const int64_t n[3] = {21, 21, 2};

	for (size_t i = 0; i < FG_COUNTOF(row); i++) {
		uint32_t component[21 * 21 * 2] = {0};
		struct fg_target *target = NULL;
		size_t count = 0;

		for (int64_t x = row[i].lo; x <= row[i].hi; x++)
			component[x + n[0] * 10] = 1;
		if (fg_border_find(component, n, (double[3]){10, 10, 10}, 1u << 4,
			&target, &count, &err) < 0)
			printf("# %s\n", err.msg);
		tap_int(count, 1, "a row of %d voxels: a target",
		    (int)(row[i].hi - row[i].lo + 1));
		tap_int(count ? (int64_t)target->voxel - n[0] * 10 : -1, row[i].want,
		    "the one towards the middle");
		free(target);
	}
}

/* Columns whose centre is a voxel's: a sum of rounded quotients is a little less than
 * that for some of them. */
static void
test_border_centres(void)
{
	const int64_t n[3] = {41, 41, 2};
	int off = 0, columns = 0;

	for (int64_t lo = 0; lo < n[1]; lo++) {
		for (int64_t hi = lo + 2; hi < n[1]; hi += 2) {
			uint32_t component[41 * 41 * 2] = {0};
			struct fg_target *target = NULL;
			size_t count = 0;
			int64_t want = (lo + hi) / 2;

			/* In the lower half one more, see fg_border_find. */
			want += 2 * want < n[1];
			for (int64_t y = lo; y <= hi; y++)
				component[7 + n[0] * y] = 1;
			if (fg_border_find(component, n, (double[3]){10, 10, 10},
				1u << 4, &target, &count, &err) < 0)
				printf("# %s\n", err.msg);
			columns++;
			off += count != 1 || (int64_t)target->voxel != 7 + n[0] * want;
			free(target);
		}
	}
	tap_int(off, 0, "of %d columns, targets not where their centre is", columns);
}

/* The order among equal keys is what decides between ways that cost the same. */
static void
test_queue(void)
{
	static const uint32_t want[] = {3, 0, 1, 2};
	struct fg_tree_heap h = {0};
	int bad = 0, unsorted = 0;
	uint32_t seed = 1;
	float last = 0;

	for (uint32_t v = 0; v < FG_COUNTOF(want); v++)
		bad += fg_tree_push(&h, 7, v, &err) < 0;
	for (size_t i = 0; i < FG_COUNTOF(want); i++)
		bad += fg_tree_pop(&h).v != want[i];
	tap_int(bad, 0, "what is put in rises past equal ones, then the left one");
	for (uint32_t v = 0; v < 3000; v++) {
		seed = seed * 1664525 + 1013904223;
		bad += fg_tree_push(&h, (float)(seed >> 24), v, &err) < 0;
	}
	for (int i = 0; i < 3000; i++) {
		float key = fg_tree_pop(&h).key;

		unsorted += key < last;
		last = key;
	}
	tap_int(bad + unsorted, 0, "3,000 keys come out in order");
	tap_int(h.count, 0, "and no more");
	free(h.item);
}

static void
test_soma(void)
{
	struct fg_array a = blank(FG_U32, 200, 90, 90);
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	static const uint64_t cell = 5;

	paint(&a, 5, in_soma);
	paint(&a, 8, in_nucleus);
	p.nm[0] = p.nm[1] = p.nm[2] = 10;
	p.const_nm = 50;
	p.soma_detection_threshold = 55;
	p.soma_acceptance_threshold = 350;
	p.soma_invalidation_scale = 1;
	p.soma_invalidation_const = 100;
	p.only = &cell;
	p.only_count = 1;
	struct fg_skeletons s = make(&a, &p);
	if (tap_int(s.count, 1, "a soma with a nucleus")) {
		const struct fg_skeleton *k = s.skeleton;
		float thickest = 0;
		size_t inside = 0;

		for (uint32_t v = 0; v < k->vertices; v++) {
			const float *q = k->xyz + 3 * (size_t)v;
			double r = hypot(hypot((double)q[0] - 450, (double)q[1] - 450),
			    (double)q[2] - 450);

			thickest = fmaxf(thickest, k->radius[v]);
			inside += r < 380;
		}
		tap_near((double)thickest, 400, 0.03, "is as thick as with it");
		tap_int(inside, 1, "one vertex inside the soma, its root");
		tap_ok(count_ends(k) == 2 && count_trees(k) == 1, "and the neurite");
	}
	fg_skeletons_fini(&s);
	p.soma_detection_threshold = 1e9;
	s = make(&a, &p);
	if (tap_int(s.count, 1, "the same, not filled")) {
		float thickest = 0;

		for (uint32_t v = 0; v < s.skeleton->vertices; v++)
			thickest = fmaxf(thickest, s.skeleton->radius[v]);
		tap_ok(thickest < 90 && count_ends(s.skeleton) > 4,
		    "is a shell: %.0f nm, %zu ends", (double)thickest,
		    count_ends(s.skeleton));
	}
	fg_skeletons_fini(&s);
	fg_array_fini(&a);
}

static bool
in_slanted(const double p[3])
{
	const double way[3] = {0.8, 0.48, 0.36};
	double q[3] = {p[0] - 5, p[1] - 20, p[2] - 20}, t = 0, off = 0;

	for (int d = 0; d < 3; d++)
		t += q[d] * way[d];
	for (int d = 0; d < 3; d++)
		off += pow(q[d] - t * way[d], 2);
	return off < 9 * 9;
}

/* Areas of a straight and a slanted tube, the latter also in flat voxels. */
static void
test_areas(void)
{
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	struct fg_array a = blank(FG_U32, 120, 31, 31);
	size_t contacts = 0, n = 0;
	double sum = 0;

	paint(&a, 6, in_tube);
	p.nm[0] = p.nm[1] = p.nm[2] = 10;
	p.const_nm = 100;
	p.origin_vx[1] = -300;
	p.cross_sectional_area = true;
	struct fg_skeletons s = make(&a, &p);
	const struct fg_skeleton *k = s.skeleton;
	if (tap_ok(s.count == 1 && k->area && k->contacts, "areas of a tube")) {
		for (uint32_t v = 0; v < k->vertices; v++) {
			contacts += k->contacts[v] != 0;
			if (k->xyz[3 * v] < 250 || k->xyz[3 * v] > 950)
				continue;
			sum += (double)k->area[v];
			n++;
		}
		tap_near(sum / (double)n, M_PI * 82 * 82, 0.03, "pi r^2");
		tap_int(contacts, 0, "none touches a face");
	}
	fg_skeletons_fini(&s);
	fg_array_fini(&a);
	a = blank(FG_U32, 120, 90, 70);
	paint(&a, 6, in_slanted);
	memset(p.origin_vx, 0, sizeof p.origin_vx);
	s = make(&a, &p);
	k = s.skeleton;
	sum = 0;
	n = 0;
	for (uint32_t v = 0; s.count == 1 && v < k->vertices; v++) {
		contacts += k->contacts[v] != 0;
		if (k->contacts[v] || k->xyz[3 * v] < 300 || k->xyz[3 * v] > 900)
			continue;
		sum += (double)k->area[v];
		n++;
	}
	tap_ok(n > 30, "%zu vertices in the middle of a slanted tube", n);
	tap_near(sum / (double)n, M_PI * 90 * 90, 0.05, "pi r^2 as well");
	tap_ok(contacts > 0 && contacts < k->vertices / 2,
	    "at its ends, %zu sections touch a face", contacts);
	fg_skeletons_fini(&s);
	p.cross_sectional_area_smoothing_window = 0;
	tap_fails(fg_skeletons_make(&a, &p, &s, &err), &err, FG_EINVAL, "no steps",
	    "a direction over no steps");
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
		p.soma_detection_threshold = i % 2 ? 750 : 5;
		p.cross_sectional_area = i % 3 == 0;
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
	test_large_box();
	test_borders();
	test_border_ties();
	test_border_centres();
	test_queue();
	test_soma();
	test_areas();
	test_noise();
	test_refusals();
	return tap_done();
}
