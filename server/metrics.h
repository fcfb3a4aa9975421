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

struct fg_metrics {
#define FG_COUNTER(member, ...) _Atomic uint64_t member;
#define FG_GAUGE(member, ...)
#define FG_MIRROR(member, ...)
#include "server/metrics.def"
#undef FG_COUNTER
#undef FG_GAUGE
#undef FG_MIRROR
};

/* All rows, counters copied and gauges filled in by the caller. */
struct fg_metrics_now {
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

/* Count a reply by its status and the bytes of its body. */
void fg_metrics_reply(struct fg_metrics *m, int status, uint64_t bytes);

/* Copy the counters; the caller then sets the gauges and mirrors. */
void fg_metrics_snapshot(struct fg_metrics *m, struct fg_metrics_now *out);

/* Prometheus text format 0.0.4. */
void fg_metrics_format(const struct fg_metrics_now *now, struct fg_str *out);
/* {"member": number, ...}. json_decref(). */
json_t *fg_metrics_json(const struct fg_metrics_now *now) FG_MUST_USE;

#endif
