/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simplified surfaces: fewer triangles, still closed, their volume kept and every
 * vertex of the old surface near the new one; the borders of two fragments still meet.
 */
#include "config.h"

#include "mesh/simplify.h"

#include "mesh/distance.h"
#include "mesh/nearest.h"
#include "mesh/surface.h"
#include "tests/mesh/geometry.h"

static struct fg_err err = FG_ERR_INIT;

#define NM 8.0

static bool
in_ball(const double p[3])
{
	double x = p[0] - 30, y = p[1] - 30, z = p[2] - 30;

	return x * x + y * y + z * z < 25 * 25;
}

static struct fg_surface
ball(int64_t lo, int64_t hi, unsigned close)
{
	struct fg_surface_params p = {.nm = {NM, NM, NM},
	    .origin_vx = {lo},
	    .close = close};
	struct fg_array a = blank(FG_U32, 60, 60, 60), b;
	struct fg_surface s = {0};

	paint(&a, 4, in_ball);
	b = blank(FG_U32, hi - lo, 60, 60);
	fg_array_copy_box(&b, &(struct fg_box){{lo, 0, 0}, {hi, 60, 60}}, &a,
	    &(struct fg_box){{0}, {60, 60, 60}});
	tap_rc(fg_surface_make(&b, &p, &s, &err), &err, "half a ball");
	fg_array_fini(&a);
	fg_array_fini(&b);
	return s;
}

static struct fg_mesh
simplify(const struct fg_mesh *in, double error_nm, uint32_t triangles)
{
	struct fg_simplify_params p = {.error_nm = error_nm, .triangles = triangles};
	struct fg_mesh m = FG_MESH_INIT;
	double reached = -1;

	tap_rc(fg_simplify_make(in, &p, &m, &reached, &err), &err, "simplify");
	tap_ok(reached >= 0 && reached <= error_nm * 1.0001, "within %g nm: %.3g",
	    error_nm, reached);
	return m;
}

/* Largest |distance from the centre - radius| of vertices and of triangles' middles. */
static double
off_sphere(const struct fg_mesh *m)
{
	double worst = 0;

	for (size_t t = 0; t < m->triangles; t++) {
		double r2 = 0;

		for (int d = 0; d < 3; d++) {
			double c = 0;

			for (int k = 0; k < 3; k++)
				c += (double)m->xyz[3 * m->index[3 * t + k] + d] / 3;
			r2 += (c - 30 * NM) * (c - 30 * NM);
		}
		worst = fmax(worst, fabs(sqrt(r2) - 25 * NM));
	}
	return worst;
}

static void
test_ball(void)
{
	struct fg_surface s = ball(0, 60, FG_FACE_ALL);
	struct fg_mesh m = simplify(&s.mesh[0], 1 * NM, 0);
	size_t kept = 0;

	tap_ok(m.triangles > 0 && m.triangles * 8 < s.mesh[0].triangles,
	    "a voxel of error: %u of %u triangles", m.triangles, s.mesh[0].triangles);
	tap_int(count_edges_of(&m).unbalanced, 0, "still closed");
	tap_near(mesh_volume(&m), mesh_volume(&s.mesh[0]), 0.02, "still its volume");
	tap_ok(off_sphere(&m) < 3 * NM, "no triangle is three voxels off");
	for (size_t i = 0; i < m.vertices; i++) {
		for (size_t k = 0; k < s.mesh[0].vertices; k++) {
			if (memcmp(m.xyz + 3 * i, s.xyz + 3 * k, 12) == 0) {
				kept++;
				break;
			}
		}
	}
	tap_int(kept, m.vertices, "its vertices are old ones");
	fg_mesh_fini(&m);
	m = simplify(&s.mesh[0], 100 * NM, 2000);
	tap_ok(m.triangles <= 2000 && m.triangles > 1500, "a target: %u triangles",
	    m.triangles);
	fg_mesh_fini(&m);
	fg_surface_fini(&s);
}

/* A limit that is measured: kept, where the error of planes alone does not keep it. */
static void
test_sharp(void)
{
	struct fg_surface s = ball(0, 60, FG_FACE_ALL);
	struct fg_simplify_params p = {.error_nm = NM, .sharp = true};
	struct fg_mesh m = FG_MESH_INIT, n = simplify(&s.mesh[0], NM, 0);
	double reached = -1, off = -1, off_planes = -1;

	tap_rc(fg_simplify_make(&s.mesh[0], &p, &m, &reached, &err), &err, "sharp");
	tap_rc(fg_distance_measure(&s.mesh[0], &m, 0.05, &off, &err), &err, "measure");
	tap_rc(fg_distance_measure(&s.mesh[0], &n, 0.5, &off_planes, &err), &err,
	    "measure the other");
	tap_ok(reached <= NM && off <= reached + 0.05,
	    "a sharp limit of %g nm: %.3g said, %.3g measured", NM, reached, off);
	tap_ok(off_planes > NM, "without it %.3g nm", off_planes);
	tap_ok(m.triangles * 4 < s.mesh[0].triangles && m.triangles > n.triangles,
	    "its price: %u triangles, not %u", m.triangles, n.triangles);
	tap_int(count_edges_of(&m).unbalanced, 0, "closed");
	fg_mesh_fini(&m);
	fg_mesh_fini(&n);
	fg_surface_fini(&s);
}

/* The same surface in four times as many triangles: measuring takes no more than so
 * many points of each. */
static struct fg_mesh
quarters(const struct fg_mesh *m)
{
	struct fg_mesh q = {.vertices = m->vertices + 3 * m->triangles};

	q.xyz = calloc(3 * (size_t)q.vertices + 1, sizeof *q.xyz);
	q.index = calloc(12 * (size_t)m->triangles + 1, sizeof *q.index);
	memcpy(q.xyz, m->xyz, 12 * (size_t)m->vertices);
	for (uint32_t t = 0; t < m->triangles; t++) {
		const uint32_t *c = m->index + 3 * (size_t)t;
		uint32_t mid = m->vertices + 3 * t;

		for (uint32_t k = 0; k < 3; k++) {
			const uint32_t corner[3] = {c[k], mid + k, mid + (k + 2) % 3};
			uint32_t next = c[(k + 1) % 3];

			for (size_t d = 0; d < 3; d++)
				q.xyz[3 * (size_t)(mid + k) + d] =
				    (m->xyz[3 * (size_t)c[k] + d] +
					m->xyz[3 * (size_t)next + d]) /
				    2;
			memcpy(q.index + 3 * (size_t)q.triangles++, corner, 12);
		}
		for (uint32_t k = 0; k < 3; k++)
			q.index[3 * (size_t)q.triangles + k] = mid + k;
		q.triangles++;
	}
	return q;
}

/* How far two surfaces are apart, to a quarter of a nanometre. */
static double
apart(const struct fg_mesh *a, const struct fg_mesh *b, int times)
{
	struct fg_mesh m[2] = {*a, *b};
	double nm = INFINITY;

	for (int k = 0; k < 2; k++) {
		for (int i = 0; i < times; i++) {
			struct fg_mesh q = quarters(&m[k]);

			if (i > 0)
				fg_mesh_fini(&m[k]);
			m[k] = q;
		}
	}
	tap_rc(fg_distance_measure(&m[0], &m[1], 0.4, &nm, &err), &err, "measure");
	fg_mesh_fini(&m[0]);
	fg_mesh_fini(&m[1]);
	return nm;
}

/* Half of a slab that lies in the volume's border with a large flat side, its outline
 * ragged: there the error of planes is nothing, and triangles still go astray. */
static void
test_flat(void)
{
	struct fg_surface_params p = {.nm = {NM, NM, NM}, .close = FG_FACE_ALL};
	struct fg_simplify_params sp = {.error_nm = NM, .sharp = true};
	struct fg_array a = blank(FG_U32, 80, 12, 80);
	struct fg_mesh m = FG_MESH_INIT;
	struct fg_surface s = {0};
	double off = -1;

	for (int64_t i = 0; i < 80 * 12 * 80; i++) {
		int64_t x = i % 80, y = i / 80 % 12, z = i / 960;
		int64_t deep = (z * 7919 % 11 + y * 31 % 5) % 4;

		((uint32_t *)a.data)[i] = x < 50 + deep && z > 10 + deep && y < 9;
	}
	tap_rc(fg_surface_make(&a, &p, &s, &err), &err, "a slab");
	if (tap_rc(fg_simplify_make(&s.mesh[0], &sp, &m, NULL, &err), &err,
		"simplified")) {
		struct fg_mesh fine = quarters(&m), finer = quarters(&fine);

		fg_mesh_fini(&fine);
		fine = quarters(&finer);
		tap_rc(fg_distance_measure(&s.mesh[0], &fine, 0.2, &off, &err), &err,
		    "measure");
		tap_ok(off <= NM + 0.3, "a limit of %g nm: %.3g", NM, off);
		fg_mesh_fini(&fine);
		fg_mesh_fini(&finer);
	}
	/* More than half are left where the whole is done with less for one spot. */
	tap_ok(m.triangles * 5 < 2 * s.mesh[0].triangles, "%u of %u triangles",
	    m.triangles, s.mesh[0].triangles);
	tap_int(count_edges_of(&m).unbalanced, 0, "closed");
	fg_mesh_fini(&m);
	fg_surface_fini(&s);
	fg_array_fini(&a);
}

/* A ball, half of it with a skin of noise, where much comes to lie close to the limit.
 * Of long voxels so much is too far at first that parts are left as they are, all is
 * tried with less, and at last nothing but what is flat goes. */
static void
test_rough(const double nm[3], double limit, double least)
{
	struct fg_surface_params p = {.nm = {nm[0], nm[1], nm[2]},
	    .close = FG_FACE_ALL};
	struct fg_simplify_params sp = {.error_nm = limit, .sharp = true};
	struct fg_array a = blank(FG_U32, 48, 48, 48);
	struct fg_mesh m = FG_MESH_INIT;
	struct fg_surface s = {0};
	uint32_t seed = 1;
	double off = -1;

	for (int64_t i = 0; i < 48 * 48 * 48; i++) {
		double x = (double)(i % 48) - 24, y = (double)(i / 48 % 48) - 24,
		       z = (double)(i / 2304) - 24, r = sqrt(x * x + y * y + z * z);

		seed = seed * 1664525 + 1013904223;
		((uint32_t *)a.data)[i] = r < 19 || (x > 0 && r < 21 && seed >> 31);
	}
	tap_rc(fg_surface_make(&a, &p, &s, &err), &err, "a rough ball");
	if (tap_rc(fg_simplify_make(&s.mesh[0], &sp, &m, NULL, &err), &err,
		"simplified")) {
		off = apart(&s.mesh[0], &m, nm[2] > 10 ? 3 : 2);
		tap_ok(off <= sp.error_nm + 0.3,
		    "voxels of %g nm, a limit of %g nm: %.3g", nm[2], sp.error_nm, off);
	}
	tap_ok(m.triangles < s.mesh[0].triangles * least, "%u of %u triangles",
	    m.triangles, s.mesh[0].triangles);
	tap_int(count_edges_of(&m).unbalanced, 0, "closed");
	fg_mesh_fini(&m);
	fg_surface_fini(&s);
	fg_array_fini(&a);
}

/* The farthest vertex from another surface. */
static double
farthest_vertex(const struct fg_mesh *m, const struct fg_mesh *to)
{
	const double origin[3] = {0};
	struct fg_nearest tree = {0};
	uint32_t last = 0;
	float worst = 0;

	if (!tap_rc(fg_nearest_init(&tree, to, origin, &err), &err, "a tree"))
		return INFINITY;
	for (size_t v = 0; v < m->vertices; v++) {
		float off = fg_nearest_off(&tree, &last, m->xyz + 3 * v, worst);

		worst = FG_MAX(worst, off);
	}
	fg_nearest_fini(&tree);
	return sqrt((double)worst);
}

/* A rod with a skin of noise, of long voxels and with a limit so small that
 * meshoptimizer passes it even where it is to change nothing. */
static void
test_noise(void)
{
	enum { W = 40, L = 60 };
	struct fg_surface_params p = {.nm = {4, 4, 40}, .close = FG_FACE_ALL};
	struct fg_simplify_params sp = {.error_nm = 1, .sharp = true};
	struct fg_array a = blank(FG_U32, W, W, L);
	struct fg_mesh m = FG_MESH_INIT;
	struct fg_surface s = {0};
	uint32_t seed = 1;

	for (int64_t i = 0; i < W * W * L; i++) {
		double x = (double)(i % W) - W / 2, y = (double)(i / W % W) - W / 2,
		       r = sqrt(x * x + y * y);

		seed = seed * 1664525 + 1013904223;
		((uint32_t *)a.data)[i] =
		    r < W / 2 - 3 || (r < W / 2 - 1 && seed >> 31);
	}
	tap_rc(fg_surface_make(&a, &p, &s, &err), &err, "a rod of noise");
	if (tap_rc(fg_simplify_make(&s.mesh[0], &sp, &m, NULL, &err), &err,
		"simplified")) {
		double off = farthest_vertex(&s.mesh[0], &m);

		tap_ok(off <= sp.error_nm, "no vertex is %g nm off: %.3g; %u of %u",
		    sp.error_nm, off, m.triangles, s.mesh[0].triangles);
	}
	fg_mesh_fini(&m);
	fg_surface_fini(&s);
	fg_array_fini(&a);
}

static void
test_seam(void)
{
	struct fg_surface a = ball(0, 33, FG_FACE_ALL & ~(unsigned)FG_FACE_X_HI);
	struct fg_surface b = ball(32, 60, FG_FACE_ALL & ~(unsigned)FG_FACE_X_LO);
	struct fg_mesh m = simplify(&a.mesh[0], 2 * NM, 0);
	struct fg_mesh n = simplify(&b.mesh[0], 2 * NM, 0);
	const struct fg_mesh *both[2] = {&m, &n};

	tap_ok(count_edges_of(&m).unbalanced > 100, "half a ball is open");
	tap_int(count_edges(both, 2).unbalanced, 0, "both halves close each other");
	tap_ok(m.triangles * 4 < a.mesh[0].triangles,
	    "with a quarter of the triangles");
	fg_mesh_fini(&m);
	fg_mesh_fini(&n);
	fg_surface_fini(&a);
	fg_surface_fini(&b);
}

static void
test_edges(void)
{
	struct fg_mesh none = {.label = 3}, out = FG_MESH_INIT;
	struct fg_simplify_params p = {.error_nm = -1};

	tap_fails(fg_simplify_make(&none, &p, &out, NULL, &err), &err, FG_EINVAL,
	    "-1 nm", "a negative error");
	p.error_nm = 10;
	tap_rc(fg_simplify_make(&none, &p, &out, NULL, &err), &err, "an empty mesh");
	tap_ok(out.label == 3 && out.triangles == 0 && out.vertices == 0, "stays so");
	fg_mesh_fini(&out);
}

int
main(void)
{
	test_ball();
	test_sharp();
	test_flat();
	test_rough((double[]){NM, NM, NM}, 0.3 * NM, 0.9);
	test_rough((double[]){4, 4, 40}, 4.8, 0.99);
	test_noise();
	test_seam();
	test_edges();
	return tap_done();
}
