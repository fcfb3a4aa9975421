/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segment jobs: "make all blocks of this box". One thread per running job sits in
 * fg_sched_bulk, which does the planning; here are only their numbers, progress and
 * end. A job is not durable: what it has made is, and asking again skips that.
 *
 * The table keeps the last jobs that ended, so that a script that polls sees how.
 */
#include "config.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "server/request.h"

#define KEPT 100 /* ended jobs remembered */

enum state { RUNNING, JOB_DONE, JOB_FAILED, CANCELED };

struct job {
	uint64_t id;
	struct fg_jobs *jobs;
	struct fg_layer *layer; /* held reference */
	struct fg_box vx;
	pthread_t thread;
	_Atomic bool cancel;
	int64_t started_ms;
	/* guarded by jobs->lock */
	enum state state;
	struct fg_bulk_progress progress;
	int64_t ended_ms;
	char error[480];
	bool joined;
	struct job *next;
};

struct fg_jobs {
	struct fg_server *srv;
	pthread_mutex_t lock;
	/* guarded by lock */
	struct job *first; /* newest first */
	uint64_t last_id;
	size_t running;
};

struct fg_jobs *
fg_jobs_new(struct fg_server *s)
{
	struct fg_jobs *j = fg_calloc(1, sizeof *j);

	j->srv = s;
	pthread_mutex_init(&j->lock, NULL);
	return j;
}

void
fg_jobs_cancel(struct fg_jobs *j, uint32_t layer)
{
	pthread_mutex_lock(&j->lock);
	for (struct job *b = j->first; b; b = b->next) {
		if (layer == 0 || b->layer->id == layer)
			atomic_store(&b->cancel, true);
	}
	pthread_mutex_unlock(&j->lock);
}

static void
free_job(struct job *b)
{
	pthread_join(b->thread, NULL);
	fg_layer_unref(b->layer);
	free(b);
}

void
fg_jobs_free(struct fg_jobs *j)
{
	if (!j)
		return;
	fg_jobs_cancel(j, 0);
	/* Nobody starts jobs any more: the list is ours. */
	for (struct job *b = j->first, *next; b; b = next) {
		next = b->next;
		free_job(b);
	}
	pthread_mutex_destroy(&j->lock);
	free(j);
}

static void
on_progress(void *ctx, const struct fg_bulk_progress *p)
{
	struct job *b = ctx;

	pthread_mutex_lock(&b->jobs->lock);
	b->progress = *p;
	pthread_mutex_unlock(&b->jobs->lock);
}

static void *
job_thread(void *ctx)
{
	struct job *b = ctx;
	struct fg_jobs *j = b->jobs;
	struct fg_err err = FG_ERR_INIT;
	int rc = fg_sched_bulk(j->srv->sched, b->layer, &b->vx, on_progress, b,
	    &b->cancel, &err);

	pthread_mutex_lock(&j->lock);
	b->state =
	    rc == 0 ? JOB_DONE : (atomic_load(&b->cancel) ? CANCELED : JOB_FAILED);
	b->ended_ms = fg_clock_wall_ms();
	if (rc < 0)
		memcpy(b->error, err.msg, sizeof b->error);
	j->running--;
	pthread_mutex_unlock(&j->lock);
	fg_log(rc == 0 ? FG_LOG_INFO : FG_LOG_WARN,
	    "segment job ended job=%llu layer=%s%s%s", (unsigned long long)b->id,
	    b->layer->name, rc < 0 ? ": " : "", err.msg);
	return NULL;
}

static json_t *
describe(const struct job *b)
{
	static const char *const names[] = {"running", "done", "failed", "cancelled"};
	const struct fg_bulk_progress *p = &b->progress;
	json_t *box = json_array();

	for (int i = 0; i < 6; i++)
		json_array_append_new(box,
		    json_integer(i < 3 ? b->vx.lo[i] : b->vx.hi[i - 3]));
	return json_pack("{s:I, s:s, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:f, s:f, s:I, "
			 "s:I, "
			 "s:s}",
	    "id", (json_int_t)b->id, "layer", b->layer->name, "state", names[b->state],
	    "box", box, "all", (json_int_t)p->all, "done", (json_int_t)p->done,
	    "skipped", (json_int_t)p->skipped, "failed", (json_int_t)p->failed, "steps",
	    (json_int_t)p->steps, "seconds", p->seconds, "fraction", p->fraction,
	    "started", (json_int_t)b->started_ms, "ended", (json_int_t)b->ended_ms,
	    "error", b->error);
}

json_t *
fg_jobs_list(struct fg_jobs *j)
{
	json_t *list = json_array();

	pthread_mutex_lock(&j->lock);
	for (struct job *b = j->first; b; b = b->next)
		json_array_append_new(list, describe(b));
	pthread_mutex_unlock(&j->lock);
	return list;
}

/* Take the ended jobs beyond the last KEPT out; the caller frees the chain. */
static struct job *
take_old(struct fg_jobs *j)
{
	struct job **p = &j->first, *old = NULL;
	size_t ended = 0;

	while (*p) {
		struct job *b = *p;

		if (b->state == RUNNING || ++ended <= KEPT) {
			p = &b->next;
			continue;
		}
		*p = b->next;
		b->next = old;
		old = b;
	}
	return old;
}

/* {"box": [x0, y0, z0, x1, y1, z1]} inside the finest scale. */
static int
parse_box(const struct fg_request *r, const struct fg_layer *l, struct fg_box *vx,
    struct fg_err *err)
{
	struct fg_box bounds;
	json_t *j, *a;
	const char *key;
	int rc = -1;

	j = fg_json_parse(r->body.data ? r->body.data : "", r->body.len, "body", err);
	if (!j)
		return -1;
	json_object_foreach(j, key, a)
	{
		if (strcmp(key, "box") != 0) {
			fg_fail(err, FG_EINVAL, "there is no key \"%.40s\" here", key);
			goto out;
		}
	}
	a = json_object_get(j, "box");
	fg_scale_bounds(&l->info.scale[0], &bounds);
	if (!a) { /* the whole volume */
		*vx = bounds;
		rc = 0;
		goto out;
	}
	for (size_t i = 0; i < 6; i++) {
		json_t *v = json_array_get(a, i);

		if (json_array_size(a) != 6 || !json_is_integer(v)) {
			fg_fail(err, FG_EINVAL,
			    "\"box\" is not an array of six whole numbers");
			goto out;
		}
		*(i < 3 ? &vx->lo[i] : &vx->hi[i - 3]) = json_integer_value(v);
	}
	if (fg_box_is_empty(vx) || !fg_box_contains(&bounds, vx))
		fg_fail(err, FG_EINVAL,
		    "\"box\" is empty or not inside %lld,%lld,%lld to %lld,%lld,%lld",
		    (long long)bounds.lo[0], (long long)bounds.lo[1],
		    (long long)bounds.lo[2], (long long)bounds.hi[0],
		    (long long)bounds.hi[1], (long long)bounds.hi[2]);
	else
		rc = 0;
out:
	json_decref(j);
	return rc;
}

/* Enter b into the table and start its thread; 0, or an errno value. */
static int
launch(struct fg_jobs *j, struct job *b, struct job **old)
{
	int rc = EBUSY;

	pthread_mutex_lock(&j->lock);
	*old = take_old(j);
	if (j->running < (size_t)j->srv->set->jobs_max) {
		b->id = ++j->last_id;
		rc = pthread_create(&b->thread, NULL, job_thread, b);
	}
	if (rc == 0) {
		j->running++;
		b->next = j->first;
		j->first = b;
	}
	pthread_mutex_unlock(&j->lock);
	return rc;
}

void
fg_jobs_start(struct fg_request *r, struct fg_layer *l)
{
	struct fg_jobs *j = r->srv->jobs;
	struct fg_err err = FG_ERR_INIT;
	struct job *b = fg_calloc(1, sizeof *b), *old = NULL;
	int rc;

	b->jobs = j;
	b->started_ms = fg_clock_wall_ms();
	if (!l->recipe) {
		fg_reply_error(r, 400, "layer %s is not made here: nothing to segment",
		    l->name);
	} else if (parse_box(r, l, &b->vx, &err) < 0) {
		fg_reply_err(r, &err);
	} else {
		b->layer = fg_layer_ref(l);
		rc = launch(j, b, &old);
		if (rc == 0) {
			fg_reply_json(r, 202,
			    json_pack("{s:I}", "id", (json_int_t)b->id));
			b = NULL;
		} else if (rc == EBUSY) {
			fg_reply_later(r, 30, "%lld segment jobs are running already",
			    (long long)r->srv->set->jobs_max);
		} else {
			fg_reply_later(r, 30, "no thread for the job: %s",
			    strerror(rc));
		}
	}
	for (struct job *next; old; old = next) {
		next = old->next;
		free_job(old);
	}
	if (b) {
		fg_layer_unref(b->layer);
		free(b);
	}
}

/* GET and DELETE /api/segment/N. */
void
fg_jobs_handle(struct fg_request *r, const char *number)
{
	struct fg_jobs *j = r->srv->jobs;
	json_t *found = NULL;
	uint64_t id = strtoull(number, NULL, 10);

	pthread_mutex_lock(&j->lock);
	for (struct job *b = j->first; b; b = b->next) {
		if (b->id != id)
			continue;
		if (r->method == FG_DELETE)
			atomic_store(&b->cancel, true);
		found = describe(b);
		break;
	}
	pthread_mutex_unlock(&j->lock);
	if (found)
		fg_reply_json(r, r->method == FG_DELETE ? 202 : 200, found);
	else
		fg_reply_error(r, 404, "there is no segment job %.30s", number);
}
