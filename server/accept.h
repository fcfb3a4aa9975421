/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Takes connections from the listening socket and spreads them over event threads, each
 * of them a libmicrohttpd daemon of one thread. In that library's own pool any thread
 * that wakes takes a connection, so that all of them share the work of a few clients
 * and take turns on the processors. Here the first threads, as many as there are
 * processors, have all connections evenly, and the others stand by for a crowd.
 */
#ifndef FG_SERVER_ACCEPT_H
#define FG_SERVER_ACCEPT_H

#include <microhttpd.h>

#include "base/err.h"

struct fg_accept;

/* What is kept of an open connection: its socket context. Event thread only. */
struct fg_connection {
	bool corked; /* TCP_CORK is set (http.c) */
	/* Replies that were held back. In the first few the library may still let go,
	 * as it finds out how a socket is set by setting it. */
	uint8_t held;
};
#define FG_HELD_SURE 4

struct fg_accept_options {
	unsigned connections;
	unsigned per_client; /* of one address; 0: any number */
	/* A daemon without a socket for so many connections that calls
	 * fg_accept_notify(slot, ...); NULL on failure. */
	struct MHD_Daemon *(*start)(void *ctx, unsigned connections, void *slot);
	void *ctx;
};

/* Begin to take connections from fd, which is the acceptor's from here on, also on
 * failure. */
struct fg_accept *fg_accept_new(int fd, const struct fg_accept_options *o,
    struct fg_err *err) FG_MUST_USE;
/* Close the socket, then all connections. */
void fg_accept_free(struct fg_accept *a);

/* Open connections. Any thread. */
uint64_t fg_accept_connections(struct fg_accept *a);

/* MHD_OPTION_NOTIFY_CONNECTION. */
void fg_accept_notify(void *slot, struct MHD_Connection *conn, void **own,
    enum MHD_ConnectionNotificationCode what);

#endif
