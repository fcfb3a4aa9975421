/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NumPy arrays read where they are, a part at a time (.npy; also gzipped). C order is
 * zyx or zyxc unless the option says otherwise, Fortran order xyz or xyzc.
 */
#include "config.h"

#include <stdlib.h>
#include <unistd.h>

#include "formats/flat.h"
#include "formats/npy.h"

/* Longest header that is read: numpy's is 128 bytes. */
#define HEAD_MAX 65536

/* The header, as much of it as there is. */
static int
read_head(struct fg_flat *f, struct fg_npy_head *h, struct fg_err *err)
{
	uint8_t *p = fg_alloc(HEAD_MAX);
	size_t n = 12;
	int rc = fg_flat_read(f, 0, p, n, err);

	if (rc < 0)
		fg_err_prefix(err, "npy header");
	if (rc == 0 && memcmp(p, "\x93NUMPY", 6) == 0)
		n = p[6] == 1 ? (size_t)fg_get_u16le(p + 8) + 10
			      : (size_t)fg_get_u32le(p + 8) + 12;
	if (rc == 0 && n > HEAD_MAX)
		rc = fg_fail(err, FG_ENOTSUP, "npy: a header of %zu bytes", n);
	if (rc == 0 && n > 12)
		rc = fg_flat_read(f, 0, p, n, err);
	if (rc == 0)
		rc = fg_npy_probe(p, FG_MAX(n, 12), h, err);
	free(p);
	return rc;
}

static int
parse_axes(struct fg_flat *f, const struct fg_npy_head *h, const char *axes,
    int64_t shape[4], struct fg_err *err)
{
	static const char *const usual[2][4] = {{"yx", "yx", "zyx", "zyxc"},
	    {"xy", "xy", "xyz", "xyzc"}}; /* [fortran][rank - 1] */
	int64_t size[4];

	memcpy(size, h->shape, sizeof size);
	if (h->rank == 1) { /* a row */
		size[0] = h->fortran ? h->shape[0] : 1;
		size[1] = h->fortran ? 1 : h->shape[0];
	}
	f->c_order = !h->fortran;
	return fg_axes_parse(&f->axes, axes, usual[h->fortran][h->rank - 1],
	    FG_MAX(h->rank, 2), size, shape, err);
}

static int
npy_open(struct fg_foreign *r, const char *path, const char *axes, struct fg_err *err)
{
	struct fg_flat *f = fg_calloc(1, sizeof *f);
	struct fg_npy_head h;
	int64_t shape[4];

	r->priv = f;
	pthread_mutex_init(&f->lock, NULL);
	if (fg_flat_open(f, path, err) < 0 || read_head(f, &h, err) < 0 ||
	    parse_axes(f, &h, axes, shape, err) < 0)
		return -1;
	f->offset = h.values;
	f->stored = h.dtype;
	f->is_signed64 = h.is_signed64;
	f->swap = h.swap;
	if (fg_flat_check(f, err) < 0)
		return -1;
	fg_flat_describe(f, shape, r);
	return 0;
}

static int
npy_box(struct fg_foreign *r, int scale FG_UNUSED, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err)
{
	return fg_flat_box(r->priv, vx, out, err);
}

static void
npy_close(struct fg_foreign *r)
{
	struct fg_flat *f = r->priv;

	fg_flat_close(f);
	pthread_mutex_destroy(&f->lock);
	free(f);
}

const struct fg_foreign_ops fg_npy_ops = {"npy", npy_open, npy_box, npy_close};
