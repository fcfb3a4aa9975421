/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The canvas of one flood: logits of an image of any size, NaN where nothing was
 * predicted yet. It is a hash of pages (FG_PAGE^3 voxels) that are allocated when the
 * flood first writes there; clearing touches those pages alone, so a small flood is
 * cheap in a large box. Nothing here knows about the box's end but the image.
 *
 * One thread at a time: the flood's owner between steps, the device's thread in one.
 */
#ifndef FG_SEG_CANVAS_H
#define FG_SEG_CANVAS_H

#include "base/array.h"
#include "seg/device.h"

#define FG_PAGE 16 /* edge, voxels: 16 KiB of logits */
#define FG_PAGE_VOXELS (FG_PAGE * FG_PAGE * FG_PAGE)

struct fg_page {
	int64_t at[3]; /* page grid x, y, z: covers voxels at * FG_PAGE ... */
	float logit[FG_PAGE_VOXELS]; /* x fastest */
	size_t slot;                 /* own: place in the hash */
};

struct fg_canvas;

/* image: u8 or u16, (x, y, z, 1); lent until free. Voxels become
 * (voxel - mean) / stddev in float as patches are gathered. */
struct fg_canvas *fg_canvas_new(const struct fg_array *image, double mean,
    double stddev) FG_MUST_USE;
void fg_canvas_free(struct fg_canvas *c);
/* Forget all logits; pages are kept for the next flood. */
void fg_canvas_clear(struct fg_canvas *c);

/* Logit of one voxel, NaN if never predicted. */
float fg_canvas_get(const struct fg_canvas *c, const int64_t vx[3]);
/* Fails: FG_ENOMEM. */
int fg_canvas_set(struct fg_canvas *c, const int64_t vx[3], float logit,
    struct fg_err *err) FG_MUST_USE;

/* The touched pages, in the order in which they were touched. */
size_t fg_canvas_pages(const struct fg_canvas *c);
const struct fg_page *fg_canvas_page(const struct fg_canvas *c, size_t i);
/* Bytes of pages held, used or kept. */
size_t fg_canvas_bytes(const struct fg_canvas *c);

/* Copy a box of `size` voxels at lo, inside the image: normalised image, and logits
 * (NaN where never predicted); x fastest. */
void fg_canvas_gather_image(const struct fg_canvas *c, const int64_t lo[3],
    const int64_t size[3], float *image);
void fg_canvas_gather(const struct fg_canvas *c, const int64_t lo[3],
    const int64_t size[3], float *logit);
/* Write logits of a box. Fails: FG_ENOMEM (some pages may be written). */
int fg_canvas_scatter(struct fg_canvas *c, const int64_t lo[3], const int64_t size[3],
    const float *logit, struct fg_err *err) FG_MUST_USE;

/* ------------------------------------------------- steps over forward */

/* Work space of one device's thread for a model's steps. */
struct fg_step_work;
struct fg_step_work *fg_step_work_new(const struct fg_model *m,
    struct fg_err *err) FG_MUST_USE;
void fg_step_work_free(struct fg_step_work *w);
/* No steps for a while: what the device holds of canvases is given back. The next step
 * on one writes it anew. */
void fg_step_work_idle(struct fg_step_work *w);

/*
 * Run n steps (1 <= n <= batch_max, different canvases): gather, NaN becomes the pad
 * value, forward (or the back end's own step), freeze rule, scatter, faces. Fails: as
 * forward; FG_ENOMEM. On failure step->done tells which were taken all the same; of the
 * others the faces are not set, and of the one that found no memory some pages may be.
 *
 * A back end with steps of its own holds canvases in its memory; the work space keeps
 * track of them. The host's canvas is right after each step in any case, so the next
 * one may run on any device, and none has to be asked when one is lost.
 */
int fg_step_run(struct fg_model *m, struct fg_step_work *w, int n,
    struct fg_step *const *steps, struct fg_err *err) FG_MUST_USE;

/*
 * The freeze rule on one patch of n voxels: where more than `freeze` of the new logits
 * reach `move`, a voxel that was predicted below 0 and would rise keeps its old logit.
 */
void fg_step_freeze(const struct fg_step_params *p, size_t n, const float *old,
    float *logit);

/* FaceMax: the best point of each face of the movement box round the centre of a patch
 * of size fov, those that reach `move`, best first (ties: larger z, y, x offset
 * first), equal ones once. Returns their number. */
int fg_step_faces(const struct fg_step_params *p, const int64_t fov[3],
    const float *logit, struct fg_face face[6]);

#endif
