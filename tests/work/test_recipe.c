/* SPDX-License-Identifier: Apache-2.0 */
/* Recipes: block geometry, ids, the stored text. */
#include "config.h"

#include "tests/tap.h"
#include "work/recipe.h"

#define SHA "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct fg_recipe
sample(void)
{
	struct fg_recipe r = {
	    .image = fg_strdup("em"),
	    .image_uuid = "b1c2d3e4-0000-4000-8000-000000000001",
	    .image_sha256 = SHA,
	    .image_scale = "10_10_10",
	    .model = fg_strdup("/models/a \"b\"/ckpt-1"),
	    .model_sha256 = SHA,
	    .shape = {.fov = {33, 33, 17},
		.delta = {8, 8, 4},
		.mean = 128.25,
		.stddev = 33},
	    .precision = FG_PREC_BF16,
	    .block = {64, 64, 128},
	    .halo = {32, 32, 16},
	    .prob = true,
	};

	fg_flood_params_default(&r.flood);
	r.flood.move_threshold = 0.8;
	fg_stitch_rule_default(&r.stitch, 1000);
	fg_resegment_rule_default(&r.resegment, &r.shape);
	return r;
}

static const struct fg_scale scale = {.offset = {-100, 7, 0},
    .size = {250, 130, 1000},
    .chunk = {64, 64, 64}};

static void
test_geometry(void)
{
	struct fg_recipe r = sample();
	struct fg_err err = FG_ERR_INIT;
	struct fg_box b;
	int64_t g[3], blk[3];

	fg_recipe_grid(&r, &scale, g);
	tap_ok(g[0] == 4 && g[1] == 3 && g[2] == 8, "grid is rounded up");
	fg_recipe_core(&r, &scale, (int64_t[3]){0, 1, 7}, &b);
	tap_ok(fg_box_equal(&b, &(struct fg_box){{-100, 71, 896}, {-36, 135, 1000}}),
	    "core starts at the offset and is cut at the end");
	fg_recipe_box(&r, &scale, (int64_t[3]){0, 1, 7}, &b);
	tap_ok(fg_box_equal(&b, &(struct fg_box){{-100, 39, 880}, {-4, 137, 1000}}),
	    "core and halo are cut at both ends");
	fg_recipe_box(&r, &scale, (int64_t[3]){3, 2, 0}, &b);
	tap_ok(fg_box_equal(&b, &(struct fg_box){{60, 103, 0}, {150, 137, 144}}),
	    "last block of an axis");
	fg_recipe_block_of(&r, &scale, (int64_t[3]){3, 2, 5}, blk);
	tap_ok(blk[0] == 3 && blk[1] == 2 && blk[2] == 2, "block of a chunk");
	tap_rc(fg_recipe_plan_ids(&r, &scale, &err), &err, "plan ids");
	tap_ok(r.bits[0] == 3 && r.bits[1] == 3 && r.bits[2] == 4,
	    "bits of 4, 3 and 8 blocks with a spare each");
	fg_recipe_fini(&r);
}

static void
test_ids(void)
{
	struct fg_recipe r = sample();
	struct fg_err err = FG_ERR_INIT;
	int64_t blk[3];
	uint32_t local;

	tap_rc(fg_recipe_plan_ids(&r, &scale, &err), &err, "plan ids");
	uint64_t id = fg_recipe_id(&r, (int64_t[3]){3, 2, 7}, 1048575);
	tap_int(id, (((UINT64_C(3) << 3 | 2) << 4 | 7) << 20) | 1048575,
	    "x is most significant, local least");
	tap_ok(fg_recipe_id_parse(&r, &scale, id, blk, &local) && blk[0] == 3 &&
		   blk[1] == 2 && blk[2] == 7 && local == 1048575,
	    "an id tells its block and number");
	tap_ok(!fg_recipe_id_parse(&r, &scale, 0, blk, &local), "0 is background");
	tap_ok(!fg_recipe_id_parse(&r, &scale, id & ~UINT64_C(0xfffff), blk, &local),
	    "local 0 is no object");
	tap_ok(!fg_recipe_id_parse(&r, &scale,
		   fg_recipe_id(&r, (int64_t[3]){4, 0, 0}, 1), blk, &local),
	    "a block outside the grid has no ids");
	tap_ok(!fg_recipe_id_parse(&r, &scale, UINT64_C(1) << 53 | 1, blk, &local),
	    "bits above the id");
	fg_recipe_fini(&r);
}

static void
test_width(void)
{
	struct fg_recipe r = sample();
	struct fg_err err = FG_ERR_INIT;
	struct fg_scale s = scale;

	/* 2^10 blocks an axis: 11 bits each, 33 + 20 = 53. */
	for (int d = 0; d < 3; d++) {
		r.block[d] = 64;
		s.size[d] = 64 << 10;
	}
	tap_rc(fg_recipe_plan_ids(&r, &s, &err), &err, "53 bits are enough");
	tap_ok(fg_recipe_id(&r, (int64_t[3]){2047, 2047, 2047}, 1048575) ==
		   (UINT64_C(1) << 53) - 1,
	    "the largest id is 2^53 - 1");
	s.size[1]++;
	tap_fails(fg_recipe_plan_ids(&r, &s, &err), &err, FG_EINVAL, "54 bits",
	    "one block more is refused");
	fg_recipe_fini(&r);
}

static void
test_text(void)
{
	struct fg_recipe r = sample(), got;
	struct fg_err err = FG_ERR_INIT;
	char *a, *b;

	tap_rc(fg_recipe_plan_ids(&r, &scale, &err), &err, "plan ids");
	a = fg_recipe_format(&r);
	if (tap_rc(fg_recipe_parse(a, &got, &err), &err, "its own text is read")) {
		b = fg_recipe_format(&got);
		tap_str(b, a, "and written the same");
		tap_str(got.model, r.model, "model");
		tap_ok(got.precision == FG_PREC_BF16 && got.prob &&
			   got.shape.mean == 128.25 && got.shape.fov[2] == 17 &&
			   got.flood.move_threshold == 0.8 && got.halo[2] == 16 &&
			   got.bits[2] == 4,
		    "values");
		free(b);
		fg_recipe_fini(&got);
	}
	tap_ok(!strstr(a, "pieces"), "what is off is not written");
	tap_ok(strchr(a, '\n') == NULL && strstr(a, "\"block\":[64,64,128]") != NULL,
	    "compact form");
	free(a);
	fg_recipe_fini(&r);
}

/* Recipes of layers that were made before there were pieces or rules. */
static void
test_older(void)
{
	struct fg_recipe r = sample(), got;
	struct fg_err err = FG_ERR_INIT;
	struct fg_stitch_rule strict;
	char *text;

	tap_rc(fg_recipe_plan_ids(&r, &scale, &err), &err, "plan ids");
	r.stitch = (struct fg_stitch_rule){0};
	text = fg_recipe_format(&r);
	tap_ok(!strstr(text, "stitch") && !strstr(text, "pieces"), "an older text");
	fg_stitch_rule_strict(&strict);
	if (tap_rc(fg_recipe_parse(text, &got, &err), &err, "is read")) {
		tap_ok(!got.passes.pieces, "its objects stay as they were flooded");
		tap_ok(got.stitch.near == strict.near && got.stitch.iou == strict.iou &&
			   got.stitch.share == strict.share &&
			   got.stitch.fragment_max == 0,
		    "and are joined by the strict rule");
		fg_recipe_fini(&got);
	}
	free(text);
	r.passes.pieces = true;
	r.passes.pieces_least = 77;
	text = fg_recipe_format(&r);
	if (tap_rc(fg_recipe_parse(text, &got, &err), &err, "a newer one")) {
		tap_ok(got.passes.pieces && got.passes.pieces_least == 77,
		    "says that they are taken apart, and down to what");
		fg_recipe_fini(&got);
	}
	free(text);
	fg_recipe_fini(&r);
}

/* Replace the first `from` in a good recipe by `to`: must fail with `part`. */
static void
broken(const char *from, const char *to, enum fg_code code, const char *part)
{
	struct fg_recipe r = sample(), got = {.model = NULL};
	struct fg_err err = FG_ERR_INIT;
	char *good, *at, *bad;

	if (fg_recipe_plan_ids(&r, &scale, &err) < 0)
		abort();
	good = fg_recipe_format(&r);
	at = strstr(good, from);
	if (!at) {
		tap_ok(false, "\"%s\" is in %s", from, good);
	} else {
		bad = fg_asprintf("%.*s%s%s", (int)(at - good), good, to,
		    at + strlen(from));
		tap_fails(fg_recipe_parse(bad, &got, &err), &err, code, part, to);
		tap_ok(got.model == NULL, "the output is untouched");
		free(bad);
	}
	free(good);
	fg_recipe_fini(&r);
}

static void
test_broken(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_recipe got;

	tap_fails(fg_recipe_parse("", &got, &err), &err, FG_EINVAL, "recipe",
	    "no text");
	tap_fails(fg_recipe_parse("[]", &got, &err), &err, FG_EINVAL, "object",
	    "an array");
	tap_fails(fg_recipe_parse("{}", &got, &err), &err, FG_EINVAL, "type",
	    "an empty object");
	broken("\"ffn\"", "\"other\"", FG_ENOTSUP, "other");
	broken("\"version\":1", "\"version\":2", FG_ENOTSUP, "version 2");
	broken("\"bf16\"", "\"auto\"", FG_EINVAL, "auto");
	broken("\"block\":[64,64,128]", "\"block\":[64,0,128]", FG_EINVAL, "block");
	broken("\"block\":[64,64,128]", "\"block\":[64,64]", FG_EINVAL, "three");
	broken("\"halo\":[32,32,16]", "\"halo\":[32,-1,16]", FG_EINVAL, "halo");
	broken("\"id_bits\":[3,3,4]", "\"id_bits\":[33,1,1]", FG_EINVAL, "55 in all");
	broken("\"id_bits\":[3,3,4]", "\"id_bits\":[0,3,4]", FG_EINVAL, "id_bits");
	broken(SHA, "zz23456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
	    FG_EINVAL, "SHA-256");
	broken(SHA, "0123", FG_EINVAL, "SHA-256");
	broken("\"10_10_10\"",
	    "\"0123456789012345678901234567890123456789012345678901234567890123\"",
	    FG_EINVAL, "at most 63");
	broken("\"stddev\":33.0", "\"stddev\":0", FG_EINVAL, "stddev");
	broken("\"prob\":true", "\"prob\":1", FG_EINVAL, "prob");
	broken("\"prob\":true", "\"pieces\":1,\"prob\":true", FG_EINVAL, "pieces");
	broken("\"image\":{", "\"image\":7,\"x\":{", FG_EINVAL, "image");
}

int
main(void)
{
	test_geometry();
	test_ids();
	test_width();
	test_text();
	test_older();
	test_broken();
	return tap_done();
}
