/* SPDX-License-Identifier: Apache-2.0 */
/* Range, If-None-Match, Accept-Encoding, Host and Origin as texts. */
#include "config.h"

#include "server/headers.h"
#include "tests/tap.h"

static void
ranges(void)
{
	static const struct {
		const char *value;
		uint64_t len;
		enum fg_range want;
		uint64_t first, last;
	} cases[] = {
	    {NULL, 100, FG_RANGE_NONE, 0, 0},
	    {"bytes=0-0", 100, FG_RANGE_OK, 0, 0},
	    {"bytes=10-19", 100, FG_RANGE_OK, 10, 19},
	    {"Bytes=10-19", 100, FG_RANGE_OK, 10, 19},
	    {"bytes=90-200", 100, FG_RANGE_OK, 90, 99},
	    {"bytes=90-", 100, FG_RANGE_OK, 90, 99},
	    {"bytes=-10", 100, FG_RANGE_OK, 90, 99},
	    {"bytes=-1000", 100, FG_RANGE_OK, 0, 99},
	    {"bytes=100-", 100, FG_RANGE_BAD, 0, 0},
	    {"bytes=100-200", 100, FG_RANGE_BAD, 0, 0},
	    {"bytes=-0", 100, FG_RANGE_BAD, 0, 0},
	    {"bytes=0-0", 0, FG_RANGE_BAD, 0, 0},
	    {"bytes=-1", 0, FG_RANGE_BAD, 0, 0},
	    {"bytes=5-4", 100, FG_RANGE_NONE, 0, 0},
	    {"bytes=0-1,3-4", 100, FG_RANGE_NONE, 0, 0},
	    {"bytes=a-b", 100, FG_RANGE_NONE, 0, 0},
	    {"bytes=-", 100, FG_RANGE_NONE, 0, 0},
	    {"bytes=1", 100, FG_RANGE_NONE, 0, 0},
	    {"bytes=1-2 ", 100, FG_RANGE_NONE, 0, 0},
	    {"bytes= 1-2", 100, FG_RANGE_NONE, 0, 0},
	    {"items=1-2", 100, FG_RANGE_NONE, 0, 0},
	    {"bytes=99999999999999999999-", 100, FG_RANGE_NONE, 0, 0},
	    {"bytes=0-9999999999999999999", 100, FG_RANGE_OK, 0, 99},
	    {"", 100, FG_RANGE_NONE, 0, 0},
	};

	for (size_t i = 0; i < FG_COUNTOF(cases); i++) {
		uint64_t a = 0, b = 0;
		enum fg_range got =
		    fg_range_parse(cases[i].value, cases[i].len, &a, &b);

		tap_int(got, cases[i].want, "range %s of %d",
		    cases[i].value ? cases[i].value : "(absent)", (int)cases[i].len);
		if (got == FG_RANGE_OK)
			tap_ok(a == cases[i].first && b == cases[i].last, "is %d to %d",
			    (int)a, (int)b);
	}
}

static void
etags(void)
{
	tap_ok(!fg_etag_matches(NULL, "\"a\""), "no header");
	tap_ok(fg_etag_matches("\"a\"", "\"a\""), "the tag");
	tap_ok(fg_etag_matches("W/\"a\"", "\"a\""), "a weak form of it");
	tap_ok(fg_etag_matches("\"x\", W/\"y\",\"a\"", "\"a\""), "one of several");
	tap_ok(fg_etag_matches("*", "\"a\""), "any");
	tap_ok(!fg_etag_matches("\"a-gzip\"", "\"a\""), "another coding");
	tap_ok(!fg_etag_matches("\"aa\"", "\"a\""), "a longer one");
	tap_ok(!fg_etag_matches("a", "\"a\""), "without quotes");
	tap_ok(!fg_etag_matches("\"a", "\"a\""), "half a tag");
	tap_ok(!fg_etag_matches("", "\"a\""), "empty");
}

static void
codings(void)
{
	static const struct {
		const char *accept;
		enum fg_coding want;
	} cases[] = {
	    {NULL, FG_CODING_NONE},
	    {"", FG_CODING_NONE},
	    {"identity", FG_CODING_NONE},
	    {"gzip", FG_CODING_GZIP},
	    {"GZIP", FG_CODING_GZIP},
	    {"gzip, deflate, br, zstd", FG_CODING_ZSTD},
	    {"gzip, deflate", FG_CODING_GZIP},
	    {"gzip;q=1.0, zstd;q=0.5", FG_CODING_GZIP},
	    {"gzip;q=0", FG_CODING_NONE},
	    {"gzip;q=0.001", FG_CODING_GZIP},
	    {"zstd;q=0, gzip ; q=0.5", FG_CODING_GZIP},
	    {"*", FG_CODING_ZSTD},
	    {"*;q=0", FG_CODING_NONE},
	    {"gzip;q=0, *", FG_CODING_ZSTD},
	    {"xgzip, gzipx", FG_CODING_NONE},
	    {",,, ,gzip", FG_CODING_GZIP},
	    {"gzip;q=1.000, zstd;q=0.999", FG_CODING_GZIP},
	    {"gzip;q=1, zstd;q=0222222222222222222222222222222222222", FG_CODING_GZIP},
	    {"zstd;q=1.001, gzip;q=0.1", FG_CODING_GZIP},
	    {"zstd;q=nan, gzip;q=.5", FG_CODING_NONE},
	    {"zstd;q=0.0001, gzip;q=0x1", FG_CODING_NONE},
	};

	for (size_t i = 0; i < FG_COUNTOF(cases); i++)
		tap_int(fg_coding_choose(cases[i].accept), cases[i].want,
		    "coding for \"%s\"",
		    cases[i].accept ? cases[i].accept : "(absent)");
	tap_ok(fg_coding_is_accepted(NULL, FG_CODING_NONE),
	    "identity is always accepted");
	tap_ok(!fg_coding_is_accepted(NULL, FG_CODING_GZIP), "gzip only if named");
	tap_ok(fg_coding_is_accepted("br, gzip", FG_CODING_BROTLI), "brotli if named");
}

static void
hosts(void)
{
	static const struct {
		const char *host, *list;
		bool want;
	} cases[] = {
	    {"localhost", "", true},
	    {"LOCALHOST:8080", "", true},
	    {"a.localhost:1", "", true},
	    {"127.0.0.1:8080", "", true},
	    {"127.8.9.10", "", true},
	    {"[::1]:8080", "", true},
	    {"[::1]", "", true},
	    {"127.0.0.1.evil.example", "", false},
	    {"127.evil.example", "", false},
	    {"localhost.evil.example", "", false},
	    {"evil.example", "", false},
	    {"em.lab", "em.lab", true},
	    {"EM.lab:8080", "other, em.lab", true},
	    {"em.lab.evil", "em.lab", false},
	    {"xem.lab", "em.lab", false},
	    {"em.lab:80:80", "em.lab", false},
	    {"em.lab:x", "em.lab", false},
	    {"", "", false},
	    {":80", "", false},
	    {"anything", "*", true},
	};

	for (size_t i = 0; i < FG_COUNTOF(cases); i++)
		tap_int(fg_host_is_allowed(cases[i].host, cases[i].list), cases[i].want,
		    "host \"%s\" with list \"%s\"", cases[i].host, cases[i].list);
}

static void
origins(void)
{
	static const char def[] = "loopback,https://neuroglancer-demo.appspot.com";
	static const struct {
		const char *origin, *list, *host;
		bool want;
	} cases[] = {
	    {"https://neuroglancer-demo.appspot.com", def, "localhost", true},
	    {"http://neuroglancer-demo.appspot.com", def, "localhost", false},
	    {"https://neuroglancer-demo.appspot.com.evil", def, "localhost", false},
	    {"http://localhost:3000", def, "127.0.0.1:8080", true},
	    {"http://127.0.0.1:3000", def, "127.0.0.1:8080", true},
	    {"http://[::1]:3000", def, "127.0.0.1:8080", true},
	    {"http://localhost:3000", "", "127.0.0.1:8080", false},
	    {"http://localhost.evil.example", def, "127.0.0.1:8080", false},
	    {"null", def, "127.0.0.1:8080", false},
	    {"file://", def, "127.0.0.1:8080", false},
	    {"", def, "127.0.0.1:8080", false},
	    {"http://em.lab:8080", "", "em.lab:8080", true},
	    {"http://em.lab:8081", "", "em.lab:8080", false},
	    {"https://anyone.example", "*", "em.lab", true},
	};

	for (size_t i = 0; i < FG_COUNTOF(cases); i++)
		tap_int(fg_origin_is_allowed(cases[i].origin, cases[i].list,
			    cases[i].host),
		    cases[i].want, "origin \"%s\" with list \"%s\"", cases[i].origin,
		    cases[i].list);
	tap_ok(!fg_request_is_foreign(NULL, NULL, def, "localhost"), "a program");
	tap_ok(!fg_request_is_foreign(NULL, "none", def, "localhost"),
	    "a typed address");
	tap_ok(!fg_request_is_foreign(NULL, "same-origin", def, "localhost"),
	    "our page");
	tap_ok(fg_request_is_foreign(NULL, "cross-site", def, "localhost"),
	    "an image in a page of somebody else");
	tap_ok(fg_request_is_foreign("https://evil.example", NULL, def, "localhost"),
	    "a script of somebody else");
	tap_ok(!fg_request_is_foreign("https://neuroglancer-demo.appspot.com",
		   "cross-site", def, "localhost"),
	    "a script of an allowed origin");
}

int
main(void)
{
	ranges();
	etags();
	codings();
	hosts();
	origins();
	return tap_done();
}
