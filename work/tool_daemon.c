/* SPDX-License-Identifier: Apache-2.0 */
/* floodgate url: a way into the running daemon for its owner's browser. */
#include "config.h"

#include <stdlib.h>

#include "base/json.h"
#include "work/control.h"
#include "work/tool.h"

#define HOURS_MAX (24 * 365)

static const struct fg_tool_option url_options[] = {
    {"role", "ROLE",
	"read, compute (also order work) or admin (also change\nlayers); default "
	"compute",
	0},
    {"hours", "N", "how long the token is good (default 12)", 0},
    {NULL, NULL, NULL, 0},
};

static int
run_url(struct fg_tool *t)
{
	const char *role = fg_tool_text(t, "role", "compute");
	struct fg_err err = FG_ERR_INIT;
	struct fg_control *c = NULL;
	json_t *body = NULL, *out = NULL;
	int64_t hours = 12;
	int code = FG_EXIT_OK;

	if (fg_tool_has(t, "hours") &&
	    fg_tool_int(t, "hours", 1, HOURS_MAX, &hours, &err) < 0)
		return fg_tool_fail(t, &err);
	c = fg_control_open(t->root, &err);
	body = json_pack("{s:s, s:I}", "role", role, "hours", (json_int_t)hours);
	if (!c || fg_control_call(c, "POST", "/api/tokens", body, &out, &err) < 0)
		code = fg_tool_fail(t, &err);
	else if (t->json)
		fg_tool_print_json(json_incref(out));
	else
		printf("%s\n", json_string_value(json_object_get(out, "url")));
	json_decref(body);
	json_decref(out);
	fg_control_close(c);
	return code;
}

const struct fg_tool_command fg_tool_daemon_commands[] = {
    {.name = "url",
	.summary = "address of the running daemon with a token in it",
	.details =
	    "For a browser or a viewer: who has the address may do what its role "
	    "says, until\nthe hours are over or the daemon ends. Lasting tokens are in "
	    "the file that the\nsetting token_file names.",
	.options = url_options,
	.run = run_url},
    {.name = NULL},
};
