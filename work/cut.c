/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the segmentation of a block's box becomes: its objects are numbered, the core is
 * cut into chunks, and what neighbours will compare is kept as faces. No reading and no
 * computing of networks: labels in, payloads out.
 */
#include "config.h"

#include "work/task.h"

#include <stdlib.h>

#include "base/morton.h"
#include "formats/codec.h"
#include "work/origins.h"

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
number_objects(struct cut *c, const struct fg_array *labels,
    const struct fg_origins *origins, struct fg_err *err)
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
			all[n].seeded =
			    origins && fg_origins_find(origins, i, all[n].seed);
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
    const struct fg_array *prob, const struct fg_origins *origins,
    struct fg_output *out, struct fg_err *err)
{
	struct cut c = {.layer = l, .scale = &l->info.scale[0], .at = at};
	int rc = -1;

	fg_morton_decode(at, c.blk);
	fg_recipe_core(l->recipe, c.scale, c.blk, &c.core);
	fg_recipe_box(l->recipe, c.scale, c.blk, &c.box);
	for (int d = 0; d < 3; d++)
		fg_assert(labels->shape[d] == c.box.hi[d] - c.box.lo[d]);
	fg_assert(labels->dtype == FG_U32);
	if (number_objects(&c, labels, origins, err) < 0 ||
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
