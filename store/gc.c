/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Compaction: what is alive in slabs that are mostly dead is appended to the slab at
 * hand, and the old ones are deleted.
 *
 * A slab is scanned record by record. A result is alive while a row of the index still
 * names a payload of it (or, for one without bytes, while its states hold); its
 * payloads that are alive, its COMMIT record without those that are not, and whatever
 * else a reindex would need are copied: the layer's descriptor, removals, users' edits,
 * and jobs as they are now (the last record of a job counts, so an old one must not
 * come after a newer one). A result keeps its objects and merges as long as anything of
 * it is alive; one without bytes is alive as long as its state holds. What is dead is
 * never copied. A generation of an artefact is alive as long as it has a row (prune.h).
 *
 * Blocks, stitch results and edits mean what they do in the order in which they were
 * written: evidence is about objects that are there by then, an edit comes before its
 * withdrawal. Their copies say where the first one was, so that a reindex can put them
 * in that order again (replay.c).
 *
 * The order is that of a commit: append, sync, one transaction that gives the rows
 * their new places and counts the old bytes dead. A crash before the transaction leaves
 * copies that the next start-up counts dead; after it, a slab that the next run goes on
 * with. When no row names a slab any more, its row says that all of it is dead, then
 * the file goes, then the row. A crash between these leaves something that the next run
 * finishes.
 *
 * What is not understood stays: a slab with records of another kind, or with rows whose
 * records are damaged, is left alone and named.
 *
 * Other processes that read the directory hold ROOT/readers shared; a slab is deleted
 * only when nobody does. Threads of this process may hold a place from before: they get
 * FG_EIO and look again.
 */
#include "config.h"

#include "store/gc.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "store/record.h"
#include "store/store_impl.h"

/* Bytes that are copied under one lock and one transaction. */
#define BATCH (UINT64_C(16) << 20)
/* Ends a scan: out of time, or something that is not understood. */
enum { STOP_TIME = 2, STOP_UNKNOWN = 3, STOP_DAMAGED = 4 };

/* Members of an entry of "put" (store/record.h). */
enum {
	PUT_KIND,
	PUT_SCALE,
	PUT_AT,
	PUT_PART,
	PUT_STATE,
	PUT_ENC,
	PUT_OFF,
	PUT_LEN,
	PUT_CRC,
	PUT_MEMBERS,
	PUT_GEN = PUT_MEMBERS /* absent: 0 */
};

/* One record that is to be copied, COMMIT with its payloads. */
struct item {
	struct fg_record head;
	json_t *json; /* of COMMIT and JOB */
	char *text;   /* of EDIT */
	json_t *live; /* COMMIT: the entries of "put" that stay */
	uint64_t size;
};

/* A row that gets another place. */
struct move {
	struct fg_key key;
	uint64_t from, to, len;
	uint32_t slab;
};

struct gc {
	struct fg_store *s;
	const struct fg_gc_options *opt;
	struct fg_gc_stats *st;
	/* for looking without the writer's lock */
	struct fg_index *ix;
	struct fg_known_set known;
	struct fg_slab_row victim;
	int fd;
	char what[32];
	struct item *item;
	size_t items;
	uint64_t bytes; /* of the items */
	struct move *move;
	size_t moves;
	uint64_t moved; /* bytes of the victim that are dead now */
	struct fg_err *err;
};

static void
lock(struct gc *g)
{
	if (g->opt->writer)
		pthread_mutex_lock(g->opt->writer);
}

static void
unlock(struct gc *g)
{
	if (g->opt->writer)
		pthread_mutex_unlock(g->opt->writer);
}

static bool
is_out_of_time(const struct gc *g)
{
	return (g->opt->deadline_ns > 0 && fg_clock_ns() > g->opt->deadline_ns) ||
	       (g->opt->cancel && *g->opt->cancel);
}

/* ------------------------------------------------------------- what is alive */

static int64_t
member(const json_t *entry, size_t i)
{
	return json_integer_value(json_array_get(entry, i));
}

/* "put" entries are arrays of nine whole numbers, or ten. */
static bool
is_entry(const json_t *entry)
{
	size_t n = json_array_size(entry);

	if (n < PUT_MEMBERS || n > PUT_MEMBERS + 1)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!json_is_integer(json_array_get(entry, i)))
			return false;
	}
	return true;
}

static struct fg_key
key_of(const json_t *entry, uint32_t layer)
{
	return (struct fg_key){layer, (uint8_t)member(entry, PUT_KIND),
	    (uint8_t)member(entry, PUT_SCALE), (uint64_t)member(entry, PUT_AT)};
}

/* Whether the index names the bytes of an entry, or holds its state if it has none. */
static int
is_alive(struct gc *g, struct fg_index *ix, const json_t *entry, uint32_t layer,
    bool *alive)
{
	struct fg_key key = key_of(entry, layer);
	struct fg_place p;

	if (member(entry, PUT_OFF) >= 0)
		return fg_index_names(ix, &key, g->victim.slab,
		    (uint64_t)member(entry, PUT_OFF), alive, g->err);
	if (fg_index_find_gen(ix, &key, (uint64_t)member(entry, PUT_PART),
		member(entry, PUT_GEN), &p, g->err) < 0)
		return -1;
	*alive = p.slab == 0 && p.state == (enum fg_state)member(entry, PUT_STATE);
	return 0;
}

/* The entries of a COMMIT that are alive, as a new array; *bytes: whether any of them,
 * or of all, has bytes. NULL: failure, or an entry that is none (STOP in *rc). */
static json_t *
live_entries(struct gc *g, struct fg_index *ix, const json_t *commit, uint32_t layer,
    int *rc)
{
	const json_t *put = json_object_get(commit, "put"), *entry;
	json_t *live = json_array();
	bool alive, any = false, all_empty = true;
	size_t i;

	json_array_foreach(put, i, entry)
	{
		*rc = is_entry(entry) ? is_alive(g, ix, entry, layer, &alive)
				      : STOP_UNKNOWN;
		if (*rc != 0) {
			json_decref(live);
			return NULL;
		}
		if (alive)
			json_array_append(live, (json_t *)(uintptr_t)entry);
		any = any || (alive && member(entry, PUT_OFF) >= 0);
		all_empty = all_empty && member(entry, PUT_OFF) < 0;
	}
	/* States without bytes live and die with the bytes of their result. */
	if (!any && !all_empty)
		json_array_clear(live);
	return live;
}

/* Whether a result whose entries are dead, or that has none, may be forgotten: yes if
 * the same task has left its mark by another result. *rc: STOP_UNKNOWN if that cannot
 * be told. */
static void
check_forgettable(const json_t *commit, int *rc)
{
	const json_t *put = json_object_get(commit, "put");

	*rc = json_array_size(put) > 0 ? 0 : STOP_UNKNOWN;
}

/* ------------------------------------------------------------- collecting */

static void
drop_items(struct gc *g)
{
	for (size_t i = 0; i < g->items; i++) {
		json_decref(g->item[i].json);
		json_decref(g->item[i].live);
		free(g->item[i].text);
	}
	g->items = 0;
	g->bytes = 0;
}

static void
add_item(struct gc *g, const struct fg_record *r, json_t *json, uint64_t size)
{
	g->item = fg_realloc(g->item, g->items + 1, sizeof *g->item);
	g->item[g->items++] = (struct item){.head = *r, .json = json, .size = size};
	g->bytes += size;
}

static int
see_commit(struct gc *g, const struct fg_record *r, const char *body)
{
	const struct fg_known *k = fg_known_find_uuid(&g->known, r->uuid);
	uint64_t size = fg_slab_record_size(r->len);
	json_t *j, *live;
	const json_t *entry;
	int rc = 0;
	size_t i;

	if (!k) /* of a layer that was removed */
		return 0;
	j = fg_json_parse(body, r->len, g->what, g->err);
	if (!j)
		return -1;
	live = live_entries(g, g->ix, j, k->layer, &rc);
	if (live && json_array_size(live) == 0)
		check_forgettable(j, &rc);
	if (live && json_array_size(live) > 0) {
		json_array_foreach(live, i, entry)
		{
			if (member(entry, PUT_OFF) >= 0)
				size += fg_slab_record_size(
				    (uint64_t)member(entry, PUT_LEN));
		}
		add_item(g, r, json_incref(j), size);
	}
	json_decref(live);
	json_decref(j);
	return rc;
}

static int flush_items(struct gc *g);

/* Whether a damaged record is the only one to tell, in slabs, what the index still
 * knows: no row of bytes would miss it. */
static bool
is_needed(struct gc *g, const struct fg_record *r)
{
	if (!fg_known_find_uuid(&g->known, r->uuid))
		return false;
	return r->type == FG_REC_EDIT ||
	       (r->type == FG_REC_COMMIT &&
		   (r->kind == FG_KIND_STITCH || r->kind == FG_KIND_RESEGMENT));
}

/* A record of the victim, in file order. */
static int
see(void *ctx, const struct fg_record *r, bool whole, const char *body)
{
	struct gc *g = ctx;
	int rc = 0;

	if (!whole && is_needed(g, r))
		return STOP_DAMAGED;
	switch (r->type) {
	case FG_REC_SLAB:
		return 0;
	case FG_REC_PAYLOAD: /* copied with its COMMIT */
		return 0;
	case FG_REC_COMMIT:
		rc = whole ? see_commit(g, r, body) : 0;
		break;
	case FG_REC_JOB:
		if (whole)
			add_item(g, r, fg_json_parse(body, r->len, g->what, NULL),
			    2 * fg_slab_record_size(r->len) + 1024);
		break;
	case FG_REC_EDIT:
		if (whole) {
			add_item(g, r, NULL, fg_slab_record_size(r->len));
			g->item[g->items - 1].text = fg_strndup(body, r->len);
		}
		break;
	case FG_REC_LAYER:
	case FG_REC_REMOVED:
		if (whole)
			add_item(g, r, NULL, fg_slab_record_size(r->len));
		break;
	default:
		return STOP_UNKNOWN;
	}
	if (rc == 0 && g->bytes >= BATCH)
		rc = flush_items(g);
	if (rc == 0 && is_out_of_time(g))
		rc = STOP_TIME;
	return rc;
}

/* ------------------------------------------------------------- copying */

/* The header of a copy: it says where the first one was, which is what a reindex puts
 * it in order by. */
static struct fg_record
head_of_copy(const struct item *it)
{
	struct fg_record r = it->head;

	if (r.from_slab == 0) {
		r.from_slab = r.slab;
		r.from_off = r.off;
	}
	return r;
}

/* Append one payload and note its new place. The checksum of the old one is looked at
 * on the way: damage is not copied. */
static int
copy_payload(struct gc *g, const struct fg_record *commit, json_t *entry,
    const struct fg_known *k)
{
	uint64_t from = (uint64_t)member(entry, PUT_OFF);
	uint64_t len = (uint64_t)member(entry, PUT_LEN);
	struct fg_record r = {
	    .type = FG_REC_PAYLOAD,
	    .kind = (uint8_t)member(entry, PUT_KIND),
	    .scale = (uint8_t)member(entry, PUT_SCALE),
	    .state = (uint8_t)member(entry, PUT_STATE),
	    .enc = (uint8_t)member(entry, PUT_ENC),
	    .at = (uint64_t)member(entry, PUT_AT),
	    .part = (uint64_t)member(entry, PUT_PART),
	    .gen = member(entry, PUT_GEN),
	};
	struct fg_buf *b = len <= FG_SLAB_BODY_MAX ? fg_buf_new(len) : NULL;
	int rc = -1;

	if (!b)
		return fg_fail(g->err, FG_ENOMEM, "%s: no memory for %llu bytes",
		    g->what, (unsigned long long)len);
	if (fg_file_pread(g->fd, b->data, len, from, g->what, g->err) < 0)
		goto out;
	if (fg_crc32c(0, b->data, len) != (uint32_t)member(entry, PUT_CRC)) {
		fg_fail(g->err, FG_ECORRUPT, "%s at %llu: checksum does not fit",
		    g->what, (unsigned long long)from);
		goto out;
	}
	memcpy(r.uuid, commit->uuid, sizeof r.uuid);
	memcpy(r.sha, commit->sha, sizeof r.sha);
	if (fg_slab_append(g->s->slab, &r, b->data, len, g->err) < 0)
		goto out;
	g->move = fg_realloc(g->move, g->moves + 1, sizeof *g->move);
	g->move[g->moves++] = (struct move){.key = key_of(entry, k->layer),
	    .from = from,
	    .to = r.off + FG_SLAB_HEAD,
	    .len = len,
	    .slab = r.slab};
	json_array_set_new(entry, PUT_OFF,
	    json_integer((json_int_t)(r.off + FG_SLAB_HEAD)));
	rc = 0;
out:
	fg_buf_unref(b);
	return rc;
}

static int
copy_commit(struct gc *g, struct item *it)
{
	struct fg_known *k = fg_known_find_uuid(&g->s->catalog, it->head.uuid);
	struct fg_record r = head_of_copy(it);
	json_t *entry;
	char *text;
	size_t i;
	int rc = 0;

	if (!k)
		return 0;
	/* What was alive when it was read may have been replaced since. */
	it->live = live_entries(g, g->s->index, it->json, k->layer, &rc);
	if (rc != 0 || json_array_size(it->live) == 0)
		return rc;
	if (fg_store_put_descriptor(g->s, k, g->err) < 0)
		return -1;
	json_array_foreach(it->live, i, entry)
	{
		if (member(entry, PUT_OFF) >= 0 &&
		    copy_payload(g, &it->head, entry, k) < 0)
			return -1;
	}
	json_object_set(it->json, "put", it->live);
	text = fg_json_format(it->json);
	rc = fg_slab_append(g->s->slab, &r, text, strlen(text), g->err);
	free(text);
	return rc;
}

/* The job as the index has it now; one that it has forgotten was over. */
static int
copy_job(struct gc *g, const struct item *it)
{
	struct fg_known *k = fg_known_find_uuid(&g->s->catalog, it->head.uuid);
	struct fg_record r = head_of_copy(it);
	struct fg_job_row *rows = NULL;
	char *body = NULL;
	size_t n = 0;
	int rc;

	if (!k || !it->json)
		return 0;
	if (fg_index_jobs(g->s->index, &rows, &n, g->err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (!body && (uint64_t)rows[i].job == it->head.at)
			body = fg_record_job_format(&rows[i]);
		fg_job_row_fini(&rows[i]);
	}
	free(rows);
	if (!body) {
		if (json_integer_value(json_object_get(it->json, "state")) <
		    FG_JOB_DONE)
			json_object_set_new(it->json, "state",
			    json_integer(FG_JOB_CANCELLED));
		body = fg_json_format(it->json);
	}
	rc = fg_store_put_descriptor(g->s, k, g->err);
	if (rc == 0)
		rc = fg_slab_append(g->s->slab, &r, body, strlen(body), g->err);
	free(body);
	return rc;
}

/* All of them, also those that were withdrawn: so is the withdrawal, and a decision
 * keeps its number. */
static int
copy_edit(struct gc *g, const struct item *it)
{
	struct fg_known *k = fg_known_find_uuid(&g->s->catalog, it->head.uuid);
	struct fg_record r = head_of_copy(it);

	if (!k)
		return 0;
	if (fg_store_put_descriptor(g->s, k, g->err) < 0)
		return -1;
	return fg_slab_append(g->s->slab, &r, it->text, r.len, g->err);
}

static int
copy_item(struct gc *g, struct item *it)
{
	struct fg_record r = it->head;
	struct fg_known *k;

	switch (it->head.type) {
	case FG_REC_COMMIT:
		return copy_commit(g, it);
	case FG_REC_JOB:
		return copy_job(g, it);
	case FG_REC_EDIT:
		return copy_edit(g, it);
	case FG_REC_LAYER:
		k = fg_known_find_uuid(&g->s->catalog, it->head.uuid);
		return k ? fg_store_put_descriptor(g->s, k, g->err) : 0;
	default: /* REMOVED */
		return fg_slab_append(g->s->slab, &r, NULL, 0, g->err);
	}
}

/* The rows' new places, in one transaction. */
static int
write_moves(struct gc *g)
{
	struct fg_slab_row old = g->victim;
	uint64_t dead = 0;

	for (size_t i = 0; i < g->moves; i++) {
		const struct move *m = &g->move[i];

		if (fg_index_move(g->s->index, &m->key, g->victim.slab, m->from,
			m->slab, m->to, g->err) < 0)
			return -1;
		dead += fg_slab_record_size(m->len);
	}
	old.dead = dead;
	g->moved += dead;
	if (fg_index_slab_put(g->s->index, &old, g->err) < 0)
		return -1;
	return fg_store_slab_rows(g->s, g->err);
}

/* Under the writer's lock. */
static int
copy_items(struct gc *g)
{
	int rc = fg_store_slab_ready(g->s, g->bytes, g->err);

	for (size_t i = 0; i < g->items && rc == 0; i++)
		rc = copy_item(g, &g->item[i]);
	if (rc == 0)
		rc = fg_store_slab_sync(g->s, g->err);
	if (rc != 0)
		return rc;
	fg_crash_at(&g->s->crash, "gc-copied");
	if (fg_index_begin(g->s->index, g->err) < 0)
		return -1;
	rc = write_moves(g);
	if (rc == 0)
		rc = fg_index_commit(g->s->index, g->err);
	else
		fg_index_rollback(g->s->index);
	if (rc == 0)
		fg_crash_at(&g->s->crash, "gc-moved");
	return rc;
}

static int
flush_items(struct gc *g)
{
	int rc;

	if (g->items == 0)
		return 0;
	lock(g);
	g->moves = 0;
	rc = copy_items(g);
	if (rc == 0)
		fg_store_slab_done(g->s);
	else
		fg_store_slab_undo(g->s);
	unlock(g);
	if (rc == 0) {
		for (size_t i = 0; i < g->moves; i++)
			g->st->moved += g->move[i].len;
		g->st->records += g->moves;
	}
	drop_items(g);
	return rc;
}

/* ------------------------------------------------------------- deleting */

/* Whether no other process reads the directory; holds them off until closed. */
static bool
hold_readers(struct gc *g, int *fd)
{
	char *path = fg_asprintf("%s/readers", g->s->root);

	*fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	free(path);
	if (*fd >= 0 && flock(*fd, LOCK_EX | LOCK_NB) == 0)
		return true;
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	return false;
}

static int
put_row(struct gc *g, const struct fg_slab_row *row)
{
	return fg_index_slab_put(g->s->index, row, g->err);
}

/* Nothing names it: first the row says so, then the file goes, then the row. Under the
 * writer's lock. */
static int
delete_slab(struct gc *g)
{
	struct fg_slab_row row = g->victim;
	char *path = fg_store_slab_path(g->s, row.slab);
	int rc = -1;

	row.dead = row.len; /* is added: at least all of it */
	row.closed = true;
	if (put_row(g, &row) < 0)
		goto out;
	fg_crash_at(&g->s->crash, "gc-retired");
	if (unlink(path) < 0 && errno != ENOENT) {
		fg_fail_errno(g->err, "%s", g->what);
		goto out;
	}
	if (fg_file_sync_dir(g->s->slab_dir, g->err) < 0)
		goto out;
	fg_crash_at(&g->s->crash, "gc-unlinked");
	rc = fg_index_slab_forget(g->s->index, row.slab, g->err);
	fg_store_slab_drop(g->s, row.slab);
out:
	free(path);
	return rc;
}

static void
tell(struct gc *g, bool is_error, const char *text)
{
	char line[400];

	snprintf(line, sizeof line, "%s: %s", g->what, text);
	if (g->opt->fn)
		g->opt->fn(g->opt->ctx, is_error, line);
}

static int
finish_slab(struct gc *g)
{
	uint64_t rows = 0;
	char text[120];
	int readers, rc;

	/* Rows never come to a slab that is not appended to, so this needs no lock. */
	if (fg_index_slab_rows(g->ix, g->victim.slab, &rows, g->err) < 0)
		return -1;
	if (rows > 0) {
		snprintf(text, sizeof text,
		    "%llu rows name what could not be copied: left alone (floodgate "
		    "verify tells more)",
		    (unsigned long long)rows);
		tell(g, true, text);
		g->st->left++;
		return 0;
	}
	if (!hold_readers(g, &readers)) {
		tell(g, false, "is read by another process: deleted the next time");
		g->st->waiting++;
		return 0;
	}
	lock(g);
	rc = delete_slab(g);
	unlock(g);
	close(readers);
	if (rc == 0) {
		g->st->slabs++;
		g->st->freed += g->victim.len;
	}
	return rc;
}

/* ------------------------------------------------------------- one slab, all slabs */

/* Append no more to a slab, and let the index hear of all that are finished: their rows
 * must not be written again once they are gone. Under the writer's lock. */
static int
seal(struct gc *g, uint32_t slab)
{
	int rc = g->s->slab_id == slab ? fg_store_slab_seal(g->s, g->err) : 0;

	if (rc < 0 || g->s->touches == 0)
		return rc;
	if (fg_index_begin(g->s->index, g->err) < 0)
		return -1;
	rc = fg_store_slab_rows(g->s, g->err);
	if (rc == 0)
		rc = fg_index_commit(g->s->index, g->err);
	else
		fg_index_rollback(g->s->index);
	if (rc == 0)
		fg_store_slab_done(g->s);
	else
		fg_store_slab_undo(g->s);
	return rc;
}

/* Damage, or what is not understood, is left where it is; the others go on. */
static int
leave(struct gc *g, const char *why)
{
	tell(g, true, why);
	fg_err_clear(g->err);
	g->st->left++;
	return 0;
}

static int
compact_slab(struct gc *g, const struct fg_slab_row *row)
{
	char *path = fg_store_slab_path(g->s, row->slab);
	struct fg_slab_scan scan;
	int rc;

	g->victim = *row;
	snprintf(g->what, sizeof g->what, "slab %06u", (unsigned)row->slab);
	g->fd = open(path, O_RDONLY | O_CLOEXEC);
	free(path);
	if (g->fd < 0 && errno == ENOENT) /* a crash after it was deleted */
		return finish_slab(g);
	if (g->fd < 0)
		return fg_fail_errno(g->err, "%s", g->what);
	lock(g);
	rc = seal(g, row->slab);
	unlock(g);
	if (rc == 0)
		rc = fg_known_load(&g->known, g->ix, g->err);
	if (rc == 0)
		rc = fg_slab_scan(g->fd, row->slab, g->what, 0, row->len, see, NULL, g,
		    &scan, g->err);
	if (rc == 0 || rc == STOP_TIME) {
		int end = flush_items(g);

		rc = end != 0 ? end : rc;
	}
	drop_items(g);
	close(g->fd);
	if (rc == STOP_UNKNOWN)
		return leave(g, "holds records that are not understood: left alone");
	if (rc == STOP_DAMAGED)
		return leave(g,
		    "a record of edits or of stitching is damaged: left alone");
	if (rc < 0 && g->err->code == FG_ECORRUPT)
		return leave(g, g->err->msg);
	return rc == 0 ? finish_slab(g) : rc;
}

static bool
is_worth_it(const struct gc *g, const struct fg_slab_row *row)
{
	return row->len > 0 && (double)row->dead > g->opt->dead * (double)row->len;
}

int
fg_store_gc(struct fg_store *s, const struct fg_gc_options *opt,
    struct fg_gc_stats *stats, struct fg_err *err)
{
	struct fg_err own = FG_ERR_INIT;
	struct gc g = {.s = s, .opt = opt, .st = stats, .err = err ? err : &own};
	struct fg_slab_row *rows = NULL;
	size_t n = 0;
	int rc = -1;

	*stats = (struct fg_gc_stats){0};
	g.ix = fg_index_open(s->index_path, FG_INDEX_READ, g.err);
	if (!g.ix || fg_index_slabs(g.ix, &rows, &n, g.err) < 0)
		goto out;
	rc = 0;
	for (size_t i = 0; i < n && rc == 0; i++) {
		if (!is_worth_it(&g, &rows[i]))
			continue;
		stats->candidates++;
		stats->dead += FG_MIN(rows[i].dead, rows[i].len);
		if (opt->dry_run)
			continue;
		if (is_out_of_time(&g))
			rc = STOP_TIME;
		else
			rc = compact_slab(&g, &rows[i]);
	}
	stats->more = rc == STOP_TIME;
	if (rc == STOP_TIME)
		rc = 0;
out:
	free(rows);
	free(g.item);
	free(g.move);
	fg_known_fini(&g.known);
	fg_index_close(g.ix);
	return rc;
}
