/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The 256 cases of marching cubes, worked out rather than listed.
 *
 * Corner c of a cell is at (c & 1, c >> 1 & 1, c >> 2 & 1). Edge 4 * axis + k runs
 * along the axis; bit 0 of k is the place along the next axis (cyclic), bit 1 along the
 * one after. A case is the set of corners inside, as a mask.
 */
#ifndef FG_MESH_CASES_H
#define FG_MESH_CASES_H

#include "base/base.h"

#define FG_CASE_TRIANGLES 5 /* most of one case */

struct fg_cases {
	uint8_t triangles[256];
	uint16_t crossed[256]; /* edges between an inner and an outer corner */
	uint8_t edge[256][3 * FG_CASE_TRIANGLES];
	uint8_t
	    low[12]; /* an edge's corner nearer the origin; the other: + 1 << axis */
};

/* Cost: some microseconds. */
void fg_cases_init(struct fg_cases *t);

#endif
