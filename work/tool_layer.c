/* SPDX-License-Identifier: Apache-2.0 */
/*
 * floodgate layer list, show, remove, pause, resume, retry. Changes go through
 * the daemon where one holds the data directory; list and show read beside it.
 */
#include "config.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "store/store.h"
#include "work/catalog.h"
#include "work/control.h"
#include "work/import.h"
#include "work/tool.h"

/* ------------------------------------------------------------- printing */

/* "250 x 250 x 250" of an array of three. */
static const char *
times(const json_t *three, char out[80])
{
	snprintf(out, 80, "%lld x %lld x %lld",
	    (long long)json_integer_value(json_array_get(three, 0)),
	    (long long)json_integer_value(json_array_get(three, 1)),
	    (long long)json_integer_value(json_array_get(three, 2)));
	return out;
}

static void
print_scale(const json_t *s)
{
	const json_t *o = json_object_get(s, "voxel_offset");
	const char *key = json_string_value(json_object_get(s, "key"));
	const char *enc = json_string_value(json_object_get(s, "encoding"));
	char size[80], chunk[80];

	printf("  %-20s %s at %lld,%lld,%lld; %s in %s\n", key ? key : "?",
	    times(json_object_get(s, "size"), size),
	    (long long)json_integer_value(json_array_get(o, 0)),
	    (long long)json_integer_value(json_array_get(o, 1)),
	    (long long)json_integer_value(json_array_get(o, 2)), enc ? enc : "?",
	    times(json_object_get(s, "chunk"), chunk));
}

void
fg_tool_print_layer(const json_t *layer)
{
	json_t *rest = json_copy((json_t *)layer);
	const json_t *scales = json_object_get(layer, "scales"), *s;
	size_t i;

	json_object_del(rest, "scales");
	fg_tool_print_facts(rest, 0);
	json_decref(rest);
	if (scales)
		puts("scales");
	json_array_foreach(scales, i, s) print_scale(s);
}

/* ------------------------------------------------------------- list, show */

static const char *
state_of(const struct fg_layer *l)
{
	return l->broken ? "broken" : l->paused ? "paused" : "ok";
}

static const char *
origin_of(const struct fg_layer *l)
{
	if (l->base)
		return "generated with its layer";
	return l->recipe ? "generated" : "served";
}

static void
print_row(const struct fg_layer *l)
{
	const struct fg_scale *s = &l->info.scale[0];
	char size[80] = "?";

	if (l->info.at_type)
		snprintf(size, sizeof size, "-");
	if (l->info.scales > 0)
		snprintf(size, sizeof size, "%lld x %lld x %lld", (long long)s->size[0],
		    (long long)s->size[1], (long long)s->size[2]);
	printf("%-20s %-12s %-22s %-8s %6d  %-8s %s\n", l->name,
	    fg_volume_type_name(l->info.type), size,
	    l->info.scales > 0 ? fg_dtype_name(l->info.dtype)
	    : l->info.at_type  ? "-"
			       : "?",
	    l->info.scales, state_of(l), l->broken ? l->why : origin_of(l));
}

static int
run_list(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_session s;
	struct fg_layer **layer = NULL;
	size_t n = 0;
	json_t *list;

	if (fg_session_read(&s, t, &err) < 0)
		return fg_tool_fail(t, &err);
	list = json_array();
	fg_catalog_list(s.catalog, &layer, &n);
	if (!t->json && n > 0)
		printf("%-20s %-12s %-22s %-8s %6s  %-8s %s\n", "NAME", "KIND", "SIZE",
		    "DATA", "SCALES", "STATE", "ORIGIN");
	for (size_t i = 0; i < n; i++) {
		if (t->json)
			json_array_append_new(list, fg_layer_describe(layer[i], NULL));
		else
			print_row(layer[i]);
		fg_layer_unref(layer[i]);
	}
	free(layer);
	fg_session_close(&s);
	if (t->json)
		fg_tool_print_json(list);
	else
		json_decref(list);
	return FG_EXIT_OK;
}

static int
run_show(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_session s;
	struct fg_layer *l = NULL;
	struct fg_reader *r = NULL;
	json_t *j = NULL;
	int code = FG_EXIT_OK;

	if (fg_session_read(&s, t, &err) < 0)
		return fg_tool_fail(t, &err);
	l = fg_session_layer(&s, t->arg[0], &err);
	r = l ? fg_reader_open(s.store, &err) : NULL;
	if (!r) {
		code = fg_tool_fail(t, &err);
		goto out;
	}
	j = fg_layer_describe(l, r);
	if (t->json)
		fg_tool_print_json(json_incref(j));
	else
		fg_tool_print_layer(j);
out:
	json_decref(j);
	fg_reader_close(r);
	fg_layer_unref(l);
	fg_session_close(&s);
	return code;
}

/* ------------------------------------------------------------- remove and the like */

static const struct fg_tool_option remove_options[] = {
    {"files", NULL, "delete ROOT/layers/NAME as well, if it is there", 0},
    {NULL, NULL, NULL, 0},
};

/* A change through the daemon: method and what follows /api/layers/NAME. */
static int
ask_daemon(struct fg_session *s, const char *method, const char *name, const char *verb,
    struct fg_err *err)
{
	char *path = fg_asprintf("/api/layers/%s%s", name, verb);
	int rc = fg_control_call(s->control, method, path, NULL, NULL, err);

	free(path);
	return rc;
}

static int
change_remove(struct fg_session *s, const char *name, struct fg_err *err)
{
	return s->control ? ask_daemon(s, "DELETE", name, "", err)
			  : fg_catalog_remove(s->catalog, name, err);
}

static int
change_pause(struct fg_session *s, const char *name, struct fg_err *err)
{
	return s->control ? ask_daemon(s, "POST", name, "/pause", err)
			  : fg_catalog_pause(s->catalog, name, true, err);
}

static int
change_resume(struct fg_session *s, const char *name, struct fg_err *err)
{
	return s->control ? ask_daemon(s, "POST", name, "/resume", err)
			  : fg_catalog_pause(s->catalog, name, false, err);
}

static int
change_retry(struct fg_session *s, const char *name, struct fg_err *err)
{
	if (s->control)
		return ask_daemon(s, "POST", name, "/retry", err);
	struct fg_layer *l = fg_session_layer(s, name, err);
	int rc = l ? fg_store_retry(s->store, l->id, UINT64_MAX, err) : -1;
	fg_layer_unref(l);
	return rc;
}

static int
change(struct fg_tool *t, const char *done,
    int (*fn)(struct fg_session *s, const char *name, struct fg_err *err))
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_session s = {0};
	const char *name = t->arg[0];
	struct fg_layer *l = NULL;
	int rc = -1;

	/* Such a name can be no layer's, and must not become part of a path. */
	if (!fg_layer_name_is_valid(name, strlen(name)))
		fg_fail(&err, FG_ENOENT, "no layer \"%s\"", name);
	else if (fg_session_open(&s, t, false, &err) == 0 &&
		 (s.control || (l = fg_session_layer(&s, name, &err)) != NULL))
		rc = fn(&s, name, &err);
	fg_layer_unref(l);
	fg_session_close(&s);
	if (rc < 0)
		return fg_tool_fail(t, &err);
	if (t->json)
		fg_tool_print_json(
		    json_pack("{s:s, s:s}", "layer", name, "done", done));
	else
		printf("%s %s\n", done, name);
	return FG_EXIT_OK;
}

/* Name of another layer that reads the folder, or NULL; free(). A layer that cannot be
 * opened reads nothing. */
static char *
reader_of(struct fg_tool *t, const char *dir, struct fg_err *err)
{
	char *real = realpath(dir, NULL), *found = NULL;
	struct fg_session s;
	struct fg_layer **l = NULL;
	size_t n = 0;

	if (!real)
		fg_fail_errno(err, "%s", dir);
	if (!real || fg_session_read(&s, t, err) < 0) {
		free(real);
		return NULL;
	}
	fg_catalog_list(s.catalog, &l, &n);
	for (size_t i = 0; i < n; i++) {
		const char *url = l[i]->source ? l[i]->source->url : "";
		const char *path = strncmp(url, "dir:", 4) == 0 ? url + 4 : url;
		char *other = *path ? realpath(path, NULL) : NULL;

		if (!found && other && strcmp(other, real) == 0)
			found = fg_strdup(l[i]->name);
		free(other);
		fg_layer_unref(l[i]);
	}
	free(l);
	fg_session_close(&s);
	free(real);
	return found;
}

static int
delete_files(struct fg_tool *t, const char *name, const char *dir, struct fg_err *err)
{
	char *other = reader_of(t, dir, err);

	if (other)
		fg_fail(err, FG_EINVAL, "%s stays: layer %s reads it, too", dir, other);
	free(other);
	if (err->code != FG_OK)
		return -1;
	return fg_import_discard(t->root, name, err);
}

static int
run_remove(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	const char *name = t->arg[0];
	int code = change(t, "removed", change_remove);

	if (code != FG_EXIT_OK)
		return code;
	char *dir = fg_asprintf("%s/layers/%s", t->root, name);
	bool there = access(dir, F_OK) == 0;
	if (there && !fg_tool_has(t, "files"))
		fprintf(stderr,
		    "floodgate layer remove: the volume stays in %s "
		    "(--files deletes it)\n",
		    dir);
	else if (there && delete_files(t, name, dir, &err) < 0)
		code = fg_tool_fail(t, &err);
	free(dir);
	return code;
}

static int
run_pause(struct fg_tool *t)
{
	return change(t, "paused", change_pause);
}

static int
run_resume(struct fg_tool *t)
{
	return change(t, "resumed", change_resume);
}

static int
run_retry(struct fg_tool *t)
{
	return change(t, "cleared failures of", change_retry);
}

const struct fg_tool_command fg_tool_layer_commands[] = {
    {.name = "layer list", .summary = "the layers and their state", .run = run_list},
    {.name = "layer show",
	.args = "NAME",
	.least = 1,
	.most = 1,
	.summary = "all about one layer: scales, recipe, counts",
	.run = run_show},
    {.name = "layer remove",
	.args = "NAME",
	.least = 1,
	.most = 1,
	.summary = "forget a layer and what was generated for it",
	.details = "The files of an imported volume stay unless --files is given. A "
		   "volume that is\nserved in place is never touched.",
	.options = remove_options,
	.run = run_remove},
    {.name = "layer pause",
	.args = "NAME",
	.least = 1,
	.most = 1,
	.summary = "serve what is there, generate nothing",
	.run = run_pause},
    {.name = "layer resume",
	.args = "NAME",
	.least = 1,
	.most = 1,
	.summary = "generate again",
	.run = run_resume},
    {.name = "layer retry",
	.args = "NAME",
	.least = 1,
	.most = 1,
	.summary = "forget failures, so that blocks are tried again",
	.run = run_retry},
    {.name = NULL},
};
