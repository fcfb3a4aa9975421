/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reloading: other settings, tokens and certificates for a daemon that goes on.
 *
 * New settings are checked and made complete first, tokens and certificates are read,
 * and only then are pointers swapped; what was replaced is kept until the end, since
 * requests may hold it. A reload is rare and a few kilobytes.
 *
 * Also the question whether the daemon is alive, which its own main thread asks.
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"
#include "server/server.h"
#include "server/tls.h"

const char *
fg_server_url(struct fg_server *s)
{
	const char *url = atomic_load(&s->set)->public_url;

	return *url ? url : s->url;
}

/* "https://em.lab:8443/x" -> "em.lab:8443" */
static size_t
host_of(const char *url, const char **host)
{
	const char *p = strstr(url, "://");

	*host = p ? p + 3 : url;
	return strcspn(*host, "/");
}

void
fg_server_set_hosts(struct fg_server *s)
{
	const struct fg_settings *set = s->set;
	const char *host;
	size_t n = host_of(set->public_url, &host);
	char *list = fg_asprintf("%s,%s,%.*s,%.*s", s->own_host, set->hosts, (int)n,
	    host, (int)strcspn(host, ":/"), host);

	s->old_text = fg_realloc(s->old_text, s->old_texts + 1, sizeof *s->old_text);
	s->old_text[s->old_texts++] = list;
	atomic_store(&s->hosts, list);
}

/* Everything that is not looked up in the settings each time. */
static void
apply(struct fg_server *s, const struct fg_settings *set)
{
	struct fg_clients_limits limits = {
	    .held = set->parked_per_client,
	    .waits = set->waits_per_client,
	    .all = set->parked_max,
	};

	fg_log_setup(fg_settings_log_level(set),
	    set->log_json ? FG_LOG_JSON : FG_LOG_TEXT);
	fg_cache_set_limit(s->cache, (uint64_t)set->cache_mb << 20);
	fg_clients_set_limits(s->clients, &limits);
	fg_server_set_hosts(s);
}

static void
report(const char *live, const char *fixed, size_t tokens, bool tls)
{
	fg_log(FG_LOG_INFO, "reloaded: %s; %zu token%s read again%s",
	    *live ? live : "no setting has changed", tokens, tokens == 1 ? "" : "s",
	    tls ? ", and the certificate" : "");
	if (*fixed)
		fg_log(FG_LOG_WARN,
		    "not reloaded: %s; changed only by a restart of the daemon", fixed);
}

int
fg_server_reload(struct fg_server *s, struct fg_settings *set, struct fg_err *err)
{
	const struct fg_settings *old = s->set;
	char *live = NULL, *fixed = NULL;
	int rc = -1;

	s->old_set = fg_realloc(s->old_set, s->old_sets + 1, sizeof *s->old_set);
	s->old_set[s->old_sets++] = set;
	fg_settings_compare(old, set, &live, &fixed);
	fg_settings_keep_fixed(set, old);
	/* Whether there is TLS at all was decided when the socket was opened. */
	if (!*old->tls_cert != !*set->tls_cert) {
		fg_fail(err, FG_EINVAL,
		    "TLS cannot be switched on or off while the daemon runs");
		goto out;
	}
	if (*set->tls_cert && fg_tls_load(set->tls_cert, set->tls_key, err) < 0)
		goto out;
	if (fg_access_reload(s->access, set, err) < 0)
		goto out;
	atomic_store(&s->set, set);
	apply(s, set);
	report(live, fixed, fg_access_tokens(s->access), *set->tls_cert != '\0');
	rc = 0;
out:
	free(live);
	free(fixed);
	return rc;
}

/* ------------------------------------------------------------- the watchdog */

#define ALIVE_S 5

/* Ask /healthz through the control socket: parsed, dispatched and answered by the same
 * code that serves everybody. (Connections there are accepted by the HTTP library,
 * those of the network by server/accept.c.) */
static bool
ask_health(const char *path)
{
	static const char ask[] =
	    "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
	struct timeval wait = {.tv_sec = ALIVE_S};
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	char answer[16] = "";
	bool alive;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return false;
	memcpy(sa.sun_path, path, strlen(path) + 1); /* bound by us, so it fits */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
	alive =
	    connect(fd, (struct sockaddr *)&sa, sizeof sa) == 0 &&
	    send(fd, ask, sizeof ask - 1, MSG_NOSIGNAL) == (ssize_t)sizeof ask - 1 &&
	    recv(fd, answer, 12, MSG_WAITALL) == 12 &&
	    memcmp(answer, "HTTP/1.1 200", 12) == 0;
	close(fd);
	return alive;
}

bool
fg_server_is_alive(struct fg_server *s)
{
	struct fg_sched_stats stats;

	if (!ask_health(s->control_path)) {
		fg_log(FG_LOG_ERROR,
		    "watchdog: no answer within %d s on the control socket", ALIVE_S);
		return false;
	}
	/* Comes back, or never: then the watchdog hears nothing either. */
	fg_sched_get_stats(s->sched, &stats);
	return true;
}
