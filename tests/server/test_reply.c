/* SPDX-License-Identifier: Apache-2.0 */
/* Describing answers: statuses of failures, entity tags, error bodies. */
#include "config.h"

#include <string.h>

#include "server/request.h"
#include "tests/tap.h"

static void
statuses(void)
{
	static const struct {
		enum fg_code code;
		int status;
	} cases[] = {
	    {FG_EINVAL, 400},
	    {FG_ENOENT, 404},
	    {FG_EBUSY, 503},
	    {FG_EIO, 503},
	    {FG_ECORRUPT, 500},
	    {FG_ENOTSUP, 501},
	    {FG_EFULL, 503},
	    {FG_ECANCELED, 503},
	    {FG_ENOMEM, 503},
	};

	for (size_t i = 0; i < FG_COUNTOF(cases); i++)
		tap_int(fg_reply_status_of(cases[i].code), cases[i].status, "%s is %d",
		    fg_code_name(cases[i].code), cases[i].status);
}

static void
tags(void)
{
	char tag[32];

	fg_reply_etag(0xabc, FG_CODING_NONE, tag);
	tap_str(tag, "\"0000000000000abc\"", "a tag");
	fg_reply_etag(UINT64_MAX, FG_CODING_GZIP, tag);
	tap_str(tag, "\"ffffffffffffffff-gzip\"", "another coding, another tag");
	fg_reply_etag(1, FG_CODING_ZSTD, tag);
	tap_str(tag, "\"0000000000000001-zstd\"", "and another");
}

static void
check_body(struct fg_request *r, const char *want, const char *what)
{
	char text[256];

	snprintf(text, sizeof text, "%.*s", (int)r->reply.body->len,
	    (const char *)r->reply.body->data);
	tap_str(text, want, "%s", what);
}

static void
errors(void)
{
	static struct fg_server s = {.run_id = "test"};
	struct fg_request r = {.srv = &s};
	struct fg_err err = FG_ERR_INIT;

	fg_reply_error(&r, 404, "no layer %s", "\"x\"");
	tap_int(r.reply.status, 404, "its status");
	check_body(&r, "{\"error\":\"no layer \\\"x\\\"\"}", "the text is quoted");
	tap_int(r.reply.caching, FG_NO_STORE, "errors are not kept");
	fg_reply_error(&r, 500, "bytes \xff\xfe");
	check_body(&r, "{\"error\":\"(message is not UTF-8)\"}", "not UTF-8");
	fg_reply_later(&r, 7, "queue full");
	tap_ok(r.reply.status == 503 && r.reply.retry_after == 7, "503 says when");
	fg_fail(&err, FG_EINVAL, "box is empty");
	fg_reply_err(&r, &err);
	tap_int(r.reply.status, 400, "a failure becomes a status");
	check_body(&r, "{\"error\":\"box is empty\"}", "and keeps its message");
	tap_int(r.reply.retry_after, 0, "without an old header");
	fg_buf_unref(r.reply.body);
}

int
main(void)
{
	statuses();
	tags();
	errors();
	return tap_done();
}
