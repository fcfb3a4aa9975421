/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Movement (Januszewski et al. 2018; google/ffn FaceMaxMovementPolicy and
 * Canvas.segment_at). Candidates wait in a FIFO; a place is visited once per cell of
 * the movement step, the start being in the middle of its cell.
 *
 * The original asks in another order (labels first, then the centre's logit). Nothing
 * but the outcome of all questions together decides, so the labels are asked last:
 * then every voxel asked and found free is one that was predicted.
 */
#include "config.h"

#include "seg/flood.h"

#include <math.h>
#include <stdlib.h>

#define VISITED_FIRST 64 /* power of two */

/* Probabilities are floats in the published configuration. */
static float
logit(double p)
{
	double f = (double)(float)p;

	return (float)log(f / (1 - f));
}

void
fg_flood_step_params(const struct fg_flood_params *p, const struct fg_net_shape *shape,
    struct fg_step_params *out)
{
	*out = (struct fg_step_params){
	    .init = logit(p->init_activation),
	    .pad = logit(p->pad_value),
	    .move = logit(p->move_threshold),
	    .segment = logit(p->segment_threshold),
	    .freeze = (float)p->disco_seed_threshold,
	};
	for (int d = 0; d < 3; d++)
		out->delta[d] = (int8_t)shape->delta[d];
}

void
fg_flood_init(struct fg_flood *f, const struct fg_array *image,
    const struct fg_net_shape *shape, const struct fg_step_params *params)
{
	*f = (struct fg_flood){.params = params};
	memcpy(f->fov, shape->fov, sizeof f->fov);
	memcpy(f->shape, image->shape, sizeof f->shape);
	f->canvas = fg_canvas_new(image, shape->mean, shape->stddev);
	f->visited_slots = VISITED_FIRST;
	f->visited = fg_calloc(f->visited_slots, sizeof *f->visited);
}

void
fg_flood_fini(struct fg_flood *f)
{
	fg_canvas_free(f->canvas);
	free(f->centre);
	free(f->queue);
	free(f->visited);
	*f = (struct fg_flood){.canvas = NULL};
}

static void
push(struct fg_flood *f, const int64_t vx[3])
{
	if (f->queue_n == f->queue_cap) {
		f->queue_cap = f->queue_cap ? 2 * f->queue_cap : 64;
		f->queue = fg_realloc(f->queue, f->queue_cap, sizeof *f->queue);
	}
	for (int d = 0; d < 3; d++)
		f->queue[f->queue_n][d] = (int32_t)vx[d];
	f->queue_n++;
}

/* The cell of a voxel as one number, never 0. */
static uint64_t
cell_of(const struct fg_flood *f, const int64_t vx[3])
{
	uint64_t key = 1;

	for (int d = 0; d < 3; d++) {
		int64_t delta = FG_MAX(f->params->delta[d], 1);
		int64_t c = fg_div_floor(vx[d] - f->start[d] + delta / 2, delta);

		key = key << 21 | ((uint64_t)(c + (1 << 20)) & 0x1fffff);
	}
	return key;
}

static size_t
visited_slot(const struct fg_flood *f, uint64_t key)
{
	size_t i =
	    (size_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (f->visited_slots - 1);

	while (f->visited[i] != 0 && f->visited[i] != key)
		i = (i + 1) & (f->visited_slots - 1);
	return i;
}

static void
visit(struct fg_flood *f, uint64_t key)
{
	size_t i = visited_slot(f, key);

	if (f->visited[i] == key)
		return;
	f->visited[i] = key;
	if (2 * ++f->visited_n <= f->visited_slots)
		return;
	uint64_t *old = f->visited;
	size_t n = f->visited_slots;

	f->visited_slots *= 2;
	f->visited = fg_calloc(f->visited_slots, sizeof *f->visited);
	for (size_t k = 0; k < n; k++) {
		if (old[k])
			f->visited[visited_slot(f, old[k])] = old[k];
	}
	free(old);
}

int
fg_flood_start(struct fg_flood *f, const int64_t start[3], struct fg_err *err)
{
	fg_assert(fg_flood_fits(f, start));
	fg_canvas_clear(f->canvas);
	memcpy(f->start, start, sizeof f->start);
	f->centres = 0;
	f->queue_head = f->queue_n = 0;
	f->weak = false;
	f->visited_n = 0;
	memset(f->visited, 0, f->visited_slots * sizeof *f->visited);
	push(f, start);
	return fg_canvas_set(f->canvas, start, f->params->init, err);
}

bool
fg_flood_fits(const struct fg_flood *f, const int64_t vx[3])
{
	for (int d = 0; d < 3; d++) {
		int64_t margin = f->fov[d] / 2;

		if (vx[d] - margin < 0 || vx[d] + margin >= f->shape[d])
			return false;
	}
	return true;
}

bool
fg_flood_next(struct fg_flood *f, const uint32_t *labels, const uint8_t *mask)
{
	f->weak = !(fg_canvas_get(f->canvas, f->start) >= f->params->move);
	while (!f->weak && f->queue_head < f->queue_n) {
		const int32_t *c = f->queue[f->queue_head++];
		const int64_t vx[3] = {c[0], c[1], c[2]};
		size_t at;

		if (f->visited[visited_slot(f, cell_of(f, vx))] != 0 ||
		    !fg_flood_fits(f, vx) ||
		    !(fg_canvas_get(f->canvas, vx) >= f->params->move))
			continue;
		at = (size_t)((vx[2] * f->shape[1] + vx[1]) * f->shape[0] + vx[0]);
		if ((mask && mask[at]) || labels[at] != 0)
			continue;
		f->step = (struct fg_step){.canvas = f->canvas, .params = f->params};
		memcpy(f->step.centre, vx, sizeof vx);
		return true;
	}
	return false;
}

void
fg_flood_took(struct fg_flood *f)
{
	const struct fg_step *s = &f->step;

	if (f->centres == f->centres_cap) {
		f->centres_cap = f->centres_cap ? 2 * f->centres_cap : 64;
		f->centre = fg_realloc(f->centre, f->centres_cap, sizeof *f->centre);
	}
	for (int d = 0; d < 3; d++)
		f->centre[f->centres][d] = (int32_t)s->centre[d];
	f->centres++;
	visit(f, cell_of(f, s->centre));
	for (int i = 0; i < s->faces; i++) {
		int64_t vx[3];

		for (int d = 0; d < 3; d++)
			vx[d] = s->centre[d] + s->face[i].off[d];
		push(f, vx);
	}
}
