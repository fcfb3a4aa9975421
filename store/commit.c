/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything that changes a data directory while it is in use: group commit of
 * results, layers coming and going, failure memos.
 *
 * The order is always slab, sync, transaction (store.h). A result's records stand in
 * one slab, its COMMIT record last. After any failure the bytes appended stay where
 * they are and are counted dead by the next transaction that succeeds; appending goes
 * on behind them, or in a new slab if a sync failed. A result that reached the slab but
 * not the index is taken in by the next start-up if its task is still not done, which
 * is fine: nobody was told that it failed for good, and nobody saw other bytes.
 */
#include "config.h"

#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/index_object.h"
#include "store/record.h"
#include "store/store_impl.h"
#include "store/uuid.h"

/* Payloads and objects of one result: keeps its COMMIT record below FG_SLAB_TEXT_MAX,
 * and the memory that replaying it takes small. */
#define ITEMS_MAX 1000000

/* ------------------------------------------------------------- slabs */

/* The slab at hand is finished; the next transaction writes its row. Bytes that no row
 * will name because their transaction failed are `dead`. */
static void
touch(struct fg_store *s, uint64_t len, uint64_t dead, bool closed)
{
	s->touch = fg_realloc(s->touch, s->touches + 1, sizeof *s->touch);
	s->touch[s->touches++] = (struct fg_touch){
	    .row = {.slab = s->slab_id, .len = len, .dead = dead, .closed = closed},
	    .known = s->slab_known,
	};
}

/* Go on in the slab whose object was dropped after a failure. */
static int
resume_slab(struct fg_store *s, struct fg_err *err)
{
	char *path = fg_store_slab_path(s, s->slab_id);
	struct stat st;
	int rc = -1;

	if (stat(path, &st) < 0) {
		fg_fail(err, FG_EIO, "slab %06u: %s", (unsigned)s->slab_id,
		    strerror(errno));
		s->slab_id = 0; /* the next try begins a new one */
		goto out;
	}
	s->slab = fg_slab_resume(s->slab_dir, s->slab_id,
	    ((uint64_t)st.st_size + 7) & ~UINT64_C(7), s->uuid_bytes, &s->crash, err);
	if (!s->slab)
		goto out;
	/* The name may not have been synced before the failure. */
	s->slab->new_name = s->slab_known == 0;
	s->slab->garbage = s->slab->len - FG_SLAB_HEAD - s->slab_known;
	rc = 0;
out:
	free(path);
	return rc;
}

static int
begin_slab(struct fg_store *s, struct fg_err *err)
{
	uint32_t id = s->next_slab;

	s->next_slab++; /* also on failure: the file may be there */
	s->slab = fg_slab_create(s->slab_dir, id, s->uuid_bytes, &s->crash, err);
	if (!s->slab)
		return -1;
	s->slab_id = id;
	s->slab_known = 0;
	return 0;
}

int
fg_store_slab_ready(struct fg_store *s, uint64_t n, struct fg_err *err)
{
	if (!s->slab && s->slab_id != 0 && resume_slab(s, err) < 0)
		return -1;
	/* A result larger than slab_max gets a slab of its own. */
	if (s->slab && s->slab->len > FG_SLAB_HEAD && s->slab->len + n > s->slab_max &&
	    fg_store_slab_seal(s, err) < 0)
		return -1;
	if (s->slab)
		return 0;
	return begin_slab(s, err);
}

int
fg_store_slab_seal(struct fg_store *s, struct fg_err *err)
{
	if (s->slab) {
		if (fg_slab_sync(s->slab, s->slab_dir, err) < 0)
			return -1;
		touch(s, s->slab->len, 0, false);
		fg_slab_close(s->slab);
		s->slab = NULL;
	}
	s->slab_id = 0;
	return 0;
}

int
fg_store_slab_sync(struct fg_store *s, struct fg_err *err)
{
	return s->slab ? fg_slab_sync(s->slab, s->slab_dir, err) : 0;
}

int
fg_store_slab_rows(struct fg_store *s, struct fg_err *err)
{
	struct fg_slab_row row;

	for (size_t i = 0; i < s->touches; i++) {
		if (fg_index_slab_put(s->index, &s->touch[i].row, err) < 0)
			return -1;
	}
	if (!s->slab)
		return 0;
	fg_assert(s->slab->buffered == 0);
	row = (struct fg_slab_row){
	    .slab = s->slab_id,
	    .len = s->slab->len,
	    .dead = s->slab->garbage,
	};
	return fg_index_slab_put(s->index, &row, err);
}

void
fg_store_slab_done(struct fg_store *s)
{
	s->touches = 0;
	if (!s->slab)
		return;
	s->slab_known = s->slab->len;
	s->slab->garbage = 0;
}

void
fg_store_slab_undo(struct fg_store *s)
{
	char *path;
	struct stat st;
	uint64_t len;

	/* Whether descriptors reached the file is unknown: write them again. */
	for (size_t i = 0; i < s->catalog.n; i++)
		s->catalog.list[i].described = 0;
	/* What a finished slab got since the index last heard of it names nothing. */
	for (size_t i = 0; i < s->touches; i++)
		s->touch[i].row.dead = s->touch[i].row.len - s->touch[i].known;
	if (!s->slab)
		return;
	if (s->slab->broken) {
		path = fg_store_slab_path(s, s->slab_id);
		len = stat(path, &st) == 0 ? (uint64_t)st.st_size : s->slab->len;
		free(path);
		len = FG_MAX(len, s->slab_known);
		touch(s, len, len - s->slab_known, true);
		s->slab_id = 0;
	}
	fg_slab_close(s->slab);
	s->slab = NULL;
}

/* ------------------------------------------------------------- results */

/* A result on its way through a commit. */
struct item {
	struct fg_result *res;
	struct fg_known *layer;
	bool drop; /* its task is done, or an earlier one of the group does it */
};

static int
check_payload(const struct fg_result *res, size_t i, const struct fg_known *k,
    struct fg_err *err)
{
	const struct fg_payload *p = &res->payload[i];

	if (p->key.layer != res->task.layer)
		return fg_fail(err, FG_EINVAL,
		    "payload %zu is of layer %u, its task of %u", i,
		    (unsigned)p->key.layer, (unsigned)res->task.layer);
	if (p->state < FG_PRESENT || p->state > FG_PARTIAL ||
	    (p->state == FG_EMPTY) != (p->bytes == NULL) ||
	    p->key.kind < FG_KIND_CHUNK || p->key.kind > FG_KIND_LAST ||
	    p->key.kind == FG_KIND_BLOCK)
		return fg_fail(err, FG_EINVAL,
		    "payload %zu: kind %d, state %d %s bytes", i, p->key.kind,
		    (int)p->state, p->bytes ? "with" : "without");
	if (p->key.kind == FG_KIND_CHUNK && k->scales > 0 &&
	    !fg_grid_has(k, p->key.scale, p->key.at))
		return fg_fail(err, FG_EINVAL,
		    "payload %zu: no chunk %llu in scale %d of layer %s", i,
		    (unsigned long long)p->key.at, p->key.scale, k->name);
	if (p->bytes && p->bytes->len > FG_SLAB_BODY_MAX)
		return fg_fail(err, FG_EFULL,
		    "payload %zu: %zu bytes are too many for one record", i,
		    p->bytes->len);
	return 0;
}

static int
check_evidence(const struct fg_result *res, struct fg_err *err)
{
	for (size_t i = 0; i < res->merges; i++) {
		const struct fg_merge *m = &res->merge[i];

		if (m->a == 0 || m->a >= m->b || res->task.kind != FG_KIND_STITCH)
			return fg_fail(err, FG_EINVAL, "merge %zu of %llu and %llu", i,
			    (unsigned long long)m->a, (unsigned long long)m->b);
	}
	for (size_t i = 0; i < res->contacts; i++) {
		const struct fg_contact *c = &res->contact[i];

		if (c->a == 0 || c->a >= c->b || res->task.kind != FG_KIND_RESEGMENT)
			return fg_fail(err, FG_EINVAL, "contact %zu of %llu and %llu",
			    i, (unsigned long long)c->a, (unsigned long long)c->b);
	}
	return 0;
}

static int
check_result(struct fg_store *s, const struct fg_result *res, struct fg_known **layer,
    struct fg_err *err)
{
	const char *why = fg_store_why(s, res->task.layer);

	*layer = fg_known_find(&s->catalog, res->task.layer);
	if (!*layer)
		return fg_fail(err, FG_ENOENT, "there is no layer %u",
		    (unsigned)res->task.layer);
	if (res->failed)
		return 0;
	if (why)
		return fg_fail(err, FG_EBUSY, "layer %s is degraded: %s",
		    (*layer)->name, why);
	if (res->payloads > ITEMS_MAX || res->objects > ITEMS_MAX ||
	    res->merges + res->contacts > ITEMS_MAX)
		return fg_fail(err, FG_EINVAL,
		    "a result of %zu payloads, %zu objects and %zu merges, at most %d "
		    "of each",
		    res->payloads, res->objects, res->merges + res->contacts,
		    ITEMS_MAX);
	if (check_evidence(res, err) < 0)
		return -1;
	fg_assert(res->payloads == 0 || res->places);
	for (size_t i = 0; i < res->payloads; i++) {
		if (check_payload(res, i, *layer, err) < 0)
			return -1;
	}
	return 0;
}

static int
sort_out(struct fg_store *s, struct fg_result *const *results, size_t n,
    struct item *items, struct fg_err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct item *it = &items[i];

		it->res = results[i];
		if (check_result(s, it->res, &it->layer, err) < 0)
			return -1;
		if (it->res->failed)
			continue;
		if (fg_index_is_done(s->index, it->res, INT64_MAX, &it->drop, err) < 0)
			return -1;
		for (size_t j = 0; j < i && !it->drop; j++) {
			if (!items[j].res->failed && !items[j].drop &&
			    !fg_kind_is_artefact(it->res->task.kind) &&
			    fg_key_equal(&items[j].res->task, &it->res->task))
				it->drop = true;
		}
	}
	return 0;
}

int
fg_store_put_descriptor(struct fg_store *s, struct fg_known *k, struct fg_err *err)
{
	struct fg_record r = {.type = FG_REC_LAYER};

	if (k->described == s->slab->id)
		return 0;
	memcpy(r.uuid, k->uuid, sizeof r.uuid);
	memcpy(r.sha, k->sha, sizeof r.sha);
	if (fg_slab_append(s->slab, &r, k->descriptor, strlen(k->descriptor), err) < 0)
		return -1;
	k->described = s->slab->id;
	return 0;
}

static int
put_payloads(struct fg_store *s, const struct fg_known *k, struct fg_result *res,
    struct fg_err *err)
{
	for (size_t i = 0; i < res->payloads; i++) {
		const struct fg_payload *p = &res->payload[i];
		struct fg_record r = {
		    .type = FG_REC_PAYLOAD,
		    .kind = p->key.kind,
		    .scale = p->key.scale,
		    .state = (uint8_t)p->state,
		    .enc = p->enc,
		    .at = p->key.at,
		    .part = p->part,
		    .gen = p->gen,
		};

		res->places[i] =
		    (struct fg_place){.state = p->state, .enc = p->enc, .gen = p->gen};
		if (!p->bytes)
			continue;
		memcpy(r.uuid, k->uuid, sizeof r.uuid);
		memcpy(r.sha, k->sha, sizeof r.sha);
		if (fg_slab_append(s->slab, &r, p->bytes->data, p->bytes->len, err) < 0)
			return -1;
		res->places[i].slab = r.slab;
		res->places[i].off = r.off + FG_SLAB_HEAD;
		res->places[i].len = r.len;
		res->places[i].crc = r.crc;
	}
	return 0;
}

/* Upper bound for the bytes of all records of a result, but its JSON roughly. */
static uint64_t
result_size(const struct fg_known *k, const struct fg_result *res)
{
	uint64_t n = fg_slab_record_size(strlen(k->descriptor)) +
		     fg_slab_record_size(
			 1000 + 100 * (res->payloads + res->objects + res->merges) +
			 140 * res->contacts);

	for (size_t i = 0; i < res->payloads; i++) {
		if (res->payload[i].bytes)
			n += fg_slab_record_size(res->payload[i].bytes->len);
	}
	return n;
}

static int
append_result(struct fg_store *s, struct fg_known *k, struct fg_result *res,
    struct fg_err *err)
{
	struct fg_record r = {
	    .type = FG_REC_COMMIT,
	    .kind = res->task.kind,
	    .scale = res->task.scale,
	    .at = res->task.at,
	};
	char *body;
	int rc;

	if (fg_store_slab_ready(s, result_size(k, res), err) < 0 ||
	    fg_store_put_descriptor(s, k, err) < 0 || put_payloads(s, k, res, err) < 0)
		return -1;
	memcpy(r.uuid, k->uuid, sizeof r.uuid);
	memcpy(r.sha, k->sha, sizeof r.sha);
	body = fg_record_commit_format(res);
	rc = fg_slab_append(s->slab, &r, body, strlen(body), err);
	free(body);
	return rc;
}

static int
append_items(struct fg_store *s, struct item *items, size_t n, struct fg_err *err)
{
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		if (items[i].drop || items[i].res->failed)
			continue;
		if (!any)
			fg_crash_at(&s->crash, "slab-append");
		any = true;
		if (append_result(s, items[i].layer, items[i].res, err) < 0)
			return -1;
	}
	return any ? fg_store_slab_sync(s, err) : 0;
}

static int
put_rows(struct fg_store *s, struct item *items, size_t n, struct fg_err *err)
{
	for (size_t i = 0; i < n; i++) {
		const struct fg_result *res = items[i].res;
		int rc = 0;

		if (i == n / 2)
			fg_crash_at(&s->crash, "txn-half");
		if (res->failed)
			rc = fg_index_put_failure(s->index, res, items[i].layer->params,
			    err);
		else if (!items[i].drop)
			rc = fg_known_put_result(items[i].layer, s->index, res, err);
		if (rc < 0)
			return -1;
	}
	return fg_store_slab_rows(s, err);
}

/* Where the payloads of dropped results are: as the index has them. */
static int
fill_dropped(struct fg_store *s, struct item *items, size_t n, struct fg_err *err)
{
	for (size_t i = 0; i < n; i++) {
		struct fg_result *res = items[i].res;

		for (size_t k = 0; items[i].drop && k < res->payloads; k++) {
			const struct fg_payload *p = &res->payload[k];

			if (fg_index_find_gen(s->index, &p->key, p->part, p->gen,
				&res->places[k], err) < 0)
				return -1;
		}
	}
	return 0;
}

static int
commit_items(struct fg_store *s, struct item *items, size_t n, struct fg_err *err)
{
	if (append_items(s, items, n, err) < 0)
		return -1;
	if (fg_index_begin(s->index, err) < 0)
		return -1;
	fg_crash_at(&s->crash, "txn-begun");
	if (put_rows(s, items, n, err) < 0 || fill_dropped(s, items, n, err) < 0) {
		fg_index_rollback(s->index);
		return -1;
	}
	fg_crash_at(&s->crash, "txn-before-commit");
	return fg_index_commit(s->index, err);
}

int
fg_commit(struct fg_store *s, struct fg_result *const *results, size_t n,
    struct fg_err *err)
{
	struct item *items;
	int rc = -1;

	fg_assert(s->index != NULL);
	if (n == 0)
		return 0;
	items = fg_calloc(n, sizeof *items);
	if (sort_out(s, results, n, items, err) < 0)
		goto out;
	rc = commit_items(s, items, n, err);
	if (rc < 0) {
		fg_store_slab_undo(s);
		goto out;
	}
	fg_store_slab_done(s);
	fg_crash_at(&s->crash, "committed");
out:
	free(items);
	return rc;
}

int
fg_store_retry(struct fg_store *s, uint32_t layer, uint64_t at, struct fg_err *err)
{
	return fg_index_retry(s->index, layer, at, err);
}

/* ------------------------------------------------------------- layers */

static int
check_name(const char *name, struct fg_err *err)
{
	/* First path elements that the server keeps for itself. */
	static const char *const taken[] = {"api", "t", "viewer", "metrics", "healthz",
	    "readyz", "info"};
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz0123456789._-";

	if (!name || !*name || name[strspn(name, letters)] || strlen(name) > 128 ||
	    strchr("._-", name[0]))
		return fg_fail(err, FG_EINVAL,
		    "\"%.40s\" is no layer name: letters, digits and ._- after a "
		    "letter "
		    "or digit, at most 128",
		    name ? name : "");
	for (size_t i = 0; i < FG_COUNTOF(taken); i++) {
		if (strcmp(name, taken[i]) == 0)
			return fg_fail(err, FG_EINVAL, "a layer cannot be named \"%s\"",
			    name);
	}
	return 0;
}

/* Whether the layer can be restored from its descriptor: JSON holds UTF-8 only. */
static int
check_texts(const struct fg_layer_row *row, struct fg_err *err)
{
	struct fg_layer_row trial = *row, again;
	struct fg_err e = FG_ERR_INIT;
	char *text;
	bool same;
	int rc;

	trial.layer = 1;
	text = fg_record_layer_format(&trial);
	rc = fg_record_layer_parse(text, strlen(text), &again, &e);
	free(text);
	same = rc == 0 && !row->source == !again.source &&
	       !row->recipe == !again.recipe && !row->grid == !again.grid;
	if (rc == 0)
		fg_layer_row_fini(&again);
	if (!same)
		return fg_fail(err, FG_EINVAL, "layer %s: a text is not UTF-8",
		    row->name);
	return 0;
}

/* Append one record of layer k and sync. */
static int
append_note(struct fg_store *s, struct fg_known *k, enum fg_record_type type,
    struct fg_err *err)
{
	struct fg_record r = {.type = type};

	if (fg_store_slab_ready(s, fg_slab_record_size(strlen(k->descriptor)), err) < 0)
		return -1;
	if (type == FG_REC_LAYER)
		return fg_store_put_descriptor(s, k, err) < 0
			   ? -1
			   : fg_store_slab_sync(s, err);
	memcpy(r.uuid, k->uuid, sizeof r.uuid);
	if (fg_slab_append(s->slab, &r, NULL, 0, err) < 0)
		return -1;
	return fg_store_slab_sync(s, err);
}

/* End a transaction that stands together with appended records. */
static int
finish(struct fg_store *s, int rc, struct fg_err *err)
{
	struct fg_err ignored = FG_ERR_INIT;

	if (rc == 0)
		rc = fg_store_slab_rows(s, err);
	if (rc == 0)
		rc = fg_index_commit(s->index, err);
	else
		fg_index_rollback(s->index);
	if (rc == 0)
		fg_store_slab_done(s);
	else
		fg_store_slab_undo(s);
	if (rc < 0) /* the catalog must not know what was rolled back */
		(void)!fg_known_load(&s->catalog, s->index, &ignored);
	return rc;
}

int
fg_store_layer_add(struct fg_store *s, struct fg_layer_row *r, struct fg_err *err)
{
	struct fg_layer_row row = *r;
	int rc;

	fg_assert(s->index != NULL);
	if (check_name(r->name, err) < 0)
		return -1;
	if (!r->kind || !r->info)
		return fg_fail(err, FG_EINVAL, "layer %s has no %s", r->name,
		    r->kind ? "info" : "kind");
	row.layer = 0;
	if (fg_uuid_new(row.uuid, err) < 0 || check_texts(&row, err) < 0 ||
	    fg_index_begin(s->index, err) < 0)
		return -1;
	rc = fg_index_layer_add(s->index, &row, err);
	if (rc == 0)
		rc = fg_known_load(&s->catalog, s->index, err);
	if (rc == 0)
		rc = append_note(s, fg_known_find(&s->catalog, row.layer), FG_REC_LAYER,
		    err);
	if (finish(s, rc, err) < 0)
		return -1;
	r->layer = row.layer;
	memcpy(r->uuid, row.uuid, sizeof r->uuid);
	return 0;
}

int
fg_store_layer_remove(struct fg_store *s, uint32_t layer, struct fg_err *err)
{
	struct fg_known *k = fg_known_find(&s->catalog, layer);
	int rc;

	fg_assert(s->index != NULL);
	if (!k)
		return fg_fail(err, FG_ENOENT, "there is no layer %u", (unsigned)layer);
	if (fg_index_begin(s->index, err) < 0)
		return -1;
	rc = append_note(s, k, FG_REC_REMOVED, err);
	if (rc == 0)
		rc = fg_index_layer_remove(s->index, layer, err);
	if (finish(s, rc, err) < 0)
		return -1;
	return fg_known_load(&s->catalog, s->index, err);
}

int
fg_store_layer_pause(struct fg_store *s, uint32_t layer, bool paused,
    struct fg_err *err)
{
	return fg_index_layer_pause(s->index, layer, paused, err);
}

/* ------------------------------------------------------------- jobs */

static int
append_job(struct fg_store *s, struct fg_known *k, const struct fg_job_row *row,
    struct fg_err *err)
{
	struct fg_record r = {.type = FG_REC_JOB, .at = (uint64_t)row->job};
	char *body = fg_record_job_format(row);
	uint64_t n = fg_slab_record_size(strlen(k->descriptor)) +
		     fg_slab_record_size(strlen(body));
	int rc = -1;

	memcpy(r.uuid, k->uuid, sizeof r.uuid);
	memcpy(r.sha, k->sha, sizeof r.sha);
	if (fg_store_slab_ready(s, n, err) == 0 &&
	    fg_store_put_descriptor(s, k, err) == 0 &&
	    fg_slab_append(s->slab, &r, body, strlen(body), err) == 0)
		rc = fg_store_slab_sync(s, err);
	free(body);
	return rc;
}

int
fg_store_job_put(struct fg_store *s, struct fg_job_row *r, struct fg_err *err)
{
	struct fg_known *k = fg_known_find(&s->catalog, r->layer);
	struct fg_job_row row = *r;
	int rc = 0;

	fg_assert(s->index != NULL);
	if (!k)
		return fg_fail(err, FG_ENOENT, "there is no layer %u",
		    (unsigned)r->layer);
	if (fg_index_begin(s->index, err) < 0)
		return -1;
	if (row.job == 0)
		rc = fg_index_job_number(s->index, &row.job, err);
	if (rc == 0)
		rc = append_job(s, k, &row, err);
	if (rc == 0)
		rc = fg_index_job_put(s->index, &row, err);
	if (finish(s, rc, err) < 0)
		return -1;
	r->job = row.job;
	return 0;
}

int
fg_store_jobs_prune(struct fg_store *s, int64_t keep, struct fg_err *err)
{
	return fg_index_jobs_prune(s->index, keep, err);
}

/* ------------------------------------------------------------- edits */

/* Append the JSON of an EDIT record, which is freed, and sync. */
static int
append_edit(struct fg_store *s, struct fg_known *k, char *body, struct fg_err *err)
{
	struct fg_record r = {.type = FG_REC_EDIT};
	size_t len = strlen(body);
	uint64_t n =
	    fg_slab_record_size(strlen(k->descriptor)) + fg_slab_record_size(len);
	int rc = -1;

	memcpy(r.uuid, k->uuid, sizeof r.uuid);
	memcpy(r.sha, k->sha, sizeof r.sha);
	if (fg_store_slab_ready(s, n, err) == 0 &&
	    fg_store_put_descriptor(s, k, err) == 0 &&
	    fg_slab_append(s->slab, &r, body, len, err) == 0) {
		fg_crash_at(&s->crash, "edit-append");
		rc = fg_store_slab_sync(s, err);
	}
	free(body);
	return rc;
}

static int
check_edits(struct fg_store *s, uint32_t layer, const struct fg_edit *edit, size_t n,
    struct fg_err *err)
{
	const char *why = fg_store_why(s, layer);

	if (!fg_known_find(&s->catalog, layer))
		return fg_fail(err, FG_ENOENT, "there is no layer %u", (unsigned)layer);
	if (why)
		return fg_fail(err, FG_EBUSY, "the layer is degraded: %s", why);
	if (n > FG_EDITS_MAX)
		return fg_fail(err, FG_EINVAL, "%zu edits in one call, at most %d", n,
		    FG_EDITS_MAX);
	for (size_t i = 0; i < n; i++) {
		const uint64_t end[2] = {edit[i].a, edit[i].b};

		if (end[0] == end[1])
			return fg_fail(err, FG_EINVAL,
			    "edit %zu: object %llu with itself", i,
			    (unsigned long long)end[0]);
		for (int k = 0; k < 2; k++) {
			bool there;

			if (fg_index_has_object(s->index, layer, end[k], &there, err) <
			    0)
				return -1;
			if (!there)
				return fg_fail(err, FG_ENOENT,
				    "edit %zu: there is no object %llu", i,
				    (unsigned long long)end[k]);
		}
	}
	return 0;
}

int
fg_store_edit(struct fg_store *s, uint32_t layer, struct fg_edit *edit, size_t n,
    bool *changed, struct fg_err *err)
{
	struct fg_known *k = fg_known_find(&s->catalog, layer);
	bool any = false;
	int64_t last;
	int rc;

	fg_assert(s->index != NULL);
	if (check_edits(s, layer, edit, n, err) < 0)
		return -1;
	if (fg_index_begin(s->index, err) < 0)
		return -1;
	rc = fg_index_last_edit(s->index, &last, err);
	for (size_t i = 0; i < n && rc == 0; i++)
		edit[i].edit = last + 1 + (int64_t)i;
	if (rc == 0)
		rc = append_edit(s, k, fg_record_edit_format(edit, n), err);
	if (rc == 0)
		rc = fg_index_put_edits(s->index, layer, edit, n, &any, err);
	if (rc == 0)
		fg_crash_at(&s->crash, "edit-before-commit");
	if (finish(s, rc, err) < 0)
		return -1;
	if (changed)
		*changed = any;
	return 0;
}

int
fg_store_edit_undo(struct fg_store *s, uint32_t layer, const int64_t *edit, size_t n,
    bool *changed, struct fg_err *err)
{
	struct fg_known *k = fg_known_find(&s->catalog, layer);
	size_t missing = 0;
	bool any = false;
	int64_t last;
	int rc;

	fg_assert(s->index != NULL);
	if (check_edits(s, layer, NULL, 0, err) < 0)
		return -1;
	if (n > FG_EDITS_MAX)
		return fg_fail(err, FG_EINVAL, "%zu edits in one call, at most %d", n,
		    FG_EDITS_MAX);
	/* Before the writer is held for as long as a million look-ups take. */
	if (fg_index_last_edit(s->index, &last, err) < 0)
		return -1;
	if (n > 0 && edit[n - 1] > last)
		return fg_fail(err, FG_ENOENT, "there is no edit %lld",
		    (long long)edit[n - 1]);
	if (fg_index_begin(s->index, err) < 0)
		return -1;
	rc = fg_index_undo_edits(s->index, layer, edit, n, &missing, &any, err);
	if (rc == 0 && missing > 0)
		rc = fg_fail(err, FG_ENOENT, "%zu of %zu edits do not exist", missing,
		    n);
	if (rc == 0)
		rc = append_edit(s, k, fg_record_undo_format(edit, n), err);
	if (finish(s, rc, err) < 0)
		return -1;
	if (changed)
		*changed = any;
	return 0;
}
