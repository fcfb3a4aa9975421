/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One HTTP request from its first header to its last byte, shared by the files of
 * server/ that answer it.
 *
 * Life. http.c makes it when the request line is read and frees it when libmicrohttpd
 * says the request is completed. In between it belongs to one side at a time:
 *
 *   event thread   parses, looks things up in memory, calls fg_reply_* to describe the
 *                  answer, and sends it; or parks the request:
 *   parked         the connection is suspended, and exactly one other thread (worker,
 *                  waker of the scheduler, watch) will describe the answer and call
 *                  fg_request_resume as its last act on it.
 *
 * `reply` is a description in plain members; only http.c turns it into bytes on a
 * connection. A handler that neither parks nor describes an answer is a bug (asserted).
 */
#ifndef FG_SERVER_REQUEST_H
#define FG_SERVER_REQUEST_H

#include "formats/codec.h"
#include "server/clients.h"
#include "server/route.h"
#include "server/server.h"
#include "server/watch.h"
#include "work/sched.h"

struct MHD_Connection;
struct fg_request;

enum fg_method {
	FG_GET,
	FG_HEAD,
	FG_OPTIONS,
	FG_POST,
	FG_DELETE,
	FG_METHOD_OTHER,
};

enum fg_caching {
	FG_NO_STORE,  /* errors, anything that is true only now */
	FG_NO_CACHE,  /* may be kept, must be asked about again (ETag) */
	FG_IMMUTABLE, /* the URL names these bytes for ever */
};

/* Which content security policy goes with a reply. */
enum fg_policy {
	FG_POLICY_NONE,
	FG_POLICY_PAGE,   /* HTML of our own: only what is served here */
	FG_POLICY_VIEWER, /* Neuroglancer: also WebAssembly, and data from elsewhere */
};

struct fg_reply {
	int status;          /* 0: not described yet */
	struct fg_buf *body; /* owned reference; NULL: none */
	const char *type;    /* static text; NULL: none */
	bool tagged;
	uint64_t etag;  /* hash of the identity bytes, if tagged */
	uint8_t coding; /* enum fg_coding of body */
	bool vary;      /* the coding depends on Accept-Encoding */
	bool ranges;    /* body is the identity form and may be cut by Range */
	uint8_t caching;
	int retry_after;    /* seconds; 0: no such header */
	const char *allow;  /* for 405 */
	char location[640]; /* for redirects; "" = none */
	bool close;         /* end the connection after it */
	uint8_t policy;     /* enum fg_policy */
	/* A large file, sent from its descriptor; body then holds a part of it that
	 * was read ahead (or NULL), from byte body_at on. */
	bool has_file;
	bool in_memory; /* what is wanted of it: the kernel sends it without waiting */
	int file;       /* owned descriptor, if has_file */
	uint64_t file_size, body_at;
	/* Body is the part that is wanted, from body_at on, of file_size bytes that are
	 * elsewhere: there is no file. */
	bool sized;
	struct fg_stream *stream; /* the body is this, owned; NULL: it is `body` */
};

/* What a chunk request has found out so far; see chunk.c. */
struct fg_chunk_state {
	int scale;
	int64_t ch[3];
	struct fg_key key;
	uint64_t salt;
	uint8_t coding; /* wanted */
	struct fg_place place;
	struct fg_buf *bytes; /* identity bytes, owned */
	uint8_t wake;         /* enum fg_wake or a FG_PARK_ value */
	bool made;            /* counted as made, not as read */
	bool named;           /* bytes hold the ids that the layer shows */
	int rounds;           /* look-ups so far */
	double held_s;        /* how long the request is held at most; 0: not */
	struct fg_err err;
	/* What goes on after waiting: look it up once more; c->bytes are what was
	 * wanted (NULL: look up). */
	void (*again)(struct fg_request *r);
	void (*made_bytes)(struct fg_request *r);
};

/* Which meshes a layer's info names: /layer/, /layer@legacy/, /layer@multilod/. */
enum fg_mesh_choice { FG_MESH_DEFAULT, FG_MESH_LEGACY, FG_MESH_MULTILOD };

struct fg_request {
	struct fg_server *srv;
	struct MHD_Connection *conn;
	uint64_t number; /* counts from 1; part of the request id */
	int64_t start_ns;
	bool control; /* came over the control socket: may do everything */
	bool begun, parked, sent;
	bool pushed; /* the end of the reply has to be */

	enum fg_method method;
	struct fg_route route;
	/* header values, owned by the connection */
	const char *host, *origin, *range, *if_range, *if_none_match, *accept_encoding,
	    *authorization, *fetch_site, *private_network, *forwarded_for;
	int hosts, lengths, encodings; /* how many of each header */
	uint64_t length;               /* announced Content-Length */
	bool bad_header;
	bool foreign;                 /* made by a page whose origin is not allowed */
	bool cors;                    /* origin is there and allowed */
	const struct fg_grant *grant; /* what the caller may do */
	enum fg_metrics_kind kind;
	uint64_t bytes_sent;
	struct fg_str body;

	struct fg_reply reply;

	/* parking */
	struct fg_layer *layer; /* held reference */
	struct fg_chunk_state chunk;
	struct fg_route_object object; /* of a mesh or skeleton, see object.c */
	enum fg_mesh_choice meshes;
	struct fg_waiter waiter;
	struct fg_watched watch;
	struct fg_client_id client;
	bool counted; /* client is entered in the table of clients */
	/* What to do on the event thread after the resume; NULL: send reply. */
	void (*resumed)(struct fg_request *r);
	void (*work)(struct fg_request *r); /* on a worker thread */
};

/* ------------------------------------------------------------- parking (http.c) */

/* Suspend the connection: first step of parking, on the event thread. */
void fg_request_suspend(struct fg_request *r);
/* Let the event thread go on with r->resumed or r->reply; r must not be touched
 * afterwards. Any thread. */
void fg_request_resume(struct fg_request *r);

/* Park and run work(r) on a thread of the resource; it describes the answer, or what
 * `resumed` needs to do so (NULL: send the reply). Answers 503 when the queue is
 * full. Event thread; r may be gone when this returns, so return at once. */
void fg_request_work(struct fg_request *r, enum fg_resource res,
    void (*work)(struct fg_request *r), void (*resumed)(struct fg_request *r));

/* ------------------------------------------------------------- callers (caller.c) */

/* Who calls and what it may do: finds the grant. False: refused, the answer is
 * described. Event thread, before anything else is done for the request. */
bool fg_request_admit(struct fg_request *r);
/* Whether the caller may make calls that write and need that role; false: the answer is
 * described. */
bool fg_request_may_write(struct fg_request *r, enum fg_role needs);
/* The same for having a chunk made by asking for it; describes nothing. */
bool fg_request_may_compute(const struct fg_request *r);
/* Whether the caller sees a layer: NAME.prob goes with NAME. */
bool fg_access_sees(const struct fg_request *r, const struct fg_layer *l);
/* The same for a layer of that name, which need not be there (any more). */
bool fg_access_sees_name(const struct fg_request *r, const char *name);
/* True if it sees all. */
bool fg_access_sees_all(const struct fg_request *r);
/* A reference to the layer that the caller knows by that name, or NULL. */
struct fg_layer *fg_request_layer(struct fg_request *r, const char *name, size_t n);
/* All layers that the caller sees, as fg_catalog_list. */
void fg_request_layers(struct fg_request *r, struct fg_layer ***out, size_t *n);
/* Where the caller finds this server: "http://host:port" and "/t/TOKEN" if it came that
 * way. */
#define FG_BASE_MAX 512
void fg_request_base(const struct fg_request *r, char out[FG_BASE_MAX]);
/* Address (behind a trusted proxy: the one that it names) and token, as one key. */
void fg_request_client(struct fg_request *r, bool wait, struct fg_client_id *out);
/* The address as text. */
void fg_request_address(struct fg_request *r, char out[64]);

/* ------------------------------------------------------------- answers (reply.c) */

/* Release body and file. */
void fg_reply_fini(struct fg_reply *p);
/* A body of that type; takes the reference of `body`. */
void fg_reply_bytes(struct fg_request *r, int status, const char *type,
    struct fg_buf *body);
/* JSON; takes the reference of j. */
void fg_reply_json(struct fg_request *r, int status, json_t *j);
/* The same without the server's file names, unless it goes to the control socket. */
void fg_reply_public(struct fg_request *r, int status, json_t *j);
/* Absolute paths anywhere in j become their last word, but for the "url" of a job. */
void fg_reply_shorten(json_t *j);
/* {"error": text} with that status. */
void fg_reply_error(struct fg_request *r, int status, const char *fmt, ...)
    FG_PRINTF(3, 4);
/* The same from a failure: the one table of codes and statuses. */
void fg_reply_err(struct fg_request *r, const struct fg_err *err);
/* A failure to read a layer's source, which is upstream of us: as fg_reply_err, but 502
 * for what can never be right. */
void fg_reply_source_err(struct fg_request *r, const struct fg_err *err);
/* 503 with Retry-After, in seconds. */
void fg_reply_later(struct fg_request *r, int retry_after, const char *fmt, ...)
    FG_PRINTF(3, 4);
int fg_reply_status_of(enum fg_code code);
/* An entity tag as it stands in the header, with quotes; out has 32 bytes. */
void fg_reply_etag(uint64_t hash, enum fg_coding c, char out[32]);

/* ------------------------------------------------------------- handlers */

void fg_chunk_handle(struct fg_request *r); /* chunk.c: a chunk of r->layer */
/* chunk.c: r->chunk.key is not there. May this request start work, and wait for it?
 * Ends in r->chunk.again or made_bytes, or in a reply. */
void fg_chunk_want(struct fg_request *r);
/* chunk.c: ?v=UUID pins a layer, not only a name: what never changes within a layer
 * never changes under such a URL. */
bool fg_request_is_pinned(const struct fg_request *r);
void fg_object_handle(struct fg_request *r); /* object.c: r->object of r->layer */
/* object.c: the info of a layer with objects, naming the meshes that are to be taken.
 */
void fg_object_info(struct fg_request *r);
/* levels.c: multi-resolution meshes */
void fg_levels_handle(struct fg_request *r);
void fg_files_handle(struct fg_request *r); /* files.c: /layer... */
void fg_api_handle(struct fg_request *r);   /* api.c: /api/... */
void fg_page_handle(struct fg_request *r);  /* page.c: / and its parts */
void fg_page_asset(struct fg_request *r, const char *name);
/* viewer.c: Content-Type by the end of a name. */
const char *fg_type_of_name(const char *name);
void fg_status_handle(struct fg_request *r);  /* status.c: /api/status */
void fg_status_ready(struct fg_request *r);   /* /readyz */
void fg_status_metrics(struct fg_request *r); /* /metrics */
void fg_token_access(struct fg_request *r);   /* token.c: /api/access */
void fg_token_make(struct fg_request *r);     /* /api/tokens */

/* preview.c: /api/layers/NAME/blocks and .../slice, on io threads */
void fg_preview_blocks(struct fg_request *r);
void fg_preview_slice(struct fg_request *r);
void fg_preview_value(struct fg_request *r); /* .../value */

/* objects.c: a file of a layer that is about its objects; false: it is none. Event
 * thread. The others: /api/layers/NAME/..., on worker threads. */
bool fg_objects_file(struct fg_request *r);
void fg_objects_merges(struct fg_request *r);
void fg_objects_contacts(struct fg_request *r);
void fg_objects_contacts(struct fg_request *r);
void fg_objects_edits(struct fg_request *r);
void fg_objects_edit(struct fg_request *r);
void fg_objects_undo(struct fg_request *r);
void fg_objects_show(struct fg_request *r);

/* jobs.c: /api/jobs, on worker threads */
void fg_jobs_submit(struct fg_request *r);
void fg_jobs_list(struct fg_request *r);
void fg_jobs_show(struct fg_request *r);
void fg_jobs_cancel(struct fg_request *r);
void fg_jobs_pause(struct fg_request *r);
void fg_jobs_resume(struct fg_request *r);
void fg_jobs_retry(struct fg_request *r);

#endif
