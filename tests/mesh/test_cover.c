/* SPDX-License-Identifier: Apache-2.0 */
/* Triangles held against surfaces from far outside of them, where rounding tells. */
#include "config.h"

#include "mesh/cover.h"

#include "tests/mesh/geometry.h"

#define LIMIT 1.0f

static struct fg_err err = FG_ERR_INIT;

/* Parts of the way along the sides of this one, and off it, are x, y and z. */
static const float unit[3][3] = {{0, 0, 0}, {1, 0, 0}, {0, 1, 0}};

/* Whether the unit triangle is covered by one triangle alone; never where a part of it
 * that is above is too far. off2: NULL, or of the corners. */
static bool
is_covered(const float corner[3][3], float *off2)
{
	const double origin[3] = {0, 0, 0};
	uint32_t index[3] = {0, 1, 2};
	float xyz[9];
	struct fg_mesh m = {.vertices = 3, .triangles = 1, .xyz = xyz, .index = index};
	struct fg_sheet s = {0};
	struct fg_cover c = {0};
	bool covered = true;

	memcpy(xyz, corner, sizeof xyz);
	if (fg_sheet_init(&s, &m, origin, &err) < 0 || fg_sheet_pair(&s, &err) < 0 ||
	    fg_cover_init(&c, &s, LIMIT, &err) < 0)
		tap_rc(-1, &err, "a surface of one triangle");
	else
		covered = fg_cover_triangle(&c, unit, 0, 0);
	if (c.off2 && off2)
		memcpy(off2, c.off2, 3 * sizeof *off2);
	fg_cover_fini(&c);
	fg_sheet_fini(&s);
	return covered;
}

/* A cut at a side moves corners by rounding, so that the next two sides cut them, too:
 * more corners than a triangle has that three lines cut. */
static void
test_bent(void)
{
	static const float far[3][3] = {{1.01e-5f, 2e-5f, 2}, {0.5f, 0, 2},
	    {-5, 1000, 2}};

	tap_ok(!is_covered(far, NULL),
	    "a triangle whose cut corners are moved by rounding");
}

/* What counts as above a side, but is beside it, is no nearer than that. */
static void
test_beside(void)
{
	static const float flat[3][3] = {{-9e-6f, 0.5f, 0}, {0.5f, -9e-6f, 0},
	    {0.2f, 0.2f, 0.5f}};
	float off2[3];

	is_covered(flat, off2);
	tap_ok(off2[0] >= 81e-12f && off2[0] < 1e-8f && off2[1] >= 81e-12f &&
		   off2[1] < 1e-8f,
	    "beside a side: %g and %g off", sqrtf(off2[0]), sqrtf(off2[1]));
	tap_ok(fabsf(off2[2] - 0.25f) < 1e-6f, "above it: as far as it is high");
}

static float
any(void)
{
	static const float size[] = {1e-5f, 1e-4f, 1e-2f, 1, 1e3f, 1e6f};
	float x = ((float)roll(2001) - 1000) / 1000;

	return x * size[roll(FG_COUNTOF(size))];
}

/* What is far off, but for a corner, covers nothing. */
static void
test_far(void)
{
	uint32_t covered = 0;

	for (int i = 0; i < 100000; i++) {
		float c[3][3];

		for (int k = 0; k < 3; k++) {
			c[k][0] = any();
			c[k][1] = any();
			c[k][2] = 2 + (float)roll(3);
		}
		covered += is_covered((const float(*)[3])c, NULL);
	}
	tap_int(covered, 0, "triangles two limits away that cover something");
}

int
main(void)
{
	test_bent();
	test_beside();
	test_far();
	return tap_done();
}
