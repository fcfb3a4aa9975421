/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Meshes and skeletons of objects that are made here: the two directories below a
 * segmentation layer.
 *
 *   mesh/info, mesh/ID:0, mesh/ID:BLOCK:GEN    the legacy format; mesh/ID.ply .obj .glb
 *   mesh.EPOCH/...                             levels.c
 *   skeleton/info, skeleton/ID                 skeletons; skeleton/ID.swc
 *
 * A piece ID:BLOCK:GEN is a row of the index and is never replaced (but removed in the
 * end, work/prune.h). For all else the
 * object is looked up first: unknown is 404 and starts nothing. Then the row of its
 * generation (a table of pieces, or the skeleton); where that is missing the request
 * waits for its task as one for a chunk does (chunk.c), and looks again. Files for
 * people are put together on a cpu thread from what is stored.
 */
#include "config.h"

#include "server/request.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/json.h"
#include "formats/mesh.h"
#include "formats/skeleton.h"
#include "mesh/draco.h"
#include "work/artefact.h"

/* How often a request goes back to the index because the object grew meanwhile. */
#define ROUNDS_MAX 6

static bool
is_skeleton(const struct fg_request *r)
{
	return r->object.what >= FG_MADE_SKELETON_INFO;
}

static const char *
type_of(enum fg_route_made what)
{
	switch (what) {
	case FG_MADE_MESH_INFO:
	case FG_MADE_SKELETON_INFO:
	case FG_MADE_MANIFEST:
		return "application/json";
	case FG_MADE_OBJ:
		return "model/obj";
	case FG_MADE_GLB:
		return "model/gltf-binary";
	case FG_MADE_SWC:
		return "text/plain; charset=utf-8";
	default:
		return "application/octet-stream";
	}
}

/* Takes the reference of `body`. Any thread. */
static void
reply_body(struct fg_request *r, struct fg_buf *body)
{
	uint64_t etag = fg_hash64(body->data, body->len);

	fg_reply_bytes(r, 200, type_of(r->object.what), body);
	r->reply.tagged = true;
	r->reply.etag = etag;
	r->reply.ranges = true;
	/* A piece never changes, but another layer may come to have this one's name:
	 * only with the layer's uuid in the URL it may be kept unasked. */
	r->reply.caching = r->object.what == FG_MADE_PIECE && fg_request_is_pinned(r)
			       ? FG_IMMUTABLE
			       : FG_NO_CACHE;
}

static void
reply_unknown(struct fg_request *r)
{
	fg_reply_error(r, 404, "layer %s has no object %llu", r->layer->name,
	    (unsigned long long)r->object.id);
}

/* ------------------------------------------------------------- files for people */

/* A piece as a mesh; its bytes are those of the slab. */
static int
read_piece(struct fg_request *r, struct fg_reader *reader, const struct fg_key *key,
    const struct fg_piece *p, struct fg_mesh *out, struct fg_err *err)
{
	struct fg_place place;
	struct fg_buf *bytes = NULL;
	int rc;

	if (fg_reader_gen(reader, key, p->at, p->gen, &place, err) < 0)
		return -1;
	if (place.state == FG_ABSENT)
		return fg_fail(err, FG_ECORRUPT,
		    "a piece of the mesh is missing: run floodgate verify");
	if (fg_store_read(r->srv->store, &place, false, &bytes, err) < 0)
		return -1;
	rc = fg_mesh_decode_fragment(bytes->data, bytes->len, out, err);
	out->label = key->at;
	fg_buf_unref(bytes);
	return rc;
}

static int
check_size(struct fg_request *r, const struct fg_piece *p, size_t n, struct fg_err *err)
{
	uint64_t bytes = 0,
		 most = (uint64_t)atomic_load(&r->srv->set)->file_max_mb << 20;

	for (size_t i = 0; i < n; i++)
		bytes += p[i].bytes;
	if (bytes > most)
		return fg_fail(err, FG_ENOTSUP,
		    "the mesh has %llu MiB, at most %lld are put into one file "
		    "(file_max_mb); its pieces are in mesh/%llu:0",
		    (unsigned long long)(bytes >> 20),
		    (long long)atomic_load(&r->srv->set)->file_max_mb,
		    (unsigned long long)r->object.id);
	return 0;
}

static struct fg_buf *
join_pieces(struct fg_request *r, const struct fg_piece *p, size_t n,
    struct fg_err *err)
{
	static const enum fg_mesh_file kinds[] = {FG_MESH_PLY, FG_MESH_OBJ,
	    FG_MESH_GLB};
	struct fg_key key =
	    fg_artefact_key(r->layer, FG_KIND_MESH, FG_PRODUCT_PIECE, r->chunk.key.at);
	struct fg_reader *reader = fg_server_reader(r->srv, err);
	struct fg_mesh *mesh = fg_calloc(n + 1, sizeof *mesh);
	const struct fg_mesh **list = fg_calloc(n + 1, sizeof(struct fg_mesh *));
	struct fg_buf *out = NULL;
	size_t k = 0;
	int rc = reader ? check_size(r, p, n, err) : -1;

	for (size_t i = 0; i < n && rc == 0; i++) {
		if (p[i].bytes == 0)
			continue;
		rc = read_piece(r, reader, &key, &p[i], &mesh[k], err);
		list[k] = &mesh[k];
		k += rc == 0;
	}
	if (rc == 0 && fg_mesh_encode_file(kinds[r->object.what - FG_MADE_PLY], list, k,
			   &out, err) < 0)
		out = NULL;
	for (size_t i = 0; i < k; i++)
		fg_mesh_fini(&mesh[i]);
	free(mesh);
	free(list);
	return out;
}

static struct fg_buf *
make_swc(const struct fg_buf *bytes, uint64_t id, struct fg_err *err)
{
	struct fg_skeleton s = FG_SKELETON_INIT;
	struct fg_buf *out = NULL;

	if (fg_skeleton_decode_any(bytes->data, bytes->len, &s, err) == 0) {
		s.label = id;
		if (fg_skeleton_encode_swc(&s, &out, err) < 0)
			out = NULL;
	}
	fg_skeleton_fini(&s);
	return out;
}

/* From the stored row in r->chunk.bytes to what is sent. Any thread. */
static void
answer(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;
	struct fg_err err = FG_ERR_INIT;
	struct fg_piece *p = NULL;
	struct fg_buf *out = NULL;
	size_t n = 0;

	switch (r->object.what) {
	case FG_MADE_PIECE:
		out = fg_buf_ref(c->bytes);
		break;
	case FG_MADE_SKELETON: /* earlier versions stored none */
		out = fg_skeleton_with_area(c->bytes);
		break;
	case FG_MADE_SWC:
		out = make_swc(c->bytes, c->key.at, &err);
		break;
	default:
		if (fg_pieces_decode(c->bytes->data, c->bytes->len, &p, &n, &err) < 0)
			break;
		out = r->object.what == FG_MADE_MANIFEST
			  ? fg_artefact_manifest(c->key.at, p, n)
			  : join_pieces(r, p, n, &err);
		free(p);
	}
	if (out)
		reply_body(r, out);
	else
		fg_reply_err(r, &err);
}

/* ------------------------------------------------------------- stored rows */

static void
read_row(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;

	if (fg_store_read(r->srv->store, &c->place, false, &c->bytes, &c->err) < 0)
		c->bytes = NULL;
}

static void
row_read(struct fg_request *r)
{
	if (!r->chunk.bytes)
		fg_reply_err(r, &r->chunk.err);
	else if (r->object.what == FG_MADE_PIECE || r->object.what == FG_MADE_SKELETON)
		answer(r);
	else
		fg_request_work(r, FG_RES_CPU, answer, NULL);
}

/* The index has it: from the page cache if that does not wait. */
static void
answer_stored(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;

	FG_COUNT(&r->srv->metrics, objects);
	if (fg_store_read(r->srv->store, &c->place, true, &c->bytes, &c->err) < 0)
		fg_reply_err(r, &c->err);
	else if (c->bytes)
		row_read(r);
	else
		fg_request_work(r, FG_RES_IO, read_row, row_read);
}

/* A piece that is not there: it never was, or is of a generation that was kept for long
 * enough. */
static void
reply_no_piece(struct fg_request *r, struct fg_reader *reader)
{
	struct fg_err ignored = FG_ERR_INIT;
	struct fg_object o;

	if (r->layer->agglomerated &&
	    fg_artefact_object(reader, r->layer->id, FG_OBJECTS_WHOLE, r->object.id, &o,
		NULL, NULL, &ignored) == 0 &&
	    r->object.gen < o.gen)
		fg_reply_error(r, 410,
		    "layer %s has no such piece of generation %lld: what old "
		    "generations have is kept for mesh_keep_s seconds; the manifest "
		    "mesh/%llu:0 names pieces up to generation %lld",
		    r->layer->name, (long long)r->object.gen,
		    (unsigned long long)o.public_id, (long long)o.gen);
	else
		fg_reply_error(r, 404, "layer %s has no such piece of a mesh",
		    r->layer->name);
}

static void
look_up_piece(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);

	c->key =
	    fg_artefact_key(r->layer, FG_KIND_MESH, FG_PRODUCT_PIECE, r->object.id);
	if (!reader || fg_reader_gen(reader, &c->key, r->object.part, r->object.gen,
			   &c->place, &err) < 0)
		fg_reply_err(r, &err);
	else if (c->place.state == FG_ABSENT)
		reply_no_piece(r, reader);
	else
		answer_stored(r);
}

/* The row of the object's generation; again after waiting, when the object may have
 * grown. */
static void
look_up(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);
	struct fg_object o;

	/* Also the key of an object that is not known yet. */
	c->key =
	    fg_artefact_key(r->layer, is_skeleton(r) ? FG_KIND_SKELETON : FG_KIND_MESH,
		FG_PRODUCT_TABLE, r->object.id);
	if (!reader ||
	    fg_artefact_object(reader, r->layer->id, fg_layer_objects(r->layer),
		r->object.id, &o, NULL, NULL, &err) < 0) {
		if (err.code == FG_ENOENT && !r->layer->recipe &&
		    !fg_layer_is_finished(r->layer, reader) &&
		    ++c->rounds <= ROUNDS_MAX)
			fg_chunk_want(r);
		else if (err.code == FG_ENOENT)
			reply_unknown(r);
		else
			fg_reply_err(r, &err);
		return;
	}
	c->key =
	    fg_artefact_key(r->layer, is_skeleton(r) ? FG_KIND_SKELETON : FG_KIND_MESH,
		FG_PRODUCT_TABLE, o.public_id);
	fg_buf_unref(c->bytes);
	c->bytes = NULL;
	if (fg_reader_gen(reader, &c->key, 0, o.gen, &c->place, &err) < 0)
		fg_reply_err(r, &err);
	else if (c->place.state != FG_ABSENT)
		answer_stored(r);
	else if (++c->rounds > ROUNDS_MAX)
		fg_reply_later(r, 5, "the object grows faster than it is made");
	else
		fg_chunk_want(r);
}

/* ------------------------------------------------------------- info */

/* Whether the layer has any object. A list of properties without any is not named in
 * its info: Neuroglancer loops for ever in its table of the ids when a label is looked
 * up in an empty one (seen in version 2.41). */
static bool
has_any_object(const struct fg_layer *l, struct fg_reader *reader)
{
	struct fg_err ignored = FG_ERR_INIT;
	struct fg_object *page = NULL;
	size_t n = 0;

	if (fg_reader_objects(reader, l->id, l->agglomerated, FG_OBJECTS_BY_ID, 0, 1,
		&page, &n, &ignored) < 0)
		return false;
	free(page);
	return n > 0;
}

void
fg_object_info(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);
	enum fg_mesh_choice choice = r->meshes;
	const struct fg_buf *text = r->layer->info_json;
	json_t *j = NULL;
	int64_t epoch = 1;
	char name[40];
	char *out;

	/* A source's own info stays as it is, but for the two directories. */
	if (text)
		j = fg_json_parse((const char *)text->data, text->len, "info", &err);
	if (!j || !reader || fg_artefact_epoch(reader, r->layer, &epoch, &err) < 0) {
		json_decref(j);
		fg_reply_err(r, &err);
		return;
	}
	if (!r->layer->recipe && !fg_layer_is_small(r->layer) &&
	    !fg_layer_is_finished(r->layer, reader)) {
		json_decref(j);
		r->object.what = FG_MADE_MESH_INFO; /* its type */
		reply_body(r, fg_buf_ref(r->layer->info_json));
		return;
	}
	if (choice == FG_MESH_DEFAULT)
		choice =
		    fg_draco_is_built() && (!r->layer->recipe ||
					       fg_layer_is_finished(r->layer, reader))
			? FG_MESH_MULTILOD
			: FG_MESH_LEGACY;
	snprintf(name, sizeof name, "mesh.%lld", (long long)epoch);
	json_object_set_new(j, "mesh",
	    json_string(choice == FG_MESH_MULTILOD ? name : "mesh"));
	json_object_set_new(j, "skeletons", json_string("skeleton"));
	if (r->layer->recipe && !has_any_object(r->layer, reader))
		json_object_del(j, "segment_properties");
	out = fg_json_format(j);
	json_decref(j);
	r->object.what = FG_MADE_MESH_INFO; /* its type */
	reply_body(r, fg_buf_take(out, strlen(out)));
}

void
fg_object_handle(struct fg_request *r)
{
	r->chunk.again = look_up;
	r->chunk.made_bytes = NULL;
	if (r->object.what >= FG_MADE_LOD_INFO && !is_skeleton(r) && !r->layer->broken)
		fg_levels_handle(r);
	else if (r->layer->broken)
		fg_reply_later(r, 60, "layer %s cannot be served: %s", r->layer->name,
		    r->layer->why);
	else if (r->object.what == FG_MADE_MESH_INFO)
		reply_body(r, fg_mesh_legacy_info());
	else if (r->object.what == FG_MADE_SKELETON_INFO)
		reply_body(r, fg_skeleton_info_with(FG_SKELETON_AREA, NULL));
	else if (r->object.what == FG_MADE_PIECE)
		look_up_piece(r);
	else
		look_up(r);
}
