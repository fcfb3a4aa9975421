/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The recipe of a generated segmentation layer: everything its voxels are a function
 * of. Fixed when the layer is created, stored in the index by its SHA-256, named by
 * the provenance of every result. Other parameters mean another layer.
 *
 * Geometry. Blocks tile the volume of the inference scale from its voxel_offset;
 * block b (grid position) has the core  offset + b * block .. + block, cut at the end
 * of the volume. A segment task computes core + halo (also cut) and stores the core.
 * Chunks tile blocks: block is a multiple of the chunk size.
 *
 * Ids: bx | by | bz | local, most significant first, in all at most 53 bits; local is
 * the object's number (1...) in flood order within its block.
 */
#ifndef FG_WORK_RECIPE_H
#define FG_WORK_RECIPE_H

#include "base/box.h"
#include "formats/info.h"
#include "seg/resegment.h"
#include "seg/segment.h"
#include "seg/stitch.h"
#include "work/passes.h"

#define FG_LOCAL_BITS 20

struct fg_recipe {
	char *image;                      /* name of the image layer, for people */
	char image_uuid[37];              /* its uuid */
	char image_sha256[FG_SHA256_HEX]; /* of its info as compact JSON */
	char image_scale[64];             /* key of the scale on which inference runs */
	char *model;                      /* path as given (prefix of a checkpoint) */
	char model_sha256[FG_SHA256_HEX];
	struct fg_net_shape shape;
	enum fg_precision precision; /* resolved: never `auto` */
	struct fg_flood_params flood;
	int64_t block[3], halo[3];    /* voxels */
	int bits[3];                  /* id bits of bx, by, bz (one spare each) */
	bool prob;                    /* keep the probability map as layer NAME.prob */
	double mesh_error_nm;         /* largest error of meshes; < 0: not given */
	struct fg_stitch_rule stitch; /* how blocks are compared; recipes without it
					 have the strict one */
	/* How contacts are flooded again; those without it have the default. */
	struct fg_resegment_rule resegment;
	struct fg_passes passes; /* beside the plain flooding of a block */
};

int fg_recipe_parse(const char *json, struct fg_recipe *r,
    struct fg_err *err) FG_MUST_USE;
/* Compact JSON with sorted keys (its SHA-256 is the recipe's). free(). */
char *fg_recipe_format(const struct fg_recipe *r) FG_MUST_USE;
void fg_recipe_fini(struct fg_recipe *r);

/* Choose r->bits for a volume; FG_EINVAL when bx+by+bz+local would pass 53 bits. */
int fg_recipe_plan_ids(struct fg_recipe *r, const struct fg_scale *s,
    struct fg_err *err) FG_MUST_USE;

/* Extent of the block grid over the scale. */
void fg_recipe_grid(const struct fg_recipe *r, const struct fg_scale *s,
    int64_t grid[3]);
/* Core, and core + halo cut at the volume, of block blk; voxels of the scale. */
void fg_recipe_core(const struct fg_recipe *r, const struct fg_scale *s,
    const int64_t blk[3], struct fg_box *core);
void fg_recipe_box(const struct fg_recipe *r, const struct fg_scale *s,
    const int64_t blk[3], struct fg_box *box);
/* The block that a chunk of the finest scale belongs to. */
void fg_recipe_block_of(const struct fg_recipe *r, const struct fg_scale *s,
    const int64_t ch[3], int64_t blk[3]);
/* Fields of view that flooding a block of that size takes, about: core + halo cut at
 * the volume. From the sample of FIB-25; other networks and volumes may need half of it
 * or several times as many. */
double fg_recipe_fovs(const struct fg_recipe *r, const struct fg_scale *s,
    const int64_t block[3]);
/* Global id of local object number n (1 ..) of a block. */
uint64_t fg_recipe_id(const struct fg_recipe *r, const int64_t blk[3], uint32_t local);
/* Block and local number of an id; false if no block of the grid has it. */
bool fg_recipe_id_parse(const struct fg_recipe *r, const struct fg_scale *s,
    uint64_t id, int64_t blk[3], uint32_t *local);

#endif
