/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The whole test framework: TAP lines on standard output.
 *
 *   int main(void) {
 *           tap_ok(1 + 1 == 2, "addition works");
 *           tap_int(strlen("abc"), 3, "length of %s", "abc");
 *           return tap_done();
 *   }
 *
 * Missing things: tap_skip_all("why") ends the program with an empty plan, which the
 * runner counts and prints as SKIP. In CI (environment CI set, not empty) missing
 * software or data is a failure instead: use tap_need_data() and tap_missing().
 * Only missing hardware (a GPU, AMX) may skip everywhere: tap_skip_all().
 */
#ifndef FG_TESTS_TAP_H
#define FG_TESTS_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

static int tap_count, tap_failed;

static inline bool __attribute__((format(printf, 2, 3)))
tap_ok(bool ok, const char *fmt, ...)
{
	va_list ap;

	tap_count++;
	if (!ok)
		tap_failed++;
	printf("%sok %d - ", ok ? "" : "not ", tap_count);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
	return ok;
}

#define tap_int(got, want, ...)                                                        \
	tap_int_(__FILE__, __LINE__, (long long)(got), (long long)(want), __VA_ARGS__)
#define tap_str(got, want, ...) tap_str_(__FILE__, __LINE__, (got), (want), __VA_ARGS__)

static inline bool __attribute__((format(printf, 5, 6))) tap_int_(const char *file,
    int line, long long got, long long want, const char *fmt, ...)
{
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	tap_ok(got == want, "%s", what);
	if (got != want)
		printf("# %s:%d: got %lld, wanted %lld\n", file, line, got, want);
	return got == want;
}

static inline bool __attribute__((format(printf, 5, 6))) tap_str_(const char *file,
    int line, const char *got, const char *want, const char *fmt, ...)
{
	bool ok = got && want ? strcmp(got, want) == 0 : got == want;
	char what[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	tap_ok(ok, "%s", what);
	if (!ok)
		printf("# %s:%d: got \"%s\", wanted \"%s\"\n", file, line,
		    got ? got : "(null)", want ? want : "(null)");
	return ok;
}

/* rc must be 0; prints the message of err if not. */
static inline bool
tap_rc(int rc, struct fg_err *err, const char *what)
{
	tap_ok(rc == 0, "%s", what);
	if (rc != 0)
		printf("# %s: %s\n", fg_code_name(err->code), err->msg);
	return rc == 0;
}

/* A failure is expected: rc < 0 (pass `p == NULL ? -1 : 0` for pointers), this code,
 * and a message that contains `part`. Clears err for the next call. */
static inline bool
tap_fails(int rc, struct fg_err *err, enum fg_code code, const char *part,
    const char *what)
{
	bool ok = rc < 0 && err->code == code && strstr(err->msg, part) != NULL;

	tap_ok(ok, "%s", what);
	if (!ok)
		printf("# rc %d, %s: \"%s\"; wanted %s: ...%s...\n", rc,
		    fg_code_name(err->code), err->msg, fg_code_name(code), part);
	fg_err_clear(err);
	return ok;
}

static inline void __attribute__((noreturn)) tap_skip_all(const char *why)
{
	printf("1..0 # SKIP %s\n", why);
	fprintf(stderr, "SKIPPED: %s\n", why);
	exit(0);
}

/* Something the test needs is not installed or not there: a loud skip on a user's
 * machine, a failure in CI. */
static inline void __attribute__((noreturn)) tap_missing(const char *what)
{
	const char *ci = getenv("CI");

	if (ci && *ci) {
		printf("Bail out! missing in CI: %s\n", what);
		exit(1);
	}
	tap_skip_all(what);
}

/* The folder of the FIB-25 sample: $FLOODGATE_TEST_DATA/fib25. */
static inline const char *
tap_need_data(void)
{
	static char path[1024];
	const char *dir = getenv("FLOODGATE_TEST_DATA");

	if (!dir || !*dir)
		tap_missing(
		    "FLOODGATE_TEST_DATA is not set (folder that holds fib25/)");
	snprintf(path, sizeof path, "%s/fib25", dir);
	return path;
}

static inline int
tap_done(void)
{
	printf("1..%d\n", tap_count);
	if (tap_failed)
		printf("# %d of %d failed\n", tap_failed, tap_count);
	return tap_failed ? 1 : 0;
}

#endif
