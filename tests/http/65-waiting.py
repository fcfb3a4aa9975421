#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Waiting and its ends: hold window, clients that leave, limits, refusals, failures.
import gzip
import os
import threading
import time

from lib import Server, Volume, done, has, is_, ok, tiny_ffn, wait_for, write, \
    write_tiny_model

ORIGIN = "http://localhost:3000"


def chunk(layer, x="8-40", y="0-32", z="-16-16"):
    return f"/{layer}/8_8_8/{x}_{y}_{z}"


def block(i):
    """A chunk of block i of the eight that the volume has."""
    return ("72-104" if i & 1 else "8-40", "64-80" if i & 2 else "0-32",
            "48-56" if i & 4 else "-16-16")


class Asker:
    """A request whose answer is not read yet."""

    def __init__(self, s, path):
        self.socket = s.socket()
        self.socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {ORIGIN}\r\n"
                            "\r\n".encode())

    def answer(self):
        out = b""
        while b"\r\n\r\n" not in out:
            got = self.socket.recv(65536)
            if not got:
                break
            out += got
        return out

    def leave(self):
        self.socket.close()


def parked(s):
    return s.metrics()["floodgate_parked_requests"]


def gone(s):
    return s.metrics()['floodgate_parked_total{end="client gone"}']


def hold(s):
    """Held for hold_s, then 503; the work goes on and a later request finds it."""
    begin = time.monotonic()
    r = s.get(chunk("slow"), Origin=ORIGIN)
    took = time.monotonic() - begin
    is_("not made in time", (r.status, r["Cache-Control"], r["Access-Control-Allow-Origin"]),
        (503, "no-store", ORIGIN))
    ok("says when to ask again", 1 <= int(r["Retry-After"]) <= 10)
    ok("after the hold window", took >= 0.3)
    r = s.get(chunk("slow") + "?wait=0")
    is_("wait=0: not held at all", r.status, 503)
    r = wait_for("the chunk", lambda: (lambda r: r if r.status == 200 else None)(
        s.get(chunk("slow"))))
    is_("asked again and again it comes", r.status, 200)
    seg = s.get("/api/layers/slow").json()
    is_("made once", seg["counts"]["blocks_done"], 1)
    r = s.get(chunk("slow", *block(2)) + "?wait=100")
    is_("being held for longer than the idle time is no idleness", r.status, 200)
    ok("the ends are counted", s.metrics()['floodgate_parked_total{end="time"}'] >= 1)


def honest(s):
    """Nothing is timed yet: who is not held and comes when told has the chunk soon after
    it was made. How soon: half of what it took, and the second that is the least."""
    made = []

    def wait():
        r = s.get(chunk("slow") + "?wait=100")
        made.append((time.monotonic(), r.status))

    begin = time.monotonic()
    thread = threading.Thread(target=wait)
    thread.start()
    told = []
    while (r := s.get(chunk("slow") + "?wait=0")).status == 503:
        told.append(int(r["Retry-After"]))
        time.sleep(told[-1])
    got = time.monotonic()
    thread.join()
    is_("made at last", (r.status, made[0][1]), (200, 200))
    took = made[0][0] - begin
    ok("asked for more than once", len(told) > 1)
    ok(f"told {told} while {took:.1f} s went by", all(1 <= x <= 10 for x in told))
    is_("at first, with nothing known, soon", told[:1], [1])
    ok("not told too much", got - made[0][0] <= took / 2 + 2)


def leaving(s):
    """Clients that hang up free their places; at most two of an address are held."""
    a = Asker(s, chunk("slow"))
    b = Asker(s, chunk("slow"))
    wait_for("two parked", lambda: parked(s) == 2)
    begin = time.monotonic()
    r = s.get(chunk("slow"), Origin=ORIGIN)
    is_("a third is answered at once", r.status, 503)
    ok("much sooner than the hold window", time.monotonic() - begin < 10)
    script = Asker(s, chunk("slow") + "?wait=100")
    wait_for("a script beside them", lambda: parked(s) == 3)
    a.leave()
    ok("a client that leaves is noticed", wait_for("its place", lambda: parked(s) == 2))
    is_("and counted", gone(s), 1)
    c = Asker(s, chunk("slow"))
    wait_for("and taken by the next", lambda: parked(s) == 3)
    is_("the connections of others are not mixed up", s.get("/em/info").status, 200)
    b.leave()
    c.leave()
    wait_for("the script alone", lambda: parked(s) <= 1)
    has("the script gets its answer", script.answer(), b" 200 ")
    script.leave()
    wait_for("nobody is left", lambda: parked(s) == 0)
    m = s.metrics()
    # a left while the block was running; b and c may have left just as it ended.
    ok("who left is counted so", 1 <= gone(s) <= 3)
    is_("one was refused", m['floodgate_parked_total{end="client limit"}'], 1)
    is_("no waiter is left behind", m["floodgate_waiters"], 0)


def many_leave(s):
    """Suspended and active connections on the same event threads."""
    before = gone(s)
    askers = [Asker(s, chunk("slow", *block(2)) + "?wait=100") for _ in range(200)]
    wait_for("two hundred parked", lambda: parked(s) == 200)
    wrong = sum(s.get("/em/8_8_8/72-108_64-80_48-56").status != 200 for _ in range(60))
    is_("others are served meanwhile", wrong, 0)
    for x in askers[::2]:
        x.leave()
    wait_for("half of them left", lambda: parked(s) <= 100)
    # Fewer if the block was made while they went.
    left = gone(s) - before
    ok("and are counted", left == 100 or
       left < 100 and wait_for("nobody", lambda: parked(s) == 0))
    answers = [x.answer() for x in askers[1::2]]
    is_("the others get their answers", [x for x in answers if b" 200 " not in x], [])
    for x in askers[1::2]:
        x.leave()


def paused(s):
    is_("pause", s.call("POST", "/api/layers/slow/pause").status, 200)
    r = s.get(chunk("slow", *block(3)), Origin=ORIGIN)
    is_("paused: 503", (r.status, r["Access-Control-Allow-Origin"]), (503, ORIGIN))
    has("says so", r.json()["error"], "paused")
    ok("and when to ask again", int(r["Retry-After"]) > 0)
    is_("what is there is served", s.get(chunk("slow")).status, 200)
    is_("resume", s.call("POST", "/api/layers/slow/resume").status, 200)
    is_("and it is made", s.get(chunk("quick", *block(3)) + "?wait=100").status, 200)


def removed(s):
    """A layer goes while somebody waits for it."""
    a = Asker(s, chunk("slow", *block(5)) + "?wait=100")
    wait_for("parked", lambda: parked(s) == 1)
    is_("the layer is removed", s.call("DELETE", "/api/layers/slow").status, 200)
    got = a.answer()
    ok("who waited is told to ask again", b" 503 " in got)
    a.leave()
    is_("and learns that there is none", s.get(chunk("slow")).status, 404)


def failing(s, image):
    """A source that cannot be read fails the task; a retry starts afresh."""
    name = "8-72_0-64_-16-48.gz"
    path = os.path.join(image.path, "8_8_8", name)
    with open(path, "rb") as f:
        good = f.read()
    write(path, gzip.compress(b"x" * 1000)[:-6])
    r = s.get(chunk("frail") + "?wait=100", Origin=ORIGIN)
    is_("failed for good", (r.status, r["Access-Control-Allow-Origin"], r["Cache-Control"]),
        (500, ORIGIN, "no-store"))
    has("says what to do", r.json()["error"], "retry")
    before = s.metrics()['floodgate_tasks_total{end="failed"}']
    r = s.get(chunk("frail") + "?wait=100")
    is_("asked again: the same, at once", r.status, 500)
    is_("without trying", s.metrics()['floodgate_tasks_total{end="failed"}'], before)
    s.stop(hard=True)
    s.start()
    is_("a restart remembers", s.get(chunk("frail") + "?wait=100").status, 500)
    write(path, good)
    is_("still the same", s.get(chunk("frail") + "?wait=100").status, 500)
    is_("until a retry is asked for",
        s.call("POST", "/api/layers/frail/retry", {"block": [0, 0, 0]}).status, 200)
    is_("then it is made", s.get(chunk("frail") + "?wait=100").status, 200)


def make(s, *layers):
    model = os.path.join(s.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(s.root, "em"))
    s.add_layer("em", em.path)
    for name, more in layers:
        r = s.call("POST", "/api/layers", {"name": name, "ffn": tiny_ffn(model, **more)})
        is_(f"layer {name}", r.status, 201)


def main():
    slow = ("slow", {"delta": [1, 1, 1]})
    with Server("--hold-s", "0") as s:
        make(s, slow)
        honest(s)
        is_("stops cleanly", s.stop(), 0)
    with Server("--hold-s", "0.3", "--idle-s", "1") as s:
        make(s, slow)
        hold(s)
        is_("stops cleanly", s.stop(), 0)
    with Server("--hold-s", "60", "--waits-per-client", "300") as s:
        make(s, slow, ("quick", {}))
        frail = Volume(os.path.join(s.root, "zipped"), zipped=True)
        s.add_layer("zipped", frail.path)
        r = s.call("POST", "/api/layers", {"name": "frail", "ffn": tiny_ffn(
            os.path.join(s.own.name, "tiny"), image="zipped")})
        is_("layer frail", r.status, 201)
        leaving(s)
        many_leave(s)
        paused(s)
        removed(s)
        failing(s, frail)
        is_("stops cleanly", s.stop(), 0)
    with Server("--min-free", "99") as s:
        make(s, slow)
        r = s.get(chunk("slow"))
        is_("disk below min_free: 503", r.status, 503)
        has("says so", r.json()["error"], "free")
        is_("images are served", s.get("/em/8_8_8/72-108_64-80_48-56").status, 200)
        r = s.get("/readyz")
        is_("not ready", (r.status, r.json()["ready"]), (503, False))
        is_("stops cleanly", s.stop(), 0)
    with Server("--hold-s", "60", "--queue-s", "1") as s:
        make(s, slow)
        is_("one block tells the speed", s.get(chunk("slow") + "?wait=100").status, 200)
        askers = [Asker(s, chunk("slow", *block(i)) + "?wait=100") for i in range(1, 8)]
        r = wait_for("a refusal", lambda: s.metrics()["floodgate_tasks_refused_total"])
        ok("the queue is bounded", r >= 1)
        got = [x for x in (a.answer() for a in askers)]
        ok("the refused are told when to ask again", any(
            b" 503 " in x and b"Retry-After" in x for x in got))
        ok("the others are served", any(b" 200 " in x for x in got))
        is_("stops cleanly", s.stop(), 0)


main()
done()
