/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the writer keeps in mind about layers: uuids and descriptors for slab records,
 * and the chunk grids that tell which coarse chunks lie over a chunk. Internal to
 * store/; one thread.
 */
#ifndef FG_STORE_KNOWN_H
#define FG_STORE_KNOWN_H

#include "store/index.h"
#include "store/slab.h"

struct fg_grid {
	double nm[3];
	int64_t offset[3], size[3], chunk[3]; /* voxels of the scale */
};

struct fg_known {
	uint32_t layer;
	char *name, *uuid_text;
	uint8_t uuid[16];
	uint8_t sha[32];    /* of the recipe; zero without one */
	int64_t params;     /* row of the recipe; 0 without one */
	char *descriptor;   /* body of a LAYER record */
	uint32_t described; /* slab that has the descriptor already */
	bool restored;      /* came from a slab in this very scan */
	int scales;
	struct fg_grid *grid;
};

struct fg_known_set {
	struct fg_known *list;
	size_t n;
};

/* (Re)read all layers. `described` and `restored` of known ones are kept. Layers whose
 * info does not parse have no scales. */
int fg_known_load(struct fg_known_set *c, struct fg_index *ix,
    struct fg_err *err) FG_MUST_USE;
void fg_known_fini(struct fg_known_set *c);

struct fg_known *fg_known_find(struct fg_known_set *c, uint32_t layer);
struct fg_known *fg_known_find_uuid(struct fg_known_set *c, const uint8_t uuid[16]);
struct fg_known *fg_known_find_name(struct fg_known_set *c, const char *name);

/* Whether `at` is a chunk of the layer's grid at that scale. */
bool fg_grid_has(const struct fg_known *k, int scale, uint64_t at);

/* Write a result's rows: the chunks above its chunks become dirty, then its own rows
 * are put. Inside the caller's transaction. */
int fg_known_put_result(const struct fg_known *k, struct fg_index *ix,
    const struct fg_result *res, struct fg_err *err) FG_MUST_USE;

#endif
