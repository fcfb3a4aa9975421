#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Layers on other web servers: read through a cache on disk, from upstreams that are slow,
# broken, hostile or gone; buckets, signed; one floodgate as the upstream of another.
import gzip
import hashlib
import hmac
import http.client
import http.server
import json
import os
import socket
import threading
import time
import urllib.parse

from lib import (Server, Volume, done, has, is_, morton, ok, tiny_ffn, wait_for, write,
                 write_shards, write_tiny_model)

os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "s3cr3t/+key",
        "AWS_SESSION_TOKEN": "token/+=", "AWS_REGION": "eu-central-1"}
QUICK = ("--upstream-connect-s", "2", "--upstream-stall-s", "2", "--upstream-total-s", "6",
         "--upstream-fresh-s", "3600")


class Upstream(http.server.ThreadingHTTPServer):
    """A static server with Range, tags and a list of misdeeds by path."""
    daemon_threads = True

    def __init__(self, root):
        self.root, self.seen, self.misdeeds = root, [], {}
        self.opened, self.tags, self.lock = 0, True, threading.Lock()
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, address):
        pass  # clients go away in these tests

    def requests(self):
        """What was asked since the last call."""
        with self.lock:
            seen, self.seen = self.seen, []
        return seen


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.server.opened += 1

    def log_message(self, *_):
        pass

    def raw(self, data):
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = True

    def reply(self, status, body=b"", **headers):
        self.send_response(status)
        headers.setdefault("Content_Length", str(len(body)))
        for k, v in headers.items():
            self.send_header(k.replace("_", "-"), v)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        path, _, query = self.path.partition("?")
        with self.server.lock:
            self.server.seen.append((path, query, dict(self.headers)))
            misdeed = self.server.misdeeds.get(path, self.server.misdeeds.get("*"))
            if isinstance(misdeed, list):
                misdeed = misdeed.pop(0) if misdeed else None
        file = os.path.join(self.server.root, urllib.parse.unquote(path).lstrip("/"))
        if misdeed and misdeed(self, file):
            return
        if not os.path.isfile(file):
            self.reply(404, b"no such thing\n" * 50)
            return
        with open(file, "rb") as f:
            body = f.read()
        tag = '"' + hashlib.md5(body).hexdigest() + '"'
        more = {"ETag": tag} if self.server.tags else {}
        if body[:2] == b"\x1f\x8b":
            more["Content_Encoding"] = "gzip"
        if tag in self.headers.get("If-None-Match", ""):
            self.reply(304, **more)
        elif self.headers.get("If-Match", tag) != tag:
            self.reply(412)
        elif "Range" in self.headers:
            a, b = self.headers["Range"][6:].split("-")
            a, b = int(a), min(int(b), len(body) - 1)
            if a >= len(body):
                self.reply(416, Content_Range=f"bytes */{len(body)}")
            else:
                self.reply(206, body[a:b + 1], Content_Range=f"bytes {a}-{b}/{len(body)}",
                           **more)
        else:
            self.reply(200, body, **more)


# --- misdeeds: true if they have answered


def status(code, **headers):
    return lambda h, f: h.reply(code, b"error page", **headers) or True


def get_anyway(s, path):
    """A request whose end does not matter."""
    try:
        s.get(path)
    except (OSError, http.client.HTTPException):
        pass


def hang(h, f):
    time.sleep(40)
    return True


def stall(h, f):
    h.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
    time.sleep(40)
    return True


def cut(h, f):
    data = open(f, "rb").read()
    h.raw(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data[:-5])
    return True


def shorter(h, f):
    data = open(f, "rb").read()
    h.reply(200, data[:-5])
    return True


def longer(h, f):
    data = open(f, "rb").read()
    h.reply(200, data + b"more!")
    return True


def huge(h, f):
    h.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9000000000000\r\n\r\n" + b"x" * 100000)
    return True


def endless(h, f):
    h.raw(b"HTTP/1.1 200 OK\r\n\r\n")
    try:
        for _ in range(4000):
            h.wfile.write(b"\0" * 65536)
    except OSError:
        pass
    return True


BOMB = gzip.compress(b"\0" * (64 << 20), 6)


def bomb(h, f):
    h.reply(200, BOMB, Content_Encoding="gzip")
    return True


def no_http(h, f):
    h.raw(b"SSH-2.0-OpenSSH_9.2p1\r\n" * 10)
    return True


def odd_head(h, f):
    h.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Range: lines 1-2\r\n\r\nhello")
    return True


def whole(h, f):
    h.reply(200, open(f, "rb").read())
    return True


def other_range(h, f):
    data = open(f, "rb").read()
    h.reply(206, data[5:15], Content_Range=f"bytes 5-14/{len(data)}")
    return True


def redirect(to, code=302):
    return lambda h, f: h.reply(code, Location=to) or True


def slowly(h, f):
    time.sleep(0.2)
    return False


# ------------------------------------------------------------------ tests


def chunks_of(v):
    return [(n, v.cut(box)) for n, box in v.boxes()]


def good_days(s, up, v):
    s.add_layer("em", up.url + "/em")
    up.requests()
    ok("the info as it is", s.get("/em/info").body == json.dumps(v.info).encode())
    wrong = [n for n, data in chunks_of(v) if s.get(f"/em/8_8_8/{n}").body != data]
    is_("every chunk", wrong, [])
    first = up.requests()
    is_("one request for each", len(first), len(chunks_of(v)))
    ok("over kept connections", up.opened <= 4)
    s.stop()
    s.start()
    up.requests()
    wrong = [n for n, data in chunks_of(v) if s.get(f"/em/8_8_8/{n}").body != data]
    is_("after a restart they are there", (wrong, up.requests()), ([], []))
    is_("off the grid nothing is asked", (s.get("/em/8_8_8/0-64_0-64_0-64").status,
                                          up.requests()), (404, []))
    m = s.metrics()
    ok("the cache is counted", m["floodgate_upstream_cache_bytes"] > sum(
        len(d) for _, d in chunks_of(v)))
    is_("its row shows no query", s.add_layer("query", up.url + "/em?token=s3cret")["source"],
        up.url + "/em")
    n, data = chunks_of(v)[0]
    ok("a query goes along", s.get(f"/query/8_8_8/{n}").body == data and
       up.requests()[-1][1] == "token=s3cret")
    for name in ("precomputed://" + up.url + "/em/", up.url + "/em/|neuroglancer-precomputed:"):
        layer = "form%d" % len(name)
        s.add_layer(layer, name)
        ok(f"as {name[:14]}...", s.get(f"/{layer}/8_8_8/{n}").body == data)


def again(root, up, v):
    """Old entries are asked about by their tags; a changed one is fetched."""
    n, data = chunks_of(v)[0]
    with Server("--upstream-fresh-s", "0", "--cache-mb", "0", *QUICK[:6], root=root) as s:
        up.requests()
        ok("an old chunk", s.get(f"/em/8_8_8/{n}").body == data)
        (_, _, headers), = up.requests()
        ok("is asked about", headers["If-None-Match"].startswith('"'))
        m = s.metrics()
        is_("and not sent again", m["floodgate_upstream_not_modified_total"] >= 1, True)
        path = os.path.join(up.root, "em", "8_8_8", n)
        write(path, data[::-1])
        ok("a changed one is fetched", s.get(f"/em/8_8_8/{n}").body == data[::-1])
        up.misdeeds["*"] = status(500)
        ok("while upstream fails, what was seen stays",
           s.get(f"/em/8_8_8/{n}").body == data[::-1])
        ok("and is counted", s.metrics()["floodgate_upstream_stale_total"] >= 1)
        up.misdeeds.clear()
        write(path, data)
        ok("and it comes back", s.get(f"/em/8_8_8/{n}").body == data)
        os.rename(path, path + ".away")
        is_("a removed one is gone", s.get(f"/em/8_8_8/{n}").status, 404)
        up.misdeeds["*"] = status(503)
        is_("absence is not believed when upstream fails",
            s.get(f"/em/8_8_8/{n}").status, 503)
        up.misdeeds.clear()
        os.rename(path + ".away", path)
        wait_for("the host to be asked again",
                 lambda: s.get(f"/em/8_8_8/{n}").status == 200)


def bad_days(s, up, v):
    """Each misdeed in a layer of its own; the status that a client gets, and why."""
    n, data = chunks_of(v)[1]
    away = up.url.replace("127.0.0.1", "localhost")
    cases = [
        ("once 500", [status(500)], 200, ""),
        ("twice 503", [status(503), status(503)], 200, ""),
        ("429 with a time", [status(429, Retry_After="1")], 200, ""),
        ("a reply cut off, once", [cut], 200, ""),
        ("always 500", status(500), 503, "upstream answers 500"),
        ("429 for an hour", status(429, Retry_After="3600"), 503, "upstream answers 429"),
        ("always cut off", cut, 503, "upstream: "),
        ("stalling", stall, 503, "upstream: "),
        ("hanging", hang, 503, "upstream: "),
        ("404", status(404), 404, "no such chunk"),
        ("410", status(410), 404, "no such chunk"),
        ("401", status(401), 502, "no access"),
        ("403", status(403), 502, "no access"),
        ("418", status(418), 502, "upstream answers 418"),
        ("304 unasked", status(304), 502, "not modified"),
        ("too short", shorter, 502, "not 32768"),
        ("too long", longer, 502, "not 32768"),
        ("a huge length", huge, 502, "9000000000000 bytes"),
        ("no end", endless, 502, "is longer than"),
        ("a compressed bomb", bomb, 502, ""),
        ("no HTTP", no_http, 502, "upstream: "),
        ("an odd head", odd_head, 502, "cannot be right"),
        ("a part unasked", status(206), 502, "a part of a file"),
        ("an unknown coding", status(200, Content_Encoding="sdch"), 502, "content coding"),
        ("to a file", redirect("file:///etc/passwd"), 502, "leads on"),
        ("to another server", redirect(away + "/em/info"), 502, "another server"),
        ("to a metadata service", redirect("http://169.254.169.254/"), 502, "another server"),
        ("round and round", redirect("loop"), 502, "leads on more than"),
        ("nowhere", status(302), 502, "without a place"),
    ]
    for i, (what, misdeed, wanted, text) in enumerate(cases):
        name = f"bad{i}"
        os.symlink("em", os.path.join(up.root, name))
        s.add_layer(name, f"{up.url}/{name}")
        up.misdeeds[f"/{name}/8_8_8/{n}"] = misdeed
        up.misdeeds[f"/{name}/8_8_8/loop"] = misdeed
        begin = time.monotonic()
        r = s.get(f"/{name}/8_8_8/{n}")
        took = time.monotonic() - begin
        if not is_(f"{what}: {wanted}", r.status, wanted):
            print("#", r.body[:300])
        if wanted == 200:
            ok("with the right bytes", r.body == data)
        else:
            has("says why", r.json()["error"], text)
            ok("in time", took < 15)
            is_("Retry-After", r["Retry-After"] is not None, wanted == 503)
        is_("others are served meanwhile",
            wait_for("a good chunk", lambda: s.get(f"/here/8_8_8/{n}").status), 200)
        if wanted != 404:  # what is absent is remembered for a while
            up.misdeeds.pop(f"/{name}/8_8_8/{n}")
            wait_for(f"{what} to be over", lambda: s.get(f"/{name}/8_8_8/{n}").body == data)
    is_("still ready", s.get("/readyz").status, 200)


def led_elsewhere(s, up, v):
    n, data = chunks_of(v)[1]
    away = up.url.replace("127.0.0.1", "localhost")
    up.misdeeds[f"/moved/8_8_8/{n}"] = redirect(f"/em/8_8_8/{n}")
    os.symlink("em", os.path.join(up.root, "moved"))
    s.add_layer("moved", up.url + "/moved")
    ok("on the same server a redirect is followed", s.get(f"/moved/8_8_8/{n}").body == data)
    up.misdeeds[f"/far/8_8_8/{n}"] = redirect(away + f"/em/8_8_8/{n}", 307)
    os.symlink("em", os.path.join(up.root, "far"))
    r = s.call("POST", "/api/layers", {"name": "far", "source": up.url + "/far",
                                       "redirects": "any"})
    is_("redirects: any", r.status, 201)
    ok("to another server if the layer says so", s.get(f"/far/8_8_8/{n}").body == data)
    for spec, text in (({"redirects": "maybe"}, "wanted same or any"),
                       ({"source": v.path, "denied": "absent"}, "on other machines")):
        r = s.call("POST", "/api/layers", {"name": "no", "source": up.url + "/em", **spec})
        is_(f"{spec} is refused", r.status, 400)
        has("with the reason", r.json()["error"], text)
    for url in ("http://user:pw@127.0.0.1/em", "http://", "http://127.0.0.1:99999/", "s3:x",
                "http://127.0.0.1/a b"):
        r = s.call("POST", "/api/layers", {"name": "no", "source": url})
        is_(f"{url} is refused", r.status, 400)
        ok("without a password in the reply", "pw" not in r.json()["error"])
    up.misdeeds["/denied/8_8_8/" + n] = status(403)
    os.symlink("em", os.path.join(up.root, "denied"))
    s.call("POST", "/api/layers", {"name": "denied", "source": up.url + "/denied",
                                   "denied": "absent", "missing": "background"})
    r = s.get(f"/denied/8_8_8/{n}")
    is_("403 as absent, absent as background", (r.status, r.body == bytes(len(data))),
        (200, True))
    up.misdeeds.clear()


def gone(root, up, v):
    """The upstream is down when the daemon starts, and comes back."""
    n, data = chunks_of(v)[2]
    port = up.server_address[1]
    up.shutdown()
    up.server_close()
    with Server(*QUICK, "--cache-mb", "0", root=root) as s:
        ok("the info is known", s.get("/em/info").status == 200)
        is_("what is kept is served", s.get(f"/em/8_8_8/{n}").body, data)
        r = s.get(f"/late/8_8_8/{n}")
        is_("what is not: later", (r.status, r["Retry-After"] is not None), (503, True))
        begin = time.monotonic()
        for _ in range(20):
            r = s.get(f"/late/8_8_8/{n}")
        ok("a dead upstream is not asked each time",
           r.status == 503 and time.monotonic() - begin < 5)
        has("says so", r.json()["error"], "does not answer")
        http.server.ThreadingHTTPServer.allow_reuse_address = True
        back = Upstream.__new__(Upstream)
        back.root, back.seen, back.misdeeds = up.root, [], {}
        back.opened, back.tags, back.lock = 0, True, threading.Lock()
        http.server.ThreadingHTTPServer.__init__(back, ("127.0.0.1", port), Handler)
        threading.Thread(target=back.serve_forever, daemon=True).start()
        wait_for("it to be asked again", lambda: s.get(f"/late/8_8_8/{n}").body == data)
        ok("comes back by itself", True)
        back.misdeeds["*"] = hang
        threading.Thread(target=get_anyway, args=(s, "/late/8_8_8/" + chunks_of(v)[0][0]),
                         daemon=True).start()
        wait_for("a fetch", lambda: back.seen and "/late/" in back.seen[-1][0])
        begin = time.monotonic()
        is_("stops while an upstream hangs", s.stop(), 0)
        ok("at once", time.monotonic() - begin < 5)


def many(up, v):
    """Concurrency, and event threads that do not block."""
    with Server(*QUICK, "--net-threads", "8") as s:
        s.add_layer("em", up.url + "/em")
        s.add_layer("here", v.path)
        up.misdeeds["*"] = slowly
        names = [n for n, _ in v.boxes()]
        begin = time.monotonic()
        threads = [threading.Thread(target=s.get, args=(f"/em/8_8_8/{n}",)) for n in names]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        ok(f"{len(names)} chunks of 0.2 s each at a time",
           time.monotonic() - begin < 0.2 * len(names))
        up.misdeeds["*"] = hang
        for i in range(12):
            threading.Thread(target=get_anyway, args=(s, f"/em/mesh/{i}"),
                             daemon=True).start()
        wait_for("fetches that hang", lambda: len(up.seen) > len(names) + 4)
        begin = time.monotonic()
        is_("local layers go on", s.get(f"/here/8_8_8/{names[0]}").status, 200)
        ok("at once", time.monotonic() - begin < 1)
        up.misdeeds.clear()


def together(up, v, path, name, data):
    """Clients that want one chunk at once cause one request; some of them go away."""
    gate = threading.Event()

    def wait(h, f):
        gate.wait(60)
        return False
    with Server(*QUICK, "--net-threads", "8", "--cache-mb", "0") as s:
        s.add_layer("one", up.url + path)
        up.requests()
        up.misdeeds["*"] = wait
        got = []
        leaving = s.connect()  # most likely the first of all, who leads
        leaving.request("GET", f"/one/8_8_8/{name}")
        wait_for("the upstream to be asked", lambda: up.seen)
        threads = [threading.Thread(target=lambda: got.append(s.get(f"/one/8_8_8/{name}").body))
                   for _ in range(6)]
        for t in threads:
            t.start()
        leaving.close()
        time.sleep(0.1)  # for more of them to be there; what comes later finds it cached
        gate.set()
        for t in threads:
            t.join()
        up.misdeeds.clear()
        is_(f"{path}: all get the chunk", [g == data for g in got], [True] * 6)
        asked = [(p, h.get("Range")) for p, _, h in up.requests()]
        is_("nothing is asked twice", len(asked), len(set(asked)))
        up.misdeeds["*"] = status(418)
        other = next(n for n, _ in chunks_of(v) if n != name)
        got.clear()
        threads = [threading.Thread(target=lambda: got.append(s.get(f"/one/8_8_8/{other}").status))
                   for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        is_("and all the failure", got, [502] * 4)
        up.misdeeds.clear()


# --- shards


def shards(up, folder):
    """A sharded volume: parts in few, merged ranges; versions never mix."""
    size, chunk = (100, 80, 72), (16, 16, 16)
    path = os.path.join(up.root, "shards")

    def make(invert, gap=0):
        v = Volume(os.path.join(folder, "plain"), size=size, chunk=chunk)
        if invert:
            v.data = bytearray(255 - b for b in v.data)
        sharding = {"@type": "neuroglancer_uint64_sharded_v1", "hash": "identity",
                    "preshift_bits": 2, "minishard_bits": 2, "shard_bits": 2,
                    "minishard_index_encoding": "raw", "data_encoding": "gzip"}
        v.info["scales"][0]["sharding"] = sharding
        write(os.path.join(path, "info"), json.dumps(v.info))
        write_shards(os.path.join(path, "8_8_8"), sharding, {
            morton([a // c for (a, _), c in zip(box, chunk)], size, chunk): v.cut(box)
            for n, box in v.boxes()}, gap)
        return v

    v = make(False)
    together(up, v, "/shards", *chunks_of(v)[3])
    with Server(*QUICK, "--cache-mb", "0") as s:
        s.add_layer("shards", up.url + "/shards")
        up.requests()
        wrong = [n for n, data in chunks_of(v) if s.get(f"/shards/8_8_8/{n}").body != data]
        is_("every chunk of a sharded upstream", wrong, [])
        asked = up.requests()
        ok("all by Range", all("Range" in h for _, _, h in asked))
        is_("heads and indices once", len(asked) - len(chunks_of(v)), 4 + 16)
        is_("and again from the cache",
            ([n for n, data in chunks_of(v) if s.get(f"/shards/8_8_8/{n}").body != data],
             up.requests()), ([], []))
        parts(s, up, path)
        new = make(True, 7)
        n, data = chunks_of(new)[0]
        os.remove(os.path.join(s.root, "upstream.sqlite"))
        s.stop()
        s.start()
        # The head is kept in memory by nobody now; a version that changes between the
        # head and the rest is noticed by its tag, and the reading begins anew.
        file = f"/shards/8_8_8/{shard_of(n, v)}"
        heads = []

        def change(h, f):
            if not heads:
                heads.append(h)
                body = open(f, "rb").read()
                h.reply(206, body[:64], ETag='"of before"',
                        Content_Range=f"bytes 0-63/{len(body)}")
                return True
            return False
        up.misdeeds[file] = change
        ok("a shard that changes meanwhile", s.get(f"/shards/8_8_8/{n}").body == data)
        up.misdeeds.clear()
        turn = [0]

        def restless(h, f):
            turn[0] += 1
            body = open(f, "rb").read()
            a, b = (int(x) for x in h.headers["Range"][6:].split("-"))
            h.reply(206, body[a:b + 1], ETag=f'"{turn[0]}"',
                    Content_Range=f"bytes {a}-{b}/{len(body)}")
            return True
        other = next(m for m, _ in v.boxes() if shard_of(m, v) != shard_of(n, v))
        up.misdeeds[f"/shards/8_8_8/{shard_of(other, v)}"] = restless
        r = s.get(f"/shards/8_8_8/{other}")
        is_("one that never rests: later", r.status, 503)
        has("says so", r.json()["error"], "changes while it is read")
    bad_shards(up, new, n, data, file)


def bad_shards(up, v, n, data, file):
    for i, (what, misdeed, wanted, text) in enumerate((
            ("a server without ranges", whole, 502, "does not know ranges"),
            ("another range", other_range, 502, "wanted from"),
            ("a compressed part", lambda h, f: h.reply(
                206, b"x" * 64, Content_Range="bytes 0-63/5000", Content_Encoding="gzip")
                or True, 502, "compressed part"),
            ("no such range", status(416), 502, "has no bytes"),
            ("a short part", lambda h, f: h.reply(
                206, b"x" * 10, Content_Range="bytes 0-9/10") or True, 502, "ends at byte 10"),
            ("an index of nonsense", lambda h, f: h.reply(
                206, bytes(range(64)), Content_Range="bytes 0-63/5000") or True, 502, ".shard"),
            ("no such shard", status(404), 404, "no such chunk"))):
        with Server(*QUICK, "--cache-mb", "0") as s:
            s.add_layer("shards", up.url + "/shards")
            up.misdeeds[file] = misdeed
            r = s.get(f"/shards/8_8_8/{n}")
            is_(f"{what}: {wanted}", r.status, wanted)
            has("says why", r.json()["error"], text)
            up.misdeeds.clear()
    up.tags = False
    with Server(*QUICK, "--cache-mb", "0") as s:
        s.add_layer("shards", up.url + "/shards")
        wrong = [m for m, d in chunks_of(v) if s.get(f"/shards/8_8_8/{m}").body != d]
        is_("a server without tags", wrong, [])
    up.tags = True


def parts(s, up, path):
    """The shard files of a remote source by Range, as clients of shards ask for them."""
    name = sorted(os.listdir(os.path.join(path, "8_8_8")))[0]
    with open(os.path.join(path, "8_8_8", name), "rb") as f:
        body = f.read()
    n, url = len(body), f"/shards/8_8_8/{name}"
    for value, first, last in (("0-15", 0, 15), (f"{n - 7}-{n + 99}", n - 7, n - 1),
                               ("-5", n - 5, n - 1), (f"{n - 9}-", n - 9, n - 1),
                               (f"-{n + 5}", 0, n - 1)):
        r = s.get(url, Range="bytes=" + value)
        is_(f"bytes={value} of a remote shard", (r.status, r["Content-Range"]),
            (206, f"bytes {first}-{last}/{n}"))
        ok("are these bytes", r.body == body[first:last + 1])
    for value in (f"{n}-", f"{n + 5}-{n + 9}", "-0"):
        r = s.get(url, Range="bytes=" + value)
        is_(f"bytes={value} is outside", (r.status, r["Content-Range"]),
            (416, f"bytes */{n}"))
    h = s.request("HEAD", url)
    is_("HEAD", (h.status, h["Content-Length"], h.body), (200, str(n), b""))
    is_("not modified", s.get(url, If_None_Match=h["ETag"]).status, 304)
    ok("whole", s.get(url).body == body)
    is_("If-Range of this version",
        s.get(url, Range="bytes=0-1", If_Range=h["ETag"]).status, 206)
    r = s.get(url, Range="bytes=0-1", If_Range='"x"')
    ok("If-Range of another", r.status == 200 and r.body == body)
    is_("no such shard", s.get("/shards/8_8_8/ff.shard").status, 404)


def shard_of(name, v):
    at = [(int(p.split("-")[0]) if p[0] != "-" else -int(p.split("-")[1])) for p in
          name.split("_")]
    key = morton([(a - o) // c for a, o, c in zip(at, v.offset, v.chunk)], v.size, v.chunk)
    return f"{key >> 4 & 3:x}.shard"


def merged(up, folder):
    """A box of a sharded upstream: what lies together is fetched together."""
    import struct
    import subprocess
    from lib import BUILD
    root = os.path.join(folder, "root-merged")
    tool = os.path.join(BUILD, "floodgate")
    up.requests()
    out = os.path.join(folder, "box.npy")
    p = subprocess.run([tool, "--root", root, "cutout", up.url + "/shards", "-o", out],
                       capture_output=True, text=True)
    is_("cutout of a remote volume", (p.returncode, p.stderr), (0, ""))
    asked = [h["Range"] for path, _, h in up.requests() if path.endswith(".shard")]
    ok(f"merges ranges: {len(asked)} for 175 chunks", len(asked) < 60)
    with open(out, "rb") as f:
        head = f.read(10)
        f.read(struct.unpack("<H", head[8:10])[0])
        got = f.read()
    v = Volume(os.path.join(folder, "plain"), size=(100, 80, 72), chunk=(16, 16, 16))
    ok("voxel for voxel", got == bytes(255 - b for b in v.data))


# --- buckets


def signed_by(headers, path, query, secret):
    """An independent check of the signature, from the specification."""
    auth = headers["Authorization"]
    parts = dict(p.strip().split("=", 1) for p in auth.split(" ", 1)[1].split(","))
    key, day, region, service, _ = parts["Credential"].split("/")
    names = parts["SignedHeaders"].split(";")
    low = {k.lower(): v for k, v in headers.items()}
    request = "\n".join(["GET", path, "&".join(sorted(filter(None, query.split("&")))),
                         *(f"{n}:{low[n].strip()}" for n in names), "", ";".join(names),
                         low["x-amz-content-sha256"]])
    text = "\n".join(["AWS4-HMAC-SHA256", low["x-amz-date"],
                      f"{day}/{region}/{service}/aws4_request",
                      hashlib.sha256(request.encode()).hexdigest()])
    k = ("AWS4" + secret).encode()
    for part in (day, region, service, "aws4_request"):
        k = hmac.new(k, part.encode(), hashlib.sha256).digest()
    return hmac.new(k, text.encode(), hashlib.sha256).hexdigest() == parts["Signature"], low


def by_botocore(up_url, headers, path):
    """The Authorization that botocore makes for the same request; None without it."""
    try:
        import datetime
        from unittest import mock

        from botocore import auth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials
    except ImportError:
        return None
    when = datetime.datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
    signer = auth.S3SigV4Auth(
        Credentials(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"],
                    KEYS["AWS_SESSION_TOKEN"]), "s3", KEYS["AWS_REGION"])
    request = AWSRequest("GET", up_url + path)
    request.context["payload_signing_enabled"] = True
    now = when.replace(tzinfo=datetime.timezone.utc)
    names = [n for n in ("get_current_datetime",) if hasattr(auth, n)]
    with mock.patch.object(auth, names[0], lambda *a, **k: when) if names else \
            mock.patch.object(auth.datetime, "datetime", mock.Mock(
                utcnow=lambda: when, now=lambda *a: now)):
        signer.add_auth(request)
    return request.headers["Authorization"]


def buckets(up, v):
    os.makedirs(os.path.join(up.root, "lab.data"), exist_ok=True)
    os.symlink("../em", os.path.join(up.root, "lab.data", "em set+1"))
    n, data = chunks_of(v)[0]
    with Server(*QUICK, env={**KEYS, "AWS_ENDPOINT_URL_S3": up.url + "/",
                             "STORAGE_EMULATOR_HOST": up.url,
                             "CLOUDSDK_AUTH_ACCESS_TOKEN": "g-token"}) as s:
        up.requests()
        s.add_layer("s3", "s3://lab.data/em set+1/")
        ok("s3: a chunk", s.get(f"/s3/8_8_8/{n}").body == data)
        path, query, headers = up.requests()[-1]
        is_("its address", path, f"/lab.data/em%20set%2B1/8_8_8/{n}")
        good, low = signed_by(headers, path, query, KEYS["AWS_SECRET_ACCESS_KEY"])
        ok("signed as the specification says", good)
        is_("with the session's token", low["x-amz-security-token"], KEYS["AWS_SESSION_TOKEN"])
        theirs = by_botocore(up.url, low, path)
        if theirs is None:
            print("# no botocore here: its signature is not compared")
        else:
            is_("and as botocore signs it", headers["Authorization"], theirs)
        up.misdeeds["*"] = redirect("/elsewhere", 301)
        r = s.get("/s3/8_8_8/" + chunks_of(v)[1][0])
        is_("credentials are not sent on", r.status, 502)
        has("says what may be wrong", r.json()["error"], "region")
        up.misdeeds.clear()
        s.add_layer("gs", "gs://lab.data/em set+1")
        n, data = chunks_of(v)[2]
        ok("gs: a chunk", s.get(f"/gs/8_8_8/{n}").body == data)
        is_("with the token", up.requests()[-1][2]["Authorization"], "Bearer g-token")
        text = json.dumps(s.get("/api/status").json())
        ok("no credentials are shown", "g-token" not in text and "s3cr3t" not in text)
        is_("no bucket", s.call("POST", "/api/layers",
                                {"name": "x", "source": "s3:///em"}).status, 400)
    with Server(*QUICK, env={"AWS_ENDPOINT_URL": up.url, "AWS_ACCESS_KEY_ID": "",
                             "AWS_SECRET_ACCESS_KEY": ""}) as s:
        up.requests()
        s.add_layer("s3", "s3://lab.data/em set+1")
        ok("without keys: unsigned", "Authorization" not in up.requests()[0][2])


# --- one floodgate upstream of another


def chain(folder):
    with Server() as first, Server(*QUICK) as second:
        v = Volume(os.path.join(folder, "chain"), size=(100, 80, 72), offset=(8, 0, -16))
        first.add_layer("em", v.path)
        second.add_layer("em", first.url + "/em")
        model = os.path.join(folder, "tiny")
        write_tiny_model(model)
        for s in (first, second):
            r = s.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(model)})
            is_("a segmentation on it", r.status, 201)
        info = second.get("/seg/info").json()["scales"][0]
        wrong = []
        for z in range(-16, 56, 32):
            name = f"8-40_0-32_{z}-{min(z + 32, 56)}"
            a = first.get(f"/seg/{info['key']}/{name}?wait=100")
            b = second.get(f"/seg/{info['key']}/{name}?wait=100")
            if (a.status, b.status) != (200, 200) or a.body != b.body:
                wrong.append((name, a.status, b.status))
        is_("labels on demand are those of the image at hand", wrong, [])
        ok("nothing was copied into the data directory",
           not os.path.exists(os.path.join(second.root, "layers", "em")))
        first.stop(hard=True)
        r = second.get(f"/seg/{info['key']}/40-72_32-64_16-48?wait=100")
        ok("with the upstream gone, what is kept goes on or it is later, never zeros",
           r.status in (200, 503))


def main():
    import tempfile
    with tempfile.TemporaryDirectory(prefix="fg-upstream-") as folder:
        v = Volume(os.path.join(folder, "www", "em"), chunk=(32, 32, 32))
        up = Upstream(os.path.join(folder, "www"))
        with Server(*QUICK, "--cache-mb", "0") as s:
            s.add_layer("here", v.path)
            good_days(s, up, v)
            bad_days(s, up, v)
            led_elsewhere(s, up, v)
            os.symlink("em", os.path.join(up.root, "late"))
            s.add_layer("late", up.url + "/late")
            is_("stops cleanly", s.stop(), 0)
            again(s.root, up, v)
            many(up, v)
            together(up, v, "/em", *chunks_of(v)[3])
            shards(up, folder)
            merged(up, folder)
            buckets(up, v)
            gone(s.root, up, v)
        chain(folder)
    done()


main()
