#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Meshes of objects that are too large: refused in one line that names the limit, for good,
# with the memory that the limit allows; the daemon goes on.
import json
import os
import random

from lib import Server, done, has, is_, ok, write

SIZE, CHUNK = (192, 128, 128), 64
NOISE, BALL, DOT, MESS, LATE = 9, 7, 5, 3, "?wait=100"


def make(path):
    """Half of the first 128 planes of x at random; behind them a mess, a ball, a voxel."""
    write(os.path.join(path, "info"), json.dumps({
        "@type": "neuroglancer_multiscale_volume", "type": "segmentation",
        "data_type": "uint8", "num_channels": 1, "scales": [{
            "key": "s", "size": SIZE, "voxel_offset": [0] * 3, "resolution": [10] * 3,
            "chunk_sizes": [[CHUNK] * 3], "encoding": "raw"}]}))
    rnd = random.Random(1)
    table = bytes(NOISE * (v & 1) for v in range(256))
    for z in range(0, SIZE[2], CHUNK):
        for y in range(0, SIZE[1], CHUNK):
            for x in range(0, SIZE[0], CHUNK):
                if x < 128:
                    voxels = rnd.randbytes(CHUNK ** 3).translate(table)
                elif y or z:
                    continue
                else:
                    voxels = bytes(
                        BALL * ((a - 40) ** 2 + (b - 32) ** 2 + (c - 32) ** 2 <= 120) or
                        DOT * ((a, b, c) == (60, 60, 60)) or
                        MESS * (1 < a < 26 and rnd.random() < 0.5)
                        for c in range(CHUNK) for b in range(CHUNK) for a in range(CHUNK))
                name = "_".join(f"{a}-{a + CHUNK}" for a in (x, y, z))
                write(os.path.join(path, "s", name), voxels)


def peak_mb(s):
    with open(f"/proc/{s.process.pid}/status") as f:
        return next(int(line.split()[1]) >> 10 for line in f if line.startswith("VmHWM"))


def refused(s, i, setting, path=None):
    path = path or f"/seg/mesh/{i}:0"
    r = s.get(path + LATE)
    is_(f"{path}: 500", r.status, 500)
    text = r.json()["error"]
    has(f"that names the limit: {text}", text, setting)
    has("and the object", text, f"object {i} ")
    ok("in one line", "\n" not in text and len(r.body) < 600)
    runs = s.metrics()['floodgate_tasks_total{end="failed"}']
    is_("the same again", s.get(path).status, 500)
    is_("without another try", s.metrics()['floodgate_tasks_total{end="failed"}'], runs)


def well(s):
    is_("the small one beside it", s.get(f"/seg/mesh/{DOT}:0{LATE}").status, 200)
    is_("the daemon is well", s.get("/healthz").status, 200)


with Server("--mesh-piece-mb", "64") as s:
    make(os.path.join(s.own.name, "labels"))
    s.add_layer("seg", os.path.join(s.own.name, "labels"))
    well(s)
    before = peak_mb(s)
    refused(s, NOISE, "mesh_piece_mb")
    # Without it half a GB: 250 bytes a voxel.
    ok(f"{peak_mb(s)} MB, {before} before", peak_mb(s) - before < 300)
    well(s)

with Server("--mesh-max-mtri", "0.0001") as s:
    make(os.path.join(s.own.name, "labels"))
    s.add_layer("seg", os.path.join(s.own.name, "labels"))
    refused(s, BALL, "mesh_max_mtri")
    well(s)

with Server("--mesh-levels-mb", "1") as s:
    make(os.path.join(s.own.name, "labels"))
    s.add_layer("seg", os.path.join(s.own.name, "labels"))
    if s.get("/seg@multilod/info").status == 200 and \
            s.get(f"/seg@multilod/mesh.1/{BALL}.index{LATE}").status != 501:
        refused(s, MESS, "mesh_levels_mb", f"/seg@multilod/mesh.1/{MESS}.index")
        is_("the pieces are there all the same", s.get(f"/seg@legacy/mesh/{MESS}:0{LATE}").status, 200)
        is_("levels of a small one", s.get(f"/seg@multilod/mesh.1/{BALL}.index{LATE}").status, 200)
        well(s)
done()
