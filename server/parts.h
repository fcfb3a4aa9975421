/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Large files that were opened a moment ago, so that a range of one whose bytes are in
 * the page cache is answered on the event thread: no thread is changed, no file opened.
 * A viewer asks for thousands of ranges of few shards.
 *
 * A file is looked for anew after a second: until then one that was replaced is served
 * as it was, under its own entity tag. Any thread.
 */
#ifndef FG_SERVER_PARTS_H
#define FG_SERVER_PARTS_H

#include "base/buf.h"

struct fg_parts;
struct fg_part; /* one file; it may leave the table while somebody reads it */

struct fg_parts *fg_parts_new(void) FG_MUST_USE;
void fg_parts_free(struct fg_parts *p);

/* A file of a layer was opened: remember it. fd stays the caller's. A file that is
 * known under that tag keeps its mapping. */
void fg_parts_put(struct fg_parts *p, uint32_t layer, const char *uuid,
    const char *name, int fd, uint64_t size, uint64_t etag);

/* A file that is remembered, with its size and tag, and a reference for the caller;
 * NULL: it is not, or not any more. */
struct fg_part *fg_parts_find(struct fg_parts *p, uint32_t layer, const char *uuid,
    const char *name, uint64_t *size, uint64_t *etag) FG_MUST_USE;
void fg_parts_unref(struct fg_part *e);
/*
 * A descriptor of it, the caller's, if the bytes [first, first + len), len > 0 and
 * within its size, are in memory and can be sent without waiting; else -1, also where
 * the system does not say so: Linux tells only who owns the file or may write it. What
 * was found in memory is believed for some seconds.
 */
int fg_parts_open(struct fg_part *e, uint64_t first, uint64_t len) FG_MUST_USE;
/* Whether all of these bytes are, as far as the system says so: false if in doubt. */
bool fg_parts_has(struct fg_part *e, uint64_t first, uint64_t len);
/* A copy of these bytes, if that needs no waiting; else NULL. */
struct fg_buf *fg_parts_read(struct fg_part *e, uint64_t first,
    uint64_t len) FG_MUST_USE;

#endif
