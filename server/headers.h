/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Request headers that floodgate interprets, as pure functions of their text (NULL =
 * the header is absent). Lists (hosts, origins) have the form of the settings.
 */
#ifndef FG_SERVER_HEADERS_H
#define FG_SERVER_HEADERS_H

#include "formats/codec.h"

enum fg_range {
	FG_RANGE_NONE, /* absent, of another unit, several, or malformed: send it whole
			*/
	FG_RANGE_OK,
	FG_RANGE_BAD, /* well-formed, but outside: 416 */
};
/* "bytes=a-b", "bytes=a-", "bytes=-n" of a body of `len` bytes: *first .. *last, both
 * included (RFC 9110 section 14). */
enum fg_range fg_range_parse(const char *value, uint64_t len, uint64_t *first,
    uint64_t *last);

/* Whether If-None-Match names the entity tag (given with its quotes); weak comparison,
 * "*" matches everything. */
bool fg_etag_matches(const char *if_none_match, const char *etag);

/* The content coding to use for a client that sent this Accept-Encoding: zstd or gzip,
 * whichever has the greater weight (zstd where they are equal), else none. */
enum fg_coding fg_coding_choose(const char *accept_encoding);
/* Whether the client takes that coding. */
bool fg_coding_is_accepted(const char *accept_encoding, enum fg_coding c);
/* "gzip", "zstd", "br"; NULL for none. */
const char *fg_coding_name(enum fg_coding c);

/* Whether the name in a Host header (with or without a port) is loopback or in the
 * list. Guards against DNS rebinding: a page whose name was pointed at this machine
 * arrives with a Host that is not ours. */
bool fg_host_is_allowed(const char *host, const char *list);

/* Whether a web origin may read replies: in the list, loopback where the list has that
 * word, "*" in the list, or the server's own ("http://" or "https://" + Host). */
bool fg_origin_is_allowed(const char *origin, const char *list, const char *host);

/* Whether the request was made by a page of another site: an Origin that is not
 * allowed, or, without one, Sec-Fetch-Site says so. Programs send neither. */
bool fg_request_is_foreign(const char *origin, const char *sec_fetch_site,
    const char *list, const char *host);

#endif
