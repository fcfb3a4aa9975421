/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The chunk index: one SQLite file in WAL mode. Nothing outside store/index*.c speaks
 * SQL. Internal to store/; others use store/store.h.
 *
 * A `struct fg_index` is one connection with its prepared statements: one thread at a
 * time. Reading calls leave no statement open, so that a reader never holds back the
 * checkpoint. Writing calls stand between begin and commit; without an open
 * transaction each is one of its own.
 */
#ifndef FG_STORE_INDEX_H
#define FG_STORE_INDEX_H

#include "store/prune.h"

struct fg_index;

enum fg_index_mode { FG_INDEX_OLD, FG_INDEX_READ, FG_INDEX_WRITE, FG_INDEX_CREATE };

/* Open the file; CREATE makes it, with the newest schema. WRITE brings an older schema
 * up to date, READ refuses one, OLD reads it: only what all schemas have. A newer one
 * is FG_ENOTSUP. Fails: FG_ENOENT, FG_EIO, FG_ECORRUPT. */
struct fg_index *fg_index_open(const char *path, enum fg_index_mode mode,
    struct fg_err *err) FG_MUST_USE;
void fg_index_close(struct fg_index *ix);

int fg_index_begin(struct fg_index *ix, struct fg_err *err) FG_MUST_USE;
int fg_index_commit(struct fg_index *ix, struct fg_err *err) FG_MUST_USE;
void fg_index_rollback(struct fg_index *ix); /* none open: nothing */

/* The store's uuid. */
int fg_index_uuid(struct fg_index *ix, char out[37], struct fg_err *err) FG_MUST_USE;
int fg_index_uuid_put(struct fg_index *ix, const char *uuid,
    struct fg_err *err) FG_MUST_USE;

/* SQLite's own check of the file; each complaint goes to fn. */
int fg_index_check(struct fg_index *ix, fg_finding_fn *fn, void *ctx, uint64_t *errors,
    struct fg_err *err) FG_MUST_USE;
/* A consistent copy into the new file `dest`, synced. */
int fg_index_backup(struct fg_index *ix, const char *dest,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- layers */

int fg_index_layers(struct fg_index *ix, struct fg_layer_row **rows, size_t *n,
    struct fg_err *err) FG_MUST_USE;
/* uuid is given; layer: the wanted id or 0, written back. Name taken: FG_EINVAL. */
int fg_index_layer_add(struct fg_index *ix, struct fg_layer_row *r,
    struct fg_err *err) FG_MUST_USE;
/* Also counts the layer's bytes dead. Unknown: FG_ENOENT. */
int fg_index_layer_remove(struct fg_index *ix, uint32_t layer,
    struct fg_err *err) FG_MUST_USE;
int fg_index_layer_pause(struct fg_index *ix, uint32_t layer, bool paused,
    struct fg_err *err) FG_MUST_USE;
int fg_index_layer_gens(struct fg_index *ix, uint32_t layer, int64_t merge_gen,
    int64_t mesh_epoch, struct fg_err *err) FG_MUST_USE;
/* Row of `params` for a recipe text, made if new. */
int fg_index_params(struct fg_index *ix, const char *recipe, int64_t *params,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- slabs */

struct fg_slab_row {
	uint32_t slab;
	uint64_t len;  /* bytes that the index knows: the rest is tail */
	uint64_t dead; /* of them, no row's */
	bool closed;   /* a sync failed: never append */
};

int fg_index_slabs(struct fg_index *ix, struct fg_slab_row **rows, size_t *n,
    struct fg_err *err) FG_MUST_USE;
/* Set len and closed, add `dead` to what is there. */
int fg_index_slab_put(struct fg_index *ix, const struct fg_slab_row *row,
    struct fg_err *err) FG_MUST_USE;
int fg_index_slab_forget(struct fg_index *ix, uint32_t slab,
    struct fg_err *err) FG_MUST_USE;
/* Calls fn for each layer with rows whose bytes in `slab` end after `len`. */
int fg_index_slab_users(struct fg_index *ix, uint32_t slab, uint64_t len,
    int (*fn)(void *ctx, uint32_t layer), void *ctx, struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- results */

/* The place of piece `part` of a key (chunks and blocks have part 0 only); of an
 * artefact's generations the newest. */
int fg_index_find(struct fg_index *ix, const struct fg_key *key, uint64_t part,
    struct fg_place *place, struct fg_err *err) FG_MUST_USE;
/* That generation of an artefact; chunks and blocks have none. */
int fg_index_find_gen(struct fg_index *ix, const struct fg_key *key, uint64_t part,
    int64_t gen, struct fg_place *place, struct fg_err *err) FG_MUST_USE;
/* Whether a result's task is done, so that the result is not needed: its block or chunk
 * is there and not dirty, or all artefacts that it brings are there. Rows of runs after
 * `run` do not count. */
int fg_index_is_done(struct fg_index *ix, const struct fg_result *res, int64_t run,
    bool *done, struct fg_err *err) FG_MUST_USE;
int fg_index_block(struct fg_index *ix, uint32_t layer, uint64_t at,
    struct fg_block_row *out, struct fg_err *err) FG_MUST_USE;
int fg_index_blocks(struct fg_index *ix, uint32_t layer,
    int (*fn)(void *ctx, const struct fg_block_row *row), void *ctx,
    struct fg_err *err);
/* As the fg_reader_ calls of these names. */
int fg_index_parts(struct fg_index *ix, const struct fg_key *key, uint64_t **part,
    size_t *n, struct fg_err *err) FG_MUST_USE;
int fg_index_ids(struct fg_index *ix, const struct fg_key *key, const uint64_t *after,
    size_t max, uint64_t **id, size_t *n, struct fg_err *err) FG_MUST_USE;
int fg_index_part_of(struct fg_index *ix, const struct fg_key *key, int64_t gen,
    uint64_t *part, bool *there, struct fg_err *err) FG_MUST_USE;
int fg_index_rows(struct fg_index *ix, const struct fg_key *key, uint64_t *n,
    struct fg_err *err) FG_MUST_USE;
int fg_index_blocks_done(struct fg_index *ix, uint32_t layer, uint64_t *n,
    struct fg_err *err) FG_MUST_USE;
int fg_index_run(struct fg_index *ix, int64_t run, char **json,
    struct fg_err *err) FG_MUST_USE;
int fg_index_recent(struct fg_index *ix, int max, char **json,
    struct fg_err *err) FG_MUST_USE;
int fg_index_count(struct fg_index *ix, uint32_t layer, struct fg_store_counts *out,
    struct fg_err *err) FG_MUST_USE;
int64_t fg_index_last_run(struct fg_index *ix, struct fg_err *err);

/* All rows of one result: run, payloads at res->places, block, objects. Replaces what
 * is there and counts its bytes dead; sets `run` in the places. */
int fg_index_put_result(struct fg_index *ix, const struct fg_result *res,
    int64_t params, struct fg_err *err) FG_MUST_USE;
/* A failed try: run row and memo of the block. */
int fg_index_put_failure(struct fg_index *ix, const struct fg_result *res,
    int64_t params, struct fg_err *err) FG_MUST_USE;
int fg_index_mark_dirty(struct fg_index *ix, uint32_t layer, int scale, uint64_t at,
    struct fg_err *err) FG_MUST_USE;
int fg_index_mark_scale_dirty(struct fg_index *ix, uint32_t layer, int scale,
    struct fg_err *err) FG_MUST_USE;
int fg_index_retry(struct fg_index *ix, uint32_t layer, uint64_t at,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- jobs */

/* A number for a new job, noted so that it is not given again. */
int fg_index_job_number(struct fg_index *ix, int64_t *job,
    struct fg_err *err) FG_MUST_USE;
/* Insert or replace. */
int fg_index_job_put(struct fg_index *ix, const struct fg_job_row *r,
    struct fg_err *err) FG_MUST_USE;
int fg_index_jobs_prune(struct fg_index *ix, int64_t keep,
    struct fg_err *err) FG_MUST_USE;
int fg_index_jobs(struct fg_index *ix, struct fg_job_row **rows, size_t *n,
    struct fg_err *err) FG_MUST_USE;
int fg_index_block_ms(struct fg_index *ix, uint32_t layer, double *ms, int *n,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- care */

struct fg_index_entry {
	struct fg_key key;
	uint64_t part;
	struct fg_place place; /* with gen */
};

/* Chunks, then artefacts, in key order. Fetched in pages, so no transaction stays open
 * while fn works: rows that change meanwhile are seen once, old or new. Stops when fn
 * returns non-zero and returns that. */
int fg_index_walk(struct fg_index *ix,
    int (*fn)(void *ctx, const struct fg_index_entry *e), void *ctx,
    struct fg_err *err);
/* Note a run whose bytes are lost, then delete everything that came from noted runs: a
 * result counts whole or not at all, because its chunks share one numbering of objects.
 * *rows: chunks and artefacts deleted. */
int fg_index_lose(struct fg_index *ix, int64_t run, struct fg_err *err) FG_MUST_USE;
int fg_index_forget_lost(struct fg_index *ix, uint64_t *rows,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- compaction */

/* Whether a row of that key names the bytes at slab, off. */
int fg_index_names(struct fg_index *ix, const struct fg_key *key, uint32_t slab,
    uint64_t off, bool *named, struct fg_err *err) FG_MUST_USE;
/* Give that row another place. */
int fg_index_move(struct fg_index *ix, const struct fg_key *key, uint32_t slab,
    uint64_t off, uint32_t to_slab, uint64_t to_off, struct fg_err *err) FG_MUST_USE;
/* Whether the index has a row of the slab and knows bytes of it after `off`. */
int fg_index_slab_knows(struct fg_index *ix, uint32_t slab, uint64_t off, bool *knows,
    struct fg_err *err) FG_MUST_USE;
/*
 * After a reindex: what compaction dropped is missing in the history that counted
 * generations, so they may be lower than they were, and must not come to mean something
 * else. Components that are in the index `old` too (NULL: it cannot be read) get the
 * generation from there; any whose artefacts have a higher one, a higher one still.
 * The same for merge_gen, which names the epochs of meshes.
 */
int fg_index_settle_gens(struct fg_index *ix, const char *old,
    struct fg_err *err) FG_MUST_USE;
/* A payload of that length in the slab is nobody's any more. */
int fg_index_count_dead(struct fg_index *ix, uint32_t slab, uint64_t len,
    struct fg_err *err) FG_MUST_USE;
/* Rows that name bytes in the slab. Cost: a pass over the index. */
int fg_index_slab_rows(struct fg_index *ix, uint32_t slab, uint64_t *rows,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- pruning */

/* As the fg_reader_ calls of these names. */
int fg_index_rows_of(struct fg_index *ix, const struct fg_key *key,
    const struct fg_row *after, size_t max, struct fg_row **out, size_t *n,
    struct fg_err *err) FG_MUST_USE;
int fg_index_next_id(struct fg_index *ix, const struct fg_key *key, uint64_t after,
    uint64_t *id, bool *there, struct fg_err *err) FG_MUST_USE;
int fg_index_run_by(struct fg_index *ix, int64_t ended_ms, int64_t *run,
    struct fg_err *err) FG_MUST_USE;
/* Remove a row, if it is there: added to *dropped and *bytes. */
int fg_index_drop(struct fg_index *ix, const struct fg_row_name *row, uint64_t *dropped,
    uint64_t *bytes, struct fg_err *err) FG_MUST_USE;

#endif
