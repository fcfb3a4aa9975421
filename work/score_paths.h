/* SPDX-License-Identifier: Apache-2.0 */
/* True centre lines for `evaluate`: read, cut to a box, and looked up tile by tile. */
#ifndef FG_WORK_SCORE_PATHS_H
#define FG_WORK_SCORE_PATHS_H

#include "base/array.h"
#include "seg/paths.h"

struct fg_paths;

/*
 * Lines from `where`:
 *   phantom:KEY=VALUE,...   those of a computed specimen (store/phantom.h)
 *   FILE                    text lines  skeleton,x0,y0,z0,x1,y1,z1  in voxels; a first
 *                           line that does not begin with a digit is left out
 *   FOLDER                  precomputed skeletons, not sharded: info, and a file for
 * each id (Neuroglancer's description of the format); vertices are in nm of the frame
 * of the volume after info's transform Long ones are divided into pieces of at most
 * `step` voxels; ends that coincide are one node. Pieces with an end outside vx are
 * left out. nm: size of a voxel, for lengths. Fails: FG_EINVAL, FG_ENOENT, FG_EIO.
 */
struct fg_paths *fg_paths_load(const char *where, const struct fg_box *vx,
    const double nm[3], double step, struct fg_err *err) FG_MUST_USE;
void fg_paths_free(struct fg_paths *p);

/* The labels (u8, u16, u32, u64) of box vx: nodes in it are looked up. */
void fg_paths_look(struct fg_paths *p, const struct fg_box *vx,
    const struct fg_array *labels);

int fg_paths_score(const struct fg_paths *p, uint64_t merge_nodes,
    struct fg_path_score *out, struct fg_err *err) FG_MUST_USE;

#endif
