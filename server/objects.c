/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Objects over HTTP: /LAYER/equivalences and /LAYER/segment_properties/info for
 * viewers, and the calls below /api/layers/NAME/ about evidence and decisions. All of
 * it reads the index, so it runs on worker threads. What is said is in work/objects.h.
 */
#include "config.h"

#include <stdlib.h>

#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "server/request.h"
#include "work/objects.h"

#define MEMBERS_DEFAULT 100000 /* listed in one reply */
#define MEMBERS_MAX 1000000
#define SEGMENTS_MAX 1000000
#define NUMBER_MAX ((UINT64_C(1) << 53) - 1) /* exact in every client */
#define ROWS_DEFAULT 1000
#define ROWS_MAX 100000

/* A whole number of the query; absent leaves *out. */
static int
query_number(const struct fg_request *r, const char *key, uint64_t lo, uint64_t hi,
    uint64_t *out, struct fg_err *err)
{
	char text[24];
	unsigned long long v;

	if (!fg_route_query(&r->route, key, text, sizeof text)) {
		if (!fg_route_names(&r->route, key))
			return 0;
		*text = '\0'; /* no value, or one of no sensible length */
	}
	v = strtoull(text, NULL, 10);
	if (!*text || text[strspn(text, "0123456789")] || strlen(text) > 19 || v < lo ||
	    v > hi)
		return fg_fail(err, FG_EINVAL,
		    "%s=%s: wanted a whole number from %llu to %llu", key, text,
		    (unsigned long long)lo, (unsigned long long)hi);
	*out = v;
	return 0;
}

/* box=x0-x1_y0-y1_z0-z1, voxels of the finest scale, as in the name of a chunk. */
static int
query_box(const struct fg_request *r, struct fg_box *vx, bool *given,
    struct fg_err *err)
{
	char text[FG_CHUNK_NAME];

	*given = fg_route_query(&r->route, "box", text, sizeof text);
	if (*given && !fg_chunk_name_parse(text, strlen(text), vx))
		return fg_fail(err, FG_EINVAL,
		    "box=%.100s: wanted x0-x1_y0-y1_z0-z1 in voxels", text);
	return 0;
}

/* Text with a tag of its own. Takes text over. */
static void
reply_text(struct fg_request *r, const char *type, char *text)
{
	size_t n = strlen(text);

	fg_reply_bytes(r, 200, type, fg_buf_take(text, n));
	r->reply.tagged = true;
	r->reply.etag = fg_hash64(r->reply.body->data, n);
	r->reply.ranges = true;
	r->reply.caching = FG_NO_CACHE;
}

static void
reply_value(struct fg_request *r, json_t *j)
{
	char *text = fg_json_format(j);

	json_decref(j);
	reply_text(r, "application/json", text);
}

/* ------------------------------------------------------------- for viewers */

static void
equivalences(struct fg_request *r)
{
	struct fg_equivalences_query q = {0};
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);
	uint64_t max = MEMBERS_DEFAULT;
	char format[8] = "json";
	json_t *j = NULL;

	(void)fg_route_query(&r->route, "format", format, sizeof format);
	if (!reader || query_number(r, "id", 1, NUMBER_MAX, &q.id, &err) < 0 ||
	    query_number(r, "after", 0, NUMBER_MAX, &q.after, &err) < 0 ||
	    query_number(r, "max", 1, MEMBERS_MAX, &max, &err) < 0 ||
	    query_box(r, &q.vx, &q.boxed, &err) < 0)
		goto out;
	if (strcmp(format, "json") != 0 && strcmp(format, "csv") != 0) {
		fg_fail(&err, FG_EINVAL, "format=%s: wanted json or csv", format);
		goto out;
	}
	q.max = (size_t)max;
	if (fg_equivalences(r->layer, reader, &q, &j, &err) < 0)
		goto out;
	if (format[0] == 'c') {
		reply_text(r, "text/csv; charset=utf-8", fg_equivalences_csv(j));
		json_decref(j);
	} else {
		reply_value(r, j);
	}
	return;
out:
	fg_reply_err(r, &err);
}

static void
properties(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);
	uint64_t skip = 0, max = FG_SEGMENTS_SHOWN;
	json_t *j = NULL;

	if (!reader || query_number(r, "skip", 0, NUMBER_MAX, &skip, &err) < 0 ||
	    query_number(r, "max", 1, SEGMENTS_MAX, &max, &err) < 0 ||
	    fg_segment_properties(r->layer, reader, skip, (size_t)max, &j, &err) < 0)
		fg_reply_err(r, &err);
	else
		reply_value(r, j);
}

bool
fg_objects_file(struct fg_request *r)
{
	const struct fg_layer *l = r->layer;
	const char *dir = l->info.segment_properties, *rest = r->route.rest;
	size_t n = dir ? strlen(dir) : 0;

	if (!l->recipe || l->chunk_kind != FG_KIND_CHUNK || l->info.scales == 0)
		return false;
	if (strcmp(rest, "equivalences") == 0)
		fg_request_work(r, FG_RES_IO, equivalences, NULL);
	else if (dir && strncmp(rest, dir, n) == 0 && strcmp(rest + n, "/info") == 0)
		fg_request_work(r, FG_RES_IO, properties, NULL);
	else
		return false;
	return true;
}

/* ------------------------------------------------------------- the API */

static bool
has_objects(struct fg_request *r)
{
	if (r->layer->recipe)
		return true;
	fg_reply_error(r, 400,
	    "layer %s is not made here: it has no objects to join or cut",
	    r->layer->name);
	return false;
}

typedef int list_fn(const struct fg_layer *l, struct fg_reader *r, uint64_t id,
    uint64_t skip, size_t max, json_t **out, struct fg_err *err);

static void
reply_evidence(struct fg_request *r, list_fn *list)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);
	uint64_t id = 0, skip = 0, max = ROWS_DEFAULT;
	json_t *j = NULL;

	if (!has_objects(r))
		return;
	if (!reader || query_number(r, "id", 1, NUMBER_MAX, &id, &err) < 0 ||
	    query_number(r, "skip", 0, NUMBER_MAX, &skip, &err) < 0 ||
	    query_number(r, "max", 1, ROWS_MAX, &max, &err) < 0 ||
	    list(r->layer, reader, id, skip, (size_t)max, &j, &err) < 0)
		fg_reply_err(r, &err);
	else
		fg_reply_json(r, 200, j);
}

void
fg_objects_merges(struct fg_request *r)
{
	reply_evidence(r, fg_merges_list);
}

void
fg_objects_contacts(struct fg_request *r)
{
	reply_evidence(r, fg_contacts_list);
}

void
fg_objects_edits(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);
	uint64_t after = 0, max = ROWS_DEFAULT;
	json_t *j = NULL;

	if (!has_objects(r))
		return;
	if (!reader || query_number(r, "after", 0, NUMBER_MAX, &after, &err) < 0 ||
	    query_number(r, "max", 1, ROWS_MAX, &max, &err) < 0 ||
	    fg_edits_list(r->layer, reader, (int64_t)after, (size_t)max, &j, &err) < 0)
		fg_reply_err(r, &err);
	else
		fg_reply_json(r, 200, j);
}

/* Who does not say who decides is known by the name of the token. */
static void
sign(const struct fg_request *r, json_t *spec)
{
	size_t max = sizeof((struct fg_edit *)NULL)->who - 1, n;

	if (r->control || !r->grant->token || !r->grant->name ||
	    !json_is_object(spec) || json_object_get(spec, "who"))
		return;
	n = strlen(r->grant->name);
	if (n > max) {
		n = max;
		/* Not within a character of UTF-8. */
		while (n > 0 && ((unsigned char)r->grant->name[n] & 0xc0) == 0x80)
			n--;
	}
	json_object_set_new(spec, "who", json_stringn(r->grant->name, n));
}

void
fg_objects_edit(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	json_t *out = NULL, *spec = fg_json_parse(r->body.data ? r->body.data : "",
				r->body.len, "body", &err);

	if (spec)
		sign(r, spec);
	if (!spec || fg_edits_add(r->srv->store, r->srv->catalog, r->layer, spec, &out,
			 &err) < 0) {
		fg_reply_err(r, &err);
	} else {
		fg_log(FG_LOG_INFO, "objects edited layer=%s edits=%zu", r->layer->name,
		    json_array_size(json_object_get(out, "edits")));
		fg_reply_json(r, 201, out);
	}
	json_decref(spec);
}

void
fg_objects_undo(struct fg_request *r)
{
	const char *number = strrchr(r->route.rest, '/');
	uint64_t first = strtoull(number + 1, NULL, 10), last = first;
	struct fg_err err = FG_ERR_INIT;
	json_t *out = NULL;

	if (!has_objects(r))
		return;
	if (query_number(r, "through", 1, NUMBER_MAX, &last, &err) < 0 ||
	    fg_edits_undo(r->srv->store, r->srv->catalog, r->layer, (int64_t)first,
		(int64_t)last, &out, &err) < 0)
		fg_reply_err(r, &err);
	else
		fg_reply_json(r, 200, out);
}

/* /api/layers/NAME/objects/N: the component that an object belongs to now. */
void
fg_objects_show(struct fg_request *r)
{
	const char *number = strrchr(r->route.rest, '/');
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);
	json_t *j = NULL;

	if (!has_objects(r))
		return;
	if (!reader || fg_object_describe(r->layer, reader,
			   strtoull(number + 1, NULL, 10), &j, &err) < 0)
		fg_reply_err(r, &err);
	else
		fg_reply_json(r, 200, j);
}
