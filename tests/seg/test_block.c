/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks. Most of it runs on a made-up network that is quick and forgetful enough to
 * bring floods into conflict: one result for any number of floods and devices, classes,
 * cancelling, stopping, failing devices, masks. Then boxes of the FIB-25 sample on the
 * real one.
 */
#include "config.h"

#include <math.h>
#include <stdatomic.h>

#include "seg/batcher.h"
#include "tests/seg/sample.h"
#include "tests/tap.h"

static struct fg_err err = FG_ERR_INIT;

/* ------------------------------------------------------ a made-up network */

enum { DEVICES = 4, SIDE = 72, FOV = 9 };

struct fake {
	struct fg_backend backend;
	struct fg_model model;
	struct fg_batcher *batcher;
	pthread_t thread;
	int rc;
	struct fg_err err;
	uint32_t random;  /* for uneven speed */
	int64_t step_ns;  /* least time a step takes */
	int fail_after;   /* steps until it breaks; 0 = never */
	_Atomic int *log; /* counts steps on images of even and odd voxels */
};

static const struct fg_net fake_net = {
    .shape = {{FOV, FOV, FOV}, {2, 2, 2}, 128, 33},
};

static void
sleep_ns(int64_t ns)
{
	struct timespec t = {ns / FG_NS_PER_S, ns % FG_NS_PER_S};

	nanosleep(&t, NULL);
}

/* A voxel's new logit: bright is in, more so beside what is in already. So a patch
 * depends on the ones before it, and objects of one grey level run into each other. */
static void
fake_patch(const float *image, const float *logit, float *out)
{
	for (int i = 0; i < FOV * FOV * FOV; i++) {
		int x = i % FOV, y = i / FOV % FOV, z = i / FOV / FOV;
		float sum = 0;

		sum += x > 0 ? logit[i - 1] : -2;
		sum += x < FOV - 1 ? logit[i + 1] : -2;
		sum += y > 0 ? logit[i - FOV] : -2;
		sum += y < FOV - 1 ? logit[i + FOV] : -2;
		sum += z > 0 ? logit[i - FOV * FOV] : -2;
		sum += z < FOV - 1 ? logit[i + FOV * FOV] : -2;
		out[i] = fmaxf(-4, fminf(4, 3.2f * image[i] + 0.08f * sum));
	}
}

static int
fake_forward(struct fg_model *m, int n, const float *in, float *out, struct fg_err *e)
{
	struct fake *f = (struct fake *)((char *)m - offsetof(struct fake, model));
	size_t voxels = FOV * FOV * FOV;

	if (f->fail_after && --f->fail_after == 0)
		return fg_fail(e, FG_EIO, "the device has fallen off the bus");
	for (int k = 0; k < n; k++, in += 2 * voxels, out += voxels) {
		fake_patch(in, in + voxels, out);
		if (f->log)
			f->log[lroundf(in[0] * 33 + 128) & 1]++;
	}
	f->random = f->random * 1664525u + 1013904223u;
	if (f->step_ns)
		sleep_ns(f->step_ns + f->random % (uint32_t)f->step_ns);
	return 0;
}

static void *
fake_serve(void *arg)
{
	struct fake *f = arg;

	f->rc = fg_batcher_serve_model(f->batcher, &f->model, &f->err);
	return NULL;
}

static void
fake_start(struct fake *f, struct fg_batcher *b, int n, int batch, int64_t step_ns)
{
	struct fg_batcher_stats st = {0};

	for (int i = 0; i < n; i++) {
		f[i] = (struct fake){.batcher = b,
		    .random = (uint32_t)i,
		    .step_ns = step_ns};
		f[i].backend.forward = fake_forward;
		f[i].model = (struct fg_model){.backend = &f[i].backend,
		    .batch_max = batch,
		    .fov = {FOV, FOV, FOV}};
		if (pthread_create(&f[i].thread, NULL, fake_serve, &f[i]) != 0)
			sample_die("thread", &err);
	}
	while (st.devices < n) {
		sleep_ns(FG_NS_PER_MS);
		fg_batcher_get_stats(b, &st);
	}
}

static void
fake_stop(struct fake *f, int n)
{
	fg_batcher_stop(f->batcher);
	for (int i = 0; i < n; i++)
		pthread_join(f[i].thread, NULL);
}

/* Blobs of random place and size with walls between some of them. */
static void
blobs(struct fg_array *im, int64_t side, uint32_t seed)
{
	const int64_t size[4] = {side, side, side, 1};
	uint32_t s = seed;
	uint8_t *v;

	if (fg_array_init(im, FG_U8, size, &err) < 0)
		sample_die("image", &err);
	v = im->data;
	memset(v, 90, fg_array_count(im));
	for (int k = 0; k < side; k++) {
		int64_t c[3], r = 3 + (s >> 9) % 5;

		for (int d = 0; d < 3; d++) {
			s = s * 1664525u + 1013904223u;
			c[d] = (int64_t)((s >> 8) % (uint32_t)side);
		}
		for (int64_t i = 0; i < side * side * side; i++) {
			int64_t x = i % side - c[0], y = i / side % side - c[1];
			int64_t z = i / side / side - c[2], q = x * x + y * y + z * z;

			if (q <= r * r)
				v[i] = (uint8_t)(150 + (s >> 20) % 30);
			else if (q <= (r + 2) * (r + 2))
				v[i] = 70;
		}
	}
}

static void
fake_params(struct fg_flood_params *p)
{
	fg_flood_params_default(p);
	p->move_threshold = 0.8;
	p->min_segment_size = 30;
}

/* One block on the batcher; -1 and err on failure. */
struct run {
	struct fg_batcher *batcher;
	struct fg_block_call call;
	struct fg_flood_params params;
	struct fg_array labels, prob;
	struct fg_seg_stats stats;
	_Atomic int cls;
	_Atomic bool cancel;
	_Atomic uint64_t progress, progress_all;
	struct fg_err err;
	int rc;
	int64_t ns;
	pthread_t thread;
};

static void
run_init(struct run *r, struct fg_batcher *b, const struct fg_array *im, int floods)
{
	*r = (struct run){.batcher = b, .cls = FG_BULK};
	fake_params(&r->params);
	r->call = (struct fg_block_call){.image = im,
	    .params = &r->params,
	    .cls = &r->cls,
	    .cancel = &r->cancel,
	    .progress = &r->progress,
	    .progress_all = &r->progress_all,
	    .floods = floods};
	if (fg_array_init(&r->labels, FG_U32, im->shape, &err) < 0 ||
	    fg_array_init(&r->prob, FG_U8, im->shape, &err) < 0)
		sample_die("labels", &err);
}

static void
run_fini(struct run *r)
{
	fg_array_fini(&r->labels);
	fg_array_fini(&r->prob);
	fg_seg_stats_fini(&r->stats);
}

static void *
run_thread(void *arg)
{
	struct run *r = arg;
	int64_t start = fg_clock_ns();

	r->rc = fg_segment_block(r->batcher, &r->call, &r->labels, &r->prob, &r->stats,
	    &r->err);
	r->ns = fg_clock_ns() - start;
	return NULL;
}

static void
run_start(struct run *r)
{
	if (pthread_create(&r->thread, NULL, run_thread, r) != 0)
		sample_die("thread", &err);
}

static struct fg_batcher *
fake_batcher(void)
{
	struct fg_batcher *b = fg_batcher_new(&fake_net, FG_PREC_F32, 0, &err);

	if (!b)
		sample_die("batcher", &err);
	return b;
}

/* ------------------------------------------------------------- tests */

static bool
same_result(const struct run *a, const struct run *b)
{
	const struct fg_seg_stats *s = &a->stats, *t = &b->stats;

	return memcmp(a->labels.data, b->labels.data, fg_array_bytes(&a->labels)) ==
		   0 &&
	       memcmp(a->prob.data, b->prob.data, fg_array_bytes(&a->prob)) == 0 &&
	       s->steps == t->steps && s->floods == t->floods &&
	       s->objects == t->objects && s->too_weak == t->too_weak &&
	       s->too_small == t->too_small &&
	       memcmp(s->origin, t->origin, s->objects * sizeof *s->origin) == 0;
}

/* What the numbers say must hold in the labels. */
static void
check_result(const struct run *r)
{
	const uint32_t *l = r->labels.data;
	const uint8_t *p = r->prob.data;
	const struct fg_seg_stats *s = &r->stats;
	size_t n = fg_array_count(&r->labels), odd = 0, wrong = 0;
	int64_t *voxels = fg_calloc(s->objects + 1, sizeof *voxels);

	for (size_t i = 0; i < n; i++) {
		if (l[i] > s->objects)
			wrong++;
		else
			voxels[l[i]]++;
		odd += (l[i] != 0) != (p[i] != 0) || (l[i] && p[i] < 0.6 * 254);
	}
	tap_int(wrong, 0, "labels are 0 to %d", (int)s->objects);
	tap_int(odd, 0, "probabilities are there where labels are, 0.6 and more");
	for (size_t k = 0; k < s->objects; k++) {
		const struct fg_flood_origin *o = &s->origin[k];
		int64_t at = (o->start[2] * r->labels.shape[1] + o->start[1]) *
				 r->labels.shape[0] +
			     o->start[0];

		wrong += voxels[k + 1] != o->voxels || o->voxels < 30 || l[at] != k + 1;
	}
	tap_int(wrong, 0, "each object has its voxels, and its start is in it");
	tap_int(s->objects + s->too_weak + s->too_small, s->floods, "floods add up");
	tap_int(r->progress, r->progress_all, "progress is complete");
	tap_int(r->progress_all, s->seeds, "and counts seeds");
	free(voxels);
}

static void
any_number_of_floods(uint32_t seed)
{
	static const struct {
		int devices, floods, batch;
	} t[] = {{1, 1, 1}, {2, 0, 1}, {4, 0, 1}, {1, 4, 1}, {2, 8, 1}, {3, 16, 1},
	    {1, 8, 4}, {2, 16, 8}};
	struct fake fake[DEVICES];
	struct fg_array im;
	struct run first = {.rc = 0};

	blobs(&im, SIDE, seed);
	for (size_t k = 0; k < FG_COUNTOF(t); k++) {
		struct fg_batcher *b = fake_batcher();
		struct run r;

		fake_start(fake, b, t[k].devices, t[k].batch, k ? 20000 : 0);
		run_init(&r, b, &im, t[k].floods);
		run_thread(&r);
		if (!tap_rc(r.rc, &r.err, "segment"))
			break;
		if (k == 0) {
			check_result(&r);
			first = r;
		} else {
			tap_ok(same_result(&first, &r),
			    "%d devices, %d floods, batch %d: the same (%d steps, %d "
			    "more thrown away)",
			    t[k].devices, t[k].floods, t[k].batch, (int)r.stats.steps,
			    (int)r.stats.wasted);
			run_fini(&r);
		}
		fake_stop(fake, t[k].devices);
		fg_batcher_free(b);
	}
	tap_ok(first.stats.objects > 20 && first.stats.floods > first.stats.objects,
	    "%d objects of %d floods of %d seeds", (int)first.stats.objects,
	    (int)first.stats.floods, (int)first.stats.seeds);
	run_fini(&first);
	fg_array_fini(&im);
}

/* Devices come one after the other, one leaves; floods follow their number. */
static void
changing_devices(void)
{
	struct fake fake[DEVICES];
	struct fg_array im;
	struct run r[2];

	blobs(&im, SIDE, 5);
	for (int k = 0; k < 2; k++) {
		struct fg_batcher *b = fake_batcher();

		run_init(&r[k], b, &im, k ? 0 : 1);
		run_start(&r[k]);
		if (k)
			sleep_ns(20 * FG_NS_PER_MS); /* no device yet: it waits */
		fake_start(fake, b, 1, 1, 50000);
		if (k) {
			for (int i = 1; i < 3; i++) {
				sleep_ns(30 * FG_NS_PER_MS);
				fake_start(fake + i, b, 1, 1, 50000);
			}
		}
		pthread_join(r[k].thread, NULL);
		tap_rc(r[k].rc, &r[k].err, k ? "devices come late" : "one device");
		fg_batcher_stop(b);
		for (int i = 0; i < (k ? 3 : 1); i++)
			pthread_join(fake[i].thread, NULL);
		fg_batcher_free(b);
	}
	tap_ok(same_result(&r[0], &r[1]), "the same");
	run_fini(&r[0]);
	run_fini(&r[1]);
	fg_array_fini(&im);
}

/* An interactive block beside a bulk one, on one device: it gets 7 of 8 steps. */
static void
classes(bool promote)
{
	struct fg_batcher *b = fake_batcher();
	struct fg_array im[2];
	struct fake fake;
	struct run r[2];
	_Atomic int log[2] = {0};
	int bulk, fast;

	for (int k = 0; k < 2; k++) {
		blobs(&im[k], k ? 56 : SIDE, 11);
		for (size_t i = 0; i < fg_array_count(&im[k]); i++)
			((uint8_t *)im[k].data)[i] &= 0xfe;
		for (size_t i = 0; i < fg_array_count(&im[k]); i++)
			((uint8_t *)im[k].data)[i] |= (uint8_t)k;
		run_init(&r[k], b, &im[k], 1);
	}
	fake_start(&fake, b, 1, 1, 500000);
	fake.log = log;
	run_start(&r[0]);
	while (log[0] == 0)
		sleep_ns(FG_NS_PER_MS);
	r[1].cls = promote ? FG_BULK : FG_INTERACTIVE;
	run_start(&r[1]);
	while (log[1] < 20)
		sleep_ns(FG_NS_PER_MS);
	r[1].cls = FG_INTERACTIVE;
	bulk = -log[0];
	fast = -log[1];
	pthread_join(r[1].thread, NULL);
	bulk += log[0];
	fast += log[1];
	tap_rc(r[1].rc, &r[1].err, promote ? "promoted block" : "interactive block");
	tap_ok(fast > 50 && bulk <= fast / 7 + 12,
	    "%d interactive steps let at most every eighth through (%d others)", fast,
	    bulk);
	tap_ok(bulk >= fast / 7 - 3, "but that much, for bulk is owed it");
	r[0].cancel = true;
	int64_t start = fg_clock_ns();
	pthread_join(r[0].thread, NULL);
	tap_fails(r[0].rc, &r[0].err, FG_ECANCELED, "cancelled", "cancel the bulk one");
	tap_ok(fg_clock_ns() - start < FG_NS_PER_S, "within a second");
	fake_stop(&fake, 1);
	fg_batcher_free(b);
	for (int k = 0; k < 2; k++) {
		run_fini(&r[k]);
		fg_array_fini(&im[k]);
	}
}

static void
stop_and_failure(void)
{
	struct fg_array im;

	blobs(&im, SIDE, 21);
	for (int fails = 0; fails < 2; fails++) {
		struct fg_batcher *b = fake_batcher();
		struct fake fake[2];
		struct run r;

		fake_start(fake, b, 2, 1, 200000);
		if (fails)
			fake[0].fail_after = 40;
		run_init(&r, b, &im, 0);
		run_start(&r);
		if (!fails) {
			while (atomic_load(&r.progress) == 0)
				sleep_ns(FG_NS_PER_MS);
			fg_batcher_stop(b);
		}
		pthread_join(r.thread, NULL);
		if (fails)
			tap_rc(r.rc, &r.err, "a device fails: the other takes over");
		else
			tap_fails(r.rc, &r.err, FG_ECANCELED, "stopped",
			    "a batcher that stops ends its blocks");
		fake_stop(fake, 2);
		tap_int(fake[0].rc, fails ? -1 : 0, "the device's serve returns");
		tap_int(fake[1].rc, 0, "the other's too");
		struct fg_batcher_stats st;
		fg_batcher_get_stats(b, &st);
		tap_int(st.blocks + st.devices + (int)st.waiting, 0, "nothing is left");
		fg_batcher_free(b);
		run_fini(&r);
	}
	fg_array_fini(&im);
}

static void
masks(void)
{
	struct fg_batcher *b = fake_batcher();
	struct fg_array im, mask;
	struct fake fake;
	struct run r;
	size_t in_mask = 0;

	blobs(&im, SIDE, 31);
	fake_start(&fake, b, 1, 1, 0);
	if (fg_array_init_zero(&mask, FG_U8, im.shape, &err) < 0)
		sample_die("mask", &err);
	memset(mask.data, 1, fg_array_count(&mask) / 2);
	run_init(&r, b, &im, 0);
	r.call.mask = &mask;
	run_thread(&r);
	tap_rc(r.rc, &r.err, "half of the box has no data");
	for (size_t i = 0; i < r.stats.objects; i++)
		in_mask += r.stats.origin[i].start[2] < SIDE / 2;
	tap_int(in_mask, 0, "no object starts there");
	for (size_t i = 0; i < fg_array_count(&mask) / 2; i++)
		in_mask += i / (SIDE * SIDE) < SIDE / 2 - FOV / 2 &&
			   ((uint32_t *)r.labels.data)[i] != 0;
	tap_int(in_mask, 0, "nor reaches deeper than half a field of view");
	tap_ok(r.stats.objects > 5, "%d objects in the other half",
	    (int)r.stats.objects);
	fg_seg_stats_fini(&r.stats);
	memset(mask.data, 1, fg_array_count(&mask));
	run_thread(&r);
	tap_rc(r.rc, &r.err, "no data at all");
	tap_int(r.stats.seeds, 0, "no seeds");
	tap_ok(fg_array_is_zero(&r.labels), "no labels");
	run_fini(&r);
	fake_stop(&fake, 1);
	fg_batcher_free(b);
	fg_array_fini(&mask);
	fg_array_fini(&im);
}

static void
refused(void)
{
	struct fg_batcher *b = fake_batcher();
	struct fg_array im, f = {.dtype = FG_F32, .shape = {9, 9, 9, 1}};
	struct run r;

	blobs(&im, 20, 1);
	run_init(&r, b, &im, 1);
	r.call.image = &f;
	run_thread(&r);
	tap_fails(r.rc, &r.err, FG_EINVAL, "float32", "an image of floats");
	r.call.image = &im;
	r.labels.shape[0]--;
	run_thread(&r);
	tap_fails(r.rc, &r.err, FG_EINVAL, "labels", "labels of another shape");
	r.labels.shape[0]++;
	r.call.mask = &f;
	run_thread(&r);
	tap_fails(r.rc, &r.err, FG_EINVAL, "mask", "a mask of another type");
	r.call.mask = NULL;
	strcpy(r.params.seed_policy, "PolicyMax");
	run_thread(&r);
	tap_fails(r.rc, &r.err, FG_ENOTSUP, "PolicyMax", "an unknown policy");
	strcpy(r.params.seed_policy, "PolicyPeaks");
	r.cancel = true;
	run_thread(&r);
	tap_fails(r.rc, &r.err, FG_ECANCELED, "cancelled", "cancelled before it began");
	run_fini(&r);
	fg_batcher_free(b);
	fg_array_fini(&im);
}

/* A box smaller than a field of view has no seeds and needs no device. */
static void
tiny(void)
{
	struct fg_batcher *b = fake_batcher();
	struct fg_array im;
	struct run r;

	blobs(&im, 7, 3);
	run_init(&r, b, &im, 0);
	run_thread(&r);
	tap_rc(r.rc, &r.err, "7^3 with a field of view of 9^3");
	tap_ok(r.stats.objects == 0 && fg_array_is_zero(&r.labels), "is empty");
	run_fini(&r);
	fg_batcher_free(b);
	fg_array_fini(&im);
}

static void
params(void)
{
	struct fg_flood_params p, q;
	json_t *j;

	fg_flood_params_default(&p);
	p.move_threshold = 0.6;
	p.min_boundary_dist[2] = 2;
	j = fg_flood_params_format(&p);
	fg_flood_params_default(&q);
	tap_rc(fg_flood_params_parse(j, &q, &err), &err, "options as JSON and back");
	tap_ok(memcmp(&p, &q, sizeof p) == 0, "are the same");
	json_object_set_new(j, "pad_value", json_real(1.0));
	tap_fails(fg_flood_params_parse(j, &q, &err), &err, FG_EINVAL, "pad_value",
	    "a probability of 1 has no logit");
	json_object_set_new(j, "pad_value", json_real(0.5));
	json_object_set_new(j, "seed_policy", json_string("PolicyGrid3d"));
	tap_fails(fg_flood_params_parse(j, &q, &err), &err, FG_ENOTSUP, "PolicyGrid3d",
	    "a policy that is not there");
	json_decref(j);
	enum fg_precision prec;
	tap_rc(fg_precision_parse("BF16", &prec, &err), &err, "bf16");
	tap_int(prec, FG_PREC_BF16, "is bf16");
	tap_fails(fg_precision_parse("int4", &prec, &err), &err, FG_EINVAL, "int4",
	    "int4 is nothing");
}

/* ------------------------------------------------------------ the sample */

/* Share of the voxels labelled by both that agree with the published object which most
 * voxels of their object are in. */
static double
purity(const struct fg_array *labels, const struct fg_array *published, size_t objects)
{
	const uint32_t *l = labels->data;
	const uint8_t *p = published->data;
	int64_t(*count)[256] = fg_calloc(objects + 1, sizeof *count);
	int64_t both = 0, agree = 0;

	for (int64_t z = 0, i = 0; z < labels->shape[2]; z++) {
		for (int64_t y = 0; y < labels->shape[1]; y++) {
			for (int64_t x = 0; x < labels->shape[0]; x++, i++)
				count[l[i]]
				     [p[(z * SAMPLE_SIDE + y) * SAMPLE_SIDE + x]]++;
		}
	}
	for (size_t k = 1; k <= objects; k++) {
		int64_t most = 0;

		for (int id = 1; id < 256; id++) {
			both += count[k][id];
			most = FG_MAX(most, count[k][id]);
		}
		agree += most;
	}
	free(count);
	return (double)agree / (double)both;
}

static enum fg_precision
best_precision(void)
{
	struct fg_device_desc *d;
	size_t n;

	if (fg_devices_list(&d, &n, &err) < 0)
		sample_die("devices", &err);
	enum fg_precision prec = fg_precision_auto(d, n);
	free(d);
	return prec;
}

static void
sample(const struct fg_net *net, enum fg_precision prec, int64_t side, int runs)
{
	const struct fg_box box = {{0, 0, 0}, {side, side, side}};
	struct sample_servers servers;
	struct fg_array im, seg;
	struct run r[2];

	sample_image(&box, &im);
	sample_published(&seg);
	for (int k = 0; k < runs; k++) {
		struct fg_batcher *b = fg_batcher_new(net, prec, 0, &err);

		if (!b)
			sample_die("batcher", &err);
		sample_start(&servers, b, 2);
		run_init(&r[k], b, &im, runs > 1 ? runs - k : 0);
		fg_flood_params_default(&r[k].params);
		run_thread(&r[k]);
		sample_stop(&servers);
		fg_batcher_free(b);
		if (!tap_rc(r[k].rc, &r[k].err, "a box of the sample"))
			return;
		printf("# %lld^3, %s, %d floods: %d steps, %d thrown away, %d floods, "
		       "%d objects, %.1f s\n",
		    (long long)side, fg_precision_name(prec), r[k].call.floods,
		    (int)r[k].stats.steps, (int)r[k].stats.wasted,
		    (int)r[k].stats.floods, (int)r[k].stats.objects,
		    (double)r[k].ns / 1e9);
	}
	double same = purity(&r[0].labels, &seg, r[0].stats.objects);
	tap_ok(same > 0.97, "%.2f %% agree with the published segmentation",
	    100 * same);
	if (runs > 1)
		tap_ok(same_result(&r[0], &r[1]), "one flood at a time: the same");
	for (int k = 0; k < runs; k++)
		run_fini(&r[k]);
	fg_array_fini(&im);
	fg_array_fini(&seg);
}

int
main(void)
{
	tap_need_data();
	params();
	refused();
	tiny();
	any_number_of_floods(1);
	any_number_of_floods(2);
	changing_devices();
	classes(false);
	classes(true);
	stop_and_failure();
	masks();
	struct fg_net *net = sample_net();
	enum fg_precision prec = best_precision();
	sample(net, prec, 64, 2);
	/* In f32 a field of view takes ten times as long: minutes for this box. */
	if (prec != FG_PREC_F32)
		sample(net, prec, 100, 1);
	fg_net_free(net);
	return tap_done();
}
