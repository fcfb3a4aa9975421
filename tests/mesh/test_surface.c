/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surfaces against what is known of the shapes: closed and oriented (every edge as
 * often one way as the other), volume and area of figures with formulas, the exact
 * solid of a single voxel, and seams between blocks that vanish when the blocks are put
 * together.
 */
#include "config.h"

#include "mesh/surface.h"

#include "tests/mesh/geometry.h"

static struct fg_err err = FG_ERR_INIT;

static struct fg_surface
make(const struct fg_array *a, const struct fg_surface_params *p)
{
	struct fg_surface s = {0};

	if (fg_surface_make(a, p, &s, &err) < 0) {
		tap_ok(false, "surface: %s", err.msg);
		fg_err_clear(&err);
	}
	return s;
}

static const struct fg_surface_params unit = {.nm = {1, 1, 1}, .close = FG_FACE_ALL};

/* --- figures */

static bool
in_ball(const double p[3])
{
	double x = p[0] - 30.2, y = p[1] - 29.7, z = p[2] - 30.4;

	return x * x + y * y + z * z < 25 * 25;
}

static bool
in_torus(const double p[3])
{
	double x = p[0] - 30, y = p[1] - 30, z = p[2] - 30;
	double ring = sqrt(x * x + y * y) - 18;

	return ring * ring + z * z < 8 * 8;
}

static bool
in_tube(const double p[3])
{
	/* Radius 6 round the diagonal, cut by the block. */
	double x = p[0] - 30, y = p[1] - 30, z = p[2] - 30, on = (x + y + z) / 3;

	x -= on;
	y -= on;
	z -= on;
	return x * x + y * y + z * z < 36 && fabs(on) * sqrt(3) < 25;
}

/*
 * Facets at half voxels: a flat side that is askew to the axes comes out larger by up
 * to a sixth, never smaller by more than the rounding of a curved one.
 */
static void
check_figure(const char *name, bool (*inside)(const double[3]), double volume,
    double area)
{
	struct fg_array a = blank(FG_U32, 60, 60, 60);
	size_t voxels = paint(&a, 7, inside);
	struct fg_surface s = make(&a, &unit);
	const struct fg_mesh *m = fg_surface_find(&s, 7);

	printf("# %s\n", name);
	tap_int(s.count, 1, "one label");
	if (tap_ok(m != NULL, "label 7 has a mesh")) {
		struct edges e = count_edges_of(m);

		tap_int(e.unbalanced, 0, "closed and oriented");
		tap_int(e.crowded, 0, "no edge with more than two triangles");
		tap_near(mesh_volume(m), (double)voxels, 0.01, "volume is the voxels'");
		tap_near(mesh_volume(m), volume, 0.01, "volume is the formula's");
		tap_near(mesh_area(m) / area, 1.08, 0.07, "area: 1 to 1.15 times");
	}
	fg_surface_fini(&s);
	fg_array_fini(&a);
}

static void
test_figures(void)
{
	check_figure("ball", in_ball, 4 * M_PI / 3 * 25 * 25 * 25, 4 * M_PI * 25 * 25);
	check_figure("torus", in_torus, 2 * M_PI * M_PI * 18 * 64,
	    4 * M_PI * M_PI * 18 * 8);
	check_figure("slanted tube", in_tube, M_PI * 36 * 50,
	    2 * M_PI * 6 * 50 + 2 * M_PI * 36);
}

static void
test_euler(void)
{
	struct fg_array a = blank(FG_U32, 60, 60, 60);

	/* V - E + F is 2 for a sphere and 0 for a torus. */
	paint(&a, 1, in_ball);
	struct fg_surface s = make(&a, &unit);
	struct edges e = count_edges_of(&s.mesh[0]);
	tap_int((long long)s.vertices - (long long)e.all + (long long)s.triangles, 2,
	    "Euler characteristic of a ball");
	fg_surface_fini(&s);
	memset(a.data, 0, fg_array_bytes(&a));
	paint(&a, 1, in_torus);
	s = make(&a, &unit);
	e = count_edges_of(&s.mesh[0]);
	tap_int((long long)s.vertices - (long long)e.all + (long long)s.triangles, 0,
	    "Euler characteristic of a torus");
	fg_surface_fini(&s);
	fg_array_fini(&a);
}

/* --- few voxels */

static void
test_one_voxel(void)
{
	struct fg_array a = blank(FG_U8, 3, 3, 3);
	struct fg_surface_params p = unit;
	float want[6][3] = {{22, 90, 350}, {24, 90, 350}, {23, 60, 350}, {23, 120, 350},
	    {23, 90, 300}, {23, 90, 400}};
	size_t found = 0;

	/* Voxel 1, 1, 1 of a block that begins at 10, 0, -5; its centre in nm: */
	p.nm[0] = 2;
	p.nm[1] = 60;
	p.nm[2] = 100;
	p.origin_vx[0] = 10;
	p.origin_vx[2] = 2;
	((uint8_t *)a.data)[at(&a, 1, 1, 1)] = 255;
	struct fg_surface s = make(&a, &p);
	tap_int(s.count, 1, "a voxel has a mesh");
	tap_int(s.mesh[0].label, 255, "its label");
	tap_int(s.vertices, 6, "an octahedron has 6 vertices");
	tap_int(s.triangles, 8, "and 8 triangles");
	for (size_t i = 0; i < 6; i++) {
		for (size_t k = 0; k < 6; k++)
			found += memcmp(want[i], s.xyz + 3 * k, 12) == 0;
	}
	tap_int(found, 6, "vertices halfway to the neighbours' centres, in nm");
	tap_near(mesh_volume(&s.mesh[0]), 2 * 60 * 100 / 6.0, 1e-6, "turned outward");
	fg_surface_fini(&s);

	/* A block of one voxel, closed round it; and open, without any cell. */
	struct fg_array one = blank(FG_U8, 1, 1, 1);
	*(uint8_t *)one.data = 3;
	s = make(&one, &unit);
	tap_int(s.triangles, 8, "a block of one voxel is closed round it");
	fg_surface_fini(&s);
	p.close = 0;
	s = make(&one, &p);
	tap_int(s.triangles, 0, "an open one has no surface");
	fg_surface_fini(&s);
	fg_array_fini(&one);
	fg_array_fini(&a);
}

static void
test_contacts(void)
{
	struct fg_array a = blank(FG_U32, 4, 4, 4);

	*u32_at(&a, 1, 1, 1) = 5;
	*u32_at(&a, 2, 2, 1) = 5;
	struct fg_surface s = make(&a, &unit);
	tap_int(s.vertices, 12, "voxels that touch along an edge: two octahedra");
	tap_int(s.triangles, 16, "of 8 triangles each");
	tap_int(count_edges_of(&s.mesh[0]).unbalanced, 0, "closed");
	tap_near(mesh_volume(&s.mesh[0]), 2 / 6.0, 1e-6, "volume of both");
	fg_surface_fini(&s);

	*u32_at(&a, 2, 2, 1) = 0;
	*u32_at(&a, 2, 2, 2) = 5;
	s = make(&a, &unit);
	tap_int(s.vertices, 12, "voxels that touch in a corner: two octahedra");
	tap_int(count_edges_of(&s.mesh[0]).unbalanced, 0, "closed");
	fg_surface_fini(&s);

	/* Two labels side by side: each closed; they share the vertices between. */
	memset(a.data, 0, fg_array_bytes(&a));
	*u32_at(&a, 1, 1, 1) = UINT32_MAX;
	*u32_at(&a, 2, 1, 1) = 9;
	s = make(&a, &unit);
	tap_int(s.count, 2, "two labels");
	tap_int(s.mesh[0].label, 9, "ascending");
	tap_int(s.mesh[1].label, UINT32_MAX, "also the largest");
	for (size_t k = 0; k < 2; k++) {
		tap_int(s.mesh[k].vertices, 6, "each an octahedron");
		tap_int(count_edges_of(&s.mesh[k]).unbalanced, 0, "closed");
	}
	tap_ok(fg_surface_find(&s, 10) == NULL, "no mesh of a label that is not there");
	fg_surface_fini(&s);
	fg_array_fini(&a);
}

/* --- any labels */

static struct fg_array
noise(enum fg_dtype t, int64_t x, int64_t y, int64_t z, uint64_t kinds)
{
	struct fg_array a = blank(t, x, y, z);

	for (size_t i = 0; i < fg_array_count(&a); i++) {
		uint64_t v = roll(kinds), *wide = a.data;

		switch (t) {
		case FG_U8:
			((uint8_t *)a.data)[i] = (uint8_t)v;
			break;
		case FG_U16:
			((uint16_t *)a.data)[i] = (uint16_t)(v * 251);
			break;
		case FG_U32:
			((uint32_t *)a.data)[i] = (uint32_t)(v * 40503);
			break;
		default:
			wide[i] = v * (UINT64_C(1) << 63) / 5 + v;
		}
	}
	return a;
}

/* All meshes of s closed? Also: no vertex that no triangle uses. */
static size_t
count_bad(const struct fg_surface *s)
{
	size_t bad = 0;

	for (size_t k = 0; k < s->count; k++) {
		const struct fg_mesh *m = &s->mesh[k];
		uint8_t *used = calloc(m->vertices + 1, 1);
		size_t n = 0;

		bad += count_edges_of(m).unbalanced;
		for (size_t i = 0; i < 3 * (size_t)m->triangles; i++) {
			fg_assert(m->index[i] < m->vertices);
			n += !used[m->index[i]];
			used[m->index[i]] = 1;
		}
		bad += n != m->vertices;
		free(used);
	}
	return bad;
}

static void
test_noise(void)
{
	static const enum fg_dtype types[] = {FG_U8, FG_U16, FG_U32, FG_U64};
	size_t bad = 0, meshes = 0;
	uint64_t triangles = 0;

	for (int i = 0; i < 60; i++) {
		struct fg_surface_params p = {.nm = {1e-3, 40, 1e6},
		    .close = FG_FACE_ALL,
		    .origin_vx = {(int64_t)roll(1000) - 500, -7, 3}};
		int64_t n[3] = {(int64_t)roll(40) + 1, (int64_t)roll(12) + 1,
		    (int64_t)roll(12) + 1};
		struct fg_array a =
		    noise(types[i % 4], n[0], n[1], n[2], 2 + roll(i % 3 ? 3 : 200));
		struct fg_surface s = make(&a, &p);

		bad += count_bad(&s);
		meshes += s.count;
		triangles += s.triangles;
		fg_surface_fini(&s);
		fg_array_fini(&a);
	}
	tap_int(bad, 0, "%zu meshes of noise (%llu triangles) are closed", meshes,
	    (unsigned long long)triangles);

	struct fg_array a = blank(FG_U64, 20, 20, 20);
	for (size_t i = 0; i < 8000; i++)
		((uint64_t *)a.data)[i] = UINT64_MAX - i;
	struct fg_surface s = make(&a, &unit);
	tap_int(s.count, 8000, "as many labels as voxels");
	tap_int(s.triangles, 64000, "8 triangles each");
	tap_int(s.mesh[7999].label == UINT64_MAX, 1, "up to 2^64 - 1");
	fg_surface_fini(&s);
	memset(a.data, 0, fg_array_bytes(&a));
	s = make(&a, &unit);
	tap_int(s.count, 0, "background has no mesh");
	fg_surface_fini(&s);
	fg_array_fini(&a);
}

/* Two labels in turn: where a cell has both, they touch along edges only. */
static void
test_checkerboard(void)
{
	struct fg_array a = blank(FG_U64, 24, 24, 24);
	uint64_t *v = a.data;
	const uint64_t big = UINT64_C(1) << 63;

	for (size_t i = 0; i < 24 * 24 * 24; i++)
		v[i] = (i + i / 24 + i / 576) % 2 ? big : 5;
	struct fg_surface s = make(&a, &unit);
	tap_int(s.count, 2, "a checkerboard of two labels");
	tap_int(count_bad(&s), 0, "is closed, vertices used and in their box");
	tap_int(s.triangles, 8 * 24 * 24 * 24, "an octahedron for each voxel");
	tap_int(s.count == 2 ? s.mesh[1].label == big : 0, 1, "one of them 2^63");
	fg_surface_fini(&s);
	/* Two halves: what bounds one bounds the other. */
	for (size_t i = 0; i < 24 * 24 * 24; i++)
		v[i] = i / 576 < 12 ? 5 : big;
	s = make(&a, &unit);
	size_t shared = 0, plane = 0;
	for (size_t k = 0; k < s.count; k++) {
		for (uint32_t i = 0; i < s.mesh[k].vertices; i++)
			plane += s.mesh[k].xyz[3 * (size_t)i + 2] == 12;
	}
	for (uint32_t i = 0; s.count == 2 && i < s.mesh[0].vertices; i++) {
		for (uint32_t j = 0; j < s.mesh[1].vertices; j++)
			shared += memcmp(s.mesh[0].xyz + 3 * (size_t)i,
				      s.mesh[1].xyz + 3 * (size_t)j, 12) == 0;
	}
	tap_int(shared, 24 * 24, "two halves have a vertex in common for each face");
	tap_int(plane, 2 * 24 * 24, "all of them in the plane between");
	tap_near(mesh_volume(&s.mesh[0]) + mesh_volume(&s.mesh[1]), 24 * 24 * 24, 0.02,
	    "together they are the block");
	fg_surface_fini(&s);
	fg_array_fini(&a);
}

/* --- seams */

static struct fg_array
part_of(const struct fg_array *a, const struct fg_box *vx)
{
	struct fg_array out = blank(a->dtype, vx->hi[0] - vx->lo[0],
	    vx->hi[1] - vx->lo[1], vx->hi[2] - vx->lo[2]);
	struct fg_box whole = {.hi = {a->shape[0], a->shape[1], a->shape[2]}};

	fg_array_copy_box(&out, vx, a, &whole);
	return out;
}

/* Cut `a` into 2 x 2 x 2 blocks that share a layer; their meshes together are to be the
 * mesh of the whole. Returns edges that do not match, and counts the blocks' edges. */
static size_t
seam_errors(const struct fg_array *a, const double nm[3], size_t *edges)
{
	struct fg_surface_params p = {.nm = {nm[0], nm[1], nm[2]},
	    .close = FG_FACE_ALL};
	struct fg_surface whole = make(a, &p), part[8];
	size_t bad = 0;

	for (int b = 0; b < 8; b++) {
		struct fg_box vx;

		p.close = 0;
		for (int d = 0; d < 3; d++) {
			int64_t cut = a->shape[d] / 2 + d;
			bool upper = b >> d & 1;

			vx.lo[d] = upper ? cut : 0;
			vx.hi[d] = upper ? a->shape[d] : cut + 1;
			p.origin_vx[d] = vx.lo[d];
			p.close |= (upper ? 2u : 1u) << 2 * d;
		}
		struct fg_array labels = part_of(a, &vx);
		part[b] = make(&labels, &p);
		fg_array_fini(&labels);
	}
	for (size_t k = 0; k < whole.count; k++) {
		const struct fg_mesh *m[8];
		size_t n = 0, triangles = 0;

		for (int b = 0; b < 8; b++) {
			m[n] = fg_surface_find(&part[b], whole.mesh[k].label);
			if (m[n])
				triangles += m[n++]->triangles;
		}
		struct edges e = count_edges(m, n);
		bad += e.unbalanced + (triangles != whole.mesh[k].triangles) +
		       (e.all != count_edges_of(&whole.mesh[k]).all);
		*edges += e.all;
	}
	for (int b = 0; b < 8; b++)
		fg_surface_fini(&part[b]);
	fg_surface_fini(&whole);
	return bad;
}

static void
test_seams(void)
{
	struct fg_array a = blank(FG_U32, 60, 60, 60);
	size_t edges = 0, bad;

	paint(&a, 3, in_ball);
	paint(&a, 4, in_torus);
	bad = seam_errors(&a, (double[3]){4.2, 3.3, 40}, &edges);
	fg_array_fini(&a);
	for (int i = 0; i < 10; i++) {
		a = noise(FG_U32, 23, 17, 14, 2 + roll(6));
		bad += seam_errors(&a, (double[3]){7.7, 0.1, 33.3}, &edges);
		fg_array_fini(&a);
	}
	tap_int(bad, 0, "eight blocks are one mesh: %zu edges, none unmatched", edges);

	/* A block that is not closed at a face stays open there. */
	a = blank(FG_U32, 8, 8, 8);
	for (size_t i = 0; i < 512; i++)
		((uint32_t *)a.data)[i] = 1;
	struct fg_surface_params p = unit;
	p.close = FG_FACE_ALL & ~(unsigned)FG_FACE_X_HI;
	struct fg_surface s = make(&a, &p);
	tap_int(count_edges_of(&s.mesh[0]).unbalanced, 4 * 8,
	    "open border: its length");
	fg_surface_fini(&s);
	p.close = 0;
	s = make(&a, &p);
	tap_int(s.count, 0, "a full block inside a label has no surface");
	fg_surface_fini(&s);
	fg_array_fini(&a);
}

/* --- wanted labels, limits, refusals */

static void
test_only(void)
{
	struct fg_array a = noise(FG_U16, 21, 20, 19, 9);
	uint64_t only[3] = {4 * 251, 2 * 251, 99999};
	struct fg_surface_params p = unit;
	struct fg_surface all = make(&a, &p);

	p.only = only;
	p.only_count = 3;
	struct fg_surface some = make(&a, &p);
	tap_int(some.count, 2, "only the labels that are wanted and there");
	for (size_t k = 0; k < some.count; k++) {
		const struct fg_mesh *m = &some.mesh[k],
				     *n = fg_surface_find(&all, m->label);

		tap_ok(n && n->vertices == m->vertices &&
			   n->triangles == m->triangles &&
			   memcmp(n->xyz, m->xyz, 12 * (size_t)m->vertices) == 0 &&
			   memcmp(n->index, m->index, 12 * (size_t)m->triangles) == 0,
		    "the same bytes as among all labels");
	}
	fg_surface_fini(&some);
	p.only_count = 0;
	some = make(&a, &p);
	tap_int(some.count, 0, "an empty list wants nothing");
	fg_surface_fini(&some);
	fg_surface_fini(&all);
	fg_array_fini(&a);
}

/* Of a volume this large only two layers of numbers are kept: what lies in it has the
 * same surface as by itself, bit for bit. */
static void
test_large(void)
{
	enum { N = 22 };
	struct fg_array small = blank(FG_U32, N, N, N),
			in = noise(FG_U32, N - 2, N - 2, N - 2, 6),
			large = blank(FG_U8, 266, 266, 270);
	const int64_t at[3] = {200, 7, 180};
	struct fg_surface_params p = {.nm = {4, 5, 30}}, q = p;

	for (int64_t z = 0; z < N - 2; z++) {
		for (int64_t y = 0; y < N - 2; y++) {
			for (int64_t x = 0; x < N - 2; x++) {
				uint32_t v =
				    ((uint32_t *)
					    in.data)[x + (N - 2) * (y + (N - 2) * z)];

				((uint32_t *)
					small.data)[x + 1 + N * (y + 1 + N * (z + 1))] =
				    v;
				((uint8_t *)
					large.data)[x + 1 + at[0] +
						    266 * (y + 1 + at[1] +
							      266 * (z + 1 + at[2]))] =
				    (uint8_t)v;
			}
		}
	}
	memcpy(q.origin_vx, at, sizeof at);
	struct fg_surface all = make(&large, &p), part = make(&small, &q);
	tap_ok(all.count == part.count && all.vertices == part.vertices &&
		   all.triangles == part.triangles && all.triangles > 10000,
	    "in a large volume: %llu triangles", (unsigned long long)all.triangles);
	tap_ok(all.vertices == part.vertices &&
		   memcmp(all.xyz, part.xyz, all.vertices * 12) == 0,
	    "the same vertices");
	tap_ok(all.triangles == part.triangles &&
		   memcmp(all.index, part.index, all.triangles * 12) == 0,
	    "the same triangles");
	/* 76 MB would be the numbers of all layers. */
	p.memory = (all.triangles + all.vertices) * 12 + (8 << 20);
	fg_surface_fini(&all);
	tap_rc(fg_surface_make(&large, &p, &all, &err), &err, "with 8 MiB to work in");
	fg_surface_fini(&all);
	fg_surface_fini(&part);
	fg_array_fini(&small);
	fg_array_fini(&in);
	fg_array_fini(&large);
}

static void
test_refusals(void)
{
	struct fg_array a = noise(FG_U32, 30, 30, 30, 1000),
			i32 = blank(FG_I32, 2, 2, 2);
	struct fg_surface_params p = unit;
	struct fg_surface s = {0};

	p.memory = 1 << 20;
	tap_fails(fg_surface_make(&a, &p, &s, &err), &err, FG_EFULL, "1048576 bytes",
	    "noise does not fit into 1 MiB");
	p.memory = 30 * 30 * 30 * 300;
	tap_rc(fg_surface_make(&a, &p, &s, &err), &err, "but into 300 bytes a voxel");
	fg_surface_fini(&s);
	p.memory = 0;
	tap_fails(fg_surface_make(&i32, &p, &s, &err), &err, FG_EINVAL, "int32",
	    "signed labels");
	p.nm[1] = 0;
	tap_fails(fg_surface_make(&a, &p, &s, &err), &err, FG_EINVAL,
	    "0 nm along axis 1", "a voxel without width");
	p.nm[1] = INFINITY;
	tap_fails(fg_surface_make(&a, &p, &s, &err), &err, FG_EINVAL, "inf nm",
	    "a voxel without end");
	p = unit;
	a.shape[3] = 2;
	a.shape[2] = 15;
	tap_fails(fg_surface_make(&a, &p, &s, &err), &err, FG_EINVAL, "2 channels",
	    "two channels");
	a.shape[3] = 1;
	a.shape[2] = 0;
	tap_fails(fg_surface_make(&a, &p, &s, &err), &err, FG_EINVAL, "0 voxels",
	    "no voxels");
	fg_array_fini(&a);
	fg_array_fini(&i32);
}

int
main(void)
{
	test_figures();
	test_euler();
	test_one_voxel();
	test_contacts();
	test_noise();
	test_checkerboard();
	test_seams();
	test_only();
	test_large();
	test_refusals();
	return tap_done();
}
