/* SPDX-License-Identifier: Apache-2.0 */
/* One line per event: see the header. */
#include "config.h"

#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

static enum fg_log_level log_level = FG_LOG_INFO;
static enum fg_log_form log_form = FG_LOG_TEXT;

static const char *const level_name[] = {"error", "warn", "info", "debug"};

void
fg_log_setup(enum fg_log_level level, enum fg_log_form form)
{
	log_level = level;
	log_form = form;
}

bool
fg_log_is_on(enum fg_log_level level)
{
	return level <= log_level;
}

/* Append the message with control bytes (and, for JSON, quotes) escaped. */
static size_t
escape(char *out, size_t room, const char *msg, bool json)
{
	size_t n = 0;

	for (const char *p = msg; *p && n + 8 < room; p++) {
		unsigned char c = (unsigned char)*p;

		if (json && (c == '"' || c == '\\')) {
			out[n++] = '\\';
			out[n++] = (char)c;
		} else if (c < 0x20 || c == 0x7f) {
			n += (size_t)snprintf(out + n, room - n,
			    json ? "\\u%04x" : "\\x%02x", c);
		} else {
			out[n++] = (char)c;
		}
	}
	return n;
}

void
fg_log(enum fg_log_level level, const char *fmt, ...)
{
	char msg[1024], line[2400], when[FG_CLOCK_TEXT];
	bool json = log_form == FG_LOG_JSON;
	va_list ap;
	size_t n;

	if (!fg_log_is_on(level))
		return;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof msg, fmt, ap);
	va_end(ap);
	fg_clock_format(fg_clock_wall_ms(), when);
	n = (size_t)snprintf(line, sizeof line,
	    json ? "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"" : "%s %s ", when,
	    level_name[level]);
	n += escape(line + n, sizeof line - n - 4, msg, json);
	if (json) {
		line[n++] = '"';
		line[n++] = '}';
	}
	line[n++] = '\n';
	/* Nobody is left to tell when standard error itself fails. */
	if (write(STDERR_FILENO, line, n) < 0)
		return;
}
