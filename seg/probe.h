/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Trying a device: does it compute the right thing, the same thing in every place of a
 * batch, and how fast. For `floodgate devices --check`, tests and benchmarks.
 */
#ifndef FG_SEG_PROBE_H
#define FG_SEG_PROBE_H

#include "seg/segment.h"

#define FG_PROBE_SIZES 3

struct fg_probe {
	bool checked;  /* right on a small patch, and finite on a whole one */
	bool same;     /* bits do not depend on batch size or place */
	int batch_max; /* patches that fit */
	int sizes;     /* of the measured: 1, then up to 8 and batch_max */
	int batch[FG_PROBE_SIZES];
	double patches_s[FG_PROBE_SIZES]; /* median of several calls of forward */
	char plan[160];                   /* of memory; may be empty */
	struct fg_err err;                /* why not checked */
};

/* A network of a shape with fixed, random weights of a size that keeps activations
 * within bounds; for speed and agreement, not for floods. fov: odd, one for all axes.
 */
struct fg_net *fg_probe_net(int depth, int features, int64_t fov) FG_MUST_USE;

/*
 * Open device `name`, load net at that precision for up to batch_max patches, check
 * and measure for about `seconds`. A device that fails its check is a result (checked
 * false, err says why). Fails: as fg_device_find. The thread must not have a device
 * open already.
 */
int fg_probe_device(const char *name, const struct fg_net *net, enum fg_precision prec,
    int batch_max, double seconds, struct fg_probe *out,
    struct fg_err *err) FG_MUST_USE;

#endif
