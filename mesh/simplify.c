/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one file that calls meshoptimizer (0.18 and later), which makes what is not
 * measured, and is tried where our own (mesh/thin.h) goes too far all over. It takes
 * errors relative to the mesh's extent; here they are nanometres, so both ways are
 * scaled.
 */
#include "config.h"

#include "mesh/simplify.h"

#include <math.h>
#include <stdlib.h>

#include <meshoptimizer.h>

#include "mesh/distance.h"
#include "mesh/thin.h"

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
	for (uint32_t v = 0; v < in->vertices; v++) {
		if (!place[v])
			continue;
		place[v] = m->vertices++;
	}
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

/* Fewer triangles of the vertices of `in`: out has room for all. Not measured. */
static uint32_t
collapse(const struct fg_mesh *in, double want_nm, uint32_t target, uint32_t *out,
    double *error_nm)
{
	size_t n = 3 * (size_t)in->triangles, left = 0;
	float reached = 0, scale = 0;

	if (n > 0) {
		scale = meshopt_simplifyScale(in->xyz, in->vertices, 12);
		left = meshopt_simplify(out, in->index, n, in->xyz, in->vertices, 12,
		    FG_MIN(3 * (size_t)target, n),
		    scale > 0 ? (float)(want_nm / (double)scale) : 0,
		    meshopt_SimplifyLockBorder, &reached);
	}
	*error_nm = (double)(reached * scale);
	return (uint32_t)(left / 3);
}

static int
simplify(const struct fg_mesh *in, double want_nm, uint32_t triangles,
    struct fg_mesh *out, double *error_nm, struct fg_err *err)
{
	struct fg_mesh m = {.label = in->label};

	m.index = fg_try_alloc(3 * (size_t)in->triangles, sizeof *m.index);
	if (!m.index)
		return fg_fail(err, FG_ENOMEM, "no memory to simplify %u triangles",
		    in->triangles);
	m.triangles = collapse(in, want_nm, triangles, m.index, error_nm);
	if (keep_used(in, &m, err) < 0) {
		fg_mesh_fini(&m);
		return -1;
	}
	*out = m;
	return 0;
}

/* Errors to try, as parts of the limit (mesh/thin.h), and how much is left as it is
 * around what comes to be too far, in limits. Where the first is kept, as in nearly all
 * labels of tissue, there is one measurement. */
static const struct {
	double first, further, off, around;
} tries[] = {{0.1, 0.45, 1.2, 3}, {0.1, 0.45, 1.2, 6}, {0.05, 0.25, 1, 12},
    {0.02, 0.1, 0.5, 24}};

/* All but what is marked is simplified. The border of a hole is held fast, so
 * that what is marked still fits in. */
static int
simplify_around(struct fg_distance *d, const struct fg_mesh *in, const uint8_t *mark,
    size_t try, const struct fg_simplify_params *p, struct fg_mesh *out,
    struct fg_err *err)
{
	const struct fg_sheet *s = fg_distance_sheet(d, err);
	size_t n = 3 * (size_t)in->triangles;
	struct fg_mesh m = {.label = in->label};
	struct fg_thin_params q = {
	    .first = (float)(tries[try].first * p->error_nm),
	    .further = (float)(tries[try].further * p->error_nm),
	    .off = (float)(tries[try].off * p->error_nm),
	    .triangles = p->triangles,
	};
	int rc = -1;

	m.index = fg_try_alloc(n, sizeof *m.index);
	if (!m.index)
		goto no_memory;
	if (!s || fg_thin_make(s, mark, &q, m.index, &m.triangles, err) < 0)
		goto out;
	for (size_t t = 0; t < in->triangles; t++) {
		if (mark[t])
			memcpy(m.index + 3 * (size_t)m.triangles++, in->index + 3 * t,
			    12);
	}
	if (keep_used(in, &m, err) < 0)
		goto out;
	*out = m;
	m = FG_MESH_INIT;
	rc = 0;
	goto out;
no_memory:
	fg_fail(err, FG_ENOMEM, "no memory to simplify %u triangles", in->triangles);
out:
	fg_mesh_fini(&m);
	return rc;
}

/* All triangles, and the vertices that they use. */
static int
copy(const struct fg_mesh *in, struct fg_mesh *out, struct fg_err *err)
{
	struct fg_mesh m = {.label = in->label, .triangles = in->triangles};

	m.index = fg_try_alloc(3 * (size_t)in->triangles, sizeof *m.index);
	if (!m.index)
		return fg_fail(err, FG_ENOMEM, "no memory for %u triangles",
		    in->triangles);
	memcpy(m.index, in->index, 12 * (size_t)in->triangles);
	if (keep_used(in, &m, err) < 0) {
		fg_mesh_fini(&m);
		return -1;
	}
	*out = m;
	return 0;
}

/*
 * Rough all over: a little may still be taken everywhere, or what is flat.
 * meshoptimizer may pass the limit with any error, 0 too, so each is measured, and the
 * mesh is left as it is when none keeps to it.
 */
static int
simplify_rough(struct fg_distance *d, const struct fg_mesh *in,
    const struct fg_simplify_params *p, struct fg_mesh *out, struct fg_err *err)
{
	static const double part[] = {0.05, 0};

	for (size_t i = 0; i < FG_COUNTOF(part); i++) {
		struct fg_mesh m = FG_MESH_INIT;
		bool within = false;
		double planes;

		if (simplify(in, part[i] * p->error_nm, p->triangles, &m, &planes,
			err) < 0)
			return -1;
		int rc = fg_distance_within(d, &m, p->error_nm, &within, err);
		if (rc == 0 && within) {
			*out = m;
			return 0;
		}
		fg_mesh_fini(&m);
		if (rc < 0)
			return -1;
	}
	return copy(in, out, err);
}

/*
 * The first try is nearly always kept; each further one takes less, and leaves out the
 * surroundings of what was too far. All distances are from `in`.
 */
static int
simplify_sharp(const struct fg_mesh *in, const struct fg_simplify_params *p,
    struct fg_mesh *out, struct fg_err *err)
{
	struct fg_distance *d = fg_distance_new(in, err);
	uint8_t *mark = calloc((size_t)in->triangles + 1, 1);
	bool within = false;
	int rc = d ? 0 : -1;

	if (!mark)
		rc = fg_fail(err, FG_ENOMEM, "no memory to simplify %u triangles",
		    in->triangles);
	for (size_t i = 0; i < FG_COUNTOF(tries) && !within && rc == 0; i++) {
		struct fg_mesh m = FG_MESH_INIT;
		uint64_t marked = 0;

		for (size_t t = 0; t < in->triangles; t++)
			marked += mark[t];
		/* Noise: there is no saying what would be near. */
		if (2 * marked > in->triangles)
			break;
		rc = -1;
		if (simplify_around(d, in, mark, i, p, &m, err) == 0)
			rc = fg_distance_mark(d, &m, p->error_nm,
			    tries[i].around * p->error_nm, mark, &within, err);
		if (within && rc == 0)
			*out = m;
		else
			fg_mesh_fini(&m);
	}
	if (rc == 0 && !within)
		rc = simplify_rough(d, in, p, out, err);
	fg_distance_free(d);
	free(mark);
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
