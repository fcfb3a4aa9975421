/* SPDX-License-Identifier: Apache-2.0 */
/* Safetensors files: whatever opens can be read to its last byte. */
#include "config.h"

#include "base/hash.h"
#include "formats/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_safetensors *s = fg_safetensors_open("f", p, n, &err);
	size_t bytes = 0;

	if (!s)
		fg_assert(err.code != FG_OK && err.msg[0]);
	for (size_t i = 0; s && i < fg_safetensors_count(s); i++) {
		const struct fg_tensor *t = fg_safetensors_get(s, i);

		fg_assert(fg_safetensors_find(s, t->name) == t);
		fg_hash64(t->data, t->bytes);
		bytes += t->bytes;
	}
	fg_assert(bytes <= n);
	fg_safetensors_close(s);
	return 0;
}
