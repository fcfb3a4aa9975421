/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One mesh into a Draco stream (bitstream 2.2, "edge breaker"), as the multi-resolution
 * mesh format wants it: integer positions and nothing else, so that the decoder of
 * Neuroglancer gives back the very integers. Built with the library libdraco
 * (configure --with-draco); without it fg_draco_encode() says so.
 */
#ifndef FG_MESH_DRACO_H
#define FG_MESH_DRACO_H

#include "base/buf.h"
#include "base/err.h"

/* Whether this build can encode. */
bool fg_draco_is_built(void);

/*
 * Encode.
 *
 *   xyz    3 * vertices, each 0..2^30
 *   index  3 * triangles, each below `vertices`
 *
 * Vertices that no triangle uses and triangles with a repeated corner do not come back;
 * where an edge has more than two triangles, vertices come back doubled. Order is not
 * kept. Cost: 0.4 s per million triangles, 1 to 3 bytes per triangle.
 * Fails: FG_EINVAL (nothing to encode: no triangle, or only such with a repeated
 * corner; numbers out of range), FG_ENOTSUP (built without libdraco), FG_ENOMEM.
 */
int fg_draco_encode(const int32_t *xyz, uint32_t vertices, const uint32_t *index,
    uint32_t triangles, struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

#endif
