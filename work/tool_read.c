/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Looking: info (the data directory), cutout (voxels of a box), why (where a chunk came
 * from), model (what is in a file of weights). None of these changes anything.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/json.h"
#include "base/morton.h"
#include "formats/npy.h"
#include "seg/segment.h"
#include "store/store.h"
#include "work/catalog.h"
#include "work/tool.h"
#include "work/volume.h"

/* ------------------------------------------------------------- info */

static int
run_info(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_session s;
	struct fg_store_counts n = {0};
	struct fg_reader *r = NULL;
	struct fg_layer **layer = NULL;
	size_t layers = 0;
	char bytes[32];
	int code = FG_EXIT_OK;

	if (fg_session_read(&s, t, &err) < 0)
		return fg_tool_fail(t, &err);
	r = fg_reader_open(s.store, &err);
	if (!r || fg_reader_count(r, 0, &n, &err) < 0) {
		code = fg_tool_fail(t, &err);
		goto out;
	}
	fg_catalog_list(s.catalog, &layer, &layers);
	json_t *j = json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "root",
	    fg_store_root(s.store), "uuid", fg_store_uuid(s.store), "layers",
	    (json_int_t)layers, "chunks", (json_int_t)n.chunks, "empty_chunks",
	    (json_int_t)n.empty, "blocks", (json_int_t)n.blocks_done, "failed_blocks",
	    (json_int_t)n.blocks_failed, "objects", (json_int_t)n.objects, "bytes",
	    (json_int_t)n.bytes);
	if (t->json) {
		fg_tool_print_json(j);
	} else {
		json_object_set_new(j, "bytes",
		    json_string(fg_tool_bytes((double)n.bytes, bytes)));
		fg_tool_print_facts(j, 0);
		json_decref(j);
	}
	for (size_t i = 0; i < layers; i++)
		fg_layer_unref(layer[i]);
	free(layer);
out:
	fg_reader_close(r);
	fg_session_close(&s);
	return code;
}

/* ------------------------------------------------------------- cutout */

static const struct fg_tool_option cutout_options[] = {
    {"box", "BOX", "x0-x1_y0-y1_z0-z1 in voxels of the scale (default all)", 0},
    {"output", "FILE", "where to write; - is standard output; needed", 'o'},
    {"strict", NULL, "fail if a part of the box does not exist", 0},
    {NULL, NULL, NULL, 0},
};

/* Half of the memory for the voxels and their file together. */
static int
check_size(const struct fg_box *vx, size_t voxel, struct fg_err *err)
{
	double have =
	    (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) / 4;
	double need = (double)voxel;

	for (int d = 0; d < 3; d++)
		need *= (double)(vx->hi[d] - vx->lo[d]);
	if (need > have)
		return fg_fail(err, FG_EINVAL,
		    "the box has %.1f GB, at most %.1f GB are cut at a time",
		    need / 1e9, have / 1e9);
	return 0;
}

static int
choose_cut(const struct fg_tool *t, const struct fg_volume *v, struct fg_box *vx,
    struct fg_err *err)
{
	struct fg_box all;
	int64_t chunk[3];
	char text[FG_TOOL_BOX];

	fg_volume_bounds(v, &all, chunk);
	*vx = all;
	if (fg_tool_has(t, "box") &&
	    fg_tool_box(fg_tool_text(t, "box", ""), vx, err) < 0)
		return -1;
	fg_tool_box_text(&all, text);
	if (!fg_box_contains(&all, vx))
		return fg_fail(err, FG_EINVAL, "--box %s is not inside the volume, %s",
		    fg_tool_text(t, "box", ""), text);
	return check_size(vx,
	    fg_dtype_size(fg_volume_dtype(v)) * (size_t)fg_volume_channels(v), err);
}

static int
write_array(const char *path, const struct fg_array *a, struct fg_err *err)
{
	struct fg_buf *b = NULL;
	int rc = -1;

	if (fg_npy_encode(a, &b, err) < 0)
		return -1;
	if (strcmp(path, "-") != 0)
		rc = fg_file_write(path, b->data, b->len, err);
	else if (fwrite(b->data, 1, b->len, stdout) == b->len && fflush(stdout) == 0)
		rc = 0;
	else
		fg_fail_errno(err, "standard output");
	fg_buf_unref(b);
	return rc;
}

static int
cut(struct fg_tool *t, struct fg_volume *v, const struct fg_box *vx, struct fg_err *err)
{
	struct fg_array a = FG_ARRAY_INIT;
	int64_t shape[4] = {[3] = fg_volume_channels(v)};
	const char *path = fg_tool_text(t, "output", "");
	uint64_t absent = 0;
	char box[FG_TOOL_BOX];
	int rc = -1;

	fg_box_shape(vx, shape);
	if (fg_array_init(&a, fg_volume_dtype(v), shape, err) < 0 ||
	    fg_volume_read(v, vx, &a, &absent, err) < 0)
		goto out;
	if (absent && fg_tool_has(t, "strict")) {
		fg_fail(err, FG_ENOENT, "%llu of %llu voxels do not exist",
		    (unsigned long long)absent, (unsigned long long)fg_box_volume(vx));
		goto out;
	}
	rc = write_array(path, &a, err);
	if (rc < 0)
		goto out;
	fg_tool_box_text(vx, box);
	if (absent)
		fprintf(stderr,
		    "floodgate cutout: %llu of %llu voxels do not exist and are 0\n",
		    (unsigned long long)absent, (unsigned long long)fg_box_volume(vx));
	if (strcmp(path, "-") != 0 && t->json)
		fg_tool_print_json(json_pack("{s:s, s:s, s:s, s:I, s:I}", "file", path,
		    "box", box, "data_type", fg_dtype_name(a.dtype), "voxels",
		    (json_int_t)fg_box_volume(vx), "absent", (json_int_t)absent));
	else if (strcmp(path, "-") != 0)
		printf("%s: %s, %s, axes (z, y, x)\n", path, box,
		    fg_dtype_name(a.dtype));
out:
	fg_array_fini(&a);
	return rc;
}

static int
run_cutout(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT, none = FG_ERR_INIT;
	struct fg_session s = {0};
	struct fg_volume *v = NULL;
	struct fg_box vx;
	int rc = -1;

	if (!fg_tool_has(t, "output"))
		fg_fail(&err, FG_EINVAL,
		    "--output FILE is needed (- is standard output)");
	else if (fg_session_read(&s, t, &none) < 0 && none.code != FG_ENOENT)
		fg_fail(&err, none.code, "%s", none.msg);
	else
		v = fg_volume_open(&s, t->arg[0], &err);
	if (v && choose_cut(t, v, &vx, &err) == 0)
		rc = cut(t, v, &vx, &err);
	fg_volume_close(v);
	fg_session_close(&s);
	return rc < 0 ? fg_tool_fail(t, &err) : FG_EXIT_OK;
}

/* ------------------------------------------------------------- why */

static const struct fg_tool_option why_options[] = {
    {"scale", "KEY", "scale of the chunk (default the finest)", 0},
    {NULL, NULL, NULL, 0},
};

/* "64-128_0-64_0-64" (a chunk's name) or "70,10,3" (a voxel) -> position on the grid.
 */
static int
find_chunk(const struct fg_scale *s, const char *text, int64_t ch[3],
    struct fg_err *err)
{
	struct fg_box vx, all;
	int64_t p[3];
	char rest;

	fg_scale_bounds(s, &all);
	if (fg_chunk_name_parse(text, strlen(text), &vx)) {
		if (fg_scale_chunk_find(s, &vx, ch))
			return 0;
		return fg_fail(err, FG_EINVAL,
		    "%s is no chunk of scale %s (chunks of %lld x %lld x %lld voxels)",
		    text, s->key, (long long)s->chunk[0], (long long)s->chunk[1],
		    (long long)s->chunk[2]);
	}
	if (sscanf(text, "%" SCNd64 ",%" SCNd64 ",%" SCNd64 "%c", &p[0], &p[1], &p[2],
		&rest) != 3)
		return fg_fail(err, FG_EINVAL,
		    "\"%s\": wanted a chunk, x0-x1_y0-y1_z0-z1, or a voxel, X,Y,Z",
		    text);
	for (int d = 0; d < 3; d++) {
		if (p[d] < all.lo[d] || p[d] >= all.hi[d])
			return fg_fail(err, FG_EINVAL, "voxel %s is outside the volume",
			    text);
		ch[d] = (p[d] - s->offset[d]) / s->chunk[d];
	}
	return 0;
}

static const char *
state_name(enum fg_state state)
{
	static const char *const names[] = {[FG_ABSENT] = "absent",
	    [FG_PRESENT] = "present",
	    [FG_EMPTY] = "empty (background only)",
	    [FG_PARTIAL] = "partial (some finer chunks were missing)"};

	return names[state];
}

/* What the index knows of one chunk, with the run that made it. */
static json_t *
explain(struct fg_layer *l, struct fg_reader *r, int scale, const int64_t ch[3],
    struct fg_place *place, struct fg_err *err)
{
	struct fg_key key = {.layer = l->id,
	    .kind = l->chunk_kind,
	    .scale = (uint8_t)scale,
	    .at = fg_morton_encode(ch)};
	char name[FG_CHUNK_NAME], *text = NULL;
	struct fg_box vx;
	json_t *j, *run;

	if (fg_reader_find(r, &key, place, err) < 0)
		return NULL;
	fg_scale_chunk_box(&l->info.scale[scale], ch, &vx);
	fg_chunk_name_format(&vx, name);
	j = json_pack("{s:s, s:s, s:s, s:s}", "layer", l->name, "scale",
	    l->info.scale[scale].key, "chunk", name, "state", state_name(place->state));
	if (place->state == FG_PRESENT || place->state == FG_PARTIAL) {
		json_object_set_new(j, "bytes", json_integer((json_int_t)place->len));
		json_object_set_new(j, "slab", json_integer(place->slab));
		json_object_set_new(j, "offset", json_integer((json_int_t)place->off));
		json_object_set_new(j, "crc32c", json_integer(place->crc));
	}
	if (place->dirty)
		json_object_set_new(j, "dirty", json_true());
	if (place->run == 0)
		return j;
	if (fg_reader_run(r, place->run, &text, err) < 0) {
		json_decref(j);
		return NULL;
	}
	run = json_loads(text, 0, NULL);
	json_object_set_new(j, "run", run ? run : json_string(text));
	free(text);
	return j;
}

/* A chunk that is not there: has its block failed? */
static void
add_block(const struct fg_layer *l, struct fg_reader *r, const int64_t ch[3], json_t *j)
{
	struct fg_block_row row = {0};
	int64_t blk[3];

	fg_recipe_block_of(l->recipe, &l->info.scale[0], ch, blk);
	if (fg_reader_block(r, l->id, fg_morton_encode(blk), &row, NULL) < 0 ||
	    row.state != FG_BLOCK_FAILED)
		return;
	json_object_set_new(j, "failed_tries", json_integer(row.tries));
	json_object_set_new(j, "error", json_string(row.error));
}

static json_t *
explain_layer(struct fg_tool *t, struct fg_session *s, struct fg_layer *l,
    struct fg_err *err)
{
	const char *scale_key = fg_tool_text(t, "scale", NULL);
	const struct fg_layer *maker = l->base ? l->base : l;
	struct fg_reader *r = NULL;
	struct fg_place place = {0};
	json_t *j = NULL;
	int64_t ch[3];
	int scale = 0;

	if (!maker->recipe)
		return fg_fail_null(err, FG_EINVAL,
		    l->broken ? "layer %s: %s"
			      : "layer %s is served as it is, not generated",
		    l->name, l->why);
	if (scale_key)
		scale = fg_info_find_scale(&l->info, scale_key, strlen(scale_key));
	if (scale < 0)
		return fg_fail_null(err, FG_ENOENT, "layer %s has no scale \"%s\"",
		    l->name, scale_key);
	if (find_chunk(&l->info.scale[scale], t->arg[1], ch, err) < 0)
		return NULL;
	r = fg_reader_open(s->store, err);
	if (r)
		j = explain(l, r, scale, ch, &place, err);
	if (j && place.state == FG_ABSENT && scale == 0)
		add_block(maker, r, ch, j);
	fg_reader_close(r);
	return j;
}

/* Milliseconds since 1970 as a date, for people. */
static void
write_dates(json_t *j)
{
	static const char *const keys[] = {"started", "ended"};
	json_t *run = json_object_get(j, "run");

	for (size_t i = 0; i < FG_COUNTOF(keys); i++) {
		json_t *ms = json_object_get(run, keys[i]);
		char text[FG_CLOCK_TEXT];

		if (!json_is_integer(ms))
			continue;
		fg_clock_format(json_integer_value(ms), text);
		json_object_set_new(run, keys[i], json_string(text));
	}
}

static int
run_why(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_session s;
	json_t *j = NULL;
	bool absent;

	if (fg_session_read(&s, t, &err) < 0)
		return fg_tool_fail(t, &err);
	struct fg_layer *l = fg_session_layer(&s, t->arg[0], &err);
	if (l)
		j = explain_layer(t, &s, l, &err);
	fg_layer_unref(l);
	fg_session_close(&s);
	if (!j)
		return fg_tool_fail(t, &err);
	absent = strcmp(json_string_value(json_object_get(j, "state")), "absent") == 0;
	if (t->json) {
		fg_tool_print_json(j);
	} else {
		write_dates(j);
		fg_tool_print_facts(j, 0);
		json_decref(j);
	}
	return absent ? FG_EXIT_NOT_FOUND : FG_EXIT_OK;
}

/* ------------------------------------------------------------- model, devices */

static const struct fg_tool_option model_options[] = {
    {"fov", "X,Y,Z",
	"field of view for the cost (default what the model\nsays, else 33,33,33)", 0},
    {NULL, NULL, NULL, 0},
};

static json_t *
describe_net(const struct fg_net *net)
{
	json_t *features = json_array();
	int64_t weights = 0;

	for (int i = 0; i < net->convs; i++) {
		const struct fg_conv *c = &net->conv[i];

		weights += (int64_t)c->k * c->k * c->k * c->in * c->out + c->out;
		if (i + 1 < net->convs)
			json_array_append_new(features, json_integer(c->out));
	}
	return json_pack("{s:s, s:s, s:i, s:i, s:o, s:I, s:o, s:f}", "model", net->path,
	    "sha256", net->sha256, "depth", net->depth, "convolutions", net->convs,
	    "features", features, "parameters", (json_int_t)weights, "fov",
	    fg_json_int3(net->shape.fov), "gflop_per_fov", fg_net_flops(net) / 1e9);
}

static int
run_model(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_net_shape shape = {.fov = {33, 33, 33},
	    .delta = {8, 8, 8},
	    .mean = 128,
	    .stddev = 33};
	struct fg_net *net = NULL;

	if (fg_net_is_safetensors(t->arg[0]))
		shape = FG_NET_SHAPE_UNSET;
	if (fg_tool_int3(t, "fov", 1, 513, shape.fov, &err) == 0)
		net = fg_net_load(t->arg[0], &shape, &err);
	if (!net)
		return fg_tool_fail(t, &err);
	json_t *j = describe_net(net);
	fg_net_free(net);
	if (t->json) {
		fg_tool_print_json(j);
	} else {
		fg_tool_print_facts(j, 0);
		json_decref(j);
	}
	return FG_EXIT_OK;
}

const struct fg_tool_command fg_tool_read_commands[] = {
    {.name = "info", .summary = "what the data directory holds", .run = run_info},
    {.name = "cutout",
	.args = "VOLUME",
	.least = 1,
	.most = 1,
	.summary = "voxels of a box as a .npy file",
	.details = "VOLUME is a layer (NAME or NAME@SCALE), a precomputed volume or an "
		   "array file.\nOf a generated layer it takes what has been made; "
		   "floodgate segment makes the\nrest. The file's axes are (z, y, x).",
	.options = cutout_options,
	.run = run_cutout},
    {.name = "why",
	.args = "LAYER CHUNK",
	.least = 2,
	.most = 2,
	.summary = "how a chunk was made: network, parameters, device, time",
	.details =
	    "CHUNK is a chunk's name, x0-x1_y0-y1_z0-z1, or a voxel X,Y,Z in it. "
	    "The exit\ncode is 3 if it has not been made.",
	.options = why_options,
	.run = run_why},
    {.name = "model",
	.args = "FILE",
	.least = 1,
	.most = 1,
	.summary = "what is in a file of weights",
	.details =
	    "FILE is NAME.safetensors, or a TensorFlow checkpoint's path without "
	    ".index.\nEverything in it is checked.",
	.options = model_options,
	.run = run_model},
    {.name = NULL},
};
