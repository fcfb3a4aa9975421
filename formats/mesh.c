/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Meshes as bytes. Every binary form has a length that is known before a byte is
 * written, so each is made in one buffer of its final size. Only OBJ, which is text,
 * grows as it is written.
 */
#include "config.h"

#include "formats/mesh.h"

#include <math.h>
#include <stdlib.h>

#include "base/json.h"

void
fg_mesh_fini(struct fg_mesh *m)
{
	free(m->xyz);
	free(m->index);
	*m = FG_MESH_INIT;
}

/* --- legacy fragments */

int
fg_mesh_encode_fragment(const struct fg_mesh *m, struct fg_buf **out,
    struct fg_err *err)
{
	size_t vertex_bytes = (size_t)m->vertices * 12;
	size_t index_bytes = (size_t)m->triangles * 12;
	struct fg_buf *b = fg_buf_new(4 + vertex_bytes + index_bytes);

	if (!b)
		return fg_fail(err, FG_ENOMEM, "no memory for a mesh of %u triangles",
		    m->triangles);
	fg_put_u32le(b->data, m->vertices);
	if (vertex_bytes)
		memcpy(b->data + 4, m->xyz, vertex_bytes);
	if (index_bytes)
		memcpy(b->data + 4 + vertex_bytes, m->index, index_bytes);
	*out = b;
	return 0;
}

static int
check_mesh(const struct fg_mesh *m, struct fg_err *err)
{
	for (size_t i = 0; i < (size_t)m->vertices * 3; i++) {
		if (!isfinite(m->xyz[i]))
			return fg_fail(err, FG_ECORRUPT,
			    "vertex %zu of the mesh has a position that is not finite",
			    i / 3);
	}
	for (size_t i = 0; i < (size_t)m->triangles * 3; i++) {
		if (m->index[i] >= m->vertices)
			return fg_fail(err, FG_ECORRUPT,
			    "triangle %zu of the mesh names vertex %u of %u", i / 3,
			    m->index[i], m->vertices);
	}
	return 0;
}

int
fg_mesh_decode_fragment(const uint8_t *p, size_t n, struct fg_mesh *out,
    struct fg_err *err)
{
	struct fg_mesh m = FG_MESH_INIT;

	if (n < 4)
		return fg_fail(err, FG_ECORRUPT, "mesh fragment has %zu bytes, not 4",
		    n);
	m.vertices = fg_get_u32le(p);
	if ((n - 4) / 12 < m.vertices)
		return fg_fail(err, FG_ECORRUPT,
		    "mesh fragment has %zu bytes, too few for %u vertices", n,
		    m.vertices);
	size_t rest = n - 4 - (size_t)m.vertices * 12;
	if (rest % 12 || rest / 12 > UINT32_MAX)
		return fg_fail(err, FG_ECORRUPT,
		    "mesh fragment has %zu bytes of triangles, no multiple of 12",
		    rest);
	m.triangles = (uint32_t)(rest / 12);
	m.xyz = fg_try_alloc((size_t)m.vertices * 3, sizeof *m.xyz);
	m.index = fg_try_alloc((size_t)m.triangles * 3, sizeof *m.index);
	if (!m.xyz || !m.index) {
		fg_fail(err, FG_ENOMEM, "no memory for a mesh of %zu bytes", n);
		goto fail;
	}
	memcpy(m.xyz, p + 4, (size_t)m.vertices * 12);
	memcpy(m.index, p + 4 + (size_t)m.vertices * 12, rest);
	if (check_mesh(&m, err) < 0)
		goto fail;
	*out = m;
	return 0;
fail:
	fg_mesh_fini(&m);
	return -1;
}

static struct fg_buf *
take_json(json_t *j)
{
	char *text;

	fg_assert(j);
	text = fg_json_format(j);
	json_decref(j);
	return fg_buf_take(text, strlen(text));
}

struct fg_buf *
fg_mesh_manifest(const char *const *names, size_t count)
{
	json_t *list = json_array();

	for (size_t i = 0; i < count; i++)
		fg_assert(json_array_append_new(list, json_string(names[i])) == 0);
	return take_json(json_pack("{s:o}", "fragments", list));
}

struct fg_buf *
fg_mesh_legacy_info(void)
{
	return take_json(json_pack("{s:s}", "@type", "neuroglancer_legacy_mesh"));
}

/* --- files for people */

struct whole {
	const struct fg_mesh *const *parts;
	size_t count;
	uint64_t vertices, triangles;
};

/* The positions of all parts, one after the other. */
static uint8_t *
put_positions(const struct whole *w, uint8_t *p)
{
	for (size_t i = 0; i < w->count; i++) {
		size_t n = (size_t)w->parts[i]->vertices * 12;

		if (n)
			memcpy(p, w->parts[i]->xyz, n);
		p += n;
	}
	return p;
}

static struct fg_buf *
encode_ply(const struct whole *w, struct fg_err *err)
{
	char head[256];
	int n = snprintf(head, sizeof head,
	    "ply\nformat binary_little_endian 1.0\ncomment unit: nm\n"
	    "element vertex %llu\nproperty float x\nproperty float y\nproperty float "
	    "z\n"
	    "element face %llu\nproperty list uchar uint vertex_indices\nend_header\n",
	    (unsigned long long)w->vertices, (unsigned long long)w->triangles);
	struct fg_buf *b = fg_buf_new((size_t)n + w->vertices * 12 + w->triangles * 13);

	if (!b)
		return fg_fail_null(err, FG_ENOMEM, "no memory for the PLY file");
	memcpy(b->data, head, (size_t)n);
	uint8_t *p = put_positions(w, b->data + n);
	uint32_t first = 0;
	for (size_t i = 0; i < w->count; i++) {
		const struct fg_mesh *m = w->parts[i];

		for (size_t t = 0; t < m->triangles; t++, p += 13) {
			p[0] = 3;
			for (size_t k = 0; k < 3; k++)
				fg_put_u32le(p + 1 + 4 * k,
				    first + m->index[3 * t + k]);
		}
		first += m->vertices;
	}
	return b;
}

static struct fg_buf *
encode_obj(const struct whole *w)
{
	struct fg_str s = FG_STR_INIT;
	uint64_t first = 1; /* OBJ counts from one */

	fg_str_puts(&s, "# positions in nm\n");
	if (w->count)
		fg_str_putf(&s, "o %llu\n", (unsigned long long)w->parts[0]->label);
	for (size_t i = 0; i < w->count; i++) {
		const float *v = w->parts[i]->xyz;

		for (size_t k = 0; k < w->parts[i]->vertices; k++, v += 3)
			fg_str_putf(&s, "v %.9g %.9g %.9g\n", (double)v[0],
			    (double)v[1], (double)v[2]);
	}
	for (size_t i = 0; i < w->count; i++) {
		const uint32_t *t = w->parts[i]->index;

		for (size_t k = 0; k < w->parts[i]->triangles; k++, t += 3)
			fg_str_putf(&s, "f %llu %llu %llu\n",
			    (unsigned long long)(first + t[0]),
			    (unsigned long long)(first + t[1]),
			    (unsigned long long)(first + t[2]));
		first += w->parts[i]->vertices;
	}
	return fg_str_take(&s);
}

/* glTF wants the smallest and largest position. */
static void
bounds(const struct whole *w, float lo[3], float hi[3])
{
	bool any = false;

	for (int d = 0; d < 3; d++)
		lo[d] = hi[d] = 0;
	for (size_t i = 0; i < w->count; i++) {
		const float *v = w->parts[i]->xyz;

		for (size_t k = 0; k < w->parts[i]->vertices; k++, v += 3, any = true) {
			for (int d = 0; d < 3; d++) {
				lo[d] = any ? FG_MIN(lo[d], v[d]) : v[d];
				hi[d] = any ? FG_MAX(hi[d], v[d]) : v[d];
			}
		}
	}
}

/* The JSON half of a .glb. Without triangles there is no mesh: glTF knows no empty
 * accessors. */
static char *
glb_json(const struct whole *w)
{
	float lo[3], hi[3];
	long long vertex_bytes = (long long)w->vertices * 12;
	long long index_bytes = (long long)w->triangles * 12;
	json_t *j;

	bounds(w, lo, hi);
	j = json_pack("{s:{s:s,s:s,s:{s:s}},s:i,s:[{s:[i]}]}", "asset", "version",
	    "2.0", "generator", "floodgate", "extras", "unit", "nm", "scene", 0,
	    "scenes", "nodes", 0);
	fg_assert(j);
	json_t *more =
	    w->triangles == 0
		? json_pack("{s:[{}]}", "nodes")
		: json_pack("{s:[{s:i}],s:[{s:[{s:{s:i},s:i,s:i}]}],"
			    "s:[{s:I}],s:[{s:i,s:i,s:I,s:i},{s:i,s:I,s:I,s:i}],"
			    "s:[{s:i,s:i,s:I,s:s,s:[f,f,f],s:[f,f,f]},"
			    "{s:i,s:i,s:I,s:s}]}",
		      "nodes", "mesh", 0, "meshes", "primitives", "attributes",
		      "POSITION", 0, "indices", 1, "mode", 4, "buffers", "byteLength",
		      vertex_bytes + index_bytes, "bufferViews", "buffer", 0,
		      "byteOffset", 0, "byteLength", vertex_bytes, "target", 34962,
		      "buffer", 0, "byteOffset", vertex_bytes, "byteLength",
		      index_bytes, "target", 34963, "accessors", "bufferView", 0,
		      "componentType", 5126, "count", (long long)w->vertices, "type",
		      "VEC3", "min", (double)lo[0], (double)lo[1], (double)lo[2], "max",
		      (double)hi[0], (double)hi[1], (double)hi[2], "bufferView", 1,
		      "componentType", 5125, "count", (long long)w->triangles * 3,
		      "type", "SCALAR");
	fg_assert(more && json_object_update(j, more) == 0);
	json_decref(more);
	char *text = fg_json_format(j);
	json_decref(j);
	return text;
}

static struct fg_buf *
encode_glb(const struct whole *w, struct fg_err *err)
{
	char *json = glb_json(w);
	size_t json_len = strlen(json), json_room = (json_len + 3) / 4 * 4;
	uint64_t bin = w->triangles ? w->vertices * 12 + w->triangles * 12 : 0;
	uint64_t total = 12 + 8 + json_room + (bin ? 8 + bin : 0);
	struct fg_buf *b = NULL;
	uint32_t first = 0;

	if (total > UINT32_MAX) {
		fg_fail(err, FG_EFULL, "the mesh is too large for a .glb of 4 GiB");
		goto out;
	}
	b = fg_buf_new(total);
	if (!b) {
		fg_fail(err, FG_ENOMEM, "no memory for the .glb file");
		goto out;
	}
	uint8_t *p = b->data;
	memcpy(p, "glTF", 4);
	fg_put_u32le(p + 4, 2);
	fg_put_u32le(p + 8, (uint32_t)total);
	fg_put_u32le(p + 12, (uint32_t)json_room);
	memcpy(p + 16, "JSON", 4);
	memset(p + 20, ' ', json_room);
	memcpy(p + 20, json, json_len);
	if (!bin)
		goto out;
	p += 20 + json_room;
	fg_put_u32le(p, (uint32_t)bin);
	memcpy(p + 4, "BIN\0", 4);
	p = put_positions(w, p + 8);
	for (size_t i = 0; i < w->count; i++) {
		const struct fg_mesh *m = w->parts[i];

		for (size_t k = 0; k < (size_t)m->triangles * 3; k++, p += 4)
			fg_put_u32le(p, first + m->index[k]);
		first += m->vertices;
	}
out:
	free(json);
	return b;
}

int
fg_mesh_encode_file(enum fg_mesh_file kind, const struct fg_mesh *const *parts,
    size_t count, struct fg_buf **out, struct fg_err *err)
{
	struct whole w = {.parts = parts, .count = count};
	struct fg_buf *b = NULL;

	for (size_t i = 0; i < count; i++) {
		w.vertices += parts[i]->vertices;
		w.triangles += parts[i]->triangles;
	}
	if (w.vertices >= UINT32_MAX)
		return fg_fail(err, FG_EFULL, "%llu vertices are too many for one file",
		    (unsigned long long)w.vertices);
	switch (kind) {
	case FG_MESH_PLY:
		b = encode_ply(&w, err);
		break;
	case FG_MESH_OBJ:
		b = encode_obj(&w);
		break;
	case FG_MESH_GLB:
		b = encode_glb(&w, err);
		break;
	}
	if (!b)
		return -1;
	*out = b;
	return 0;
}
