/* SPDX-License-Identifier: Apache-2.0 */
/* Sections in files of their own: see the header. */
#include "config.h"

#include "formats/section.h"

#include <fcntl.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "formats/codec.h"
#include "formats/foreign.h"

/* A PNG's header chunk ends at byte 33, and a JPEG's frame header mostly stands in its
 * first kilobytes; where it does not (a colour profile, a preview), all of the file is
 * read. */
#define PROBE_BYTES 16384

const char *
fg_section_kind(const char *name)
{
	static const struct {
		const char *ending, *kind;
	} kinds[] = {{".png", "png"}, {".jpg", "jpeg"}, {".jpeg", "jpeg"},
	    {".tif", "tiff"}, {".tiff", "tiff"}};
	size_t n = strlen(name);

	for (size_t i = 0; i < FG_COUNTOF(kinds); i++) {
		size_t k = strlen(kinds[i].ending);

		if (n > k && strcasecmp(name + n - k, kinds[i].ending) == 0)
			return kinds[i].kind;
	}
	return NULL;
}

static bool
is_kind(const char *path, const char *kind)
{
	const char *k = fg_section_kind(path);

	return k && strcmp(k, kind) == 0;
}

static int
probe_bytes(bool png, const uint8_t *p, size_t n, int64_t shape[4], enum fg_dtype *t,
    struct fg_err *err)
{
	int channels = 1;

	if (png)
		return fg_png_probe(p, n, &shape[0], &shape[1], t, err);
	if (fg_jpeg_probe(p, n, &shape[0], &shape[1], &channels, err) < 0)
		return -1;
	*t = FG_U8;
	shape[3] = channels;
	return 0;
}

/* From the first bytes where that does, else from all of it. */
static int
probe_file(const char *path, int64_t shape[4], enum fg_dtype *t, struct fg_err *err)
{
	bool png = is_kind(path, "png");
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	uint8_t *head = fg_alloc(PROBE_BYTES);
	ssize_t n = fd < 0 ? -1 : pread(fd, head, PROBE_BYTES, 0);
	struct fg_buf *whole;
	struct stat st;
	int rc = -1;

	if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
		n = -1;
		fg_fail(err, FG_EINVAL, "not a regular file");
	} else if (n < 0)
		fg_fail_errno(err, "cannot be read");
	else
		rc = probe_bytes(png, head, (size_t)n, shape, t,
		    n == PROBE_BYTES ? NULL : err);
	if (fd >= 0)
		close(fd);
	free(head);
	if (rc == 0 || n < PROBE_BYTES)
		return rc;
	whole = fg_file_read(path, FG_SECTION_FILE_MAX, err);
	if (whole)
		rc = probe_bytes(png, whole->data, whole->len, shape, t, err);
	fg_buf_unref(whole);
	return rc;
}

static struct fg_foreign *
open_page(const char *path, int64_t shape[4], struct fg_err *err)
{
	struct fg_foreign *f = fg_foreign_open("tiff", path, NULL, err);

	if (!f)
		return NULL;
	memcpy(shape, f->scale[0].size, sizeof f->scale[0].size);
	shape[3] = f->channels;
	if (shape[2] == 1)
		return f;
	fg_fail(err, FG_EINVAL, "%lld pages, wanted one section a file",
	    (long long)shape[2]);
	fg_foreign_close(f);
	return NULL;
}

int
fg_section_probe(const char *path, int64_t shape[4], enum fg_dtype *t,
    struct fg_err *err)
{
	struct fg_foreign *f;

	for (int d = 0; d < 4; d++)
		shape[d] = 1;
	if (!is_kind(path, "tiff"))
		return probe_file(path, shape, t, err);
	f = open_page(path, shape, err);
	if (!f)
		return -1;
	*t = f->dtype;
	fg_foreign_close(f);
	return 0;
}

int
fg_section_piece(const char *path, int64_t piece[2], struct fg_err *err)
{
	int64_t shape[4];
	struct fg_foreign *f;
	enum fg_dtype t;

	if (!is_kind(path, "tiff")) {
		if (fg_section_probe(path, shape, &t, err) < 0)
			return -1;
		memcpy(piece, shape, 2 * sizeof *piece);
		return 0;
	}
	f = open_page(path, shape, err);
	if (!f)
		return -1;
	memcpy(piece, f->piece, sizeof f->piece);
	fg_foreign_close(f);
	return 0;
}

/* The part of a section of that shape that is wanted; false: it is not inside. */
static bool
find_part(const int64_t shape[4], const struct fg_box *part, struct fg_box *out)
{
	struct fg_box all = {.hi = {shape[0], shape[1], 1}};

	*out = part ? *part : all;
	return fg_box_contains(&all, out) && !fg_box_is_empty(out);
}

static int
bad_part(const int64_t shape[4], struct fg_err *err)
{
	return fg_fail(err, FG_EINVAL, "%lld x %lld pixels, the wanted part ends later",
	    (long long)shape[0], (long long)shape[1]);
}

static int
read_page(const char *path, const struct fg_box *part, int64_t shape[4],
    struct fg_array *out, struct fg_err *err)
{
	struct fg_foreign *f = open_page(path, shape, err);
	struct fg_box vx;
	int64_t n[4];
	int rc = -1;

	if (!f)
		return -1;
	if (!find_part(shape, part, &vx)) {
		bad_part(shape, err);
	} else {
		fg_box_shape(&vx, n);
		n[3] = shape[3];
		rc = fg_array_init(out, f->dtype, n, err);
	}
	if (rc == 0)
		rc = fg_foreign_box(f, 0, &vx, out, err);
	fg_foreign_close(f);
	return rc;
}

static int
read_jpeg(const struct fg_buf *b, struct fg_array *out, struct fg_err *err)
{
	int64_t shape[4] = {1, 1, 1, 1};
	int channels;

	if (fg_jpeg_probe(b->data, b->len, &shape[0], &shape[1], &channels, err) < 0)
		return -1;
	shape[3] = channels;
	if (shape[0] > FG_SECTION_EDGE_MAX || shape[1] > FG_SECTION_EDGE_MAX)
		return fg_fail(err, FG_ENOTSUP, "%lld x %lld pixels, at most %d a side",
		    (long long)shape[0], (long long)shape[1], FG_SECTION_EDGE_MAX);
	if (fg_array_init(out, FG_U8, shape, err) < 0)
		return -1;
	return fg_jpeg_decode(b->data, b->len, out, err);
}

/* Reduce a whole section to a part of it. */
static int
cut(struct fg_array *a, const struct fg_box *part, struct fg_err *err)
{
	struct fg_box all = {.hi = {a->shape[0], a->shape[1], 1}}, vx;
	struct fg_array b = FG_ARRAY_INIT;
	int64_t n[4];

	if (!find_part(a->shape, part, &vx))
		return bad_part(a->shape, err);
	if (memcmp(&vx, &all, sizeof vx) == 0)
		return 0;
	fg_box_shape(&vx, n);
	n[3] = a->shape[3];
	if (fg_array_init(&b, a->dtype, n, err) < 0)
		return -1;
	fg_array_copy_box(&b, &vx, a, &all);
	fg_array_fini(a);
	*a = b;
	return 0;
}

int
fg_section_read(const char *path, const struct fg_box *part, int64_t whole[4],
    struct fg_array *out, struct fg_err *err)
{
	struct fg_array a = FG_ARRAY_INIT;
	struct fg_buf *b = NULL;
	int rc = -1;

	if (is_kind(path, "tiff")) {
		rc = read_page(path, part, whole, &a, err);
	} else if ((b = fg_file_read(path, FG_SECTION_FILE_MAX, err))) {
		rc = is_kind(path, "png")
			 ? fg_png_read(b->data, b->len, FG_SECTION_EDGE_MAX, &a, err)
			 : read_jpeg(b, &a, err);
		memcpy(whole, a.shape, sizeof a.shape);
		if (rc == 0)
			rc = cut(&a, part, err);
	}
	fg_buf_unref(b);
	if (rc < 0)
		fg_array_fini(&a);
	else
		*out = a;
	return rc;
}
