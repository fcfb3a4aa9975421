/* SPDX-License-Identifier: Apache-2.0 */
/* Time: a monotonic clock for durations, the wall clock for records. */
#ifndef FG_BASE_CLOCK_H
#define FG_BASE_CLOCK_H

#include "base/base.h"

#define FG_NS_PER_S INT64_C(1000000000)
#define FG_NS_PER_MS INT64_C(1000000)

int64_t fg_clock_ns(void);      /* monotonic, nanoseconds since some start */
int64_t fg_clock_wall_ms(void); /* milliseconds since 1970-01-01 UTC */

/* "2026-11-21T22:25:13.042Z"; out has FG_CLOCK_TEXT bytes. */
#define FG_CLOCK_TEXT 32
void fg_clock_format(int64_t wall_ms, char out[FG_CLOCK_TEXT]);

#endif
