/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start-up: slabs and index are compared, and what the one has and the other lacks is
 * dealt with, without ever shortening a slab or deleting rows in bulk.
 *
 *   slab longer than the index knows   its tail is replayed: results that are whole are
 *                                      indexed, the rest is counted dead
 *   slab that the index does not know  replayed from its beginning
 *   slab missing or short              layers with rows there are degraded
 *
 * Replaying is shared with reindex. A result counts if its COMMIT record is whole and
 * all payload records that it lists stand before it, whole. Of several results for one
 * task the last counts: an earlier one was appended by a commit that then failed, or
 * was made again on purpose (coarse chunks). Rows that were in the index before the
 * replay stay, because what follows in the slabs was never acknowledged.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "store/index_object.h"
#include "store/record.h"
#include "store/store_impl.h"
#include "store/uuid.h"

/* ------------------------------------------------------------- replaying */

/* A payload record that was read since the last COMMIT. */
struct pending {
	struct fg_record r;
	bool whole;
	bool named; /* a row names it */
};

/* More than any result has (commit.c), so that junk cannot fill the memory. */
#define PENDING_MAX 2000000

struct scan {
	struct fg_replay *r;
	uint32_t slab;
	struct pending *pending;
	size_t n, cap;
	uint64_t dropped; /* bytes of whole payload records that got no row */
	struct fg_err *err;
};

/* Ends a scan: the slab belongs to another store. */
#define FOREIGN 2

FG_PRINTF(3, 4)
static void
tell(struct fg_replay *r, bool is_error, const char *fmt, ...)
{
	char line[400];
	va_list ap;

	if (!r->fn)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	r->fn(r->ctx, is_error, line);
}

static void
forget_pending(struct scan *s)
{
	for (size_t i = 0; i < s->n; i++) {
		if (s->pending[i].whole && !s->pending[i].named)
			s->dropped += fg_slab_record_size(s->pending[i].r.len);
	}
	s->n = 0;
}

static void
push_pending(struct scan *s, const struct fg_record *r, bool whole)
{
	if (s->n == PENDING_MAX)
		forget_pending(s);
	if (s->n == s->cap) {
		s->cap = FG_MAX(2 * s->cap, 64u);
		s->pending = fg_realloc(s->pending, s->cap, sizeof *s->pending);
	}
	s->pending[s->n++] = (struct pending){.r = *r, .whole = whole};
}

/* The pending record whose body begins at off; they are in order of offset. */
static struct pending *
find_pending(const struct scan *s, uint64_t off)
{
	size_t lo = 0, hi = s->n;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (s->pending[mid].r.off + FG_SLAB_HEAD < off)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == s->n || s->pending[lo].r.off + FG_SLAB_HEAD != off)
		return NULL;
	return &s->pending[lo];
}

/* Whether everything that a result lists is there as listed. */
static bool
is_complete(const struct scan *s, const struct fg_result *res, const uint8_t uuid[16])
{
	for (size_t i = 0; i < res->payloads; i++) {
		const struct fg_payload *p = &res->payload[i];
		const struct fg_place *at = &res->places[i];
		const struct pending *q;

		if (p->key.kind == FG_KIND_BLOCK)
			return false;
		if (at->slab == 0)
			continue;
		q = find_pending(s, at->off);
		if (!q || !q->whole || q->r.len != at->len || q->r.crc != at->crc ||
		    q->r.kind != p->key.kind || q->r.scale != p->key.scale ||
		    q->r.at != p->key.at || q->r.part != p->part ||
		    q->r.gen != p->gen || memcmp(q->r.uuid, uuid, 16) != 0)
			return false;
	}
	return true;
}

static int
take_result(struct scan *s, const struct fg_record *rec, const char *body)
{
	struct fg_replay *r = s->r;
	struct fg_known *k = fg_known_find_uuid(r->catalog, rec->uuid);
	struct fg_record_result res;
	struct fg_err e = FG_ERR_INIT;
	bool kept = false;
	int rc = 0;

	if (!k) /* a layer that was removed */
		goto out;
	if (r->defer && rec->kind == FG_KIND_STITCH) {
		r->later = fg_realloc(r->later, r->laters + 1, sizeof *r->later);
		r->later[r->laters++] = *rec;
		goto out;
	}
	if (fg_record_commit_parse(body, rec->len, k->layer, rec->slab, &res, &e) < 0) {
		tell(r, true, "slab %06u at %llu: %s", (unsigned)rec->slab,
		    (unsigned long long)rec->off, e.msg);
		r->lost++;
		goto out;
	}
	if (!is_complete(s, &res.res, rec->uuid)) {
		tell(r, true,
		    "slab %06u at %llu: a result of layer %s is damaged and does not "
		    "count",
		    (unsigned)rec->slab, (unsigned long long)rec->off, k->name);
		r->lost++;
	} else if ((rc = fg_index_is_done(r->ix, &res.res, r->run0, &kept, s->err)) ==
		       0 &&
		   !kept) { /* kept: the index had it before the replay began */
		rc = fg_known_put_result(k, r->ix, &res.res, s->err);
		r->results++;
		/* Only what this result does not name is dead. */
		for (size_t i = 0; i < res.res.payloads; i++) {
			if (res.res.places[i].slab)
				find_pending(s, res.res.places[i].off)->named = true;
		}
	}
	fg_record_result_fini(&res);
out:
	forget_pending(s);
	return rc;
}

/* Whether a layer has come from slabs in this replay and has got nothing yet: then its
 * creation failed after its descriptor was written. */
static int
is_stillborn(struct fg_replay *r, const struct fg_known *k, bool *yes,
    struct fg_err *err)
{
	struct fg_store_counts c;

	*yes = false;
	if (!k->restored)
		return 0;
	if (fg_index_count(r->ix, k->layer, &c, err) < 0)
		return -1;
	*yes = c.chunks + c.empty + c.blocks_done + c.objects == 0;
	return 0;
}

static int
take_layer(struct scan *s, const struct fg_record *rec, const char *body)
{
	struct fg_replay *r = s->r;
	struct fg_layer_row row;
	struct fg_err e = FG_ERR_INIT;
	struct fg_known *same;
	char *old = NULL;
	bool stillborn;
	int rc = -1;

	if (fg_known_find_uuid(r->catalog, rec->uuid))
		return 0;
	if (fg_record_layer_parse(body, rec->len, &row, &e) < 0) {
		tell(r, true, "slab %06u at %llu: %s", (unsigned)rec->slab,
		    (unsigned long long)rec->off, e.msg);
		return 0;
	}
	fg_uuid_format(rec->uuid, row.uuid);
	same = fg_known_find_name(r->catalog, row.name);
	if (same) {
		if (is_stillborn(r, same, &stillborn, s->err) < 0)
			goto out;
		if (stillborn) {
			if (fg_index_layer_remove(r->ix, same->layer, s->err) < 0)
				goto out;
		} else {
			old = row.name;
			row.name = fg_asprintf("%s.%.8s", old, row.uuid);
			tell(r, false, "there are two layers %s: one is now named %s",
			    old, row.name);
		}
	}
	if (fg_index_layer_add(r->ix, &row, s->err) < 0 ||
	    fg_known_load(r->catalog, r->ix, s->err) < 0)
		goto out;
	fg_known_find(r->catalog, row.layer)->restored = true;
	r->layers++;
	rc = 0;
out:
	free(old);
	fg_layer_row_fini(&row);
	return rc;
}

static int
take_removal(struct scan *s, const struct fg_record *rec)
{
	struct fg_replay *r = s->r;
	struct fg_known *k = fg_known_find_uuid(r->catalog, rec->uuid);

	r->removed = fg_realloc(r->removed, r->removeds + 1, sizeof *r->removed);
	memcpy(r->removed[r->removeds++], rec->uuid, 16);
	if (!k)
		return 0;
	if (fg_index_layer_remove(s->r->ix, k->layer, s->err) < 0)
		return -1;
	return fg_known_load(s->r->catalog, s->r->ix, s->err);
}

static int
take_job(struct scan *s, const struct fg_record *rec, const char *body)
{
	struct fg_known *k = fg_known_find_uuid(s->r->catalog, rec->uuid);
	struct fg_job_row row;
	struct fg_err e = FG_ERR_INIT;
	int rc;

	if (!k)
		return 0;
	if (fg_record_job_parse(body, rec->len, k->layer, &row, &e) < 0) {
		tell(s->r, true, "slab %06u at %llu: %s", (unsigned)rec->slab,
		    (unsigned long long)rec->off, e.msg);
		return 0;
	}
	rc = fg_index_job_put(s->r->ix, &row, s->err);
	fg_job_row_fini(&row);
	return rc;
}

static int
take_edit(struct scan *s, const struct fg_record *rec, const char *body)
{
	struct fg_known *k = fg_known_find_uuid(s->r->catalog, rec->uuid);
	struct fg_err e = FG_ERR_INIT;
	struct fg_edit *edit;
	int64_t *undo;
	size_t n, missing;
	bool changed;
	int rc;

	if (!k)
		return 0;
	if (fg_record_edit_parse(body, rec->len, &edit, &undo, &n, &e) < 0) {
		tell(s->r, true, "slab %06u at %llu: %s", (unsigned)rec->slab,
		    (unsigned long long)rec->off, e.msg);
		return 0;
	}
	rc = edit ? fg_index_put_edits(s->r->ix, k->layer, edit, n, &changed, s->err)
		  : fg_index_undo_edits(s->r->ix, k->layer, undo, n, &missing, &changed,
			s->err);
	free(edit);
	free(undo);
	return rc;
}

static int
take_record(void *ctx, const struct fg_record *rec, bool whole, const char *body)
{
	struct scan *s = ctx;

	if (s->r->progress && s->r->all)
		s->r->progress(s->r->ctx, s->r->done + rec->off, s->r->all);
	if (rec->type == FG_REC_PAYLOAD) {
		push_pending(s, rec, whole);
		return 0;
	}
	if (!whole) {
		tell(s->r, true, "slab %06u at %llu: a record is damaged",
		    (unsigned)rec->slab, (unsigned long long)rec->off);
		if (rec->type == FG_REC_COMMIT) {
			s->r->lost++;
			forget_pending(s);
		}
		return 0;
	}
	switch (rec->type) {
	case FG_REC_SLAB:
		return memcmp(rec->uuid, s->r->store_uuid, 16) == 0 ? 0 : FOREIGN;
	case FG_REC_LAYER:
		return take_layer(s, rec, body);
	case FG_REC_COMMIT:
		return take_result(s, rec, body);
	case FG_REC_REMOVED:
		return take_removal(s, rec);
	case FG_REC_EDIT:
		return take_edit(s, rec, body);
	case FG_REC_JOB:
		return take_job(s, rec, body);
	default:
		return 0;
	}
}

static void
tell_gap(void *ctx, uint64_t from, uint64_t to)
{
	struct scan *s = ctx;

	tell(s->r, false, "slab %06u: bytes %llu to %llu are no record",
	    (unsigned)s->slab, (unsigned long long)from, (unsigned long long)to);
}

int
fg_replay_slab(struct fg_replay *r, int fd, uint32_t slab, const char *what,
    uint64_t from, uint64_t size, bool *foreign, struct fg_err *err)
{
	struct scan s = {.r = r, .slab = slab, .err = err};
	struct fg_slab_scan stats;
	struct fg_slab_row row = {.slab = slab, .len = size};
	int rc;

	*foreign = false;
	/* The slab's row comes first: replaced rows are counted dead there. */
	if (fg_index_begin(r->ix, err) < 0)
		return -1;
	rc = fg_index_slab_put(r->ix, &row, err);
	if (rc == 0)
		rc = fg_slab_scan(fd, slab, what, from, size, take_record, tell_gap, &s,
		    &stats, err);
	forget_pending(&s);
	free(s.pending);
	if (rc == 0 && from == 0 && stats.records == 0)
		rc = FOREIGN; /* whatever this is, it is none of ours */
	if (rc == FOREIGN) {
		fg_index_rollback(r->ix);
		*foreign = true;
		return fg_known_load(r->catalog, r->ix, err);
	}
	row.dead = rc == 0 ? stats.bad + s.dropped : 0;
	if (rc == 0)
		rc = fg_index_slab_put(r->ix, &row, err);
	if (rc == 0)
		return fg_index_commit(r->ix, err);
	fg_index_rollback(r->ix);
	return -1;
}

/* One record that was put off. */
static int
take_late(struct scan *s, struct fg_store *store, const struct fg_record *rec)
{
	char *path = fg_store_slab_path(store, rec->slab), *body = NULL;
	int rc = -1, fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0) {
		fg_fail_errno(s->err, "%s", path);
		goto out;
	}
	body = fg_try_alloc(rec->len + 1, 1);
	if (!body) {
		fg_fail(s->err, FG_ENOMEM, "no memory for a record");
		goto out;
	}
	if (fg_file_pread(fd, body, rec->len, rec->off + FG_SLAB_HEAD, path, s->err) <
	    0)
		goto out;
	body[rec->len] = '\0';
	rc = take_result(s, rec, body);
out:
	if (fd >= 0)
		close(fd);
	free(body);
	free(path);
	return rc;
}

int
fg_replay_later(struct fg_replay *r, struct fg_store *store, struct fg_err *err)
{
	struct scan s = {.r = r, .err = err};
	int rc = fg_index_begin(r->ix, err);

	if (rc < 0)
		return -1;
	r->defer = false;
	for (size_t i = 0; i < r->laters && rc == 0; i++)
		rc = take_late(&s, store, &r->later[i]);
	free(s.pending);
	if (rc == 0)
		return fg_index_commit(r->ix, err);
	fg_index_rollback(r->ix);
	return -1;
}

/* ------------------------------------------------------------- degraded layers */

struct degrade {
	struct fg_store *s;
	char *why;
};

static int
degrade(void *ctx, uint32_t layer)
{
	struct degrade *d = ctx;
	struct fg_store *s = d->s;

	if (fg_store_why(s, layer))
		return 0; /* the first reason is enough */
	s->degraded = fg_realloc(s->degraded, s->degradeds + 1, sizeof *s->degraded);
	s->degraded[s->degradeds++] =
	    (struct fg_degraded){.layer = layer, .why = fg_strdup(d->why)};
	if (s->mode != FG_STORE_READ)
		fg_log(FG_LOG_WARN, "layer degraded id=%u reason=\"%s\"",
		    (unsigned)layer, d->why);
	return 0;
}

/* ------------------------------------------------------------- start-up */

static void
log_finding(void *ctx, bool is_error, const char *text)
{
	(void)ctx;
	fg_log(is_error ? FG_LOG_WARN : FG_LOG_INFO, "recovery: %s", text);
}

static int
replay_tail(struct fg_store *s, uint32_t slab, uint64_t known, uint64_t size,
    struct fg_err *err)
{
	struct fg_replay r = {
	    .ix = s->index,
	    .catalog = &s->catalog,
	    .store_uuid = s->uuid_bytes,
	    .fn = log_finding,
	};
	char what[32], *path = fg_store_slab_path(s, slab);
	int rc = -1, fd = open(path, O_RDWR | O_CLOEXEC);
	bool foreign;

	snprintf(what, sizeof what, "slab %06u", (unsigned)slab);
	/* What comes into the index must be on the disk: the writer that made it may
	 * have died before it synced. */
	if (fd < 0 || fdatasync(fd) < 0) {
		fg_fail_errno(err, "%s", path);
		goto out;
	}
	if (fg_file_sync_dir(s->slab_dir, err) < 0)
		goto out;
	r.run0 = fg_index_last_run(s->index, err);
	if (r.run0 < 0)
		goto out;
	if (fg_replay_slab(&r, fd, slab, what, known, size, &foreign, err) < 0)
		goto out;
	if (foreign)
		fg_log(FG_LOG_WARN, "%s holds nothing of this store: left alone", what);
	else
		fg_log(FG_LOG_INFO,
		    "recovered %s bytes=%llu results=%llu layers=%llu damaged=%llu",
		    what, (unsigned long long)(size - known),
		    (unsigned long long)r.results, (unsigned long long)r.layers,
		    (unsigned long long)r.lost);
	rc = foreign ? 1 : 0;
out:
	free(r.removed);
	free(path);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* One slab that is in the index, on the disk, or both. */
static int
recover_slab(struct fg_store *s, struct fg_index *ix, const struct fg_slab_row *row,
    bool exists, struct fg_err *err)
{
	char *path = fg_store_slab_path(s, row->slab);
	struct degrade d = {.s = s};
	struct stat st = {0};
	uint64_t size;
	int rc = 0;

	if (exists && stat(path, &st) < 0) {
		rc = fg_fail_errno(err, "%s", path);
		goto out;
	}
	size = (uint64_t)st.st_size;
	if (!exists && row->closed && row->dead >= row->len) {
		/* Compaction deleted it and was killed before it said so. */
		if (s->mode != FG_STORE_READ)
			rc = fg_index_slab_forget(ix, row->slab, err);
	} else if (!exists || size < row->len) {
		d.why = exists
			    ? fg_asprintf("slab %06u has %llu bytes of %llu",
				  (unsigned)row->slab, (unsigned long long)size,
				  (unsigned long long)row->len)
			    : fg_asprintf("slab %06u is missing", (unsigned)row->slab);
		rc = fg_index_slab_users(ix, row->slab, size, degrade, &d, err);
	} else if (size > row->len && s->mode != FG_STORE_READ) {
		rc = replay_tail(s, row->slab, row->len, size, err);
	}
	/* Appending goes on in the last slab, if that is sound. */
	s->slab_id = 0;
	if (rc == 0 && exists && size >= row->len && size < s->slab_max && size > 0 &&
	    !row->closed) {
		s->slab_id = row->slab;
		s->slab_known = size;
	}
	rc = rc < 0 ? -1 : 0;
	s->next_slab = FG_MAX(s->next_slab, row->slab + 1);
out:
	free(d.why);
	free(path);
	return rc;
}

int
fg_recover(struct fg_store *s, struct fg_index *ix, struct fg_err *err)
{
	struct fg_slab_row *rows = NULL;
	uint32_t *ids = NULL;
	size_t nrows = 0, nids = 0, i = 0, j = 0;
	int rc = -1;

	if (fg_index_slabs(ix, &rows, &nrows, err) < 0 ||
	    fg_slab_list(s->slab_dir, &ids, &nids, err) < 0)
		goto out;
	if (s->mode != FG_STORE_READ && fg_file_mkdirs(s->slab_dir, err) < 0)
		goto out;
	rc = 0;
	/* Both lists are ascending: one pass over their union. */
	while ((i < nrows || j < nids) && rc == 0) {
		uint32_t a = i < nrows ? rows[i].slab : UINT32_MAX;
		uint32_t b = j < nids ? ids[j] : UINT32_MAX;
		struct fg_slab_row none = {.slab = b};

		rc = recover_slab(s, ix, a <= b ? &rows[i] : &none, b <= a, err);
		i += a <= b;
		j += b <= a;
	}
out:
	free(rows);
	free(ids);
	return rc;
}
