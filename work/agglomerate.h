/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks and arrays of an agglomerated layer: base ids become public ids. */
#ifndef FG_WORK_AGGLOMERATE_H
#define FG_WORK_AGGLOMERATE_H

#include "store/object.h"
#include "work/catalog.h"

/* The stored chunk `ch` of a scale with public ids; a new reference to `bytes` itself
 * where they are the ids that it has. As fg_relabel_chunk. */
int fg_agglomerate_chunk(const struct fg_layer *l, struct fg_reader *r, int scale,
    const int64_t ch[3], struct fg_buf *bytes, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;

/* The same for n voxels in place. */
int fg_agglomerate_voxels(const struct fg_layer *l, struct fg_reader *r, uint64_t *vx,
    size_t n, struct fg_err *err) FG_MUST_USE;

#endif
