/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data directory of a command: opened here if nobody else writes to it, reached
 * through the daemon's control socket otherwise.
 */
#include "config.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "store/store.h"
#include "work/catalog.h"
#include "work/control.h"
#include "work/tool.h"

/* Larger than any configuration; the same limit does for a mistake. */
#define CONFIG_MAX ((size_t)1 << 20)

int
fg_session_options(const struct fg_tool *t, struct fg_store_options *opt, char **text,
    struct fg_err *err)
{
	char *path = fg_asprintf("%s/floodgate.json", t->root);
	struct fg_err none = FG_ERR_INIT;
	struct fg_buf *b = fg_file_read(path, CONFIG_MAX, &none);
	const char *dir = NULL;
	double percent = 5;
	json_t *j = NULL;
	int rc = -1;

	*opt = (struct fg_store_options){0};
	*text = NULL;
	if (b) {
		j = fg_json_parse((const char *)b->data, b->len, path, err);
		if (!j ||
		    fg_json_get_string(j, "index_dir", FG_JSON_OPTIONAL, &dir, err) <
			0 ||
		    fg_json_get_real(j, "min_free", FG_JSON_OPTIONAL, 0, 99, &percent,
			err) < 0) {
			fg_err_prefix(err, "floodgate.json");
			goto out;
		}
	} else if (none.code != FG_ENOENT) {
		fg_fail(err, none.code, "%s", none.msg);
		goto out;
	}
	if (t->index_dir)
		dir = t->index_dir;
	if (dir && *dir)
		*text = fg_strdup(dir);
	opt->index_dir = *text;
	opt->min_free =
	    percent > 0 ? percent / 100 : 1e-9; /* 0 is the default's name */
	rc = 0;
out:
	json_decref(j);
	fg_buf_unref(b);
	free(path);
	return rc;
}

/* The bound of the cache of upstreams is the daemon's: both use one file. What cannot
 * be read here has been complained of by fg_session_options. */
static void
read_web_options(const struct fg_tool *t, struct fg_web_options *web)
{
	char *path = fg_asprintf("%s/floodgate.json", t->root);
	struct fg_buf *b = fg_file_read(path, CONFIG_MAX, NULL);
	json_t *j = b ? fg_json_parse((const char *)b->data, b->len, path, NULL) : NULL;
	int64_t mb = FG_CATALOG_CACHE_BYTES >> 20;

	if (j && fg_json_get_int(j, "upstream_cache_mb", FG_JSON_OPTIONAL, 0,
		     (int64_t)1 << 30, &mb, NULL) < 0)
		mb = 0;
	web->cache_bytes = (uint64_t)mb << 20;
	json_decref(j);
	fg_buf_unref(b);
	free(path);
}

static int
open_catalog(struct fg_session *s, const struct fg_tool *t, struct fg_err *err)
{
	struct fg_catalog_options opt = {.web = {.fresh_ms = -1}};

	read_web_options(t, &opt.web);
	s->catalog = fg_catalog_open_with(s->store, &opt, err);
	if (s->catalog)
		return 0;
	fg_session_close(s);
	return -1;
}

int
fg_session_open(struct fg_session *s, const struct fg_tool *t, bool create,
    struct fg_err *err)
{
	struct fg_err locked = FG_ERR_INIT, silent = FG_ERR_INIT;
	struct fg_store_options opt;

	*s = (struct fg_session){0};
	if (fg_session_options(t, &opt, &s->index_dir, err) < 0)
		return -1;
	s->store = fg_store_open(t->root, create ? FG_STORE_CREATE : FG_STORE_WRITE,
	    &opt, &locked);
	if (s->store)
		return open_catalog(s, t, err);
	fg_session_close(s);
	if (locked.code != FG_EBUSY)
		return fg_fail(err, locked.code, "%s", locked.msg);
	s->control = fg_control_open(t->root, &silent);
	if (s->control)
		return 0;
	/* Locked, but not by a daemon that listens: another command, or one starting.
	 */
	return fg_fail(err, silent.code, "%s; %s", locked.msg, silent.msg);
}

int
fg_session_read(struct fg_session *s, const struct fg_tool *t, struct fg_err *err)
{
	struct fg_store_options opt;

	*s = (struct fg_session){0};
	if (fg_session_options(t, &opt, &s->index_dir, err) < 0)
		return -1;
	s->store = fg_store_open(t->root, FG_STORE_READ, &opt, err);
	if (s->store)
		return open_catalog(s, t, err);
	fg_session_close(s);
	return -1;
}

void
fg_session_close(struct fg_session *s)
{
	fg_catalog_close(s->catalog);
	fg_store_close(s->store);
	fg_control_close(s->control);
	free(s->index_dir);
	*s = (struct fg_session){0};
}

struct names {
	struct fg_layer **layer;
	size_t n;
};

static const char *
layer_name(void *ctx, int i)
{
	const struct names *l = ctx;

	return (size_t)i < l->n ? l->layer[i]->name : NULL;
}

struct fg_layer *
fg_session_layer(struct fg_session *s, const char *name, struct fg_err *err)
{
	struct fg_layer *l = fg_catalog_find(s->catalog, name, strlen(name));
	struct names all = {0};
	char *near = NULL;
	size_t size = 0;

	if (l)
		return l;
	fg_catalog_list(s->catalog, &all.layer, &all.n);
	FILE *f = open_memstream(&near, &size);
	if (f) {
		fg_tool_suggest(f, name, "", layer_name, &all);
		fclose(f);
	}
	fg_fail(err, FG_ENOENT, "no layer \"%s\" in %s%s", name,
	    fg_store_root(s->store), near ? near : "");
	free(near);
	for (size_t i = 0; i < all.n; i++)
		fg_layer_unref(all.layer[i]);
	free(all.layer);
	return NULL;
}

int
fg_session_add(struct fg_session *s, const json_t *spec, json_t **out,
    struct fg_err *err)
{
	struct fg_layer *l = NULL;

	if (s->control)
		return fg_control_call(s->control, "POST", "/api/layers", spec, out,
		    err);
	if (fg_catalog_add(s->catalog, spec, &l, err) < 0)
		return -1;
	*out = fg_layer_describe(l, NULL);
	fg_layer_unref(l);
	return 0;
}
