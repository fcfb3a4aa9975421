#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What bench/mesh measures, with zmesh, edt and kimimaro: processor time, one thread.

usage: mesh_peers.py LABELS.u32 NX NY NZ
"""
import sys
import time

import edt
import kimimaro
import numpy as np
import zmesh

shape = [int(v) for v in sys.argv[2:5]]
a = np.fromfile(sys.argv[1], np.uint32).reshape(shape, order="F")


def say(what, began):
    s = time.process_time() - began
    print(f"{what:10} {s:8.3f} s {a.size / s / 1e6:8.2f} MVx/s", flush=True)


t = time.process_time()
m = zmesh.Mesher((10, 10, 10))
m.mesh(a, close=True)
n = sum(len(m.get(i, normals=False, reduction_factor=0, max_error=0).faces) for i in m.ids())
say("zmesh", t)
print(f"           {n} triangles")
t = time.process_time()
edt.edt(a, anisotropy=(10, 10, 10), black_border=False, parallel=1)
say("edt", t)
t = time.process_time()
k = kimimaro.skeletonize(a, anisotropy=(10, 10, 10), dust_threshold=1000, progress=False, parallel=1)
say("kimimaro", t)
print(f"           {len(k)} skeletons")
