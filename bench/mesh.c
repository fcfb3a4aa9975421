/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Surfaces, distances and skeletons of a label volume, one thread: seconds of processor
 * time and voxels per second. bench/mesh_peers.py does the same with zmesh, edt and
 * kimimaro on the same file.
 *
 * usage: mesh LABELS.u32 NX NY NZ   (plain uint32, x fastest; 10 nm voxels)
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/file.h"
#include "mesh/edt.h"
#include "mesh/skeleton.h"
#include "mesh/surface.h"

static struct fg_err err = FG_ERR_INIT;

static void
say(const char *what, clock_t began, double voxels)
{
	double s = (double)(clock() - began) / CLOCKS_PER_SEC;

	printf("%-10s %8.3f s %8.2f MVx/s\n", what, s, voxels / s / 1e6);
	fflush(stdout);
}

int
main(int argc, char **argv)
{
	struct fg_array a = {.dtype = FG_U32, .shape = {0, 0, 0, 1}}, d;
	struct fg_surface_params sp = {.nm = {10, 10, 10}, .close = FG_FACE_ALL};
	struct fg_skeleton_params kp = FG_SKELETON_PARAMS;
	struct fg_surface surface;
	struct fg_skeletons skeletons;

	if (argc != 5) {
		fprintf(stderr, "usage: mesh LABELS.u32 NX NY NZ\n");
		return 2;
	}
	for (int i = 0; i < 3; i++)
		a.shape[i] = strtoll(argv[2 + i], NULL, 10);
	struct fg_buf *b = fg_file_read(argv[1], fg_array_bytes(&a), &err);
	if (!b || b->len != fg_array_bytes(&a) ||
	    fg_array_init(&d, FG_F32, a.shape, &err) < 0) {
		fprintf(stderr, "mesh: %s: %s\n", argv[1],
		    err.msg[0] ? err.msg : "length does not fit");
		return 1;
	}
	a.data = b->data;
	double voxels = (double)fg_array_count(&a);
	clock_t began = clock();
	if (fg_surface_make(&a, &sp, &surface, &err) < 0)
		goto fail;
	say("surfaces", began, voxels);
	printf("           %zu labels, %llu triangles\n", surface.count,
	    (unsigned long long)surface.triangles);
	fg_surface_fini(&surface);
	began = clock();
	if (fg_edt_make(&a, sp.nm, false, &d, &err) < 0)
		goto fail;
	say("distances", began, voxels);
	kp.nm[0] = kp.nm[1] = kp.nm[2] = 10;
	began = clock();
	if (fg_skeletons_make(&a, &kp, &skeletons, &err) < 0)
		goto fail;
	say("skeletons", began, voxels);
	printf("           %zu skeletons\n", skeletons.count);
	fg_skeletons_fini(&skeletons);
	fg_array_fini(&d);
	fg_buf_unref(b);
	return 0;
fail:
	fprintf(stderr, "mesh: %s\n", err.msg);
	return 1;
}
