/* SPDX-License-Identifier: Apache-2.0 */
/* File sources: hdf5:, tiff:, stack:, zarr:, n5:, nifti: and npy: (formats/foreign.h);
 * see source.h. */
#ifndef FG_STORE_FILES_H
#define FG_STORE_FILES_H

#include "store/source.h"

extern const struct fg_source_ops fg_files_hdf5_ops, fg_files_tiff_ops,
    fg_files_zarr_ops, fg_files_n5_ops, fg_files_nifti_ops, fg_files_npy_ops,
    fg_files_stack_ops;

#endif
