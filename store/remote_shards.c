/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Chunks out of shard files on a web server, many at once.
 *
 * Three rounds, each of them one batch of concurrent fetches: the pieces of shards'
 * heads, the minishard indices, the data. Data that lie close together in a file are
 * fetched in one range and kept one by one. All of a shard is read from one version of
 * it: indices and data are asked for under the tag of the head, and when it is gone
 * everything begins anew with the new version.
 */
#include "config.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/morton.h"
#include "formats/codec.h"
#include "store/remote_impl.h"

#define HEAD_PIECE 65536   /* bytes of a head that are fetched together */
#define GAP_MAX (64 << 10) /* bytes fetched in vain between two data */
#define RUN_MAX (16 << 20) /* one fetch, unless a datum alone is longer */
#define VERSIONS_MAX 3     /* beginnings before a shard counts as restless */

/* A piece of a head: the unit of the first round. */
struct piece {
	uint64_t shard, off;
	char *url; /* of the shard; owned */
	struct fg_web_file f;
};

/* A minishard of a shard: the unit of the second. */
struct mini {
	struct piece *piece;
	uint64_t number;
	bool empty, fetched;
	struct fg_shards_key key;
	struct fg_range64 at;
	struct fg_shards_entry *entry;
};

struct want {
	size_t i; /* which chunk of the caller's */
	uint64_t key, shard, minishard;
	struct mini *mini;
	const struct fg_shard_item *item; /* NULL: there is no such chunk */
	bool done;
};

struct job {
	struct fg_source *s;
	struct fg_remote *r;
	const struct fg_scale *sc;
	int scale;
	const int64_t (*ch)[3];
	struct fg_buf **out;
	size_t n, pieces, minis;
	struct want *want;
	struct piece *piece;
	struct mini *mini;
};

static int
by_place(const void *pa, const void *pb)
{
	const struct want *a = pa, *b = pb;

	if (a->shard != b->shard)
		return a->shard < b->shard ? -1 : 1;
	if (a->minishard != b->minishard)
		return a->minishard < b->minishard ? -1 : 1;
	return a->key < b->key ? -1 : a->key > b->key;
}

static int
by_offset(const void *pa, const void *pb)
{
	const struct want *a = *(struct want *const *)pa;
	const struct want *b = *(struct want *const *)pb;

	if (a->shard != b->shard)
		return a->shard < b->shard ? -1 : 1;
	return a->item->off < b->item->off ? -1 : a->item->off > b->item->off;
}

static char *
shard_url(const struct job *j, uint64_t shard)
{
	char name[FG_SHARD_NAME], *path, *url;

	fg_shard_name(&j->sc->sharding, shard, name);
	path = fg_asprintf("%s/%s", j->sc->key, name);
	url = fg_remote_url(j->r, path);
	free(path);
	return url;
}

/* Which pieces and minishards the chunks need; each once. */
static void
plan(struct job *j)
{
	const struct fg_sharding *sh = &j->sc->sharding;
	uint64_t head = fg_shard_head(sh);
	int64_t grid[3];

	fg_scale_grid(j->sc, grid);
	for (size_t i = 0; i < j->n; i++) {
		struct want *w = &j->want[i];

		w->i = i;
		w->key = fg_morton_compressed(j->ch[i], grid);
		fg_shard_locate(sh, w->key, &w->shard, &w->minishard);
	}
	qsort(j->want, j->n, sizeof *j->want, by_place);
	for (size_t i = 0; i < j->n; i++) {
		struct want *w = &j->want[i], *last = i ? &j->want[i - 1] : NULL;
		uint64_t off = 16 * w->minishard / HEAD_PIECE * HEAD_PIECE;
		struct piece *p = j->pieces ? &j->piece[j->pieces - 1] : NULL;

		if (!p || p->shard != w->shard || p->off != off) {
			p = &j->piece[j->pieces++];
			*p = (struct piece){.shard = w->shard, .off = off};
			p->url = shard_url(j, w->shard);
			fg_remote_file(j->r, p->url, HEAD_PIECE, &p->f);
			p->f.ranged = true;
			p->f.off = off;
			p->f.len = FG_MIN(head - off, HEAD_PIECE);
		}
		if (!last || last->shard != w->shard || last->minishard != w->minishard)
			j->mini[j->minis++] =
			    (struct mini){.piece = p, .number = w->minishard};
		w->mini = &j->mini[j->minis - 1];
	}
}

static int
get_pieces(struct job *j, struct fg_err *err)
{
	struct fg_web_file *f = fg_calloc(j->pieces, sizeof *f);
	int rc;

	for (size_t i = 0; i < j->pieces; i++)
		f[i] = j->piece[i].f;
	rc = fg_web_get(j->r->web, f, j->pieces, err);
	for (size_t i = 0; i < j->pieces; i++)
		j->piece[i].f = f[i];
	free(f);
	return rc;
}

/* Forget what was read of a shard's head: it is of a version that is gone. */
static void
forget(struct job *j, const struct piece *p)
{
	fg_web_drop(j->r->web, &p->f);
}

/* From the head: where the index is. Then from memory, if it is there. */
static int
locate_mini(struct job *j, struct mini *m, struct fg_err *err)
{
	const struct fg_web_file *head = &m->piece->f;
	uint64_t size = head->size == UINT64_MAX ? INT64_MAX : head->size;

	if (head->absent || !head->bytes) {
		m->empty = true;
		return 0;
	}
	if (fg_shard_entry_decode(&j->sc->sharding,
		head->bytes->data + (16 * m->number - m->piece->off), m->number, size,
		&m->at, err) < 0)
		return fg_err_prefix(err, "%s", strrchr(m->piece->url, '/') + 1);
	m->empty = m->at.len == 0;
	m->key = (struct fg_shards_key){
	    .file = {fg_hash64(m->piece->url, strlen(m->piece->url)),
		fg_hash64(head->tag, strlen(head->tag)), size},
	    .minishard = m->number,
	};
	/* Without a tag nothing tells whether the file is still the same. */
	if (!m->empty && head->tag[0])
		m->entry = fg_shards_get(j->r->shards, &m->key);
	return 0;
}

static int
decode_mini(struct job *j, struct mini *m, const struct fg_web_file *f,
    struct fg_err *err)
{
	uint64_t size = m->key.file[2];
	struct fg_minishard index = {0};

	if (fg_minishard_decode(&j->sc->sharding, f->bytes->data, f->bytes->len,
		m->at.off, size, &index, err) < 0)
		return fg_err_prefix(err, "%s: minishard %llu",
		    strrchr(m->piece->url, '/') + 1, (unsigned long long)m->number);
	m->entry = fg_shards_put(j->r->shards, &m->key, &index);
	return 0;
}

/* -1 failed, 0 done, 1: a shard has changed, begin anew. */
static int
get_minis(struct job *j, struct fg_err *err)
{
	struct fg_web_file *f = fg_calloc(j->minis + 1, sizeof *f);
	size_t n = 0;
	int rc = 0;

	for (size_t i = 0; i < j->minis && rc == 0; i++) {
		struct mini *m = &j->mini[i];

		rc = locate_mini(j, m, err);
		if (rc < 0 || m->empty || m->entry)
			continue;
		fg_remote_file(j->r, m->piece->url, (size_t)m->at.len, &f[n]);
		f[n].ranged = true;
		f[n].off = m->at.off;
		f[n].len = m->at.len;
		f[n].same_tag = m->piece->f.tag;
		f[n++].ctx = m;
	}
	if (rc == 0)
		rc = fg_web_get(j->r->web, f, n, err);
	for (size_t i = 0; i < n; i++) {
		struct mini *m = f[i].ctx;

		if (rc >= 0 && (f[i].changed || f[i].absent)) {
			forget(j, m->piece);
			rc = 1;
		} else if (rc == 0) {
			rc = decode_mini(j, m, &f[i], err);
		}
		fg_buf_unref(f[i].bytes);
	}
	free(f);
	return rc;
}

/* ------------------------------------------------------------- data */

/* The bytes of one datum, as stored -> the caller's chunk. keep: they are new. */
static int
take_datum(struct job *j, struct want *w, struct fg_buf *stored, bool keep,
    struct fg_err *err)
{
	enum fg_coding c = j->sc->sharding.data_gzip ? FG_CODING_GZIP : FG_CODING_NONE;
	struct fg_remote_chunk k = {.s = j->s, .scale = j->scale, .ch = j->ch[w->i]};
	struct fg_web_file f;

	if (keep) {
		if (fg_remote_check(&k, stored, c, err) < 0)
			return fg_err_prefix(err, "%s: key %llu",
			    strrchr(w->mini->piece->url, '/') + 1,
			    (unsigned long long)w->key);
		fg_remote_file(j->r, w->mini->piece->url, 0, &f);
		f.ranged = true;
		f.off = w->item->off;
		f.len = w->item->len;
		f.same_tag = w->mini->piece->f.tag;
		f.bytes = stored;
		f.size = w->mini->piece->f.size;
		memcpy(f.tag, w->mini->piece->f.tag, sizeof f.tag);
		fg_web_keep(j->r->web, &f);
		j->out[w->i] = k.plain;
	} else if (c == FG_CODING_NONE) {
		j->out[w->i] = fg_buf_ref(stored);
	} else if (fg_decompress(c, stored->data, stored->len,
		       fg_source_chunk_limit(j->s, j->scale), &j->out[w->i], err) < 0) {
		return -1;
	}
	w->done = true;
	return 0;
}

/* What the cache has; the others' number, and themselves in `rest`. */
static int
look_up(struct job *j, struct want **rest, size_t *n, struct fg_err *err)
{
	size_t limit = fg_source_chunk_limit(j->s, j->scale);

	*n = 0;
	for (size_t i = 0; i < j->n; i++) {
		struct want *w = &j->want[i];
		struct fg_web_file f;
		int rc;

		if (w->done || w->mini->empty)
			continue;
		w->item = fg_minishard_find(fg_shards_index(w->mini->entry), w->key);
		if (!w->item || w->item->len == 0)
			continue;
		if (w->item->len > limit)
			return fg_fail(err, FG_EFULL,
			    "%s: key %llu has %llu bytes, at most %zu are read",
			    strrchr(w->mini->piece->url, '/') + 1,
			    (unsigned long long)w->key,
			    (unsigned long long)w->item->len, limit);
		fg_remote_file(j->r, w->mini->piece->url, limit, &f);
		f.ranged = true;
		f.off = w->item->off;
		f.len = w->item->len;
		f.same_tag = w->mini->piece->f.tag;
		if (!fg_web_look(j->r->web, &f)) {
			rest[(*n)++] = w;
			continue;
		}
		rc = f.bytes ? take_datum(j, w, f.bytes, false, err) : 0;
		fg_buf_unref(f.bytes);
		if (rc < 0)
			return -1;
	}
	return 0;
}

/* Data from `at` on that are fetched in one range; where that ends. */
static size_t
run_end(struct want *const *rest, size_t n, size_t at, uint64_t *off, uint64_t *len)
{
	uint64_t begin = rest[at]->item->off, end = begin + rest[at]->item->len;
	size_t i = at + 1;

	for (; i < n && rest[i]->shard == rest[at]->shard; i++) {
		const struct fg_shard_item *it = rest[i]->item;

		if (it->off > end + GAP_MAX || it->off + it->len - begin > RUN_MAX)
			break;
		end = FG_MAX(end, it->off + it->len);
	}
	*off = begin;
	*len = end - begin;
	return i;
}

/* A fetched range: cut it up. */
static int
take_run(struct job *j, struct want *const *rest, size_t n, const struct fg_web_file *f,
    struct fg_err *err)
{
	for (size_t i = 0; i < n; i++) {
		const struct fg_shard_item *it = rest[i]->item;
		struct fg_buf *b =
		    fg_buf_copy(f->bytes->data + (it->off - f->off), it->len);
		int rc = take_datum(j, rest[i], b, true, err);

		fg_buf_unref(b);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int
get_data(struct job *j, struct fg_err *err)
{
	struct want **rest = fg_calloc(j->n + 1, sizeof *rest);
	struct fg_web_file *f = fg_calloc(j->n + 1, sizeof *f);
	size_t *end = fg_calloc(j->n + 1, sizeof *end), n = 0, runs = 0, at = 0;
	int rc = look_up(j, rest, &n, err);

	if (n > 0)
		qsort(rest, n, sizeof *rest, by_offset);
	while (rc == 0 && at < n) {
		struct fg_web_file *g = &f[runs];
		const struct piece *p = rest[at]->mini->piece;
		uint64_t off, len;

		end[runs] = run_end(rest, n, at, &off, &len);
		fg_remote_file(j->r, p->url, (size_t)len, g);
		g->ranged = g->loose = true;
		g->off = off;
		g->len = len;
		g->same_tag = p->f.tag;
		g->ctx = rest[at]->mini;
		at = end[runs++];
	}
	if (rc == 0)
		rc = fg_web_get(j->r->web, f, runs, err);
	for (size_t i = 0; i < runs; i++) {
		size_t first = i ? end[i - 1] : 0;

		if (rc >= 0 && (f[i].changed || f[i].absent)) {
			forget(j, ((struct mini *)f[i].ctx)->piece);
			rc = 1;
		} else if (rc == 0) {
			rc = take_run(j, rest + first, end[i] - first, &f[i], err);
		}
		fg_buf_unref(f[i].bytes);
	}
	free(rest);
	free(f);
	free(end);
	return rc;
}

static void
release(struct job *j)
{
	for (size_t i = 0; i < j->minis; i++)
		fg_shards_unref(j->mini[i].entry);
	for (size_t i = 0; i < j->pieces; i++) {
		fg_buf_unref(j->piece[i].f.bytes);
		free(j->piece[i].url);
	}
	free(j->want);
	free(j->piece);
	free(j->mini);
}

/* One beginning: as get_minis. */
static int
try_once(struct job *j, struct fg_err *err)
{
	int rc;

	j->pieces = j->minis = 0;
	j->want = fg_calloc(j->n, sizeof *j->want);
	j->piece = fg_calloc(j->n, sizeof *j->piece);
	j->mini = fg_calloc(j->n, sizeof *j->mini);
	plan(j);
	rc = get_pieces(j, err);
	if (rc == 0)
		rc = get_minis(j, err);
	if (rc == 0)
		rc = get_data(j, err);
	release(j);
	return rc;
}

static int
get_chunks(struct fg_source *s, int scale, const int64_t (*ch)[3], size_t n,
    struct fg_buf **out, struct fg_err *err)
{
	struct job j = {.s = s,
	    .r = s->priv,
	    .sc = &s->info.scale[scale],
	    .scale = scale,
	    .ch = ch,
	    .out = out,
	    .n = n};

	for (int i = 0; i < VERSIONS_MAX; i++) {
		int rc = try_once(&j, err);

		if (rc <= 0)
			return rc;
		for (size_t k = 0; k < n; k++) { /* of the version that is gone */
			fg_buf_unref(out[k]);
			out[k] = NULL;
		}
	}
	return fg_fail(err, FG_EIO, "a shard of scale %s changes while it is read",
	    j.sc->key);
}

/* ------------------------------------------------------------- one fetch for all */

static struct fg_flight *
join(struct fg_source *s, int scale, const int64_t ch[3], bool *lead)
{
	const struct fg_remote *r = s->priv;
	/* Two layers of one upstream may hold to two versions of its info. */
	char *key = fg_asprintf("%p %d %lld %lld %lld", (void *)s, scale,
	    (long long)ch[0], (long long)ch[1], (long long)ch[2]);
	struct fg_flight *f = fg_flight_join(fg_web_flights(r->web), key, lead);

	free(key);
	return f;
}

/* What another thread got. */
static int
follow(struct fg_source *s, int scale, const int64_t (*ch)[3],
    const struct fg_landed *got, struct fg_buf **out, struct fg_err *err)
{
	if (got->err.code == FG_OK) {
		*out = got->bytes ? fg_buf_ref(got->bytes) : NULL;
		return 0;
	}
	if (got->err.code == FG_EIO || got->err.code == FG_ECANCELED)
		return fg_fail(err, got->err.code, "%s", got->err.msg);
	return get_chunks(s, scale, ch, 1, out, err);
}

int
fg_remote_shards_chunks(struct fg_source *s, int scale, const int64_t (*ch)[3],
    size_t n, struct fg_buf **out, struct fg_err *err)
{
	struct fg_flights *flights = fg_web_flights(((struct fg_remote *)s->priv)->web);
	struct fg_flight *flight;
	struct fg_landed r = {0};
	bool lead;
	int rc = 0;

	/* Nobody who wants one chunk waits for the slowest of somebody's many; what
	 * these fetch is shared below, by ranges. */
	if (n != 1)
		return get_chunks(s, scale, ch, n, out, err);
	flight = join(s, scale, ch[0], &lead);
	if (!lead) {
		rc = follow(s, scale, ch, fg_flight_wait(flights, flight), out, err);
	} else {
		if (get_chunks(s, scale, ch, 1, out, &r.err) < 0)
			rc = fg_fail(err, r.err.code, "%s", r.err.msg);
		r.bytes = *out;
		fg_flight_land(flights, flight, &r);
	}
	fg_flight_leave(flights, flight);
	return rc;
}
