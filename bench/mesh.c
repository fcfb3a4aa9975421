/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surfaces, distances and skeletons of a label volume, one thread: seconds of processor
 * time, voxels per second, and the most memory beyond the labels. bench/mesh_peers.py
 * runs it beside zmesh, edt and kimimaro on the same file.
 *
 * chunks: all labels of each chunk of 64^3 voxels (and the layer that it shares with
 * the next) from labels to Draco, simplified to a distance of one voxel: milliseconds
 * of a chunk; processor time of one thread, then by the clock with its labels on all
 * the cores that the process may run on, the largest first (the bytes are the same).
 *
 * usage: mesh LABELS.u32 NX NY NZ [surfaces|distances|skeletons|chunks]
 *        (plain uint32, x fastest; 10 nm voxels; without a word all of them)
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "mesh/draco.h"
#include "mesh/edt.h"
#include "mesh/simplify.h"
#include "mesh/skeleton.h"
#include "mesh/surface.h"
#include "work/parallel.h"

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

/* What one chunk took, in seconds: processor time, or all of it by the clock as
 * `surface`. */
struct chunk {
	double surface, simplify, encode;
	size_t meshes, triangles, left, bytes;
	uint64_t hash; /* of all bytes */
};

/* A label of it. */
struct label {
	const struct fg_mesh *in;
	const int64_t *lo;
	double simplify, encode;
	uint32_t left;
	struct fg_buf *out;
};

static double
thread_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* On the lattice of half voxels, from the block's first voxel centre. */
static int
encode(const struct fg_mesh *m, const int64_t lo[3], struct fg_buf **out,
    struct fg_err *e)
{
	int32_t *at = fg_calloc(3 * (size_t)m->vertices + 1, sizeof *at);
	int rc;

	for (size_t i = 0; i < 3 * (size_t)m->vertices; i++) {
		double half = (double)m->xyz[i] * 2 / NM - 2 * (double)lo[i % 3];

		at[i] = (int32_t)(half * (65535.0 / (2 * CHUNK + 2)) + 0.5);
	}
	rc = fg_draco_encode(at, m->vertices, m->index, m->triangles, out, e);
	free(at);
	return rc;
}

static int
one_label(void *arg, size_t i, struct fg_err *e)
{
	struct fg_simplify_params sp = {.error_nm = NM, .sharp = true};
	struct label *l = (struct label *)arg + i;
	struct fg_mesh m = FG_MESH_INIT;
	double t0 = thread_s(), t1;
	int rc = 0;

	if (fg_simplify_make(l->in, &sp, &m, NULL, e) < 0)
		return -1;
	t1 = thread_s();
	if (m.triangles > 0)
		rc = encode(&m, l->lo, &l->out, e);
	l->simplify = t1 - t0;
	l->encode = thread_s() - t1;
	l->left = m.triangles;
	fg_mesh_fini(&m);
	return rc;
}

static int
by_size(const void *a, const void *b)
{
	const struct fg_mesh *x = ((const struct label *)a)->in,
			     *y = ((const struct label *)b)->in;

	if (x->triangles != y->triangles)
		return x->triangles < y->triangles ? 1 : -1;
	return (x->label > y->label) - (x->label < y->label);
}

static int
one_chunk(const struct fg_array *a, const struct fg_box *box, int threads,
    struct chunk *c)
{
	struct fg_surface_params p = {.nm = {NM, NM, NM},
	    .origin_vx = {box->lo[0], box->lo[1], box->lo[2]}};
	struct fg_box all = {.hi = {a->shape[0], a->shape[1], a->shape[2]}};
	int64_t shape[4] = {1, 1, 1, 1}, t0 = fg_clock_ns();
	double began = thread_s();
	struct fg_array part;
	struct fg_surface s;
	struct label *l;

	*c = (struct chunk){0};
	fg_box_shape(box, shape);
	if (fg_array_init(&part, FG_U32, shape, &err) < 0)
		return -1;
	fg_array_copy_box(&part, box, a, &all);
	if (fg_surface_make(&part, &p, &s, &err) < 0)
		return -1;
	c->surface = thread_s() - began;
	l = fg_calloc(s.count + 1, sizeof *l);
	for (size_t i = 0; i < s.count; i++)
		l[i] = (struct label){.in = &s.mesh[i], .lo = box->lo};
	qsort(l, s.count, sizeof *l, by_size);
	if (fg_parallel_for(s.count, threads, one_label, l, NULL, &err) < 0)
		return -1;
	for (size_t i = 0; i < s.count; i++) {
		c->simplify += l[i].simplify;
		c->encode += l[i].encode;
		c->meshes++;
		c->triangles += l[i].in->triangles;
		c->left += l[i].left;
		if (!l[i].out)
			continue;
		c->bytes += l[i].out->len;
		c->hash = c->hash * 31 + fg_hash64(l[i].out->data, l[i].out->len);
		fg_buf_unref(l[i].out);
	}
	free(l);
	fg_surface_fini(&s);
	fg_array_fini(&part);
	if (threads > 1) {
		c->surface = (double)(fg_clock_ns() - t0) * 1e-9;
		c->simplify = c->encode = 0;
	}
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

/* The same on all cores. */
static int
say_cores(struct chunk *c, size_t n, int threads, uint64_t hash)
{
	uint64_t same = 0;
	double sum = 0;

	for (size_t i = 0; i < n; i++) {
		same = same * 31 + c[i].hash;
		sum += total(&c[i]);
	}
	if (same != hash)
		return fg_fail(&err, FG_ECORRUPT, "other bytes on %d threads", threads);
	qsort(c, n, sizeof *c, by_total);
	printf("           on %d threads, by the clock: mean %.1f ms, median %.1f, p95 "
	       "%.1f, worst %.1f\n",
	    threads, 1e3 * sum / (double)n, 1e3 * total(&c[n / 2]),
	    1e3 * total(&c[n * 95 / 100]), 1e3 * total(&c[n - 1]));
	return 0;
}

static int
all_chunks(const struct fg_array *a, const int64_t g[3], int threads, struct chunk *c)
{
	for (int64_t n = 0; n < g[0] * g[1] * g[2]; n++) {
		int64_t at[3] = {n % g[0], n / g[0] % g[1], n / g[0] / g[1]};
		struct fg_box box;

		for (int d = 0; d < 3; d++) {
			box.lo[d] = at[d] * CHUNK;
			box.hi[d] = FG_MIN(box.lo[d] + CHUNK + 1, a->shape[d]);
		}
		if (one_chunk(a, &box, threads, &c[n]) < 0)
			return -1;
	}
	return 0;
}

static int
chunks(const struct fg_array *a)
{
	int threads = fg_parallel_cores(), rc = -1;
	size_t all = 1;
	uint64_t hash = 0;
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
	if (all_chunks(a, g, 1, c) < 0)
		goto out;
	for (size_t i = 0; i < all; i++)
		hash = hash * 31 + c[i].hash;
	say_chunks(c, all);
	fflush(stdout);
	if (threads > 1 &&
	    (all_chunks(a, g, threads, c) < 0 || say_cores(c, all, threads, hash) < 0))
		goto out;
	rc = 0;
out:
	free(c);
	return rc;
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
