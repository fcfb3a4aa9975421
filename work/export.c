/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Export: see the header. One scale after the other. Chunks are taken in batches: their
 * places are looked up on this thread (the index has one reader), then they are read,
 * encoded and, unsharded, written on all cores; what a batch has done is entered in
 * the journal in order.
 *
 * Sharded, the chunks of a shard must come in the order of the file. They are listed
 * and sorted for as many shards at a time as LIST_MAX allows: one pass for volumes of
 * up to four million chunks, more passes over the grid for larger ones.
 */
#include "config.h"

#include "work/export.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/morton.h"
#include "formats/codec.h"
#include "store/shard_writer.h"
#include "store/store.h"
#include "work/agglomerate.h"
#include "work/artefact.h"
#include "work/catalog.h"
#include "work/export_log.h"
#include "work/export_objects.h"
#include "work/export_plan.h"
#include "work/objects.h"
#include "work/parallel.h"

#define BATCH_MAX 256
#define BATCH_BYTES (UINT64_C(256) << 20)
#define LIST_MAX (4u << 20) /* of 32 bytes */

/* One chunk on its way. */
struct item {
	int64_t ch[3]; /* in the exported grid */
	uint64_t key;  /* sharded: its key */
	struct fg_place place;
	struct fg_buf *bytes; /* sharded: as stored */
	bool present;
	uint64_t size; /* bytes written */
	char sha[FG_SHA256_HEX];
};

struct run {
	const struct fg_export *x;
	struct fg_export_plan plan;
	struct fg_export_log *log;
	struct fg_export_mark mark;
	struct fg_reader *reader; /* generated layers */
	pthread_mutex_t *names;   /* held while public ids are looked up in it */
	int i;                    /* scale of the plan at hand */
	uint64_t before;          /* chunks of the scales before */
	char *dir;                /* folder of the scale */
	struct item *item;
	size_t items, batch;
	struct fg_export_object_counts objects;
	int64_t epoch; /* of the objects, when it began */
};

static void
say(const struct fg_export *x, const char *line)
{
	if (x->say)
		x->say(x->ctx, line);
}

/* ------------------------------------------------------------- one chunk */

static const struct fg_scale *
scale_to(const struct run *r)
{
	return &r->plan.info.scale[r->i];
}

static const struct fg_scale *
scale_from(const struct run *r)
{
	return &r->x->layer->info.scale[r->plan.scale[r->i].from];
}

static void
layer_chunk(const struct run *r, const struct item *it, int64_t ch[3])
{
	for (int d = 0; d < 3; d++)
		ch[d] = it->ch[d] + r->plan.scale[r->i].first[d];
}

/* Public ids in the place of base ids. */
static int
name_objects(const struct run *r, const struct item *it, struct fg_buf **bytes,
    struct fg_err *err)
{
	struct fg_buf *named = NULL;
	int64_t ch[3];
	int rc;

	layer_chunk(r, it, ch);
	pthread_mutex_lock(r->names);
	rc = fg_agglomerate_chunk(r->x->layer, r->reader, r->plan.scale[r->i].from, ch,
	    *bytes, &named, err);
	pthread_mutex_unlock(r->names);
	fg_buf_unref(*bytes);
	*bytes = named;
	return rc;
}

/* Bytes of the layer's chunk; NULL for background and for chunks that are not there
 * (it->present tells). */
static int
read_chunk(const struct run *r, struct item *it, struct fg_buf **out,
    struct fg_err *err)
{
	const struct fg_layer *l = r->x->layer;
	int64_t ch[3];

	*out = NULL;
	if (l->source) {
		layer_chunk(r, it, ch);
		if (fg_source_chunk(l->source, r->plan.scale[r->i].from, ch, out, err) <
		    0)
			return -1;
		it->present = *out != NULL;
		return 0;
	}
	it->present = it->place.state != FG_ABSENT;
	if (it->place.state == FG_ABSENT || it->place.state == FG_EMPTY)
		return 0;
	if (fg_store_read(r->x->store, &it->place, false, out, err) < 0)
		return -1;
	return l->agglomerated ? name_objects(r, it, out, err) : 0;
}

/* Into the encoding of the export; in NULL: zeros. */
static int
recode(const struct run *r, const struct fg_box *vx, const struct fg_buf *in,
    struct fg_buf **out, struct fg_err *err)
{
	int64_t shape[4] = {[3] = r->plan.info.channels};
	struct fg_array a = FG_ARRAY_INIT;
	int rc = -1;

	fg_box_shape(vx, shape);
	if (fg_array_init_zero(&a, r->plan.info.dtype, shape, err) == 0 &&
	    (!in || fg_codec_decode(scale_from(r), in->data, in->len, &a, err) == 0) &&
	    fg_codec_encode(scale_to(r), &a, out, err) == 0)
		rc = 0;
	fg_array_fini(&a);
	return rc;
}

/* The bytes to be stored for an item; NULL where there is no chunk. */
static int
prepare(const struct run *r, struct item *it, const struct fg_box *vx, bool gzip,
    struct fg_buf **out, struct fg_err *err)
{
	struct fg_buf *b = NULL, *t = NULL;
	int rc = -1;

	*out = NULL;
	if (read_chunk(r, it, &b, err) < 0)
		return -1;
	if (!it->present)
		return 0;
	if (!b || r->plan.scale[r->i].recode) {
		if (recode(r, vx, b, &t, err) < 0)
			goto out;
		fg_buf_unref(b);
		b = t;
		t = NULL;
	}
	if (gzip) {
		if (fg_compress(FG_CODING_GZIP, 0, b->data, b->len, &t, err) < 0)
			goto out;
		fg_buf_unref(b);
		b = t;
		t = NULL;
	}
	*out = b;
	b = NULL;
	rc = 0;
out:
	fg_buf_unref(b);
	fg_buf_unref(t);
	return rc;
}

static void
item_name(const struct run *r, const struct item *it, struct fg_box *vx,
    char name[FG_CHUNK_NAME])
{
	fg_scale_chunk_box(scale_to(r), it->ch, vx);
	fg_chunk_name_format(vx, name);
}

static int
named_failure(const struct run *r, const char *name, struct fg_err *err)
{
	return fg_err_prefix(err, "%s/%s", scale_to(r)->key, name);
}

static void
sum_bytes(const struct fg_buf *b, char sha[FG_SHA256_HEX])
{
	uint8_t sum[FG_SHA256_SIZE];

	fg_sha256(b->data, b->len, sum);
	fg_hex_format(sum, sizeof sum, sha);
}

/* ------------------------------------------------------------- batches */

static int
batch_place(struct run *r, struct item *it, struct fg_err *err)
{
	const struct fg_layer *l = r->x->layer;
	int64_t ch[3];

	if (l->source)
		return 0;
	layer_chunk(r, it, ch);
	struct fg_key key = {.layer = l->id,
	    .kind = l->chunk_kind,
	    .scale = (uint8_t)r->plan.scale[r->i].from,
	    .at = fg_morton_encode(ch)};
	return fg_reader_find(r->reader, &key, &it->place, err);
}

static void
batch_clear(struct run *r)
{
	for (size_t k = 0; k < r->items; k++)
		fg_buf_unref(r->item[k].bytes);
	r->items = 0;
}

static int
batch_run(struct run *r, int (*fn)(void *ctx, size_t k, struct fg_err *err),
    struct fg_err *err)
{
	for (size_t k = 0; k < r->items; k++) {
		if (batch_place(r, &r->item[k], err) < 0)
			return -1;
	}
	return fg_parallel_for(r->items, fg_parallel_cores(), fn, r, r->x->cancel, err);
}

static void
tell_progress(const struct run *r)
{
	if (r->x->progress)
		r->x->progress(r->x->ctx, r->mark.chunks + r->mark.missing,
		    r->plan.chunks);
}

static void
count_chunk(struct run *r, const struct item *it)
{
	if (it->present)
		r->mark.chunks++;
	else
		r->mark.missing++;
}

/* The chunk with that number, x fastest. */
static void
position(const int64_t grid[3], uint64_t at, int64_t ch[3])
{
	ch[0] = (int64_t)(at % (uint64_t)grid[0]);
	at /= (uint64_t)grid[0];
	ch[1] = (int64_t)(at % (uint64_t)grid[1]);
	ch[2] = (int64_t)(at / (uint64_t)grid[1]);
}

/* ------------------------------------------------------------- unsharded */

static int
write_item(void *ctx, size_t k, struct fg_err *err)
{
	struct run *r = ctx;
	struct item *it = &r->item[k];
	char name[FG_CHUNK_NAME], *path;
	struct fg_buf *b = NULL;
	struct fg_box vx;
	int rc;

	item_name(r, it, &vx, name);
	if (prepare(r, it, &vx, r->x->gzip, &b, err) < 0)
		return named_failure(r, name, err);
	if (!b)
		return 0;
	path = fg_asprintf("%s/%s%s", r->dir, name, r->x->gzip ? ".gz" : "");
	sum_bytes(b, it->sha);
	it->size = b->len;
	rc = fg_file_write_fast(path, b->data, b->len, err);
	free(path);
	fg_buf_unref(b);
	return rc;
}

/* Enter what the batch has written. */
static int
log_items(struct run *r, struct fg_err *err)
{
	char name[FG_CHUNK_NAME], *path;
	struct fg_box vx;
	int rc = 0;

	for (size_t k = 0; rc == 0 && k < r->items; k++) {
		const struct item *it = &r->item[k];

		count_chunk(r, it);
		if (!it->present)
			continue;
		r->mark.files++;
		r->mark.bytes += it->size;
		item_name(r, it, &vx, name);
		path = fg_asprintf("%s/%s%s", scale_to(r)->key, name,
		    r->x->gzip ? ".gz" : "");
		rc = fg_export_log_file(r->log, path, it->sha, err);
		free(path);
	}
	return rc;
}

static int
export_files(struct run *r, struct fg_err *err)
{
	const int64_t *grid = r->plan.scale[r->i].grid;
	uint64_t all = r->plan.scale[r->i].chunks;

	while (r->mark.next < all) {
		uint64_t n = FG_MIN(r->batch, all - r->mark.next);

		memset(r->item, 0, n * sizeof *r->item);
		r->items = n;
		for (uint64_t k = 0; k < n; k++)
			position(grid, r->mark.next + k, r->item[k].ch);
		if (batch_run(r, write_item, err) < 0 || log_items(r, err) < 0)
			return -1;
		r->mark.next += n;
		batch_clear(r);
		tell_progress(r);
		if (fg_export_log_mark(r->log, &r->mark, false, err) < 0)
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------- sharded */

/* The chunks of the shards lo .. hi, in the order of the files. */
struct list {
	struct entry {
		struct fg_shard_order order; /* first: what is sorted by */
		uint64_t at;                 /* number of the chunk, x fastest */
	} * e;
	size_t n;
	uint64_t lo, hi; /* both included */
};

/* False: more than LIST_MAX. */
static bool
list_fill(const struct run *r, struct list *l)
{
	const struct fg_sharding *s = &scale_to(r)->sharding;
	const int64_t *grid = r->plan.scale[r->i].grid;
	uint64_t at = 0;
	int64_t ch[3];

	l->n = 0;
	for (ch[2] = 0; ch[2] < grid[2]; ch[2]++) {
		for (ch[1] = 0; ch[1] < grid[1]; ch[1]++) {
			for (ch[0] = 0; ch[0] < grid[0]; ch[0]++, at++) {
				struct entry e = {.at = at};

				fg_shard_order_of(s, fg_morton_compressed(ch, grid),
				    &e.order);
				if (e.order.shard < l->lo || e.order.shard > l->hi)
					continue;
				if (l->n == LIST_MAX)
					return false;
				l->e[l->n++] = e;
			}
		}
	}
	qsort(l->e, l->n, sizeof *l->e, fg_shard_order_compare);
	return true;
}

static int
read_item(void *ctx, size_t k, struct fg_err *err)
{
	struct run *r = ctx;
	struct item *it = &r->item[k];
	char name[FG_CHUNK_NAME];
	struct fg_box vx;

	item_name(r, it, &vx, name);
	if (prepare(r, it, &vx, scale_to(r)->sharding.data_gzip, &it->bytes, err) < 0)
		return named_failure(r, name, err);
	return 0;
}

/* Close the shard's file, if it has any chunk, and enter it. */
static int
end_shard(struct run *r, struct fg_shard_writer *w, uint64_t shard, struct fg_err *err)
{
	char name[FG_SHARD_NAME], *path;
	uint64_t size = 0;
	int rc;

	if (!w)
		return 0;
	if (fg_shard_writer_end(w, false, &size, err) < 0)
		return -1;
	r->mark.files++;
	r->mark.bytes += size;
	fg_shard_name(&scale_to(r)->sharding, shard, name);
	path = fg_asprintf("%s/%s", scale_to(r)->key, name);
	rc = fg_export_log_read(r->log, path, err);
	free(path);
	return rc;
}

/* Put the batch into the shard; the writer is made for its first chunk. */
static int
put_items(struct run *r, uint64_t shard, struct fg_shard_writer **w, struct fg_err *err)
{
	for (size_t k = 0; k < r->items; k++) {
		const struct item *it = &r->item[k];

		count_chunk(r, it);
		if (!it->bytes)
			continue;
		if (!*w)
			*w = fg_shard_writer_new(r->dir, &scale_to(r)->sharding, shard,
			    err);
		if (!*w || fg_shard_writer_put(*w, it->key, it->bytes->data,
			       it->bytes->len, err) < 0)
			return -1;
	}
	return 0;
}

/* One shard: n entries of the list. On failure the counts are as before. */
static int
export_shard(struct run *r, const struct entry *e, size_t n, struct fg_err *err)
{
	struct fg_export_mark before = r->mark;
	struct fg_shard_writer *w = NULL;
	uint64_t shard = e->order.shard;

	for (size_t done = 0; done < n; done += r->items) {
		batch_clear(r);
		r->items = FG_MIN(r->batch, n - done);
		memset(r->item, 0, r->items * sizeof *r->item);
		for (size_t k = 0; k < r->items; k++) {
			position(r->plan.scale[r->i].grid, e[done + k].at,
			    r->item[k].ch);
			r->item[k].key = e[done + k].order.key;
		}
		if (batch_run(r, read_item, err) < 0 ||
		    put_items(r, shard, &w, err) < 0)
			goto fail;
		tell_progress(r);
	}
	batch_clear(r);
	if (end_shard(r, w, shard, err) < 0) {
		w = NULL;
		goto fail;
	}
	return 0;
fail:
	fg_shard_writer_free(w);
	batch_clear(r);
	r->mark = before;
	return -1;
}

/* The shards of the list, from number r->mark.next on. */
static int
export_list(struct run *r, const struct list *l, struct fg_err *err)
{
	size_t end;

	for (size_t at = 0; at < l->n; at = end) {
		uint64_t shard = l->e[at].order.shard;

		for (end = at; end < l->n && l->e[end].order.shard == shard;)
			end++;
		if (export_shard(r, l->e + at, end - at, err) < 0)
			return -1;
		r->mark.next = shard + 1;
		if (fg_export_log_mark(r->log, &r->mark, false, err) < 0)
			return -1;
	}
	return 0;
}

static int
export_shards(struct run *r, struct fg_err *err)
{
	int bits = scale_to(r)->sharding.shard_bits;
	uint64_t last = bits < 64 ? (UINT64_C(1) << bits) - 1 : UINT64_MAX;
	uint64_t room = FG_MIN(r->plan.scale[r->i].chunks, LIST_MAX);
	struct list l = {.lo = r->mark.next, .hi = last};
	int rc = 0;

	l.e = fg_try_alloc(room, sizeof *l.e);
	if (!l.e)
		return fg_fail(err, FG_ENOMEM, "no memory for a list of %llu chunks",
		    (unsigned long long)room);
	/* lo 0 and mark.next 0 after the last of 2^64 shards cannot be: 2^62 chunks. */
	while (rc == 0 && l.lo <= last) {
		while (!list_fill(r, &l) && rc == 0) {
			if (l.lo == l.hi)
				rc = fg_fail(err, FG_EINVAL,
				    "scale %s: a shard of more than %u chunks; more "
				    "shard bits are needed",
				    scale_to(r)->key, LIST_MAX);
			l.hi = l.lo + (l.hi - l.lo) / 2;
		}
		if (rc == 0)
			rc = export_list(r, &l, err);
		if (l.hi == last)
			break;
		uint64_t width = l.hi - l.lo + 1;
		l.lo = l.hi + 1;
		l.hi = last - l.lo < 2 * width ? last : l.lo + 2 * width - 1;
	}
	free(l.e);
	return rc;
}

/* ------------------------------------------------------------- the tree */

static int
write_json(struct run *r, const char *name, json_t *j, struct fg_err *err)
{
	char *text = fg_json_pretty(j);
	struct fg_buf *b = fg_buf_take(text, strlen(text));
	int rc = fg_export_log_write(r->log, name, b, err);

	fg_buf_unref(b);
	json_decref(j);
	return rc;
}

/* File names of this machine are nobody else's business: their last words. */
static void
shorten_paths(json_t *j)
{
	const char *key, *text;
	json_t *v;
	size_t i;

	if (json_is_object(j)) {
		json_object_foreach(j, key, v) shorten_paths(v);
	} else if (json_is_array(j)) {
		json_array_foreach(j, i, v) shorten_paths(v);
	} else if (json_is_string(j)) {
		text = strrchr(json_string_value(j), '/');
		if (text && !strstr(json_string_value(j), "://")) {
			char *last = fg_strdup(text + 1);

			json_string_set(j, last);
			free(last);
		}
	}
}

/* In the form that CloudVolume reads and keeps. */
static json_t *
make_provenance(const struct run *r)
{
	json_t *layer = fg_layer_describe(r->x->layer, NULL);
	char date[FG_CLOCK_TEXT];
	json_t *j;

	shorten_paths(layer);
	json_object_del(layer, "id");
	json_object_del(layer, "state");
	fg_clock_format(fg_clock_wall_ms(), date);
	j = json_pack("{s:s, s:[], s:[s], s:[{s:{s:s, s:s, s:o, s:I, s:I}, s:s, s:s}]}",
	    "description", "", "owners", "sources", r->x->layer->name, "processing",
	    "method", "task", "export", "version", PACKAGE_STRING, "layer", layer,
	    "chunks", (json_int_t)r->mark.chunks, "chunks_missing",
	    (json_int_t)r->mark.missing, "by", "floodgate", "date", date);
	return j;
}

/* An empty list is not named: Neuroglancer looks a label up in it for ever. */
static int
write_properties(struct run *r, struct fg_err *err)
{
	char *dir = fg_asprintf("%s/%s", r->x->dest, FG_EXPORT_PROPERTIES);
	json_t *j = NULL;
	int rc = fg_segment_properties(r->x->layer, r->reader, 0, FG_SEGMENTS_SHOWN, &j,
	    err);

	if (rc == 0)
		r->objects.segments = json_array_size(
		    json_object_get(json_object_get(j, "inline"), "ids"));
	if (rc == 0 && r->objects.segments == 0) {
		free(r->plan.info.segment_properties);
		r->plan.info.segment_properties = NULL;
		json_decref(j);
	} else if (rc == 0) {
		if (fg_file_mkdirs(dir, err) == 0 && fg_export_log_sweep(dir, err) == 0)
			rc = write_json(r, FG_EXPORT_PROPERTIES "/info", j, err);
		else {
			json_decref(j);
			rc = -1;
		}
	}
	free(dir);
	return rc < 0 ? fg_err_prefix(err, "segment properties") : 0;
}

/* Whether components changed under way. What is there is right by itself, but of two
 * moments. */
static int
tell_change(struct run *r, struct fg_err *err)
{
	int64_t epoch = 0;

	if (!r->reader || !r->x->layer->agglomerated)
		return 0;
	if (fg_artefact_epoch(r->reader, r->x->layer, &epoch, err) < 0)
		return -1;
	if (epoch != r->epoch)
		say(r->x, "objects have changed while they were exported: some chunks, "
			  "meshes and skeletons may name different ones");
	return 0;
}

static int
write_tail(struct run *r, struct fg_err *err)
{
	if (r->mark.resumed && fg_export_log_sweep(r->x->dest, err) < 0)
		return -1;
	if (fg_export_objects(r->x, r->reader, r->log, &r->objects, err) < 0 ||
	    (r->x->properties && write_properties(r, err) < 0))
		return -1;
	if (tell_change(r, err) < 0 ||
	    write_json(r, "provenance", make_provenance(r), err) < 0 ||
	    write_json(r, "info", fg_info_format(&r->plan.info), err) < 0)
		return -1;
	return fg_export_log_finish(r->log, err);
}

/* Chunks at a time: as many as BATCH_BYTES hold, decoded and encoded. */
static size_t
batch_size(const struct run *r)
{
	const struct fg_scale *s = scale_to(r);
	uint64_t bytes =
	    2 * (uint64_t)r->plan.info.channels * fg_dtype_size(r->plan.info.dtype);

	for (int d = 0; d < 3; d++)
		bytes *= (uint64_t)FG_MIN(s->chunk[d], s->size[d]);
	return (size_t)FG_MAX(1, FG_MIN(BATCH_MAX, BATCH_BYTES / bytes));
}

static int
export_scale(struct run *r, struct fg_err *err)
{
	int rc = -1;

	r->dir = fg_asprintf("%s/%s", r->x->dest, scale_to(r)->key);
	r->batch = batch_size(r);
	if ((!r->mark.resumed || fg_export_log_sweep(r->dir, err) == 0) &&
	    fg_file_mkdirs(r->dir, err) == 0)
		rc = r->x->sharded ? export_shards(r, err) : export_files(r, err);
	free(r->dir);
	r->dir = NULL;
	return rc;
}

static int
export_scales(struct run *r, struct fg_err *err)
{
	tell_progress(r);
	for (r->i = r->mark.scale; r->i < r->plan.info.scales; r->i++) {
		if (export_scale(r, err) < 0) {
			struct fg_err second = FG_ERR_INIT;

			/* What has been done until now is worth keeping. */
			batch_clear(r);
			if (fg_export_log_mark(r->log, &r->mark, true, &second) < 0)
				fg_err_prefix(err, "%s, after", second.msg);
			return -1;
		}
		r->mark.scale = r->i + 1;
		r->mark.next = 0;
		if (fg_export_log_mark(r->log, &r->mark, false, err) < 0)
			return -1;
	}
	return write_tail(r, err);
}

static int
check_layer(const struct fg_export *x, struct fg_err *err)
{
	const struct fg_layer *l = x->layer;

	if (l->broken)
		return fg_fail(err, FG_EIO, "layer %s: %s", l->name, l->why);
	if ((x->mesh || x->skeletons) && !fg_layer_has_objects(l))
		return fg_fail(err, FG_ENOTSUP,
		    "layer %s has no meshes and skeletons of its own to export",
		    l->name);
	if (x->properties && (!l->recipe || l->info.type != FG_SEGMENTATION))
		return fg_fail(err, FG_ENOTSUP,
		    "layer %s has no segment properties of its own to export", l->name);
	if (l->source && !l->source->ops->chunk)
		return fg_fail(err, FG_ENOTSUP,
		    "layer %s has no stored chunks; import it first", l->name);
	return 0;
}

int
fg_export_run(const struct fg_export *x, struct fg_export_summary *sum,
    struct fg_err *err)
{
	pthread_mutex_t names = PTHREAD_MUTEX_INITIALIZER;
	struct run r = {.x = x, .names = &names};
	char *text = NULL;
	int rc = -1;

	if (check_layer(x, err) < 0 || fg_export_plan_init(&r.plan, x, err) < 0)
		return -1;
	text = fg_export_plan_text(&r.plan, x);
	if (!x->layer->source || x->mesh || x->skeletons) {
		r.reader = fg_reader_open(x->store, err);
		if (!r.reader ||
		    fg_artefact_epoch(r.reader, x->layer, &r.epoch, err) < 0)
			goto out;
	}
	r.log = fg_export_log_open(x->dest, text, r.epoch, &r.mark, err);
	if (!r.log)
		goto out;
	sum->resumed = r.mark.resumed;
	if (r.mark.changed)
		say(x, "objects have changed since this export was stopped: it begins "
		       "anew");
	if (r.mark.unknown)
		say(x,
		    "this export was begun by an earlier version, which did not note "
		    "the state of the objects: it begins anew");
	r.item = fg_calloc(BATCH_MAX, sizeof *r.item);
	if (export_scales(&r, err) < 0)
		goto out;
	sum->scales = r.plan.info.scales;
	sum->chunks = r.mark.chunks;
	sum->missing = r.mark.missing;
	sum->files = r.mark.files;
	sum->bytes = r.mark.bytes;
	sum->objects = r.objects;
	rc = 0;
out:
	fg_reader_close(r.reader);
	fg_export_log_close(r.log);
	fg_export_plan_fini(&r.plan);
	free(r.item);
	free(text);
	return rc;
}
