/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surfaces thinned out: what is flat is gone, the rest is as near as was asked, closed,
 * of the same shape; what may not be touched is not.
 */
#include "config.h"

#include "mesh/thin.h"

#include "mesh/distance.h"
#include "mesh/surface.h"
#include "tests/mesh/geometry.h"

#define NM 10.0

static struct fg_err err = FG_ERR_INIT;

static bool
in_cube(const double p[3])
{
	return p[0] > 9 && p[0] < 31 && p[1] > 9 && p[1] < 31 && p[2] > 9 && p[2] < 31;
}

static bool
in_ball(const double p[3])
{
	double x = p[0] - 20, y = p[1] - 20, z = p[2] - 20;

	return x * x + y * y + z * z < 15 * 15;
}

static bool
in_ring(const double p[3])
{
	double x = p[0] - 20, y = p[1] - 20, z = p[2] - 20,
	       r = sqrt(x * x + y * y) - 12;

	return r * r + z * z < 5 * 5;
}

/* Every other voxel, more or less: surfaces that meet in edges and corners. */
static bool
in_noise(const double p[3])
{
	uint32_t x = (uint32_t)p[0] * 73856093u ^ (uint32_t)p[1] * 19349663u ^
		     (uint32_t)p[2] * 83492791u;

	x = (x ^ x >> 15) * 0x2c1b3c6du;
	return (x ^ x >> 12) >> 7 & 1;
}

static struct fg_surface
surface(bool (*inside)(const double p[3]), unsigned close)
{
	struct fg_surface_params p = {.nm = {NM, NM, NM}, .close = close};
	struct fg_array a = blank(FG_U32, 40, 40, 40);
	struct fg_surface s = {0};

	paint(&a, 1, inside);
	tap_rc(fg_surface_make(&a, &p, &s, &err), &err, "a surface");
	fg_array_fini(&a);
	return s;
}

/* Its vertices are the old ones, all of them. */
static struct fg_mesh
thin_to(const struct fg_mesh *in, const uint8_t *mark, const struct fg_thin_params *p)
{
	const double origin[3] = {0, 0, 0};
	struct fg_mesh m = *in;
	struct fg_sheet s = {0};
	uint8_t *none = calloc(in->triangles + 1, 1);

	m.index = calloc(3 * (size_t)in->triangles + 1, sizeof *m.index);
	tap_ok(fg_sheet_init(&s, in, origin, &err) == 0 && fg_sheet_pair(&s, &err) == 0,
	    "its sheet");
	tap_rc(fg_thin_make(&s, mark ? mark : none, p, m.index, &m.triangles, &err),
	    &err, "thinned");
	fg_sheet_fini(&s);
	free(none);
	return m;
}

static struct fg_mesh
thin(const struct fg_mesh *in, const uint8_t *mark, double error)
{
	struct fg_thin_params p = {.first = (float)(error / 3),
	    .further = (float)error,
	    .off = (float)(10 * error)};

	return thin_to(in, mark, &p);
}

static double
off(const struct fg_mesh *a, const struct fg_mesh *b)
{
	double nm = -1;

	tap_rc(fg_distance_measure(a, b, 1, &nm, &err), &err, "measure");
	return nm;
}

/* Vertices less edges and triangles: 2 of a ball, 0 of a ring. */
static long
euler(const struct fg_mesh *m)
{
	uint8_t *used = calloc(m->vertices + 1, 1);
	long n = 0;

	for (size_t i = 0; i < 3 * (size_t)m->triangles; i++) {
		n += !used[m->index[i]];
		used[m->index[i]] = 1;
	}
	free(used);
	return n - (long)count_edges_of(m).all + (long)m->triangles;
}

static void
test_flat(void)
{
	struct fg_surface s = surface(in_cube, FG_FACE_ALL);
	const struct fg_mesh *in = &s.mesh[0];
	struct fg_mesh m = thin(in, NULL, 0.001);

	tap_ok(m.triangles > 0 && m.triangles < in->triangles / 4,
	    "a cube without error: %u of %u triangles", m.triangles, in->triangles);
	tap_ok(off(in, &m) < NM / 4, "it is where it was");
	tap_near(mesh_volume(&m), mesh_volume(in), 1e-6, "its volume");
	tap_near(mesh_area(&m), mesh_area(in), 1e-5, "its area: nothing lies twice");
	tap_int(count_edges_of(&m).unbalanced, 0, "closed");
	free(m.index);
	fg_surface_fini(&s);
}

static void
test_shapes(void)
{
	static const struct {
		const char *name;
		bool (*inside)(const double p[3]);
		long euler;
	} shapes[] = {{"ball", in_ball, 2}, {"ring", in_ring, 0}};

	for (size_t i = 0; i < FG_COUNTOF(shapes); i++) {
		struct fg_surface s = surface(shapes[i].inside, FG_FACE_ALL);
		const struct fg_mesh *in = &s.mesh[0];
		struct fg_mesh m = thin(in, NULL, 0.15 * NM);

		tap_ok(m.triangles < in->triangles * 0.6, "a %s: %u of %u triangles",
		    shapes[i].name, m.triangles, in->triangles);
		tap_ok(off(in, &m) < NM, "within a voxel");
		tap_near(mesh_volume(&m), mesh_volume(in), 0.01, "its volume");
		free(m.index);
		/* As far as it goes: still what it was. */
		m = thin(in, NULL, 1000 * NM);
		tap_ok(m.triangles >= 4, "at any price %u triangles", m.triangles);
		tap_int(count_edges_of(&m).unbalanced, 0, "closed");
		tap_int(count_edges_of(&m).crowded, 0, "touches itself nowhere");
		tap_int(euler(&m), shapes[i].euler, "of the same kind");
		free(m.index);
		fg_surface_fini(&s);
	}
}

/* What is added up, and the number to end at. */
static void
test_ends(void)
{
	struct fg_surface s = surface(in_ball, FG_FACE_ALL);
	const struct fg_mesh *in = &s.mesh[0];
	struct fg_thin_params p = {.first = NM, .further = NM};
	struct fg_mesh m = thin_to(in, NULL, &p);
	uint32_t flat = m.triangles;

	/* Only what changes no point of it, at any error of planes. */
	tap_ok(flat < in->triangles && off(in, &m) < NM / 4, "never off: %u of %u",
	    flat, in->triangles);
	tap_near(mesh_volume(&m), mesh_volume(in), 1e-6, "its volume");
	free(m.index);
	p.off = NM / 2;
	m = thin_to(in, NULL, &p);
	tap_ok(m.triangles < flat, "half a voxel off: %u", m.triangles);
	free(m.index);
	p.triangles = in->triangles / 2;
	m = thin_to(in, NULL, &p);
	tap_ok(m.triangles <= p.triangles && m.triangles + 2 > p.triangles,
	    "%u of %u wanted", m.triangles, p.triangles);
	free(m.index);
	fg_surface_fini(&s);
}

/* Triangles of a ball around a point that look towards it. */
static uint32_t
inward(const struct fg_mesh *m, const double centre[3])
{
	uint32_t n = 0;

	for (size_t t = 0; t < m->triangles; t++) {
		const uint32_t *c = m->index + 3 * t;
		double p[3][3];

		for (int k = 0; k < 3; k++) {
			for (int d = 0; d < 3; d++)
				p[k][d] =
				    m->xyz[3 * (size_t)c[k] + (size_t)d] - centre[d];
		}
		n += p[0][0] * (p[1][1] * p[2][2] - p[1][2] * p[2][1]) +
			 p[0][1] * (p[1][2] * p[2][0] - p[1][0] * p[2][2]) +
			 p[0][2] * (p[1][0] * p[2][1] - p[1][1] * p[2][0]) <=
		     0;
	}
	return n;
}

/* A ball of voxels of 10 nm, of a millimetre, and of a thousandth of a nanometre. */
static void
test_sizes(void)
{
	static const double nm[] = {NM, 1e6, 1e-3};
	struct fg_surface s = surface(in_ball, FG_FACE_ALL);
	struct fg_mesh in = s.mesh[0];
	uint32_t first = 0;

	in.xyz = calloc(3 * (size_t)in.vertices + 1, sizeof *in.xyz);
	for (size_t k = 0; k < FG_COUNTOF(nm); k++) {
		double centre[3] = {20 * nm[k], 20 * nm[k], 20 * nm[k]};
		struct fg_mesh m;

		for (size_t i = 0; i < 3 * (size_t)in.vertices; i++)
			in.xyz[i] = (float)(s.mesh[0].xyz[i] / NM * nm[k]);
		m = thin(&in, NULL, 0.15 * nm[k]);
		first = k ? first : m.triangles;
		tap_ok(m.triangles < in.triangles * 0.6 &&
			   fabs((double)m.triangles - first) < 0.05 * first,
		    "voxels of %g nm: %u triangles of %u", nm[k], m.triangles,
		    in.triangles);
		/* Within 75 degrees in each move, but there may be several. */
		tap_ok(inward(&in, centre) == 0 &&
			   inward(&m, centre) * 500 < m.triangles,
		    "%u of them look inward", inward(&m, centre));
		free(m.index);
	}
	free(in.xyz);
	fg_surface_fini(&s);
}

static int
by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* The edges of more than two triangles, by their vertices; to be freed. */
static uint64_t *
crowded(const struct fg_mesh *m, size_t *count)
{
	size_t n = 3 * (size_t)m->triangles;
	uint64_t *e = calloc(n + 1, sizeof *e);

	*count = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t a = m->index[i], b = m->index[i % 3 == 2 ? i - 2 : i + 1];

		e[i] = FG_MIN(a, b) << 32 | FG_MAX(a, b);
	}
	qsort(e, n, sizeof *e, by_number);
	for (size_t i = 0, j; i < n; i = j) {
		for (j = i; j < n && e[j] == e[i];)
			j++;
		if (j - i > 2)
			e[(*count)++] = e[i];
	}
	return e;
}

/* Those of b that a has not. */
static size_t
crowded_only(const struct fg_mesh *a, const struct fg_mesh *b)
{
	size_t na, nb, n = 0;
	uint64_t *ea = crowded(a, &na), *eb = crowded(b, &nb);

	for (size_t i = 0; i < nb; i++)
		n += !bsearch(&eb[i], ea, na, sizeof *ea, by_number);
	free(ea);
	free(eb);
	return n;
}

static void
test_noise(void)
{
	struct fg_surface s = surface(in_noise, FG_FACE_ALL);
	const struct fg_mesh *in = &s.mesh[0];
	struct edges was = count_edges_of(in);

	tap_ok(was.crowded > 0, "noise has %zu edges of four triangles", was.crowded);
	for (double error = 0.01; error < 1000; error *= 10) {
		struct fg_mesh m = thin(in, NULL, error);

		tap_int(count_edges_of(&m).unbalanced, 0,
		    "noise: %u of %u triangles, closed", m.triangles, in->triangles);
		tap_ok(m.triangles < in->triangles, "fewer than before");
		tap_int(crowded_only(in, &m), 0,
		    "edges of four triangles that are new");
		free(m.index);
	}
	fg_surface_fini(&s);
}

/* Half of a ball, and marks on the rest of it: both borders stay. */
static void
test_borders(void)
{
	struct fg_surface s = surface(in_ball, FG_FACE_ALL);
	const struct fg_mesh *in = &s.mesh[0];
	uint8_t *mark = calloc(in->triangles + 1, 1);
	struct fg_mesh m, rest = *in, open;
	const struct fg_mesh *both[2];
	uint32_t marked = 0;

	rest.index = calloc(3 * (size_t)in->triangles + 1, sizeof *rest.index);
	for (size_t t = 0; t < in->triangles; t++) {
		const uint32_t *c = in->index + 3 * t;

		mark[t] = in->xyz[3 * (size_t)c[0]] > 25 * NM;
		if (mark[t])
			memcpy(rest.index + 3 * (size_t)marked++, c, 12);
	}
	rest.triangles = marked;
	m = thin(in, mark, NM);
	both[0] = &m;
	both[1] = &rest;
	tap_ok(m.triangles > 0 && m.triangles < (in->triangles - marked) / 2,
	    "%u triangles of %u that are not marked", m.triangles,
	    in->triangles - marked);
	tap_int(count_edges(both, 2).unbalanced, 0, "the marked ones fit in");
	/* Now as a mesh with a border of its own. */
	open = thin(&rest, NULL, NM);
	both[1] = &open;
	tap_ok(open.triangles > 0 && open.triangles < marked / 2,
	    "the others, with a border: %u of %u", open.triangles, marked);
	tap_int(count_edges(both, 2).unbalanced, 0, "they fit, too");
	free(m.index);
	free(open.index);
	free(rest.index);
	free(mark);
	fg_surface_fini(&s);
}

/* Two folds, each of four corners and closed, that share the edge from 0 to 1. Which of
 * the four triangles there are behind each other is up to their order. Where it is one
 * of each fold, the upper corners of a fold have three triangles each and look as if
 * one could be moved onto the other; what is left would be two triangles on each
 * other's back. */
static void
test_folds(void)
{
	float xyz[] = {0, 0, 0, 10, 0, 0, 4, 10, 0, 6, 10, 1, 4, -10, 0, 6, -10, 1};
	uint32_t index[] = {0, 1, 3, 1, 0, 2, 0, 3, 2, 1, 2, 3, /* one */
	    1, 0, 5, 0, 1, 4, 1, 5, 4, 0, 4, 5 /* the other */};
	struct fg_mesh in = {.vertices = 6, .triangles = 8, .xyz = xyz, .index = index};

	tap_int(count_edges_of(&in).unbalanced, 0, "two folds, closed");
	tap_int(count_edges_of(&in).crowded, 1, "that share an edge");
	for (int i = 0; i < 30; i++) {
		struct fg_mesh m = thin(&in, NULL, 100);

		tap_int(m.triangles, 8, "nothing of them can go");
		tap_int(count_edges_of(&m).unbalanced, 0, "closed");
		tap_int(crowded_only(&in, &m), 0, "new edges of four triangles");
		free(m.index);
		for (size_t k = 7; k > 0; k--) {
			size_t l = roll(k + 1);
			uint32_t t[3];

			memcpy(t, index + 3 * k, 12);
			memmove(index + 3 * k, index + 3 * l, 12);
			memcpy(index + 3 * l, t, 12);
		}
	}
}

/* Two flat cones: more triangles around either top than are looked at. */
static void
test_many(void)
{
	enum { N = 50 };
	float xyz[3 * (N + 2)] = {[3 * N + 2] = 10, [3 * N + 5] = -10};
	uint32_t index[6 * N];
	struct fg_mesh in = {.vertices = N + 2,
	    .triangles = 2 * N,
	    .xyz = xyz,
	    .index = index};

	for (uint32_t i = 0; i < N; i++) {
		uint32_t next = (i + 1) % N;

		xyz[3 * i] = 100 * cosf((float)i * 6.2831853f / N);
		xyz[3 * i + 1] = 100 * sinf((float)i * 6.2831853f / N);
		memcpy(index + 6 * (size_t)i, (uint32_t[]){i, next, N, next, i, N + 1},
		    24);
	}
	for (double error = 0.01; error < 1e4; error *= 10) {
		struct fg_mesh m = thin(&in, NULL, error);

		tap_ok(m.triangles >= 4 && m.triangles <= in.triangles,
		    "%u triangles around two tops become %u", in.triangles,
		    m.triangles);
		tap_ok(error < 1 || m.triangles < in.triangles, "fewer, if they may");
		tap_int(count_edges_of(&m).unbalanced, 0, "closed");
		tap_int(count_edges_of(&m).crowded, 0, "touches itself nowhere");
		tap_int(euler(&m), 2, "still a ball");
		free(m.index);
	}
}

/* A ball, and something marked that meets it in one vertex. */
static void
test_one_vertex(void)
{
	struct fg_surface s = surface(in_ball, FG_FACE_ALL);
	struct fg_mesh in = s.mesh[0], m;
	uint32_t v = in.vertices, met = in.index[3 * (size_t)(in.triangles / 2)];
	uint8_t *mark = calloc(in.triangles + 4, 1);
	bool used = false;

	in.xyz = calloc(3 * (size_t)v + 9, sizeof *in.xyz);
	memcpy(in.xyz, s.mesh[0].xyz, 3 * (size_t)v * sizeof *in.xyz);
	memcpy(in.xyz + 3 * (size_t)v,
	    (float[]){900, 900, 900, 910, 900, 900, 900, 910, 900}, 36);
	in.index = calloc(3 * (size_t)in.triangles + 12, sizeof *in.index);
	memcpy(in.index, s.mesh[0].index, 12 * (size_t)in.triangles);
	memcpy(in.index + 3 * (size_t)in.triangles,
	    (uint32_t[]){v, v + 2, v + 1, met, v, v + 1, met, v + 1, v + 2, met, v + 2,
		v},
	    48);
	memset(mark + in.triangles, 1, 4);
	in.vertices += 3;
	in.triangles += 4;
	tap_int(count_edges_of(&in).unbalanced, 0, "a ball with a thorn, closed");
	m = thin(&in, mark, 2 * NM);
	for (size_t i = 0; i < 3 * (size_t)m.triangles; i++)
		used |= m.index[i] == met;
	tap_ok(m.triangles < in.triangles / 2, "%u triangles of %u", m.triangles,
	    in.triangles);
	tap_ok(used, "the vertex that they share is still there");
	tap_int(count_edges_of(&m).unbalanced, 0, "the ball is closed");
	tap_int(euler(&m), 2, "and a ball");
	free(m.index);
	free(in.index);
	free(in.xyz);
	free(mark);
	fg_surface_fini(&s);
}

int
main(void)
{
	test_flat();
	test_shapes();
	test_ends();
	test_sizes();
	test_noise();
	test_borders();
	test_folds();
	test_many();
	test_one_vertex();
	return tap_done();
}
