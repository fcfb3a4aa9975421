#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# What the page shows without a viewer: slices as pictures, and the states of blocks. The
# pictures are held against the voxels that the server sends.
import io
import json
import os
import struct
import threading
import zlib

from lib import Server, Volume, done, has, is_, missing, ok, tiny_ffn, wait_for, write, \
    write_tiny_model

try:
    from PIL import Image
except ImportError:
    missing("Python package pillow")

WHOLE = [8, 0, -16, 108, 80, 56]


def png(data):
    """(width, height, channels, rows of bytes) of an 8-bit PNG without interlacing."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts, head = 8, b"", None
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + n]
        assert zlib.crc32(kind + body) == struct.unpack(">I", data[at + 8 + n:at + 12 + n])[0]
        if kind == b"IHDR":
            head = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            parts += body
        at += 12 + n
    w, h, depth, colour, _, _, interlace = head
    assert (depth, interlace) == (8, 0)
    c = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    raw, rows, prior = zlib.decompress(parts), [], bytes(w * c)
    for y in range(h):
        how, line = raw[y * (w * c + 1)], bytearray(raw[y * (w * c + 1) + 1:][:w * c])
        for i in range(w * c):
            a = line[i - c] if i >= c else 0
            b, d = prior[i], prior[i - c] if i >= c else 0
            p = a + b - d
            near = min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - d), 2, d))[2]
            line[i] = (line[i] + (0, a, b, (a + b) // 2, near)[how]) & 255
        prior = bytes(line)
        rows.append(prior)
    return w, h, c, rows


def jpeg(data):
    """(width, height), greys"""
    image = Image.open(io.BytesIO(data))
    assert (image.format, image.mode) == ("JPEG", "L")
    return image.size, image.tobytes()


def jpeg_size(data):
    return jpeg(data)[0]


def jpeg_mean(data):
    greys = jpeg(data)[1]
    return sum(greys) / len(greys)


def slice_of(s, name, **query):
    q = "&".join(f"{k}={v}" for k, v in query.items())
    return s.get(f"/api/layers/{name}/slice?{q}")


def images(s, em):
    r = slice_of(s, "em")
    is_("a slice of the whole", (r.status, r["Content-Type"], jpeg_size(r.body)),
        (200, "image/jpeg", (256, 205)))
    is_("the same again", slice_of(s, "em").body, r.body)
    size, greys = jpeg(slice_of(s, "em", width=100, z=12).body)
    at = 100 * 80 * 28  # z = 12
    far = max(abs(a - b) for a, b in zip(greys, em.data[at:at + 8000]))
    off = sum(abs(a - b) for a, b in zip(greys, em.data[at:at + 8000])) / 8000
    ok("pixels are the voxels, as far as JPEG holds them", size == (100, 80) and off < 5) or \
        print("#", far, off)
    is_("not sent twice", s.get("/api/layers/em/slice?", If_None_Match=r["ETag"]).status, 304)
    is_("a part", jpeg_size(slice_of(s, "em", box="8,0,58,20", z=-16, width=100).body),
        (100, 40))
    is_("one pixel", jpeg_size(slice_of(s, "em", width=1).body), (1, 1))
    is_("partly outside", slice_of(s, "em", box="-100,-100,30,30").status, 200)
    is_("HEAD", s.request("HEAD", "/api/layers/em/slice").status, 200)


def bad(s):
    for what, query, status, part in (
            ("no numbers", {"box": "a,b,c,d"}, 400, "whole numbers"),
            ("three", {"box": "1,2,3"}, 400, "whole numbers"),
            ("five", {"box": "8,0,20,20,5"}, 400, "whole numbers"),
            ("an empty box", {"box": "20,20,20,30"}, 400, "empty"),
            ("one upside down", {"box": "30,20,20,30"}, 400, "empty"),
            ("one outside", {"box": "500,500,600,600"}, 400, "outside"),
            ("a depth outside", {"z": 56}, 400, "outside"),
            ("a depth that is no number", {"z": "top"}, 400, "whole numbers"),
            ("half a voxel", {"z": "1.5"}, 400, "whole numbers"),
            ("huge numbers", {"box": "-9223372036854775808,0,9223372036854775807,9"}, 400,
             "whole numbers"),
            ("large numbers", {"box": "-9007199254740992,0,9007199254740992,9"}, 200, None),
            ("no width", {"width": 0}, 400, "1024"),
            ("a negative one", {"width": -5}, 400, "1024"),
            ("too wide", {"width": 1025}, 400, "1024"),
            ("too high", {"width": 1024, "box": "8,0,9,80"}, 400, "1024"),
            ("a long one", {"width": "1" * 300}, 400, "whole numbers")):
        r = slice_of(s, "em", **query)
        is_(f"slice with {what}", r.status, status)
        if part:
            has("with the reason", r.json()["error"], part)
    for path, status in (("/api/layers/none/slice", 404), ("/api/layers/none/blocks", 404),
                         ("/api/layers/em/blocks", 400), ("/api/layers/seg/slice/x", 404)):
        is_(f"{path}: {status}", s.get(path).status, status)
    for what, box in (("no numbers", "x"), ("five", "0,0,0,1,1"), ("empty", "1,1,1,1,2,2"),
                      ("outside", "5,5,5,9,9,9"), ("upside down", "1,1,1,0,0,0")):
        is_(f"blocks in a box: {what}", s.get(f"/api/layers/seg/blocks?box={box}").status, 400)
    for method in ("POST", "DELETE"):
        for what in ("slice", "blocks"):
            is_(f"{method} {what}", s.call(method, f"/api/layers/seg/{what}").status, 405)


def states(s, **query):
    q = "&".join(f"{k}={v}" for k, v in query.items())
    return s.get(f"/api/layers/seg/blocks?{q}").json()


def labels(s):
    """Colours and labels: one to one, and background and what is not made are clear."""
    j = states(s)
    is_("no block is made", (j["lo"], j["hi"], j["states"], j["failures"]),
        ([0, 0, 0], [2, 2, 2], "........", []))
    r = slice_of(s, "seg", width=100, z=0)
    w, h, c, rows = png(r.body)
    is_("nothing to see", (r["Content-Type"], w, h, c, any(map(any, rows))),
        ("image/png", 100, 80, 4, False))
    url = s.call("POST", "/api/jobs", {"layer": "seg", "box": [8, 0, -16, 72, 64, 48]}).json()["url"]
    seen = set()

    def over():
        seen.update(states(s)["states"][0])
        return s.get(url).json()["state"] == "done"
    wait_for("the job", over)
    is_("on the way it was", seen - set("qr"), seen & set(".p"))
    j = states(s)
    is_("one block is made", j["states"], "p.......")
    is_("a part of the grid", states(s, box="0,0,0,1,2,9")["hi"], [1, 2, 2])
    colours, clear, wrong, n, rows = pixels(s, "seg")
    is_("every pixel is its label's", (n, wrong[:3]), (4096, []))
    ok("there are labels and background", len(colours) > 1 and 0 < clear < 4096)
    is_("each label has a colour of its own", len(set(colours.values())), len(colours))
    ok("what is not made stays clear", not any(
        any(rows[y][4 * 64:]) for y in range(80)) and not any(map(any, rows[64:])))
    w, h, c, rows = png(slice_of(s, "seg", width=25, z=5).body)
    ok("a coarse one shows them as well", (w, h) == (25, 20) and any(map(any, rows)))


def pixels(s, name, chunk=32, end=64):
    """The slice z = 5 of a layer beside its chunks up to `end`: colours by id, clear pixels,
    those that are wrong, how many were looked at, and all of the picture."""
    w, h, c, rows = png(slice_of(s, name, width=100, z=5).body)
    colours, clear, wrong, n = {}, 0, [], 0
    z = (5 + 16) // chunk * chunk - 16
    for cy in range(0, end, chunk):
        for cx in range(8, 8 + end, chunk):
            raw = s.get(f"/{name}/8_8_8/{cx}-{cx + chunk}_{cy}-{cy + chunk}_{z}-{z + chunk}").body
            for y in range(chunk):
                for x in range(chunk):
                    at = (x + chunk * (y + chunk * (5 - z))) * 8
                    id = int.from_bytes(raw[at:at + 8], "little")
                    p = rows[cy + y][4 * (cx - 8 + x):][:4]
                    n += 1
                    clear += p[3] == 0
                    if (id == 0) != (p[3] == 0) or (id and colours.setdefault(id, p) != p):
                        wrong.append((cx + x, cy + y, id, tuple(p)))
    return colours, clear, wrong, n, rows


def stitched(s):
    """Blocks that overlap: in the joined view one object has one colour."""
    url = s.call("POST", "/api/jobs", {"layer": "joined", "stages": ["segment", "stitch",
                                                                     "downsample"]}).json()["url"]
    wait_for("the job", lambda: s.get(url).json()["state"] == "done")
    own, agg = (pixels(s, name, 24, 72) for name in ("joined", "joined.agg"))
    is_("every pixel of a joined view is its public label's", (agg[3], agg[2][:3]), (5184, []))
    whole = [len({bytes(row[x:x + 4]) for row in r[4] for x in range(0, len(row), 4)})
             for r in (own, agg)]
    ok("fewer colours than without", whole[1] < whole[0]) or print("#", whole)


def failures(s, em):
    path = os.path.join(em.path, "8_8_8", "72-108_64-80_48-56")
    with open(path, "rb") as f:
        good = f.read()
    write(path, good[:100])
    r = s.get("/seg/8_8_8/72-104_64-80_48-56?wait=60")
    is_("a block fails", r.status, 500)
    j = states(s)
    is_("and is shown so", j["states"], "p......f")
    is_("with its reason", [(f["block"], bool(f["error"]), f["tries"] >= 1, f["again"])
                            for f in j["failures"]], [([1, 1, 1], True, True, False)])
    ok("without the server's paths", s.root not in str(j))
    r = slice_of(s, "em", z=50, box="80,66,100,78", width=20)
    ok("a picture of a broken chunk says so", r.status >= 500 and "error" in r.json())
    is_("one of more has a hole", slice_of(s, "em", z=50, width=100).status, 200)
    write(path, good)
    is_("retry", s.call("POST", "/api/layers/seg/retry", {"block": [1, 1, 1]}).status, 200)
    is_("forgets it", states(s)["states"], "p.......")


def value(s, name, at):
    return s.get(f"/api/layers/{name}/value?at={at}")


def values(s, em):
    """Single voxels, against the image and the chunks."""
    for x, y, z in ((8, 0, -16), (60, 40, 20), (107, 79, 55)):
        at = x - 8 + 100 * (y + 80 * (z + 16))
        is_(f"the voxel {x},{y},{z}", value(s, "em", f"{x},{y},{z}").json(),
            {"layer": "em", "at": [x, y, z], "value": em.data[at]})
    raw = s.get("/seg/8_8_8/8-40_0-32_-16-16").body
    for x, y, z in ((20, 10, 5), (8, 0, -16)):
        at = (x - 8 + 32 * (y + 32 * (z + 16))) * 8
        is_(f"a label at {x},{y},{z}", value(s, "seg", f"{x},{y},{z}").json()["value"],
            str(int.from_bytes(raw[at:at + 8], "little")))
    is_("none where none is made", value(s, "seg", "100,70,50").json()["value"], None)
    ids = [value(s, name, at).json()["value"] for name in ("joined", "joined.agg")
           for at in ("58,10,5", "54,10,5")]
    ok("one object has two labels and one public id", ids[0] != ids[1] and
       ids[2] == ids[3] and ids[2] in ids[:2]) or print("#", ids)
    for what, at in (("nothing", ""), ("two numbers", "1,2"), ("four", "1,2,3,4"),
                     ("texts", "a,b,c"), ("a part of a voxel", "10.5,1,1"),
                     ("outside", "7,0,0"), ("far outside", "1,1,99999999999"),
                     ("too large", "1,1,9999999999999999999999")):
        is_(f"value at {what}", value(s, "em", at).status, 400)
    is_("of no layer", value(s, "none", "1,1,1").status, 404)


def deep(s):
    """16 bits: all pictures of a layer show the same value as the same grey."""
    path = os.path.join(s.root, "deep")
    write(os.path.join(path, "info"), json.dumps({
        "type": "image", "data_type": "uint16", "num_channels": 1, "scales": [{
            "key": "s", "size": [128, 64, 1], "voxel_offset": [0, 0, 0],
            "resolution": [8, 8, 8], "chunk_sizes": [[64, 64, 1]], "encoding": "raw"}]}))
    write(os.path.join(path, "s", "0-64_0-64_0-1"), struct.pack("<H", 1500) * 4096)
    write(os.path.join(path, "s", "64-128_0-64_0-1"),
          b"".join(struct.pack("<H", 1000 + i % 64 * 16) for i in range(4096)))
    s.add_layer("deep", path)
    flat, same = (slice_of(s, "deep", box=b, width=64).body
                  for b in ("0,0,64,64", "64,0,128,64"))
    is_("both halves", (jpeg_size(flat), jpeg_size(same)), ((64, 64), (64, 64)))
    ok("a flat half is grey, neither black nor white", flat != slice_of(
        s, "deep", box="0,0,64,64", width=32).body and jpeg_mean(flat) not in (0, 255))
    ok("of the grey that its value has", 110 < jpeg_mean(flat) < 145) or \
        print("#", jpeg_mean(flat))
    is_("its value", value(s, "deep", "3,3,0").json()["value"], 1500)


def bounded(s):
    """A huge volume with one scale: nothing that is asked for costs without a limit."""
    s.add_layer("huge", "phantom:seed=3,size=1048576")
    is_("the whole of it", slice_of(s, "huge", width=32).status, 200)
    Volume(os.path.join(s.root, "flat"), size=(2000, 2000, 1), offset=(0, 0, 0), chunk=(4, 4, 1),
           absent=Everything())
    s.add_layer("flat", os.path.join(s.root, "flat"))
    r = slice_of(s, "flat", width=500)
    is_("too many chunks are refused", r.status, 413)
    has("with the reason", r.json()["error"], "smaller part")
    is_("a part is drawn", slice_of(s, "flat", box="0,0,100,100").status, 200)
    got = []

    def ask(i):
        got.append(slice_of(s, "huge", width=300, box=f"{i},0,{4000 + i},4000").status)
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    ok("many at once are answered or put off", set(got) <= {200, 503} and 200 in got) or \
        print("#", got)
    is_("the server is well", s.get("/healthz").status, 200)


class Everything:
    def __contains__(self, name):
        return True


with Server("--devices", "cpu:0") as server:
    model = os.path.join(server.own.name, "tiny")
    write_tiny_model(model)
    volume = Volume(os.path.join(server.root, "em"))
    server.add_layer("em", volume.path)
    is_("a generated layer", server.call("POST", "/api/layers", {
        "name": "seg", "ffn": tiny_ffn(model, encoding="raw", halo=[0, 0, 0])}).status, 201)
    is_("one whose blocks overlap", server.call("POST", "/api/layers", {
        "name": "joined", "ffn": tiny_ffn(model, encoding="raw", block=[48] * 3, chunk=[24] * 3,
                                          halo=[16] * 3)}).status, 201)
    images(server, volume)
    bad(server)
    labels(server)
    stitched(server)
    values(server, volume)
    deep(server)
    failures(server, volume)
    bounded(server)
    status = server.get("/api/status").json()
    ok("storage is told", status["storage"]["results"] > 0 and
       status["storage"]["disk"] > status["storage"]["free"] > 0 and
       status["storage"]["cache_limit"] == 256 << 20)
    ok("and the stages", "segment" in status["stages"])
    is_("stops cleanly", server.stop(), 0)
done()
