/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Oversegmentation consensus of two segmentations of one box (Januszewski et al. 2018):
 * voxels stay together where both say so. A merge error stays only where both make it;
 * splits add up.
 *
 * Each pair (a, b) of labels that occur together, a != 0, becomes an object; b may be
 * 0. The pair with the most voxels of an a keeps its name (of equals the lower b), the
 * others are numbered from the largest a + 1 on, by a, then b. Pairs of fewer than
 * `least` voxels become 0. Where a is 0, the result is.
 */
#ifndef FG_SEG_CONSENSUS_H
#define FG_SEG_CONSENSUS_H

#include "base/array.h"

/* a, b: u32, one shape; out: u32 of that shape, may be a. Fails: FG_ENOMEM, FG_EFULL
 * (names above 2^32 - 1). Cost: a sort of the runs of equal pairs. */
int fg_consensus_split(const struct fg_array *a, const struct fg_array *b,
    uint64_t least, struct fg_array *out, struct fg_err *err) FG_MUST_USE;

#endif
