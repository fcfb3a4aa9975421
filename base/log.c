/* SPDX-License-Identifier: Apache-2.0 */
/* One line per event: see the header. */
#include "config.h"

#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"

static _Atomic int log_level = FG_LOG_INFO;
static _Atomic int log_form = FG_LOG_TEXT;

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
	return (int)level <= log_level;
}

/* Bytes of the UTF-8 character at p, 0 if it is none (or one that is not to be written:
 * overlong, a surrogate, beyond U+10FFFF). */
static size_t
utf8_length(const unsigned char *p)
{
	size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
	unsigned v = p[0] & (0x7f >> n);
	static const unsigned least[] = {0, 0, 0x80, 0x800, 0x10000};

	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		v = v << 6 | (p[i] & 0x3f);
	}
	return v < least[n] || v > 0x10ffff || (v >> 11) == 0x1b ? 0 : n;
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
		} else if (c >= 0x80) {
			size_t len = utf8_length((const unsigned char *)p);

			if (len == 0) {
				out[n++] = '?';
				continue;
			}
			memcpy(out + n, p, len);
			n += len;
			p += len - 1;
		} else {
			out[n++] = (char)c;
		}
	}
	return n;
}

/* Length of the name=value at p, or 0. The value ends at a space, that of "why" at the
 * end. */
static size_t
fact_length(const char *p)
{
	size_t n = strspn(p, "abcdefghijklmnopqrstuvwxyz_");

	if (n == 0 || p[n] != '=')
		return 0;
	return n == 3 && memcmp(p, "why", 3) == 0 ? strlen(p) : n + strcspn(p + n, " ");
}

static const char *
digits(const char *p)
{
	return p + strspn(p, "0123456789");
}

/* Whether JSON would read it as a number: a value may be cut, or not be what the format
 * made. */
static bool
is_json_number(const char *p)
{
	const char *q;

	p += *p == '-';
	q = digits(p);
	if (q == p || (*p == '0' && q > p + 1))
		return false;
	p = q;
	if (*p == '.') {
		q = digits(p + 1);
		if (q == p + 1)
			return false;
		p = q;
	}
	if (*p == 'e') {
		p += 1 + (p[1] == '-' || p[1] == '+');
		q = digits(p);
		if (q == p)
			return false;
		p = q;
	}
	return *p == '\0';
}

/* Whether the fact called so is a number: if the format makes it of one, whatever the
 * value looks like, so that a name of digits does not change a member's type. An id is
 * a name, and may have more digits than readers of JSON keep. */
static bool
is_number(const char *fmt, const char *name, size_t n, const char *value)
{
	if (!is_json_number(value) || (n == 2 && memcmp(name, "id", 2) == 0))
		return false;
	for (const char *p = fmt; (p = strstr(p, "=%")) != NULL; p += 2) {
		const char *end = p + 2 + strspn(p + 2, ".0123456789hlzjt");

		if ((size_t)(p - fmt) >= n && memcmp(p - n, name, n) == 0 &&
		    ((size_t)(p - fmt) == n || p[-(ptrdiff_t)n - 1] == ' '))
			return *end && strchr("diufg", *end) &&
			       (!end[1] || strchr(" :", end[1]));
	}
	return false;
}

/* The message as JSON members: what stands before the first name=value is "message",
 * each of those is a member, and what comes after them is "detail". */
static size_t
put_members(char *out, size_t room, const char *fmt, char *msg)
{
	char *p = msg, *end = msg;
	size_t n = 0, len;

	while (*p && !fact_length(p)) {
		p += strcspn(p, " ");
		end = p;
		p += *p == ' ';
	}
	char first = *p;

	if (*end)
		*end = '\0';
	n += (size_t)snprintf(out + n, room - n, "\"message\":\"");
	n += escape(out + n, room - n, msg, true);
	out[n++] = '"';
	if (!first)
		return n;
	while ((len = fact_length(p)) > 0 && n + len + 64 < room) {
		size_t name = strcspn(p, "=");
		char *value = p + name + 1, *next = p + len;
		char last = *next;

		*next = '\0';
		/* "path=/x: text" */
		if (last && len > name + 1 && next[-1] == ':')
			next[-1] = '\0';
		if (is_number(fmt, p, name, value)) {
			n += (size_t)snprintf(out + n, room - n, ",\"%.*s\":%s",
			    (int)name, p, value);
		} else {
			n += (size_t)snprintf(out + n, room - n, ",\"%.*s\":\"",
			    (int)name, p);
			n += escape(out + n, room - n - 32, value, true);
			out[n++] = '"';
		}
		p = next + (last != '\0');
	}
	if (*p && n + 64 < room) {
		n += (size_t)snprintf(out + n, room - n, ",\"detail\":\"");
		n += escape(out + n, room - n - 8, p, true);
		out[n++] = '"';
	}
	return n;
}

void
fg_log(enum fg_log_level level, const char *fmt, ...)
{
	/* Escaping makes six bytes of one; the names of JSON members come on top. */
	char msg[1024], line[6 * sizeof msg + 1024], when[FG_CLOCK_TEXT];
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
	    json ? "{\"time\":\"%s\",\"level\":\"%s\"," : "%s %s ", when,
	    level_name[level]);
	if (json) {
		n += put_members(line + n, sizeof line - n - 4, fmt, msg);
		line[n++] = '}';
	} else {
		n += escape(line + n, sizeof line - n - 4, msg, false);
	}
	line[n++] = '\n';
	/* Nobody is left to tell when standard error itself fails. */
	if (write(STDERR_FILENO, line, n) < 0)
		return;
}
