/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zarr and N5: byte 0: which of .zarray, zarr.json, attributes.json (+ 4: as the first
 * scale of a group); its text up to a NUL; then the first piece. The files are written
 * to a folder of this process.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "formats/foreign.h"

#define VOXELS_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static char dir[256];

static void
remove_folder(void)
{
	char cmd[300];

	snprintf(cmd, sizeof cmd, "rm -rf '%s'", dir);
	if (system(cmd) != 0)
		fprintf(stderr, "%s is left\n", dir);
}

static void
put(const char *name, const uint8_t *p, size_t n)
{
	char path[400];
	struct fg_err err = FG_ERR_INIT;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	*strrchr(path, '/') = '\0';
	fg_assert(fg_file_mkdirs(path, &err) == 0);
	snprintf(path, sizeof path, "%s/%s", dir, name);
	fg_assert(fg_file_write_fast(path, p, n, &err) == 0);
}

static void
read_all(const char *kind, const char *path)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_foreign *f = fg_foreign_open(kind, path, NULL, &err);
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_box box = {.hi = {1, 1, 1}};
	int64_t shape[4];

	if (!f) {
		fg_assert(err.code != FG_OK && err.msg[0]);
		return;
	}
	for (int d = 0; d < 3; d++)
		box.hi[d] = FG_MIN(f->scale[0].size[d], 24);
	fg_box_shape(&box, shape);
	shape[3] = f->channels;
	if (shape[0] * shape[1] * shape[2] * shape[3] <= VOXELS_MAX) {
		fg_assert(fg_array_init(&a, f->dtype, shape, &err) == 0);
		if (fg_foreign_box(f, 0, &box, &a, &err) < 0)
			fg_assert(err.code != FG_OK && err.msg[0]);
	}
	fg_array_fini(&a);
	fg_foreign_close(f);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const struct {
		const char *kind, *info, *piece;
	} forms[] = {{"zarr", ".zarray", "0.0.0"}, {"zarr", "zarr.json", "c/0/0/0"},
	    {"n5", "attributes.json", "0/0/0"}};
	const uint8_t *end;
	char name[64];

	if (!dir[0]) {
		const char *tmp = getenv("TMPDIR");

		snprintf(dir, sizeof dir, "%s/fg-fuzz-XXXXXX",
		    tmp && *tmp ? tmp : "/tmp");
		fg_assert(mkdtemp(dir));
		atexit(remove_folder);
	}
	if (n < 2 || !(end = memchr(p + 1, 0, n - 1)))
		return 0;
	int form = p[0] % 3;
	const char *below = p[0] & 4 ? "s0/" : "";
	snprintf(name, sizeof name, "%s%s", below, forms[form].piece);
	put(name, end + 1, n - (size_t)(end + 1 - p));
	snprintf(name, sizeof name, "%s%s", below, forms[form].info);
	put(name, p + 1, (size_t)(end - p - 1));
	read_all(forms[form].kind, dir);
	char path[400];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	fg_assert(unlink(path) == 0);
	snprintf(path, sizeof path, "%s/%s%s", dir, below, forms[form].piece);
	fg_assert(unlink(path) == 0);
	return 0;
}
