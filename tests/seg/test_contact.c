/* SPDX-License-Identifier: Apache-2.0 */
/* Where objects touch, and where sections do not continue one another: small pictures
 * whose answer is seen at once. */
#include "config.h"

#include <stdlib.h>

#include "seg/contact.h"
#include "seg/jump.h"
#include "tests/tap.h"

/* Two slabs of 8 x 8 x 8 voxels with a gap of `gap` voxels along x. */
static size_t
find(int64_t gap, int64_t reach, uint64_t least, struct fg_contact_place *out)
{
	int64_t shape[4] = {16 + gap, 8, 8, 1};
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_contact_place *list = NULL;
	struct fg_err err = FG_ERR_INIT;
	struct fg_box own = {{0, 0, 0}, {16 + gap, 8, 8}};
	size_t n = 0;

	tap_rc(fg_array_init_zero(&a, FG_U64, shape, &err), &err, "labels");
	uint64_t *v = a.data;
	for (size_t i = 0; i < fg_array_count(&a); i++) {
		int64_t x = (int64_t)i % shape[0];

		v[i] = x < 8 ? 70 : x >= 8 + gap ? 30 : 0;
	}
	tap_rc(fg_contact_find(&a, &own, reach, least, &list, &n, &err), &err, "found");
	if (n > 0)
		*out = list[0];
	free(list);
	fg_array_fini(&a);
	return n;
}

static void
test_contacts(void)
{
	struct fg_contact_place c = {0};

	tap_int(find(0, 0, 1, &c), 1, "two objects that touch");
	tap_ok(c.a == 30 && c.b == 70 && c.faces == 64,
	    "by 64 faces, lower label first");
	tap_ok(c.vx[0] == 7 && c.vx[1] >= 3 && c.vx[1] <= 4 && c.vx[2] >= 3 &&
		   c.vx[2] <= 4,
	    "in the middle of them");
	tap_int(find(0, 0, 65, &c), 0, "not by 65");
	tap_int(find(2, 0, 1, &c), 0, "over a gap they do not");
	tap_int(find(2, 1, 1, &c), 1, "unless they grow");
	tap_int(find(5, 2, 1, &c), 0, "not far enough");
}

/* Sections of a pattern that has moved by `by` voxels from section 8 on. */
static uint64_t
jumps(int64_t by, int64_t shift, struct fg_array *mask)
{
	int64_t shape[4] = {64, 64, 16, 1};
	const int64_t at[3] = {0, 0, 0}, fov[3] = {9, 9, 5};
	struct fg_jump_rule rule;
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_err err = FG_ERR_INIT;
	uint64_t found;

	fg_jump_rule_default(&rule);
	rule.shift = shift;
	tap_rc(fg_array_init(&a, FG_U8, shape, &err), &err, "image");
	tap_rc(fg_array_init_zero(mask, FG_U8, shape, &err), &err, "mask");
	uint8_t *v = a.data;
	for (int64_t z = 0; z < 16; z++) {
		for (int64_t y = 0; y < 64; y++) {
			for (int64_t x = 0; x < 64; x++) {
				uint64_t h = (uint64_t)(x - (z >= 8 ? by : 0) + 1000) *
						 2654435761u ^
					     (uint64_t)y * 40503u;

				*v++ =
				    (uint8_t)((h * UINT64_C(0x9e3779b97f4a7c15)) >> 56);
			}
		}
	}
	found = fg_jump_mask(&a, at, fov, &rule, mask);
	fg_array_fini(&a);
	return found;
}

static void
test_jumps(void)
{
	struct fg_array mask = FG_ARRAY_INIT;
	const uint8_t *m;

	tap_int(jumps(0, 3, &mask), 0, "sections that fit");
	fg_array_fini(&mask);
	tap_int(jumps(2, 3, &mask), 0, "a small shift");
	fg_array_fini(&mask);
	tap_int(jumps(5, 3, &mask), 1, "a jump, in the only tile");
	m = mask.data;
	tap_ok(!m[5 * 4096] && m[6 * 4096] && m[9 * 4096] && !m[10 * 4096],
	    "forbids the centres that see both its sides");
	fg_array_fini(&mask);
}

int
main(void)
{
	test_contacts();
	test_jumps();
	return tap_done();
}
