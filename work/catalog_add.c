/* SPDX-License-Identifier: Apache-2.0 */
/*
 * New layers: a JSON description, the same for tool and API, becomes a row of the index
 * and a layer of the table.
 *
 * Everything that could make the layer useless later is tried here: the source opens,
 * the network loads and runs on a device at the precision asked for, ids fit, the
 * encoding can hold the ids. `auto` and absent values are resolved now and written into
 * the recipe; nothing of it depends on the machine afterwards.
 */
#include "config.h"

#include "work/catalog_priv.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/morton.h"
#include "formats/codec.h"
#include "work/engine.h"

#define BLOCK_EDGE_MAX 256 /* voxels; for the block chosen by speed */
#define BLOCK_SECONDS 60.0 /* estimated, at most */
/* Resolutions are often rounded: a factor this near to a whole number may be one. */
#define RATIO_EPS 0.02

static int
check_keys(const json_t *obj, const char *const *known, size_t n, const char *what,
    struct fg_err *err)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)obj, key, v)
	{
		size_t i = 0;

		while (i < n && strcmp(known[i], key) != 0)
			i++;
		if (i == n)
			return fg_fail(err, FG_EINVAL, "%s: \"%.60s\" is not known",
			    what, key);
	}
	return 0;
}

/* JSON holds UTF-8 only, and paths of this machine need not be. */
int
fg_catalog_check_text(const char *path, struct fg_err *err)
{
	json_t *j = json_string(path);

	if (!j)
		return fg_fail(err, FG_EINVAL,
		    "the path is not UTF-8, which a layer's description has to be");
	json_decref(j);
	return 0;
}

/* ------------------------------------------------------------- generated layers */

/* A generated layer on its way from description to row. */
struct plan {
	struct fg_catalog *c;
	const json_t *ffn;
	struct fg_layer *image;
	const struct fg_scale *scale; /* of the image */
	struct fg_recipe recipe;
	struct fg_info info;
	struct fg_net *net, *second;
	bool block_given;
	double fov_s; /* measured, 0 if it was not needed */
};

static int
find_image(struct plan *p, struct fg_err *err)
{
	const char *text, *key;
	struct fg_layer *l;
	int s = 0;

	if (fg_json_get_string(p->ffn, "image", FG_JSON_NEEDED, &text, err) < 0)
		return -1;
	key = strchr(text, '@');
	l = fg_catalog_find(p->c, text, key ? (size_t)(key - text) : strlen(text));
	p->image = l;
	if (!l)
		return fg_fail(err, FG_ENOENT, "there is no image layer %.70s", text);
	if (l->broken)
		return fg_fail(err, FG_EIO, "image layer %s: %s", l->name, l->why);
	if (!l->source || l->info.type != FG_IMAGE || l->info.channels != 1 ||
	    (l->info.dtype != FG_U8 && l->info.dtype != FG_U16))
		return fg_fail(err, FG_EINVAL,
		    "layer %s is not an image of one channel of uint8 or uint16",
		    l->name);
	if (key) {
		s = fg_info_find_scale(&l->info, key + 1, strlen(key + 1));
		if (s < 0)
			return fg_fail(err, FG_ENOENT, "image %s has no scale %.60s",
			    l->name, key + 1);
	}
	p->scale = &l->info.scale[s];
	if (strlen(p->scale->key) >= sizeof p->recipe.image_scale)
		return fg_fail(err, FG_ENOTSUP, "the key of scale %.70s is too long",
		    p->scale->key);
	p->recipe.image = fg_strdup(l->name);
	memcpy(p->recipe.image_uuid, l->uuid, sizeof l->uuid);
	strcpy(p->recipe.image_scale, p->scale->key);
	fg_catalog_info_sha256(&l->info, p->recipe.image_sha256);
	return 0;
}

/* The prefix of a checkpoint names no file, so its folder is what is made absolute. */
static char *
absolute_prefix(const char *path, struct fg_err *err)
{
	const char *slash = strrchr(path, '/');
	char *dir =
	    slash ? fg_strndup(path, (size_t)(slash - path) + 1) : fg_strdup(".");
	char real[PATH_MAX];
	char *out = NULL;

	if (realpath(dir, real))
		out = fg_asprintf("%s/%s", real, slash ? slash + 1 : path);
	else
		fg_fail_errno(err, "folder of the model %.200s", path);
	if (out && fg_catalog_check_text(out, err) < 0) {
		free(out);
		out = NULL;
	}
	free(dir);
	return out;
}

/* How a network is fed: what the description says, else its file, else what *s holds.
 */
static int
read_shape(const json_t *obj, const char *path, struct fg_net_shape *s,
    struct fg_err *err)
{
	const enum fg_json_need opt = FG_JSON_OPTIONAL;

	/* Files that say how they are to be fed have better defaults than ours. */
	if (fg_net_is_safetensors(path)) {
		*s = FG_NET_SHAPE_UNSET;
		if (fg_net_find_shape(path, s, err) < 0)
			return -1;
	}
	if (fg_json_get_int3(obj, "fov", opt, 1, 513, s->fov, err) < 0 ||
	    fg_json_get_int3(obj, "delta", opt, 0, 256, s->delta, err) < 0 ||
	    fg_json_get_real(obj, "mean", opt, -1e6, 1e6, &s->mean, err) < 0 ||
	    fg_json_get_real(obj, "stddev", opt, 1e-6, 1e6, &s->stddev, err) < 0)
		return -1;
	for (int d = 0; d < 3; d++) {
		if (s->fov[d] % 2 == 0)
			return fg_fail(err, FG_EINVAL,
			    "\"fov\" is %lld, %lld, %lld: each must be odd",
			    (long long)s->fov[0], (long long)s->fov[1],
			    (long long)s->fov[2]);
		if (2 * s->delta[d] >= s->fov[d])
			return fg_fail(err, FG_EINVAL,
			    "\"delta\" %lld must be less than half of \"fov\" %lld",
			    (long long)s->delta[d], (long long)s->fov[d]);
	}
	return 0;
}

static int
read_model(struct plan *p, struct fg_err *err)
{
	struct fg_net_shape *s = &p->recipe.shape;
	const char *path;

	*s = (struct fg_net_shape){.fov = {33, 33, 33},
	    .delta = {8, 8, 8},
	    .mean = 128,
	    .stddev = 33};
	if (fg_json_get_string(p->ffn, "model", FG_JSON_NEEDED, &path, err) < 0 ||
	    read_shape(p->ffn, path, s, err) < 0)
		return -1;
	p->recipe.model = absolute_prefix(path, err);
	if (!p->recipe.model)
		return -1;
	p->net = fg_net_load(p->recipe.model, s, err);
	if (!p->net)
		return -1;
	memcpy(p->recipe.model_sha256, p->net->sha256, sizeof p->net->sha256);
	return 0;
}

/* The layer that forbids places. */
static int
find_mask(struct plan *p, struct fg_err *err)
{
	struct fg_passes *q = &p->recipe.passes;
	struct fg_layer *l = fg_catalog_find(p->c, q->mask, strlen(q->mask));
	int rc = -1, s = 0;

	if (!l)
		return fg_fail(err, FG_ENOENT, "there is no mask layer %s", q->mask);
	if (q->mask_scale[0])
		s = fg_info_find_scale(&l->info, q->mask_scale, strlen(q->mask_scale));
	if (l->broken)
		fg_fail(err, FG_EIO, "mask layer %s: %s", l->name, l->why);
	else if (!l->source || l->info.channels != 1 ||
		 (l->info.dtype != FG_U8 && l->info.dtype != FG_U16 &&
		     l->info.dtype != FG_U32 && l->info.dtype != FG_U64))
		fg_fail(err, FG_EINVAL,
		    "mask layer %s is not a volume of whole numbers", l->name);
	else if (s < 0 || strlen(l->info.scale[s].key) >= sizeof q->mask_scale)
		fg_fail(err, FG_ENOENT, "mask layer %s has no scale %s", l->name,
		    q->mask_scale);
	else
		rc = 0;
	if (rc == 0) {
		memcpy(q->mask_uuid, l->uuid, sizeof l->uuid);
		strcpy(q->mask_scale, l->info.scale[s].key);
		fg_catalog_info_sha256(&l->info, q->mask_sha256);
	}
	fg_layer_unref(l);
	return rc;
}

/* A scale of the image that another pass floods; "" is none. */
static int
check_coarser(const struct plan *p, const char *pass, const char *key,
    struct fg_err *err)
{
	const struct fg_info *info = &p->image->info;
	int s = fg_info_find_scale(info, key, strlen(key));

	if (key[0] == '\0')
		return 0;
	if (s < 0)
		return fg_fail(err, FG_ENOENT, "%s: image %s has no scale %s", pass,
		    p->image->name, key);
	for (int d = 0; d < 3; d++) {
		double ratio = info->scale[s].nm[d] / p->scale->nm[d];

		if (ratio < 1 - RATIO_EPS)
			return fg_fail(err, FG_EINVAL, "%s: scale %s is finer than %s",
			    pass, key, p->scale->key);
		/* And over the whole volume it drifts by less than a voxel. */
		if (fabs(ratio - round(ratio)) > RATIO_EPS ||
		    fabs(ratio / round(ratio) - 1) * (double)info->scale[s].size[d] >=
			1)
			return fg_fail(err, FG_EINVAL,
			    "%s: voxels of scale %s are %.4g times those of %s, which "
			    "is "
			    "no whole number",
			    pass, key, ratio, p->scale->key);
	}
	return 0;
}

/* The other weights of a consensus; fed as the layer's own unless the file or the
 * description says otherwise. */
static int
read_second_model(struct plan *p, struct fg_err *err)
{
	struct fg_passes *q = &p->recipe.passes;
	char *path = absolute_prefix(q->consensus_model, err);

	if (!path)
		return fg_err_prefix(err, "consensus");
	free(q->consensus_model);
	q->consensus_model = path;
	q->consensus_shape = p->recipe.shape;
	if (read_shape(json_object_get(p->ffn, "consensus"), path, &q->consensus_shape,
		err) < 0)
		return fg_err_prefix(err, "consensus");
	p->second = fg_net_load(path, &q->consensus_shape, err);
	if (!p->second)
		return fg_err_prefix(err, "consensus");
	if (q->consensus_sha256[0] &&
	    strcmp(q->consensus_sha256, p->second->sha256) != 0)
		return fg_fail(err, FG_EINVAL,
		    "consensus: the model's SHA-256 is %s, not %s", p->second->sha256,
		    q->consensus_sha256);
	memcpy(q->consensus_sha256, p->second->sha256, sizeof p->second->sha256);
	return 0;
}

static int
read_passes(struct plan *p, struct fg_err *err)
{
	struct fg_passes *q = &p->recipe.passes;

	/* An object that is pieces of two neurons joins them. Each piece is an object
	 * from then on, with the least size of one. */
	fg_passes_default(q);
	q->pieces = true;
	q->pieces_least = p->recipe.flood.min_segment_size;
	if (fg_passes_parse(p->ffn, q, err) < 0)
		return -1;
	if (fg_passes_widen(q, FG_MAX(p->recipe.shape.delta[2], 1), err) < 0)
		return -1;
	if (check_coarser(p, "coarse", q->coarse, err) < 0 ||
	    check_coarser(p, "consensus", q->consensus_scale, err) < 0 ||
	    (q->consensus_model && read_second_model(p, err) < 0))
		return -1;
	return q->mask[0] ? find_mask(p, err) : 0;
}

/* Its default depends on what is compared: see seg/stitch.h. */
static int
read_stitch(struct plan *p, struct fg_err *err)
{
	const json_t *rule = json_object_get(p->ffn, "stitch");
	struct fg_stitch_rule *r = &p->recipe.stitch;

	if (p->recipe.passes.pieces)
		fg_stitch_rule_default(r, p->recipe.flood.min_segment_size);
	else
		fg_stitch_rule_strict(r);
	return rule ? fg_stitch_rule_parse(rule, r, err) : 0;
}

/* Its defaults depend on the network. */
static int
read_resegment(struct plan *p, struct fg_err *err)
{
	const json_t *rule = json_object_get(p->ffn, "resegment");
	struct fg_resegment_rule *r = &p->recipe.resegment;

	fg_resegment_rule_default(r, &p->recipe.shape);
	if (!rule)
		return 0;
	return fg_resegment_rule_parse(rule, r, err) < 0
		   ? -1
		   : fg_resegment_rule_check(r, err);
}

static int
choose_precision(struct plan *p, struct fg_err *err)
{
	const char *name = "auto";
	struct fg_device_desc *d = NULL;
	size_t n = 0;

	if (fg_json_get_string(p->ffn, "precision", FG_JSON_OPTIONAL, &name, err) < 0)
		return -1;
	if (strcmp(name, "auto") != 0)
		return fg_precision_parse(name, &p->recipe.precision, err);
	if (fg_devices_list(&d, &n, err) < 0)
		return -1;
	p->recipe.precision = fg_precision_auto(d, n);
	free(d);
	return 0;
}

static int
read_geometry(struct plan *p, struct fg_err *err)
{
	struct fg_recipe *r = &p->recipe;
	struct fg_scale *s = &p->info.scale[0];
	const char *enc = "compressed_segmentation";

	for (int d = 0; d < 3; d++) {
		s->chunk[d] = 64;
		r->halo[d] = 32;
	}
	r->mesh_error_nm = -1;
	p->block_given = json_object_get(p->ffn, "block") != NULL;
	if (fg_json_get_int3(p->ffn, "chunk", FG_JSON_OPTIONAL, 8, 1024, s->chunk,
		err) < 0 ||
	    fg_json_get_int3(p->ffn, "halo", FG_JSON_OPTIONAL, 0, 512, r->halo, err) <
		0 ||
	    fg_json_get_int3(p->ffn, "block", FG_JSON_OPTIONAL, 8, 2048, r->block,
		err) < 0 ||
	    fg_json_get_string(p->ffn, "encoding", FG_JSON_OPTIONAL, &enc, err) < 0 ||
	    fg_encoding_parse(enc, &s->encoding, err) < 0 ||
	    fg_codec_check(s->encoding, FG_U64, 1, err) < 0 ||
	    fg_json_get_bool(p->ffn, "prob", FG_JSON_OPTIONAL, &r->prob, err) < 0 ||
	    fg_json_get_real(p->ffn, "mesh_error_nm", FG_JSON_OPTIONAL, 0, 1e6,
		&r->mesh_error_nm, err) < 0)
		return -1;
	for (int d = 0; p->block_given && d < 3; d++) {
		if (r->block[d] % s->chunk[d] != 0)
			return fg_fail(err, FG_EINVAL,
			    "\"block\" %lld is not a multiple of \"chunk\" %lld",
			    (long long)r->block[d], (long long)s->chunk[d]);
	}
	return 0;
}

/* The largest multiple of the chunk that a device makes in about a minute. */
static void
choose_block(struct plan *p)
{
	const int64_t *chunk = p->info.scale[0].chunk;
	int64_t block[3];

	memcpy(p->recipe.block, chunk, sizeof block);
	for (int64_t m = 2;; m++) {
		bool grew = false, fits = true;

		for (int d = 0; d < 3; d++) {
			int64_t all =
			    fg_div_ceil(p->scale->size[d], chunk[d]) * chunk[d];

			block[d] = FG_MIN(m * chunk[d], all);
			grew |= block[d] > p->recipe.block[d];
			fits &= block[d] <= FG_MAX(BLOCK_EDGE_MAX, chunk[d]);
		}
		if (!grew || !fits ||
		    fg_recipe_fovs(&p->recipe, p->scale, block) * p->fov_s >
			BLOCK_SECONDS)
			return;
		memcpy(p->recipe.block, block, sizeof block);
	}
}

static int
try_second(struct plan *p, struct fg_engines *es, struct fg_err *err)
{
	const struct fg_passes *q = &p->recipe.passes;

	fg_engines_put_net(es, p->second);
	p->second = NULL;
	if (!fg_engines_get(es, q->consensus_model, q->consensus_sha256,
		&q->consensus_shape, p->recipe.precision, err))
		return fg_err_prefix(err, "consensus");
	return 0;
}

/* Run one field of view on this machine's devices: proves that the recipe can run, and
 * gives the speed. */
static int
try_devices(struct plan *p, struct fg_err *err)
{
	struct fg_recipe *r = &p->recipe;
	struct fg_engines *es = fg_engines_new(NULL, 0, err);
	struct fg_engine *e;
	int rc = -1;

	if (!es)
		return -1;
	fg_engines_put_net(es, p->net);
	p->net = NULL;
	if (p->second && try_second(p, es, err) < 0) {
		fg_engines_free(es);
		return -1;
	}
	e = fg_engines_get(es, r->model, r->model_sha256, &r->shape, r->precision, err);
	if (e) {
		rc = 0;
		if (!p->block_given) {
			rc = fg_engine_measure(e, &p->fov_s, err);
			if (rc == 0)
				choose_block(p);
		}
	}
	fg_engines_free(es);
	return rc;
}

static int
read_flood(struct plan *p, struct fg_err *err)
{
	static const char *const own[] = {"image", "model", "fov", "delta", "mean",
	    "stddev", "precision", "block", "halo", "chunk", "encoding", "prob",
	    "scales", "stitch", "resegment", "consensus", "pieces", "coarse", "missing",
	    "jumps", "mask", "mesh_error_nm"};
	struct fg_flood_params *f = &p->recipe.flood;
	const char *known[64];
	size_t n = 0;
	json_t *j, *v;
	const char *key;
	int rc;

	fg_flood_params_default(f);
	memcpy(f->voxel_nm, p->scale->nm, sizeof f->voxel_nm);
	if (fg_flood_params_parse(p->ffn, f, err) < 0)
		return -1;
	/* The names it knows are those it writes. */
	for (size_t i = 0; i < FG_COUNTOF(own); i++)
		known[n++] = own[i];
	j = fg_flood_params_format(f);
	json_object_foreach(j, key, v)
	{
		fg_assert(n < FG_COUNTOF(known));
		known[n++] = key;
	}
	rc = check_keys(p->ffn, known, n, "ffn", err);
	json_decref(j);
	return rc;
}

/* ------------------------------------------------------------- scales */

/* Halve the axes whose voxels are not much longer than the shortest (2x2x1 while
 * anisotropic, then 2x2x2), as the next coarser scale. Windows are counted from voxel
 * 0, so an odd offset or size adds a voxel. */
static void
add_scale(struct fg_info *info)
{
	const struct fg_scale *f = &info->scale[info->scales - 1];
	struct fg_scale *c = &info->scale[info->scales++];
	double shortest = FG_MIN(f->nm[0], FG_MIN(f->nm[1], f->nm[2]));

	*c = *f;
	for (int d = 0; d < 3; d++) {
		int64_t factor = f->nm[d] < 2 * shortest ? 2 : 1;

		c->nm[d] = f->nm[d] * (double)factor;
		c->offset[d] = fg_div_floor(f->offset[d], factor);
		c->size[d] =
		    fg_div_ceil(f->offset[d] + f->size[d], factor) - c->offset[d];
	}
	c->key = fg_asprintf("%g_%g_%g", c->nm[0], c->nm[1], c->nm[2]);
}

static bool
fits_one_chunk(const struct fg_scale *s)
{
	return s->size[0] <= s->chunk[0] && s->size[1] <= s->chunk[1] &&
	       s->size[2] <= s->chunk[2];
}

static int
plan_info(struct plan *p, struct fg_err *err)
{
	struct fg_scale *s = &p->info.scale[0];
	int64_t scales = 0, grid[3];

	if (fg_json_get_int(p->ffn, "scales", FG_JSON_OPTIONAL, 1, FG_SCALES_MAX,
		&scales, err) < 0)
		return -1;
	p->info.type = FG_SEGMENTATION;
	p->info.dtype = FG_U64;
	p->info.channels = 1;
	p->info.scales = 1;
	s->key = fg_strdup(p->scale->key);
	memcpy(s->nm, p->scale->nm, sizeof s->nm);
	memcpy(s->offset, p->scale->offset, sizeof s->offset);
	memcpy(s->size, p->scale->size, sizeof s->size);
	for (int d = 0; d < 3; d++)
		s->cseg_block[d] = 8;
	s->jpeg_quality = s->png_level = -1;
	fg_scale_grid(s, grid);
	for (int d = 0; d < 3; d++) {
		if (grid[d] > FG_MORTON_AXIS_MAX)
			return fg_fail(err, FG_EINVAL,
			    "%lld chunks along one axis are too many: choose larger "
			    "chunks",
			    (long long)grid[d]);
	}
	while (p->info.scales < FG_SCALES_MAX &&
	       (scales ? p->info.scales < scales
		       : !fits_one_chunk(&p->info.scale[p->info.scales - 1])))
		add_scale(&p->info);
	return 0;
}

static int
plan_generated(struct plan *p, struct fg_layer_row *row, struct fg_err *err)
{
	struct fg_recipe *r = &p->recipe;
	struct fg_buf *info;
	json_t *grid;

	if (!json_is_object(p->ffn))
		return fg_fail(err, FG_EINVAL, "\"ffn\" is not an object");
	if (find_image(p, err) < 0 || read_flood(p, err) < 0 ||
	    read_geometry(p, err) < 0 || plan_info(p, err) < 0 ||
	    read_model(p, err) < 0 || read_passes(p, err) < 0 ||
	    read_stitch(p, err) < 0 || read_resegment(p, err) < 0 ||
	    choose_precision(p, err) < 0 || try_devices(p, err) < 0 ||
	    fg_recipe_plan_ids(r, &p->info.scale[0], err) < 0)
		return -1;
	info = fg_catalog_info_bytes(&p->info);
	row->info = fg_strndup((const char *)info->data, info->len);
	fg_buf_unref(info);
	row->kind = fg_strdup("segmentation");
	row->recipe = fg_recipe_format(r);
	grid = json_pack("{s:o,s:o}", "block", fg_json_int3(r->block), "halo",
	    fg_json_int3(r->halo));
	row->grid = fg_json_format(grid);
	json_decref(grid);
	return 0;
}

static void
fini_plan(struct plan *p)
{
	fg_layer_unref(p->image);
	fg_recipe_fini(&p->recipe);
	fg_info_fini(&p->info);
	fg_net_free(p->net);
	fg_net_free(p->second);
}

static void
log_plan(const char *name, const struct plan *p)
{
	const struct fg_recipe *r = &p->recipe;

	fg_log(FG_LOG_INFO,
	    "layer added layer=%s image=%s scale=%s precision=%s block=%lld,%lld,%lld "
	    "fov_ms=%.3g",
	    name, r->image, r->image_scale, fg_precision_name(r->precision),
	    (long long)r->block[0], (long long)r->block[1], (long long)r->block[2],
	    p->fov_s * 1e3);
}

/* ------------------------------------------------------------- adding */

static int
plan_row(struct fg_catalog *c, const json_t *spec, struct fg_layer_row *row,
    struct fg_err *err)
{
	static const char *const known[] = {"name", "source", "ffn", "missing",
	    "redirects", "denied", "encoding", "jpeg_quality", "mesh_error_nm"};
	const json_t *ffn = json_object_get(spec, "ffn");
	struct plan p = {.c = c, .ffn = ffn};
	const char *name, *url = NULL;
	int rc;

	if (!json_is_object(spec))
		return fg_fail(err, FG_EINVAL, "the layer's description is no object");
	if (check_keys(spec, known, FG_COUNTOF(known), "layer", err) < 0 ||
	    fg_json_get_string(spec, "name", FG_JSON_NEEDED, &name, err) < 0 ||
	    fg_json_get_string(spec, "source", FG_JSON_OPTIONAL, &url, err) < 0)
		return -1;
	if (fg_layer_check_name(name, err) < 0)
		return -1;
	if ((url != NULL) == (ffn != NULL))
		return fg_fail(err, FG_EINVAL,
		    "a layer needs either \"source\" or \"ffn\"");
	if (ffn && json_object_get(spec, "mesh_error_nm"))
		return fg_fail(err, FG_EINVAL,
		    "\"mesh_error_nm\" of a generated layer stands in \"ffn\"");
	row->name = fg_strdup(name);
	if (url)
		return fg_catalog_plan_passive(c, spec, url, row, err);
	rc = plan_generated(&p, row, err);
	if (rc == 0)
		log_plan(name, &p);
	fini_plan(&p);
	return rc;
}

static int
check_free(struct fg_catalog *c, const char *name, struct fg_err *err)
{
	struct fg_layer *l = fg_catalog_find(c, name, strlen(name));

	if (!l)
		return 0;
	fg_layer_unref(l);
	return fg_fail(err, FG_EINVAL, "there is a layer %s already", name);
}

static bool
wants_prob(const json_t *spec)
{
	return json_is_true(json_object_get(json_object_get(spec, "ffn"), "prob"));
}

int
fg_catalog_add(struct fg_catalog *c, const json_t *spec, struct fg_layer **out,
    struct fg_err *err)
{
	const char *name = json_string_value(json_object_get(spec, "name"));
	struct fg_layer_row row = {0};
	struct fg_layer *l;
	char *prob;
	int rc = -1;

	/* Before the expensive part, and again when nobody else can add. */
	if (name && check_free(c, name, err) < 0)
		return -1;
	prob = wants_prob(spec) && name ? fg_asprintf("%s.prob", name) : NULL;
	if (plan_row(c, spec, &row, err) < 0)
		goto out;
	pthread_mutex_lock(fg_catalog_writer(c));
	rc = check_free(c, row.name, err);
	if (rc == 0 && prob)
		rc = check_free(c, prob, err);
	if (rc == 0)
		rc = fg_store_layer_add(fg_catalog_store(c), &row, err);
	if (rc == 0) {
		l = fg_catalog_open_layer(c, &row);
		*out = fg_layer_ref(l);
		fg_catalog_insert(c, l);
	}
	pthread_mutex_unlock(fg_catalog_writer(c));
out:
	fg_layer_row_fini(&row);
	free(prob);
	return rc;
}
