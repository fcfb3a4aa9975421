/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The residual stack on oneDNN: every call of that library is in this file.
 *
 * A model is a list of primitives with their arguments, made once; a forward pass
 * fills the input, executes the list in order and reads the output. Activations are
 * channels-last (ndhwc): of the layouts oneDNN takes, the one whose convolutions are
 * fastest on AMX and AVX-512 (measured: bench/ffn.c), and what a patch is in memory
 * anyway. Weights are reordered once into the layout the convolution asks for. Bias,
 * relu after a module's first convolution, and the sum after its second one are fused
 * into the convolutions.
 *
 * In bf16 all activations are bf16 and sums are float inside a convolution. Keeping the
 * residual stream in float instead makes the result hardly better (rms error 0.0097
 * instead of 0.0104 on a FIB-25 patch) and a patch 15 % slower.
 *
 * The C interfaces of versions 2 and 3 differ in memory descriptors (a struct, then a
 * pointer) and in how primitive descriptors are made; both are wrapped at the top.
 */
#include "config.h"

#include "seg/onednn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <oneapi/dnnl/dnnl.h>

#include "base/clock.h"
#include "seg/bf16.h"

#define OPENCL_BATCH_MAX 8

/* ------------------------------------------------- versions 2 and 3 */

#if DNNL_VERSION_MAJOR >= 3
#define DESC_REF(d) (d)
#define CONST_DESC const_dnnl_memory_desc_t
#else
#define DESC_REF(d) (&(d))
#define CONST_DESC const dnnl_memory_desc_t *
#endif

static int
check(dnnl_status_t s, const char *what, struct fg_err *err)
{
	switch (s) {
	case dnnl_success:
		return 0;
	case dnnl_out_of_memory:
		return fg_fail(err, FG_ENOMEM, "oneDNN: %s: out of memory", what);
	case dnnl_unimplemented:
		return fg_fail(err, FG_ENOTSUP, "oneDNN: %s: not implemented here",
		    what);
	default:
		return fg_fail(err, FG_EIO, "oneDNN: %s: status %d", what, (int)s);
	}
}

static int
desc_init(dnnl_memory_desc_t *d, int axes, const dnnl_dims_t dims, dnnl_data_type_t t,
    dnnl_format_tag_t tag, struct fg_err *err)
{
#if DNNL_VERSION_MAJOR >= 3
	return check(dnnl_memory_desc_create_with_tag(d, axes, dims, t, tag),
	    "memory descriptor", err);
#else
	return check(dnnl_memory_desc_init_by_tag(d, axes, dims, t, tag),
	    "memory descriptor", err);
#endif
}

static void
desc_fini(dnnl_memory_desc_t *d)
{
#if DNNL_VERSION_MAJOR >= 3
	if (*d)
		dnnl_memory_desc_destroy(*d);
	*d = NULL;
#else
	(void)d;
#endif
}

#if DNNL_VERSION_MAJOR >= 3
#define DESC_INIT NULL
#else
#define DESC_INIT ((dnnl_memory_desc_t){.ndims = 0})
#endif

enum post { POST_NONE, POST_RELU, POST_SUM };

static dnnl_status_t
append_post(dnnl_post_ops_t ops, enum post post)
{
#if DNNL_VERSION_MAJOR >= 3
	if (post == POST_RELU)
		return dnnl_post_ops_append_eltwise(ops, dnnl_eltwise_relu, 0, 0);
	if (post == POST_SUM)
		return dnnl_post_ops_append_sum(ops, 1, 0, dnnl_data_type_undef);
#else
	if (post == POST_RELU)
		return dnnl_post_ops_append_eltwise(ops, 1, dnnl_eltwise_relu, 0, 0);
	if (post == POST_SUM)
		return dnnl_post_ops_append_sum(ops, 1);
#endif
	return dnnl_success;
}

/* A convolution, stride 1, `pad` voxels of zeros all round. */
static dnnl_status_t
conv_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, dnnl_memory_desc_t *src,
    dnnl_memory_desc_t *w, dnnl_memory_desc_t *bias, dnnl_memory_desc_t *dst, int pad,
    dnnl_primitive_attr_t attr)
{
	const dnnl_dims_t strides = {1, 1, 1}, pads = {pad, pad, pad};

#if DNNL_VERSION_MAJOR >= 3
	const dnnl_dims_t dilates = {0, 0, 0};

	return dnnl_convolution_forward_primitive_desc_create(pd, engine,
	    dnnl_forward_inference, dnnl_convolution_direct, *src, *w, *bias, *dst,
	    strides, dilates, pads, pads, attr);
#else
	dnnl_convolution_desc_t cd;
	dnnl_status_t s =
	    dnnl_convolution_forward_desc_init(&cd, dnnl_forward_inference,
		dnnl_convolution_direct, src, w, bias, dst, strides, pads, pads);

	return s != dnnl_success
		   ? s
		   : dnnl_primitive_desc_create(pd, &cd, attr, engine, NULL);
#endif
}

static dnnl_status_t
relu_desc(dnnl_primitive_desc_t *pd, dnnl_engine_t engine, dnnl_memory_desc_t *d,
    dnnl_primitive_attr_t attr)
{
#if DNNL_VERSION_MAJOR >= 3
	return dnnl_eltwise_forward_primitive_desc_create(pd, engine,
	    dnnl_forward_inference, dnnl_eltwise_relu, *d, *d, 0, 0, attr);
#else
	dnnl_eltwise_desc_t ed;
	dnnl_status_t s = dnnl_eltwise_forward_desc_init(&ed, dnnl_forward_inference,
	    dnnl_eltwise_relu, d, 0, 0);

	return s != dnnl_success
		   ? s
		   : dnnl_primitive_desc_create(pd, &ed, attr, engine, NULL);
#endif
}

/* ------------------------------------------------------------ models */

#define ARGS_MAX 6

struct op {
	dnnl_primitive_t prim;
	int args;
	dnnl_exec_arg_t arg[ARGS_MAX];
};

struct onednn_device {
	struct fg_device base;
	dnnl_engine_kind_t kind;
	dnnl_engine_t engine;
	dnnl_stream_t stream;
};

struct onednn_model {
	struct fg_model base;
	struct onednn_device *dev;
	dnnl_data_type_t type; /* of what convolutions read */
	size_t voxels;         /* of one patch */
	struct op *op;
	int ops, ops_cap;
	dnnl_memory_t *mem; /* everything allocated, to be destroyed */
	int mems, mems_cap;
	dnnl_memory_t in, mid, residual, active, out;
	dnnl_memory_t scratch; /* one for all primitives; the largest so far */
	size_t scratch_bytes;
};

static int
activation_desc(const struct onednn_model *m, int channels, dnnl_data_type_t t,
    dnnl_memory_desc_t *d, struct fg_err *err)
{
	const dnnl_dims_t dims = {m->base.batch_max, channels, m->base.fov[2],
	    m->base.fov[1], m->base.fov[0]};

	return desc_init(d, 5, dims, t, dnnl_ndhwc, err);
}

static int
keep(struct onednn_model *m, dnnl_memory_t mem)
{
	if (m->mems == m->mems_cap) {
		m->mems_cap = m->mems_cap ? 2 * m->mems_cap : 64;
		m->mem = fg_realloc(m->mem, (size_t)m->mems_cap, sizeof *m->mem);
	}
	m->mem[m->mems++] = mem;
	return 0;
}

/* Memory of the model's engine, freed with the model. handle: what holds the bytes, or
 * DNNL_MEMORY_ALLOCATE. */
static int
memory_new(struct onednn_model *m, CONST_DESC d, void *handle, dnnl_memory_t *out,
    struct fg_err *err)
{
	dnnl_memory_t mem;

	if (check(dnnl_memory_create(&mem, d, m->dev->engine, handle), "memory", err) <
	    0)
		return -1;
	*out = mem;
	return keep(m, mem);
}

static int
activation_new(struct onednn_model *m, int channels, dnnl_data_type_t t,
    dnnl_memory_t *out, struct fg_err *err)
{
	dnnl_memory_desc_t d = DESC_INIT;
	int rc = activation_desc(m, channels, t, &d, err);

	if (rc == 0)
		rc = memory_new(m, DESC_REF(d), DNNL_MEMORY_ALLOCATE, out, err);
	desc_fini(&d);
	return rc;
}

static struct op *
op_new(struct onednn_model *m)
{
	if (m->ops == m->ops_cap) {
		m->ops_cap = m->ops_cap ? 2 * m->ops_cap : 64;
		m->op = fg_realloc(m->op, (size_t)m->ops_cap, sizeof *m->op);
	}
	m->op[m->ops] = (struct op){.args = 0};
	return &m->op[m->ops++];
}

static void
op_arg(struct op *o, int which, dnnl_memory_t mem)
{
	fg_assert(o->args < ARGS_MAX);
	o->arg[o->args++] = (dnnl_exec_arg_t){.arg = which, .memory = mem};
}

/* Give the op its scratch memory: the shared one where it is large enough. */
static int
op_scratch(struct onednn_model *m, struct op *o, dnnl_primitive_desc_t pd,
    struct fg_err *err)
{
	CONST_DESC d = dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
	size_t bytes = d ? dnnl_memory_desc_get_size(d) : 0;
	dnnl_memory_t mem;
	void *handle = DNNL_MEMORY_ALLOCATE;

	if (bytes == 0)
		return 0;
	if (bytes <= m->scratch_bytes &&
	    check(dnnl_memory_get_data_handle(m->scratch, &handle), "memory", err) < 0)
		return -1;
	if (memory_new(m, d, handle, &mem, err) < 0)
		return -1;
	if (bytes > m->scratch_bytes) {
		m->scratch = mem;
		m->scratch_bytes = bytes;
	}
	op_arg(o, DNNL_ARG_SCRATCHPAD, mem);
	return 0;
}

/* Make the primitive of pd (consumed) as the model's next op, without arguments but
 * for scratch memory. */
static struct op *
op_add(struct onednn_model *m, dnnl_primitive_desc_t pd, struct fg_err *err)
{
	struct op *o = op_new(m);
	int rc = check(dnnl_primitive_create(&o->prim, pd), "primitive", err);

	if (rc == 0)
		rc = op_scratch(m, o, pd, err);
	dnnl_primitive_desc_destroy(pd);
	return rc < 0 ? NULL : o;
}

/* Own scratch memory (so that it is allocated once, here) and fused operation. */
static int
attr_new(enum post post, dnnl_primitive_attr_t *out, struct fg_err *err)
{
	dnnl_primitive_attr_t attr = NULL;
	dnnl_post_ops_t ops = NULL;
	dnnl_status_t s = dnnl_primitive_attr_create(&attr);

	if (s == dnnl_success)
		s = dnnl_primitive_attr_set_scratchpad_mode(attr,
		    dnnl_scratchpad_mode_user);
	if (s == dnnl_success && post != POST_NONE) {
		s = dnnl_post_ops_create(&ops);
		if (s == dnnl_success)
			s = append_post(ops, post);
		if (s == dnnl_success)
			s = dnnl_primitive_attr_set_post_ops(attr, ops);
	}
	if (ops)
		dnnl_post_ops_destroy(ops);
	if (s != dnnl_success && attr)
		dnnl_primitive_attr_destroy(attr);
	else
		*out = attr;
	return check(s, "attributes", err);
}

static int
execute(struct onednn_model *m, dnnl_primitive_t p, int n, const dnnl_exec_arg_t *arg,
    struct fg_err *err)
{
	return check(dnnl_primitive_execute(p, m->dev->stream, n, arg), "execution",
	    err);
}

/* Copy host floats into a plain memory of the engine. */
static int
memory_fill(struct onednn_model *m, dnnl_memory_t mem, const float *data, size_t n,
    struct fg_err *err)
{
	void *p = NULL;

	(void)m;
	if (check(dnnl_memory_map_data(mem, &p), "memory mapping", err) < 0)
		return -1;
	memcpy(p, data, n * sizeof *data);
	return check(dnnl_memory_unmap_data(mem, p), "memory mapping", err);
}

/* Reorder between two memories, once. */
static int
reorder_now(struct onednn_model *m, CONST_DESC from, dnnl_memory_t src, CONST_DESC to,
    dnnl_memory_t dst, struct fg_err *err)
{
	dnnl_primitive_desc_t pd = NULL;
	dnnl_primitive_t p = NULL;
	const dnnl_exec_arg_t arg[] = {{DNNL_ARG_FROM, src}, {DNNL_ARG_TO, dst}};
	dnnl_engine_t e = m->dev->engine;
	int rc = check(dnnl_reorder_primitive_desc_create(&pd, from, e, to, e, NULL),
	    "reorder of weights", err);

	if (rc == 0)
		rc = check(dnnl_primitive_create(&p, pd), "reorder of weights", err);
	if (rc == 0)
		rc = execute(m, p, 2, arg, err);
	if (rc == 0)
		rc = check(dnnl_stream_wait(m->dev->stream), "reorder of weights", err);
	if (p)
		dnnl_primitive_destroy(p);
	if (pd)
		dnnl_primitive_desc_destroy(pd);
	return rc;
}

/* Weights of one convolution (checkpoint order: d, h, w, in, out) in the layout and
 * type that the primitive wants. */
static int
weights_new(struct onednn_model *m, const struct fg_conv *c, CONST_DESC wanted,
    dnnl_memory_t *out, struct fg_err *err)
{
	const dnnl_dims_t dims = {c->out, c->in, c->k, c->k, c->k};
	size_t n = (size_t)c->k * c->k * c->k * c->in * c->out;
	dnnl_memory_desc_t plain = DESC_INIT;
	dnnl_memory_t from = NULL;
	int rc = desc_init(&plain, 5, dims, dnnl_f32, dnnl_cdeba, err);

	if (rc == 0)
		rc = check(dnnl_memory_create(&from, DESC_REF(plain), m->dev->engine,
			       DNNL_MEMORY_ALLOCATE),
		    "memory", err);
	if (rc == 0)
		rc = memory_fill(m, from, c->w, n, err);
	if (rc == 0)
		rc = memory_new(m, wanted, DNNL_MEMORY_ALLOCATE, out, err);
	if (rc == 0)
		rc = reorder_now(m, DESC_REF(plain), from, wanted, *out, err);
	if (from)
		dnnl_memory_destroy(from);
	desc_fini(&plain);
	return rc;
}

/* Append convolution c: src -> dst. */
static int
add_conv(struct onednn_model *m, const struct fg_conv *c, dnnl_memory_t src,
    dnnl_memory_t dst, dnnl_data_type_t dst_type, enum post post, struct fg_err *err)
{
	const dnnl_dims_t wdims = {c->out, c->in, c->k, c->k, c->k}, bdims = {c->out};
	dnnl_memory_desc_t s = DESC_INIT, w = DESC_INIT, b = DESC_INIT, d = DESC_INIT;
	dnnl_primitive_attr_t attr = NULL;
	dnnl_primitive_desc_t pd = NULL;
	dnnl_memory_t wm, bm;
	struct op *o;
	int rc = -1;

	if (activation_desc(m, c->in, m->type, &s, err) < 0 ||
	    activation_desc(m, c->out, dst_type, &d, err) < 0 ||
	    desc_init(&w, 5, wdims, m->type, dnnl_format_tag_any, err) < 0 ||
	    desc_init(&b, 1, bdims, dnnl_f32, dnnl_a, err) < 0 ||
	    attr_new(post, &attr, err) < 0)
		goto out;
	if (check(conv_desc(&pd, m->dev->engine, &s, &w, &b, &d, c->k / 2, attr),
		"convolution", err) < 0)
		goto out;
	if (weights_new(m, c,
		dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0), &wm,
		err) < 0 ||
	    memory_new(m, DESC_REF(b), DNNL_MEMORY_ALLOCATE, &bm, err) < 0 ||
	    memory_fill(m, bm, c->b, (size_t)c->out, err) < 0)
		goto out;
	o = op_add(m, pd, err);
	pd = NULL;
	if (!o)
		goto out;
	op_arg(o, DNNL_ARG_SRC, src);
	op_arg(o, DNNL_ARG_WEIGHTS, wm);
	op_arg(o, DNNL_ARG_BIAS, bm);
	op_arg(o, DNNL_ARG_DST, dst);
	rc = 0;
out:
	if (pd)
		dnnl_primitive_desc_destroy(pd);
	if (attr)
		dnnl_primitive_attr_destroy(attr);
	desc_fini(&s);
	desc_fini(&w);
	desc_fini(&b);
	desc_fini(&d);
	return rc;
}

static int
add_relu(struct onednn_model *m, int channels, dnnl_memory_t src, dnnl_memory_t dst,
    struct fg_err *err)
{
	dnnl_memory_desc_t d = DESC_INIT;
	dnnl_primitive_attr_t attr = NULL;
	dnnl_primitive_desc_t pd = NULL;
	struct op *o = NULL;

	if (activation_desc(m, channels, m->type, &d, err) == 0 &&
	    attr_new(POST_NONE, &attr, err) == 0 &&
	    check(relu_desc(&pd, m->dev->engine, &d, attr), "relu", err) == 0)
		o = op_add(m, pd, err);
	if (o) {
		op_arg(o, DNNL_ARG_SRC, src);
		op_arg(o, DNNL_ARG_DST, dst);
	}
	if (attr)
		dnnl_primitive_attr_destroy(attr);
	desc_fini(&d);
	return o ? 0 : -1;
}

static int
build(struct onednn_model *m, const struct fg_net *net, struct fg_err *err)
{
	int channels = net->conv[1].out;

	if (activation_new(m, 2, m->type, &m->in, err) < 0 ||
	    activation_new(m, channels, m->type, &m->residual, err) < 0 ||
	    activation_new(m, channels, m->type, &m->active, err) < 0 ||
	    activation_new(m, 1, dnnl_f32, &m->out, err) < 0)
		return -1;
	for (int i = 0; i < net->depth; i++) {
		const struct fg_conv *a = &net->conv[2 * i], *b = a + 1;

		if (i > 0 && add_relu(m, channels, m->residual, m->active, err) < 0)
			return -1;
		/* Features inside a module may differ from those of the stream. */
		if ((i == 0 || a->out != a[-2].out) &&
		    activation_new(m, a->out, m->type, &m->mid, err) < 0)
			return -1;
		if (add_conv(m, a, i > 0 ? m->active : m->in, m->mid, m->type,
			POST_RELU, err) < 0 ||
		    add_conv(m, b, m->mid, m->residual, m->type,
			i > 0 ? POST_SUM : POST_NONE, err) < 0)
			return -1;
	}
	if (add_relu(m, channels, m->residual, m->active, err) < 0)
		return -1;
	return add_conv(m, &net->conv[net->convs - 1], m->active, m->out, dnnl_f32,
	    POST_NONE, err);
}

void
fg_onednn_unload(struct fg_model *base)
{
	struct onednn_model *m = (struct onednn_model *)base;

	if (!m)
		return;
	for (int i = 0; i < m->ops; i++) {
		if (m->op[i].prim)
			dnnl_primitive_destroy(m->op[i].prim);
	}
	for (int i = 0; i < m->mems; i++)
		dnnl_memory_destroy(m->mem[i]);
	free(m->op);
	free(m->mem);
	free(m);
}

/* A model without primitives. */
static struct onednn_model *
model_new(struct onednn_device *d, const struct fg_net *net, enum fg_precision prec,
    int batch_max)
{
	struct onednn_model *m = fg_calloc(1, sizeof *m);

	m->base.backend = d->base.backend;
	m->base.batch_max =
	    d->kind == dnnl_cpu ? 1 : FG_MAX(1, FG_MIN(batch_max, OPENCL_BATCH_MAX));
	memcpy(m->base.fov, net->shape.fov, sizeof m->base.fov);
	m->voxels = (size_t)(m->base.fov[0] * m->base.fov[1] * m->base.fov[2]);
	m->dev = d;
	m->type = prec == FG_PREC_BF16 ? dnnl_bf16 : dnnl_f32;
	return m;
}

int
fg_onednn_load(struct fg_device *dev, const struct fg_net *net, enum fg_precision prec,
    int batch_max, struct fg_model **out, struct fg_err *err)
{
	struct onednn_device *d = (struct onednn_device *)dev;
	struct onednn_model *m;

	if (prec == FG_PREC_F16)
		return fg_fail(err, FG_ENOTSUP, "oneDNN back end: no f16");
	m = model_new(d, net, prec, batch_max);
	if (build(m, net, err) < 0) {
		fg_onednn_unload(&m->base);
		return -1;
	}
	*out = &m->base;
	return 0;
}

/* ------------------------------------------------ bare convolutions */

/* The convolutions of net alone, each with its own weights, nothing fused, to and fro
 * between two memories. */
static int
build_bare(struct onednn_model *m, const struct fg_net *net, struct fg_err *err)
{
	int channels = net->conv[1].out;
	dnnl_memory_t from, to = NULL;

	if (activation_new(m, 2, m->type, &m->in, err) < 0 ||
	    activation_new(m, channels, m->type, &m->mid, err) < 0 ||
	    activation_new(m, channels, m->type, &m->active, err) < 0 ||
	    activation_new(m, 1, dnnl_f32, &m->out, err) < 0)
		return -1;
	for (int i = 0; i < net->convs; i++) {
		const struct fg_conv *c = &net->conv[i];
		bool last = i == net->convs - 1;

		if (!last && c->out != channels)
			return fg_fail(err, FG_ENOTSUP, "features differ by layer");
		from = i == 0 ? m->in : to;
		to = last ? m->out : i % 2 ? m->active : m->mid;
		if (add_conv(m, c, from, to, last ? dnnl_f32 : m->type, POST_NONE,
			err) < 0)
			return -1;
	}
	return 0;
}

int
fg_onednn_time_bare(struct fg_device *dev, const struct fg_net *net,
    enum fg_precision prec, int runs, double *best_ms, struct fg_err *err)
{
	struct onednn_model *m = model_new((struct onednn_device *)dev, net, prec, 1);
	double best = INFINITY;
	int rc = build_bare(m, net, err);

	for (int k = 0; rc == 0 && k < runs; k++) {
		int64_t start = fg_clock_ns();

		for (int i = 0; rc == 0 && i < m->ops; i++)
			rc =
			    execute(m, m->op[i].prim, m->op[i].args, m->op[i].arg, err);
		if (rc == 0)
			rc = check(dnnl_stream_wait(m->dev->stream), "execution", err);
		best = fmin(best, (double)(fg_clock_ns() - start) / 1e6);
	}
	fg_onednn_unload(&m->base);
	if (rc == 0)
		*best_ms = best;
	return rc;
}

/* -------------------------------------------------------------- forward */

/* Planar image and logits -> channels last, in the type of the convolutions. */
static void
interleave(const struct onednn_model *m, const float *in, void *to)
{
	const float *image = in, *logit = in + m->voxels;

	if (m->type == dnnl_f32) {
		float *f = to;

		for (size_t i = 0; i < m->voxels; i++) {
			f[2 * i] = image[i];
			f[2 * i + 1] = logit[i];
		}
	} else {
		uint16_t *h = to;

		for (size_t i = 0; i < m->voxels; i++) {
			h[2 * i] = fg_bf16_of(image[i]);
			h[2 * i + 1] = fg_bf16_of(logit[i]);
		}
	}
}

int
fg_onednn_forward(struct fg_model *base, int n, const float *in, float *out,
    struct fg_err *err)
{
	struct onednn_model *m = (struct onednn_model *)base;
	size_t size = m->type == dnnl_f32 ? sizeof(float) : sizeof(uint16_t);
	void *p = NULL;

	fg_assert(n >= 1 && n <= m->base.batch_max);
	if (check(dnnl_memory_map_data(m->in, &p), "memory mapping", err) < 0)
		return -1;
	for (int i = 0; i < n; i++)
		interleave(m, in + (size_t)i * 2 * m->voxels,
		    (char *)p + (size_t)i * 2 * m->voxels * size);
	if (check(dnnl_memory_unmap_data(m->in, p), "memory mapping", err) < 0)
		return -1;
	for (int i = 0; i < m->ops; i++) {
		if (execute(m, m->op[i].prim, m->op[i].args, m->op[i].arg, err) < 0)
			return -1;
	}
	if (check(dnnl_stream_wait(m->dev->stream), "execution", err) < 0 ||
	    check(dnnl_memory_map_data(m->out, &p), "memory mapping", err) < 0)
		return -1;
	for (int k = 0; k < n; k++) {
		const float *update = (const float *)p + (size_t)k * m->voxels;
		const float *logit = in + ((size_t)k * 2 + 1) * m->voxels;
		float *to = out + (size_t)k * m->voxels;

		for (size_t i = 0; i < m->voxels; i++)
			to[i] = logit[i] + update[i];
	}
	return check(dnnl_memory_unmap_data(m->out, p), "memory mapping", err);
}

/* ----------------------------------------------------------- devices */

void
fg_onednn_close(struct fg_device *base)
{
	struct onednn_device *d = (struct onednn_device *)base;

	if (!d)
		return;
	if (d->stream)
		dnnl_stream_destroy(d->stream);
	if (d->engine)
		dnnl_engine_destroy(d->engine);
	free(d);
}

static int
device_open(const struct fg_backend *backend, dnnl_engine_kind_t kind, int i,
    size_t engine, struct fg_device **out, struct fg_err *err)
{
	struct onednn_device *d = fg_calloc(1, sizeof *d);

	d->base.backend = backend;
	d->base.index = i;
	d->kind = kind;
	if (check(dnnl_engine_create(&d->engine, kind, engine), "engine", err) < 0 ||
	    check(dnnl_stream_create(&d->stream, d->engine, dnnl_stream_default_flags),
		"stream", err) < 0) {
		fg_onednn_close(&d->base);
		return -1;
	}
	*out = &d->base;
	return 0;
}

int
fg_onednn_open_cpu(const struct fg_backend *backend, int i, struct fg_device **out,
    struct fg_err *err)
{
	return device_open(backend, dnnl_cpu, i, 0, out, err);
}

static bool
cpu_has(dnnl_cpu_isa_t isa)
{
	return ((unsigned)dnnl_get_effective_cpu_isa() & (unsigned)isa) ==
	       (unsigned)isa;
}

const char *
fg_onednn_isa(void)
{
	if (cpu_has(dnnl_cpu_isa_avx512_core_amx))
		return "AMX";
	if (cpu_has(dnnl_cpu_isa_avx512_core_bf16))
		return "AVX-512 bf16";
	if (cpu_has(dnnl_cpu_isa_avx512_core))
		return "AVX-512";
	if (cpu_has(dnnl_cpu_isa_avx2))
		return "AVX2";
	return "baseline";
}

void
fg_onednn_version(char out[32])
{
	const dnnl_version_t *v = dnnl_version();

	snprintf(out, 32, "oneDNN %d.%d.%d", v->major, v->minor, v->patch);
}

/* OpenCL: the same list of primitives on the library's GPU engine. Layouts are not
 * tuned for it. */
static int
opencl_count(void)
{
	return (int)dnnl_engine_get_count(dnnl_gpu);
}

static void
opencl_describe(int i, struct fg_device_desc *desc)
{
	int n = opencl_count();

	snprintf(desc->name, sizeof desc->name, "opencl:%d", i);
	snprintf(desc->detail, sizeof desc->detail, "OpenCL GPU through oneDNN");
	desc->usable = i >= 0 && i < n;
	if (!desc->usable)
		snprintf(desc->why, sizeof desc->why, "oneDNN sees %d OpenCL GPUs", n);
}

static int
opencl_open(int i, struct fg_device **out, struct fg_err *err)
{
	int n = opencl_count();

	if (i < 0 || i >= n)
		return fg_fail(err, FG_ENOENT, "no device opencl:%d, there are %d", i,
		    n);
	return device_open(&fg_backend_opencl, dnnl_gpu, i, (size_t)i, out, err);
}

const struct fg_backend fg_backend_opencl = {
    .abi = FG_BACKEND_ABI,
    .size = sizeof(struct fg_backend),
    .name = "opencl",
    .count = opencl_count,
    .describe = opencl_describe,
    .open = opencl_open,
    .close = fg_onednn_close,
    .load = fg_onednn_load,
    .unload = fg_onednn_unload,
    .forward = fg_onednn_forward,
};
