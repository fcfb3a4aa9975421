/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Other labels in an encoded chunk, for views of a segmentation in which objects are
 * joined: the voxels stay, only what they are called changes.
 */
#ifndef FG_FORMATS_RELABEL_H
#define FG_FORMATS_RELABEL_H

#include "base/buf.h"
#include "formats/info.h"

/* Replace n labels in place. Called once a chunk, with each label at least once. */
typedef int fg_relabel_fn(void *ctx, uint64_t *label, size_t n, struct fg_err *err);

/*
 * The chunk in `bytes` (encoded as `s` says, of the given shape, one channel of uint64)
 * with its labels replaced by fn. Where fn changes nothing, *out is a new reference to
 * `bytes` itself, so equal content keeps equal bytes. compressed_segmentation has its
 * tables rewritten; other encodings are decoded and encoded again. Fails: FG_ECORRUPT,
 * FG_ENOTSUP (another data type), FG_ENOMEM, as fn.
 */
int fg_relabel_chunk(const struct fg_scale *s, enum fg_dtype dtype,
    const int64_t shape[4], struct fg_buf *bytes, fg_relabel_fn *fn, void *ctx,
    struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

/* n labels in place, as fn has them. */
int fg_relabel_voxels(uint64_t *label, size_t n, fg_relabel_fn *fn, void *ctx,
    struct fg_err *err) FG_MUST_USE;

#endif
