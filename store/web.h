/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files of upstreams, read through a cache: what remote sources are made of. One for
 * all sources of a process, so that they share connections and the cache's bound.
 *
 * An entry younger than `fresh_ms` is used without asking. An older one is asked about
 * by its tag, and used also when the upstream does not answer (a viewer goes on with
 * what it saw), unless it says that there is no such file. Threads that want the same
 * file at the same time share one request (store/flight.h), unless it is loose.
 */
#ifndef FG_STORE_WEB_H
#define FG_STORE_WEB_H

#include "store/fetch.h"
#include "store/flight.h"
#include "store/webcache.h"

struct fg_web;

struct fg_web_options {
	const char *cache_path; /* NULL: nothing is kept on disk */
	uint64_t cache_bytes;   /* 0: nothing */
	int64_t fresh_ms;       /* negative: 10 minutes */
	struct fg_fetch_options fetch;
};

struct fg_web *fg_web_new(const struct fg_web_options *opt,
    struct fg_err *err) FG_MUST_USE;
/* No source may use it any more. */
void fg_web_free(struct fg_web *w);
/* Whoever waits for an upstream ends now, as cancelled; nothing is fetched any more. */
void fg_web_stop(struct fg_web *w);

/* One file, or one part of one, as stored. */
struct fg_web_file {
	/* Wanted; strings are the caller's. */
	const char *url;
	bool ranged;
	uint64_t off, len;
	const char *same_tag; /* only of this version; NULL: any */
	size_t limit;
	bool loose; /* neither looked for in the cache nor kept there */
	bool anywhere, denied_is_absent;
	const struct fg_sigv4_key *key;
	const char *bearer;
	/* Called with bytes from an upstream before they are kept, with the coding they
	 * have: -1 keeps them out of the cache and fails the file. May be NULL. */
	int (*check)(void *ctx, const struct fg_buf *b, enum fg_coding c,
	    struct fg_err *err);
	void *ctx;

	/* Found. */
	struct fg_buf *bytes; /* one reference; NULL: absent, changed or failed */
	bool absent, changed; /* changed: not the version of same_tag any more */
	enum fg_coding coding;
	uint64_t size; /* of the whole file; UINT64_MAX: not told */
	char tag[FG_TAG_MAX];
	struct fg_err err;
};

/* All of them, from the cache or at once from upstream. Returns -1 if any failed, with
 * the first failure in *err. */
int fg_web_get(struct fg_web *w, struct fg_web_file *f, size_t n,
    struct fg_err *err) FG_MUST_USE;
/* The three steps by themselves, for what is fetched in other portions than it is kept:
 * a part of a known version, from the cache alone (true: found); keeping it (bytes,
 * size and tag filled); and forgetting one, whole or part. */
bool fg_web_look(struct fg_web *w, struct fg_web_file *f);
void fg_web_keep(struct fg_web *w, const struct fg_web_file *f);
void fg_web_drop(struct fg_web *w, const struct fg_web_file *f);

/* For others who fetch by way of `w` and want to share what they make of it. */
struct fg_flights *fg_web_flights(struct fg_web *w);

struct fg_web_stats {
	uint64_t hits, misses,
	    stale; /* stale: served old since upstream did not answer */
	struct fg_fetch_stats fetch;
	struct fg_webcache_stats cache;
};
void fg_web_get_stats(struct fg_web *w, struct fg_web_stats *out);

#endif
