/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The phantom: a specimen of neuropil that is computed, not stored. Branching
 * neurites of many calibres fill space between thin membranes; there are thick
 * dendrites, myelinated axons, somata, glial sheets, mitochondria, vesicles and
 * synapses; the picture looks like electron microscopy, with noise, section jitter,
 * brightness drift and, on request, damaged sections. Every voxel is a pure function
 * of parameters and position: the same bytes on every machine, for any box, in any
 * order, on any number of threads, in bounded memory.
 *
 * As a source (store/source.h), and so on the command line:
 *
 *   phantom:KEY=VALUE,...           the picture (uint8)
 *   phantom:labels=1,KEY=VALUE,...  the truth (uint64)
 *
 *   key      default          meaning
 *   seed     1                0 .. 2^63-1: which specimen
 *   size     1024x1024x1024   voxels, each 1 .. 2^20 (one number: a cube)
 *   nm       8x8x8            voxel size, nm, each 1 .. 100
 *   calibre  320              period of the packing, nm, 200 .. 1000: a plain neurite
 *                             is about 0.6 of it thick
 *   gap      8                labels: voxels closer than this (nm) to a membrane's
 *                             middle are 0; 0 labels every voxel
 *   noise    12               standard deviation of the noise, grey values, 0 .. 60
 *   jitter   0                largest shift of a section, nm, 0 .. 100
 *   drift    6                largest change of brightness along z, grey values, 0 ..
 * 60 defects  0                sections and places damaged, per mille, 0 .. 200:
 *                             missing sections, contrast failures, knife marks, cracks
 *                             (the truth is not changed by them)
 *   organelles 100            per cent of the usual mitochondria, vesicles, synapses
 *   somata   50               per cent of the 16 um cells that hold a cell body
 *
 * Labels: 0 is membrane and myelin; an object's id is below 2^53 and says where the
 * object begins, so it is the same in every box. Objects are connected bodies, up to
 * about one voxel in 2,000 that is apart from its object: slivers where an edge is
 * sharper than the voxels, and crumbs of some hundred voxels beside bent neurites
 * (gap=0). With a gap, thin places may fall apart; jitter adds to both.
 * Limit: a glial cell or soma arm that a thick dendrite runs through may be in pieces.
 * Objects are finite: a run ends after 64 periods at the latest.
 */
#ifndef FG_STORE_PHANTOM_H
#define FG_STORE_PHANTOM_H

#include "base/array.h"
#include "base/err.h"

struct fg_phantom {
	uint64_t seed;
	int64_t size[3];            /* voxels */
	int64_t nm[3];              /* voxel size */
	int64_t calibre;            /* nm */
	int64_t gap;                /* nm */
	int64_t noise;              /* grey values */
	int64_t jitter;             /* nm */
	int64_t drift;              /* grey values */
	int64_t defects;            /* per mille */
	int64_t organelles, somata; /* per cent */
};

/* The defaults of the table. */
void fg_phantom_default(struct fg_phantom *p);
/* Read KEY=VALUE,... over what *p holds; unchanged on failure.
 * Fails: FG_EINVAL (key, value and range named). */
int fg_phantom_parse(const char *text, struct fg_phantom *p,
    struct fg_err *err) FG_MUST_USE;

/*
 * Picture and truth of a box (voxels of scale `scale`, which has 2^scale times the
 * voxel size; scale 0 is the finest). `out` is initialised by the caller: u8 or u64,
 * shape = box, one channel. Voxels outside the volume are computed like all others.
 * Fails: FG_EINVAL (dtype, shape, scale outside 0 .. 20, box beyond +-2^21 voxels).
 */
int fg_phantom_image(const struct fg_phantom *p, int scale, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err) FG_MUST_USE;
int fg_phantom_labels(const struct fg_phantom *p, int scale, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err) FG_MUST_USE;

/* One piece of a centre line, or a synapse: ends in voxels of scale 0 (fractions). */
struct fg_phantom_line {
	uint64_t a, b;         /* objects: equal for a centre line; pre, post */
	double from[3], to[3]; /* synapse: from is on the pre side */
};

/* Called for each; a return value other than 0 ends the walk and is passed on. */
typedef int (*fg_phantom_line_fn)(const struct fg_phantom_line *line, void *arg);

/*
 * Centre lines (from knot to knot and, at branches, to the line they hang on) and
 * synapses that begin inside a box of scale 0. Their order is fixed but without
 * meaning. Lines of tubes, somata and glia are those of the rods that they are made of.
 * Returns what `fn` returned last.
 */
int fg_phantom_curves(const struct fg_phantom *p, const struct fg_box *vx,
    fg_phantom_line_fn fn, void *arg);
int fg_phantom_synapses(const struct fg_phantom *p, const struct fg_box *vx,
    fg_phantom_line_fn fn, void *arg);

#endif
