#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The FIB-25 network in float64 with numpy, independent of floodgate's own code.

usage: reference.py CHECKPOINT IN OUT

CHECKPOINT is the prefix of the two checkpoint files. IN holds patches of 33^3 voxels,
each the image and then the logits (float32); OUT gets the new logits (float64).
Ends with status 3 when numpy is missing.
"""
import struct
import sys

try:
    import numpy as np
except ImportError as e:
    print(f"# {e}")
    sys.exit(3)

FOV = 33


def varint(b, i):
    n = shift = 0
    while True:
        n |= (b[i] & 127) << shift
        shift += 7
        i += 1
        if b[i - 1] < 128:
            return n, i


def fields(b):
    """Protobuf fields of a message: number -> list of values."""
    out, i = {}, 0
    while i < len(b):
        tag, i = varint(b, i)
        if tag & 7 == 0:
            v, i = varint(b, i)
        elif tag & 7 == 2:
            n, i = varint(b, i)
            v, i = b[i:i + n], i + n
        elif tag & 7 == 5:
            v, i = b[i:i + 4], i + 4
        else:
            raise ValueError(f"wire type {tag & 7}")
        out.setdefault(tag >> 3, []).append(v)
    return out


def records(block):
    """Key and value of each record of a table's block."""
    restarts, = struct.unpack("<I", block[-4:])
    end, i, key = len(block) - 4 - 4 * restarts, 0, b""
    while i < end:
        shared, i = varint(block, i)
        unshared, i = varint(block, i)
        size, i = varint(block, i)
        key = key[:shared] + block[i:i + unshared]
        i += unshared
        yield key, block[i:i + size]
        i += size


def load(prefix):
    with open(prefix + ".index", "rb") as f:
        table = f.read()
    with open(prefix + ".data-00000-of-00001", "rb") as f:
        data = f.read()
    footer, tensors = table[-48:], {}
    _, i = varint(footer, 0)
    _, i = varint(footer, i)
    at, i = varint(footer, i)
    size, i = varint(footer, i)
    for _, place in records(table[at:at + size]):
        at, i = varint(place, 0)
        size, i = varint(place, i)
        for key, value in records(table[at:at + size]):
            e = fields(value)
            if not key.startswith(b"seed_update/") or e[1] != [1]:
                continue
            shape = [fields(d).get(1, [0])[0] for d in fields(e[2][0]).get(2, [])]
            first = e.get(4, [0])[0]
            t = np.frombuffer(data[first:first + e[5][0]], "<f4")
            tensors[key.decode()] = t.reshape(shape).astype(np.float64)
    return tensors


def conv(t, name, x):
    w, b = t[f"seed_update/{name}/weights"], t[f"seed_update/{name}/biases"]
    k = w.shape[0]
    p = np.pad(x, [(k // 2, k // 2)] * 3 + [(0, 0)])
    out = np.empty(x.shape[:3] + (w.shape[4],))
    out[:] = b
    for i in range(k):
        for j in range(k):
            for l in range(k):
                part = p[i:i + x.shape[0], j:j + x.shape[1], l:l + x.shape[2]]
                out += part @ w[i, j, l]
    return out


def relu(x):
    return np.maximum(x, 0)


def network(t, image, logits):
    r = conv(t, "conv0_a", np.stack([image, logits], axis=-1))
    r = conv(t, "conv0_b", relu(r))
    i = 1
    while f"seed_update/conv{i}_a/weights" in t:
        r = r + conv(t, f"conv{i}_b", relu(conv(t, f"conv{i}_a", relu(r))))
        i += 1
    return logits + conv(t, "conv_lom", relu(r))[..., 0]


def main():
    tensors = load(sys.argv[1])
    patches = np.fromfile(sys.argv[2], "<f4").astype(np.float64)
    patches = patches.reshape(-1, 2, FOV, FOV, FOV)
    np.stack([network(tensors, p[0], p[1]) for p in patches]).tofile(sys.argv[3])


main()
