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

/* Errors of planes to try, as parts of the limit: first a small one from the whole
 * mesh, less where the limit is not kept (0 changes nothing but flat places). */
static const double first[] = {0.15, 0.06, 0.02, 0};
/* Then more, from the little that is left by then. */
#define FURTHER 0.4

/* A mesh as far as its distance allows: the one simplified once or twice. */
static int
choose(struct fg_distance *d, double limit, struct fg_mesh *once, struct fg_mesh *twice,
    struct fg_mesh *out, bool *within, struct fg_err *err)
{
	struct fg_mesh *m = twice;

	if (fg_distance_within(d, m, limit, within, err) < 0)
		return -1;
	if (!*within) {
		m = once;
		if (fg_distance_within(d, m, limit, within, err) < 0)
			return -1;
	}
	if (*within) {
		*out = *m;
		*m = FG_MESH_INIT;
	}
	return 0;
}

/*
 * Large steps are made from small meshes, so that the price is that of one pass over
 * the whole and one measurement, and little more. All distances are from `in`.
 */
static int
simplify_sharp(const struct fg_mesh *in, const struct fg_simplify_params *p,
    struct fg_mesh *out, struct fg_err *err)
{
	struct fg_distance *d = fg_distance_new(in, err);
	bool within = false;
	double planes;
	int rc = d ? 0 : -1;

	for (size_t i = 0; i < FG_COUNTOF(first) && !within && rc == 0; i++) {
		struct fg_mesh once = FG_MESH_INIT, twice = FG_MESH_INIT;

		rc = -1;
		if (simplify(in, first[i] * p->error_nm, p->triangles, &once, &planes,
			err) == 0 &&
		    simplify(&once, FURTHER * p->error_nm, p->triangles, &twice,
			&planes, err) == 0)
			rc = choose(d, p->error_nm, &once, &twice, out, &within, err);
		fg_mesh_fini(&once);
		fg_mesh_fini(&twice);
	}
	if (rc == 0 && !within)
		rc = simplify(in, 0, p->triangles, out, &planes, err);
	fg_distance_free(d);
	return rc;
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
		if (simplify_sharp(in, p, out, err) < 0)
			return -1;
		reached = p->error_nm;
	} else if (simplify(in, p->error_nm, p->triangles, out, &reached, err) < 0) {
		return -1;
	}
	if (error_nm)
		*error_nm = reached;
	return 0;
}
