/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of an export: a journal in the destination folder, which says what the
 * export is, which files are complete with their SHA-256 sums, and how far it has come.
 * At the end it becomes the manifest. Internal to work/export.c.
 *
 * DEST/.floodgate-export, text, one entry a line:
 *   {...}                  what is exported, as compact JSON: the first line
 *   # EPOCH                which components the objects had (fg_artefact_epoch): the
 *                          second line; missing in those of earlier versions
 *   <sha256>  <path>       a file that is complete (as sha256sum prints it)
 *   @ SCALE NEXT COUNTS... everything before position NEXT of that scale is complete
 *                          and on the disk
 * What follows the last mark is of no use to a later run and is cut off by it.
 *
 * The journal is locked (flock) while an export runs. One thread.
 */
#ifndef FG_WORK_EXPORT_LOG_H
#define FG_WORK_EXPORT_LOG_H

#include "base/buf.h"
#include "base/err.h"
#include "base/hash.h"

#define FG_EXPORT_MANIFEST "manifest.sha256"

struct fg_export_log;

/* How far an export is. */
struct fg_export_mark {
	int scale;     /* index in the exported info */
	uint64_t next; /* chunk or shard to go on with */
	uint64_t chunks, missing, files, bytes;
	bool resumed; /* there was an unfinished export */
	bool changed; /* and it was of other components: it begins anew */
	bool unknown; /* the same, for it does not say of which (an earlier version) */
};

/*
 * Begin or go on. what: the JSON line. epoch: of the objects; where an unfinished
 * export has another one nothing of it counts, since its chunks may hold ids that no
 * object goes by now; one that does not say which counts only where components never
 * changed. dest is made if there is none; a folder that holds anything else than an
 * unfinished export of the same kind is refused (FG_EINVAL), one that is being exported
 * to is FG_EBUSY. *mark: where to go on.
 */
struct fg_export_log *fg_export_log_open(const char *dest, const char *what,
    int64_t epoch, struct fg_export_mark *mark, struct fg_err *err) FG_MUST_USE;
void fg_export_log_close(struct fg_export_log *l);

/* Remove the temporary files that a killed export left in dir; how many there were is
 * of no interest. */
int fg_export_log_sweep(const char *dir, struct fg_err *err) FG_MUST_USE;
/* Remove all files of dir, a folder of the export whose files are written anew each
 * time. None: nothing to do. */
int fg_export_log_empty(const char *dir, struct fg_err *err) FG_MUST_USE;
/* A file is complete under that name (relative to dest). */
int fg_export_log_file(struct fg_export_log *l, const char *name,
    const char sha[FG_SHA256_HEX], struct fg_err *err) FG_MUST_USE;
/* The same for a file whose sum is not known: it is read. */
int fg_export_log_read(struct fg_export_log *l, const char *name,
    struct fg_err *err) FG_MUST_USE;
/* Write such a file, and enter it. */
int fg_export_log_write(struct fg_export_log *l, const char *name,
    const struct fg_buf *b, struct fg_err *err) FG_MUST_USE;
/* Everything before the mark is complete. Written (after a sync of the disk) at most
 * every ten seconds, unless `now`. */
int fg_export_log_mark(struct fg_export_log *l, const struct fg_export_mark *mark,
    bool now, struct fg_err *err) FG_MUST_USE;
/* Turn the journal into dest/manifest.sha256, sync, remove the journal. */
int fg_export_log_finish(struct fg_export_log *l, struct fg_err *err) FG_MUST_USE;

#endif
