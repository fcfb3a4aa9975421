/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A long part of a file whose bytes may have to come from a disk. Event threads send
 * only what is in the page cache; the rest is brought by io threads, a window at a
 * time, while the connection sleeps. Of the order of 1 MB of memory each.
 */
#ifndef FG_SERVER_DOWNLOAD_H
#define FG_SERVER_DOWNLOAD_H

#include <microhttpd.h>

#include "work/sched.h"

/*
 * The reply with the `len` bytes from `first` on, for conn alone. fd is taken over;
 * NULL (no memory): it is still the caller's. A file that has become shorter ends the
 * connection early, as does a scheduler that takes no calls.
 */
struct MHD_Response *fg_download_response(struct fg_sched *sched,
    struct MHD_Connection *conn, int fd, uint64_t first, uint64_t len);

#endif
