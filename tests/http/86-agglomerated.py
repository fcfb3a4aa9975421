#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# NAME.agg: the blocks of a segmentation stitched to whole objects. The image is cells
# between closed walls, so the truth is known: one object a cell, in whatever order the
# blocks came.
import json
import os
import random
import struct
import subprocess
from urllib.parse import unquote

from lib import BUILD, Server, Volume, done, is_, ok, tiny_ffn, wait_for, write, \
    write_tiny_model

SIZE, OFFSET = (96, 96, 96), (8, 0, -16)
BLOCK, PERIOD, WALL, SHIFT = 48, 24, 7, 15  # cells lie across the planes at 48
BLOCKS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]


def chunks(chunk=24):
    for z in range(0, SIZE[2], chunk):
        for y in range(0, SIZE[1], chunk):
            for x in range(0, SIZE[0], chunk):
                lo = (x, y, z)
                hi = tuple(min(a + chunk, n) for a, n in zip(lo, SIZE))
                name = "_".join(f"{a + o}-{b + o}" for a, b, o in zip(lo, hi, OFFSET))
                yield name, lo, hi


def read(s, layer, scale="8_8_8"):
    """{voxel: id} of all labelled voxels of a raw layer, and each chunk's tag."""
    out, tags = {}, {}
    for name, lo, hi in chunks():
        r = s.get(f"/{layer}/{scale}/{name}")
        if r.status != 200:
            print(f"# {name}: {r.status} {r.body!r}")
            continue
        tags[name] = r["ETag"]
        ids = struct.unpack(f"<{len(r.body) // 8}Q", r.body)
        i = 0
        for z in range(lo[2], hi[2]):
            for y in range(lo[1], hi[1]):
                for x in range(lo[0], hi[0]):
                    if ids[i]:
                        out[x, y, z] = ids[i]
                    i += 1
    return out, tags


def cell(v):
    return tuple((a + SHIFT) // PERIOD for a in v)


def add(s, top, name, **more):
    r = s.call("POST", "/api/layers", {"name": name, "ffn": tiny_ffn(
        os.path.join(top, "net"), encoding="raw", block=[BLOCK] * 3, chunk=[24] * 3,
        halo=[16] * 3, **more)})
    if r.status != 201:
        print(f"Bail out! {r.body!r}")
        raise SystemExit(1)


def make(s, layer, order):
    """Ask for a chunk of each block in that order, then wait until all is stitched."""
    for b in order:
        lo = [a * BLOCK for a in b]
        hi = [a + 24 for a in lo]
        name = "_".join(f"{a + o}-{b + o}" for a, b, o in zip(lo, hi, OFFSET))
        r = s.get(f"/{layer}/8_8_8/{name}?wait=100")
        if r.status != 200:
            print(f"Bail out! {name}: {r.status} {r.body!r}")
            raise SystemExit(1)
    settle(s)


def settle(s):
    def still():
        m = s.metrics()
        return not any(m[f"floodgate_tasks_{x}"] for x in (
            "running", "committing", 'queued{class="idle"}', 'queued{class="bulk"}'))
    wait_for("idle", still)


def names_of(voxels):
    """{cell: set of ids}"""
    out = {}
    for v, i in voxels.items():
        out.setdefault(cell(v), set()).add(i)
    return out


def edit(s, layer, **spec):
    r = s.call("POST", f"/api/layers/{layer}/edits", spec)
    return r.status, r.json()


def equivalences(s, layer):
    """What a whole layer lists, against what its chunks say."""
    base, _ = read(s, layer)
    whole, _ = read(s, f"{layer}.agg")
    members = {}
    for v, i in base.items():
        members.setdefault(whole[v], set()).add(i)
    wanted = sorted(sorted(m) for m in members.values() if len(m) > 1)
    got = s.get(f"/{layer}/equivalences").json()
    is_("its equivalences", sorted(sorted(map(int, e)) for e in got["equivalences"]), wanted)
    is_("that was all", got["next"], None)
    lines = s.get(f"/{layer}/equivalences?format=csv").body.decode().split()
    is_("as lines", sorted(tuple(map(int, x.split(","))) for x in lines[1:]),
        sorted((i, m[0]) for m in wanted for i in m))
    pages, after = [], 0
    while after is not None:
        page = s.get(f"/{layer}.agg/equivalences?max=3&after={after}").json()
        pages += page["equivalences"]
        after = page["next"]
    is_("page by page", pages, got["equivalences"])
    one = wanted[0]
    is_("those of one object", s.get(f"/{layer}/equivalences?id={one[-1]}").json()
        ["equivalences"], [[str(i) for i in one]])
    box = s.get(f"/{layer}/equivalences?box=8-9_0-1_-16--15").json()["equivalences"]
    first = {base[v] for v in base if max(v) < BLOCK}
    is_("those of a box", sorted(sorted(map(int, e)) for e in box),
        [m for m in wanted if first & set(m)])
    for bad in ("id=0", "id=x", "id=-1", "box=1-2", "box=900-901_0-1_0-1", "format=xml",
                "max=0", "id=99999999999999999999"):
        is_(f"?{bad}", s.get(f"/{layer}/equivalences?{bad}").status, 400)
    is_("an unknown id", s.get(f"/{layer}/equivalences?id=77").status, 404)
    is_("an image has none", s.get("/em/equivalences").status, 404)
    return wanted


def decisions(s, layer, wanted):
    whole, tags = read(s, f"{layer}.agg")
    a, b = wanted[0], wanted[1]
    is_("two objects are joined", edit(s, layer, join=[[str(a[1]), b[0]]], who="me"),
        (201, {"edits": [1], "changed": True}))
    after, now = read(s, f"{layer}.agg")
    is_("under the smaller name", {after[v] for v in whole if whole[v] == b[0]},
        {min(a[0], b[0])})
    is_("and nothing else", {v for v in whole if after[v] != whole[v]},
        {v for v in whole if whole[v] == max(a[0], b[0])})
    names = {lo: n for n, lo, _ in chunks()}
    changed = {names[tuple(x // 24 * 24 for x in v)] for v in whole
               if after[v] != whole[v]}
    is_("tags change where voxels do", {n for n in now if now[n] != tags[n]}, changed)
    is_("a second time changes nothing", edit(s, layer, join=[[a[1], b[0]]])[1]["changed"],
        False)
    is_("both are withdrawn", [s.call("DELETE", f"/api/layers/{layer}/edits/{n}").json()
                               ["changed"] for n in (2, 1)], [False, True])
    is_("which gives the old bytes", read(s, f"{layer}.agg")[1], tags)
    big = max(wanted, key=len)
    is_("a cut", edit(s, layer, cut=[[big[0], i] for i in big[1:]])[1]["changed"], True)
    after, _ = read(s, f"{layer}.agg")
    base, _ = read(s, layer)
    is_("sets it apart", {base[v] for v in whole if after[v] == big[0]}, {big[0]})
    is_("from the rest", {after[v] for v in whole if base[v] in big[1:]}, {big[1]})
    o = s.get(f"/api/layers/{layer}/objects/{big[-1]}").json()
    ok("its parts answer for what they are in now", o["public"] != str(big[0]) and
       o["id"] == str(big[-1]) and str(big[-1]) in o["members"])
    rows = s.get(f"/api/layers/{layer}/edits").json()
    is_("what was decided", [(r["kind"], r["undone"], r["who"]) for r in rows][:3],
        [("join", True, "me"), ("join", True, ""), ("cut", False, "")])
    merges = s.get(f"/api/layers/{layer}/merges?id={big[0]}").json()
    ok("evidence", merges and all(m["both"] > 0 and int(m["a"]) < int(m["b"])
                                  for m in merges))
    for why, spec in (("an unknown key", {"glue": []}), ("no pairs", {"join": []}),
                      ("one id", {"join": [[1]]}), ("three", {"cut": [[1, 2, 3]]}),
                      ("zero", {"join": [[0, 1]]}), ("text", {"join": [["a", "b"]]}),
                      ("itself", {"join": [[big[0], big[0]]]}),
                      ("a long name", {"join": [[big[0], big[1]]], "who": "x" * 64})):
        is_(why, edit(s, layer, **spec)[0], 400)
    is_("an unknown id", edit(s, layer, join=[[big[0], 77]]),
        (404, {"error": "edit 0: there is no object 77"}))
    is_("an unknown edit", s.call("DELETE", f"/api/layers/{layer}/edits/999").status, 404)
    is_("an image", edit(s, "em", join=[[1, 2]])[0], 400)
    status, many = edit(s, layer, join=[[a[0], a[1]]] * 120000, who="a list")
    is_("120,000 times the same, more than a client may send", status, 201)
    edits = f"/api/layers/{layer}/edits"
    for why, n in (("backwards", f"{many['edits'][0]}?through=1"), ("no number", "1?through=x"),
                   ("too many", "1?through=9999999"), ("no value", "1?through"),
                   ("far too long", "1?through=" + "0" * 40 + "2")):
        is_(f"{why} cannot be withdrawn", s.call("DELETE", f"{edits}/{n}").status, 400)
    last = many["edits"][-1]
    is_("nor one that is not there", s.call("DELETE", f"{edits}/{many['edits'][0]}?through="
                                            f"{last + 1}").status, 404)
    is_("so that none is", s.get(f"{edits}?after={last - 1}").json()[0]["undone"], False)
    is_("they are withdrawn together", s.call(
        "DELETE", f"{edits}/{many['edits'][0]}?through={last}").status, 200)
    first, undone = many["edits"][0] - 1, []
    while first < last:  # in pages of at most 100,000
        undone += s.get(f"{edits}?after={first}&max=100000").json()
        first = undone[-1]["edit"]
    is_("all of them", ({r["undone"] for r in undone}, len(undone)),
        ({True}, last - many["edits"][0] + 1))
    for how in ([], ["--json"]):
        p = subprocess.run([os.path.join(BUILD, "floodgate"), "object", "edits", layer,
                            "--root", s.root, *how], capture_output=True, text=True)
        is_(f"the tool lists them all {how}", len(json.loads(p.stdout)) if how else
            len(p.stdout.splitlines()), last)
    ring = [b[0], b[1], a[0]]
    is_("a ring", edit(s, layer, join=list(zip(ring, ring[1:] + ring[:1])))[0], 201)
    token = s.call("POST", "/api/tokens", {"role": "compute", "hours": 1}).json()["token"]
    n = s.request("POST", f"/t/{token}/api/layers/{layer}/edits",
                  body=json.dumps({"join": [[a[0], a[1]]]})).json()["edits"][0]
    is_("who does not say who is known by the token",
        s.get(f"{edits}?after={n - 1}").json()[0]["who"], "session")
    is_("without a token", s.request("POST", f"/api/layers/{layer}/edits",
                                     body=b"{}").status, 401)


def scores(s):
    """Blocks by themselves against whole objects, with links to where they differ."""
    p = subprocess.run([os.path.join(BUILD, "floodgate"), "evaluate", "seg0", "seg0.agg",
                        "--json", "--root", s.root], capture_output=True, text=True)
    j = json.loads(p.stdout)
    ok("blocks split cells and merge none", j["voi_split"] > 0.5 and j["voi_merge"] == 0)
    links = [json.loads(unquote(w["link"].split("#!", 1)[1])) for w in j["worst"]]
    is_("links lead to the daemon, over the image", {
        x["source"] for state in links for x in state["layers"]},
        {f"precomputed://{s.url}/{n}" for n in ("em", "seg0", "seg0.agg")})


def properties(s, layer):
    whole, _ = read(s, layer)
    r = s.get(f"/{layer}/info").json()
    p = s.get(f"/{layer}/{r['segment_properties']}/info").json()
    is_("segment properties", p["@type"], "neuroglancer_segment_properties")
    ids = list(map(int, p["inline"]["ids"]))
    columns = {c["id"]: c["values"] for c in p["inline"]["properties"]}
    sizes, boxes = {}, {}
    for v, i in whole.items():
        sizes[i] = sizes.get(i, 0) + 1
        lo, hi = boxes.setdefault(i, (list(v), list(v)))
        for d in range(3):
            lo[d] = min(lo[d], v[d])
            hi[d] = max(hi[d], v[d])
    is_("all objects", sorted(ids), sorted(sizes))
    is_("largest first", columns["voxels"], sorted(sizes.values(), reverse=True))
    is_("their voxels", dict(zip(ids, columns["voxels"])), sizes)
    is_("their boxes", {i: tuple(columns[k][n] for k in ("x0", "y0", "z0", "x1", "y1", "z1"))
                        for n, i in enumerate(ids)},
        {i: tuple(a + o for a, o in zip(lo, OFFSET)) + tuple(
            a + o + 1 for a, o in zip(hi, OFFSET)) for i, (lo, hi) in boxes.items()})
    seeds = {i: tuple(columns["seed_" + k][n] for k in "xyz") for n, i in enumerate(ids)}
    cells = {i: cell(v) for v, i in whole.items()}
    is_("their seeds are in their cells", {
        i: v for i, v in seeds.items()
        if cell(tuple(a - o for a, o in zip(v, OFFSET))) != cells[i]}, {})
    ok("as whole numbers", all(c["data_type"] == "int32" for c in p["inline"]["properties"]
                               if c["id"].startswith("seed_")))
    one = s.get(f"/api/layers/{layer.removesuffix('.agg')}/objects/{ids[0]}").json()
    if layer.endswith(".agg"):
        is_("as an object is described", one["seed"], list(seeds[ids[0]]))
    page = s.get(f"/{layer}/segment_properties/info?skip=3&max=2").json()
    is_("a page of them", list(map(int, page["inline"]["ids"])), ids[3:5])
    return columns


with Server() as s:
    top = os.path.dirname(s.root)
    # A field of view sees four voxels to each side: not through a wall.
    Volume(os.path.join(top, "em"), SIZE, OFFSET, dark=lambda *v: any(
        (a + SHIFT) % PERIOD < WALL for a in v))
    write_tiny_model(os.path.join(top, "net"))
    s.add_layer("em", os.path.join(top, "em"))
    results = {}
    for k, order in enumerate((BLOCKS, BLOCKS[::-1], random.Random(3).sample(BLOCKS, 8))):
        add(s, top, f"seg{k}")
        # Neuroglancer never ends when it looks a label up in an empty list.
        is_("no properties are named while there are no objects",
            [s.get(f"/seg{k}{x}/info").json().get("segment_properties")
             for x in ("", ".agg")], [None, None])
        make(s, f"seg{k}", order)
        base, _ = read(s, f"seg{k}")
        whole, _ = read(s, f"seg{k}.agg")
        before, after = names_of(base), names_of(whole)
        if k == 0:
            is_("base objects end at blocks", sorted(map(len, before.values()))[-3:],
                [4, 4, 8])
            ok("there are many cells", len(before) >= 27)
        is_("each cell is one object", {c: len(n) for c, n in after.items()
                                        if len(n) != 1}, {})
        is_("no object is two cells", len(set.union(*after.values())), len(after))
        is_("it has the smallest of its members' ids",
            {c: min(n) for c, n in before.items()}, {c: min(n) for c, n in after.items()})
        is_("no voxel came or went", whole.keys(), base.keys())
        results[k] = whole
    is_("any order gives the same ids", results[1], results[0])
    is_("any order at all", results[2], results[0])
    print("# properties of base objects")
    parts = properties(s, "seg0")
    is_("one part each", set(parts["parts"]), {1})
    print("# properties of whole objects")
    parts = properties(s, "seg0.agg")
    is_("the corner cell has eight parts", max(parts["parts"]), 8)
    is_("in eight blocks", max(parts["blocks"]), 8)
    wanted = equivalences(s, "seg0")
    scores(s)
    decisions(s, "seg1", wanted)
    s.stop()
    s.start()
    is_("a restart changes nothing", read(s, "seg0.agg")[0], results[0])
    s.stop()
    tokens = os.path.join(s.own.name, "tokens")
    write(tokens, f"admin {'t' * 20} {'n' * 62}é\n")
    os.chmod(tokens, 0o600)
    s.options = ("--token-file", tokens)
    s.start()
    n = s.request("POST", "/api/layers/seg1/edits", json.dumps({"join": [wanted[0][:2]]}),
                  {"Authorization": f"Bearer {'t' * 20}"}).json()["edits"][0]
    is_("a long name is cut between characters", s.call(
        "GET", f"/api/layers/seg1/edits?after={n - 1}").json()[0]["who"], "n" * 62)
done()
