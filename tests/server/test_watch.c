/* SPDX-License-Identifier: Apache-2.0 */
/* Watches over parked connections: hang-up, deadline, drop, and their races. */
#include "config.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "server/watch.h"
#include "tests/tap.h"

struct parked {
	struct fg_watched w; /* first member */
	_Atomic int fired;   /* times */
	_Atomic int why;
	_Atomic bool slow;
};

static void
on_fire(struct fg_watched *w, enum fg_watch_why why)
{
	struct parked *p = (struct parked *)w;
	struct timespec ms = {.tv_nsec = 20 * FG_NS_PER_MS};

	if (atomic_load(&p->slow))
		nanosleep(&ms, NULL);
	atomic_store(&p->why, (int)why);
	atomic_fetch_add(&p->fired, 1);
}

static void
park(struct fg_watch *w, struct parked *p, int fd, double seconds)
{
	memset(p, 0, sizeof *p);
	p->w.fire = on_fire;
	p->w.deadline_ns = fg_clock_ns() + (int64_t)(seconds * 1e9);
	fg_watch_add(w, &p->w, fd);
}

/* Until it fired, or five seconds. */
static bool
wait_fired(struct parked *p)
{
	struct timespec ms = {.tv_nsec = FG_NS_PER_MS};

	for (int i = 0; i < 5000 && atomic_load(&p->fired) == 0; i++)
		nanosleep(&ms, NULL);
	return atomic_load(&p->fired) > 0;
}

static void
ends(struct fg_watch *w)
{
	struct parked a, b, c;
	int x[2], y[2];
	int64_t start;

	fg_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, x) == 0);
	fg_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, y) == 0);
	park(w, &a, x[0], 600);
	park(w, &b, y[0], 600);
	close(x[1]);
	tap_ok(wait_fired(&a) && a.why == FG_WATCH_GONE, "a hang-up is seen");
	tap_int(b.fired, 0, "by its own watch only");
	park(w, &c, x[0], 600); /* gone before it was parked */
	tap_ok(wait_fired(&c) && c.why == FG_WATCH_GONE, "also one that came before");
	fg_watch_drop(w, &a.w);
	fg_watch_drop(w, &c.w);
	park(w, &a, x[0], 600);
	fg_watch_drop(w, &a.w);
	start = fg_clock_ns();
	close(x[0]);
	fg_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, x) == 0);
	park(w, &c, x[0], 0.05);
	tap_ok(wait_fired(&c) && c.why == FG_WATCH_TIME, "the time is over");
	tap_ok(fg_clock_ns() - start >= 40 * FG_NS_PER_MS, "and not before it is");
	fg_assert(write(y[1], "GET", 3) == 3);
	{
		struct timespec ms = {.tv_nsec = 20 * FG_NS_PER_MS};

		nanosleep(&ms, NULL);
	}
	tap_int(b.fired, 0, "the next request on the connection is no hang-up");
	fg_watch_drop(w, &b.w);
	fg_watch_drop(w, &b.w);
	tap_int(b.fired, 0, "a dropped watch does not fire, dropping twice is fine");
	fg_watch_drop(w, &c.w);
	close(x[0]);
	close(x[1]);
	close(y[0]);
	close(y[1]);
}

static void
late_add(struct fg_watch *w)
{
	struct parked p = {.w = {.fire = on_fire}};
	struct timespec ms = {.tv_nsec = 20 * FG_NS_PER_MS};

	/* Answered before the event thread came to add the watch. */
	fg_watch_drop(w, &p.w);
	fg_watch_add(w, &p.w, 0);
	nanosleep(&ms, NULL);
	tap_int(p.fired, 0, "adding after the drop does nothing");
}

static void
drop_waits(struct fg_watch *w)
{
	struct timespec ms = {.tv_nsec = 5 * FG_NS_PER_MS};
	struct parked p;
	int x[2];

	fg_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, x) == 0);
	park(w, &p, x[0], 600);
	atomic_store(&p.slow, true);
	close(x[1]);
	nanosleep(&ms, NULL); /* fire is running now, most likely */
	fg_watch_drop(w, &p.w);
	tap_ok(p.fired <= 1, "fires at most once");
	{
		int then = p.fired;

		nanosleep(&ms, NULL);
		tap_int(p.fired, then, "nothing runs any more after the drop");
	}
	close(x[0]);
}

/* Many threads park, leave and reuse descriptor numbers. */
static void *
churn(void *ctx)
{
	struct fg_watch *w = ctx;
	uintptr_t wrong = 0;

	for (int i = 0; i < 1500; i++) {
		struct parked p;
		int x[2];

		fg_assert(socketpair(AF_UNIX, SOCK_STREAM, 0, x) == 0);
		park(w, &p, x[0], i % 3 == 0 ? 0.0005 : 600);
		if (i % 2)
			close(x[1]);
		if (i % 10 == 5)
			wrong += !wait_fired(&p);
		fg_watch_drop(w, &p.w);
		wrong += atomic_load(&p.fired) > 1;
		wrong += i % 2 == 0 && i % 3 != 0 && atomic_load(&p.fired) != 0;
		if (i % 2 == 0)
			close(x[1]);
		close(x[0]);
	}
	return (void *)wrong;
}

static void
races(struct fg_watch *w)
{
	pthread_t t[4];

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, churn, w);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	tap_ok(true,
	    "6000 watches of four threads: none fires for another's descriptor");
}

int
main(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_watch *w = fg_watch_new(&err);

	tap_rc(w ? 0 : -1, &err, "a watch");
	ends(w);
	late_add(w);
	drop_waits(w);
	races(w);
	fg_watch_free(w);
	return tap_done();
}
