#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Skeletons of a phantom beside its known centre lines: ours, traced in one go and from
blocks that share a layer, and kimimaro's, with the same parameters (the defaults; borders
only for the blocks). Prints a table for bench/RESULTS.md; processor seconds.

usage: skeleton.py BUILD [SIDE [BLOCK [KEY=VALUE,...]]]     (192, 96; phantom:seed=1)
       skeleton.py peers BUILD [SIDE [KEY=VALUE,...]]                     (512; seed=1)
       Speed and memory of distances and skeletons of such labels beside edt's and
       kimimaro's, one thread each, one after the other in this one run (bench/mesh_peers.py),
       and a table of both with the ratios; 512^3 takes about nine minutes
       BUILD: a build folder with bench/skeleton, bench/mesh and tests/mesh/peer
       (make bench check)
"""
import os
import struct
import subprocess
import sys
import tempfile
import time

import numpy as np
from scipy.spatial import cKDTree


def read_bones(folder):
    """{id: vertices (nm), edges}"""
    out = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), "rb") as f:
            b = f.read()
        nv, ne = struct.unpack_from("<II", b)
        out[int(name)] = (np.frombuffer(b, "<f4", 3 * nv, 8).reshape(nv, 3).astype(float),
                          np.frombuffer(b, "<u4", 2 * ne, 8 + 12 * nv).reshape(ne, 2))
    return out


def read_lines(path, labels):
    """{id: points half a voxel apart, where the label is the object's}"""
    out = {}
    for row in np.loadtxt(path, delimiter=",", ndmin=2, converters={0: int}, dtype=object):
        a, b = np.array(row[1:4], float), np.array(row[4:7], float)
        n = int(np.linalg.norm(b - a) * 2) + 2
        p = a + (b - a) * np.linspace(0, 1, n)[:, None]
        p = p[((p >= 0) & (p < labels.shape)).all(1)]
        p = p[labels[tuple(p.astype(int).T)] == row[0]]
        out.setdefault(int(row[0]), []).append(p)
    return {k: np.concatenate(v) for k, v in out.items() if sum(map(len, v)) > 40}


def kimimaro_bones(labels, nm):
    import kimimaro
    t = time.process_time()
    made = kimimaro.skeletonize(labels, anisotropy=nm, dust_threshold=1000, progress=False,
                                parallel=1, fix_borders=False)
    s = time.process_time() - t
    return s, {int(k): (np.asarray(v.vertices, float) + np.array(nm) / 2,
                        np.asarray(v.edges)) for k, v in made.items()}


def measure(bones, lines, nm):
    off, gap, cable = [], [], 0.0
    for k, line in lines.items():
        v, e = bones[k]
        off.append(cKDTree(line).query(v / nm)[0])
        gap.append(cKDTree(v / nm).query(line)[0])
        cable += float(np.linalg.norm(v[e[:, 0]] - v[e[:, 1]], axis=1).sum())
    return np.concatenate(off), np.concatenate(gap), cable / 1000


def near(a, b, nm):
    """Shares of a's vertices within two voxels of b's, and the reverse."""
    pairs = [(a[k][0] / nm, b[k][0] / nm) for k in a if k in b]
    return ((np.concatenate([cKDTree(q).query(p)[0] for p, q in pairs]) <= 2).mean(),
            (np.concatenate([cKDTree(p).query(q)[0] for p, q in pairs]) <= 2).mean())


def row(name, bones, lines, nm, seconds):
    off, gap, cable = measure(bones, lines, nm)
    print(f"| {name} | {len(off)} | {off.mean():.2f} | {np.median(off):.2f} | "
          f"{np.percentile(off, 95):.1f} | {gap.mean():.2f} | {np.percentile(gap, 95):.1f} | "
          f"{cable:.1f} | {seconds} |", flush=True)


def beside_peers(build, side="512", phantom="seed=1"):
    with tempfile.TemporaryDirectory() as top:
        subprocess.run([os.path.join(build, "bench", "skeleton"), top, side, phantom,
                        "labels"], check=True)
        raw = os.path.join(top, "labels")
        ids, labels = np.unique(np.fromfile(raw, np.uint64), return_inverse=True)
        labels = labels.ravel().astype(np.uint32) + np.uint32(ids[0] != 0)  # 0 stays 0
        labels.tofile(raw)
        print(f"phantom:{phantom}, {side}^3 voxels, {len(ids)} labels, "
              f"{(labels > 0).mean():.0%} of the voxels labelled", flush=True)
        del ids, labels
        peers = os.path.join(os.path.dirname(os.path.abspath(__file__)), "mesh_peers.py")
        subprocess.run([sys.executable, peers, os.path.join(build, "bench", "mesh"), raw,
                        *[side] * 3, "distances", "skeletons"], check=True)


def main():
    if sys.argv[1] == "peers":
        return beside_peers(*sys.argv[2:])
    build = sys.argv[1]
    side, block = (int(v) for v in (sys.argv[2:4] + ["192", "96"][len(sys.argv[2:4]):]))
    phantom = sys.argv[4] if len(sys.argv) > 4 else "seed=1"
    with tempfile.TemporaryDirectory() as top:
        out = subprocess.run([os.path.join(build, "bench", "skeleton"), top, str(side),
                              phantom], check=True, capture_output=True, text=True).stdout
        nm = np.array(out.split()[:3], float)
        seconds = out.split("\n")[1].split()[0]
        raw = os.path.join(top, "labels")
        labels = np.fromfile(raw, np.uint64).reshape([side] * 3, order="F")
        parts = os.path.join(top, "parts")
        os.mkdir(parts)
        subprocess.run([os.path.join(build, "tests", "mesh", "peer"), "joined", raw,
                        *[str(side)] * 3, *map(str, nm), parts, str(block), "tick=600",
                        "length=300"], check=True)
        ours, joined = read_bones(os.path.join(top, "bones")), read_bones(parts)
        taken, theirs = kimimaro_bones(labels, tuple(map(float, nm)))
        lines = read_lines(os.path.join(top, "lines.csv"), labels)
        lines = {k: v for k, v in lines.items() if k in ours and k in theirs and k in joined}
        print(f"phantom:{phantom}, {side}^3 voxels of {nm} nm, {len(lines)} objects that all "
              f"three have; {len(ours)}, {len(joined)} and {len(theirs)} skeletons\n\n"
              "| | vertices | off the line: mean | median | 95 % | line to vertex: mean | 95 % "
              "| cable, um | processor s |\n|---|---|---|---|---|---|---|---|---|")
        row("in one go", ours, lines, nm, seconds)
        row(f"from blocks of {block}^3", joined, lines, nm, "")
        row("kimimaro", theirs, lines, nm, f"{taken:.1f}")
        for name, other in ("kimimaro", theirs), ("the blocks", joined):
            a, b = near(other, ours, nm)
            print(f"\nWithin two voxels of those in one go: {a:.2%} of the vertices of {name}, "
                  f"the reverse {b:.2%}.")


main()
