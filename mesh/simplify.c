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

int
fg_simplify_make(const struct fg_mesh *in, const struct fg_simplify_params *p,
    struct fg_mesh *out, double *error_nm, struct fg_err *err)
{
	struct fg_mesh m = {.label = in->label};
	size_t n = 3 * (size_t)in->triangles;
	float reached = 0, scale = 0;

	if (!isfinite(p->error_nm) || p->error_nm < 0)
		return fg_fail(err, FG_EINVAL, "an error of %g nm is not possible",
		    p->error_nm);
	m.index = fg_try_alloc(n, sizeof *m.index);
	if (!m.index)
		return fg_fail(err, FG_ENOMEM, "no memory to simplify %u triangles",
		    in->triangles);
	if (n > 0) {
		scale = meshopt_simplifyScale(in->xyz, in->vertices, 12);
		size_t left = meshopt_simplify(m.index, in->index, n, in->xyz,
		    in->vertices, 12, FG_MIN(3 * (size_t)p->triangles, n),
		    scale > 0 ? (float)(p->error_nm / (double)scale) : 0,
		    meshopt_SimplifyLockBorder, &reached);
		m.triangles = (uint32_t)(left / 3);
	}
	if (keep_used(in, &m, err) < 0) {
		fg_mesh_fini(&m);
		return -1;
	}
	if (error_nm)
		*error_nm = (double)(reached * scale);
	*out = m;
	return 0;
}
