/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a job would cost: the blocks of its box as the index has them, and a dry run.
 */
#include "config.h"

#include "work/plan_priv.h"

#include "base/morton.h"

/* Blocks that are looked up one by one; for more, the rows of the layer are walked. */
#define LOOKUPS_MAX 4096
/* Bytes a voxel as compressed_segmentation: an assumption of the right size, used until
 * the first block was made. */
#define CSEG_BYTES 0.5

/* ------------------------------------------------------------- the box's blocks */

struct in_box {
	const struct fg_box *blk;
	void (*fn)(void *ctx, const struct fg_block_row *row);
	void *ctx;
};

static int
see_row(void *ctx, const struct fg_block_row *row)
{
	const struct in_box *b = ctx;
	int64_t p[3];

	fg_morton_decode(row->at, p);
	for (int d = 0; d < 3; d++) {
		if (p[d] < b->blk->lo[d] || p[d] >= b->blk->hi[d])
			return 0;
	}
	b->fn(b->ctx, row);
	return 0;
}

/* Call fn for the block rows of a box. */
static int
each_row(struct fg_reader *r, uint32_t layer, const struct fg_box *blk,
    void (*fn)(void *ctx, const struct fg_block_row *row), void *ctx,
    struct fg_err *err)
{
	struct in_box in = {.blk = blk, .fn = fn, .ctx = ctx};
	struct fg_block_row row;
	int64_t p[3];

	if (fg_box_volume(blk) > LOOKUPS_MAX)
		return fg_reader_blocks(r, layer, see_row, &in, err);
	for (p[2] = blk->lo[2]; p[2] < blk->hi[2]; p[2]++) {
		for (p[1] = blk->lo[1]; p[1] < blk->hi[1]; p[1]++) {
			for (p[0] = blk->lo[0]; p[0] < blk->hi[0]; p[0]++) {
				row = (struct fg_block_row){.at = fg_morton_encode(p)};
				if (fg_reader_block(r, layer, row.at, &row, err) < 0)
					return -1;
				if (row.state != FG_BLOCK_ABSENT)
					fn(ctx, &row);
			}
		}
	}
	return 0;
}

static void
only_failed(void *ctx, const struct fg_block_row *row)
{
	const struct in_box *in = ctx;

	if (row->state == FG_BLOCK_FAILED)
		in->fn(in->ctx, row);
}

int
fg_plan_failed_blocks(struct fg_reader *r, uint32_t layer, const struct fg_box *blk,
    void (*fn)(void *ctx, const struct fg_block_row *row), void *ctx,
    struct fg_err *err)
{
	struct in_box in = {.fn = fn, .ctx = ctx};

	return each_row(r, layer, blk, only_failed, &in, err);
}

/* ------------------------------------------------------------- dry run */

struct dry {
	struct fg_plan *p;
	struct fg_layer *layer;
	struct fg_reader *reader;
	struct fg_box blk;
	uint64_t blocks, present, failed;
	double block_voxels; /* mean core of the box's blocks */
};

static void
count_row(void *ctx, const struct fg_block_row *row)
{
	struct dry *d = ctx;

	d->present += row->state == FG_BLOCK_DONE;
	d->failed += row->state == FG_BLOCK_FAILED && row->next_try_ms == 0;
}

/* Bytes per block. */
static double
block_bytes(const struct dry *d, const struct fg_store_counts *c, const char **basis)
{
	if (c->blocks_done > 0) {
		*basis = "measured";
		return (double)c->bytes / (double)c->blocks_done;
	}
	*basis = "assumed";
	/* An eighth and so on of the voxels at each coarser scale. */
	return d->block_voxels * (d->layer->info.scale[0].encoding == FG_ENC_CSEG
					 ? CSEG_BYTES
					 : 8.0 * 8 / 7);
}

/* Device seconds of one block; 0: not known. */
static int
block_seconds(const struct dry *d, bool measure, double *seconds, const char **basis,
    struct fg_err *err)
{
	const struct fg_recipe *r = d->layer->recipe;
	struct fg_err ignored = FG_ERR_INIT;
	double ms, fov_s;
	int n;

	*seconds = 0;
	*basis = "unknown";
	if (fg_reader_block_ms(d->reader, d->layer->id, &ms, &n, err) < 0)
		return -1;
	if (n > 0) {
		*seconds = ms / 1e3;
		*basis = "measured";
	} else if (measure && d->p->sched &&
		   fg_sched_measure(d->p->sched, d->layer, &fov_s, &ignored) == 0) {
		/* With all devices at work a field of view took fov_s: so much on
		 * each. */
		*seconds = fg_recipe_fovs(r, &d->layer->info.scale[0], r->block) *
			   fov_s * fg_sched_device_count(d->p->sched);
		*basis = "estimated";
	}
	return 0;
}

static json_t *
tell_dry(const struct dry *d, const struct fg_wish *w, double bytes,
    const char *bytes_basis, double seconds, const char *time_basis)
{
	uint64_t left = d->blocks - d->present;
	int devices = d->p->sched ? fg_sched_device_count(d->p->sched) : 1;
	json_t *out = json_pack("{s:s}", "layer", d->layer->name);
	json_t *cost = json_pack("{s:I, s:I, s:I, s:I, s:f, s:f, s:s, s:i, s:s}",
	    "blocks", (json_int_t)d->blocks, "present", (json_int_t)d->present,
	    "failed", (json_int_t)d->failed, "to_make", (json_int_t)left, "voxels",
	    d->block_voxels * (double)d->blocks, "bytes", bytes * (double)left,
	    "bytes_basis", bytes_basis, "devices", devices, "time_basis", time_basis);
	bool known = seconds > 0 || left == 0;
	double hours = seconds * (double)left / 3600;

	fg_wish_describe(w, out);
	json_object_update(out, cost);
	json_decref(cost);
	json_object_set_new(out, "dry_run", json_true());
	json_object_set_new(out, "device_hours",
	    known ? json_real(hours) : json_null());
	json_object_set_new(out, "hours",
	    known ? json_real(hours / FG_MAX(devices, 1)) : json_null());
	return out;
}

/* The part of the volume that the blocks of the box cover. */
static double
covered(const struct fg_layer *l, const struct fg_box *blk)
{
	const struct fg_scale *s = &l->info.scale[0];
	double v = 1;

	for (int d = 0; d < 3; d++) {
		int64_t b = l->recipe->block[d];

		v *= (double)(FG_MIN(blk->hi[d] * b, s->size[d]) - blk->lo[d] * b);
	}
	return v;
}

int
fg_plan_dry(struct fg_plan *p, const json_t *spec, bool measure, json_t **out,
    struct fg_err *err)
{
	struct dry d = {.p = p};
	struct fg_wish w = {0};
	struct fg_store_counts counts = {0};
	const char *bytes_basis, *time_basis;
	double seconds;
	int rc = -1;

	if (fg_wish_parse(p, spec, &w, &d.layer, err) < 0)
		return -1;
	if (!d.layer->recipe) {
		fg_fail(err, FG_EINVAL,
		    "what meshes and skeletons of layer %s cost is not known before",
		    d.layer->name);
		goto out;
	}
	d.reader = fg_reader_open(p->store, err);
	if (!d.reader || fg_sched_block_box(d.layer, &w.vx, &d.blk, err) < 0)
		goto out;
	d.blocks = (uint64_t)fg_box_volume(&d.blk);
	d.block_voxels = covered(d.layer, &d.blk) / (double)d.blocks;
	if (each_row(d.reader, d.layer->id, &d.blk, count_row, &d, err) < 0 ||
	    fg_reader_count(d.reader, d.layer->id, &counts, err) < 0 ||
	    block_seconds(&d, measure, &seconds, &time_basis, err) < 0)
		goto out;
	double bytes = block_bytes(&d, &counts, &bytes_basis);
	*out = tell_dry(&d, &w, bytes, bytes_basis, seconds, time_basis);
	rc = 0;
out:
	fg_wish_fini(&w);
	fg_reader_close(d.reader);
	fg_layer_unref(d.layer);
	return rc;
}

int
fg_plan_voxels(struct fg_plan *p, const json_t *spec, double *voxels,
    struct fg_err *err)
{
	struct fg_layer *l = NULL;
	struct fg_wish w = {0};

	if (fg_wish_parse(p, spec, &w, &l, err) < 0)
		return -1;
	*voxels = 1;
	for (int d = 0; d < 3; d++)
		*voxels *= (double)(w.vx.hi[d] - w.vx.lo[d]);
	fg_wish_fini(&w);
	fg_layer_unref(l);
	return 0;
}
