/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Devices: what computes fields of view. The network family is fixed (a stack of
 * residual 3-D convolutions), so a back end offers deep calls, not an operator set.
 *
 * Back ends are tables. Built in are "cpu" (seg/cpu.c: one device per processor core)
 * and "opencl" (seg/onednn.c: where the library has that runtime). Others come as
 * plug-ins with the symbol fg_backend_<name> and are refused when `abi` differs.
 *
 * Life: open a device, load a network (weights are reordered once, activations and
 * scratch memory allocated once), call forward or step many times, unload, close. One
 * thread does all of that for one device; different devices are independent.
 */
#ifndef FG_SEG_DEVICE_H
#define FG_SEG_DEVICE_H

#include "seg/segment.h"

struct fg_canvas;

#define FG_BACKEND_ABI 1

/* Objects of a back end begin with these. */
struct fg_device {
	const struct fg_backend *backend;
	int index;
};

struct fg_model {
	const struct fg_backend *backend;
	int batch_max;  /* patches that one call may hold */
	int64_t fov[3]; /* voxels x, y, z */
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
	int64_t centre[3];      /* voxel of the canvas; the patch lies inside it */
	int faces;              /* out: candidates found, best first */
	struct fg_face face[6]; /* out */
};

struct fg_backend {
	uint32_t abi;
	const char *name; /* prefix of device names: "cpu", "opencl", "cuda" */

	/* Devices there are now, 0 without hardware or driver. */
	int (*count)(void);
	/* Fill desc for device i; never fails, says why a device is unusable. */
	void (*describe)(int i, struct fg_device_desc *desc);
	int (*open)(int i, struct fg_device **out, struct fg_err *err);
	void (*close)(struct fg_device *dev);

	/* Prepare net at that precision for up to batch_max patches a call (the model
	 * may choose fewer). Fails: FG_ENOTSUP, FG_ENOMEM, FG_EIO. */
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
	 * Optional (NULL: seg/canvas.c does the same over forward): n whole steps, of
	 * different canvases. A back end with memory of its own may keep copies of
	 * canvas pages there: canvas_open attaches them to a fresh canvas, canvas_read
	 * brings the logits of a box (x fastest, NaN = never predicted) back,
	 * canvas_close drops them. All three or none.
	 *
	 * Limit: movement and acceptance read logits from the host's pages, so a step
	 * must write its patch back there too (0.14 MB a patch); the three canvas calls
	 * are not made yet. The first back end that needs them lifts that.
	 */
	int (*step)(struct fg_model *m, int n, struct fg_step *const *steps,
	    struct fg_err *err);
	int (*canvas_open)(struct fg_model *m, struct fg_canvas *c, struct fg_err *err);
	int (*canvas_read)(struct fg_canvas *c, const struct fg_box *vx, float *logits,
	    struct fg_err *err);
	void (*canvas_close)(struct fg_canvas *c);
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
 * and run once on a patch. Fails: as load; FG_EIO when a result is wrong.
 */
int fg_device_load(struct fg_device *dev, const struct fg_net *net,
    enum fg_precision prec, int batch_max, struct fg_model **out,
    struct fg_err *err) FG_MUST_USE;

/* Plain float implementation of one patch, one voxel after the other; slow (some
 * hundred Mflop/s to Gflop/s) and independent of every back end. in, out as forward. */
int fg_device_reference(const struct fg_net *net, const float *in, float *out,
    struct fg_err *err) FG_MUST_USE;

#endif
