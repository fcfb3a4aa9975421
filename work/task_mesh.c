/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The task that makes the mesh of one object: a piece for every block that it has
 * surface in, and the table that names them.
 *
 * Pieces are made a few at a time, on threads that have nothing else to do, and handed
 * to the store in their order whenever FLUSH_BYTES of
 * them have come together, so that an object of any size takes bounded memory; nobody
 * sees them before the table is there, which is the last thing to be committed. A piece
 * that an earlier generation has, made from the same voxels, is taken over; so is one
 * that an attempt which did not come to its end left.
 *
 * Levels of detail are made from the pieces, after these are stored.
 *
 * A piece is cut from a box of its block's core and one layer more, simplified with its
 * border held fast, so that it fits its neighbours, and encoded as a fragment of the
 * legacy format.
 */
#include "config.h"

#include "work/artefact.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/morton.h"
#include "formats/mesh.h"
#include "mesh/lod.h"
#include "mesh/simplify.h"
#include "mesh/surface.h"

/* Limits of simplification below this share of a voxel are taken as 0. */
#define TINY_ERROR 0.05
#define FLUSH_BYTES (64u << 20)
/* Pieces that are made beside each other: each may take so many parts of the memory
 * that one may; what needs more is made after them, alone. So neither limits nor
 * results depend on the number of threads. */
#define BESIDE 8
/* Not in blocks of more voxels than these (400^3): there is a byte for each, besides.
 */
#define BESIDE_VOXELS (INT64_C(1) << 26)
/* Where the settings give no limits. */
#define SURFACE_MEMORY (UINT64_C(4) << 30)
#define LOD_MEMORY (UINT64_C(1) << 30)
#define TRIANGLES_MAX UINT64_C(1000000000)
/* Goes into the hash of what pieces are made from: another algorithm, another number.
 */
#define ALGORITHM 6

struct maker {
	struct fg_task *task;
	struct fg_env *env;
	struct fg_mesh_limits most;
	struct fg_body body;
	pthread_mutex_t reading; /* guards the body while its voxels are read */
	double error_nm;
	uint64_t *block; /* Morton codes of the blocks to visit, ascending */
	size_t blocks;
	struct fg_piece *piece; /* as far as they are made, by block */
	size_t pieces;
	struct fg_piece *old; /* of the newest generation that is there */
	size_t olds;
	struct fg_output out; /* not yet committed */
	int64_t started_ms;
	/* statistics */
	uint64_t reused, triangles;
	int64_t surface_ns, simplify_ns;
};

/* A piece that is being made. */
struct job {
	struct maker *m;
	struct fg_piece *piece;
	bool alone; /* with all the memory that one may have */
	bool large; /* it needs that */
	struct fg_mesh mesh;
	int64_t surface_ns, simplify_ns;
};

/* ------------------------------------------------------------- which blocks */

static int
by_code(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The blocks of the object, and those before them: a cell with its lower corner in such
 * a block may reach into the object. */
static int
list_blocks(struct maker *m, struct fg_err *err)
{
	const struct fg_body *b = &m->body;
	size_t n = 0;

	m->block = fg_try_alloc(8 * b->parts + 1, sizeof *m->block);
	if (!m->block)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu blocks", b->parts);
	for (size_t i = 0; i < b->parts; i++) {
		int64_t blk[3], p[3];

		if (i > 0 && b->part[i].at == b->part[i - 1].at)
			continue;
		fg_morton_decode(b->part[i].at, blk);
		for (int e = 0; e < 8; e++) {
			for (int d = 0; d < 3; d++)
				p[d] = blk[d] - (e >> d & 1);
			if (p[0] >= 0 && p[1] >= 0 && p[2] >= 0)
				m->block[n++] = fg_morton_encode(p);
		}
	}
	qsort(m->block, n, sizeof *m->block, by_code);
	for (size_t i = 0; i < n; i++) {
		if (m->blocks == 0 || m->block[i] != m->block[m->blocks - 1])
			m->block[m->blocks++] = m->block[i];
	}
	m->piece = fg_calloc(m->blocks + 1, sizeof *m->piece);
	return 0;
}

/* A hash of what the piece of a block is made from: the object's labels in the eight
 * blocks that its cells reach into, and the parameters. */
static uint64_t
hash_inputs(const struct maker *m, const int64_t blk[3])
{
	uint64_t params[2] = {ALGORITHM, 0};

	memcpy(&params[1], &m->error_nm, 8);
	return fg_body_hash(&m->body, blk, params);
}

/* ------------------------------------------------------------- one piece */

/* A limit (FG_EFULL) ends the task for good: trying again does not make it smaller.
 * What no format can hold (FG_ENOTSUP) no setting helps with. */
static int
refuse(const struct maker *m, const char *setting, struct fg_err *err)
{
	struct fg_err why = *err;
	unsigned long long id = m->body.object.id;

	if (why.code != FG_EFULL && why.code != FG_ENOTSUP)
		return -1;
	fg_err_clear(err);
	if (why.code == FG_EFULL)
		return fg_fail(err, FG_ENOTSUP,
		    "the mesh of object %llu is too large: %s (%s)", id, why.msg,
		    setting);
	return fg_fail(err, FG_ENOTSUP,
	    "the mesh of object %llu is too large for its format: %s", id, why.msg);
}

/* Faces of a hull at which the volume ends, for fg_surface_params.close. */
static unsigned
closed_faces(const struct fg_body *b, const struct fg_box *hull)
{
	unsigned faces = 0;

	for (int d = 0; d < 3; d++) {
		if (hull->lo[d] == b->bounds.lo[d])
			faces |= 1u << (2 * d);
		if (hull->hi[d] == b->bounds.hi[d])
			faces |= 2u << (2 * d);
	}
	return faces;
}

/* Simplified, unless so little is there that nothing would be left of it. */
static int
simplify(struct job *j, const struct fg_mesh *in, struct fg_mesh *out,
    struct fg_err *err)
{
	const struct maker *m = j->m;
	const double *nm = m->body.scale->nm;
	/* To keep a limit far below a voxel takes endless measuring, for hardly a
	 * triangle less. */
	bool tiny = m->error_nm < TINY_ERROR * cbrt(nm[0] * nm[1] * nm[2]);
	struct fg_simplify_params p = {.error_nm = tiny ? 0 : m->error_nm,
	    .sharp = true};
	struct fg_mesh s = FG_MESH_INIT;
	int64_t t0 = fg_clock_ns();

	if (fg_simplify_make(in, &p, &s, NULL, err) < 0)
		return -1;
	if (s.triangles < 4 && in->triangles > s.triangles) {
		fg_mesh_fini(&s);
		p.error_nm = 0;
		if (fg_simplify_make(in, &p, &s, NULL, err) < 0)
			return -1;
	}
	j->simplify_ns += fg_clock_ns() - t0;
	*out = s;
	return 0;
}

/* The surface in the cells of a box of voxels; no triangles if the object is not in it
 * or fills it. */
static int
make_surface(struct job *j, const struct fg_box *vx, struct fg_mesh *out,
    struct fg_err *err)
{
	static const uint64_t one = 1;
	struct maker *m = j->m;
	struct fg_surface_params p = {.only = &one,
	    .only_count = 1,
	    .memory = m->most.piece_bytes / (j->alone ? 1 : BESIDE)};
	struct fg_array mask = FG_ARRAY_INIT;
	struct fg_surface s = {0};
	struct fg_box hull;
	const struct fg_mesh *found;
	int64_t t0;
	int rc;

	*out = FG_MESH_INIT;
	if (fg_box_is_empty(vx))
		return 0;
	/* Held while chunks are read, against the rule: readers and decoded chunks are
	 * one task's, reading is a small part of a piece, and nobody else wants it. */
	pthread_mutex_lock(&m->reading);
	rc = fg_body_mask(&m->body, vx, &mask, &hull, err);
	pthread_mutex_unlock(&m->reading);
	if (rc < 0)
		return -1;
	if (!mask.data)
		return 0;
	memcpy(p.nm, m->body.scale->nm, sizeof p.nm);
	memcpy(p.origin_vx, hull.lo, sizeof p.origin_vx);
	p.close = closed_faces(&m->body, &hull);
	t0 = fg_clock_ns();
	rc = fg_surface_make(&mask, &p, &s, err);
	j->surface_ns += fg_clock_ns() - t0;
	fg_array_fini(&mask);
	if (rc < 0 && err->code == FG_EFULL && !j->alone) {
		j->large = true;
		return -1;
	}
	if (rc < 0)
		return refuse(m, "mesh_piece_mb", err);
	found = fg_surface_find(&s, 1);
	if (found)
		rc = simplify(j, found, out, err);
	fg_surface_fini(&s);
	return rc;
}

/* Put the second mesh behind the first. */
static int
append(struct fg_mesh *a, struct fg_mesh *b, struct fg_err *err)
{
	struct fg_mesh all = {.vertices = a->vertices + b->vertices,
	    .triangles = a->triangles + b->triangles};

	if (b->triangles == 0) {
		fg_mesh_fini(b);
		return 0;
	}
	if (a->triangles == 0) {
		fg_mesh_fini(a);
		*a = *b;
		return 0;
	}
	all.xyz = fg_try_alloc(3 * (size_t)all.vertices, sizeof *all.xyz);
	all.index = fg_try_alloc(3 * (size_t)all.triangles, sizeof *all.index);
	if (!all.xyz || !all.index) {
		fg_mesh_fini(&all);
		fg_mesh_fini(b);
		return fg_fail(err, FG_ENOMEM, "no memory for %u triangles",
		    a->triangles + b->triangles);
	}
	memcpy(all.xyz, a->xyz, 12 * (size_t)a->vertices);
	memcpy(all.xyz + 3 * (size_t)a->vertices, b->xyz, 12 * (size_t)b->vertices);
	memcpy(all.index, a->index, 12 * (size_t)a->triangles);
	for (size_t i = 0; i < 3 * (size_t)b->triangles; i++)
		all.index[3 * (size_t)a->triangles + i] = b->index[i] + a->vertices;
	fg_mesh_fini(a);
	fg_mesh_fini(b);
	*a = all;
	return 0;
}

/* A block that holds nothing of the object: only the cells behind its upper faces can
 * have surface. Slab d is one cell thick along axis d and leaves out the cells of the
 * slabs before it. */
static int
make_rim(struct job *j, const struct fg_box *core, struct fg_mesh *out,
    struct fg_err *err)
{
	const struct fg_box *bounds = &j->m->body.bounds;

	*out = FG_MESH_INIT;
	for (int d = 0; d < 3; d++) {
		struct fg_mesh one = FG_MESH_INIT;
		struct fg_box vx = *core;

		if (core->hi[d] == bounds->hi[d])
			continue;
		vx.lo[d] = core->hi[d] - 1;
		for (int k = d; k < 3; k++)
			vx.hi[k] = FG_MIN(core->hi[k] + 1, bounds->hi[k]);
		if (make_surface(j, &vx, &one, err) < 0 || append(out, &one, err) < 0) {
			fg_mesh_fini(out);
			return -1;
		}
	}
	return 0;
}

static int
make_mesh(struct job *j, struct fg_err *err)
{
	const struct maker *m = j->m;
	const uint64_t at = j->piece->at;
	int64_t blk[3];
	struct fg_box vx;
	size_t first;

	fg_morton_decode(at, blk);
	fg_body_core(&m->body, blk, &vx);
	if (fg_body_find(&m->body, at, &first) == 0)
		return make_rim(j, &vx, &j->mesh, err);
	for (int d = 0; d < 3; d++)
		vx.hi[d] = FG_MIN(vx.hi[d] + 1, m->body.bounds.hi[d]);
	return make_surface(j, &vx, &j->mesh, err);
}

/* ------------------------------------------------------------- all of them */

static struct fg_key
key_of(const struct maker *m, enum fg_product product)
{
	struct fg_key key = m->task->key;

	key.scale = (uint8_t)(product + FG_PRODUCTS * m->body.kind);
	return key;
}

/* Commit what has come together, without a table. */
static int
flush(struct maker *m, struct fg_err *err)
{
	struct fg_output *o = &m->out;
	int rc;

	fg_output_seal(o);
	o->result.task = key_of(m, FG_PRODUCT_PIECE);
	o->result.worker = m->env->worker;
	o->result.started_ms = m->started_ms;
	o->result.ended_ms = fg_clock_wall_ms();
	rc = m->env->put(m->env->ctx, &o->result, o->bytes, err);
	fg_output_fini(o);
	return rc;
}

/* The piece of a block in the old table, if it was made from the same. */
static const struct fg_piece *
find_old(const struct maker *m, uint64_t at, uint64_t inputs)
{
	size_t lo = 0, hi = m->olds;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (m->old[mid].at < at)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo < m->olds && m->old[lo].at == at && m->old[lo].inputs == inputs)
		return &m->old[lo];
	return NULL;
}

static int
encode_piece(struct maker *m, struct fg_mesh *mesh, struct fg_piece *p,
    struct fg_err *err)
{
	struct fg_key key = key_of(m, FG_PRODUCT_PIECE);
	struct fg_buf *bytes = NULL;

	p->vertices = mesh->vertices;
	p->triangles = mesh->triangles;
	if (mesh->triangles == 0)
		return 0;
	if (fg_mesh_encode_fragment(mesh, &bytes, err) < 0)
		return -1;
	p->bytes = bytes->len;
	fg_output_put(&m->out, &(struct fg_payload){.key = key,
				   .part = p->at,
				   .gen = p->gen,
				   .state = FG_PRESENT,
				   .bytes = bytes});
	return m->out.bytes >= FLUSH_BYTES ? flush(m, err) : 0;
}

/* A piece of this generation that an attempt left which did not end: read, so that the
 * table can tell its numbers. */
static int
find_left(struct maker *m, struct fg_piece *p, bool *found, struct fg_err *err)
{
	struct fg_key key = key_of(m, FG_PRODUCT_PIECE);
	struct fg_mesh mesh = FG_MESH_INIT;
	struct fg_buf *bytes = NULL;
	int rc = 0;

	*found = false;
	if (m->env->piece(m->env->ctx, &key, p->at, p->gen, &bytes, err) < 0)
		return -1;
	if (!bytes)
		return 0;
	rc = fg_mesh_decode_fragment(bytes->data, bytes->len, &mesh, err);
	p->bytes = bytes->len;
	p->vertices = mesh.vertices;
	p->triangles = mesh.triangles;
	*found = rc == 0;
	fg_mesh_fini(&mesh);
	fg_buf_unref(bytes);
	return rc;
}

/* Take a piece of the old table over, if it is there: a repair removes rows whose bytes
 * are lost, and a reindex may bring a table back without its pieces. */
static int
take_old(struct maker *m, struct fg_piece *p, bool *found, struct fg_err *err)
{
	const struct fg_piece *old = find_old(m, p->at, p->inputs);
	struct fg_key key = key_of(m, FG_PRODUCT_PIECE);

	*found = old != NULL;
	if (old && old->bytes > 0 &&
	    m->env->has(m->env->ctx, &key, old->at, old->gen, found, err) < 0)
		return -1;
	if (*found)
		*p = *old;
	m->reused += *found;
	return 0;
}

/* The next piece as it is in the store; *found is false if it is to be made. */
static int
find_piece(struct maker *m, struct fg_piece *p, uint64_t at, bool *found,
    struct fg_err *err)
{
	int64_t blk[3];

	fg_morton_decode(at, blk);
	*p = (struct fg_piece){.at = at,
	    .gen = m->body.object.gen,
	    .inputs = hash_inputs(m, blk)};
	if (take_old(m, p, found, err) < 0)
		return -1;
	return *found ? 0 : find_left(m, p, found, err);
}

/* One of a group, on any thread. */
static int
make_beside(void *arg, size_t i, struct fg_err *err)
{
	struct job *j = (struct job *)arg + i;

	if (j->m->task->cancel)
		return fg_fail(err, FG_ECANCELED, "cancelled");
	if (make_mesh(j, err) == 0)
		return 0;
	if (!j->large)
		return -1;
	fg_err_clear(err);
	return 0;
}

static int
make_group(struct maker *m, struct job *job, size_t n, struct fg_err *err)
{
	if (n > 1 && m->env->share) {
		if (m->env->share(m->env->ctx, m->task, n, make_beside, job, err) < 0)
			return -1;
	} else {
		for (size_t i = 0; i < n; i++) {
			job[i].alone = true;
			if (make_beside(job, i, err) < 0)
				return -1;
		}
	}
	for (size_t i = 0; i < n; i++) {
		if (!job[i].large)
			continue;
		job[i].alone = true;
		job[i].large = false;
		if (make_beside(job, i, err) < 0)
			return -1;
	}
	return 0;
}

static int
count_piece(struct maker *m, const struct fg_piece *p, struct fg_err *err)
{
	m->triangles += p->triangles;
	if (m->triangles > m->most.triangles) {
		fg_fail(err, FG_EFULL,
		    "more than %llu triangles after %zu of %zu blocks",
		    (unsigned long long)m->most.triangles, m->pieces + 1, m->blocks);
		return refuse(m, "mesh_max_mtri", err);
	}
	m->pieces++;
	m->task->progress = m->pieces;
	return 0;
}

/* The next pieces up to BESIDE that are to be made, and those in the store between
 * them. */
static int
add_pieces(struct maker *m, struct fg_err *err)
{
	struct job job[BESIDE];
	size_t n = 0, end = m->pieces, made = 0;
	const int64_t *b = m->body.block;
	size_t most = b[0] * b[1] * b[2] > BESIDE_VOXELS ? 1 : BESIDE;
	int rc = -1;

	for (; end < m->blocks && n < most; end++) {
		struct fg_piece *p = &m->piece[end];
		bool found = false;

		if (find_piece(m, p, m->block[end], &found, err) < 0)
			goto out;
		if (!found)
			job[n++] = (struct job){.m = m, .piece = p};
	}
	if (make_group(m, job, n, err) < 0)
		goto out;
	while (m->pieces < end) {
		struct fg_piece *p = &m->piece[m->pieces];

		if (made < n && job[made].piece == p) {
			if (encode_piece(m, &job[made].mesh, p, err) < 0)
				goto out;
			m->surface_ns += job[made].surface_ns;
			m->simplify_ns += job[made].simplify_ns;
			fg_mesh_fini(&job[made++].mesh);
		}
		if (count_piece(m, p, err) < 0)
			goto out;
	}
	rc = 0;
out:
	for (; made < n; made++)
		fg_mesh_fini(&job[made].mesh);
	return rc;
}

static int
read_old(struct maker *m, struct fg_err *err)
{
	struct fg_buf *bytes = NULL;
	int rc = 0;

	struct fg_key key = key_of(m, FG_PRODUCT_TABLE);

	if (m->env->piece(m->env->ctx, &key, 0, FG_GEN_NEWEST, &bytes, err) < 0)
		return -1;
	if (bytes)
		rc = fg_pieces_decode(bytes->data, bytes->len, &m->old, &m->olds, err);
	fg_buf_unref(bytes);
	return rc;
}

static char *
format_stats(const struct maker *m)
{
	json_t *j = json_pack("{s:I,s:I,s:I,s:I,s:f,s:I,s:f,s:f,s:f}", "gen",
	    (json_int_t)m->body.object.gen, "pieces", (json_int_t)m->pieces, "reused",
	    (json_int_t)m->reused, "triangles", (json_int_t)m->triangles, "error_nm",
	    m->error_nm, "chunks", (json_int_t)m->body.chunks, "read_s",
	    (double)m->body.read_ns / 1e9, "surface_s", (double)m->surface_ns / 1e9,
	    "simplify_s", (double)m->simplify_ns / 1e9);
	char *text = fg_json_format(j);

	json_decref(j);
	return text;
}

static int
put_table(struct maker *m, struct fg_err *err)
{
	struct fg_buf *table = fg_pieces_encode(m->piece, m->pieces);

	if (!table)
		return fg_fail(err, FG_ENOMEM, "no memory for a table of %zu pieces",
		    m->pieces);
	fg_output_put(&m->out, &(struct fg_payload){.key = key_of(m, FG_PRODUCT_TABLE),
				   .gen = m->body.object.gen,
				   .state = FG_PRESENT,
				   .bytes = table});
	fg_measure_put(&m->out, &m->task->key, m->body.object.gen,
	    (double)m->triangles);
	m->out.stats = format_stats(m);
	return 0;
}

static void
finish(struct maker *m, struct fg_output *out)
{
	fg_output_seal(&m->out);
	m->out.result.task = m->task->key;
	*out = m->out;
	m->out = (struct fg_output){0};
}

/* ------------------------------------------------------------- levels of detail */

/* Give the pieces to the level maker, in the order of their codes, which is Z order. */
static int
add_levels(struct maker *m, struct fg_lod *lod, struct fg_err *err)
{
	struct fg_key key = key_of(m, FG_PRODUCT_PIECE);
	int rc = 0;

	for (size_t i = 0; i < m->pieces && rc == 0; i++) {
		const struct fg_piece *p = &m->piece[i];
		struct fg_mesh mesh = FG_MESH_INIT;
		struct fg_buf *bytes = NULL;
		int64_t blk[3];
		uint32_t at[3];

		if (p->bytes == 0)
			continue;
		fg_morton_decode(p->at, blk);
		for (int d = 0; d < 3; d++)
			at[d] = (uint32_t)blk[d];
		if (m->env->piece(m->env->ctx, &key, p->at, p->gen, &bytes, err) < 0)
			return -1;
		if (!bytes)
			return fg_fail(err, FG_ECORRUPT,
			    "a piece of the mesh is missing: run floodgate verify");
		rc = fg_mesh_decode_fragment(bytes->data, bytes->len, &mesh, err);
		fg_buf_unref(bytes);
		if (rc == 0)
			rc = fg_lod_add(lod, at, &mesh, err);
		fg_mesh_fini(&mesh);
	}
	return rc;
}

static int
make_levels(struct maker *m, struct fg_err *err)
{
	struct fg_lod_params p = FG_LOD_PARAMS;
	struct fg_buf *manifest = NULL, *data = NULL;
	struct fg_lod *lod;
	int rc = -1;

	memcpy(p.nm, m->body.scale->nm, sizeof p.nm);
	memcpy(p.origin_vx, m->body.bounds.lo, sizeof p.origin_vx);
	memcpy(p.block_vx, m->body.block, sizeof p.block_vx);
	p.piece_error_nm = m->error_nm;
	/* Coarser levels begin with a voxel, or what is coarser already. */
	p.error_nm = FG_MAX(m->error_nm, cbrt(p.nm[0] * p.nm[1] * p.nm[2]));
	p.memory = m->most.levels_bytes;
	p.cancel = &m->task->cancel;
	lod = fg_lod_new(&p, err);
	if (!lod)
		return -1;
	if (add_levels(m, lod, err) == 0 && fg_lod_end(lod, &manifest, &data, err) == 0)
		rc = fg_lods_put(&m->out, &m->task->key, m->body.object.gen, manifest,
		    data, err);
	fg_lod_free(lod);
	fg_buf_unref(manifest);
	fg_buf_unref(data);
	return rc < 0 ? refuse(m, "mesh_levels_mb", err) : 0;
}

int
fg_task_mesh(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err)
{
	struct maker m = {.task = t, .env = env, .started_ms = fg_clock_wall_ms()};
	int rc = -1;

	m.error_nm = t->layer->mesh_error_nm;
	m.most = (struct fg_mesh_limits){.piece_bytes = env->mesh.piece_bytes
							    ? env->mesh.piece_bytes
							    : SURFACE_MEMORY,
	    .levels_bytes =
		env->mesh.levels_bytes ? env->mesh.levels_bytes : LOD_MEMORY,
	    .triangles = env->mesh.triangles ? env->mesh.triangles : TRIANGLES_MAX};
	pthread_mutex_init(&m.reading, NULL);
	if (fg_body_init(&m.body, t, env, err) < 0 || list_blocks(&m, err) < 0 ||
	    read_old(&m, err) < 0)
		goto out;
	t->progress_all = m.blocks;
	while (m.pieces < m.blocks) {
		if (t->cancel) {
			fg_fail(err, FG_ECANCELED, "cancelled");
			goto out;
		}
		if (add_pieces(&m, err) < 0)
			goto out;
	}
	if (put_table(&m, err) < 0)
		goto out;
	if (fg_key_product(&m.task->key) == FG_PRODUCT_LODS) {
		char *stats = m.out.stats;

		m.out.stats = NULL;
		rc = flush(&m, err);
		m.out.stats = stats;
		if (rc < 0 || (rc = make_levels(&m, err)) < 0)
			goto out;
	}
	finish(&m, out);
	rc = 0;
out:
	pthread_mutex_destroy(&m.reading);
	fg_body_fini(&m.body);
	fg_output_fini(&m.out);
	free(m.block);
	free(m.piece);
	free(m.old);
	return rc;
}
