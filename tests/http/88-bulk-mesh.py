#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Meshes and skeletons of many objects: as stages of a job, and with the tool, beside a
# daemon and without one; stopped and begun again.
import json
import os
import signal
import sqlite3
import subprocess

from lib import BUILD, Server, Volume, done, has, is_, ok, tiny_ffn, wait_for, \
    write_tiny_model

TOOL = os.environ.get("FLOODGATE") or os.path.join(BUILD, "floodgate")


def tool(s, *args, code=0):
    r = subprocess.run([TOOL, *args, "--root", s.root, "--json"], capture_output=True,
                       text=True, timeout=300, check=False)
    is_(f"floodgate {' '.join(args)}", r.returncode, code)
    if r.returncode != code:
        print(f"# {r.stderr}")
    return json.loads(r.stdout) if code == 0 else r.stderr


def counts(j):
    return j["done"], j["skipped"], j["failed"]


def end_of(s, job):
    return wait_for("the job", lambda: (lambda j: j if j["state"] in (
        "done", "failed") else None)(s.get(job["url"]).json()))


COUNTED = ("counted", "all", "done", "skipped", "failed")

with Server() as s:
    model = os.path.join(s.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(s.own.name, "em"))
    s.add_layer("em", em.path)
    made = s.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(
        model, delta=[4, 4, 4], halo=[8, 8, 8])})
    is_("a layer", made.status, 201)

    job = s.call("POST", "/api/jobs", {
        "layer": "seg", "stages": ["segment", "stitch", "mesh", "skeleton"],
        "box": [8, 0, -16, 72, 64, 48]}).json()
    over = end_of(s, job)
    is_("all stages", (over["state"], over["error"]), ("done", ""))
    is_("one that makes blocks counts blocks", (over["counted"], over["all"], over["done"]),
        ("blocks", 1, 1))
    stage = {x["name"]: x for x in over["stages"]}
    n = stage["mesh"]["all"]
    ok(f"{n} objects have meshes and skeletons", n > 5 and
       stage["mesh"]["done"] == stage["skeleton"]["done"] == n)
    before = s.metrics()['floodgate_tasks_total{end="done"}']
    first = [i for i in range(1, n + 1)  # one block numbers them so
             if s.request("HEAD", f"/seg.agg/mesh/{i}:0").status == 200]
    is_("they are there without being made", (
        len(first), s.metrics()['floodgate_tasks_total{end="done"}']), (n, before))

    for what, spec in (("no such kind of objects", {"objects": "half"}),
                       ("ids of a box's blocks", {"ids": ["1"], "stages": ["segment"]}),
                       ("no ids", {"ids": [], "stages": ["mesh"]}),
                       ("an id that is none", {"ids": ["x"], "stages": ["mesh"]}),
                       ("an id that is zero", {"ids": [0], "stages": ["mesh"]}),
                       ("stages that a stitched layer has not",
                        {"layer": "seg.agg", "stages": ["segment"]})):
        is_(what, s.call("POST", "/api/jobs", {"layer": "seg", **spec}).status, 400)

    is_("the tool finds them there", counts(tool(s, "mesh", "seg.agg")), (0, n, 0))
    base = tool(s, "mesh", "seg")
    ok("base objects are others", base["done"] > 0 and base["failed"] == 0)
    one = str(first[0])
    is_("some by their ids", counts(tool(s, "skeleton", "seg", "--ids",
                                         f"{one},{first[1]},{one}")), (2, 0, 0))
    def dry(**spec):
        r = s.call("POST", "/api/jobs?dry=1", {"layer": "seg", **spec}).json()
        return [r[k] for k in ("counted", "all", "present", "failed", "to_make", "bytes",
                               "hours")]
    there = ["meshes and skeletons", 2 * n, 2 * n, 0, 0, 0, 0]
    box = [8, 0, -16, 72, 64, 48]
    is_("a dry run counts what they have", dry(stages=["mesh", "skeleton"]), there)
    is_("an id that is no object", dry(stages=["mesh"], objects="base", ids=[
        first[0], 2 ** 52]), ["objects", 2, 1, 1, 0, 0, 0])
    left = dry(stages=["skeleton"], objects="base", box=box)
    ok("and what they have not", left[2] == 2 and left[4] == left[1] - 2 > 3 and
       left[5:] == [None, None])
    is_("blocks that are stitched", dry(stages=["stitch"], box=box),
        ["blocks", 1, 1, 0, 0, 0, 0])
    is_("blocks that are not resegmented", dry(stages=["resegment"], box=box),
        ["blocks", 1, 0, 0, 1, None, None])
    is_("chunks are not known before", dry(stages=["downsample"]),
        ["chunks", None, None, 0, None, None, None])
    job = s.call("POST", "/api/jobs", {
        "layer": "seg", "stages": ["mesh", "skeleton"], "objects": "base", "box": box}).json()
    two = end_of(s, job)
    is_("meshes and skeletons are both counted", [two[k] for k in COUNTED],
        ["meshes and skeletons", sum(x["all"] for x in two["stages"]),
         sum(x["done"] for x in two["stages"]), sum(x["present"] for x in two["stages"]), 0])
    ok("of the same objects", two["stages"][0]["all"] == two["stages"][1]["all"] > 5 and
       two["done"] == left[4])
    is_("a job of resegment counts its blocks", [end_of(s, s.call("POST", "/api/jobs", {
        "layer": "seg", "stages": ["stitch", "resegment"], "box": box}).json())[k]
        for k in COUNTED], ["blocks", 1, 0, 1, 0])
    text = tool(s, "mesh", "seg", "--ids", f"{one},{2 ** 63 + 9}", code=1)
    has("an id that is no object", text, f"there is no object {2 ** 63 + 9}")
    has("of how many", text, "1 of 2 objects failed")
    job = s.call("POST", "/api/jobs", {"layer": "seg", "stages": ["mesh"], "ids": [
        first[0], 2 ** 52]}).json()
    over = end_of(s, job)
    has("a job says so too", over["error"], f"there is no object {2 ** 52}")
    is_("it counts objects, not the blocks of its box", [over[k] for k in COUNTED],
        ["objects", 2, 0, 1, 1])
    has("ids that are none", tool(s, "mesh", "seg", "--ids", "1,,2", code=2), "--ids")
    has("a box outside", tool(s, "mesh", "seg", "--box", "0-1_0-1_0-1", code=2), "--box")
    has("no objects in an image", tool(s, "mesh", "em", code=2), "em")

    # The rest, stopped by a signal and by an axe on the way.
    tool(s, "segment", "seg")
    p = subprocess.Popen([TOOL, "skeleton", "seg.agg", "--root", s.root],
                         stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    p.send_signal(signal.SIGINT)
    p.wait(100)
    is_("stops cleanly", s.stop(), 0)
    s.start()
    again = s.get(job["url"]).json()
    is_("the job's counts outlive it", [again[k] for k in ("state", *COUNTED)],
        ["failed", "objects", 2, 0, 1, 1])
    again = s.get(two["url"]).json()
    is_("those of two stages, too", [again[k] for k in ("state", *COUNTED)],
        ["done", *[two[k] for k in COUNTED]])
    is_("and of each", [(x["name"], x["all"], x["present"]) for x in again["stages"]],
        [(x["name"], x["all"], x["done"] + x["present"]) for x in two["stages"]])
    is_("stops again", s.stop(), 0)
    p = subprocess.Popen([TOOL, "mesh", "seg.agg", "--root", s.root],
                         stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        p.wait(0.2)
    except subprocess.TimeoutExpired:
        p.kill()
    p.wait(100)
    rest = tool(s, "mesh", "seg.agg")
    all_ = rest["done"] + rest["skipped"]
    ok(f"without a daemon: {all_} objects", rest["failed"] == 0 and all_ >= n)
    is_("again: nothing to do", counts(tool(s, "mesh", "seg.agg")), (0, all_, 0))
    bones = tool(s, "skeleton", "seg.agg")
    is_("skeletons of the same objects", bones["done"] + bones["skipped"], all_)
    db = sqlite3.connect(f"{s.root}/index.sqlite")
    db.execute("CREATE TEMP TABLE one AS SELECT * FROM objects WHERE parent = id LIMIT 1")
    db.execute("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 100000) "
               "INSERT INTO objects (layer, id, parent, size, public, voxels, lo, hi, gen) "
               "SELECT layer, i + (1 << 50), i + (1 << 50), 1, i + (1 << 50), voxels, lo, hi, 1 "
               "FROM one, n")
    db.commit()
    r = subprocess.run([TOOL, "job", "submit", "seg", "--stages", "mesh", "--dry-run",
                        "--root", s.root], capture_output=True, text=True, check=False)
    has("a dry run does not count without end", r.stdout, "too many objects to count")
    s.start()
    r = s.call("POST", "/api/jobs?dry=1", {"layer": "seg", "stages": ["mesh", "skeleton"],
                                           "objects": "base", "box": box}).json()
    is_("nor beside a daemon", [r[k] for k in ("counted", "all", "present", "failed", "to_make",
                                               "bytes", "hours")],
        ["meshes and skeletons", None, None, 0, None, None, None])
    is_("ids alone are looked up", dry(stages=["mesh"], objects="base", ids=[first[0]]),
        ["objects", 1, 1, 0, 0, 0, 0])
    s.stop()
    db.execute("DELETE FROM objects WHERE id > 1 << 50")
    db.commit()
    db.close()
    s.start()
    is_("a daemon serves them", s.get("/api/status").status, 200)
    is_("all", len([i for i in first if s.request(
        "HEAD", f"/seg.agg/skeleton/{i}").status == 200]), len(first))
done()
