#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Multi-resolution meshes: which meshes an info names, manifests and exact ranges of the
# data, and who may start work.
import os
import struct
import threading

from lib import Server, Volume, done, has, is_, missing, ok, tiny_ffn, wait_for, \
    write_tiny_model

LATE = "?wait=100"


def manifest(b):
    """[(lod scale, [(x, y, z, offset, bytes)])], checked for its exact length."""
    lods, = struct.unpack_from("<I", b, 24)
    scales = struct.unpack_from(f"<{lods}f", b, 28)
    counts = struct.unpack_from(f"<{lods}I", b, 28 + 16 * lods)
    at, offset, out = 28 + 20 * lods, 0, []
    for scale, n in zip(scales, counts):
        rows = [struct.unpack_from(f"<{n}I", b, at + 4 * n * k) for k in range(4)]
        at += 16 * n
        nodes = []
        for x, y, z, size in zip(*rows):
            nodes.append((x, y, z, offset, size))
            offset += size
        out.append((scale, nodes))
    is_("the manifest's length", len(b), at)
    return out, offset


def names(s):
    """Before all blocks are made, and after."""
    info = s.get("/seg/info").json()
    is_("a growing layer names the legacy meshes", info["mesh"], "mesh")
    is_("so it does by that name", s.get("/seg@legacy/info").json(), info)
    many = s.get("/seg@multilod/info").json()
    is_("and the others by theirs", many["mesh"], "mesh.1")
    is_("all else is equal", {**many, "mesh": 0}, {**info, "mesh": 0})
    is_("its chunks are there too", s.get("/seg@legacy/8_8_8/8-40_0-32_-16-16").body,
        s.get("/seg/8_8_8/8-40_0-32_-16-16").body)
    r = s.get("/seg@multilod")
    is_("redirected with its slash", (r.status, r["Location"]), (307, "/seg@multilod/"))
    for path in ("/em@multilod/info", "/seg@other/info", "/@legacy/info",
                 "/nothing@legacy/info"):
        is_(f"not {path}", s.get(path).status, 404)
    r = s.get("/seg@multilod/mesh.1/info").json()
    is_("info of the meshes", (r["@type"], r["vertex_quantization_bits"],
                               r["lod_scale_multiplier"]),
        ("neuroglancer_multilod_draco", 16, 1))


def who_may_not(s, i):
    before = s.metrics()['floodgate_tasks_total{end="done"}']
    for what, path in (("a later epoch", f"mesh.2/{i}.index"),
                       ("an earlier one", f"mesh.0/{i}.index"),
                       ("the last one", f"mesh.{2 ** 63 - 1}/{i}"),
                       ("one too large", f"mesh.{2 ** 63}/{i}"),
                       ("another name of one", f"mesh.01/{i}"),
                       ("no epoch", f"mesh./{i}"),
                       ("an unknown object", "mesh.1/123456789"),
                       ("its manifest", "mesh.1/123456789.index"),
                       ("an id above 2^63", f"mesh.1/{2 ** 64 - 1}.index"),
                       ("background", "mesh.1/0"),
                       ("a legacy manifest there", f"mesh.1/{i}:0"),
                       ("a wrong ending", f"mesh.1/{i}.indexx")):
        r = s.get(f"/seg/{path}{LATE}")
        is_(what, (r.status, r["Cache-Control"]), (404, "no-store"))
    is_("HEAD", s.request("HEAD", f"/seg/mesh.1/{i}.index").status, 404)
    is_("If-None-Match", s.get(f"/seg/mesh.1/{i}", If_None_Match='"x"').status, 404)
    is_("an unlisted origin",
        s.get(f"/seg/mesh.1/{i}", Origin="https://evil.example").status, 403)
    is_("none of them started work",
        s.metrics()['floodgate_tasks_total{end="done"}'], before)


def together(s, i):
    got = []
    threads = [threading.Thread(target=lambda p=p: got.append(
        (p, s.get(f"/seg/mesh.1/{i}{p}{LATE}").body))) for p in ("", ".index") * 8]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    is_("sixteen clients get two bodies", len(set(got)), 2)
    runs = [x for x in s.get("/api/status").json()["recent"]
            if x["kind"] == "mesh" and x["scale"] == 2]
    is_("of one run", len(runs), 1)


def ranges(s, i):
    """As Neuroglancer asks: one range a fragment."""
    levels, size = manifest(s.get(f"/seg/mesh.1/{i}.index").body)
    r = s.get(f"/seg/mesh.1/{i}")
    is_("the data are all fragments", len(r.body), size)
    h = s.request("HEAD", f"/seg/mesh.1/{i}")
    is_("HEAD", (h.status, int(h["Content-Length"]), h["ETag"], h["Accept-Ranges"]),
        (200, size, r["ETag"], "bytes"))
    wrong = []
    for _, nodes in levels:
        for x, y, z, at, n in nodes:
            if n == 0:
                continue
            p = s.get(f"/seg/mesh.1/{i}", Range=f"bytes={at}-{at + n - 1}",
                      Origin="http://localhost:1")
            if (p.status, p.body, p["Content-Range"], p["Content-Encoding"]) != (
                    206, r.body[at:at + n], f"bytes {at}-{at + n - 1}/{size}", None):
                wrong.append((x, y, z, p.status, p["Content-Range"]))
            if not p.body.startswith(b"DRACO"):
                wrong.append((x, y, z, p.body[:5]))
    is_("each fragment by its range", wrong, [])
    scales = [x for x, _ in levels]
    ok(f"{len(scales)} levels, coarser by {scales}", scales == sorted(scales))
    for text, want in ((f"bytes={size - 1}-{size + 99}", r.body[-1:]),
                       ("bytes=-7", r.body[-7:]), ("bytes=3-", r.body[3:])):
        p = s.get(f"/seg/mesh.1/{i}", Range=text)
        is_(text, (p.status, p.body), (206, want))
    is_("behind the end", s.get(f"/seg/mesh.1/{i}", Range=f"bytes={size}-").status, 416)
    is_("two ranges are the whole", s.get(f"/seg/mesh.1/{i}",
                                          Range="bytes=0-1,3-4").body, r.body)
    is_("If-Range of other bytes too", s.get(
        f"/seg/mesh.1/{i}", Range="bytes=0-1", If_Range='"x"').body, r.body)
    is_("If-Range of these", s.get(
        f"/seg/mesh.1/{i}", Range="bytes=0-1", If_Range=r["ETag"]).body, r.body[:2])
    is_("unchanged", s.get(f"/seg/mesh.1/{i}", If_None_Match=r["ETag"]).status, 304)
    return s.get(f"/seg/mesh.1/{i}.index").body, r.body


with Server() as s:
    model = os.path.join(s.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(s.own.name, "em"))
    s.add_layer("em", em.path)
    made = s.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(
        model, delta=[4, 4, 4], halo=[8, 8, 8], chunk=[16, 16, 16], block=[32, 32, 32])})
    is_("a layer", made.status, 201)
    r = s.get("/seg@multilod/mesh.1/info")
    if r.status == 501:
        missing("built without libdraco")
    is_("a chunk", s.get(f"/seg/8_8_8/8-24_0-16_-16-0{LATE}").status, 200)
    names(s)
    job = s.call("POST", "/api/jobs", {"layer": "seg", "stages": ["segment"]}).json()
    wait_for("all blocks", lambda: s.get(job["url"]).json()["state"] == "done")
    wait_for("the info to see it", lambda: s.get("/seg/info").json()["mesh"] == "mesh.1")
    ok("a finished layer names the multi-resolution meshes", True)
    is_("the others stay", s.get("/seg@legacy/info").json()["mesh"], "mesh")
    wait_for("the coarse chunks", lambda: s.metrics()["floodgate_tasks_running"] == 0 and
             s.metrics()['floodgate_tasks_queued{class="idle"}'] == 0)
    objects = [i for i in range(1, 40) if s.get(f"/seg/mesh/{i}:0{LATE}").status == 200]
    ok(f"{len(objects)} objects in the first block", len(objects) > 0)
    who_may_not(s, objects[0])
    together(s, objects[0])
    want = ranges(s, objects[0])
    is_("stops cleanly", s.stop(), 0)
    s.start()
    is_("after a restart the same", (s.get(f"/seg/mesh.1/{objects[0]}.index").body,
                                     s.get(f"/seg/mesh.1/{objects[0]}").body), want)
    is_("from the index", s.metrics()['floodgate_tasks_total{end="done"}'], 0)
    s.stop()
    s.start("--file-max-mb", "1")
    is_("parts are sent whatever the limit for files", s.get(
        f"/seg/mesh.1/{objects[0]}", Range="bytes=0-9").body, want[1][:10])
done()
