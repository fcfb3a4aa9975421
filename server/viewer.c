/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bundled Neuroglancer: see the header. It is about 6 MB and kept in memory, so
 * that an event thread never waits for it, and so that a bundle that is built anew
 * under a running daemon does not mix with the old one.
 */
#include "config.h"

#include "server/viewer.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "server/headers.h"
#include "server/request.h"

#define FILES_MAX 256
#define BYTES_MAX ((size_t)64 << 20)

struct fg_viewer {
	struct fg_viewer_file file[FILES_MAX];
	size_t n, bytes;
};

/* ------------------------------------------------------------- types */

const char *
fg_type_of_name(const char *name)
{
	static const struct {
		const char *end, *type;
	} types[] = {
	    {".html", "text/html; charset=utf-8"},
	    {".js", "text/javascript; charset=utf-8"},
	    {".css", "text/css; charset=utf-8"},
	    {".wasm", "application/wasm"},
	    {".svg", "image/svg+xml"},
	    {".png", "image/png"},
	    {".json", "application/json"},
	    {".txt", "text/plain; charset=utf-8"},
	};
	size_t n = strlen(name);

	for (size_t i = 0; i < FG_COUNTOF(types); i++) {
		size_t len = strlen(types[i].end);

		if (n > len && strcmp(name + n - len, types[i].end) == 0)
			return types[i].type;
	}
	return "application/octet-stream";
}

/* ------------------------------------------------------------- loading */

static struct fg_viewer_file *
find(struct fg_viewer *v, const char *name)
{
	for (size_t i = 0; i < v->n; i++) {
		if (strcmp(v->file[i].name, name) == 0)
			return &v->file[i];
	}
	return NULL;
}

const struct fg_viewer_file *
fg_viewer_find(const struct fg_viewer *v, const char *name)
{
	return find((struct fg_viewer *)(uintptr_t)v, name);
}

static int
load_file(struct fg_viewer *v, const char *dir, const char *name, struct fg_err *err)
{
	char *path = fg_asprintf("%s/%s", dir, name);
	struct fg_buf *b = fg_file_read(path, BYTES_MAX, err);
	struct fg_viewer_file *f;

	free(path);
	if (!b)
		return -1;
	v->bytes += b->len;
	if (v->n == FILES_MAX || v->bytes > BYTES_MAX) {
		fg_buf_unref(b);
		return fg_fail(err, FG_EINVAL, "%s holds more than %d files or %zu MiB",
		    dir, FILES_MAX, BYTES_MAX >> 20);
	}
	f = &v->file[v->n++];
	f->name = fg_strdup(name);
	f->type = fg_type_of_name(name);
	f->body = b;
	f->etag = fg_hash64(b->data, b->len);
	f->hashed = strncmp(name, "assets/", 7) == 0;
	return 0;
}

/* All regular files of dir/sub ("" or "assets/"). */
static int
load_folder(struct fg_viewer *v, const char *dir, const char *sub, struct fg_err *err)
{
	char *path = fg_asprintf("%s/%s", dir, sub);
	DIR *d = opendir(path);
	struct dirent *e;
	int rc = 0;

	if (!d) {
		rc = fg_fail_errno(err, "%s", path);
		free(path);
		return rc;
	}
	while (rc == 0 && (e = readdir(d))) {
		char *name;

		if (e->d_name[0] == '.' || (*sub == '\0' && e->d_type == DT_DIR))
			continue;
		name = fg_asprintf("%s%s", sub, e->d_name);
		rc = load_file(v, dir, name, err);
		free(name);
	}
	closedir(d);
	free(path);
	return rc;
}

/* NAME.gz becomes a member of NAME. */
static void
pair_compressed(struct fg_viewer *v)
{
	size_t kept = 0;

	for (size_t i = 0; i < v->n; i++) {
		struct fg_viewer_file *f = &v->file[i], *plain;
		size_t n = strlen(f->name);

		if (n <= 3 || strcmp(f->name + n - 3, ".gz") != 0)
			continue;
		f->name[n - 3] = '\0';
		/* The name with .gz is cut now: the other one is meant. */
		plain = NULL;
		for (size_t k = 0; k < v->n; k++) {
			if (k != i && strcmp(v->file[k].name, f->name) == 0)
				plain = &v->file[k];
		}
		f->name[n - 3] = '.';
		if (plain) {
			plain->gzip = f->body;
			f->body = NULL;
		}
	}
	for (size_t i = 0; i < v->n; i++) {
		if (v->file[i].body)
			v->file[kept++] = v->file[i];
		else
			free(v->file[i].name);
	}
	v->n = kept;
}

static bool
has_index(const char *dir)
{
	char *path = fg_asprintf("%s/index.html", dir);
	bool there = access(path, R_OK) == 0;

	free(path);
	return there;
}

/* viewer/dist beside the running program; malloc'ed, NULL if that is not known. */
static char *
beside_program(void)
{
	char exe[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	char *slash;

	if (n <= 0)
		return NULL;
	exe[n] = '\0';
	slash = strrchr(exe, '/');
	return slash ? fg_asprintf("%.*s/viewer/dist", (int)(slash - exe), exe) : NULL;
}

/* Where the bundle is, malloc'ed; NULL: nowhere. */
static char *
look_for(void)
{
	char *dir = beside_program();

	if (dir && has_index(dir))
		return dir;
	free(dir);
	return has_index(FG_PKGDATADIR "/viewer") ? fg_strdup(FG_PKGDATADIR "/viewer")
						  : NULL;
}

int
fg_viewer_load(const char *dir, struct fg_viewer **out, struct fg_err *err)
{
	char *where = *dir ? fg_strdup(dir) : look_for();
	struct fg_viewer *v;

	*out = NULL;
	if (!where)
		return 0;
	v = fg_calloc(1, sizeof *v);
	if (load_folder(v, where, "", err) < 0 ||
	    load_folder(v, where, "assets/", err) < 0)
		goto fail;
	pair_compressed(v);
	if (!find(v, "index.html")) {
		fg_fail(err, FG_ENOENT, "%s holds no index.html", where);
		goto fail;
	}
	fg_log(FG_LOG_DEBUG, "viewer: %zu files from %s", v->n, where);
	free(where);
	*out = v;
	return 0;
fail:
	fg_viewer_free(v);
	free(where);
	return fg_err_prefix(err, "viewer");
}

void
fg_viewer_free(struct fg_viewer *v)
{
	if (!v)
		return;
	for (size_t i = 0; i < v->n; i++) {
		free(v->file[i].name);
		fg_buf_unref(v->file[i].body);
		fg_buf_unref(v->file[i].gzip);
	}
	free(v);
}

/* ------------------------------------------------------------- serving */

static void
reply_file(struct fg_request *r, const struct fg_viewer_file *f)
{
	bool packed = f->gzip && !(r->method == FG_GET && r->range) &&
		      fg_coding_is_accepted(r->accept_encoding, FG_CODING_GZIP);

	fg_reply_bytes(r, 200, f->type, fg_buf_ref(packed ? f->gzip : f->body));
	r->reply.tagged = true;
	r->reply.etag = f->etag;
	r->reply.coding = packed ? FG_CODING_GZIP : FG_CODING_NONE;
	r->reply.vary = f->gzip != NULL;
	r->reply.ranges = !packed;
	r->reply.caching = f->hashed ? FG_IMMUTABLE : FG_NO_CACHE;
	r->reply.policy = FG_POLICY_VIEWER;
}

void
fg_viewer_handle(struct fg_request *r)
{
	const struct fg_viewer *v = r->srv->viewer;
	const char *name = r->route.rest;
	const struct fg_viewer_file *f;

	if (!v) {
		fg_reply_error(r, 404,
		    "this server has no viewer: see `make viewer`, or the setting "
		    "viewer_dir");
	} else if (r->route.path[strlen("/viewer")] != '/') {
		fg_reply_bytes(r, 307, NULL, NULL);
		/* Relative: whatever is before it stays. */
		snprintf(r->reply.location, sizeof r->reply.location, "viewer/");
	} else if ((f = fg_viewer_find(v, *name ? name : "index.html"))) {
		reply_file(r, f);
	} else {
		fg_reply_error(r, 404, "the viewer has no %.200s", name);
	}
}
