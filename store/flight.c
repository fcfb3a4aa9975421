/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flights under way are in one list: there are at most as many as threads wait for
 * upstreams, times what each asks for at once. A flight leaves the list when it lands
 * and is freed by the last of those who were on it.
 */
#include "config.h"

#include "store/flight.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"

#define BUCKETS 256

struct fg_flight {
	char *key;
	uint64_t hash;
	unsigned aboard;
	bool landed;
	struct fg_landed result;
	struct fg_flight *next;
};

struct fg_flights {
	pthread_mutex_t lock; /* of all below, and of the flights */
	pthread_cond_t landed;
	struct fg_flight *bucket[BUCKETS]; /* under way */
};

struct fg_flights *
fg_flights_new(void)
{
	struct fg_flights *s = fg_calloc(1, sizeof *s);

	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->landed, NULL);
	return s;
}

void
fg_flights_free(struct fg_flights *s)
{
	if (!s)
		return;
	pthread_cond_destroy(&s->landed);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

struct fg_flight *
fg_flight_join(struct fg_flights *s, const char *key, bool *lead)
{
	struct fg_flight *fresh = fg_calloc(1, sizeof *fresh), *f;

	fresh->key = fg_strdup(key);
	fresh->hash = fg_hash64(key, strlen(key));
	pthread_mutex_lock(&s->lock);
	f = s->bucket[fresh->hash % BUCKETS];
	while (f && (f->hash != fresh->hash || strcmp(f->key, key) != 0))
		f = f->next;
	*lead = f == NULL;
	if (!f) {
		f = fresh;
		f->next = s->bucket[f->hash % BUCKETS];
		s->bucket[f->hash % BUCKETS] = f;
		fresh = NULL;
	}
	f->aboard++;
	pthread_mutex_unlock(&s->lock);
	if (fresh) {
		free(fresh->key);
		free(fresh);
	}
	return f;
}

void
fg_flight_land(struct fg_flights *s, struct fg_flight *f, const struct fg_landed *r)
{
	struct fg_flight **at = &s->bucket[f->hash % BUCKETS];

	pthread_mutex_lock(&s->lock);
	fg_assert(!f->landed);
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	f->result = *r;
	if (r->bytes)
		fg_buf_ref(r->bytes);
	f->landed = true;
	pthread_cond_broadcast(&s->landed);
	pthread_mutex_unlock(&s->lock);
}

const struct fg_landed *
fg_flight_wait(struct fg_flights *s, struct fg_flight *f)
{
	pthread_mutex_lock(&s->lock);
	while (!f->landed)
		pthread_cond_wait(&s->landed, &s->lock);
	pthread_mutex_unlock(&s->lock);
	return &f->result;
}

void
fg_flight_leave(struct fg_flights *s, struct fg_flight *f)
{
	bool last;

	pthread_mutex_lock(&s->lock);
	last = --f->aboard == 0;
	pthread_mutex_unlock(&s->lock);
	if (!last)
		return;
	fg_assert(f->landed); /* its leader was aboard until then */
	fg_buf_unref(f->result.bytes);
	free(f->key);
	free(f);
}
