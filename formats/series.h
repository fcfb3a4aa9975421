/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A folder of images of one kind as a volume: each file (formats/section.h) is a
 * section, ordered by the number in its name. Names must be the same but for that one
 * number (2 comes before 10); where a number is left out a section is missing.
 */
#ifndef FG_FORMATS_SERIES_H
#define FG_FORMATS_SERIES_H

#include "base/array.h"

#define FG_SERIES_MAX 2000000 /* sections, missing ones counted */

/* Does not change after opening. */
struct fg_series {
	char *dir;
	char **file; /* [shape[2]] names in the folder; NULL: missing */
	int64_t holes;
	char *gap; /* how many are missing and where first, for people; NULL: none */
	enum fg_dtype dtype;
	int64_t shape[4]; /* x, y, z, channels */
};

/* Images, and no info file that would make it a precomputed volume? */
bool fg_series_is_folder(const char *dir);

/* The section number of each of n >= 1 names (a single one: 0). Fails, FG_EINVAL, where
 * they differ in more than one number, in anything else, or two in nothing. */
int fg_series_order(const char *const *name, size_t n, int64_t *number,
    struct fg_err *err) FG_MUST_USE;

/* List and order the files, and look at the header of the first. Fails with the file
 * named: FG_ENOENT (nothing there), FG_EINVAL (names that give no order), FG_ENOTSUP,
 * FG_ECORRUPT, FG_EIO. */
int fg_series_open(struct fg_series *s, const char *dir,
    struct fg_err *err) FG_MUST_USE;
void fg_series_close(struct fg_series *s);

/* Whether the header of section z says the same size, type and channels as the first.
 * Missing ones pass. Fails as above. Any number of threads. */
int fg_series_check(const struct fg_series *s, int64_t z,
    struct fg_err *err) FG_MUST_USE;

/* Pixels (x, y) of one section that is not missing; part NULL: all of it. *out is made
 * here. Cost: a PNG or JPEG is decoded whole, also for a part. Any number of threads.
 */
int fg_series_read(const struct fg_series *s, int64_t z, const struct fg_box *part,
    struct fg_array *out, struct fg_err *err) FG_MUST_USE;

/* Pixels (x, y) of the first section that are stored, and so best read, together. */
int fg_series_piece(const struct fg_series *s, int64_t piece[2],
    struct fg_err *err) FG_MUST_USE;

#endif
