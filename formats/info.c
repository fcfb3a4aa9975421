/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The info file of a volume and the names of its chunks: see the header.
 *
 * Reading is strict where a client would fail or where later arithmetic relies on a
 * range, and lenient elsewhere (unknown keys, any case of enumerated words), because
 * layers made by many other programs are served in place. The ranges chosen here
 * (coordinates below 2^53, chunks below 2^31 bytes) are what makes the arithmetic of
 * all later code free of overflow.
 */
#include "config.h"

#include "formats/info.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "base/json.h"
#include "formats/codec.h"
#include "formats/shard.h"

#define COORD_MAX (INT64_C(1) << 52)       /* voxel_offset, size; their sum < 2^53 */
#define CHUNK_BYTES_MAX (INT64_C(1) << 31) /* one decoded chunk; a bound of our own */
#define KEY_MAX 512                        /* bytes of a scale's key */

static const char *const encodings[FG_ENCODINGS] = {
    [FG_ENC_RAW] = "raw",
    [FG_ENC_JPEG] = "jpeg",
    [FG_ENC_PNG] = "png",
    [FG_ENC_CSEG] = "compressed_segmentation",
    [FG_ENC_COMPRESSO] = "compresso",
    [FG_ENC_JXL] = "jxl",
};

const char *
fg_encoding_name(enum fg_encoding e)
{
	fg_assert((unsigned)e < FG_ENCODINGS);
	return encodings[e];
}

int
fg_encoding_parse(const char *name, enum fg_encoding *out, struct fg_err *err)
{
	for (int e = 0; e < FG_ENCODINGS; e++) {
		if (strcasecmp(name, encodings[e]) == 0) {
			*out = (enum fg_encoding)e;
			return 0;
		}
	}
	return fg_fail(err, FG_EINVAL, "encoding \"%.40s\" is not known", name);
}

/* --- reading */

/* A directory below the info file: not empty, not absolute, no "..", printable. */
static int
check_path(const char *what, const char *path, struct fg_err *err)
{
	size_t n = strlen(path);

	if (n == 0 || n > KEY_MAX)
		return fg_fail(err, FG_EINVAL, "\"%s\" has %zu bytes, not 1 to %d",
		    what, n, KEY_MAX);
	if (path[0] == '/' || strstr(path, "://"))
		return fg_fail(err, FG_ENOTSUP, "\"%s\": \"%.80s\" is not relative",
		    what, path);
	for (const char *p = path; *p; p++) {
		if ((unsigned char)*p < 0x20 || *p == 0x7f || *p == '\\')
			return fg_fail(err, FG_EINVAL, "\"%s\" has byte 0x%02x at %zu",
			    what, (unsigned char)*p, (size_t)(p - path));
	}
	for (const char *p = path; p; p = strchr(p, '/')) {
		p += *p == '/';
		if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == '\0'))
			return fg_fail(err, FG_ENOTSUP,
			    "\"%s\": \"%.80s\" leaves the layer's directory", what,
			    path);
	}
	return 0;
}

static int
parse_chunk_sizes(const json_t *obj, struct fg_scale *s, struct fg_err *err)
{
	const json_t *list = json_object_get(obj, "chunk_sizes");
	size_t n = json_array_size(list);

	if (!list)
		return fg_fail(err, FG_EINVAL, "\"chunk_sizes\" is missing");
	if (!json_is_array(list) || n == 0)
		return fg_fail(err, FG_EINVAL,
		    "\"chunk_sizes\" is not an array of sizes");
	for (size_t i = 0; i < n; i++) {
		json_t *one =
		    json_pack("{s:O}", "chunk_sizes", json_array_get(list, i));
		int64_t size[3];
		int rc = fg_json_get_int3(one, "chunk_sizes", FG_JSON_NEEDED, 1,
		    INT32_MAX, size, err);

		json_decref(one);
		if (rc < 0)
			return -1;
		if (i == 0)
			memcpy(s->chunk, size, sizeof size);
	}
	if (s->sharding.present && n != 1)
		return fg_fail(err, FG_EINVAL,
		    "\"chunk_sizes\" has %zu sizes; a sharded scale has one", n);
	return 0;
}

/* An optional word that is one of two; *second tells which. */
static int
get_choice(const json_t *obj, const char *key, enum fg_json_need need,
    const char *first_word, const char *second_word, bool *second, struct fg_err *err)
{
	const char *word = first_word;

	if (fg_json_get_string(obj, key, need, &word, err) < 0)
		return -1;
	if (strcasecmp(word, first_word) != 0 && strcasecmp(word, second_word) != 0)
		return fg_fail(err, FG_EINVAL, "\"%s\" is \"%.40s\", not %s or %s", key,
		    word, first_word, second_word);
	*second = strcasecmp(word, second_word) == 0;
	return 0;
}

static int
parse_sharding(const json_t *obj, struct fg_sharding *s, struct fg_err *err)
{
	const json_t *j = json_object_get(obj, "sharding");
	const char *type = "";
	int64_t preshift, minishard, shard;

	if (!j || json_is_null(j))
		return 0;
	if (!json_is_object(j))
		return fg_fail(err, FG_EINVAL, "\"sharding\" is not an object");
	if (fg_json_get_string(j, "@type", FG_JSON_NEEDED, &type, err) < 0)
		goto fail;
	if (strcmp(type, "neuroglancer_uint64_sharded_v1") != 0) {
		fg_fail(err, FG_ENOTSUP, "\"@type\" is \"%.60s\", not %s", type,
		    "neuroglancer_uint64_sharded_v1");
		goto fail;
	}
	if (fg_json_get_int(j, "preshift_bits", FG_JSON_NEEDED, 0, 64, &preshift, err) <
		0 ||
	    fg_json_get_int(j, "minishard_bits", FG_JSON_NEEDED, 0, 32, &minishard,
		err) < 0 ||
	    fg_json_get_int(j, "shard_bits", FG_JSON_NEEDED, 0, 64 - minishard, &shard,
		err) < 0 ||
	    get_choice(j, "hash", FG_JSON_NEEDED, "identity", "murmurhash3_x86_128",
		&s->murmur, err) < 0 ||
	    get_choice(j, "minishard_index_encoding", FG_JSON_OPTIONAL, "raw", "gzip",
		&s->index_gzip, err) < 0 ||
	    get_choice(j, "data_encoding", FG_JSON_OPTIONAL, "raw", "gzip",
		&s->data_gzip, err) < 0)
		goto fail;
	s->present = true;
	s->preshift_bits = (int)preshift;
	s->minishard_bits = (int)minishard;
	s->shard_bits = (int)shard;
	return 0;
fail:
	return fg_err_prefix(err, "sharding");
}

static int
parse_encoding(const json_t *obj, struct fg_scale *s, struct fg_err *err)
{
	const char *word;
	int64_t quality = -1, level = -1, jxl_quality = 0, jxl_effort = 0;

	if (fg_json_get_string(obj, "encoding", FG_JSON_NEEDED, &word, err) < 0 ||
	    fg_encoding_parse(word, &s->encoding, err) < 0 ||
	    fg_json_get_int(obj, "jpeg_quality", FG_JSON_OPTIONAL, 0, 100, &quality,
		err) < 0 ||
	    fg_json_get_int(obj, "png_level", FG_JSON_OPTIONAL, 0, 9, &level, err) <
		0 ||
	    fg_json_get_int(obj, "jxl_quality", FG_JSON_OPTIONAL, 0, 100, &jxl_quality,
		err) < 0 ||
	    fg_json_get_int(obj, "jxl_effort", FG_JSON_OPTIONAL, 0, 10, &jxl_effort,
		err) < 0)
		return -1;
	s->jpeg_quality = (int)quality;
	s->png_level = (int)level;
	s->jxl_quality = (int)jxl_quality;
	s->jxl_effort = (int)jxl_effort;
	for (int d = 0; d < 3; d++)
		s->cseg_block[d] = 8;
	if (s->encoding != FG_ENC_CSEG)
		return 0;
	if (fg_json_get_int3(obj, "compressed_segmentation_block_size", FG_JSON_NEEDED,
		1, FG_CSEG_BLOCK_MAX, s->cseg_block, err) < 0)
		return -1;
	if (s->cseg_block[0] * s->cseg_block[1] * s->cseg_block[2] > FG_CSEG_BLOCK_MAX)
		return fg_fail(err, FG_EINVAL,
		    "\"compressed_segmentation_block_size\" is %lld voxels, more than "
		    "%d",
		    (long long)(s->cseg_block[0] * s->cseg_block[1] * s->cseg_block[2]),
		    FG_CSEG_BLOCK_MAX);
	return 0;
}

/* What one decoded chunk takes; every decoder allocates no more than a few of it. */
static int
check_chunk_bytes(const struct fg_info *info, const struct fg_scale *s,
    struct fg_err *err)
{
	int64_t n = (int64_t)fg_dtype_size(info->dtype) * info->channels;

	for (int d = 0; d < 3; d++) {
		int64_t extent = FG_MIN(s->chunk[d], s->size[d]);

		if (n > CHUNK_BYTES_MAX / extent)
			return fg_fail(err, FG_EINVAL,
			    "chunks of %lld x %lld x %lld voxels are above %lld bytes",
			    (long long)s->chunk[0], (long long)s->chunk[1],
			    (long long)s->chunk[2], (long long)CHUNK_BYTES_MAX);
		n *= extent;
	}
	return 0;
}

static int
check_shard_keys(const struct fg_scale *s, struct fg_err *err)
{
	int64_t grid[3];

	fg_scale_grid(s, grid);
	if (s->sharding.present && fg_shard_key_bits(grid) > 64)
		return fg_fail(err, FG_ENOTSUP,
		    "sharded, with more chunks than 64-bit keys can tell apart");
	return 0;
}

static int
parse_scale(const json_t *obj, const struct fg_info *info, struct fg_scale *s,
    struct fg_err *err)
{
	struct fg_err fits = FG_ERR_INIT;
	const char *key;

	if (!json_is_object(obj))
		return fg_fail(err, FG_EINVAL, "not an object");
	if (fg_json_get_string(obj, "key", FG_JSON_NEEDED, &key, err) < 0 ||
	    check_path("key", key, err) < 0)
		return -1;
	s->key = fg_strdup(key);
	if (fg_json_get_int3(obj, "size", FG_JSON_NEEDED, 1, COORD_MAX, s->size, err) <
		0 ||
	    fg_json_get_int3(obj, "voxel_offset", FG_JSON_OPTIONAL, -COORD_MAX,
		COORD_MAX, s->offset, err) < 0 ||
	    fg_json_get_real3(obj, "resolution", FG_JSON_NEEDED, 1e-9, 1e15, s->nm,
		err) < 0 ||
	    fg_json_get_bool(obj, "hidden", FG_JSON_OPTIONAL, &s->hidden, err) < 0 ||
	    parse_sharding(obj, &s->sharding, err) < 0 ||
	    parse_chunk_sizes(obj, s, err) < 0 || parse_encoding(obj, s, err) < 0 ||
	    check_chunk_bytes(info, s, err) < 0 || check_shard_keys(s, err) < 0)
		return -1;
	/* An encoding that this build lacks may be served as it is. */
	if (fg_codec_check(s->encoding, info->dtype, info->channels, &fits) < 0 &&
	    fits.code != FG_ENOTSUP)
		return fg_fail(err, fits.code, "%s", fits.msg);
	return 0;
}

/* What concerns scale i and those before it. */
static int
check_order(const struct fg_info *info, int i, struct fg_err *err)
{
	const struct fg_scale *s = &info->scale[i];

	for (int k = 0; k < i; k++) {
		if (strcmp(info->scale[k].key, s->key) == 0)
			return fg_fail(err, FG_EINVAL,
			    "\"key\" \"%.80s\" is that of scale %d", s->key, k);
	}
	for (int d = 0; i > 0 && d < 3; d++) {
		if (s->nm[d] < info->scale[i - 1].nm[d])
			return fg_fail(err, FG_EINVAL,
			    "\"resolution\" is %g, finer than the %g before it",
			    s->nm[d], info->scale[i - 1].nm[d]);
	}
	return 0;
}

static int
parse_scales(const json_t *root, struct fg_info *info, struct fg_err *err)
{
	const json_t *list = json_object_get(root, "scales");
	size_t n = json_array_size(list);

	if (!list)
		return fg_fail(err, FG_EINVAL, "\"scales\" is missing");
	if (!json_is_array(list) || n == 0)
		return fg_fail(err, FG_EINVAL, "\"scales\" is not an array of scales");
	if (n > FG_SCALES_MAX)
		return fg_fail(err, FG_EINVAL, "\"scales\" has %zu entries, at most %d",
		    n, FG_SCALES_MAX);
	for (size_t i = 0; i < n; i++) {
		info->scales = (int)i + 1;
		if (parse_scale(json_array_get(list, i), info, &info->scale[i], err) <
			0 ||
		    check_order(info, (int)i, err) < 0)
			return fg_err_prefix(err, "scale %zu", i);
	}
	return 0;
}

static int
get_directory(const json_t *root, const char *key, char **out, struct fg_err *err)
{
	const char *path = NULL;

	if (fg_json_get_string(root, key, FG_JSON_OPTIONAL, &path, err) < 0)
		return -1;
	if (!path || !*path)
		return 0;
	if (check_path(key, path, err) < 0)
		return -1;
	*out = fg_strdup(path);
	return 0;
}

/* What stands alone, by its "@type". */
static const struct alone {
	const char *at_type;
	enum fg_volume_type type;
} alone[] = {
    {"neuroglancer_annotations_v1", FG_ONLY_ANNOTATIONS},
    {"neuroglancer_skeletons", FG_ONLY_SKELETONS},
    {"neuroglancer_legacy_mesh", FG_ONLY_MESHES},
    {"neuroglancer_multilod_draco", FG_ONLY_MESHES},
    {"neuroglancer_segment_properties", FG_ONLY_PROPERTIES},
};

static const struct alone *
find_alone(const json_t *root)
{
	const char *at_type = json_string_value(json_object_get(root, "@type"));

	for (size_t i = 0; at_type && i < FG_COUNTOF(alone); i++) {
		if (strcmp(alone[i].at_type, at_type) == 0)
			return &alone[i];
	}
	return NULL;
}

const char *
fg_volume_type_name(enum fg_volume_type t)
{
	static const char *const names[] = {"image", "segmentation", "annotations",
	    "skeletons", "meshes", "segment_properties"};

	return names[t];
}

static int
parse_alone(const json_t *root, const struct alone *a, struct fg_info *info,
    struct fg_err *err)
{
	static const char *const shapes[] = {"POINT", "LINE",
	    "AXIS_ALIGNED_BOUNDING_BOX", "ELLIPSOID", "POLYLINE"};
	const char *shape = NULL;
	int64_t bits = 0;
	size_t i = 0;

	info->type = a->type;
	info->at_type = a->at_type;
	if (a->type == FG_ONLY_ANNOTATIONS) {
		if (fg_json_get_string(root, "annotation_type", FG_JSON_NEEDED, &shape,
			err) < 0)
			return -1;
		while (i < FG_COUNTOF(shapes) && strcasecmp(shapes[i], shape) != 0)
			i++;
		if (i == FG_COUNTOF(shapes))
			return fg_fail(err, FG_EINVAL,
			    "\"annotation_type\" is \"%.40s\", wanted POINT, LINE, "
			    "AXIS_ALIGNED_BOUNDING_BOX, ELLIPSOID or POLYLINE",
			    shape);
		if (!json_is_object(json_object_get(root, "dimensions")))
			return fg_fail(err, FG_EINVAL, "\"dimensions\" is no object");
		return 0;
	}
	if (a->type == FG_ONLY_PROPERTIES &&
	    !json_is_object(json_object_get(root, "inline")))
		return fg_fail(err, FG_EINVAL, "\"inline\" is no object");
	if (strcmp(a->at_type, "neuroglancer_multilod_draco") != 0)
		return 0;
	if (fg_json_get_int(root, "vertex_quantization_bits", FG_JSON_NEEDED, 10, 16,
		&bits, err) < 0)
		return -1;
	if (bits != 10 && bits != 16)
		return fg_fail(err, FG_EINVAL,
		    "\"vertex_quantization_bits\" is %lld, wanted 10 or 16",
		    (long long)bits);
	return 0;
}

static int
parse_type(const json_t *root, struct fg_info *info, struct fg_err *err)
{
	const char *at_type = "neuroglancer_multiscale_volume", *redirect = NULL;
	const char *dtype;
	int64_t channels;
	bool segmentation;

	if (fg_json_get_string(root, "redirect", FG_JSON_OPTIONAL, &redirect, err) < 0)
		return -1;
	if (redirect)
		return fg_fail(err, FG_ENOTSUP, "redirects to \"%.200s\"", redirect);
	if (fg_json_get_string(root, "@type", FG_JSON_OPTIONAL, &at_type, err) < 0)
		return -1;
	if (strcmp(at_type, "neuroglancer_multiscale_volume") != 0)
		return fg_fail(err, FG_ENOTSUP, "\"@type\" is \"%.60s\", not a volume",
		    at_type);
	if (get_choice(root, "type", FG_JSON_NEEDED, "image", "segmentation",
		&segmentation, err) < 0 ||
	    fg_json_get_string(root, "data_type", FG_JSON_NEEDED, &dtype, err) < 0 ||
	    fg_dtype_parse(dtype, &info->dtype, err) < 0 ||
	    fg_json_get_int(root, "num_channels", FG_JSON_NEEDED, 1, 1024, &channels,
		err) < 0)
		return -1;
	info->type = segmentation ? FG_SEGMENTATION : FG_IMAGE;
	info->channels = (int)channels;
	if (segmentation && channels != 1)
		return fg_fail(err, FG_EINVAL,
		    "\"num_channels\" is %d; a segmentation has 1", info->channels);
	if (segmentation && info->dtype == FG_F32)
		return fg_fail(err, FG_EINVAL,
		    "\"data_type\" is float32; a segmentation has whole numbers");
	return 0;
}

static int
parse_root(const json_t *root, bool any, struct fg_info *info, struct fg_err *err)
{
	const struct alone *a = any ? find_alone(root) : NULL;

	if (!json_is_object(root))
		return fg_fail(err, FG_EINVAL, "not a JSON object");
	if (a)
		return parse_alone(root, a, info, err);
	if (parse_type(root, info, err) < 0 || parse_scales(root, info, err) < 0)
		return -1;
	if (info->type == FG_IMAGE)
		return 0; /* the next three are defined for segmentations only */
	if (get_directory(root, "mesh", &info->mesh, err) < 0 ||
	    get_directory(root, "skeletons", &info->skeletons, err) < 0 ||
	    get_directory(root, "segment_properties", &info->segment_properties, err) <
		0)
		return -1;
	return 0;
}

static int
parse(const char *text, size_t n, bool any, struct fg_info *info, struct fg_err *err)
{
	json_t *root;
	int rc;

	memset(info, 0, sizeof *info);
	root = fg_json_parse(text, n, "info", err);
	if (!root)
		return -1;
	rc = parse_root(root, any, info, err);
	json_decref(root);
	if (rc < 0) {
		fg_info_fini(info);
		return fg_err_prefix(err, "info");
	}
	return 0;
}

int
fg_info_parse(const char *text, size_t n, struct fg_info *info, struct fg_err *err)
{
	return parse(text, n, false, info, err);
}

int
fg_info_parse_any(const char *text, size_t n, struct fg_info *info, struct fg_err *err)
{
	return parse(text, n, true, info, err);
}

void
fg_info_fini(struct fg_info *info)
{
	for (int i = 0; i < info->scales; i++)
		free(info->scale[i].key);
	free(info->mesh);
	free(info->skeletons);
	free(info->segment_properties);
	memset(info, 0, sizeof *info);
}

static char *
dup_or_null(const char *s)
{
	return s ? fg_strdup(s) : NULL;
}

void
fg_info_copy(struct fg_info *dst, const struct fg_info *src)
{
	*dst = *src;
	for (int i = 0; i < src->scales; i++)
		dst->scale[i].key = dup_or_null(src->scale[i].key);
	dst->mesh = dup_or_null(src->mesh);
	dst->skeletons = dup_or_null(src->skeletons);
	dst->segment_properties = dup_or_null(src->segment_properties);
}

/* --- writing */

json_t *
fg_sharding_format(const struct fg_sharding *s)
{
	return json_pack("{s:s, s:i, s:s, s:i, s:i, s:s, s:s}", "@type",
	    "neuroglancer_uint64_sharded_v1", "preshift_bits", s->preshift_bits, "hash",
	    s->murmur ? "murmurhash3_x86_128" : "identity", "minishard_bits",
	    s->minishard_bits, "shard_bits", s->shard_bits, "minishard_index_encoding",
	    s->index_gzip ? "gzip" : "raw", "data_encoding",
	    s->data_gzip ? "gzip" : "raw");
}

static json_t *
format_scale(const struct fg_scale *s)
{
	json_t *j = json_object();

	json_object_set_new(j, "key", json_string(s->key));
	json_object_set_new(j, "size", fg_json_int3(s->size));
	json_object_set_new(j, "resolution", fg_json_real3(s->nm));
	json_object_set_new(j, "voxel_offset", fg_json_int3(s->offset));
	json_object_set_new(j, "chunk_sizes", json_pack("[o]", fg_json_int3(s->chunk)));
	json_object_set_new(j, "encoding", json_string(fg_encoding_name(s->encoding)));
	if (s->encoding == FG_ENC_CSEG)
		json_object_set_new(j, "compressed_segmentation_block_size",
		    fg_json_int3(s->cseg_block));
	if (s->jpeg_quality >= 0)
		json_object_set_new(j, "jpeg_quality", json_integer(s->jpeg_quality));
	if (s->png_level >= 0)
		json_object_set_new(j, "png_level", json_integer(s->png_level));
	if (s->jxl_quality > 0)
		json_object_set_new(j, "jxl_quality", json_integer(s->jxl_quality));
	if (s->jxl_effort > 0)
		json_object_set_new(j, "jxl_effort", json_integer(s->jxl_effort));
	if (s->hidden)
		json_object_set_new(j, "hidden", json_true());
	if (s->sharding.present)
		json_object_set_new(j, "sharding", fg_sharding_format(&s->sharding));
	return j;
}

/* No more than what reads again as the same: the file itself is served as it is. */
static json_t *
format_alone(const struct fg_info *info)
{
	json_t *j = json_pack("{s:s}", "@type", info->at_type);

	if (info->type == FG_ONLY_ANNOTATIONS)
		json_object_update_new(j,
		    json_pack("{s:s, s:{}}", "annotation_type", "POINT", "dimensions"));
	else if (info->type == FG_ONLY_PROPERTIES)
		json_object_set_new(j, "inline", json_object());
	else if (strcmp(info->at_type, "neuroglancer_multilod_draco") == 0)
		json_object_set_new(j, "vertex_quantization_bits", json_integer(16));
	return j;
}

json_t *
fg_info_format(const struct fg_info *info)
{
	json_t *j, *scales;

	if (info->at_type)
		return format_alone(info);
	j = json_object();
	scales = json_array();
	json_object_set_new(j, "@type", json_string("neuroglancer_multiscale_volume"));
	json_object_set_new(j, "type",
	    json_string(info->type == FG_SEGMENTATION ? "segmentation" : "image"));
	json_object_set_new(j, "data_type", json_string(fg_dtype_name(info->dtype)));
	json_object_set_new(j, "num_channels", json_integer(info->channels));
	for (int i = 0; i < info->scales; i++)
		json_array_append_new(scales, format_scale(&info->scale[i]));
	json_object_set_new(j, "scales", scales);
	if (info->mesh)
		json_object_set_new(j, "mesh", json_string(info->mesh));
	if (info->skeletons)
		json_object_set_new(j, "skeletons", json_string(info->skeletons));
	if (info->segment_properties)
		json_object_set_new(j, "segment_properties",
		    json_string(info->segment_properties));
	return j;
}

/* --- the grid */

int
fg_info_find_scale(const struct fg_info *info, const char *key, size_t n)
{
	for (int i = 0; i < info->scales; i++) {
		const char *k = info->scale[i].key;

		if (strlen(k) == n && memcmp(k, key, n) == 0)
			return i;
	}
	return -1;
}

void
fg_scale_grid(const struct fg_scale *s, int64_t grid[3])
{
	for (int d = 0; d < 3; d++)
		grid[d] = fg_div_ceil(s->size[d], s->chunk[d]);
}

void
fg_scale_bounds(const struct fg_scale *s, struct fg_box *vx)
{
	for (int d = 0; d < 3; d++) {
		vx->lo[d] = s->offset[d];
		vx->hi[d] = s->offset[d] + s->size[d];
	}
}

void
fg_scale_chunk_box(const struct fg_scale *s, const int64_t ch[3], struct fg_box *vx)
{
	for (int d = 0; d < 3; d++) {
		fg_assert(ch[d] >= 0 && ch[d] < fg_div_ceil(s->size[d], s->chunk[d]));
		vx->lo[d] = s->offset[d] + ch[d] * s->chunk[d];
		vx->hi[d] = FG_MIN(vx->lo[d] + s->chunk[d], s->offset[d] + s->size[d]);
	}
}

void
fg_chunk_name_format(const struct fg_box *vx, char out[FG_CHUNK_NAME])
{
	snprintf(out, FG_CHUNK_NAME, "%lld-%lld_%lld-%lld_%lld-%lld",
	    (long long)vx->lo[0], (long long)vx->hi[0], (long long)vx->lo[1],
	    (long long)vx->hi[1], (long long)vx->lo[2], (long long)vx->hi[2]);
}

/* One number at *p, which moves behind it. 16 digits hold every coordinate. */
static bool
parse_coord(const char **p, const char *end, int64_t *out)
{
	const char *q = *p;
	bool minus = q < end && *q == '-';
	int64_t v = 0;
	int digits = 0;

	q += minus;
	for (; q < end && *q >= '0' && *q <= '9'; q++, digits++) {
		if (digits == 16 || (digits == 1 && v == 0))
			return false;
		v = v * 10 + (*q - '0');
	}
	if (digits == 0 || (minus && v == 0) || v > 2 * COORD_MAX)
		return false;
	*out = minus ? -v : v;
	*p = q;
	return true;
}

static bool
parse_byte(const char **p, const char *end, char want)
{
	if (*p == end || **p != want)
		return false;
	++*p;
	return true;
}

bool
fg_chunk_name_parse(const char *text, size_t n, struct fg_box *vx)
{
	const char *p = text, *end = text + n;
	struct fg_box b;

	for (int d = 0; d < 3; d++) {
		if ((d > 0 && !parse_byte(&p, end, '_')) ||
		    !parse_coord(&p, end, &b.lo[d]) || !parse_byte(&p, end, '-') ||
		    !parse_coord(&p, end, &b.hi[d]) || b.lo[d] >= b.hi[d])
			return false;
	}
	if (p != end)
		return false;
	*vx = b;
	return true;
}

bool
fg_scale_chunk_find(const struct fg_scale *s, const struct fg_box *vx, int64_t ch[3])
{
	int64_t at[3];
	struct fg_box want;

	for (int d = 0; d < 3; d++) {
		if (vx->lo[d] < s->offset[d] || vx->lo[d] >= s->offset[d] + s->size[d])
			return false;
		at[d] = (vx->lo[d] - s->offset[d]) / s->chunk[d];
	}
	fg_scale_chunk_box(s, at, &want);
	if (!fg_box_equal(vx, &want))
		return false;
	memcpy(ch, at, sizeof at);
	return true;
}
