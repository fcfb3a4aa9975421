/* SPDX-License-Identifier: Apache-2.0 */
/* Edge accuracy and expected run length: see the header. */
#include "config.h"

#include "seg/paths.h"

#include <stdlib.h>

#include "base/union.h"

/* Nodes of one path in one object. */
struct share {
	uint64_t object, path, n;
};

static int
by_object(const void *pa, const void *pb)
{
	const struct share *a = pa, *b = pb;

	if (a->object != b->object)
		return a->object < b->object ? -1 : 1;
	return a->path < b->path ? -1 : a->path > b->path;
}

static int
by_value(const void *pa, const void *pb)
{
	uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;

	return a < b ? -1 : a > b;
}

/* Objects that merge, sorted, into list[]; share[] is scratch for all nodes. */
static size_t
find_merging(const struct fg_path_node *node, size_t nodes, uint64_t merge_nodes,
    struct share *share, uint64_t *list)
{
	size_t found = 0;

	for (size_t i = 0; i < nodes; i++)
		share[i] = (struct share){node[i].object, node[i].path, 1};
	qsort(share, nodes, sizeof *share, by_object);
	for (size_t i = 0, end; i < nodes; i = end) {
		uint64_t paths = 0;

		for (end = i; end < nodes && share[end].object == share[i].object;) {
			size_t first = end;

			while (end < nodes && share[end].object == share[i].object &&
			       share[end].path == share[first].path)
				end++;
			paths += end - first >= FG_MAX(merge_nodes, UINT64_C(1));
		}
		if (share[i].object != 0 && paths > 1)
			list[found++] = share[i].object;
	}
	return found;
}

static uint64_t
count_paths(const struct fg_path_node *node, size_t nodes, uint64_t *scratch)
{
	uint64_t n = 0;

	for (size_t i = 0; i < nodes; i++)
		scratch[i] = node[i].path;
	qsort(scratch, nodes, sizeof *scratch, by_value);
	for (size_t i = 0; i < nodes; i++)
		n += i == 0 || scratch[i] != scratch[i - 1];
	return n;
}

/* Sum of the squared lengths of connected pieces of correct edges. */
static double
sum_runs(const struct fg_path_edge *edge, size_t edges, const uint8_t *fate,
    uint32_t *up, double *length, size_t nodes)
{
	double sum = 0;

	for (size_t i = 0; i < nodes; i++) {
		up[i] = (uint32_t)i;
		length[i] = 0;
	}
	for (size_t i = 0; i < edges; i++) {
		if (fate[i] == FG_PATH_CORRECT)
			up[fg_union_top(up, edge[i].a)] = fg_union_top(up, edge[i].b);
	}
	for (size_t i = 0; i < edges; i++) {
		if (fate[i] == FG_PATH_CORRECT)
			length[fg_union_top(up, edge[i].a)] += edge[i].length;
	}
	for (size_t i = 0; i < nodes; i++)
		sum += length[i] * length[i];
	return sum;
}

/* Paths as wholes: by number, whether their edges hang together or not. */
static double
sum_paths(const struct fg_path_node *node, size_t nodes,
    const struct fg_path_edge *edge, size_t edges, const uint64_t *path, double *length)
{
	double sum = 0;

	for (size_t i = 0; i < nodes; i++)
		length[i] = 0;
	for (size_t i = 0; i < edges; i++) {
		const uint64_t *at =
		    bsearch(&node[edge[i].a].path, path, nodes, sizeof *path, by_value);

		/* Any of several equal entries may be found: go to the first. */
		while (at > path && at[-1] == *at)
			at--;
		length[at - path] += edge[i].length;
	}
	for (size_t i = 0; i < nodes; i++)
		sum += length[i] * length[i];
	return sum;
}

static int
check_edges(const struct fg_path_node *node, size_t nodes,
    const struct fg_path_edge *edge, size_t edges, struct fg_err *err)
{
	for (size_t i = 0; i < edges; i++) {
		if (edge[i].a >= nodes || edge[i].b >= nodes ||
		    node[edge[i].a].path != node[edge[i].b].path ||
		    !(edge[i].length >= 0))
			return fg_fail(err, FG_EINVAL,
			    "edge %zu does not join two nodes of one skeleton", i);
	}
	return 0;
}

int
fg_path_score(const struct fg_path_node *node, size_t nodes,
    const struct fg_path_edge *edge, size_t edges, uint64_t merge_nodes,
    struct fg_path_score *out, struct fg_err *err)
{
	struct fg_path_score s = {.nodes = nodes, .edges = edges};
	struct share *share = fg_try_alloc(nodes + 1, sizeof *share);
	uint64_t *merging = fg_try_alloc(nodes + 1, sizeof *merging);
	uint64_t *path = fg_try_alloc(nodes + 1, sizeof *path);
	uint8_t *fate = fg_try_alloc(edges + 1, sizeof *fate);
	uint32_t *up = fg_try_alloc(nodes + 1, sizeof *up);
	double *length = fg_try_alloc(nodes + 1, sizeof *length);
	int rc = -1;

	if (!share || !merging || !path || !fate || !up || !length ||
	    nodes > UINT32_MAX) {
		fg_fail(err, FG_ENOMEM, "no memory for %zu nodes", nodes);
		goto out;
	}
	if (check_edges(node, nodes, edge, edges, err) < 0)
		goto out;
	s.merging = find_merging(node, nodes, merge_nodes, share, merging);
	s.paths = count_paths(node, nodes, path);
	for (size_t i = 0; i < edges; i++) {
		uint64_t a = node[edge[i].a].object, b = node[edge[i].b].object;

		if (a == 0 || b == 0)
			fate[i] = FG_PATH_OMITTED;
		else if (a != b)
			fate[i] = FG_PATH_SPLIT;
		else if (bsearch(&a, merging, s.merging, sizeof a, by_value))
			fate[i] = FG_PATH_MERGED;
		else
			fate[i] = FG_PATH_CORRECT;
		s.count[fate[i]]++;
		s.part[fate[i]] += edge[i].length;
		s.length += edge[i].length;
	}
	if (s.length > 0) {
		for (int k = 0; k < FG_PATH_FATES; k++)
			s.part[k] /= s.length;
		s.erl = sum_runs(edge, edges, fate, up, length, nodes) / s.length;
		s.erl_max =
		    sum_paths(node, nodes, edge, edges, path, length) / s.length;
	}
	*out = s;
	rc = 0;
out:
	free(share);
	free(merging);
	free(path);
	free(fate);
	free(up);
	free(length);
	return rc;
}

json_t *
fg_path_score_format(const struct fg_path_score *s)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f}",
	    "skeletons", (json_int_t)s->paths, "nodes", (json_int_t)s->nodes, "edges",
	    (json_int_t)s->edges, "merging_objects", (json_int_t)s->merging, "length",
	    s->length, "omitted", s->part[FG_PATH_OMITTED], "split",
	    s->part[FG_PATH_SPLIT], "merged", s->part[FG_PATH_MERGED], "correct",
	    s->part[FG_PATH_CORRECT], "erl", s->erl, "erl_max", s->erl_max);
}
