/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Care of a data directory: verify, reindex, repair, gc, backup. verify and backup read
 * beside a daemon, gc goes through it; the others need the directory for themselves.
 */
#include "config.h"

#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "store/gc.h"
#include "store/store.h"
#include "work/control.h"
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

/* The end of reindex and repair: what was found, and how it went. st: of a reindex. */
static int
finish(struct fg_tool *t, struct findings *f, const struct fg_reindex_stats *st, int rc,
    const struct fg_err *err)
{
	fg_progress_end(&f->bar);
	if (rc < 0) {
		json_decref(f->list);
		return fg_tool_fail(t, err);
	}
	if (t->json) {
		json_t *j =
		    json_pack("{s:I, s:I, s:o}", "errors", (json_int_t)f->errors,
			"warnings", (json_int_t)f->warnings, "findings", f->list);

		if (st) {
			json_object_set_new(j, "slabs",
			    json_integer((json_int_t)st->slabs));
			json_object_set_new(j, "results",
			    json_integer((json_int_t)st->results));
		}
		fg_tool_print_json(j);
		return f->errors ? FG_EXIT_FINDINGS : FG_EXIT_OK;
	}
	printf("%s: done", t->root);
	if (st)
		printf(", %llu result%s in %llu slab%s",
		    (unsigned long long)st->results, st->results == 1 ? "" : "s",
		    (unsigned long long)st->slabs, st->slabs == 1 ? "" : "s");
	printf(": %llu error%s, %llu warning%s\n", (unsigned long long)f->errors,
	    f->errors == 1 ? "" : "s", (unsigned long long)f->warnings,
	    f->warnings == 1 ? "" : "s");
	return f->errors ? FG_EXIT_FINDINGS : FG_EXIT_OK;
}

static int
run_reindex(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct findings f = begin(t);
	struct fg_reindex_stats st = {0};
	struct fg_store_options opt;
	char *text;
	int rc = fg_session_options(t, &opt, &text, &err);

	if (rc == 0)
		rc = fg_store_reindex(t->root, &opt, on_finding, on_progress, &f, &st,
		    &err);
	free(text);

	return finish(t, &f, &st, rc, &err);
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
	int code = finish(t, &f, NULL, rc, &err);
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

/* ------------------------------------------------------------- gc */

static const struct fg_tool_option gc_options[] = {
    {"dead", "PERCENT",
	"share of dead bytes from which a slab is rewritten\n(default 50)", 0},
    {"dry-run", NULL, "only say what could be given back", 0},
    {NULL, NULL, NULL, 0},
};

struct gc_sum {
	uint64_t candidates, dead, deleted, freed, moved, left, waiting;
	bool more;
};

/* One round, here or by the daemon. */
static int
gc_round(struct fg_session *s, struct findings *f, double percent, bool dry,
    struct gc_sum *sum, struct fg_err *err)
{
	struct fg_gc_options opt = {
	    .dead = percent / 100,
	    .dry_run = dry,
	    .deadline_ns = fg_clock_ns() + FG_NS_PER_S,
	    .cancel = &fg_tool_stop,
	    .fn = on_finding,
	    .ctx = f,
	};
	struct fg_gc_stats st;

	if (fg_store_gc(s->store, &opt, &st, err) < 0)
		return -1;
	sum->candidates = st.candidates;
	sum->dead = st.dead;
	sum->deleted += st.slabs;
	sum->freed += st.freed;
	sum->moved += st.moved;
	sum->left = st.left;
	sum->waiting = st.waiting;
	sum->more = st.more;
	return 0;
}

static uint64_t
number(const json_t *j, const char *key)
{
	return (uint64_t)json_integer_value(json_object_get(j, key));
}

static int
gc_ask(struct fg_session *s, struct findings *f, double percent, bool dry,
    struct gc_sum *sum, struct fg_err *err)
{
	json_t *body = json_pack("{s:f, s:b}", "dead", percent, "dry_run", (int)dry);
	json_t *out = NULL, *v;
	int rc = fg_control_call(s->control, "POST", "/api/gc", body, &out, err);
	size_t i;

	json_decref(body);
	if (rc < 0)
		return -1;
	sum->candidates = number(out, "candidates");
	sum->dead = number(out, "dead");
	sum->deleted += number(out, "deleted");
	sum->freed += number(out, "freed");
	sum->moved += number(out, "moved");
	sum->left = number(out, "left");
	sum->waiting = number(out, "waiting");
	sum->more = json_is_true(json_object_get(out, "more"));
	json_array_foreach(json_object_get(out, "findings"), i, v) on_finding(f,
	    strcmp(json_string_value(json_object_get(v, "severity")), "error") == 0,
	    json_string_value(json_object_get(v, "text")));
	json_decref(out);
	return 0;
}

static void
print_gc(const struct fg_tool *t, const struct gc_sum *s, bool dry)
{
	char a[32], b[32];

	if (t->json)
		fg_tool_print_json(json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
		    "candidates", (json_int_t)s->candidates, "dead",
		    (json_int_t)s->dead, "deleted", (json_int_t)s->deleted, "freed",
		    (json_int_t)s->freed, "moved", (json_int_t)s->moved, "left",
		    (json_int_t)s->left, "waiting", (json_int_t)s->waiting));
	else if (dry)
		printf("%s: %llu slabs, %s dead bytes in them\n", t->root,
		    (unsigned long long)s->candidates,
		    fg_tool_bytes((double)s->dead, a));
	else
		printf("%s: %llu slabs deleted, %s given back, %s moved, %llu left, "
		       "%llu waiting for readers\n",
		    t->root, (unsigned long long)s->deleted,
		    fg_tool_bytes((double)s->freed - (double)s->moved, a),
		    fg_tool_bytes((double)s->moved, b), (unsigned long long)s->left,
		    (unsigned long long)s->waiting);
}

static int
run_gc(struct fg_tool *t)
{
	bool dry = fg_tool_has(t, "dry-run");
	struct fg_err err = FG_ERR_INIT;
	struct fg_session s = {0};
	struct findings f = begin(t);
	struct gc_sum sum = {.more = true};
	double percent = 50;
	int code = FG_EXIT_OK, rc = 0;

	if (fg_tool_has(t, "dead"))
		rc = fg_tool_real(t, "dead", 1, 99, &percent, &err);
	if (rc == 0)
		rc = fg_session_open(&s, t, false, &err);
	fg_tool_catch_signals();
	while (rc == 0 && sum.more && !fg_tool_stop) {
		rc = (s.control ? gc_ask : gc_round)(&s, &f, percent, dry, &sum, &err);
		if (rc == 0 && sum.dead > 0)
			fg_progress_set(&f.bar, (double)sum.freed,
			    (double)(sum.freed + sum.dead));
	}
	fg_progress_end(&f.bar);
	if (rc < 0)
		code = fg_tool_fail(t, &err);
	else if (fg_tool_stop)
		code = FG_EXIT_INTERRUPTED;
	else
		print_gc(t, &sum, dry);
	json_decref(f.list);
	fg_session_close(&s);
	return code == FG_EXIT_OK && sum.left > 0 && !dry ? FG_EXIT_FINDINGS : code;
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
	.details = "For a lost, damaged or restored index. The old one is kept as "
		   "index.sqlite.old-N. The\ndaemon must not be running.",
	.run = run_reindex},
    {.name = "repair",
	.summary = "accept what is lost, so that degraded layers work again",
	.details = "Forgets the rows whose bytes are gone, and says which; they are "
		   "made again on\ndemand. The daemon must not be running.",
	.run = run_repair},
    {.name = "gc",
	.summary = "give back the room of what was removed or made again",
	.details =
	    "What is alive in slabs that are mostly dead is moved together, and the "
	    "slabs are\ndeleted. Also beside a running daemon, which does it; it may "
	    "be "
	    "interrupted and\nstarted again. Exit code 6 if a slab was left alone.",
	.options = gc_options,
	.run = run_gc},
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
