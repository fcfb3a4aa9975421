/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Meshes. Byte 0: bit 7 clear, the rest is a legacy fragment, and what can be decoded
 * must come back from the encoder byte for byte. Bit 7 set: the rest is a block of
 * labels (bytes 1-3 extents, byte 4 faces to close, then one byte a voxel), whose
 * surfaces must be closed where they are to be.
 */
#include "config.h"

#include "mesh/surface.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check_fragment(const uint8_t *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_mesh m;
	struct fg_buf *b = NULL;

	if (fg_mesh_decode_fragment(p, n, &m, &err) < 0) {
		fg_assert(err.code == FG_ECORRUPT && err.msg[0]);
		return;
	}
	fg_assert(fg_mesh_encode_fragment(&m, &b, &err) == 0);
	fg_assert(b->len == n && memcmp(b->data, p, n) == 0);
	fg_buf_unref(b);
	fg_mesh_fini(&m);
}

/* A closed surface: the triangles' area vectors cancel. */
static void
check_closed(const struct fg_mesh *m)
{
	double sum[3] = {0};

	for (size_t t = 0; t < m->triangles; t++) {
		const uint32_t *i = m->index + 3 * t;
		double u[3], v[3];

		for (int d = 0; d < 3; d++) {
			fg_assert(i[d] < m->vertices);
			u[d] = m->xyz[3 * i[1] + d] - m->xyz[3 * i[0] + d];
			v[d] = m->xyz[3 * i[2] + d] - m->xyz[3 * i[0] + d];
		}
		for (int d = 0; d < 3; d++)
			sum[d] += u[(d + 1) % 3] * v[(d + 2) % 3] -
				  u[(d + 2) % 3] * v[(d + 1) % 3];
	}
	/* Half voxels of size 2: whole numbers, so the sums are exact. */
	fg_assert(sum[0] == 0 && sum[1] == 0 && sum[2] == 0);
}

static void
check_surface(const uint8_t *p, size_t n)
{
	struct fg_surface_params params = {.nm = {2, 2, 2},
	    .close = p[3] & FG_FACE_ALL,
	    .memory = 64 << 20};
	struct fg_array a = {.dtype = FG_U8, .shape = {1, 1, 1, 1}};
	struct fg_err err = FG_ERR_INIT;
	struct fg_surface s;

	for (int d = 0; d < 3; d++)
		a.shape[d] = p[d] % 24 + 1;
	a.data = calloc(fg_array_count(&a), 1);
	memcpy(a.data, p + 4, FG_MIN(n - 4, fg_array_count(&a)));
	fg_assert(fg_surface_make(&a, &params, &s, &err) == 0);
	for (size_t k = 0; k < s.count; k++) {
		fg_assert(s.mesh[k].triangles > 0);
		if (params.close == FG_FACE_ALL)
			check_closed(&s.mesh[k]);
	}
	fg_surface_fini(&s);
	free(a.data);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	if (n >= 1 && !(p[0] & 0x80))
		check_fragment(p + 1, n - 1);
	else if (n >= 5)
		check_surface(p + 1, n - 1);
	return 0;
}
