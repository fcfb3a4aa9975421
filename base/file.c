/* SPDX-License-Identifier: Apache-2.0 */
/* Files: see the header. */
#include "config.h"

#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

struct fg_buf *
fg_file_read(const char *path, size_t limit, struct fg_err *err)
{
	struct fg_buf *b = NULL, *out = NULL;
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) < 0) {
		fg_fail_errno(err, "%s", path);
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		fg_fail(err, FG_EINVAL, "%s is not a regular file", path);
		goto out;
	}
	if ((uint64_t)st.st_size > limit) {
		fg_fail(err, FG_EFULL, "%s has %lld bytes, at most %zu are read", path,
		    (long long)st.st_size, limit);
		goto out;
	}
	b = fg_buf_new((size_t)st.st_size);
	if (!b) {
		fg_fail(err, FG_ENOMEM, "%s: no memory for %lld bytes", path,
		    (long long)st.st_size);
		goto out;
	}
	if (fg_file_pread(fd, b->data, b->len, 0, path, err) < 0)
		goto out;
	out = b;
	b = NULL;
out:
	fg_buf_unref(b);
	if (fd >= 0)
		close(fd);
	return out;
}

int
fg_file_pread(int fd, void *p, size_t n, uint64_t off, const char *what,
    struct fg_err *err)
{
	struct stat st;
	size_t done = 0;

	while (done < n) {
		ssize_t k = pread(fd, (char *)p + done, n - done, (off_t)(off + done));

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return fg_fail_errno(err, "%s", what);
		if (k == 0) /* at its end, or beyond it */
			return fg_fail(err, FG_ECORRUPT,
			    "%s: has %lld bytes, wanted %llu", what,
			    fstat(fd, &st) == 0 ? (long long)st.st_size : 0,
			    (unsigned long long)(off + n));
		done += (size_t)k;
	}
	return 0;
}

int
fg_file_pwrite(int fd, const void *p, size_t n, uint64_t off, const char *what,
    struct fg_err *err)
{
	size_t done = 0;

	while (done < n) {
		ssize_t k =
		    pwrite(fd, (const char *)p + done, n - done, (off_t)(off + done));

		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return fg_fail_errno(err, "%s", what);
		done += (size_t)k;
	}
	return 0;
}

/* The folder part of path ("." if none); the caller frees it. */
static char *
folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return fg_strdup(".");
	return slash == path ? fg_strdup("/")
			     : fg_strndup(path, (size_t)(slash - path));
}

static int
write_file(const char *path, const void *p, size_t n, bool durable, struct fg_err *err)
{
	char *dir = folder_of(path);
	char *tmp = fg_asprintf("%s.tmp-XXXXXX", path);
	int rc = -1, fd = mkostemp(tmp, O_CLOEXEC);

	if (fd < 0) {
		fg_fail_errno(err, "%s", path);
		goto out;
	}
	if (fg_file_pwrite(fd, p, n, 0, path, err) < 0)
		goto out;
	/* mkostemp makes 0600; published files follow the umask like any other. */
	mode_t mask = umask(0);
	umask(mask);
	if (fchmod(fd, 0666 & ~mask) < 0 || (durable && fsync(fd) < 0) ||
	    rename(tmp, path) < 0) {
		fg_fail_errno(err, "%s", path);
		goto out;
	}
	if (durable && fg_file_sync_dir(dir, err) < 0)
		goto out;
	rc = 0;
out:
	if (fd >= 0) {
		close(fd);
		if (rc < 0)
			unlink(tmp);
	}
	free(tmp);
	free(dir);
	return rc;
}

int
fg_file_write(const char *path, const void *p, size_t n, struct fg_err *err)
{
	return write_file(path, p, n, true, err);
}

int
fg_file_write_fast(const char *path, const void *p, size_t n, struct fg_err *err)
{
	return write_file(path, p, n, false, err);
}

int
fg_file_mkdirs(const char *path, struct fg_err *err)
{
	char *copy = fg_strdup(path);
	int rc = -1;

	for (char *p = copy + 1; *copy; p++) {
		char c = *p;

		if (c != '/' && c != '\0')
			continue;
		*p = '\0';
		if (mkdir(copy, 0777) < 0 && errno != EEXIST) {
			fg_fail_errno(err, "%s", copy);
			goto out;
		}
		if (c == '\0')
			break;
		*p = '/';
	}
	struct stat st;
	if (stat(path, &st) < 0) {
		fg_fail_errno(err, "%s", path);
		goto out;
	}
	if (!S_ISDIR(st.st_mode)) {
		fg_fail(err, FG_EIO, "%s is not a folder", path);
		goto out;
	}
	rc = 0;
out:
	free(copy);
	return rc;
}

int
fg_file_sync_dir(const char *path, struct fg_err *err)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return fg_fail_errno(err, "%s", path);
	if (fsync(fd) < 0) {
		fg_fail_errno(err, "%s", path);
		close(fd);
		return -1;
	}
	close(fd);
	return 0;
}
