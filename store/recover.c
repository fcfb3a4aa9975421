/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Start-up: slabs and index are compared, and what the one has and the other lacks is
 * dealt with, without ever shortening a slab or deleting rows in bulk.
 *
 *   slab longer than the index knows   its tail is replayed (replay.c): results that
 *                                      are whole are indexed, the rest is counted dead
 *   slab that the index does not know  replayed from its beginning
 *   slab missing or short              layers with rows there are degraded
 */
#include "config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "store/store_impl.h"

/* ------------------------------------------------------------- degraded layers */

struct degrade {
	struct fg_store *s;
	char *why;
};

static int
degrade(void *ctx, uint32_t layer)
{
	struct degrade *d = ctx;
	struct fg_store *s = d->s;

	if (fg_store_why(s, layer))
		return 0; /* the first reason is enough */
	s->degraded = fg_realloc(s->degraded, s->degradeds + 1, sizeof *s->degraded);
	s->degraded[s->degradeds++] =
	    (struct fg_degraded){.layer = layer, .why = fg_strdup(d->why)};
	if (s->mode != FG_STORE_READ)
		fg_log(FG_LOG_WARN, "layer degraded id=%u reason=\"%s\"",
		    (unsigned)layer, d->why);
	return 0;
}

/* ------------------------------------------------------------- start-up */

static void
log_finding(void *ctx, bool is_error, const char *text)
{
	(void)ctx;
	fg_log(is_error ? FG_LOG_WARN : FG_LOG_INFO, "recovery: %s", text);
}

static int
replay_tail(struct fg_store *s, uint32_t slab, uint64_t known, uint64_t size,
    struct fg_err *err)
{
	struct fg_replay r = {
	    .ix = s->index,
	    .catalog = &s->catalog,
	    .store_uuid = s->uuid_bytes,
	    .fn = log_finding,
	};
	char what[32], *path = fg_store_slab_path(s, slab);
	int rc = -1, fd = open(path, O_RDWR | O_CLOEXEC);
	bool foreign;

	snprintf(what, sizeof what, "slab %06u", (unsigned)slab);
	/* What comes into the index must be on the disk: the writer that made it may
	 * have died before it synced. */
	if (fd < 0 || fdatasync(fd) < 0) {
		fg_fail_errno(err, "%s", path);
		goto out;
	}
	if (fg_file_sync_dir(s->slab_dir, err) < 0)
		goto out;
	r.run0 = fg_index_last_run(s->index, err);
	if (r.run0 < 0)
		goto out;
	if (fg_replay_slab(&r, fd, slab, what, known, size, &foreign, err) < 0)
		goto out;
	if (foreign)
		fg_log(FG_LOG_WARN, "%s holds nothing of this store: left alone", what);
	else
		fg_log(FG_LOG_INFO,
		    "recovered %s bytes=%llu results=%llu layers=%llu damaged=%llu",
		    what, (unsigned long long)(size - known),
		    (unsigned long long)r.results, (unsigned long long)r.layers,
		    (unsigned long long)r.lost);
	rc = foreign ? 1 : 0;
out:
	fg_replay_fini(&r);
	free(path);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* One slab that is in the index, on the disk, or both. */
static int
recover_slab(struct fg_store *s, struct fg_index *ix, const struct fg_slab_row *row,
    bool exists, struct fg_err *err)
{
	char *path = fg_store_slab_path(s, row->slab);
	struct degrade d = {.s = s};
	struct stat st = {0};
	uint64_t size;
	int rc = 0;

	if (exists && stat(path, &st) < 0) {
		rc = fg_fail_errno(err, "%s", path);
		goto out;
	}
	size = (uint64_t)st.st_size;
	if (!exists && row->closed && row->len > 0 && row->dead >= row->len) {
		/* Compaction deleted it and was killed before it said so. */
		if (s->mode != FG_STORE_READ)
			rc = fg_index_slab_forget(ix, row->slab, err);
	} else if (!exists || size < row->len) { /* len 0: its number stays taken */
		d.why = exists
			    ? fg_asprintf("slab %06u has %llu bytes of %llu",
				  (unsigned)row->slab, (unsigned long long)size,
				  (unsigned long long)row->len)
			    : fg_asprintf("slab %06u is missing", (unsigned)row->slab);
		rc = fg_index_slab_users(ix, row->slab, size, degrade, &d, err);
	} else if (size > row->len && s->mode != FG_STORE_READ) {
		rc = replay_tail(s, row->slab, row->len, size, err);
	}
	/* Appending goes on in the last slab, if that is sound. */
	s->slab_id = 0;
	if (rc == 0 && exists && size >= row->len && size < s->slab_max && size > 0 &&
	    !row->closed) {
		s->slab_id = row->slab;
		s->slab_known = size;
	}
	rc = rc < 0 ? -1 : 0;
	s->next_slab = FG_MAX(s->next_slab, row->slab + 1);
out:
	free(d.why);
	free(path);
	return rc;
}

int
fg_recover(struct fg_store *s, struct fg_index *ix, struct fg_err *err)
{
	struct fg_slab_row *rows = NULL;
	uint32_t *ids = NULL;
	size_t nrows = 0, nids = 0, i = 0, j = 0;
	int rc = -1;

	if (fg_index_slabs(ix, &rows, &nrows, err) < 0 ||
	    fg_slab_list(s->slab_dir, &ids, &nids, err) < 0)
		goto out;
	if (s->mode != FG_STORE_READ && fg_file_mkdirs(s->slab_dir, err) < 0)
		goto out;
	rc = 0;
	/* Both lists are ascending: one pass over their union. */
	while ((i < nrows || j < nids) && rc == 0) {
		uint32_t a = i < nrows ? rows[i].slab : UINT32_MAX;
		uint32_t b = j < nids ? ids[j] : UINT32_MAX;
		struct fg_slab_row none = {.slab = b};

		rc = recover_slab(s, ix, a <= b ? &rows[i] : &none, b <= a, err);
		i += a <= b;
		j += b <= a;
	}
out:
	free(rows);
	free(ids);
	return rc;
}
