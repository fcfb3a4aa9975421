/* SPDX-License-Identifier: Apache-2.0 */
/* Sharded data: keys, names and indices; byte strings written down by hand from the
 * format's description, hash values from the viewer's own function. */
#include "config.h"

#include "formats/shard.h"

#include "base/morton.h"
#include "formats/codec.h"
#include "tests/tap.h"

#define HEAD2 64 /* bytes of the head with minishard_bits 2 */

static const struct fg_sharding plain = {.present = true, .minishard_bits = 2};

static void
test_keys(void)
{
	static const struct {
		uint64_t key, hash;
	} t[] = {
	    {0, 0x4772b084e028ae41},
	    {1, 0xe8bd67d616d4ce9a},
	    {2, 0xd62f9cd21b013f5a},
	    {17, 0x91f6ece4313a2c94},
	    {(UINT64_C(1) << 60) + 7, 0x282c38c34c2297dc},
	    {UINT64_MAX, 0x574f66bd212b5d1a},
	};
	struct fg_sharding s = {.preshift_bits = 3,
	    .minishard_bits = 4,
	    .shard_bits = 5};
	uint64_t shard, minishard;

	for (size_t i = 0; i < FG_COUNTOF(t); i++)
		tap_ok(fg_shard_murmur(t[i].key) == t[i].hash, "murmur of %llu",
		    (unsigned long long)t[i].key);
	/* bits from above: 1 | 10110 | 1001 | 111 */
	fg_shard_locate(&s, 0x1b4f, &shard, &minishard);
	tap_int(minishard, 9, "minishard");
	tap_int(shard, 0x16, "shard; higher bits count for nothing");
	s.murmur = true;
	fg_shard_locate(&s, 17 << 3, &shard, &minishard);
	tap_int(minishard, 0x4, "hashed minishard");
	tap_int(shard, 0x09, "hashed shard");
	s = (struct fg_sharding){.preshift_bits = 64, .shard_bits = 64};
	fg_shard_locate(&s, UINT64_MAX, &shard, &minishard);
	tap_int(shard, 0, "64 bits are shifted out");
	s.preshift_bits = 0;
	fg_shard_locate(&s, UINT64_MAX, &shard, &minishard);
	tap_ok(shard == UINT64_MAX && minishard == 0, "64 shard bits");
}

static void
test_names(void)
{
	static const struct {
		int bits;
		uint64_t shard;
		const char *name;
	} t[] = {
	    {0, 0, "0.shard"},
	    {1, 1, "1.shard"},
	    {4, 15, "f.shard"},
	    {5, 10, "0a.shard"},
	    {11, 0x7ff, "7ff.shard"},
	    {64, UINT64_MAX, "ffffffffffffffff.shard"},
	};
	char name[FG_SHARD_NAME];

	for (size_t i = 0; i < FG_COUNTOF(t); i++) {
		struct fg_sharding s = {.shard_bits = t[i].bits};

		fg_shard_name(&s, t[i].shard, name);
		tap_str(name, t[i].name, "name with %d bits", t[i].bits);
	}
}

static void
test_grid(void)
{
	static const int64_t grid[3] = {6, 1, 5};
	int64_t ch[3], back[3], wrong = 0, outside = 0;

	tap_int(fg_shard_key_bits(grid), 6, "3 + 0 + 3 bits");
	for (ch[2] = 0; ch[2] < 5; ch[2]++) {
		for (ch[0] = ch[1] = 0; ch[0] < 6; ch[0]++) {
			uint64_t key = fg_morton_compressed(ch, grid);

			wrong += !fg_shard_key_decode(key, grid, back) ||
				 memcmp(back, ch, sizeof ch) != 0;
		}
	}
	tap_int(wrong, 0, "every position comes back from its code");
	for (uint64_t key = 0; key < 128; key++)
		outside += !fg_shard_key_decode(key, grid, ch);
	tap_int(outside, 128 - 30, "the other codes are no positions");
}

static void
test_entries(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_range64 at = {9, 9};
	uint8_t p[16] = {0};

	tap_rc(fg_shard_entry_decode(&plain, p, 0, HEAD2, &at, &err), &err, "empty");
	tap_int(at.len, 0, "has no index");
	p[0] = 10, p[8] = 34;
	tap_rc(fg_shard_entry_decode(&plain, p, 0, HEAD2 + 34, &at, &err), &err,
	    "to the end of the file");
	tap_ok(at.off == HEAD2 + 10 && at.len == 24, "counted from the head's end");
	tap_fails(fg_shard_entry_decode(&plain, p, 3, HEAD2 + 33, &at, &err), &err,
	    FG_ECORRUPT,
	    "minishard 3: index ends at 34 behind the head of 64 bytes, the file has "
	    "97",
	    "beyond the file");
	tap_fails(fg_shard_entry_decode(&plain, p, 3, 12, &at, &err), &err, FG_ECORRUPT,
	    "the file has 12", "a file shorter than its head");
	p[0] = 35;
	tap_fails(fg_shard_entry_decode(&plain, p, 1, 1000, &at, &err), &err,
	    FG_ECORRUPT, "begins at 35, behind its end at 34", "end before begin");
	memset(p + 8, 0xff, 8);
	tap_fails(fg_shard_entry_decode(&plain, p, 1, 1000, &at, &err), &err,
	    FG_ECORRUPT, "ends at 18446744073709551615", "overflowing");
	p[8 + 7] = 0;
	tap_fails(fg_shard_entry_decode(&plain, p, 1, UINT64_MAX, &at, &err), &err,
	    FG_ENOTSUP, "at most 67108864 are read", "too large");
}

/* Three rows as they are stored. */
static size_t
rows(uint8_t *p, size_t n, const uint64_t *v)
{
	for (size_t i = 0; i < 3 * n; i++)
		fg_put_u64le(p + 8 * i, v[i]);
	return 24 * n;
}

static void
test_index(void)
{
	/* keys 5, 8, 300; data at 64+0 (7 bytes), 64+7 (0), 64+17 (3) */
	static const uint64_t good[] = {5, 3, 292, 0, 0, 10, 7, 0, 3};
	struct fg_sharding zipped = plain;
	struct fg_err err = FG_ERR_INIT;
	struct fg_minishard m = {0};
	struct fg_buf *b = NULL;
	uint8_t p[72];
	size_t n = rows(p, 3, good);

	tap_rc(fg_minishard_decode(&plain, p, n, 84, 156, &m, &err), &err, "decode");
	tap_int(m.n, 3, "keys");
	tap_ok(m.item[0].key == 5 && m.item[0].off == 64 && m.item[0].len == 7,
	    "first");
	tap_ok(m.item[1].key == 8 && m.item[1].off == 71 && m.item[1].len == 0,
	    "second, empty");
	tap_ok(m.item[2].key == 300 && m.item[2].off == 81 && m.item[2].len == 3,
	    "third, behind a gap");
	tap_ok(fg_minishard_find(&m, 300) == &m.item[2], "find");
	tap_ok(fg_minishard_find(&m, 5) == &m.item[0], "find the first");
	tap_ok(!fg_minishard_find(&m, 6) && !fg_minishard_find(&m, 301) &&
		   !fg_minishard_find(&m, 0),
	    "find nothing");
	tap_rc(fg_minishard_encode(&plain, m.item, m.n, &b, &err), &err, "encode");
	tap_ok(b->len == n && memcmp(b->data, p, n) == 0, "the same bytes");
	fg_buf_unref(b);
	b = NULL;
	zipped.index_gzip = true;
	tap_rc(fg_minishard_encode(&zipped, m.item, m.n, &b, &err), &err, "gzipped");
	fg_minishard_fini(&m);
	tap_rc(fg_minishard_decode(&zipped, b->data, b->len, 84, 84 + b->len, &m, &err),
	    &err, "decode that");
	tap_ok(m.n == 3 && m.item[2].off == 81, "the same items");
	fg_minishard_fini(&m);
	tap_fails(fg_minishard_decode(&zipped, p, n, 84, 156, &m, &err), &err,
	    FG_ECORRUPT, "minishard index: gzip", "raw in place of gzip");
	fg_buf_unref(b);
	tap_rc(fg_minishard_decode(&plain, p, 0, 84, 156, &m, &err), &err, "no keys");
	tap_ok(m.n == 0 && !fg_minishard_find(&m, 0), "have nothing");
	fg_minishard_fini(&m);
}

static void
test_bad_index(void)
{
	static const struct {
		uint64_t v[6]; /* two keys */
		const char *part, *what;
	} t[] = {
	    {{5, 0, 0, 0, 1, 1}, "not ascending: number 1 is 0 behind 5",
		"a key twice"},
	    {{5, UINT64_MAX, 0, 0, 1, 1}, "not ascending", "a key that descends"},
	    {{5, 1, 0, 0, 1, 1000}, "1000 bytes, 0 behind byte 65, do not fit",
		"beyond the file"},
	    {{5, 1, 0, UINT64_MAX - 60, 1, 1}, "do not fit",
		"an offset that overflows"},
	    {{5, 1, 0, UINT64_MAX, 1, 1}, "do not fit", "one that goes back"},
	    {{5, 1, 0, 0, UINT64_MAX, 1}, "do not fit", "a length that overflows"},
	    {{5, 1, 2000, 0, 0, 0}, "do not fit", "an empty one beyond the file"},
	    {{5, 1, 0, 0, 36, 1}, "bytes 64 to 100 overlap the index itself, 99 to 147",
		"over its own index"},
	    {{5, 1, 40, 0, 1, 1}, "overlap the index itself", "within it"},
	};
	struct fg_err err = FG_ERR_INIT;
	struct fg_minishard m = {0};
	uint8_t p[48];

	for (size_t i = 0; i < FG_COUNTOF(t); i++) {
		size_t n = rows(p, 2, t[i].v);

		tap_fails(fg_minishard_decode(&plain, p, n, 99, 147, &m, &err), &err,
		    FG_ECORRUPT, t[i].part, t[i].what);
	}
	tap_fails(fg_minishard_decode(&plain, p, 47, 99, 147, &m, &err), &err,
	    FG_ECORRUPT, "47 bytes, no multiple of 24", "a part of a row");
	tap_ok(m.n == 0 && !m.item, "outputs are untouched");
}

/* A small gzip file that unpacks to more than any index. */
static void
test_bomb(void)
{
	struct fg_sharding zipped = plain;
	struct fg_err err = FG_ERR_INIT;
	struct fg_minishard m = {0};
	struct fg_buf *b = NULL;
	size_t n = FG_MINISHARD_MAX + 24;
	uint8_t *zeros = fg_calloc(1, n);

	zipped.index_gzip = true;
	tap_rc(fg_compress(FG_CODING_GZIP, 1, zeros, n, &b, &err), &err, "a bomb");
	free(zeros);
	tap_fails(fg_minishard_decode(&zipped, b->data, b->len, 64, 64 + b->len, &m,
		      &err),
	    &err, FG_ECORRUPT, "more than the 67108864 bytes", "is refused");
	fg_buf_unref(b);
}

static void
test_choice(void)
{
	static const struct {
		int64_t grid[3];
		uint64_t bytes;
		int preshift, minishard, shard;
	} t[] = {
	    {{1, 1, 1}, 262144, 0, 0, 0},
	    {{8, 8, 8}, 262144, 9, 0, 0},
	    {{8, 9, 8}, 262144, 9, 1, 0},
	    {{1024, 1024, 512}, 262144, 9, 5, 15}, /* 4 GiB = 2^14 chunks */
	    {{1024, 1024, 512}, 2097152, 9, 2, 18},
	    {{1024, 1024, 512}, 512, 9, 8, 12},
	    {{1024, 1024, 512}, UINT64_C(1) << 29, 3, 0, 26},
	    {{1024, 1024, 512}, UINT64_C(1) << 40, 0, 0, 29},
	    {{INT64_C(1) << 32, INT64_C(1) << 32, 1}, 262144, 9, 5, 50},
	};
	struct fg_err err = FG_ERR_INIT;
	struct fg_sharding s;

	for (size_t i = 0; i < FG_COUNTOF(t); i++) {
		tap_rc(fg_sharding_choose(t[i].grid, t[i].bytes, true, &s, &err), &err,
		    "choose");
		tap_ok(s.present && !s.murmur && s.index_gzip && s.data_gzip &&
			   s.preshift_bits == t[i].preshift &&
			   s.minishard_bits == t[i].minishard &&
			   s.shard_bits == t[i].shard,
		    "row %zu: %d %d %d", i, s.preshift_bits, s.minishard_bits,
		    s.shard_bits);
	}
	static const int64_t large[3] = {INT64_C(1) << 32, INT64_C(1) << 32, 2};
	tap_fails(fg_sharding_choose(large, 1, false, &s, &err), &err, FG_ENOTSUP,
	    "keys of 65 bits", "more than 64 bits");
}

int
main(void)
{
	test_keys();
	test_names();
	test_grid();
	test_entries();
	test_index();
	test_bad_index();
	test_bomb();
	test_choice();
	return tap_done();
}
