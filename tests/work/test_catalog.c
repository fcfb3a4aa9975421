/* SPDX-License-Identifier: Apache-2.0 */
/* Layers: adding, naming, removing, pausing, opening again; broken ones are listed. */
#include "config.h"

#include "base/json.h"
#include "base/log.h"
#include "tests/work/tiny_image.h"
#include "tests/work/tiny_net.h"
#include "tests/work/work_test.h"
#include "work/catalog.h"

static char *root;
static struct fg_store *store;
static struct fg_catalog *catalog;

static void
open_all(void)
{
	struct fg_err err = FG_ERR_INIT;

	store = wt_store(root);
	catalog = fg_catalog_open(store, &err);
	if (!catalog) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
}

static void
close_all(void)
{
	fg_catalog_close(catalog);
	fg_store_close(store);
}

/* Add a layer from JSON text with ' for " and ROOT for the folder. */
static int
add(const char *text, struct fg_layer **out, struct fg_err *err)
{
	struct fg_str s = FG_STR_INIT;
	json_t *j;
	int rc;

	for (const char *p = text; *p; p++) {
		if (*p == '\'') {
			fg_str_puts(&s, "\"");
		} else if (strncmp(p, "ROOT", 4) == 0) {
			fg_str_puts(&s, root);
			p += 3;
		} else {
			fg_str_put(&s, p, 1);
		}
	}
	j = fg_json_parse(s.data, s.len, "test", err);
	if (!j)
		abort();
	rc = fg_catalog_add(catalog, j, out, err);
	json_decref(j);
	fg_str_fini(&s);
	return rc;
}

static void
refused(const char *text, enum fg_code code, const char *part)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer *l = NULL;

	tap_fails(add(text, &l, &err), &err, code, part, text);
}

static void
test_names(void)
{
	static const char *const good[] = {"a", "Z9", "em.v2", "a_b-c", "inf", "api2"};
	static const char *const bad[] = {"", ".a", "-a", "_a", "a/b", "a b",
	    "\xc3\xa4", "api", "t", "viewer", "metrics", "healthz", "readyz", "info",
	    "a@b"};
	struct fg_err err = FG_ERR_INIT;
	char longest[66];

	for (size_t i = 0; i < FG_COUNTOF(good); i++)
		tap_ok(fg_layer_name_is_valid(good[i], strlen(good[i])), "name \"%s\"",
		    good[i]);
	for (size_t i = 0; i < FG_COUNTOF(bad); i++)
		tap_ok(!fg_layer_name_is_valid(bad[i], strlen(bad[i])), "not \"%s\"",
		    bad[i]);
	memset(longest, 'a', sizeof longest);
	tap_ok(fg_layer_name_is_valid(longest, 64), "64 letters");
	tap_ok(!fg_layer_name_is_valid(longest, 65), "65 are too many");
	tap_rc(fg_layer_check_name("em", &err), &err, "a good name");
	tap_fails(fg_layer_check_name("../x", &err), &err, FG_EINVAL,
	    "\"../x\" cannot be a layer's name: letters, digits and . _ -", "a path");
	tap_fails(fg_layer_check_name("t", &err), &err, FG_EINVAL,
	    "\"t\" cannot be a layer's name: the server has /t itself",
	    "a reserved one");
}

#define TINY                                                                           \
	"'image':'em','model':'ROOT/net','fov':[9,9,9],'delta':[2,2,2],"               \
	"'precision':'f32','chunk':[8,8,8],'halo':[4,4,4]"

static void
test_passive(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer *l = NULL;

	if (!tap_rc(add("{'name':'em','source':'ROOT/layers/em'}", &l, &err), &err,
		"add an image"))
		return;
	tap_str(l->name, "em", "its name");
	tap_ok(l->source && !l->recipe && !l->broken && l->info.scale[0].size[0] == 40,
	    "its source is open");
	tap_ok(l->info_json->len == strlen(tiny_info) &&
		   memcmp(l->info_json->data, tiny_info, l->info_json->len) == 0,
	    "its info is served as it was found");
	fg_layer_unref(l);
	refused("{'name':'em','source':'ROOT/layers/em'}", FG_EINVAL, "already");
	refused("{'name':'info','source':'ROOT/layers/em'}", FG_EINVAL, "/info itself");
	refused("{'name':'x','source':'ROOT/nowhere'}", FG_ENOENT, "nowhere");
	refused("{'name':'x'}", FG_EINVAL, "either");
	refused("{'name':'x','source':'ROOT/layers/em','ffn':{}}", FG_EINVAL, "either");
	refused("{'name':'x','source':'ROOT/layers/em','size':3}", FG_EINVAL,
	    "\"size\" is not known");
	refused("{'source':'ROOT/layers/em'}", FG_EINVAL, "name");
	refused("['name']", FG_EINVAL, "no object");
	/* A link hides the odd name from JSON; what it resolves to would not fit. */
	char *odd = fg_asprintf("%s/\xff", root), *link = fg_asprintf("%s/link", root);
	tiny_image(odd, false);
	tap_ok(symlink(odd, link) == 0, "a folder whose name is not UTF-8");
	refused("{'name':'x','source':'ROOT/link'}", FG_EINVAL, "UTF-8");
	free(odd);
	free(link);
}

static void
test_generated(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer *l = NULL;

	if (!tap_rc(add("{'name':'seg','ffn':{" TINY "}}", &l, &err), &err,
		"add a generated layer"))
		return;
	const struct fg_recipe *r = l->recipe;
	tap_ok(r && l->image && strcmp(l->image->name, "em") == 0 && !l->source,
	    "it has a recipe and its image");
	tap_ok(r->precision == FG_PREC_F32 && r->shape.fov[0] == 9 &&
		   r->shape.mean == 128 && r->flood.voxel_nm[0] == 8 &&
		   r->flood.min_segment_size == 1000,
	    "given and default values");
	tap_ok(r->passes.pieces && r->passes.pieces_least == 1000,
	    "objects are taken apart down to the least of a flood");
	tap_ok(r->block[0] == 40 && r->block[1] == 24 && r->block[2] == 16,
	    "a fast network gets the whole small volume as its block");
	tap_ok(l->info.type == FG_SEGMENTATION && l->info.dtype == FG_U64 &&
		   l->info.scale[0].encoding == FG_ENC_CSEG &&
		   l->info.scale[0].offset[0] == 5,
	    "info");
	tap_int(l->info.scales, 4, "scales until one chunk holds the volume");
	tap_ok(l->info.scale[1].nm[0] == 16 && l->info.scale[1].nm[2] == 16 &&
		   l->info.scale[1].size[0] == 21 && l->info.scale[1].size[1] == 13 &&
		   l->info.scale[1].size[2] == 16 && l->info.scale[1].offset[0] == 2 &&
		   l->info.scale[1].offset[1] == -2,
	    "2 x 2 x 1 while voxels are longer in z");
	tap_ok(l->info.scale[2].nm[2] == 32 &&
		   strcmp(l->info.scale[2].key, "32_32_32") == 0,
	    "then 2 x 2 x 2");
	fg_layer_unref(l);
}

static void
test_given(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer *l = NULL;

	if (tap_rc(add("{'name':'seg2','ffn':{" TINY
		       ",'block':[16,8,8],'encoding':'raw','scales':2,"
		       "'move_threshold':0.7,'min_segment_size':5}}",
		       &l, &err),
		&err, "another recipe")) {
		tap_ok(l->recipe->block[0] == 16 &&
			   l->recipe->flood.move_threshold == 0.7 &&
			   l->info.scales == 2 && l->blocks[0] == 3 &&
			   l->blocks[1] == 3 && l->blocks[2] == 2,
		    "as given");
		tap_ok(l->recipe->passes.pieces && l->recipe->passes.pieces_least == 5,
		    "also where that was given");
		tap_int(l->recipe->stitch.both_min, 5,
		    "and so much in common is evidence");
		fg_layer_unref(l);
	}
}

static void
test_refused(void)
{
	refused("{'name':'x','ffn':7}", FG_EINVAL, "not an object");
	refused("{'name':'x','ffn':{'model':'ROOT/net'}}", FG_EINVAL, "image");
	refused("{'name':'x','ffn':{'image':'em'}}", FG_EINVAL, "model");
	refused("{'name':'x','ffn':{'image':'no','model':'m'}}", FG_ENOENT, "no");
	refused("{'name':'x','ffn':{'image':'seg','model':'m'}}", FG_EINVAL,
	    "not an image");
	refused("{'name':'x','ffn':{'image':'em@5_5_5','model':'m'}}", FG_ENOENT,
	    "no scale 5_5_5");
	refused("{'name':'x','ffn':{" TINY ",'colour':1}}", FG_EINVAL, "colour");
	refused("{'name':'x','ffn':{" TINY ",'pieces':null}}", FG_EINVAL,
	    "\"pieces\" is not an object, true or false");
	refused("{'name':'x','ffn':{" TINY ",'pieces':{'least':-1}}}", FG_EINVAL,
	    "pieces: \"least\"");
	refused("{'name':'x','ffn':{" TINY ",'block':[12,8,8]}}", FG_EINVAL,
	    "not a multiple");
	refused("{'name':'x','ffn':{" TINY ",'encoding':'jpeg'}}", FG_EINVAL, "jpeg");
	refused("{'name':'x','ffn':{" TINY ",'encoding':'zip'}}", FG_EINVAL, "zip");
	refused("{'name':'x','ffn':{'image':'em','model':'ROOT/none'}}", FG_ENOENT,
	    "none");
	refused("{'name':'x','ffn':{'image':'em','model':'ROOT/net','fov':[8,9,9]}}",
	    FG_EINVAL, "odd");
	refused("{'name':'x','ffn':{'image':'em','model':'ROOT/net','fov':[9,9,9],"
		"'delta':[5,2,2]}}",
	    FG_EINVAL, "delta");
	refused("{'name':'x','ffn':{'image':'em','model':'ROOT/net','precision':'f8'}}",
	    FG_EINVAL, "f8");
}

static void
test_table(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer **list, *l;
	size_t n;

	fg_catalog_list(catalog, &list, &n);
	tap_ok(n == 5 && strcmp(list[0]->name, "em") == 0 &&
		   strcmp(list[1]->name, "seg") == 0 &&
		   strcmp(list[2]->name, "seg.agg") == 0 &&
		   strcmp(list[3]->name, "seg2") == 0 &&
		   strcmp(list[4]->name, "seg2.agg") == 0,
	    "listed by name, with their companions");
	tap_ok(list[2]->base == list[1] && list[2]->agglomerated &&
		   list[2]->id == list[1]->id && !list[1]->agglomerated &&
		   list[2]->info.scales == list[1]->info.scales,
	    "an agglomerated layer is made for each generated one");
	l = fg_catalog_get(catalog, list[1]->id);
	tap_ok(l == list[1], "found by id");
	fg_layer_unref(l);
	for (size_t i = 0; i < n; i++)
		fg_layer_unref(list[i]);
	free(list);
	tap_ok(fg_catalog_find(catalog, "se", 2) == NULL, "half a name is none");
	tap_ok(fg_catalog_find(catalog, "segx", 4) == NULL, "nor is a longer one");
	l = fg_catalog_find(catalog, "segx", 3);
	tap_ok(l && strcmp(l->name, "seg") == 0, "the length counts");
	tap_rc(fg_catalog_pause(catalog, "seg", true, &err), &err, "pause");
	tap_ok(l->paused, "the flag is seen at once");
	tap_fails(fg_catalog_pause(catalog, "em", true, &err), &err, FG_EINVAL,
	    "nothing to pause", "an image cannot be paused");
	tap_fails(fg_catalog_pause(catalog, "no", true, &err), &err, FG_ENOENT, "no",
	    "nor what is not there");
	fg_layer_unref(l);
	tap_fails(fg_catalog_remove(catalog, "em", &err), &err, FG_EINVAL,
	    "image of layer", "an image in use stays");
	l = fg_catalog_find(catalog, "seg2", 4);
	tap_rc(fg_catalog_remove(catalog, "seg2", &err), &err, "remove");
	tap_ok(l->removed && strcmp(l->name, "seg2") == 0,
	    "a reference outlives the layer");
	fg_layer_unref(l);
	tap_ok(fg_catalog_find(catalog, "seg2", 4) == NULL, "it is gone");
	tap_fails(fg_catalog_remove(catalog, "seg2", &err), &err, FG_ENOENT, "seg2",
	    "and cannot go twice");
}

static void
test_prob(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer *l = NULL, *p;

	tap_rc(add("{'name':'q','ffn':{" TINY ",'prob':true}}", &l, &err), &err,
	    "a layer that keeps its probability map");
	p = fg_catalog_find(catalog, "q.prob", 6);
	tap_ok(p && p->base == l && p->id == l->id && p->chunk_kind == FG_KIND_PROB &&
		   p->info.type == FG_IMAGE && p->info.dtype == FG_U8 &&
		   p->info.scales == 1 && p->info.scale[0].encoding == FG_ENC_RAW,
	    "has a companion");
	struct fg_layer *got = fg_catalog_get(catalog, l->id);
	tap_ok(got == l, "the id means the layer itself");
	fg_layer_unref(got);
	tap_fails(fg_catalog_remove(catalog, "q.prob", &err), &err, FG_EINVAL,
	    "goes with layer q", "the companion cannot be removed alone");
	refused("{'name':'q.prob','source':'ROOT/layers/em'}", FG_EINVAL, "already");
	tap_rc(fg_catalog_pause(catalog, "q", true, &err), &err, "pause");
	tap_ok(p->paused, "pauses the companion");
	tap_rc(fg_catalog_remove(catalog, "q", &err), &err, "remove");
	tap_ok(p->removed && !fg_catalog_find(catalog, "q.prob", 6),
	    "takes the companion along");
	fg_layer_unref(p);
	fg_layer_unref(l);
	tap_rc(add("{'name':'q.prob','source':'ROOT/layers/em'}", &l, &err), &err,
	    "the name is free again");
	fg_layer_unref(l);
	refused("{'name':'q','ffn':{" TINY ",'prob':true}}", FG_EINVAL,
	    "q.prob already");
	tap_rc(fg_catalog_remove(catalog, "q.prob", &err), &err, "clean up");
}

static void
test_describe(void)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *r = fg_reader_open(store, &err);
	struct fg_layer *l = fg_catalog_find(catalog, "seg", 3);
	json_t *j = fg_layer_describe(l, r);

	tap_str(json_string_value(json_object_get(j, "state")), "paused", "state");
	tap_ok(json_is_object(json_object_get(j, "recipe")) &&
		   json_is_object(json_object_get(j, "counts")) &&
		   json_array_size(json_object_get(j, "scales")) == 4,
	    "a description has recipe, counts and scales");
	json_decref(j);
	fg_layer_unref(l);
	fg_reader_close(r);
}

static struct fg_layer *
find(const char *name)
{
	struct fg_layer *l = fg_catalog_find(catalog, name, strlen(name));

	if (!l) {
		printf("Bail out! no layer %s\n", name);
		exit(1);
	}
	return l;
}

static void
test_again(void)
{
	struct fg_layer *l;
	char *from = fg_asprintf("%s/layers/em", root),
	     *to = fg_asprintf("%s/layers/gone", root);
	char *moved = fg_asprintf("%s-moved", root);

	l = find("seg");
	char *before = fg_recipe_format(l->recipe);
	fg_layer_unref(l);
	close_all();
	tap_ok(rename(root, moved) == 0, "the data directory moves");
	char *old = root;
	root = moved;
	open_all();
	l = find("em");
	tap_ok(!l->broken, "its image is found: %s", l->why);
	fg_layer_unref(l);
	l = find("seg");
	char *after = fg_recipe_format(l->recipe);
	tap_ok(!l->broken && l->paused, "the generated layer too: %s", l->why);
	tap_str(after, before, "its recipe is the same");
	fg_layer_unref(l);
	close_all();
	tap_ok(rename(moved, old) == 0, "back again");
	root = old;

	tap_ok(rename(from, to) == 0, "the image's folder goes away");
	open_all();
	l = find("em");
	tap_ok(l->broken && l->why[0], "the layer is listed as broken: %s", l->why);
	fg_layer_unref(l);
	l = find("seg");
	tap_ok(l->broken && strstr(l->why, "em"), "and so is what is made of it: %s",
	    l->why);
	fg_layer_unref(l);
	close_all();
	tap_ok(rename(to, from) == 0, "the folder comes back");

	tiny_image(from, true);
	open_all();
	l = find("seg");
	tap_ok(l->broken && strstr(l->why, "changed"),
	    "an image whose info changed is not what the recipe names: %s", l->why);
	fg_layer_unref(l);
	free(before);
	free(after);
	free(from);
	free(to);
	free(moved);
}

int
main(void)
{
	fg_log_setup(FG_LOG_ERROR, FG_LOG_TEXT);
	root = wt_folder();
	char *em = fg_asprintf("%s/layers/em", root);
	char *net = fg_asprintf("%s/net", root);
	tiny_image(em, false);
	tiny_net(net, 20);
	open_all();
	test_names();
	test_passive();
	test_generated();
	test_given();
	test_refused();
	test_table();
	test_prob();
	test_describe();
	test_again();
	close_all();
	free(em);
	free(net);
	wt_remove(root);
	return tap_done();
}
