/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests as libmicrohttpd gives them: the access handler, headers in and out.
 *
 * A request is made in the URI callback (the only place where the target is seen as it
 * was sent: later it is decoded, and cut at a NUL). The first call of the access
 * handler only looks at headers; an answer queued there would close the connection, so
 * that is done for requests whose framing cannot be trusted, and for no other. The
 * last call (no upload data) dispatches. After a suspended connection is resumed the
 * handler is called again and sends what was described meanwhile.
 *
 * The daemons that call these functions are in listen.c.
 */
#include "config.h"

#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/log.h"
#include "server/accept.h"
#include "server/events.h"
#include "server/download.h"
#include "server/headers.h"
#include "server/http.h"
#include "server/request.h"
#include "server/viewer.h"

#define METHODS "GET, HEAD, POST, DELETE, OPTIONS"
#define CONTROL_BODY_MAX_KB (64 * 1024)

/* ------------------------------------------------------------- parking */

void
fg_request_suspend(struct fg_request *r)
{
	fg_assert(!r->parked);
	r->parked = true;
	MHD_suspend_connection(r->conn);
}

void
fg_request_resume(struct fg_request *r)
{
	MHD_resume_connection(r->conn);
}

static void
run_work(void *ctx)
{
	struct fg_request *r = ctx;

	r->work(r);
	fg_request_resume(r);
}

void
fg_request_work(struct fg_request *r, enum fg_resource res,
    void (*work)(struct fg_request *r), void (*resumed)(struct fg_request *r))
{
	r->work = work;
	r->resumed = resumed;
	fg_request_suspend(r);
	if (fg_sched_call(r->srv->sched, res, FG_INTERACTIVE, run_work, r))
		return;
	r->resumed = NULL;
	fg_reply_later(r, 5, "too many requests are waiting to be worked on");
	fg_request_resume(r);
}

/* ------------------------------------------------------------- sending */

static void
add_header(struct MHD_Response *m, const char *name, const char *value)
{
	/* Fails for control characters in the value or without memory: the reply is
	 * still right without the header. */
	if (MHD_add_response_header(m, name, value) == MHD_NO)
		fg_log(FG_LOG_DEBUG, "reply header %s left out", name);
}

/* What is for a path; of "*" the whole server is asked. */
static const char *
methods_of(const struct fg_request *r)
{
	return r->route.kind == FG_ROUTE_API ? METHODS : "GET, HEAD, OPTIONS";
}

static void
add_cors(struct fg_request *r, struct MHD_Response *m)
{
	if (!r->cors)
		return;
	add_header(m, "Access-Control-Allow-Origin", r->origin);
	add_header(m, "Access-Control-Expose-Headers",
	    "Content-Encoding, Content-Range, ETag, Retry-After, X-Request-Id");
	if (r->method != FG_OPTIONS)
		return;
	add_header(m, "Access-Control-Allow-Methods", methods_of(r));
	add_header(m, "Access-Control-Allow-Headers",
	    "Authorization, Content-Type, If-None-Match, Range");
	add_header(m, "Access-Control-Max-Age", "86400");
	if (r->private_network)
		add_header(m, "Access-Control-Allow-Private-Network", "true");
}

/* What somebody got with a token is not for a cache that others share. */
static const char *
caching_text(const struct fg_request *r)
{
	static const char *const text[] = {
	    [FG_NO_STORE] = "no-store",
	    [FG_NO_CACHE] = "no-cache",
	    [FG_IMMUTABLE] = "public, max-age=31536000, immutable",
	};
	static const char *const own[] = {
	    [FG_NO_STORE] = "no-store",
	    [FG_NO_CACHE] = "private, no-cache",
	    [FG_IMMUTABLE] = "private, max-age=31536000, immutable",
	};
	bool token = r->grant && r->grant->token && !r->control;

	return (token ? own : text)[r->reply.caching];
}

/* The viewer builds its shaders as text and its decoders as WebAssembly, sets styles
 * of its elements, and reads layers from wherever its user says. */
static const char *const policies[] = {
    [FG_POLICY_PAGE] = "default-src 'none'; script-src 'self'; style-src 'self'; "
		       "connect-src 'self'; img-src 'self' data: blob:; "
		       "worker-src 'self'; base-uri 'none'; form-action 'none'; "
		       "frame-ancestors 'none'",
    [FG_POLICY_VIEWER] = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; "
			 "style-src 'self' 'unsafe-inline'; connect-src 'self' http: "
			 "https: data: blob:; img-src 'self' data: blob:; font-src "
			 "'self' data:; worker-src 'self' blob:; base-uri 'none'; "
			 "form-action 'none'; frame-ancestors 'none'",
};

/* v in decimal at p, of 21 bytes; where its NUL is. For headers of every reply, where
 * printf() shows. */
static char *
put_decimal(char *p, uint64_t v)
{
	char digits[20];
	int n = 0;

	do
		digits[n++] = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	while (n > 0)
		*p++ = digits[--n];
	*p = '\0';
	return p;
}

static void
add_headers(struct fg_request *r, struct MHD_Response *m, const char *etag)
{
	const struct fg_reply *p = &r->reply;
	const char *coding = fg_coding_name(p->coding);
	char text[64] = "", *id = text + strlen(r->srv->run_id);

	memcpy(text, r->srv->run_id, strlen(r->srv->run_id));
	*id++ = '-';
	put_decimal(id, r->number);
	add_header(m, "X-Request-Id", text);
	add_header(m, "X-Content-Type-Options", "nosniff");
	add_header(m, "Vary", p->vary ? "Origin, Accept-Encoding" : "Origin");
	add_cors(r, m);
	add_header(m, "Cache-Control", caching_text(r));
	/* The address may hold a token. */
	if (*r->route.token || p->policy != FG_POLICY_NONE)
		add_header(m, "Referrer-Policy", "no-referrer");
	if (p->type)
		add_header(m, "Content-Type", p->type);
	if (coding)
		add_header(m, "Content-Encoding", coding);
	if (p->tagged)
		add_header(m, "ETag", etag);
	if (p->ranges && p->status != 206) /* a part tells it by itself */
		add_header(m, "Accept-Ranges", "bytes");
	if (p->allow)
		add_header(m, "Allow", p->allow);
	if (p->location[0])
		add_header(m, "Location", p->location);
	if (p->status == 401)
		add_header(m, "WWW-Authenticate", "Bearer");
	if (p->close)
		add_header(m, "Connection", "close");
	if (p->policy != FG_POLICY_NONE)
		add_header(m, "Content-Security-Policy", policies[p->policy]);
	if (p->retry_after > 0) {
		snprintf(text, sizeof text, "%d", p->retry_after);
		add_header(m, "Retry-After", text);
	}
}

/* The part of the body that Range asks for: turns a 200 into 206 or 416. */
static void
apply_range(struct fg_request *r, const char *etag, uint64_t *first, uint64_t *len,
    char content_range[96])
{
	struct fg_reply *p = &r->reply;
	char *end;
	uint64_t last, size = p->has_file || p->sized ? p->file_size
			      : p->body               ? p->body->len
						      : 0;

	*first = 0;
	*len = size;
	content_range[0] = '\0';
	if (p->status != 200 || !p->ranges || r->method != FG_GET || !r->range)
		return;
	/* A range of something else than the client holds a part of: all of it. */
	if (r->if_range && (!p->tagged || strcmp(r->if_range, etag) != 0))
		return;
	switch (fg_range_parse(r->range, size, first, &last)) {
	case FG_RANGE_NONE:
		*first = 0;
		return;
	case FG_RANGE_OK:
		p->status = 206;
		*len = last - *first + 1;
		memcpy(content_range, "bytes ", 6);
		end = put_decimal(content_range + 6, *first);
		*end++ = '-';
		end = put_decimal(end, last);
		*end++ = '/';
		put_decimal(end, size);
		return;
	case FG_RANGE_BAD:
		p->status = 416;
		p->caching = FG_NO_STORE;
		*first = *len = 0;
		snprintf(content_range, 96, "bytes */%llu", (unsigned long long)size);
		return;
	}
}

static void
release_body(void *body)
{
	fg_buf_unref(body);
}

static ssize_t
read_nothing(void *ctx FG_UNUSED, uint64_t pos FG_UNUSED, char *buf FG_UNUSED,
    size_t max FG_UNUSED)
{
	return MHD_CONTENT_READER_END_WITH_ERROR;
}

static struct MHD_Response *
make_response(struct fg_request *r, uint64_t first, uint64_t len)
{
	struct fg_reply *p = &r->reply;
	static char nothing[1];
	struct MHD_Response *m;

	if (len == 0)
		return MHD_create_response_from_buffer(0, nothing,
		    MHD_RESPMEM_PERSISTENT);
	if (p->body && first >= p->body_at && len <= p->body->len &&
	    first - p->body_at <= p->body->len - len)
		return MHD_create_response_from_buffer_with_free_callback_cls(len,
		    p->body->data + (first - p->body_at), release_body,
		    fg_buf_ref(p->body));
	if (p->sized) /* HEAD: its length is told, nobody reads it */
		return MHD_create_response_from_callback(len, 4096, read_nothing, NULL,
		    NULL);
	fg_assert(p->has_file);
	if (!p->in_memory)
		m = fg_download_response(r->srv->sched, r->conn, p->file, first, len);
	else
		m = MHD_create_response_from_fd_at_offset64(len, p->file, first);
	if (m)
		p->has_file = false; /* the descriptor is the library's now */
	return m;
}

/* The connection, with its socket; NULL without TCP. */
static struct fg_connection *
connection_of(struct fg_request *r, int *fd)
{
	const union MHD_ConnectionInfo *own =
	    MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
	const union MHD_ConnectionInfo *i =
	    MHD_get_connection_info(r->conn, MHD_CONNECTION_INFO_CONNECTION_FD);

	if (!own || !own->socket_context || !i)
		return NULL;
	*fd = i->connect_fd;
	return own->socket_context;
}

/*
 * Whether what fills no packet is held back: the library sends the head of a reply from
 * a file by itself, and a second packet costs more than all that we do for the reply.
 * The connection stays that way, as a client that asks for one range asks for more; the
 * end of each reply is pushed (push_reply), and the kernel lets go by itself after 0.2
 * s.
 */
static void
hold_packets(struct fg_request *r, bool on)
{
	int fd, value = on;
	struct fg_connection *c = connection_of(r, &fd);

	if (!c)
		return;
	if (c->corked != on || (on && c->held < FG_HELD_SURE))
		setsockopt(fd, IPPROTO_TCP, TCP_CORK, &value, sizeof value);
	c->corked = on;
	c->held += on && c->held < FG_HELD_SURE;
	r->pushed = on;
}

/* That option is set already; setting it sends what is held back (tcp(7)). */
static void
push_reply(struct fg_request *r)
{
	int fd, on = 1;

	if (connection_of(r, &fd))
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static enum MHD_Result
send_reply(struct fg_request *r)
{
	struct fg_reply *p = &r->reply;
	struct MHD_Response *m;
	char etag[32] = "", content_range[96];
	uint64_t first, len;
	enum MHD_Result rc;
	bool file;

	fg_assert(p->status != 0);
	if (p->tagged)
		fg_reply_etag(p->etag, p->coding, etag);
	if (p->tagged && p->status == 200 &&
	    (r->method == FG_GET || r->method == FG_HEAD) &&
	    fg_etag_matches(r->if_none_match, etag)) {
		p->status = 304;
		fg_reply_fini(p);
	}
	apply_range(r, etag, &first, &len, content_range);
	file = p->has_file && p->in_memory;
	m = p->stream ? fg_events_response(r) : make_response(r, first, len);
	if (!m)
		return MHD_NO;
	/* The library took the descriptor. */
	hold_packets(r, file && !p->has_file && r->method == FG_GET);
	add_headers(r, m, etag);
	if (content_range[0])
		add_header(m, "Content-Range", content_range);
	rc = MHD_queue_response(r->conn, (unsigned)p->status, m);
	MHD_destroy_response(m);
	r->sent = true;
	r->bytes_sent = r->method == FG_HEAD || p->status == 304 ? 0 : len;
	fg_metrics_reply(&r->srv->metrics, r->kind, p->status, r->bytes_sent,
	    fg_clock_ns() - r->start_ns);
	return rc;
}

/* ------------------------------------------------------------- receiving */

static enum MHD_Result
collect_header(void *ctx, enum MHD_ValueKind kind, const char *key, const char *value)
{
	static const struct {
		const char *name;
		size_t at;
	} wanted[] = {
	    {"Range", offsetof(struct fg_request, range)},
	    {"If-Range", offsetof(struct fg_request, if_range)},
	    {"If-None-Match", offsetof(struct fg_request, if_none_match)},
	    {"Accept-Encoding", offsetof(struct fg_request, accept_encoding)},
	    {"Authorization", offsetof(struct fg_request, authorization)},
	    {"Sec-Fetch-Site", offsetof(struct fg_request, fetch_site)},
	    {"Origin", offsetof(struct fg_request, origin)},
	    {"X-Forwarded-For", offsetof(struct fg_request, forwarded_for)},
	    {"Access-Control-Request-Private-Network",
		offsetof(struct fg_request, private_network)},
	};
	struct fg_request *r = ctx;
	size_t n = strlen(key);

	(void)kind;
	if (!value)
		value = "";
	/* "Name : value" is how requests are smuggled past a proxy. */
	if (n == 0 || key[n - 1] == ' ' || key[n - 1] == '\t')
		r->bad_header = true;
	if (strcasecmp(key, "Host") == 0) {
		r->host = value;
		r->hosts++;
	} else if (strcasecmp(key, "Content-Length") == 0) {
		r->lengths++;
		r->length = strtoull(value, NULL, 10);
	} else if (strcasecmp(key, "Transfer-Encoding") == 0) {
		r->encodings++;
	}
	for (size_t i = 0; i < FG_COUNTOF(wanted); i++) {
		if (strcasecmp(key, wanted[i].name) == 0)
			*(const char **)((char *)r + wanted[i].at) = value;
	}
	return MHD_YES;
}

static enum fg_method
method_of(const char *text)
{
	static const char *const names[] = {
	    [FG_GET] = "GET",
	    [FG_HEAD] = "HEAD",
	    [FG_OPTIONS] = "OPTIONS",
	    [FG_POST] = "POST",
	    [FG_DELETE] = "DELETE",
	};

	for (size_t i = 0; i < FG_COUNTOF(names); i++) {
		if (strcmp(text, names[i]) == 0)
			return (enum fg_method)i;
	}
	return FG_METHOD_OTHER;
}

/* Requests whose end cannot be told, or that may mean two things: refused, and the
 * connection closed, before anything of their body is believed. */
static bool
refuse_framing(struct fg_request *r, const char *version)
{
	const char *why = NULL;

	if (r->lengths > 1)
		why = "more than one Content-Length";
	else if (r->lengths > 0 && r->encodings > 0)
		why = "Content-Length together with Transfer-Encoding";
	else if (r->encodings > 1)
		why = "more than one Transfer-Encoding";
	else if (r->hosts > 1)
		why = "more than one Host";
	else if (r->hosts == 0 && strcmp(version, MHD_HTTP_VERSION_1_0) != 0)
		why = "no Host";
	else if (r->bad_header)
		why = "white space between the name of a header and its colon";
	if (!why)
		return false;
	fg_reply_error(r, 400, "%s", why);
	r->reply.close = true;
	return true;
}

/* Largest body, KiB. The owner's own tool may send whole lists of decisions
 * (FG_EDITS_MAX of some 50 bytes), the same that it takes where no daemon runs. */
static int64_t
body_max_kb(const struct fg_request *r)
{
	int64_t kb = atomic_load(&r->srv->set)->body_max_kb;

	return r->control ? FG_MAX(kb, CONTROL_BODY_MAX_KB) : kb;
}

/* A body that announces itself as too large is not waited for. */
static bool
refuse_body(struct fg_request *r)
{
	int64_t kb = body_max_kb(r);

	if (r->length <= (uint64_t)kb * 1024)
		return false;
	fg_reply_error(r, 413, "the body is larger than %lld KiB (body_max_kb)",
	    (long long)kb);
	r->reply.close = true;
	return true;
}

/* First call: headers only. */
static enum MHD_Result
begin(struct fg_request *r, const char *method, const char *version)
{
	struct fg_server *s = r->srv;
	const char *origins = atomic_load(&s->set)->origins;

	r->begun = true;
	r->method = method_of(method);
	MHD_get_connection_values(r->conn, MHD_HEADER_KIND, collect_header, r);
	if (r->origin)
		r->cors = fg_origin_is_allowed(r->origin, origins, r->host);
	r->foreign = !r->control &&
		     fg_request_is_foreign(r->origin, r->fetch_site, origins, r->host);
	if (r->foreign)
		FG_COUNT(&s->metrics, foreign);
	if (refuse_framing(r, version) || refuse_body(r))
		return send_reply(r);
	/* Who sends a body may be told to go on before there is a reply. */
	if (r->length > 0 || r->encodings > 0)
		hold_packets(r, false);
	return MHD_YES;
}

/* Body bytes. One without a length that grows past the limit ends the connection: no
 * answer can be queued in the middle of an upload. */
static enum MHD_Result
collect_body(struct fg_request *r, const char *data, size_t *n)
{
	if (r->body.len + *n > (size_t)body_max_kb(r) * 1024)
		return MHD_NO;
	fg_str_put(&r->body, data, *n);
	*n = 0;
	return MHD_YES;
}

static void
reply_options(struct fg_request *r)
{
	fg_reply_bytes(r, 204, NULL, NULL);
	r->reply.allow = methods_of(r);
}

static void
reply_healthz(struct fg_request *r)
{
	fg_reply_bytes(r, 200, "text/plain", fg_buf_copy("ok\n", 3));
}

static void
dispatch_route(struct fg_request *r)
{
	switch (r->route.kind) {
	case FG_ROUTE_BAD:
	case FG_ROUTE_STAR:
		fg_reply_error(r, 400,
		    "the path holds something that no path here has");
		return;
	case FG_ROUTE_TOO_LONG:
		fg_reply_error(r, 414, "the path or the query is too long");
		return;
	case FG_ROUTE_PAGE:
		fg_page_handle(r);
		return;
	case FG_ROUTE_HEALTHZ:
		reply_healthz(r);
		return;
	case FG_ROUTE_READYZ:
		fg_status_ready(r);
		return;
	case FG_ROUTE_METRICS:
		fg_status_metrics(r);
		return;
	case FG_ROUTE_API:
		fg_api_handle(r);
		return;
	case FG_ROUTE_VIEWER:
		fg_viewer_handle(r);
		return;
	case FG_ROUTE_TOKEN:
		fg_reply_bytes(r, 307, NULL, NULL);
		snprintf(r->reply.location, sizeof r->reply.location, "/t/%s/",
		    r->route.token);
		return;
	case FG_ROUTE_ROOT_INFO:
	case FG_ROUTE_LAYER:
	case FG_ROUTE_LISTING:
	case FG_ROUTE_FILE:
		fg_files_handle(r);
		return;
	}
}

/* Last call: everything of the request is here. */
static void
dispatch(struct fg_request *r)
{
	struct fg_server *s = r->srv;
	bool reading = r->method == FG_GET || r->method == FG_HEAD;
	bool nowhere =
	    r->route.kind == FG_ROUTE_BAD || r->route.kind == FG_ROUTE_TOO_LONG;

	if (!r->control && r->host && !fg_host_is_allowed(r->host, s->hosts)) {
		fg_reply_error(r, 421,
		    "this server is not called %.100s (see the setting hosts)",
		    r->host);
	} else if (r->method == FG_OPTIONS) {
		reply_options(r);
	} else if (r->method == FG_METHOD_OTHER ||
		   (!reading && r->route.kind != FG_ROUTE_API && !nowhere)) {
		fg_reply_error(r, 405, "this method is not for this path");
		r->reply.allow = methods_of(r);
	} else if (atomic_load(&s->draining) && r->route.kind != FG_ROUTE_HEALTHZ) {
		/* Not a refused connection: a viewer takes that for "nothing there". */
		fg_reply_later(r, 10, "shutting down");
		r->reply.close = true;
	} else if (fg_request_admit(r)) {
		dispatch_route(r);
	}
}

enum MHD_Result
fg_http_handle(void *ctx, struct MHD_Connection *conn, const char *url,
    const char *method, const char *version, const char *data, size_t *n, void **req)
{
	struct fg_request *r = *req;

	(void)ctx;
	(void)url;
	if (!r) /* no memory in the URI callback: cannot happen, it aborts */
		return MHD_NO;
	r->conn = conn;
	if (!r->begun)
		return begin(r, method, version);
	if (*n > 0)
		return collect_body(r, data, n);
	if (r->sent)
		return MHD_YES;
	if (r->parked) {
		void (*resumed)(struct fg_request *) = r->resumed;

		r->parked = false;
		r->resumed = NULL;
		if (resumed)
			resumed(r);
	} else {
		dispatch(r);
	}
	/* A handler that parked may have been resumed by now, and completed only after
	 * this thread has returned: r is still there. */
	return r->parked ? MHD_YES : send_reply(r);
}

/* The memory of the last request that this thread has ended: one of this size from the
 * heap costs as much as all the rest of beginning a request. */
static struct fg_request *
request_alloc(struct fg_server *s)
{
	struct fg_request *r = pthread_getspecific(s->spare);

	if (!r)
		return fg_calloc(1, sizeof *r);
	pthread_setspecific(s->spare, NULL);
	memset(r, 0, sizeof *r);
	return r;
}

static void
request_free(struct fg_server *s, struct fg_request *r)
{
#ifdef __SANITIZE_ADDRESS__ /* sees who touches it too late */
	free(r);
	return;
#endif
	if (pthread_getspecific(s->spare) || pthread_setspecific(s->spare, r) != 0)
		free(r);
}

static struct fg_request *
request_new(struct fg_server *s, const char *target, bool control)
{
	struct fg_request *r = request_alloc(s);

	r->srv = s;
	r->control = control;
	r->kind = FG_METRICS_OTHER;
	r->number = atomic_fetch_add(&s->requests, 1) + 1;
	r->start_ns = fg_clock_ns();
	fg_route_parse(target, &r->route);
	atomic_fetch_add(&s->active, 1);
	return r;
}

void *
fg_http_begin_tcp(void *ctx, const char *target, struct MHD_Connection *conn)
{
	(void)conn;
	return request_new(ctx, target, false);
}

void *
fg_http_begin_control(void *ctx, const char *target, struct MHD_Connection *conn)
{
	(void)conn;
	return request_new(ctx, target, true);
}

/* Without the query: it may hold what is nobody's business. */
static void
log_access(struct fg_request *r)
{
	static const char *const methods[] = {
	    [FG_GET] = "GET",
	    [FG_HEAD] = "HEAD",
	    [FG_OPTIONS] = "OPTIONS",
	    [FG_POST] = "POST",
	    [FG_DELETE] = "DELETE",
	    [FG_METHOD_OTHER] = "other",
	};
	const char *name = r->grant && r->grant->name ? r->grant->name : "-";
	char client[64];

	fg_request_address(r, client);
	fg_log(FG_LOG_INFO,
	    "request id=%s-%llu client=%s token=%s method=%s status=%d bytes=%llu "
	    "ms=%.1f path=%s",
	    r->srv->run_id, (unsigned long long)r->number, client, name,
	    methods[r->method], r->reply.status, (unsigned long long)r->bytes_sent,
	    (double)(fg_clock_ns() - r->start_ns) / 1e6, r->route.path);
}

void
fg_http_completed(void *ctx, struct MHD_Connection *conn, void **req,
    enum MHD_RequestTerminationCode why)
{
	struct fg_server *s = ctx;
	struct fg_request *r = *req;

	(void)why;
	if (!r)
		return;
	*req = NULL;
	r->conn = conn;
	/* Before the descriptor's number can be used again. */
	fg_watch_drop(s->watch, &r->watch);
	if (r->pushed)
		push_reply(r);
	fg_assert(!r->counted);
	if (atomic_load(&s->set)->access_log)
		log_access(r);
	fg_layer_unref(r->layer);
	fg_events_drop(r->reply.stream);
	fg_reply_fini(&r->reply);
	fg_buf_unref(r->chunk.bytes);
	fg_str_fini(&r->body);
	request_free(s, r);
	atomic_fetch_sub(&s->active, 1);
}
