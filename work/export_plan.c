/* SPDX-License-Identifier: Apache-2.0 */
/* What an export writes: see the header. */
#include "config.h"

#include "work/export_plan.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "formats/codec.h"
#include "formats/shard.h"
#include "work/catalog.h"

static void
say(const struct fg_export *x, const char *line)
{
	if (x->say)
		x->say(x->ctx, line);
}

/* ------------------------------------------------------------- scales */

/* Indices of the wanted scales, in the layer's order. */
static int
choose_scales(const struct fg_export *x, bool wanted[FG_SCALES_MAX], struct fg_err *err)
{
	const struct fg_info *info = &x->layer->info;
	const char *p = x->scales;

	if (info->scales == 0)
		return fg_fail(err, FG_EINVAL,
		    "layer %s holds %s, not a volume: its folder can be copied",
		    x->layer->name, fg_volume_type_name(info->type));
	for (int i = 0; i < info->scales; i++)
		wanted[i] = p == NULL;
	while (p) {
		size_t n = strcspn(p, ",");
		int i = fg_info_find_scale(info, p, n);

		if (i < 0)
			return fg_fail(err, FG_EINVAL,
			    "layer %s has no scale \"%.*s\", the finest is %s",
			    x->layer->name, (int)FG_MIN(n, 80u), p, info->scale[0].key);
		wanted[i] = true;
		p = p[n] ? p + n + 1 : NULL;
	}
	return 0;
}

/* The box, given in voxels of scale `of`, as chunks lo <= ch < hi of scale s around it.
 */
static int
box_chunks(const struct fg_export *x, const struct fg_scale *of,
    const struct fg_scale *s, int64_t lo[3], int64_t hi[3], struct fg_err *err)
{
	struct fg_box all;

	fg_scale_grid(s, hi);
	lo[0] = lo[1] = lo[2] = 0;
	if (!x->box)
		return 0;
	fg_scale_bounds(of, &all);
	if (!fg_box_contains(&all, x->box) || fg_box_is_empty(x->box))
		return fg_fail(err, FG_EINVAL, "the box is not inside scale %s of %s",
		    of->key, x->layer->name);
	for (int d = 0; d < 3; d++) {
		double f = of->nm[d] / s->nm[d];
		double a = floor((double)x->box->lo[d] * f) - (double)s->offset[d];
		double b = ceil((double)x->box->hi[d] * f) - (double)s->offset[d];
		int64_t grid = hi[d];

		lo[d] = (int64_t)floor(a / (double)s->chunk[d]);
		hi[d] = (int64_t)ceil(b / (double)s->chunk[d]);
		lo[d] = FG_MAX(0, FG_MIN(lo[d], grid - 1));
		hi[d] = FG_MAX(lo[d] + 1, FG_MIN(hi[d], grid));
	}
	return 0;
}

static int
check_count(const struct fg_scale *s, const int64_t grid[3], uint64_t *n,
    struct fg_err *err)
{
	*n = 1;
	for (int d = 0; d < 3; d++) {
		if (__builtin_mul_overflow(*n, (uint64_t)grid[d], n) || *n >> 62)
			return fg_fail(err, FG_ENOTSUP,
			    "scale %s has too many chunks to count", s->key);
	}
	return 0;
}

/* ------------------------------------------------------------- encoding */

static bool
is_same_form(const struct fg_export *x, const struct fg_scale *s)
{
	if (x->encoding != s->encoding)
		return false;
	return (x->jpeg_quality < 0 || x->jpeg_quality == s->jpeg_quality) &&
	       (x->png_level < 0 || x->png_level == s->png_level) &&
	       (x->jxl_quality == 0 || x->jxl_quality == s->jxl_quality) &&
	       (x->jxl_effort == 0 || x->jxl_effort == s->jxl_effort);
}

/* JPEG XL of 16 bits is lossless unless a quality is given. */
static bool
is_lossy(const struct fg_export *x, enum fg_dtype t)
{
	if (x->encoding != FG_ENC_JXL)
		return x->encoding == FG_ENC_JPEG;
	return x->jxl_quality > 0 ? x->jxl_quality < 100 : t == FG_U8;
}

static int
plan_encoding(const struct fg_export *x, struct fg_export_plan *p, int i,
    struct fg_err *err)
{
	struct fg_scale *s = &p->info.scale[i];
	enum fg_encoding was = s->encoding;

	if (!x->recode || is_same_form(x, s))
		return 0;
	p->scale[i].recode = true;
	s->encoding = x->encoding;
	s->jpeg_quality = x->jpeg_quality;
	s->png_level = x->png_level;
	s->jxl_quality = x->jxl_quality;
	s->jxl_effort = x->jxl_effort;
	/* Both ends must be in this build, and hold the voxels. */
	if (fg_codec_check(was, p->info.dtype, p->info.channels, err) < 0 ||
	    fg_codec_check(s->encoding, p->info.dtype, p->info.channels, err) < 0)
		return fg_err_prefix(err, "scale %s", s->key);
	if (is_lossy(x, p->info.dtype) && p->info.type == FG_SEGMENTATION)
		return fg_fail(err, FG_EINVAL,
		    "labels are not exported as %s, which loses some",
		    fg_encoding_name(x->encoding));
	if (i == 0 && is_lossy(x, p->info.dtype))
		say(x, "voxels will differ from the layer's: this encoding is lossy");
	return 0;
}

/* Labels shrink to a fiftieth; images in raw by 15 %, which is not worth the time of
 * everyone who reads them. */
static bool
is_worth_gzip(const struct fg_info *info, enum fg_encoding e)
{
	return e == FG_ENC_CSEG || e == FG_ENC_COMPRESSO ||
	       (e == FG_ENC_RAW && info->type == FG_SEGMENTATION);
}

static int
plan_sharding(const struct fg_export *x, struct fg_export_plan *p, int i,
    struct fg_err *err)
{
	struct fg_scale *s = &p->info.scale[i];
	struct fg_sharding *h = &s->sharding;
	uint64_t bytes = (uint64_t)p->info.channels * fg_dtype_size(p->info.dtype);
	char *line;

	*h = (struct fg_sharding){0};
	if (!x->sharded)
		return 0;
	for (int d = 0; d < 3; d++)
		bytes *= (uint64_t)FG_MIN(s->chunk[d], s->size[d]);
	if (fg_sharding_choose(p->scale[i].grid, bytes,
		x->gzip || is_worth_gzip(&p->info, s->encoding), h, err) < 0)
		return fg_err_prefix(err, "scale %s", s->key);
	if (x->sharding)
		*h = *x->sharding;
	line = fg_asprintf("%s: %llu chunks; %s, preshift %d, minishard %d, shard %d "
			   "bits; index %s, "
			   "data %s",
	    s->key, (unsigned long long)p->scale[i].chunks,
	    h->murmur ? "murmurhash3_x86_128" : "identity", h->preshift_bits,
	    h->minishard_bits, h->shard_bits, h->index_gzip ? "gzip" : "raw",
	    h->data_gzip ? "gzip" : "raw");
	say(x, line);
	free(line);
	return 0;
}

/* ------------------------------------------------------------- all of it */

static int
plan_scale(const struct fg_export *x, struct fg_export_plan *p, int from,
    struct fg_err *err)
{
	const struct fg_info *layer = &x->layer->info;
	int i = p->info.scales;
	struct fg_scale *s = &p->info.scale[i];
	int64_t lo[3], hi[3], last[3];
	struct fg_box a, b;

	/* p->info is a copy of the layer's: the scales move down over unwanted ones. */
	if (i != from) {
		struct fg_scale t = *s;

		*s = p->info.scale[from];
		p->info.scale[from] = t;
	}
	p->info.scales++;
	p->scale[i].from = from;
	if (box_chunks(x, &layer->scale[p->scale[0].from], &layer->scale[from], lo, hi,
		err) < 0)
		return -1;
	for (int d = 0; d < 3; d++) {
		p->scale[i].first[d] = lo[d];
		p->scale[i].grid[d] = hi[d] - lo[d];
		last[d] = hi[d] - 1;
	}
	fg_scale_chunk_box(&layer->scale[from], lo, &a);
	fg_scale_chunk_box(&layer->scale[from], last, &b);
	for (int d = 0; d < 3; d++) {
		s->offset[d] = a.lo[d];
		s->size[d] = b.hi[d] - a.lo[d];
	}
	if (check_count(s, p->scale[i].grid, &p->scale[i].chunks, err) < 0)
		return -1;
	p->chunks += p->scale[i].chunks;
	if (plan_encoding(x, p, i, err) < 0)
		return -1;
	return plan_sharding(x, p, i, err);
}

/* The folder of what goes with a segmentation is emptied when that is written, and its
 * info must not be that of chunks either. */
static int
check_folder(const struct fg_export_plan *p, bool used, const char *dir,
    struct fg_err *err)
{
	size_t n = strlen(dir);

	for (int i = 0; used && i < p->info.scales; i++) {
		const char *key = p->info.scale[i].key;

		if (strncmp(key, dir, n) == 0 && (key[n] == '\0' || key[n] == '/'))
			return fg_fail(err, FG_EINVAL,
			    "the chunks of scale %s and the objects' files would share "
			    "the folder %s: export this scale, or the objects, apart",
			    key, dir);
	}
	return 0;
}

static int
check_folders(const struct fg_export_plan *p, const struct fg_export *x,
    struct fg_err *err)
{
	if (check_folder(p, x->mesh, FG_EXPORT_MESH, err) < 0 ||
	    check_folder(p, x->skeletons, FG_EXPORT_SKELETONS, err) < 0)
		return -1;
	return check_folder(p, x->properties, FG_EXPORT_PROPERTIES, err);
}

/* A directory that goes with a segmentation and is not exported: name none. */
static void
drop_directory(const struct fg_export *x, const char *what, char **name)
{
	char *line;

	if (!*name)
		return;
	line = fg_asprintf("%s (%s) are not exported", what, *name);
	say(x, line);
	free(line);
	free(*name);
	*name = NULL;
}

static void
name_directory(const char *dir, char **name)
{
	free(*name);
	*name = fg_strdup(dir);
}

int
fg_export_plan_init(struct fg_export_plan *p, const struct fg_export *x,
    struct fg_err *err)
{
	const struct fg_info *layer = &x->layer->info;
	bool wanted[FG_SCALES_MAX];
	int rc = choose_scales(x, wanted, err);

	memset(p, 0, sizeof *p);
	if (rc < 0)
		return -1;
	fg_info_copy(&p->info, layer);
	p->info.scales = 0;
	for (int i = 0; rc == 0 && i < layer->scales; i++) {
		if (wanted[i])
			rc = plan_scale(x, p, i, err);
	}
	for (int i = p->info.scales; i < layer->scales; i++) {
		free(p->info.scale[i].key);
		p->info.scale[i].key = NULL;
	}
	if (rc == 0)
		rc = check_folders(p, x, err);
	if (!x->mesh)
		drop_directory(x, "meshes", &p->info.mesh);
	if (!x->skeletons)
		drop_directory(x, "skeletons", &p->info.skeletons);
	if (!x->properties)
		drop_directory(x, "segment properties", &p->info.segment_properties);
	if (x->mesh)
		name_directory(FG_EXPORT_MESH, &p->info.mesh);
	if (x->skeletons)
		name_directory(FG_EXPORT_SKELETONS, &p->info.skeletons);
	if (x->properties)
		name_directory(FG_EXPORT_PROPERTIES, &p->info.segment_properties);
	if (rc < 0)
		fg_export_plan_fini(p);
	return rc;
}

void
fg_export_plan_fini(struct fg_export_plan *p)
{
	fg_info_fini(&p->info);
}

char *
fg_export_plan_text(const struct fg_export_plan *p, const struct fg_export *x)
{
	json_t *recoded = json_array(), *j;
	char *text;

	for (int i = 0; i < p->info.scales; i++)
		json_array_append_new(recoded, json_boolean(p->scale[i].recode));
	j = json_pack("{s:s, s:s, s:o, s:o, s:b}", "program", PACKAGE_STRING, "layer",
	    x->layer->uuid, "info", fg_info_format(&p->info), "recoded", recoded,
	    "gzip", x->gzip);
	if (x->legacy_mesh)
		json_object_set_new(j, "mesh", json_string("legacy"));
	text = fg_json_format(j);
	json_decref(j);
	return text;
}
