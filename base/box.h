/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Axis-aligned boxes of integer points, x, y, z order, half-open: lo <= p < hi.
 * The unit (voxels of a scale, chunks, blocks) is in the name of the variable.
 */
#ifndef FG_BASE_BOX_H
#define FG_BASE_BOX_H

#include "base/base.h"

struct fg_box {
	int64_t lo[3], hi[3];
};

static inline bool
fg_box_is_empty(const struct fg_box *b)
{
	return b->lo[0] >= b->hi[0] || b->lo[1] >= b->hi[1] || b->lo[2] >= b->hi[2];
}

/* Common part of a and b into out (may alias); false, with out empty, if none. */
static inline bool
fg_box_intersect(const struct fg_box *a, const struct fg_box *b, struct fg_box *out)
{
	for (int d = 0; d < 3; d++) {
		int64_t lo = FG_MAX(a->lo[d], b->lo[d]);
		int64_t hi = FG_MIN(a->hi[d], b->hi[d]);

		out->lo[d] = lo;
		out->hi[d] = FG_MAX(lo, hi);
	}
	return !fg_box_is_empty(out);
}

/* True if every point of `in` is in `out`. */
static inline bool
fg_box_contains(const struct fg_box *out, const struct fg_box *in)
{
	for (int d = 0; d < 3; d++) {
		if (in->lo[d] < out->lo[d] || in->hi[d] > out->hi[d])
			return false;
	}
	return true;
}

static inline bool
fg_box_equal(const struct fg_box *a, const struct fg_box *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

static inline void
fg_box_shape(const struct fg_box *b, int64_t shape[3])
{
	for (int d = 0; d < 3; d++)
		shape[d] = b->hi[d] - b->lo[d];
}

/* Number of points; the caller has checked that it does not overflow. */
static inline int64_t
fg_box_volume(const struct fg_box *b)
{
	if (fg_box_is_empty(b))
		return 0;
	return (b->hi[0] - b->lo[0]) * (b->hi[1] - b->lo[1]) * (b->hi[2] - b->lo[2]);
}

#endif
