/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Networks from safetensors files: a small one written here, what the file and the
 * caller say about its shape, and the same with something missing or wrong.
 */
#include "config.h"

#include "seg/net.h"

#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/formats/safetensors.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;
static char dir[] = "/tmp/fg-safe-XXXXXX";

struct tensor {
	char name[64], shape[64];
	size_t values;
	float first;
};

/* A network of two modules, three features. */
struct model {
	struct tensor t[10];
	int n;
	const char *meta;
};

static const char good_meta[] =
    "\"fov\":\"[9,7,5]\",\"deltas\":\"[3,2,1]\",\"image_mean\":\"120.5\","
    "\"image_stddev\":\"30\"";

static void
add(struct model *m, const char *name, const char *shape, size_t values)
{
	struct tensor *t = &m->t[m->n++];

	snprintf(t->name, sizeof t->name, "seed_update/%s", name);
	snprintf(t->shape, sizeof t->shape, "%s", shape);
	t->values = values;
	t->first = (float)m->n;
}

static struct model
good_model(void)
{
	struct model m = {.meta = good_meta};

	add(&m, "conv0_a/biases", "3", 3);
	add(&m, "conv0_a/weights", "3,3,3,2,3", 162);
	add(&m, "conv0_b/biases", "3", 3);
	add(&m, "conv0_b/weights", "3,3,3,3,3", 243);
	add(&m, "conv1_a/biases", "3", 3);
	add(&m, "conv1_a/weights", "3,3,3,3,3", 243);
	add(&m, "conv1_b/biases", "3", 3);
	add(&m, "conv1_b/weights", "3,3,3,3,3", 243);
	add(&m, "conv_lom/biases", "1", 1);
	add(&m, "conv_lom/weights", "1,1,1,3,1", 3);
	return m;
}

/* Written to a file of its own; the caller frees the name. */
static char *
write_model(const struct model *m)
{
	static int count;
	char *path = fg_asprintf("%s/%d.safetensors", dir, count++);
	struct fg_str head = FG_STR_INIT, data = FG_STR_INIT;
	struct fg_buf *b;

	fg_str_putf(&head, "{\"__metadata__\":{%s}", m->meta);
	for (int i = 0; i < m->n; i++) {
		const struct tensor *t = &m->t[i];

		fg_str_putf(&head,
		    ",\"%s\":{\"dtype\":\"F32\",\"shape\":[%s],\"data_offsets\":[%zu,%"
		    "zu]"
		    "}",
		    t->name, t->shape, data.len, data.len + 4 * t->values);
		for (size_t k = 0; k < t->values; k++) {
			float v = k == 0 ? t->first : 0.25f;

			fg_str_put(&data, &v, sizeof v);
		}
	}
	fg_str_puts(&head, "}");
	b = safetensors_file(head.data, data.data, data.len);
	if (fg_file_write_fast(path, b->data, b->len, &err) < 0)
		printf("Bail out! %s\n", err.msg), exit(1);
	fg_buf_unref(b);
	fg_str_fini(&head);
	fg_str_fini(&data);
	return path;
}

static struct fg_net *
load(const struct model *m, struct fg_net_shape shape)
{
	char *path = write_model(m);
	struct fg_net *net = fg_net_load(path, &shape, &err);

	unlink(path);
	free(path);
	return net;
}

static void
test_good(void)
{
	struct model m = good_model();
	struct fg_net_shape s = FG_NET_SHAPE_UNSET;
	struct fg_net *net = load(&m, s);
	char *path;

	if (!tap_ok(net != NULL, "loads")) {
		printf("# %s\n", err.msg);
		return;
	}
	tap_int(net->depth, 2, "depth");
	tap_ok(net->conv[0].in == 2 && net->conv[0].out == 3 && net->conv[4].k == 1,
	    "convolutions");
	tap_ok(net->conv[0].b[0] == 1 && net->conv[0].w[0] == 2 &&
		   net->conv[3].w[242] == 0.25f && net->conv[4].b[0] == 9,
	    "weights");
	tap_ok(net->shape.fov[0] == 9 && net->shape.fov[2] == 5 &&
		   net->shape.delta[1] == 2 && net->shape.mean == 120.5 &&
		   net->shape.stddev == 30,
	    "the file says how it is fed");
	fg_net_free(net);
	s = (struct fg_net_shape){{9, 7, 5}, {2, 2, 2}, 128, 33};
	net = load(&m, s);
	tap_ok(net && net->shape.delta[0] == 2 && net->shape.mean == 128,
	    "options outrank it");
	fg_net_free(net);
	path = write_model(&m);
	s = FG_NET_SHAPE_UNSET;
	s.stddev = 1;
	tap_rc(fg_net_find_shape(path, &s, &err), &err, "shape alone");
	tap_ok(s.fov[1] == 7 && s.delta[2] == 1 && s.mean == 0 && s.stddev == 1,
	    "its unset fields are filled");
	unlink(path);
	free(path);
	tap_rc(fg_net_find_shape("model.ckpt", &s, &err), &err,
	    "checkpoints say nothing");
}

static void
test_meta(void)
{
	static const struct {
		const char *what, *meta, *part;
	} bad[] = {
	    {"no metadata", "", "no metadata \"fov\""},
	    {"field of view is text",
		"\"fov\":\"large\",\"deltas\":\"[3,2,1]\",\"image_mean\":\"120\","
		"\"image_stddev\":\"30\"",
		"metadata \"fov\" is large"},
	    {"two numbers",
		"\"fov\":\"[9,7]\",\"deltas\":\"[3,2,1]\",\"image_mean\":\"120\","
		"\"image_stddev\":\"30\"",
		"metadata \"fov\" is [9,7]"},
	    {"fraction of a voxel",
		"\"fov\":\"[9,7,5]\",\"deltas\":\"[3,2.5,1]\",\"image_mean\":\"120\","
		"\"image_stddev\":\"30\"",
		"\"deltas\" has 2.5 on axis y"},
	    {"negative step",
		"\"fov\":\"[9,7,5]\",\"deltas\":\"[3,2,-1]\",\"image_mean\":\"120\","
		"\"image_stddev\":\"30\"",
		"\"deltas\" has -1 on axis z"},
	    {"mean is a list of one",
		"\"fov\":\"[9,7,5]\",\"deltas\":\"[3,2,1]\",\"image_mean\":\"[1]\","
		"\"image_stddev\":\"30\"",
		NULL},
	};
	struct model m = good_model();

	for (size_t i = 0; i < FG_COUNTOF(bad); i++) {
		struct fg_net *net;

		m.meta = bad[i].meta;
		net = load(&m, FG_NET_SHAPE_UNSET);
		if (bad[i].part) {
			tap_fails(net ? 0 : -1, &err, FG_ECORRUPT, bad[i].part,
			    bad[i].what);
		} else {
			tap_ok(net && net->shape.mean == 1, "%s", bad[i].what);
			fg_net_free(net);
		}
	}
	m.meta = "\"fov\":\"[9,8,5]\",\"deltas\":\"[3,2,1]\",\"image_mean\":\"120\","
		 "\"image_stddev\":\"30\"";
	tap_fails(load(&m, FG_NET_SHAPE_UNSET) ? 0 : -1, &err, FG_EINVAL, "axis y",
	    "even field of view");
	m.meta = "\"fov\":\"[9,7,5]\",\"deltas\":\"[3,2,1]\",\"image_mean\":\"120\","
		 "\"image_stddev\":\"-3\"";
	tap_fails(load(&m, FG_NET_SHAPE_UNSET) ? 0 : -1, &err, FG_EINVAL, "stddev -3",
	    "negative deviation");
	m.meta = good_meta;
	tap_fails(load(&m, (struct fg_net_shape){{33, 33, 33}, {8, 8, 8}, 128, 33})
		      ? 0
		      : -1,
	    &err, FG_EINVAL, "33x33x33: the network was made for 9x7x5",
	    "another field of view");
}

static void
test_tensors(void)
{
	struct model m = good_model();

	m.t[9].first = NAN;
	tap_fails(load(&m, FG_NET_SHAPE_UNSET) ? 0 : -1, &err, FG_ECORRUPT,
	    "seed_update/conv_lom/weights: value 0 is not a number", "NaN");
	m.t[9].first = -INFINITY;
	tap_fails(load(&m, FG_NET_SHAPE_UNSET) ? 0 : -1, &err, FG_ECORRUPT,
	    "conv_lom/weights: value 0 is infinite", "infinity");
	m = good_model();
	m.n = 9;
	tap_fails(load(&m, FG_NET_SHAPE_UNSET) ? 0 : -1, &err, FG_ECORRUPT,
	    "no tensor seed_update/conv_lom/weights", "missing tensor");
	m = good_model();
	snprintf(m.t[7].shape, sizeof m.t[7].shape, "3,3,3,1,9");
	tap_fails(load(&m, FG_NET_SHAPE_UNSET) ? 0 : -1, &err, FG_ECORRUPT,
	    "conv1_b/weights: shape 3x3x3x1x9, wanted 3x3x3x3x3", "wrong shape");
	m = good_model();
	m.t[0].values = 2;
	tap_fails(load(&m, FG_NET_SHAPE_UNSET) ? 0 : -1, &err, FG_ECORRUPT,
	    "conv0_a/biases: 8 bytes of data, its shape wants 12", "bytes and shape");
	tap_fails(fg_net_load("/nowhere.safetensors", &FG_NET_SHAPE_UNSET, &err) ? 0
										 : -1,
	    &err, FG_ENOENT, "nowhere", "no such file");
}

int
main(void)
{
	if (!mkdtemp(dir))
		return 1;
	test_good();
	test_meta();
	test_tensors();
	rmdir(dir);
	return tap_done();
}
