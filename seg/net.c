/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a file of weights, a TensorFlow checkpoint or a safetensors file, to a checked
 * network.
 *
 * Depth is found by counting seed_update/conv{i}_a; every tensor's type and shape is
 * checked against its neighbours in the stack, and every value must be finite, so that
 * a device can trust what it gets. All weights are copied into one allocation, in the
 * file's own order of axes (DHWIO); the file's bytes are dropped afterwards.
 */
#include "config.h"

#include "seg/net.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "formats/bundle.h"
#include "formats/safetensors.h"

#define INDEX_MAX ((size_t)16 << 20)
#define DATA_MAX ((size_t)1 << 30)
#define DEPTH_MAX 256
#define FEATURES_MAX 1024
#define FOV_MAX 257

/* The named tensors of either kind of file. */
struct tensors {
	struct fg_bundle *bundle;
	struct fg_safetensors *safe;
};

static int
check_shape(const struct fg_net_shape *s, struct fg_err *err)
{
	for (int d = 0; d < 3; d++) {
		if (s->fov[d] < 1 || s->fov[d] > FOV_MAX || s->fov[d] % 2 == 0)
			return fg_fail(err, FG_EINVAL,
			    "field of view %lld on axis %c: wanted an odd number up to "
			    "%d",
			    (long long)s->fov[d], "xyz"[d], FOV_MAX);
		if (s->delta[d] < 0 || s->delta[d] > s->fov[d] / 2)
			return fg_fail(err, FG_EINVAL,
			    "movement step %lld on axis %c: wanted 0 to %lld",
			    (long long)s->delta[d], "xyz"[d],
			    (long long)(s->fov[d] / 2));
	}
	if (!isfinite(s->mean) || !isfinite(s->stddev) || s->stddev <= 0)
		return fg_fail(err, FG_EINVAL,
		    "image mean %g, stddev %g: wanted finite numbers, stddev above 0",
		    s->mean, s->stddev);
	return 0;
}

/* Name of convolution i of the stack: 0_a, 0_b, 1_a, ... and lom as the last. */
static void
conv_name(int i, int convs, char out[32])
{
	if (i == convs - 1)
		snprintf(out, 32, "conv_lom");
	else
		snprintf(out, 32, "conv%d_%c", i / 2, "ab"[i % 2]);
}

static const struct fg_tensor *
find_tensor(const struct tensors *b, const char *conv, const char *part)
{
	char name[80];

	snprintf(name, sizeof name, "seed_update/%s/%s", conv, part);
	return b->safe ? fg_safetensors_find(b->safe, name)
		       : fg_bundle_find(b->bundle, name);
}

/* The tensor, float32 and of `rank` axes, or NULL with the reason. */
static const struct fg_tensor *
need_tensor(const struct tensors *b, const char *conv, const char *part, int rank,
    struct fg_err *err)
{
	const struct fg_tensor *t = find_tensor(b, conv, part);

	if (!t)
		return fg_fail_null(err, FG_ECORRUPT, "no tensor seed_update/%s/%s",
		    conv, part);
	if (t->type != FG_TENSOR_F32)
		return fg_fail_null(err, FG_ECORRUPT,
		    "%s: data type %d, wanted %d (float32)", t->name, (int)t->type,
		    (int)FG_TENSOR_F32);
	if (t->rank != rank)
		return fg_fail_null(err, FG_ECORRUPT, "%s: %d axes, wanted %d", t->name,
		    t->rank, rank);
	return t;
}

/* Multiply the axes; a tensor whose bytes disagree is refused. */
static int
check_size(const struct fg_tensor *t, size_t *count, struct fg_err *err)
{
	size_t n = 1;

	for (int i = 0; i < t->rank; i++) {
		if (t->shape[i] < 1 || t->shape[i] > FEATURES_MAX)
			return fg_fail(err, FG_ECORRUPT,
			    "%s: axis %d has %lld entries, wanted 1 to %d", t->name, i,
			    (long long)t->shape[i], FEATURES_MAX);
		n *= (size_t)t->shape[i];
	}
	if (n * sizeof(float) != t->bytes)
		return fg_fail(err, FG_ECORRUPT, "%s: %zu bytes, its shape wants %zu",
		    t->name, t->bytes, n * sizeof(float));
	*count = n;
	return 0;
}

/* Shapes of convolution i that its place in the stack dictates; 0 = free. */
static void
wanted_shape(const struct fg_net *net, int i, int *k, int *in, int *out)
{
	bool lom = i == net->convs - 1;

	*k = lom ? 1 : 3;
	*in = i == 0 ? 2 : net->conv[i - 1].out;
	*out = 0;
	if (lom)
		*out = 1;
	else if (i > 1 && i % 2 == 1)
		*out = net->conv[1].out; /* added to the module's input */
}

static int
check_conv(struct fg_net *net, int i, const struct fg_tensor *w,
    const struct fg_tensor *b, struct fg_err *err)
{
	struct fg_conv *c = &net->conv[i];
	int out;

	wanted_shape(net, i, &c->k, &c->in, &out);
	c->out = out ? out : (int)w->shape[4];
	if (w->shape[0] != c->k || w->shape[1] != c->k || w->shape[2] != c->k ||
	    w->shape[3] != c->in || w->shape[4] != c->out)
		return fg_fail(err, FG_ECORRUPT,
		    "%s: shape %lldx%lldx%lldx%lldx%lld, wanted %dx%dx%dx%dx%d",
		    w->name, (long long)w->shape[0], (long long)w->shape[1],
		    (long long)w->shape[2], (long long)w->shape[3],
		    (long long)w->shape[4], c->k, c->k, c->k, c->in, c->out);
	if (b->shape[0] != c->out)
		return fg_fail(err, FG_ECORRUPT, "%s: %lld values, wanted %d", b->name,
		    (long long)b->shape[0], c->out);
	return 0;
}

static int
copy_finite(float *to, const struct fg_tensor *t, size_t n, struct fg_err *err)
{
	memcpy(to, t->data, n * sizeof *to);
	for (size_t i = 0; i < n; i++) {
		if (!isfinite(to[i]))
			return fg_fail(err, FG_ECORRUPT, "%s: value %zu is %s", t->name,
			    i, isnan(to[i]) ? "not a number" : "infinite");
	}
	return 0;
}

static int
load_convs(struct fg_net *net, const struct tensors *b, struct fg_err *err)
{
	size_t total = 0, used = 0, n;

	for (int i = 0; i < net->convs; i++) {
		const struct fg_tensor *w, *bias;
		char name[32];

		conv_name(i, net->convs, name);
		if (!(w = need_tensor(b, name, "weights", 5, err)) ||
		    !(bias = need_tensor(b, name, "biases", 1, err)))
			return -1;
		if (check_size(w, &n, err) < 0)
			return -1;
		total += n;
		if (check_size(bias, &n, err) < 0 ||
		    check_conv(net, i, w, bias, err) < 0)
			return -1;
		total += n;
	}
	net->weights = fg_try_alloc(total, sizeof(float));
	if (!net->weights)
		return fg_fail(err, FG_ENOMEM, "no memory for %zu weights", total);
	for (int i = 0; i < net->convs; i++) {
		struct fg_conv *c = &net->conv[i];
		size_t nw = (size_t)c->k * c->k * c->k * c->in * c->out;
		char name[32];

		conv_name(i, net->convs, name);
		c->w = net->weights + used;
		c->b = c->w + nw;
		if (copy_finite(net->weights + used, find_tensor(b, name, "weights"),
			nw, err) < 0 ||
		    copy_finite(net->weights + used + nw,
			find_tensor(b, name, "biases"), (size_t)c->out, err) < 0)
			return -1;
		used += nw + (size_t)c->out;
	}
	return 0;
}

static int
count_depth(const struct tensors *b, struct fg_err *err)
{
	int depth = 0;
	char name[32];

	for (; depth <= DEPTH_MAX; depth++) {
		snprintf(name, sizeof name, "conv%d_a", depth);
		if (!find_tensor(b, name, "weights"))
			break;
	}
	if (depth == 0)
		return fg_fail(err, FG_ECORRUPT,
		    "no tensor seed_update/conv0_a/weights: not a flood-filling "
		    "network");
	if (depth > DEPTH_MAX)
		return fg_fail(err, FG_ENOTSUP, "more than %d modules", DEPTH_MAX);
	/* A module without its first half would otherwise be dropped in silence. */
	snprintf(name, sizeof name, "conv%d_b", depth);
	if (find_tensor(b, name, "weights"))
		return fg_fail(err, FG_ECORRUPT,
		    "no tensor seed_update/conv%d_a/weights", depth);
	return depth;
}

static int
load_tensors(struct fg_net *net, const struct tensors *t, struct fg_err *err)
{
	net->depth = count_depth(t, err);
	if (net->depth <= 0)
		return -1;
	net->convs = 2 * net->depth + 1;
	net->conv = fg_calloc((size_t)net->convs, sizeof *net->conv);
	return load_convs(net, t, err);
}

static void
hash_files(struct fg_net *net, const struct fg_buf *index, const struct fg_buf *data)
{
	struct fg_sha256 *s = fg_sha256_begin();
	uint8_t sum[FG_SHA256_SIZE];

	if (index)
		fg_sha256_add(s, index->data, index->len);
	fg_sha256_add(s, data->data, data->len);
	fg_sha256_end(s, sum);
	fg_hex_format(sum, sizeof sum, net->sha256);
}

/* ------------------------------------------------------------- safetensors */

static bool
ends_with(const char *path, const char *tail)
{
	size_t n = strlen(path), m = strlen(tail);

	return n > m && strcmp(path + n - m, tail) == 0;
}

bool
fg_net_is_safetensors(const char *path)
{
	return ends_with(path, ".safetensors");
}

/* Metadata `key`: JSON text of one number or of three. */
static int
meta_numbers(const struct fg_safetensors *s, const char *key, int count, double *out,
    struct fg_err *err)
{
	const char *text = fg_safetensors_meta(s, key);
	json_t *j;
	int got = 0;

	if (!text)
		return fg_fail(err, FG_ECORRUPT, "no metadata \"%s\"", key);
	j = json_loads(text, JSON_DECODE_ANY, NULL);
	if (count == 1 && json_is_number(j)) {
		out[got++] = json_number_value(j);
	} else if (json_array_size(j) == (size_t)count) {
		while (got < count && json_is_number(json_array_get(j, (size_t)got))) {
			out[got] = json_number_value(json_array_get(j, (size_t)got));
			got++;
		}
	}
	json_decref(j);
	if (got != count)
		return fg_fail(err, FG_ECORRUPT, "metadata \"%s\" is %.60s: wanted %s",
		    key, text, count == 1 ? "a number" : "[x,y,z]");
	return 0;
}

static int
meta_voxels(const struct fg_safetensors *s, const char *key, int64_t out[3],
    struct fg_err *err)
{
	double v[3];

	if (meta_numbers(s, key, 3, v, err) < 0)
		return -1;
	for (int d = 0; d < 3; d++) {
		if (!(v[d] >= 0 && v[d] <= FOV_MAX) || v[d] != floor(v[d]))
			return fg_fail(err, FG_ECORRUPT,
			    "metadata \"%s\" has %g on axis %c: wanted 0 to %d", key,
			    v[d], "xyz"[d], FOV_MAX);
		out[d] = (int64_t)v[d];
	}
	return 0;
}

/* What the file says of its network; then what the caller set instead. */
static int
merge_shape(const struct fg_safetensors *s, struct fg_net_shape *shape,
    struct fg_err *err)
{
	struct fg_net_shape own;

	if (meta_voxels(s, "fov", own.fov, err) < 0 ||
	    meta_voxels(s, "deltas", own.delta, err) < 0 ||
	    meta_numbers(s, "image_mean", 1, &own.mean, err) < 0 ||
	    meta_numbers(s, "image_stddev", 1, &own.stddev, err) < 0)
		return -1;
	if (shape->fov[0] != 0 && memcmp(shape->fov, own.fov, sizeof own.fov) != 0)
		return fg_fail(err, FG_EINVAL,
		    "field of view %lldx%lldx%lld: the network was made for "
		    "%lldx%lldx%lld",
		    (long long)shape->fov[0], (long long)shape->fov[1],
		    (long long)shape->fov[2], (long long)own.fov[0],
		    (long long)own.fov[1], (long long)own.fov[2]);
	memcpy(shape->fov, own.fov, sizeof own.fov);
	if (shape->delta[0] < 0)
		memcpy(shape->delta, own.delta, sizeof own.delta);
	if (shape->stddev == 0) {
		shape->mean = own.mean;
		shape->stddev = own.stddev;
	}
	return 0;
}

int
fg_net_find_shape(const char *path, struct fg_net_shape *shape, struct fg_err *err)
{
	struct fg_safetensors *s = NULL;
	struct fg_buf *data;
	int rc = -1;

	if (!fg_net_is_safetensors(path))
		return 0;
	if (!(data = fg_file_read(path, DATA_MAX, err)))
		return -1;
	if ((s = fg_safetensors_open("model", data->data, data->len, err)))
		rc = merge_shape(s, shape, err);
	if (rc < 0)
		fg_err_prefix(err, "%s", path);
	fg_safetensors_close(s);
	fg_buf_unref(data);
	return rc;
}

static int
load_safetensors(struct fg_net *net, const char *path, struct fg_err *err)
{
	struct tensors t = {NULL, NULL};
	struct fg_buf *data = fg_file_read(path, DATA_MAX, err);
	int rc = -1;

	if (!data)
		return -1;
	hash_files(net, NULL, data);
	if ((t.safe = fg_safetensors_open("model", data->data, data->len, err)) &&
	    merge_shape(t.safe, &net->shape, err) == 0 &&
	    check_shape(&net->shape, err) == 0)
		rc = load_tensors(net, &t, err);
	fg_safetensors_close(t.safe);
	fg_buf_unref(data);
	return rc;
}

/* ------------------------------------------------------------- TensorFlow */

static int
load_bundle(struct fg_net *net, const char *path, struct fg_err *err)
{
	char *index_path = fg_asprintf("%s.index", path);
	char *data_path = fg_asprintf("%s.data-00000-of-00001", path);
	struct fg_buf *index = NULL, *data = NULL;
	struct tensors t = {NULL, NULL};
	int rc = -1;

	if (check_shape(&net->shape, err) < 0)
		goto out;
	if (ends_with(path, ".index") || ends_with(path, ".data-00000-of-00001")) {
		fg_fail(err, FG_EINVAL,
		    "%s: wanted the checkpoint's name, without .index or .data-...",
		    path);
		goto out;
	}
	if (!(index = fg_file_read(index_path, INDEX_MAX, err)) ||
	    !(data = fg_file_read(data_path, DATA_MAX, err)))
		goto out;
	hash_files(net, index, data);
	if ((t.bundle = fg_bundle_open("checkpoint", index->data, index->len,
		 data->data, data->len, err)))
		rc = load_tensors(net, &t, err);
	if (rc < 0)
		fg_err_prefix(err, "%s", path);
out:
	fg_bundle_close(t.bundle);
	fg_buf_unref(data);
	fg_buf_unref(index);
	free(data_path);
	free(index_path);
	return rc;
}

struct fg_net *
fg_net_load(const char *path, const struct fg_net_shape *shape, struct fg_err *err)
{
	struct fg_net *net = fg_calloc(1, sizeof *net);
	int rc;

	net->shape = *shape;
	net->path = fg_strdup(path);
	if (fg_net_is_safetensors(path)) {
		rc = load_safetensors(net, path, err);
		if (rc < 0)
			fg_err_prefix(err, "%s", path);
	} else {
		rc = load_bundle(net, path, err);
	}
	if (rc < 0) {
		fg_net_free(net);
		return NULL;
	}
	return net;
}

void
fg_net_free(struct fg_net *net)
{
	if (!net)
		return;
	free(net->weights);
	free(net->conv);
	free(net->path);
	free(net);
}

double
fg_net_flops(const struct fg_net *net)
{
	double per_voxel = 0, voxels = 1;

	for (int d = 0; d < 3; d++)
		voxels *= (double)net->shape.fov[d];
	for (int i = 0; i < net->convs; i++) {
		const struct fg_conv *c = &net->conv[i];

		per_voxel += 2.0 * c->k * c->k * c->k * c->in * c->out;
	}
	return per_voxel * voxels;
}
