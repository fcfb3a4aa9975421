#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Stacks and volumes written by Pillow, tifffile, nibabel and numpy: imported, read in
# place, and compared voxel for voxel; memory that does not grow with the volume.
import gzip
import json
import os
import subprocess
import sys
import tempfile

from interop import TOOL, Server, done, has, is_, missing, np, ok

try:
    import nibabel
    import tensorstore as ts
    import tifffile
    import tinybrain
    from PIL import Image
except ImportError as e:
    missing(f"Python package {e.name} (tests/requirements.txt)")


def run(*words):
    p = subprocess.run([TOOL, *words], capture_output=True, text=True)
    return p.returncode, p.stdout + p.stderr


def cutout(root, what):
    path = os.path.join(root, "cut.npy")
    rc, text = run("--root", root, "cutout", what, "-o", path)
    if rc:
        print("#", text)
        return None
    return np.load(path)  # z, y, x [, channel]


def imported(root, name, source, wanted, *more):
    rc, text = run("--root", root, "import", source, name, "--resolution", "8,8,40",
                   "--chunk", "16,16,16", *more)
    if not is_(f"{name}: import", rc, 0):
        print("#", text)
        return
    got = cutout(root, name)
    ok(f"{name}: the same voxels, {wanted.dtype} {wanted.shape}",
       got is not None and got.dtype == wanted.dtype and np.array_equal(got, wanted))


def stacks(root, folder, rng):
    for name, ending, colours, dtype in (("jpeg", "jpg", 1, "uint8"), ("jpeg-rgb", "JPEG", 3, "uint8"),
                                         ("tiff", "tif", 1, "uint16"), ("tiff-rgb", "tiff", 3, "uint8"),
                                         ("tiff-float", "tif", 1, "float32"), ("png", "png", 1, "uint8")):
        path = os.path.join(folder, name)
        os.makedirs(path)
        wanted = []
        for z in range(9, 32):  # 9, 10: sorted by number, not by name
            shape = (30, 41, 3) if colours == 3 else (30, 41)
            a = rng.integers(0, 250, shape).astype(dtype)
            file = os.path.join(path, f"sec{z}_of_40.{ending}")
            if ending.lower() in ("jpg", "jpeg"):
                Image.fromarray(a).save(file, "JPEG", quality=92, progressive=z % 2 == 0)
                a = np.asarray(Image.open(file))  # libjpeg's pixels
            elif ending == "png":
                Image.fromarray(a).save(file)
            else:
                tifffile.imwrite(file, a, compression="zlib" if z % 2 else None,
                                 photometric="rgb" if colours == 3 else "minisblack")
            wanted.append(a)
        imported(root, name, path, np.stack(wanted))
    path = os.path.join(folder, "jpeg")
    os.remove(os.path.join(path, "sec20_of_40.jpg"))
    rc, text = run("--root", root, "import", path, "holes", "--resolution", "1")
    is_("a hole", rc, 2)
    has("is told", text, "1 of 23 sections are missing, the first 1 between sec19_of_40.jpg")
    Image.fromarray(np.zeros((30, 42), np.uint8)).save(os.path.join(path, "sec20_of_40.jpg"))
    rc, text = run("--root", root, "import", path, "odd", "--resolution", "1")
    is_("another size", rc, 2)
    has("is told", text, "sec20_of_40.jpg: 42 x 30 pixels, wanted 41 x 30")


def volumes(root, folder, rng):
    a = rng.integers(0, 60000, (41, 30, 23)).astype(np.uint16)  # x, y, z
    for name, cls in (("n1.nii", nibabel.Nifti1Image), ("n1.nii.gz", nibabel.Nifti1Image),
                      ("n2.nii.gz", nibabel.Nifti2Image)):
        path = os.path.join(folder, name)
        image = cls(a, np.eye(4))
        image.header.set_zooms((0.000008, 0.000008, 0.00004))
        image.header.set_xyzt_units("mm")
        image.to_filename(path)
        imported(root, name.replace(".", "-"), path, a.T)
        wanted = np.asarray(nibabel.load(path).dataobj).T
        got = cutout(root, f"nifti:{path}?chunk=10,10,10")
        ok(f"{name} in place, as nibabel reads it", np.array_equal(got, wanted))
    for name, b in (("c.npy", np.ascontiguousarray(a.T)), ("f.npy", np.asfortranarray(a))):
        path = os.path.join(folder, name)
        np.save(path, b)
        imported(root, name[0] + "-npy", path, a.T)
        ok(f"{name} in place", np.array_equal(cutout(root, f"npy:{path}?nm=8,8,8"), a.T))
    with open(os.path.join(folder, "c.npy"), "rb") as f:
        data = f.read()
    with gzip.open(os.path.join(folder, "c.npy.gz"), "wb") as f:
        f.write(data)
    imported(root, "gz-npy", os.path.join(folder, "c.npy.gz"), a.T)


def served(folder, rng):
    a = rng.integers(0, 255, (90, 80, 70)).astype(np.uint8)
    path = os.path.join(folder, "served.nii.gz")
    image = nibabel.Nifti1Image(a, np.eye(4))
    image.header.set_xyzt_units("micron")
    image.to_filename(path)
    with Server() as s:
        s.add_layer("nii", f"nifti:{path}?chunk=64,64,64")
        wrong = []
        for x in (0, 64):
            for y in (0, 64):
                for z in (64, 0):  # backwards, too
                    hi = [min(p + 64, n) for p, n in zip((x, y, z), a.shape)]
                    r = s.get(f"/nii/1000_1000_1000/{x}-{hi[0]}_{y}-{hi[1]}_{z}-{hi[2]}")
                    if r.body != a[x:hi[0], y:hi[1], z:hi[2]].tobytes("F"):
                        wrong.append((x, y, z, r.status))
        is_("a gzipped NIfTI served in place", wrong, [])


def memory(root, folder):
    """The peak of the importing process, for a volume and for one four times as deep."""
    peaks = []
    for depth in (256, 1024):
        path = os.path.join(folder, f"deep{depth}.npy")
        with open(path, "wb") as f:
            np.lib.format.write_array_header_1_0(
                f, {"descr": "|u1", "fortran_order": False, "shape": (depth, 400, 400)})
            for z in range(depth):
                f.write(np.full((400, 400), z % 251, np.uint8).tobytes())
        code = ("import resource, subprocess, sys\n"
                "rc = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)\n"
                "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
                "sys.exit(rc)")
        p = subprocess.run([sys.executable, "-c", code, TOOL, "--root", root, "import", path,
                            f"deep{depth}", "--resolution", "8", "--scales", "3"],
                           capture_output=True, text=True)
        is_(f"{depth} sections", p.returncode, 0)
        peaks.append(int(p.stdout))
        os.remove(path)
    print(f"# peak {peaks[0]} and {peaks[1]} KiB")
    if not os.environ.get("ASAN_OPTIONS"):
        ok("memory does not grow with the depth", peaks[1] < peaks[0] * 1.25)


def summary(root, folder):
    a = np.zeros((32, 32, 48), np.uint8)  # z, y, x
    a[:16, :16, :16] = 10
    a[5, 5, 5] = 250
    path = os.path.join(folder, "summary.npy")
    np.save(path, a)
    p = subprocess.run([TOOL, "import", path, "summary", "--root", root, "--json",
                        "--resolution", "8", "--chunk", "16,16,16", "--scales", "1"],
                       capture_output=True, text=True)
    s = json.loads(p.stdout)
    is_("the summary", (p.returncode, s["min"], s["max"], round(s["mean"], 9), s["empty_fraction"]),
        (0, 0.0, 250.0, round(float(a.mean()), 9), 11 / 12))


def pyramids(root, folder, rng):
    """Coarser scales are those of tinybrain (floor, sparse) and TensorStore (to even)."""
    a = rng.integers(0, 255, (64, 48, 40), dtype=np.uint8)  # x, y, z
    a[rng.random(a.shape) < 0.4] = 0
    path = os.path.join(folder, "pyramid.npy")
    np.save(path, np.ascontiguousarray(a.T))
    flat = np.asfortranarray(a[..., None])

    def coarse(name, *more):
        rc, text = run("--root", root, "import", path, name, "--resolution", "8", "--chunk",
                       "16,16,16", "--scales", "2", *more)
        is_(f"{name}: import", rc, 0)
        return cutout(root, f"{name}@16_16_16").T

    def tiny(**more):
        return tinybrain.downsample_with_averaging(flat, (2, 2, 2, 1), num_mips=1,
                                                   **more)[0][..., 0]
    ok("floor as tinybrain", np.array_equal(coarse("p-floor", "--rounding", "floor"), tiny()))
    store = ts.array(a.T)
    even = ts.downsample(store, [2, 2, 2], "mean")[...].read().result().T
    ok("to even as TensorStore", np.array_equal(coarse("p-even"), even))
    ok("sparse as tinybrain", np.array_equal(
        coarse("p-sparse", "--rounding", "floor", "--sparse"), tiny(sparse=True)))
    labels = coarse("p-labels", "--type", "segmentation", "--sparse")
    blocks = a.reshape(32, 2, 24, 2, 20, 2).transpose(0, 2, 4, 1, 3, 5).reshape(32, 24, 20, 8)
    seen = (blocks == labels[..., None]).sum(-1)
    best = np.max([(blocks == blocks[..., i:i + 1]).sum(-1) * (blocks[..., i] != 0)
                   for i in range(8)], 0)
    ok("sparse labels: the most frequent that is not 0", np.array_equal(
        np.where(labels == 0, 0, seen), best) and
       np.array_equal(labels == 0, (blocks == 0).all(-1)))


def main():
    rng = np.random.default_rng(20261125)
    with tempfile.TemporaryDirectory(prefix="fg-import-") as folder:
        root = os.path.join(folder, "root")
        stacks(root, folder, rng)
        volumes(root, folder, rng)
        served(folder, rng)
        pyramids(root, folder, rng)
        summary(root, folder)
        memory(root, folder)
    done()


main()
