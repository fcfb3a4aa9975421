/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API below /api/. One table of calls: method, path, the role that a writing call
 * needs (access.h), and what it does. docs/openapi.json describes the same calls, and a
 * test holds the two against each other. Whatever may wait (index, network files, locks
 * of the catalogue) runs on a worker thread with the connection parked.
 */
#include "config.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "base/morton.h"
#include "server/events.h"
#include "server/request.h"
#include "store/gc.h"
#include "work/plan.h"

/* ------------------------------------------------------------- layers */

static json_t *
parse_body(struct fg_request *r, struct fg_err *err)
{
	return fg_json_parse(r->body.data ? r->body.data : "", r->body.len, "body",
	    err);
}

static void
list_layers(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);
	json_t *list = json_array();
	struct fg_layer **l;
	size_t n;

	fg_request_layers(r, &l, &n);
	for (size_t i = 0; i < n; i++) {
		json_array_append_new(list, fg_layer_describe(l[i], reader));
		fg_layer_unref(l[i]);
	}
	free(l);
	fg_reply_public(r, 200, list);
}

static void
get_layer(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;

	fg_reply_public(r, 200,
	    fg_layer_describe(r->layer, fg_server_reader(r->srv, &err)));
}

static void
add_layer(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_layer *l = NULL;
	json_t *spec = parse_body(r, &err);

	if (!fg_access_sees_all(r)) {
		/* Its image or its source may be one that the caller does not see. */
		fg_reply_error(r, 403,
		    "this token is for some layers only, and adds none");
	} else if (!spec || fg_catalog_add(r->srv->catalog, spec, &l, &err) < 0) {
		fg_reply_err(r, &err);
	} else {
		fg_log(FG_LOG_INFO, "layer added layer=%s", l->name);
		fg_reply_public(r, 201, fg_layer_describe(l, NULL));
	}
	fg_layer_unref(l);
	json_decref(spec);
}

static void
reply_done(struct fg_request *r)
{
	fg_reply_json(r, 200, json_pack("{s:b}", "ok", 1));
}

static void
remove_layer(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_server *s = r->srv;

	if (fg_catalog_remove(s->catalog, r->layer->name, &err) < 0) {
		fg_reply_err(r, &err);
		return;
	}
	fg_plan_forget_layer(s->plan, r->layer->id);
	fg_sched_forget_layer(s->sched, r->layer->id, true);
	fg_log(FG_LOG_INFO, "layer removed layer=%s", r->layer->name);
	reply_done(r);
}

static void
set_paused(struct fg_request *r, bool paused)
{
	struct fg_err err = FG_ERR_INIT;

	if (fg_catalog_pause(r->srv->catalog, r->layer->name, paused, &err) < 0) {
		fg_reply_err(r, &err);
		return;
	}
	if (paused)
		fg_sched_forget_layer(r->srv->sched, r->layer->id, false);
	fg_log(FG_LOG_INFO, "layer %s layer=%s", paused ? "paused" : "resumed",
	    r->layer->name);
	reply_done(r);
}

static void
pause_layer(struct fg_request *r)
{
	set_paused(r, true);
}

static void
resume_layer(struct fg_request *r)
{
	set_paused(r, false);
}

/* Body: nothing for all blocks, or {"block": [x, y, z]} on the block grid. */
static void
retry_layer(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	uint64_t at = UINT64_MAX;
	int64_t blk[3];
	json_t *j = NULL;

	if (!r->layer->recipe) {
		fg_reply_error(r, 400, "layer %s is not made here: nothing to retry",
		    r->layer->name);
		return;
	}
	if (r->body.len > 0) {
		j = parse_body(r, &err);
		if (!j || fg_json_get_int3(j, "block", FG_JSON_NEEDED, 0,
			      FG_MORTON_AXIS_MAX, blk, &err) < 0) {
			fg_reply_err(r, &err);
			goto out;
		}
		at = fg_morton_encode(blk);
	}
	if (fg_sched_retry(r->srv->sched, r->layer, at, &err) < 0)
		fg_reply_err(r, &err);
	else
		reply_done(r);
out:
	json_decref(j);
}

/* ------------------------------------------------------------- why */

static const char *
state_name(enum fg_state state)
{
	static const char *const names[] = {"absent", "present", "empty", "partial"};

	return names[state];
}

/* /api/why/LAYER/SCALE/CHUNK: where the chunk is and what made it. */
static void
why(struct fg_request *r)
{
	const char *rest = strchr(r->route.rest + strlen("why/"), '/');
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);
	struct fg_place place = {.state = FG_ABSENT};
	struct fg_key key = {.layer = r->layer->id, .kind = r->layer->chunk_kind};
	int64_t ch[3];
	char *text = NULL;
	json_t *j, *run = NULL;
	int scale;

	if (!rest ||
	    fg_route_chunk(&r->layer->info, rest + 1, &scale, ch) != FG_CHUNK_OK) {
		fg_reply_error(r, 404, "this is not a chunk of layer %s",
		    r->layer->name);
		return;
	}
	key.scale = (uint8_t)scale;
	key.at = fg_morton_encode(ch);
	if (!reader || fg_reader_find(reader, &key, &place, &err) < 0 ||
	    (place.run > 0 && fg_reader_run(reader, place.run, &text, &err) < 0)) {
		fg_reply_err(r, &err);
		return;
	}
	if (text)
		run = fg_json_parse(text, strlen(text), "run", &err);
	free(text);
	j = json_pack("{s:s, s:s, s:s, s:o}", "layer", r->layer->name, "uuid",
	    r->layer->uuid, "scale", r->layer->info.scale[scale].key, "chunk",
	    fg_json_int3(ch));
	if (r->layer->source) {
		json_object_set_new(j, "state", json_string("imported"));
	} else {
		json_object_set_new(j, "state", json_string(state_name(place.state)));
		json_object_set_new(j, "dirty", json_boolean(place.dirty));
		json_object_set_new(j, "slab", json_integer(place.slab));
		json_object_set_new(j, "offset", json_integer((json_int_t)place.off));
		json_object_set_new(j, "bytes", json_integer((json_int_t)place.len));
	}
	json_object_set_new(j, "run", run ? run : json_null());
	fg_reply_public(r, 200, j);
}

/* ------------------------------------------------------------- compaction */

/* One call works for so long, so that none is held for hours: the client calls again.
 */
#define GC_S 5

static void
append_finding(void *ctx, bool is_error, const char *text)
{
	json_array_append_new(ctx, json_pack("{s:s, s:s}", "severity",
				       is_error ? "error" : "warning", "text", text));
}

static json_t *
gc_json(const struct fg_gc_stats *st, json_t *findings)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o}", "candidates",
	    (json_int_t)st->candidates, "dead", (json_int_t)st->dead, "deleted",
	    (json_int_t)st->slabs, "freed", (json_int_t)st->freed, "moved",
	    (json_int_t)st->moved, "left", (json_int_t)st->left, "waiting",
	    (json_int_t)st->waiting, "more", (int)st->more, "findings", findings);
}

/* POST /api/gc {"dead": PERCENT, "dry_run": bool} */
static void
run_gc(struct fg_request *r, double percent, bool dry)
{
	struct fg_server *s = r->srv;
	struct fg_err err = FG_ERR_INIT;
	json_t *findings = json_array();
	struct fg_gc_stats st;
	struct fg_gc_options opt = {
	    .dead = percent / 100,
	    .dry_run = dry,
	    .writer = fg_catalog_writer(s->catalog),
	    .deadline_ns = fg_clock_ns() + GC_S * FG_NS_PER_S,
	    .cancel = &s->draining,
	    .fn = append_finding,
	    .ctx = findings,
	};

	if (fg_store_gc(s->store, &opt, &st, &err) < 0) {
		json_decref(findings);
		fg_reply_err(r, &err);
		return;
	}
	fg_log(FG_LOG_INFO, "compaction deleted=%llu freed=%llu moved=%llu",
	    (unsigned long long)st.slabs, (unsigned long long)st.freed,
	    (unsigned long long)st.moved);
	fg_reply_json(r, 200, gc_json(&st, findings));
}

/* A member that is there must be right: null is no wish. */
static int
read_gc(const json_t *spec, double *percent, bool *dry, struct fg_err *err)
{
	if (!json_is_object(spec))
		return fg_fail(err, FG_EINVAL, "body: not a JSON object");
	if (json_object_get(spec, "dead") &&
	    fg_json_get_real(spec, "dead", FG_JSON_NEEDED, 1, 99, percent, err) < 0)
		return -1;
	if (json_object_get(spec, "dry_run") &&
	    fg_json_get_bool(spec, "dry_run", FG_JSON_NEEDED, dry, err) < 0)
		return -1;
	return 0;
}

static void
compact(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	double percent = 50;
	bool dry = false, idle = false;
	json_t *spec = r->body.len > 0 ? parse_body(r, &err) : json_object();

	if (!spec || read_gc(spec, &percent, &dry, &err) < 0) {
		fg_reply_err(r, &err);
	} else if (!atomic_compare_exchange_strong(&r->srv->compacting, &idle, true)) {
		fg_reply_error(r, 409, "a compaction is running already");
	} else {
		run_gc(r, percent, dry);
		atomic_store(&r->srv->compacting, false);
	}
	json_decref(spec);
}

/* ------------------------------------------------------------- the table */

static void
get_settings(struct fg_request *r)
{
	fg_reply_json(r, 200, fg_settings_describe(r->srv->set, r->control));
}

enum where {
	HERE, /* on the event thread */
	IO,
	CPU,
};

/* path: words; "NAME" stands for a layer's name, "N" for a number, "*" for the rest.
 * writes: the role that it needs if it writes, else NONE. */
static const struct call {
	enum fg_method method;
	const char *path;
	enum fg_role writes;
	enum where where;
	void (*run)(struct fg_request *r);
} calls[] = {
    {FG_GET, "access", FG_ROLE_NONE, HERE, fg_token_access},
    {FG_POST, "tokens", FG_ROLE_ADMIN, HERE, fg_token_make},
    {FG_POST, "gc", FG_ROLE_ADMIN, IO, compact},
    {FG_GET, "status", FG_ROLE_NONE, HERE, fg_status_handle},
    {FG_GET, "events", FG_ROLE_NONE, IO, fg_events_handle},
    {FG_GET, "settings", FG_ROLE_NONE, HERE, get_settings},
    {FG_GET, "layers", FG_ROLE_NONE, IO, list_layers},
    {FG_POST, "layers", FG_ROLE_ADMIN, CPU, add_layer},
    {FG_GET, "layers/NAME", FG_ROLE_NONE, IO, get_layer},
    {FG_GET, "layers/NAME/blocks", FG_ROLE_NONE, IO, fg_preview_blocks},
    {FG_GET, "layers/NAME/slice", FG_ROLE_NONE, IO, fg_preview_slice},
    {FG_GET, "layers/NAME/value", FG_ROLE_NONE, IO, fg_preview_value},
    {FG_DELETE, "layers/NAME", FG_ROLE_ADMIN, IO, remove_layer},
    {FG_POST, "layers/NAME/pause", FG_ROLE_ADMIN, IO, pause_layer},
    {FG_POST, "layers/NAME/resume", FG_ROLE_ADMIN, IO, resume_layer},
    {FG_POST, "layers/NAME/retry", FG_ROLE_COMPUTE, IO, retry_layer},
    {FG_GET, "layers/NAME/objects/N", FG_ROLE_NONE, IO, fg_objects_show},
    {FG_GET, "layers/NAME/contacts", FG_ROLE_NONE, IO, fg_objects_contacts},
    {FG_GET, "layers/NAME/merges", FG_ROLE_NONE, IO, fg_objects_merges},
    {FG_GET, "layers/NAME/edits", FG_ROLE_NONE, IO, fg_objects_edits},
    {FG_POST, "layers/NAME/edits", FG_ROLE_COMPUTE, CPU, fg_objects_edit},
    {FG_DELETE, "layers/NAME/edits/N", FG_ROLE_COMPUTE, IO, fg_objects_undo},
    {FG_GET, "jobs", FG_ROLE_NONE, IO, fg_jobs_list},
    {FG_POST, "jobs", FG_ROLE_COMPUTE, CPU, fg_jobs_submit},
    {FG_GET, "jobs/N", FG_ROLE_NONE, IO, fg_jobs_show},
    {FG_DELETE, "jobs/N", FG_ROLE_COMPUTE, IO, fg_jobs_cancel},
    {FG_POST, "jobs/N/pause", FG_ROLE_COMPUTE, IO, fg_jobs_pause},
    {FG_POST, "jobs/N/resume", FG_ROLE_COMPUTE, IO, fg_jobs_resume},
    {FG_POST, "jobs/N/retry", FG_ROLE_COMPUTE, IO, fg_jobs_retry},
    {FG_GET, "why/NAME/*", FG_ROLE_NONE, IO, why},
};

/* Whether path has the form; *name is the word at NAME, else at N. */
static bool
matches(const char *form, const char *path, const char **name, size_t *name_n)
{
	for (;;) {
		size_t f = strcspn(form, "/"), p = strcspn(path, "/");

		if (f == 1 && *form == '*')
			return *path != '\0';
		if (f == 4 && memcmp(form, "NAME", 4) == 0) {
			*name = path;
			*name_n = p;
		} else if (f == 1 && *form == 'N') {
			if (p == 0 || p > 18 || strspn(path, "0123456789") != p)
				return false;
			if (*name_n == 0) {
				*name = path;
				*name_n = p;
			}
		} else if (f != p || memcmp(form, path, f) != 0) {
			return false;
		}
		form += f;
		path += p;
		if (!*form || !*path)
			return *form == *path;
		form++;
		path++;
	}
}

/* The layer that a call is about, or a 404. */
static bool
find_layer(struct fg_request *r, const char *name, size_t n)
{
	r->layer = fg_request_layer(r, name, n);
	if (!r->layer)
		fg_reply_error(r, 404, "there is no layer %.*s", (int)FG_MIN(n, 64),
		    name);
	return r->layer != NULL;
}

static void
run_call(struct fg_request *r, const struct call *c, const char *name, size_t n)
{
	if (c->writes != FG_ROLE_NONE && !fg_request_may_write(r, c->writes))
		return;
	if (strstr(c->path, "NAME") && !find_layer(r, name, n))
		return;
	if (c->where == HERE)
		c->run(r);
	else
		fg_request_work(r, c->where == IO ? FG_RES_IO : FG_RES_CPU, c->run,
		    NULL);
}

void
fg_api_handle(struct fg_request *r)
{
	enum fg_method method = r->method == FG_HEAD ? FG_GET : r->method;
	bool known = false;

	r->kind = FG_METRICS_API;

	for (size_t i = 0; i < FG_COUNTOF(calls); i++) {
		const char *name = "";
		size_t n = 0;

		if (!matches(calls[i].path, r->route.rest, &name, &n))
			continue;
		known = true;
		if (calls[i].method == method) {
			run_call(r, &calls[i], name, n);
			return;
		}
	}
	if (strncmp(r->route.rest, "www/", 4) == 0 && method == FG_GET) {
		fg_page_asset(r, r->route.rest + 4);
	} else if (known) {
		fg_reply_error(r, 405, "this method is not for this path");
		r->reply.allow = "GET, HEAD, POST, DELETE, OPTIONS";
	} else {
		fg_reply_error(r, 404, "there is no call /api/%.200s", r->route.rest);
	}
}
