#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# floodgate mesh and skeleton stopped in the middle, by Ctrl-C and by an axe, without a
# daemon and beside one: what was made stays, the same command makes the rest and no more.
import json
import math
import os
import signal
import sqlite3
import subprocess

from lib import BUILD, Server, done, has, is_, ok, wait_for, write

TOOL = os.environ.get("FLOODGATE") or os.path.join(BUILD, "floodgate")
SIZE, CHUNK, STEP, RADIUS = (1104, 192, 48), (64, 64, 48), 48, 20
CENTRES = [(x, y, 24) for y in range(24, 192, STEP) for x in range(24, 1080, STEP)]
N = len(CENTRES)
# One processor: time enough to stop it on the way, on any machine.
SLOW = ["taskset", "-c", str(min(os.sched_getaffinity(0)))]


def make(path):
    """Balls of their own ids."""
    write(os.path.join(path, "info"), json.dumps({
        "@type": "neuroglancer_multiscale_volume", "type": "segmentation",
        "data_type": "uint8", "num_channels": 1, "scales": [{
            "key": "s", "size": SIZE, "voxel_offset": [0] * 3, "resolution": [10] * 3,
            "chunk_sizes": [CHUNK], "encoding": "raw"}]}))
    rows = [[bytearray(SIZE[0]) for _ in range(SIZE[1])] for _ in range(SIZE[2])]
    for i, (x, y, z) in enumerate(CENTRES, 1):
        for c in range(z - RADIUS, z + RADIUS + 1):
            for b in range(y - RADIUS, y + RADIUS + 1):
                d = RADIUS ** 2 - (b - y) ** 2 - (c - z) ** 2
                if d >= 0:
                    w = math.isqrt(d)
                    rows[c][b][x - w:x + w + 1] = bytes([i]) * (2 * w + 1)
    for y in range(0, SIZE[1], CHUNK[1]):
        for x in range(0, SIZE[0], CHUNK[0]):
            write(os.path.join(path, "s", f"{x}-{min(x + 64, SIZE[0])}_{y}-{y + 64}_0-48"), b"".join(
                bytes(row[x:x + 64]) for plane in rows for row in plane[y:y + 64]))


def made(s, kind):
    """Objects that have all of it: the mesh's levels where there are any."""
    db = sqlite3.connect(f"file:{s.root}/index.sqlite?mode=ro", uri=True)
    n = db.execute("SELECT count(DISTINCT id) FROM artefacts WHERE kind = ? AND scale = ?"
                   " AND part = 0", (5 if kind == "mesh" else 6,
                                     34 if many and kind == "mesh" else 32)).fetchone()[0]
    runs = db.execute("SELECT count(*) FROM runs WHERE kind = ? AND scale = ?",
                      (5 if kind == "mesh" else 6,
                       34 if many and kind == "mesh" else 32)).fetchone()[0]
    db.close()
    return n, runs


def begin(s, *words):
    p = subprocess.Popen([*SLOW, TOOL, *words, "--root", s.root], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, text=True)
    # Without a terminal progress is a line for each tenth.
    line = p.stderr.readline()
    ok(f"on its way: {line.strip()}", f" of {N} objects" in line and "100 %" not in line)
    return p


def end(p):
    out, err = p.communicate(timeout=120)
    return p.returncode, out, err


def again(s, kind, before):
    """The same command to its end: it makes what is missing."""
    r = subprocess.run([TOOL, kind, "lab", "--root", s.root, "--json"],
                       capture_output=True, text=True, timeout=300)
    is_(f"{kind} again", r.returncode, 0)
    j = json.loads(r.stdout)
    is_("makes what is missing", (j["done"], j["skipped"], j["failed"]),
        (N - before, before, 0))
    is_("all are there, none was made twice", made(s, kind), (N, N))


def forget(s, path):
    """The layer anew: nothing is made of it."""
    for more in (["remove", "lab"], ["add", "lab", path]):
        r = subprocess.run([TOOL, "layer", *more, "--root", s.root], capture_output=True,
                           text=True)
        is_(f"layer {more[0]}", (r.returncode, r.stderr), (0, ""))


with Server(start=False) as s:
    s.before = SLOW
    s.start()
    path = os.path.join(s.own.name, "labels")
    make(path)
    s.add_layer("lab", path)
    many = s.get("/lab@multilod/mesh.1/info").status == 200
    s.stop()

    # Without a daemon.
    for kind, how in (("mesh", signal.SIGINT), ("skeleton", signal.SIGKILL)):
        p = begin(s, kind, "lab")
        p.send_signal(how)
        code, out, err = end(p)
        there, runs = made(s, kind)
        ok(f"{kind}, {how.name}: {there} of {N} are there", 0 < there < N and runs == there)
        if how == signal.SIGINT:
            is_("its exit code", code, 130)
            has("how to go on", err, f" of {N} objects are there; the same command goes on")
            said = int(err.split("interrupted: ")[1].split()[0])
            # What was being committed just then may be there as well.
            ok(f"it says {said}, and reports it", 0 < said <= there <= said + 2 and
               f"{said} objects made" in out)
        again(s, kind, there)

    # Beside a daemon: Ctrl-C takes the order back, an axe does not.
    s.start()
    forget(s, path)
    p = begin(s, "mesh", "lab")
    p.send_signal(signal.SIGINT)
    code, out, err = end(p)
    is_("its exit code", code, 130)
    has("what it says", err, f"of {N} objects are there; the same command goes on")
    is_("the order is taken back", s.get("/api/jobs").json()[0]["state"], "cancelled")
    wait_for("the last one", lambda: s.metrics()["floodgate_tasks_running"] == 0 and
             s.metrics()["floodgate_tasks_committing"] == 0)
    there, _ = made(s, "mesh")
    ok(f"{there} of {N} are there", 0 < there < N)
    again(s, "mesh", there)
    p = begin(s, "skeleton", "lab")
    p.kill()
    end(p)
    wait_for("the daemon's end of it", lambda: s.get(
        "/api/jobs").json()[0]["state"] == "done")
    again(s, "skeleton", N)

    # The daemon itself is killed: the command says so, the order goes on after a restart.
    forget(s, path)
    p = begin(s, "mesh", "lab")
    s.stop(hard=True)
    code, out, err = end(p)
    ok(f"fails: {err.splitlines()[-1]}", code not in (0, 130) and
       err.splitlines()[-1].startswith("floodgate mesh: "))
    has("and what comes of it", err.splitlines()[-1], "goes on when a daemon starts")
    there, _ = made(s, "mesh")
    ok(f"{there} of {N} are there", 0 < there < N)
    s.start()
    job = wait_for("the order", lambda: (lambda j: j if j["state"] == "done" else None)(
        s.get("/api/jobs").json()[0]))
    present = next(x["present"] for x in job["stages"] if x["name"] == "mesh")
    # What was in a slab and not yet in the index comes back when the daemon starts.
    ok(f"it skipped what was there: {present}", there <= present < N)
    is_("and made the others once", made(s, "mesh"), (N, N))

    # A box takes objects whole that are partly inside, by the blocks that it touches.
    forget(s, path)
    r = subprocess.run([TOOL, "mesh", "lab", "--box", "0-10_0-10_0-10", "--root", s.root,
                        "--json"], capture_output=True, text=True)
    inside = [i for i, (x, _, _) in enumerate(CENTRES, 1) if x - RADIUS < 256]
    is_("objects of the box's block", json.loads(r.stdout)["done"], len(inside))
    across = next(i for i, (x, _, _) in enumerate(CENTRES, 1) if abs(x - 256) < RADIUS)
    is_("one of them lies across its border", len(s.get(
        f"/lab/mesh/{across}:0").json()["fragments"]), 2)
    is_("others are not made", s.request("HEAD", f"/lab/mesh/{N}:0").status, 404)
    is_("and are found when they are asked for", s.get(
        f"/lab/mesh/{N}:0?wait=100").status, 200)
done()
