/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floodgate layer add: what the line says of a volume to be served, or of a
 * segmentation to be made, as the description that the catalogue takes.
 */
#include "config.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "store/source.h"
#include "work/catalog.h"
#include "work/import.h"
#include "work/tool.h"

static const struct fg_tool_option options[] = {
    {"ffn", NULL, "a segmentation made on demand by a flood-filling network", 0},
    {"image", "LAYER[@SCALE]",
	"image layer to segment, and the key of the scale on\nwhich inference runs "
	"(default the finest)",
	0},
    {"model", "FILE", "NAME.safetensors, or a TensorFlow checkpoint without .index", 0},
    {"precision", "P",
	"auto, f32 or bf16 (default auto: bf16 where this\nmachine is fast at it); "
	"fixed for good when the layer\nis made",
	0},
    {"block", "X,Y,Z",
	"voxels of one task (default: chosen from the measured\nspeed of this machine)",
	0},
    {"halo", "X,Y,Z", "context computed around a block (default 32,32,32)", 0},
    {"fov", "X,Y,Z",
	"field of view of the network (default what the\nmodel says, else 33,33,33)",
	0},
    {"delta", "X,Y,Z",
	"movement of the field of view (default what the\nmodel says, else 8,8,8)", 0},
    {"mean", "M",
	"grey level that the network sees as 0 (default what\nthe model says, else "
	"128)",
	0},
    {"stddev", "S",
	"grey levels that it sees as 1 (default what the model\nsays, else 33)", 0},
    {"init-activation", "P", "probability at a seed (default 0.95)", 0},
    {"pad-value", "P", "probability where nothing was computed (default 0.05)", 0},
    {"move-threshold", "P", "probability that moves the view (default 0.9)", 0},
    {"segment-threshold", "P", "probability that makes a voxel (default 0.6)", 0},
    {"disco-seed-threshold", "P",
	"probability below which a voxel is never raised again\n(default 0; -1: off)",
	0},
    {"min-segment-size", "N", "smallest object in voxels (default 1000)", 0},
    {"min-boundary-dist", "X,Y,Z", "seeds keep off borders (default 1,1,1)", 0},
    {"chunk", "X,Y,Z", "voxels of a chunk (default 64,64,64)", 0},
    {"encoding", "ENC",
	"of what is made: compressed_segmentation (default) or\nraw; of a volume that "
	"is "
	"served: another one than it\nis stored in",
	0},
    {"jpeg-quality", "Q", "of a volume that is served with --encoding jpeg", 0},
    {"stitch", "KEY=VALUE,...",
	"when objects of two blocks are one: near, iou, share,\nfragment_share, "
	"fragment_max, both_min, rival (default\na rule that joins fragments, too; "
	"with --pieces off\na strict one)",
	0},
    {"resegment", "KEY=VALUE,...",
	"how contacts are flooded again by the stage of that\nname: reach, faces, "
	"overlap, radius, analysis, exclude\n(X:Y:Z), retries, iou, recovered, deleted",
	0},
    {"consensus", "KEY=VALUE,...",
	"flood each block again, in another order, with another\nmodel=FILE, on "
	"another scale=KEY; split where either\ndoes, drop pieces below least=N "
	"voxels (default 1000)",
	0},
    {"pieces", "HOW",
	"least=N: objects whose voxels do not hang together are\ntaken apart, and "
	"pieces below N voxels dropped (default,\nwith --min-segment-size for N); "
	"off: they stay as they\nwere flooded",
	0},
    {"coarse", "scale=KEY,...",
	"flood that scale of the image first and keep objects\nof at least least=N of "
	"its voxels (default 1000)",
	0},
    {"skip-sections", "Z,Z,...", "no flood goes over these sections", 0},
    {"jumps", "KEY=VALUE,...",
	"nor where sections do not continue one another: shift\n(voxels), search, "
	"tile, correlation",
	0},
    {"mask", "layer=L[@SCALE],...",
	"nor where that layer has a value between from (default\n1) and to", 0},
    {"mesh-error", "NM",
	"largest distance of a mesh from the surface of the\nlabels, in nanometres "
	"(default about a voxel)",
	0},
    {"prob", NULL, "keep the probability map, too, as layer NAME.prob", 0},
    {"missing", "HOW",
	"of a volume that is served: chunks that it lacks are\n404 (default) or "
	"background",
	0},
    {"resolution", "X,Y,Z",
	"nanometres per voxel, of a stack or a file that does\nnot tell them", 0},
    {"holes", "HOW",
	"of a stack: missing sections are an error (refuse,\ndefault), voxels of 0 "
	"(zero) or no data (absent)",
	0},
    {"redirects", "WHERE",
	"an upstream may lead on to its own host only (same,\ndefault) or to any", 0},
    {"denied", "HOW",
	"403 of an upstream is an error (default) or means\nabsent, as in buckets that "
	"may not be listed",
	0},
    {NULL, NULL, NULL, 0},
};

/* An absolute path, for the daemon's working directory is another: the folder's real
 * path with the last part (which may be the prefix of several files) as given. */
static int
absolute(const char *path, char **out, struct fg_err *err)
{
	const char *slash = strrchr(path, '/');
	char *dir =
	    slash ? fg_strndup(path, (size_t)FG_MAX(1, slash - path)) : fg_strdup(".");
	char *real = realpath(dir, NULL);
	int rc = -1;

	if (real) {
		*out = fg_asprintf("%s/%s", strcmp(real, "/") == 0 ? "" : real,
		    slash ? slash + 1 : path);
		rc = 0;
	} else {
		fg_fail_errno(err, "%s", dir);
	}
	free(real);
	free(dir);
	return rc;
}

/* "SCHEME:..." as the sources have it; a path with a colon has a slash before it. */
static bool
is_url(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+");

	return n > 1 && text[n] == ':';
}

/* What may be said of a volume that is served; the catalogue checks the words. */
static const char *const of_source[] = {"missing", "redirects", "denied"};

static int
add_encoding(const struct fg_tool *t, json_t *spec, struct fg_err *err)
{
	int64_t quality = -1;

	double error_nm = -1;

	if (fg_tool_int(t, "jpeg-quality", 0, 100, &quality, err) < 0 ||
	    fg_tool_real(t, "mesh-error", 0, 1e6, &error_nm, err) < 0)
		return -1;
	if (error_nm >= 0)
		json_object_set_new(spec, "mesh_error_nm", json_real(error_nm));
	if (fg_tool_has(t, "encoding"))
		json_object_set_new(spec, "encoding",
		    json_string(fg_tool_text(t, "encoding", "")));
	if (quality >= 0)
		json_object_set_new(spec, "jpeg_quality", json_integer(quality));
	return 0;
}

static bool
is_of_source(const char *name)
{
	for (size_t i = 0; i < FG_COUNTOF(of_source); i++) {
		if (strcmp(of_source[i], name) == 0)
			return true;
	}
	return strcmp(name, "encoding") == 0 || strcmp(name, "jpeg-quality") == 0 ||
	       strcmp(name, "resolution") == 0 || strcmp(name, "holes") == 0 ||
	       strcmp(name, "mesh-error") == 0;
}

/* Where the file's name ends in FILE.h5:/DATASET, which is no path; NULL: it is none.
 */
static const char *
end_of_hdf5(const char *text)
{
	static const char *const endings[] = {".h5:/", ".hdf5:/", ".hdf:/"};

	for (size_t i = 0; i < FG_COUNTOF(endings); i++) {
		const char *at = strstr(text, endings[i]);

		if (at)
			return at + strlen(endings[i]) - 2;
	}
	return NULL;
}

/* The path as the daemon finds it, with what stands behind "?" as it is. free(). */
static char *
absolute_source(const char *text, struct fg_err *err)
{
	const char *query = strrchr(text, '?'), *data = end_of_hdf5(text);
	char *plain, *real, *out = NULL;

	if (is_url(text))
		return fg_strdup(text);
	if (!query || access(text, F_OK) == 0)
		query = text + strlen(text);
	if (data && data < query)
		query = data;
	plain = fg_strndup(text, (size_t)(query - text));
	real = realpath(plain, NULL);
	if (real)
		out = fg_asprintf("%s%s", real, query);
	else
		fg_fail_errno(err, "%s", plain);
	free(real);
	free(plain);
	return out;
}

/* --resolution and --holes are options of the source, behind its "?". Takes url;
 * free().
 */
static char *
add_options_of(const struct fg_tool *t, char *url, struct fg_err *err)
{
	static const struct {
		const char *option, *key;
	} of[] = {{"resolution", "nm"}, {"holes", "holes"}};

	for (size_t i = 0; i < FG_COUNTOF(of); i++) {
		const char *query = strrchr(url, '?'), *kind = NULL;
		char *next;

		if (!fg_tool_has(t, of[i].option))
			continue;
		if (!is_url(url))
			kind = fg_source_guess(url,
			    query ? (size_t)(query - url) : strlen(url));
		if (!kind && !is_url(url)) {
			fg_fail(err, FG_EINVAL,
			    "--%s is for stacks of images and files of other programs: "
			    "a precomputed volume has an info file",
			    of[i].option);
			free(url);
			return NULL;
		}
		next = fg_asprintf("%s%c%s=%s", url, query ? '&' : '?', of[i].key,
		    fg_tool_text(t, of[i].option, ""));
		free(url);
		url = next;
	}
	return url;
}

static json_t *
passive_spec(const struct fg_tool *t, struct fg_err *err)
{
	char *real;
	json_t *spec;

	for (const struct fg_tool_option *o = options; o->name; o++) {
		if (!fg_tool_has(t, o->name) || is_of_source(o->name))
			continue;
		return fg_fail_null(err, FG_EINVAL,
		    "--%s goes with --ffn, not with a volume to be served", o->name);
	}
	real = absolute_source(t->arg[1], err);
	if (real)
		real = add_options_of(t, real, err);
	if (!real)
		return NULL;
	spec = json_pack("{s:s, s:s}", "name", t->arg[0], "source", real);
	free(real);
	for (size_t i = 0; i < FG_COUNTOF(of_source); i++) {
		if (fg_tool_has(t, of_source[i]))
			json_object_set_new(spec, of_source[i],
			    json_string(fg_tool_text(t, of_source[i], "")));
	}
	if (add_encoding(t, spec, err) == 0)
		return spec;
	json_decref(spec);
	return NULL;
}

static void
key_of(const char *option, char out[40])
{
	snprintf(out, 40, "%s", option);
	for (char *p = out; *p; p++)
		*p = *p == '-' ? '_' : *p;
}

/* Numbers of the options that were given, under their names with _ for -. */
static int
add_numbers(const struct fg_tool *t, json_t *ffn, struct fg_err *err)
{
	static const struct {
		const char *name;
		bool three;
		double lo, hi;
	} number[] = {
	    {"block", true, 1, 4096},
	    {"halo", true, 0, 4096},
	    {"fov", true, 1, 513},
	    {"delta", true, 0, 256},
	    {"min-boundary-dist", true, 0, 1e6},
	    {"chunk", true, 1, 4096},
	    {"min-segment-size", false, 0, 1e15},
	};
	static const struct {
		const char *name;
		double lo, hi;
	} real[] = {
	    {"mean", -1e6, 1e6},
	    {"stddev", 1e-6, 1e6},
	    {"init-activation", 0, 1},
	    {"pad-value", 0, 1},
	    {"move-threshold", 0, 1},
	    {"segment-threshold", 0, 1},
	    {"disco-seed-threshold", -1, 1},
	};
	double error_nm = -1;
	char key[40];

	if (fg_tool_real(t, "mesh-error", 0, 1e6, &error_nm, err) < 0)
		return -1;
	if (error_nm >= 0)
		json_object_set_new(ffn, "mesh_error_nm", json_real(error_nm));
	for (size_t i = 0; i < FG_COUNTOF(number); i++) {
		int64_t v[3] = {0};

		if (!fg_tool_has(t, number[i].name))
			continue;
		if (number[i].three
			? fg_tool_int3(t, number[i].name, (int64_t)number[i].lo,
			      (int64_t)number[i].hi, v, err) < 0
			: fg_tool_int(t, number[i].name, (int64_t)number[i].lo,
			      (int64_t)number[i].hi, v, err) < 0)
			return -1;
		key_of(number[i].name, key);
		json_object_set_new(ffn, key,
		    number[i].three ? fg_json_int3(v) : json_integer(v[0]));
	}
	for (size_t i = 0; i < FG_COUNTOF(real); i++) {
		double v = 0;

		if (!fg_tool_has(t, real[i].name))
			continue;
		if (fg_tool_real(t, real[i].name, real[i].lo, real[i].hi, &v, err) < 0)
			return -1;
		key_of(real[i].name, key);
		json_object_set_new(ffn, key, json_real(v));
	}
	return 0;
}

/* One value: a whole number, a number, X:Y:Z, or text. */
static json_t *
rule_value(const char *text, size_t n)
{
	char *v = fg_strndup(text, n), *end;
	long long x, y, z;
	json_t *out;
	char rest;

	if (sscanf(v, "%lld:%lld:%lld%c", &x, &y, &z, &rest) == 3) {
		out = json_pack("[I,I,I]", (json_int_t)x, (json_int_t)y, (json_int_t)z);
	} else {
		x = strtoll(v, &end, 10);
		if (*v && *end == '\0') {
			out = json_integer(x);
		} else {
			double real = strtod(v, &end);

			out = *v && *end == '\0' ? json_real(real) : json_string(v);
		}
	}
	free(v);
	return out;
}

/* "near=4,iou=0.7" as an object; the catalogue knows which keys there are. */
static int
add_rule(const struct fg_tool *t, const char *name, json_t *ffn, struct fg_err *err)
{
	const char *p = fg_tool_text(t, name, NULL);
	json_t *rule = json_object();

	while (p && *p) {
		size_t n = strcspn(p, ","), k = strcspn(p, "=");
		char *key = fg_strndup(p, FG_MIN(k, n));
		json_t *v = k < n ? rule_value(p + k + 1, n - k - 1) : NULL;
		int rc = v ? json_object_set_new(rule, key, v) : -1;

		if (rc < 0)
			fg_fail(err, FG_EINVAL, "--%s %.60s: wanted KEY=VALUE,...",
			    name, p);
		free(key);
		if (rc < 0) {
			json_decref(rule);
			return -1;
		}
		p += n + (p[n] == ',');
	}
	json_object_set_new(ffn, name, rule);
	return 0;
}

static int
add_pieces(const struct fg_tool *t, json_t *ffn, struct fg_err *err)
{
	const char *how = fg_tool_text(t, "pieces", NULL);

	if (!how)
		return 0;
	if (strcmp(how, "off") == 0) {
		json_object_set_new(ffn, "pieces", json_false());
		return 0;
	}
	if (!strchr(how, '='))
		return fg_fail(err, FG_EINVAL, "--pieces %.60s: wanted least=N or off",
		    how);
	return add_rule(t, "pieces", ffn, err);
}

/* A rule's model: a daemon has another working folder. */
static int
make_absolute(json_t *rule, struct fg_err *err)
{
	const char *model = json_string_value(json_object_get(rule, "model"));
	char *path = NULL;

	if (!model)
		return 0;
	if (absolute(model, &path, err) < 0)
		return -1;
	json_object_set_new(rule, "model", json_string(path));
	free(path);
	return 0;
}

static int
add_rules(const struct fg_tool *t, json_t *ffn, struct fg_err *err)
{
	static const char *const name[] = {"stitch", "resegment", "consensus", "coarse",
	    "jumps", "mask"};
	json_t *list;

	for (size_t i = 0; i < FG_COUNTOF(name); i++) {
		if (fg_tool_has(t, name[i]) && add_rule(t, name[i], ffn, err) < 0)
			return -1;
	}
	if (add_pieces(t, ffn, err) < 0 ||
	    make_absolute(json_object_get(ffn, "consensus"), err) < 0)
		return -1;
	if (!fg_tool_has(t, "skip-sections"))
		return 0;
	list = json_array();
	for (const char *p = fg_tool_text(t, "skip-sections", ""); *p;) {
		size_t n = strcspn(p, ",");

		json_array_append_new(list, rule_value(p, n));
		p += n + (p[n] == ',');
	}
	json_object_set_new(ffn, "missing", list);
	return 0;
}

static json_t *
ffn_spec(const struct fg_tool *t, struct fg_err *err)
{
	const char *image = fg_tool_text(t, "image", NULL);
	const char *model = fg_tool_text(t, "model", NULL);
	json_t *ffn = json_object();
	char *path = NULL;

	for (size_t i = 0; i < FG_COUNTOF(of_source); i++) {
		if (fg_tool_has(t, of_source[i]))
			fg_fail(err, FG_EINVAL, "--%s goes with a volume to be served",
			    of_source[i]);
	}
	if (fg_tool_has(t, "jpeg-quality"))
		fg_fail(err, FG_EINVAL,
		    "--jpeg-quality goes with a volume to be served");
	if (err->code != FG_OK)
		;
	else if (t->args != 1)
		fg_fail(err, FG_EINVAL,
		    "with --ffn only NAME is given: the layer is made, not read");
	else if (!image || !model)
		fg_fail(err, FG_EINVAL, "--ffn needs --image LAYER and --model FILE");
	else if (absolute(model, &path, err) == 0 && add_numbers(t, ffn, err) == 0 &&
		 add_rules(t, ffn, err) == 0) {
		json_object_set_new(ffn, "image", json_string(image));
		json_object_set_new(ffn, "model", json_string(path));
		free(path);
		if (fg_tool_has(t, "precision"))
			json_object_set_new(ffn, "precision",
			    json_string(fg_tool_text(t, "precision", "")));
		if (fg_tool_has(t, "encoding"))
			json_object_set_new(ffn, "encoding",
			    json_string(fg_tool_text(t, "encoding", "")));
		if (fg_tool_has(t, "prob"))
			json_object_set_new(ffn, "prob", json_true());
		return json_pack("{s:s, s:o}", "name", t->arg[0], "ffn", ffn);
	}
	free(path);
	json_decref(ffn);
	return NULL;
}

static int
run_add(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_session s = {0};
	bool ffn = fg_tool_has(t, "ffn");
	json_t *spec = NULL, *out = NULL;
	int code = FG_EXIT_OK;

	if (fg_layer_check_name(t->arg[0], &err) < 0)
		;
	else if (!ffn && t->args != 2)
		fg_fail(&err, FG_EINVAL,
		    "wanted NAME and DIR_OR_URL, or NAME with --ffn");
	else
		spec = ffn ? ffn_spec(t, &err) : passive_spec(t, &err);
	if (!spec || fg_session_open(&s, t, true, &err) < 0 ||
	    fg_session_add(&s, spec, &out, &err) < 0) {
		code = fg_tool_fail(t, &err);
	} else if (t->json) {
		fg_tool_print_json(json_incref(out));
	} else {
		fg_tool_print_layer(out);
	}
	json_decref(out);
	json_decref(spec);
	fg_session_close(&s);
	return code;
}

const struct fg_tool_command fg_tool_add_commands[] = {
    {.name = "layer add",
	.args = "NAME [DIR_OR_URL]",
	.least = 1,
	.most = 2,
	.summary = "serve a volume, or make a segmentation on demand",
	.details =
	    "With DIR_OR_URL, an existing precomputed volume is served as NAME, in "
	    "place;\nalso a folder of PNG, JPEG or TIFF sections, HDF5, TIFF, Zarr, "
	    "N5, "
	    "NIfTI and\nNumPy, as paths or as stack:FOLDER, hdf5:FILE:/DATASET, "
	    "tiff:FILE, zarr:FOLDER,\nn5:FOLDER, nifti:FILE and npy:FILE, with what "
	    "the file does not tell behind it:\n"
	    "?nm=X,Y,Z&offset=X,Y,Z&chunk=X,Y,Z&axes=LETTERS&type=segmentation&holes="
	    "HOW;"
	    "\nphantom:KEY=VALUE,... is a specimen that is computed; https://HOST/PATH,"
	    "\ns3://BUCKET/PATH and gs://BUCKET/PATH are precomputed volumes elsewhere,"
	    "\nkept on disk as they are read. With --ffn, NAME "
	    "is a\nsegmentation that is made where it is asked for. All it depends on "
	    "is fixed\nnow and printed; other parameters mean another layer.",
	.options = options,
	.run = run_add},
    {.name = NULL},
};
