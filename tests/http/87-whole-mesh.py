#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Meshes and skeletons of stitched objects: closed over the borders of blocks, made again
# when an object grows, and the same as ever for a viewer that loaded them before.
import array
import json
import sqlite3
import struct

from lib import Server, add_cells, done, is_, ok, wait_for
from surface import fetch, unmatched, volume

SIZE, OFFSET = (96, 96, 96), (8, 0, -16)
BLOCK, NM = 48, 8
BLOCKS = [(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)]
LATE = "?wait=100"


def settle(s):
    def still():
        m = s.metrics()
        return not any(m[f"floodgate_tasks_{x}"] for x in (
            "running", "committing", 'queued{class="idle"}', 'queued{class="bulk"}'))
    wait_for("idle", still)


def make(s, block):
    lo = [a * BLOCK for a in block]
    name = "_".join(f"{a + o}-{a + 24 + o}" for a, o in zip(lo, OFFSET))
    is_(f"block {block}", s.get(f"/seg/8_8_8/{name}{LATE}").status, 200)
    settle(s)


def read(s, layer):
    """{id: set of voxels}"""
    out = {}
    for z in range(0, 96, 24):
        for y in range(0, 96, 24):
            for x in range(0, 96, 24):
                lo = [a + o for a, o in zip((x, y, z), OFFSET)]
                name = "_".join(f"{a}-{a + 24}" for a in lo)
                # Such a request starts nothing.
                r = s.get(f"/{layer}/8_8_8/{name}", If_None_Match='"x"')
                for i, v in enumerate(array.array("Q", r.body) if r.status == 200 else ()):
                    if v:
                        out.setdefault(v, set()).add((
                            lo[0] + i % 24, lo[1] + i // 24 % 24, lo[2] + i // 576))
    return out


def pieces(s, layer, i):
    return s.get(f"/{layer}/mesh/{i}:0{LATE}").json()["fragments"]


def check(s, layer, known):
    wrong = []
    for i, voxels in known.items():
        _, xyz, tri = fetch(s, layer, i)
        v = volume(xyz, tri, NM)
        if unmatched(tri) or abs(v - len(voxels)) > 0.25 * len(voxels) + 2:
            wrong.append((i, unmatched(tri), v, len(voxels)))
    return wrong


def levels(s, directory, i):
    return [s.get(f"/seg.agg/{directory}/{i}{e}{LATE}").body for e in (".index", "")]


def tags(s, i, many):
    """Tags of all that an object has, in the newest epoch where there are levels."""
    epoch = s.get("/seg.agg@multilod/info").json()["mesh"]
    files = {"manifest": f"mesh/{i}:0", "skeleton": f"skeleton/{i}"}
    files.update((p, f"mesh/{p}") for p in pieces(s, "seg.agg", i))
    if many:
        files.update({"index": f"{epoch}/{i}.index", "levels": f"{epoch}/{i}"})
    return {k: s.get(f"/seg.agg/{path}{LATE}")["ETag"] for k, path in files.items()}


def bone(s, i):
    """Its vertices as voxels, edges, and how many trees they make."""
    b = s.get(f"/seg.agg/skeleton/{i}{LATE}").body
    n, e = struct.unpack_from("<II", b)
    xyz = struct.unpack_from(f"<{3 * n}f", b, 8)
    edge = struct.unpack_from(f"<{2 * e}I", b, 8 + 12 * n)
    return [tuple(int(c // NM) for c in xyz[k:k + 3]) for k in range(0, 3 * n, 3)], n - e


def skeleton_runs(s):
    """Pieces made and taken over by each task."""
    db = sqlite3.connect(f"file:{s.root}/index.sqlite?mode=ro", uri=True)
    all_ = [json.loads(v) for v, in db.execute("SELECT stats FROM runs ORDER BY run") if v]
    db.close()
    return [{k: v[k] for k in ("pieces", "reused")} for v in all_
            if "vertices" in v and "reused" in v and v["pieces"] + v["reused"]]


# Skeletons of all but the smallest objects are made block by block.
with Server("--skeleton-whole-mvx", "0.001") as s:
    add_cells(s, SIZE, OFFSET, BLOCK)
    many = s.get("/seg.agg@multilod/info").status == 200 and s.get(
        "/seg.agg/mesh.1/info").status == 200

    make(s, BLOCKS[0])
    first = read(s, "seg.agg")
    # The object in the corner of the block that all eight blocks share.
    corner = tuple(47 + o for o in OFFSET)
    i = next(k for k, v in first.items() if corner in v)
    before = {x: s.get(f"/seg.agg/mesh/{x}").body for x in pieces(s, "seg.agg", i)}
    is_("closed where the next block is not made", check(s, "seg.agg", {i: first[i]}), [])
    old = s.get("/seg.agg@multilod/info").json()["mesh"]
    frozen = levels(s, old, i) if many else None
    short, _ = bone(s, i)
    ok("a skeleton of the first part", set(short) <= first[i])

    for b in BLOCKS[1:]:
        make(s, b)
        bone(s, i)
    stats = skeleton_runs(s)
    ok(f"skeletons from pieces, of which some stay when it grows: {stats}",
       sum(r["pieces"] > 1 for r in stats) > 2 and any(r["reused"] for r in stats))
    known, base = read(s, "seg.agg"), read(s, "seg")
    ok("the object has grown over eight blocks", len(known[i]) > 4 * len(first[i]))
    new = s.get("/seg.agg@multilod/info").json()["mesh"]
    ok(f"a later epoch: {old}, then {new}", new != old)
    if many:
        is_("a viewer with the old info gets the bytes it got", levels(s, old, i), frozen)
        b = s.get(f"/seg.agg/{old}/{i}", Range="bytes=5-50").body
        is_("and ranges of these", b, frozen[1][5:51])
        fresh = levels(s, new, i)
        ok("one that loads it now gets the new object", len(fresh[1]) > len(frozen[1]))
        is_("in the old epoch still the old one", levels(s, old, i), frozen)
        other = next(k for k in known if k != i)
        late = levels(s, old, other)
        ok("an object that was not asked for before is as it is now", len(late[1]) > 0)
        is_("in a new epoch too", levels(s, new, other), late)
    now = pieces(s, "seg.agg", i)
    ok(f"the manifest names more pieces: {len(before)}, then {len(now)}",
       len(now) > len(before))
    is_("the pieces of the old manifest are as they were",
        {x: s.get(f"/seg.agg/mesh/{x}").body for x in before}, before)
    is_(f"{len(known)} objects are closed over all borders", check(s, "seg.agg", known), [])
    is_(f"{len(base)} base objects by themselves too", check(s, "seg", base), [])
    names = [k for k, v in base.items() if v <= known[i]]
    is_("every member is a name of it", {tuple(pieces(s, "seg.agg", k)) for k in names},
        {tuple(now)})
    at, trees = bone(s, i)
    ok("the skeleton is one tree in the whole object",
       trees == 1 and set(at) <= known[i] and not set(at) <= first[i])
    is_("stops cleanly", s.stop(), 0)
    s.start()
    if many:
        is_("after a restart the old epoch", levels(s, old, i), frozen)
        is_("and the new one", levels(s, new, i), fresh)
    is_("and the pieces", pieces(s, "seg.agg", i), now)
    is_("with nothing to do", s.metrics()['floodgate_tasks_total{end="done"}'], 0)

    # A decision about two others: what this object has keeps its tags.
    pair = sorted(k for k in known if k != i)[:2]
    mine, theirs = tags(s, i, many), tags(s, pair[0], many)
    is_("two others are joined", s.call("POST", "/api/layers/seg/edits", {
        "join": [pair]}).status, 201)
    is_("its files keep their tags", tags(s, i, many), mine)
    ok("theirs do not", all(tags(s, pair[0], many)[k] != theirs[k]
                            for k in ("manifest", "skeleton")))
done()
