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

int
fg_index_slab_knows(struct fg_index *ix, uint32_t slab, uint64_t off, bool *knows,
    struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT 1 FROM slabs WHERE slab = ? AND len > ?", "ii", (int64_t)slab, off);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc < 0)
		return -1;
	if (rc > 0)
		sqlite3_reset(st);
	*knows = rc > 0;
	return 0;
}

/* ------------------------------------------------------------- generations */

/* A component of now with the same members as one of then has its generation; with
 * other members, a higher one than all of those that had any of them. Layers are the
 * same by their uuid. */
static const char from_old[] =
    "UPDATE objects SET gen = CASE WHEN u.parts = 1 AND"
    " u.members = objects.size AND u.size = objects.size THEN u.gen"
    " ELSE max(objects.gen, u.gen + 1) END FROM"
    " (SELECT n.layer AS l, n.parent AS p, count(*) AS members,"
    "   count(DISTINCT o.parent) AS parts, max(r.gen) AS gen, max(r.size) AS size"
    "  FROM objects n JOIN main.layers nl ON nl.layer = n.layer"
    "  JOIN old.layers ol ON ol.uuid = nl.uuid"
    "  JOIN old.objects o ON o.layer = ol.layer AND o.id = n.id"
    "  JOIN old.objects r ON r.layer = o.layer AND r.id = o.parent"
    "  GROUP BY n.layer, n.parent) AS u"
    " WHERE objects.layer = u.l AND objects.id = u.p";

/* Kinds 5 and 6 are meshes and skeletons (store/key.h). */
static const char from_artefacts[] =
    "UPDATE objects SET gen = u.gen + 1 FROM"
    " (SELECT n.layer AS l, n.parent AS p, max(a.gen) AS gen FROM artefacts a"
    "  JOIN objects n ON n.layer = a.layer AND n.id = a.id"
    "  WHERE a.kind IN (5, 6) GROUP BY n.layer, n.parent) AS u"
    " WHERE objects.layer = u.l AND objects.id = u.p AND objects.gen < u.gen";

/* Meshes of generation 0 are notes about the epoch `part`, and one is called by
 * merge_gen + 1 (work/artefact.h). */
static const char epochs[] =
    "UPDATE layers SET merge_gen = u.part FROM"
    " (SELECT layer AS l, max(part) AS part FROM artefacts"
    "  WHERE kind = 5 AND gen = 0 GROUP BY layer) AS u"
    " WHERE layers.layer = u.l AND layers.merge_gen + 1 < u.part";

static int
attach(struct fg_index *ix, const char *old, struct fg_err *err)
{
	return fg_sql_run(ix, err, "ATTACH ? AS old", "t", old);
}

int
fg_index_settle_gens(struct fg_index *ix, const char *old, struct fg_err *err)
{
	struct fg_err ignored = FG_ERR_INIT;

	if (old && attach(ix, old, &ignored) == 0) {
		/* Of a damaged one the artefacts tell what matters. */
		(void)!fg_sql_exec(ix, from_old, &ignored);
		(void)!fg_sql_exec(ix, "DETACH old", &ignored);
	}
	if (fg_sql_exec(ix, from_artefacts, err) < 0)
		return -1;
	return fg_sql_exec(ix, epochs, err);
}
