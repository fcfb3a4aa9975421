/* SPDX-License-Identifier: Apache-2.0 */
/* What the benches that flood share: a batcher with its serving threads, NumPy files,
 * and an end with a message where something fails. */
#ifndef FG_BENCH_FLOODS_H
#define FG_BENCH_FLOODS_H

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "formats/npy.h"
#include "seg/segment.h"

#define THREADS_MAX 64
#define NPY_MAX ((size_t)4 << 30)

FG_NORETURN static inline void
die(const char *what, const struct fg_err *err)
{
	fprintf(stderr, "%s: %s\n", what, err->msg);
	exit(1);
}

struct server {
	struct fg_batcher *batcher;
	char device[64];
	pthread_t thread;
};

struct servers {
	struct fg_batcher *batcher;
	struct server server[THREADS_MAX];
	int n;
};

static inline void *
serve(void *arg)
{
	struct server *s = arg;
	struct fg_err err = FG_ERR_INIT;

	if (fg_batcher_serve(s->batcher, s->device, &err) < 0)
		die(s->device, &err);
	return NULL;
}

/* Start n threads, one for each of that many devices of a kind ("cpu"), and wait until
 * all serve. */
static inline void
start_servers(struct servers *s, const struct fg_net *net, enum fg_precision prec,
    const char *kind, int n)
{
	struct fg_batcher_stats bs = {0};
	struct fg_err err = FG_ERR_INIT;

	s->n = n;
	s->batcher = fg_batcher_new(net, prec, 0, &err);
	if (!s->batcher)
		die("batcher", &err);
	for (int i = 0; i < n; i++) {
		struct server *one = &s->server[i];

		one->batcher = s->batcher;
		snprintf(one->device, sizeof one->device, "%.40s:%d", kind, i);
		fg_assert(pthread_create(&one->thread, NULL, serve, one) == 0);
	}
	while (bs.devices < n) {
		struct timespec t = {0, 10 * FG_NS_PER_MS};

		nanosleep(&t, NULL);
		fg_batcher_get_stats(s->batcher, &bs);
	}
}

/* Nothing where none were started. */
static inline void
stop_servers(struct servers *s)
{
	if (!s->batcher)
		return;
	fg_batcher_stop(s->batcher);
	for (int i = 0; i < s->n; i++)
		pthread_join(s->server[i].thread, NULL);
	fg_batcher_free(s->batcher);
}

static inline void
read_npy(const char *path, struct fg_array *out)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = fg_file_read(path, NPY_MAX, &err);

	if (!b || fg_npy_decode(b->data, b->len, NPY_MAX, out, &err) < 0)
		die(path, &err);
	fg_buf_unref(b);
}

static inline void
write_npy(const char *path, const struct fg_array *a)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b;

	if (fg_npy_encode(a, &b, &err) < 0 ||
	    fg_file_write_fast(path, b->data, b->len, &err) < 0)
		die(path, &err);
	fg_buf_unref(b);
}

#endif
