/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Layers that are read from elsewhere: from a description to a row, and from a row to
 * an open source. The row's `source` is JSON: the URL and what else was said about it.
 */
#include "config.h"

#include "work/catalog_priv.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/json.h"
#include "store/transcode.h"

/* What may be said of a source, the default first. */
static const struct word {
	const char *key, *usual, *other;
	bool remote; /* only of remote ones */
} words[] = {
    {"missing", "404", "background", false},
    {"redirects", "same", "any", true},
    {"denied", "error", "absent", true},
};

static const char *const encoding_keys[] = {"encoding", "jpeg_quality"};

enum { MISSING, REDIRECTS, DENIED };

/* Whether the other one of the two words is there. */
static int
parse_word(const json_t *j, size_t i, bool *other, struct fg_err *err)
{
	const struct word *w = &words[i];
	const char *text = w->usual;

	if (fg_json_get_string(j, w->key, FG_JSON_OPTIONAL, &text, err) < 0)
		return -1;
	*other = strcmp(text, w->other) == 0;
	if (!*other && strcmp(text, w->usual) != 0)
		return fg_fail(err, FG_EINVAL, "\"%s\" is \"%.40s\", wanted %s or %s",
		    w->key, text, w->usual, w->other);
	return 0;
}

static int
parse_words(const json_t *j, bool other[FG_COUNTOF(words)], struct fg_err *err)
{
	for (size_t i = 0; i < FG_COUNTOF(words); i++) {
		if (parse_word(j, i, &other[i], err) < 0)
			return -1;
	}
	return 0;
}

/* A source as it is said to be served: as it is, or in another encoding. Takes src. */
static struct fg_source *
apply_encoding(struct fg_source *src, const json_t *j, struct fg_err *err)
{
	const char *name = NULL;
	int64_t quality = -1;
	enum fg_encoding e;

	if (src &&
	    fg_json_get_string(j, "encoding", FG_JSON_OPTIONAL, &name, err) == 0 &&
	    fg_json_get_int(j, "jpeg_quality", FG_JSON_OPTIONAL, 0, 100, &quality,
		err) == 0) {
		if (!name && quality < 0)
			return src;
		if (!name)
			fg_fail(err, FG_EINVAL,
			    "\"jpeg_quality\" goes with \"encoding\"");
		else if (fg_encoding_parse(name, &e, err) == 0)
			return fg_source_transcode(src, e, (int)quality, err);
	}
	fg_source_close(src);
	return NULL;
}

/* ------------------------------------------------------------- opening */

/* The URL of a stored source; relative paths are below the data directory, so that it
 * can be moved. free(). */
static char *
resolve_url(struct fg_catalog *c, const json_t *j, struct fg_err *err)
{
	const char *url = NULL, *path;

	if (fg_json_get_string(j, "url", FG_JSON_NEEDED, &url, err) < 0)
		return NULL;
	path = strncmp(url, "dir:", 4) == 0 ? url + 4 : url;
	if (*path == '/' || (path == url && strchr(url, ':')))
		return fg_strdup(url);
	return fg_asprintf("%s/%s", fg_store_root(fg_catalog_store(c)), path);
}

int
fg_catalog_open_passive(struct fg_catalog *c, struct fg_layer *l,
    const struct fg_layer_row *row, struct fg_err *err)
{
	struct fg_source_options opt = {.web = fg_catalog_web(c),
	    .tiles = fg_catalog_tiles(c),
	    .known_info = row->info,
	    .any = true};
	json_t *j = fg_json_parse(row->source, strlen(row->source), "source", err);
	char *url = j ? resolve_url(c, j, err) : NULL;
	bool other[FG_COUNTOF(words)];

	if (url && parse_words(j, other, err) == 0) {
		l->fill = other[MISSING];
		opt.anywhere = other[REDIRECTS];
		opt.denied_is_absent = other[DENIED];
		if (fg_json_get_real(j, "mesh_error_nm", FG_JSON_OPTIONAL, 0, 1e6,
			&l->mesh_error_nm, err) == 0)
			l->source =
			    apply_encoding(fg_source_open_with(url, &opt, err), j, err);
	}
	free(url);
	json_decref(j);
	if (!l->source)
		return -1;
	/* What is served is what the source says now, byte for byte. */
	fg_info_fini(&l->info);
	fg_info_copy(&l->info, &l->source->info);
	if (l->source->info_bytes || !l->info.at_type) {
		fg_buf_unref(l->info_json);
		l->info_json = l->source->info_bytes ? fg_buf_ref(l->source->info_bytes)
						     : fg_catalog_info_bytes(&l->info);
	}
	return 0;
}

/* ------------------------------------------------------------- adding */

/* Whether a path stands behind the scheme (phantom: has parameters there). */
static bool
names_a_file(const char *url)
{
	static const char *const scheme[] = {"hdf5:", "tiff:", "zarr:", "n5:", "nifti:",
	    "npy:", "stack:"};

	for (size_t i = 0; i < FG_COUNTOF(scheme); i++) {
		if (strncmp(url, scheme[i], strlen(scheme[i])) == 0)
			return true;
	}
	return false;
}

/* What is stored for a source: absolute paths, or relative to the data directory when
 * it lies below it, so that this can be moved as a whole. json_decref(). */
static json_t *
store_url(struct fg_catalog *c, const char *url, struct fg_err *err)
{
	char path[PATH_MAX], root[PATH_MAX];
	const char *plain = strncmp(url, "dir:", 4) == 0 ? url + 4 : url;
	size_t n;

	if (plain == url && strchr(url, ':') && *url != '/') { /* another scheme */
		n = strcspn(url, ":") + 1;
		if (!names_a_file(url) || url[n] == '/' || !getcwd(path, sizeof path))
			return json_pack("{s:s}", "url", url);
		char *full = fg_asprintf("%.*s%s/%s", (int)n, url, path, url + n);
		json_t *j = json_pack("{s:s}", "url", full);
		free(full);
		return j;
	}
	if (!realpath(plain, path)) {
		fg_fail_errno(err, "source %.200s", plain);
		return NULL;
	}
	if (fg_catalog_check_text(path, err) < 0)
		return NULL;
	if (realpath(fg_store_root(fg_catalog_store(c)), root)) {
		n = strlen(root);
		if (strncmp(path, root, n) == 0 && path[n] == '/')
			return json_pack("{s:s+}", "url", "dir:", path + n + 1);
	}
	return json_pack("{s:s+}", "url", "dir:", path);
}

/* The error of meshes, of a segmentation. */
static int
store_mesh_error(json_t *j, const json_t *spec, const struct fg_info *info,
    struct fg_err *err)
{
	double nm = -1;

	if (fg_json_get_real(spec, "mesh_error_nm", FG_JSON_OPTIONAL, 0, 1e6, &nm,
		err) < 0)
		return -1;
	if (nm >= 0 && info->type != FG_SEGMENTATION)
		return fg_fail(err, FG_EINVAL,
		    "\"mesh_error_nm\" is for segmentations");
	if (nm >= 0)
		json_object_set_new(j, "mesh_error_nm", json_real(nm));
	return 0;
}

/* Words that are not the usual ones are written down. */
static int
store_words(json_t *j, const json_t *spec, const char *url, struct fg_err *err)
{
	bool other[FG_COUNTOF(words)];

	if (parse_words(spec, other, err) < 0)
		return -1;
	for (size_t i = 0; i < FG_COUNTOF(words); i++) {
		if (other[i] && words[i].remote && !fg_source_url_is_remote(url))
			return fg_fail(err, FG_EINVAL,
			    "\"%s\" is for sources on other machines", words[i].key);
		if (other[i])
			json_object_set_new(j, words[i].key,
			    json_string(words[i].other));
	}
	for (size_t i = 0; i < FG_COUNTOF(encoding_keys); i++) {
		json_t *v = json_object_get(spec, encoding_keys[i]);

		if (v)
			json_object_set(j, encoding_keys[i], v);
	}
	return 0;
}

/* A path that names no scheme is what lies there: a folder of images becomes a stack.
 */
static char *
guess_url(const char *url)
{
	const char *query = strrchr(url, '?');
	size_t n = query ? (size_t)(query - url) : strlen(url);
	const char *kind = NULL;

	if (*url == '/' || !strchr(url, ':') || strstr(url, ".h5:/"))
		kind = fg_source_guess(url, n);
	return kind ? fg_asprintf("%s:%s", kind, url) : fg_strdup(url);
}

static int
plan_passive(struct fg_catalog *c, const json_t *spec, const char *url,
    struct fg_layer_row *row, struct fg_err *err)
{
	struct fg_source_options opt = {.web = fg_catalog_web(c),
	    .tiles = fg_catalog_tiles(c),
	    .any = true};
	bool other[FG_COUNTOF(words)];
	struct fg_source *src;
	struct fg_buf *info;
	json_t *j;

	if (parse_words(spec, other, err) < 0)
		return -1;
	opt.anywhere = other[REDIRECTS];
	opt.denied_is_absent = other[DENIED];
	src = apply_encoding(fg_source_open_with(url, &opt, err), spec, err);
	if (!src)
		return -1;
	j = store_url(c, url, err);
	if (!j || store_words(j, spec, url, err) < 0 ||
	    store_mesh_error(j, spec, &src->info, err) < 0) {
		json_decref(j);
		fg_source_close(src);
		return -1;
	}
	row->source = fg_json_format(j);
	json_decref(j);
	/* Of what is no volume the file itself: it says more than we read of it. */
	info = src->info.at_type && src->info_bytes ? fg_buf_ref(src->info_bytes)
						    : fg_catalog_info_bytes(&src->info);
	row->info = fg_strndup((const char *)info->data, info->len);
	row->kind = fg_strdup(fg_volume_type_name(src->info.type));
	fg_buf_unref(info);
	fg_source_close(src);
	return 0;
}

int
fg_catalog_plan_passive(struct fg_catalog *c, const json_t *spec, const char *url,
    struct fg_layer_row *row, struct fg_err *err)
{
	char *full = guess_url(url);
	int rc = plan_passive(c, spec, full, row, err);

	free(full);
	return rc;
}
