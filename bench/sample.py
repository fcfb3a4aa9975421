#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The FIB-25 sample as two arrays, for `stitch` and `passes.py`.

    bench/sample.py DATA/fib25 IMAGE.npy TRUTH.npy [--at X,Y,Z] [--side N]

IMAGE.npy is uint8, TRUTH.npy uint32 (bodies; 0 is background), both of the same side^3
voxels from X,Y,Z on, axes z, y, x; without options of all 250^3. Needs numpy, h5py and pillow.
"""
import argparse
import gzip
import io
import os

NM, MODEL, SIDE = 10, "model.ckpt-27465036", 250


def write(folder, image, truth, at=(0, 0, 0), side=SIDE):
    import h5py
    import numpy as np
    from PIL import Image

    box = tuple(slice(at[d], min(at[d] + side, SIDE)) for d in (2, 1, 0))  # z, y, x
    sections = os.path.join(folder, "training_sample2_grayscale")
    em = np.stack([np.asarray(Image.open(os.path.join(sections, name)))[box[1:]]
                   for name in sorted(os.listdir(sections))[box[0]]])
    with gzip.open(os.path.join(folder, "training_sample2_groundtruth.h5.gz")) as f:
        with h5py.File(io.BytesIO(f.read())) as h5:
            stack, pairs = h5["stack"][:], h5["transforms"][:]
    body = np.zeros(max(stack.max(), pairs[:, 0].max()) + 1, np.uint32)
    body[pairs[:, 0]] = pairs[:, 1]
    np.save(image, em.astype(np.uint8))
    np.save(truth, body[stack[box]])


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("folder")
    a.add_argument("image")
    a.add_argument("truth")
    a.add_argument("--at", default="0,0,0")
    a.add_argument("--side", type=int, default=SIDE)
    args = a.parse_args()
    write(args.folder, args.image, args.truth, tuple(map(int, args.at.split(","))), args.side)


if __name__ == "__main__":
    main()
