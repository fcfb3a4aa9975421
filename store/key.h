/* SPDX-License-Identifier: Apache-2.0 */
/* Names of things that can be made and stored. */
#ifndef FG_STORE_KEY_H
#define FG_STORE_KEY_H

#include "base/base.h"

/* Values are stored in slabs: never renumber. */
enum fg_kind {
	FG_KIND_CHUNK = 1, /* encoded chunk; scale, at = Morton code of the chunk */
	FG_KIND_BLOCK = 2, /* a segment task; scale 0, at = Morton code of the block */
	FG_KIND_FACE = 3,  /* labels near the faces of a block; at as for BLOCK */
	FG_KIND_PROB = 4,  /* chunk of the probability layer that goes with a layer */
	FG_KIND_MESH = 5,  /* at = object id */
	FG_KIND_SKELETON = 6, /* at = object id */
	FG_KIND_STITCH = 7, /* block `at` was compared with its neighbours; no bytes */
	FG_KIND_RESEGMENT = 8, /* contacts of block `at` were flooded again; no bytes */
	FG_KIND_LAST = FG_KIND_RESEGMENT,
};

struct fg_key {
	uint32_t layer; /* row id in `layers` */
	uint8_t kind;   /* enum fg_kind */
	uint8_t scale;
	uint64_t at;
};

/* Whether a kind has generations and pieces: part and gen of struct fg_payload. */
static inline bool
fg_kind_is_artefact(int kind)
{
	return kind == FG_KIND_MESH || kind == FG_KIND_SKELETON;
}

static inline bool
fg_key_equal(const struct fg_key *a, const struct fg_key *b)
{
	return a->layer == b->layer && a->kind == b->kind && a->scale == b->scale &&
	       a->at == b->at;
}

#endif
