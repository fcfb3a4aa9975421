/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The network that floodgate brings: the file is the one that its card describes, and
 * on specimens that it has not seen it does what the card says.
 */
#include "config.h"

#include <pthread.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "seg/score.h"
#include "seg/segment.h"
#include "store/phantom.h"
#include "tests/tap.h"

#define CORE 80
#define HALO 16

static struct fg_err err = FG_ERR_INIT;

struct server {
	struct fg_batcher *batcher;
	const char *device;
	pthread_t thread;
	struct fg_err err;
	int rc;
};

static void *
serve(void *arg)
{
	struct server *s = arg;

	s->rc = fg_batcher_serve(s->batcher, s->device, &s->err);
	return NULL;
}

static char *
model_path(const char *name)
{
	const char *dir = getenv("srcdir");

	return fg_asprintf("%s/seg/models/%s", dir ? dir : ".", name);
}

static void
test_card(const struct fg_net *net)
{
	char *path = model_path("phantom-small.md");
	struct fg_buf *card = fg_file_read(path, 1 << 20, &err);

	tap_ok(card && strstr((const char *)card->data, net->sha256) != NULL,
	    "the card names the checksum %s", net->sha256);
	fg_buf_unref(card);
	free(path);
	path = model_path("phantom-small.safetensors");
	card = fg_file_read(path, 1000000, &err);
	tap_ok(card != NULL, "the file is smaller than 1 MB");
	fg_buf_unref(card);
	free(path);
}

/* Segment CORE + 2 HALO voxels and score the core against the truth. */
static void
segment(struct fg_batcher *b, const char *text, struct fg_score *both,
    struct fg_score *ref)
{
	int64_t n = CORE + 2 * HALO, shape[4] = {n, n, n, 1};
	int64_t inner[4] = {CORE, CORE, CORE, 1};
	struct fg_box box = {{30000, 20000, 10000}, {30000 + n, 20000 + n, 10000 + n}};
	struct fg_box in = {{30000 + HALO, 20000 + HALO, 10000 + HALO},
	    {30000 + n - HALO, 20000 + n - HALO, 10000 + n - HALO}};
	struct fg_array image, labels, core, truth;
	struct fg_phantom p;
	struct fg_flood_params params;
	struct fg_seg_stats st;
	struct fg_scorer *s = fg_score_new(0);
	_Atomic int cls = FG_BULK;
	struct fg_block_call call = {.image = &image, .params = &params, .cls = &cls};

	fg_phantom_default(&p);
	fg_flood_params_default(&params);
	if (fg_phantom_parse(text, &p, &err) < 0 ||
	    fg_array_init(&image, FG_U8, shape, &err) < 0 ||
	    fg_array_init(&labels, FG_U32, shape, &err) < 0 ||
	    fg_array_init(&core, FG_U32, inner, &err) < 0 ||
	    fg_array_init(&truth, FG_U64, inner, &err) < 0 ||
	    fg_phantom_image(&p, 0, &box, &image, &err) < 0 ||
	    fg_phantom_labels(&p, 0, &in, &truth, &err) < 0 ||
	    fg_segment_block(b, &call, &labels, NULL, &st, &err) < 0)
		printf("Bail out! %s\n", err.msg), exit(1);
	fg_array_copy_box(&core, &in, &labels, &box);
	if (fg_score_add(s, &core, &truth, &err) < 0 ||
	    fg_score_get(s, FG_SCORE_BOTH, both, &err) < 0 ||
	    fg_score_get(s, FG_SCORE_REFERENCE, ref, &err) < 0)
		printf("Bail out! %s\n", err.msg), exit(1);
	fg_score_free(s);
	fg_seg_stats_fini(&st);
	fg_array_fini(&image);
	fg_array_fini(&labels);
	fg_array_fini(&core);
	fg_array_fini(&truth);
}

/* voi: bits over voxels labelled in both, as published scores count; covered: least
 * share of the truth's voxels that must be. */
static void
test_score(struct fg_batcher *b, const char *text, double voi, double covered)
{
	struct fg_score both, ref;

	segment(b, text, &both, &ref);
	printf("# %s: split %.4f, merge %.4f bits, adapted Rand error %.4f, %.3f of "
	       "the "
	       "truth labelled; background counted: %.4f bits\n",
	    text, both.voi_split, both.voi_merge, both.rand_error,
	    (double)both.compared / (double)ref.compared,
	    ref.voi_split + ref.voi_merge);
	tap_ok(both.voi_split + both.voi_merge <= voi, "%s: VOI at most %.2f bits",
	    text, voi);
	tap_ok((double)both.compared >= covered * (double)ref.compared,
	    "%s: at least %.2f of the truth is labelled", text, covered);
}

int
main(void)
{
	char *path = model_path("phantom-small.safetensors");
	struct fg_net_shape shape = FG_NET_SHAPE_UNSET;
	struct fg_net *net = fg_net_load(path, &shape, &err);
	struct fg_device_desc *dev = NULL;
	struct fg_batcher *b;
	struct server server[2];
	size_t n = 0;
	int servers = 0;

	if (!tap_ok(net != NULL, "the model loads")) {
		printf("# %s\n", err.msg);
		return tap_done();
	}
	test_card(net);
	if (fg_devices_list(&dev, &n, &err) < 0 ||
	    !(b = fg_batcher_new(net, fg_precision_auto(dev, n), 0, &err)))
		printf("Bail out! %s\n", err.msg), exit(1);
	printf("# precision %s\n", fg_precision_name(fg_precision_auto(dev, n)));
	for (size_t i = 0; i < n && servers < 2; i++) {
		struct server *s = &server[servers];

		if (!dev[i].usable)
			continue;
		*s = (struct server){.batcher = b, .device = dev[i].name};
		if (pthread_create(&s->thread, NULL, serve, s) == 0)
			servers++;
	}
	test_score(b, "seed=1000002", 0.4, 0.9);
	test_score(b, "seed=1000003,defects=20,jitter=4,drift=12", 0.8, 0.85);
	fg_batcher_stop(b);
	for (int i = 0; i < servers; i++) {
		pthread_join(server[i].thread, NULL);
		if (server[i].rc < 0 && server[i].err.code != FG_OK)
			printf("# %s: %s\n", server[i].device, server[i].err.msg);
	}
	fg_batcher_free(b);
	free(dev);
	fg_net_free(net);
	free(path);
	return tap_done();
}
