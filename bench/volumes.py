#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Scores of label volumes of the FIB-25 sample, beside one another.

    bench/volumes.py BUILD DATA/fib25 LABELS.npy [LABELS.npy ...]

For what `stitch --labels` and `contacts --out` write: variation of information (bits, over
voxels labelled in both), adapted Rand error, expected run length on skeletons of the true
bodies as a share of what is possible, and objects, by `floodgate evaluate`. An object merges
bodies of which it holds --merge-nodes nodes each, 8 voxels apart (10: a leak along less than
0.8 um of another body's centre line is none). Needs what sample.py needs.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import sample


def main():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("build")
    a.add_argument("folder")
    a.add_argument("labels", nargs="+")
    a.add_argument("--merge-nodes", default="10")
    args = a.parse_args()

    with tempfile.TemporaryDirectory(prefix="fg-volumes-") as top:
        def tool(*command):
            r = subprocess.run([os.path.join(args.build, "floodgate"), *command, "--root",
                                os.path.join(top, "root")],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if r.returncode:
                sys.exit(f"floodgate {' '.join(command)}: {r.stderr.strip()}")
            return r.stdout

        def keep(path, name):
            tool("import", path, name, "--type", "segmentation", "--resolution",
                 ",".join([str(sample.NM)] * 3))

        truth, folder = (os.path.join(top, n) for n in ("truth.npy", "lines"))
        sample.write(args.folder, os.path.join(top, "image.npy"), truth)
        keep(truth, "truth")
        tool("skeleton", "truth")
        tool("export", "truth", folder, "--skeletons")
        head = "VOI split + merge | sum | Rand error | run length, share | objects |"
        print(f"| volume | {head}\n|" + "---|" * 6, flush=True)
        for i, path in enumerate(args.labels):
            keep(path, f"seg{i}")
            r = json.loads(tool("evaluate", f"seg{i}", "truth", "--skeletons",
                                os.path.join(folder, "skeletons"), "--merge-nodes",
                                args.merge_nodes, "--json"))
            run = r["skeletons"]["erl"] / max(r["skeletons"]["erl_max"], 1)
            name = os.path.splitext(os.path.basename(path))[0]
            print(f"| {name} | {r['voi_split']:.3f} + {r['voi_merge']:.3f} | "
                  f"{r['voi_split'] + r['voi_merge']:.3f} | {r['rand_error']:.4f} | "
                  f"{run:.3f} | {r['test_objects']} |", flush=True)


main()
