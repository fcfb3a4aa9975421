/* SPDX-License-Identifier: Apache-2.0 */
/* Skeletons as bytes; the expected ones are written out by hand. */
#include "config.h"

#include "formats/skeleton.h"

#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;
static float xyz[] = {0, 0, 0, 1, 0, 0, 2, 0, 0};
static float radius[] = {1, 2, 0.5f};
static uint32_t edge[] = {1, 0, 1, 2, 2, 1};
static const struct fg_skeleton line =
    {.label = 9, .vertices = 3, .edges = 2, .xyz = xyz, .radius = radius, .edge = edge};
static const uint8_t bytes[] = {3, 0, 0, 0, 2, 0, 0, 0, /* vertices, edges */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    0, 0x40, 0, 0, 0, 0, 0, 0, 0, 0,                 /* positions */
    1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0,  /* edges */
    0, 0, 0x80, 0x3f, 0, 0, 0, 0x40, 0, 0, 0, 0x3f}; /* radii */

/* Areas and contacts behind the radii. */
static void
test_attributes(void)
{
	static float area[] = {7, 8, 9};
	static uint8_t contacts[] = {0, 1, 32};
	struct fg_sharding sharding = {.present = true};
	struct fg_skeleton s = line, back = FG_SKELETON_INIT;
	struct fg_buf *b = NULL;

	s.area = area;
	s.contacts = contacts;
	tap_rc(fg_skeleton_encode(&s, &b, &err), &err, "encode with areas");
	tap_ok(b->len == sizeof bytes + 15 &&
		   memcmp(b->data, bytes, sizeof bytes) == 0 &&
		   fg_get_u32le(b->data + sizeof bytes) == 0x40e00000 &&
		   b->data[b->len - 1] == 32 && b->data[b->len - 2] == 1,
	    "areas, then contacts, behind the rest");
	tap_rc(fg_skeleton_decode_with(b->data, b->len,
		   FG_SKELETON_AREA | FG_SKELETON_CONTACTS, &back, &err),
	    &err, "decode");
	tap_ok(back.area && back.area[2] == 9 && back.contacts &&
		   back.contacts[2] == 32,
	    "the same");
	fg_skeleton_fini(&back);
	tap_fails(fg_skeleton_decode(b->data, b->len, &back, &err), &err, FG_ECORRUPT,
	    "has 87 bytes; 3 vertices and 2 edges are 72", "attributes not asked for");
	tap_fails(fg_skeleton_decode_with(bytes, sizeof bytes, FG_SKELETON_CONTACTS,
		      &back, &err),
	    &err, FG_ECORRUPT, "are 75", "attributes that are not there");
	fg_put_u32le(b->data + sizeof bytes, 0x7f800000);
	tap_fails(fg_skeleton_decode_with(b->data, b->len,
		      FG_SKELETON_AREA | FG_SKELETON_CONTACTS, &back, &err),
	    &err, FG_ECORRUPT, "vertex 0", "an area that is not finite");
	fg_buf_unref(b);
	b = fg_skeleton_info_with(FG_SKELETON_AREA | FG_SKELETON_CONTACTS, &sharding);
	b->data[b->len - 1] = 0;
	tap_ok(strstr((char *)b->data, "{\"data_type\":\"float32\",\"id\":"
				       "\"cross_sectional_area\",") &&
		   strstr((char *)b->data, "\"uint8\",\"id\":"
					   "\"cross_sectional_area_contacts\"") &&
		   strstr((char *)b->data, "\"sharding\":{"),
	    "info with attributes, sharded");
	fg_buf_unref(b);
}

int
main(void)
{
	static const char info[] =
	    "{\"@type\":\"neuroglancer_skeletons\",\"transform\":[1,0,0,0,0,1,0,0,0,0,"
	    "1,"
	    "0],\"vertex_attributes\":[{\"data_type\":\"float32\",\"id\":\"radius\","
	    "\"num_components\":1}]}";
	struct fg_skeleton back = FG_SKELETON_INIT;
	struct fg_buf *b = NULL;
	uint8_t bad[sizeof bytes];

	tap_rc(fg_skeleton_encode(&line, &b, &err), &err, "encode");
	tap_ok(b->len == sizeof bytes && memcmp(b->data, bytes, b->len) == 0,
	    "the bytes of the description");
	fg_buf_unref(b);
	tap_rc(fg_skeleton_decode(bytes, sizeof bytes, &back, &err), &err, "decode");
	tap_ok(back.vertices == 3 && back.edges == 2 &&
		   memcmp(back.edge, edge, 16) == 0 && back.radius[2] == 0.5f,
	    "the same skeleton");
	fg_skeleton_fini(&back);
	tap_fails(fg_skeleton_decode(bytes, 7, &back, &err), &err, FG_ECORRUPT,
	    "7 bytes", "no room for the counts");
	tap_fails(fg_skeleton_decode(bytes, sizeof bytes - 1, &back, &err), &err,
	    FG_ECORRUPT, "3 vertices and 2 edges", "cut short");
	memcpy(bad, bytes, sizeof bad);
	bad[44] = 3;
	tap_fails(fg_skeleton_decode(bad, sizeof bad, &back, &err), &err, FG_ECORRUPT,
	    "edge 0 of the skeleton names vertex 3 of 3", "a loose edge");
	memcpy(bad, bytes, sizeof bad);
	memset(bad + 8, 0xff, 4);
	tap_fails(fg_skeleton_decode(bad, sizeof bad, &back, &err), &err, FG_ECORRUPT,
	    "vertex 0", "a position that is no number");
	struct fg_buf *plain = fg_buf_copy(bytes, sizeof bytes);
	b = fg_skeleton_with_area(plain);
	if (tap_rc(fg_skeleton_decode_any(b->data, b->len, &back, &err), &err,
		"a file of an earlier version")) {
		tap_ok(back.area && back.area[0] == 0 &&
			   back.radius[0] == line.radius[0],
		    "has areas of 0");
		fg_skeleton_fini(&back);
	}
	struct fg_buf *same = fg_skeleton_with_area(b);
	tap_ok(same == b, "one with areas stays as it is");
	fg_buf_unref(same);
	fg_buf_unref(b);
	tap_rc(fg_skeleton_decode_any(plain->data, plain->len, &back, &err), &err,
	    "radii only");
	tap_ok(!back.area, "no areas");
	fg_skeleton_fini(&back);
	fg_buf_unref(plain);
	b = fg_skeleton_info();
	tap_ok(b->len == sizeof info - 1 && memcmp(b->data, info, b->len) == 0, "info");
	fg_buf_unref(b);

	test_attributes();
	tap_rc(fg_skeleton_encode_swc(&line, &b, &err), &err, "SWC");
	tap_str((const char *)b->data,
	    "# object 9, nm\n1 0 0 0 0 1 -1\n2 0 1 0 0 2 1\n3 0 2 0 0 0.5 2\n",
	    "an end first, then from parent to child");
	fg_buf_unref(b);
	return tap_done();
}
