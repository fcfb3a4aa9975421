#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# NAME.agg: the blocks of a segmentation stitched to whole objects. The image is cells
# between closed walls, so the truth is known: one object a cell, in whatever order the
# blocks came.
import os
import random
import struct

from lib import Server, Volume, done, is_, ok, tiny_ffn, wait_for, write_tiny_model

SIZE, OFFSET = (96, 96, 96), (8, 0, -16)
BLOCK, PERIOD, WALL, SHIFT = 48, 24, 7, 15  # cells lie across the planes at 48
BLOCKS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]


def chunks(chunk=24):
    for z in range(0, SIZE[2], chunk):
        for y in range(0, SIZE[1], chunk):
            for x in range(0, SIZE[0], chunk):
                lo = (x, y, z)
                hi = tuple(min(a + chunk, n) for a, n in zip(lo, SIZE))
                name = "_".join(f"{a + o}-{b + o}" for a, b, o in zip(lo, hi, OFFSET))
                yield name, lo, hi


def read(s, layer, scale="8_8_8"):
    """{voxel: id} of all labelled voxels of a raw layer, and each chunk's tag."""
    out, tags = {}, {}
    for name, lo, hi in chunks():
        r = s.get(f"/{layer}/{scale}/{name}")
        if r.status != 200:
            print(f"# {name}: {r.status} {r.body!r}")
            continue
        tags[name] = r["ETag"]
        ids = struct.unpack(f"<{len(r.body) // 8}Q", r.body)
        i = 0
        for z in range(lo[2], hi[2]):
            for y in range(lo[1], hi[1]):
                for x in range(lo[0], hi[0]):
                    if ids[i]:
                        out[x, y, z] = ids[i]
                    i += 1
    return out, tags


def cell(v):
    return tuple((a + SHIFT) // PERIOD for a in v)


def add(s, top, name, **more):
    r = s.call("POST", "/api/layers", {"name": name, "ffn": tiny_ffn(
        os.path.join(top, "net"), encoding="raw", block=[BLOCK] * 3, chunk=[24] * 3,
        halo=[16] * 3, **more)})
    if r.status != 201:
        print(f"Bail out! {r.body!r}")
        raise SystemExit(1)


def make(s, layer, order):
    """Ask for a chunk of each block in that order, then wait until all is stitched."""
    for b in order:
        lo = [a * BLOCK for a in b]
        hi = [a + 24 for a in lo]
        name = "_".join(f"{a + o}-{b + o}" for a, b, o in zip(lo, hi, OFFSET))
        r = s.get(f"/{layer}/8_8_8/{name}?wait=100")
        if r.status != 200:
            print(f"Bail out! {name}: {r.status} {r.body!r}")
            raise SystemExit(1)
    settle(s)


def settle(s):
    def still():
        m = s.metrics()
        return not any(m[f"floodgate_tasks_{x}"] for x in (
            "running", "committing", 'queued{class="idle"}', 'queued{class="bulk"}'))
    wait_for("idle", still)


def names_of(voxels):
    """{cell: set of ids}"""
    out = {}
    for v, i in voxels.items():
        out.setdefault(cell(v), set()).add(i)
    return out


with Server() as s:
    top = os.path.dirname(s.root)
    # A field of view sees four voxels to each side: not through a wall.
    Volume(os.path.join(top, "em"), SIZE, OFFSET, dark=lambda *v: any(
        (a + SHIFT) % PERIOD < WALL for a in v))
    write_tiny_model(os.path.join(top, "net"))
    s.add_layer("em", os.path.join(top, "em"))
    results = {}
    for k, order in enumerate((BLOCKS, BLOCKS[::-1], random.Random(3).sample(BLOCKS, 8))):
        add(s, top, f"seg{k}")
        make(s, f"seg{k}", order)
        base, _ = read(s, f"seg{k}")
        whole, _ = read(s, f"seg{k}.agg")
        before, after = names_of(base), names_of(whole)
        if k == 0:
            is_("base objects end at blocks", sorted(map(len, before.values()))[-3:],
                [4, 4, 8])
            ok("there are many cells", len(before) >= 27)
        is_("each cell is one object", {c: len(n) for c, n in after.items()
                                        if len(n) != 1}, {})
        is_("no object is two cells", len(set.union(*after.values())), len(after))
        is_("it has the smallest of its members' ids",
            {c: min(n) for c, n in before.items()}, {c: min(n) for c, n in after.items()})
        is_("no voxel came or went", whole.keys(), base.keys())
        results[k] = whole
    is_("any order gives the same ids", results[1], results[0])
    is_("any order at all", results[2], results[0])
    coarse = s.get("/seg0.agg/info").json()["scales"][1]
    ok("there is a coarse scale", coarse["key"] == "16_16_16")
done()
