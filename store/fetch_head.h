/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an upstream server sends before the body, and the addresses it may be asked at:
 * pure functions of text, so that they can be tested and fuzzed without a server.
 */
#ifndef FG_STORE_FETCH_HEAD_H
#define FG_STORE_FETCH_HEAD_H

#include "base/err.h"
#include "formats/codec.h"

#define FG_TAG_MAX 160

struct fg_fetch_head {
	int status; /* 0: no status line yet */
	bool has_length, has_range, has_coding, no_store, broken;
	uint64_t length;       /* Content-Length */
	uint64_t first, last;  /* Content-Range, both included */
	uint64_t total;        /* its third number; UINT64_MAX: "*" or no header */
	enum fg_coding coding; /* Content-Encoding, if it is one that we know */
	bool unknown_coding;   /* Content-Encoding names something else */
	int retry_after_s;     /* Retry-After in seconds, 0: none */
	/* What tells versions of the body apart: the ETag as sent, else "@" and the
	 * Last-Modified date; "" if there is neither. */
	char tag[FG_TAG_MAX];
};

/* One header line with or without its line end. A status line begins a new head (after
 * "100 Continue" and the like). Lines that cannot be right set `broken`. */
void fg_fetch_head_line(struct fg_fetch_head *h, const char *p, size_t n);

/* Does the tag name exactly one version of the bytes (a strong ETag)? */
bool fg_fetch_tag_is_strong(const char *tag);

/* The parts of an http or https URL that say where it leads. */
struct fg_fetch_url {
	bool tls;
	char host[256]; /* lower case; IPv6 with its brackets */
	int port;
	size_t path; /* where the path begins in the text; its length if it has none */
};

/* Strict: http or https, a host, no user name or password, no fragment, no blanks or
 * control bytes, at most 4096 bytes. Fails: FG_EINVAL, which shows no more of the text
 * than its beginning. */
int fg_fetch_url_parse(const char *url, struct fg_fetch_url *out,
    struct fg_err *err) FG_MUST_USE;

/*
 * May a fetch that was sent to `from` go on at `to`, as a reply asked for? To the same
 * host and port, or from http to https at the same host with their usual ports; to
 * another host only if `anywhere`; never from https to http, nor to another scheme.
 * Fails: FG_ECORRUPT, which says where it was to lead.
 */
int fg_fetch_redirect_check(const char *from, const char *to, bool anywhere,
    struct fg_err *err) FG_MUST_USE;

#endif
