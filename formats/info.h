/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `info` file of a multiscale volume in Neuroglancer's precomputed format
 * (neuroglancer/src/datasource/precomputed/volume.md), and the names of its chunks.
 *
 * A scale's grid: cell g (0 <= g < fg_scale_grid) covers the voxels
 *   lo = voxel_offset + g * chunk_size,  hi = min(lo + chunk_size, voxel_offset + size)
 * in the frame of that scale; the file is KEY/x0-x1_y0-y1_z0-z1 with those numbers.
 */
#ifndef FG_FORMATS_INFO_H
#define FG_FORMATS_INFO_H

#include <jansson.h>

#include "base/array.h"
#include "base/box.h"
#include "base/buf.h"
#include "base/err.h"

/* What an info file describes: a volume, or one of the things that go with one and are
 * also found alone, in a folder of their own. */
enum fg_volume_type {
	FG_IMAGE,
	FG_SEGMENTATION,
	FG_ONLY_ANNOTATIONS,
	FG_ONLY_SKELETONS,
	FG_ONLY_MESHES,
	FG_ONLY_PROPERTIES, /* of segments */
};

enum fg_encoding {
	FG_ENC_RAW,
	FG_ENC_JPEG,
	FG_ENC_PNG,
	FG_ENC_CSEG, /* compressed_segmentation */
	FG_ENC_COMPRESSO,
	FG_ENC_JXL,
	FG_ENCODINGS
};

/* neuroglancer_uint64_sharded_v1 parameters; present is false for unsharded scales. */
struct fg_sharding {
	bool present;
	bool murmur;     /* hash: murmurhash3_x86_128, else identity */
	bool index_gzip; /* minishard_index_encoding */
	bool data_gzip;  /* data_encoding */
	int preshift_bits, minishard_bits, shard_bits;
};

struct fg_scale {
	char *key;         /* directory, relative to the info file; as written there */
	double nm[3];      /* "resolution": nanometres per voxel */
	int64_t offset[3]; /* "voxel_offset": voxels of this scale; may be negative */
	int64_t size[3];   /* voxels, each >= 1 */
	int64_t chunk[3];  /* the first of "chunk_sizes", voxels; below 2^31 bytes */
	enum fg_encoding encoding;
	int64_t cseg_block[3]; /* compressed_segmentation_block_size; 8,8,8 otherwise */
	int jpeg_quality;      /* 0..100, -1 = not given */
	int png_level;         /* 0..9, -1 = not given */
	int jxl_quality;       /* 1..99, 100 = lossless, 0 = not given */
	int jxl_effort;        /* 1..9, 0 = not given */
	bool hidden;
	struct fg_sharding sharding;
};

#define FG_SCALES_MAX 32

struct fg_info {
	enum fg_volume_type type;
	enum fg_dtype dtype;
	int channels; /* 1..1024; 1 for segmentation */
	int scales;   /* their number, 1..FG_SCALES_MAX; 0 is the finest. None of what
			 is no volume */
	struct fg_scale scale[FG_SCALES_MAX];
	char *mesh, *skeletons, *segment_properties; /* directories or NULL */
	const char *at_type; /* what is no volume: "@type", constant; else NULL */
};

/* "image", "segmentation", "annotations", "skeletons", "meshes", "segment_properties".
 */
const char *fg_volume_type_name(enum fg_volume_type t);

/* Read an info file. Unknown keys are ignored, impossible values refused with key and
 * value named (FG_EINVAL; FG_ENOTSUP for another "@type" than a volume, a redirect,
 * directories that are not below the info file, and sharded scales of more chunks than
 * 64-bit keys tell apart). Encodings that this build lacks pass: such chunks can still
 * be handed on as they are. Directories of an image are ignored. Zeroes *info first;
 * release with fg_info_fini. */
int fg_info_parse(const char *text, size_t n, struct fg_info *info,
    struct fg_err *err) FG_MUST_USE;
/* The same, and what is no volume by itself passes as well: annotations, skeletons,
 * meshes and segment properties, with type and at_type filled and no scales. Of these
 * only what tells how the rest is read is checked. */
int fg_info_parse_any(const char *text, size_t n, struct fg_info *info,
    struct fg_err *err) FG_MUST_USE;
void fg_info_fini(struct fg_info *info);
/* Deep copy; dst is overwritten. */
void fg_info_copy(struct fg_info *dst, const struct fg_info *src);
/* The info as JSON, keys as clients expect them ("@type" included). json_decref(). */
json_t *fg_info_format(const struct fg_info *info) FG_MUST_USE;

/* The "sharding" object of any info file; s->present is not looked at. */
json_t *fg_sharding_format(const struct fg_sharding *s) FG_MUST_USE;

const char *fg_encoding_name(enum fg_encoding e); /* "raw", ... */
int fg_encoding_parse(const char *name, enum fg_encoding *out,
    struct fg_err *err) FG_MUST_USE;

/* Index of the scale with this key, -1 if there is none. */
int fg_info_find_scale(const struct fg_info *info, const char *key, size_t n);

/* Extent of the chunk grid: ceil(size / chunk). */
void fg_scale_grid(const struct fg_scale *s, int64_t grid[3]);
/* All voxels of the scale. */
void fg_scale_bounds(const struct fg_scale *s, struct fg_box *vx);
/* Voxels of chunk ch (inside the grid), cut at the volume's end. */
void fg_scale_chunk_box(const struct fg_scale *s, const int64_t ch[3],
    struct fg_box *vx);

#define FG_CHUNK_NAME 144 /* bytes for any chunk name with its NUL */
void fg_chunk_name_format(const struct fg_box *vx, char out[FG_CHUNK_NAME]);
/* Strict: decimal, no leading zeros, no plus sign, no "-0", nothing left over, begin
 * below end, numbers within +-2^53 (so that their differences cannot overflow): each
 * box has one name. False if the text is not of that form. */
bool fg_chunk_name_parse(const char *text, size_t n, struct fg_box *vx);
/* The cell that is exactly vx; false if vx is not a chunk of the scale's grid. */
bool fg_scale_chunk_find(const struct fg_scale *s, const struct fg_box *vx,
    int64_t ch[3]);

#endif
