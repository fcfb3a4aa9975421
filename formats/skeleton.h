/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Skeletons <-> bytes: neuroglancer_skeletons (Neuroglancer's description of the
 * format) with one attribute, `radius`, and SWC files.
 */
#ifndef FG_FORMATS_SKELETON_H
#define FG_FORMATS_SKELETON_H

#include "base/buf.h"
#include "base/err.h"

struct fg_skeleton {
	uint64_t label;
	uint32_t vertices, edges; /* their numbers */
	float *xyz;               /* 3 * vertices, nm in the frame of the volume */
	float *radius;            /* vertices, nm */
	uint32_t *edge;           /* 2 * edges, each < vertices */
};

#define FG_SKELETON_INIT ((struct fg_skeleton){0})

void fg_skeleton_fini(struct fg_skeleton *s); /* frees the arrays */

/* The file of one object: u32 vertices, u32 edges, positions, edges, radii.
 * Fails: FG_ENOMEM. */
int fg_skeleton_encode(const struct fg_skeleton *s, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;
/* The reverse; p[0..n) may be anything; out owns its arrays.
 * Fails: FG_ECORRUPT (length, an edge without vertex, a number that is not finite),
 * FG_ENOMEM. */
int fg_skeleton_decode(const uint8_t *p, size_t n, struct fg_skeleton *out,
    struct fg_err *err) FG_MUST_USE;

/* `info` of the directory: type, identity transform, the attribute. */
struct fg_buf *fg_skeleton_info(void) FG_MUST_USE;

/*
 * An SWC file: lines "number type x y z radius parent", parents first, positions and
 * radii in nm; each tree begins with a vertex of one edge, parent -1. SWC has trees
 * only: of a loop, the edge that closes it is left out. Fails: FG_ENOMEM.
 */
int fg_skeleton_encode_swc(const struct fg_skeleton *s, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;

#endif
