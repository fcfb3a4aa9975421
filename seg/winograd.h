/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The residual stack in float by Winograd's minimal filtering (Lavin and Gray, "Fast
 * Algorithms for Convolutional Neural Networks", 2016), in three dimensions: a cube of
 * 5^3 inputs gives 3^3 outputs with 125 products where the direct way takes 729. Three
 * divides the field of view of the published networks (33), so that no product is
 * spent beyond it.
 *
 * The interpolation points 0, 2, -1, 1/2 and infinity keep the rounding near that of
 * the direct way (rms 7e-7 of the output a convolution, 1e-7 directly; neighbouring
 * choices reach 2e-6). Every processor gives the same bits: the order of sums is that
 * of the source, and multiplications are fused with additions where it says so.
 *
 * A network in bf16 has its weights and activations rounded as seg/bf16.h has them, and
 * goes the same way: it differs from products of tiles in the order of sums only, and
 * is as fast as in f32, which on processors without tiles is twice as fast as AVX-512's
 * dot products of bf16.
 */
#ifndef FG_SEG_WINOGRAD_H
#define FG_SEG_WINOGRAD_H

#include "seg/device.h"

/* Instruction sets that there are loops for. FG_WINOGRAD_BEST: the widest. */
enum fg_winograd_isa { FG_WINOGRAD_BEST, FG_WINOGRAD_AVX2, FG_WINOGRAD_AVX512 };

/* Whether this processor has the instructions (for BEST any of them) and net the shape
 * that the loops are written for: 16 or 32 features, the same everywhere. */
bool fg_winograd_can_run(const struct fg_net *net, enum fg_winograd_isa isa);

/* A model in f32 or bf16 for one thread; its forward (of one patch a call) and unload
 * are its own. Only after fg_winograd_can_run. Fails: FG_ENOMEM. */
int fg_winograd_load(const struct fg_net *net, enum fg_precision prec,
    enum fg_winograd_isa isa, struct fg_model **out, struct fg_err *err) FG_MUST_USE;

#endif
