/* SPDX-License-Identifier: Apache-2.0 */
/* The index: places, for compaction. */
#include "config.h"

#include "store/index.h"
#include "store/index_sql.h"

int
fg_index_names(struct fg_index *ix, const struct fg_key *key, uint32_t slab,
    uint64_t off, bool *named, struct fg_err *err)
{
	sqlite3_stmt *st;
	int rc;

	if (key->kind == FG_KIND_CHUNK)
		st = fg_sql(ix, err,
		    "SELECT 1 FROM chunks WHERE layer = ? AND scale = ? AND at = ?"
		    " AND slab = ? AND off = ?",
		    "iiiii", (int64_t)key->layer, (int64_t)key->scale, key->at,
		    (int64_t)slab, off);
	else
		st = fg_sql(ix, err,
		    "SELECT 1 FROM artefacts WHERE layer = ? AND kind = ? AND scale = ?"
		    " AND id = ? AND slab = ? AND off = ?",
		    "iiiiii", (int64_t)key->layer, (int64_t)key->kind,
		    (int64_t)key->scale, key->at, (int64_t)slab, off);
	rc = st ? fg_sql_step(ix, st, err) : -1;
	if (rc < 0)
		return -1;
	if (rc > 0)
		sqlite3_reset(st);
	*named = rc > 0;
	return 0;
}

int
fg_index_move(struct fg_index *ix, const struct fg_key *key, uint32_t slab,
    uint64_t off, uint32_t to_slab, uint64_t to_off, struct fg_err *err)
{
	if (key->kind == FG_KIND_CHUNK)
		return fg_sql_run(ix, err,
		    "UPDATE chunks SET slab = ?, off = ? WHERE layer = ? AND scale = ?"
		    " AND at = ? AND slab = ? AND off = ?",
		    "iiiiiii", (int64_t)to_slab, to_off, (int64_t)key->layer,
		    (int64_t)key->scale, key->at, (int64_t)slab, off);
	return fg_sql_run(ix, err,
	    "UPDATE artefacts SET slab = ?, off = ? WHERE layer = ? AND kind = ?"
	    " AND scale = ? AND id = ? AND slab = ? AND off = ?",
	    "iiiiiiii", (int64_t)to_slab, to_off, (int64_t)key->layer,
	    (int64_t)key->kind, (int64_t)key->scale, key->at, (int64_t)slab, off);
}

int
fg_index_slab_rows(struct fg_index *ix, uint32_t slab, uint64_t *rows,
    struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT (SELECT count(*) FROM chunks WHERE slab = ?1)"
	    " + (SELECT count(*) FROM artefacts WHERE slab = ?1)",
	    "i", (int64_t)slab);

	if (!st || fg_sql_step(ix, st, err) <= 0)
		return -1;
	*rows = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return 0;
}
