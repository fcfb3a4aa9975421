/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: writing objects' joins. The plain case is here: two components become one
 * when evidence joins them. What a user's decision concerns is worked out anew in
 * index_regroup.c; a component that it may concern is marked (`cut` on its
 * representative), so that the plain case need not look for it.
 */
#include "config.h"

#include "store/index_object.h"

#include <stdlib.h>

#include "store/index_sql.h"

void
fg_ids_push(struct fg_ids *l, uint64_t id)
{
	if (l->n == l->cap) {
		l->cap = FG_MAX(2 * l->cap, 64u);
		l->id = fg_realloc(l->id, l->cap, sizeof *l->id);
	}
	l->id[l->n++] = id;
}

void
fg_ids_fini(struct fg_ids *l)
{
	free(l->id);
	*l = (struct fg_ids){0};
}

int
fg_index_bump_merge_gen(struct fg_index *ix, uint32_t layer, struct fg_err *err)
{
	return fg_sql_run(ix, err,
	    "UPDATE layers SET merge_gen = merge_gen + 1 WHERE layer = ?", "i",
	    (int64_t)layer);
}

/* ------------------------------------------------------------- joining */

/* A representative's row. */
struct root {
	uint64_t id, size, public_id, voxels;
	int64_t gen, lo[3], hi[3];
	bool cut;
};

void
fg_index_get_corner(sqlite3_stmt *st, int col, int64_t v[3])
{
	const uint8_t *p = sqlite3_column_blob(st, col);

	for (int d = 0; d < 3; d++)
		v[d] = p && sqlite3_column_bytes(st, col) == 24
			   ? (int64_t)fg_get_u64le(p + 8 * d)
			   : 0;
}

static void
put_corner(const int64_t v[3], uint8_t out[24])
{
	for (int d = 0; d < 3; d++)
		fg_put_u64le(out + 8 * d, (uint64_t)v[d]);
}

/* 1: found, 0: no such object. */
static int
find_root(struct fg_index *ix, uint32_t layer, uint64_t id, struct root *out,
    struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT id, size, public, all_voxels, gen, all_lo, all_hi, cut FROM objects"
	    " WHERE layer = ?1 AND id ="
	    " (SELECT parent FROM objects WHERE layer = ?1 AND id = ?2)",
	    "ii", (int64_t)layer, id);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc <= 0)
		return rc;
	*out = (struct root){
	    .id = (uint64_t)sqlite3_column_int64(st, 0),
	    .size = (uint64_t)sqlite3_column_int64(st, 1),
	    .public_id = (uint64_t)sqlite3_column_int64(st, 2),
	    .voxels = (uint64_t)sqlite3_column_int64(st, 3),
	    .gen = sqlite3_column_int64(st, 4),
	    .cut = sqlite3_column_int(st, 7) != 0,
	};
	fg_index_get_corner(st, 5, out->lo);
	fg_index_get_corner(st, 6, out->hi);
	sqlite3_reset(st);
	return 1;
}

/* The rows of the smaller side name the larger one's representative from now on. */
static int
join_roots(struct fg_index *ix, uint32_t layer, const struct root *a,
    const struct root *b, struct fg_err *err)
{
	const struct root *big = a->size >= b->size ? a : b, *small = a == big ? b : a;
	int64_t lo[3], hi[3];
	uint8_t lo24[24], hi24[24];

	for (int d = 0; d < 3; d++) {
		lo[d] = FG_MIN(a->lo[d], b->lo[d]);
		hi[d] = FG_MAX(a->hi[d], b->hi[d]);
	}
	put_corner(lo, lo24);
	put_corner(hi, hi24);
	if (fg_sql_run(ix, err,
		"UPDATE objects SET parent = ? WHERE layer = ? AND parent = ?", "iii",
		big->id, (int64_t)layer, small->id) < 0)
		return -1;
	return fg_sql_run(ix, err,
	    "UPDATE objects SET size = ?, public = ?, all_voxels = ?, gen = ?,"
	    " all_lo = ?, all_hi = ? WHERE layer = ? AND id = ?",
	    "iiiibbii", a->size + b->size, FG_MIN(a->public_id, b->public_id),
	    a->voxels + b->voxels, FG_MAX(a->gen, b->gen) + 1, lo24, 24, hi24, 24,
	    (int64_t)layer, big->id);
}

static int
put_merge(struct fg_index *ix, uint32_t layer, const struct fg_merge *m,
    struct fg_err *err)
{
	return fg_sql_run(ix, err,
	    "INSERT OR REPLACE INTO merges (layer, a, b, both, only_a, only_b, state)"
	    " VALUES (?, ?, ?, ?, ?, ?, ?)",
	    "iiiiiii", (int64_t)layer, m->a, m->b, m->both, m->only_a, m->only_b,
	    (int64_t)m->joined);
}

int
fg_index_join(struct fg_index *ix, uint32_t layer, uint64_t a, uint64_t b, bool joined,
    struct fg_ids *seed, bool *changed, struct fg_err *err)
{
	struct root ra, rb;
	int rc = find_root(ix, layer, a, &ra, err);

	if (rc > 0)
		rc = find_root(ix, layer, b, &rb, err);
	if (rc <= 0 || !joined)
		return rc;
	/* A marked component goes through its edges even where the two ends are one
	 * already: the new edge may weigh more than another. */
	if (ra.cut || rb.cut) {
		fg_ids_push(seed, ra.id);
		fg_ids_push(seed, rb.id);
	} else if (ra.id != rb.id) {
		*changed = true;
		if (join_roots(ix, layer, &ra, &rb, err) < 0)
			return -1;
	}
	return 1;
}

int
fg_index_put_merges(struct fg_index *ix, uint32_t layer, const struct fg_merge *m,
    size_t n, struct fg_err *err)
{
	struct fg_ids seed = {0};
	bool changed = false;
	int rc = 0;

	for (size_t i = 0; i < n && rc >= 0; i++) {
		rc = fg_index_join(ix, layer, m[i].a, m[i].b, m[i].joined, &seed,
		    &changed, err);
		if (rc > 0)
			rc = put_merge(ix, layer, &m[i], err);
	}
	if (rc >= 0 && seed.n > 0)
		rc = fg_index_regroup(ix, layer, &seed, 0, &changed, err);
	if (rc >= 0 && changed)
		rc = fg_index_bump_merge_gen(ix, layer, err);
	fg_ids_fini(&seed);
	return FG_MIN(rc, 0);
}

/* ------------------------------------------------------------- blocks made again */

/* Other members of the components of a block's objects, and the largest gen of these.
 */
static int
list_partners(struct fg_index *ix, uint32_t layer, uint64_t block, struct fg_ids *out,
    int64_t *gen, struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT o.id, r.gen FROM objects o JOIN objects r ON r.layer = o.layer"
	    " AND r.id = o.parent WHERE o.layer = ?1 AND o.parent IN"
	    " (SELECT p.parent FROM objects p JOIN object_blocks k"
	    "  ON k.layer = p.layer AND k.id = p.id WHERE k.layer = ?1 AND k.at = ?2)"
	    " AND NOT EXISTS (SELECT 1 FROM object_blocks k WHERE k.layer = ?1"
	    "  AND k.id = o.id AND k.at = ?2)",
	    "ii", (int64_t)layer, block);
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		fg_ids_push(out, (uint64_t)sqlite3_column_int64(st, 0));
		*gen = FG_MAX(*gen, sqlite3_column_int64(st, 1));
	}
	return rc;
}

static int
has_rows(struct fg_index *ix, sqlite3_stmt *st, bool *yes, struct fg_err *err)
{
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc > 0)
		sqlite3_reset(st);
	*yes = rc > 0;
	return rc < 0 ? -1 : 0;
}

int
fg_index_drop_objects(struct fg_index *ix, uint32_t layer, uint64_t block,
    struct fg_err *err)
{
	/* An object lives in one block: its id says which. */
	static const char *const step[] = {
	    "DELETE FROM merges WHERE layer = ?1 AND a IN"
	    " (SELECT id FROM object_blocks WHERE layer = ?1 AND at = ?2)",
	    "DELETE FROM merges WHERE layer = ?1 AND b IN"
	    " (SELECT id FROM object_blocks WHERE layer = ?1 AND at = ?2)",
	    "DELETE FROM objects WHERE layer = ?1 AND id IN"
	    " (SELECT id FROM object_blocks WHERE layer = ?1 AND at = ?2)",
	    "DELETE FROM object_blocks WHERE layer = ?1 AND at = ?2",
	};
	struct fg_ids seed = {0};
	bool any, changed = false;
	int64_t gen = 0;
	int rc = -1;

	if (fg_sql_run(ix, err,
		"DELETE FROM artefacts WHERE layer = ? AND kind = ? AND scale = 0"
		" AND id = ?",
		"iii", (int64_t)layer, (int64_t)FG_KIND_STITCH, block) < 0)
		return -1;
	if (has_rows(ix,
		fg_sql(ix, err,
		    "SELECT 1 FROM object_blocks WHERE layer = ? AND at = ? LIMIT 1",
		    "ii", (int64_t)layer, block),
		&any, err) < 0)
		return -1;
	if ((any && list_partners(ix, layer, block, &seed, &gen, err) < 0) ||
	    fg_index_drop_contacts(ix, layer, block, &seed, err) < 0)
		goto out;
	for (size_t i = 0; i < FG_COUNTOF(step) && any; i++) {
		if (fg_sql_run(ix, err, step[i], "ii", (int64_t)layer, block) < 0)
			goto out;
	}
	rc = seed.n > 0 ? fg_index_regroup(ix, layer, &seed, gen, &changed, err) : 0;
	if (rc == 0 && changed)
		rc = fg_index_bump_merge_gen(ix, layer, err);
out:
	fg_ids_fini(&seed);
	return rc;
}

int
fg_index_adopt_objects(struct fg_index *ix, uint32_t layer,
    const struct fg_object_row *o, size_t n, struct fg_err *err)
{
	struct fg_ids seed = {0};
	bool any, changed = false;
	int rc;

	rc = has_rows(ix,
	    fg_sql(ix, err, "SELECT 1 FROM edits WHERE layer = ? LIMIT 1", "i",
		(int64_t)layer),
	    &any, err);
	if (rc < 0 || !any)
		return rc;
	for (size_t i = 0; i < n && rc == 0; i++) {
		rc = has_rows(ix,
		    fg_sql(ix, err,
			"SELECT 1 FROM edits WHERE layer = ?1 AND a = ?2"
			" UNION ALL SELECT 1 FROM edits WHERE layer = ?1 AND b = ?2",
			"ii", (int64_t)layer, o[i].id),
		    &any, err);
		if (rc == 0 && any)
			fg_ids_push(&seed, o[i].id);
	}
	if (rc == 0 && seed.n > 0)
		rc = fg_index_regroup(ix, layer, &seed, 0, &changed, err);
	if (rc == 0 && changed)
		rc = fg_index_bump_merge_gen(ix, layer, err);
	fg_ids_fini(&seed);
	return rc;
}

/* ------------------------------------------------------------- edits */

int
fg_index_last_edit(struct fg_index *ix, int64_t *edit, struct fg_err *err)
{
	sqlite3_stmt *st =
	    fg_sql(ix, err, "SELECT coalesce(max(edit), 0) FROM edits", "");
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc < 0)
		return -1;
	*edit = rc > 0 ? sqlite3_column_int64(st, 0) : 0;
	sqlite3_reset(st);
	return 0;
}

int
fg_index_has_object(struct fg_index *ix, uint32_t layer, uint64_t id, bool *yes,
    struct fg_err *err)
{
	return has_rows(ix,
	    fg_sql(ix, err, "SELECT 1 FROM objects WHERE layer = ? AND id = ?", "ii",
		(int64_t)layer, id),
	    yes, err);
}

/* Work out what edits concern, and note it if anything came of that. */
static int
apply(struct fg_index *ix, uint32_t layer, const struct fg_ids *seed, bool *changed,
    struct fg_err *err)
{
	*changed = false;
	if (fg_index_regroup(ix, layer, seed, 0, changed, err) < 0)
		return -1;
	return *changed ? fg_index_bump_merge_gen(ix, layer, err) : 0;
}

int
fg_index_put_edits(struct fg_index *ix, uint32_t layer, const struct fg_edit *e,
    size_t n, bool *changed, struct fg_err *err)
{
	struct fg_ids seed = {0};
	int rc = 0;

	for (size_t i = 0; i < n && rc == 0; i++) {
		rc = fg_sql_run(ix, err,
		    "INSERT OR REPLACE INTO edits (edit, layer, who, at_time, kind, a,"
		    " b, undone) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
		    "iitiiiii", e[i].edit, (int64_t)layer, e[i].who, e[i].at_ms,
		    (int64_t)e[i].kind, FG_MIN(e[i].a, e[i].b), FG_MAX(e[i].a, e[i].b),
		    (int64_t)e[i].undone);
		fg_ids_push(&seed, e[i].a);
		fg_ids_push(&seed, e[i].b);
	}
	if (rc == 0)
		rc = apply(ix, layer, &seed, changed, err);
	fg_ids_fini(&seed);
	return rc;
}

int
fg_index_undo_edits(struct fg_index *ix, uint32_t layer, const int64_t *edit, size_t n,
    size_t *missing, bool *changed, struct fg_err *err)
{
	struct fg_ids seed = {0};
	int rc = 0;

	*missing = 0;
	for (size_t i = 0; i < n && rc >= 0; i++) {
		sqlite3_stmt *st = fg_sql(ix, err,
		    "SELECT a, b FROM edits WHERE edit = ? AND layer = ?", "ii",
		    edit[i], (int64_t)layer);

		rc = st ? fg_sql_step(ix, st, err) : -1;
		if (rc == 0)
			++*missing;
		if (rc <= 0)
			continue;
		fg_ids_push(&seed, (uint64_t)sqlite3_column_int64(st, 0));
		fg_ids_push(&seed, (uint64_t)sqlite3_column_int64(st, 1));
		sqlite3_reset(st);
		rc = fg_sql_run(ix, err, "UPDATE edits SET undone = 1 WHERE edit = ?",
		    "i", edit[i]);
	}
	if (rc >= 0)
		rc = apply(ix, layer, &seed, changed, err);
	fg_ids_fini(&seed);
	return rc < 0 ? -1 : 0;
}
