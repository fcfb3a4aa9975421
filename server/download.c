/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who may touch a download: the event thread until it has suspended the connection, the
 * io thread until it resumes it. The response, and with it the download, outlives both.
 */
#include "config.h"

#include "server/download.h"

#include <stdlib.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"

/* Read at a time: by an io thread, and by the event thread of what is in memory, about
 * 0.03 ms of copying. */
#define WINDOW (1 << 20)
#define BLOCK (256 << 10)

struct download {
	struct fg_sched *sched;
	struct MHD_Connection *conn;
	int fd;
	uint64_t first, len; /* of the reply, in the file */
	uint64_t at;         /* of the window, in the reply */
	size_t have;         /* bytes in it */
	bool failed;
	uint8_t *window; /* NULL until it is needed */
};

/* On an io thread. */
static void
bring_window(void *ctx)
{
	struct download *d = ctx;
	struct MHD_Connection *conn = d->conn;
	size_t n = (size_t)FG_MIN(d->len - d->at, (uint64_t)WINDOW);
	struct fg_err err = FG_ERR_INIT;

	if (!d->window)
		d->window = fg_try_alloc(WINDOW, 1);
	if (!d->window ||
	    fg_file_pread(d->fd, d->window, n, d->first + d->at, "file", &err) < 0) {
		fg_log(FG_LOG_WARN, "a download ends early: %s",
		    d->window ? err.msg : "no memory");
		d->failed = true;
	}
	d->have = d->failed ? 0 : n;
	MHD_resume_connection(conn);
}

static ssize_t
read_download(void *ctx, uint64_t pos, char *buf, size_t max)
{
	struct download *d = ctx;
	struct iovec v = {buf, (size_t)FG_MIN(d->len - pos, (uint64_t)max)};
	ssize_t n;

	if (d->failed)
		return MHD_CONTENT_READER_END_WITH_ERROR;
	if (pos >= d->at && pos - d->at < d->have) {
		size_t skip = (size_t)(pos - d->at),
		       k = FG_MIN(v.iov_len, d->have - skip);

		memcpy(buf, d->window + skip, k);
		return (ssize_t)k;
	}
	n = preadv2(d->fd, &v, 1, (off_t)(d->first + pos), RWF_NOWAIT);
	if (n > 0)
		return n;
	d->at = pos;
	d->have = 0;
	MHD_suspend_connection(d->conn);
	if (!fg_sched_call(d->sched, FG_RES_IO, FG_BULK, bring_window, d)) {
		d->failed = true;
		MHD_resume_connection(d->conn);
	}
	return 0;
}

static void
free_download(void *ctx)
{
	struct download *d = ctx;

	close(d->fd);
	free(d->window);
	free(d);
}

struct MHD_Response *
fg_download_response(struct fg_sched *sched, struct MHD_Connection *conn, int fd,
    uint64_t first, uint64_t len)
{
	struct download *d = fg_calloc(1, sizeof *d);
	struct MHD_Response *m;

	*d = (struct download){.sched = sched,
	    .conn = conn,
	    .fd = fd,
	    .first = first,
	    .len = len};
	m = MHD_create_response_from_callback(len, BLOCK, read_download, d,
	    free_download);
	if (!m)
		free(d);
	return m;
}
