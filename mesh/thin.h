/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The first and largest step of simplifying: what is flat, or nearly, goes, before
 * anything is spent on choosing well. Private to mesh/simplify.c.
 */
#ifndef FG_MESH_THIN_H
#define FG_MESH_THIN_H

#include "mesh/sheet.h"

/*
 * Move vertices onto neighbours as long as what that makes of the planes around them
 * (root of the mean square over the area that they stand for) is within an error.
 *
 *   s          with pairs (fg_sheet_pair)
 *   mark       one for each triangle: 1 is left as it is, and not among the result
 *   error      in the sheet's unit, >= 0
 *   index      room for all; triangles of vertices of the sheet
 *   triangles  out: their number
 *
 * Vertices on a border, on what is marked, on an edge of more than two triangles, or
 * where more than one piece of surface meets stay. No triangle turns by more than 75
 * degrees in one move (in several, one in a thousand of a rough ball's turns over), no
 * two sheets grow together, and what was closed stays closed. Not measured. Cost: 0.1 s
 * and 60 MB a million triangles. Fails: FG_ENOMEM.
 */
int fg_thin_make(const struct fg_sheet *s, const uint8_t *mark, float error,
    uint32_t *index, uint32_t *triangles, struct fg_err *err) FG_MUST_USE;

#endif
