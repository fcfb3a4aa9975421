/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Label volumes of any pattern, with voxels of any shape: distances are those of trying
 * all pairs of voxels; surfaces that are closed at the block's faces have as many
 * half-edges one way as the other, and enclose something; skeletons are forests, with
 * border targets, areas and shared layers as it comes; joined they stay forests.
 *
 * Input: three bytes for the extents (1 to 6), three for the voxel's sides (2^-20 to
 * 2^20 nm), one for the kind of labels, one for parameters; then a byte a voxel, from
 * the beginning again when they end.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "mesh/edt.h"
#include "mesh/join.h"
#include "mesh/skeleton.h"
#include "mesh/surface.h"

#define HEAD 8
#define SIDE_MAX 6 /* all pairs of voxels are tried */

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static uint64_t
label_of(uint8_t kind, uint8_t byte)
{
	static const uint64_t high = UINT64_C(1) << 63;
	unsigned v = byte % (1 + kind % 8);

	/* Small ones, or pairs that differ in their highest bits only. */
	return kind & 128 ? (v & 1 ? high : 0) | (uint64_t)(v >> 1) << 32 : v;
}

static bool
is_near(double a, double b)
{
	return a == b || fabs(a - b) <= 3e-6 * fabs(b);
}

static void
check_distances(const struct fg_array *a, const double nm[3], bool border)
{
	struct fg_err err = FG_ERR_INIT;
	const uint64_t *label = a->data;
	const int64_t *n = a->shape;
	struct fg_array d;

	fg_assert(fg_array_init(&d, FG_F32, a->shape, &err) == 0);
	fg_assert(fg_edt_make(a, nm, border, &d, &err) == 0);
	for (int64_t i = 0; i < n[0] * n[1] * n[2]; i++) {
		const int64_t at[3] = {i % n[0], i / n[0] % n[1], i / n[0] / n[1]};
		double least = INFINITY;

		for (int64_t j = 0; j < n[0] * n[1] * n[2]; j++) {
			if (label[i] == 0 || label[j] == label[i])
				continue;
			double x = nm[0] * (double)(at[0] - j % n[0]);
			double y = nm[1] * (double)(at[1] - j / n[0] % n[1]);
			double z = nm[2] * (double)(at[2] - j / n[0] / n[1]);

			least = fmin(least, sqrt(x * x + y * y + z * z));
		}
		for (int k = 0; border && k < 3; k++)
			least = fmin(least,
			    nm[k] * (double)FG_MIN(at[k] + 1, n[k] - at[k]));
		fg_assert(
		    is_near((double)((const float *)d.data)[i], label[i] ? least : 0));
	}
	fg_array_fini(&d);
}

static int
by_value(const void *pa, const void *pb)
{
	uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;

	return (a > b) - (a < b);
}

/* Half-edges from a to b as a << 32 | b: those of the other way, sorted, are the same.
 */
static void
check_closed(const struct fg_mesh *m)
{
	size_t n = 3 * (size_t)m->triangles;
	uint64_t *there = fg_calloc(n + 1, sizeof *there);
	uint64_t *back = fg_calloc(n + 1, sizeof *back);

	for (size_t i = 0; i < n; i++) {
		uint64_t a = m->index[i];
		uint64_t b = m->index[i % 3 == 2 ? i - 2 : i + 1];

		fg_assert(a < m->vertices && b < m->vertices && a != b);
		there[i] = a << 32 | b;
		back[i] = b << 32 | a;
	}
	qsort(there, n, sizeof *there, by_value);
	qsort(back, n, sizeof *back, by_value);
	fg_assert(n > 0 && memcmp(there, back, n * sizeof *there) == 0);
	for (size_t i = 0; i < 3 * (size_t)m->vertices; i++)
		fg_assert(isfinite(m->xyz[i]));
	free(there);
	free(back);
}

static bool
has_label(const struct fg_array *a, uint64_t label)
{
	const uint64_t *p = a->data;

	for (size_t i = 0; i < fg_array_count(a); i++) {
		if (p[i] == label)
			return true;
	}
	return false;
}

static void
check_surfaces(const struct fg_array *a, const double nm[3], uint8_t how)
{
	struct fg_surface_params p = {.close = how & 1 ? FG_FACE_ALL : how >> 1 & 0x3f};
	struct fg_err err = FG_ERR_INIT;
	struct fg_surface s;

	memcpy(p.nm, nm, sizeof p.nm);
	fg_assert(fg_surface_make(a, &p, &s, &err) == 0);
	for (size_t i = 0; i < s.count; i++) {
		const struct fg_mesh *m = &s.mesh[i];

		fg_assert(i == 0 || m[-1].label < m->label);
		fg_assert(has_label(a, m->label));
		if (p.close == FG_FACE_ALL)
			check_closed(m);
	}
	/* Closed, no label is without a surface. */
	for (size_t i = 0; p.close == FG_FACE_ALL && i < fg_array_count(a); i++) {
		uint64_t label = ((const uint64_t *)a->data)[i];

		fg_assert(label == 0 || fg_surface_find(&s, label));
	}
	fg_surface_fini(&s);
	p.memory = 1000; /* a limit is an error, not a crash */
	if (fg_surface_make(a, &p, &s, &err) == 0)
		fg_surface_fini(&s);
	else
		fg_assert(err.code == FG_EFULL);
}

static void
check_forest(const struct fg_skeleton *s)
{
	uint32_t *up = fg_calloc((size_t)s->vertices + 1, sizeof *up);

	for (uint32_t v = 0; v < s->vertices; v++) {
		up[v] = v;
		fg_assert(isfinite(s->radius[v]) && s->radius[v] > 0);
		fg_assert(!s->area || (isfinite(s->area[v]) && s->area[v] >= 0));
	}
	for (size_t e = 0; e < s->edges; e++) {
		uint32_t a = s->edge[2 * e], b = s->edge[2 * e + 1];

		for (; up[a] != a; a = up[a])
			;
		for (; up[b] != b; b = up[b])
			;
		fg_assert(a != b);
		up[a] = b;
	}
	free(up);
}

static void
check_skeletons(const struct fg_array *a, const double nm[3], uint8_t how)
{
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	struct fg_join_params jp = FG_JOIN_PARAMS;
	struct fg_err err = FG_ERR_INIT;
	struct fg_skeletons s;

	memcpy(p.nm, nm, sizeof p.nm);
	p.dust_threshold = 0;
	p.const_nm = nm[how % 3];
	p.fix_branching = how & 1;
	p.fix_borders = how & 2;
	p.border_faces = how >> 2 & 0x3f;
	p.cross_sectional_area = how & 4;
	p.shared_upper = how & 8 ? 7 : 0;
	p.soma_detection_threshold = how & 16 ? nm[0] : 750;
	p.soma_acceptance_threshold = how & 32 ? nm[1] : 3500;
	fg_assert(fg_skeletons_make(a, &p, &s, &err) == 0);
	for (size_t i = 0; i < s.count; i++) {
		const struct fg_skeleton *one = &s.skeleton[i];
		struct fg_skeleton out;

		fg_assert(one->label != 0 && (i == 0 || one[-1].label < one->label));
		check_forest(one);
		jp.tick_threshold = how & 64 ? nm[2] : 0;
		jp.dust_threshold = 0;
		fg_assert(fg_skeleton_join(&one, 1, &jp, &out, &err) == 0);
		check_forest(&out);
		fg_skeleton_fini(&out);
	}
	fg_skeletons_fini(&s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a;
	double nm[3];

	if (n <= HEAD)
		return 0;
	for (int d = 0; d < 3; d++) {
		shape[d] = 1 + p[d] % SIDE_MAX;
		nm[d] = ldexp(1 + (double)(p[3 + d] / 41) / 8, p[3 + d] % 41 - 20);
	}
	fg_assert(fg_array_init(&a, FG_U64, shape, &err) == 0);
	for (size_t i = 0; i < fg_array_count(&a); i++)
		((uint64_t *)a.data)[i] = label_of(p[6], p[HEAD + i % (n - HEAD)]);
	check_distances(&a, nm, p[7] & 128);
	check_surfaces(&a, nm, p[7]);
	check_skeletons(&a, nm, p[7]);
	fg_array_fini(&a);
	return 0;
}
