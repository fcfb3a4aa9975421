/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Verify: the index against the slabs, in two passes that may run beside a writer.
 *
 * First every slab is read from its beginning to where the index said that it ends when
 * the pass began: each record's checksum. Then every row: the header in front of its
 * bytes must name the same thing, and the chunk must lie in its layer's grid. Slabs
 * only grow and a row's bytes are on the disk before the row, so what a writer does
 * meanwhile cannot look like damage. Garbage that no row names (left by crashes) is a
 * warning.
 */
#include "config.h"

#include "store/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/morton.h"

void
fg_verify_name(const struct fg_key *key, const struct fg_known *k,
    char out[FG_VERIFY_NAME])
{
	static const char *const kind[] = {"?", "chunk", "block", "face", "prob",
	    "mesh", "skeleton", "stitch", "resegment"};
	const char *layer = k ? k->name : "(unknown)";
	bool id = fg_kind_is_artefact(key->kind) || key->at >> 63;
	int64_t p[3];

	fg_morton_decode(key->at, p);
	if (id)
		snprintf(out, FG_VERIFY_NAME, "%s %llu of layer %s",
		    kind[key->kind < FG_COUNTOF(kind) ? key->kind : 0],
		    (unsigned long long)key->at, layer);
	else
		snprintf(out, FG_VERIFY_NAME,
		    "%s %lld,%lld,%lld of scale %d of layer %s", kind[key->kind],
		    (long long)p[0], (long long)p[1], (long long)p[2], key->scale,
		    layer);
}

/* The header in front of a row's bytes, with fg_store_read's table of open slabs. */
static bool
check_head(struct fg_store *s, const struct fg_index_entry *e, const struct fg_known *k,
    struct fg_err *why)
{
	const struct fg_place *p = &e->place;
	char *path = fg_store_slab_path(s, p->slab);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	uint8_t head[FG_SLAB_HEAD];
	struct fg_record r;
	bool ok = false;
	char what[32];

	free(path);
	snprintf(what, sizeof what, "slab %06u", (unsigned)p->slab);
	if (fd < 0) {
		fg_fail(why, FG_EIO, "%s: %s", what, strerror(errno));
		return false;
	}
	if (p->off < FG_SLAB_HEAD) {
		fg_fail(why, FG_ECORRUPT, "%s: no record begins before %llu", what,
		    (unsigned long long)p->off);
	} else if (fg_file_pread(fd, head, sizeof head, p->off - FG_SLAB_HEAD, what,
		       why) < 0) {
		/* why is set */
	} else if (!fg_slab_head_decode(head, p->slab, p->off - FG_SLAB_HEAD, &r)) {
		fg_fail(why, FG_ECORRUPT, "%s at %llu: no record there", what,
		    (unsigned long long)p->off);
	} else if (r.type != FG_REC_PAYLOAD || r.kind != e->key.kind ||
		   r.scale != e->key.scale || r.at != e->key.at || r.part != e->part ||
		   r.gen != e->place.gen || (k && memcmp(r.uuid, k->uuid, 16) != 0)) {
		fg_fail(why, FG_ECORRUPT, "%s at %llu: another thing's record is there",
		    what, (unsigned long long)p->off);
	} else if (r.len != p->len || r.crc != p->crc || r.enc != p->enc) {
		fg_fail(why, FG_ECORRUPT,
		    "%s at %llu: the record has %llu bytes and checksum %08x, the "
		    "index says %llu and %08x",
		    what, (unsigned long long)p->off, (unsigned long long)r.len, r.crc,
		    (unsigned long long)p->len, p->crc);
	} else {
		ok = true;
	}
	close(fd);
	return ok;
}

bool
fg_verify_row(struct fg_store *s, const struct fg_index_entry *e,
    const struct fg_known *k, bool body, struct fg_err *why)
{
	struct fg_buf *b = NULL;

	if (!check_head(s, e, k, why))
		return false;
	if (!body)
		return true;
	if (fg_store_read(s, &e->place, false, &b, why) < 0)
		return false;
	fg_buf_unref(b);
	return true;
}

/* ------------------------------------------------------------- verify */

/* What verify knows of a slab. */
struct seen {
	uint32_t slab;
	uint64_t len; /* scanned up to here */
	bool lost;    /* missing or short: told once, not row by row */
};

struct verify {
	struct fg_store *s;
	struct fg_index *ix;
	fg_finding_fn *fn;
	void (*progress)(void *ctx, uint64_t done, uint64_t all);
	void *ctx;
	struct fg_verify_stats *stats;
	struct fg_err *err;
	struct seen *seen;
	size_t seens;
	uint32_t slab; /* being scanned */
	uint64_t done, all;
	uint64_t rows_lost; /* rows whose slab is lost */
};

FG_PRINTF(3, 4) static void tell(struct verify *v, bool is_error, const char *fmt, ...)
{
	char line[900];
	va_list ap;

	if (is_error)
		v->stats->errors++;
	else
		v->stats->warnings++;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	if (v->fn)
		v->fn(v->ctx, is_error, line);
}

/* A payload whose checksum is wrong matters if a row names it. */
static int
tell_damaged(struct verify *v, const struct fg_record *r, const struct fg_known *k)
{
	struct fg_key key = {k ? k->layer : 0, r->kind, r->scale, r->at};
	struct fg_place p = {0};
	char name[FG_VERIFY_NAME];

	fg_verify_name(&key, k, name);
	if (k && r->type == FG_REC_PAYLOAD && r->kind != FG_KIND_BLOCK &&
	    fg_index_find_gen(v->ix, &key, r->part, r->gen, &p, v->err) < 0)
		return -1;
	if (p.slab == r->slab && p.off == r->off + FG_SLAB_HEAD)
		tell(v, true, "slab %06u at %llu: %s: bytes do not fit their checksum",
		    (unsigned)r->slab, (unsigned long long)p.off, name);
	else
		tell(v, false, "slab %06u at %llu: a damaged record that no row names",
		    (unsigned)r->slab, (unsigned long long)r->off);
	return 0;
}

static int
see_record(void *ctx, const struct fg_record *r, bool whole, const char *body)
{
	struct verify *v = ctx;
	struct fg_known *k = fg_known_find_uuid(&v->s->catalog, r->uuid);
	struct fg_place p;
	char name[FG_VERIFY_NAME];

	(void)body;
	if (v->progress)
		v->progress(v->ctx, v->done + r->off, v->all);
	if (!whole)
		return tell_damaged(v, r, k);
	v->stats->records++;
	v->stats->bytes += fg_slab_record_size(r->len);
	if (r->type == FG_REC_SLAB &&
	    memcmp(r->uuid, v->s->uuid_bytes, sizeof r->uuid) != 0) {
		tell(v, true, "slab %06u belongs to another store", (unsigned)r->slab);
	} else if (r->type == FG_REC_COMMIT && k && !fg_kind_is_artefact(r->kind)) {
		/* Old generations of meshes and skeletons go; other results stay. */
		struct fg_key task = {k->layer, r->kind, r->scale, r->at};

		if (fg_index_find(v->ix, &task, 0, &p, v->err) < 0)
			return -1;
		fg_verify_name(&task, k, name);
		if (p.state == FG_ABSENT)
			tell(v, false,
			    "slab %06u at %llu: the result of %s is not in the index",
			    (unsigned)r->slab, (unsigned long long)r->off, name);
	}
	return 0;
}

static void
see_gap(void *ctx, uint64_t from, uint64_t to)
{
	struct verify *v = ctx;

	tell(v, false, "slab %06u: bytes %llu to %llu are no record", (unsigned)v->slab,
	    (unsigned long long)from, (unsigned long long)to);
}

static int
verify_slab(struct verify *v, const struct fg_slab_row *row)
{
	char *path = fg_store_slab_path(v->s, row->slab);
	struct seen *seen = &v->seen[v->seens++];
	struct fg_slab_scan stats;
	struct stat st;
	char what[32];
	int rc = 0, fd = open(path, O_RDONLY | O_CLOEXEC);

	*seen = (struct seen){.slab = row->slab, .len = row->len};
	snprintf(what, sizeof what, "slab %06u", (unsigned)row->slab);
	if (fd < 0 && errno == ENOENT &&
	    (row->len == 0 || (row->closed && row->dead >= row->len))) {
		/* noted by reindex as missing, or deleted by a compaction that was
		 * killed: no row can name it */
	} else if (fd < 0 || fstat(fd, &st) < 0) {
		tell(v, true, "%s: %s", what, strerror(errno));
		seen->len = 0;
		seen->lost = true;
	} else {
		if ((uint64_t)st.st_size < row->len) {
			tell(v, true, "%s has %lld bytes of %llu", what,
			    (long long)st.st_size, (unsigned long long)row->len);
			seen->len = (uint64_t)st.st_size;
			seen->lost = true;
		}
		v->slab = row->slab;
		rc = fg_slab_scan(fd, row->slab, what, 0, seen->len, see_record,
		    see_gap, v, &stats, v->err);
	}
	v->done += row->len;
	if (fd >= 0)
		close(fd);
	free(path);
	return rc;
}

static bool
is_empty(const struct fg_store *s, uint32_t slab)
{
	char *path = fg_store_slab_path(s, slab);
	struct stat st;
	bool empty = stat(path, &st) == 0 && st.st_size == 0;

	free(path);
	return empty;
}

/* Slabs that the index does not know are not read: the next start takes them in. */
static int
verify_strangers(struct verify *v)
{
	uint32_t *ids;
	size_t n;

	if (fg_slab_list(v->s->slab_dir, &ids, &n, v->err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		bool known = false;

		for (size_t j = 0; j < v->seens; j++)
			known = known || v->seen[j].slab == ids[i];
		/* A writer may have begun it after the slabs were listed; one that
		 * died before its first sync leaves an empty file. */
		if (!known && v->seens > 0 && ids[i] < v->seen[v->seens - 1].slab &&
		    !is_empty(v->s, ids[i]))
			tell(v, false, "slab %06u is not in the index",
			    (unsigned)ids[i]);
	}
	free(ids);
	return 0;
}

static const struct seen *
find_seen(const struct verify *v, uint32_t slab)
{
	for (size_t i = 0; i < v->seens; i++) {
		if (v->seen[i].slab == slab)
			return &v->seen[i];
	}
	return NULL;
}

/* Whether the row still is what it was when it was fetched. */
static int
is_current(struct verify *v, const struct fg_index_entry *e, bool *same)
{
	struct fg_place p;

	if (fg_index_find_gen(v->ix, &e->key, e->part, e->place.gen, &p, v->err) < 0)
		return -1;
	*same = p.state == e->place.state && p.slab == e->place.slab &&
		p.off == e->place.off;
	return 0;
}

static int
see_row(void *ctx, const struct fg_index_entry *e)
{
	struct verify *v = ctx;
	struct fg_known *k = fg_known_find(&v->s->catalog, e->key.layer);
	const struct fg_place *p = &e->place;
	const struct seen *seen = find_seen(v, p->slab);
	struct fg_err why = FG_ERR_INIT;
	char name[FG_VERIFY_NAME];
	bool same;

	v->stats->rows++;
	fg_verify_name(&e->key, k, name);
	if (!k) { /* removed, or added, while we work? */
		if (fg_known_load(&v->s->catalog, v->ix, v->err) < 0 ||
		    is_current(v, e, &same) < 0)
			return -1;
		k = fg_known_find(&v->s->catalog, e->key.layer);
		if (!k && same)
			tell(v, true, "%s: a row of a layer that is not there", name);
	}
	if (p->state < FG_PRESENT || p->state > FG_PARTIAL ||
	    (p->state == FG_EMPTY) != (p->slab == 0))
		tell(v, true, "%s: state %d in slab %u makes no sense", name,
		    (int)p->state, (unsigned)p->slab);
	if (k && k->scales > 0 && e->key.kind == FG_KIND_CHUNK &&
	    !fg_grid_has(k, e->key.scale, e->key.at))
		tell(v, true, "%s is outside of the layer's grid", name);
	if (p->slab == 0)
		return 0;
	if (seen && seen->lost && (seen->len < p->off + p->len)) {
		v->rows_lost++;
		return 0;
	}
	if (!fg_verify_row(v->s, e, k, !seen || p->off + p->len > seen->len, &why))
		tell(v, true, "%s: %s", name, why.msg);
	return 0;
}

static int
verify_all(struct verify *v)
{
	struct fg_slab_row *rows;
	size_t n;
	int rc = 0;

	if (fg_index_check(v->ix, v->fn, v->ctx, &v->stats->errors, v->err) < 0)
		return -1;
	if (fg_index_slabs(v->ix, &rows, &n, v->err) < 0)
		return -1;
	v->seen = fg_calloc(n + 1, sizeof *v->seen);
	for (size_t i = 0; i < n; i++)
		v->all += rows[i].len;
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = verify_slab(v, &rows[i]);
	free(rows);
	if (rc < 0 || verify_strangers(v) < 0 ||
	    fg_index_walk(v->ix, see_row, v, v->err) < 0)
		return -1;
	if (v->rows_lost > 0)
		tell(v, true, "%llu rows name bytes that are lost with their slab",
		    (unsigned long long)v->rows_lost);
	if (v->progress)
		v->progress(v->ctx, v->all, v->all);
	return 0;
}

int
fg_store_verify(const char *root, const struct fg_store_options *opt, fg_finding_fn *fn,
    void (*progress)(void *ctx, uint64_t done, uint64_t all), void *ctx,
    struct fg_verify_stats *stats, struct fg_err *err)
{
	struct verify v = {
	    .fn = fn,
	    .progress = progress,
	    .ctx = ctx,
	    .stats = stats,
	    .err = err,
	};
	int rc = -1;

	*stats = (struct fg_verify_stats){0};
	v.s = fg_store_open(root, FG_STORE_READ, opt, err);
	if (!v.s)
		return -1;
	v.ix = fg_index_open(v.s->index_path, FG_INDEX_READ, err);
	if (v.ix)
		rc = verify_all(&v);
	free(v.seen);
	fg_index_close(v.ix);
	fg_store_close(v.s);
	return rc;
}
