/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stitch task of a block: it is compared with each of its up to 26 neighbours that
 * exist by now, over faces, edges and corners, from the face artefacts of both
 * (work/task.h). The result is evidence (store/object.h) and the note that the block
 * was stitched.
 *
 * A block's task runs after its commit, so of two neighbours the one whose task runs
 * later sees both. What two blocks yield follows from their voxels alone. Running a
 * task twice, or both tasks of a pair seeing both blocks, writes the same rows again.
 */
#ifndef FG_WORK_STITCH_H
#define FG_WORK_STITCH_H

#include "work/task.h"

/*
 * The voxels that two neighbouring blocks are compared on: along an axis on which they
 * differ, `near` (at most the halo) to each side of the plane between their cores;
 * along the others their common core. What lies beside that in the overlap is another
 * block's core, and compared there. False: they have nothing in common. Symmetric in a
 * and b.
 */
bool fg_stitch_box(const struct fg_recipe *r, const struct fg_scale *s,
    const int64_t a[3], const int64_t b[3], struct fg_box *vx);

/* Run it: t->key is STITCH. Uses env->piece. */
int fg_stitch_run(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err) FG_MUST_USE;

#endif
