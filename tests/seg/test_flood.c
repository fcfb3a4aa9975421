/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Movement: on a made-up network first (a device that answers with a rule), then twelve
 * objects of the published segmentation in f32, each flooded from its published start
 * with the objects before it in place.
 */
#include "config.h"

#include "seg/flood.h"

#include <math.h>

#include "tests/seg/sample.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

/* ------------------------------------------------------ a made-up network */

enum { SIDE = 40 };

/* Logits become 3 where the image is bright, -3 elsewhere. */
static int
bright_forward(struct fg_model *m, int n, const float *in, float *out, struct fg_err *e)
{
	size_t voxels = (size_t)(m->fov[0] * m->fov[1] * m->fov[2]);

	(void)e;
	for (int k = 0; k < n; k++) {
		for (size_t i = 0; i < voxels; i++)
			*out++ = in[i] > 0 ? 3 : -3;
		in += 2 * voxels;
	}
	return 0;
}

/* The start fades: below the threshold in the second field of view. */
static int
fading_forward(struct fg_model *m, int n, const float *in, float *out, struct fg_err *e)
{
	size_t voxels = (size_t)(m->fov[0] * m->fov[1] * m->fov[2]);
	bool again = false;

	(void)n;
	(void)e;
	for (size_t i = 0; i < voxels; i++)
		again = again || in[voxels + i] == 2.5f;
	for (size_t i = 0; i < voxels; i++)
		out[i] = again ? 1 : 2.5f;
	return 0;
}

struct made_up {
	struct fg_backend backend;
	struct fg_model model;
	struct fg_step_work *work;
	struct fg_step_params params;
	struct fg_flood flood;
	uint8_t image[SIDE * SIDE * SIDE];
	uint32_t labels[SIDE * SIDE * SIDE];
	uint8_t mask[SIDE * SIDE * SIDE];
	struct fg_array array;
};

static void
made_up_init(struct made_up *t,
    int (*forward)(struct fg_model *, int, const float *, float *, struct fg_err *))
{
	const struct fg_net_shape shape = {{9, 9, 9}, {2, 2, 2}, 100, 1};

	memset(t, 0, sizeof *t);
	t->backend.forward = forward;
	t->model =
	    (struct fg_model){.backend = &t->backend, .batch_max = 1, .fov = {9, 9, 9}};
	t->params = (struct fg_step_params){.init = 3,
	    .pad = -2,
	    .move = 2,
	    .segment = 0.5f,
	    .freeze = -1,
	    .delta = {2, 2, 2}};
	t->array = (struct fg_array){.dtype = FG_U8,
	    .shape = {SIDE, SIDE, SIDE, 1},
	    .data = t->image};
	t->work = fg_step_work_new(&t->model, &err);
	fg_flood_init(&t->flood, &t->array, &shape, &t->params);
}

static void
made_up_fini(struct made_up *t)
{
	fg_flood_fini(&t->flood);
	fg_step_work_free(t->work);
}

static size_t
index_of(int x, int y, int z)
{
	return (size_t)((z * SIDE + y) * SIDE + x);
}

static void
run_flood(struct fg_flood *f, struct fg_model *m, struct fg_step_work *w,
    const int64_t start[3], const uint32_t *labels, const uint8_t *mask)
{
	if (fg_flood_start(f, start, &err) < 0)
		tap_ok(false, "start: %s", err.msg);
	while (fg_flood_next(f, labels, mask)) {
		struct fg_step *s = &f->step;

		if (fg_step_run(m, w, 1, &s, &err) < 0) {
			tap_ok(false, "step: %s", err.msg);
			return;
		}
		fg_flood_took(f);
	}
}

static size_t
reached(const struct fg_flood *f, float threshold)
{
	size_t n = 0;

	for (size_t i = 0; i < fg_canvas_pages(f->canvas); i++) {
		const struct fg_page *p = fg_canvas_page(f->canvas, i);

		for (size_t k = 0; k < FG_PAGE_VOXELS; k++)
			n += p->logit[k] >= threshold;
	}
	return n;
}

/* A bright bar along x, 5 wide: followed to where a field of view no longer fits. */
static void
bar(void)
{
	const int64_t start[3] = {8, 20, 20};
	struct made_up *t = fg_alloc(sizeof *t);
	struct fg_flood *f = &t->flood;
	int64_t far = 0;

	made_up_init(t, bright_forward);
	for (int i = 0; i < SIDE * SIDE * SIDE; i++)
		t->image[i] =
		    abs(i / SIDE % SIDE - 20) <= 2 && abs(i / (SIDE * SIDE) - 20) <= 2
			? 200
			: 50;
	run_flood(f, &t->model, t->work, start, t->labels, NULL);
	for (size_t i = 0; i < f->centres; i++)
		far = FG_MAX(far, f->centre[i][0]);
	tap_int(far, 34, "the last centre has a whole field of view in the box");
	tap_ok(!f->weak, "the start stays");
	tap_int(reached(f, 0.5f), 39 * 25, "the bar up to 4 voxels past it");
	tap_ok(memcmp(f->centre[0], (int32_t[]){8, 20, 20}, 12) == 0,
	    "first the start");

	t->labels[index_of(20, 20, 20)] = 0;
	for (int y = 0; y < SIDE; y++) {
		for (int z = 0; z < SIDE; z++)
			t->labels[index_of(20, y, z)] = 7;
	}
	run_flood(f, &t->model, t->work, start, t->labels, NULL);
	size_t on_label = 0;
	for (size_t i = 0; i < f->centres; i++)
		on_label += f->centre[i][0] == 20;
	tap_int(on_label, 0, "an object's voxels are no centres");
	memset(t->labels, 0, sizeof t->labels);

	for (int x = 14; x < SIDE; x++) {
		for (int y = 0; y < SIDE; y++) {
			for (int z = 0; z < SIDE; z++)
				t->mask[index_of(x, y, z)] = 1;
		}
	}
	run_flood(f, &t->model, t->work, start, t->labels, t->mask);
	far = 0;
	for (size_t i = 0; i < f->centres; i++)
		far = FG_MAX(far, f->centre[i][0]);
	tap_int(far, 12, "nor are voxels without data");

	t->labels[index_of(8, 20, 20)] = 1;
	run_flood(f, &t->model, t->work, start, t->labels, NULL);
	tap_int(f->centres, 0, "a start on an object goes nowhere");
	made_up_fini(t);
	free(t);
}

static void
fading(void)
{
	const int64_t start[3] = {20, 20, 20};
	struct made_up *t = fg_alloc(sizeof *t);

	made_up_init(t, fading_forward);
	run_flood(&t->flood, &t->model, t->work, start, t->labels, NULL);
	tap_ok(t->flood.weak, "a start that fades ends the flood");
	tap_int(t->flood.centres, 2, "at once");
	made_up_fini(t);
	free(t);
}

/* ------------------------------------------------- published objects */

/* The id, start (z, y, x), fields of view and voxels of the published run. `alone`: on
 * an empty canvas. */
static const struct {
	int id, start[3], steps, voxels;
	bool alone;
} object[] = {
    {2, {16, 19, 228}, 7, 25434, true},
    {10, {16, 118, 128}, 11, 2979, true},
    {7, {16, 56, 145}, 8, 4986, false},
    {17, {17, 154, 205}, 7, 4275, false},
    {26, {19, 78, 139}, 14, 4160, false},
    {28, {20, 191, 226}, 8, 9093, false},
    {32, {23, 230, 93}, 7, 6882, false},
    {52, {52, 229, 230}, 8, 9403, false},
    {67, {64, 216, 222}, 13, 9138, false},
    {78, {72, 35, 29}, 12, 4855, false},
    {81, {80, 188, 175}, 14, 5248, false},
    {84, {81, 174, 16}, 2, 13786, false},
};

/* Voxels of the flood (free ones, at or above the segment threshold) and those that it
 * shares with published object id. */
static void
overlap(const struct fg_flood *f, const uint32_t *labels, const uint8_t *published,
    int id, int64_t *voxels, int64_t *both)
{
	*voxels = *both = 0;
	for (size_t i = 0; i < fg_canvas_pages(f->canvas); i++) {
		const struct fg_page *p = fg_canvas_page(f->canvas, i);

		for (size_t k = 0; k < FG_PAGE_VOXELS; k++) {
			int64_t x = p->at[0] * FG_PAGE + (int64_t)(k % FG_PAGE);
			int64_t y =
			    p->at[1] * FG_PAGE + (int64_t)(k / FG_PAGE % FG_PAGE);
			int64_t z =
			    p->at[2] * FG_PAGE + (int64_t)(k / FG_PAGE / FG_PAGE);
			int64_t v = (z * SAMPLE_SIDE + y) * SAMPLE_SIDE + x;

			if (!(p->logit[k] >= f->params->segment) || labels[v])
				continue;
			(*voxels)++;
			*both += published[v] == id;
		}
	}
}

static void
published(struct fg_model *m, const struct fg_net *net)
{
	const struct fg_step_params params = {.init = logf(0.95f / 0.05f),
	    .pad = logf(0.05f / 0.95f),
	    .move = logf(0.9f / 0.1f),
	    .segment = logf(0.6f / 0.4f),
	    .freeze = 0,
	    .delta = {8, 8, 8}};
	struct fg_step_work *w = fg_step_work_new(m, &err);
	struct fg_array image, seg;
	struct fg_flood f;

	sample_whole(&image);
	sample_published(&seg);
	const uint8_t *ids = seg.data;
	size_t n = fg_array_count(&seg);
	uint32_t *labels = fg_calloc(n, sizeof *labels);
	fg_flood_init(&f, &image, &net->shape, &params);
	for (size_t k = 0; k < FG_COUNTOF(object); k++) {
		const int *s = object[k].start, id = object[k].id;
		int64_t voxels, both;

		for (size_t i = 0; i < n; i++)
			labels[i] =
			    !object[k].alone && ids[i] && ids[i] < id ? ids[i] : 0;
		run_flood(&f, m, w, (int64_t[]){s[2], s[1], s[0]}, labels, NULL);
		overlap(&f, labels, ids, id, &voxels, &both);
		double iou = (double)both / (double)(voxels + object[k].voxels - both);
		printf("# object %d: %zu fields of view (%d), %lld voxels (%d), IoU "
		       "%.5f\n",
		    id, f.centres, object[k].steps, (long long)voxels, object[k].voxels,
		    iou);
		tap_ok(!f.weak && iou >= (object[k].alone ? 1 : 0.999), "object %d: %s",
		    id, iou == 1 ? "identical" : "IoU at least 0.999");
		tap_int(f.centres, object[k].steps, "object %d: fields of view", id);
	}
	fg_flood_fini(&f);
	fg_step_work_free(w);
	free(labels);
	fg_array_fini(&image);
	fg_array_fini(&seg);
}

int
main(void)
{
	struct fg_net *net = sample_net();
	struct fg_device *dev = NULL;
	struct fg_model *m = NULL;

	bar();
	fading();
	if (tap_rc(fg_backend_cpu.open(0, &dev, &err), &err, "open cpu:0") &&
	    tap_rc(fg_device_load(dev, net, FG_PREC_F32, 1, &m, &err), &err, "load")) {
		published(m, net);
		m->backend->unload(m);
	}
	if (dev)
		fg_backend_cpu.close(dev);
	fg_net_free(net);
	return tap_done();
}
