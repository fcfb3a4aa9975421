/* SPDX-License-Identifier: Apache-2.0 */
/* Vertices and edges that come and go: the inside of mesh/join.c and mesh/loops.c. */
#ifndef FG_MESH_GRAPH_H
#define FG_MESH_GRAPH_H

#include "formats/skeleton.h"

struct fg_graph {
	uint32_t vertices;
	float *xyz, *radius; /* nm */
	size_t edges, room;
	uint32_t *edge; /* 2 * edges */
	uint8_t *gone;  /* of each edge */
	uint32_t *degree;
	/* Edges of vertex v: arc[first[v]..first[v + 1]), gone ones among them. */
	size_t *first, *arc;
};

/* The edges of each vertex anew, without those that are gone. Fails: FG_ENOMEM. */
int fg_graph_link(struct fg_graph *g, struct fg_err *err) FG_MUST_USE;
/* An edge more; it counts from the next fg_graph_link on. Fails: FG_ENOMEM. */
int fg_graph_add(struct fg_graph *g, uint32_t a, uint32_t b,
    struct fg_err *err) FG_MUST_USE;
void fg_graph_drop(struct fg_graph *g, size_t edge);
void fg_graph_fini(struct fg_graph *g); /* all arrays */

double fg_graph_apart(const struct fg_graph *g, uint32_t a, uint32_t b);
double fg_graph_length(const struct fg_graph *g, size_t edge);

static inline uint32_t
fg_graph_other(const struct fg_graph *g, size_t edge, uint32_t v)
{
	return g->edge[2 * edge] == v ? g->edge[2 * edge + 1] : g->edge[2 * edge];
}

/* Open all loops (see mesh/join.h). Fails: FG_ENOMEM. */
int fg_graph_open_loops(struct fg_graph *g, struct fg_err *err) FG_MUST_USE;

#endif
