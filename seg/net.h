/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flood-filling network: its shape and weights, in one plain layout that every
 * device reorders once for itself.
 *
 * Network (Januszewski et al., Nature Methods 2018; google/ffn ConvStack3DFFNModel):
 * input 2 channels (normalised image, object map in logits), a stack of residual
 * modules of 3x3x3 convolutions with zero padding, a 1x1x1 convolution to one
 * channel, and the input logits added.
 */
#ifndef FG_SEG_NET_H
#define FG_SEG_NET_H

#include "base/err.h"
#include "base/hash.h"

/* How the network is to be fed: not in a TensorFlow checkpoint, so given by options. */
struct fg_net_shape {
	int64_t fov[3];      /* field of view, voxels x, y, z; odd */
	int64_t delta[3];    /* movement step, voxels x, y, z */
	double mean, stddev; /* image normalisation: (voxel - mean) / stddev */
};

/* One convolution: w[kz][ky][kx][in][out] (TensorFlow DHWIO), b[out]. */
struct fg_conv {
	int in, out, k; /* channels; kernel edge 3 or 1 */
	const float *w, *b;
};

struct fg_net {
	struct fg_net_shape shape;
	int depth; /* modules, TensorFlow counting: conv0 .. conv{depth-1} */
	int convs; /* 2 * depth + 1: 0_a, 0_b, 1_a, ... , lom */
	struct fg_conv *conv;
	float *weights;             /* owns what conv points to */
	char sha256[FG_SHA256_HEX]; /* of the weights, see fg_net_load */
	char *path;                 /* as given, for provenance */
};

/*
 * Read a TensorFlow checkpoint: `path` is the prefix (NAME for NAME.index and
 * NAME.data-00000-of-00001). Tensors seed_update/conv{i}_{a,b}/{weights,biases} and
 * seed_update/conv_lom/...; depth is found by counting, features may differ by layer.
 * sha256 covers the index file's bytes followed by the data file's.
 * Fails: FG_ENOENT, FG_ECORRUPT (checksum, shape, dtype, NaN or infinite weight: the
 * tensor is named), FG_ENOTSUP. Freed with fg_net_free.
 */
struct fg_net *fg_net_load(const char *path, const struct fg_net_shape *shape,
    struct fg_err *err) FG_MUST_USE;
void fg_net_free(struct fg_net *net);

/* Multiply-adds * 2 of one field of view, dense count (45.8e9 for FIB-25). */
double fg_net_flops(const struct fg_net *net);

#endif
