/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One section of a stack of images in one file: PNG (grey, 8 or 16 bits), JPEG (grey or
 * colour), TIFF (one page, all that formats/tiff.c reads). The kind is that of the
 * name's ending.
 */
#ifndef FG_FORMATS_SECTION_H
#define FG_FORMATS_SECTION_H

#include "base/array.h"

/* Longest edge of one section, and largest file: far above any microscope's, small
 * enough that a hostile header cannot ask for the machine's memory. */
#define FG_SECTION_EDGE_MAX 131072
#define FG_SECTION_FILE_MAX ((size_t)8 << 30)

/* "png", "jpeg", "tiff"; NULL: the name is of no image. */
const char *fg_section_kind(const char *name);

/* Width, height, 1, channels and type, from the file's header. Fails: FG_ENOENT,
 * FG_EIO, FG_ECORRUPT, FG_ENOTSUP. Any number of threads. */
int fg_section_probe(const char *path, int64_t shape[4], enum fg_dtype *t,
    struct fg_err *err) FG_MUST_USE;
/* Pixels (x, y) that are stored, and so best read, together: strips and tiles of a
 * TIFF, all of the others. */
int fg_section_piece(const char *path, int64_t piece[2],
    struct fg_err *err) FG_MUST_USE;
/* The pixels of a part (z is 0; NULL: all): *out is made here, `whole` tells the
 * section's shape. Of a PNG or JPEG all is decoded first. */
int fg_section_read(const char *path, const struct fg_box *part, int64_t whole[4],
    struct fg_array *out, struct fg_err *err) FG_MUST_USE;

#endif
