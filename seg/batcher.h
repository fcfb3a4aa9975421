/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The inner side of the batcher (its public side is in seg/segment.h): how a block
 * hands steps over and gets them back.
 *
 * A client is one running block. It says how many floods it has that are about to want
 * a step (fg_client_active); a device that finds only work of a lower class waits a
 * moment for a better client's flood that is between two steps, or the device would
 * be lost to it for a whole step each time.
 *
 * A request belongs to the client until submitted and again once taken; in between the
 * batcher and a device's thread use it and its canvas.
 */
#ifndef FG_SEG_BATCHER_H
#define FG_SEG_BATCHER_H

#include <pthread.h>

#include "seg/device.h"

struct fg_client;

struct fg_request {
	struct fg_step *step;
	_Atomic bool ahead; /* speculative: behind its class's other requests */
	/* out, once taken */
	int rc;
	struct fg_err err;
	/* own */
	bool moved; /* a device was lost with it, and another one has it now */
	struct fg_client *client;
	struct fg_request *next;
};

const struct fg_net *fg_batcher_net(const struct fg_batcher *b);
int fg_batcher_devices(struct fg_batcher *b); /* serving now */
int fg_batcher_room(struct fg_batcher *b);    /* steps that they take at a time */

/* cls is lent until leave. */
struct fg_client *fg_client_enter(struct fg_batcher *b,
    const _Atomic int *cls) FG_MUST_USE;
/* No request of the client may be out. */
void fg_client_leave(struct fg_client *c);
/* How many of its floods are running (queued, on a device, or about to be). */
void fg_client_active(struct fg_client *c, int floods);
/* The promoted or demoted class takes effect by itself; this only wakes devices. */
void fg_client_submit(struct fg_client *c, struct fg_request *r);
/* A finished request; NULL after timeout_ns or sooner, e.g. when the batcher stops. */
struct fg_request *fg_client_take(struct fg_client *c, int64_t timeout_ns) FG_MUST_USE;
/* Get a request back that no device has started on; false: it will come by take. */
bool fg_client_withdraw(struct fg_client *c, struct fg_request *r) FG_MUST_USE;
bool fg_batcher_is_stopped(struct fg_batcher *b);

/* The loop of fg_batcher_serve on a model that is loaded already: until stop, or until
 * the model fails. */
int fg_batcher_serve_model(struct fg_batcher *b, struct fg_model *m,
    struct fg_err *err) FG_MUST_USE;

#endif
