/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resegment task: see the header. Labels are read twice: once the core with what
 * its contacts need around it, then a small box for each contact, so that memory does
 * not grow with the radius.
 */
#include "config.h"

#include "work/resegment.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/morton.h"
#include "formats/codec.h"
#include "seg/contact.h"
#include "work/picture.h"

struct two {
	uint64_t a, b;
};

struct work {
	struct fg_task *task;
	struct fg_env *env;
	const struct fg_layer *layer;
	const struct fg_scale *scale;
	int64_t blk[3];
	struct fg_box core,
	    reach; /* reach: the cores of the block and its neighbours */
	/* What merges of these blocks connect: ids, ascending, and for each the index
	 * of one below it that it is connected to, or its own. */
	uint64_t *id;
	uint32_t *up;
	size_t ids;
	struct fg_merge *merge; /* joined or not */
	size_t merges;
	/* `overlap`: two of what is one already that blocks have seen one over the
	 * other, lower first, ascending. */
	struct two *seen;
	size_t seens;
	struct fg_contact_place *place;
	size_t places, kept;
	struct fg_contact *contact;
	size_t contacts;
	uint64_t steps, joined, unseeded;
};

/* ------------------------------------------------------------- neighbours */

static bool
next_block(const struct fg_layer *l, const int64_t blk[3], int i, int64_t p[3])
{
	const int d[3] = {i % 3 - 1, i / 3 % 3 - 1, i / 9 - 1};

	for (int k = 0; k < 3; k++) {
		p[k] = blk[k] + d[k];
		if (p[k] < 0 || p[k] >= l->blocks[k])
			return false;
	}
	return true;
}

static int
has_state(const struct fg_layer *l, struct fg_env *env, const int64_t blk[3], int kind,
    bool *yes, struct fg_err *err)
{
	struct fg_key key = {.layer = l->id,
	    .kind = (uint8_t)kind,
	    .at = fg_morton_encode(blk)};
	enum fg_state state = FG_ABSENT;
	struct fg_buf *bytes = NULL;

	if (env->face(env->ctx, &key, 0, &state, &bytes, err) < 0)
		return -1;
	fg_buf_unref(bytes);
	*yes = kind == FG_KIND_BLOCK ? state == FG_PRESENT : state != FG_ABSENT;
	return 0;
}

int
fg_resegment_ready(const struct fg_layer *l, struct fg_env *env, const int64_t blk[3],
    bool *ready, struct fg_err *err)
{
	int64_t p[3];

	*ready = true;
	for (int i = 0; i < 27 && *ready; i++) {
		if (!next_block(l, blk, i, p))
			continue;
		if (has_state(l, env, p, FG_KIND_BLOCK, ready, err) < 0 ||
		    (*ready && has_state(l, env, p, FG_KIND_STITCH, ready, err) < 0))
			return -1;
	}
	return 0;
}

/* ------------------------------------------------------------- what is one already */

static int
by_value(const void *pa, const void *pb)
{
	uint64_t a = *(const uint64_t *)pa, b = *(const uint64_t *)pb;

	return a < b ? -1 : a > b;
}

static size_t
index_of(const struct work *w, uint64_t id)
{
	const uint64_t *p =
	    w->ids ? bsearch(&id, w->id, w->ids, sizeof id, by_value) : NULL;

	return p ? (size_t)(p - w->id) : SIZE_MAX;
}

/* The lowest id that this one is connected to; itself where it is not. */
static uint64_t
whole_of(const struct work *w, uint64_t id)
{
	size_t i = index_of(w, id);

	if (i == SIZE_MAX)
		return id;
	while (w->up[i] != i)
		i = w->up[i];
	return w->id[i];
}

static void
connect(struct work *w)
{
	size_t n = 0;

	w->id = fg_calloc(2 * w->merges + 1, sizeof *w->id);
	w->up = fg_calloc(2 * w->merges + 1, sizeof *w->up);
	for (size_t i = 0; i < w->merges; i++) {
		if (!w->merge[i].joined)
			continue;
		w->id[n++] = w->merge[i].a;
		w->id[n++] = w->merge[i].b;
	}
	if (n > 0)
		qsort(w->id, n, sizeof *w->id, by_value);
	for (size_t i = 0; i < n; i++) {
		if (w->ids == 0 || w->id[w->ids - 1] != w->id[i])
			w->id[w->ids++] = w->id[i];
	}
	for (size_t i = 0; i < w->ids; i++)
		w->up[i] = (uint32_t)i;
	for (size_t i = 0; i < w->merges; i++) {
		size_t a, b;

		if (!w->merge[i].joined)
			continue;
		a = index_of(w, whole_of(w, w->merge[i].a));
		b = index_of(w, whole_of(w, w->merge[i].b));
		w->up[FG_MAX(a, b)] = (uint32_t)FG_MIN(a, b);
	}
}

static int
by_two(const void *px, const void *py)
{
	const struct two *x = px, *y = py;

	if (x->a != y->a)
		return x->a < y->a ? -1 : 1;
	return x->b < y->b ? -1 : x->b > y->b;
}

static struct two
two_of(const struct work *w, uint64_t a, uint64_t b)
{
	a = whole_of(w, a);
	b = whole_of(w, b);
	return (struct two){FG_MIN(a, b), FG_MAX(a, b)};
}

/* What blocks have seen one over the other. */
static void
list_seen(struct work *w)
{
	double least = w->layer->recipe->resegment.overlap;

	w->seen = fg_calloc(w->merges + 1, sizeof *w->seen);
	for (size_t i = 0; i < w->merges; i++) {
		const struct fg_merge *m = &w->merge[i];
		double smaller = (double)(m->both + FG_MIN(m->only_a, m->only_b));

		if ((double)m->both >= least * smaller)
			w->seen[w->seens++] = two_of(w, m->a, m->b);
	}
	if (w->seens > 0)
		qsort(w->seen, w->seens, sizeof *w->seen, by_two);
}

static bool
was_seen(const struct work *w, const struct two *t)
{
	return w->seens > 0 &&
	       bsearch(t, w->seen, w->seens, sizeof *w->seen, by_two) != NULL;
}

/* Merges between objects of the block and its neighbours. */
static int
read_merges(struct work *w, struct fg_err *err)
{
	bool overlaps = w->layer->recipe->resegment.overlap > 0;
	int64_t grid[3], p[3], at[3];
	uint32_t local;

	memcpy(grid, w->layer->blocks, sizeof grid);
	for (int i = 0; i < 27; i++) {
		struct fg_merge *page = NULL;
		size_t n = 0;

		if (!next_block(w->layer, w->blk, i, p))
			continue;
		if (w->env->merges(w->env->ctx, w->layer->id, fg_morton_encode(p),
			&page, &n, err) < 0)
			return -1;
		w->merge = fg_realloc(w->merge, w->merges + n + 1, sizeof *w->merge);
		for (size_t k = 0; k < n; k++) {
			bool near = fg_recipe_id_parse(w->layer->recipe, w->scale,
			    page[k].b, at, &local);

			/* One farther away may not be there yet. */
			for (int d = 0; near && d < 3; d++)
				near = llabs(at[d] - w->blk[d]) <= 1;
			if (near && (page[k].joined || overlaps))
				w->merge[w->merges++] = page[k];
		}
		free(page);
	}
	connect(w);
	if (overlaps)
		list_seen(w);
	return 0;
}

/* ------------------------------------------------------------- labels */

static int
read_chunk(struct work *w, const int64_t ch[3], struct fg_array *out,
    const struct fg_box *box, struct fg_err *err)
{
	struct fg_key key = {.layer = w->layer->id,
	    .kind = FG_KIND_CHUNK,
	    .at = fg_morton_encode(ch)};
	struct fg_array part = FG_ARRAY_INIT;
	int64_t shape[4] = {1, 1, 1, 1};
	enum fg_state state = FG_ABSENT;
	struct fg_buf *bytes = NULL;
	struct fg_box vx;
	int rc = -1;

	if (w->env->child(w->env->ctx, &key, &state, &bytes, err) < 0)
		return -1;
	if (state == FG_ABSENT)
		return fg_fail(err, FG_EIO, "chunk %lld, %lld, %lld is not there",
		    (long long)ch[0], (long long)ch[1], (long long)ch[2]);
	if (!bytes)
		return 0;
	fg_scale_chunk_box(w->scale, ch, &vx);
	fg_box_shape(&vx, shape);
	if (fg_array_init(&part, FG_U64, shape, err) == 0 &&
	    fg_codec_decode(w->scale, bytes->data, bytes->len, &part, err) == 0) {
		fg_array_copy_box(out, box, &part, &vx);
		rc = 0;
	}
	fg_array_fini(&part);
	fg_buf_unref(bytes);
	return rc;
}

static int
read_labels(struct work *w, const struct fg_box *box, struct fg_array *out,
    struct fg_err *err)
{
	const struct fg_scale *s = w->scale;
	int64_t shape[4] = {1, 1, 1, 1}, p[3];
	struct fg_box g;

	fg_box_shape(box, shape);
	if (fg_array_init_zero(out, FG_U64, shape, err) < 0)
		return -1;
	for (int d = 0; d < 3; d++) {
		g.lo[d] = (box->lo[d] - s->offset[d]) / s->chunk[d];
		g.hi[d] = fg_div_ceil(box->hi[d] - s->offset[d], s->chunk[d]);
	}
	for (p[2] = g.lo[2]; p[2] < g.hi[2]; p[2]++) {
		for (p[1] = g.lo[1]; p[1] < g.hi[1]; p[1]++) {
			for (p[0] = g.lo[0]; p[0] < g.hi[0]; p[0]++) {
				if (read_chunk(w, p, out, box, err) < 0)
					return -1;
			}
		}
	}
	return 0;
}

static void
grow_box(const struct fg_box *from, const int64_t by[3], const struct fg_box *in,
    struct fg_box *out)
{
	for (int d = 0; d < 3; d++) {
		out->lo[d] = FG_MAX(from->lo[d] - by[d], in->lo[d]);
		out->hi[d] = FG_MIN(from->hi[d] + by[d], in->hi[d]);
	}
}

/* ------------------------------------------------------------- contacts */

/* By what is one already, then the largest contact first. */
struct pair {
	struct two of; /* first, for by_two */
	struct fg_contact_place place;
};

static int
by_pair(const void *px, const void *py)
{
	const struct pair *x = px, *y = py;
	int order = by_two(&x->of, &y->of);

	if (order)
		return order;
	if (x->place.faces != y->place.faces)
		return x->place.faces > y->place.faces ? -1 : 1;
	if (x->place.a != y->place.a)
		return x->place.a < y->place.a ? -1 : 1;
	return x->place.b < y->place.b ? -1 : x->place.b > y->place.b;
}

/* Keep one place of each two objects, where these are made of several, of those that
 * are to be tried. */
static void
keep_largest(struct work *w)
{
	struct pair *v = fg_calloc(w->places + 1, sizeof *v);
	bool all = w->layer->recipe->resegment.overlap <= 0;
	size_t n = 0;

	for (size_t i = 0; i < w->places; i++) {
		struct two of = two_of(w, w->place[i].a, w->place[i].b);

		if (of.a != of.b && (all || was_seen(w, &of)))
			v[n++] = (struct pair){of, w->place[i]};
	}
	if (n > 0)
		qsort(v, n, sizeof *v, by_pair);
	for (size_t i = 0; i < n; i++) {
		if (i == 0 || by_two(&v[i].of, &v[i - 1].of) != 0)
			w->place[w->kept++] = v[i].place;
	}
	free(v);
}

static int
find_contacts(struct work *w, struct fg_err *err)
{
	const struct fg_resegment_rule *r = &w->layer->recipe->resegment;
	const int64_t by[3] = {r->reach + 1, r->reach + 1, r->reach + 1};
	struct fg_array labels = FG_ARRAY_INIT;
	struct fg_box box, own;
	int rc = -1;

	grow_box(&w->core, by, &w->reach, &box);
	for (int d = 0; d < 3; d++) {
		own.lo[d] = w->core.lo[d] - box.lo[d];
		own.hi[d] = w->core.hi[d] - box.lo[d];
	}
	if (read_labels(w, &box, &labels, err) < 0 ||
	    fg_contact_find(&labels, &own, r->reach, (uint64_t)r->faces, &w->place,
		&w->places, err) < 0)
		goto out;
	for (size_t i = 0; i < w->places; i++) {
		for (int d = 0; d < 3; d++)
			w->place[i].vx[d] += box.lo[d];
	}
	keep_largest(w);
	rc = 0;
out:
	fg_array_fini(&labels);
	return rc;
}

/* ------------------------------------------------------------- one contact */

/* Whose voxel each is, of two objects with all that is one with them. */
static int
name_sides(struct work *w, const struct fg_contact_place *c,
    const struct fg_array *labels, struct fg_array *side, struct fg_err *err)
{
	uint64_t a = whole_of(w, c->a), b = whole_of(w, c->b), last = 0;
	const uint64_t *v = labels->data;
	uint8_t *out, now = FG_SIDE_FREE;

	if (fg_array_init(side, FG_U8, labels->shape, err) < 0)
		return -1;
	out = side->data;
	for (size_t i = 0, n = fg_array_count(labels); i < n; i++) {
		if (v[i] != last) {
			uint64_t one = v[i] ? whole_of(w, v[i]) : 0;

			last = v[i];
			now = one == 0   ? FG_SIDE_FREE
			      : one == a ? FG_SIDE_A
			      : one == b ? FG_SIDE_B
					 : FG_SIDE_OTHER;
		}
		out[i] = now;
	}
	return 0;
}

static int
thousandths(double share)
{
	return (int)(FG_MIN(share, 1.0) * FG_CONTACT_ALL + 0.5);
}

static void
put_contact(struct work *w, const struct fg_contact_place *c,
    const struct fg_resegment_result *r)
{
	struct fg_contact *out = &w->contact[w->contacts++];
	double least = 1, deleted = 1;

	for (int k = 0; k < 2; k++) {
		if (!r->done[k])
			continue;
		least = FG_MIN(least, FG_MIN(r->recovered[k][0], r->recovered[k][1]));
		deleted = FG_MIN(deleted, r->deleted[k]);
	}
	*out = (struct fg_contact){
	    .a = c->a,
	    .b = c->b,
	    .both = r->both,
	    .only_a = r->only[0],
	    .only_b = r->only[1],
	    .recovered = thousandths(least),
	    .deleted = thousandths(deleted),
	    .joined = r->joined,
	};
	memcpy(out->vx, c->vx, sizeof out->vx);
	w->joined += r->joined;
}

static int
try_contact(struct work *w, struct fg_engine *engine, const struct fg_contact_place *c,
    struct fg_err *err)
{
	const struct fg_recipe *r = w->layer->recipe;
	struct fg_array labels = FG_ARRAY_INIT, side = FG_ARRAY_INIT,
			image = FG_ARRAY_INIT, mask = FG_ARRAY_INIT;
	struct fg_resegment_call call = {
	    .image = &image,
	    .side = &side,
	    .params = &r->flood,
	    .rule = &r->resegment,
	    .cls = &w->task->cls,
	    .cancel = &w->task->cancel,
	};
	struct fg_resegment_result res;
	struct fg_box point, box;
	int rc = -1;

	for (int d = 0; d < 3; d++) {
		point.lo[d] = c->vx[d];
		point.hi[d] = c->vx[d] + 1;
	}
	grow_box(&point, r->resegment.radius, &w->reach, &box);
	for (int d = 0; d < 3; d++)
		call.at[d] = c->vx[d] - box.lo[d];
	if (read_labels(w, &box, &labels, err) < 0 ||
	    name_sides(w, c, &labels, &side, err) < 0 ||
	    fg_picture_read(w->layer, &box, &image, &mask, err) < 0)
		goto out;
	call.mask = mask.data ? &mask : NULL;
	if (fg_resegment_pair(fg_engine_batcher(engine), &call, &res, err) < 0)
		goto out;
	w->steps += res.steps;
	if (res.flooded)
		put_contact(w, c, &res);
	else
		w->unseeded++;
	rc = 0;
out:
	fg_array_fini(&labels);
	fg_array_fini(&side);
	fg_array_fini(&image);
	fg_array_fini(&mask);
	return rc;
}

static int
try_contacts(struct work *w, char **device, struct fg_err *err)
{
	const struct fg_recipe *r = w->layer->recipe;
	struct fg_engine *engine;

	if (w->kept == 0)
		return 0;
	engine = fg_engines_get(w->env->engines, r->model, r->model_sha256, &r->shape,
	    r->precision, err);
	if (!engine) {
		w->env->no_engine = true;
		return -1;
	}
	w->contact = fg_calloc(w->kept, sizeof *w->contact);
	w->task->progress_all = w->kept;
	for (size_t i = 0; i < w->kept; i++) {
		if (try_contact(w, engine, &w->place[i], err) < 0) {
			struct fg_err lost = FG_ERR_INIT;

			/* Not "cancelled", when it was the last device that went. */
			if (!w->task->cancel && fg_engine_check(engine, &lost) < 0) {
				w->env->no_engine = true;
				if (err)
					*err = lost;
			}
			return -1;
		}
		w->task->progress = i + 1;
	}
	*device = fg_engine_devices(engine);
	return 0;
}

/* ------------------------------------------------------------- the task */

static void
put_output(struct work *w, char *device, int64_t started_ns, struct fg_output *out)
{
	json_t *j = json_pack("{s:I,s:I,s:I,s:I,s:f}", "contacts", (json_int_t)w->kept,
	    "joined", (json_int_t)w->joined, "unseeded", (json_int_t)w->unseeded,
	    "steps", (json_int_t)w->steps, "seconds",
	    (double)(fg_clock_ns() - started_ns) / 1e9);

	*out = (struct fg_output){
	    .payload = fg_calloc(1, sizeof *out->payload),
	    .places = fg_calloc(1, sizeof *out->places),
	    .contact = w->contact,
	    .device = device,
	    .stats = fg_json_format(j),
	};
	json_decref(j);
	out->payload[0] = (struct fg_payload){.key = w->task->key, .state = FG_EMPTY};
	out->result = (struct fg_result){
	    .task = w->task->key,
	    .payload = out->payload,
	    .payloads = 1,
	    .places = out->places,
	    .contact = w->contact,
	    .contacts = w->contacts,
	    .device = out->device,
	    .stats = out->stats,
	    .version = PACKAGE_VERSION,
	};
	w->contact = NULL;
}

int
fg_resegment_run(struct fg_task *t, struct fg_env *env, struct fg_output *out,
    struct fg_err *err)
{
	struct work w = {.task = t,
	    .env = env,
	    .layer = t->layer,
	    .scale = &t->layer->info.scale[0]};
	int64_t started_ns = fg_clock_ns();
	char *device = NULL;
	bool ready = false;
	struct fg_box all;
	int rc = -1;

	fg_morton_decode(t->key.at, w.blk);
	if (fg_resegment_ready(w.layer, env, w.blk, &ready, err) < 0)
		return -1;
	if (!ready)
		return fg_fail(err, FG_EINVAL, "a block beside it is not stitched yet");
	fg_recipe_core(w.layer->recipe, w.scale, w.blk, &w.core);
	fg_scale_bounds(w.scale, &all);
	for (int d = 0; d < 3; d++) {
		const int64_t *b = w.layer->recipe->block;

		w.reach.lo[d] = w.scale->offset[d] + (w.blk[d] - 1) * b[d];
		w.reach.hi[d] = w.reach.lo[d] + 3 * b[d];
	}
	fg_box_intersect(&w.reach, &all, &w.reach);
	if (read_merges(&w, err) < 0 || find_contacts(&w, err) < 0 ||
	    try_contacts(&w, &device, err) < 0)
		goto out;
	put_output(&w, device, started_ns, out);
	rc = 0;
out:
	free(w.id);
	free(w.up);
	free(w.merge);
	free(w.seen);
	free(w.place);
	free(w.contact);
	return rc;
}
