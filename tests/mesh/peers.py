#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Surfaces, distances and skeletons beside those of zmesh, scipy, edt and kimimaro, of the
same labels: tubes whose centre lines are known, and the ground truth of the FIB-25 sample.

Skeletons are compared with the default parameters of both (scale 1.5, const 300 nm, soma
750 and 3500 nm, branching fixed, components of 1,000 voxels or less left out), but without
border targets, or with them in one order: kimimaro takes those as a Python set of tuples has
them, and what the first path covers decides which further ones there are.

Sums of penalties are floats, so that many ways cost the same, and many voxels are equally
far. Which of them counts has been read off kimimaro's results on made-up volumes and is the
same here (mesh/tree_heap.h), but for two things: a voxel equally near to two of a path with
different reach may be covered from the other one (the same order would take three times as
long: bench/RESULTS.md), and of targets equally far it may take any (its sort is not stable).
Tubes have to be the same; with neurites the comparison leaves room for these two, and more:
nine tenths of the objects have to have the same vertices, 99.9 and 99 % of the vertices to be
near."""
import os
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http"))
from lib import BUILD, done, is_, missing, ok  # noqa: E402

try:
    import edt
    import kimimaro
    import numpy as np
    import zmesh
    from sample import ground_truth
    from scipy import ndimage
    from scipy.spatial import cKDTree
except ModuleNotFoundError as e:
    missing(f"Python package of tests/requirements.txt: {e}")

# Shares of vertices within one and two voxels. Not what is wanted (99 %), but a little below
# what was measured when they were set: limits that show when something gets worse.
BLOCKS_ALIKE = 0.63, 0.67

PEER = os.path.join(BUILD, "tests", "mesh", "peer")


def ours(what, a, nm, *args):
    """Files by name, as tests/mesh/peer made them."""
    with tempfile.TemporaryDirectory() as top:
        raw, out = os.path.join(top, "labels"), os.path.join(top, "out")
        os.mkdir(out)
        a.astype(np.uint64).ravel(order="F").tofile(raw)
        subprocess.run([PEER, what, raw, *map(str, a.shape), *map(str, nm), out,
                        *map(str, args)], check=True)
        files = {}
        for name in os.listdir(out):
            with open(os.path.join(out, name), "rb") as f:
                files[name] = f.read()
        return files


def meshes(a, nm, *args):
    out = {}
    for name, b in ours("surfaces", a, nm, *args).items():
        n = struct.unpack_from("<I", b)[0]
        out[int(name)] = (np.frombuffer(b, "<f4", 3 * n, 4).reshape(n, 3).astype(float),
                          np.frombuffer(b, "<u4", -1, 4 + 12 * n).reshape(-1, 3))
    return out


def skeletons(a, nm, *args):
    """Vertices, edges, radii of each."""
    out = {}
    for name, b in ours("skeletons", a, nm, *args).items():
        nv, ne = struct.unpack_from("<II", b)
        out[int(name)] = (np.frombuffer(b, "<f4", 3 * nv, 8).reshape(nv, 3).astype(float),
                          np.frombuffer(b, "<u4", 2 * ne, 8 + 12 * nv).reshape(ne, 2),
                          np.frombuffer(b, "<f4", nv, 8 + 12 * nv + 8 * ne))
    return out


def cable(v, e):
    return float(np.linalg.norm(v[e[:, 0]] - v[e[:, 1]], axis=1).sum())


# ------------------------------------------------------------------ volumes

def curves():
    """Centre lines (voxels) and radii of tubes in a volume of 140 x 100 x 80."""
    t = np.linspace(0, 1, 2000)[:, None]
    line = [np.hstack([14 + 110 * t, 25 + 8 * np.sin(7 * t), 20 + 8 * np.cos(7 * t)]),
            np.hstack([20 + 95 * t, 60 + 25 * t ** 2, 25 + 40 * t]),
            np.hstack([70 + 45 * np.cos(5 * t), 50 + 38 * np.sin(5 * t), 62 + 0 * t]),
            np.hstack([15 + 95 * t, 88 - 20 * t, 11 + 3 * np.sin(9 * t)])]
    return line, [5, 6, 4.5, 6]


def tubes(lines, radii):
    shape = (140, 100, 80)
    a = np.zeros(shape, np.uint32)
    centre = np.stack(np.meshgrid(*[np.arange(n) + 0.5 for n in shape], indexing="ij"), -1)
    for i, (line, r) in enumerate(zip(lines, radii)):
        d = cKDTree(line).query(centre.reshape(-1, 3), distance_upper_bound=r)[0]
        a[(d < r).reshape(shape) & (a == 0)] = i + 1
    return a


# ------------------------------------------------------------------ comparisons

def check_distances(name, a, nm, labels):
    b = ours("distances", a, nm)["distances"]
    d = np.frombuffer(b, "<f4").reshape(a.shape, order="F")
    worst = 0
    for label in labels:
        mask = a == label
        want = ndimage.distance_transform_edt(mask, sampling=nm)
        worst = max(worst, float(np.abs(d[mask] / want[mask] - 1).max()))
        if label == labels[0]:
            is_(f"{name}: distances to the last bit of a float, as scipy's",
                int((d[mask] != want[mask].astype(np.float32)).sum()), 0)
    ok(f"{name}: {len(labels)} labels beside scipy: {worst:.1e} of the distance at most",
       worst < 1e-6)
    ok(f"{name}: background is 0", not d[a == 0].any())
    for border in (0, 1):
        b = ours("distances", a, nm, border)["distances"]
        d = np.frombuffer(b, "<f4").reshape(a.shape, order="F")
        want = edt.edt(np.asfortranarray(a), anisotropy=nm, black_border=bool(border))
        off = np.abs(d - want)[np.isfinite(want)].max()
        ok(f"{name}: all labels beside edt, black border {border}: {off:.1e} nm",
           off < 1e-2 and (np.isfinite(d) == np.isfinite(want)).all())


def volume_of(p, t):
    c = p[t] - p.mean(0)
    return float(np.einsum("ij,ij->i", c[:, 0], np.cross(c[:, 1], c[:, 2])).sum() / 6)


def area_of(p, t):
    c = p[t]
    return float(np.linalg.norm(np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]),
                                axis=1).sum() / 2)


def check_surfaces(name, a, nm):
    mine = meshes(a, nm)
    z = zmesh.Mesher(nm)
    z.mesh(np.asfortranarray(a), close=True)
    is_(f"{name}: surfaces of the same labels", sorted(mine), sorted(map(int, z.ids())))
    near, off_volume, off_area = 0.0, [], []
    for label in z.ids():
        m = z.get(label, normals=False, reduction_factor=0, max_error=0)
        # Voxel i is at i there, and closing has moved all by one.
        q, p = np.asarray(m.vertices, float) - np.array(nm) / 2, mine[int(label)][0]
        far = max(cKDTree(p / nm).query(q / nm)[0].max(),
                  cKDTree(q / nm).query(p / nm)[0].max())
        near = max(near, float(far))
        t = np.asarray(m.faces, np.int64)
        if (a == label).sum() > 1000:
            off_volume.append(abs(volume_of(*mine[int(label)]) /
                                  abs(volume_of(q, t)) - 1))
            off_area.append(abs(area_of(*mine[int(label)]) / area_of(q, t) - 1))
    ok(f"{name}: each vertex within {near:.3f} voxels of one of zmesh, and the reverse",
       near <= 0.5)
    ok(f"{name}: volumes within {max(off_volume):.2%}, areas within {max(off_area):.2%}",
       max(off_volume) < 0.01 and max(off_area) < 0.03)


def voxels(v, nm):
    return set(map(tuple, np.floor(v / nm).astype(int).tolist()))


def order_border_targets():
    """Kimimaro's border targets, of a set, in the order of ours from now on."""
    find = kimimaro.intake.compute_border_targets

    def ordered(*args):
        targets = find(*args)
        for k in list(targets):
            targets[k] = targets[k][np.lexsort(targets[k].T)]
        return targets

    kimimaro.intake.compute_border_targets = ordered


def check_skeletons(name, a, nm, shares, same, borders=False):
    """shares: of their vertices near ours, and the reverse; same: of the objects, those with
    the same vertices."""
    mine = skeletons(a, nm, f"borders={int(borders)}")
    theirs = kimimaro.skeletonize(a, anisotropy=nm, dust_threshold=1000, progress=False,
                                  parallel=1, fix_borders=borders)
    is_(f"{name}: skeletons of the same objects", sorted(mine), sorted(map(int, theirs)))
    mine = {k: mine[k] for k in mine if k in theirs}
    there, back, length, within, equal = [], [], [0.0, 0.0], 0, 0
    for label, (v, e, _) in mine.items():
        k = theirs[label]
        q = np.asarray(k.vertices, float) + np.array(nm) / 2
        there.append(cKDTree(v / nm).query(q / nm)[0])
        back.append(cKDTree(q / nm).query(v / nm)[0])
        one = cable(v, e), float(k.cable_length())
        length = [length[0] + one[0], length[1] + one[1]]
        within += abs(one[0] / one[1] - 1) < 0.05
        equal += voxels(v, nm) == voxels(q, nm)
    ok(f"{name}: cable length {length[0] / length[1]:.4f} of kimimaro's",
       abs(length[0] / length[1] - 1) < 0.05)
    ok(f"{name}: {within} of {len(mine)} objects within 5 %",
       within >= 0.95 * len(mine))
    ok(f"{name}: {equal} of {len(mine)} objects have the same vertices",
       equal >= same * len(mine))
    there, back = np.concatenate(there), np.concatenate(back)
    near = (there <= 2).mean(), (back <= 2).mean()
    ok(f"{name}: {near[0]:.2%} of kimimaro's vertices within 2 voxels of ours, "
       f"{near[1]:.2%} of ours of theirs", near[0] >= shares[0] and near[1] >= shares[1])
    return mine, theirs


def check_centre_lines(lines, mine, theirs, nm):
    for i, line in enumerate(lines):
        tree = cKDTree(line)
        theirs_v = np.asarray(theirs[i + 1].vertices, float) / nm + 0.5
        off = [tree.query(v)[0] for v in (mine[i + 1][0] / nm, theirs_v)]
        # Ends run out to the rim of the tube's end.
        off = [np.sort(o)[:int(len(o) * 0.85)] for o in off]
        ok(f"tube {i + 1}: off its centre line by {off[0].mean():.2f} voxels, "
           f"{off[0].max():.2f} at most (kimimaro {off[1].mean():.2f}, {off[1].max():.2f})",
           off[0].mean() < max(0.8, 1.1 * off[1].mean()) and off[0].max() < 3)


def check_all(a, nm):
    """Every object of the sample above 1,000 voxels."""
    label, count = np.unique(a, return_counts=True)
    size = {int(k): int(n) for k, n in zip(label, count) if k}
    large = sorted(k for k, n in size.items() if n > 1000)
    mine = meshes(a, nm)
    is_("ground truth: a surface for each label", sorted(mine), sorted(size))
    off, leaks = [], 0
    for k in large:
        p, t = mine[k]
        c = p[t] - p.mean(0)
        vector = np.cross(c[:, 1] - c[:, 0], c[:, 2] - c[:, 0]).sum(0)
        leaks += bool(np.abs(vector).max() > 1e-3 * area_of(p, t) ** 0.5)
        off.append(abs(volume_of(p, t) / (size[k] * np.prod(nm)) - 1))
    is_(f"ground truth: {len(large)} objects above 1,000 voxels, open surfaces", leaks, 0)
    ok(f"ground truth: they enclose their voxels: within {np.median(off):.2%} mostly, "
       f"{max(off):.1%} at most", np.median(off) < 0.01 and max(off) < 0.1)
    s = skeletons(a, nm)
    # An object may be dust only (components of 1,000 voxels or less).
    whole = ndimage.generate_binary_structure(3, 3)
    for k in sorted(set(large) - set(s)):
        box = ndimage.find_objects(a == k)[0]
        part = ndimage.label(a[box] == k, whole)[0]
        if np.bincount(part.ravel())[1:].max() > 1000:
            break
        large.remove(k)
    is_(f"ground truth: {len(s)} skeletons, of all with a component above 1,000 voxels",
        sorted(s), large)
    outside, loops = 0, 0
    for k, (v, e, r) in s.items():
        at = np.floor(v / nm).astype(int)
        # What lies in a hole of something thick counts as inside.
        outside += int((a[tuple(at.T)] != k).sum()) if r.max() <= 750 else 0
        loops += len(e) >= len(v)
    is_("ground truth: vertices outside their object", outside, 0)
    is_("ground truth: skeletons with loops", loops, 0)


def check_blocks(lines, a, nm, whole):
    """From cubes of 48 voxels that share a layer, joined: still on the centre lines."""
    out = {}
    for name, b in ours("joined", a, nm, 48, "const=100", "tick=200", "length=200").items():
        nv, ne = struct.unpack_from("<II", b)
        out[int(name)] = (np.frombuffer(b, "<f4", 3 * nv, 8).reshape(nv, 3).astype(float),
                          np.frombuffer(b, "<u4", 2 * ne, 8 + 12 * nv).reshape(ne, 2))
    is_("tubes from blocks: each has a skeleton", sorted(out), sorted(whole))
    for i, line in enumerate(lines):
        v, e = out[i + 1]
        one = whole[i + 1]
        off = np.sort(cKDTree(line).query(v / nm)[0])[:int(len(v) * 0.85)]
        is_(f"tube {i + 1} from blocks: one tree", len(v) - len(e), 1)
        ok(f"tube {i + 1} from blocks: off its centre line by {off.mean():.2f} voxels, "
           f"{off.max():.2f} at most; cable {cable(v, e) / cable(*one[:2]):.3f} of the whole's",
           off.mean() < 1 and off.max() < 3 and
           abs(cable(v, e) / cable(*one[:2]) - 1) < 0.05)


def check_blocks_of_neurites(name, a, nm, block):
    """From blocks, with what joins them as in work/task_skeleton.c, beside those in one go:
    other roots and ends at the seams make other trees, of nearly one length; two thirds to three
    quarters of them in the same place (bench/RESULTS.md says what is due to what)."""
    whole = skeletons(a, nm, "borders=0")
    parts = {}
    for key, b in ours("joined", a, nm, block, "tick=600", "length=300").items():
        nv, ne = struct.unpack_from("<II", b)
        parts[int(key)] = (np.frombuffer(b, "<f4", 3 * nv, 8).reshape(nv, 3).astype(float),
                           np.frombuffer(b, "<u4", 2 * ne, 8 + 12 * nv).reshape(ne, 2))
    keys = [k for k in whole if k in parts]
    pairs = [(parts[k][0] / nm, whole[k][0] / nm) for k in keys]
    there = np.concatenate([cKDTree(q).query(p)[0] for p, q in pairs])
    back = np.concatenate([cKDTree(p).query(q)[0] for p, q in pairs])
    share = [(d <= far).mean() for far in (1, 2) for d in (there, back)]
    ok(f"{name} from blocks of {block}^3: {share[0]:.1%} within a voxel of those in one go, "
       f"the reverse {share[1]:.1%}; within two {share[2]:.1%} and {share[3]:.1%}",
       min(share[:2]) > BLOCKS_ALIKE[0] and min(share[2:]) > BLOCKS_ALIKE[1])
    length = [sum(cable(*s[k][:2]) for k in keys) for s in (parts, whole)]
    ok(f"{name} from blocks of {block}^3: cable {length[0] / length[1]:.3f} of those in one go",
       abs(length[0] / length[1] - 1) < 0.07)
    loops = sum(len(parts[k][1]) >= len(parts[k][0]) for k in parts)
    is_(f"{name} from blocks of {block}^3: loops", loops, 0)


def main():
    if not os.path.exists(PEER):
        missing("tests/mesh/peer (make check builds it)")
    truth = ground_truth()
    nm = (10, 10, 10)
    lines, radii = curves()
    a = tubes(lines, radii)
    check_distances("tubes", a, (16, 16, 40), [1, 2, 3, 4])
    check_surfaces("tubes", a, (16, 16, 40))
    mine, theirs = check_skeletons("tubes", a, nm, (1, 1), 1)
    check_centre_lines(lines, mine, theirs, nm)
    check_blocks(lines, a, nm, mine)
    part = np.asfortranarray(truth[60:190, 50:180, 90:210])
    label, count = np.unique(part, return_counts=True)
    check_distances("a part of the ground truth", part, nm,
                    [int(v) for v in label[np.argsort(-count)] if v][:3])
    check_surfaces("a part of the ground truth", part, nm)
    check_skeletons("a part of the ground truth", part, nm, (0.999, 0.99), 0.9)
    flat = np.asfortranarray(truth[60:160, 50:150, 90:150])
    check_skeletons("a part of the ground truth, 16 x 16 x 40 nm", flat, (16, 16, 40),
                    (0.999, 0.99), 0.9)
    order_border_targets()
    check_skeletons("the same with border targets", flat, (16, 16, 40), (0.99, 0.99), 0.9,
                    borders=True)
    check_blocks_of_neurites("a part of the ground truth", part, nm, 65)
    check_all(truth, nm)
    done()


main()
