/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The FIB-25 sample for the tests of seg/: image, network, published labels, and a
 * batcher with serving threads. Everything ends the program with a message when it
 * fails, since no test could go on.
 */
#ifndef FG_TESTS_SEG_SAMPLE_H
#define FG_TESTS_SEG_SAMPLE_H

#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "formats/codec.h"
#include "formats/npy.h"
#include "seg/segment.h"
#include "tests/tap.h"

#define SAMPLE_SIDE 250
#define SAMPLE_SERVERS 4

static inline void __attribute__((noreturn))
sample_die(const char *what, const struct fg_err *err)
{
	printf("Bail out! %s: %s\n", what, err->msg);
	exit(1);
}

static inline struct fg_net *
sample_net(void)
{
	struct fg_net_shape shape = {{33, 33, 33}, {8, 8, 8}, 128, 33};
	struct fg_err err = FG_ERR_INIT;
	char path[1200];

	snprintf(path, sizeof path, "%s/model.ckpt-27465036", tap_need_data());
	struct fg_net *net = fg_net_load(path, &shape, &err);
	if (!net)
		sample_die(path, &err);
	return net;
}

/* The part `box` of the image. */
static inline void
sample_image(const struct fg_box *box, struct fg_array *out)
{
	int64_t shape[4] = {0, 0, 0, 1};
	struct fg_err err = FG_ERR_INIT;
	char path[1200];

	fg_box_shape(box, shape);
	if (fg_array_init(out, FG_U8, shape, &err) < 0)
		sample_die("image", &err);
	for (int64_t z = box->lo[2]; z < box->hi[2]; z++) {
		struct fg_box at = {{0, 0, z}, {SAMPLE_SIDE, SAMPLE_SIDE, z + 1}};
		struct fg_array slice = FG_ARRAY_INIT;

		snprintf(path, sizeof path,
		    "%s/training_sample2_grayscale/iso.%lld.png", tap_need_data(),
		    (long long)(2600 + z));
		struct fg_buf *b = fg_file_read(path, 1 << 20, &err);
		if (!b || fg_png_read(b->data, b->len, SAMPLE_SIDE, &slice, &err) < 0)
			sample_die(path, &err);
		fg_array_copy_box(out, box, &slice, &at);
		fg_array_fini(&slice);
		fg_buf_unref(b);
	}
}

static inline void
sample_whole(struct fg_array *out)
{
	const struct fg_box box = {{0}, {SAMPLE_SIDE, SAMPLE_SIDE, SAMPLE_SIDE}};

	sample_image(&box, out);
}

/* The published segmentation: u8, 250^3. */
static inline void
sample_published(struct fg_array *out)
{
	struct fg_err err = FG_ERR_INIT;
	char path[1200];

	snprintf(path, sizeof path, "%s/sample-training2.npz", tap_need_data());
	struct fg_buf *b = fg_file_read(path, 16 << 20, &err);
	if (!b ||
	    fg_npz_decode(b->data, b->len, "segmentation", 64 << 20, out, &err) < 0)
		sample_die(path, &err);
	fg_buf_unref(b);
}

/* ------------------------------------------------------------ serving */

struct sample_server {
	struct fg_batcher *batcher;
	char device[32];
	pthread_t thread;
};

struct sample_servers {
	int n;
	struct sample_server server[SAMPLE_SERVERS];
};

static inline void *
sample_serve(void *arg)
{
	struct sample_server *s = arg;
	struct fg_err err = FG_ERR_INIT;

	if (fg_batcher_serve(s->batcher, s->device, &err) < 0)
		sample_die(s->device, &err);
	return NULL;
}

/* Serve b on n threads; they share the cores there are. Waits until all serve. */
static inline void
sample_start(struct sample_servers *s, struct fg_batcher *b, int n)
{
	struct fg_device_desc *list;
	struct fg_batcher_stats st = {0};
	struct fg_err err = FG_ERR_INIT;
	size_t devices;

	if (fg_devices_list(&list, &devices, &err) < 0)
		sample_die("devices", &err);
	s->n = n;
	for (int i = 0; i < n; i++) {
		struct sample_server *t = &s->server[i];

		t->batcher = b;
		snprintf(t->device, sizeof t->device, "%.31s",
		    list[(size_t)i % devices].name);
		if (pthread_create(&t->thread, NULL, sample_serve, t) != 0)
			sample_die("thread", &err);
	}
	free(list);
	while (st.devices < n) {
		struct timespec t = {0, 5 * FG_NS_PER_MS};

		nanosleep(&t, NULL);
		fg_batcher_get_stats(b, &st);
	}
}

static inline void
sample_stop(struct sample_servers *s)
{
	fg_batcher_stop(s->server[0].batcher);
	for (int i = 0; i < s->n; i++)
		pthread_join(s->server[i].thread, NULL);
}

#endif
