#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What second passes are worth: recipes beside one another on computed specimens.

    bench/passes.py BUILD [--seeds N,N] [--side V] [--block V] [--halo V] [--only NAME,NAME]

For each seed a clean specimen and a damaged one (sections lost, shifted, cracked) of side^3
voxels are segmented in blocks with the small network, by every recipe of TABLE, stitched, and
scored against the truth: variation of information (bits, over voxels labelled in both),
adapted Rand error, expected run length as a share of what is possible, objects, seconds of
the processors. Then medians, and how many specimens each recipe made better than the plain
one. Scores do not depend on what else the machine does; seconds do.

Everything is made in a temporary folder and removed. Standard library only.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile

SCALE = "16_16_16"
DAMAGE = ",defects=60,jitter=4,drift=12"
TABLE = (  # name, options of the layer, stages of the job
    ("plain", (), "segment,stitch"),
    ("resegment", (), "segment,stitch,resegment"),
    ("consensus", ("--consensus", "least=500"), "segment,stitch"),
    ("consensus + resegment", ("--consensus", "least=500"), "segment,stitch,resegment"),
    ("consensus of scales", ("--consensus", f"least=500,scale={SCALE}"), "segment,stitch"),
    ("coarse first", ("--coarse", f"scale={SCALE},least=500"), "segment,stitch"),
    ("jumps", ("--jumps", "shift=3,search=5,tile=48,correlation=0.2"), "segment,stitch"),
)


def arguments():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("build")
    a.add_argument("--seeds", default="1000002,1000004,1000006,1000008")
    a.add_argument("--side", type=int, default=96)
    a.add_argument("--block", type=int, default=48)
    a.add_argument("--halo", type=int, default=16)
    a.add_argument("--only", default="")
    return a.parse_args()


def floodgate(args, root, *command):
    r = subprocess.run([os.path.join(args.build, "floodgate"), *command, "--root", root],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if r.returncode:
        sys.exit(f"floodgate {' '.join(command)}: {r.stderr.strip()}")
    return r.stdout


def score(args, root, name, specimen):
    r = json.loads(floodgate(args, root, "evaluate", f"{name}.agg", "truth", "--skeletons",
                             f"phantom:{specimen}", "--json"))
    lines = r["skeletons"]
    return {"split": r["voi_split"], "merge": r["voi_merge"], "rand": r["rand_error"],
            "run": lines["erl"] / max(lines["erl_max"], 1), "objects": r["test_objects"]}


def processor():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime


def one(args, seed, damage, model, table):
    """{recipe: scores} of one specimen."""
    specimen = f"seed={seed},size={args.side}"
    out = {}
    for name, options, stages in table:
        with tempfile.TemporaryDirectory(prefix="fg-passes-") as top:
            root = os.path.join(top, "root")
            before = processor()
            daemon = subprocess.Popen(
                [os.path.join(args.build, "floodgated"), "--root", root, "--create",
                 "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL)
            daemon.stdout.readline()
            try:
                floodgate(args, root, "layer", "add", "fine", f"phantom:{specimen}{damage}")
                floodgate(args, root, "layer", "add", "truth", f"phantom:labels=1,{specimen}")
                # A specimen this small has one scale of its own; an import makes more.
                picture = os.path.join(top, "em.npy")
                floodgate(args, root, "cutout", "fine", "-o", picture)
                floodgate(args, root, "import", picture, "em", "--resolution", "8,8,8",
                          "--scales", "2")
                floodgate(args, root, "layer", "add", "seg", "--ffn", "--image", "em",
                          "--model", model, "--precision", "f32", "--min-segment-size", "200",
                          "--block", ",".join([str(args.block)] * 3), "--halo",
                          ",".join([str(args.halo)] * 3), "--chunk", "16,16,16", *options)
                floodgate(args, root, "job", "submit", "seg", "--stages", stages, "--watch")
                out[name] = score(args, root, "seg", specimen)
            finally:
                daemon.terminate()
                daemon.wait()
            out[name]["seconds"] = processor() - before
        s = out[name]
        print(f"| {seed}{', damaged' if damage else ''} | {name} | {s['split']:.3f} + "
              f"{s['merge']:.3f} | {s['rand']:.3f} | {s['run']:.2f} | {s['objects']} | "
              f"{s['seconds']:.0f} |", flush=True)
    return out


def main():
    args = arguments()
    only = [n for n in args.only.split(",") if n]
    table = [t for t in TABLE if not only or t[0] in only]
    model = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                         "seg", "models", "phantom-small.safetensors")
    head = "VOI split + merge | Rand error | run length, share | objects | processor s |"
    print(f"| specimen | recipe | {head}\n|" + "---|" * 7, flush=True)
    got = [one(args, seed, damage, model, table)
           for damage in ("", DAMAGE) for seed in args.seeds.split(",")]
    print(f"\nMedians of {len(got)} specimens:\n\n| recipe | VOI split + merge | Rand error | "
          "run length, share | VOI better, worse than the first |\n|" + "---|" * 5)
    first = table[0][0]
    for name, *_ in table:
        def mid(key):
            return statistics.median(g[name][key] for g in got)
        delta = [sum(g[name][k] - g[first][k] for k in ("split", "merge")) for g in got]
        print(f"| {name} | {mid('split'):.3f} + {mid('merge'):.3f} | {mid('rand'):.3f} | "
              f"{mid('run'):.2f} | {sum(d < -.005 for d in delta)}, "
              f"{sum(d > .005 for d in delta)} |")


main()
