/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long it will take: for those who are told to come back, and for the length of the
 * queue.
 *
 * A block of a layer takes what its blocks took. Before there was one it is guessed
 * from the network: fields of view that such a block needs, times the seconds of one as
 * the devices went so far. Nothing is measured for it, so before the first field of
 * view nothing is known.
 *
 * The guess may be several times too long, so as long as nothing is timed a block is
 * not said to need more than half of what it has taken already, and a second. One that
 * takes longer than it should is expected to need a quarter of its time more. So who
 * asks comes again soon at first and less often later. Seeds in objects that are made
 * already cost nothing, and there are more and more of these: what their share says of
 * the end is rather too late than too soon.
 */
#include "config.h"

#include "work/sched_priv.h"

#include "base/clock.h"

#define SEEDS_TELL 0.05 /* share of the seeds that tells something of the rest */
#define OVERDUE 0.25    /* of the time so far */
#define UNTIMED 0.5     /* the same */
#define FAR_S 3600.0    /* further than that nobody looks */

double
fg_sched_block_s(const struct lane *lane)
{
	return lane->block_s > 0 ? lane->block_s : lane->guess_s;
}

void
fg_sched_guess(struct fg_sched *s, const struct fg_layer *l)
{
	const struct fg_recipe *r = l->recipe;
	bool known;
	double speed;

	pthread_mutex_lock(&s->lock);
	known = fg_sched_lane(s, l->id)->block_s > 0;
	pthread_mutex_unlock(&s->lock);
	if (known || !r || !s->engines)
		return;
	speed = fg_engines_speed(s->engines, r->model_sha256, &r->shape, r->precision);
	if (speed <= 0)
		return;
	/* One that somebody waits for has all devices to itself. */
	speed *= fg_recipe_fovs(r, &l->info.scale[0], r->block) / s->devices;
	pthread_mutex_lock(&s->lock);
	fg_sched_lane(s, l->id)->guess_s = speed;
	pthread_mutex_unlock(&s->lock);
}

/* A task that has just begun; 0: not known. Meshes and coarse chunks are not timed. */
static double
whole(struct fg_sched *s, const struct task *t)
{
	return t->t.key.kind == FG_KIND_BLOCK
		   ? fg_sched_block_s(fg_sched_lane(s, t->t.key.layer))
		   : 0;
}

static double
rest_of_running(struct fg_sched *s, const struct task *t, int64_t now)
{
	double gone = (double)(now - t->since_ns) / 1e9;
	double rest = whole(s, t) - gone;
	uint64_t all = t->t.progress_all;
	double share = all ? (double)t->t.progress / (double)all : 0;

	if (rest <= 0)
		rest = OVERDUE * gone;
	if (fg_sched_lane(s, t->t.key.layer)->block_s <= 0)
		rest = FG_MIN(rest, 1 + UNTIMED * gone);
	if (share >= SEEDS_TELL)
		rest = FG_MIN(rest, gone * (1 - FG_MIN(share, 1)) / share);
	return rest;
}

/* Tasks of a list up to `end`, one after the other. */
static double
sum_of(struct fg_sched *s, const struct list *l, const struct task *end)
{
	double sum = 0;

	for (const struct task *t = l->first; t && t != end && sum < FAR_S; t = t->next)
		sum += whole(s, t);
	return sum;
}

/* One block that somebody waits for runs at a time, on all devices. A task that nobody
 * waits for just now is one of them as soon as somebody comes back for it. */
static double
rest_of_queued(struct fg_sched *s, const struct task *t, int64_t now)
{
	double sum = whole(s, t);

	if (!fg_sched_kind_floods(t->t.key.kind))
		return sum;
	for (const struct task *r = s->running.first; r; r = r->next) {
		if (r->t.cls == FG_INTERACTIVE && fg_sched_kind_floods(r->t.key.kind))
			sum += rest_of_running(s, r, now);
	}
	return sum + sum_of(s, &s->blocks[FG_INTERACTIVE], t);
}

/* Nothing makes it: until another block may be wanted. */
static double
rest_of_none(struct fg_sched *s, const struct fg_key *key)
{
	struct lane *lane = fg_sched_lane(s, key->layer);
	double first = 0;

	if (key->kind != FG_KIND_BLOCK || fg_sched_has_room(s, lane))
		return 0;
	for (const struct task *r = s->running.first; r; r = r->next) {
		if (r->t.cls == FG_INTERACTIVE && r->t.key.kind == FG_KIND_BLOCK)
			first = rest_of_running(s, r, fg_clock_ns());
	}
	return FG_MAX(first, 1e-3);
}

double
fg_sched_rest(struct fg_sched *s, struct fg_layer *l, const struct fg_key *chunk)
{
	struct fg_key key = fg_sched_task_key(l, chunk);
	int64_t now = fg_clock_ns();
	double rest = 0;

	fg_sched_guess(s, l->base ? l->base : l);
	pthread_mutex_lock(&s->lock);
	const struct task *t = fg_sched_find(s, &key);
	if (!t)
		rest = rest_of_none(s, &key);
	else if (t->state == TASK_RUNNING)
		rest = rest_of_running(s, t, now);
	else if (t->state == TASK_QUEUED)
		rest = rest_of_queued(s, t, now);
	else if (t->state == TASK_DELAYED)
		rest = FG_MAX((double)(t->due_ns - now) / 1e9, 0) + whole(s, t);
	pthread_mutex_unlock(&s->lock);
	return rest;
}
