#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# A sharded volume: its shard files by Range, byte for byte, and its chunks by name.
import json
import os
import struct
import time

from lib import Server, Volume, done, has, is_, morton, ok, wait_for, write, write_shards

SIZE, OFFSET, CHUNK = (100, 80, 72), (8, 0, -16), (16, 16, 16)


def make(server, name, skip=(), **sharding):
    v = Volume(os.path.join(server.root, name + "-plain"), SIZE, OFFSET, CHUNK)
    path = os.path.join(server.root, name)
    v.sharding = {"@type": "neuroglancer_uint64_sharded_v1", "hash": "identity",
                  "preshift_bits": 0, "minishard_bits": 0, "shard_bits": 0,
                  "minishard_index_encoding": "raw", "data_encoding": "raw", **sharding}
    v.info["scales"][0]["sharding"] = v.sharding
    write(os.path.join(path, "info"), json.dumps(v.info))
    write_shards(os.path.join(path, "8_8_8"), v.sharding, {
        morton([a // c for (a, _), c in zip(box, CHUNK)], SIZE, CHUNK): v.cut(box)
        for n, box in v.boxes() if n not in skip})
    v.path = path
    server.add_layer(name, path)
    return v


def chunks(s, v, name, skip=()):
    wrong = []
    for n, box in v.boxes():
        r = s.get(f"/{name}/8_8_8/{n}")
        if (r.status, r.body) != (200, v.cut(box)) if n not in skip else r.status != 404:
            wrong.append((n, r.status))
    is_(f"every chunk of {name} by its name", wrong, [])


def ranges(s, url, data, tag=None):
    n = len(data)
    for value, first, last in (("0-15", 0, 15), ("16-31", 16, 31), (f"{n - 1}-", n - 1, n - 1),
                               (f"{n - 7}-{n + 99}", n - 7, n - 1), ("-5", n - 5, n - 1),
                               ("0-", 0, n - 1), (f"-{n + 5}", 0, n - 1), ("1-1", 1, 1)):
        r = s.get(url, Range="bytes=" + value)
        is_(f"bytes={value}", (r.status, r["Content-Range"], r["Content-Length"]),
            (206, f"bytes {first}-{last}/{n}", str(last - first + 1)))
        ok("are these bytes", r.body == data[first:last + 1])
        is_("with the tag", r["ETag"], tag or r["ETag"])
        is_("never compressed", r["Content-Encoding"], None)
    for value in (f"{n}-", f"{n}-{n + 5}", "-0"):
        r = s.get(url, Range="bytes=" + value)
        is_(f"bytes={value} is outside", (r.status, r["Content-Range"], r.body),
            (416, f"bytes */{n}", b""))
    for value in ("bytes=0-1,4-5", "bytes=5-1", "lines=0-1", "bytes=x-", "bytes=-"):
        r = s.get(url, Range=value)
        ok(f"{value}: all of it", r.status == 200 and r.body == data)


def files(s, v, name):
    folder = os.path.join(v.path, "8_8_8")
    for file in sorted(os.listdir(folder)):
        with open(os.path.join(folder, file), "rb") as f:
            data = f.read()
        url = f"/{name}/8_8_8/{file}"
        r = s.get(url)
        ok(f"{file} whole", r.status == 200 and r.body == data)
    is_("its type", r["Content-Type"], "application/octet-stream")
    is_("it can be cut", r["Accept-Ranges"], "bytes")
    tag = r["ETag"]
    ranges(s, url, data, tag)
    h = s.request("HEAD", url)
    is_("HEAD", (h.status, h["Content-Length"], h["ETag"], h.body),
        (200, str(len(data)), tag, b""))
    is_("not modified", (s.get(url, If_None_Match=tag).status,
                         s.get(url, If_None_Match=tag, Range="bytes=0-1").status), (304, 304))
    is_("If-Range of this version", s.get(url, Range="bytes=0-1", If_Range=tag).status, 206)
    r = s.get(url, Range="bytes=0-1", If_Range='"x"')
    ok("If-Range of another", r.status == 200 and r.body == data)
    r = s.get(url, Accept_Encoding="gzip, zstd")
    ok("shards are not compressed for transport",
       r["Content-Encoding"] is None and r.body == data)
    is_("no such shard", s.get(f"/{name}/8_8_8/ff.shard").status, 404)
    os.utime(os.path.join(folder, file), ns=(1, 1))
    ok("a replaced file has another tag", s.get(url)["ETag"] != tag)


def large(s, v, name):
    """Longer than what is read into memory at a time."""
    data = os.urandom(5 << 20) * 2 + b"end"
    path = os.path.join(v.path, "mesh", "large")
    url = f"/{name}/mesh/large"
    write(path, data)
    ranges(s, url, data)
    # By one connection, from memory: the head of a reply and its bytes leave together, and
    # nothing of it is held back (that would be 0.2 s each).
    c = s.connect()
    wrong, tags = [], set()
    begin = time.monotonic()
    for i in range(300):
        first = i * 34567 % len(data)
        n = (9000, 32768, 262144, 1 << 20)[i % 4]
        last = min(first + n, len(data)) - 1
        c.request("GET", url, headers={"Range": f"bytes={first}-{first + n - 1}"})
        r = c.getresponse()
        tags.add(r.getheader("ETag"))
        if (r.status, r.read(), r.getheader("Content-Range")) != (
                206, data[first:last + 1], f"bytes {first}-{last}/{len(data)}"):
            wrong.append((i, r.status))
    took = time.monotonic() - begin
    is_("three hundred ranges of one file", wrong, [])
    is_("of one version", len(tags), 1)
    ok(f"none is held back ({took:.1f} s)", took < 30)
    among_others(c, url)
    c.close()
    replaced(s, path, url, data)


def among_others(c, url):
    """Replies that are no files, over a connection that sends ranges of them."""
    asked = (("GET", url, 206), ("GET", "/one/info", 200), ("GET", url, 206),
             ("GET", "/none", 404), ("HEAD", url, 206), ("POST", "/api/layers", 401))
    got = []
    begin = time.monotonic()
    for _ in range(50):
        for method, path, _ in asked:
            c.request(method, path, "{}" if method == "POST" else None,
                      {"Range": "bytes=4096-36863"} if path == url else {})
            r = c.getresponse()
            got.append((method, path, r.status))
            r.read()
    took = time.monotonic() - begin
    is_("other replies among the ranges", set(got), {*asked[:4], ("HEAD", url, 200), asked[5]})
    ok(f"are not held back either ({took:.1f} s)", took < 20)


def replaced(s, path, url, data):
    """Another file under the name: its bytes with its tag, the old ones with theirs."""
    other = bytes(255 - b for b in data[:3 << 20])
    old = s.get(url, Range="bytes=0-32767")["ETag"]
    write(path + ".new", other)
    os.rename(path + ".new", path)

    mixed = []

    def looks():
        r = s.get(url, Range="bytes=4096-36863")
        wanted = data if r["ETag"] == old else other
        if (r.body, r["Content-Range"]) != (wanted[4096:36864],
                                            f"bytes 4096-36863/{len(wanted)}"):
            mixed.append(r["ETag"])
        return wanted is other
    ok("within a moment it is the new one", wait_for("the new file", looks))
    is_("bytes, length and tag are of one file all the time", mixed, [])
    is_("whose end is nearer", s.get(url, Range=f"bytes={3 << 20}-").status, 416)


def shortened():
    """A file is cut off while a client reads: it gets less than it was told. The daemon has
    nothing to send any more and ends the connection once it has been idle for long enough."""
    with Server("--idle-s", "2") as s:
        path = os.path.join(make(s, "one").path, "mesh", "large")
        url, size = "/one/mesh/large", 256 << 20  # far more than lies in socket buffers
        write(path, b"x")
        os.truncate(path, size)
        c = s.socket()
        c.sendall(f"GET {url} HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-\r\n\r\n"
                  .encode())
        got = c.recv(1000)
        has("a range is begun", got, b" 206 ")
        os.truncate(path, 1 << 20)
        head, _, body = got.partition(b"\r\n\r\n")
        has("told by its length", head, f"Content-Length: {size}".encode())
        n, begin = len(body), time.monotonic()
        try:
            while part := c.recv(1 << 20):
                n += len(part)
        except ConnectionResetError:
            pass
        took = time.monotonic() - begin
        c.close()
        ok(f"it ends early ({n} bytes, {took:.1f} s)", n < size and took < 60)
        # At once it may still be known with its old length; then it is not.
        wait_for("the new length", lambda: s.get(url, Range="bytes=0-9")["Content-Range"]
                 == f"bytes 0-9/{1 << 20}")
        is_("the daemon goes on", s.get("/one/info").status, 200)
        is_("behind the end is nothing", s.get(url, Range="bytes=2097152-3145727").status, 416)
        is_("and stops cleanly", s.stop(), 0)


def broken(s, v, name):
    path = os.path.join(v.path, "8_8_8", "0.shard")
    with open(path, "rb") as f:
        good = f.read()
    n = next(v.boxes())[0]
    url = f"/{name}/8_8_8/{n}"
    for what, data, text in (
            ("an index beyond the file", struct.pack("<2Q", 0, 1 << 40) + good[16:], "index ends at"),
            ("a file without a head", good[:7], "its head alone has"),
            ("a file cut off", good[:5000], ""),
            ("an empty file", b"", "has 0 bytes")):
        write(path, data)
        # Another layer name, so that nothing is in memory.
        other = f"{name}-{len(data)}"
        s.add_layer(other, v.path)
        r = s.get(f"/{other}/8_8_8/{n}")
        is_(what, r.status, 502)
        has("says so", r.json()["error"], "0.shard")
        has("and where", r.json()["error"], text)
    os.unlink(path)
    s.add_layer(name + "-none", v.path)
    is_("no file, no chunk", s.get(f"/{name}-none/8_8_8/{n}").status, 404)
    write(path, good)
    is_("other layers go on", s.get("/split/info").status, 200)


with Server() as server:
    one = make(server, "one")
    lost = [n for n, _ in one.boxes()][3::5]
    split = make(server, "split", skip=lost, preshift_bits=1, minishard_bits=2, shard_bits=3,
                 data_encoding="gzip")
    fine = make(server, "fine", minishard_bits=3, shard_bits=5)
    chunks(server, one, "one")
    chunks(server, split, "split", skip=lost)
    chunks(server, fine, "fine")
    is_("the info names the sharding",
        server.get("/split/info").json()["scales"][0]["sharding"], split.sharding)
    files(server, one, "one")
    files(server, split, "split")
    large(server, one, "one")
    broken(server, one, "one")
    is_("stops cleanly", server.stop(), 0)
shortened()
done()
