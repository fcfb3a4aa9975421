/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Skeletons joined from pieces. Each repair on a figure small enough to say what must
 * be left; then a tube and a ring that were traced in blocks.
 */
#include "config.h"

#include "mesh/join.h"

#include "mesh/skeleton.h"
#include "tests/mesh/geometry.h"

static struct fg_err err = FG_ERR_INIT;

/* Only what a test turns on. */
static const struct fg_join_params nothing = {0};

#define LEN 64
struct figure {
	struct fg_skeleton s;
	float xyz[3 * LEN], radius[LEN];
	uint32_t edge[2 * LEN];
};

/* A vertex; returns its number. */
static uint32_t
dot(struct figure *f, double x, double y, double z, double radius)
{
	uint32_t v = f->s.vertices++;

	f->s.xyz = f->xyz;
	f->s.radius = f->radius;
	f->s.edge = f->edge;
	f->xyz[3 * v] = (float)x;
	f->xyz[3 * v + 1] = (float)y;
	f->xyz[3 * v + 2] = (float)z;
	f->radius[v] = (float)radius;
	return v;
}

static void
line(struct figure *f, uint32_t a, uint32_t b)
{
	f->edge[2 * f->s.edges] = a;
	f->edge[2 * f->s.edges++ + 1] = b;
}

/* n steps of (x, y, z) from vertex a; returns the last vertex. */
static uint32_t
steps(struct figure *f, uint32_t a, int n, double x, double y, double z)
{
	for (int i = 0; i < n; i++) {
		const float *p = f->xyz + 3 * (size_t)a;
		uint32_t b = dot(f, (double)p[0] + x, (double)p[1] + y,
		    (double)p[2] + z, (double)f->radius[a]);

		line(f, a, b);
		a = b;
	}
	return a;
}

struct shape {
	size_t vertices, edges, trees, ends;
	double cable;
};

static struct shape
shape_of(const struct fg_skeleton *s)
{
	struct shape r = {s->vertices, s->edges, s->vertices, 0, 0};
	uint32_t *up = calloc(s->vertices + 1, sizeof *up);
	uint32_t *degree = calloc(s->vertices + 1, sizeof *degree);

	for (uint32_t v = 0; v < s->vertices; v++)
		up[v] = v;
	for (size_t i = 0; i < s->edges; i++) {
		uint32_t a = s->edge[2 * i], b = s->edge[2 * i + 1];
		double d2 = 0;

		degree[a]++;
		degree[b]++;
		for (int d = 0; d < 3; d++)
			d2 += pow((double)s->xyz[3 * a + d] - (double)s->xyz[3 * b + d],
			    2);
		r.cable += sqrt(d2);
		while (up[a] != a)
			a = up[a];
		while (up[b] != b)
			b = up[b];
		r.trees -= a != b;
		up[a] = b;
	}
	for (uint32_t v = 0; v < s->vertices; v++)
		r.ends += degree[v] == 1;
	free(up);
	free(degree);
	return r;
}

static struct shape
join(const struct fg_skeleton *const *piece, size_t n, const struct fg_join_params *p,
    const char *what)
{
	struct fg_skeleton out = FG_SKELETON_INIT;
	struct shape r = {0};

	if (tap_rc(fg_skeleton_join(piece, n, p, &out, &err), &err, what))
		r = shape_of(&out);
	fg_skeleton_fini(&out);
	return r;
}

static struct shape
join_one(const struct figure *f, const struct fg_join_params *p, const char *what)
{
	const struct fg_skeleton *s = &f->s;

	return join(&s, 1, p, what);
}

static void
test_same_place(void)
{
	struct figure a = {0}, b = {0};
	const struct fg_skeleton *both[] = {&a.s, &b.s};
	struct fg_skeleton out = FG_SKELETON_INIT;
	float area[2][LEN] = {{5, 5, 5, 50}, {40, 5, 5}};
	uint8_t contacts[2][LEN] = {{0, 0, 0, 3}, {2, 0, 0}};

	steps(&a, dot(&a, 0, 0, 0, 9), 3, 10, 0, 0);
	steps(&b, dot(&b, 30, -0.0, 0, 4), 2, 10, 0, 0);
	line(&b, 0, 1); /* twice */
	a.s.label = 77;
	a.s.area = area[0];
	b.s.area = area[1];
	a.s.contacts = contacts[0];
	b.s.contacts = contacts[1];
	tap_rc(fg_skeleton_join(both, 2, &nothing, &out, &err), &err,
	    "two lines that meet");
	struct shape r = shape_of(&out);
	tap_ok(out.label == 77 && r.vertices == 6 && r.edges == 5 && r.trees == 1 &&
		   r.ends == 2 && r.cable == 50,
	    "are one line");
	if (tap_ok(out.vertices == 6 && out.area && out.contacts, "with areas")) {
		for (uint32_t v = 0; v < 6; v++) {
			if (out.xyz[3 * v] == 30)
				tap_ok(out.radius[v] == 4 && out.area[v] == 40 &&
					   out.contacts[v] == 2,
				    "the smaller radius, the section with fewer "
				    "contacts");
		}
	}
	fg_skeleton_fini(&out);
	b.s.contacts = NULL;
	tap_rc(fg_skeleton_join(both, 2, &nothing, &out, &err), &err, "one without");
	tap_ok(!out.area && !out.contacts, "no areas then");
	fg_skeleton_fini(&out);
}

static void
test_dust(void)
{
	struct fg_join_params p = nothing;
	struct figure f = {0};

	steps(&f, dot(&f, 0, 0, 0, 1), 5, 10, 0, 0);
	steps(&f, dot(&f, 0, 500, 0, 1), 3, 10, 0, 0);
	dot(&f, 0, 900, 0, 1);
	p.dust_threshold = 30;
	struct shape r = join_one(&f, &p, "a line of 50, one of 30, and a dot");
	tap_ok(r.trees == 1 && r.cable == 50 && r.vertices == 6, "30 and less is dust");
	p.dust_threshold = 50;
	r = join_one(&f, &p, "all dust");
	tap_ok(r.vertices == 0 && r.edges == 0, "nothing is left");
}

/* A ring of 12 around (x, 0, 0); returns its first vertex, at x + 60. */
static uint32_t
ring(struct figure *f, double x)
{
	uint32_t first = f->s.vertices;

	for (int i = 0; i < 12; i++) {
		dot(f, x + round(6e4 * cos(i * M_PI / 6)) / 1e3,
		    round(6e4 * sin(i * M_PI / 6)) / 1e3, 0, 5);
		if (i)
			line(f, first + (uint32_t)i - 1, first + (uint32_t)i);
	}
	line(f, first + 11, first);
	return first;
}

static void
test_loops(void)
{
	struct fg_join_params p = {.remove_loops = true};
	const double side = 2 * 60 * sin(M_PI / 12);
	struct figure f = {0};

	ring(&f, 0);
	struct shape r = join_one(&f, &nothing, "a ring");
	tap_ok(r.edges == 12 && r.vertices == 12, "stays one if told so");
	r = join_one(&f, &p, "a ring alone");
	tap_ok(r.edges == 11 && r.vertices == 12 && r.ends == 2, "is cut once");

	f = (struct figure){0};
	steps(&f, ring(&f, 0), 4, 10, 0, 0);
	r = join_one(&f, &p, "a ring on a stalk");
	tap_ok(r.trees == 1 && r.ends == 2 && r.edges == r.vertices - 1,
	    "becomes a line");
	tap_near(r.cable, 40 + 6 * side, 1e-5, "round half the ring");

	f = (struct figure){0};
	uint32_t first = ring(&f, 0);
	steps(&f, first, 4, 10, 0, 0);
	steps(&f, first + 4, 4, 0, 10, 0);
	r = join_one(&f, &p, "a ring between two lines");
	tap_ok(r.trees == 1 && r.ends == 2 && r.edges == r.vertices - 1,
	    "becomes a line");
	tap_near(r.cable, 80 + 8 * side, 1e-5, "the longer way");

	f = (struct figure){0};
	first = ring(&f, 0);
	for (uint32_t i = 0; i < 3; i++)
		steps(&f, first + 4 * i, 3, 0, 0, 10);
	r = join_one(&f, &p, "a ring with three lines");
	tap_ok(r.trees == 1 && r.ends == 3 && r.edges == r.vertices - 1, "a tree");
	tap_near(r.cable, 90 + 8 * side, 1e-5, "one way is dropped");
	for (uint32_t i = 0; i < 12; i++)
		f.radius[first + i] = 150;
	r = join_one(&f, &p, "the same inside something thick");
	tap_ok(r.trees == 1 && r.ends >= 2 && r.edges == r.vertices - 1,
	    "a star: %zu edges", r.edges);
	tap_ok(r.edges < 9 + 8, "without the ring");

	f = (struct figure){0};
	first = ring(&f, 0);
	line(&f, first, first + 6);
	line(&f, first + 3, first + 9);
	steps(&f, ring(&f, 120), 2, 10, 0, 0);
	r = join_one(&f, &p, "a wheel, and a ring that shares a vertex");
	tap_ok(r.edges == r.vertices - r.trees && r.trees == 1, "no loop is left");
}

static void
test_gaps(void)
{
	struct fg_join_params p = {.radius = INFINITY, .restrict_by_radius = true};
	struct figure f = {0};

	steps(&f, dot(&f, 0, 0, 0, 8), 4, 10, 0, 0);
	steps(&f, dot(&f, 55, 0, 0, 8), 4, 10, 0, 0);
	steps(&f, dot(&f, 112, 0, 0, 8), 4, 10, 0, 0);
	steps(&f, dot(&f, 40, 300, 0, 2), 4, 10, 0, 0);
	struct shape r = join_one(&f, &p, "gaps of 15, 17 and 300");
	tap_ok(r.trees == 3 && r.ends == 6, "closer than the radii: joined");
	tap_near(r.cable, 175, 1e-6, "over the gap");
	p.radius = 14;
	r = join_one(&f, &p, "no more than 14");
	tap_int(r.trees, 4, "none");
	p.restrict_by_radius = false;
	p.radius = 17;
	r = join_one(&f, &p, "up to 17, whatever the radii");
	tap_ok(r.trees == 2 && r.ends == 4, "both gaps");
	p.radius = INFINITY;
	r = join_one(&f, &p, "over any distance");
	tap_ok(r.trees == 1 && r.edges == r.vertices - 1, "all");
	p.radius = 0;
	tap_int(join_one(&f, &p, "over none").trees, 4, "none");
}

static void
test_ticks(void)
{
	struct fg_join_params p = {.tick_threshold = 45};
	struct figure f = {0};

	uint32_t a = steps(&f, dot(&f, 0, 0, 0, 1), 10, 10, 0, 0);
	steps(&f, a, 3, 0, 10, 0); /* a tick */
	a = steps(&f, a, 10, 10, 0, 0);
	steps(&f, a, 6, 0, 10, 0); /* a branch */
	steps(&f, a, 10, 10, 0, 0);
	struct shape r = join_one(&f, &p, "a line with a tick and a branch");
	tap_ok(r.ends == 3 && r.cable == 360, "the tick is dropped");

	/* Two twigs at the end of a branch: when one is gone, the other is long. */
	f = (struct figure){0};
	a = steps(&f, dot(&f, 0, 0, 0, 1), 10, 10, 0, 0);
	steps(&f, a, 10, 10, 0, 0);
	a = steps(&f, a, 5, 0, 10, 0);
	steps(&f, a, 2, 10, 10, 0);
	steps(&f, a, 3, -10, 10, 0);
	r = join_one(&f, &p, "a branch with two twigs");
	tap_ok(r.ends == 3, "keeps one of them");
	tap_near(r.cable, 250 + 3 * sqrt(200), 1e-5, "the longer");

	f = (struct figure){0};
	a = dot(&f, 0, 0, 0, 1);
	steps(&f, a, 1, 10, 0, 0);
	steps(&f, a, 2, 0, 10, 0);
	steps(&f, a, 3, 0, 0, 10);
	r = join_one(&f, &p, "a tree of ticks only");
	tap_ok(r.ends == 2 && r.cable == 50, "keeps its longest way");
}

/* --- traced in blocks */

static bool
in_tube(const double p[3])
{
	double y = p[1] - 15.5, z = p[2] - 15.5;

	return p[0] > 5 && p[0] < 115 && y * y + z * z < 6.2 * 6.2;
}

static bool
in_torus(const double p[3])
{
	double r = hypot(p[0] - 45.5, p[1] - 45.5) - 32, z = p[2] - 15.5;

	return r * r + z * z < 7.2 * 7.2;
}

/* The skeletons of all blocks of `side` voxels with a layer in common, joined. */
static struct shape
by_blocks(const struct fg_array *a, int64_t side, const struct fg_join_params *p,
    const char *what)
{
	struct fg_skeletons all[64] = {{0}};
	const struct fg_skeleton *piece[64] = {NULL};
	struct fg_skeleton_params kp = FG_SKELETON_PARAMS;
	struct fg_box whole = {.hi = {a->shape[0], a->shape[1], a->shape[2]}};
	size_t blocks = 0, n = 0;

	kp.nm[0] = kp.nm[1] = kp.nm[2] = 10;
	kp.const_nm = 100;
	kp.dust_threshold = 50;
	for (int64_t y = 0; y + 1 < a->shape[1]; y += side) {
		for (int64_t x = 0; x + 1 < a->shape[0]; x += side, blocks++) {
			struct fg_box box = {{x, y, 0},
			    {FG_MIN(x + side + 1, a->shape[0]),
				FG_MIN(y + side + 1, a->shape[1]), a->shape[2]}};
			struct fg_array b =
			    blank(FG_U32, box.hi[0] - x, box.hi[1] - y, a->shape[2]);

			fg_array_copy_box(&b, &box, a, &whole);
			memcpy(kp.origin_vx, box.lo, sizeof kp.origin_vx);
			if (fg_skeletons_make(&b, &kp, &all[blocks], &err) < 0)
				printf("# %s\n", err.msg);
			if (all[blocks].count)
				piece[n++] = all[blocks].skeleton;
			fg_array_fini(&b);
		}
	}
	printf("# %zu pieces\n", n);
	struct shape r = join(piece, n, p, what);
	for (size_t i = 0; i < blocks; i++)
		fg_skeletons_fini(&all[i]);
	return r;
}

static void
test_blocks(void)
{
	struct fg_array a = blank(FG_U32, 120, 31, 31);
	struct fg_join_params p = FG_JOIN_PARAMS;

	p.dust_threshold = 100;
	p.tick_threshold = 150;
	paint(&a, 6, in_tube);
	struct shape r = by_blocks(&a, 40, &p, "a tube in blocks");
	tap_ok(r.trees == 1 && r.ends == 2 && r.edges == r.vertices - 1, "is one line");
	tap_near(r.cable, 1100, 0.08, "as long as the tube");
	fg_array_fini(&a);
	a = blank(FG_U32, 91, 91, 31);
	paint(&a, 6, in_torus);
	r = by_blocks(&a, 30, &nothing, "a ring in blocks");
	tap_ok(r.trees == 1 && r.edges >= r.vertices, "closes again");
	r = by_blocks(&a, 30, &p, "a ring in blocks, loops removed");
	tap_ok(r.trees == 1 && r.ends == 2 && r.edges == r.vertices - 1,
	    "is cut once: %zu ends", r.ends);
	tap_near(r.cable, 2 * M_PI * 320, 0.1, "as long as the ring");
	fg_array_fini(&a);
}

/* Any graph becomes trees, without anything made up. */
static void
test_random(void)
{
	size_t wrong = 0;

	for (int round = 0; round < 300; round++) {
		struct fg_join_params p = {.remove_loops = true,
		    .tick_threshold = round % 3 ? 0 : 40,
		    .dust_threshold = round % 5 ? 0 : 20,
		    .radius = round % 2 ? 30 : 0,
		    .restrict_by_radius = round % 4 == 1};
		struct figure f = {0};
		struct fg_skeleton out = FG_SKELETON_INIT;
		const struct fg_skeleton *one = &f.s;
		uint64_t n = 2 + roll(30);

		for (uint64_t i = 0; i < n; i++)
			dot(&f, (double)roll(9) * 10, (double)roll(9) * 10,
			    (double)roll(2) * 10, (double)roll(30));
		for (uint64_t i = roll(LEN - 1); i > 0; i--)
			line(&f, (uint32_t)roll(n), (uint32_t)roll(n));
		if (fg_skeleton_join(&one, 1, &p, &out, &err) < 0)
			wrong++;
		struct shape r = shape_of(&out);
		wrong += r.edges != r.vertices - r.trees;
		for (uint32_t v = 0; v < out.vertices; v++) {
			bool old = false;

			for (uint32_t u = 0; u < f.s.vertices; u++)
				old |= memcmp(out.xyz + 3 * v, f.xyz + 3 * u, 12) == 0;
			wrong += !old;
		}
		fg_skeleton_fini(&out);
	}
	tap_int(wrong, 0, "300 graphs become trees of their own vertices");
}

static void
test_refused(void)
{
	struct fg_join_params p = FG_JOIN_PARAMS;
	struct fg_skeleton out = FG_SKELETON_INIT;
	struct figure f = {0};

	p.tick_threshold = -1;
	tap_fails(fg_skeleton_join(NULL, 0, &p, &out, &err), &err, FG_EINVAL,
	    "thresholds of", "a negative threshold");
	p.tick_threshold = NAN;
	tap_fails(fg_skeleton_join(NULL, 0, &p, &out, &err), &err, FG_EINVAL,
	    "thresholds of", "one that is no number");
	tap_int(join(NULL, 0, &nothing, "no piece").vertices, 0, "nothing");
	f.s.xyz = f.xyz;
	tap_int(join_one(&f, &nothing, "an empty piece").vertices, 0, "nothing");
}

int
main(void)
{
	test_same_place();
	test_dust();
	test_loops();
	test_gaps();
	test_ticks();
	test_blocks();
	test_random();
	test_refused();
	return tap_done();
}
