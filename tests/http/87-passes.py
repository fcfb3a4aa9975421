#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Further passes of a recipe, from the outside. Two bright cells lie behind one another in x;
# the wall between them is of sheets one voxel thick, bright ones (not quite as bright as the
# cells) and dark ones. In another picture the upper sections are moved to the side. The plain
# flood makes one object of both; a coarser scale, other weights, and jumps each part them.
import collections
import json
import os
import random

from lib import Server, Volume, done, is_, ok, tiny_ffn, wait_for, write, write_tiny_model

SIZE, WALL = (64, 40, 40), (27, 37)
MOVED, JUMP, SHIFT = (48, 24, 24), 12, 5
GAP = 27
OVER = ("done", "failed", "cancelled")


class Scaled(Volume):
    """The image with a second scale: means of 2 x 2 x 2 voxels, whose windows line up."""

    def __init__(self, path, **more):
        super().__init__(path, SIZE, (0, 0, 0), **more)
        noise = random.Random(1)  # floods step to the brightest voxel in sight
        for i, v in enumerate(self.data):
            self.data[i] = 40 if v < 200 else noise.randrange(235, 255)
        for z in range(8, 32):
            for y in range(5, SIZE[1] - 4, 2):
                for x in range(*WALL):
                    self.data[x + SIZE[0] * (y + SIZE[1] * z)] = 200
        half = [n // 2 for n in SIZE]
        coarse = bytearray(half[0] * half[1] * half[2])
        for i in range(len(coarse)):
            x, y, z = i % half[0], i // half[0] % half[1], i // half[0] // half[1]
            coarse[i] = sum(self.data[2 * x + a + SIZE[0] * (
                2 * y + b + SIZE[1] * (2 * z + c))]
                for a in (0, 1) for b in (0, 1) for c in (0, 1)) // 8
        scale = self.info["scales"][0]
        self.info["scales"].append({**scale, "key": "16_16_16", "size": half,
                                    "resolution": [16, 16, 16]})
        write(os.path.join(path, "info"), json.dumps(self.info))
        write(os.path.join(path, "8_8_8", "0-64_0-40_0-40"), bytes(self.data))
        write(os.path.join(path, "16_16_16", "0-32_0-20_0-20"), bytes(coarse))


def add(s, net, name, image="em", least=8000, **more):
    return s.call("POST", "/api/layers", {"name": name, "ffn": {
        **tiny_ffn(net, encoding="raw", block=[64, 64, 64], chunk=[64, 64, 64],
                   min_segment_size=least, **more),
        "image": image}})


def make(s, name):
    r = s.call("POST", "/api/jobs", {"layer": name, "stages": ["segment"]})
    url = r.json()["url"]
    state = wait_for(name, lambda: (lambda j: j["state"] if j["state"] in OVER else None)(
        s.get(url).json()))
    return is_(f"{name} is made", state, "done")


def objects(s, name):
    """Bounding boxes of a layer's objects."""
    p = s.get(f"/{name}/segment_properties/info").json()["inline"]
    at = {q["id"]: q["values"] for q in p["properties"] if q.get("type") == "number"}
    return sorted(tuple(at[k][n] for k in ("x0", "x1", "y0", "y1", "z0", "z1"))
                  for n in range(len(p["ids"])))


def parted(s, name):
    """How many objects have most of the left cell, of the right one, and of both."""
    ids = memoryview(s.get(f"/{name}/8_8_8/0-64_0-40_0-40").body).cast("Q")
    count = [collections.Counter(), collections.Counter()]
    for i, v in enumerate(ids):
        count[i % SIZE[0] >= WALL[0]][v] += 1
    big = [{v for v, n in c.items() if v and n > 10000} for c in count]
    return len(big[0] - big[1]), len(big[1] - big[0]), len(big[0] & big[1])


with Server() as s:
    top = os.path.dirname(s.root)
    net, strict = os.path.join(top, "net"), os.path.join(top, "strict")
    Scaled(os.path.join(top, "em"), dark=lambda x, y, z: WALL[0] <= x < WALL[1] or
           min(x, y, z, *(n - 1 - a for n, a in zip(SIZE, (x, y, z)))) < 4)
    write_tiny_model(net)
    write_tiny_model(strict, gain=20.0, bias=-60.0)
    s.add_layer("em", os.path.join(top, "em"))

    is_("a plain layer", add(s, net, "plain").status, 201)
    is_("one with a coarser scale first", add(s, net, "coarse", coarse={
        "scale": "16_16_16", "least": 1000}).status, 201)
    is_("a second opinion on that scale", add(s, net, "scale", consensus={
        "scale": "16_16_16", "least": 8000}).status, 201)
    is_("one by other weights", add(s, net, "weights", consensus={
        "model": strict, "least": 8000}).status, 201)
    is_("one by the same", add(s, net, "same", consensus={"model": net, "least": 8000})
        .status, 201)
    is_("one in another order", add(s, net, "again", consensus={"least": 8000}).status, 201)
    s.stop()
    s.start()  # what a layer is made of outlives the daemon

    for name in ("plain", "coarse", "scale", "weights", "same", "again"):
        make(s, name)
    is_("bright sheets join the cells", parted(s, "plain"), (0, 0, 1))
    is_("not where a coarser scale has kept them apart", parted(s, "coarse"), (1, 1, 0))
    is_("nor where it has a say", parted(s, "scale"), (1, 1, 0))
    is_("nor where other weights have", parted(s, "weights"), (1, 1, 0))
    is_("the layer's own weights by name are those not named", *(
        s.get(f"/{n}/8_8_8/0-64_0-40_0-40").body for n in ("same", "again")))
    own = s.get("/api/layers/weights").json()["recipe"]
    is_("the recipe names both networks", (
        own["consensus"]["model"], len(own["consensus"]["sha256"]),
        own["consensus"]["sha256"] != own["model"]["sha256"], own["consensus"]["fov"]),
        ("strict", 64, True, [9, 9, 9]))
    write_tiny_model(strict, gain=21.0, bias=-60.0)
    is_("another layer with the same path", add(s, net, "later", consensus={
        "model": strict}).status, 201)
    ok("has another network", s.get("/api/layers/later").json()["recipe"]["consensus"]
       ["sha256"] != own["consensus"]["sha256"])

    # The upper half of the stack is moved to the side.
    Volume(os.path.join(top, "moved"), MOVED, (0, 0, 0), dark=lambda x, y, z: (
        x + SHIFT * (z >= JUMP)) % 16 < 3 or y % 8 == 0)
    s.add_layer("moved", os.path.join(top, "moved"))
    is_("over a jump", add(s, net, "over", "moved", 10).status, 201)
    is_("not over a jump", add(s, net, "not", "moved", 10, jumps={
        "shift": 4, "search": 6, "tile": 48}).status, 201)
    is_("a jump that is large enough", add(s, net, "small", "moved", 10, jumps={
        "shift": 6, "search": 7, "tile": 48}).status, 201)
    for name in ("over", "not", "small"):
        make(s, name)
    is_("floods go on where the picture jumps", {z1 > JUMP for *_, z0, z1 in
                                                 objects(s, "over") if z0 < JUMP}, {True})
    on = objects(s, "not")
    ok("there are objects on both sides of it", any(b[5] <= JUMP for b in on) and
       any(b[4] >= JUMP for b in on))
    is_("but none across", [b for b in on if b[4] < JUMP < b[5]], [])
    is_("smaller jumps are none", objects(s, "small"), objects(s, "over"))

    # A bright process through all sections, of which one is left out.
    Volume(os.path.join(top, "long"), (24, 24, 48), (0, 0, 0), dark=lambda x, y, z: min(
        x, y, 23 - x, 23 - y) < 4)
    s.add_layer("long", os.path.join(top, "long"))
    for name, missing in (("whole", []), ("left23", [23]), ("left24", [24])):
        is_(f"sections {missing} are left out", add(s, net, name, "long", 10, missing=missing)
            .status, 201)
        make(s, name)
    is_("a flood goes through", [b for b in objects(s, "whole") if b[4] < 10 and b[5] > 38] != [],
        True)
    for name in ("left23", "left24"):
        ends = [b[4:] for b in objects(s, name)]
        # A field of view sees four sections to each side.
        ok(f"none goes over a section that is left out: {ends}", all(
            z0 > 18 or z1 < 30 for z0, z1 in ends) and any(z0 < 10 for z0, _ in ends) and
           any(z1 > 38 for _, z1 in ends))

    # A gap of one voxel, which the field of view looks over.
    Volume(os.path.join(top, "gap"), (48, 24, 24), (0, 0, 0), dark=lambda x, y, z: x == GAP)
    s.add_layer("gap", os.path.join(top, "gap"))
    is_("over a gap", add(s, net, "across", "gap", 10, pieces=False).status, 201)
    is_("taken apart unless told", add(s, net, "apart", "gap", 10).status, 201)
    is_("and what is small dropped", add(s, net, "dropped", "gap", 10, pieces={
        "least": 8000}).status, 201)
    is_("no number told", add(s, net, "empty", "gap", 77, pieces={}).status, 201)
    is_("yes told", add(s, net, "yes", "gap", 77, pieces=True).status, 201)
    is_("beside a second opinion", add(s, net, "two", "gap", 10, consensus={"least": 8})
        .status, 201)
    is_("a rule of stitching told in part", add(s, net, "part", "gap", 10, stitch={
        "near": 3}).status, 201)
    is_("and for whole floods", add(s, net, "strictly", "gap", 10, pieces=False, stitch={
        "near": 3}).status, 201)
    s.stop()
    s.start()
    recipe = {n: s.get(f"/api/layers/{n}").json()["recipe"] for n in (
        "across", "apart", "dropped", "empty", "yes", "two", "part", "strictly")}
    is_("the recipe says below what: an object's least size unless told", {
        n: r.get("pieces") for n, r in recipe.items()}, {
            "across": None, "apart": {"least": 10}, "dropped": {"least": 8000},
            "empty": {"least": 77}, "yes": {"least": 77}, "two": {"least": 10},
            "part": {"least": 10}, "strictly": None})
    loose = {"near": 32, "iou": .5, "share": .8, "fragment_share": .8, "fragment_max": 1 << 40,
             "both_min": 10, "rival": 2}  # that of the least object
    strictly = {**loose, "near": 4, "share": 2, "fragment_max": 0, "both_min": 20}
    is_("and has the whole rule of stitching, a strict one for whole floods", {
        n: recipe[n]["stitch"] for n in ("across", "apart", "dropped", "part", "strictly")}, {
            "across": strictly, "apart": loose, "dropped": loose,
            "part": {**loose, "near": 3}, "strictly": {**strictly, "near": 3}})
    for name in ("across", "apart", "dropped"):
        make(s, name)
    is_("a flood is one object on both sides", sum(b[0] < GAP < b[1] - 1 for b in objects(
        s, "across")), 1)
    is_("no longer", [b[:2] for b in objects(s, "apart") if b[0] < GAP], [(0, GAP)])
    ok("the other piece is one of its own", (GAP + 1, 47) in [b[:2] for b in objects(
        s, "apart")])
    is_("of which only the large one is left", [b[:2] for b in objects(s, "dropped")],
        [(0, GAP)])

    neither = '"pieces" is not an object, true or false'
    for why, more in (('pieces: "glue" is not known', {"glue": 1}),
                      ('pieces: "least"', {"least": -1}), ('pieces: "least"', {"least": 1.5}),
                      ('pieces: "least"', {"least": False}), (neither, 5), (neither, "off"),
                      (neither, None), (neither, [])):
        r = add(s, net, "bad", "gap", pieces=more)
        ok(f"pieces of {more} are refused", r.status == 400 and why in r.json()["error"])

    odd = Volume(os.path.join(top, "odd"), (48, 24, 24), (0, 0, 0))
    odd.info["scales"].append({**odd.info["scales"][0], "key": "20_16_16", "size": [20, 12, 12],
                               "resolution": [20, 16, 16]})
    write(os.path.join(odd.path, "info"), json.dumps(odd.info))
    s.add_layer("odd", odd.path)
    r = add(s, net, "bad", "odd", coarse={"scale": "20_16_16"})
    ok("voxels 2.5 times as long are refused", r.status == 400 and
       "no whole number" in r.json()["error"])

    for why, part, more in (
            ("no such file", "nowhere", {"model": os.path.join(top, "nowhere")}),
            ("no such scale", "99", {"scale": "99"}),
            ("fed, but no network", "model", {"fov": [9, 9, 9]}),
            ("an even field of view", "odd", {"model": net, "fov": [8, 8, 8]}),
            ("a checksum of another file", "SHA-256", {"model": net, "sha256": "ab" * 32}),
            ("a checksum of nothing", "sha256", {"sha256": "ab" * 32}),
            ("a checksum that is none", "sha256", {"model": net, "sha256": "x"}),
            ("a path that is a number", "model", {"model": 5}),
            ("an unknown key", "glue", {"glue": 1})):
        r = add(s, net, "bad", consensus=more)
        ok(f"consensus: {why} is refused", r.status in (400, 404) and
           part in r.json()["error"])
done()
