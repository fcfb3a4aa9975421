/* SPDX-License-Identifier: Apache-2.0 */
/* Shared immutable buffers and growing strings: see the header. */
#include "config.h"

#include "base/buf.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct fg_buf *
fg_buf_new(size_t n)
{
	uint8_t *p = malloc(n ? n : 1);

	return p ? fg_buf_take(p, n) : NULL;
}

struct fg_buf *
fg_buf_copy(const void *p, size_t n)
{
	uint8_t *q = fg_alloc(n);

	if (n > 0)
		memcpy(q, p, n);
	return fg_buf_take(q, n);
}

struct fg_buf *
fg_buf_take(void *p, size_t n)
{
	struct fg_buf *b = fg_alloc(sizeof *b);

	atomic_init(&b->refs, 1);
	b->len = n;
	b->data = p;
	return b;
}

struct fg_buf *
fg_buf_ref(struct fg_buf *b)
{
	atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
	return b;
}

void
fg_buf_unref(struct fg_buf *b)
{
	if (!b || atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) != 1)
		return;
	free(b->data);
	free(b);
}

/* Room for n more bytes and a NUL. */
static void
reserve(struct fg_str *s, size_t n)
{
	size_t want;

	fg_assert(!__builtin_add_overflow(s->len, n, &want) && want < SIZE_MAX / 2);
	if (want + 1 <= s->cap)
		return;
	s->cap = FG_MAX(s->cap * 2, want + 64);
	s->data = fg_realloc(s->data, s->cap, 1);
}

void
fg_str_fini(struct fg_str *s)
{
	free(s->data);
	*s = FG_STR_INIT;
}

void
fg_str_put(struct fg_str *s, const void *p, size_t n)
{
	reserve(s, n);
	if (n > 0)
		memcpy(s->data + s->len, p, n);
	s->len += n;
	s->data[s->len] = '\0';
}

void
fg_str_puts(struct fg_str *s, const char *text)
{
	fg_str_put(s, text, strlen(text));
}

void
fg_str_putf(struct fg_str *s, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	fg_assert(n >= 0);
	reserve(s, (size_t)n);
	va_start(ap, fmt);
	vsnprintf(s->data + s->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	s->len += (size_t)n;
}

struct fg_buf *
fg_str_take(struct fg_str *s)
{
	struct fg_buf *b = fg_buf_take(s->data ? s->data : fg_alloc(1), s->len);

	*s = FG_STR_INIT;
	return b;
}
