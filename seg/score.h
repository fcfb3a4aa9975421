/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How well one segmentation agrees with another: the core of `floodgate evaluate`.
 *
 * A scorer counts how many voxels each pair of labels (test, reference) shares. Slabs
 * of any shape are added one after the other, so that only the table of pairs is in
 * memory; every score follows from that table. The result does not depend on how the
 * volume was cut into slabs.
 *
 * Label 0 means "no object", on both sides.
 */
#ifndef FG_SEG_SCORE_H
#define FG_SEG_SCORE_H

#include <jansson.h>

#include "base/array.h"

/* Which voxels information and Rand scores are about. */
enum fg_score_over {
	FG_SCORE_BOTH,      /* labelled in test and in reference */
	FG_SCORE_REFERENCE, /* labelled in the reference; the test's 0 is one more label
			     */
};

#define FG_SCORE_LEVELS 3

struct fg_score {
	enum fg_score_over over;
	uint64_t voxels;       /* all that were added */
	uint64_t compared;     /* those that `over` names */
	uint64_t test_objects; /* labels other than 0, anywhere in the volume */
	uint64_t ref_objects;

	/* Variation of information, bits: split = H(test | reference), merge =
	 * H(reference | test). 0 is perfect; their sum is the usual figure. */
	double voi_split, voi_merge;

	/* Adapted Rand error 1 - 2PR / (P + R), where, with n_ij shared voxels of test
	 * object i and reference object j, P = sum n_ij^2 / sum_i (sum_j n_ij)^2 and R
	 * = sum n_ij^2 / sum_j (sum_i n_ij)^2. */
	double rand_error, rand_precision, rand_recall;

	/* Reference objects whose best intersection over union with a test object is at
	 * least iou[k]; and the mean of that best value, weighted by object size.
	 * Always over the whole volume, whatever `over` says. */
	double iou[FG_SCORE_LEVELS]; /* 0.5, 0.75, 0.9 */
	uint64_t matched[FG_SCORE_LEVELS];
	double iou_weighted;
};

struct fg_scorer;

/*
 * A scorer for at most max_pairs different pairs of labels (0: 100 million, 5 GB); the
 * table grows as pairs appear, about 50 bytes each. Freed with fg_score_free.
 */
struct fg_scorer *fg_score_new(size_t max_pairs) FG_MUST_USE;
void fg_score_free(struct fg_scorer *s);

/*
 * Count one slab.
 *
 *   test, ref  the same shape (x, y, z, 1), each u8, u16, u32 or u64
 *
 * Fails: FG_EINVAL on shape or dtype, with nothing counted; FG_EFULL when the pairs are
 * too many, FG_ENOMEM; after these two the scorer can only be freed.
 * Cost: one pass; runs of the same pair along x are counted at once.
 */
int fg_score_add(struct fg_scorer *s, const struct fg_array *test,
    const struct fg_array *ref, struct fg_err *err) FG_MUST_USE;

/*
 * The scores of all slabs so far; more may be added afterwards. Where nothing is
 * compared, entropies and errors are 0, precision and recall 1.
 * Fails: FG_ENOMEM (needs as much memory again as the pairs take).
 */
int fg_score_get(const struct fg_scorer *s, enum fg_score_over over,
    struct fg_score *out, struct fg_err *err) FG_MUST_USE;

/* An object that is wrong: a test object that holds several reference objects (merge),
 * or a reference object that several test objects share (split). */
struct fg_score_offender {
	bool merge;
	uint64_t object; /* test object of a merge, reference object of a split */
	uint64_t main;   /* its largest partner on the other side */
	uint64_t other;  /* the second largest: here it is wrong */
	uint64_t voxels; /* shared with other partners than the largest; 0 left out */
};

/* The `max` largest merges or splits by voxels, largest first (of equals the lower id);
 * out has room for max. Fails: FG_ENOMEM. */
int fg_score_worst(const struct fg_scorer *s, bool merges, size_t max,
    struct fg_score_offender *out, size_t *n, struct fg_err *err) FG_MUST_USE;

/* The scores as a new JSON object, one member per figure; precision and recall are
 * matched objects among those of test and reference, by IoU. */
json_t *fg_score_format(const struct fg_score *s) FG_MUST_USE;

#endif
