/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: rows of results. All of a result is written inside the caller's
 * transaction. What a new row replaces is counted dead in its slab.
 */
#include "config.h"

#include <stdlib.h>

#include "store/index_object.h"
#include "store/index_sql.h"
#include "store/slab.h"

static int
put_run(struct fg_index *ix, const struct fg_result *res, int64_t params,
    const char *error, int64_t *run, struct fg_err *err)
{
	if (fg_sql_run(ix, err,
		"INSERT INTO runs (layer, kind, scale, at, params, worker, device,"
		" version, started, ended, stats, error)"
		" VALUES (?, ?, ?, ?, nullif(?, 0), ?, ?, ?, ?, ?, ?, ?)",
		"iiiiitttiitt", (int64_t)res->task.layer, (int64_t)res->task.kind,
		(int64_t)res->task.scale, res->task.at, params, res->worker,
		res->device, res->version, res->started_ms, res->ended_ms, res->stats,
		error) < 0)
		return -1;
	*run = sqlite3_last_insert_rowid(ix->db);
	return 0;
}

int
fg_index_count_dead(struct fg_index *ix, uint32_t slab, uint64_t len,
    struct fg_err *err)
{
	return fg_sql_run(ix, err, "UPDATE slabs SET dead = dead + ? WHERE slab = ?",
	    "ii", fg_slab_record_size(len), (int64_t)slab);
}

static int
put_chunk(struct fg_index *ix, const struct fg_payload *p, const struct fg_place *at,
    struct fg_err *err)
{
	return fg_sql_run(ix, err,
	    "INSERT OR REPLACE INTO chunks (layer, scale, at, state, enc, slab, off,"
	    " len, crc, run) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	    "iiiiiiiiii", (int64_t)p->key.layer, (int64_t)p->key.scale, p->key.at,
	    (int64_t)at->state, (int64_t)at->enc, (int64_t)at->slab, at->off, at->len,
	    (int64_t)at->crc, at->run);
}

static int
put_artefact(struct fg_index *ix, const struct fg_payload *p, const struct fg_place *at,
    struct fg_err *err)
{
	return fg_sql_run(ix, err,
	    "INSERT OR REPLACE INTO artefacts (layer, kind, scale, id, part, gen, "
	    "state,"
	    " enc, slab, off, len, crc, run)"
	    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	    "iiiiiiiiiiiii", (int64_t)p->key.layer, (int64_t)p->key.kind,
	    (int64_t)p->key.scale, p->key.at, p->part, p->gen, (int64_t)at->state,
	    (int64_t)at->enc, (int64_t)at->slab, at->off, at->len, (int64_t)at->crc,
	    at->run);
}

static int
put_payload(struct fg_index *ix, const struct fg_payload *p, const struct fg_place *at,
    struct fg_err *err)
{
	struct fg_place old;

	if (fg_index_find_gen(ix, &p->key, p->part, p->gen, &old, err) < 0)
		return -1;
	if (old.slab > 0 && fg_index_count_dead(ix, old.slab, old.len, err) < 0)
		return -1;
	return p->key.kind == FG_KIND_CHUNK ? put_chunk(ix, p, at, err)
					    : put_artefact(ix, p, at, err);
}

/* A box corner as 3 x i64, little-endian. */
static void
corner(const int64_t v[3], uint8_t out[24])
{
	for (int d = 0; d < 3; d++)
		fg_put_u64le(out + 8 * d, (uint64_t)v[d]);
}

static int
put_object(struct fg_index *ix, uint32_t layer, uint64_t block,
    const struct fg_object_row *o, struct fg_err *err)
{
	uint8_t lo[24], hi[24], seed[24];

	corner(o->lo, lo);
	corner(o->hi, hi);
	corner(o->seed, seed);
	if (fg_sql_run(ix, err,
		"INSERT OR REPLACE INTO objects (layer, id, parent, size, public,"
		" voxels, lo, hi, gen, all_voxels, all_lo, all_hi, seed)"
		" VALUES (?1, ?2, ?2, 1, ?2, ?3, ?4, ?5, 1, ?3, ?4, ?5, ?6)",
		"iiibbb", (int64_t)layer, o->id, o->voxels, lo, 24, hi, 24,
		o->seeded ? seed : NULL, 24) < 0)
		return -1;
	return fg_sql_run(ix, err,
	    "INSERT OR REPLACE INTO object_blocks (layer, id, at, voxels)"
	    " VALUES (?, ?, ?, ?)",
	    "iiii", (int64_t)layer, o->id, block, o->voxels);
}

static int
put_block(struct fg_index *ix, const struct fg_result *res, int64_t run,
    struct fg_err *err)
{
	if (fg_index_drop_objects(ix, res->task.layer, res->task.at, err) < 0)
		return -1;
	for (size_t i = 0; i < res->objects; i++) {
		if (put_object(ix, res->task.layer, res->task.at, &res->object[i],
			err) < 0)
			return -1;
	}
	if (fg_index_adopt_objects(ix, res->task.layer, res->object, res->objects,
		err) < 0)
		return -1;
	return fg_sql_run(ix, err,
	    "INSERT OR REPLACE INTO blocks (layer, at, state, run, tries)"
	    " VALUES (?, ?, 1, ?, 0)",
	    "iii", (int64_t)res->task.layer, res->task.at, run);
}

int
fg_index_put_result(struct fg_index *ix, const struct fg_result *res, int64_t params,
    struct fg_err *err)
{
	int64_t run;

	if (put_run(ix, res, params, NULL, &run, err) < 0)
		return -1;
	for (size_t i = 0; i < res->payloads; i++) {
		res->places[i].run = run;
		if (put_payload(ix, &res->payload[i], &res->places[i], err) < 0)
			return -1;
	}
	if (res->task.kind == FG_KIND_BLOCK)
		return put_block(ix, res, run, err);
	if (res->task.kind == FG_KIND_RESEGMENT)
		return fg_index_put_contacts(ix, &res->task, res->contact,
		    res->contacts, err);
	return fg_index_put_merges(ix, res->task.layer, res->merge, res->merges, err);
}

int
fg_index_put_failure(struct fg_index *ix, const struct fg_result *res, int64_t params,
    struct fg_err *err)
{
	int64_t run;

	if (put_run(ix, res, params, res->error, &run, err) < 0)
		return -1;
	if (res->task.kind != FG_KIND_BLOCK)
		return 0;
	return fg_sql_run(ix, err,
	    "INSERT INTO blocks (layer, at, state, run, tries, next_try, error)"
	    " VALUES (?, ?, 2, ?, ?, ?, ?) ON CONFLICT (layer, at) DO UPDATE SET"
	    " run = excluded.run, tries = excluded.tries, next_try = excluded.next_try,"
	    " error = excluded.error WHERE state <> 1",
	    "iiiiit", (int64_t)res->task.layer, res->task.at, run, (int64_t)res->tries,
	    res->next_try_ms, res->error);
}

int
fg_index_mark_dirty(struct fg_index *ix, uint32_t layer, int scale, uint64_t at,
    struct fg_err *err)
{
	return fg_sql_run(ix, err,
	    "UPDATE chunks SET state = state | 16"
	    " WHERE layer = ? AND scale = ? AND at = ?",
	    "iii", (int64_t)layer, (int64_t)scale, at);
}

int
fg_index_mark_scale_dirty(struct fg_index *ix, uint32_t layer, int scale,
    struct fg_err *err)
{
	return fg_sql_run(ix, err,
	    "UPDATE chunks SET state = state | 16 WHERE layer = ? AND scale = ?", "ii",
	    (int64_t)layer, (int64_t)scale);
}

int
fg_index_retry(struct fg_index *ix, uint32_t layer, uint64_t at, struct fg_err *err)
{
	if (at == UINT64_MAX)
		return fg_sql_run(ix, err,
		    "DELETE FROM blocks WHERE layer = ? AND state = 2", "i",
		    (int64_t)layer);
	return fg_sql_run(ix, err,
	    "DELETE FROM blocks WHERE layer = ? AND at = ? AND state = 2", "ii",
	    (int64_t)layer, at);
}

/* ------------------------------------------------------------- care */

int
fg_index_lose(struct fg_index *ix, int64_t run, struct fg_err *err)
{
	if (fg_sql_exec(ix,
		"CREATE TEMP TABLE IF NOT EXISTS lost (run INTEGER PRIMARY KEY)",
		err) < 0)
		return -1;
	return fg_sql_run(ix, err, "INSERT OR IGNORE INTO temp.lost VALUES (?)", "i",
	    run);
}

/* A block that a lost run made. */
struct lost {
	uint32_t layer;
	uint64_t at;
};

static int
list_lost(struct fg_index *ix, struct lost **out, size_t *n, struct fg_err *err)
{
	sqlite3_stmt *st =
	    fg_sql(ix, err, "SELECT layer, at FROM blocks WHERE run IN temp.lost", "");
	struct lost *list = NULL;
	size_t len = 0;
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		list = fg_realloc(list, len + 1, sizeof *list);
		list[len++] = (struct lost){(uint32_t)sqlite3_column_int64(st, 0),
		    (uint64_t)sqlite3_column_int64(st, 1)};
	}
	*out = list;
	*n = len;
	return rc;
}

/* Lost ones among the coarser scales are simply absent; those that stay are made again
 * from what is there. */
int
fg_index_forget_lost(struct fg_index *ix, uint64_t *rows, struct fg_err *err)
{
	/* Their bytes are nobody's; len + 128 as in fg_index_layer_remove. */
	static const char dead[] =
	    "UPDATE slabs SET dead = dead + u.n FROM (SELECT slab AS s,"
	    " sum(128 + (len + 7) / 8 * 8) AS n FROM (SELECT slab, len FROM chunks"
	    " WHERE run IN temp.lost AND slab > 0 UNION ALL SELECT slab, len FROM"
	    " artefacts WHERE run IN temp.lost AND slab > 0) GROUP BY slab) AS u"
	    " WHERE slab = u.s";
	static const char *const step[] = {
	    "DELETE FROM chunks WHERE run IN temp.lost",
	    "DELETE FROM artefacts WHERE run IN temp.lost",
	    "DELETE FROM blocks WHERE run IN temp.lost",
	    "DELETE FROM temp.lost",
	};
	struct lost *lost = NULL;
	size_t n = 0;
	int rc;

	*rows = 0;
	rc = list_lost(ix, &lost, &n, err);
	if (rc == 0)
		rc = fg_sql_exec(ix, dead, err);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = fg_index_drop_objects(ix, lost[i].layer, lost[i].at, err);
	free(lost);
	for (size_t i = 0; i < FG_COUNTOF(step) && rc == 0; i++) {
		rc = fg_sql_exec(ix, step[i], err);
		if (rc == 0 && i < 2)
			*rows += (uint64_t)sqlite3_changes(ix->db);
	}
	return rc;
}
