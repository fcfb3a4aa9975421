#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Who may read: CORS on every reply, preflights, the Host rule, methods.
import os

from lib import Server, Volume, done, has, is_, ok

CHUNK = "/em/8_8_8/8-72_0-64_-16-48"
NEUROGLANCER = "https://neuroglancer-demo.appspot.com"
PATHS = (("/", 200), ("/info", 200), ("/em/info", 200), (CHUNK, 200), ("/em/", 200),
         ("/em", 307), ("/em/none", 404), ("/none/info", 404), ("/em/../x", 400),
         ("/metrics", 200), ("/healthz", 200), ("/readyz", 200), ("/api/status", 200),
         ("/api/none", 404), ("/viewer/none", 404), ("/t/x/em/info", 401),
         ("/em/8_8_8/0-64_0-64_0-64", 404), ("/" + "a" * 2000, 414))


def cors(s):
    for path, status in PATHS:
        r = s.get(path, Origin=NEUROGLANCER)
        is_(f"{path[:40]} for Neuroglancer",
            (r.status, r["Access-Control-Allow-Origin"], "Origin" in (r["Vary"] or "")),
            (status, NEUROGLANCER, True))
        r = s.get(path, Origin="https://evil.example")
        is_("and for somebody else", (r.status, r["Access-Control-Allow-Origin"]),
            (status, None))
    for origin in ("http://localhost:3000", "http://127.0.0.1:5173", s.url):
        is_(f"{origin.rsplit(':', 1)[0]} may read",
            s.get(CHUNK, Origin=origin)["Access-Control-Allow-Origin"], origin)
    exposed = s.get(CHUNK, Origin=NEUROGLANCER)["Access-Control-Expose-Headers"]
    has("range headers are exposed", exposed, "Content-Range")
    is_("416 too", s.get(CHUNK, Origin=NEUROGLANCER, Range="bytes=9999999-")
        ["Access-Control-Allow-Origin"], NEUROGLANCER)
    r = s.get(CHUNK, Origin=NEUROGLANCER)
    is_("304 too", s.get(CHUNK, Origin=NEUROGLANCER, If_None_Match=r["ETag"])
        ["Access-Control-Allow-Origin"], NEUROGLANCER)


def preflight(s):
    r = s.request("OPTIONS", CHUNK, headers={
        "Origin": NEUROGLANCER, "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "range",
        "Access-Control-Request-Private-Network": "true"})
    is_("a preflight", (r.status, r.body), (204, b""))
    is_("allows what a chunk is for", (r["Access-Control-Allow-Methods"], r["Allow"]),
        ("GET, HEAD, OPTIONS", "GET, HEAD, OPTIONS"))
    has("allows Range", r["Access-Control-Allow-Headers"], "Range")
    is_("lasts a day", r["Access-Control-Max-Age"], "86400")
    is_("allows the private network", r["Access-Control-Allow-Private-Network"], "true")
    r = s.request("OPTIONS", "/api/layers", headers={
        "Origin": NEUROGLANCER, "Access-Control-Request-Method": "POST"})
    has("and POST below /api/", r["Access-Control-Allow-Methods"], "POST")
    r = s.request("OPTIONS", CHUNK, headers={"Origin": "https://evil.example"})
    is_("one of somebody else", (r.status, r["Access-Control-Allow-Methods"]), (204, None))
    is_("OPTIONS *", s.raw("OPTIONS * HTTP/1.1\r\nHost: localhost\r\n"
                           "Connection: close\r\n\r\n").split()[1], b"204")


def hosts(s):
    for host, status in (("localhost", 200), (f"127.0.0.1:{s.port}", 200),
                         ("em.lab", 200), ("em.lab:8080", 200), ("evil.example", 421),
                         ("127.0.0.1.evil.example", 421), ("em.lab.evil", 421)):
        is_(f"Host {host}", s.get(CHUNK, Host=host).status, status)
    is_("the rule holds for the API", s.get("/api/status", Host="evil.example").status, 421)
    r = s.get(CHUNK, Host="evil.example", Origin="http://evil.example")
    ok("and for a page whose name was pointed here", r.status == 421 and
       b"error" in r.body)


def methods(s):
    for method in ("PUT", "PATCH", "TRACE", "BREW"):
        r = s.request(method, CHUNK)
        is_(f"{method} is refused", r.status, 405)
    for method in ("POST", "DELETE"):
        r = s.request(method, CHUNK)
        is_(f"{method} of a chunk", (r.status, r["Allow"]), (405, "GET, HEAD, OPTIONS"))
    is_("POST where only GET is", s.request("POST", "/api/status").status, 405)


with Server("--hosts", "em.lab") as server:
    em = Volume(os.path.join(server.root, "em"))
    server.add_layer("em", em.path)
    cors(server)
    preflight(server)
    hosts(server)
    methods(server)
    is_("stops cleanly", server.stop(), 0)
with Server("--origins", "*") as server:
    is_("origins *: everybody may read",
        server.get("/info", Origin="https://evil.example")["Access-Control-Allow-Origin"],
        "https://evil.example")
    is_("stops cleanly", server.stop(), 0)
done()
