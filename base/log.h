/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One line per event on standard error:
 *
 *   2026-11-21T22:25:13.042Z info block made layer=seg block=1,0,2 ms=812
 *
 * or, after fg_log_setup(..., FG_LOG_JSON), one JSON object per line:
 *
 *   {"time":"...","level":"info","message":"block made","layer":"seg","block":"1,0,2",
 *    "ms":"812"}
 *
 * The message is made like printf does: words, then facts as name=value (no space in
 * the value), then perhaps more words, which JSON has as "detail". A line is written
 * with one write(2): lines of threads do not mix. Control bytes in the message are
 * escaped. Never call this while holding a lock.
 */
#ifndef FG_BASE_LOG_H
#define FG_BASE_LOG_H

#include "base/base.h"

enum fg_log_level { FG_LOG_ERROR, FG_LOG_WARN, FG_LOG_INFO, FG_LOG_DEBUG };
enum fg_log_form { FG_LOG_TEXT, FG_LOG_JSON };

/* At start-up, or again at any time. Default: INFO, TEXT. */
void fg_log_setup(enum fg_log_level level, enum fg_log_form form);
bool fg_log_is_on(enum fg_log_level level);
void fg_log(enum fg_log_level level, const char *fmt, ...) FG_PRINTF(2, 3);

#endif
