# SPDX-License-Identifier: Apache-2.0
"""What the interoperability tests share: volumes with known voxels, written and read by
TensorStore and CloudVolume (both pinned in tests/requirements.txt)."""
import json
import os
import subprocess
import sys
import warnings

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "http"))
from lib import BUILD, Server, done, has, is_, missing, ok, write  # noqa: E402,F401

os.environ.setdefault("CLOUD_VOLUME_DIR", os.path.join(BUILD, "cloudvolume"))
try:
    import numpy as np
    import tensorstore as ts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from cloudvolume import CloudVolume, chunks
        from cloudvolume.datasource.precomputed.common import compressed_morton_code
        from cloudvolume.datasource.precomputed.sharding import ShardingSpecification
except ModuleNotFoundError as e:
    missing(f"Python package of tests/requirements.txt: {e}")

TOOL = os.environ.get("FLOODGATE") or os.path.join(BUILD, "floodgate")
V1 = "neuroglancer_uint64_sharded_v1"


def sharding(hash_name="identity", pre=0, mini=0, shard=0, index="raw", data="raw"):
    return {"@type": V1, "hash": hash_name, "preshift_bits": pre, "minishard_bits": mini,
            "shard_bits": shard, "minishard_index_encoding": index, "data_encoding": data}


MURMUR = sharding("murmurhash3_x86_128", 1, 2, 2, "gzip", "gzip")
IDENTITY = sharding("identity", 2, 1, 3, "gzip", "raw")
PLAIN = sharding()


def voxels(rng, dtype, size, channels=1, labels=False):
    """x, y, z, channel: smooth where an image would be, patches where labels are."""
    shape = (*size, channels)
    dtype = np.dtype(dtype)
    if labels:
        coarse = rng.integers(0, 40, [-(-n // 7) for n in size])
        names = rng.integers(0, np.iinfo(dtype).max, 40, dtype=dtype, endpoint=True)
        names[0] = 0
        big = names[coarse].repeat(7, 0).repeat(7, 1).repeat(7, 2)
        return np.asfortranarray(big[:size[0], :size[1], :size[2], None])
    if dtype.kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    i = np.iinfo(dtype)
    return rng.integers(i.min, i.max, shape, dtype=dtype, endpoint=True)


class Case:
    """One volume: its parameters and what it must hold."""

    def __init__(self, name, dtype="uint8", enc="raw", size=(61, 47, 33), offset=(0, 0, 0),
                 chunk=(16, 16, 16), channels=1, shard=None, segmentation=False, lossy=False,
                 block=(8, 8, 8), cloudvolume=True):
        self.name, self.dtype, self.enc, self.channels = name, dtype, enc, channels
        self.size, self.offset, self.chunk, self.shard = size, offset, chunk, shard
        self.segmentation, self.lossy, self.block = segmentation, lossy, block
        self.cloudvolume = cloudvolume  # whether it can read this at all
        self.data = None

    def info(self):
        scale = {"key": "8_8_40", "size": list(self.size), "voxel_offset": list(self.offset),
                 "resolution": [8, 8, 40], "chunk_sizes": [list(self.chunk)],
                 "encoding": self.enc}
        if self.enc == "compressed_segmentation":
            scale["compressed_segmentation_block_size"] = list(self.block)
        if self.shard:
            scale["sharding"] = self.shard
        return {"@type": "neuroglancer_multiscale_volume",
                "type": "segmentation" if self.segmentation else "image",
                "data_type": self.dtype, "num_channels": self.channels, "scales": [scale]}

    def fill(self, rng):
        self.data = voxels(rng, self.dtype, self.size, self.channels, self.segmentation)
        return self

    def by_tensorstore(self, path):
        scale = self.info()["scales"][0]
        scale["chunk_size"] = scale.pop("chunk_sizes")[0]
        t = ts.open({"driver": "neuroglancer_precomputed",
                     "kvstore": {"driver": "file", "path": path + "/"},
                     "multiscale_metadata": {
                         "type": "segmentation" if self.segmentation else "image",
                         "data_type": self.dtype, "num_channels": self.channels},
                     "scale_metadata": scale}, create=True).result()
        t.write(self.data).result()
        if self.lossy:  # what the encoding made of it
            self.data = t.read().result()

    def encoded_chunks(self, cv):
        """CloudVolume's key and encoding of each chunk."""
        grid = [-(-n // c) for n, c in zip(self.size, self.chunk)]
        for ch in np.ndindex(*grid):
            part = self.data[tuple(slice(i * c, (i + 1) * c)
                                   for i, c in zip(ch, self.chunk))]
            yield int(compressed_morton_code(ch, grid)), chunks.encode(
                part, self.enc, block_size=self.block)

    def by_cloudvolume(self, path, compress="gzip"):
        write(os.path.join(path, "info"), json.dumps(self.info()))
        cv = CloudVolume("file://" + path, progress=False, bounded=True, compress=compress,
                         non_aligned_writes=True)
        if self.shard:
            spec = ShardingSpecification.from_dict(self.shard)
            labels = dict(self.encoded_chunks(cv))
            for name, body in spec.synthesize_shards(labels).items():
                write(os.path.join(path, "8_8_40", name), body)
        else:
            cv[:, :, :] = self.data
        if self.lossy:
            self.data = np.asarray(cv[:, :, :])


def cuts(rng, size, n=4):
    """All of it, and random boxes from the volume's corner."""
    yield tuple((0, k) for k in size)
    for _ in range(n):
        box = []
        for k in size:
            a = int(rng.integers(0, k))
            box.append((a, int(rng.integers(a, k)) + 1))
        yield tuple(box)


def wrong_cuts(rng, case, read, n=4):
    """Boxes whose voxels, as read(lo, hi) gives them, are not the right ones."""
    bad = []
    for (x0, x1), (y0, y1), (z0, z1) in cuts(rng, case.size, n):
        lo = [a + o for a, o in zip((x0, y0, z0), case.offset)]
        hi = [a + o for a, o in zip((x1, y1, z1), case.offset)]
        try:
            got = np.asarray(read(lo, hi))
        except Exception as e:  # pylint: disable=broad-except
            bad.append((lo, hi, f"{type(e).__name__}: {e}"[:300]))
            continue
        want = case.data[x0:x1, y0:y1, z0:z1]
        if got.dtype != want.dtype or got.shape != want.shape or not np.array_equal(got, want):
            bad.append((lo, hi, got.dtype, got.shape))
    return bad


def open_tensorstore(kvstore, index=0):
    return ts.open({"driver": "neuroglancer_precomputed", "kvstore": kvstore,
                    "scale_index": index}, open=True).result()


def tensorstore_http(server, layer, index=0):
    return open_tensorstore({"driver": "http", "base_url": server.url + "/",
                             "path": layer + "/"}, index)


def tensorstore_file(path, index=0):
    return open_tensorstore({"driver": "file", "path": path + "/"}, index)


def by_ts(t):
    return lambda lo, hi: t[lo[0]:hi[0], lo[1]:hi[1], lo[2]:hi[2]].read().result()


def by_cv(cv):
    return lambda lo, hi: cv[lo[0]:hi[0], lo[1]:hi[1], lo[2]:hi[2]]


def open_cv(url, mip=0):
    return CloudVolume(url, mip=mip, progress=False, bounded=True, fill_missing=False,
                       cache=False, use_https=False)


def tool(root, *args, status=0):
    """Run floodgate; its standard output."""
    p = subprocess.run([TOOL, "--root", root, *args], capture_output=True, text=True,
                       timeout=100, check=False)
    if p.returncode != status:
        ok(f"floodgate {' '.join(args)}", False)
        print("# " + (p.stdout + p.stderr).replace("\n", "\n# "))
    return p.stdout if status == 0 else p.stderr


def sums_hold(path):
    return subprocess.run(["sha256sum", "-c", "--quiet", "--strict", "manifest.sha256"],
                          cwd=path, capture_output=True, check=False).returncode == 0
