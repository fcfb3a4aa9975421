/* SPDX-License-Identifier: Apache-2.0 */
/* JSON bodies of slab records: see the header. */
#include "config.h"

#include "store/record.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"

static void
set_text(json_t *obj, const char *key, const char *text)
{
	/* json_string fails on text that is not UTF-8; the key is then left out. */
	if (text)
		json_object_set_new(obj, key, json_string(text));
}

char *
fg_record_layer_format(const struct fg_layer_row *row)
{
	json_t *j = json_object();
	char *text;

	json_object_set_new(j, "layer", json_integer(row->layer));
	set_text(j, "uuid", row->uuid);
	set_text(j, "name", row->name);
	set_text(j, "kind", row->kind);
	set_text(j, "info", row->info);
	set_text(j, "source", row->source);
	set_text(j, "recipe", row->recipe);
	set_text(j, "grid", row->grid);
	text = fg_json_format(j);
	json_decref(j);
	return text;
}

/* A copy of the string under key into *out, NULL if optional and absent. */
static int
copy_text(const json_t *j, const char *key, enum fg_json_need need, char **out,
    struct fg_err *err)
{
	const char *text = NULL;

	if (fg_json_get_string(j, key, need, &text, err) < 0)
		return -1;
	if (text)
		*out = fg_strdup(text);
	return 0;
}

int
fg_record_layer_parse(const char *text, size_t n, struct fg_layer_row *row,
    struct fg_err *err)
{
	struct fg_err e = FG_ERR_INIT;
	json_t *j = fg_json_parse(text, n, "layer descriptor", &e);
	const char *uuid = NULL;
	int64_t layer = 0;
	int rc = -1;

	*row = (struct fg_layer_row){0};
	if (!j)
		goto out;
	if (fg_json_get_int(j, "layer", FG_JSON_NEEDED, 1, UINT32_MAX, &layer, &e) <
		0 ||
	    fg_json_get_string(j, "uuid", FG_JSON_NEEDED, &uuid, &e) < 0 ||
	    copy_text(j, "name", FG_JSON_NEEDED, &row->name, &e) < 0 ||
	    copy_text(j, "kind", FG_JSON_NEEDED, &row->kind, &e) < 0 ||
	    copy_text(j, "info", FG_JSON_NEEDED, &row->info, &e) < 0 ||
	    copy_text(j, "source", FG_JSON_OPTIONAL, &row->source, &e) < 0 ||
	    copy_text(j, "recipe", FG_JSON_OPTIONAL, &row->recipe, &e) < 0 ||
	    copy_text(j, "grid", FG_JSON_OPTIONAL, &row->grid, &e) < 0)
		goto out;
	if (strlen(uuid) != sizeof row->uuid - 1) {
		fg_fail(&e, FG_ECORRUPT, "\"uuid\" is no uuid");
		goto out;
	}
	row->layer = (uint32_t)layer;
	memcpy(row->uuid, uuid, sizeof row->uuid);
	rc = 0;
out:
	if (rc < 0) {
		fg_layer_row_fini(row);
		fg_fail(err, FG_ECORRUPT, "layer descriptor: %s", e.msg);
	}
	json_decref(j);
	return rc;
}

static json_t *
integer(uint64_t v)
{
	return json_integer((json_int_t)v);
}

static json_t *
payload_json(const struct fg_payload *p, const struct fg_place *at)
{
	json_t *a = json_array();
	bool bytes = p->bytes != NULL;

	json_array_append_new(a, integer(p->key.kind));
	json_array_append_new(a, integer(p->key.scale));
	json_array_append_new(a, integer(p->key.at));
	json_array_append_new(a, integer(p->part));
	json_array_append_new(a, integer(p->state));
	json_array_append_new(a, integer(p->enc));
	json_array_append_new(a, integer(bytes ? at->off : UINT64_MAX));
	json_array_append_new(a, integer(bytes ? at->len : 0));
	json_array_append_new(a, integer(bytes ? at->crc : 0));
	if (p->gen != 0)
		json_array_append_new(a, json_integer(p->gen));
	return a;
}

static json_t *
object_json(const struct fg_object_row *o)
{
	json_t *a = json_array();

	json_array_append_new(a, integer(o->id));
	json_array_append_new(a, integer(o->voxels));
	for (int d = 0; d < 3; d++)
		json_array_append_new(a, json_integer(o->lo[d]));
	for (int d = 0; d < 3; d++)
		json_array_append_new(a, json_integer(o->hi[d]));
	for (int d = 0; d < 3 && o->seeded; d++)
		json_array_append_new(a, json_integer(o->seed[d]));
	return a;
}

static json_t *
merge_json(const struct fg_merge *m)
{
	json_t *a = json_array();

	json_array_append_new(a, integer(m->a));
	json_array_append_new(a, integer(m->b));
	json_array_append_new(a, integer(m->both));
	json_array_append_new(a, integer(m->only_a));
	json_array_append_new(a, integer(m->only_b));
	json_array_append_new(a, integer(m->joined));
	return a;
}

static json_t *
contact_json(const struct fg_contact *c)
{
	json_t *a = json_array();

	json_array_append_new(a, integer(c->a));
	json_array_append_new(a, integer(c->b));
	json_array_append_new(a, integer(c->both));
	json_array_append_new(a, integer(c->only_a));
	json_array_append_new(a, integer(c->only_b));
	for (int d = 0; d < 3; d++)
		json_array_append_new(a, json_integer(c->vx[d]));
	json_array_append_new(a, json_integer(c->recovered));
	json_array_append_new(a, json_integer(c->deleted));
	json_array_append_new(a, integer(c->joined));
	return a;
}

char *
fg_record_commit_format(const struct fg_result *res)
{
	json_t *j = json_object(), *run = json_object(), *a = json_array();
	char *text;

	json_array_append_new(a, integer(res->task.kind));
	json_array_append_new(a, integer(res->task.scale));
	json_array_append_new(a, integer(res->task.at));
	json_object_set_new(j, "task", a);
	set_text(run, "worker", res->worker);
	set_text(run, "device", res->device);
	set_text(run, "version", res->version);
	set_text(run, "stats", res->stats);
	json_object_set_new(run, "started", json_integer(res->started_ms));
	json_object_set_new(run, "ended", json_integer(res->ended_ms));
	json_object_set_new(j, "run", run);
	a = json_array();
	for (size_t i = 0; i < res->payloads; i++)
		json_array_append_new(a,
		    payload_json(&res->payload[i], &res->places[i]));
	json_object_set_new(j, "put", a);
	a = json_array();
	for (size_t i = 0; i < res->objects; i++)
		json_array_append_new(a, object_json(&res->object[i]));
	json_object_set_new(j, "objects", a);
	if (res->merges > 0) {
		a = json_array();
		for (size_t i = 0; i < res->merges; i++)
			json_array_append_new(a, merge_json(&res->merge[i]));
		json_object_set_new(j, "merges", a);
	}
	if (res->contacts > 0) {
		a = json_array();
		for (size_t i = 0; i < res->contacts; i++)
			json_array_append_new(a, contact_json(&res->contact[i]));
		json_object_set_new(j, "contacts", a);
	}
	text = fg_json_format(j);
	json_decref(j);
	return text;
}

/* ------------------------------------------------------------- reading back */

/* Numbers of an array of exactly n. */
static bool
get_numbers(const json_t *a, size_t n, int64_t *out)
{
	if (!json_is_array(a) || json_array_size(a) != n)
		return false;
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(a, i);

		if (!json_is_integer(v))
			return false;
		out[i] = json_integer_value(v);
	}
	return true;
}

static bool
is_key_valid(const int64_t v[3])
{
	return v[0] >= FG_KIND_CHUNK && v[0] <= FG_KIND_LAST && v[1] >= 0 &&
	       v[1] <= UINT8_MAX;
}

static bool
get_payload(const json_t *a, uint32_t layer, uint32_t slab, struct fg_payload *p,
    struct fg_place *at)
{
	int64_t v[10] = {0};

	if ((!get_numbers(a, 9, v) && !get_numbers(a, 10, v)) || !is_key_valid(v) ||
	    v[9] < 0 || v[4] < FG_PRESENT || v[4] > FG_PARTIAL || v[5] < 0 ||
	    v[5] > UINT8_MAX || v[6] < -1 || v[7] < 0 || v[8] < 0 || v[8] > UINT32_MAX)
		return false;
	if ((v[6] == -1) != (v[4] == FG_EMPTY))
		return false;
	*p = (struct fg_payload){
	    .key = {layer, (uint8_t)v[0], (uint8_t)v[1], (uint64_t)v[2]},
	    .part = (uint64_t)v[3],
	    .gen = v[9],
	    .state = (enum fg_state)v[4],
	    .enc = (uint8_t)v[5],
	};
	*at = (struct fg_place){.state = p->state, .enc = p->enc, .gen = p->gen};
	if (p->state == FG_EMPTY)
		return true;
	at->slab = slab;
	at->off = (uint64_t)v[6];
	at->len = (uint64_t)v[7];
	at->crc = (uint32_t)v[8];
	return true;
}

static bool
get_object(const json_t *a, struct fg_object_row *o)
{
	int64_t v[11];

	o->seeded = get_numbers(a, 11, v);
	if (!o->seeded && !get_numbers(a, 8, v))
		return false;
	if (o->seeded)
		memcpy(o->seed, v + 8, sizeof o->seed);
	o->id = (uint64_t)v[0];
	o->voxels = (uint64_t)v[1];
	memcpy(o->lo, v + 2, sizeof o->lo);
	memcpy(o->hi, v + 5, sizeof o->hi);
	return true;
}

static bool
get_merge(const json_t *a, struct fg_merge *m)
{
	int64_t v[6];

	if (!get_numbers(a, 6, v) || v[0] <= 0 || v[1] <= v[0] || v[5] < 0 || v[5] > 1)
		return false;
	*m = (struct fg_merge){
	    .a = (uint64_t)v[0],
	    .b = (uint64_t)v[1],
	    .both = (uint64_t)v[2],
	    .only_a = (uint64_t)v[3],
	    .only_b = (uint64_t)v[4],
	    .joined = v[5] == 1,
	};
	return true;
}

static int
get_merges(const json_t *list, struct fg_result *res, struct fg_err *err)
{
	struct fg_merge *m;

	res->merges = json_array_size(list);
	m = fg_calloc(res->merges + 1, sizeof *m);
	res->merge = m;
	for (size_t i = 0; i < res->merges; i++) {
		if (!get_merge(json_array_get(list, i), &m[i]))
			return fg_fail(err, FG_ECORRUPT, "merge %zu is no merge", i);
	}
	return 0;
}

static bool
get_contact(const json_t *a, struct fg_contact *c)
{
	int64_t v[11];

	if (!get_numbers(a, 11, v) || v[0] <= 0 || v[1] <= v[0] || v[8] < 0 ||
	    v[8] > FG_CONTACT_ALL || v[9] < 0 || v[9] > INT32_MAX || v[10] < 0 ||
	    v[10] > 1)
		return false;
	*c = (struct fg_contact){
	    .a = (uint64_t)v[0],
	    .b = (uint64_t)v[1],
	    .both = (uint64_t)v[2],
	    .only_a = (uint64_t)v[3],
	    .only_b = (uint64_t)v[4],
	    .vx = {v[5], v[6], v[7]},
	    .recovered = (int)v[8],
	    .deleted = (int)v[9],
	    .joined = v[10] == 1,
	};
	return true;
}

static int
get_contacts(const json_t *list, struct fg_result *res, struct fg_err *err)
{
	struct fg_contact *c;

	res->contacts = json_array_size(list);
	c = fg_calloc(res->contacts + 1, sizeof *c);
	res->contact = c;
	for (size_t i = 0; i < res->contacts; i++) {
		if (!get_contact(json_array_get(list, i), &c[i]))
			return fg_fail(err, FG_ECORRUPT, "contact %zu is no contact",
			    i);
	}
	return 0;
}

static int
get_run(const json_t *run, struct fg_result *res, struct fg_err *err)
{
	if (!json_is_object(run))
		return fg_fail(err, FG_ECORRUPT, "\"run\" is missing");
	if (fg_json_get_string(run, "worker", FG_JSON_OPTIONAL, &res->worker, err) < 0)
		return -1;
	if (fg_json_get_string(run, "device", FG_JSON_OPTIONAL, &res->device, err) < 0)
		return -1;
	if (fg_json_get_string(run, "version", FG_JSON_OPTIONAL, &res->version, err) <
	    0)
		return -1;
	if (fg_json_get_string(run, "stats", FG_JSON_OPTIONAL, &res->stats, err) < 0)
		return -1;
	if (fg_json_get_int(run, "started", FG_JSON_NEEDED, INT64_MIN, INT64_MAX,
		&res->started_ms, err) < 0)
		return -1;
	return fg_json_get_int(run, "ended", FG_JSON_NEEDED, INT64_MIN, INT64_MAX,
	    &res->ended_ms, err);
}

static int
fill_result(const json_t *j, uint32_t layer, uint32_t slab, struct fg_result *res,
    struct fg_err *err)
{
	const json_t *put = json_object_get(j, "put"),
		     *objects = json_object_get(j, "objects");
	int64_t task[3];

	if (!get_numbers(json_object_get(j, "task"), 3, task) || !is_key_valid(task))
		return fg_fail(err, FG_ECORRUPT, "\"task\" is no key");
	res->task = (struct fg_key){layer, (uint8_t)task[0], (uint8_t)task[1],
	    (uint64_t)task[2]};
	if (get_run(json_object_get(j, "run"), res, err) < 0)
		return -1;
	res->payloads = json_array_size(put);
	res->objects = json_array_size(objects);
	struct fg_payload *payload = fg_calloc(res->payloads + 1, sizeof *payload);
	struct fg_object_row *object = fg_calloc(res->objects + 1, sizeof *object);
	res->payload = payload;
	res->object = object;
	res->places = fg_calloc(res->payloads + 1, sizeof *res->places);
	for (size_t i = 0; i < res->payloads; i++) {
		if (!get_payload(json_array_get(put, i), layer, slab, &payload[i],
			&res->places[i]))
			return fg_fail(err, FG_ECORRUPT, "payload %zu is no payload",
			    i);
	}
	for (size_t i = 0; i < res->objects; i++) {
		if (!get_object(json_array_get(objects, i), &object[i]))
			return fg_fail(err, FG_ECORRUPT, "object %zu is no object", i);
	}
	if (get_contacts(json_object_get(j, "contacts"), res, err) < 0)
		return -1;
	return get_merges(json_object_get(j, "merges"), res, err);
}

int
fg_record_commit_parse(const char *text, size_t n, uint32_t layer, uint32_t slab,
    struct fg_record_result *out, struct fg_err *err)
{
	struct fg_err e = FG_ERR_INIT;

	*out = (struct fg_record_result){0};
	out->json = fg_json_parse(text, n, "commit record", &e);
	if (out->json && fill_result(out->json, layer, slab, &out->res, &e) == 0)
		return 0;
	fg_record_result_fini(out);
	return fg_fail(err, FG_ECORRUPT, "commit record: %s", e.msg);
}

void
fg_record_result_fini(struct fg_record_result *r)
{
	free((void *)r->res.payload);
	free((void *)r->res.object);
	free((void *)r->res.merge);
	free((void *)r->res.contact);
	free(r->res.places);
	json_decref(r->json);
	*r = (struct fg_record_result){0};
}

/* ------------------------------------------------------------- edits */

char *
fg_record_edit_format(const struct fg_edit *edit, size_t n)
{
	json_t *j = json_object(), *list = json_array();
	char *text;

	for (size_t i = 0; i < n; i++) {
		const struct fg_edit *e = &edit[i];
		json_t *who = json_string(e->who), *a = json_array();

		json_array_append_new(a, json_integer(e->edit));
		json_array_append_new(a, json_integer(e->kind));
		json_array_append_new(a, integer(e->a));
		json_array_append_new(a, integer(e->b));
		json_array_append_new(a, json_integer(e->at_ms));
		json_array_append_new(a, who ? who : json_string(""));
		json_array_append_new(list, a);
	}
	json_object_set_new(j, "edits", list);
	text = fg_json_format(j);
	json_decref(j);
	return text;
}

char *
fg_record_undo_format(const int64_t *edit, size_t n)
{
	json_t *j = json_object(), *list = json_array();
	char *text;

	for (size_t i = 0; i < n; i++)
		json_array_append_new(list, json_integer(edit[i]));
	json_object_set_new(j, "undo", list);
	text = fg_json_format(j);
	json_decref(j);
	return text;
}

static bool
get_edit(const json_t *a, struct fg_edit *e)
{
	const char *who = json_string_value(json_array_get(a, 5));
	int64_t v[5];

	if (!who || json_array_size(a) != 6)
		return false;
	for (size_t i = 0; i < 5; i++) {
		if (!json_is_integer(json_array_get(a, i)))
			return false;
		v[i] = json_integer_value(json_array_get(a, i));
	}
	if (v[0] < 1 || (v[1] != FG_EDIT_JOIN && v[1] != FG_EDIT_CUT) || v[2] == v[3])
		return false;
	*e = (struct fg_edit){
	    .edit = v[0],
	    .kind = (enum fg_edit_kind)v[1],
	    .a = (uint64_t)v[2],
	    .b = (uint64_t)v[3],
	    .at_ms = v[4],
	};
	snprintf(e->who, sizeof e->who, "%s", who);
	return true;
}

static int
get_edits(const json_t *j, struct fg_edit **edit, int64_t **undo, size_t *n)
{
	const json_t *list = json_object_get(j, "edits");

	*edit = NULL;
	*undo = NULL;
	if (json_is_array(list)) {
		*n = json_array_size(list);
		*edit = fg_calloc(*n + 1, sizeof **edit);
		for (size_t i = 0; i < *n; i++) {
			if (!get_edit(json_array_get(list, i), &(*edit)[i]))
				return -1;
		}
		return 0;
	}
	list = json_object_get(j, "undo");
	if (!json_is_array(list))
		return -1;
	*n = json_array_size(list);
	*undo = fg_calloc(*n + 1, sizeof **undo);
	return get_numbers(list, *n, *undo) ? 0 : -1;
}

int
fg_record_edit_parse(const char *text, size_t len, struct fg_edit **edit,
    int64_t **undo, size_t *n, struct fg_err *err)
{
	struct fg_err e = FG_ERR_INIT;
	json_t *j = fg_json_parse(text, len, "edit record", &e);
	int rc;

	if (!j)
		return fg_fail(err, FG_ECORRUPT, "%s", e.msg);
	rc = get_edits(j, edit, undo, n);
	json_decref(j);
	if (rc == 0)
		return 0;
	free(*edit);
	free(*undo);
	return fg_fail(err, FG_ECORRUPT, "edit record: it holds no edits");
}

/* ------------------------------------------------------------- jobs */

char *
fg_record_job_format(const struct fg_job_row *row)
{
	json_t *j = json_object();
	char *text;

	json_object_set_new(j, "job", json_integer(row->job));
	set_text(j, "box", row->box);
	set_text(j, "stages", row->stages);
	set_text(j, "error", row->error);
	json_object_set_new(j, "class", json_integer(row->cls));
	json_object_set_new(j, "state", json_integer(row->state));
	json_object_set_new(j, "created", json_integer(row->created_ms));
	json_object_set_new(j, "updated", json_integer(row->updated_ms));
	text = fg_json_format(j);
	json_decref(j);
	return text;
}

int
fg_record_job_parse(const char *text, size_t n, uint32_t layer, struct fg_job_row *row,
    struct fg_err *err)
{
	struct fg_err e = FG_ERR_INIT;
	json_t *j = fg_json_parse(text, n, "job", &e);
	int64_t cls = 0, state = 0;
	int rc = -1;

	*row = (struct fg_job_row){.layer = layer};
	if (!j ||
	    fg_json_get_int(j, "job", FG_JSON_NEEDED, 1, INT64_MAX, &row->job, &e) <
		0 ||
	    fg_json_get_int(j, "class", FG_JSON_NEEDED, 0, 2, &cls, &e) < 0 ||
	    fg_json_get_int(j, "state", FG_JSON_NEEDED, 0, FG_JOB_CANCELLED, &state,
		&e) < 0 ||
	    fg_json_get_int(j, "created", FG_JSON_NEEDED, 0, INT64_MAX,
		&row->created_ms, &e) < 0 ||
	    fg_json_get_int(j, "updated", FG_JSON_NEEDED, 0, INT64_MAX,
		&row->updated_ms, &e) < 0 ||
	    copy_text(j, "box", FG_JSON_NEEDED, &row->box, &e) < 0 ||
	    copy_text(j, "stages", FG_JSON_NEEDED, &row->stages, &e) < 0 ||
	    copy_text(j, "error", FG_JSON_OPTIONAL, &row->error, &e) < 0) {
		fg_job_row_fini(row);
		fg_fail(err, FG_ECORRUPT, "%s", e.msg);
		goto out;
	}
	row->cls = (int)cls;
	row->state = (enum fg_job_state)state;
	rc = 0;
out:
	json_decref(j);
	return rc;
}
