#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Codecs beside the packages of PyPI, on the same volume, in one run.

    bench/codecs.py BUILD/bench/codecs [--side N] [--runs N]

Needs numpy, compressed-segmentation, compresso and tinybrain (a virtual environment).
Prints a table in Markdown: million voxels a second of processor time, the median of the
runs, and how many times the package's speed that is. One thread throughout.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np
import compressed_segmentation
import compresso
import tinybrain


def median(f, runs):
    f()
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        f()
        seconds.append(time.process_time() - start)
    return statistics.median(seconds)


def chunks(a, n):
    return [np.asfortranarray(a[x:x + n, y:y + n, z:z + n])
            for z in range(0, a.shape[2], n)
            for y in range(0, a.shape[1], n)
            for x in range(0, a.shape[0], n)]


def codec(a, n, runs, encode, decode):
    parts = chunks(a, n)
    made = [encode(p) for p in parts]
    for p, m in zip(parts, made):
        assert (decode(m, p) == p).all()
    return (a.size / 1e6 / median(lambda: [encode(p) for p in parts], runs),
            a.size / 1e6 / median(lambda: [decode(m, p) for m, p in zip(made, parts)], runs),
            sum(len(m) for m in made))


def peers(labels, em, n, runs):
    block = (8, 8, 8)
    for dtype in (np.uint64, np.uint32):
        a = np.asfortranarray(labels.astype(dtype))
        bits = np.dtype(dtype).itemsize * 8
        yield f"compressed_segmentation u{bits}", codec(
            a, n, runs,
            lambda p: compressed_segmentation.compress(p, block_size=block, order="F"),
            lambda m, p: compressed_segmentation.decompress(
                m, p.shape, p.dtype, block_size=block, order="F"))
        yield f"compresso u{bits}", codec(
            a, n, runs, compresso.compress, lambda m, p: compresso.decompress(m))
    labels, em = (np.asfortranarray(x[..., np.newaxis]) for x in (labels, em))
    for fz in (1, 2):
        f = (2, 2, fz, 1)
        yield f"mode u64 2x2x{fz}", (labels.size / 1e6 / median(
            lambda: tinybrain.downsample_segmentation(labels, f, num_mips=1), runs),)
        yield f"mean u8 2x2x{fz}", (em.size / 1e6 / median(
            lambda: tinybrain.downsample_with_averaging(em, f, num_mips=1), runs),)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--chunk", type=int, default=64)
    parser.add_argument("--runs", type=int, default=7)
    o = parser.parse_args()
    with tempfile.TemporaryDirectory() as tmp:
        paths = [os.path.join(tmp, n) for n in ("labels.npy", "em.npy")]
        out = subprocess.run(
            [o.program, "--side", str(o.side), "--chunk", str(o.chunk),
             "--runs", str(o.runs), "--write", *paths],
            check=True, stdout=subprocess.PIPE, text=True).stdout
        labels, em = (np.asfortranarray(np.load(p).T) for p in paths)
    other = dict(peers(labels, em, o.chunk, o.runs))
    print(f"{o.side}^3 voxels in chunks of {o.chunk}^3, {len(np.unique(labels))} labels, "
          f"{o.runs} runs, one thread\n")
    print("| what | encode MVx/s (least-most) | decode MVx/s (least-most) | ratio "
          "| package: encode | decode | ratio | times: encode | decode | of a copy |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for line in out.splitlines():
        row = json.loads(line)
        name = row["what"]
        size = {"u64": 8, "u32": 4, "u16": 2, "u8": 1}[
            next(w for w in name.split() if w in ("u64", "u32", "u16", "u8"))] * o.side ** 3
        cells = [name]
        for key in ("encode", "decode"):
            cells.append("{} ({}-{})".format(*row[key]) if key in row else "")
        cells.append(f"{size / row['bytes']:.1f}" if "bytes" in row else "")
        p = other.get(name, ())
        cells += [f"{p[i]:.1f}" if i < len(p) else "" for i in (0, 1)]
        cells.append(f"{size / p[2]:.1f}" if len(p) > 2 else "")
        cells += [f"{row[k][0] / p[i]:.1f}" if i < len(p) else ""
                  for i, k in enumerate(("encode", "decode"))]
        cells.append(f"{100 * row['share']:.0f} %" if "share" in row else "")
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    sys.exit(main())
