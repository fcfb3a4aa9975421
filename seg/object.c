/* SPDX-License-Identifier: Apache-2.0 */
/* Finished floods as pages of bits; pages without a voxel of the object are left out.
 */
#include "config.h"

#include "seg/object.h"

#include <math.h>
#include <stdlib.h>

struct bits {
	int64_t at[3];                     /* page grid */
	uint64_t bit[FG_PAGE_VOXELS / 64]; /* x fastest */
	uint8_t *prob;                     /* FG_PAGE_VOXELS, or NULL */
};

struct fg_object {
	bool weak;
	int32_t (*centre)[3];
	size_t centres;
	struct bits *page;
	size_t pages, cap;
};

uint8_t
fg_object_quantise(float logit)
{
	float p = 1 / (1 + expf(-logit));

	return (uint8_t)(floorf(p * 254) + 1);
}

static int
add_page(struct fg_object *o, const struct fg_page *p, float threshold, bool prob,
    struct fg_err *err)
{
	struct bits b = {.prob = NULL};
	uint64_t any = 0;

	for (size_t i = 0; i < FG_PAGE_VOXELS; i++)
		b.bit[i / 64] |= (uint64_t)(p->logit[i] >= threshold) << i % 64;
	for (size_t i = 0; i < FG_COUNTOF(b.bit); i++)
		any |= b.bit[i];
	if (!any)
		return 0;
	memcpy(b.at, p->at, sizeof b.at);
	if (prob) {
		b.prob = fg_try_alloc(FG_PAGE_VOXELS, 1);
		if (!b.prob)
			return fg_fail(err, FG_ENOMEM,
			    "no memory for a page of probabilities");
		for (size_t i = 0; i < FG_PAGE_VOXELS; i++)
			b.prob[i] = b.bit[i / 64] >> i % 64 & 1
					? fg_object_quantise(p->logit[i])
					: 0;
	}
	if (o->pages == o->cap) {
		o->cap = o->cap ? 2 * o->cap : 16;
		o->page = fg_realloc(o->page, o->cap, sizeof *o->page);
	}
	o->page[o->pages++] = b;
	return 0;
}

struct fg_object *
fg_object_take(struct fg_flood *f, bool prob, struct fg_err *err)
{
	struct fg_object *o = fg_calloc(1, sizeof *o);

	o->weak = f->weak;
	o->centre = f->centre;
	o->centres = f->centres;
	f->centre = NULL;
	f->centres = f->centres_cap = 0;
	if (o->weak || o->centres == 0)
		return o;
	for (size_t i = 0; i < fg_canvas_pages(f->canvas); i++) {
		if (add_page(o, fg_canvas_page(f->canvas, i), f->params->segment, prob,
			err) < 0) {
			fg_object_free(o);
			return NULL;
		}
	}
	return o;
}

void
fg_object_free(struct fg_object *o)
{
	if (!o)
		return;
	for (size_t i = 0; i < o->pages; i++)
		free(o->page[i].prob);
	free(o->page);
	free(o->centre);
	free(o);
}

bool
fg_object_is_weak(const struct fg_object *o)
{
	return o->weak;
}

size_t
fg_object_centres(const struct fg_object *o)
{
	return o->centres;
}

const int32_t *
fg_object_centre(const struct fg_object *o, size_t i)
{
	fg_assert(i < o->centres);
	return o->centre[i];
}

/* Index of a page's voxel in the box. */
static size_t
voxel_of(const struct bits *b, size_t i, const int64_t shape[3])
{
	int64_t x = b->at[0] * FG_PAGE + (int64_t)(i % FG_PAGE);
	int64_t y = b->at[1] * FG_PAGE + (int64_t)(i / FG_PAGE % FG_PAGE);
	int64_t z = b->at[2] * FG_PAGE + (int64_t)(i / (FG_PAGE * FG_PAGE));

	return (size_t)((z * shape[1] + y) * shape[0] + x);
}

int64_t
fg_object_count(const struct fg_object *o, const uint32_t *labels,
    const int64_t shape[3])
{
	int64_t n = 0;

	for (size_t k = 0; k < o->pages; k++) {
		for (size_t i = 0; i < FG_PAGE_VOXELS; i++) {
			if (o->page[k].bit[i / 64] >> i % 64 & 1)
				n += labels[voxel_of(&o->page[k], i, shape)] == 0;
		}
	}
	return n;
}

void
fg_object_write(const struct fg_object *o, uint32_t id, uint32_t *labels, uint8_t *prob,
    const int64_t shape[3])
{
	for (size_t k = 0; k < o->pages; k++) {
		const struct bits *b = &o->page[k];

		for (size_t i = 0; i < FG_PAGE_VOXELS; i++) {
			if (!(b->bit[i / 64] >> i % 64 & 1))
				continue;
			size_t v = voxel_of(b, i, shape);
			if (labels[v] != 0)
				continue;
			labels[v] = id;
			if (prob && b->prob)
				prob[v] = b->prob[i];
		}
	}
}
