/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What was fetched from upstreams, on disk: one SQLite file that holds both the bytes
 * and the index of them, bounded in size, least recently used first out. It may be
 * deleted at any time; a power failure may lose its last entries, never mix them up.
 *
 * It is a file of its own beside the index of the data directory: rows that may be lost
 * must not cost the index's full sync.
 *
 * Thread-safe: connections are taken from a pool. Trouble with the file (disk full,
 * damage) turns the cache off and is logged once; nothing fails because of it.
 */
#ifndef FG_STORE_WEBCACHE_H
#define FG_STORE_WEBCACHE_H

#include "base/buf.h"
#include "formats/codec.h"
#include "store/fetch_head.h"

struct fg_webcache;

struct fg_webcached {
	bool absent;          /* upstream has no such file; bytes NULL */
	struct fg_buf *bytes; /* as sent */
	enum fg_coding coding;
	uint64_t size;        /* of the whole file; UINT64_MAX: not known */
	int64_t checked_ms;   /* wall clock: when upstream last said so */
	char tag[FG_TAG_MAX]; /* version, "" unknown */
};

/* limit: bytes of bodies and rows. The file is opened, and made, at the first use. */
struct fg_webcache *fg_webcache_new(const char *path, uint64_t limit) FG_MUST_USE;
void fg_webcache_free(struct fg_webcache *c);

/* key: any text. True: *out is filled, one reference in out->bytes. */
bool fg_webcache_get(struct fg_webcache *c, const char *key, struct fg_webcached *out);
/* Replace or add. Bodies larger than an eighth of the limit are not kept. */
void fg_webcache_put(struct fg_webcache *c, const char *key,
    const struct fg_webcached *in);
/* Upstream said again that the entry is right. */
void fg_webcache_confirm(struct fg_webcache *c, const char *key, int64_t now_ms);
void fg_webcache_drop(struct fg_webcache *c, const char *key);

struct fg_webcache_stats {
	uint64_t entries, bytes, limit, evicted;
	bool off; /* turned off by trouble with the file */
};
void fg_webcache_get_stats(struct fg_webcache *c, struct fg_webcache_stats *out);

#endif
