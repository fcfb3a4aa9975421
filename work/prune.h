/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of old generations of meshes and skeletons: which of an agglomerated
 * layer's rows nothing names any more, and removing them. Base objects and those of
 * passive layers have one generation, which stays.
 *
 * Removed, once what took their place has been there for the time to keep them:
 *
 *   TABLE, MEASURE   of generations below a newer TABLE of the same name
 *   PIECE            of these, unless a TABLE that stays names it; of a skeleton unless
 *                    it is the newest of its block
 *   LODS             of these, unless a PIN that stays names them
 *   PIN              of epochs before the horizon, which are answered 410 from then on
 *   all of a name    that no longer is a public id, once that was noted (GONE);
 *                    if it is one again, only the note
 *
 * The newest TABLE of a public id and what it names always stay, also when the object
 * has changed since: the next mesh takes over the pieces whose surroundings are the
 * same, and a reindex learns from them which generations were used. So do rows of a
 * generation that is newer than every TABLE: somebody is making it.
 *
 * A removal that would be wrong if a task were at work on the object is put off: first
 * old tables go, so that nobody takes over pieces by them; then, unless a task of the
 * object runs, what no table names.
 *
 * Notes. A pass writes down the epoch of now, the horizon before it takes away pins,
 * and names that are no public id any more, as rows without bytes; when each was
 * written is known by its run. They are in slabs like everything else, so a reindex
 * brings the horizon back: an expired epoch never gets other bytes than it had.
 */
#ifndef FG_WORK_PRUNE_H
#define FG_WORK_PRUNE_H

#include "store/prune.h"
#include "work/artefact.h"

struct fg_prune {
	struct fg_layer *layer; /* NAME.agg */
	struct fg_reader *reader;
	int64_t run; /* what came with runs up to this one has been there long enough */
	bool sweep;  /* look at the pieces of all names, not only where a table went */
	const char *worker;
	/* Commit, as in struct fg_env; remove, as fg_store_drop; read bytes; whether a
	 * task of this object is running. */
	int (*put)(void *ctx, struct fg_result *res, size_t bytes, struct fg_err *err);
	int (*drop)(void *ctx, const struct fg_row_name *rows, size_t n,
	    uint64_t *dropped, uint64_t *bytes, struct fg_err *err);
	int (*read)(void *ctx, const struct fg_place *place, struct fg_buf **out,
	    struct fg_err *err);
	bool (*busy)(void *ctx, uint32_t layer, enum fg_kind kind, uint64_t id);
	void *ctx;
	const _Atomic bool *cancel;
	/* out */
	uint64_t names, rows, bytes; /* looked at; removed */
	/* Something was put off or is damaged, or the pass failed: the next one should
	 * sweep. */
	bool again;
};

/* One pass over a layer, in small transactions. A name whose bytes are damaged is
 * passed over. Fails: FG_ECANCELED, also when the layer is removed; as reading and
 * writing do. What was done stays. */
int fg_prune_layer(struct fg_prune *p, struct fg_err *err) FG_MUST_USE;

#endif
