/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TensorFlow's checkpoint container ("TensorBundle"), read without TensorFlow:
 * NAME.index (a LevelDB-style sorted table of protobuf entries) and
 * NAME.data-00000-of-00001 (the tensors' bytes). All checksums are verified.
 * Source: tensorflow/core/util/tensor_bundle and core/lib/io/format (the public
 * format), and the published FIB-25 checkpoint.
 */
#ifndef FG_FORMATS_BUNDLE_H
#define FG_FORMATS_BUNDLE_H

#include "base/err.h"

enum fg_tensor_type {
	FG_TENSOR_F32 = 1,
	FG_TENSOR_F64 = 2,
	FG_TENSOR_I32 = 3,
	FG_TENSOR_I64 = 9,
	FG_TENSOR_BF16 = 14,
	FG_TENSOR_F16 = 19,
};

#define FG_TENSOR_RANK_MAX 8

struct fg_tensor {
	const char *name;
	enum fg_tensor_type type;
	int rank;
	int64_t shape[FG_TENSOR_RANK_MAX]; /* slowest first, as in the checkpoint */
	const void
	    *data; /* little-endian, dense, at any alignment; lent with the bundle */
	size_t bytes;
};

struct fg_bundle;

/* Open from two byte ranges (lent until close; nothing is copied). `name` is used in
 * messages. Tensors of other types than those above are stepped over. Fails:
 * FG_ECORRUPT with what was found and wanted; FG_ENOTSUP for compression, big-endian,
 * several shards, partitioned tensors. */
struct fg_bundle *fg_bundle_open(const char *name, const uint8_t *index, size_t index_n,
    const uint8_t *data, size_t data_n, struct fg_err *err) FG_MUST_USE;
void fg_bundle_close(struct fg_bundle *b);

size_t fg_bundle_count(const struct fg_bundle *b);
/* Tensor i in key order. */
const struct fg_tensor *fg_bundle_get(const struct fg_bundle *b, size_t i);
/* By name, or NULL. */
const struct fg_tensor *fg_bundle_find(const struct fg_bundle *b, const char *name);

#endif
