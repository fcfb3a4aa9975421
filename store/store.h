/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data directory: the chunk index (SQLite, WAL) and the slabs that hold what was
 * generated. One process opens it for writing and holds its lock; any number read.
 *
 *   ROOT/lock                 flock'ed by the writer
 *   ROOT/readers              flock'ed, shared, by processes that only read: while one
 *                             is there no slab is deleted (store/gc.h)
 *   ROOT/index.sqlite         the index (setting index_dir moves it to a local disk)
 *   ROOT/slabs/NNNNNN.slab    append-only payload records
 *   ROOT/layers/NAME/         imported precomputed directories (not in the index)
 *
 * Threads: a `struct fg_store` may be used by several threads, but fg_commit and the
 * other writing calls by one at a time (the caller's committer). Each reading thread
 * has its own `struct fg_reader`.
 *
 * Order of a commit (never any other): append payloads to the slab, fdatasync it (and
 * the folder of a new slab, once), one SQLite transaction with synchronous=FULL, then
 * return. After a failed fdatasync that slab is closed for writing for good.
 *
 * Start-up never shortens a slab and never deletes rows in bulk: valid records past
 * the last indexed byte are indexed or counted dead; a missing or short slab makes
 * the layers that need it *degraded* until fg_store_repair.
 *
 * Slabs are understandable without the index: besides payloads they hold descriptors of
 * layers (also of layers that only name a source), and with each result its provenance,
 * objects, merges and empty chunks, jobs, and users' edits. Not in slabs: failure memos
 * and whether a layer is paused.
 *
 * FG_CRASH_AT=<point> or <point>:<n> in the environment kills the process (SIGKILL)
 * when it passes the point (for the n-th time), for tests; points in the order of a
 * commit: slab-append slab-half slab-written slab-synced dir-synced txn-begun txn-half
 *   txn-before-commit committed
 * and of an edit (store/object.h): edit-append slab-... edit-before-commit.
 * slab-half writes half of the buffered bytes first; dir-synced is passed only with a
 * new slab.
 */
#ifndef FG_STORE_STORE_H
#define FG_STORE_STORE_H

#include "base/array.h"
#include "base/buf.h"
#include "base/err.h"
#include "store/key.h"

struct fg_store;
struct fg_reader;

enum fg_store_mode {
	FG_STORE_READ,   /* beside a running writer */
	FG_STORE_WRITE,  /* takes the lock: FG_EBUSY names the holder's pid */
	FG_STORE_CREATE, /* as WRITE; makes the directory if there is none */
};

struct fg_store_options {
	const char *index_dir; /* NULL: ROOT */
	uint64_t slab_max;     /* bytes after which a new slab begins; 0: 1 GiB */
	double min_free;       /* fraction of the disk kept free; 0: 0.05 */
};

struct fg_store *fg_store_open(const char *root, enum fg_store_mode mode,
    const struct fg_store_options *opt, struct fg_err *err) FG_MUST_USE;
void fg_store_close(struct fg_store *s);
const char *fg_store_root(const struct fg_store *s);
const char *fg_store_uuid(const struct fg_store *s);
/* The index file; what else is local to this machine stands beside it. */
const char *fg_store_index_path(const struct fg_store *s);

/* Whether generation may go on: FG_EFULL "disk of ...: 3.1 % free, 5 % are kept". */
int fg_store_room(struct fg_store *s, struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- layers */

/*
 * What the index knows of a layer. The JSON texts are opaque to the store:
 *   info    the volume's info as served (fg_info_format), all scales
 *   source  {"url": ...} for a layer read from elsewhere, NULL for a generated one
 *   recipe  a generated layer's whole recipe, fixed at creation (work/recipe.h); NULL
 *   grid    block grid of a generated layer as JSON; NULL
 */
struct fg_layer_row {
	uint32_t layer;
	char uuid[37];
	char *name, *kind; /* kind: "image", "segmentation" */
	char *info, *source, *recipe, *grid;
	bool paused;
	bool degraded; /* set at start-up: a slab that it needs is missing or short */
	char *why;     /* reason when degraded, or NULL */
	int64_t merge_gen, mesh_epoch;
};

void fg_layer_row_fini(struct fg_layer_row *r);
/* A new layer: uuid and row id are chosen here and written to *r. Name taken, reserved
 * or not of the form [A-Za-z0-9][A-Za-z0-9._-]*: FG_EINVAL. recipe is stored in
 * `params` by its SHA-256. */
int fg_store_layer_add(struct fg_store *s, struct fg_layer_row *r,
    struct fg_err *err) FG_MUST_USE;
/* Forget a layer: its rows go, its slab records are counted dead. Its number is never
 * used again. */
int fg_store_layer_remove(struct fg_store *s, uint32_t layer,
    struct fg_err *err) FG_MUST_USE;
int fg_store_layer_pause(struct fg_store *s, uint32_t layer, bool paused,
    struct fg_err *err) FG_MUST_USE;
/* All layers by name; *rows is malloc'ed: fini each, free(). */
int fg_store_layers(struct fg_reader *r, struct fg_layer_row **rows, size_t *n,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- reading */

/* One per thread; NOMUTEX connection, prepared statements. */
struct fg_reader *fg_reader_open(struct fg_store *s, struct fg_err *err) FG_MUST_USE;
void fg_reader_close(struct fg_reader *r);

enum fg_state {
	FG_ABSENT = 0, /* no row */
	FG_PRESENT = 1,
	FG_EMPTY = 2,   /* known background; no payload */
	FG_PARTIAL = 3, /* coarse chunk made while some children were absent */
};

struct fg_place {
	enum fg_state state;
	bool dirty;  /* a coarse chunk whose children changed since */
	uint8_t enc; /* enum fg_encoding */
	uint32_t slab;
	uint64_t off; /* of the payload bytes in the slab */
	uint64_t len;
	uint32_t crc; /* crc32c of the payload */
	int64_t run;  /* provenance row, 0 = none */
	int64_t gen;  /* generation of an artefact; else 0 */
};

/* Look a chunk or artefact up. state = FG_ABSENT if there is no row. */
int fg_reader_find(struct fg_reader *r, const struct fg_key *key,
    struct fg_place *place, struct fg_err *err) FG_MUST_USE;
/* The same for piece `part` of an artefact, its newest generation; fg_reader_find looks
 * for part 0. */
int fg_reader_part(struct fg_reader *r, const struct fg_key *key, uint64_t part,
    struct fg_place *place, struct fg_err *err) FG_MUST_USE;
/* The same for one generation. */
int fg_reader_gen(struct fg_reader *r, const struct fg_key *key, uint64_t part,
    int64_t gen, struct fg_place *place, struct fg_err *err) FG_MUST_USE;

/* Read the payload at a place. nowait: from the page cache only, *out = NULL and
 * return 0 where that would wait (preadv2 RWF_NOWAIT). The crc is verified:
 * FG_ECORRUPT names slab and offset. Thread-safe, needs no reader. */
int fg_store_read(struct fg_store *s, const struct fg_place *place, bool nowait,
    struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

enum fg_block_state { FG_BLOCK_ABSENT, FG_BLOCK_DONE, FG_BLOCK_FAILED };

struct fg_block_row {
	uint64_t at;
	enum fg_block_state state;
	int tries;           /* failed attempts so far */
	int64_t next_try_ms; /* wall clock; 0 = not before a retry is asked for */
	int64_t run;
	char error[200];
};

int fg_reader_block(struct fg_reader *r, uint32_t layer, uint64_t at,
    struct fg_block_row *out, struct fg_err *err) FG_MUST_USE;
/* Calls fn for every block row of a layer, in order of `at`; stops when fn returns
 * non-zero and returns that. */
int fg_reader_blocks(struct fg_reader *r, uint32_t layer,
    int (*fn)(void *ctx, const struct fg_block_row *row), void *ctx,
    struct fg_err *err);

/* Pieces of a key of an artefact, ascending; *part is malloc'ed. */
int fg_reader_parts(struct fg_reader *r, const struct fg_key *key, uint64_t **part,
    size_t *n, struct fg_err *err) FG_MUST_USE;
/* The highest piece that a key has in one generation; *there: whether it has any, else
 * *part stays. Cost: a pass over the key's rows. */
int fg_reader_part_of(struct fg_reader *r, const struct fg_key *key, int64_t gen,
    uint64_t *part, bool *there, struct fg_err *err) FG_MUST_USE;
/* Ids that have a row like key (whose `at` does not count), by value as a signed
 * number, those after *after (NULL: from the first); at most max. *id is malloc'ed. */
int fg_reader_ids(struct fg_reader *r, const struct fg_key *key, const uint64_t *after,
    size_t max, uint64_t **id, size_t *n, struct fg_err *err) FG_MUST_USE;
/* How many rows are like key (whose `at` does not count). Cost: a pass over them. */
int fg_reader_rows(struct fg_reader *r, const struct fg_key *key, uint64_t *n,
    struct fg_err *err) FG_MUST_USE;

/* How many blocks of a layer are made. Cost: a pass over its block rows. */
int fg_reader_blocks_done(struct fg_reader *r, uint32_t layer, uint64_t *n,
    struct fg_err *err) FG_MUST_USE;

/* Provenance of a run as JSON: kind, params (recipe), worker, device, version,
 * started, ended, stats. json_decref via fg_json; text is malloc'ed here. */
int fg_reader_run(struct fg_reader *r, int64_t run, char **json,
    struct fg_err *err) FG_MUST_USE;

struct fg_store_counts {
	uint64_t chunks, empty, blocks_done, blocks_failed, objects;
	uint64_t bytes; /* payload bytes of present chunks and artefacts */
};
/* layer 0: all layers. Cost: one pass over the index; for status pages, not requests.
 */
int fg_reader_count(struct fg_reader *r, uint32_t layer, struct fg_store_counts *out,
    struct fg_err *err) FG_MUST_USE;

/* Bytes on the disk. Cost: one row per slab. */
struct fg_store_sizes {
	uint64_t slabs, slab_bytes, dead_bytes; /* dead: of the slabs', nobody's */
	uint64_t index_bytes;                   /* with its log */
};
int fg_reader_sizes(struct fg_reader *r, struct fg_store_sizes *out,
    struct fg_err *err) FG_MUST_USE;

/* The last `max` runs, newest first, as a JSON array (text malloc'ed). */
int fg_reader_recent(struct fg_reader *r, int max, char **json,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- writing */

/* One thing to store. bytes NULL: state only (EMPTY). */
struct fg_payload {
	struct fg_key key;
	uint64_t part; /* artefacts: piece number; else 0 */
	int64_t gen;   /* artefacts: generation; else 0 */
	enum fg_state state;
	uint8_t enc;
	struct fg_buf *bytes; /* borrowed during the commit */
};

struct fg_merge; /* store/object.h */
struct fg_contact;

struct fg_object_row {
	uint64_t id;
	uint64_t voxels;      /* in the core of the block */
	int64_t lo[3], hi[3]; /* bounding box, voxels of scale 0 */
	bool seeded;          /* seed is known */
	int64_t
	    seed[3]; /* where its flood began, voxel of scale 0: maybe in the halo */
};

/* What one finished task yields; everything of it becomes visible in one transaction.
 */
struct fg_result {
	struct fg_key task; /* BLOCK, STITCH, RESEGMENT, or CHUNK for coarse chunks */
	bool failed;        /* then only error, tries and next_try_ms count */
	char error[200];
	int tries;
	int64_t next_try_ms;
	const struct fg_payload *payload;
	size_t payloads;
	const struct fg_object_row *object;
	size_t objects;
	const struct fg_merge *merge; /* STITCH: what was found */
	size_t merges;
	const struct fg_contact *contact; /* RESEGMENT: what became of them */
	size_t contacts;
	const char *worker, *device, *version; /* provenance; strings, may be NULL */
	int64_t started_ms, ended_ms;          /* wall clock */
	const char *stats;                     /* JSON text or NULL */
	struct fg_place *places; /* out: `payloads` entries, filled on success */
};

/*
 * Commit a group of results: all of them or none. A result whose block (or chunk) is
 * PRESENT or EMPTY and not dirty already is dropped, its places filled from the index
 * (FG_ABSENT where the one that won has no such payload): the first valid one wins. A
 * result of a mesh or skeleton task is dropped if all its payloads are there, each in
 * its generation. PARTIAL and dirty chunks are replaced. The chunks of coarser scales
 * over a committed chunk become dirty in the same transaction.
 *
 * Fails with nothing of the group visible: FG_EFULL, FG_EIO (try again later);
 * FG_ENOENT (a layer was removed), FG_EBUSY (a layer is degraded), FG_EINVAL: found
 * before anything is written; commit the results one by one to learn which of them it
 * is. After a crash within the call each result is there whole or not at all.
 */
int fg_commit(struct fg_store *s, struct fg_result *const *results, size_t n,
    struct fg_err *err) FG_MUST_USE;

/* Forget the failure memo of a block, or of all blocks of a layer (at = UINT64_MAX). */
int fg_store_retry(struct fg_store *s, uint32_t layer, uint64_t at,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- jobs */

/* Values are stored: never renumber. From DONE on a job is over. */
enum fg_job_state {
	FG_JOB_OPEN = 0, /* waiting or running: which of the two is not recorded */
	FG_JOB_PAUSED = 1,
	FG_JOB_DONE = 2,
	FG_JOB_FAILED = 3,
	FG_JOB_CANCELLED = 4,
};

/* A user's wish. The JSON texts are opaque to the store (work/plan.c). */
struct fg_job_row {
	int64_t job; /* 1 .. */
	uint32_t layer;
	char *box, *stages, *error; /* error: "" or NULL without one */
	int cls;                    /* enum fg_class */
	enum fg_job_state state;
	int64_t created_ms, updated_ms; /* wall clock */
};

void fg_job_row_fini(struct fg_job_row *r);
/* Write a job, into a slab and the index; job 0: a new one, whose number is chosen here
 * (none is used twice) and written back. Fails: FG_ENOENT (no such layer), FG_EIO,
 * FG_EFULL. */
int fg_store_job_put(struct fg_store *s, struct fg_job_row *r,
    struct fg_err *err) FG_MUST_USE;
/* Forget all but the newest `keep` of the jobs that are over. */
int fg_store_jobs_prune(struct fg_store *s, int64_t keep,
    struct fg_err *err) FG_MUST_USE;
/* All jobs, oldest first; *rows is malloc'ed: fini each, free(). */
int fg_reader_jobs(struct fg_reader *r, struct fg_job_row **rows, size_t *n,
    struct fg_err *err) FG_MUST_USE;
/* Mean wall time in ms of the last blocks of a layer that were made (at most 50), and
 * how many these are; 0 and 0 if there are none. */
int fg_reader_block_ms(struct fg_reader *r, uint32_t layer, double *ms, int *n,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- care */

/* One finding of verify: severity "error" or "warning", and a sentence. */
typedef void fg_finding_fn(void *ctx, bool is_error, const char *text);

struct fg_verify_stats {
	uint64_t rows, records, bytes, errors, warnings;
};

/* Check crc, index and grid against each other; opens ROOT read-only, also beside a
 * running daemon. progress may be NULL: called with bytes done and in all. */
int fg_store_verify(const char *root, const struct fg_store_options *opt,
    fg_finding_fn *fn, void (*progress)(void *ctx, uint64_t done, uint64_t all),
    void *ctx, struct fg_verify_stats *stats, struct fg_err *err) FG_MUST_USE;

struct fg_reindex_stats {
	uint64_t slabs, results; /* taken in */
};

/* Make the index again from the slabs (and keep the old one as index.sqlite.old-N).
 * Layer rows are restored from the descriptors that slabs carry. stats may be NULL. */
int fg_store_reindex(const char *root, const struct fg_store_options *opt,
    fg_finding_fn *fn, void (*progress)(void *ctx, uint64_t done, uint64_t all),
    void *ctx, struct fg_reindex_stats *stats, struct fg_err *err) FG_MUST_USE;

/* Accept what is lost: rows whose slab bytes are gone are deleted (counted and told
 * through fn), layers are no longer degraded. */
int fg_store_repair(const char *root, const struct fg_store_options *opt,
    fg_finding_fn *fn, void *ctx, struct fg_err *err) FG_MUST_USE;

/* Consistent copy of index and slabs into the new folder dest, also beside a
 * running daemon. */
int fg_store_backup(const char *root, const struct fg_store_options *opt,
    const char *dest, struct fg_err *err) FG_MUST_USE;

#endif
