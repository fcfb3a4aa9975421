/* SPDX-License-Identifier: Apache-2.0 */
/* A plain graph: a list of edges, and for each vertex a list of its edges. */
#include "config.h"

#include "mesh/graph.h"

#include <math.h>
#include <stdlib.h>

int
fg_graph_link(struct fg_graph *g, struct fg_err *err)
{
	size_t n = g->vertices;

	free(g->first);
	free(g->arc);
	free(g->degree);
	g->first = calloc(n + 2, sizeof *g->first);
	g->arc = calloc(2 * g->edges + 1, sizeof *g->arc);
	g->degree = calloc(n + 1, sizeof *g->degree);
	if (!g->first || !g->arc || !g->degree)
		return fg_fail(err, FG_ENOMEM, "no memory to join a skeleton");
	for (size_t i = 0; i < 2 * g->edges; i++) {
		if (!g->gone[i / 2])
			g->degree[g->edge[i]]++;
	}
	for (size_t v = 0; v < n; v++)
		g->first[v + 2] = g->first[v + 1] + g->degree[v];
	for (size_t i = 0; i < 2 * g->edges; i++) {
		if (!g->gone[i / 2])
			g->arc[g->first[g->edge[i] + 1]++] = i / 2;
	}
	return 0;
}

int
fg_graph_add(struct fg_graph *g, uint32_t a, uint32_t b, struct fg_err *err)
{
	if (g->edges == g->room) {
		size_t room = g->room + g->room / 2 + 64;
		uint32_t *edge = realloc(g->edge, 2 * room * sizeof *edge);

		if (edge)
			g->edge = edge;
		uint8_t *gone = edge ? realloc(g->gone, room) : NULL;
		if (!gone)
			return fg_fail(err, FG_ENOMEM, "no memory to join a skeleton");
		g->gone = gone;
		g->room = room;
	}
	g->edge[2 * g->edges] = a;
	g->edge[2 * g->edges + 1] = b;
	g->gone[g->edges++] = 0;
	return 0;
}

void
fg_graph_drop(struct fg_graph *g, size_t edge)
{
	fg_assert(!g->gone[edge]);
	g->gone[edge] = 1;
	g->degree[g->edge[2 * edge]]--;
	g->degree[g->edge[2 * edge + 1]]--;
}

void
fg_graph_fini(struct fg_graph *g)
{
	free(g->xyz);
	free(g->radius);
	free(g->edge);
	free(g->gone);
	free(g->degree);
	free(g->first);
	free(g->arc);
	*g = (struct fg_graph){0};
}

double
fg_graph_apart(const struct fg_graph *g, uint32_t a, uint32_t b)
{
	double sum = 0;

	for (size_t d = 0; d < 3; d++) {
		double off = (double)g->xyz[3 * (size_t)a + d] -
			     (double)g->xyz[3 * (size_t)b + d];

		sum += off * off;
	}
	return sqrt(sum);
}

double
fg_graph_length(const struct fg_graph *g, size_t edge)
{
	return fg_graph_apart(g, g->edge[2 * edge], g->edge[2 * edge + 1]);
}
