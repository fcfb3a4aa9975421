/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stitching: which objects of two overlapping blocks are one. A pure function of what
 * both blocks made of the same voxels.
 *
 * Evidence is counted within a box that both blocks computed (work/stitch.h says
 * which): for each pair of labels the voxels that have both, and those that have one of
 * them without the other. The rule:
 *
 *   1. Mutual choice. a and b join if each is the other's best partner (most shared
 *      voxels; of equals the lower number), they share at least `both_min` voxels, and
 *      either  both / (both + only_a + only_b) >= iou
 *      or      both / min(both + only_a, both + only_b) >= share.
 *   2. Fragments. b also joins its best partner a, although a has chosen another, if at
 *      least `fragment_share` of b's voxels in the box lie in a, and b has at most
 *      `fragment_max` voxels there. The same with a and b exchanged.
 *   3. Bad overlap. Neither joins if a third object shares at least `rival` of a's
 *      voxels in the box, or of b's: one block sees as one what the other sees as two,
 *      and which of them is right the box does not tell.
 *
 * By 1 an object joins at most one object of a neighbour; by 2 what lies in it for the
 * most part follows, up to `fragment_max` voxels. Two objects of one block therefore
 * come together only over objects of other blocks.
 *
 * How loose a rule may be depends on the objects (measured: bench/RESULTS.md). Where
 * each hangs together (seg/connected.h), what lies in another for the most part is a
 * fragment of it, however large, provided that it is enough to tell. Where objects are
 * as flooded, one may be pieces of two neurons; a loose rule then ties all of both to
 * it, in every block around, and only strict ones do.
 */
#ifndef FG_SEG_STITCH_H
#define FG_SEG_STITCH_H

#include <jansson.h>

#include "base/array.h"

struct fg_stitch_rule {
	/* Voxels looked at on each side of the plane between two cores, of those that
	 * both blocks computed: with a smaller halo no more than that. */
	int64_t near;
	double iou;   /* above 1: never */
	double share; /* above 1: never */
	double fragment_share;
	int64_t fragment_max; /* 0: no fragments join */
	int64_t both_min;
	double rival; /* above 1: no pair is refused for a third object */
};

/* For objects of at least `least` voxels that hang together, as new layers have them:
 * near 32, IoU 0.5 or share 0.8, and all fragments that share 0.8; less than the least
 * object in common is no evidence, for a sliver of 100 voxels lies in anything.
 * Fragments from 0.7 on do better on most grids of tissue and of phantoms, and join
 * what is not one on another (bench/RESULTS.md). */
void fg_stitch_rule_default(struct fg_stitch_rule *r, int64_t least);
/* For objects as they were flooded: near 4, IoU 0.5, no share, no fragments. It had the
 * smallest merge part there. Also what recipes mean that tell no rule. */
void fg_stitch_rule_strict(struct fg_stitch_rule *r);
/* Fields of a JSON object over what is in *r; unknown ones are refused. FG_EINVAL. */
int fg_stitch_rule_parse(const json_t *obj, struct fg_stitch_rule *r,
    struct fg_err *err) FG_MUST_USE;
json_t *fg_stitch_rule_format(const struct fg_stitch_rule *r) FG_MUST_USE;

struct fg_stitch_pair {
	uint32_t a, b; /* labels, both > 0 */
	uint64_t both, only_a, only_b;
	bool mutual; /* each the other's best */
	bool joined;
};

/*
 * Compare labels of the same box, u32 arrays of one shape, 0 = none. *out (malloc'ed,
 * ordered by a, then b) holds the pairs that are joined or of which at least a tenth of
 * either side is shared. Exchanging the arrays exchanges a and b and nothing else.
 * Cost: one pass over the voxels. Fails: FG_ENOMEM.
 */
int fg_stitch_compare(const struct fg_array *a, const struct fg_array *b,
    const struct fg_stitch_rule *rule, struct fg_stitch_pair **out, size_t *n,
    struct fg_err *err) FG_MUST_USE;

#endif
