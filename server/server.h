/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's parts in one struct, and its life: start, drain, stop.
 *
 * Order of start: store, catalogue, scheduler, planner (jobs go on), events, watch,
 * HTTP (TCP and control socket). Order of stop: refuse new work (new requests are
 * answered 503), let running work end until the deadline, wake every waiter, wait until
 * every parked request is answered, stop HTTP, then the rest in reverse.
 */
#ifndef FG_SERVER_SERVER_H
#define FG_SERVER_SERVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "server/access.h"
#include "server/cache.h"
#include "server/clients.h"
#include "server/metrics.h"
#include "server/settings.h"
#include "server/watch.h"
#include "work/catalog.h"
#include "work/sched.h"

struct fg_accept;
struct fg_events;
struct fg_plan;
struct fg_viewer;
struct MHD_Daemon;

struct fg_server {
	/* Replaced as a whole by a reload, and kept until the end: a pointer that was
	 * read stays good. Read it once per decision. */
	_Atomic(const struct fg_settings *) set;
	_Atomic(const char *) hosts; /* setting `hosts` and our own names */
	struct fg_access *access;
	struct fg_store *store;
	struct fg_catalog *catalog;
	struct fg_sched *sched;
	struct fg_cache *cache;
	struct fg_parts *parts;
	struct fg_clients *clients;
	struct fg_watch *watch;
	struct fg_plan *plan;
	struct fg_events *events;
	struct fg_viewer *viewer; /* NULL: there is none */
	struct fg_metrics metrics;
	/* tcp is asked for its connections while it starts */
	struct fg_accept *_Atomic tcp;
	struct MHD_Daemon *control;
	pthread_key_t reader; /* struct fg_reader of this thread */
	pthread_key_t spare;  /* its memory for the next request (http.c) */
	char own_host[96];    /* the address listened on, as in a Host header */
	char url[128];        /* "http://127.0.0.1:8080" */
	/* all that `set` (after a reload) and `hosts` were, owned */
	struct fg_settings **old_set;
	size_t old_sets;
	char **old_text;
	size_t old_texts;
	char run_id[9]; /* first half of request ids: differs between runs */
	char *control_path;
	int64_t start_ns;
	_Atomic uint64_t requests;
	_Atomic int64_t active;
	_Atomic bool draining;
	_Atomic int previews;    /* slices being drawn */
	_Atomic bool compacting; /* one at a time */
	/* the status text is kept for a while: counting rows costs */
	pthread_mutex_t status_lock;
	/* guarded by status_lock */
	json_t *status; /* nobody changes it */
	int64_t status_until_ns;
	bool status_busy;
};

/* Open everything and begin to serve. root: the data directory; create: make it if
 * there is none. `set` is kept, not owned. Fails with a sentence for the operator. */
struct fg_server *fg_server_start(const char *root, bool create,
    const struct fg_settings *set, struct fg_err *err) FG_MUST_USE;

/* Drain and stop as described above; frees s. */
void fg_server_stop(struct fg_server *s);

/*
 * Go on with other settings: takes `set` (malloc'ed) also on failure. What may not
 * change while the daemon runs stays as it is. Tokens and certificates are read again
 * in any case. Logs what was reloaded and what needs a restart. On failure nothing has
 * changed. One thread at a time.
 */
int fg_server_reload(struct fg_server *s, struct fg_settings *set,
    struct fg_err *err) FG_MUST_USE;

/* Whether the daemon answers: a request of its own through the control socket, within a
 * few seconds, and the scheduler's lock. For the watchdog. */
bool fg_server_is_alive(struct fg_server *s);

/* The URL that clients know: public_url, else the address listened on. */
const char *fg_server_url(struct fg_server *s);

/* The calling thread's index reader (opened at its first use), or NULL. */
struct fg_reader *fg_server_reader(struct fg_server *s, struct fg_err *err);

/* ------------------------------------------------------------- listen.c */

int fg_http_start(struct fg_server *s, struct fg_err *err) FG_MUST_USE;
/* Until every request is answered, or the deadline (monotonic ns). */
void fg_http_drain(struct fg_server *s, int64_t deadline_ns);
void fg_http_stop(struct fg_server *s);
uint64_t fg_http_connections(struct fg_server *s);

/* Make s->hosts anew from the settings (live.c). */
void fg_server_set_hosts(struct fg_server *s);

/* ------------------------------------------------------------- status.c */

/* Fill in what other parts own. */
void fg_status_gauges(struct fg_server *s, struct fg_metrics_now *now);
/* A Neuroglancer link that shows the layers that the patterns let through, sources
 * under `base`. free(). */
char *fg_status_link(struct fg_server *s, const char *layers,
    const char *base) FG_MUST_USE;

#endif
