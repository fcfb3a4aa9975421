/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifest and `info` of multi-resolution meshes (Neuroglancer's description of
 * neuroglancer_multilod_draco). The file ID.index is the manifest; ID holds the
 * fragments, Draco streams, one after the other in the manifest's order.
 *
 * Node at[d] of level l is the box  origin + at * chunk * 2^l, of chunk * 2^l; all in
 * nm (`info` has the identity as transform). A position q of a fragment, 0..2^bits - 1,
 * is  origin + offset[l] + chunk * 2^l * (at + q / (2^bits - 1)).
 */
#ifndef FG_FORMATS_MULTILOD_H
#define FG_FORMATS_MULTILOD_H

#include "formats/info.h"

#define FG_MULTILOD_LEVELS 32 /* most levels of a manifest that is decoded */

struct fg_multilod_level {
	float scale;     /* nm; error of the level; 0: the level is absent */
	float offset[3]; /* normally 0 */
	uint32_t nodes;
	uint32_t *at;    /* 3 * nodes: x, y, z of each; in Z order, x lowest */
	uint32_t *bytes; /* of each node's fragment; 0: nothing is there */
};

struct fg_multilod {
	float chunk[3], origin[3];
	uint32_t levels;
	struct fg_multilod_level level[FG_MULTILOD_LEVELS];
};

void fg_multilod_fini(struct fg_multilod *m); /* frees at and bytes of all levels */
/* The length of the data: all fragments. */
uint64_t fg_multilod_bytes(const struct fg_multilod *m);

/* Fails: FG_ENOMEM. */
int fg_multilod_encode(const struct fg_multilod *m, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;
/*
 * The reverse; p[0..n) may be anything; out owns its arrays.
 * Fails: FG_ECORRUPT (a length that is not that of the counts, numbers that are not
 * finite, a chunk of no size, scales that decrease, nodes out of Z order or doubled),
 * FG_ENOTSUP (more levels than FG_MULTILOD_LEVELS), FG_ENOMEM.
 */
int fg_multilod_decode(const uint8_t *p, size_t n, struct fg_multilod *out,
    struct fg_err *err) FG_MUST_USE;

/* `info` of the directory. bits: 10 or 16 (asserted); sharding may be NULL. */
struct fg_buf *fg_multilod_info(unsigned bits,
    const struct fg_sharding *sharding) FG_MUST_USE;

/* Whether node a comes before b in Z order (any 32-bit positions). */
bool fg_multilod_before(const uint32_t a[3], const uint32_t b[3]);

#endif
