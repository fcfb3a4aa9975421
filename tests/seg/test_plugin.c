/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plug-ins, with the fake one in all its variants (tests/plugins/fake.c) in one folder:
 * what is accepted and what is refused with which words; then a device with little
 * memory, one with none, one that is wrong, and one that is lost while it serves.
 */
#include "config.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "seg/batcher.h"
#include "seg/plugin.h"
#include "seg/probe.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

/* ------------------------------------------------------------- listing */

static const struct fg_device_desc *
named(const struct fg_device_desc *d, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++) {
		if (strcmp(d[i].name, name) == 0)
			return &d[i];
	}
	return NULL;
}

static void
refused(const struct fg_device_desc *d, size_t n, const char *file, const char *why)
{
	const struct fg_device_desc *x = named(d, n, file);

	tap_ok(x && !x->usable && strstr(x->why, why), "%s is refused: %s", file, why);
	if (x)
		printf("# %s: %s\n", file, x->why);
}

static void
listing(void)
{
	const struct fg_device_desc *x;
	struct fg_device_desc *d = NULL;
	size_t n = 0;

	if (!tap_rc(fg_devices_list(&d, &n, &err), &err, "list"))
		return;
	tap_str(d[0].name, "cpu:0", "cores come first");
	x = named(d, n, "fake:0");
	tap_ok(x && x->usable && x->memory == 1 << 30, "a good device of the plug-in");
	x = named(d, n, "fake:6");
	tap_ok(x && !x->usable && strcmp(x->why, "it is not there") == 0,
	    "one that says why not");
	tap_ok(!named(d, n, "fake:8"), "no more than it counts");
	refused(d, n, "floodgate-bare.so", "no symbol fg_plugin");
	refused(d, n, "floodgate-gaps.so", "gaps");
	refused(d, n, "floodgate-old.so", "interface 2, this program has 3");
	refused(d, n, "floodgate-short.so", "bytes, this program's");
	refused(d, n, "floodgate-other.so", "calls itself \"fake\"");
	refused(d, n, "floodgate-text.so", "");
	tap_ok(!strstr(named(d, n, "floodgate-text.so")->why, "/"),
	    "the reason names no folder");
	tap_ok(!named(d, n, "readme.so"), "other files are not touched");
	tap_int(fg_precision_auto(d, n),
	    named(d, n, "cpu:0")->bf16 ? FG_PREC_BF16 : FG_PREC_F32, "precision");
	free(d);
}

/* ------------------------------------------------------------- probing */

static void
probe(const char *name, const struct fg_net *net, int batch, struct fg_probe *p)
{
	if (!tap_rc(fg_probe_device(name, net, FG_PREC_F32, batch, 0, p, &err), &err,
		name))
		p->checked = false;
}

static void
fails(const char *name, const struct fg_net *net, enum fg_code code, const char *why)
{
	struct fg_probe p;

	probe(name, net, 8, &p);
	tap_ok(!p.checked && p.err.code == code && strstr(p.err.msg, why),
	    "%s fails: %s", name, why);
	printf("# %s\n", p.err.msg);
}

static void
probing(const struct fg_net *net)
{
	struct fg_probe p;

	probe("cpu:0", net, 3, &p);
	tap_ok(p.checked && p.same, "a core is right and even: %s", p.err.msg);
	probe("fake:0", net, 9, &p);
	tap_ok(p.checked && p.same, "so is the good device: %s", p.err.msg);
	tap_int(p.batch_max, 9, "with as many patches as wanted");
	tap_int(p.sizes, 3, "tried at 1, 8 and 9");
	probe("fake:1", net, 64, &p);
	tap_ok(p.checked, "little memory is no failure: %s", p.err.msg);
	tap_int(p.batch_max, 4, "64 is halved until it fits");
	fails("fake:2", net, FG_ENOTSUP, "no room for a single patch");
	fails("fake:4", net, FG_EIO, "self-check");
	fails("fake:7", net, FG_EIO, "the door is shut");
	probe("fake:5", net, 4, &p);
	tap_ok(p.checked && !p.same, "one bit in the last place is noticed");
	tap_fails(fg_probe_device("fake:8", net, FG_PREC_F32, 1, 0, &p, &err), &err,
	    FG_ENOENT, "there are 8", "a device that is not there");
}

/* ------------------------------------------------------------- a loss */

struct server {
	struct fg_batcher *batcher;
	const char *device;
	pthread_t thread;
	int rc;
	struct fg_err err;
};

static void *
serve(void *arg)
{
	struct server *s = arg;

	s->rc = fg_batcher_serve(s->batcher, s->device, &s->err);
	return NULL;
}

static void
start(struct server *s, struct fg_batcher *b, const char *device)
{
	*s = (struct server){.batcher = b, .device = device};
	if (pthread_create(&s->thread, NULL, serve, s) != 0)
		abort();
}

static void
wait_devices(struct fg_batcher *b, int n)
{
	int64_t deadline = fg_clock_ns() + 120 * FG_NS_PER_S;

	while (fg_batcher_devices(b) != n && fg_clock_ns() < deadline)
		nanosleep(&(struct timespec){0, FG_NS_PER_MS}, NULL);
}

static void
make_image(struct fg_array *image)
{
	const int64_t shape[4] = {25, 25, 25, 1};
	uint32_t s = 9;

	if (fg_array_init(image, FG_U8, shape, &err) < 0)
		abort();
	for (size_t i = 0; i < 25 * 25 * 25; i++) {
		s = s * 1664525u + 1013904223u;
		((uint8_t *)image->data)[i] = (uint8_t)(s >> 24);
	}
}

/* Segment the image on what serves b. */
static int
segment(struct fg_batcher *b, int floods, struct fg_array *labels,
    struct fg_seg_stats *st, struct fg_err *e)
{
	static const _Atomic int cls = FG_BULK;
	static const _Atomic bool cancel = false;
	struct fg_array image = FG_ARRAY_INIT;
	struct fg_flood_params params;
	int rc;

	make_image(&image);
	fg_flood_params_default(&params);
	params.min_segment_size = 1;
	if (fg_array_init(labels, FG_U32, image.shape, e) < 0)
		abort();
	rc = fg_segment_block(b,
	    &(struct fg_block_call){.image = &image,
		.params = &params,
		.cls = &cls,
		.cancel = &cancel,
		.floods = floods},
	    labels, NULL, st, e);
	fg_array_fini(&image);
	return rc;
}

static void
stop(struct fg_batcher *b, struct server *s, int n)
{
	fg_batcher_stop(b);
	for (int i = 0; i < n; i++)
		pthread_join(s[i].thread, NULL);
	fg_batcher_free(b);
}

/* ------------------------------------------------------------- batches */

struct batch {
	struct fg_batcher *batcher;
	struct fg_model *model;
	int rc;
};

static void *
serve_batch(void *arg)
{
	struct batch *s = arg;

	s->rc = fg_batcher_serve_model(s->batcher, s->model, NULL);
	return NULL;
}

/* The same block with 1, 8 and 64 floods at a time, in batches of as many. */
static void
batches(const struct fg_net *net)
{
	static const int sizes[] = {1, 8, 64};
	struct fg_array want = FG_ARRAY_INIT;
	const struct fg_backend *b = NULL;
	struct fg_device *dev = NULL;
	uint64_t steps = 0;
	int index;

	if (!tap_rc(fg_device_find("fake:0", &b, &index, &err), &err, "find") ||
	    !tap_rc(b->open(index, &dev, &err), &err, "open"))
		return;
	for (size_t k = 0; k < FG_COUNTOF(sizes); k++) {
		struct fg_array got = FG_ARRAY_INIT;
		struct fg_seg_stats st = {0};
		struct batch s = {.batcher = fg_batcher_new(net, FG_PREC_F32, 0, &err)};
		pthread_t thread;

		if (!tap_rc(b->load(dev, net, FG_PREC_F32, sizes[k], &s.model, &err),
			&err, "load") ||
		    pthread_create(&thread, NULL, serve_batch, &s) != 0)
			abort();
		wait_devices(s.batcher, 1);
		tap_int(fg_batcher_room(s.batcher), sizes[k], "room for %d", sizes[k]);
		/* 0: as many floods as there is room for. */
		tap_rc(segment(s.batcher, 0, &got, &st, &err), &err, "a block");
		fg_batcher_stop(s.batcher);
		pthread_join(thread, NULL);
		tap_int(s.rc, 0, "served");
		fg_batcher_free(s.batcher);
		b->unload(s.model);
		if (k == 0) {
			want = got;
			steps = st.steps;
		} else {
			tap_ok(st.steps == steps &&
				   memcmp(got.data, want.data, 25 * 25 * 25 * 4) == 0,
			    "%d at a time: labels and steps are those of one",
			    sizes[k]);
			printf("# %d wasted\n", (int)st.wasted);
			fg_array_fini(&got);
		}
		fg_seg_stats_fini(&st);
	}
	fg_array_fini(&want);
	b->close(dev);
}

static void
losing(const struct fg_net *net)
{
	struct fg_array want = FG_ARRAY_INIT, got = FG_ARRAY_INIT, none = FG_ARRAY_INIT;
	struct fg_seg_stats a = {0}, b = {0}, c = {0};
	struct fg_err lost = FG_ERR_INIT;
	struct server s[2];

	struct fg_batcher *x = fg_batcher_new(net, FG_PREC_F32, 0, &err);
	start(&s[0], x, "fake:0");
	tap_rc(segment(x, 4, &want, &a, &err), &err, "a block on the good device");
	tap_ok(a.steps > 8 && a.objects > 0, "%d steps, %d objects", (int)a.steps,
	    (int)a.objects);
	stop(x, s, 1);

	x = fg_batcher_new(net, FG_PREC_F32, 0, &err);
	start(&s[0], x, "fake:0");
	start(&s[1], x, "fake:3");
	wait_devices(x, 2);
	tap_rc(segment(x, 4, &got, &b, &err), &err, "a block while one device is lost");
	wait_devices(x, 1);
	tap_int(fg_batcher_devices(x), 1, "one device is left");
	stop(x, s, 2);
	tap_ok(s[1].rc < 0 && strstr(s[1].err.msg, "fake:3: the device fell off"),
	    "the other one told why: %s", s[1].err.msg);
	tap_int(s[0].rc, 0, "the good one did not fail");
	tap_ok(memcmp(got.data, want.data, 25 * 25 * 25 * 4) == 0 && a.steps == b.steps,
	    "the labels are the same");

	x = fg_batcher_new(net, FG_PREC_F32, 0, &err);
	start(&s[0], x, "fake:3");
	tap_fails(segment(x, 4, &none, &c, &lost), &lost, FG_EIO, "fell off its bus",
	    "with no other device the block fails");
	stop(x, s, 1);
	fg_seg_stats_fini(&a);
	fg_seg_stats_fini(&b);
	fg_seg_stats_fini(&c);
	fg_array_fini(&want);
	fg_array_fini(&got);
	fg_array_fini(&none);
}

int
main(void)
{
	const char *builddir = getenv("builddir");
	char *folder = fg_asprintf("%s/tests/plugins", builddir ? builddir : ".");
	char *text = fg_asprintf("%s/floodgate-text.so", folder);
	char *list = fg_asprintf("/nowhere:%s:", folder);

	if (fg_file_write_fast(text, "not an object\n", 14, &err) < 0) {
		printf("Bail out! %s\n", err.msg);
		return 1;
	}
	fg_plugins_search(list);
	struct fg_net *net = fg_probe_net(2, 4, 11);
	/* Floods that go on: the last bias lifts every logit. */
	((float *)net->conv[net->convs - 1].b)[0] = 4;
	listing();
	probing(net);
	struct fg_net *tiny = fg_probe_net(1, 2, 11);
	((float *)tiny->conv[tiny->convs - 1].b)[0] = 4;
	batches(tiny);
	fg_net_free(tiny);
	losing(net);
	fg_net_free(net);
	unlink(text);
	free(list);
	free(text);
	free(folder);
	return tap_done();
}
