/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes in the files of other programs, read box by box where they are: HDF5
 * datasets, TIFF files, folders of images, Zarr and N5 arrays, NIfTI images, NumPy
 * arrays. One table of functions per kind; a kind that needs a library which this build
 * lacks is FG_ENOTSUP when opened.
 *
 *   hdf5  FILE:/PATH/OF/DATASET     formats/hdf5.c   libhdf5
 *   tiff  FILE                      formats/tiff.c   libtiff
 *   stack FOLDER of images          formats/sections.c
 *   zarr  FOLDER                    formats/zarr.c   (blosc: c-blosc)
 *   n5    FOLDER                    formats/n5.c     (blosc: c-blosc)
 *   nifti FILE.nii, FILE.nii.gz     formats/nifti.c
 *   npy   FILE.npy                  formats/npy_file.c
 *
 * A reader is immutable after opening and may be read by any number of threads.
 */
#ifndef FG_FORMATS_FOREIGN_H
#define FG_FORMATS_FOREIGN_H

#include "base/array.h"
#include "formats/info.h"

struct fg_foreign_scale {
	int64_t size[3];  /* voxels */
	int64_t chunk[3]; /* what is stored together; 0 where that says nothing */
	double nm[3];     /* resolution, 0 = the file does not tell */
};

struct fg_foreign;

struct fg_foreign_ops {
	const char *kind;
	int (*open)(struct fg_foreign *r, const char *path, const char *axes,
	    struct fg_err *err);
	int (*box)(struct fg_foreign *r, int scale, const struct fg_box *vx,
	    struct fg_array *out, struct fg_err *err);
	void (*close)(struct fg_foreign *r); /* also after a failed open */
};

struct fg_foreign {
	const struct fg_foreign_ops *ops;
	enum fg_dtype dtype;
	int channels;
	int scales;
	struct fg_foreign_scale scale[FG_SCALES_MAX];
	int64_t piece[2];    /* tiff, stack: pixels (x, y) of a section that are decoded
				together, whatever part is read; 0: other kinds */
	int64_t holes;       /* stack: missing sections, which read as 0 */
	const uint8_t *hole; /* [z] 1: missing; NULL: none is */
	const char *gap;     /* what is missing, for people; NULL: nothing */
	void *priv;
};

/*
 * Open. axes: the order of the axes as letters of x, y, z and c, slowest first ("zyx",
 * "czyx"; N5 counts the other way round, so there "xyz" is the usual one); NULL: as the
 * file says, else the usual order of its kind (NIfTI counts as N5 does). Fails with the
 * file named: FG_ENOENT, FG_ENOTSUP (types and encodings that are not read), FG_EINVAL
 * (axes), FG_ECORRUPT.
 */
struct fg_foreign *fg_foreign_open(const char *kind, const char *path, const char *axes,
    struct fg_err *err) FG_MUST_USE;
void fg_foreign_close(struct fg_foreign *r);

/* Voxels of a box inside the scale; out: the reader's dtype, the box's shape, its
 * channels. Stored pieces that do not exist are the file's fill value. */
int fg_foreign_box(struct fg_foreign *r, int scale, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err) FG_MUST_USE;

/* --- for the kinds */

#define FG_FOREIGN_AXES 5 /* at most: t (of extent 1), c, z, y, x */

/* Which axis of a file is which of ours. */
struct fg_axes {
	int rank;
	int8_t of[FG_FOREIGN_AXES]; /* 0 x, 1 y, 2 z, 3 c; -1: of extent 1, left out */
	int64_t size[FG_FOREIGN_AXES];
};

/* The letters `text` (NULL: `usual`) for `rank` axes of those sizes; "t" and other
 * letters need extent 1. Fills shape (x, y, z, channel). */
int fg_axes_parse(struct fg_axes *a, const char *text, const char *usual, int rank,
    const int64_t *size, int64_t shape[4], struct fg_err *err) FG_MUST_USE;

/*
 * Copy what a stored piece and a wanted box share. piece: C order (last axis fastest)
 * if `c_order`, else the first axis is fastest; lo, size: where it is and how large, in
 * the file's axes. swap: its bytes are big-endian. out is the array of the box vx.
 */
void fg_axes_copy(const struct fg_axes *a, const void *piece, const int64_t *lo,
    const int64_t *size, bool c_order, bool swap, const struct fg_box *vx,
    struct fg_array *out);

extern const struct fg_foreign_ops fg_hdf5_ops, fg_tiff_ops, fg_zarr_ops, fg_n5_ops,
    fg_nifti_ops, fg_npy_ops, fg_sections_ops;

#endif
