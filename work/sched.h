/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler: who waits for what, what runs where, and in which order.
 *
 * One lock, one hash table key -> task, and per resource (io, cpu, one per model) one
 * list per class. A task goes QUEUED -> RUNNING -> COMMITTING -> DONE | FAILED and ends
 * exactly once. `want` on a known key joins it (coalescing) and may raise its class
 * (promotion), queued or running. No waiters left: a queued interactive task goes back
 * to its job's class or is dropped; a running one becomes BULK. The order of locks and
 * what each guards is written at the top of sched.c.
 *
 * The scheduler owns the worker threads (io, cpu, task drivers, makers of meshes and
 * skeletons, and those that help them), the device threads of the engines and the
 * committer (group commit: 64 results or 5 ms).
 */
#ifndef FG_WORK_SCHED_H
#define FG_WORK_SCHED_H

#include "store/store.h"
#include "work/catalog.h"
#include "work/task.h"

struct fg_sched;

struct fg_sched_options {
	int io_threads, cpu_threads; /* 0: 4, number of cores */
	int net_threads;             /* 0: 16 */
	const char *devices;         /* comma list ("cpu:0,cpu:1"); NULL: all usable */
	int queue_s;                 /* interactive work admitted per layer: seconds of
					block time (fg_sched_rest); 0: 120 */
	int bulk_every;              /* 0: 8 */
	int attempts;                /* failed tries before a block is given up; 0: 3 */
	int64_t skeleton_whole;      /* see struct fg_env */
	uint64_t skeleton_vertices;  /* the same */
	struct fg_mesh_limits mesh;
	int64_t mesh_keep_ms; /* how long old generations stay (work/prune.h); 0: for
				 ever */
	int retry_ms;         /* first delay, doubled each time; 0: 1000 */
	fg_task_fn *run;      /* NULL: fg_task_run. Tests put their own here; no
				 engine is made then */
};

struct fg_sched *fg_sched_new(struct fg_store *s, struct fg_catalog *c,
    const struct fg_sched_options *opt, struct fg_err *err) FG_MUST_USE;
/* Refuse new work, let running tasks finish until the deadline (monotonic ns), then
 * cancel them; wakes every waiter (FG_WAKE_SHUTDOWN). Then fg_sched_free. */
void fg_sched_stop(struct fg_sched *s, int64_t deadline_ns);
void fg_sched_free(struct fg_sched *s);

/* ------------------------------------------------------------- waiting for a chunk */

enum fg_wake {
	FG_WAKE_BYTES,  /* bytes: the encoded chunk */
	FG_WAKE_EMPTY,  /* known background */
	FG_WAKE_ABSENT, /* the source has no such chunk */
	FG_WAKE_FAILED, /* for good: err says why */
	FG_WAKE_RETRY,  /* failed for now, or the task was dropped: ask again */
	FG_WAKE_SHUTDOWN,
};

struct fg_waiter {
	/* Called exactly once per PARKED waiter unless fg_sched_leave returned true; on
	 * a scheduler thread, no lock held. bytes is borrowed: take a reference. The
	 * waiter's memory is the caller's; after wake the scheduler no longer touches
	 * it. */
	void (*wake)(struct fg_waiter *w, enum fg_wake how,
	    const struct fg_place *place, struct fg_buf *bytes,
	    const struct fg_err *err);
	struct fg_key chunk; /* what is wanted: kind CHUNK, or PROB of a NAME.prob, or
				the TABLE of a MESH or SKELETON */
	/* private to the scheduler */
	struct fg_waiter *next, *prev;
	void *task;
};

enum fg_want {
	FG_WANT_PARKED,  /* wake will be called */
	FG_WANT_READY,   /* present by now: look it up again */
	FG_WANT_ABSENT,  /* not made on demand (coarse chunk with nothing below it) */
	FG_WANT_REFUSED, /* queue full, layer paused or broken, disk below min_free,
			    shutting down: err says which */
	FG_WANT_FAILED,  /* failed for good earlier: err says why */
};

/*
 * Ask for a chunk of a generated layer: finest scale = its block's segment task, a
 * coarser scale = its chunk task (which never starts a flood). With waiter NULL the
 * task is only started or promoted (BULK: prefetch), nobody is woken.
 *
 * Also for meshes and skeletons (work/artefact.h): READY when there is one of the
 * object's generation, ABSENT when there is no such object.
 */
enum fg_want fg_sched_want(struct fg_sched *s, struct fg_layer *l,
    const struct fg_key *chunk, enum fg_class cls, struct fg_waiter *w,
    struct fg_err *err);

/*
 * Seconds until a chunk that is wanted will probably be there: how long its task has
 * been running, what is queued before it, and how long blocks of its layer take
 * (measured on blocks made since start, else from the network's speed so far). When a
 * new block would be refused: until there is room for it. 0: not known, or nothing
 * makes it.
 */
double fg_sched_rest(struct fg_sched *s, struct fg_layer *l,
    const struct fg_key *chunk);

/* Note that in an epoch an object's levels of detail are those of generation gen,
 * unless that is noted already. Waits for the commit. */
int fg_sched_pin(struct fg_sched *s, const struct fg_layer *l, uint64_t id,
    int64_t epoch, int64_t gen, struct fg_err *err) FG_MUST_USE;

/* Client gone or hold window over: true if w was still parked (wake will not be
 * called), false if wake was or is just being called. */
bool fg_sched_leave(struct fg_sched *s, struct fg_waiter *w);

/* ------------------------------------------------------------- other work */

enum fg_resource {
	FG_RES_IO,
	FG_RES_CPU,
	FG_RES_NET, /* waits for other machines: apart, so that these hold up nobody
		       else */
};

/* Run fn(ctx) on a thread of that resource, by class then first come first served.
 * False when shutting down or the queue (4096) is full; fn is not called then. */
bool fg_sched_call(struct fg_sched *s, enum fg_resource res, enum fg_class cls,
    void (*fn)(void *ctx), void *ctx) FG_MUST_USE;

/*
 * Make all blocks of a box (voxels of the finest scale) of a generated layer, as BULK,
 * keeping a window of tasks queued, in Morton order; present blocks are skipped.
 * Blocks the caller until all are done, with the coarse chunks above them. progress may
 * be NULL and is called on the caller's thread, about once a second and after each
 * block. Returns -1 with the first error if any block failed (after the others are
 * done) or on cancel.
 */
struct fg_bulk_progress {
	uint64_t all, done, skipped, failed;
	uint64_t steps;           /* fields of view computed so far */
	uint64_t queued, running; /* of the window, now */
	double seconds;
	double fraction; /* 0..1, counting running blocks by their seeds */
};
int fg_sched_bulk(struct fg_sched *s, struct fg_layer *l, const struct fg_box *vx,
    void (*progress)(void *ctx, const struct fg_bulk_progress *p), void *ctx,
    const _Atomic bool *cancel, struct fg_err *err) FG_MUST_USE;

/*
 * The parts of fg_sched_bulk, for the planner of jobs: the blocks of a box, and the
 * coarse chunks above them (whose progress counts chunks).
 *   cls      FG_BULK or FG_IDLE
 *   cancel   polled; NULL: never
 *   spare    looked at when cancel is set: running blocks go on without this call;
 * NULL: those that nobody else wants are cancelled complete out: every block was dealt
 * with, so -1 means failed ones
 */
struct fg_bulk_call {
	struct fg_layer *layer;
	struct fg_box vx; /* voxels of the finest scale */
	enum fg_class cls;
	void (*progress)(void *ctx, const struct fg_bulk_progress *p);
	void *ctx;
	const _Atomic bool *cancel, *spare;
	bool complete;
};
int fg_sched_blocks(struct fg_sched *s, struct fg_bulk_call *call,
    struct fg_err *err) FG_MUST_USE;
int fg_sched_coarse(struct fg_sched *s, struct fg_bulk_call *call,
    struct fg_err *err) FG_MUST_USE;
/* Compare all blocks that the box touches, and those beside them, with their neighbours
 * (work/stitch.h), where that was not done yet. */
int fg_sched_stitch(struct fg_sched *s, struct fg_bulk_call *call,
    struct fg_err *err) FG_MUST_USE;
/* Flood the contacts of the box's blocks again (work/resegment.h), where that was not
 * done yet and all neighbours are stitched; the others are skipped. */
int fg_sched_resegment(struct fg_sched *s, struct fg_bulk_call *call,
    struct fg_err *err) FG_MUST_USE;
/*
 * Make the meshes (in levels of detail too, where this build can) or skeletons of
 * objects of call->layer (NAME: base objects, NAME.agg: components), in order of their
 * ids; progress counts objects.
 *   ids  n of them; NULL: all whose bounding box reaches into call->vx. Members of a
 *        component are names of it; what is no object counts as failed
 */
int fg_sched_objects(struct fg_sched *s, struct fg_bulk_call *call, enum fg_kind kind,
    const uint64_t *ids, size_t n, struct fg_err *err) FG_MUST_USE;
/* The blocks that a box touches, on the block grid; FG_EINVAL outside the layer, or if
 * they are more than one call takes (2^24). */
int fg_sched_block_box(const struct fg_layer *l, const struct fg_box *vx,
    struct fg_box *blk, struct fg_err *err) FG_MUST_USE;

/* Forget a block's failures so that it may be tried again. */
int fg_sched_retry(struct fg_sched *s, struct fg_layer *l, uint64_t at,
    struct fg_err *err) FG_MUST_USE;

/* The layer left the catalogue or was paused: its queued tasks are dropped (waiters
 * woken with RETRY), running ones are cancelled if `cancel`. */
void fg_sched_forget_layer(struct fg_sched *s, uint32_t layer, bool cancel);

/* ------------------------------------------------------------- sight */

struct fg_sched_stats {
	uint64_t queued[FG_CLASSES], running, committing;             /* tasks now */
	uint64_t waiters;                                             /* parked now */
	uint64_t done, failed, dropped, coalesced, promoted, refused; /* since start */
	uint64_t commits, commit_results;
	uint64_t io_queued, cpu_queued, net_queued;
	double block_s; /* smoothed seconds per block task, 0 = not known yet */
};
void fg_sched_get_stats(struct fg_sched *s, struct fg_sched_stats *out);

/* What devices did, and how long blocks took, since start. */
#define FG_SCHED_BLOCK_BUCKETS 11
struct fg_sched_load {
	int devices;
	uint64_t steps, waiting;   /* fields of view computed, and queued now */
	double busy_s;             /* of all devices together */
	const double *block_bound; /* seconds, FG_SCHED_BLOCK_BUCKETS - 1 of them */
	uint64_t block_bucket[FG_SCHED_BLOCK_BUCKETS]; /* up to each, and beyond */
	double block_sum_s;
};
void fg_sched_get_load(struct fg_sched *s, struct fg_sched_load *out);

int fg_sched_device_count(const struct fg_sched *s);

/* True while no device can run the layer's recipe; why is filled in then. */
bool fg_sched_stopped(struct fg_sched *s, uint32_t layer, char why[200]);

/* Blocks that changed their state, and coarse chunks, meshes and skeletons that were
 * stored, and blocks that were compared with their neighbours. */
enum fg_now {
	FG_NOW_ABSENT, /* dropped: nobody wants it any more */
	FG_NOW_QUEUED,
	FG_NOW_DELAYED, /* a try failed, another is left */
	FG_NOW_RUNNING,
	FG_NOW_PRESENT,
	FG_NOW_FAILED,    /* for good */
	FG_NOW_FORGOTTEN, /* failures were: of the block, or at UINT64_MAX of all */
};
struct fg_change {
	struct fg_key key; /* BLOCK; or PRESENT and CHUNK with scale >= 1, MESH,
			      SKELETON, STITCH or RESEGMENT */
	uint8_t now;       /* enum fg_now */
};
/*
 * The changes after number *since, oldest first, at most max; *since goes on to the
 * last one. Only the last 4096 are kept: *lost says that some before these are gone.
 * Returns their number. *since UINT64_MAX: begin now. Never waits: this is for polling.
 */
size_t fg_sched_changes(struct fg_sched *s, uint64_t *since, struct fg_change *out,
    size_t max, bool *lost);

/*
 * What is queued, running and so on among the blocks of a box (block grid): `now` holds
 * one byte for each block of the box, x fastest, and becomes an enum fg_now where there
 * is a task; other bytes stay as they are. Cost: one pass over the tasks.
 */
void fg_sched_look(struct fg_sched *s, uint32_t layer, const struct fg_box *blk,
    uint8_t *now);

/* Seconds per field of view of a layer's network with all devices at work, measured
 * once and remembered. Cost: seconds, and the network is loaded. Fails as
 * fg_engine_measure; FG_ENOTSUP without engines. */
int fg_sched_measure(struct fg_sched *s, const struct fg_layer *l, double *fov_s,
    struct fg_err *err) FG_MUST_USE;

/* Devices in use with model, precision, steps, steps/s, busy share, queue depth. */
json_t *fg_sched_devices(struct fg_sched *s) FG_MUST_USE;
/* Tasks queued or running: key, class, state, waiters, progress 0..1, seconds. At most
 * `max`, running ones first. */
json_t *fg_sched_tasks(struct fg_sched *s, size_t max) FG_MUST_USE;

#endif
