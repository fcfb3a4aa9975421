/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segment the FIB-25 sample, or a box of it, as one block:
 *
 *   bench/fib25 DATA [--precision f32|bf16|f16] [--threads N] [--floods N]
 *               [--device cpu|cuda] [--box X0-X1_Y0-Y1_Z0-Z1] [--labels OUT.npy]
 *   bench/fib25 DATA --error PLACES [--precision ...] [--device ...]
 *
 * DATA is the folder with training_sample2_grayscale/ and the checkpoint. Prints what
 * was found, how long it took, how much of the devices' time that was, and the most
 * memory this process has held. OUT.npy (z, y, x) is for `floodgate evaluate`. With
 * --error nothing is segmented: logits of the device at that precision beside those of
 * the processor in f32, at the first and second step of PLACES places, 1 to 8.
 */
#include "config.h"

#include <math.h>
#include <sys/resource.h>

#include "bench/floods.h"
#include "formats/codec.h"
#include "formats/info.h"
#include "seg/device.h"

#define SIDE 250
#define FOV 33
#define VOXELS (FOV * FOV * FOV)
#define PLACES_MAX 8
#define LOGIT 2.944f /* of the seed; -LOGIT where nobody has looked */

struct options {
	const char *dir, *out, *device; /* device: kind, threads many of it */
	struct fg_box box;
	enum fg_precision prec;
	int threads, floods, error;
};

static bool
read_options(int argc, char **argv, struct options *o)
{
	struct fg_err err = FG_ERR_INIT;

	*o = (struct options){.box = {{0, 0, 0}, {SIDE, SIDE, SIDE}},
	    .device = "cpu",
	    .prec = FG_PREC_BF16,
	    .threads = 1};
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
		bool ok = true;

		if (a[0] != '-') {
			o->dir = a;
			continue;
		}
		i++;
		if (strcmp(a, "--precision") == 0)
			ok = fg_precision_parse(v, &o->prec, &err) == 0;
		else if (strcmp(a, "--threads") == 0)
			ok = (o->threads = atoi(v)) > 0 && o->threads <= THREADS_MAX;
		else if (strcmp(a, "--floods") == 0)
			ok = (o->floods = atoi(v)) >= 0;
		else if (strcmp(a, "--error") == 0)
			ok = (o->error = atoi(v)) > 0 && o->error <= PLACES_MAX;
		else if (strcmp(a, "--device") == 0)
			o->device = v;
		else if (strcmp(a, "--labels") == 0)
			o->out = v;
		else if (strcmp(a, "--box") == 0)
			ok = fg_chunk_name_parse(v, strlen(v), &o->box);
		else
			ok = false;
		if (!ok) {
			fprintf(stderr, "fib25: cannot use %s %s\n", a, v);
			return false;
		}
	}
	return o->dir != NULL;
}

/* The part `box` of the stack of images. */
static void
read_stack(const char *dir, const struct fg_box *box, struct fg_array *out)
{
	struct fg_err err = FG_ERR_INIT;
	int64_t shape[4] = {0, 0, 0, 1};

	fg_box_shape(box, shape);
	if (fg_array_init(out, FG_U8, shape, &err) < 0)
		die("image", &err);
	for (int64_t z = box->lo[2]; z < box->hi[2]; z++) {
		char *path = fg_asprintf("%s/training_sample2_grayscale/iso.%lld.png",
		    dir, (long long)(2600 + z));
		struct fg_buf *b = fg_file_read(path, 1 << 20, &err);
		struct fg_array slice = FG_ARRAY_INIT;
		struct fg_box at = {{0, 0, z}, {SIDE, SIDE, z + 1}};

		if (!b || fg_png_read(b->data, b->len, SIDE, &slice, &err) < 0)
			die(path, &err);
		fg_array_copy_box(out, box, &slice, &at);
		fg_array_fini(&slice);
		fg_buf_unref(b);
		free(path);
	}
}

static void
report(struct fg_batcher *b, const struct fg_seg_stats *st, int threads)
{
	struct fg_batcher_stats bs;
	struct rusage ru;
	double flood = (double)st->flood_ns / 1e9;
	double busy;
	long long voxels = 0;

	fg_batcher_get_stats(b, &bs);
	getrusage(RUSAGE_SELF, &ru);
	busy = (double)bs.device_ns / 1e9;
	for (size_t i = 0; i < st->objects; i++)
		voxels += st->origin[i].voxels;
	printf("seeds            %llu\n", (unsigned long long)st->seeds);
	printf("fields of view   %llu, and %llu thrown away\n",
	    (unsigned long long)st->steps, (unsigned long long)st->wasted);
	printf("floods           %llu, of them weak %llu, small %llu\n",
	    (unsigned long long)st->floods, (unsigned long long)st->too_weak,
	    (unsigned long long)st->too_small);
	printf("objects          %llu, %lld voxels\n", (unsigned long long)st->objects,
	    voxels);
	printf("time             %.1f s: seeds %.2f s, floods %.1f s\n",
	    (double)st->total_ns / 1e9, (double)st->seed_ns / 1e9, flood);
	printf("step             %.2f ms; devices busy %.1f %% of the floods' time\n",
	    1e3 * busy / (double)FG_MAX(bs.steps, 1u), 100 * busy / (flood * threads));
	printf("peak memory      %.2f GB\n", (double)ru.ru_maxrss / 1e6);
}

static void
run(const struct options *o, const struct fg_net *net, const struct fg_array *image)
{
	struct fg_err err = FG_ERR_INIT;
	struct servers servers;
	struct fg_flood_params params;
	struct fg_array labels;
	struct fg_seg_stats st;
	_Atomic int cls = FG_BULK;
	struct fg_block_call call = {.image = image,
	    .params = &params,
	    .cls = &cls,
	    .floods = o->floods};

	if (fg_array_init(&labels, FG_U32, image->shape, &err) < 0)
		die("setup", &err);
	start_servers(&servers, net, o->prec, o->device, o->threads);
	fg_flood_params_default(&params);
	if (fg_segment_block(servers.batcher, &call, &labels, NULL, &st, &err) < 0)
		die("segment", &err);
	report(servers.batcher, &st, o->threads);
	if (o->out)
		write_npy(o->out, &labels);
	stop_servers(&servers);
	fg_seg_stats_fini(&st);
	fg_array_fini(&labels);
}

/* ------------------------------------------------------------- logits */

/* One patch after the other, or as many as the device takes. */
static void
forward(const char *name, const struct fg_net *net, enum fg_precision prec, int places,
    const float *in, float *out)
{
	struct fg_err err = FG_ERR_INIT;
	const struct fg_backend *b;
	struct fg_device *dev;
	struct fg_model *m;
	int index;

	if (fg_device_find(name, &b, &index, &err) < 0 ||
	    b->open(index, &dev, &err) < 0 ||
	    fg_device_load(dev, net, prec, places, &m, &err) < 0)
		die(name, &err);
	for (int i = 0, n; i < places; i += n) {
		n = FG_MIN(m->batch_max, places - i);
		if (m->backend->forward(m, n, in + (size_t)i * 2 * VOXELS,
			out + (size_t)i * VOXELS, &err) < 0)
			die(name, &err);
	}
	m->backend->unload(m);
	b->close(dev);
}

/* Normalised image round the places at a third and two thirds of each axis. */
static void
fill_places(const struct fg_array *image, const struct fg_net *net, int places,
    float *in)
{
	const uint8_t *voxel = image->data;

	for (int i = 0; i < places * VOXELS; i++) {
		int place = i / VOXELS, v = i % VOXELS;
		int at[3] = {v % FOV, v / FOV % FOV, v / (FOV * FOV)};

		for (int d = 0; d < 3; d++)
			at[d] += SIDE / 3 * (1 + (place >> d & 1)) - FOV / 2;
		in[(size_t)place * 2 * VOXELS + (size_t)v] =
		    (float)((voxel[(at[2] * SIDE + at[1]) * SIDE + at[0]] -
				net->shape.mean) /
			    net->shape.stddev);
	}
}

static void
print_errors(const struct options *o, const struct fg_net *net,
    const struct fg_array *image)
{
	size_t n = (size_t)o->error * VOXELS;
	float *in = fg_alloc(2 * n * sizeof *in);
	float *want = fg_alloc(2 * n * sizeof *want), *got = want + n;
	char *name = fg_asprintf("%s:0", o->device);

	fill_places(image, net, o->error, in);
	for (int step = 0; step < 2; step++) {
		double sum = 0, most = 0;

		for (int p = 0; p < o->error; p++) {
			float *logit = in + (size_t)(2 * p + 1) * VOXELS;

			for (size_t v = 0; v < VOXELS; v++)
				logit[v] = step ? want[p * VOXELS + v] : -LOGIT;
			logit[VOXELS / 2] = LOGIT;
		}
		forward("cpu:0", net, FG_PREC_F32, o->error, in, want);
		forward(name, net, o->prec, o->error, in, got);
		for (size_t i = 0; i < n; i++) {
			double e = fabs((double)got[i] - want[i]);

			sum += e * e;
			most = fmax(most, e);
		}
		printf("step %d, %s %s against f32: rms %.2g, max %.2g logits\n",
		    step + 1, name, fg_precision_name(o->prec), sqrt(sum / (double)n),
		    most);
	}
	free(name);
	free(in);
	free(want);
}

int
main(int argc, char **argv)
{
	struct fg_net_shape shape = {{33, 33, 33}, {8, 8, 8}, 128, 33};
	struct fg_err err = FG_ERR_INIT;
	struct fg_array image;
	struct options o;

	if (!read_options(argc, argv, &o)) {
		fprintf(stderr, "usage: fib25 DATA [options], see bench/fib25.c\n");
		return 1;
	}
	char *model = fg_asprintf("%s/model.ckpt-27465036", o.dir);
	struct fg_net *net = fg_net_load(model, &shape, &err);
	if (!net)
		die(model, &err);
	if (o.error)
		o.box = (struct fg_box){{0, 0, 0}, {SIDE, SIDE, SIDE}};
	read_stack(o.dir, &o.box, &image);
	if (o.error)
		print_errors(&o, net, &image);
	else
		run(&o, net, &image);
	fg_array_fini(&image);
	fg_net_free(net);
	free(model);
	return 0;
}
