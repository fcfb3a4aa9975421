/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a recipe may ask for beside the plain flooding of each block. As JSON, in a
 * recipe and in the description of a new layer; what a recipe does not name is off, and
 * so it is in a description, but for "pieces":
 *
 *   "consensus": {"least": 1000, "model": FILE, "scale": KEY}   the block is flooded a
 *                second time with its seeds in reverse order, by the weights in `model`
 *                (default the layer's own) and on that scale of the image (default the
 *                same one, where the rules below forbid nothing); what either splits is
 *                split (seg/consensus.h), pieces below `least` voxels are dropped. With
 *                a model also "fov", "delta", "mean" and "stddev" (default as the file
 *                says, else as the layer's own) and "sha256" (must be the file's); a
 *                recipe has them all.
 *   "pieces": {"least": N} or true or false   after all flooding, objects whose voxels
 *                do not hang together are taken apart (seg/connected.h), pieces below
 *                `least` voxels are dropped. A new layer does so unless it says false,
 *                with the min_segment_size of its floods for `least` unless told; its
 *                recipe has the number, or no such key.
 *   "coarse": {"scale": KEY, "least": 1000}   a coarser scale of the image is flooded
 *                first; its objects of at least that many of its voxels are kept, and
 *                the finer scale fills what is left
 *   "missing": [z, ...]                 sections (voxels of the inference scale) where
 *                no flood starts and no field of view is centred. A field of view moves
 *                several sections at once, and would step over a single one: a new
 *                layer's recipe has as many about each as that (fg_passes_widen). The
 *                floods of a coarser scale ("coarse", "consensus" on one) do not heed
 *                them
 *   "jumps": fields of struct fg_jump_rule (seg/jump.h): nor where sections do not
 *                continue one another
 *   "mask": {"layer": NAME or NAME@KEY, "from": 1, "to": 2^53}   nor where that layer,
 *                at that scale, has such a value; it may be coarser than the image and
 *                is 0 where it has no data or ends. In a recipe also "uuid", "sha256"
 *                of its info and "scale".
 */
#ifndef FG_WORK_PASSES_H
#define FG_WORK_PASSES_H

#include <jansson.h>

#include "base/hash.h"
#include "formats/info.h"
#include "seg/jump.h"
#include "seg/net.h"

struct fg_passes {
	bool consensus;
	int64_t consensus_least;
	char consensus_scale[64]; /* "": that of the layer */
	char *consensus_model;    /* path; owned; NULL: that of the layer */
	char consensus_sha256[FG_SHA256_HEX];
	struct fg_net_shape consensus_shape; /* fov 0: not told */
	bool pieces;
	int64_t pieces_least;
	char coarse[64]; /* key of a scale; "": none */
	int64_t coarse_least;
	int64_t *missing; /* ascending; owned */
	size_t missings;
	struct fg_jump_rule jumps;
	char mask[65]; /* name of the layer, for people; "": none */
	char mask_uuid[37], mask_sha256[FG_SHA256_HEX], mask_scale[64];
	int64_t mask_from, mask_to;
};

/* All off. */
void fg_passes_default(struct fg_passes *p);
/* The keys above, out of an object that may have others; *p is as fg_passes_default
 * left it, but that `pieces` may be set. The mask's layer as it stands, `scale` from
 * behind its @ or from its own key. Fails: FG_EINVAL; *p is finished then. */
int fg_passes_parse(const json_t *obj, struct fg_passes *p,
    struct fg_err *err) FG_MUST_USE;
/* Make of each missing section `step` (1 or more) of them, with it in the middle.
 * FG_EINVAL: too many; *p is as it was. */
int fg_passes_widen(struct fg_passes *p, int64_t step, struct fg_err *err) FG_MUST_USE;
/* Add what is on to an object. */
void fg_passes_format(const struct fg_passes *p, json_t *obj);
void fg_passes_fini(struct fg_passes *p);

#endif
