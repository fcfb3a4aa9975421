/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What seg/winograd.c lays out and the loops of each instruction set work on.
 *
 * Activations are channels-last with a border of zeros: voxel (x, y, z) of the field of
 * view is at (x + 1, y + 1, z + 1) of a box that whole tiles (3^3 outputs each) and
 * their borders fill. Nothing is ever written outside the field of view, so the zeros
 * last.
 */
#ifndef FG_SEG_WINOGRAD_PRIV_H
#define FG_SEG_WINOGRAD_PRIV_H

#include "seg/device.h"

#define WINOGRAD_IN 5               /* inputs of a tile along an axis */
#define WINOGRAD_OUT 3              /* its outputs */
#define WINOGRAD_POINTS (5 * 5 * 5) /* products of a tile */
#define WINOGRAD_SLACK 16           /* voxels that the first convolution may read on */

struct winograd_model {
	struct fg_model base;
	void (*run)(const struct winograd_model *m, const float *image,
	    const float *logit, float *out);
	int depth, features;
	bool bf16;          /* round what convolutions read; weights are rounded */
	int64_t n[3];       /* field of view, x, y, z */
	int64_t tiles[3];   /* that cover it */
	int64_t row, plane; /* voxels from a row, a plane of activations to the next */
	float *first;       /* weights of the first convolution: [tap][in][out] */
	float *filters;     /* of the others, transformed: [conv][point][in][out] */
	float *bias;        /* [conv][features] */
	float last[32];     /* weights of the 1x1x1 convolution */
	float last_bias;
	float *in;     /* two channels */
	float *stream; /* what the modules add to */
	float *mid;    /* between the convolutions of a module */
	float *planes; /* a row of tiles, transformed along z and y: [25][x][feature] */
	float *points; /* a line of it along x too, then products: [5][tile][feature] */
	float *sums;   /* the products, back along x: [25][x][feature] */
};

#if defined(__x86_64__)
void fg_winograd_avx2(const struct winograd_model *m, const float *image,
    const float *logit, float *out);
void fg_winograd_avx512(const struct winograd_model *m, const float *image,
    const float *logit, float *out);
#endif

#endif
