/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Morton (Z-order) codes of grid positions.
 *
 * fg_morton_encode: 21 bits an axis, x lowest; independent of any grid, used as key
 * in the chunk index. fg_morton_compressed: bits that a grid does not need are left
 * out, as the sharded precomputed format asks ("compressed Morton code").
 */
#ifndef FG_BASE_MORTON_H
#define FG_BASE_MORTON_H

#include "base/base.h"

#define FG_MORTON_AXIS_MAX ((INT64_C(1) << 21) - 1)

/* p: each 0..2^21-1 (asserted). Result below 2^63. */
uint64_t fg_morton_encode(const int64_t p[3]);
void fg_morton_decode(uint64_t code, int64_t p[3]);

/* p inside the grid (0 <= p < grid); bits in all must not exceed 64 (asserted). */
uint64_t fg_morton_compressed(const int64_t p[3], const int64_t grid[3]);

#endif
