#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the sample's published segmentation and ground truth as plain files for
test_score_sample, and scores of the same two arrays by scikit-image.

usage: score_sample.py SAMPLE_FOLDER OUT_FOLDER

Ends with status 3 when a package is missing.
"""
import gzip
import io
import json
import sys

try:
    import h5py
    import numpy as np
    from skimage.metrics import adapted_rand_error, variation_of_information
except ImportError as e:
    print(f"# {e}")
    sys.exit(3)

sample, out = sys.argv[1:]
with np.load(f"{sample}/sample-training2.npz", allow_pickle=False) as z:
    seg = z["segmentation"]
with gzip.open(f"{sample}/training_sample2_groundtruth.h5.gz") as f:
    h5 = h5py.File(io.BytesIO(f.read()), "r")
stack, transforms = h5["stack"][:], h5["transforms"][:]
body = np.zeros(max(stack.max(), transforms[:, 0].max()) + 1, np.uint32)
body[transforms[:, 0]] = transforms[:, 1]
truth = body[stack]

seg.tofile(f"{out}/seg.u8")
truth.tofile(f"{out}/truth.u32")

both = (seg > 0) & (truth > 0)
a, b = truth[both], seg[both].astype(np.uint32)
merge_split = variation_of_information(a, b)  # H(test|truth), H(truth|test)
error, precision, recall = adapted_rand_error(a, b)
with open(f"{out}/skimage.json", "w") as f:
    json.dump(
        {
            "voi": [float(v) for v in merge_split],
            "rand_error": float(error),
            "rand_precision": float(precision),
            "rand_recall": float(recall),
        },
        f,
    )
