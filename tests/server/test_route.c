/* SPDX-License-Identifier: Apache-2.0 */
/* The grammar of request targets: what is served, what is refused, what is decoded. */
#include "config.h"

#include <string.h>

#include "server/route.h"
#include "tests/tap.h"

static struct fg_route r;

static enum fg_route_kind
kind(const char *target)
{
	fg_route_parse(target, &r);
	return r.kind;
}

static void
good_targets(void)
{
	static const struct {
		const char *target;
		enum fg_route_kind kind;
		const char *layer, *rest;
	} cases[] = {
	    {"/", FG_ROUTE_PAGE, "", ""},
	    {"/?x=1", FG_ROUTE_PAGE, "", ""},
	    {"/info", FG_ROUTE_ROOT_INFO, "", ""},
	    {"/metrics", FG_ROUTE_METRICS, "", ""},
	    {"/healthz", FG_ROUTE_HEALTHZ, "", ""},
	    {"/readyz", FG_ROUTE_READYZ, "", ""},
	    {"/api/layers/em/pause", FG_ROUTE_API, "", "layers/em/pause"},
	    {"/api", FG_ROUTE_API, "", ""},
	    {"/t/secret/em/info", FG_ROUTE_FILE, "em", "info"},
	    {"/t/secret/", FG_ROUTE_PAGE, "", ""},
	    {"/t/secret", FG_ROUTE_TOKEN, "", ""},
	    {"/t/secret/api/jobs", FG_ROUTE_API, "", "jobs"},
	    {"/t/secret/em", FG_ROUTE_LAYER, "em", ""},
	    {"/t/secret/viewer/", FG_ROUTE_VIEWER, "", ""},
	    {"/%74/se%63ret/em/info", FG_ROUTE_FILE, "em", "info"},
	    {"/ta/secret/em/info", FG_ROUTE_FILE, "ta", "secret/em/info"},
	    {"/viewer", FG_ROUTE_VIEWER, "", ""},
	    {"/viewer/", FG_ROUTE_VIEWER, "", ""},
	    {"/viewer/assets/x-1.js", FG_ROUTE_VIEWER, "", "assets/x-1.js"},
	    {"/viewers/info", FG_ROUTE_FILE, "viewers", "info"},
	    {"/em", FG_ROUTE_LAYER, "em", ""},
	    {"/em/", FG_ROUTE_LISTING, "em", ""},
	    {"/em/8_8_8/", FG_ROUTE_LISTING, "em", "8_8_8"},
	    {"/em/info", FG_ROUTE_FILE, "em", "info"},
	    {"/em/mesh/17:0", FG_ROUTE_FILE, "em", "mesh/17:0"},
	    {"/em/8_8_8/-64-0_0-64_0-64?wait=3", FG_ROUTE_FILE, "em",
		"8_8_8/-64-0_0-64_0-64"},
	    {"/%65m/mesh%2Dx/17%3a0", FG_ROUTE_FILE, "em", "mesh-x/17:0"},
	    {"/seg%40legacy/info", FG_ROUTE_FILE, "seg@legacy", "info"},
	    {"/apis/info", FG_ROUTE_FILE, "apis", "info"},
	};

	for (size_t i = 0; i < FG_COUNTOF(cases); i++) {
		char layer[80];

		tap_int(kind(cases[i].target), cases[i].kind, "kind of %s",
		    cases[i].target);
		snprintf(layer, sizeof layer, "%.*s", (int)r.layer_n, r.layer);
		tap_str(layer, cases[i].layer, "its layer");
		tap_str(r.rest, cases[i].rest, "its rest");
	}
}

static void
bad_targets(void)
{
	static const char *const bad[] = {
	    "",
	    "em/info",
	    "http://127.0.0.1/em/info",
	    "//",
	    "//em/info",
	    "/em//info",
	    "/../../../etc/hostname",
	    "/em/../info",
	    "/em/..",
	    "/em/./info",
	    "/.hidden",
	    "/em/.zarray",
	    "/em/..%2f..%2fetc/hostname",
	    "/%2e%2e/etc/hostname",
	    "/em/%2e%2e/info",
	    "/em%2finfo",
	    "/em/info%00.png",
	    "/em/info%0d%0aX: y",
	    "/em/in fo",
	    "/em/info\\..",
	    "/em/%",
	    "/em/%4",
	    "/em/%zz",
	    "/em/%-1",
	    "/em/info#x",
	    "/em/\xc3\xa4",
	    "/em/%c3%a4",
	    "/em/<script>",
	};

	for (size_t i = 0; i < FG_COUNTOF(bad); i++)
		tap_int(kind(bad[i]), FG_ROUTE_BAD, "refused: %s", bad[i]);
	tap_int(kind("*"), FG_ROUTE_STAR, "*");
}

static void
long_targets(void)
{
	static char t[8192];

	memset(t, 'a', sizeof t - 1);
	t[0] = '/';
	t[FG_PATH_MAX] = '\0';
	tap_int(kind(t), FG_ROUTE_LAYER, "a path as long as allowed");
	t[FG_PATH_MAX] = 'a';
	t[FG_PATH_MAX + 1] = '\0';
	tap_int(kind(t), FG_ROUTE_TOO_LONG, "one byte more");
	memset(t, 'a', sizeof t - 1);
	t[0] = '/';
	t[1] = '?';
	tap_int(kind(t), FG_ROUTE_TOO_LONG, "a long query");
}

static void
queries(void)
{
	char v[8];

	fg_route_parse("/em/x?await=1&wait=30&wait=40&empty=&long=123456789", &r);
	tap_ok(fg_route_query(&r, "wait", v, sizeof v), "wait is there");
	tap_str(v, "30", "the first one counts");
	tap_ok(fg_route_query(&r, "empty", v, sizeof v) && !*v, "an empty value");
	tap_ok(!fg_route_query(&r, "long", v, sizeof v), "a value that does not fit");
	tap_ok(!fg_route_query(&r, "ait", v, sizeof v), "no part of a key matches");
	tap_ok(!fg_route_query(&r, "none", v, sizeof v), "an absent key");
}

static void
chunks(void)
{
	static const char text[] =
	    "{\"type\":\"image\",\"data_type\":\"uint8\",\"num_channels\":1,\"scales\":"
	    "[{\"key\":\"8_8_8\",\"size\":[200,150,100],\"voxel_offset\":[10,20,30],"
	    "\"resolution\":[8,8,8],\"chunk_sizes\":[[64,64,64]],\"encoding\":\"raw\"},"
	    "{\"key\":\"a/16\",\"size\":[100,75,50],\"voxel_offset\":[5,10,15],"
	    "\"resolution\":[16,16,16],\"chunk_sizes\":[[64,64,64]],"
	    "\"encoding\":\"raw\"}]}";
	static const struct {
		const char *rest;
		enum fg_route_chunk want;
		int scale;
		int64_t ch[3];
	} cases[] = {
	    {"8_8_8/10-74_20-84_30-94", FG_CHUNK_OK, 0, {0, 0, 0}},
	    {"8_8_8/202-210_148-170_94-130", FG_CHUNK_OK, 0, {3, 2, 1}},
	    {"a/16/5-69_10-74_15-65", FG_CHUNK_OK, 1, {0, 0, 0}},
	    {"8_8_8/10-73_20-84_30-94", FG_CHUNK_OFF, 0, {0}},
	    {"8_8_8/202-266_148-212_94-158", FG_CHUNK_OFF, 0, {0}},
	    {"8_8_8/0-64_0-64_0-64", FG_CHUNK_OFF, 0, {0}},
	    {"8_8_8/9223372036854775807-9223372036854775808_0-1_0-1", FG_CHUNK_NONE, 0,
		{0}},
	    {"8_8_8/010-74_20-84_30-94", FG_CHUNK_NONE, 0, {0}},
	    {"8_8_8/10-74_20-84_30-94.gz", FG_CHUNK_NONE, 0, {0}},
	    {"8_8_8/10-74_20-84", FG_CHUNK_NONE, 0, {0}},
	    {"8_8_8", FG_CHUNK_NONE, 0, {0}},
	    {"9_9_9/10-74_20-84_30-94", FG_CHUNK_NONE, 0, {0}},
	    {"10-74_20-84_30-94", FG_CHUNK_NONE, 0, {0}},
	    {"", FG_CHUNK_NONE, 0, {0}},
	};
	struct fg_err err = FG_ERR_INIT;
	struct fg_info info;

	tap_rc(fg_info_parse(text, strlen(text), &info, &err), &err, "an info file");
	for (size_t i = 0; i < FG_COUNTOF(cases); i++) {
		int64_t ch[3] = {-1, -1, -1};
		int scale = -1;
		enum fg_route_chunk got =
		    fg_route_chunk(&info, cases[i].rest, &scale, ch);

		tap_int(got, cases[i].want, "chunk %s", cases[i].rest);
		if (got == FG_CHUNK_OK)
			tap_ok(scale == cases[i].scale &&
				   memcmp(ch, cases[i].ch, sizeof ch) == 0,
			    "its scale and position");
	}
	fg_info_fini(&info);
}

static void
objects(void)
{
	static const struct {
		const char *rest;
		enum fg_route_made want;
		uint64_t id, part;
		int64_t gen;
	} cases[] = {
	    {"mesh/info", FG_MADE_MESH_INFO, 0, 0, 0},
	    {"skeleton/info", FG_MADE_SKELETON_INFO, 0, 0, 0},
	    {"mesh/17:0", FG_MADE_MANIFEST, 17, 0, 0},
	    {"mesh/18446744073709551615:0", FG_MADE_MANIFEST, UINT64_MAX, 0, 0},
	    {"mesh/17:9:3", FG_MADE_PIECE, 17, 9, 3},
	    {"mesh/17:0:0", FG_MADE_PIECE, 17, 0, 0},
	    {"mesh/1:9223372036854775807:9223372036854775807", FG_MADE_PIECE, 1,
		INT64_MAX, INT64_MAX},
	    {"mesh/17.ply", FG_MADE_PLY, 17, 0, 0},
	    {"mesh/17.obj", FG_MADE_OBJ, 17, 0, 0},
	    {"mesh/17.glb", FG_MADE_GLB, 17, 0, 0},
	    {"skeleton/17", FG_MADE_SKELETON, 17, 0, 0},
	    {"skeleton/17.swc", FG_MADE_SWC, 17, 0, 0},
	    {"mesh.3/info", FG_MADE_LOD_INFO, 0, 0, 0},
	    {"mesh.3/17.index", FG_MADE_LOD_MANIFEST, 17, 0, 0},
	    {"mesh.0/17", FG_MADE_LOD_DATA, 17, 0, 0},
	    {"mesh.9223372036854775807/18446744073709551615", FG_MADE_LOD_DATA,
		UINT64_MAX, 0, 0},
	    {"mesh.9223372036854775808/17", FG_MADE_NONE, 0, 0, 0},
	    {"mesh.03/17", FG_MADE_NONE, 0, 0, 0},
	    {"mesh./17", FG_MADE_NONE, 0, 0, 0},
	    {"mesh.3/", FG_MADE_NONE, 0, 0, 0},
	    {"mesh.3/0.index", FG_MADE_NONE, 0, 0, 0},
	    {"mesh.3/17:0", FG_MADE_NONE, 0, 0, 0},
	    {"mesh.3/17.indexed", FG_MADE_NONE, 0, 0, 0},
	    {"mesh.3", FG_MADE_NONE, 0, 0, 0},
	    {"mesh/17", FG_MADE_NONE, 17, 0, 0},
	    {"mesh/", FG_MADE_NONE, 0, 0, 0},
	    {"mesh/infos", FG_MADE_NONE, 0, 0, 0},
	    {"mesh/0:0", FG_MADE_NONE, 0, 0, 0},
	    {"mesh/017:0", FG_MADE_NONE, 0, 0, 0},
	    {"mesh/+17:0", FG_MADE_NONE, 0, 0, 0},
	    {"mesh/18446744073709551616:0", FG_MADE_NONE, 0, 0, 0},
	    {"mesh/99999999999999999999999:0", FG_MADE_NONE, 0, 0, 0},
	    {"mesh/17:1", FG_MADE_NONE, 17, 0, 0},
	    {"mesh/17:00", FG_MADE_NONE, 17, 0, 0},
	    {"mesh/17:9:", FG_MADE_NONE, 17, 0, 0},
	    {"mesh/17:9:03", FG_MADE_NONE, 17, 0, 0},
	    {"mesh/17:9:3:1", FG_MADE_NONE, 17, 0, 0},
	    {"mesh/17:9223372036854775808:3", FG_MADE_NONE, 17, 0, 0},
	    {"mesh/17:9:9223372036854775808", FG_MADE_NONE, 17, 0, 0},
	    {"mesh/17.stl", FG_MADE_NONE, 17, 0, 0},
	    {"mesh/17:0/1", FG_MADE_NONE, 17, 0, 0},
	    {"skeleton/17:0", FG_MADE_NONE, 17, 0, 0},
	    {"skeleton/0", FG_MADE_NONE, 0, 0, 0},
	    {"skeletons/17", FG_MADE_NONE, 0, 0, 0},
	    {"mesh", FG_MADE_NONE, 0, 0, 0},
	    {"", FG_MADE_NONE, 0, 0, 0},
	};

	for (size_t i = 0; i < FG_COUNTOF(cases); i++) {
		struct fg_route_object o = fg_route_object(cases[i].rest);

		tap_int(o.what, cases[i].want, "object %s", cases[i].rest);
		if (o.what != FG_MADE_NONE)
			tap_ok(o.id == cases[i].id && o.part == cases[i].part &&
				   o.gen == cases[i].gen,
			    "its numbers");
	}
}

int
main(void)
{
	good_targets();
	bad_targets();
	long_targets();
	queries();
	chunks();
	objects();
	return tap_done();
}
