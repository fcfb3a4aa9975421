/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The Neuroglancer that is served below /viewer/, if there is one: the files that
 * `make viewer` builds (www/viewer/), read once at start. A request names one of them
 * and is never handed to the file system. NAME.gz beside NAME is its compressed form.
 */
#ifndef FG_SERVER_VIEWER_H
#define FG_SERVER_VIEWER_H

#include "base/buf.h"
#include "base/err.h"

struct fg_request;
struct fg_viewer;

/*
 * Read the bundle: `dir` if it is not empty, else the first of viewer/dist beside the
 * program (a build folder) and PKGDATADIR/viewer that is there. *out = NULL, return 0,
 * if there is none. Fails: `dir` is given and holds no index.html, a file cannot be
 * read, or it is all too large (64 MiB, 256 files).
 */
int fg_viewer_load(const char *dir, struct fg_viewer **out,
    struct fg_err *err) FG_MUST_USE;
void fg_viewer_free(struct fg_viewer *v);

/* One file; NULL if there is no such name ("index.html", "assets/x.js"). */
struct fg_viewer_file {
	char *name;
	const char *type;    /* Content-Type, static */
	struct fg_buf *body; /* as it is */
	struct fg_buf *gzip; /* compressed, or NULL */
	uint64_t etag;       /* of body */
	bool hashed;         /* the name holds a hash: these bytes for ever */
};
const struct fg_viewer_file *fg_viewer_find(const struct fg_viewer *v,
    const char *name);

/* /viewer, /viewer/, /viewer/NAME. */
void fg_viewer_handle(struct fg_request *r);

#endif
