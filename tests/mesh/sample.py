# SPDX-License-Identifier: Apache-2.0
"""The ground truth of the FIB-25 sample, for tests in Python."""
import gzip
import io
import os

import h5py
import numpy as np

from lib import missing


def ground_truth():
    folder = os.environ.get("FLOODGATE_TEST_DATA")
    if not folder:
        missing("FLOODGATE_TEST_DATA is not set (folder that holds fib25/)")
    path = os.path.join(folder, "fib25", "training_sample2_groundtruth.h5.gz")
    with gzip.open(path) as z, h5py.File(io.BytesIO(z.read())) as f:
        stack, pairs = f["stack"][:], f["transforms"][:].astype(np.int64)
    body = np.zeros(max(int(stack.max()), int(pairs[:, 0].max())) + 1, np.uint32)
    body[pairs[:, 0]] = pairs[:, 1]
    return np.asfortranarray(body[stack].transpose(2, 1, 0))
