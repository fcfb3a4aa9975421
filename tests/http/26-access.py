#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Who may do what: roles, tokens in headers and in URLs, layers that are not for everybody,
# limits of rate and size, proxies.
import json
import os
import threading

from lib import PATIENCE, Server, Volume, done, has, is_, ok, tiny_ffn, wait_for, write, \
    write_tiny_model

ADMIN, COMPUTE, READ, SOME = ("admin-0123456789abcdef", "compute-0123456789abc",
                              "read-0123456789abcdef", "some-0123456789abcdef")
WRONG = "wrong-0123456789abcdef"
TOKENS = f"""# for the laboratory
admin {ADMIN} alice
compute {COMPUTE} bob
read {READ}
read {SOME} guest layers=em,x*
"""
CHUNK = "/em/8_8_8/8-72_0-64_-16-48"
MADE = "/seg/8_8_8/8-40_0-32_-16-16"
NEUROGLANCER = "https://neuroglancer-demo.appspot.com"


def bearer(token, **more):
    return {"Authorization": f"Bearer {token}", **more}


def ask(s, path, token=None, method="GET", body=None, **headers):
    return s.request(method, path, body, {**(bearer(token) if token else {}), **headers})


def prepare(*options, **files):
    s = Server(start=False)
    write(os.path.join(s.own.name, "tokens"), files.get("tokens", TOKENS))
    os.chmod(os.path.join(s.own.name, "tokens"), 0o600)
    s.options = ("--token-file", os.path.join(s.own.name, "tokens"), *options)
    s.start()
    model = os.path.join(s.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(s.root, "em"))
    s.add_layer("em", em.path)
    s.add_layer("secret", em.path)
    is_("a generated layer", s.call("POST", "/api/layers", {
        "name": "seg", "ffn": tiny_ffn(model, prob=True)}).status, 201)
    return s


def nobody(s):
    """anonymous = none"""
    for path in ("/info", "/em/info", CHUNK, "/em/", "/em", "/none/info", "/metrics",
                 "/readyz", "/api/status", "/api/layers", "/api/jobs", "/api/events",
                 "/api/settings", "/api/none", f"/api/why{CHUNK}"):
        r = ask(s, path, Origin=NEUROGLANCER)
        is_(f"{path} without a token", (r.status, r["WWW-Authenticate"]), (401, "Bearer"))
        is_("with CORS, so that a page can tell", r["Access-Control-Allow-Origin"],
            NEUROGLANCER)
        ok("and nothing of what it is", b"8_8_8" not in r.body and b"em" not in
           json.loads(r.body)["error"].encode().replace(b"begins", b"").split())
        is_("with a wrong one", ask(s, path, WRONG).status, 401)
        is_("with a wrong one in the URL", ask(s, f"/t/{WRONG}{path}").status, 401)
    for path, status in (("/", 200), ("/healthz", 200), ("/api/www/page.js", 200),
                         ("/api/access", 200)):
        is_(f"{path} is for everybody", ask(s, path).status, status)
    ok("the page names no layer", b'"em/"' not in ask(s, "/").body)
    is_("access says so", ask(s, "/api/access").json(),
        {"role": "none", "token": False, "writes": False, "name": None})
    is_("a preflight carries no token", ask(s, CHUNK, method="OPTIONS",
                                            Origin=NEUROGLANCER).status, 204)
    for token, role, name in ((READ, "read", None), (COMPUTE, "compute", "bob"),
                              (ADMIN, "admin", "alice")):
        is_(f"{role} reads", ask(s, CHUNK, token).status, 200)
        is_("its access", ask(s, "/api/access", token).json(),
            {"role": role, "token": True, "writes": role != "read", "name": name})


def roles(s):
    jobs = json.dumps({"layer": "seg", "box": [8, 0, -16, 72, 64, 48], "dry_run": True})
    is_("a reader starts no work", ask(s, MADE, READ).status, 403)
    has("and hears why", ask(s, MADE, READ).json()["error"], "token_file")
    for path, body, least in (("/api/jobs", jobs, 1), ("/api/layers/seg/retry", "", 1),
                              ("/api/layers/seg/pause", "", 2),
                              ("/api/layers/seg/resume", "", 2),
                              ("/api/tokens", "{}", 2)):
        got = [ask(s, path, t, "POST", body).status for t in (READ, COMPUTE, ADMIN)]
        is_(f"POST {path} by read, compute, admin", [x < 300 for x in got],
            [i >= least for i in range(3)])
        is_("those that may not get 403", [x for x in got if x >= 300], [403] * least)
        is_("without a token 401", ask(s, path, None, "POST", body).status, 401)
        is_("a foreign page not even with it", ask(
            s, path, ADMIN, "POST", body, Origin="https://evil.example").status, 403)
    is_("DELETE of a layer by compute", ask(s, "/api/layers/em", COMPUTE, "DELETE").status,
        403)
    is_("a computing token has chunks made", ask(s, MADE + "?wait=100", COMPUTE).status, 200)


def capability(s):
    base = f"/t/{COMPUTE}"
    r = ask(s, base + CHUNK)
    plain = ask(s, CHUNK, COMPUTE)
    is_("a chunk by a URL with a token", (r.status, r.body), (200, plain.body))
    is_("its tag is the same", r["ETag"], plain["ETag"])
    is_("no address leaves with a link", r["Referrer-Policy"], "no-referrer")
    is_("nothing for caches that others share", r["Cache-Control"], "private, no-cache")
    uuid = s.get("/api/layers/em", **bearer(READ)).json()["uuid"]
    is_("nor what never changes", ask(s, f"{base}{CHUNK}?v={uuid}")["Cache-Control"],
        "private, max-age=31536000, immutable")
    hits = 'floodgate_chunks_total{from="ram"}'
    m = ask(s, "/metrics", READ).body.decode()
    before = float(m.split(hits)[1].split()[0])
    ask(s, base + CHUNK)
    ask(s, f"/t/{READ}{CHUNK}")
    m = ask(s, "/metrics", READ).body.decode()
    is_("the cache knows no tokens", float(m.split(hits)[1].split()[0]), before + 2)
    is_("without the slash at the end", (ask(s, base).status, ask(s, base)["Location"]),
        (307, base + "/"))
    r = ask(s, base + "/em")
    is_("a redirect keeps it", (r.status, r["Location"]), (307, base + "/em/"))
    ok("the page", ask(s, base + "/").status == 200 and b"em/" in ask(s, base + "/").body)
    j = ask(s, base + "/api/status").json()
    is_("the address that it is known by", j["url"], s.url + base)
    ok("links carry it", "%2Ft%2F" + COMPUTE in j["neuroglancer"] and
       COMPUTE not in ask(s, "/api/status", READ).body.decode())
    is_("calls that write", ask(s, base + "/api/jobs", None, "POST", json.dumps(
        {"layer": "seg", "dry_run": True})).status, 200)
    is_("the URL's token counts, not the header's",
        ask(s, f"/t/{READ}/api/access", ADMIN).json()["role"], "read")
    for path, status in ((f"/t/{WRONG}/em/info", 401), ("/t", 400), ("/t/", 400),
                         ("/t//em/info", 400), (f"/t/{READ}/t/{READ}/em/info", 400),
                         (f"/t/{READ}/../em/info", 400), (f"/t/{READ}%2fem/info", 400),
                         (f"/t/{READ}/none/info", 404), ("/t/short/em/info", 401),
                         ("/t/" + "x" * 500 + "/em/info", 414),
                         (f"/t/{READ}%00/em/info", 400), ("/T/x/em/info", 404)):
        r = ask(s, path, None if status != 404 else READ)
        is_(f"{path[:40]}", r.status, status)
        ok("the token is not sent back", READ.encode() not in r.body)


def some_layers(s):
    names = ["em"]
    is_("layers that it sees", [x["name"] for x in ask(s, "/api/layers", SOME).json()], names)
    is_("also at the root", [x["name"] for x in ask(s, "/info", SOME).json()["layers"]],
        names)
    j = ask(s, "/api/status", SOME).json()
    is_("also in the status", [x["name"] for x in j["layers"]], names)
    is_("and no jobs or results of others", (j["jobs"], j["tasks"], j["recent"]), ([], [], []))
    ok("also in the link", "secret" not in j["neuroglancer"] and "em" in j["neuroglancer"])
    page = ask(s, f"/t/{SOME}/").body
    ok("also on the page", b"em/" in page and b"secret" not in page and b"seg" not in page)
    is_("one that it sees", ask(s, CHUNK, SOME).status, 200)
    for path in ("/secret/info", "/secret/", "/secret", CHUNK.replace("/em/", "/secret/"),
                 "/seg/info", "/seg.prob/info", "/api/layers/secret", f"/api/why{MADE}"):
        r, there = ask(s, path, SOME), ask(s, path, READ)
        none = ask(s, path.replace("secret", "nothing").replace("seg", "nix"), SOME)
        is_(f"{path} is not there for it", (r.status, r.body.replace(b"secret", b"nothing")
                                            .replace(b"seg", b"nix")),
            (404, none.body))
        ok("but for others", there.status < 400)
    is_("nor the job of one", ask(s, "/api/jobs/1", SOME).status, 404)
    is_("which others see", ask(s, "/api/jobs/1", READ).status, 200)
    is_("jobs", (ask(s, "/api/jobs", SOME).json(), len(ask(s, "/api/jobs", READ).json())),
        ([], 1))


def events(s):
    """A stream with hidden layers hears of the others only."""
    heard = {SOME: b"", READ: b""}
    sockets = {}

    def listen(token):
        c = sockets[token]
        try:
            while b"}\n\nevent: block" not in heard[token] or token == SOME:
                got = c.recv(65536)
                if not got:
                    return
                heard[token] += got
        except OSError:
            return

    threads = []
    for token in heard:
        sockets[token] = s.socket()
        sockets[token].sendall(f"GET /t/{token}/api/events HTTP/1.1\r\nHost: localhost\r\n"
                               "\r\n".encode())
        threads.append(threading.Thread(target=listen, args=(token,)))
        threads[-1].start()
    wait_for("both to listen", lambda: all(b"hello" in x for x in heard.values()))
    r = ask(s, "/api/jobs", COMPUTE, "POST", json.dumps(
        {"layer": "seg", "box": [8, 0, -16, 108, 80, 56]}))
    is_("a job", r.status, 202)
    wait_for("the job", lambda: ask(s, r.json()["url"], READ).json()["state"] == "done")
    wait_for("its events", lambda: b'"seg"' in heard[READ])
    ok("who may not see the layer hears nothing of it",
       b"seg" not in heard[SOME] and b"event: job" not in heard[SOME])
    for c in sockets.values():
        c.shutdown(2)
        c.close()
    for t in threads:
        t.join(PATIENCE)


def session(s):
    r = s.call("POST", "/api/tokens", {"role": "compute", "hours": 1})
    is_("a token for the owner", r.status, 201)
    url = r.json()["url"]
    ok("its URL is ours", url.startswith(s.url + "/t/fg-compute-"))
    path = url[len(s.url):]
    is_("and works", s.get(path + "api/access").json()["role"], "compute")
    is_("links lead back to it", s.get(path + "api/status").json()["url"] + "/", url)
    for body in ({"role": "none"}, {"role": "root"}, {"role": 1}, {"hours": 0},
                 {"hours": "x"}, [], "x", {"hours": 1e9}):
        is_(f"{body}: refused", s.call("POST", "/api/tokens", body).status, 400)
    is_("something that is no JSON too", ask(s, "/api/tokens", ADMIN, "POST", "{").status, 400)
    s.stop()
    s.start()
    is_("it ends with the daemon", s.get(path + "api/access").status, 401)


def limits():
    with prepare("--requests-per-s", "2", "--proxies", "loopback", "--body-max-kb", "4",
                 "--box-max-gvx", "0.1") as s:
        got = [ask(s, "/em/info") for _ in range(14)]
        ok("ten at once, then 429", [r.status for r in got[:10]] == [200] * 10 and
           got[-1].status == 429)
        ok("with the reason and when to come back", got[-1]["Retry-After"] == "1" and
           "requests_per_s" in got[-1].json()["error"])
        is_("wrong tokens are not tried faster", ask(s, "/em/info", WRONG).status, 429)
        is_("the probe of life is never refused", ask(s, "/healthz").status, 200)
        for address in ("10.0.0.1", "evil, 10.0.0.2", "10.0.0.1, [2001:db8::1]"):
            is_(f"another client behind the proxy: {address}",
                ask(s, "/em/info", X_Forwarded_For=address, **{
                    "X-Forwarded-For": address}).status, 200)
        is_("nonsense there is not believed", s.request("GET", "/em/info", headers={
            "X-Forwarded-For": "x" * 300}).status, 429)
        is_("the control socket has no limits", [
            s.call("GET", "/em/info").status for _ in range(20)], [200] * 20)
        r = s.call("POST", "/api/jobs", {"layer": "seg", "box": [8, 0, -16, 72, 64, 48]})
        is_("a small box", r.status, 202)
        wait_for("the rate", lambda: ask(s, "/em/info").status == 200)
        got = s.raw(f"POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer "
                    f"{COMPUTE}\r\nContent-Length: 5000\r\n\r\n")
        has("a large body", got, b" 413 ")
        has("says its limit", got, b"body_max_kb")
        is_("stops cleanly", s.stop(), 0)
    with prepare("--box-max-gvx", "0.001") as s:  # the layer has 576000 voxels
        is_("a box within the limit", s.call("POST", "/api/jobs", {"layer": "seg"}).status,
            202)
        s.stop()
        big = Volume(os.path.join(s.own.name, "big"), size=(128, 128, 128))
        s.start()
        s.add_layer("big", big.path)
        is_("a layer", s.call("POST", "/api/layers", {"name": "bigseg", "ffn": {
            **tiny_ffn(os.path.join(s.own.name, "tiny")), "image": "big"}}).status, 201)
        for dry in (False, True):
            r = s.call("POST", "/api/jobs", {"layer": "bigseg", "dry_run": dry})
            is_("a box beyond it", r.status, 413)
            has("with the reason", r.json()["error"], "box_max_gvx")
        is_("and no job", len(s.call("GET", "/api/jobs").json()), 1)
        is_("stops cleanly", s.stop(), 0)


def public():
    """Callers without a token that see a part."""
    with prepare("--public-layers", "em,none", "--anonymous", "read", "--public-url",
                 "https://em.lab.example:8443") as s:
        is_("everybody sees these", [x["name"] for x in s.get("/api/layers").json()], ["em"])
        is_("not those", s.get("/secret/info").status, 404)
        is_("a token all", len(ask(s, "/api/layers", READ).json()), 5)
        is_("nobody starts work", ask(s, MADE, None).status, 404)
        is_("links have the public address", s.get("/api/status").json()["url"],
            "https://em.lab.example:8443")
        is_("whose name is ours", s.get("/em/info", Host="em.lab.example:8443").status, 200)
        is_("others are not", s.get("/em/info", Host="evil.example").status, 421)
        is_("stops cleanly", s.stop(), 0)


with prepare("--anonymous", "none", "--access-log") as server:
    nobody(server)
    roles(server)
    capability(server)
    r = ask(server, "/api/jobs", COMPUTE, "POST", json.dumps(
        {"layer": "seg", "box": [8, 0, -16, 40, 32, 16]}))
    is_("a job", r.status, 202)
    wait_for("the job", lambda: ask(server, r.json()["url"], READ).json()["state"] == "done")
    some_layers(server)
    events(server)
    log = server.errors()
    is_("stops cleanly", server.stop(), 0)
    log = server.errors()
    ok("the log holds no token", not any(x in log for x in (ADMIN, COMPUTE, READ, SOME, WRONG)))
    has("but whose it was", log, "token=bob")
    server.start()
    session(server)
    is_("stops cleanly", server.stop(), 0)
limits()
public()
done()
