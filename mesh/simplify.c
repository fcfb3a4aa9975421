/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one file that calls meshoptimizer (0.18 and later). It measures errors relative
 * to the mesh's extent; here they are nanometres, so both ways are scaled.
 */
#include "config.h"

#include "mesh/simplify.h"

#include <math.h>
#include <stdlib.h>

#include <meshoptimizer.h>

#include "mesh/distance.h"

#define TRIES 4

/* Vertices that the index uses, in their order; the index renumbered. */
static int
keep_used(const struct fg_mesh *in, struct fg_mesh *m, struct fg_err *err)
{
	uint32_t *place = calloc((size_t)in->vertices + 1, sizeof *place);
	size_t n = 3 * (size_t)m->triangles;

	if (!place)
		goto none;
	for (size_t i = 0; i < n; i++)
		place[m->index[i]] = 1;
	for (uint32_t v = 0; v < in->vertices; v++)
		place[v] = place[v] ? m->vertices++ : 0;
	m->xyz = fg_try_alloc(3 * (size_t)m->vertices, sizeof *m->xyz);
	if (!m->xyz)
		goto none;
	for (size_t i = 0; i < n; i++) {
		uint32_t old = m->index[i];

		m->index[i] = place[old];
		memcpy(m->xyz + 3 * (size_t)place[old], in->xyz + 3 * (size_t)old, 12);
	}
	free(place);
	return 0;
none:
	free(place);
	return fg_fail(err, FG_ENOMEM, "no memory to simplify %u vertices",
	    in->vertices);
}

/* Once, without measuring. */
static int
simplify(const struct fg_mesh *in, double want_nm, uint32_t triangles,
    struct fg_mesh *out, double *error_nm, struct fg_err *err)
{
	struct fg_mesh m = {.label = in->label};
	size_t n = 3 * (size_t)in->triangles;
	float reached = 0, scale = 0;

	m.index = fg_try_alloc(n, sizeof *m.index);
	if (!m.index)
		return fg_fail(err, FG_ENOMEM, "no memory to simplify %u triangles",
		    in->triangles);
	if (n > 0) {
		scale = meshopt_simplifyScale(in->xyz, in->vertices, 12);
		size_t left = meshopt_simplify(m.index, in->index, n, in->xyz,
		    in->vertices, 12, FG_MIN(3 * (size_t)triangles, n),
		    scale > 0 ? (float)(want_nm / (double)scale) : 0,
		    meshopt_SimplifyLockBorder, &reached);
		m.triangles = (uint32_t)(left / 3);
	}
	if (keep_used(in, &m, err) < 0) {
		fg_mesh_fini(&m);
		return -1;
	}
	*error_nm = (double)(reached * scale);
	*out = m;
	return 0;
}

/* Measured distances are mostly one to two times the error of planes, so begin with
 * half and let the measure tell how much less it takes. The last try changes nothing
 * but flat places. */
static int
simplify_sharp(const struct fg_mesh *in, const struct fg_simplify_params *p,
    struct fg_mesh *out, double *error_nm, struct fg_err *err)
{
	double want = p->error_nm / 2;

	for (int i = 0;; i++) {
		struct fg_mesh m = FG_MESH_INIT;
		double planes, off;

		if (i == TRIES)
			want = 0;
		if (simplify(in, want, p->triangles, &m, &planes, err) < 0)
			return -1;
		if (fg_distance_measure(in, &m, FG_MAX(p->error_nm / 4, 1e-6), &off,
			err) < 0) {
			fg_mesh_fini(&m);
			return -1;
		}
		if (off <= p->error_nm || i == TRIES) {
			*out = m;
			*error_nm = off;
			return 0;
		}
		fg_mesh_fini(&m);
		want *= FG_MAX(0.8 * p->error_nm / off, 0.1);
	}
}

int
fg_simplify_make(const struct fg_mesh *in, const struct fg_simplify_params *p,
    struct fg_mesh *out, double *error_nm, struct fg_err *err)
{
	double reached = 0;

	if (!isfinite(p->error_nm) || p->error_nm < 0)
		return fg_fail(err, FG_EINVAL, "an error of %g nm is not possible",
		    p->error_nm);
	if (p->sharp && in->triangles > 0 && p->error_nm > 0) {
		if (simplify_sharp(in, p, out, &reached, err) < 0)
			return -1;
	} else if (simplify(in, p->error_nm, p->triangles, out, &reached, err) < 0) {
		return -1;
	}
	if (error_nm)
		*error_nm = reached;
	return 0;
}
