/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Skeletons <-> bytes: neuroglancer_skeletons (Neuroglancer's description of the
 * format) and SWC files. The attribute `radius` is always there; the area of the
 * object's cross-section at each vertex may be, under the names that the field uses
 * (`cross_sectional_area`, `cross_sectional_area_contacts`).
 */
#ifndef FG_FORMATS_SKELETON_H
#define FG_FORMATS_SKELETON_H

#include "formats/info.h"

struct fg_skeleton {
	uint64_t label;
	uint32_t vertices, edges; /* their numbers */
	float *xyz;               /* 3 * vertices, nm in the frame of the volume */
	float *radius;            /* vertices, nm */
	uint32_t *edge;           /* 2 * edges, each < vertices */
	/* NULL, or of each vertex: area of the section (nm^2), and a bit for each face
	 * of the block that it touches (so that it may go on there): 1 x low, 2 x high,
	 * 4 y low, ... 32 z high. */
	float *area;
	uint8_t *contacts;
};

/* Attributes beside the radius, in the order of the file. */
enum {
	FG_SKELETON_AREA = 1,
	FG_SKELETON_CONTACTS = 2,
};

#define FG_SKELETON_INIT ((struct fg_skeleton){0})

void fg_skeleton_fini(struct fg_skeleton *s); /* frees the arrays */

/* The file of one object: u32 vertices, u32 edges, positions, edges, radii, and areas
 * and contacts if it has them. Fails: FG_ENOMEM. */
int fg_skeleton_encode(const struct fg_skeleton *s, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;
/* The reverse; p[0..n) may be anything; out owns its arrays. The file does not tell its
 * attributes, the directory's info does.
 * Fails: FG_ECORRUPT (length, an edge without vertex, a number that is not finite),
 * FG_ENOMEM. */
int fg_skeleton_decode_with(const uint8_t *p, size_t n, unsigned attributes,
    struct fg_skeleton *out, struct fg_err *err) FG_MUST_USE;
/* The same for a file with radii only. */
int fg_skeleton_decode(const uint8_t *p, size_t n, struct fg_skeleton *out,
    struct fg_err *err) FG_MUST_USE;

/* The same for a file with radii, or radii and areas; its length tells which. */
int fg_skeleton_decode_any(const uint8_t *p, size_t n, struct fg_skeleton *out,
    struct fg_err *err) FG_MUST_USE;
/* A file with radii and areas as it is (a reference); one with radii only gets areas of
 * 0, "not measured". Anything else comes back as it is. */
struct fg_buf *fg_skeleton_with_area(struct fg_buf *file) FG_MUST_USE;

/* `info` of the directory: type, identity transform, the attributes; sharding may be
 * NULL. */
struct fg_buf *fg_skeleton_info_with(unsigned attributes,
    const struct fg_sharding *sharding) FG_MUST_USE;
/* The same with radii only, not sharded. */
struct fg_buf *fg_skeleton_info(void) FG_MUST_USE;

/*
 * An SWC file: lines "number type x y z radius parent", parents first, positions and
 * radii in nm; each tree begins with a vertex of one edge, parent -1. SWC has trees
 * only: of a loop, the edge that closes it is left out. Fails: FG_ENOMEM.
 */
int fg_skeleton_encode_swc(const struct fg_skeleton *s, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;

#endif
