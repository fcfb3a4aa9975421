/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shard head entries and minishard indices. Byte 0: low 4 bits minishard_bits, bit 4
 * gzipped index; bytes 1-16 a pair of the head; the rest an index. What is accepted
 * must lie inside the file and come back from our encoder as it was.
 */
#include "config.h"

#include "formats/shard.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t n);

#define SIZE 100000 /* of the file that the index is said to be in */

static void
check_index(const struct fg_sharding *s, const struct fg_minishard *m, const uint8_t *p,
    size_t n)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_buf *b = NULL;
	uint64_t end = fg_shard_head(s);

	for (size_t i = 0; i < m->n; i++) {
		const struct fg_shard_item *it = &m->item[i];

		fg_assert(i == 0 || it->key > it[-1].key);
		fg_assert(it->off >= end && it->len <= SIZE - it->off);
		fg_assert(fg_minishard_find(m, it->key) == it);
		end = it->off + it->len;
	}
	fg_assert(fg_minishard_encode(s, m->item, m->n, &b, &err) == 0);
	if (!s->index_gzip)
		fg_assert(b->len == n && memcmp(b->data, p, n) == 0);
	fg_buf_unref(b);
}

int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t n)
{
	struct fg_sharding s = {.present = true};
	struct fg_err err = FG_ERR_INIT;
	struct fg_minishard m = {0};
	struct fg_range64 at;

	if (n < 17)
		return 0;
	s.minishard_bits = p[0] & 15;
	s.index_gzip = p[0] & 16;
	if (fg_shard_entry_decode(&s, p + 1, 0, SIZE, &at, &err) == 0)
		fg_assert(at.len == 0 ||
			  (at.off >= fg_shard_head(&s) && at.len <= SIZE - at.off));
	fg_err_clear(&err);
	if (fg_minishard_decode(&s, p + 17, n - 17, SIZE - (n - 17) % SIZE, SIZE, &m,
		&err) == 0)
		check_index(&s, &m, p + 17, n - 17);
	else
		fg_assert(err.code == FG_ECORRUPT || err.code == FG_ENOMEM);
	fg_minishard_fini(&m);
	return 0;
}
