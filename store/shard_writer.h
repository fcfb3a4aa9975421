/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing one shard file, datum by datum, in the order of the file: all of a minishard
 * one after the other, keys ascending, minishards ascending. Each minishard's index
 * follows its data; the head is filled in as they end. So memory is one minishard's
 * index (24 bytes a datum) and one write buffer, however large the shard is; whoever
 * writes brings the keys into order first (fg_shard_order).
 *
 * The file has a temporary name in its folder until it is complete. One thread.
 */
#ifndef FG_STORE_SHARD_WRITER_H
#define FG_STORE_SHARD_WRITER_H

#include "formats/shard.h"

struct fg_shard_writer;

/* What to sort by: shard, then minishard, then key. */
struct fg_shard_order {
	uint64_t shard, minishard, key;
};
void fg_shard_order_of(const struct fg_sharding *s, uint64_t key,
    struct fg_shard_order *out);
/* For qsort: any struct that begins with a struct fg_shard_order. */
int fg_shard_order_compare(const void *a, const void *b);

/* Begin the file of `shard` in the folder dir, which exists. s is copied. */
struct fg_shard_writer *fg_shard_writer_new(const char *dir,
    const struct fg_sharding *s, uint64_t shard, struct fg_err *err) FG_MUST_USE;

/* Append a datum as it is to be stored: gzipped by the caller if s->data_gzip. Fails
 * with FG_EINVAL if the key is of another shard or not behind the one before. */
int fg_shard_writer_put(struct fg_shard_writer *w, uint64_t key, const void *p,
    size_t n, struct fg_err *err) FG_MUST_USE;

/* The same for a datum that has `before` bytes of its own directly in front of it,
 * which its index entry leaves out: the fragments before the manifest of a
 * multi-resolution mesh. */
int fg_shard_writer_put_behind(struct fg_shard_writer *w, uint64_t key,
    const void *before, size_t before_n, const void *p, size_t n,
    struct fg_err *err) FG_MUST_USE;

/* Complete the file and give it its name; durable: fsync before that, and the folder
 * after. *size: its bytes. w is freed, also on failure (then the file is gone). */
int fg_shard_writer_end(struct fg_shard_writer *w, bool durable, uint64_t *size,
    struct fg_err *err) FG_MUST_USE;

/* Give up: the file is removed. NULL: nothing. */
void fg_shard_writer_free(struct fg_shard_writer *w);

#endif
