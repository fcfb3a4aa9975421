/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The phantom as a source: an info made from the parameters, chunks computed and
 * encoded when they are read. Three keys more than store/phantom.h knows:
 *
 *   labels     0                  1: the truth (uint64) instead of the picture (uint8)
 *   chunk      64                 edge of a chunk, voxels, 8 .. 512
 *   encoding   raw (picture), compressed_segmentation (labels)
 *
 * Scales double the voxel size on all axes until the volume is at most 256 voxels long;
 * a coarse scale is the same geometry looked at with larger voxels, not an average, so
 * it costs no more to open a large volume from afar than from near.
 */
#include "config.h"

#include "store/phantom_source.h"

#include <stdio.h>
#include <stdlib.h>

#include "formats/codec.h"
#include "store/phantom.h"
#include "store/phantom_geom.h"

/* Take "key=value" out of a comma list; NULL if it is not there. free() the value. */
static char *
take_option(char *text, const char *key)
{
	size_t n = strlen(key);

	for (char *p = text; *p; p += strcspn(p, ","), p += *p == ',') {
		char *end = p + strcspn(p, ","), *value;

		if (strncmp(p, key, n) != 0 || p[n] != '=')
			continue;
		value = fg_strndup(p + n + 1, (size_t)(end - p) - n - 1);
		if (*end == ',')
			end++;
		else if (p > text)
			p--;
		memmove(p, end, strlen(end) + 1);
		return value;
	}
	return NULL;
}

static int
set_chunk(const char *value, int64_t *out, struct fg_err *err)
{
	char *end;
	long v;

	if (!value) {
		*out = 64;
		return 0;
	}
	v = strtol(value, &end, 10);
	if (end == value || *end || v < 8 || v > 512)
		return fg_fail(err, FG_EINVAL, "phantom: chunk=%.40s: wanted 8 .. 512",
		    value);
	*out = v;
	return 0;
}

static void
fill_scales(struct fg_info *info, const struct fg_phantom *p, int64_t chunk,
    enum fg_encoding enc)
{
	int64_t longest = FG_MAX(p->size[0], FG_MAX(p->size[1], p->size[2]));
	int n = 0;

	do {
		struct fg_scale *s = &info->scale[n];

		for (int d = 0; d < 3; d++) {
			s->nm[d] = (double)(p->nm[d] << n);
			s->size[d] = fg_div_ceil(p->size[d], (int64_t)1 << n);
			s->chunk[d] = FG_MIN(chunk, FG_MAX(s->size[d], 1));
			s->cseg_block[d] = 8;
		}
		s->key = fg_asprintf("%lld_%lld_%lld", (long long)s->nm[0],
		    (long long)s->nm[1], (long long)s->nm[2]);
		s->encoding = enc;
		s->jpeg_quality = s->png_level = -1;
		n++;
	} while (longest >> (n - 1) > 256 && n < 14);
	info->scales = n;
}

static int
set_labels(const char *value, bool *out, struct fg_err *err)
{
	*out = value && strcmp(value, "1") == 0;
	if (value && !*out && strcmp(value, "0") != 0)
		return fg_fail(err, FG_EINVAL, "phantom: labels=%.40s: wanted 0 or 1",
		    value);
	return 0;
}

static int
open_phantom(struct fg_source *s, const char *url, struct fg_err *err)
{
	char *text = fg_strdup(url), *chunk = take_option(text, "chunk");
	char *encoding = take_option(text, "encoding");
	char *truth = take_option(text, "labels");
	struct fg_phantom *p = fg_calloc(1, sizeof *p);
	enum fg_encoding enc;
	int64_t edge = 64;
	bool labels;
	int rc = -1;

	fg_phantom_default(p);
	s->priv = p;
	if (set_labels(truth, &labels, err) < 0)
		goto out;
	enc = labels ? FG_ENC_CSEG : FG_ENC_RAW;
	s->info.type = labels ? FG_SEGMENTATION : FG_IMAGE;
	s->info.dtype = labels ? FG_U64 : FG_U8;
	s->info.channels = 1;
	if (fg_phantom_parse(text, p, err) < 0 || fg_phantom_geom_check(p, err) < 0 ||
	    set_chunk(chunk, &edge, err) < 0 ||
	    (encoding && fg_encoding_parse(encoding, &enc, err) < 0) ||
	    fg_codec_check(enc, s->info.dtype, 1, err) < 0)
		goto out;
	fill_scales(&s->info, p, edge, enc);
	rc = 0;
out:
	free(truth);
	free(encoding);
	free(chunk);
	free(text);
	return rc;
}

static int
read_box(struct fg_source *s, int scale, const struct fg_box *vx, struct fg_array *out,
    struct fg_array *absent FG_UNUSED, struct fg_err *err)
{
	if (s->info.type == FG_SEGMENTATION)
		return fg_phantom_labels(s->priv, scale, vx, out, err);
	return fg_phantom_image(s->priv, scale, vx, out, err);
}

static int
read_chunk(struct fg_source *s, int scale, const int64_t ch[3], struct fg_buf **out,
    struct fg_err *err)
{
	const struct fg_scale *sc = &s->info.scale[scale];
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_box vx;
	int64_t n[4];
	int rc = -1;

	fg_scale_chunk_box(sc, ch, &vx);
	fg_box_shape(&vx, n);
	n[3] = 1;
	if (fg_array_init(&a, s->info.dtype, n, err) < 0)
		return -1;
	if (read_box(s, scale, &vx, &a, NULL, err) == 0)
		rc = fg_codec_encode(sc, &a, out, err);
	fg_array_fini(&a);
	return rc;
}

static void
close_phantom(struct fg_source *s)
{
	free(s->priv);
}

const struct fg_source_ops fg_phantom_ops = {
    .scheme = "phantom",
    .open = open_phantom,
    .chunk = read_chunk,
    .box = read_box,
    .close = close_phantom,
};
