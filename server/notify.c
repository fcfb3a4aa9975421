/* SPDX-License-Identifier: Apache-2.0 */
/* The service manager's protocol: see the header. */
#include "config.h"

#include "server/notify.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"

#define FIRST_FD 3 /* SD_LISTEN_FDS_START */

void
fg_notify_send(const char *state)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;
	int fd;

	if (n < 2 || n >= sizeof sa.sun_path || (*path != '/' && *path != '@'))
		return;
	memcpy(sa.sun_path, path, n);
	if (*path == '@') /* the abstract name space */
		sa.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	/* Nothing can be done for a manager that does not read. */
	(void)sendto(fd, state, strlen(state), MSG_NOSIGNAL, (struct sockaddr *)&sa,
	    (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}

void
fg_notify_reloading(void)
{
	char text[80];

	snprintf(text, sizeof text, "RELOADING=1\nMONOTONIC_USEC=%lld",
	    (long long)(fg_clock_ns() / 1000));
	fg_notify_send(text);
}

/* The variable is for this process: "" or absent means any. */
static bool
is_for_us(const char *pid_variable)
{
	const char *pid = getenv(pid_variable);

	return pid && strtol(pid, NULL, 10) == (long)getpid();
}

int64_t
fg_notify_watchdog_ns(void)
{
	const char *usec = getenv("WATCHDOG_USEC");
	long long v = usec ? strtoll(usec, NULL, 10) : 0;

	if (v <= 0 || v > 86400000000ll ||
	    (getenv("WATCHDOG_PID") && !is_for_us("WATCHDOG_PID")))
		return 0;
	return v * 1000 / 2;
}

int
fg_notify_socket(int *fd, struct fg_err *err)
{
	const char *count = getenv("LISTEN_FDS");
	socklen_t len = sizeof(int);
	int listens = 0, type = 0;
	long n;

	*fd = -1;
	if (!count || !is_for_us("LISTEN_PID"))
		return 0;
	n = strtol(count, NULL, 10);
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_PID");
	if (n == 0)
		return 0;
	if (n != 1)
		return fg_fail(err, FG_EINVAL,
		    "%ld sockets were handed over (LISTEN_FDS), one is wanted", n);
	if (getsockopt(FIRST_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    type != SOCK_STREAM ||
	    getsockopt(FIRST_FD, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) < 0 ||
	    !listens)
		return fg_fail(err, FG_EINVAL,
		    "descriptor %d was handed over (LISTEN_FDS), but is no listening "
		    "stream socket",
		    FIRST_FD);
	fcntl(FIRST_FD, F_SETFD, FD_CLOEXEC);
	fcntl(FIRST_FD, F_SETFL, fcntl(FIRST_FD, F_GETFL) | O_NONBLOCK);
	*fd = FIRST_FD;
	return 0;
}
