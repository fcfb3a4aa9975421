#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# CloudVolume reads meshes and skeletons of a generated layer: their geometry is held
# against the voxels that it reads from the same layer.
import os

from interop import CloudVolume, done, is_, np, ok
from lib import Server, Volume, missing, tiny_ffn, write_tiny_model

try:
    from scipy import ndimage
except ModuleNotFoundError as e:
    missing(f"Python package of tests/requirements.txt: {e}")

NM = 8.0


def volume(mesh):
    """Enclosed volume, voxels."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype("f8") for k in range(3))
    return float((a * np.cross(b, c)).sum()) / 6 / NM ** 3


def unmatched(mesh):
    """Edges that no other triangle has in the opposite direction; equal vertices joined."""
    _, place = np.unique(mesh.vertices, axis=0, return_inverse=True)
    f = place.reshape(-1)[mesh.faces]
    e = np.concatenate([f[:, [0, 1]], f[:, [1, 2]], f[:, [2, 0]]]).astype("u8")
    n = np.uint64(len(mesh.vertices) + 1)
    there, count = np.unique(e[:, 0] * n + e[:, 1], return_counts=True)
    back, again = np.unique(e[:, 1] * n + e[:, 0], return_counts=True)
    return int((there != back).sum() + (count != again).sum()) if len(there) == len(
        back) else -1


def distance(points, mask, offset):
    """Of points (nm) to the nearest face of a voxel of the mask, voxels."""
    pad = np.pad(mask, 3)
    surface = pad & ~ndimage.binary_erosion(pad, ndimage.generate_binary_structure(3, 1))
    d = ndimage.distance_transform_edt(~surface)
    at = np.floor(points / NM - offset + 3).astype(int)
    return d[tuple(np.clip(at, 0, np.array(pad.shape) - 1).T)]


with Server() as s:
    model = os.path.join(s.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(s.own.name, "em"))
    s.add_layer("em", em.path)
    # Whole floods: some of their pieces are a voxel thin, and have half of it as meshes.
    r = s.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(
        model, delta=[4, 4, 4], halo=[8, 8, 8], pieces=False)})
    is_("a layer", r.status, 201)
    vol = CloudVolume(f"precomputed://{s.url}/seg", progress=False, use_https=False,
                      fill_missing=False)
    labels = np.asarray(vol[:, :, :])[..., 0]
    ids, sizes = np.unique(labels[labels > 0], return_counts=True)
    ok(f"{len(ids)} objects", len(ids) > 40)
    offset = np.array(vol.voxel_offset, "f8")
    closed, size, place, bones, levels = [], [], [], [], []
    many = CloudVolume(f"precomputed://{s.url}/seg@multilod", progress=False,
                       use_https=False)
    for i, n in zip(ids.tolist(), sizes.tolist()):
        mesh = vol.mesh.get(i)
        mesh = mesh[i] if isinstance(mesh, dict) else mesh
        if unmatched(mesh) != 0:
            closed.append((i, unmatched(mesh)))
        v = volume(mesh)
        if abs(v - n) > 0.25 * n + 2:
            size.append((i, v, n))
        far = float(distance(mesh.vertices, labels == i, offset).max())
        if far > 1.0:
            place.append((i, far))
        fine = many.mesh.get(i, lod=0)[i]
        v = volume(fine)
        # The two differ by rounding, and where the volume ends.
        if unmatched(fine) != 0 or abs(v - volume(mesh)) > 0.1 * n + 2:
            levels.append((i, unmatched(fine), v, volume(mesh)))
        bone = vol.skeleton.get(i)
        at = np.floor(bone.vertices / NM - offset).astype(int)
        if len(bone.vertices) == 0 or not (labels[tuple(at.T)] == i).all():
            bones.append((i, len(bone.vertices)))
        # What is outside of the volume is not counted as background, here and there.
        want = ndimage.distance_transform_edt(labels == i)[tuple(at.T)] * NM
        if "cross_sectional_area" not in [a["id"] for a in bone.extra_attributes] or \
                not (bone.cross_sectional_area > 0).all():
            bones.append((i, "areas"))
        if np.abs(bone.radius - want).max() > 0.01:
            bones.append((i, "radius", float(np.abs(bone.radius - want).max())))
    is_("meshes are closed", closed, [])
    is_("they are as large as the voxels", size, [])
    is_("no vertex is farther than a voxel from its object's outer voxels", place, [])
    is_("the finest level is closed and like the legacy mesh", levels, [])
    is_("skeletons lie inside, and their radius is scipy's distance", bones, [])
done()
