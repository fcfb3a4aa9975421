/* SPDX-License-Identifier: Apache-2.0 */
/* What the targets for other programs' files share: open, read a box in the middle. */
#ifndef FG_TESTS_FUZZ_FOREIGN_H
#define FG_TESTS_FUZZ_FOREIGN_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "formats/foreign.h"

#define VOXELS_MAX 65536

FG_UNUSED static void
put_file(const char *path, const uint8_t *p, size_t n)
{
	FILE *file = fopen(path, "wb");

	fg_assert(file && fwrite(p, 1, n, file) == n && fclose(file) == 0);
}

FG_UNUSED static void
read_some(struct fg_foreign *f)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_box box = {.lo = {0, 0, 0}};
	int64_t shape[4];

	for (int d = 0; d < 3; d++) {
		box.hi[d] = FG_MIN(f->scale[0].size[d], 24);
		box.lo[d] = box.hi[d] / 3;
	}
	fg_box_shape(&box, shape);
	shape[3] = f->channels;
	if (shape[0] * shape[1] * shape[2] * shape[3] > VOXELS_MAX)
		return;
	fg_assert(fg_array_init(&a, f->dtype, shape, &err) == 0);
	if (fg_foreign_box(f, 0, &box, &a, &err) < 0)
		fg_assert(err.code != FG_OK && err.msg[0]);
	fg_array_fini(&a);
}

FG_UNUSED static void
open_and_read(const char *kind, const char *path)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_foreign *f = fg_foreign_open(kind, path, NULL, &err);

	if (f)
		read_some(f);
	else
		fg_assert(err.code != FG_OK && err.msg[0]);
	fg_foreign_close(f);
}

#endif
