#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Serving an image layer from a precomputed directory: bytes, statuses, headers.
import gzip
import os

from lib import Server, Volume, done, has, is_, ok, write

CHUNK = "/em/8_8_8/8-72_0-64_-16-48"


def bytes_of_all(s, v, layer):
    wrong = [name for name, box in v.boxes()
             if s.get(f"/{layer}/8_8_8/{name}").body != v.cut(box)]
    is_(f"every chunk of {layer} is byte-exact", wrong, [])


def headers(s, v):
    r = s.get(CHUNK)
    is_("a chunk", r.status, 200)
    is_("its type", r["Content-Type"], "application/octet-stream")
    is_("its length", r["Content-Length"], str(64 ** 3))
    is_("its caching", r["Cache-Control"], "no-cache")
    ok("it has a strong tag", r["ETag"].startswith('"') and r["ETag"].endswith('"'))
    is_("it can be cut", r["Accept-Ranges"], "bytes")
    has("it varies by origin", r["Vary"], "Origin")
    ok("it has a request id", len(r["X-Request-Id"]) > 9)
    ok("another request has another", s.get(CHUNK)["X-Request-Id"] != r["X-Request-Id"])
    is_("no CORS header without an origin", r["Access-Control-Allow-Origin"], None)
    is_("a raw image is not compressed",
        s.get(CHUNK, Accept_Encoding="gzip, zstd")["Content-Encoding"], None)
    is_("unknown query keys are ignored", s.get(CHUNK + "?gen=7").status, 200)
    is_("the same bytes", s.get(CHUNK + "?gen=7")["ETag"], r["ETag"])
    tag = r["ETag"]
    r = s.get(CHUNK, If_None_Match=tag)
    is_("not modified", (r.status, r.body, r["ETag"]), (304, b"", tag))
    is_("modified", s.get(CHUNK, If_None_Match='"x"').status, 200)
    uuid = next(x["uuid"] for x in s.get("/info").json()["layers"] if x["name"] == "em")
    has("a pinned URL may be kept for ever",
        s.get(f"{CHUNK}?v={uuid}")["Cache-Control"], "immutable")
    is_("one pinned to another layer may not", s.get(CHUNK + "?v=x")["Cache-Control"],
        "no-cache")


def head(s):
    g, h = s.get(CHUNK), s.request("HEAD", CHUNK)
    is_("HEAD: the same without a body",
        (h.status, h["Content-Length"], h["ETag"], h.body),
        (200, g["Content-Length"], g["ETag"], b""))
    is_("HEAD of an info", s.request("HEAD", "/em/info").status, 200)
    is_("HEAD of nothing", s.request("HEAD", "/nothing/info").status, 404)
    is_("HEAD of a layer leads to its folder",
        (s.request("HEAD", "/em").status, s.request("HEAD", "/em")["Location"]),
        (307, "/em/"))


def ranges(s, v):
    whole = s.get(CHUNK)
    r = s.get(CHUNK, Range="bytes=100-199")
    is_("a range", (r.status, r["Content-Range"], r.body),
        (206, f"bytes 100-199/{64 ** 3}", whole.body[100:200]))
    is_("keeps the tag", r["ETag"], whole["ETag"])
    r = s.get(CHUNK, Range="bytes=-5")
    is_("the end", (r.status, r.body), (206, whole.body[-5:]))
    r = s.get(CHUNK, Range="bytes=262140-999999")
    is_("clipped", (r.status, r["Content-Range"]),
        (206, f"bytes 262140-262143/{64 ** 3}"))
    r = s.get(CHUNK, Range=f"bytes={64 ** 3}-")
    is_("outside", (r.status, r["Content-Range"], r.body), (416, f"bytes */{64 ** 3}", b""))
    is_("several: whole", s.get(CHUNK, Range="bytes=0-1,4-5").status, 200)
    is_("If-Range of this version",
        s.get(CHUNK, Range="bytes=0-1", If_Range=whole["ETag"]).status, 206)
    is_("If-Range of another", s.get(CHUNK, Range="bytes=0-1", If_Range='"x"').status, 200)
    is_("a range of an info", s.get("/em/info", Range="bytes=0-0").body, b"{")


def absences(s):
    for path in ("/em/8_8_8/0-64_0-64_0-64", "/em/8_8_8/8-72_0-64_-16-47", "/em/9_9_9/x",
                 "/em/nothing", "/nothing/info", "/nothing", "/em/8_8_8", "/em/8_8_8/",
                 "/info/x", "/em/8_8_8/72-136_64-80_48-56"):
        r = s.get(path)
        is_(f"404 for {path}", (r.status, r["Cache-Control"]), (404, "no-store"))
        ok("says why in JSON", r.json()["error"])
    is_("a chunk that the folder lacks", s.get("/holes/8_8_8/8-72_0-64_-16-48").status, 404)
    is_("the others are there", s.get("/holes/8_8_8/72-108_0-64_-16-48").status, 200)
    r = s.get("/holes/8_8_8/8-72_64-80_-16-48")
    is_("one that can never be right", r.status, 502)
    is_("is not kept", r["Cache-Control"], "no-store")


def files(s, v):
    is_("another file", s.get("/em/mesh/17:0").body, b'{"fragments":["a"]}')
    r = s.get("/em/mesh/info", Accept_Encoding="gzip")
    is_("one stored compressed goes out as it is",
        (r["Content-Encoding"], gzip.decompress(r.body)), ("gzip", b'{"mesh":1}'))
    is_("byte for byte", r.body, gzip.compress(b'{"mesh":1}', mtime=0))
    has("and says on what it depends", r["Vary"], "Accept-Encoding")
    r = s.get("/em/mesh/info")
    is_("or decompressed", (r["Content-Encoding"], r.body), (None, b'{"mesh":1}'))
    r = s.get("/em/mesh/info", Accept_Encoding="gzip", Range="bytes=1-6")
    is_("a range is one of the plain bytes",
        (r.status, r["Content-Encoding"], r.body), (206, None, b'"mesh"'))
    is_("no file, no content", s.get("/em/mesh/18:0").status, 404)
    is_("no hidden file", s.get("/em/.secret").status, 400)
    is_("info is what the folder says", s.get("/em/info").json()["scales"][0]["size"],
        list(v.size))
    r = s.get("/em/info")
    is_("info type", r["Content-Type"], "application/json")
    is_("info not modified", s.get("/em/info", If_None_Match=r["ETag"]).status, 304)


def listings(s):
    r = s.get("/em/", Accept="text/html")
    has("a listing", r.body.decode(), '<a href="8_8_8/">')
    has("names info", r.body.decode(), '<a href="info">')
    has("is HTML", r["Content-Type"], "text/html")
    r = s.get("/", Accept="text/html")
    has("the page lists the layers", r.body.decode(), '<a href="em/">')
    is_("/info names them too", [x["name"] for x in s.get("/info").json()["layers"]],
        ["em", "holes", "zipped"])


def page(s):
    r = s.get("/")
    text = r.body.decode()
    ok("the page uses no other host",
       "http://" not in text and "https://" not in text and "//" not in
       text.replace("<!doctype", "").replace("-->", "").replace("<!--", ""))
    has("it may run its own script only", r["Content-Security-Policy"],
        "script-src 'self'")
    is_("its script", s.get("/api/www/page.js")["Content-Type"],
        "text/javascript; charset=utf-8")
    is_("its style", s.get("/api/www/page.css").status, 200)
    is_("nothing else", s.get("/api/www/index.html").status, 404)


with Server() as server:
    em = Volume(os.path.join(server.root, "em"))
    write(os.path.join(em.path, "mesh", "17:0"), '{"fragments":["a"]}')
    write(os.path.join(em.path, "mesh", "info.gz"), gzip.compress(b'{"mesh":1}', mtime=0))
    write(os.path.join(em.path, ".secret"), "secret")
    packed = Volume(os.path.join(server.root, "zipped"), zipped=True)
    holes = Volume(os.path.join(server.root, "holes"), absent=("8-72_0-64_-16-48",),
                   zipped=True)
    write(os.path.join(holes.path, "8_8_8", "8-72_64-80_-16-48.gz"),
          gzip.compress(b"x" * 1000)[:-6])
    for volume in (em, packed, holes):
        server.add_layer(os.path.basename(volume.path), volume.path)
    bytes_of_all(server, em, "em")
    bytes_of_all(server, packed, "zipped")
    bytes_of_all(server, em, "em")
    headers(server, em)
    head(server)
    ranges(server, em)
    absences(server)
    files(server, em)
    listings(server)
    page(server)
    m = server.metrics()
    ok("metrics count RAM hits", m['floodgate_chunks_total{from="ram"}'] > 20)
    ok("and reads", 16 <= m['floodgate_chunks_total{from="source"}'] <= 30)
    is_("stops cleanly", server.stop(), 0)
done()
