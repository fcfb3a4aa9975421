/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Running a task: the only place where reading (store), computing (seg) and encoding
 * (formats) meet.
 *
 * A segment task holds, at its peak, the image box, the labels of the box and what the
 * flood itself needs; the encoded chunks come after the flood's memory is gone. Nothing
 * here keeps state between tasks.
 */
#include "config.h"

#include "work/task.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/morton.h"
#include "formats/codec.h"
#include "seg/connected.h"
#include "seg/consensus.h"
#include "seg/downsample.h"
#include "work/artefact.h"
#include "work/origins.h"
#include "work/picture.h"
#include "work/resegment.h"
#include "work/stitch.h"

void
fg_output_fini(struct fg_output *out)
{
	for (size_t i = 0; i < out->result.payloads; i++)
		fg_buf_unref(out->payload[i].bytes);
	free(out->payload);
	free(out->object);
	free(out->places);
	free(out->merge);
	free(out->contact);
	free(out->device);
	free(out->stats);
	*out = (struct fg_output){0};
}

void
fg_output_put(struct fg_output *out, const struct fg_payload *p)
{
	size_t n = out->result.payloads;

	if ((n & (n + 1)) == 0)
		out->payload =
		    fg_realloc(out->payload, 2 * n + 2, sizeof *out->payload);
	out->payload[n] = *p;
	out->result.payloads = n + 1;
	out->bytes += p->bytes ? p->bytes->len : 0;
}

void
fg_output_seal(struct fg_output *out)
{
	out->places = fg_calloc(out->result.payloads + 1, sizeof *out->places);
	out->result.payload = out->payload;
	out->result.object = out->object;
	out->result.places = out->places;
	out->result.device = out->device;
	out->result.stats = out->stats;
	out->result.version = PACKAGE_VERSION;
}

/* ------------------------------------------------------------- a block */

static char *
format_stats(const struct fg_seg_stats *st, int64_t read_ns, int64_t cut_ns)
{
	json_t *j = json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:f,s:f,s:f,s:f}", "steps",
	    (json_int_t)st->steps, "wasted", (json_int_t)st->wasted, "seeds",
	    (json_int_t)st->seeds, "floods", (json_int_t)st->floods, "objects",
	    (json_int_t)st->objects, "too_weak", (json_int_t)st->too_weak, "too_small",
	    (json_int_t)st->too_small, "read_s", (double)read_ns / 1e9, "seed_s",
	    (double)st->seed_ns / 1e9, "flood_s", (double)st->flood_ns / 1e9, "cut_s",
	    (double)cut_ns / 1e9);
	char *text = fg_json_format(j);

	json_decref(j);
	return text;
}

static bool
is_all_absent(const struct fg_array *mask)
{
	return mask->data && memchr(mask->data, 0, fg_array_bytes(mask)) == NULL;
}

/* One block's arrays, so that they are released in one place. */
struct block {
	struct fg_box box;
	struct fg_array image, mask, labels, prob;
	struct fg_array before; /* objects of the coarser scale */
	struct fg_origins origins;
	struct fg_seg_stats stats;
	struct fg_engine *engine, *second; /* of a consensus's own model, or NULL */
};

static void
add_stats(struct fg_seg_stats *sum, struct fg_seg_stats *more)
{
	sum->steps += more->steps;
	sum->wasted += more->wasted;
	sum->seeds += more->seeds;
	sum->floods += more->floods;
	sum->objects += more->objects;
	sum->too_weak += more->too_weak;
	sum->too_small += more->too_small;
	sum->seed_ns += more->seed_ns;
	sum->flood_ns += more->flood_ns;
	fg_seg_stats_fini(more);
}

/* Note where floods began: voxels of a box that begins at lo, in voxels of the finest
 * scale's `factor`. Of a coarse voxel it is the middle. */
static void
note_origins(struct block *b, const struct fg_seg_stats *st, const int64_t lo[3],
    const int64_t factor[3])
{
	int64_t vx[3];

	for (uint64_t i = 0; i < st->objects; i++) {
		for (int d = 0; d < 3; d++) {
			vx[d] = (lo[d] + st->origin[i].start[d]) * factor[d] +
				factor[d] / 2;
			vx[d] = FG_MAX(b->box.lo[d], FG_MIN(vx[d], b->box.hi[d] - 1));
		}
		fg_origins_put(&b->origins, st->first + (uint32_t)i + 1, vx);
	}
}

/* Flood a coarser scale of the box; its objects, of at least `least` of its voxels, are
 * *out on the finer ones. Where they began is noted if they are kept. */
static int
flood_scale(struct fg_task *t, int scale, int64_t least, struct fg_engine *engine,
    const struct fg_block_call *fine, struct block *b, bool kept, struct fg_array *out,
    struct fg_err *err)
{
	struct fg_flood_params params = t->layer->recipe->flood;
	struct fg_block_call call = *fine;
	struct fg_array labels = FG_ARRAY_INIT;
	struct fg_picture_coarse c = {0};
	struct fg_seg_stats st = {0};
	int rc = -1;

	if (fg_picture_coarse(t->layer, scale, &b->box, &c, err) < 0 ||
	    fg_array_init_zero(out, FG_U32, b->labels.shape, err) < 0)
		goto out;
	rc = 0;
	if (!c.there)
		goto out;
	for (int d = 0; d < 3; d++)
		params.voxel_nm[d] *= (double)c.factor[d];
	params.min_segment_size = least;
	call.image = &c.image;
	call.mask = &c.mask;
	call.params = &params;
	call.before = NULL; /* is on the finer voxels */
	rc = fg_array_init(&labels, FG_U32, c.image.shape, err);
	if (rc == 0)
		rc = fg_segment_block(fg_engine_batcher(engine), &call, &labels, NULL,
		    &st, err);
	if (rc < 0)
		goto out;
	if (kept)
		note_origins(b, &st, c.box.lo, c.factor);
	add_stats(&b->stats, &st);
	fg_picture_spread(&c, &labels, &b->box, out);
out:
	fg_array_fini(&labels);
	fg_array_fini(&c.image);
	fg_array_fini(&c.mask);
	return rc;
}

/* A second opinion, with the seeds in reverse: *other. */
static int
flood_again(struct fg_task *t, struct fg_block_call *call, struct block *b,
    struct fg_array *other, struct fg_err *err)
{
	struct fg_engine *engine = b->second ? b->second : b->engine;
	int scale = t->layer->consensus_scale;
	struct fg_seg_stats st = {0};

	call->reverse = true;
	/* Fewer voxels of a coarser scale are an object: those dropped for good are
	 * told by the size of the pieces. */
	if (scale != t->layer->image_scale)
		return flood_scale(t, scale, 1, engine, call, b, false, other, err);
	if (fg_array_init(other, FG_U32, b->labels.shape, err) < 0 ||
	    fg_segment_block(fg_engine_batcher(engine), call, other, NULL, &st, err) <
		0)
		return -1;
	add_stats(&b->stats, &st);
	return 0;
}

/* What either flood splits is split. */
static int
agree(struct fg_task *t, struct fg_block_call *call, struct block *b,
    struct fg_err *err)
{
	struct fg_array other = FG_ARRAY_INIT;
	int rc = flood_again(t, call, b, &other, err);

	fg_origins_confine(&b->origins, &b->labels, &b->box);
	if (rc == 0)
		rc = fg_consensus_split(&b->labels, &other,
		    (uint64_t)t->layer->recipe->passes.consensus_least, &b->labels,
		    err);
	fg_origins_follow(&b->origins, &b->labels, &b->box);
	fg_array_fini(&other);
	return rc;
}

/* What does not hang together is taken apart. */
static int
split_pieces(struct fg_task *t, struct block *b, struct fg_err *err)
{
	int rc;

	fg_origins_confine(&b->origins, &b->labels, &b->box);
	rc = fg_connected_split(&b->labels,
	    (uint64_t)t->layer->recipe->passes.pieces_least, &b->labels, err);
	fg_origins_follow(&b->origins, &b->labels, &b->box);
	return rc;
}

/* All passes of the recipe. */
static int
flood_passes(struct fg_task *t, struct fg_block_call *call, struct block *b,
    struct fg_err *err)
{
	static const int64_t same[3] = {1, 1, 1};
	const struct fg_recipe *r = t->layer->recipe;
	struct fg_seg_stats st = {0};

	if (r->passes.coarse[0]) {
		if (flood_scale(t, t->layer->coarse_scale, r->passes.coarse_least,
			b->engine, call, b, true, &b->before, err) < 0)
			return -1;
		call->before = &b->before;
	}
	if (fg_segment_block(fg_engine_batcher(b->engine), call, &b->labels,
		r->prob ? &b->prob : NULL, &st, err) < 0)
		return -1;
	note_origins(b, &st, b->box.lo, same);
	add_stats(&b->stats, &st);
	if (r->passes.consensus && agree(t, call, b, err) < 0)
		return -1;
	return r->passes.pieces ? split_pieces(t, b, err) : 0;
}

static int
get_engines(const struct fg_recipe *r, struct fg_env *env, struct block *b,
    struct fg_err *err)
{
	const struct fg_passes *p = &r->passes;

	b->engine = fg_engines_get(env->engines, r->model, r->model_sha256, &r->shape,
	    r->precision, err);
	if (b->engine && p->consensus_model) {
		b->second = fg_engines_get(env->engines, p->consensus_model,
		    p->consensus_sha256, &p->consensus_shape, r->precision, err);
		if (!b->second)
			fg_err_prefix(err, "consensus");
	}
	if (b->engine && (b->second || !p->consensus_model))
		return 0;
	env->no_engine = true;
	return -1;
}

static int
flood_block(struct fg_task *t, struct fg_env *env, struct block *b, struct fg_err *err)
{
	const struct fg_recipe *r = t->layer->recipe;
	struct fg_block_call call = {
	    .image = &b->image,
	    .mask = b->mask.data ? &b->mask : NULL,
	    .params = &r->flood,
	    .cls = &t->cls,
	    .cancel = &t->cancel,
	    .progress = &t->progress,
	    .progress_all = &t->progress_all,
	    .floods = env->floods,
	};
	struct fg_err lost = FG_ERR_INIT;

	if (is_all_absent(&b->mask))
		return 0; /* nothing to see: no seed, no object */
	if (get_engines(r, env, b, err) < 0)
		return -1;
	if (flood_passes(t, &call, b, err) == 0)
		return 0;
	/* The last device may have gone under it: say so rather than "cancelled". */
	if (!t->cancel && (fg_engine_check(b->engine, &lost) < 0 ||
			      (b->second && fg_engine_check(b->second, &lost) < 0))) {
		env->no_engine = true;
		if (err)
			*err = lost;
	}
	return -1;
}

static int
segment(struct fg_task *t, struct fg_env *env, const struct fg_box *box,
    struct block *b, struct fg_err *err)
{
	int64_t shape[4] = {1, 1, 1, 1};

	fg_box_shape(box, shape);
	if (fg_array_init_zero(&b->labels, FG_U32, shape, err) < 0)
		return -1;
	if (t->layer->recipe->prob &&
	    fg_array_init_zero(&b->prob, FG_U8, shape, err) < 0)
		return -1;
	return flood_block(t, env, b, err);
}

static int
run_block(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err)
{
	const struct fg_layer *l = t->layer;
	const struct fg_scale *s = &l->info.scale[0];
	struct block b = {0};
	struct fg_output made = {0};
	int64_t blk[3], t0 = fg_clock_ns(), t1, t2;
	struct fg_box box;
	int rc = -1;

	fg_morton_decode(t->key.at, blk);
	for (int d = 0; d < 3; d++) {
		if (blk[d] >= l->blocks[d])
			return fg_fail(err, FG_EINVAL,
			    "block %lld, %lld, %lld is outside the grid",
			    (long long)blk[0], (long long)blk[1], (long long)blk[2]);
	}
	fg_recipe_box(l->recipe, s, blk, &box);
	b.box = box;
	if (fg_picture_read(l, &box, &b.image, &b.mask, err) < 0)
		goto out;
	t1 = fg_clock_ns();
	if (segment(t, env, &box, &b, err) < 0)
		goto out;
	t2 = fg_clock_ns();
	if (fg_task_cut(l, t->key.at, &b.labels, b.prob.data ? &b.prob : NULL,
		&b.origins, &made, err) < 0)
		goto out;
	made.device = b.engine ? fg_engine_devices(b.engine) : NULL;
	made.stats = format_stats(&b.stats, t1 - t0, fg_clock_ns() - t2);
	made.result.device = made.device;
	made.result.stats = made.stats;
	*out = made;
	rc = 0;
out:
	fg_seg_stats_fini(&b.stats);
	fg_origins_fini(&b.origins);
	fg_array_fini(&b.image);
	fg_array_fini(&b.mask);
	fg_array_fini(&b.before);
	fg_array_fini(&b.labels);
	fg_array_fini(&b.prob);
	return rc;
}

/* ------------------------------------------------------------- a coarse chunk */

/* Windows of a coarser scale are counted from voxel 0 of the frame, not from the corner
 * of the volume, so that scales line up whatever the voxel_offset. Sizes are rounded,
 * so that the ratio of the resolutions decides the factor. */
static void
coarse_factor(const struct fg_info *info, int scale, int64_t factor[3])
{
	const struct fg_scale *c = &info->scale[scale], *f = &info->scale[scale - 1];

	for (int d = 0; d < 3; d++)
		factor[d] = FG_MAX((int64_t)(c->nm[d] / f->nm[d] + 0.5), 1);
}

/* Finer voxels that chunk ch of a coarse scale is made from, whole windows; they may
 * reach beyond the finer scale. */
static void
coarse_windows(const struct fg_info *info, int scale, const int64_t ch[3],
    struct fg_box *fine, int64_t factor[3])
{
	coarse_factor(info, scale, factor);
	fg_scale_chunk_box(&info->scale[scale], ch, fine);
	for (int d = 0; d < 3; d++) {
		fine->lo[d] *= factor[d];
		fine->hi[d] *= factor[d];
	}
}

void
fg_coarse_children(const struct fg_info *info, int scale, const int64_t ch[3],
    struct fg_box *children)
{
	const struct fg_scale *f = &info->scale[scale - 1];
	struct fg_box fine, all;
	int64_t factor[3];

	coarse_windows(info, scale, ch, &fine, factor);
	fg_scale_bounds(f, &all);
	fg_box_intersect(&fine, &all, &fine);
	for (int d = 0; d < 3; d++) {
		children->lo[d] = (fine.lo[d] - f->offset[d]) / f->chunk[d];
		children->hi[d] = fg_div_ceil(fine.hi[d] - f->offset[d], f->chunk[d]);
	}
}

void
fg_coarse_over(const struct fg_info *info, int scale, struct fg_box *g)
{
	const struct fg_scale *c = &info->scale[scale], *f = &info->scale[scale - 1];
	int64_t factor[3];

	coarse_factor(info, scale, factor);
	for (int d = 0; d < 3; d++) {
		int64_t lo = f->offset[d] + g->lo[d] * f->chunk[d];
		int64_t hi = f->offset[d] + FG_MIN(g->hi[d] * f->chunk[d], f->size[d]);

		lo = fg_div_floor(lo, factor[d]) - c->offset[d];
		hi = fg_div_ceil(hi, factor[d]) - c->offset[d];
		g->lo[d] = lo / c->chunk[d];
		g->hi[d] = fg_div_ceil(hi, c->chunk[d]);
	}
}

/* Copy one finer chunk into the array that fills `box` (finer voxels). */
static int
read_child(const struct fg_task *t, struct fg_env *env, const int64_t ch[3],
    struct fg_array *fine, const struct fg_box *box, bool *partial, struct fg_err *err)
{
	const struct fg_scale *s = &t->layer->info.scale[t->key.scale - 1];
	struct fg_key key = {
	    .layer = t->key.layer,
	    .kind = FG_KIND_CHUNK,
	    .scale = (uint8_t)(t->key.scale - 1),
	    .at = fg_morton_encode(ch),
	};
	struct fg_array part = FG_ARRAY_INIT;
	int64_t shape[4] = {1, 1, 1, 1};
	enum fg_state state = FG_ABSENT;
	struct fg_buf *bytes = NULL;
	struct fg_box vx;
	int rc = -1;

	if (env->child(env->ctx, &key, &state, &bytes, err) < 0)
		return -1;
	*partial |= state == FG_ABSENT || state == FG_PARTIAL;
	if (!bytes)
		return 0;
	fg_scale_chunk_box(s, ch, &vx);
	fg_box_shape(&vx, shape);
	if (fg_array_init(&part, fine->dtype, shape, err) < 0 ||
	    fg_codec_decode(s, bytes->data, bytes->len, &part, err) < 0)
		goto out;
	fg_array_copy_box(fine, box, &part, &vx);
	rc = 0;
out:
	fg_array_fini(&part);
	fg_buf_unref(bytes);
	return rc;
}

/* The first window may begin before the volume: repeat its first voxels there, which
 * leaves every vote as the voxels that exist would have it. `pad`: how many to fill on
 * each axis. */
static void
repeat_edge(struct fg_array *a, const int64_t pad[3])
{
	size_t size = fg_dtype_size(a->dtype);
	const int64_t *n = a->shape;
	char *p = a->data;

	if (pad[0] + pad[1] + pad[2] == 0)
		return;
	for (int64_t z = n[2] - 1; z >= 0; z--) {
		for (int64_t y = n[1] - 1; y >= 0; y--) {
			for (int64_t x = n[0] - 1; x >= 0; x--) {
				int64_t sx = FG_MAX(x, pad[0]), sy = FG_MAX(y, pad[1]),
					sz = FG_MAX(z, pad[2]);

				if (sx == x && sy == y && sz == z)
					continue;
				memcpy(p + (size_t)((z * n[1] + y) * n[0] + x) * size,
				    p + (size_t)((sz * n[1] + sy) * n[0] + sx) * size,
				    size);
			}
		}
	}
}

/* The finer voxels under coarse chunk ch; ones that are not stored stay 0. */
static int
read_children(const struct fg_task *t, struct fg_env *env, const int64_t ch[3],
    struct fg_array *fine, int64_t factor[3], bool *partial, struct fg_err *err)
{
	const struct fg_info *info = &t->layer->info;
	int64_t shape[4] = {1, 1, 1, 1}, p[3], pad[3];
	struct fg_box g, all, box;

	fg_coarse_children(info, t->key.scale, ch, &g);
	coarse_windows(info, t->key.scale, ch, &box, factor);
	fg_scale_bounds(&info->scale[t->key.scale - 1], &all);
	for (int d = 0; d < 3; d++) {
		pad[d] = FG_MAX(all.lo[d] - box.lo[d], 0);
		box.hi[d] = FG_MIN(box.hi[d], all.hi[d]);
	}
	if (fg_box_is_empty(&g) || fg_box_is_empty(&box))
		return fg_fail(err, FG_EINVAL, "scale %d has nothing below this chunk",
		    t->key.scale);
	fg_box_shape(&box, shape);
	if (fg_array_init_zero(fine, info->dtype, shape, err) < 0)
		return -1;
	for (p[2] = g.lo[2]; p[2] < g.hi[2]; p[2]++) {
		for (p[1] = g.lo[1]; p[1] < g.hi[1]; p[1]++) {
			for (p[0] = g.lo[0]; p[0] < g.hi[0]; p[0]++) {
				if (t->cancel)
					return fg_fail(err, FG_ECANCELED, "cancelled");
				if (read_child(t, env, p, fine, &box, partial, err) < 0)
					return -1;
			}
		}
	}
	repeat_edge(fine, pad);
	return 0;
}

static int
run_coarse(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err)
{
	const struct fg_info *info = &t->layer->info;
	struct fg_array fine = FG_ARRAY_INIT, coarse = FG_ARRAY_INIT;
	int64_t ch[3], grid[3], factor[3], shape[4] = {1, 1, 1, 1};
	struct fg_buf *bytes = NULL;
	bool partial = false;
	struct fg_box vx;
	int rc = -1;

	if (t->key.scale < 1 || t->key.scale >= info->scales)
		return fg_fail(err, FG_EINVAL, "layer has no coarse scale %d",
		    t->key.scale);
	const struct fg_scale *s = &info->scale[t->key.scale];
	fg_morton_decode(t->key.at, ch);
	fg_scale_grid(s, grid);
	if (ch[0] >= grid[0] || ch[1] >= grid[1] || ch[2] >= grid[2])
		return fg_fail(err, FG_EINVAL, "chunk is outside the grid");
	fg_scale_chunk_box(s, ch, &vx);
	fg_box_shape(&vx, shape);
	if (read_children(t, env, ch, &fine, factor, &partial, err) < 0 ||
	    fg_array_init(&coarse, info->dtype, shape, err) < 0 ||
	    fg_downsample_mode(&fine, factor, &coarse, err) < 0)
		goto out;
	if (!fg_array_is_zero(&coarse) && fg_codec_encode(s, &coarse, &bytes, err) < 0)
		goto out;
	/* A PARTIAL chunk has bytes even where it is all background so far, so that it
	 * is not taken for known background. */
	if (partial && !bytes && fg_codec_encode(s, &coarse, &bytes, err) < 0)
		goto out;
	struct fg_output made = {0};
	fg_output_put(&made, &(struct fg_payload){
				 .key = t->key,
				 .state = partial ? FG_PARTIAL
					  : bytes ? FG_PRESENT
						  : FG_EMPTY,
				 .enc = (uint8_t)s->encoding,
				 .bytes = bytes,
			     });
	made.result.task = t->key;
	fg_output_seal(&made);
	*out = made;
	rc = 0;
out:
	fg_array_fini(&fine);
	fg_array_fini(&coarse);
	return rc;
}

int
fg_task_run(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err)
{
	int64_t started = fg_clock_wall_ms();
	int rc;

	switch (t->key.kind) {
	case FG_KIND_BLOCK:
		rc = run_block(t, env, out, err);
		break;
	case FG_KIND_STITCH:
		rc = fg_stitch_run(t, env, out, err);
		break;
	case FG_KIND_RESEGMENT:
		rc = fg_resegment_run(t, env, out, err);
		break;
	case FG_KIND_MESH:
		rc = fg_task_mesh(t, env, out, err);
		break;
	case FG_KIND_SKELETON:
		rc = fg_task_skeleton(t, env, out, err);
		break;
	default:
		rc = run_coarse(t, env, out, err);
	}
	if (rc < 0)
		return -1;
	out->result.worker = env->worker;
	out->result.started_ms = started;
	out->result.ended_ms = fg_clock_wall_ms();
	return 0;
}
