/* SPDX-License-Identifier: Apache-2.0 */
/* The index: reading objects, merges and edits. Nothing here leaves a statement open.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "store/index_object.h"
#include "store/index_sql.h"

static int
fail_absent(uint64_t id, struct fg_err *err)
{
	return fg_fail(err, FG_ENOENT, "there is no object %llu",
	    (unsigned long long)id);
}

int
fg_index_root(struct fg_index *ix, uint32_t layer, uint64_t id, uint64_t *root,
    struct fg_err *err)
{
	sqlite3_stmt *st =
	    fg_sql(ix, err, "SELECT parent FROM objects WHERE layer = ? AND id = ?",
		"ii", (int64_t)layer, id);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc < 0)
		return -1;
	if (rc == 0)
		return fail_absent(id, err);
	*root = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return 0;
}

/* Blocks of a component. */
static int
count_blocks(struct fg_index *ix, uint32_t layer, uint64_t root, uint64_t *blocks,
    struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT count(DISTINCT k.at) FROM objects o JOIN object_blocks k"
	    " ON k.layer = o.layer AND k.id = o.id WHERE o.layer = ? AND o.parent = ?",
	    "ii", (int64_t)layer, root);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc <= 0)
		return -1;
	*blocks = (uint64_t)sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return 0;
}

/* Where a component began: the seed of its largest member, as far as one is known. */
static int
find_seed(struct fg_index *ix, uint32_t layer, uint64_t root, struct fg_object *o,
    struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT seed FROM objects WHERE layer = ? AND parent = ?"
	    " AND seed IS NOT NULL ORDER BY voxels DESC, id LIMIT 1",
	    "ii", (int64_t)layer, root);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc < 0)
		return -1;
	o->seeded = rc > 0;
	if (rc > 0) {
		fg_index_get_corner(st, 0, o->seed);
		sqlite3_reset(st);
	}
	return 0;
}

/* Columns id, public, all_voxels, all_lo, all_hi, size, gen of a representative, and
 * its own seed. */
static void
read_root(sqlite3_stmt *st, struct fg_object *o)
{
	*o = (struct fg_object){
	    .public_id = (uint64_t)sqlite3_column_int64(st, 1),
	    .voxels = (uint64_t)sqlite3_column_int64(st, 2),
	    .members = (uint64_t)sqlite3_column_int64(st, 5),
	    .gen = sqlite3_column_int64(st, 6),
	};
	o->id = o->public_id;
	fg_index_get_corner(st, 3, o->lo);
	fg_index_get_corner(st, 4, o->hi);
	o->seeded = sqlite3_column_type(st, 7) != SQLITE_NULL;
	if (o->seeded)
		fg_index_get_corner(st, 7, o->seed);
}

int
fg_index_object(struct fg_index *ix, uint32_t layer, uint64_t id, struct fg_object *out,
    struct fg_err *err)
{
	struct fg_object o;
	sqlite3_stmt *st;
	uint64_t root;
	int rc;

	if (fg_index_root(ix, layer, id, &root, err) < 0)
		return -1;
	st = fg_sql(ix, err,
	    "SELECT id, public, all_voxels, all_lo, all_hi, size, gen, seed"
	    " FROM objects WHERE layer = ? AND id = ?",
	    "ii", (int64_t)layer, root);
	rc = st ? fg_sql_step(ix, st, err) : -1;
	if (rc < 0)
		return -1;
	if (rc == 0)
		return fail_absent(id, err);
	read_root(st, &o);
	sqlite3_reset(st);
	if (count_blocks(ix, layer, root, &o.blocks, err) < 0 ||
	    (o.members > 1 && find_seed(ix, layer, root, &o, err) < 0))
		return -1;
	o.id = id;
	*out = o;
	return 0;
}

int
fg_index_public(struct fg_index *ix, uint32_t layer, const uint64_t *id, size_t n,
    uint64_t *public_id, struct fg_err *err)
{
	for (size_t i = 0; i < n; i++) {
		uint64_t v = id[i];
		sqlite3_stmt *st;
		int rc;

		public_id[i] = v;
		if (v == 0)
			continue;
		st = fg_sql(ix, err,
		    "SELECT public FROM objects WHERE layer = ?1 AND id ="
		    " (SELECT parent FROM objects WHERE layer = ?1 AND id = ?2)",
		    "ii", (int64_t)layer, v);
		rc = st ? fg_sql_step(ix, st, err) : -1;
		if (rc < 0)
			return -1;
		if (rc == 0)
			continue;
		public_id[i] = (uint64_t)sqlite3_column_int64(st, 0);
		sqlite3_reset(st);
	}
	return 0;
}

/* ------------------------------------------------------------- lists */

/* Room for one more element of `size` bytes in a list that grows by doubling. */
static void *
room(void *list, size_t n, size_t size)
{
	return (n & (n + 1)) == 0 ? fg_realloc(list, 2 * n + 2, size) : list;
}

int
fg_index_object_blocks(struct fg_index *ix, uint32_t layer, uint64_t id, bool whole,
    struct fg_object_block **out, size_t *n, struct fg_err *err)
{
	struct fg_object_block *list = NULL;
	sqlite3_stmt *st;
	uint64_t root;
	size_t len = 0;
	int rc;

	if (fg_index_root(ix, layer, id, &root, err) < 0)
		return -1;
	if (whole)
		st = fg_sql(ix, err,
		    "SELECT k.at, k.id, k.voxels FROM objects o JOIN object_blocks k"
		    " ON k.layer = o.layer AND k.id = o.id"
		    " WHERE o.layer = ? AND o.parent = ? ORDER BY k.at, k.id",
		    "ii", (int64_t)layer, root);
	else
		st = fg_sql(ix, err,
		    "SELECT at, id, voxels FROM object_blocks"
		    " WHERE layer = ? AND id = ? ORDER BY at",
		    "ii", (int64_t)layer, id);
	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		list = room(list, len, sizeof *list);
		list[len++] = (struct fg_object_block){
		    .at = (uint64_t)sqlite3_column_int64(st, 0),
		    .id = (uint64_t)sqlite3_column_int64(st, 1),
		    .voxels = (uint64_t)sqlite3_column_int64(st, 2),
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

/* All numbers of the first column. */
static int
collect(struct fg_index *ix, sqlite3_stmt *st, uint64_t **out, size_t *n,
    struct fg_err *err)
{
	struct fg_ids l = {0};
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0)
		fg_ids_push(&l, (uint64_t)sqlite3_column_int64(st, 0));
	if (rc < 0) {
		fg_ids_fini(&l);
		return -1;
	}
	*out = l.id;
	*n = l.n;
	return 0;
}

int
fg_index_members(struct fg_index *ix, uint32_t layer, uint64_t id, uint64_t **out,
    size_t *n, struct fg_err *err)
{
	uint64_t root;

	if (fg_index_root(ix, layer, id, &root, err) < 0)
		return -1;
	return collect(ix,
	    fg_sql(ix, err,
		"SELECT id FROM objects WHERE layer = ? AND parent = ? ORDER BY id",
		"ii", (int64_t)layer, root),
	    out, n, err);
}

int
fg_index_block_objects(struct fg_index *ix, uint32_t layer, uint64_t at, uint64_t **out,
    size_t *n, struct fg_err *err)
{
	return collect(ix,
	    fg_sql(ix, err,
		"SELECT id FROM object_blocks WHERE layer = ? AND at = ? ORDER BY id",
		"ii", (int64_t)layer, at),
	    out, n, err);
}

int
fg_index_unresegmented(struct fg_index *ix, uint32_t layer, uint64_t after, size_t max,
    uint64_t **out, size_t *n, struct fg_err *err)
{
	return collect(ix,
	    fg_sql(ix, err,
		"SELECT id FROM artefacts s WHERE layer = ?1 AND kind = ?3"
		" AND scale = 0 AND id > ?2"
		" AND NOT EXISTS (SELECT 1 FROM artefacts a WHERE a.layer = ?1"
		"  AND a.kind = ?4 AND a.scale = 0 AND a.id = s.id) ORDER BY id"
		" LIMIT ?5",
		"iiiii", (int64_t)layer,
		after == UINT64_MAX ? INT64_MIN : (int64_t)after,
		(int64_t)FG_KIND_STITCH, (int64_t)FG_KIND_RESEGMENT, (int64_t)max),
	    out, n, err);
}

int
fg_index_unstitched(struct fg_index *ix, uint32_t layer, uint64_t after, size_t max,
    uint64_t **out, size_t *n, struct fg_err *err)
{
	return collect(ix,
	    fg_sql(ix, err,
		"SELECT at FROM blocks b WHERE layer = ?1 AND state = 1 AND at > ?2"
		" AND NOT EXISTS (SELECT 1 FROM artefacts a WHERE a.layer = ?1"
		"  AND a.kind = ?3 AND a.scale = 0 AND a.id = b.at) ORDER BY at"
		" LIMIT ?4",
		"iiii", (int64_t)layer,
		after == UINT64_MAX ? INT64_MIN : (int64_t)after,
		(int64_t)FG_KIND_STITCH, (int64_t)max),
	    out, n, err);
}

/* ------------------------------------------------------------- pages of objects */

static sqlite3_stmt *
object_page(struct fg_index *ix, uint32_t layer, bool whole, enum fg_object_order order,
    uint64_t after, size_t max, struct fg_err *err)
{
	if (whole && order == FG_OBJECTS_BY_ID)
		return fg_sql(ix, err,
		    "SELECT id, public, all_voxels, all_lo, all_hi, size, gen, seed"
		    " FROM objects WHERE layer = ? AND parent = id AND public > ?"
		    " ORDER BY public LIMIT ?",
		    "iii", (int64_t)layer, after, (int64_t)max);
	if (whole)
		return fg_sql(ix, err,
		    "SELECT id, public, all_voxels, all_lo, all_hi, size, gen, seed"
		    " FROM objects WHERE layer = ?1 AND parent = id"
		    " ORDER BY all_voxels DESC, public LIMIT ?3 OFFSET ?2",
		    "iii", (int64_t)layer, after, (int64_t)max);
	if (order == FG_OBJECTS_BY_ID)
		return fg_sql(ix, err,
		    "SELECT id, id, voxels, lo, hi, 1, 1, seed FROM objects"
		    " WHERE layer = ? AND id > ? ORDER BY id LIMIT ?",
		    "iii", (int64_t)layer, after, (int64_t)max);
	return fg_sql(ix, err,
	    "SELECT id, id, voxels, lo, hi, 1, 1, seed FROM objects WHERE layer = ?1"
	    " ORDER BY voxels DESC, id LIMIT ?3 OFFSET ?2",
	    "iii", (int64_t)layer, after, (int64_t)max);
}

int
fg_index_objects(struct fg_index *ix, uint32_t layer, bool whole,
    enum fg_object_order order, uint64_t after, size_t max, struct fg_object **out,
    size_t *n, struct fg_err *err)
{
	sqlite3_stmt *st = object_page(ix, layer, whole, order, after, max, err);
	struct fg_object *list = NULL;
	struct fg_ids root = {0};
	size_t len = 0;
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		list = room(list, len, sizeof *list);
		read_root(st, &list[len]);
		list[len++].blocks = 1;
		fg_ids_push(&root, (uint64_t)sqlite3_column_int64(st, 0));
	}
	for (size_t i = 0; i < len && rc == 0; i++) {
		if (list[i].members < 2)
			continue;
		rc = count_blocks(ix, layer, root.id[i], &list[i].blocks, err);
		if (rc == 0)
			rc = find_seed(ix, layer, root.id[i], &list[i], err);
	}
	fg_ids_fini(&root);
	if (rc < 0) {
		free(list);
		return -1;
	}
	*out = list;
	*n = len;
	return 0;
}

int
fg_index_merge_gen(struct fg_index *ix, uint32_t layer, int64_t *gen,
    struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT merge_gen FROM layers WHERE layer = ?", "i", (int64_t)layer);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc < 0)
		return -1;
	if (rc == 0)
		return fg_fail(err, FG_ENOENT, "there is no layer %u", (unsigned)layer);
	*gen = sqlite3_column_int64(st, 0);
	sqlite3_reset(st);
	return 0;
}

/* ------------------------------------------------------------- evidence, decisions */

static sqlite3_stmt *
merge_page(struct fg_index *ix, uint32_t layer, uint64_t id, uint64_t skip, size_t max,
    struct fg_err *err)
{
	uint64_t root;

	if (id == 0)
		return fg_sql(ix, err,
		    "SELECT a, b, both, only_a, only_b, state FROM merges"
		    " WHERE layer = ? ORDER BY a, b LIMIT ? OFFSET ?",
		    "iii", (int64_t)layer, (int64_t)max, skip);
	if (fg_index_root(ix, layer, id, &root, err) < 0)
		return NULL;
	return fg_sql(ix, err,
	    "SELECT m.a, m.b, both, only_a, only_b, state FROM objects o JOIN merges m"
	    "  ON m.layer = o.layer AND m.a = o.id WHERE o.layer = ?1 AND o.parent = ?2"
	    " UNION"
	    " SELECT m.a, m.b, both, only_a, only_b, state FROM objects o JOIN merges m"
	    "  ON m.layer = o.layer AND m.b = o.id WHERE o.layer = ?1 AND o.parent = ?2"
	    " ORDER BY 1, 2 LIMIT ?3 OFFSET ?4",
	    "iiii", (int64_t)layer, root, (int64_t)max, skip);
}

/* All rows of a, b, both, only_a, only_b, state. */
static int
collect_merges(struct fg_index *ix, sqlite3_stmt *st, struct fg_merge **out, size_t *n,
    struct fg_err *err)
{
	struct fg_merge *list = NULL;
	size_t len = 0;
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		list = room(list, len, sizeof *list);
		list[len++] = (struct fg_merge){
		    .a = (uint64_t)sqlite3_column_int64(st, 0),
		    .b = (uint64_t)sqlite3_column_int64(st, 1),
		    .both = (uint64_t)sqlite3_column_int64(st, 2),
		    .only_a = (uint64_t)sqlite3_column_int64(st, 3),
		    .only_b = (uint64_t)sqlite3_column_int64(st, 4),
		    .joined = sqlite3_column_int(st, 5) != 0,
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
fg_index_merges(struct fg_index *ix, uint32_t layer, uint64_t id, uint64_t skip,
    size_t max, struct fg_merge **out, size_t *n, struct fg_err *err)
{
	return collect_merges(ix, merge_page(ix, layer, id, skip, max, err), out, n,
	    err);
}

int
fg_index_block_merges(struct fg_index *ix, uint32_t layer, uint64_t at,
    struct fg_merge **out, size_t *n, struct fg_err *err)
{
	return collect_merges(ix,
	    fg_sql(ix, err,
		"SELECT m.a, m.b, both, only_a, only_b, state FROM object_blocks k"
		" JOIN merges m ON m.layer = k.layer AND m.a = k.id"
		" WHERE k.layer = ? AND k.at = ?",
		"ii", (int64_t)layer, at),
	    out, n, err);
}

int
fg_index_edits(struct fg_index *ix, uint32_t layer, int64_t after, size_t max,
    struct fg_edit **out, size_t *n, struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT edit, kind, a, b, at_time, who, undone FROM edits"
	    " WHERE layer = ? AND edit > ? ORDER BY edit LIMIT ?",
	    "iii", (int64_t)layer, after, (int64_t)max);
	struct fg_edit *list = NULL;
	size_t len = 0;
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		const char *who = (const char *)sqlite3_column_text(st, 5);
		struct fg_edit *e;

		list = room(list, len, sizeof *list);
		e = &list[len++];
		*e = (struct fg_edit){
		    .edit = sqlite3_column_int64(st, 0),
		    .kind = (enum fg_edit_kind)sqlite3_column_int(st, 1),
		    .a = (uint64_t)sqlite3_column_int64(st, 2),
		    .b = (uint64_t)sqlite3_column_int64(st, 3),
		    .at_ms = sqlite3_column_int64(st, 4),
		    .undone = sqlite3_column_int(st, 6) != 0,
		};
		snprintf(e->who, sizeof e->who, "%s", who ? who : "");
	}
	if (rc < 0) {
		free(list);
		return -1;
	}
	*out = list;
	*n = len;
	return 0;
}
