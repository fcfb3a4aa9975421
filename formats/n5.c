/* SPDX-License-Identifier: Apache-2.0 */
/*
 * N5 datasets (github.com/saalfeldlab/n5, "File-system specification"): attributes.json
 * with "dimensions", "blockSize", "dataType" and "compression", blocks as files I/J/K.
 * A folder without "dimensions" whose s0, s1, ... are datasets is read as scales.
 *
 *   block: mode u16, axes u16, extent u32 each (all big-endian) | values, big-endian
 *
 * The first axis is x and the fastest. Read: raw, gzip, zstd, blosc.
 */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "formats/pieces.h"

struct n5 {
	struct fg_pieces scale[FG_SCALES_MAX];
};

static char *
piece_name(const struct fg_pieces *p, const int64_t *at)
{
	struct fg_str s = FG_STR_INIT;

	for (int i = 0; i < p->axes.rank; i++)
		fg_str_putf(&s, i > 0 ? "/%lld" : "%lld", (long long)at[i]);
	return s.data;
}

static uint32_t
get_u32be(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int
piece_open(const struct fg_pieces *p, const struct fg_buf *b, const uint8_t **values,
    int64_t *size, struct fg_err *err)
{
	int rank = p->axes.rank;
	size_t head = 4 + 4 * (size_t)rank, want = fg_dtype_size(p->dtype);

	if (b->len < head)
		return fg_fail(err, FG_ECORRUPT, "block of %zu bytes without header",
		    b->len);
	if (b->data[0] || b->data[1])
		return fg_fail(err, FG_ENOTSUP, "block of mode %d",
		    b->data[0] << 8 | b->data[1]);
	if ((b->data[2] << 8 | b->data[3]) != rank)
		return fg_fail(err, FG_ECORRUPT, "block of %d axes, not %d",
		    b->data[2] << 8 | b->data[3], rank);
	for (int i = 0; i < rank; i++) {
		size[i] = get_u32be(b->data + 4 + 4 * i);
		if (size[i] < 1 || size[i] > p->chunk[i])
			return fg_fail(err, FG_ECORRUPT,
			    "block has extent %lld on axis %d, at most %lld",
			    (long long)size[i], i, (long long)p->chunk[i]);
		want *= (size_t)size[i];
	}
	if (b->len - head != want)
		return fg_fail(err, FG_ECORRUPT, "block of %zu bytes, wanted %zu",
		    b->len - head, want);
	*values = b->data + head;
	return 0;
}

static int
parse_compression(struct fg_pieces *p, const json_t *j, struct fg_err *err)
{
	const json_t *c = json_object_get(j, "compression");
	const char *type = "raw";

	if (!c)
		return fg_json_get_string(j, "compressionType", FG_JSON_OPTIONAL, &type,
			   err) < 0
			   ? -1
			   : fg_pieces_add_coding(p, type, err);
	if (fg_json_get_string(c, "type", FG_JSON_NEEDED, &type, err) < 0)
		return fg_err_prefix(err, "compression");
	if (strcmp(type, "gzip") == 0 && json_is_true(json_object_get(c, "useZlib")))
		type = "zlib";
	return fg_pieces_add_coding(p, type, err);
}

/* "pixelResolution": {"dimensions": [...], "unit": "nm"} or "resolution": [...] */
static void
read_resolution(const json_t *j, const struct fg_axes *a, double nm[3])
{
	const json_t *r = json_object_get(j, "pixelResolution");
	const json_t *list = json_is_object(r) ? json_object_get(r, "dimensions") : r;
	double unit = fg_pieces_unit(json_string_value(json_object_get(r, "unit")));

	if (!list)
		list = json_object_get(j, "resolution");
	if (json_array_size(list) < 3)
		return;
	for (int i = 0, k = 0; i < a->rank && k < 3; i++) {
		double v = json_number_value(json_array_get(list, (size_t)k));

		if (a->of[i] >= 0 && a->of[i] < 3) {
			nm[a->of[i]] = v > 0 ? v * unit : 0;
			k++;
		}
	}
}

static int
add_dataset(struct fg_foreign *r, const char *dir, const json_t *j, const char *axes,
    struct fg_err *err)
{
	static const char *const usual[] =
	    {[2] = "xy", [3] = "xyz", [4] = "xyzc", [5] = "xyzct"};
	struct n5 *n = r->priv;
	struct fg_pieces *p = &n->scale[r->scales];
	int64_t size[FG_FOREIGN_AXES], ours[4];
	int rank = 0, chunk_rank = 0;
	const char *type;

	p->dir = fg_strdup(dir);
	p->name = piece_name;
	p->open = piece_open;
	p->swap = true;
	p->outer = true;
	if (fg_pieces_numbers(j, "dimensions", 1, (int64_t)1 << 40, size, &rank, err) <
		0 ||
	    fg_pieces_numbers(j, "blockSize", 1, INT32_MAX, p->chunk, &chunk_rank,
		err) < 0 ||
	    fg_json_get_string(j, "dataType", FG_JSON_NEEDED, &type, err) < 0 ||
	    fg_pieces_type(p, type, err) < 0 || parse_compression(p, j, err) < 0 ||
	    fg_axes_parse(&p->axes, axes, rank >= 2 ? usual[rank] : NULL, rank, size,
		ours, err) < 0 ||
	    fg_pieces_check(p, chunk_rank, err) < 0)
		return -1;
	if (r->scales > 0 && (p->dtype != r->dtype || ours[3] != r->channels))
		return fg_fail(err, FG_ENOTSUP,
		    "scales of different types or channels");
	p->header_max = 4 + 4 * (size_t)rank;
	r->dtype = p->dtype;
	r->channels = (int)ours[3];
	memcpy(r->scale[r->scales].size, ours, sizeof r->scale[0].size);
	for (int i = 0; i < rank; i++) {
		if (p->axes.of[i] >= 0 && p->axes.of[i] < 3)
			r->scale[r->scales].chunk[p->axes.of[i]] = p->chunk[i];
	}
	read_resolution(j, &p->axes, r->scale[r->scales].nm);
	r->scales++;
	return 0;
}

/* s0, s1, ... below a folder. */
static int
open_scales(struct fg_foreign *r, const char *path, const json_t *group,
    const char *axes, struct fg_err *err)
{
	struct n5 *n = r->priv;

	for (int i = 0; i < FG_SCALES_MAX; i++) {
		char *dir = fg_asprintf("%s/s%d", path, i);
		json_t *j = NULL;
		int rc = fg_pieces_json(dir, "attributes.json", &j, err);

		if (rc == 0 && j)
			rc = add_dataset(r, dir, j, axes, err);
		if (rc == 0 && j && i == 0)
			read_resolution(group, &n->scale[0].axes, r->scale[0].nm);
		free(dir);
		if (rc < 0) {
			json_decref(j);
			return fg_err_prefix(err, "s%d", i);
		}
		if (!j)
			break;
		json_decref(j);
	}
	if (r->scales == 0)
		return fg_fail(err, FG_ENOENT,
		    "no N5 dataset: there is neither attributes.json with "
		    "\"dimensions\" nor s0");
	return 0;
}

static int
n5_open(struct fg_foreign *r, const char *path, const char *axes, struct fg_err *err)
{
	json_t *j = NULL;
	int rc;

	r->priv = fg_calloc(1, sizeof(struct n5));
	if (fg_pieces_json(path, "attributes.json", &j, err) < 0)
		return -1;
	rc = json_object_get(j, "dimensions") ? add_dataset(r, path, j, axes, err)
					      : open_scales(r, path, j, axes, err);
	json_decref(j);
	return rc;
}

static int
n5_box(struct fg_foreign *r, int scale, const struct fg_box *vx, struct fg_array *out,
    struct fg_err *err)
{
	struct n5 *n = r->priv;

	return fg_pieces_box(&n->scale[scale], vx, out, err);
}

static void
n5_close(struct fg_foreign *r)
{
	struct n5 *n = r->priv;

	for (int i = 0; i < FG_SCALES_MAX; i++)
		fg_pieces_fini(&n->scale[i]);
	free(n);
}

const struct fg_foreign_ops fg_n5_ops = {"n5", n5_open, n5_box, n5_close};
