/* SPDX-License-Identifier: Apache-2.0 */
/*
 * neuroglancer_uint64_sharded_v1 (neuroglancer/src/datasource/precomputed/sharded.md):
 * many small data, each with a 64-bit key, in few files.
 *
 *   hash(key >> preshift)   low minishard_bits: minishard; the next shard_bits: shard
 *   SHARD.shard             head: 2^minishard_bits pairs (begin, end) of minishard
 *                           indices, counted from the end of the head; data; indices
 *   minishard index         24 bytes a datum in three rows: key (differences), offset
 *                           (from the end of the datum before), stored length
 *
 * The key of a volume's chunk is the compressed Morton code of its grid position.
 * Functions of bytes only: files are read in store/shards.h, written in
 * store/shard_writer.h. All offsets outside of the encoded forms are counted from the
 * begin of the file.
 */
#ifndef FG_FORMATS_SHARD_H
#define FG_FORMATS_SHARD_H

#include "formats/info.h"

/* Largest minishard index that is decoded: 2.8 million data. Limit: larger ones would
 * need an index that is searched without holding it. */
#define FG_MINISHARD_MAX (UINT64_C(64) << 20)

/* The low 64 bits of MurmurHash3_x86_128 with seed 0 over the key's 8 bytes. */
uint64_t fg_shard_murmur(uint64_t key);

/* Where a key is. */
void fg_shard_locate(const struct fg_sharding *s, uint64_t key, uint64_t *shard,
    uint64_t *minishard);

/* The number of shards is 2^shard_bits; "0a.shard". */
#define FG_SHARD_NAME 24
void fg_shard_name(const struct fg_sharding *s, uint64_t shard,
    char out[FG_SHARD_NAME]);

/* Bytes of the head of each shard file: 16 * 2^minishard_bits. */
uint64_t fg_shard_head(const struct fg_sharding *s);

/* Bits of the compressed Morton codes of a grid; more than 64 cannot be keys. */
int fg_shard_key_bits(const int64_t grid[3]);
/* The grid position of a code; false if the code is of no position in the grid. */
bool fg_shard_key_decode(uint64_t code, const int64_t grid[3], int64_t ch[3]);

struct fg_range64 {
	uint64_t off, len; /* bytes of the file */
};

/* One pair of the head (16 bytes at 16 * minishard) of a file of `size` bytes: the
 * place of a minishard's index; length 0: the minishard is empty.
 * Fails: FG_ECORRUPT (begin behind end, beyond the file), FG_ENOTSUP (above
 * FG_MINISHARD_MAX). */
int fg_shard_entry_decode(const struct fg_sharding *s, const uint8_t p[16],
    uint64_t minishard, uint64_t size, struct fg_range64 *out,
    struct fg_err *err) FG_MUST_USE;

struct fg_shard_item {
	uint64_t key, off, len; /* off: from the begin of the file; len: as stored */
};

/* An index, decoded: items in strictly ascending order of key and of place. */
struct fg_minishard {
	size_t n;
	struct fg_shard_item *item; /* owned */
};

/*
 * The index p[0..n) as stored (s says whether gzipped) -> items.
 *   at     where those bytes are; no datum may overlap them
 *   size   bytes of the file; no datum may end beyond
 * Fails: FG_ECORRUPT with found and wanted; FG_ENOTSUP above FG_MINISHARD_MAX.
 */
int fg_minishard_decode(const struct fg_sharding *s, const uint8_t *p, size_t n,
    uint64_t at, uint64_t size, struct fg_minishard *out,
    struct fg_err *err) FG_MUST_USE;
void fg_minishard_fini(struct fg_minishard *m);
/* The item of a key, or NULL. */
const struct fg_shard_item *fg_minishard_find(const struct fg_minishard *m,
    uint64_t key);

/* Items -> the index as it is stored. The items must be in ascending order of key, and
 * each begin where the one before ends or later, behind the head (asserted). */
int fg_minishard_encode(const struct fg_sharding *s, const struct fg_shard_item *item,
    size_t n, struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

/*
 * Parameters for a volume of that chunk grid and so many bytes a chunk, at most: up to
 * 512 neighbouring chunks share a minishard (its index is below 12 KiB, one read), up
 * to 256 minishards a shard, a shard holds at most 4 GiB, and the bits that are left
 * number the shards. Hash identity (neighbours in space are neighbours in a file),
 * index gzipped, data gzipped if `gzip`. Fails: FG_ENOTSUP for grids that need more
 * than 64 bits.
 */
int fg_sharding_choose(const int64_t grid[3], uint64_t chunk_bytes, bool gzip,
    struct fg_sharding *out, struct fg_err *err) FG_MUST_USE;

#endif
