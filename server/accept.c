/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that takes connections.
 *
 * A connection is counted when it is taken, by address and by event thread, so that a
 * burst of them cannot pass a limit before the event threads have looked; it is counted
 * out when libmicrohttpd says that it is closed. At the limit the socket is left alone:
 * clients wait in its backlog until a place is free. One too many of an address is
 * closed at once.
 */
#include "config.h"

#include "server/accept.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "server/clients.h"

/* Of one thread. With 128 events in one turn libmicrohttpd 0.9 and 1.0 wait once more
 * before serving them. Its own limit is one more and never reached: 0.9.75 keeps a lock
 * when it is. */
#define PER_THREAD 120
/* How long to wait where the system has no descriptor or memory for a connection. */
#define RETRY_MS 100

struct slot {
	struct fg_accept *of;
	struct MHD_Daemon *daemon;
	_Atomic unsigned open;
};

struct fg_accept {
	int fd, bell; /* bell: eventfd that ends poll early */
	pthread_t thread;
	bool started;
	unsigned connections;
	struct fg_clients *clients; /* open connections by address */
	_Atomic unsigned open;
	_Atomic bool full;  /* the accepting thread waits for a place */
	_Atomic bool ended; /* it shall end */
	unsigned first;     /* slots that are used before the others */
	unsigned slots;
	struct slot slot[];
};

static void
ring(struct fg_accept *a)
{
	uint64_t one = 1;

	if (write(a->bell, &one, sizeof one) < 0)
		fg_log(FG_LOG_DEBUG, "bell of the accepting thread: %s",
		    strerror(errno));
}

uint64_t
fg_accept_connections(struct fg_accept *a)
{
	return atomic_load(&a->open);
}

/* A connection is closed, or was refused by the library. */
static void
count_out(struct slot *s, const struct fg_client_id *id)
{
	struct fg_accept *a = s->of;

	fg_clients_leave(a->clients, id);
	atomic_fetch_sub(&s->open, 1);
	atomic_fetch_sub(&a->open, 1);
	if (atomic_exchange(&a->full, false))
		ring(a);
}

void
fg_accept_notify(void *slot, struct MHD_Connection *conn, void **own,
    enum MHD_ConnectionNotificationCode what)
{
	const union MHD_ConnectionInfo *i;
	struct slot *s = slot;
	struct fg_client_id id;

	if (what == MHD_CONNECTION_NOTIFY_STARTED) {
		*own = fg_calloc(1, sizeof(struct fg_connection));
		return;
	}
	free(*own);
	*own = NULL;
	i = MHD_get_connection_info(conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	fg_client_id_make(i ? i->client_addr : NULL, false, &id);
	count_out(s, &id);
}

/* The thread with the fewest connections among the first ones; when they are full, the
 * next that is not. There is one: the limit on all was looked at. */
static struct slot *
choose(struct fg_accept *a)
{
	struct slot *s = &a->slot[0];

	for (unsigned i = 1; i < a->slots; i++) {
		if (i >= a->first && s->open < PER_THREAD)
			break;
		if (a->slot[i].open < s->open)
			s = &a->slot[i];
	}
	return s;
}

static void
add(struct fg_accept *a, int fd, const struct sockaddr *sa, socklen_t len)
{
	struct slot *s = choose(a);
	struct fg_client_id id;

	fg_client_id_make(sa, false, &id);
	if (!fg_clients_enter(a->clients, &id)) {
		close(fd);
		return;
	}
	atomic_fetch_add(&s->open, 1);
	atomic_fetch_add(&a->open, 1);
	if (MHD_add_connection(s->daemon, fd, sa, len) != MHD_YES)
		count_out(s, &id); /* it has closed the socket */
}

/* Until the bell rings, or something is to be accepted. */
static void
wait_for(struct fg_accept *a, bool connections, int timeout_ms)
{
	struct pollfd p[2] = {{.fd = a->bell, .events = POLLIN},
	    {.fd = a->fd, .events = POLLIN}};
	uint64_t count;

	if (poll(p, connections ? 2 : 1, timeout_ms) > 0 && p[0].revents &&
	    read(a->bell, &count, sizeof count) < 0)
		fg_log(FG_LOG_DEBUG, "bell of the accepting thread: %s",
		    strerror(errno));
}

static void *
accept_thread(void *ctx)
{
	struct fg_accept *a = ctx;
	int told = 0; /* an error that lasts is told once */

	while (!atomic_load(&a->ended)) {
		struct sockaddr_storage sa;
		socklen_t len = sizeof sa;
		int fd;

		if (atomic_load(&a->open) >= a->connections) {
			atomic_store(&a->full, true);
			/* One that ended in between has not seen the flag. */
			if (atomic_load(&a->open) >= a->connections)
				wait_for(a, false, -1);
			continue;
		}
		fd = accept4(a->fd, (struct sockaddr *)&sa, &len,
		    SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			add(a, fd, (struct sockaddr *)&sa, len);
		else if (errno == EAGAIN)
			wait_for(a, true, -1);
		else if (errno != EINTR && errno != ECONNABORTED) {
			if (errno != told)
				fg_log(FG_LOG_WARN, "accepting connections: %s",
				    strerror(errno));
			told = errno;
			wait_for(a, false, RETRY_MS);
		}
	}
	return NULL;
}

static unsigned
processors(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof set, &set) == 0 ? (unsigned)CPU_COUNT(&set)
							   : 1;
}

struct fg_accept *
fg_accept_new(int fd, const struct fg_accept_options *o, struct fg_err *err)
{
	unsigned slots = (o->connections + PER_THREAD - 1) / PER_THREAD;
	struct fg_clients_limits limits = {.held = o->per_client ? o->per_client
								 : INT64_MAX,
	    .all = INT64_MAX};
	struct fg_accept *a;

	slots = FG_MAX(slots, 2u);
	a = fg_calloc(1, sizeof *a + slots * sizeof a->slot[0]);
	a->fd = fd;
	a->connections = o->connections;
	a->slots = slots;
	/* Two at least: one may wait for a disk after all. */
	a->first = FG_MIN(slots, FG_MAX(processors(), 2u));
	a->clients = fg_clients_new(&limits);
	a->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (a->bell < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0) {
		fg_fail_errno(err, "accepting connections");
		goto fail;
	}
	for (unsigned i = 0; i < slots; i++) {
		struct slot *s = &a->slot[i];

		s->of = a;
		s->daemon = o->start(o->ctx, PER_THREAD + 1, s);
		if (!s->daemon) {
			fg_fail(err, FG_EIO,
			    "HTTP does not start (log level debug says why)");
			goto fail;
		}
	}
	errno = pthread_create(&a->thread, NULL, accept_thread, a);
	a->started = errno == 0;
	if (a->started)
		return a;
	fg_fail_errno(err, "accepting connections");
fail:
	fg_accept_free(a);
	return NULL;
}

void
fg_accept_free(struct fg_accept *a)
{
	if (!a)
		return;
	atomic_store(&a->ended, true);
	if (a->started) {
		ring(a);
		pthread_join(a->thread, NULL);
	}
	close(a->fd);
	for (unsigned i = 0; i < a->slots; i++) {
		if (a->slot[i].daemon)
			MHD_stop_daemon(a->slot[i].daemon);
	}
	if (a->bell >= 0)
		close(a->bell);
	fg_clients_free(a->clients);
	free(a);
}
