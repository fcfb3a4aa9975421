#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# SIGHUP: what is read again, what is not, and that a mistake changes nothing. Log lines as
# text and as JSON.
import json
import os
import signal

from lib import Server, Volume, done, has, is_, ok, wait_for, write

ADMIN, OTHER = "admin-0123456789abcdef", "other-0123456789abcdef"


def log_lines(s):
    return s.errors().splitlines()


def hup(s, config=None, expect="reloaded"):
    """Send SIGHUP and return the log lines that came of it."""
    before = len(log_lines(s))
    if config is not None:
        write(os.path.join(s.root, "floodgate.json"),
              config if isinstance(config, str) else json.dumps(config))
    s.process.send_signal(signal.SIGHUP)
    wait_for(expect, lambda: any(expect in x for x in log_lines(s)[before:]))
    return "\n".join(log_lines(s)[before:])


def setting(s, name):
    return {x["name"]: x for x in s.call("GET", "/api/settings").json()}[name]["value"]


def may(s, token):
    return s.request("POST", "/api/tokens", "{}", {"Authorization": f"Bearer {token}"}).status


with Server(start=False) as server:
    tokens = os.path.join(server.own.name, "tokens")
    write(tokens, f"admin {ADMIN} alice\n")
    os.chmod(tokens, 0o644)
    em = Volume(os.path.join(server.root, "em"))
    write(os.path.join(server.root, "floodgate.json"), json.dumps(
        {"hold_s": 7, "token_file": tokens}))
    server.options = ("--cache-mb", "3")
    server.start()
    server.add_layer("em", em.path)
    has("a token file that all can read is warned of", server.errors(), "everybody")
    is_("before", (setting(server, "hold_s"), may(server, ADMIN), may(server, OTHER)),
        (7, 201, 401))

    log = hup(server)
    has("nothing new is said, too", log, "no setting has changed")
    write(tokens, f"admin {OTHER} bob\n")
    log = hup(server)
    has("tokens are read again", log, "1 token read again")
    is_("and count", (may(server, ADMIN), may(server, OTHER)), (401, 201))

    log = hup(server, {"hold_s": 9, "origins": ["*"], "hosts": "em.lab", "cache_mb": 5,
                       "token_file": tokens, "access_log": True, "io_threads": 7,
                       "connections": 100})
    has("what was reloaded is said", log, "reloaded: hosts, origins, hold_s, access_log;")
    has("and what needs a restart", log, "not reloaded: connections, io_threads")
    is_("they hold", (setting(server, "hold_s"), setting(server, "io_threads")), (9, 0))
    is_("the command line still wins", setting(server, "cache_mb"), 3)
    is_("a new name of ours", server.get("/em/info", Host="em.lab").status, 200)
    is_("all origins", server.get("/em/info", Origin="https://x.example")
        ["Access-Control-Allow-Origin"], "https://x.example")
    wait_for("the access log", lambda: "path=/em/info" in server.errors())
    line = [x for x in log_lines(server) if "path=/em/info" in x][-1]
    ok("an access line has what one looks for", all(f" {k}=" in line for k in (
        "id", "client", "token", "method", "status", "bytes", "ms", "path")))
    has("the client's address", line, "client=127.0.0.1")

    for config, part in (("{", "floodgate.json"), ('{"hold_s": -1}', "not within"),
                         ('{"holds": 1}', "holds"),
                         ({"hold_s": 1, "token_file": "/nowhere/tokens"}, "token_file"),
                         ({"hold_s": 1, "tls_cert": "/c", "tls_key": "/k"}, "TLS"),
                         ({"hold_s": 1, "anonymous": "root"}, "anonymous")):
        log = hup(server, config, "nothing was reloaded")
        has(f"a mistake is said: {part}", log, part)
        is_("and changes nothing", (setting(server, "hold_s"), may(server, OTHER),
                                    server.get("/em/info", Host="em.lab").status),
            (9, 201, 200))

    log = hup(server, {"token_file": tokens, "log_json": True, "access_log": True,
                       "public_layers": "none", "anonymous": "none"})
    is_("layers are hidden at once", server.get("/em/info").status, 401)
    server.request("GET", "/em/info", headers={"Authorization": f"Bearer {OTHER}"})
    wait_for("a line", lambda: any('"path":"/em/info"' in x and '"status":200' in x
                                   for x in log_lines(server)))
    lines = [json.loads(x) for x in log_lines(server) if x.startswith("{")]
    line = [x for x in lines if x.get("path") == "/em/info"][-1]
    ok("JSON lines have members", line["message"] == "request" and line["token"] == "bob" and
       line["level"] == "info" and line["time"].endswith("Z"))
    ok("numbers are numbers, names are not",
       line["status"] == 200 and isinstance(line["ms"], float) and line["ms"] >= 0 and
       isinstance(line["bytes"], int) and line["bytes"] > 100 and isinstance(line["id"], str))
    r = server.request("GET", "/em/info", headers={"Authorization": f"Bearer {OTHER}"})
    wait_for("the id of the reply", lambda: f'"id":"{r["X-Request-Id"]}"' in server.errors())

    # Many, while it serves.
    c = server.connect()
    for i in range(50):
        write(os.path.join(server.root, "floodgate.json"), json.dumps(
            {"token_file": tokens, "hold_s": i + 1, "cache_mb": 1, "log_level": "error"}))
        server.process.send_signal(signal.SIGHUP)
        c.request("GET", "/em/info", headers={"Authorization": f"Bearer {OTHER}"})
        r = c.getresponse()
        r.read()
        if r.status != 200:
            ok("no request fails meanwhile", False)
    wait_for("the last of many", lambda: setting(server, "hold_s") == 50)
    c.close()
    is_("no request fails while settings are reloaded", server.get("/em/info", Authorization=
                                                                   f"Bearer {OTHER}").status, 200)
    is_("stops cleanly", server.stop(), 0)

with Server("--token-file", "/nowhere", start=False) as server:
    server.options = ()
    server.env = {"FLOODGATE_HOLD_S": "3", "FLOODGATE_LOG_JSON": "yes"}
    os.makedirs(server.root)
    write(os.path.join(server.root, "floodgate.json"), '{"hold_s": 4, "cache_mb": 2}')
    server.start()
    is_("the environment wins over the file", (setting(server, "hold_s"),
                                               setting(server, "cache_mb")), (3, 2))
    is_("stops cleanly", server.stop(), 0)
    ok("all lines are JSON", all(json.loads(x)["message"] for x in log_lines(server)))
done()
