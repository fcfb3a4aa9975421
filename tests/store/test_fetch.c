/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What fetching is made of, without a server: heads of replies, URLs, redirects, and
 * signatures beside the published ones (AWS: Signature Version 4 test suite; S3 API
 * reference, "Examples: Signature Calculations"). tests/http/24-upstream.py has
 * servers.
 */
#include "config.h"

#include <time.h>

#include "store/fetch_head.h"
#include "store/sigv4.h"
#include "store/webcache.h"
#include "tests/store/store_test.h"

static struct fg_fetch_head
head(const char *lines)
{
	struct fg_fetch_head h = {.total = UINT64_MAX};

	while (*lines) {
		size_t n = strcspn(lines, "\n");

		fg_fetch_head_line(&h, lines, n);
		lines += n + (lines[n] == '\n');
	}
	return h;
}

static void
heads(void)
{
	static const struct {
		const char *text, *tag;
		int status;
		bool broken, range, unknown;
		uint64_t first, last, total;
	} cases[] = {
	    {"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nETag: \"a b\"\r\n", "\"a b\"",
		200, false, false, false, 0, 0, UINT64_MAX},
	    {"HTTP/2 404 \r\n", "", 404, false, false, false, 0, 0, UINT64_MAX},
	    {"HTTP/1.1 100 Continue\nETag: \"x\"\nHTTP/1.1 200 OK\n", "", 200, false,
		false, false, 0, 0, UINT64_MAX},
	    {"HTTP/1.1 2OO OK\n", "", 0, true, false, false, 0, 0, UINT64_MAX},
	    {"HTTP/1.1\n", "", 0, true, false, false, 0, 0, UINT64_MAX},
	    {"HTTP/1.1 206 P\ncontent-range:bytes 5-9/20\n", "", 206, false, true,
		false, 5, 9, 20},
	    {"HTTP/1.1 206 P\nContent-Range: bytes 5-9/*\n", "", 206, false, true,
		false, 5, 9, UINT64_MAX},
	    {"HTTP/1.1 416 R\nContent-Range: bytes */20\n", "", 416, false, false,
		false, 0, 0, 20},
	    {"HTTP/1.1 206 P\nContent-Range: bytes 9-5/20\n", "", 206, true, false,
		false, 0, 0, 20},
	    {"HTTP/1.1 206 P\nContent-Range: bytes 5-20/20\n", "", 206, true, false,
		false, 0, 0, 20},
	    {"HTTP/1.1 206 P\nContent-Range: lines 5-9/20\n", "", 206, true, false,
		false, 0, 0, UINT64_MAX},
	    {"HTTP/1.1 206 P\nContent-Range: bytes 5-9\n", "", 206, true, false, false,
		0, 0, UINT64_MAX},
	    {"HTTP/1.1 200 OK\nContent-Length: -1\n", "", 200, true, false, false, 0, 0,
		UINT64_MAX},
	    {"HTTP/1.1 200 OK\nContent-Length: 99999999999999999999\n", "", 200, true,
		false, false, 0, 0, UINT64_MAX},
	    {"HTTP/1.1 200 OK\nContent-Length: 5\nContent-Length: 6\n", "", 200, true,
		false, false, 0, 0, UINT64_MAX},
	    {"HTTP/1.1 200 OK\nContent-Encoding: compress\n", "", 200, false, false,
		true, 0, 0, UINT64_MAX},
	    {"HTTP/1.1 200 OK\nContent-Encoding: gzip, gzip\n", "", 200, false, false,
		true, 0, 0, UINT64_MAX},
	    {"HTTP/1.1 200 OK\nETag: W/\"v1\"\nLast-Modified: Sun, 1 Jan\n", "W/\"v1\"",
		200, false, false, false, 0, 0, UINT64_MAX},
	    {"HTTP/1.1 200 OK\nLast-Modified: Sun, 1 Jan\nETag: \"v\"\n", "\"v\"", 200,
		false, false, false, 0, 0, UINT64_MAX},
	    {"HTTP/1.1 200 OK\nLast-Modified: Sun, 1 Jan\n", "@Sun, 1 Jan", 200, false,
		false, false, 0, 0, UINT64_MAX},
	    {"HTTP/1.1 200 OK\nETag: v1\n", "", 200, false, false, false, 0, 0,
		UINT64_MAX},
	};

	for (size_t i = 0; i < FG_COUNTOF(cases); i++) {
		struct fg_fetch_head h = head(cases[i].text);

		tap_int(h.status, cases[i].status, "head %d: status", (int)i);
		tap_ok(h.broken == cases[i].broken && h.has_range == cases[i].range &&
			   h.unknown_coding == cases[i].unknown,
		    "what is wrong with it");
		tap_ok(!h.has_range ||
			   (h.first == cases[i].first && h.last == cases[i].last),
		    "its range");
		tap_ok(h.total == cases[i].total, "its total");
		tap_str(h.tag, cases[i].tag, "its tag");
	}
	tap_ok(head("HTTP/1.1 200 OK\nContent-Encoding: gzip\n").coding ==
		       FG_CODING_GZIP &&
		   head("HTTP/1.1 200 OK\nContent-Encoding: zstd\n").coding ==
		       FG_CODING_ZSTD,
	    "codings");
	tap_int(head("HTTP/1.1 503 S\nRetry-After: 7\n").retry_after_s, 7,
	    "Retry-After");
	tap_int(head("HTTP/1.1 503 S\nRetry-After: Fri, 1\n").retry_after_s, 0,
	    "Retry-After as a date");
	tap_ok(head("HTTP/1.1 200 OK\nCache-Control: private, No-Store\n").no_store,
	    "no-store");
}

static void
urls(void)
{
	static const char *const good[] = {"http://a", "https://a.example:8443/x?y=z",
	    "HTTP://[::1]:80/", "http://127.0.0.1:1/a%20b"};
	static const char *const bad[] = {"", "file:///etc/passwd", "ftp://a/",
	    "http://", "http:///x", "http://a:0/", "http://a:65536/", "http://a:x/",
	    "http://u@a/", "http://u:p@a/", "http://a/b c", "http://a/\n",
	    "http://a/#f", "http://[::1/", "http://a\\b/", "https://a:/", "gopher://a/",
	    "http://a|b/"};
	struct fg_fetch_url u;

	for (size_t i = 0; i < FG_COUNTOF(good); i++)
		tap_ok(fg_fetch_url_parse(good[i], &u, NULL) == 0, "a URL: %s",
		    good[i]);
	for (size_t i = 0; i < FG_COUNTOF(bad); i++) {
		struct fg_err err = FG_ERR_INIT;

		tap_ok(fg_fetch_url_parse(bad[i], &u, &err) < 0 &&
			   err.code == FG_EINVAL && !strstr(err.msg, "u:p"),
		    "no URL, number %d", (int)i);
	}
	tap_ok(fg_fetch_url_parse("https://Ex.ORG/p", &u, NULL) == 0 && u.tls &&
		   u.port == 443 && strcmp(u.host, "ex.org") == 0 && u.path == 14,
	    "its parts");
}

static void
redirects(void)
{
	static const struct {
		const char *from, *to;
		bool anywhere, good;
	} cases[] = {
	    {"http://a/x", "http://a/y", false, true},
	    {"http://a/x", "http://A:80/y", false, true},
	    {"http://a/x", "https://a/x", false, true},
	    {"http://a:8080/x", "https://a/x", false, false},
	    {"https://a/x", "http://a/x", false, false},
	    {"https://a/x", "http://a/x", true, false},
	    {"http://a/x", "http://b/x", false, false},
	    {"http://a/x", "http://b/x", true, true},
	    {"http://a/x", "http://a:81/x", false, false},
	    {"http://a/x", "http://169.254.169.254/latest", false, false},
	    {"http://a/x", "file:///etc/passwd", true, false},
	    {"http://a/x", "gopher://a/", true, false},
	    {"http://a/x", "http://u:p@a/", true, false},
	};

	for (size_t i = 0; i < FG_COUNTOF(cases); i++)
		tap_ok((fg_fetch_redirect_check(cases[i].from, cases[i].to,
			    cases[i].anywhere, NULL) == 0) == cases[i].good,
		    "from %s to %s", cases[i].from, cases[i].to);
}

static int64_t
utc(int year, int month, int day, int hour, int minute)
{
	struct tm tm = {.tm_year = year - 1900,
	    .tm_mon = month - 1,
	    .tm_mday = day,
	    .tm_hour = hour,
	    .tm_min = minute};

	return (int64_t)timegm(&tm);
}

#define NO_BODY "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void
signatures(void)
{
	static const struct fg_sigv4_key suite = {"AKIDEXAMPLE",
	    "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", NULL, "us-east-1", "service"};
	static const struct fg_sigv4_key docs = {"AKIAIOSFODNN7EXAMPLE",
	    "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", NULL, "us-east-1", "s3"};
	static const char suite_headers[] =
	    "host:example.amazonaws.com\nx-amz-date:20150830T123600Z\n";
	static const char docs_headers[] =
	    "host:examplebucket.s3.amazonaws.com\nx-amz-content-sha256:" NO_BODY
	    "\nx-amz-date:20130524T000000Z\n";
	static const char range_headers[] =
	    "host:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n"
	    "x-amz-content-sha256:" NO_BODY "\nx-amz-date:20130524T000000Z\n";
	const struct {
		const char *name;
		const struct fg_sigv4_key *key;
		const char *path, *query, *headers, *want;
	} cases[] = {
	    {"get-vanilla", &suite, "/", "", suite_headers,
		"5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"},
	    {"get-vanilla-query-order-key-case", &suite, "/",
		"Param2=value2&Param1=value1", suite_headers,
		"b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"},
	    {"GET object", &docs, "/test.txt", "", range_headers,
		"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"},
	    {"GET bucket lifecycle", &docs, "/", "lifecycle", docs_headers,
		"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"},
	    {"GET bucket (list objects)", &docs, "/", "max-keys=2&prefix=J",
		docs_headers,
		"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"},
	};

	for (size_t i = 0; i < FG_COUNTOF(cases); i++) {
		int64_t when = cases[i].key == &suite ? utc(2015, 8, 30, 12, 36)
						      : utc(2013, 5, 24, 0, 0);
		char got[65];

		fg_sigv4_sign(cases[i].key, "GET", cases[i].path, cases[i].query,
		    cases[i].headers, NO_BODY, when, got);
		tap_str(got, cases[i].want, "%s", cases[i].name);
	}
}

/* --- the cache on disk */

static void
put(struct fg_webcache *c, const char *key, size_t n, int fill)
{
	struct fg_webcached in = {.size = n, .checked_ms = 5, .tag = "\"t\""};

	in.bytes = fg_buf_new(n);
	memset(in.bytes->data, fill, n);
	fg_webcache_put(c, key, &in);
	fg_buf_unref(in.bytes);
}

/* The bytes' first value; -1: not there; -2: wrong. */
static int
get(struct fg_webcache *c, const char *key, size_t n)
{
	struct fg_webcached out;
	int v;

	if (!fg_webcache_get(c, key, &out))
		return -1;
	v = out.bytes && out.bytes->len == n && strcmp(out.tag, "\"t\"") == 0 &&
		    out.size == n
		? out.bytes->data[n / 2]
		: -2;
	fg_buf_unref(out.bytes);
	return v;
}

static void
cache_bound(const char *path)
{
	struct fg_webcache *c = fg_webcache_new(path, 1 << 20);
	struct fg_webcache_stats st;
	char key[32];
	int there = 0;

	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof key, "file %d", i);
		put(c, key, 50000, i);
		fg_webcache_get_stats(c, &st);
		if (st.bytes > st.limit)
			tap_ok(false, "the bound holds at file %d", i);
	}
	for (int i = 0; i < 100; i++) {
		snprintf(key, sizeof key, "file %d", i);
		there += get(c, key, 50000) == i;
	}
	tap_ok(there >= 15 && there <= 20, "what fits is there: %d", there);
	tap_int(get(c, "file 99", 50000), 99, "the newest is");
	tap_int(get(c, "file 0", 50000), -1, "the oldest is not");
	put(c, "huge", 200000, 1);
	tap_int(get(c, "huge", 200000), -1, "what is too large is not kept");
	fg_webcache_get_stats(c, &st);
	tap_int((long long)st.entries, there, "they are counted");
	fg_webcache_free(c);
}

static void
caches(void)
{
	char *path = fg_asprintf("%s/upstream.sqlite", st_root);
	struct fg_webcache *c;
	struct fg_webcached absent = {.absent = true, .checked_ms = 9}, out;
	struct fg_webcache_stats st;
	FILE *f;

	cache_bound(path);
	c = fg_webcache_new(path, 1 << 20);
	tap_int(get(c, "file 99", 50000), 99, "opened again it is there");
	put(c, "file 99", 10, 7);
	tap_int(get(c, "file 99", 10), 7, "replaced");
	fg_webcache_put(c, "file 99", &absent);
	tap_ok(fg_webcache_get(c, "file 99", &out) && out.absent && !out.bytes &&
		   out.checked_ms == 9,
	    "known to be absent");
	fg_webcache_confirm(c, "file 99", 12);
	tap_ok(fg_webcache_get(c, "file 99", &out) && out.checked_ms == 12,
	    "confirmed");
	fg_webcache_drop(c, "file 99");
	tap_int(get(c, "file 99", 10), -1, "dropped");
	fg_webcache_free(c);

	f = fopen(path, "r+");
	for (int i = 0; f && i < 4000; i++)
		fputs("garbage ", f);
	tap_ok(f && fclose(f) == 0, "damage the file");
	c = fg_webcache_new(path, 1 << 20);
	put(c, "x", 10, 1);
	tap_int(get(c, "file 98", 50000), -1, "a damaged file gives nothing");
	fg_webcache_get_stats(c, &st);
	tap_ok(st.off, "and is off");
	fg_webcache_free(c);
	free(path);
}

int
main(void)
{
	st_folder();
	heads();
	urls();
	redirects();
	signatures();
	caches();
	st_cleanup();
	return tap_done();
}
