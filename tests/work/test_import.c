/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Import: what is written, read back chunk by chunk and compared with a pyramid made
 * here in the plainest way; and what is refused, with nothing left behind.
 */
#include "config.h"

#include "work/import.h"

#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "formats/codec.h"
#include "formats/npy.h"
#include "tests/tap.h"
#include "work/stack.h"

static char top[256], root[300];
static struct fg_err err;

/* ------------------------------------------------------------- making input */

static int
noise(int64_t x, int64_t y, int64_t z)
{
	uint64_t h = (uint64_t)x * 0x9e3779b97f4a7c15u ^
		     (uint64_t)y * 0xc2b2ae3d27d4eb4fu ^
		     (uint64_t)z * 0x165667b19e3779f9u;

	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9u;
	return (int)(h >> 40 & 0xff);
}

/* Good for the next 1023 calls. */
static char *
path_in(const char *dir, const char *name)
{
	static char path[1024][512];
	static int i;

	i = (i + 1) % 1024;
	snprintf(path[i], sizeof path[i], "%s/%s", dir, name);
	return path[i];
}

static void
write_bytes(const char *path, const void *p, size_t n)
{
	if (fg_file_write_fast(path, p, n, &err) < 0) {
		printf("Bail out! %s\n", err.msg);
		exit(1);
	}
}

/* One section: an array as a grey PNG. */
static struct fg_buf *
png_bytes(int64_t w, int64_t h, int64_t z, enum fg_dtype t)
{
	struct fg_scale s = {.encoding = FG_ENC_PNG,
	    .png_level = -1,
	    .jpeg_quality = -1};
	struct fg_array a;
	struct fg_buf *b;

	fg_assert(fg_array_init(&a, t, (int64_t[4]){w, h, 1, 1}, NULL) == 0);
	for (int64_t i = 0; i < w * h; i++) {
		int v = noise(i % w, i / w, z);

		if (t == FG_U8)
			((uint8_t *)a.data)[i] = (uint8_t)v;
		else
			((uint16_t *)a.data)[i] = (uint16_t)(v * 257);
	}
	fg_assert(fg_codec_encode(&s, &a, &b, &err) == 0);
	fg_array_fini(&a);
	return b;
}

static void
write_png(const char *dir, const char *name, int64_t w, int64_t h, int64_t z,
    enum fg_dtype t)
{
	struct fg_buf *b = png_bytes(w, h, z, t);

	write_bytes(path_in(dir, name), b->data, b->len);
	fg_buf_unref(b);
}

static const char *
new_folder(void)
{
	static int n;
	char name[20];

	snprintf(name, sizeof name, "in%d", n++);
	char *dir = path_in(top, name);
	fg_assert(mkdir(dir, 0777) == 0);
	return dir;
}

/* A stack of `n` sections from number `first` on, u8, named sNUMBER.png. */
static const char *
new_stack(int64_t w, int64_t h, int n, int first)
{
	const char *dir = new_folder();
	char name[40];

	for (int z = 0; z < n; z++) {
		snprintf(name, sizeof name, "s%d.png", first + z);
		write_png(dir, name, w, h, z, FG_U8);
	}
	return dir;
}

/* ------------------------------------------------------------- reading output */

static int
entries(const char *dir)
{
	DIR *d = opendir(dir);
	int n = 0;

	if (!d)
		return 0;
	for (struct dirent *e; (e = readdir(d)) != NULL;)
		n += strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0;
	closedir(d);
	return n;
}

static struct fg_import
job(const char *input, const char *name)
{
	return (struct fg_import){.input = input,
	    .root = root,
	    .name = name,
	    .nm = {10, 10, 10},
	    .chunk = {16, 16, 16},
	    .encoding = FG_ENC_RAW,
	    .jpeg_quality = -1,
	    .png_level = -1};
}

static bool
read_info(const char *name, struct fg_info *info)
{
	char path[600];

	snprintf(path, sizeof path, "%s/layers/%s/info", root, name);
	struct fg_buf *b = fg_file_read(path, 1 << 20, &err);
	int rc = b ? fg_info_parse((const char *)b->data, b->len, info, &err) : -1;
	fg_buf_unref(b);
	return rc == 0;
}

/* The whole of a scale from its chunk files. */
static bool
read_scale(const char *name, const struct fg_info *info, int i, bool gzip,
    struct fg_array *out)
{
	const struct fg_scale *s = &info->scale[i];
	int64_t grid[3], ch[3], shape[4] = {[3] = info->channels};
	struct fg_box all, vx;
	bool ok = true;

	fg_scale_bounds(s, &all);
	fg_box_shape(&all, shape);
	fg_assert(fg_array_init(out, info->dtype, shape, NULL) == 0);
	fg_scale_grid(s, grid);
	for (int64_t n = 0; ok && n < grid[0] * grid[1] * grid[2]; n++) {
		char path[700], chunk[FG_CHUNK_NAME];
		struct fg_array a;
		struct fg_buf *b, *plain = NULL;

		ch[0] = n % grid[0];
		ch[1] = n / grid[0] % grid[1];
		ch[2] = n / grid[0] / grid[1];
		fg_scale_chunk_box(s, ch, &vx);
		fg_chunk_name_format(&vx, chunk);
		snprintf(path, sizeof path, "%s/layers/%s/%s/%s%s", root, name, s->key,
		    chunk, gzip ? ".gz" : "");
		b = fg_file_read(path, 1 << 24, &err);
		if (b && gzip) {
			ok = fg_decompress(FG_CODING_GZIP, b->data, b->len, 1 << 24,
				 &plain, &err) == 0;
			fg_buf_unref(b);
			b = plain;
		}
		fg_box_shape(&vx, shape);
		fg_assert(fg_array_init(&a, info->dtype, shape, NULL) == 0);
		ok = ok && b && fg_codec_decode(s, b->data, b->len, &a, &err) == 0;
		if (ok)
			fg_array_copy_box(out, &all, &a, &vx);
		else
			printf("# %s: %s\n", path, err.msg);
		fg_array_fini(&a);
		fg_buf_unref(b);
	}
	return ok;
}

static double
value(const struct fg_array *a, size_t i)
{
	switch (a->dtype) {
	case FG_U8:
		return ((uint8_t *)a->data)[i];
	case FG_U16:
		return ((uint16_t *)a->data)[i];
	case FG_U32:
		return ((uint32_t *)a->data)[i];
	case FG_U64:
		return (double)((uint64_t *)a->data)[i];
	default:
		return NAN;
	}
}

static bool
voxel(const struct fg_array *a, const struct fg_scale *s, const int64_t p[3],
    double *out)
{
	int64_t i[3];

	for (int d = 0; d < 3; d++) {
		i[d] = p[d] - s->offset[d];
		if (i[d] < 0 || i[d] >= s->size[d])
			return false;
	}
	*out = value(a, (size_t)((i[2] * s->size[1] + i[1]) * s->size[0] + i[0]));
	return true;
}

/* Voxels of `coarse` that are not the rounded mean of the voxels of `fine` in their
 * window, windows counted from voxel 0 of the frame. */
static int64_t
wrong_means(const struct fg_array *fine, const struct fg_scale *fs,
    const struct fg_array *coarse, const struct fg_scale *cs)
{
	int64_t wrong = 0, f[3], p[3];

	for (int d = 0; d < 3; d++)
		f[d] = (int64_t)(cs->nm[d] / fs->nm[d]);
	for (p[2] = cs->offset[2]; p[2] < cs->offset[2] + cs->size[2]; p[2]++) {
		for (p[1] = cs->offset[1]; p[1] < cs->offset[1] + cs->size[1]; p[1]++) {
			for (p[0] = cs->offset[0]; p[0] < cs->offset[0] + cs->size[0];
			     p[0]++) {
				double sum = 0, v, got = -1;
				int n = 0;

				for (int64_t k = 0; k < f[0] * f[1] * f[2]; k++) {
					int64_t q[3] = {p[0] * f[0] + k % f[0],
					    p[1] * f[1] + k / f[0] % f[1],
					    p[2] * f[2] + k / f[0] / f[1]};

					if (voxel(fine, fs, q, &v)) {
						sum += v;
						n++;
					}
				}
				if (n == 0 || !voxel(coarse, cs, p, &got) ||
				    got != nearbyint(sum / n))
					wrong++;
			}
		}
	}
	return wrong;
}

/* Every scale of a volume against the one below; prints what is wrong. */
static void
check_means(const char *name, bool gzip, const char *what)
{
	struct fg_info info = {0};
	struct fg_array a[FG_SCALES_MAX] = {0};
	int64_t wrong = 0;
	bool ok = read_info(name, &info);

	for (int i = 0; ok && i < info.scales; i++)
		ok = read_scale(name, &info, i, gzip, &a[i]);
	for (int i = 1; ok && i < info.scales; i++)
		wrong +=
		    wrong_means(&a[i - 1], &info.scale[i - 1], &a[i], &info.scale[i]);
	tap_ok(ok && wrong == 0 && info.scales > 1, "%s", what);
	if (!ok || wrong)
		printf("# %lld voxels wrong in %d scales: %s\n", (long long)wrong,
		    info.scales, err.msg);
	for (int i = 0; i < info.scales; i++)
		fg_array_fini(&a[i]);
	fg_info_fini(&info);
}

/* ------------------------------------------------------------- good input */

static void
test_stack(void)
{
	/* Numbers 98..134: order by name would be wrong. */
	const char *dir = new_stack(70, 45, 37, 98);
	struct fg_import im = job(dir, "em");
	struct fg_import_summary sum;
	struct fg_info info = {0};
	struct fg_array a = FG_ARRAY_INIT;
	int64_t wrong = 0;
	double total = 0;

	write_bytes(path_in(dir, "notes.txt"), "x", 1);
	tap_rc(fg_import_run(&im, &sum, &err), &err, "a stack is imported");
	tap_ok(sum.size[0] == 70 && sum.size[1] == 45 && sum.size[2] == 37 &&
		   sum.dtype == FG_U8,
	    "its size is told");
	tap_int(sum.chunks0, 5 * 3 * 3, "chunks of the finest scale");
	tap_int(sum.scales, 4, "scales until it fits one chunk");
	tap_ok(read_info("em", &info), "the info can be read");
	tap_str(info.scales > 1 ? info.scale[1].key : NULL, "20_20_20",
	    "coarser scales are named by their resolution");
	tap_ok(read_scale("em", &info, 0, false, &a), "every chunk is there");
	for (int64_t i = 0; i < 70 * 45 * 37; i++) {
		int v = noise(i % 70, i / 70 % 45, i / 70 / 45);

		wrong += ((uint8_t *)a.data)[i] != v;
		total += v;
	}
	tap_int(wrong, 0, "every voxel is where it belongs");
	tap_ok(fabs(sum.mean - total / (70 * 45 * 37)) < 1e-9, "mean");
	tap_ok(sum.min == 0 && sum.max == 255, "least and greatest value");
	check_means("em", false, "coarser scales are means");
	tap_int(entries(path_in(root, "layers")), 1, "nothing else is left");
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_EINVAL, "exists already",
	    "a name is taken once");
	fg_array_fini(&a);
	fg_info_fini(&info);
}

static void
test_odd_offset(void)
{
	const char *dir = new_stack(33, 20, 21, 0);
	struct fg_import im = job(dir, "odd");
	struct fg_import_summary sum;

	im.offset[0] = -7;
	im.offset[1] = 5;
	im.offset[2] = 3;
	im.chunk[2] = 5; /* windows of two sections cross the rows of chunks */
	im.scales = 4;
	im.gzip = true;
	tap_rc(fg_import_run(&im, &sum, &err), &err,
	    "odd offset, odd chunk depth, gzip");
	check_means("odd", true, "windows are counted from voxel 0");
}

static void
test_anisotropic(void)
{
	struct fg_import im = job(new_stack(64, 64, 8, 7), "thick");
	struct fg_import_summary sum;
	struct fg_info info = {0};

	im.nm[0] = im.nm[1] = 4.5;
	im.nm[2] = 40;
	im.scales = 5;
	tap_rc(fg_import_run(&im, &sum, &err), &err, "thick sections");
	tap_ok(read_info("thick", &info) && info.scales == 5, "five scales");
	tap_str(info.scale[3].key, "36_36_40",
	    "x and y are halved until z is not thicker");
	tap_str(info.scale[4].key, "72_72_80", "then all");
	tap_str(info.scale[0].key, "4.5_4.5_40", "a fraction in a key");
	check_means("thick", false, "thick sections: means");
	fg_info_fini(&info);
}

static void
test_holes(void)
{
	const char *dir = new_stack(20, 20, 6, 10);
	struct fg_import im = job(dir, "holes");
	struct fg_import_summary sum;
	struct fg_info info = {0};
	struct fg_array a = FG_ARRAY_INIT;

	unlink(path_in(dir, "s12.png"));
	unlink(path_in(dir, "s13.png"));
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_EINVAL,
	    "2 of 6 sections are missing, the first 2 between s11.png and s14.png",
	    "a hole is an error");
	im.allow_holes = true;
	tap_rc(fg_import_run(&im, &sum, &err), &err, "unless it is allowed");
	tap_int(sum.holes, 2, "missing sections are counted");
	tap_ok(read_info("holes", &info) && read_scale("holes", &info, 0, false, &a) &&
		   ((uint8_t *)a.data)[2 * 400 + 7] == 0 &&
		   ((uint8_t *)a.data)[4 * 400 + 7] == noise(7, 0, 4),
	    "missing sections are black, the others in place");
	fg_array_fini(&a);
	fg_info_fini(&info);
}

static void
write_npy(const char *path, const struct fg_array *a)
{
	struct fg_buf *b;

	fg_assert(fg_npy_encode(a, &b, NULL) == 0);
	write_bytes(path, b->data, b->len);
	fg_buf_unref(b);
}

static void
test_arrays(void)
{
	struct fg_array a, back = FG_ARRAY_INIT;
	struct fg_import im = job(path_in(top, "labels.npy"), "labels");
	struct fg_import_summary sum;
	struct fg_info info = {0};
	int64_t wrong = 0;

	fg_assert(fg_array_init(&a, FG_U16, (int64_t[4]){30, 20, 10, 1}, NULL) == 0);
	for (int64_t i = 0; i < 6000; i++)
		((uint16_t *)a.data)[i] = (uint16_t)(i % 30 / 10 * 1000 + 7);
	write_npy(im.input, &a);
	im.type = FG_SEGMENTATION;
	im.encoding = FG_ENC_CSEG;
	tap_rc(fg_import_run(&im, &sum, &err), &err, "16-bit labels of a .npy");
	tap_int(sum.dtype, FG_U32, "are stored in 32 bits");
	tap_ok(read_info("labels", &info) &&
		   read_scale("labels", &info, 0, false, &back),
	    "and read back");
	for (int64_t i = 0; back.data && i < 6000; i++)
		wrong += value(&back, (size_t)i) != value(&a, (size_t)i);
	tap_int(wrong, 0, "unchanged");
	fg_array_fini(&back);
	tap_ok(info.scales == 2 && read_scale("labels", &info, 1, false, &back) &&
		   value(&back, 4) == 7 && value(&back, 5) == 1007,
	    "coarser labels are labels, not means");
	fg_array_fini(&back);
	fg_info_fini(&info);

	a.dtype = FG_I16;
	((int16_t *)a.data)[100] = -5;
	write_npy(im.input, &a);
	im.name = "negative";
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_EINVAL, "negative label -5",
	    "a negative label is refused");
	im.type = FG_IMAGE;
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_EINVAL, "int16",
	    "an encoding that cannot hold the type is refused");
	fg_array_fini(&a);
	im.input = path_in(top, "nothing.npy");
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_ENOENT, "nothing.npy",
	    "a missing array file");
	write_bytes(path_in(top, "broken.npy"), "\x93NUMPY\x01", 7);
	im.input = path_in(top, "broken.npy");
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_ECORRUPT, "broken.npy",
	    "a broken array file");
}

static void
test_encodings(void)
{
	static const struct {
		const char *name;
		enum fg_encoding e;
		double far; /* most that a voxel may be off */
	} one[] = {{"as-png", FG_ENC_PNG, 0}, {"as-jpeg", FG_ENC_JPEG, 4}};
	const char *dir = new_folder();
	struct fg_import_summary sum;

	/* Smooth sections, for which JPEG's error has a bound worth naming. */
	for (int z = 0; z < 4; z++) {
		struct fg_array a;
		struct fg_buf *b;
		struct fg_scale s = {.encoding = FG_ENC_PNG, .png_level = -1};
		char name[20];

		fg_assert(
		    fg_array_init(&a, FG_U8, (int64_t[4]){24, 24, 1, 1}, NULL) == 0);
		for (int i = 0; i < 576; i++)
			((uint8_t *)a.data)[i] = (uint8_t)(i % 24 * 4 + i / 24 * 4);
		fg_assert(fg_codec_encode(&s, &a, &b, NULL) == 0);
		snprintf(name, sizeof name, "%d.PNG", z);
		write_bytes(path_in(dir, name), b->data, b->len);
		fg_buf_unref(b);
		fg_array_fini(&a);
	}
	for (size_t k = 0; k < FG_COUNTOF(one); k++) {
		struct fg_import im = job(dir, one[k].name);
		struct fg_info info = {0};
		struct fg_array a = FG_ARRAY_INIT;
		double far = 0;

		im.encoding = one[k].e;
		tap_rc(fg_import_run(&im, &sum, &err), &err, one[k].name);
		tap_ok(read_info(im.name, &info) &&
			   read_scale(im.name, &info, 0, false, &a),
		    "%s: read back", one[k].name);
		for (size_t i = 0; a.data && i < 576; i++)
			far = fmax(far,
			    fabs(value(&a, i) - (double)(i % 24 * 4 + i / 24 * 4)));
		tap_ok(far <= one[k].far, "%s: voxels off by at most %g, wanted %g",
		    one[k].name, far, one[k].far);
		fg_array_fini(&a);
		fg_info_fini(&info);
	}
}

/* ------------------------------------------------------------- bad input */

static void
refuse(const char *dir, enum fg_code code, const char *part, const char *what)
{
	struct fg_import im = job(dir, "bad");
	struct fg_import_summary sum;
	int before = entries(path_in(root, "layers"));

	tap_fails(fg_import_run(&im, &sum, &err), &err, code, part, what);
	tap_int(entries(path_in(root, "layers")), before, "%s: nothing is left", what);
}

static void
test_refused(void)
{
	const char *dir = new_stack(20, 20, 4, 1);
	struct fg_buf *b;

	refuse(path_in(top, "nowhere"), FG_ENOENT, "nowhere", "no such folder");
	refuse(new_folder(), FG_ENOENT, "no .png, .jpg or .tif files",
	    "an empty folder");
	write_png(dir, "s3.png", 21, 20, 0, FG_U8);
	refuse(dir, FG_EINVAL, "s3.png: 21 x 20 pixels, wanted 20 x 20 as in s1.png",
	    "a section of another size");
	write_png(dir, "s3.png", 20, 20, 0, FG_U16);
	refuse(dir, FG_EINVAL, "s3.png: 16 bits a pixel, wanted 8 as in s1.png",
	    "a section of another depth");
	b = png_bytes(20, 20, 0, FG_U8);
	write_bytes(path_in(dir, "s3.png"), b->data, b->len - 40);
	refuse(dir, FG_ECORRUPT, "s3.png: ", "a section cut short");
	b->data[b->len / 2] ^= 0x10;
	write_bytes(path_in(dir, "s3.png"), b->data, b->len);
	refuse(dir, FG_ECORRUPT, "s3.png: ", "a section with a flipped bit");
	fg_buf_unref(b);
	write_bytes(path_in(dir, "s3.png"), "", 0);
	refuse(dir, FG_ECORRUPT, "s3.png: ", "an empty file");
	write_png(dir, "s3.png", 20, 20, 2, FG_U8);
	write_png(dir, "s03.png", 20, 20, 2, FG_U8);
	refuse(dir, FG_EINVAL, "same number", "a number twice");
	unlink(path_in(dir, "s03.png"));
	write_png(dir, "t3.png", 20, 20, 2, FG_U8);
	refuse(dir, FG_EINVAL, "not of one series", "files of two series");

	dir = new_folder();
	write_png(dir, "tile1_sec1.png", 8, 8, 0, FG_U8);
	write_png(dir, "tile1_sec2.png", 8, 8, 0, FG_U8);
	write_png(dir, "tile2_sec1.png", 8, 8, 0, FG_U8);
	refuse(dir, FG_EINVAL, "more than one number", "numbers in two places");
	dir = new_folder();
	write_bytes(path_in(dir, "info"), "{}", 2);
	refuse(dir, FG_EINVAL, "layer add", "a precomputed volume");
	dir = new_folder();
	write_bytes(path_in(dir, "a1.tif"), "II", 2);
	refuse(dir, FG_ECORRUPT, "a1.tif: no TIFF", "a broken TIFF");
	write_png(dir, "a2.png", 8, 8, 0, FG_U8);
	refuse(dir, FG_EINVAL, "a stack is of one kind", "two kinds of images");
	dir = new_folder();
	write_bytes(path_in(dir, "a1.doc"), "II", 2);
	refuse(dir, FG_ENOENT, "no .png", "a stack of another format");
	refuse(path_in(dir, "a1.doc"), FG_ENOTSUP, "neither a folder", "a lone file");

	struct fg_import im = job(new_stack(8, 8, 2, 0), "../evil");
	struct fg_import_summary sum;
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_EINVAL, "cannot be a layer",
	    "a name that is a path");
	im.name = "api";
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_EINVAL, "cannot be a layer",
	    "a reserved name");
	im.name = "jpeg16";
	im.encoding = FG_ENC_CSEG;
	tap_ok(fg_import_run(&im, &sum, &err) < 0, "8-bit images in "
						   "compressed_segmentation");
	fg_err_clear(&err);
}

struct stopper {
	_Atomic bool cancel;
	uint64_t after;
};

static void
stop_after(void *ctx, uint64_t done, uint64_t all)
{
	struct stopper *s = ctx;

	(void)all;
	if (done >= s->after)
		s->cancel = true;
}

static void
test_cancel(void)
{
	const char *dir = new_stack(40, 40, 150, 1000);
	struct stopper stop = {.after = 40 * 40 * 60};
	struct fg_import im = job(dir, "stopped");
	struct fg_import_summary sum;
	int before = entries(path_in(root, "layers"));
	char claimed[600];

	im.cancel = &stop.cancel;
	im.progress = stop_after;
	im.ctx = &stop;
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_ECANCELED, "interrupted",
	    "an import can be interrupted");
	tap_int(entries(path_in(root, "layers")), before + 1, "and leaves what it has");

	/* Of another import it is removed; what a running one has is not. */
	im.chunk[0] = 8;
	snprintf(claimed, sizeof claimed, "%s/layers/.stopped.importing/10_10_10",
	    root);
	fg_assert(fg_file_mkdirs(claimed, NULL) == 0);
	write_bytes(path_in(claimed, "half"), "x", 1);
	snprintf(claimed, sizeof claimed, "%s/layers/.stopped.importing", root);
	int fd = open(claimed, O_RDONLY | O_DIRECTORY);
	fg_assert(fd >= 0 && flock(fd, LOCK_EX) == 0);
	im.cancel = NULL;
	im.progress = NULL;
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_EBUSY, "another import",
	    "two imports of one name");
	tap_ok(access(path_in(claimed, "10_10_10/half"), F_OK) == 0,
	    "the running one is left alone");
	close(fd);
	tap_rc(fg_import_run(&im, &sum, &err), &err, "a dead one's rest is replaced");
	tap_int(sum.kept, 0, "from the begin");
	tap_int(entries(path_in(root, "layers")), before + 1, "and removed");
	snprintf(claimed, sizeof claimed, "%s/layers/stopped/10_10_10/half", root);
	tap_ok(access(claimed, F_OK) < 0, "all of it");
	tap_rc(fg_import_discard(root, "stopped", &err), &err, "a volume is deleted");
	tap_int(entries(path_in(root, "layers")), before, "with everything in it");
	tap_fails(fg_import_discard(root, "stopped", &err), &err, FG_ENOENT, "stopped",
	    "once");
}

/* Both trees are the same, file for file. */
static bool
same_trees(const char *a, const char *b)
{
	char cmd[1400];

	snprintf(cmd, sizeof cmd, "diff -r '%s/layers/%s' '%s/layers/%s'", root, a,
	    root, b);
	return system(cmd) == 0;
}

static void
die_after(void *ctx, uint64_t done, uint64_t all)
{
	(void)all;
	if (done >= *(const uint64_t *)ctx)
		_exit(7);
}

/* Killed after so many voxels; then gone on with. */
static int64_t
kill_and_go_on(struct fg_import *im, uint64_t after, struct fg_import_summary *sum)
{
	char half[600];
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		im->progress = die_after;
		im->ctx = &after;
		im->checkpoint_ms = 1;
		_exit(fg_import_run(im, sum, NULL) == 0 ? 0 : 1);
	}
	fg_assert(pid > 0 && waitpid(pid, &status, 0) == pid);
	tap_ok(WIFEXITED(status) && WEXITSTATUS(status) == 7, "killed");
	/* Names of files that are being written begin like this. */
	snprintf(half, sizeof half, "%s/layers/.%s.importing/10_10_10", root, im->name);
	write_bytes(path_in(half, ".half-written"), "x", 1);
	tap_rc(fg_import_run(im, sum, &err), &err, "gone on with");
	return sum->kept;
}

static void
test_resume(void)
{
	const char *dir = new_stack(40, 36, 150, 1000);
	struct fg_import im = job(dir, "whole");
	struct fg_import_summary whole, sum;
	struct stopper stop = {.after = 40 * 36 * 70};

	im.offset[2] = -3;
	im.chunk[2] = 7; /* rows of the scales end at different sections */
	im.gzip = true;
	tap_rc(fg_import_run(&im, &whole, &err), &err, "an import in one go");
	im.name = "in-two";
	im.cancel = &stop.cancel;
	im.progress = stop_after;
	im.ctx = &stop;
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_ECANCELED, "interrupted",
	    "interrupted at 70 sections");
	im.cancel = NULL;
	im.progress = NULL;
	tap_rc(fg_import_run(&im, &sum, &err), &err, "gone on with");
	tap_ok(sum.kept >= 70 && sum.kept < 90, "after %d sections", (int)sum.kept);
	tap_ok(same_trees("whole", "in-two"), "gives the same files");
	tap_ok(sum.min == whole.min && sum.max == whole.max && sum.mean == whole.mean &&
		   sum.chunks == whole.chunks && sum.empty == whole.empty &&
		   sum.bytes == whole.bytes,
	    "and the same summary");

	im.name = "killed";
	int64_t kept = kill_and_go_on(&im, 40 * 36 * 100, &sum);
	tap_ok(kept >= 80 && kept <= 100, "after %d sections", (int)kept);
	tap_ok(same_trees("whole", "killed"), "gives the same files");
	tap_ok(sum.mean == whole.mean && sum.bytes == whole.bytes, "and the summary");

	/* A damaged state is not believed. */
	stop = (struct stopper){.after = 40 * 36 * 70};
	im.name = "damaged";
	im.cancel = &stop.cancel;
	im.progress = stop_after;
	im.ctx = &stop;
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_ECANCELED, "interrupted",
	    "interrupted");
	im.cancel = NULL;
	im.progress = NULL;
	fg_assert(
	    truncate(path_in(root, "layers/.damaged.importing/.import"), 300) == 0);
	tap_fails(fg_import_run(&im, &sum, &err), &err, FG_ECORRUPT, "state of",
	    "a state cut off");
	tap_rc(fg_import_run(&im, &sum, &err), &err, "then from the begin");
	tap_ok(sum.kept == 0 && same_trees("whole", "damaged"), "the same files");
}

int
main(void)
{
	const char *tmp = getenv("TMPDIR");
	char cmd[400];

	snprintf(top, sizeof top, "%s/fg-import-XXXXXX", tmp && *tmp ? tmp : "/tmp");
	fg_assert(mkdtemp(top));
	snprintf(root, sizeof root, "%s/root", top);
	test_stack();
	test_odd_offset();
	test_anisotropic();
	test_holes();
	test_arrays();
	test_encodings();
	test_refused();
	test_cancel();
	test_resume();
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", top);
	if (system(cmd) != 0)
		printf("# could not remove %s\n", top);
	return tap_done();
}
