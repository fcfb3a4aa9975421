#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# A sharded volume: its shard files by Range, byte for byte, and its chunks by name.
import json
import os
import struct

from lib import Server, Volume, done, has, is_, morton, ok, write, write_shards

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
    data = bytes(range(256)) * 40960 + b"end"
    write(os.path.join(v.path, "mesh", "large"), data)
    ranges(s, f"/{name}/mesh/large", data)


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
done()
