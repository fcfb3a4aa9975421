/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The levels are a counter in base eight. A piece becomes level 0's fragment, is
 * simplified, and is put as an octant into the open node of level 1. When the next
 * piece lies in another node, the open one is closed: its octants are joined where they
 * meet, written as the fragment, simplified as a whole (its outer border locked) and
 * put as an octant into the open node above, and so on. At the end all that is open is
 * closed from below.
 *
 * Positions are whole numbers of half voxels from the grid's origin, so that joining
 * and quantising are exact: the middle of a node becomes (2^bits - 1) / 2, rounded up,
 * which is the plane by which the viewer tells octants.
 */
#include "config.h"

#include "mesh/lod.h"

#include <math.h>
#include <stdlib.h>

#include "mesh/distance.h"
#include "mesh/draco.h"
#include "mesh/simplify.h"

#define AT_MAX (UINT32_C(1) << 20)
#define BLOCK_MAX (INT64_C(1) << 16)
/* An open end: one node with so few triangles is not simplified further. */
#define FEW_TRIANGLES 512

struct part {
	uint32_t vertices, triangles;
	int32_t *pos; /* half voxels from the grid's origin */
	uint32_t *index;
};

struct level {
	bool open;
	uint32_t at[3]; /* of the open node */
	struct part octant[8];
	struct fg_multilod_level nodes; /* closed ones */
	size_t room;                    /* of nodes.at and .bytes */
	struct fg_str data;             /* their fragments */
	uint64_t triangles;             /* of all of them */
	double moved_nm; /* largest distance between a surface and what it became */
};

struct fg_lod {
	struct fg_lod_params p;
	struct level level[FG_LOD_LEVELS];
	size_t held; /* bytes of octants, nodes and fragments */
	bool capped; /* some vertex was put onto a node's side */
	bool ended;
};

static void
free_part(struct fg_lod *lod, struct part *p)
{
	lod->held -= 12 * ((size_t)p->vertices + p->triangles);
	free(p->pos);
	free(p->index);
	*p = (struct part){0};
}

static int
make_part(struct fg_lod *lod, uint32_t vertices, uint32_t triangles, struct part *p,
    struct fg_err *err)
{
	*p = (struct part){.vertices = vertices, .triangles = triangles};
	p->pos = fg_try_alloc(3 * (size_t)vertices, sizeof *p->pos);
	p->index = fg_try_alloc(3 * (size_t)triangles, sizeof *p->index);
	lod->held += 12 * ((size_t)vertices + triangles);
	if (!p->pos || !p->index) {
		free_part(lod, p);
		return fg_fail(err, FG_ENOMEM, "no memory for %u triangles", triangles);
	}
	return 0;
}

/* Half voxels of a node's side. */
static int64_t
side(const struct fg_lod *lod, unsigned l, int d)
{
	return 2 * lod->p.block_vx[d] << l;
}

static int
check_room(const struct fg_lod *lod, struct fg_err *err)
{
	if (lod->p.cancel && *lod->p.cancel)
		return fg_fail(err, FG_ECANCELED, "cancelled");
	if (lod->p.memory && lod->held > lod->p.memory)
		return fg_fail(err, FG_EFULL, "the mesh needs more than %zu bytes",
		    lod->p.memory);
	return 0;
}

/* --- joining vertices at one place */

static uint64_t
spread(const int32_t p[3])
{
	uint64_t v = (uint64_t)(uint32_t)p[0] * UINT64_C(0x9e3779b97f4a7c15);

	v = (v ^ v >> 32 ^ (uint32_t)p[1]) * UINT64_C(0xbf58476d1ce4e5b9);
	v = (v ^ v >> 32 ^ (uint32_t)p[2]) * UINT64_C(0x94d049bb133111eb);
	return v ^ v >> 31;
}

/* Vertices with equal positions become the first of them; triangles that lose a corner
 * by it go. In place. */
static int
weld(struct fg_lod *lod, struct part *p, struct fg_err *err)
{
	size_t size = 16, kept = 0;
	int rc = -1;

	while (size < 2 * (size_t)p->vertices)
		size *= 2;
	uint32_t *slot = calloc(size, sizeof *slot); /* place in pos, + 1 */
	uint32_t *map = fg_try_alloc(p->vertices, sizeof *map);
	if (!slot || !map) {
		fg_fail(err, FG_ENOMEM, "no memory to join %u vertices", p->vertices);
		goto out;
	}
	lod->held -= 12 * ((size_t)p->vertices + p->triangles);
	uint32_t n = 0;
	for (uint32_t v = 0; v < p->vertices; v++) {
		const int32_t *at = p->pos + 3 * (size_t)v;
		size_t i = spread(at) & (size - 1);

		while (slot[i] && memcmp(p->pos + 3 * (size_t)(slot[i] - 1), at, 12))
			i = (i + 1) & (size - 1);
		if (!slot[i]) {
			memmove(p->pos + 3 * (size_t)n, at, 12);
			slot[i] = ++n;
		}
		map[v] = slot[i] - 1;
	}
	p->vertices = n;
	for (size_t t = 0; t < p->triangles; t++) {
		const uint32_t *c = p->index + 3 * t;
		uint32_t a = map[c[0]], b = map[c[1]], d = map[c[2]];

		if (a == b || b == d || d == a)
			continue;
		p->index[3 * kept] = a;
		p->index[3 * kept + 1] = b;
		p->index[3 * kept + 2] = d;
		kept++;
	}
	p->triangles = (uint32_t)kept;
	lod->held += 12 * ((size_t)p->vertices + p->triangles);
	rc = 0;
out:
	free(slot);
	free(map);
	return rc;
}

static int
join_octants(struct fg_lod *lod, struct level *v, struct part *out, struct fg_err *err)
{
	uint64_t vertices = 0, triangles = 0;

	for (int o = 0; o < 8; o++) {
		vertices += v->octant[o].vertices;
		triangles += v->octant[o].triangles;
	}
	if (vertices > UINT32_MAX - 1 || triangles > UINT32_MAX / 3)
		return fg_fail(err, FG_ENOTSUP, "a node of %llu triangles is too large",
		    (unsigned long long)triangles);
	if (make_part(lod, (uint32_t)vertices, (uint32_t)triangles, out, err) < 0)
		return -1;
	uint32_t nv = 0, nt = 0;
	for (int o = 0; o < 8; o++) {
		const struct part *p = &v->octant[o];

		if (p->vertices)
			memcpy(out->pos + 3 * (size_t)nv, p->pos,
			    12 * (size_t)p->vertices);
		for (size_t i = 0; i < 3 * (size_t)p->triangles; i++)
			out->index[3 * (size_t)nt + i] = nv + p->index[i];
		nv += p->vertices;
		nt += p->triangles;
	}
	for (int o = 0; o < 8; o++)
		free_part(lod, &v->octant[o]);
	return weld(lod, out, err);
}

/* --- writing a node */

static int
add_node(struct fg_lod *lod, struct level *v, const uint32_t at[3], size_t bytes,
    struct fg_err *err)
{
	struct fg_multilod_level *n = &v->nodes;

	if (bytes > UINT32_MAX)
		return fg_fail(err, FG_ENOTSUP, "a fragment of %zu bytes is too large",
		    bytes);
	if (n->nodes == v->room) {
		size_t room = v->room + v->room / 2 + 16;
		uint32_t *p = realloc(n->at, room * 3 * sizeof *p);
		if (p)
			n->at = p;
		uint32_t *q = p ? realloc(n->bytes, room * sizeof *q) : NULL;
		if (!q)
			return fg_fail(err, FG_ENOMEM, "no memory for %zu nodes", room);
		n->bytes = q;
		lod->held += 16 * (room - v->room);
		v->room = room;
	}
	memcpy(n->at + 3 * (size_t)n->nodes, at, 12);
	n->bytes[n->nodes++] = (uint32_t)bytes;
	return 0;
}

/* Positions as numbers 0..2^bits - 1 of the node's box, halves up. */
static int
quantise(struct fg_lod *lod, unsigned l, const uint32_t at[3], const struct part *from,
    struct part *q, struct fg_err *err)
{
	const int64_t most = (INT64_C(1) << lod->p.bits) - 1;

	if (make_part(lod, from->vertices, from->triangles, q, err) < 0)
		return -1;
	memcpy(q->index, from->index, 12 * (size_t)from->triangles);
	for (int d = 0; d < 3; d++) {
		int64_t n = side(lod, l, d), lo = at[d] * n;

		for (size_t v = 0; v < from->vertices; v++)
			q->pos[3 * v + (size_t)d] =
			    (int32_t)((2 * (from->pos[3 * v + (size_t)d] - lo) * most +
					  n) /
				      (2 * n));
	}
	return weld(lod, q, err);
}

/* The fragment of node `at` of level l, and its entry. */
static int
write_node(struct fg_lod *lod, unsigned l, const uint32_t at[3],
    const struct part *surface, struct fg_err *err)
{
	struct level *v = &lod->level[l];
	struct fg_buf *b = NULL;
	struct part q = {0};
	int rc = -1;

	if (quantise(lod, l, at, surface, &q, err) < 0)
		goto out;
	if (q.triangles &&
	    fg_draco_encode(q.pos, q.vertices, q.index, q.triangles, &b, err) < 0)
		goto out;
	if (b) {
		fg_str_put(&v->data, b->data, b->len);
		lod->held += b->len;
		v->triangles += q.triangles;
	}
	rc = add_node(lod, v, at, b ? b->len : 0, err);
out:
	fg_buf_unref(b);
	free_part(lod, &q);
	return rc;
}

/* --- from level to level */

static double
error_of(const struct fg_lod *lod, unsigned l)
{
	return ldexp(lod->p.error_nm, (int)l - 1);
}

/* Level l has a node that became m of `in`: how far that is, for the level's scale.
 * Most nodes are no farther than one before them. */
static int
note_moved(struct fg_lod *lod, unsigned l, const struct fg_mesh *in,
    const struct fg_mesh *m, struct fg_err *err)
{
	double *most = &lod->level[l].moved_nm;
	double from = *most > 0 ? *most : error_of(lod, l) / 2;
	struct fg_distance *d = fg_distance_new(in, err);
	int rc = d ? fg_distance_bound(d, m, from, most, err) : -1;

	fg_distance_free(d);
	return rc;
}

/* The surface of a node of level l - 1, simplified for level l: out. */
static int
simplify(struct fg_lod *lod, unsigned l, const uint32_t at[3], const struct part *from,
    struct part *out, struct fg_err *err)
{
	struct fg_simplify_params p = {.error_nm = error_of(lod, l)};
	struct fg_mesh in = {.vertices = from->vertices,
	    .triangles = from->triangles,
	    .index = from->index};
	struct fg_mesh m = FG_MESH_INIT;
	int rc = -1;

	*out = (struct part){0};
	if (from->triangles == 0)
		return 0;
	in.xyz = fg_try_alloc(3 * (size_t)in.vertices, sizeof *in.xyz);
	if (!in.xyz)
		return fg_fail(err, FG_ENOMEM, "no memory to simplify");
	for (size_t i = 0; i < 3 * (size_t)in.vertices; i++) {
		int64_t lo = at[i % 3] * side(lod, l - 1, (int)(i % 3));

		in.xyz[i] =
		    (float)((double)(from->pos[i] - lo) * 0.5 * lod->p.nm[i % 3]);
	}
	if (fg_simplify_make(&in, &p, &m, NULL, err) < 0 ||
	    (m.triangles > 0 && note_moved(lod, l, &in, &m, err) < 0) ||
	    make_part(lod, m.vertices, m.triangles, out, err) < 0)
		goto out;
	if (m.triangles == 0) { /* crumbs, smaller than the error: they stay */
		free_part(lod, out);
		if (make_part(lod, from->vertices, from->triangles, out, err) < 0)
			goto out;
		memcpy(out->index, from->index, 12 * (size_t)from->triangles);
		memcpy(out->pos, from->pos, 12 * (size_t)from->vertices);
		rc = 0;
		goto out;
	}
	memcpy(out->index, m.index, 12 * (size_t)m.triangles);
	for (size_t i = 0; i < 3 * (size_t)m.vertices; i++) {
		int64_t lo = at[i % 3] * side(lod, l - 1, (int)(i % 3));

		out->pos[i] =
		    (int32_t)(lo + llround((double)m.xyz[i] * 2 / lod->p.nm[i % 3]));
	}
	rc = 0;
out:
	free(in.xyz);
	fg_mesh_fini(&m);
	return rc;
}

static int close_node(struct fg_lod *lod, unsigned l, struct fg_err *err);

/* Put the surface of node `at` of level l - 1 into its parent. Takes it. */
static int
put_octant(struct fg_lod *lod, unsigned l, const uint32_t at[3], struct part *surface,
    struct fg_err *err)
{
	struct level *v = &lod->level[l];
	const uint32_t parent[3] = {at[0] >> 1, at[1] >> 1, at[2] >> 1};
	unsigned o = (at[0] & 1) | (at[1] & 1) << 1 | (at[2] & 1) << 2;

	if (v->open && memcmp(parent, v->at, sizeof parent) != 0 &&
	    close_node(lod, l, err) < 0) {
		free_part(lod, surface);
		return -1;
	}
	v->open = true;
	memcpy(v->at, parent, sizeof parent);
	v->octant[o] = *surface;
	*surface = (struct part){0};
	return 0;
}

/* Hand the surface of a finished node of level l up. */
static int
rise(struct fg_lod *lod, unsigned l, const uint32_t at[3], const struct part *surface,
    struct fg_err *err)
{
	struct part simple;

	if (l + 1 >= lod->p.levels)
		return 0;
	if (simplify(lod, l + 1, at, surface, &simple, err) < 0)
		return -1;
	return put_octant(lod, l + 1, at, &simple, err);
}

static int
close_node(struct fg_lod *lod, unsigned l, struct fg_err *err)
{
	struct level *v = &lod->level[l];
	const uint32_t at[3] = {v->at[0], v->at[1], v->at[2]};
	struct part surface = {0};
	int rc = -1;

	v->open = false;
	if (join_octants(lod, v, &surface, err) < 0 || check_room(lod, err) < 0 ||
	    write_node(lod, l, at, &surface, err) < 0 ||
	    rise(lod, l, at, &surface, err) < 0)
		goto out;
	rc = 0;
out:
	free_part(lod, &surface);
	return rc;
}

/* --- the whole */

static int
check_params(const struct fg_lod_params *p, struct fg_err *err)
{
	for (int d = 0; d < 3; d++) {
		if (!isfinite(p->nm[d]) || !(p->nm[d] > 0))
			return fg_fail(err, FG_EINVAL, "voxels are %g nm along axis %d",
			    p->nm[d], d);
		if (p->block_vx[d] < 1 || p->block_vx[d] > BLOCK_MAX)
			return fg_fail(err, FG_EINVAL,
			    "blocks have %lld voxels along axis %d",
			    (long long)p->block_vx[d], d);
		if (p->origin_vx[d] > INT64_MAX / 8 || p->origin_vx[d] < INT64_MIN / 8)
			return fg_fail(err, FG_EINVAL,
			    "the grid begins at voxel %lld of axis %d",
			    (long long)p->origin_vx[d], d);
	}
	if (p->bits != 10 && p->bits != 16)
		return fg_fail(err, FG_EINVAL, "%u bits for a position, not 10 or 16",
		    p->bits);
	if (p->levels < 1 || p->levels > FG_LOD_LEVELS)
		return fg_fail(err, FG_EINVAL, "%u levels of detail, not 1 to %d",
		    p->levels, FG_LOD_LEVELS);
	if (!isfinite(p->error_nm) || !(p->error_nm > 0) ||
	    !isfinite(p->piece_error_nm) || p->piece_error_nm < 0)
		return fg_fail(err, FG_EINVAL,
		    "errors of %g and %g nm are not possible", p->piece_error_nm,
		    p->error_nm);
	return 0;
}

struct fg_lod *
fg_lod_new(const struct fg_lod_params *p, struct fg_err *err)
{
	struct fg_lod *lod;

	if (check_params(p, err) < 0)
		return NULL;
	if (!fg_draco_is_built())
		return fg_fail_null(err, FG_ENOTSUP,
		    "multi-resolution meshes need libdraco, which this floodgate was "
		    "built without");
	lod = fg_calloc(1, sizeof *lod);
	lod->p = *p;
	return lod;
}

/* The piece on the lattice. */
static int
take_piece(struct fg_lod *lod, const uint32_t at[3], const struct fg_mesh *m,
    struct part *out, struct fg_err *err)
{
	if (make_part(lod, m->vertices, m->triangles, out, err) < 0)
		return -1;
	if (m->triangles)
		memcpy(out->index, m->index, 12 * (size_t)m->triangles);
	for (int d = 0; d < 3; d++) {
		const int64_t n = side(lod, 0, d), lo = at[d] * n;
		const double to_half = 2 / lod->p.nm[d];
		const double origin = 2 * (double)lod->p.origin_vx[d] + 1;

		if (lo + n > INT32_MAX / 2)
			return fg_fail(err, FG_EINVAL,
			    "block %u of axis %d is too far away", at[d], d);
		for (size_t v = 0; v < m->vertices; v++) {
			double x = (double)m->xyz[3 * v + (size_t)d] * to_half - origin;
			double h = round(x) - (double)lo;

			/* A float is off by up to 2^-24 of itself. */
			if (!(h >= -1 - fabs(x) * 0x1p-23) ||
			    !(h <= (double)n + 1 + fabs(x) * 0x1p-23))
				return fg_fail(err, FG_EINVAL,
				    "a vertex of block %u,%u,%u lies outside it, at "
				    "half voxel %g of %lld of axis %d",
				    at[0], at[1], at[2], h, (long long)n, d);
			lod->capped |= h < 0 || h > (double)n;
			h = FG_MIN(FG_MAX(h, 0), (double)n);
			out->pos[3 * v + (size_t)d] = (int32_t)(lo + (int64_t)h);
		}
	}
	return weld(lod, out, err);
}

int
fg_lod_add(struct fg_lod *lod, const uint32_t at[3], const struct fg_mesh *piece,
    struct fg_err *err)
{
	const struct fg_multilod_level *n = &lod->level[0].nodes;
	struct part p = {0};
	int rc = -1;

	fg_assert(!lod->ended);
	for (int d = 0; d < 3; d++) {
		if (at[d] >= AT_MAX)
			return fg_fail(err, FG_EINVAL,
			    "block %u of axis %d is too far away", at[d], d);
	}
	if (n->nodes && !fg_multilod_before(n->at + 3 * (size_t)n->nodes - 3, at))
		return fg_fail(err, FG_EINVAL,
		    "the piece of block %u,%u,%u is not in Z order", at[0], at[1],
		    at[2]);
	if (take_piece(lod, at, piece, &p, err) < 0 || check_room(lod, err) < 0 ||
	    write_node(lod, 0, at, &p, err) < 0 || rise(lod, 0, at, &p, err) < 0)
		goto out;
	rc = 0;
out:
	free_part(lod, &p);
	return rc;
}

/* How many levels are worth having: up to the first that is one node and small, or
 * that is one node and no smaller than the one below. */
static unsigned
count_levels(const struct fg_lod *lod)
{
	unsigned l = 0;

	for (; l + 1 < lod->p.levels; l++) {
		const struct level *v = &lod->level[l], *above = v + 1;

		if (v->nodes.nodes == 1 && (v->triangles <= FEW_TRIANGLES ||
					       above->triangles * 3 > v->triangles * 2))
			break;
	}
	return l + 1;
}

static float
scale_of(const struct fg_lod *lod, unsigned l)
{
	double sum = lod->p.piece_error_nm, step = 0, cap = 0;

	for (unsigned k = 1; k <= l; k++)
		sum += lod->level[k].moved_nm;
	for (int d = 0; d < 3; d++) {
		double nm = ldexp(lod->p.nm[d] * (double)lod->p.block_vx[d], (int)l) /
			    (double)((1 << lod->p.bits) - 1);

		step += nm * nm / 4;
		cap += lod->p.nm[d] * lod->p.nm[d] / 4;
	}
	sum += sqrt(step) + (lod->capped ? sqrt(cap) : 0);
	return nextafterf((float)sum, INFINITY);
}

int
fg_lod_end(struct fg_lod *lod, struct fg_buf **manifest, struct fg_buf **data,
    struct fg_err *err)
{
	struct fg_multilod m = {0};
	struct fg_str all = FG_STR_INIT;

	fg_assert(!lod->ended);
	lod->ended = true;
	if (lod->level[0].nodes.nodes == 0)
		return fg_fail(err, FG_EINVAL, "a mesh without any piece");
	for (unsigned l = 1; l < lod->p.levels; l++) {
		if (lod->level[l].open && close_node(lod, l, err) < 0)
			return -1;
	}
	m.levels = count_levels(lod);
	for (int d = 0; d < 3; d++) {
		m.chunk[d] = (float)(lod->p.nm[d] * (double)lod->p.block_vx[d]);
		m.origin[d] =
		    (float)(((double)lod->p.origin_vx[d] + 0.5) * lod->p.nm[d]);
	}
	for (unsigned l = 0; l < m.levels; l++) {
		struct level *v = &lod->level[l];

		m.level[l] = v->nodes;
		m.level[l].scale = scale_of(lod, l);
		if (l > 0)
			m.level[l].scale =
			    FG_MAX(m.level[l].scale, m.level[l - 1].scale);
	}
	if (fg_multilod_encode(&m, manifest, err) < 0)
		return -1;
	for (unsigned l = 0; l < m.levels; l++) {
		struct fg_str *s = &lod->level[l].data;

		fg_str_put(&all, s->data, s->len);
		fg_str_fini(s);
	}
	*data = fg_str_take(&all);
	return 0;
}

void
fg_lod_free(struct fg_lod *lod)
{
	if (!lod)
		return;
	for (unsigned l = 0; l < FG_LOD_LEVELS; l++) {
		struct level *v = &lod->level[l];

		for (int o = 0; o < 8; o++)
			free_part(lod, &v->octant[o]);
		free(v->nodes.at);
		free(v->nodes.bytes);
		fg_str_fini(&v->data);
	}
	free(lod);
}
