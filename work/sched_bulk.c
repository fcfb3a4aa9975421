/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Boxes of blocks, and lists of objects: fg_sched_bulk walks the blocks of a box in
 * Morton order and keeps a window of them queued as BULK. What is present is skipped,
 * what is being made anyway is joined, so that restart, overlap and interactive traffic
 * cost nothing.
 *
 * A struct job lives on the stack of the call. Tasks point to the jobs that count on
 * them; when one ends, each of its jobs is told under the lock.
 */
#include "config.h"

#include "work/sched_priv.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/morton.h"
#include "mesh/draco.h"
#include "work/artefact.h"
#include "work/objects.h"
#include "work/resegment.h"

#define POLL_NS (50 * FG_NS_PER_MS) /* how soon a cancel is seen */
#define OBJECT_PAGE 4096
#define BLOCKS_MAX (INT64_C(1) << 24) /* 128 MiB of list */

struct job {
	pthread_cond_t changed;
	struct task **window; /* tasks under way, NULL = free place */
	int size, used;
	uint64_t done, failed, dropped; /* guarded by fg_sched.lock */
	struct fg_err err;              /* of the first failure */
};

void
fg_sched_tell_jobs(struct task *t, enum job_end how, const struct fg_err *err)
{
	for (int i = 0; i < t->jobs; i++) {
		struct job *j = t->job[i];
		int k = 0;

		while (j->window[k] != t)
			k++;
		j->window[k] = NULL;
		j->used--;
		j->done += how == JOB_DONE;
		j->failed += how == JOB_FAILED;
		j->dropped += how == JOB_DROPPED;
		if (err && j->err.code == FG_OK)
			j->err = *err;
		pthread_cond_signal(&j->changed);
	}
	t->jobs = 0;
}

static void
join_job(struct job *j, struct task *t)
{
	int k = 0;

	for (int i = 0; i < t->jobs; i++)
		fg_assert(t->job[i] != j);
	while (j->window[k])
		k++;
	j->window[k] = t;
	j->used++;
	t->job = fg_realloc(t->job, (size_t)t->jobs + 1, sizeof(struct job *));
	t->job[t->jobs++] = j;
}

/* The same for a task that exists: it takes the higher class. */
static void
join_task(struct fg_sched *s, struct job *j, struct task *t, enum fg_class cls)
{
	if ((int)cls < t->t.cls)
		fg_sched_set_class(s, t, cls);
	join_job(j, t);
}

/* The call ends early: its tasks go on for whoever else wants them. Under the lock. */
static void
abandon(struct fg_sched *s, struct job *j, bool spare, struct task **dead)
{
	for (int k = 0; k < j->size; k++) {
		struct task *t = j->window[k];
		int i = 0;

		if (!t)
			continue;
		while (t->job[i] != j)
			i++;
		t->job[i] = t->job[--t->jobs];
		j->window[k] = NULL;
		if (t->state == TASK_RUNNING && !t->waiters && !t->jobs &&
		    !t->prefetch && !spare)
			t->t.cancel = true;
		fg_sched_settle(s, t, dead);
	}
	j->used = 0;
}

static int
by_code(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

int
fg_sched_block_box(const struct fg_layer *l, const struct fg_box *vx,
    struct fg_box *blk, struct fg_err *err)
{
	const struct fg_scale *s = &l->info.scale[0];
	const int64_t *block = l->recipe ? l->recipe->block : l->block;
	struct fg_box b, g;

	fg_scale_bounds(s, &b);
	if (!fg_box_intersect(&b, vx, &b))
		return fg_fail(err, FG_EINVAL, "the box is outside layer %s", l->name);
	for (int d = 0; d < 3; d++) {
		g.lo[d] = (b.lo[d] - s->offset[d]) / block[d];
		g.hi[d] = fg_div_ceil(b.hi[d] - s->offset[d], block[d]);
	}
	if (fg_box_volume(&g) > BLOCKS_MAX)
		return fg_fail(err, FG_EINVAL,
		    "the box has %lld blocks, at most %lld are made in one go",
		    (long long)fg_box_volume(&g), (long long)BLOCKS_MAX);
	*blk = g;
	return 0;
}

/* Morton codes of the blocks that the box touches, sorted. */
static int
list_blocks(const struct fg_layer *l, const struct fg_box *vx, uint64_t **out,
    size_t *n, struct fg_err *err)
{
	struct fg_box g;
	int64_t p[3];
	uint64_t *list;
	size_t k = 0;

	if (fg_sched_block_box(l, vx, &g, err) < 0)
		return -1;
	list = fg_try_alloc((size_t)fg_box_volume(&g), sizeof *list);
	if (!list)
		return fg_fail(err, FG_ENOMEM, "no memory for the list of blocks");
	for (p[2] = g.lo[2]; p[2] < g.hi[2]; p[2]++) {
		for (p[1] = g.lo[1]; p[1] < g.hi[1]; p[1]++) {
			for (p[0] = g.lo[0]; p[0] < g.hi[0]; p[0]++)
				list[k++] = fg_morton_encode(p);
		}
	}
	qsort(list, k, sizeof *list, by_code);
	*out = list;
	*n = k;
	return 0;
}

enum added { ADDED, SKIPPED, FAILED_BEFORE, ADD_ERROR };

/* Whether contacts of a block can be tried and were not. */
static int
look_resegment(struct fg_sched *s, struct fg_layer *l, const struct fg_key *key,
    bool *wanted, struct fg_err *err)
{
	enum fg_state state = FG_ABSENT;
	struct fg_buf *bytes = NULL;
	struct fg_env env;
	int64_t blk[3];

	fg_sched_fill_env(s, &env);
	if (env.face(env.ctx, key, 0, &state, &bytes, err) < 0)
		return -1;
	fg_buf_unref(bytes);
	*wanted = false;
	if (state != FG_ABSENT)
		return 0;
	fg_morton_decode(key->at, blk);
	return fg_resegment_ready(l, &env, blk, wanted, err);
}

/* What is known of a block or an object before its task is made. ADDED: nothing, make
 * it. named: it was asked for by its name. Not under the lock. */
static enum added
look(struct fg_sched *s, struct fg_layer *l, const struct fg_key *key, bool named,
    int *tries, int64_t *due_ns, struct fg_err *err)
{
	bool current = false;

	if (fg_store_room(s->store, err) < 0)
		return ADD_ERROR;
	if (fg_kind_is_artefact(key->kind)) {
		if (fg_sched_look_artefact(s, l, key, &current, err) == 0)
			return current ? SKIPPED : ADDED;
		if (!err || err->code != FG_ENOENT)
			return ADD_ERROR;
		/* Somebody asked for it; or it was listed, and has gone since. */
		return named ? FAILED_BEFORE : SKIPPED;
	}
	if (key->kind == FG_KIND_RESEGMENT) {
		if (look_resegment(s, l, key, &current, err) < 0)
			return ADD_ERROR;
		return current ? ADDED : SKIPPED;
	}
	switch (fg_sched_look_block(s, key->layer, key->at, tries, due_ns, err)) {
	case FOUND_DONE:
		return SKIPPED;
	case FOUND_FAILED:
		return FAILED_BEFORE;
	case FOUND_ERROR:
		return ADD_ERROR;
	default:
		return ADDED;
	}
}

/* Join or make the task of one block or object, unless the index knows better. */
static enum added
add_one(struct fg_sched *s, struct fg_layer *l, struct job *j, enum fg_class cls,
    const struct fg_key *k, bool named, struct fg_err *err)
{
	struct fg_key key = *k;
	int tries = 0;
	int64_t due_ns = 0;
	uint64_t ended = 0;
	bool looked = false;

	for (;;) {
		enum added done = ADDED;

		pthread_mutex_lock(&s->lock);
		struct task *t = fg_sched_find(s, &key);
		const char *why = fg_sched_failed_before(s, &key);
		if (fg_sched_admit(s, l, err) < 0)
			done = ADD_ERROR;
		else if (why && !t)
			fg_fail(err, FG_EIO, "%s", why);
		else if (t)
			join_task(s, j, t, cls);
		else if (looked && ended == s->ended)
			join_job(j, fg_sched_add(s, l, &key, cls, tries, due_ns));
		else
			done = SKIPPED; /* for now: look first */
		ended = s->ended;
		pthread_mutex_unlock(&s->lock);
		if (why && !t && done == ADDED)
			return FAILED_BEFORE;
		if (done != SKIPPED)
			return done;
		done = look(s, l, &key, named, &tries, &due_ns, err);
		if (done != ADDED)
			return done;
		looked = true;
	}
}

/* One call of fg_sched_blocks. */
struct bulk {
	struct fg_sched *s;
	struct fg_layer *layer;
	struct fg_bulk_call *call;
	struct job job;
	struct fg_key key; /* of its tasks, but for `at`: */
	uint64_t *list;
	bool named; /* objects that were given by their ids */
	size_t blocks, next;
	uint64_t skipped, failed_before;
	uint64_t steps0;
	int64_t started_ns, told_ns;
	uint64_t told; /* blocks ended when progress was last called */
};

/* Fraction of the running blocks that is done, summed; counts the window. Under the
 * lock. */
static double
running_part(const struct job *j, struct fg_bulk_progress *count)
{
	double sum = 0;

	for (int k = 0; k < j->size; k++) {
		struct task *t = j->window[k];
		uint64_t all = t ? t->t.progress_all : 0;

		if (t && (t->state == TASK_RUNNING || t->state == TASK_COMMITTING))
			count->running++;
		else if (t)
			count->queued++;
		if (all > 0)
			sum += FG_MIN((double)t->t.progress / (double)all, 1.0);
	}
	return sum;
}

static void
tell_progress(struct bulk *b, bool now)
{
	struct fg_bulk_progress p = {.all = b->blocks, .skipped = b->skipped};
	int64_t ns = fg_clock_ns();
	double running;

	if (!b->call->progress)
		return;
	pthread_mutex_lock(&b->s->lock);
	p.done = b->job.done;
	p.failed = b->job.failed + b->failed_before;
	running = running_part(&b->job, &p);
	pthread_mutex_unlock(&b->s->lock);
	uint64_t ended = p.done + p.failed + p.skipped;
	if (!now && ended == b->told && ns - b->told_ns < FG_NS_PER_S)
		return;
	b->told = ended;
	b->told_ns = ns;
	p.steps = b->s->engines ? fg_engines_steps(b->s->engines) - b->steps0 : 0;
	p.seconds = (double)(ns - b->started_ns) / 1e9;
	p.fraction = ((double)ended + running) / (double)FG_MAX(p.all, 1);
	b->call->progress(b->call->ctx, &p);
}

/* Wait for a task of the window to end, a little while at most. False: dropped tasks,
 * a shut-down or the like end the call. */
static bool
wait_window(struct bulk *b, struct fg_err *err)
{
	struct fg_sched *s = b->s;
	int64_t until = fg_clock_ns() + POLL_NS;
	struct timespec t = {.tv_sec = until / FG_NS_PER_S,
	    .tv_nsec = until % FG_NS_PER_S};
	bool ok = true;

	pthread_mutex_lock(&s->lock);
	if (b->job.used > 0 && !b->job.dropped)
		pthread_cond_timedwait(&b->job.changed, &s->lock, &t);
	if (b->job.dropped || s->stopping) {
		ok = false;
		if (fg_sched_admit(s, b->layer, err) == 0)
			fg_fail(err, FG_ECANCELED, "blocks of layer %s were cancelled",
			    b->layer->name);
	}
	pthread_mutex_unlock(&s->lock);
	return ok;
}

/* Whether the window has a place for the next block, which is then no longer in the
 * backlog. */
static bool
take_place(struct bulk *b)
{
	if (b->next == b->blocks)
		return false;
	pthread_mutex_lock(&b->s->lock);
	bool room = b->job.used < b->job.size;
	if (b->key.kind == FG_KIND_BLOCK)
		b->s->backlog -= room;
	pthread_mutex_unlock(&b->s->lock);
	return room;
}

static bool
is_finished(struct bulk *b)
{
	pthread_mutex_lock(&b->s->lock);
	bool none = b->job.used == 0 && !b->job.dropped;
	pthread_mutex_unlock(&b->s->lock);
	return none && b->next == b->blocks;
}

static int
walk(struct bulk *b, struct fg_err *err)
{
	const _Atomic bool *cancel = b->call->cancel;
	struct fg_err one = FG_ERR_INIT;

	while (!is_finished(b)) {
		if (cancel && *cancel)
			return fg_fail(err, FG_ECANCELED, "cancelled");
		if (!take_place(b)) {
			if (!wait_window(b, err))
				return -1;
			tell_progress(b, false);
			continue;
		}
		fg_err_clear(&one);
		b->key.at = b->list[b->next++];
		switch (add_one(b->s, b->layer, &b->job, b->call->cls, &b->key,
		    b->named, &one)) {
		case ADD_ERROR:
			fg_fail(err, one.code, "%s", one.msg);
			return -1;
		case FAILED_BEFORE:
			b->failed_before++;
			if (b->job.err.code == FG_OK) {
				pthread_mutex_lock(&b->s->lock);
				b->job.err = one;
				pthread_mutex_unlock(&b->s->lock);
			}
			break;
		case SKIPPED:
			b->skipped++;
			break;
		default:
			break;
		}
		tell_progress(b, false);
	}
	return 0;
}

static void
begin_job(struct bulk *b)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&b->job.changed, &attr);
	pthread_condattr_destroy(&attr);
	/* Enough that no device waits for the planner. */
	b->job.size =
	    2 * (fg_sched_kind_floods(b->key.kind) ? b->s->devices : b->s->makers) + 2;
	b->job.window = fg_calloc((size_t)b->job.size, sizeof(struct task *));
	b->job.err = FG_ERR_INIT;
	b->started_ns = fg_clock_ns();
	b->steps0 = b->s->engines ? fg_engines_steps(b->s->engines) : 0;
}

static void
enter(struct fg_sched *s, size_t backlog)
{
	pthread_mutex_lock(&s->lock);
	s->jobs++;
	s->backlog += backlog;
	pthread_mutex_unlock(&s->lock);
}

/* The last thing a call does: from here on the scheduler may be freed. */
static void
leave(struct fg_sched *s)
{
	pthread_mutex_lock(&s->lock);
	s->jobs--;
	pthread_cond_broadcast(&s->idle);
	pthread_mutex_unlock(&s->lock);
}

void
fg_sched_enter_job(struct fg_sched *s)
{
	enter(s, 0);
}

void
fg_sched_leave_job(struct fg_sched *s)
{
	leave(s);
}

static int
check_layer(const struct fg_layer *l, struct fg_err *err)
{
	if (!l->recipe || l->broken)
		return fg_fail(err, FG_EINVAL, "layer %s cannot be made: %s", l->name,
		    l->broken ? l->why : "it has no recipe");
	return 0;
}

/* Make what is on the list, which is freed. */
static int
run(struct bulk *b, const char *what, struct fg_err *err)
{
	struct fg_bulk_call *call = b->call;
	struct fg_sched *s = b->s;
	struct task *dead = NULL;
	bool blocks = b->key.kind == FG_KIND_BLOCK;
	int rc;

	begin_job(b);
	enter(s, blocks ? b->blocks : 0);

	rc = walk(b, err);
	call->complete = rc == 0;

	pthread_mutex_lock(&s->lock);
	abandon(s, &b->job, call->spare && *call->spare, &dead);
	s->backlog -= blocks ? b->blocks - b->next : 0;
	pthread_mutex_unlock(&s->lock);
	fg_sched_bury(s, dead, FG_WAKE_RETRY);
	tell_progress(b, true);
	if (rc == 0 && b->job.failed + b->failed_before > 0)
		rc = fg_fail(err, b->job.err.code, "%llu of %llu %s failed: %s",
		    (unsigned long long)(b->job.failed + b->failed_before),
		    (unsigned long long)b->blocks, what, b->job.err.msg);
	leave(s);
	pthread_cond_destroy(&b->job.changed);
	free(b->job.window);
	free(b->list);
	return rc;
}

int
fg_sched_blocks(struct fg_sched *s, struct fg_bulk_call *call, struct fg_err *err)
{
	struct fg_layer *l = call->layer;
	struct bulk b = {.s = s,
	    .layer = l->base ? l->base : l,
	    .call = call,
	    .key = {.layer = l->id, .kind = FG_KIND_BLOCK}};

	call->complete = false;
	if (check_layer(l, err) < 0 ||
	    list_blocks(l, &call->vx, &b.list, &b.blocks, err) < 0)
		return -1;
	return run(&b, "blocks", err);
}

int
fg_sched_resegment(struct fg_sched *s, struct fg_bulk_call *call, struct fg_err *err)
{
	struct fg_layer *l = call->layer->base ? call->layer->base : call->layer;
	struct bulk b = {.s = s,
	    .layer = l,
	    .call = call,
	    .key = {.layer = l->id, .kind = FG_KIND_RESEGMENT}};

	call->complete = false;
	if (check_layer(l, err) < 0 ||
	    list_blocks(l, &call->vx, &b.list, &b.blocks, err) < 0)
		return -1;
	return run(&b, "blocks", err);
}

/* ------------------------------------------------------------- objects */

/* What is to be made: the objects given, or all that reach into the box. */
static int
list_objects(struct bulk *b, const uint64_t *ids, size_t n, struct fg_err *err)
{
	const struct fg_bulk_call *call = b->call;
	struct fg_reader *r = fg_sched_take_reader(b->s, err);
	int rc;

	if (!r)
		return -1;
	rc = ids ? fg_objects_named(call->layer, r, ids, n, &b->list, &b->blocks, err)
		 : fg_objects_in_box(call->layer, r, &call->vx, &b->list, &b->blocks,
		       err);
	fg_sched_put_reader(b->s, r);
	return rc;
}

/* The layer is looked through as one piece of work of the caller's thread. */
static int
scan(struct fg_sched *s, const struct fg_bulk_call *call, struct fg_err *err)
{
	int rc;

	enter(s, 0);
	rc = fg_sched_scan(s, call->layer, call->cancel, NULL, err);
	leave(s);
	return rc;
}

/* Whether a block of one of the parts touches the box. */
static bool
reaches(const struct fg_layer *l, const uint64_t *part, size_t n,
    const struct fg_box *vx)
{
	const struct fg_scale *f = &l->info.scale[0];

	for (size_t i = 0; i < n; i++) {
		struct fg_box b;
		int64_t blk[3];

		fg_morton_decode(part[i], blk);
		for (int d = 0; d < 3; d++) {
			b.lo[d] = f->offset[d] + blk[d] * l->block[d];
			b.hi[d] = b.lo[d] + l->block[d];
		}
		if (fg_box_intersect(&b, vx, &b))
			return true;
	}
	return false;
}

/* Ids of a passive layer's objects that have voxels in a block that the box touches. */
static int
list_placed(struct fg_sched *s, const struct fg_bulk_call *call, uint64_t **out,
    size_t *n, struct fg_err *err)
{
	struct fg_key key =
	    fg_artefact_key(call->layer, FG_KIND_MESH, FG_PRODUCT_PLACE, 0);
	struct fg_reader *r = fg_sched_take_reader(s, err);
	uint64_t *list = NULL, *page = NULL, *part = NULL, after = 0;
	size_t got = 0, parts = 0, k = 0;
	bool first = true;
	int rc = 0;

	if (!r)
		return -1;
	do {
		rc = fg_reader_ids(r, &key, first ? NULL : &after, OBJECT_PAGE, &page,
		    &got, err);
		first = false;
		if (rc < 0)
			break;
		list = fg_realloc(list, k + got + 1, sizeof *list);
		for (size_t i = 0; i < got && rc == 0; i++) {
			key.at = after = page[i];
			rc = fg_reader_parts(r, &key, &part, &parts, err);
			if (rc == 0 && reaches(call->layer, part, parts, &call->vx))
				list[k++] = page[i];
			free(part);
			part = NULL;
		}
		free(page);
		page = NULL;
	} while (rc == 0 && got == OBJECT_PAGE);
	fg_sched_put_reader(s, r);
	if (rc < 0) {
		free(list);
		return -1;
	}
	*out = list;
	*n = k;
	return 0;
}

int
fg_sched_objects(struct fg_sched *s, struct fg_bulk_call *call, enum fg_kind kind,
    const uint64_t *ids, size_t n, struct fg_err *err)
{
	struct fg_layer *l = call->layer;
	enum fg_product product = kind == FG_KIND_MESH && fg_draco_is_built()
				      ? FG_PRODUCT_LODS
				      : FG_PRODUCT_TABLE;
	struct bulk b = {.s = s,
	    .layer = l->base ? l->base : l,
	    .call = call,
	    .key = fg_artefact_key(l, kind, product, 0)};

	call->complete = false;
	if (fg_sched_check_artefact(l, &b.key, err) < 0)
		return -1;
	if (!l->recipe && scan(s, call, err) < 0)
		return -1;
	b.named = ids != NULL;
	if (!ids && !l->recipe ? list_placed(s, call, &b.list, &b.blocks, err) < 0
			       : list_objects(&b, ids, n, err) < 0)
		return -1;
	return run(&b, "objects", err);
}

int
fg_sched_coarse(struct fg_sched *s, struct fg_bulk_call *call, struct fg_err *err)
{
	struct fg_bulk_call c = *call;
	int rc;

	call->complete = false;
	if (check_layer(call->layer, err) < 0)
		return -1;
	if (call->layer->base)
		c.layer = call->layer->base;
	enter(s, 0);
	rc = fg_sched_build_coarse(s, &c, err);
	leave(s);
	call->complete = rc == 0;
	return rc;
}

int
fg_sched_bulk(struct fg_sched *s, struct fg_layer *l, const struct fg_box *vx,
    void (*progress)(void *ctx, const struct fg_bulk_progress *p), void *ctx,
    const _Atomic bool *cancel, struct fg_err *err)
{
	struct fg_bulk_call blocks = {.layer = l,
	    .vx = *vx,
	    .cls = FG_BULK,
	    .progress = progress,
	    .ctx = ctx,
	    .cancel = cancel};
	struct fg_bulk_call coarse = blocks;
	int rc = fg_sched_blocks(s, &blocks, err);

	/* Blocks that failed do not keep the others from having their coarse scales. */
	coarse.progress = NULL;
	if (!blocks.complete)
		return -1;
	if (fg_sched_stitch(s, &coarse, rc < 0 ? NULL : err) < 0)
		return -1;
	if (fg_sched_coarse(s, &coarse, rc < 0 ? NULL : err) < 0)
		return -1;
	return rc;
}
