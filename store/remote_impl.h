/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by store/remote.c and store/remote_shards.c. Not for others. */
#ifndef FG_STORE_REMOTE_IMPL_H
#define FG_STORE_REMOTE_IMPL_H

#include "store/shards.h"
#include "store/source.h"
#include "store/web.h"

struct fg_remote {
	struct fg_web *web;
	bool own_web;
	bool anywhere, denied_is_absent;
	char *base;  /* "https://host/path", no slash at the end */
	char *query; /* "?a=b", sent with every request, or "" */
	struct fg_shards *shards;
	/* Credentials; the strings are owned. signed: key is used. */
	bool is_signed;
	struct fg_sigv4_key key;
	char *text[5]; /* id, secret, token, region, bearer */
};

/* A chunk as it is needed to judge its bytes: check() of struct fg_web_file. */
struct fg_remote_chunk {
	const struct fg_source *s;
	int scale;
	const int64_t *ch;
	struct fg_buf *plain; /* out: the bytes unpacked, one reference */
};
int fg_remote_check(void *ctx, const struct fg_buf *b, enum fg_coding c,
    struct fg_err *err);

/* The URL of a file of the source; free(). */
char *fg_remote_url(const struct fg_remote *r, const char *name);
/* A request for it; url is borrowed. */
void fg_remote_file(const struct fg_remote *r, const char *url, size_t limit,
    struct fg_web_file *out);

/* As fg_source_chunks, for a sharded scale. */
int fg_remote_shards_chunks(struct fg_source *s, int scale, const int64_t (*ch)[3],
    size_t n, struct fg_buf **out, struct fg_err *err);

#endif
