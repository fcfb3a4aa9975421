/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving back the bytes of slabs that are mostly dead: what layers that were removed,
 * coarse chunks that were made again and old generations of meshes have left behind.
 *
 * FG_CRASH_AT points, in this order: gc-copied (synced, rows not yet), gc-moved, then
 * for a slab that nothing names gc-retired, gc-unlinked; and those of a commit.
 */
#ifndef FG_STORE_GC_H
#define FG_STORE_GC_H

#include <pthread.h>

#include "store/store.h"

struct fg_gc_options {
	double dead; /* slabs with a larger share of dead bytes are rewritten, 0..1 */
	bool dry_run;
	pthread_mutex_t *writer;    /* held for each batch; NULL: nobody else writes */
	int64_t deadline_ns;        /* monotonic; 0: none. Stops after a batch */
	const _Atomic bool *cancel; /* NULL: never */
	fg_finding_fn *fn; /* slabs that are left alone, and why; may be NULL */
	void *ctx;
};

struct fg_gc_stats {
	uint64_t candidates; /* slabs beyond the share */
	uint64_t dead;       /* dead bytes in them */
	uint64_t slabs;      /* deleted */
	uint64_t freed;      /* bytes of these */
	uint64_t moved;      /* payload bytes that were copied */
	uint64_t records;    /* payloads that were copied */
	uint64_t left;       /* slabs that could not be rewritten */
	uint64_t waiting;    /* slabs without use that another process may be reading */
	bool more;           /* stopped by deadline or cancel: call again */
};

/*
 * Compact a store that is open for writing. May take long: per batch of 16 MiB it
 * appends, syncs and writes one transaction, under the lock. It may be killed at any
 * point, and what is read meanwhile by this process is found at its old or its new
 * place (FG_EIO from fg_store_read: look the place up again).
 * Fails: FG_EIO, FG_EFULL, FG_ECORRUPT (naming the slab; what was done stays).
 */
int fg_store_gc(struct fg_store *s, const struct fg_gc_options *opt,
    struct fg_gc_stats *stats, struct fg_err *err) FG_MUST_USE;

#endif
