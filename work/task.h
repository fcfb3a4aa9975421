/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A task: one thing to make (a block's chunks, one coarse chunk, a block's evidence, an
 * object's mesh or skeleton), and running it.
 *
 * fg_task_run reads, computes and encodes; it sees no index and no HTTP. What it needs
 * is in the task (the layer with its recipe and image source) and in its environment
 * (the engine; for coarse chunks a function that hands out the finer chunks). What it
 * yields is a struct fg_output: a result ready for fg_commit that owns its arrays.
 *
 * Who calls it: the scheduler's driver threads; `floodgate segment`; tests. Everything
 * of a task but its atomic members is constant while it runs.
 */
#ifndef FG_WORK_TASK_H
#define FG_WORK_TASK_H

#include "store/object.h"
#include "store/store.h"
#include "work/catalog.h"
#include "work/engine.h"

struct fg_task {
	struct fg_key key; /* BLOCK, STITCH, RESEGMENT, CHUNK with scale >= 1, or the
			    * TABLE of a MESH or SKELETON (work/artefact.h) */
	struct fg_layer *layer; /* a generated one; the caller holds the reference */
	int attempt;            /* failed tries before this one */
	_Atomic int cls;        /* enum fg_class now */
	_Atomic bool cancel;    /* polled; the task then fails with FG_ECANCELED */
	_Atomic uint64_t progress, progress_all; /* seeds (pieces) handled, in all */
};

/* What a mesh may take; beyond it the task fails for good (FG_ENOTSUP). 0: 4 GiB, 1
 * GiB, 10^9. */
struct fg_mesh_limits {
	size_t piece_bytes;  /* memory for the surface of an object in one block */
	size_t levels_bytes; /* for all levels of detail of an object */
	uint64_t triangles;  /* of an object */
};

struct fg_env {
	struct fg_engines *engines; /* BLOCK: where its engine is taken from */
	int floods;                 /* see struct fg_block_call */
	/* CHUNK, MESH, SKELETON, RESEGMENT: state and stored bytes of a chunk of the
	 * same layer. *out is a new reference, NULL unless PRESENT or PARTIAL. */
	int (*child)(void *ctx, const struct fg_key *key, enum fg_state *state,
	    struct fg_buf **out, struct fg_err *err);
	/* STITCH, RESEGMENT: the same for piece `part` of a face artefact; of a BLOCK,
	 * whether it is made (PRESENT, no bytes). RESEGMENT: also of a STITCH. */
	int (*face)(void *ctx, const struct fg_key *key, uint32_t part,
	    enum fg_state *state, struct fg_buf **out, struct fg_err *err);
	/* RESEGMENT: as fg_reader_block_merges. */
	int (*merges)(void *ctx, uint32_t layer, uint64_t at, struct fg_merge **out,
	    size_t *n, struct fg_err *err);
	/* MESH, SKELETON: an object and where it lies, see fg_artefact_object. */
	int (*object)(void *ctx, uint32_t layer, int kind, uint64_t id,
	    struct fg_object *o, struct fg_object_block **blocks, size_t *n,
	    struct fg_err *err);
	/* The same: a stored row; *out is a new reference, NULL if there is none. gen
	 * may be FG_GEN_NEWEST. */
	int (*piece)(void *ctx, const struct fg_key *key, uint64_t part, int64_t gen,
	    struct fg_buf **out, struct fg_err *err);
	/* The same: whether there is such a row. */
	int (*has)(void *ctx, const struct fg_key *key, uint64_t part, int64_t gen,
	    bool *there, struct fg_err *err);
	/* The same: commit a part of the work now; returns when it is done. */
	int (*put)(void *ctx, struct fg_result *res, size_t bytes, struct fg_err *err);
	/* MESH: call fn(arg, i, err) once for each i in 0..n-1, from this thread and
	 * from those that have nothing else to do; as fg_parallel_for. NULL: one by
	 * one. */
	int (*share)(void *ctx, const struct fg_task *t, size_t n,
	    int (*fn)(void *arg, size_t i, struct fg_err *err), void *arg,
	    struct fg_err *err);
	void *ctx;
	struct fg_mesh_limits mesh;
	int64_t skeleton_whole; /* voxels of a box that is traced in one go; 0: 2^27 */
	uint64_t skeleton_vertices; /* most that are joined from blocks; 0: 2^24 */
	const char *worker;         /* provenance: host and process; may be NULL */
	bool no_engine; /* out: it failed because no device can run the recipe */
};

/* A result and the memory it points into. */
struct fg_output {
	struct fg_result result;
	struct fg_payload *payload; /* each holds a reference to its bytes */
	struct fg_object_row *object;
	struct fg_place *places;
	struct fg_merge *merge;
	struct fg_contact *contact;
	char *device, *stats;
	size_t bytes; /* of all payloads */
};

#define FG_GEN_NEWEST INT64_C(-1)

typedef int fg_task_fn(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err);

/*
 * Make it.
 *   BLOCK: the segment task of ARCHITECTURE section 3: image of core + halo, labels,
 *     objects with core voxels numbered 1 .. in flood order, the core cut into chunks,
 *     faces (see fg_face_box). Chunks without any object are EMPTY.
 *   CHUNK: the majority label of each window of the next finer stored scale; PARTIAL
 *     when a finer chunk is absent; EMPTY when all is background.
 *   STITCH: what the block has in common with its neighbours (work/stitch.h).
 *   RESEGMENT: which objects that touch in the block are one (work/resegment.h).
 *   MESH, SKELETON: see work/artefact.h.
 * Fails: FG_ECANCELED; FG_EIO and FG_ENOMEM (worth another try); FG_ECORRUPT,
 * FG_EINVAL, FG_ENOTSUP (not); as fg_engines_get. *out is untouched then.
 */
int fg_task_run(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err) FG_MUST_USE;

/* What the segmentation of a block's box becomes: chunks, objects and faces. Split from
 * fg_task_run for tests. labels: u32, shape of fg_recipe_box, in flood order; prob: u8
 * of that shape or NULL; origins: where the labels began, or NULL. */
struct fg_origins; /* work/origins.h */
int fg_task_cut(const struct fg_layer *l, uint64_t at, const struct fg_array *labels,
    const struct fg_array *prob, const struct fg_origins *origins,
    struct fg_output *out, struct fg_err *err) FG_MUST_USE;

/*
 * The part of a block's box that its face artefact holds: face 0 .. 5 = -x +x -y +y -z
 * +z. It is the outermost 2 * halo voxels of core + halo on that side, all of which
 * the neighbour computes as well; false where there is no neighbour (volume's edge)
 * or no halo. The artefact (kind FACE, part = face) is u32 local numbers as
 * compressed_segmentation with 8 x 8 x 8 blocks; objects without core voxels are 0; a
 * face that would be all 0 has no artefact.
 */
bool fg_face_box(const struct fg_recipe *r, const struct fg_scale *s,
    const int64_t blk[3], int face, struct fg_box *vx);

/* Chunks of scale-1 from which chunk ch of a layer's scale (>= 1) is made, as a box of
 * the finer grid. Windows are counted from voxel 0, so that with an odd voxel_offset a
 * finer chunk may belong to several coarse ones. */
void fg_coarse_children(const struct fg_info *info, int scale, const int64_t ch[3],
    struct fg_box *children);
/* The reverse: chunks of `scale` that any finer chunk of box g goes into, replacing g.
 */
void fg_coarse_over(const struct fg_info *info, int scale, struct fg_box *g);

/* Add a payload; takes over its reference to bytes. */
void fg_output_put(struct fg_output *out, const struct fg_payload *p);
/* Point the result at the arrays, which no longer move. */
void fg_output_seal(struct fg_output *out);
void fg_output_fini(struct fg_output *out);

#endif
