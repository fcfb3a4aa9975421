/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of back ends, and the check that every device passes before it may serve:
 * the same weights on a small field of view against plain loops. That catches a wrong
 * layout, a lost bias or relu, a broken driver; full-size patches are only checked for
 * being finite, since the loops would need a minute for one.
 */
#include "config.h"

#include "seg/device.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "seg/plugin.h"

#define CHECK_FOV 9

static const struct fg_backend *const builtin[] = {
    &fg_backend_cpu,
    &fg_backend_opencl,
};

/* Back end i, the built-in ones first; NULL behind the last. */
static const struct fg_backend *
backend_at(size_t i)
{
	return i < FG_COUNTOF(builtin) ? builtin[i]
				       : fg_plugin_backend(i - FG_COUNTOF(builtin));
}

int
fg_devices_list(struct fg_device_desc **out, size_t *n, struct fg_err *err)
{
	struct fg_device_desc *list = NULL;
	const struct fg_backend *b;
	const char *file, *why;
	size_t k = 0, refused = 0;

	for (size_t i = 0; (b = backend_at(i)) != NULL; i++) {
		int count = b->count();

		if (count <= 0)
			continue;
		list = fg_realloc(list, k + (size_t)count, sizeof *list);
		for (int j = 0; j < count; j++) {
			list[k] = (struct fg_device_desc){.usable = false};
			b->describe(j, &list[k++]);
		}
	}
	for (; (file = fg_plugin_refused(refused, &why)) != NULL; refused++) {
		list = fg_realloc(list, k + 1, sizeof *list);
		list[k] = (struct fg_device_desc){.usable = false};
		snprintf(list[k].name, sizeof list[k].name, "%.60s", file);
		snprintf(list[k].detail, sizeof list[k].detail, "plug-in");
		snprintf(list[k].why, sizeof list[k].why, "%.*s",
		    (int)sizeof list[k].why - 1, why);
		k++;
	}
	if (k == 0)
		return fg_fail(err, FG_ENOTSUP, "no device that can run a network");
	*out = list;
	*n = k;
	return 0;
}

enum fg_precision
fg_precision_auto(const struct fg_device_desc *d, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (d[i].usable && d[i].bf16)
			return FG_PREC_BF16;
	}
	return FG_PREC_F32;
}

int
fg_device_find(const char *name, const struct fg_backend **backend, int *index,
    struct fg_err *err)
{
	const char *colon = strchr(name, ':');
	const struct fg_backend *b;
	char *end;

	if (!colon || colon[1] < '0' || colon[1] > '9')
		return fg_fail(err, FG_EINVAL,
		    "device \"%.40s\": wanted a form like cpu:0", name);
	long i = strtol(colon + 1, &end, 10);
	if (*end || i > 1 << 20)
		return fg_fail(err, FG_EINVAL,
		    "device \"%.40s\": wanted a form like cpu:0", name);
	for (size_t k = 0; (b = backend_at(k)) != NULL; k++) {
		if (strlen(b->name) != (size_t)(colon - name) ||
		    strncmp(b->name, name, strlen(b->name)) != 0)
			continue;
		int count = b->count();
		if (i >= count)
			return fg_fail(err, FG_ENOENT, "no device %.40s: there are %d",
			    name, count);
		*backend = b;
		*index = (int)i;
		return 0;
	}
	return fg_fail(err, FG_ENOENT, "device \"%.40s\": no such back end", name);
}

/* ------------------------------------------------- plain implementation */

/* One output voxel of a convolution with zero padding; acc has c->out floats. */
static void
conv_voxel(const struct fg_conv *c, const int64_t fov[3], const float *src,
    const int64_t at[3], float *acc)
{
	int r = c->k / 2;

	for (int o = 0; o < c->out; o++)
		acc[o] = c->b[o];
	for (int k = 0; k < c->k * c->k * c->k; k++) {
		int64_t x = at[0] + k % c->k - r, y = at[1] + k / c->k % c->k - r,
			z = at[2] + k / (c->k * c->k) - r;

		if (x < 0 || y < 0 || z < 0 || x >= fov[0] || y >= fov[1] ||
		    z >= fov[2])
			continue;
		const float *in = src + ((z * fov[1] + y) * fov[0] + x) * c->in;
		const float *w = c->w + (size_t)k * c->in * c->out;
		for (int i = 0; i < c->in; i++, w += c->out) {
			for (int o = 0; o < c->out; o++)
				acc[o] += in[i] * w[o];
		}
	}
}

static void
conv_plain(const struct fg_conv *c, const int64_t fov[3], const float *src, float *dst)
{
	int64_t at[3];

	for (at[2] = 0; at[2] < fov[2]; at[2]++) {
		for (at[1] = 0; at[1] < fov[1]; at[1]++) {
			for (at[0] = 0; at[0] < fov[0]; at[0]++, dst += c->out)
				conv_voxel(c, fov, src, at, dst);
		}
	}
}

static void
relu(float *dst, const float *src, size_t n)
{
	for (size_t i = 0; i < n; i++)
		dst[i] = src[i] > 0 ? src[i] : 0;
}

/* a, mid, r: work space, voxels * the widest layer each. */
static void
reference_pass(const struct fg_net *net, const float *in, float *out, float *a,
    float *mid, float *r)
{
	const int64_t *fov = net->shape.fov;
	size_t n = (size_t)(fov[0] * fov[1] * fov[2]);
	size_t stream = n * (size_t)net->conv[1].out;

	for (size_t i = 0; i < n; i++) {
		a[2 * i] = in[i];
		a[2 * i + 1] = in[n + i];
	}
	for (int i = 0; i < net->depth; i++) {
		const struct fg_conv *c = &net->conv[2 * i];

		if (i > 0)
			relu(a, r, stream);
		conv_plain(c, fov, a, mid);
		relu(mid, mid, n * (size_t)c->out);
		conv_plain(c + 1, fov, mid, i > 0 ? a : r);
		for (size_t k = 0; i > 0 && k < stream; k++)
			r[k] += a[k];
	}
	relu(a, r, stream);
	conv_plain(&net->conv[net->convs - 1], fov, a, mid);
	for (size_t i = 0; i < n; i++)
		out[i] = in[n + i] + mid[i];
}

int
fg_device_reference(const struct fg_net *net, const float *in, float *out,
    struct fg_err *err)
{
	const int64_t *fov = net->shape.fov;
	size_t n = (size_t)(fov[0] * fov[1] * fov[2]);
	int wide = 2;

	for (int i = 0; i < net->convs; i++)
		wide = FG_MAX(wide, net->conv[i].out);
	float *work = fg_try_alloc(3 * n * (size_t)wide, sizeof *work);
	if (!work)
		return fg_fail(err, FG_ENOMEM, "no memory for a reference patch");
	reference_pass(net, in, out, work, work + n * (size_t)wide,
	    work + 2 * n * (size_t)wide);
	free(work);
	return 0;
}

/* ------------------------------------------------------------- the check */

/* A fixed patch: grey values in the range of normalised images, logits in that of
 * floods. */
static void
check_patch(float *in, size_t n)
{
	uint32_t s = 1;

	for (size_t i = 0; i < 2 * n; i++) {
		s = s * 1664525u + 1013904223u;
		in[i] = ((float)(s >> 8) / (float)(1 << 24) - 0.5f) * (i < n ? 4 : 6);
	}
}

/* Run a patch of m's field of view; out: malloc'ed by the caller. */
static int
run_check(struct fg_model *m, const float *in, float *out, size_t n, struct fg_err *err)
{
	if (m->backend->forward(m, 1, in, out, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(out[i]))
			return fg_fail(err, FG_EIO,
			    "self-check: output %zu of %zu is not finite", i, n);
	}
	return 0;
}

/* As many patches as there is memory for, at most batch_max. */
static int
load_fitting(struct fg_device *dev, const struct fg_net *net, enum fg_precision prec,
    int batch_max, struct fg_model **out, struct fg_err *err)
{
	struct fg_err last = FG_ERR_INIT;

	for (; batch_max > 0; batch_max /= 2) {
		fg_err_clear(&last);
		if (dev->backend->load(dev, net, prec, batch_max, out, &last) == 0)
			return 0;
		if (last.code != FG_ENOMEM)
			return fg_fail(err, last.code, "%s", last.msg);
	}
	return fg_fail(err, FG_ENOTSUP, "no room for a single patch: %s", last.msg);
}

static int
compare_small(struct fg_device *dev, const struct fg_net *net, enum fg_precision prec,
    const float *in, float *got, float *want, struct fg_err *err)
{
	size_t n = (size_t)(net->shape.fov[0] * net->shape.fov[1] * net->shape.fov[2]);
	double limit = prec == FG_PREC_F32 ? 1e-4 : 2e-2, sum = 0, scale = 0;
	struct fg_model *m;
	int rc;

	if (load_fitting(dev, net, prec, 1, &m, err) < 0)
		return -1;
	rc = run_check(m, in, got, n, err);
	m->backend->unload(m);
	if (rc < 0 || fg_device_reference(net, in, want, err) < 0)
		return -1;
	for (size_t i = 0; i < n; i++) {
		double e = (double)got[i] - want[i], u = (double)want[i] - in[n + i];

		sum += e * e;
		scale += u * u;
	}
	/* Relative to the size of the update: networks differ in that. */
	if (!(sqrt(sum) <= limit * sqrt(scale) + 1e-6))
		return fg_fail(err, FG_EIO,
		    "self-check at %s: rms error %.3g, wanted at most %.3g",
		    fg_precision_name(prec), sqrt(sum / (double)n),
		    limit * sqrt(scale / (double)n));
	return 0;
}

static int
self_check(struct fg_device *dev, const struct fg_net *net, enum fg_precision prec,
    struct fg_err *err)
{
	struct fg_net small = *net;
	size_t n = 1;
	int rc;

	for (int d = 0; d < 3; d++) {
		small.shape.fov[d] = FG_MIN(net->shape.fov[d], CHECK_FOV);
		n *= (size_t)small.shape.fov[d];
	}
	float *buf = fg_alloc(4 * n * sizeof *buf);
	check_patch(buf, n);
	rc = compare_small(dev, &small, prec, buf, buf + 2 * n, buf + 3 * n, err);
	free(buf);
	return rc;
}

int
fg_device_load(struct fg_device *dev, const struct fg_net *net, enum fg_precision prec,
    int batch_max, struct fg_model **out, struct fg_err *err)
{
	size_t n = (size_t)(net->shape.fov[0] * net->shape.fov[1] * net->shape.fov[2]);
	struct fg_model *m = NULL;
	float *buf = NULL;
	int rc = -1;

	if (self_check(dev, net, prec, err) < 0 ||
	    load_fitting(dev, net, prec, batch_max, &m, err) < 0)
		goto out;
	buf = fg_try_alloc(3 * n, sizeof *buf);
	if (!buf) {
		fg_fail(err, FG_ENOMEM, "no memory for a patch");
		goto out;
	}
	check_patch(buf, n);
	if (run_check(m, buf, buf + 2 * n, n, err) < 0)
		goto out;
	*out = m;
	m = NULL;
	rc = 0;
out:
	free(buf);
	if (m)
		m->backend->unload(m);
	return rc;
}
