/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Geometry of the phantom specimen: which object a point belongs to and how far the
 * nearest membrane is. Private to store/phantom*.c; the manual is store/phantom.h.
 *
 * The construction. Space is first bent by a smooth displacement (the *warp*, slope
 * below one, so nothing is torn). In the bent space lies a cubic packing of three
 * families of rods, parallel to x, y and z, that never meet: with the period P,
 *
 *   x rods at (y, z) = P (j, k + 1/2), y rods at (z, x), z rods at (x, y) likewise.
 *
 * A rod is a polyline with a knot every P, displaced by at most 0.1 P; a piece from
 * knot to knot is a *segment*, and a point belongs to the segment of least
 *   squared distance - weight
 * (a power diagram). Since weights differ by less than the squared gap of rods, a
 * segment owns its own axis, and with a point the way to it (but for crumbs: distance
 * is taken across the rod, and rods and weights have slopes). So an object, which is a
 * set of consecutive or crossing segments, is one connected body. All calibres
 * come from weights and from segments that share a label:
 *
 *   soma   a ball with tapering arms, one per large cell at most
 *   tube   thick dendrites and myelinated axons: a second and third rod packing of
 *          larger period; all segments whose middle is inside belong to it
 *   glia   stars of three crossing sheets
 *   run    what is left of a rod between those and random cuts: an axon; its first
 *          segment may hang on a crossing run or tube (a branch)
 *
 * Every decision is a hash of (seed, lattice position). Nothing depends on the box that
 * is asked for: space is cut into fixed *bricks* of some voxels, each of which is
 * worked out alone.
 *
 * Arithmetic: lattice and warp in integers; distances in float with +, -, *, / and
 * sqrt only, which IEEE 754 rounds in one way; contraction is off for the whole tree.
 */
#ifndef FG_STORE_PHANTOM_GEOM_H
#define FG_STORE_PHANTOM_GEOM_H

#include "base/box.h"
#include "store/phantom.h"

#define FG_PHANTOM_BRICK 8    /* voxels per axis of a brick at most */
#define FG_PHANTOM_VOXELS 512 /* its cube */
#define FG_PHANTOM_CANDS 96   /* segments that can matter in one brick */
#define FG_PHANTOM_REACH 50.f /* nm; membranes farther than this are not looked for */

enum fg_phantom_class {
	FG_PHANTOM_AXON,
	FG_PHANTOM_DENDRITE,
	FG_PHANTOM_MYELIN,
	FG_PHANTOM_GLIA,
	FG_PHANTOM_SOMA,
	FG_PHANTOM_ARM, /* of a soma: same label as SOMA */
};

/* What a segment is part of. */
struct fg_phantom_owner {
	uint64_t label; /* never 0, below 2^53 */
	uint8_t cls;    /* enum fg_phantom_class */
};

/* One segment as a candidate of a brick, in nm from the brick's origin. */
struct fg_phantom_seg {
	int fam;              /* axis it runs along */
	int64_t u, v, m;      /* lattice position: axes fam+1, fam+2, fam */
	float a0;             /* coordinate of its first knot along fam */
	float u0, v0, su, sv; /* cross axes at the first knot, and slope per nm */
	float w0, sw;         /* weight, nm^2, likewise */
	float lower;          /* least squared distance - weight in the brick */
	uint8_t group;        /* equal for equal labels, within the brick */
	uint64_t hash;        /* of the segment: decorations */
	struct fg_phantom_owner owner;
};

/* A worked-out brick. Arrays are indexed by voxel, x fastest. */
struct fg_phantom_brick {
	struct fg_box vx; /* voxels it covers */
	int64_t
	    origin[3]; /* lattice cells: what seg coordinates count from, times P nm */
	int n, segs;
	bool uniform; /* one label only: t is FG_PHANTOM_REACH everywhere */
	struct fg_phantom_seg seg[FG_PHANTOM_CANDS];
	float p[3][FG_PHANTOM_VOXELS];    /* position, nm from the origin */
	float t[FG_PHANTOM_VOXELS];       /* nm to the membrane, at most the reach */
	int8_t first[FG_PHANTOM_VOXELS];  /* segment that owns the voxel */
	int8_t second[FG_PHANTOM_VOXELS]; /* nearest of another label, or -1 */
};

struct fg_phantom_memo; /* labels of segments met so far */

/* Everything one thread needs to work out bricks. */
struct fg_phantom_geom {
	const struct fg_phantom *par;
	int64_t nm2[3];   /* voxel size, half nm (voxel centres are odd multiples) */
	int64_t brick[3]; /* voxels */
	struct fg_phantom_memo *memo;
	struct fg_phantom_brick out;
};

/* nm: voxel size at the wanted scale. Heap; freed with fg_phantom_geom_free. */
struct fg_phantom_geom *fg_phantom_geom_new(const struct fg_phantom *par,
    const int64_t nm[3]);
void fg_phantom_geom_free(struct fg_phantom_geom *g);

/* Whether the volume's ids stay apart: positions in them have 17 bits. */
int fg_phantom_geom_check(const struct fg_phantom *par, struct fg_err *err) FG_MUST_USE;

/* Work out brick b (indices, may be any) into g->out. */
void fg_phantom_geom_brick(struct fg_phantom_geom *g, const int64_t b[3]);

/* Owner of segment (fam; u, v, m). */
struct fg_phantom_owner fg_phantom_geom_owner(struct fg_phantom_geom *g, int fam,
    int64_t u, int64_t v, int64_t m);

/* A knot in unwarped nm * 16; and the voxel position (nm * 16) that the warp takes to
 * a place (inverse of the warp, to 1 nm). */
void fg_phantom_geom_knot(const struct fg_phantom_geom *g, int fam, int64_t u,
    int64_t v, int64_t m, int64_t out16[3]);
void fg_phantom_geom_unwarp(const struct fg_phantom_geom *g, const int64_t at16[3],
    int64_t out16[3]);
/* The warp of a position, both nm * 16. */
void fg_phantom_geom_warp(const struct fg_phantom_geom *g, const int64_t in16[3],
    int64_t out16[3]);

/* The segment that this one hangs on, if it is the first of a run that is a branch. */
bool fg_phantom_geom_stem(struct fg_phantom_geom *g, int fam, int64_t u, int64_t v,
    int64_t m, int64_t other[3]);

/* Synapse of a segment on the first crossing run, if it has one: the other segment. */
bool fg_phantom_geom_synapse(struct fg_phantom_geom *g, int fam, int64_t u, int64_t v,
    int64_t m, int64_t other[3]);

/* A sphere that holds the nucleus of the soma near `at` (nm, unwarped): false if none
 */
bool fg_phantom_geom_nucleus(const struct fg_phantom_geom *g, const int64_t at[3],
    int64_t centre[3], int64_t *radius);

/* 64 well-mixed bits of a seed, a tag that names the use, and three numbers. */
static inline uint64_t
fg_phantom_hash(uint64_t seed, uint32_t tag, int64_t x, int64_t y, int64_t z)
{
	uint64_t h = seed * 0x9e3779b97f4a7c15u + tag;

	h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
	h += (uint64_t)x * 0xff51afd7ed558ccdu;
	h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
	h += (uint64_t)y * 0xc4ceb9fe1a85ec53u;
	h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
	h += (uint64_t)z * 0x94d049bb133111ebu;
	h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
	h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9u;
	return h ^ (h >> 32);
}

/* Bits lo..lo+15 of h as -32768..32767, and as 0..65535. */
static inline int32_t
fg_phantom_s16(uint64_t h, int lo)
{
	return (int32_t)((h >> lo) & 0xffff) - 32768;
}

static inline int32_t
fg_phantom_u16(uint64_t h, int lo)
{
	return (int32_t)((h >> lo) & 0xffff);
}

#endif
