/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tools that work on a whole data directory: reindex, repair, backup. (verify.c has
 * the fourth.) The first two hold the lock; a backup reads beside a writer.
 */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "store/store_impl.h"
#include "store/uuid.h"
#include "store/verify.h"

FG_PRINTF(4, 5)
static void
tell(fg_finding_fn *fn, void *ctx, bool is_error, const char *fmt, ...)
{
	char line[900];
	va_list ap;

	if (!fn)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	fn(ctx, is_error, line);
}

/* ------------------------------------------------------------- reindex */

struct reindex {
	struct fg_store *s;
	struct fg_replay replay;
	struct fg_index *old; /* NULL: cannot be read */
	struct fg_index *ix;
	char *path; /* of the new one, until it takes its place */
	uint32_t *ids;
	bool *foreign; /* by number in ids */
	size_t n;
};

static int
open_slab(struct fg_store *s, uint32_t id, struct stat *st, struct fg_err *err)
{
	char *path = fg_store_slab_path(s, id);
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, st) < 0) {
		fg_fail_errno(err, "slab %06u", (unsigned)id);
		if (fd >= 0)
			close(fd);
		fd = -1;
	}
	free(path);
	return fd;
}

static int
note_uuid(void *ctx, const struct fg_record *r, bool whole, const char *body)
{
	(void)body;
	if (!whole || r->type != FG_REC_SLAB)
		return 0;
	memcpy(ctx, r->uuid, 16);
	return 1;
}

/* The store's uuid: from the old index, else from the first slab that names one. */
static int
find_uuid(struct reindex *x, struct fg_err *err)
{
	struct fg_store *s = x->s;

	if (x->old && fg_index_uuid(x->old, s->uuid, NULL) == 0 &&
	    fg_uuid_parse(s->uuid, s->uuid_bytes))
		return 0;
	for (size_t i = 0; i < x->n; i++) {
		struct fg_slab_scan stats;
		struct stat st;
		int rc, fd = open_slab(s, x->ids[i], &st, err);

		if (fd < 0)
			return -1;
		rc = fg_slab_scan(fd, x->ids[i], "slab", 0, (uint64_t)st.st_size,
		    note_uuid, NULL, s->uuid_bytes, &stats, err);
		close(fd);
		if (rc < 0)
			return -1;
		if (rc > 0) {
			fg_uuid_format(s->uuid_bytes, s->uuid);
			return 0;
		}
	}
	return fg_fail(err, FG_ECORRUPT,
	    "neither an index nor a slab says which store this is");
}

/* First all slabs are surveyed, then replayed. */
static int
survey_slab(struct reindex *x, size_t i, struct fg_err *err)
{
	struct fg_replay *r = &x->replay;
	struct fg_slab_row row = {.slab = x->ids[i]};
	struct stat st;
	int rc, fd = open_slab(x->s, x->ids[i], &st, err);
	char what[32];

	if (fd < 0)
		return -1;
	snprintf(what, sizeof what, "slab %06u", (unsigned)x->ids[i]);
	rc = fg_replay_survey(r, fd, x->ids[i], what, (uint64_t)st.st_size,
	    &x->foreign[i], err);
	close(fd);
	r->done += (uint64_t)st.st_size;
	if (r->progress && r->all)
		r->progress(r->ctx, r->done, r->all);
	if (rc == 0 && x->foreign[i])
		tell(r->fn, r->ctx, true, "%s holds nothing of this store: left out",
		    what);
	if (rc < 0 || x->foreign[i])
		return rc;
	/* A copy there may be replaced before the slab's turn: its bytes are dead. */
	row.len = (uint64_t)st.st_size;
	return fg_index_slab_put(x->ix, &row, err);
}

static int
replay_slab(struct reindex *x, size_t i, struct fg_err *err)
{
	struct fg_replay *r = &x->replay;
	struct stat st;
	int rc = 0, fd = open_slab(x->s, x->ids[i], &st, err);
	bool foreign = x->foreign[i];
	char what[32];

	if (fd < 0)
		return -1;
	snprintf(what, sizeof what, "slab %06u", (unsigned)x->ids[i]);
	if (!foreign)
		rc = fg_replay_slab(r, fd, x->ids[i], what, 0, (uint64_t)st.st_size,
		    &foreign, err);
	r->done += (uint64_t)st.st_size;
	close(fd);
	return rc;
}

static bool
was_removed(const struct fg_replay *r, const char *text)
{
	uint8_t uuid[16];

	if (!fg_uuid_parse(text, uuid))
		return true;
	for (size_t i = 0; i < r->removeds; i++) {
		if (memcmp(r->removed[i], uuid, 16) == 0)
			return true;
	}
	return false;
}

/* What slabs do not tell of a layer comes from the old index. */
static int
keep_layer(struct reindex *x, struct fg_layer_row *row, struct fg_err *err)
{
	uint8_t uuid[16];
	struct fg_known *k;

	if (was_removed(&x->replay, row->uuid) || !fg_uuid_parse(row->uuid, uuid))
		return 0;
	k = fg_known_find_uuid(&x->s->catalog, uuid);
	if (!k) {
		if (fg_index_layer_add(x->ix, row, err) < 0)
			return -1;
		tell(x->replay.fn, x->replay.ctx, false,
		    "layer %s is in no slab: taken from the old index", row->name);
		return 0;
	}
	if (fg_index_layer_pause(x->ix, k->layer, row->paused, err) < 0)
		return -1;
	return fg_index_layer_gens(x->ix, k->layer, row->merge_gen, row->mesh_epoch,
	    err);
}

static int
keep_layers(struct reindex *x, struct fg_err *err)
{
	struct fg_layer_row *rows;
	size_t n;
	int rc = 0;

	if (!x->old || fg_index_layers(x->old, &rows, &n, NULL) < 0)
		return 0;
	for (size_t i = 0; i < n; i++) {
		if (rc == 0)
			rc = keep_layer(x, &rows[i], err);
		fg_layer_row_fini(&rows[i]);
	}
	free(rows);
	return rc;
}

/* Slabs that the old index knew and that are not there: noted with no bytes, so that
 * their numbers are not used again and they are taken in when they come back. */
static int
keep_slabs(struct reindex *x, struct fg_err *err)
{
	struct fg_slab_row *rows;
	size_t n;
	int rc = 0;

	if (!x->old || fg_index_slabs(x->old, &rows, &n, NULL) < 0)
		return 0;
	for (size_t i = 0; i < n && rc == 0; i++) {
		struct fg_slab_row none = {.slab = rows[i].slab, .closed = true};
		bool there = false;

		for (size_t j = 0; j < x->n; j++)
			there = there || x->ids[j] == rows[i].slab;
		if (there)
			continue;
		tell(x->replay.fn, x->replay.ctx, true,
		    "slab %06u is missing: what it held is not in the index",
		    (unsigned)rows[i].slab);
		rc = fg_index_slab_put(x->ix, &none, err);
	}
	free(rows);
	return rc;
}

static int
build(struct reindex *x, struct fg_err *err)
{
	x->ix = fg_index_open(x->path, FG_INDEX_CREATE, err);
	if (!x->ix || fg_index_uuid_put(x->ix, x->s->uuid, err) < 0)
		return -1;
	x->replay.ix = x->ix;
	x->replay.catalog = &x->s->catalog;
	x->replay.store_uuid = x->s->uuid_bytes;
	x->replay.slab_dir = x->s->slab_dir;
	x->foreign = fg_calloc(x->n + 1, sizeof *x->foreign);
	for (size_t i = 0; i < x->n; i++) {
		if (survey_slab(x, i, err) < 0)
			return -1;
	}
	fg_replay_sort(&x->replay);
	for (size_t i = 0; i < x->n; i++) {
		if (replay_slab(x, i, err) < 0)
			return -1;
	}
	if (keep_layers(x, err) < 0 || keep_slabs(x, err) < 0 ||
	    fg_index_settle_gens(x->ix, x->old ? x->s->index_path : NULL, err) < 0)
		return -1;
	/* Closing folds the WAL into the file and syncs it. */
	fg_index_close(x->ix);
	x->ix = NULL;
	return 0;
}

static int
rename_if_there(const char *from, const char *to, struct fg_err *err)
{
	if (rename(from, to) < 0 && errno != ENOENT)
		return fg_fail_errno(err, "%s", from);
	return 0;
}

/* The old index (and its WAL, without which it is not whole) steps aside. A crash in
 * between leaves no index: then reindex is asked for again. */
static int
swap(struct reindex *x, struct fg_err *err)
{
	const char *path = x->s->index_path;
	char *old = NULL, *from, *to, *dir;
	int rc = -1;

	for (int i = 1; i < 100000; i++) {
		free(old);
		old = fg_asprintf("%s.old-%d", path, i);
		if (access(old, F_OK) < 0)
			break;
	}
	from = fg_asprintf("%s-wal", path);
	to = fg_asprintf("%s-wal", old);
	dir = fg_strdup(path);
	*strrchr(dir, '/') = '\0';
	if (rename_if_there(from, to, err) < 0 || rename_if_there(path, old, err) < 0)
		goto out;
	free(from);
	from = fg_asprintf("%s-shm", path);
	if (unlink(from) < 0 && errno != ENOENT) {
		fg_fail_errno(err, "%s", from);
		goto out;
	}
	if (rename(x->path, path) < 0) {
		fg_fail_errno(err, "%s", x->path);
		goto out;
	}
	rc = fg_file_sync_dir(dir, err);
out:
	free(old);
	free(from);
	free(to);
	free(dir);
	return rc;
}

static void
remove_index(const char *path)
{
	static const char *const ending[] = {"", "-wal", "-shm", "-journal"};

	for (size_t i = 0; i < FG_COUNTOF(ending); i++) {
		char *p = fg_asprintf("%s%s", path, ending[i]);

		unlink(p);
		free(p);
	}
}

static int
check_slabs(struct reindex *x, struct fg_err *err)
{
	struct fg_slab_row *rows = NULL;
	size_t n = 0;

	if (fg_slab_list(x->s->slab_dir, &x->ids, &x->n, err) < 0)
		return -1;
	if (x->n > 0)
		return 0;
	/* An empty folder is more likely a disk that is not mounted. */
	if (x->old && fg_index_slabs(x->old, &rows, &n, NULL) == 0)
		free(rows);
	if (n > 0)
		return fg_fail(err, FG_ENOENT,
		    "%s holds no slab, but the index knows %zu: is its disk mounted?",
		    x->s->slab_dir, n);
	return fg_fail(err, FG_ENOENT, "%s holds no slab", x->s->slab_dir);
}

int
fg_store_reindex(const char *root, const struct fg_store_options *opt,
    fg_finding_fn *fn, void (*progress)(void *ctx, uint64_t done, uint64_t all),
    void *ctx, struct fg_reindex_stats *stats, struct fg_err *err)
{
	struct reindex x = {.replay = {.fn = fn, .ctx = ctx, .progress = progress}};
	struct stat st;
	int rc = -1;

	x.s = fg_store_prepare(root, FG_STORE_WRITE, opt, err);
	if (!x.s)
		return -1;
	x.path = fg_asprintf("%s.new", x.s->index_path);
	remove_index(x.path);
	x.old = fg_index_open(x.s->index_path, FG_INDEX_OLD, NULL);
	if (check_slabs(&x, err) < 0 || find_uuid(&x, err) < 0)
		goto out;
	for (size_t i = 0; i < x.n; i++) {
		char *path = fg_store_slab_path(x.s, x.ids[i]);

		if (stat(path, &st) == 0)
			x.replay.all += 2 * (uint64_t)st.st_size;
		free(path);
	}
	if (build(&x, err) < 0)
		goto out;
	fg_index_close(x.old);
	x.old = NULL;
	rc = swap(&x, err);
	if (rc == 0 && stats)
		*stats = (struct fg_reindex_stats){x.n, x.replay.results};
out:
	fg_index_close(x.old);
	fg_index_close(x.ix);
	if (rc < 0)
		remove_index(x.path);
	free(x.path);
	free(x.ids);
	free(x.foreign);
	fg_replay_fini(&x.replay);
	fg_store_close(x.s);
	return rc;
}

/* ------------------------------------------------------------- repair */

struct repair {
	struct fg_store *s;
	fg_finding_fn *fn;
	void *ctx;
	struct fg_err *err;
	uint64_t bad;
	uint32_t layer; /* of the rows counted in `of_layer` */
	uint64_t of_layer;
};

static void
tell_layer(struct repair *r)
{
	struct fg_known *k = fg_known_find(&r->s->catalog, r->layer);

	if (r->of_layer > 0)
		tell(r->fn, r->ctx, true, "layer %s: the bytes of %llu rows are lost",
		    k ? k->name : "(unknown)", (unsigned long long)r->of_layer);
	r->of_layer = 0;
}

static int
judge_row(void *ctx, const struct fg_index_entry *e)
{
	struct repair *r = ctx;
	struct fg_known *k = fg_known_find(&r->s->catalog, e->key.layer);
	struct fg_err why = FG_ERR_INIT;

	if (e->key.layer != r->layer) {
		tell_layer(r);
		r->layer = e->key.layer;
	}
	if (e->place.slab == 0 || fg_verify_row(r->s, e, k, true, &why))
		return 0;
	r->bad++;
	if (r->of_layer++ < 10) {
		char name[FG_VERIFY_NAME];

		fg_verify_name(&e->key, k, name);
		tell(r->fn, r->ctx, true, "%s: %s", name, why.msg);
	}
	return fg_index_lose(r->s->index, e->place.run, r->err);
}

/* Rows of slabs that are missing or short say so no longer. */
static int
mend_slabs(struct repair *r, struct fg_err *err)
{
	struct fg_slab_row *rows;
	size_t n;
	int rc = 0;

	if (fg_index_slabs(r->s->index, &rows, &n, err) < 0)
		return -1;
	for (size_t i = 0; i < n && rc == 0; i++) {
		char *path = fg_store_slab_path(r->s, rows[i].slab);
		struct stat st = {0};
		bool there = stat(path, &st) == 0;

		free(path);
		if (there && (uint64_t)st.st_size >= rows[i].len)
			continue;
		/* No bytes known: a slab that comes back later is taken in again. Its
		 * number is never used for another. */
		rows[i].len = there ? (uint64_t)st.st_size : 0;
		rows[i].dead = 0;
		rows[i].closed = true;
		rc = fg_index_slab_put(r->s->index, &rows[i], err);
	}
	free(rows);
	return rc;
}

int
fg_store_repair(const char *root, const struct fg_store_options *opt, fg_finding_fn *fn,
    void *ctx, struct fg_err *err)
{
	struct repair r = {.fn = fn, .ctx = ctx, .err = err};
	uint64_t rows;
	int rc = -1;

	r.s = fg_store_open(root, FG_STORE_WRITE, opt, err);
	if (!r.s)
		return -1;
	if (fg_index_begin(r.s->index, err) < 0)
		goto out;
	if (fg_index_walk(r.s->index, judge_row, &r, err) == 0) {
		tell_layer(&r);
		rc = r.bad > 0 ? fg_index_forget_lost(r.s->index, &rows, err) : 0;
	}
	if (rc == 0 && r.bad > 0)
		tell(fn, ctx, false,
		    "%llu rows deleted: those and the rest of their results, which can "
		    "be made again",
		    (unsigned long long)rows);
	if (rc == 0)
		rc = mend_slabs(&r, err);
	if (rc == 0)
		rc = fg_index_commit(r.s->index, err);
	else
		fg_index_rollback(r.s->index);
out:
	fg_store_close(r.s);
	return rc;
}

/* ------------------------------------------------------------- backup */

#define COPY_STEP (4u << 20)

static int
copy_bytes(int from, int to, uint64_t len, const char *what, struct fg_err *err)
{
	uint8_t *buf = fg_alloc(COPY_STEP);
	int rc = 0;

	for (uint64_t off = 0; off < len && rc == 0;) {
		size_t n = (size_t)FG_MIN(len - off, (uint64_t)COPY_STEP);

		rc = fg_file_pread(from, buf, n, off, what, err);
		if (rc == 0)
			rc = fg_file_pwrite(to, buf, n, off, what, err);
		off += n;
	}
	free(buf);
	if (rc == 0 && fdatasync(to) < 0)
		rc = fg_fail_errno(err, "copy of %s", what);
	return rc;
}

static int
copy_slab(struct fg_store *s, const struct fg_slab_row *row, const char *dir,
    struct fg_err *err)
{
	char name[FG_SLAB_NAME], *path;
	int from = -1, to = -1, rc = -1;

	fg_slab_name_format(row->slab, name);
	path = fg_store_slab_path(s, row->slab);
	from = open(path, O_RDONLY | O_CLOEXEC);
	free(path);
	if (from < 0 && errno == ENOENT && row->len == 0)
		return 0;
	if (from < 0)
		return fg_fail_errno(err, "slab %s", name);
	path = fg_asprintf("%s/%s", dir, name);
	to = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (to < 0)
		fg_fail_errno(err, "%s", path);
	else
		rc = copy_bytes(from, to, row->len, name, err);
	free(path);
	close(from);
	if (to >= 0)
		close(to);
	return rc;
}

static int
copy_slabs(struct fg_store *s, const char *index, const char *dir, struct fg_err *err)
{
	/* The lengths that this copy of the index knows: the bytes of its rows. */
	struct fg_index *ix = fg_index_open(index, FG_INDEX_WRITE, err);
	struct fg_slab_row *rows = NULL;
	size_t n = 0;
	int rc;

	if (!ix)
		return -1;
	rc = fg_index_slabs(ix, &rows, &n, err);
	fg_index_close(ix);
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = copy_slab(s, &rows[i], dir, err);
	free(rows);
	return rc == 0 ? fg_file_sync_dir(dir, err) : -1;
}

static int
check_dest(const char *dest, struct fg_err *err)
{
	DIR *d = opendir(dest);
	bool empty = true;

	if (!d && errno != ENOENT)
		return fg_fail_errno(err, "%s", dest);
	for (struct dirent *e; d && (e = readdir(d)) != NULL;) {
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			empty = false;
	}
	if (d)
		closedir(d);
	return empty ? 0 : fg_fail(err, FG_EINVAL, "%s is not empty", dest);
}

int
fg_store_backup(const char *root, const struct fg_store_options *opt, const char *dest,
    struct fg_err *err)
{
	struct fg_store *s = fg_store_open(root, FG_STORE_READ, opt, err);
	char *slabs = fg_asprintf("%s/slabs", dest);
	/* The index gets its name last: a backup without it is not whole. */
	char *part = fg_asprintf("%s/index.sqlite.part", dest);
	char *path = fg_asprintf("%s/index.sqlite", dest);
	struct fg_index *ix = NULL;
	int rc = -1;

	if (!s || check_dest(dest, err) < 0 || fg_file_mkdirs(slabs, err) < 0)
		goto out;
	ix = fg_index_open(s->index_path, FG_INDEX_OLD, err);
	if (!ix || fg_index_backup(ix, part, err) < 0 ||
	    copy_slabs(s, part, slabs, err) < 0)
		goto out;
	if (rename(part, path) < 0) {
		fg_fail_errno(err, "%s", path);
		goto out;
	}
	rc = fg_file_sync_dir(dest, err);
out:
	fg_index_close(ix);
	free(slabs);
	free(part);
	free(path);
	fg_store_close(s);
	return rc;
}
