/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Precomputed volumes on web servers and in buckets, read through store/web.h.
 *
 *   http://HOST[:PORT]/PATH[?QUERY], https:   the query goes with every request
 *   s3://BUCKET/PATH   at https://BUCKET.s3.REGION.amazonaws.com, or at
 *       AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL (then ENDPOINT/BUCKET/PATH); REGION from
 *       AWS_REGION, AWS_DEFAULT_REGION, else us-east-1. Signed if AWS_ACCESS_KEY_ID
 *       and AWS_SECRET_ACCESS_KEY (and AWS_SESSION_TOKEN) are there.
 *   gs://BUCKET/PATH   at https://storage.googleapis.com, or at STORAGE_EMULATOR_HOST;
 *       with CLOUDSDK_AUTH_ACCESS_TOKEN as bearer token if that is there.
 *
 * Credentials come from the environment of the process only: nothing of them is in a
 * layer's description. No byte of a reply is trusted: bodies are bounded by what a
 * chunk can need, and a chunk is kept only after it was decoded once.
 */
#include "config.h"

#include "store/remote.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "formats/codec.h"
#include "store/remote_impl.h"

#define INFO_MAX (16u << 20)
#define INDEX_CACHE (16u << 20)

/* ------------------------------------------------------------- addresses */

static bool
is_plain(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
	       (c >= '0' && c <= '9') || (c && strchr("-._~/", c));
}

/* Percent-encoded as signing wants it. */
static void
put_path(struct fg_str *s, const char *path)
{
	for (; *path; path++) {
		if (is_plain(*path))
			fg_str_put(s, path, 1);
		else
			fg_str_putf(s, "%%%02X", (unsigned char)*path);
	}
}

char *
fg_remote_url(const struct fg_remote *r, const char *name)
{
	struct fg_str s = FG_STR_INIT;

	fg_str_putf(&s, "%s/", r->base);
	put_path(&s, name);
	fg_str_puts(&s, r->query);
	return s.data;
}

void
fg_remote_file(const struct fg_remote *r, const char *url, size_t limit,
    struct fg_web_file *out)
{
	*out = (struct fg_web_file){
	    .url = url,
	    .limit = limit,
	    .anywhere = r->anywhere,
	    .denied_is_absent = r->denied_is_absent,
	    .key = r->is_signed ? &r->key : NULL,
	    .bearer = r->text[4],
	};
}

static const char *
env(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

static char *
env_copy(const char *name)
{
	const char *v = env(name);

	return v ? fg_strdup(v) : NULL;
}

static void
cut_slashes(char *text)
{
	size_t n = strlen(text);

	while (n > 0 && text[n - 1] == '/')
		text[--n] = '\0';
}

/* http://host/path?query, also with "|neuroglancer-precomputed:" behind it. */
static int
parse_web(struct fg_remote *r, const char *url, struct fg_err *err)
{
	struct fg_fetch_url u;
	const char *pipe = strchr(url, '|'), *query;
	char *text = fg_strndup(url, pipe ? (size_t)(pipe - url) : strlen(url));
	int rc = -1;

	if (pipe && strncmp(pipe, "|neuroglancer-precomputed:", 26) != 0)
		fg_fail(err, FG_ENOTSUP, "\"%.40s\" is not a format that is read",
		    pipe);
	else
		rc = fg_fetch_url_parse(text, &u, err);
	if (rc == 0) {
		query = strchr(text + u.path, '?');
		r->query = fg_strdup(query ? query : "");
		r->base =
		    query ? fg_strndup(text, (size_t)(query - text)) : fg_strdup(text);
		cut_slashes(r->base);
	}
	free(text);
	return rc;
}

/* "//bucket/path" -> bucket and path; both end at the text's end or a slash. */
static int
split_bucket(const char *rest, char **bucket, const char **path, struct fg_err *err)
{
	size_t n;

	if (strncmp(rest, "//", 2) != 0)
		return fg_fail(err, FG_EINVAL, "wanted SCHEME://BUCKET/PATH");
	rest += 2;
	n = strcspn(rest, "/");
	if (n < 1 || n > 222 ||
	    strspn(rest, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			 "0123456789.-_") < n)
		return fg_fail(err, FG_EINVAL,
		    "\"%.60s\" does not begin with the name "
		    "of a bucket",
		    rest);
	*bucket = fg_strndup(rest, n);
	*path = rest + n + (rest[n] == '/');
	return 0;
}

static int
set_base(struct fg_remote *r, char *endpoint, const char *bucket, const char *path,
    struct fg_err *err)
{
	struct fg_str s = FG_STR_INIT;
	struct fg_fetch_url u;

	cut_slashes(endpoint);
	fg_str_puts(&s, endpoint);
	if (bucket) {
		fg_str_put(&s, "/", 1);
		put_path(&s, bucket);
	}
	if (*path) {
		fg_str_put(&s, "/", 1);
		put_path(&s, path);
	}
	cut_slashes(s.data);
	r->base = s.data;
	r->query = fg_strdup("");
	return fg_fetch_url_parse(r->base, &u, err);
}

static int
parse_s3(struct fg_remote *r, const char *rest, struct fg_err *err)
{
	const char *endpoint = env("AWS_ENDPOINT_URL_S3"), *path, *region;
	char *bucket = NULL, *where;
	int rc;

	if (split_bucket(rest, &bucket, &path, err) < 0)
		return -1;
	endpoint = endpoint ? endpoint : env("AWS_ENDPOINT_URL");
	region = env("AWS_REGION") ? env("AWS_REGION") : env("AWS_DEFAULT_REGION");
	r->text[0] = env_copy("AWS_ACCESS_KEY_ID");
	r->text[1] = env_copy("AWS_SECRET_ACCESS_KEY");
	r->text[2] = env_copy("AWS_SESSION_TOKEN");
	r->text[3] = fg_strdup(region ? region : "us-east-1");
	r->is_signed = r->text[0] && r->text[1];
	r->key =
	    (struct fg_sigv4_key){r->text[0], r->text[1], r->text[2], r->text[3], "s3"};
	/* A certificate for *.s3... does not cover a name with dots in it. */
	bool dotted = strchr(bucket, '.') != NULL;
	where = endpoint ? fg_strdup(endpoint)
		: dotted
		    ? fg_asprintf("https://s3.%s.amazonaws.com", r->text[3])
		    : fg_asprintf("https://%s.s3.%s.amazonaws.com", bucket, r->text[3]);
	rc = set_base(r, where, endpoint || dotted ? bucket : NULL, path, err);
	free(where);
	free(bucket);
	return rc;
}

static int
parse_gs(struct fg_remote *r, const char *rest, struct fg_err *err)
{
	const char *host = env("STORAGE_EMULATOR_HOST"), *path;
	char *bucket = NULL, *where;
	int rc;

	if (split_bucket(rest, &bucket, &path, err) < 0)
		return -1;
	r->text[4] = env_copy("CLOUDSDK_AUTH_ACCESS_TOKEN");
	where = !host                 ? fg_strdup("https://storage.googleapis.com")
		: strstr(host, "://") ? fg_strdup(host)
				      : fg_asprintf("http://%s", host);
	rc = set_base(r, where, bucket, path, err);
	free(where);
	free(bucket);
	return rc;
}

/* ------------------------------------------------------------- opening */

/* A body as sent -> as stored. */
static int
unpack(const struct fg_buf *b, enum fg_coding c, size_t limit, struct fg_buf **out,
    struct fg_err *err)
{
	if (c == FG_CODING_NONE) {
		*out = fg_buf_ref((struct fg_buf *)b);
		return 0;
	}
	return fg_decompress(c, b->data, b->len, limit, out, err);
}

static int
check_info(void *ctx, const struct fg_buf *b, enum fg_coding c, struct fg_err *err)
{
	struct fg_source *s = ctx;
	struct fg_buf *plain = NULL;
	int rc;

	if (unpack(b, c, INFO_MAX, &plain, err) < 0)
		return -1;
	rc = fg_info_parse_any((const char *)plain->data, plain->len, &s->info, err);
	fg_info_fini(&s->info);
	fg_buf_unref(plain);
	return rc;
}

static int
read_info(struct fg_source *s, struct fg_err *err)
{
	struct fg_remote *r = s->priv;
	char *url = fg_remote_url(r, "info");
	struct fg_web_file f;
	int rc;

	fg_remote_file(r, url, INFO_MAX, &f);
	f.check = check_info;
	f.ctx = s;
	rc = fg_web_get(r->web, &f, 1, err);
	if (rc == 0 && f.absent)
		rc = fg_fail(err, FG_ENOENT, "upstream has no info file");
	if (rc == 0)
		rc = unpack(f.bytes, f.coding, INFO_MAX, &s->info_bytes, err);
	if (rc == 0)
		rc = fg_info_parse_any((const char *)s->info_bytes->data,
		    s->info_bytes->len, &s->info, err);
	fg_buf_unref(f.bytes);
	free(url);
	return rc;
}

static int
open_info(struct fg_source *s, struct fg_err *err)
{
	const char *known = s->opt.known_info;
	struct fg_err why = FG_ERR_INIT;

	if (read_info(s, &why) == 0)
		return 0;
	if (!known || why.code != FG_EIO)
		return fg_fail(err, why.code, "%.200s: %s", s->url, why.msg);
	fg_log(FG_LOG_WARN, "upstream of %.200s: %s; its info is as it was", s->url,
	    why.msg);
	return fg_info_parse_any(known, strlen(known), &s->info, err);
}

static int
remote_open(struct fg_source *s, const char *rest, struct fg_err *err)
{
	struct fg_remote *r = fg_calloc(1, sizeof *r);
	int rc;

	s->priv = r;
	r->shards = fg_shards_new(INDEX_CACHE);
	r->web = s->opt.web;
	r->anywhere = s->opt.anywhere;
	r->denied_is_absent = s->opt.denied_is_absent;
	if (s->ops == &fg_remote_s3_ops)
		rc = parse_s3(r, rest, err);
	else if (s->ops == &fg_remote_gs_ops)
		rc = parse_gs(r, rest, err);
	else
		rc = parse_web(r, s->url, err);
	if (rc < 0)
		return -1;
	if (!r->web) {
		r->web = fg_web_new(NULL, err);
		r->own_web = r->web != NULL;
	}
	return r->web ? open_info(s, err) : -1;
}

static void
remote_close(struct fg_source *s)
{
	struct fg_remote *r = s->priv;

	if (r->own_web)
		fg_web_free(r->web);
	fg_shards_free(r->shards);
	for (size_t i = 0; i < FG_COUNTOF(r->text); i++)
		free(r->text[i]);
	free(r->base);
	free(r->query);
	free(r);
}

/* ------------------------------------------------------------- chunks */

int
fg_remote_check(void *ctx, const struct fg_buf *b, enum fg_coding c, struct fg_err *err)
{
	struct fg_remote_chunk *k = ctx;
	const struct fg_scale *sc = &k->s->info.scale[k->scale];
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_err why = FG_ERR_INIT;
	struct fg_buf *plain = NULL;
	struct fg_box vx;
	int64_t shape[4];
	int rc;

	if (unpack(b, c, fg_source_chunk_limit(k->s, k->scale), &plain, err) < 0)
		return -1;
	fg_scale_chunk_box(sc, k->ch, &vx);
	fg_box_shape(&vx, shape);
	shape[3] = k->s->info.channels;
	rc = fg_array_init(&a, k->s->info.dtype, shape, &why);
	if (rc == 0)
		rc = fg_codec_decode(sc, plain->data, plain->len, &a, &why);
	fg_array_fini(&a);
	/* An encoding that this build lacks can be handed on all the same. */
	if (rc < 0 && why.code == FG_ENOTSUP)
		rc = 0;
	if (rc < 0) {
		fg_buf_unref(plain);
		return fg_fail(err, why.code, "%s", why.msg);
	}
	fg_buf_unref(k->plain);
	k->plain = plain;
	return 0;
}

static int
finish_chunk(struct fg_source *s, int scale, struct fg_web_file *f,
    struct fg_remote_chunk *k, struct fg_buf **out, struct fg_err *err)
{
	if (f->absent)
		return 0;
	if (k->plain) {
		*out = k->plain;
		k->plain = NULL;
		return 0;
	}
	return unpack(f->bytes, f->coding, fg_source_chunk_limit(s, scale), out, err);
}

static int
remote_chunks(struct fg_source *s, int scale, const int64_t (*ch)[3], size_t n,
    struct fg_buf **out, struct fg_err *err)
{
	const struct fg_scale *sc = &s->info.scale[scale];
	struct fg_remote *r = s->priv;
	struct fg_remote_chunk *k;
	struct fg_web_file *f;
	int rc;

	if (sc->sharding.present)
		return fg_remote_shards_chunks(s, scale, ch, n, out, err);
	f = fg_calloc(n, sizeof *f);
	k = fg_calloc(n, sizeof *k);
	for (size_t i = 0; i < n; i++) {
		char name[FG_CHUNK_NAME], *path;
		struct fg_box vx;

		fg_scale_chunk_box(sc, ch[i], &vx);
		fg_chunk_name_format(&vx, name);
		path = fg_asprintf("%s/%s", sc->key, name);
		fg_remote_file(r, fg_remote_url(r, path),
		    fg_source_chunk_limit(s, scale), &f[i]);
		free(path);
		k[i] = (struct fg_remote_chunk){.s = s, .scale = scale, .ch = ch[i]};
		f[i].check = fg_remote_check;
		f[i].ctx = &k[i];
	}
	rc = fg_web_get(r->web, f, n, err);
	for (size_t i = 0; i < n; i++) {
		if (rc == 0)
			rc = finish_chunk(s, scale, &f[i], &k[i], &out[i], err);
		fg_buf_unref(f[i].bytes);
		fg_buf_unref(k[i].plain);
		free((char *)f[i].url);
	}
	free(f);
	free(k);
	return rc;
}

/* ------------------------------------------------------------- other files */

static int
remote_file(struct fg_source *s, const char *name, size_t limit, int *coding,
    struct fg_buf **out, struct fg_err *err)
{
	struct fg_remote *r = s->priv;
	char *url = fg_remote_url(r, name);
	struct fg_web_file f;
	int rc;

	fg_remote_file(r, url, limit, &f);
	rc = fg_web_get(r->web, &f, 1, err);
	free(url);
	if (rc < 0)
		return -1;
	*coding = (int)f.coding;
	*out = f.bytes;
	return 0;
}

/* Size and tag, by its first byte. */
static int
probe(struct fg_remote *r, struct fg_web_file *f, struct fg_err *err)
{
	f->off = 0;
	f->len = 1;
	if (fg_web_get(r->web, f, 1, err) < 0)
		return -1;
	fg_buf_unref(f->bytes);
	f->bytes = NULL;
	if (!f->absent && f->size == UINT64_MAX)
		return fg_fail(err, FG_ENOTSUP,
		    "upstream does not tell sizes of files");
	return 0;
}

static int
read_part(struct fg_remote *r, struct fg_web_file *f, struct fg_source_part *p,
    struct fg_err *err)
{
	char tag[FG_TAG_MAX];

	if (probe(r, f, err) < 0)
		return -1;
	p->absent = f->absent;
	if (f->absent)
		return 0;
	p->size = f->size;
	p->tag = fg_hash64(f->tag, strlen(f->tag)) ^ f->size;
	if (p->from_end) {
		p->len = FG_MIN(p->len, p->size);
		p->off = p->size - p->len;
	} else if (p->off >= p->size) {
		p->len = 0;
	} else {
		p->len = FG_MIN(p->len, p->size - p->off);
	}
	if (p->len == 0)
		return 0;
	if (p->len > p->limit)
		return fg_fail(err, FG_EFULL,
		    "a part of %llu bytes, at most %llu are read",
		    (unsigned long long)p->len, (unsigned long long)p->limit);
	memcpy(tag, f->tag, sizeof tag);
	f->off = p->off;
	f->len = p->len;
	f->same_tag = tag[0] ? tag : NULL;
	f->limit = (size_t)p->len;
	if (fg_web_get(r->web, f, 1, err) < 0)
		return -1;
	if (f->absent || f->changed) {
		/* The next try sees what is there now. */
		*f = (struct fg_web_file){.url = f->url, .ranged = true, .len = 1};
		fg_web_drop(r->web, f);
		return fg_fail(err, FG_EIO, "upstream's file changes while it is read");
	}
	p->bytes = f->bytes;
	return 0;
}

static int
remote_part(struct fg_source *s, const char *name, struct fg_source_part *p,
    struct fg_err *err)
{
	struct fg_remote *r = s->priv;
	char *url = fg_remote_url(r, name);
	struct fg_web_file f;
	int rc;

	fg_remote_file(r, url, 1, &f);
	f.ranged = true;
	rc = read_part(r, &f, p, err);
	free(url);
	return rc;
}

#define REMOTE(name)                                                                   \
	{                                                                              \
		.scheme = name, .open = remote_open, .chunks = remote_chunks,          \
		.file = remote_file, .part = remote_part, .close = remote_close,       \
	}

const struct fg_source_ops fg_remote_http_ops = REMOTE("http");
const struct fg_source_ops fg_remote_https_ops = REMOTE("https");
const struct fg_source_ops fg_remote_s3_ops = REMOTE("s3");
const struct fg_source_ops fg_remote_gs_ops = REMOTE("gs");
