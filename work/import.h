/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Import: other people's files -> a plain precomputed directory under ROOT/layers/NAME
 * (no row per chunk in the index), registered as a passive layer.
 *
 * A PNG stack is streamed by slabs of sections: memory is bounded by one chunk depth
 * (times the pyramid), not by the volume. Files are sorted naturally (2 before 10);
 * holes in the numbering, odd sizes and broken files are refused with the file named.
 * Writing goes to ROOT/layers/.NAME.importing and is renamed when complete.
 */
#ifndef FG_WORK_IMPORT_H
#define FG_WORK_IMPORT_H

#include "base/err.h"
#include "formats/info.h"

struct fg_import {
	const char *input; /* folder of .png, one .npy/.npz, or a precomputed dir */
	const char *root, *name; /* data directory and layer name */
	enum fg_volume_type type;
	double nm[3];      /* resolution */
	int64_t offset[3]; /* voxel_offset */
	int64_t chunk[3];  /* 64,64,64 */
	enum fg_encoding encoding;
	int jpeg_quality, png_level; /* -1: defaults */
	int scales;                  /* 0: until the volume fits one chunk */
	bool gzip;                   /* store chunks as NAME.gz */
	bool allow_holes; /* missing sections become zeros instead of an error */
	const _Atomic bool *cancel;
	void (*progress)(void *ctx, uint64_t done,
	    uint64_t all); /* voxels read; may be NULL */
	void *ctx;
};

struct fg_import_summary {
	int64_t size[3];
	double min, max, mean;         /* of scale 0 */
	uint64_t chunks, empty, bytes; /* over all scales */
	int scales;
};

/* Writes the directory; registering it as a layer is the caller's. */
int fg_import_run(const struct fg_import *im, struct fg_import_summary *sum,
    struct fg_err *err) FG_MUST_USE;

#endif
