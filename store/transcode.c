/* SPDX-License-Identifier: Apache-2.0 */
/* Chunks in another encoding: see the header. */
#include "config.h"

#include "store/transcode.h"

#include <stdlib.h>

#include "formats/codec.h"

bool
fg_source_is_lossy(enum fg_encoding e)
{
	return e == FG_ENC_JPEG || e == FG_ENC_JXL;
}

static int
chunk(struct fg_source *s, int scale, const int64_t ch[3], struct fg_buf **out,
    struct fg_err *err)
{
	struct fg_source *inner = s->priv;
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_buf *stored = NULL;
	struct fg_box vx;
	int64_t shape[4];
	int rc = -1;

	if (fg_source_chunk(inner, scale, ch, &stored, err) < 0)
		return -1;
	if (!stored) {
		*out = NULL;
		return 0;
	}
	fg_scale_chunk_box(&inner->info.scale[scale], ch, &vx);
	fg_box_shape(&vx, shape);
	shape[3] = inner->info.channels;
	if (fg_array_init(&a, inner->info.dtype, shape, err) == 0 &&
	    fg_codec_decode(&inner->info.scale[scale], stored->data, stored->len, &a,
		err) == 0)
		rc = fg_codec_encode(&s->info.scale[scale], &a, out, err);
	fg_array_fini(&a);
	fg_buf_unref(stored);
	return rc;
}

static int
box(struct fg_source *s, int scale, const struct fg_box *vx, struct fg_array *out,
    struct fg_array *absent, struct fg_err *err)
{
	return fg_source_box(s->priv, scale, vx, out, absent, err);
}

/* The folders of the scales hold other chunks than this source says. */
static bool
is_of_scale(const struct fg_source *s, const char *name)
{
	for (int i = 0; i < s->info.scales; i++) {
		size_t n = strlen(s->info.scale[i].key);

		if (strncmp(name, s->info.scale[i].key, n) == 0 && name[n] == '/')
			return true;
	}
	return false;
}

static int
file(struct fg_source *s, const char *name, size_t limit, int *coding,
    struct fg_buf **out, struct fg_err *err)
{
	*out = NULL;
	return is_of_scale(s, name)
		   ? 0
		   : fg_source_file(s->priv, name, limit, coding, out, err);
}

static int
open_file(struct fg_source *s, const char *name, int *fd, struct stat *st,
    struct fg_err *err)
{
	*fd = -1;
	return is_of_scale(s, name) ? 0
				    : fg_source_open_file(s->priv, name, fd, st, err);
}

static int
part(struct fg_source *s, const char *name, struct fg_source_part *p,
    struct fg_err *err)
{
	return is_of_scale(s, name) ? 0 : fg_source_part(s->priv, name, p, err);
}

static void
close_inner(struct fg_source *s)
{
	fg_source_close(s->priv);
}

static const struct fg_source_ops ops = {
    .scheme = "transcode",
    .chunk = chunk,
    .box = box,
    .file = file,
    .open_file = open_file,
    .part = part,
    .close = close_inner,
};

struct fg_source *
fg_source_transcode(struct fg_source *inner, enum fg_encoding e, int jpeg_quality,
    struct fg_err *err)
{
	struct fg_source *s = fg_calloc(1, sizeof *s);

	s->ops = &ops;
	s->priv = inner;
	s->url = fg_strdup(inner->url);
	s->remote = inner->remote;
	s->holes = inner->holes;
	fg_info_copy(&s->info, &inner->info);
	for (int i = 0; i < s->info.scales; i++) {
		struct fg_scale *sc = &s->info.scale[i];

		sc->encoding = e;
		sc->sharding = (struct fg_sharding){0};
		sc->jpeg_quality = e == FG_ENC_JPEG ? jpeg_quality : -1;
		sc->png_level = -1;
		sc->jxl_quality = sc->jxl_effort = 0;
		for (int d = 0; d < 3; d++)
			sc->cseg_block[d] = 8;
	}
	if (s->info.scales == 0)
		fg_fail(err, FG_EINVAL, "%s have no encoding to be chosen",
		    fg_volume_type_name(s->info.type));
	else if (fg_source_is_lossy(e) && s->info.type == FG_SEGMENTATION)
		fg_fail(err, FG_EINVAL, "labels are not served as %s, which loses some",
		    fg_encoding_name(e));
	else if (jpeg_quality >= 0 && e != FG_ENC_JPEG)
		fg_fail(err, FG_EINVAL, "\"jpeg_quality\" is for the encoding jpeg");
	else if (fg_codec_check(e, s->info.dtype, s->info.channels, err) == 0)
		return s;
	fg_source_close(s);
	return NULL;
}
