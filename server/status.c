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

#include <dirent.h>
#include <microhttpd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <unistd.h>

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

	fg_request_layers(r, &l, &n);
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
gauge_layers(struct fg_server *s, struct fg_metrics_now *now)
{
	struct fg_layer **l;
	size_t n;

	fg_catalog_list(s->catalog, &l, &n);
	for (size_t i = 0; i < n; i++) {
		if (l[i]->broken)
			now->layers_broken++;
		else if (l[i]->paused)
			now->layers_paused++;
		else
			now->layers_ok++;
		fg_layer_unref(l[i]);
	}
	free(l);
}

static void
gauge_work(struct fg_server *s, struct fg_metrics_now *now)
{
	struct fg_sched_load load;
	uint64_t jobs[FG_PLAN_STATES];

	fg_sched_get_load(s->sched, &load);
	now->devices = load.devices;
	now->device_seconds = load.busy_s;
	now->device_steps = (double)load.steps;
	now->device_waiting = (double)load.waiting;
	now->blocks.bound = load.block_bound;
	memcpy(now->blocks.bucket, load.block_bucket, sizeof now->blocks.bucket);
	now->blocks.sum_s = load.block_sum_s;
	fg_plan_counts(s->plan, jobs);
	now->jobs_waiting = (double)jobs[0];
	now->jobs_running = (double)jobs[1];
	now->jobs_paused = (double)jobs[2];
	now->jobs_done = (double)jobs[3];
	now->jobs_failed = (double)jobs[4];
	now->jobs_cancelled = (double)jobs[5];
}

/* The index is on a local disk, and knows the slabs' sizes by itself. */
static void
gauge_store(struct fg_server *s, struct fg_metrics_now *now)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(s, &err);
	struct fg_store_sizes sizes;

	if (!reader || fg_reader_sizes(reader, &sizes, &err) < 0)
		return;
	now->slabs = (double)sizes.slabs;
	now->slab_bytes = (double)sizes.slab_bytes;
	now->dead_bytes = (double)sizes.dead_bytes;
	now->index_bytes = (double)sizes.index_bytes;
}

/* What Prometheus clients tell of their own process, under the usual names. */
static void
gauge_process(struct fg_metrics_now *now)
{
	struct rusage u;
	FILE *f = fopen("/proc/self/statm", "re");
	long long pages;
	DIR *d;

	if (getrusage(RUSAGE_SELF, &u) == 0)
		now->cpu_seconds =
		    (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
		    (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	if (f && fscanf(f, "%*d %lld", &pages) == 1)
		now->memory = (double)pages * (double)sysconf(_SC_PAGESIZE);
	if (f)
		fclose(f);
	d = opendir("/proc/self/fd");
	if (!d)
		return;
	while (readdir(d))
		now->descriptors++;
	closedir(d);
	now->descriptors -= 3; /* "." and "..", and that of the folder itself */
}

static void
gauge_upstream(struct fg_server *s, struct fg_metrics_now *now)
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

	gauge_upstream(s, now);
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
	now->io_queued = (double)sched.io_queued;
	now->cpu_queued = (double)sched.cpu_queued;
	gauge_layers(s, now);
	gauge_work(s, now);
	gauge_store(s, now);
	gauge_process(now);
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

#define PUBLIC_VIEWER "https://neuroglancer-demo.appspot.com/"

/* Nanometres as metres with the same digits: 8 becomes 8e-9. Division would give
 * 8.000000000000001e-9, which viewers then show. */
static void
put_metres(struct fg_str *out, double nm)
{
	char text[32];

	for (int digits = 1; digits <= 17; digits++) {
		snprintf(text, sizeof text, "%.*g", digits, nm);
		if (strtod(text, NULL) == nm)
			break;
	}
	if (strchr(text, 'e'))
		fg_str_putf(out, "%.17g", nm / 1e9);
	else
		fg_str_putf(out, "%se-9", text);
}

/* Of layers that are made here only the first is shown at first, since what is looked
 * at is made; and of that its stitched view, where there is one. */
static bool
is_shown(const struct fg_layer *l, struct fg_layer *const *list, size_t n)
{
	const struct fg_layer *made = l->base ? l->base : l;

	if (l->base && !l->agglomerated)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (made->recipe && list[i]->recipe && !list[i]->base) {
			if (list[i]->id != made->id)
				return false;
			break;
		}
	}
	for (size_t i = 0; i < n && made == l; i++) {
		if (list[i]->agglomerated && list[i]->id == l->id)
			return false;
	}
	return true;
}

static void
put_layer(struct fg_str *out, const struct fg_layer *l, bool shown, const char *base)
{
	/* Names of the viewer's layers, by our kind. */
	static const char *const types[] = {"image", "segmentation", "annotation",
	    "segmentation", "segmentation", "segmentation"};
	bool seg = l->info.type == FG_SEGMENTATION;

	/* Neither names nor our address hold anything that JSON minds. */
	fg_str_putf(out,
	    "{\"type\":\"%s\",\"name\":\"%s\",\"source\":\"precomputed://%s/%s\"%s%s}",
	    types[l->info.type], l->name, base, l->name,
	    seg ? ",\"selectedAlpha\":0.35,\"notSelectedAlpha\":0.2" : "",
	    shown ? "" : ",\"visible\":false");
}

/* Dimensions, position and scale from the finest scale of a layer: the middle of the
 * volume, near enough that a view of a layer made on demand starts a few blocks. */
static void
put_space(struct fg_str *out, const struct fg_layer *l)
{
	static const char *const axis[] = {"x", "y", "z"};
	const struct fg_scale *s = &l->info.scale[0];
	double extent = 0;

	fg_str_puts(out, "\"dimensions\":{");
	for (int d = 0; d < 3; d++) {
		fg_str_putf(out, "%s\"%s\":[", d ? "," : "", axis[d]);
		put_metres(out, s->nm[d]);
		fg_str_puts(out, ",\"m\"]");
		extent = FG_MAX(extent, (double)s->size[d] * s->nm[d] / s->nm[0]);
	}
	fg_str_puts(out, "},\"position\":[");
	for (int d = 0; d < 3; d++)
		fg_str_putf(out, "%s%lld.5", d ? "," : "",
		    (long long)(s->offset[d] + s->size[d] / 2));
	fg_str_putf(out, "],\"crossSectionScale\":%.3g,\"projectionScale\":%.0f,",
	    FG_MIN(extent / 800, 0.5), extent * 1.5);
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

/* Where links lead: the setting, else our own viewer, else the public one. */
static void
put_viewer(struct fg_str *out, struct fg_server *s, const char *base)
{
	const struct fg_settings *set = s->set;

	if (*set->viewer_url)
		fg_str_puts(out, set->viewer_url);
	else if (s->viewer)
		fg_str_putf(out, "%s/viewer/", base);
	else
		fg_str_puts(out, PUBLIC_VIEWER);
}

char *
fg_status_link(struct fg_server *s, const char *patterns, const char *base)
{
	struct fg_str state = FG_STR_INIT, out = FG_STR_INIT, layers = FG_STR_INIT;
	const struct fg_layer *space = NULL;
	struct fg_layer **l;
	size_t n;

	fg_catalog_list(s->catalog, &l, &n);
	for (int pass = 0; pass < 2; pass++) { /* images below segmentations */
		for (size_t i = 0; i < n; i++) {
			bool volume = l[i]->info.scales > 0;

			if (l[i]->broken || (!volume && !l[i]->info.at_type) ||
			    !fg_pattern_list_has(patterns, l[i]->name) ||
			    (l[i]->info.type != FG_IMAGE) != (pass == 1))
				continue;
			if (layers.data)
				fg_str_puts(&layers, ",");
			space = space || !volume ? space : l[i];
			put_layer(&layers, l[i], is_shown(l[i], l, n), base);
		}
	}
	fg_str_puts(&state, "{");
	if (space)
		put_space(&state, space);
	fg_str_putf(&state, "\"layers\":[%s],\"layout\":\"4panel\"}",
	    layers.data ? layers.data : "");
	for (size_t i = 0; i < n; i++)
		fg_layer_unref(l[i]);
	free(l);
	put_viewer(&out, s, base);
	fg_str_puts(&out, "#!");
	percent_encode(&out, state.data);
	fg_str_fini(&state);
	fg_str_fini(&layers);
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

/* Disk, results and cache, in bytes. */
static json_t *
status_storage(struct fg_server *s, struct fg_reader *reader)
{
	const struct fg_settings *set = s->set;
	struct fg_store_counts counts = {0};
	struct fg_err ignored = FG_ERR_INIT;
	json_t *j = json_object();
	struct statvfs v;

	if (reader && fg_reader_count(reader, 0, &counts, &ignored) == 0)
		json_object_set_new(j, "results",
		    json_integer((json_int_t)counts.bytes));
	if (statvfs(fg_store_root(s->store), &v) == 0) {
		json_object_set_new(j, "disk",
		    json_integer((json_int_t)(v.f_blocks * v.f_frsize)));
		json_object_set_new(j, "free",
		    json_integer((json_int_t)(v.f_bavail * v.f_frsize)));
	}
	json_object_set_new(j, "cache_limit",
	    json_integer((json_int_t)set->cache_mb << 20));
	return j;
}

static json_t *
make_status(struct fg_server *s)
{
	struct fg_metrics_now now;
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(s, &err);
	json_t *j = json_object();

	fg_metrics_snapshot(&s->metrics, &now);
	fg_status_gauges(s, &now);
	json_object_set_new(j, "version", json_string(PACKAGE_VERSION));
	json_object_set_new(j, "uuid", json_string(fg_store_uuid(s->store)));
	json_object_set_new(j, "numbers", fg_metrics_json(&now));
	json_object_set_new(j, "layers", status_layers(s, reader));
	json_object_set_new(j, "tasks", fg_sched_tasks(s->sched, TASKS));
	json_object_set_new(j, "devices", fg_sched_devices(s->sched));
	json_object_set_new(j, "jobs", fg_plan_list(s->plan));
	json_object_set_new(j, "recent", status_recent(reader));
	json_object_set_new(j, "stages", fg_plan_stages());
	json_object_set_new(j, "storage", status_storage(s, reader));
	if (fg_store_room(s->store, &err) < 0)
		json_object_set_new(j, "disk", json_string(err.msg));
	/* One for everybody, so without file names. */
	fg_reply_shorten(j);
	return j;
}

/* A reference to the kept status if it is fresh, or if somebody is making a new one. */
static json_t *
kept_status(struct fg_server *s, bool *mine)
{
	json_t *j = NULL;

	pthread_mutex_lock(&s->status_lock);
	if (s->status && (s->status_busy || fg_clock_ns() < s->status_until_ns))
		j = json_incref(s->status);
	*mine = !j;
	s->status_busy = s->status_busy || *mine;
	pthread_mutex_unlock(&s->status_lock);
	return j;
}

/* Those entries of j's array `list` whose member `key` names a layer that the caller
 * sees. */
static void
show_part(struct fg_request *r, json_t *j, const char *list, const char *key)
{
	json_t *all = json_object_get(j, list), *part = json_array(), *v;
	size_t i;

	json_array_foreach(all, i, v)
	{
		const char *name = json_string_value(json_object_get(v, key));

		if (name && fg_access_sees_name(r, name))
			json_array_append(part, v);
	}
	json_object_set_new(j, list, part);
}

/* What this caller may see of it, with the addresses by which it knows the server. The
 * copy is shallow: what is shared with others stays as it is. */
static json_t *
status_for(struct fg_request *r, const json_t *all)
{
	json_t *j = json_copy((json_t *)(uintptr_t)all);
	const struct fg_settings *set = r->srv->set;
	struct fg_str viewer = FG_STR_INIT;
	char base[FG_BASE_MAX];
	char *link;

	fg_request_base(r, base);
	put_viewer(&viewer, r->srv, base);
	json_object_set_new(j, "viewer", json_string(viewer.data));
	json_object_set_new(j, "bundled",
	    json_boolean(r->srv->viewer && !*set->viewer_url));
	fg_str_fini(&viewer);
	link = fg_status_link(r->srv, r->grant->layers, base);
	json_object_set_new(j, "url", json_string(base));
	json_object_set_new(j, "neuroglancer", json_string(link));
	free(link);
	if (!fg_access_sees_all(r)) {
		show_part(r, j, "layers", "name");
		show_part(r, j, "tasks", "layer");
		show_part(r, j, "jobs", "layer");
		show_part(r, j, "recent", "layer");
	}
	return j;
}

/* On an io thread. */
static void
status_work(struct fg_request *r)
{
	struct fg_server *s = r->srv;
	int64_t start = fg_clock_ns(), end;
	json_t *j, *old;
	bool mine;

	j = kept_status(s, &mine);
	if (mine) {
		j = make_status(s);
		end = fg_clock_ns();
		pthread_mutex_lock(&s->status_lock);
		old = s->status;
		s->status = json_incref(j);
		s->status_until_ns = end + FG_MAX(FG_NS_PER_S / 2, 20 * (end - start));
		s->status_busy = false;
		pthread_mutex_unlock(&s->status_lock);
		json_decref(old);
	}
	fg_reply_json(r, 200, status_for(r, j));
	json_decref(j);
}

void
fg_status_handle(struct fg_request *r)
{
	fg_request_work(r, FG_RES_IO, status_work, NULL);
}
