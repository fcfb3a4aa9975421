/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks from checkpoints: the published one, small ones written here, and the same
 * with a tensor missing, misshapen, of another type or not finite.
 */
#include "config.h"

#include "seg/net.h"

#include <math.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/file.h"
#include "base/hash.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;
static const struct fg_net_shape shape = {{33, 33, 33}, {8, 8, 8}, 128, 33};
static char dir[] = "/tmp/fg-net-XXXXXX";

/* ------------------------------------------------- writing a checkpoint */

struct tensor {
	char name[64];
	int type, rank;
	int64_t shape[6];
	float fill;
	int odd_at; /* this value is `odd` instead; -1 = none */
	float odd;
};

struct checkpoint {
	struct tensor t[32];
	int n;
};

static void
put_varint(struct fg_str *s, uint64_t v)
{
	for (; v >= 128; v >>= 7)
		fg_str_put(s, &(uint8_t){(uint8_t)(v | 128)}, 1);
	fg_str_put(s, &(uint8_t){(uint8_t)v}, 1);
}

static void
put_u32(struct fg_str *s, uint32_t v)
{
	uint8_t b[4];

	fg_put_u32le(b, v);
	fg_str_put(s, b, 4);
}

static uint32_t
masked(uint32_t c)
{
	return (c >> 15 | c << 17) + 0xa282ead8u;
}

static void
put_record(struct fg_str *s, const char *key, const struct fg_str *value)
{
	put_varint(s, 0);
	put_varint(s, strlen(key));
	put_varint(s, value->len);
	fg_str_puts(s, key);
	fg_str_put(s, value->data, value->len);
}

/* One restart, then the trailer; returns offset and size as a block handle. */
static void
end_block(struct fg_str *table, struct fg_str *block, struct fg_str *handle)
{
	put_u32(block, 0);
	put_u32(block, 1);
	put_varint(handle, table->len);
	put_varint(handle, block->len);
	fg_str_put(block, "", 1); /* not compressed */
	fg_str_put(table, block->data, block->len);
	put_u32(table, masked(fg_crc32c(0, block->data, block->len)));
	fg_str_fini(block);
	*block = FG_STR_INIT;
}

static void
put_tensor(struct fg_str *block, struct fg_str *data, const struct tensor *t)
{
	struct fg_str entry = FG_STR_INIT, dims = FG_STR_INIT;
	size_t n = 1, first = data->len;

	for (int i = 0; i < t->rank; i++) {
		struct fg_str dim = FG_STR_INIT;

		n *= (size_t)t->shape[i];
		fg_str_puts(&dim, "\x08");
		put_varint(&dim, (uint64_t)t->shape[i]);
		fg_str_puts(&dims, "\x12");
		put_varint(&dims, dim.len);
		fg_str_put(&dims, dim.data, dim.len);
		fg_str_fini(&dim);
	}
	for (size_t i = 0; i < n; i++) {
		float v = (int)i == t->odd_at ? t->odd : t->fill;

		fg_str_put(data, &v, sizeof v);
	}
	fg_str_puts(&entry, "\x08");
	put_varint(&entry, (uint64_t)t->type);
	fg_str_puts(&entry, "\x12");
	put_varint(&entry, dims.len);
	fg_str_put(&entry, dims.data, dims.len);
	fg_str_puts(&entry, "\x20");
	put_varint(&entry, first);
	fg_str_puts(&entry, "\x28");
	put_varint(&entry, n * sizeof(float));
	fg_str_puts(&entry, "\x35");
	put_u32(&entry, masked(fg_crc32c(0, data->data + first, n * sizeof(float))));
	put_record(block, t->name, &entry);
	fg_str_fini(&dims);
	fg_str_fini(&entry);
}

static int
by_name(const void *a, const void *b)
{
	return strcmp(((const struct tensor *)a)->name,
	    ((const struct tensor *)b)->name);
}

static void
write_checkpoint(struct checkpoint *c, const char *prefix)
{
	struct fg_str table = FG_STR_INIT, block = FG_STR_INIT, data = FG_STR_INIT;
	struct fg_str meta = FG_STR_INIT, index = FG_STR_INIT, handle = FG_STR_INIT;
	struct fg_str header = FG_STR_INIT;
	char path[128];

	qsort(c->t, (size_t)c->n, sizeof c->t[0], by_name);
	fg_str_put(&header, "\x08\x01\x1a\x02\x08\x01", 6);
	put_record(&block, "", &header);
	for (int i = 0; i < c->n; i++)
		put_tensor(&block, &data, &c->t[i]);
	end_block(&table, &block, &handle);
	put_record(&index, "t", &handle);
	struct fg_str footer = FG_STR_INIT;
	end_block(&table, &meta, &footer);
	end_block(&table, &index, &footer);
	while (footer.len < 40)
		fg_str_put(&footer, "", 1);
	fg_str_put(&footer, "\x57\xfb\x80\x8b\x24\x75\x47\xdb", 8);
	fg_str_put(&table, footer.data, footer.len);

	snprintf(path, sizeof path, "%s.index", prefix);
	if (fg_file_write_fast(path, table.data, table.len, &err) < 0)
		printf("Bail out! %s\n", err.msg);
	snprintf(path, sizeof path, "%s.data-00000-of-00001", prefix);
	if (fg_file_write_fast(path, data.data, data.len, &err) < 0)
		printf("Bail out! %s\n", err.msg);
	fg_str_fini(&table);
	fg_str_fini(&data);
	fg_str_fini(&handle);
	fg_str_fini(&footer);
	fg_str_fini(&header);
}

static struct tensor *
add(struct checkpoint *c, const char *conv, const char *part, int rank, int k, int in,
    int out)
{
	struct tensor *t = &c->t[c->n++];

	*t = (struct tensor){.type = 1, .rank = rank, .fill = 0.25f, .odd_at = -1};
	snprintf(t->name, sizeof t->name, "seed_update/%s/%s", conv, part);
	if (rank == 1)
		t->shape[0] = out;
	else
		memcpy(t->shape, (int64_t[]){k, k, k, in, out}, 5 * sizeof(int64_t));
	return t;
}

/* Two modules: 2 -> 4 -> 6, 6 -> 5 -> 6, then 6 -> 1. */
static void
small(struct checkpoint *c)
{
	static const struct {
		const char *name;
		int k, in, out;
	} conv[] = {{"conv0_a", 3, 2, 4}, {"conv0_b", 3, 4, 6}, {"conv1_a", 3, 6, 5},
	    {"conv1_b", 3, 5, 6}, {"conv_lom", 1, 6, 1}};

	c->n = 0;
	for (size_t i = 0; i < FG_COUNTOF(conv); i++) {
		add(c, conv[i].name, "weights", 5, conv[i].k, conv[i].in, conv[i].out);
		add(c, conv[i].name, "biases", 1, 0, 0, conv[i].out);
	}
}

static struct tensor *
find(struct checkpoint *c, const char *name)
{
	for (int i = 0; i < c->n; i++) {
		if (strcmp(c->t[i].name + strlen("seed_update/"), name) == 0)
			return &c->t[i];
	}
	abort();
}

/* ------------------------------------------------------------- tests */

static struct fg_net *
load(struct checkpoint *c)
{
	char prefix[64];

	snprintf(prefix, sizeof prefix, "%s/net", dir);
	write_checkpoint(c, prefix);
	return fg_net_load(prefix, &shape, &err);
}

static void
fails(struct checkpoint *c, enum fg_code code, const char *part, const char *what)
{
	struct fg_net *net = load(c);

	tap_fails(net ? 0 : -1, &err, code, part, what);
	fg_net_free(net);
}

static void
good(void)
{
	struct checkpoint c;
	struct fg_net *net;

	small(&c);
	find(&c, "conv1_a/weights")->odd_at = 7;
	find(&c, "conv1_a/weights")->odd = -3;
	net = load(&c);
	tap_ok(net != NULL, "features may differ by layer");
	if (!net) {
		printf("# %s\n", err.msg);
		return;
	}
	tap_int(net->depth, 2, "depth");
	tap_int(net->convs, 5, "convolutions");
	tap_int(net->conv[2].in, 6, "input of the second module");
	tap_int(net->conv[2].out, 5, "its features");
	tap_ok(net->conv[2].w[7] == -3 && net->conv[2].w[8] == 0.25f, "its weights");
	tap_int(net->conv[4].k, 1, "kernel of the last");
	double per = 2 * (27.0 * (2 * 4 + 4 * 6 + 6 * 5 + 5 * 6) + 6);
	tap_ok(fg_net_flops(net) == per * 33 * 33 * 33, "operations");
	fg_net_free(net);
}

static void
bad_tensors(void)
{
	struct checkpoint c;

	small(&c);
	strcpy(find(&c, "conv1_b/biases")->name, "seed_update/conv1_b/other");
	fails(&c, FG_ECORRUPT, "no tensor seed_update/conv1_b/biases", "no bias");
	small(&c);
	strcpy(find(&c, "conv0_a/weights")->name, "another/conv0_a/weights");
	fails(&c, FG_ECORRUPT, "not a flood-filling network", "no first tensor");
	small(&c);
	strcpy(find(&c, "conv1_a/weights")->name, "another/conv1_a/weights");
	fails(&c, FG_ECORRUPT, "no tensor seed_update/conv1_a/weights",
	    "half a module at the end");
	small(&c);
	strcpy(find(&c, "conv_lom/weights")->name, "another/conv_lom/weights");
	fails(&c, FG_ECORRUPT, "conv_lom/weights", "no last convolution");
	small(&c);
	find(&c, "conv0_a/weights")->shape[3] = 1;
	fails(&c, FG_ECORRUPT, "3x3x3x1x4, wanted 3x3x3x2x4", "one input channel");
	small(&c);
	find(&c, "conv1_b/weights")->shape[4] = 7;
	find(&c, "conv1_b/biases")->shape[0] = 7;
	fails(&c, FG_ECORRUPT, "wanted 3x3x3x5x6", "a module that cannot be added");
	small(&c);
	find(&c, "conv0_b/weights")->shape[0] = 5;
	fails(&c, FG_ECORRUPT, "5x3x3x4x6", "another kernel");
	small(&c);
	find(&c, "conv1_a/biases")->shape[0] = 4;
	fails(&c, FG_ECORRUPT, "4 values, wanted 5", "a short bias");
	small(&c);
	find(&c, "conv_lom/weights")->rank = 4;
	fails(&c, FG_ECORRUPT, "4 axes, wanted 5", "an axis too few");
	small(&c);
	find(&c, "conv0_b/weights")->type = 3;
	fails(&c, FG_ECORRUPT, "data type 3, wanted 1", "whole numbers as weights");
}

/* The name of a checkpoint is wanted, and one of its files is given. */
static void
one_file(void)
{
	struct checkpoint c;
	char path[64];

	small(&c);
	fg_net_free(load(&c));
	for (int k = 0; k < 2; k++) {
		struct fg_net *net;

		snprintf(path, sizeof path, "%s/net.%s", dir,
		    k % 2 ? "index" : "data-00000-of-00001");
		net = fg_net_load(path, &shape, &err);
		tap_fails(net ? 0 : -1, &err, FG_EINVAL, "without .index", path);
		fg_net_free(net);
	}
}

static void
not_finite(void)
{
	struct checkpoint c;
	struct tensor *t;

	small(&c);
	t = find(&c, "conv1_b/weights");
	t->odd_at = 26;
	t->odd = NAN;
	fails(&c, FG_ECORRUPT, "conv1_b/weights: value 26 is not a number", "NaN");
	small(&c);
	t = find(&c, "conv_lom/biases");
	t->odd_at = 0;
	t->odd = -INFINITY;
	fails(&c, FG_ECORRUPT, "conv_lom/biases: value 0 is infinite", "infinity");
}

static void
bad_shapes(const char *prefix)
{
	struct fg_net_shape s = shape;

	s.fov[1] = 32;
	tap_fails(fg_net_load(prefix, &s, &err) ? 0 : -1, &err, FG_EINVAL, "axis y",
	    "an even field of view");
	s = shape;
	s.fov[2] = 999;
	tap_fails(fg_net_load(prefix, &s, &err) ? 0 : -1, &err, FG_EINVAL, "999",
	    "a field of view too large");
	s = shape;
	s.delta[0] = 17;
	tap_fails(fg_net_load(prefix, &s, &err) ? 0 : -1, &err, FG_EINVAL, "step 17",
	    "a step out of the field of view");
	s = shape;
	s.stddev = 0;
	tap_fails(fg_net_load(prefix, &s, &err) ? 0 : -1, &err, FG_EINVAL, "stddev",
	    "a division by zero");
}

/* The files cut or with a bit flipped: the table's or a tensor's checksum fails. */
static void
damaged(void)
{
	char prefix[64], path[128];
	struct checkpoint c;

	small(&c);
	snprintf(prefix, sizeof prefix, "%s/net", dir);
	for (int k = 0; k < 4; k++) {
		write_checkpoint(&c, prefix);
		snprintf(path, sizeof path, "%s.%s", prefix,
		    k % 2 ? "index" : "data-00000-of-00001");
		struct fg_buf *b = fg_file_read(path, 1 << 20, &err);
		if (k < 2)
			b->data[b->len / 2] ^= 4;
		size_t n = k < 2 ? b->len : b->len - 1;
		if (fg_file_write_fast(path, b->data, n, &err) < 0)
			printf("Bail out! %s\n", err.msg);
		fg_buf_unref(b);
		struct fg_net *net = fg_net_load(prefix, &shape, &err);
		tap_fails(net ? 0 : -1, &err, FG_ECORRUPT, prefix,
		    k < 2 ? "a flipped bit" : "a byte missing");
		fg_net_free(net);
	}
	unlink(path);
	tap_fails(fg_net_load(prefix, &shape, &err) ? 0 : -1, &err, FG_ENOENT, prefix,
	    "no index file");
}

static void
published(void)
{
	char prefix[1200];

	snprintf(prefix, sizeof prefix, "%s/model.ckpt-27465036", tap_need_data());
	struct fg_net *net = fg_net_load(prefix, &shape, &err);
	tap_ok(net != NULL, "the published network");
	if (!net) {
		printf("# %s\n", err.msg);
		return;
	}
	tap_int(net->depth, 12, "its depth");
	tap_ok(fabs(fg_net_flops(net) / 1e9 - 45.83) < 0.005, "45.83e9 operations");
	tap_int(strlen(net->sha256), 64, "a checksum");
	tap_str(net->path, prefix, "its path");
	bad_shapes(prefix);
	fg_net_free(net);
}

int
main(void)
{
	char path[128];

	if (!mkdtemp(dir))
		return 1;
	good();
	bad_tensors();
	one_file();
	not_finite();
	damaged();
	for (int k = 0; k < 2; k++) {
		snprintf(path, sizeof path, "%s/net.%s", dir,
		    k % 2 ? "index" : "data-00000-of-00001");
		unlink(path);
	}
	rmdir(dir);
	published();
	return tap_done();
}
