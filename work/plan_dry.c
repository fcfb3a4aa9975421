/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a job would cost: the blocks of its box as the index has them, and a dry run.
 */
#include "config.h"

#include "work/plan_priv.h"

#include <stdlib.h>

#include "base/morton.h"
#include "mesh/draco.h"
#include "work/artefact.h"
#include "work/objects.h"

/* Blocks that are looked up one by one; for more, the rows of the layer are walked. */
#define LOOKUPS_MAX 4096
/* Bytes a voxel as compressed_segmentation: an assumption of the right size, used until
 * the first block was made. */
#define CSEG_BYTES 0.5
/* Objects of a layer that a dry run looks at: seconds, for whoever asks waits. */
#define OBJECTS_MAX 100000

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
	const struct fg_wish *wish;
	struct fg_layer *layer;
	const struct fg_layer *objects; /* whose objects are counted */
	struct fg_reader *reader;
	struct fg_box blk;
	uint64_t blocks;
	uint64_t all, present, failed; /* of what is counted: fg_wish_unit */
	bool unknown;                  /* these are not known before */
	enum fg_kind kind;             /* of blocks and their results */
	double block_voxels;           /* mean core of the box's blocks */
	struct fg_err err;             /* of a callback */
};

/* Blocks, or what a block has of a later stage. */
static void
count_row(void *ctx, const struct fg_block_row *row)
{
	struct dry *d = ctx;
	struct fg_key key = {.layer = d->layer->id,
	    .kind = (uint8_t)d->kind,
	    .at = row->at};
	struct fg_place place = {.state = FG_PRESENT};

	if (d->err.code != FG_OK)
		return;
	if (d->kind == FG_KIND_BLOCK)
		d->failed += row->state == FG_BLOCK_FAILED && row->next_try_ms == 0;
	else if (fg_reader_part(d->reader, &key, 0, &place, &d->err) < 0)
		return;
	d->present += row->state == FG_BLOCK_DONE && place.state != FG_ABSENT;
}

static int
count_blocks(struct dry *d, unsigned counted, struct fg_err *err)
{
	d->kind = counted & 1u << FG_STAGE_RESEGMENT ? FG_KIND_RESEGMENT
		  : counted & 1u << FG_STAGE_STITCH  ? FG_KIND_STITCH
						     : FG_KIND_BLOCK;
	d->all = d->blocks;
	if (each_row(d->reader, d->layer->id, &d->blk, count_row, d, err) < 0)
		return -1;
	return d->err.code == FG_OK ? 0 : fg_fail(err, d->err.code, "%s", d->err.msg);
}

/* The key of a mesh or a skeleton. */
static struct fg_key
product_key(const struct fg_layer *l, enum fg_kind kind, uint64_t id)
{
	return fg_artefact_key(l, kind,
	    kind == FG_KIND_MESH && fg_draco_is_built() ? FG_PRODUCT_LODS
							: FG_PRODUCT_TABLE,
	    id);
}

/* Whether an object has its mesh and its skeleton, as it is now. */
static int
count_object(void *ctx, const struct fg_object *o, struct fg_err *err)
{
	static const struct {
		enum fg_stage stage;
		enum fg_kind kind;
	} of[] = {{FG_STAGE_MESH, FG_KIND_MESH}, {FG_STAGE_SKELETON, FG_KIND_SKELETON}};
	struct dry *d = ctx;

	for (size_t i = 0; i < FG_COUNTOF(of); i++) {
		struct fg_key key = product_key(d->objects, of[i].kind, o->public_id);
		struct fg_place place = {0};

		if (!(d->wish->stages & 1u << of[i].stage))
			continue;
		d->all++;
		if (fg_reader_gen(d->reader, &key, 0, o->gen, &place, err) < 0)
			return -1;
		d->present += place.state != FG_ABSENT;
	}
	return 0;
}

static int
count_named(struct dry *d, struct fg_err *err)
{
	const struct fg_wish *w = d->wish;
	const struct fg_layer *l = d->objects;
	struct fg_key any = product_key(l, FG_KIND_MESH, 0);
	unsigned each = fg_wish_counted(w) == FG_STAGES_OBJECTS ? 2 : 1;
	uint64_t *id = NULL;
	size_t n = 0;
	int rc = fg_objects_named(l, d->reader, w->id, w->ids, &id, &n, err);

	for (size_t i = 0; i < n && rc == 0; i++) {
		struct fg_err none = FG_ERR_INIT;
		struct fg_object o = {0};

		if (fg_artefact_object(d->reader, l->id, fg_key_objects(&any), id[i],
			&o, NULL, NULL, &none) == 0) {
			rc = count_object(d, &o, err);
		} else if (none.code == FG_ENOENT) {
			d->all += each;
			d->failed += each;
		} else {
			rc = fg_fail(err, none.code, "%s", none.msg);
		}
	}
	free(id);
	return rc;
}

/* Of the objects that there are by now. */
static int
count_objects(struct dry *d, struct fg_err *err)
{
	struct fg_layer *l = fg_plan_objects_layer(d->p, d->layer, d->wish);
	int rc;

	d->objects = l;
	rc = d->wish->id ? count_named(d, err)
			 : fg_objects_each(l, d->reader, &d->wish->vx, OBJECTS_MAX,
			       count_object, d, err);
	d->unknown = rc > 0;
	d->objects = NULL;
	fg_layer_unref(l);
	return FG_MIN(rc, 0);
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

/* What blocks cost is measured or estimated; of anything else it is not known. */
struct cost {
	bool known;
	double bytes, seconds; /* of one block; no seconds: not known */
	const char *bytes_basis, *time_basis;
};

static json_t *
tell_dry(const struct dry *d, const struct cost *c)
{
	const struct fg_wish *w = d->wish;
	uint64_t there = d->present + (d->kind == FG_KIND_BLOCK ? 0 : d->failed);
	uint64_t left = d->all - FG_MIN(there, d->all);
	int devices = d->p->sched ? fg_sched_device_count(d->p->sched) : 1;
	double hours = c->seconds * (double)left / 3600;
	bool timed = (c->known && c->seconds > 0) || left == 0;
	json_t *out = json_pack("{s:s, s:b, s:s}", "layer", d->layer->name, "dry_run",
	    1, "counted", fg_wish_unit(w));
	json_t *cost =
	    json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:o, s:s, s:o, s:o, s:i, s:s}",
		"blocks", (json_int_t)d->blocks, "all", (json_int_t)d->all, "present",
		(json_int_t)d->present, "failed", (json_int_t)d->failed, "to_make",
		(json_int_t)left, "voxels", d->block_voxels * (double)d->blocks,
		"bytes",
		c->known || left == 0 ? json_real(c->bytes * (double)left)
				      : json_null(),
		"bytes_basis", c->bytes_basis, "device_hours",
		timed ? json_real(hours) : json_null(), "hours",
		timed ? json_real(hours / FG_MAX(devices, 1)) : json_null(), "devices",
		devices, "time_basis", c->time_basis);

	fg_wish_describe(w, out);
	json_object_update(out, cost);
	json_decref(cost);
	if (d->unknown)
		json_object_update_new(out,
		    json_pack("{s:n, s:n, s:n, s:n, s:n, s:n}", "all", "present",
			"to_make", "bytes", "device_hours", "hours"));
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

static int
work_out(struct dry *d, bool measure, struct cost *c, struct fg_err *err)
{
	struct fg_store_counts counts = {0};
	unsigned counted = fg_wish_counted(d->wish);

	*c = (struct cost){.bytes_basis = "unknown", .time_basis = "unknown"};
	d->blocks = (uint64_t)fg_box_volume(&d->blk);
	d->block_voxels = covered(d->layer, &d->blk) / (double)d->blocks;
	if (counted & FG_STAGES_OBJECTS) {
		d->kind = FG_KIND_MESH;
		return count_objects(d, err);
	}
	/* Coarse chunks are known when their turn comes. */
	if (counted == 1u << FG_STAGE_DOWNSAMPLE) {
		d->unknown = true;
		return 0;
	}
	if (count_blocks(d, counted, err) < 0)
		return -1;
	if (!(counted & 1u << FG_STAGE_SEGMENT))
		return 0;
	c->known = true;
	if (fg_reader_count(d->reader, d->layer->id, &counts, err) < 0 ||
	    block_seconds(d, measure, &c->seconds, &c->time_basis, err) < 0)
		return -1;
	c->bytes = block_bytes(d, &counts, &c->bytes_basis);
	return 0;
}

int
fg_plan_dry(struct fg_plan *p, const json_t *spec, bool measure, json_t **out,
    struct fg_err *err)
{
	struct fg_wish w = {0};
	struct dry d = {.p = p, .wish = &w, .err = FG_ERR_INIT};
	struct cost cost;
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
	if (!d.reader || fg_sched_block_box(d.layer, &w.vx, &d.blk, err) < 0 ||
	    work_out(&d, measure, &cost, err) < 0)
		goto out;
	*out = tell_dry(&d, &cost);
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
