/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoded chunks in memory: least recently used ones leave when the bound is reached.
 * Locks are striped by key, each stripe has an equal part of the bytes. Any thread.
 *
 * An entry is immutable bytes with the entity tag of its identity form. The same chunk
 * is there once per content coding in which it was asked for.
 */
#ifndef FG_SERVER_CACHE_H
#define FG_SERVER_CACHE_H

#include "base/buf.h"
#include "formats/codec.h"
#include "store/key.h"

struct fg_cache_key {
	struct fg_key key;
	uint8_t coding; /* enum fg_coding */
	/* Tells apart what one fg_key may stand for over time: a layer's uuid (row ids
	 * are used again after a removal), the place of a coarse chunk. */
	uint64_t salt;
};

struct fg_cached {
	struct fg_buf *bytes;
	uint64_t etag; /* hash of the identity bytes, also for other codings */
};

struct fg_cache;

/* `bytes` bounds payloads and bookkeeping; 0: nothing is ever kept. */
struct fg_cache *fg_cache_new(uint64_t bytes) FG_MUST_USE;
void fg_cache_free(struct fg_cache *c);

/* Another bound; entries beyond a smaller one leave as others are put. */
void fg_cache_set_limit(struct fg_cache *c, uint64_t bytes);

/* True with one reference in out->bytes. */
bool fg_cache_get(struct fg_cache *c, const struct fg_cache_key *key,
    struct fg_cached *out);
/* Keeps a reference of its own. What is there already stays. */
void fg_cache_put(struct fg_cache *c, const struct fg_cache_key *key,
    const struct fg_cached *in);

struct fg_cache_stats {
	uint64_t hits, misses, evicted; /* since start */
	uint64_t entries, bytes, limit; /* now */
};
void fg_cache_get_stats(struct fg_cache *c, struct fg_cache_stats *out);

#endif
