/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What `import` reads: a volume that comes as sections, one z after the other.
 *
 *   a folder    of PNG (grey, 8 or 16 bits), JPEG or TIFF files, one section each
 *   X.npy       an array (z, y, x) or (z, y, x, channel), read as it is needed
 *   X.nii, X.nii.gz  a NIfTI image
 *   X.npz       the only array of an archive; X.npz:MEMBER for one of several
 *   hdf5:FILE:/DATASET  tiff:FILE  zarr:FOLDER  n5:FOLDER  nifti:FILE  npy:FILE
 *               what formats/foreign.h reads (the finest scale), also by the names
 *               X.h5:/DATASET, X.tif, X.zarr and X.n5; ?axes=LETTERS may follow
 *
 * File names of a folder must be the same but for one number, which orders them (2
 * before 10) and must go up by one from file to file: a gap is a missing section.
 */
#ifndef FG_WORK_STACK_H
#define FG_WORK_STACK_H

#include "base/array.h"

struct fg_stack;

/*
 * Open and look at every file's header, so that a volume with a missing, odd or
 * unreadable section is refused before any work. allow_holes: missing sections read as
 * zeros. Fails with the file named: FG_ENOENT (nothing there), FG_EINVAL (holes, sizes
 * or depths differ, names that give no order), FG_ENOTSUP, FG_ECORRUPT, FG_EIO.
 * Limit: a .npz is held in memory whole.
 */
struct fg_stack *fg_stack_open(const char *input, bool allow_holes,
    struct fg_err *err) FG_MUST_USE;
void fg_stack_close(struct fg_stack *s);

enum fg_dtype fg_stack_dtype(const struct fg_stack *s);
/* Voxels x, y, z (holes counted) and channels. */
void fg_stack_shape(const struct fg_stack *s, int64_t shape[4]);
int64_t fg_stack_holes(const struct fg_stack *s); /* missing sections */

/* Section z into out, initialised by the caller: the stack's dtype, shape
 * (x, y, 1, channel). Any number of threads. */
int fg_stack_read(const struct fg_stack *s, int64_t z, struct fg_array *out,
    struct fg_err *err) FG_MUST_USE;

#endif
