#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# What a service manager says and hears: readiness, reloading, stopping, the watchdog, and a
# listening socket that it opened.
import os
import signal
import socket
import subprocess
import sys

from lib import DAEMON, PATIENCE, Server, done, has, is_, ok, wait_for

# Runs floodgated as systemd would: the listening sockets as descriptors from 3 on, their
# number and our process id in the environment.
LAUNCH = """
import os, sys
fds = [int(x) for x in sys.argv[1].split(",")] if sys.argv[1] else []
for i, fd in enumerate(fds):
    os.dup2(fd, 3 + i, inheritable=True)
os.environ.update(LISTEN_FDS=str(len(fds)), LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""


class Manager:
    def __init__(self, folder):
        self.path = os.path.join(folder, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(0.01)
        self.heard = []

    def hears(self, text, times=1):
        def probe():
            try:
                self.heard += self.socket.recv(4096).decode().splitlines()
            except TimeoutError:
                pass
            return self.heard.count(text) >= times
        return wait_for(text, probe)


def told():
    with Server(start=False) as s:
        m = Manager(s.own.name)
        s.env = {"NOTIFY_SOCKET": m.path, "WATCHDOG_USEC": "200000"}
        s.start()
        ok("READY=1", m.hears("READY=1"))
        ok("the watchdog hears of it, and again", m.hears("WATCHDOG=1", 4))
        s.process.send_signal(signal.SIGHUP)
        ok("reloading, and ready again", m.hears("RELOADING=1") and m.hears("READY=1", 2))
        ok("with the time", any(x.startswith("MONOTONIC_USEC=") for x in m.heard))
        s.process.send_signal(signal.SIGTERM)
        ok("STOPPING=1", m.hears("STOPPING=1"))
        is_("stops cleanly", s.stop(sig=0), 0)


def stuck():
    """Event threads that do not answer: the watchdog hears nothing more."""
    with Server(start=False) as s:
        m = Manager(s.own.name)
        s.env = {"NOTIFY_SOCKET": m.path, "WATCHDOG_USEC": "200000"}
        s.start()
        m.hears("WATCHDOG=1", 2)
        # Nobody can reach the control socket any more: as good as a thread that hangs.
        os.rename(s.control, s.control + ".away")
        wait_for("the complaint", lambda: "watchdog: no answer" in s.errors())
        m.hears("READY=1")
        while True:
            try:
                m.socket.recv(4096)
            except TimeoutError:
                break
        before = s.errors().count("watchdog: no answer")
        wait_for("more complaints", lambda: s.errors().count("no answer") > before + 2)
        m.heard.clear()
        try:
            m.heard.append(m.socket.recv(4096))
        except TimeoutError:
            pass
        is_("a daemon that does not answer is not called alive", m.heard, [])
        os.rename(s.control + ".away", s.control)
        ok("one that does again, is", m.hears("WATCHDOG=1"))
        is_("stops cleanly", s.stop(), 0)


def launch(s, fds, **more):
    return subprocess.Popen(
        [sys.executable, "-c", LAUNCH, ",".join(str(f.fileno()) for f in fds), DAEMON,
         "--root", s.root, "--create"], pass_fds=[f.fileno() for f in fds],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)


def handed_over():
    with Server(start=False) as s:
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]
            # A client that came before the daemon was there.
            early = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
            early.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            for life in ("first", "second"):
                p = launch(s, [listening])
                line = p.stdout.readline().decode()
                has(f"the {life} daemon has the socket", line, f"127.0.0.1:{port}")
                s.port = port
                is_("and answers", s.get("/healthz").body, b"ok\n")
                if life == "first":
                    has("also who came early", early.recv(4096), b"200 OK")
                p.send_signal(signal.SIGTERM)
                is_("a clean end", p.wait(PATIENCE), 0)
                p.stdout.close()
                p.stderr.close()
        early.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wrong, \
                socket.create_server(("127.0.0.1", 0)) as a, \
                socket.create_server(("127.0.0.1", 0)) as b:
            wrong.bind(("127.0.0.1", 0))
            for what, fds, part in (("no stream", [wrong], "no listening stream"),
                                    ("two", [a, b], "2 sockets")):
                p = launch(s, fds)
                _, err = p.communicate(timeout=PATIENCE)
                is_(f"{what}: refused", p.returncode, 1)
                has("and said so", err.decode(), part)
            p = subprocess.run([DAEMON, "--root", s.root, "--listen", "127.0.0.1:1x"],
                               env={**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": "1"},
                               capture_output=True)
            is_("what was for another process is not taken", p.returncode, 2)


told()
stuck()
handed_over()
done()
