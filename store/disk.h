/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store asks of a disk and of the process: which file system a folder is on,
 * how much of it is free, and where tests want the process to die.
 */
#ifndef FG_STORE_DISK_H
#define FG_STORE_DISK_H

#include "base/err.h"

/*
 * The index is an SQLite file in WAL mode. That needs shared memory and locks that
 * all openers see, which network and user-space file systems do not promise.
 *
 * Returns the name of a file system that is refused ("nfs", "lustre", ...) for a
 * statfs(2) f_type, or NULL for one that is fine.
 */
const char *fg_disk_refused(uint32_t type);
/* The same for the folder `path`: FG_ENOTSUP naming folder and file system. */
int fg_disk_check_index(const char *path, struct fg_err *err) FG_MUST_USE;

/* FG_EFULL when less than `min_free` (0..1) of the disk of `path` is free for us. */
int fg_disk_check_room(const char *path, double min_free,
    struct fg_err *err) FG_MUST_USE;

/*
 * Test aid: FG_CRASH_AT=POINT or POINT:N in the environment kills the process with
 * SIGKILL when it passes POINT (for the N-th time; 1 if not given).
 */
struct fg_crash {
	char point[32]; /* empty: never */
	unsigned left;
};

void fg_crash_init(struct fg_crash *c); /* from the environment */
bool fg_crash_is_due(struct fg_crash *c, const char *point);
void fg_crash_now(void);
void fg_crash_at(struct fg_crash *c, const char *point);

#endif
