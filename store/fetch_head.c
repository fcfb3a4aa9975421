/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the head of an upstream's reply (RFC 9110), and URLs: see the header. */
#include "config.h"

#include "store/fetch_head.h"

#include <stdio.h>
#include <strings.h>

/* Digits only, all of p[0..n). */
static bool
parse_number(const char *p, size_t n, uint64_t *out)
{
	uint64_t v = 0;

	if (n == 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9' || __builtin_mul_overflow(v, 10, &v) ||
		    __builtin_add_overflow(v, (uint64_t)(p[i] - '0'), &v))
			return false;
	}
	*out = v;
	return true;
}

static bool
is_name(const char *p, size_t n, const char *name)
{
	return strlen(name) == n && strncasecmp(p, name, n) == 0;
}

/* "HTTP/1.1 200 OK" */
static void
status_line(struct fg_fetch_head *h, const char *p, size_t n)
{
	const char *blank = memchr(p, ' ', n);
	uint64_t status = 0;

	*h = (struct fg_fetch_head){.total = UINT64_MAX};
	if (!blank || (size_t)(p + n - blank) < 4 ||
	    !parse_number(blank + 1, 3, &status))
		h->broken = true;
	else
		h->status = (int)status;
}

static void
content_length(struct fg_fetch_head *h, const char *p, size_t n)
{
	uint64_t v;

	if (!parse_number(p, n, &v) || (h->has_length && v != h->length)) {
		h->broken = true;
		return;
	}
	h->has_length = true;
	h->length = v;
}

/* "bytes 0-15/100", "bytes 0-15" and a star for an unknown total; of a 416 the range
 * itself is a star. */
static void
content_range(struct fg_fetch_head *h, const char *p, size_t n)
{
	const char *slash, *dash;

	if (n < 6 || strncasecmp(p, "bytes ", 6) != 0) {
		h->broken = true;
		return;
	}
	p += 6;
	n -= 6;
	slash = memchr(p, '/', n);
	if (!slash) {
		h->broken = true;
		return;
	}
	size_t total_n = (size_t)(p + n - slash) - 1, range_n = (size_t)(slash - p);
	if (!(total_n == 1 && slash[1] == '*') &&
	    !parse_number(slash + 1, total_n, &h->total))
		h->broken = true;
	if (range_n == 1 && *p == '*')
		return;
	dash = memchr(p, '-', range_n);
	if (!dash || !parse_number(p, (size_t)(dash - p), &h->first) ||
	    !parse_number(dash + 1, (size_t)(slash - dash) - 1, &h->last) ||
	    h->first > h->last || h->last >= h->total)
		h->broken = true;
	else
		h->has_range = true;
}

static void
content_encoding(struct fg_fetch_head *h, const char *p, size_t n)
{
	static const struct {
		const char *name;
		enum fg_coding coding;
	} known[] = {
	    {"identity", FG_CODING_NONE},
	    {"gzip", FG_CODING_GZIP},
	    {"x-gzip", FG_CODING_GZIP},
	    {"zstd", FG_CODING_ZSTD},
	    {"br", FG_CODING_BROTLI},
	};

	if (n == 0)
		return;
	for (size_t i = 0; i < FG_COUNTOF(known); i++) {
		if (is_name(p, n, known[i].name) && !h->has_coding) {
			h->has_coding = true;
			h->coding = known[i].coding;
			return;
		}
	}
	h->unknown_coding = true; /* another one, or several */
}

/* Text that can be sent back in a header, or nothing. */
static void
keep_tag(struct fg_fetch_head *h, const char *prefix, const char *p, size_t n)
{
	if (n == 0 || n + strlen(prefix) >= sizeof h->tag)
		return;
	for (size_t i = 0; i < n; i++) {
		if ((unsigned char)p[i] < 0x20 || p[i] == 0x7f)
			return;
	}
	snprintf(h->tag, sizeof h->tag, "%s%.*s", prefix, (int)n, p);
}

static void
etag(struct fg_fetch_head *h, const char *p, size_t n)
{
	size_t weak = n > 2 && p[0] == 'W' && p[1] == '/' ? 2 : 0;

	if (n < weak + 2 || p[weak] != '"' || p[n - 1] != '"')
		return; /* not a tag: as if there were none */
	if (h->tag[0] == '@')
		h->tag[0] = '\0';
	keep_tag(h, "", p, n);
}

static void
last_modified(struct fg_fetch_head *h, const char *p, size_t n)
{
	if (!h->tag[0])
		keep_tag(h, "@", p, n);
}

static void
retry_after(struct fg_fetch_head *h, const char *p, size_t n)
{
	uint64_t v;

	if (parse_number(p, n, &v)) /* a date is left: waiting is a courtesy */
		h->retry_after_s = (int)FG_MIN(v, 3600);
}

static void
cache_control(struct fg_fetch_head *h, const char *p, size_t n)
{
	static const char word[] = "no-store";

	for (size_t i = 0; i + sizeof word - 1 <= n; i++) {
		if (strncasecmp(p + i, word, sizeof word - 1) == 0)
			h->no_store = true;
	}
}

void
fg_fetch_head_line(struct fg_fetch_head *h, const char *p, size_t n)
{
	static const struct {
		const char *name;
		void (*read)(struct fg_fetch_head *, const char *, size_t);
	} fields[] = {
	    {"Content-Length", content_length},
	    {"Content-Range", content_range},
	    {"Content-Encoding", content_encoding},
	    {"ETag", etag},
	    {"Last-Modified", last_modified},
	    {"Retry-After", retry_after},
	    {"Cache-Control", cache_control},
	};
	const char *colon, *value;

	while (n > 0 && (p[n - 1] == '\r' || p[n - 1] == '\n' || p[n - 1] == ' ' ||
			    p[n - 1] == '\t'))
		n--;
	if (n >= 5 && memcmp(p, "HTTP/", 5) == 0) {
		status_line(h, p, n);
		return;
	}
	colon = memchr(p, ':', n);
	if (!colon)
		return;
	value = colon + 1;
	while (value < p + n && (*value == ' ' || *value == '\t'))
		value++;
	for (size_t i = 0; i < FG_COUNTOF(fields); i++) {
		if (is_name(p, (size_t)(colon - p), fields[i].name))
			fields[i].read(h, value, (size_t)(p + n - value));
	}
}

bool
fg_fetch_tag_is_strong(const char *tag)
{
	return tag[0] == '"';
}

/* ------------------------------------------------------------- URLs */

static int
bad_url(const char *url, const char *why, struct fg_err *err)
{
	/* Nothing behind the scheme is shown: it may hold a password. */
	return fg_fail(err, FG_EINVAL, "a URL that begins with %.8s %s", url, why);
}

/* "example.org", "[::1]" */
static bool
is_host(const char *p, size_t n)
{
	bool v6 = n > 2 && p[0] == '[' && p[n - 1] == ']';

	if (n == 0)
		return false;
	for (size_t i = v6 ? 1 : 0; i < n - (v6 ? 1 : 0); i++) {
		char c = p[i];
		bool digit = c >= '0' && c <= '9';
		bool hex = digit || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
		bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');

		if (v6 ? !hex && c != ':' && c != '.'
		       : !letter && !digit && c != '-' && c != '.' && c != '_')
			return false;
	}
	return true;
}

/* Only bytes that a URL has. */
static bool
is_clean(const char *url, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)url[i];

		if (c <= 0x20 || c >= 0x7f || strchr("\"<>\\^`{|}#", c))
			return false;
	}
	return true;
}

int
fg_fetch_url_parse(const char *url, struct fg_fetch_url *out, struct fg_err *err)
{
	struct fg_fetch_url u = {0};
	const char *host, *end, *port = NULL;
	uint64_t number = 0;
	size_t n = strlen(url);

	if (n > 4096)
		return bad_url(url, "is longer than 4096 bytes", err);
	if (!is_clean(url, n))
		return bad_url(url, "holds what no URL has", err);
	if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0)
		return bad_url(url, "is neither http nor https", err);
	u.tls = url[4] == 's' || url[4] == 'S';
	u.port = u.tls ? 443 : 80;
	host = url + (u.tls ? 8 : 7);
	end = host + strcspn(host, "/?");
	if (memchr(host, '@', (size_t)(end - host)))
		return bad_url(url, "has a user name, which belongs elsewhere", err);
	for (const char *p = end; p > host && p[-1] != ']'; p--) {
		if (p[-1] == ':')
			port = p;
	}
	size_t host_n = (size_t)((port ? port - 1 : end) - host);
	if (host_n >= sizeof u.host || !is_host(host, host_n))
		return bad_url(url, "names no host", err);
	if (port && (!parse_number(port, (size_t)(end - port), &number) || number < 1 ||
			number > 65535))
		return bad_url(url, "has a port that is none", err);
	if (port)
		u.port = (int)number;
	for (size_t i = 0; i < host_n; i++)
		u.host[i] =
		    (char)(host[i] >= 'A' && host[i] <= 'Z' ? host[i] + 32 : host[i]);
	u.path = (size_t)(end - url);
	*out = u;
	return 0;
}

int
fg_fetch_redirect_check(const char *from, const char *to, bool anywhere,
    struct fg_err *err)
{
	struct fg_fetch_url a, b;

	if (fg_fetch_url_parse(from, &a, err) < 0)
		return -1;
	if (fg_fetch_url_parse(to, &b, NULL) < 0)
		return fg_fail(err, FG_ECORRUPT,
		    "upstream leads on to a place that is no http address");
	if (a.tls && !b.tls)
		return fg_fail(err, FG_ECORRUPT,
		    "upstream leads from https on to http at %.100s", b.host);
	bool upgrade = !a.tls && b.tls && a.port == 80 && b.port == 443;
	bool same = strcmp(a.host, b.host) == 0 &&
		    ((a.tls == b.tls && a.port == b.port) || upgrade);
	if (!same && !anywhere)
		return fg_fail(err, FG_ECORRUPT,
		    "upstream leads on to another server, %.100s port %d (allowed only "
		    "with the layer's \"redirects\": \"any\")",
		    b.host, b.port);
	return 0;
}
