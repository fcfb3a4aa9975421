/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resegmentation: whether two objects that touch are one, told by flooding again from
 * both sides (Januszewski et al. 2018; google/ffn inference/resegmentation.py and its
 * analysis, after their text).
 *
 * In a box round the contact both objects are erased, all others stay as obstacles.
 * From the thickest place of each object a flood starts afresh, first of the one with
 * fewer voxels in the box (of equals a). It should find its own object again; if it
 * finds less than `recovered` of it within the analysis box, it is tried from another
 * place. Two floods that fill the same voxels, and both objects, are evidence that the
 * objects are one; a flood that takes back much of what it had is evidence that it
 * leaks. A first flood that does not find both objects has decided, and the second,
 * which would be the dearer one, is left out: most contacts are of two cells.
 */
#ifndef FG_SEG_RESEGMENT_H
#define FG_SEG_RESEGMENT_H

#include <jansson.h>

#include "seg/segment.h"

struct fg_resegment_rule {
	/* Where: fg_contact_find. */
	int64_t reach; /* steps that objects grow to meet */
	int64_t faces; /* fewest faces of a contact */
	/* Least share of the smaller object, where two blocks overlap, that the one
	 * block gave to one of both and the other to the other (the evidence that
	 * stitching left, seg/stitch.h: a tenth or more). 0: contacts of all objects.
	 */
	double overlap;
	/* How; voxels to each side, x, y, z. */
	int64_t radius[3];   /* of the box round the contact */
	int64_t analysis[3]; /* of the box in which shares are counted */
	int64_t exclude[3];  /* round a start that failed: no other start there */
	int64_t retries;     /* further starts */
	/* The decision: all of these hold. */
	double iou;       /* both floods share at least this, of all that either has */
	double recovered; /* each flood finds at least this of each object */
	double deleted;   /* one flood, at least, took back at most this share */
};

/* What was published for 33^3 fields of view, in proportion: radius 3/2 of the field of
 * view, analysis one field of view, exclude one step; IoU 0.8, recovered 0.6, deleted
 * 0.02, one retry; contacts of at least 10 faces over gaps of up to 4 voxels. */
void fg_resegment_rule_default(struct fg_resegment_rule *r,
    const struct fg_net_shape *shape);
/* Fields of a JSON object over what is in *r; unknown ones are refused. FG_EINVAL. */
int fg_resegment_rule_parse(const json_t *obj, struct fg_resegment_rule *r,
    struct fg_err *err) FG_MUST_USE;
/* Of a new layer: whether the box round a contact is of a size that memory can hold.
 * FG_EINVAL. Recipes that exist may have larger ones. */
int fg_resegment_rule_check(const struct fg_resegment_rule *r,
    struct fg_err *err) FG_MUST_USE;
json_t *fg_resegment_rule_format(const struct fg_resegment_rule *r) FG_MUST_USE;

/* Values of fg_resegment_call.side. */
enum { FG_SIDE_FREE, FG_SIDE_A, FG_SIDE_B, FG_SIDE_OTHER };

struct fg_resegment_call {
	const struct fg_array *image; /* u8 or u16, (x, y, z, 1): the box */
	const struct fg_array *mask;  /* as struct fg_block_call, or NULL */
	const struct fg_array *side;  /* u8, same shape: whose voxel it was */
	int64_t at[3];                /* the contact, voxel of the box */
	const struct fg_flood_params *params;
	const struct fg_resegment_rule *rule;
	const _Atomic int *cls;     /* as struct fg_block_call */
	const _Atomic bool *cancel; /* polled at every step */
};

struct fg_resegment_result {
	bool flooded;           /* no side that was tried lacked a place to start */
	bool joined;            /* the decision */
	bool done[2];           /* the flood from a, from b; else all of it is 0 */
	uint64_t voxels[2];     /* of the flood from a, from b; whole box */
	uint64_t both, only[2]; /* in the analysis box */
	double recovered[2][2]; /* [flood][object], in the analysis box */
	double deleted[2];      /* share of its voxels that a flood took back */
	uint64_t steps;         /* fields of view, with failed starts */
};

/*
 * Try one contact. The result depends on the arguments alone. Cost: the fields of view
 * of at most 2 * (1 + retries) floods in the box. Fails: as fg_segment_block.
 */
int fg_resegment_pair(struct fg_batcher *b, const struct fg_resegment_call *call,
    struct fg_resegment_result *out, struct fg_err *err) FG_MUST_USE;

#endif
