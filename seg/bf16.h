/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The residual stack in bf16 for processors with AMX tiles or AVX-512's dot products of
 * bf16: the same network as oneDNN's, with two layers at a time in the second-level
 * cache, and with the first convolution and the residual stream in float.
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

/* What multiplies. FG_BF16_BEST: tiles, or dot products where there are none. */
enum fg_bf16_isa { FG_BF16_BEST, FG_BF16_DOTS, FG_BF16_TILES };

/* Whether this processor and kernel have bf16 tiles. Without them f32 is the faster
 * precision (seg/winograd.h). */
bool fg_bf16_has_tiles(void);

/* Whether this processor has the instructions (for BEST any of them) and net the shape
 * that these loops are written for: 32 features everywhere. */
bool fg_bf16_can_run(const struct fg_net *net, enum fg_bf16_isa isa);

/* A model for the calling thread's core; its forward (of one patch a call) and unload
 * are its own. Only after fg_bf16_can_run. Fails: FG_ENOMEM. */
int fg_bf16_load(const struct fg_net *net, enum fg_bf16_isa isa, struct fg_model **out,
    struct fg_err *err) FG_MUST_USE;

#endif
