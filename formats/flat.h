/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Arrays that lie in a file as they are, in one piece behind a header: NumPy and NIfTI.
 * Read by planes of the two fastest axes, so that memory does not depend on the size of
 * the volume. Only formats/ uses this header.
 */
#ifndef FG_FORMATS_FLAT_H
#define FG_FORMATS_FLAT_H

#include <pthread.h>

#include "formats/foreign.h"
#include "formats/gzseek.h"

struct fg_flat {
	int fd;
	struct fg_gzseek
	    *gz; /* the file is gzipped; used under lock. NULL: it is not */
	pthread_mutex_t lock;
	uint64_t offset; /* of the first value, unpacked */
	struct fg_axes axes;
	bool c_order, swap;
	bool is_signed64; /* int64, served as uint64; negative values are refused */
	bool scaled;      /* values are slope * v + inter, as float32 */
	double slope, inter;
	enum fg_dtype stored;
};

/* Open the file, gzipped or not (told by its first bytes). expected: its unpacked size
 * as far as it is known. Fails: FG_ENOENT, FG_EIO, FG_EINVAL (not a regular file). */
int fg_flat_open(struct fg_flat *f, const char *path, struct fg_err *err) FG_MUST_USE;
void fg_flat_close(struct fg_flat *f);

/* Unpacked bytes, as the header is read. */
int fg_flat_read(struct fg_flat *f, uint64_t off, void *p, size_t n,
    struct fg_err *err) FG_MUST_USE;

/* The values end within the file (one that is not gzipped): FG_ECORRUPT with found and
 * wanted. Also that their bytes can be counted. */
int fg_flat_check(struct fg_flat *f, struct fg_err *err) FG_MUST_USE;

/* Sizes, chunks and type of the only scale; stored and shape are set. */
void fg_flat_describe(const struct fg_flat *f, const int64_t shape[4],
    struct fg_foreign *r);

int fg_flat_box(struct fg_flat *f, const struct fg_box *vx, struct fg_array *out,
    struct fg_err *err) FG_MUST_USE;

#endif
