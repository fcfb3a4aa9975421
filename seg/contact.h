/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where objects touch: the candidates of resegmentation. Objects grow voxel by voxel
 * over background; where two meet they touch, also over the thin gap that flood filling
 * leaves between neighbours.
 */
#ifndef FG_SEG_CONTACT_H
#define FG_SEG_CONTACT_H

#include "base/array.h"
#include "base/box.h"

struct fg_contact_place {
	uint64_t a, b;  /* labels, a < b */
	uint64_t faces; /* voxel faces over which they meet */
	int64_t vx[3];  /* voxel of the array: of the places where the two are closest,
			   the one that is nearest to the middle of these */
};

/*
 * labels: u64, shape x, y, z; 0 = background. Each label grows by `reach` steps to the
 * six neighbours that are background (of several the lowest label). Counted are faces
 * whose lower voxel is in `own` (voxels of the array), so that boxes that tile a volume
 * find each face once, if each is seen with `reach` + 1 voxels around it. Pairs with
 * fewer than `faces_min` faces are left out. *out (malloc'ed) is ordered by a, b.
 *
 * Memory: 9 bytes a voxel and 40 a face. Fails: FG_ENOMEM, FG_EINVAL (more than 2^31
 * voxels).
 */
int fg_contact_find(const struct fg_array *labels, const struct fg_box *own,
    int64_t reach, uint64_t faces_min, struct fg_contact_place **out, size_t *n,
    struct fg_err *err) FG_MUST_USE;

#endif
