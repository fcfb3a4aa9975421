/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as the head of an upstream's reply, line by line, and as an address: what
 * is taken can be sent back in a header, and leads nowhere but to http and https.
 */
#include "config.h"

#include <stdlib.h>

#include "store/fetch_head.h"
#include "store/sigv4.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static void
heads(const char *p, size_t n)
{
	struct fg_fetch_head h = {.total = UINT64_MAX};

	while (n > 0) {
		const char *end = memchr(p, '\n', n);
		size_t len = end ? (size_t)(end - p) + 1 : n;

		fg_fetch_head_line(&h, p, len);
		fg_assert(strlen(h.tag) < sizeof h.tag && !strpbrk(h.tag, "\r\n"));
		fg_assert(!h.has_range || (h.first <= h.last && h.last < h.total) ||
			  h.broken);
		fg_assert(h.retry_after_s >= 0 && h.retry_after_s <= 3600);
		p += len;
		n -= len;
	}
}

static void
addresses(const char *text)
{
	static const struct fg_sigv4_key key = {"ID", "SECRET", "TOKEN", "r", "s3"};
	struct fg_str s = FG_STR_INIT;
	struct fg_fetch_url u;

	(void)(fg_fetch_redirect_check("http://a.example/x", text, false, NULL) < 0 ||
	       fg_fetch_redirect_check("https://a.example/x", text, true, NULL) < 0);
	if (fg_fetch_url_parse(text, &u, NULL) < 0) {
		fg_assert(fg_fetch_redirect_check("http://a/", text, true, NULL) < 0);
		return;
	}
	fg_assert(u.host[0] && u.port > 0 && u.port < 65536 && u.path <= strlen(text));
	fg_assert(!strchr(u.host, '@') && !strchr(u.host, '/'));
	fg_assert(fg_sigv4_headers(&key, text, 1400000000, &s, NULL) == 0);
	fg_str_fini(&s);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char *text = malloc(n + 1);

	fg_assert(text != NULL);
	if (n > 0)
		memcpy(text, p, n);
	text[n] = '\0';
	heads((const char *)p, n);
	addresses(text);
	free(text);
	return 0;
}
