/* SPDX-License-Identifier: Apache-2.0 */
/* Choosing the kind of a file, and the order of axes; see the header. */
#include "config.h"

#include "formats/foreign.h"

#include <stdlib.h>

static const struct fg_foreign_ops *const kinds[] = {&fg_hdf5_ops, &fg_tiff_ops,
    &fg_zarr_ops, &fg_n5_ops, &fg_nifti_ops, &fg_npy_ops, &fg_sections_ops};

struct fg_foreign *
fg_foreign_open(const char *kind, const char *path, const char *axes,
    struct fg_err *err)
{
	struct fg_foreign *r;

	for (size_t i = 0; i < FG_COUNTOF(kinds); i++) {
		if (strcmp(kinds[i]->kind, kind) != 0)
			continue;
		r = fg_calloc(1, sizeof *r);
		r->ops = kinds[i];
		if (r->ops->open(r, path, axes, err) == 0)
			return r;
		fg_err_prefix(err, "%s", path);
		fg_foreign_close(r);
		return NULL;
	}
	return fg_fail_null(err, FG_ENOTSUP, "files of kind \"%.20s\" are not read",
	    kind);
}

void
fg_foreign_close(struct fg_foreign *r)
{
	if (!r)
		return;
	r->ops->close(r);
	free(r);
}

int
fg_foreign_box(struct fg_foreign *r, int scale, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err)
{
	int64_t n[3];

	fg_assert(scale >= 0 && scale < r->scales);
	fg_box_shape(vx, n);
	for (int d = 0; d < 3; d++)
		fg_assert(vx->lo[d] >= 0 && vx->lo[d] < vx->hi[d] &&
			  vx->hi[d] <= r->scale[scale].size[d]);
	fg_assert(out->dtype == r->dtype && out->shape[3] == r->channels &&
		  memcmp(out->shape, n, sizeof n) == 0);
	memset(out->data, 0, fg_array_bytes(out));
	return r->ops->box(r, scale, vx, out, err);
}

/* --- axes */

int
fg_axes_parse(struct fg_axes *a, const char *text, const char *usual, int rank,
    const int64_t *size, int64_t shape[4], struct fg_err *err)
{
	static const char ours[] = "xyzc";
	bool seen[4] = {false};

	if (!text)
		text = usual;
	if (rank < 2 || rank > FG_FOREIGN_AXES || !text)
		return fg_fail(err, FG_ENOTSUP,
		    "%d axes: the order cannot be told, give it as axes=...", rank);
	if (strlen(text) != (size_t)rank)
		return fg_fail(err, FG_EINVAL, "axes \"%.20s\" for an array of %d axes",
		    text, rank);
	*a = (struct fg_axes){.rank = rank};
	for (int d = 0; d < 4; d++)
		shape[d] = 1;
	for (int i = 0; i < rank; i++) {
		const char *at = strchr(ours, text[i]);

		if (size[i] < 1 || size[i] > (int64_t)1 << 40)
			return fg_fail(err, FG_EINVAL, "axis %c has extent %lld",
			    text[i], (long long)size[i]);
		a->size[i] = size[i];
		a->of[i] = -1;
		if (!at && size[i] != 1)
			return fg_fail(err, FG_ENOTSUP,
			    "axis %c has extent %lld; only x, y, z and c may have more "
			    "than 1",
			    text[i], (long long)size[i]);
		if (!at)
			continue;
		if (seen[at - ours])
			return fg_fail(err, FG_EINVAL, "axes \"%.20s\": %c twice", text,
			    text[i]);
		seen[at - ours] = true;
		a->of[i] = (int8_t)(at - ours);
		shape[at - ours] = size[i];
	}
	if (!seen[0] || !seen[1])
		return fg_fail(err, FG_EINVAL, "axes \"%.20s\" without x or y", text);
	if (shape[3] > 1024)
		return fg_fail(err, FG_ENOTSUP, "%lld channels, at most 1024",
		    (long long)shape[3]);
	return 0;
}

static void
copy_value(uint8_t *to, const uint8_t *from, size_t width, bool swap)
{
	if (!swap) {
		switch (width) {
		case 1:
			*to = *from;
			return;
		case 2:
			memcpy(to, from, 2);
			return;
		case 4:
			memcpy(to, from, 4);
			return;
		default:
			memcpy(to, from, 8);
			return;
		}
	}
	for (size_t i = 0; i < width; i++)
		to[i] = from[width - 1 - i];
}

void
fg_axes_copy(const struct fg_axes *a, const void *piece, const int64_t *lo,
    const int64_t *size, bool c_order, bool swap, const struct fg_box *vx,
    struct fg_array *out)
{
	size_t width = fg_dtype_size(out->dtype);
	int64_t from[4] = {0, 0, 0, 0}, to[4] = {1, 1, 1, 1}, step[4] = {0, 0, 0, 0};
	int64_t base[4] = {0, 0, 0, 0}, stride = (int64_t)width;

	/* from, to: the piece's box in our axes; step: bytes between its neighbours */
	for (int k = 0; k < a->rank; k++) {
		int i = c_order ? a->rank - 1 - k : k;

		if (a->of[i] >= 0) {
			from[a->of[i]] = base[a->of[i]] = lo[i];
			to[a->of[i]] = lo[i] + size[i];
			step[a->of[i]] = stride;
		}
		stride *= size[i];
	}
	for (int d = 0; d < 3; d++) {
		from[d] = FG_MAX(from[d], vx->lo[d]);
		to[d] = FG_MIN(to[d], vx->hi[d]);
	}
	to[3] = FG_MIN(to[3], out->shape[3]);
	for (int64_t c = from[3]; c < to[3]; c++) {
		for (int64_t z = from[2]; z < to[2]; z++) {
			for (int64_t y = from[1]; y < to[1]; y++) {
				const uint8_t *p =
				    (const uint8_t *)piece + (c - base[3]) * step[3] +
				    (z - base[2]) * step[2] + (y - base[1]) * step[1] +
				    (from[0] - base[0]) * step[0];
				uint8_t *q =
				    (uint8_t *)out->data +
				    ((size_t)(((c * out->shape[2] + z - vx->lo[2]) *
						      out->shape[1] +
						  y - vx->lo[1]) *
					      out->shape[0]) +
					(size_t)(from[0] - vx->lo[0])) *
					width;
				int64_t n = to[0] - from[0];

				if (n > 0 && !swap && step[0] == (int64_t)width) {
					memcpy(q, p, (size_t)n * width);
					continue;
				}
				for (; n > 0; n--, p += step[0], q += width)
					copy_value(q, p, width, swap);
			}
		}
	}
}
