/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading anywhere in a gzip file without unpacking it whole. Reading forward is
 * inflating; on the way, marks are set from which it can begin anew, so that going back
 * costs at most the distance between two of them (after zran.c of zlib's examples,
 * whose idea this is). Memory: at most 512 marks of 32 KiB.
 *
 * One thread at a time.
 */
#ifndef FG_FORMATS_GZSEEK_H
#define FG_FORMATS_GZSEEK_H

#include "base/err.h"

struct fg_gzseek;

/* fd is borrowed and must stay open. size: unpacked bytes that are expected, for the
 * distance of the marks. Fails: FG_ECORRUPT if it does not begin as a gzip file. */
struct fg_gzseek *fg_gzseek_open(int fd, uint64_t size, struct fg_err *err) FG_MUST_USE;
void fg_gzseek_close(struct fg_gzseek *g);

/* Exactly n unpacked bytes from off on. Fails: FG_ECORRUPT (damaged, or ends before),
 * FG_EIO. */
int fg_gzseek_read(struct fg_gzseek *g, uint64_t off, void *p, size_t n,
    struct fg_err *err) FG_MUST_USE;

#endif
