/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checkpoints. Bytes 0-1: size of the index, bit 15 set: make the checksums of its
 * blocks right first; then the index, then the data.
 */
#include "config.h"

#include <stdlib.h>

#include "base/hash.h"
#include "formats/bundle.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

/* A varint at *at, 0 if there is none. */
static uint64_t
varint(const uint8_t *p, size_t n, size_t *at)
{
	uint64_t v = 0;

	for (int shift = 0; *at < n && shift < 63; shift += 7) {
		v |= (uint64_t)(p[*at] & 0x7f) << shift;
		if (p[(*at)++] < 0x80)
			return v;
	}
	return 0;
}

/* The checksum of the block whose place stands at *at; returns where it begins. */
static size_t
seal(uint8_t *p, size_t n, size_t *at)
{
	uint64_t offset = varint(p, n, at), size = varint(p, n, at);
	uint32_t c;

	if (offset > n || size > n || n - offset < size + 5)
		return n;
	c = fg_crc32c(0, p + offset, size + 1);
	fg_put_u32le(p + offset + size + 1, (c >> 15 | c << 17) + 0xa282ead8);
	return offset;
}

static void
seal_all(uint8_t *p, size_t n)
{
	size_t at = n - 48, index;

	seal(p, n, &at);
	index = at;
	index = seal(p, n, &index);
	if (index < n) {
		/* Its first record: sizes of key and value, key, place of a block. */
		size_t record = index, key;

		varint(p, n, &record);
		key = varint(p, n, &record);
		varint(p, n, &record);
		if (key < n - record) {
			record += key;
			seal(p, n, &record);
		}
		/* The index block may overlap what was just written. */
		seal(p, n, &at);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_bundle *b;
	size_t index_n;
	uint8_t *index;

	if (n < 2)
		return 0;
	index_n = FG_MIN(fg_get_u16le(p) & 0x7fffu, n - 2);
	index = malloc(index_n + !index_n);
	fg_assert(index != NULL);
	memcpy(index, p + 2, index_n);
	if (p[1] & 0x80 && index_n >= 48)
		seal_all(index, index_n);
	b = fg_bundle_open("f", index, index_n, p + 2 + index_n, n - 2 - index_n, &err);
	if (!b)
		fg_assert(err.code != FG_OK && err.msg[0]);
	for (size_t i = 0; b && i < fg_bundle_count(b); i++) {
		const struct fg_tensor *t = fg_bundle_get(b, i);

		fg_assert(fg_bundle_find(b, t->name) == t);
		fg_hash64(t->data, t->bytes); /* all of it can be read */
	}
	fg_bundle_close(b);
	free(index);
	return 0;
}
