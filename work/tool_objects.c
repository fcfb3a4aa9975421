/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands about objects: object show, list, merges, edits, join, cut, undo.
 * Reading works beside a daemon; decisions go through it where there is one.
 */
#include "config.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/json.h"
#include "work/control.h"
#include "work/objects.h"
#include "work/tool.h"

#define FILE_MAX_BYTES ((size_t)256 << 20) /* a million pairs are about 40 MB */
#define ROWS 100000                        /* read from the index at a time */

static int
parse_id(const char *text, const char *what, uint64_t *id, struct fg_err *err)
{
	if (*text < '1' || *text > '9' || text[strspn(text, "0123456789")] ||
	    strlen(text) > 18)
		return fg_fail(err, FG_EINVAL, "\"%.40s\" is no %s", text, what);
	*id = strtoull(text, NULL, 10);
	return 0;
}

/* ------------------------------------------------------------- looking */

/* A layer with objects, and a reader. */
struct view {
	struct fg_session s;
	struct fg_layer *layer;
	struct fg_reader *reader;
};

static void
close_view(struct view *v)
{
	fg_reader_close(v->reader);
	fg_layer_unref(v->layer);
	fg_session_close(&v->s);
}

static int
open_view(struct fg_tool *t, struct view *v, struct fg_err *err)
{
	*v = (struct view){0};
	if (fg_session_read(&v->s, t, err) < 0)
		return -1;
	v->layer = fg_session_layer(&v->s, t->arg[0], err);
	if (v->layer && !v->layer->recipe)
		fg_fail(err, FG_EINVAL, "layer %s is not made here: it has no objects",
		    t->arg[0]);
	else if (v->layer)
		v->reader = fg_reader_open(v->s.store, err);
	if (v->reader)
		return 0;
	close_view(v);
	return -1;
}

static int
run_show(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct view v;
	json_t *j = NULL;
	uint64_t id;
	int code = FG_EXIT_OK;

	if (parse_id(t->arg[1], "object id", &id, &err) < 0 ||
	    open_view(t, &v, &err) < 0)
		return fg_tool_fail(t, &err);
	if (fg_object_describe(v.layer, v.reader, id, &j, &err) < 0) {
		code = fg_tool_fail(t, &err);
	} else if (t->json) {
		fg_tool_print_json(j);
	} else {
		fg_tool_print_facts(j, 0);
		json_decref(j);
	}
	close_view(&v);
	return code;
}

static int
run_list(struct fg_tool *t)
{
	struct fg_equivalences_query q = {.max = ROWS};
	const char *box = fg_tool_text(t, "box", NULL);
	struct fg_err err = FG_ERR_INIT;
	struct view v;
	json_t *all = NULL, *page = NULL;
	char *text;
	int rc;

	if (box && fg_tool_box(box, &q.vx, &err) < 0)
		return fg_tool_fail(t, &err);
	q.boxed = box != NULL;
	if (box)
		q.max = FG_EDITS_MAX;
	if (open_view(t, &v, &err) < 0)
		return fg_tool_fail(t, &err);
	while ((rc = fg_equivalences(v.layer, v.reader, &q, &page, &err)) == 0) {
		const char *next = json_string_value(json_object_get(page, "next"));

		q.after = next ? strtoull(next, NULL, 10) : 0;
		if (!all) {
			all = page;
		} else {
			json_array_extend(json_object_get(all, "equivalences"),
			    json_object_get(page, "equivalences"));
			json_decref(page);
		}
		if (!q.after)
			break;
	}
	close_view(&v);
	if (rc < 0) {
		json_decref(all);
		return fg_tool_fail(t, &err);
	}
	json_object_set_new(all, "next", json_null());
	if (t->json) {
		fg_tool_print_json(all);
		return FG_EXIT_OK;
	}
	text = fg_equivalences_csv(all);
	fputs(text, stdout);
	free(text);
	json_decref(all);
	return FG_EXIT_OK;
}

/* Flat objects, a line each. */
static void
print_lines(const json_t *list)
{
	const json_t *row, *value;
	const char *key;
	size_t i;

	json_array_foreach(list, i, row)
	{
		const char *between = "";

		json_object_foreach((json_t *)row, key, value)
		{
			char *text = json_is_string(value)
					 ? fg_strdup(json_string_value(value))
					 : json_dumps(value, JSON_ENCODE_ANY);

			printf("%s%s=%s", between, key, text);
			between = " ";
			free(text);
		}
		putchar('\n');
	}
}

/* Page by page, as lines or as one list. page(): at most ROWS rows from position skip
 * or after the last row of before, and NULL at first. */
static int
print_rows(struct fg_tool *t,
    int (*page)(const struct view *v, uint64_t id, size_t skip, const json_t *before,
	json_t **out, struct fg_err *err))
{
	struct fg_err err = FG_ERR_INIT;
	json_t *all = json_array(), *list, *before = NULL;
	struct view v;
	uint64_t id = 0;
	size_t n = ROWS, skip = 0;
	int rc = 0;

	if ((t->args > 1 && parse_id(t->arg[1], "object id", &id, &err) < 0) ||
	    open_view(t, &v, &err) < 0) {
		json_decref(all);
		return fg_tool_fail(t, &err);
	}
	for (; n == ROWS; skip += n) {
		rc = page(&v, id, skip, before, &list, &err);
		if (rc < 0)
			break;
		n = json_array_size(list);
		json_decref(before);
		before = json_incref(json_array_get(list, n > 0 ? n - 1 : 0));
		if (t->json)
			json_array_extend(all, list);
		else
			print_lines(list);
		json_decref(list);
	}
	json_decref(before);
	close_view(&v);
	if (rc == 0 && t->json)
		fg_tool_print_json(json_incref(all));
	json_decref(all);
	return rc < 0 ? fg_tool_fail(t, &err) : FG_EXIT_OK;
}

static int
merges_page(const struct view *v, uint64_t id, size_t skip, const json_t *before,
    json_t **out, struct fg_err *err)
{
	(void)before;
	return fg_merges_list(v->layer, v->reader, id, skip, ROWS, out, err);
}

static int
run_merges(struct fg_tool *t)
{
	return print_rows(t, merges_page);
}

static int
contacts_page(const struct view *v, uint64_t id, size_t skip, const json_t *before,
    json_t **out, struct fg_err *err)
{
	(void)before;
	return fg_contacts_list(v->layer, v->reader, id, skip, ROWS, out, err);
}

static int
run_contacts(struct fg_tool *t)
{
	return print_rows(t, contacts_page);
}

static int
edits_page(const struct view *v, uint64_t id, size_t skip, const json_t *before,
    json_t **out, struct fg_err *err)
{
	int64_t after = json_integer_value(json_object_get(before, "edit"));

	(void)id;
	(void)skip;
	return fg_edits_list(v->layer, v->reader, after, ROWS, out, err);
}

static int
run_edits(struct fg_tool *t)
{
	return print_rows(t, edits_page);
}

/* ------------------------------------------------------------- deciding */

/* Lines "a,b" (a head line and empty ones are left out) as pairs. */
static json_t *
read_pairs(const char *path, struct fg_err *err)
{
	struct fg_buf *b = fg_file_read(path, FILE_MAX_BYTES, err);
	json_t *list;
	char *text, *rest;
	size_t line = 0;

	if (!b)
		return NULL;
	list = json_array();
	text = fg_strndup((const char *)b->data, b->len);
	fg_buf_unref(b);
	rest = text;
	for (char *s; (s = strsep(&rest, "\n"));) {
		uint64_t pair[2];
		size_t end = strlen(s);
		char *comma;

		line++;
		if (end > 0 && s[end - 1] == '\r')
			s[end - 1] = '\0';
		comma = strchr(s, ',');
		if (!*s || (line == 1 && (*s < '0' || *s > '9')))
			continue;
		if (comma)
			*comma = '\0';
		if (!comma || parse_id(s, "id", &pair[0], err) < 0 ||
		    parse_id(comma + 1, "id", &pair[1], err) < 0) {
			if (!comma)
				fg_fail(err, FG_EINVAL, "wanted ID,ID");
			fg_err_prefix(err, "%s, line %zu", path, line);
			json_decref(list);
			list = NULL;
			break;
		}
		json_array_append_new(list,
		    json_pack("[I, I]", (json_int_t)pair[0], (json_int_t)pair[1]));
	}
	free(text);
	return list;
}

/* All arguments after the layer as pairs with the first one. */
static json_t *
argument_pairs(const struct fg_tool *t, struct fg_err *err)
{
	json_t *list = json_array();
	uint64_t first, id;

	if (t->args < 3) {
		fg_fail(err, FG_EINVAL, "two objects are wanted, or --file");
		goto fail;
	}
	if (parse_id(t->arg[1], "object id", &first, err) < 0)
		goto fail;
	for (int i = 2; i < t->args; i++) {
		if (parse_id(t->arg[i], "object id", &id, err) < 0)
			goto fail;
		json_array_append_new(list,
		    json_pack("[I, I]", (json_int_t)first, (json_int_t)id));
	}
	return list;
fail:
	json_decref(list);
	return NULL;
}

static int
print_outcome(const struct fg_tool *t, json_t *out)
{
	const json_t *list = json_object_get(out, "edits"), *v;
	size_t i;

	if (t->json) {
		fg_tool_print_json(out);
		return FG_EXIT_OK;
	}
	json_array_foreach(list, i, v)
	{
		if (i < 20)
			printf("edit %lld\n", (long long)json_integer_value(v));
	}
	if (json_array_size(list) > 20)
		printf("and %zu more\n", json_array_size(list) - 20);
	if (!json_is_true(json_object_get(out, "changed")))
		puts("no object changed by it");
	json_decref(out);
	return FG_EXIT_OK;
}

static int
decide(struct fg_tool *t, const char *verb)
{
	const char *file = fg_tool_text(t, "file", NULL);
	const char *who = fg_tool_text(t, "who", getenv("USER"));
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer *l = NULL;
	struct fg_session s;
	json_t *spec, *out = NULL;
	char *path;
	json_t *pairs = file ? read_pairs(file, &err) : argument_pairs(t, &err);
	int rc = -1;

	if (!pairs)
		return fg_tool_fail(t, &err);
	spec = json_pack("{s:o, s:s*}", verb, pairs, "who", who);
	if (fg_session_open(&s, t, false, &err) < 0) {
		json_decref(spec);
		return fg_tool_fail(t, &err);
	}
	if (s.control) {
		path = fg_asprintf("/api/layers/%s/edits", t->arg[0]);
		rc = fg_control_call(s.control, "POST", path, spec, &out, &err);
		free(path);
	} else {
		l = fg_session_layer(&s, t->arg[0], &err);
		if (l)
			rc = fg_edits_add(s.store, s.catalog, l, spec, &out, &err);
	}
	json_decref(spec);
	fg_layer_unref(l);
	fg_session_close(&s);
	return rc < 0 ? fg_tool_fail(t, &err) : print_outcome(t, out);
}

static int
run_join(struct fg_tool *t)
{
	return decide(t, "join");
}

static int
run_cut(struct fg_tool *t)
{
	return decide(t, "cut");
}

/* "7" or "7-12". */
static int
parse_edits(const char *text, uint64_t *first, uint64_t *last, struct fg_err *err)
{
	const char *dash = strchr(text, '-');
	char *head = fg_strdup(text);
	int rc;

	head[strcspn(head, "-")] = '\0';
	rc = parse_id(head, "edit's number", first, err);
	*last = *first;
	if (rc == 0 && dash)
		rc = parse_id(dash + 1, "edit's number", last, err);
	free(head);
	return rc;
}

static int
run_undo(struct fg_tool *t)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer *l = NULL;
	struct fg_session s;
	json_t *out = NULL;
	uint64_t first, last;
	char *path;
	int rc = -1;

	if (parse_edits(t->arg[1], &first, &last, &err) < 0 ||
	    fg_session_open(&s, t, false, &err) < 0)
		return fg_tool_fail(t, &err);
	if (s.control) {
		path = fg_asprintf("/api/layers/%s/edits/%" PRIu64 "?through=%" PRIu64,
		    t->arg[0], first, last);
		rc = fg_control_call(s.control, "DELETE", path, NULL, &out, &err);
		free(path);
	} else {
		l = fg_session_layer(&s, t->arg[0], &err);
		if (l && !l->recipe)
			fg_fail(&err, FG_EINVAL, "layer %s is not made here", l->name);
		else if (l)
			rc = fg_edits_undo(s.store, s.catalog, l, (int64_t)first,
			    (int64_t)last, &out, &err);
	}
	fg_layer_unref(l);
	fg_session_close(&s);
	return rc < 0 ? fg_tool_fail(t, &err) : print_outcome(t, out);
}

static const struct fg_tool_option list_options[] = {
    {"box", "BOX", "only objects in the blocks that touch x0-x1_y0-y1_z0-z1", 0},
    {0},
};

static const struct fg_tool_option decide_options[] = {
    {"file", "FILE", "many pairs: lines ID,ID", 0},
    {"who", "NAME", "who decided (default $USER)", 0},
    {0},
};

const struct fg_tool_command fg_tool_objects_commands[] = {
    {.name = "object show",
	.args = "NAME ID",
	.least = 2,
	.most = 2,
	.summary = "the object that an id belongs to now",
	.run = run_show},
    {.name = "object list",
	.args = "NAME",
	.least = 1,
	.most = 1,
	.summary = "joined objects, as lines ID,PUBLIC",
	.details =
	    "Each base object that is joined to others, with the id of the whole. "
	    "--json\nprints what goes under \"equivalences\" in a layer of "
	    "Neuroglancer.",
	.options = list_options,
	.run = run_list},
    {.name = "object merges",
	.args = "NAME [ID]",
	.least = 1,
	.most = 2,
	.summary = "what comparing blocks found, of all or of one object",
	.run = run_merges},
    {.name = "object contacts",
	.args = "NAME [ID]",
	.least = 1,
	.most = 2,
	.summary = "what flooding contacts again found, of all or of one object",
	.run = run_contacts},
    {.name = "object edits",
	.args = "NAME",
	.least = 1,
	.most = 1,
	.summary = "the decisions about a layer's objects",
	.run = run_edits},
    {.name = "object join",
	.args = "NAME [ID ID...]",
	.least = 1,
	.most = 1000,
	.summary = "decide that objects are one",
	.details =
	    "Decisions outrank what comparing blocks found, newer ones older ones; "
	    "they\ncan be withdrawn.",
	.options = decide_options,
	.run = run_join},
    {.name = "object cut",
	.args = "NAME [ID ID...]",
	.least = 1,
	.most = 1000,
	.summary = "decide that the first object is none of the others",
	.details = "Whatever joins them, directly or over others, gives way at its "
		   "weakest.",
	.options = decide_options,
	.run = run_cut},
    {.name = "object undo",
	.args = "NAME EDIT[-LAST]",
	.least = 2,
	.most = 2,
	.summary = "withdraw a decision",
	.details = "Or all from EDIT to LAST: those of one list have consecutive "
		   "numbers.",
	.run = run_undo},
    {.name = NULL},
};
