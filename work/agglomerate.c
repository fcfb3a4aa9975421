/* SPDX-License-Identifier: Apache-2.0 */
/* Base ids become public ids: see the header. */
#include "config.h"

#include "work/agglomerate.h"

#include "formats/relabel.h"

struct names {
	struct fg_reader *reader;
	uint32_t layer;
};

static int
find_public(void *ctx, uint64_t *label, size_t n, struct fg_err *err)
{
	struct names *s = ctx;

	return fg_reader_public(s->reader, s->layer, label, n, label, err);
}

int
fg_agglomerate_chunk(const struct fg_layer *l, struct fg_reader *r, int scale,
    const int64_t ch[3], struct fg_buf *bytes, struct fg_buf **out, struct fg_err *err)
{
	struct names s = {.reader = r, .layer = l->id};
	int64_t shape[4] = {0, 0, 0, 1};
	struct fg_box vx;

	fg_scale_chunk_box(&l->info.scale[scale], ch, &vx);
	fg_box_shape(&vx, shape);
	return fg_relabel_chunk(&l->info.scale[scale], l->info.dtype, shape, bytes,
	    find_public, &s, out, err);
}

int
fg_agglomerate_voxels(const struct fg_layer *l, struct fg_reader *r, uint64_t *vx,
    size_t n, struct fg_err *err)
{
	struct names s = {.reader = r, .layer = l->id};

	return fg_relabel_voxels(vx, n, find_public, &s, err);
}
