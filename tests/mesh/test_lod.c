/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The manifest and the tree of nodes of multi-resolution meshes, and what is refused.
 * What the fragments hold is looked at through another decoder by tests/mesh/lod.py.
 */
#include "config.h"

#include "mesh/lod.h"

#include "mesh/draco.h"
#include "mesh/simplify.h"
#include "mesh/surface.h"
#include "tests/mesh/geometry.h"

static struct fg_err err = FG_ERR_INIT;

#define BLOCK 24
#define BLOCKS_X 5
#define BLOCKS 2 /* along y and z */

/* A rod through all blocks, thin enough to miss some of them. */
static bool
in_rod(const double p[3])
{
	double y = p[1] - 24 - 14 * sin(p[0] / 20), z = p[2] - 24 - 14 * cos(p[0] / 20);

	return y * y + z * z < 64;
}

static const struct fg_lod_params usual = {.nm = {8, 8, 16},
    .origin_vx = {-7, 100, 0},
    .block_vx = {BLOCK, BLOCK, BLOCK},
    .bits = 16,
    .levels = 8,
    .error_nm = 8};

static struct fg_array
rod(void)
{
	struct fg_array a =
	    blank(FG_U32, BLOCKS_X * BLOCK, BLOCKS * BLOCK, BLOCKS * BLOCK);

	paint(&a, 4, in_rod);
	return a;
}

/* The surface of one block, with one layer more where there is one. */
static struct fg_surface
block_surface(const struct fg_array *a, const uint32_t at[3],
    const struct fg_lod_params *lp)
{
	struct fg_surface_params p = {.nm = {lp->nm[0], lp->nm[1], lp->nm[2]}};
	struct fg_surface s = {0};
	struct fg_box box;

	for (int d = 0; d < 3; d++) {
		box.lo[d] = at[d] * BLOCK;
		box.hi[d] = FG_MIN(box.lo[d] + BLOCK + 1, a->shape[d]);
		p.origin_vx[d] = lp->origin_vx[d] + box.lo[d];
		if (at[d] == 0)
			p.close |= (unsigned)FG_FACE_X_LO << 2 * d;
		if (box.hi[d] == a->shape[d])
			p.close |= (unsigned)FG_FACE_X_HI << 2 * d;
	}
	struct fg_array b = blank(FG_U32, box.hi[0] - box.lo[0], box.hi[1] - box.lo[1],
	    box.hi[2] - box.lo[2]);
	struct fg_box whole = {.hi = {a->shape[0], a->shape[1], a->shape[2]}};
	fg_array_copy_box(&b, &box, a, &whole);
	tap_rc(fg_surface_make(&b, &p, &s, &err), &err, "a block's surface");
	fg_array_fini(&b);
	return s;
}

static int
build_of(const struct fg_array *a, const struct fg_lod_params *p,
    struct fg_buf **manifest, struct fg_buf **data)
{
	struct fg_lod *lod = fg_lod_new(p, &err);
	static const struct fg_mesh none;
	int rc = lod ? 0 : -1;

	for (unsigned m = 0; rc == 0 && m < 256; m++) {
		uint32_t at[3] = {0};

		for (unsigned bit = 0; bit < 8; bit++)
			at[bit % 3] |= (m >> bit & 1) << bit / 3;
		if (at[0] >= BLOCKS_X || at[1] >= BLOCKS || at[2] >= BLOCKS)
			continue;
		struct fg_surface s = block_surface(a, at, p);
		rc = fg_lod_add(lod, at, s.count ? &s.mesh[0] : &none, &err);
		fg_surface_fini(&s);
	}
	if (rc == 0)
		rc = fg_lod_end(lod, manifest, data, &err);
	fg_lod_free(lod);
	return rc;
}

static int
build(const struct fg_lod_params *p, struct fg_buf **manifest, struct fg_buf **data)
{
	struct fg_array a = rod();
	int rc = build_of(&a, p, manifest, data);

	fg_array_fini(&a);
	return rc;
}

static bool
has_node(const struct fg_multilod_level *l, uint32_t x, uint32_t y, uint32_t z)
{
	for (size_t i = 0; i < l->nodes; i++) {
		if (l->at[3 * i] == x && l->at[3 * i + 1] == y && l->at[3 * i + 2] == z)
			return true;
	}
	return false;
}

static void
test_tree(void)
{
	struct fg_buf *manifest = NULL, *data = NULL;
	struct fg_multilod m = {0};
	size_t orphans = 0, wrong = 0, empty = 0;

	tap_rc(build(&usual, &manifest, &data), &err, "levels of a rod");
	tap_rc(fg_multilod_decode(manifest->data, manifest->len, &m, &err), &err,
	    "its manifest is one");
	tap_int(fg_multilod_bytes(&m), data->len, "as many bytes as the data has");
	tap_int(m.level[0].nodes, BLOCKS_X * BLOCKS * BLOCKS, "a node for each block");
	tap_ok(m.levels >= 4, "one node above five blocks: %u levels", m.levels);
	tap_ok(m.chunk[0] == BLOCK * 8 && m.chunk[2] == BLOCK * 16, "nodes' size");
	tap_ok(m.origin[0] == -6.5f * 8 && m.origin[1] == 100.5f * 8 &&
		   m.origin[2] == 8,
	    "the grid begins in the middle of the first voxel");
	size_t off = 0;
	for (uint32_t l = 0; l < m.levels; l++) {
		const struct fg_multilod_level *v = &m.level[l];

		tap_ok(v->scale > 0 && (l == 0 || v->scale > m.level[l - 1].scale),
		    "level %u: %u nodes, scale %.3f nm", l, v->nodes, (double)v->scale);
		for (size_t i = 0; i < v->nodes; i++) {
			const uint32_t *at = v->at + 3 * i;

			if (l + 1 < m.levels &&
			    !has_node(v + 1, at[0] / 2, at[1] / 2, at[2] / 2))
				orphans++;
			empty += v->bytes[i] == 0;
			if (v->bytes[i] && memcmp(data->data + off, "DRACO", 5))
				wrong++;
			off += v->bytes[i];
		}
	}
	tap_int(m.level[m.levels - 1].nodes, 1, "the last level is one node");
	tap_int(orphans, 0, "each node has a parent");
	tap_int(wrong, 0, "fragments are Draco streams");
	tap_ok(empty > 0, "%zu nodes are empty", empty);
	fg_multilod_fini(&m);
	fg_buf_unref(manifest);
	fg_buf_unref(data);
}

/* Voxels without any shape, in voxels without any proportion. */
static void
test_noise(void)
{
	static const double nm[][3] = {{8, 8, 16}, {1e-3, 1, 1e5}, {1, 1e4, 1}};

	for (int i = 0; i < 6; i++) {
		struct fg_array a =
		    blank(FG_U32, BLOCKS_X * BLOCK, BLOCKS * BLOCK, BLOCKS * BLOCK);
		struct fg_lod_params p = usual;
		struct fg_buf *manifest = NULL, *data = NULL;
		struct fg_multilod m = {0};

		for (int64_t k = 0; k < (int64_t)fg_array_count(&a); k++) {
			int64_t x = k % a.shape[0], y = k / a.shape[0] % a.shape[1];
			int64_t z = k / a.shape[0] / a.shape[1];

			((uint32_t *)a.data)[k] =
			    i % 2 ? (uint32_t)(x + y + z) % 2 : roll(50) == 0;
		}
		memcpy(p.nm, nm[i / 2], sizeof p.nm);
		p.bits = i % 3 ? 16 : 10;
		if (tap_rc(build_of(&a, &p, &manifest, &data), &err,
			i % 2 ? "a checkerboard" : "noise"))
			tap_rc(fg_multilod_decode(manifest->data, manifest->len, &m,
				   &err),
			    &err, "its manifest is one");
		fg_multilod_fini(&m);
		fg_buf_unref(manifest);
		fg_buf_unref(data);
		fg_array_fini(&a);
	}
}

static void
test_params(void)
{
	struct fg_lod_params p = usual;
	struct fg_lod *none;

	p.bits = 12;
	none = fg_lod_new(&p, &err);
	tap_fails(none ? 0 : -1, &err, FG_EINVAL, "12 bits", "10 or 16 bits only");
	p = usual;
	p.nm[1] = -1;
	none = fg_lod_new(&p, &err);
	tap_fails(none ? 0 : -1, &err, FG_EINVAL, "axis 1", "a negative voxel");
	p = usual;
	p.block_vx[2] = 0;
	none = fg_lod_new(&p, &err);
	tap_fails(none ? 0 : -1, &err, FG_EINVAL, "axis 2", "a block of no voxel");
	p = usual;
	p.levels = 17;
	none = fg_lod_new(&p, &err);
	tap_fails(none ? 0 : -1, &err, FG_EINVAL, "17 levels", "too many levels");
	p = usual;
	p.error_nm = 0;
	none = fg_lod_new(&p, &err);
	tap_fails(none ? 0 : -1, &err, FG_EINVAL, "errors of", "no error");
}

static void
test_refused(void)
{
	float xyz[9] = {-52, 804, 8, -48, 804, 8, -52, 808, 8};
	uint32_t index[3] = {0, 1, 2};
	struct fg_mesh m = {.vertices = 3, .triangles = 1, .xyz = xyz, .index = index};
	struct fg_buf *a = NULL, *b = NULL;
	struct fg_lod *lod = fg_lod_new(&usual, &err);
	_Atomic bool stop = true;

	tap_ok(lod != NULL, "begin");
	tap_fails(fg_lod_end(lod, &a, &b, &err), &err, FG_EINVAL, "without any piece",
	    "no piece, no mesh");
	fg_lod_free(lod);
	lod = fg_lod_new(&usual, &err);
	tap_rc(fg_lod_add(lod, (uint32_t[3]){0, 0, 0}, &m, &err), &err, "a piece");
	tap_fails(fg_lod_add(lod, (uint32_t[3]){0, 0, 0}, &m, &err), &err, FG_EINVAL,
	    "not in Z order", "the same block again");
	tap_fails(fg_lod_add(lod, (uint32_t[3]){0, 1, 0}, &m, &err), &err, FG_EINVAL,
	    "lies outside", "a piece of another block");
	tap_fails(fg_lod_add(lod, (uint32_t[3]){1 << 20, 0, 0}, &m, &err), &err,
	    FG_EINVAL, "too far away", "a block far away");
	fg_lod_free(lod);
	struct fg_lod_params p = usual;
	p.memory = 60;
	tap_fails(build(&p, &a, &b), &err, FG_EFULL, "more than 60 bytes",
	    "a limit of memory");
	p = usual;
	p.cancel = &stop;
	tap_fails(build(&p, &a, &b), &err, FG_ECANCELED, "cancelled", "stopped");
}

static void
test_draco(void)
{
	int32_t xyz[9] = {0, 0, 0, 1, 0, 0, 0, 1, 0};
	uint32_t flat[3] = {0, 1, 1}, beyond[3] = {0, 1, 3}, good[3] = {0, 1, 2};
	struct fg_buf *b = NULL;

	tap_rc(fg_draco_encode(xyz, 3, good, 1, &b, &err), &err, "one triangle");
	fg_buf_unref(b);
	tap_fails(fg_draco_encode(xyz, 3, flat, 1, &b, &err), &err, FG_EINVAL,
	    "no triangle", "only a repeated corner");
	tap_fails(fg_draco_encode(xyz, 3, good, 0, &b, &err), &err, FG_EINVAL,
	    "no triangle", "nothing");
	tap_fails(fg_draco_encode(xyz, 3, beyond, 1, &b, &err), &err, FG_EINVAL,
	    "vertex 3 of 3", "a vertex that is not there");
	xyz[4] = -1;
	tap_fails(fg_draco_encode(xyz, 3, good, 1, &b, &err), &err, FG_EINVAL,
	    "vertex 1", "a negative position");
}

int
main(void)
{
	if (!fg_draco_is_built()) {
		struct fg_lod *lod = fg_lod_new(&usual, &err);

		tap_fails(lod ? 0 : -1, &err, FG_ENOTSUP, "libdraco",
		    "a build without libdraco says so");
		return tap_done();
	}
	test_tree();
	test_noise();
	test_params();
	test_refused();
	test_draco();
	return tap_done();
}
