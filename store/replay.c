/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replaying slabs into an index: tails at start-up (recover.c), everything in a reindex
 * (care.c).
 *
 * A result counts if its COMMIT record is whole and all payload records that it lists
 * stand before it, whole. Of several results for one task the last counts: an earlier
 * one was appended by a commit that then failed, or was made again on purpose (coarse
 * chunks). Rows that were in the index before the replay stay, because what follows in
 * the slabs was never acknowledged.
 *
 * Compaction brings old records behind newer ones. A reindex therefore looks through
 * all slabs twice: first it notes these copies, then each is taken in at the place of
 * the record that it was made from, in that one's stead if both are there. So evidence
 * finds its objects, and edits and their withdrawals follow one another as they did. In
 * a tail, copies are what a compaction left that was killed before it moved the rows.
 */
#include "config.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
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

/* A payload that a result took in names is not dead, or was counted when its row was
 * replaced. */
static void
mark_named(struct scan *s, const struct fg_result *res)
{
	for (size_t i = 0; i < res->payloads; i++) {
		struct pending *p =
		    res->places[i].slab ? find_pending(s, res->places[i].off) : NULL;

		if (p)
			p->named = true;
	}
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
		mark_named(s, &res.res);
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

static bool
is_removed(const struct fg_replay *r, const uint8_t uuid[16])
{
	for (size_t i = 0; i < r->removeds; i++) {
		if (memcmp(r->removed[i], uuid, 16) == 0)
			return true;
	}
	return false;
}

static void
note_removal(struct fg_replay *r, const uint8_t uuid[16])
{
	if (is_removed(r, uuid))
		return;
	r->removed = fg_realloc(r->removed, r->removeds + 1, sizeof *r->removed);
	memcpy(r->removed[r->removeds++], uuid, 16);
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

	if (fg_known_find_uuid(r->catalog, rec->uuid) || is_removed(r, rec->uuid))
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

	note_removal(r, rec->uuid);
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

/* ------------------------------------------------------------- copies */

static int
compare_copies(const void *pa, const void *pb)
{
	const struct fg_copy *a = pa, *b = pb;

	if (a->from_slab != b->from_slab)
		return a->from_slab < b->from_slab ? -1 : 1;
	if (a->from_off != b->from_off)
		return a->from_off < b->from_off ? -1 : 1;
	if (a->slab != b->slab) /* the last one first: its bytes are alive */
		return a->slab > b->slab ? -1 : 1;
	return a->off > b->off ? -1 : a->off < b->off;
}

void
fg_replay_sort(struct fg_replay *r)
{
	size_t n = 0;

	if (r->copies > 0)
		qsort(r->copy, r->copies, sizeof *r->copy, compare_copies);
	for (size_t i = 0; i < r->copies; i++) {
		if (n > 0 && r->copy[n - 1].from_slab == r->copy[i].from_slab &&
		    r->copy[n - 1].from_off == r->copy[i].from_off)
			continue;
		r->copy[n++] = r->copy[i];
	}
	r->copies = n;
	r->next = 0;
	r->surveyed = true;
}

void
fg_replay_fini(struct fg_replay *r)
{
	free(r->copy);
	free(r->described);
	free(r->removed);
}

/* Read the record at a place again, body and all; the body is malloc'ed and ends with a
 * zero byte. FG_ECORRUPT: it is not what the survey saw. */
static int
reread(struct fg_replay *r, uint32_t slab, uint64_t off, struct fg_record *rec,
    char **body, struct fg_err *err)
{
	char name[FG_SLAB_NAME], *path;
	uint8_t head[FG_SLAB_HEAD];
	char *text = NULL;
	int rc = -1, fd;

	fg_slab_name_format(slab, name);
	path = fg_asprintf("%s/%s", r->slab_dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	free(path);
	if (fd < 0)
		return fg_fail_errno(err, "slab %s", name);
	if (fg_file_pread(fd, head, sizeof head, off, name, err) < 0)
		goto out;
	if (!fg_slab_head_decode(head, slab, off, rec) || rec->len > FG_SLAB_TEXT_MAX) {
		fg_fail(err, FG_ECORRUPT, "slab %s at %llu: the record is gone", name,
		    (unsigned long long)off);
		goto out;
	}
	text = fg_alloc(rec->len + 1);
	text[rec->len] = '\0';
	if (fg_file_pread(fd, text, rec->len, off + FG_SLAB_HEAD, name, err) < 0)
		goto out;
	*body = text;
	text = NULL;
	rc = 0;
out:
	free(text);
	close(fd);
	return rc;
}

/* The descriptor of a layer may stand behind its first results' places by now. */
static int
find_layer(struct scan *s, const uint8_t uuid[16])
{
	struct fg_replay *r = s->r;
	struct fg_record rec;
	char *body;
	int rc = 0;

	if (fg_known_find_uuid(r->catalog, uuid))
		return 0;
	for (size_t i = 0; i < r->descriptions; i++) {
		if (memcmp(r->described[i].uuid, uuid, 16) != 0)
			continue;
		rc = reread(r, r->described[i].slab, r->described[i].off, &rec, &body,
		    s->err);
		if (rc < 0)
			return -1;
		rc = take_layer(s, &rec, body);
		free(body);
		break;
	}
	return rc;
}

/* Take in a result whose payloads the survey has seen. */
static int
take_copied_result(struct scan *s, const struct fg_record *rec, const char *body)
{
	struct fg_known *k = fg_known_find_uuid(s->r->catalog, rec->uuid);
	struct fg_record_result res;
	int rc;

	if (!k)
		return 0;
	if (fg_record_commit_parse(body, rec->len, k->layer, rec->slab, &res, s->err) <
	    0)
		return -1;
	rc = fg_known_put_result(k, s->r->ix, &res.res, s->err);
	s->r->results++;
	fg_record_result_fini(&res);
	return rc;
}

/* Take in the copies of everything before a record, and of itself; *itself: there is
 * such a one. */
static int
take_copies(struct scan *s, const struct fg_record *before, bool *itself)
{
	struct fg_replay *r = s->r;

	*itself = false;
	while (r->next < r->copies) {
		const struct fg_copy *c = &r->copy[r->next];
		struct fg_record rec;
		char *body;
		int rc;

		if (c->from_slab > before->slab ||
		    (c->from_slab == before->slab && c->from_off > before->off))
			break;
		*itself = c->from_slab == before->slab && c->from_off == before->off;
		if (reread(r, c->slab, c->off, &rec, &body, s->err) < 0)
			return -1;
		rc = find_layer(s, rec.uuid);
		if (rc == 0)
			rc = rec.type == FG_REC_EDIT
				 ? take_edit(s, &rec, body)
				 : take_copied_result(s, &rec, body);
		free(body);
		if (rc < 0)
			return -1;
		r->next++;
	}
	return 0;
}

/* A copy at its own place, where it was taken in before: its payloads are alive, or
 * were counted dead with their rows. */
static int
pass_copy(struct scan *s, const struct fg_record *rec, const char *body)
{
	struct fg_record_result res;

	if (rec->type == FG_REC_COMMIT &&
	    fg_known_find_uuid(s->r->catalog, rec->uuid) &&
	    fg_record_commit_parse(body, rec->len, 1, rec->slab, &res, NULL) == 0) {
		mark_named(s, &res.res);
		fg_record_result_fini(&res);
	}
	if (rec->type == FG_REC_COMMIT)
		forget_pending(s);
	return 0;
}

/* The copy that was taken in of what this record is one of; NULL: none was whole. */
static const struct fg_copy *
find_copy(const struct fg_replay *r, const struct fg_record *rec)
{
	struct fg_copy key = {.from_slab = rec->from_slab, .from_off = rec->from_off};
	size_t lo = 0, hi = r->copies;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		const struct fg_copy *c = &r->copy[mid];

		if (c->from_slab < key.from_slab ||
		    (c->from_slab == key.from_slab && c->from_off < key.from_off))
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == r->copies || r->copy[lo].from_slab != key.from_slab ||
	    r->copy[lo].from_off != key.from_off)
		return NULL;
	return &r->copy[lo];
}

/* Whether a record has had its turn, or has none. In a tail that is a copy of what the
 * index knew already: compaction was killed before it moved the rows. */
static int
is_over(struct scan *s, const struct fg_record *rec, const char *body, bool *over)
{
	const struct fg_copy *c;

	*over = false;
	if (!s->r->surveyed) {
		if (rec->from_slab == 0)
			return 0;
		if (fg_index_slab_knows(s->r->ix, rec->from_slab, rec->from_off, over,
			s->err) < 0)
			return -1;
		if (*over && rec->type == FG_REC_COMMIT)
			forget_pending(s);
		return 0;
	}
	if (rec->type == FG_REC_JOB) /* these are new where they stand */
		return 0;
	if (take_copies(s, rec, over) < 0)
		return -1;
	if (*over && rec->type == FG_REC_COMMIT)
		forget_pending(s);
	if (rec->from_slab == 0)
		return 0;
	c = find_copy(s->r, rec);
	*over = c != NULL;
	if (c && c->slab == rec->slab && c->off == rec->off)
		return pass_copy(s, rec, body);
	if (c && rec->type == FG_REC_COMMIT)
		forget_pending(s);
	return 0;
}

static int
take_record(void *ctx, const struct fg_record *rec, bool whole, const char *body)
{
	struct scan *s = ctx;
	bool over = false;

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
	if ((rec->type == FG_REC_COMMIT || rec->type == FG_REC_EDIT ||
		rec->type == FG_REC_JOB) &&
	    (is_over(s, rec, body, &over) < 0 || over))
		return over ? 0 : -1;
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

/* ------------------------------------------------------------- surveying */

static void
note_copy(struct fg_replay *r, const struct fg_record *rec)
{
	r->copy = fg_realloc(r->copy, r->copies + 1, sizeof *r->copy);
	r->copy[r->copies++] =
	    (struct fg_copy){rec->from_slab, rec->slab, rec->from_off, rec->off};
}

static void
note_layer(struct fg_replay *r, const struct fg_record *rec)
{
	struct fg_described *d;

	for (size_t i = 0; i < r->descriptions; i++) {
		if (memcmp(r->described[i].uuid, rec->uuid, 16) == 0)
			return;
	}
	r->described = fg_realloc(r->described, r->descriptions + 1, sizeof *d);
	d = &r->described[r->descriptions++];
	*d = (struct fg_described){.slab = rec->slab, .off = rec->off};
	memcpy(d->uuid, rec->uuid, 16);
}

static void
survey_commit(struct scan *s, const struct fg_record *rec, const char *body)
{
	struct fg_record_result res;

	if (rec->from_slab == 0 ||
	    fg_record_commit_parse(body, rec->len, 1, rec->slab, &res, NULL) < 0)
		return;
	if (is_complete(s, &res.res, rec->uuid))
		note_copy(s->r, rec);
	fg_record_result_fini(&res);
}

static int
survey_record(void *ctx, const struct fg_record *rec, bool whole, const char *body)
{
	struct scan *s = ctx;

	switch (rec->type) {
	case FG_REC_PAYLOAD:
		push_pending(s, rec, whole);
		break;
	case FG_REC_SLAB:
		if (whole && memcmp(rec->uuid, s->r->store_uuid, 16) != 0)
			return FOREIGN;
		break;
	case FG_REC_LAYER:
		if (whole)
			note_layer(s->r, rec);
		break;
	case FG_REC_COMMIT:
		if (whole)
			survey_commit(s, rec, body);
		forget_pending(s);
		break;
	case FG_REC_REMOVED:
		if (whole)
			note_removal(s->r, rec->uuid);
		break;
	case FG_REC_EDIT:
		if (whole && rec->from_slab != 0)
			note_copy(s->r, rec);
		break;
	default:
		break;
	}
	return 0;
}

int
fg_replay_survey(struct fg_replay *r, int fd, uint32_t slab, const char *what,
    uint64_t size, bool *foreign, struct fg_err *err)
{
	struct scan s = {.r = r, .slab = slab, .err = err};
	size_t copies = r->copies, descriptions = r->descriptions,
	       removeds = r->removeds;
	struct fg_slab_scan stats;
	int rc =
	    fg_slab_scan(fd, slab, what, 0, size, survey_record, NULL, &s, &stats, err);

	free(s.pending);
	*foreign = rc == FOREIGN || (rc == 0 && stats.records == 0);
	if (*foreign) {
		r->copies = copies;
		r->descriptions = descriptions;
		r->removeds = removeds;
	}
	return rc < 0 ? -1 : 0;
}
