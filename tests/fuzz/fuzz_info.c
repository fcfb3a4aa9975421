/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as an info file. What is accepted must survive being written and read. */
#include "config.h"

#include <stdlib.h>

#include "base/json.h"
#include "formats/info.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

static char *
text_of(const struct fg_info *info)
{
	json_t *j = fg_info_format(info);
	char *text = fg_json_format(j);

	json_decref(j);
	return text;
}

static void
check_grid(const struct fg_scale *s)
{
	int64_t grid[3], ch[3];
	struct fg_box b, again;
	char name[FG_CHUNK_NAME];

	fg_scale_grid(s, grid);
	for (int corner = 0; corner < 8; corner++) {
		int64_t at[3];

		for (int d = 0; d < 3; d++)
			at[d] = corner >> d & 1 ? grid[d] - 1 : 0;
		fg_scale_chunk_box(s, at, &b);
		fg_chunk_name_format(&b, name);
		fg_assert(fg_chunk_name_parse(name, strlen(name), &again));
		fg_assert(fg_box_equal(&b, &again));
		fg_assert(fg_scale_chunk_find(s, &again, ch));
		fg_assert(memcmp(at, ch, sizeof at) == 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_info info, again;
	char *text, *text_again;

	if (fg_info_parse_any((const char *)p, n, &info, &err) < 0) {
		fg_assert(err.code != FG_OK && err.msg[0]);
		return 0;
	}
	for (int i = 0; i < info.scales; i++)
		check_grid(&info.scale[i]);
	text = text_of(&info);
	fg_assert(fg_info_parse_any(text, strlen(text), &again, &err) == 0);
	text_again = text_of(&again);
	fg_assert(strcmp(text, text_again) == 0);
	free(text);
	free(text_again);
	fg_info_fini(&info);
	fg_info_fini(&again);
	return 0;
}
