/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Parked requests by client address: a small chained hash table under one lock. An
 * entry exists only while its address has something parked, so the table is bounded by
 * the limit on all parked requests.
 */
#include "config.h"

#include "server/clients.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/hash.h"

#define BUCKETS 256

struct client {
	uint8_t address[16];
	int64_t parked[2]; /* held, waits */
	struct client *chain;
};

struct fg_clients {
	struct fg_clients_limits limits;
	pthread_mutex_t lock;
	/* guarded by lock */
	struct client *bucket[BUCKETS];
	int64_t all;
};

struct fg_clients *
fg_clients_new(const struct fg_clients_limits *limits)
{
	struct fg_clients *c = fg_calloc(1, sizeof *c);

	c->limits = *limits;
	pthread_mutex_init(&c->lock, NULL);
	return c;
}

void
fg_clients_free(struct fg_clients *c)
{
	if (!c)
		return;
	for (int i = 0; i < BUCKETS; i++)
		fg_assert(c->bucket[i] == NULL);
	pthread_mutex_destroy(&c->lock);
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
	int64_t limit = id->wait ? c->limits.waits : c->limits.held;
	struct client **p;
	bool ok;

	pthread_mutex_lock(&c->lock);
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
