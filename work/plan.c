/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The life of jobs: read at start, run by a small pool of threads, written down at
 * every change of state.
 *
 * A thread takes the first job that may run (bulk before idle, then the oldest), runs
 * its stages, and puts it back or ends it. The row in the store is always written from
 * the job as it is then, under the store's writer lock, so that of two changes at once
 * the later one is what stays.
 *
 * Orders come from other threads: they change the state under the lock and set
 * `cancel`, which the scheduler polls; the thread at work sees what became of its job
 * when it comes back.
 */
#include "config.h"

#include "work/plan_priv.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/morton.h"

#define OPEN_MAX 1000 /* jobs that are not over */
#define KEPT 1000     /* jobs that are over and still listed */
/* A job that cannot go on now (layer paused, disk full, no device) tries again. */
#define AGAIN_NS (2 * FG_NS_PER_S)

/* ------------------------------------------------------------- the table of jobs */

static bool
is_over(enum fg_job_state s)
{
	return s >= FG_JOB_DONE;
}

static void
free_job(struct fg_plan_job *j)
{
	if (!j)
		return;
	free(j->layer_name);
	fg_wish_fini(&j->wish);
	free(j);
}

/* Under the lock. */
static struct fg_plan_job *
find(struct fg_plan *p, int64_t id)
{
	struct fg_plan_job *j = p->first;

	while (j && j->id != id)
		j = j->next;
	return j;
}

/* Under the lock. */
static void
set_state(struct fg_plan *p, struct fg_plan_job *j, enum fg_job_state state)
{
	p->open += is_over(j->state) && !is_over(state);
	p->open -= !is_over(j->state) && is_over(state);
	j->state = state;
	j->updated_ms = fg_clock_wall_ms();
	j->changed = ++p->changes;
}

/* Take jobs that have been over for longest out, so that the list stays bounded; the
 * caller frees the chain. Under the lock. */
static struct fg_plan_job *
take_old(struct fg_plan *p)
{
	struct fg_plan_job **at = &p->first, *old = NULL;
	size_t over = 0;

	while (*at) {
		struct fg_plan_job *j = *at;

		if (!is_over(j->state) || j->active || ++over <= KEPT) {
			at = &j->next;
			continue;
		}
		*at = j->next;
		j->next = old;
		old = j;
	}
	return old;
}

/* ------------------------------------------------------------- rows */

/* The job as a row. Under the lock. */
static void
make_row(const struct fg_plan_job *j, struct fg_job_row *row)
{
	*row = (struct fg_job_row){
	    .job = j->id,
	    .layer = j->wish.layer,
	    .box = fg_wish_box_format(&j->wish),
	    .stages = fg_wish_stages_format(j),
	    .error = fg_strdup(is_over(j->state) ? j->error : ""),
	    .cls = j->wish.cls,
	    .state = j->state,
	    .created_ms = j->created_ms,
	    .updated_ms = j->updated_ms,
	};
}

/* Write the job as it is now. The job may be out of the table by then. */
static int
write_row(struct fg_plan *p, int64_t id, struct fg_err *err)
{
	pthread_mutex_t *writer = fg_catalog_writer(p->catalog);
	struct fg_job_row row = {0};
	struct fg_plan_job *j;
	int rc = 0;

	pthread_mutex_lock(writer);
	pthread_mutex_lock(&p->lock);
	j = find(p, id);
	if (j)
		make_row(j, &row);
	pthread_mutex_unlock(&p->lock);
	if (j)
		rc = fg_store_job_put(p->store, &row, err);
	pthread_mutex_unlock(writer);
	fg_job_row_fini(&row);
	return rc;
}

/* A job from its row; NULL if the layer is gone or the row makes no sense. */
static struct fg_plan_job *
read_row(struct fg_plan *p, const struct fg_job_row *row)
{
	struct fg_plan_job *j = fg_calloc(1, sizeof *j);
	struct fg_layer *l = fg_catalog_get(p->catalog, row->layer);
	struct fg_err err = FG_ERR_INIT;
	struct fg_box blk;

	j->id = row->job;
	j->stage = -1;
	j->state = row->state;
	j->created_ms = row->created_ms;
	j->updated_ms = row->updated_ms;
	snprintf(j->error, sizeof j->error, "%s", row->error ? row->error : "");
	if (!l || fg_wish_read(row, j, &err) < 0) {
		fg_log(FG_LOG_WARN, "job not understood job=%lld why=%s",
		    (long long)row->job, l ? err.msg : "its layer is gone");
		free_job(j);
		j = NULL;
	} else {
		j->layer_name = fg_strdup(l->name);
		/* A layer that is broken now may be whole after a repair. */
		if (l->recipe && fg_sched_block_box(l, &j->wish.vx, &blk, &err) == 0)
			j->blocks = (uint64_t)fg_box_volume(&blk);
	}
	fg_layer_unref(l);
	return j;
}

static int
read_rows(struct fg_plan *p, struct fg_err *err)
{
	struct fg_reader *r = fg_reader_open(p->store, err);
	struct fg_job_row *rows = NULL;
	size_t n = 0;
	int rc;

	if (!r)
		return -1;
	rc = fg_reader_jobs(r, &rows, &n, err);
	fg_reader_close(r);
	for (size_t i = 0; i < n; i++) {
		struct fg_plan_job *j = read_row(p, &rows[i]);

		fg_job_row_fini(&rows[i]);
		if (!j)
			continue;
		p->open += !is_over(j->state);
		j->next = p->first;
		p->first = j;
	}
	free(rows);
	return rc;
}

/* ------------------------------------------------------------- running */

/* The next job to run, or NULL; *wait_ns: until one may become ready. Under the lock.
 */
static struct fg_plan_job *
pick(struct fg_plan *p, int64_t *wait_ns)
{
	struct fg_plan_job *best = NULL;
	int64_t now = fg_clock_ns();

	*wait_ns = INT64_MAX;
	for (struct fg_plan_job *j = p->first; j; j = j->next) {
		if (j->state != FG_JOB_OPEN || j->active)
			continue;
		if (j->due_ns > now)
			*wait_ns = FG_MIN(*wait_ns, j->due_ns);
		/* The list is newest first: later ones are older. */
		else if (!best || j->wish.cls <= best->wish.cls)
			best = j;
	}
	return best;
}

/* What cannot be helped now but may be later. */
static bool
is_passing(struct fg_plan *p, const struct fg_plan_job *j, const struct fg_err *err,
    bool complete)
{
	char why[200];

	if (err->code == FG_EBUSY || err->code == FG_EFULL)
		return !complete;
	/* Tasks were dropped under the job: the layer was paused or lost its device. */
	if (err->code == FG_ECANCELED && !complete)
		return true;
	return fg_sched_stopped(p->sched, j->wish.layer, why);
}

/* Run the stages of a job. Returns 0, or -1 with *complete as the stage left it; a
 * stage that is complete but for failed parts does not keep the later ones from
 * running. */
static int
run_stages(struct fg_plan *p, struct fg_plan_job *j, bool *complete, struct fg_err *err)
{
	struct fg_layer *l = fg_catalog_get(p->catalog, j->wish.layer);
	struct fg_stage_run r = {.p = p, .job = j, .layer = l};
	int rc = 0;

	*complete = false;
	if (!l)
		return fg_fail(err, FG_ENOENT, "layer %s was removed", j->layer_name);
	for (int s = 0; s < FG_STAGES; s++) {
		if (!(j->wish.stages & 1u << s))
			continue;
		pthread_mutex_lock(&p->lock);
		j->stage = s;
		pthread_mutex_unlock(&p->lock);
		r.complete = false;
		/* The first failure is the one to tell. */
		if (fg_plan_run_stage(s, &r, err) < 0) {
			rc = -1;
			if (!r.complete)
				break;
		}
	}
	*complete = r.complete;
	fg_layer_unref(l);
	return rc;
}

/* What becomes of the job that was run. Under the lock. */
static void
settle(struct fg_plan *p, struct fg_plan_job *j, int rc, bool passing,
    const struct fg_err *err)
{

	j->active = false;
	j->stage = -1;
	j->seconds_before += (double)(fg_clock_ns() - j->run_ns) / 1e9;
	j->changed = ++p->changes;
	if (j->state != FG_JOB_OPEN || p->stopping)
		return; /* somebody else has decided */
	j->error[0] = '\0';
	if (rc < 0)
		snprintf(j->error, sizeof j->error, "%s", err->msg);
	if (rc == 0) {
		set_state(p, j, FG_JOB_DONE);
	} else if (j->again || passing) {
		j->due_ns = j->again ? 0 : fg_clock_ns() + AGAIN_NS;
		j->again = false;
	} else {
		set_state(p, j, FG_JOB_FAILED);
	}
}

static void
log_end(const struct fg_plan_job *j, int rc, const struct fg_err *err)
{
	fg_log(rc == 0 ? FG_LOG_INFO : FG_LOG_WARN, "job %s job=%lld layer=%s%s%s",
	    rc == 0 ? "done" : "stopped", (long long)j->id, j->layer_name,
	    rc < 0 ? " why=" : "", rc < 0 ? err->msg : "");
}

/* Called and left under the lock. */
static void
run_job(struct fg_plan *p, struct fg_plan_job *j)
{
	struct fg_err err = FG_ERR_INIT, failed = FG_ERR_INIT;
	bool complete, gone;
	int rc;

	j->active = true;
	j->again = false;
	j->run_ns = fg_clock_ns();
	j->changed = ++p->changes;
	j->done_before += fg_wish_made(j);
	memset(j->progress, 0, sizeof j->progress);
	atomic_store(&j->cancel, false);
	atomic_store(&j->spare, false);
	pthread_mutex_unlock(&p->lock);

	rc = run_stages(p, j, &complete, &err);
	bool passing = rc < 0 && is_passing(p, j, &err, complete);
	log_end(j, rc, &err);

	pthread_mutex_lock(&p->lock);
	settle(p, j, rc, passing, &err);
	gone = j->gone;
	bool over = is_over(j->state);
	int64_t id = j->id;
	pthread_mutex_unlock(&p->lock);
	if (gone)
		free_job(j);
	/* FG_ENOENT: the layer has just been removed, and its jobs with it. */
	else if (over && write_row(p, id, &failed) < 0 && failed.code != FG_ENOENT)
		fg_log(FG_LOG_ERROR, "end of job not recorded job=%lld why=%s",
		    (long long)id, failed.msg);
	pthread_mutex_lock(&p->lock);
	pthread_cond_broadcast(&p->changed);
}

static void *
work(void *arg)
{
	struct fg_plan *p = arg;

	pthread_mutex_lock(&p->lock);
	while (!p->stopping) {
		int64_t until;
		struct fg_plan_job *j = pick(p, &until);

		if (j) {
			run_job(p, j);
			continue;
		}
		p->idle++;
		if (until == INT64_MAX) {
			pthread_cond_wait(&p->changed, &p->lock);
		} else {
			struct timespec t = {.tv_sec = until / FG_NS_PER_S,
			    .tv_nsec = until % FG_NS_PER_S};

			pthread_cond_timedwait(&p->changed, &p->lock, &t);
		}
		p->idle--;
	}
	pthread_mutex_unlock(&p->lock);
	return NULL;
}

/* Some job may be ready: wake the threads, and see that there are enough. Under the
 * lock. */
static void
kick(struct fg_plan *p)
{
	size_t ready = 0;

	if (!p->sched || p->stopping)
		return;
	for (const struct fg_plan_job *j = p->first; j; j = j->next)
		ready += j->state == FG_JOB_OPEN && !j->active;
	for (size_t k = (size_t)p->idle; k < ready && p->threads < p->running_max;
	     k++) {
		if (pthread_create(&p->thread[p->threads], NULL, work, p) != 0)
			break;
		p->threads++;
	}
	pthread_cond_broadcast(&p->changed);
}

/* ------------------------------------------------------------- begin and end */

struct fg_plan *
fg_plan_new(struct fg_store *store, struct fg_catalog *catalog, struct fg_sched *sched,
    int running, struct fg_err *err)
{
	struct fg_plan *p = fg_calloc(1, sizeof *p);
	pthread_mutex_t *writer = fg_catalog_writer(catalog);
	pthread_condattr_t attr;
	int rc;

	p->store = store;
	p->catalog = catalog;
	p->sched = sched;
	p->running_max = FG_MAX(running, 1);
	p->thread = fg_calloc((size_t)p->running_max, sizeof *p->thread);
	pthread_mutex_init(&p->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&p->changed, &attr);
	pthread_condattr_destroy(&attr);
	pthread_mutex_lock(writer);
	rc = fg_store_jobs_prune(store, KEPT, err);
	pthread_mutex_unlock(writer);
	if (rc < 0 || read_rows(p, err) < 0) {
		fg_plan_free(p);
		return NULL;
	}
	pthread_mutex_lock(&p->lock);
	if (sched && p->open > 0)
		fg_log(FG_LOG_INFO, "jobs go on open=%zu", p->open);
	kick(p);
	pthread_mutex_unlock(&p->lock);
	return p;
}

void
fg_plan_stop(struct fg_plan *p)
{
	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stopping = true;
	for (struct fg_plan_job *j = p->first; j; j = j->next) {
		atomic_store(&j->spare, true);
		atomic_store(&j->cancel, true);
	}
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

void
fg_plan_free(struct fg_plan *p)
{
	if (!p)
		return;
	fg_plan_stop(p);
	/* kick starts none any more. */
	for (int i = 0; i < p->threads; i++)
		pthread_join(p->thread[i], NULL);
	while (p->first) {
		struct fg_plan_job *j = p->first;

		p->first = j->next;
		free_job(j);
	}
	pthread_mutex_destroy(&p->lock);
	pthread_cond_destroy(&p->changed);
	free(p->thread);
	free(p);
}

/* ------------------------------------------------------------- orders */

/* Enter a job whose row is on the disk. */
static json_t *
enter(struct fg_plan *p, struct fg_plan_job *j)
{
	struct fg_plan_job *old;
	json_t *out;

	pthread_mutex_lock(&p->lock);
	j->changed = ++p->changes;
	j->next = p->first;
	p->first = j;
	out = fg_plan_describe(j);
	kick(p);
	old = take_old(p);
	pthread_mutex_unlock(&p->lock);
	for (struct fg_plan_job *next; old; old = next) {
		next = old->next;
		free_job(old);
	}
	return out;
}

/* Whether the layer can take work now. */
static int
check_layer(const struct fg_layer *l, struct fg_err *err)
{
	if (l->broken)
		return fg_fail(err, FG_EBUSY, "layer %s is degraded: %s", l->name,
		    l->why);
	if (l->paused)
		return fg_fail(err, FG_EBUSY, "layer %s is paused", l->name);
	return 0;
}

static int
put_first_row(struct fg_plan *p, struct fg_plan_job *j, struct fg_err *err)
{
	pthread_mutex_t *writer = fg_catalog_writer(p->catalog);
	struct fg_job_row row;
	int rc;

	make_row(j, &row);
	pthread_mutex_lock(writer);
	rc = fg_store_job_put(p->store, &row, err);
	pthread_mutex_unlock(writer);
	j->id = row.job;
	fg_job_row_fini(&row);
	return rc;
}

/* An order of objects may have a box, but it is not what there is to do. */
static void
log_order(const struct fg_plan_job *j)
{
	if (!(fg_wish_counted(&j->wish) & FG_STAGES_OBJECTS))
		fg_log(FG_LOG_INFO, "job submitted job=%lld layer=%s blocks=%llu",
		    (long long)j->id, j->layer_name, (unsigned long long)j->blocks);
	else if (j->wish.id)
		fg_log(FG_LOG_INFO, "job submitted job=%lld layer=%s objects=%zu",
		    (long long)j->id, j->layer_name, j->wish.ids);
	else
		fg_log(FG_LOG_INFO,
		    "job submitted job=%lld layer=%s objects=of-its-box",
		    (long long)j->id, j->layer_name);
}

int
fg_plan_submit(struct fg_plan *p, const json_t *spec, json_t **out, struct fg_err *err)
{
	struct fg_plan_job *j = fg_calloc(1, sizeof *j);
	struct fg_layer *l = NULL;
	struct fg_box blk;
	bool counted = false;
	int rc = -1;

	if (fg_wish_parse(p, spec, &j->wish, &l, err) < 0 || check_layer(l, err) < 0 ||
	    fg_sched_block_box(l, &j->wish.vx, &blk, err) < 0)
		goto out;
	j->blocks = (uint64_t)fg_box_volume(&blk);
	j->layer_name = fg_strdup(l->name);
	j->stage = -1;
	j->created_ms = j->updated_ms = fg_clock_wall_ms();
	pthread_mutex_lock(&p->lock);
	counted = p->open < OPEN_MAX && !p->stopping;
	p->open += counted;
	pthread_mutex_unlock(&p->lock);
	if (!counted) {
		fg_fail(err, FG_EBUSY, "%d jobs are open already", OPEN_MAX);
		goto out;
	}
	if (put_first_row(p, j, err) < 0)
		goto out;
	log_order(j);
	*out = enter(p, j);
	j = NULL;
	rc = 0;
out:
	if (rc < 0 && counted) {
		pthread_mutex_lock(&p->lock);
		p->open--;
		pthread_mutex_unlock(&p->lock);
	}
	fg_layer_unref(l);
	free_job(j);
	return rc;
}

struct forgetting {
	uint64_t *at;
	size_t n, cap;
};

static void
note_failed(void *ctx, const struct fg_block_row *row)
{
	struct forgetting *f = ctx;

	if (f->n == f->cap) {
		f->cap = FG_MAX(2 * f->cap, 64u);
		f->at = fg_realloc(f->at, f->cap, sizeof *f->at);
	}
	f->at[f->n++] = row->at;
}

/* Forget the failures in the box of a wish. */
static int
forget_failures(struct fg_plan *p, const struct fg_wish *w, struct fg_err *err)
{
	struct fg_layer *l = fg_catalog_get(p->catalog, w->layer);
	struct fg_reader *r = fg_reader_open(p->store, err);
	struct forgetting f = {0};
	struct fg_box blk;
	int rc = -1;

	if (!l)
		fg_fail(err, FG_ENOENT, "the layer was removed");
	if (!l || !r || fg_sched_block_box(l, &w->vx, &blk, err) < 0 ||
	    fg_plan_failed_blocks(r, w->layer, &blk, note_failed, &f, err) < 0)
		goto out;
	rc = 0;
	for (size_t i = 0; i < f.n && rc == 0; i++) {
		if (p->sched) {
			rc = fg_sched_retry(p->sched, l, f.at[i], err);
			continue;
		}
		pthread_mutex_lock(fg_catalog_writer(p->catalog));
		rc = fg_store_retry(p->store, l->id, f.at[i], err);
		pthread_mutex_unlock(fg_catalog_writer(p->catalog));
	}
out:
	free(f.at);
	fg_reader_close(r);
	fg_layer_unref(l);
	return rc;
}

static const char *
state_name(enum fg_job_state s)
{
	static const char *const names[] = {"open", "paused", "done", "failed",
	    "cancelled"};

	return names[s];
}

/* Take a job that is being run away from its thread. */
static void
halt(struct fg_plan_job *j, bool spare)
{
	atomic_store(&j->spare, spare);
	atomic_store(&j->cancel, true);
}

/* Change the state. Under the lock. */
static int
obey(struct fg_plan *p, struct fg_plan_job *j, enum fg_plan_order what,
    struct fg_err *err)
{
	static const char *const word[] = {"cancelled", "paused", "resumed", "retried"};
	static const unsigned from[] = {
	    [FG_PLAN_CANCEL] =
		1u << FG_JOB_OPEN | 1u << FG_JOB_PAUSED | 1u << FG_JOB_FAILED,
	    [FG_PLAN_PAUSE] = 1u << FG_JOB_OPEN,
	    [FG_PLAN_RESUME] = 1u << FG_JOB_PAUSED,
	    [FG_PLAN_RETRY] =
		1u << FG_JOB_OPEN | 1u << FG_JOB_FAILED | 1u << FG_JOB_CANCELLED,
	};

	if (!(from[what] & 1u << j->state))
		return fg_fail(err, FG_EINVAL, "job %lld is %s and cannot be %s",
		    (long long)j->id, state_name(j->state), word[what]);
	j->due_ns = 0;
	switch (what) {
	case FG_PLAN_CANCEL:
		set_state(p, j, FG_JOB_CANCELLED);
		halt(j, false);
		break;
	case FG_PLAN_PAUSE:
		set_state(p, j, FG_JOB_PAUSED);
		halt(j, true);
		break;
	case FG_PLAN_RETRY:
		j->again = j->active;
		j->error[0] = '\0';
		set_state(p, j, FG_JOB_OPEN);
		break;
	case FG_PLAN_RESUME:
		set_state(p, j, FG_JOB_OPEN);
		break;
	}
	kick(p);
	return 0;
}

int
fg_plan_order(struct fg_plan *p, int64_t id, enum fg_plan_order what, json_t **out,
    struct fg_err *err)
{
	struct fg_plan_job *j;
	struct fg_wish wish = {0};
	int rc;

	pthread_mutex_lock(&p->lock);
	j = find(p, id);
	if (j)
		wish = j->wish;
	pthread_mutex_unlock(&p->lock);
	if (!j)
		return fg_fail(err, FG_ENOENT, "there is no job %lld", (long long)id);
	/* Before its state changes, so that it does not fail on what is forgotten. */
	if (what == FG_PLAN_RETRY && forget_failures(p, &wish, err) < 0)
		return -1;
	pthread_mutex_lock(&p->lock);
	j = find(p, id);
	rc = j ? obey(p, j, what, err)
	       : fg_fail(err, FG_ENOENT, "there is no job %lld", (long long)id);
	if (rc == 0)
		*out = fg_plan_describe(j);
	pthread_mutex_unlock(&p->lock);
	if (rc == 0 && write_row(p, id, err) < 0) {
		json_decref(*out);
		*out = NULL;
		return -1;
	}
	return rc;
}

void
fg_plan_forget_layer(struct fg_plan *p, uint32_t layer)
{
	struct fg_plan_job **at, *dead = NULL;

	pthread_mutex_lock(&p->lock);
	at = &p->first;
	while (*at) {
		struct fg_plan_job *j = *at;

		if (j->wish.layer != layer) {
			at = &j->next;
			continue;
		}
		*at = j->next;
		set_state(p, j, FG_JOB_CANCELLED);
		halt(j, false);
		j->gone = true;
		if (j->active)
			continue; /* its thread frees it */
		j->next = dead;
		dead = j;
	}
	pthread_mutex_unlock(&p->lock);
	for (struct fg_plan_job *next; dead; dead = next) {
		next = dead->next;
		free_job(dead);
	}
}

/* ------------------------------------------------------------- sight */

json_t *
fg_plan_list(struct fg_plan *p)
{
	json_t *list = json_array();

	pthread_mutex_lock(&p->lock);
	for (const struct fg_plan_job *j = p->first; j; j = j->next)
		json_array_append_new(list, fg_plan_describe(j));
	pthread_mutex_unlock(&p->lock);
	return list;
}

json_t *
fg_plan_changes(struct fg_plan *p, uint64_t *since)
{
	json_t *list = json_array();

	pthread_mutex_lock(&p->lock);
	for (const struct fg_plan_job *j = p->first; j; j = j->next) {
		if (*since == UINT64_MAX ? !is_over(j->state) : j->changed > *since)
			json_array_append_new(list, fg_plan_describe(j));
	}
	*since = p->changes;
	pthread_mutex_unlock(&p->lock);
	return list;
}

struct failures {
	json_t *list;
};

#define FAILURES_MAX 100

static void
add_failure(void *ctx, const struct fg_block_row *row)
{
	struct failures *f = ctx;
	int64_t blk[3];

	if (json_array_size(f->list) == FAILURES_MAX)
		return;
	fg_morton_decode(row->at, blk);
	json_array_append_new(f->list,
	    json_pack("{s:[I,I,I], s:s, s:i, s:I}", "block", (json_int_t)blk[0],
		(json_int_t)blk[1], (json_int_t)blk[2], "error", row->error, "tries",
		row->tries, "next_try", (json_int_t)row->next_try_ms));
}

int
fg_plan_show(struct fg_plan *p, int64_t id, struct fg_reader *r, json_t **out,
    struct fg_err *err)
{
	struct failures f = {.list = json_array()};
	struct fg_layer *l = NULL;
	struct fg_wish wish = {0};
	struct fg_plan_job *j;
	struct fg_box blk;
	json_t *job = NULL;
	int rc = -1;

	pthread_mutex_lock(&p->lock);
	j = find(p, id);
	if (j) {
		job = fg_plan_describe(j);
		wish = j->wish;
	}
	pthread_mutex_unlock(&p->lock);
	if (!j) {
		fg_fail(err, FG_ENOENT, "there is no job %lld", (long long)id);
		goto out;
	}
	l = fg_catalog_get(p->catalog, wish.layer);
	if (r && l && l->recipe &&
	    (fg_sched_block_box(l, &wish.vx, &blk, err) < 0 ||
		fg_plan_failed_blocks(r, wish.layer, &blk, add_failure, &f, err) < 0))
		goto out;
	json_object_set(job, "failures", f.list);
	*out = job;
	job = NULL;
	rc = 0;
out:
	json_decref(job);
	json_decref(f.list);
	fg_layer_unref(l);
	return rc;
}
