/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Steps from all running blocks to all serving devices.
 *
 * One lock guards everything here; nobody holds it while a step runs. Waiting requests
 * are one list in order of arrival. It is never longer than the floods in flight, so a
 * device simply looks through all of it for the best one:
 *
 *   1. a bulk request, if bulk_every - 1 others were taken since the last;
 *   2. the best class; in it, requests of a block's oldest flood before speculative
 *      ones; then the first to arrive.
 *
 * The class is read when a device chooses, so a promotion counts from the next step.
 */
#include "config.h"

#include "seg/batcher.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "seg/canvas.h"

#define BULK_EVERY 8
#define BATCH_MAX 64
/* What a flood needs between two steps is well below this. */
#define LINGER_NS (2 * FG_NS_PER_MS)
/* A device without steps for this long gives back the memory of its canvases. */
#define IDLE_NS FG_NS_PER_S

struct fg_client {
	struct fg_batcher *batcher;
	const _Atomic int *cls;
	int active;              /* guarded by lock: floods running */
	int out;                 /* guarded by lock: of those, queued or on a device */
	struct fg_request *done; /* guarded by lock: finished, in order */
	pthread_cond_t wake;
	struct fg_client *next; /* guarded by lock */
};

struct fg_batcher {
	const struct fg_net *net;
	enum fg_precision prec;
	int bulk_every;
	pthread_mutex_t lock;
	pthread_cond_t work;       /* a request came, or stop */
	bool stop;                 /* guarded by lock */
	struct fg_request *first;  /* guarded by lock: waiting, in order of arrival */
	struct fg_request **last;  /* guarded by lock */
	struct fg_client *clients; /* guarded by lock */
	int room;                  /* guarded by lock: sum of the devices' batches */
	int since_bulk;            /* guarded by lock: steps of other classes */
	struct fg_batcher_stats stats; /* guarded by lock */
};

static void
cond_init(pthread_cond_t *c)
{
	pthread_condattr_t attr;

	fg_assert(pthread_condattr_init(&attr) == 0);
	fg_assert(pthread_condattr_setclock(&attr, CLOCK_MONOTONIC) == 0);
	fg_assert(pthread_cond_init(c, &attr) == 0);
	pthread_condattr_destroy(&attr);
}

static void
cond_wait_until(pthread_cond_t *c, pthread_mutex_t *lock, int64_t deadline_ns)
{
	struct timespec t = {.tv_sec = deadline_ns / FG_NS_PER_S,
	    .tv_nsec = deadline_ns % FG_NS_PER_S};

	pthread_cond_timedwait(c, lock, &t);
}

struct fg_batcher *
fg_batcher_new(const struct fg_net *net, enum fg_precision prec, int bulk_every,
    struct fg_err *err)
{
	struct fg_batcher *b;

	if (bulk_every < 0)
		return fg_fail_null(err, FG_EINVAL, "bulk_every %d: wanted 0 or more",
		    bulk_every);
	b = fg_calloc(1, sizeof *b);
	b->net = net;
	b->prec = prec;
	b->bulk_every = bulk_every ? bulk_every : BULK_EVERY;
	b->last = &b->first;
	fg_assert(pthread_mutex_init(&b->lock, NULL) == 0);
	cond_init(&b->work);
	return b;
}

void
fg_batcher_free(struct fg_batcher *b)
{
	if (!b)
		return;
	fg_assert(b->stats.devices == 0 && b->clients == NULL);
	pthread_cond_destroy(&b->work);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

void
fg_batcher_stop(struct fg_batcher *b)
{
	pthread_mutex_lock(&b->lock);
	b->stop = true;
	pthread_cond_broadcast(&b->work);
	for (struct fg_client *c = b->clients; c; c = c->next)
		pthread_cond_broadcast(&c->wake);
	pthread_mutex_unlock(&b->lock);
}

void
fg_batcher_get_stats(struct fg_batcher *b, struct fg_batcher_stats *out)
{
	pthread_mutex_lock(&b->lock);
	*out = b->stats;
	pthread_mutex_unlock(&b->lock);
}

const struct fg_net *
fg_batcher_net(const struct fg_batcher *b)
{
	return b->net;
}

int
fg_batcher_devices(struct fg_batcher *b)
{
	pthread_mutex_lock(&b->lock);
	int n = b->stats.devices;
	pthread_mutex_unlock(&b->lock);
	return n;
}

int
fg_batcher_room(struct fg_batcher *b)
{
	pthread_mutex_lock(&b->lock);
	int n = b->room;
	pthread_mutex_unlock(&b->lock);
	return n;
}

bool
fg_batcher_is_stopped(struct fg_batcher *b)
{
	pthread_mutex_lock(&b->lock);
	bool stop = b->stop;
	pthread_mutex_unlock(&b->lock);
	return stop;
}

/* ----------------------------------------------------------- clients */

struct fg_client *
fg_client_enter(struct fg_batcher *b, const _Atomic int *cls)
{
	struct fg_client *c = fg_calloc(1, sizeof *c);

	c->batcher = b;
	c->cls = cls;
	cond_init(&c->wake);
	pthread_mutex_lock(&b->lock);
	c->next = b->clients;
	b->clients = c;
	b->stats.blocks++;
	pthread_mutex_unlock(&b->lock);
	return c;
}

void
fg_client_leave(struct fg_client *c)
{
	struct fg_batcher *b = c->batcher;

	pthread_mutex_lock(&b->lock);
	fg_assert(c->out == 0 && c->done == NULL);
	for (struct fg_client **p = &b->clients; *p; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			break;
		}
	}
	b->stats.blocks--;
	/* A device may be lingering for this client. */
	pthread_cond_broadcast(&b->work);
	pthread_mutex_unlock(&b->lock);
	pthread_cond_destroy(&c->wake);
	free(c);
}

void
fg_client_active(struct fg_client *c, int floods)
{
	struct fg_batcher *b = c->batcher;

	pthread_mutex_lock(&b->lock);
	if (floods < c->active)
		pthread_cond_broadcast(&b->work);
	c->active = floods;
	pthread_mutex_unlock(&b->lock);
}

void
fg_client_submit(struct fg_client *c, struct fg_request *r)
{
	struct fg_batcher *b = c->batcher;

	r->client = c;
	r->next = NULL;
	r->rc = 0;
	r->err = FG_ERR_INIT;
	r->moved = false;
	pthread_mutex_lock(&b->lock);
	*b->last = r;
	b->last = &r->next;
	b->stats.waiting++;
	c->out++;
	/* All: a device that lingers for another client must not swallow the signal. */
	pthread_cond_broadcast(&b->work);
	pthread_mutex_unlock(&b->lock);
}

struct fg_request *
fg_client_take(struct fg_client *c, int64_t timeout_ns)
{
	struct fg_batcher *b = c->batcher;
	int64_t deadline = fg_clock_ns() + timeout_ns;
	struct fg_request *r;

	pthread_mutex_lock(&b->lock);
	/* Not a loop: whoever waits here looks at cancel and stop after each wake-up.
	 */
	if (!c->done)
		cond_wait_until(&c->wake, &b->lock, deadline);
	r = c->done;
	if (r)
		c->done = r->next;
	pthread_mutex_unlock(&b->lock);
	return r;
}

/* Take r out of the waiting list. */
static bool
unlink_request(struct fg_batcher *b, const struct fg_request *r)
{
	for (struct fg_request **p = &b->first; *p; p = &(*p)->next) {
		if (*p != r)
			continue;
		*p = r->next;
		if (!*p)
			b->last = p;
		b->stats.waiting--;
		return true;
	}
	return false;
}

bool
fg_client_withdraw(struct fg_client *c, struct fg_request *r)
{
	struct fg_batcher *b = c->batcher;

	pthread_mutex_lock(&b->lock);
	bool found = unlink_request(b, r);
	if (found)
		c->out--;
	pthread_mutex_unlock(&b->lock);
	return found;
}

/* ----------------------------------------------------------- devices */

static int
class_of(const struct fg_client *c)
{
	int k = c->cls ? *c->cls : FG_BULK;

	return k < 0 || k >= FG_CLASSES ? FG_BULK : k;
}

/* The request to run next, or NULL. */
static struct fg_request *
best_request(const struct fg_batcher *b)
{
	bool owed = b->since_bulk >= b->bulk_every - 1;
	struct fg_request *best = NULL;
	int best_rank = 0;

	for (struct fg_request *r = b->first; r; r = r->next) {
		int k = class_of(r->client), rank = 2 * k + r->ahead;

		if (k == FG_BULK && owed)
			rank = -2 + r->ahead;
		if (!best || rank < best_rank) {
			best = r;
			best_rank = rank;
		}
	}
	return best;
}

/* Whether a better request than r is about to come: its flood is between two steps. */
static bool
better_soon(const struct fg_batcher *b, const struct fg_request *r)
{
	int k = class_of(r->client);

	if (k == FG_BULK && b->since_bulk >= b->bulk_every - 1)
		return false;
	for (const struct fg_client *c = b->clients; c; c = c->next) {
		int other = class_of(c);

		if (c->active > c->out && (other < k || (other == k && r->ahead)))
			return true;
	}
	return false;
}

/* Whether waiting a moment would fill a batch further. */
static bool
more_soon(const struct fg_batcher *b, int batch_max)
{
	if (b->stats.waiting >= (uint64_t)batch_max)
		return false;
	for (const struct fg_client *c = b->clients; c; c = c->next) {
		if (c->active > c->out)
			return true;
	}
	return false;
}

/* With the lock held: wait for a request, or forever where this device has nothing to
 * give back. */
static void
wait_for_work(struct fg_batcher *b, struct fg_step_work *w, bool *holds)
{
	int64_t until = fg_clock_ns() + IDLE_NS;

	while (*holds && !b->first && !b->stop) {
		if (fg_clock_ns() < until) {
			cond_wait_until(&b->work, &b->lock, until);
			continue;
		}
		/* Closing canvases may wait for the device. */
		pthread_mutex_unlock(&b->lock);
		fg_step_work_idle(w);
		*holds = false;
		pthread_mutex_lock(&b->lock);
	}
	if (!b->first && !b->stop)
		pthread_cond_wait(&b->work, &b->lock);
}

/* With the lock held: wait for work and take up to batch_max requests; 0 = stop. */
static int
next_batch(struct fg_batcher *b, int batch_max, struct fg_step_work *w,
    struct fg_request **batch)
{
	bool holds = true;
	int64_t linger = 0;
	int n = 0;

	for (;;) {
		struct fg_request *r = best_request(b);

		if (b->stop)
			return 0;
		if (!r) {
			wait_for_work(b, w, &holds);
			linger = 0;
			continue;
		}
		if (!better_soon(b, r) && !more_soon(b, batch_max))
			break;
		if (linger == 0)
			linger = fg_clock_ns() + LINGER_NS;
		else if (fg_clock_ns() >= linger)
			break;
		cond_wait_until(&b->work, &b->lock, linger);
	}
	while (n < batch_max) {
		struct fg_request *r = best_request(b);

		if (!r)
			break;
		if (class_of(r->client) == FG_BULK)
			b->since_bulk = 0;
		else if (b->since_bulk < b->bulk_every)
			b->since_bulk++;
		fg_assert(unlink_request(b, r));
		batch[n++] = r;
	}
	return n;
}

/* With the lock held: hand finished requests back, and those of a call that failed;
 * steps that it had done before are done. */
static void
give_back(struct fg_request **batch, int n, int rc, const struct fg_err *err)
{
	for (int i = 0; i < n; i++) {
		struct fg_request *r = batch[i], **p = &r->client->done;

		r->rc = r->step->done ? 0 : rc;
		if (r->rc < 0)
			r->err = *err;
		r->next = NULL;
		while (*p)
			p = &(*p)->next;
		*p = r;
		r->client->out--;
		pthread_cond_broadcast(&r->client->wake);
	}
}

/*
 * With the lock held: the device is lost, but others serve. Steps that were not done
 * left no trace (canvases are written at the end of a step), so they go back to the
 * head of the list. Only once each: a step that has brought down two devices may bring
 * down all of them.
 */
static void
hand_over(struct fg_batcher *b, struct fg_request **batch, int n,
    const struct fg_err *err)
{
	while (n-- > 0) {
		struct fg_request *r = batch[n];

		if (r->moved || r->step->done) {
			give_back(&r, 1, -1, err);
			continue;
		}
		r->moved = true;
		r->next = b->first;
		b->first = r;
		if (!r->next)
			b->last = &r->next;
		b->stats.waiting++;
	}
	pthread_cond_broadcast(&b->work);
}

static int
serve(struct fg_batcher *b, struct fg_model *m, struct fg_step_work *w,
    struct fg_err *err)
{
	struct fg_request *batch[BATCH_MAX];
	struct fg_step *steps[BATCH_MAX];
	int rc = 0, n, most = FG_MIN(m->batch_max, BATCH_MAX);

	pthread_mutex_lock(&b->lock);
	b->stats.devices++;
	b->room += most;
	for (struct fg_client *c = b->clients; c; c = c->next)
		pthread_cond_broadcast(&c->wake);
	/* A block that finds no memory fails alone; the device serves on. */
	while ((rc == 0 || err->code == FG_ENOMEM) &&
	       (n = next_batch(b, most, w, batch)) > 0) {
		pthread_mutex_unlock(&b->lock);
		int64_t start = fg_clock_ns();
		for (int i = 0; i < n; i++)
			steps[i] = batch[i]->step;
		fg_err_clear(err);
		rc = fg_step_run(m, w, n, steps, err);
		pthread_mutex_lock(&b->lock);
		b->stats.device_ns += (uint64_t)(fg_clock_ns() - start);
		for (int i = 0; i < n; i++)
			b->stats.steps += steps[i]->done;
		if (rc < 0 && err->code != FG_ENOMEM && b->stats.devices > 1 &&
		    !b->stop)
			hand_over(b, batch, n, err);
		else
			give_back(batch, n, rc, err);
	}
	b->stats.devices--;
	b->room -= most;
	pthread_mutex_unlock(&b->lock);
	return rc < 0 && err->code != FG_ENOMEM ? -1 : 0;
}

int
fg_batcher_serve_model(struct fg_batcher *b, struct fg_model *m, struct fg_err *err)
{
	struct fg_err local = FG_ERR_INIT;
	struct fg_step_work *w;
	int rc;

	if (!err)
		err = &local; /* the requests of a failing device need the reason */
	w = fg_step_work_new(m, err);
	rc = w ? serve(b, m, w, err) : -1;
	fg_step_work_free(w);
	return rc;
}

int
fg_batcher_serve(struct fg_batcher *b, const char *device, struct fg_err *err)
{
	const struct fg_backend *backend;
	struct fg_device *dev = NULL;
	struct fg_model *m = NULL;
	int i, rc = -1;

	if (fg_device_find(device, &backend, &i, err) < 0)
		return -1;
	if (backend->open(i, &dev, err) == 0 &&
	    fg_device_load(dev, b->net, b->prec, BATCH_MAX, &m, err) == 0)
		rc = fg_batcher_serve_model(b, m, err);
	if (rc < 0)
		fg_err_prefix(err, "device %s", device);
	if (m)
		m->backend->unload(m);
	if (dev)
		backend->close(dev);
	return rc;
}
