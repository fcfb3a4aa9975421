/* SPDX-License-Identifier: Apache-2.0 */
/* Writing safetensors files of any wrongness, for tests. */
#ifndef FG_TESTS_FORMATS_SAFETENSORS_H
#define FG_TESTS_FORMATS_SAFETENSORS_H

#include "base/buf.h"

/* Header text and n zero bytes of data (or `data`) as a file. */
static inline struct fg_buf *
safetensors_file(const char *header, const void *data, size_t n)
{
	struct fg_str s = FG_STR_INIT;
	uint8_t size[8];
	char zero = 0;

	fg_put_u64le(size, strlen(header));
	fg_str_put(&s, size, 8);
	fg_str_puts(&s, header);
	for (size_t i = 0; !data && i < n; i++)
		fg_str_put(&s, &zero, 1);
	if (data)
		fg_str_put(&s, data, n);
	return fg_str_take(&s);
}

#endif
