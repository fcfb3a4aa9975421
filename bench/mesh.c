/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surfaces, distances and skeletons of a label volume, one thread: seconds of processor
 * time, voxels per second, and the most memory beyond the labels. bench/mesh_peers.py
 * runs it beside zmesh, edt and kimimaro on the same file.
 *
 * usage: mesh LABELS.u32 NX NY NZ [surfaces|distances|skeletons]
 *        (plain uint32, x fastest; 10 nm voxels; without a word all of them)
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/file.h"
#include "mesh/edt.h"
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

int
main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(const struct fg_array *);
	} what[] = {{"surfaces", surfaces}, {"distances", distances},
	    {"skeletons", skeletons}};
	struct fg_array a = {.dtype = FG_U32, .shape = {0, 0, 0, 1}};
	bool some = false;

	if (argc != 5 && argc != 6) {
		fprintf(stderr, "usage: mesh LABELS.u32 NX NY NZ "
				"[surfaces|distances|skeletons]\n");
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
