/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sight: /readyz, /metrics, /api/status with all numbers of the status page, and the
 * link into Neuroglancer.
 *
 * Counting rows takes one pass over the index, so the status text is made on an io
 * thread, by one request at a time, and kept for a second, or for twenty times as long
 * as it took to make.
 */
#include "config.h"

#include <microhttpd.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "server/events.h"
#include "server/request.h"
#include "work/plan.h"

#define RECENT 20 /* results shown */
#define TASKS 50  /* tasks shown */

/* ------------------------------------------------------------- readiness */

/* On an io thread: asking for the room on a disk may wait for the disk. */
static void
ready_work(struct fg_request *r)
{
	struct fg_server *s = r->srv;
	struct fg_err err = FG_ERR_INIT;
	json_t *wrong = json_array();
	char stopped[200];
	struct fg_layer **l;
	size_t n;
	bool ready;

	fg_catalog_list(s->catalog, &l, &n);
	for (size_t i = 0; i < n; i++) {
		const char *why = l[i]->broken ? l[i]->why : stopped;

		if (l[i]->broken ||
		    (l[i]->recipe && fg_sched_stopped(s->sched, l[i]->id, stopped)))
			json_array_append_new(wrong,
			    json_sprintf("layer %s: %s", l[i]->name, why));
		fg_layer_unref(l[i]);
	}
	free(l);
	if (fg_store_room(s->store, &err) < 0)
		json_array_append_new(wrong, json_string(err.msg));
	ready = json_array_size(wrong) == 0;
	fg_reply_json(r, ready ? 200 : 503,
	    json_pack("{s:b, s:o}", "ready", (int)ready, "wrong", wrong));
	if (!ready)
		r->reply.retry_after = 10;
}

void
fg_status_ready(struct fg_request *r)
{
	fg_request_work(r, FG_RES_IO, ready_work, NULL);
}

/* ------------------------------------------------------------- metrics */

static void
upstream_gauges(struct fg_server *s, struct fg_metrics_now *now)
{
	struct fg_web_stats web;

	fg_catalog_web_stats(s->catalog, &web);
	now->upstream_hits = (double)web.hits;
	now->upstream_misses = (double)web.misses;
	now->upstream_stale = (double)web.stale;
	now->upstream_fetches = (double)web.fetch.fetches;
	now->upstream_same = (double)web.fetch.same;
	now->upstream_retries = (double)web.fetch.retries;
	now->upstream_failed = (double)web.fetch.failed;
	now->upstream_bytes = (double)web.fetch.bytes;
	now->upstream_disk = (double)web.cache.bytes;
	now->upstream_evicted = (double)web.cache.evicted;
}

void
fg_status_gauges(struct fg_server *s, struct fg_metrics_now *now)
{
	struct fg_cache_stats cache;
	struct fg_sched_stats sched;

	upstream_gauges(s, now);
	fg_cache_get_stats(s->cache, &cache);
	fg_sched_get_stats(s->sched, &sched);
	now->parked = (double)fg_clients_parked(s->clients);
	now->active = (double)atomic_load(&s->active);
	now->connections = (double)fg_http_connections(s);
	now->listeners = (double)fg_events_clients(s->events);
	now->cache_hits = (double)cache.hits;
	now->cache_misses = (double)cache.misses;
	now->cache_evicted = (double)cache.evicted;
	now->cache_bytes = (double)cache.bytes;
	now->cache_entries = (double)cache.entries;
	now->queued_interactive = (double)sched.queued[FG_INTERACTIVE];
	now->queued_bulk = (double)sched.queued[FG_BULK];
	now->queued_idle = (double)sched.queued[FG_IDLE];
	now->running = (double)sched.running;
	now->committing = (double)sched.committing;
	now->waiters = (double)sched.waiters;
	now->tasks_done = (double)sched.done;
	now->tasks_failed = (double)sched.failed;
	now->tasks_dropped = (double)sched.dropped;
	now->coalesced = (double)sched.coalesced;
	now->promoted = (double)sched.promoted;
	now->refused = (double)sched.refused;
	now->commits = (double)sched.commits;
	now->commit_results = (double)sched.commit_results;
	now->block_seconds = sched.block_s;
	now->uptime = (double)(fg_clock_ns() - s->start_ns) / 1e9;
}

void
fg_status_metrics(struct fg_request *r)
{
	struct fg_metrics_now now;
	struct fg_str text = FG_STR_INIT;

	fg_metrics_snapshot(&r->srv->metrics, &now);
	fg_status_gauges(r->srv, &now);
	fg_metrics_format(&now, &text);
	fg_reply_bytes(r, 200, "text/plain; version=0.0.4; charset=utf-8",
	    fg_str_take(&text));
}

/* ------------------------------------------------------------- Neuroglancer */

static json_t *
link_layer(const struct fg_layer *l, const char *base)
{
	bool seg = l->info.type == FG_SEGMENTATION;

	return json_pack("{s:s, s:s, s:o}", "type", seg ? "segmentation" : "image",
	    "name", l->name, "source",
	    json_sprintf("precomputed://%s/%s", base, l->name));
}

/* Dimensions and position from the finest scale of a layer: nanometres to metres, and
 * the middle of the volume in voxels. */
static void
link_space(json_t *state, const struct fg_layer *l)
{
	static const char *const axis[] = {"x", "y", "z"};
	const struct fg_scale *s = &l->info.scale[0];
	json_t *dimensions = json_object(), *position = json_array();
	double extent = 0;

	for (int d = 0; d < 3; d++) {
		json_object_set_new(dimensions, axis[d],
		    json_pack("[f, s]", s->nm[d] / 1e9, "m"));
		json_array_append_new(position,
		    json_real((double)(s->offset[d] + s->size[d] / 2) + 0.5));
		extent = FG_MAX(extent, (double)s->size[d] * s->nm[d] / s->nm[0]);
	}
	json_object_set_new(state, "dimensions", dimensions);
	json_object_set_new(state, "position", position);
	json_object_set_new(state, "projectionScale", json_real(extent * 1.5));
}

static void
percent_encode(struct fg_str *out, const char *text)
{
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		    (c >= '0' && c <= '9') || strchr("-_.~!*'()", c))
			fg_str_put(out, text, 1);
		else
			fg_str_putf(out, "%%%02X", c);
	}
}

char *
fg_status_link(struct fg_server *s, const char *base)
{
	json_t *state = json_object(), *layers = json_array();
	const struct fg_layer *space = NULL;
	struct fg_str out = FG_STR_INIT;
	struct fg_layer **l;
	char *text;
	size_t n;

	fg_catalog_list(s->catalog, &l, &n);
	for (int pass = 0; pass < 2; pass++) { /* images below segmentations */
		for (size_t i = 0; i < n; i++) {
			if (l[i]->broken || l[i]->info.scales == 0 ||
			    (l[i]->info.type == FG_SEGMENTATION) != (pass == 1))
				continue;
			space = space ? space : l[i];
			json_array_append_new(layers, link_layer(l[i], base));
		}
	}
	if (space)
		link_space(state, space);
	json_object_set_new(state, "layers", layers);
	json_object_set_new(state, "layout", json_string("4panel"));
	for (size_t i = 0; i < n; i++)
		fg_layer_unref(l[i]);
	free(l);
	text = fg_json_format(state);
	json_decref(state);
	fg_str_putf(&out, "%s#!", s->set->viewer_url);
	percent_encode(&out, text);
	free(text);
	return out.data;
}

/* ------------------------------------------------------------- status */

static json_t *
status_layers(struct fg_server *s, struct fg_reader *reader)
{
	json_t *list = json_array();
	struct fg_layer **l;
	char why[200];
	size_t n;

	fg_catalog_list(s->catalog, &l, &n);
	for (size_t i = 0; i < n; i++) {
		json_t *j = fg_layer_describe(l[i], reader);

		if (l[i]->recipe && fg_sched_stopped(s->sched, l[i]->id, why))
			json_object_set_new(j, "why", json_string(why));
		json_array_append_new(list, j);
		fg_layer_unref(l[i]);
	}
	free(l);
	return list;
}

static json_t *
status_recent(struct fg_reader *reader)
{
	struct fg_err err = FG_ERR_INIT;
	char *text = NULL;
	json_t *j = NULL;

	if (reader && fg_reader_recent(reader, RECENT, &text, &err) == 0)
		j = fg_json_parse(text, strlen(text), "recent runs", &err);
	free(text);
	return j ? j : json_array();
}

static struct fg_buf *
make_status(struct fg_server *s)
{
	struct fg_metrics_now now;
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(s, &err);
	char *link = fg_status_link(s, s->url), *text;
	json_t *j = json_object();

	fg_metrics_snapshot(&s->metrics, &now);
	fg_status_gauges(s, &now);
	json_object_set_new(j, "version", json_string(PACKAGE_VERSION));
	json_object_set_new(j, "uuid", json_string(fg_store_uuid(s->store)));
	json_object_set_new(j, "url", json_string(s->url));
	json_object_set_new(j, "neuroglancer", json_string(link));
	json_object_set_new(j, "numbers", fg_metrics_json(&now));
	json_object_set_new(j, "layers", status_layers(s, reader));
	json_object_set_new(j, "tasks", fg_sched_tasks(s->sched, TASKS));
	json_object_set_new(j, "devices", fg_sched_devices(s->sched));
	json_object_set_new(j, "jobs", fg_plan_list(s->plan));
	json_object_set_new(j, "recent", status_recent(reader));
	if (fg_store_room(s->store, &err) < 0)
		json_object_set_new(j, "disk", json_string(err.msg));
	free(link);
	/* One text for everybody, so without file names. */
	fg_reply_shorten(j);
	text = fg_json_format(j);
	json_decref(j);
	return fg_buf_take(text, strlen(text));
}

/* A reference to the kept text if it is fresh, or if somebody is making a new one. */
static struct fg_buf *
kept_status(struct fg_server *s, bool *mine)
{
	struct fg_buf *b = NULL;

	pthread_mutex_lock(&s->status_lock);
	if (s->status && (s->status_busy || fg_clock_ns() < s->status_until_ns))
		b = fg_buf_ref(s->status);
	*mine = !b;
	s->status_busy = s->status_busy || *mine;
	pthread_mutex_unlock(&s->status_lock);
	return b;
}

/* On an io thread. */
static void
status_work(struct fg_request *r)
{
	struct fg_server *s = r->srv;
	int64_t start = fg_clock_ns(), end;
	struct fg_buf *b, *old;
	bool mine;

	b = kept_status(s, &mine);
	if (mine) {
		b = make_status(s);
		end = fg_clock_ns();
		pthread_mutex_lock(&s->status_lock);
		old = s->status;
		s->status = fg_buf_ref(b);
		s->status_until_ns = end + FG_MAX(FG_NS_PER_S / 2, 20 * (end - start));
		s->status_busy = false;
		pthread_mutex_unlock(&s->status_lock);
		fg_buf_unref(old);
	}
	fg_reply_bytes(r, 200, "application/json", b);
}

void
fg_status_handle(struct fg_request *r)
{
	fg_request_work(r, FG_RES_IO, status_work, NULL);
}
