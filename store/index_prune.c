/* SPDX-License-Identifier: Apache-2.0 */
/* The index: generations of artefacts, for store/prune.h. */
#include "config.h"

#include <stdlib.h>

#include "store/index.h"
#include "store/index_sql.h"
#include "store/slab.h"

int
fg_index_rows_of(struct fg_index *ix, const struct fg_key *key,
    const struct fg_row *after, size_t max, struct fg_row **out, size_t *n,
    struct fg_err *err)
{
	/* Below all of them: there is no generation under 0. */
	int64_t part = after ? (int64_t)after->part : INT64_MIN;
	int64_t gen = after ? after->gen : -1;
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT part, gen, run FROM artefacts WHERE layer = ? AND kind = ?"
	    " AND scale = ? AND id = ? AND (part, gen) > (?, ?)"
	    " ORDER BY part, gen LIMIT ?",
	    "iiiiiii", (int64_t)key->layer, (int64_t)key->kind, (int64_t)key->scale,
	    key->at, part, gen, (int64_t)max);
	struct fg_row *list = NULL;
	size_t len = 0, room = 0;
	int rc = -1;

	while (st && (rc = fg_sql_step(ix, st, err)) > 0) {
		if (len == room) {
			room = FG_MAX(2 * room, 16u);
			list = fg_realloc(list, room, sizeof *list);
		}
		list[len++] = (struct fg_row){
		    .part = (uint64_t)sqlite3_column_int64(st, 0),
		    .gen = sqlite3_column_int64(st, 1),
		    .run = sqlite3_column_int64(st, 2),
		};
	}
	if (rc < 0) {
		free(list);
		return -1;
	}
	*out = list;
	*n = len;
	return 0;
}

int
fg_index_next_id(struct fg_index *ix, const struct fg_key *key, uint64_t after,
    uint64_t *id, bool *there, struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT id FROM artefacts WHERE layer = ? AND kind = ? AND scale = ?"
	    " AND id > ? ORDER BY id LIMIT 1",
	    "iiii", (int64_t)key->layer, (int64_t)key->kind, (int64_t)key->scale,
	    after);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc < 0)
		return -1;
	*there = rc > 0;
	if (rc > 0) {
		*id = (uint64_t)sqlite3_column_int64(st, 0);
		sqlite3_reset(st);
	}
	return 0;
}

int
fg_index_run_by(struct fg_index *ix, int64_t ended_ms, int64_t *run, struct fg_err *err)
{
	/* Not by halves: they are not in the order of their ends where a clock stepped
	 * back, or a run has no end. */
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT coalesce("
	    "(SELECT run - 1 FROM runs WHERE ended > ? ORDER BY run LIMIT 1),"
	    " (SELECT run FROM runs WHERE ended > 0 ORDER BY run DESC LIMIT 1), 0)",
	    "i", ended_ms);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc < 0)
		return -1;
	*run = 0;
	if (rc > 0) {
		*run = sqlite3_column_int64(st, 0);
		sqlite3_reset(st);
	}
	return 0;
}

int
fg_index_drop(struct fg_index *ix, const struct fg_row_name *row, uint64_t *dropped,
    uint64_t *bytes, struct fg_err *err)
{
	struct fg_place p;

	if (fg_index_find_gen(ix, &row->key, row->part, row->gen, &p, err) < 0)
		return -1;
	if (p.state == FG_ABSENT)
		return 0;
	if (p.slab > 0 && fg_index_count_dead(ix, p.slab, p.len, err) < 0)
		return -1;
	++*dropped;
	*bytes += p.len;
	return fg_sql_run(ix, err,
	    "DELETE FROM artefacts WHERE layer = ? AND kind = ? AND scale = ?"
	    " AND id = ? AND part = ? AND gen = ?",
	    "iiiiii", (int64_t)row->key.layer, (int64_t)row->key.kind,
	    (int64_t)row->key.scale, row->key.at, row->part, row->gen);
}
