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

int
fg_web_get(struct fg_web *w, struct fg_web_file *f, size_t n, struct fg_err *err)
{
	struct way *way = fg_calloc(n + 1, sizeof *way);
	struct fg_fetch *fetch;
	size_t missing = 0;
	int rc = 0;

	for (size_t i = 0; i < n; i++) {
		clear_found(&f[i]);
		if (!look_up(w, &f[i], &way[missing]))
			missing++;
	}
	w->misses += missing;
	fetch = fg_calloc(missing + 1, sizeof *fetch);
	for (size_t i = 0; i < missing; i++)
		describe(&way[i], &fetch[i]);
	fg_fetch_run(w->fetcher, fetch, missing);
	for (size_t i = 0; i < missing; i++) {
		take(w, &way[i], &fetch[i]);
		if (way[i].cached)
			fg_buf_unref(way[i].old.bytes);
		free(way[i].key);
	}
	free(fetch);
	free(way);
	for (size_t i = 0; i < n && rc == 0; i++) {
		if (f[i].err.code != FG_OK)
			rc = fg_fail(err, f[i].err.code, "%s", f[i].err.msg);
	}
	return rc;
}
