/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sockets, and the libmicrohttpd daemons that serve them: some for TCP (HTTP, or HTTPS
 * where there is a certificate), which accept.c gives connections, one with a pool of
 * its own for the control socket.
 *
 * The TCP socket is our own, or was opened by systemd (socket activation).
 */
#include "config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/accept.h"
#include "server/http.h"
#include "server/notify.h"
#include "server/server.h"
#include "server/tls.h"

#define CONTROL_CONNECTIONS 240
/* For the headers of a request and of its reply. libmicrohttpd clears all of it after
 * each request, and with its default of 32 KiB that was the dearest part of a small
 * one.
 */
#define CONNECTION_MEMORY ((size_t)12 << 10)

static void
log_library(void *ctx, const char *fmt, va_list ap)
{
	char text[512];
	size_t n;

	(void)ctx;
	vsnprintf(text, sizeof text, fmt, ap);
	n = strlen(text);
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	fg_log(FG_LOG_DEBUG, "http: %s", text);
}

/* One that is given its connections (a slot of accept.c), or with a socket to take them
 * from. */
static struct MHD_Daemon *
start_daemon(struct fg_server *s, int fd, unsigned connections, void *slot)
{
	const struct fg_settings *set = s->set;
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME |
			 MHD_USE_ERROR_LOG;
	struct MHD_OptionItem more[3], *o = more;

	if (slot) {
		flags |= MHD_USE_NO_LISTEN_SOCKET;
		*o++ = (struct MHD_OptionItem){MHD_OPTION_NOTIFY_CONNECTION,
		    (intptr_t)fg_accept_notify, slot};
	} else {
		*o++ = (struct MHD_OptionItem){MHD_OPTION_LISTEN_SOCKET, fd, NULL};
		*o++ = (struct MHD_OptionItem){MHD_OPTION_THREAD_POOL_SIZE, 2, NULL};
	}
	if (slot && *set->tls_cert) {
		flags |= MHD_USE_TLS;
		*o++ = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0,
		    (void *)(uintptr_t)fg_tls_callback()};
	}
	*o = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
	return MHD_start_daemon(flags, 0, NULL, NULL, fg_http_handle, s,
	    MHD_OPTION_EXTERNAL_LOGGER, log_library, NULL, MHD_OPTION_CONNECTION_LIMIT,
	    connections, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)set->idle_s,
	    MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY,
	    MHD_OPTION_URI_LOG_CALLBACK,
	    slot ? fg_http_begin_tcp : fg_http_begin_control, s,
	    MHD_OPTION_NOTIFY_COMPLETED, fg_http_completed, s, MHD_OPTION_ARRAY, more,
	    MHD_OPTION_END);
}

static struct MHD_Daemon *
start_thread(void *ctx, unsigned connections, void *slot)
{
	return start_daemon(ctx, -1, connections, slot);
}

/* "127.0.0.1:8080", "[::1]:0", "name:80" -> a listening socket. */
static int
listen_tcp(const char *where, struct fg_err *err)
{
	const char *colon = strrchr(where, ':');
	size_t n = (size_t)(colon - where);
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
	struct addrinfo *found = NULL;
	char *name = n >= 2 && where[0] == '[' && where[n - 1] == ']'
			 ? fg_strndup(where + 1, n - 2)
			 : fg_strndup(where, n);
	int fd = -1, one = 1, rc;

	rc = getaddrinfo(strcmp(name, "*") == 0 ? NULL : name, colon + 1, &hints,
	    &found);
	free(name);
	if (rc != 0)
		return fg_fail(err, FG_EINVAL, "listen on %s: %s", where,
		    gai_strerror(rc));
	fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
	    bind(fd, found->ai_addr, found->ai_addrlen) < 0 || listen(fd, 1024) < 0) {
		fg_fail_errno(err, "listen on %s", where);
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	freeaddrinfo(found);
	return fd;
}

/* s->url and s->own_host from the address that the socket got. */
static void
name_ourselves(struct fg_server *s, int fd)
{
	const char *scheme = *atomic_load(&s->set)->tls_cert ? "https" : "http";
	struct sockaddr_storage sa;
	socklen_t len = sizeof sa;
	char host[80] = "127.0.0.1", port[8] = "0";

	if (getsockname(fd, (struct sockaddr *)&sa, &len) == 0)
		getnameinfo((struct sockaddr *)&sa, len, host, sizeof host, port,
		    sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
	snprintf(s->own_host, sizeof s->own_host, strchr(host, ':') ? "[%s]" : "%s",
	    host);
	/* A server on all addresses is shown by the one that works here. */
	if (strcmp(host, "0.0.0.0") == 0 || strcmp(host, "::") == 0)
		snprintf(host, sizeof host, "127.0.0.1");
	snprintf(s->url, sizeof s->url,
	    strchr(host, ':') ? "%s://[%s]:%s" : "%s://%s:%s", scheme, host, port);
	fg_server_set_hosts(s);
}

static int
start_tcp(struct fg_server *s, struct fg_err *err)
{
	const struct fg_settings *set = s->set;
	struct fg_accept_options o = {
	    .connections = (unsigned)set->connections,
	    .per_client = (unsigned)set->connections_per_client,
	    .start = start_thread,
	    .ctx = s,
	};
	int fd = -1;

	if (*set->tls_cert && fg_tls_load(set->tls_cert, set->tls_key, err) < 0)
		return -1;
	if (fg_notify_socket(&fd, err) < 0)
		return -1;
	if (fd < 0)
		fd = listen_tcp(set->listen, err);
	if (fd < 0)
		return -1;
	name_ourselves(s, fd);
	s->tcp = fg_accept_new(fd, &o, err);
	return s->tcp ? 0 : fg_err_prefix(err, "HTTP on %s", set->listen);
}

/* ROOT/control.sock. Whoever can open it owns the data: mode 0600 from the start. */
static int
listen_control(const char *path, struct fg_err *err)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	mode_t mask;
	int fd, rc;

	if (strlen(path) >= sizeof sa.sun_path)
		return fg_fail(err, FG_EINVAL,
		    "control socket: %s is longer than the %zu bytes a socket's name "
		    "may have; use a shorter path to the data directory",
		    path, sizeof sa.sun_path - 1);
	memcpy(sa.sun_path, path, strlen(path) + 1);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return fg_fail_errno(err, "control socket");
	/* The data directory is locked by us, so a socket there is a dead one's. */
	unlink(path);
	mask = umask(0177);
	rc = bind(fd, (struct sockaddr *)&sa, sizeof sa);
	umask(mask);
	if (rc < 0 || listen(fd, 64) < 0) {
		fg_fail_errno(err, "control socket %s", path);
		close(fd);
		return -1;
	}
	return fd;
}

static int
start_control(struct fg_server *s, struct fg_err *err)
{
	int fd;

	s->control_path = fg_asprintf("%s/control.sock", fg_store_root(s->store));
	fd = listen_control(s->control_path, err);
	if (fd < 0)
		return -1;
	s->control = start_daemon(s, fd, CONTROL_CONNECTIONS, NULL);
	if (!s->control) {
		close(fd);
		unlink(s->control_path);
		return fg_fail(err, FG_EIO,
		    "HTTP on the control socket does not start");
	}
	return 0;
}

int
fg_http_start(struct fg_server *s, struct fg_err *err)
{
	snprintf(s->run_id, sizeof s->run_id, "%08x",
	    (unsigned)((uint64_t)fg_clock_wall_ms() * 2654435761u) ^
		(unsigned)getpid());
	return start_tcp(s, err) < 0 || start_control(s, err) < 0 ? -1 : 0;
}

void
fg_http_drain(struct fg_server *s, int64_t deadline_ns)
{
	struct timespec tick = {.tv_nsec = 2 * FG_NS_PER_MS};

	while (atomic_load(&s->active) > 0 && fg_clock_ns() < deadline_ns)
		nanosleep(&tick, NULL);
}

static void
stop_control(struct fg_server *s)
{
	MHD_socket fd;

	if (!s->control)
		return;
	fd = MHD_quiesce_daemon(s->control);
	MHD_stop_daemon(s->control);
	s->control = NULL;
	if (fd != MHD_INVALID_SOCKET)
		close(fd);
}

void
fg_http_stop(struct fg_server *s)
{
	stop_control(s);
	fg_accept_free(atomic_exchange(&s->tcp, NULL));
	if (s->control_path)
		unlink(s->control_path);
}

uint64_t
fg_http_connections(struct fg_server *s)
{
	struct fg_accept *tcp = s->tcp;

	return tcp ? fg_accept_connections(tcp) : 0;
}
