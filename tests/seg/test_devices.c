/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One table for every device that this machine has, at every precision that it does in
 * hardware: cores, GPUs where their plug-in is installed, and the CUDA plug-in emulated
 * on the host (tests/cuda/emulate.h), which is always there. Truth are the plain loops
 * of fg_device_reference and, for steps, the host's canvas. Adding a device adds
 * nothing here.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "seg/batcher.h"
#include "seg/canvas.h"
#include "seg/plugin.h"
#include "seg/probe.h"
#include "seg/segment.h"
#include "tests/tap.h"

#define BATCH 64

static struct fg_err err = FG_ERR_INIT;

static bool FG_PRINTF(2, 3) did(int rc, const char *fmt, ...)
{
	char what[160];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof what, fmt, ap);
	va_end(ap);
	return tap_rc(rc, &err, what);
}

static float
noise(uint32_t *s)
{
	*s = *s * 1664525u + 1013904223u;
	return (float)(*s >> 8) / (float)(1 << 23) - 1;
}

static size_t
voxels_of(const struct fg_net *net)
{
	return (size_t)(net->shape.fov[0] * net->shape.fov[1] * net->shape.fov[2]);
}

static float *
make_patches(size_t voxels, int n, uint32_t s)
{
	float *p = fg_alloc(2 * voxels * (size_t)n * sizeof *p);

	for (size_t i = 0; i < 2 * voxels * (size_t)n; i++)
		p[i] = 3 * noise(&s);
	return p;
}

/* ------------------------------------------------------------- numbers */

/* Errors relative to the size of the update, which networks differ in. */
struct bound {
	double rms, max;
};

static const struct bound bounds[] = {
    [FG_PREC_F32] = {1e-5, 1e-4},
    [FG_PREC_BF16] = {8e-3, 3e-2},
    [FG_PREC_F16] = {1.2e-3, 5e-3},
};

/* A field of view with three different edges, more than one tile of it. */
static void
numbers(const char *name, struct fg_device *dev, enum fg_precision prec, int features,
    int depth)
{
	struct fg_net *net = fg_probe_net(depth, features, 9);
	struct fg_model *m = NULL;
	double sum = 0, max = 0, scale = 0;

	net->shape.fov[0] = 11;
	net->shape.fov[2] = 7;
	size_t n = voxels_of(net);
	float *in = make_patches(n, 1, 5), *out = fg_alloc(2 * n * sizeof *out);
	if (did(dev->backend->load(dev, net, prec, 1, &m, &err),
		"%s %s, %d modules of %d features", name, fg_precision_name(prec),
		depth, features) &&
	    did(m->backend->forward(m, 1, in, out, &err), "forward") &&
	    did(fg_device_reference(net, in, out + n, &err), "plain loops")) {
		for (size_t i = 0; i < n; i++) {
			double e = fabs((double)out[i] - out[n + i]);
			double u = (double)out[n + i] - in[n + i];

			sum += e * e;
			scale += u * u;
			max = fmax(max, e);
		}
		double size = sqrt(scale / (double)n);
		double rms = sqrt(sum / (double)n) / size;
		max /= size;
		tap_ok(rms <= bounds[prec].rms && max <= bounds[prec].max,
		    "%s %s: rms %.2g, max %.2g of the update (at most %g, %g)", name,
		    fg_precision_name(prec), rms, max, bounds[prec].rms,
		    bounds[prec].max);
	}
	if (m)
		m->backend->unload(m);
	free(in);
	free(out);
	fg_net_free(net);
}

/* ------------------------------------------------------------- places */

/* Different patches alone, and 8 and 64 at a time: the same bits, in every place. */
static void
places(const char *name, struct fg_device *dev, enum fg_precision prec)
{
	static const int sizes[] = {8, BATCH};
	struct fg_net *net = fg_probe_net(2, 16, 5);
	size_t n = voxels_of(net);
	float *in = make_patches(n, BATCH, 8);
	float *one = fg_alloc(n * BATCH * sizeof *one);
	float *all = fg_alloc(n * BATCH * sizeof *all);
	struct fg_model *m = NULL;
	size_t wrong = 0;

	if (!did(dev->backend->load(dev, net, prec, BATCH, &m, &err), "load for %d",
		BATCH))
		goto out;
	for (int i = 0; i < BATCH; i++)
		if (m->backend->forward(m, 1, in + 2 * n * (size_t)i,
			one + n * (size_t)i, &err) < 0)
			wrong++;
	for (size_t k = 0; k < FG_COUNTOF(sizes); k++) {
		int size = FG_MIN(sizes[k], m->batch_max);

		/* Later by one place each time, so that every patch sees every place.
		 */
		for (int from = 0; from + size <= BATCH; from += size == 8 ? 7 : size) {
			if (m->backend->forward(m, size, in + 2 * n * (size_t)from, all,
				&err) < 0)
				wrong++;
			wrong += memcmp(all, one + n * (size_t)from,
				     n * (size_t)size * sizeof *all) != 0;
		}
	}
	tap_int(wrong, 0, "%s %s: the same bits at 1, 8 and %d, in every place", name,
	    fg_precision_name(prec), m->batch_max);
	m->backend->unload(m);
out:
	free(in);
	free(one);
	free(all);
	fg_net_free(net);
}

/* ------------------------------------------------------------- steps */

enum { NX = 19, NY = 17, NZ = 23, FLOODS = 3 };

static bool
same_logits(const struct fg_canvas *a, const struct fg_canvas *b)
{
	static float x[NX * NY * NZ], y[NX * NY * NZ];
	const int64_t lo[3] = {0, 0, 0}, size[3] = {NX, NY, NZ};

	fg_canvas_gather(a, lo, size, x);
	fg_canvas_gather(b, lo, size, y);
	for (size_t i = 0; i < FG_COUNTOF(x); i++) {
		if (!(x[i] == y[i] || (isnan(x[i]) && isnan(y[i]))))
			return false;
	}
	return true;
}

static bool
same_faces(const struct fg_step *a, const struct fg_step *b)
{
	if (a->faces != b->faces)
		return false;
	for (int i = 0; i < a->faces; i++) {
		if (a->face[i].score != b->face[i].score ||
		    memcmp(a->face[i].off, b->face[i].off, 3) != 0)
			return false;
	}
	return true;
}

struct steps {
	struct fg_model *m;
	const struct fg_backend *real, *plain; /* plain: without steps of its own */
	struct fg_step_work *own, *host;
	struct fg_canvas *a[FLOODS], *b[FLOODS];
	struct fg_step_params params;
	size_t wrong, faces;
};

/* FLOODS steps at once by the device, one after the other by the host. */
static int
round_of_steps(struct steps *t, uint32_t *seed)
{
	struct fg_step a[FLOODS], b[FLOODS], *p[FLOODS];

	for (int i = 0; i < FLOODS; i++) {
		a[i] = (struct fg_step){.canvas = t->a[i], .params = &t->params};
		for (int d = 0; d < 3; d++) {
			const int64_t size[3] = {NX, NY, NZ};
			int64_t r = t->m->fov[d] / 2;
			float u = (noise(seed) + 1) / 2;

			a[i].centre[d] = r + (int64_t)(u * (float)(size[d] - 2 * r));
			a[i].centre[d] = FG_MIN(a[i].centre[d], size[d] - 1 - r);
		}
		b[i] = a[i];
		b[i].canvas = t->b[i];
		p[i] = &a[i];
	}
	int most = FG_MIN(t->m->batch_max, FLOODS);
	for (int i = 0; i < FLOODS; i += most)
		if (fg_step_run(t->m, t->own, FG_MIN(most, FLOODS - i), p + i, &err) <
		    0)
			return -1;
	for (int i = 0; i < FLOODS; i++) {
		struct fg_step *q = &b[i];

		t->m->backend = t->plain;
		int rc = fg_step_run(t->m, t->host, 1, &q, &err);
		t->m->backend = t->real;
		if (rc < 0)
			return -1;
		t->wrong += !same_faces(&a[i], &b[i]);
		t->wrong += !same_logits(t->a[i], t->b[i]);
		t->faces += (size_t)a[i].faces;
	}
	return 0;
}

static int
run_steps(struct steps *t)
{
	uint32_t seed = 77;

	for (int k = 0; k < 8; k++) {
		/* A host that writes, a flood that ends, the rule off and on. */
		if (k == 3 || k == 6) {
			const int64_t at[3] = {k, 9, 11};

			if (k == 6) {
				fg_canvas_clear(t->a[1]);
				fg_canvas_clear(t->b[1]);
			}
			if (fg_canvas_set(t->a[1], at, 2.5f, &err) < 0 ||
			    fg_canvas_set(t->b[1], at, 2.5f, &err) < 0)
				return -1;
		}
		if (k == 4)
			fg_step_work_idle(t->own);
		t->params.freeze = k % 3 == 2 ? -1 : 0;
		if (round_of_steps(t, &seed) < 0)
			return -1;
	}
	return 0;
}

/* What the device holds, asked directly: a box across pages. */
static void
read_back(struct steps *t)
{
	static float got[7 * 6 * 5], want[7 * 6 * 5];
	const struct fg_box box = {{12, 11, 13}, {19, 17, 18}};
	const int64_t size[3] = {7, 6, 5};
	struct fg_step s = {.canvas = t->a[0],
			   .params = &t->params,
			   .centre = {9, 8, 11}},
		       *p = &s;
	size_t wrong = 0;

	if (!did(fg_step_run(t->m, t->own, 1, &p, &err), "one more step") ||
	    !did(t->m->backend->canvas_read(s.remote, &box, got, &err),
		"the device's canvas"))
		return;
	fg_canvas_gather(t->a[0], box.lo, size, want);
	for (size_t i = 0; i < FG_COUNTOF(got); i++)
		wrong += !(got[i] == want[i] || (isnan(got[i]) && isnan(want[i])));
	tap_int(wrong, 0, "is the host's");
}

static void
steps(const char *name, struct fg_device *dev, enum fg_precision prec, bool wide)
{
	const int64_t shape[4] = {NX, NY, NZ, 1};
	struct fg_net *net = fg_probe_net(2, 16, 9);
	struct fg_array image = FG_ARRAY_INIT;
	struct fg_backend without;
	struct steps t = {.m = NULL};
	uint32_t s = 4;

	net->shape.fov[1] = 7;
	if (fg_array_init(&image, wide ? FG_U16 : FG_U8, shape, &err) < 0)
		abort();
	for (size_t i = 0; i < NX * NY * NZ * (wide ? 2 : 1); i++)
		((uint8_t *)image.data)[i] = (uint8_t)(127 + 100 * noise(&s));
	t.params = (struct fg_step_params){.init = 3,
	    .pad = -0.5f,
	    .move = 0.25f,
	    .segment = 0.4f,
	    .delta = {2, 3, (int8_t)(wide ? 0 : 4)}};
	if (!did(dev->backend->load(dev, net, prec, FLOODS, &t.m, &err),
		"%s %s: steps on a %d-bit image", name, fg_precision_name(prec),
		wide ? 16 : 8))
		goto out;
	t.real = t.m->backend;
	without = *t.real;
	without.step = NULL;
	t.plain = &without;
	t.own = fg_step_work_new(t.m, &err);
	t.m->backend = t.plain;
	t.host = fg_step_work_new(t.m, &err);
	t.m->backend = t.real;
	for (int i = 0; i < FLOODS; i++) {
		t.a[i] = fg_canvas_new(&image, wide ? 30000 : 128, wide ? 9000 : 33);
		t.b[i] = fg_canvas_new(&image, wide ? 30000 : 128, wide ? 9000 : 33);
	}
	int rc = t.own && t.host ? run_steps(&t) : -1;
	did(rc, "8 rounds of %d floods", FLOODS);
	tap_int(t.wrong, 0, "logits and faces are the host's, bit for bit");
	tap_ok(t.faces > 20, "there were faces (%zu)", t.faces);
	if (t.real->step)
		read_back(&t);
	fg_step_work_free(t.own);
	fg_step_work_free(t.host);
	for (int i = 0; i < FLOODS; i++) {
		fg_canvas_free(t.a[i]);
		fg_canvas_free(t.b[i]);
	}
	t.m->backend->unload(t.m);
out:
	fg_array_fini(&image);
	fg_net_free(net);
}

/* ------------------------------------------------------------- an idle device */

/* Canvases in the memory of a device, counted between the steps and the back end. */
static const struct fg_backend *counted;
static _Atomic int canvases, opened;

static int
count_open(struct fg_model *m, const struct fg_array *image, double mean, double stddev,
    struct fg_remote **out, struct fg_err *e)
{
	int rc = counted->canvas_open(m, image, mean, stddev, out, e);

	canvases += rc == 0;
	opened += rc == 0;
	return rc;
}

static void
count_close(struct fg_remote *r)
{
	counted->canvas_close(r);
	canvases--;
}

struct idle_server {
	struct fg_batcher *b;
	struct fg_model *m;
};

static void *
serve_idle(void *arg)
{
	struct idle_server *s = arg;

	return fg_batcher_serve_model(s->b, s->m, NULL) == 0 ? s : NULL;
}

static bool
one_step(struct fg_client *c, struct fg_step *s)
{
	struct fg_request r = {.step = s};

	fg_client_active(c, 1);
	fg_client_submit(c, &r);
	for (int i = 0; i < 60 && fg_client_take(c, FG_NS_PER_S) != &r; i++) {
	}
	fg_client_active(c, 0);
	return r.rc == 0;
}

/* Memory on a GPU is not kept while nothing is flooded, though the block stays. */
static void
idle(const char *name, struct fg_device *dev, enum fg_precision prec)
{
	const int64_t shape[4] = {NX, NY, NZ, 1};
	const struct fg_step_params params = {.init = 3,
	    .pad = -0.5f,
	    .move = 0.25f,
	    .segment = 0.4f,
	    .freeze = -1,
	    .delta = {2, 2, 2}};
	_Atomic int cls = FG_INTERACTIVE;
	struct fg_net *net = fg_probe_net(2, 16, 9);
	struct fg_array image = FG_ARRAY_INIT;
	struct idle_server s = {NULL, NULL};
	struct fg_backend counting;
	pthread_t thread;
	void *ended;

	if (fg_array_init(&image, FG_U8, shape, &err) < 0)
		abort();
	memset(image.data, 99, NX * NY * NZ);
	if (!did(dev->backend->load(dev, net, prec, 1, &s.m, &err), "%s: to be idle",
		name))
		goto out;
	counted = s.m->backend;
	if (!counted->step) {
		s.m->backend->unload(s.m);
		goto out;
	}
	counting = *counted;
	counting.canvas_open = count_open;
	counting.canvas_close = count_close;
	s.m->backend = &counting;
	canvases = opened = 0;
	s.b = fg_batcher_new(net, prec, 0, &err);
	if (!s.b || pthread_create(&thread, NULL, serve_idle, &s) != 0)
		abort();
	struct fg_client *client = fg_client_enter(s.b, &cls);
	struct fg_canvas *canvas = fg_canvas_new(&image, 128, 33);
	struct fg_step step = {.canvas = canvas,
	    .params = &params,
	    .centre = {NX / 2, NY / 2, NZ / 2}};

	for (int k = 0; k < 2; k++) {
		tap_ok(one_step(client, &step), "a step%s", k ? " after that" : "");
		tap_int(opened, k + 1, "the device took its canvas");
		for (int i = 0; i < 1000 && canvases > 0; i++)
			usleep(10000);
		tap_int(canvases, 0, "and gives its memory back when nothing follows");
	}
	fg_client_leave(client);
	fg_canvas_free(canvas);
	fg_batcher_stop(s.b);
	pthread_join(thread, &ended);
	tap_ok(ended != NULL, "the device served to the end");
	fg_batcher_free(s.b);
	counted->unload(s.m);
out:
	fg_array_fini(&image);
	fg_net_free(net);
}

/* ------------------------------------------------------------- a loss */

/* The emulated device, which works in parts of two, breaks down in the second: what it
 * had done stands, of the others there is no trace. */
static void
loss(const char *name, struct fg_device *dev)
{
	const int64_t shape[4] = {NX, NY, NZ, 1}, centre[3] = {NX / 2, NY / 2, NZ / 2};
	const struct fg_step_params params = {.init = 3, .pad = -0.5f, .freeze = -1};
	struct fg_net *net = fg_probe_net(2, 16, 9);
	struct fg_step step[FLOODS], *p[FLOODS];
	struct fg_array image = FG_ARRAY_INIT;
	struct fg_step_work *w = NULL;
	struct fg_model *m = NULL;

	if (fg_array_init(&image, FG_U8, shape, &err) < 0)
		abort();
	memset(image.data, 99, NX * NY * NZ);
	if (!did(dev->backend->load(dev, net, FG_PREC_F32, FLOODS, &m, &err),
		"%s: to be lost", name) ||
	    !(w = fg_step_work_new(m, &err)))
		goto out;
	for (int i = 0; i < FLOODS; i++) {
		step[i] = (struct fg_step){.canvas = fg_canvas_new(&image, 128, 33),
		    .params = &params,
		    .centre = {centre[0], centre[1], centre[2]}};
		p[i] = &step[i];
	}
	setenv("FG_EMULATE_LOSS", "2", 1);
	tap_int(fg_step_run(m, w, FLOODS, p, &err), -1, "the device is lost: %s",
	    err.msg);
	unsetenv("FG_EMULATE_LOSS");
	fg_err_clear(&err);
	for (int i = 0; i < FLOODS; i++) {
		bool written = !isnan(fg_canvas_get(step[i].canvas, centre));

		tap_ok(step[i].done == (i < 2) && written == (i < 2), "step %d %s", i,
		    i < 2 ? "was done" : "left no trace");
		fg_canvas_free(step[i].canvas);
	}
out:
	fg_step_work_free(w);
	if (m)
		m->backend->unload(m);
	fg_array_fini(&image);
	fg_net_free(net);
}

/* ------------------------------------------------------------- half a call */

struct half {
	fg_step_fn *done;
	void *arg;
};

static void
first_only(void *arg, int from, int n, const float *patch)
{
	const struct half *h = arg;

	if (from == 0 && n > 0)
		h->done(h->arg, 0, 1, patch);
}

/* The device takes all steps, and says so of the first. */
static int
half_step(struct fg_model *m, int n, struct fg_step *const *steps, fg_step_fn *done,
    void *arg, struct fg_err *e)
{
	struct half h = {done, arg};

	if (n == 1)
		return counted->step(m, n, steps, done, arg, e);
	if (counted->step(m, n, steps, first_only, &h, e) < 0)
		return -1;
	return fg_fail(e, FG_ENOMEM, "half a call");
}

/* Of a call that fails, what was done is handed back as done. */
static void
half_batch(struct idle_server *s, struct fg_step step[2])
{
	struct fg_request r[2] = {{.step = &step[0]}, {.step = &step[1]}};
	struct fg_batcher_stats stats;
	_Atomic int cls = FG_INTERACTIVE;
	struct fg_client *client = fg_client_enter(s->b, &cls);
	pthread_t thread;
	int taken = 0;

	/* Both before anybody serves, so that they come into one call. */
	fg_client_active(client, 2);
	fg_client_submit(client, &r[0]);
	fg_client_submit(client, &r[1]);
	if (pthread_create(&thread, NULL, serve_idle, s) != 0)
		abort();
	for (int i = 0; i < 60 && taken < 2; i++)
		taken += fg_client_take(client, FG_NS_PER_S) != NULL;
	tap_ok(taken == 2 && r[0].rc == 0 && r[1].rc < 0 && r[1].err.code == FG_ENOMEM,
	    "the first was done, the second found no memory");
	fg_batcher_get_stats(s->b, &stats);
	tap_int((int64_t)stats.steps, 1, "one step counted");
	fg_client_active(client, 0);
	fg_client_leave(client);
	fg_batcher_stop(s->b);
	pthread_join(thread, NULL);
}

/* A step that the device took and the host did not get leaves no trace either. */
static void
half(const char *name, struct fg_device *dev)
{
	const int64_t shape[4] = {NX, NY, NZ, 1}, centre[3] = {NX / 2, NY / 2, NZ / 2};
	const struct fg_step_params params = {.init = 3, .pad = -0.5f, .freeze = -1};
	struct fg_net *net = fg_probe_net(2, 16, 9);
	struct fg_step step[3], *p[3];
	struct fg_array image = FG_ARRAY_INIT;
	struct fg_step_work *w = NULL;
	struct idle_server s = {NULL, NULL};
	struct fg_backend halving;

	if (fg_array_init(&image, FG_U8, shape, &err) < 0)
		abort();
	memset(image.data, 99, NX * NY * NZ);
	if (!did(dev->backend->load(dev, net, FG_PREC_F32, 2, &s.m, &err),
		"%s: for half a call", name))
		goto out;
	counted = s.m->backend;
	if (!counted->step)
		goto unload;
	halving = *counted;
	halving.step = half_step;
	s.m->backend = &halving;
	w = fg_step_work_new(s.m, &err);
	s.b = fg_batcher_new(net, FG_PREC_F32, 0, &err);
	if (!w || !s.b)
		abort();
	for (int i = 0; i < 3; i++) {
		step[i] = (struct fg_step){.canvas = fg_canvas_new(&image, 128, 33),
		    .params = &params,
		    .centre = {centre[0], centre[1], centre[2]}};
		p[i] = &step[i];
	}
	tap_int(fg_step_run(s.m, w, 2, p, &err), -1, "half of a call fails");
	fg_err_clear(&err);
	tap_ok(step[0].done && !step[1].done, "the second half");
	for (int i = 1; i < 3; i++)
		tap_rc(fg_step_run(s.m, w, 1, &p[i], &err), &err, "once more");
	float again = fg_canvas_get(step[1].canvas, centre);
	float first = fg_canvas_get(step[2].canvas, centre);
	tap_ok(again == first, "as the first time: %g and %g", (double)again,
	    (double)first);
	half_batch(&s, step);
	for (int i = 0; i < 3; i++)
		fg_canvas_free(step[i].canvas);
	fg_batcher_free(s.b);
	fg_step_work_free(w);
unload:
	counted->unload(s.m);
out:
	fg_array_fini(&image);
	fg_net_free(net);
}

/* ------------------------------------------------------------- refusals */

/* Shapes that a device may not take: right or refused with a reason, nothing else. */
static void
shapes(const char *name, struct fg_device *dev, enum fg_precision prec)
{
	static const int features[] = {8, 24, 48};

	for (size_t k = 0; k < FG_COUNTOF(features); k++) {
		struct fg_net *net = fg_probe_net(2, features[k], 5);
		struct fg_model *m = NULL;

		if (fg_device_load(dev, net, prec, 1, &m, &err) == 0)
			tap_ok(true, "%s %s takes %d features", name,
			    fg_precision_name(prec), features[k]);
		else
			tap_ok(err.code == FG_ENOTSUP &&
				   (strstr(err.msg, "features") ||
				       strstr(err.msg, "not implemented")),
			    "%s %s: %s", name, fg_precision_name(prec), err.msg);
		fg_err_clear(&err);
		if (m)
			m->backend->unload(m);
		fg_net_free(net);
	}
}

/* A processor that can do bf16, though not faster than f32. */
static bool
has_bf16_core(const struct fg_device_desc *d)
{
#if defined(__x86_64__)
	return strncmp(d->name, "cpu:", 4) == 0 && __builtin_cpu_supports("avx2") &&
	       __builtin_cpu_supports("fma");
#else
	(void)d;
	return false;
#endif
}

static void
one_device(const struct fg_device_desc *d)
{
	const struct fg_backend *b = NULL;
	struct fg_device *dev = NULL;
	int i = 0;

	if (!did(fg_device_find(d->name, &b, &i, &err), "%s", d->name) ||
	    !did(b->open(i, &dev, &err), "open"))
		return;
	printf("# %s: %s\n", d->name, d->detail);
	for (int p = FG_PREC_F32; p <= FG_PREC_F16; p++) {
		enum fg_precision prec = (enum fg_precision)p;

		if ((prec == FG_PREC_BF16 && !d->bf16 && !has_bf16_core(d)) ||
		    (prec == FG_PREC_F16 && !d->f16))
			continue;
		numbers(d->name, dev, prec, 32, 2);
		numbers(d->name, dev, prec, 16, 4);
		places(d->name, dev, prec);
		steps(d->name, dev, prec, prec == FG_PREC_F16);
		shapes(d->name, dev, prec);
		idle(d->name, dev, prec);
	}
	half(d->name, dev);
	if (strncmp(d->name, "emulated:", 9) == 0)
		loss(d->name, dev);
	b->close(dev);
}

int
main(void)
{
	const char *builddir = getenv("builddir");
	char *folders = fg_asprintf("%s/tests/cuda:%s", builddir ? builddir : ".",
	    builddir ? builddir : ".");
	struct fg_device_desc *d = NULL;
	bool emulated = false;
	size_t n = 0;

	fg_plugins_search(folders);
	if (!did(fg_devices_list(&d, &n, &err), "devices"))
		return tap_done();
	for (size_t i = 0; i < n; i++) {
		/* Cores are all the same. */
		if (!d[i].usable || (strncmp(d[i].name, "cpu:", 4) == 0 && i > 0))
			continue;
		emulated |= strcmp(d[i].name, "emulated:0") == 0;
		one_device(&d[i]);
	}
	tap_ok(emulated, "the emulated device was among them");
	free(d);
	free(folders);
	return tap_done();
}
