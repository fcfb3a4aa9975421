#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Volumes written by TensorStore and CloudVolume are read by floodgate (the tool's cutout),
# served, and read by both clients over HTTP, voxel for voxel.
import os

from interop import (IDENTITY, MURMUR, PLAIN, Case, Server, by_cv, by_ts, done, is_, np,
                     open_cv, sharding, tensorstore_http, tool, wrong_cuts)

ODD = {"offset": (-37, 5, 1001)}
CSEG = {"enc": "compressed_segmentation", "segmentation": True}

CASES = [
    *(Case(f"raw-{t}", t) for t in ("uint8", "int8", "int16", "int32")),
    Case("raw-uint16-channels", "uint16", channels=3, **ODD),
    Case("raw-uint32-sharded", "uint32", shard=IDENTITY, segmentation=True),
    Case("raw-uint64-sharded", "uint64", shard=MURMUR, segmentation=True, **ODD),
    Case("raw-float32-sharded", "float32", channels=2, shard=PLAIN),
    Case("jpeg", "uint8", "jpeg", lossy=True, **ODD),
    Case("jpeg-rgb-sharded", "uint8", "jpeg", channels=3, lossy=True, shard=MURMUR),
    Case("png", "uint8", "png", size=(1, 50, 40)),
    # CloudVolume decodes PNG to 8 bits only.
    Case("png-uint16-sharded", "uint16", "png", shard=IDENTITY, cloudvolume=False, **ODD),
    Case("cseg-uint32", "uint32", size=(40, 1, 70), **CSEG),
    Case("cseg-uint64", "uint64", block=(4, 8, 2), **CSEG, **ODD),
    Case("cseg-uint64-murmur", "uint64", shard=MURMUR, chunk=(8, 16, 32), **CSEG, **ODD),
    Case("cseg-uint64-identity", "uint64", size=(130, 33, 1), shard=IDENTITY, **CSEG),
    Case("one-voxel", "uint16", size=(1, 1, 1), offset=(-1, 0, 7)),
    Case("many-bits", "uint8", chunk=(8, 8, 8), shard=sharding("identity", 9, 11, 20, "gzip",
                                                                "gzip")),
    Case("few-bits", "uint8", chunk=(8, 8, 8), shard=sharding("identity", 0, 1, 1)),
]

# What CloudVolume writes, sharded by its own writer of shards.
BY_CV = [
    Case("cv-raw-uint8", "uint8", **ODD),
    Case("cv-raw-float32", "float32"),
    Case("cv-raw-uint64", "uint64", segmentation=True, **ODD),
    Case("cv-jpeg", "uint8", "jpeg", lossy=True),
    Case("cv-png", "uint8", "png", **ODD),
    Case("cv-cseg-uint64", "uint64", **CSEG, **ODD),
    Case("cv-cseg-uint32", "uint32", **CSEG),
    Case("cv-cseg-sharded", "uint64", shard=IDENTITY, **CSEG),
    Case("cv-cseg-murmur", "uint32", shard=MURMUR, **CSEG, **ODD),
    Case("cv-raw-sharded-gzip", "uint16", shard=sharding("identity", 1, 1, 2, "gzip", "gzip")),
]


def cutout(server, case, folder):
    path = os.path.join(folder, "cut.npy")
    tool(server.root, "cutout", case.name, "-o", path)
    got = np.load(path)  # z, y, x [, channel]
    got = got.transpose(2, 1, 0, *range(3, got.ndim)).reshape(case.data.shape)
    return bool(np.array_equal(got, case.data)) and got.dtype == case.data.dtype


def main():
    rng = np.random.default_rng(20261121)
    with Server() as server:
        for case in [*CASES, *BY_CV]:
            case.fill(rng)
            path = os.path.join(server.root, "volumes", case.name)
            if case in BY_CV:
                case.by_cloudvolume(path)
            else:
                case.by_tensorstore(path)
            server.add_layer(case.name, path)
        for case in [*CASES, *BY_CV]:
            is_(f"{case.name}: TensorStore over HTTP",
                wrong_cuts(rng, case, by_ts(tensorstore_http(server, case.name))), [])
            if case.lossy and case not in BY_CV:
                # Each decodes JPEG with its own library: not the same to the last bit.
                path = os.path.join(server.root, "volumes", case.name)
                case.data = np.asarray(open_cv("file://" + path)[:, :, :])
            if case.cloudvolume:
                is_(f"{case.name}: CloudVolume over HTTP",
                    wrong_cuts(rng, case, by_cv(open_cv(f"{server.url}/{case.name}"))), [])
            if not case.lossy:
                is_(f"{case.name}: the tool's cutout", cutout(server, case, server.root),
                    True)
        is_("stops cleanly", server.stop(), 0)
    done()


main()
