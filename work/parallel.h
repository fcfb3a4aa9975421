/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A loop over independent items on several threads, for imports and other bulk work.
 * Not for the daemon's request path: that is work/sched.h.
 */
#ifndef FG_WORK_PARALLEL_H
#define FG_WORK_PARALLEL_H

#include "base/err.h"

/* Cores that this process may run on, 1..64. */
int fg_parallel_cores(void);

/*
 * Call fn(ctx, i, err) once for each i in 0..n-1 on at most `threads` threads, the
 * caller's among them. The first failure stops the loop (items begun are finished) and
 * is returned; so is *cancel (may be NULL) becoming true, as FG_ECANCELED. Items are
 * begun in order. Where no further thread can be made, fewer are used.
 */
int fg_parallel_for(size_t n, int threads,
    int (*fn)(void *ctx, size_t i, struct fg_err *err), void *ctx,
    const _Atomic bool *cancel, struct fg_err *err) FG_MUST_USE;

#endif
