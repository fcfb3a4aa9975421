/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Triangle meshes <-> bytes: the fragments and manifests of the legacy precomputed mesh
 * format (Neuroglancer's description of neuroglancer_legacy_mesh), and files for people
 * (PLY, Wavefront OBJ, binary glTF).
 *
 * Positions are nanometres in the frame of the whole volume: voxel i spans
 * [i, i + 1) * resolution. Triangles turn counter-clockwise seen from outside.
 */
#ifndef FG_FORMATS_MESH_H
#define FG_FORMATS_MESH_H

#include "base/buf.h"
#include "base/err.h"

struct fg_mesh {
	uint64_t label;
	uint32_t vertices, triangles; /* their numbers */
	float *xyz;                   /* 3 * vertices, nm */
	uint32_t *index;              /* 3 * triangles, each < vertices */
};

#define FG_MESH_INIT ((struct fg_mesh){0})

/* Frees xyz and index of a mesh that owns them (its maker says whether it does). */
void fg_mesh_fini(struct fg_mesh *m);

/* A legacy fragment: u32 vertices, their xyz as f32, three u32 per triangle.
 * Fails: FG_ENOMEM. */
int fg_mesh_encode_fragment(const struct fg_mesh *m, struct fg_buf **out,
    struct fg_err *err) FG_MUST_USE;
/* The reverse; out owns its arrays. p[0..n) may be anything.
 * Fails: FG_ECORRUPT (lengths do not fit, an index without a vertex, a position that
 * is no finite number), FG_ENOMEM. */
int fg_mesh_decode_fragment(const uint8_t *p, size_t n, struct fg_mesh *out,
    struct fg_err *err) FG_MUST_USE;

/* The manifest `ID:0`: {"fragments":["name",...]}, names in the given order. */
struct fg_buf *fg_mesh_manifest(const char *const *names, size_t count) FG_MUST_USE;
/* The directory's `info`: {"@type":"neuroglancer_legacy_mesh"}. */
struct fg_buf *fg_mesh_legacy_info(void) FG_MUST_USE;

/*
 * Files of one object from `count` meshes that are written as one (fragments of one
 * label, say; common vertices stay doubled).
 *
 *   ply  binary little-endian 1.0, float vertices, uchar/uint lists of faces
 *   obj  text, nine significant digits (a float's exact value), one object
 *   glb  glTF 2.0 in one file: one node, one mesh, one primitive; positions in nm
 *        as they are (glTF would like metres; asset.extras.unit says "nm")
 *
 * Fails: FG_EFULL (over 2^32 - 2 vertices in all, or a .glb of 4 GiB), FG_ENOMEM.
 */
enum fg_mesh_file { FG_MESH_PLY, FG_MESH_OBJ, FG_MESH_GLB };

int fg_mesh_encode_file(enum fg_mesh_file kind, const struct fg_mesh *const *parts,
    size_t count, struct fg_buf **out, struct fg_err *err) FG_MUST_USE;

#endif
