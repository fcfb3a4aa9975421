#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Folders of PNG, JPEG and TIFF sections and BigTIFF files, written by Pillow and tifffile,
# served where they lie: chunks against the same files read by these two, missing sections
# in each setting, files that change, and a network that runs on such a layer.
import json
import os
import subprocess
import tempfile
import threading

from interop import BUILD, TOOL, Server, done, has, is_, missing, np, ok

try:
    import h5py
    import tensorstore as ts
    import tifffile
    from PIL import Image
except ImportError as e:
    missing(f"Python package {e.name} (tests/requirements.txt)")

MODEL = os.path.join(os.environ.get("srcdir", os.path.join(os.path.dirname(__file__), "../..")),
                     "seg/models/phantom-small.safetensors")


def make(folder, kind, colours, dtype, depth, size, rng, **how):
    """A stack of that many sections; what an independent reader says of it: z, y, x[, c]."""
    os.makedirs(folder)
    shape = (*size, colours) if colours > 1 else size
    wanted = []
    for z in range(depth):
        a = rng.integers(0, 250, shape).astype(dtype)
        path = os.path.join(folder, f"s{z + 8}.{kind}")  # 8, 9, 10: by number, not by name
        if kind == "jpg":
            Image.fromarray(a).save(path, quality=90)
            a = np.asarray(Image.open(path))
        elif kind == "png":
            Image.fromarray(a).save(path)
        else:
            tifffile.imwrite(path, a, photometric="rgb" if colours > 1 else "minisblack", **how)
        wanted.append(a)
    return np.stack(wanted)


def info_of(s, name):
    return s.get(f"/{name}/info").json()


def chunks_of(info):
    """(x, y, z boxes) of the only scale."""
    sc = info["scales"][0]
    size, step = sc["size"], sc["chunk_sizes"][0]
    for z in range(0, size[2], step[2]):
        for y in range(0, size[1], step[1]):
            for x in range(0, size[0], step[0]):
                yield tuple((a, min(a + c, n)) for a, c, n in zip((x, y, z), step, size))


def read_chunk(s, name, info, box):
    sc = info["scales"][0]
    r = s.get(f"/{name}/{sc['key']}/" + "_".join(f"{a}-{b}" for a, b in box))
    if r.status != 200:
        return r.status
    shape = [b - a for a, b in box] + [info["num_channels"]]
    return np.frombuffer(r.body, info["data_type"]).reshape(shape, order="F")


def cut(wanted, box):
    (x0, x1), (y0, y1), (z0, z1) = box
    a = wanted[z0:z1, y0:y1, x0:x1]
    return np.moveaxis(a if a.ndim == 4 else a[..., None], (0, 1, 2), (2, 1, 0))


def wrong_chunks(s, name, wanted, threads=3):
    """Boxes that differ from the truth, read by several clients at once."""
    info = info_of(s, name)
    boxes = list(chunks_of(info))
    bad = []

    def client():
        for box in boxes:  # all the same ones, so that they meet
            got = read_chunk(s, name, info, box)
            if isinstance(got, int) or not np.array_equal(got, cut(wanted, box)):
                bad.append((box, got if isinstance(got, int) else "voxels"))
    team = [threading.Thread(target=client) for _ in range(threads)]
    for t in team:
        t.start()
    for t in team:
        t.join()
    return bad


def tool_add(s, *words):
    p = subprocess.run([TOOL, "--root", s.root, "layer", "add", *words], capture_output=True,
                       text=True)
    return p.returncode, p.stdout + p.stderr


def kinds(s, folder, rng):
    for name, kind, colours, dtype, how in (
            ("png", "png", 1, "uint8", {}), ("png16", "png", 1, "uint16", {}),
            ("jpeg", "jpg", 1, "uint8", {}), ("jpeg-rgb", "jpg", 3, "uint8", {}),
            ("tiff", "tif", 1, "uint16", {"rowsperstrip": 7, "compression": "zlib"}),
            ("tiled", "tif", 1, "uint8", {"tile": (64, 48), "compression": "zlib"}),
            ("rgb", "tiff", 3, "uint8", {"tile": (32, 32)}),
            ("float", "tif", 1, "float32", {})):
        path = os.path.join(folder, name)
        wanted = make(path, kind, colours, dtype, 70, (90, 301), rng, **how)
        rc, text = tool_add(s, name, path, "--resolution", "8,8,40")
        is_(f"{name}: added as it lies", (rc, text if rc else ""), (0, ""))
        is_(f"{name}: chunks as they are", wrong_chunks(s, name, wanted), [])
    layer = next(x for x in s.call("GET", "/api/layers").json() if x["name"] == "png")
    is_("its kind and source", (layer["kind"], layer["source"].split("?")[0]),
        ("image", "stack:" + os.path.join(folder, "png")))
    got = ts.open({"driver": "neuroglancer_precomputed",
                   "kvstore": {"driver": "http", "base_url": s.url + "/jpeg/"}},
                  read=True).result()[20:280, 10:80, 3:66, 0].read().result()
    wanted = np.stack([np.asarray(Image.open(os.path.join(folder, "jpeg", f"s{z + 8}.jpg")))
                       for z in range(3, 66)])
    ok("TensorStore reads it over HTTP", np.array_equal(got, wanted[:, 10:80, 20:280].T))


def pages(s, folder, rng):
    a = rng.integers(0, 60000, (40, 130, 270)).astype(np.uint16)
    for name, how in (("big", {"bigtiff": True, "tile": (64, 64)}),
                      ("strips", {"rowsperstrip": 5, "compression": "zlib"})):
        path = os.path.join(folder, name + ".tif")
        tifffile.imwrite(path, a, photometric="minisblack", **how)
        is_(f"{name}.tif: added", tool_add(s, name, path, "--resolution", "4,4,40")[0], 0)
        is_(f"{name}.tif: chunks as they are", wrong_chunks(s, name, a), [])
    for name, kind, file in (("plain", "", "a.h5"), ("named", "hdf5:", "b.h5"),
                             ("longer", "", "c.hdf5")):
        path = os.path.join(folder, file)
        with h5py.File(path, "w") as f:
            f.create_dataset("group/em", data=a, chunks=(16, 64, 64), compression="gzip")
        is_(f"{kind}{file}:/group/em: added",
            tool_add(s, name, f"{kind}{path}:/group/em", "--resolution", "4,4,40")[0], 0)
        is_("chunks as they are", wrong_chunks(s, name, a), [])
        is_("with what stands behind it",
            tool_add(s, name + "-q", f"{kind}{path}:/group/em?nm=4,4,40&axes=zyx")[0], 0)
    rc, text = tool_add(s, "no", os.path.join(folder, "none.h5:/em"), "--resolution", "4,4,40")
    ok("no such HDF5 file", rc > 0 and "none.h5: No such file" in text)
    path = os.path.join(folder, "big.tif")
    rc, text = tool_add(s, "unsaid", path)
    ok("a resolution that nobody tells", rc == 2 and "nm=X,Y,Z" in text)


def holes(s, folder, rng):
    path = os.path.join(folder, "holes")
    wanted = make(path, "png", 1, "uint8", 150, (40, 50), rng) | 1
    for z in (3, 4, *range(64, 128)):
        os.remove(os.path.join(path, f"s{z + 8}.png"))
    for z in range(150):
        if os.path.exists(os.path.join(path, f"s{z + 8}.png")):
            Image.fromarray(wanted[z]).save(os.path.join(path, f"s{z + 8}.png"))
        else:
            wanted[z] = 0
    rc, text = tool_add(s, "refuse", path, "--resolution", "8")
    rc, text = tool_add(s, "refuse", path, "--resolution", "8,8,8")
    is_("missing sections are refused", rc, 2)
    has("with where they are", text,
        "66 of 150 sections are missing, the first 2 between s10.png and s13.png")
    tool_add(s, "zero", path, "--resolution", "8,8,8", "--holes", "zero")
    is_("or voxels of 0", wrong_chunks(s, "zero", wanted), [])
    tool_add(s, "absent", path, "--resolution", "8,8,8", "--holes", "absent")
    info = info_of(s, "absent")
    got = [read_chunk(s, "absent", info, box) for box in chunks_of(info)]
    ok("or no data: a chunk of nothing else is 404",
       np.array_equal(got[0], cut(wanted, ((0, 50), (0, 40), (0, 64)))) and got[1] == 404 and
       np.array_equal(got[2], cut(wanted, ((0, 50), (0, 40), (128, 150)))))
    tool_add(s, "filled", path, "--resolution", "8,8,8", "--holes", "absent", "--missing",
             "background")
    is_("which --missing background fills", wrong_chunks(s, "filled", wanted), [])
    layer = next(x for x in s.call("GET", "/api/layers").json() if x["name"] == "zero")
    is_("their number is told", layer["missing_sections"], 66)


def refusals(s, folder, rng):
    path = os.path.join(folder, "bad")
    make(path, "png", 1, "uint8", 5, (40, 50), rng)
    Image.fromarray(np.zeros((40, 51), np.uint8)).save(os.path.join(path, "s10.png"))
    rc, text = tool_add(s, "bad", path, "--resolution", "8,8,8")
    ok("a section of another size is refused",
       rc == 2 and "s10.png: 51 x 40 pixels, wanted 50 x 40 as in s8.png" in text)
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(os.path.join(path, "s10.png"))
    is_("and taken when it is right", tool_add(s, "bad", path, "--resolution", "8,8,8")[0], 0)
    with open(os.path.join(path, "s11.png"), "r+b") as f:
        f.truncate(200)
    info = info_of(s, "bad")
    box = next(chunks_of(info))
    is_("a file that is damaged later", read_chunk(s, "bad", info, box), 502)
    is_("harms no other layer", wrong_chunks(s, "png", np.stack([
        np.asarray(Image.open(os.path.join(folder, "png", f"s{z + 8}.png")))
        for z in range(70)]), 1), [])
    rc, text = tool_add(s, "twice", os.path.join(folder, "bad"), "--resolution", "0,8,8")
    ok("an impossible resolution", rc == 2 and "nm=0,8,8 is not possible" in text)


def network(s, folder):
    """The same voxels as sections and as one array: the same labels."""
    r = subprocess.run([TOOL, "cutout", "phantom:seed=5,size=64,chunk=32", "-o",
                        os.path.join(folder, "em.npy")], capture_output=True, text=True)
    is_("a specimen", (r.returncode, r.stderr), (0, ""))
    em = np.load(os.path.join(folder, "em.npy"))
    os.makedirs(os.path.join(folder, "em"))
    for z, a in enumerate(em):
        Image.fromarray(a).save(os.path.join(folder, "em", f"{z:04}.png"))
    tool_add(s, "em-array", os.path.join(folder, "em.npy"), "--resolution", "8,8,8")
    tool_add(s, "em-stack", os.path.join(folder, "em"), "--resolution", "8,8,8")
    labels = {}
    for name in ("array", "stack"):
        rc, text = tool_add(s, "seg-" + name, "--ffn", "--image", "em-" + name, "--model",
                            MODEL, "--block", "32,32,32", "--halo", "8,8,8", "--chunk", "32,32,32",
                            "--min-segment-size", "100", "--encoding", "raw", "--precision", "f32")
        is_(f"a network on em-{name}", (rc, text if rc else ""), (0, ""))
        while True:
            r = s.get(f"/seg-{name}/8_8_8/0-32_0-32_0-32")
            if r.status != 503:
                break
        labels[name] = (r.status, r.body)
    ok("finds objects", any(labels["array"][1]))
    is_("and the same ones", labels["array"] == labels["stack"], True)


def main():
    rng = np.random.default_rng(20261126)
    with tempfile.TemporaryDirectory(prefix="fg-stacks-") as folder, Server() as s:
        kinds(s, folder, rng)
        pages(s, folder, rng)
        holes(s, folder, rng)
        refusals(s, folder, rng)
        network(s, folder)
    done()


main()
