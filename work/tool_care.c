/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Care of a data directory: verify, reindex, repair, backup. verify and backup read
 * beside a daemon; the other two need the directory for themselves.
 */
#include "config.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "store/store.h"
#include "work/tool.h"

struct findings {
	const struct fg_tool *t;
	struct fg_progress bar;
	uint64_t errors, warnings;
	json_t *list; /* with --json */
};

static void
on_finding(void *ctx, bool is_error, const char *text)
{
	struct findings *f = ctx;
	const char *what = is_error ? "error" : "warning";

	*(is_error ? &f->errors : &f->warnings) += 1;
	if (f->t->json) {
		json_array_append_new(f->list,
		    json_pack("{s:s, s:s}", "severity", what, "text", text));
		return;
	}
	fg_progress_end(&f->bar);
	printf("%s: %s\n", what, text);
}

static void
on_progress(void *ctx, uint64_t done, uint64_t all)
{
	struct findings *f = ctx;

	fg_progress_set(&f->bar, (double)done, (double)all);
}

static struct findings
begin(const struct fg_tool *t)
{
	return (struct findings){.t = t,
	    .bar = {.what = t->command->name,
		.unit = "MB",
		.per = 1e6,
		.quiet = t->quiet || t->json},
	    .list = t->json ? json_array() : NULL};
}

static int
run_verify(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_verify_stats st = {0};
	struct findings f = begin(t);
	char bytes[32];
	struct fg_store_options opt;
	char *text;
	int rc = fg_session_options(t, &opt, &text, &err);

	if (rc == 0)
		rc = fg_store_verify(t->root, &opt, on_finding, on_progress, &f, &st,
		    &err);
	free(text);

	fg_progress_end(&f.bar);
	if (rc < 0) {
		json_decref(f.list);
		return fg_tool_fail(t, &err);
	}
	if (t->json)
		fg_tool_print_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:o}", "rows",
		    (json_int_t)st.rows, "records", (json_int_t)st.records, "bytes",
		    (json_int_t)st.bytes, "errors", (json_int_t)st.errors, "warnings",
		    (json_int_t)st.warnings, "findings", f.list));
	else
		printf("%s: %llu rows, %llu records, %s: %llu error%s, %llu "
		       "warning%s\n",
		    t->root, (unsigned long long)st.rows,
		    (unsigned long long)st.records,
		    fg_tool_bytes((double)st.bytes, bytes),
		    (unsigned long long)st.errors, st.errors == 1 ? "" : "s",
		    (unsigned long long)st.warnings, st.warnings == 1 ? "" : "s");
	return st.errors ? FG_EXIT_FINDINGS : FG_EXIT_OK;
}

/* The end of reindex and repair: what was found, and how it went. */
static int
finish(struct fg_tool *t, struct findings *f, int rc, const struct fg_err *err)
{
	fg_progress_end(&f->bar);
	if (rc < 0) {
		json_decref(f->list);
		return fg_tool_fail(t, err);
	}
	if (t->json)
		fg_tool_print_json(
		    json_pack("{s:I, s:I, s:o}", "errors", (json_int_t)f->errors,
			"warnings", (json_int_t)f->warnings, "findings", f->list));
	else
		printf("%s: done, %llu error%s, %llu warning%s\n", t->root,
		    (unsigned long long)f->errors, f->errors == 1 ? "" : "s",
		    (unsigned long long)f->warnings, f->warnings == 1 ? "" : "s");
	return f->errors ? FG_EXIT_FINDINGS : FG_EXIT_OK;
}

static int
run_reindex(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct findings f = begin(t);
	struct fg_store_options opt;
	char *text;
	int rc = fg_session_options(t, &opt, &text, &err);

	if (rc == 0)
		rc = fg_store_reindex(t->root, &opt, on_finding, on_progress, &f, &err);
	free(text);

	return finish(t, &f, rc, &err);
}

static int
run_repair(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct findings f = begin(t);
	struct fg_store_options opt;
	char *text;
	int rc = fg_session_options(t, &opt, &text, &err);

	if (rc == 0)
		rc = fg_store_repair(t->root, &opt, on_finding, &f, &err);
	free(text);

	/* What repair reports are its deeds, not damage that stays. */
	int code = finish(t, &f, rc, &err);
	return code == FG_EXIT_FINDINGS ? FG_EXIT_OK : code;
}

static int
run_backup(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;

	struct fg_store_options opt;
	char *text;
	int rc = fg_session_options(t, &opt, &text, &err);

	if (rc == 0)
		rc = fg_store_backup(t->root, &opt, t->arg[0], &err);
	free(text);
	if (rc < 0)
		return fg_tool_fail(t, &err);
	printf("%s: index and slabs are in %s; imported volumes (%s/layers) are not "
	       "part of it\n",
	    t->root, t->arg[0], t->root);
	return FG_EXIT_OK;
}

const struct fg_tool_command fg_tool_care_commands[] = {
    {.name = "verify",
	.summary = "check index, slabs and checksums against each other",
	.details =
	    "Reads everything and changes nothing, also beside a running daemon. "
	    "The exit\ncode is 6 where damage was found.",
	.run = run_verify},
    {.name = "reindex",
	.summary = "make the index again from the slabs",
	.details = "For a lost or restored index. The old one is kept as "
		   "index.sqlite.old-N. The\ndaemon must not be running.",
	.run = run_reindex},
    {.name = "repair",
	.summary = "accept what is lost, so that degraded layers work again",
	.details = "Forgets the rows whose bytes are gone, and says which; they are "
		   "made again on\ndemand. The daemon must not be running.",
	.run = run_repair},
    {.name = "backup",
	.args = "DEST",
	.least = 1,
	.most = 1,
	.summary = "consistent copy of index and slabs into a new folder",
	.details = "Also beside a running daemon. Imported volumes under ROOT/layers "
		   "are plain files\nthat do not change: copy them with any tool.",
	.run = run_backup},
    {.name = NULL},
};
