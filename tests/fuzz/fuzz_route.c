/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a request target, and as the header values that are parsed. Whatever is
 * taken holds no way out of a folder, and a chunk that is found is inside its grid.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "server/headers.h"
#include "server/route.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
check_path(const struct fg_route *r)
{
	size_t n = strlen(r->path);

	fg_assert(n <= FG_PATH_MAX && r->path[0] == '/');
	fg_assert(!strstr(r->path, "//") && !strstr(r->path, "/."));
	for (size_t i = 0; i < n; i++)
		fg_assert(r->path[i] > 0x20 && r->path[i] < 0x7f &&
			  !strchr("\\%?#<>\"'&", r->path[i]));
	if (r->kind == FG_ROUTE_FILE || r->kind == FG_ROUTE_LISTING)
		fg_assert(r->layer == r->path + 1 && r->layer_n > 0 &&
			  !memchr(r->layer, '/', r->layer_n));
}

static void
check_chunk(const struct fg_route *r)
{
	struct fg_info info = {.scales = 1,
	    .scale[0] = {.key = (char *)(uintptr_t) "8_8_8",
		.offset = {-64, 0, 10},
		.size = {200, 150, 100},
		.chunk = {64, 64, 64}}};
	int64_t ch[3], grid[3];
	int scale;

	if (fg_route_chunk(&info, r->rest, &scale, ch) != FG_CHUNK_OK)
		return;
	fg_scale_grid(&info.scale[scale], grid);
	for (int d = 0; d < 3; d++)
		fg_assert(ch[d] >= 0 && ch[d] < grid[d]);
}

/* What is taken for a file of an object is the only name of it. */
static void
check_object(const struct fg_route *r)
{
	struct fg_route_object o = fg_route_object(r->rest);
	char again[80];

	if (o.what == FG_MADE_NONE || o.id == 0)
		return;
	if (o.what == FG_MADE_PIECE)
		snprintf(again, sizeof again, "mesh/%llu:%llu:%lld",
		    (unsigned long long)o.id, (unsigned long long)o.part,
		    (long long)o.gen);
	else if (o.what >= FG_MADE_LOD_INFO && o.what <= FG_MADE_LOD_DATA)
		snprintf(again, sizeof again, "mesh.%lld/%llu", (long long)o.epoch,
		    (unsigned long long)o.id);
	else
		snprintf(again, sizeof again, "%s/%llu",
		    o.what >= FG_MADE_SKELETON_INFO ? "skeleton" : "mesh",
		    (unsigned long long)o.id);
	fg_assert(strncmp(r->rest, again, strlen(again)) == 0 && o.gen >= 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char list[] = "loopback,https://a.example,em.lab";
	char *text = malloc(n + 1), value[16];
	struct fg_route r;
	uint64_t a, b;

	fg_assert(text != NULL);
	memcpy(text, p, n);
	text[n] = '\0';
	fg_route_parse(text, &r);
	if (r.kind != FG_ROUTE_BAD && r.kind != FG_ROUTE_STAR &&
	    r.kind != FG_ROUTE_TOO_LONG) {
		check_path(&r);
		check_chunk(&r);
		check_object(&r);
	}
	if (fg_route_query(&r, "wait", value, sizeof value))
		fg_assert(strlen(value) < sizeof value);
	if (fg_range_parse(text, 1000, &a, &b) == FG_RANGE_OK)
		fg_assert(a <= b && b < 1000);
	(void)fg_etag_matches(text, "\"0123\"");
	(void)fg_coding_choose(text);
	(void)fg_host_is_allowed(text, list);
	(void)fg_origin_is_allowed(text, list, "em.lab");
	free(text);
	return 0;
}
