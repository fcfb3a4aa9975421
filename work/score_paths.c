/* SPDX-License-Identifier: Apache-2.0 */
/* True centre lines for `evaluate`: see the header. */
#include "config.h"

#include "work/score_paths.h"

#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "store/phantom.h"

#define FILE_MAX_BYTES ((size_t)1 << 30)
#define PIECES_MAX 100000 /* of one line */

struct fg_paths {
	struct fg_box vx;
	double nm[3], step;
	struct fg_path_node *node;
	double (*at)[3]; /* of each node, voxels */
	size_t nodes, node_cap;
	struct fg_path_edge *edge;
	size_t edges, edge_cap;
	uint32_t *slot; /* open hash of nodes by path and place; UINT32_MAX: free */
	size_t slots;
};

void
fg_paths_free(struct fg_paths *p)
{
	if (!p)
		return;
	free(p->node);
	free(p->at);
	free(p->edge);
	free(p->slot);
	free(p);
}

/* ------------------------------------------------------------- nodes */

/* Places are the same to a thousandth of a voxel. */
static uint64_t
hash_place(uint64_t path, const double at[3])
{
	int64_t v[4] = {(int64_t)path, llround(at[0] * 1000), llround(at[1] * 1000),
	    llround(at[2] * 1000)};

	return fg_hash64(v, sizeof v);
}

static bool
is_place(const struct fg_paths *p, uint32_t i, uint64_t path, const double at[3])
{
	if (p->node[i].path != path)
		return false;
	for (int d = 0; d < 3; d++) {
		if (llround(p->at[i][d] * 1000) != llround(at[d] * 1000))
			return false;
	}
	return true;
}

static size_t
slot_of(const struct fg_paths *p, uint64_t path, const double at[3])
{
	size_t i = hash_place(path, at) & (p->slots - 1);

	while (p->slot[i] != UINT32_MAX && !is_place(p, p->slot[i], path, at))
		i = (i + 1) & (p->slots - 1);
	return i;
}

static void
grow(struct fg_paths *p)
{
	p->slots = FG_MAX(4 * p->slots, (size_t)1024);
	free(p->slot);
	p->slot = fg_alloc(p->slots * sizeof *p->slot);
	memset(p->slot, 0xff, p->slots * sizeof *p->slot);
	for (size_t i = 0; i < p->nodes; i++)
		p->slot[slot_of(p, p->node[i].path, p->at[i])] = (uint32_t)i;
}

static uint32_t
put_node(struct fg_paths *p, uint64_t path, const double at[3])
{
	if (2 * (p->nodes + 1) > p->slots)
		grow(p);
	size_t s = slot_of(p, path, at);
	if (p->slot[s] != UINT32_MAX)
		return p->slot[s];
	if (p->nodes == p->node_cap) {
		p->node_cap = FG_MAX(2 * p->node_cap, (size_t)256);
		p->node = fg_realloc(p->node, p->node_cap, sizeof *p->node);
		p->at = fg_realloc(p->at, p->node_cap, sizeof *p->at);
	}
	p->node[p->nodes] = (struct fg_path_node){.path = path};
	memcpy(p->at[p->nodes], at, sizeof p->at[0]);
	p->slot[s] = (uint32_t)p->nodes;
	return (uint32_t)p->nodes++;
}

static bool
is_inside(const struct fg_box *b, const double at[3])
{
	for (int d = 0; d < 3; d++) {
		if (!(at[d] >= (double)b->lo[d] && at[d] < (double)b->hi[d]))
			return false;
	}
	return true;
}

static void
put_piece(struct fg_paths *p, uint64_t path, const double a[3], const double b[3])
{
	double sum = 0;

	if (!is_inside(&p->vx, a) || !is_inside(&p->vx, b))
		return;
	for (int d = 0; d < 3; d++)
		sum += (b[d] - a[d]) * (b[d] - a[d]) * p->nm[d] * p->nm[d];
	uint32_t na = put_node(p, path, a), nb = put_node(p, path, b);
	if (na == nb)
		return;
	if (p->edges == p->edge_cap) {
		p->edge_cap = FG_MAX(2 * p->edge_cap, (size_t)256);
		p->edge = fg_realloc(p->edge, p->edge_cap, sizeof *p->edge);
	}
	p->edge[p->edges++] =
	    (struct fg_path_edge){.a = na, .b = nb, .length = sqrt(sum)};
}

static void
put_line(struct fg_paths *p, uint64_t path, const double a[3], const double b[3])
{
	double from[3], to[3], sum = 0;
	int n;

	for (int d = 0; d < 3; d++)
		sum += (b[d] - a[d]) * (b[d] - a[d]);
	n = (int)FG_MIN(FG_MAX(ceil(sqrt(sum) / p->step), 1.0), (double)PIECES_MAX);
	memcpy(from, a, sizeof from);
	for (int i = 1; i <= n; i++) {
		for (int d = 0; d < 3; d++)
			to[d] = i == n ? b[d] : a[d] + (b[d] - a[d]) * i / n;
		put_piece(p, path, from, to);
		memcpy(from, to, sizeof from);
	}
}

/* ------------------------------------------------------------- sources */

static int
take_line(const struct fg_phantom_line *line, void *arg)
{
	if (line->a == line->b)
		put_line(arg, line->a, line->from, line->to);
	return 0;
}

static int
load_phantom(struct fg_paths *p, const char *text, struct fg_err *err)
{
	struct fg_phantom ph;
	struct fg_box wide = p->vx;

	fg_phantom_default(&ph);
	if (fg_phantom_parse(text, &ph, err) < 0)
		return -1;
	/* Lines that begin outside may end in the box. */
	for (int d = 0; d < 3; d++) {
		int64_t far = 2 * ph.calibre / ph.nm[d] + 1;

		wide.lo[d] -= far;
		wide.hi[d] += far;
	}
	return fg_phantom_curves(&ph, &wide, take_line, p);
}

static int
read_line(struct fg_paths *p, char *text)
{
	double v[6];
	char *end;
	uint64_t path = strtoull(text, &end, 10);

	for (int i = 0; i < 6; i++) {
		if (*end != ',')
			return -1;
		text = end + 1;
		v[i] = strtod(text, &end);
		if (end == text || !isfinite(v[i]) || fabs(v[i]) > 0x1p40)
			return -1;
	}
	if (*end)
		return -1;
	put_line(p, path, v, v + 3);
	return 0;
}

static int
load_file(struct fg_paths *p, const char *path, struct fg_err *err)
{
	struct fg_buf *b = fg_file_read(path, FILE_MAX_BYTES, err);
	char *text, *save = NULL;
	size_t line = 0;
	int rc = 0;

	if (!b)
		return -1;
	text = fg_strndup((const char *)b->data, b->len);
	fg_buf_unref(b);
	for (char *s = strtok_r(text, "\r\n", &save); s && rc == 0;
	     s = strtok_r(NULL, "\r\n", &save)) {
		line++;
		if (line == 1 && (*s < '0' || *s > '9'))
			continue;
		if (read_line(p, s) < 0)
			rc = fg_fail(err, FG_EINVAL,
			    "%s, line %zu: wanted skeleton,x0,y0,z0,x1,y1,z1", path,
			    line);
	}
	free(text);
	return rc;
}

/* ------------------------------------------------------------- precomputed skeletons
 */

/* The transform of the folder's info: three rows of four. */
static int
read_info(const char *dir, double m[12], struct fg_err *err)
{
	char *path = fg_asprintf("%s/info", dir);
	struct fg_buf *b = fg_file_read(path, 1 << 20, err);
	json_t *j = b ? fg_json_parse((const char *)b->data, b->len, path, err) : NULL;
	const char *type = j ? json_string_value(json_object_get(j, "@type")) : NULL;
	const json_t *t = j ? json_object_get(j, "transform") : NULL;
	int rc = -1;

	for (size_t i = 0; i < 12; i++)
		m[i] = t ? json_number_value(json_array_get(t, i)) : i % 5 == 0;
	if (!j)
		goto out;
	if (!type || strcmp(type, "neuroglancer_skeletons") != 0)
		fg_fail(err, FG_EINVAL, "%s: @type is %s, not neuroglancer_skeletons",
		    path, type ? type : "missing");
	else if (json_is_object(json_object_get(j, "sharding")))
		fg_fail(err, FG_ENOTSUP,
		    "%s: skeletons in shards are not read here: export them without "
		    "sharding",
		    path);
	else if (t && json_array_size(t) != 12)
		fg_fail(err, FG_EINVAL, "%s: transform has %zu numbers, not 12", path,
		    json_array_size(t));
	else
		rc = 0;
out:
	json_decref(j);
	fg_buf_unref(b);
	free(path);
	return rc;
}

static void
vertex_at(const struct fg_paths *p, const uint8_t *xyz, const double m[12],
    double at[3])
{
	float v[3];

	for (int d = 0; d < 3; d++) {
		uint32_t bits = fg_get_u32le(xyz + 4 * d);

		memcpy(&v[d], &bits, 4);
	}
	for (int d = 0; d < 3; d++) {
		const double *row = m + 4 * d;

		at[d] = (row[0] * (double)v[0] + row[1] * (double)v[1] +
			    row[2] * (double)v[2] + row[3]) /
			p->nm[d];
	}
}

/* One skeleton: u32 vertices, u32 edges, positions, pairs; attributes behind them are
 * not looked at. */
static int
read_skeleton(struct fg_paths *p, const char *path, uint64_t id, const double m[12],
    struct fg_err *err)
{
	struct fg_buf *b = fg_file_read(path, FILE_MAX_BYTES, err);
	size_t nv = 0, ne = 0;
	int rc = 0;

	if (!b)
		return -1;
	if (b->len >= 8) {
		nv = fg_get_u32le(b->data);
		ne = fg_get_u32le(b->data + 4);
	}
	if (b->len < 8 + 12 * nv + 8 * ne)
		rc = fg_fail(err, FG_EINVAL,
		    "%s: %zu bytes are too few for %zu vertices and %zu edges", path,
		    b->len, nv, ne);
	for (size_t i = 0; i < ne && rc == 0; i++) {
		const uint8_t *edge = b->data + 8 + 12 * nv + 8 * i;
		size_t u = fg_get_u32le(edge), v = fg_get_u32le(edge + 4);
		double from[3], to[3], sum = 0;

		if (u >= nv || v >= nv) {
			rc = fg_fail(err, FG_EINVAL,
			    "%s: edge %zu names a vertex beyond the %zu", path, i, nv);
			break;
		}
		vertex_at(p, b->data + 8 + 12 * u, m, from);
		vertex_at(p, b->data + 8 + 12 * v, m, to);
		for (int d = 0; d < 3; d++)
			sum += fabs(from[d]) + fabs(to[d]);
		if (!(sum < 0x1p40))
			rc = fg_fail(err, FG_EINVAL, "%s: edge %zu ends nowhere", path,
			    i);
		else
			put_line(p, id, from, to);
	}
	fg_buf_unref(b);
	return rc;
}

/* All files whose names are numbers, in no particular order. */
static int
load_folder(struct fg_paths *p, const char *dir, struct fg_err *err)
{
	double m[12];
	DIR *d;
	int rc = 0;

	if (read_info(dir, m, err) < 0)
		return -1;
	d = opendir(dir);
	if (!d)
		return fg_fail_errno(err, "%s", dir);
	for (struct dirent *e; rc == 0 && (e = readdir(d));) {
		char *end, *path;
		uint64_t id = strtoull(e->d_name, &end, 10);

		if (*e->d_name < '0' || *e->d_name > '9' || *end)
			continue;
		path = fg_asprintf("%s/%s", dir, e->d_name);
		rc = read_skeleton(p, path, id, m, err);
		free(path);
	}
	closedir(d);
	return rc;
}

static bool
is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

struct fg_paths *
fg_paths_load(const char *where, const struct fg_box *vx, const double nm[3],
    double step, struct fg_err *err)
{
	struct fg_paths *p = fg_calloc(1, sizeof *p);
	int rc;

	p->vx = *vx;
	p->step = step;
	memcpy(p->nm, nm, sizeof p->nm);
	if (strncmp(where, "phantom:", 8) == 0)
		rc = load_phantom(p, where + 8, err);
	else if (is_folder(where))
		rc = load_folder(p, where, err);
	else
		rc = load_file(p, where, err);
	if (rc == 0)
		return p;
	fg_paths_free(p);
	return NULL;
}

/* ------------------------------------------------------------- looking up */

void
fg_paths_look(struct fg_paths *p, const struct fg_box *vx,
    const struct fg_array *labels)
{
	for (size_t i = 0; i < p->nodes; i++) {
		int64_t at[3];

		if (!is_inside(vx, p->at[i]))
			continue;
		for (int d = 0; d < 3; d++)
			at[d] = (int64_t)floor(p->at[i][d]) - vx->lo[d];
		p->node[i].object = fg_array_label(labels,
		    (size_t)(at[0] +
			     labels->shape[0] * (at[1] + labels->shape[1] * at[2])));
	}
}

int
fg_paths_score(const struct fg_paths *p, uint64_t merge_nodes,
    struct fg_path_score *out, struct fg_err *err)
{
	return fg_path_score(p->node, p->nodes, p->edge, p->edges, merge_nodes, out,
	    err);
}
