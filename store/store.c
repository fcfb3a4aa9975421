/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A data directory: opening, locking, layers, reading.
 *
 * A `struct fg_store` is made by fg_store_open and lives until fg_store_close; all
 * readers must be closed before. Reading payloads is open to any thread: slabs that
 * are in use stay open in a small table, so that a read is one pread. What changes the
 * directory is in commit.c, start-up checks are in recover.c, tools in care.c.
 */
#include "config.h"

#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "store/disk.h"
#include "store/index_object.h"
#include "store/store_impl.h"
#include "store/uuid.h"

#define SLAB_MAX_DEFAULT (UINT64_C(1) << 30)
#define MIN_FREE_DEFAULT 0.05

/* ------------------------------------------------------------- lock */

static int
fail_locked(int fd, const char *root, struct fg_err *err)
{
	char pid[32] = "";
	ssize_t n = pread(fd, pid, sizeof pid - 1, 0);

	pid[n > 0 ? n : 0] = '\0';
	pid[strcspn(pid, "\n")] = '\0';
	return fg_fail(err, FG_EBUSY, "data directory %s is in use by process %s", root,
	    *pid ? pid : "(unknown)");
}

static int
take_lock(struct fg_store *s, struct fg_err *err)
{
	char *path = fg_asprintf("%s/lock", s->root);
	char pid[32];
	int rc = -1, n;

	s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (s->lock_fd < 0) {
		fg_fail_errno(err, "%s", path);
		goto out;
	}
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			fail_locked(s->lock_fd, s->root, err);
		else
			fg_fail_errno(err, "%s", path);
		goto out;
	}
	n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
	if (ftruncate(s->lock_fd, 0) < 0 ||
	    fg_file_pwrite(s->lock_fd, pid, (size_t)n, 0, path, NULL) < 0) {
		/* The pid is for people: a full disk must not keep us from starting. */
	}
	rc = 0;
out:
	free(path);
	return rc;
}

/* A process that only reads says so, and slabs are not deleted under it. Where the file
 * is not there or cannot be opened (a copy on a read-only disk) nobody deletes either.
 */
static void
join_readers(struct fg_store *s)
{
	char *path = fg_asprintf("%s/readers", s->root);
	int flags = s->mode == FG_STORE_READ ? O_RDONLY : O_RDWR | O_CREAT;
	int fd = open(path, flags | O_CLOEXEC, 0666);

	free(path);
	if (fd >= 0 && s->mode == FG_STORE_READ && flock(fd, LOCK_SH) == 0)
		s->readers_fd = fd;
	else if (fd >= 0)
		close(fd);
}

/* ------------------------------------------------------------- opening */

struct fg_store *
fg_store_prepare(const char *root, enum fg_store_mode mode,
    const struct fg_store_options *opt, struct fg_err *err)
{
	const char *dir = opt && opt->index_dir ? opt->index_dir : root;
	struct fg_store *s = fg_calloc(1, sizeof *s);
	struct stat st;

	s->root = fg_strdup(root);
	s->index_path = fg_asprintf("%s/index.sqlite", dir);
	s->slab_dir = fg_asprintf("%s/slabs", root);
	s->mode = mode;
	s->lock_fd = s->readers_fd = -1;
	s->slab_max = opt && opt->slab_max ? opt->slab_max : SLAB_MAX_DEFAULT;
	s->min_free = opt && opt->min_free != 0 ? opt->min_free : MIN_FREE_DEFAULT;
	s->next_slab = 1;
	pthread_mutex_init(&s->open_lock, NULL);
	fg_crash_init(&s->crash);
	if (mode == FG_STORE_CREATE &&
	    (fg_file_mkdirs(s->slab_dir, err) < 0 || fg_file_mkdirs(dir, err) < 0))
		goto fail;
	if (stat(root, &st) < 0) {
		fg_fail_errno(err, "data directory %s", root);
		goto fail;
	}
	if (fg_disk_check_index(dir, err) < 0)
		goto fail;
	if (mode != FG_STORE_READ && take_lock(s, err) < 0)
		goto fail;
	join_readers(s);
	return s;
fail:
	fg_store_close(s);
	return NULL;
}

/* An index may only be made where no slab is: an empty one beside slabs would hide what
 * they hold. */
static int
check_creatable(struct fg_store *s, struct fg_err *err)
{
	uint32_t *ids;
	size_t n;

	if (access(s->index_path, F_OK) == 0)
		return 0;
	if (fg_slab_list(s->slab_dir, &ids, &n, err) < 0)
		return -1;
	free(ids);
	if (n > 0)
		return fg_fail(err, FG_ECORRUPT,
		    "%s is missing, but there are slabs (%zu): make it again with "
		    "\"floodgate reindex\"",
		    s->index_path, n);
	if (s->mode == FG_STORE_CREATE)
		return 0;
	return fg_fail(err, FG_ENOENT, "%s is no data directory: it has no index",
	    s->root);
}

static struct fg_index *
open_index(struct fg_store *s, struct fg_err *err)
{
	enum fg_index_mode mode =
	    s->mode == FG_STORE_READ ? FG_INDEX_READ : FG_INDEX_WRITE;
	struct fg_index *ix;

	if (check_creatable(s, err) < 0)
		return NULL;
	if (access(s->index_path, F_OK) < 0) {
		ix = fg_index_open(s->index_path, FG_INDEX_CREATE, err);
		if (!ix)
			return NULL;
		if (fg_uuid_new(s->uuid, err) < 0 ||
		    fg_index_uuid_put(ix, s->uuid, err) < 0) {
			fg_index_close(ix);
			return NULL;
		}
	} else {
		/* CREATE finishes a file that a crash left without tables. */
		if (s->mode == FG_STORE_CREATE)
			mode = FG_INDEX_CREATE;
		ix = fg_index_open(s->index_path, mode, err);
	}
	return ix;
}

/* The uuid of the index; one that a crash kept from being written is made now. */
static int
read_uuid(struct fg_store *s, struct fg_index *ix, struct fg_err *err)
{
	struct fg_err e = FG_ERR_INIT;

	if (fg_index_uuid(ix, s->uuid, &e) < 0) {
		if (s->mode != FG_STORE_CREATE)
			return fg_fail(err, e.code, "%s", e.msg);
		if (fg_uuid_new(s->uuid, err) < 0 ||
		    fg_index_uuid_put(ix, s->uuid, err) < 0)
			return -1;
	}
	if (!fg_uuid_parse(s->uuid, s->uuid_bytes))
		return fg_fail(err, FG_ECORRUPT, "index: \"%s\" is no uuid", s->uuid);
	return 0;
}

/* The folder that the index is in. */
static char *
index_dir(const struct fg_store *s)
{
	return fg_strndup(s->index_path,
	    (size_t)(strrchr(s->index_path, '/') - s->index_path));
}

/* What was made just now must be found again after a power failure. */
static int
sync_names(const struct fg_store *s, struct fg_err *err)
{
	char *dir = index_dir(s);
	int rc = fg_file_sync_dir(dir, err);

	free(dir);
	return rc < 0 ? -1 : fg_file_sync_dir(s->root, err);
}

struct fg_store *
fg_store_open(const char *root, enum fg_store_mode mode,
    const struct fg_store_options *opt, struct fg_err *err)
{
	struct fg_store *s = fg_store_prepare(root, mode, opt, err);
	struct fg_index *ix;
	int rc = -1;

	if (!s)
		return NULL;
	ix = open_index(s, err);
	if (!ix)
		goto out;
	if (mode != FG_STORE_READ)
		s->index = ix;
	if (mode == FG_STORE_CREATE && sync_names(s, err) < 0)
		goto out;
	if (read_uuid(s, ix, err) < 0 || fg_known_load(&s->catalog, ix, err) < 0 ||
	    fg_recover(s, ix, err) < 0)
		goto out;
	rc = 0;
out:
	if (mode == FG_STORE_READ)
		fg_index_close(ix);
	if (rc == 0)
		return s;
	fg_store_close(s);
	return NULL;
}

void
fg_store_close(struct fg_store *s)
{
	if (!s)
		return;
	fg_slab_close(s->slab);
	fg_index_close(s->index);
	fg_known_fini(&s->catalog);
	for (size_t i = 0; i < FG_OPEN_SLABS; i++) {
		if (s->open[i].slab)
			close(s->open[i].fd);
	}
	for (size_t i = 0; i < s->degradeds; i++)
		free(s->degraded[i].why);
	free(s->degraded);
	free(s->touch);
	pthread_mutex_destroy(&s->open_lock);
	if (s->lock_fd >= 0)
		close(s->lock_fd);
	if (s->readers_fd >= 0)
		close(s->readers_fd);
	free(s->root);
	free(s->index_path);
	free(s->slab_dir);
	free(s);
}

const char *
fg_store_root(const struct fg_store *s)
{
	return s->root;
}

const char *
fg_store_uuid(const struct fg_store *s)
{
	return s->uuid;
}

const char *
fg_store_index_path(const struct fg_store *s)
{
	return s->index_path;
}

int
fg_store_room(struct fg_store *s, struct fg_err *err)
{
	char *dir;
	int rc;

	if (fg_disk_check_room(s->slab_dir, s->min_free, err) < 0)
		return -1;
	dir = index_dir(s);
	rc = fg_disk_check_room(dir, s->min_free, err);
	free(dir);
	return rc;
}

const char *
fg_store_why(const struct fg_store *s, uint32_t layer)
{
	for (size_t i = 0; i < s->degradeds; i++) {
		if (s->degraded[i].layer == layer)
			return s->degraded[i].why;
	}
	return NULL;
}

char *
fg_store_slab_path(const struct fg_store *s, uint32_t slab)
{
	char name[FG_SLAB_NAME];

	fg_slab_name_format(slab, name);
	return fg_asprintf("%s/%s", s->slab_dir, name);
}

void
fg_layer_row_fini(struct fg_layer_row *r)
{
	free(r->name);
	free(r->kind);
	free(r->info);
	free(r->source);
	free(r->recipe);
	free(r->grid);
	free(r->why);
	*r = (struct fg_layer_row){0};
}

/* ------------------------------------------------------------- readers */

struct fg_reader {
	struct fg_store *store;
	struct fg_index *ix;
};

struct fg_reader *
fg_reader_open(struct fg_store *s, struct fg_err *err)
{
	struct fg_index *ix = fg_index_open(s->index_path, FG_INDEX_READ, err);
	struct fg_reader *r;

	if (!ix)
		return NULL;
	r = fg_alloc(sizeof *r);
	*r = (struct fg_reader){.store = s, .ix = ix};
	return r;
}

void
fg_reader_close(struct fg_reader *r)
{
	if (!r)
		return;
	fg_index_close(r->ix);
	free(r);
}

int
fg_store_layers(struct fg_reader *r, struct fg_layer_row **rows, size_t *n,
    struct fg_err *err)
{
	if (fg_index_layers(r->ix, rows, n, err) < 0)
		return -1;
	for (size_t i = 0; i < *n; i++) {
		const char *why = fg_store_why(r->store, (*rows)[i].layer);

		(*rows)[i].degraded = why != NULL;
		(*rows)[i].why = why ? fg_strdup(why) : NULL;
	}
	return 0;
}

int
fg_reader_find(struct fg_reader *r, const struct fg_key *key, struct fg_place *place,
    struct fg_err *err)
{
	return fg_index_find(r->ix, key, 0, place, err);
}

int
fg_reader_part(struct fg_reader *r, const struct fg_key *key, uint64_t part,
    struct fg_place *place, struct fg_err *err)
{
	return fg_index_find(r->ix, key, part, place, err);
}

int
fg_reader_gen(struct fg_reader *r, const struct fg_key *key, uint64_t part, int64_t gen,
    struct fg_place *place, struct fg_err *err)
{
	return fg_index_find_gen(r->ix, key, part, gen, place, err);
}

int
fg_reader_block(struct fg_reader *r, uint32_t layer, uint64_t at,
    struct fg_block_row *out, struct fg_err *err)
{
	return fg_index_block(r->ix, layer, at, out, err);
}

int
fg_reader_blocks(struct fg_reader *r, uint32_t layer,
    int (*fn)(void *ctx, const struct fg_block_row *row), void *ctx, struct fg_err *err)
{
	return fg_index_blocks(r->ix, layer, fn, ctx, err);
}

int
fg_reader_parts(struct fg_reader *r, const struct fg_key *key, uint64_t **part,
    size_t *n, struct fg_err *err)
{
	return fg_index_parts(r->ix, key, part, n, err);
}

int
fg_reader_ids(struct fg_reader *r, const struct fg_key *key, const uint64_t *after,
    size_t max, uint64_t **id, size_t *n, struct fg_err *err)
{
	return fg_index_ids(r->ix, key, after, max, id, n, err);
}

int
fg_reader_part_of(struct fg_reader *r, const struct fg_key *key, int64_t gen,
    uint64_t *part, bool *there, struct fg_err *err)
{
	return fg_index_part_of(r->ix, key, gen, part, there, err);
}

int
fg_reader_rows(struct fg_reader *r, const struct fg_key *key, uint64_t *n,
    struct fg_err *err)
{
	return fg_index_rows(r->ix, key, n, err);
}

int
fg_reader_rows_of(struct fg_reader *r, const struct fg_key *key,
    const struct fg_row *after, size_t max, struct fg_row **out, size_t *n,
    struct fg_err *err)
{
	return fg_index_rows_of(r->ix, key, after, max, out, n, err);
}

int
fg_reader_next_id(struct fg_reader *r, const struct fg_key *key, uint64_t after,
    uint64_t *id, bool *there, struct fg_err *err)
{
	return fg_index_next_id(r->ix, key, after, id, there, err);
}

int
fg_reader_run_by(struct fg_reader *r, int64_t ended_ms, int64_t *run,
    struct fg_err *err)
{
	return fg_index_run_by(r->ix, ended_ms, run, err);
}

int
fg_reader_blocks_done(struct fg_reader *r, uint32_t layer, uint64_t *n,
    struct fg_err *err)
{
	return fg_index_blocks_done(r->ix, layer, n, err);
}

int
fg_reader_run(struct fg_reader *r, int64_t run, char **json, struct fg_err *err)
{
	return fg_index_run(r->ix, run, json, err);
}

int
fg_reader_count(struct fg_reader *r, uint32_t layer, struct fg_store_counts *out,
    struct fg_err *err)
{
	return fg_index_count(r->ix, layer, out, err);
}

static uint64_t
file_bytes(const char *path, const char *suffix)
{
	char *name = fg_asprintf("%s%s", path, suffix);
	struct stat st;
	bool there = stat(name, &st) == 0;

	free(name);
	return there ? (uint64_t)st.st_size : 0;
}

int
fg_reader_sizes(struct fg_reader *r, struct fg_store_sizes *out, struct fg_err *err)
{
	struct fg_slab_row *rows = NULL;
	size_t n = 0;

	if (fg_index_slabs(r->ix, &rows, &n, err) < 0)
		return -1;
	memset(out, 0, sizeof *out);
	out->slabs = n;
	for (size_t i = 0; i < n; i++) {
		out->slab_bytes += rows[i].len;
		out->dead_bytes += rows[i].dead;
	}
	free(rows);
	out->index_bytes = file_bytes(r->store->index_path, "") +
			   file_bytes(r->store->index_path, "-wal");
	return 0;
}

int
fg_reader_recent(struct fg_reader *r, int max, char **json, struct fg_err *err)
{
	return fg_index_recent(r->ix, max, json, err);
}

int
fg_reader_jobs(struct fg_reader *r, struct fg_job_row **rows, size_t *n,
    struct fg_err *err)
{
	return fg_index_jobs(r->ix, rows, n, err);
}

int
fg_reader_block_ms(struct fg_reader *r, uint32_t layer, double *ms, int *n,
    struct fg_err *err)
{
	return fg_index_block_ms(r->ix, layer, ms, n, err);
}

/* ------------------------------------------------------------- objects */

int
fg_reader_object(struct fg_reader *r, uint32_t layer, uint64_t id,
    struct fg_object *out, struct fg_err *err)
{
	return fg_index_object(r->ix, layer, id, out, err);
}

int
fg_reader_public(struct fg_reader *r, uint32_t layer, const uint64_t *id, size_t n,
    uint64_t *public_id, struct fg_err *err)
{
	return fg_index_public(r->ix, layer, id, n, public_id, err);
}

int
fg_reader_object_blocks(struct fg_reader *r, uint32_t layer, uint64_t id, bool whole,
    struct fg_object_block **out, size_t *n, struct fg_err *err)
{
	return fg_index_object_blocks(r->ix, layer, id, whole, out, n, err);
}

int
fg_reader_members(struct fg_reader *r, uint32_t layer, uint64_t id, uint64_t **out,
    size_t *n, struct fg_err *err)
{
	return fg_index_members(r->ix, layer, id, out, n, err);
}

int
fg_reader_block_objects(struct fg_reader *r, uint32_t layer, uint64_t at,
    uint64_t **out, size_t *n, struct fg_err *err)
{
	return fg_index_block_objects(r->ix, layer, at, out, n, err);
}

int
fg_reader_objects(struct fg_reader *r, uint32_t layer, bool whole,
    enum fg_object_order order, uint64_t after, size_t max, struct fg_object **out,
    size_t *n, struct fg_err *err)
{
	return fg_index_objects(r->ix, layer, whole, order, after, max, out, n, err);
}

int
fg_reader_merge_gen(struct fg_reader *r, uint32_t layer, int64_t *gen,
    struct fg_err *err)
{
	return fg_index_merge_gen(r->ix, layer, gen, err);
}

int
fg_reader_merges(struct fg_reader *r, uint32_t layer, uint64_t id, uint64_t skip,
    size_t max, struct fg_merge **out, size_t *n, struct fg_err *err)
{
	return fg_index_merges(r->ix, layer, id, skip, max, out, n, err);
}

int
fg_reader_edits(struct fg_reader *r, uint32_t layer, int64_t after, size_t max,
    struct fg_edit **out, size_t *n, struct fg_err *err)
{
	return fg_index_edits(r->ix, layer, after, max, out, n, err);
}

int
fg_reader_block_merges(struct fg_reader *r, uint32_t layer, uint64_t at,
    struct fg_merge **out, size_t *n, struct fg_err *err)
{
	return fg_index_block_merges(r->ix, layer, at, out, n, err);
}

int
fg_reader_contacts(struct fg_reader *r, uint32_t layer, uint64_t id, uint64_t skip,
    size_t max, struct fg_contact **out, size_t *n, struct fg_err *err)
{
	return fg_index_contacts(r->ix, layer, id, skip, max, out, n, err);
}

int
fg_reader_unresegmented(struct fg_reader *r, uint32_t layer, uint64_t after, size_t max,
    uint64_t **out, size_t *n, struct fg_err *err)
{
	return fg_index_unresegmented(r->ix, layer, after, max, out, n, err);
}

int
fg_reader_unstitched(struct fg_reader *r, uint32_t layer, uint64_t after, size_t max,
    uint64_t **out, size_t *n, struct fg_err *err)
{
	return fg_index_unstitched(r->ix, layer, after, max, out, n, err);
}

/* ------------------------------------------------------------- payloads */

/* A descriptor of the slab from the table, or -1. The table's lock is held. */
static int
borrow(struct fg_store *s, uint32_t slab)
{
	struct fg_open_slab *o = &s->open[slab % FG_OPEN_SLABS];

	if (o->slab != slab)
		return -1;
	o->refs++;
	return o->fd;
}

/* An open descriptor of the slab; -1 with *err unset if nowait and none is open. */
static int
slab_fd(struct fg_store *s, uint32_t slab, bool nowait, struct fg_err *err)
{
	struct fg_open_slab *o = &s->open[slab % FG_OPEN_SLABS];
	int fd, have, stale = -1;
	char *path;

	pthread_mutex_lock(&s->open_lock);
	fd = borrow(s, slab);
	pthread_mutex_unlock(&s->open_lock);
	if (fd >= 0 || nowait)
		return fd;
	path = fg_store_slab_path(s, slab);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		/* Never FG_ENOENT: a lost slab is a fault, not an absent chunk. */
		fg_fail(err, FG_EIO, "slab %06u: %s", (unsigned)slab, strerror(errno));
	free(path);
	if (fd < 0)
		return -1;
	pthread_mutex_lock(&s->open_lock);
	have = borrow(s, slab);
	if (have < 0 && o->refs == 0) {
		if (o->slab)
			stale = o->fd;
		*o = (struct fg_open_slab){.slab = slab, .fd = fd, .refs = 1};
	} else if (have >= 0) { /* another thread was faster */
		stale = fd;
		fd = have;
	}
	pthread_mutex_unlock(&s->open_lock);
	if (stale >= 0)
		close(stale);
	return fd;
}

static void
slab_fd_return(struct fg_store *s, uint32_t slab, int fd)
{
	struct fg_open_slab *o = &s->open[slab % FG_OPEN_SLABS];
	bool mine;

	pthread_mutex_lock(&s->open_lock);
	mine = o->slab == slab && o->fd == fd;
	if (mine)
		o->refs--;
	pthread_mutex_unlock(&s->open_lock);
	if (!mine) /* its entry was taken by a busy slab */
		close(fd);
}

void
fg_store_slab_drop(struct fg_store *s, uint32_t slab)
{
	struct fg_open_slab *o = &s->open[slab % FG_OPEN_SLABS];
	int fd = -1;

	pthread_mutex_lock(&s->open_lock);
	/* A slab that is being read just now keeps its bytes until its entry is needed
	 * for another. */
	if (o->slab == slab && o->refs == 0) {
		fd = o->fd;
		*o = (struct fg_open_slab){0};
	}
	pthread_mutex_unlock(&s->open_lock);
	if (fd >= 0)
		close(fd);
}

/* All n bytes without waiting for the disk? False also where the file system cannot
 * tell. */
static bool
read_cached(int fd, void *p, size_t n, uint64_t off)
{
	struct iovec v = {.iov_base = p, .iov_len = n};

	return n == 0 || preadv2(fd, &v, 1, (off_t)off, RWF_NOWAIT) == (ssize_t)n;
}

int
fg_store_read(struct fg_store *s, const struct fg_place *place, bool nowait,
    struct fg_buf **out, struct fg_err *err)
{
	struct fg_buf *b = NULL;
	char what[32];
	uint32_t crc;
	int fd, rc = -1;

	if (place->slab == 0)
		return fg_fail(err, FG_EINVAL, "this place holds no bytes");
	if (place->len > FG_SLAB_BODY_MAX)
		return fg_fail(err, FG_ECORRUPT,
		    "slab %06u at %llu: %llu bytes are too many for one record",
		    (unsigned)place->slab, (unsigned long long)place->off,
		    (unsigned long long)place->len);
	fd = slab_fd(s, place->slab, nowait, err);
	if (fd < 0 && nowait) {
		*out = NULL;
		return 0;
	}
	if (fd < 0)
		return -1;
	snprintf(what, sizeof what, "slab %06u", (unsigned)place->slab);
	b = fg_buf_new(place->len);
	if (!b) {
		fg_fail(err, FG_ENOMEM, "%s: no memory for %llu bytes", what,
		    (unsigned long long)place->len);
		goto out;
	}
	if (nowait && !read_cached(fd, b->data, b->len, place->off)) {
		*out = NULL;
		rc = 0;
		goto out;
	}
	if (!nowait && fg_file_pread(fd, b->data, b->len, place->off, what, err) < 0)
		goto out;
	crc = fg_crc32c(0, b->data, b->len);
	if (crc != place->crc) {
		fg_fail(err, FG_ECORRUPT,
		    "%s at %llu: checksum of %llu bytes is %08x, the index says %08x",
		    what, (unsigned long long)place->off,
		    (unsigned long long)place->len, crc, place->crc);
		goto out;
	}
	*out = b;
	b = NULL;
	rc = 0;
out:
	fg_buf_unref(b);
	slab_fd_return(s, place->slab, fd);
	return rc;
}
