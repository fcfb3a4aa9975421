/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How well a segmentation follows true centre lines: edge accuracy and expected run
 * length (Januszewski et al. 2018). Pure arithmetic on a graph whose nodes have been
 * looked up in the segmentation.
 *
 * A *path* is one true skeleton: nodes joined by edges of a length. An object *merges*
 * if it holds at least `merge_nodes` nodes of each of two or more paths. An edge is, in
 * this order,
 *
 *   omitted  an end lies in background
 *   split    its ends lie in different objects
 *   merged   its object merges
 *   correct  otherwise
 *
 * Expected run length: the mean, over all points of all paths, of the length of the run
 * that the point is in; a run is a connected piece of correct edges, and points on
 * other edges count 0. That is  ERL = sum of (length of a run)^2 / length of all paths.
 * `erl_max` is the same with every path in one run.
 */
#ifndef FG_SEG_PATHS_H
#define FG_SEG_PATHS_H

#include <jansson.h>

#include "base/err.h"

struct fg_path_node {
	uint64_t path;   /* which skeleton */
	uint64_t object; /* label at the node; 0 = background */
};

struct fg_path_edge {
	uint32_t a, b; /* nodes of one path */
	double length;
};

enum fg_path_fate { FG_PATH_OMITTED, FG_PATH_SPLIT, FG_PATH_MERGED, FG_PATH_CORRECT };
#define FG_PATH_FATES 4

struct fg_path_score {
	uint64_t paths, nodes, edges;
	uint64_t merging;              /* objects that merge */
	double length;                 /* of all edges */
	uint64_t count[FG_PATH_FATES]; /* edges, by fate */
	double part[FG_PATH_FATES];    /* of the length, by fate; sums to 1 */
	double erl, erl_max;
};

/* Without any edge all is 0. Fails: FG_EINVAL (an edge between paths, or without its
 * nodes), FG_ENOMEM. */
int fg_path_score(const struct fg_path_node *node, size_t nodes,
    const struct fg_path_edge *edge, size_t edges, uint64_t merge_nodes,
    struct fg_path_score *out, struct fg_err *err) FG_MUST_USE;

json_t *fg_path_score_format(const struct fg_path_score *s) FG_MUST_USE;

#endif
