/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Watches over parked connections: calls back once, when the client hangs up or when
 * the time is over, whichever is first. libmicrohttpd does neither for a suspended
 * connection.
 *
 * Three traps, and what closes them:
 *   - The connection is suspended before anything that could resume it is published;
 *     that is the caller's order: suspend, publish the waiter, fg_watch_add.
 *   - A descriptor's number is used again as soon as it is closed: whoever lets the
 *     connection go calls fg_watch_drop first (the completion callback does so in any
 *     case), and events carry a generation, so that one fetched before the drop is
 *     not taken for the next connection's.
 *   - Everybody is resumed before the HTTP daemon stops: fg_watch_free asserts that no
 *     watch is left.
 */
#ifndef FG_SERVER_WATCH_H
#define FG_SERVER_WATCH_H

#include "base/err.h"

struct fg_watch;

enum fg_watch_why { FG_WATCH_GONE, FG_WATCH_TIME };

/* One parked connection; embedded in the caller's request, zeroed before first use. */
struct fg_watched {
	/* On the watch thread, no lock held, at most once. It may resume the connection
	 * as its last act; the memory stays valid until fg_watch_drop has returned. */
	void (*fire)(struct fg_watched *w, enum fg_watch_why why);
	int64_t deadline_ns; /* monotonic */
	/* private */
	int fd;
	uint32_t slot, generation;
	int state;
};

struct fg_watch *fg_watch_new(struct fg_err *err) FG_MUST_USE;
void fg_watch_free(struct fg_watch *w); /* no watches may be left */

/* Begin to watch fd. Does nothing if n was dropped already: the one it was for has
 * been answered in the meantime. */
void fg_watch_add(struct fg_watch *w, struct fg_watched *n, int fd);
/* When this returns, fire is not running and will not run. Call it from any thread but
 * never from fire; calling it again does nothing. */
void fg_watch_drop(struct fg_watch *w, struct fg_watched *n);

#endif
