/* SPDX-License-Identifier: Apache-2.0 */
/* Two calls about access: what the caller may do, and a token for the owner's browser.
 */
#include "config.h"

#include "base/clock.h"
#include "base/json.h"
#include "server/request.h"

#define HOURS_MAX (24 * 365)

/* /api/access: also for callers that may do nothing, so that a page can tell. */
void
fg_token_access(struct fg_request *r)
{
	const struct fg_grant *g = r->grant;
	bool writes = g->token && g->role >= FG_ROLE_COMPUTE && !r->foreign;

	fg_reply_json(r, 200,
	    json_pack("{s:s, s:b, s:b, s:s?}", "role", fg_role_name(g->role), "token",
		(int)g->token, "writes", (int)writes, "name",
		g->token ? g->name : NULL));
}

static int
read_spec(struct fg_request *r, enum fg_role *role, int64_t *hours, struct fg_err *err)
{
	const char *text = r->body.data ? r->body.data : "{}";
	size_t n = r->body.data ? r->body.len : 2;
	const char *name = "compute";
	json_t *spec = fg_json_parse(text, n, "body", err);
	int rc = -1;

	*hours = 12;
	if (!spec)
		return -1;
	if (!json_is_object(spec)) {
		fg_fail(err, FG_EINVAL, "body: not a JSON object");
		goto out;
	}
	if (json_object_get(spec, "role"))
		name = json_string_value(json_object_get(spec, "role"));
	if (!name || !fg_role_parse(name, strlen(name), role) ||
	    *role == FG_ROLE_NONE) {
		fg_fail(err, FG_EINVAL, "role is not read, compute or admin");
		goto out;
	}
	rc = json_object_get(spec, "hours")
		 ? fg_json_get_int(spec, "hours", FG_JSON_NEEDED, 1, HOURS_MAX, hours,
		       err)
		 : 0;
out:
	json_decref(spec);
	return rc;
}

/* POST /api/tokens {"role", "hours"}: a token that ends by itself, and the URL with it.
 */
void
fg_token_make(struct fg_request *r)
{
	struct fg_err err = FG_ERR_INIT;
	char token[FG_TOKEN_MAX + 1];
	enum fg_role role;
	int64_t hours;

	if (!fg_access_sees_all(r)) {
		fg_reply_error(r, 403,
		    "this token is for some layers only, and makes no others");
		return;
	}
	if (read_spec(r, &role, &hours, &err) < 0) {
		fg_reply_err(r, &err);
		return;
	}
	fg_access_session(r->srv->access, role, hours * 3600, token);
	fg_reply_json(r, 201,
	    json_pack("{s:s, s:s, s:o, s:I}", "role", fg_role_name(role), "token",
		token, "url", json_sprintf("%s/t/%s/", fg_server_url(r->srv), token),
		"expires", (json_int_t)(fg_clock_wall_ms() + hours * 3600000)));
}
