/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Counters of the daemon and their text form for Prometheus, from the table
 * metrics.def. Counters are atomic and are added to where the thing happens;
 * everything else is read from its owner into a snapshot when somebody asks.
 */
#ifndef FG_SERVER_METRICS_H
#define FG_SERVER_METRICS_H

#include <jansson.h>
#include <stdatomic.h>

#include "base/buf.h"

/* What a request was for. */
enum fg_metrics_kind {
	FG_METRICS_CHUNK, /* a chunk that was there */
	FG_METRICS_MADE,  /* one that was waited for */
	FG_METRICS_INFO,
	FG_METRICS_FILE, /* other files of a layer, shards */
	FG_METRICS_API,
	FG_METRICS_OTHER,
	FG_METRICS_KINDS,
};

/* Statuses that are counted one by one; the last entry is for all others. */
#define FG_METRICS_CODES 20
/* Bounds of the latency buckets, and one beyond the last. */
#define FG_METRICS_BUCKETS 17

struct fg_histogram {
	_Atomic uint64_t bucket[FG_METRICS_BUCKETS];
	_Atomic uint64_t sum_ns;
};

struct fg_metrics {
	_Atomic uint64_t request[FG_METRICS_KINDS][FG_METRICS_CODES];
	struct fg_histogram latency[FG_METRICS_KINDS];
#define FG_COUNTER(member, ...) _Atomic uint64_t member;
#define FG_GAUGE(member, ...)
#define FG_MIRROR(member, ...)
#include "server/metrics.def"
#undef FG_COUNTER
#undef FG_GAUGE
#undef FG_MIRROR
};

/* A histogram of another part: `bucket` counts up to each bound and beyond the last. */
#define FG_METRICS_BLOCK_BUCKETS 11
struct fg_metrics_blocks {
	const double *bound; /* seconds; FG_METRICS_BLOCK_BUCKETS - 1 of them */
	uint64_t bucket[FG_METRICS_BLOCK_BUCKETS];
	double sum_s;
};

/* All rows, counters copied and gauges filled in by the caller. */
struct fg_metrics_now {
	uint64_t request[FG_METRICS_KINDS][FG_METRICS_CODES];
	struct {
		uint64_t bucket[FG_METRICS_BUCKETS], sum_ns;
	} latency[FG_METRICS_KINDS];
	struct fg_metrics_blocks blocks;
#define FG_COUNTER(member, ...) double member;
#define FG_GAUGE(member, ...) double member;
#define FG_MIRROR(member, ...) double member;
#include "server/metrics.def"
#undef FG_COUNTER
#undef FG_GAUGE
#undef FG_MIRROR
};

#define FG_COUNT(m, member)                                                            \
	atomic_fetch_add_explicit(&(m)->member, 1, memory_order_relaxed)

/* Count a reply: what for, its status, the bytes of its body, and how long it took from
 * the first byte of the request until it was handed to the network. */
void fg_metrics_reply(struct fg_metrics *m, enum fg_metrics_kind kind, int status,
    uint64_t bytes, int64_t took_ns);

/* Copy the counters; the caller then sets the gauges and mirrors. */
void fg_metrics_snapshot(struct fg_metrics *m, struct fg_metrics_now *out);

/* Prometheus text format 0.0.4. */
void fg_metrics_format(const struct fg_metrics_now *now, struct fg_str *out);
/* {"member": number, ...}, with "code_200" and so on for all kinds together.
 * json_decref(). */
json_t *fg_metrics_json(const struct fg_metrics_now *now) FG_MUST_USE;

#endif
