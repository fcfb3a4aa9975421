/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many requests each client address has parked. A browser opens about six
 * connections to a host for all its layers together: if they all waited for chunks
 * that are being made, nothing else would reach the page. So only a few per address
 * are held; scripts that say ?wait= have a count of their own. Open connections are
 * counted by address in another such table. Any thread.
 */
#ifndef FG_SERVER_CLIENTS_H
#define FG_SERVER_CLIENTS_H

#include <sys/socket.h>

#include "base/base.h"

struct fg_clients;

struct fg_clients_limits {
	int64_t held, waits; /* per address */
	int64_t all;         /* of all addresses together */
};

struct fg_clients *fg_clients_new(const struct fg_clients_limits *limits) FG_MUST_USE;
/* Also with some that did not leave. */
void fg_clients_free(struct fg_clients *c);

struct fg_client_id {
	uint8_t address[16]; /* IPv6, IPv4 mapped into it, zero for a local socket */
	bool wait;           /* counts as ?wait= */
};
void fg_client_id_make(const struct sockaddr *sa, bool wait, struct fg_client_id *out);

/* Limits from now on; what is parked stays. */
void fg_clients_set_limits(struct fg_clients *c,
    const struct fg_clients_limits *limits);

/* Whether one more request of the client is within `rate` requests a second, five
 * seconds' worth of which may come at once. The clients that asked last are
 * remembered, 8192 of them; another one begins with all of its five seconds. */
bool fg_clients_pass(struct fg_clients *c, const struct fg_client_id *id, int64_t rate);

/* Count one more parked request, or false if a limit is reached. */
bool fg_clients_enter(struct fg_clients *c, const struct fg_client_id *id);
void fg_clients_leave(struct fg_clients *c, const struct fg_client_id *id);
int64_t fg_clients_parked(struct fg_clients *c);

#endif
