/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading single data out of shard files. The caller opens the file (it knows where
 * shards are and what may be opened); here are the two reads that find a datum in it,
 * and a cache of decoded minishard indices, so that the second chunk of a neighbourhood
 * costs one read instead of three.
 *
 * The cache is bounded in bytes, least recently used first out, and keyed by the file
 * as it is now (inode, size, time of change): a shard that was replaced is read anew.
 * Thread-safe; no lock is held while reading.
 */
#ifndef FG_STORE_SHARDS_H
#define FG_STORE_SHARDS_H

#include "base/buf.h"
#include "formats/shard.h"

struct fg_shards;

/* A cache of at most `bytes` bytes of decoded indices (one index larger than that is
 * used and not kept). */
struct fg_shards *fg_shards_new(size_t bytes) FG_MUST_USE;
void fg_shards_free(struct fg_shards *c);

/* The cache by itself, for shards that are no local files: an index by the version of
 * its file (five numbers of the caller's choice) and its minishard. */
struct fg_shards_key {
	uint64_t file[5], minishard;
};
struct fg_shards_entry;
/* A reference to a cached index, or NULL. */
struct fg_shards_entry *fg_shards_get(struct fg_shards *c,
    const struct fg_shards_key *key);
/* Keep an index, whose items are taken over; a reference to it. */
struct fg_shards_entry *fg_shards_put(struct fg_shards *c,
    const struct fg_shards_key *key, struct fg_minishard *index) FG_MUST_USE;
const struct fg_minishard *fg_shards_index(const struct fg_shards_entry *e);
void fg_shards_unref(struct fg_shards_entry *e);

/*
 * The datum of a key from the shard file that it belongs to, open as fd, decompressed
 * if the sharding says so; *out = NULL if the shard has no such key.
 *   name    for messages
 *   limit   largest datum, stored and decompressed
 * Fails: FG_ECORRUPT, FG_ENOTSUP, FG_EFULL (above limit), FG_EIO, FG_ENOMEM.
 */
int fg_shards_read(struct fg_shards *c, int fd, const char *name,
    const struct fg_sharding *s, uint64_t key, size_t limit, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;

#endif
