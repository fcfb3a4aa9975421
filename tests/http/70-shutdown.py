#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Ends: SIGTERM with parked requests, a second signal, kill -9 in the middle of a block.
import os
import signal
import time

from lib import Server, Volume, done, has, is_, ok, tiny_ffn, wait_for, write_tiny_model

CHUNK = "/seg/8_8_8/8-40_0-32_-16-16"
ORIGIN = "http://localhost:3000"


def ask(s, path=CHUNK + "?wait=100"):
    c = s.socket()
    c.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nOrigin: {ORIGIN}\r\n\r\n".encode())
    return c


def answer(c):
    out = b""
    while b"\r\n\r\n" not in out:
        got = c.recv(65536)
        if not got:
            break
        out += got
    c.close()
    return out


def layers(s, delta):
    model = os.path.join(s.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(s.root, "em"))
    s.add_layer("em", em.path)
    r = s.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(
        model, delta=[delta] * 3)})
    is_("a layer", r.status, 201)


def wait_parked(s, n):
    wait_for("requests to be parked",
             lambda: s.metrics()["floodgate_parked_requests"] == n)


def deadline():
    """Work that takes longer than drain_s is given up; everybody is answered."""
    with Server("--drain-s", "1") as s:
        layers(s, 1)
        parked = [ask(s) for _ in range(20)]
        wait_parked(s, 20)
        idle = s.connect()
        idle.request("GET", "/healthz")
        idle.getresponse().read()
        begin = time.monotonic()
        s.process.send_signal(signal.SIGTERM)

        def refused():
            r = s.get("/em/info", Origin=ORIGIN)
            return r if r.status == 503 else None

        r = wait_for("a refusal", refused)
        is_("while it drains: 503 with CORS", r["Access-Control-Allow-Origin"], ORIGIN)
        is_("not to be kept", (r["Cache-Control"], r["Connection"]), ("no-store", "close"))
        got = [answer(c) for c in parked]
        ok("every parked request is answered", all(b" 503 " in x for x in got))
        ok("with CORS and Retry-After", all(
            f"Access-Control-Allow-Origin: {ORIGIN}".encode() in x and b"Retry-After" in x
            for x in got))
        is_("a clean end", s.stop(sig=0), 0)
        ok("soon after the deadline", time.monotonic() - begin < 30)
        s.start()
        is_("nothing half written", s.get("/readyz").json(), {"ready": True, "wrong": []})
        is_("no block half made",
            s.get("/api/layers/seg").json()["counts"]["blocks_done"], 0)
        is_("stops cleanly", s.stop(), 0)


def in_time():
    """Work that ends before the deadline is committed, and who waits for it served."""
    with Server("--drain-s", "100") as s:
        layers(s, 2)
        c = ask(s)
        wait_parked(s, 1)
        # Queued work is not started any more once the drain begins.
        wait_for("the block to run", lambda: s.metrics()["floodgate_tasks_running"] == 1)
        s.process.send_signal(signal.SIGTERM)
        has("running work ends and is served", answer(c), b" 200 ")
        is_("a clean end", s.stop(sig=0), 0)
        s.start()
        is_("and is there", s.get(CHUNK).status, 200)
        is_("not made again", s.metrics()["floodgate_block_seconds_count"], 0)
        is_("stops cleanly", s.stop(), 0)


def second_signal():
    with Server("--drain-s", "1000") as s:
        layers(s, 1)
        c = ask(s)
        wait_parked(s, 1)
        s.process.send_signal(signal.SIGHUP)
        wait_for("SIGHUP to be told", lambda: "reloaded" in s.errors())
        is_("SIGHUP does not end it", s.get("/healthz").status, 200)
        s.process.send_signal(signal.SIGTERM)
        wait_for("the drain", lambda: s.get("/em/info").status == 503)
        begin = time.monotonic()
        is_("a second signal ends it", s.stop(sig=signal.SIGINT), 1)
        ok("at once", time.monotonic() - begin < 20)
        c.close()


def killed():
    with Server() as s:
        layers(s, 1)
        c = ask(s)
        wait_parked(s, 1)
        s.stop(hard=True)
        c.close()
        s.start()
        is_("after kill -9 it is ready", s.get("/readyz").status, 200)
        is_("the chunk is absent, not wrong", s.request("HEAD", CHUNK).status, 404)
        is_("images are served", s.get("/em/8_8_8/72-108_64-80_48-56").status, 200)
        is_("stops cleanly", s.stop(), 0)


deadline()
in_time()
second_signal()
killed()
done()
