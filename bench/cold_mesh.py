#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long a viewer waits for a mesh that nobody has asked for before: a daemon serves a
label volume of at most one block (256^3), all objects of 1,000 voxels or more are asked
for, one after the other. From request to last byte: the legacy manifest, with which all
fragments are made, and on a second layer the multi-resolution manifest.

usage: cold_mesh.py BUILD LABELS.u32 NX NY NZ [OBJECTS]   (10 nm; OBJECTS: at most so many)
       cold_mesh.py BUILD LABELS.u32 NX NY NZ chunks

chunks: each chunk of 64^3 voxels is a layer of its own, and all of its labels are asked for
as a viewer does, over six connections that stay open: manifest and fragments, or on a second
layer the multi-resolution index and data. From the first request to the last byte, by the
clock, and the processor time of the daemon. That labels are found by looking at the voxels
comes before, and is told apart.
"""
import http.client
import json
import os
import queue
import sys
import threading
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


CONNECTIONS = 6  # of a browser to one host


def fetch(c, path, **headers):
    """The body, once it is there; c keeps its connection."""
    while True:
        c.request("GET", path, headers=headers)
        r = c.getresponse()
        body = r.read()
        if r.status in (200, 206):
            return body
        if r.status not in (429, 503):
            raise RuntimeError(f"{path}: {r.status} {body[:300]!r}")
        time.sleep(0.001)


def fetch_legacy(c, folder, i):
    manifest = json.loads(fetch(c, f"{folder}/{i}:0?wait=600"))
    return sum(len(fetch(c, f"{folder}/{f}")) for f in manifest["fragments"])


def fetch_multilod(c, folder, i):
    index = fetch(c, f"{folder}/{i}.index?wait=600")
    lods = int(np.frombuffer(index, "<u4", 1, 24)[0])
    counts = np.frombuffer(index, "<u4", lods, 28 + 16 * lods)
    at, sizes = 28 + 20 * lods, []
    for n in counts:
        sizes.append(int(np.frombuffer(index, "<u4", n, at + 12 * int(n)).sum()))
        at += 16 * int(n)
    # The finest level comes first; a viewer that is close takes it.
    return len(fetch(c, f"{folder}/{i}", Range=f"bytes=0-{sizes[0] - 1}"))


def cpu_s(s):
    with open(f"/proc/{s.process.pid}/stat", encoding="utf-8") as f:
        words = f.read().rsplit(")", 1)[1].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def all_labels(s, fetch_one, folder, ids):
    """Seconds by the clock, bytes."""
    todo, sizes, wrong = queue.SimpleQueue(), [], []
    for i in ids:
        todo.put(i)
    start = threading.Barrier(CONNECTIONS + 1)

    def work():
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=600)
        try:
            c.connect()
            start.wait()
            while True:
                sizes.append(fetch_one(c, folder, todo.get_nowait()))
        except queue.Empty:
            c.close()
        except Exception as e:  # pylint: disable=broad-except
            wrong.append(e)
            start.abort()  # nobody waits for this one

    workers = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for w in workers:
        w.start()
    try:
        start.wait()
    except threading.BrokenBarrierError:
        pass  # one says why
    t = time.monotonic()
    for w in workers:
        w.join()
    t = time.monotonic() - t
    if wrong:
        sys.exit(f"{folder}: {wrong[0]}")
    return t, sum(sizes)


def say_chunks(what, seconds, found, cpu, size):
    n, ms = len(seconds), sorted(1e3 * v for v in seconds)
    print(f"{what:10} {n} chunks: mean {sum(ms) / n:.1f} ms, median {ms[n // 2]:.1f}, p95 "
          f"{ms[n * 95 // 100]:.1f}, worst {ms[-1]:.1f}; processor {1e3 * cpu / n:.1f} ms, "
          f"{size / n / 1e3:.1f} kB a chunk; objects found in {1e3 * found / n:.1f} ms",
          flush=True)


def chunks(a):
    grid = [range(0, n - 63, 64) for n in a.shape]
    parts = [a[x:x + 64, y:y + 64, z:z + 64]
             for z in grid[2] for y in grid[1] for x in grid[0]]
    with Server() as s:
        for form, fetch_one in ("legacy", fetch_legacy), ("multilod", fetch_multilod):
            seconds, found, cpu, size = [], 0, 0, 0
            for k, part in enumerate(parts):
                path = os.path.join(s.own.name, f"{form}{k}")
                layer = f"{form}{k}"
                make(path, part)
                s.add_layer(layer, path)
                t = time.monotonic()
                s.get(f"/{layer}/mesh/4294967295:0?wait=600")  # finds all objects
                found += time.monotonic() - t
                mesh = s.get(f"/{layer}@{form}/info").json()["mesh"]
                before = cpu_s(s)
                t, n = all_labels(s, fetch_one, f"/{layer}/{mesh}",
                                  [int(i) for i in np.unique(part) if i])
                seconds.append(t)
                cpu += cpu_s(s) - before
                size += n
            say_chunks(form, seconds, found, cpu, size)


def main():
    shape = [int(v) for v in sys.argv[3:6]]
    a = np.fromfile(sys.argv[2], np.uint32).reshape(shape, order="F")
    if sys.argv[6:] == ["chunks"]:
        chunks(a)
        return
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
