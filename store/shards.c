/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shard files, read: see the header. The cache is one doubly linked list, most recently
 * used first, and a hash table of chains over it. Entries are counted: one that is
 * dropped while a reader searches it is freed by that reader.
 */
#include "config.h"

#include "store/shards.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "formats/codec.h"

#define CHAINS 256

/* What stands where in the key of a local file: the file as it is now. */
enum { DEV, INO, SIZE, CHANGED_S, CHANGED_NS };

struct fg_shards_entry {
	_Atomic unsigned refs;
	struct fg_shards_key key;
	uint64_t hash;
	size_t bytes;
	struct fg_minishard index;
	struct fg_shards_entry *newer, *older, *chain; /* guarded by the cache's lock */
};

struct fg_shards {
	pthread_mutex_t lock;
	size_t limit;
	size_t bytes;                            /* guarded by lock */
	struct fg_shards_entry *newest, *oldest; /* guarded by lock */
	struct fg_shards_entry *chain[CHAINS];   /* guarded by lock */
};

struct fg_shards *
fg_shards_new(size_t bytes)
{
	struct fg_shards *c = fg_calloc(1, sizeof *c);

	c->limit = bytes;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

void
fg_shards_unref(struct fg_shards_entry *e)
{
	if (!e || atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel) != 1)
		return;
	fg_minishard_fini(&e->index);
	free(e);
}

void
fg_shards_free(struct fg_shards *c)
{
	if (!c)
		return;
	for (struct fg_shards_entry *e = c->newest, *next; e; e = next) {
		next = e->older;
		fg_shards_unref(e);
	}
	pthread_mutex_destroy(&c->lock);
	free(c);
}

/* ------------------------------------------------------------- the cache */

static void
unlink_age(struct fg_shards *c, struct fg_shards_entry *e)
{
	*(e->newer ? &e->newer->older : &c->newest) = e->older;
	*(e->older ? &e->older->newer : &c->oldest) = e->newer;
	e->newer = e->older = NULL;
}

static void
link_newest(struct fg_shards *c, struct fg_shards_entry *e)
{
	e->older = c->newest;
	*(c->newest ? &c->newest->newer : &c->oldest) = e;
	c->newest = e;
}

/* Take the entry out; the caller gets the cache's reference. */
static void
drop(struct fg_shards *c, struct fg_shards_entry *e)
{
	struct fg_shards_entry **at = &c->chain[e->hash % CHAINS];

	while (*at != e)
		at = &(*at)->chain;
	*at = e->chain;
	unlink_age(c, e);
	c->bytes -= e->bytes;
}

static struct fg_shards_entry *
look_up(struct fg_shards *c, const struct fg_shards_key *key, uint64_t hash)
{
	struct fg_shards_entry *e = c->chain[hash % CHAINS];

	while (e && (e->hash != hash || memcmp(&e->key, key, sizeof *key) != 0))
		e = e->chain;
	return e;
}

/* A reference to a cached index, or NULL. */
static struct fg_shards_entry *
cache_get(struct fg_shards *c, const struct fg_shards_key *key, uint64_t hash)
{
	struct fg_shards_entry *e;

	pthread_mutex_lock(&c->lock);
	e = look_up(c, key, hash);
	if (e) {
		atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
		unlink_age(c, e);
		link_newest(c, e);
	}
	pthread_mutex_unlock(&c->lock);
	return e;
}

/* Keep e as well, if there is room for it at all and nobody was faster. */
static void
cache_put(struct fg_shards *c, struct fg_shards_entry *e)
{
	struct fg_shards_entry *out = NULL;

	if (e->bytes > c->limit)
		return;
	pthread_mutex_lock(&c->lock);
	if (!look_up(c, &e->key, e->hash)) {
		atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
		e->chain = c->chain[e->hash % CHAINS];
		c->chain[e->hash % CHAINS] = e;
		link_newest(c, e);
		c->bytes += e->bytes;
		while (c->bytes > c->limit) {
			struct fg_shards_entry *old = c->oldest;

			drop(c, old);
			old->chain = out; /* free them without the lock */
			out = old;
		}
	}
	pthread_mutex_unlock(&c->lock);
	while (out) {
		struct fg_shards_entry *next = out->chain;

		fg_shards_unref(out);
		out = next;
	}
}

struct fg_shards_entry *
fg_shards_get(struct fg_shards *c, const struct fg_shards_key *key)
{
	return cache_get(c, key, fg_hash64(key, sizeof *key));
}

static struct fg_shards_entry *
new_entry(const struct fg_shards_key *key, uint64_t hash)
{
	struct fg_shards_entry *e = fg_calloc(1, sizeof *e);

	atomic_init(&e->refs, 1);
	e->key = *key;
	e->hash = hash;
	return e;
}

static void
keep(struct fg_shards *c, struct fg_shards_entry *e)
{
	e->bytes = sizeof *e + e->index.n * sizeof *e->index.item;
	cache_put(c, e);
}

struct fg_shards_entry *
fg_shards_put(struct fg_shards *c, const struct fg_shards_key *key,
    struct fg_minishard *index)
{
	struct fg_shards_entry *e = new_entry(key, fg_hash64(key, sizeof *key));

	e->index = *index;
	*index = (struct fg_minishard){0};
	keep(c, e);
	return e;
}

const struct fg_minishard *
fg_shards_index(const struct fg_shards_entry *e)
{
	return &e->index;
}

/* ------------------------------------------------------------- reading */

static int
read_range(int fd, const char *name, const struct fg_range64 *at, struct fg_buf **out,
    struct fg_err *err)
{
	struct fg_buf *b = fg_buf_new(at->len);

	if (!b)
		return fg_fail(err, FG_ENOMEM, "%s: no memory for %llu bytes", name,
		    (unsigned long long)at->len);
	if (fg_file_pread(fd, b->data, b->len, at->off, name, err) < 0) {
		fg_buf_unref(b);
		return -1;
	}
	*out = b;
	return 0;
}

/* Read and decode an index into e->index. An empty minishard is an index of no keys. */
static int
load(int fd, const char *name, const struct fg_sharding *s, struct fg_shards_entry *e,
    struct fg_err *err)
{
	const struct fg_shards_key *k = &e->key;
	struct fg_buf *b = NULL;
	struct fg_range64 at;
	uint8_t pair[16];
	int rc;

	if (k->file[SIZE] < fg_shard_head(s))
		return fg_fail(err, FG_ECORRUPT,
		    "%s has %llu bytes, its head alone has %llu", name,
		    (unsigned long long)k->file[SIZE],
		    (unsigned long long)fg_shard_head(s));
	if (fg_file_pread(fd, pair, sizeof pair, 16 * k->minishard, name, err) < 0)
		return -1;
	if (fg_shard_entry_decode(s, pair, k->minishard, k->file[SIZE], &at, err) < 0)
		return fg_err_prefix(err, "%s", name);
	if (at.len == 0)
		return 0;
	if (read_range(fd, name, &at, &b, err) < 0)
		return -1;
	rc = fg_minishard_decode(s, b->data, b->len, at.off, k->file[SIZE], &e->index,
	    err);
	if (rc < 0)
		fg_err_prefix(err, "%s: minishard %llu", name,
		    (unsigned long long)k->minishard);
	fg_buf_unref(b);
	return rc;
}

/* A reference to the index, from the cache or read now. */
static struct fg_shards_entry *
get_index(struct fg_shards *c, int fd, const char *name, const struct fg_sharding *s,
    const struct fg_shards_key *key, struct fg_err *err)
{
	uint64_t hash = fg_hash64(key, sizeof *key);
	struct fg_shards_entry *e = cache_get(c, key, hash);

	if (e)
		return e;
	e = new_entry(key, hash);
	if (load(fd, name, s, e, err) < 0) {
		fg_shards_unref(e);
		return NULL;
	}
	keep(c, e);
	return e;
}

static int
read_datum(int fd, const char *name, const struct fg_sharding *s,
    const struct fg_shard_item *it, size_t limit, struct fg_buf **out,
    struct fg_err *err)
{
	struct fg_range64 at = {it->off, it->len};
	struct fg_buf *b = NULL;
	int rc;

	if (it->len > limit)
		return fg_fail(err, FG_EFULL,
		    "%s: key %llu has %llu bytes, at most %zu are read", name,
		    (unsigned long long)it->key, (unsigned long long)it->len, limit);
	if (read_range(fd, name, &at, &b, err) < 0)
		return -1;
	if (!s->data_gzip) {
		*out = b;
		return 0;
	}
	rc = fg_decompress(FG_CODING_GZIP, b->data, b->len, limit, out, err);
	if (rc < 0)
		fg_err_prefix(err, "%s: key %llu", name, (unsigned long long)it->key);
	fg_buf_unref(b);
	return rc;
}

int
fg_shards_read(struct fg_shards *c, int fd, const char *name,
    const struct fg_sharding *s, uint64_t key, size_t limit, struct fg_buf **out,
    struct fg_err *err)
{
	const struct fg_shard_item *it;
	struct fg_shards_key k;
	struct fg_shards_entry *e;
	struct stat st;
	uint64_t shard;
	int rc = 0;

	if (fstat(fd, &st) < 0)
		return fg_fail_errno(err, "%s", name);
	k = (struct fg_shards_key){
	    .file =
		{
		    [DEV] = (uint64_t)st.st_dev,
		    [INO] = (uint64_t)st.st_ino,
		    [SIZE] = (uint64_t)st.st_size,
		    [CHANGED_S] = (uint64_t)st.st_mtim.tv_sec,
		    [CHANGED_NS] = (uint64_t)st.st_mtim.tv_nsec,
		},
	};
	fg_shard_locate(s, key, &shard, &k.minishard);
	e = get_index(c, fd, name, s, &k, err);
	if (!e)
		return -1;
	it = fg_minishard_find(&e->index, key);
	*out = NULL;
	if (it)
		rc = read_datum(fd, name, s, it, limit, out, err);
	fg_shards_unref(e);
	return rc;
}
