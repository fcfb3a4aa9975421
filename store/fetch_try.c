/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One try of one fetch: what is asked, what is accepted, and what a failure means.
 *
 * The head is judged before the first byte of a body is kept: a body that is too long,
 * of another range or for nobody is not taken. Memory is allocated once, for the length
 * that was announced, within the limit; without one it grows up to the limit.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "store/fetch_impl.h"

/* Bytes of an error page that are read for the sake of keeping the connection. */
#define IGNORED_MAX (256u << 10)

/* ------------------------------------------------------------- receiving */

static size_t
on_head(char *p, size_t size, size_t n, void *ctx)
{
	struct fg_fetch_job *j = ctx;

	fg_fetch_head_line(&j->head, p, size * n);
	return size * n;
}

/* Bytes that the body must have; false: not told. */
static bool
body_length(const struct fg_fetch_job *j, uint64_t *n)
{
	const struct fg_fetch *f = j->f;

	*n = f->ranged ? f->len : j->head.length;
	return f->ranged || j->head.has_length;
}

/* Is this the range that was asked for? */
static int
check_range(struct fg_fetch_job *j)
{
	const struct fg_fetch_head *h = &j->head;
	struct fg_fetch *f = j->f;

	/* All of it, and that is what was wanted. */
	if (h->status == 200 && f->off == 0 && h->has_length && h->length == f->len)
		return 0;
	if (h->status == 200)
		return fg_fail(&f->err, FG_ECORRUPT,
		    "upstream sends a whole file where a part was asked for: it does "
		    "not know ranges");
	if (h->has_coding && h->coding != FG_CODING_NONE)
		return fg_fail(&f->err, FG_ECORRUPT,
		    "upstream sends a compressed part of a file");
	if (!h->has_range || h->first != f->off)
		return fg_fail(&f->err, FG_ECORRUPT,
		    "upstream sends bytes from %llu on, wanted from %llu",
		    h->has_range ? (unsigned long long)h->first : 0,
		    (unsigned long long)f->off);
	if (h->last - h->first != f->len - 1)
		return fg_fail(&f->err, FG_ECORRUPT,
		    "upstream's file ends at byte %llu, wanted bytes %llu to %llu",
		    (unsigned long long)h->last + 1, (unsigned long long)f->off,
		    (unsigned long long)(f->off + f->len));
	if (h->has_length && h->length != f->len)
		return fg_fail(&f->err, FG_ECORRUPT,
		    "upstream sends %llu bytes for a range of %llu",
		    (unsigned long long)h->length, (unsigned long long)f->len);
	return 0;
}

/* The head of a reply whose body is wanted. */
static int
check_head(struct fg_fetch_job *j)
{
	const struct fg_fetch_head *h = &j->head;
	struct fg_fetch *f = j->f;
	uint64_t n;

	if (h->broken)
		return fg_fail(&f->err, FG_ECORRUPT,
		    "upstream's reply has a head that cannot be right");
	if (h->unknown_coding)
		return fg_fail(&f->err, FG_ECORRUPT,
		    "upstream sends a content coding that is not known here");
	if (!f->ranged && h->status == 206)
		return fg_fail(&f->err, FG_ECORRUPT,
		    "upstream sends a part of a file where the whole was asked for");
	if (f->ranged && check_range(j) < 0)
		return -1;
	if (body_length(j, &n) && n > f->limit)
		return fg_fail(&f->err, FG_EFULL,
		    "upstream's file has %llu bytes, at most %zu are read",
		    (unsigned long long)n, f->limit);
	return 0;
}

static int
make_room(struct fg_fetch_job *j, size_t more)
{
	size_t first = 64 << 10, want;
	struct fg_fetch *f = j->f;
	struct fg_buf *b;
	uint64_t n;

	if (j->body && more <= j->body->len - j->got)
		return 0;
	if (more > f->limit - j->got)
		return fg_fail(&f->err, FG_EFULL,
		    "upstream's file is longer than the %zu bytes that are read",
		    f->limit);
	if (body_length(j, &n) && !j->body)
		want = (size_t)n; /* within the limit: see check_head */
	else
		want = j->body ? j->body->len * 2 : first;
	want = FG_MIN(FG_MAX(want, j->got + more), f->limit);
	b = fg_buf_new(want);
	if (!b)
		return fg_fail(&f->err, FG_ENOMEM, "no memory for %zu bytes", want);
	if (j->body)
		memcpy(b->data, j->body->data, j->got);
	fg_buf_unref(j->body);
	j->body = b;
	return 0;
}

static size_t
on_body(char *p, size_t size, size_t n, void *ctx)
{
	struct fg_fetch_job *j = ctx;
	size_t bytes = size * n;

	if (j->head.status != 200 && j->head.status != 206) {
		j->ignored += bytes;
		return j->ignored > IGNORED_MAX ? 0 : bytes;
	}
	if (!j->checked && check_head(j) < 0)
		return 0;
	j->checked = true;
	if (make_room(j, bytes) < 0)
		return 0;
	memcpy(j->body->data + j->got, p, bytes);
	j->got += bytes;
	return bytes;
}

/* ------------------------------------------------------------- asking */

static void
add_line(struct fg_fetch_job *j, const char *name, const char *value)
{
	char *line = fg_asprintf("%s: %s", name, value);

	j->lines = curl_slist_append(j->lines, line);
	fg_assert(j->lines != NULL);
	free(line);
}

/* Headers of a signature, one a line. */
static int
add_signature(struct fg_fetch_job *j)
{
	struct fg_str s = FG_STR_INIT;

	if (fg_sigv4_headers(j->f->key, j->url, (int64_t)time(NULL), &s, &j->f->err) <
	    0)
		return -1;
	for (char *p = s.data, *end; (end = strchr(p, '\n')); p = end + 1) {
		*end = '\0';
		j->lines = curl_slist_append(j->lines, p);
	}
	fg_str_fini(&s);
	return 0;
}

static int
add_lines(struct fg_fetch_job *j)
{
	const struct fg_fetch *f = j->f;
	const char *same = f->same_tag && f->same_tag[0] ? f->same_tag : NULL;
	const char *not = f->if_tag && f->if_tag[0] ? f->if_tag : NULL;

	/* What is stored compressed comes as it is, and is unpacked here with a limit;
	 * a part is of the file as it is. */
	add_line(j, "Accept-Encoding", f->ranged ? "identity" : "gzip, zstd, br");
	if (not )
		add_line(j, *not == '@' ? "If-Modified-Since" : "If-None-Match",
		    *not == '@' ? not +1 : not );
	if (same && fg_fetch_tag_is_strong(same))
		add_line(j, "If-Match", same);
	if (f->bearer) {
		char *value = fg_asprintf("Bearer %s", f->bearer);

		add_line(j, "Authorization", value);
		free(value);
	}
	return f->key ? add_signature(j) : 0;
}

static void
set_protocols(CURL *easy)
{
#if LIBCURL_VERSION_NUM >= 0x075500
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
#else
	curl_easy_setopt(easy, CURLOPT_PROTOCOLS,
	    (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

int
fg_fetch_prepare(struct fg_fetch_job *j, const struct fg_fetch_options *opt,
    int64_t left_ms)
{
	const struct fg_fetch *f = j->f;
	CURL *e = j->easy;
	char range[64];

	curl_easy_reset(e);
	j->head = (struct fg_fetch_head){.total = UINT64_MAX};
	j->got = j->ignored = 0;
	j->checked = j->silent = false;
	j->text[0] = '\0';
	j->lines = NULL;
	if (add_lines(j) < 0)
		return -1;
	curl_easy_setopt(e, CURLOPT_URL, j->url);
	set_protocols(e);
	curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_HTTP09_ALLOWED, 0L);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(e, CURLOPT_USERAGENT, PACKAGE_NAME "/" PACKAGE_VERSION);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, j->lines);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)opt->connect_ms);
	curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)left_ms);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
	curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME,
	    (long)FG_MAX((opt->stall_ms + 999) / 1000, 1));
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, j->text);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_head);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, j);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, j);
	curl_easy_setopt(e, CURLOPT_PRIVATE, j);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	if (f->ranged) {
		snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)f->off,
		    (unsigned long long)(f->off + f->len - 1));
		curl_easy_setopt(e, CURLOPT_RANGE, range);
	}
	return 0;
}

/* ------------------------------------------------------------- judging */

void
fg_fetch_read_end(struct fg_fetch_job *j, int code)
{
	struct fg_err *err = &j->f->err;
	const char *text = j->text[0] ? j->text : curl_easy_strerror((CURLcode)code);

	if (err->code != FG_OK)
		return; /* a callback has said it, or shutting down */
	switch (code) {
	case CURLE_OK:
		return;
	case CURLE_WRITE_ERROR: /* enough of an error page: its status counts */
		if (j->ignored > IGNORED_MAX)
			return;
		break;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_UNSUPPORTED_PROTOCOL: /* a reply that is not HTTP/1 */
	case CURLE_WEIRD_SERVER_REPLY:
	case CURLE_URL_MALFORMAT:
		fg_fail(err, FG_ECORRUPT, "upstream: %.200s", text);
		return;
	default:
		break;
	}
	/* The body was being sent: the server is there. */
	j->silent = j->head.status == 0 || code == CURLE_OPERATION_TIMEDOUT;
	fg_fail(err, FG_EIO, "upstream: %.200s", text);
}

static bool
is_passing(int status)
{
	return status == 408 || status == 425 || status == 429 || status >= 500;
}

static enum fg_fetch_next
judge_body(struct fg_fetch_job *j)
{
	const struct fg_fetch_head *h = &j->head;
	struct fg_fetch *f = j->f;

	/* An empty body was not seen by on_body. */
	if (!j->checked && check_head(j) < 0)
		return FG_FETCH_DONE;
	if (f->ranged && j->got != f->len) {
		fg_fail(&f->err, FG_EIO, "upstream ends after %zu of %llu bytes",
		    j->got, (unsigned long long)f->len);
		return FG_FETCH_AGAIN;
	}
	if (!j->body)
		j->body = fg_buf_copy("", 0);
	j->body->len = j->got;
	memcpy(f->tag, h->tag, sizeof f->tag);
	f->got = FG_FETCHED_BYTES;
	f->coding = h->coding;
	f->no_store = h->no_store;
	f->size = !f->ranged ? j->got : h->status == 200 ? f->len : h->total;
	if (f->same_tag && strcmp(f->same_tag, f->tag) != 0) {
		f->got = FG_FETCHED_OTHER;
		fg_buf_unref(j->body);
		j->body = NULL;
	}
	return FG_FETCH_DONE;
}

enum fg_fetch_next
fg_fetch_judge(struct fg_fetch_job *j)
{
	struct fg_fetch *f = j->f;
	int status = j->head.status;

	if (f->err.code != FG_OK)
		return f->err.code == FG_EIO ? FG_FETCH_AGAIN : FG_FETCH_DONE;
	if (is_passing(status)) {
		j->silent = status == 429 || status == 503;
		fg_fail(&f->err, FG_EIO, "upstream answers %d", status);
		return FG_FETCH_AGAIN;
	}
	switch (status) {
	case 200:
	case 206:
		return judge_body(j);
	case 301:
	case 302:
	case 303:
	case 307:
	case 308:
		return FG_FETCH_REDIRECT;
	case 304:
		f->got = FG_FETCHED_SAME;
		if (!f->if_tag)
			fg_fail(&f->err, FG_ECORRUPT,
			    "upstream says \"not modified\" without being asked");
		return FG_FETCH_DONE;
	case 403:
		if (!f->denied_is_absent)
			break;
		f->got = FG_FETCHED_ABSENT;
		return FG_FETCH_DONE;
	case 404:
	case 410:
		f->got = FG_FETCHED_ABSENT;
		return FG_FETCH_DONE;
	case 412:
		if (!f->same_tag)
			break;
		f->got = FG_FETCHED_OTHER;
		return FG_FETCH_DONE;
	case 416:
		fg_fail(&f->err, FG_ECORRUPT,
		    "upstream's file has no bytes %llu to %llu",
		    (unsigned long long)f->off, (unsigned long long)(f->off + f->len));
		return FG_FETCH_DONE;
	default:
		break;
	}
	fg_fail(&f->err, FG_ECORRUPT, "upstream answers %d%s", status,
	    status == 401 || status == 403 ? ": no access" : "");
	return FG_FETCH_DONE;
}
