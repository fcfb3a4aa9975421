#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Start-up: options, settings, and what is said when it cannot start.
import json
import os
import socket
import subprocess
import tempfile

from lib import DAEMON, Server, done, has, is_, ok, write


def run(*args, env=None):
    p = subprocess.run([DAEMON, *args], capture_output=True, text=True, timeout=100,
                       env={**os.environ, **(env or {})})
    return p.returncode, p.stdout, p.stderr


def texts():
    code, out, _ = run("--help")
    is_("--help", code, 0)
    has("names an option", out, "--hold-s N")
    has("with its default and range", out, "[15 s; 0 to 600]")
    code, out, _ = run("--version")
    ok("--version", code == 0 and out.startswith("floodgated "))
    with open(os.path.join(os.path.dirname(DAEMON), "docs", "floodgated.8"),
              encoding="utf-8") as f:
        man = f.read()
    has("the manual has the settings", man, "hold\\-s")
    ok("and all of them", all(
        line.split()[0].replace("--[no-]", "--").replace("-", "\\-") in
        man.replace("\\-\\-[no\\-]", "\\-\\-")
        for line in run("--help")[1].split("environment:\n")[1].splitlines()
        if line.startswith("  --")))


def refusals(folder):
    root = os.path.join(folder, "root")
    for args, part in (
            (["--nonsense"], "--nonsense"), (["nonsense"], "nonsense"),
            (["--hold-s"], "needs a value"), (["--hold-s", "soon"], "not a number"),
            (["--hold-s=-1"], "not within"), (["--root"], "needs a value"),
            (["--listen", "8080"], "ADDRESS:PORT"), (["--log-level=loud"], "loud"),
            (["--config", folder + "/none.json"], "none.json"),
            (["--no-hold-s"], "no-hold-s")):
        code, _, err = run("--root", root, *args)
        is_(f"{' '.join(args)}: refused".replace(folder, ""), code, 2)
        has("with the reason", err, part)
        ok("in one line", err.count("\n") == 1 and err.startswith("floodgated: "))
    code, _, err = run("--root", root, "--listen", "127.0.0.1:0")
    is_("no data directory", code, 1)
    has("named", err, root)
    write(os.path.join(folder, "file"), "x")
    code, _, err = run("--root", os.path.join(folder, "file"), "--listen", "127.0.0.1:0")
    is_("a file as data directory", code, 1)
    has("named", err, "file")
    code, _, err = run("--root", root, "--create", "--listen", "198.51.100.1:80")
    is_("an address that is not ours", code, 1)
    has("named", err, "198.51.100.1:80")
    code, _, err = run("--root", root, "--create", "--listen", "127.0.0.1:0",
                       "--devices", "cpu:9999")
    is_("a device that is not there", code, 1)
    has("named", err, "cpu:9999")
    for token, part in (("", "token"), ("short\n", "token"), ("with space in it 123\n", "token")):
        write(os.path.join(folder, "token"), token)
        code, _, err = run("--root", root, "--create", "--listen", "127.0.0.1:0",
                           "--token-file", os.path.join(folder, "token"))
        is_("a file that holds no token", code, 1)
        has("named", err, part)
    code, _, err = run("--root", os.path.join(folder, "x" * 120), "--create",
                       "--listen", "127.0.0.1:0")
    is_("a root too long for a socket's name", code, 1)
    has("said so", err, "control socket")


def config(folder):
    root = os.path.join(folder, "configured")
    os.makedirs(root)
    write(os.path.join(root, "floodgate.json"), json.dumps({"hold_s": 7, "cache_mb": 1}))
    code, out, _ = run("--root", root, "--check-config")
    is_("--check-config", (code, "good" in out), (0, True))
    write(os.path.join(folder, "bad.json"), '{"holds": 7}')
    code, _, err = run("--root", root, "--check-config", "--config", folder + "/bad.json")
    is_("a bad one", code, 2)
    has("says where", err, "bad.json: there is no setting")
    with Server("--hold-s", "8", root=root) as s:
        got = {x["name"]: x["value"] for x in s.get("/api/settings").json()}
        is_("the command line wins over the file, the file over the default",
            (got["hold_s"], got["cache_mb"], got["drain_s"]), (8, 1, 10))
        code, _, err = run("--root", root, "--listen", "127.0.0.1:0")
        is_("a locked root", code, 1)
        has("names who holds it", err, str(s.process.pid))
        other = os.path.join(folder, "other")
        code, _, err = run("--root", other, "--create", "--listen", f"127.0.0.1:{s.port}")
        is_("a port in use", code, 1)
        has("named", err, f"127.0.0.1:{s.port}")
        has("the ready line has the address", s.ready, f"http://127.0.0.1:{s.port}/")
        has("and a link", s.ready, "Neuroglancer: http")
        is_("stops cleanly", s.stop(), 0)
    with Server("--root", root, root=root, env={"FLOODGATE_ROOT": "/nowhere"}) as s:
        is_("--root wins over the environment", s.get("/healthz").status, 200)
        is_("stops cleanly", s.stop(), 0)


def after_a_crash(folder):
    with Server(root=os.path.join(folder, "crashed")) as s:
        s.stop(hard=True)
        ok("a killed daemon leaves its socket", os.path.exists(s.control))
        s.start()
        is_("the next one takes it over", s.call("GET", "/healthz").status, 200)
        is_("stops cleanly", s.stop(), 0)


def ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return  # a machine without IPv6: nothing to test
    with Server("--listen", "[::1]:0") as s:
        is_("listens on IPv6", s.url.startswith("http://[::1]:"), True)
        is_("stops cleanly", s.stop(), 0)


texts()
with tempfile.TemporaryDirectory() as d:
    refusals(d)
    config(d)
    after_a_crash(d)
ipv6()
done()
