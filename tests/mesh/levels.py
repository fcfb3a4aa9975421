#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Multi-resolution meshes through other eyes: the manifest is taken apart here, the
fragments are decoded by DracoPy, whole levels are read by CloudVolume. No border edge
between fragments may be without its partner, no triangle may cross the planes by which
the viewer cuts a node, and no level may be farther from the finest one than its scale."""
import json
import os
import struct
import subprocess
import sys
import tempfile
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http"))
from lib import BUILD, done, is_, missing, ok  # noqa: E402

os.environ.setdefault("CLOUD_VOLUME_DIR", os.path.join(BUILD, "cloudvolume"))
try:
    import DracoPy
    import numpy as np
    from scipy.spatial import cKDTree
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cloudvolume import CloudVolume
except ModuleNotFoundError as e:
    missing(f"Python package of tests/requirements.txt: {e}")

PEER = os.path.join(BUILD, "tests", "mesh", "peer")
NM = np.array([8.0, 8.0, 20.0])
ORIGIN = np.array([-5, 100, 30])
SHAPE = (150, 110, 75)
BLOCK = 32
SPACING = 8.0  # nm between the points by which surfaces are compared
BALL, TORUS, NEXT, DOT, SHEET = 7, 2**53 - 1, 2**33, 11, 12


def volume():
    """Two labels that touch, a torus, one voxel, and a sheet on the volume's low side."""
    x, y, z = np.ogrid[:SHAPE[0], :SHAPE[1], :SHAPE[2]]
    a = np.zeros(SHAPE, np.uint64)
    a[(x - 40) ** 2 + (y - 50) ** 2 + ((z - 37) * 1.3) ** 2 < 36 ** 2] = BALL
    a[(a == BALL) & (x + y > 96)] = NEXT
    ring = np.sqrt((x - 105) ** 2 + (y - 60) ** 2) - 32
    a[ring ** 2 + (z - 40) ** 2 < 100] = TORUS
    a[142, 3, 70] = DOT
    a[60:145, 0:3, 0:40] = SHEET
    return a


class Manifest:
    """The file ID.index, read as the format describes it."""

    def __init__(self, b):
        f = np.frombuffer(b, "<f4", 6)
        self.chunk, self.origin = f[:3].astype(float), f[3:].astype(float)
        self.levels = n = struct.unpack_from("<I", b, 24)[0]
        at = 28
        self.scale = np.frombuffer(b, "<f4", n, at)
        self.offset = np.frombuffer(b, "<f4", 3 * n, at + 4 * n)
        count = np.frombuffer(b, "<u4", n, at + 16 * n)
        at += 20 * n
        self.at, self.bytes = [], []
        for k in map(int, count):
            self.at.append(np.frombuffer(b, "<u4", 3 * k, at).reshape(3, k).T)
            self.bytes.append(np.frombuffer(b, "<u4", k, at + 12 * k))
            at += 16 * k
        self.whole = at == len(b)


def fragments(m, data):
    """Per level: list of (node, integer positions, triangles); empty nodes left out."""
    out, off = [], 0
    for level in range(m.levels):
        out.append([])
        for at, n in zip(m.at[level], map(int, m.bytes[level])):
            if n:
                d = DracoPy.decode(data[off:off + n])
                out[-1].append((at, np.asarray(d.points).astype(np.int64),
                                np.asarray(d.faces).astype(np.int64)))
            off += n
    return out, off


def unbalanced(parts, most):
    """Edges that run more often one way than the other, all fragments put together."""
    p = np.concatenate([at * most + q for at, q, _ in parts])
    base = np.cumsum([0] + [len(q) for _, q, _ in parts])
    t = np.concatenate([t + b for (_, _, t), b in zip(parts, base)])
    _, v = np.unique(p, axis=0, return_inverse=True)
    t = v.reshape(-1)[t]
    e = np.concatenate([t[:, [0, 1]], t[:, [1, 2]], t[:, [2, 0]]])
    e = e[e[:, 0] != e[:, 1]]
    way = np.where(e[:, 0] < e[:, 1], 1, -1)
    n = len(v) + 1
    _, k = np.unique(e.min(1) * n + e.max(1), return_inverse=True)
    return int((np.bincount(k.reshape(-1), weights=way) != 0).sum())


def crossing(parts, middle):
    """Triangles with corners truly on both sides of a middle plane."""
    n = 0
    for _, q, t in parts:
        c = q[t]
        n += int(((c < middle).any(1) & (c > middle).any(1)).any(1).sum())
    return n


def place(m, level, parts, most):
    """Vertices (nm) and triangles of a level."""
    size = m.chunk * 2 ** level
    p = np.concatenate([m.origin + size * (at + q / most) for at, q, _ in parts])
    base = np.cumsum([0] + [len(q) for _, q, _ in parts])
    return p, np.concatenate([t + b for (_, _, t), b in zip(parts, base)])


def dots(p, t, spacing):
    """Points all over the triangles."""
    c = p[t]
    side = np.sqrt(((c - np.roll(c, 1, 1)) ** 2).sum(2)).max(1)
    out = [p]
    for n in range(1, int(np.ceil(side.max() / spacing)) + 1):
        some = c[np.ceil(side / spacing).astype(int) == n]
        if n == 1:
            out.append(some.mean(1))
        elif len(some):
            i, j = [v.reshape(-1) for v in np.mgrid[:n + 1, :n + 1]]
            i, j = i[i + j <= n] / n, j[i + j <= n] / n
            w = np.stack([1 - i - j, i, j], 1)
            out.append(np.einsum("kc,tcd->tkd", w, some).reshape(-1, 3))
    return np.concatenate(out)


def apart(a, b):
    """The Hausdorff distance of two surfaces from dots on both (b with its search tree):
    too large by what lies between the dots."""
    return max(b[1].query(a)[0].max(), cKDTree(a).query(b[0])[0].max())


def check_manifest(name, m, data, got):
    is_(f"{name}: the manifest's length is that of its counts", m.whole, True)
    is_(f"{name}: the data's length is the sum of the fragments", got, len(data))
    ok(f"{name}: scales grow: {np.round(m.scale, 1)}",
       (m.scale > 0).all() and (np.diff(m.scale) > 0).all())
    orphans = 0
    for below, above in zip(m.at, m.at[1:]):
        orphans += len({tuple(v) for v in below // 2} - {tuple(v) for v in above})
    is_(f"{name}: each node has a parent", orphans, 0)
    is_(f"{name}: one node on top", len(m.at[-1]), 1)


def check_object(name, folder, cv, label, bits, surface):
    with open(f"{folder}/{label}.index", "rb") as f:
        m = Manifest(f.read())
    with open(f"{folder}/{label}", "rb") as f:
        data = f.read()
    parts, got = fragments(m, data)
    most = 2 ** bits - 1
    check_manifest(name, m, data, got)
    ok(f"{name}: the grid", np.allclose(m.chunk, BLOCK * NM) and
       np.allclose(m.origin, (ORIGIN + 0.5) * NM))
    is_(f"{name}: edges without partner, level by level",
        [unbalanced(p, most) for p in parts], [0] * m.levels)
    is_(f"{name}: triangles across the middle, level by level",
        [crossing(p, 2 ** (bits - 1)) for p in parts[1:]], [0] * (m.levels - 1))
    step = float(np.linalg.norm(m.chunk / most)) / 2
    finest = place(m, 0, parts[0], most)
    # The finest level is the surface of the whole volume, but for the cap on the low side.
    inside = (surface >= m.origin - 0.01).all(1)
    far = cKDTree(finest[0]).query(surface[inside])[0].max()
    ok(f"{name}: the finest level is the surface: {far:.3g} nm of {step:.3g}",
       far <= step + 0.01 and (label == SHEET) == (not inside.all()))
    sizes = [sum(len(t) for _, _, t in p) for p in parts[1:]]
    fine = dots(*finest, SPACING)
    fine = fine, cKDTree(fine)
    for level in range(1, m.levels if bits == 16 else 0):
        p = place(m, level, parts[level], most)
        off = apart(dots(*p, SPACING), fine)
        ok(f"{name}: level {level}: {len(p[1])} triangles, {off:.1f} nm off, "
           f"scale {m.scale[level]:.1f}", off - SPACING / 3 ** 0.5 <= m.scale[level])
    ok(f"{name}: fewer triangles on top ({len(finest[1])}, {sizes})",
       m.levels == 1 or sizes[-1] < len(finest[1]) or len(finest[1]) < 600)
    wrong = []
    for level in range(m.levels):
        mesh = cv.mesh.get(label, lod=level)[label]
        p, t = place(m, level, parts[level], most)
        if len(mesh.faces) != len(t) or np.abs(np.sort(mesh.vertices, 0) -
                                               np.sort(p, 0)).max() > 0.5:
            wrong.append(level)
    is_(f"{name}: CloudVolume reads each level", wrong, [])


def main():
    if not os.path.exists(PEER):
        missing("tests/mesh/peer (make check builds it)")
    a = volume()
    with tempfile.TemporaryDirectory() as top:
        raw = os.path.join(top, "labels")
        a.ravel(order="F").tofile(raw)
        size = [str(v) for v in [*SHAPE, *NM]]
        plain = os.path.join(top, "plain")
        os.mkdir(plain)
        subprocess.run([PEER, "surfaces", raw, *size, plain], check=True)
        info = {"@type": "neuroglancer_multiscale_volume", "type": "segmentation",
                "data_type": "uint64", "num_channels": 1, "mesh": "mesh",
                "scales": [{"key": "0", "size": SHAPE, "voxel_offset": ORIGIN.tolist(),
                            "resolution": NM.tolist(), "chunk_sizes": [[64, 64, 64]],
                            "encoding": "raw"}]}
        for bits in (16, 10):
            path = os.path.join(top, str(bits))
            mesh = os.path.join(path, "mesh")
            os.makedirs(mesh)
            with open(os.path.join(path, "info"), "w") as f:
                json.dump(info, f)
            run = subprocess.run([PEER, "levels", raw, *size, mesh, str(BLOCK), str(bits),
                                  "8", *map(str, ORIGIN)], capture_output=True, text=True)
            if "libdraco" in run.stderr:
                missing("floodgate with libdraco (Debian package libdraco-dev)")
            is_(f"{bits} bits: made", run.stderr, "")
            cv = CloudVolume("file://" + path, use_https=False, progress=False)
            for label in (BALL, NEXT, TORUS, DOT, SHEET) if bits == 16 else (NEXT, DOT):
                with open(os.path.join(plain, str(label)), "rb") as f:
                    b = f.read()
                n = struct.unpack_from("<I", b)[0]
                s = np.frombuffer(b, "<f4", 3 * n, 4).reshape(n, 3) + ORIGIN * NM
                check_object(f"{bits} bits, {label}", mesh, cv, label, bits, s)
    done()


if __name__ == "__main__":
    main()
