/* SPDX-License-Identifier: Apache-2.0 */
/* Layers as the writer sees them: see the header. */
#include "config.h"

#include "store/known.h"

#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/morton.h"
#include "formats/info.h"
#include "store/record.h"
#include "store/uuid.h"

static void
known_fini(struct fg_known *k)
{
	free(k->name);
	free(k->uuid_text);
	free(k->descriptor);
	free(k->grid);
}

void
fg_known_fini(struct fg_known_set *c)
{
	for (size_t i = 0; i < c->n; i++)
		known_fini(&c->list[i]);
	free(c->list);
	*c = (struct fg_known_set){0};
}

static void
read_grids(struct fg_known *k, const char *text)
{
	struct fg_info info;

	/* The store serves any text as info; without a readable one it merely cannot
	 * tell which chunks lie over which. */
	if (fg_info_parse(text, strlen(text), &info, NULL) < 0)
		return;
	k->scales = info.scales;
	k->grid = fg_calloc((size_t)info.scales, sizeof *k->grid);
	for (int s = 0; s < info.scales; s++) {
		const struct fg_scale *from = &info.scale[s];

		memcpy(k->grid[s].nm, from->nm, sizeof from->nm);
		memcpy(k->grid[s].offset, from->offset, sizeof from->offset);
		memcpy(k->grid[s].size, from->size, sizeof from->size);
		memcpy(k->grid[s].chunk, from->chunk, sizeof from->chunk);
	}
	fg_info_fini(&info);
}

static int
known_init(struct fg_known *k, const struct fg_layer_row *row, struct fg_index *ix,
    struct fg_err *err)
{
	*k = (struct fg_known){.layer = row->layer};
	if (!fg_uuid_parse(row->uuid, k->uuid))
		return fg_fail(err, FG_ECORRUPT, "index: layer %s has no valid uuid",
		    row->name);
	if (row->recipe) {
		fg_sha256(row->recipe, strlen(row->recipe), k->sha);
		if (fg_index_params(ix, row->recipe, &k->params, err) < 0)
			return -1;
	}
	k->name = fg_strdup(row->name);
	k->uuid_text = fg_strdup(row->uuid);
	k->descriptor = fg_record_layer_format(row);
	if (row->info)
		read_grids(k, row->info);
	return 0;
}

int
fg_known_load(struct fg_known_set *c, struct fg_index *ix, struct fg_err *err)
{
	struct fg_known_set next = {0};
	struct fg_layer_row *rows;
	size_t n;
	int rc = 0;

	if (fg_index_layers(ix, &rows, &n, err) < 0)
		return -1;
	next.list = fg_calloc(n + 1, sizeof *next.list);
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct fg_known *k = &next.list[next.n++];
		const struct fg_known *old;

		rc = known_init(k, &rows[i], ix, err);
		old = fg_known_find_uuid(c, k->uuid);
		if (old) {
			k->described = old->described;
			k->restored = old->restored;
		}
	}
	for (size_t i = 0; i < n; i++)
		fg_layer_row_fini(&rows[i]);
	free(rows);
	if (rc < 0) {
		fg_known_fini(&next);
		return -1;
	}
	fg_known_fini(c);
	*c = next;
	return 0;
}

struct fg_known *
fg_known_find(struct fg_known_set *c, uint32_t layer)
{
	for (size_t i = 0; i < c->n; i++) {
		if (c->list[i].layer == layer)
			return &c->list[i];
	}
	return NULL;
}

struct fg_known *
fg_known_find_uuid(struct fg_known_set *c, const uint8_t uuid[16])
{
	for (size_t i = 0; i < c->n; i++) {
		if (memcmp(c->list[i].uuid, uuid, 16) == 0)
			return &c->list[i];
	}
	return NULL;
}

struct fg_known *
fg_known_find_name(struct fg_known_set *c, const char *name)
{
	for (size_t i = 0; i < c->n; i++) {
		if (strcmp(c->list[i].name, name) == 0)
			return &c->list[i];
	}
	return NULL;
}

bool
fg_grid_has(const struct fg_known *k, int scale, uint64_t at)
{
	const struct fg_grid *g;
	int64_t ch[3];

	if (scale >= k->scales || at >> 63)
		return false;
	g = &k->grid[scale];
	fg_morton_decode(at, ch);
	for (int d = 0; d < 3; d++) {
		if (ch[d] >= fg_div_ceil(g->size[d], g->chunk[d]))
			return false;
	}
	return true;
}

/* floor(vx / ratio), kept within what an int64_t holds for any pair of resolutions. */
static int64_t
scale_down(int64_t vx, double ratio)
{
	double v = floor((double)vx / ratio);

	return (int64_t)FG_MAX(FG_MIN(v, 0x1p52), -0x1p52);
}

/* Chunks of grid `to` that share space with chunk ch of grid `from`: half-open box in
 * chunks. False if there are none. */
static bool
chunks_over(const struct fg_grid *from, const int64_t ch[3], const struct fg_grid *to,
    struct fg_box *out)
{
	for (int d = 0; d < 3; d++) {
		double ratio = to->nm[d] / from->nm[d];
		int64_t lo = from->offset[d] + ch[d] * from->chunk[d];
		int64_t hi = lo + from->chunk[d] - 1; /* last voxel */
		int64_t end = fg_div_ceil(to->size[d], to->chunk[d]);

		lo = scale_down(lo, ratio) - to->offset[d];
		hi = scale_down(hi, ratio) - to->offset[d];
		end = FG_MIN(end, FG_MORTON_AXIS_MAX + 1);
		out->lo[d] = FG_MAX(fg_div_floor(lo, to->chunk[d]), 0);
		out->hi[d] = FG_MIN(fg_div_floor(hi, to->chunk[d]) + 1, end);
	}
	return !fg_box_is_empty(out);
}

static int
mark_box(uint32_t layer, struct fg_index *ix, int scale, const struct fg_box *ch,
    struct fg_err *err)
{
	int64_t p[3];

	/* More than this happens only where "coarser" scales are finer. */
	if ((double)(ch->hi[0] - ch->lo[0]) * (double)(ch->hi[1] - ch->lo[1]) *
		(double)(ch->hi[2] - ch->lo[2]) >
	    512)
		return fg_index_mark_scale_dirty(ix, layer, scale, err);
	for (p[2] = ch->lo[2]; p[2] < ch->hi[2]; p[2]++) {
		for (p[1] = ch->lo[1]; p[1] < ch->hi[1]; p[1]++) {
			for (p[0] = ch->lo[0]; p[0] < ch->hi[0]; p[0]++) {
				if (fg_index_mark_dirty(ix, layer, scale,
					fg_morton_encode(p), err) < 0)
					return -1;
			}
		}
	}
	return 0;
}

static int
mark_ancestors(const struct fg_known *k, struct fg_index *ix,
    const struct fg_result *res, struct fg_err *err)
{
	/* The chunks of a block lie under few ancestors, mostly one after another. */
	struct fg_box last[FG_SCALES_MAX] = {0};

	for (size_t i = 0; i < res->payloads; i++) {
		const struct fg_key *key = &res->payload[i].key;
		int64_t ch[3];

		if (key->kind != FG_KIND_CHUNK || !fg_grid_has(k, key->scale, key->at))
			continue;
		fg_morton_decode(key->at, ch);
		for (int s = key->scale + 1; s < k->scales; s++) {
			struct fg_box box;

			if (!chunks_over(&k->grid[key->scale], ch, &k->grid[s], &box) ||
			    fg_box_equal(&box, &last[s]))
				continue;
			last[s] = box;
			if (mark_box(k->layer, ix, s, &box, err) < 0)
				return -1;
		}
	}
	return 0;
}

int
fg_known_put_result(const struct fg_known *k, struct fg_index *ix,
    const struct fg_result *res, struct fg_err *err)
{
	if (mark_ancestors(k, ix, res, err) < 0)
		return -1;
	return fg_index_put_result(ix, res, k->params, err);
}
