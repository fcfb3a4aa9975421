/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: rows of jobs, and how long blocks took. The number of the last job is
 * noted in `meta`, because the row itself goes with its layer or when it is old.
 */
#include "config.h"

#include <stdlib.h>

#include "store/index.h"
#include "store/index_sql.h"

void
fg_job_row_fini(struct fg_job_row *r)
{
	free(r->box);
	free(r->stages);
	free(r->error);
	*r = (struct fg_job_row){0};
}

/* The first column of the only row. */
static int
one_number(struct fg_index *ix, sqlite3_stmt *st, int64_t *out, struct fg_err *err)
{
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc > 0) {
		*out = sqlite3_column_int64(st, 0);
		sqlite3_reset(st);
	}
	return rc < 0 ? -1 : 0;
}

static int
note_number(struct fg_index *ix, int64_t job, struct fg_err *err)
{
	return fg_sql_run(ix, err,
	    "INSERT INTO meta (key, value) VALUES ('last_job', ?1) ON CONFLICT (key)"
	    " DO UPDATE SET value = max(value, excluded.value)",
	    "i", job);
}

int
fg_index_job_number(struct fg_index *ix, int64_t *job, struct fg_err *err)
{
	int64_t last = 0;
	sqlite3_stmt *st =
	    fg_sql(ix, err, "SELECT value FROM meta WHERE key = 'last_job'", "");

	if (one_number(ix, st, &last, err) < 0 || note_number(ix, last + 1, err) < 0)
		return -1;
	*job = last + 1;
	return 0;
}

int
fg_index_job_put(struct fg_index *ix, const struct fg_job_row *r, struct fg_err *err)
{
	if (fg_sql_run(ix, err,
		"INSERT OR REPLACE INTO jobs (job, layer, box, stages, class, state,"
		" created, updated, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		"iittiiiit", r->job, (int64_t)r->layer, r->box, r->stages,
		(int64_t)r->cls, (int64_t)r->state, r->created_ms, r->updated_ms,
		r->error) < 0)
		return -1;
	return note_number(ix, r->job, err);
}

int
fg_index_jobs_prune(struct fg_index *ix, int64_t keep, struct fg_err *err)
{
	return fg_sql_run(ix, err,
	    "DELETE FROM jobs WHERE state >= 2 AND job NOT IN (SELECT job FROM jobs"
	    " WHERE state >= 2 ORDER BY job DESC LIMIT ?)",
	    "i", keep);
}

int
fg_index_jobs(struct fg_index *ix, struct fg_job_row **rows, size_t *n,
    struct fg_err *err)
{
	struct fg_job_row *list = NULL;
	size_t len = 0;
	int rc;
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT job, layer, box, stages, class, state, created, updated, error"
	    " FROM jobs ORDER BY job",
	    "");

	if (!st)
		return -1;
	while ((rc = fg_sql_step(ix, st, err)) > 0) {
		list = fg_realloc(list, len + 1, sizeof *list);
		list[len++] = (struct fg_job_row){
		    .job = sqlite3_column_int64(st, 0),
		    .layer = (uint32_t)sqlite3_column_int64(st, 1),
		    .box = fg_sql_text(st, 2),
		    .stages = fg_sql_text(st, 3),
		    .cls = sqlite3_column_int(st, 4),
		    .state = (enum fg_job_state)sqlite3_column_int(st, 5),
		    .created_ms = sqlite3_column_int64(st, 6),
		    .updated_ms = sqlite3_column_int64(st, 7),
		    .error = fg_sql_text(st, 8),
		};
	}
	if (rc < 0) {
		while (len > 0)
			fg_job_row_fini(&list[--len]);
		free(list);
		return -1;
	}
	*rows = list;
	*n = len;
	return 0;
}

int
fg_index_block_ms(struct fg_index *ix, uint32_t layer, double *ms, int *n,
    struct fg_err *err)
{
	sqlite3_stmt *st = fg_sql(ix, err,
	    "SELECT coalesce(avg(ended - started), 0), count(*) FROM (SELECT started,"
	    " ended FROM runs WHERE layer = ? AND kind = 2 AND error IS NULL"
	    " ORDER BY run DESC LIMIT 50)",
	    "i", (int64_t)layer);
	int rc = st ? fg_sql_step(ix, st, err) : -1;

	if (rc <= 0)
		return rc;
	*ms = sqlite3_column_double(st, 0);
	*n = sqlite3_column_int(st, 1);
	sqlite3_reset(st);
	return 0;
}
