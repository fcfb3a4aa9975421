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

/* "Not given" for every field: the file decides (fg_net_load). */
#define FG_NET_SHAPE_UNSET ((struct fg_net_shape){{0, 0, 0}, {-1, -1, -1}, 0, 0})

/*
 * Read a network. Two kinds of file:
 *
 *   NAME.safetensors  our own (seg/train/): one file, whose metadata says how it is to
 *                     be fed (fov, deltas, image_mean, image_stddev)
 *   else              a TensorFlow checkpoint: `path` is the prefix (NAME for
 * NAME.index and NAME.data-00000-of-00001), which does not say
 *
 * shape: for a checkpoint all of it. For a safetensors file fields may be left as in
 * FG_NET_SHAPE_UNSET; a delta, or a mean and stddev, given here outrank the file's; a
 * field of view must be the file's (FG_EINVAL).
 *
 * Tensors seed_update/conv{i}_{a,b}/{weights,biases} and seed_update/conv_lom/...;
 * depth is found by counting, features may differ by layer. sha256 covers the file, or
 * the index file's bytes followed by the data file's.
 * Fails: FG_ENOENT, FG_ECORRUPT (header, checksum, shape, dtype, NaN or infinite
 * weight: the tensor is named), FG_ENOTSUP. Freed with fg_net_free.
 */
struct fg_net *fg_net_load(const char *path, const struct fg_net_shape *shape,
    struct fg_err *err) FG_MUST_USE;
void fg_net_free(struct fg_net *net);

/* Fill the fields of *shape that are unset from the file, as fg_net_load would; for
 * checkpoints nothing changes. Fails like fg_net_load. */
int fg_net_find_shape(const char *path, struct fg_net_shape *shape,
    struct fg_err *err) FG_MUST_USE;
bool fg_net_is_safetensors(const char *path);

/* Multiply-adds * 2 of one field of view, dense count (45.8e9 for FIB-25). */
double fg_net_flops(const struct fg_net *net);

#endif
