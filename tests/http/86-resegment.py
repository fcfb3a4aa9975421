#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The stage "resegment": a layer whose blocks are not stitched at all gets its cells back by
# flooding contacts again, and no others; evidence, order, restart, edits and a new index.
import os
import shutil
import subprocess

from lib import BUILD, Server, Volume, done, has, is_, ok, tiny_ffn, wait_for, \
    write_tiny_model

SIZE, BLOCK, PERIOD, WALL, SHIFT = (48, 48, 24), 24, 16, 6, 3  # cells lie across 24
OVER = ("done", "failed", "cancelled")


def run(s, layer, stages, box=None):
    spec = {"layer": layer, "stages": stages}
    if box:
        spec["box"] = box
    r = s.call("POST", "/api/jobs", spec)
    if r.status != 202:
        print("Bail out!", r.status, r.body)
        raise SystemExit(1)
    url = r.json()["url"]
    return wait_for(f"{layer}: {stages}", lambda: (lambda j: j if j["state"] in OVER else None)(
        s.get(url).json()))


def groups(s, layer):
    """Members of each component that has several, and of each that has one."""
    got = s.get(f"/{layer}/equivalences").json()["equivalences"]
    return sorted(sorted(map(int, e)) for e in got)


def objects(s, layer):
    p = s.get(f"/{layer}/segment_properties/info").json()["inline"]
    names = {q["id"]: q["values"] for q in p["properties"] if q.get("type") == "number"}
    return {int(i): tuple(names[k][n] for k in ("x0", "y0", "z0"))
            for n, i in enumerate(p["ids"])}


def cell(v):
    # The walls are dark, and so are voxels next to them, which no flood fills.
    return tuple((a + SHIFT) // PERIOD for a in v)


def add(s, top, name, **more):
    r = s.call("POST", "/api/layers", {"name": name, "ffn": tiny_ffn(
        os.path.join(top, "net"), encoding="raw", block=[BLOCK] * 3, chunk=[8] * 3,
        halo=[8] * 3, stitch={"iou": 2, "share": 2, "fragment_max": 0}, **more)})
    return r


with Server() as s:
    top = os.path.dirname(s.root)
    Volume(os.path.join(top, "em"), SIZE, (0, 0, 0), dark=lambda *v: any(
        (a + SHIFT) % PERIOD < WALL for a in v))
    write_tiny_model(os.path.join(top, "net"))
    s.add_layer("em", os.path.join(top, "em"))
    is_("a layer", add(s, top, "seg").status, 201)
    first = run(s, "seg", ["segment", "stitch"])
    is_("it is made", (first["state"], groups(s, "seg")), ("done", []))
    base = objects(s, "seg")
    cells = {}
    for i, corner in base.items():
        cells.setdefault(cell(corner), []).append(i)
    wanted = sorted(sorted(c) for c in cells.values() if len(c) > 1)
    ok("cells are cut by blocks", len(wanted) >= 3)
    j = run(s, "seg", ["resegment"])
    is_("contacts are flooded again", (j["state"], [x["name"] for x in j["stages"]],
                                       j["stages"][0]["done"]), ("done", ["resegment"], 4))
    is_("each cell is one object, no object is two cells", groups(s, "seg"), wanted)
    rows = s.get("/api/layers/seg/contacts").json()
    ok("with its evidence", len(rows) > 0 and all(
        int(c["a"]) < int(c["b"]) and 0 <= c["recovered"] <= 1 and len(c["at"]) == 3
        for c in rows))
    ok("which is good where it joined", all(
        c["recovered"] >= .6 and c["deleted"] <= .02 and
        c["both"] >= .8 * (c["both"] + c["only_a"] + c["only_b"])
        for c in rows if c["joined"]))
    is_("once is enough", run(s, "seg", ["resegment"])["stages"][0]["present"], 4)
    is_("contacts of one object", {i for c in s.get(
        f"/api/layers/seg/contacts?id={wanted[0][0]}").json() for i in (c["a"], c["b"])}
        & set(map(str, wanted[0])) != set(), True)
    is_("of none", s.get("/api/layers/seg/contacts?id=77").status, 404)
    is_("of an image", s.get("/api/layers/em/contacts").status, 400)
    r = s.call("POST", "/api/layers/seg/edits", {"cut": [[wanted[0][0], i]
                                                        for i in wanted[0][1:]]})
    is_("a cut outranks it", (r.status, r.json()["changed"]), (201, True))
    ok("the object is apart", wanted[0][0] not in sum(groups(s, "seg"), []))
    for n in r.json()["edits"]:
        s.call("DELETE", f"/api/layers/seg/edits/{n}")
    is_("and withdrawn it holds again", groups(s, "seg"), wanted)

    # Block by block: what has a neighbour that is not there is left for later.
    is_("another layer", add(s, top, "parts").status, 201)
    for x in (1, 0):
        for y in (0, 1):
            box = [x * BLOCK, y * BLOCK, 0, (x + 1) * BLOCK, (y + 1) * BLOCK, SIZE[2]]
            j = run(s, "parts", ["segment", "stitch", "resegment"], box)
            if (x, y) == (1, 0):
                is_("a lone block is not tried", (j["state"], j["stages"][2]["done"],
                                                  j["stages"][2]["present"]), ("done", 0, 1))
    run(s, "parts", ["resegment"])
    # Ids differ by nothing but the layer, so they can be compared.
    is_("any order gives the same objects", groups(s, "parts"), wanted)
    is_("and the same evidence", s.get("/api/layers/parts/contacts").json(), rows)

    is_("strict thresholds join nothing", add(s, top, "strict", resegment={"iou": 2})
        .status, 201)
    run(s, "strict", ["segment", "stitch", "resegment"])
    is_("as asked", groups(s, "strict"), [])
    # Only what blocks saw one over the other: here cells lie across, so it is all that counts.
    is_("only what overlaps", add(s, top, "over", resegment={"overlap": .1}).status, 201)
    run(s, "over", ["segment", "stitch", "resegment"])
    is_("is enough", groups(s, "over"), wanted)
    tried = {(c["a"], c["b"]) for c in s.get("/api/layers/over/contacts").json()}
    seen = {(m["a"], m["b"]) for m in s.get("/api/layers/over/merges").json()}
    ok(f"{len(tried)} of {len({(c['a'], c['b']) for c in rows})} contacts, all of them seen",
       0 < len(tried) and tried <= seen)
    is_("more than all of an object", add(s, top, "never", resegment={"overlap": 2}).status, 201)
    run(s, "never", ["segment", "stitch", "resegment"])
    is_("overlaps nowhere", s.get("/api/layers/never/contacts").json(), [])

    for why, more, part in (
            ("an overlap below 0", {"resegment": {"overlap": -1}}, "overlap"),
            ("an unknown key", {"resegment": {"glue": 1}}, "glue"),
            ("no object", {"resegment": 5}, "resegment"),
            ("a radius of two", {"resegment": {"radius": [1, 2]}}, "radius"),
            ("too large a radius", {"resegment": {"radius": [900, 900, 900]}}, "radius"),
            ("too long a reach", {"resegment": {"reach": 99}}, "reach"),
            ("a consensus of nothing", {"consensus": {"least": -1}}, "least"),
            ("no such scale", {"coarse": {"scale": "99"}}, "99"),
            ("a jump beyond the search", {"jumps": {"shift": 9, "search": 3}}, "search"),
            ("no such mask", {"mask": {"layer": "nothing"}}, "nothing"),
            ("sections that are texts", {"missing": ["a"]}, "missing")):
        r = add(s, top, "bad", **more)
        ok(f"{why} is refused", r.status in (400, 404) and part in r.json()["error"])
    is_("the recipe says what was asked", s.get("/api/layers/strict").json()["recipe"]
        ["resegment"]["iou"], 2)

    # Masks: no object begins in forbidden sections, or where the mask layer says so.
    is_("sections are left out", add(s, top, "gap", missing=list(range(24))).status, 201)
    run(s, "gap", ["segment"])
    is_("all of them: no object", s.get("/gap.agg/equivalences").json()["equivalences"], [])
    is_("none at all", "segment_properties" in s.get("/gap/info").json(), False)
    is_("a mask", add(s, top, "masked", mask={"layer": "em", "from": 1}).status, 201)
    run(s, "masked", ["segment"])
    is_("forbids what is bright", "segment_properties" in s.get("/masked/info").json(), False)
    is_("a layer that masks is kept", s.call("DELETE", "/api/layers/em").status // 100, 4)
    is_("consensus", add(s, top, "both", consensus={"least": 1}).status, 201)
    run(s, "both", ["segment"])
    is_("of cells is the cells", objects(s, "both"), base)

    # Killed at each step of writing the evidence of a block, the job goes on after a restart.
    is_("one more layer", add(s, top, "killed").status, 201)
    run(s, "killed", ["segment", "stitch"])
    s.stop()
    kept = os.path.join(top, "kept")
    shutil.copytree(s.root, kept)
    for point in ("slab-append", "slab-half", "slab-synced", "txn-begun", "txn-half",
                  "txn-before-commit", "committed"):
        shutil.rmtree(s.root)
        shutil.copytree(kept, s.root)
        s.env = {"FG_CRASH_AT": point}
        s.start()
        try:
            s.call("POST", "/api/jobs", {"layer": "killed", "stages": ["resegment"]})
        except (ConnectionError, OSError):
            pass  # it may die before it answers
        s.process.wait(100)
        is_(f"{point}: killed there", s.process.returncode, -9)
        s.process.stdout.close()
        s.env = {}
        s.start()
        is_("asked again it goes on", run(s, "killed", ["resegment"])["state"], "done")
        is_("to the same objects", groups(s, "killed"), wanted)
        is_("and the same evidence", s.get("/api/layers/killed/contacts").json(), rows)
        s.stop()
    s.start()

    before = groups(s, "seg")
    s.stop(hard=True)
    tool = os.path.join(BUILD, "floodgate")
    for command in (["verify"], ["reindex"]):
        p = subprocess.run([tool, *command, "--root", s.root], capture_output=True, text=True)
        is_(f"{command[0]} after kill -9", p.returncode, 0)
        if p.returncode:
            print("#", p.stdout, p.stderr)
    p = subprocess.run([tool, "object", "contacts", "seg", "--root", s.root],
                       capture_output=True, text=True)
    is_("the tool lists them", len(p.stdout.splitlines()), len(rows))
    s.start()
    is_("a new index has the same components", groups(s, "seg"), before)
    is_("and the same evidence", s.get("/api/layers/seg/contacts").json(), rows)
done()
