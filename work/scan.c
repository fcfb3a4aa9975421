/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the objects of a passive segmentation are: every block is looked at once, and
 * each label in it noted by a row of its own (PLACE), with one more that says that the
 * block was looked at (SCAN). All rows of a block are one commit, so it may be stopped
 * at any time. Callers that look at the same time begin at different blocks. Threads of
 * one caller take the blocks in turn; their commits go to the one writer, which takes
 * what has come together as one. What is found does not depend on any order.
 *
 * Limit: the voxels are those of the source when it was looked at. Where somebody
 * changes them later, remove the layer and add it again.
 */
#include "config.h"

#include "work/artefact.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/morton.h"
#include "work/parallel.h"

/* Each holds the voxels of a block, 128 MiB of u64 at 256^3, more with large chunks. */
#define THREADS_MAX 16
#define THREADS_BYTES (UINT64_C(2) << 30)
/* More labels than this in one block are no objects. */
#define LABELS_MAX 500000

/* A set of labels; 0 marks a free place. */
struct set {
	uint64_t *id;
	size_t n, room; /* room: power of two */
};

static void
set_put(struct set *s, uint64_t id)
{
	size_t i;

	if (2 * s->n >= s->room) {
		struct set old = *s;

		s->room = FG_MAX(2 * old.room, 256u);
		s->id = fg_calloc(s->room, sizeof *s->id);
		s->n = 0;
		for (i = 0; i < old.room; i++) {
			if (old.id[i])
				set_put(s, old.id[i]);
		}
		free(old.id);
	}
	i = fg_hash64(&id, sizeof id) & (s->room - 1);
	while (s->id[i] && s->id[i] != id)
		i = (i + 1) & (s->room - 1);
	s->n += s->id[i] == 0;
	s->id[i] = id;
}

static int
collect(const struct fg_array *labels, struct set *s, struct fg_err *err)
{
	uint64_t last = 0;

	for (size_t i = 0, n = fg_array_count(labels); i < n; i++) {
		uint64_t id = fg_array_label(labels, i);

		if (id == last)
			continue;
		last = id;
		if (id)
			set_put(s, id);
		if (s->n > LABELS_MAX)
			return fg_fail(err, FG_ENOTSUP,
			    "a block has more than %d labels", LABELS_MAX);
	}
	return 0;
}

static int
put_rows(const struct fg_layer *l, struct fg_env *env, uint64_t at, const struct set *s,
    struct fg_err *err)
{
	struct fg_payload p = {.gen = 1, .state = FG_EMPTY};
	struct fg_output out = {0};
	int rc;

	for (size_t i = 0; i < s->room; i++) {
		if (!s->id[i])
			continue;
		p.key = fg_artefact_key(l, FG_KIND_MESH, FG_PRODUCT_PLACE, s->id[i]);
		p.part = at;
		fg_output_put(&out, &p);
	}
	p.key = fg_artefact_key(l, FG_KIND_MESH, FG_PRODUCT_SCAN, at);
	p.part = 0;
	fg_output_put(&out, &p);
	fg_output_seal(&out);
	out.result.task = p.key;
	out.result.worker = env->worker;
	out.result.started_ms = out.result.ended_ms = fg_clock_wall_ms();
	rc = env->put(env->ctx, &out.result, 0, err);
	fg_output_fini(&out);
	return rc;
}

static int
scan_block(const struct fg_layer *l, struct fg_env *env, const int64_t blk[3],
    struct fg_err *err)
{
	struct fg_array labels = FG_ARRAY_INIT;
	int64_t shape[4] = {1, 1, 1, 1};
	struct set s = {0};
	struct fg_box all, vx;
	int rc = -1;

	fg_scale_bounds(&l->info.scale[0], &all);
	for (int d = 0; d < 3; d++) {
		vx.lo[d] = all.lo[d] + blk[d] * l->block[d];
		vx.hi[d] = FG_MIN(vx.lo[d] + l->block[d], all.hi[d]);
	}
	fg_box_shape(&vx, shape);
	if (fg_array_init(&labels, l->info.dtype, shape, err) == 0 &&
	    fg_source_box(l->source, 0, &vx, &labels, NULL, err) == 0 &&
	    collect(&labels, &s, err) == 0)
		rc = put_rows(l, env, fg_morton_encode(blk), &s, err);
	fg_array_fini(&labels);
	free(s.id);
	return rc;
}

struct scan {
	const struct fg_layer *layer;
	struct fg_env *env;
	uint64_t n, first;
	_Atomic uint64_t *done;
};

/* Block i of a walk over all; any thread. */
static int
visit(void *ctx, size_t i, struct fg_err *err)
{
	const struct scan *s = ctx;
	const struct fg_layer *l = s->layer;
	uint64_t k = (i + s->first) % s->n;
	int64_t blk[3] = {(int64_t)(k % (uint64_t)l->blocks[0]),
	    (int64_t)(k / (uint64_t)l->blocks[0] % (uint64_t)l->blocks[1]),
	    (int64_t)(k / (uint64_t)l->blocks[0] / (uint64_t)l->blocks[1])};
	struct fg_key key =
	    fg_artefact_key(l, FG_KIND_MESH, FG_PRODUCT_SCAN, fg_morton_encode(blk));
	bool there = false;

	if (s->env->has(s->env->ctx, &key, 0, 1, &there, err) < 0)
		return -1;
	if (!there && scan_block(l, s->env, blk, err) < 0)
		return fg_err_prefix(err, "looking for objects");
	if (s->done)
		++*s->done;
	return 0;
}

int
fg_scan_layer(const struct fg_layer *l, struct fg_env *env, uint64_t seed, int threads,
    const _Atomic bool *cancel, _Atomic uint64_t *done, struct fg_err *err)
{
	struct scan s = {.layer = l,
	    .env = env,
	    .n = (uint64_t)l->blocks[0] * (uint64_t)l->blocks[1] *
		 (uint64_t)l->blocks[2],
	    .first = fg_hash64(&seed, sizeof seed),
	    .done = done};

	uint64_t bytes = fg_dtype_size(l->info.dtype), most;

	if (l->finished)
		return 0;
	for (int d = 0; d < 3; d++)
		bytes *= (uint64_t)FG_MIN(l->block[d], l->info.scale[0].size[d]);
	most = FG_MAX(THREADS_BYTES / FG_MAX(bytes, UINT64_C(1)), UINT64_C(1));
	threads = FG_MIN(threads, fg_parallel_cores());
	return fg_parallel_for(s.n,
	    (int)FG_MIN(FG_MIN((uint64_t)threads, most), (uint64_t)THREADS_MAX), visit,
	    &s, cancel, err);
}
