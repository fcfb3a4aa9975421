/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flights: who leads, what followers get, who may leave when. Threads wait on barriers
 * and on flights only; what must not happen would be seen in the counts, or by the
 * sanitizers (a result that is freed too early or never).
 */
#include "config.h"

#include "store/flight.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "tests/tap.h"

static struct fg_flights *flights;

/* One thread alone: leads, lands, leaves. */
static void
land_text(struct fg_flight *f, const char *text)
{
	struct fg_landed r = {.bytes = fg_buf_copy(text, strlen(text)),
	    .size = strlen(text)};

	fg_flight_land(flights, f, &r);
	fg_buf_unref(r.bytes);
}

static bool
holds(const struct fg_landed *r, const char *text)
{
	return r->err.code == FG_OK && r->bytes && r->bytes->len == strlen(text) &&
	       memcmp(r->bytes->data, text, r->bytes->len) == 0 &&
	       r->size == r->bytes->len;
}

static void
one_after_another(void)
{
	bool lead[4];
	struct fg_flight *a = fg_flight_join(flights, "a", &lead[0]);
	struct fg_flight *b = fg_flight_join(flights, "b", &lead[1]);
	struct fg_flight *same = fg_flight_join(flights, "a", &lead[2]);
	struct fg_flight *again;

	tap_ok(lead[0] && lead[1] && !lead[2], "the first of each key leads");
	tap_ok(a == same && a != b, "whoever follows is on the same flight");
	land_text(a, "first");
	again = fg_flight_join(flights, "a", &lead[3]);
	tap_ok(lead[3] && again != a, "what has landed is joined no more");
	fg_flight_leave(flights, a);
	tap_ok(holds(fg_flight_wait(flights, same), "first"),
	    "its leader has left, the result is there");
	land_text(again, "second");
	tap_ok(holds(fg_flight_wait(flights, same), "first") &&
		   holds(fg_flight_wait(flights, again), "second"),
	    "a later flight of the same key has another");
	fg_flight_leave(flights, same);
	fg_flight_leave(flights, again);
	land_text(b, "b");
	fg_flight_leave(flights, b);
}

/* More keys than there are buckets, landed in another order than they were joined. */
static void
many_keys(void)
{
	enum { KEYS = 2000, STEP = 777 }; /* no common factor */
	static struct fg_flight *f[KEYS];
	size_t led = 0, followed = 0, right = 0;
	char key[32];
	bool lead;

	for (int i = 0; i < KEYS; i++) {
		snprintf(key, sizeof key, "key %d", i);
		f[i] = fg_flight_join(flights, key, &lead);
		led += lead;
	}
	for (int i = 0; i < KEYS; i++) {
		snprintf(key, sizeof key, "key %d", i);
		followed += fg_flight_join(flights, key, &lead) == f[i] && !lead;
	}
	tap_ok(led == KEYS && followed == KEYS, "%d keys under way at once", KEYS);
	for (int i = 0, k = 0; i < KEYS; i++, k = (k + STEP) % KEYS) {
		snprintf(key, sizeof key, "key %d", k);
		land_text(f[k], key);
		fg_flight_leave(flights, f[k]);
	}
	for (int i = 0; i < KEYS; i++) {
		snprintf(key, sizeof key, "key %d", i);
		right += holds(fg_flight_wait(flights, f[i]), key);
		fg_flight_leave(flights, f[i]);
	}
	tap_int((long)right, KEYS, "each with a result of its own");
}

/* ------------------------------------------------------------- threads */

enum { WAITERS = 6 };

struct waiter {
	pthread_barrier_t *joined;
	bool stays;        /* else it leaves before there is anything */
	struct fg_err err; /* what it got */
	bool led, absent, bytes;
	struct fg_buf *kept;
};

static void *
follow(void *arg)
{
	struct waiter *w = arg;
	struct fg_flight *f = fg_flight_join(flights, "shared", &w->led);

	pthread_barrier_wait(w->joined);
	if (w->stays) {
		const struct fg_landed *r = fg_flight_wait(flights, f);

		w->err = r->err;
		w->absent = r->absent;
		w->bytes = r->bytes != NULL;
		w->kept = r->bytes ? fg_buf_ref(r->bytes) : NULL;
	}
	fg_flight_leave(flights, f);
	return NULL;
}

/* Waiters on one flight of this thread's, every third of which leaves at once; then it
 * lands with r. */
static void
fly(const struct fg_landed *r, struct waiter w[WAITERS])
{
	pthread_t thread[WAITERS];
	pthread_barrier_t joined;
	bool lead;
	struct fg_flight *f = fg_flight_join(flights, "shared", &lead);

	tap_ok(lead, "nothing is left of the flight before");
	pthread_barrier_init(&joined, NULL, WAITERS + 1);
	for (int i = 0; i < WAITERS; i++) {
		w[i] = (struct waiter){.joined = &joined, .stays = i % 3 != 0};
		pthread_create(&thread[i], NULL, follow, &w[i]);
	}
	pthread_barrier_wait(&joined);
	fg_flight_land(flights, f, r);
	fg_flight_leave(flights, f);
	for (int i = 0; i < WAITERS; i++)
		pthread_join(thread[i], NULL);
	pthread_barrier_destroy(&joined);
}

static void
leaders_and_followers(void)
{
	struct fg_buf *bytes = fg_buf_copy("bytes", 5);
	struct fg_landed good = {.bytes = bytes, .size = 5}, gone = {.absent = true};
	struct fg_landed failed = {.err = FG_ERR_INIT};
	struct waiter w[WAITERS];
	int led = 0, right = 0;

	fly(&good, w);
	for (int i = 0; i < WAITERS; i++) {
		led += w[i].led;
		right += w[i].stays && w[i].kept == bytes;
		fg_buf_unref(w[i].kept);
	}
	tap_int(led, 0, "one leader");
	tap_int(right, 4, "who stays gets the leader's bytes, not a copy");

	fly(&gone, w);
	right = 0;
	for (int i = 0; i < WAITERS; i++)
		right += w[i].stays && w[i].absent && !w[i].bytes && !w[i].err.code;
	tap_int(right, 4, "or that there is nothing");

	(void)fg_fail(&failed.err, FG_EIO, "the upstream answers %d", 502);
	fly(&failed, w);
	right = 0;
	for (int i = 0; i < WAITERS; i++)
		right += w[i].stays && w[i].err.code == FG_EIO &&
			 strcmp(w[i].err.msg, "the upstream answers 502") == 0;
	tap_int(right, 4, "or its failure, word for word");

	failed.err = FG_ERR_INIT;
	(void)fg_fail(&failed.err, FG_ECANCELED, "stopped");
	fly(&failed, w);
	right = 0;
	for (int i = 0; i < WAITERS; i++)
		right += w[i].stays && w[i].err.code == FG_ECANCELED && !w[i].bytes;
	tap_int(right, 4, "a leader that is cancelled lands as well");
	fg_buf_unref(bytes);
}

/* Eight threads, three keys. A result is "KEY SERIAL"; ended[k] is how many flights of
 * a key had landed for sure, and whoever joins after that must not get one of these. */
enum { THREADS = 8, KEYS = 3, ROUNDS = 2000 };

struct sky {
	atomic_uint serial[KEYS], ended[KEYS], leading[KEYS], aboard[KEYS];
	atomic_uint led, followed, wrong;
};

static void
lead_one(struct sky *s, int k, struct fg_flight *f)
{
	char text[64];
	unsigned serial;

	/* Followers of this one come aboard until it lands; the next leader after. */
	if (atomic_fetch_add(&s->leading[k], 1) != 0)
		atomic_fetch_add(&s->wrong, 1);
	unsigned seen = atomic_load(&s->aboard[k]);
	for (int i = 0; i < 50 && atomic_load(&s->aboard[k]) == seen; i++)
		sched_yield();
	serial = atomic_fetch_add(&s->serial[k], 1) + 1;
	snprintf(text, sizeof text, "%d %u", k, serial);
	atomic_fetch_sub(&s->leading[k], 1);
	land_text(f, text);
	atomic_store(&s->ended[k], serial);
	atomic_fetch_add(&s->led, 1);
}

static void
follow_one(struct sky *s, int k, struct fg_flight *f, unsigned ended)
{
	atomic_fetch_add(&s->aboard[k], 1);
	const struct fg_landed *r = fg_flight_wait(flights, f);
	char text[64];
	unsigned serial = 0;
	int key = -1;

	snprintf(text, sizeof text, "%.*s", (int)r->bytes->len,
	    (const char *)r->bytes->data);
	if (sscanf(text, "%d %u", &key, &serial) != 2 || key != k || serial <= ended)
		atomic_fetch_add(&s->wrong, 1);
	atomic_fetch_add(&s->followed, 1);
}

static void *
fly_around(void *arg)
{
	struct sky *s = arg;
	static atomic_uint threads;
	unsigned random = atomic_fetch_add(&threads, 1) * 7919 + 1;

	for (int i = 0; i < ROUNDS; i++) {
		random = random * 1103515245 + 12345;
		int k = (int)(random >> 16) % KEYS;
		unsigned ended = atomic_load(&s->ended[k]);
		char key[16];
		bool lead;

		snprintf(key, sizeof key, "%d", k);
		struct fg_flight *f = fg_flight_join(flights, key, &lead);
		if (lead)
			lead_one(s, k, f);
		else if (random >> 28)
			follow_one(s, k, f, ended);
		fg_flight_leave(flights, f); /* one in sixteen does not wait */
	}
	return NULL;
}

static void
crowded(void)
{
	static struct sky s;
	pthread_t thread[THREADS];

	for (int i = 0; i < THREADS; i++)
		pthread_create(&thread[i], NULL, fly_around, &s);
	for (int i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
	tap_int((long)atomic_load(&s.wrong), 0,
	    "%d threads: one leader a key, and no result from before", THREADS);
	tap_ok(atomic_load(&s.led) > 0 && atomic_load(&s.followed) > 0,
	    "%u led, %u followed", atomic_load(&s.led), atomic_load(&s.followed));
}

int
main(void)
{
	flights = fg_flights_new();
	one_after_another();
	many_keys();
	leaders_and_followers();
	crowded();
	fg_flights_free(flights);
	fg_flights_free(NULL);
	return tap_done();
}
