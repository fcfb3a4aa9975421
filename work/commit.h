/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The committer: the one thread that writes results into the store, in groups. A group
 * closes at 64 results or 5 ms after its first one, so that many small results share
 * one sync and a single one hardly waits.
 */
#ifndef FG_WORK_COMMIT_H
#define FG_WORK_COMMIT_H

#include <pthread.h>

#include "store/store.h"

#define FG_COMMIT_GROUP 64
#define FG_COMMIT_MS 5
#define FG_COMMIT_BYTES (256 << 20) /* awaiting commit before put waits */

struct fg_commit_item {
	struct fg_result *result; /* lent until done is called */
	size_t bytes;             /* payload bytes, for the limit */
	/* Called once, on the committer's thread, no lock held: rc 0, or -1 with err.
	 * The item is the caller's again. */
	void (*done)(struct fg_commit_item *item, int rc, const struct fg_err *err);
	struct fg_commit_item *next; /* private to the committer */
};

struct fg_committer;

/* writer: held around each commit; whoever else writes to the store holds it too (see
 * fg_catalog_writer). It must outlive the committer. */
struct fg_committer *fg_committer_new(struct fg_store *s, pthread_mutex_t *writer,
    struct fg_err *err) FG_MUST_USE;
/* Commits what is queued, then ends the thread. Nobody may put any more. */
void fg_committer_free(struct fg_committer *c);

/* Queue a result. Waits while FG_COMMIT_BYTES await their commit. */
void fg_committer_put(struct fg_committer *c, struct fg_commit_item *item);

struct fg_committer_stats {
	uint64_t commits, results; /* groups and results written since start */
};
void fg_committer_get_stats(struct fg_committer *c, struct fg_committer_stats *out);

#endif
