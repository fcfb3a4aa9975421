/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Flood filling of one box: image in, labels out. This is what a segment task calls.
 *
 * Roles. A *batcher* belongs to one network at one precision. Threads of `work/` that
 * own devices call fg_batcher_serve and execute field-of-view steps; threads that run
 * tasks call fg_segment_block, which decides movement and never computes a network.
 * Several blocks may run at once; steps of interactive blocks go first, and a bulk
 * block is owed one step in `bulk_every`.
 *
 * The result is a function of image, network, precision and parameters alone: not of
 * the number of devices, threads, batch size, or of what else runs.
 */
#ifndef FG_SEG_SEGMENT_H
#define FG_SEG_SEGMENT_H

#include <jansson.h>

#include "base/array.h"
#include "seg/net.h"

enum fg_precision { FG_PREC_F32, FG_PREC_BF16, FG_PREC_F16 };
const char *fg_precision_name(enum fg_precision p); /* "f32", "bf16", "f16" */
int fg_precision_parse(const char *name, enum fg_precision *out,
    struct fg_err *err) FG_MUST_USE;

/* Options of inference under the names of the published configuration. Probabilities
 * 0..1 are converted to logits once. */
struct fg_flood_params {
	double init_activation, pad_value, move_threshold, segment_threshold;
	double disco_seed_threshold;  /* negative: the freeze rule is off */
	int64_t min_segment_size;     /* voxels of the whole box */
	int64_t min_boundary_dist[3]; /* x, y, z */
	char seed_policy[32];         /* "PolicyPeaks" */
	double voxel_nm[3];           /* voxel size, for the distance transform */
};

/* The FIB-25 example's values (0.95, 0.05, 0.9, 0.6, 0, 1000, 1/1/1, PolicyPeaks). */
void fg_flood_params_default(struct fg_flood_params *p);
/* Read from / add to a JSON object; absent keys keep what *p holds. */
int fg_flood_params_parse(const json_t *obj, struct fg_flood_params *p,
    struct fg_err *err) FG_MUST_USE;
json_t *fg_flood_params_format(const struct fg_flood_params *p) FG_MUST_USE;

/* ------------------------------------------------------------- devices */

struct fg_device_desc {
	char name[64];    /* "cpu:0", "opencl:0", "cuda:0" */
	char detail[128]; /* model, instruction set */
	bool usable;
	char why[128];   /* reason when not usable */
	bool bf16, f16;  /* the fast precision of networks of the published kind */
	uint64_t memory; /* bytes; 0 = host memory */
};
/* All devices that the built-in back ends and plug-ins see; *out malloc'ed, free().
 * One "cpu:N" per core that this process may run on. */
int fg_devices_list(struct fg_device_desc **out, size_t *n,
    struct fg_err *err) FG_MUST_USE;

/* `auto` for the devices of this machine: BF16 where it is fast, else F32. */
enum fg_precision fg_precision_auto(const struct fg_device_desc *d, size_t n);

/* ------------------------------------------------------------- batcher */

struct fg_batcher;

/* `net` must outlive the batcher. bulk_every 0: 8. */
struct fg_batcher *fg_batcher_new(const struct fg_net *net, enum fg_precision prec,
    int bulk_every, struct fg_err *err) FG_MUST_USE;
void fg_batcher_free(struct fg_batcher *b);

/*
 * Serve steps on one device ("cpu:1") until fg_batcher_stop; called by a thread that
 * does nothing else. Pins the thread for CPU devices. Before the first step the
 * device runs a self-check against a reference; a failure is returned here
 * (FG_ENOTSUP when the device cannot run the network at that precision).
 */
int fg_batcher_serve(struct fg_batcher *b, const char *device,
    struct fg_err *err) FG_MUST_USE;
/* Makes every fg_batcher_serve return after its current step, and every running
 * fg_segment_block fail with FG_ECANCELED. */
void fg_batcher_stop(struct fg_batcher *b);

struct fg_batcher_stats {
	int devices;        /* now serving */
	uint64_t steps;     /* fields of view computed */
	uint64_t device_ns; /* time devices spent computing them, summed */
	uint64_t waiting;   /* steps queued now */
	int blocks;         /* fg_segment_block calls now running */
};
void fg_batcher_get_stats(struct fg_batcher *b, struct fg_batcher_stats *out);

/* ------------------------------------------------------------- one block */

enum fg_class { FG_INTERACTIVE, FG_BULK, FG_IDLE, FG_CLASSES };

struct fg_flood_origin {
	int64_t start[3];   /* voxel of the box, x, y, z */
	int64_t voxels;     /* of the whole box */
	int64_t iterations; /* fields of view of the committed flood */
};

struct fg_seg_stats {
	uint64_t steps;  /* fields of view of committed floods */
	uint64_t wasted; /* of speculative floods that were thrown away */
	uint64_t seeds, floods, objects;
	uint64_t too_weak, too_small;
	int64_t seed_ns, flood_ns, total_ns;
	struct fg_flood_origin *origin; /* `objects` entries, id = first + index + 1 */
	uint32_t first;                 /* the largest label of `before`, 0 without */
};
void fg_seg_stats_fini(struct fg_seg_stats *s);

struct fg_block_call {
	const struct fg_array *image; /* u8 or u16, shape (x, y, z, 1): the whole box */
	const struct fg_array *mask;  /* u8, same shape, or NULL: 1 = no data here; such
					 voxels are no seeds and no centres */
	const struct fg_flood_params *params;
	const _Atomic int *cls;     /* enum fg_class now; may change while running */
	const _Atomic bool *cancel; /* polled at every step */
	_Atomic uint64_t *progress; /* NULL, or counts seeds handled (of stats.seeds) */
	_Atomic uint64_t *progress_all; /* NULL, or set to the number of seeds */
	int floods;   /* in flight, 0 = as many as the serving devices take at a time */
	bool reverse; /* seeds in the reverse of their order */
	/* u32, same shape, or NULL: objects that are there already. Their voxels keep
	 * these labels; new objects are numbered from the largest of them + 1 on. */
	const struct fg_array *before;
};

/*
 * Segment a box. labels: initialised by the caller, u32, the image's shape; 0 is
 * background, objects are 1, 2, ... in flood order. prob: NULL, or u8 of that shape:
 * 0 unknown, else floor(p * 254) + 1.
 * Blocks until done; needs at least one serving device (else waits for one).
 * Fails: FG_ECANCELED, FG_EINVAL (shape, dtype), FG_ENOMEM, FG_EIO (device lost).
 * Memory: at most 1.2 GB for 250^3.
 */
int fg_segment_block(struct fg_batcher *b, const struct fg_block_call *call,
    struct fg_array *labels, struct fg_array *prob, struct fg_seg_stats *stats,
    struct fg_err *err) FG_MUST_USE;

#endif
