/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surfaces, distances and skeletons of a label volume, one thread: seconds of processor
 * time, voxels per second, and the most memory beyond the labels. bench/mesh_peers.py
 * runs it beside zmesh, edt and kimimaro on the same file.
 *
 * chunks: all labels of each chunk of 64^3 voxels (and the layer that it shares with
 * the next) from labels to Draco, simplified to a distance of one voxel: milliseconds
 * of a chunk.
 *
 * usage: mesh LABELS.u32 NX NY NZ [surfaces|distances|skeletons|chunks]
 *        (plain uint32, x fastest; 10 nm voxels; without a word all of them)
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/file.h"
#include "mesh/draco.h"
#include "mesh/edt.h"
#include "mesh/simplify.h"
#include "mesh/skeleton.h"
#include "mesh/surface.h"

static struct fg_err err = FG_ERR_INIT;

static long
peak_kib(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_maxrss;
}

static void
say(const char *what, clock_t began, long before, double voxels)
{
	double s = (double)(clock() - began) / CLOCKS_PER_SEC;

	printf("%-10s %8.3f s %8.2f MVx/s %8.0f MB\n", what, s, voxels / s / 1e6,
	    (double)(peak_kib() - before) / 1024);
	fflush(stdout);
}

static int
surfaces(const struct fg_array *a)
{
	struct fg_surface_params p = {.nm = {10, 10, 10}, .close = FG_FACE_ALL};
	struct fg_surface s;
	clock_t began = clock();
	long before = peak_kib();

	if (fg_surface_make(a, &p, &s, &err) < 0)
		return -1;
	say("surfaces", began, before, (double)fg_array_count(a));
	printf("           %zu labels, %llu triangles\n", s.count,
	    (unsigned long long)s.triangles);
	fg_surface_fini(&s);
	return 0;
}

static int
distances(const struct fg_array *a)
{
	const double nm[3] = {10, 10, 10};
	struct fg_array d;
	clock_t began = clock();
	long before = peak_kib();

	if (fg_array_init(&d, FG_F32, a->shape, &err) < 0 ||
	    fg_edt_make(a, nm, false, &d, &err) < 0)
		return -1;
	say("distances", began, before, (double)fg_array_count(a));
	fg_array_fini(&d);
	return 0;
}

static int
skeletons(const struct fg_array *a)
{
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	struct fg_skeletons s;
	clock_t began = clock();
	long before = peak_kib();

	p.nm[0] = p.nm[1] = p.nm[2] = 10;
	if (fg_skeletons_make(a, &p, &s, &err) < 0)
		return -1;
	say("skeletons", began, before, (double)fg_array_count(a));
	printf("           %zu skeletons\n", s.count);
	fg_skeletons_fini(&s);
	return 0;
}

/* ------------------------------------------------------------- chunks */

#define CHUNK 64
#define NM 10.0

/* What one chunk took, in seconds. */
struct chunk {
	double surface, simplify, encode;
	size_t meshes, triangles, left, bytes;
};

static double
lap(clock_t *t)
{
	clock_t now = clock();
	double s = (double)(now - *t) / CLOCKS_PER_SEC;

	*t = now;
	return s;
}

/* On the lattice of half voxels, from the block's first voxel centre. */
static int
encode(const struct fg_mesh *m, const int64_t lo[3], size_t *bytes)
{
	int32_t *at = fg_calloc(3 * (size_t)m->vertices + 1, sizeof *at);
	struct fg_buf *out = NULL;
	int rc;

	for (size_t i = 0; i < 3 * (size_t)m->vertices; i++) {
		double half = (double)m->xyz[i] * 2 / NM - 2 * (double)lo[i % 3];

		at[i] = (int32_t)(half * (65535.0 / (2 * CHUNK + 2)) + 0.5);
	}
	rc = fg_draco_encode(at, m->vertices, m->index, m->triangles, &out, &err);
	*bytes += rc == 0 ? out->len : 0;
	fg_buf_unref(out);
	free(at);
	return rc;
}

static int
one_chunk(const struct fg_array *a, const struct fg_box *box, struct chunk *c)
{
	struct fg_surface_params p = {.nm = {NM, NM, NM},
	    .origin_vx = {box->lo[0], box->lo[1], box->lo[2]}};
	struct fg_simplify_params sp = {.error_nm = NM, .sharp = true};
	struct fg_box all = {.hi = {a->shape[0], a->shape[1], a->shape[2]}};
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_array part;
	struct fg_surface s;
	clock_t t = clock();

	*c = (struct chunk){0};
	fg_box_shape(box, shape);
	if (fg_array_init(&part, FG_U32, shape, &err) < 0)
		return -1;
	fg_array_copy_box(&part, box, a, &all);
	if (fg_surface_make(&part, &p, &s, &err) < 0)
		return -1;
	c->surface = lap(&t);
	for (size_t i = 0; i < s.count; i++) {
		struct fg_mesh m = FG_MESH_INIT;

		if (fg_simplify_make(&s.mesh[i], &sp, &m, NULL, &err) < 0)
			return -1;
		c->simplify += lap(&t);
		if (m.triangles > 0 && encode(&m, box->lo, &c->bytes) < 0)
			return -1;
		c->encode += lap(&t);
		c->meshes++;
		c->triangles += s.mesh[i].triangles;
		c->left += m.triangles;
		fg_mesh_fini(&m);
	}
	fg_surface_fini(&s);
	fg_array_fini(&part);
	return 0;
}

static double
total(const struct chunk *c)
{
	return c->surface + c->simplify + c->encode;
}

static int
by_total(const void *a, const void *b)
{
	double x = total(a), y = total(b);

	return (x > y) - (x < y);
}

static void
say_chunks(struct chunk *c, size_t n)
{
	struct chunk sum = {0};

	qsort(c, n, sizeof *c, by_total);
	for (size_t i = 0; i < n; i++) {
		sum.surface += c[i].surface;
		sum.simplify += c[i].simplify;
		sum.encode += c[i].encode;
		sum.meshes += c[i].meshes;
		sum.triangles += c[i].triangles;
		sum.left += c[i].left;
		sum.bytes += c[i].bytes;
	}
	double k = 1e3 / (double)n;
	printf("chunks     %zu of %d^3: mean %.1f ms (surface %.1f, simplify %.1f, "
	       "Draco "
	       "%.1f), median %.1f, p95 %.1f, worst %.1f\n",
	    n, CHUNK, k * total(&sum), k * sum.surface, k * sum.simplify,
	    k * sum.encode, 1e3 * total(&c[n / 2]), 1e3 * total(&c[n * 95 / 100]),
	    1e3 * total(&c[n - 1]));
	printf("           %.1f meshes, %.0f triangles, %.2f %% of them left, %.1f kB "
	       "a "
	       "chunk\n",
	    (double)sum.meshes / (double)n, (double)sum.triangles / (double)n,
	    100 * (double)sum.left / (double)sum.triangles,
	    1e-3 * (double)sum.bytes / (double)n);
}

static int
chunks(const struct fg_array *a)
{
	size_t n = 0, all = 1;
	struct chunk *c;
	int64_t g[3];

	if (!fg_draco_is_built())
		return fg_fail(&err, FG_ENOTSUP, "built without libdraco");
	for (int d = 0; d < 3; d++) {
		g[d] = a->shape[d] / CHUNK;
		all *= (size_t)g[d];
	}
	if (all == 0)
		return fg_fail(&err, FG_EINVAL, "no chunk of %d^3 voxels", CHUNK);
	c = fg_calloc(all, sizeof *c);
	for (; n < all; n++) {
		int64_t at[3] = {(int64_t)n % g[0], (int64_t)n / g[0] % g[1],
		    (int64_t)n / g[0] / g[1]};
		struct fg_box box;

		for (int d = 0; d < 3; d++) {
			box.lo[d] = at[d] * CHUNK;
			box.hi[d] = FG_MIN(box.lo[d] + CHUNK + 1, a->shape[d]);
		}
		if (one_chunk(a, &box, &c[n]) < 0)
			return -1;
	}
	say_chunks(c, n);
	free(c);
	return 0;
}

int
main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const struct fg_array *);
	} what[] = {{"surfaces", surfaces}, {"distances", distances},
	    {"skeletons", skeletons}, {"chunks", chunks}};
	struct fg_array a = {.dtype = FG_U32, .shape = {0, 0, 0, 1}};
	bool some = false;

	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: mesh LABELS.u32 NX NY NZ "
				"[surfaces|distances|skeletons|chunks]\n");
		return 2;
	}
	for (int i = 0; i < 3; i++)
		a.shape[i] = strtoll(argv[2 + i], NULL, 10);
	struct fg_buf *b = fg_file_read(argv[1], fg_array_bytes(&a), &err);
	if (!b || b->len != fg_array_bytes(&a)) {
		fprintf(stderr, "mesh: %s: %s\n", argv[1],
		    err.msg[0] ? err.msg : "length does not fit");
		return 1;
	}
	a.data = b->data;
	for (size_t i = 0; i < FG_COUNTOF(what); i++) {
		if (argc == 6 && strcmp(argv[5], what[i].name) != 0)
			continue;
		some = true;
		if (what[i].run(&a) < 0) {
			fprintf(stderr, "mesh: %s\n", err.msg);
			return 1;
		}
	}
	fg_buf_unref(b);
	return some ? 0 : 2;
}
