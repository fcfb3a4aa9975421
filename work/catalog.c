/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The catalogue: layers as they are served.
 *
 * The table is a sorted array behind a lock that is held for pointer work only; layers
 * are reference-counted and do not change once they are in it, except their atomic
 * flags. Opening a layer (sources, recipes) happens outside the lock.
 *
 * `writer` is held around every writing call to the store, here and in the scheduler;
 * it is the outermost lock, and also what makes "is the name free" and "add it" one
 * step.
 *
 * How a new layer's description becomes a row is in catalog_add.c.
 */
#include "config.h"

#include "work/catalog_priv.h"

#include <math.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/morton.h"
#include "store/tiles.h"

struct fg_catalog {
	struct fg_store *store;
	struct fg_web *web;          /* of all remote sources */
	struct fg_tiles_pool *tiles; /* of all sources of sections */
	pthread_mutex_t writer;      /* see above; guards nothing of this struct */
	pthread_mutex_t lock;        /* guards layer and layers */
	struct fg_layer **layer;     /* by name */
	size_t layers;
};

/* ------------------------------------------------------------- one layer */

struct fg_layer *
fg_layer_ref(struct fg_layer *l)
{
	l->refs++;
	return l;
}

void
fg_layer_unref(struct fg_layer *l)
{
	if (!l || --l->refs > 0)
		return;
	fg_info_fini(&l->info);
	fg_buf_unref(l->info_json);
	fg_source_close(l->source);
	if (l->recipe) {
		fg_recipe_fini(l->recipe);
		free(l->recipe);
	}
	fg_layer_unref(l->image);
	fg_layer_unref(l->mask);
	fg_layer_unref(l->base);
	free(l->name);
	free(l);
}

/* What begins paths of the server's own. */
static bool
is_reserved(const char *name, size_t n)
{
	static const char *const word[] = {"api", "t", "viewer", "metrics", "healthz",
	    "readyz", "info"};

	for (size_t i = 0; i < FG_COUNTOF(word); i++) {
		if (strlen(word[i]) == n && memcmp(word[i], name, n) == 0)
			return true;
	}
	return false;
}

bool
fg_layer_name_is_valid(const char *name, size_t n)
{
	if (n == 0 || n > 64)
		return false;
	for (size_t i = 0; i < n; i++) {
		char c = name[i];
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			      (c >= '0' && c <= '9');

		if (!letter && (i == 0 || (c != '.' && c != '_' && c != '-')))
			return false;
	}
	return !is_reserved(name, n);
}

int
fg_layer_check_name(const char *name, struct fg_err *err)
{
	size_t n = strlen(name);

	if (fg_layer_name_is_valid(name, n))
		return 0;
	if (is_reserved(name, n))
		return fg_fail(err, FG_EINVAL,
		    "\"%s\" cannot be a layer's name: the server has /%s itself", name,
		    name);
	return fg_fail(err, FG_EINVAL,
	    "\"%.70s\" cannot be a layer's name: letters, digits and . _ - are "
	    "allowed, at most 64, a letter or digit first",
	    name);
}

struct fg_buf *
fg_catalog_info_bytes(const struct fg_info *info)
{
	json_t *j = fg_info_format(info);
	char *text = fg_json_format(j);

	json_decref(j);
	return fg_buf_take(text, strlen(text));
}

void
fg_catalog_info_sha256(const struct fg_info *info, char out[FG_SHA256_HEX])
{
	struct fg_buf *b = fg_catalog_info_bytes(info);
	uint8_t sum[FG_SHA256_SIZE];

	fg_sha256(b->data, b->len, sum);
	fg_hex_format(sum, sizeof sum, out);
	fg_buf_unref(b);
}

/* The scale of the image that a pass floods, by its key; "": leave *scale. */
static int
find_pass_scale(const struct fg_layer *l, const char *key, int *scale,
    struct fg_err *err)
{
	int s = fg_info_find_scale(&l->image->info, key, strlen(key));

	if (key[0] == '\0')
		return 0;
	if (s < 0)
		return fg_fail(err, FG_ECORRUPT, "image %s has no scale %s",
		    l->image->name, key);
	*scale = s;
	return 0;
}

/* What second passes read: coarser scales, a mask. */
static int
open_passes(struct fg_catalog *c, struct fg_layer *l, struct fg_err *err)
{
	const struct fg_passes *p = &l->recipe->passes;
	char sha256[FG_SHA256_HEX];

	l->coarse_scale = -1;
	l->consensus_scale = l->image_scale;
	if (find_pass_scale(l, p->coarse, &l->coarse_scale, err) < 0 ||
	    find_pass_scale(l, p->consensus_scale, &l->consensus_scale, err) < 0)
		return -1;
	if (!p->mask[0])
		return 0;
	l->mask = fg_catalog_find_uuid(c, p->mask_uuid);
	if (!l->mask)
		return fg_fail(err, FG_ENOENT, "its mask layer %s is gone", p->mask);
	if (l->mask->broken)
		return fg_fail(err, FG_EIO, "its mask layer %s: %.150s", l->mask->name,
		    l->mask->why);
	fg_catalog_info_sha256(&l->mask->info, sha256);
	l->mask_scale =
	    fg_info_find_scale(&l->mask->info, p->mask_scale, strlen(p->mask_scale));
	if (strcmp(sha256, p->mask_sha256) != 0 || l->mask_scale < 0)
		return fg_fail(err, FG_ECORRUPT,
		    "the info of mask %s has changed since the layer was made",
		    l->mask->name);
	return 0;
}

/* Bind a generated layer to its image, which must be what the recipe names. */
static int
open_generated(struct fg_catalog *c, struct fg_layer *l, const struct fg_layer_row *row,
    struct fg_err *err)
{
	struct fg_recipe *r = fg_calloc(1, sizeof *r);
	char sha256[FG_SHA256_HEX];

	if (fg_recipe_parse(row->recipe, r, err) < 0) {
		free(r);
		return -1;
	}
	l->recipe = r;
	fg_recipe_grid(r, &l->info.scale[0], l->blocks);
	memcpy(l->block, r->block, sizeof l->block);
	l->image = fg_catalog_find_uuid(c, r->image_uuid);
	if (!l->image)
		return fg_fail(err, FG_ENOENT, "its image layer %s is gone", r->image);
	if (l->image->broken)
		return fg_fail(err, FG_EIO, "its image layer %s: %.150s",
		    l->image->name, l->image->why);
	fg_catalog_info_sha256(&l->image->info, sha256);
	if (strcmp(sha256, r->image_sha256) != 0)
		return fg_fail(err, FG_ECORRUPT,
		    "the info of image %s has changed since the layer was made",
		    l->image->name);
	l->image_scale =
	    fg_info_find_scale(&l->image->info, r->image_scale, strlen(r->image_scale));
	if (l->image_scale < 0)
		return fg_fail(err, FG_ECORRUPT, "image %s has no scale %s",
		    l->image->name, r->image_scale);
	return open_passes(c, l, err);
}

/* A generated segmentation has meshes, skeletons and properties. Its row does not say
 * so: that rows of earlier versions have them too. */
static void
name_objects(struct fg_info *info)
{
	if (!info->mesh)
		info->mesh = fg_strdup("mesh");
	if (!info->skeletons)
		info->skeletons = fg_strdup("skeleton");
	if (!info->segment_properties)
		info->segment_properties = fg_strdup("segment_properties");
}

/* What nobody has said: about a voxel. */
static void
choose_mesh_error(struct fg_layer *l)
{
	const double *nm = l->info.scale[0].nm;

	if (l->recipe)
		l->mesh_error_nm = l->recipe->mesh_error_nm;
	if (l->mesh_error_nm < 0)
		l->mesh_error_nm = cbrt(nm[0] * nm[1] * nm[2]);
}

/* Blocks of whole chunks, about 256 voxels wide, for looking for objects. */
static void
plan_blocks(struct fg_layer *l)
{
	const struct fg_scale *s = &l->info.scale[0];

	for (int d = 0; d < 3; d++) {
		l->block[d] =
		    fg_div_ceil(FG_MIN(256, s->size[d]), s->chunk[d]) * s->chunk[d];
		l->blocks[d] = fg_div_ceil(s->size[d], l->block[d]);
		if (l->blocks[d] > FG_MORTON_AXIS_MAX) { /* none are looked for */
			memset(l->blocks, 0, sizeof l->blocks);
			return;
		}
	}
}

struct fg_layer *
fg_catalog_open_layer(struct fg_catalog *c, const struct fg_layer_row *row)
{
	struct fg_layer *l = fg_calloc(1, sizeof *l);
	struct fg_err err = FG_ERR_INIT;
	int rc;

	l->refs = 1;
	l->id = row->layer;
	l->chunk_kind = FG_KIND_CHUNK;
	memcpy(l->uuid, row->uuid, sizeof l->uuid);
	l->name = fg_strdup(row->name);
	l->paused = row->paused;
	l->mesh_error_nm = -1;
	rc = fg_info_parse_any(row->info, strlen(row->info), &l->info, &err);
	if (rc == 0) {
		if (row->recipe)
			name_objects(&l->info);
		l->info_json = l->info.at_type
				   ? fg_buf_copy(row->info, strlen(row->info))
				   : fg_catalog_info_bytes(&l->info);
		if (row->recipe)
			rc = open_generated(c, l, row, &err);
		else if (row->source)
			rc = fg_catalog_open_passive(c, l, row, &err);
		else
			rc = fg_fail(&err, FG_ECORRUPT, "neither source nor recipe");
		if (rc == 0 && !row->recipe && l->info.type == FG_SEGMENTATION)
			plan_blocks(l);
		if (rc == 0 && l->info.type == FG_SEGMENTATION)
			choose_mesh_error(l);
	}
	if (rc == 0 && row->degraded)
		rc = fg_fail(&err, FG_EIO, "%s", row->why ? row->why : "degraded");
	if (rc < 0) {
		l->broken = true;
		snprintf(l->why, sizeof l->why, "%.199s", err.msg);
	}
	if (!l->info_json)
		l->info_json = fg_buf_copy("{}", 2);
	return l;
}

/* The recipe is copied by way of its text: it is small, and this cannot go stale. */
static struct fg_recipe *
copy_recipe(const struct fg_recipe *from)
{
	struct fg_recipe *r = fg_calloc(1, sizeof *r);
	char *text = fg_recipe_format(from);

	fg_assert(fg_recipe_parse(text, r, NULL) == 0);
	free(text);
	return r;
}

/* What all companions have in common. */
static struct fg_layer *
make_companion(struct fg_layer *base, const char *ending)
{
	struct fg_layer *l = fg_calloc(1, sizeof *l);

	l->refs = 1;
	l->id = base->id;
	l->base = fg_layer_ref(base);
	memcpy(l->uuid, base->uuid, sizeof l->uuid);
	l->name = fg_asprintf("%s.%s", base->name, ending);
	l->recipe = copy_recipe(base->recipe);
	l->image = base->image ? fg_layer_ref(base->image) : NULL;
	l->image_scale = base->image_scale;
	memcpy(l->block, base->block, sizeof l->block);
	memcpy(l->blocks, base->blocks, sizeof l->blocks);
	l->mesh_error_nm = base->mesh_error_nm;
	l->paused = base->paused;
	l->broken = base->broken;
	memcpy(l->why, base->why, sizeof l->why);
	return l;
}

struct fg_layer *
fg_catalog_make_agg(struct fg_layer *base)
{
	struct fg_layer *l = make_companion(base, "agg");

	l->chunk_kind = FG_KIND_CHUNK;
	l->agglomerated = true;
	/* By way of its text, as the recipe. */
	l->info_json = fg_catalog_info_bytes(&base->info);
	fg_assert(fg_info_parse((const char *)l->info_json->data, l->info_json->len,
		      &l->info, NULL) == 0);
	return l;
}

struct fg_layer *
fg_catalog_make_prob(struct fg_layer *base)
{
	struct fg_layer *l = make_companion(base, "prob");
	struct fg_scale *s;

	l->chunk_kind = FG_KIND_PROB;
	l->info = (struct fg_info){.type = FG_IMAGE,
	    .dtype = FG_U8,
	    .channels = 1,
	    .scales = 1};
	s = &l->info.scale[0];
	*s = base->info.scale[0];
	s->key = fg_strdup(s->key);
	s->encoding = FG_ENC_RAW;
	l->info_json = fg_catalog_info_bytes(&l->info);
	return l;
}

/* ------------------------------------------------------------- the table */

/* Where the name is, or would be. Under the lock. */
static size_t
position(const struct fg_catalog *c, const char *name, size_t n, bool *found)
{
	size_t lo = 0, hi = c->layers;

	*found = false;
	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const char *other = c->layer[mid]->name;
		int cmp = strncmp(other, name, n);

		if (cmp == 0 && other[n])
			cmp = 1;
		if (cmp == 0)
			*found = true;
		if (cmp < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* Under the lock. A taken name is the caller's mistake, except for a companion: then
 * the older layer keeps the name. */
static bool
put(struct fg_catalog *c, struct fg_layer *l)
{
	bool found;
	size_t i = position(c, l->name, strlen(l->name), &found);

	if (found)
		return false;
	c->layer = fg_realloc(c->layer, c->layers + 1, sizeof(struct fg_layer *));
	memmove(&c->layer[i + 1], &c->layer[i],
	    (c->layers - i) * sizeof(struct fg_layer *));
	c->layer[i] = l;
	c->layers++;
	return true;
}

/* Take a layer out; the reference of the table is the caller's. Under the lock. */
static struct fg_layer *
take(struct fg_catalog *c, size_t i)
{
	struct fg_layer *l = c->layer[i];

	memmove(&c->layer[i], &c->layer[i + 1],
	    (c->layers - i - 1) * sizeof(struct fg_layer *));
	c->layers--;
	return l;
}

void
fg_catalog_insert(struct fg_catalog *c, struct fg_layer *l)
{
	bool made = l->recipe && l->info.scales;
	struct fg_layer *prob =
	    made && l->recipe->prob ? fg_catalog_make_prob(l) : NULL;
	struct fg_layer *agg = made ? fg_catalog_make_agg(l) : NULL;

	pthread_mutex_lock(&c->lock);
	fg_assert(put(c, l));
	if (prob && put(c, prob))
		prob = NULL;
	if (agg && put(c, agg))
		agg = NULL;
	pthread_mutex_unlock(&c->lock);
	fg_layer_unref(prob);
	fg_layer_unref(agg);
}

struct fg_layer *
fg_catalog_find(struct fg_catalog *c, const char *name, size_t n)
{
	struct fg_layer *l = NULL;
	bool found;

	pthread_mutex_lock(&c->lock);
	size_t i = position(c, name, n, &found);
	if (found)
		l = fg_layer_ref(c->layer[i]);
	pthread_mutex_unlock(&c->lock);
	return l;
}

struct fg_layer *
fg_catalog_get(struct fg_catalog *c, uint32_t id)
{
	struct fg_layer *l = NULL;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->layers && !l; i++) {
		if (c->layer[i]->id == id && !c->layer[i]->base)
			l = fg_layer_ref(c->layer[i]);
	}
	pthread_mutex_unlock(&c->lock);
	return l;
}

struct fg_layer *
fg_catalog_find_uuid(struct fg_catalog *c, const char *uuid)
{
	struct fg_layer *l = NULL;

	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->layers && !l; i++) {
		if (!c->layer[i]->base && strcmp(c->layer[i]->uuid, uuid) == 0)
			l = fg_layer_ref(c->layer[i]);
	}
	pthread_mutex_unlock(&c->lock);
	return l;
}

void
fg_catalog_list(struct fg_catalog *c, struct fg_layer ***out, size_t *n)
{
	pthread_mutex_lock(&c->lock);
	*out = fg_calloc(c->layers + 1, sizeof **out);
	for (size_t i = 0; i < c->layers; i++)
		(*out)[i] = fg_layer_ref(c->layer[i]);
	*n = c->layers;
	pthread_mutex_unlock(&c->lock);
}

/* Put all layers of the rows into the table; passive ones first, because generated ones
 * look for their image there. */
static void
open_rows(struct fg_catalog *c, struct fg_layer_row *rows, size_t n)
{
	for (int generated = 0; generated < 2; generated++) {
		for (size_t i = 0; i < n; i++) {
			if ((rows[i].recipe != NULL) == (generated == 1))
				fg_catalog_insert(c,
				    fg_catalog_open_layer(c, &rows[i]));
		}
	}
}

/* The cache of upstreams stands beside the index: both want a local disk. */
static struct fg_web *
new_web(struct fg_store *s, const struct fg_web_options *opt, struct fg_err *err)
{
	struct fg_web_options o = {.fresh_ms = -1,
	    .cache_bytes = FG_CATALOG_CACHE_BYTES};
	const char *index = fg_store_index_path(s), *slash = strrchr(index, '/');
	struct fg_web *w;
	char *path;

	if (opt)
		o = *opt;
	path = fg_asprintf("%.*supstream.sqlite", slash ? (int)(slash - index) + 1 : 0,
	    index);
	o.cache_path = path;
	w = fg_web_new(&o, err);
	free(path);
	return w;
}

struct fg_catalog *
fg_catalog_open(struct fg_store *s, struct fg_err *err)
{
	return fg_catalog_open_with(s, NULL, err);
}

struct fg_catalog *
fg_catalog_open_with(struct fg_store *s, const struct fg_catalog_options *opt,
    struct fg_err *err)
{
	struct fg_reader *r = fg_reader_open(s, err);
	struct fg_layer_row *rows = NULL;
	struct fg_catalog *c;
	size_t n = 0;
	int rc;

	if (!r)
		return NULL;
	rc = fg_store_layers(r, &rows, &n, err);
	fg_reader_close(r);
	if (rc < 0)
		return NULL;
	c = fg_calloc(1, sizeof *c);
	c->store = s;
	pthread_mutex_init(&c->writer, NULL);
	pthread_mutex_init(&c->lock, NULL);
	c->tiles = fg_tiles_pool_new(
	    opt && opt->section_bytes ? opt->section_bytes : FG_TILES_BUDGET);
	c->web = new_web(s, opt ? &opt->web : NULL, err);
	if (c->web)
		open_rows(c, rows, n);
	for (size_t i = 0; i < n; i++)
		fg_layer_row_fini(&rows[i]);
	free(rows);
	if (c->web)
		return c;
	fg_catalog_close(c);
	return NULL;
}

void
fg_catalog_close(struct fg_catalog *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->layers; i++)
		fg_layer_unref(c->layer[i]);
	free(c->layer);
	fg_web_free(c->web);
	fg_tiles_pool_free(c->tiles);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->writer);
	free(c);
}

pthread_mutex_t *
fg_catalog_writer(struct fg_catalog *c)
{
	return &c->writer;
}

struct fg_store *
fg_catalog_store(struct fg_catalog *c)
{
	return c->store;
}

struct fg_web *
fg_catalog_web(struct fg_catalog *c)
{
	return c->web;
}

struct fg_tiles_pool *
fg_catalog_tiles(struct fg_catalog *c)
{
	return c->tiles;
}

void
fg_catalog_stop(struct fg_catalog *c)
{
	if (c)
		fg_web_stop(c->web);
}

void
fg_catalog_web_stats(struct fg_catalog *c, struct fg_web_stats *out)
{
	fg_web_get_stats(c->web, out);
}

/* ------------------------------------------------------------- removing, pausing */

/* The name of a layer that is made from this one, or NULL. Under the lock. */
static const char *
find_user(const struct fg_catalog *c, const struct fg_layer *l)
{
	for (size_t i = 0; i < c->layers; i++) {
		const struct fg_recipe *r = c->layer[i]->recipe;

		if (r && !c->layer[i]->base &&
		    (strcmp(r->image_uuid, l->uuid) == 0 ||
			strcmp(r->passes.mask_uuid, l->uuid) == 0))
			return c->layer[i]->name;
	}
	return NULL;
}

static int
check_unused(struct fg_catalog *c, const struct fg_layer *l, struct fg_err *err)
{
	int rc = 0;

	pthread_mutex_lock(&c->lock);
	const char *user = find_user(c, l);
	if (user)
		rc = fg_fail(err, FG_EINVAL,
		    "layer %s is the image of layer %s: remove that first", l->name,
		    user);
	pthread_mutex_unlock(&c->lock);
	return rc;
}

/* A layer that stands for itself: a reference, or NULL with the reason. */
static struct fg_layer *
find_own(struct fg_catalog *c, const char *name, struct fg_err *err)
{
	struct fg_layer *l = fg_catalog_find(c, name, strlen(name));

	if (!l)
		return fg_fail_null(err, FG_ENOENT, "there is no layer %.70s", name);
	if (l->base) {
		fg_fail(err, FG_EINVAL, "layer %s comes and goes with layer %s", name,
		    l->base->name);
		fg_layer_unref(l);
		return NULL;
	}
	return l;
}

/* Take the layer and its companions out of the table. */
static void
take_out(struct fg_catalog *c, struct fg_layer *l)
{
	struct fg_layer *out[3];
	size_t n = 0;

	pthread_mutex_lock(&c->lock);
	for (size_t i = c->layers; i-- > 0;) {
		if (c->layer[i] == l || c->layer[i]->base == l) {
			fg_assert(n < FG_COUNTOF(out));
			out[n] = take(c, i);
			out[n++]->removed = true;
		}
	}
	pthread_mutex_unlock(&c->lock);
	while (n > 0)
		fg_layer_unref(out[--n]);
}

int
fg_catalog_remove(struct fg_catalog *c, const char *name, struct fg_err *err)
{
	struct fg_layer *l;
	int rc = -1;

	pthread_mutex_lock(&c->writer);
	l = find_own(c, name, err);
	if (l && check_unused(c, l, err) == 0) {
		l->removed = true; /* no new task from here on */
		rc = fg_store_layer_remove(c->store, l->id, err);
		if (rc < 0)
			l->removed = false;
		else
			take_out(c, l);
	}
	pthread_mutex_unlock(&c->writer);
	fg_layer_unref(l);
	return rc;
}

static void
set_paused(struct fg_catalog *c, struct fg_layer *l, bool paused)
{
	pthread_mutex_lock(&c->lock);
	for (size_t i = 0; i < c->layers; i++) {
		if (c->layer[i] == l || c->layer[i]->base == l)
			c->layer[i]->paused = paused;
	}
	pthread_mutex_unlock(&c->lock);
}

int
fg_catalog_pause(struct fg_catalog *c, const char *name, bool paused,
    struct fg_err *err)
{
	struct fg_layer *l;
	int rc = -1;

	pthread_mutex_lock(&c->writer);
	l = find_own(c, name, err);
	if (l && !l->recipe)
		fg_fail(err, FG_EINVAL,
		    "layer %.70s is not generated: there is nothing to pause", name);
	else if (l)
		rc = fg_store_layer_pause(c->store, l->id, paused, err);
	if (rc == 0)
		set_paused(c, l, paused);
	pthread_mutex_unlock(&c->writer);
	fg_layer_unref(l);
	return rc;
}

/* ------------------------------------------------------------- describing */

static json_t *
describe_scales(const struct fg_info *info)
{
	json_t *list = json_array();

	for (int i = 0; i < info->scales; i++) {
		const struct fg_scale *s = &info->scale[i];

		json_array_append_new(list,
		    json_pack("{s:s,s:o,s:o,s:o,s:o,s:s}", "key", s->key, "resolution",
			fg_json_real3(s->nm), "voxel_offset", fg_json_int3(s->offset),
			"size", fg_json_int3(s->size), "chunk", fg_json_int3(s->chunk),
			"encoding", fg_encoding_name(s->encoding)));
	}
	return list;
}

static void
add_counts(json_t *j, uint32_t layer, struct fg_reader *r)
{
	struct fg_store_counts n;

	if (fg_reader_count(r, layer, &n, NULL) < 0)
		return;
	json_object_set_new(j, "counts",
	    json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "chunks", (json_int_t)n.chunks,
		"empty", (json_int_t)n.empty, "blocks_done", (json_int_t)n.blocks_done,
		"blocks_failed", (json_int_t)n.blocks_failed, "objects",
		(json_int_t)n.objects, "bytes", (json_int_t)n.bytes));
}

static void
add_recipe(json_t *j, const struct fg_layer *l)
{
	char *text = fg_recipe_format(l->recipe);

	json_object_set_new(j, "recipe", json_loads(text, 0, NULL));
	json_object_set_new(j, "blocks", fg_json_int3(l->blocks));
	free(text);
}

json_t *
fg_layer_describe(const struct fg_layer *l, struct fg_reader *r)
{
	bool known = l->info.scales > 0;
	const char *state = l->broken ? "degraded" : l->paused ? "paused" : "ready";
	json_t *j = json_pack("{s:s,s:I,s:s,s:b,s:s,s:s*}", "name", l->name, "id",
	    (json_int_t)l->id, "uuid", l->uuid, "generated", l->recipe != NULL, "state",
	    state, "why", l->broken ? l->why : NULL);

	if (known || l->info.at_type)
		json_object_set_new(j, "kind",
		    json_string(fg_volume_type_name(l->info.type)));
	if (known) {
		json_object_set_new(j, "data_type",
		    json_string(fg_dtype_name(l->info.dtype)));
		json_object_set_new(j, "channels", json_integer(l->info.channels));
		json_object_set_new(j, "scales", describe_scales(&l->info));
	}
	if (l->source) /* what is behind "?" of a web address may be a secret */
		json_object_set_new(j, "source",
		    json_stringn(l->source->url, fg_source_is_remote(l->source)
						     ? strcspn(l->source->url, "?")
						     : strlen(l->source->url)));
	if (l->source && l->source->holes > 0)
		json_object_set_new(j, "missing_sections",
		    json_integer(l->source->holes));
	if (l->base)
		json_object_set_new(j,
		    l->agglomerated ? "agglomeration_of" : "probability_of",
		    json_string(l->base->name));
	else if (l->recipe)
		add_recipe(j, l);
	if (r && l->recipe && !l->base)
		add_counts(j, l->id, r);
	return j;
}
