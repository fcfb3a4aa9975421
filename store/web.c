/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of upstreams through the cache: look all up, fetch what is missing or old in
 * one go, keep what came. Parts are kept under their version, so that bytes of two
 * versions of a shard never meet.
 */
#include "config.h"

#include "store/web.h"

#include <stdlib.h>

#include "base/clock.h"

struct fg_web {
	struct fg_fetcher *fetcher;
	struct fg_webcache *cache; /* NULL: none */
	struct fg_flights *flights;
	int64_t fresh_ms;
	_Atomic uint64_t hits, misses, stale;
};

struct fg_web *
fg_web_new(const struct fg_web_options *opt, struct fg_err *err)
{
	struct fg_web *w = fg_calloc(1, sizeof *w);

	w->fetcher = fg_fetcher_new(opt ? &opt->fetch : NULL, err);
	if (!w->fetcher) {
		free(w);
		return NULL;
	}
	w->flights = fg_flights_new();
	w->fresh_ms = opt && opt->fresh_ms >= 0 ? opt->fresh_ms : 600 * 1000;
	if (opt && opt->cache_path && opt->cache_bytes > 0)
		w->cache = fg_webcache_new(opt->cache_path, opt->cache_bytes);
	return w;
}

void
fg_web_free(struct fg_web *w)
{
	if (!w)
		return;
	fg_fetcher_free(w->fetcher);
	fg_webcache_free(w->cache);
	fg_flights_free(w->flights);
	free(w);
}

void
fg_web_stop(struct fg_web *w)
{
	if (w)
		fg_fetcher_stop(w->fetcher);
}

void
fg_web_get_stats(struct fg_web *w, struct fg_web_stats *out)
{
	*out = (struct fg_web_stats){0};
	if (!w)
		return;
	out->hits = w->hits;
	out->misses = w->misses;
	out->stale = w->stale;
	fg_fetcher_get_stats(w->fetcher, &out->fetch);
	fg_webcache_get_stats(w->cache, &out->cache);
}

/* A part of a known version never changes; anything else is of its URL. free(). */
static char *
key_of(const struct fg_web_file *f)
{
	if (!f->ranged)
		return fg_strdup(f->url);
	return fg_asprintf("%s\n%llu+%llu\n%s", f->url, (unsigned long long)f->off,
	    (unsigned long long)f->len, f->same_tag ? f->same_tag : "");
}

void
fg_web_drop(struct fg_web *w, const struct fg_web_file *f)
{
	char *key = key_of(f);

	fg_webcache_drop(w->cache, key);
	free(key);
}

static void
use(struct fg_web_file *f, const struct fg_webcached *c)
{
	f->absent = c->absent;
	f->bytes = c->bytes;
	f->coding = c->coding;
	f->size = c->size;
	memcpy(f->tag, c->tag, sizeof f->tag);
}

/* A file on its way. */
struct way {
	struct fg_web_file *f;
	struct fg_fetch *fetch;
	char *key;
	bool cached; /* old is filled */
	struct fg_webcached old;
};

/* From the cache; else what has to be fetched. True if nothing has to. */
static bool
look_up(struct fg_web *w, struct fg_web_file *f, struct way *way)
{
	int64_t now = fg_clock_wall_ms();
	bool pinned = f->ranged && f->same_tag && fg_fetch_tag_is_strong(f->same_tag);

	*way = (struct way){.f = f, .key = key_of(f)};
	if (f->loose)
		return false;
	way->cached = fg_webcache_get(w->cache, way->key, &way->old);
	if (way->cached && way->old.bytes &&
	    (way->old.bytes->len > f->limit ||
		(f->ranged && way->old.bytes->len != f->len))) {
		fg_buf_unref(way->old.bytes);
		way->cached = false;
	}
	if (way->cached && (pinned || (now - way->old.checked_ms < w->fresh_ms &&
					  now >= way->old.checked_ms))) {
		w->hits++;
		use(f, &way->old);
		free(way->key);
		return true;
	}
	return false;
}

static void
describe(const struct way *way, struct fg_fetch *t)
{
	const struct fg_web_file *f = way->f;

	*t = (struct fg_fetch){
	    .url = f->url,
	    .ranged = f->ranged,
	    .off = f->off,
	    .len = f->len,
	    .if_tag =
		way->cached && way->old.bytes && way->old.tag[0] ? way->old.tag : NULL,
	    .same_tag = f->same_tag,
	    .limit = f->limit,
	    .anywhere = f->anywhere,
	    .denied_is_absent = f->denied_is_absent,
	    .key = f->key,
	    .bearer = f->bearer,
	};
}

static void
keep(struct fg_web *w, const struct way *way)
{
	struct fg_webcached c = {
	    .absent = way->f->absent,
	    .bytes = way->f->bytes,
	    .coding = way->f->coding,
	    .size = way->f->size,
	    .checked_ms = fg_clock_wall_ms(),
	};

	memcpy(c.tag, way->f->tag, sizeof c.tag);
	if (!way->f->loose)
		fg_webcache_put(w->cache, way->key, &c);
}

static void
take_bytes(struct fg_web *w, struct way *way, struct fg_fetch *t)
{
	struct fg_web_file *f = way->f;

	f->coding = t->coding;
	f->size = t->size;
	memcpy(f->tag, t->tag, sizeof f->tag);
	if (f->check && f->check(f->ctx, t->body, t->coding, &f->err) < 0) {
		fg_buf_unref(t->body);
		return;
	}
	f->bytes = t->body;
	if (!t->no_store)
		keep(w, way);
}

/* The end of one fetch becomes the end of its file. */
static void
take(struct fg_web *w, struct way *way, struct fg_fetch *t)
{
	struct fg_web_file *f = way->f;
	bool old = way->cached && way->old.bytes;

	switch (t->got) {
	case FG_FETCHED_BYTES:
		take_bytes(w, way, t);
		break;
	case FG_FETCHED_SAME:
		use(f, &way->old);
		way->old.bytes = NULL;
		fg_webcache_confirm(w->cache, way->key, fg_clock_wall_ms());
		break;
	case FG_FETCHED_ABSENT:
		f->absent = true;
		keep(w, way);
		break;
	case FG_FETCHED_OTHER:
		f->changed = true;
		break;
	case FG_FETCHED_NOTHING:
		if (old && t->err.code == FG_EIO) {
			use(f, &way->old);
			way->old.bytes = NULL;
			w->stale++;
		} else {
			f->err = t->err;
		}
		break;
	}
}

static void
clear_found(struct fg_web_file *f)
{
	f->bytes = NULL;
	f->absent = f->changed = false;
	f->tag[0] = '\0';
	f->size = UINT64_MAX;
	f->coding = FG_CODING_NONE;
	fg_err_clear(&f->err);
}

bool
fg_web_look(struct fg_web *w, struct fg_web_file *f)
{
	struct way way;

	clear_found(f);
	if (look_up(w, f, &way))
		return true;
	if (way.cached)
		fg_buf_unref(way.old.bytes);
	free(way.key);
	w->misses++;
	return false;
}

void
fg_web_keep(struct fg_web *w, const struct fg_web_file *f)
{
	struct way way = {.f = (struct fg_web_file *)f, .key = key_of(f)};

	keep(w, &way);
	free(way.key);
}

struct fg_flights *
fg_web_flights(struct fg_web *w)
{
	return w->flights;
}

/* ------------------------------------------------------------- one fetch for all */

/* Who asks with other rights or judges the bytes in another way asks for himself. */
static struct fg_flight *
join(struct fg_web *w, const struct fg_web_file *f, bool *lead)
{
	char *key = key_of(f), *full;
	struct fg_flight *flight;

	full = fg_asprintf("%s\n%d%d%d%d%d %zu", key, f->anywhere, f->denied_is_absent,
	    f->key != NULL, f->bearer != NULL, f->check != NULL, f->limit);
	flight = fg_flight_join(w->flights, full, lead);
	free(full);
	free(key);
	return flight;
}

static void
land(struct fg_web *w, struct fg_flight *flight, const struct fg_web_file *f)
{
	struct fg_landed r = {.bytes = f->bytes,
	    .absent = f->absent,
	    .changed = f->changed,
	    .coding = (int)f->coding,
	    .size = f->size,
	    .err = f->err};

	memcpy(r.tag, f->tag, sizeof r.tag);
	fg_flight_land(w->flights, flight, &r);
}

static void
follow(struct fg_web *w, struct fg_flight *flight, struct fg_web_file *f)
{
	const struct fg_landed *r = fg_flight_wait(w->flights, flight);

	f->bytes = r->bytes ? fg_buf_ref(r->bytes) : NULL;
	f->absent = r->absent;
	f->changed = r->changed;
	f->coding = (enum fg_coding)r->coding;
	f->size = r->size;
	memcpy(f->tag, r->tag, sizeof f->tag);
	f->err = r->err;
}

/* What is neither in the cache nor on its way to another thread. */
static void
fetch_all(struct fg_web *w, struct way *way, size_t n)
{
	struct fg_fetch *fetch = fg_calloc(n + 1, sizeof *fetch);

	w->misses += n;
	for (size_t i = 0; i < n; i++)
		describe(&way[i], &fetch[i]);
	fg_fetch_run(w->fetcher, fetch, n);
	for (size_t i = 0; i < n; i++) {
		take(w, &way[i], &fetch[i]);
		if (way[i].cached)
			fg_buf_unref(way[i].old.bytes);
		free(way[i].key);
	}
	free(fetch);
}

int
fg_web_get(struct fg_web *w, struct fg_web_file *f, size_t n, struct fg_err *err)
{
	struct fg_flight **flight = fg_calloc(n + 1, sizeof *flight);
	struct way *way = fg_calloc(n + 1, sizeof *way);
	bool *lead = fg_calloc(n + 1, sizeof *lead);
	bool *flies = fg_calloc(n + 1, sizeof *flies);
	size_t missing = 0;
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		clear_found(&f[i]);
		lead[i] = true;
		/* Before the cache is asked: who leads the next flight then finds there
		 * what this one brought. */
		if (!f[i].loose)
			flight[i] = join(w, &f[i], &lead[i]);
		if (!lead[i])
			continue;
		if (!look_up(w, &f[i], &way[missing])) {
			missing++;
			flies[i] = flight[i] != NULL;
		} else if (flight[i]) { /* nobody waits for what the others take */
			land(w, flight[i], &f[i]);
		}
	}
	fetch_all(w, way, missing);
	for (size_t i = 0; i < n; i++) {
		if (flies[i])
			land(w, flight[i], &f[i]);
	}
	for (size_t i = 0; i < n; i++) {
		if (!lead[i])
			follow(w, flight[i], &f[i]);
		if (flight[i])
			fg_flight_leave(w->flights, flight[i]);
	}
	free(flight);
	free(way);
	free(lead);
	free(flies);
	for (size_t i = 0; i < n && rc == 0; i++) {
		if (f[i].err.code != FG_OK)
			rc = fg_fail(err, f[i].err.code, "%s", f[i].err.msg);
	}
	return rc;
}
