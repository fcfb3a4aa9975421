#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a viewer waits for a mesh that nobody has asked for before: a daemon serves a
label volume of at most one block (256^3), all objects of 1,000 voxels or more are asked
for, one after the other. From request to last byte: the legacy manifest, with which all
fragments are made, and on a second layer the multi-resolution manifest.

usage: cold_mesh.py BUILD LABELS.u32 NX NY NZ [OBJECTS]   (10 nm; OBJECTS: at most so many)
"""
import json
import os
import sys
import time

os.environ["builddir"] = os.path.abspath(sys.argv[1])
sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests",
                                "http"))
import numpy as np  # noqa: E402
from lib import Server, write  # noqa: E402


def make(path, a):
    write(os.path.join(path, "info"), json.dumps({
        "@type": "neuroglancer_multiscale_volume", "type": "segmentation",
        "data_type": "uint32", "num_channels": 1, "scales": [{
            "key": "s", "size": a.shape, "voxel_offset": [0] * 3, "resolution": [10] * 3,
            "chunk_sizes": [[64] * 3], "encoding": "raw"}]}))
    for x in range(0, a.shape[0], 64):
        for y in range(0, a.shape[1], 64):
            for z in range(0, a.shape[2], 64):
                part = a[x:x + 64, y:y + 64, z:z + 64]
                name = "_".join(f"{o}-{o + n}" for o, n in zip((x, y, z), part.shape))
                write(os.path.join(path, "s", name), part.tobytes(order="F"))


def ask(s, path):
    t = time.monotonic()
    r = s.get(path + "?wait=600")
    if r.status != 200:
        sys.exit(f"{path}: {r.status} {r.body[:300]!r}")
    return time.monotonic() - t


def say(what, times):
    seconds, size = zip(*sorted(times))
    n = len(seconds)
    print(f"{what:10} {n} objects: median {1e3 * seconds[n // 2]:.0f} ms, p95 "
          f"{1e3 * seconds[n * 95 // 100]:.0f}, worst {1e3 * seconds[-1]:.0f} "
          f"({size[-1]} voxels)", flush=True)


def main():
    shape = [int(v) for v in sys.argv[3:6]]
    a = np.fromfile(sys.argv[2], np.uint32).reshape(shape, order="F")
    ids, count = np.unique(a, return_counts=True)
    objects = [(int(i), int(n)) for i, n in zip(ids, count) if i and n >= 1000]
    if len(sys.argv) > 6:
        objects = objects[::-(-len(objects) // int(sys.argv[6]))]
    with Server() as s:
        path = os.path.join(s.own.name, "labels")
        make(path, a)
        for layer, form in ("legacy", "{}:0"), ("multilod", "{}.index"):
            s.add_layer(layer, path)
            s.get(f"/{layer}/mesh/4294967295:0?wait=600")  # finds all objects
            folder = s.get(f"/{layer}@{layer}/info").json()["mesh"]
            say(layer, [(ask(s, f"/{layer}/{folder}/" + form.format(i)), n)
                        for i, n in objects])


main()
