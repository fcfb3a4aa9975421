/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What systemd and its like say and want to hear: readiness, reloading, the watchdog,
 * and sockets that were opened for us. The protocol is a datagram of text to the socket
 * named in NOTIFY_SOCKET and three environment variables (sd_notify(3),
 * sd_listen_fds(3)); no library is needed for that.
 */
#ifndef FG_SERVER_NOTIFY_H
#define FG_SERVER_NOTIFY_H

#include "base/err.h"

/* Send a state, e.g. "READY=1\nSTATUS=..."; does nothing where nobody listens. */
void fg_notify_send(const char *state);
/* "RELOADING=1" with the time that the protocol wants beside it. */
void fg_notify_reloading(void);

/* How often "WATCHDOG=1" is to be sent, in ns: half of what was asked for; 0: never. */
int64_t fg_notify_watchdog_ns(void);

/* The listening TCP socket that was handed to this process, or -1 in *fd if there is
 * none. Fails: FG_EINVAL if it is no such socket or there are several. */
int fg_notify_socket(int *fd, struct fg_err *err) FG_MUST_USE;

#endif
