/* SPDX-License-Identifier: Apache-2.0 */
/* The RAM cache: what is kept, what leaves, what keys tell apart, and many threads. */
#include "config.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"
#include "server/cache.h"
#include "tests/tap.h"

static struct fg_cache_key
key_of(uint64_t at)
{
	return (struct fg_cache_key){
	    .key = {.layer = 1, .kind = FG_KIND_CHUNK, .scale = 0, .at = at}};
}

static void
put(struct fg_cache *c, const struct fg_cache_key *key, size_t n, uint8_t fill)
{
	struct fg_cached v = {.bytes = fg_buf_new(n), .etag = fill};

	memset(v.bytes->data, fill, n);
	fg_cache_put(c, key, &v);
	fg_buf_unref(v.bytes);
}

/* First byte of the entry, -1 if there is none. */
static int
get(struct fg_cache *c, const struct fg_cache_key *key)
{
	struct fg_cached v;
	int byte;

	if (!fg_cache_get(c, key, &v))
		return -1;
	byte = v.etag == v.bytes->data[0] ? v.bytes->data[0] : -2;
	fg_buf_unref(v.bytes);
	return byte;
}

static void
keys(void)
{
	struct fg_cache *c = fg_cache_new(1 << 20);
	struct fg_cache_key k = key_of(5), other;

	tap_int(get(c, &k), -1, "empty at first");
	put(c, &k, 100, 7);
	tap_int(get(c, &k), 7, "what was put");
	put(c, &k, 100, 8);
	tap_int(get(c, &k), 7, "what is there stays");
	other = k;
	other.coding = FG_CODING_GZIP;
	tap_int(get(c, &other), -1, "another coding is another entry");
	other = k;
	other.salt = 1;
	tap_int(get(c, &other), -1, "another salt is another entry");
	other = k;
	other.key.scale = 1;
	tap_int(get(c, &other), -1, "another scale is another entry");
	other = k;
	other.key.layer = 2;
	tap_int(get(c, &other), -1, "another layer is another entry");
	fg_cache_free(c);
}

static void
bounds(void)
{
	struct fg_cache *c = fg_cache_new(16 * 10000);
	struct fg_cache_stats s;
	int kept = 0;

	for (uint64_t i = 0; i < 2000; i++) {
		struct fg_cache_key k = key_of(i), first = key_of(0);

		put(c, &k, 1000, (uint8_t)i);
		if (get(c, &first) == 0) /* used again and again: must not leave */
			kept++;
	}
	tap_int(kept, 2000, "an entry in use stays");
	fg_cache_get_stats(c, &s);
	tap_ok(s.bytes <= s.limit && s.limit <= 160000, "bytes stay within the limit");
	tap_ok(s.entries > 50, "and use it");
	tap_int(s.entries + s.evicted, 2000, "each entry is there or was counted out");
	{
		struct fg_cache_key k = key_of(9999);

		put(c, &k, 20000, 1);
		tap_int(get(c, &k), -1, "one larger than a stripe is not kept");
	}
	fg_cache_free(c);
	c = fg_cache_new(0);
	{
		struct fg_cache_key k = key_of(1);

		put(c, &k, 1, 1);
		tap_int(get(c, &k), -1, "a cache of nothing keeps nothing");
	}
	fg_cache_free(c);
}

static void *
hammer(void *ctx)
{
	struct fg_cache *c = ctx;
	uint64_t x = (uint64_t)(uintptr_t)&x, wrong = 0;

	for (int i = 0; i < 20000; i++) {
		struct fg_cache_key k;
		int got;

		x = fg_hash64(&x, sizeof x);
		k = key_of(x % 300);
		got = get(c, &k);
		if (got != -1 && got != (int)(x % 300 % 256))
			wrong++;
		if (got == -1)
			put(c, &k, 50 + x % 300, (uint8_t)(x % 300));
	}
	return (void *)(uintptr_t)wrong;
}

static void
threads(void)
{
	struct fg_cache *c = fg_cache_new(16 * 2000);
	pthread_t t[4];
	uintptr_t wrong = 0;

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, hammer, c);
	for (int i = 0; i < 4; i++) {
		void *w;

		pthread_join(t[i], &w);
		wrong += (uintptr_t)w;
	}
	tap_int(wrong, 0, "four threads never see another entry's bytes");
	fg_cache_free(c);
}

int
main(void)
{
	keys();
	bounds();
	threads();
	return tap_done();
}
