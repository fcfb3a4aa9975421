/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Meshes as bytes. Expected bytes are written out by hand from the formats'
 * descriptions; the glTF file is taken apart by a reader of its own below.
 */
#include "config.h"

#include "formats/mesh.h"

#include <math.h>

#include "base/json.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

static float xyz[] = {0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, -1.5f};
static uint32_t faces[] = {0, 2, 1, 0, 1, 3};
static const struct fg_mesh two = {.label = 77,
    .vertices = 4,
    .triangles = 2,
    .xyz = xyz,
    .index = faces};
static const struct fg_mesh none = {.label = 78};

static const uint8_t fragment[] = {4, 0, 0, 0, /* vertices */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,        /* 0 0 0 */
    0, 0, 0x80, 0x3f, 0, 0, 0, 0, 0, 0, 0, 0,  /* 1 0 0 */
    0, 0, 0, 0, 0, 0, 0, 0x40, 0, 0, 0, 0,     /* 0 2 0 */
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xc0, 0xbf,  /* 0 0 -1.5 */
    0, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0};

static void
test_fragment(void)
{
	struct fg_mesh back = FG_MESH_INIT;
	struct fg_buf *b = NULL;
	uint8_t bad[sizeof fragment];

	if (tap_rc(fg_mesh_encode_fragment(&two, &b, &err), &err, "encode"))
		tap_ok(b->len == sizeof fragment &&
			   memcmp(b->data, fragment, b->len) == 0,
		    "the bytes of the description");
	fg_buf_unref(b);
	if (tap_rc(fg_mesh_decode_fragment(fragment, sizeof fragment, &back, &err),
		&err, "decode"))
		tap_ok(back.vertices == 4 && back.triangles == 2 &&
			   memcmp(back.xyz, xyz, sizeof xyz) == 0 &&
			   memcmp(back.index, faces, sizeof faces) == 0,
		    "the same mesh");
	fg_mesh_fini(&back);
	tap_rc(fg_mesh_encode_fragment(&none, &b, &err), &err, "encode an empty mesh");
	tap_int(b->len, 4, "an empty mesh is its count");
	tap_rc(fg_mesh_decode_fragment(b->data, b->len, &back, &err), &err,
	    "decode an empty mesh");
	tap_int(back.vertices + back.triangles, 0, "it is empty");
	fg_mesh_fini(&back);
	fg_buf_unref(b);

	tap_fails(fg_mesh_decode_fragment(fragment, 3, &back, &err), &err, FG_ECORRUPT,
	    "3 bytes", "no room for the count");
	tap_fails(fg_mesh_decode_fragment(fragment, 51, &back, &err), &err, FG_ECORRUPT,
	    "too few for 4 vertices", "vertices cut short");
	tap_fails(fg_mesh_decode_fragment(fragment, 60, &back, &err), &err, FG_ECORRUPT,
	    "no multiple of 12", "triangles cut short");
	memcpy(bad, fragment, sizeof bad);
	bad[3] = 0xff;
	tap_fails(fg_mesh_decode_fragment(bad, sizeof bad, &back, &err), &err,
	    FG_ECORRUPT, "too few for", "more vertices than bytes");
	bad[3] = 0;
	bad[sizeof bad - 4] = 4;
	tap_fails(fg_mesh_decode_fragment(bad, sizeof bad, &back, &err), &err,
	    FG_ECORRUPT, "triangle 1 of the mesh names vertex 4 of 4", "a loose index");
	memcpy(bad, fragment, sizeof bad);
	memcpy(bad + 16, "\0\0\xc0\x7f", 4);
	tap_fails(fg_mesh_decode_fragment(bad, sizeof bad, &back, &err), &err,
	    FG_ECORRUPT, "vertex 1", "a position that is no number");
}

static void
test_manifest(void)
{
	const char *names[] = {"77:0:0-64_0-64_0-64", "a \"b\""};
	struct fg_buf *b = fg_mesh_manifest(names, 2);

	tap_ok(b->len == 47 &&
		   memcmp(b->data,
		       "{\"fragments\":[\"77:0:0-64_0-64_0-64\",\"a \\\"b\\\"\"]}",
		       46) == 0,
	    "a manifest");
	fg_buf_unref(b);
	b = fg_mesh_manifest(NULL, 0);
	tap_ok(b->len == 16 && memcmp(b->data, "{\"fragments\":[]}", 16) == 0,
	    "a manifest of nothing");
	fg_buf_unref(b);
	b = fg_mesh_legacy_info();
	tap_ok(b->len == 36 &&
		   memcmp(b->data, "{\"@type\":\"neuroglancer_legacy_mesh\"}", 36) == 0,
	    "info of the directory");
	fg_buf_unref(b);
}

static const struct fg_mesh *const parts[] = {&two, &none, &two};

static void
test_ply(void)
{
	static const char head[] =
	    "ply\nformat binary_little_endian 1.0\ncomment unit: nm\n"
	    "element vertex 8\nproperty float x\nproperty float y\nproperty float z\n"
	    "element face 4\nproperty list uchar uint vertex_indices\nend_header\n";
	static const uint8_t third[13] = {3, 4, 0, 0, 0, 6, 0, 0, 0, 5, 0, 0, 0};
	size_t n = sizeof head - 1;
	struct fg_buf *b = NULL;

	tap_rc(fg_mesh_encode_file(FG_MESH_PLY, parts, 3, &b, &err), &err, "PLY");
	tap_int(b->len, n + 8 * 12 + 4 * 13, "length");
	tap_ok(memcmp(b->data, head, n) == 0, "header");
	tap_ok(memcmp(b->data + n, xyz, 48) == 0 &&
		   memcmp(b->data + n + 48, xyz, 48) == 0,
	    "positions of both parts");
	tap_ok(memcmp(b->data + n + 96 + 26, third, 13) == 0,
	    "the second part's triangles count on");
	fg_buf_unref(b);
}

static void
test_obj(void)
{
	static const char want[] = "# positions in nm\no 77\n"
				   "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 -1.5\n"
				   "v 0 0 0\nv 1 0 0\nv 0 2 0\nv 0 0 -1.5\n"
				   "f 1 3 2\nf 1 2 4\nf 5 7 6\nf 5 6 8\n";
	struct fg_buf *b = NULL;

	tap_rc(fg_mesh_encode_file(FG_MESH_OBJ, parts, 3, &b, &err), &err, "OBJ");
	tap_str((const char *)b->data, want, "the text");
	fg_buf_unref(b);
}

static int64_t
number(json_t *j, const char *list, size_t i, const char *key)
{
	json_t *v = json_object_get(json_array_get(json_object_get(j, list), i), key);

	return json_is_integer(v) ? json_integer_value(v) : -1;
}

static void
test_glb(void)
{
	struct fg_buf *b = NULL;

	tap_rc(fg_mesh_encode_file(FG_MESH_GLB, parts, 3, &b, &err), &err, "GLB");
	tap_ok(memcmp(b->data, "glTF\2\0\0\0", 8) == 0, "magic and version");
	tap_int(fg_get_u32le(b->data + 8), b->len, "length");
	size_t n = fg_get_u32le(b->data + 12);
	tap_ok(n % 4 == 0 && memcmp(b->data + 16, "JSON", 4) == 0, "JSON chunk");
	json_t *j = fg_json_parse((const char *)b->data + 20, n, "glTF", &err);
	const uint8_t *bin = b->data + 20 + n;
	if (tap_ok(j != NULL, "JSON parses")) {
		tap_int(fg_get_u32le(bin), 8 * 12 + 4 * 12, "binary chunk");
		tap_int(number(j, "buffers", 0, "byteLength"), 144, "its length");
		tap_int(number(j, "accessors", 0, "count"), 8, "vertices");
		tap_int(number(j, "accessors", 1, "count"), 12, "indices");
		tap_int(number(j, "bufferViews", 1, "byteOffset"), 96, "their place");
		json_t *lo =
		    json_object_get(json_array_get(json_object_get(j, "accessors"), 0),
			"min");
		tap_ok(json_number_value(json_array_get(lo, 2)) == -1.5, "lower bound");
		tap_ok(memcmp(bin + 8, xyz, 48) == 0, "positions");
		tap_int(fg_get_u32le(bin + 8 + 96 + 6 * 4), 4, "indices count on");
	}
	json_decref(j);
	fg_buf_unref(b);
	tap_rc(fg_mesh_encode_file(FG_MESH_GLB, &parts[1], 1, &b, &err), &err,
	    "GLB of an empty mesh");
	n = fg_get_u32le(b->data + 12);
	tap_int(b->len, 20 + n, "has no binary chunk");
	j = fg_json_parse((const char *)b->data + 20, n, "glTF", &err);
	tap_ok(j && !json_object_get(j, "meshes"), "and no mesh");
	json_decref(j);
	fg_buf_unref(b);
}

int
main(void)
{
	test_fragment();
	test_manifest();
	test_ply();
	test_obj();
	test_glb();
	return tap_done();
}
