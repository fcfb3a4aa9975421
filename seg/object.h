/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a finished flood leaves until it is its turn to be committed: its voxels as
 * bits (an eighth of a byte each instead of the canvas's four), and what decides
 * whether it is still true by then.
 */
#ifndef FG_SEG_OBJECT_H
#define FG_SEG_OBJECT_H

#include "seg/flood.h"

struct fg_object;

/* From a flood that has ended: voxels at or above the segment threshold; with their
 * quantised probabilities if `prob`. Takes over f's list of centres. */
struct fg_object *fg_object_take(struct fg_flood *f, bool prob,
    struct fg_err *err) FG_MUST_USE;
void fg_object_free(struct fg_object *o);

bool fg_object_is_weak(const struct fg_object *o);
/* Fields of view, in order. */
size_t fg_object_centres(const struct fg_object *o);
const int32_t *fg_object_centre(const struct fg_object *o, size_t i);

/* Voxels of the object that are free (label 0). labels: u32, shape x, y, z. */
int64_t fg_object_count(const struct fg_object *o, const uint32_t *labels,
    const int64_t shape[3]);
/* Give them the label id, and their probabilities to prob (u8, or NULL). */
void fg_object_write(const struct fg_object *o, uint32_t id, uint32_t *labels,
    uint8_t *prob, const int64_t shape[3]);

/* floor(p * 254) + 1 of a logit's probability. */
uint8_t fg_object_quantise(float logit);

#endif
