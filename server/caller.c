/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who calls: address, token, and what follows from them for one request. The rules of
 * access are in access.h; here they meet the request.
 *
 * Order of the checks: rate (cheap, by address), then the token, then the role that the
 * route needs. Pages, their parts and /healthz are for everybody: they hold nothing
 * that is not public, and a page may ask for a token.
 */
#include "config.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/hash.h"
#include "server/request.h"

/* ------------------------------------------------------------- address */

static const struct sockaddr *
peer_of(struct fg_request *r)
{
	const union MHD_ConnectionInfo *i =
	    r->conn
		? MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS)
		: NULL;

	return i ? i->client_addr : NULL;
}

static bool
address_text(const struct sockaddr *sa, char out[64])
{
	if (sa && sa->sa_family == AF_INET)
		return inet_ntop(AF_INET,
			   &((const struct sockaddr_in *)(const void *)sa)->sin_addr,
			   out, 64) != NULL;
	if (sa && sa->sa_family == AF_INET6)
		return inet_ntop(AF_INET6,
			   &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr,
			   out, 64) != NULL;
	return false;
}

static bool
is_proxy(const char *address, const char *list)
{
	bool loopback = strncmp(address, "127.", 4) == 0 ||
			strcmp(address, "::1") == 0 ||
			strncmp(address, "::ffff:127.", 11) == 0;

	return fg_list_has(list, address, strlen(address)) ||
	       (loopback && fg_list_has(list, "loopback", 8));
}

/* The last address in X-Forwarded-For is the one that our proxy saw; what stands before
 * it is what the client says of itself. */
static bool
forwarded_address(const struct fg_request *r, struct sockaddr_storage *out)
{
	const char *comma = r->forwarded_for ? strrchr(r->forwarded_for, ',') : NULL;
	const char *p = comma ? comma + 1 : r->forwarded_for;
	struct sockaddr_in *v4 = (void *)out;
	struct sockaddr_in6 *v6 = (void *)out;
	char text[64];
	size_t n;

	if (!p)
		return false;
	p += strspn(p, " \t[");
	n = strcspn(p, " \t]");
	if (n >= sizeof text)
		return false;
	memcpy(text, p, n);
	text[n] = '\0';
	memset(out, 0, sizeof *out);
	if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
		out->ss_family = AF_INET;
		return true;
	}
	if (inet_pton(AF_INET6, text, &v6->sin6_addr) == 1) {
		out->ss_family = AF_INET6;
		return true;
	}
	return false;
}

/* The client's address; `room` holds it where it comes from a header. */
static const struct sockaddr *
client_of(struct fg_request *r, struct sockaddr_storage *room)
{
	const struct sockaddr *peer = peer_of(r);
	const char *proxies = atomic_load(&r->srv->set)->proxies;
	char text[64];

	if (*proxies && address_text(peer, text) && is_proxy(text, proxies) &&
	    forwarded_address(r, room))
		return (const struct sockaddr *)room;
	return peer;
}

void
fg_request_address(struct fg_request *r, char out[64])
{
	struct sockaddr_storage room;

	if (r->control || !address_text(client_of(r, &room), out))
		memcpy(out, "local", 6);
}

/* One token may be a whole laboratory's, one address a whole proxy's: a client is both
 * together. */
void
fg_request_client(struct fg_request *r, bool wait, struct fg_client_id *out)
{
	struct sockaddr_storage room;
	uint64_t hash;

	fg_client_id_make(client_of(r, &room), wait, out);
	if (!r->grant || !r->grant->token || r->control)
		return;
	hash = fg_hash64(&r->grant, sizeof r->grant);
	for (int i = 0; i < 8; i++)
		out->address[i] ^= (uint8_t)(hash >> 8 * i);
}

/* ------------------------------------------------------------- admission */

static enum fg_role
role_for_route(const struct fg_request *r)
{
	switch (r->route.kind) {
	case FG_ROUTE_BAD:
	case FG_ROUTE_TOO_LONG:
	case FG_ROUTE_STAR:
	case FG_ROUTE_PAGE:
	case FG_ROUTE_HEALTHZ:
	case FG_ROUTE_VIEWER:
	case FG_ROUTE_TOKEN:
		return FG_ROLE_NONE;
	case FG_ROUTE_API:
		if (strncmp(r->route.rest, "www/", 4) == 0 ||
		    strcmp(r->route.rest, "access") == 0)
			return FG_ROLE_NONE;
		break;
	case FG_ROUTE_ROOT_INFO:
	case FG_ROUTE_READYZ:
	case FG_ROUTE_METRICS:
	case FG_ROUTE_LAYER:
	case FG_ROUTE_LISTING:
	case FG_ROUTE_FILE:
		break;
	}
	return FG_ROLE_READ;
}

static void
reply_denied(struct fg_request *r, int status, const char *text)
{
	FG_COUNT(&r->srv->metrics, denied);
	fg_reply_error(r, status, "%s", text);
}

/* False: a token was given, and it is none. */
static bool
find_grant(struct fg_request *r)
{
	struct fg_access *a = r->srv->access;
	const char *given = r->authorization;

	if (r->control)
		r->grant = fg_access_owner();
	else if (*r->route.token)
		r->grant = fg_access_find(a, r->route.token, strlen(r->route.token));
	else if (given)
		r->grant = strncasecmp(given, "Bearer ", 7) == 0
			       ? fg_access_find(a, given + 7, strlen(given + 7))
			       : NULL;
	else
		r->grant = fg_access_anonymous(a);
	return r->grant != NULL;
}

/* Whether the client asks too often: by address only, before the token is looked at, so
 * that tokens cannot be tried at any rate either. */
static bool
is_too_fast(struct fg_request *r)
{
	int64_t rate = atomic_load(&r->srv->set)->requests_per_s;
	struct fg_client_id id;

	if (r->control || rate == 0)
		return false;
	fg_request_client(r, false, &id);
	return !fg_clients_pass(r->srv->clients, &id, rate);
}

bool
fg_request_admit(struct fg_request *r)
{
	enum fg_role needs = role_for_route(r);

	if (r->route.kind != FG_ROUTE_HEALTHZ && is_too_fast(r)) {
		FG_COUNT(&r->srv->metrics, limited);
		fg_reply_error(r, 429,
		    "more than %lld requests a second from one client "
		    "(requests_per_s)",
		    (long long)atomic_load(&r->srv->set)->requests_per_s);
		r->reply.retry_after = 1;
		return false;
	}
	if (!find_grant(r)) {
		reply_denied(r, 401, "this token is not known here");
		return false;
	}
	if (r->grant->role >= needs)
		return true;
	reply_denied(r, 401,
	    "this server answers with a token only: the header Authorization: Bearer "
	    "TOKEN, or a URL that begins with /t/TOKEN/");
	return false;
}

bool
fg_request_may_write(struct fg_request *r, enum fg_role needs)
{
	if (r->foreign) {
		reply_denied(r, 403,
		    "pages of this origin may not write here (see the setting "
		    "origins)");
		return false;
	}
	if (!r->grant->token) {
		reply_denied(r, 401,
		    "this call needs a token: the header Authorization: Bearer TOKEN, "
		    "or a URL that begins with /t/TOKEN/ (see the setting token_file, "
		    "and floodgate url); the control socket needs none");
		return false;
	}
	if (r->grant->role >= needs)
		return true;
	FG_COUNT(&r->srv->metrics, denied);
	fg_reply_error(r, 403, "this token may %s, this call needs one for %s",
	    fg_role_name(r->grant->role), fg_role_name(needs));
	return false;
}

bool
fg_request_may_compute(const struct fg_request *r)
{
	return !r->foreign && r->grant->role >= FG_ROLE_COMPUTE;
}

/* ------------------------------------------------------------- layers */

bool
fg_access_sees_all(const struct fg_request *r)
{
	return r->grant->role >= FG_ROLE_READ && fg_list_has(r->grant->layers, "*", 1);
}

bool
fg_access_sees(const struct fg_request *r, const struct fg_layer *l)
{
	if (r->grant->role < FG_ROLE_READ)
		return false;
	return fg_pattern_list_has(r->grant->layers, l->name) ||
	       (l->base && fg_pattern_list_has(r->grant->layers, l->base->name));
}

bool
fg_access_sees_name(const struct fg_request *r, const char *name)
{
	struct fg_layer *l;
	bool sees = r->grant->role >= FG_ROLE_READ &&
		    fg_pattern_list_has(r->grant->layers, name);

	if (sees)
		return true;
	l = fg_catalog_find(r->srv->catalog, name, strlen(name));
	sees = l && fg_access_sees(r, l);
	fg_layer_unref(l);
	return sees;
}

struct fg_layer *
fg_request_layer(struct fg_request *r, const char *name, size_t n)
{
	struct fg_layer *l = fg_catalog_find(r->srv->catalog, name, n);

	if (!l || fg_access_sees(r, l))
		return l;
	fg_layer_unref(l);
	return NULL;
}

void
fg_request_layers(struct fg_request *r, struct fg_layer ***out, size_t *n)
{
	size_t all, kept = 0;

	fg_catalog_list(r->srv->catalog, out, &all);
	for (size_t i = 0; i < all; i++) {
		if (fg_access_sees(r, (*out)[i]))
			(*out)[kept++] = (*out)[i];
		else
			fg_layer_unref((*out)[i]);
	}
	*n = kept;
}

void
fg_request_base(const struct fg_request *r, char out[FG_BASE_MAX])
{
	snprintf(out, FG_BASE_MAX, "%s%s%s", fg_server_url(r->srv),
	    *r->route.token ? "/t/" : "", r->route.token);
}
