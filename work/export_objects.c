/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Export of meshes and skeletons. The objects of the layer are paged by id; of each the
 * bytes that were made from its present generation are taken from the store. Unsharded
 * they go straight into files. Sharded, a first pass lists who has bytes and how many,
 * from which the parameters are chosen; the list is sorted into the order of the shard
 * files, and a second pass writes them.
 *
 * A legacy mesh is files in any case, since that format knows no shards.
 *
 * Another mesh is two data: the fragments of all levels, and the manifest, which in a
 * shard follows them directly, since readers find the fragments by counting back from
 * it.
 */
#include "config.h"

#include "work/export_objects.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "formats/codec.h"
#include "formats/mesh.h"
#include "formats/multilod.h"
#include "formats/skeleton.h"
#include "mesh/lod.h"
#include "store/object.h"
#include "store/shard_writer.h"
#include "work/artefact.h"
#include "work/catalog.h"
#include "work/export_plan.h"

#define PAGE 1024
#define LIST_MAX (1u << 24)

/* An object that has bytes. */
struct entry {
	struct fg_shard_order order; /* first: what is sorted by */
	uint64_t id;
	int64_t gen;
};

struct run {
	const struct fg_export *x;
	struct fg_reader *reader;
	struct fg_export_log *log;
	enum fg_kind kind;
	const char *dir; /* folder, relative to dest */
	bool legacy, sharded;
	uint64_t *made, *missing;
	struct entry *e;
	size_t n, room;
	uint64_t bytes; /* of all in the list */
	struct fg_sharding sharding;
};

/* ------------------------------------------------------------- bytes of an object */

static int
read_part(struct run *r, const struct fg_key *key, uint64_t part, int64_t gen,
    struct fg_buf **out, struct fg_err *err)
{
	struct fg_place place;

	*out = NULL;
	if (fg_reader_gen(r->reader, key, part, gen, &place, err) < 0)
		return -1;
	if (place.state == FG_ABSENT)
		return 0;
	return fg_store_read(r->x->store, &place, false, out, err);
}

static int
find_object(struct run *r, uint64_t id, int64_t gen, struct fg_key *key,
    struct fg_buf **main, struct fg_err *err)
{
	*key = fg_artefact_key(r->x->layer, r->kind,
	    r->kind == FG_KIND_MESH && !r->legacy ? FG_PRODUCT_LODS : FG_PRODUCT_TABLE,
	    id);
	if (read_part(r, key, 0, gen, main, err) < 0)
		return -1;
	if (*main && r->kind != FG_KIND_MESH) {
		struct fg_buf *stored = *main;

		*main = fg_skeleton_with_area(stored);
		fg_buf_unref(stored);
	}
	return 0;
}

/* The fragments of a mesh, from their slices. */
static int
read_fragments(struct run *r, const struct fg_key *key, int64_t gen, struct fg_str *out,
    struct fg_err *err)
{
	struct fg_buf *b = NULL;
	uint64_t len, slice;
	int rc = -1;

	if (read_part(r, key, FG_LODS_HEAD, gen, &b, err) < 0)
		return -1;
	if (!b || b->len != 16 || (slice = fg_get_u64le(b->data + 8)) == 0) {
		fg_fail(err, FG_ECORRUPT, "the mesh of object %llu has no head",
		    (unsigned long long)key->at);
		goto out;
	}
	len = fg_get_u64le(b->data);
	for (uint64_t part = 1; out->len < len; part++) {
		fg_buf_unref(b);
		if (read_part(r, key, part, gen, &b, err) < 0)
			return -1;
		if (!b || b->len != FG_MIN(slice, len - out->len)) {
			fg_fail(err, FG_ECORRUPT,
			    "the mesh of object %llu lacks bytes from %zu on",
			    (unsigned long long)key->at, out->len);
			goto out;
		}
		fg_str_put(out, b->data, b->len);
	}
	rc = 0;
out:
	fg_buf_unref(b);
	return rc;
}

/* ------------------------------------------------------------- unsharded */

static int
write_bytes(struct run *r, uint64_t id, const char *more, const struct fg_buf *b,
    struct fg_err *err)
{
	char *name = fg_asprintf("%s/%llu%s", r->dir, (unsigned long long)id, more);
	int rc = fg_export_log_write(r->log, name, b, err);

	free(name);
	return rc;
}

/* Each piece of a legacy mesh is a file, by the name that the daemon has for it. */
static int
write_pieces(struct run *r, uint64_t id, const struct fg_buf *table, struct fg_err *err)
{
	struct fg_key key = fg_artefact_key(r->x->layer, r->kind, FG_PRODUCT_PIECE, id);
	struct fg_piece *p = NULL;
	struct fg_buf *b;
	size_t n = 0;
	int rc = fg_pieces_decode(table->data, table->len, &p, &n, err);

	for (size_t i = 0; i < n && rc == 0; i++) {
		char more[48];

		if (p[i].bytes == 0)
			continue;
		snprintf(more, sizeof more, ":%llu:%lld", (unsigned long long)p[i].at,
		    (long long)p[i].gen);
		rc = read_part(r, &key, p[i].at, p[i].gen, &b, err);
		if (rc == 0 && !b)
			rc = fg_fail(err, FG_ECORRUPT,
			    "a piece of the mesh of object %llu is missing: run "
			    "floodgate verify",
			    (unsigned long long)id);
		if (rc == 0)
			rc = write_bytes(r, id, more, b, err);
		fg_buf_unref(b);
	}
	if (rc == 0) {
		b = fg_artefact_manifest(id, p, n);
		rc = write_bytes(r, id, ":0", b, err);
		fg_buf_unref(b);
	}
	free(p);
	return rc;
}

static int
write_object(struct run *r, const struct fg_key *key, int64_t gen,
    const struct fg_buf *main, struct fg_err *err)
{
	struct fg_str s = FG_STR_INIT;
	struct fg_buf *data;
	int rc;

	if (r->kind != FG_KIND_MESH)
		return write_bytes(r, key->at, "", main, err);
	if (r->legacy)
		return write_pieces(r, key->at, main, err);
	if (read_fragments(r, key, gen, &s, err) < 0) {
		fg_str_fini(&s);
		return -1;
	}
	data = fg_str_take(&s);
	rc = write_bytes(r, key->at, "", data, err);
	fg_buf_unref(data);
	return rc < 0 ? -1 : write_bytes(r, key->at, ".index", main, err);
}

/* ------------------------------------------------------------- the list */

static int
list_object(struct run *r, const struct fg_object *o, const struct fg_buf *main,
    struct fg_err *err)
{
	struct fg_multilod m;

	if (r->n == LIST_MAX)
		return fg_fail(err, FG_ENOTSUP,
		    "layer %s has more than %u objects to bring into shards",
		    r->x->layer->name, LIST_MAX);
	if (r->n == r->room) {
		r->room = FG_MAX(1024, 2 * r->room);
		r->e = fg_realloc(r->e, r->room, sizeof *r->e);
	}
	r->e[r->n++] = (struct entry){.id = o->id, .gen = o->gen};
	r->bytes += main->len;
	if (r->kind != FG_KIND_MESH)
		return 0;
	if (fg_multilod_decode(main->data, main->len, &m, err) < 0)
		return fg_err_prefix(err, "object %llu", (unsigned long long)o->id);
	r->bytes += fg_multilod_bytes(&m);
	fg_multilod_fini(&m);
	return 0;
}

/* Write an object, or list it. */
static int
take_object(struct run *r, const struct fg_object *o, struct fg_err *err)
{
	struct fg_buf *main = NULL;
	struct fg_key key;
	int rc;

	if (r->x->cancel && *r->x->cancel)
		return fg_fail(err, FG_ECANCELED, "stopped");
	if (find_object(r, o->id, o->gen, &key, &main, err) < 0)
		return -1;
	if (!main) {
		++*r->missing;
		return 0;
	}
	++*r->made;
	rc = r->sharded ? list_object(r, o, main, err)
			: write_object(r, &key, o->gen, main, err);
	fg_buf_unref(main);
	return rc;
}

/* The next objects behind *after (NULL: the first), PAGE at most. */
static int
next_page(struct run *r, const uint64_t *after, struct fg_object **page, size_t *n,
    struct fg_err *err)
{
	const struct fg_layer *l = r->x->layer;
	enum fg_objects kind = fg_layer_objects(l);
	struct fg_key key;
	uint64_t *id = NULL;

	if (kind != FG_OBJECTS_PLACED)
		return fg_reader_objects(r->reader, l->id, kind == FG_OBJECTS_WHOLE,
		    FG_OBJECTS_BY_ID, after ? *after : 0, PAGE, page, n, err);
	key = fg_artefact_key(l, FG_KIND_MESH, FG_PRODUCT_PLACE, 0);
	if (fg_reader_ids(r->reader, &key, after, PAGE, &id, n, err) < 0)
		return -1;
	*page = fg_calloc(*n + 1, sizeof **page);
	for (size_t i = 0; i < *n; i++)
		(*page)[i] = (struct fg_object){.id = id[i], .gen = 1};
	free(id);
	return 0;
}

static int
take_objects(struct run *r, struct fg_err *err)
{
	uint64_t after = 0;
	bool first = true;
	size_t n = PAGE;

	while (n == PAGE) {
		struct fg_object *page = NULL;
		int rc = 0;

		if (next_page(r, first ? NULL : &after, &page, &n, err) < 0)
			return -1;
		first = false;
		for (size_t i = 0; rc == 0 && i < n; i++)
			rc = take_object(r, &page[i], err);
		if (n > 0)
			after = page[n - 1].id;
		free(page);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------- sharded */

/* Up to 512 objects a minishard (one index of 12 KiB), 256 minishards and 2 GiB a
 * shard. Fragments are read by ranges, so nothing of a mesh is compressed. */
static void
choose_sharding(struct run *r)
{
	struct fg_sharding *s = &r->sharding;
	uint64_t minishards = (r->n + 511) / 512, shards = (r->bytes >> 31) + 1;

	*s = (struct fg_sharding){.present = true,
	    .murmur = true,
	    .index_gzip = true,
	    .data_gzip = r->kind != FG_KIND_MESH};
	while (minishards > 256 * shards)
		shards *= 2;
	while (UINT64_C(1) << s->shard_bits < shards)
		s->shard_bits++;
	while (UINT64_C(1) << (s->shard_bits + s->minishard_bits) < minishards)
		s->minishard_bits++;
}

static int
put_object(struct run *r, struct fg_shard_writer *w, const struct entry *e,
    struct fg_err *err)
{
	struct fg_buf *main = NULL, *packed = NULL;
	struct fg_str s = FG_STR_INIT;
	struct fg_key key;
	int rc = -1;

	if (find_object(r, e->id, e->gen, &key, &main, err) < 0)
		return -1;
	if (!main) {
		fg_fail(err, FG_EBUSY,
		    "object %llu has changed meanwhile; export it again",
		    (unsigned long long)e->id);
	} else if (r->kind == FG_KIND_MESH) {
		if (read_fragments(r, &key, e->gen, &s, err) == 0)
			rc = fg_shard_writer_put_behind(w, e->id, s.data, s.len,
			    main->data, main->len, err);
	} else if (fg_compress(FG_CODING_GZIP, 0, main->data, main->len, &packed,
		       err) == 0) {
		rc = fg_shard_writer_put(w, e->id, packed->data, packed->len, err);
	}
	fg_buf_unref(main);
	fg_buf_unref(packed);
	fg_str_fini(&s);
	return rc;
}

/* Entries a..b are those of one shard. */
static int
write_shard(struct run *r, size_t a, size_t b, struct fg_err *err)
{
	uint64_t shard = r->e[a].order.shard, size;
	char *dir = fg_asprintf("%s/%s", r->x->dest, r->dir), name[FG_SHARD_NAME];
	struct fg_shard_writer *w = fg_shard_writer_new(dir, &r->sharding, shard, err);

	free(dir);
	if (!w)
		return -1;
	for (size_t i = a; i < b; i++) {
		bool stop = r->x->cancel && *r->x->cancel;

		if (stop)
			fg_fail(err, FG_ECANCELED, "stopped");
		if (stop || put_object(r, w, &r->e[i], err) < 0) {
			fg_shard_writer_free(w);
			return -1;
		}
	}
	if (fg_shard_writer_end(w, false, &size, err) < 0)
		return -1;
	fg_shard_name(&r->sharding, shard, name);
	char *path = fg_asprintf("%s/%s", r->dir, name);
	int rc = fg_export_log_read(r->log, path, err);
	free(path);
	return rc;
}

static int
write_shards(struct run *r, struct fg_err *err)
{
	size_t end;

	choose_sharding(r);
	for (size_t i = 0; i < r->n; i++)
		fg_shard_order_of(&r->sharding, r->e[i].id, &r->e[i].order);
	qsort(r->e, r->n, sizeof *r->e, fg_shard_order_compare);
	for (size_t at = 0; at < r->n; at = end) {
		for (end = at;
		     end < r->n && r->e[end].order.shard == r->e[at].order.shard;)
			end++;
		if (write_shard(r, at, end, err) < 0)
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------- a folder */

static int
write_info(struct run *r, struct fg_err *err)
{
	const struct fg_sharding *s = r->sharded ? &r->sharding : NULL;
	struct fg_buf *b = r->kind != FG_KIND_MESH
			       ? fg_skeleton_info_with(FG_SKELETON_AREA, s)
			   : r->legacy ? fg_mesh_legacy_info()
				       : fg_multilod_info(FG_LOD_PARAMS.bits, s);
	char *name = fg_asprintf("%s/info", r->dir);
	int rc = fg_export_log_write(r->log, name, b, err);

	free(name);
	fg_buf_unref(b);
	return rc;
}

/* All objects are written anew each time. What an export that was stopped has left may
 * be of objects that have changed since, and under other names then: pieces of an old
 * generation, an id that is part of another by now, a shard more. */
static int
write_folder(struct run *r, struct fg_err *err)
{
	char *dir = fg_asprintf("%s/%s", r->x->dest, r->dir);
	int rc = -1;

	if (fg_file_mkdirs(dir, err) == 0 && fg_export_log_empty(dir, err) == 0 &&
	    take_objects(r, err) == 0 && (!r->sharded || write_shards(r, err) == 0))
		rc = write_info(r, err);
	free(r->e);
	free(dir);
	return rc;
}

int
fg_export_objects(const struct fg_export *x, struct fg_reader *r,
    struct fg_export_log *log, struct fg_export_object_counts *n, struct fg_err *err)
{
	struct run mesh = {.x = x,
	    .reader = r,
	    .log = log,
	    .kind = FG_KIND_MESH,
	    .dir = FG_EXPORT_MESH,
	    .legacy = x->legacy_mesh,
	    .sharded = x->sharded && !x->legacy_mesh,
	    .made = &n->meshes,
	    .missing = &n->meshes_missing};
	struct run skeletons = {.x = x,
	    .reader = r,
	    .log = log,
	    .kind = FG_KIND_SKELETON,
	    .dir = FG_EXPORT_SKELETONS,
	    .sharded = x->sharded,
	    .made = &n->skeletons,
	    .missing = &n->skeletons_missing};

	if (x->mesh && write_folder(&mesh, err) < 0)
		return fg_err_prefix(err, "meshes");
	if (x->skeletons && write_folder(&skeletons, err) < 0)
		return fg_err_prefix(err, "skeletons");
	return 0;
}
