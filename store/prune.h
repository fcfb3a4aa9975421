/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows of artefacts that nothing names any more: looking through them, and removing
 * them from the index. Which these are is not the store's to know (work/prune.h).
 *
 * A removed row's bytes are counted dead in their slab and stay there until it is
 * compacted (store/gc.h): whoever holds a place from before reads what it is. A reindex
 * may bring rows back whose records were not compacted.
 *
 * FG_CRASH_AT points, in this order: prune-begun, prune-half, prune-before-commit,
 * prune-committed.
 */
#ifndef FG_STORE_PRUNE_H
#define FG_STORE_PRUNE_H

#include "store/store.h"

/* A row of a key. */
struct fg_row {
	uint64_t part;
	int64_t gen;
	int64_t run; /* of the result that brought it */
};

/* The rows of a key after (part, gen) of *after (NULL: from the first), by part as a
 * signed number, then gen; at most max. *out is malloc'ed. */
int fg_reader_rows_of(struct fg_reader *r, const struct fg_key *key,
    const struct fg_row *after, size_t max, struct fg_row **out, size_t *n,
    struct fg_err *err) FG_MUST_USE;
/* The smallest id after `after` that has a row like key (whose `at` does not count), as
 * a signed number; *there: whether there is any, else *id stays. Cost: one look-up. */
int fg_reader_next_id(struct fg_reader *r, const struct fg_key *key, uint64_t after,
    uint64_t *id, bool *there, struct fg_err *err) FG_MUST_USE;
/* A run up to which all had ended by then (wall clock, ms), as far as they have an end;
 * 0: none. Errs towards a lower one: one that ended later by its clock holds back all
 * that follow it, and what has no end is never taken alone, only with a later one that
 * has. Cost: a look at each run up to the answer, 0.1 s for a million. */
int fg_reader_run_by(struct fg_reader *r, int64_t ended_ms, int64_t *run,
    struct fg_err *err) FG_MUST_USE;

/* The name of a row. */
struct fg_row_name {
	struct fg_key key; /* of an artefact */
	uint64_t part;
	int64_t gen;
};

/* Most rows of one call: a transaction that holds up commits for some milliseconds. */
#define FG_DROP_MAX 512

/* Remove rows in one transaction; *dropped (may be NULL): how many were there, and
 * *bytes those of their payloads. A writing call. Fails: FG_EIO, with nothing removed.
 */
int fg_store_drop(struct fg_store *s, const struct fg_row_name *rows, size_t n,
    uint64_t *dropped, uint64_t *bytes, struct fg_err *err) FG_MUST_USE;

#endif
