/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files: whole reads with a limit, atomic durable writes, folders.
 *
 * Paths here come from the operator or from our own naming, never straight from a
 * request. Names derived from a request are checked by their grammar first.
 */
#ifndef FG_BASE_FILE_H
#define FG_BASE_FILE_H

#include "base/buf.h"
#include "base/err.h"

/* Read a whole regular file of at most `limit` bytes. Fails: FG_ENOENT, FG_EIO,
 * FG_EFULL (larger than limit), FG_EINVAL (not a regular file). */
struct fg_buf *fg_file_read(const char *path, size_t limit,
    struct fg_err *err) FG_MUST_USE;

/* pread exactly n bytes at off. A file that ends earlier is FG_ECORRUPT; `what`
 * names the file in messages. */
int fg_file_pread(int fd, void *p, size_t n, uint64_t off, const char *what,
    struct fg_err *err) FG_MUST_USE;
/* pwrite all n bytes at off. */
int fg_file_pwrite(int fd, const void *p, size_t n, uint64_t off, const char *what,
    struct fg_err *err) FG_MUST_USE;

/* Replace or create `path` so that after a crash it holds the old or the new bytes:
 * temporary name in the same folder, fsync, rename, fsync of the folder. The
 * temporary file is removed on failure. */
int fg_file_write(const char *path, const void *p, size_t n,
    struct fg_err *err) FG_MUST_USE;

/* The same without any fsync, for bulk trees that sync once at their end. */
int fg_file_write_fast(const char *path, const void *p, size_t n,
    struct fg_err *err) FG_MUST_USE;

/* Make a folder and its parents (mode 0777 less umask); existing ones are fine. */
int fg_file_mkdirs(const char *path, struct fg_err *err) FG_MUST_USE;

/* fsync a folder, so that names made in it survive a power failure. */
int fg_file_sync_dir(const char *path, struct fg_err *err) FG_MUST_USE;

#endif
