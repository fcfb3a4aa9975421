/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One thread with an epoll set of the parked connections' sockets (EPOLLRDHUP, one
 * shot) and a timeout: the nearest deadline. Watches are few (parked_max), so that
 * deadline is found by looking at all of them.
 *
 * A watch is IDLE -> ARMED -> FIRING -> DONE, and DROPPED from any of them. All states
 * change under `lock`; fire runs without it, and drop waits for a running fire.
 */
#include "config.h"

#include "server/watch.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"

enum { IDLE, ARMED, FIRING, DONE, DROPPED };

#define WAKE_UP UINT64_MAX /* epoll data of the eventfd */

struct slot {
	struct fg_watched *n;
	uint32_t generation;
};

struct fg_watch {
	int epoll, bell; /* bell: eventfd that ends epoll_wait early */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t fired;
	/* guarded by lock */
	struct slot *slot;
	size_t slots;
	int64_t sleeping_until; /* the deadline the thread waits for */
	bool stop;
};

static void
ring(struct fg_watch *w)
{
	uint64_t one = 1;

	/* Fails only when the counter is full: then it rings already. */
	if (write(w->bell, &one, sizeof one) < 0)
		return;
}

/* Take n out of the set; lock held. */
static void
disarm(struct fg_watch *w, struct fg_watched *n, int state)
{
	epoll_ctl(w->epoll, EPOLL_CTL_DEL, n->fd, NULL);
	w->slot[n->slot].n = NULL;
	w->slot[n->slot].generation++;
	n->state = state;
}

/* Call fire of an armed watch; lock held on entry and exit, free in between. */
static void
fire(struct fg_watch *w, struct fg_watched *n, enum fg_watch_why why)
{
	disarm(w, n, FIRING);
	pthread_mutex_unlock(&w->lock);
	n->fire(n, why);
	pthread_mutex_lock(&w->lock);
	/* n is still there: whoever frees it drops it first, and waits for this. */
	n->state = DONE;
	pthread_cond_broadcast(&w->fired);
}

/* Fire what is overdue; *next is the nearest deadline left. Lock held. */
static void
fire_overdue(struct fg_watch *w, int64_t *next)
{
	int64_t now = fg_clock_ns();

	*next = INT64_MAX;
	for (size_t i = 0; i < w->slots; i++) {
		struct fg_watched *n = w->slot[i].n;

		if (n && n->deadline_ns <= now)
			fire(w, n, FG_WATCH_TIME);
		else if (n)
			*next = FG_MIN(*next, n->deadline_ns);
	}
}

static int
timeout_ms(int64_t deadline)
{
	int64_t left;

	if (deadline == INT64_MAX)
		return -1;
	left = deadline - fg_clock_ns();
	/* Rounded up, or it would spin through the last millisecond. */
	return (int)FG_MIN(FG_MAX(left, 0) / FG_NS_PER_MS + 1, 60000);
}

static void
handle(struct fg_watch *w, const struct epoll_event *e)
{
	uint32_t slot = (uint32_t)e->data.u64;
	uint32_t generation = (uint32_t)(e->data.u64 >> 32);
	uint64_t count;

	if (e->data.u64 == WAKE_UP) {
		if (read(w->bell, &count, sizeof count) < 0)
			return;
	} else if (slot < w->slots && w->slot[slot].n &&
		   w->slot[slot].generation == generation) {
		fire(w, w->slot[slot].n, FG_WATCH_GONE);
	}
}

static void *
watch_thread(void *ctx)
{
	struct fg_watch *w = ctx;
	struct epoll_event event[64];
	int64_t next;

	pthread_mutex_lock(&w->lock);
	while (!w->stop) {
		int n;

		fire_overdue(w, &next);
		w->sleeping_until = next;
		pthread_mutex_unlock(&w->lock);
		n = epoll_wait(w->epoll, event, FG_COUNTOF(event), timeout_ms(next));
		pthread_mutex_lock(&w->lock);
		/* Awake: nobody need ring until the next deadline is known. */
		w->sleeping_until = INT64_MIN;
		for (int i = 0; i < n; i++)
			handle(w, &event[i]);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

struct fg_watch *
fg_watch_new(struct fg_err *err)
{
	struct fg_watch *w = fg_calloc(1, sizeof *w);
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = WAKE_UP};

	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->fired, NULL);
	w->epoll = epoll_create1(EPOLL_CLOEXEC);
	w->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->epoll < 0 || w->bell < 0 ||
	    epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->bell, &e) < 0) {
		fg_fail_errno(err, "watch of parked connections");
		goto out;
	}
	errno = pthread_create(&w->thread, NULL, watch_thread, w);
	if (errno == 0)
		return w;
	fg_fail_errno(err, "watch thread");
out:
	if (w->epoll >= 0)
		close(w->epoll);
	if (w->bell >= 0)
		close(w->bell);
	free(w);
	return NULL;
}

void
fg_watch_free(struct fg_watch *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	for (size_t i = 0; i < w->slots; i++)
		fg_assert(w->slot[i].n == NULL);
	pthread_mutex_unlock(&w->lock);
	ring(w);
	pthread_join(w->thread, NULL);
	close(w->epoll);
	close(w->bell);
	free(w->slot);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->fired);
	free(w);
}

/* A free slot; lock held. */
static uint32_t
take_slot(struct fg_watch *w)
{
	size_t i = 0;

	while (i < w->slots && w->slot[i].n)
		i++;
	if (i == w->slots) {
		w->slots = w->slots ? w->slots * 2 : 32;
		w->slot = fg_realloc(w->slot, w->slots, sizeof *w->slot);
		memset(w->slot + i, 0, (w->slots - i) * sizeof *w->slot);
	}
	return (uint32_t)i;
}

void
fg_watch_add(struct fg_watch *w, struct fg_watched *n, int fd)
{
	bool sooner;

	pthread_mutex_lock(&w->lock);
	if (n->state != IDLE) {
		pthread_mutex_unlock(&w->lock);
		return;
	}
	n->fd = fd;
	n->slot = take_slot(w);
	w->slot[n->slot].n = n;
	n->state = ARMED;
	struct epoll_event e = {
	    .events = EPOLLRDHUP | EPOLLONESHOT,
	    .data.u64 = (uint64_t)w->slot[n->slot].generation << 32 | n->slot,
	};
	/* Without memory for the set only the deadline works: no harm. */
	epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &e);
	sooner = n->deadline_ns < w->sleeping_until;
	pthread_mutex_unlock(&w->lock);
	if (sooner)
		ring(w);
}

void
fg_watch_drop(struct fg_watch *w, struct fg_watched *n)
{
	pthread_mutex_lock(&w->lock);
	while (n->state == FIRING)
		pthread_cond_wait(&w->fired, &w->lock);
	if (n->state == ARMED)
		disarm(w, n, DROPPED);
	n->state = DROPPED;
	pthread_mutex_unlock(&w->lock);
}
