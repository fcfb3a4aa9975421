/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The committer's thread. It sleeps on `wake` while the queue is empty; the first item
 * starts the clock of a group, which is taken out of the queue as a whole, committed
 * without the lock, and whose items are then handed back in order.
 *
 * A group that fails is committed again result by result, so that one impossible
 * result does not take its neighbours with it.
 */
#include "config.h"

#include "work/commit.h"

#include <stdlib.h>
#include <time.h>

#include "base/clock.h"

struct fg_committer {
	struct fg_store *store;
	pthread_mutex_t *writer; /* held while writing to the store */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake; /* an item came, or quit */
	pthread_cond_t room; /* bytes went down */
	/* guarded by lock */
	struct fg_commit_item *first, **last;
	size_t queued, bytes;
	bool quit;
	struct fg_committer_stats stats;
};

/* Wait until the group is full or its time is over. Under the lock. */
static void
fill_group(struct fg_committer *c)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_nsec += FG_COMMIT_MS * FG_NS_PER_MS;
	end.tv_sec += end.tv_nsec / FG_NS_PER_S;
	end.tv_nsec %= FG_NS_PER_S;
	while (c->queued < FG_COMMIT_GROUP && !c->quit) {
		if (pthread_cond_timedwait(&c->wake, &c->lock, &end) != 0)
			break;
	}
}

/* Take up to a group out of the queue. Under the lock. */
static size_t
take_group(struct fg_committer *c, struct fg_commit_item *group[FG_COMMIT_GROUP])
{
	size_t n = 0;

	while (c->first && n < FG_COMMIT_GROUP) {
		group[n++] = c->first;
		c->first = c->first->next;
	}
	if (!c->first)
		c->last = &c->first;
	c->queued -= n;
	return n;
}

static int
write_results(struct fg_committer *c, struct fg_result **results, size_t n,
    struct fg_err *err)
{
	pthread_mutex_lock(c->writer);
	int rc = fg_commit(c->store, results, n, err);
	pthread_mutex_unlock(c->writer);
	return rc;
}

static void
commit_group(struct fg_committer *c, struct fg_commit_item **group, size_t n)
{
	struct fg_result *results[FG_COMMIT_GROUP];
	size_t bytes[FG_COMMIT_GROUP];
	struct fg_err err = FG_ERR_INIT;
	int rc;

	for (size_t i = 0; i < n; i++) {
		results[i] = group[i]->result;
		bytes[i] = group[i]->bytes;
	}
	rc = write_results(c, results, n, &err);
	for (size_t i = 0; i < n; i++) {
		if (rc < 0 && n > 1) {
			fg_err_clear(&err);
			int one = write_results(c, &results[i], 1, &err);
			group[i]->done(group[i], one, &err);
		} else {
			group[i]->done(group[i], rc, &err);
		}
		pthread_mutex_lock(&c->lock);
		c->bytes -= bytes[i];
		pthread_cond_broadcast(&c->room);
		pthread_mutex_unlock(&c->lock);
	}
}

static void *
run(void *arg)
{
	struct fg_committer *c = arg;
	struct fg_commit_item *group[FG_COMMIT_GROUP];

	pthread_mutex_lock(&c->lock);
	for (;;) {
		while (!c->first && !c->quit)
			pthread_cond_wait(&c->wake, &c->lock);
		if (!c->first)
			break;
		fill_group(c);
		size_t n = take_group(c, group);
		c->stats.commits++;
		c->stats.results += n;
		pthread_mutex_unlock(&c->lock);
		commit_group(c, group, n);
		pthread_mutex_lock(&c->lock);
	}
	pthread_mutex_unlock(&c->lock);
	return NULL;
}

struct fg_committer *
fg_committer_new(struct fg_store *s, pthread_mutex_t *writer, struct fg_err *err)
{
	struct fg_committer *c = fg_calloc(1, sizeof *c);
	pthread_condattr_t attr;

	c->store = s;
	c->writer = writer;
	c->last = &c->first;
	pthread_mutex_init(&c->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &attr);
	pthread_cond_init(&c->room, &attr);
	pthread_condattr_destroy(&attr);
	if (pthread_create(&c->thread, NULL, run, c) != 0) {
		free(c);
		return fg_fail_null(err, FG_EBUSY,
		    "the committer's thread could not be started");
	}
	return c;
}

void
fg_committer_free(struct fg_committer *c)
{
	if (!c)
		return;
	pthread_mutex_lock(&c->lock);
	c->quit = true;
	pthread_cond_broadcast(&c->wake);
	pthread_mutex_unlock(&c->lock);
	pthread_join(c->thread, NULL);
	pthread_mutex_destroy(&c->lock);
	pthread_cond_destroy(&c->wake);
	pthread_cond_destroy(&c->room);
	free(c);
}

void
fg_committer_put(struct fg_committer *c, struct fg_commit_item *item)
{
	item->next = NULL;
	pthread_mutex_lock(&c->lock);
	/* One item above the limit passes when it is alone: it must go some time. */
	while (c->bytes > 0 && c->bytes + item->bytes > FG_COMMIT_BYTES)
		pthread_cond_wait(&c->room, &c->lock);
	*c->last = item;
	c->last = &item->next;
	c->queued++;
	c->bytes += item->bytes;
	pthread_cond_signal(&c->wake);
	pthread_mutex_unlock(&c->lock);
}

void
fg_committer_get_stats(struct fg_committer *c, struct fg_committer_stats *out)
{
	pthread_mutex_lock(&c->lock);
	*out = c->stats;
	pthread_mutex_unlock(&c->lock);
}
