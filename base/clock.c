/* SPDX-License-Identifier: Apache-2.0 */
/* Clocks: see the header. */
#include "config.h"

#include "base/clock.h"

#include <stdio.h>
#include <time.h>

int64_t
fg_clock_ns(void)
{
	struct timespec t;

	fg_assert(clock_gettime(CLOCK_MONOTONIC, &t) == 0);
	return (int64_t)t.tv_sec * FG_NS_PER_S + t.tv_nsec;
}

int64_t
fg_clock_wall_ms(void)
{
	struct timespec t;

	fg_assert(clock_gettime(CLOCK_REALTIME, &t) == 0);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / FG_NS_PER_MS;
}

void
fg_clock_format(int64_t wall_ms, char out[FG_CLOCK_TEXT])
{
	time_t s = (time_t)fg_div_floor(wall_ms, 1000);
	struct tm tm;

	fg_assert(gmtime_r(&s, &tm) != NULL);
	size_t n = strftime(out, FG_CLOCK_TEXT, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + n, FG_CLOCK_TEXT - n, ".%03dZ",
	    (int)(wall_ms - (int64_t)s * 1000));
}
