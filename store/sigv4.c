/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AWS Signature Version 4. The steps of the specification, in its words: a canonical
 * request, the string to sign, the signing key, the signature. The canonical query is
 * the parameters sorted by name and value; their encoding is taken as it is in the URL.
 */
#include "config.h"

#include "store/sigv4.h"

#include <nettle/hmac.h>
#include <nettle/version.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/hash.h"
#include "store/fetch_head.h"

static const char no_body[] =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

static void
hmac(const void *key, size_t key_n, const char *text, uint8_t out[FG_SHA256_SIZE])
{
	struct hmac_sha256_ctx ctx;

	hmac_sha256_set_key(&ctx, key_n, key);
	hmac_sha256_update(&ctx, strlen(text), (const uint8_t *)text);
#if NETTLE_VERSION_MAJOR >= 4
	hmac_sha256_digest(&ctx, out);
#else
	hmac_sha256_digest(&ctx, FG_SHA256_SIZE, out);
#endif
}

static void
hash_text(const struct fg_str *s, char hex[FG_SHA256_HEX])
{
	uint8_t sum[FG_SHA256_SIZE];

	fg_sha256(s->data, s->len, sum);
	fg_hex_format(sum, sizeof sum, hex);
}

static int
by_text(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The parameters in order; one without "=" gets one. */
static void
put_query(struct fg_str *s, const char *query)
{
	char *text = fg_strdup(query), **list = NULL, *next;
	size_t n = 0;

	for (char *p = text; p && *p; p = next) {
		next = strchr(p, '&');
		if (next)
			*next++ = '\0';
		if (!*p)
			continue;
		list = fg_realloc(list, n + 1, sizeof *list);
		list[n++] = strchr(p, '=') ? fg_strdup(p) : fg_asprintf("%s=", p);
	}
	if (n > 0)
		qsort(list, n, sizeof *list, by_text);
	for (size_t i = 0; i < n; i++) {
		fg_str_putf(s, "%s%s", i ? "&" : "", list[i]);
		free(list[i]);
	}
	free(list);
	free(text);
}

/* "host;x-amz-date" of the header lines. */
static void
put_names(struct fg_str *s, const char *headers)
{
	for (const char *p = headers; *p; p = strchr(p, '\n') + 1) {
		if (p != headers)
			fg_str_put(s, ";", 1);
		fg_str_put(s, p, strcspn(p, ":"));
	}
}

static void
format_time(int64_t unix_s, char day[16], char stamp[32])
{
	time_t t = (time_t)unix_s;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(day, 16, "%Y%m%d", &tm);
	strftime(stamp, 32, "%Y%m%dT%H%M%SZ", &tm);
}

void
fg_sigv4_sign(const struct fg_sigv4_key *key, const char *method, const char *path,
    const char *query, const char *headers, const char *hashed, int64_t unix_s,
    char signature[65])
{
	char day[16], stamp[32], hex[FG_SHA256_HEX], *first;
	struct fg_str request = FG_STR_INIT, text = FG_STR_INIT;
	uint8_t k[FG_SHA256_SIZE];

	fg_str_putf(&request, "%s\n%s\n", method, *path ? path : "/");
	put_query(&request, query);
	fg_str_putf(&request, "\n%s\n", headers);
	put_names(&request, headers);
	fg_str_putf(&request, "\n%s", hashed);
	hash_text(&request, hex);
	format_time(unix_s, day, stamp);
	fg_str_putf(&text, "AWS4-HMAC-SHA256\n%s\n%s/%s/%s/aws4_request\n%s", stamp,
	    day, key->region, key->service, hex);
	first = fg_asprintf("AWS4%s", key->secret);
	hmac(first, strlen(first), day, k);
	hmac(k, sizeof k, key->region, k);
	hmac(k, sizeof k, key->service, k);
	hmac(k, sizeof k, "aws4_request", k);
	hmac(k, sizeof k, text.data, k);
	fg_hex_format(k, sizeof k, signature);
	free(first);
	fg_str_fini(&request);
	fg_str_fini(&text);
}

int
fg_sigv4_headers(const struct fg_sigv4_key *key, const char *url, int64_t unix_s,
    struct fg_str *out, struct fg_err *err)
{
	struct fg_str headers = FG_STR_INIT, names = FG_STR_INIT;
	char day[16], stamp[32], signature[65], *path;
	struct fg_fetch_url u;
	const char *query;

	if (fg_fetch_url_parse(url, &u, err) < 0)
		return -1;
	query = strchr(url + u.path, '?');
	path = query ? fg_strndup(url + u.path, (size_t)(query - url) - u.path)
		     : fg_strdup(url + u.path);
	format_time(unix_s, day, stamp);
	fg_str_putf(&headers, "host:%s", u.host);
	if (u.port != (u.tls ? 443 : 80))
		fg_str_putf(&headers, ":%d", u.port);
	fg_str_putf(&headers, "\nx-amz-content-sha256:%s\nx-amz-date:%s\n", no_body,
	    stamp);
	if (key->token)
		fg_str_putf(&headers, "x-amz-security-token:%s\n", key->token);
	put_names(&names, headers.data);
	fg_sigv4_sign(key, "GET", path, query ? query + 1 : "", headers.data, no_body,
	    unix_s, signature);
	/* Host is sent by the client itself. */
	fg_str_putf(out, "x-amz-content-sha256: %s\nx-amz-date: %s\n", no_body, stamp);
	if (key->token)
		fg_str_putf(out, "x-amz-security-token: %s\n", key->token);
	fg_str_putf(out,
	    "Authorization: AWS4-HMAC-SHA256 Credential=%s/%s/%s/%s/aws4_request, "
	    "SignedHeaders=%s, Signature=%s\n",
	    key->id, day, key->region, key->service, names.data, signature);
	free(path);
	fg_str_fini(&headers);
	fg_str_fini(&names);
	return 0;
}
