/* SPDX-License-Identifier: Apache-2.0 */
/* TensorBundle: small checkpoints made here, with checksums that are right. */
#include "config.h"

#include "base/buf.h"
#include "base/hash.h"
#include "formats/bundle.h"
#include "tests/tap.h"

static uint32_t
masked(const void *p, size_t n)
{
	uint32_t c = fg_crc32c(0, p, n);

	return (c >> 15 | c << 17) + 0xa282ead8;
}

static struct fg_str made;

static void
put_varint(struct fg_str *s, uint64_t v)
{
	for (; v >= 0x80; v >>= 7)
		fg_str_put(s, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
	fg_str_put(s, &(uint8_t){(uint8_t)v}, 1);
}

static void
put_record(struct fg_str *s, const char *key, const void *value, size_t n)
{
	put_varint(s, 0);
	put_varint(s, strlen(key));
	put_varint(s, n);
	fg_str_puts(s, key);
	fg_str_put(s, value, n);
}

/* Append block contents with one restart point, then the trailer; returns its size. */
static size_t
put_block(const struct fg_str *records, uint8_t type)
{
	size_t at = made.len, n;
	uint32_t crc;

	fg_str_put(&made, records->data, records->len);
	fg_str_put(&made, "\0\0\0\0\1\0\0\0", 8);
	n = made.len - at;
	fg_str_put(&made, &type, 1);
	crc = masked(made.data + at, n + 1);
	fg_str_put(&made, &crc, 4);
	return n;
}

/* An index whose data block has these records, opened with 16 bytes of data. */
static int
open_made(struct fg_str *records, uint8_t type, struct fg_err *err)
{
	static const uint8_t magic[] = {0x57, 0xfb, 0x80, 0x8b, 0x24, 0x75, 0x47, 0xdb};
	static const uint8_t data[16];
	struct fg_str index = FG_STR_INIT, place = FG_STR_INIT, none = FG_STR_INIT;
	size_t data_n = put_block(records, type), meta_at = made.len, meta_n, index_at,
	       index_n;
	struct fg_bundle *b;

	meta_n = put_block(&none, 0);
	put_varint(&place, 0);
	put_varint(&place, data_n);
	put_record(&index, "z", place.data, place.len);
	index_at = made.len;
	index_n = put_block(&index, 0);
	place.len = 0;
	put_varint(&place, meta_at);
	put_varint(&place, meta_n);
	put_varint(&place, index_at);
	put_varint(&place, index_n);
	while (place.len < 40)
		fg_str_put(&place, "", 1);
	fg_str_put(&made, place.data, 40);
	fg_str_put(&made, magic, 8);
	b = fg_bundle_open("m", (uint8_t *)made.data, made.len, data, sizeof data, err);
	int rc = b ? (int)fg_bundle_count(b) : -1;
	fg_bundle_close(b);
	fg_str_fini(&made);
	fg_str_fini(&index);
	fg_str_fini(&place);
	fg_str_fini(records);
	return rc;
}

#define HEADER "\x08\1\x1a\2\x08\1"
#define RECORD(s, key, bytes) put_record(&(s), key, bytes, sizeof(bytes) - 1)

int
main(void)
{
	struct fg_err err = FG_ERR_INIT;
	uint32_t crc = masked("\0\0\0\0", 4);
	char entry[] = "\x08\1\x12\4\x12\2\x08\1\x20\4\x28\4\x35????";
	struct fg_str s = FG_STR_INIT;

	memcpy(entry + sizeof entry - 5, &crc, 4);
	RECORD(s, "", HEADER);
	put_record(&s, "a", entry, sizeof entry - 1);
	tap_int(open_made(&s, 0, &err), 1, "a made index with one float");
	tap_str(err.msg, "", "no message");
	RECORD(s, "", HEADER);
	tap_int(open_made(&s, 0, &err), 0, "no tensors");
	tap_fails(open_made(&s, 0, &err), &err, FG_ECORRUPT, "no header", "no records");
	put_record(&s, "a", entry, sizeof entry - 1);
	tap_fails(open_made(&s, 0, &err), &err, FG_ECORRUPT, "no header", "no header");
	RECORD(s, "", HEADER);
	tap_fails(open_made(&s, 1, &err), &err, FG_ENOTSUP, "compressed (type 1)",
	    "snappy");
	RECORD(s, "", "\x08\2");
	tap_fails(open_made(&s, 0, &err), &err, FG_ENOTSUP, "2 data files", "2 shards");
	RECORD(s, "", "\x08\1\x10\1");
	tap_fails(open_made(&s, 0, &err), &err, FG_ENOTSUP, "big-endian", "endianness");
	RECORD(s, "", "\x08\1\x1a\2\x10\2");
	tap_fails(open_made(&s, 0, &err), &err, FG_ENOTSUP, "version 2", "version");
	RECORD(s, "", "\x08\1\x1a\x7f");
	tap_fails(open_made(&s, 0, &err), &err, FG_ECORRUPT, "not a message",
	    "header cut off");
	RECORD(s, "", HEADER);
	put_record(&s, "b", entry, sizeof entry - 1);
	put_record(&s, "a", entry, sizeof entry - 1);
	tap_fails(open_made(&s, 0, &err), &err, FG_ECORRUPT, "out of order at \"a\"",
	    "keys");
	RECORD(s, "", HEADER);
	RECORD(s, "a", "\x08\1\x12\4\x12\2\x08\2\x28\4");
	tap_fails(open_made(&s, 0, &err), &err, FG_ECORRUPT,
	    "tensor a: has 4 bytes, its shape asks for 8", "shape against size");
	RECORD(s, "", HEADER);
	RECORD(s, "a", "\x08\1\x12\4\x12\2\x08\1\x28\4");
	tap_fails(open_made(&s, 0, &err), &err, FG_ECORRUPT, "not 00000000",
	    "checksum absent");
	RECORD(s, "", HEADER);
	RECORD(s, "a", "\x08\1\x12\4\x12\2\x08\1\x18\1\x28\4");
	tap_fails(open_made(&s, 0, &err), &err, FG_ECORRUPT, "data file 1 of 1",
	    "another shard");
	RECORD(s, "", HEADER);
	RECORD(s, "a", "\x08\1\x12\4\x12\2\x08\1\x20\x0d\x28\4");
	tap_fails(open_made(&s, 0, &err), &err, FG_ECORRUPT, "4 bytes at 13",
	    "beyond the data");
	RECORD(s, "", HEADER);
	RECORD(s, "a", "\x08\1\x28\4\x3a\0");
	tap_fails(open_made(&s, 0, &err), &err, FG_ENOTSUP, "partitioned", "slices");
	RECORD(s, "", HEADER);
	RECORD(s, "a",
	    "\x08\1\x12\x18\x12\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
	    "\x12\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x28\4");
	tap_fails(open_made(&s, 0, &err), &err, FG_ECORRUPT, "too large",
	    "shape that overflows");
	RECORD(s, "", HEADER);
	RECORD(s, "a",
	    "\x08\1\x12\x0d\x12\x0b\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\1");
	tap_fails(open_made(&s, 0, &err), &err, FG_ECORRUPT, "dimension 0 is -1",
	    "negative dimension");
	RECORD(s, "", HEADER);
	RECORD(s, "a",
	    "\x08\1\x12\x12\x12\0\x12\0\x12\0\x12\0\x12\0\x12\0\x12\0\x12\0\x12\0");
	tap_fails(open_made(&s, 0, &err), &err, FG_ENOTSUP, "more than 8", "rank 9");
	RECORD(s, "", HEADER);
	RECORD(s, "a", "\x08\7\x12\0\x28\4");
	tap_int(open_made(&s, 0, &err), 0, "a tensor of strings is stepped over");
	RECORD(s, "", HEADER);
	RECORD(s, "a", "\x08\7\x12\0\x28\x10");
	RECORD(s, "b", "\x08\7\x12\0\x28\1");
	tap_fails(open_made(&s, 0, &err), &err, FG_ECORRUPT, "overlaps", "overlap");
	RECORD(s, "", HEADER);
	RECORD(s, "zz", "");
	tap_fails(open_made(&s, 0, &err), &err, FG_ECORRUPT, "out of order",
	    "key above the block's bound");
	return tap_done();
}
