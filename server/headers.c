/* SPDX-License-Identifier: Apache-2.0 */
/* Request headers: see the header. */
#include "config.h"

#include "server/headers.h"

#include <stdlib.h>
#include <strings.h>

#include "server/settings.h"

/* Decimal digits at *p, at most 19 of them; false if there are none or too many. */
static bool
digits(const char **p, uint64_t *out)
{
	uint64_t v = 0;
	size_t n = strspn(*p, "0123456789");

	if (n == 0 || n > 19)
		return false;
	for (size_t i = 0; i < n; i++)
		v = v * 10 + (uint64_t)((*p)[i] - '0');
	*p += n;
	*out = v;
	return true;
}

enum fg_range
fg_range_parse(const char *value, uint64_t len, uint64_t *first, uint64_t *last)
{
	uint64_t a = 0, b = UINT64_MAX;
	const char *p = value;

	if (!p || strncasecmp(p, "bytes=", 6) != 0)
		return FG_RANGE_NONE;
	p += 6;
	if (*p == '-') { /* the last n bytes */
		p++;
		if (!digits(&p, &b) || *p)
			return FG_RANGE_NONE;
		if (b == 0 || len == 0)
			return FG_RANGE_BAD;
		*first = b < len ? len - b : 0;
		*last = len - 1;
		return FG_RANGE_OK;
	}
	if (!digits(&p, &a) || *p++ != '-' || (*p && !digits(&p, &b)) || *p || b < a)
		return FG_RANGE_NONE;
	if (a >= len)
		return FG_RANGE_BAD;
	*first = a;
	*last = FG_MIN(b, len - 1);
	return FG_RANGE_OK;
}

bool
fg_etag_matches(const char *if_none_match, const char *etag)
{
	size_t n = strlen(etag);
	const char *p = if_none_match;

	if (!p)
		return false;
	p += strspn(p, " \t");
	if (strcmp(p, "*") == 0)
		return true;
	while (*p) {
		const char *end;

		if (p[0] == 'W' && p[1] == '/')
			p += 2;
		end = *p == '"' ? strchr(p + 1, '"') : NULL;
		if (!end)
			return false;
		if ((size_t)(end + 1 - p) == n && memcmp(p, etag, n) == 0)
			return true;
		p = end + 1;
		p += strspn(p, " \t,");
	}
	return false;
}

/* A qvalue (RFC 9110 section 12.4.2) in thousandths: "0.5", "1", at most three digits
 * behind the point; what is anything else counts as 0. */
static int
thousandths(const char *p, const char *end)
{
	int v, unit = 100;

	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	if (p == end || (*p != '0' && *p != '1'))
		return 0;
	v = (*p++ - '0') * 1000;
	if (p == end)
		return v;
	if (*p++ != '.' || end - p > 3)
		return 0;
	for (; p < end; p++, unit /= 10) {
		if (*p < '0' || *p > '9')
			return 0;
		v += (*p - '0') * unit;
	}
	return v <= 1000 ? v : 0;
}

/* Weight of one element ("gzip;q=0.5") in thousandths, 1000 if none is given. */
static int
weight(const char *p, size_t n)
{
	const char *q = memchr(p, ';', n);

	if (!q)
		return 1000;
	q++;
	while (q < p + n && (*q == ' ' || *q == '\t'))
		q++;
	if (q + 2 > p + n || (q[0] != 'q' && q[0] != 'Q') || q[1] != '=')
		return 1000;
	return thousandths(q + 2, p + n);
}

/* Weight of a coding in Accept-Encoding; -1: not named, not even by "*". */
static int
coding_weight(const char *accept, const char *name)
{
	int star = -1;

	for (const char *p = accept; *p;) {
		size_t n = strcspn(p, ","), skip = strspn(p, " \t");
		size_t word;

		if (skip < n) {
			const char *e = p + skip;
			size_t len = n - skip;

			word = strcspn(e, ";, \t");
			if (word == strlen(name) && strncasecmp(e, name, word) == 0)
				return weight(e, len);
			if (word == 1 && *e == '*')
				star = weight(e, len);
		}
		p += n;
		p += *p == ',';
	}
	return star;
}

const char *
fg_coding_name(enum fg_coding c)
{
	switch (c) {
	case FG_CODING_GZIP:
		return "gzip";
	case FG_CODING_ZSTD:
		return "zstd";
	case FG_CODING_BROTLI:
		return "br";
	case FG_CODING_NONE:
		break;
	}
	return NULL;
}

bool
fg_coding_is_accepted(const char *accept_encoding, enum fg_coding c)
{
	const char *name = fg_coding_name(c);

	if (!name)
		return true;
	return accept_encoding && coding_weight(accept_encoding, name) > 0;
}

enum fg_coding
fg_coding_choose(const char *accept_encoding)
{
	int gzip, zstd;

	if (!accept_encoding)
		return FG_CODING_NONE;
	gzip = coding_weight(accept_encoding, "gzip");
	zstd = coding_weight(accept_encoding, "zstd");
	if (zstd > 0 && zstd >= gzip)
		return FG_CODING_ZSTD;
	return gzip > 0 ? FG_CODING_GZIP : FG_CODING_NONE;
}

/* Length of the name in "name", "name:port", "[v6]", "[v6]:port"; 0 if malformed. */
static size_t
host_name_length(const char *host)
{
	size_t n;

	if (*host == '[') {
		n = strcspn(host, "]");
		n += host[n] == ']';
	} else {
		n = strcspn(host, ":");
	}
	if (host[n] == '\0')
		return n;
	if (host[n] != ':' ||
	    strspn(host + n + 1, "0123456789") != strlen(host + n + 1))
		return 0;
	return n;
}

static bool
is_loopback_name(const char *p, size_t n)
{
	static const char suffix[] = ".localhost";
	size_t tail = sizeof suffix - 1;

	if (n == 9 && strncasecmp(p, "localhost", 9) == 0)
		return true;
	if (n > tail && strncasecmp(p + n - tail, suffix, tail) == 0)
		return true;
	if (n == 5 && memcmp(p, "[::1]", 5) == 0)
		return true;
	/* 127.a.b.c: digits and dots only, or 127.evil.example would pass. */
	if (n < 9 || n > 15 || memcmp(p, "127.", 4) != 0)
		return false;
	for (size_t i = 4; i < n; i++) {
		if (p[i] != '.' && (p[i] < '0' || p[i] > '9'))
			return false;
	}
	return true;
}

bool
fg_host_is_allowed(const char *host, const char *list)
{
	size_t n = host_name_length(host);

	if (n == 0)
		return false;
	return is_loopback_name(host, n) || fg_list_has(list, host, n) ||
	       fg_list_has(list, host, strlen(host)) || fg_list_has(list, "*", 1);
}

bool
fg_origin_is_allowed(const char *origin, const char *list, const char *host)
{
	const char *name;

	if (fg_list_has(list, "*", 1) || fg_list_has(list, origin, strlen(origin)))
		return true;
	if (strncmp(origin, "http://", 7) == 0)
		name = origin + 7;
	else if (strncmp(origin, "https://", 8) == 0)
		name = origin + 8;
	else
		return false;
	if (host && strcasecmp(name, host) == 0)
		return true;
	return fg_list_has(list, "loopback", 8) &&
	       is_loopback_name(name, host_name_length(name));
}

bool
fg_request_is_foreign(const char *origin, const char *sec_fetch_site, const char *list,
    const char *host)
{
	if (origin)
		return !fg_origin_is_allowed(origin, list, host);
	return sec_fetch_site && (strcmp(sec_fetch_site, "cross-site") == 0 ||
				     strcmp(sec_fetch_site, "same-site") == 0);
}
