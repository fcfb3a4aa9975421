/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small image as a precomputed directory: dark, with bright boxes (the objects of
 * tiny_net.h) that are further apart than its field of view reaches. 40 x 24 x 16
 * voxels of uint8 at offset (5, -3, 100), raw chunks of 16^3.
 */
#ifndef FG_TESTS_TINY_IMAGE_H
#define FG_TESTS_TINY_IMAGE_H

#include "base/box.h"
#include "base/file.h"
#include "formats/info.h"
#include "tests/tap.h"

static const char tiny_info[] =
    "{\"@type\":\"neuroglancer_multiscale_volume\",\"type\":\"image\","
    "\"data_type\":\"uint8\",\"num_channels\":1,\"scales\":[{\"key\":\"16\","
    "\"resolution\":[8,8,16],\"voxel_offset\":[5,-3,100],\"size\":[40,24,16],"
    "\"chunk_sizes\":[[16,16,16]],\"encoding\":\"raw\"}],\"note\":1}";

/* Bright boxes, voxels of the volume's frame. */
static const struct fg_box tiny_objects[] = {
    {{13, 1, 103}, {20, 13, 113}},
    {{27, 0, 102}, {43, 12, 114}},
};

static inline uint8_t
tiny_voxel(int64_t x, int64_t y, int64_t z)
{
	for (size_t i = 0; i < FG_COUNTOF(tiny_objects); i++) {
		const struct fg_box *b = &tiny_objects[i];

		if (x >= b->lo[0] && x < b->hi[0] && y >= b->lo[1] && y < b->hi[1] &&
		    z >= b->lo[2] && z < b->hi[2])
			return 220;
	}
	return 40;
}

static inline void
tiny_file(const char *folder, const char *name, const void *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	char *path = fg_asprintf("%s/%s", folder, name);

	if (fg_file_write_fast(path, p, n, &err) < 0) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	free(path);
}

static inline void
tiny_chunk(const char *folder, const struct fg_box *b)
{
	char name[FG_CHUNK_NAME + 8] = "16/";
	uint8_t v[16 * 16 * 16];
	size_t n = 0;

	for (int64_t z = b->lo[2]; z < b->hi[2]; z++) {
		for (int64_t y = b->lo[1]; y < b->hi[1]; y++) {
			for (int64_t x = b->lo[0]; x < b->hi[0]; x++)
				v[n++] = tiny_voxel(x, y, z);
		}
	}
	fg_chunk_name_format(b, name + 3);
	tiny_file(folder, name, v, n);
}

/* Write it to `folder`; other: with an info that differs in its resolution. */
static inline void
tiny_image(const char *folder, bool other)
{
	struct fg_err err = FG_ERR_INIT;
	char *scale = fg_asprintf("%s/16", folder), *info = fg_strdup(tiny_info);
	struct fg_info parsed;
	int64_t g[3], ch[3];
	struct fg_box b;

	if (fg_file_mkdirs(scale, &err) < 0 ||
	    fg_info_parse(tiny_info, strlen(tiny_info), &parsed, &err) < 0) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
	if (other)
		memcpy(strstr(info, "[8,8,16]"), "[9,8,16]", 8);
	tiny_file(folder, "info", info, strlen(info));
	fg_scale_grid(&parsed.scale[0], g);
	for (ch[2] = 0; ch[2] < g[2]; ch[2]++) {
		for (ch[1] = 0; ch[1] < g[1]; ch[1]++) {
			for (ch[0] = 0; ch[0] < g[0]; ch[0]++) {
				fg_scale_chunk_box(&parsed.scale[0], ch, &b);
				tiny_chunk(folder, &b);
			}
		}
	}
	fg_info_fini(&parsed);
	free(scale);
	free(info);
}

#endif
