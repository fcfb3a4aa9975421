/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stitch task: see the header. Faces are decoded one after another, each of the
 * block's own once with all neighbours that lie behind it, so that two decoded faces
 * and two cut-outs of them are what the task holds at a time.
 */
#include "config.h"

#include "work/stitch.h"

#include <stdlib.h>

#include "base/morton.h"
#include "formats/codec.h"

bool
fg_stitch_box(const struct fg_recipe *r, const struct fg_scale *s, const int64_t a[3],
    const int64_t b[3], struct fg_box *vx)
{
	struct fg_box core, other, box;

	fg_recipe_core(r, s, a, &core);
	for (int d = 0; d < 3; d++) {
		int64_t near = FG_MIN(r->stitch.near, r->halo[d]);
		int64_t plane = b[d] > a[d] ? core.hi[d] : core.lo[d];

		if (b[d] == a[d]) {
			vx->lo[d] = core.lo[d];
			vx->hi[d] = core.hi[d];
		} else {
			vx->lo[d] = plane - near;
			vx->hi[d] = plane + near;
		}
	}
	/* Near the end of the volume a block may be thinner than that. */
	fg_recipe_box(r, s, a, &box);
	fg_recipe_box(r, s, b, &other);
	return fg_box_intersect(vx, &box, vx) && fg_box_intersect(vx, &other, vx);
}

/* ------------------------------------------------------------- faces */

struct stitch {
	const struct fg_layer *layer;
	const struct fg_scale *scale;
	struct fg_env *env;
	int64_t blk[3];
	struct fg_merge *merge;
	size_t merges, cap;
};

/* Decode a face artefact; *there is false where the block has no object near it. */
static int
read_face(struct stitch *st, const int64_t blk[3], int face, struct fg_array *a,
    struct fg_box *vx, bool *there, struct fg_err *err)
{
	static const int64_t cseg_block[3] = {8, 8, 8};
	struct fg_key key = {.layer = st->layer->id,
	    .kind = FG_KIND_FACE,
	    .at = fg_morton_encode(blk)};
	enum fg_state state = FG_ABSENT;
	struct fg_buf *bytes = NULL;
	int64_t shape[4] = {1, 1, 1, 1};
	int rc = -1;

	*there = false;
	if (!fg_face_box(st->layer->recipe, st->scale, blk, face, vx))
		return 0;
	if (st->env->face(st->env->ctx, &key, (uint32_t)face, &state, &bytes, err) < 0)
		return -1;
	if (!bytes)
		return 0;
	fg_box_shape(vx, shape);
	if (fg_array_init(a, FG_U32, shape, err) == 0)
		rc = fg_cseg_decode(cseg_block, bytes->data, bytes->len, a, err);
	fg_buf_unref(bytes);
	*there = rc == 0;
	return rc;
}

static int
is_done(struct stitch *st, const int64_t blk[3], bool *done, struct fg_err *err)
{
	struct fg_key key = {.layer = st->layer->id,
	    .kind = FG_KIND_BLOCK,
	    .at = fg_morton_encode(blk)};
	enum fg_state state = FG_ABSENT;
	struct fg_buf *bytes = NULL;

	if (st->env->face(st->env->ctx, &key, 0, &state, &bytes, err) < 0)
		return -1;
	fg_buf_unref(bytes);
	*done = state == FG_PRESENT;
	return 0;
}

/* ------------------------------------------------------------- pairs */

static void
put_pair(struct stitch *st, const int64_t a[3], const int64_t b[3],
    const struct fg_stitch_pair *p)
{
	struct fg_merge m = {
	    .a = fg_recipe_id(st->layer->recipe, a, p->a),
	    .b = fg_recipe_id(st->layer->recipe, b, p->b),
	    .both = p->both,
	    .only_a = p->only_a,
	    .only_b = p->only_b,
	    .joined = p->joined,
	};

	if (m.a > m.b)
		m = (struct fg_merge){m.b, m.a, m.both, m.only_b, m.only_a, m.joined};
	if (st->merges == st->cap) {
		st->cap = FG_MAX(2 * st->cap, (size_t)64);
		st->merge = fg_realloc(st->merge, st->cap, sizeof *st->merge);
	}
	st->merge[st->merges++] = m;
}

/* Compare the two faces where both blocks look. */
static int
compare(struct stitch *st, const int64_t other[3], const struct fg_array *mine,
    const struct fg_box *mine_vx, const struct fg_array *theirs,
    const struct fg_box *theirs_vx, struct fg_err *err)
{
	struct fg_array a = FG_ARRAY_INIT, b = FG_ARRAY_INIT;
	struct fg_stitch_pair *pair = NULL;
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_box vx;
	size_t n = 0;
	int rc = -1;

	if (!fg_stitch_box(st->layer->recipe, st->scale, st->blk, other, &vx))
		return 0;
	fg_box_shape(&vx, shape);
	if (fg_array_init(&a, FG_U32, shape, err) < 0 ||
	    fg_array_init(&b, FG_U32, shape, err) < 0)
		goto out;
	fg_array_copy_box(&a, &vx, mine, mine_vx);
	fg_array_copy_box(&b, &vx, theirs, theirs_vx);
	if (fg_stitch_compare(&a, &b, &st->layer->recipe->stitch, &pair, &n, err) < 0)
		goto out;
	for (size_t i = 0; i < n; i++)
		put_pair(st, st->blk, other, &pair[i]);
	rc = 0;
out:
	fg_array_fini(&a);
	fg_array_fini(&b);
	free(pair);
	return rc;
}

/* Our face, and the neighbour's that looks at it. */
static int
stitch_neighbour(struct stitch *st, const int64_t other[3], int face,
    const struct fg_array *mine, const struct fg_box *mine_vx, struct fg_err *err)
{
	struct fg_array theirs = FG_ARRAY_INIT;
	struct fg_box vx;
	bool done, there = false;
	int rc = is_done(st, other, &done, err);

	if (rc == 0 && done)
		rc = read_face(st, other, face ^ 1, &theirs, &vx, &there, err);
	if (rc == 0 && there)
		rc = compare(st, other, mine, mine_vx, &theirs, &vx, err);
	fg_array_fini(&theirs);
	return rc;
}

/* All neighbours whose first axis of difference is that of the face. */
static int
stitch_face(struct stitch *st, const _Atomic bool *cancel, int face, struct fg_err *err)
{
	int axis = face / 2, step = face % 2 ? 1 : -1, rc;
	struct fg_array mine = FG_ARRAY_INIT;
	int64_t d[3], p[3];
	struct fg_box vx;
	bool there;

	rc = read_face(st, st->blk, face, &mine, &vx, &there, err);
	for (int i = 0; i < 9 && rc == 0 && there; i++) {
		bool inside = true;

		if (*cancel) {
			rc = fg_fail(err, FG_ECANCELED, "cancelled");
			break;
		}
		/* Axes before the face's do not differ. */
		if ((axis == 1 && i % 3 != 0) || (axis == 2 && i != 0))
			continue;
		d[0] = 0;
		d[1] = axis < 1 ? i % 3 - 1 : 0;
		d[2] = axis < 2 ? i / 3 - 1 : 0;
		d[axis] = step;
		for (int k = 0; k < 3; k++) {
			p[k] = st->blk[k] + d[k];
			inside = inside && p[k] >= 0 && p[k] < st->layer->blocks[k];
		}
		if (inside)
			rc = stitch_neighbour(st, p, face, &mine, &vx, err);
	}
	fg_array_fini(&mine);
	return rc;
}

int
fg_stitch_run(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err)
{
	struct stitch st = {
	    .layer = t->layer,
	    .scale = &t->layer->info.scale[0],
	    .env = env,
	};
	bool done;

	fg_morton_decode(t->key.at, st.blk);
	if (is_done(&st, st.blk, &done, err) < 0)
		return -1;
	if (!done)
		return fg_fail(err, FG_EINVAL, "the block is not made yet");
	for (int face = 0; face < 6; face++) {
		if (stitch_face(&st, &t->cancel, face, err) < 0) {
			free(st.merge);
			return -1;
		}
	}
	*out = (struct fg_output){
	    .payload = fg_calloc(1, sizeof *out->payload),
	    .places = fg_calloc(1, sizeof *out->places),
	    .merge = st.merge,
	};
	out->payload[0] = (struct fg_payload){.key = t->key, .state = FG_EMPTY};
	out->result = (struct fg_result){
	    .task = t->key,
	    .payload = out->payload,
	    .payloads = 1,
	    .places = out->places,
	    .merge = st.merge,
	    .merges = st.merges,
	    .version = PACKAGE_VERSION,
	};
	return 0;
}
