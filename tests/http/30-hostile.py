#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Hostile requests: paths that climb, framing that means two things, bodies without end.
import os
import re

from lib import Server, Volume, done, has, is_, ok, write

HOST = "Host: localhost\r\n"


def statuses(out):
    return [int(x) for x in re.findall(rb"HTTP/1\.1 (\d{3}) ", out)]


def paths(s, secret):
    with open("/etc/hostname", "rb") as f:
        name = f.read()
    for path in ("/../../../../etc/hostname", "/..%2f..%2f..%2f..%2fetc/hostname",
                 "/%2e%2e/%2e%2e/%2e%2e/etc/hostname", "/em/../../outside",
                 "/em/..%2foutside", "/em/%2e%2e/%2e%2e/outside", "/em/8_8_8/../../secret",
                 "/em//etc/hostname", "//etc/hostname", "/em/info%00", "/em/info%00.png",
                 "/em%00/info", "/em/..", "/em/.", "/em/%2e", "/em/%2E%2E%2Finfo",
                 "/em/mesh/..;/info", "/em/info%0d%0aSet-Cookie:x=1", "/em/%c0%ae%c0%ae/x",
                 "/em/\\..\\info", "/em/%5c..%5cinfo"):
        out = s.raw(f"GET {path} HTTP/1.1\r\n{HOST}Connection: close\r\n\r\n")
        ok(f"{path} gives nothing", statuses(out) in ([400], [404]) and
           (len(name) < 3 or name.strip() not in out) and b"TOP SECRET" not in out and
           b"Set-Cookie" not in out)
    is_("a NUL byte in the request line",
        statuses(s.raw(b"GET /em/info\0.png HTTP/1.1\r\nHost: localhost\r\n"
                       b"Connection: close\r\n\r\n")) in ([400], [200], [404], []), True)
    is_("a whole URL as the target", statuses(
        s.raw(f"GET http://localhost/em/info HTTP/1.1\r\n{HOST}\r\n"))[:1], [400])
    is_("no slash", statuses(s.raw(f"GET em/info HTTP/1.1\r\n{HOST}\r\n"))[:1], [400])


def framing(s):
    body = '{"name":"x"}'
    cases = {
        "two lengths": f"{HOST}Content-Length: 12\r\nContent-Length: 5\r\n",
        "two equal lengths": f"{HOST}Content-Length: 12\r\nContent-Length: 12\r\n",
        "length and chunked": f"{HOST}Content-Length: 12\r\nTransfer-Encoding: chunked\r\n",
        "no Host": "Content-Length: 12\r\n",
        "two Hosts": f"{HOST}Host: other\r\nContent-Length: 12\r\n",
        "space before the colon": f"{HOST}Content-Length : 12\r\n",
    }
    for what, headers in cases.items():
        out = s.raw(f"POST /api/layers HTTP/1.1\r\n{headers}\r\n{body}"
                    f"GET /healthz HTTP/1.1\r\n{HOST}\r\n")
        ok(f"{what}: 400 and nothing after it",
           statuses(out) == [400] and b"\r\nConnection: close" in out)
    out = s.raw("GET /healthz HTTP/1.0\r\n\r\n")
    has("HTTP/1.0 needs no Host", out, b" 200 ")
    ok("a request that is none", statuses(s.raw("\x16\x03\x01 nonsense\r\n\r\n")) in
       ([], [400], [405]))


def sizes(s):
    out = s.raw(f"GET /{'a' * 3000} HTTP/1.1\r\n{HOST}\r\n")
    is_("a long path", statuses(out), [414])
    ok("a path beyond all bounds", statuses(
        s.raw(f"GET /{'a' * 60000} HTTP/1.1\r\n{HOST}\r\n")) in ([414], []))
    out = s.raw(f"GET / HTTP/1.1\r\n{HOST}" + "X-A: b\r\n" * 4000 + "\r\n")
    ok("thousands of headers", statuses(out) in ([431], [413], []))
    out = s.raw(f"POST /api/layers HTTP/1.1\r\n{HOST}Content-Length: 99999999999\r\n\r\n")
    is_("a body announced too large is not waited for", statuses(out), [413])
    with s.socket() as c:
        c.sendall(f"POST /api/layers HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n"
                  .encode())
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            for _ in range(200):  # 13 MB against a limit of 1 MB
                c.sendall(piece)
            ended = c.recv(1000) == b""
        except (BrokenPipeError, ConnectionResetError):
            ended = True
    ok("a body without end is cut off", ended)
    is_("the server still answers", s.get("/healthz").status, 200)


def json_bodies(s):
    for what, body in (("empty", ""), ("no JSON", "{"), ("an array", "[]"),
                       ("deep", "[" * 100000), ("no UTF-8", b'{"name":"\xff"}'),
                       ("NUL", b'{"name":"a\\u0000b","source":"x"}'),
                       ("a hostile name", '{"name":"../x","source":"/tmp"}'),
                       ("a reserved name", '{"name":"api","source":"/tmp"}'),
                       ("an unknown key", '{"name":"x","source":"/tmp","more":1}')):
        c = s.request("POST", "/api/layers", body,
                      {"Authorization": "Bearer 0123456789abcdef"})
        ok(f"{what}: refused with a reason", 400 <= c.status < 500 and c.json()["error"])


with Server(start=False) as server:
    write(os.path.join(server.own.name, "token"), "0123456789abcdef\n")
    write(os.path.join(server.own.name, "outside"), "TOP SECRET")
    server.options = ("--token-file", os.path.join(server.own.name, "token"))
    server.start()
    em = Volume(os.path.join(server.root, "em"))
    write(os.path.join(server.root, "secret"), "TOP SECRET")
    server.add_layer("em", em.path)
    paths(server, "x")
    framing(server)
    sizes(server)
    json_bodies(server)
    is_("stops cleanly", server.stop(), 0)
done()
