#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Old generations of meshes and skeletons: the same bytes for mesh_keep_s, then 410 with the
# newest epoch; what is current stays, killed in the middle, after compaction and reindex.
import glob
import os
import shutil
import sqlite3
import subprocess
import threading

from lib import BUILD, Server, add_cells, done, has, is_, ok, wait_for

TOOL = os.environ.get("FLOODGATE") or os.path.join(BUILD, "floodgate")
SIZE, OFFSET = (96, 96, 48), (8, 0, -16)
BLOCK = 48
LATE = "?wait=100"
MESH, SKELETON = 5, 6
TABLE, PIECE, LODS, PIN, MEASURE = (16 + i for i in (0, 1, 2, 3, 6))
POINTS = ("prune-begun", "prune-half", "prune-before-commit", "prune-committed")


def make(s, block):
    lo = [a * BLOCK for a in block]
    name = "_".join(f"{a + o}-{a + 24 + o}" for a, o in zip(lo, OFFSET))
    is_(f"block {block}", s.get(f"/seg/8_8_8/{name}{LATE}").status, 200)

    def still():
        m = s.metrics()
        return not any(m[f"floodgate_tasks_{x}"] for x in (
            "running", "committing", 'queued{class="idle"}', 'queued{class="bulk"}'))
    wait_for("idle", still)


def value(s, *at):
    return int(s.get("/api/layers/seg/value?at=" + ",".join(
        str(a + o) for a, o in zip(at, OFFSET))).json()["value"])


def epoch(s):
    return s.get("/seg.agg@multilod/info").json()["mesh"]


def look(s, names):
    """{path: (status, bytes)}"""
    out = {}
    for path in names:
        r = s.get(path + LATE)
        out[path] = (r.status, r.body)
    return out


def paths(s, i, directory):
    """All that a viewer asks for of an object: pieces, levels, skeleton."""
    p = [f"/seg.agg/mesh/{i}:0", f"/seg.agg/skeleton/{i}"]
    r = s.get(p[0] + LATE)
    p += [f"/seg.agg/mesh/{x}" for x in r.json()["fragments"]]
    return p + ([f"/seg.agg/{directory}/{i}.index", f"/seg.agg/{directory}/{i}",
                 f"/seg.agg/{directory}/info"] if many else [])


def rows(s):
    """Rows of artefacts of components: (kind, product, id, part, gen)."""
    db = sqlite3.connect(f"file:{s.root}/index.sqlite?mode=ro", uri=True)
    out = set(db.execute("SELECT kind, scale, id, part, gen FROM artefacts WHERE kind IN "
                         "(5, 6) AND scale BETWEEN 16 AND 22"))
    db.close()
    return out


def tool(s, *words):
    r = subprocess.run([TOOL, *words, "--root", s.root], capture_output=True, text=True)
    if r.returncode:
        print("# " + (r.stdout + r.stderr).replace("\n", "\n# "))
    return r.returncode


def size_of(s):
    return sum(map(os.path.getsize, glob.glob(s.root + "/slabs/*")))


def wrong(got, want, gone=False):
    """Paths that answer otherwise than before; gone: 410 is right too."""
    return [(p, got[p][0]) for p in want
            if got[p] != want[p] and not (gone and got[p][0] == 410)]


def check_current(s, what, want):
    is_(f"{what}: what is current is as it was", wrong(look(s, want), want), [])
    is_(f"{what}: nothing was made again",
        s.metrics()['floodgate_tasks_total{end="done"}'], 0)


def restart(s, *options, env=None):
    s.stop()
    s.env = env or {}
    s.start(*options)


def hammer(s, old, bad, stop):
    """Viewers that hold old manifests, while these are pruned."""
    while not stop.is_set():
        for p, want in old.items():
            r = s.get(p)
            if r.status != 410 and (r.status, r.body) != want:
                bad.append((p, r.status, r.body[:200]))


def expected(s):
    """What must be left, told by what is served of the objects that have meshes."""
    have = rows(s)
    ids = {r[2] for r in have if r[:2] == (MESH, TABLE)}
    public = {i for i in ids if s.get(f"/seg.agg/mesh/{i}:0{LATE}").json()["fragments"][
        0].startswith(f"{i}:")}
    pieces = {tuple(map(int, x.split(":"))) for i in public
              for x in s.get(f"/seg.agg/mesh/{i}:0{LATE}").json()["fragments"]}
    newest = {i: max(r[4] for r in have if r[:3] == (MESH, TABLE, i)) for i in public}
    return ids, public, pieces, newest


def check_rows(s, public, pieces, newest, new):
    have = rows(s)
    is_("one table of each name that is public", {(r[2], r[4]) for r in have if r[:2] == (
        MESH, TABLE)}, set(newest.items()))
    is_("its pieces and no others", {(r[2], r[3], r[4]) for r in have if r[:2] == (
        MESH, PIECE)}, pieces)
    is_("levels of that generation", {(r[2], r[4]) for r in have if r[:2] == (MESH, LODS)},
        {(i, g) for i, g in newest.items() if i == public[0]} if many else set())
    is_("pins of the newest epoch", {r[3] for r in have if r[1] == PIN},
        {int(new.split(".")[1])} if many else set())
    is_("one skeleton of each", sorted(r[2] for r in have if r[:2] == (SKELETON, TABLE)),
        sorted(public[:1]))
    bones = [r[3] for r in have if r[:2] == (SKELETON, PIECE)]
    is_("with one piece of each block", len(bones), len(set(bones)))
    is_("measures of these", len([r for r in have if r[1] == MEASURE]), 1 + len(newest))


def is_pruned(s, old):
    return all(v[0] == 410 for v in look(s, old).values()) and not any(
        r[2] == other for r in rows(s))


def kill_at(s, point, before, current, old, final):
    shutil.rmtree(s.root)
    shutil.copytree(before, s.root)
    s.env = {"FG_CRASH_AT": point}
    s.start("--mesh-keep-s", "1")
    s.process.wait(100)
    is_(f"killed at {point}", s.process.returncode, -9)
    s.process.stdout.close()
    s.env = {}
    s.start()
    is_("ready again", s.get("/readyz").json(), {"ready": True, "wrong": []})
    is_("verify is content", tool(s, "verify", "-q"), 0)
    is_("what is old is as it was, or 410", wrong(look(s, old), old, True), [])
    check_current(s, point, current)
    restart(s, "--mesh-keep-s", "1")
    wait_for("the next pass", lambda: rows(s) == final)
    check_current(s, f"{point}, ended", current)
    s.stop()


with Server("--skeleton-whole-mvx", "0.001") as s:
    top = os.path.dirname(s.root)
    add_cells(s, SIZE, OFFSET, BLOCK)
    many = s.get("/seg.agg@multilod/info").status == 200 and s.get(
        "/seg.agg/mesh.1/info").status == 200

    # Two blocks that only meet in an edge: a cell of all four is two objects so far.
    make(s, (0, 0, 0))
    make(s, (1, 1, 0))
    i, other = value(s, 47, 47, 25), value(s, 48, 48, 25)
    ok(f"two objects: {i} and {other}", 0 < i < other)
    first = epoch(s)
    old = {}
    for k in (i, other):
        old.update(look(s, paths(s, k, first)))
    make(s, (1, 0, 0))
    second = epoch(s)
    wait_for("one object", lambda: s.get(
        f"/api/layers/seg/objects/{other}").json()["public"] == str(i))
    middle = look(s, paths(s, i, second))
    make(s, (0, 1, 0))
    new = epoch(s)
    current = look(s, paths(s, i, new))
    # Manifest and skeleton have one address; all else of old ones may not be asked for
    # again under names that are still good.
    old.update(middle)
    old = {p: v for p, v in old.items() if p not in current and p.split("/")[2] not in (
        "skeleton",) and not p.endswith(":0")}
    ok(f"{len(old)} old addresses, {len(current)} new ones", len(old) >= (9 if many else 3)
       and all(v[0] == 200 for v in [*old.values(), *current.values()]))
    is_("the old ones are as they were", wrong(look(s, old), old), [])
    s.stop()
    before = os.path.join(top, "before")
    shutil.copytree(s.root, before)

    s.start()
    check_current(s, "a day is not over", current)
    is_("and the old ones are as they were", wrong(look(s, old), old), [])
    ids, public, pieces, newest = expected(s)
    is_("one of the names is no public id", ids - public, {other})
    s.stop()
    s.start("--mesh-keep-s", "1")
    bad, stop = [], threading.Event()
    threads = [threading.Thread(target=hammer, args=(s, old, bad, stop)) for _ in range(3)]
    for t in threads:
        t.start()
    wait_for("all that is old to be gone", lambda: is_pruned(s, old))
    stop.set()
    for t in threads:
        t.join()
    is_("until then no other bytes than ever", bad[:3], [])
    check_current(s, "pruned", current)
    check_rows(s, [i], pieces, newest, new)
    for p in list(old)[:3] + list(old)[-3:]:
        r = s.get(p)
        is_(p, (r.status, r["Cache-Control"], r["Content-Type"]),
            (410, "no-store", "application/json"))
        has("with what is there instead", r.json()["error"],
            new if "/mesh." in p else f"mesh/{i}:0")
    if many:
        is_("an epoch that never was stays 404", s.get(f"/seg.agg/mesh.0/{i}").status, 404)
        is_("HEAD of an old one", s.request("HEAD", f"/seg.agg/{first}/{i}").status, 410)
    is_("a piece of no generation is 404", s.get(
        f"/seg.agg/mesh/{i}:0:{max(newest.values()) + 1}").status, 404)
    final = rows(s)

    size = size_of(s)
    is_("verify is content", tool(s, "verify", "-q"), 0)
    is_("compaction", tool(s, "gc", "--dead", "1"), 0)
    ok(f"gives bytes back: {size}, then {size_of(s)}", size_of(s) < size)
    check_current(s, "compacted", current)
    s.stop()
    for how in ("compacted", "not compacted"):
        for alone in (False, True):
            if how != "compacted":
                # Pruned, but all bytes are still there: a reindex takes them in again.
                shutil.rmtree(s.root)
                shutil.copytree(before, s.root)
                s.start("--mesh-keep-s", "1")
                wait_for("a pass", lambda: rows(s) == final)
                s.stop()
            for path in glob.glob(s.root + "/index.sqlite*") if alone else ():
                os.unlink(path)
            what = f"{how}, reindexed" + (" by slabs alone" if alone else "")
            is_(what, tool(s, "reindex"), 0)
            is_("verify is content", tool(s, "verify", "-q"), 0)
            s.start()
            check_current(s, what, current)
            now = look(s, old)
            is_("old bytes are as they were, or 410", wrong(now, old, True), [])
            is_("old epochs stay gone", [p for p, v in now.items() if "/mesh." in p
                                         and v[0] != 410], [])
            restart(s, "--mesh-keep-s", "1")
            wait_for("a pass", lambda: rows(s) == final)
            check_current(s, f"{what} and pruned", current)
            s.stop()
    for point in POINTS:
        for times in ("", ":3") if point == "prune-half" else ("",):
            kill_at(s, point + times, before, current, old, final)

    # The cut makes the name of the past a public id again: its mesh is made anew.
    shutil.rmtree(s.root)
    shutil.copytree(before, s.root)
    s.start("--mesh-keep-s", "1")
    wait_for("a pass", lambda: rows(s) == final)
    r = s.call("POST", "/api/layers/seg/edits", {"cut": [[i, other]]})
    is_("a cut", r.status, 201)
    for k in (i, other):
        got = look(s, paths(s, k, epoch(s)))
        is_(f"all of {k} is there", [p for p, v in got.items() if v[0] != 200], [])
done()
