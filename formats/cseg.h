/* SPDX-License-Identifier: Apache-2.0 */
/* What the two halves of compressed_segmentation (cseg.c, cseg_encode.c) share. */
#ifndef FG_FORMATS_CSEG_H
#define FG_FORMATS_CSEG_H

#include "base/array.h"

/* Offsets of tables have 24 bits; those of values too in the viewer. In words. */
#define FG_CSEG_OFFSET_MAX ((UINT32_C(1) << 24) - 1)

/* For functions that take the label's width, or bits per voxel, as an argument that is
 * constant at each call: the compiler makes one copy for each value. */
#define FG_CSEG_SPECIALISED inline __attribute__((always_inline))

/* Whether such labels and blocks can be encoded at all; FG_EINVAL if not. */
int fg_cseg_check(const int64_t block[3], const struct fg_array *a,
    struct fg_err *err) FG_MUST_USE;

#endif
