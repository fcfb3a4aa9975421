#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# What belongs to a volume besides its chunks, written by other tools and served byte for
# byte: annotations of every kind by Neuroglancer's own writer, skeletons (sharded, too) and
# meshes by CloudVolume, segment properties; and read back over HTTP by CloudVolume.
import gzip
import html.parser
import json
import os
import re
import shutil
import struct
import subprocess

from interop import (MURMUR, TOOL, CloudVolume, Server, ShardingSpecification, done, has, is_, missing,
                     np, ok, open_cv, write)

try:
    import neuroglancer
    from cloudvolume import Skeleton
    from neuroglancer import write_annotations
except ImportError as e:
    missing(f"Python package {e.name} (tests/requirements.txt)")

ORIGIN = "https://neuroglancer-demo.appspot.com"
IDS = [1, 17, 300, (1 << 60) + 7]


def make_volume(path, rng):
    info = CloudVolume.create_new_info(
        1, "segmentation", "uint64", "compressed_segmentation", (8, 8, 40), (0, 0, 0),
        (64, 48, 32), mesh="mesh", skeletons="skeletons", chunk_size=(32, 32, 32))
    info["segment_properties"] = "properties"
    v = CloudVolume("file://" + path, info=info, compress=False, progress=False)
    v.commit_info()
    v[:, :, :] = rng.choice(np.array([0, *IDS], np.uint64), (64, 48, 32, 1))
    return v


def make_skeletons(v, path, rng):
    made = {}
    for i in IDS:
        n = int(rng.integers(2, 40))
        s = Skeleton(rng.random((n, 3)).astype(np.float32) * 100,
                     np.array([[k, k + 1] for k in range(n - 1)], np.uint32),
                     radii=rng.random(n).astype(np.float32), segid=i,
                     extra_attributes=[{"id": "radius", "data_type": "float32",
                                        "num_components": 1}])
        made[i] = s
    v.skeleton.meta.info.update({"@type": "neuroglancer_skeletons", "vertex_attributes": [
        {"id": "radius", "data_type": "float32", "num_components": 1}],
        "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0]})
    v.skeleton.meta.commit_info()
    v.skeleton.upload(list(made.values()))
    # The same ones in shards, as a second directory.
    folder = os.path.join(path, "skeletons-sharded")
    os.makedirs(folder)
    spec = ShardingSpecification.from_dict(MURMUR)
    for name, data in spec.synthesize_shards(
            {np.uint64(i): s.to_precomputed() for i, s in made.items()}).items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
    with open(os.path.join(folder, "info"), "w") as f:
        json.dump({**v.skeleton.meta.info, "sharding": MURMUR}, f)
    return made


def make_meshes(path, rng):
    """Legacy meshes: a manifest and its fragments."""
    made = {}
    os.makedirs(os.path.join(path, "mesh"), exist_ok=True)
    with open(os.path.join(path, "mesh", "info"), "w") as f:
        json.dump({"@type": "neuroglancer_legacy_mesh"}, f)
    for i in IDS:
        vertices = rng.random((6, 3)).astype("<f4") * 50
        faces = rng.integers(0, 6, (9, 3)).astype("<u4")
        fragment = f"{i}:0:0-64_0-48_0-32"
        with open(os.path.join(path, "mesh", fragment), "wb") as f:
            f.write(struct.pack("<I", 6) + vertices.tobytes() + faces.tobytes())
        with open(os.path.join(path, "mesh", f"{i}:0"), "w") as f:
            json.dump({"fragments": [fragment]}, f)
        made[i] = (vertices, faces)
    return made


def make_annotations(path, rng):
    """All kinds of geometry, with every index that the writer makes."""
    space = neuroglancer.CoordinateSpace(names=["x", "y", "z"], units="nm", scales=[8, 8, 40])
    point = lambda: tuple(float(x) for x in rng.random(3) * 60)  # noqa: E731
    for kind in ("point", "line", "axis_aligned_bounding_box", "ellipsoid", "polyline"):
        w = write_annotations.AnnotationWriter(
            space, kind, relationships=["segment"],
            properties=[neuroglancer.AnnotationPropertySpec(id="weight", type="float32"),
                        neuroglancer.AnnotationPropertySpec(id="colour", type="rgb"),
                        neuroglancer.AnnotationPropertySpec(id="count", type="uint16")])
        for k in range(20):
            more = {"id": k + 5, "weight": k / 7, "colour": (k, 2 * k, 255), "count": k * 3,
                    "segment": IDS[:k % 4]}
            if kind == "point":
                w.add_point(point(), **more)
            elif kind == "polyline":
                w.add_polyline([point() for _ in range(k % 5 + 2)], **more)
            elif kind == "line":
                w.add_line(point(), point(), **more)
            elif kind == "ellipsoid":
                w.add_ellipsoid(point(), (1.0, 2.0, 3.0), **more)
            else:
                w.add_axis_aligned_bounding_box((1.0, 2.0, 3.0), (4.0, 5.0, float(6 + k)), **more)
        folder = os.path.join(path, "annotations", kind)
        w.write(folder)
    # by_id in shards
    folder = os.path.join(path, "annotations", "point")
    items = {np.uint64(int(n)): open(os.path.join(folder, "by_id", n), "rb").read()
             for n in os.listdir(os.path.join(folder, "by_id"))}
    sharded = os.path.join(folder, "by_id_sharded")
    os.makedirs(sharded)
    for name, data in ShardingSpecification.from_dict(MURMUR).synthesize_shards(items).items():
        with open(os.path.join(sharded, name), "wb") as f:
            f.write(data)


def make_properties(path):
    os.makedirs(os.path.join(path, "properties"))
    with gzip.open(os.path.join(path, "properties", "info.gz"), "wt") as f:
        json.dump({"@type": "neuroglancer_segment_properties", "inline": {
            "ids": [str(i) for i in IDS],
            "properties": [{"id": "label", "type": "label",
                            "values": [f"cell {i}" for i in IDS]}]}}, f)


def check_file(s, layer, root, name, wrong):
    with open(os.path.join(root, name), "rb") as f:
        data = f.read()
    packed = name.endswith(".gz")
    url = f"/{layer}/{name[:-3] if packed else name}"
    plain = gzip.decompress(data) if packed else data
    r = s.get(url, Origin=ORIGIN)
    json_file = (os.path.basename(url) in ("info", "provenance") or
                 re.fullmatch(r"\d+:\d+", os.path.basename(url)))
    tests = {
        "status": r.status == 200,
        "bytes": r.body == plain,
        "type": r["Content-Type"] == ("application/json" if json_file else
                                      "application/octet-stream"),
        "origin": r["Access-Control-Allow-Origin"] in ("*", ORIGIN),
        "tag": bool(r["ETag"]) and s.get(url, If_None_Match=r["ETag"]).status == 304,
        "head": s.request("HEAD", url)["Content-Length"] == str(len(plain)),
    }
    if len(plain) > 1:
        part = s.get(url, Range=f"bytes=1-{len(plain) - 1}", Origin=ORIGIN)
        tests["range"] = (part.status, part.body) == (206, plain[1:])
        tests["exposed"] = part["Access-Control-Allow-Origin"] is not None
    if packed and "/" in name:  # the layer's own info is read at its opening
        r = s.get(url, Accept_Encoding="gzip")
        tests["stored form"] = (r["Content-Encoding"], r.body) == ("gzip", data)
        tests["vary"] = "Accept-Encoding" in (r["Vary"] or "")
    bad = [k for k, good in tests.items() if not good]
    if bad:
        wrong.append((name, bad))


class Links(html.parser.HTMLParser):
    """What Neuroglancer's HTTP store takes from a listing: the href of each <a>."""

    def __init__(self, text):
        super().__init__()
        self.names = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag == "a":
            self.names.append(dict(attrs)["href"])


def listings(s):
    for accept in ("text/html", "application/xml,text/xml"):
        r = s.get("/seg/", Accept=accept, Origin=ORIGIN)
        is_(f"a listing for {accept}", (r.status, r["Content-Type"].split(";")[0]),
            (200, "text/html"))
        names = Links(r.body.decode()).names
        for name in ("info", "8_8_40/", "mesh/", "skeletons/", "properties/"):
            ok(f"names {name}", name in names)
        ok("and leads nowhere else", all("/" not in n.rstrip("/") and ":" not in n for n in names))
    r = s.get("/", Accept="text/html")
    ok("the root names the layers", b"seg" in r.body or
       "seg" in [layer["name"] for layer in s.get("/info").json()["layers"]])


def files_of(folder):
    for at, _, files in os.walk(folder):
        for file in files:
            name = os.path.relpath(os.path.join(at, file), folder)
            if "/." not in "/" + name:
                yield name


def alone(s, path):
    """Folders that hold no volume, each a layer of its own."""
    kinds = {"skeletons": "skeletons", "skeletons-sharded": "skeletons", "mesh": "meshes",
             "properties": "segment_properties",
             **{f"annotations/{k}": "annotations" for k in os.listdir(
                 os.path.join(path, "annotations"))}}
    for folder, kind in kinds.items():
        name = folder.replace("/", "-")
        layer = s.add_layer(name, os.path.join(path, folder))
        is_(f"{folder} alone is a layer of {kind}", (layer["kind"], layer["state"],
                                                    "scales" in layer), (kind, "ready", False))
        wrong = []
        for file in files_of(os.path.join(path, folder)):
            check_file(s, name, os.path.join(path, folder), file, wrong)
        is_("byte for byte", wrong, [])
        names = Links(s.get(f"/{name}/").body.decode()).names
        ok("its listing names the info", "info" in names)
        if kind == "annotations":
            ok("and the indices", {"by_id/", "rel_segment/", "spatial0/"} <= set(names))
        r = s.get(f"/{name}/8_8_40/0-64_0-48_0-32", Origin=ORIGIN)
        is_("it has no chunks", (r.status, r["Access-Control-Allow-Origin"] in ("*", ORIGIN)),
            (404, True))
        is_("and no slices", s.get(f"/{name}/slice?width=64").status, 404)
    root = {x["name"]: x["type"] for x in s.get("/info").json()["layers"]}
    is_("the server's info tells the kinds",
        (root["annotations-point"], root["skeletons"], root["seg"]),
        ("annotations", "skeletons", "segmentation"))
    is_("the page", s.get("/").status, 200)
    is_("the status", s.get("/api/status").status, 200)
    for text, part in (({"@type": "neuroglancer_annotations_v1"}, "annotation_type"),
                       ({"@type": "neuroglancer_annotations_v1", "annotation_type": "blob"},
                        "blob"),
                       ({"@type": "neuroglancer_multilod_draco",
                         "vertex_quantization_bits": 12}, "12, wanted 10 or 16"),
                       ({"@type": "neuroglancer_segment_properties"}, "inline"),
                       ({"@type": "neuroglancer_surprise"}, "neuroglancer_surprise")):
        bad = os.path.join(s.root, "volumes", "bad")
        write(os.path.join(bad, "info"), json.dumps(text))
        r = s.call("POST", "/api/layers", {"name": "bad", "source": bad})
        ok(f"refused: {r.body.decode()[:120]}", r.status in (400, 501) and part in r.body.decode())
    r = s.call("POST", "/api/layers", {"name": "jpeg", "encoding": "jpeg",
                                       "source": os.path.join(path, "skeletons")})
    is_("another encoding of what has none", r.status, 400)
    p = subprocess.run([TOOL, "--root", s.root, "layer", "list"], capture_output=True, text=True)
    ok("the tool lists them", p.returncode == 0 and "segment_properties" in p.stdout)
    for words in (["cutout", "skeletons", "-o", "x.npy"], ["export", "mesh", "x"],
                  ["layer", "show", "mesh"], ["layer", "add", "f", "--ffn", "--image", "mesh",
                                              "--model", "none"]):
        p = subprocess.run([os.path.abspath(TOOL), "--root", s.root, *words],
                           capture_output=True, text=True, cwd=s.root)
        ok(f"{' '.join(words[:2])}: {(p.stderr or p.stdout).splitlines()[0]}",
           p.returncode == (0 if "show" in words else 2))


def main():
    rng = np.random.default_rng(20261126)
    with Server() as s:
        path = os.path.join(s.root, "volumes", "seg")
        v = make_volume(path, rng)
        skeletons = make_skeletons(v, path, rng)
        meshes = make_meshes(path, rng)
        make_annotations(path, rng)
        make_properties(path)
        s.add_layer("seg", path)
        wrong, n = [], 0
        for name in files_of(path):
            if not name.startswith("8_8_40"):
                check_file(s, "seg", path, name, wrong)
                n += 1
        ok(f"all {n} files of it", n > 140)
        is_("byte for byte, with type, tag, origin, Range and HEAD", wrong, [])
        for name in ("annotations/point/by_id/4711", "annotations/point/rel_segment/4711",
                     "annotations/point/spatial9/0_0_0", "mesh/4711:0", "skeletons/4711",
                     "annotations", "annotations/point/../../info", "mesh/%2e%2e/info"):
            r = s.get(f"/seg/{name}", Origin=ORIGIN)
            ok(f"{name} is not there: {r.status}", r.status in (400, 404))
            ok("and a page may see that", r["Access-Control-Allow-Origin"] in ("*", ORIGIN))
        listings(s)
        alone(s, path)
        reader = open_cv(f"{s.url}/seg")
        for i in IDS:
            got, want = reader.skeleton.get(i), skeletons[i]
            ok(f"skeleton {i} by CloudVolume", np.array_equal(got.vertices, want.vertices) and
               np.array_equal(got.edges, want.edges) and np.array_equal(got.radii, want.radii))
            mesh = reader.mesh.get(i, remove_duplicate_vertices=False)
            mesh = mesh[i] if isinstance(mesh, dict) else mesh
            ok(f"mesh {i} by CloudVolume", np.array_equal(mesh.vertices, meshes[i][0]) and
               np.array_equal(mesh.faces, meshes[i][1]))
        # The sharded skeletons take the place of the others.
        info = json.load(open(os.path.join(path, "info")))
        other = os.path.join(s.root, "volumes", "sharded")
        shutil.copytree(path, other)
        with open(os.path.join(other, "info"), "w") as f:
            json.dump({**info, "skeletons": "skeletons-sharded"}, f)
        s.add_layer("sharded", other)
        reader = open_cv(f"{s.url}/sharded")
        for i in IDS:
            got = reader.skeleton.get(i)
            ok(f"sharded skeleton {i} by CloudVolume",
               np.array_equal(got.vertices, skeletons[i].vertices))
        has("segment properties are named", s.get("/sharded/info").body.decode(), "properties")
        is_("stops cleanly", s.stop(), 0)
    done()


main()
