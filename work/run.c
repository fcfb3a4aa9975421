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
#include "seg/consensus.h"
#include "seg/downsample.h"
#include "work/artefact.h"
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

/* ------------------------------------------------------------- cutting a block */

struct cut {
	const struct fg_layer *layer;
	const struct fg_scale *scale;
	uint64_t at;
	int64_t blk[3];
	struct fg_box core, box;
	uint32_t *local; /* by label of the box: number within the block, 0 = none */
	uint32_t labels; /* largest label of the box */
	struct fg_output out;
};

static size_t
index_of(const struct fg_box *b, int64_t x, int64_t y, int64_t z)
{
	return (size_t)((x - b->lo[0]) +
			(b->hi[0] - b->lo[0]) *
			    ((y - b->lo[1]) + (b->hi[1] - b->lo[1]) * (z - b->lo[2])));
}

static uint32_t
largest(const struct fg_array *labels)
{
	const uint32_t *p = labels->data;
	uint32_t max = 0;

	for (size_t i = 0, n = fg_array_count(labels); i < n; i++)
		max = FG_MAX(max, p[i]);
	return max;
}

static void
count_voxel(struct fg_object_row *o, int64_t x, int64_t y, int64_t z)
{
	const int64_t p[3] = {x, y, z};

	for (int d = 0; d < 3; d++) {
		if (o->voxels == 0 || p[d] < o->lo[d])
			o->lo[d] = p[d];
		if (o->voxels == 0 || p[d] >= o->hi[d])
			o->hi[d] = p[d] + 1;
	}
	o->voxels++;
}

/* Statistics of every label within the core, indexed by label. */
static void
survey_core(const struct cut *c, const struct fg_array *labels,
    struct fg_object_row *all)
{
	const uint32_t *p = labels->data;

	for (int64_t z = c->core.lo[2]; z < c->core.hi[2]; z++) {
		for (int64_t y = c->core.lo[1]; y < c->core.hi[1]; y++) {
			const uint32_t *row =
			    p + index_of(&c->box, c->core.lo[0], y, z);

			for (int64_t x = c->core.lo[0]; x < c->core.hi[0]; x++, row++) {
				if (*row)
					count_voxel(&all[*row], x, y, z);
			}
		}
	}
}

/* Labels rise in flood order, so numbering those with core voxels in order of label
 * numbers objects in flood order. */
static int
number_objects(struct cut *c, const struct fg_array *labels, struct fg_err *err)
{
	struct fg_object_row *all = NULL;
	uint32_t n = 0;
	int rc = -1;

	c->labels = largest(labels);
	all = fg_try_alloc((size_t)c->labels + 1, sizeof *all);
	c->local = fg_try_alloc((size_t)c->labels + 1, sizeof *c->local);
	if (!all || !c->local) {
		fg_fail(err, FG_ENOMEM, "no memory for %u objects", c->labels);
		goto out;
	}
	memset(all, 0, ((size_t)c->labels + 1) * sizeof *all);
	survey_core(c, labels, all);
	c->local[0] = 0;
	for (uint32_t i = 1; i <= c->labels; i++) {
		c->local[i] = all[i].voxels ? ++n : 0;
		if (n >> FG_LOCAL_BITS) {
			fg_fail(err, FG_EINVAL,
			    "block has more than %d objects, which ids cannot number: "
			    "choose smaller blocks",
			    (1 << FG_LOCAL_BITS) - 1);
			goto out;
		}
		if (all[i].voxels) {
			all[n] = all[i]; /* n <= i */
			all[n].id = fg_recipe_id(c->layer->recipe, c->blk, n);
		}
	}
	c->out.object = fg_calloc((size_t)n + 1, sizeof *all);
	memcpy(c->out.object, all + 1, n * sizeof *all);
	c->out.result.objects = n;
	rc = 0;
out:
	free(all);
	return rc;
}

/* Take over an encoded payload. */
static void
put_payload(struct cut *c, const struct fg_key *key, uint32_t part,
    enum fg_encoding enc, struct fg_buf *bytes)
{
	fg_output_put(&c->out, &(struct fg_payload){
				   .key = *key,
				   .part = part,
				   .state = bytes ? FG_PRESENT : FG_EMPTY,
				   .enc = (uint8_t)enc,
				   .bytes = bytes,
			       });
}

/* Global ids of a chunk, u64 (or u32 where the layer holds that). */
static void
fill_ids(const struct cut *c, const struct fg_array *labels, const struct fg_box *vx,
    uint64_t *ids)
{
	const uint32_t *p = labels->data;
	uint64_t base = fg_recipe_id(c->layer->recipe, c->blk, 0);

	for (int64_t z = vx->lo[2]; z < vx->hi[2]; z++) {
		for (int64_t y = vx->lo[1]; y < vx->hi[1]; y++) {
			const uint32_t *row = p + index_of(&c->box, vx->lo[0], y, z);

			for (int64_t x = vx->lo[0]; x < vx->hi[0]; x++) {
				uint32_t n = c->local[*row++];

				*ids++ = n ? base | n : 0;
			}
		}
	}
}

static int
cut_label_chunk(struct cut *c, const struct fg_array *labels, const struct fg_key *key,
    const struct fg_box *vx, struct fg_err *err)
{
	struct fg_array ids = FG_ARRAY_INIT;
	struct fg_buf *bytes = NULL;
	int64_t shape[4] = {1, 1, 1, 1};
	int rc = -1;

	fg_box_shape(vx, shape);
	if (fg_array_init(&ids, FG_U64, shape, err) < 0)
		return -1;
	fill_ids(c, labels, vx, ids.data);
	if (!fg_array_is_zero(&ids) && fg_codec_encode(c->scale, &ids, &bytes, err) < 0)
		goto out;
	put_payload(c, key, 0, c->scale->encoding, bytes);
	rc = 0;
out:
	fg_array_fini(&ids);
	return rc;
}

/* The probability layer's chunk: u8, raw, 0 where nothing is known. */
static int
cut_prob_chunk(struct cut *c, const struct fg_array *prob, const struct fg_key *key,
    const struct fg_box *vx, struct fg_err *err)
{
	struct fg_scale raw = *c->scale;
	struct fg_array part = FG_ARRAY_INIT;
	struct fg_buf *bytes = NULL;
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_key pk = *key;
	int rc = -1;

	fg_box_shape(vx, shape);
	if (fg_array_init(&part, FG_U8, shape, err) < 0)
		return -1;
	fg_array_copy_box(&part, vx, prob, &c->box);
	raw.encoding = FG_ENC_RAW;
	if (!fg_array_is_zero(&part) && fg_codec_encode(&raw, &part, &bytes, err) < 0)
		goto out;
	pk.kind = FG_KIND_PROB;
	put_payload(c, &pk, 0, FG_ENC_RAW, bytes);
	rc = 0;
out:
	fg_array_fini(&part);
	return rc;
}

static int
cut_chunks(struct cut *c, const struct fg_array *labels, const struct fg_array *prob,
    struct fg_err *err)
{
	const struct fg_scale *s = c->scale;
	struct fg_key key = {.layer = c->layer->id, .kind = FG_KIND_CHUNK};
	struct fg_box g, vx;
	int64_t ch[3];

	for (int d = 0; d < 3; d++) {
		g.lo[d] = (c->core.lo[d] - s->offset[d]) / s->chunk[d];
		g.hi[d] = fg_div_ceil(c->core.hi[d] - s->offset[d], s->chunk[d]);
	}
	for (ch[2] = g.lo[2]; ch[2] < g.hi[2]; ch[2]++) {
		for (ch[1] = g.lo[1]; ch[1] < g.hi[1]; ch[1]++) {
			for (ch[0] = g.lo[0]; ch[0] < g.hi[0]; ch[0]++) {
				fg_scale_chunk_box(s, ch, &vx);
				key.at = fg_morton_encode(ch);
				if (cut_label_chunk(c, labels, &key, &vx, err) < 0 ||
				    (prob &&
					cut_prob_chunk(c, prob, &key, &vx, err) < 0))
					return -1;
			}
		}
	}
	return 0;
}

bool
fg_face_box(const struct fg_recipe *r, const struct fg_scale *s, const int64_t blk[3],
    int face, struct fg_box *vx)
{
	int64_t grid[3];
	int d = face / 2;
	bool upper = face % 2;
	struct fg_box core;

	fg_recipe_grid(r, s, grid);
	if (r->halo[d] == 0 || blk[d] == (upper ? grid[d] - 1 : 0))
		return false;
	fg_recipe_core(r, s, blk, &core);
	fg_recipe_box(r, s, blk, vx);
	/* Near the end of the volume either side may be thinner than the halo. */
	if (upper)
		vx->lo[d] = FG_MAX(vx->lo[d], core.hi[d] - r->halo[d]);
	else
		vx->hi[d] = FG_MIN(vx->hi[d], core.lo[d] + r->halo[d]);
	return true;
}

static int
cut_face(struct cut *c, const struct fg_array *labels, int face, struct fg_err *err)
{
	static const int64_t cseg_block[3] = {8, 8, 8};
	struct fg_key key = {.layer = c->layer->id, .kind = FG_KIND_FACE, .at = c->at};
	struct fg_array part = FG_ARRAY_INIT;
	struct fg_buf *bytes = NULL;
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_box vx;
	int rc = -1;

	if (!fg_face_box(c->layer->recipe, c->scale, c->blk, face, &vx))
		return 0;
	fg_box_shape(&vx, shape);
	if (fg_array_init(&part, FG_U32, shape, err) < 0)
		return -1;
	fg_array_copy_box(&part, &vx, labels, &c->box);
	uint32_t *p = part.data;
	for (size_t i = 0, n = fg_array_count(&part); i < n; i++)
		p[i] = c->local[p[i]];
	if (!fg_array_is_zero(&part)) {
		if (fg_cseg_encode(cseg_block, &part, &bytes, err) < 0)
			goto out;
		put_payload(c, &key, (uint32_t)face, FG_ENC_CSEG, bytes);
	}
	rc = 0;
out:
	fg_array_fini(&part);
	return rc;
}

int
fg_task_cut(const struct fg_layer *l, uint64_t at, const struct fg_array *labels,
    const struct fg_array *prob, struct fg_output *out, struct fg_err *err)
{
	struct cut c = {.layer = l, .scale = &l->info.scale[0], .at = at};
	int rc = -1;

	fg_morton_decode(at, c.blk);
	fg_recipe_core(l->recipe, c.scale, c.blk, &c.core);
	fg_recipe_box(l->recipe, c.scale, c.blk, &c.box);
	for (int d = 0; d < 3; d++)
		fg_assert(labels->shape[d] == c.box.hi[d] - c.box.lo[d]);
	fg_assert(labels->dtype == FG_U32);
	if (number_objects(&c, labels, err) < 0 ||
	    cut_chunks(&c, labels, prob, err) < 0)
		goto out;
	for (int face = 0; face < 6; face++) {
		if (cut_face(&c, labels, face, err) < 0)
			goto out;
	}
	c.out.result.task =
	    (struct fg_key){.layer = l->id, .kind = FG_KIND_BLOCK, .at = at};
	fg_output_seal(&c.out);
	*out = c.out;
	c.out = (struct fg_output){0};
	rc = 0;
out:
	fg_output_fini(&c.out);
	free(c.local);
	return rc;
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

/* Flood a coarser scale of the box; its objects, of at least `least` of its voxels, are
 * *out on the finer ones. */
static int
flood_scale(struct fg_task *t, int scale, int64_t least, struct fg_engine *engine,
    const struct fg_block_call *fine, struct block *b, struct fg_array *out,
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
		return flood_scale(t, scale, 1, engine, call, b, other, err);
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

	if (rc == 0)
		rc = fg_consensus_split(&b->labels, &other,
		    (uint64_t)t->layer->recipe->passes.consensus_least, &b->labels,
		    err);
	fg_array_fini(&other);
	return rc;
}

/* All passes of the recipe. */
static int
flood_passes(struct fg_task *t, struct fg_block_call *call, struct block *b,
    struct fg_err *err)
{
	const struct fg_recipe *r = t->layer->recipe;
	struct fg_seg_stats st = {0};

	if (r->passes.coarse[0]) {
		if (flood_scale(t, t->layer->coarse_scale, r->passes.coarse_least,
			b->engine, call, b, &b->before, err) < 0)
			return -1;
		call->before = &b->before;
	}
	if (fg_segment_block(fg_engine_batcher(b->engine), call, &b->labels,
		r->prob ? &b->prob : NULL, &st, err) < 0)
		return -1;
	add_stats(&b->stats, &st);
	return r->passes.consensus ? agree(t, call, b, err) : 0;
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
	if (fg_task_cut(l, t->key.at, &b.labels, b.prob.data ? &b.prob : NULL, &made,
		err) < 0)
		goto out;
	made.device = b.engine ? fg_engine_devices(b.engine) : NULL;
	made.stats = format_stats(&b.stats, t1 - t0, fg_clock_ns() - t2);
	made.result.device = made.device;
	made.result.stats = made.stats;
	*out = made;
	rc = 0;
out:
	fg_seg_stats_fini(&b.stats);
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
	struct cut c = {0};
	put_payload(&c, &t->key, 0, s->encoding, bytes);
	if (partial)
		c.out.payload[0].state = FG_PARTIAL;
	c.out.result.task = t->key;
	fg_output_seal(&c.out);
	*out = c.out;
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
