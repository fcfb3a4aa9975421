/* SPDX-License-Identifier: Apache-2.0 */
/* Failures as values: see the header. */
#include "config.h"

#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static void
set(struct fg_err *err, enum fg_code code, const char *fmt, va_list ap)
{
	fg_assert(code != FG_OK);
	if (!err || err->code != FG_OK)
		return;
	err->code = code;
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
}

int
fg_fail(struct fg_err *err, enum fg_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set(err, code, fmt, ap);
	va_end(ap);
	return -1;
}

void *
fg_fail_null(struct fg_err *err, enum fg_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	set(err, code, fmt, ap);
	va_end(ap);
	return NULL;
}

static enum fg_code
code_of_errno(int e)
{
	switch (e) {
	case ENOENT:
	case ENOTDIR:
		return FG_ENOENT;
	case ENOSPC:
	case EDQUOT:
	case EFBIG:
		return FG_EFULL;
	case ENOMEM:
		return FG_ENOMEM;
	default:
		return FG_EIO;
	}
}

int
fg_fail_errno(struct fg_err *err, const char *fmt, ...)
{
	int e = errno;
	va_list ap;

	if (!err || err->code != FG_OK)
		return -1;
	va_start(ap, fmt);
	set(err, code_of_errno(e), fmt, ap);
	va_end(ap);
	size_t n = strlen(err->msg);
	snprintf(err->msg + n, sizeof err->msg - n, ": %s", strerror(e));
	return -1;
}

int
fg_err_prefix(struct fg_err *err, const char *fmt, ...)
{
	char old[sizeof err->msg];
	va_list ap;

	if (!err || err->code == FG_OK)
		return -1;
	memcpy(old, err->msg, sizeof old);
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof err->msg, fmt, ap);
	va_end(ap);
	size_t n = strlen(err->msg);
	snprintf(err->msg + n, sizeof err->msg - n, ": %s", old);
	return -1;
}

void
fg_err_clear(struct fg_err *err)
{
	if (!err)
		return;
	err->code = FG_OK;
	err->msg[0] = '\0';
}

const char *
fg_code_name(enum fg_code code)
{
	switch (code) {
	case FG_OK:
		return "ok";
	case FG_EINVAL:
		return "invalid";
	case FG_ENOENT:
		return "not found";
	case FG_EBUSY:
		return "busy";
	case FG_EIO:
		return "input/output";
	case FG_ECORRUPT:
		return "corrupt";
	case FG_ENOTSUP:
		return "not supported";
	case FG_EFULL:
		return "no room";
	case FG_ECANCELED:
		return "cancelled";
	case FG_ENOMEM:
		return "out of memory";
	}
	return "unknown";
}
