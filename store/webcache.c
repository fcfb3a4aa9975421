/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The cache of upstreams' files: see the header.
 *
 * Keys are hashed (SHA-256, half of it) so that rows stay small. `used` is written back
 * only when it is ten minutes old, so that most reads write nothing; eviction takes
 * rows in its order, down to nine tenths of the limit. The running size is kept in
 * memory and read again before each eviction, so that two processes that share the file
 * do not grow it without bound.
 */
#include "config.h"

#include "store/webcache.h"

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"

#define USED_STEP_MS (10 * 60 * 1000)
#define ROW_BYTES 200 /* about, besides the body */
#define CONNECTIONS 8
#define EVICT_ROWS 256

enum {
	ST_GET,
	ST_USED,
	ST_PUT,
	ST_CONFIRM,
	ST_DROP,
	ST_SUM,
	ST_OLDEST,
	ST_DELETE,
	STATEMENTS
};

static const char *const sql[STATEMENTS] = {
    [ST_GET] = "SELECT absent, coding, size, checked, tag, used, crc, bytes FROM item"
	       " WHERE key = ?1",
    [ST_USED] = "UPDATE item SET used = ?2 WHERE key = ?1",
    [ST_PUT] = "INSERT INTO item (key, absent, coding, size, checked, tag, used, crc,"
	       " len, bytes) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?5, ?7, ?8, ?9)"
	       " ON CONFLICT (key) DO UPDATE SET absent = excluded.absent,"
	       " coding = excluded.coding, size = excluded.size,"
	       " checked = excluded.checked, tag = excluded.tag, used = excluded.used,"
	       " crc = excluded.crc, len = excluded.len, bytes = excluded.bytes",
    [ST_CONFIRM] = "UPDATE item SET checked = ?2, used = ?2 WHERE key = ?1",
    [ST_DROP] = "DELETE FROM item WHERE key = ?1",
    [ST_SUM] = "SELECT coalesce(sum(len), 0), count(*) FROM item",
    [ST_OLDEST] = "SELECT id, len FROM item ORDER BY used LIMIT ?1",
    [ST_DELETE] = "DELETE FROM item WHERE id = ?1",
};

/* One at a time to whoever took it. */
struct connection {
	sqlite3 *db;
	sqlite3_stmt *st[STATEMENTS];
};

struct fg_webcache {
	char *path;
	uint64_t limit;
	_Atomic bool off, counted;
	_Atomic uint64_t bytes, entries, evicted;
	pthread_mutex_t lock;     /* guards pool and pooled */
	pthread_mutex_t evicting; /* held by the one who evicts */
	struct connection *pool[CONNECTIONS];
	size_t pooled;
};

/* ------------------------------------------------------------- connections */

static void
close_connection(struct connection *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(c->st[i]);
	sqlite3_close(c->db);
	free(c);
}

static int
setup(sqlite3 *db)
{
	static const char schema[] =
	    "PRAGMA page_size = 16384; PRAGMA journal_mode = WAL;"
	    "PRAGMA synchronous = NORMAL; PRAGMA temp_store = MEMORY;"
	    "CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, key BLOB UNIQUE"
	    " NOT NULL, absent INT NOT NULL, coding INT NOT NULL, size INT NOT NULL,"
	    " checked INT NOT NULL, tag TEXT NOT NULL, used INT NOT NULL, crc INT NOT"
	    " NULL, len INT NOT NULL, bytes BLOB);"
	    "CREATE INDEX IF NOT EXISTS item_used ON item (used, len);";

	sqlite3_busy_timeout(db, 5000);
	return sqlite3_exec(db, schema, NULL, NULL, NULL);
}

static struct connection *
open_connection(const char *path, struct fg_err *err)
{
	struct connection *c = fg_calloc(1, sizeof *c);
	int rc = sqlite3_open_v2(path, &c->db,
	    SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

	if (rc == SQLITE_OK)
		rc = setup(c->db);
	for (size_t i = 0; rc == SQLITE_OK && i < STATEMENTS; i++)
		rc = sqlite3_prepare_v3(c->db, sql[i], -1, SQLITE_PREPARE_PERSISTENT,
		    &c->st[i], NULL);
	if (rc == SQLITE_OK)
		return c;
	fg_fail(err, FG_EIO, "cache of upstreams: %s", sqlite3_errmsg(c->db));
	close_connection(c);
	return NULL;
}

static void
turn_off(struct fg_webcache *c, const char *why)
{
	if (!atomic_exchange(&c->off, true))
		fg_log(FG_LOG_WARN, "the cache of upstreams is off: %s", why);
}

static void
count_again(struct fg_webcache *c, struct connection *k)
{
	sqlite3_stmt *st = k->st[ST_SUM];

	if (sqlite3_step(st) == SQLITE_ROW) {
		c->entries = (uint64_t)sqlite3_column_int64(st, 1);
		c->bytes =
		    (uint64_t)sqlite3_column_int64(st, 0) + c->entries * ROW_BYTES;
	}
	sqlite3_reset(st);
}

static struct connection *
take(struct fg_webcache *c)
{
	struct connection *k = NULL;
	struct fg_err err = FG_ERR_INIT;

	if (!c || c->off)
		return NULL;
	pthread_mutex_lock(&c->lock);
	if (c->pooled > 0)
		k = c->pool[--c->pooled];
	pthread_mutex_unlock(&c->lock);
	if (!k)
		k = open_connection(c->path, &err);
	if (!k)
		turn_off(c, err.msg);
	else if (!atomic_exchange(&c->counted, true))
		count_again(c, k);
	return k;
}

static void
give(struct fg_webcache *c, struct connection *k)
{
	pthread_mutex_lock(&c->lock);
	if (c->pooled < CONNECTIONS) {
		c->pool[c->pooled++] = k;
		k = NULL;
	}
	pthread_mutex_unlock(&c->lock);
	close_connection(k);
}

/* After a step that is neither a row nor the end. A busy file is no trouble: the entry
 * is not kept this time. */
static void
note_trouble(struct fg_webcache *c, struct connection *k, int rc)
{
	if (rc != SQLITE_ROW && rc != SQLITE_DONE && rc != SQLITE_BUSY)
		turn_off(c, sqlite3_errmsg(k->db));
}

struct fg_webcache *
fg_webcache_new(const char *path, uint64_t limit)
{
	struct fg_webcache *c = fg_calloc(1, sizeof *c);

	c->path = fg_strdup(path);
	c->limit = limit;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->evicting, NULL);
	return c;
}

void
fg_webcache_free(struct fg_webcache *c)
{
	if (!c)
		return;
	for (size_t i = 0; i < c->pooled; i++)
		close_connection(c->pool[i]);
	pthread_mutex_destroy(&c->lock);
	pthread_mutex_destroy(&c->evicting);
	free(c->path);
	free(c);
}

/* ------------------------------------------------------------- entries */

static void
bind_key(sqlite3_stmt *st, const char *key)
{
	uint8_t sum[FG_SHA256_SIZE];

	fg_sha256(key, strlen(key), sum);
	sqlite3_bind_blob(st, 1, sum, sizeof sum / 2, SQLITE_TRANSIENT);
}

/* False if the row does not hold what was put there. */
static bool
read_row(sqlite3_stmt *st, struct fg_webcached *out)
{
	const void *p = sqlite3_column_blob(st, 7);
	size_t n = (size_t)sqlite3_column_bytes(st, 7);
	const char *tag = (const char *)sqlite3_column_text(st, 4);
	int coding = sqlite3_column_int(st, 1);

	*out = (struct fg_webcached){
	    .absent = sqlite3_column_int(st, 0) != 0,
	    .size = (uint64_t)sqlite3_column_int64(st, 2),
	    .checked_ms = sqlite3_column_int64(st, 3),
	};
	if (!tag || strlen(tag) >= sizeof out->tag || coding < FG_CODING_NONE ||
	    coding > FG_CODING_BROTLI ||
	    fg_crc32c(0, p, n) != (uint32_t)sqlite3_column_int64(st, 6))
		return false;
	memcpy(out->tag, tag, strlen(tag) + 1);
	out->coding = (enum fg_coding)coding;
	if (!out->absent)
		out->bytes = fg_buf_copy(p, n);
	return true;
}

static void
run(struct fg_webcache *c, struct connection *k, int statement, const char *key,
    int64_t now_ms)
{
	sqlite3_stmt *st = k->st[statement];
	int rc;

	bind_key(st, key);
	if (statement != ST_DROP)
		sqlite3_bind_int64(st, 2, now_ms);
	rc = sqlite3_step(st);
	note_trouble(c, k, rc);
	sqlite3_reset(st);
}

bool
fg_webcache_get(struct fg_webcache *c, const char *key, struct fg_webcached *out)
{
	struct connection *k = take(c);
	int64_t now = fg_clock_wall_ms(), used = now;
	bool found = false, damaged = false;
	int rc;

	if (!k)
		return false;
	bind_key(k->st[ST_GET], key);
	rc = sqlite3_step(k->st[ST_GET]);
	note_trouble(c, k, rc);
	if (rc == SQLITE_ROW) {
		used = sqlite3_column_int64(k->st[ST_GET], 5);
		found = read_row(k->st[ST_GET], out);
		damaged = !found;
	}
	sqlite3_reset(k->st[ST_GET]);
	if (damaged)
		run(c, k, ST_DROP, key, now);
	else if (found && now - used > USED_STEP_MS)
		run(c, k, ST_USED, key, now);
	give(c, k);
	return found;
}

void
fg_webcache_confirm(struct fg_webcache *c, const char *key, int64_t now_ms)
{
	struct connection *k = take(c);

	if (!k)
		return;
	run(c, k, ST_CONFIRM, key, now_ms);
	give(c, k);
}

void
fg_webcache_drop(struct fg_webcache *c, const char *key)
{
	struct connection *k = take(c);

	if (!k)
		return;
	run(c, k, ST_DROP, key, 0);
	give(c, k);
}

/* ------------------------------------------------------------- room */

/* Delete up to EVICT_ROWS of the oldest rows, as many as needed; false if none went. */
static bool
evict_some(struct fg_webcache *c, struct connection *k, uint64_t wanted)
{
	sqlite3_int64 id[EVICT_ROWS];
	uint64_t freed = 0, bytes = c->bytes;
	size_t n = 0;
	int rc;

	sqlite3_bind_int(k->st[ST_OLDEST], 1, EVICT_ROWS);
	while (n < EVICT_ROWS && bytes - FG_MIN(freed, bytes) > wanted &&
	       sqlite3_step(k->st[ST_OLDEST]) == SQLITE_ROW) {
		id[n++] = sqlite3_column_int64(k->st[ST_OLDEST], 0);
		freed +=
		    (uint64_t)sqlite3_column_int64(k->st[ST_OLDEST], 1) + ROW_BYTES;
	}
	sqlite3_reset(k->st[ST_OLDEST]);
	if (n == 0 ||
	    sqlite3_exec(k->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
		return false;
	for (size_t i = 0; i < n; i++) {
		sqlite3_bind_int64(k->st[ST_DELETE], 1, id[i]);
		rc = sqlite3_step(k->st[ST_DELETE]);
		note_trouble(c, k, rc);
		sqlite3_reset(k->st[ST_DELETE]);
	}
	if (sqlite3_exec(k->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK) {
		sqlite3_exec(k->db, "ROLLBACK", NULL, NULL, NULL);
		return false;
	}
	c->bytes -= FG_MIN(freed, c->bytes);
	c->entries -= FG_MIN(n, c->entries);
	c->evicted += n;
	return true;
}

static void
make_room(struct fg_webcache *c, struct connection *k)
{
	if (c->bytes <= c->limit || pthread_mutex_trylock(&c->evicting) != 0)
		return;
	count_again(c, k);
	if (c->bytes > c->limit) {
		while (
		    c->bytes > c->limit / 10 * 9 && evict_some(c, k, c->limit / 10 * 9))
			;
	}
	pthread_mutex_unlock(&c->evicting);
}

void
fg_webcache_put(struct fg_webcache *c, const char *key, const struct fg_webcached *in)
{
	size_t n = in->bytes ? in->bytes->len : 0;
	const void *p = in->bytes ? in->bytes->data : NULL;
	struct connection *k;
	sqlite3_stmt *st;
	int rc;

	if (!c || n > c->limit / 8 || n > INT32_MAX)
		return;
	k = take(c);
	if (!k)
		return;
	st = k->st[ST_PUT];
	bind_key(st, key);
	sqlite3_bind_int(st, 2, in->absent);
	sqlite3_bind_int(st, 3, (int)in->coding);
	sqlite3_bind_int64(st, 4, (int64_t)in->size);
	sqlite3_bind_int64(st, 5, in->checked_ms);
	sqlite3_bind_text(st, 6, in->tag, -1, SQLITE_STATIC);
	sqlite3_bind_int64(st, 7, fg_crc32c(0, p, n));
	sqlite3_bind_int64(st, 8, (int64_t)n);
	sqlite3_bind_blob(st, 9, p ? p : "", (int)n, SQLITE_STATIC);
	rc = sqlite3_step(st);
	note_trouble(c, k, rc);
	sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	if (rc == SQLITE_DONE) {
		c->bytes += n + ROW_BYTES;
		c->entries++;
		make_room(c, k);
	}
	give(c, k);
}

void
fg_webcache_get_stats(struct fg_webcache *c, struct fg_webcache_stats *out)
{
	*out = (struct fg_webcache_stats){.off = true};
	if (!c)
		return;
	*out = (struct fg_webcache_stats){
	    .entries = c->entries,
	    .bytes = c->bytes,
	    .limit = c->limit,
	    .evicted = c->evicted,
	    .off = c->off,
	};
}
