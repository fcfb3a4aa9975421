/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kind "stack" of formats/foreign.h: a folder of images (formats/series.h), read in
 * place. All headers are looked at when it is opened. Nothing is kept: who reads parts
 * keeps what was decoded (store/tiles.h).
 *
 * Limit: headers are read one after the other, some 20 microseconds each on a local
 * disk; a folder of a million files takes its time at each start.
 */
#include "config.h"

#include <stdlib.h>

#include "formats/foreign.h"
#include "formats/series.h"

struct sections {
	struct fg_series series;
	uint8_t *hole;
};

static int
sections_open(struct fg_foreign *r, const char *path, const char *axes,
    struct fg_err *err)
{
	struct sections *s = fg_calloc(1, sizeof *s);
	const int64_t *n = s->series.shape;

	r->priv = s;
	if (axes)
		return fg_fail(err, FG_EINVAL,
		    "axes \"%.20s\": files of a stack are z, rows y", axes);
	if (fg_series_open(&s->series, path, err) < 0)
		return -1;
	for (int64_t z = 0; z < n[2]; z++) {
		if (fg_series_check(&s->series, z, err) < 0)
			return -1;
	}
	if (fg_series_piece(&s->series, r->piece, err) < 0)
		return -1;
	r->dtype = s->series.dtype;
	r->channels = (int)n[3];
	r->scales = 1;
	memcpy(r->scale[0].size, n, sizeof r->scale[0].size);
	if (s->series.holes == 0)
		return 0;
	s->hole = fg_calloc((size_t)n[2], 1);
	for (int64_t z = 0; z < n[2]; z++)
		s->hole[z] = s->series.file[z] == NULL;
	r->holes = s->series.holes;
	r->hole = s->hole;
	r->gap = s->series.gap;
	return 0;
}

static int
sections_box(struct fg_foreign *r, int scale FG_UNUSED, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err)
{
	struct sections *s = r->priv;
	struct fg_box plane = *vx, part = *vx;

	part.lo[2] = 0; /* as the file has it */
	part.hi[2] = 1;
	for (int64_t z = vx->lo[2]; z < vx->hi[2]; z++) {
		struct fg_array a;

		if (!s->series.file[z])
			continue;
		if (fg_series_read(&s->series, z, &part, &a, err) < 0)
			return -1;
		plane.lo[2] = z;
		plane.hi[2] = z + 1;
		fg_array_copy_box(out, vx, &a, &plane);
		fg_array_fini(&a);
	}
	return 0;
}

static void
sections_close(struct fg_foreign *r)
{
	struct sections *s = r->priv;

	fg_series_close(&s->series);
	free(s->hole);
	free(s);
}

const struct fg_foreign_ops fg_sections_ops = {"stack", sections_open, sections_box,
    sections_close};
