#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Many connections: none stalls at 128 or 512, each is used again, idle ones are closed.
import os
import resource
import select
import time

from lib import PATIENCE, Server, Volume, done, is_, ok, wait_for

REQUEST = (b"GET /em/8_8_8/72-108_64-80_48-56 HTTP/1.1\r\nHost: localhost\r\n\r\n")


def read_replies(socks, each):
    """Read until each socket has got `each` whole replies; what is still missing."""
    want = {}
    for s in socks:
        s.setblocking(False)
        want[s] = b""
    missing = dict.fromkeys(socks, each)
    end = time.monotonic() + PATIENCE
    poller = select.poll()
    by_fd = {s.fileno(): s for s in socks}
    for s in socks:
        poller.register(s, select.POLLIN)
    left = each * len(socks)
    while left and time.monotonic() < end:
        for fd, _ in poller.poll(1000):
            s = by_fd[fd]
            got = s.recv(1 << 20)
            if not got:
                return left
            want[s] += got
            while True:
                head = want[s].find(b"\r\n\r\n")
                if head < 0:
                    break
                length = int(want[s].split(b"Content-Length: ")[1].split(b"\r\n")[0])
                if len(want[s]) < head + 4 + length:
                    break
                want[s] = want[s][head + 4 + length:]
                missing[s] -= 1
                left -= 1
    return left


def many(s, n, rounds):
    socks = [s.socket() for _ in range(n)]
    longest = 0
    for _ in range(rounds):
        begin = time.monotonic()
        for c in socks:
            c.setblocking(True)
            c.sendall(REQUEST)
        left = read_replies(socks, 1)
        longest = max(longest, time.monotonic() - begin)
        if not is_(f"{n} connections: every request is answered", left, 0):
            break
    # A stall lasts until the idle timeout of the connections.
    ok(f"{n} connections: no round stalls", longest < 20)
    for c in socks:
        c.close()


def reuse(s):
    c = s.connect()
    for path in ("/em/info", "/em/8_8_8/8-72_0-64_-16-48", "/none", "/metrics",
                 "/api/status", "/em/%2e%2e", "/"):
        c.request("GET", path)
        first = c.sock
        r = c.getresponse()
        r.read()
        ok(f"the connection is used again after {path} ({r.status})",
           c.sock is first and r.getheader("Connection") != "close")
    c.request("POST", "/api/layers", "{}")
    c.getresponse().read()
    c.request("HEAD", "/em/info")
    c.getresponse().read()
    c.request("GET", "/healthz")
    is_("also after POST and HEAD", c.getresponse().read(), b"ok\n")
    is_("by the same socket", c.sock is first, True)
    c.close()
    with s.socket() as p:
        p.sendall(REQUEST * 5)
        is_("pipelined requests are answered one after the other", read_replies([p], 5), 0)


def idle(s):
    with s.socket() as c:
        c.sendall(b"GET /em/in")
        begin = time.monotonic()
        closed = False
        try:
            closed = c.recv(100) in (b"",) or True
        except ConnectionResetError:
            closed = True
        ok("a client that says nothing is let go",
           closed and time.monotonic() - begin < 60)


def answered(c):
    c.setblocking(True)
    c.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        return c.recv(4096).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


def limit_of_all():
    with Server("--connections", "8") as s:
        socks = [s.socket() for _ in range(8)]
        is_("as many as the limit are served", [answered(c) for c in socks], [True] * 8)
        with s.socket() as late:
            late.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            is_("and go on to be", [answered(c) for c in socks * 10], [True] * 80)
            is_("one more waits", select.select([late], [], [], 0)[0], [])
            socks.pop().close()
            ok("until there is room", late.recv(4096).startswith(b"HTTP/1.1 200"))
        for c in socks:
            c.close()


def limit_of_one_address():
    with Server("--connections-per-client", "3") as s:
        socks = [s.socket() for _ in range(3)]
        is_("as many of an address as the limit", [answered(c) for c in socks], [True] * 3)
        with s.socket() as more:
            ok("one more is closed", not answered(more))
        is_("the others stay", [answered(c) for c in socks], [True] * 3)
        socks.pop().close()

        def again():
            socks.append(s.socket())
            return answered(socks[-1])
        wait_for("room for another", again)
        for c in socks:
            c.close()


def no_descriptors():
    """The system has none left for a while: who is connected is served, others wait."""
    with Server() as s:
        pid = s.process.pid
        was = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        with s.socket() as old, s.socket() as late:
            ok("a client is connected", answered(old))
            ok("and another", answered(late))
            # Below what is open: nothing that is there is lost, nothing new is given.
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, was[1]))
            with s.socket() as new:
                new.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
                wait_for("the log has the reason",
                         lambda: "accepting connections: Too many open files" in s.errors())
                is_("who was there is served", [answered(old), answered(late)], [True] * 2)
                time.sleep(0.5)
                is_("the log has it once", s.errors().count("Too many open files"), 1)
                is_("a new one waits", select.select([new], [], [], 0)[0], [])
                busy = seconds_of(pid)
                time.sleep(1)
                ok(f"at no cost ({seconds_of(pid) - busy:.2f} s)", seconds_of(pid) - busy < 0.5)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, was)
                new.settimeout(PATIENCE)
                ok("and is served when there are some",
                   new.recv(4096).startswith(b"HTTP/1.1 200"))
        is_("it stops cleanly", s.stop(), 0)


def seconds_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


with Server() as server:
    em = Volume(os.path.join(server.root, "em"))
    server.add_layer("em", em.path)
    reuse(server)
    many(server, 128, 5)
    many(server, 200, 3)
    many(server, 512, 3)
    is_("stops cleanly", server.stop(), 0)
with Server("--idle-s", "1") as server:
    idle(server)
    is_("stops cleanly", server.stop(), 0)
limit_of_all()
limit_of_one_address()
no_descriptors()
done()
