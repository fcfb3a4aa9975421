/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler's threads, and what becomes of a try.
 *
 * Drivers run segment tasks: each decides movement for one block while the engines'
 * device threads compute. There are devices + 2 of them. At most one INTERACTIVE block
 * is started at a time (it speculates on all devices, which gives the person waiting
 * the shortest time) and as many others as there are devices; the last driver is there
 * because a block whose viewer left becomes BULK and must not stand in the way of the
 * next viewer. So at most devices + 2 canvases exist.
 *
 * `io` and `cpu` threads run fg_sched_call functions; `cpu` ones also coarse chunks.
 *
 * A try ends in `finish_try` on the thread that ran it and, when something is to be
 * written, in `committed` on the committer's thread. Waiters are woken after that.
 */
#include "config.h"

#include "work/sched_priv.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/morton.h"

#define STOPPED_NS (30 * FG_NS_PER_S) /* no device: until the next attempt to load */
#define BLOCK_S_WEIGHT 0.3            /* of the newest block in the smoothed time */

/* ------------------------------------------------------------- ends */

/* The payload of a waiter's chunk among what the task made. */
static const struct fg_payload *
find_payload(const struct fg_output *out, const struct fg_key *chunk)
{
	for (size_t i = 0; i < out->result.payloads; i++) {
		if (fg_key_equal(&out->payload[i].key, chunk))
			return &out->payload[i];
	}
	return NULL;
}

/* The bytes that are stored: ours, unless somebody else's result came first. */
static struct fg_buf *
stored_bytes(struct fg_sched *s, const struct fg_payload *p, const struct fg_place *at,
    struct fg_err *err)
{
	struct fg_buf *bytes = NULL;

	if (p->bytes && p->bytes->len == at->len &&
	    fg_crc32c(0, p->bytes->data, p->bytes->len) == at->crc)
		return fg_buf_ref(p->bytes);
	if (fg_store_read(s->store, at, false, &bytes, err) < 0)
		return NULL;
	return bytes;
}

static void
wake_one(struct fg_sched *s, struct task *t, struct fg_waiter *w)
{
	const struct fg_payload *p = find_payload(&t->out, &w->chunk);
	struct fg_err err = FG_ERR_INIT;

	if (!p) {
		fg_fail(&err, FG_ECORRUPT, "the task made no such chunk");
		w->wake(w, FG_WAKE_FAILED, NULL, NULL, &err);
		return;
	}
	const struct fg_place *place = &t->out.places[p - t->out.payload];
	if (place->state == FG_EMPTY) {
		w->wake(w, FG_WAKE_EMPTY, place, NULL, NULL);
		return;
	}
	struct fg_buf *bytes = stored_bytes(s, p, place, &err);
	if (bytes)
		w->wake(w, FG_WAKE_BYTES, place, bytes, NULL);
	else
		w->wake(w, FG_WAKE_RETRY, NULL, NULL, &err);
	fg_buf_unref(bytes);
}

static void
wake_with_bytes(struct fg_sched *s, struct task *t)
{
	for (struct fg_waiter *w = t->first, *next; w; w = next) {
		next = w->next;
		wake_one(s, t, w);
	}
	t->first = NULL; /* fg_sched_bury has nobody left to wake */
}

static void
note_block_time(struct fg_sched *s, const struct task *t)
{
	struct lane *lane = fg_sched_lane(s, t->t.key.layer);
	double now = (double)(t->out.result.ended_ms - t->out.result.started_ms) / 1e3;

	if (t->t.key.kind != FG_KIND_BLOCK)
		return;
	now = FG_MAX(now, 1e-3);
	fg_sched_count_block(s, now);
	lane->block_s = lane->block_s > 0
			    ? lane->block_s + BLOCK_S_WEIGHT * (now - lane->block_s)
			    : now;
}

static const char *
kind_name(const struct task *t)
{
	switch (t->t.key.kind) {
	case FG_KIND_BLOCK:
		return "block";
	case FG_KIND_STITCH:
		return "stitching";
	case FG_KIND_RESEGMENT:
		return "resegmentation";
	default:
		return "coarse chunk";
	}
}

static void
log_artefact(const struct task *t)
{
	const char *kind = t->t.key.kind == FG_KIND_MESH ? "mesh" : "skeleton";

	if (t->failed)
		fg_log(t->err.code == FG_ECANCELED ? FG_LOG_INFO : FG_LOG_WARN,
		    "%s failed layer=%s id=%llu try=%d final=%s why=%s", kind,
		    t->t.layer->name, (unsigned long long)t->t.key.at, t->t.attempt,
		    t->for_good ? "yes" : "no", t->err.msg);
	else
		fg_log(FG_LOG_INFO, "%s made layer=%s id=%llu ms=%lld bytes=%zu", kind,
		    t->t.layer->name, (unsigned long long)t->t.key.at,
		    (long long)(t->out.result.ended_ms - t->out.result.started_ms),
		    t->out.bytes);
}

static void
log_end(const struct task *t)
{
	int64_t p[3];

	if (fg_kind_is_artefact(t->t.key.kind)) {
		log_artefact(t);
		return;
	}
	fg_morton_decode(t->t.key.at, p);
	if (t->failed)
		fg_log(t->err.code == FG_ECANCELED ? FG_LOG_INFO : FG_LOG_WARN,
		    "%s failed layer=%s at=%lld,%lld,%lld try=%d final=%s why=%s",
		    kind_name(t), t->t.layer->name, (long long)p[0], (long long)p[1],
		    (long long)p[2], t->t.attempt, t->for_good ? "yes" : "no",
		    t->err.msg);
	else
		fg_log(t->t.key.kind == FG_KIND_BLOCK ? FG_LOG_INFO : FG_LOG_DEBUG,
		    "%s made layer=%s scale=%d at=%lld,%lld,%lld ms=%lld objects=%zu",
		    kind_name(t), t->t.layer->name, t->t.key.scale, (long long)p[0],
		    (long long)p[1], (long long)p[2],
		    (long long)(t->out.result.ended_ms - t->out.result.started_ms),
		    t->out.result.objects);
}

/* The result is in the store. */
static void
end_done(struct fg_sched *s, struct task *t)
{
	struct task *dead = NULL;
	struct fg_key key = t->t.key;
	struct fg_layer *again = NULL;

	pthread_mutex_lock(&s->lock);
	note_block_time(s, t);
	s->stats.done++;
	if (t->t.key.kind != FG_KIND_STITCH && t->t.key.kind != FG_KIND_RESEGMENT)
		fg_sched_refresh_above(s, t);
	if (t->t.key.kind == FG_KIND_BLOCK)
		fg_sched_stitch_block(s, t);
	if (t->again && !s->stopping)
		again = t->t.layer;
	fg_sched_tell_jobs(t, JOB_DONE, NULL);
	t->now = FG_NOW_PRESENT;
	fg_sched_remove(s, t, &dead);
	if (again)
		fg_sched_add(s, again, &key, FG_IDLE, 0, 0)->prefetch = true;
	pthread_mutex_unlock(&s->lock);
	log_end(t);
	wake_with_bytes(s, t);
	if (key.kind == FG_KIND_STITCH)
		fg_sched_stitch_more(s, t);
	fg_sched_bury(s, dead, FG_WAKE_RETRY);
}

/* Another try is left: the waiters stay. */
static void
end_delayed(struct fg_sched *s, struct task *t)
{
	struct task *dead = NULL;

	log_end(t);
	fg_output_fini(&t->out);
	pthread_mutex_lock(&s->lock);
	t->failed = false;
	fg_err_clear(&t->err);
	t->t.progress = 0;
	fg_sched_set_state(s, t, TASK_DELAYED);
	if (s->stopping)
		fg_sched_remove(s, t, &dead);
	else
		fg_sched_settle(s, t, &dead);
	pthread_cond_broadcast(&s->idle);
	pthread_mutex_unlock(&s->lock);
	fg_sched_bury(s, dead, FG_WAKE_SHUTDOWN);
}

static void
end_failed(struct fg_sched *s, struct task *t, enum job_end how, enum fg_wake wake)
{
	struct task *dead = NULL;

	log_end(t);
	pthread_mutex_lock(&s->lock);
	if (how == JOB_DROPPED)
		s->stats.dropped++;
	else
		s->stats.failed++;
	fg_sched_tell_jobs(t, how, &t->err);
	if (wake == FG_WAKE_FAILED)
		t->now = FG_NOW_FAILED;
	if (wake == FG_WAKE_FAILED && fg_kind_is_artefact(t->t.key.kind) &&
	    t->err.code != FG_ENOENT)
		fg_sched_note_failed(s, t);
	fg_sched_remove(s, t, &dead);
	if (s->stopping && wake == FG_WAKE_RETRY)
		wake = FG_WAKE_SHUTDOWN;
	pthread_mutex_unlock(&s->lock);
	fg_sched_bury(s, dead, wake);
}

/* On the committer's thread. */
static void
committed(struct fg_commit_item *item, int rc, const struct fg_err *err)
{
	struct task *t = (struct task *)((char *)item - offsetof(struct task, commit));
	struct fg_sched *s = t->sched;

	if (rc < 0 && !t->failed) {
		/* Not the block's fault, so no memo; who waits asks again later. */
		t->failed = true;
		t->err = *err;
		fg_err_prefix(&t->err, "not stored");
		end_failed(s, t, JOB_FAILED, FG_WAKE_RETRY);
		return;
	}
	if (rc < 0)
		fg_log(FG_LOG_ERROR, "failure not recorded layer=%s why=%s",
		    t->t.layer->name, err->msg);
	if (!t->failed)
		end_done(s, t);
	else if (t->for_good)
		end_failed(s, t, JOB_FAILED, FG_WAKE_FAILED);
	else
		end_delayed(s, t);
}

/* ------------------------------------------------------------- a try */

static int
read_face(void *ctx, const struct fg_key *key, uint32_t part, enum fg_state *state,
    struct fg_buf **out, struct fg_err *err)
{
	struct fg_sched *s = ctx;
	struct fg_reader *r = fg_sched_take_reader(s, err);
	struct fg_place place;
	int rc;

	if (!r)
		return -1;
	rc = fg_reader_part(r, key, part, &place, err);
	fg_sched_put_reader(s, r);
	if (rc < 0)
		return -1;
	*state = place.state;
	/* EMPTY chunks and blocks have no payload; anything else that is there has. */
	if (place.slab == 0)
		return 0;
	return fg_store_read(s->store, &place, false, out, err);
}

static int
read_child(void *ctx, const struct fg_key *key, enum fg_state *state,
    struct fg_buf **out, struct fg_err *err)
{
	return read_face(ctx, key, 0, state, out, err);
}

static int
read_merges(void *ctx, uint32_t layer, uint64_t at, struct fg_merge **out, size_t *n,
    struct fg_err *err)
{
	struct fg_sched *s = ctx;
	struct fg_reader *r = fg_sched_take_reader(s, err);
	int rc;

	if (!r)
		return -1;
	rc = fg_reader_block_merges(r, layer, at, out, n, err);
	fg_sched_put_reader(s, r);
	return rc;
}

void
fg_sched_fill_env(struct fg_sched *s, struct fg_env *env)
{
	*env = (struct fg_env){
	    .engines = s->engines,
	    .child = read_child,
	    .face = read_face,
	    .merges = read_merges,
	    .object = fg_sched_read_object,
	    .piece = fg_sched_read_piece,
	    .has = fg_sched_has_piece,
	    .put = fg_sched_put_part,
	    .share = fg_sched_share,
	    .ctx = s,
	    .skeleton_whole = s->opt.skeleton_whole,
	    .skeleton_vertices = s->opt.skeleton_vertices,
	    .mesh = s->opt.mesh,
	    .worker = s->worker,
	};
}

static bool
is_hopeless(enum fg_code code)
{
	return code == FG_EINVAL || code == FG_ECORRUPT || code == FG_ENOTSUP;
}

/* No device runs this layer's recipe: drop what waits for it, try again in a while. */
static void
stop_layer(struct fg_sched *s, struct task *t)
{
	struct lane *lane;

	pthread_mutex_lock(&s->lock);
	lane = fg_sched_lane(s, t->t.key.layer);
	lane->stopped_until = fg_clock_ns() + STOPPED_NS;
	snprintf(lane->why, sizeof lane->why, "%.199s", t->err.msg);
	pthread_mutex_unlock(&s->lock);
	fg_log(FG_LOG_ERROR, "layer stopped layer=%s why=%s", t->t.layer->name,
	    t->err.msg);
	fg_sched_forget_layer(s, t->t.key.layer, false);
	t->for_good = true;
	end_failed(s, t, JOB_FAILED, FG_WAKE_RETRY);
}

/* Decide about the next try and write the memo. */
static void
record_failure(struct fg_sched *s, struct task *t)
{
	struct fg_result *r = &t->out.result;
	int64_t delay_ms = s->opt.retry_ms, now = fg_clock_wall_ms();

	t->t.attempt++;
	t->for_good = is_hopeless(t->err.code) || t->t.attempt >= s->opt.attempts ||
		      (fg_kind_is_artefact(t->t.key.kind) && t->err.code == FG_ENOENT);
	for (int i = 1; i < t->t.attempt && delay_ms < 3600 * 1000; i++)
		delay_ms *= 2;
	*r = (struct fg_result){
	    .task = t->t.key,
	    .failed = true,
	    .started_ms = now,
	    .ended_ms = now,
	    .tries = t->t.attempt,
	    .next_try_ms = t->for_good ? 0 : now + delay_ms,
	};
	snprintf(r->error, sizeof r->error, "%.199s", t->err.msg);
	t->due_ns = fg_clock_ns() + delay_ms * FG_NS_PER_MS;
}

static void
finish_try(struct fg_sched *s, struct task *t, int rc, bool no_engine)
{
	t->failed = rc < 0;
	if (t->failed && (t->t.cancel || t->err.code == FG_ECANCELED)) {
		end_failed(s, t, JOB_DROPPED, FG_WAKE_RETRY);
		return;
	}
	if (no_engine) {
		stop_layer(s, t);
		return;
	}
	if (t->failed)
		record_failure(s, t);
	t->commit = (struct fg_commit_item){.result = &t->out.result,
	    .bytes = t->out.bytes,
	    .done = committed};
	pthread_mutex_lock(&s->lock);
	fg_sched_set_state(s, t, TASK_COMMITTING);
	pthread_cond_broadcast(&s->models); /* a driver's place is free */
	pthread_mutex_unlock(&s->lock);
	/* Only blocks have a memo in the index. */
	if (t->failed && t->t.key.kind != FG_KIND_BLOCK)
		committed(&t->commit, 0, NULL);
	else
		fg_committer_put(s->committer, &t->commit);
}

void
fg_sched_run_task(struct fg_sched *s, struct task *t, int floods)
{
	struct fg_env env;
	fg_task_fn *fn = s->opt.run ? s->opt.run : fg_task_run;
	int rc;

	fg_sched_fill_env(s, &env);
	env.floods = floods;
	rc = fn(&t->t, &env, &t->out, &t->err);
	finish_try(s, t, rc, env.no_engine);
}

/* ------------------------------------------------------------- drivers */

/* Queue the delayed tasks whose time has come; returns when the next one is due. */
static int64_t
wake_delayed(struct fg_sched *s)
{
	int64_t now = fg_clock_ns(), next_ns = INT64_MAX;

	for (struct task *t = s->delayed.first, *next; t; t = next) {
		next = t->next;
		if (t->due_ns <= now)
			fg_sched_set_state(s, t, TASK_QUEUED);
		else
			next_ns = FG_MIN(next_ns, t->due_ns);
	}
	return next_ns;
}

/* The next block to run, or NULL. Under the lock. */
static struct task *
pick_block(struct fg_sched *s)
{
	int interactive = 0, others = 0;

	for (const struct task *t = s->running.first; t; t = t->next) {
		if (!fg_sched_kind_floods(t->t.key.kind))
			continue;
		if (t->t.cls == FG_INTERACTIVE)
			interactive++;
		else
			others++;
	}
	if (s->blocks[FG_INTERACTIVE].n && interactive == 0)
		return s->blocks[FG_INTERACTIVE].first;
	if (others >= s->devices)
		return NULL;
	if (s->blocks[FG_BULK].n)
		return s->blocks[FG_BULK].first;
	return s->blocks[FG_IDLE].first;
}

/* Floods in flight for a block: with fewer bulk blocks than devices the others would
 * stand idle, so then it speculates on all of them. */
static int
choose_floods(const struct fg_sched *s, const struct task *t)
{
	size_t bulk =
	    s->blocks[FG_BULK].n + s->blocks[FG_IDLE].n + s->running.n + s->backlog;

	if (t->t.cls == FG_INTERACTIVE)
		return 0;
	return bulk >= (size_t)s->devices ? 1 : 0;
}

static void
wait_until(struct fg_sched *s, pthread_cond_t *cond, int64_t ns)
{
	struct timespec t = {.tv_sec = ns / FG_NS_PER_S, .tv_nsec = ns % FG_NS_PER_S};

	if (ns == INT64_MAX)
		pthread_cond_wait(cond, &s->lock);
	else
		pthread_cond_timedwait(cond, &s->lock, &t);
}

static void *
drive(void *arg)
{
	struct fg_sched *s = arg;

	pthread_mutex_lock(&s->lock);
	while (!s->quit) {
		int64_t due_ns = wake_delayed(s);
		struct task *t = s->stopping ? NULL : pick_block(s);

		if (!t) {
			wait_until(s, &s->models, due_ns);
			continue;
		}
		int floods = choose_floods(s, t);
		fg_sched_set_state(s, t, TASK_RUNNING);
		pthread_mutex_unlock(&s->lock);
		fg_sched_run_task(s, t, floods);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* ------------------------------------------------------------- io and cpu */

static struct call *
take_call(struct fg_sched *s, enum fg_resource res, int cls)
{
	struct calls *q = &s->calls[res][cls];
	struct call *c = q->first;
	bool download = res == FG_RES_IO && cls == FG_BULK;

	/* They may all wait for one slow disk: a thread is left for who looks. */
	if (!c ||
	    (download && s->downloads > 0 && s->downloads >= s->opt.io_threads - 1))
		return NULL;
	s->downloads += download;
	q->first = c->next;
	if (!q->first)
		q->last = &q->first;
	q->n--;
	return c;
}

/* Run the first call or coarse chunk of the highest class; false if there is none.
 * Called and left under the lock, which is given up meanwhile. */
static bool
work_once(struct fg_sched *s, enum fg_resource res)
{
	for (int cls = 0; cls < FG_CLASSES; cls++) {
		struct call *c = take_call(s, res, cls);
		struct task *t = NULL;

		if (!c && res == FG_RES_CPU && !s->stopping)
			t = s->coarse[cls].first;
		if (t)
			fg_sched_set_state(s, t, TASK_RUNNING);
		if (!c && !t)
			continue;
		pthread_mutex_unlock(&s->lock);
		if (c) {
			c->fn(c->ctx);
			free(c);
		} else {
			fg_sched_run_task(s, t, 1);
		}
		pthread_mutex_lock(&s->lock);
		s->downloads -= c && res == FG_RES_IO && cls == FG_BULK;
		return true;
	}
	return false;
}

static void
work(struct fg_sched *s, enum fg_resource res)
{
	pthread_mutex_lock(&s->lock);
	for (;;) {
		if (work_once(s, res))
			continue;
		if (s->quit)
			break;
		pthread_cond_wait(&s->others[res], &s->lock);
	}
	pthread_mutex_unlock(&s->lock);
}

static void *
work_io(void *arg)
{
	work(arg, FG_RES_IO);
	return NULL;
}

static void *
work_cpu(void *arg)
{
	work(arg, FG_RES_CPU);
	return NULL;
}

static void *
work_net(void *arg)
{
	work(arg, FG_RES_NET);
	return NULL;
}

static int
start(struct fg_sched *s, int n, void *(*fn)(void *), struct fg_err *err)
{
	for (int i = 0; i < n; i++) {
		if (pthread_create(&s->thread[s->threads], NULL, fn, s) != 0)
			return fg_fail(err, FG_EBUSY,
			    "worker thread %d could not be started", s->threads);
		s->threads++;
	}
	return 0;
}

int
fg_sched_start_threads(struct fg_sched *s, struct fg_err *err)
{
	int drivers = s->devices + 2;
	int helpers = s->opt.cpu_threads - 1;
	int others =
	    s->opt.io_threads + s->opt.cpu_threads + s->opt.net_threads + helpers;

	s->thread =
	    fg_calloc((size_t)(drivers + others + s->makers + 1), sizeof *s->thread);
	if (start(s, drivers, drive, err) < 0 ||
	    start(s, s->opt.io_threads, work_io, err) < 0 ||
	    start(s, s->opt.cpu_threads, work_cpu, err) < 0 ||
	    start(s, s->opt.net_threads, work_net, err) < 0 ||
	    start(s, s->makers, fg_sched_make_artefacts, err) < 0 ||
	    start(s, helpers, fg_sched_help, err) < 0 ||
	    start(s, s->opt.mesh_keep_ms > 0, fg_sched_prune, err) < 0)
		return -1;
	return 0;
}

void
fg_sched_join_threads(struct fg_sched *s)
{
	for (int i = 0; i < s->threads; i++)
		pthread_join(s->thread[i], NULL);
	s->threads = 0;
}
