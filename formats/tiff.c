/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TIFF and BigTIFF stacks by libtiff, the only file that knows it: each page is a
 * section, in the order of the file; pages marked as thumbnails are left out. Grey or
 * RGB(A), 8, 16 or 32 bits (also signed, float32, 64-bit unsigned), strips or tiles,
 * any compression of the library. All pages must be alike.
 *
 * Where each page begins is found once, at opening. One handle serves all threads, one
 * after the other. Strips and tiles are decoded one at a time.
 */
#include "config.h"

#ifdef HAVE_TIFF
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <tiffio.h>
#endif

#include "formats/foreign.h"

#ifdef HAVE_TIFF

#define PAGES_MAX 1000000
#define PIECE_MAX ((size_t)1 << 30) /* bytes of one decoded strip or tile */
#define SIDE_MAX (1 << 20)

struct page { /* no padding: pages are compared as bytes */
	uint32_t width, height;
	uint16_t bits, format, samples, planar;
};

struct tiff {
	pthread_mutex_t lock;
	TIFF *file; /* guarded by lock */
	struct page like;
	uint64_t *at; /* of each page */
	size_t pages, cap;
	char said[200]; /* libtiff's first complaint; guarded by lock */
};

static int
on_error(TIFF *file FG_UNUSED, void *ctx, const char *module FG_UNUSED, const char *fmt,
    va_list ap)
{
	struct tiff *t = ctx;

	if (!t->said[0])
		vsnprintf(t->said, sizeof t->said, fmt, ap);
	return 1;
}

static int
on_warning(TIFF *file FG_UNUSED, void *ctx FG_UNUSED, const char *module FG_UNUSED,
    const char *fmt FG_UNUSED, va_list ap FG_UNUSED)
{
	return 1; /* unknown tags and the like */
}

static int
fail(const struct tiff *t, size_t page, struct fg_err *err)
{
	return fg_fail(err, FG_ECORRUPT, "TIFF page %zu: %s", page,
	    t->said[0] ? t->said : "damaged");
}

static void
read_page(TIFF *f, struct page *p)
{
	uint16_t compression = COMPRESSION_NONE, colours = 0;

	memset(p, 0, sizeof *p);
	TIFFGetField(f, TIFFTAG_IMAGEWIDTH, &p->width);
	TIFFGetField(f, TIFFTAG_IMAGELENGTH, &p->height);
	TIFFGetFieldDefaulted(f, TIFFTAG_BITSPERSAMPLE, &p->bits);
	TIFFGetFieldDefaulted(f, TIFFTAG_SAMPLEFORMAT, &p->format);
	TIFFGetFieldDefaulted(f, TIFFTAG_SAMPLESPERPIXEL, &p->samples);
	TIFFGetFieldDefaulted(f, TIFFTAG_PLANARCONFIG, &p->planar);
	TIFFGetFieldDefaulted(f, TIFFTAG_COMPRESSION, &compression);
	TIFFGetField(f, TIFFTAG_PHOTOMETRIC, &colours);
	if (compression == COMPRESSION_JPEG && colours == PHOTOMETRIC_YCBCR)
		TIFFSetField(f, TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB);
	if (p->samples == 1)
		p->planar = PLANARCONFIG_CONTIG;
	if (p->format == SAMPLEFORMAT_VOID)
		p->format = SAMPLEFORMAT_UINT;
}

static int
check_page(TIFF *f, const struct page *p, enum fg_dtype *t, struct fg_err *err)
{
	uint16_t colours = PHOTOMETRIC_MINISBLACK, compression = COMPRESSION_NONE;
	bool sign = p->format == SAMPLEFORMAT_INT;

	TIFFGetField(f, TIFFTAG_PHOTOMETRIC, &colours);
	TIFFGetFieldDefaulted(f, TIFFTAG_COMPRESSION, &compression);
	if (p->width < 1 || p->height < 1 || p->width > SIDE_MAX ||
	    p->height > SIDE_MAX)
		return fg_fail(err, FG_ENOTSUP,
		    "TIFF of %u x %u pixels, 1 to %d a side are read", p->width,
		    p->height, SIDE_MAX);
	if (colours != PHOTOMETRIC_MINISBLACK && colours != PHOTOMETRIC_RGB &&
	    !(colours == PHOTOMETRIC_YCBCR && compression == COMPRESSION_JPEG))
		return fg_fail(err, FG_ENOTSUP,
		    "TIFF is neither grey (black is 0) nor RGB (photometric %u)",
		    colours);
	if (p->samples < 1 || p->samples > 1024)
		return fg_fail(err, FG_ENOTSUP,
		    "TIFF of %u samples a pixel, wanted 1 to 1024", p->samples);
	if (p->format == SAMPLEFORMAT_IEEEFP && p->bits == 32)
		*t = FG_F32;
	else if (p->format != SAMPLEFORMAT_UINT && !sign)
		return fg_fail(err, FG_ENOTSUP,
		    "TIFF of %u bits, sample format %u; read are whole numbers of 8, "
		    "16 "
		    "and 32 bits (64 without sign) and float32",
		    p->bits, p->format);
	else if (p->bits == 8)
		*t = sign ? FG_I8 : FG_U8;
	else if (p->bits == 16)
		*t = sign ? FG_I16 : FG_U16;
	else if (p->bits == 32)
		*t = sign ? FG_I32 : FG_U32;
	else if (p->bits == 64 && !sign)
		*t = FG_U64;
	else
		return fg_fail(err, FG_ENOTSUP,
		    "TIFF of %u bits, sample format %u; read are whole numbers of 8, "
		    "16 "
		    "and 32 bits (64 without sign) and float32",
		    p->bits, p->format);
	return 0;
}

/* The table of pages. */
static int
find_pages(struct tiff *t, enum fg_dtype *dtype, struct fg_err *err)
{
	do {
		uint32_t kind = 0;
		struct page p;

		TIFFGetField(t->file, TIFFTAG_SUBFILETYPE, &kind);
		if (kind & FILETYPE_REDUCEDIMAGE)
			continue;
		read_page(t->file, &p);
		if (t->pages == 0) {
			t->like = p;
			if (check_page(t->file, &p, dtype, err) < 0)
				return -1;
		} else if (memcmp(&p, &t->like, sizeof p) != 0) {
			return fg_fail(err, FG_EINVAL,
			    "TIFF page %zu is %u x %u x %u of %u bits, the first %u x "
			    "%u x %u of %u",
			    t->pages, p.width, p.height, p.samples, p.bits,
			    t->like.width, t->like.height, t->like.samples,
			    t->like.bits);
		}
		if (t->pages == PAGES_MAX)
			return fg_fail(err, FG_ENOTSUP,
			    "TIFF of more than %d pages is not read", PAGES_MAX);
		if (t->pages == t->cap) {
			t->cap = t->cap ? 2 * t->cap : 64;
			t->at = fg_realloc(t->at, t->cap, sizeof *t->at);
		}
		t->at[t->pages++] = TIFFCurrentDirOffset(t->file);
	} while (TIFFReadDirectory(t->file));
	if (t->said[0])
		return fail(t, t->pages, err);
	if (t->pages == 0)
		return fg_fail(err, FG_ECORRUPT, "TIFF of thumbnails only");
	return 0;
}

static int
open_file(struct tiff *t, const char *path, struct fg_err *err)
{
	/* libtiff would wait for ever for the writer of a pipe. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	TIFFOpenOptions *o;
	struct stat st;

	if (fd < 0)
		return fg_fail_errno(err, "cannot be read");
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		return fg_fail(err, FG_EINVAL, "not a file");
	}
	close(fd);
	o = TIFFOpenOptionsAlloc();
	TIFFOpenOptionsSetErrorHandlerExtR(o, on_error, t);
	TIFFOpenOptionsSetWarningHandlerExtR(o, on_warning, t);
	t->file = TIFFOpenExt(path, "rCm", o); /* long strips in parts; no mmap */
	TIFFOpenOptionsFree(o);
	if (!t->file)
		return fg_fail(err, FG_ECORRUPT, "no TIFF: %s",
		    t->said[0] ? t->said : "damaged");
	return 0;
}

/* The smallest common size of what is stored together. */
static void
find_piece(TIFF *f, const struct page *like, int64_t *width, int64_t *height)
{
	uint32_t w = 0, h = 0;

	if (TIFFIsTiled(f)) {
		TIFFGetField(f, TIFFTAG_TILEWIDTH, &w);
		TIFFGetField(f, TIFFTAG_TILELENGTH, &h);
	} else {
		w = like->width;
		TIFFGetFieldDefaulted(f, TIFFTAG_ROWSPERSTRIP, &h);
		h = FG_MIN(h, like->height);
	}
	*width = w;
	*height = h;
}

static int
tiff_open(struct fg_foreign *r, const char *path, const char *axes, struct fg_err *err)
{
	struct tiff *t = fg_calloc(1, sizeof *t);

	pthread_mutex_init(&t->lock, NULL);
	r->priv = t;
	if (axes && strcmp(axes, "zyx") != 0 && strcmp(axes, "zyxc") != 0)
		return fg_fail(err, FG_EINVAL,
		    "axes \"%.20s\": pages of a TIFF are z, rows y", axes);
	if (open_file(t, path, err) < 0 || find_pages(t, &r->dtype, err) < 0)
		return -1;
	if (!TIFFSetSubDirectory(t->file, t->at[0]))
		return fail(t, 0, err);
	find_piece(t->file, &t->like, &r->piece[0], &r->piece[1]);
	r->channels = t->like.samples;
	r->scales = 1;
	r->scale[0].size[0] = t->like.width;
	r->scale[0].size[1] = t->like.height;
	r->scale[0].size[2] = (int64_t)t->pages;
	return 0;
}

/* One strip or tile at (x, y) of the present page, sample plane c, into the box. */
static int
copy_piece(struct tiff *t, void *piece, size_t bytes, const int64_t at[3],
    const int64_t size[2], uint16_t plane, const struct fg_box *vx,
    struct fg_array *out)
{
	bool planes = t->like.planar == PLANARCONFIG_SEPARATE;
	struct fg_axes a = {.rank = 4, .of = {2, 1, 0, 3}};
	int64_t lo[4] = {at[2], at[1], at[0], planes ? plane : 0};
	int64_t n[4] = {1, size[1], size[0], planes ? 1 : t->like.samples};
	tmsize_t got;

	if (TIFFIsTiled(t->file))
		got = TIFFReadEncodedTile(t->file,
		    TIFFComputeTile(t->file, (uint32_t)at[0], (uint32_t)at[1], 0,
			plane),
		    piece, (tmsize_t)bytes);
	else
		got = TIFFReadEncodedStrip(t->file,
		    TIFFComputeStrip(t->file, (uint32_t)at[1], plane), piece,
		    (tmsize_t)bytes);
	if (got < 0)
		return -1;
	/* The last strip is shorter, and so is a strip whose data ran out. */
	int64_t rows = FG_MIN(n[1], (int64_t)t->like.height - at[1]);
	if ((size_t)got < (size_t)(rows * n[2] * n[3]) * fg_dtype_size(out->dtype))
		return -1;
	n[1] = TIFFIsTiled(t->file) ? n[1] : rows;
	fg_axes_copy(&a, piece, lo, n, true, false, vx, out);
	return 0;
}

static int
copy_page(struct tiff *t, int64_t z, void **piece, size_t *cap, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err)
{
	int planes = t->like.planar == PLANARCONFIG_SEPARATE ? t->like.samples : 1;
	int64_t size[2], at[3] = {0, 0, z};
	struct page p;

	t->said[0] = '\0';
	if (!TIFFSetSubDirectory(t->file, t->at[z]))
		return fail(t, (size_t)z, err);
	read_page(t->file, &p);
	find_piece(t->file, &t->like, &size[0], &size[1]);
	size_t bytes = (size_t)(TIFFIsTiled(t->file) ? TIFFTileSize(t->file)
						     : TIFFStripSize(t->file));
	size_t wanted = (size_t)(size[0] * size[1]) * fg_dtype_size(out->dtype) *
			(planes > 1 ? 1 : t->like.samples);
	if (memcmp(&p, &t->like, sizeof p) != 0 || size[0] < 1 || size[1] < 1 ||
	    bytes > PIECE_MAX || bytes < wanted)
		return fg_fail(err, FG_ECORRUPT,
		    "TIFF page %lld: pieces of %lld x %lld pixels and %zu bytes",
		    (long long)z, (long long)size[0], (long long)size[1], bytes);
	if (bytes > *cap) {
		free(*piece);
		*cap = bytes;
		*piece = fg_try_alloc(bytes, 1);
		if (!*piece)
			return fg_fail(err, FG_ENOMEM, "no memory for %zu bytes",
			    bytes);
	}
	for (int c = 0; c < planes; c++) {
		for (at[1] = vx->lo[1] / size[1] * size[1]; at[1] < vx->hi[1];
		     at[1] += size[1]) {
			for (at[0] = vx->lo[0] / size[0] * size[0]; at[0] < vx->hi[0];
			     at[0] += size[0]) {
				if (copy_piece(t, *piece, bytes, at, size, (uint16_t)c,
					vx, out) < 0)
					return fail(t, (size_t)z, err);
			}
		}
	}
	return 0;
}

static int
tiff_box(struct fg_foreign *r, int scale FG_UNUSED, const struct fg_box *vx,
    struct fg_array *out, struct fg_err *err)
{
	struct tiff *t = r->priv;
	void *piece = NULL;
	size_t cap = 0;
	int rc = 0;

	pthread_mutex_lock(&t->lock);
	for (int64_t z = vx->lo[2]; z < vx->hi[2] && rc == 0; z++)
		rc = copy_page(t, z, &piece, &cap, vx, out, err);
	pthread_mutex_unlock(&t->lock);
	free(piece);
	return rc;
}

static void
tiff_close(struct fg_foreign *r)
{
	struct tiff *t = r->priv;

	if (t->file)
		TIFFClose(t->file);
	pthread_mutex_destroy(&t->lock);
	free(t->at);
	free(t);
}

#else

static int
tiff_open(struct fg_foreign *r FG_UNUSED, const char *path FG_UNUSED,
    const char *axes FG_UNUSED, struct fg_err *err)
{
	return fg_fail(err, FG_ENOTSUP, "TIFF is not available in this build");
}

static int
tiff_box(struct fg_foreign *r FG_UNUSED, int scale FG_UNUSED,
    const struct fg_box *vx FG_UNUSED, struct fg_array *out FG_UNUSED,
    struct fg_err *err)
{
	return fg_fail(err, FG_ENOTSUP, "TIFF is not available in this build");
}

static void
tiff_close(struct fg_foreign *r FG_UNUSED)
{
}

#endif

const struct fg_foreign_ops fg_tiff_ops = {"tiff", tiff_open, tiff_box, tiff_close};
