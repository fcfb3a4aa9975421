/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Numbers of the scheduler for people and programs: copied under the lock, made into
 * text without it.
 */
#include "config.h"

#include "work/sched_priv.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/morton.h"

void
fg_sched_get_stats(struct fg_sched *s, struct fg_sched_stats *out)
{
	struct fg_committer_stats cs;
	double sum = 0;
	int known = 0;

	fg_committer_get_stats(s->committer, &cs);
	pthread_mutex_lock(&s->lock);
	*out = s->stats;
	for (int c = 0; c < FG_CLASSES; c++) {
		out->queued[c] = s->blocks[c].n + s->coarse[c].n + s->artefacts[c].n;
		out->io_queued += s->calls[FG_RES_IO][c].n;
		out->cpu_queued += s->calls[FG_RES_CPU][c].n;
		out->net_queued += s->calls[FG_RES_NET][c].n;
	}
	for (const struct task *t = s->delayed.first; t; t = t->next)
		out->queued[t->t.cls]++;
	out->running = s->running.n;
	out->committing = s->committing.n;
	out->waiters = s->waiters;
	for (size_t i = 0; i < s->lanes; i++) {
		if (s->lane[i].block_s > 0) {
			sum += s->lane[i].block_s;
			known++;
		}
	}
	pthread_mutex_unlock(&s->lock);
	out->block_s = known ? sum / known : 0;
	out->commits = cs.commits;
	out->commit_results = cs.results;
}

/* From a block of a toy to one that takes an hour. */
static const double block_bound[FG_SCHED_BLOCK_BUCKETS - 1] = {0.1, 0.3, 1, 3, 10, 30,
    100, 300, 1000, 3000};

void
fg_sched_count_block(struct fg_sched *s, double seconds)
{
	int b = 0;

	while (b < FG_SCHED_BLOCK_BUCKETS - 1 && seconds > block_bound[b])
		b++;
	s->block_bucket[b]++;
	s->block_sum_s += seconds;
}

void
fg_sched_get_load(struct fg_sched *s, struct fg_sched_load *out)
{
	struct fg_batcher_stats sum = {0};

	if (s->engines)
		fg_engines_sum(s->engines, &sum);
	memset(out, 0, sizeof *out);
	out->devices = s->devices;
	out->steps = sum.steps;
	out->waiting = sum.waiting;
	out->busy_s = (double)sum.device_ns / 1e9;
	out->block_bound = block_bound;
	pthread_mutex_lock(&s->lock);
	memcpy(out->block_bucket, s->block_bucket, sizeof out->block_bucket);
	out->block_sum_s = s->block_sum_s;
	pthread_mutex_unlock(&s->lock);
}

size_t
fg_sched_changes(struct fg_sched *s, uint64_t *since, struct fg_change *out, size_t max,
    bool *lost)
{
	size_t n = 0;

	*lost = false;
	pthread_mutex_lock(&s->lock);
	if (*since > s->changes)
		*since = s->changes;
	if (s->changes - *since > CHANGES_MAX) {
		*since = s->changes - CHANGES_MAX;
		*lost = true;
	}
	while (n < max && *since < s->changes)
		out[n++] = s->change[(*since)++ % CHANGES_MAX];
	pthread_mutex_unlock(&s->lock);
	return n;
}

int
fg_sched_measure(struct fg_sched *s, const struct fg_layer *l, double *fov_s,
    struct fg_err *err)
{
	const struct fg_recipe *r = l->recipe;
	struct fg_engine *e;
	double seconds;

	pthread_mutex_lock(&s->lock);
	seconds = fg_sched_lane(s, l->id)->fov_s;
	pthread_mutex_unlock(&s->lock);
	if (seconds > 0) {
		*fov_s = seconds;
		return 0;
	}
	if (!s->engines)
		return fg_fail(err, FG_ENOTSUP, "there are no devices to measure");
	e = fg_engines_get(s->engines, r->model, r->model_sha256, &r->shape,
	    r->precision, err);
	if (!e || fg_engine_measure(e, &seconds, err) < 0)
		return -1;
	pthread_mutex_lock(&s->lock);
	fg_sched_lane(s, l->id)->fov_s = seconds;
	pthread_mutex_unlock(&s->lock);
	*fov_s = seconds;
	return 0;
}

json_t *
fg_sched_devices(struct fg_sched *s)
{
	return s->engines ? fg_engines_describe(s->engines) : json_array();
}

int
fg_sched_device_count(const struct fg_sched *s)
{
	return s->devices;
}

bool
fg_sched_stopped(struct fg_sched *s, uint32_t layer, char why[200])
{
	bool stopped = false;

	pthread_mutex_lock(&s->lock);
	const struct lane *lane = fg_sched_lane(s, layer);
	if (lane->stopped_until > fg_clock_ns()) {
		memcpy(why, lane->why, 200);
		stopped = true;
	}
	pthread_mutex_unlock(&s->lock);
	return stopped;
}

/* Under the lock. */
static void
mark_list(const struct list *l, uint32_t layer, const struct fg_box *blk,
    enum fg_now what, uint8_t *now)
{
	int64_t shape[3], p[3];

	fg_box_shape(blk, shape);
	for (const struct task *t = l->first; t; t = t->next) {
		bool in = t->t.key.layer == layer && t->t.key.kind == FG_KIND_BLOCK;

		fg_morton_decode(t->t.key.at, p);
		for (int d = 0; d < 3; d++) {
			in = in && p[d] >= blk->lo[d] && p[d] < blk->hi[d];
			p[d] -= blk->lo[d];
		}
		if (in)
			now[p[0] + shape[0] * (p[1] + shape[1] * p[2])] = what;
	}
}

void
fg_sched_look(struct fg_sched *s, uint32_t layer, const struct fg_box *blk,
    uint8_t *now)
{
	pthread_mutex_lock(&s->lock);
	for (int c = 0; c < FG_CLASSES; c++)
		mark_list(&s->blocks[c], layer, blk, FG_NOW_QUEUED, now);
	mark_list(&s->delayed, layer, blk, FG_NOW_DELAYED, now);
	mark_list(&s->running, layer, blk, FG_NOW_RUNNING, now);
	mark_list(&s->committing, layer, blk, FG_NOW_RUNNING, now);
	pthread_mutex_unlock(&s->lock);
}

/* What is shown of a task. */
struct view {
	struct fg_key key;
	struct fg_layer *layer; /* a reference */
	int cls, attempt;
	enum task_state state;
	size_t waiters;
	int jobs;
	double progress, seconds;
};

static size_t
copy_list(const struct list *l, int64_t now, struct view *v, size_t n, size_t max)
{
	for (struct task *t = l->first; t && n < max; t = t->next) {
		uint64_t all = t->t.progress_all;

		v[n++] = (struct view){
		    .key = t->t.key,
		    .layer = fg_layer_ref(t->t.layer),
		    .cls = t->t.cls,
		    .attempt = t->t.attempt,
		    .state = t->state,
		    .waiters = t->waiters,
		    .jobs = t->jobs,
		    .progress = all ? (double)t->t.progress / (double)all : 0,
		    .seconds = (double)(now - t->since_ns) / 1e9,
		};
	}
	return n;
}

static json_t *
format_view(const struct view *v)
{
	static const char *const cls[] = {"interactive", "bulk", "idle"};
	static const char *const state[] = {"queued", "delayed", "running",
	    "committing"};
	static const char *const kind[] = {[FG_KIND_CHUNK] = "chunk",
	    [FG_KIND_BLOCK] = "block",
	    [FG_KIND_FACE] = "face",
	    [FG_KIND_PROB] = "prob",
	    [FG_KIND_MESH] = "mesh",
	    [FG_KIND_SKELETON] = "skeleton",
	    [FG_KIND_STITCH] = "stitch",
	    [FG_KIND_RESEGMENT] = "resegment"};
	bool artefact = fg_kind_is_artefact(v->key.kind);
	int64_t p[3];
	char id[24];
	json_t *at;

	fg_morton_decode(v->key.at, p);
	snprintf(id, sizeof id, "%llu", (unsigned long long)v->key.at);
	at = artefact ? json_string(id) : fg_json_int3(p);
	return json_pack("{s:s,s:s,s:i,s:o,s:s,s:s,s:I,s:i,s:i,s:f,s:f}", "layer",
	    v->layer->name, "kind", kind[v->key.kind], "scale",
	    artefact ? 0 : v->key.scale, "at", at, "class", cls[v->cls], "state",
	    state[v->state], "waiters", (json_int_t)v->waiters, "jobs", v->jobs,
	    "attempt", v->attempt, "progress", v->progress, "seconds", v->seconds);
}

json_t *
fg_sched_tasks(struct fg_sched *s, size_t max)
{
	struct view *v = fg_calloc(max + 1, sizeof *v);
	json_t *list = json_array();
	int64_t now = fg_clock_ns();
	size_t n = 0;

	pthread_mutex_lock(&s->lock);
	n = copy_list(&s->running, now, v, n, max);
	n = copy_list(&s->committing, now, v, n, max);
	for (int c = 0; c < FG_CLASSES; c++) {
		n = copy_list(&s->blocks[c], now, v, n, max);
		n = copy_list(&s->coarse[c], now, v, n, max);
		n = copy_list(&s->artefacts[c], now, v, n, max);
	}
	n = copy_list(&s->delayed, now, v, n, max);
	pthread_mutex_unlock(&s->lock);
	for (size_t i = 0; i < n; i++) {
		json_array_append_new(list, format_view(&v[i]));
		fg_layer_unref(v[i].layer);
	}
	free(v);
	return list;
}
