#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Somebody else's segmentation: its objects are found by looking at its voxels once, then
# they have meshes and skeletons like any other. What a source brings itself is left alone.
import array
import json
import os
import random
import sqlite3
import struct
import subprocess

from lib import BUILD, Server, done, has, is_, ok, write
from surface import fetch, unmatched, volume

TOOL = os.environ.get("FLOODGATE") or os.path.join(BUILD, "floodgate")
NM, LATE = 10, "?wait=100"
SIZE, OFFSET, CHUNK = (300, 70, 60), (-20, 5, 0), 32
BIG = 2 ** 63 + 5


def ball(centre, r):
    return lambda *p: sum((a - b) ** 2 for a, b in zip(p, centre)) <= r * r


OBJECTS = {7: ball((30, 40, 30), 14), BIG: ball((120, 40, 30), 20),
           2 ** 64 - 1: lambda x, y, z: 20 <= y < 32 and 12 <= z < 20}  # a rod, end to end


def make(path, **more):
    """A uint64 segmentation, raw; {id: voxels}."""
    count = dict.fromkeys(OBJECTS, 0)
    write(os.path.join(path, "info"), json.dumps({
        "@type": "neuroglancer_multiscale_volume", "type": "segmentation",
        "data_type": "uint64", "num_channels": 1, "kept": [1, 2], "scales": [{
            "key": "s", "size": SIZE, "voxel_offset": OFFSET, "resolution": [NM] * 3,
            "chunk_sizes": [[CHUNK] * 3], "encoding": "raw"}], **more}))
    hi = [o + n for o, n in zip(OFFSET, SIZE)]
    for z in range(OFFSET[2], hi[2], CHUNK):
        for y in range(OFFSET[1], hi[1], CHUNK):
            for x in range(OFFSET[0], hi[0], CHUNK):
                end = [min(a + CHUNK, b) for a, b in zip((x, y, z), hi)]
                out = array.array("Q")
                for c in range(z, end[2]):
                    for b in range(y, end[1]):
                        for a in range(x, end[0]):
                            i = next((i for i, f in OBJECTS.items() if f(a, b, c)), 0)
                            out.append(i)
                            if i:
                                count[i] += 1
                if any(out):  # chunks of background are left out
                    name = "_".join(f"{a}-{b}" for a, b in zip((x, y, z), end))
                    write(os.path.join(path, "s", name), out.tobytes())
    return count


def places(top):
    """Where one processor and all find the objects of a volume of 8 blocks."""
    path, size = os.path.join(top, "wide"), (1100, 550, 100)
    write(os.path.join(path, "info"), json.dumps({
        "@type": "neuroglancer_multiscale_volume", "type": "segmentation",
        "data_type": "uint64", "num_channels": 1, "scales": [{
            "key": "s", "size": size, "voxel_offset": [0] * 3, "resolution": [NM] * 3,
            "chunk_sizes": [[50, 50, 100]], "encoding": "raw"}]}))
    want = {}
    for k, x in enumerate(range(0, 1100, 50)):
        y = k * 50 % 550
        ids = [k // 3 + 1, 2 ** 63 + k]
        write(os.path.join(path, "s", f"{x}-{x + 50}_{y}-{y + 50}_0-100"),
              array.array("Q", ((ids + [0]) * 83334)[:250000]).tobytes())
        for i in ids:
            want.setdefault(i - 2 ** 64 if i >= 2 ** 63 else i, []).append((x, y))
    found = []
    for name, before in ("one", ["taskset", "-c", "%d" % min(os.sched_getaffinity(0))]), (
            "all", []):
        root = os.path.join(top, name)
        for more in ["layer", "add", "wide", path], ["mesh", "wide", "--ids", "999"]:
            r = subprocess.run([*before, TOOL, *more, "--root", root], capture_output=True)
            is_(f"{name}: {more[0]}", r.returncode, 3 if more[0] == "mesh" else 0)
        has("after all was looked at", r.stderr, b"there is no object 999")
        with sqlite3.connect(os.path.join(root, "index.sqlite")) as db:
            found.append(db.execute("SELECT scale, id, part FROM artefacts ORDER BY 1, 2, 3"
                                    ).fetchall())
    is_("all blocks are looked at", sum(r[0] % 16 == 5 for r in found[0]), 8)
    is_("each object is found", sorted({r[1] for r in found[0] if r[0] % 16 == 4}),
        sorted(want))
    ok("by more threads in the same places", found[0] == found[1])


def threads(top):
    """The pieces of one object, made by one thread and by several."""
    path, size = os.path.join(top, "rough"), (1100, 64, 64)
    write(os.path.join(path, "info"), json.dumps({
        "@type": "neuroglancer_multiscale_volume", "type": "segmentation",
        "data_type": "uint8", "num_channels": 1, "scales": [{
            "key": "s", "size": size, "voxel_offset": [0] * 3, "resolution": [NM] * 3,
            "chunk_sizes": [[64] * 3], "encoding": "raw"}]}))
    rnd, none = random.Random(1), bytes(64)
    for x in range(0, size[0], 64):
        n = min(64, size[0] - x)
        full = bytes(rnd.choice((0, 3)) for _ in range(5)) + bytes([3]) * 59
        write(os.path.join(path, "s", f"{x}-{x + n}_0-64_0-64"), b"".join(
            (full if 8 <= y < 40 + rnd.randrange(4) and 8 <= z < 40 else none)[:n]
            for z in range(64) for y in range(64)))
    got = []
    for n in "1", "5":
        with Server("--cpu-threads", n) as s:
            s.add_layer("rough", path)
            names = s.get(f"/rough/mesh/3:0{LATE}").json()["fragments"]
            got.append([s.get(f"/rough/mesh/{name}").body for name in names])
            is_(f"{n} threads stop cleanly", s.stop(), 0)
    is_("a rod of five pieces", len(got[0]), 5)
    ok("is the same bytes by one thread and by several", got[0] == got[1])


with Server() as s:
    path = os.path.join(s.own.name, "labels")
    count = make(path)
    s.add_layer("seg", path)
    info = s.get("/seg/info").json()
    ok("its info names meshes and skeletons", info["mesh"] in ("mesh", "mesh.1") and
       info["skeletons"] == "skeleton")
    is_("and has all that it had", info["kept"], [1, 2])
    is_("HEAD looks for nothing", s.request("HEAD", "/seg/mesh/7:0").status, 404)
    is_("an unlisted origin neither",
        s.get("/seg/mesh/7:0", Origin="https://evil.example").status, 403)
    is_("nothing was looked at", s.metrics()['floodgate_tasks_total{end="done"}'], 0)
    is_("an object that is not there", s.get(f"/seg/mesh/8:0{LATE}").status, 404)
    is_("nor anything of it", s.get(f"/seg/skeleton/8{LATE}").status, 404)
    for i, n in count.items():
        _, xyz, triangles = fetch(s, "seg", i)
        v = volume(xyz, triangles, NM)
        ok(f"{i} is closed and has {v:.0f} of {n} voxels",
           unmatched(triangles) == 0 and abs(v - n) < 0.1 * n)
    ok("the rod has pieces in two blocks", len(s.get(
        f"/seg/mesh/{2 ** 64 - 1}:0").json()["fragments"]) == 2)
    b = s.get(f"/seg/skeleton/{2 ** 64 - 1}{LATE}").body
    n, e = struct.unpack_from("<II", b)
    xyz = struct.unpack_from(f"<{3 * n}f", b, 8)
    ok(f"its skeleton is one line from end to end, {n} vertices",
       e == n - 1 and max(xyz[::3]) - min(xyz[::3]) > 0.9 * SIZE[0] * NM)
    with Server("--skeleton-whole-mvx", "0.001") as by_blocks:
        by_blocks.add_layer("seg", path)
        b = by_blocks.get(f"/seg/skeleton/{2 ** 64 - 1}{LATE}").body
        m, k = struct.unpack_from("<II", b)
        there = struct.unpack_from(f"<{3 * m}f", b, 8)
        ends = [abs(f(xyz[::3]) - f(there[::3])) for f in (min, max)]
        ok(f"block by block it is one line of the same length, {m} vertices",
           k == m - 1 and max(ends) <= 3 * NM and abs(m - n) <= 0.05 * n)
    if s.get("/seg/mesh.1/info").status == 200:
        is_("levels of detail", s.get(f"/seg/mesh.1/{BIG}.index{LATE}").status, 200)
        ok("with their data", len(s.get(f"/seg/mesh.1/{BIG}").body) > 100)
        is_("none of what is not there", s.get("/seg/mesh.1/8.index").status, 404)
    want = [s.get(f"/seg/mesh/{i}:0").body for i in count]
    is_("stops cleanly", s.stop(), 0)
    s.start()
    is_("after a restart the same", [s.get(f"/seg/mesh/{i}:0").body for i in count], want)
    is_("from the index", s.metrics()['floodgate_tasks_total{end="done"}'], 0)
    is_("what is not there is known not to be", s.get(f"/seg/mesh/9:0{LATE}").status, 404)

    places(s.own.name)
    threads(s.own.name)
    own = os.path.join(s.own.name, "own")
    make(own, mesh="m")
    write(os.path.join(own, "m", "7:0"), '{"fragments":["a"]}')
    s.add_layer("own", own)
    is_("a layer with meshes of its own keeps them", s.get("/own/m/7:0").body,
        b'{"fragments":["a"]}')
    is_("its info byte for byte", s.get("/own/info").body,
        open(os.path.join(own, "info"), "rb").read())
    is_("and none are made", s.get(f"/own/mesh/7:0{LATE}").status, 404)

    other = os.path.join(s.own.name, "other")
    make(other)
    s.add_layer("many", other)
    run = [TOOL, "mesh", "many", "--root", s.root, "--json"]
    is_("the tool, through the daemon", [json.loads(subprocess.run(
        run, capture_output=True, check=True).stdout)[k] for k in ("done", "failed")],
        [3, 0])
    is_("they are there", s.request("HEAD", f"/many/mesh/{BIG}:0").status, 200)
    r = s.call("POST", "/api/jobs", {"layer": "many"})
    is_("other stages are not for it", r.status, 400)
    r = s.call("POST", "/api/jobs", {"layer": "many", "stages": ["mesh"], "dry_run": True})
    is_("nor a dry run", r.status, 400)
    is_("stops cleanly", s.stop(), 0)
    run[1] = "skeleton"
    is_("and without it", [json.loads(subprocess.run(
        run + ["--box", "0-9_40-41_30-31"], capture_output=True, check=True).stdout)[k]
        for k in ("done", "failed")], [3, 0])
    s.start()

    # An error of its own: fewer triangles, and the levels say so.
    rough = s.call("POST", "/api/layers", {"name": "rough", "source": other,
                                           "mesh_error_nm": 60})
    is_("a layer with an error of 60 nm", rough.status, 201)
    exact = s.call("POST", "/api/layers", {"name": "exact", "source": other,
                                           "mesh_error_nm": 0})
    is_("and one with none", exact.status, 201)
    sizes = [len(s.get(f"/{layer}/mesh/{BIG}.ply{LATE}").body)
             for layer in ("exact", "many", "rough")]
    ok(f"the more error the smaller: {sizes}", sizes[0] > sizes[1] > sizes[2])
    said = [x["stats"]["error_nm"] for x in s.get("/api/status").json()["recent"]
            if "error_nm" in x.get("stats", {})]
    ok(f"it is recorded: {said}", {0, 60} <= set(said))
    if s.get("/rough/mesh.1/info").status == 200:
        scale = [struct.unpack_from("<f", s.get(
            f"/{layer}/mesh.1/{BIG}.index{LATE}").body, 28)[0]
            for layer in ("exact", "many", "rough")]
        ok(f"and what the finest level is said to be off: {scale}",
           scale[0] < NM <= scale[1] < 60 <= scale[2] < 70)
    r = s.call("POST", "/api/layers", {"name": "no", "source": other, "mesh_error_nm": -1})
    is_("an error below zero", r.status, 400)
    has("says so", r.body, b"mesh_error_nm")

    s.add_layer("huge", "phantom:seed=1,size=65536,labels=1")
    ok("a huge one names none", "mesh" not in s.get("/huge/info").json())
    r = s.get(f"/huge/mesh/7:0{LATE}")
    is_("and says what to do", r.status, 500)
    has("with the command", r.body, b"floodgate mesh huge")
done()
