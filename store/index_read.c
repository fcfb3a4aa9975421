/* SPDX-License-Identifier: Apache-2.0 */
/* The index: lookups, counts, provenance, and walking over all rows. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "store/index.h"
#include "store/index_sql.h"

/* Columns state, enc, slab, off, len, crc, run, gen from `col` on. */
static void
read_place(sqlite3_stmt *st, int col, struct fg_place *p)
{
	int state = sqlite3_column_int(st, col);

	*p = (struct fg_place){
	    .state = (enum fg_state)(state & (FG_STATE_DIRTY - 1)),
	    .dirty = (state & FG_STATE_DIRTY) != 0,
	    .enc = (uint8_t)sqlite3_column_int(st, col + 1),
	    .slab = (uint32_t)sqlite3_column_int64(st, col + 2),
	    .off = (uint64_t)sqlite3_column_int64(st, col + 3),
	    .len = (uint64_t)sqlite3_column_int64(st, col + 4),
	    .crc = (uint32_t)sqlite3_column_int64(st, col + 5),
	    .run = sqlite3_column_int64(st, col + 6),
	    .gen = sqlite3_column_int64(st, col + 7),
	};
}

static int
find_block_place(struct fg_index *ix, const struct fg_key *key, struct fg_place *place,
    struct fg_err *err)
{
	struct fg_block_row row;

	if (fg_index_block(ix, key->layer, key->at, &row, err) < 0)
		return -1;
	*place = (struct fg_place){.run = row.run};
	place->state = row.state == FG_BLOCK_DONE ? FG_PRESENT : FG_ABSENT;
	return 0;
}

/* The row of a look-up, FG_ABSENT if there is none. */
static int
take_place(struct fg_index *ix, sqlite3_stmt *st, struct fg_place *place,
    struct fg_err *err)
{
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc < 0)
		return -1;
	*place = (struct fg_place){.state = FG_ABSENT};
	if (rc > 0) {
		read_place(st, 0, place);
		sqlite3_reset(st);
	}
	return 0;
}

int
fg_index_find(struct fg_index *ix, const struct fg_key *key, uint64_t part,
    struct fg_place *place, struct fg_err *err)
{
	sqlite3_stmt *st;

	if (key->kind == FG_KIND_BLOCK)
		return find_block_place(ix, key, place, err);
	if (key->kind == FG_KIND_CHUNK)
		st = fg_sql(ix, err,
		    "SELECT state, enc, slab, off, len, crc, run, 0 FROM chunks"
		    " WHERE layer = ? AND scale = ? AND at = ?",
		    "iii", (int64_t)key->layer, (int64_t)key->scale, key->at);
	else
		st = fg_sql(ix, err,
		    "SELECT state, enc, slab, off, len, crc, run, gen FROM artefacts"
		    " WHERE layer = ? AND kind = ? AND scale = ? AND id = ?"
		    " AND part = ? ORDER BY gen DESC LIMIT 1",
		    "iiiii", (int64_t)key->layer, (int64_t)key->kind,
		    (int64_t)key->scale, key->at, part);
	return take_place(ix, st, place, err);
}

int
fg_index_find_gen(struct fg_index *ix, const struct fg_key *key, uint64_t part,
    int64_t gen, struct fg_place *place, struct fg_err *err)
{
	if (key->kind == FG_KIND_BLOCK || key->kind == FG_KIND_CHUNK)
		return fg_index_find(ix, key, part, place, err);
	return take_place(ix,
	    fg_sql(ix, err,
		"SELECT state, enc, slab, off, len, crc, run, gen FROM artefacts"
		" WHERE layer = ? AND kind = ? AND scale = ? AND id = ? AND part = ?"
		" AND gen = ?",
		"iiiiii", (int64_t)key->layer, (int64_t)key->kind, (int64_t)key->scale,
		key->at, part, gen),
	    place, err);
}

int
fg_index_is_done(struct fg_index *ix, const struct fg_result *res, int64_t run,
    bool *done, struct fg_err *err)
{
	struct fg_place p;
	bool all = res->payloads > 0;

	if (!fg_kind_is_artefact(res->task.kind)) {
		if (fg_index_find(ix, &res->task, 0, &p, err) < 0)
			return -1;
		*done = (p.state == FG_PRESENT || p.state == FG_EMPTY) && !p.dirty &&
			p.run <= run;
		return 0;
	}
	for (size_t i = 0; i < res->payloads && all; i++) {
		const struct fg_payload *q = &res->payload[i];

		if (fg_index_find_gen(ix, &q->key, q->part, q->gen, &p, err) < 0)
			return -1;
		all = p.state != FG_ABSENT && p.run <= run;
	}
	*done = all;
	return 0;
}

/* Columns at, state, tries, next_try, run, error. */
static void
read_block(sqlite3_stmt *st, struct fg_block_row *row)
{
	const char *error = (const char *)sqlite3_column_text(st, 5);

	*row = (struct fg_block_row){
	    .at = (uint64_t)sqlite3_column_int64(st, 0),
	    .state = (enum fg_block_state)sqlite3_column_int(st, 1),
	    .tries = sqlite3_column_int(st, 2),
	    .next_try_ms = sqlite3_column_int64(st, 3),
	    .run = sqlite3_column_int64(st, 4),
	};
	snprintf(row->error, sizeof row->error, "%s", error ? error : "");
}

int
fg_index_block(struct fg_index *ix, uint32_t layer, uint64_t at,
    struct fg_block_row *out, struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT at, state, tries, next_try, run, error FROM blocks"
	    " WHERE layer = ? AND at = ?",
	    "ii", (int64_t)layer, at);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc < 0)
		return -1;
	*out = (struct fg_block_row){.at = at, .state = FG_BLOCK_ABSENT};
	if (rc > 0) {
		read_block(st, out);
		sqlite3_reset(st);
	}
	return 0;
}

int
fg_index_blocks(struct fg_index *ix, uint32_t layer,
    int (*fn)(void *ctx, const struct fg_block_row *row), void *ctx, struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT at, state, tries, next_try, run, error FROM blocks"
	    " WHERE layer = ? ORDER BY at",
	    "i", (int64_t)layer);
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		struct fg_block_row row;

		read_block(st, &row);
		rc = fn(ctx, &row);
		if (rc != 0) {
			sqlite3_reset(st);
			return rc;
		}
	}
	return rc;
}

/* The first column of a statement's rows, to its end. */
static int
collect(struct fg_index *ix, sqlite3_stmt *st, uint64_t **out, size_t *n,
    struct fg_err *err)
{
	uint64_t *list = NULL;
	size_t k = 0, room = 0;
	int rc = -1;

	while (st && (rc = fg_sql_step(ix, st, err)) > 0) {
		if (k == room) {
			room = FG_MAX(2 * room, 64u);
			list = fg_realloc(list, room, sizeof *list);
		}
		list[k++] = (uint64_t)sqlite3_column_int64(st, 0);
	}
	if (rc < 0) {
		free(list);
		return -1;
	}
	*out = list;
	*n = k;
	return 0;
}

int
fg_index_parts(struct fg_index *ix, const struct fg_key *key, uint64_t **part,
    size_t *n, struct fg_err *err)
{
	return collect(ix,
	    fg_sql(ix, err,
		"SELECT DISTINCT part FROM artefacts WHERE layer = ? AND kind = ?"
		" AND scale = ? AND id = ? ORDER BY part",
		"iiii", (int64_t)key->layer, (int64_t)key->kind, (int64_t)key->scale,
		key->at),
	    part, n, err);
}

int
fg_index_ids(struct fg_index *ix, const struct fg_key *key, const uint64_t *after,
    size_t max, uint64_t **id, size_t *n, struct fg_err *err)
{
	return collect(ix,
	    fg_sql(ix, err,
		"SELECT DISTINCT id FROM artefacts WHERE layer = ? AND kind = ?"
		" AND scale = ? AND (? OR id > ?) ORDER BY id LIMIT ?",
		"iiiiii", (int64_t)key->layer, (int64_t)key->kind, (int64_t)key->scale,
		(int64_t)(after == NULL), after ? *after : 0, (int64_t)max),
	    id, n, err);
}

int
fg_index_part_of(struct fg_index *ix, const struct fg_key *key, int64_t gen,
    uint64_t *part, bool *there, struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT max(part) FROM artefacts WHERE layer = ? AND kind = ?"
	    " AND scale = ? AND id = ? AND gen = ?",
	    "iiiii", (int64_t)key->layer, (int64_t)key->kind, (int64_t)key->scale,
	    key->at, gen);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc <= 0)
		return -1;
	*there = sqlite3_column_type(st, 0) != SQLITE_NULL;
	if (*there)
		*part = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return 0;
}

int
fg_index_rows(struct fg_index *ix, const struct fg_key *key, uint64_t *n,
    struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT count(*) FROM artefacts WHERE layer = ? AND kind = ? AND scale = ?",
	    "iii", (int64_t)key->layer, (int64_t)key->kind, (int64_t)key->scale);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc <= 0)
		return -1;
	*n = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return 0;
}

int
fg_index_blocks_done(struct fg_index *ix, uint32_t layer, uint64_t *n,
    struct fg_err *err)
{
	sqlite3_stmt *st =
	    fg_sql(ix, err, "SELECT count(*) FROM blocks WHERE layer = ? AND state = 1",
		"i", (int64_t)layer);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc <= 0)
		return -1;
	*n = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return 0;
}

/* ------------------------------------------------------------- provenance */

#define RUN_COLUMNS                                                                    \
	"run, runs.layer, layers.name, runs.kind, scale, at, worker, device, version," \
	" started, ended, stats, error, params.json"
#define RUN_TABLES                                                                     \
	" FROM runs LEFT JOIN layers ON layers.layer = runs.layer"                     \
	" LEFT JOIN params ON params.params = runs.params "

static const char *
kind_name(int kind)
{
	static const char *const name[] = {
	    [FG_KIND_CHUNK] = "chunk",
	    [FG_KIND_BLOCK] = "block",
	    [FG_KIND_FACE] = "face",
	    [FG_KIND_PROB] = "prob",
	    [FG_KIND_MESH] = "mesh",
	    [FG_KIND_SKELETON] = "skeleton",
	    [FG_KIND_STITCH] = "stitch",
	    [FG_KIND_RESEGMENT] = "resegment",
	};

	return kind > 0 && kind < (int)FG_COUNTOF(name) ? name[kind] : "unknown";
}

static void
set_text(json_t *j, const char *key, sqlite3_stmt *st, int col)
{
	const char *text = (const char *)sqlite3_column_text(st, col);

	if (text)
		json_object_set_new(j, key, json_string(text));
}

/* A column that holds JSON, as JSON where it parses, else as text. */
static void
set_json(json_t *j, const char *key, sqlite3_stmt *st, int col)
{
	const char *text = (const char *)sqlite3_column_text(st, col);
	json_t *v;

	if (!text)
		return;
	v = fg_json_parse(text, strlen(text), key, NULL);
	json_object_set_new(j, key, v ? v : json_string(text));
}

static json_t *
read_run(sqlite3_stmt *st, bool params)
{
	json_t *j = json_object();

	json_object_set_new(j, "run", json_integer(sqlite3_column_int64(st, 0)));
	set_text(j, "layer", st, 2);
	json_object_set_new(j, "kind",
	    json_string(kind_name(sqlite3_column_int(st, 3))));
	json_object_set_new(j, "scale", json_integer(sqlite3_column_int64(st, 4)));
	json_object_set_new(j, "at", json_integer(sqlite3_column_int64(st, 5)));
	set_text(j, "worker", st, 6);
	set_text(j, "device", st, 7);
	set_text(j, "version", st, 8);
	json_object_set_new(j, "started", json_integer(sqlite3_column_int64(st, 9)));
	json_object_set_new(j, "ended", json_integer(sqlite3_column_int64(st, 10)));
	set_json(j, "stats", st, 11);
	set_text(j, "error", st, 12);
	if (params)
		set_json(j, "params", st, 13);
	return j;
}

int
fg_index_run(struct fg_index *ix, int64_t run, char **json, struct fg_err *err)
{
	sqlite3_stmt *st =
	    fg_sql(ix, err, "SELECT " RUN_COLUMNS RUN_TABLES "WHERE run = ?", "i", run);
	int rc = st ? fg_sql_step(ix, st, err) : -1;
	json_t *j;

	if (rc < 0)
		return -1;
	if (rc == 0)
		return fg_fail(err, FG_ENOENT, "there is no run %lld", (long long)run);
	j = read_run(st, true);
	sqlite3_reset(st);
	*json = fg_json_format(j);
	json_decref(j);
	return 0;
}

int
fg_index_recent(struct fg_index *ix, int max, char **json, struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT " RUN_COLUMNS RUN_TABLES "ORDER BY run DESC LIMIT ?", "i",
	    (int64_t)max);
	json_t *list = json_array();
	int rc;

	if (!st) {
		json_decref(list);
		return -1;
	}
	while ((rc = fg_sql_step(ix, st, err)) > 0)
		json_array_append_new(list, read_run(st, false));
	if (rc == 0)
		*json = fg_json_format(list);
	json_decref(list);
	return rc;
}

/* ------------------------------------------------------------- counts */

int
fg_index_count(struct fg_index *ix, uint32_t layer, struct fg_store_counts *out,
    struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT"
	    " (SELECT count(*) FROM chunks WHERE state & 15 IN (1, 3)"
	    "   AND (?1 = 0 OR layer = ?1)),"
	    " (SELECT count(*) FROM chunks WHERE state & 15 = 2"
	    "   AND (?1 = 0 OR layer = ?1)),"
	    " (SELECT count(*) FROM blocks WHERE state = 1"
	    "   AND (?1 = 0 OR layer = ?1)),"
	    " (SELECT count(*) FROM blocks WHERE state = 2"
	    "   AND (?1 = 0 OR layer = ?1)),"
	    " (SELECT count(*) FROM objects WHERE ?1 = 0 OR layer = ?1),"
	    " (SELECT coalesce(sum(len), 0) FROM chunks"
	    "   WHERE ?1 = 0 OR layer = ?1),"
	    " (SELECT coalesce(sum(len), 0) FROM artefacts"
	    "   WHERE ?1 = 0 OR layer = ?1)",
	    "i", (int64_t)layer);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc <= 0)
		return rc;
	*out = (struct fg_store_counts){
	    .chunks = (uint64_t)sqlite3_column_int64(st, 0),
	    .empty = (uint64_t)sqlite3_column_int64(st, 1),
	    .blocks_done = (uint64_t)sqlite3_column_int64(st, 2),
	    .blocks_failed = (uint64_t)sqlite3_column_int64(st, 3),
	    .objects = (uint64_t)sqlite3_column_int64(st, 4),
	    .bytes = (uint64_t)sqlite3_column_int64(st, 5) +
		     (uint64_t)sqlite3_column_int64(st, 6),
	};
	sqlite3_reset(st);
	return 0;
}

int64_t
fg_index_last_run(struct fg_index *ix, struct fg_err *err)
{
	sqlite3_stmt *st =
	    fg_sql(ix, err, "SELECT coalesce(max(run), 0) FROM runs", "");
	int rc = st ? fg_sql_step(ix, st, err) : -1;
	int64_t run;

	if (rc <= 0)
		return -1;
	run = sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return run;
}

/* ------------------------------------------------------------- walking */

#define PAGE 256

/* One page of rows after (and without) *last, key order; 0 at the end. */
static int
chunk_page(struct fg_index *ix, const struct fg_index_entry *last,
    struct fg_index_entry *page, struct fg_err *err)
{
	int n = 0, rc;
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT layer, scale, at, state, enc, slab, off, len, crc, run, 0 FROM "
	    "chunks"
	    " WHERE (layer, scale, at) > (?, ?, ?) ORDER BY layer, scale, at LIMIT ?",
	    "iiii", (int64_t)last->key.layer, (int64_t)last->key.scale, last->key.at,
	    (int64_t)PAGE);

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		struct fg_index_entry *e = &page[n++];

		*e = (struct fg_index_entry){
		    .key.layer = (uint32_t)sqlite3_column_int64(st, 0),
		    .key.kind = FG_KIND_CHUNK,
		    .key.scale = (uint8_t)sqlite3_column_int(st, 1),
		    .key.at = (uint64_t)sqlite3_column_int64(st, 2),
		};
		read_place(st, 3, &e->place);
	}
	return rc < 0 ? -1 : n;
}

static int
artefact_page(struct fg_index *ix, const struct fg_index_entry *last,
    struct fg_index_entry *page, struct fg_err *err)
{
	int n = 0, rc;
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT layer, kind, scale, id, part, state, enc, slab, off, len, crc, run,"
	    " gen FROM artefacts"
	    " WHERE (layer, kind, scale, id, part, gen) > (?, ?, ?, ?, ?, ?)"
	    " ORDER BY layer, kind, scale, id, part, gen LIMIT ?",
	    "iiiiiii", (int64_t)last->key.layer, (int64_t)last->key.kind,
	    (int64_t)last->key.scale, last->key.at, last->part, last->place.gen,
	    (int64_t)PAGE);

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		struct fg_index_entry *e = &page[n++];

		*e = (struct fg_index_entry){
		    .key.layer = (uint32_t)sqlite3_column_int64(st, 0),
		    .key.kind = (uint8_t)sqlite3_column_int(st, 1),
		    .key.scale = (uint8_t)sqlite3_column_int(st, 2),
		    .key.at = (uint64_t)sqlite3_column_int64(st, 3),
		    .part = (uint64_t)sqlite3_column_int64(st, 4),
		};
		read_place(st, 5, &e->place);
	}
	return rc < 0 ? -1 : n;
}

int
fg_index_walk(struct fg_index *ix, int (*fn)(void *ctx, const struct fg_index_entry *e),
    void *ctx, struct fg_err *err)
{
	struct fg_index_entry *page = fg_calloc(PAGE, sizeof *page);
	int rc = 0;

	for (int table = 0; table < 2 && rc == 0; table++) {
		/* `at` may be "negative" in the index: start below all of them. */
		struct fg_index_entry last = {.key.at = UINT64_C(1) << 63};
		int n;

		do {
			n = table == 0 ? chunk_page(ix, &last, page, err)
				       : artefact_page(ix, &last, page, err);
			if (n < 0)
				rc = -1;
			for (int i = 0; i < n && rc == 0; i++)
				rc = fn(ctx, &page[i]);
			if (n > 0)
				last = page[n - 1];
		} while (n == PAGE && rc == 0);
	}
	free(page);
	return rc;
}
