#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Meshes and skeletons of a generated layer are made when they are asked for: once, only
# for objects that exist, whole after a crash, the same after a restart.
import array
import json
import os
import shutil
import struct
import threading

from lib import Server, Volume, done, has, is_, ok, tiny_ffn, wait_for, write_tiny_model
from surface import fetch, unmatched, volume

SIZE, OFFSET, BLOCK, CHUNK = (100, 80, 72), (8, 0, -16), 64, 32
NM = 8
LATE = "?wait=100"


def labels(s):
    """{id: set of voxels} of the whole layer, read as a client does."""
    out = {}
    for z in range(-16, 56, CHUNK):
        for y in range(0, 80, CHUNK):
            for x in range(8, 108, CHUNK):
                lo = (x, y, z)
                hi = [min(a + CHUNK, o + n) for a, o, n in zip(lo, OFFSET, SIZE)]
                name = "_".join(f"{a}-{b}" for a, b in zip(lo, hi))
                body = s.get(f"/seg/8_8_8/{name}{LATE}").body
                ids = array.array("Q", body)
                i = 0
                for vz in range(z, hi[2]):
                    for vy in range(y, hi[1]):
                        for vx in range(x, hi[0]):
                            if ids[i]:
                                out.setdefault(ids[i], set()).add((vx, vy, vz))
                            i += 1
    return out


def tasks(s):
    m = s.metrics()
    return sum(m[f"floodgate_tasks_{x}"] for x in (
        'total{end="done"}', 'total{end="failed"}', 'total{end="dropped"}', "running",
        "committing", 'queued{class="interactive"}', 'queued{class="bulk"}',
        'queued{class="idle"}'))


def busy(s):
    m = s.metrics()
    return sum(m[f"floodgate_tasks_{x}"] for x in (
        "running", "committing", 'queued{class="idle"}'))


def runs(s, kind):
    return [x for x in s.get("/api/status").json()["recent"] if x["kind"] == kind]


def who_may_not(s, known):
    before = tasks(s)
    i = max(known)
    for what, path in (("another object", f"mesh/{i + 1}:0"),
                       ("an id above 2^63", f"mesh/{2 ** 63 + 5}:0"),
                       ("the last id", f"mesh/{2 ** 64 - 1}:0"),
                       ("one too large", f"mesh/{2 ** 64}:0"),
                       ("background", "mesh/0:0"),
                       ("a leading zero", f"mesh/0{i}:0"),
                       ("a negative one", f"mesh/-{i}:0"),
                       ("another manifest", f"mesh/{i}:1"),
                       ("a piece that is not made", f"mesh/{i}:0:1"),
                       ("a piece far away", f"mesh/{i}:{2 ** 63 - 1}:{2 ** 63 - 1}"),
                       ("a piece with too large numbers", f"mesh/{i}:{2 ** 63}:0"),
                       ("another file", f"mesh/{i}.stl"),
                       ("no file", "mesh/"),
                       ("a skeleton of another object", f"skeleton/{i + 1}"),
                       ("of the last id", f"skeleton/{2 ** 64 - 1}"),
                       ("its SWC", f"skeleton/{2 ** 64 - 1}.swc"),
                       ("another name for one", f"skeleton/{i}/"),
                       ("below a piece", f"mesh/{i}:0/x")):
        r = s.get(f"/seg/{path}{LATE}")
        is_(what, (r.status, r["Cache-Control"]), (404, "no-store"))
    for path in (f"mesh/{i}%2f:0", f"mesh/..%2fmesh/{i}:0", f"mesh//{i}:0",
                 f"mesh/.{i}:0", f"mesh/{i}:0%00"):
        is_(f"hostile {path}", s.get(f"/seg/{path}{LATE}").status, 400)
    is_("HEAD of a mesh that is not made", s.request("HEAD", f"/seg/mesh/{i}:0").status,
        404)
    is_("If-None-Match", s.get(f"/seg/skeleton/{i}", If_None_Match='"x"').status, 404)
    r = s.get(f"/seg/mesh/{i}:0", Origin="https://evil.example")
    is_("a page of an unlisted origin", r.status, 403)
    is_("the image has no meshes", s.get("/em/mesh/info").status, 404)
    is_("none of them started work", tasks(s), before)


def infos(s):
    info = s.get("/seg/info").json()
    is_("the layer names them", (info["mesh"], info["skeletons"]), ("mesh", "skeleton"))
    r = s.get("/seg/mesh/info", Origin="http://localhost:1")
    is_("mesh info", r.json(), {"@type": "neuroglancer_legacy_mesh"})
    is_("for pages too", r["Access-Control-Allow-Origin"], "http://localhost:1")
    r = s.get("/seg/skeleton/info").json()
    is_("skeleton info", (r["@type"], r["vertex_attributes"]), (
        "neuroglancer_skeletons",
        [{"id": name, "data_type": "float32", "num_components": 1}
         for name in ("radius", "cross_sectional_area")]))


def together(s, i):
    """Twenty clients, two of them in one name each: one run."""
    got = []

    def ask(path):
        r = s.get(path + LATE)
        got.append((path, r.status, r.body))

    threads = [threading.Thread(target=ask, args=(f"/seg/{p}",)) for p in
               [f"mesh/{i}:0", f"skeleton/{i}", f"mesh/{i}.ply", f"skeleton/{i}.swc"] * 5]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    is_("twenty answers", [x[1] for x in got], [200] * 20)
    is_("four different ones", len({x[2] for x in got}), 4)
    is_("one run each", (len(runs(s, "mesh")), len(runs(s, "skeleton"))), (1, 1))


def geometry(s, known):
    """Closed, and as large as the voxels say."""
    wrong = []
    for i, voxels in known.items():
        names, xyz, triangles = fetch(s, "seg", i)
        if len(set(names)) != len(names) or not names:
            wrong.append((i, names))
        if unmatched(triangles):
            wrong.append((i, "open", unmatched(triangles)))
        v = volume(xyz, triangles, NM)
        if abs(v - len(voxels)) > 0.25 * len(voxels) + 2:
            wrong.append((i, "volume", v, len(voxels)))
        for d in range(3):
            lo = min(p[d] for p in voxels) * NM
            hi = (max(p[d] for p in voxels) + 1) * NM
            if min(p[d] for p in xyz) < lo - 1e-3 or max(p[d] for p in xyz) > hi + 1e-3:
                wrong.append((i, "outside", d))
    is_(f"{len(known)} meshes are closed, of the right size and place", wrong, [])
    # An object at the lower face of a block has surface in the block before it.
    many = [i for i in known if len(s.get(f"/seg/mesh/{i}:0").json()["fragments"]) > 1]
    ok(f"{len(many)} of them have pieces in more than one block", len(many) > 3)


def skeletons(s, known):
    wrong = []
    for i, voxels in known.items():
        b = s.get(f"/seg/skeleton/{i}{LATE}").body
        n, e = struct.unpack_from("<II", b)
        if len(b) != 8 + 12 * n + 8 * e + 8 * n or n == 0:
            wrong.append((i, n, e, len(b)))
            continue
        xyz = struct.unpack_from(f"<{3 * n}f", b, 8)
        at = [tuple(int(v // NM) for v in xyz[k:k + 3]) for k in range(0, 3 * n, 3)]
        if not set(at) <= voxels:
            wrong.append((i, "outside"))
        radius = struct.unpack_from(f"<{n}f", b, 8 + 12 * n + 8 * e)
        if min(radius) < NM:
            wrong.append((i, "radius", min(radius)))
        # A section has at least a voxel's narrowest one, and no more than all voxels.
        area = struct.unpack_from(f"<{n}f", b, 8 + 12 * n + 8 * e + 4 * n)
        if min(area) < NM ** 2 * 0.9 or max(area) > 2 * NM ** 2 * len(voxels):
            wrong.append((i, "area", min(area), max(area)))
    is_(f"{len(known)} skeletons lie in their objects", wrong, [])


def replies(s, i):
    """Bytes, tags, ranges."""
    r = s.get(f"/seg/mesh/{i}:0")
    is_("a manifest is asked about again", r["Cache-Control"], "no-cache")
    is_("and may be kept", s.get(f"/seg/mesh/{i}:0", If_None_Match=r["ETag"]).status, 304)
    is_("also with the colon encoded", s.get(f"/seg/mesh/{i}%3A0").body, r.body)
    name = r.json()["fragments"][0]
    p = s.get(f"/seg/mesh/{name}")
    h = s.request("HEAD", f"/seg/mesh/{name}")
    is_("HEAD of a piece", (h.status, int(h["Content-Length"]), h["ETag"]),
        (200, len(p.body), p["ETag"]))
    part = s.get(f"/seg/mesh/{name}", Range="bytes=4-15")
    is_("a part of it", (part.status, part.body, part["Content-Range"]),
        (206, p.body[4:16], f"bytes 4-15/{len(p.body)}"))
    is_("nothing behind its end",
        s.get(f"/seg/mesh/{name}", Range=f"bytes={len(p.body)}-").status, 416)
    uuid = s.get("/api/layers/seg").json()["uuid"]
    has("with the layer's uuid it is there for ever",
        s.get(f"/seg/mesh/{name}?v={uuid}")["Cache-Control"], "immutable")
    is_("without only as long as the layer", p["Cache-Control"], "no-cache")
    ply = s.get(f"/seg/mesh/{i}.ply").body
    has("a PLY file", ply[:200], b"ply\nformat binary_little_endian 1.0\n")
    has("an OBJ file", s.get(f"/seg/mesh/{i}.obj").body, b"\nf ")
    glb = s.get(f"/seg/mesh/{i}.glb").body
    is_("a glTF file", struct.unpack_from("<4sII", glb), (b"glTF", 2, len(glb)))
    swc = s.get(f"/seg/skeleton/{i}.swc").body.decode()
    rows = [x.split() for x in swc.splitlines() if not x.startswith("#")]
    n, = struct.unpack_from("<I", s.get(f"/seg/skeleton/{i}").body)
    is_("an SWC file", (len(rows), {len(x) for x in rows}, rows[0][6]), (n, {7}, "-1"))
    has("that says whose it is", swc, f"object {i}")


def provenance(s):
    """What was done, and with which parameters."""
    r = runs(s, "mesh")[0]["stats"]
    is_("a mesh is recorded", sorted(r), sorted((
        "gen", "pieces", "reused", "triangles", "error_nm", "chunks", "read_s",
        "surface_s", "simplify_s")))
    ok("a skeleton too", "vertices" in runs(s, "skeleton")[0]["stats"])


def full(s, i):
    """Nothing is made on a full disk, and what is there is served."""
    s.stop()
    s.start("--min-free", "99")
    r = s.get(f"/seg/mesh/{i}:0{LATE}")
    is_("a full disk", (r.status, r["Retry-After"] is not None), (503, True))
    has("the reason", r.body, b"% free")
    s.stop()
    s.start()


def crash(s, root, point, i, want):
    """Killed within the commit of a mesh: then it is there whole, or made again."""
    shutil.rmtree(s.root)
    shutil.copytree(root, s.root)
    s.env = {"FG_CRASH_AT": point}
    s.start()
    try:
        s.get(f"/seg/mesh/{i}:0{LATE}")
        answered = True
    except (ConnectionError, OSError):
        answered = False
    s.process.wait(100)
    is_(f"{point}: killed there, nothing was answered", (s.process.returncode, answered),
        (-9, False))
    s.process.stdout.close()
    s.env = {}
    s.start()
    is_("ready again", s.get("/readyz").json(), {"ready": True, "wrong": []})
    there = s.request("HEAD", f"/seg/mesh/{i}:0").status == 200
    names = s.get(f"/seg/mesh/{i}:0{LATE}").json()["fragments"]
    is_(f"the same bytes ({'stored' if there else 'made again'})",
        {x: s.get(f"/seg/mesh/{x}").body for x in names}, want)
    is_("stops cleanly", s.stop(), 0)


with Server() as s:
    model = os.path.join(s.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(s.own.name, "em"), SIZE, OFFSET)
    s.add_layer("em", em.path)
    # Whole floods: some of their pieces are a voxel thin, and have half of it as meshes.
    made = s.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(
        model, delta=[4, 4, 4], encoding="raw", halo=[8, 8, 8], pieces=False)})
    is_("a layer", made.status, 201)
    infos(s)
    is_("no object yet", s.get(f"/seg/mesh/1:0{LATE}").status, 404)
    known = labels(s)
    ok(f"{len(known)} objects", len(known) > 40)
    wait_for("the coarse chunks", lambda: busy(s) == 0)
    who_may_not(s, known)
    largest = max(known, key=lambda k: len(known[k]))
    last = max(k for k in known if k != largest)
    s.stop()
    root = os.path.join(s.own.name, "before")
    shutil.copytree(s.root, root)
    s.start()
    r = s.get(f"/seg/mesh/{largest}:0?wait=0")
    is_("not to wait is 503 and starts it", (r.status, r["Cache-Control"]),
        (503, "no-store"))
    together(s, largest)
    provenance(s)
    geometry(s, known)
    skeletons(s, known)
    replies(s, last)
    names = s.get(f"/seg/mesh/{last}:0").json()["fragments"]
    want = {x: s.get(f"/seg/mesh/{x}").body for x in names}
    bone = s.get(f"/seg/skeleton/{last}").body
    count = len(s.get("/api/status").json()["recent"])
    is_("stops cleanly", s.stop(), 0)
    s.start()
    is_("after a restart the same", [
        {x: s.get(f"/seg/mesh/{x}").body for x in
         s.get(f"/seg/mesh/{last}:0").json()["fragments"]},
        s.get(f"/seg/skeleton/{last}").body], [want, bone])
    is_("from the index", tasks(s), 0)
    is_("stops cleanly", s.stop(), 0)
    shutil.rmtree(s.root)
    shutil.copytree(root, s.root)
    s.start()
    full(s, last)
    is_("stops cleanly", s.stop(), 0)
    for point in ("slab-append", "slab-half", "slab-written", "slab-synced", "txn-begun",
                  "txn-half", "txn-before-commit", "committed"):
        crash(s, root, point, last, want)
done()
