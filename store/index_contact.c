/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: contacts, that is, what floods that were tried again say of two objects
 * (store/object.h). The task of one block yields all of that block's, so they are
 * replaced together; it read the voxels of the blocks round it, so its result goes when
 * one of these is made again.
 */
#include "config.h"

#include <stdlib.h>

#include "base/morton.h"
#include "store/index_object.h"
#include "store/index_sql.h"

/* Both ends of the joined contacts that the block has now. */
static int
list_ends(struct fg_index *ix, const struct fg_key *task, struct fg_ids *out,
    struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT a, b FROM contacts WHERE layer = ? AND at = ? AND state = 1", "ii",
	    (int64_t)task->layer, task->at);
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		fg_ids_push(out, (uint64_t)sqlite3_column_int64(st, 0));
		fg_ids_push(out, (uint64_t)sqlite3_column_int64(st, 1));
	}
	return rc;
}

static int
put_contact(struct fg_index *ix, const struct fg_key *task, const struct fg_contact *c,
    struct fg_err *err)
{
	return fg_sql_run(ix, err,
	    "INSERT OR REPLACE INTO contacts (layer, a, b, at, both, only_a, only_b, x,"
	    " y, z, recovered, deleted, state)"
	    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
	    "iiiiiiiiiiiii", (int64_t)task->layer, c->a, c->b, task->at, c->both,
	    c->only_a, c->only_b, c->vx[0], c->vx[1], c->vx[2], (int64_t)c->recovered,
	    (int64_t)c->deleted, (int64_t)c->joined);
}

int
fg_index_put_contacts(struct fg_index *ix, const struct fg_key *task,
    const struct fg_contact *c, size_t n, struct fg_err *err)
{
	struct fg_ids seed = {0};
	bool changed = false;
	int rc = list_ends(ix, task, &seed, err);

	if (rc == 0)
		rc = fg_sql_run(ix, err,
		    "DELETE FROM contacts WHERE layer = ? AND at = ?", "ii",
		    (int64_t)task->layer, task->at);
	for (size_t i = 0; i < n && rc >= 0; i++) {
		rc = fg_index_join(ix, task->layer, c[i].a, c[i].b, c[i].joined, &seed,
		    &changed, err);
		if (rc > 0)
			rc = put_contact(ix, task, &c[i], err);
	}
	if (rc >= 0 && seed.n > 0)
		rc = fg_index_regroup(ix, task->layer, &seed, 0, &changed, err);
	if (rc >= 0 && changed)
		rc = fg_index_bump_merge_gen(ix, task->layer, err);
	fg_ids_fini(&seed);
	return FG_MIN(rc, 0);
}

/* Forget what the task of one block said. */
static int
drop_result(struct fg_index *ix, const struct fg_key *task, struct fg_ids *seed,
    struct fg_err *err)
{
	if (list_ends(ix, task, seed, err) < 0 ||
	    fg_sql_run(ix, err, "DELETE FROM contacts WHERE layer = ? AND at = ?", "ii",
		(int64_t)task->layer, task->at) < 0)
		return -1;
	return fg_sql_run(ix, err,
	    "DELETE FROM artefacts WHERE layer = ? AND kind = ? AND scale = 0"
	    " AND id = ?",
	    "iii", (int64_t)task->layer, (int64_t)FG_KIND_RESEGMENT, task->at);
}

int
fg_index_drop_contacts(struct fg_index *ix, uint32_t layer, uint64_t block,
    struct fg_ids *seed, struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT 1 FROM artefacts WHERE layer = ? AND kind = ? LIMIT 1", "ii",
	    (int64_t)layer, (int64_t)FG_KIND_RESEGMENT);
	int64_t p[3], q[3];
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc > 0)
		sqlite3_reset(st);
	if (rc <= 0) /* most layers have none */
		return rc;
	fg_morton_decode(block, p);
	for (int i = 0; i < 27; i++) {
		struct fg_key task = {.kind = FG_KIND_RESEGMENT, .layer = layer};

		q[0] = p[0] + i % 3 - 1;
		q[1] = p[1] + i / 3 % 3 - 1;
		q[2] = p[2] + i / 9 - 1;
		if (q[0] < 0 || q[1] < 0 || q[2] < 0)
			continue;
		task.at = fg_morton_encode(q);
		if (drop_result(ix, &task, seed, err) < 0)
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------- reading */

static sqlite3_stmt *
contact_page(struct fg_index *ix, uint32_t layer, uint64_t id, uint64_t skip,
    size_t max, struct fg_err *err)
{
	uint64_t root;

	if (id == 0)
		return fg_sql(ix, err,
		    "SELECT a, b, both, only_a, only_b, x, y, z, recovered, deleted,"
		    " state FROM contacts WHERE layer = ? ORDER BY a, b, at"
		    " LIMIT ? OFFSET ?",
		    "iii", (int64_t)layer, (int64_t)max, skip);
	if (fg_index_root(ix, layer, id, &root, err) < 0)
		return NULL;
	return fg_sql(ix, err,
	    "SELECT a, b, both, only_a, only_b, x, y, z, recovered, deleted, state"
	    " FROM contacts WHERE layer = ?1 AND (a IN"
	    " (SELECT id FROM objects WHERE layer = ?1 AND parent = ?2) OR b IN"
	    " (SELECT id FROM objects WHERE layer = ?1 AND parent = ?2))"
	    " ORDER BY a, b, at LIMIT ?3 OFFSET ?4",
	    "iiii", (int64_t)layer, root, (int64_t)max, skip);
}

int
fg_index_contacts(struct fg_index *ix, uint32_t layer, uint64_t id, uint64_t skip,
    size_t max, struct fg_contact **out, size_t *n, struct fg_err *err)
{
	sqlite3_stmt *st = contact_page(ix, layer, id, skip, max, err);
	struct fg_contact *list = NULL;
	size_t len = 0, cap = 0;
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		if (len == cap) {
			cap = FG_MAX(2 * cap, (size_t)16);
			list = fg_realloc(list, cap, sizeof *list);
		}
		list[len++] = (struct fg_contact){
		    .a = (uint64_t)sqlite3_column_int64(st, 0),
		    .b = (uint64_t)sqlite3_column_int64(st, 1),
		    .both = (uint64_t)sqlite3_column_int64(st, 2),
		    .only_a = (uint64_t)sqlite3_column_int64(st, 3),
		    .only_b = (uint64_t)sqlite3_column_int64(st, 4),
		    .vx = {sqlite3_column_int64(st, 5), sqlite3_column_int64(st, 6),
			sqlite3_column_int64(st, 7)},
		    .recovered = sqlite3_column_int(st, 8),
		    .deleted = sqlite3_column_int(st, 9),
		    .joined = sqlite3_column_int(st, 10) != 0,
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
