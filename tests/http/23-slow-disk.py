#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Downloads from a disk that takes half a second to read a block: event threads wait for none
# of them, and not all io threads, so that who asks for something else is answered meanwhile.
import os
import threading
import time

from lib import BUILD, PATIENCE, Server, Volume, done, is_, ok, wait_for, write

SLOW = os.path.join(BUILD, "tests", "http", "slow-disk.so")
SIZE = (10 << 20) + 7
ENV = {"LD_PRELOAD": SLOW, "ASAN_OPTIONS": ":".join(filter(None, (
    os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0")))}


def make(s, n):
    v = Volume(os.path.join(s.root, "em"))
    data = [os.urandom(1 << 20) * 10 + bytes([i]) * 7 for i in range(n)]
    for i, d in enumerate(data):
        write(os.path.join(v.path, "mesh", f"slow{i}"), d)
    write(os.path.join(v.path, "mesh", "quick"), data[0])
    write(os.path.join(v.path, "mesh", "small"), b"small")
    s.add_layer("em", v.path)
    return data


def beside_downloads():
    with Server(env=ENV) as s:
        data = make(s, 4)
        got = [None] * len(data)

        def download(i):
            # The whole, and a part that is too long to be read at once.
            got[i] = s.get(f"/em/mesh/slow{i}") if i % 2 else \
                s.get(f"/em/mesh/slow{i}", Range="bytes=5-")
        threads = [threading.Thread(target=download, args=(i,)) for i in range(len(data))]
        begin = time.monotonic()
        for t in threads:
            t.start()
        took = []
        while any(t.is_alive() for t in threads) and len(took) < 400:
            # One that event threads answer, and one for which the disk is read.
            at = time.monotonic()
            s.get(("/healthz", "/em/mesh/small")[len(took) % 2])
            took.append(time.monotonic() - at)
            time.sleep(0.02)
        for t in threads:
            t.join(PATIENCE)
        whole = time.monotonic() - begin
        ok(f"downloads wait for the disk ({whole:.1f} s)", whole > 3)
        took.sort()
        ok(f"{len(took)} other requests meanwhile do not: {took[len(took) // 2]:.3f} s, "
           f"{took[len(took) * 9 // 10]:.3f} s, {took[-1]:.3f} s (half, nine tenths, all)",
           len(took) >= 20 and took[len(took) * 9 // 10] < 0.25)
        is_("what came is what is there", [g.body for g in got],
            [d if i % 2 else d[5:] for i, d in enumerate(data)])
        is_("a file in memory is sent as before", s.get("/em/mesh/quick").body, data[0])
        is_("stops cleanly", s.stop(), 0)


def leaves(s, path):
    c = s.socket()
    c.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    ok("a download has begun", b" 200 " in c.recv(1000))
    c.close()


def endings():
    with Server("--idle-s", "5", env=ENV) as s:
        make(s, 2)
        for _ in range(3):
            leaves(s, "/em/mesh/slow0")
        wait_for("clients that left are forgotten", lambda:
                 s.metrics()["floodgate_connections"] <= 1)
        path = os.path.join(s.root, "em", "mesh", "slow0")
        c = s.socket()
        c.sendall(b"GET /em/mesh/slow0 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        n = len(c.recv(1000))
        os.truncate(path, 3 << 20)
        begin = time.monotonic()
        try:
            while part := c.recv(1 << 20):
                n += len(part)
        except ConnectionResetError:
            pass
        took = time.monotonic() - begin
        ok(f"one whose file is cut off ends early ({n} bytes, {took:.1f} s)",
           n < SIZE and took < 60)
        c.close()
        ok("and the log says so", "a download ends early" in s.errors())
        c = s.socket()
        c.sendall(b"GET /em/mesh/slow1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        c.recv(1000)
        begin = time.monotonic()
        is_("a download is no reason not to stop", s.stop(), 0)
        ok(f"and to wait for long ({time.monotonic() - begin:.1f} s)",
           time.monotonic() - begin < 30)
        c.close()


beside_downloads()
endings()
done()
