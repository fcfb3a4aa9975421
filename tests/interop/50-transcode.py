#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# One volume served in other encodings than it is stored in, sharded and not; read by
# TensorStore and CloudVolume. Labels never lose anything.
import os

from interop import (IDENTITY, Case, Server, by_cv, by_ts, done, has, is_, np, ok, open_cv,
                     tensorstore_http, tool, wrong_cuts)


def derived(s, name, path, **more):
    r = s.call("POST", "/api/layers", {"name": name, "source": path, **more})
    if not is_(f"{name}: {more}", r.status, 201):
        print("#", r.body)
    return r


def main():
    rng = np.random.default_rng(20261127)
    labels = Case("labels", "uint64", "compressed_segmentation", segmentation=True,
                  shard=IDENTITY, offset=(-37, 5, 11))
    image = Case("image", "uint8", "raw", size=(70, 41, 33))
    with Server() as s:
        for case in (labels, image):
            case.fill(rng)
            if case is image:
                case.data = np.sort(case.data, axis=0)  # smooth, for jpeg
            case.by_tensorstore(os.path.join(s.root, "volumes", case.name))
        for enc in ("raw", "compresso", "compressed_segmentation"):
            name = f"labels-{enc}"
            derived(s, name, os.path.join(s.root, "volumes", "labels"), encoding=enc)
            scale = s.get(f"/{name}/info").json()["scales"][0]
            is_("as the info says, unsharded", (scale["encoding"], "sharding" in scale),
                (enc, False))
            if enc != "compresso":  # which TensorStore does not read
                is_(f"{name}: TensorStore",
                    wrong_cuts(rng, labels, by_ts(tensorstore_http(s, name))), [])
            is_(f"{name}: CloudVolume",
                wrong_cuts(rng, labels, by_cv(open_cv(f"{s.url}/{name}"))), [])
        for enc, more in (("png", {}), ("jpeg", {"jpeg_quality": 97}), ("jxl", {})):
            name = f"image-{enc}"
            derived(s, name, os.path.join(s.root, "volumes", "image"), encoding=enc, **more)
            is_("as the info says", s.get(f"/{name}/info").json()["scales"][0]["encoding"], enc)
            if enc == "jxl":  # which CloudVolume reads with another package only
                file = os.path.join(s.root, "cut.npy")
                tool(s.root, "cutout", name, "-o", file)
                got = np.load(file).T[..., None].astype(int)
            else:
                got = np.asarray(open_cv(f"{s.url}/{name}")[:, :, :]).astype(int)
            worst = int(np.abs(got - image.data.astype(int)).max())
            ok(f"{name}: at most {worst} grey levels off", worst == 0 if enc == "png" else worst < 60)
        for what, spec, text in (
                ("labels as jpeg", {"encoding": "jpeg"}, "which loses some"),
                ("labels as jxl", {"encoding": "jxl"}, "which loses some"),
                ("an encoding of no kind", {"encoding": "tga"}, "tga"),
                ("a quality alone", {"jpeg_quality": 50}, "goes with"),
                ("a quality of raw", {"encoding": "raw", "jpeg_quality": 50}, "is for the encoding")):
            r = s.call("POST", "/api/layers", {
                "name": "no", "source": os.path.join(s.root, "volumes", "labels"), **spec})
            is_(what, r.status, 400)
            has("says why", r.json()["error"], text)
        r = s.call("POST", "/api/layers", {
            "name": "no", "source": os.path.join(s.root, "volumes", "image"),
            "encoding": "compressed_segmentation"})
        is_("8 bits in compressed_segmentation", r.status, 400)
        key = s.get("/labels-raw/info").json()["scales"][0]["key"]
        is_("its shards are not those of the view",
            s.get(f"/labels-raw/{key}/0.shard").status, 404)
        is_("stops cleanly", s.stop(), 0)
        s.start()
        is_("after a restart it is served in the same encoding",
            s.get("/labels-compresso/info").json()["scales"][0]["encoding"], "compresso")
    done()


main()
