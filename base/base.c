/* SPDX-License-Identifier: Apache-2.0 */
/* Allocation with overflow checks, and the end of the road for broken invariants. */
#include "config.h"

#include "base/base.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void
fg_assert_failed(const char *what, const char *file, int line)
{
	fprintf(stderr, "floodgate: bug: %s:%d: %s does not hold\n", file, line, what);
	abort();
}

static FG_NORETURN void
out_of_memory(size_t n)
{
	fprintf(stderr, "floodgate: out of memory (%zu bytes)\n", n);
	abort();
}

void *
fg_alloc(size_t n)
{
	void *p = malloc(n ? n : 1);

	if (!p)
		out_of_memory(n);
	return p;
}

void *
fg_calloc(size_t n, size_t size)
{
	void *p = calloc(n ? n : 1, size ? size : 1);

	if (!p)
		out_of_memory(n);
	return p;
}

void *
fg_realloc(void *p, size_t n, size_t size)
{
	size_t bytes;
	void *q;

	if (__builtin_mul_overflow(n, size, &bytes))
		out_of_memory(SIZE_MAX);
	q = realloc(p, bytes ? bytes : 1);
	if (!q)
		out_of_memory(bytes);
	return q;
}

char *
fg_strdup(const char *s)
{
	return fg_strndup(s, strlen(s));
}

char *
fg_strndup(const char *s, size_t n)
{
	char *p;

	n = strnlen(s, n);
	p = fg_alloc(n + 1);
	memcpy(p, s, n);
	p[n] = '\0';
	return p;
}

char *
fg_asprintf(const char *fmt, ...)
{
	va_list ap;
	char *p;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	fg_assert(n >= 0);
	p = fg_alloc((size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf(p, (size_t)n + 1, fmt, ap);
	va_end(ap);
	return p;
}

void *
fg_try_alloc(size_t n, size_t size)
{
	size_t bytes;

	if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX - 64)
		return NULL;
	return aligned_alloc(64, bytes ? (bytes + 63) / 64 * 64 : 64);
}
