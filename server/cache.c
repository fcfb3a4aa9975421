/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The RAM cache. A stripe is a hash table of chains with one list by time of use; both
 * are guarded by the stripe's lock, which is held for pointer work only (freeing
 * buffers happens after it is released).
 */
#include "config.h"

#include "server/cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"

#define STRIPES 16
#define OVERHEAD 160 /* bytes of malloc and bookkeeping per entry, roughly */

struct entry {
	struct fg_cache_key key;
	struct fg_cached value;
	struct entry *chain;
	struct entry *newer, *older;
};

struct stripe {
	pthread_mutex_t lock;
	/* all guarded by lock */
	struct entry **bucket;
	size_t buckets; /* a power of two */
	struct entry *newest, *oldest;
	uint64_t entries, bytes, hits, misses, evicted;
};

struct fg_cache {
	_Atomic uint64_t limit; /* per stripe */
	struct stripe stripe[STRIPES];
};

struct fg_cache *
fg_cache_new(uint64_t bytes)
{
	struct fg_cache *c = fg_calloc(1, sizeof *c);

	atomic_store(&c->limit, bytes / STRIPES);
	for (int i = 0; i < STRIPES; i++) {
		pthread_mutex_init(&c->stripe[i].lock, NULL);
		c->stripe[i].buckets = 64;
		c->stripe[i].bucket = fg_calloc(64, sizeof(struct entry *));
	}
	return c;
}

void
fg_cache_set_limit(struct fg_cache *c, uint64_t bytes)
{
	atomic_store(&c->limit, bytes / STRIPES);
}

static void
free_entry(struct entry *e)
{
	fg_buf_unref(e->value.bytes);
	free(e);
}

void
fg_cache_free(struct fg_cache *c)
{
	if (!c)
		return;
	for (int i = 0; i < STRIPES; i++) {
		struct stripe *s = &c->stripe[i];

		for (struct entry *e = s->newest, *next; e; e = next) {
			next = e->older;
			free_entry(e);
		}
		free(s->bucket);
		pthread_mutex_destroy(&s->lock);
	}
	free(c);
}

static uint64_t
hash_key(const struct fg_cache_key *k)
{
	uint64_t words[4] = {k->key.layer, k->key.at, k->salt,
	    (uint64_t)k->key.kind << 16 | (uint64_t)k->key.scale << 8 | k->coding};

	return fg_hash64(words, sizeof words);
}

static bool
same_key(const struct fg_cache_key *a, const struct fg_cache_key *b)
{
	return fg_key_equal(&a->key, &b->key) && a->coding == b->coding &&
	       a->salt == b->salt;
}

static struct entry **
bucket_of(struct stripe *s, uint64_t hash)
{
	/* The low bits chose the stripe. */
	return &s->bucket[(hash >> 8) & (s->buckets - 1)];
}

static struct entry *
find(struct stripe *s, const struct fg_cache_key *k, uint64_t hash)
{
	struct entry *e = *bucket_of(s, hash);

	while (e && !same_key(&e->key, k))
		e = e->chain;
	return e;
}

static void
unlink_use(struct stripe *s, struct entry *e)
{
	if (e->newer)
		e->newer->older = e->older;
	else
		s->newest = e->older;
	if (e->older)
		e->older->newer = e->newer;
	else
		s->oldest = e->newer;
}

static void
link_newest(struct stripe *s, struct entry *e)
{
	e->newer = NULL;
	e->older = s->newest;
	if (s->newest)
		s->newest->newer = e;
	else
		s->oldest = e;
	s->newest = e;
}

bool
fg_cache_get(struct fg_cache *c, const struct fg_cache_key *key, struct fg_cached *out)
{
	uint64_t hash = hash_key(key);
	struct stripe *s = &c->stripe[hash % STRIPES];
	struct entry *e;

	pthread_mutex_lock(&s->lock);
	e = find(s, key, hash);
	if (e) {
		*out = e->value;
		fg_buf_ref(out->bytes);
		unlink_use(s, e);
		link_newest(s, e);
		s->hits++;
	} else {
		s->misses++;
	}
	pthread_mutex_unlock(&s->lock);
	return e != NULL;
}

static uint64_t
cost(const struct entry *e)
{
	return e->value.bytes->len + OVERHEAD;
}

/* Take the entry out of table and list. */
static void
take_out(struct stripe *s, struct entry *e)
{
	struct entry **p = bucket_of(s, hash_key(&e->key));

	while (*p != e)
		p = &(*p)->chain;
	*p = e->chain;
	unlink_use(s, e);
	s->entries--;
	s->bytes -= cost(e);
}

/* Twice the buckets once chains are longer than two on average. The table is at most
 * a few hundred kilobytes: entries are chunks. */
static void
grow(struct stripe *s)
{
	size_t n = s->buckets * 2;
	struct entry **old = s->bucket;

	if (s->entries < s->buckets * 2)
		return;
	s->bucket = fg_calloc(n, sizeof(struct entry *));
	s->buckets = n;
	for (struct entry *e = s->newest; e; e = e->older) {
		struct entry **p = bucket_of(s, hash_key(&e->key));

		e->chain = *p;
		*p = e;
	}
	free(old);
}

void
fg_cache_put(struct fg_cache *c, const struct fg_cache_key *key,
    const struct fg_cached *in)
{
	uint64_t hash = hash_key(key), limit = atomic_load(&c->limit);
	struct stripe *s = &c->stripe[hash % STRIPES];
	struct entry *e, *gone = NULL, **p;

	if (in->bytes->len + OVERHEAD > limit)
		return;
	e = fg_calloc(1, sizeof *e);
	e->key = *key;
	e->value = *in;
	fg_buf_ref(in->bytes);
	pthread_mutex_lock(&s->lock);
	if (find(s, key, hash)) {
		e->chain = gone;
		gone = e;
	} else {
		while (s->oldest && s->bytes + cost(e) > limit) {
			struct entry *victim = s->oldest;

			take_out(s, victim);
			s->evicted++;
			victim->chain = gone;
			gone = victim;
		}
		p = bucket_of(s, hash);
		e->chain = *p;
		*p = e;
		link_newest(s, e);
		s->entries++;
		s->bytes += cost(e);
		grow(s);
	}
	pthread_mutex_unlock(&s->lock);
	for (struct entry *next; gone; gone = next) {
		next = gone->chain;
		free_entry(gone);
	}
}

void
fg_cache_get_stats(struct fg_cache *c, struct fg_cache_stats *out)
{
	memset(out, 0, sizeof *out);
	out->limit = c->limit * STRIPES;
	for (int i = 0; i < STRIPES; i++) {
		struct stripe *s = &c->stripe[i];

		pthread_mutex_lock(&s->lock);
		out->hits += s->hits;
		out->misses += s->misses;
		out->evicted += s->evicted;
		out->entries += s->entries;
		out->bytes += s->bytes;
		pthread_mutex_unlock(&s->lock);
	}
}
