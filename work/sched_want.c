/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asking for a chunk: what the index knows, what stands against it, and hanging the
 * waiter on a task.
 *
 * Looking into the index happens between two short holds of the lock. `ended` counts
 * the tasks that left the table; when it moved meanwhile, the look-up may be older than
 * a commit and is done again, so that nothing present is ever made twice.
 */
#include "config.h"

#include "work/sched_priv.h"

#include "base/clock.h"
#include "base/morton.h"

#define DEMAND_NS (600 * FG_NS_PER_S) /* after that a want is forgotten */
#define BLOCK_S_UNKNOWN 30.0          /* before the network computed anything */

int
fg_sched_admit(struct fg_sched *s, const struct fg_layer *l, struct fg_err *err)
{
	const struct lane *lane;

	if (s->stopping)
		return fg_fail(err, FG_EBUSY, "shutting down");
	if (l->removed)
		return fg_fail(err, FG_ENOENT, "layer %s was removed", l->name);
	if (l->paused)
		return fg_fail(err, FG_EBUSY, "layer %s is paused", l->name);
	lane = fg_sched_lane(s, l->id);
	if (lane->stopped_until > fg_clock_ns())
		return fg_fail(err, FG_EBUSY, "layer %s waits for a device: %s",
		    l->name, lane->why);
	return 0;
}

enum found
fg_sched_look_block(struct fg_sched *s, uint32_t layer, uint64_t at, int *tries,
    int64_t *due_ns, struct fg_err *err)
{
	struct fg_reader *r = fg_sched_take_reader(s, err);
	struct fg_block_row row = {0};
	int64_t wait_ms;
	int rc;

	if (!r)
		return FOUND_ERROR;
	rc = fg_reader_block(r, layer, at, &row, err);
	fg_sched_put_reader(s, r);
	if (rc < 0)
		return FOUND_ERROR;
	*tries = 0;
	*due_ns = 0;
	if (row.state == FG_BLOCK_DONE)
		return FOUND_DONE;
	if (row.state == FG_BLOCK_ABSENT)
		return FOUND_NOTHING;
	if (row.next_try_ms == 0) {
		fg_fail(err, FG_EIO, "%s", row.error);
		return FOUND_FAILED;
	}
	*tries = row.tries;
	wait_ms = row.next_try_ms - fg_clock_wall_ms();
	if (wait_ms <= 0)
		return FOUND_NOTHING;
	/* A clock that was set back must not park a block for years. */
	*due_ns = fg_clock_ns() + FG_MIN(wait_ms, 3600 * 1000) * FG_NS_PER_MS;
	return FOUND_LATER;
}

/* Count a want and say how often the key was wanted lately, refusals included: who asks
 * again is served before who asks first. */
static uint32_t
note_demand(struct fg_sched *s, const struct fg_key *key)
{
	uint64_t hash = fg_sched_hash_key(key);
	size_t i = hash % DEMAND_SIZE;
	int64_t now = fg_clock_ns();

	if (s->demand[i].hash != hash || now - s->demand[i].last_ns > DEMAND_NS) {
		s->demand[i].hash = hash;
		s->demand[i].n = 0;
	}
	s->demand[i].last_ns = now;
	return ++s->demand[i].n;
}

/* One want, as it goes from step to step. */
struct want {
	struct fg_layer *layer;
	const struct fg_key *chunk;
	struct fg_key key; /* of its task */
	enum fg_class cls;
	struct fg_waiter *waiter;
	uint32_t demand;
	int tries;      /* from the memo */
	int64_t due_ns; /* from the memo */
	enum fg_want answer;
};

/* Whether the chunk is there by now, and whether a coarse one can be made. True: go on;
 * else w->answer stands. */
static bool
look_chunk(struct fg_sched *s, struct want *w, struct fg_err *err)
{
	struct fg_reader *r = fg_sched_take_reader(s, err);
	struct fg_key first = *w->chunk; /* what has to be made first */
	struct fg_place place = {0};
	bool coarse = w->chunk->scale > 0, any = false;
	int rc = -1;

	w->answer = FG_WANT_REFUSED;
	if (!r)
		return false;
	rc = fg_reader_find(r, w->chunk, &place, err);
	if (rc == 0 && place.state == FG_ABSENT && coarse)
		rc = fg_sched_find_below(r, &w->layer->info, w->chunk, &any, &first,
		    err);
	fg_sched_put_reader(s, r);
	if (rc < 0)
		return false;
	if (place.state != FG_ABSENT && !place.dirty) {
		w->answer = FG_WANT_READY;
		return false;
	}
	if (place.state == FG_ABSENT && coarse && !any) {
		w->answer = FG_WANT_ABSENT;
		return false;
	}
	if (!fg_key_equal(&first, w->chunk)) {
		/* Its end makes the chunk above it, and so on up to this one. */
		fg_sched_start_coarse(s, w->layer, &first, FG_IDLE);
		fg_fail(err, FG_EBUSY, "a finer scale of layer %s is being made first",
		    w->layer->name);
		return false;
	}
	return true;
}

/* The same for a mesh or skeleton. */
static bool
look_artefact(struct fg_sched *s, struct want *w, struct fg_err *err)
{
	bool current = false;

	w->answer = FG_WANT_REFUSED;
	if (fg_sched_look_artefact(s, w->layer, &w->key, &current, err) < 0) {
		if (err && err->code == FG_ENOENT)
			w->answer = FG_WANT_ABSENT;
		else if (err && err->code == FG_ENOTSUP)
			w->answer = FG_WANT_FAILED;
		return false;
	}
	if (current) {
		w->answer = FG_WANT_READY;
		return false;
	}
	return fg_store_room(s->store, err) == 0;
}

/* Everything that has to be asked outside the lock. True: a task is to be made. */
static bool
look(struct fg_sched *s, struct want *w, struct fg_err *err)
{
	if (fg_kind_is_artefact(w->key.kind))
		return look_artefact(s, w, err);
	if (!look_chunk(s, w, err))
		return false;
	w->answer = FG_WANT_REFUSED;
	if (fg_store_room(s->store, err) < 0)
		return false;
	if (w->chunk->scale > 0)
		return true;
	fg_sched_guess(s, w->layer);
	switch (fg_sched_look_block(s, w->key.layer, w->key.at, &w->tries, &w->due_ns,
	    err)) {
	case FOUND_DONE:
		fg_fail(err, FG_ECORRUPT,
		    "the block is recorded as made but its chunk is missing: run "
		    "floodgate verify");
		w->answer = FG_WANT_FAILED;
		return false;
	case FOUND_FAILED:
		w->answer = FG_WANT_FAILED;
		return false;
	case FOUND_ERROR:
		return false;
	default:
		return true;
	}
}

/* Hang the want on a task that exists. Under the lock. */
static bool
join(struct fg_sched *s, struct want *w)
{
	struct task *t = fg_sched_find(s, &w->key);

	if (!t)
		return false;
	t->demand = w->demand;
	if ((int)w->cls < t->t.cls) {
		fg_sched_set_class(s, t, w->cls);
		s->stats.promoted++;
	} else if (t->state == TASK_QUEUED) {
		fg_sched_set_class(s, t, (enum fg_class)t->t.cls); /* by demand */
	}
	if (w->waiter)
		fg_sched_park(s, t, w->waiter);
	else
		t->prefetch = true;
	s->stats.coalesced++;
	return true;
}

static double
seconds_each(const struct lane *lane)
{
	double each = fg_sched_block_s(lane);

	return each > 0 ? each : BLOCK_S_UNKNOWN;
}

bool
fg_sched_has_room(const struct fg_sched *s, const struct lane *lane)
{
	return lane->queued + 1 <= FG_MAX(s->opt.queue_s / seconds_each(lane), 1.0);
}

/* Under the lock: room for one more task of this want's class? */
static int
check_bounds(struct fg_sched *s, const struct want *w, struct fg_err *err)
{
	struct list *l = fg_sched_queue(s, w->key.kind, (int)w->cls);
	struct lane *lane = fg_sched_lane(s, w->key.layer);

	if (l->n + s->delayed.n >= QUEUED_MAX)
		return fg_fail(err, FG_EBUSY, "%zu tasks are waiting already", l->n);
	if (w->key.kind != FG_KIND_BLOCK || w->cls != FG_INTERACTIVE)
		return 0;
	if (!fg_sched_has_room(s, lane))
		return fg_fail(err, FG_EBUSY,
		    "%u blocks of layer %s are waiting already, %.3g s each",
		    lane->queued, w->layer->name, seconds_each(lane));
	return 0;
}

/* Under the lock, nothing known stands against it: make the task. */
static enum fg_want
start(struct fg_sched *s, struct want *w, struct fg_err *err)
{
	struct task *t;

	if (check_bounds(s, w, err) < 0) {
		s->stats.refused++;
		return FG_WANT_REFUSED;
	}
	t = fg_sched_add(s, w->layer, &w->key, w->cls, w->tries, w->due_ns);
	t->demand = w->demand;
	if (t->state == TASK_QUEUED)
		fg_sched_set_class(s, t, w->cls);
	if (w->waiter)
		fg_sched_park(s, t, w->waiter);
	else
		t->prefetch = true;
	return FG_WANT_PARKED;
}

static int
check_want(const struct fg_layer *l, const struct fg_key *chunk, struct fg_err *err)
{
	int64_t ch[3], grid[3];

	if (fg_kind_is_artefact(chunk->kind))
		return fg_sched_check_artefact(l, chunk, err);
	if (l->broken)
		return fg_fail(err, FG_EBUSY, "layer %s is degraded: %s", l->name,
		    l->why);
	if (!l->recipe || chunk->layer != l->id || chunk->kind != l->chunk_kind ||
	    chunk->scale >= l->info.scales)
		return fg_fail(err, FG_EINVAL, "layer %s makes no such chunk", l->name);
	fg_morton_decode(chunk->at, ch);
	fg_scale_grid(&l->info.scale[chunk->scale], grid);
	if (ch[0] >= grid[0] || ch[1] >= grid[1] || ch[2] >= grid[2])
		return fg_fail(err, FG_EINVAL, "chunk is outside the grid of layer %s",
		    l->name);
	return 0;
}

struct fg_key
fg_sched_task_key(const struct fg_layer *l, const struct fg_key *chunk)
{
	struct fg_key key = *chunk;
	int64_t ch[3], blk[3];

	if (chunk->scale == 0 && !fg_kind_is_artefact(chunk->kind)) {
		fg_morton_decode(chunk->at, ch);
		fg_recipe_block_of(l->recipe, &l->info.scale[0], ch, blk);
		key.kind = FG_KIND_BLOCK;
		key.at = fg_morton_encode(blk);
	}
	return key;
}

enum fg_want
fg_sched_want(struct fg_sched *s, struct fg_layer *l, const struct fg_key *chunk,
    enum fg_class cls, struct fg_waiter *waiter, struct fg_err *err)
{
	/* NAME.prob is made by the tasks of NAME. */
	struct want w = {.layer = l->base ? l->base : l,
	    .chunk = chunk,
	    .cls = cls,
	    .waiter = waiter};
	bool looked = false;
	uint64_t ended = 0;

	if (check_want(l, chunk, err) < 0)
		return FG_WANT_REFUSED;
	w.key = fg_sched_task_key(l, chunk);
	if (waiter) {
		waiter->chunk = *chunk;
		waiter->task = NULL;
	}
	for (;;) {
		pthread_mutex_lock(&s->lock);
		if (w.demand == 0)
			w.demand = note_demand(s, &w.key);
		if (fg_sched_admit(s, w.layer, err) < 0) {
			s->stats.refused++;
			w.answer = FG_WANT_REFUSED;
			break;
		}
		if (join(s, &w)) {
			w.answer = FG_WANT_PARKED;
			break;
		}
		const char *why = fg_sched_failed_before(s, &w.key);
		if (why) {
			fg_fail(err, FG_EIO, "%s", why);
			w.answer = FG_WANT_FAILED;
			break;
		}
		if (looked && ended == s->ended) {
			w.answer = start(s, &w, err);
			break;
		}
		ended = s->ended;
		pthread_mutex_unlock(&s->lock);
		if (!look(s, &w, err))
			return w.answer;
		looked = true;
	}
	pthread_mutex_unlock(&s->lock);
	return w.answer;
}
