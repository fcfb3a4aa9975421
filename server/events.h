/* SPDX-License-Identifier: Apache-2.0 */
/*
 * GET /api/events: what happens, as server-sent events.
 *
 *   event: hello  {"version", "uuid"}: first of each stream; then the open jobs
 *   event: job    a job whose state or numbers changed (the JSON of work/plan.h)
 *   event: block  {"layer", "at": [x, y, z], "state": "queued" | "running" | "delayed"
 * | "present" | "failed" | "absent"} event: chunk  {"layer", "scale", "at", "state":
 * "present"}: a coarse chunk was stored event: lost   {}: some block events are
 * missing; ask for the whole state again
 *
 * A comment is sent after 15 s of silence. One thread polls scheduler and planner ten
 * times a second while there are clients, and writes each event once, into a ring of
 * FG_EVENTS_RING bytes that all streams read. A client that is slower than that is cut
 * off (it connects again, and asks for the state). So neither the work nor an event
 * thread ever waits for a client, and memory does not grow with their number.
 */
#ifndef FG_SERVER_EVENTS_H
#define FG_SERVER_EVENTS_H

#include "server/server.h"

#define FG_EVENTS_RING ((size_t)256 << 10)

struct fg_events;
struct fg_request;
struct fg_stream;
struct MHD_Response;

struct fg_events *fg_events_new(struct fg_server *s, struct fg_err *err) FG_MUST_USE;
/* End all streams and refuse new ones: before HTTP stops. */
void fg_events_close(struct fg_events *e);
void fg_events_free(struct fg_events *e);
uint64_t fg_events_clients(struct fg_events *e);

/* The API call. Describes an answer whose body is a stream. */
void fg_events_handle(struct fg_request *r);
/* Turn r->reply.stream into a response (http.c), or give it up. */
struct MHD_Response *fg_events_response(struct fg_request *r) FG_MUST_USE;
void fg_events_drop(struct fg_stream *st); /* NULL: nothing */

#endif
