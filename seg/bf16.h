/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The residual stack in bf16 for processors with AMX tiles: the same network as
 * oneDNN's, with two layers at a time in the second-level cache, and with the first
 * convolution and the residual stream in float. Without tiles seg/winograd.h has it.
 */
#ifndef FG_SEG_BF16_H
#define FG_SEG_BF16_H

#include <string.h>

#include "seg/device.h"

/* A finite number as bf16: rounded to nearest, of two equally near ones to even. */
static inline uint16_t
fg_bf16_of(float f)
{
	uint32_t u;

	memcpy(&u, &f, sizeof u);
	return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static inline float
fg_bf16_to(uint16_t v)
{
	uint32_t u = (uint32_t)v << 16;
	float f;

	memcpy(&f, &u, sizeof f);
	return f;
}

/*
 * The 27 taps from one feature to another, `stride` floats from one to the next,
 * rounded so that their sum is right: what one loses the next one gets. Activations
 * change little from a voxel to the next, and an error of the sum would be one of the
 * mean, in all of the field of view.
 */
void fg_bf16_of_taps(const float *w, size_t stride, uint16_t out[27]);

/* Whether this processor and kernel have bf16 tiles. Without them f32 is the better
 * precision, as fast and exact (seg/winograd.h). */
bool fg_bf16_has_tiles(void);

/* Whether this processor has tiles and net the shape that these loops are written for:
 * 32 features everywhere. */
bool fg_bf16_can_run(const struct fg_net *net);

/* A model for the calling thread's core; its forward (of one patch a call) and unload
 * are its own. Only after fg_bf16_can_run. Fails: FG_ENOMEM. */
int fg_bf16_load(const struct fg_net *net, struct fg_model **out,
    struct fg_err *err) FG_MUST_USE;

#endif
