/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zarr v2 (0), Zarr v3 (1) and N5 (2) arrays, by byte 0: then two bytes with the length
 * of the metadata, the metadata, and what is left as the bytes of one chunk.
 */
#include "config.h"

#include <errno.h>
#include <sys/stat.h>

#include "tests/fuzz/foreign.h"

static char left[64];

static void
clean(void)
{
	static const char *const dirs[] = {"c/0/0", "c/0", "c", "0/0", "0", "."};
	char path[128];

	for (size_t i = 0; i < FG_COUNTOF(dirs); i++) {
		snprintf(path, sizeof path, "%s/%s", left, dirs[i]);
		if (i + 1 < FG_COUNTOF(dirs))
			rmdir(path);
	}
	rmdir(left);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static const char *const meta[] = {".zarray", "zarr.json", "attributes.json"};
	static const char *const chunk[] = {"0.0.0", "c", "0"};
	static char folder[64];
	char path[128], stored[128];
	size_t kind, len;

	if (n < 3)
		return 0;
	kind = p[0] % 3u;
	len = FG_MIN((size_t)fg_get_u16le(p + 1), n - 3);
	if (!folder[0]) {
		snprintf(folder, sizeof folder, "/tmp/fg-fuzz-zarr-%d", (int)getpid());
		fg_assert(mkdir(folder, 0700) == 0 || errno == EEXIST);
		atexit(clean);
		snprintf(left, sizeof left, "%s", folder);
	}
	/* The first chunk of three axes: 0.0.0, c/0/0/0 or 0/0/0. */
	snprintf(path, sizeof path, "%s/%s", folder, meta[kind]);
	put_file(path, p + 3, len);
	snprintf(stored, sizeof stored, "%s/%s", folder, chunk[kind]);
	for (size_t deep = kind == 0 ? 0 : 4 - kind; deep > 0; deep--) {
		fg_assert(mkdir(stored, 0700) == 0 || errno == EEXIST);
		strcat(stored, "/0");
	}
	put_file(stored, p + 3 + len, n - 3 - len);
	open_and_read(kind == 2 ? "n5" : "zarr", folder);
	unlink(path);
	unlink(stored);
	return 0;
}
