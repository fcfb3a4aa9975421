/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stitching: when a block's stitch task is queued. After its commit, as IDLE work for a
 * cpu thread; when a job asks for its box, as BULK; and at the start of a program for
 * blocks that an earlier one made but did not come to stitch. The index tells which
 * these are, so nothing has to be remembered.
 */
#include "config.h"

#include "work/sched_priv.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/morton.h"
#include "store/object.h"

#define CATCH_UP 512 /* blocks queued at a time */

void
fg_sched_stitch_block(struct fg_sched *s, const struct task *t)
{
	struct fg_key key = t->t.key;

	key.kind = FG_KIND_STITCH;
	key.scale = 0;
	if (s->stopping || t->t.layer->removed || fg_sched_find(s, &key))
		return;
	if (s->coarse[FG_IDLE].n < QUEUED_MAX)
		fg_sched_add(s, t->t.layer, &key, FG_IDLE, 0, 0)->prefetch = true;
	else
		fg_sched_lane(s, key.layer)->behind = true;
}

/* ------------------------------------------------------------- what was left */

struct catch_up {
	struct fg_sched *s;
	struct fg_layer *layer; /* held reference */
};

/* Queue the next blocks of a layer that are not stitched yet. On an io thread. */
static void
catch_up(void *ctx)
{
	struct catch_up *c = ctx;
	struct fg_sched *s = c->s;
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *r = fg_sched_take_reader(s, &err);
	struct fg_key key = {.layer = c->layer->id, .kind = FG_KIND_STITCH};
	uint64_t *at = NULL;
	size_t n = 0;
	int rc = -1;

	if (r)
		rc = fg_reader_unstitched(r, c->layer->id, UINT64_MAX, CATCH_UP, &at,
		    &n, &err);
	if (r)
		fg_sched_put_reader(s, r);
	if (rc < 0)
		fg_log(FG_LOG_WARN, "stitching is behind layer=%s why=%s",
		    c->layer->name, err.msg);
	pthread_mutex_lock(&s->lock);
	if (rc == 0)
		fg_sched_lane(s, key.layer)->behind = n == CATCH_UP;
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < n; i++) {
		key.at = at[i];
		fg_sched_start_coarse(s, c->layer, &key, FG_IDLE);
	}
	free(at);
	fg_layer_unref(c->layer);
	free(c);
}

static void
call_catch_up(struct fg_sched *s, struct fg_layer *l)
{
	struct catch_up *c = fg_alloc(sizeof *c);

	*c = (struct catch_up){.s = s, .layer = fg_layer_ref(l)};
	if (fg_sched_call(s, FG_RES_IO, FG_IDLE, catch_up, c))
		return;
	fg_layer_unref(l);
	free(c);
}

void
fg_sched_stitch_more(struct fg_sched *s, const struct task *t)
{
	bool more;

	pthread_mutex_lock(&s->lock);
	struct lane *lane = fg_sched_lane(s, t->t.key.layer);
	more = lane->behind && s->coarse[FG_IDLE].n < CATCH_UP / 4;
	if (more)
		lane->behind = false; /* until the call has looked */
	pthread_mutex_unlock(&s->lock);
	if (more)
		call_catch_up(s, t->t.layer);
}

void
fg_sched_stitch_left(struct fg_sched *s)
{
	struct fg_layer **list;
	size_t n;

	fg_catalog_list(s->catalog, &list, &n);
	for (size_t i = 0; i < n; i++) {
		struct fg_layer *l = list[i];

		if (l->recipe && !l->base && !l->broken)
			call_catch_up(s, l);
		fg_layer_unref(l);
	}
	free(list);
}

/* ------------------------------------------------------------- jobs */

/* Morton order is not needed here: the tasks are small. */
static int
list_waiting(struct fg_sched *s, const struct fg_layer *l, const struct fg_box *blk,
    uint64_t **out, size_t *n, struct fg_err *err)
{
	struct fg_reader *r = fg_sched_take_reader(s, err);
	uint64_t after = UINT64_MAX, *list = NULL, *page = NULL;
	size_t k = 0, got = 0;
	int rc = 0;

	if (!r)
		return -1;
	do {
		rc = fg_reader_unstitched(r, l->id, after, 4096, &page, &got, err);
		if (rc < 0)
			break;
		list = fg_realloc(list, k + got + 1, sizeof *list);
		for (size_t i = 0; i < got; i++) {
			struct fg_box one;

			fg_morton_decode(page[i], one.lo);
			for (int d = 0; d < 3; d++)
				one.hi[d] = one.lo[d] + 1;
			if (fg_box_contains(blk, &one))
				list[k++] = page[i];
		}
		if (got > 0)
			after = page[got - 1];
		free(page);
		page = NULL;
	} while (got == 4096);
	fg_sched_put_reader(s, r);
	if (rc < 0) {
		free(list);
		return -1;
	}
	*out = list;
	*n = k;
	return 0;
}

static int
stitch_list(struct fg_sched *s, const struct fg_bulk_call *call, const uint64_t *at,
    size_t n, struct fg_bulk_progress *p, struct fg_err *err)
{
	struct fg_key key = {.layer = call->layer->id, .kind = FG_KIND_STITCH};
	int64_t told_ns = 0;

	for (size_t i = 0; i < n; i++) {
		int64_t now = fg_clock_ns();

		if (fg_sched_wait_coarse(s, call->layer, call->cancel, true, err) < 0)
			return -1;
		key.at = at[i];
		fg_sched_start_coarse(s, call->layer, &key, FG_BULK);
		p->done++;
		p->fraction =
		    (double)(p->done + p->skipped) / (double)FG_MAX(p->all, 1u);
		if (call->progress && now - told_ns >= FG_NS_PER_S) {
			told_ns = now;
			call->progress(call->ctx, p);
		}
	}
	return fg_sched_wait_coarse(s, call->layer, call->cancel, false, err);
}

/* The blocks of the box, and their neighbours, for these may be the ones whose task
 * compares the two. */
static int
stitch_box(struct fg_sched *s, const struct fg_bulk_call *call, struct fg_err *err)
{
	struct fg_bulk_progress p = {0};
	struct fg_box blk;
	uint64_t *at = NULL;
	size_t n = 0;
	int rc;

	if (fg_sched_block_box(call->layer, &call->vx, &blk, err) < 0)
		return -1;
	p.all = (uint64_t)fg_box_volume(&blk);
	for (int d = 0; d < 3; d++) {
		blk.lo[d]--;
		blk.hi[d]++;
	}
	if (list_waiting(s, call->layer, &blk, &at, &n, err) < 0)
		return -1;
	p.all = FG_MAX(p.all, n);
	p.skipped = p.all - n;
	rc = stitch_list(s, call, at, n, &p, err);
	free(at);
	at = NULL;
	if (rc == 0)
		rc = list_waiting(s, call->layer, &blk, &at, &n, err);
	free(at);
	if (rc == 0) {
		p.failed = FG_MIN(n, p.done);
		p.done -= p.failed;
	}
	if (call->progress)
		call->progress(call->ctx, &p);
	if (rc == 0 && n > 0)
		return fg_fail(err, FG_EIO,
		    "%zu blocks of layer %s could not be stitched: see the log", n,
		    call->layer->name);
	return rc;
}

int
fg_sched_stitch(struct fg_sched *s, struct fg_bulk_call *call, struct fg_err *err)
{
	struct fg_bulk_call c = *call;
	int rc;

	call->complete = false;
	if (call->layer->base)
		c.layer = call->layer->base;
	if (!c.layer->recipe || c.layer->broken)
		return fg_fail(err, FG_EINVAL, "layer %s cannot be stitched",
		    c.layer->name);
	fg_sched_enter_job(s);
	rc = stitch_box(s, &c, err);
	fg_sched_leave_job(s);
	call->complete = rc == 0 || err->code == FG_EIO;
	return rc;
}
