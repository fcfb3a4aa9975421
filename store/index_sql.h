/* SPDX-License-Identifier: Apache-2.0 */
/* Inside of the index: the connection, its statements, and short ways to use them.
 * For store/index*.c only. */
#ifndef FG_STORE_INDEX_SQL_H
#define FG_STORE_INDEX_SQL_H

#include <sqlite3.h>

#include "store/index.h"

/* chunks.state holds enum fg_state, and this bit for a dirty coarse chunk. */
#define FG_STATE_DIRTY 16

struct fg_statement {
	const char *sql;
	sqlite3_stmt *st;
};

#define FG_STATEMENTS 192

struct fg_index {
	sqlite3 *db;
	char *path;
	/* Prepared once, found by the address of their text (a string literal). */
	struct fg_statement cache[FG_STATEMENTS];
};

/* Describe the connection's last failure. */
int fg_sql_fail(struct fg_index *ix, struct fg_err *err);

/*
 * The prepared statement of a string literal, reset and bound: one letter an argument,
 *   i int64_t   t const char * (NULL: null)   b const void *, int (NULL: null)
 * Integers are passed as int64_t or uint64_t, cast where they are narrower. Text and
 * blobs must live until the statement is reset. NULL on failure.
 */
sqlite3_stmt *fg_sql(struct fg_index *ix, struct fg_err *err, const char *sql,
    const char *types, ...) FG_MUST_USE;

/* 1: a row is there; 0: no more (statement reset); -1: failure (statement reset). */
int fg_sql_step(struct fg_index *ix, sqlite3_stmt *st, struct fg_err *err) FG_MUST_USE;

/* Run a statement to its end. */
int fg_sql_run(struct fg_index *ix, struct fg_err *err, const char *sql,
    const char *types, ...) FG_MUST_USE;

/* Plain text, one or more statements. */
int fg_sql_exec(struct fg_index *ix, const char *sql, struct fg_err *err) FG_MUST_USE;

/* A malloc'ed copy of a text column, NULL for null. */
char *fg_sql_text(sqlite3_stmt *st, int col);

#endif
