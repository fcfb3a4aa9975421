/* SPDX-License-Identifier: Apache-2.0 */
/* Limits on parked requests by client address. */
#include "config.h"

#include <arpa/inet.h>
#include <netinet/in.h>

#include "server/clients.h"
#include "tests/tap.h"

static struct fg_client_id
client(const char *address, bool wait)
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
	struct fg_client_id id;

	if (inet_pton(AF_INET, address, &in.sin_addr) == 1) {
		fg_client_id_make((struct sockaddr *)&in, wait, &id);
	} else {
		fg_assert(inet_pton(AF_INET6, address, &in6.sin6_addr) == 1);
		fg_client_id_make((struct sockaddr *)&in6, wait, &id);
	}
	return id;
}

int
main(void)
{
	struct fg_clients_limits limits = {.held = 2, .waits = 3, .all = 6};
	struct fg_clients *c = fg_clients_new(&limits);
	struct fg_client_id a = client("10.0.0.1", false),
			    aw = client("10.0.0.1", true), b = client("fe80::1", false),
			    d = client("10.0.0.2", true),
			    mapped = client("::ffff:10.0.0.1", false), local;

	tap_ok(fg_clients_enter(c, &a) && fg_clients_enter(c, &a), "two are held");
	tap_ok(!fg_clients_enter(c, &a), "the third is not");
	tap_ok(!fg_clients_enter(c, &mapped), "nor as IPv4 in IPv6: it is the same");
	tap_ok(fg_clients_enter(c, &aw), "one that waits counts by itself");
	tap_ok(fg_clients_enter(c, &b), "another address has its own count");
	fg_clients_leave(c, &a);
	tap_ok(fg_clients_enter(c, &a), "a freed place is used again");
	tap_ok(fg_clients_enter(c, &d) && fg_clients_enter(c, &d), "up to all");
	tap_int(fg_clients_parked(c), 6, "six in all");
	tap_ok(!fg_clients_enter(c, &d), "no more than all together");
	fg_clients_leave(c, &a);
	fg_clients_leave(c, &a);
	fg_clients_leave(c, &aw);
	fg_clients_leave(c, &b);
	fg_clients_leave(c, &d);
	fg_clients_leave(c, &d);
	tap_int(fg_clients_parked(c), 0, "none left");
	fg_client_id_make(NULL, false, &local);
	tap_ok(fg_clients_enter(c, &local), "a client without address has a count too");
	fg_clients_leave(c, &local);
	fg_clients_free(c);
	return tap_done();
}
