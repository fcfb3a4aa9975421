/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sharded data: hash, names, indices; see the header. The reader trusts nothing: every
 * sum is checked for overflow, and what an index points at must be inside the file and
 * outside of the index itself. Data of one minishard cannot overlap each other by
 * construction (offsets are unsigned distances).
 */
#include "config.h"

#include "formats/shard.h"

#include <stdio.h>
#include <stdlib.h>

#include "formats/codec.h"

#define ITEM_BYTES 24

/* Choice of parameters; see fg_sharding_choose. */
#define MINISHARD_CHUNKS_BITS 9
#define MINISHARD_BITS_MAX 8
#define SHARD_BYTES_BITS 32

/* ------------------------------------------------------------- keys */

static uint32_t
rotl(uint32_t v, int n)
{
	return v << n | v >> (32 - n);
}

static uint32_t
mix(uint32_t h)
{
	h = (h ^ h >> 16) * 0x85ebca6bu;
	h = (h ^ h >> 13) * 0xc2b2ae35u;
	return h ^ h >> 16;
}

/* For 8 bytes there is no full block: only the first two lanes of the tail. */
uint64_t
fg_shard_murmur(uint64_t key)
{
	uint32_t h1, h2, h3, h4;

	h1 = 8 ^ rotl((uint32_t)key * 0x239b961bu, 15) * 0xab0e9789u;
	h2 = 8 ^ rotl((uint32_t)(key >> 32) * 0xab0e9789u, 16) * 0x38b34ae5u;
	h3 = h4 = 8;
	h1 += h2 + h3 + h4;
	h2 += h1;
	h3 += h1;
	h4 += h1;
	h1 = mix(h1);
	h2 = mix(h2);
	h1 += h2 + mix(h3) + mix(h4);
	h2 += h1;
	return h1 | (uint64_t)h2 << 32;
}

/* Shifts by 64 and more, which C leaves open, give 0. */
static uint64_t
shift_right(uint64_t v, int n)
{
	return n < 64 ? v >> n : 0;
}

static uint64_t
low_bits(uint64_t v, int n)
{
	return n < 64 ? v & ((UINT64_C(1) << n) - 1) : v;
}

void
fg_shard_locate(const struct fg_sharding *s, uint64_t key, uint64_t *shard,
    uint64_t *minishard)
{
	uint64_t h = shift_right(key, s->preshift_bits);

	if (s->murmur)
		h = fg_shard_murmur(h);
	*minishard = low_bits(h, s->minishard_bits);
	*shard = low_bits(shift_right(h, s->minishard_bits), s->shard_bits);
}

void
fg_shard_name(const struct fg_sharding *s, uint64_t shard, char out[FG_SHARD_NAME])
{
	int digits = FG_MAX(1, (s->shard_bits + 3) / 4);

	snprintf(out, FG_SHARD_NAME, "%0*llx.shard", digits, (unsigned long long)shard);
}

uint64_t
fg_shard_head(const struct fg_sharding *s)
{
	return UINT64_C(16) << s->minishard_bits;
}

int
fg_shard_key_bits(const int64_t grid[3])
{
	int bits = 0;

	for (int d = 0; d < 3; d++) {
		for (int i = 0; i < 63 && (INT64_C(1) << i) < grid[d]; i++)
			bits++;
	}
	return bits;
}

bool
fg_shard_key_decode(uint64_t code, const int64_t grid[3], int64_t ch[3])
{
	int in = 0;

	ch[0] = ch[1] = ch[2] = 0;
	for (int i = 0; i < 63; i++) {
		for (int d = 0; d < 3; d++) {
			if ((INT64_C(1) << i) >= grid[d])
				continue;
			ch[d] |= (int64_t)(shift_right(code, in++) & 1) << i;
		}
	}
	return shift_right(code, in) == 0 && ch[0] < grid[0] && ch[1] < grid[1] &&
	       ch[2] < grid[2];
}

/* ------------------------------------------------------------- reading */

int
fg_shard_entry_decode(const struct fg_sharding *s, const uint8_t p[16],
    uint64_t minishard, uint64_t size, struct fg_range64 *out, struct fg_err *err)
{
	uint64_t head = fg_shard_head(s);
	uint64_t lo = fg_get_u64le(p), hi = fg_get_u64le(p + 8);
	unsigned long long m = minishard;

	if (lo == hi) {
		*out = (struct fg_range64){0, 0};
		return 0;
	}
	if (lo > hi)
		return fg_fail(err, FG_ECORRUPT,
		    "minishard %llu: index begins at %llu, behind its end at %llu", m,
		    (unsigned long long)lo, (unsigned long long)hi);
	if (size < head || hi > size - head)
		return fg_fail(err, FG_ECORRUPT,
		    "minishard %llu: index ends at %llu behind the head of %llu bytes, "
		    "the file has %llu bytes",
		    m, (unsigned long long)hi, (unsigned long long)head,
		    (unsigned long long)size);
	if (hi - lo > FG_MINISHARD_MAX)
		return fg_fail(err, FG_ENOTSUP,
		    "minishard %llu: index of %llu bytes, at most %llu are read", m,
		    (unsigned long long)(hi - lo),
		    (unsigned long long)FG_MINISHARD_MAX);
	*out = (struct fg_range64){head + lo, hi - lo};
	return 0;
}

/* Item i of n from the three rows; `item[-1]` is the one before. */
static int
decode_item(const uint8_t *p, size_t n, size_t i, uint64_t end_before, uint64_t size,
    struct fg_shard_item *item, struct fg_err *err)
{
	uint64_t key = fg_get_u64le(p + 8 * i);
	uint64_t gap = fg_get_u64le(p + 8 * (n + i));

	item->len = fg_get_u64le(p + 8 * (2 * n + i));
	item->key = key;
	if (i > 0 &&
	    (key == 0 || __builtin_add_overflow(item[-1].key, key, &item->key)))
		return fg_fail(err, FG_ECORRUPT,
		    "keys are not ascending: number %zu is %llu behind %llu", i,
		    (unsigned long long)key, (unsigned long long)item[-1].key);
	if (__builtin_add_overflow(end_before, gap, &item->off) || item->off > size ||
	    item->len > size - item->off)
		return fg_fail(err, FG_ECORRUPT,
		    "key %llu: %llu bytes, %llu behind byte %llu, do not fit a file of "
		    "%llu bytes",
		    (unsigned long long)item->key, (unsigned long long)item->len,
		    (unsigned long long)gap, (unsigned long long)end_before,
		    (unsigned long long)size);
	return 0;
}

static int
decode_rows(const struct fg_sharding *s, const uint8_t *p, size_t n,
    const struct fg_range64 *own, uint64_t size, struct fg_minishard *m,
    struct fg_err *err)
{
	uint64_t end = fg_shard_head(s);

	for (size_t i = 0; i < n; i++) {
		struct fg_shard_item *it = &m->item[i];

		if (decode_item(p, n, i, end, size, it, err) < 0)
			return -1;
		end = it->off + it->len;
		if (it->len > 0 && it->off < own->off + own->len && end > own->off)
			return fg_fail(err, FG_ECORRUPT,
			    "key %llu: bytes %llu to %llu overlap the index itself, "
			    "%llu to %llu",
			    (unsigned long long)it->key, (unsigned long long)it->off,
			    (unsigned long long)end, (unsigned long long)own->off,
			    (unsigned long long)(own->off + own->len));
	}
	return 0;
}

int
fg_minishard_decode(const struct fg_sharding *s, const uint8_t *p, size_t n,
    uint64_t at, uint64_t size, struct fg_minishard *out, struct fg_err *err)
{
	struct fg_range64 own = {at, n};
	struct fg_minishard m = {0};
	struct fg_buf *plain = NULL;
	int rc = -1;

	if (s->index_gzip) {
		if (fg_decompress(FG_CODING_GZIP, p, n, FG_MINISHARD_MAX, &plain, err) <
		    0)
			return fg_err_prefix(err, "minishard index");
		p = plain->data;
		n = plain->len;
	}
	if (n % ITEM_BYTES != 0) {
		fg_fail(err, FG_ECORRUPT,
		    "minishard index has %zu bytes, no multiple of %d", n, ITEM_BYTES);
		goto out;
	}
	m.n = n / ITEM_BYTES;
	m.item = fg_try_alloc(FG_MAX(m.n, 1u), sizeof *m.item);
	if (!m.item) {
		fg_fail(err, FG_ENOMEM, "no memory for a minishard index of %zu keys",
		    m.n);
		goto out;
	}
	if (decode_rows(s, p, m.n, &own, size, &m, err) < 0) {
		fg_minishard_fini(&m);
		goto out;
	}
	*out = m;
	rc = 0;
out:
	fg_buf_unref(plain);
	return rc;
}

void
fg_minishard_fini(struct fg_minishard *m)
{
	free(m->item);
	*m = (struct fg_minishard){0};
}

const struct fg_shard_item *
fg_minishard_find(const struct fg_minishard *m, uint64_t key)
{
	size_t lo = 0, hi = m->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (m->item[mid].key < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < m->n && m->item[lo].key == key ? &m->item[lo] : NULL;
}

/* ------------------------------------------------------------- writing */

int
fg_minishard_encode(const struct fg_sharding *s, const struct fg_shard_item *item,
    size_t n, struct fg_buf **out, struct fg_err *err)
{
	uint64_t end = fg_shard_head(s);
	struct fg_buf *plain;
	int rc;

	if (n > FG_MINISHARD_MAX / ITEM_BYTES)
		return fg_fail(err, FG_EINVAL,
		    "%zu keys in one minishard, at most %llu: more minishard or shard "
		    "bits are needed",
		    n, (unsigned long long)(FG_MINISHARD_MAX / ITEM_BYTES));
	plain = fg_buf_new(n * ITEM_BYTES);
	if (!plain)
		return fg_fail(err, FG_ENOMEM,
		    "no memory for a minishard index of %zu keys", n);
	for (size_t i = 0; i < n; i++) {
		fg_assert(i == 0 || item[i].key > item[i - 1].key);
		fg_assert(item[i].off >= end);
		fg_put_u64le(plain->data + 8 * i,
		    i == 0 ? item[i].key : item[i].key - item[i - 1].key);
		fg_put_u64le(plain->data + 8 * (n + i), item[i].off - end);
		fg_put_u64le(plain->data + 8 * (2 * n + i), item[i].len);
		end = item[i].off + item[i].len;
	}
	if (!s->index_gzip) {
		*out = plain;
		return 0;
	}
	rc = fg_compress(FG_CODING_GZIP, 0, plain->data, plain->len, out, err);
	fg_buf_unref(plain);
	return rc;
}

int
fg_sharding_choose(const int64_t grid[3], uint64_t chunk_bytes, bool gzip,
    struct fg_sharding *out, struct fg_err *err)
{
	int bits = fg_shard_key_bits(grid), size_bits = 0, room;

	if (bits > 64)
		return fg_fail(err, FG_ENOTSUP,
		    "a grid of %lld x %lld x %lld chunks needs keys of %d bits, a "
		    "sharded volume has 64",
		    (long long)grid[0], (long long)grid[1], (long long)grid[2], bits);
	while (size_bits < SHARD_BYTES_BITS && (UINT64_C(1) << size_bits) < chunk_bytes)
		size_bits++;
	room = SHARD_BYTES_BITS - size_bits; /* chunks that a shard may hold, as bits */
	*out = (struct fg_sharding){.present = true,
	    .index_gzip = true,
	    .data_gzip = gzip};
	out->preshift_bits = FG_MIN(FG_MIN(bits, room), MINISHARD_CHUNKS_BITS);
	out->minishard_bits =
	    FG_MIN(FG_MIN(bits, room) - out->preshift_bits, MINISHARD_BITS_MAX);
	out->shard_bits = bits - out->preshift_bits - out->minishard_bits;
	return 0;
}
