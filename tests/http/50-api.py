#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The API: over TCP with and without a token, over the control socket, good and bad calls.
import os
import stat

from lib import Server, Volume, done, has, is_, ok, tiny_ffn, wait_for, write, \
    write_tiny_model

TOKEN = "0123456789abcdef"
WRITES = (("POST", "/api/layers"), ("DELETE", "/api/layers/em"),
          ("POST", "/api/layers/seg/pause"), ("POST", "/api/layers/seg/resume"),
          ("POST", "/api/layers/seg/retry"), ("POST", "/api/jobs"),
          ("DELETE", "/api/jobs/1"))


def without_token():
    with Server() as s:
        Volume(os.path.join(s.root, "em"))
        s.add_layer("em", os.path.join(s.root, "em"))
        for method, path in WRITES:
            r = s.request(method, path, "{}")
            is_(f"{method} {path} needs a token", r.status, 401)
            has("and says which setting", r.json()["error"], "token_file")
        is_("reading does not", s.get("/api/layers").status, 200)
        is_("the layer is still there", s.get("/em/info").status, 200)
        is_("stops cleanly", s.stop(), 0)


def token(s):
    for what, value in (("none", None), ("a wrong one", "Bearer 0123456789abcdeX"),
                        ("a shorter one", "Bearer 0123456789abcde"),
                        ("a longer one", f"Bearer {TOKEN}0"), ("another kind", f"Basic {TOKEN}"),
                        ("only itself", TOKEN)):
        r = s.request("POST", "/api/layers/seg/pause", "",
                      {"Authorization": value} if value else {})
        is_(f"{what} as token: 401", (r.status, r["WWW-Authenticate"]), (401, "Bearer"))
    auth = {"Authorization": f"Bearer {TOKEN}"}
    is_("without a token one may read", s.get("/api/access").json()["writes"], False)
    is_("with it write", s.get("/api/access", **auth).json()["writes"], True)
    is_("a page of another origin not", s.get(
        "/api/access", Origin="https://evil.example", **auth).json()["writes"], False)
    is_("the right one", s.request("POST", "/api/layers/seg/pause", "", auth).status, 200)
    is_("in any case of Bearer", s.request(
        "POST", "/api/layers/seg/resume", "", {"Authorization": f"bearer {TOKEN}"}).status, 200)
    is_("a page of another origin may not even with it", s.request(
        "POST", "/api/layers/seg/pause", "",
        {**auth, "Origin": "https://evil.example"}).status, 403)


def control(s):
    mode = os.stat(s.control)
    ok("the control socket is its owner's", stat.S_ISSOCK(mode.st_mode) and
       stat.S_IMODE(mode.st_mode) == 0o600)
    is_("it needs no token", s.call("POST", "/api/layers/seg/pause").status, 200)
    is_("and resumes", s.call("POST", "/api/layers/seg/resume").status, 200)
    is_("the whole server is behind it", s.call("GET", "/em/info").status, 200)
    over = {x["name"]: x for x in s.call("GET", "/api/settings").json()}
    tcp = {x["name"]: x for x in s.get("/api/settings").json()}
    ok("file names are shown to their owner", TOKEN[:3] not in str(over) and
       over["token_file"]["value"].endswith("token"))
    is_("and not over TCP", tcp["token_file"]["value"], None)
    is_("settings that were given", tcp["hold_s"]["value"], 3)
    is_("and those that were not", tcp["cache_mb"]["value"], 256)


def layers(s, tiny):
    r = s.get("/api/layers")
    is_("layers", [x["name"] for x in r.json()], ["em", "seg", "seg.agg"])
    is_("one layer", s.get("/api/layers/em").json()["kind"], "image")
    ok("no paths over TCP", s.root not in r.body.decode() and
       s.root not in s.get("/api/status").body.decode() and tiny not in r.body.decode())
    ok("paths over the control socket", tiny in s.call("GET", "/api/layers").body.decode())
    for what, body, part in (
            ("a name that is taken", {"name": "em", "source": s.root + "/em"}, "em"),
            ("a source that is not there", {"name": "x", "source": "/nowhere/x"}, "nowhere"),
            ("neither source nor ffn", {"name": "x"}, ""),
            ("an unknown parameter", {"name": "x", "ffn": tiny_ffn(tiny, nonsense=1)},
             "nonsense"),
            ("no such image", {"name": "x", "ffn": tiny_ffn(tiny, image="none")}, "none"),
            ("no such model", {"name": "x", "ffn": tiny_ffn(tiny + "x")}, "")):
        r = s.call("POST", "/api/layers", body)
        ok(f"{what}: refused", r.status in (400, 404))
        has("with the reason", r.json()["error"], part)
    is_("nothing came of it", len(s.get("/api/layers").json()), 3)
    for method, path in (("GET", "/api/layers/x"), ("DELETE", "/api/layers/x"),
                         ("POST", "/api/layers/x/pause"), ("POST", "/api/layers/x/retry"),
                         ("GET", "/api/why/x/8_8_8/0-1_0-1_0-1"), ("GET", "/api/jobs/99"),
                         ("GET", "/api/jobs/x"), ("GET", "/api/nothing"), ("GET", "/api/"),
                         ("POST", "/api/layers/em/dance")):
        r = s.call(method, path)
        is_(f"{method} {path}: 404", r.status, 404)
        ok("with a reason", r.json()["error"])
    is_("a wrong method", s.call("DELETE", "/api/layers").status, 405)
    is_("a passive layer is not retried", s.call("POST", "/api/layers/em/retry").status, 400)


def block(s):
    """Jobs have a test of their own."""
    r = s.call("POST", "/api/jobs", {"layer": "seg", "box": [8, 0, -16, 72, 64, 48]})
    is_("a job", r.status, 202)
    end = wait_for("the job", lambda: (lambda j: j if j["state"] == "done" else None)(
        s.get(r.json()["url"]).json()))
    is_("ends well", (end["done"], end["failed"], end["error"]), (1, 0, ""))


def why(s):
    j = s.get("/api/why/seg/8_8_8/8-40_0-32_-16-16").json()
    is_("why: what is there", (j["layer"], j["state"], j["chunk"]),
        ("seg", "present", [0, 0, 0]))
    ok("and what made it", j["run"]["device"] and j["run"]["version"] and
       j["run"]["params"]["model"]["sha256"] and j["run"]["ended"] >= j["run"]["started"])
    j = s.get("/api/why/seg/8_8_8/72-104_64-80_48-56").json()
    is_("why not", (j["state"], j["run"]), ("absent", None))
    is_("why an imported one", s.get("/api/why/em/8_8_8/8-72_0-64_-16-48").json()["state"],
        "imported")
    is_("why no chunk", s.get("/api/why/seg/8_8_8/0-1_0-1_0-1").status, 404)


def status(s):
    j = s.get("/api/status").json()
    for key in ("version", "uuid", "url", "neuroglancer", "numbers", "layers", "tasks",
                "devices", "jobs", "recent"):
        ok(f"status has {key}", key in j)
    has("the link shows the layers", j["neuroglancer"], "%2Fseg")
    has("and leads to Neuroglancer", j["neuroglancer"], "#!%7B")
    is_("ready", s.get("/readyz").json(), {"ready": True, "wrong": []})
    is_("healthy", s.get("/healthz").body, b"ok\n")
    m = s.metrics()
    ok("replies are counted", m['floodgate_requests_total{kind="api",code="404"}'] >= 10 and
       m['floodgate_requests_total{kind="api",code="202"}'] == 1)


def removal(s):
    is_("a layer that others need stays or says why", s.call(
        "DELETE", "/api/layers/em").status in (200, 400, 503), True)
    is_("a layer is removed", s.call("DELETE", "/api/layers/seg").status, 200)
    is_("its chunks are gone", s.get("/seg/8_8_8/8-40_0-32_-16-16").status, 404)
    is_("and its name is free", [x["name"] for x in s.get("/api/layers").json()
                                 if x["name"] == "seg"], [])


without_token()
with Server(start=False) as server:
    write(os.path.join(server.own.name, "token"), TOKEN + "\n")
    server.options = ("--token-file", os.path.join(server.own.name, "token"), "--hold-s=3",
                      "--access-log")
    server.start()
    model = os.path.join(server.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(server.root, "em"))
    server.add_layer("em", em.path)
    is_("a generated layer", server.call(
        "POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(model)}).status, 201)
    token(server)
    control(server)
    layers(server, model)
    block(server)
    why(server)
    status(server)
    removal(server)
    request_id = server.get("/healthz")["X-Request-Id"]
    server.get("/t/capability/em/info?tok=secret-word")
    is_("stops cleanly", server.stop(), 0)
    ok("the socket is gone", not os.path.exists(server.control))
    has("the log knows the request by the same id", server.errors(), request_id)
    ok("and never holds a token", not any(
        x in server.errors() for x in (TOKEN, "capability", "secret-word")))
done()
