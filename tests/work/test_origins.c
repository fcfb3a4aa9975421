/* SPDX-License-Identifier: Apache-2.0 */
/* Where objects began, through a pass that splits them. */
#include "config.h"

#include "work/origins.h"

#include <stdlib.h>

#include "seg/consensus.h"
#include "tests/tap.h"

static void
put(struct fg_origins *o, uint32_t label, int64_t x)
{
	fg_origins_put(o, label, (int64_t[3]){x, 5, 7});
}

/* The x of a label's seed, -1 where it is not known. */
static int
find(const struct fg_origins *o, uint32_t label)
{
	int64_t vx[3] = {-1, 5, 7};

	return fg_origins_find(o, label, vx) && vx[1] == 5 && vx[2] == 7 ? (int)vx[0]
									 : -1;
}

static void
test_put(void)
{
	struct fg_origins o = {0};

	tap_int(find(&o, 1), -1, "none at first");
	put(&o, 3, 30);
	put(&o, 200, 2000);
	put(&o, 1, 10);
	put(&o, 3, 31);
	tap_ok(find(&o, 1) == 10 && find(&o, 3) == 31 && find(&o, 200) == 2000,
	    "what was put is found, the last of two");
	tap_ok(find(&o, 0) < 0 && find(&o, 2) < 0 && find(&o, 201) < 0 &&
		   find(&o, UINT32_MAX) < 0,
	    "what was not is not");
	fg_origins_fini(&o);
}

/* A row of ten voxels from x = 100 on: object 1 is split in the middle by the second
 * opinion, object 2 loses its end, object 3 stays. */
static void
test_split(void)
{
	static const uint32_t first[10] = {1, 1, 1, 1, 1, 2, 2, 2, 3, 3};
	static const uint32_t second[10] = {5, 5, 5, 6, 6, 7, 7, 0, 8, 8};
	const struct fg_box box = {{100, 5, 7}, {110, 6, 8}};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a, b;
	struct fg_origins o = {0};

	tap_rc(fg_array_init(&a, FG_U32, (int64_t[4]){10, 1, 1, 1}, &err) < 0 ||
		       fg_array_init(&b, FG_U32, (int64_t[4]){10, 1, 1, 1}, &err) < 0
		   ? -1
		   : 0,
	    &err, "two segmentations");
	memcpy(a.data, first, sizeof first);
	memcpy(b.data, second, sizeof second);
	put(&o, 1, 104); /* in the piece that gets a new name */
	put(&o, 2, 107); /* in the piece that is dropped */
	put(&o, 3, 100); /* in another object: a flood may leave its seed */
	fg_origins_confine(&o, &a, &box);
	tap_ok(find(&o, 1) == 104 && find(&o, 2) == 107 && find(&o, 3) < 0,
	    "a seed outside of its object is forgotten");
	put(&o, 3, 109);
	tap_rc(fg_consensus_split(&a, &b, 2, &a, &err), &err, "split");
	fg_origins_follow(&o, &a, &box);
	tap_ok(find(&o, 1) < 0 && find(&o, 4) == 104,
	    "a seed belongs to the piece that has it, not to the one with the name");
	tap_int(find(&o, 2), -1, "one in the background to none");
	tap_int(find(&o, 3), 109, "what is not split keeps its own");
	put(&o, 1, 99);
	put(&o, 2, 110);
	fg_origins_follow(&o, &a, &box);
	tap_ok(find(&o, 1) < 0 && find(&o, 2) < 0, "none is outside of the box");
	fg_origins_fini(&o);
	fg_array_fini(&a);
	fg_array_fini(&b);
}

int
main(void)
{
	test_put();
	test_split();
	return tap_done();
}
