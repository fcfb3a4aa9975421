#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The viewer below /viewer/: whichever bundle it is, how its files are sent, and what is
# not there. The real one is opened by tests/browser/.
import gzip
import json
import os
import subprocess
import urllib.parse

from lib import DAEMON, Server, Volume, done, has, is_, ok, tiny_ffn, write, write_tiny_model

SCRIPT = b"export const x = 1;\n" * 200


def bundle(folder):
    write(os.path.join(folder, "index.html"), "<!doctype html><title>v</title>")
    write(os.path.join(folder, "assets", "x-1a2b.js"), SCRIPT)
    write(os.path.join(folder, "assets", "x-1a2b.js.gz"), gzip.compress(SCRIPT, mtime=0))
    write(os.path.join(folder, "assets", "y-1a2b.wasm"), b"\0asm\1\0\0\0")
    write(os.path.join(folder, "THIRD-PARTY.txt"), "licences\n")
    write(os.path.join(folder, ".hidden"), "secret")
    write(os.path.join(folder, "alone.txt.gz"), gzip.compress(b"alone"))


def files(s):
    r = s.get("/viewer/")
    is_("the page", (r.status, r["Content-Type"], r["Cache-Control"]),
        (200, "text/html; charset=utf-8", "no-cache"))
    policy = r["Content-Security-Policy"]
    has("scripts come from here only", policy, "script-src 'self' 'wasm-unsafe-eval';")
    ok("and none as text", "unsafe-eval'" not in policy.replace("wasm-unsafe-eval", ""))
    is_("its own name", s.get("/viewer/index.html").body, r.body)
    is_("not asked for twice", s.get("/viewer/", If_None_Match=r["ETag"]).status, 304)
    r = s.get("/viewer")
    is_("without the slash", (r.status, r["Location"]), (307, "viewer/"))
    r = s.get("/viewer/assets/x-1a2b.js")
    is_("a script", (r.status, r.body, r["Content-Type"], r["Content-Encoding"]),
        (200, SCRIPT, "text/javascript; charset=utf-8", None))
    has("is kept for ever", r["Cache-Control"], "immutable")
    has("by what the client takes", r["Vary"], "Accept-Encoding")
    z = s.get("/viewer/assets/x-1a2b.js", Accept_Encoding="gzip, br")
    is_("compressed", (z["Content-Encoding"], gzip.decompress(z.body)), ("gzip", SCRIPT))
    ok("under another tag", z["ETag"] != r["ETag"])
    r = s.get("/viewer/assets/x-1a2b.js", Range="bytes=0-9", Accept_Encoding="gzip")
    is_("a part of it is never compressed", (r.status, r.body), (206, SCRIPT[:10]))
    is_("WebAssembly", s.get("/viewer/assets/y-1a2b.wasm")["Content-Type"],
        "application/wasm")
    is_("what is only there compressed keeps its name", gzip.decompress(
        s.get("/viewer/alone.txt.gz").body), b"alone")
    is_("HEAD", s.request("HEAD", "/viewer/").status, 200)
    for path in ("/viewer/none", "/viewer/assets", "/viewer/assets/", "/viewer/x-1a2b.js",
                 "/viewer/assets/x-1a2b.js/", "/viewer/index.html/x"):
        is_(f"{path}: nothing", s.get(path).status, 404)
    for path in ("/viewer/.hidden", "/viewer/../token", "/viewer/%2e%2e/token",
                 "/viewer//index.html", "/viewer/assets/%00"):
        is_(f"{path}: refused", s.get(path).status, 400)
    is_("it is read only", s.request("POST", "/viewer/", "x").status, 405)


def state_of(link):
    return urllib.parse.unquote(link.split("#!", 1)[1])


def links(s):
    link = s.get("/api/status").json()["neuroglancer"]
    ok("links lead to it", link.startswith(f"{s.url}/viewer/#!"))
    is_("so does the line at the start", s.ready.split("Neuroglancer: ")[1].strip(), link)
    has("eight nanometres are 8e-9 m, digit for digit", state_of(link),
        '"dimensions":{"x":[8e-9,"m"],"y":[8e-9,"m"],"z":[8e-9,"m"]}')
    has("in the middle of the volume", state_of(link), '"position":[58.5,40.5,20.5]')
    has("with its layer", state_of(link),
        f'{{"type":"image","name":"em","source":"precomputed://{s.url}/em"}}')
    has("at some scale", state_of(link), '"crossSectionScale":')


def shown(s):
    """Of layers that are made on demand one is shown, with its pieces joined."""
    write_tiny_model(os.path.join(s.own.name, "tiny"))
    for name in ("first", "second"):
        is_(f"the layer {name}", s.call("POST", "/api/layers", {
            "name": name, "ffn": tiny_ffn(os.path.join(s.own.name, "tiny"))}).status, 201)
    s.stop()
    s.start()
    link = s.get("/api/status").json()["neuroglancer"]
    is_("all are in the link, one is seen", [
        (x["name"], x.get("visible", True)) for x in json.loads(state_of(link))["layers"]],
        [("em", True), ("first", False), ("first.agg", True), ("second", False),
         ("second.agg", False)])


def fails(folder, part):
    s = Server("--viewer-dir", folder, start=False)
    p = subprocess.run([DAEMON, "--root", s.root, "--create", "--listen", "127.0.0.1:0",
                        "--viewer-dir", folder], capture_output=True, timeout=60)
    is_("a viewer_dir that is none: no start", p.returncode, 1)
    has("with the reason", p.stderr.decode(), part)
    s.own.cleanup()


with Server(start=False) as server:
    dist = os.path.join(server.own.name, "dist")
    bundle(dist)
    server.options = ("--viewer-dir", dist)
    server.start()
    em = Volume(os.path.join(server.root, "em"))
    server.add_layer("em", em.path)
    files(server)
    server.stop()
    server.start()
    links(server)
    shown(server)
    is_("stops cleanly", server.stop(), 0)
    server.start("--viewer-url", "https://viewer.example/")
    link = server.get("/api/status").json()
    ok("another viewer's links", link["neuroglancer"].startswith("https://viewer.example/#!") and
       link["viewer"] == "https://viewer.example/" and not link["bundled"])
    is_("stops cleanly", server.stop(), 0)
    fails(server.own.name, "assets")
    fails(os.path.join(server.own.name, "nowhere"), "nowhere")
    os.makedirs(os.path.join(server.own.name, "empty", "assets"))
    fails(os.path.join(server.own.name, "empty"), "no index.html")
done()
