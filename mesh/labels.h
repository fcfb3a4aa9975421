/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Labels of any width renumbered to 1, 2, 3... for the code of this folder, which then
 * needs one kind of voxel and can count per label in plain tables.
 */
#ifndef FG_MESH_LABELS_H
#define FG_MESH_LABELS_H

#include "base/array.h"

struct fg_labels {
	int64_t shape[3]; /* that of the source and the margins */
	uint32_t *dense;  /* 0 background, else 1..count; x fastest. NULL after open */
	uint32_t count;
	uint64_t *id; /* id[k]: label of number k; id[0] = 0; count + 1 entries */
	/* private: of a source that is read layer by layer */
	const struct fg_array *src;
	int64_t lo[3];
	struct fg_label_table *table;
};

/*
 * Renumber in the order in which labels are met (x fastest).
 *
 *   src     u8, u16, u32 or u64; shape (x, y, z, 1), every extent >= 1
 *   only    labels to keep, others become 0; NULL: all
 *   lo, hi  layers of zeros to put before and behind each axis; NULL: none
 *
 * Cost: 4 bytes per voxel, one pass. The caller releases it with fg_labels_fini.
 * Fails: FG_EINVAL (type, shape), FG_ENOMEM, FG_ENOTSUP above 2^32 - 2 labels.
 */
int fg_labels_init(struct fg_labels *l, const struct fg_array *src,
    const uint64_t *only, size_t only_count, const int64_t lo[3], const int64_t hi[3],
    struct fg_err *err) FG_MUST_USE;

/*
 * The same layer by layer, for those who do not need all of it at once: fg_labels_open
 * makes an empty table (with `only`, a full one), fg_labels_layer renumbers layer z
 * (counted with the margins) into `to`, shape[0] * shape[1] numbers. Labels are
 * numbered when they are first met; count and id grow, and id may move. A layer may be
 * asked for again and has the same numbers then. src is lent until fg_labels_fini; its
 * voxels may not change and *l must not be moved until then.
 */
int fg_labels_open(struct fg_labels *l, const struct fg_array *src,
    const uint64_t *only, size_t only_count, const int64_t lo[3], const int64_t hi[3],
    struct fg_err *err) FG_MUST_USE;
int fg_labels_layer(struct fg_labels *l, int64_t z, uint32_t *to,
    struct fg_err *err) FG_MUST_USE;

void fg_labels_fini(struct fg_labels *l);

#endif
