/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simplifying to a limit that is measured afterwards: what is flat, or nearly, goes
 * first, then what the error of planes allows. Private to mesh/simplify.c.
 */
#ifndef FG_MESH_THIN_H
#define FG_MESH_THIN_H

#include "mesh/sheet.h"

/* In the sheet's unit, each >= 0. */
struct fg_thin_params {
	float first;        /* error of planes of the surface */
	float further;      /* the same, from what that has left */
	float off;          /* distances from planes, added up over the moves */
	uint32_t triangles; /* be done when there are no more */
};

/*
 * Move vertices onto neighbours as long as what that makes of the planes around them
 * (root of the mean square over the area that they stand for) is within an error. That
 * is a mean, to which a spike beside something large counts for nothing; so it is also
 * added up how far each move's target is from the planes of the triangles that turn.
 *
 *   s          with pairs (fg_sheet_pair)
 *   mark       one for each triangle: 1 is left as it is, and not among the result
 *   index      room for all; triangles of vertices of the sheet
 *   triangles  out: their number
 *
 * Vertices on a border, on what is marked, on an edge of more than two triangles, or
 * where more than one piece of surface meets stay. No triangle turns by more than 75
 * degrees in one move (in several, one in a thousand of a rough ball's turns over), no
 * two sheets grow together, and what was closed stays closed. Not measured. Cost: 0.2 s
 * and 64 MB a million triangles. Fails: FG_ENOMEM, FG_ENOTSUP (2^30 triangles or more).
 */
int fg_thin_make(const struct fg_sheet *s, const uint8_t *mark,
    const struct fg_thin_params *p, uint32_t *index, uint32_t *triangles,
    struct fg_err *err) FG_MUST_USE;

#endif
