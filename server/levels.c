/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Multi-resolution meshes: mesh.EPOCH/info, mesh.EPOCH/ID.index (the manifest) and
 * mesh.EPOCH/ID (the data, of which a viewer asks for ranges).
 *
 * The look-ups are done on an io thread. Which generation of the object an epoch has is
 * noted when its bytes are first sent ("pinned"), so that a viewer gets ranges of the
 * very data that its manifest tells of, also when the object has grown. Where the
 * levels of the object's present generation are missing the request waits for their
 * task. Epochs before the horizon (work/prune.h) are gone: 410.
 *
 * The data are stored in slices, of which a range reads those that it needs.
 */
#include "config.h"

#include "server/request.h"

#include "base/hash.h"
#include "formats/multilod.h"
#include "mesh/draco.h"
#include "server/headers.h"
#include "work/artefact.h"

#define BITS 16
#define ROUNDS_MAX 6

/* A row's bytes; *out NULL if there is none. */
static int
read_row(struct fg_request *r, struct fg_reader *reader, const struct fg_key *key,
    uint64_t part, int64_t gen, struct fg_buf **out, struct fg_err *err)
{
	struct fg_place place;

	*out = NULL;
	if (fg_reader_gen(reader, key, part, gen, &place, err) < 0)
		return -1;
	if (place.state == FG_ABSENT)
		return 0;
	return fg_store_read(r->srv->store, &place, false, out, err);
}

/* The same where it must be there. */
static struct fg_buf *
need_row(struct fg_request *r, struct fg_reader *reader, const struct fg_key *key,
    uint64_t part, int64_t gen, struct fg_err *err)
{
	struct fg_buf *out;

	if (read_row(r, reader, key, part, gen, &out, err) < 0)
		return NULL;
	return out ? out
		   : fg_fail_null(err, FG_ECORRUPT,
			 "a part of the mesh is missing: run floodgate verify");
}

/* ------------------------------------------------------------- data */

/* Bytes [first, first + n) of the data. */
static struct fg_buf *
read_range(struct fg_request *r, struct fg_reader *reader, int64_t gen, uint64_t slice,
    uint64_t first, uint64_t n, struct fg_err *err)
{
	struct fg_buf *out = fg_buf_new(n), *part;
	uint64_t at = first;

	if (!out)
		return fg_fail_null(err, FG_ENOMEM, "no memory for %llu bytes",
		    (unsigned long long)n);
	while (at < first + n) {
		uint64_t skip = at % slice, take;

		part = need_row(r, reader, &r->chunk.key, 1 + at / slice, gen, err);
		if (!part)
			goto fail;
		take = part->len > skip ? FG_MIN(part->len - skip, first + n - at) : 0;
		if (take > 0)
			memcpy(out->data + (at - first), part->data + skip, take);
		fg_buf_unref(part);
		if (take == 0) {
			fg_fail(err, FG_ECORRUPT, "slice %llu of the mesh is too short",
			    (unsigned long long)(at / slice));
			goto fail;
		}
		at += take;
	}
	return out;
fail:
	fg_buf_unref(out);
	return NULL;
}

static uint64_t
etag_of(const struct fg_request *r, int64_t gen, uint64_t size)
{
	struct {
		char uuid[40];
		uint64_t id, gen, size;
	} mark = {.id = r->chunk.key.at, .gen = (uint64_t)gen, .size = size};

	memcpy(mark.uuid, r->layer->uuid, sizeof r->layer->uuid);
	return fg_hash64(&mark, sizeof mark);
}

/* What of the data is to be read: first and *n. */
static int
choose_range(const struct fg_request *r, uint64_t size, uint64_t etag, uint64_t *first,
    uint64_t *n, struct fg_err *err)
{
	uint64_t last;
	char text[32];

	*first = 0;
	*n = r->method == FG_HEAD ? 0 : size;
	fg_reply_etag(etag, FG_CODING_NONE, text);
	if (r->method == FG_GET && r->range &&
	    (!r->if_range || strcmp(r->if_range, text) == 0)) {
		switch (fg_range_parse(r->range, size, first, &last)) {
		case FG_RANGE_OK:
			*n = last - *first + 1;
			break;
		case FG_RANGE_BAD:
			*first = *n = 0;
			break;
		case FG_RANGE_NONE:
			*first = 0;
			break;
		}
	}
	if (*n > (uint64_t)r->srv->set->file_max_mb << 20)
		return fg_fail(err, FG_ENOTSUP,
		    "%llu MiB of a mesh are more than is sent at once (file_max_mb, "
		    "%lld): ask for ranges",
		    (unsigned long long)(*n >> 20),
		    (long long)r->srv->set->file_max_mb);
	return 0;
}

static int
answer_data(struct fg_request *r, struct fg_reader *reader, int64_t gen,
    struct fg_err *err)
{
	struct fg_buf *head =
	    need_row(r, reader, &r->chunk.key, FG_LODS_HEAD, gen, err);
	struct fg_buf *body = NULL;
	uint64_t size, slice, first, n, etag;
	bool good;

	if (!head)
		return -1;
	good = head->len == 16;
	size = good ? fg_get_u64le(head->data) : 0;
	slice = good ? fg_get_u64le(head->data + 8) : 0;
	fg_buf_unref(head);
	if (!good || slice == 0)
		return fg_fail(err, FG_ECORRUPT, "the head of a mesh has no length");
	etag = etag_of(r, gen, size);
	if (choose_range(r, size, etag, &first, &n, err) < 0)
		return -1;
	if (n > 0) {
		body = read_range(r, reader, gen, slice, first, n, err);
		if (!body)
			return -1;
	}
	fg_reply_bytes(r, 200, "application/octet-stream", body);
	r->reply.sized = true;
	r->reply.file_size = size;
	r->reply.body_at = first;
	r->reply.tagged = true;
	r->reply.etag = etag;
	r->reply.ranges = true;
	return 0;
}

static int
answer_manifest(struct fg_request *r, struct fg_reader *reader, int64_t gen,
    struct fg_err *err)
{
	struct fg_buf *bytes = need_row(r, reader, &r->chunk.key, 0, gen, err);
	uint64_t etag;

	if (!bytes)
		return -1;
	etag = fg_hash64(bytes->data, bytes->len);
	fg_reply_bytes(r, 200, "application/octet-stream", bytes);
	r->reply.tagged = true;
	r->reply.etag = etag;
	r->reply.ranges = true;
	return 0;
}

/* ------------------------------------------------------------- which generation */

/* The generation that the epoch has; 0: not noted. */
static int
read_pin(struct fg_request *r, struct fg_reader *reader, uint64_t id, int64_t *gen,
    struct fg_err *err)
{
	struct fg_key key = fg_artefact_key(r->layer, FG_KIND_MESH, FG_PRODUCT_PIN, id);
	struct fg_buf *bytes;
	int rc = 0;

	*gen = 0;
	if (read_row(r, reader, &key, (uint64_t)r->object.epoch, 0, &bytes, err) < 0)
		return -1;
	if (!bytes)
		return 0;
	if (bytes->len == 8)
		*gen = (int64_t)fg_get_u64le(bytes->data);
	if (*gen <= 0)
		rc = fg_fail(err, FG_ECORRUPT, "the epoch of a mesh has no generation");
	fg_buf_unref(bytes);
	return rc;
}

/* The generation to send, noting it; 0: its levels are not made. */
static int
find_gen(struct fg_request *r, struct fg_reader *reader, int64_t *gen,
    struct fg_err *err)
{
	bool whole = r->layer->agglomerated;
	struct fg_place place;
	struct fg_object o;

	/* The name as it was asked for: a component may have got a smaller public id
	 * since, and its old one stays good for what was sent under it. */
	if (whole && read_pin(r, reader, r->object.id, gen, err) < 0)
		return -1;
	r->chunk.key =
	    fg_artefact_key(r->layer, FG_KIND_MESH, FG_PRODUCT_LODS, r->object.id);
	if (whole && *gen > 0)
		return 0;
	*gen = 0;
	if (fg_artefact_object(reader, r->layer->id, fg_layer_objects(r->layer),
		r->object.id, &o, NULL, NULL, err) < 0) {
		if (err->code != FG_ENOENT || r->layer->recipe ||
		    fg_layer_is_finished(r->layer, reader))
			return -1;
		fg_err_clear(err);
		return 0; /* to be looked for */
	}
	if (fg_reader_gen(reader, &r->chunk.key, 0, o.gen, &place, err) < 0)
		return -1;
	if (place.state == FG_ABSENT)
		return 0;
	*gen = o.gen;
	if (!whole || r->method == FG_HEAD)
		return 0;
	if (fg_sched_pin(r->srv->sched, r->layer, r->object.id, r->object.epoch, o.gen,
		err) < 0)
		return -1;
	/* Somebody may have been faster, with another one. */
	return read_pin(r, reader, r->object.id, gen, err);
}

/* Whether the epoch is one that is served. false: answered, or failed with *err. */
static bool
is_served(struct fg_request *r, struct fg_reader *reader, struct fg_err *err)
{
	int64_t now = 0, horizon = 1;

	if (fg_artefact_epoch(reader, r->layer, &now, err) < 0 ||
	    fg_artefact_horizon(reader, r->layer, &horizon, err) < 0)
		return false;
	if (r->object.epoch < 1 || r->object.epoch > now) {
		fg_fail(err, FG_ENOENT, "layer %s has no mesh.%lld: its info says %lld",
		    r->layer->name, (long long)r->object.epoch, (long long)now);
		return false;
	}
	if (r->object.epoch >= horizon)
		return true;
	fg_reply_error(r, 410,
	    "layer %s has mesh.%lld no longer: its info says mesh.%lld now, and what "
	    "came before mesh.%lld was kept for mesh_keep_s seconds",
	    r->layer->name, (long long)r->object.epoch, (long long)now,
	    (long long)horizon);
	return false;
}

/* The reply to a request of an epoch that is served, or none yet. */
static int
find_reply(struct fg_request *r, struct fg_reader *reader, struct fg_err *err)
{
	int64_t gen = 0;

	if (find_gen(r, reader, &gen, err) < 0)
		return -1;
	if (gen == 0)
		return 0;
	FG_COUNT(&r->srv->metrics, objects);
	if ((r->object.what == FG_MADE_LOD_DATA
		    ? answer_data(r, reader, gen, err)
		    : answer_manifest(r, reader, gen, err)) < 0)
		return -1;
	r->reply.caching = fg_request_is_pinned(r) ? FG_IMMUTABLE : FG_NO_CACHE;
	return 0;
}

/* On an io thread: describe the reply, or leave it open where something is to be made.
 */
static void
work(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT, late = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);
	int rc;

	if (!reader || !is_served(r, reader, &err)) {
		if (r->reply.status == 0)
			fg_reply_err(r, &err);
		return;
	}
	if (r->object.what == FG_MADE_LOD_INFO) {
		struct fg_buf *info = fg_multilod_info(BITS, NULL);

		fg_reply_bytes(r, 200, "application/json", info);
		r->reply.tagged = true;
		r->reply.etag = fg_hash64(info->data, info->len);
		r->reply.caching = FG_NO_CACHE;
		return;
	}
	rc = find_reply(r, reader, &err);
	/* If the epoch's time ran out meanwhile its pin may be gone, and what was read
	 * may be of another generation than the viewer's manifest, or half missing. */
	if (!is_served(r, reader, &late))
		rc = late.code == FG_OK ? 0 : -1;
	if (rc < 0)
		fg_reply_err(r, late.code == FG_OK ? &err : &late);
}

static void look_up(struct fg_request *r);

static void
worked(struct fg_request *r)
{
	if (r->reply.status != 0)
		return;
	if (++r->chunk.rounds > ROUNDS_MAX)
		fg_reply_later(r, 5, "the object grows faster than it is made");
	else
		fg_chunk_want(r);
}

static void
look_up(struct fg_request *r)
{
	fg_request_work(r, FG_RES_IO, work, worked);
}

void
fg_levels_handle(struct fg_request *r)
{
	r->chunk.again = look_up;
	r->chunk.made_bytes = NULL;
	if (!fg_draco_is_built())
		fg_reply_error(r, 501,
		    "multi-resolution meshes: not available in this build (libdraco)");
	else
		look_up(r);
}
