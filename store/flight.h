/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One fetch for all who want the same thing at the same time: the first thread that
 * asks for a key leads, those that come before it is done follow and get what it got,
 * failure included. Nothing is remembered afterwards.
 *
 * Who leads several keys and follows others lands all of its own before it waits, so
 * that threads never wait for each other in a circle. Leaders always land: a client
 * that goes away does not end the fetch that others wait for.
 */
#ifndef FG_STORE_FLIGHT_H
#define FG_STORE_FLIGHT_H

#include "base/buf.h"
#include "base/err.h"
#include "store/fetch_head.h"

struct fg_flights;
struct fg_flight;

/* What came of it; bytes: NULL or a reference that the flight holds. */
struct fg_landed {
	struct fg_buf *bytes;
	bool absent, changed;
	int coding;
	uint64_t size;
	char tag[FG_TAG_MAX];
	struct fg_err err;
};

struct fg_flights *fg_flights_new(void) FG_MUST_USE;
void fg_flights_free(struct fg_flights *s); /* nobody is on one any more */

/* *lead: this thread makes it and calls land, once; others wait. Both leave. */
struct fg_flight *fg_flight_join(struct fg_flights *s, const char *key, bool *lead);
/* Publish: takes a reference of its own to r->bytes. */
void fg_flight_land(struct fg_flights *s, struct fg_flight *f,
    const struct fg_landed *r);
/* Blocks until it has landed; valid until this thread leaves. */
const struct fg_landed *fg_flight_wait(struct fg_flights *s, struct fg_flight *f);
void fg_flight_leave(struct fg_flights *s, struct fg_flight *f);

#endif
