/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plug-in for the tests: plain loops behind the interface of devices, nothing of
 * floodgate linked. Each of its devices has a behaviour of its own (below). Compiled
 * several times; FAKE_... makes the broken ones.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "seg/plugin.h"

/* Device numbers. */
enum {
	GOOD,
	SMALL,  /* memory for 4 patches */
	FULL,   /* for none */
	LOST,   /* goes at the third call with patches of more than 9 voxels' edge */
	WRONG,  /* computes something else */
	UNEVEN, /* the last place of a batch differs in one bit */
	ABSENT, /* listed, with a reason why not */
	SHUT,   /* cannot be opened */
	DEVICES,
};

#define SMALL_BATCH 4

struct fake_model {
	struct fg_model base;
	const struct fg_net *net;
	int device, calls;
	float *work; /* 3 * voxels * widest layer */
};

static int
fail(struct fg_err *err, enum fg_code code, const char *msg)
{
	if (err && err->code == FG_OK) {
		err->code = code;
		snprintf(err->msg, sizeof err->msg, "%s", msg);
	}
	return -1;
}

static int
count(void)
{
	return DEVICES;
}

static void
describe(int i, struct fg_device_desc *d)
{
	snprintf(d->name, sizeof d->name, "fake:%d", i);
	snprintf(d->detail, sizeof d->detail, "plain loops");
	d->usable = i != ABSENT;
	d->memory = UINT64_C(1) << 30;
	if (i == ABSENT)
		snprintf(d->why, sizeof d->why, "it is not there");
}

static const struct fg_backend backend;

static int
open_device(int i, struct fg_device **out, struct fg_err *err)
{
	struct fg_device *d;

	if (i == SHUT)
		return fail(err, FG_EIO, "the door is shut");
	d = calloc(1, sizeof *d);
	if (!d)
		return fail(err, FG_ENOMEM, "no memory");
	d->backend = &backend;
	d->index = i;
	*out = d;
	return 0;
}

static void
close_device(struct fg_device *d)
{
	free(d);
}

static int
load(struct fg_device *d, const struct fg_net *net, enum fg_precision prec,
    int batch_max, struct fg_model **out, struct fg_err *err)
{
	size_t voxels = 1, wide = 2;
	struct fake_model *m;

	if (prec != FG_PREC_F32)
		return fail(err, FG_ENOTSUP, "only f32");
	if (d->index == FULL || (d->index == SMALL && batch_max > SMALL_BATCH))
		return fail(err, FG_ENOMEM, "out of device memory");
	m = calloc(1, sizeof *m);
	for (int k = 0; k < 3; k++) {
		m->base.fov[k] = net->shape.fov[k];
		voxels *= (size_t)net->shape.fov[k];
	}
	for (int i = 0; i < net->convs; i++)
		wide =
		    (size_t)net->conv[i].out > wide ? (size_t)net->conv[i].out : wide;
	m->base.backend = &backend;
	m->base.batch_max = batch_max;
	m->net = net;
	m->device = d->index;
	m->work = calloc(3 * voxels * wide, sizeof *m->work);
	*out = &m->base;
	return 0;
}

static void
unload(struct fg_model *base)
{
	free(((struct fake_model *)base)->work);
	free(base);
}

/* Planes of channels, unlike any other implementation here: src[c][z][y][x]. */
static void
conv(const struct fg_conv *c, const int64_t fov[3], const float *src, float *dst)
{
	const int64_t X = fov[0], Y = fov[1], Z = fov[2], r = c->k / 2;

	for (int o = 0; o < c->out; o++) {
		float *plane = dst + o * X * Y * Z;

		for (int64_t i = 0; i < X * Y * Z; i++)
			plane[i] = c->b[o];
		for (int k = 0; k < c->k * c->k * c->k * c->in; k++) {
			int64_t t = k / c->in, i = k % c->in;
			int64_t dx = t % c->k - r, dy = t / c->k % c->k - r,
				dz = t / (c->k * c->k) - r;
			const float w = c->w[(t * c->in + i) * c->out + o];
			const float *from = src + i * X * Y * Z;

			for (int64_t v = 0; v < X * Y * Z; v++) {
				int64_t x = v % X + dx, y = v / X % Y + dy,
					z = v / (X * Y) + dz;

				if (x >= 0 && y >= 0 && z >= 0 && x < X && y < Y &&
				    z < Z)
					plane[v] += w * from[(z * Y + y) * X + x];
			}
		}
	}
}

static void
relu(float *dst, const float *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = src[i] > 0 ? src[i] : 0;
}

static void
one_patch(struct fake_model *m, const float *in, float *out)
{
	const struct fg_net *net = m->net;
	const int64_t *fov = m->base.fov;
	size_t n = (size_t)(fov[0] * fov[1] * fov[2]);
	size_t stream = n * (size_t)net->conv[1].out;
	size_t most = stream > 2 * n ? stream : 2 * n;
	float *r = m->work, *a = r + most, *b = a + most;

	for (int i = 0; i < net->depth; i++) {
		if (i > 0)
			relu(a, r, stream);
		conv(&net->conv[2 * i], fov, i > 0 ? a : in, b);
		relu(b, b, n * (size_t)net->conv[2 * i].out);
		conv(&net->conv[2 * i + 1], fov, b, a);
		for (size_t k = 0; k < stream; k++)
			r[k] = i > 0 ? r[k] + a[k] : a[k];
	}
	relu(a, r, stream);
	conv(&net->conv[net->convs - 1], fov, a, out);
	for (size_t k = 0; k < n; k++)
		out[k] += in[n + k];
}

static int
forward(struct fg_model *base, int n, const float *in, float *out, struct fg_err *err)
{
	struct fake_model *m = (struct fake_model *)base;
	size_t voxels = (size_t)(base->fov[0] * base->fov[1] * base->fov[2]);

	if (m->device == LOST && base->fov[0] > 9 && ++m->calls >= 3)
		return fail(err, FG_EIO, "the device fell off its bus");
	for (int i = 0; i < n; i++)
		one_patch(m, in + 2 * voxels * (size_t)i, out + voxels * (size_t)i);
	if (m->device == WRONG)
		out[voxels / 2] += 100;
	if (m->device == UNEVEN && n > 1)
		((uint32_t *)out)[voxels * (size_t)n - 1] ^= 1;
	return 0;
}

static const struct fg_backend backend = {
#ifdef FAKE_OLD
    .abi = FG_BACKEND_ABI - 1,
#else
    .abi = FG_BACKEND_ABI,
#endif
#ifdef FAKE_SHORT
    .size = sizeof(struct fg_backend) - sizeof(void *),
#else
    .size = sizeof(struct fg_backend),
#endif
    .name = "fake",
    .count = count,
    .describe = describe,
    .open = open_device,
    .close = close_device,
    .load = load,
    .unload = unload,
#ifdef FAKE_GAPS
    .forward = DEVICES ? NULL : forward,
#else
    .forward = forward,
#endif
};

#ifndef FAKE_BARE
const struct fg_backend *fg_plugin(void);

const struct fg_backend *
fg_plugin(void)
{
	return &backend;
}
#endif
