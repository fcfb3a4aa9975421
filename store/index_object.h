/* SPDX-License-Identifier: Apache-2.0 */
/* The index: objects, merges and edits. Internal to store/; the rules are in
 * store/object.h. Writing calls stand inside the caller's transaction. */
#ifndef FG_STORE_INDEX_OBJECT_H
#define FG_STORE_INDEX_OBJECT_H

#include "store/index.h"
#include "store/object.h"

/* A growing list of ids. */
struct fg_ids {
	uint64_t *id;
	size_t n, cap;
};
void fg_ids_push(struct fg_ids *l, uint64_t id);
void fg_ids_fini(struct fg_ids *l);

/* Write evidence and join what it joins. Rows that name an object which is not there
 * are left out. */
int fg_index_put_merges(struct fg_index *ix, uint32_t layer, const struct fg_merge *m,
    size_t n, struct fg_err *err) FG_MUST_USE;

/* Replace a block's contacts, and join what they join. Rows that name an object which
 * is not there are left out. */
int fg_index_put_contacts(struct fg_index *ix, const struct fg_key *task,
    const struct fg_contact *c, size_t n, struct fg_err *err) FG_MUST_USE;
/* Before the objects of a block go: forget the results of resegmentation that read its
 * voxels, its own and its neighbours', with their contacts. seed: gains the objects
 * that they joined. */
int fg_index_drop_contacts(struct fg_index *ix, uint32_t layer, uint64_t block,
    struct fg_ids *seed, struct fg_err *err) FG_MUST_USE;

/* Before the objects of a block are replaced: forget them, their merges and the block's
 * stitch result, and work out anew what is left of their components. */
int fg_index_drop_objects(struct fg_index *ix, uint32_t layer, uint64_t block,
    struct fg_err *err) FG_MUST_USE;
/* After: if users decided about any of them before, apply that. */
int fg_index_adopt_objects(struct fg_index *ix, uint32_t layer,
    const struct fg_object_row *o, size_t n, struct fg_err *err) FG_MUST_USE;

/* Insert or replace edits (numbers given), and apply them. Ids that no object has do
 * nothing until there is one. *changed: whether any component did. */
int fg_index_put_edits(struct fg_index *ix, uint32_t layer, const struct fg_edit *e,
    size_t n, bool *changed, struct fg_err *err) FG_MUST_USE;
/* The same for withdrawing; numbers that do not exist are left out and counted. */
int fg_index_undo_edits(struct fg_index *ix, uint32_t layer, const int64_t *edit,
    size_t n, size_t *missing, bool *changed, struct fg_err *err) FG_MUST_USE;
/* The largest number so far; 0 without any. */
int fg_index_last_edit(struct fg_index *ix, int64_t *edit,
    struct fg_err *err) FG_MUST_USE;
/* Whether there is such an object. */
int fg_index_has_object(struct fg_index *ix, uint32_t layer, uint64_t id, bool *yes,
    struct fg_err *err) FG_MUST_USE;

/* Whether there are both objects: 1 or 0. If so, and `joined`, join their components in
 * the plain case; where a cut may be concerned, push their representatives to `seed`,
 * for fg_index_regroup once the edge is written. *changed is set if anything was
 * joined. */
int fg_index_join(struct fg_index *ix, uint32_t layer, uint64_t a, uint64_t b,
    bool joined, struct fg_ids *seed, bool *changed, struct fg_err *err) FG_MUST_USE;

/* A box's corner in a column; 0, 0, 0 where there is none. */
struct sqlite3_stmt;
void fg_index_get_corner(struct sqlite3_stmt *st, int col, int64_t v[3]);

/* ------------------------------------------------------------- index_regroup.c */

/* Work the components that hold any of `seed`, and all that edges tie to them, out anew
 * from their edges. Those that change get a gen above gen_floor. *changed is set if
 * there are such. Memory: about 200 bytes an object of those. */
int fg_index_regroup(struct fg_index *ix, uint32_t layer, const struct fg_ids *seed,
    int64_t gen_floor, bool *changed, struct fg_err *err) FG_MUST_USE;
/* Note that components of the layer changed. */
int fg_index_bump_merge_gen(struct fg_index *ix, uint32_t layer,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- reading */

/* The representative of an object. FG_ENOENT. */
int fg_index_root(struct fg_index *ix, uint32_t layer, uint64_t id, uint64_t *root,
    struct fg_err *err) FG_MUST_USE;
int fg_index_object(struct fg_index *ix, uint32_t layer, uint64_t id,
    struct fg_object *out, struct fg_err *err) FG_MUST_USE;
int fg_index_public(struct fg_index *ix, uint32_t layer, const uint64_t *id, size_t n,
    uint64_t *public_id, struct fg_err *err) FG_MUST_USE;
int fg_index_object_blocks(struct fg_index *ix, uint32_t layer, uint64_t id, bool whole,
    struct fg_object_block **out, size_t *n, struct fg_err *err) FG_MUST_USE;
int fg_index_members(struct fg_index *ix, uint32_t layer, uint64_t id, uint64_t **out,
    size_t *n, struct fg_err *err) FG_MUST_USE;
int fg_index_block_objects(struct fg_index *ix, uint32_t layer, uint64_t at,
    uint64_t **out, size_t *n, struct fg_err *err) FG_MUST_USE;
int fg_index_objects(struct fg_index *ix, uint32_t layer, bool whole,
    enum fg_object_order order, uint64_t after, size_t max, struct fg_object **out,
    size_t *n, struct fg_err *err) FG_MUST_USE;
int fg_index_merge_gen(struct fg_index *ix, uint32_t layer, int64_t *gen,
    struct fg_err *err) FG_MUST_USE;
int fg_index_merges(struct fg_index *ix, uint32_t layer, uint64_t id, uint64_t skip,
    size_t max, struct fg_merge **out, size_t *n, struct fg_err *err) FG_MUST_USE;
int fg_index_block_merges(struct fg_index *ix, uint32_t layer, uint64_t at,
    struct fg_merge **out, size_t *n, struct fg_err *err) FG_MUST_USE;
int fg_index_contacts(struct fg_index *ix, uint32_t layer, uint64_t id, uint64_t skip,
    size_t max, struct fg_contact **out, size_t *n, struct fg_err *err) FG_MUST_USE;
int fg_index_unresegmented(struct fg_index *ix, uint32_t layer, uint64_t after,
    size_t max, uint64_t **out, size_t *n, struct fg_err *err) FG_MUST_USE;
int fg_index_edits(struct fg_index *ix, uint32_t layer, int64_t after, size_t max,
    struct fg_edit **out, size_t *n, struct fg_err *err) FG_MUST_USE;
int fg_index_unstitched(struct fg_index *ix, uint32_t layer, uint64_t after, size_t max,
    uint64_t **out, size_t *n, struct fg_err *err) FG_MUST_USE;

#endif
