/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of a `struct fg_store`, shared by store.c (open, read), commit.c (write),
 * recover.c (start-up) and care.c. Not for others.
 */
#ifndef FG_STORE_STORE_IMPL_H
#define FG_STORE_STORE_IMPL_H

#include <pthread.h>

#include "store/known.h"
#include "store/index.h"
#include "store/slab.h"
#include "store/store.h"

/* Slabs that stay open for reading; slab N lives in entry N % FG_OPEN_SLABS. */
#define FG_OPEN_SLABS 256

struct fg_open_slab {
	uint32_t slab; /* 0: entry unused */
	int fd;
	unsigned refs; /* reads in progress */
};

/* A slab row that the next transaction writes. */
struct fg_touch {
	struct fg_slab_row row;
	uint64_t known; /* what the index says of its length now */
};

struct fg_degraded {
	uint32_t layer;
	char *why;
};

struct fg_store {
	char *root, *index_path, *slab_dir;
	enum fg_store_mode mode;
	int lock_fd;    /* -1: no lock held */
	int readers_fd; /* mode READ: ROOT/readers, held shared; -1: there is none */
	uint64_t slab_max;
	double min_free;
	char uuid[37];
	uint8_t uuid_bytes[16];

	/* Fixed after opening. */
	struct fg_degraded *degraded;
	size_t degradeds;

	pthread_mutex_t open_lock; /* guards open */
	struct fg_open_slab open[FG_OPEN_SLABS];

	/* The writer's; one thread at a time. */
	struct fg_index *index; /* NULL in mode READ */
	struct fg_known_set catalog;
	struct fg_crash crash;
	struct fg_slab *slab;   /* being appended to; NULL: opened at the next need */
	uint32_t slab_id;       /* the one to go on with; 0: begin a new one */
	uint64_t slab_known;    /* bytes of it that the index knows */
	uint32_t next_slab;     /* number for a new one */
	struct fg_touch *touch; /* finished slabs that the index has not heard of yet */
	size_t touches;
};

/* Close the descriptor of a slab that was deleted, once nobody reads it. */
void fg_store_slab_drop(struct fg_store *s, uint32_t slab);
/* Why a layer is degraded, or NULL. */
const char *fg_store_why(const struct fg_store *s, uint32_t layer);
char *fg_store_slab_path(const struct fg_store *s, uint32_t slab);

/* Paths, options and lock, without touching the index. For care.c. */
struct fg_store *fg_store_prepare(const char *root, enum fg_store_mode mode,
    const struct fg_store_options *opt, struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- commit.c */

/* A slab with room for n more bytes (or an empty one), in s->slab. */
int fg_store_slab_ready(struct fg_store *s, uint64_t n, struct fg_err *err) FG_MUST_USE;
/* Sync it, and write the rows of all touched slabs into the open transaction. */
int fg_store_slab_sync(struct fg_store *s, struct fg_err *err) FG_MUST_USE;
int fg_store_slab_rows(struct fg_store *s, struct fg_err *err) FG_MUST_USE;
/* The layer's LAYER record, unless the slab at hand has it. */
int fg_store_put_descriptor(struct fg_store *s, struct fg_known *k,
    struct fg_err *err) FG_MUST_USE;
/* Append no more to the slab at hand: the next record begins another. */
int fg_store_slab_seal(struct fg_store *s, struct fg_err *err) FG_MUST_USE;
/* After the transaction: it is true now / it never happened. */
void fg_store_slab_done(struct fg_store *s);
void fg_store_slab_undo(struct fg_store *s);

/* ------------------------------------------------------------- recover.c */

/* Compare slabs with the index: finds degraded layers; in a writing mode also indexes
 * tails and chooses the slab to go on with. `ix` is any connection. */
int fg_recover(struct fg_store *s, struct fg_index *ix, struct fg_err *err) FG_MUST_USE;

/* Replays slabs into an index. */
struct fg_replay {
	struct fg_index *ix;
	struct fg_known_set *catalog;
	const uint8_t *store_uuid;
	int64_t run0; /* rows of runs up to this one stay as they are */
	fg_finding_fn *fn;
	void *ctx;
	void (*progress)(void *ctx, uint64_t done, uint64_t all);
	uint64_t done, all;
	/* Put stitch results off until fg_replay_later: compaction may have moved a
	 * block's result behind them, and a block that is put forgets what it was
	 * compared with. */
	bool defer;
	struct fg_record *later; /* their COMMIT records; free() */
	size_t laters;
	/* out */
	uint8_t (*removed)[16]; /* layers whose removal was met; free() */
	size_t removeds;
	uint64_t results, layers, lost; /* taken; taken; damaged */
};

/* (fg_replay_later: take in what was put off, when all slabs are read.) */
/* Take in bytes [from, size) of an open slab, one transaction, and set its slab row.
 * *foreign: it holds nothing of this store, and nothing was done. */
int fg_replay_later(struct fg_replay *r, struct fg_store *s,
    struct fg_err *err) FG_MUST_USE;
int fg_replay_slab(struct fg_replay *r, int fd, uint32_t slab, const char *what,
    uint64_t from, uint64_t size, bool *foreign, struct fg_err *err) FG_MUST_USE;

#endif
