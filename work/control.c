/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The control socket, by libcurl (the only file that includes it). A socket's address
 * holds 107 bytes of path; data directories may be deeper, so the address is given
 * relative to a descriptor of the directory: /proc/self/fd/N/control.sock.
 */
#include "config.h"

#include "work/control.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"

/* The largest reply worth keeping: a list of ten thousand layers. */
#define REPLY_MAX ((size_t)64 << 20)
/* Seconds for one reply. Adding a layer loads a network and may measure a device. */
#define REPLY_S 600L

struct fg_control {
	CURL *curl;
	int dir;
};

struct reply {
	struct fg_str text;
	bool too_long;
};

static size_t
on_bytes(char *p, size_t size, size_t n, void *ctx)
{
	struct reply *r = ctx;

	if (size * n > REPLY_MAX - r->text.len) {
		r->too_long = true;
		return 0;
	}
	fg_str_put(&r->text, p, size * n);
	return size * n;
}

static enum fg_code
code_of(long status)
{
	switch (status) {
	case 400:
	case 409:
	case 413:
	case 422:
		return FG_EINVAL;
	case 404:
		return FG_ENOENT;
	case 429:
	case 503:
		return FG_EBUSY;
	case 501:
		return FG_ENOTSUP;
	case 507:
		return FG_EFULL;
	default:
		return FG_EIO;
	}
}

/* The daemon's words for a failure: {"error": "text"}, or the text itself. */
static int
fail_status(long status, const struct reply *r, struct fg_err *err)
{
	const char *text = r->text.len ? r->text.data : "";
	json_t *j = json_loadb(text, r->text.len, 0, NULL);
	const char *said = json_string_value(json_object_get(j, "error"));
	int n = said ? (int)strlen(said) : (int)strcspn(text, "\r\n");

	if (n > 0)
		fg_fail(err, code_of(status), "%.*s", FG_MIN(n, 400),
		    said ? said : text);
	else
		fg_fail(err, code_of(status), "the daemon answers with status %ld",
		    status);
	json_decref(j);
	return -1;
}

static int
finish(CURLcode rc, long status, const struct reply *r, json_t **out,
    struct fg_err *err)
{
	json_t *j = NULL;

	if (r->too_long)
		return fg_fail(err, FG_EIO,
		    "the daemon's reply is longer than %zu bytes", REPLY_MAX);
	if (rc == CURLE_COULDNT_CONNECT)
		return fg_fail(err, FG_EBUSY, "no daemon answers at control.sock");
	if (rc != CURLE_OK)
		return fg_fail(err, FG_EIO, "asking the daemon: %s",
		    curl_easy_strerror(rc));
	if (status < 200 || status > 299)
		return fail_status(status, r, err);
	if (r->text.len > 0) {
		struct fg_err why = FG_ERR_INIT;

		j = fg_json_parse(r->text.data, r->text.len, "the daemon's reply",
		    &why);
		if (!j) /* not the user's mistake, as FG_EINVAL would say */
			return fg_fail(err, FG_EIO, "%s", why.msg);
	}
	if (out)
		*out = j;
	else
		json_decref(j);
	return 0;
}

int
fg_control_call(struct fg_control *c, const char *method, const char *path,
    const json_t *body, json_t **out, struct fg_err *err)
{
	char *url = fg_asprintf("http://localhost%s", path);
	char *text = body ? fg_json_format(body) : NULL;
	char socket[64];
	struct curl_slist *head =
	    curl_slist_append(NULL, "Content-Type: application/json");
	struct reply r = {.text = FG_STR_INIT};
	long status = 0;

	snprintf(socket, sizeof socket, "/proc/self/fd/%d/control.sock", c->dir);
	curl_easy_reset(c->curl);
	curl_easy_setopt(c->curl, CURLOPT_UNIX_SOCKET_PATH, socket);
	curl_easy_setopt(c->curl, CURLOPT_URL, url);
	curl_easy_setopt(c->curl, CURLOPT_PROXY, "");
	curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, REPLY_S);
	curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
	curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, on_bytes);
	curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, &r);
	if (text || strcmp(method, "POST") == 0) {
		/* An empty body, too: a POST needs its Content-Length. */
		curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, text ? text : "");
		curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, head);
	}
	CURLcode rc = curl_easy_perform(c->curl);
	curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, &status);
	int done = finish(rc, status, &r, out, err);
	curl_slist_free_all(head);
	fg_str_fini(&r.text);
	free(text);
	free(url);
	return done;
}

struct fg_control *
fg_control_open(const char *root, struct fg_err *err)
{
	struct fg_control *c = fg_calloc(1, sizeof *c);

	c->dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (c->dir < 0) {
		fg_fail_errno(err, "%s", root);
		goto fail;
	}
	curl_global_init(CURL_GLOBAL_NOTHING);
	c->curl = curl_easy_init();
	if (!c->curl) {
		fg_fail(err, FG_ENOMEM, "no memory for a connection");
		goto fail;
	}
	if (fg_control_call(c, "GET", "/api/layers", NULL, NULL, err) < 0)
		goto fail;
	return c;
fail:
	fg_control_close(c);
	return NULL;
}

void
fg_control_close(struct fg_control *c)
{
	if (!c)
		return;
	if (c->curl)
		curl_easy_cleanup(c->curl);
	if (c->dir >= 0)
		close(c->dir);
	free(c);
}
