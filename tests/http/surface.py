# SPDX-License-Identifier: Apache-2.0
"""Meshes of the legacy format, as a client reads them, and what can be asked of them."""
import array
import struct


def fetch(s, layer, i, late="?wait=100"):
    """Names of an object's fragments; all in one, equal vertices (nm) joined; triangles."""
    names = s.get(f"/{layer}/mesh/{i}:0{late}").json()["fragments"]
    place, triangles = {}, []
    for name in names:
        b = s.get(f"/{layer}/mesh/{name}").body
        n, = struct.unpack_from("<I", b)
        xyz = struct.unpack_from(f"<{3 * n}f", b, 4)
        mine = [place.setdefault(xyz[k:k + 3], len(place)) for k in range(0, 3 * n, 3)]
        index = array.array("I", b[4 + 12 * n:])
        triangles += [tuple(mine[k] for k in index[t:t + 3])
                      for t in range(0, len(index), 3)]
    return names, list(place), triangles


def unmatched(triangles):
    """Edges that are not there as often one way as the other."""
    count = {}
    for a, b, c in triangles:
        for e in ((a, b), (b, c), (c, a)):
            count[e] = count.get(e, 0) + 1
    return sum(n != count.get((q, p), 0) for (p, q), n in count.items())


def volume(xyz, triangles, nm):
    """Enclosed, in voxels of nm^3; positive where triangles turn outwards."""
    v = 0
    for t in triangles:
        (ax, ay, az), (bx, by, bz), (cx, cy, cz) = (xyz[k] for k in t)
        v += (ax * (by * cz - bz * cy) + ay * (bz * cx - bx * cz) +
              az * (bx * cy - by * cx)) / 6
    return v / nm ** 3
