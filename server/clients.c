/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parked requests (or open connections) by client address: a small chained hash table
 * under one lock. An entry exists only while its address has something, so the table is
 * bounded by the limit on all of them.
 */
#include "config.h"

#include "server/clients.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"

#define BUCKETS 256

struct client {
	uint8_t address[16];
	int64_t parked[2]; /* held, waits */
	struct client *chain;
};

/* What a client has left of its rate: sets of WAYS, the one that asked longest ago is
 * given away. */
#define SETS 1024
#define WAYS 8
struct rate {
	uint64_t hash;
	double left; /* requests */
	int64_t last_ns;
};

struct fg_clients {
	pthread_mutex_t rate_lock;
	struct rate *rate; /* guarded by rate_lock; NULL until the first one */
	pthread_mutex_t lock;
	/* guarded by lock */
	struct fg_clients_limits limits;
	struct client *bucket[BUCKETS];
	int64_t all;
};

struct fg_clients *
fg_clients_new(const struct fg_clients_limits *limits)
{
	struct fg_clients *c = fg_calloc(1, sizeof *c);

	c->limits = *limits;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->rate_lock, NULL);
	return c;
}

void
fg_clients_free(struct fg_clients *c)
{
	if (!c)
		return;
	for (int i = 0; i < BUCKETS; i++) {
		for (struct client *p = c->bucket[i], *next; p; p = next) {
			next = p->chain;
			free(p);
		}
	}
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->rate_lock);
	free(c->rate);
	free(c);
}

void
fg_client_id_make(const struct sockaddr *sa, bool wait, struct fg_client_id *out)
{
	memset(out, 0, sizeof *out);
	out->wait = wait;
	if (sa && sa->sa_family == AF_INET) {
		const struct sockaddr_in *in = (const void *)sa;

		out->address[10] = out->address[11] = 0xff;
		memcpy(out->address + 12, &in->sin_addr, 4);
	} else if (sa && sa->sa_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const void *)sa;

		memcpy(out->address, &in6->sin6_addr, 16);
	}
}

static struct client **
find(struct fg_clients *c, const struct fg_client_id *id)
{
	struct client **p = &c->bucket[fg_hash64(id->address, 16) % BUCKETS];

	while (*p && memcmp((*p)->address, id->address, 16) != 0)
		p = &(*p)->chain;
	return p;
}

bool
fg_clients_enter(struct fg_clients *c, const struct fg_client_id *id)
{
	struct client **p;
	int64_t limit;
	bool ok;

	pthread_mutex_lock(&c->lock);
	limit = id->wait ? c->limits.waits : c->limits.held;
	p = find(c, id);
	ok = c->all < c->limits.all && (*p ? (*p)->parked[id->wait] : 0) < limit;
	if (ok) {
		if (!*p) {
			*p = fg_calloc(1, sizeof **p);
			memcpy((*p)->address, id->address, 16);
		}
		(*p)->parked[id->wait]++;
		c->all++;
	}
	pthread_mutex_unlock(&c->lock);
	return ok;
}

void
fg_clients_leave(struct fg_clients *c, const struct fg_client_id *id)
{
	struct client **p, *gone = NULL;

	pthread_mutex_lock(&c->lock);
	p = find(c, id);
	fg_assert(*p && (*p)->parked[id->wait] > 0);
	(*p)->parked[id->wait]--;
	c->all--;
	if ((*p)->parked[0] == 0 && (*p)->parked[1] == 0) {
		gone = *p;
		*p = gone->chain;
	}
	pthread_mutex_unlock(&c->lock);
	free(gone);
}

int64_t
fg_clients_parked(struct fg_clients *c)
{
	int64_t n;

	pthread_mutex_lock(&c->lock);
	n = c->all;
	pthread_mutex_unlock(&c->lock);
	return n;
}

void
fg_clients_set_limits(struct fg_clients *c, const struct fg_clients_limits *limits)
{
	pthread_mutex_lock(&c->lock);
	c->limits = *limits;
	pthread_mutex_unlock(&c->lock);
}

/* The row of a client, its own or one that was given away. Under rate_lock. */
static struct rate *
find_rate(struct fg_clients *c, uint64_t hash, double full, int64_t now)
{
	struct rate *set = c->rate + hash % SETS * WAYS, *oldest = set;

	for (int i = 0; i < WAYS; i++) {
		if (set[i].hash == hash)
			return &set[i];
		if (set[i].last_ns < oldest->last_ns)
			oldest = &set[i];
	}
	*oldest = (struct rate){.hash = hash, .left = full, .last_ns = now};
	return oldest;
}

bool
fg_clients_pass(struct fg_clients *c, const struct fg_client_id *id, int64_t rate)
{
	uint64_t hash = fg_hash64(id->address, sizeof id->address) | 1;
	double full = 5.0 * (double)rate;
	int64_t now = fg_clock_ns();
	struct rate *r;
	bool ok;

	pthread_mutex_lock(&c->rate_lock);
	if (!c->rate)
		c->rate = fg_calloc(SETS * WAYS, sizeof *c->rate);
	r = find_rate(c, hash, full, now);
	r->left += (double)(now - r->last_ns) / 1e9 * (double)rate;
	r->left = FG_MIN(r->left, full);
	r->last_ns = now;
	ok = r->left >= 1;
	if (ok)
		r->left -= 1;
	pthread_mutex_unlock(&c->rate_lock);
	return ok;
}
