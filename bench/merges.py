#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Merge errors of a segmentation that another one of the same image does not have.

    bench/merges.py SEG.npy TRUTH.npy REFERENCE.npy [--least N]

A merge error is an object of SEG with more than N voxels (1000) each of two true bodies; it
is told once for each body beside the largest. It is new unless some object of REFERENCE has
more than N voxels of both bodies, too. Prints the number of all and of new ones, and of each
new one the object, both bodies, their voxels in it, and a voxel (x, y, z) of the smaller
part. Arrays are z, y, x; REFERENCE may be an .npz with a key `segmentation`. Needs numpy.
"""
import argparse
import itertools

import numpy as np


def read(path):
    a = np.load(path)
    a = a if isinstance(a, np.ndarray) else a["segmentation"]
    if a.max() >= 1 << 32:
        raise SystemExit(f"{path}: labels of more than 32 bits")
    return a


def parts(labels, truth, least):
    """{label: [(voxels, body), ...]}, largest first, of labels with two bodies or more."""
    both = (labels > 0) & (truth > 0)
    key = labels[both].astype(np.uint64) << np.uint64(32) | truth[both].astype(np.uint64)
    pairs, counts = np.unique(key, return_counts=True)
    out = {}
    for pair, n in zip(pairs[counts > least].tolist(), counts[counts > least].tolist()):
        out.setdefault(pair >> 32, []).append((n, pair & 0xffffffff))
    return {k: sorted(v, reverse=True) for k, v in out.items() if len(v) > 1}


def middle(mask):
    """The voxel of the mask that is nearest to the middle of it, as x, y, z."""
    at = np.argwhere(mask)
    return tuple(at[np.abs(at - at.mean(0)).sum(1).argmin()][::-1].tolist())


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("seg")
    a.add_argument("truth")
    a.add_argument("reference")
    a.add_argument("--least", type=int, default=1000)
    args = a.parse_args()
    seg, truth, reference = map(read, (args.seg, args.truth, args.reference))
    if not seg.shape == truth.shape == reference.shape:
        raise SystemExit(f"shapes differ: {seg.shape}, {truth.shape}, {reference.shape}")
    known = {frozenset(p) for v in parts(reference, truth, args.least).values()
             for p in itertools.combinations([body for _, body in v], 2)}
    errors = [(n, label, v[0], body) for label, v in parts(seg, truth, args.least).items()
              for n, body in v[1:]]
    new = sorted((e for e in errors if frozenset((e[2][1], e[3])) not in known), reverse=True)
    print(f"{len(errors)} merge errors above {args.least} voxels, {len(new)} of them new")
    for n, label, (most, main_body), body in new:
        x, y, z = middle((seg == label) & (truth == body))
        print(f"object {label}: {most} voxels of body {main_body}, {n} of {body} "
              f"at {x}, {y}, {z}")


if __name__ == "__main__":
    main()
