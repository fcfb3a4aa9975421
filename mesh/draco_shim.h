/* SPDX-License-Identifier: Apache-2.0 */
/* What mesh/draco_shim.cc, the one C++ file, offers to mesh/draco.c. Plain types only.
 */
#ifndef FG_MESH_DRACO_SHIM_H
#define FG_MESH_DRACO_SHIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Returns 0, -1 (why[0..why_len) says why) or -2 (no memory). *out is malloc'ed. */
int fg_draco_shim_encode(const int32_t *xyz, uint32_t vertices, const uint32_t *index,
    uint32_t triangles, int speed, uint8_t **out, size_t *len, char *why,
    size_t why_len);

#ifdef __cplusplus
}
#endif

#endif
