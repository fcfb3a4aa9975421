/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Talking to the daemon that holds a data directory: HTTP over the unix socket
 * ROOT/control.sock (mode 0600), the same API as under /api. For the tool; libwork
 * itself knows no HTTP.
 */
#ifndef FG_WORK_CONTROL_H
#define FG_WORK_CONTROL_H

#include <jansson.h>

#include "base/err.h"

struct fg_control;

/* Connect to the daemon of a data directory and see that it answers. FG_EBUSY if nobody
 * listens there. Freed with fg_control_close. */
struct fg_control *fg_control_open(const char *root, struct fg_err *err) FG_MUST_USE;
void fg_control_close(struct fg_control *c);

/*
 * One request: method "GET", "POST" or "DELETE", path below the socket's root
 * ("/api/layers"), body JSON or NULL. *out (may be NULL): the JSON of the reply, NULL
 * if it is empty; json_decref. An error reply becomes a failure with the daemon's own
 * words: 404 FG_ENOENT; 400, 409, 413, 422 FG_EINVAL; 429, 503 FG_EBUSY; 501
 * FG_ENOTSUP; 507 FG_EFULL; others FG_EIO.
 */
int fg_control_call(struct fg_control *c, const char *method, const char *path,
    const json_t *body, json_t **out, struct fg_err *err) FG_MUST_USE;

#endif
