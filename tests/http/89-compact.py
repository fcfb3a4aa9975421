#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# A layer with whole objects, decisions, meshes and skeletons lies among one that is
# removed. Compaction, also killed in the middle, and new indices change nothing of what
# is served.
import glob
import json
import os
import subprocess

from lib import BUILD, Server, Volume, done, is_, ok, tiny_ffn, wait_for, write_tiny_model

TOOL = os.environ.get("FLOODGATE") or os.path.join(BUILD, "floodgate")
SIZE, OFFSET = (96, 96, 96), (8, 0, -16)
BLOCK, PERIOD, WALL, SHIFT = 48, 24, 7, 15
BLOCKS = [(x, y, z) for z in (0, 1) for y in (0, 1) for x in (0, 1)]
LATE = "?wait=100"


def names(step=24):
    for z in range(0, 96, step):
        for y in range(0, 96, step):
            for x in range(0, 96, step):
                yield "_".join(f"{a + o}-{a + step + o}" for a, o in zip((x, y, z), OFFSET))


def make(s, layer, block):
    lo = [a * BLOCK for a in block]
    name = "_".join(f"{a + o}-{a + 24 + o}" for a, o in zip(lo, OFFSET))
    is_(f"{layer} {block}", s.get(f"/{layer}/8_8_8/{name}{LATE}").status, 200)

    def still():
        m = s.metrics()
        return not any(m[f"floodgate_tasks_{x}"] for x in (
            "running", "committing", 'queued{class="idle"}', 'queued{class="bulk"}'))
    wait_for("idle", still)


def decide(s, **spec):
    r = s.call("POST", "/api/layers/seg/edits", spec)
    is_(f"{list(spec)}", r.status, 201)
    return r.json()["edits"]


def objects(s, ids, epochs):
    """What is served of objects: pieces, levels in all epochs, skeletons."""
    out = {}
    for i in ids:
        manifest = s.get(f"/seg.agg/mesh/{i}:0{LATE}")
        out[i, "mesh"] = manifest.body
        for x in manifest.json()["fragments"]:
            out[i, x] = s.get(f"/seg.agg/mesh/{x}").body
        out[i, "bone"] = s.get(f"/seg.agg/skeleton/{i}{LATE}").body
        for e in epochs:
            for end in (".index", ""):
                r = s.get(f"/seg.agg/{e}/{i}{end}{LATE}")
                out[i, e, end] = (r.status, r.body)
    return out


def state(s, ids, epochs, old):
    out = objects(s, ids, epochs)
    for layer in ("seg", "seg.agg"):
        for scale, step in (("8_8_8", 24),):
            for n in names(step):
                r = s.get(f"/{layer}/{scale}/{n}")
                out[layer, n] = (r.status, r.body)
    out["same"] = s.get("/seg/equivalences").body
    out["edits"] = s.get("/api/layers/seg/edits").body
    out["merges"] = s.get("/api/layers/seg/merges").body
    out["epoch"] = s.get("/seg.agg@multilod/info").json().get("mesh")
    out["old"] = {x: s.get(f"/seg.agg/mesh/{x}").body for x in old}
    return out


def same(text, got, want):
    is_(text, [k for k in want if got.get(k) != want[k]], [])


def made(s):
    return s.metrics()['floodgate_tasks_total{end="done"}']


def tool(s, *words):
    r = subprocess.run([TOOL, *words, "--root", s.root], capture_output=True, text=True)
    if r.returncode:
        print("# " + (r.stdout + r.stderr).replace("\n", "\n# "))
    return r.returncode


with Server() as s:
    top = os.path.dirname(s.root)
    Volume(os.path.join(top, "em"), SIZE, OFFSET, dark=lambda *v: any(
        (a + SHIFT) % PERIOD < WALL for a in v))
    write_tiny_model(os.path.join(top, "net"))
    s.add_layer("em", os.path.join(top, "em"))
    for layer in ("gone", "seg"):
        r = s.call("POST", "/api/layers", {"name": layer, "ffn": tiny_ffn(
            os.path.join(top, "net"), encoding="raw", block=[BLOCK] * 3,
            chunk=[24] * 3, halo=[16] * 3)})
        is_("a layer", r.status, 201)
    many = s.get("/seg.agg@multilod/info").status == 200 and s.get(
        "/seg.agg/mesh.1/info").status == 200
    for b in BLOCKS[:4]:
        make(s, "gone", b)
        make(s, "seg", b)
    members = s.get("/seg/equivalences").json()["equivalences"]
    first, second = members[0], members[1]
    early = s.get(f"/seg.agg/mesh/{first[0]}:0{LATE}").json()["fragments"]
    epochs = [s.get("/seg.agg@multilod/info").json()["mesh"]] if many else []
    objects(s, [first[0]], epochs)
    joined = decide(s, join=[[first[0], second[0]]])
    for b in BLOCKS[4:]:
        make(s, "gone", b)
        make(s, "seg", b)
    decide(s, cut=[[second[0], second[1]]])
    is_("the join is withdrawn", s.call(
        "DELETE", f"/api/layers/seg/edits/{joined[0] if isinstance(joined, list) else joined}"
    ).status, 200)
    ids = [first[0], *second[:2]]
    if many:
        epochs.append(s.get("/seg.agg@multilod/info").json()["mesh"])
    is_("the other layer is removed", s.call("DELETE", "/api/layers/gone").status in
        (200, 204), True)
    want = state(s, ids, epochs, early)
    want = state(s, ids, epochs, early)  # what was made for the first one is there now
    ok("chunks, pieces and decisions are compared", len(want) > 140 and
       json.loads(want["edits"]) and json.loads(want["merges"]))
    for point in ("gc-copied", "gc-moved", "gc-retired"):
        s.stop()
        s.env = {"FG_CRASH_AT": point}
        s.start()
        try:
            s.call("POST", "/api/gc", {"dead": 5})
        except OSError:
            pass
        except Exception as e:  # the answer never came
            print(f"# {e!r}")
        s.process.wait(100)
        is_(f"killed at {point}", s.process.returncode, -9)
        s.process.stdout.close()
        s.env = {}
        s.start()
        same(f"nothing changed after {point}", state(s, ids, epochs, early), want)
        is_("nor was made again", made(s), 0)
    size = sum(map(os.path.getsize, glob.glob(s.root + "/slabs/*")))
    is_("compaction beside the daemon", tool(s, "gc", "--dead", "5"), 0)
    now = sum(map(os.path.getsize, glob.glob(s.root + "/slabs/*")))
    ok(f"gives bytes back: {size}, then {now}", now < size)
    same("nothing changed", state(s, ids, epochs, early), want)
    is_("nor was made again", made(s), 0)
    for alone in (False, True):
        s.stop()
        is_("verify is content", tool(s, "verify"), 0)
        for path in glob.glob(s.root + "/index.sqlite*") if alone else ():
            os.unlink(path)
        is_("a reindex", tool(s, "reindex"), 0)
        is_("verify is content", tool(s, "verify"), 0)
        s.start()
        same("nothing changed" + (" by slabs alone" if alone else ""),
             state(s, ids, epochs, early), want)
        is_("nor was made again", made(s), 0)
done()
