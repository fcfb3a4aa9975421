#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Levels of detail of real neurites, a part of the FIB-25 ground truth in blocks: no edge of
any level is without its partner, across fragments and blocks, and no coarser level is farther
off than it says. Read as levels.py reads generated ones."""
import os
import subprocess
import tempfile

from levels import (BLOCK, PEER, SPACING, Manifest, apart, cKDTree, done, dots, fragments, is_,
                    missing, np, ok, place, unbalanced)

try:
    from sample import ground_truth
except ModuleNotFoundError as e:
    missing(f"Python package of tests/requirements.txt: {e}")


def check_sample(a, top):
    raw, nm, most = os.path.join(top, "labels"), np.array([10.0] * 3), 2 ** 16 - 1
    a.ravel(order="F").tofile(raw)
    mesh = os.path.join(top, "sample")
    os.mkdir(mesh)
    subprocess.run([PEER, "levels", raw, *map(str, a.shape), *["10"] * 3, mesh, str(BLOCK), "16",
                    "10", "0", "0", "0"], check=True)
    ids, count = np.unique(a[a > 0], return_counts=True)
    edges, far, levels, triangles = 0, [], [], 0
    for label in map(int, ids[count >= 1000]):
        with open(f"{mesh}/{label}.index", "rb") as f:
            m = Manifest(f.read())
        with open(f"{mesh}/{label}", "rb") as f:
            parts, _ = fragments(m, f.read())
        edges += sum(unbalanced(p, most) for p in parts)
        levels.append(m.levels)
        triangles += sum(len(t) for _, _, t in parts[0])
        fine = dots(*place(m, 0, parts[0], most), SPACING)
        fine = fine, cKDTree(fine)
        for level in range(1, m.levels):
            off = apart(dots(*place(m, level, parts[level], most), SPACING), fine)
            far.append((off - SPACING / 3 ** 0.5) / m.scale[level])
    ok(f"FIB-25: {len(levels)} objects of {triangles} triangles, levels {min(levels)} to "
       f"{max(levels)}", len(levels) > 10 and max(levels) > 2)
    is_("FIB-25: edges without partner, all levels", edges, 0)
    ok(f"FIB-25: {len(far)} coarser levels, the worst {max(far):.2f} of its scale off "
       f"({nm[0]:g} nm)", max(far) <= 1)


def main():
    if not os.path.exists(PEER):
        missing("tests/mesh/peer (make check builds it)")
    part = ground_truth()[60:140, 60:140, 60:140]
    with tempfile.TemporaryDirectory() as top:
        check_sample(np.asfortranarray(part.astype(np.uint64)), top)
    done()


main()
