/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resegment task of a block: contacts in its core between objects that stitching
 * left apart are flooded again from both sides (seg/resegment.h), and what comes of it
 * is stored as evidence (struct fg_contact).
 *
 * What it yields is a function of image and recipe alone, whatever was made first: it
 * reads the labels of the block and of its neighbours, and merges between their
 * objects, and runs only when these are all there; nothing that other tasks of its kind
 * or users decided is looked at. Objects that merges of these blocks connect count as
 * one: they are erased together, and their contacts with each other are none.
 *
 * With the rule's `overlap` only objects that blocks saw one over the other are tried:
 * evidence that these merges hold, so it makes no difference either.
 *
 * A contact belongs to the block with the lower voxel of its faces. Two objects that
 * touch in several blocks are tried once in each.
 */
#ifndef FG_WORK_RESEGMENT_H
#define FG_WORK_RESEGMENT_H

#include "work/task.h"

/* Whether the block and all its neighbours in the grid are made and stitched. */
int fg_resegment_ready(const struct fg_layer *l, struct fg_env *env,
    const int64_t blk[3], bool *ready, struct fg_err *err) FG_MUST_USE;

/* Run it: t->key is RESEGMENT. Uses env->engines, child, face, merges. */
int fg_resegment_run(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err) FG_MUST_USE;

#endif
