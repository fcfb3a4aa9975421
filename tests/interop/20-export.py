#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# floodgate export: what it writes opens in TensorStore and CloudVolume without floodgate,
# has the layer's voxels, and its manifest holds. Passive and generated layers, all and
# parts, stopped and gone on with.
import hashlib
import json
import os
import shutil
import signal
import subprocess

from interop import (IDENTITY, MURMUR, TOOL, Case, Server, by_cv, by_ts, done, has, is_, np,
                     ok, open_cv, sums_hold, tensorstore_file, tensorstore_http, tool, ts,
                     wrong_cuts)
from lib import tiny_ffn, wait_for, write_tiny_model

ODD = {"offset": (-37, 5, 1001)}
CSEG = {"enc": "compressed_segmentation", "segmentation": True}
MURMUR_TEXT = "hash=murmurhash3_x86_128,preshift=1,minishard=2,shard=3,index=gzip,data=gzip"

CASES = [
    (Case("u8", "uint8", **ODD), [
        [], ["--sharded"], ["--encoding", "png", "--png-level", "1"],
        ["--sharded", "--encoding", "png"], ["--sharded", "--sharding", MURMUR_TEXT]]),
    (Case("rgb", "uint8", "png", channels=3, shard=IDENTITY), [
        [], ["--sharded", "--encoding", "raw", "--gzip"]]),
    (Case("f32", "float32", channels=2, size=(1, 33, 50)), [["--sharded"]]),
    (Case("i16", "int16", chunk=(8, 8, 8)), [
        [], ["--sharded", "--sharding", "preshift=3,minishard=4,shard=1"],
        ["--sharded", "--sharding", "shard=2"]]),
    (Case("seg64", "uint64", shard=MURMUR, **CSEG, **ODD), [
        [], ["--sharded"], ["--encoding", "raw"], ["--sharded", "--encoding", "raw"],
        ["--sharded", "--sharding", MURMUR_TEXT]]),
    (Case("seg32", "uint32", size=(97, 1, 40), segmentation=True), [
        ["--encoding", "compressed_segmentation"],
        ["--sharded", "--encoding", "compressed_segmentation"]]),
    (Case("jpeg", "uint8", "jpeg", lossy=True), [[], ["--sharded"]]),
]


def whole(rng, server, folder):
    for case, ways in CASES:
        case.fill(rng)
        case.by_tensorstore(os.path.join(folder, case.name))
        server.add_layer(case.name, os.path.join(folder, case.name))
        for i, way in enumerate(ways):
            name = f"{case.name}-{i}"
            dest = os.path.join(folder, name)
            tool(server.root, "export", case.name, dest, *way)
            what = " ".join([case.name, *way])
            is_(f"{what}: TensorStore",
                wrong_cuts(rng, case, by_ts(tensorstore_file(dest))), [])
            with open(os.path.join(dest, "info"), encoding="utf-8") as f:
                info = json.load(f)
            # CloudVolume mixes up the channels of PNG, also of those by TensorStore.
            png = info["scales"][0]["encoding"] == "png" and case.channels > 1
            if not case.lossy and not png:
                is_(f"{what}: CloudVolume",
                    wrong_cuts(rng, case, by_cv(open_cv("file://" + dest)), 2), [])
            ok("its sums hold", sums_hold(dest))
            is_("its info is plain", sorted(info), ["@type", "data_type", "num_channels",
                                                    "scales", "type"])
            is_("and sharded only if asked for", "sharding" in info["scales"][0],
                "--sharded" in way)
            server.add_layer(name, dest)
            is_("and it can be served", wrong_cuts(
                rng, case, by_ts(tensorstore_http(server, name)), 1), [])


def zipped(rng, server, folder):
    case = CASES[4][0]
    dest = os.path.join(folder, "zipped")
    tool(server.root, "export", case.name, dest, "--gzip")
    names = os.listdir(os.path.join(dest, "8_8_40"))
    ok("--gzip: all files are", names and all(n.endswith(".gz") for n in names))
    is_("and CloudVolume reads them",
        wrong_cuts(rng, case, by_cv(open_cv("file://" + dest)), 2), [])
    ok("their sums hold", sums_hold(dest))
    cv = open_cv("file://" + dest)
    is_("CloudVolume takes the provenance", cv.provenance.sources, [case.name])
    is_("what was done is in it", cv.provenance.processing[0]["method"]["task"], "export")


def encodings(rng, server, folder):
    """Into encodings that TensorStore does not read: by CloudVolume, and the tool itself."""
    labels = CASES[4][0]
    dest = os.path.join(folder, "compresso")
    tool(server.root, "export", labels.name, dest, "--encoding", "compresso")
    is_("labels as compresso: CloudVolume",
        wrong_cuts(rng, labels, by_cv(open_cv("file://" + dest)), 2), [])
    image = Case("grey", "uint8", size=(40, 33, 20)).fill(rng)
    image.by_tensorstore(os.path.join(folder, "grey"))
    server.add_layer("grey", os.path.join(folder, "grey"))
    file = os.path.join(folder, "grey.npy")
    for quality, lossless in ((("--jxl-quality", "100"), True), ((), False)):
        dest = os.path.join(folder, f"jxl{len(quality)}")
        tool(server.root, "export", "grey", dest, "--encoding", "jxl", *quality)
        tool(server.root, "cutout", dest, "-o", file)
        is_(f"JPEG XL {' '.join(quality)}: the same voxels",
            bool((np.load(file).T[..., None] == image.data).all()), lossless)
    marks = Case("marks", "uint8", size=(20, 20, 20), segmentation=True).fill(rng)
    marks.by_tensorstore(os.path.join(folder, "marks"))
    server.add_layer("marks", os.path.join(folder, "marks"))
    for enc in ("jpeg", "jxl"):
        p = subprocess.run([TOOL, "--root", server.root, "export", "marks",
                            os.path.join(folder, "no"), "--encoding", enc],
                           stderr=subprocess.PIPE, text=True, check=False)
        ok(f"labels as {enc}: {p.stderr.strip()}",
           p.returncode == 2 and f"labels are not exported as {enc}" in p.stderr)


def parts(rng, server, folder):
    """Two scales; a box; one scale alone."""
    path = os.path.join(folder, "two")
    fine = Case("two", "uint8", size=(100, 60, 50), offset=(5, -3, 11)).fill(rng)
    fine.by_tensorstore(path)
    half = Case("half", "uint8", size=(50, 30, 25), offset=(2, -2, 5)).fill(rng)
    scale = {**half.info()["scales"][0], "resolution": [16, 16, 80], "key": "16_16_80"}
    scale["chunk_size"] = scale.pop("chunk_sizes")[0]
    t = ts.open({"driver": "neuroglancer_precomputed",
                 "kvstore": {"driver": "file", "path": path + "/"},
                 "scale_metadata": scale}, create=True).result()
    t.write(half.data).result()
    server.add_layer("two", path)
    for i, way in enumerate(([], ["--sharded"])):
        dest = os.path.join(folder, f"two-{i}")
        tool(server.root, "export", "two", dest, *way)
        is_("both scales", [wrong_cuts(rng, c, by_ts(tensorstore_file(dest, k)), 2)
                            for k, c in enumerate((fine, half))], [[], []])
        is_("CloudVolume: the second", wrong_cuts(
            rng, half, by_cv(open_cv("file://" + dest, 1)), 2), [])
        dest = os.path.join(folder, f"two-box-{i}")
        tool(server.root, "export", "two", dest, "--box", "40-60_0-20_11-40", *way)
        t = tensorstore_file(dest)
        is_("a box: the chunks around it", (list(t.domain.origin)[:3], list(t.shape)[:3]),
            ([37, -3, 11], [32, 32, 32]))
        is_("its voxels", bool((t.read().result() == fine.data[32:64, :32, :32]).all()), True)
        t = tensorstore_file(dest, 1)
        is_("the same of the second", (list(t.domain.origin)[:3], list(t.shape)[:3]),
            ([18, -2, 5], [16, 16, 16]))
        ok("its voxels", (t.read().result() == half.data[16:32, :16, :16]).all())
        dest = os.path.join(folder, f"two-scale-{i}")
        tool(server.root, "export", "two", dest, "--scales", "16_16_80", *way)
        is_("one scale alone", wrong_cuts(rng, half, by_ts(tensorstore_file(dest)), 2), [])
    for args, text in ((["--scales", "9_9_9"], 'no scale "9_9_9"'),
                       (["--box", "0-10_0-10_0-10"], "not inside"),
                       (["--encoding", "compressed_segmentation"], "cannot hold uint8"),
                       (["--sharding", "shard=2"], "needs --sharded"),
                       (["--sharded", "--sharding", "shard=x"], "wanted hash=")):
        has(f"{args} is refused", tool(server.root, "export", "two", dest + "-bad", *args,
                                       status=2), text)
    has("a folder with something in it", tool(server.root, "export", "two", dest, status=2),
        "is not empty")


def absent(server, folder):
    path = os.path.join(folder, "u8")
    gone = sorted(os.listdir(os.path.join(path, "8_8_40")))[::7]
    holes = os.path.join(folder, "holes")
    shutil.copytree(path, holes)
    for n in gone:
        os.unlink(os.path.join(holes, "8_8_40", n))
    server.add_layer("holes", holes)
    for way in ([], ["--sharded"]):
        dest = holes + "-out" + "".join(way)
        out = json.loads(tool(server.root, "export", "holes", dest, "--json", *way))
        is_("absent chunks are counted", out["missing_chunks"], len(gone))
        ok("and are absent", (tensorstore_file(dest).read().result() ==
                              tensorstore_file(holes).read().result()).all())


def listing(path):
    out = {}
    for folder, _, files in os.walk(path):
        for n in files:
            with open(os.path.join(folder, n), "rb") as f:
                out[os.path.relpath(os.path.join(folder, n), path)] = hashlib.sha256(
                    f.read()).hexdigest()
    out.pop("provenance", None)  # has the date
    out.pop("manifest.sha256", None)
    return out


def stopped(rng, server, folder):
    """Ended by a signal, and by kill -9: the same command goes on, to the same bytes."""
    case = Case("long", "uint64", size=(200, 200, 160), chunk=(16, 16, 16),
                segmentation=True).fill(rng)
    case.by_tensorstore(os.path.join(folder, "long"))
    server.add_layer("long", os.path.join(folder, "long"))
    for i, way in enumerate(([], ["--sharded", "--sharding", "minishard=1,shard=7"])):
        way = [*way, "--encoding", "compressed_segmentation"]
        dest = os.path.join(folder, f"long-{i}")
        tool(server.root, "export", "long", dest + "-whole", *way)
        for sig, status in ((signal.SIGINT, 130), (signal.SIGKILL, -9), (signal.SIGTERM, 130)):
            p = subprocess.Popen([TOOL, "--root", server.root, "export", "long", dest, *way],
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            scale = os.path.join(dest, "8_8_40")
            had = len(os.listdir(scale)) if os.path.isdir(scale) else 0
            wait_for("files", lambda d=scale, n=had: p.poll() is not None or (
                os.path.isdir(d) and len(os.listdir(d)) > n + 3))
            p.send_signal(sig)
            ok("stopped", p.wait() in (status, 0))
            if p.returncode == 0:
                break
            ok("no info of half a volume", not os.path.exists(os.path.join(dest, "info")))
        if p.returncode != 0:
            has("other options are refused", tool(server.root, "export", "long", dest, *way,
                                                  "--gzip", status=2), "another kind")
            out = json.loads(tool(server.root, "export", "long", dest, "--json", *way))
            is_("gone on with", (out["resumed"], out["chunks"]), (True, 13 * 13 * 10))
        ok("the sums hold", sums_hold(dest))
        mine, whole_ = listing(dest), listing(dest + "-whole")
        is_("the same files, and none that the kill left over", mine == whole_, True)
        if i == 0:
            is_("the voxels", wrong_cuts(rng, case, by_ts(tensorstore_file(dest)), 2), [])


def generated(folder):
    """A layer made on demand: present chunks, background, and what is not made yet."""
    image = np.full((128, 64, 64, 1), 200, np.uint8)
    image[::16], image[:, ::16], image[:, :, ::16] = 40, 40, 40
    case = Case("em", size=image.shape[:3], chunk=(64, 64, 64))
    case.data = image
    with Server(root=os.path.join(folder, "made")) as s:
        case.by_tensorstore(os.path.join(folder, "em"))
        s.add_layer("em", os.path.join(folder, "em"))
        write_tiny_model(os.path.join(folder, "model"))
        r = s.call("POST", "/api/layers",
                   {"name": "seg", "ffn": tiny_ffn(os.path.join(folder, "model"))})
        is_("a layer", r.status, 201)
        r = s.get("/seg/8_8_40/0-32_0-32_0-32?wait=100")
        is_("half of it is made", r.status, 200)
        for way in ([], ["--sharded"]):
            dest = os.path.join(folder, "seg" + "".join(way))
            out = json.loads(tool(s.root, "export", "seg", dest, "--json", "--scales",
                                  "8_8_40", *way))
            is_("beside the daemon: chunks and missing",
                (out["chunks"], out["missing_chunks"]), (8, 8))
            served, t = tensorstore_http(s, "seg"), tensorstore_file(dest)
            made = served[:64].read().result()
            ok("something is in it", len(np.unique(made)) > 1)
            ok("TensorStore", (t[:64].read().result() == made).all())
            cv = open_cv("file://" + dest)
            ok("CloudVolume", (np.asarray(cv[:64, :, :]) == made).all())
            ok("not made is background", not t[64:].read().result().any())
            ok("its sums hold", sums_hold(dest))
        is_("stops cleanly", s.stop(), 0)


def main():
    rng = np.random.default_rng(20261122)
    with Server() as server:
        folder = os.path.join(server.root, "volumes")
        os.makedirs(folder)
        for part in (whole, zipped, encodings, parts):
            part(rng, server, folder)
        absent(server, folder)
        stopped(rng, server, folder)
        generated(folder)
        is_("stops cleanly", server.stop(), 0)
    done()


main()
