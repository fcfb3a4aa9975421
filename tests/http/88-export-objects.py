#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# An export of meshes and skeletons that was stopped, and goes on when the objects have
# changed: what it comes to is an export of the objects as they are, without a file more.
import glob
import json
import os
import resource
import shutil
import subprocess

from lib import BUILD, Server, add_cells, done, has, is_, ok, wait_for, write

TOOL = os.environ.get("FLOODGATE") or os.path.join(BUILD, "floodgate")
SIZE, OFFSET, BLOCK = (96, 48, 48), (8, 0, -16), 48
JOURNAL = ".floodgate-export"


def tool(s, *words, most=None):
    limit = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))) if most else None
    r = subprocess.run([TOOL, *words, "--root", s.root], capture_output=True, text=True,
                       timeout=300, preexec_fn=limit)
    if r.returncode and not most:
        print("# " + (r.stdout + r.stderr).replace("\n", "\n# "))
    return r


def files(top):
    """{path: bytes} of all but what tells the date or the sums of it."""
    out = {}
    for path in glob.glob(top + "/**", recursive=True, include_hidden=True):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                out[os.path.relpath(path, top)] = f.read()
    return out


def check(what, top, fresh):
    got, want = files(top), files(fresh)
    is_(f"{what}: no file more or less", set(got) ^ set(want), set())
    is_(f"{what}: each as in a new export", [p for p in want if p not in (
        "provenance", "manifest.sha256") and got.get(p) != want[p]], [])
    listed = {x.split("  ", 1)[1] for x in got["manifest.sha256"].decode().splitlines()}
    is_(f"{what}: the manifest lists them", listed, set(got) - {"manifest.sha256"})
    r = subprocess.run(["sha256sum", "-c", "--quiet", "manifest.sha256"], cwd=top,
                       capture_output=True)
    is_(f"{what}: with their sums", r.returncode, 0)


def stop_in_the_end(s, command, full, part):
    """What `command` leaves that was stopped among the meshes: all chunks are marked as
    done; and files of `full`, a whole one."""
    r = tool(s, *command, part, most=50000)  # a chunk of 24^3 u64 is larger
    ok("stopped at the first chunk", r.returncode != 0)
    with open(os.path.join(part, JOURNAL)) as f:
        head = f.read().splitlines()[:2]
    ok("its journal says what of", head[0].startswith("{") and head[1].startswith("# "))
    for path in glob.glob(part + "/8_8_8/*.tmp-*"):
        os.unlink(path)
    shutil.copytree(full, part, dirs_exist_ok=True)
    chunks = [x for x in files(full)["manifest.sha256"].decode().splitlines()
              if "  8_8_8/" in x]
    size = sum(os.path.getsize(os.path.join(full, x.split("  ")[1])) for x in chunks)
    os.unlink(os.path.join(part, "manifest.sha256"))
    os.unlink(os.path.join(part, "info"))
    write(os.path.join(part, JOURNAL), "\n".join(
        [*head, *chunks, f"@ 1 0 {len(chunks)} 0 {len(chunks)} {size} ."]) + "\n")
    write(os.path.join(part, "mesh", "1:0.tmp-abcdef"), "half")


def older(s, name, command, part, full):
    """The journal of an earlier version, which did not say which components there were."""
    again = os.path.join(os.path.dirname(part), f"{name}-older")
    shutil.copytree(part, again)
    path = os.path.join(again, JOURNAL)
    with open(path) as f:
        lines = f.read().splitlines()
    epoch = [x for x in lines if x.startswith("# ")]
    write(path, "\n".join(x for x in lines if x not in epoch) + "\n")
    r = tool(s, *command, again)
    is_(f"{name}: an older one goes on", r.returncode, 0)
    said = r.stdout + r.stderr
    # Of a layer without any change of components it is known all the same.
    ok("and does not say what is not known", "objects have changed" not in said and
       ("earlier version" in said) == (epoch not in (["# 0"], ["# 1"])))
    check(f"{name}, older", again, full)


with Server() as s:
    top = os.path.dirname(s.root)
    add_cells(s, SIZE, OFFSET, BLOCK)
    job = s.call("POST", "/api/jobs", {"layer": "seg", "stages": ["segment", "stitch"]})
    wait_for("the job", lambda: s.get(job.json()["url"]).json()["state"] == "done")
    many = s.get("/seg.agg@multilod/mesh.1/info").status == 200
    forms = [("legacy", ["--mesh-legacy", "--skeletons"])]
    if many:
        forms += [("levels", ["--mesh", "--skeletons"]),
                  ("shards", ["--mesh", "--skeletons", "--sharded"])]

    def make_all():
        for what in "mesh", "skeleton":
            is_(f"all of {what}", tool(s, what, "seg.agg").returncode, 0)

    make_all()
    commands = {}
    for name, options in forms:
        # Only the scale at hand: coarse chunks are small.
        commands[name] = ["export", "seg.agg", *options, "--scales", "8_8_8"]
        full, part = (os.path.join(top, f"{name}-{x}") for x in ("full", "part"))
        is_(f"{name}: an export", tool(s, *commands[name], full).returncode, 0)
        if name == "shards":
            shutil.copytree(full, part)  # its journal is that of a killed one, below
        else:
            stop_in_the_end(s, commands[name], full, part)
            again = os.path.join(top, f"{name}-again")
            shutil.copytree(part, again)
            r = tool(s, *commands[name], again)
            is_(f"{name}: goes on", r.returncode, 0)
            ok("with the chunks that it had", "begins anew" not in r.stdout + r.stderr and
               "gone on with" in r.stdout + r.stderr)
            check(f"{name}, unchanged", again, full)
            older(s, name, commands[name], part, full)

    ids = sorted({int(p.split("/")[1].split(":")[0]) for p in files(os.path.join(
        top, "legacy-full")) if p.startswith("mesh/") and p.endswith(":0")})
    ok(f"{len(ids)} objects", len(ids) > 2)
    r = s.call("POST", "/api/layers/seg/edits", {"join": [[ids[0], ids[-1]]]})
    is_("two of them become one", r.status, 201)
    make_all()
    for name, _ in forms:
        full, part, fresh = (os.path.join(top, f"{name}-{x}") for x in (
            "full", "part", "fresh"))
        is_(f"{name}: a new export", tool(s, *commands[name], fresh).returncode, 0)
        before, now = files(full), files(fresh)
        ok("differs", any(before.get(p) != now[p] for p in now))
        if name == "shards":
            # The same with all that shards can leave: one that is no longer there.
            shutil.rmtree(part)
            size = os.path.getsize(os.path.join(fresh, "8_8_8", "0.shard"))
            r = tool(s, *commands[name], part, most=size - 1)
            ok("stopped at the first shard", r.returncode != 0 and os.path.exists(
                os.path.join(part, JOURNAL)))
            shutil.copytree(os.path.join(full, "mesh"), os.path.join(part, "mesh"),
                            dirs_exist_ok=True)
            write(os.path.join(part, "mesh", "7.shard"), "of another number of objects")
        r = tool(s, *commands[name], part)
        is_(f"{name}: goes on", r.returncode, 0)
        if name != "shards":
            has("says that it begins anew", r.stdout + r.stderr, "begins anew")
            gone = [p for p in before if p.startswith("mesh/") and p not in now]
            ok(f"{len(gone)} files of the first one would be stale", len(gone) > 0)
        check(f"{name}, changed", part, fresh)

    # An image has no components: an older journal is as good as a new one.
    full, part = (os.path.join(top, f"image-{x}") for x in ("full", "part"))
    command = ["export", "em"]
    is_("an image", tool(s, *command, full).returncode, 0)
    size = max(os.path.getsize(x) for x in glob.glob(full + "/8_8_8/*"))
    r = tool(s, *command, part, most=size - 1)
    ok("stopped", r.returncode != 0 and os.path.exists(os.path.join(part, JOURNAL)))
    older(s, "image", command, part, full)

    # Folders of objects are emptied: chunks may not lie there.
    for i, (key, refused) in enumerate((("mesh", True), ("skeletons/8", True),
                                        ("meshes", False))):
        path = os.path.join(top, f"own{i}")
        os.makedirs(os.path.join(path, key))
        write(os.path.join(path, "info"), json.dumps({
            "type": "segmentation", "data_type": "uint64", "num_channels": 1, "scales": [{
                "key": key, "size": [16] * 3, "voxel_offset": [0] * 3,
                "resolution": [8] * 3, "chunk_sizes": [[16] * 3], "encoding": "raw"}]}))
        write(os.path.join(path, key, "0-16_0-16_0-16"), b"\1" + bytes(8 * 16 ** 3 - 1))
        s.add_layer(f"own{i}", path)
        dest = os.path.join(top, f"own{i}-out")
        r = tool(s, "export", f"own{i}", "--mesh", "--skeletons", dest)
        is_(f"a scale in {key}", r.returncode != 0, refused)
        if refused:
            has("says why", r.stderr, f"would share the folder {key.split('/')[0]}")
            ok("and writes nothing", not os.path.exists(dest))
            is_("without them it is exported",
                tool(s, "export", f"own{i}", dest).returncode, 0)
            ok("with its chunks", os.path.exists(
                os.path.join(dest, key, "0-16_0-16_0-16")))
done()
