/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Describing answers: status, body and headers as plain members of struct fg_reply.
 * The one table that turns failures into HTTP statuses is here. Any thread that owns
 * the request may call these.
 */
#include "config.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "server/headers.h"
#include "server/request.h"

int
fg_reply_status_of(enum fg_code code)
{
	static const int status[] = {
	    [FG_OK] = 500, /* a failure without a description is our fault */
	    [FG_EINVAL] = 400,
	    [FG_ENOENT] = 404,
	    [FG_EBUSY] = 503,
	    [FG_EIO] = 503,
	    [FG_ECORRUPT] = 500,
	    [FG_ENOTSUP] = 501,
	    [FG_EFULL] = 503,
	    [FG_ECANCELED] = 503,
	    [FG_ENOMEM] = 503,
	};

	fg_assert(code < FG_COUNTOF(status));
	return status[code];
}

void
fg_reply_fini(struct fg_reply *p)
{
	fg_buf_unref(p->body);
	p->body = NULL;
	if (p->has_file)
		close(p->file);
	p->has_file = p->sized = false;
}

void
fg_reply_bytes(struct fg_request *r, int status, const char *type, struct fg_buf *body)
{
	fg_reply_fini(&r->reply);
	memset(&r->reply, 0, sizeof r->reply);
	r->reply.status = status;
	r->reply.type = type;
	r->reply.body = body;
	r->reply.caching = FG_NO_STORE;
}

void
fg_reply_json(struct fg_request *r, int status, json_t *j)
{
	char *text = fg_json_format(j);

	json_decref(j);
	fg_reply_bytes(r, status, "application/json", fg_buf_take(text, strlen(text)));
}

void
fg_reply_shorten(json_t *j)
{
	const char *key, *text, *slash;
	json_t *v;
	size_t i;

	if (json_is_object(j)) {
		json_object_foreach(j, key, v)
		{
			/* A job's own address is no file's. */
			if (strcmp(key, "url") != 0 || !json_is_string(v) ||
			    strncmp(json_string_value(v), "/api/", 5) != 0)
				fg_reply_shorten(v);
		}
	} else if (json_is_array(j)) {
		json_array_foreach(j, i, v) fg_reply_shorten(v);
	} else if (json_is_string(j)) {
		text = json_string_value(j);
		slash = strrchr(text, '/');
		if (slash && (*text == '/' || strncmp(text, "dir:/", 5) == 0)) {
			char *last = fg_strdup(slash + 1);

			json_string_set(j, last);
			free(last);
		}
	}
}

void
fg_reply_public(struct fg_request *r, int status, json_t *j)
{
	if (!r->control)
		fg_reply_shorten(j);
	fg_reply_json(r, status, j);
}

static void
reply_text(struct fg_request *r, int status, const char *text)
{
	/* Bytes of a file or an upstream may be in a message: not all are UTF-8. */
	json_t *s = json_string(text);

	fg_reply_json(r, status,
	    json_pack("{s:o}", "error", s ? s : json_string("(message is not UTF-8)")));
}

void
fg_reply_error(struct fg_request *r, int status, const char *fmt, ...)
{
	char text[640];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	reply_text(r, status, text);
}

void
fg_reply_later(struct fg_request *r, int retry_after, const char *fmt, ...)
{
	char text[640];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	reply_text(r, 503, text);
	r->reply.retry_after = retry_after;
}

void
fg_reply_err(struct fg_request *r, const struct fg_err *err)
{
	int status = fg_reply_status_of(err->code);

	reply_text(r, status, *err->msg ? err->msg : "internal error");
	if (status == 503)
		r->reply.retry_after = 10;
	if (status >= 500)
		fg_log(status == 503 ? FG_LOG_WARN : FG_LOG_ERROR,
		    "request failed id=%s-%llu path=%s: %s", r->srv->run_id,
		    (unsigned long long)r->number, r->route.path, err->msg);
}

void
fg_reply_source_err(struct fg_request *r, const struct fg_err *err)
{
	fg_reply_err(r, err);
	if (err->code == FG_ECORRUPT || err->code == FG_EFULL) {
		r->reply.status = 502;
		r->reply.retry_after = 0;
	}
}

void
fg_reply_etag(uint64_t hash, enum fg_coding c, char out[32])
{
	static const char hex[] = "0123456789abcdef";
	const char *name = fg_coding_name(c);
	char *p = out;

	*p++ = '"';
	for (int shift = 60; shift >= 0; shift -= 4)
		*p++ = hex[hash >> shift & 15];
	if (name) {
		*p++ = '-';
		p = stpcpy(p, name);
	}
	memcpy(p, "\"", 2);
}
