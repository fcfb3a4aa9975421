/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Decoded pieces of sections, kept by a budget of bytes. Sections are compressed as
 * images, a whole one or a strip or tile of it at a time, while a client asks for
 * chunks that cut a little out of many sections: without this a chunk of 64 sections
 * would decode 64 images, and its neighbour the same ones again.
 *
 * A tile is a rectangle of one section. Threads that want the same one have it decoded
 * once: while another decodes it they go on with what else they need. One pool bounds
 * the memory of all volumes together: the least recently used tile of any of them
 * leaves. Besides that, each reading thread may hold one tile.
 */
#ifndef FG_STORE_TILES_H
#define FG_STORE_TILES_H

#include "base/array.h"

/* Bytes kept unless said otherwise, and what the sizes of chunks are planned with. */
#define FG_TILES_BUDGET ((size_t)512 << 20)

struct fg_tiles_pool;

/* bytes: kept at most; less than tiles need only costs decoding them again. */
struct fg_tiles_pool *fg_tiles_pool_new(size_t bytes) FG_MUST_USE;
void fg_tiles_pool_free(struct fg_tiles_pool *p); /* it has no volumes any more */
/* Bytes held now, of all volumes. */
size_t fg_tiles_pool_bytes(struct fg_tiles_pool *p);

struct fg_tiles_plan {
	enum fg_dtype dtype;
	int64_t shape[4]; /* of the volume: x, y, z, channels */
	int64_t tile[2];  /* pixels of a tile; the last ones are smaller */
	int64_t chunk[3]; /* voxels of a chunk that is cheap to make: as many sections
			     as half of the budget holds, 64 at most */
	size_t bytes;     /* of a tile */
};

/*
 * Choose tiles and chunks. dtype and shape are given; piece: pixels that are stored
 * together. Tiles are multiples of it, of 256 pixels or more a side where it is
 * smaller. Fails: FG_ENOTSUP if one tile exceeds the budget.
 */
int fg_tiles_plan(struct fg_tiles_plan *p, const int64_t piece[2], size_t budget,
    struct fg_err *err) FG_MUST_USE;

/* Decode: *out is made here, of the part's shape (part: x, y of section z, lo[2] = z),
 * the plan's channels and dtype. Called by several threads at once. */
typedef int (*fg_tiles_fn)(void *ctx, const struct fg_box *part, struct fg_array *out,
    struct fg_err *err);

struct fg_tiles;

/* pool: lent, outlives this; NULL: one of its own with FG_TILES_BUDGET. */
struct fg_tiles *fg_tiles_new(const struct fg_tiles_plan *p, struct fg_tiles_pool *pool,
    fg_tiles_fn decode, void *ctx);
void fg_tiles_free(struct fg_tiles *t); /* nobody reads any more */

/*
 * Voxels of a box inside the volume into out, of its shape. skip: [z] nonzero for
 * sections that are left as they are in out; NULL: none. Fails as decode does; others
 * who wait for the same tile then try themselves. Any number of threads.
 */
int fg_tiles_box(struct fg_tiles *t, const struct fg_box *vx, const uint8_t *skip,
    struct fg_array *out, struct fg_err *err) FG_MUST_USE;

/* Tiles of this volume that were decoded so far, and their bytes held now. */
void fg_tiles_stats(struct fg_tiles *t, uint64_t *decoded, size_t *bytes);

#endif
