/* SPDX-License-Identifier: Apache-2.0 */
/* floodgate export: run work/export.h with a progress bar and print what was written.
 */
#include "config.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "store/store.h"
#include "work/catalog.h"
#include "work/export.h"
#include "work/tool.h"

static const struct fg_tool_option options[] = {
    {"sharded", NULL, "few large files (.shard) instead of one a chunk", 0},
    {"sharding", "LIST",
	"parameters instead of those chosen from the volume's\nsize, for all scales: "
	"hash=identity|murmurhash3_x86_128,\npreshift=N, minishard=N, shard=N, "
	"index=raw|gzip,\ndata=raw|gzip, without spaces; what is not named is 0 or raw",
	0},
    {"scales", "KEYS", "scale keys with commas between (default all)", 0},
    {"box", "BOX",
	"x0-x1_y0-y1_z0-z1 in voxels of the finest exported scale;\nthe chunks around "
	"it are exported (default all)",
	0},
    {"encoding", "ENC",
	"raw, jpeg, png or compressed_segmentation (default: as\nit is stored)", 0},
    {"jpeg-quality", "Q", "1 to 100, with --encoding jpeg (default 75)", 0},
    {"png-level", "L", "compression 0 to 9, with --encoding png", 0},
    {"gzip", NULL,
	"write chunks as NAME.gz; with --sharded gzip images, too,\nnot only "
	"labels",
	0},
    {"mesh", NULL,
	"with the meshes of all objects, in levels of detail\n(multi-resolution "
	"format), as "
	"far as they are made",
	0},
    {"mesh-legacy", NULL,
	"with the meshes of all objects in the legacy format of a\nsingle resolution "
	"(always files, also with --sharded)",
	0},
    {"properties", NULL,
	"with the segment properties of the 50,000 largest\nobjects, for the segment "
	"list of Neuroglancer",
	0},
    {"skeletons", NULL, "with the skeletons of all objects, as far as they are\nmade",
	0},
    {NULL, NULL, NULL, 0},
};

/* "hash=..,preshift=3,.." */
static int
parse_sharding(const char *text, struct fg_sharding *s, struct fg_err *err)
{
	static char *const keys[] = {"hash", "preshift", "minishard", "shard", "index",
	    "data", NULL};
	char *copy = fg_strdup(text), *p = copy, *value, *end;
	int *const bits[] = {NULL, &s->preshift_bits, &s->minishard_bits,
	    &s->shard_bits};
	static const long most[] = {0, 64, 32, 60};
	bool good = true;

	*s = (struct fg_sharding){.present = true};
	while (good && *p) {
		int k = getsubopt(&p, keys, &value);

		if (k < 0 || !value) {
			good = false;
		} else if (k == 0) {
			s->murmur = strcmp(value, "murmurhash3_x86_128") == 0;
			good = s->murmur || strcmp(value, "identity") == 0;
		} else if (k <= 3) {
			long v = strtol(value, &end, 10);

			good = *value && !*end && v >= 0 && v <= most[k];
			*bits[k] = (int)v;
		} else {
			bool gzip = strcmp(value, "gzip") == 0;

			good = gzip || strcmp(value, "raw") == 0;
			*(k == 4 ? &s->index_gzip : &s->data_gzip) = gzip;
		}
	}
	free(copy);
	if (!good || s->minishard_bits + s->shard_bits > 64)
		return fg_fail(err, FG_EINVAL,
		    "--sharding %s: wanted hash=identity or murmurhash3_x86_128, "
		    "preshift=0..64, minishard=0..32, shard=0..60, index= and data=raw "
		    "or gzip",
		    text);
	return 0;
}

static int
read_options(const struct fg_tool *t, struct fg_export *x, struct fg_box *box,
    struct fg_sharding *sharding, struct fg_err *err)
{
	int64_t quality = -1, level = -1;

	x->sharded = fg_tool_has(t, "sharded");
	x->gzip = fg_tool_has(t, "gzip");
	x->legacy_mesh = fg_tool_has(t, "mesh-legacy");
	x->mesh = x->legacy_mesh || fg_tool_has(t, "mesh");
	if (x->legacy_mesh && fg_tool_has(t, "mesh"))
		return fg_fail(err, FG_EINVAL,
		    "--mesh and --mesh-legacy: a volume names one format of meshes");
	x->properties = fg_tool_has(t, "properties");
	x->skeletons = fg_tool_has(t, "skeletons");
	x->scales = fg_tool_text(t, "scales", NULL);
	if (fg_tool_has(t, "sharding")) {
		if (!x->sharded)
			return fg_fail(err, FG_EINVAL, "--sharding needs --sharded");
		if (parse_sharding(fg_tool_text(t, "sharding", ""), sharding, err) < 0)
			return -1;
		x->sharding = sharding;
	}
	if (fg_tool_has(t, "box")) {
		if (fg_tool_box(fg_tool_text(t, "box", ""), box, err) < 0)
			return fg_err_prefix(err, "--box");
		x->box = box;
	}
	x->recode = fg_tool_has(t, "encoding");
	if (x->recode &&
	    fg_encoding_parse(fg_tool_text(t, "encoding", ""), &x->encoding, err) < 0)
		return fg_err_prefix(err, "--encoding");
	if (fg_tool_int(t, "jpeg-quality", 1, 100, &quality, err) < 0 ||
	    fg_tool_int(t, "png-level", 0, 9, &level, err) < 0)
		return -1;
	if (quality >= 0 && (!x->recode || x->encoding != FG_ENC_JPEG))
		return fg_fail(err, FG_EINVAL, "--jpeg-quality needs --encoding jpeg");
	if (level >= 0 && (!x->recode || x->encoding != FG_ENC_PNG))
		return fg_fail(err, FG_EINVAL, "--png-level needs --encoding png");
	x->jpeg_quality = (int)quality;
	x->png_level = (int)level;
	return 0;
}

struct show {
	struct fg_progress bar;
	bool quiet;
};

static void
on_progress(void *ctx, uint64_t done, uint64_t all)
{
	struct show *s = ctx;

	fg_progress_set(&s->bar, (double)done, (double)all);
}

static void
on_line(void *ctx, const char *line)
{
	const struct show *s = ctx;

	if (!s->quiet)
		fprintf(stderr, "floodgate export: %s\n", line);
}

static json_t *
describe_objects(const struct fg_export_object_counts *n)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "meshes", (json_int_t)n->meshes,
	    "missing_meshes", (json_int_t)n->meshes_missing, "skeletons",
	    (json_int_t)n->skeletons, "missing_skeletons",
	    (json_int_t)n->skeletons_missing, "segments", (json_int_t)n->segments);
}

static void
print_objects(const struct fg_export *x, const struct fg_export_object_counts *n)
{
	if (x->mesh)
		printf("  %llu meshes; %llu objects have none yet (floodgate mesh)\n",
		    (unsigned long long)n->meshes,
		    (unsigned long long)n->meshes_missing);
	if (x->skeletons)
		printf("  %llu skeletons; %llu objects have none yet (floodgate "
		       "skeleton)\n",
		    (unsigned long long)n->skeletons,
		    (unsigned long long)n->skeletons_missing);
	if (x->properties)
		printf("  properties of %llu segments\n",
		    (unsigned long long)n->segments);
}

static void
print_summary(const struct fg_tool *t, const struct fg_export *x,
    const struct fg_export_summary *s, double seconds)
{
	bool generated = !x->layer->source;
	char bytes[32], time[32];

	if (t->json) {
		fg_tool_print_json(
		    json_pack("{s:s, s:s, s:i, s:I, s:I, s:I, s:I, s:b, s:f, s:o}",
			"layer", x->layer->name, "destination", x->dest, "scales",
			s->scales, "chunks", (json_int_t)s->chunks, "missing_chunks",
			(json_int_t)s->missing, "files", (json_int_t)s->files, "bytes",
			(json_int_t)s->bytes, "resumed", s->resumed, "seconds", seconds,
			"objects", describe_objects(&s->objects)));
		return;
	}
	printf("%s: %llu chunks of %d scale%s in %llu files, %s, %s%s\n", x->dest,
	    (unsigned long long)s->chunks, s->scales, s->scales == 1 ? "" : "s",
	    (unsigned long long)s->files, fg_tool_bytes((double)s->bytes, bytes),
	    fg_tool_time(seconds, time), s->resumed ? " (gone on with)" : "");
	if (s->missing)
		printf("  %llu chunks %s: clients show background there\n",
		    (unsigned long long)s->missing,
		    generated ? "have not been made yet"
			      : "are absent in the layer as well");
	print_objects(x, &s->objects);
}

static int
run_export(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct show show = {.bar = {.unit = "chunks", .per = 1, .quiet = t->quiet},
	    .quiet = t->quiet};
	struct fg_export x = {.dest = t->arg[1],
	    .cancel = &fg_tool_stop,
	    .progress = on_progress,
	    .say = on_line,
	    .ctx = &show};
	struct fg_export_summary sum = {0};
	int64_t start = fg_clock_ns();
	struct fg_sharding sharding;
	struct fg_session s;
	struct fg_box box;
	int rc = -1;

	if (read_options(t, &x, &box, &sharding, &err) < 0 ||
	    fg_session_read(&s, t, &err) < 0)
		return fg_tool_fail(t, &err);
	x.store = s.store;
	x.layer = fg_session_layer(&s, t->arg[0], &err);
	if (x.layer) {
		char *what = fg_asprintf("export %s", x.layer->name);

		show.bar.what = what;
		fg_tool_catch_signals();
		rc = fg_export_run(&x, &sum, &err);
		fg_progress_end(&show.bar);
		free(what);
	}
	if (rc == 0)
		print_summary(t, &x, &sum,
		    (double)(fg_clock_ns() - start) / (double)FG_NS_PER_S);
	fg_layer_unref(x.layer);
	fg_session_close(&s);
	return rc == 0 ? FG_EXIT_OK : fg_tool_fail(t, &err);
}

const struct fg_tool_command fg_tool_export_commands[] = {
    {.name = "export",
	.args = "LAYER DEST",
	.least = 2,
	.most = 2,
	.summary = "write a layer as plain files that need no floodgate",
	.details =
	    "DEST becomes a precomputed volume that opens in Neuroglancer (behind any\n"
	    "web server with Range), CloudVolume and TensorStore; manifest.sha256 has\n"
	    "the sums of its files. Of a generated layer it takes what has been made;\n"
	    "floodgate segment makes the rest. Also beside a running daemon. After\n"
	    "Ctrl-C the same command goes on where it stopped.",
	.options = options,
	.run = run_export},
    {.name = NULL},
};
