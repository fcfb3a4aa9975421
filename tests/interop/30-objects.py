#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# floodgate export --mesh --skeletons: CloudVolume reads both, as files and from shards,
# and they are what the daemon serves.
import json
import os
import struct

from interop import (Server, done, has, is_, missing, np, ok, open_cv, sums_hold, tool)
from lib import Volume, tiny_ffn, wait_for, write_tiny_model


def objects_of(s, layer):
    page = s.get(f"/{layer}/segment_properties/info")
    if page.status != 200:
        return []
    return sorted(int(i) for i in page.json()["inline"]["ids"])


def same(a, b):
    """The same points, in whatever order."""
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool((a[np.lexsort(a.T)] == b[np.lexsort(b.T)]).all())


def check_meshes(s, epoch, plain, sharded, ids):
    cv = [open_cv("file://" + p) for p in (plain, sharded)]
    differ, wrong, levels = [], [], 0
    for i in ids:
        with open(f"{plain}/mesh/{i}.index", "rb") as f:
            manifest = f.read()
        with open(f"{plain}/mesh/{i}", "rb") as f:
            data = f.read()
        served = [s.get(f"/seg.agg/{epoch}/{i}{p}?wait=100").body for p in (".index", "")]
        if served != [manifest, data]:
            differ.append(i)
        n = struct.unpack_from("<I", manifest, 24)[0]
        levels = max(levels, n)
        for lod in range(n):
            a, b = [c.mesh.get(i, lod=lod)[i] for c in cv]
            if len(a.faces) == 0 or len(a.faces) != len(b.faces) or not same(a.vertices,
                                                                           b.vertices):
                wrong.append((i, lod))
    is_("meshes as the daemon serves them", differ, [])
    is_(f"each of up to {levels} levels in CloudVolume, from files and from shards", wrong, [])
    is_("no mesh of nobody", cv[1].mesh.get_manifest(2 ** 50), None)


def check_skeletons(s, plain, sharded, ids):
    cv = [open_cv("file://" + p) for p in (plain, sharded)]
    differ, wrong, some = [], [], 0
    for i in ids:
        with open(f"{plain}/skeletons/{i}", "rb") as f:
            b = f.read()
        if s.get(f"/seg.agg/skeleton/{i}?wait=100").body != b:
            differ.append(i)
        a, c = [v.skeleton.get(i) for v in cv]
        some += len(a.vertices) > 1
        if not (same(a.vertices, c.vertices) and len(a.edges) == len(c.edges) ==
                struct.unpack_from("<I", b, 4)[0] and same(a.radii[:, None],
                                                           c.radii[:, None])):
            wrong.append(i)
    is_("skeletons as the daemon serves them", differ, [])
    is_("each in CloudVolume, from files and from shards", wrong, [])
    ok(f"{some} of them with more than a vertex", some > 0)


UNKNOWN = {"triangles", "cable"}


def columns_of(source):
    """{property: {id: value}} of the daemon or of a file."""
    if isinstance(source, str):
        with open(source, encoding="utf-8") as f:
            p = json.load(f)["inline"]
    else:
        p = source.get("/seg.agg/segment_properties/info").json()["inline"]
    return {c["id"]: dict(zip(map(int, p["ids"]), c["values"])) for c in p["properties"]}


def legacy(s, top, ids):
    """The single-resolution format, and what the segment list says of the objects."""
    dest = os.path.join(top, "legacy")
    has("one format of meshes only", tool(s.root, "export", "seg.agg", dest, "--mesh",
                                          "--mesh-legacy", status=2), "one format")
    out = json.loads(tool(s.root, "export", "seg.agg", dest, "--mesh-legacy", "--skeletons",
                          "--properties", "--sharded", "--json"))
    is_("legacy meshes, properties", out["objects"],
        {"meshes": len(ids), "missing_meshes": 0, "skeletons": len(ids),
         "missing_skeletons": 0, "segments": len(ids)})
    ok("the sums hold", sums_hold(dest))
    with open(os.path.join(dest, "info"), encoding="utf-8") as f:
        info = json.load(f)
    is_("info names them", [info[k] for k in ("mesh", "skeletons", "segment_properties")],
        ["mesh", "skeletons", "segment_properties"])
    columns = columns_of(os.path.join(dest, "segment_properties", "info"))
    is_("the properties that the daemon shows", columns, columns_of(s))
    cv = open_cv("file://" + dest)
    names, differ, triangles, cable = set(os.listdir(dest + "/mesh")), [], {}, {}
    for i in ids:
        pieces = s.get(f"/seg.agg@legacy/mesh/{i}:0?wait=100").json()["fragments"]
        for p in pieces + [f"{i}:0"]:
            with open(f"{dest}/mesh/{p}", "rb") as f:
                if f.read() != s.get(f"/seg.agg@legacy/mesh/{p}").body:
                    differ.append(p)
        names -= {f"{i}:0", *pieces}
        m = cv.mesh.get(i, remove_duplicate_vertices=False, fuse=False)[i]
        triangles[i] = len(m.faces)
        cable[i] = cv.skeleton.get(i).cable_length() / 1000
    is_("files as the daemon serves them", differ, [])
    is_("and no others", names, {"info"})
    is_("CloudVolume counts as many triangles", triangles, columns["triangles"])
    far = max(abs(cable[i] - columns["cable"][i]) for i in ids)
    ok(f"and measures the same cables within {far:.4f} um", far < 0.002 and
       max(cable.values()) > 0.1)


def outdated(s, ids):
    """What is known of an object says nothing of what it has become."""
    before = columns_of(s)
    is_("joined", s.call("POST", "/api/layers/seg/edits",
                         {"join": [[ids[0], ids[1]]]}).status, 201)
    after = columns_of(s)
    rest = [i for i in ids if i not in ids[:2]]
    for k in UNKNOWN:
        is_(f"no {k} of the object that has grown", after[k][ids[0]], "NaN")
        is_(f"others keep their {k}", [after[k][i] for i in rest],
            [before[k][i] for i in rest])
    count = 0
    for p in s.get(f"/seg.agg@legacy/mesh/{ids[0]}:0?wait=100").json()["fragments"]:
        b = s.get(f"/seg.agg@legacy/mesh/{p}").body
        count += (len(b) - 4 - 12 * struct.unpack_from("<I", b)[0]) // 12
    s.get(f"/seg.agg/skeleton/{ids[0]}?wait=100")
    made = columns_of(s)
    is_("its triangles are those of its pieces", made["triangles"][ids[0]], count)
    ok("more than it had", count > before["triangles"][ids[0]])
    ok("its cable is known again", made["cable"][ids[0]] > 0)


def passive(s, top, ids):
    """A segmentation that is served in place: the objects that were found in it."""
    bare, dest = os.path.join(top, "bare"), os.path.join(top, "copied")
    tool(s.root, "export", "seg.agg", bare)
    s.add_layer("copy", bare)
    tool(s.root, "mesh", "copy")
    tool(s.root, "skeleton", "copy")
    out = json.loads(tool(s.root, "export", "copy", dest, "--mesh", "--skeletons",
                          "--sharded", "--json"))
    is_("objects of a passive layer", out["objects"],
        {"meshes": len(ids), "missing_meshes": 0, "skeletons": len(ids),
         "missing_skeletons": 0, "segments": 0})
    has("which has no list of properties", tool(s.root, "export", "copy",
        os.path.join(top, "no"), "--properties", status=2), "no segment properties")
    a, b = [open_cv("file://" + d) for d in (os.path.join(top, "sharded"), dest)]
    # Blocks are others there, so triangles are; the surface is the same but for its error.
    far = []
    for i in ids:
        p, q = [c.mesh.get(i, lod=0)[i].vertices for c in (a, b)]
        far.append(max(np.abs(p.min(0) - q.min(0)).max(), np.abs(p.max(0) - q.max(0)).max()))
    ok(f"their boxes are the same within {max(far):.1f} nm", max(far) <= 16)


def main():
    with Server() as s:
        model = os.path.join(s.own.name, "tiny")
        write_tiny_model(model)
        em = Volume(os.path.join(s.own.name, "em"))
        s.add_layer("em", em.path)
        made = s.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(
            model, delta=[4, 4, 4], halo=[8, 8, 8], chunk=[16, 16, 16],
            block=[32, 32, 32])})
        is_("a layer", made.status, 201)
        if s.get("/seg@multilod/mesh.1/info").status == 501:
            missing("built with libdraco")
        job = s.call("POST", "/api/jobs", {"layer": "seg",
                                           "stages": ["segment", "stitch"]}).json()
        wait_for("all blocks", lambda: s.get(job["url"]).json()["state"] == "done")
        ids = objects_of(s, "seg.agg")
        ok(f"{len(ids)} objects", len(ids) > 1)
        top = s.own.name
        out = json.loads(tool(s.root, "export", "seg.agg", os.path.join(top, "none"),
                              "--mesh", "--skeletons", "--json"))
        is_("nothing is started", out["objects"],
            {"meshes": 0, "missing_meshes": len(ids), "skeletons": 0,
             "missing_skeletons": len(ids), "segments": 0})
        is_("nothing is known of them yet", sorted(set(columns_of(s)) & UNKNOWN), [])
        tool(s.root, "mesh", "seg.agg")
        tool(s.root, "skeleton", "seg.agg")
        dest = [os.path.join(top, d) for d in ("plain", "sharded")]
        for d, way in zip(dest, ([], ["--sharded"])):
            out = json.loads(tool(s.root, "export", "seg.agg", d, "--mesh", "--skeletons",
                                  "--json", *way))
            is_(f"{way}: all are exported", out["objects"],
                {"meshes": len(ids), "missing_meshes": 0, "skeletons": len(ids),
                 "missing_skeletons": 0, "segments": 0})
            ok("the sums hold", sums_hold(d))
            with open(os.path.join(d, "info"), encoding="utf-8") as f:
                info = json.load(f)
            is_("info names them", (info["mesh"], info["skeletons"]), ("mesh", "skeletons"))
        names = os.listdir(os.path.join(dest[1], "mesh"))
        ok("shards only", all(n == "info" or n.endswith(".shard") for n in names))
        epoch = s.get("/seg.agg@multilod/info").json()["mesh"]
        check_meshes(s, epoch, *dest, ids)
        check_skeletons(s, *dest, ids)
        legacy(s, top, ids)
        passive(s, top, ids)
        outdated(s, ids)
        has("an image has none", tool(s.root, "export", "em", os.path.join(top, "no"),
                                      "--mesh", status=2), "no meshes and skeletons")
        is_("stops cleanly", s.stop(), 0)
    done()


main()
