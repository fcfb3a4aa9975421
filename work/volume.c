/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Voxels by box. Three kinds of volume: a source (a passive layer's, or one opened
 * here), the chunks of a generated layer, and an array in memory.
 */
#include "config.h"

#include "work/volume.h"

#include <stdlib.h>
#include <strings.h>

#include "base/morton.h"
#include "formats/codec.h"
#include "store/source.h"
#include "store/store.h"
#include "work/agglomerate.h"
#include "work/catalog.h"
#include "work/stack.h"
#include "work/tool.h"

struct fg_volume {
	const struct fg_info *info; /* of layer or source; NULL for an array */
	int scale;
	struct fg_store *store;   /* borrowed; layers only */
	struct fg_layer *layer;   /* or */
	struct fg_source *source; /* opened here, or */
	struct fg_stack *stack;   /* an array file */
	int64_t lo[3];            /* place of an array's first voxel */
	struct fg_reader *reader; /* generated layers */
};

static bool
is_array_file(const char *text)
{
	size_t n = strlen(text);

	return strstr(text, ".npz:") ||
	       (n > 4 && (strcasecmp(text + n - 4, ".npy") == 0 ||
			     strcasecmp(text + n - 4, ".npz") == 0));
}

static int
set_scale(struct fg_volume *v, const char *text, const char *key, struct fg_err *err)
{
	if (v->info->scales == 0)
		return fg_fail(err, FG_EINVAL, "%s holds %s, not a volume", text,
		    fg_volume_type_name(v->info->type));
	if (!key)
		return 0;
	v->scale = fg_info_find_scale(v->info, key, strlen(key));
	if (v->scale < 0)
		return fg_fail(err, FG_ENOENT, "%s: no scale \"%s\", the finest is %s",
		    text, key, v->info->scale[0].key);
	return 0;
}

/* 1: it is a layer; 0: there is no such layer. */
static int
open_layer(struct fg_volume *v, struct fg_session *s, const char *name, const char *key,
    struct fg_err *err)
{
	v->layer = fg_catalog_find(s->catalog, name, strlen(name));
	if (!v->layer)
		return 0;
	if (v->layer->broken)
		return fg_fail(err, FG_EIO, "layer %s: %s", name, v->layer->why);
	v->store = s->store;
	v->info = &v->layer->info;
	if (!v->layer->source) {
		v->reader = fg_reader_open(s->store, err);
		if (!v->reader)
			return -1;
	}
	return set_scale(v, name, key, err) < 0 ? -1 : 1;
}

static int
open_source(struct fg_volume *v, const char *text, const char *key, struct fg_err *err)
{
	v->source = fg_source_open(text, err);
	if (!v->source)
		return -1;
	v->info = &v->source->info;
	return set_scale(v, text, key, err);
}

struct fg_volume *
fg_volume_open(struct fg_session *s, const char *text, struct fg_err *err)
{
	struct fg_volume *v = fg_calloc(1, sizeof *v);
	const char *at = strrchr(text, '@');
	char *name = at ? fg_strndup(text, (size_t)(at - text)) : fg_strdup(text);
	int rc = 0;

	if (is_array_file(text)) {
		v->stack = fg_stack_open(text, false, err);
		rc = v->stack ? 1 : -1;
	} else if (s && s->catalog && fg_layer_name_is_valid(name, strlen(name))) {
		rc = open_layer(v, s, name, at ? at + 1 : NULL, err);
	}
	if (rc == 0)
		rc = open_source(v, name, at ? at + 1 : NULL, err);
	if (rc < 0 && err && err->code == FG_ENOENT && !strchr(text, '/') && s)
		fg_err_prefix(err, "no layer and no volume of that name");
	free(name);
	if (rc >= 0)
		return v;
	fg_volume_close(v);
	return NULL;
}

void
fg_volume_close(struct fg_volume *v)
{
	if (!v)
		return;
	fg_reader_close(v->reader);
	fg_layer_unref(v->layer);
	if (v->source)
		fg_source_close(v->source);
	fg_stack_close(v->stack);
	free(v);
}

enum fg_dtype
fg_volume_dtype(const struct fg_volume *v)
{
	return v->stack ? fg_stack_dtype(v->stack) : v->info->dtype;
}

int
fg_volume_channels(const struct fg_volume *v)
{
	int64_t shape[4];

	if (!v->stack)
		return v->info->channels;
	fg_stack_shape(v->stack, shape);
	return (int)shape[3];
}

void
fg_volume_bounds(const struct fg_volume *v, struct fg_box *vx, int64_t chunk[3])
{
	int64_t shape[4];

	if (!v->stack) {
		fg_scale_bounds(&v->info->scale[v->scale], vx);
		memcpy(chunk, v->info->scale[v->scale].chunk, 3 * sizeof *chunk);
		return;
	}
	fg_stack_shape(v->stack, shape);
	for (int d = 0; d < 3; d++) {
		vx->lo[d] = v->lo[d];
		vx->hi[d] = v->lo[d] + shape[d];
		chunk[d] = 64;
	}
}

void
fg_volume_resolution(const struct fg_volume *v, double nm[3])
{
	for (int d = 0; d < 3; d++)
		nm[d] = v->stack ? 1 : v->info->scale[v->scale].nm[d];
}

bool
fg_volume_is_placeless(const struct fg_volume *v)
{
	return v->stack != NULL;
}

void
fg_volume_place(struct fg_volume *v, const int64_t lo[3])
{
	fg_assert(v->stack);
	memcpy(v->lo, lo, sizeof v->lo);
}

/* ------------------------------------------------------------- reading */

static int
read_stack(struct fg_volume *v, const struct fg_box *vx, struct fg_array *out,
    struct fg_err *err)
{
	struct fg_array section = FG_ARRAY_INIT;
	int64_t shape[4];
	int rc = -1;

	fg_stack_shape(v->stack, shape);
	shape[2] = 1;
	if (fg_array_init(&section, out->dtype, shape, err) < 0)
		return -1;
	for (int64_t z = vx->lo[2]; z < vx->hi[2]; z++) {
		struct fg_box here = {.lo = {v->lo[0], v->lo[1], z},
		    .hi = {v->lo[0] + shape[0], v->lo[1] + shape[1], z + 1}};

		if (fg_stack_read(v->stack, z - v->lo[2], &section, err) < 0)
			goto out;
		fg_array_copy_box(out, vx, &section, &here);
	}
	rc = 0;
out:
	fg_array_fini(&section);
	return rc;
}

static uint64_t
count_ones(const struct fg_array *a)
{
	const uint8_t *p = a->data;
	size_t n = fg_array_count(a);
	uint64_t ones = 0;

	for (size_t i = 0; i < n; i++)
		ones += p[i] != 0;
	return ones;
}

static int
read_source(struct fg_source *src, int scale, const struct fg_box *vx,
    struct fg_array *out, uint64_t *absent, struct fg_err *err)
{
	struct fg_array mask = FG_ARRAY_INIT;
	int64_t shape[4] = {[3] = 1};
	int rc = -1;

	fg_box_shape(vx, shape);
	if (fg_array_init_zero(&mask, FG_U8, shape, err) == 0 &&
	    fg_source_box(src, scale, vx, out, &mask, err) == 0) {
		*absent += count_ones(&mask);
		rc = 0;
	}
	fg_array_fini(&mask);
	return rc;
}

/* One chunk of a generated layer into out, as far as it is in vx. */
static int
read_chunk(struct fg_volume *v, const int64_t ch[3], const struct fg_box *vx,
    struct fg_array *out, uint64_t *absent, struct fg_err *err)
{
	const struct fg_scale *s = &v->info->scale[v->scale];
	struct fg_key key = {.layer = v->layer->id,
	    .kind = v->layer->chunk_kind,
	    .scale = (uint8_t)v->scale,
	    .at = fg_morton_encode(ch)};
	struct fg_array a = FG_ARRAY_INIT;
	int64_t shape[4] = {[3] = v->info->channels};
	struct fg_buf *bytes = NULL;
	struct fg_place place;
	struct fg_box box, part;
	int rc = -1;

	fg_scale_chunk_box(s, ch, &box);
	fg_box_shape(&box, shape);
	if (fg_reader_find(v->reader, &key, &place, err) < 0)
		return -1;
	if (place.state == FG_ABSENT) {
		fg_box_intersect(&box, vx, &part);
		*absent += (uint64_t)fg_box_volume(&part);
	}
	if (place.state == FG_ABSENT || place.state == FG_EMPTY)
		return 0;
	if (fg_array_init(&a, v->info->dtype, shape, err) == 0 &&
	    fg_store_read(v->store, &place, false, &bytes, err) == 0 &&
	    fg_codec_decode(s, bytes->data, bytes->len, &a, err) == 0 &&
	    (!v->layer->agglomerated || fg_agglomerate_voxels(v->layer, v->reader,
					    a.data, fg_array_count(&a), err) == 0)) {
		fg_array_copy_box(out, vx, &a, &box);
		rc = 0;
	}
	fg_buf_unref(bytes);
	fg_array_fini(&a);
	return rc;
}

static int
read_generated(struct fg_volume *v, const struct fg_box *vx, struct fg_array *out,
    uint64_t *absent, struct fg_err *err)
{
	const struct fg_scale *s = &v->info->scale[v->scale];
	int64_t lo[3], hi[3], ch[3];

	for (int d = 0; d < 3; d++) {
		lo[d] = (vx->lo[d] - s->offset[d]) / s->chunk[d];
		hi[d] = fg_div_ceil(vx->hi[d] - s->offset[d], s->chunk[d]);
	}
	memset(out->data, 0, fg_array_bytes(out));
	for (ch[2] = lo[2]; ch[2] < hi[2]; ch[2]++) {
		for (ch[1] = lo[1]; ch[1] < hi[1]; ch[1]++) {
			for (ch[0] = lo[0]; ch[0] < hi[0]; ch[0]++) {
				if (read_chunk(v, ch, vx, out, absent, err) < 0)
					return -1;
			}
		}
	}
	return 0;
}

int
fg_volume_read(struct fg_volume *v, const struct fg_box *vx, struct fg_array *out,
    uint64_t *absent, struct fg_err *err)
{
	if (v->stack)
		return read_stack(v, vx, out, err);
	if (v->source)
		return read_source(v->source, v->scale, vx, out, absent, err);
	if (v->layer->source)
		return read_source(v->layer->source, v->scale, vx, out, absent, err);
	return read_generated(v, vx, out, absent, err);
}
