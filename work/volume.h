/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Voxels by box, wherever they are: what `cutout` and `evaluate` read.
 *
 *   NAME, NAME@SCALEKEY   a layer of the data directory; of a generated layer, what
 *                         has been made so far (nothing is started)
 *   X.npy, X.npz[:MEMBER] an array file, held in memory; its first voxel is 0,0,0
 *   PATH or URL           a precomputed volume, its finest scale; PATH@SCALEKEY another
 */
#ifndef FG_WORK_VOLUME_H
#define FG_WORK_VOLUME_H

#include "base/array.h"

struct fg_session;
struct fg_volume;

/* text as above; s may be NULL (then no layer names). A layer's name wins over a file
 * of that name in the working directory; "./NAME" is the file. Fails: FG_ENOENT, ... */
struct fg_volume *fg_volume_open(struct fg_session *s, const char *text,
    struct fg_err *err) FG_MUST_USE;
void fg_volume_close(struct fg_volume *v);

enum fg_dtype fg_volume_dtype(const struct fg_volume *v);
int fg_volume_channels(const struct fg_volume *v);
/* All voxels, and the extent of chunks (64 for array files). */
void fg_volume_bounds(const struct fg_volume *v, struct fg_box *vx, int64_t chunk[3]);
/* Nanometres per voxel; 1 for array files. */
void fg_volume_resolution(const struct fg_volume *v, double nm[3]);
/* True for array files, whose voxel 0,0,0 says nothing about where they belong. */
bool fg_volume_is_placeless(const struct fg_volume *v);
/* Move a placeless volume's first voxel to lo. */
void fg_volume_place(struct fg_volume *v, const int64_t lo[3]);

/*
 * Voxels of a box inside the bounds. out: initialised by the caller, the volume's dtype
 * and channels, the box's shape. Voxels whose chunk does not exist are 0 and counted in
 * *absent. One thread.
 */
int fg_volume_read(struct fg_volume *v, const struct fg_box *vx, struct fg_array *out,
    uint64_t *absent, struct fg_err *err) FG_MUST_USE;

#endif
