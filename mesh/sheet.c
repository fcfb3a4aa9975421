/* SPDX-License-Identifier: Apache-2.0 */
/* Who is beside whom in a mesh: counted, then filled in, all in flat arrays. */
#include "config.h"

#include "mesh/sheet.h"

#include <stdlib.h>

int
fg_sheet_init(struct fg_sheet *s, const struct fg_mesh *m, const double origin[3],
    struct fg_err *err)
{
	size_t n = 3 * (size_t)m->triangles;

	*s = (struct fg_sheet){.mesh = m, .origin = origin};
	s->at = fg_try_alloc(3 * (size_t)m->vertices + 1, sizeof *s->at);
	s->first = calloc((size_t)m->vertices + 2, sizeof *s->first);
	s->ring = fg_try_alloc(n + 1, sizeof *s->ring);
	s->next = fg_try_alloc(n + 1, sizeof *s->next);
	if (!s->at || !s->first || !s->ring || !s->next)
		return fg_fail(err, FG_ENOMEM, "no memory to measure %u triangles",
		    m->triangles);
	for (size_t i = 0; i < m->vertices; i++) {
		for (size_t d = 0; d < 3; d++)
			s->at[3 * i + d] =
			    (float)((double)m->xyz[3 * i + d] - origin[d]);
	}
	/* first[v + 1] is the begin of v's while they are filled in, then their end. */
	for (size_t i = 0; i < n; i++)
		s->first[(size_t)m->index[i] + 2]++;
	for (size_t v = 2; v <= m->vertices; v++)
		s->first[v] += s->first[v - 1];
	for (uint32_t t = 0; t < m->triangles; t++) {
		const uint32_t *c = m->index + 3 * (size_t)t;

		for (size_t k = 0; k < 3; k++) {
			uint32_t i = s->first[(size_t)c[k] + 1]++;

			s->ring[i] = t;
			s->next[i] = c[(k + 1) % 3];
		}
	}
	return 0;
}

void
fg_sheet_fini(struct fg_sheet *s)
{
	free(s->at);
	free(s->first);
	free(s->ring);
	free(s->next);
	free(s->behind);
	fg_nearest_fini(&s->tree);
}

/* Side from b to a, of those not yet paired. */
static uint32_t
find_side(const struct fg_sheet *s, uint32_t a, uint32_t b)
{
	for (uint32_t i = s->first[b]; i < s->first[b + 1]; i++) {
		const uint32_t *c = s->mesh->index + 3 * (size_t)s->ring[i];
		uint32_t side = 3 * s->ring[i];

		if (s->next[i] != a)
			continue;
		side += c[0] == b ? 0 : c[1] == b ? 1 : 2;
		if (s->behind[side] == FG_SHEET_NONE)
			return side;
	}
	return FG_SHEET_NONE;
}

int
fg_sheet_pair(struct fg_sheet *s, struct fg_err *err)
{
	const struct fg_mesh *m = s->mesh;
	size_t n = 3 * (size_t)m->triangles;

	/* Sides are told by 32 bits. */
	if (n >= FG_SHEET_NONE)
		return fg_fail(err, FG_ENOTSUP, "%u triangles are too many to measure",
		    m->triangles);
	s->behind = fg_try_alloc(n + 1, sizeof *s->behind);
	if (!s->behind)
		return fg_fail(err, FG_ENOMEM, "no memory to measure %u triangles",
		    m->triangles);
	memset(s->behind, 0xff, n * sizeof *s->behind);
	for (uint32_t i = 0; i < n; i += 3) {
		for (uint32_t k = 0; k < 3; k++) {
			uint32_t side = i + k, other;

			if (s->behind[side] != FG_SHEET_NONE)
				continue;
			other = find_side(s, m->index[side],
			    m->index[k == 2 ? i : side + 1]);
			if (other == FG_SHEET_NONE || other == side)
				continue;
			s->behind[side] = other;
			s->behind[other] = side;
		}
	}
	return 0;
}

int
fg_sheet_near(struct fg_sheet *s, uint32_t *last, const float (*c)[3], float limit2,
    bool *near, struct fg_err *err)
{
	if (!s->planted && fg_nearest_init(&s->tree, s->mesh, s->origin, err) < 0)
		return -1;
	s->planted = true;
	*near = fg_nearest_within(&s->tree, last, c, limit2);
	return 0;
}
