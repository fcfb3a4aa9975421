/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index file: opening, schema, transactions, statements, layers, slabs.
 * Lookups are in index_read.c, results in index_write.c.
 */
#include "config.h"

#include "store/index.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "store/index_sql.h"
#include "store/schema.h"

/* ------------------------------------------------------------- statements */

int
fg_sql_fail(struct fg_index *ix, struct fg_err *err)
{
	int rc = sqlite3_errcode(ix->db), os = sqlite3_system_errno(ix->db);
	const char *text = sqlite3_errmsg(ix->db);
	enum fg_code code = FG_EIO;

	switch (rc) {
	case SQLITE_FULL:
		code = FG_EFULL;
		break;
	case SQLITE_IOERR:
		if (os == ENOSPC || os == EDQUOT || os == EFBIG)
			code = FG_EFULL;
		break;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		code = FG_EBUSY;
		break;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		code = FG_ECORRUPT;
		break;
	case SQLITE_NOMEM:
		code = FG_ENOMEM;
		break;
	case SQLITE_ERROR: /* a table is missing: not our file */
		code = FG_ECORRUPT;
		break;
	}
	return fg_fail(err, code, "index: %s%s", text,
	    code == FG_ECORRUPT ? ": make it again with \"floodgate reindex\"" : "");
}

static sqlite3_stmt *
statement(struct fg_index *ix, const char *sql, struct fg_err *err)
{
	for (size_t i = 0; i < FG_STATEMENTS; i++) {
		struct fg_statement *c = &ix->cache[i];

		if (c->sql == sql)
			return c->st;
		if (c->sql)
			continue;
		if (sqlite3_prepare_v3(ix->db, sql, -1, SQLITE_PREPARE_PERSISTENT,
			&c->st, NULL) != SQLITE_OK) {
			fg_sql_fail(ix, err);
			return NULL;
		}
		c->sql = sql;
		return c->st;
	}
	fg_assert(!"more statements than FG_STATEMENTS");
	return NULL;
}

static int
bind(sqlite3_stmt *st, const char *types, va_list ap)
{
	int rc = SQLITE_OK;

	sqlite3_reset(st);
	for (int i = 1; *types && rc == SQLITE_OK; types++, i++) {
		const void *p;

		switch (*types) {
		case 'i':
			rc = sqlite3_bind_int64(st, i, va_arg(ap, int64_t));
			break;
		case 't':
			p = va_arg(ap, const char *);
			rc = sqlite3_bind_text(st, i, p, -1, SQLITE_STATIC);
			break;
		case 'b':
			p = va_arg(ap, const void *);
			rc =
			    sqlite3_bind_blob(st, i, p, va_arg(ap, int), SQLITE_STATIC);
			break;
		default:
			fg_assert(!"unknown type letter");
		}
	}
	return rc;
}

sqlite3_stmt *
fg_sql(struct fg_index *ix, struct fg_err *err, const char *sql, const char *types, ...)
{
	sqlite3_stmt *st = statement(ix, sql, err);
	va_list ap;
	int rc;

	if (!st)
		return NULL;
	va_start(ap, types);
	rc = bind(st, types, ap);
	va_end(ap);
	if (rc != SQLITE_OK) {
		fg_sql_fail(ix, err);
		return NULL;
	}
	return st;
}

int
fg_sql_step(struct fg_index *ix, sqlite3_stmt *st, struct fg_err *err)
{
	int rc = sqlite3_step(st);

	if (rc == SQLITE_ROW)
		return 1;
	if (rc != SQLITE_DONE)
		fg_sql_fail(ix, err);
	sqlite3_reset(st);
	return rc == SQLITE_DONE ? 0 : -1;
}

int
fg_sql_run(struct fg_index *ix, struct fg_err *err, const char *sql, const char *types,
    ...)
{
	sqlite3_stmt *st = statement(ix, sql, err);
	va_list ap;
	int rc;

	if (!st)
		return -1;
	va_start(ap, types);
	rc = bind(st, types, ap);
	va_end(ap);
	if (rc != SQLITE_OK)
		return fg_sql_fail(ix, err);
	while ((rc = fg_sql_step(ix, st, err)) > 0)
		;
	return rc;
}

int
fg_sql_exec(struct fg_index *ix, const char *sql, struct fg_err *err)
{
	if (sqlite3_exec(ix->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return fg_sql_fail(ix, err);
	return 0;
}

char *
fg_sql_text(sqlite3_stmt *st, int col)
{
	const char *text = (const char *)sqlite3_column_text(st, col);

	return text ? fg_strdup(text) : NULL;
}

/* ------------------------------------------------------------- opening */

/* One number from a query, `fallback` if it has no row. */
static int
query_int(struct fg_index *ix, const char *sql, int64_t fallback, int64_t *out,
    struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err, sql, "");
	int rc;

	if (!st)
		return -1;
	rc = fg_sql_step(ix, st, err);
	if (rc < 0)
		return -1;
	*out = rc > 0 ? sqlite3_column_int64(st, 0) : fallback;
	sqlite3_reset(st);
	return 0;
}

static int
upgrade(struct fg_index *ix, int64_t from, struct fg_err *err)
{
	if (fg_index_begin(ix, err) < 0)
		return -1;
	for (int64_t i = from; fg_schema_step[i]; i++) {
		if (fg_sql_exec(ix, fg_schema_step[i], err) < 0 ||
		    fg_sql_run(ix, err,
			"INSERT OR REPLACE INTO meta VALUES ('schema', ?)", "i",
			i + 1) < 0) {
			fg_index_rollback(ix);
			return -1;
		}
	}
	return fg_index_commit(ix, err);
}

static int
check_schema(struct fg_index *ix, enum fg_index_mode mode, struct fg_err *err)
{
	int64_t have, newest = 0;

	if (mode == FG_INDEX_CREATE &&
	    fg_sql_exec(ix,
		"CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value) "
		"WITHOUT ROWID",
		err) < 0)
		return -1;
	if (query_int(ix, "SELECT value FROM meta WHERE key = 'schema'", 0, &have,
		err) < 0)
		return -1;
	while (fg_schema_step[newest])
		newest++;
	if (have > newest)
		return fg_fail(err, FG_ENOTSUP,
		    "index has schema %lld, this program knows up to %lld: it was made "
		    "by a newer version",
		    (long long)have, (long long)newest);
	if (have == newest || mode == FG_INDEX_OLD)
		return 0;
	if (mode == FG_INDEX_READ)
		return fg_fail(err, FG_ENOTSUP,
		    "index has schema %lld of %lld: start floodgated once, which "
		    "brings it "
		    "up to date",
		    (long long)have, (long long)newest);
	return upgrade(ix, have, err);
}

/* A finished index in a folder that we may not write to: SQLite wants to make the WAL's
 * shared memory there, unless it is told that nobody else will touch the file. */
static bool
is_immutable(const char *path)
{
	char *wal = fg_asprintf("%s-wal", path), *shm = fg_asprintf("%s-shm", path);
	const char *slash = strrchr(path, '/');
	char *dir = slash ? fg_strndup(path, (size_t)(slash - path)) : fg_strdup(".");
	struct stat st;
	/* An open writer has the second file, an unfinished one the first. */
	bool yes = access(dir, W_OK) < 0 && stat(shm, &st) < 0 &&
		   (stat(wal, &st) < 0 || st.st_size == 0);

	free(dir);
	free(shm);
	free(wal);
	return yes;
}

/* path as a URI: '?', '#' and '%' have a meaning there. */
static char *
make_uri(const char *path, const char *query)
{
	struct fg_str s = FG_STR_INIT;

	fg_str_puts(&s, "file:");
	for (; *path; path++) {
		if (strchr("?#%", *path))
			fg_str_putf(&s, "%%%02x", (unsigned char)*path);
		else
			fg_str_put(&s, path, 1);
	}
	fg_str_puts(&s, query);
	return s.data;
}

static int
set_pragmas(struct fg_index *ix, enum fg_index_mode mode, struct fg_err *err)
{
	/* 2 GiB is the largest window that SQLite maps; larger files are read. */
	static const char all[] = "PRAGMA temp_store = MEMORY;"
				  "PRAGMA mmap_size = 2147418112;";
	static const char writer[] = "PRAGMA journal_mode = WAL;"
				     "PRAGMA synchronous = FULL;"
				     "PRAGMA journal_size_limit = 67108864;";

	sqlite3_busy_timeout(ix->db, 5000);
	if (fg_sql_exec(ix, all, err) < 0)
		return -1;
	return mode <= FG_INDEX_READ ? 0 : fg_sql_exec(ix, writer, err);
}

struct fg_index *
fg_index_open(const char *path, enum fg_index_mode mode, struct fg_err *err)
{
	struct fg_index *ix = fg_calloc(1, sizeof *ix);
	int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_URI;
	char *uri;

	flags |= mode <= FG_INDEX_READ ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
	if (mode == FG_INDEX_CREATE)
		flags |= SQLITE_OPEN_CREATE;
	ix->path = fg_strdup(path);
	if (mode != FG_INDEX_CREATE && access(path, F_OK) < 0) {
		fg_fail_errno(err, "%s", path);
		goto fail;
	}
	uri = make_uri(path,
	    mode <= FG_INDEX_READ && is_immutable(path) ? "?immutable=1" : "");
	if (sqlite3_open_v2(uri, &ix->db, flags, NULL) != SQLITE_OK) {
		free(uri);
		fg_sql_fail(ix, err);
		goto fail;
	}
	free(uri);
	if (set_pragmas(ix, mode, err) < 0 || check_schema(ix, mode, err) < 0)
		goto fail;
	return ix;
fail:
	fg_err_prefix(err, "%s", path);
	fg_index_close(ix);
	return NULL;
}

void
fg_index_close(struct fg_index *ix)
{
	if (!ix)
		return;
	for (size_t i = 0; i < FG_STATEMENTS; i++)
		sqlite3_finalize(ix->cache[i].st);
	sqlite3_close(ix->db);
	free(ix->path);
	free(ix);
}

/* ------------------------------------------------------------- transactions */

int
fg_index_begin(struct fg_index *ix, struct fg_err *err)
{
	return fg_sql_run(ix, err, "BEGIN IMMEDIATE", "");
}

int
fg_index_commit(struct fg_index *ix, struct fg_err *err)
{
	if (fg_sql_run(ix, err, "COMMIT", "") == 0)
		return 0;
	fg_index_rollback(ix);
	return -1;
}

void
fg_index_rollback(struct fg_index *ix)
{
	/* After some failures (disk full, ...) SQLite has rolled back by itself. */
	if (!sqlite3_get_autocommit(ix->db))
		(void)!fg_sql_run(ix, NULL, "ROLLBACK", "");
}

int
fg_index_uuid(struct fg_index *ix, char out[37], struct fg_err *err)
{
	sqlite3_stmt *st =
	    fg_sql(ix, err, "SELECT value FROM meta WHERE key = 'uuid'", "");
	int rc = st ? fg_sql_step(ix, st, err) : -1;
	const char *text;

	if (rc < 0)
		return -1;
	text = rc > 0 ? (const char *)sqlite3_column_text(st, 0) : NULL;
	if (!text || strlen(text) != 36) {
		sqlite3_reset(st);
		return fg_fail(err, FG_ECORRUPT, "index: it holds no uuid");
	}
	memcpy(out, text, 37);
	sqlite3_reset(st);
	return 0;
}

int
fg_index_uuid_put(struct fg_index *ix, const char *uuid, struct fg_err *err)
{
	return fg_sql_run(ix, err, "INSERT OR REPLACE INTO meta VALUES ('uuid', ?)",
	    "t", uuid);
}

int
fg_index_check(struct fg_index *ix, fg_finding_fn *fn, void *ctx, uint64_t *errors,
    struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err, "PRAGMA quick_check", "");
	int rc;

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		const char *text = (const char *)sqlite3_column_text(st, 0);
		char line[400];

		if (!text || strcmp(text, "ok") == 0)
			continue;
		snprintf(line, sizeof line, "index: %s", text);
		fn(ctx, true, line);
		++*errors;
	}
	return rc;
}

int
fg_index_backup(struct fg_index *ix, const char *dest, struct fg_err *err)
{
	struct fg_index to = {.path = (char *)dest};
	sqlite3_backup *b;
	char *uri = make_uri(dest, "");
	int rc = -1, fd;

	if (sqlite3_open_v2(uri, &to.db,
		SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI |
		    SQLITE_OPEN_NOMUTEX,
		NULL) != SQLITE_OK) {
		fg_sql_fail(&to, err);
		goto out;
	}
	b = sqlite3_backup_init(to.db, "main", ix->db, "main");
	if (!b) {
		fg_sql_fail(&to, err);
		goto out;
	}
	/* All pages in one step: one read transaction, hence one state. */
	do
		rc = sqlite3_backup_step(b, -1);
	while (rc == SQLITE_BUSY && sqlite3_sleep(50) >= 0);
	rc = sqlite3_backup_finish(b) == SQLITE_OK && rc == SQLITE_DONE ? 0 : -1;
	if (rc < 0)
		fg_sql_fail(&to, err);
out:
	free(uri);
	sqlite3_close(to.db);
	if (rc < 0)
		return -1;
	fd = open(dest, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fsync(fd) < 0)
		rc = fg_fail_errno(err, "%s", dest);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* ------------------------------------------------------------- layers */

static void
read_layer(sqlite3_stmt *st, struct fg_layer_row *r)
{
	const char *uuid = (const char *)sqlite3_column_text(st, 1);

	*r = (struct fg_layer_row){
	    .layer = (uint32_t)sqlite3_column_int64(st, 0),
	    .name = fg_sql_text(st, 2),
	    .kind = fg_sql_text(st, 3),
	    .info = fg_sql_text(st, 4),
	    .source = fg_sql_text(st, 5),
	    .recipe = fg_sql_text(st, 6),
	    .grid = fg_sql_text(st, 7),
	    .paused = sqlite3_column_int(st, 8) != 0,
	    .merge_gen = sqlite3_column_int64(st, 9),
	    .mesh_epoch = sqlite3_column_int64(st, 10),
	};
	if (uuid)
		snprintf(r->uuid, sizeof r->uuid, "%s", uuid);
}

int
fg_index_layers(struct fg_index *ix, struct fg_layer_row **rows, size_t *n,
    struct fg_err *err)
{
	struct fg_layer_row *list = NULL;
	size_t len = 0;
	int rc;
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT layer, uuid, name, kind, info, source, json, grid, paused,"
	    " merge_gen, mesh_epoch FROM layers LEFT JOIN params USING (params)"
	    " ORDER BY name",
	    "");

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		list = fg_realloc(list, len + 1, sizeof *list);
		read_layer(st, &list[len++]);
	}
	if (rc < 0) {
		while (len > 0)
			fg_layer_row_fini(&list[--len]);
		free(list);
		return -1;
	}
	*rows = list;
	*n = len;
	return 0;
}

int
fg_index_params(struct fg_index *ix, const char *recipe, int64_t *params,
    struct fg_err *err)
{
	uint8_t sha[FG_SHA256_SIZE];
	sqlite3_stmt *st;
	int rc;

	fg_sha256(recipe, strlen(recipe), sha);
	st = fg_sql(ix, err, "SELECT params FROM params WHERE sha256 = ?", "b", sha,
	    (int)sizeof sha);
	rc = st ? fg_sql_step(ix, st, err) : -1;
	if (rc < 0)
		return -1;
	if (rc > 0) {
		*params = sqlite3_column_int64(st, 0);
		sqlite3_reset(st);
		return 0;
	}
	if (fg_sql_run(ix, err, "INSERT INTO params (sha256, json) VALUES (?, ?)", "bt",
		sha, (int)sizeof sha, recipe) < 0)
		return -1;
	*params = sqlite3_last_insert_rowid(ix->db);
	return 0;
}

static int
check_name_free(struct fg_index *ix, const char *name, struct fg_err *err)
{
	sqlite3_stmt *st =
	    fg_sql(ix, err, "SELECT 1 FROM layers WHERE name = ?", "t", name);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc > 0) {
		sqlite3_reset(st);
		return fg_fail(err, FG_EINVAL, "there is a layer \"%s\" already", name);
	}
	return rc;
}

/* Whether no layer has this id. */
static int
is_id_free(struct fg_index *ix, uint32_t layer, struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err, "SELECT 1 FROM layers WHERE layer = ?", "i",
	    (int64_t)layer);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc > 0)
		sqlite3_reset(st);
	return rc < 0 ? -1 : !rc;
}

int
fg_index_layer_add(struct fg_index *ix, struct fg_layer_row *r, struct fg_err *err)
{
	int64_t params = 0;
	int rc;

	if (check_name_free(ix, r->name, err) < 0)
		return -1;
	if (r->recipe && fg_index_params(ix, r->recipe, &params, err) < 0)
		return -1;
	rc = r->layer ? is_id_free(ix, r->layer, err) : 0;
	if (rc < 0)
		return -1;
	if (fg_sql_run(ix, err,
		"INSERT INTO layers (layer, uuid, name, kind, info, source, params,"
		" grid, paused, merge_gen, mesh_epoch)"
		" VALUES (nullif(?, 0), ?, ?, ?, ?, ?, nullif(?, 0), ?, ?, ?, ?)",
		"itttttitiii", (int64_t)(rc > 0 ? r->layer : 0), r->uuid, r->name,
		r->kind, r->info, r->source, params, r->grid, (int64_t)r->paused,
		r->merge_gen, r->mesh_epoch) < 0)
		return -1;
	r->layer = (uint32_t)sqlite3_last_insert_rowid(ix->db);
	return 0;
}

int
fg_index_layer_remove(struct fg_index *ix, uint32_t layer, struct fg_err *err)
{
	/* len + 128 for the header, as store/slab.h lays records out. */
	static const char dead[] =
	    "UPDATE slabs SET dead = dead + u.n FROM (SELECT slab AS s, "
	    "sum(128 + (len + 7) / 8 * 8) AS n FROM (SELECT slab, len FROM chunks "
	    "WHERE layer = ?1 AND slab > 0 UNION ALL SELECT slab, len FROM artefacts "
	    "WHERE layer = ?1 AND slab > 0) GROUP BY slab) AS u WHERE slab = u.s";
	static const char *const drop[] = {
	    "DELETE FROM chunks WHERE layer = ?",
	    "DELETE FROM artefacts WHERE layer = ?",
	    "DELETE FROM blocks WHERE layer = ?",
	    "DELETE FROM objects WHERE layer = ?",
	    "DELETE FROM object_blocks WHERE layer = ?",
	    "DELETE FROM merges WHERE layer = ?",
	    "DELETE FROM contacts WHERE layer = ?",
	    "DELETE FROM edits WHERE layer = ?",
	    "DELETE FROM jobs WHERE layer = ?",
	    "DELETE FROM runs WHERE layer = ?",
	    "DELETE FROM layers WHERE layer = ?",
	};

	if (fg_sql_run(ix, err, dead, "i", (int64_t)layer) < 0)
		return -1;
	for (size_t i = 0; i < FG_COUNTOF(drop); i++) {
		if (fg_sql_run(ix, err, drop[i], "i", (int64_t)layer) < 0)
			return -1;
	}
	if (sqlite3_changes(ix->db) == 0)
		return fg_fail(err, FG_ENOENT, "there is no layer %u", (unsigned)layer);
	return 0;
}

int
fg_index_layer_pause(struct fg_index *ix, uint32_t layer, bool paused,
    struct fg_err *err)
{
	if (fg_sql_run(ix, err, "UPDATE layers SET paused = ? WHERE layer = ?", "ii",
		(int64_t)paused, (int64_t)layer) < 0)
		return -1;
	if (sqlite3_changes(ix->db) == 0)
		return fg_fail(err, FG_ENOENT, "there is no layer %u", (unsigned)layer);
	return 0;
}

int
fg_index_layer_gens(struct fg_index *ix, uint32_t layer, int64_t merge_gen,
    int64_t mesh_epoch, struct fg_err *err)
{
	return fg_sql_run(ix, err,
	    "UPDATE layers SET merge_gen = ?, mesh_epoch = ? WHERE layer = ?", "iii",
	    merge_gen, mesh_epoch, (int64_t)layer);
}

/* ------------------------------------------------------------- slabs */

int
fg_index_slabs(struct fg_index *ix, struct fg_slab_row **rows, size_t *n,
    struct fg_err *err)
{
	struct fg_slab_row *list = NULL;
	size_t len = 0;
	int rc;
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT slab, len, dead, closed FROM slabs ORDER BY slab", "");

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		list = fg_realloc(list, len + 1, sizeof *list);
		list[len++] = (struct fg_slab_row){
		    .slab = (uint32_t)sqlite3_column_int64(st, 0),
		    .len = (uint64_t)sqlite3_column_int64(st, 1),
		    .dead = (uint64_t)sqlite3_column_int64(st, 2),
		    .closed = sqlite3_column_int(st, 3) != 0,
		};
	}
	if (rc < 0) {
		free(list);
		return -1;
	}
	*rows = list;
	*n = len;
	return 0;
}

int
fg_index_slab_put(struct fg_index *ix, const struct fg_slab_row *row,
    struct fg_err *err)
{
	char path[32];

	snprintf(path, sizeof path, "slabs/%06u.slab", (unsigned)row->slab);
	return fg_sql_run(ix, err,
	    "INSERT INTO slabs (slab, path, len, dead, closed) VALUES (?, ?, ?, ?, ?)"
	    " ON CONFLICT (slab) DO UPDATE SET len = excluded.len,"
	    " dead = dead + excluded.dead, closed = max(closed, excluded.closed)",
	    "itiii", (int64_t)row->slab, path, row->len, row->dead,
	    (int64_t)row->closed);
}

int
fg_index_slab_forget(struct fg_index *ix, uint32_t slab, struct fg_err *err)
{
	return fg_sql_run(ix, err, "DELETE FROM slabs WHERE slab = ?", "i",
	    (int64_t)slab);
}

int
fg_index_slab_users(struct fg_index *ix, uint32_t slab, uint64_t len,
    int (*fn)(void *ctx, uint32_t layer), void *ctx, struct fg_err *err)
{
	int rc;
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT DISTINCT layer FROM chunks WHERE slab = ?1 AND off + len > ?2"
	    " UNION SELECT DISTINCT layer FROM artefacts WHERE slab = ?1"
	    " AND off + len > ?2",
	    "ii", (int64_t)slab, len);

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		rc = fn(ctx, (uint32_t)sqlite3_column_int64(st, 0));
		if (rc != 0) {
			sqlite3_reset(st);
			return rc;
		}
	}
	return rc;
}
