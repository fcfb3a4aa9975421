#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# A computed volume of 2^20 voxels per axis under load: memory stays flat, and another
# process computes the same chunks. FG_LOAD_SECONDS makes it longer than in the suite.
import os
import random
import threading
import time

from lib import Server, done, has, is_, ok

SECONDS = float(os.environ.get("FG_LOAD_SECONDS", "6"))
SIZE = 1 << 20
EM = "phantom:seed=77,size=1048576,chunk=32"
TRUTH = EM + ",labels=1"


def chunk(rng):
    """Path of a random chunk of either layer, at one of the finest scales."""
    scale = rng.choice((0, 0, 0, 1))
    n = SIZE >> scale
    at = [rng.randrange(n // 32) * 32 for _ in range(3)]
    box = "_".join(f"{a}-{a + 32}" for a in at)
    nm = 8 << scale
    return f"/{rng.choice(('em', 'truth'))}/{nm}_{nm}_{nm}/{box}"


def resident(s):
    """kB of memory that the daemon holds."""
    with open(f"/proc/{s.process.pid}/status") as f:
        return next(int(x.split()[1]) for x in f if x.startswith("VmRSS"))


def load(s, seconds, seed, got):
    """Chunks after one another until the time is over; got: (status, bytes) of each."""
    rng, end, c = random.Random(seed), time.monotonic() + seconds, s.connect()
    while time.monotonic() < end:
        r = s.request("GET", chunk(rng), over=c)
        got.append((r.status, len(r.body)))


def run(s, seconds, seed):
    got = []
    threads = [threading.Thread(target=load, args=(s, seconds, seed + i, got))
               for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return got


def layers(s):
    s.add_layer("em", EM)
    s.add_layer("truth", TRUTH)


# Sanitizers keep freed memory for a while.
CALM = {"ASAN_OPTIONS": "quarantine_size_mb=4"}
with Server("--cache-mb", "4", env=CALM) as s, Server("--cache-mb", "4") as other:
    layers(s)
    layers(other)
    info = s.get("/em/info").json()
    is_("its size", info["scales"][0]["size"], [SIZE] * 3)
    is_("its coarsest scale", info["scales"][-1]["size"], [256] * 3)
    run(s, min(2.0, SECONDS / 2), 1)
    before = resident(s)
    got = run(s, SECONDS, 100)
    after = resident(s)
    is_("every chunk is there", {(status, size > 0) for status, size in got}, {(200, True)})
    print(f"# {len(got)} chunks, {sum(n for _, n in got) / 1e6:.1f} MB in {SECONDS} s, "
          f"{before} kB before, {after} kB after")
    ok("memory stays flat", after < before * 1.15 + 32768)
    rng = random.Random(5)
    names = [chunk(rng) for _ in range(24)]
    is_("another process computes the same bytes",
        [n for n in names if s.get(n).body != other.get(n).body], [])
    last = "-".join(map(str, (SIZE - 32, SIZE)))
    is_("the last chunk", s.get(f"/em/8_8_8/{last}_{last}_{last}").status, 200)
    is_("and none behind it", s.get(
        f"/em/8_8_8/{SIZE}-{SIZE + 32}_{last}_{last}").status, 404)
    r = s.call("POST", "/api/layers", {"name": "bad", "source": "phantom:nm=0"})
    is_("bad parameters are refused", r.status, 400)
    has("with the reason", r.body, b"nm=0: wanted a whole number 1 .. 100")
done()
