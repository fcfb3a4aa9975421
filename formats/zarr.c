/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Zarr arrays of version 2 (.zarray) and 3 (zarr.json), and OME-Zarr images, whose
 * multiscales become scales: zarr-specs.readthedocs.io, ngff.openmicroscopy.org.
 *
 * Read: whole numbers, float32 and bool in either byte order; C and Fortran order; raw,
 * gzip, zlib, zstd, blosc, crc32c. Not read: filters, sharding, other codecs.
 * The order of the axes is an option, else that of the multiscales or of
 * "_ARRAY_DIMENSIONS" or "dimension_names", else zyx, czyx or tczyx.
 */
#include "config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "formats/pieces.h"

struct zarr {
	struct fg_pieces scale[FG_SCALES_MAX];
};

/* --- pieces */

static char *
piece_name(const struct fg_pieces *p, const int64_t *at)
{
	struct fg_str s = FG_STR_INIT;

	if (p->prefix)
		fg_str_puts(&s, "c");
	for (int i = 0; i < p->axes.rank; i++) {
		if (i > 0 || p->prefix)
			fg_str_put(&s, &p->separator, 1);
		fg_str_putf(&s, "%lld", (long long)at[i]);
	}
	return s.data;
}

static int
piece_open(const struct fg_pieces *p, const struct fg_buf *b, const uint8_t **values,
    int64_t *size FG_UNUSED, struct fg_err *err)
{
	size_t want = fg_dtype_size(p->dtype);

	for (int i = 0; i < p->axes.rank; i++)
		want *= (size_t)p->chunk[i];
	if (b->len != want)
		return fg_fail(err, FG_ECORRUPT, "chunk of %zu bytes, wanted %zu",
		    b->len, want);
	*values = b->data;
	return 0;
}

/* --- one array */

static int
parse_fill(struct fg_pieces *p, const json_t *v, struct fg_err *err)
{
	const char *word = json_string_value(v);
	bool real = p->dtype == FG_F32;
	float f = 0;
	int64_t i = 0;

	if (!v || json_is_null(v) || json_is_false(v))
		return 0;
	if (real && word) {
		f = strcmp(word, "NaN") == 0         ? NAN
		    : strcmp(word, "Infinity") == 0  ? INFINITY
		    : strcmp(word, "-Infinity") == 0 ? -INFINITY
						     : 0;
		if (f == 0)
			return fg_fail(err, FG_ENOTSUP, "fill value \"%.20s\"", word);
	} else if (real && json_is_number(v)) {
		f = (float)json_number_value(v);
	} else if (json_is_true(v)) {
		i = 1;
	} else if (json_is_integer(v)) {
		i = json_integer_value(v);
	} else {
		return fg_fail(err, FG_ENOTSUP, "a fill value that is no number");
	}
	/* little-endian: the low bytes are the value in any width */
	if (real)
		memcpy(p->fill, &f, sizeof f);
	else
		memcpy(p->fill, &i, fg_dtype_size(p->dtype));
	return 0;
}

/* "<u2" and the like. */
static int
parse_v2_type(struct fg_pieces *p, const char *descr, struct fg_err *err)
{
	const char *kind = descr[0] ? strchr("iufb", descr[1]) : NULL;
	char name[16];

	if (!descr[0] || !strchr("<>|", descr[0]) || !kind || !*kind || !descr[2] ||
	    descr[3])
		return fg_fail(err, FG_ENOTSUP, "values of type \"%.20s\"", descr);
	if (*kind == 'b')
		snprintf(name, sizeof name, "bool");
	else
		snprintf(name, sizeof name, "%s%d",
		    *kind == 'i'   ? "int"
		    : *kind == 'u' ? "uint"
				   : "float",
		    8 * (descr[2] - '0'));
	p->swap = descr[0] == '>';
	return fg_pieces_type(p, name, err);
}

static int
parse_v2(struct fg_pieces *p, const json_t *j, int64_t *shape, int *rank,
    int *chunk_rank, struct fg_err *err)
{
	const json_t *compressor = json_object_get(j, "compressor");
	const json_t *filters = json_object_get(j, "filters");
	const char *type, *order, *separator = ".", *id;

	if (fg_pieces_numbers(j, "shape", 1, (int64_t)1 << 40, shape, rank, err) < 0 ||
	    fg_pieces_numbers(j, "chunks", 1, INT32_MAX, p->chunk, chunk_rank, err) <
		0 ||
	    fg_json_get_string(j, "dtype", FG_JSON_NEEDED, &type, err) < 0 ||
	    fg_json_get_string(j, "order", FG_JSON_NEEDED, &order, err) < 0 ||
	    fg_json_get_string(j, "dimension_separator", FG_JSON_OPTIONAL, &separator,
		err) < 0 ||
	    parse_v2_type(p, type, err) < 0 ||
	    parse_fill(p, json_object_get(j, "fill_value"), err) < 0)
		return -1;
	if (filters && !json_is_null(filters) && json_array_size(filters) > 0)
		return fg_fail(err, FG_ENOTSUP, "Zarr filters are not read");
	if ((*order != 'C' && *order != 'F') ||
	    (*separator != '.' && *separator != '/'))
		return fg_fail(err, FG_ECORRUPT, "order \"%.5s\", separator \"%.5s\"",
		    order, separator);
	p->c_order = *order == 'C';
	p->separator = *separator;
	if (!compressor || json_is_null(compressor))
		return 0;
	if (fg_json_get_string(compressor, "id", FG_JSON_NEEDED, &id, err) < 0)
		return fg_err_prefix(err, "compressor");
	return fg_pieces_add_coding(p, id, err);
}

/* A transpose codec: only the two orders that are no permutation of memory for us. */
static int
parse_transpose(struct fg_pieces *p, const json_t *c, int rank, struct fg_err *err)
{
	int64_t order[FG_FOREIGN_AXES];
	bool same = true, reversed = true;
	int n;

	if (fg_pieces_numbers(c, "order", 0, FG_FOREIGN_AXES - 1, order, &n, err) < 0)
		return -1;
	for (int i = 0; i < n; i++) {
		same = same && order[i] == i;
		reversed = reversed && order[i] == n - 1 - i;
	}
	if (n != rank || (!same && !reversed))
		return fg_fail(err, FG_ENOTSUP,
		    "a transposition that is not the reversal of all axes");
	p->c_order = same;
	return 0;
}

static int
parse_codec(struct fg_pieces *p, const json_t *codec, int rank, struct fg_err *err)
{
	const json_t *c = json_object_get(codec, "configuration");
	const char *name, *endian = "little";

	if (json_is_string(codec))
		name = json_string_value(codec);
	else if (fg_json_get_string(codec, "name", FG_JSON_NEEDED, &name, err) < 0)
		return -1;
	if (strcmp(name, "transpose") == 0)
		return parse_transpose(p, c, rank, err);
	if (strcmp(name, "bytes") == 0) {
		if (c &&
		    fg_json_get_string(c, "endian", FG_JSON_OPTIONAL, &endian, err) < 0)
			return -1;
		p->swap = strcmp(endian, "big") == 0;
		return 0;
	}
	return fg_pieces_add_coding(p, name, err);
}

/* The keys of version 3 that say where pieces are. */
static int
parse_grid(struct fg_pieces *p, const json_t *j, int *chunk_rank, struct fg_err *err)
{
	const json_t *grid = json_object_get(j, "chunk_grid");
	const json_t *key = json_object_get(j, "chunk_key_encoding");
	const json_t *grid_c = json_object_get(grid, "configuration");
	const json_t *key_c = json_object_get(key, "configuration");
	const char *grid_name, *key_name, *separator;

	if (fg_json_get_string(grid, "name", FG_JSON_NEEDED, &grid_name, err) < 0)
		return fg_err_prefix(err, "chunk_grid");
	if (fg_json_get_string(key, "name", FG_JSON_NEEDED, &key_name, err) < 0)
		return fg_err_prefix(err, "chunk_key_encoding");
	if (strcmp(grid_name, "regular") != 0)
		return fg_fail(err, FG_ENOTSUP, "chunk grid \"%.20s\"", grid_name);
	p->prefix = strcmp(key_name, "default") == 0;
	if (!p->prefix && strcmp(key_name, "v2") != 0)
		return fg_fail(err, FG_ENOTSUP, "chunk key encoding \"%.20s\"",
		    key_name);
	separator = p->prefix ? "/" : ".";
	if (key_c && fg_json_get_string(key_c, "separator", FG_JSON_OPTIONAL,
			 &separator, err) < 0)
		return -1;
	if (*separator != '.' && *separator != '/')
		return fg_fail(err, FG_ECORRUPT, "separator \"%.5s\"", separator);
	p->separator = *separator;
	return fg_pieces_numbers(grid_c, "chunk_shape", 1, INT32_MAX, p->chunk,
	    chunk_rank, err);
}

static int
parse_v3(struct fg_pieces *p, const json_t *j, int64_t *shape, int *rank,
    int *chunk_rank, struct fg_err *err)
{
	const json_t *codecs = json_object_get(j, "codecs"), *codec;
	const char *type;
	size_t i;

	p->c_order = true;
	if (fg_pieces_numbers(j, "shape", 1, (int64_t)1 << 40, shape, rank, err) < 0 ||
	    fg_json_get_string(j, "data_type", FG_JSON_NEEDED, &type, err) < 0 ||
	    fg_pieces_type(p, type, err) < 0 || parse_grid(p, j, chunk_rank, err) < 0 ||
	    parse_fill(p, json_object_get(j, "fill_value"), err) < 0)
		return -1;
	if (!json_is_array(codecs) || json_array_size(codecs) == 0)
		return fg_fail(err, FG_ECORRUPT, "no \"codecs\"");
	json_array_foreach(codecs, i, codec)
	{
		if (parse_codec(p, codec, *rank, err) < 0)
			return -1;
	}
	return 0;
}

/* Names of axes, as an array of strings or of objects with a "name", to letters. */
static bool
axes_letters(const json_t *names, char out[FG_FOREIGN_AXES + 1])
{
	size_t n = json_array_size(names), i;
	const json_t *v;

	if (n < 2 || n > FG_FOREIGN_AXES)
		return false;
	json_array_foreach(names, i, v)
	{
		const char *s = json_string_value(
		    json_is_object(v) ? json_object_get(v, "name") : v);

		if (!s || !*s)
			return false;
		out[i] = strcmp(s, "channel") == 0 ? 'c' : *s;
	}
	out[n] = '\0';
	return true;
}

/* The array in `dir` as the next scale. */
static int
add_array(struct fg_foreign *r, const char *dir, const char *axes, struct fg_err *err)
{
	static const char *const usual[] =
	    {[2] = "yx", [3] = "zyx", [4] = "czyx", [5] = "tczyx"};
	struct zarr *z = r->priv;
	struct fg_pieces *p = &z->scale[r->scales];
	int64_t shape[FG_FOREIGN_AXES], ours[4];
	char letters[FG_FOREIGN_AXES + 1];
	json_t *v3 = NULL, *v2 = NULL, *attributes = NULL;
	int rank = 0, chunk_rank = 0, rc = -1;

	p->dir = fg_strdup(dir);
	p->name = piece_name;
	p->open = piece_open;
	if (fg_pieces_json(dir, "zarr.json", &v3, err) < 0 ||
	    (!v3 && (fg_pieces_json(dir, ".zarray", &v2, err) < 0 ||
			fg_pieces_json(dir, ".zattrs", &attributes, err) < 0)))
		goto out;
	if (!v3 && !v2) {
		fg_fail(err, FG_ENOENT, "there is neither zarr.json nor .zarray");
		goto out;
	}
	if (v3 ? parse_v3(p, v3, shape, &rank, &chunk_rank, err)
	       : parse_v2(p, v2, shape, &rank, &chunk_rank, err))
		goto out;
	if (!axes && (axes_letters(json_object_get(v3, "dimension_names"), letters) ||
			 axes_letters(json_object_get(attributes, "_ARRAY_DIMENSIONS"),
			     letters)))
		axes = letters;
	if (fg_axes_parse(&p->axes, axes, rank >= 2 ? usual[rank] : NULL, rank, shape,
		ours, err) < 0 ||
	    fg_pieces_check(p, chunk_rank, err) < 0)
		goto out;
	if (r->scales > 0 && (p->dtype != r->dtype || ours[3] != r->channels)) {
		fg_fail(err, FG_ENOTSUP, "scales of different types or channels");
		goto out;
	}
	r->dtype = p->dtype;
	r->channels = (int)ours[3];
	memcpy(r->scale[r->scales].size, ours, sizeof r->scale[0].size);
	for (int i = 0; i < rank; i++) {
		if (p->axes.of[i] >= 0 && p->axes.of[i] < 3)
			r->scale[r->scales].chunk[p->axes.of[i]] = p->chunk[i];
	}
	r->scales++;
	rc = 0;
out:
	json_decref(v3);
	json_decref(v2);
	json_decref(attributes);
	return rc;
}

/* --- OME-Zarr */

/* The first "scale" of a list of transformations, times what is in nm already. */
static void
apply_scale(const json_t *list, const json_t *axes, const struct fg_axes *a,
    double nm[3])
{
	const json_t *t;
	size_t i;

	json_array_foreach(list, i, t)
	{
		const json_t *scale = json_object_get(t, "scale");

		if (json_array_size(scale) != (size_t)a->rank)
			continue;
		for (int k = 0; k < a->rank; k++) {
			const char *unit = json_string_value(
			    json_object_get(json_array_get(axes, (size_t)k), "unit"));
			double v = json_number_value(json_array_get(scale, (size_t)k));

			/* Without a unit a number is only a ratio; nm is our guess. */
			if (a->of[k] >= 0 && a->of[k] < 3 && v > 0)
				nm[a->of[k]] = nm[a->of[k]] == 0
						   ? v * fg_pieces_unit(unit)
						   : nm[a->of[k]] * v;
		}
		return;
	}
}

static int
open_multiscales(struct fg_foreign *r, const char *dir, const json_t *list,
    const char *axes, struct fg_err *err)
{
	const json_t *image = json_array_get(list, 0), *set;
	const json_t *names = json_object_get(image, "axes");
	const json_t *sets = json_object_get(image, "datasets");
	char letters[FG_FOREIGN_AXES + 1];
	size_t i;

	if (!axes && axes_letters(names, letters))
		axes = letters;
	if (json_array_size(sets) < 1 || json_array_size(sets) > FG_SCALES_MAX)
		return fg_fail(err, FG_ENOTSUP,
		    "multiscales of %zu datasets, not 1 to "
		    "%d",
		    json_array_size(sets), FG_SCALES_MAX);
	json_array_foreach(sets, i, set)
	{
		const char *path;

		if (fg_json_get_string(set, "path", FG_JSON_NEEDED, &path, err) < 0)
			return fg_err_prefix(err, "multiscales: datasets");
		if (!fg_pieces_path_is_safe(path))
			return fg_fail(err, FG_ECORRUPT,
			    "multiscales: path \"%.60s\" leads out of the folder",
			    path);
		char *full = fg_asprintf("%s/%s", dir, path);
		int rc = add_array(r, full, axes, err);
		free(full);
		if (rc < 0)
			return fg_err_prefix(err, "%s", path);
		struct zarr *z = r->priv;
		double *nm = r->scale[i].nm;
		apply_scale(json_object_get(set, "coordinateTransformations"), names,
		    &z->scale[i].axes, nm);
		if (nm[0] > 0)
			apply_scale(json_object_get(image, "coordinateTransformations"),
			    names, &z->scale[i].axes, nm);
	}
	return 0;
}

/* What a group says of multiscales, old and new places; borrowed, NULL if nothing. */
static const json_t *
find_multiscales(const json_t *attributes)
{
	const json_t *ome = json_object_get(attributes, "ome");
	const json_t *m = json_object_get(ome ? ome : attributes, "multiscales");

	return json_array_size(m) > 0 ? m : NULL;
}

static int
zarr_open(struct fg_foreign *r, const char *path, const char *axes, struct fg_err *err)
{
	json_t *group = NULL, *attributes = NULL;
	const json_t *multi = NULL;
	int rc = -1;

	r->priv = fg_calloc(1, sizeof(struct zarr));
	if (fg_pieces_json(path, "zarr.json", &group, err) < 0 ||
	    (!group && fg_pieces_json(path, ".zattrs", &attributes, err) < 0))
		goto out;
	multi =
	    find_multiscales(group ? json_object_get(group, "attributes") : attributes);
	rc = multi ? open_multiscales(r, path, multi, axes, err)
		   : add_array(r, path, axes, err);
out:
	json_decref(group);
	json_decref(attributes);
	return rc;
}

static int
zarr_box(struct fg_foreign *r, int scale, const struct fg_box *vx, struct fg_array *out,
    struct fg_err *err)
{
	struct zarr *z = r->priv;

	return fg_pieces_box(&z->scale[scale], vx, out, err);
}

static void
zarr_close(struct fg_foreign *r)
{
	struct zarr *z = r->priv;

	for (int i = 0; i < FG_SCALES_MAX; i++)
		fg_pieces_fini(&z->scale[i]);
	free(z);
}

const struct fg_foreign_ops fg_zarr_ops = {"zarr", zarr_open, zarr_box, zarr_close};
