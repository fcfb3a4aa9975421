/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recipes of generated layers: reading, writing and the geometry of blocks and ids.
 *
 * A recipe is written once, when its layer is created, and only read afterwards; the
 * text is hashed, so the writer's form (compact, sorted keys) is part of the contract.
 * Reading is strict: a recipe that this program cannot follow in every detail must not
 * be followed at all.
 */
#include "config.h"

#include "work/recipe.h"

#include <stdlib.h>

#include "base/json.h"

/* More would no longer be exact in the doubles of JavaScript clients. */
#define ID_BITS_MAX 53
#define RECIPE_VERSION 1
/* Fields of view per movement step's volume of the positions a centre can take,
 * measured on the FIB-25 sample: 25,720 in 218^3 voxels with steps of 8^3. */
#define FOVS_PER_CELL 1.27
#define EDGE_MAX 4096 /* voxels of a block's edge; keeps products far from overflow */

static int
copy_text(const json_t *obj, const char *key, char *out, size_t size,
    struct fg_err *err)
{
	const char *text;

	if (fg_json_get_string(obj, key, FG_JSON_NEEDED, &text, err) < 0)
		return -1;
	if (strlen(text) >= size)
		return fg_fail(err, FG_EINVAL,
		    "\"%s\" is %zu bytes long, at most %zu are allowed", key,
		    strlen(text), size - 1);
	memcpy(out, text, strlen(text) + 1);
	return 0;
}

static int
copy_sha256(const json_t *obj, const char *key, char out[FG_SHA256_HEX],
    struct fg_err *err)
{
	uint8_t raw[FG_SHA256_SIZE];

	if (copy_text(obj, key, out, FG_SHA256_HEX, err) < 0)
		return -1;
	if (!fg_hex_parse(out, raw, sizeof raw))
		return fg_fail(err, FG_EINVAL, "\"%s\" is not a SHA-256 in hex", key);
	return 0;
}

static int
parse_image(const json_t *obj, struct fg_recipe *r, struct fg_err *err)
{
	const char *name;

	if (fg_json_get_string(obj, "name", FG_JSON_NEEDED, &name, err) < 0 ||
	    copy_text(obj, "uuid", r->image_uuid, sizeof r->image_uuid, err) < 0 ||
	    copy_sha256(obj, "sha256", r->image_sha256, err) < 0 ||
	    copy_text(obj, "scale", r->image_scale, sizeof r->image_scale, err) < 0)
		return fg_err_prefix(err, "image");
	r->image = fg_strdup(name);
	return 0;
}

static int
parse_model(const json_t *obj, struct fg_recipe *r, struct fg_err *err)
{
	const char *path, *prec;
	struct fg_net_shape *s = &r->shape;

	if (fg_json_get_string(obj, "path", FG_JSON_NEEDED, &path, err) < 0 ||
	    copy_sha256(obj, "sha256", r->model_sha256, err) < 0 ||
	    fg_json_get_int3(obj, "fov", FG_JSON_NEEDED, 1, 513, s->fov, err) < 0 ||
	    fg_json_get_int3(obj, "delta", FG_JSON_NEEDED, 0, 256, s->delta, err) < 0 ||
	    fg_json_get_real(obj, "mean", FG_JSON_NEEDED, -1e6, 1e6, &s->mean, err) <
		0 ||
	    fg_json_get_real(obj, "stddev", FG_JSON_NEEDED, 1e-6, 1e6, &s->stddev,
		err) < 0 ||
	    fg_json_get_string(obj, "precision", FG_JSON_NEEDED, &prec, err) < 0 ||
	    fg_precision_parse(prec, &r->precision, err) < 0)
		return fg_err_prefix(err, "model");
	r->model = fg_strdup(path);
	return 0;
}

static int
parse_grid(const json_t *obj, struct fg_recipe *r, struct fg_err *err)
{
	const json_t *stitch, *again;
	int64_t bits[3];
	bool prob = false;

	if (fg_json_get_int3(obj, "block", FG_JSON_NEEDED, 1, EDGE_MAX, r->block, err) <
		0 ||
	    fg_json_get_int3(obj, "halo", FG_JSON_NEEDED, 0, EDGE_MAX, r->halo, err) <
		0 ||
	    fg_json_get_int3(obj, "id_bits", FG_JSON_NEEDED, 1, 33, bits, err) < 0 ||
	    fg_json_get_bool(obj, "prob", FG_JSON_OPTIONAL, &prob, err) < 0)
		return -1;
	if (bits[0] + bits[1] + bits[2] + FG_LOCAL_BITS > ID_BITS_MAX)
		return fg_fail(err, FG_EINVAL,
		    "\"id_bits\" are %lld in all with %d local ones, not within %d",
		    (long long)(bits[0] + bits[1] + bits[2] + FG_LOCAL_BITS),
		    FG_LOCAL_BITS, ID_BITS_MAX);
	for (int d = 0; d < 3; d++)
		r->bits[d] = (int)bits[d];
	r->prob = prob;
	r->mesh_error_nm = -1;
	if (fg_json_get_real(obj, "mesh_error_nm", FG_JSON_OPTIONAL, 0, 1e6,
		&r->mesh_error_nm, err) < 0)
		return -1;
	fg_stitch_rule_strict(&r->stitch);
	stitch = json_object_get(obj, "stitch");
	if (stitch && fg_stitch_rule_parse(stitch, &r->stitch, err) < 0)
		return -1;
	fg_resegment_rule_default(&r->resegment, &r->shape);
	again = json_object_get(obj, "resegment");
	return again ? fg_resegment_rule_parse(again, &r->resegment, err) : 0;
}

static int
get_object(const json_t *obj, const char *key, const json_t **out, struct fg_err *err)
{
	*out = json_object_get(obj, key);
	if (!json_is_object(*out))
		return fg_fail(err, FG_EINVAL, "\"%s\" is not an object", key);
	return 0;
}

static int
parse_object(const json_t *j, struct fg_recipe *r, struct fg_err *err)
{
	const json_t *image, *model, *flood;
	const char *type;
	int64_t version;

	if (!json_is_object(j))
		return fg_fail(err, FG_EINVAL, "not a JSON object");
	if (fg_json_get_string(j, "type", FG_JSON_NEEDED, &type, err) < 0 ||
	    fg_json_get_int(j, "version", FG_JSON_NEEDED, 1, INT32_MAX, &version, err) <
		0)
		return -1;
	if (strcmp(type, "ffn") != 0 || version != RECIPE_VERSION)
		return fg_fail(err, FG_ENOTSUP,
		    "type \"%.20s\" version %lld, this program knows \"ffn\" version "
		    "%d",
		    type, (long long)version, RECIPE_VERSION);
	if (get_object(j, "image", &image, err) < 0 ||
	    get_object(j, "model", &model, err) < 0 ||
	    get_object(j, "flood", &flood, err) < 0 || parse_image(image, r, err) < 0 ||
	    parse_model(model, r, err) < 0 || parse_grid(j, r, err) < 0)
		return -1;
	fg_passes_default(&r->passes);
	if (fg_passes_parse(j, &r->passes, err) < 0)
		return -1;
	fg_flood_params_default(&r->flood);
	return fg_flood_params_parse(flood, &r->flood, err);
}

int
fg_recipe_parse(const char *json, struct fg_recipe *r, struct fg_err *err)
{
	struct fg_recipe got = {0};
	json_t *j = fg_json_parse(json, strlen(json), "recipe", err);

	if (!j)
		return -1;
	if (parse_object(j, &got, err) < 0) {
		json_decref(j);
		fg_recipe_fini(&got);
		return fg_err_prefix(err, "recipe");
	}
	json_decref(j);
	*r = got;
	return 0;
}

char *
fg_recipe_format(const struct fg_recipe *r)
{
	const int64_t bits[3] = {r->bits[0], r->bits[1], r->bits[2]};
	json_t *image = json_pack("{s:s,s:s,s:s,s:s}", "name", r->image, "uuid",
	    r->image_uuid, "sha256", r->image_sha256, "scale", r->image_scale);
	json_t *model = json_pack("{s:s,s:s,s:o,s:o,s:f,s:f,s:s}", "path", r->model,
	    "sha256", r->model_sha256, "fov", fg_json_int3(r->shape.fov), "delta",
	    fg_json_int3(r->shape.delta), "mean", r->shape.mean, "stddev",
	    r->shape.stddev, "precision", fg_precision_name(r->precision));
	json_t *j = json_pack("{s:s,s:i,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:o*,s:o*,s:o*}",
	    "type", "ffn", "version", RECIPE_VERSION, "image", image, "model", model,
	    "flood", fg_flood_params_format(&r->flood), "block", fg_json_int3(r->block),
	    "halo", fg_json_int3(r->halo), "id_bits", fg_json_int3(bits), "prob",
	    r->prob, "stitch",
	    r->stitch.near > 0 ? fg_stitch_rule_format(&r->stitch) : NULL, "resegment",
	    r->resegment.faces > 0 ? fg_resegment_rule_format(&r->resegment) : NULL,
	    "mesh_error_nm",
	    r->mesh_error_nm >= 0 ? json_real(r->mesh_error_nm) : NULL);
	char *text;

	fg_passes_format(&r->passes, j);
	fg_assert(j != NULL); /* every string was checked to be UTF-8 when parsed */
	text = fg_json_format(j);
	json_decref(j);
	return text;
}

void
fg_recipe_fini(struct fg_recipe *r)
{
	free(r->image);
	free(r->model);
	fg_passes_fini(&r->passes);
	*r = (struct fg_recipe){0};
}

/* Bits that hold 0 .. n-1. */
static int
bits_for(int64_t n)
{
	return n <= 1 ? 0 : 64 - __builtin_clzll((unsigned long long)(n - 1));
}

int
fg_recipe_plan_ids(struct fg_recipe *r, const struct fg_scale *s, struct fg_err *err)
{
	int64_t grid[3];
	int bits[3], sum = FG_LOCAL_BITS;

	fg_recipe_grid(r, s, grid);
	for (int d = 0; d < 3; d++) {
		bits[d] = bits_for(grid[d]) + 1; /* one spare: the volume may grow */
		sum += bits[d];
	}
	if (sum > ID_BITS_MAX)
		return fg_fail(err, FG_EINVAL,
		    "object ids of %lld x %lld x %lld blocks need %d bits, at most %d "
		    "are exact in clients: choose larger blocks",
		    (long long)grid[0], (long long)grid[1], (long long)grid[2], sum,
		    ID_BITS_MAX);
	memcpy(r->bits, bits, sizeof bits);
	return 0;
}

void
fg_recipe_grid(const struct fg_recipe *r, const struct fg_scale *s, int64_t grid[3])
{
	for (int d = 0; d < 3; d++)
		grid[d] = fg_div_ceil(s->size[d], r->block[d]);
}

static void
cut_box(const struct fg_recipe *r, const struct fg_scale *s, const int64_t blk[3],
    const int64_t margin[3], struct fg_box *box)
{
	struct fg_box all;

	fg_scale_bounds(s, &all);
	for (int d = 0; d < 3; d++) {
		box->lo[d] = s->offset[d] + blk[d] * r->block[d] - margin[d];
		box->hi[d] = box->lo[d] + r->block[d] + 2 * margin[d];
	}
	fg_box_intersect(box, &all, box);
}

void
fg_recipe_core(const struct fg_recipe *r, const struct fg_scale *s,
    const int64_t blk[3], struct fg_box *core)
{
	cut_box(r, s, blk, (const int64_t[3]){0, 0, 0}, core);
}

void
fg_recipe_box(const struct fg_recipe *r, const struct fg_scale *s, const int64_t blk[3],
    struct fg_box *box)
{
	cut_box(r, s, blk, r->halo, box);
}

void
fg_recipe_block_of(const struct fg_recipe *r, const struct fg_scale *s,
    const int64_t ch[3], int64_t blk[3])
{
	for (int d = 0; d < 3; d++)
		blk[d] = ch[d] * s->chunk[d] / r->block[d];
}

double
fg_recipe_fovs(const struct fg_recipe *r, const struct fg_scale *s,
    const int64_t block[3])
{
	double fovs = FOVS_PER_CELL;

	for (int d = 0; d < 3; d++) {
		int64_t edge = FG_MIN(block[d] + 2 * r->halo[d], s->size[d]);
		int64_t centres = FG_MAX(edge - r->shape.fov[d] + 1, 1);

		fovs *= (double)centres / (double)FG_MAX(r->shape.delta[d], 1);
	}
	return fovs;
}

uint64_t
fg_recipe_id(const struct fg_recipe *r, const int64_t blk[3], uint32_t local)
{
	uint64_t id = 0;

	fg_assert(local < UINT32_C(1) << FG_LOCAL_BITS);
	for (int d = 0; d < 3; d++) {
		fg_assert(blk[d] >= 0 && blk[d] < INT64_C(1) << r->bits[d]);
		id = id << r->bits[d] | (uint64_t)blk[d];
	}
	return id << FG_LOCAL_BITS | local;
}

bool
fg_recipe_id_parse(const struct fg_recipe *r, const struct fg_scale *s, uint64_t id,
    int64_t blk[3], uint32_t *local)
{
	uint32_t n = (uint32_t)(id & ((UINT64_C(1) << FG_LOCAL_BITS) - 1));
	int64_t grid[3], b[3];

	fg_recipe_grid(r, s, grid);
	id >>= FG_LOCAL_BITS;
	for (int d = 2; d >= 0; d--) {
		b[d] = (int64_t)(id & ((UINT64_C(1) << r->bits[d]) - 1));
		id >>= r->bits[d];
		if (b[d] >= grid[d])
			return false;
	}
	if (id != 0 || n == 0)
		return false;
	memcpy(blk, b, sizeof b);
	*local = n;
	return true;
}
