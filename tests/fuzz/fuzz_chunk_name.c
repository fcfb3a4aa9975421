/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as a chunk name. Each box has one name only. */
#include "config.h"

#include "formats/info.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	char name[FG_CHUNK_NAME];
	struct fg_box b;
	int64_t shape[3];

	if (!fg_chunk_name_parse((const char *)p, n, &b))
		return 0;
	fg_assert(!fg_box_is_empty(&b));
	fg_box_shape(&b, shape);
	fg_chunk_name_format(&b, name);
	fg_assert(strlen(name) == n && memcmp(name, p, n) == 0);
	return 0;
}
