/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dir: sources: a precomputed volume in a local folder, one file a chunk or sharded.
 *
 * A file NAME may be stored as NAME, NAME.gz, NAME.zstd or NAME.br (the endings that
 * common writers use); the first one found counts. Every file is opened relative to the
 * folder and may not lead out of it, neither by ".." nor through a symbolic link: the
 * kernel checks that (openat2, RESOLVE_BENEATH), and where it cannot, links are not
 * followed at all below the folder.
 */
#include "config.h"

#include "store/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/file.h"
#include "base/morton.h"
#include "formats/codec.h"
#include "store/shards.h"

/* Largest info file that is read. */
#define INFO_MAX (16u << 20)
/* Decoded minishard indices kept for each source: 700,000 chunks. */
#define INDEX_CACHE (16u << 20)

struct dir {
	int fd; /* the folder */
	char *path;
	struct fg_shards *shards;
};

static const struct {
	const char *ending;
	enum fg_coding coding;
} stored_as[] = {
    {"", FG_CODING_NONE},
    {".gz", FG_CODING_GZIP},
    {".zstd", FG_CODING_ZSTD},
    {".br", FG_CODING_BROTLI},
};

/* ------------------------------------------------------------- opening files */

static bool
is_link(int dir, const char *name)
{
	struct stat st;
	bool yes =
	    fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);

	errno = ENOTDIR;
	return yes;
}

/* Element by element, following no link. For kernels (or containers) without openat2.
 */
static int
open_plainly(int dir, const char *name, int flags)
{
	int at = dir, fd = -1;

	for (;;) {
		size_t n = strcspn(name, "/");
		bool last = name[n] == '\0';
		char element[256];

		if (n == 0 || n >= sizeof element ||
		    (n == 2 && memcmp(name, "..", 2) == 0)) {
			errno = EXDEV;
			fd = -1;
			break;
		}
		memcpy(element, name, n);
		element[n] = '\0';
		fd = openat(at, element,
		    O_NOFOLLOW | (last ? flags : O_PATH | O_DIRECTORY | O_CLOEXEC));
		if (fd < 0 && errno == ENOTDIR && is_link(at, element))
			errno = ELOOP;
		if (fd < 0 || last)
			break;
		if (at != dir)
			close(at);
		at = fd;
		name += n + 1;
	}
	if (at != dir) {
		int e = errno;

		close(at);
		errno = e;
	}
	return fd;
}

static int
open_beneath(int dir, const char *name)
{
	/* O_NONBLOCK: a FIFO must not stop us; it is refused after fstat. */
	int flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	struct open_how how = {
	    .flags = (uint64_t)flags,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	do
		fd = syscall(SYS_openat2, dir, name, &how, sizeof how);
	while (fd < 0 && (errno == EINTR || errno == EAGAIN));
	if (fd < 0 && (errno == ENOSYS || errno == EPERM))
		return open_plainly(dir, name, flags);
	return (int)fd;
}

/* A regular file, open; *out = -1 if there is none. */
static int
open_one(const struct dir *d, const char *name, int *out, struct stat *st,
    struct fg_err *err)
{
	int fd = open_beneath(d->fd, name);

	*out = -1;
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (fd < 0 && (errno == EXDEV || errno == ELOOP))
		return fg_fail(err, FG_EIO, "%s leads out of its folder", name);
	if (fd < 0) {
		/* Whatever it is, it does not say that the file is absent. */
		return fg_fail(err, FG_EIO, "%s: %s", name, strerror(errno));
	}
	if (fstat(fd, st) < 0) {
		fg_fail_errno(err, "%s", name);
	} else if (S_ISDIR(st->st_mode)) { /* "mesh" is not a file */
		close(fd);
		return 0;
	} else if (!S_ISREG(st->st_mode)) {
		fg_fail(err, FG_EIO, "%s is not a regular file", name);
	} else {
		*out = fd;
		return 0;
	}
	close(fd);
	return -1;
}

/* The bytes of one file as stored; *out = NULL if there is none. */
static int
read_one(const struct dir *d, const char *name, size_t limit, struct fg_buf **out,
    struct fg_err *err)
{
	struct fg_buf *b = NULL;
	struct stat st;
	int fd, rc = -1;

	*out = NULL;
	if (open_one(d, name, &fd, &st, err) < 0)
		return -1;
	if (fd < 0)
		return 0;
	if ((uint64_t)st.st_size > limit) {
		fg_fail(err, FG_EFULL, "%s has %lld bytes, at most %zu are read", name,
		    (long long)st.st_size, limit);
		goto out;
	}
	b = fg_buf_new((size_t)st.st_size);
	if (!b) {
		fg_fail(err, FG_ENOMEM, "%s: no memory for %lld bytes", name,
		    (long long)st.st_size);
		goto out;
	}
	if (fg_file_pread(fd, b->data, b->len, 0, name, err) < 0)
		goto out;
	*out = b;
	b = NULL;
	rc = 0;
out:
	fg_buf_unref(b);
	close(fd);
	return rc;
}

/* The first stored form of a file; *out = NULL if there is none. */
static int
read_stored(const struct dir *d, const char *name, size_t limit, enum fg_coding *coding,
    struct fg_buf **out, struct fg_err *err)
{
	for (size_t i = 0; i < FG_COUNTOF(stored_as); i++) {
		char *full = fg_asprintf("%s%s", name, stored_as[i].ending);
		int rc = read_one(d, full, limit, out, err);

		free(full);
		if (rc < 0)
			return -1;
		if (*out) {
			*coding = stored_as[i].coding;
			return 0;
		}
	}
	return 0;
}

/* The bytes of a file, decompressed; *out = NULL if there is none. */
static int
read_plain(const struct dir *d, const char *name, size_t limit, struct fg_buf **out,
    struct fg_err *err)
{
	enum fg_coding coding = FG_CODING_NONE;
	struct fg_buf *b = NULL;
	int rc;

	if (read_stored(d, name, limit, &coding, &b, err) < 0)
		return -1;
	if (!b || coding == FG_CODING_NONE) {
		*out = b;
		return 0;
	}
	rc = fg_decompress(coding, b->data, b->len, limit, out, err);
	if (rc < 0)
		fg_err_prefix(err, "%s", name);
	fg_buf_unref(b);
	return rc;
}

/* ------------------------------------------------------------- the source */

static int
dir_open(struct fg_source *s, const char *path, struct fg_err *err)
{
	struct dir *d = fg_calloc(1, sizeof *d);

	s->priv = d;
	d->path = fg_strdup(path);
	d->shards = fg_shards_new(INDEX_CACHE);
	d->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (d->fd < 0)
		return fg_fail_errno(err, "%s", path);
	if (read_plain(d, "info", INFO_MAX, &s->info_bytes, err) < 0)
		return fg_err_prefix(err, "%s", path);
	if (!s->info_bytes)
		return fg_fail(err, FG_ENOENT, "%s holds no info file", path);
	if (fg_info_parse_any((const char *)s->info_bytes->data, s->info_bytes->len,
		&s->info, err) < 0)
		return fg_err_prefix(err, "%s/info", path);
	return 0;
}

static void
dir_close(struct fg_source *s)
{
	struct dir *d = s->priv;

	if (d->fd >= 0)
		close(d->fd);
	fg_shards_free(d->shards);
	free(d->path);
	free(d);
}

/* A shard file that is not there has none of its chunks. */
static int
sharded_chunk(const struct fg_source *s, int scale, const int64_t ch[3],
    struct fg_buf **out, struct fg_err *err)
{
	const struct fg_scale *sc = &s->info.scale[scale];
	const struct dir *d = s->priv;
	char name[FG_SHARD_NAME], *path;
	uint64_t key, shard, minishard;
	int64_t grid[3];
	struct stat st;
	int fd, rc;

	fg_scale_grid(sc, grid);
	key = fg_morton_compressed(ch, grid);
	fg_shard_locate(&sc->sharding, key, &shard, &minishard);
	fg_shard_name(&sc->sharding, shard, name);
	path = fg_asprintf("%s/%s", sc->key, name);
	*out = NULL;
	rc = open_one(d, path, &fd, &st, err);
	if (rc == 0 && fd >= 0) {
		rc = fg_shards_read(d->shards, fd, path, &sc->sharding, key,
		    fg_source_chunk_limit(s, scale), out, err);
		close(fd);
	}
	free(path);
	return rc;
}

static int
dir_chunk(struct fg_source *s, int scale, const int64_t ch[3], struct fg_buf **out,
    struct fg_err *err)
{
	const struct fg_scale *sc = &s->info.scale[scale];
	char name[FG_CHUNK_NAME];
	struct fg_box vx;
	char *path;
	int rc;

	if (sc->sharding.present)
		return sharded_chunk(s, scale, ch, out, err);
	fg_scale_chunk_box(sc, ch, &vx);
	fg_chunk_name_format(&vx, name);
	path = fg_asprintf("%s/%s", sc->key, name);
	rc = read_plain(s->priv, path, fg_source_chunk_limit(s, scale), out, err);
	free(path);
	return rc;
}

static int
dir_file(struct fg_source *s, const char *name, size_t limit, int *coding,
    struct fg_buf **out, struct fg_err *err)
{
	enum fg_coding found = FG_CODING_NONE;

	if (read_stored(s->priv, name, limit, &found, out, err) < 0)
		return -1;
	*coding = (int)found;
	return 0;
}

static int
dir_open_file(struct fg_source *s, const char *name, int *fd, struct stat *st,
    struct fg_err *err)
{
	return open_one(s->priv, name, fd, st, err);
}

const struct fg_source_ops fg_dir_ops = {
    .scheme = "dir",
    .open = dir_open,
    .chunk = dir_chunk,
    .file = dir_file,
    .open_file = dir_open_file,
    .close = dir_close,
};
