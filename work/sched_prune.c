/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The thread that prunes old generations of meshes and skeletons (prune.c), layer by
 * layer, several times within the time that they are kept. It takes the writer's lock
 * for one small transaction at a time, so commits hardly wait for it.
 */
#include "config.h"

#include "work/sched_priv.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "work/prune.h"

/* Passes within the time to keep; the longest and the shortest break between two, and
 * that before the first one. */
#define PASSES 4
#define BREAK_MAX_MS (INT64_C(3600) * 1000)
#define BREAK_MIN_MS INT64_C(200)
#define BREAK_FIRST_MS (INT64_C(60) * 1000)

static int
drop_rows(void *ctx, const struct fg_row_name *rows, size_t n, uint64_t *dropped,
    uint64_t *bytes, struct fg_err *err)
{
	struct fg_sched *s = ctx;
	pthread_mutex_t *writer = fg_catalog_writer(s->catalog);
	int rc;

	pthread_mutex_lock(writer);
	rc = fg_store_drop(s->store, rows, n, dropped, bytes, err);
	pthread_mutex_unlock(writer);
	return rc;
}

static int
read_bytes(void *ctx, const struct fg_place *place, struct fg_buf **out,
    struct fg_err *err)
{
	struct fg_sched *s = ctx;

	return fg_store_read(s->store, place, false, out, err);
}

static bool
has_object(const struct list *l, uint32_t layer, int kind, uint64_t id)
{
	for (const struct task *t = l->first; t; t = t->next) {
		if (t->t.key.layer == layer && t->t.key.kind == kind &&
		    t->t.key.at == id)
			return true;
	}
	return false;
}

/* One that only waits has read nothing yet. */
static bool
is_busy(void *ctx, uint32_t layer, enum fg_kind kind, uint64_t id)
{
	struct fg_sched *s = ctx;
	bool yes;

	pthread_mutex_lock(&s->lock);
	yes = has_object(&s->running, layer, kind, id) ||
	      has_object(&s->committing, layer, kind, id);
	pthread_mutex_unlock(&s->lock);
	return yes;
}

static void
prune_layer(struct fg_layer *l, struct fg_prune *p)
{
	struct fg_err err = FG_ERR_INIT;

	p->layer = l;
	if (fg_prune_layer(p, &err) < 0 && err.code != FG_ECANCELED)
		fg_log(FG_LOG_WARN,
		    "old meshes and skeletons of layer %s stay for now: %s", l->name,
		    err.msg);
	if (p->rows > 0)
		fg_log(FG_LOG_INFO,
		    "old meshes and skeletons removed layer=%s rows=%llu bytes=%llu",
		    l->name, (unsigned long long)p->rows, (unsigned long long)p->bytes);
}

/* One pass over all layers; whether the next one should sweep. */
static bool
prune_all(struct fg_sched *s, bool sweep)
{
	struct fg_prune p = {.sweep = sweep,
	    .worker = s->worker,
	    .put = fg_sched_put_part,
	    .drop = drop_rows,
	    .read = read_bytes,
	    .busy = is_busy,
	    .ctx = s,
	    .cancel = &s->prune_cancel};
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer **layer = NULL;
	bool again = false;
	size_t n = 0;

	p.reader = fg_sched_take_reader(s, &err);
	if (!p.reader ||
	    fg_reader_run_by(p.reader, fg_clock_wall_ms() - s->opt.mesh_keep_ms, &p.run,
		&err) < 0) {
		fg_log(FG_LOG_WARN, "old meshes and skeletons stay for now: %s",
		    err.msg);
		again = sweep;
		goto out;
	}
	fg_catalog_list(s->catalog, &layer, &n);
	for (size_t i = 0; i < n; i++) {
		if (layer[i]->agglomerated && !layer[i]->broken && !s->prune_cancel) {
			prune_layer(layer[i], &p);
			again = again || p.again;
		}
		fg_layer_unref(layer[i]);
	}
	free(layer);
out:
	if (p.reader)
		fg_sched_put_reader(s, p.reader);
	return again;
}

void *
fg_sched_prune(void *arg)
{
	struct fg_sched *s = arg;
	int64_t pause =
	    FG_MAX(FG_MIN(s->opt.mesh_keep_ms / PASSES, BREAK_MAX_MS), BREAK_MIN_MS);
	int64_t due = fg_clock_ns() + FG_MIN(pause, BREAK_FIRST_MS) * FG_NS_PER_MS;
	bool sweep = true; /* a crash may have come between tables and their pieces */

	pthread_mutex_lock(&s->lock);
	while (!s->quit && !s->stopping) {
		struct timespec t = {.tv_sec = due / FG_NS_PER_S,
		    .tv_nsec = due % FG_NS_PER_S};

		if (fg_clock_ns() < due) {
			pthread_cond_timedwait(&s->pruning, &s->lock, &t);
			continue;
		}
		pthread_mutex_unlock(&s->lock);
		sweep = prune_all(s, sweep);
		due = fg_clock_ns() + pause * FG_NS_PER_MS;
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}
