/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of logits in an open-addressed hash, and one movement step on top of a
 * device's forward pass. Pages are never freed before the canvas: a clear moves them
 * to the end of the list, past `used`, from where they are taken again.
 */
#include "config.h"

#include "seg/canvas.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"

#define SLOTS_FIRST 256 /* power of two */
#define NO_PAGE UINT32_MAX
#define HELD_SPARE 4 /* canvases on a device beyond those of one call */

struct fg_canvas {
	const struct fg_array *image;
	float mean, stddev;
	struct fg_page **page; /* [0, used) hold logits, [used, held) are spare */
	size_t used, held, cap;
	uint32_t *slot;   /* index of a page or NO_PAGE */
	size_t slots;     /* power of two, at least 2 * used */
	int64_t born_ns;  /* tells canvases of one address apart */
	uint64_t version; /* rises with every change of a logit */
};

struct fg_canvas *
fg_canvas_new(const struct fg_array *image, double mean, double stddev)
{
	struct fg_canvas *c = fg_calloc(1, sizeof *c);

	fg_assert(image->dtype == FG_U8 || image->dtype == FG_U16);
	c->image = image;
	c->born_ns = fg_clock_ns();
	c->mean = (float)mean;
	c->stddev = (float)stddev;
	c->slots = SLOTS_FIRST;
	c->slot = fg_alloc(c->slots * sizeof *c->slot);
	memset(c->slot, 0xff, c->slots * sizeof *c->slot);
	return c;
}

void
fg_canvas_free(struct fg_canvas *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->held; i++)
		free(c->page[i]);
	free(c->page);
	free(c->slot);
	free(c);
}

void
fg_canvas_clear(struct fg_canvas *c)
{
	for (size_t i = 0; i < c->used; i++)
		c->slot[c->page[i]->slot] = NO_PAGE;
	c->used = 0;
	c->version++;
}

static size_t
hash_of(const int64_t at[3])
{
	uint64_t h = (uint64_t)at[0] * UINT64_C(0x9e3779b97f4a7c15) ^
		     (uint64_t)at[1] * UINT64_C(0xc2b2ae3d27d4eb4f) ^
		     (uint64_t)at[2] * UINT64_C(0x165667b19e3779f9);

	return (size_t)(h ^ h >> 29 ^ h >> 47);
}

/* The slot that holds page `at`, or the free one where it belongs. */
static size_t
slot_of(const struct fg_canvas *c, const int64_t at[3])
{
	size_t i = hash_of(at) & (c->slots - 1);

	for (;; i = (i + 1) & (c->slots - 1)) {
		const int64_t *p;

		if (c->slot[i] == NO_PAGE)
			return i;
		p = c->page[c->slot[i]]->at;
		if (p[0] == at[0] && p[1] == at[1] && p[2] == at[2])
			return i;
	}
}

static struct fg_page *
find_page(const struct fg_canvas *c, const int64_t at[3])
{
	uint32_t k = c->slot[slot_of(c, at)];

	return k == NO_PAGE ? NULL : c->page[k];
}

static void
grow_slots(struct fg_canvas *c)
{
	free(c->slot);
	c->slots *= 2;
	c->slot = fg_alloc(c->slots * sizeof *c->slot);
	memset(c->slot, 0xff, c->slots * sizeof *c->slot);
	for (size_t i = 0; i < c->used; i++) {
		struct fg_page *p = c->page[i];

		p->slot = slot_of(c, p->at);
		c->slot[p->slot] = (uint32_t)i;
	}
}

/* A page after the used ones, spare or new. */
static struct fg_page *
spare_page(struct fg_canvas *c, struct fg_err *err)
{
	if (c->used < c->held)
		return c->page[c->used];
	if (c->held == c->cap) {
		c->cap = c->cap ? 2 * c->cap : 64;
		c->page = fg_realloc(c->page, c->cap, sizeof *c->page);
	}
	struct fg_page *p = fg_try_alloc(1, sizeof *p);
	if (!p)
		return fg_fail_null(err, FG_ENOMEM, "no memory for a page of logits");
	c->page[c->held++] = p;
	return p;
}

/* The page at `at`, made (all NaN) if it is not there. */
static struct fg_page *
make_page(struct fg_canvas *c, const int64_t at[3], struct fg_err *err)
{
	size_t i = slot_of(c, at);
	struct fg_page *p;

	if (c->slot[i] != NO_PAGE)
		return c->page[c->slot[i]];
	p = spare_page(c, err);
	if (!p)
		return NULL;
	memcpy(p->at, at, sizeof p->at);
	for (size_t k = 0; k < FG_PAGE_VOXELS; k++)
		p->logit[k] = NAN;
	p->slot = i;
	c->slot[i] = (uint32_t)c->used++;
	if (2 * c->used > c->slots)
		grow_slots(c);
	return p;
}

static void
page_of(const int64_t vx[3], int64_t at[3], size_t *offset)
{
	int64_t in[3];

	for (int d = 0; d < 3; d++) {
		at[d] = fg_div_floor(vx[d], FG_PAGE);
		in[d] = vx[d] - at[d] * FG_PAGE;
	}
	*offset = (size_t)((in[2] * FG_PAGE + in[1]) * FG_PAGE + in[0]);
}

float
fg_canvas_get(const struct fg_canvas *c, const int64_t vx[3])
{
	int64_t at[3];
	size_t k;
	const struct fg_page *p;

	page_of(vx, at, &k);
	p = find_page(c, at);
	return p ? p->logit[k] : NAN;
}

int
fg_canvas_set(struct fg_canvas *c, const int64_t vx[3], float logit, struct fg_err *err)
{
	int64_t at[3];
	size_t k;
	struct fg_page *p;

	page_of(vx, at, &k);
	p = make_page(c, at, err);
	if (!p)
		return -1;
	p->logit[k] = logit;
	c->version++;
	return 0;
}

size_t
fg_canvas_pages(const struct fg_canvas *c)
{
	return c->used;
}

const struct fg_page *
fg_canvas_page(const struct fg_canvas *c, size_t i)
{
	fg_assert(i < c->used);
	return c->page[i];
}

size_t
fg_canvas_bytes(const struct fg_canvas *c)
{
	return c->held * sizeof(struct fg_page) + c->cap * sizeof *c->page +
	       c->slots * sizeof *c->slot;
}

void
fg_canvas_gather_image(const struct fg_canvas *c, const int64_t lo[3],
    const int64_t size[3], float *image)
{
	const struct fg_array *a = c->image;
	const float mean = c->mean, stddev = c->stddev;

	for (int d = 0; d < 3; d++)
		fg_assert(lo[d] >= 0 && lo[d] + size[d] <= a->shape[d]);
	for (int64_t z = lo[2]; z < lo[2] + size[2]; z++) {
		for (int64_t y = lo[1]; y < lo[1] + size[1]; y++) {
			int64_t at = (z * a->shape[1] + y) * a->shape[0] + lo[0];

			if (a->dtype == FG_U8) {
				const uint8_t *p = (const uint8_t *)a->data + at;
				for (int64_t x = 0; x < size[0]; x++)
					*image++ = ((float)p[x] - mean) / stddev;
			} else {
				const uint16_t *p = (const uint16_t *)a->data + at;
				for (int64_t x = 0; x < size[0]; x++)
					*image++ = ((float)p[x] - mean) / stddev;
			}
		}
	}
}

/* The part of a box that lies in page `at`: [lo, hi) in voxels of the box, and where
 * its first voxel is in the page. */
static size_t
page_part(const int64_t at[3], const int64_t box[3], const int64_t size[3],
    int64_t lo[3], int64_t hi[3])
{
	int64_t in[3];

	for (int d = 0; d < 3; d++) {
		int64_t first = at[d] * FG_PAGE - box[d];

		lo[d] = FG_MAX(first, 0);
		hi[d] = FG_MIN(first + FG_PAGE, size[d]);
		in[d] = lo[d] - first;
	}
	return (size_t)((in[2] * FG_PAGE + in[1]) * FG_PAGE + in[0]);
}

/* Call for each row of one page's part: `row` in the page, `out` in the box. */
static void
copy_part(float *page, const int64_t at[3], const int64_t box[3], const int64_t size[3],
    float *data, bool to_page)
{
	int64_t lo[3], hi[3];
	size_t first = page_part(at, box, size, lo, hi);
	size_t n = (size_t)(hi[0] - lo[0]);

	for (int64_t z = lo[2]; z < hi[2]; z++) {
		for (int64_t y = lo[1]; y < hi[1]; y++) {
			float *out = data + (z * size[1] + y) * size[0] + lo[0];
			float *row =
			    page ? page + first +
				       ((z - lo[2]) * FG_PAGE + (y - lo[1])) * FG_PAGE
				 : NULL;

			if (to_page) {
				memcpy(row, out, n * sizeof *out);
			} else if (row) {
				memcpy(out, row, n * sizeof *out);
			} else {
				for (size_t x = 0; x < n; x++)
					out[x] = NAN;
			}
		}
	}
}

static void
page_range(const int64_t lo[3], const int64_t size[3], struct fg_box *pages)
{
	for (int d = 0; d < 3; d++) {
		pages->lo[d] = fg_div_floor(lo[d], FG_PAGE);
		pages->hi[d] = fg_div_floor(lo[d] + size[d] - 1, FG_PAGE) + 1;
	}
}

void
fg_canvas_gather(const struct fg_canvas *c, const int64_t lo[3], const int64_t size[3],
    float *logit)
{
	struct fg_box r;
	int64_t at[3];

	page_range(lo, size, &r);
	for (at[2] = r.lo[2]; at[2] < r.hi[2]; at[2]++) {
		for (at[1] = r.lo[1]; at[1] < r.hi[1]; at[1]++) {
			for (at[0] = r.lo[0]; at[0] < r.hi[0]; at[0]++) {
				struct fg_page *p = find_page(c, at);

				copy_part(p ? p->logit : NULL, at, lo, size, logit,
				    false);
			}
		}
	}
}

int
fg_canvas_scatter(struct fg_canvas *c, const int64_t lo[3], const int64_t size[3],
    const float *logit, struct fg_err *err)
{
	struct fg_box r;
	int64_t at[3];

	c->version++;
	page_range(lo, size, &r);
	for (at[2] = r.lo[2]; at[2] < r.hi[2]; at[2]++) {
		for (at[1] = r.lo[1]; at[1] < r.hi[1]; at[1]++) {
			for (at[0] = r.lo[0]; at[0] < r.hi[0]; at[0]++) {
				struct fg_page *p = make_page(c, at, err);

				if (!p)
					return -1;
				copy_part(p->logit, at, lo, size, (float *)logit, true);
			}
		}
	}
	return 0;
}

/* ------------------------------------------------- steps over forward */

/* A canvas that the device holds as well. It is what the host's canvas was at
 * `version`; when that has moved on, it is written anew. */
struct held {
	const struct fg_canvas *canvas; /* may be gone: compared, never followed */
	int64_t born_ns;
	uint64_t version;
	uint64_t used;            /* when last, counted in calls */
	struct fg_remote *remote; /* owned; NULL = free entry */
};

struct fg_step_work {
	const struct fg_backend *backend;
	float *in;  /* batch_max patches of image and logits */
	float *out; /* batch_max patches */
	float *old; /* one patch, NaN as it was */
	struct held *held;
	int held_n;
	uint64_t calls;
};

struct fg_step_work *
fg_step_work_new(const struct fg_model *m, struct fg_err *err)
{
	struct fg_step_work *w = fg_calloc(1, sizeof *w);
	size_t n = (size_t)(m->fov[0] * m->fov[1] * m->fov[2]);

	w->backend = m->backend;
	w->in = fg_try_alloc(2 * n * (size_t)m->batch_max, sizeof *w->in);
	w->out = fg_try_alloc(n * (size_t)m->batch_max, sizeof *w->out);
	w->old = fg_try_alloc(n * (size_t)m->batch_max, sizeof *w->old);
	if (!w->in || !w->out || !w->old) {
		fg_step_work_free(w);
		return fg_fail_null(err, FG_ENOMEM, "no memory for %d patches",
		    m->batch_max);
	}
	if (m->backend->step) {
		/* One more than a block's floods at a time on one device. */
		w->held_n = m->batch_max + HELD_SPARE;
		w->held = fg_calloc((size_t)w->held_n, sizeof *w->held);
	}
	return w;
}

static void
let_go(struct fg_step_work *w, struct held *h)
{
	if (h->remote)
		w->backend->canvas_close(h->remote);
	*h = (struct held){.remote = NULL};
}

void
fg_step_work_idle(struct fg_step_work *w)
{
	for (int i = 0; i < w->held_n; i++)
		let_go(w, &w->held[i]);
}

void
fg_step_work_free(struct fg_step_work *w)
{
	if (!w)
		return;
	fg_step_work_idle(w);
	free(w->held);
	free(w->in);
	free(w->out);
	free(w->old);
	free(w);
}

void
fg_step_freeze(const struct fg_step_params *p, size_t n, const float *old, float *logit)
{
	size_t above = 0;

	if (p->freeze < 0)
		return;
	for (size_t i = 0; i < n; i++)
		above += logit[i] >= p->move;
	if ((double)above / (double)n <= (double)p->freeze)
		return;
	for (size_t i = 0; i < n; i++) {
		if (old[i] < 0 && logit[i] > old[i])
			logit[i] = old[i];
	}
}

/* Sorts by score, then offset z, y, x, all descending. */
static int
compare_faces(const void *pa, const void *pb)
{
	const struct fg_face *a = pa, *b = pb;

	if (a->score != b->score)
		return a->score > b->score ? -1 : 1;
	for (int d = 2; d >= 0; d--) {
		if (a->off[d] != b->off[d])
			return a->off[d] > b->off[d] ? -1 : 1;
	}
	return 0;
}

/* The maximum of a box of offsets from the centre, first in z, y, x order. */
static struct fg_face
best_of(const int64_t fov[3], const float *logit, const int lo[3], const int hi[3])
{
	struct fg_face best = {.score = -INFINITY};

	for (int z = lo[2]; z <= hi[2]; z++) {
		for (int y = lo[1]; y <= hi[1]; y++) {
			const float *row =
			    logit +
			    ((z + fov[2] / 2) * fov[1] + y + fov[1] / 2) * fov[0] +
			    fov[0] / 2;

			for (int x = lo[0]; x <= hi[0]; x++) {
				if (row[x] > best.score)
					best = (struct fg_face){.score = row[x],
					    .off = {(int8_t)x, (int8_t)y, (int8_t)z}};
			}
		}
	}
	return best;
}

int
fg_step_faces(const struct fg_step_params *p, const int64_t fov[3], const float *logit,
    struct fg_face face[6])
{
	int n = 0, kept = 0;

	for (int axis = 0; axis < 3; axis++) {
		if (p->delta[axis] == 0)
			continue;
		for (int sign = -1; sign <= 1; sign += 2) {
			int lo[3], hi[3];

			for (int d = 0; d < 3; d++) {
				lo[d] = -p->delta[d];
				hi[d] = p->delta[d];
			}
			lo[axis] = hi[axis] = sign * p->delta[axis];
			face[n] = best_of(fov, logit, lo, hi);
			if (face[n].score >= p->move)
				n++;
		}
	}
	qsort(face, (size_t)n, sizeof *face, compare_faces);
	for (int i = 0; i < n; i++) {
		if (kept == 0 || compare_faces(&face[i], &face[kept - 1]) != 0)
			face[kept++] = face[i];
	}
	return kept;
}

static void
patch_corner(const struct fg_model *m, const struct fg_step *s, int64_t lo[3])
{
	for (int d = 0; d < 3; d++)
		lo[d] = s->centre[d] - m->fov[d] / 2;
}

/* What a device's own step needs no more: all but the canvases of this call. */
static void
let_old_go(struct fg_step_work *w)
{
	for (int i = 0; i < w->held_n; i++) {
		if (w->held[i].used != w->calls)
			let_go(w, &w->held[i]);
	}
}

static int
open_remote(struct fg_model *m, struct fg_step_work *w, const struct fg_canvas *c,
    struct fg_remote **out, struct fg_err *err)
{
	struct fg_err first = FG_ERR_INIT;

	if (m->backend->canvas_open(m, c->image, c->mean, c->stddev, out, &first) == 0)
		return 0;
	if (first.code != FG_ENOMEM)
		return fg_fail(err, first.code, "%s", first.msg);
	let_old_go(w);
	return m->backend->canvas_open(m, c->image, c->mean, c->stddev, out, err);
}

/* The entry of c, opened if need be (then at no version of c). */
static struct held *
hold(struct fg_model *m, struct fg_step_work *w, const struct fg_canvas *c,
    struct fg_err *err)
{
	struct held *oldest = NULL;

	for (int i = 0; i < w->held_n; i++) {
		struct held *h = &w->held[i];

		if (h->remote && h->canvas == c && h->born_ns == c->born_ns) {
			h->used = w->calls;
			return h;
		}
		if (!oldest || h->used < oldest->used)
			oldest = h;
	}
	let_go(w, oldest);
	if (open_remote(m, w, c, &oldest->remote, err) < 0)
		return NULL;
	oldest->canvas = c;
	oldest->born_ns = c->born_ns;
	oldest->version = UINT64_MAX;
	oldest->used = w->calls;
	return oldest;
}

/* Pages end on the grid, the device's canvas with the image. */
static int
write_page(const struct fg_backend *b, struct fg_remote *r, const struct fg_canvas *c,
    const struct fg_page *p, struct fg_err *err)
{
	float part[FG_PAGE_VOXELS];
	int64_t size[3];
	struct fg_box vx;

	for (int d = 0; d < 3; d++) {
		vx.lo[d] = p->at[d] * FG_PAGE;
		vx.hi[d] = FG_MIN(vx.lo[d] + FG_PAGE, c->image->shape[d]);
		size[d] = vx.hi[d] - vx.lo[d];
	}
	fg_canvas_gather(c, vx.lo, size, part);
	return b->canvas_write(r, &vx, part, err);
}

/* Have the device hold all canvases of the steps as they are now. */
static int
hold_all(struct fg_model *m, struct fg_step_work *w, int n,
    struct fg_step *const *steps, struct fg_err *err)
{
	w->calls++;
	for (int i = 0; i < n; i++) {
		const struct fg_canvas *c = steps[i]->canvas;
		struct held *h = hold(m, w, c, err);

		if (!h)
			return -1;
		steps[i]->remote = h->remote;
		if (h->version == c->version)
			continue;
		if (m->backend->canvas_clear(h->remote, err) < 0)
			return -1;
		for (size_t k = 0; k < c->used; k++) {
			if (write_page(m->backend, h->remote, c, c->page[k], err) < 0)
				return -1;
		}
		h->version = c->version;
	}
	return 0;
}

/* What the device's canvas of a step is now. */
static void
note_version(struct fg_step_work *w, const struct fg_step *s, uint64_t version)
{
	for (int i = 0; i < w->held_n; i++) {
		if (w->held[i].remote == s->remote)
			w->held[i].version = version;
	}
}

struct arrival {
	struct fg_model *m;
	struct fg_step_work *w;
	struct fg_step *const *steps;
	struct fg_err *err;
	int rc;
};

/* Of the device's steps to the host's canvases, while it works on the next ones. */
static void
arrive(void *arg, int from, int n, const float *patch)
{
	struct arrival *a = arg;
	size_t voxels = (size_t)(a->m->fov[0] * a->m->fov[1] * a->m->fov[2]);
	int64_t lo[3];

	for (int i = 0; i < n && a->rc == 0; i++) {
		struct fg_step *s = a->steps[from + i];

		patch_corner(a->m, s, lo);
		a->rc = fg_canvas_scatter(s->canvas, lo, a->m->fov,
		    patch + (size_t)i * voxels, a->err);
		if (a->rc == 0) {
			/* The host's after its scatter. */
			note_version(a->w, s, s->canvas->version);
			s->done = true;
		}
	}
}

static int
step_remote(struct fg_model *m, struct fg_step_work *w, int n,
    struct fg_step *const *steps, struct fg_err *err)
{
	struct arrival a = {m, w, steps, err, 0};

	int rc = m->backend->step(m, n, steps, arrive, &a, err);
	/* The device may have written what the host has not got: to be written anew. */
	for (int i = 0; i < n; i++) {
		if (!steps[i]->done)
			note_version(w, steps[i], UINT64_MAX);
	}
	return rc < 0 ? -1 : a.rc;
}

int
fg_step_run(struct fg_model *m, struct fg_step_work *w, int n,
    struct fg_step *const *steps, struct fg_err *err)
{
	size_t voxels = (size_t)(m->fov[0] * m->fov[1] * m->fov[2]);
	int64_t lo[3];

	for (int i = 0; i < n; i++)
		steps[i]->done = false;
	if (w->held) {
		struct fg_err full = FG_ERR_INIT;

		if (hold_all(m, w, n, steps, &full) == 0)
			return step_remote(m, w, n, steps, err);
		if (full.code != FG_ENOMEM)
			return fg_fail(err, full.code, "%s", full.msg);
		/* No room for the canvases: the host's own. */
	}
	for (int i = 0; i < n; i++) {
		struct fg_step *s = steps[i];
		float *image = w->in + (size_t)i * 2 * voxels, *logit = image + voxels;
		float *old = w->old + (size_t)i * voxels;

		patch_corner(m, s, lo);
		fg_canvas_gather_image(s->canvas, lo, m->fov, image);
		fg_canvas_gather(s->canvas, lo, m->fov, old);
		for (size_t k = 0; k < voxels; k++)
			logit[k] = isnan(old[k]) ? s->params->pad : old[k];
	}
	if (m->backend->forward(m, n, w->in, w->out, err) < 0)
		return -1;
	for (int i = 0; i < n; i++) {
		struct fg_step *s = steps[i];
		float *logit = w->out + (size_t)i * voxels;

		fg_step_freeze(s->params, voxels, w->old + (size_t)i * voxels, logit);
		patch_corner(m, s, lo);
		if (fg_canvas_scatter(s->canvas, lo, m->fov, logit, err) < 0)
			return -1;
		s->faces = fg_step_faces(s->params, m->fov, logit, s->face);
		s->done = true;
	}
	return 0;
}
