/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-sent events: see the header for what is sent.
 *
 * A stream is a libmicrohttpd response whose body comes from a callback. When there is
 * nothing to send the callback suspends its connection, under `lock`, so that the pump
 * cannot miss it; the pump resumes those that have something to read. A suspended
 * connection does not time out, but the comment that ends a silence finds out who is
 * gone. A stream lives until its response is destroyed.
 */
#include "config.h"

#include "server/events.h"

#include <microhttpd.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/morton.h"
#include "server/request.h"
#include "work/artefact.h"
#include "work/plan.h"

#define TICK_NS (100 * FG_NS_PER_MS)
#define SILENCE_NS (15 * FG_NS_PER_S)
#define BATCH 256           /* changes taken from the scheduler at once */
#define LINE_MAX_BYTES 8192 /* a job as JSON is far shorter */

struct fg_stream {
	struct fg_events *events;
	struct MHD_Connection *conn;
	struct fg_client_id client;
	char *layers; /* patterns of those that it may hear of; NULL: all */
	/* guarded by events->lock */
	uint64_t at;         /* position in the ring's endless text */
	uint64_t until;      /* with layers: end of the event that is being sent */
	struct fg_str first; /* sent before that */
	size_t first_sent;
	bool sleeping; /* its connection is suspended */
	struct fg_stream *next;
};

struct fg_events {
	struct fg_server *srv;
	pthread_t thread;
	bool started;
	pthread_mutex_t lock;
	/* guarded by lock */
	pthread_cond_t changed;
	char *ring;
	uint64_t end; /* bytes written in all */
	int64_t last_ns;
	uint64_t since; /* changes of the scheduler that were told */
	struct fg_stream *first;
	size_t clients;
	bool closing;
};

/* ------------------------------------------------------------- writing */

static void
format_event(struct fg_str *out, const char *name, json_t *data)
{
	char *text = fg_json_format(data);

	json_decref(data);
	if (strlen(text) < LINE_MAX_BYTES)
		fg_str_putf(out, "event: %s\ndata: %s\n\n", name, text);
	free(text);
}

/* r NULL: for everybody, take_bytes sorts out later. */
static void
format_jobs(struct fg_events *e, const struct fg_request *r, uint64_t *since,
    struct fg_str *out)
{
	json_t *jobs = fg_plan_changes(e->srv->plan, since), *j;
	size_t i;

	json_array_foreach(jobs, i, j)
	{
		if (r && !fg_access_sees_name(r,
			     json_string_value(json_object_get(j, "layer"))))
			continue;
		fg_reply_shorten(j); /* errors may name files */
		format_event(out, "job", json_incref(j));
	}
	json_decref(jobs);
}

/* Ids are texts: not every reader holds 64 bits in a number. */
static void
format_object(const struct fg_layer *l, const struct fg_key *key, struct fg_str *out)
{
	bool whole = fg_key_objects(key) == FG_OBJECTS_WHOLE;

	format_event(out, "object",
	    json_pack("{s:o, s:s, s:o}", "layer",
		json_sprintf("%s%s", l->name, whole ? ".agg" : ""), "kind",
		key->kind == FG_KIND_MESH ? "mesh" : "skeleton", "id",
		json_sprintf("%llu", (unsigned long long)key->at)));
}

static void
format_change(struct fg_events *e, const struct fg_change *c, struct fg_str *out)
{
	static const char *const now[] = {"absent", "queued", "delayed", "running",
	    "present", "failed"};
	struct fg_layer *l = fg_catalog_get(e->srv->catalog, c->key.layer);
	int64_t p[3];

	if (!l)
		return;
	fg_morton_decode(c->key.at, p);
	if (fg_kind_is_artefact(c->key.kind))
		format_object(l, &c->key, out);
	else if (c->now == FG_NOW_FORGOTTEN)
		format_event(out, "retry",
		    json_pack("{s:s, s:o}", "layer", l->name, "at",
			c->key.at == UINT64_MAX ? json_null() : fg_json_int3(p)));
	else if (c->key.kind == FG_KIND_BLOCK)
		format_event(out, "block",
		    json_pack("{s:s, s:o, s:s}", "layer", l->name, "at",
			fg_json_int3(p), "state", now[c->now]));
	else if (c->key.kind == FG_KIND_STITCH || c->key.kind == FG_KIND_RESEGMENT)
		format_event(out, "stitch",
		    json_pack("{s:s, s:o}", "layer", l->name, "at", fg_json_int3(p)));
	else
		format_event(out, "chunk",
		    json_pack("{s:s, s:s, s:o, s:s}", "layer", l->name, "scale",
			l->info.scale[c->key.scale].key, "at", fg_json_int3(p), "state",
			now[c->now]));
	fg_layer_unref(l);
}

static void
format_changes(struct fg_events *e, struct fg_str *out)
{
	struct fg_change c[BATCH];
	uint64_t since;
	bool lost;
	size_t n;

	/* While there are clients nobody else sets it. */
	pthread_mutex_lock(&e->lock);
	since = e->since;
	pthread_mutex_unlock(&e->lock);
	/* What does not fit now comes at the next tick. */
	n = fg_sched_changes(e->srv->sched, &since, c, BATCH, &lost);
	pthread_mutex_lock(&e->lock);
	e->since = since;
	pthread_mutex_unlock(&e->lock);
	if (lost)
		format_event(out, "lost", json_object());
	for (size_t i = 0; i < n; i++)
		format_change(e, &c[i], out);
}

/* Let the streams go on. Under the lock. */
static void
wake_all(struct fg_events *e)
{
	for (struct fg_stream *st = e->first; st; st = st->next) {
		if (st->sleeping) {
			st->sleeping = false;
			MHD_resume_connection(st->conn);
		}
	}
}

/* Append whole events to the ring. */
static void
publish(struct fg_events *e, const struct fg_str *text)
{
	size_t n = FG_MIN(text->len, FG_EVENTS_RING);
	const char *from = text->data + (text->len - n);
	size_t at, part;

	pthread_mutex_lock(&e->lock);
	/* Text larger than the ring: every stream is too slow for it, and ends. */
	e->end += text->len - n;
	at = (size_t)(e->end % FG_EVENTS_RING);
	part = FG_MIN(n, FG_EVENTS_RING - at);
	memcpy(e->ring + at, from, part);
	memcpy(e->ring, from + part, n - part);
	e->end += n;
	e->last_ns = fg_clock_ns();
	wake_all(e);
	pthread_mutex_unlock(&e->lock);
}

/* Sleep for a tick, longer while nobody listens; false: the end. *idle: there was
 * nobody meanwhile. */
static bool
wait_tick(struct fg_events *e, bool *idle, bool *silent)
{
	int64_t until = fg_clock_ns() + TICK_NS;
	struct timespec t = {.tv_sec = until / FG_NS_PER_S,
	    .tv_nsec = until % FG_NS_PER_S};
	bool go_on;

	pthread_mutex_lock(&e->lock);
	*idle = e->clients == 0;
	while (e->clients == 0 && !e->closing)
		pthread_cond_wait(&e->changed, &e->lock);
	if (!e->closing && !*idle)
		pthread_cond_timedwait(&e->changed, &e->lock, &t);
	go_on = !e->closing;
	*silent = fg_clock_ns() - e->last_ns > SILENCE_NS;
	pthread_mutex_unlock(&e->lock);
	return go_on;
}

static void *
pump(void *arg)
{
	struct fg_events *e = arg;
	uint64_t jobs = UINT64_MAX;
	bool idle, silent;

	while (wait_tick(e, &idle, &silent)) {
		struct fg_str text = FG_STR_INIT;

		if (idle) /* the first client is here */
			jobs = UINT64_MAX;
		format_changes(e, &text);
		format_jobs(e, NULL, &jobs, &text);
		if (text.len == 0 && silent)
			fg_str_puts(&text, ":\n\n");
		if (text.len > 0)
			publish(e, &text);
		fg_str_fini(&text);
	}
	return NULL;
}

/* ------------------------------------------------------------- reading */

/* Byte i of the ring's endless text. */
static char
ring_at(const struct fg_events *e, uint64_t i)
{
	return e->ring[i % FG_EVENTS_RING];
}

/* Whether the event at [at, end) is about a layer that the stream may not hear of. The
 * bytes "layer":" are in an event only as the key of its layer: within a string the
 * quotes would be escaped. A companion's events carry its base's name. */
static bool
is_hidden(const struct fg_stream *st, uint64_t at, uint64_t end)
{
	static const char key[] = "\"layer\":\"";
	const struct fg_events *e = st->events;
	size_t n = 0;
	char name[80];

	for (; at < end && key[n]; at++)
		n = ring_at(e, at) == key[n] ? n + 1 : ring_at(e, at) == key[0];
	if (key[n])
		return false;
	for (n = 0; at < end && ring_at(e, at) != '"' && n < sizeof name - 1; at++)
		name[n++] = ring_at(e, at);
	name[n] = '\0';
	return !fg_pattern_list_has(st->layers, name);
}

/* For a stream that may not hear of all layers: step over whole events that it may not
 * see, and return where the one that it may ends. */
static uint64_t
next_visible(struct fg_stream *st)
{
	struct fg_events *e = st->events;

	/* In the middle of an event that was let through. */
	if (st->at < st->until)
		return st->until;
	while (st->at < e->end) {
		uint64_t end = st->at + 2;

		/* Events are written whole: each ends with an empty line. */
		while (end < e->end &&
		       (ring_at(e, end - 2) != '\n' || ring_at(e, end - 1) != '\n'))
			end++;
		if (!is_hidden(st, st->at, end)) {
			st->until = end;
			return end;
		}
		st->at = end;
	}
	return e->end;
}

/* Copy what there is for a stream. Under the lock. -1: it is over. */
static ssize_t
take_bytes(struct fg_stream *st, char *buf, size_t max)
{
	struct fg_events *e = st->events;
	size_t n = FG_MIN(st->first.len - st->first_sent, max), at;
	uint64_t end;

	if (n > 0) {
		memcpy(buf, st->first.data + st->first_sent, n);
		st->first_sent += n;
		return (ssize_t)n;
	}
	if (e->closing || e->end - st->at > FG_EVENTS_RING)
		return -1;
	end = st->layers ? next_visible(st) : e->end;
	at = (size_t)(st->at % FG_EVENTS_RING);
	n = (size_t)FG_MIN(end - st->at, (uint64_t)max);
	n = FG_MIN(n, FG_EVENTS_RING - at);
	memcpy(buf, e->ring + at, n);
	st->at += n;
	return (ssize_t)n;
}

static ssize_t
read_stream(void *ctx, uint64_t pos, char *buf, size_t max)
{
	struct fg_stream *st = ctx;
	struct fg_events *e = st->events;
	ssize_t n;

	(void)pos;
	pthread_mutex_lock(&e->lock);
	n = take_bytes(st, buf, max);
	if (n == 0) {
		st->sleeping = true;
		MHD_suspend_connection(st->conn);
	}
	pthread_mutex_unlock(&e->lock);
	return n < 0 ? MHD_CONTENT_READER_END_OF_STREAM : n;
}

static void
free_stream(void *ctx)
{
	struct fg_stream *st = ctx, **p;
	struct fg_events *e = st->events;

	pthread_mutex_lock(&e->lock);
	p = &e->first;
	while (*p != st)
		p = &(*p)->next;
	*p = st->next;
	e->clients--;
	pthread_mutex_unlock(&e->lock);
	fg_str_fini(&st->first);
	free(st->layers);
	free(st);
}

void
fg_events_drop(struct fg_stream *st)
{
	if (st)
		free_stream(st);
}

struct MHD_Response *
fg_events_response(struct fg_request *r)
{
	struct fg_stream *st = r->reply.stream;
	struct MHD_Response *m = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN,
	    16 << 10, read_stream, st, free_stream);

	if (m)
		r->reply.stream = NULL;
	return m;
}

/* ------------------------------------------------------------- the call */

/* Enter a stream, or NULL: too many. */
static struct fg_stream *
enter(struct fg_events *e, const struct fg_client_id *client)
{
	const struct fg_settings *set = e->srv->set;
	struct fg_stream *st = fg_calloc(1, sizeof *st);
	uint64_t since = UINT64_MAX;
	int64_t same = 0;
	bool lost;

	st->events = e;
	st->client = *client;
	(void)fg_sched_changes(e->srv->sched, &since, NULL, 0, &lost);
	pthread_mutex_lock(&e->lock);
	for (const struct fg_stream *o = e->first; o; o = o->next)
		same += memcmp(o->client.address, client->address, 16) == 0;
	if (e->closing || (int64_t)e->clients >= set->events_max ||
	    same >= set->events_per_client) {
		pthread_mutex_unlock(&e->lock);
		free(st);
		return NULL;
	}
	if (e->clients == 0)
		e->since = since; /* what was before is in its hello */
	st->at = e->end;
	st->next = e->first;
	e->first = st;
	e->clients++;
	pthread_cond_signal(&e->changed);
	pthread_mutex_unlock(&e->lock);
	return st;
}

void
fg_events_handle(struct fg_request *r)
{
	struct fg_events *e = r->srv->events;
	struct fg_str first = FG_STR_INIT;
	uint64_t since = UINT64_MAX;
	struct fg_client_id client;
	struct fg_stream *st;

	r->kind = FG_METRICS_OTHER; /* how long it lasts says nothing */
	fg_request_client(r, false, &client);
	if (r->method == FG_HEAD) {
		fg_reply_bytes(r, 200, "text/event-stream", NULL);
		return;
	}
	st = enter(e, &client);
	if (!st) {
		fg_reply_later(r, 30,
		    "too many listen to events already (events_max, "
		    "events_per_client)");
		return;
	}
	fg_str_puts(&first, "retry: 2000\n");
	format_event(&first, "hello",
	    json_pack("{s:s, s:s}", "version", PACKAGE_VERSION, "uuid",
		fg_store_uuid(r->srv->store)));
	format_jobs(e, r, &since, &first);
	fg_reply_bytes(r, 200, "text/event-stream", NULL);
	/* Nobody reads the stream before it is sent. */
	if (!fg_access_sees_all(r))
		st->layers = fg_strdup(r->grant->layers);
	st->first = first;
	st->conn = r->conn;
	r->reply.stream = st;
}

/* ------------------------------------------------------------- begin and end */

struct fg_events *
fg_events_new(struct fg_server *s, struct fg_err *err)
{
	struct fg_events *e = fg_calloc(1, sizeof *e);
	pthread_condattr_t attr;

	e->srv = s;
	e->ring = fg_alloc(FG_EVENTS_RING);
	e->last_ns = fg_clock_ns();
	pthread_mutex_init(&e->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&e->changed, &attr);
	pthread_condattr_destroy(&attr);
	e->started = pthread_create(&e->thread, NULL, pump, e) == 0;
	if (e->started)
		return e;
	fg_events_free(e);
	return fg_fail_null(err, FG_EBUSY, "no thread for events could be started");
}

void
fg_events_close(struct fg_events *e)
{
	if (!e)
		return;
	pthread_mutex_lock(&e->lock);
	e->closing = true;
	wake_all(e);
	pthread_cond_signal(&e->changed);
	pthread_mutex_unlock(&e->lock);
}

void
fg_events_free(struct fg_events *e)
{
	if (!e)
		return;
	fg_events_close(e);
	if (e->started)
		pthread_join(e->thread, NULL);
	fg_assert(e->first == NULL);
	pthread_mutex_destroy(&e->lock);
	pthread_cond_destroy(&e->changed);
	free(e->ring);
	free(e);
}

uint64_t
fg_events_clients(struct fg_events *e)
{
	uint64_t n;

	pthread_mutex_lock(&e->lock);
	n = e->clients;
	pthread_mutex_unlock(&e->lock);
	return n;
}
