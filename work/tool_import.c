/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floodgate import: run work/import.h with a progress bar, register the result as a
 * layer, print a summary. The lock of the data directory is held for the registration
 * only, so that an import may run for hours beside a daemon.
 */
#include "config.h"

#include <math.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "store/store.h"
#include "work/catalog.h"
#include "work/import.h"
#include "work/tool.h"

static const struct fg_tool_option options[] = {
    {"resolution", "X,Y,Z", "nanometres per voxel; needed", 0},
    {"type", "TYPE",
	"image or segmentation (default image, but\nsegmentation with an encoding of "
	"labels);\nlabels are made coarser by the most frequent\none, images by the "
	"mean",
	0},
    {"encoding", "ENC",
	"raw, jpeg, png, jxl, compressed_segmentation or compresso\n(default raw for "
	"an image, compressed_segmentation for\nlabels)",
	0},
    {"chunk", "X,Y,Z", "voxels of a chunk (default 64,64,64)", 0},
    {"offset", "X,Y,Z", "position of the first voxel (default 0,0,0)", 0},
    {"scales", "N", "how many scales (default: until the volume fits a chunk)", 0},
    {"jpeg-quality", "Q", "1 to 100, with --encoding jpeg (default 75)", 0},
    {"png-level", "L", "compression 0 to 9, with --encoding png", 0},
    {"jxl-quality", "Q",
	"1 to 100, with --encoding jxl: 100 is lossless (default\n90; 100 for 16 bits)",
	0},
    {"jxl-effort", "E", "1 (fast) to 9 (small), with --encoding jxl (default 3)", 0},
    {"rounding", "R",
	"of means: nearest-even (default: halves to the even\nnumber) or floor", 0},
    {"sparse", NULL,
	"0 means that there is nothing: it counts in a coarser\nvoxel only if all of "
	"it "
	"is 0",
	0},
    {"gzip", NULL, "keep chunks gzipped, as NAME.gz", 0},
    {"allow-holes", NULL, "missing sections become black instead of an error", 0},
    {NULL, NULL, NULL, 0},
};

/* Encodings of labels are of no use for an image, and means of labels are none. */
static int
read_type(const struct fg_tool *t, struct fg_import *im, struct fg_err *err)
{
	const char *type = fg_tool_text(t, "type", NULL);
	bool given = fg_tool_has(t, "encoding");
	bool labels;

	if (type && strcmp(type, "image") != 0 && strcmp(type, "segmentation") != 0)
		return fg_fail(err, FG_EINVAL,
		    "--type %s: wanted image or segmentation", type);
	if (given &&
	    fg_encoding_parse(fg_tool_text(t, "encoding", ""), &im->encoding, err) < 0)
		return fg_err_prefix(err, "--encoding");
	labels =
	    given && (im->encoding == FG_ENC_CSEG || im->encoding == FG_ENC_COMPRESSO);
	if (labels && type && strcmp(type, "image") == 0)
		return fg_fail(err, FG_EINVAL,
		    "--encoding %s is for labels: wanted --type segmentation",
		    fg_tool_text(t, "encoding", ""));
	im->type = labels || (type && strcmp(type, "segmentation") == 0)
		       ? FG_SEGMENTATION
		       : FG_IMAGE;
	if (!given)
		im->encoding = im->type == FG_IMAGE ? FG_ENC_RAW : FG_ENC_CSEG;
	return 0;
}

static int
read_options(const struct fg_tool *t, struct fg_import *im, struct fg_err *err)
{
	int64_t scales = 0, quality = -1, level = -1, jxl_quality = 0, jxl_effort = 0;

	if (!fg_tool_has(t, "resolution"))
		return fg_fail(err, FG_EINVAL,
		    "--resolution X,Y,Z is needed: nanometres per voxel");
	if (read_type(t, im, err) < 0)
		return -1;
	const char *rounding = fg_tool_text(t, "rounding", "nearest-even");
	im->floor = strcmp(rounding, "floor") == 0;
	im->sparse = fg_tool_has(t, "sparse");
	if (!im->floor && strcmp(rounding, "nearest-even") != 0)
		return fg_fail(err, FG_EINVAL,
		    "--rounding %s: wanted nearest-even or floor", rounding);
	if (fg_tool_real3(t, "resolution", 1e-6, 1e12, im->nm, err) < 0 ||
	    fg_tool_int3(t, "chunk", 1, 4096, im->chunk, err) < 0 ||
	    fg_tool_int3(t, "offset", -INT64_C(1000000000000), INT64_C(1000000000000),
		im->offset, err) < 0 ||
	    fg_tool_int(t, "scales", 1, FG_SCALES_MAX, &scales, err) < 0 ||
	    fg_tool_int(t, "jpeg-quality", 1, 100, &quality, err) < 0 ||
	    fg_tool_int(t, "png-level", 0, 9, &level, err) < 0 ||
	    fg_tool_int(t, "jxl-quality", 1, 100, &jxl_quality, err) < 0 ||
	    fg_tool_int(t, "jxl-effort", 1, 9, &jxl_effort, err) < 0)
		return -1;
	if (quality >= 0 && im->encoding != FG_ENC_JPEG)
		return fg_fail(err, FG_EINVAL, "--jpeg-quality needs --encoding jpeg");
	if (level >= 0 && im->encoding != FG_ENC_PNG)
		return fg_fail(err, FG_EINVAL, "--png-level needs --encoding png");
	if ((jxl_quality || jxl_effort) && im->encoding != FG_ENC_JXL)
		return fg_fail(err, FG_EINVAL,
		    "--jxl-quality and --jxl-effort need --encoding jxl");
	im->scales = (int)scales;
	im->jxl_quality = (int)jxl_quality;
	im->jxl_effort = (int)jxl_effort;
	im->jpeg_quality = (int)quality;
	im->png_level = (int)level;
	im->gzip = fg_tool_has(t, "gzip");
	im->allow_holes = fg_tool_has(t, "allow-holes");
	return 0;
}

/* Better now than after hours: is the name free? */
static int
check_name_is_free(const struct fg_tool *t, const char *name, struct fg_err *err)
{
	struct fg_err none = FG_ERR_INIT;
	struct fg_session s;
	int rc = 0;

	if (fg_session_read(&s, t, &none) < 0)
		return none.code == FG_ENOENT ? 0
					      : fg_fail(err, none.code, "%s", none.msg);
	struct fg_layer *l = fg_catalog_find(s.catalog, name, strlen(name));
	if (l)
		rc = fg_fail(err, FG_EINVAL, "layer %s exists already", name);
	fg_layer_unref(l);
	fg_session_close(&s);
	return rc;
}

static void
on_progress(void *ctx, uint64_t done, uint64_t all)
{
	fg_progress_set(ctx, (double)done, (double)all);
}

/* Make ROOT/layers/NAME a layer. The catalogue keeps the path relative to ROOT. */
static int
register_layer(const struct fg_tool *t, const struct fg_import *im, struct fg_err *err)
{
	char *dir = fg_asprintf("%s/layers/%s", im->root, im->name);
	char *real = realpath(dir, NULL);
	struct fg_session s;
	json_t *out = NULL;
	int rc = -1;

	if (!real) {
		fg_fail_errno(err, "%s", dir);
	} else if (fg_session_open(&s, t, true, err) == 0) {
		json_t *spec =
		    json_pack("{s:s, s:s}", "name", im->name, "source", real);

		rc = fg_session_add(&s, spec, &out, err);
		json_decref(spec);
		json_decref(out);
		fg_session_close(&s);
	}
	if (rc < 0)
		fg_err_prefix(err,
		    "the volume is complete in %s, but no layer yet (make it one with: "
		    "floodgate layer add %s %s)",
		    dir, im->name, dir);
	free(real);
	free(dir);
	return rc;
}

/* JSON has no infinities: a volume of NaN has no minimum. */
static json_t *
number(double v)
{
	return isfinite(v) ? json_real(v) : json_null();
}

static json_t *
summary_json(const struct fg_import *im, const struct fg_import_summary *s,
    double seconds)
{
	return json_pack("{s:s, s:o, s:s, s:i, s:o, s:o, s:o, s:i, s:I, s:I, s:I, s:f, "
			 "s:I, s:I, s:f}",
	    "layer", im->name, "size", fg_json_int3(s->size), "data_type",
	    fg_dtype_name(s->dtype), "num_channels", s->channels, "min", number(s->min),
	    "max", number(s->max), "mean", number(s->mean), "scales", s->scales,
	    "chunks", (json_int_t)s->chunks, "empty_chunks", (json_int_t)s->empty,
	    "bytes", (json_int_t)s->bytes, "empty_fraction",
	    (double)s->empty0 / (double)s->chunks0, "missing_sections",
	    (json_int_t)s->holes, "kept_sections", (json_int_t)s->kept, "seconds",
	    seconds);
}

static void
print_summary(const struct fg_import *im, const struct fg_import_summary *s,
    double seconds)
{
	char bytes[32], time[32];

	printf("%s: %lld x %lld x %lld voxels, %s", im->name, (long long)s->size[0],
	    (long long)s->size[1], (long long)s->size[2], fg_dtype_name(s->dtype));
	if (s->channels > 1)
		printf(", %d channels", s->channels);
	printf("\n  values    %.10g to %.10g, mean %.5g\n", s->min, s->max, s->mean);
	printf("  chunks    %llu in %d scale%s, %s; %.1f %% of the finest are empty\n",
	    (unsigned long long)s->chunks, s->scales, s->scales == 1 ? "" : "s",
	    fg_tool_bytes((double)s->bytes, bytes),
	    100.0 * (double)s->empty0 / (double)s->chunks0);
	if (s->kept)
		printf("  kept      %lld sections of an earlier try\n",
		    (long long)s->kept);
	if (s->holes)
		printf("  missing   %lld section%s, black now\n", (long long)s->holes,
		    s->holes == 1 ? "" : "s");
	printf("  time      %s\n", fg_tool_time(seconds, time));
}

static int
run_import(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_progress bar = {.unit = "Mvoxel", .per = 1e6, .quiet = t->quiet};
	struct fg_import im = {.input = t->arg[0],
	    .name = t->arg[1],
	    .root = t->root,
	    .chunk = {64, 64, 64},
	    .cancel = &fg_tool_stop,
	    .progress = on_progress,
	    .ctx = &bar};
	struct fg_import_summary sum;
	int64_t start = fg_clock_ns();

	if (fg_layer_check_name(im.name, &err) < 0 || read_options(t, &im, &err) < 0 ||
	    check_name_is_free(t, im.name, &err) < 0)
		return fg_tool_fail(t, &err);
	fg_tool_catch_signals();
	char *what = fg_asprintf("import %s", im.name);
	bar.what = what;
	fg_progress_set(&bar, 0, 1); /* the clock starts here */
	int rc = fg_import_run(&im, &sum, &err);
	fg_progress_end(&bar);
	free(what);
	if (rc < 0 || register_layer(t, &im, &err) < 0)
		return fg_tool_fail(t, &err);
	double seconds = (double)(fg_clock_ns() - start) / (double)FG_NS_PER_S;
	if (t->json)
		fg_tool_print_json(summary_json(&im, &sum, seconds));
	else
		print_summary(&im, &sum, seconds);
	return FG_EXIT_OK;
}

const struct fg_tool_command fg_tool_import_commands[] = {
    {.name = "import",
	.args = "INPUT NAME",
	.least = 2,
	.most = 2,
	.summary = "write a stack of images as a layer of the data directory",
	.details =
	    "INPUT is a folder of PNG (grey, 8 or 16 bits), JPEG or TIFF files, one\n"
	    "section each, whose names differ in one number; or a .npy file; or a "
	    ".npz\n"
	    "file, as FILE.npz:MEMBER where it holds several arrays. Arrays have the\n"
	    "axes (z, y, x) or (z, y, x, channel). Also NIfTI (FILE.nii,\n"
	    "FILE.nii.gz), HDF5 (FILE.h5:/DATASET), TIFF and BigTIFF (FILE.tif), Zarr\n"
	    "(FOLDER.zarr) and N5 (FOLDER.n5), whatever the name as npy:, nifti:,\n"
	    "hdf5:, tiff:, zarr: or n5:INPUT; ?axes=LETTERS behind it gives the order\n"
	    "of the axes. Coarser scales are made by averaging.\n"
	    "\n"
	    "A precomputed volume needs no import: floodgate layer add serves it in\n"
	    "place. After Ctrl-C or a crash the same command goes on where it stopped.",
	.options = options,
	.run = run_import},
    {.name = NULL},
};
