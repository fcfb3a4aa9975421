/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls below /api/jobs: JSON in, JSON out. Everything about jobs is in
 * work/plan.h; here are only its errors as statuses. All of it runs on worker threads,
 * because a wish is on the disk before it is acknowledged.
 */
#include "config.h"

#include <stdlib.h>

#include "base/json.h"
#include "server/request.h"
#include "work/plan.h"

/* Failures in the words of this API: an order that the job's state does not allow is a
 * conflict, not a malformed request. */
static void
reply_failure(struct fg_request *r, const struct fg_err *err, bool order)
{
	if (order && err->code == FG_EINVAL)
		fg_reply_error(r, 409, "%s", err->msg);
	else
		fg_reply_err(r, err);
}

static const char *
url_of(const json_t *job)
{
	return json_string_value(json_object_get(job, "url"));
}

/* The number in "jobs/N" or "jobs/N/word". */
static int64_t
number_of(const struct fg_request *r)
{
	return strtoll(r->route.rest + strlen("jobs/"), NULL, 10);
}

/* Whether the caller sees the job: that is, its layer. Answers 404 if not, as for a job
 * that is not there. */
static bool
sees_job(struct fg_request *r)
{
	json_t *jobs, *j;
	bool sees = false;
	size_t i;

	if (fg_access_sees_all(r))
		return true;
	jobs = fg_plan_list(r->srv->plan);
	json_array_foreach(jobs, i, j)
	{
		if (json_integer_value(json_object_get(j, "id")) == number_of(r))
			sees = fg_access_sees_name(r,
			    json_string_value(json_object_get(j, "layer")));
	}
	json_decref(jobs);
	if (!sees)
		fg_reply_error(r, 404, "there is no job %lld", (long long)number_of(r));
	return sees;
}

/* The layer named in an order is one that the caller sees; others do not exist. What is
 * no name is left to the planner to refuse. */
static bool
sees_layer_of(struct fg_request *r, const json_t *spec)
{
	const char *name = json_string_value(json_object_get(spec, "layer"));

	if (!name || fg_access_sees_name(r, name))
		return true;
	fg_reply_error(r, 404, "there is no layer %.64s", name);
	return false;
}

/* ?dry=1 or "dry_run": true. A value that is neither yes nor no is refused: it might
 * have been meant to be one. */
static bool
wants_dry(const struct fg_request *r, const json_t *spec, bool *dry, struct fg_err *err)
{
	char text[FG_QUERY_MAX + 1];
	bool given = fg_route_query(&r->route, "dry", text, sizeof text);

	if (given && strcmp(text, "0") != 0 && strcmp(text, "1") != 0) {
		fg_fail(err, FG_EINVAL, "dry is 0 or 1, not \"%.40s\"", text);
		return false;
	}
	*dry = given && *text == '1';
	if (json_is_object(spec) && json_object_get(spec, "dry_run")) {
		bool asked = false;

		if (fg_json_get_bool(spec, "dry_run", FG_JSON_NEEDED, &asked, err) < 0)
			return false;
		*dry = *dry || asked;
	}
	return true;
}

void
fg_jobs_submit(struct fg_request *r)
{
	struct fg_plan *p = r->srv->plan;
	struct fg_err err = FG_ERR_INIT;
	const struct fg_settings *set = r->srv->set;
	json_t *spec, *out = NULL;
	double voxels;
	bool dry;
	int rc = -1;

	spec =
	    fg_json_parse(r->body.data ? r->body.data : "", r->body.len, "body", &err);
	if (!spec || !wants_dry(r, spec, &dry, &err)) {
		fg_reply_err(r, &err);
		goto out;
	}
	if (!sees_layer_of(r, spec))
		goto out;
	if (fg_plan_voxels(p, spec, &voxels, &err) < 0) {
		fg_reply_err(r, &err);
		goto out;
	}
	if (voxels > set->box_max_gvx * 1e9) {
		fg_reply_error(r, 413,
		    "the box has %.4g voxels, more than %.4g are not taken "
		    "(box_max_gvx)",
		    voxels, set->box_max_gvx * 1e9);
		goto out;
	}
	rc = dry ? fg_plan_dry(p, spec, true, &out, &err)
		 : fg_plan_submit(p, spec, &out, &err);
	if (rc < 0) {
		fg_reply_err(r, &err);
		goto out;
	}
	char *url = fg_strdup(dry ? "" : url_of(out));
	fg_reply_public(r, dry ? 200 : 202, out);
	snprintf(r->reply.location, sizeof r->reply.location, "%s", url);
	free(url);
out:
	json_decref(spec);
}

void
fg_jobs_list(struct fg_request *r)
{
	json_t *jobs = fg_plan_list(r->srv->plan);

	for (size_t i = json_array_size(jobs); i-- > 0 && !fg_access_sees_all(r);) {
		const json_t *layer = json_object_get(json_array_get(jobs, i), "layer");

		if (!fg_access_sees_name(r, json_string_value(layer)))
			json_array_remove(jobs, i);
	}
	fg_reply_public(r, 200, jobs);
}

void
fg_jobs_show(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	struct fg_reader *reader = fg_server_reader(r->srv, &err);
	json_t *out = NULL;

	if (!sees_job(r))
		return;
	if (!reader || fg_plan_show(r->srv->plan, number_of(r), reader, &out, &err) < 0)
		fg_reply_err(r, &err);
	else
		fg_reply_public(r, 200, out);
}

static void
order(struct fg_request *r, enum fg_plan_order what)
{
	struct fg_err err = FG_ERR_INIT;
	json_t *out = NULL;

	if (!sees_job(r))
		return;
	if (fg_plan_order(r->srv->plan, number_of(r), what, &out, &err) < 0)
		reply_failure(r, &err, true);
	else
		fg_reply_public(r, 200, out);
}

void
fg_jobs_cancel(struct fg_request *r)
{
	order(r, FG_PLAN_CANCEL);
}

void
fg_jobs_pause(struct fg_request *r)
{
	order(r, FG_PLAN_PAUSE);
}

void
fg_jobs_resume(struct fg_request *r)
{
	order(r, FG_PLAN_RESUME);
}

void
fg_jobs_retry(struct fg_request *r)
{
	order(r, FG_PLAN_RETRY);
}
