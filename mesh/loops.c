/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Loops of skeletons. A search in breadth finds one: the first edge that leads to a
 * vertex seen before, and the two ways from its ends back to where they part. It is
 * opened, which takes at least one edge of it, and the search begins anew, until each
 * tree was searched to its end.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "mesh/graph.h"

#define NONE UINT32_MAX

struct search {
	struct fg_graph *g;
	uint32_t *from; /* vertex before it; NONE: not seen */
	size_t *by;     /* edge from there */
	uint32_t *depth, *queue;
	uint8_t *done; /* vertices of trees without loop */
	/* The loop: edge[i] joins vertex[i] and the next. */
	uint32_t *vertex;
	size_t *edge, len;
};

/* The loop that edge e closes between u and v, both seen. */
static void
take_loop(struct search *s, uint32_t u, uint32_t v, size_t e)
{
	size_t left = 0, right = 0;
	uint32_t a = u, b = v;

	while (a != b) {
		if (s->depth[a] >= s->depth[b]) {
			a = s->from[a];
			left++;
		} else {
			b = s->from[b];
			right++;
		}
	}
	/* From where they part to u, over e to v, and back. */
	s->len = left + right + 1;
	s->vertex[0] = a;
	for (size_t i = left; i > 0; i--, u = s->from[u]) {
		s->vertex[i] = u;
		s->edge[i - 1] = s->by[u];
	}
	s->edge[left] = e;
	for (size_t i = left + 1; i < s->len; i++, v = s->from[v]) {
		s->vertex[i] = v;
		s->edge[i] = s->by[v];
	}
}

/* Search the tree of `start`; true: it has a loop. `seen` is how many the queue has. */
static bool
find_loop(struct search *s, uint32_t start, size_t *seen)
{
	const struct fg_graph *g = s->g;
	size_t head = 0, tail = 0;

	s->queue[tail++] = start;
	s->from[start] = start;
	s->by[start] = SIZE_MAX;
	s->depth[start] = 0;
	while (head < tail) {
		uint32_t v = s->queue[head++];

		for (size_t i = g->first[v]; i < g->first[v + 1]; i++) {
			size_t e = g->arc[i];
			uint32_t u = fg_graph_other(g, e, v);

			if (g->gone[e] || e == s->by[v])
				continue;
			if (s->from[u] != NONE) {
				take_loop(s, v, u, e);
				*seen = tail;
				return true;
			}
			s->from[u] = v;
			s->by[u] = e;
			s->depth[u] = s->depth[v] + 1;
			s->queue[tail++] = u;
		}
	}
	*seen = tail;
	return false;
}

/* Length of the way round from vertex i of the loop to vertex j. */
static double
way(const struct search *s, size_t i, size_t j)
{
	double sum = 0;

	for (; i != j; i = (i + 1) % s->len)
		sum += fg_graph_length(s->g, s->edge[i]);
	return sum;
}

static void
drop_way(struct search *s, size_t i, size_t j)
{
	do {
		fg_graph_drop(s->g, s->edge[i]);
		i = (i + 1) % s->len;
	} while (i != j);
}

static void
cut_longest(struct search *s)
{
	size_t best = 0;

	for (size_t i = 1; i < s->len; i++) {
		if (fg_graph_length(s->g, s->edge[i]) >
		    fg_graph_length(s->g, s->edge[best]))
			best = i;
	}
	fg_graph_drop(s->g, s->edge[best]);
}

/* One branch, at vertex b of the loop. */
static void
open_handle(struct search *s, size_t b)
{
	size_t far = b;
	double most = -1;

	for (size_t i = 0; i < s->len; i++) {
		double d = fg_graph_apart(s->g, s->vertex[b], s->vertex[i]);

		if (i != b && d > most) {
			most = d;
			far = i;
		}
	}
	if (way(s, b, far) > way(s, far, b))
		drop_way(s, b, far);
	else
		drop_way(s, far, b);
}

/* Of the ways between branches b[0..n), the shortest goes. */
static void
drop_shortest(struct search *s, const size_t *b, size_t n)
{
	double least = INFINITY;
	size_t best = 0;

	for (size_t i = 0; i < n; i++) {
		double d = way(s, b[i], b[(i + 1) % n]);

		if (d < least) {
			least = d;
			best = i;
		}
	}
	drop_way(s, b[best], b[(best + 1) % n]);
}

/* Three branches or more: a star, if one vertex of the loop covers them. */
static int
collapse(struct search *s, const size_t *b, size_t n, struct fg_err *err)
{
	struct fg_graph *g = s->g;
	double middle[3] = {0}, least = INFINITY;
	uint32_t hub = s->vertex[0];

	for (size_t i = 0; i < n; i++) {
		for (size_t d = 0; d < 3; d++)
			middle[d] +=
			    (double)g->xyz[3 * s->vertex[b[i]] + d] / (double)n;
	}
	for (size_t i = 0; i < s->len; i++) {
		const float *p = g->xyz + 3 * (size_t)s->vertex[i];
		double off =
		    hypot(hypot((double)p[0] - middle[0], (double)p[1] - middle[1]),
			(double)p[2] - middle[2]);

		if (off < least) {
			least = off;
			hub = s->vertex[i];
		}
	}
	for (size_t i = 0; i < n; i++) {
		if (fg_graph_apart(g, hub, s->vertex[b[i]]) > (double)g->radius[hub]) {
			drop_shortest(s, b, n);
			return 0;
		}
	}
	for (size_t i = 0; i < s->len; i++)
		fg_graph_drop(g, s->edge[i]);
	for (size_t i = 0; i < n; i++) {
		if (s->vertex[b[i]] != hub &&
		    fg_graph_add(g, hub, s->vertex[b[i]], err) < 0)
			return -1;
	}
	return fg_graph_link(g, err);
}

static int
open_loop(struct search *s, struct fg_err *err)
{
	size_t *b = calloc(s->len, sizeof *b), n = 0;
	int rc = 0;

	if (!b)
		return fg_fail(err, FG_ENOMEM, "no memory to open a loop");
	for (size_t i = 0; i < s->len; i++) {
		if (s->g->degree[s->vertex[i]] > 2)
			b[n++] = i;
	}
	if (n == 0)
		cut_longest(s);
	else if (n == 1)
		open_handle(s, b[0]);
	else if (n == 2)
		drop_shortest(s, b, n);
	else
		rc = collapse(s, b, n, err);
	free(b);
	return rc;
}

int
fg_graph_open_loops(struct fg_graph *g, struct fg_err *err)
{
	size_t n = (size_t)g->vertices + 1;
	struct search s = {.g = g,
	    .from = fg_try_alloc(n, sizeof *s.from),
	    .by = fg_try_alloc(n, sizeof *s.by),
	    .depth = fg_try_alloc(n, sizeof *s.depth),
	    .queue = fg_try_alloc(n, sizeof *s.queue),
	    .done = calloc(n, 1),
	    .vertex = fg_try_alloc(n, sizeof *s.vertex),
	    .edge = fg_try_alloc(n, sizeof *s.edge)};
	int rc = -1;

	if (!s.from || !s.by || !s.depth || !s.queue || !s.done || !s.vertex ||
	    !s.edge) {
		fg_fail(err, FG_ENOMEM, "no memory to open loops");
		goto out;
	}
	memset(s.from, 0xff, n * sizeof *s.from);
	for (uint32_t v = 0; v < g->vertices;) {
		size_t seen;

		if (s.done[v] || g->degree[v] == 0) {
			v++;
			continue;
		}
		bool loop = find_loop(&s, v, &seen);
		for (size_t i = 0; i < seen; i++) {
			s.from[s.queue[i]] = NONE;
			s.done[s.queue[i]] = !loop;
		}
		if (loop && open_loop(&s, err) < 0)
			goto out;
	}
	rc = 0;
out:
	free(s.from);
	free(s.by);
	free(s.depth);
	free(s.queue);
	free(s.done);
	free(s.vertex);
	free(s.edge);
	return rc;
}
