#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# An object over many blocks: mesh and skeleton take the memory of a block or two, however
# many there are; beyond a limit there is one clear line, and the daemon goes on.
import json
import math
import os
import random
import tempfile
import time

from lib import Server, done, has, is_, ok, wait_for, write

CHUNK, PERIOD = 64, 256  # a block is 256^3 voxels, and all blocks are alike
RADIUS, MIDDLE, NM = 20, 96, 10
TUBES, DOTS = 1, 5
LATE = "?wait=60"
# Volumes of so many blocks (eight, as many as are made beside one another, and more), and what
# the larger one may take: MB over an idle daemon, with
# some room over what was measured, and MB over the smaller one. Up to 64 MiB of pieces come
# together before they are stored, and the larger one has 150; levels are all in memory, as
# far as LEVELS_MB.
SMALL, LARGE, LEVELS_MB = (2, 2, 2), (4, 4, 2), 160
BOUND_MB = {"skeleton": 400, "mesh": 600, "levels": 600}
GROWTH_MB = {"skeleton": 64, "mesh": 96, "levels": LEVELS_MB}
PRODUCTS = {"skeleton": f"/seg/skeleton/{TUBES}", "mesh": f"/seg/mesh/{TUBES}:0",
            "levels": f"/seg@multilod/mesh.1/{TUBES}.index"}


def pattern():
    """A block as rows of x: three crossing tubes, rough, so that their surface is not
    simplified to nothing, and a short rod."""
    rnd, rows = random.Random(89), []
    for z in range(PERIOD):
        for y in range(PERIOD):
            row = bytearray(PERIOD)
            dy, dz = y - MIDDLE, z - MIDDLE
            if dy * dy + dz * dz <= RADIUS ** 2:
                row = bytearray(b"\x01" * PERIOD)
            elif dy * dy + dz * dz <= (RADIUS + 2) ** 2:
                row = bytearray(v & 1 for v in rnd.randbytes(PERIOD))
            for d in (dy, dz):
                if abs(d) <= RADIUS:
                    w = math.isqrt(RADIUS ** 2 - d * d) + rnd.randrange(4)
                    row[MIDDLE - w:MIDDLE + w + 1] = bytes([TUBES]) * (2 * w + 1)
            if y == z == 9:
                row[9:12] = bytes([DOTS]) * 3
            rows.append(bytes(row))
    return rows


def make(path, blocks):
    """A volume of so many blocks; files of equal chunks are one file."""
    size = [PERIOD * n for n in blocks]
    write(os.path.join(path, "info"), json.dumps({
        "@type": "neuroglancer_multiscale_volume", "type": "segmentation",
        "data_type": "uint8", "num_channels": 1, "scales": [{
            "key": "s", "size": size, "voxel_offset": [0] * 3, "resolution": [NM] * 3,
            "chunk_sizes": [[CHUNK] * 3], "encoding": "raw"}]}))
    rows, made = pattern(), {}
    for z in range(0, size[2], CHUNK):
        for y in range(0, size[1], CHUNK):
            for x in range(0, size[0], CHUNK):
                name = os.path.join(path, "s", "_".join(
                    f"{a}-{a + CHUNK}" for a in (x, y, z)))
                at = tuple(a % PERIOD for a in (x, y, z))
                if at not in made:
                    voxels = b"".join(rows[c * PERIOD + b][at[0]:at[0] + CHUNK]
                                      for c in range(at[2], at[2] + CHUNK)
                                      for b in range(at[1], at[1] + CHUNK))
                    made[at] = name if any(voxels) else None
                    if made[at]:
                        write(name, voxels)
                elif made[at]:
                    os.link(made[at], name)


def peak_mb(s):
    with open(f"/proc/{s.process.pid}/status", encoding="utf-8") as f:
        return next(int(line.split()[1]) >> 10 for line in f if line.startswith("VmHWM"))


def forget_peak(s):
    with open(f"/proc/{s.process.pid}/clear_refs", "w", encoding="utf-8") as f:
        f.write("5")


def late(s, path):
    return wait_for(path, lambda: (lambda r: r if r.status != 503 else None)(
        s.get(path + LATE)), 1000)


def add(s, top):
    """Without any error of meshes: pieces are large and soon made."""
    r = s.call("POST", "/api/layers", {"name": "seg", "source": top, "mesh_error_nm": 0})
    is_("a layer", r.status, 201)


def measure(top):
    """{product: peak in MB over that of the idle daemon}"""
    out = {}
    with Server("--cpu-threads", "2", "--skeleton-whole-mvx", "30",
                "--mesh-levels-mb", str(LEVELS_MB)) as s:
        add(s, top)
        info = s.get("/seg/info").json()
        idle = peak_mb(s)
        for what, path in PRODUCTS.items():
            if what == "levels" and "mesh." not in info["mesh"]:
                continue
            forget_peak(s)
            t0 = time.monotonic()
            r = late(s, path)
            out[what] = peak_mb(s) - idle
            print(f"# {time.monotonic() - t0:.1f} s", flush=True)
            ok(f"{what}: {r.status}, {len(r.body)} bytes, {out[what]} MB",
               r.status == 200 and len(r.body) > 20)
        is_("it is well", s.get("/healthz").status, 200)
        return out, s.is_instrumented()


def refused(top, options, wanted):
    """wanted: {path: (status, part of the message)}"""
    with Server("--cpu-threads", "2", "--skeleton-whole-mvx", "30", *options) as s:
        add(s, top)
        for path, (status, part) in wanted.items():
            r = late(s, path)
            is_(f"{path} with {' '.join(options)}", r.status, status)
            text = r.json().get("error", "")
            has(f"which is named: {text}", text, part)
            ok("in one line", "\n" not in text and len(text) < 300)
        is_("a small one beside it", [late(s, f"/seg/{x}").status for x in (
            f"mesh/{DOTS}:0", f"skeleton/{DOTS}")], [200, 200])
        is_("the daemon is well", s.get("/healthz").status, 200)
        is_("and stops cleanly", s.stop(), 0)


with tempfile.TemporaryDirectory(prefix="fg-huge-") as top:
    small, large = os.path.join(top, "small"), os.path.join(top, "large")
    make(small, SMALL)
    make(large, LARGE)
    few, slow = measure(small)
    # A sanitizer takes more time and memory.
    many = few if slow else measure(large)[0]
    voxels = math.prod(LARGE) * PERIOD ** 3
    # The mask alone is a byte a voxel, twice; a skeleton ten more.
    whole = {"mesh": 2 * voxels >> 20, "levels": 2 * voxels >> 20,
             "skeleton": 10 * voxels >> 20}
    for what, mb in many.items() if not slow else ():
        ok(f"{what} of {math.prod(LARGE)} blocks: {mb} MB, of {math.prod(SMALL)} "
           f"{few[what]}; the whole would take {whole[what]} at least",
           mb <= BOUND_MB[what] and mb < few[what] + GROWTH_MB[what] and
           mb < whole[what] / 2)

    refused(small, ("--mesh-piece-mb", "1"), {
        PRODUCTS["mesh"]: (500, "(mesh_piece_mb)")})
    refused(small, ("--mesh-max-mtri", "0.001"), {
        PRODUCTS["mesh"]: (500, "(mesh_max_mtri)")})
    refused(small, ("--mesh-levels-mb", "1", "--skeleton-max-mvert", "0.0001",
                    "--file-max-mb", "1"), {
        **({PRODUCTS["levels"]: (500, "(mesh_levels_mb)")} if "levels" in many else {}),
        PRODUCTS["skeleton"]: (500, "(skeleton_max_mvert)"),
        f"/seg/mesh/{TUBES}.ply": (501, "(file_max_mb)")})
done()
