/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Import: other people's files -> a plain precomputed directory under ROOT/layers/NAME
 * (no row per chunk in the index), to be registered as a passive layer.
 *
 * Input is what work/stack.h reads. Sections are streamed: memory is bounded by one
 * chunk depth of sections (times the pyramid), not by the volume.
 *
 * Writing goes to ROOT/layers/.NAME.importing, which is locked, synced and renamed
 * when complete and removed on failure. An import that was cancelled or killed is gone
 * on with by the next one of that name, if input and options are the same: every
 * `checkpoint_ms` what is not on disk yet (the begun rows of chunks of all scales) is
 * saved there. Otherwise what it left is removed.
 */
#ifndef FG_WORK_IMPORT_H
#define FG_WORK_IMPORT_H

#include "base/err.h"
#include "formats/info.h"

struct fg_import {
	const char *input;       /* a folder of .png, a .npy or a .npz[:member] */
	const char *root, *name; /* data directory and layer name */
	enum fg_volume_type type;
	double nm[3];      /* resolution */
	int64_t offset[3]; /* voxel_offset */
	int64_t chunk[3];  /* 64,64,64 */
	enum fg_encoding encoding;
	int jpeg_quality, png_level; /* -1: defaults */
	int jxl_quality, jxl_effort; /* 0: defaults; quality 100 is lossless */
	int scales;                  /* 0: until the volume fits one chunk */
	bool gzip;                   /* store chunks as NAME.gz */
	bool floor, sparse; /* how coarser scales are made, see work/pyramid.h */
	int checkpoint_ms;  /* least time between two savings; 0: 20 s */
	bool allow_holes;   /* missing sections become zeros instead of an error */
	const _Atomic bool *cancel; /* may be NULL */
	/* Voxels read so far and in all; on the caller's thread. May be NULL. */
	void (*progress)(void *ctx, uint64_t done, uint64_t all);
	void *ctx;
};

struct fg_import_summary {
	enum fg_dtype dtype;
	int64_t size[3];
	int channels;
	double min, max, mean;         /* of scale 0; NaN voxels do not count */
	uint64_t chunks, empty, bytes; /* over all scales */
	uint64_t chunks0, empty0;      /* of scale 0: empty = all voxels zero */
	int64_t holes;                 /* sections filled with zeros */
	int64_t kept;                  /* sections that an earlier try had dealt with */
	int scales;
};

/*
 * Writes the directory; registering it as a layer is the caller's.
 *
 * Labels (type FG_SEGMENTATION) are made coarser by the most frequent label, images by
 * the mean. Where the encoding is compressed_segmentation, 8- and 16-bit labels are
 * stored as 32-bit ones; signed labels become unsigned, a negative one is refused.
 * Fails: FG_EINVAL (bad input or option; name taken), FG_EBUSY (the same name is being
 * imported), FG_EFULL, FG_EIO, FG_ECORRUPT, FG_ENOTSUP, FG_ENOMEM: then nothing of it
 * is left. FG_ECANCELED: what was done stays for the next call.
 */
int fg_import_run(const struct fg_import *im, struct fg_import_summary *sum,
    struct fg_err *err) FG_MUST_USE;

/* Delete ROOT/layers/NAME with everything in it. FG_ENOENT if there is none. */
int fg_import_discard(const char *root, const char *name,
    struct fg_err *err) FG_MUST_USE;

#endif
