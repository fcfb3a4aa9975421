/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Meshes and skeletons of objects as they are kept in the index: what their rows are
 * called, the table of an object's pieces, and the tasks that make them.
 *
 * An object of NAME is one base object; of NAME.agg it is a component, and `id` is its
 * public id. Rows are keyed by kind (MESH, SKELETON), id, and a product in the place of
 * the scale:
 *
 *   TABLE   part 0: what the object has in that generation. Of a mesh: the table of its
 *           pieces (below). Of a skeleton: the skeleton itself, as it is served.
 *   PIECE   part = Morton code of a block: what the object is there. Of a mesh: a
 *           fragment of the legacy format. Never replaced: a viewer may hold a manifest
 *           that names it. Of a skeleton that is too large for one go: u64 hash of what
 *           it was made from, then a skeleton file.
 *
 *   LODS    of a mesh in levels of detail: part 0 the manifest; part FG_LODS_HEAD u64
 *           length of the data and u64 bytes of a slice; parts 1, 2, ... the slices
 *   PIN     part = epoch: u64 generation of the LODS that this epoch has; its own
 *           generation is 0, so that the first one stays
 *
 *   PLACE   part = block: the object has voxels there. Only for passive layers, whose
 *           objects are found by looking at all voxels once; no bytes
 *   SCAN    at = block: its voxels have been looked at; no bytes
 *
 *   MEASURE part = a number known of the TABLE of that generation (fg_measure_put); no
 *           bytes
 *
 *   EPOCH   of id 0: part = an epoch that had begun when this was written; no bytes
 *   HORIZON of id 0, part 0: its generation is the first epoch that is still served; no
 *           bytes
 *   GONE    part 0: the name is no public id any more; what it has of generations below
 *           this one's is removed after a while (work/prune.h); no bytes
 *
 * An epoch is what a directory of multi-resolution meshes is named by. Within it an
 * object's bytes stay as they were first sent, because a viewer that has a manifest
 * asks for ranges of the data later. It rises with every change of a component; base
 * objects never change and have epoch 1 only.
 *
 * The generation is the object's (fg_object.gen) when the row was made; that of a piece
 * may be lower than its table's, because a piece is made again only when something in
 * its neighbourhood changed. Old generations of components are kept for a time
 * (work/prune.h).
 *
 * Geometry. A piece of a mesh is what the object's surface is in the cells of a block,
 * a cell being the cube between eight voxel centres: those with their lower corner in
 * the block's core. So each cell belongs to one block, and pieces meet in the plane of
 * the voxel centres that they share, with equal vertices. An object that touches the
 * lower faces of its blocks has surface in cells of the blocks before them too.
 */
#ifndef FG_WORK_ARTEFACT_H
#define FG_WORK_ARTEFACT_H

#include "work/task.h"

enum fg_product {
	FG_PRODUCT_TABLE = 0,
	FG_PRODUCT_PIECE = 1,
	FG_PRODUCT_LODS = 2,
	FG_PRODUCT_PIN = 3,
	FG_PRODUCT_PLACE = 4,
	FG_PRODUCT_SCAN = 5,
	FG_PRODUCT_MEASURE = 6,
	FG_PRODUCT_EPOCH = 7,
	FG_PRODUCT_HORIZON = 8,
	FG_PRODUCT_GONE = 9,
	FG_PRODUCTS = 16, /* times enum fg_objects is added */
};

/* What an object of a layer is. */
enum fg_objects {
	FG_OBJECTS_BASE,   /* NAME: one label of one block */
	FG_OBJECTS_WHOLE,  /* NAME.agg: a component */
	FG_OBJECTS_PLACED, /* a passive layer: one label, in the blocks of its PLACE
			      rows */
};

static inline enum fg_objects
fg_key_objects(const struct fg_key *key)
{
	return (enum fg_objects)(key->scale / FG_PRODUCTS);
}

static inline enum fg_product
fg_key_product(const struct fg_key *key)
{
	return (enum fg_product)(key->scale % FG_PRODUCTS);
}

#define FG_LODS_HEAD (UINT64_C(1) << 62)
#define FG_LODS_SLICE (256u << 10) /* a Range request reads one or two of them */

/* One piece of an object's mesh. */
struct fg_piece {
	uint64_t at;     /* Morton code of its block */
	int64_t gen;     /* of the row that holds it */
	uint64_t inputs; /* hash of what it was made from */
	uint64_t bytes;  /* of the fragment; 0: no surface there, and no row */
	uint32_t vertices, triangles;
};

/* The bytes of a TABLE row: u32 magic, u32 count, then count times u64 at, i64 gen, u64
 * inputs, u64 bytes, u32 vertices, u32 triangles, little-endian. */
struct fg_buf *fg_pieces_encode(const struct fg_piece *p, size_t n) FG_MUST_USE;
/* *out is malloc'ed. Fails: FG_ECORRUPT. */
int fg_pieces_decode(const uint8_t *bytes, size_t n, struct fg_piece **out,
    size_t *count, struct fg_err *err) FG_MUST_USE;

/* The key of an object's row. */
struct fg_key fg_artefact_key(const struct fg_layer *l, enum fg_kind kind,
    enum fg_product product, uint64_t id);
/* Whether a layer has meshes and skeletons that are made here. */
bool fg_layer_has_objects(const struct fg_layer *l);
enum fg_objects fg_layer_objects(const struct fg_layer *l);
/* Whether a request may look for the objects of a passive layer; a larger one is looked
 * through by floodgate mesh. */
bool fg_layer_is_small(const struct fg_layer *l);
/* Whether all blocks of a generated layer are made, or all of a passive one looked at;
 * that stays so, and is asked every five seconds at most before. */
bool fg_layer_is_finished(struct fg_layer *l, struct fg_reader *r);

/* The object as layer l sees it, and where it lies. blocks: malloc'ed, by at, then id;
 * may be NULL. Fails: FG_ENOENT. */
int fg_artefact_object(struct fg_reader *r, uint32_t layer, enum fg_objects kind,
    uint64_t id, struct fg_object *o, struct fg_object_block **blocks, size_t *n,
    struct fg_err *err) FG_MUST_USE;

/* The epoch of now; at least 1. */
int fg_artefact_epoch(struct fg_reader *r, const struct fg_layer *l, int64_t *epoch,
    struct fg_err *err) FG_MUST_USE;

/* The first epoch that is still served: of those before it pins and levels may be gone.
 * At least 1. */
int fg_artefact_horizon(struct fg_reader *r, const struct fg_layer *l, int64_t *epoch,
    struct fg_err *err) FG_MUST_USE;

/* Manifest `ID:0` of the legacy format: the pieces that have a surface, by the names
 * <id>:<block>:<gen>. */
struct fg_buf *fg_artefact_manifest(uint64_t id, const struct fg_piece *p,
    size_t n) FG_MUST_USE;

/*
 * What is known of an object without reading what was made of it: a MEASURE row beside
 * the TABLE, committed with it. Of a MESH the triangles of all pieces, of a SKELETON
 * the length of its edges in nm, both at most 2^62.
 */
void fg_measure_put(struct fg_output *out, const struct fg_key *table, int64_t gen,
    double value);
/* *known is false, and *value stays, where the object's mesh (skeleton) of that
 * generation is not made, or was made by a version that did not measure. */
int fg_measure_find(struct fg_reader *r, const struct fg_layer *l, enum fg_kind kind,
    uint64_t id, int64_t gen, double *value, bool *known,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- voxels of an object */

/* What the tasks need to know of an object. */
struct fg_body {
	const struct fg_task *task;
	struct fg_env *env;
	const struct fg_scale *scale;
	int64_t block[3];     /* voxels */
	int64_t blocks[3];    /* extent of the block grid */
	struct fg_box bounds; /* of the volume */
	struct fg_object object;
	struct fg_object_block *part; /* by at, then id */
	size_t parts;
	enum fg_objects kind;
	/* statistics */
	uint64_t chunks;
	int64_t read_ns;
};

int fg_body_init(struct fg_body *b, const struct fg_task *t, struct fg_env *env,
    struct fg_err *err) FG_MUST_USE;
void fg_body_fini(struct fg_body *b);

/* The parts that lie in a block: their index and number. */
size_t fg_body_find(const struct fg_body *b, uint64_t at, size_t *first);
/* A hash of what the piece of a block is made from: two numbers of the maker (its
 * version and parameters), and the object's labels in the eight blocks that the piece's
 * box reaches into. Stored with the piece: another hash, another piece. */
uint64_t fg_body_hash(const struct fg_body *b, const int64_t blk[3],
    const uint64_t params[2]);
/* Core of a block. */
void fg_body_core(const struct fg_body *b, const int64_t blk[3], struct fg_box *core);

/*
 * The object's voxels in a box (inside the volume): 1, others 0. Only chunks of the
 * object's own blocks are read.
 *
 *   mask  u8, made here, shape of *hull; the caller releases it
 *   hull  out: the part of vx that holds them, with one voxel of margin on each side as
 *         far as vx goes; empty, and mask without data, if there are none
 *
 * Fails: FG_ENOTSUP (the box is too large for memory), FG_ENOMEM, FG_EIO, FG_ECORRUPT,
 * FG_ECANCELED.
 */
int fg_body_mask(struct fg_body *b, const struct fg_box *vx, struct fg_array *mask,
    struct fg_box *hull, struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- passive layers */

/* Look at all blocks of a passive layer that nobody has looked at, beginning with some
 * block that follows from seed, on at most `threads` threads (16 at most), and commit
 * what is there. env: its functions are called by all of them. done: counts, may be
 * NULL.
 * Fails: FG_ECANCELED; as the source; as a commit. */
int fg_scan_layer(const struct fg_layer *l, struct fg_env *env, uint64_t seed,
    int threads, const _Atomic bool *cancel, _Atomic uint64_t *done,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- tasks */

/* Add what a mesh in levels of detail is made of to out: manifest, head and slices, by
 * the generation gen. */
int fg_lods_put(struct fg_output *out, const struct fg_key *key, int64_t gen,
    struct fg_buf *manifest, const struct fg_buf *data, struct fg_err *err) FG_MUST_USE;

/* Make what a TABLE or LODS key names, as fg_task_run does. */
int fg_task_mesh(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err) FG_MUST_USE;
int fg_task_skeleton(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err) FG_MUST_USE;

#endif
