#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# A crowd: clients that ask, that read slowly or not at all, that stop in the middle of a
# request, that leave while they wait, and that wait for chunks being made, all at once. None
# may hold up the others, every waiter is answered, memory stays bounded, nothing is left
# behind. FLOODGATE_TEST_CROWD=N,ROUNDS asks for more than the default 500,2.
import os
import random
import select
import socket
import time

from lib import PATIENCE, Server, Volume, done, is_, ok, tiny_ffn, wait_for, write_tiny_model

CLIENTS, ROUNDS = map(int, os.environ.get("FLOODGATE_TEST_CROWD", "500,2").split(","))
CHUNK = "/em/8_8_8/8-72_0-64_-16-48"
MADE = "/{}/8_8_8/{}_{}_{}"
pick = random.Random(20261125)


def absent(layer):
    """Some chunk of a generated layer."""
    x = pick.choice(("8-40", "40-72", "72-104"))
    y = pick.choice(("0-32", "32-64", "64-80"))
    z = pick.choice(("-16-16", "16-48", "48-56"))
    return MADE.format(layer, x, y, z)


def request(path, more=""):
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n".encode()


def memory(s):
    with open(f"/proc/{s.process.pid}/status", encoding="ascii") as f:
        return int(next(x for x in f if x.startswith("VmRSS")).split()[1]) * 1024


def open_all(s, n):
    out = []
    for _ in range(n):
        c = socket.create_connection(("127.0.0.1", s.port), timeout=PATIENCE)
        out.append(c)
    return out


def statuses(clients):
    """First status line of each, read as they come."""
    left = {c.fileno(): c for c in clients}
    got = {fd: b"" for fd in left}
    poller = select.poll()
    for fd in left:
        poller.register(fd, select.POLLIN)
    out = []
    end = time.monotonic() + PATIENCE
    while left and time.monotonic() < end:
        for fd, _ in poller.poll(1000):
            data = left[fd].recv(65536)
            got[fd] += data
            if not data or b"\r\n" in got[fd]:
                out.append(got[fd].split(b" ")[1] if b" " in got[fd] else b"closed")
                poller.unregister(fd)
                del left[fd]
    return out + [b"nothing"] * len(left)


def crowd(s, big, layer):
    kinds = {}
    for i in range(CLIENTS):
        kinds.setdefault(("asks", "slow", "half", "leaves", "waits")[i % 5], []).append(i)
    clients = {k: open_all(s, len(v)) for k, v in kinds.items()}
    for c in clients["slow"]:
        # A small window, a long answer, and nobody who reads it.
        c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.sendall(request(big) * 3)
    for c in clients["half"]:
        c.sendall(request(CHUNK)[:pick.randrange(1, 40)])
    for c in clients["leaves"]:
        c.sendall(request(absent(layer) + "?wait=100"))
    for c in clients["waits"]:
        c.sendall(request(absent(layer) + "?wait=100"))
    for c in clients["asks"]:
        c.sendall(request(CHUNK))
    for c in clients["leaves"]:
        c.close()
    begin = time.monotonic()
    is_("those that only ask are answered", set(statuses(clients["asks"])), {b"200"})
    ok(f"at once ({time.monotonic() - begin:.1f} s)", time.monotonic() - begin < 30)
    longest = 0
    for _ in range(20):
        begin = time.monotonic()
        r = s.get("/healthz")
        longest = max(longest, time.monotonic() - begin)
        if r.status != 200:
            ok("the probe of life", False)
    ok(f"the probe of life answers meanwhile ({longest:.2f} s at most)", longest < 10)
    # All of them are let wait, and the work is done long before they would give up: one
    # that was forgotten, or dropped with those that left, gets something else.
    is_("every waiter is answered with what it waited for", set(statuses(clients["waits"])),
        {b"200"})
    ok(f"and in time ({time.monotonic() - begin:.1f} s)", time.monotonic() - begin < 90)
    held = memory(s)
    for k in ("slow", "half", "asks", "waits"):
        for c in clients[k]:
            c.close()
    return held


with Server("--connections", str(max(1200, 2 * CLIENTS)), "--cache-mb", "16", "--parked-max",
            str(CLIENTS), "--waits-per-client", str(CLIENTS), "--queue-s", "3600") as server:
    model = os.path.join(server.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(server.root, "em"))
    with open(os.path.join(em.path, "big"), "wb") as f:
        f.write(os.urandom(4 << 20))
    server.add_layer("em", em.path)
    server.get(CHUNK)
    before = memory(server)
    most = 0
    for number in range(ROUNDS):
        # A new layer each time: its blocks are still to be made.
        layer = f"seg{number}"
        is_("a generated layer", server.call("POST", "/api/layers", {
            "name": layer, "ffn": tiny_ffn(model)}).status, 201)
        most = max(most, crowd(server, "/em/big", layer))
        wait_for("everybody to be let go", lambda: server.metrics()[
            "floodgate_active_requests"] <= 1)
        m = server.metrics()
        made = server.get(f"/api/layers/{layer}").json()["counts"]["blocks_done"]
        ok(f"{made} blocks were made", 1 <= made <= 8)
        is_("none failed", m['floodgate_tasks_total{end="failed"}'], 0)
        is_(f"round {number + 1}: nothing is left behind", (
            m["floodgate_parked_requests"], m["floodgate_waiters"]), (0, 0))
        wait_for("connections to be closed", lambda: server.metrics()[
            "floodgate_connections"] < 10)
    if server.is_instrumented():
        ok("memory is not compared under a sanitizer", True)
    else:
        # A third of a megabyte a client: buffers of connections and requests, not what
        # the slow ones asked for (12 MB each).
        ok(f"memory is bounded ({(most - before) >> 20} MB more with {CLIENTS} clients)",
           most - before < CLIENTS * (350 << 10) + (64 << 20))
    is_("ready as before", server.get("/readyz").status, 200)
    is_("stops cleanly", server.stop(), 0)
    ok("nothing went wrong inside", "Sanitizer" not in server.errors() and
       "assertion" not in server.errors())
done()
