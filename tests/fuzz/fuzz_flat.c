/* SPDX-License-Identifier: Apache-2.0 */
/* NIfTI and .npy files, plain and gzipped: byte 0 says which, the rest is the file. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "formats/foreign.h"

#define VOXELS_MAX 65536

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
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

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	static char path[64];
	struct fg_err err = FG_ERR_INIT;
	struct fg_foreign *f;
	FILE *file;

	if (n < 1)
		return 0;
	if (!path[0])
		snprintf(path, sizeof path, "/tmp/fg-fuzz-flat-%d", (int)getpid());
	file = fopen(path, "wb");
	fg_assert(file && fwrite(p + 1, 1, n - 1, file) == n - 1 && fclose(file) == 0);
	f = fg_foreign_open(p[0] & 1 ? "npy" : "nifti", path, NULL, &err);
	if (f)
		read_some(f);
	else
		fg_assert(err.code != FG_OK && err.msg[0]);
	fg_foreign_close(f);
	unlink(path);
	return 0;
}
