/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Coarse chunks: which are to be made, and when.
 *
 * A coarse chunk is made from the next finer stored scale alone and never starts a
 * flood. Three things start its task: somebody asks for it; something below it was
 * stored (IDLE, and so upwards scale by scale); or a job that made the blocks below
 * wants the pyramid whole. What a stopped program left undone is found again by the
 * first and the last, because absent and dirty are states of the index.
 */
#include "config.h"

#include "work/sched_priv.h"

#include "base/clock.h"
#include "base/morton.h"

#define DEPTH_MAX 3      /* scales searched below an absent chunk: 584 look-ups */
#define QUEUED_AHEAD 256 /* coarse tasks of one job */
#define POLL_NS (50 * FG_NS_PER_MS)

/* ------------------------------------------------------------- looking down */

static int
find_below(struct fg_reader *r, const struct fg_info *info, const struct fg_key *chunk,
    int depth, bool *any, struct fg_key *first, struct fg_err *err)
{
	struct fg_key key = *chunk;
	struct fg_place place;
	int64_t ch[3], p[3];
	struct fg_box g;

	fg_morton_decode(chunk->at, ch);
	fg_coarse_children(info, chunk->scale, ch, &g);
	key.scale--;
	for (p[2] = g.lo[2]; p[2] < g.hi[2]; p[2]++) {
		for (p[1] = g.lo[1]; p[1] < g.hi[1]; p[1]++) {
			for (p[0] = g.lo[0]; p[0] < g.hi[0]; p[0]++) {
				key.at = fg_morton_encode(p);
				if (fg_reader_find(r, &key, &place, err) < 0)
					return -1;
				if (place.state != FG_ABSENT) {
					*any = true;
					*first = *chunk;
					return 0;
				}
				if (depth == 1 || key.scale == 0)
					continue;
				if (find_below(r, info, &key, depth - 1, any, first,
					err) < 0)
					return -1;
				if (*any)
					return 0;
			}
		}
	}
	return 0;
}

int
fg_sched_find_below(struct fg_reader *r, const struct fg_info *info,
    const struct fg_key *chunk, bool *any, struct fg_key *first, struct fg_err *err)
{
	return find_below(r, info, chunk, DEPTH_MAX, any, first, err);
}

/* ------------------------------------------------------------- queueing */

void
fg_sched_start_coarse(struct fg_sched *s, struct fg_layer *l, const struct fg_key *key,
    enum fg_class cls)
{
	pthread_mutex_lock(&s->lock);
	if (!s->stopping && !l->removed && !l->paused && !fg_sched_find(s, key) &&
	    s->coarse[cls].n < QUEUED_MAX)
		fg_sched_add(s, l, key, cls, 0, 0)->prefetch = true;
	pthread_mutex_unlock(&s->lock);
}

/* A coarse chunk lost its currency: make it again when nothing else is to do. */
static void
refresh(struct fg_sched *s, struct fg_layer *l, const struct fg_key *key)
{
	struct task *above = fg_sched_find(s, key);

	if (above)
		above->again |=
		    above->state == TASK_RUNNING || above->state == TASK_COMMITTING;
	else if (s->coarse[FG_IDLE].n < QUEUED_MAX)
		fg_sched_add(s, l, key, FG_IDLE, 0, 0)->prefetch = true;
}

void
fg_sched_refresh_above(struct fg_sched *s, const struct task *t)
{
	const struct fg_info *info = &t->t.layer->info;
	int scale = t->t.key.kind == FG_KIND_BLOCK ? 0 : t->t.key.scale;
	int64_t p[3];
	struct fg_box g;

	if (scale + 1 >= info->scales || s->stopping)
		return;
	for (size_t i = 0; i < t->out.result.payloads; i++) {
		struct fg_key key = t->out.payload[i].key;

		if (key.kind != FG_KIND_CHUNK)
			continue;
		fg_morton_decode(key.at, g.lo);
		for (int d = 0; d < 3; d++)
			g.hi[d] = g.lo[d] + 1;
		fg_coarse_over(info, scale + 1, &g);
		key.scale++;
		for (p[2] = g.lo[2]; p[2] < g.hi[2]; p[2]++) {
			for (p[1] = g.lo[1]; p[1] < g.hi[1]; p[1]++) {
				for (p[0] = g.lo[0]; p[0] < g.hi[0]; p[0]++) {
					key.at = fg_morton_encode(p);
					refresh(s, t->t.layer, &key);
				}
			}
		}
	}
}

/* ------------------------------------------------------------- jobs */

static bool
holds_coarse(const struct list *l, uint32_t layer)
{
	for (const struct task *t = l->first; t; t = t->next) {
		if (t->t.key.layer == layer && !fg_sched_kind_floods(t->t.key.kind) &&
		    !fg_kind_is_artefact(t->t.key.kind))
			return true;
	}
	return false;
}

static bool
has_coarse(struct fg_sched *s, uint32_t layer)
{
	for (int c = 0; c < FG_CLASSES; c++) {
		if (holds_coarse(&s->coarse[c], layer))
			return true;
	}
	return holds_coarse(&s->running, layer) || holds_coarse(&s->committing, layer);
}

/* Wait until the layer has no such task, or fewer than `few` queued ones. */
static int
wait_coarse(struct fg_sched *s, const struct fg_layer *l, size_t few,
    const _Atomic bool *cancel, struct fg_err *err)
{
	bool busy = true;

	while (busy) {
		int64_t until = fg_clock_ns() + POLL_NS;
		struct timespec t = {.tv_sec = until / FG_NS_PER_S,
		    .tv_nsec = until % FG_NS_PER_S};

		if (cancel && *cancel)
			return fg_fail(err, FG_ECANCELED, "cancelled");
		pthread_mutex_lock(&s->lock);
		if (s->stopping) {
			pthread_mutex_unlock(&s->lock);
			return fg_fail(err, FG_ECANCELED, "shutting down");
		}
		busy = few ? s->coarse[FG_BULK].n >= few : has_coarse(s, l->id);
		if (busy)
			pthread_cond_timedwait(&s->idle, &s->lock, &t);
		pthread_mutex_unlock(&s->lock);
	}
	return 0;
}

int
fg_sched_wait_coarse(struct fg_sched *s, const struct fg_layer *l,
    const _Atomic bool *cancel, bool queued, struct fg_err *err)
{
	return wait_coarse(s, l, queued ? QUEUED_AHEAD : 0, cancel, err);
}

static int
is_stale(struct fg_sched *s, const struct fg_key *key, bool *stale, struct fg_err *err)
{
	struct fg_reader *r = fg_sched_take_reader(s, err);
	struct fg_place place = {0};
	int rc;

	if (!r)
		return -1;
	rc = fg_reader_find(r, key, &place, err);
	fg_sched_put_reader(s, r);
	*stale = place.state == FG_ABSENT || place.dirty;
	return rc;
}

/* One call of fg_sched_build_coarse. */
struct build {
	struct fg_sched *s;
	const struct fg_bulk_call *call;
	struct fg_bulk_progress p;
	int64_t started_ns, told_ns;
};

static void
tell(struct build *b, bool now)
{
	int64_t ns = fg_clock_ns();

	if (!b->call->progress || (!now && ns - b->told_ns < FG_NS_PER_S))
		return;
	b->told_ns = ns;
	b->p.seconds = (double)(ns - b->started_ns) / 1e9;
	b->p.fraction =
	    (double)(b->p.done + b->p.skipped) / (double)FG_MAX(b->p.all, 1);
	b->call->progress(b->call->ctx, &b->p);
}

static int
build_scale(struct build *b, int scale, const struct fg_box *g, struct fg_err *err)
{
	struct fg_layer *l = b->call->layer;
	struct fg_key key = {.layer = l->id,
	    .kind = FG_KIND_CHUNK,
	    .scale = (uint8_t)scale};
	int64_t p[3];
	bool stale;

	for (p[2] = g->lo[2]; p[2] < g->hi[2]; p[2]++) {
		for (p[1] = g->lo[1]; p[1] < g->hi[1]; p[1]++) {
			for (p[0] = g->lo[0]; p[0] < g->hi[0]; p[0]++) {
				key.at = fg_morton_encode(p);
				if (is_stale(b->s, &key, &stale, err) < 0)
					return -1;
				tell(b, false);
				if (!stale) {
					b->p.skipped++;
					continue;
				}
				if (wait_coarse(b->s, l, QUEUED_AHEAD, b->call->cancel,
					err) < 0)
					return -1;
				fg_sched_start_coarse(b->s, l, &key, FG_BULK);
				b->p.done++;
			}
		}
	}
	return 0;
}

/* The chunks of scale 0 of the blocks that the box touches: that is what a job made.
 * False: the box is elsewhere. */
static bool
finest_chunks(const struct fg_bulk_call *call, struct fg_box *g)
{
	const struct fg_layer *l = call->layer;
	const struct fg_scale *f = &l->info.scale[0];

	fg_scale_bounds(f, g);
	if (!fg_box_intersect(g, &call->vx, g))
		return false;
	for (int d = 0; d < 3; d++) {
		int64_t b = l->recipe->block[d];
		int64_t hi = fg_div_ceil(g->hi[d] - f->offset[d], b) * b;

		g->lo[d] = (g->lo[d] - f->offset[d]) / b * b / f->chunk[d];
		g->hi[d] = fg_div_ceil(FG_MIN(hi, f->size[d]), f->chunk[d]);
	}
	return true;
}

int
fg_sched_build_coarse(struct fg_sched *s, const struct fg_bulk_call *call,
    struct fg_err *err)
{
	struct build b = {.s = s, .call = call, .started_ns = fg_clock_ns()};
	const struct fg_info *info = &call->layer->info;
	struct fg_box g, all;

	if (!finest_chunks(call, &g))
		return 0;
	all = g;
	for (int scale = 1; scale < info->scales; scale++) {
		fg_coarse_over(info, scale, &all);
		b.p.all += (uint64_t)fg_box_volume(&all);
	}
	for (int scale = 1; scale < info->scales; scale++) {
		if (wait_coarse(s, call->layer, 0, call->cancel, err) < 0)
			return -1;
		fg_coarse_over(info, scale, &g);
		if (build_scale(&b, scale, &g, err) < 0)
			return -1;
		tell(&b, true);
	}
	return wait_coarse(s, call->layer, 0, call->cancel, err);
}
