#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The main job, timed from the outside: a daemon with the FIB-25 sample.

    bench/serve.py BUILD DATA [--halo N] [--seconds S]

BUILD holds floodgate and floodgated, DATA the sample (training_sample2_grayscale/ and
the checkpoint). Prints, in one run:

  cold      a 64^3 chunk nobody has made, from request to last byte (three chunks)
  beside    the same chunks in a twin layer while a bulk job keeps all devices busy,
            and the ratio of the two (wanted: at most 1.2)
  cached    requests/s and latency of a chunk in memory, 1 and 64 connections (wrk)

Everything is made in a temporary folder and removed. Standard library only; the last
part needs wrk.
"""
import argparse
import http.client
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

CHUNKS = ("64-128_64-128_64-128", "128-192_64-128_64-128", "64-128_128-192_128-192")
BULK_BOX = "128-250_128-250_0-64"  # shares no block with CHUNKS


def floodgate(args, *command):
    subprocess.run([os.path.join(args.build, "floodgate"), *command], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def start(args):
    daemon = subprocess.Popen(
        [os.path.join(args.build, "floodgated"), "--listen", "127.0.0.1:0"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    line = daemon.stdout.readline()
    ready = re.search(r"ready at http://127\.0\.0\.1:(\d+)/", line)
    if not ready:
        sys.exit(f"floodgated did not start: {line!r}")
    return daemon, int(ready.group(1))


def fetch(port, layer, chunk):
    began = time.monotonic()
    c = http.client.HTTPConnection("127.0.0.1", port, timeout=700)
    c.request("GET", f"/{layer}/10_10_10/{chunk}?wait=600")
    r = c.getresponse()
    body = r.read()
    if r.status != 200:
        sys.exit(f"{layer}/{chunk}: {r.status} {body[:200]!r}")
    return time.monotonic() - began, body


def cached(port, seconds):
    if not shutil.which("wrk"):
        print("cached    not measured: wrk is missing")
        return
    url = f"http://127.0.0.1:{port}/seg/10_10_10/{CHUNKS[0]}"
    image = f"http://127.0.0.1:{port}/em/10_10_10/{CHUNKS[0]}"
    for name, what in (("segmentation", url), ("image", image)):
        for n in (1, 64):
            out = subprocess.run(
                ["wrk", "-t1", f"-c{n}", f"-d{seconds}s", "--latency", what],
                check=True, capture_output=True, text=True).stdout
            rate = re.search(r"Requests/sec:\s+(\S+)", out).group(1)
            p99 = re.search(r"99%\s+(\S+)", out).group(1)
            bad = re.search(r"Non-2xx.*", out)
            print(f"cached    {name}, {n} connections: {rate} requests/s, "
                  f"99 % within {p99}{', ' + bad.group(0) if bad else ''}")


def measure(args):
    sample = os.path.join(args.data, "training_sample2_grayscale")
    model = os.path.join(args.data, "model.ckpt-27465036")
    floodgate(args, "import", sample, "em", "--resolution", "10,10,10",
              "--encoding", "raw")
    for name in ("seg", "twin"):
        floodgate(args, "layer", "add", name, "--ffn", "--image", "em", "--model", model,
                  "--block", "64,64,64", "--halo", ",".join([str(args.halo)] * 3))
    daemon, port = start(args)
    bulk = None
    try:
        idle, beside, same = [], [], True
        bodies = []
        for chunk in CHUNKS:
            s, body = fetch(port, "seg", chunk)
            idle.append(s)
            bodies.append(body)
            print(f"cold      {chunk}: {s:.2f} s, {len(body)} bytes", flush=True)
        cached(port, args.seconds)
        bulk = subprocess.Popen(
            [os.path.join(args.build, "floodgate"), "segment", "twin", "--box", BULK_BOX],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(3)  # until its first blocks run; their seeds take no longer
        for k, chunk in enumerate(CHUNKS):
            s, body = fetch(port, "twin", chunk)
            if bulk.poll() is not None:
                sys.exit("the bulk job ended before the interactive blocks did")
            beside.append(s)
            print(f"beside    {chunk}: {s:.2f} s, {s / idle[k]:.2f} times idle", flush=True)
            same &= body == bodies[k]
        ratio = statistics.median(b / i for b, i in zip(beside, idle))
        print(f"median    cold {statistics.median(idle):.2f} s, "
              f"beside a bulk job {ratio:.2f} times that; "
              f"{'same bytes' if same else 'DIFFERENT bytes'}")
    finally:
        if bulk and bulk.poll() is None:
            bulk.send_signal(signal.SIGINT)
            bulk.wait()
        daemon.terminate()
        daemon.wait()


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("build")
    p.add_argument("data")
    p.add_argument("--halo", type=int, default=32, help="voxels per side (default 32)")
    p.add_argument("--seconds", type=int, default=5, help="per cached row (default 5)")
    args = p.parse_args()
    with tempfile.TemporaryDirectory(prefix="floodgate-bench-") as root:
        os.environ["FLOODGATE_ROOT"] = root
        measure(args)


if __name__ == "__main__":
    main()
