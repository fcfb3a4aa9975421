/* SPDX-License-Identifier: Apache-2.0 */
/* Names of the files of a stack, one a line: whether they have an order, and which. */
#include "config.h"

#include <stdlib.h>

#include "formats/series.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	char *text = fg_strndup((const char *)p, n), *save = NULL;
	int64_t number[64];
	const char *name[64];
	size_t k = 0;

	for (char *t = strtok_r(text, "\n", &save); t && k < FG_COUNTOF(name);
	     t = strtok_r(NULL, "\n", &save))
		name[k++] = t;
	if (k > 0 && fg_series_order(name, k, number, &err) < 0)
		fg_assert(err.code != FG_OK && err.msg[0]);
	for (size_t i = 0; k > 0 && err.code == FG_OK && i < k; i++) {
		fg_assert(number[i] >= 0);
		for (size_t j = 0; j < i; j++)
			fg_assert(
			    number[i] != number[j] && strcmp(name[i], name[j]) != 0);
	}
	free(text);
	return 0;
}
