/* SPDX-License-Identifier: Apache-2.0 */
/* Start and stop of the daemon's parts, in the order that the header gives. */
#include "config.h"

#include "server/server.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "seg/plugin.h"
#include "server/events.h"
#include "server/parts.h"
#include "server/tls.h"
#include "server/viewer.h"
#include "work/plan.h"

static void
close_reader(void *reader)
{
	fg_reader_close(reader);
}

struct fg_reader *
fg_server_reader(struct fg_server *s, struct fg_err *err)
{
	struct fg_reader *r = pthread_getspecific(s->reader);

	if (!r) {
		r = fg_reader_open(s->store, err);
		if (r)
			pthread_setspecific(s->reader, r);
	}
	return r;
}

static int
start_parts(struct fg_server *s, const char *root, bool create, struct fg_err *err)
{
	const struct fg_settings *set = s->set;
	struct fg_store_options store = {
	    .index_dir = *set->index_dir ? set->index_dir : NULL,
	    /* 0 means the store's default there, "nothing is kept" here. */
	    .min_free = set->min_free > 0 ? set->min_free / 100 : 1e-9,
	};
	struct fg_catalog_options catalog = {
	    .section_bytes = (size_t)set->sections_mb << 20,
	    .web =
		{
		    .cache_bytes = (uint64_t)set->upstream_cache_mb << 20,
		    .fresh_ms = set->upstream_fresh_s * 1000,
		    .fetch =
			{
			    .connections = (int)set->upstream_connections,
			    .connect_ms = (int64_t)(set->upstream_connect_s * 1000),
			    .stall_ms = set->upstream_stall_s * 1000,
			    .total_ms = (int64_t)(set->upstream_total_s * 1000),
			    .tries = (int)set->upstream_tries,
			},
		},
	};
	struct fg_sched_options sched = {
	    .io_threads = (int)set->io_threads,
	    .cpu_threads = (int)set->cpu_threads,
	    .net_threads = (int)set->net_threads,
	    .devices = *set->devices ? set->devices : NULL,
	    .queue_s = (int)set->queue_s,
	    .bulk_every = (int)set->bulk_every,
	    .attempts = (int)set->attempts,
	    .retry_ms = (int)set->retry_ms,
	    .skeleton_whole = (int64_t)(set->skeleton_whole_mvx * 1e6),
	    .skeleton_vertices = (uint64_t)(set->skeleton_max_mvert * 1e6),
	    .mesh = {.piece_bytes = (size_t)set->mesh_piece_mb << 20,
		.levels_bytes = (size_t)set->mesh_levels_mb << 20,
		.triangles = (uint64_t)(set->mesh_max_mtri * 1e6)},
	    .mesh_keep_ms = set->mesh_keep_s * 1000,
	};

	if (*set->plugin_dir)
		fg_plugins_search(set->plugin_dir);
	s->store =
	    fg_store_open(root, create ? FG_STORE_CREATE : FG_STORE_WRITE, &store, err);
	if (!s->store)
		return -1;
	s->catalog = fg_catalog_open_with(s->store, &catalog, err);
	if (!s->catalog)
		return -1;
	s->sched = fg_sched_new(s->store, s->catalog, &sched, err);
	if (!s->sched)
		return -1;
	s->plan = fg_plan_new(s->store, s->catalog, s->sched, (int)set->jobs_max, err);
	s->events = s->plan ? fg_events_new(s, err) : NULL;
	if (!s->events)
		return -1;
	s->watch = fg_watch_new(err);
	if (!s->watch)
		return -1;
	return fg_http_start(s, err);
}

struct fg_server *
fg_server_start(const char *root, bool create, const struct fg_settings *set,
    struct fg_err *err)
{
	struct fg_server *s = fg_calloc(1, sizeof *s);
	struct fg_clients_limits limits = {
	    .held = set->parked_per_client,
	    .waits = set->waits_per_client,
	    .all = set->parked_max,
	};

	s->set = set;
	s->start_ns = fg_clock_ns();
	pthread_mutex_init(&s->status_lock, NULL);
	fg_assert(pthread_key_create(&s->reader, close_reader) == 0);
	fg_assert(pthread_key_create(&s->spare, free) == 0);
	s->cache = fg_cache_new((uint64_t)set->cache_mb << 20);
	s->clients = fg_clients_new(&limits);
	s->parts = fg_parts_new();
	s->access = fg_access_new(set, err);
	if (!s->access || fg_viewer_load(set->viewer_dir, &s->viewer, err) < 0 ||
	    start_parts(s, root, create, err) < 0) {
		fg_server_stop(s);
		return NULL;
	}
	return s;
}

/* The reader of the calling thread: its destructor runs only when a thread ends, and
 * the main thread ends after the store is closed. */
static void
drop_own_reader(struct fg_server *s)
{
	struct fg_reader *r = pthread_getspecific(s->reader);

	if (r)
		fg_reader_close(r);
	pthread_setspecific(s->reader, NULL);
}

static void
free_old(struct fg_server *s)
{
	for (size_t i = 0; i < s->old_sets; i++) {
		fg_settings_fini(s->old_set[i]);
		free(s->old_set[i]);
	}
	for (size_t i = 0; i < s->old_texts; i++)
		free(s->old_text[i]);
	free(s->old_set);
	free(s->old_text);
}

void
fg_server_stop(struct fg_server *s)
{
	int64_t deadline = fg_clock_ns() + atomic_load(&s->set)->drain_s * FG_NS_PER_S;

	atomic_store(&s->draining, true);
	fg_plan_stop(s->plan);
	fg_events_close(s->events);
	fg_catalog_stop(s->catalog);
	if (s->sched)
		fg_sched_stop(s->sched, deadline);
	/* Every waiter was woken: what is active now only has to be sent. A client that
	 * does not read its answer is given up. */
	fg_http_drain(s, fg_clock_ns() + FG_NS_PER_S);
	fg_http_stop(s);
	fg_events_free(s->events);
	fg_plan_free(s->plan);
	fg_watch_free(s->watch);
	fg_sched_free(s->sched);
	drop_own_reader(s);
	pthread_key_delete(s->reader);
	free(pthread_getspecific(s->spare));
	pthread_key_delete(s->spare);
	fg_catalog_close(s->catalog);
	fg_store_close(s->store);
	fg_cache_free(s->cache);
	fg_assert(fg_clients_parked(s->clients) == 0);
	fg_clients_free(s->clients);
	fg_viewer_free(s->viewer);
	fg_parts_free(s->parts);
	fg_access_free(s->access);
	fg_tls_free();
	json_decref(s->status);
	pthread_mutex_destroy(&s->status_lock);
	free_old(s);
	free(s->control_path);
	free(s);
}
