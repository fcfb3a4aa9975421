/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segment a box of a phantom as one block and score it against the truth:
 *
 *   bench/phantom MODEL.safetensors [phantom KEY=VALUE,...] [--side N] [--halo N]
 *                 [--at X,Y,Z] [--precision f32|bf16] [--threads N] [--delta N]
 *                 [--labels OUT.npy]
 *
 * The box is a cube of side + 2 * halo voxels (128, 16); the inner cube is scored, as
 * it would be kept of a block. Prints times, fields of view, and the scores of
 * seg/score.h: over voxels labelled in both, as published evaluations do, and over all
 * that the truth labels.
 */
#include "config.h"

#include "bench/floods.h"
#include "seg/score.h"
#include "store/phantom.h"

struct options {
	const char *model, *out;
	struct fg_phantom phantom;
	int64_t at[3], side, halo, delta;
	enum fg_precision prec;
	int threads;
};

static bool
read_options(int argc, char **argv, struct options *o)
{
	struct fg_err err = FG_ERR_INIT;

	*o = (struct options){.side = 128,
	    .halo = 16,
	    .at = {20000, 20000, 20000},
	    .prec = FG_PREC_F32,
	    .threads = 1};
	fg_phantom_default(&o->phantom);
	o->phantom.seed = 1000001;
	for (int i = 1; i < argc; i++) {
		const char *a = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
		bool ok = true;

		if (a[0] != '-') {
			if (!o->model)
				o->model = a;
			else
				ok = fg_phantom_parse(a, &o->phantom, &err) == 0;
			v = "";
		} else {
			i++;
			if (strcmp(a, "--precision") == 0)
				ok = fg_precision_parse(v, &o->prec, &err) == 0;
			else if (strcmp(a, "--threads") == 0)
				ok = (o->threads = atoi(v)) > 0 &&
				     o->threads <= THREADS_MAX;
			else if (strcmp(a, "--side") == 0)
				ok = (o->side = atoi(v)) > 0;
			else if (strcmp(a, "--halo") == 0)
				ok = (o->halo = atoi(v)) >= 0;
			else if (strcmp(a, "--delta") == 0)
				ok = (o->delta = atoi(v)) > 0;
			else if (strcmp(a, "--labels") == 0)
				o->out = v;
			else if (strcmp(a, "--at") == 0)
				ok = sscanf(v, "%ld,%ld,%ld", &o->at[0], &o->at[1],
					 &o->at[2]) == 3;
			else
				ok = false;
		}
		if (!ok) {
			fprintf(stderr, "phantom: cannot use %s %s %s\n", a, v,
			    err.msg);
			return false;
		}
	}
	return o->model != NULL;
}

static void
print_score(const char *name, const struct fg_scorer *s, enum fg_score_over over)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_score r;

	if (fg_score_get(s, over, &r, &err) < 0)
		die("score", &err);
	printf("%-16s VOI %.4f = split %.4f + merge %.4f bits, adapted Rand error "
	       "%.4f, "
	       "%.4f of the voxels\n",
	    name, r.voi_split + r.voi_merge, r.voi_split, r.voi_merge, r.rand_error,
	    (double)r.compared / (double)r.voxels);
	if (over == FG_SCORE_REFERENCE)
		printf("%-16s %llu / %llu / %llu of %llu at IoU 0.5 / 0.75 / 0.9, "
		       "mean %.4f\n",
		    "objects", (unsigned long long)r.matched[0],
		    (unsigned long long)r.matched[1], (unsigned long long)r.matched[2],
		    (unsigned long long)r.ref_objects, r.iou_weighted);
}

static void
score(const struct options *o, const struct fg_box *box, const struct fg_array *labels)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_scorer *s = fg_score_new(0);
	int64_t shape[4] = {o->side, o->side, o->side, 1};
	struct fg_array truth, core;
	struct fg_box in = *box;

	for (int d = 0; d < 3; d++) {
		in.lo[d] += o->halo;
		in.hi[d] -= o->halo;
	}
	if (fg_array_init(&truth, FG_U64, shape, &err) < 0 ||
	    fg_array_init(&core, FG_U32, shape, &err) < 0)
		die("truth", &err);
	fg_array_copy_box(&core, &in, labels, box);
	if (fg_phantom_labels(&o->phantom, 0, &in, &truth, &err) < 0 ||
	    fg_score_add(s, &core, &truth, &err) < 0)
		die("truth", &err);
	print_score("both labelled", s, FG_SCORE_BOTH);
	print_score("truth labelled", s, FG_SCORE_REFERENCE);
	fg_score_free(s);
	fg_array_fini(&truth);
	fg_array_fini(&core);
}

static void
run(const struct options *o, const struct fg_net *net, const struct fg_box *box)
{
	struct fg_err err = FG_ERR_INIT;
	struct servers servers;
	int64_t side = o->side + 2 * o->halo, shape[4] = {side, side, side, 1};
	struct fg_array image, labels;
	struct fg_flood_params params;
	struct fg_seg_stats st;
	struct fg_batcher_stats bs;
	_Atomic int cls = FG_BULK;
	struct fg_block_call call = {.image = &image, .params = &params, .cls = &cls};

	if (fg_array_init(&image, FG_U8, shape, &err) < 0 ||
	    fg_array_init(&labels, FG_U32, shape, &err) < 0 ||
	    fg_phantom_image(&o->phantom, 0, box, &image, &err) < 0)
		die("image", &err);
	fg_flood_params_default(&params);
	start_servers(&servers, net, o->prec, "cpu", o->threads);
	if (fg_segment_block(servers.batcher, &call, &labels, NULL, &st, &err) < 0)
		die("segment", &err);
	fg_batcher_get_stats(servers.batcher, &bs);
	printf("floods           %llu seeds, %llu floods, %llu weak, %llu small, %llu "
	       "objects\n",
	    (unsigned long long)st.seeds, (unsigned long long)st.floods,
	    (unsigned long long)st.too_weak, (unsigned long long)st.too_small,
	    (unsigned long long)st.objects);
	printf("time             %.2f s (seeds %.2f s); %llu fields of view of %.2f "
	       "ms, "
	       "%.0f voxels each\n",
	    (double)st.total_ns / 1e9, (double)st.seed_ns / 1e9,
	    (unsigned long long)bs.steps,
	    1e-6 * (double)bs.device_ns / (double)FG_MAX(bs.steps, 1u),
	    (double)(side * side * side) / (double)FG_MAX(bs.steps, 1u));
	score(o, box, &labels);
	if (o->out)
		write_npy(o->out, &labels);
	stop_servers(&servers);
	fg_seg_stats_fini(&st);
	fg_array_fini(&image);
	fg_array_fini(&labels);
}

int
main(int argc, char **argv)
{
	struct fg_net_shape shape = FG_NET_SHAPE_UNSET;
	struct fg_err err = FG_ERR_INIT;
	struct options o;
	struct fg_box box;
	struct fg_net *net;

	if (!read_options(argc, argv, &o)) {
		fprintf(stderr, "usage: phantom MODEL [KEY=VALUE,...] [--side N] "
				"[--halo N] [--at X,Y,Z] [--precision P] [--threads N] "
				"[--delta N] [--labels OUT.npy]\n");
		return 2;
	}
	for (int d = 0; o.delta && d < 3; d++)
		shape.delta[d] = o.delta;
	if (!(net = fg_net_load(o.model, &shape, &err)))
		die("model", &err);
	for (int d = 0; d < 3; d++) {
		box.lo[d] = o.at[d] - o.halo;
		box.hi[d] = o.at[d] + o.side + o.halo;
	}
	printf("model            depth %d, %.2f GFLOP per field of view\n", net->depth,
	    fg_net_flops(net) / 1e9);
	run(&o, net, &box);
	fg_net_free(net);
	return 0;
}
