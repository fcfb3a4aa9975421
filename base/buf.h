/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes. Two kinds:
 *
 *   struct fg_buf   reference-counted, immutable once published: encoded chunks,
 *                   file contents, replies. Many owners, any thread.
 *   struct fg_str   one owner, grows: text and byte strings under construction.
 */
#ifndef FG_BASE_BUF_H
#define FG_BASE_BUF_H

#include "base/base.h"

struct fg_buf {
	_Atomic unsigned refs;
	size_t len;
	uint8_t *data;
};

/* A buffer of n writable bytes with one reference, or NULL without memory. Write
 * only before the first other reference is given away. */
struct fg_buf *fg_buf_new(size_t n) FG_MUST_USE;
/* A buffer holding a copy of p[0..n). Aborts without memory. */
struct fg_buf *fg_buf_copy(const void *p, size_t n) FG_MUST_USE;
/* A buffer that takes malloc'ed memory p[0..n) over. Aborts without memory. */
struct fg_buf *fg_buf_take(void *p, size_t n) FG_MUST_USE;
struct fg_buf *fg_buf_ref(struct fg_buf *b);
void fg_buf_unref(struct fg_buf *b); /* NULL: nothing */

/* data[0..len) always followed by a NUL byte once something was put. */
struct fg_str {
	char *data;
	size_t len, cap;
};

#define FG_STR_INIT ((struct fg_str){0})

void fg_str_fini(struct fg_str *s);
void fg_str_put(struct fg_str *s, const void *p, size_t n);
void fg_str_puts(struct fg_str *s, const char *text);
void fg_str_putf(struct fg_str *s, const char *fmt, ...) FG_PRINTF(2, 3);
/* Hands the bytes over as a buffer; s is empty afterwards. */
struct fg_buf *fg_str_take(struct fg_str *s) FG_MUST_USE;

#endif
