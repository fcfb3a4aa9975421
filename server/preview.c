/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the page shows of a layer without a viewer: one slice as a picture, the value of
 * one voxel, and the state of its blocks.
 *
 * A slice is drawn from the coarsest scale that still has a voxel for each pixel, pixel
 * by pixel from the voxel at its middle. Of a layer that is made here only what is
 * stored is drawn, and what is missing at one scale is looked for at the finer ones:
 * nothing is ever started. Everything is bounded: pixels, voxels that are decoded,
 * chunks that are looked at, time, and how many slices are drawn at once.
 *
 * All of it runs on io threads.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/morton.h"
#include "server/request.h"
#include "work/agglomerate.h"

#define SIDE_MAX 1024                 /* pixels */
#define CHUNKS_MAX 2048               /* looked at for one slice */
#define VOXELS_MAX (INT64_C(1) << 28) /* decoded for one slice */
#define TIME_MAX_NS (5 * FG_NS_PER_S) /* then the rest stays undrawn */
#define DRAWN_AT_ONCE 3               /* of the io threads, which have other work */
#define KIND_SLICE 254                /* in the cache of chunks; no kind of the store */
#define COORDINATE_MAX (INT64_C(1) << 53)
#define BLOCKS_MAX 16384 /* of one answer */
#define FAILURES_MAX 50

/* Whole numbers between commas: exactly n of them. False if the key is absent. */
static bool
query_ints(const struct fg_request *r, const char *key, int64_t *out, int n)
{
	char text[160], *p = text, *end;

	if (!fg_route_query(&r->route, key, text, sizeof text))
		return false;
	for (int i = 0; i < n; i++) {
		out[i] = strtoll(p, &end, 10);
		if (end == p || *end != (i < n - 1 ? ',' : '\0') ||
		    out[i] < -COORDINATE_MAX || out[i] > COORDINATE_MAX)
			return false;
		p = end + 1;
	}
	return true;
}

/* ------------------------------------------------------------- blocks */

struct look {
	char *states;
	json_t *failures;
};

static void
see_block(struct look *k, size_t i, const struct fg_block_row *row)
{
	int64_t p[3];

	if (row->state == FG_BLOCK_DONE)
		k->states[i] = FG_NOW_PRESENT;
	if (row->state != FG_BLOCK_FAILED)
		return;
	k->states[i] = row->next_try_ms > 0 ? FG_NOW_DELAYED : FG_NOW_FAILED;
	if (json_array_size(k->failures) == FAILURES_MAX)
		return;
	fg_morton_decode(row->at, p);
	json_array_append_new(k->failures,
	    json_pack("{s:o, s:s, s:i, s:b}", "block", fg_json_int3(p), "error",
		row->error, "tries", row->tries, "again", row->next_try_ms > 0));
}

static int
look_at_blocks(struct fg_request *r, uint32_t layer, const struct fg_box *blk,
    struct look *k, struct fg_err *err)
{
	struct fg_reader *reader = fg_server_reader(r->srv, err);
	struct fg_block_row row;
	int64_t p[3];
	size_t i = 0;

	if (!reader)
		return -1;
	for (p[2] = blk->lo[2]; p[2] < blk->hi[2]; p[2]++) {
		for (p[1] = blk->lo[1]; p[1] < blk->hi[1]; p[1]++) {
			for (p[0] = blk->lo[0]; p[0] < blk->hi[0]; p[0]++, i++) {
				row = (struct fg_block_row){.at = fg_morton_encode(p)};
				if (fg_reader_block(reader, layer, row.at, &row, err) <
				    0)
					return -1;
				see_block(k, i, &row);
			}
		}
	}
	fg_sched_look(r->srv->sched, layer, blk, (uint8_t *)k->states);
	return 0;
}

/* The box that was asked for, cut at the grid; the whole grid without one. False after
 * an error reply. */
static bool
block_box(struct fg_request *r, const struct fg_layer *l, struct fg_box *blk)
{
	struct fg_box grid = {.hi = {l->blocks[0], l->blocks[1], l->blocks[2]}};
	char text[8];
	int64_t v[6];

	*blk = grid;
	if (query_ints(r, "box", v, 6)) {
		memcpy(blk->lo, v, sizeof blk->lo);
		memcpy(blk->hi, v + 3, sizeof blk->hi);
		if (!fg_box_intersect(blk, &grid, blk)) {
			fg_reply_error(r, 400,
			    "the box is empty or outside the layer's %lld x %lld x "
			    "%lld blocks",
			    (long long)grid.hi[0], (long long)grid.hi[1],
			    (long long)grid.hi[2]);
			return false;
		}
	} else if (fg_route_query(&r->route, "box", text, sizeof text) ||
		   strstr(r->route.query, "box=")) {
		fg_reply_error(r, 400, "box is not x0,y0,z0,x1,y1,z1 in blocks");
		return false;
	}
	for (int64_t d = 0, n = 1; d < 3; d++) {
		n *= blk->hi[d] - blk->lo[d];
		if (n > BLOCKS_MAX) {
			fg_reply_error(r, 413,
			    "the box holds more than %d blocks: ask for parts of it",
			    BLOCKS_MAX);
			return false;
		}
	}
	return true;
}

void
fg_preview_blocks(struct fg_request *r)
{
	/* As enum fg_now. */
	static const char letters[] = ".qdrpf";
	const struct fg_layer *l = r->layer->base ? r->layer->base : r->layer;
	struct fg_err err = FG_ERR_INIT;
	struct look k = {0};
	struct fg_box blk;
	size_t n;

	if (!l->recipe) {
		fg_reply_error(r, 400, "layer %s is not made here: it has no blocks",
		    l->name);
		return;
	}
	if (!block_box(r, l, &blk))
		return;
	n = (size_t)fg_box_volume(&blk);
	k.states = fg_calloc(n + 1, 1);
	k.failures = json_array();
	if (look_at_blocks(r, l->id, &blk, &k, &err) < 0) {
		fg_reply_err(r, &err);
		json_decref(k.failures);
	} else {
		for (size_t i = 0; i < n; i++)
			k.states[i] = letters[(uint8_t)k.states[i]];
		fg_reply_public(r, 200,
		    json_pack("{s:s, s:o, s:o, s:s, s:o}", "layer", l->name, "lo",
			fg_json_int3(blk.lo), "hi", fg_json_int3(blk.hi), "states",
			k.states, "failures", k.failures));
	}
	free(k.states);
}

/* ------------------------------------------------------------- slices */

struct slice {
	struct fg_request *r;
	const struct fg_layer *l;
	int64_t lo[2], hi[2], z; /* voxels of the finest scale */
	int64_t side[2];         /* pixels */
	int channels;            /* of the picture: 1 or 4 */
	uint8_t *pixels;         /* planes of side[0] * side[1], channel slowest */
	uint8_t *drawn;          /* one byte a pixel */
	size_t left;             /* pixels not drawn */
	int64_t deadline_ns, voxels;
	int chunks;
	int broken;          /* chunks that could not be read */
	struct fg_err first; /* why the first of them */
	float low, high;     /* values shown as black and white */
};

/* Bright and mutually distinct colours, the same for an id in every slice. */
static void
colour_of(uint64_t id, uint8_t rgb[3])
{
	uint64_t h = fg_hash64(&id, sizeof id);
	double hue = (double)(h & 0xffff) / 65536 * 6;
	double sat = 0.45 + (double)(h >> 16 & 0xff) / 255 * 0.4;
	double val = 0.75 + (double)(h >> 24 & 0xff) / 255 * 0.25;

	for (int c = 0; c < 3; c++) {
		double k = fmod(5 - 2 * c + hue, 6);
		double f = FG_MAX(0, FG_MIN(FG_MIN(k, 4 - k), 1));

		rgb[c] = (uint8_t)lround(255 * val * (1 - sat * f));
	}
}

static uint64_t
id_at(const struct fg_array *a, size_t i)
{
	return a->dtype == FG_U64 ? ((const uint64_t *)a->data)[i]
				  : (uint64_t)fg_array_real(a, i);
}

static void
put_pixel(struct slice *s, size_t at, const struct fg_array *a, size_t i)
{
	size_t plane = (size_t)(s->side[0] * s->side[1]);
	uint8_t rgb[3];
	uint64_t id;
	double v;

	s->drawn[at] = 1;
	s->left--;
	if (s->channels == 1) {
		v = (fg_array_real(a, i) - s->low) / (s->high - s->low);
		s->pixels[at] = (uint8_t)lround(255 * FG_MAX(0, FG_MIN(v, 1)));
		return;
	}
	id = id_at(a, i);
	if (id == 0)
		return;
	colour_of(id, rgb);
	for (int c = 0; c < 3; c++)
		s->pixels[at + (size_t)c * plane] = rgb[c];
	s->pixels[at + 3 * plane] = 255;
}

/* Voxel of scale k (along axis d) at the middle of a pixel. */
static int64_t
voxel_of(const struct slice *s, int k, int d, int64_t pixel)
{
	const struct fg_scale *f = &s->l->info.scale[0], *c = &s->l->info.scale[k];
	double at = (double)s->lo[d] + ((double)pixel + 0.5) *
					   (double)(s->hi[d] - s->lo[d]) /
					   (double)s->side[d];

	return (int64_t)floor(at * f->nm[d] / c->nm[d]);
}

static int64_t
depth_of(const struct slice *s, int k)
{
	const struct fg_scale *f = &s->l->info.scale[0], *c = &s->l->info.scale[k];
	int64_t z = (int64_t)floor(((double)s->z + 0.5) * f->nm[2] / c->nm[2]);

	/* A coarse scale may end a little earlier. */
	return FG_MAX(c->offset[2], FG_MIN(z, c->offset[2] + c->size[2] - 1));
}

/* Pixels whose middle lies in voxels lo .. hi-1 of scale k: first and end. */
static void
pixels_in(const struct slice *s, int k, int d, int64_t lo, int64_t hi, int64_t *first,
    int64_t *end)
{
	const struct fg_scale *f = &s->l->info.scale[0], *c = &s->l->info.scale[k];
	double step = (double)(s->hi[d] - s->lo[d]) / (double)s->side[d];
	double ratio = c->nm[d] / f->nm[d];

	*first = (int64_t)floor(((double)lo * ratio - (double)s->lo[d]) / step) - 1;
	*first = FG_MAX(*first, 0);
	while (*first < s->side[d] && voxel_of(s, k, d, *first) < lo)
		++*first;
	*end = *first;
	while (*end < s->side[d] && voxel_of(s, k, d, *end) < hi)
		++*end;
}

static bool
is_over(const struct slice *s)
{
	return s->left == 0 || fg_clock_ns() > s->deadline_ns ||
	       atomic_load(&s->r->srv->draining);
}

/* Draw from the voxels of `a`, which fill `vx` (voxels of scale k). absent: bytes that
 * say which voxels the source lacks, or NULL. */
static void
draw(struct slice *s, int k, const struct fg_array *a, const struct fg_box *vx,
    const struct fg_array *absent)
{
	int64_t z = depth_of(s, k) - vx->lo[2], from[2], to[2];

	for (int d = 0; d < 2; d++)
		pixels_in(s, k, d, vx->lo[d], vx->hi[d], &from[d], &to[d]);
	for (int64_t y = from[1]; y < to[1]; y++) {
		int64_t vy = voxel_of(s, k, 1, y) - vx->lo[1];

		for (int64_t x = from[0]; x < to[0]; x++) {
			size_t at = (size_t)(x + s->side[0] * y);
			int64_t vox = voxel_of(s, k, 0, x) - vx->lo[0];
			size_t i = (size_t)(vox + a->shape[0] * (vy + a->shape[1] * z));

			if (!s->drawn[at] &&
			    !(absent && ((const uint8_t *)absent->data)[i]))
				put_pixel(s, at, a, i);
		}
	}
}

static bool
wants(const struct slice *s, int k, const struct fg_box *vx)
{
	int64_t from[2], to[2];

	for (int d = 0; d < 2; d++)
		pixels_in(s, k, d, vx->lo[d], vx->hi[d], &from[d], &to[d]);
	for (int64_t y = from[1]; y < to[1]; y++) {
		for (int64_t x = from[0]; x < to[0]; x++) {
			if (!s->drawn[x + s->side[0] * y])
				return true;
		}
	}
	return false;
}

/* Smallest and largest value of an array, where they differ. */
static void
widen_range(struct slice *s, const struct fg_array *a)
{
	size_t n = (size_t)(a->shape[0] * a->shape[1] * a->shape[2]);
	double lo = INFINITY, hi = -INFINITY;

	for (size_t i = 0; i < n; i++) {
		double v = fg_array_real(a, i);

		if (isfinite(v)) {
			lo = FG_MIN(lo, v);
			hi = FG_MAX(hi, v);
		}
	}
	if (lo < hi) {
		s->low = (float)lo;
		s->high = (float)hi;
	}
}

/* What is shown as black and white: 0 to 255 of 8 bits, else the values that the middle
 * of the coarsest scale has, so that all pictures of a layer agree. */
static int
find_range(struct slice *s, struct fg_err *err)
{
	const struct fg_layer *l = s->l;
	int k = l->info.scales - 1, rc;
	const struct fg_scale *c = &l->info.scale[k];
	int64_t shape[4] = {0, 0, 0, l->info.channels}, ch[3];
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_box vx;

	s->low = 0;
	s->high = 255;
	if (l->info.dtype == FG_U8 || s->channels != 1 || !l->source)
		return 0;
	for (int d = 0; d < 3; d++)
		ch[d] = c->size[d] / 2 / c->chunk[d];
	fg_scale_chunk_box(c, ch, &vx);
	vx.lo[2] = FG_MIN(c->offset[2] + c->size[2] / 2, vx.hi[2] - 1);
	vx.hi[2] = vx.lo[2] + 1;
	fg_box_shape(&vx, shape);
	if (fg_array_init(&a, l->info.dtype, shape, err) < 0)
		return -1;
	rc = fg_source_box(l->source, k, &vx, &a, NULL, err);
	if (rc == 0)
		widen_range(s, &a);
	fg_array_fini(&a);
	return rc;
}

/* One chunk's part of a slice of a passive layer: a layer of voxels one deep. */
static int
draw_source(struct slice *s, int k, const int64_t ch[3], struct fg_err *err)
{
	const struct fg_layer *l = s->l;
	struct fg_array a = FG_ARRAY_INIT, absent = FG_ARRAY_INIT;
	int64_t shape[4] = {0, 0, 0, l->info.channels};
	struct fg_box vx;
	int rc = -1;

	fg_scale_chunk_box(&l->info.scale[k], ch, &vx);
	if (!wants(s, k, &vx))
		return 0;
	s->voxels += fg_box_volume(&vx);
	vx.lo[2] = depth_of(s, k);
	vx.hi[2] = vx.lo[2] + 1;
	fg_box_shape(&vx, shape);
	if (fg_array_init(&a, l->info.dtype, shape, err) < 0)
		goto out;
	shape[3] = 1;
	if (fg_array_init(&absent, FG_U8, shape, err) < 0 ||
	    fg_source_box(l->source, k, &vx, &a, &absent, err) < 0)
		goto out;
	draw(s, k, &a, &vx, &absent);
	rc = 0;
out:
	fg_array_fini(&a);
	fg_array_fini(&absent);
	return rc;
}

/* Public ids in the plane of the slice, the only part that is drawn. */
static int
name_publicly(const struct slice *s, int k, struct fg_array *a, const struct fg_box *vx,
    struct fg_reader *reader, struct fg_err *err)
{
	size_t plane = (size_t)(a->shape[0] * a->shape[1]);
	size_t z = (size_t)(depth_of(s, k) - vx->lo[2]);

	return fg_agglomerate_voxels(s->l, reader, (uint64_t *)a->data + z * plane,
	    plane, err);
}

/* The same of a layer that is made here, if it is stored. */
static int
draw_stored(struct slice *s, int k, const int64_t ch[3], struct fg_err *err)
{
	const struct fg_layer *l = s->l;
	struct fg_key key = {.layer = l->id,
	    .kind = l->chunk_kind,
	    .scale = (uint8_t)k,
	    .at = fg_morton_encode(ch)};
	struct fg_reader *reader = fg_server_reader(s->r->srv, err);
	int64_t shape[4] = {0, 0, 0, l->info.channels};
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_buf *bytes = NULL;
	struct fg_place place;
	struct fg_box vx;
	int rc = -1;

	fg_scale_chunk_box(&l->info.scale[k], ch, &vx);
	if (!wants(s, k, &vx))
		return 0;
	if (!reader || fg_reader_find(reader, &key, &place, err) < 0)
		return -1;
	/* One that is partial or out of date: its finer chunks know better. */
	if (place.state == FG_ABSENT ||
	    (k > 0 && (place.dirty || place.state == FG_PARTIAL)))
		return 0;
	fg_box_shape(&vx, shape);
	if (fg_array_init_zero(&a, l->info.dtype, shape, err) < 0)
		goto out;
	s->voxels += fg_box_volume(&vx);
	if (place.state != FG_EMPTY &&
	    (fg_store_read(s->r->srv->store, &place, false, &bytes, err) < 0 ||
		fg_codec_decode(&l->info.scale[k], bytes->data, bytes->len, &a, err) <
		    0))
		goto out;
	if (l->agglomerated && name_publicly(s, k, &a, &vx, reader, err) < 0)
		goto out;
	draw(s, k, &a, &vx, NULL);
	rc = 0;
out:
	fg_array_fini(&a);
	fg_buf_unref(bytes);
	return rc;
}

/* The chunks of scale k that the slice goes through; false if there are none. */
static bool
chunks_of(const struct slice *s, int k, struct fg_box *ch)
{
	const struct fg_scale *c = &s->l->info.scale[k];
	int64_t z = depth_of(s, k);

	for (int d = 0; d < 2; d++) {
		int64_t last = c->offset[d] + c->size[d] - 1;
		int64_t lo = FG_MAX(voxel_of(s, k, d, 0), c->offset[d]);
		int64_t hi = FG_MIN(voxel_of(s, k, d, s->side[d] - 1), last);

		if (lo > hi)
			return false;
		ch->lo[d] = (lo - c->offset[d]) / c->chunk[d];
		ch->hi[d] = (hi - c->offset[d]) / c->chunk[d] + 1;
	}
	ch->lo[2] = (z - c->offset[2]) / c->chunk[2];
	ch->hi[2] = ch->lo[2] + 1;
	return true;
}

static int
draw_scale(struct slice *s, int k, struct fg_err *err)
{
	const struct fg_scale *c = &s->l->info.scale[k];
	int64_t size = c->chunk[0] * c->chunk[1] * c->chunk[2], p[3];
	struct fg_err e = FG_ERR_INIT;
	struct fg_box ch;

	if (!chunks_of(s, k, &ch))
		return 0;
	p[2] = ch.lo[2];
	/* Known before anything is read, where all of it must be read. */
	if (s->l->source &&
	    (fg_box_volume(&ch) > CHUNKS_MAX || fg_box_volume(&ch) > VOXELS_MAX / size))
		return fg_fail(err, FG_EFULL,
		    "this slice needs %lld chunks of scale %s: ask for a smaller part",
		    (long long)fg_box_volume(&ch), c->key);
	for (p[1] = ch.lo[1]; p[1] < ch.hi[1]; p[1]++) {
		for (p[0] = ch.lo[0]; p[0] < ch.hi[0]; p[0]++) {
			if (is_over(s) || s->voxels > VOXELS_MAX ||
			    s->chunks > CHUNKS_MAX)
				return 0;
			s->chunks++;
			if ((s->l->source ? draw_source(s, k, p, &e)
					  : draw_stored(s, k, p, &e)) < 0 &&
			    s->broken++ == 0)
				s->first = e;
			e = (struct fg_err)FG_ERR_INIT;
		}
	}
	return 0;
}

/* The coarsest scale with a voxel for every pixel. */
static int
choose_scale(const struct slice *s)
{
	const struct fg_info *info = &s->l->info;
	int best = 0;

	for (int k = 1; k < info->scales; k++) {
		bool fine = true;

		for (int d = 0; d < 2; d++)
			fine = fine && info->scale[k].nm[d] * (double)s->side[d] <=
					   1.001 * info->scale[0].nm[d] *
					       (double)(s->hi[d] - s->lo[d]);
		if (fine && info->scale[k].nm[0] >= info->scale[best].nm[0])
			best = k;
	}
	return best;
}

static int
draw_all(struct slice *s, struct fg_err *err)
{
	int k = choose_scale(s), last = s->l->source ? k : 0;

	for (; k >= last && !is_over(s); k--) {
		if (draw_scale(s, k, err) < 0)
			return -1;
	}
	/* A broken chunk leaves a hole; nothing but broken ones is a failure. */
	if (s->broken == 0 || s->left < (size_t)(s->side[0] * s->side[1]))
		return 0;
	*err = s->first;
	return -1;
}

/* box, z and width of the query; false after an error reply. */
static bool
read_query(struct fg_request *r, struct slice *s)
{
	const struct fg_scale *f = &s->l->info.scale[0];
	int64_t box[4] = {f->offset[0], f->offset[1], f->offset[0] + f->size[0],
	    f->offset[1] + f->size[1]};
	int64_t width = 256;
	double scale;

	s->z = f->offset[2] + f->size[2] / 2;
	if ((strstr(r->route.query, "box=") && !query_ints(r, "box", box, 4)) ||
	    (strstr(r->route.query, "z=") && !query_ints(r, "z", &s->z, 1)) ||
	    (strstr(r->route.query, "width=") && !query_ints(r, "width", &width, 1))) {
		fg_reply_error(r, 400,
		    "wanted ?box=x0,y0,x1,y1&z=Z&width=PIXELS, whole numbers");
		return false;
	}
	for (int d = 0; d < 2; d++) {
		s->lo[d] = box[d];
		s->hi[d] = box[d + 2];
	}
	if (box[0] >= box[2] || box[1] >= box[3] || box[2] <= f->offset[0] ||
	    box[3] <= f->offset[1] || box[0] >= f->offset[0] + f->size[0] ||
	    box[1] >= f->offset[1] + f->size[1] || s->z < f->offset[2] ||
	    s->z >= f->offset[2] + f->size[2]) {
		fg_reply_error(r, 400,
		    "the slice is empty or outside %lld,%lld,%lld to %lld,%lld,%lld",
		    (long long)f->offset[0], (long long)f->offset[1],
		    (long long)f->offset[2], (long long)(f->offset[0] + f->size[0]),
		    (long long)(f->offset[1] + f->size[1]),
		    (long long)(f->offset[2] + f->size[2]));
		return false;
	}
	/* Square in nanometres. */
	scale = (double)(box[3] - box[1]) * f->nm[1] /
		((double)(box[2] - box[0]) * f->nm[0]);
	s->side[0] = width;
	if (width < 1 || width > SIDE_MAX || (double)width * scale > SIDE_MAX + 0.5) {
		fg_reply_error(r, 400, "a slice has at most %d x %d pixels", SIDE_MAX,
		    SIDE_MAX);
		return false;
	}
	s->side[1] = FG_MAX((int64_t)lround((double)width * scale), 1);
	return true;
}

/* Where a picture of a layer that does not change is kept. */
static struct fg_cache_key
cache_key(const struct slice *s)
{
	int64_t what[7] = {s->lo[0], s->lo[1], s->hi[0], s->hi[1], s->z, s->side[0],
	    s->side[1]};

	return (struct fg_cache_key){
	    .key = {.layer = s->l->id,
		.kind = KIND_SLICE,
		.at = fg_hash64(what, sizeof what)},
	    .salt = fg_hash64(s->l->uuid, strlen(s->l->uuid)),
	};
}

static void
reply_bytes(struct slice *s, const struct fg_cached *c)
{
	fg_reply_bytes(s->r, 200,
	    fg_encoding_mime(s->channels == 1 ? FG_ENC_JPEG : FG_ENC_PNG), c->bytes);
	s->r->reply.tagged = true;
	s->r->reply.etag = c->etag;
	s->r->reply.caching = FG_NO_CACHE;
}

static void
reply_picture(struct slice *s)
{
	struct fg_scale how = {.encoding = s->channels == 1 ? FG_ENC_JPEG : FG_ENC_PNG,
	    .jpeg_quality = 85,
	    .png_level = 1};
	struct fg_array picture = {.dtype = FG_U8,
	    .shape = {s->side[0], s->side[1], 1, s->channels},
	    .data = s->pixels};
	struct fg_cache_key key = cache_key(s);
	struct fg_err err = FG_ERR_INIT;
	struct fg_cached c = {0};

	if (fg_codec_encode(&how, &picture, &c.bytes, &err) < 0) {
		fg_reply_err(s->r, &err);
		return;
	}
	c.etag = fg_hash64(c.bytes->data, c.bytes->len);
	/* Not one that was stopped by the clock, or has holes. */
	if (s->l->source && s->broken == 0 && (s->left == 0 || !is_over(s)))
		fg_cache_put(s->r->srv->cache, &key, &c);
	reply_bytes(s, &c);
}

static void
make_slice(struct fg_request *r)
{
	struct slice s = {.r = r, .l = r->layer};
	struct fg_err err = FG_ERR_INIT;
	struct fg_cache_key key;
	struct fg_cached c;
	size_t n;

	if (r->layer->broken || r->layer->info.scales == 0) {
		fg_reply_later(r, 60, "layer %s cannot be served: %s", r->layer->name,
		    r->layer->why);
		return;
	}
	if (!read_query(r, &s))
		return;
	s.channels = s.l->info.type == FG_SEGMENTATION ? 4 : 1;
	key = cache_key(&s);
	if (s.l->source && fg_cache_get(r->srv->cache, &key, &c)) {
		reply_bytes(&s, &c);
		return;
	}
	s.deadline_ns = fg_clock_ns() + TIME_MAX_NS;
	n = s.left = (size_t)(s.side[0] * s.side[1]);
	s.pixels = fg_calloc(n, (size_t)s.channels);
	s.drawn = fg_calloc(n, 1);
	if (find_range(&s, &err) == 0 && draw_all(&s, &err) == 0)
		reply_picture(&s);
	else if (err.code == FG_EFULL)
		fg_reply_error(r, 413, "%s", err.msg);
	else
		fg_reply_err(r, &err);
	free(s.pixels);
	free(s.drawn);
}

void
fg_preview_slice(struct fg_request *r)
{
	if (atomic_fetch_add(&r->srv->previews, 1) >= DRAWN_AT_ONCE)
		fg_reply_later(r, 1, "other slices are being drawn; ask again");
	else
		make_slice(r);
	atomic_fetch_sub(&r->srv->previews, 1);
}

/* ------------------------------------------------------------- one voxel */

/* The voxel's chunk at the finest scale, from the store; *there = false: not made. */
static int
read_stored(struct fg_request *r, const int64_t at[3], struct fg_array *one,
    bool *there, struct fg_err *err)
{
	const struct fg_layer *l = r->layer;
	const struct fg_scale *f = &l->info.scale[0];
	struct fg_reader *reader = fg_server_reader(r->srv, err);
	struct fg_key key = {.layer = l->id, .kind = l->chunk_kind};
	int64_t ch[3], shape[4] = {0, 0, 0, l->info.channels};
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_buf *bytes = NULL;
	struct fg_place place;
	struct fg_box vx, voxel;
	int rc = -1;

	for (int d = 0; d < 3; d++) {
		ch[d] = (at[d] - f->offset[d]) / f->chunk[d];
		voxel.lo[d] = at[d];
		voxel.hi[d] = at[d] + 1;
	}
	key.at = fg_morton_encode(ch);
	if (!reader || fg_reader_find(reader, &key, &place, err) < 0)
		return -1;
	*there = place.state != FG_ABSENT;
	if (!*there || place.state == FG_EMPTY)
		return 0;
	fg_scale_chunk_box(f, ch, &vx);
	fg_box_shape(&vx, shape);
	if (fg_array_init(&a, l->info.dtype, shape, err) < 0 ||
	    fg_store_read(r->srv->store, &place, false, &bytes, err) < 0 ||
	    fg_codec_decode(f, bytes->data, bytes->len, &a, err) < 0)
		goto out;
	fg_array_copy_box(one, &voxel, &a, &vx);
	rc = l->agglomerated ? fg_agglomerate_voxels(l, reader, one->data, 1, err) : 0;
out:
	fg_array_fini(&a);
	fg_buf_unref(bytes);
	return rc;
}

static int
read_passive(struct fg_request *r, const int64_t at[3], struct fg_array *one,
    bool *there, struct fg_err *err)
{
	struct fg_box voxel = {.lo = {at[0], at[1], at[2]},
	    .hi = {at[0] + 1, at[1] + 1, at[2] + 1}};
	int64_t shape[4] = {1, 1, 1, 1};
	struct fg_array absent = FG_ARRAY_INIT;
	int rc = -1;

	if (fg_array_init_zero(&absent, FG_U8, shape, err) == 0)
		rc = fg_source_box(r->layer->source, 0, &voxel, one, &absent, err);
	*there = rc == 0 && !*(const uint8_t *)absent.data;
	fg_array_fini(&absent);
	return rc;
}

/* Ids are texts: not every reader holds 64 bits in a number. */
static json_t *
value_json(const struct fg_layer *l, const struct fg_array *one, bool there)
{
	if (!there)
		return json_null();
	if (l->info.type == FG_SEGMENTATION)
		return json_sprintf("%llu", (unsigned long long)id_at(one, 0));
	if (one->dtype == FG_F32 && !isfinite(fg_array_real(one, 0)))
		return json_null();
	return one->dtype == FG_F32 ? json_real(fg_array_real(one, 0))
				    : json_integer((json_int_t)fg_array_real(one, 0));
}

void
fg_preview_value(struct fg_request *r)
{
	const struct fg_layer *l = r->layer;
	int64_t at[3], shape[4] = {1, 1, 1, l->info.channels};
	struct fg_array one = FG_ARRAY_INIT;
	struct fg_err err = FG_ERR_INIT;
	struct fg_box bounds, voxel;
	bool there = false;

	if (l->broken || l->info.scales == 0) {
		fg_reply_later(r, 60, "layer %s cannot be served: %s", l->name, l->why);
		return;
	}
	if (!query_ints(r, "at", at, 3)) {
		fg_reply_error(r, 400, "wanted ?at=x,y,z, whole numbers");
		return;
	}
	fg_scale_bounds(&l->info.scale[0], &bounds);
	for (int d = 0; d < 3; d++) {
		voxel.lo[d] = at[d];
		voxel.hi[d] = at[d] + 1;
	}
	if (!fg_box_contains(&bounds, &voxel)) {
		fg_reply_error(r, 400, "the voxel is outside of layer %s", l->name);
		return;
	}
	if (fg_array_init_zero(&one, l->info.dtype, shape, &err) < 0 ||
	    (l->source ? read_passive(r, at, &one, &there, &err)
		       : read_stored(r, at, &one, &there, &err)) < 0)
		fg_reply_err(r, &err);
	else
		fg_reply_json(r, 200,
		    json_pack("{s:s, s:o, s:o}", "layer", l->name, "at",
			fg_json_int3(at), "value", value_json(l, &one, there)));
	fg_array_fini(&one);
}
