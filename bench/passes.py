#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What second passes are worth: recipes beside one another, on specimens with a truth.

    bench/passes.py BUILD [--seeds N,N] [--side V] [--block V] [--halo V] [--only NAME,NAME]
    bench/passes.py BUILD --sample DATA/fib25 [--at X,Y,Z] [--side V] [--grids BLOCK:HALO,...]
        [--precision P] [--only NAME,NAME]

Specimens are computed ones: for each seed a clean and a damaged one (sections lost, shifted,
cracked) of side^3 voxels, segmented with the small network. With --sample they are the grids
of blocks into which the FIB-25 sample is cut, or side^3 voxels of it from X,Y,Z on, segmented
with the published network; its true centre lines are skeletons of the true bodies.

Each is segmented in blocks by every recipe of TABLE, stitched, and scored against the truth
(`plain` is what a new layer does by itself, `as flooded` leaves objects that do not hang
together as they are, and stitches by the strict rule):
variation of information (bits, over voxels labelled in both), adapted Rand error, expected
run length as a share of what is possible, objects, seconds of the processors. Then medians,
and how many specimens each recipe made better than the plain one. Scores do not depend on
what else the machine does; seconds do. `resegment` goes on from its recipe's objects: its
seconds are those of both.

Everything is made in a temporary folder and removed. Standard library only, but for what
sample.py needs.
"""
import argparse
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile

import sample

DAMAGE = ",defects=60,jitter=4,drift=12"
TABLE = (  # name without and with resegmentation, options of the layer; {scale}: the second
    ("plain", "resegment", ()),
    ("as flooded", "as flooded + resegment", ("--pieces", "off")),
    ("consensus", "consensus + resegment", ("--consensus", "least=500")),
    ("consensus of scales", None, ("--consensus", "least=500,scale={scale}")),
    ("coarse first", None, ("--coarse", "scale={scale},least=500")),
    ("jumps", None, ("--jumps", "shift=3,search=5,tile=48,correlation=0.2")),
)
OF_SAMPLE = ("plain,resegment,as flooded,as flooded + resegment,consensus,"
             "consensus + resegment")


def arguments():
    a = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    a.add_argument("build")
    a.add_argument("--seeds", default="1000002,1000004,1000006,1000008")
    a.add_argument("--sample")
    a.add_argument("--at", default="0,0,0")
    a.add_argument("--side", type=int)
    a.add_argument("--block", type=int, default=48)
    a.add_argument("--halo", type=int, default=16)
    a.add_argument("--grids", default="125:32,100:24,84:24,84:32,96:24,63:24")
    a.add_argument("--precision", default="f32")
    a.add_argument("--only", default="")
    args = a.parse_args()
    args.side = args.side or (sample.SIDE if args.sample else 96)
    return args


class Specimen:
    """What is segmented: where it comes from, how it is cut, and its centre lines."""

    def __init__(self, args, name, block, halo):
        self.args, self.name, self.block, self.halo = args, name, block, halo
        # The largest chunk of at most 64 voxels that blocks are made of.
        self.chunk = max(n for n in range(1, 65) if block % n == 0)

    def layer_options(self):
        def three(n):
            return ",".join([str(n)] * 3)
        return ("--model", self.model, "--precision", self.args.precision, "--block",
                three(self.block), "--halo", three(self.halo), "--chunk", three(self.chunk))


class Computed(Specimen):
    model = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                         "seg", "models", "phantom-small.safetensors")
    nm = 8

    def __init__(self, args, seed, damage):
        super().__init__(args, f"{seed}{', damaged' if damage else ''}", args.block, args.halo)
        self.keys, self.damage = f"seed={seed},size={args.side}", damage
        self.chunk = 16
        self.lines = f"phantom:{self.keys}"

    def prepare(self, tool, top):
        tool("layer", "add", "fine", f"phantom:{self.keys}{self.damage}")
        tool("layer", "add", "truth", f"phantom:labels=1,{self.keys}")
        # A specimen this small has one scale of its own; an import makes more.
        picture = os.path.join(top, "em.npy")
        tool("cutout", "fine", "-o", picture)
        tool("import", picture, "em", "--resolution", "8,8,8", "--scales", "2")

    def layer_options(self):
        return super().layer_options() + ("--min-segment-size", "200")


class Sample(Specimen):
    nm = sample.NM

    def __init__(self, args, grid):
        super().__init__(args, f"blocks {grid}", *map(int, grid.split(":")))
        self.model = os.path.join(args.sample, sample.MODEL)
        self.lines = None

    def prepare(self, tool, top):
        image, truth = (os.path.join(top, n) for n in ("image.npy", "truth.npy"))
        sample.write(self.args.sample, image, truth, tuple(map(int, self.args.at.split(","))),
                     self.args.side)
        nm = ("--resolution", ",".join([str(self.nm)] * 3), "--scales", "2")
        tool("import", image, "em", *nm)
        tool("import", truth, "truth", "--type", "segmentation", *nm)
        tool("skeleton", "truth")
        folder = os.path.join(top, "truth")
        tool("export", "truth", folder, "--skeletons")
        self.lines = os.path.join(folder, "skeletons")


def seconds_of(pid):
    """Processor time of a process so far (proc(5))."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def seconds_of_children():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime


def score(tool, specimen):
    r = json.loads(tool("evaluate", "seg.agg", "truth", "--skeletons", specimen.lines, "--json"))
    lines = r["skeletons"]
    return {"split": r["voi_split"], "merge": r["voi_merge"], "rand": r["rand_error"],
            "run": lines["erl"] / max(lines["erl_max"], 1), "objects": r["test_objects"]}


def show(specimen, name, s):
    print(f"| {specimen.name} | {name} | {s['split']:.3f} + {s['merge']:.3f} | "
          f"{s['rand']:.3f} | {s['run']:.2f} | {s['objects']} | {s['seconds']:.0f} |",
          flush=True)


def run(args, specimen, names, options):
    """Name and scores of one recipe, without and with resegmentation, as they come."""
    with tempfile.TemporaryDirectory(prefix="fg-passes-") as top:
        root = os.path.join(top, "root")

        def tool(*command):
            r = subprocess.run([os.path.join(args.build, "floodgate"), *command, "--root", root],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            if r.returncode:
                sys.exit(f"floodgate {' '.join(command)}: {r.stderr.strip()}")
            return r.stdout

        daemon = subprocess.Popen(
            [os.path.join(args.build, "floodgated"), "--root", root, "--create",
             "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        daemon.stdout.readline()
        try:
            specimen.prepare(tool, top)
            tool("layer", "add", "seg", "--ffn", "--image", "em", *specimen.layer_options(),
                 *(x.format(scale="_".join([str(2 * specimen.nm)] * 3)) for x in options))
            seconds = 0  # of the second recipe: with the first, from which it goes on
            for name, stages in zip(names, ("segment,stitch", "resegment")):
                if not name:
                    continue
                before = seconds_of_children() + seconds_of(daemon.pid)
                tool("job", "submit", "seg", "--stages", stages, "--watch")
                seconds += seconds_of_children() + seconds_of(daemon.pid) - before
                yield name, {**score(tool, specimen), "seconds": seconds}
        finally:
            daemon.terminate()
            daemon.wait()


def one(args, specimen, only):
    """{name: scores} of one specimen."""
    out = {}
    for plain, again, options in TABLE:
        if only and plain not in only and again not in only:
            continue
        names = (plain, again if not only or again in only else None)
        for name, s in run(args, specimen, names, options):
            if not only or name in only:
                out[name] = s
                show(specimen, name, s)
    return out


def main():
    args = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # ends the daemon, too
    only = [n for n in (args.only or (OF_SAMPLE if args.sample else "")).split(",") if n]
    unknown = set(only) - {n for t in TABLE for n in t[:2]}
    if unknown:
        sys.exit(f"no such recipe: {', '.join(sorted(unknown))}")
    specimens = ([Sample(args, g) for g in args.grids.split(",")] if args.sample else
                 [Computed(args, seed, damage) for damage in ("", DAMAGE)
                  for seed in args.seeds.split(",")])
    head = "VOI split + merge | Rand error | run length, share | objects | processor s |"
    print(f"| specimen | recipe | {head}\n|" + "---|" * 7, flush=True)
    got = [one(args, s, only) for s in specimens]
    print(f"\nMedians of {len(got)} specimens:\n\n| recipe | VOI split + merge | sum | "
          "Rand error | run length, share | VOI better, worse than the first |\n|" + "---|" * 6)
    first = next(iter(got[0]))
    for name in got[0]:
        def mid(key):
            return statistics.median(g[name][key] for g in got)
        total = [g[name]["split"] + g[name]["merge"] for g in got]
        delta = [t - g[first]["split"] - g[first]["merge"] for t, g in zip(total, got)]
        print(f"| {name} | {mid('split'):.3f} + {mid('merge'):.3f} | "
              f"{statistics.median(total):.3f} | {mid('rand'):.3f} | {mid('run'):.2f} | "
              f"{sum(d < -.005 for d in delta)}, {sum(d > .005 for d in delta)} |")


main()
