/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Import: sections in (work/stack.h), a precomputed directory out (work/pyramid.h).
 * Sections are read a few at a time, in parallel, each with its own statistics; then
 * they are put into the pyramid one after the other.
 *
 * An interrupted import goes on where it was saved last: the file .import in its folder
 * holds a mark of input and options, the statistics so far and the state of the
 * pyramid. It is written after a sync of the file system, at the end of a row of chunks
 * or when the import is cancelled between two sections.
 *
 * The folder ROOT/layers/.NAME.importing is ours while we hold a lock on it (flock on
 * the folder itself, gone with the process). Nobody serves a name that begins with a
 * dot, so half a layer is never seen; after one sync of the file system it gets its
 * name by rename(2).
 */
#include "config.h"

#include "work/import.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "formats/codec.h"
#include "work/catalog.h"
#include "work/parallel.h"
#include "work/pyramid.h"
#include "work/stack.h"

/* Sections read at a time: enough to keep cores busy, few enough to cost nothing. */
#define BATCH_MAX 16

struct section_stats {
	double min, max, sum;
	uint64_t n;
};

struct batch {
	const struct fg_stack *stack;
	int64_t z0;
	bool convert; /* native -> stored */
	struct fg_array native[BATCH_MAX], stored[BATCH_MAX];
	struct section_stats stats[BATCH_MAX];
};

/* ------------------------------------------------------------- folders */

static int
remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)ftw;
	return type == FTW_DP ? rmdir(path) : unlink(path);
}

static int
remove_tree(const char *path, struct fg_err *err)
{
	if (nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) < 0)
		return fg_fail_errno(err, "removing %s", path);
	return 0;
}

int
fg_import_discard(const char *root, const char *name, struct fg_err *err)
{
	fg_assert(fg_layer_name_is_valid(name, strlen(name)));
	char *path = fg_asprintf("%s/layers/%s", root, name);
	int rc = remove_tree(path, err);

	free(path);
	return rc;
}

/* ------------------------------------------------------------- going on */

#define STATE_MAGIC "floodgate import 1\n"

/* What an import must have in common with the one that it goes on with: 64 hex digits
 * of the input (with size and time of change, as far as one file or folder shows them)
 * and of everything that forms the output. */
static void
make_mark(const struct fg_import *im, const struct fg_info *info,
    char out[FG_SHA256_HEX])
{
	json_t *j = fg_info_format(info);
	char *text = fg_json_format(j), *all;
	struct stat st = {0};
	uint8_t sum[FG_SHA256_SIZE];

	if (stat(im->input, &st) < 0)
		st = (struct stat){0}; /* "FILE:/DATASET" and the like */
	all = fg_asprintf("%s\n%s\n%d %d %d %d\n%lld %lld.%09ld\n", im->input, text,
	    im->gzip, im->floor, im->sparse, im->allow_holes, (long long)st.st_size,
	    (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	fg_sha256(all, strlen(all), sum);
	fg_hex_format(sum, sizeof sum, out);
	free(all);
	free(text);
	json_decref(j);
}

/* The folder's state file behind its mark, open; NULL: there is none with this mark. */
static FILE *
open_state(const char *dir, const char *mark)
{
	char *path = fg_asprintf("%s/.import", dir);
	FILE *f = fopen(path, "rbe");
	char head[sizeof STATE_MAGIC + FG_SHA256_HEX] = "";
	size_t n = sizeof STATE_MAGIC - 1;

	free(path);
	if (f && fread(head, 1, n + FG_SHA256_HEX - 1, f) == n + FG_SHA256_HEX - 1 &&
	    memcmp(head, STATE_MAGIC, n) == 0 && strcmp(head + n, mark) == 0)
		return f;
	if (f)
		fclose(f);
	return NULL;
}

static bool
has_mark(const char *dir, const char *mark)
{
	FILE *f = open_state(dir, mark);

	if (f)
		fclose(f);
	return f != NULL;
}

static int
write_state(FILE *f, const char *mark, const struct section_stats *total,
    const struct fg_pyramid *p, struct fg_err *err)
{
	if (fwrite(STATE_MAGIC, 1, sizeof STATE_MAGIC - 1, f) !=
		sizeof STATE_MAGIC - 1 ||
	    fwrite(mark, 1, FG_SHA256_HEX - 1, f) != FG_SHA256_HEX - 1 ||
	    fwrite(total, sizeof *total, 1, f) != 1)
		return fg_fail_errno(err, "state of the import");
	if (fg_pyramid_save(p, f, err) < 0)
		return -1;
	if (fflush(f) != 0 || fsync(fileno(f)) < 0)
		return fg_fail_errno(err, "state of the import");
	return 0;
}

/* Chunks first, then the state that counts on them. */
static int
save_state(const char *dir, int fd, const char *mark, const struct section_stats *total,
    const struct fg_pyramid *p, struct fg_err *err)
{
	char *tmp = fg_asprintf("%s/.import.new", dir);
	char *path = fg_asprintf("%s/.import", dir);
	FILE *f = NULL;
	int rc = -1;

	if (syncfs(fd) < 0 || !(f = fopen(tmp, "wbe")))
		fg_fail_errno(err, "%s", tmp);
	else
		rc = write_state(f, mark, total, p, err);
	if (f && fclose(f) != 0 && rc == 0)
		rc = fg_fail_errno(err, "%s", tmp);
	if (rc == 0 && rename(tmp, path) < 0)
		rc = fg_fail_errno(err, "%s", path);
	if (rc == 0)
		rc = fg_file_sync_dir(dir, err);
	free(tmp);
	free(path);
	return rc;
}

/* False: there is no state that fits, begin at the first section. */
static bool
load_state(const char *dir, const char *mark, struct section_stats *total,
    struct fg_pyramid *p, struct fg_err *err)
{
	FILE *f = open_state(dir, mark);
	bool ok = false;

	if (!f)
		return false;
	if (fread(total, sizeof *total, 1, f) != 1)
		fg_fail(err, FG_ECORRUPT, "the state of the import is cut off");
	else
		ok = fg_pyramid_load(p, f, err) == 0;
	fclose(f);
	return ok;
}

/* Make the folder and lock it; what a dead import left is removed first, unless it can
 * be gone on with. Returns a descriptor that holds the lock, or -1. */
static int
claim_folder(const char *path, const char *name, const char *mark, struct fg_err *err)
{
	for (int tries = 0; tries < 3; tries++) {
		struct stat a, b;
		bool made = mkdir(path, 0777) == 0;

		if (!made && errno != EEXIST)
			return fg_fail_errno(err, "%s", path);
		int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd < 0 && errno == ENOENT)
			continue; /* somebody else cleaned up in between */
		if (fd < 0)
			return fg_fail_errno(err, "%s", path);
		if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
			close(fd);
			return fg_fail(err, FG_EBUSY, "another import of %s is running",
			    name);
		}
		/* The lock counts only if the name still means this folder. */
		if ((made || has_mark(path, mark)) && fstat(fd, &a) == 0 &&
		    stat(path, &b) == 0 && a.st_ino == b.st_ino)
			return fd;
		if (!made && remove_tree(path, err) < 0) {
			close(fd);
			return -1;
		}
		close(fd);
	}
	return fg_fail(err, FG_EBUSY, "another import of %s is running", name);
}

static int
publish(const char *tmp, const char *final, const char *folder, int fd,
    struct fg_err *err)
{
	if (syncfs(fd) < 0)
		return fg_fail_errno(err, "%s", tmp);
	if (rename(tmp, final) < 0)
		return fg_fail_errno(err, "%s", final);
	return fg_file_sync_dir(folder, err);
}

/* ------------------------------------------------------------- voxels */

/* How labels of that type are stored: unsigned, and in 32 bits at least where the
 * encoding is compressed_segmentation. */
static enum fg_dtype
label_dtype(enum fg_dtype t, enum fg_encoding e)
{
	static const enum fg_dtype plain[FG_DTYPES] = {
	    [FG_U8] = FG_U8,
	    [FG_I8] = FG_U8,
	    [FG_U16] = FG_U16,
	    [FG_I16] = FG_U16,
	    [FG_U32] = FG_U32,
	    [FG_I32] = FG_U32,
	    [FG_U64] = FG_U64,
	    [FG_F32] = FG_F32,
	};

	if (e == FG_ENC_CSEG && fg_dtype_size(plain[t]) < 4)
		return FG_U32;
	return plain[t];
}

static int
convert_labels(const struct fg_array *in, struct fg_array *out, int64_t z,
    struct fg_err *err)
{
	size_t n = fg_array_count(in);

	for (size_t i = 0; i < n; i++) {
		/* 64-bit and float labels are never converted: this is exact. */
		int64_t v = (int64_t)fg_array_real(in, i);

		if (v < 0)
			return fg_fail(err, FG_EINVAL,
			    "section %lld holds the negative label %lld", (long long)z,
			    (long long)v);
		if (out->dtype == FG_U8)
			((uint8_t *)out->data)[i] = (uint8_t)v;
		else if (out->dtype == FG_U16)
			((uint16_t *)out->data)[i] = (uint16_t)v;
		else
			((uint32_t *)out->data)[i] = (uint32_t)v;
	}
	return 0;
}

#define MEASURE(T)                                                                     \
	do {                                                                           \
		const T *v = a->data;                                                  \
		for (size_t i = 0; i < n; i++) {                                       \
			double x = (double)v[i];                                       \
			s.min = x < s.min ? x : s.min;                                 \
			s.max = x > s.max ? x : s.max;                                 \
			if (!isnan(x)) {                                               \
				s.sum += x;                                            \
				s.n++;                                                 \
			}                                                              \
		}                                                                      \
	} while (0)

static struct section_stats
measure(const struct fg_array *a)
{
	struct section_stats s = {.min = INFINITY, .max = -INFINITY};
	size_t n = fg_array_count(a);

	switch (a->dtype) {
	case FG_U8:
		MEASURE(uint8_t);
		break;
	case FG_I8:
		MEASURE(int8_t);
		break;
	case FG_U16:
		MEASURE(uint16_t);
		break;
	case FG_I16:
		MEASURE(int16_t);
		break;
	case FG_U32:
		MEASURE(uint32_t);
		break;
	case FG_I32:
		MEASURE(int32_t);
		break;
	case FG_U64:
		MEASURE(uint64_t);
		break;
	case FG_F32:
	case FG_DTYPES:
		MEASURE(float);
		break;
	}
	return s;
}

static void
merge_stats(struct section_stats *to, const struct section_stats *s)
{
	to->min = FG_MIN(to->min, s->min);
	to->max = FG_MAX(to->max, s->max);
	to->sum += s->sum;
	to->n += s->n;
}

/* ------------------------------------------------------------- streaming */

static int
batch_init(struct batch *b, const struct fg_stack *stack, enum fg_dtype stored, int n,
    struct fg_err *err)
{
	int64_t shape[4];

	b->stack = stack;
	b->convert = stored != fg_stack_dtype(stack);
	fg_stack_shape(stack, shape);
	shape[2] = 1;
	for (int i = 0; i < n; i++) {
		if (fg_array_init(&b->native[i], fg_stack_dtype(stack), shape, err) < 0)
			return -1;
		if (b->convert && fg_array_init(&b->stored[i], stored, shape, err) < 0)
			return -1;
	}
	return 0;
}

static void
batch_fini(struct batch *b)
{
	for (int i = 0; i < BATCH_MAX; i++) {
		fg_array_fini(&b->native[i]);
		fg_array_fini(&b->stored[i]);
	}
}

static int
read_item(void *ctx, size_t i, struct fg_err *err)
{
	struct batch *b = ctx;
	int64_t z = b->z0 + (int64_t)i;

	if (fg_stack_read(b->stack, z, &b->native[i], err) < 0)
		return -1;
	if (b->convert && convert_labels(&b->native[i], &b->stored[i], z, err) < 0)
		return -1;
	b->stats[i] = measure(&b->native[i]);
	return 0;
}

/* One run over the sections, from where it goes on. */
struct run {
	const struct fg_import *im;
	const struct fg_stack *stack;
	const char *dir, *mark;
	int fd; /* the folder's */
	struct fg_pyramid *p;
	struct section_stats total;
	int64_t saved_ns;
};

static int
put_batch(struct run *r, struct batch *b, int64_t n, struct fg_err *err)
{
	int64_t least = r->im->checkpoint_ms > 0 ? r->im->checkpoint_ms : 20000;

	for (int64_t i = 0; i < n; i++) {
		if (fg_pyramid_put(r->p, b->convert ? &b->stored[i] : &b->native[i],
			err) < 0)
			return -1;
		merge_stats(&r->total, &b->stats[i]);
		if (!fg_pyramid_is_even(r->p) ||
		    fg_clock_ns() - r->saved_ns < least * FG_NS_PER_MS)
			continue;
		if (save_state(r->dir, r->fd, r->mark, &r->total, r->p, err) < 0)
			return -1;
		r->saved_ns = fg_clock_ns();
	}
	return 0;
}

static int
stream(struct run *r, const struct fg_info *info, struct fg_err *err)
{
	struct batch *b = fg_calloc(1, sizeof *b);
	const struct fg_import *im = r->im;
	int threads = fg_parallel_cores(), rc = -1;
	int64_t shape[4];

	fg_stack_shape(r->stack, shape);
	uint64_t plane = (uint64_t)(shape[0] * shape[1]);
	int64_t n = FG_MIN(FG_MIN(threads, BATCH_MAX), shape[2]);
	if (batch_init(b, r->stack, info->dtype, (int)n, err) < 0)
		goto out;
	for (b->z0 = fg_pyramid_sections(r->p); b->z0 < shape[2]; b->z0 += n) {
		n = FG_MIN(n, shape[2] - b->z0);
		if (fg_parallel_for((size_t)n, threads, read_item, b, im->cancel, err) <
		    0) {
			/* Between two sections: all that was put can be kept. */
			if (err && err->code == FG_ECANCELED)
				(void)(save_state(r->dir, r->fd, r->mark, &r->total,
					   r->p, NULL) < 0);
			goto out;
		}
		if (put_batch(r, b, n, err) < 0)
			goto out;
		if (im->progress)
			im->progress(im->ctx, plane * (uint64_t)(b->z0 + n),
			    plane * (uint64_t)shape[2]);
	}
	rc = 0;
out:
	batch_fini(b);
	free(b);
	return rc;
}

/* ------------------------------------------------------------- plan */

static int
check_memory(const struct fg_info *info, struct fg_err *err)
{
	double need = fg_pyramid_memory(info);
	double have =
	    (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) * 0.8;

	if (need > have)
		return fg_fail(err, FG_EINVAL,
		    "%lld sections at a time need %.1f GB of memory, %.1f GB are to be "
		    "had: a smaller chunk depth (--chunk) needs less",
		    (long long)info->scale[0].chunk[2], need / 1e9, have / 1e9);
	return 0;
}

static int
plan(const struct fg_import *im, const struct fg_stack *stack, struct fg_info *info,
    struct fg_err *err)
{
	struct fg_scale *s = &info->scale[0];
	int64_t shape[4];

	*info = (struct fg_info){.type = im->type, .scales = 1};
	fg_stack_shape(stack, shape);
	info->dtype = fg_stack_dtype(stack);
	if (im->type == FG_SEGMENTATION)
		info->dtype = label_dtype(info->dtype, im->encoding);
	info->channels = (int)shape[3];
	if (im->type == FG_SEGMENTATION &&
	    (info->dtype == FG_F32 || info->channels != 1))
		return fg_fail(err, FG_EINVAL,
		    "a segmentation holds whole numbers in one channel, this is %s in "
		    "%d",
		    fg_dtype_name(info->dtype), info->channels);
	s->encoding = im->encoding;
	s->jpeg_quality = im->jpeg_quality;
	s->png_level = im->png_level;
	s->jxl_quality = im->jxl_quality;
	s->jxl_effort = im->jxl_effort;
	for (int d = 0; d < 3; d++) {
		s->nm[d] = im->nm[d];
		s->offset[d] = im->offset[d];
		s->size[d] = shape[d];
		s->chunk[d] = im->chunk[d];
		s->cseg_block[d] = 8;
	}
	if (fg_codec_check(im->encoding, info->dtype, info->channels, err) < 0)
		return -1;
	if (fg_pyramid_plan(info, im->scales, err) < 0)
		return -1;
	return check_memory(info, err);
}

static int
write_info(const char *dir, const struct fg_info *info, struct fg_err *err)
{
	json_t *j = fg_info_format(info);
	char *text = fg_json_pretty(j);
	char *path = fg_asprintf("%s/info", dir);
	int rc = fg_file_write(path, text, strlen(text), err);

	free(path);
	free(text);
	json_decref(j);
	return rc;
}

static void
summarise(const struct fg_info *info, const struct fg_stack *stack,
    const struct fg_pyramid *p, const struct section_stats *total,
    struct fg_import_summary *sum)
{
	struct fg_pyramid_stats st;

	fg_pyramid_get_stats(p, &st);
	*sum = (struct fg_import_summary){.dtype = info->dtype,
	    .channels = info->channels,
	    .min = total->min,
	    .max = total->max,
	    .mean = total->n ? total->sum / (double)total->n : NAN,
	    .chunks = st.chunks,
	    .empty = st.empty,
	    .bytes = st.bytes,
	    .chunks0 = st.chunks0,
	    .empty0 = st.empty0,
	    .holes = fg_stack_holes(stack),
	    .scales = info->scales};
	memcpy(sum->size, info->scale[0].size, sizeof sum->size);
}

static bool
is_chunk(const struct fg_scale *s, const char *name, bool gzip)
{
	size_t n = strlen(name);
	struct fg_box vx;
	int64_t ch[3];

	if (gzip && (n < 3 || strcmp(name + n - 3, ".gz") != 0))
		return false;
	return fg_chunk_name_parse(name, gzip ? n - 3 : n, &vx) &&
	       fg_scale_chunk_find(s, &vx, ch);
}

/* What a killed import left half written is no chunk, and goes. */
static int
sweep(const char *dir, const struct fg_scale *s, bool gzip, struct fg_err *err)
{
	char *path = fg_asprintf("%s/%s", dir, s->key);
	DIR *d = opendir(path);
	int rc = 0;

	if (!d)
		rc = fg_fail_errno(err, "%s", path);
	for (struct dirent *e; d && rc == 0 && (e = readdir(d)) != NULL;) {
		if (e->d_name[0] != '.' && is_chunk(s, e->d_name, gzip))
			continue;
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (unlinkat(dirfd(d), e->d_name, 0) < 0)
			rc = fg_fail_errno(err, "%s/%s", path, e->d_name);
	}
	if (d)
		closedir(d);
	free(path);
	return rc;
}

/* The state file has done its work. */
static int
remove_state(const char *dir, struct fg_err *err)
{
	char *path = fg_asprintf("%s/.import", dir);
	int rc = 0;

	if (unlink(path) < 0 && errno != ENOENT)
		rc = fg_fail_errno(err, "%s", path);
	free(path);
	return rc;
}

/* Everything between claiming the folder and giving it its name. */
static int
fill_folder(struct run *r, const struct fg_info *info, struct fg_import_summary *sum,
    struct fg_err *err)
{
	int rc = -1;
	int64_t kept;

	r->total = (struct section_stats){.min = INFINITY, .max = -INFINITY};
	r->saved_ns = fg_clock_ns();
	r->p = fg_pyramid_new(r->dir, info, r->im->gzip, fg_parallel_cores(),
	    r->im->cancel, err);
	if (!r->p)
		return -1;
	fg_pyramid_set_average(r->p, r->im->floor, r->im->sparse);
	load_state(r->dir, r->mark, &r->total, r->p, err);
	if (err && err->code != FG_OK)
		goto out;
	kept = fg_pyramid_sections(r->p);
	for (int i = 0; kept > 0 && i < info->scales; i++) {
		if (sweep(r->dir, &info->scale[i], r->im->gzip, err) < 0)
			goto out;
	}
	if (stream(r, info, err) < 0 || write_info(r->dir, info, err) < 0 ||
	    remove_state(r->dir, err) < 0)
		goto out;
	summarise(info, r->stack, r->p, &r->total, sum);
	sum->kept = kept;
	rc = 0;
out:
	fg_pyramid_free(r->p);
	return rc;
}

static int
check_name(const struct fg_import *im, const char *final, struct fg_err *err)
{
	if (fg_layer_check_name(im->name, err) < 0)
		return -1;
	if (access(final, F_OK) == 0)
		return fg_fail(err, FG_EINVAL, "%s exists already", final);
	return 0;
}

int
fg_import_run(const struct fg_import *im, struct fg_import_summary *sum,
    struct fg_err *err)
{
	char *folder = fg_asprintf("%s/layers", im->root);
	char *final = fg_asprintf("%s/%s", folder, im->name);
	char *tmp = fg_asprintf("%s/.%s.importing", folder, im->name);
	struct fg_err local = FG_ERR_INIT, *e = err ? err : &local;
	struct fg_info info = {0};
	struct fg_stack *stack = NULL;
	char mark[FG_SHA256_HEX];
	int rc = -1, fd = -1;

	if (check_name(im, final, err) < 0)
		goto out;
	stack = fg_stack_open(im->input, im->allow_holes, err);
	if (!stack || plan(im, stack, &info, err) < 0)
		goto out;
	if (fg_file_mkdirs(folder, err) < 0)
		goto out;
	make_mark(im, &info, mark);
	fd = claim_folder(tmp, im->name, mark, err);
	if (fd < 0)
		goto out;
	struct run r = {.im = im, .stack = stack, .dir = tmp, .mark = mark, .fd = fd};
	if (fill_folder(&r, &info, sum, e) < 0 ||
	    publish(tmp, final, folder, fd, e) < 0) {
		/* Cancelled before anything was saved: there is nothing to keep. */
		if (e->code != FG_ECANCELED || !has_mark(tmp, mark))
			remove_tree(tmp, NULL);
		goto out;
	}
	rc = 0;
out:
	if (fd >= 0)
		close(fd);
	fg_stack_close(stack);
	fg_info_fini(&info);
	free(tmp);
	free(final);
	free(folder);
	return rc;
}
