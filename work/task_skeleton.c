/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The task that makes the skeleton of one object.
 *
 * What fits into a box of env->skeleton_whole voxels is traced in one go. That is the
 * better way, because there are no seams: forced to the middle of every cut, paths of
 * blocks are others than those of the whole (docs/architecture.md has the numbers).
 *
 * A larger object is traced block by block. A block's box has one layer more at its
 * upper faces, the first one of its neighbours; on a face behind which the object goes
 * on both choose the same voxels as targets. Pieces are stored as they come, each with
 * a hash of what it was made from, so that an object that has grown needs new ones only
 * where something has changed; then they are joined and the seams repaired
 * (mesh/join.h).
 *
 * Limits, both with a clear error: the voxels of a block's box (fg_body_mask) and the
 * vertices of all pieces (env->skeleton_vertices).
 */
#include "config.h"

#include "work/artefact.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/morton.h"
#include "mesh/join.h"
#include "mesh/skeleton.h"

/* 10 bytes a voxel while tracing, 1.3 GiB, and 22 per voxel of the object. */
#define WHOLE_DEFAULT (INT64_C(1) << 27)
/* 16 bytes a vertex in the pieces, some 100 while they are joined: 2 GiB. */
#define JOIN_DEFAULT (UINT64_C(1) << 24)
#define FLUSH_BYTES (64u << 20)
#define PIECE_HEAD 8 /* u64 hash; then a skeleton file */
/* Goes into the hash of what pieces are made from: another algorithm, another number.
 */
#define ALGORITHM 3

struct maker {
	struct fg_task *task;
	struct fg_env *env;
	struct fg_body body;
	struct fg_output out; /* pieces not yet committed */
	int64_t started_ms;
	struct fg_skeleton *piece;
	size_t pieces;
	uint64_t vertices, most;
	/* statistics */
	uint64_t made, reused;
};

/* All trees of the object in a box. An object so small that all of it counts as dust
 * has one all the same: somebody asked for it. */
static int
trace(struct fg_body *b, const struct fg_box *vx, struct fg_skeleton *out,
    struct fg_err *err)
{
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	struct fg_array mask = FG_ARRAY_INIT;
	struct fg_skeletons s = {0};
	struct fg_box hull;
	int rc;

	if (fg_body_mask(b, vx, &mask, &hull, err) < 0)
		return -1;
	if (!mask.data)
		return 0;
	memcpy(p.nm, b->scale->nm, sizeof p.nm);
	memcpy(p.origin_vx, hull.lo, sizeof p.origin_vx);
	p.cancel = (_Atomic bool *)&b->task->cancel;
	p.fix_borders = false;
	p.cross_sectional_area = true;
	rc = fg_skeletons_make(&mask, &p, &s, err);
	if (rc == 0 && s.count == 0) {
		fg_skeletons_fini(&s);
		p.dust_threshold = 0;
		rc = fg_skeletons_make(&mask, &p, &s, err);
	}
	fg_array_fini(&mask);
	if (rc < 0)
		return -1;
	if (s.count > 0) {
		*out = s.skeleton[0];
		s.skeleton[0] = FG_SKELETON_INIT;
	}
	fg_skeletons_fini(&s);
	return 0;
}

/* ------------------------------------------------------------- block by block */

/* Whether the object has voxels in the block next to blk. */
static bool
is_next(const struct fg_body *b, const int64_t blk[3], int d, int by)
{
	int64_t p[3] = {blk[0], blk[1], blk[2]};
	size_t first;

	p[d] += by;
	return p[d] >= 0 && p[d] < b->blocks[d] &&
	       fg_body_find(b, fg_morton_encode(p), &first) > 0;
}

/* Faces behind which the object may go on. */
static unsigned
open_faces(const struct fg_body *b, const int64_t blk[3])
{
	unsigned faces = 0;

	for (int d = 0; d < 3; d++) {
		faces |= (unsigned)is_next(b, blk, d, -1) << 2 * d;
		faces |= (unsigned)is_next(b, blk, d, 1) << (2 * d + 1);
	}
	return faces;
}

/* A hash of what the piece of a block is made from: the object's labels in the eight
 * blocks that its box reaches into, and the faces with targets. */
static uint64_t
hash_inputs(const struct fg_body *b, const int64_t blk[3])
{
	const uint64_t params[2] = {ALGORITHM, open_faces(b, blk)};

	return fg_body_hash(b, blk, params);
}

/* The object in the block's box, all of it: both sides of a face must see the same
 * face. No data if it is not there. */
static int
read_block(struct fg_body *b, const struct fg_box *vx, struct fg_array *out,
    struct fg_err *err)
{
	struct fg_array mask = FG_ARRAY_INIT;
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_box hull;
	int rc;

	*out = FG_ARRAY_INIT;
	if (fg_body_mask(b, vx, &mask, &hull, err) < 0)
		return -1;
	if (!mask.data)
		return 0;
	fg_box_shape(vx, shape);
	rc = fg_array_init_zero(out, FG_U8, shape, err);
	if (rc == 0)
		fg_array_copy_box(out, vx, &mask, &hull);
	fg_array_fini(&mask);
	return rc;
}

/* All trees of the object in a block; nothing is dust here, since it may go on. */
static int
trace_block(struct maker *m, const int64_t blk[3], struct fg_skeleton *out,
    struct fg_err *err)
{
	struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	struct fg_body *b = &m->body;
	struct fg_array mask;
	struct fg_skeletons s = {0};
	struct fg_box vx;
	int rc;

	fg_body_core(b, blk, &vx);
	for (int d = 0; d < 3; d++) {
		if (vx.hi[d] < b->bounds.hi[d]) {
			vx.hi[d]++;
			p.shared_upper |= 1u << d;
		}
	}
	if (read_block(b, &vx, &mask, err) < 0)
		return -1;
	if (!mask.data)
		return 0;
	memcpy(p.nm, b->scale->nm, sizeof p.nm);
	memcpy(p.origin_vx, vx.lo, sizeof p.origin_vx);
	p.cancel = (_Atomic bool *)&m->task->cancel;
	p.border_faces = open_faces(b, blk);
	p.dust_threshold = 0;
	p.cross_sectional_area = true;
	rc = fg_skeletons_make(&mask, &p, &s, err);
	fg_array_fini(&mask);
	if (rc == 0 && s.count > 0) {
		*out = s.skeleton[0];
		s.skeleton[0] = FG_SKELETON_INIT;
	}
	fg_skeletons_fini(&s);
	return rc;
}

static struct fg_key
piece_key(const struct maker *m)
{
	struct fg_key key = m->task->key;

	key.scale = (uint8_t)(FG_PRODUCT_PIECE + FG_PRODUCTS * m->body.kind);
	return key;
}

/* Commit what has come together. */
static int
flush(struct maker *m, struct fg_err *err)
{
	struct fg_output *o = &m->out;
	int rc;

	fg_output_seal(o);
	o->result.task = piece_key(m);
	o->result.worker = m->env->worker;
	o->result.started_ms = m->started_ms;
	o->result.ended_ms = fg_clock_wall_ms();
	rc = m->env->put(m->env->ctx, &o->result, o->bytes, err);
	fg_output_fini(o);
	return rc;
}

static int
put_piece(struct maker *m, uint64_t at, uint64_t inputs, const struct fg_skeleton *s,
    struct fg_err *err)
{
	struct fg_buf *file = NULL, *bytes;

	if (fg_skeleton_encode(s, &file, err) < 0)
		return -1;
	bytes = fg_buf_new(PIECE_HEAD + file->len);
	if (!bytes) {
		fg_buf_unref(file);
		return fg_fail(err, FG_ENOMEM, "no memory for a skeleton");
	}
	fg_put_u64le(bytes->data, inputs);
	memcpy(bytes->data + PIECE_HEAD, file->data, file->len);
	fg_buf_unref(file);
	fg_output_put(&m->out, &(struct fg_payload){.key = piece_key(m),
				   .part = at,
				   .gen = m->body.object.gen,
				   .state = FG_PRESENT,
				   .bytes = bytes});
	return m->out.bytes >= FLUSH_BYTES ? flush(m, err) : 0;
}

/* The newest piece of a block, if it was made from the same. */
static int
find_old(struct maker *m, uint64_t at, uint64_t inputs, struct fg_skeleton *out,
    bool *found, struct fg_err *err)
{
	struct fg_key key = piece_key(m);
	struct fg_buf *bytes = NULL;
	int rc = 0;

	if (m->env->piece(m->env->ctx, &key, at, FG_GEN_NEWEST, &bytes, err) < 0)
		return -1;
	*found =
	    bytes && bytes->len >= PIECE_HEAD && fg_get_u64le(bytes->data) == inputs;
	if (*found)
		rc = fg_skeleton_decode_with(bytes->data + PIECE_HEAD,
		    bytes->len - PIECE_HEAD, FG_SKELETON_AREA | FG_SKELETON_CONTACTS,
		    out, err);
	fg_buf_unref(bytes);
	return rc;
}

static int
add_piece(struct maker *m, uint64_t at, struct fg_err *err)
{
	struct fg_skeleton *s = &m->piece[m->pieces];
	bool found = false;
	uint64_t inputs;
	int64_t blk[3];

	if (m->task->cancel)
		return fg_fail(err, FG_ECANCELED, "cancelled");
	fg_morton_decode(at, blk);
	inputs = hash_inputs(&m->body, blk);
	if (find_old(m, at, inputs, s, &found, err) < 0)
		return -1;
	if (!found &&
	    (trace_block(m, blk, s, err) < 0 || put_piece(m, at, inputs, s, err) < 0)) {
		fg_skeleton_fini(s);
		return -1;
	}
	m->pieces++;
	m->reused += found;
	m->made += !found;
	m->vertices += s->vertices;
	m->task->progress = m->pieces;
	if (m->vertices > m->most)
		return fg_fail(err, FG_ENOTSUP,
		    "the skeleton of object %llu is too large: more than %llu vertices "
		    "after %zu of its blocks (skeleton_max_mvert)",
		    (unsigned long long)m->body.object.id, (unsigned long long)m->most,
		    m->pieces);
	return 0;
}

/* Seams leave twigs: what ends within twice the constant reach of a path is one. */
static int
join_pieces(struct maker *m, struct fg_skeleton *out, struct fg_err *err)
{
	const struct fg_skeleton_params p = FG_SKELETON_PARAMS;
	struct fg_join_params jp = FG_JOIN_PARAMS;
	const struct fg_skeleton **list =
	    fg_calloc(m->pieces + 1, sizeof(struct fg_skeleton *));
	int rc;

	jp.dust_threshold = p.const_nm;
	jp.tick_threshold = 2 * p.const_nm;
	for (size_t i = 0; i < m->pieces; i++)
		list[i] = &m->piece[i];
	rc = fg_skeleton_join(list, m->pieces, &jp, out, err);
	if (rc == 0 && out->edges == 0) { /* all of it is dust: as for small objects */
		fg_skeleton_fini(out);
		jp.dust_threshold = jp.tick_threshold = 0;
		rc = fg_skeleton_join(list, m->pieces, &jp, out, err);
	}
	free(list);
	return rc;
}

static int
trace_blocks(struct maker *m, struct fg_skeleton *out, struct fg_err *err)
{
	const struct fg_body *b = &m->body;

	m->piece = fg_calloc(b->parts + 1, sizeof *m->piece);
	m->task->progress_all = b->parts;
	for (size_t i = 0; i < b->parts; i++) {
		if (i > 0 && b->part[i].at == b->part[i - 1].at)
			continue;
		if (add_piece(m, b->part[i].at, err) < 0)
			return -1;
	}
	return join_pieces(m, out, err);
}

/* ------------------------------------------------------------- the task */

static double
cable_of(const struct fg_skeleton *s)
{
	double sum = 0;

	for (size_t e = 0; e < s->edges; e++) {
		const float *a = s->xyz + 3 * (size_t)s->edge[2 * e];
		const float *b = s->xyz + 3 * (size_t)s->edge[2 * e + 1];

		sum += hypot(hypot((double)a[0] - (double)b[0],
				 (double)a[1] - (double)b[1]),
		    (double)a[2] - (double)b[2]);
	}
	return sum;
}

static char *
format_stats(const struct maker *m, const struct fg_skeleton *s, int64_t trace_ns)
{
	const struct fg_body *b = &m->body;
	json_t *j = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f}", "gen",
	    (json_int_t)b->object.gen, "vertices", (json_int_t)s->vertices, "edges",
	    (json_int_t)s->edges, "pieces", (json_int_t)m->made, "reused",
	    (json_int_t)m->reused, "chunks", (json_int_t)b->chunks, "read_s",
	    (double)b->read_ns / 1e9, "trace_s", (double)(trace_ns - b->read_ns) / 1e9);
	char *text = fg_json_format(j);

	json_decref(j);
	return text;
}

/* The object's box, and one voxel more, so that distances end at the object's surface;
 * but not at the border of the volume, behind which the object may go on. */
static int
find_box(const struct fg_body *b, struct fg_box *vx, struct fg_err *err)
{
	for (int d = 0; d < 3; d++) {
		vx->lo[d] = b->object.lo[d] - 1;
		vx->hi[d] = b->object.hi[d] + 1;
	}
	if (!fg_box_intersect(vx, &b->bounds, vx))
		return fg_fail(err, FG_ECORRUPT,
		    "object %llu lies outside of its volume",
		    (unsigned long long)b->object.id);
	return 0;
}

int
fg_task_skeleton(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err)
{
	struct maker m = {.task = t, .env = env, .started_ms = fg_clock_wall_ms()};
	const int64_t most =
	    env->skeleton_whole > 0 ? env->skeleton_whole : WHOLE_DEFAULT;
	struct fg_skeleton s = FG_SKELETON_INIT;
	struct fg_buf *bytes = NULL;
	int64_t t0 = fg_clock_ns();
	struct fg_box vx;
	int rc = -1;

	m.most = env->skeleton_vertices ? env->skeleton_vertices : JOIN_DEFAULT;
	if (fg_body_init(&m.body, t, env, err) < 0)
		return -1;
	if (find_box(&m.body, &vx, err) < 0)
		goto out;
	if ((double)(vx.hi[0] - vx.lo[0]) * (double)(vx.hi[1] - vx.lo[1]) *
		(double)(vx.hi[2] - vx.lo[2]) <=
	    (double)most)
		rc = trace(&m.body, &vx, &s, err);
	else
		rc = trace_blocks(&m, &s, err);
	/* What a section touches is of use while blocks are joined; old viewers choke
	 * on attributes that are no floats. */
	free(s.contacts);
	s.contacts = NULL;
	if (rc < 0 || (rc = fg_skeleton_encode(&s, &bytes, err)) < 0)
		goto out;
	fg_output_put(&m.out, &(struct fg_payload){.key = t->key,
				  .gen = m.body.object.gen,
				  .state = FG_PRESENT,
				  .bytes = bytes});
	fg_measure_put(&m.out, &t->key, m.body.object.gen, cable_of(&s));
	m.out.stats = format_stats(&m, &s, fg_clock_ns() - t0);
	fg_output_seal(&m.out);
	m.out.result.task = t->key;
	*out = m.out;
	m.out = (struct fg_output){0};
out:
	for (size_t i = 0; i < m.pieces; i++)
		fg_skeleton_fini(&m.piece[i]);
	free(m.piece);
	fg_skeleton_fini(&s);
	fg_output_fini(&m.out);
	fg_body_fini(&m.body);
	return rc;
}
