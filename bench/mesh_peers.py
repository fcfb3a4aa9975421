#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bench/mesh beside zmesh, edt and kimimaro in one run: processor time of one thread, and
the most memory beyond the labels. Each figure comes from a process of its own.

usage: mesh_peers.py BENCH_MESH LABELS.u32 NX NY NZ [surfaces|distances|skeletons]...
                            ours, the peer's, the ratios; at last a table for RESULTS.md
       mesh_peers.py zmesh|edt|kimimaro LABELS.u32 NX NY NZ
"""
import re
import resource
import subprocess
import sys
import time

NM = (10, 10, 10)


def run_zmesh(a):
    import zmesh
    m = zmesh.Mesher(NM)
    m.mesh(a, close=True)
    return sum(len(m.get(i, normals=False, reduction_factor=0, max_error=0).faces)
               for i in m.ids())


def run_edt(a):
    import edt
    return edt.edt(a, anisotropy=NM, black_border=False, parallel=1).size


def run_kimimaro(a):
    import kimimaro
    return len(kimimaro.skeletonize(a, anisotropy=NM, dust_threshold=1000, progress=False,
                                    parallel=1))


def one(what, path, shape):
    import numpy as np
    run = {"zmesh": run_zmesh, "edt": run_edt, "kimimaro": run_kimimaro}[what]
    run(np.ones((9, 9, 9), np.uint32, order="F"))  # imports and first calls
    a = np.fromfile(path, np.uint32).reshape(shape, order="F")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    t = time.process_time()
    n = run(a)
    s = time.process_time() - t
    more = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{what:10} {s:8.3f} s {a.size / s / 1e6:8.2f} MVx/s {more:8.0f} MB\n"
          f"           {n}", flush=True)


def call(command):
    out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print(out, end="", flush=True)
    return [float(v) for v in re.search(r"([\d.]+) s +[\d.]+ MVx/s +(-?\d+) MB", out).groups()]


def main():
    program, path, shape = sys.argv[1], sys.argv[2], [int(v) for v in sys.argv[3:6]]
    if program in ("zmesh", "edt", "kimimaro"):
        return one(program, path, shape)
    args = [path, *map(str, shape)]
    only, table = sys.argv[6:], []
    for what, peer in ("surfaces", "zmesh"), ("distances", "edt"), ("skeletons", "kimimaro"):
        if only and what not in only:
            continue
        s, mb = call([program, *args, what])
        t, peer_mb = call([sys.executable, __file__, peer, *args])
        table.append(f"| {what} | {s:.2f} s, {mb:.0f} MB | {peer} {t:.2f} s, {peer_mb:.0f} MB "
                     f"| {t / s:.1f} | {mb / max(peer_mb, 1):.2f} |")
        print(f"{what}: {t / s:.1f} times {peer}, {mb / max(peer_mb, 1):.2f} of its memory",
              flush=True)
    print("\n| what | here | peer | times the peer | of its memory |\n|---|---|---|---|---|",
          *table, sep="\n")


main()
