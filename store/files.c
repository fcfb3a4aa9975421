/* SPDX-License-Identifier: Apache-2.0 */
/*
 * File sources: what formats/foreign.h reads, as a volume with an info file of our own
 * making. What the file does not tell is in the URL:
 *
 *   SCHEME:PATH[?KEY=VALUE[&KEY=VALUE...]]
 *     nm=X,Y,Z      resolution of the finest scale; needed if the file has none
 *     offset=X,Y,Z  voxel offset of the finest scale (default 0,0,0)
 *     chunk=X,Y,Z   chunks as they are served (default: as stored, else 64,64,64)
 *     axes=LETTERS  order of the file's axes, slowest first
 *     type=image or segmentation (default image)
 *     holes=refuse, zero or absent   of a stack with missing sections: not opened
 *                   (default), voxels of value 0, or no data (not segmented; a chunk
 *                   of nothing else is absent)
 *
 * A "?" of a path itself is no trouble unless a known key and "=" follow it. Chunks are
 * made on request (encoding raw) by store/source.c. What is decoded by sections is kept
 * decoded for a while (store/tiles.h).
 */
#include "config.h"

#include "store/files.h"

#include <ctype.h>
#include <math.h>
#include <stdlib.h>

#include "base/json.h"
#include "formats/foreign.h"
#include "store/tiles.h"

#define CHUNK_DEFAULT 64
/* Stored pieces are served as they are between these numbers of voxels. */
#define CHUNK_VOXELS_MIN 4096
#define CHUNK_VOXELS_MAX (1 << 22)

enum holes { HOLES_REFUSE, HOLES_ZERO, HOLES_ABSENT };

struct options {
	char *path, *axes;
	double nm[3];     /* 0: not given */
	int64_t chunk[3]; /* 0: not given */
	int64_t offset[3];
	enum fg_volume_type type;
	enum holes holes;
};

struct files {
	struct fg_foreign *foreign;
	struct fg_tiles *tiles; /* NULL: read directly */
	bool holes_absent;
};

static void
options_fini(struct options *o)
{
	free(o->path);
	free(o->axes);
}

/* Three numbers between commas; false if they are not. */
static bool
parse_three(const char *text, double lo, double hi, bool whole, double out[3])
{
	for (int d = 0; d < 3; d++) {
		char *end;

		out[d] = strtod(text, &end);
		if (end == text || isspace((unsigned char)*text) ||
		    !(out[d] >= lo && out[d] <= hi) ||
		    (whole && out[d] != floor(out[d])) || *end != (d < 2 ? ',' : '\0'))
			return false;
		text = end + 1;
	}
	return true;
}

static bool
parse_holes(const char *value, enum holes *out)
{
	static const char *const words[] = {"refuse", "zero", "absent"};

	for (size_t i = 0; i < FG_COUNTOF(words); i++) {
		if (strcmp(value, words[i]) == 0) {
			*out = (enum holes)i;
			return true;
		}
	}
	return false;
}

static int
parse_option(struct options *o, const char *key, const char *value, struct fg_err *err)
{
	double v[3];
	bool ok = false;

	if (strcmp(key, "nm") == 0) {
		ok = parse_three(value, 1e-6, 1e12, false, o->nm);
	} else if (strcmp(key, "chunk") == 0) {
		ok = parse_three(value, 1, 4096, true, v);
		for (int d = 0; ok && d < 3; d++)
			o->chunk[d] = (int64_t)v[d];
	} else if (strcmp(key, "offset") == 0) {
		ok = parse_three(value, -1e12, 1e12, true, v);
		for (int d = 0; ok && d < 3; d++)
			o->offset[d] = (int64_t)v[d];
	} else if (strcmp(key, "axes") == 0) {
		ok = *value != '\0' && !o->axes;
		if (ok)
			o->axes = fg_strdup(value);
	} else if (strcmp(key, "type") == 0) {
		ok = strcmp(value, "image") == 0 || strcmp(value, "segmentation") == 0;
		o->type = *value == 's' ? FG_SEGMENTATION : FG_IMAGE;
	} else if (strcmp(key, "holes") == 0) {
		ok = parse_holes(value, &o->holes);
	} else {
		return fg_fail(err, FG_EINVAL,
		    "there is no option \"%.40s\" (nm, offset, chunk, axes, type, "
		    "holes)",
		    key);
	}
	if (!ok)
		return fg_fail(err, FG_EINVAL, "%s=%.60s is not possible", key, value);
	return 0;
}

/* Does an option begin here? */
static bool
is_query(const char *p)
{
	static const char *const keys[] = {"nm=", "offset=", "chunk=", "axes=", "type=",
	    "holes="};

	for (size_t i = 0; i < FG_COUNTOF(keys); i++) {
		if (strncmp(p, keys[i], strlen(keys[i])) == 0)
			return true;
	}
	return false;
}

static int
parse_options(const char *url, struct options *o, struct fg_err *err)
{
	const char *query = strrchr(url, '?');
	char *text, *next;
	int rc = 0;

	*o = (struct options){.type = FG_IMAGE};
	if (!query || !is_query(query + 1)) {
		o->path = fg_strdup(url);
		return 0;
	}
	o->path = fg_strndup(url, (size_t)(query - url));
	text = fg_strdup(query + 1);
	for (char *p = text; p && rc == 0; p = next) {
		char *value = strchr(p, '=');

		next = strchr(p, '&');
		if (next)
			*next++ = '\0';
		if (!value || (next && value >= next)) {
			rc =
			    fg_fail(err, FG_EINVAL, "option \"%.40s\" has no value", p);
			break;
		}
		*value++ = '\0';
		rc = parse_option(o, p, value, err);
	}
	free(text);
	return rc;
}

/* ------------------------------------------------------------- the info */

static void
choose_chunk(const struct options *o, const struct fg_foreign_scale *from,
    int64_t chunk[3])
{
	double voxels = 1;

	for (int d = 0; d < 3; d++)
		voxels *= (double)from->chunk[d];
	bool stored = voxels >= CHUNK_VOXELS_MIN && voxels <= CHUNK_VOXELS_MAX;
	for (int d = 0; d < 3; d++) {
		chunk[d] = o->chunk[d] > 0 ? o->chunk[d]
			   : stored        ? from->chunk[d]
					   : CHUNK_DEFAULT;
		chunk[d] = FG_MIN(chunk[d], from->size[d]);
	}
}

static int
choose_nm(const struct options *o, const struct fg_foreign *r, int scale, double nm[3],
    struct fg_err *err)
{
	const struct fg_foreign_scale *first = &r->scale[0], *here = &r->scale[scale];

	for (int d = 0; d < 3; d++) {
		double ratio =
		    first->nm[d] > 0 && here->nm[d] > 0
			? here->nm[d] / first->nm[d]
			: round((double)first->size[d] / (double)here->size[d]);

		nm[d] = (o->nm[d] > 0 ? o->nm[d] : first->nm[d]) * ratio;
		if (!(nm[d] > 0))
			return fg_fail(err, FG_EINVAL,
			    "the file does not tell its resolution: add "
			    "?nm=X,Y,Z, nanometres per voxel");
	}
	return 0;
}

/* An info of what the file holds; through text, so that it is checked like others. */
static int
make_info(struct fg_source *s, const struct options *o, struct fg_err *err)
{
	const struct files *f = s->priv;
	const struct fg_foreign *r = f->foreign;
	struct fg_info info = {.type = o->type,
	    .dtype = r->dtype,
	    .channels = r->channels,
	    .scales = r->scales};
	int rc = 0;

	for (int i = 0; i < r->scales && rc == 0; i++) {
		struct fg_scale *sc = &info.scale[i];

		rc = choose_nm(o, r, i, sc->nm, err);
		choose_chunk(o, &r->scale[i], sc->chunk);
		sc->encoding = FG_ENC_RAW;
		sc->jpeg_quality = sc->png_level = -1;
		for (int d = 0; d < 3 && rc == 0; d++) {
			double at = (double)o->offset[d] * info.scale[0].nm[d];

			sc->size[d] = r->scale[i].size[d];
			sc->offset[d] = (int64_t)floor(at / sc->nm[d] + 1e-9);
		}
		sc->key = fg_asprintf("%g_%g_%g", sc->nm[0], sc->nm[1], sc->nm[2]);
	}
	if (rc == 0) {
		json_t *j = fg_info_format(&info);
		char *text = fg_json_format(j);

		rc = fg_info_parse(text, strlen(text), &s->info, err);
		free(text);
		json_decref(j);
	}
	fg_info_fini(&info);
	return rc;
}

/* ------------------------------------------------------------- the source */

static int
read_tile(void *ctx, const struct fg_box *part, struct fg_array *out,
    struct fg_err *err)
{
	struct fg_foreign *r = ctx;
	int64_t n[4];

	fg_box_shape(part, n);
	n[3] = r->channels;
	if (fg_array_init(out, r->dtype, n, err) < 0)
		return -1;
	if (fg_foreign_box(r, 0, part, out, err) == 0)
		return 0;
	fg_array_fini(out);
	return -1;
}

/* Of sections that are decoded as images: tiles, and chunks that suit them. */
static int
plan_tiles(struct files *f, struct fg_tiles_pool *pool, struct fg_err *err)
{
	struct fg_foreign *r = f->foreign;
	struct fg_tiles_plan plan = {.dtype = r->dtype};
	struct fg_err why = FG_ERR_INIT;

	if (r->piece[0] == 0)
		return 0;
	memcpy(plan.shape, r->scale[0].size, sizeof r->scale[0].size);
	plan.shape[3] = r->channels;
	if (fg_tiles_plan(&plan, r->piece, FG_TILES_BUDGET, &why) < 0)
		/* One file can be read directly, as it always was. */
		return r->ops == &fg_sections_ops
			   ? fg_fail(err, why.code, "%s", why.msg)
			   : 0;
	f->tiles = fg_tiles_new(&plan, pool, read_tile, r);
	/* The chunks of a file stay as they were: layers are made on them. */
	if (r->ops == &fg_sections_ops)
		memcpy(r->scale[0].chunk, plan.chunk, sizeof plan.chunk);
	return 0;
}

static int
check_holes(struct fg_source *s, const struct options *o, struct fg_err *err)
{
	struct files *f = s->priv;
	const struct fg_foreign *r = f->foreign;

	if (r->holes > 0 && o->holes == HOLES_REFUSE)
		return fg_fail(err, FG_EINVAL,
		    "%s; ?holes=zero reads them as 0, ?holes=absent as no data",
		    r->gap);
	f->holes_absent = o->holes == HOLES_ABSENT;
	s->holes = r->holes;
	return 0;
}

static int
files_open(struct fg_source *s, const char *url, struct fg_err *err)
{
	struct files *f = fg_calloc(1, sizeof *f);
	struct options o;
	int rc = -1;

	s->priv = f;
	if (parse_options(url, &o, err) == 0) {
		f->foreign = fg_foreign_open(s->ops->scheme, o.path, o.axes, err);
		if (f->foreign && check_holes(s, &o, err) == 0 &&
		    plan_tiles(f, s->opt.tiles, err) == 0)
			rc = make_info(s, &o, err);
		if (f->foreign && rc < 0)
			fg_err_prefix(err, "%s", o.path);
	}
	options_fini(&o);
	return rc;
}

static void
mark_holes(const struct files *f, const struct fg_box *vx, struct fg_array *absent)
{
	const uint8_t *hole = f->foreign->hole;
	size_t plane = (size_t)(absent->shape[0] * absent->shape[1]);

	if (!f->holes_absent || !hole)
		return;
	for (int64_t z = 0; z < absent->shape[2]; z++) {
		if (hole[vx->lo[2] + z])
			memset((uint8_t *)absent->data + (size_t)z * plane, 1, plane);
	}
}

static int
files_box(struct fg_source *s, int scale, const struct fg_box *vx, struct fg_array *out,
    struct fg_array *absent, struct fg_err *err)
{
	const struct fg_scale *sc = &s->info.scale[scale];
	struct files *f = s->priv;
	struct fg_box local = *vx;

	for (int d = 0; d < 3; d++) {
		local.lo[d] -= sc->offset[d];
		local.hi[d] -= sc->offset[d];
	}
	if (absent)
		mark_holes(f, &local, absent);
	if (f->tiles)
		return fg_tiles_box(f->tiles, &local, f->foreign->hole, out, err);
	return fg_foreign_box(f->foreign, scale, &local, out, err);
}

static void
files_close(struct fg_source *s)
{
	struct files *f = s->priv;

	fg_tiles_free(f->tiles);
	fg_foreign_close(f->foreign);
	free(f);
}

#define FILES(name)                                                                    \
	{                                                                              \
		.scheme = name, .open = files_open, .box = files_box,                  \
		.close = files_close,                                                  \
	}

const struct fg_source_ops fg_files_hdf5_ops = FILES("hdf5");
const struct fg_source_ops fg_files_tiff_ops = FILES("tiff");
const struct fg_source_ops fg_files_stack_ops = FILES("stack");
const struct fg_source_ops fg_files_zarr_ops = FILES("zarr");
const struct fg_source_ops fg_files_n5_ops = FILES("n5");
const struct fg_source_ops fg_files_nifti_ops = FILES("nifti");
const struct fg_source_ops fg_files_npy_ops = FILES("npy");
