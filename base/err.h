/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Failures as values. A function that can fail takes a caller-owned
 * `struct fg_err *` as its last argument (NULL: the caller wants no details),
 * returns -1 or NULL, and describes the failure there. The first failure set
 * wins; callers may put context in front of it. Nothing is allocated.
 *
 * Messages say what, which one, and found against wanted:
 * "shard 03: minishard index ends at 812, file has 640 bytes". No full stop.
 */
#ifndef FG_BASE_ERR_H
#define FG_BASE_ERR_H

#include "base/base.h"

enum fg_code {
	FG_OK = 0,
	FG_EINVAL,   /* the caller's input is wrong: request, option, parameter */
	FG_ENOENT,   /* the named thing does not exist */
	FG_EBUSY,    /* not now: queue full, locked, paused, still being made */
	FG_EIO,      /* a disk, socket or upstream failed; trying again may help */
	FG_ECORRUPT, /* bytes that can never be right */
	FG_ENOTSUP,  /* well-formed, but not something this build can do */
	FG_EFULL,    /* no room: disk, table, limit */
	FG_ECANCELED,
	FG_ENOMEM,
};

struct fg_err {
	enum fg_code code;
	char msg[480];
};

/* Start value: FG_OK and an empty message. */
#define FG_ERR_INIT ((struct fg_err){.code = FG_OK})

/* Describe a failure (unless one is described already); always returns -1. */
int fg_fail(struct fg_err *err, enum fg_code code, const char *fmt, ...)
    FG_PRINTF(3, 4);

/* As fg_fail, for pointer functions; always returns NULL. */
void *fg_fail_null(struct fg_err *err, enum fg_code code, const char *fmt, ...)
    FG_PRINTF(3, 4);

/* As fg_fail, with ": " and strerror(errno) appended and a code chosen from errno
 * (ENOENT -> FG_ENOENT, ENOSPC/EDQUOT -> FG_EFULL, ENOMEM -> FG_ENOMEM,
 * EACCES/EROFS/others -> FG_EIO). */
int fg_fail_errno(struct fg_err *err, const char *fmt, ...) FG_PRINTF(2, 3);

/* Put "text: " in front of the message. Returns -1 for convenience. */
int fg_err_prefix(struct fg_err *err, const char *fmt, ...) FG_PRINTF(2, 3);

/* Forget the failure, so that the struct can be used for the next attempt. */
void fg_err_clear(struct fg_err *err);

/* A short lower-case name of a code: "corrupt", "not found", ... */
const char *fg_code_name(enum fg_code code);

#endif
