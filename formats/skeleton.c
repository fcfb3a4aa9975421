/* SPDX-License-Identifier: Apache-2.0 */
/* Skeletons as bytes. The binary form has a known length; SWC is a walk over each tree.
 */
#include "config.h"

#include "formats/skeleton.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"

void
fg_skeleton_fini(struct fg_skeleton *s)
{
	free(s->xyz);
	free(s->radius);
	free(s->edge);
	free(s->area);
	free(s->contacts);
	*s = FG_SKELETON_INIT;
}

/* Bytes of a vertex: position and attributes. */
static size_t
vertex_bytes(unsigned attributes)
{
	return 16 + (attributes & FG_SKELETON_AREA ? 4 : 0) +
	       (attributes & FG_SKELETON_CONTACTS ? 1 : 0);
}

static uint8_t *
put(uint8_t *to, const void *from, size_t n)
{
	if (n)
		memcpy(to, from, n);
	return to + n;
}

int
fg_skeleton_encode(const struct fg_skeleton *s, struct fg_buf **out, struct fg_err *err)
{
	size_t nv = s->vertices, ne = s->edges;
	unsigned attributes =
	    (s->area ? FG_SKELETON_AREA : 0) | (s->contacts ? FG_SKELETON_CONTACTS : 0);
	struct fg_buf *b = fg_buf_new(8 + vertex_bytes(attributes) * nv + 8 * ne);

	if (!b)
		return fg_fail(err, FG_ENOMEM, "no memory for a skeleton");
	fg_put_u32le(b->data, s->vertices);
	fg_put_u32le(b->data + 4, s->edges);
	uint8_t *p = put(b->data + 8, s->xyz, 12 * nv);
	p = put(p, s->edge, 8 * ne);
	p = put(p, s->radius, 4 * nv);
	p = put(p, s->area, s->area ? 4 * nv : 0);
	put(p, s->contacts, s->contacts ? nv : 0);
	*out = b;
	return 0;
}

static int
check_skeleton(const struct fg_skeleton *s, struct fg_err *err)
{
	for (size_t i = 0; i < 3 * (size_t)s->vertices; i++) {
		if (!isfinite(s->xyz[i]) || !isfinite(s->radius[i / 3]) ||
		    (s->area && !isfinite(s->area[i / 3])))
			return fg_fail(err, FG_ECORRUPT,
			    "vertex %zu of the skeleton is not finite", i / 3);
	}
	for (size_t i = 0; i < 2 * (size_t)s->edges; i++) {
		if (s->edge[i] >= s->vertices)
			return fg_fail(err, FG_ECORRUPT,
			    "edge %zu of the skeleton names vertex %u of %u", i / 2,
			    s->edge[i], s->vertices);
	}
	return 0;
}

/* An array with the next n bytes; NULL without memory. */
static void *
get(const uint8_t **p, size_t n)
{
	void *to = fg_try_alloc(n, 1);

	if (to && n)
		memcpy(to, *p, n);
	*p += n;
	return to;
}

int
fg_skeleton_decode_with(const uint8_t *p, size_t n, unsigned attributes,
    struct fg_skeleton *out, struct fg_err *err)
{
	struct fg_skeleton s = FG_SKELETON_INIT;

	if (n < 8)
		return fg_fail(err, FG_ECORRUPT, "skeleton has %zu bytes, not 8", n);
	s.vertices = fg_get_u32le(p);
	s.edges = fg_get_u32le(p + 4);
	size_t nv = s.vertices, ne = s.edges;
	size_t want = 8 + vertex_bytes(attributes) * nv + 8 * ne;
	if (n != want)
		return fg_fail(err, FG_ECORRUPT,
		    "skeleton has %zu bytes; %zu vertices and %zu edges are %zu", n, nv,
		    ne, want);
	p += 8;
	s.xyz = get(&p, 12 * nv);
	s.edge = get(&p, 8 * ne);
	s.radius = get(&p, 4 * nv);
	if (attributes & FG_SKELETON_AREA)
		s.area = get(&p, 4 * nv);
	if (attributes & FG_SKELETON_CONTACTS)
		s.contacts = get(&p, nv);
	if (!s.xyz || !s.radius || !s.edge ||
	    (attributes & FG_SKELETON_AREA && !s.area) ||
	    (attributes & FG_SKELETON_CONTACTS && !s.contacts)) {
		fg_fail(err, FG_ENOMEM, "no memory for a skeleton of %zu bytes", n);
		goto fail;
	}
	if (check_skeleton(&s, err) < 0)
		goto fail;
	*out = s;
	return 0;
fail:
	fg_skeleton_fini(&s);
	return -1;
}

int
fg_skeleton_decode(const uint8_t *p, size_t n, struct fg_skeleton *out,
    struct fg_err *err)
{
	return fg_skeleton_decode_with(p, n, 0, out, err);
}

/* Bytes of the file's skeleton with radii only; 0 if it is too short. */
static size_t
plain_bytes(const uint8_t *p, size_t n)
{
	return n < 8 ? 0
		     : 8 + vertex_bytes(0) * (size_t)fg_get_u32le(p) +
			   8 * (size_t)fg_get_u32le(p + 4);
}

int
fg_skeleton_decode_any(const uint8_t *p, size_t n, struct fg_skeleton *out,
    struct fg_err *err)
{
	bool plain = n == plain_bytes(p, n);

	return fg_skeleton_decode_with(p, n, plain ? 0 : FG_SKELETON_AREA, out, err);
}

struct fg_buf *
fg_skeleton_with_area(struct fg_buf *file)
{
	size_t n = file->len, nv = n >= 8 ? fg_get_u32le(file->data) : 0;

	if (nv == 0 || n != plain_bytes(file->data, n))
		return fg_buf_ref(file);
	struct fg_buf *b = fg_buf_new(n + 4 * nv);
	if (!b)
		return fg_buf_ref(file);
	memcpy(b->data, file->data, n);
	memset(b->data + n, 0, 4 * nv);
	return b;
}

static void
add_attribute(json_t *list, const char *id, const char *type)
{
	json_array_append_new(list, json_pack("{s:s,s:s,s:i}", "id", id, "data_type",
					type, "num_components", 1));
}

struct fg_buf *
fg_skeleton_info_with(unsigned attributes, const struct fg_sharding *sharding)
{
	json_t *list = json_array();
	char *text;

	add_attribute(list, "radius", "float32");
	if (attributes & FG_SKELETON_AREA)
		add_attribute(list, "cross_sectional_area", "float32");
	if (attributes & FG_SKELETON_CONTACTS)
		add_attribute(list, "cross_sectional_area_contacts", "uint8");
	json_t *j = json_pack("{s:s,s:[i,i,i,i,i,i,i,i,i,i,i,i],s:o}", "@type",
	    "neuroglancer_skeletons", "transform", 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0,
	    "vertex_attributes", list);
	fg_assert(j);
	if (sharding)
		json_object_set_new(j, "sharding", fg_sharding_format(sharding));
	text = fg_json_format(j);
	json_decref(j);
	return fg_buf_take(text, strlen(text));
}

struct fg_buf *
fg_skeleton_info(void)
{
	return fg_skeleton_info_with(0, NULL);
}

/* --- SWC */

/* Neighbours of vertex v: next[first[v]] up to next[first[v + 1]]. */
struct walk {
	size_t *first;
	uint32_t *next, *stack, *number;
};

static void
fill_walk(const struct fg_skeleton *s, struct walk *w)
{
	size_t n = 2 * (size_t)s->edges;

	for (size_t i = 0; i < n; i++)
		w->first[s->edge[i] + 2]++;
	for (size_t v = 2; v < (size_t)s->vertices + 2; v++)
		w->first[v] += w->first[v - 1];
	for (size_t i = 0; i < n; i++)
		w->next[w->first[s->edge[i] + 1]++] = s->edge[i ^ 1];
}

/* One tree, parents before children; number[v] - 1 is the line of a vertex seen. */
static void
walk_tree(const struct fg_skeleton *s, struct walk *w, uint32_t root, uint32_t *lines,
    struct fg_str *text)
{
	size_t top = 0;
	long long parent = -1;

	w->number[root] = ++*lines;
	w->stack[top++] = root;
	fg_str_putf(text, "%u 0 %.9g %.9g %.9g %.9g %lld\n", *lines,
	    (double)s->xyz[3 * (size_t)root], (double)s->xyz[3 * (size_t)root + 1],
	    (double)s->xyz[3 * (size_t)root + 2], (double)s->radius[root], parent);
	while (top > 0) {
		uint32_t v = w->stack[--top];

		for (size_t i = w->first[v]; i < w->first[v + 1]; i++) {
			uint32_t u = w->next[i];
			const float *p = s->xyz + 3 * (size_t)u;

			if (w->number[u])
				continue;
			w->number[u] = ++*lines;
			w->stack[top++] = u;
			fg_str_putf(text, "%u 0 %.9g %.9g %.9g %.9g %u\n", *lines,
			    (double)p[0], (double)p[1], (double)p[2],
			    (double)s->radius[u], w->number[v]);
		}
	}
}

int
fg_skeleton_encode_swc(const struct fg_skeleton *s, struct fg_buf **out,
    struct fg_err *err)
{
	size_t nv = s->vertices;
	struct walk w = {.first = calloc(nv + 3, sizeof *w.first),
	    .next = calloc(2 * (size_t)s->edges + 1, sizeof *w.next),
	    .stack = calloc(nv + 1, sizeof *w.stack),
	    .number = calloc(nv + 1, sizeof *w.number)};
	struct fg_str text = FG_STR_INIT;
	uint32_t lines = 0;
	int rc = -1;

	if (!w.first || !w.next || !w.stack || !w.number) {
		fg_fail(err, FG_ENOMEM, "no memory for an SWC file");
		goto out;
	}
	fill_walk(s, &w);
	fg_str_putf(&text, "# object %llu, nm\n", (unsigned long long)s->label);
	/* Ends first, then what has none (loops). */
	for (int ends = 1; ends >= 0; ends--) {
		for (uint32_t v = 0; v < s->vertices; v++) {
			if (!w.number[v] && (!ends || w.first[v + 1] - w.first[v] == 1))
				walk_tree(s, &w, v, &lines, &text);
		}
	}
	*out = fg_str_take(&text);
	rc = 0;
out:
	free(w.first);
	free(w.next);
	free(w.stack);
	free(w.number);
	return rc;
}
