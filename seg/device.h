/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices: what computes fields of view. The network family is fixed (a stack of
 * residual 3-D convolutions), so a back end offers deep calls, not an operator set.
 *
 * Back ends are tables. Built in are "cpu" (seg/cpu.c: one device per processor core)
 * and "opencl" (seg/onednn.c: where the library has that runtime). Others come as
 * plug-ins (seg/plugin.h).
 *
 * Life: open a device, load a network (weights are reordered once, activations and
 * scratch memory allocated once), call forward or step many times, unload, close. One
 * thread does all of that for one device; different devices are independent.
 */
#ifndef FG_SEG_DEVICE_H
#define FG_SEG_DEVICE_H

#include "seg/segment.h"

struct fg_canvas;
struct fg_remote; /* a back end's own copy of a canvas */

/* Rises with every change of anything that a plug-in sees: this file, struct fg_net,
 * fg_array, fg_err, fg_device_desc. */
#define FG_BACKEND_ABI 3

/* Objects of a back end begin with these. */
struct fg_device {
	const struct fg_backend *backend;
	int index;
};

struct fg_model {
	const struct fg_backend *backend;
	int batch_max;  /* patches that one call may hold */
	int64_t fov[3]; /* voxels x, y, z */
	char plan[160]; /* what memory went where, for people; may be empty */
};

/* The best point of one face of the movement box, where it reaches the threshold. */
struct fg_face {
	float score;   /* logit */
	int8_t off[3]; /* from the centre, voxels x, y, z */
};

/* Thresholds in logits; set once for a block. */
struct fg_step_params {
	float init, pad, move, segment;
	float freeze;    /* fraction of the patch above `move`; negative: off */
	int8_t delta[3]; /* movement box, x, y, z */
};

/* One field of view of one flood: gather, forward, freeze rule, scatter, faces. */
struct fg_step {
	struct fg_canvas *canvas;
	const struct fg_step_params *params;
	struct fg_remote *remote; /* where the back end has a step of its own */
	int64_t centre[3];        /* voxel of the canvas; the patch lies inside it */
	int faces;                /* out: candidates found, best first */
	struct fg_face face[6];   /* out */
	/* Out of fg_step_run: it was taken, also where others of its call failed. */
	bool done;
};

/* Steps from to from + n - 1 of a call are done: their logits as from forward, lent for
 * this call, and their faces. */
typedef void fg_step_fn(void *arg, int from, int n, const float *patch);

struct fg_backend {
	uint32_t abi;     /* FG_BACKEND_ABI */
	uint32_t size;    /* sizeof(struct fg_backend), as a second lock */
	const char *name; /* prefix of device names: "cpu", "opencl", "cuda" */

	/* Devices there are now, 0 without hardware or driver. */
	int (*count)(void);
	/* Fill desc for device i; never fails, says why a device is unusable. */
	void (*describe)(int i, struct fg_device_desc *desc);
	int (*open)(int i, struct fg_device **out, struct fg_err *err);
	void (*close)(struct fg_device *dev);

	/* Prepare net at that precision for up to batch_max patches a call (the model
	 * may choose fewer). Fails: FG_ENOTSUP, FG_EIO; FG_ENOMEM: fewer may fit. */
	int (*load)(struct fg_device *dev, const struct fg_net *net,
	    enum fg_precision prec, int batch_max, struct fg_model **out,
	    struct fg_err *err);
	void (*unload)(struct fg_model *m); /* of m->backend: load may choose another */

	/*
	 * n patches, 1 <= n <= batch_max. in: per patch the normalised image, then the
	 * logits, each fov[0] * fov[1] * fov[2] floats, x fastest. out: per patch the
	 * new logits (input logits + update), same order. A patch's result does not
	 * depend on n or on its place.
	 */
	int (*forward)(struct fg_model *m, int n, const float *in, float *out,
	    struct fg_err *err);

	/*
	 * Optional, all or none: canvases in the device's own memory, where patches are
	 * gathered and scattered. seg/canvas.c keeps the host's canvas equal to them
	 * and does all of it over forward where there are none, or no room for one.
	 *
	 * canvas_open: a canvas of the image's box, nothing predicted; the image (u8 or
	 * u16, normalised as in seg/canvas.h) is copied. Fails: FG_ENOMEM. clear:
	 * forget all logits. write: logits of a box inside the image, x fastest. read:
	 * back.
	 *
	 * step: n whole steps on different canvases (step->remote): gather with the pad
	 * value for NaN, forward, freeze rule, scatter, faces. done: called with what
	 * was scattered, in as many parts as the device likes, while it works on the
	 * next ones; in order, and before step returns. On failure for none or for the
	 * first of them.
	 */
	int (*step)(struct fg_model *m, int n, struct fg_step *const *steps,
	    fg_step_fn *done, void *arg, struct fg_err *err);
	int (*canvas_open)(struct fg_model *m, const struct fg_array *image,
	    double mean, double stddev, struct fg_remote **out, struct fg_err *err);
	int (*canvas_clear)(struct fg_remote *r, struct fg_err *err);
	int (*canvas_write)(struct fg_remote *r, const struct fg_box *vx,
	    const float *logit, struct fg_err *err);
	int (*canvas_read)(struct fg_remote *r, const struct fg_box *vx, float *logit,
	    struct fg_err *err);
	void (*canvas_close)(struct fg_remote *r);
};

extern const struct fg_backend fg_backend_cpu;
extern const struct fg_backend fg_backend_opencl;

/* Split "cpu:1" into back end and number. Fails: FG_EINVAL on grammar, FG_ENOENT for
 * a name that this machine does not have. */
int fg_device_find(const char *name, const struct fg_backend **backend, int *index,
    struct fg_err *err) FG_MUST_USE;

/*
 * Load net on dev for good: first a small network with the same weights (field of view
 * 9x9x9) is compared with a plain float implementation, then the real one is loaded
 * and run once on a patch. Where memory does not suffice, batch_max is halved until
 * it does; with no room for one patch that is FG_ENOTSUP, as trying again is of no use.
 * Fails: as load; FG_EIO when a result is wrong.
 */
int fg_device_load(struct fg_device *dev, const struct fg_net *net,
    enum fg_precision prec, int batch_max, struct fg_model **out,
    struct fg_err *err) FG_MUST_USE;

/* Plain float implementation of one patch, one voxel after the other; slow (some
 * hundred Mflop/s to Gflop/s) and independent of every back end. in, out as forward. */
int fg_device_reference(const struct fg_net *net, const float *in, float *out,
    struct fg_err *err) FG_MUST_USE;

#endif
