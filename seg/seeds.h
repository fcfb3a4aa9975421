/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where floods start: the policy PolicyPeaks (google/ffn inference/seed.py), bit for
 * bit. Edges of the image (Sobel magnitude above its own Gaussian blur) are found,
 * and the local maxima of the distance to them are the seeds, in z, y, x order. Ties
 * between equal distances are broken by noise of a fixed generator, so a box always
 * has the same seeds.
 */
#ifndef FG_SEG_SEEDS_H
#define FG_SEG_SEEDS_H

#include "base/array.h"
#include "seg/net.h"

struct fg_seeds {
	size_t n;
	int32_t (*at)[3]; /* voxel of the box, x, y, z; ascending by z, y, x */
	/* For tests and logs. */
	size_t peaks;        /* before those near the border were dropped */
	double edge;         /* fraction of voxels that are edges */
	double distance_max; /* smallest voxel edge = 1 */
};

/*
 *   image     u8 or u16, (x, y, z, 1)
 *   mask      u8, same shape, not 0 = no data: counts as edge; or NULL
 *   shape     normalisation, and the field of view, half of which is the margin
 *   voxel_nm  voxel size x, y, z (only their ratio matters)
 *   cancel    polled, or NULL
 *
 * Fails: FG_ENOMEM, FG_ECANCELED. Memory while it runs: 9 bytes a voxel. Released
 * with fg_seeds_fini.
 */
int fg_seeds_peaks(const struct fg_array *image, const struct fg_array *mask,
    const struct fg_net_shape *shape, const double voxel_nm[3],
    const _Atomic bool *cancel, struct fg_seeds *out, struct fg_err *err) FG_MUST_USE;
void fg_seeds_fini(struct fg_seeds *s);

/* ---- the parts, for their tests */

/* The generator of the noise: MT19937, doubles in [0, 1) as numpy makes them. */
struct fg_mt19937 {
	uint32_t state[624];
	int next;
};
void fg_mt19937_init(struct fg_mt19937 *g, uint32_t seed);
double fg_mt19937_double(struct fg_mt19937 *g);

/*
 * Squared Euclidean distance from each voxel to the nearest one with edge != 0, the
 * voxel's edges being step[] long; INFINITY where there is no edge at all. Exact
 * (Felzenszwalb and Huttenlocher, 2012) but for float rounding; whole numbers up to
 * 2^24 are kept exactly. dist: shape[0] * shape[1] * shape[2] floats.
 */
int fg_seeds_distance2(const uint8_t *edge, const int64_t shape[3],
    const double step[3], float *dist, struct fg_err *err) FG_MUST_USE;

#endif
