/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects of generated layers: base objects, and the components that they are joined
 * to.
 *
 * A base object is one label of one block; its id tells the block (work/recipe.h), its
 * voxels never change. Base objects are the nodes of a graph. Its edges are *merges*,
 * the evidence that stitching found between two blocks (joined or not), *contacts*, the
 * evidence of floods that were tried again where two objects touch (joined or not), and
 * *edits*, what users decided. A component is what the following rule makes of them:
 *
 *   - the newest decision about a pair that is not withdrawn outranks its evidence;
 *   - edges are taken in a fixed order: users' joins by their number, then merges by
 *     falling number of shared voxels, then by ids, then contacts likewise. An edge
 *     joins what it connects, unless this would bring the two ends of a user's cut into
 *     one component.
 *
 * The result depends on the edges alone, not on the order in which they came.
 *
 * The public id of a component is its smallest member. Every member is a name of it for
 * ever. 0 is background and no object.
 *
 * Inside: every object's row names its representative directly. Joining two components
 * rewrites the rows of the smaller one, so n objects cost at most n log2 n row writes
 * altogether, and a look-up reads two rows. Components that a cut concerns are worked
 * out anew from their edges. All calls need the thread's own reader.
 */
#ifndef FG_STORE_OBJECT_H
#define FG_STORE_OBJECT_H

#include "store/store.h"

struct fg_object {
	uint64_t id;          /* as asked */
	uint64_t public_id;   /* smallest member of its component */
	uint64_t voxels;      /* of the whole component */
	int64_t lo[3], hi[3]; /* its bounding box, voxels of scale 0 */
	uint64_t members;     /* base objects in it, at least 1 */
	uint64_t blocks;      /* blocks that it has voxels in */
	int64_t gen;          /* rises whenever its members change */
	bool seeded;          /* seed is known: not of what earlier versions made */
	int64_t seed[3]; /* where the flood of its largest member with a known one began
			    (of equals the smallest id's): a voxel of scale 0 */
};

/* The component that `id` belongs to now. FG_ENOENT: the layer has no such object.
 * Cost: proportional to its members (blocks are counted). */
int fg_reader_object(struct fg_reader *r, uint32_t layer, uint64_t id,
    struct fg_object *out, struct fg_err *err) FG_MUST_USE;

/* public_id[i] becomes the smallest member of id[i]'s component; id[i] itself where it
 * is unknown (0 too). The arrays may be the same. Cost: two row look-ups each. */
int fg_reader_public(struct fg_reader *r, uint32_t layer, const uint64_t *id, size_t n,
    uint64_t *public_id, struct fg_err *err) FG_MUST_USE;

struct fg_object_block {
	uint64_t at; /* Morton code of the block */
	uint64_t id; /* base object */
	uint64_t voxels;
};

/* Where the component of `id` (whole) or the base object `id` alone lies, by at, then
 * id. *out is malloc'ed. FG_ENOENT: no such object. */
int fg_reader_object_blocks(struct fg_reader *r, uint32_t layer, uint64_t id,
    bool whole, struct fg_object_block **out, size_t *n,
    struct fg_err *err) FG_MUST_USE;

/* Members of the component of `id`, ascending; *out is malloc'ed. FG_ENOENT. */
int fg_reader_members(struct fg_reader *r, uint32_t layer, uint64_t id, uint64_t **out,
    size_t *n, struct fg_err *err) FG_MUST_USE;

/* Base objects of the block `at`, ascending; *out is malloc'ed, NULL without any. */
int fg_reader_block_objects(struct fg_reader *r, uint32_t layer, uint64_t at,
    uint64_t **out, size_t *n, struct fg_err *err) FG_MUST_USE;

enum fg_object_order { FG_OBJECTS_BY_ID, FG_OBJECTS_BY_VOXELS };
/* A page of the objects of a layer. whole: components (id = public_id), else base
 * objects (public_id = id then, and gen 1). By id: those after `after`. By voxels,
 * largest first: those from position `after` on. At most max; fewer: there are no more.
 * *out is malloc'ed. */
int fg_reader_objects(struct fg_reader *r, uint32_t layer, bool whole,
    enum fg_object_order order, uint64_t after, size_t max, struct fg_object **out,
    size_t *n, struct fg_err *err) FG_MUST_USE;

/* Rises with every change of any component of the layer; 0 before the first. */
int fg_reader_merge_gen(struct fg_reader *r, uint32_t layer, int64_t *gen,
    struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- merges */

/* Evidence about two base objects of different blocks, within the voxels that both
 * blocks computed and the rule looked at. */
struct fg_merge {
	uint64_t a, b; /* a < b */
	uint64_t both, only_a, only_b;
	bool joined; /* what the layer's rule made of it */
};

/* Merges that have a member of id's component (whole) or `id` at one end, by a, b. At
 * most max, from position `skip` on; id 0: all of the layer. *out is malloc'ed. */
int fg_reader_merges(struct fg_reader *r, uint32_t layer, uint64_t id, uint64_t skip,
    size_t max, struct fg_merge **out, size_t *n, struct fg_err *err) FG_MUST_USE;

/* The same of one block: merges, joined or not, whose `a` is one of its objects. */
int fg_reader_block_merges(struct fg_reader *r, uint32_t layer, uint64_t at,
    struct fg_merge **out, size_t *n, struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- contacts */

#define FG_CONTACT_ALL 1000 /* shares are in thousandths */

/* What two floods from both sides of a contact came to (seg/resegment.h), or the first
 * alone where it has decided: then `both` and what the other would have filled are 0. A
 * pair may have one from each block that it touches in; it is joined if any of them is.
 * All of a block's are replaced together, and forgotten when one of the two objects is.
 */
struct fg_contact {
	uint64_t a, b;   /* a < b */
	uint64_t both;   /* voxels of both floods near the contact */
	uint64_t only_a; /* of that from a alone, from b alone */
	uint64_t only_b;
	int64_t vx[3]; /* where: a voxel of scale 0 */
	int recovered; /* the least share of a or b that a flood found again */
	int deleted;   /* the lesser share of voxels that a flood took back */
	bool joined;   /* what the layer's rule made of it */
};

/* As fg_reader_merges, by a, b, block. */
int fg_reader_contacts(struct fg_reader *r, uint32_t layer, uint64_t id, uint64_t skip,
    size_t max, struct fg_contact **out, size_t *n, struct fg_err *err) FG_MUST_USE;

/* Blocks that are stitched but have no result of resegmentation, by at, after `after`
 * (UINT64_MAX: from the first); at most max. *out is malloc'ed. */
int fg_reader_unresegmented(struct fg_reader *r, uint32_t layer, uint64_t after,
    size_t max, uint64_t **out, size_t *n, struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------------------- edits */

/* Values are stored: never renumber. */
enum fg_edit_kind { FG_EDIT_JOIN = 1, FG_EDIT_CUT = 2 };

struct fg_edit {
	int64_t edit; /* its number, chosen by fg_store_edit */
	enum fg_edit_kind kind;
	uint64_t a, b;
	int64_t at_ms; /* wall clock */
	char who[64];
	bool undone;
};

#define FG_EDITS_MAX 1000000 /* of one call */

/*
 * Write decisions, all of one call or none. Numbers are written back. Fails: FG_ENOENT
 * (no such layer, or an id that is no object of it), FG_EINVAL (a = b, too many),
 * FG_EIO, FG_EFULL. changed may be NULL: whether any component changed.
 */
int fg_store_edit(struct fg_store *s, uint32_t layer, struct fg_edit *edit, size_t n,
    bool *changed, struct fg_err *err) FG_MUST_USE;
/* Withdraw decisions by their numbers. One that is withdrawn already counts as done.
 * Fails: FG_ENOENT (no such edit). */
int fg_store_edit_undo(struct fg_store *s, uint32_t layer, const int64_t *edit,
    size_t n, bool *changed, struct fg_err *err) FG_MUST_USE;
/* Edits with numbers above `after`, at most max, ascending; *out is malloc'ed. */
int fg_reader_edits(struct fg_reader *r, uint32_t layer, int64_t after, size_t max,
    struct fg_edit **out, size_t *n, struct fg_err *err) FG_MUST_USE;

/* Blocks that are done but have no stitch result (FG_KIND_STITCH), by at, after `after`
 * (UINT64_MAX: from the first); at most max. *out is malloc'ed. */
int fg_reader_unstitched(struct fg_reader *r, uint32_t layer, uint64_t after,
    size_t max, uint64_t **out, size_t *n, struct fg_err *err) FG_MUST_USE;

#endif
