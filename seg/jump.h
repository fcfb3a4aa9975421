/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where sections do not continue one another: between two neighbouring sections (z and
 * z + 1) a tile of the picture is best matched at a distance (a jump, one side of a
 * crack), or nowhere well (a lost or blank section). Floods that step across such a
 * place guess which neurite goes on as which, and merge (Januszewski et al. 2018 keep
 * fields of view off places with large shifts for that reason).
 */
#ifndef FG_SEG_JUMP_H
#define FG_SEG_JUMP_H

#include <jansson.h>

#include "base/array.h"

struct fg_jump_rule {
	int64_t shift;      /* voxels: a match this far away is a jump; 0: off */
	int64_t search;     /* voxels looked at to each side, at least `shift` */
	int64_t tile;       /* edge of a tile, voxels */
	double correlation; /* a best match below this is a jump, too; 0: never */
};

/* Off; a search of 8 voxels in tiles of 64 where it is switched on. */
void fg_jump_rule_default(struct fg_jump_rule *r);
/* Fields of a JSON object over what is in *r; unknown ones are refused. FG_EINVAL. */
int fg_jump_rule_parse(const json_t *obj, struct fg_jump_rule *r,
    struct fg_err *err) FG_MUST_USE;
json_t *fg_jump_rule_format(const struct fg_jump_rule *r) FG_MUST_USE;

/*
 * Set mask (u8, the image's shape) to 1 where a field of view of size fov would see
 * across a jump.
 *
 *   image   u8 or u16, (x, y, z, 1)
 *   at      voxel of the volume that is the image's first; tiles are counted from 0, so
 *           that boxes that overlap see the same tiles, but for those at their ends
 *
 * Matches are by normalised cross-correlation over the tile; a tile thinner than 16
 * voxels, or without contrast in either section, is left alone.
 * Returns the number of jumps. Cost: (2 search + 1)^2 operations a voxel.
 */
uint64_t fg_jump_mask(const struct fg_array *image, const int64_t at[3],
    const int64_t fov[3], const struct fg_jump_rule *rule, struct fg_array *mask);

#endif
