/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The scheduler's heart: tasks, who waits for them, and in which order they run.
 *
 * The life of a task:
 *
 *     want            driver              driver           committer
 *   --------> QUEUED --------> RUNNING ---------> COMMITTING --------> end
 *               ^  |              |                   |
 *       due     |  | nobody waits | cancelled         | the try failed,
 *   DELAYED ----+  +----> end     +----> end          | another is left
 *      ^                                              |
 *      +----------------------------------------------+
 *
 * It is in the table from its first want to its end and ends exactly once:
 * fg_sched_remove takes it out under the lock, fg_sched_bury wakes its waiters and
 * frees it without.
 *
 * Locks. `lock` guards tasks, lists, lanes and counters; it is held for pointer work
 * only, never during I/O, SQLite, logging or a callback. `reader_lock` guards the pool
 * of index readers. Neither is ever taken while the other, the committer's or an
 * engine's lock is held. The store's writer lock (fg_catalog_writer) is taken with no
 * other lock held.
 *
 * All models share one set of queues, because they share the devices of this machine.
 */
#include "config.h"

#include "work/sched_priv.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/morton.h"
#include "work/parallel.h"

/* ------------------------------------------------------------- readers */

struct fg_reader *
fg_sched_take_reader(struct fg_sched *s, struct fg_err *err)
{
	struct fg_reader *r = NULL;

	pthread_mutex_lock(&s->reader_lock);
	if (s->readers > 0)
		r = s->reader[--s->readers];
	pthread_mutex_unlock(&s->reader_lock);
	return r ? r : fg_reader_open(s->store, err);
}

void
fg_sched_put_reader(struct fg_sched *s, struct fg_reader *r)
{
	pthread_mutex_lock(&s->reader_lock);
	if (s->readers < READERS_MAX) {
		s->reader[s->readers++] = r;
		r = NULL;
	}
	pthread_mutex_unlock(&s->reader_lock);
	if (r)
		fg_reader_close(r);
}

/* ------------------------------------------------------------- lists and table */

static void
list_take(struct list *l, struct task *t)
{
	if (t->prev)
		t->prev->next = t->next;
	else
		l->first = t->next;
	if (t->next)
		t->next->prev = t->prev;
	else
		l->last = t->prev;
	t->prev = t->next = NULL;
	l->n--;
}

/* Put t behind `after`; NULL: at the front. */
static void
list_put(struct list *l, struct task *t, struct task *after)
{
	t->prev = after;
	t->next = after ? after->next : l->first;
	if (t->prev)
		t->prev->next = t;
	else
		l->first = t;
	if (t->next)
		t->next->prev = t;
	else
		l->last = t;
	l->n++;
}

struct list *
fg_sched_queue(struct fg_sched *s, int kind, int cls)
{
	if (fg_sched_kind_floods(kind))
		return &s->blocks[cls];
	return fg_kind_is_artefact(kind) ? &s->artefacts[cls] : &s->coarse[cls];
}

static struct list *
list_of(struct fg_sched *s, const struct task *t)
{
	switch (t->state) {
	case TASK_QUEUED:
		return fg_sched_queue(s, t->t.key.kind, t->t.cls);
	case TASK_DELAYED:
		return &s->delayed;
	case TASK_RUNNING:
		return &s->running;
	default:
		return &s->committing;
	}
}

/* Under a class, those asked for more often come first, then the older ones. */
static void
enter_list(struct fg_sched *s, struct task *t)
{
	struct list *l = list_of(s, t);
	struct task *after = l->last;

	if (t->state == TASK_QUEUED && t->t.cls == FG_INTERACTIVE) {
		while (after && after->demand < t->demand)
			after = after->prev;
	}
	list_put(l, t, after);
	if (t->state == TASK_QUEUED && t->t.cls == FG_INTERACTIVE &&
	    t->t.key.kind == FG_KIND_BLOCK)
		fg_sched_lane(s, t->t.key.layer)->queued++;
}

static void
leave_list(struct fg_sched *s, struct task *t)
{
	list_take(list_of(s, t), t);
	if (t->state == TASK_QUEUED && t->t.cls == FG_INTERACTIVE &&
	    t->t.key.kind == FG_KIND_BLOCK)
		fg_sched_lane(s, t->t.key.layer)->queued--;
}

static void
ring(struct fg_sched *s, const struct task *t)
{
	/* Delayed tasks are watched by the drivers: they sleep until the first is due.
	 */
	if (t->state == TASK_DELAYED || fg_sched_kind_floods(t->t.key.kind))
		pthread_cond_broadcast(&s->models);
	else if (fg_kind_is_artefact(t->t.key.kind))
		pthread_cond_broadcast(&s->making);
	else
		pthread_cond_signal(&s->others[FG_RES_CPU]);
}

void
fg_sched_note(struct fg_sched *s, const struct task *t, enum fg_now now)
{
	if (t->t.key.kind != FG_KIND_BLOCK && now != FG_NOW_PRESENT)
		return;
	s->change[s->changes++ % CHANGES_MAX] =
	    (struct fg_change){.key = t->t.key, .now = (uint8_t)now};
}

static enum fg_now
now_of(enum task_state state)
{
	switch (state) {
	case TASK_QUEUED:
		return FG_NOW_QUEUED;
	case TASK_DELAYED:
		return FG_NOW_DELAYED;
	default:
		return FG_NOW_RUNNING;
	}
}

void
fg_sched_set_state(struct fg_sched *s, struct task *t, enum task_state state)
{
	leave_list(s, t);
	t->state = state;
	t->since_ns = fg_clock_ns();
	enter_list(s, t);
	if (state == TASK_QUEUED || state == TASK_DELAYED)
		ring(s, t);
	if (state != TASK_RUNNING && s->share)
		pthread_cond_broadcast(&s->sharing); /* a processor may be free */
	if (state != TASK_COMMITTING)
		fg_sched_note(s, t, now_of(state));
}

void
fg_sched_set_class(struct fg_sched *s, struct task *t, enum fg_class cls)
{
	leave_list(s, t);
	t->t.cls = cls;
	enter_list(s, t);
	/* A running task that changes class changes what the drivers may start. */
	ring(s, t);
}

uint64_t
fg_sched_hash_key(const struct fg_key *key)
{
	uint64_t v[2] = {(uint64_t)key->layer << 16 | (uint64_t)key->kind << 8 |
			     key->scale,
	    key->at};

	return fg_hash64(v, sizeof v);
}

struct task *
fg_sched_find(struct fg_sched *s, const struct fg_key *key)
{
	struct task *t = s->table[fg_sched_hash_key(key) % TABLE_SIZE];

	while (t && !fg_key_equal(&t->t.key, key))
		t = t->hash_next;
	return t;
}

struct lane *
fg_sched_lane(struct fg_sched *s, uint32_t layer)
{
	for (size_t i = 0; i < s->lanes; i++) {
		if (s->lane[i].layer == layer)
			return &s->lane[i];
	}
	if ((s->lanes & (s->lanes + 1)) == 0)
		s->lane = fg_realloc(s->lane, 2 * s->lanes + 2, sizeof *s->lane);
	s->lane[s->lanes] = (struct lane){.layer = layer};
	return &s->lane[s->lanes++];
}

struct task *
fg_sched_add(struct fg_sched *s, struct fg_layer *l, const struct fg_key *key,
    enum fg_class cls, int attempt, int64_t due_ns)
{
	struct task *t = fg_calloc(1, sizeof *t);
	struct task **bucket = &s->table[fg_sched_hash_key(key) % TABLE_SIZE];

	t->t.key = *key;
	t->t.layer = fg_layer_ref(l);
	t->t.attempt = attempt;
	t->t.cls = cls;
	t->sched = s;
	t->last = &t->first;
	t->hash_next = *bucket;
	*bucket = t;
	t->due_ns = due_ns;
	t->since_ns = fg_clock_ns();
	t->state = due_ns > 0 ? TASK_DELAYED : TASK_QUEUED;
	enter_list(s, t);
	ring(s, t);
	fg_sched_note(s, t, now_of(t->state));
	return t;
}

void
fg_sched_remove(struct fg_sched *s, struct task *t, struct task **dead)
{
	struct task **p = &s->table[fg_sched_hash_key(&t->t.key) % TABLE_SIZE];

	while (*p != t)
		p = &(*p)->hash_next;
	*p = t->hash_next;
	leave_list(s, t);
	s->ended++;
	/* From here on fg_sched_leave says that a waiter's wake is under way. */
	for (struct fg_waiter *w = t->first; w; w = w->next)
		w->task = NULL;
	s->waiters -= t->waiters;
	fg_sched_tell_jobs(t, JOB_DROPPED, NULL);
	fg_sched_note(s, t, t->now);
	t->next = *dead;
	*dead = t;
	s->dead++;
	pthread_cond_broadcast(&s->models);
}

void
fg_sched_bury(struct fg_sched *s, struct task *dead, enum fg_wake how)
{
	int n = 0;

	for (const struct task *t = dead; t; t = t->next)
		n++;
	while (dead) {
		struct task *t = dead;

		dead = t->next;
		for (struct fg_waiter *w = t->first, *next; w; w = next) {
			next = w->next;
			w->wake(w, how, NULL, NULL, &t->err);
		}
		fg_output_fini(&t->out);
		fg_layer_unref(t->t.layer);
		free(t->job);
		free(t);
	}
	if (n == 0)
		return;
	pthread_mutex_lock(&s->lock);
	s->dead -= n;
	pthread_cond_broadcast(&s->idle);
	pthread_mutex_unlock(&s->lock);
}

/* ------------------------------------------------------------- waiters */

void
fg_sched_park(struct fg_sched *s, struct task *t, struct fg_waiter *w)
{
	w->task = t;
	w->next = NULL;
	w->prev = t->first ? (struct fg_waiter *)((char *)t->last -
						  offsetof(struct fg_waiter, next))
			   : NULL;
	*t->last = w;
	t->last = &w->next;
	t->waiters++;
	s->waiters++;
}

static void
unpark(struct fg_sched *s, struct task *t, struct fg_waiter *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		t->first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		t->last = w->prev ? &w->prev->next : &t->first;
	w->task = NULL;
	t->waiters--;
	s->waiters--;
}

void
fg_sched_settle(struct fg_sched *s, struct task *t, struct task **dead)
{
	bool kept = t->jobs > 0 || t->prefetch;

	if (t->waiters > 0)
		return;
	switch (t->state) {
	case TASK_QUEUED:
	case TASK_DELAYED:
		if (!kept) {
			fg_sched_remove(s, t, dead);
			s->stats.dropped++;
		} else if (t->t.cls == FG_INTERACTIVE) {
			fg_sched_set_class(s, t, FG_BULK);
		}
		break;
	case TASK_RUNNING:
		if (t->t.cls == FG_INTERACTIVE)
			fg_sched_set_class(s, t, FG_BULK);
		break;
	default:
		break;
	}
}

bool
fg_sched_leave(struct fg_sched *s, struct fg_waiter *w)
{
	struct task *dead = NULL, *t;

	pthread_mutex_lock(&s->lock);
	t = w->task;
	if (t) {
		unpark(s, t, w);
		fg_sched_settle(s, t, &dead);
	}
	pthread_mutex_unlock(&s->lock);
	fg_sched_bury(s, dead, FG_WAKE_RETRY);
	return t != NULL;
}

/* ------------------------------------------------------------- layers */

/* Take the tasks of a layer (0: all) out of a list. Under the lock. */
static void
drop_list(struct fg_sched *s, struct list *l, uint32_t layer, struct task **dead)
{
	for (struct task *t = l->first, *next; t; t = next) {
		next = t->next;
		if (layer && t->t.key.layer != layer)
			continue;
		fg_sched_remove(s, t, dead);
		s->stats.dropped++;
	}
}

static void
drop_waiting(struct fg_sched *s, uint32_t layer, struct task **dead)
{
	for (int c = 0; c < FG_CLASSES; c++) {
		drop_list(s, &s->blocks[c], layer, dead);
		drop_list(s, &s->coarse[c], layer, dead);
		drop_list(s, &s->artefacts[c], layer, dead);
	}
	drop_list(s, &s->delayed, layer, dead);
}

void
fg_sched_forget_layer(struct fg_sched *s, uint32_t layer, bool cancel)
{
	struct task *dead = NULL;

	pthread_mutex_lock(&s->lock);
	drop_waiting(s, layer, &dead);
	for (struct task *t = s->running.first; cancel && t; t = t->next) {
		if (t->t.key.layer == layer)
			t->t.cancel = true;
	}
	pthread_mutex_unlock(&s->lock);
	fg_sched_bury(s, dead, FG_WAKE_RETRY);
}

int
fg_sched_retry(struct fg_sched *s, struct fg_layer *l, uint64_t at, struct fg_err *err)
{
	pthread_mutex_t *writer = fg_catalog_writer(s->catalog);
	int rc;

	pthread_mutex_lock(writer);
	rc = fg_store_retry(s->store, l->id, at, err);
	pthread_mutex_unlock(writer);
	pthread_mutex_lock(&s->lock);
	if (rc == 0)
		s->change[s->changes++ % CHANGES_MAX] =
		    (struct fg_change){.key = {.layer = l->id,
					   .kind = FG_KIND_BLOCK,
					   .at = at},
			.now = FG_NOW_FORGOTTEN};
	fg_sched_lane(s, l->id)->stopped_until = 0;
	fg_sched_forget_failed(s, l->id);
	for (struct task *t = s->delayed.first, *next; t; t = next) {
		next = t->next;
		if (t->t.key.layer != l->id || (at != UINT64_MAX && t->t.key.at != at))
			continue;
		t->t.attempt = 0;
		fg_sched_set_state(s, t, TASK_QUEUED);
	}
	pthread_mutex_unlock(&s->lock);
	return rc;
}

/* ------------------------------------------------------------- calls */

bool
fg_sched_call(struct fg_sched *s, enum fg_resource res, enum fg_class cls,
    void (*fn)(void *ctx), void *ctx)
{
	struct call *c = fg_alloc(sizeof *c);
	struct calls *q = &s->calls[res][cls];

	*c = (struct call){.fn = fn, .ctx = ctx};
	pthread_mutex_lock(&s->lock);
	if (s->stopping || q->n >= CALLS_MAX) {
		pthread_mutex_unlock(&s->lock);
		free(c);
		return false;
	}
	*q->last = c;
	q->last = &c->next;
	q->n++;
	pthread_cond_signal(&s->others[res]);
	pthread_mutex_unlock(&s->lock);
	return true;
}

/* ------------------------------------------------------------- begin and end */

static void
fill_options(struct fg_sched *s, const struct fg_sched_options *opt)
{
	struct fg_sched_options *o = &s->opt;

	if (opt)
		*o = *opt;
	o->io_threads = o->io_threads > 0 ? o->io_threads : 4;
	o->net_threads = o->net_threads > 0 ? o->net_threads : 16;
	o->cpu_threads = o->cpu_threads > 0 ? o->cpu_threads : fg_parallel_cores();
	o->queue_s = o->queue_s > 0 ? o->queue_s : 120;
	o->bulk_every = o->bulk_every > 0 ? o->bulk_every : 8;
	o->attempts = o->attempts > 0 ? o->attempts : 3;
	o->retry_ms = o->retry_ms > 0 ? o->retry_ms : 1000;
	s->makers = FG_MAX(o->cpu_threads, 2);
	s->devices = 1;
	for (const char *p = o->devices; p && *p; p++)
		s->devices += *p == ',';
}

static void
init_conditions(struct fg_sched *s)
{
	pthread_condattr_t attr;

	pthread_mutex_init(&s->lock, NULL);
	pthread_mutex_init(&s->reader_lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&s->models, &attr);
	pthread_cond_init(&s->idle, &attr);
	pthread_cond_init(&s->making, &attr);
	pthread_cond_init(&s->sharing, &attr);
	pthread_cond_init(&s->pruning, &attr);
	for (int r = 0; r < RESOURCES; r++) {
		pthread_cond_init(&s->others[r], &attr);
		for (int c = 0; c < FG_CLASSES; c++)
			s->calls[r][c].last = &s->calls[r][c].first;
	}
	pthread_condattr_destroy(&attr);
}

struct fg_sched *
fg_sched_new(struct fg_store *store, struct fg_catalog *catalog,
    const struct fg_sched_options *opt, struct fg_err *err)
{
	struct fg_sched *s = fg_calloc(1, sizeof *s);
	char host[40] = "";

	s->store = store;
	s->catalog = catalog;
	fill_options(s, opt);
	init_conditions(s);
	gethostname(host, sizeof host - 1);
	snprintf(s->worker, sizeof s->worker, "%s:%ld", host, (long)getpid());
	if (!s->opt.run) {
		s->engines = fg_engines_new(s->opt.devices, s->opt.bulk_every, err);
		if (!s->engines)
			goto fail;
		s->devices = fg_engines_count(s->engines);
	}
	s->committer = fg_committer_new(store, fg_catalog_writer(catalog), err);
	if (!s->committer || fg_sched_start_threads(s, err) < 0)
		goto fail;
	fg_sched_stitch_left(s);
	return s;
fail:
	fg_sched_free(s);
	return NULL;
}

/* Anything under way: running, being written, waking its waiters. Under the lock. */
static bool
is_busy(const struct fg_sched *s)
{
	return s->running.n || s->committing.n || s->dead || s->jobs;
}

/* Sleep on `idle` until the deadline; false when it is over. Under the lock. */
static bool
wait_idle(struct fg_sched *s, int64_t deadline_ns)
{
	struct timespec t = {
	    .tv_sec = deadline_ns / FG_NS_PER_S,
	    .tv_nsec = deadline_ns % FG_NS_PER_S,
	};

	return pthread_cond_timedwait(&s->idle, &s->lock, &t) == 0 ||
	       fg_clock_ns() < deadline_ns;
}

void
fg_sched_stop(struct fg_sched *s, int64_t deadline_ns)
{
	struct task *dead = NULL;

	pthread_mutex_lock(&s->lock);
	s->stopping = true;
	s->prune_cancel = true;
	pthread_cond_broadcast(&s->pruning);
	drop_waiting(s, 0, &dead);
	pthread_cond_broadcast(&s->models);
	pthread_mutex_unlock(&s->lock);
	fg_sched_bury(s, dead, FG_WAKE_SHUTDOWN);

	pthread_mutex_lock(&s->lock);
	while (is_busy(s) && wait_idle(s, deadline_ns))
		continue;
	for (struct task *t = s->running.first; t; t = t->next)
		t->t.cancel = true;
	bool busy = s->running.n > 0;
	pthread_mutex_unlock(&s->lock);
	/* Cancelling is polled at every step; this also ends waiting for a device. */
	if (busy && s->engines)
		fg_engines_stop(s->engines);
	pthread_mutex_lock(&s->lock);
	while (is_busy(s))
		pthread_cond_wait(&s->idle, &s->lock);
	s->quit = true;
	pthread_cond_broadcast(&s->models);
	pthread_cond_broadcast(&s->making);
	pthread_cond_broadcast(&s->sharing);
	for (int r = 0; r < RESOURCES; r++)
		pthread_cond_broadcast(&s->others[r]);
	pthread_mutex_unlock(&s->lock);
	fg_sched_join_threads(s);
}

void
fg_sched_free(struct fg_sched *s)
{
	if (!s)
		return;
	if (!s->quit)
		fg_sched_stop(s, 0);
	fg_committer_free(s->committer);
	fg_engines_free(s->engines);
	for (int i = 0; i < s->readers; i++)
		fg_reader_close(s->reader[i]);
	pthread_mutex_destroy(&s->lock);
	pthread_mutex_destroy(&s->reader_lock);
	pthread_cond_destroy(&s->models);
	pthread_cond_destroy(&s->idle);
	pthread_cond_destroy(&s->making);
	pthread_cond_destroy(&s->sharing);
	pthread_cond_destroy(&s->pruning);
	for (int r = 0; r < RESOURCES; r++)
		pthread_cond_destroy(&s->others[r]);
	free(s->thread);
	free(s->lane);
	free(s);
}
