/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the files of the scheduler share: sched.c (tasks, waiters, begin and end),
 * sched_want.c (asking, admission), sched_run.c (threads, tries, results), sched_bulk.c
 * (boxes of blocks), sched_coarse.c, sched_stitch.c, sched_artefact.c (meshes and
 * skeletons), sched_share.c (parts of one task), sched_prune.c (old generations),
 * sched_rest.c (how long it will take), sched_view.c (numbers). Nobody else includes
 * this.
 */
#ifndef FG_WORK_SCHED_PRIV_H
#define FG_WORK_SCHED_PRIV_H

#include <pthread.h>

#include "work/commit.h"
#include "work/sched.h"

struct job;
struct share; /* sched_share.c */

/* Whether tasks of a kind flood, and so run on a driver. */
static inline bool
fg_sched_kind_floods(int kind)
{
	return kind == FG_KIND_BLOCK || kind == FG_KIND_RESEGMENT;
}

enum task_state { TASK_QUEUED, TASK_DELAYED, TASK_RUNNING, TASK_COMMITTING };

/* One thing being made. Lives from want to its one end; in the table all that time.
 * Everything but the atomics of `t` is guarded by fg_sched.lock, except `out` and
 * `memo`, which belong to the thread that runs or commits it. */
struct task {
	struct fg_task t;
	struct task *hash_next;
	struct task *prev, *next; /* in the list of its state (and class) */
	enum task_state state;
	bool prefetch;   /* wanted by nobody in particular: stays without waiters */
	bool again;      /* a coarse chunk whose children changed while it ran */
	uint32_t demand; /* how often it was asked for */
	struct fg_waiter *first, **last;
	size_t waiters;
	struct job **job; /* bulk calls that count on it */
	int jobs;
	int64_t due_ns;    /* DELAYED: when to try again */
	int64_t since_ns;  /* of its state */
	bool failed;       /* the try that is being committed failed */
	bool for_good;     /* and there will be no other */
	uint8_t now;       /* enum fg_now to tell when it ends */
	struct fg_err err; /* its reason */
	struct fg_output out;
	struct fg_commit_item commit;
	struct fg_sched *sched;
};

struct list {
	struct task *first, *last;
	size_t n;
};

/* fg_sched_call */
struct call {
	void (*fn)(void *ctx);
	void *ctx;
	struct call *next;
};
struct calls {
	struct call *first, **last;
	size_t n;
};
#define CALLS_MAX 4096
#define RESOURCES 3

/* What is known of one layer; made at its first want, kept. */
struct lane {
	uint32_t layer;
	unsigned queued;       /* INTERACTIVE blocks waiting */
	double block_s;        /* smoothed seconds per block, 0 = not known */
	double guess_s;        /* the same from the network's speed, until then */
	double fov_s;          /* measured seconds per field of view, 0 = not yet */
	int64_t stopped_until; /* monotonic ns: no device can run the recipe */
	char why[200];
	bool behind; /* blocks wait to be stitched that no task is queued for */
};

#define TABLE_SIZE 4096  /* buckets; power of two */
#define DEMAND_SIZE 1024 /* remembered wants; power of two */
#define QUEUED_MAX 4096  /* tasks of one class */
#define READERS_MAX 32
#define CHANGES_MAX 4096 /* power of two */
#define FAILED_SIZE 64   /* artefacts that failed, remembered */

/* An artefact that failed for good. */
struct failed {
	struct fg_key key;
	int64_t until_ns; /* monotonic */
	char why[200];
};

struct fg_sched {
	struct fg_store *store;
	struct fg_catalog *catalog;
	struct fg_sched_options opt; /* with the defaults filled in */
	struct fg_engines *engines;  /* NULL with opt.run */
	struct fg_committer *committer;
	int devices;
	int makers; /* threads for meshes and skeletons, at least 2 */
	char worker[80];
	pthread_t *thread;
	int threads;
	_Atomic bool prune_cancel;

	pthread_mutex_t lock;  /* guards everything below and every struct task */
	pthread_cond_t models; /* a block task came, a driver became free */
	pthread_cond_t others[RESOURCES];
	pthread_cond_t making;  /* an artefact task came, or a thread became free */
	pthread_cond_t sharing; /* parts came that others may do */
	pthread_cond_t idle;    /* running or committing went down, a job left */
	pthread_cond_t pruning; /* stopping */
	struct task *table[TABLE_SIZE];
	struct list blocks[FG_CLASSES], coarse[FG_CLASSES], artefacts[FG_CLASSES],
	    delayed, running, committing;
	struct share *share; /* tasks with parts to be done, the oldest first */
	int helping;         /* threads that do such parts for another */
	struct failed failed[FAILED_SIZE]; /* a ring */
	uint64_t faileds;
	struct calls calls[RESOURCES][FG_CLASSES];
	int downloads; /* BULK calls on io threads now */
	struct lane *lane;
	size_t lanes;
	struct {
		uint64_t hash;
		uint32_t n;
		int64_t last_ns;
	} demand[DEMAND_SIZE];
	int dead; /* tasks removed and not buried yet */
	uint64_t
	    ended; /* tasks that left the table: tells that an index look-up is old */
	uint64_t waiters;
	uint64_t block_bucket[FG_SCHED_BLOCK_BUCKETS];
	double block_sum_s;
	struct fg_sched_stats stats;          /* the counters since start */
	struct fg_change change[CHANGES_MAX]; /* the last ones, a ring */
	uint64_t changes;                     /* so many were there in all */
	int jobs;                             /* fg_sched_bulk calls */
	size_t backlog; /* blocks that they have not come to yet */
	bool stopping, quit;

	pthread_mutex_t reader_lock; /* guards the two below */
	struct fg_reader *reader[READERS_MAX];
	int readers;
};

/* ------------------------------------------------------------- sched.c; all but the
 * first three under the lock */

struct fg_reader *fg_sched_take_reader(struct fg_sched *s, struct fg_err *err);
void fg_sched_put_reader(struct fg_sched *s, struct fg_reader *r);
/* Tasks that left the table, with the waiters that were on them: wake and free. The
 * list is linked by `next`. Not under the lock. */
void fg_sched_bury(struct fg_sched *s, struct task *dead, enum fg_wake how);

struct task *fg_sched_find(struct fg_sched *s, const struct fg_key *key);
/* Where tasks of a kind and class wait. */
struct list *fg_sched_queue(struct fg_sched *s, int kind, int cls);
/* A new task at the end of its queue; due_ns > 0: delayed until then. */
struct task *fg_sched_add(struct fg_sched *s, struct fg_layer *l,
    const struct fg_key *key, enum fg_class cls, int attempt, int64_t due_ns);
/* Give a task another class, wherever it is. */
void fg_sched_set_class(struct fg_sched *s, struct task *t, enum fg_class cls);
/* Move between the lists of states; QUEUED wakes a thread. */
void fg_sched_set_state(struct fg_sched *s, struct task *t, enum task_state state);
/* Nobody waits any more: drop it if it is queued (it is put on *dead), lower it if it
 * runs. */
void fg_sched_settle(struct fg_sched *s, struct task *t, struct task **dead);
/* Out of lists and table, onto *dead; its waiters stay on it, its jobs are told. */
void fg_sched_remove(struct fg_sched *s, struct task *t, struct task **dead);
struct lane *fg_sched_lane(struct fg_sched *s, uint32_t layer);

/* Note a change of a block, or of a coarse chunk that is PRESENT now. */
void fg_sched_note(struct fg_sched *s, const struct task *t, enum fg_now now);

/* Hang a waiter on a task. */
void fg_sched_park(struct fg_sched *s, struct task *t, struct fg_waiter *w);
uint64_t fg_sched_hash_key(const struct fg_key *key);

/* ------------------------------------------------------------- sched_want.c */

/* Under the lock. Whether work for the layer may start (paused, broken, stopped,
 * shutting down): 0, or -1 with FG_EBUSY. */
int fg_sched_admit(struct fg_sched *s, const struct fg_layer *l, struct fg_err *err);

/* The task that makes a chunk: its block's, or its own for coarse ones. */
struct fg_key fg_sched_task_key(const struct fg_layer *l, const struct fg_key *chunk);
/* Under the lock: whether the layer's queue takes another interactive block. */
bool fg_sched_has_room(const struct fg_sched *s, const struct lane *lane);

/* What the index says of a block. Not under the lock. */
enum found { FOUND_NOTHING, FOUND_DONE, FOUND_FAILED, FOUND_LATER, FOUND_ERROR };
enum found fg_sched_look_block(struct fg_sched *s, uint32_t layer, uint64_t at,
    int *tries, int64_t *due_ns, struct fg_err *err);

/* ------------------------------------------------------------- sched_rest.c */

/* Seconds a block of the layer takes; 0: not known. Under the lock. */
double fg_sched_block_s(const struct lane *lane);
/* Guess that from the speed of its network, as long as none was made. Not under the
 * lock. */
void fg_sched_guess(struct fg_sched *s, const struct fg_layer *l);

/* ------------------------------------------------------------- sched_coarse.c; not
 * under the lock but for the last */

/* Look for stored chunks below an absent coarse one: *any, and in *first the coarse
 * chunk that has some directly below it: `chunk` itself or a finer one. */
int fg_sched_find_below(struct fg_reader *r, const struct fg_info *info,
    const struct fg_key *chunk, bool *any, struct fg_key *first,
    struct fg_err *err) FG_MUST_USE;
/* Queue a coarse chunk's task unless there is one. */
void fg_sched_start_coarse(struct fg_sched *s, struct fg_layer *l,
    const struct fg_key *key, enum fg_class cls);
/* Make all coarse chunks over a box (voxels of scale 0) that are absent or dirty, scale
 * by scale; returns when they are done. A chunk that fails is not an error: it is made
 * at the next demand. Fails: FG_ECANCELED, FG_EIO (index). */
int fg_sched_build_coarse(struct fg_sched *s, const struct fg_bulk_call *call,
    struct fg_err *err) FG_MUST_USE;
/* Coarse chunks above what a task just stored are out of date: queue them as IDLE. */
void fg_sched_refresh_above(struct fg_sched *s, const struct task *t);
/* Wait until the layer has no coarse or stitch task; queued: until few of all layers'
 * BULK ones are. Not under the lock. FG_ECANCELED. */
int fg_sched_wait_coarse(struct fg_sched *s, const struct fg_layer *l,
    const _Atomic bool *cancel, bool queued, struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- sched_stitch.c */

/* A block was stored: queue its stitch task. Under the lock. */
void fg_sched_stitch_block(struct fg_sched *s, const struct task *t);
/* A stitch task ended: queue more if some were left. Not under the lock. */
void fg_sched_stitch_more(struct fg_sched *s, const struct task *t);
/* At start: blocks that an earlier program did not come to stitch. Not under the lock.
 */
void fg_sched_stitch_left(struct fg_sched *s);

/* ------------------------------------------------------------- sched_artefact.c */

int fg_sched_check_artefact(const struct fg_layer *l, const struct fg_key *key,
    struct fg_err *err) FG_MUST_USE;
/* Whether the table is there in the object's generation. FG_ENOENT: no such object. Not
 * under the lock. */
int fg_sched_look_artefact(struct fg_sched *s, struct fg_layer *l,
    const struct fg_key *key, bool *current, struct fg_err *err) FG_MUST_USE;
/* Failures that stay. Under the lock. */
const char *fg_sched_failed_before(struct fg_sched *s, const struct fg_key *key);
void fg_sched_note_failed(struct fg_sched *s, const struct task *t);
void fg_sched_forget_failed(struct fg_sched *s, uint32_t layer);
/* For struct fg_env; ctx is the scheduler. */
int fg_sched_read_object(void *ctx, uint32_t layer, int kind, uint64_t id,
    struct fg_object *o, struct fg_object_block **blocks, size_t *n,
    struct fg_err *err) FG_MUST_USE;
int fg_sched_read_piece(void *ctx, const struct fg_key *key, uint64_t part, int64_t gen,
    struct fg_buf **out, struct fg_err *err) FG_MUST_USE;
int fg_sched_has_piece(void *ctx, const struct fg_key *key, uint64_t part, int64_t gen,
    bool *there, struct fg_err *err) FG_MUST_USE;
int fg_sched_put_part(void *ctx, struct fg_result *res, size_t bytes,
    struct fg_err *err) FG_MUST_USE;
/* Find the objects of a passive layer, on the calling thread. */
int fg_sched_scan(struct fg_sched *s, const struct fg_layer *l,
    const _Atomic bool *cancel, _Atomic uint64_t *done, struct fg_err *err) FG_MUST_USE;
void *fg_sched_make_artefacts(void *sched);

/* ------------------------------------------------------------- sched_share.c; not
 * under the lock */

/* For struct fg_env; ctx is the scheduler. */
int fg_sched_share(void *ctx, const struct fg_task *t, size_t n,
    int (*fn)(void *arg, size_t i, struct fg_err *err), void *arg,
    struct fg_err *err) FG_MUST_USE;
void *fg_sched_help(void *sched);

/* ------------------------------------------------------------- sched_prune.c */

void *fg_sched_prune(void *sched);

/* ------------------------------------------------------------- sched_view.c */

/* A block took so long. Under the lock. */
void fg_sched_count_block(struct fg_sched *s, double seconds);

/* ------------------------------------------------------------- sched_run.c */

/* How tasks read what there is. */
void fg_sched_fill_env(struct fg_sched *s, struct fg_env *env);
/* Run a RUNNING task to the end of its try. */
void fg_sched_run_task(struct fg_sched *s, struct task *t, int floods);
int fg_sched_start_threads(struct fg_sched *s, struct fg_err *err);
void fg_sched_join_threads(struct fg_sched *s);

/* ------------------------------------------------------------- sched_bulk.c; under
 * the lock */

/* A task ended, or was dropped (failed false, done false): tell the calls that counted
 * on it. */
enum job_end { JOB_DONE, JOB_FAILED, JOB_DROPPED };
/* Between these two the scheduler is not freed. Not under the lock. */
void fg_sched_enter_job(struct fg_sched *s);
void fg_sched_leave_job(struct fg_sched *s);
void fg_sched_tell_jobs(struct task *t, enum job_end how, const struct fg_err *err);

#endif
