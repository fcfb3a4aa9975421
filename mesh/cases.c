/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The triangles of a case. On each face of the cell, walk round the four corners with
 * the face seen from outside. Where the walk leaves the inside, the surface's border on
 * that face begins; it ends where the walk had entered that run of inner corners. So
 * inner corners that are diagonal on a face stay separate. Each crossed edge lies on
 * two faces and is a beginning on one and an end on the other: following the links
 * gives loops, and a fan of triangles fills each.
 *
 * The rule sees nothing but the corners of the face. The cell on the other side applies
 * it to the same corners in the opposite direction and gets the same border reversed:
 * that is why the surface is closed, whatever the labels are.
 */
#include "config.h"

#include "mesh/cases.h"

/* The edge between two corners that differ in one axis. */
static int
edge_between(int a, int b)
{
	int low = a & b, axis = __builtin_ctz((unsigned)(a ^ b));

	return 4 * axis + (low >> (axis + 1) % 3 & 1) + 2 * (low >> (axis + 2) % 3 & 1);
}

/* Corners of a face, in turn, counter-clockwise as seen from outside the cell. */
static void
face_corners(int axis, int side, int corner[4])
{
	int u = 1 << (axis + 1) % 3, v = 1 << (axis + 2) % 3;
	int at = side ? 1 << axis : 0;
	const int turn[4] = {at, at | u, at | u | v, at | v};

	for (int k = 0; k < 4; k++)
		corner[k] = turn[side ? k : 3 - k];
}

/* next[e]: the edge to which the surface's border goes on from crossed edge e. */
static void
link_faces(unsigned mask, int8_t next[12])
{
	for (int face = 0; face < 6; face++) {
		int c[4];

		face_corners(face / 2, face % 2, c);
		for (int k = 0; k < 4; k++) {
			int last = k; /* inner corner, the next one is outside */

			if (!(mask >> c[k] & 1) || mask >> c[(k + 1) % 4] & 1)
				continue;
			while (mask >> c[(last + 3) % 4] & 1)
				last = (last + 3) % 4;
			next[edge_between(c[k], c[(k + 1) % 4])] =
			    (int8_t)edge_between(c[(last + 3) % 4], c[last]);
		}
	}
}

static void
make_case(struct fg_cases *t, unsigned mask)
{
	uint8_t *to = t->edge[mask];
	unsigned open = 0;
	int8_t next[12];

	for (int e = 0; e < 12; e++) {
		int low = t->low[e], high = low + (1 << e / 4);

		if ((mask >> low & 1) != (mask >> high & 1))
			open |= 1u << e;
	}
	t->crossed[mask] = (uint16_t)open;
	if (open)
		link_faces(mask, next);
	while (open) {
		int first = __builtin_ctz(open), b = next[first], c = next[b];

		open &= ~(1u << first | 1u << b);
		for (; c != first; b = c, c = next[c]) {
			*to++ = (uint8_t)first;
			*to++ = (uint8_t)c;
			*to++ = (uint8_t)b;
			open &= ~(1u << c);
			t->triangles[mask]++;
			fg_assert(t->triangles[mask] <= FG_CASE_TRIANGLES);
		}
	}
}

void
fg_cases_init(struct fg_cases *t)
{
	memset(t, 0, sizeof *t);
	for (int e = 0; e < 12; e++) {
		int axis = e / 4;

		t->low[e] = (uint8_t)((e & 1) << (axis + 1) % 3 |
				      (e >> 1 & 1) << (axis + 2) % 3);
	}
	for (unsigned mask = 0; mask < 256; mask++)
		make_case(t, mask);
}
