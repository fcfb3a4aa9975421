/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The page and its parts. The files of www/ are compiled into the program
 * (server/www.inc, made from them by the makefile, ends with the table `assets`), so
 * that it needs no data directory and works from a build tree. The list of layers is
 * put into the page here: with it the page also is the directory listing that viewers
 * complete names from, and it says something without JavaScript.
 */
#include "config.h"

#include <stdlib.h>

#include "base/hash.h"
#include "server/request.h"

struct asset {
	const char *name;
	const unsigned char *data;
	size_t len;
};

#include "server/www.inc"

static const char marker[] = "<!--LAYERS-->";

static void
put_layers(struct fg_request *r, struct fg_str *s)
{
	struct fg_layer **l;
	size_t n;

	fg_request_layers(r, &l, &n);
	for (size_t i = 0; i < n; i++) {
		/* Layer names hold nothing that HTML minds. */
		fg_str_putf(s, "<li><a href=\"%s/\">%s/</a></li>\n", l[i]->name,
		    l[i]->name);
		fg_layer_unref(l[i]);
	}
	free(l);
}

void
fg_page_handle(struct fg_request *r)
{
	const char *text = (const char *)www_index_html;
	const char *at = memmem(text, sizeof www_index_html, marker, strlen(marker));
	size_t head = at ? (size_t)(at - text) : sizeof www_index_html;
	struct fg_str s = FG_STR_INIT;

	fg_str_put(&s, text, head);
	if (at) {
		put_layers(r, &s);
		fg_str_put(&s, at + strlen(marker),
		    sizeof www_index_html - head - strlen(marker));
	}
	fg_reply_bytes(r, 200, "text/html; charset=utf-8", fg_str_take(&s));
	r->reply.policy = FG_POLICY_PAGE;
}

void
fg_page_asset(struct fg_request *r, const char *name)
{
	for (size_t i = 0; i < FG_COUNTOF(assets); i++) {
		const struct asset *a = &assets[i];

		/* The page's own addresses hold only where it is served, at the root.
		 */
		if (strcmp(a->name, name) != 0 || strcmp(name, "index.html") == 0)
			continue;
		fg_reply_bytes(r, 200, fg_type_of_name(name),
		    fg_buf_copy(a->data, a->len));
		r->reply.tagged = true;
		r->reply.etag = fg_hash64(a->data, a->len);
		r->reply.ranges = true;
		r->reply.caching = FG_NO_CACHE;
		return;
	}
	fg_reply_error(r, 404, "there is no /api/www/%.100s", name);
}
