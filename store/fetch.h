/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Getting bytes from web servers: many fetches at a time over kept connections, each
 * tried again with growing delays, bounded in size and time. This is the only place
 * that talks to upstreams.
 *
 * There is no thread here. Callers block in fg_fetch_run; one of them at a time drives
 * all fetches of all callers, and another goes on when its own are done. Any thread may
 * call, except event threads.
 *
 * A host that does not answer is left alone for a while (1 s, doubled up to 30 s):
 * fetches fail at once meanwhile, so that a dead upstream does not hold up threads that
 * others need.
 *
 * Where a fetch may lead is decided by its caller's URL alone; redirects are followed
 * by fg_fetch_redirect_check. User names in URLs, .netrc files and cookies are not
 * used. Proxies are those of the environment (https_proxy, no_proxy).
 */
#ifndef FG_STORE_FETCH_H
#define FG_STORE_FETCH_H

#include "base/buf.h"
#include "store/fetch_head.h"
#include "store/sigv4.h"

struct fg_fetcher;

/* 0: the value in brackets. */
struct fg_fetch_options {
	int connections;    /* to one host at a time [16] */
	int64_t connect_ms; /* until connected [5000] */
	int64_t stall_ms;   /* without a byte; whole seconds [10000] */
	int64_t total_ms;   /* one fetch with all its tries [30000] */
	int tries;          /* [4] */
	int64_t retry_ms;   /* before the second try, then doubled [200] */
};

enum fg_fetched {
	FG_FETCHED_NOTHING, /* failed: see err */
	FG_FETCHED_BYTES,
	FG_FETCHED_SAME,   /* still the version of if_tag (304) */
	FG_FETCHED_ABSENT, /* 404, 410 */
	FG_FETCHED_OTHER,  /* not the version of same_tag any more */
};

struct fg_fetch {
	/* Wanted. Strings are the caller's until fg_fetch_run returns. */
	const char *url;
	bool ranged; /* exactly these bytes, as stored: */
	uint64_t off, len;
	const char *if_tag;    /* fetch only if it is not this version; NULL: anyway */
	const char *same_tag;  /* fetch only if it is this version; NULL: any */
	size_t limit;          /* longest body, as sent */
	bool anywhere;         /* redirects may lead to other hosts */
	bool denied_is_absent; /* 403 means "not there" */
	const struct fg_sigv4_key *key; /* sign with it; NULL: no */
	const char *bearer;             /* OAuth token; NULL: none */

	/* Found. */
	enum fg_fetched got;
	struct fg_buf *body;   /* one reference */
	enum fg_coding coding; /* of the body; none if ranged */
	uint64_t size;         /* of the whole file as stored; UINT64_MAX: not told */
	bool no_store;
	char tag[FG_TAG_MAX]; /* "" if the server gives none */
	int tries;
	struct fg_err err;
};

struct fg_fetcher *fg_fetcher_new(const struct fg_fetch_options *opt,
    struct fg_err *err) FG_MUST_USE;
/* Nobody may be in fg_fetch_run. */
void fg_fetcher_free(struct fg_fetcher *h);
/* All fetches end now as cancelled, and all later ones at once. */
void fg_fetcher_stop(struct fg_fetcher *h);

/*
 * Do them all; blocks until the last is done. Each tells its own end. Errors:
 *   FG_EIO       failing for now (connection, time, 408, 425, 429, 5xx), tries used up
 *   FG_ECORRUPT  can never be right (wrong range, unknown coding, refused access, odd
 *                status or head, a redirect that is not followed, bad certificate)
 *   FG_EFULL     longer than the limit
 *   FG_ECANCELED
 */
void fg_fetch_run(struct fg_fetcher *h, struct fg_fetch *f, size_t n);

struct fg_fetch_stats {
	uint64_t fetches, bytes, retries, failed, same, connections;
};
void fg_fetcher_get_stats(struct fg_fetcher *h, struct fg_fetch_stats *out);

#endif
