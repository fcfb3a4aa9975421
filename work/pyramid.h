/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing a multiscale precomputed directory from a stream of sections.
 *
 * Sections of the finest scale are put one by one. Each scale keeps the sections of
 * one row of chunks; when it is full (or the volume ends) the chunks are encoded and
 * written. Beside it each scale keeps the sections of one window of averaging (at most
 * two), and puts their average to the next scale at once. Memory is therefore one
 * chunk depth of sections of every scale, whatever the depth of the volume.
 *
 * Windows of averaging are aligned with voxel 0 of the frame, not with the volume's
 * first voxel, so that an odd voxel_offset shifts nothing: voxel p of a scale is the
 * mean of those of f*p .. f*p+f-1 that exist.
 */
#ifndef FG_WORK_PYRAMID_H
#define FG_WORK_PYRAMID_H

#include <stdio.h>

#include "formats/info.h"

/*
 * Append the coarser scales to an info that holds its finest one, `scales` in all; 0:
 * until the volume fits one chunk. Each step halves the axes whose voxels are less
 * than twice as long as the shortest ones', so that scales become isotropic. Ends early
 * where nothing is left to halve. The finest scale's key is set here, too: the
 * resolution, "8_8_40". Fails: FG_EINVAL (`scales` out of range).
 */
int fg_pyramid_plan(struct fg_info *info, int scales, struct fg_err *err) FG_MUST_USE;

/* Bytes of memory that writing this volume takes. */
double fg_pyramid_memory(const struct fg_info *info);

struct fg_pyramid;

struct fg_pyramid_stats {
	uint64_t chunks, empty, bytes; /* all scales; bytes as stored */
	uint64_t chunks0, empty0;      /* the finest scale alone */
};

/* A writer into the existing folder `dir` (borrowed, like info, until free). The
 * folders of the scales are made here. gzip: chunks are stored as NAME.gz. */
struct fg_pyramid *fg_pyramid_new(const char *dir, const struct fg_info *info,
    bool gzip, int threads, const _Atomic bool *cancel, struct fg_err *err) FG_MUST_USE;
/* How coarser scales are made: of images the mean, rounded to the nearest with halves
 * to the even number (the default) or down; sparse: 0 counts only where all is 0.
 * Before the first section. */
void fg_pyramid_set_average(struct fg_pyramid *p, bool floor, bool sparse);
/* The next section of the finest scale: its dtype, shape (x, y, 1, channels). */
int fg_pyramid_put(struct fg_pyramid *p, const struct fg_array *section,
    struct fg_err *err) FG_MUST_USE;
/* What is not on disk yet, for going on later in another process: between two sections,
 * to or from the present place of a file. load: into a new writer of the same folder,
 * info and gzip. Fails: FG_EIO, FG_ECORRUPT (not such a state, or of another volume).
 */
int fg_pyramid_save(const struct fg_pyramid *p, FILE *f,
    struct fg_err *err) FG_MUST_USE;
int fg_pyramid_load(struct fg_pyramid *p, FILE *f, struct fg_err *err) FG_MUST_USE;
/* True where no section of the finest scale waits to be written: least to save. */
bool fg_pyramid_is_even(const struct fg_pyramid *p);
/* Sections that were put, also before a load. */
int64_t fg_pyramid_sections(const struct fg_pyramid *p);
/* After the last section: everything is written. */
void fg_pyramid_get_stats(const struct fg_pyramid *p, struct fg_pyramid_stats *out);
void fg_pyramid_free(struct fg_pyramid *p);

#endif
