/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunk requests. The steps, on the event thread unless said otherwise:
 *
 *   1. RAM cache, in the wanted coding, else in the identity form.
 *   2. Passive layer: its source, on an io thread. Absent there: 404.
 *   3. Generated layer: the index. PRESENT: bytes from the page cache, else on an io
 *      thread. EMPTY: an encoded zero chunk, made once per shape on a cpu thread.
 *   4. ABSENT: may this request start work? HEAD, If-None-Match: 404; a page of another
 *      origin: 403. Else the connection is suspended, the scheduler is asked, and the
 *      watch is set: whoever comes first (bytes, hold window over, client gone,
 *      shutdown) resumes it.
 *
 * Who resumes: the scheduler's wake, or the watch if fg_sched_leave says that wake will
 * not be called. wake drops the watch first, so that the watch's callback is never
 * left with a request that has been answered.
 *
 * Chunks of an agglomerated layer are those of its base, with ids replaced by public
 * ids on a cpu thread. They are cached under the number of the last merge; their tags
 * are those of their bytes, so a merge changes the tags of chunks that it touches only.
 *
 * Coarse chunks of generated layers are made again when finer ones arrive. They are
 * cached under the place of their bytes, and looked up in the index first.
 */
#include "config.h"

#include "server/request.h"

#include <math.h>
#include <microhttpd.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/morton.h"
#include "server/headers.h"
#include "work/agglomerate.h"

/* Larger bodies are compressed on a cpu thread: this takes about 0.4 ms. */
#define INLINE_CODING_BYTES (256 * 1024)
/* Key of encoded zero chunks in the cache; not a kind of the store. */
#define KIND_ZERO 255
/* How often a request goes back to the index because someone was faster. */
#define ROUNDS_MAX 4
/* The most a client is told to wait until it asks again, where it is bound to come. */
#define LATER_MAX_S 10

/* Ends of parking beside those of enum fg_wake. */
enum { PARK_TIME = 100, PARK_GONE };

static void look_up(struct fg_request *r);
static void chunk_made(struct fg_request *r);
static void answer_bytes(struct fg_request *r);

static const struct fg_scale *
scale_of(const struct fg_request *r)
{
	return &r->layer->info.scale[r->chunk.scale];
}

static struct fg_cache_key
cache_key(const struct fg_request *r, enum fg_coding coding)
{
	return (struct fg_cache_key){
	    .key = r->chunk.key,
	    .coding = (uint8_t)coding,
	    .salt = r->chunk.salt,
	};
}

/* JPEG and PNG do not shrink, raw images hardly (15 %, not worth a request's time);
 * label chunks shrink to a fiftieth. */
static bool
is_compressible(const struct fg_request *r)
{
	enum fg_encoding e = scale_of(r)->encoding;

	return e == FG_ENC_CSEG || e == FG_ENC_COMPRESSO ||
	       (e == FG_ENC_RAW && r->layer->info.type == FG_SEGMENTATION);
}

/* ------------------------------------------------------------- answers */

bool
fg_request_is_pinned(const struct fg_request *r)
{
	char v[64];

	return !r->layer->agglomerated && fg_route_query(&r->route, "v", v, sizeof v) &&
	       strcmp(v, r->layer->uuid) == 0;
}

static enum fg_caching
caching_of(const struct fg_request *r)
{
	return fg_request_is_pinned(r) && (r->layer->recipe || r->layer->source) &&
		       r->chunk.scale == 0
		   ? FG_IMMUTABLE
		   : FG_NO_CACHE;
}

static void
reply_cached(struct fg_request *r, const struct fg_cached *c, enum fg_coding coding)
{
	fg_reply_bytes(r, 200, fg_encoding_mime(scale_of(r)->encoding), c->bytes);
	r->reply.tagged = true;
	r->reply.etag = c->etag;
	r->reply.coding = (uint8_t)coding;
	r->reply.vary = is_compressible(r);
	r->reply.ranges = coding == FG_CODING_NONE;
	r->reply.caching = caching_of(r);
}

static void
reply_absent(struct fg_request *r)
{
	if (fg_kind_is_artefact(r->chunk.key.kind))
		fg_reply_error(r, 404, "layer %s has no such object, or it is not made",
		    r->layer->name);
	else
		fg_reply_error(r, 404, "layer %s has no such chunk", r->layer->name);
}

/* Compress r->chunk.bytes into a reply and remember it. Any thread. */
static void
encode_reply(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;
	struct fg_cached coded = {.etag = fg_hash64(c->bytes->data, c->bytes->len)};
	struct fg_cache_key key = cache_key(r, c->coding);
	struct fg_err err = FG_ERR_INIT;
	int level = c->coding == FG_CODING_ZSTD ? 3 : 1;

	if (fg_compress(c->coding, level, c->bytes->data, c->bytes->len, &coded.bytes,
		&err) < 0) {
		fg_reply_err(r, &err);
		return;
	}
	fg_cache_put(r->srv->cache, &key, &coded);
	reply_cached(r, &coded, c->coding);
}

/* On a cpu thread: base ids in c->bytes become public ids. */
static void
name_objects(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;
	struct fg_reader *reader = fg_server_reader(r->srv, &c->err);
	struct fg_buf *bytes = NULL;

	if (!reader || fg_agglomerate_chunk(r->layer, reader, c->scale, c->ch, c->bytes,
			   &bytes, &c->err) < 0)
		bytes = NULL;
	fg_buf_unref(c->bytes);
	c->bytes = bytes;
	c->named = true;
}

static void
objects_named(struct fg_request *r)
{
	if (r->chunk.bytes)
		answer_bytes(r);
	else
		fg_reply_err(r, &r->chunk.err);
}

/* c->bytes hold the identity form: cache it and answer in the wanted coding. */
static void
answer_bytes(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;
	struct fg_cache_key key = cache_key(r, FG_CODING_NONE);
	struct fg_cached plain = {.bytes = c->bytes};

	if (r->layer->agglomerated && !c->named) {
		fg_request_work(r, FG_RES_CPU, name_objects, objects_named);
		return;
	}
	if (c->coding != FG_CODING_NONE && c->bytes->len > 0) {
		if (c->bytes->len > INLINE_CODING_BYTES)
			fg_request_work(r, FG_RES_CPU, encode_reply, NULL);
		else
			encode_reply(r);
		return;
	}
	plain.etag = fg_hash64(c->bytes->data, c->bytes->len);
	fg_cache_put(r->srv->cache, &key, &plain);
	fg_buf_ref(plain.bytes);
	reply_cached(r, &plain, FG_CODING_NONE);
}

/* From memory, if it is there: in the wanted coding or as identity. */
static bool
answer_from_cache(struct fg_request *r)
{
	struct fg_cache_key key = cache_key(r, r->chunk.coding);
	struct fg_cached found;

	if (fg_cache_get(r->srv->cache, &key, &found)) {
		reply_cached(r, &found, r->chunk.coding);
		return true;
	}
	if (r->chunk.coding == FG_CODING_NONE)
		return false;
	key.coding = FG_CODING_NONE;
	if (!fg_cache_get(r->srv->cache, &key, &found))
		return false;
	r->chunk.bytes = found.bytes;
	r->chunk.named = true;
	answer_bytes(r);
	return true;
}

/* ------------------------------------------------------------- background */

/* On a cpu thread: the encoded chunk of nothing but zeros. */
static void
make_zero(struct fg_request *r)
{
	const struct fg_scale *s = scale_of(r);
	struct fg_chunk_state *c = &r->chunk;
	struct fg_array zero = FG_ARRAY_INIT;
	struct fg_box vx;
	int64_t shape[4] = {0, 0, 0, r->layer->info.channels};

	c->named = true;
	fg_scale_chunk_box(s, c->ch, &vx);
	fg_box_shape(&vx, shape);
	if (fg_array_init_zero(&zero, r->layer->info.dtype, shape, &c->err) == 0 &&
	    fg_codec_encode(s, &zero, &c->bytes, &c->err) < 0)
		c->bytes = NULL;
	fg_array_fini(&zero);
}

static void
zero_made(struct fg_request *r)
{
	if (r->chunk.bytes)
		answer_bytes(r);
	else
		fg_reply_err(r, &r->chunk.err);
}

/* All empty chunks of one shape are one cache entry. */
static void
answer_empty(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;
	struct fg_box vx;
	int64_t shape[3];

	FG_COUNT(&r->srv->metrics, chunks_empty);
	fg_scale_chunk_box(scale_of(r), c->ch, &vx);
	fg_box_shape(&vx, shape);
	c->key.kind = KIND_ZERO;
	c->key.at = fg_hash64(shape, sizeof shape);
	if (!answer_from_cache(r))
		fg_request_work(r, FG_RES_CPU, make_zero, zero_made);
}

/* ------------------------------------------------------------- passive layers */

static void
read_source(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;

	if (fg_source_chunk(r->layer->source, c->scale, c->ch, &c->bytes, &c->err) < 0)
		c->bytes = NULL;
}

static void
source_read(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;

	if (c->bytes) {
		FG_COUNT(&r->srv->metrics, chunks_source);
		answer_bytes(r);
	} else if (c->err.code != FG_OK) {
		fg_reply_source_err(r, &c->err);
	} else if (r->layer->fill) {
		answer_empty(r);
	} else {
		reply_absent(r);
	}
}

/* ------------------------------------------------------------- waiting */

/* Undo what parking entered; the thread that will resume. */
static void
unpark(struct fg_request *r)
{
	if (r->counted) {
		r->counted = false;
		fg_clients_leave(r->srv->clients, &r->client);
	}
}

/* A scheduler thread has the answer. */
static void
on_wake(struct fg_waiter *w, enum fg_wake how, const struct fg_place *place,
    struct fg_buf *bytes, const struct fg_err *err)
{
	struct fg_request *r =
	    (struct fg_request *)((char *)w - offsetof(struct fg_request, waiter));

	fg_watch_drop(r->srv->watch, &r->watch);
	r->chunk.wake = (uint8_t)how;
	if (place)
		r->chunk.place = *place;
	if (how == FG_WAKE_BYTES && bytes)
		r->chunk.bytes = fg_buf_ref(bytes);
	if (err)
		r->chunk.err = *err;
	unpark(r);
	fg_request_resume(r);
}

/* The watch thread: hold window over, or nobody there any more. */
static void
on_watch(struct fg_watched *n, enum fg_watch_why why)
{
	struct fg_request *r =
	    (struct fg_request *)((char *)n - offsetof(struct fg_request, watch));

	/* Over, but the client will ask again: the task stays, as a prefetch. That of a
	 * client that has gone is dropped if nobody else wants it. */
	if (why == FG_WATCH_TIME)
		(void)fg_sched_want(r->srv->sched, r->layer, &r->chunk.key, FG_BULK,
		    NULL, NULL);
	if (!fg_sched_leave(r->srv->sched, &r->waiter))
		return; /* on_wake was faster: it resumes, after this has returned */
	r->chunk.wake = why == FG_WATCH_TIME ? PARK_TIME : PARK_GONE;
	/* Counted here: the HTTP library drops most closed connections unasked. */
	if (why == FG_WATCH_GONE)
		FG_COUNT(&r->srv->metrics, parked_gone);
	unpark(r);
	fg_request_resume(r);
}

static void
reply_failed(struct fg_request *r, const struct fg_err *err)
{
	fg_reply_error(r, 500,
	    "%.300s; no new attempt until POST /api/layers/%.64s/retry",
	    *err->msg ? err->msg : "making it failed", r->layer->name);
}

/* Seconds until asking again makes sense: when the answer is to be expected, or earlier
 * by half the time that the client was held and will be again. Never long, since the
 * expectation may be wrong. */
static int
retry_after(const struct fg_request *r, double rest)
{
	rest = ceil(rest - r->chunk.held_s / 2);
	return (int)FG_MIN(FG_MAX(rest, 1), LATER_MAX_S);
}

static double
rest_of(struct fg_request *r)
{
	return fg_sched_rest(r->srv->sched, r->layer, &r->chunk.key);
}

/* No room in a queue passes by itself, and when is known; other reasons may last. */
static void
reply_refused(struct fg_request *r, const struct fg_err *err)
{
	int seconds = err->code == FG_EFULL ? 30 : LATER_MAX_S;
	double rest = err->code == FG_EBUSY ? rest_of(r) : 0;

	if (rest > 0)
		seconds = retry_after(r, rest);
	fg_reply_later(r, seconds, "%s",
	    *err->msg ? err->msg : "no new work is taken now");
}

/* A chunk was made for us. */
static void
chunk_made(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;

	FG_COUNT(&r->srv->metrics, chunks_made);
	if (c->scale > 0)
		c->salt ^= fg_hash64(&c->place.slab, 4) ^ c->place.off;
	answer_bytes(r);
}

static void
woken(struct fg_request *r)
{
	struct fg_metrics *m = &r->srv->metrics;
	struct fg_chunk_state *c = &r->chunk;

	switch ((int)c->wake) {
	case FG_WAKE_BYTES:
		FG_COUNT(m, parked_made);
		if (!c->bytes || !c->made_bytes)
			c->again(r); /* committed, bytes not handed on: read them */
		else
			c->made_bytes(r);
		return;
	case FG_WAKE_EMPTY:
		FG_COUNT(m, parked_made);
		answer_empty(r);
		return;
	case FG_WAKE_ABSENT:
		reply_absent(r);
		return;
	case FG_WAKE_FAILED:
		if (c->err.code == FG_ENOENT) /* was looked for, and is not there */
			reply_absent(r);
		else
			reply_failed(r, &c->err);
		return;
	case PARK_TIME:
		FG_COUNT(m, parked_time);
		fg_reply_later(r, retry_after(r, rest_of(r)), "being made; ask again");
		return;
	case PARK_GONE:
		fg_reply_later(r, 1, "the client has gone");
		r->reply.close = true;
		return;
	case FG_WAKE_SHUTDOWN:
		fg_reply_later(r, 10, "shutting down");
		r->reply.close = true;
		return;
	default: /* FG_WAKE_RETRY */
		fg_reply_later(r, 2, "%s",
		    c->err.msg[0] ? c->err.msg : "not made this time; ask again");
	}
}

/* What the scheduler said, other than PARKED. */
static void
answer_want(struct fg_request *r, enum fg_want want, struct fg_err *err)
{
	switch (want) {
	case FG_WANT_READY:
		r->chunk.again(r);
		return;
	case FG_WANT_ABSENT:
		reply_absent(r);
		return;
	case FG_WANT_FAILED:
		reply_failed(r, err);
		return;
	case FG_WANT_REFUSED:
		reply_refused(r, err);
		return;
	case FG_WANT_PARKED:
		fg_reply_later(r, retry_after(r, rest_of(r)), "being made; ask again");
		return;
	}
}

static void
refused(struct fg_request *r)
{
	struct fg_err err = r->chunk.err;

	answer_want(r, (enum fg_want)r->chunk.wake, &err);
}

/* Start (or join) the work without waiting for it. */
static void
want_only(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	enum fg_want want = fg_sched_want(r->srv->sched, r->layer, &r->chunk.key,
	    FG_INTERACTIVE, NULL, &err);

	answer_want(r, want, &err);
}

static int
connection_fd(struct fg_request *r)
{
	const union MHD_ConnectionInfo *i =
	    MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CONNECTION_FD);

	return i ? i->connect_fd : -1;
}

/* Suspend first; once the waiter is published the answer may come at any moment, and
 * only this thread's return lets the resumed handler run. */
static void
park(struct fg_request *r, double seconds)
{
	struct fg_err err = FG_ERR_INIT;
	int fd = connection_fd(r);
	enum fg_want want;

	r->chunk.held_s = seconds;
	r->watch.fire = on_watch;
	r->watch.deadline_ns = fg_clock_ns() + (int64_t)(seconds * 1e9);
	r->waiter.wake = on_wake;
	r->waiter.chunk = r->chunk.key;
	r->resumed = woken;
	r->kind = FG_METRICS_MADE;
	fg_request_suspend(r);
	want = fg_sched_want(r->srv->sched, r->layer, &r->chunk.key, FG_INTERACTIVE,
	    &r->waiter, &err);
	if (want == FG_WANT_PARKED) {
		fg_watch_add(r->srv->watch, &r->watch, fd);
		return;
	}
	unpark(r);
	r->chunk.held_s = 0;
	r->chunk.wake = (uint8_t)want;
	r->chunk.err = err;
	r->resumed = refused;
	fg_request_resume(r);
}

/* Seconds to hold this request; negative: ?wait is malformed. */
static double
hold_time(struct fg_request *r, bool *wait)
{
	char text[16], *end;
	double v;

	*wait = fg_route_query(&r->route, "wait", text, sizeof text);
	if (!*wait)
		return atomic_load(&r->srv->set)->hold_s;
	v = strtod(text, &end);
	if (end == text || *end || !(v >= 0))
		return -1;
	return FG_MIN(v, (double)atomic_load(&r->srv->set)->wait_max_s);
}

void
fg_chunk_want(struct fg_request *r)
{
	bool wait;
	double seconds = hold_time(r, &wait);

	if (r->method == FG_HEAD || r->if_none_match) {
		reply_absent(r);
	} else if (!fg_request_may_compute(r)) {
		fg_reply_error(r, 403,
		    "this is not made yet, and %s may not start work here (see the "
		    "setting %s)",
		    r->foreign ? "pages of this origin" : "this caller",
		    r->foreign        ? "origins"
		    : r->grant->token ? "token_file"
				      : "anonymous");
	} else if (seconds < 0) {
		fg_reply_error(r, 400, "wait is not a number of seconds");
	} else if (seconds == 0) {
		want_only(r);
	} else {
		fg_request_client(r, wait, &r->client);
		r->counted = fg_clients_enter(r->srv->clients, &r->client);
		if (r->counted) {
			park(r, seconds);
		} else {
			FG_COUNT(&r->srv->metrics, parked_refused);
			want_only(r);
		}
	}
}

/* ------------------------------------------------------------- generated layers */

static void
read_slab(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;

	if (fg_store_read(r->srv->store, &c->place, false, &c->bytes, &c->err) < 0)
		c->bytes = NULL;
}

/* Whether compaction gave the chunk another place since it was looked up. */
static bool
has_moved(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);
	struct fg_place now;

	return reader && fg_reader_find(reader, &c->key, &now, &err) == 0 &&
	       (now.slab != c->place.slab || now.off != c->place.off);
}

static void
slab_read(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;

	if (c->bytes) {
		FG_COUNT(&r->srv->metrics, chunks_slab);
		answer_bytes(r);
	} else if (c->err.code == FG_EIO && c->rounds < ROUNDS_MAX && has_moved(r)) {
		fg_err_clear(&c->err);
		look_up(r);
	} else {
		fg_reply_err(r, &c->err);
	}
}

/* The index has it: from the page cache if that does not wait. */
static void
answer_stored(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;

	if (c->scale > 0) {
		c->salt ^= fg_hash64(&c->place.slab, 4) ^ c->place.off;
		if (answer_from_cache(r))
			return;
	}
	if (fg_store_read(r->srv->store, &c->place, true, &c->bytes, &c->err) < 0)
		fg_reply_err(r, &c->err);
	else if (c->bytes)
		slab_read(r);
	else
		fg_request_work(r, FG_RES_IO, read_slab, slab_read);
}

/* A coarse chunk that is out of date: have it made again, and serve what there is
 * unless somebody can wait for the new one. */
static bool
is_stale(const struct fg_request *r)
{
	return r->chunk.scale > 0 && r->chunk.place.dirty && r->method == FG_GET &&
	       !r->if_none_match && fg_request_may_compute(r) && r->chunk.rounds == 1;
}

static void
look_up(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);

	if (!reader || fg_reader_find(reader, &c->key, &c->place, &err) < 0) {
		fg_reply_err(r, &err);
		return;
	}
	if (++c->rounds > ROUNDS_MAX) {
		fg_reply_later(r, 1, "this chunk comes and goes; ask again");
		return;
	}
	if (is_stale(r))
		(void)fg_sched_want(r->srv->sched, r->layer, &c->key, FG_IDLE, NULL,
		    &err);
	switch (c->place.state) {
	case FG_PRESENT:
	case FG_PARTIAL:
		answer_stored(r);
		return;
	case FG_EMPTY:
		answer_empty(r);
		return;
	case FG_ABSENT:
		fg_chunk_want(r);
		return;
	}
}

static void
reply_broken(struct fg_request *r)
{
	fg_reply_later(r, 60, "layer %s cannot be served: %s", r->layer->name,
	    r->layer->why);
}

/* What the cache tells apart: layers, and states of an agglomerated one. */
static int
salt_of(struct fg_request *r, uint64_t *salt, struct fg_err *err)
{
	const struct fg_layer *l = r->layer;
	struct fg_reader *reader;
	int64_t gen[2] = {0};

	*salt = fg_hash64(l->uuid, strlen(l->uuid));
	if (!l->agglomerated)
		return 0;
	reader = fg_server_reader(r->srv, err);
	if (!reader || fg_reader_merge_gen(reader, l->id, &gen[0], err) < 0)
		return -1;
	gen[1] = 1;
	*salt ^= fg_hash64(gen, sizeof gen);
	return 0;
}

void
fg_chunk_handle(struct fg_request *r)
{
	struct fg_chunk_state *c = &r->chunk;
	struct fg_layer *l = r->layer;
	struct fg_err err = FG_ERR_INIT;

	c->key = (struct fg_key){
	    .layer = l->id,
	    .kind = l->chunk_kind,
	    .scale = (uint8_t)c->scale,
	    .at = fg_morton_encode(c->ch),
	};
	if (salt_of(r, &c->salt, &err) < 0) {
		fg_reply_err(r, &err);
		return;
	}
	c->again = look_up;
	c->made_bytes = chunk_made;
	r->kind = FG_METRICS_CHUNK;
	if (is_compressible(r) && !(r->method == FG_GET && r->range))
		c->coding = (uint8_t)fg_coding_choose(r->accept_encoding);
	if ((l->source || c->scale == 0) && answer_from_cache(r)) {
		FG_COUNT(&r->srv->metrics, chunks_ram);
		return;
	}
	if (l->broken)
		reply_broken(r);
	else if (l->source)
		fg_request_work(r,
		    fg_source_is_remote(l->source) ? FG_RES_NET : FG_RES_IO,
		    read_source, source_read);
	else
		look_up(r);
}
