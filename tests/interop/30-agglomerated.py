#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# NAME.agg as other programs read it: compressed_segmentation chunks whose tables were
# rewritten, at all scales, are what NAME's voxels become by /NAME/equivalences. Read by
# CloudVolume and TensorStore, cut out and exported by the tool.
import os
import subprocess
import tempfile

from interop import TOOL, CloudVolume, Server, done, is_, np, ok, tool
from lib import Volume, tiny_ffn, wait_for, write_tiny_model

OFFSET = (8, 0, -16)


def named(voxels, equivalences):
    """The same voxels under the first name of each set."""
    names = {int(i): int(e[0]) for e in equivalences for i in e}
    labels, back = np.unique(voxels, return_inverse=True)
    return np.array([names.get(int(v), int(v)) for v in labels],
                    dtype=np.uint64)[back].reshape(voxels.shape)


def idle(s):
    m = s.metrics()
    return not any(m[f"floodgate_tasks_{x}"] for x in (
        "running", "committing", 'queued{class="idle"}', 'queued{class="bulk"}'))


def read(s, layer, mip=0):
    return np.asarray(CloudVolume(f"precomputed://{s.url}/{layer}", mip=mip, progress=False,
                                  cache=False, use_https=False)[:])[..., 0]


with Server() as s, tempfile.TemporaryDirectory() as top:
    Volume(os.path.join(top, "em"), (96, 96, 96), OFFSET,
           dark=lambda *v: any((a + 15) % 24 < 7 for a in v))
    write_tiny_model(os.path.join(top, "net"))
    s.add_layer("em", os.path.join(top, "em"))
    is_("a layer", s.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(
        os.path.join(top, "net"), block=[48] * 3, chunk=[24] * 3, halo=[16] * 3)}).status, 201)
    job = s.call("POST", "/api/jobs", {"layer": "seg"}).json()
    wait_for("the job", lambda: s.get(job["url"]).json()["state"] in ("done", "failed"))
    is_("is made", s.get(job["url"]).json()["state"], "done")
    wait_for("idle", lambda: idle(s))
    sets = s.get("/seg/equivalences").json()["equivalences"]
    ok("something is joined", max(map(len, sets)) == 8)
    for mip, scale in enumerate(s.get("/seg.agg/info").json()["scales"]):
        base, whole = read(s, "seg", mip), read(s, "seg.agg", mip)
        ok(f"labels at {scale['key']}", base.any() or mip > 1)
        ok(f"CloudVolume at {scale['key']}", np.array_equal(whole, named(base, sets)))
    base, whole = read(s, "seg"), read(s, "seg.agg")
    import tensorstore as ts
    t = ts.open({"driver": "neuroglancer_precomputed", "kvstore": f"{s.url}/seg.agg/"}
                ).result().read().result()
    ok("TensorStore", np.array_equal(np.asarray(t)[..., 0], whole))
    path = os.path.join(top, "cut.npy")
    tool(s.root, "cutout", "seg.agg", "-o", path)
    ok("cut out", np.array_equal(np.load(path).T, whole))
    out = os.path.join(top, "out")
    tool(s.root, "export", "seg.agg", out)
    got = np.asarray(CloudVolume(f"file://{out}", progress=False)[:])[..., 0]
    ok("exported", np.array_equal(got, whole))
    big = max(sets, key=len)
    p = subprocess.run([TOOL, "--root", s.root, "object", "cut", "seg", *big, "--who", "me"],
                       capture_output=True, text=True)
    is_("cut by the tool, through the daemon", (p.returncode, p.stderr), (0, ""))
    sets = s.get("/seg/equivalences").json()["equivalences"]
    whole = read(s, "seg.agg")
    ok("is seen at once", np.array_equal(whole, named(base, sets)) and
       big[0] not in {i for e in sets for i in e})
    p = subprocess.run([TOOL, "--root", s.root, "object", "list", "seg"],
                       capture_output=True, text=True)
    is_("listed by the tool", len(p.stdout.split()) - 1, sum(map(len, sets)))
    p = subprocess.run([TOOL, "--root", s.root, "object", "undo", "seg", "1"],
                       capture_output=True, text=True)
    is_("withdrawn by the tool", p.returncode, 0)
    many = os.path.join(top, "many.csv")
    with open(many, "w", encoding="ascii") as f:
        f.write("a,b\n" + f"{big[1]},{big[2]}\n" * 3000)
    p = subprocess.run([TOOL, "--root", s.root, "object", "join", "seg", "--file", many],
                       capture_output=True, text=True)
    is_("3,000 pairs from a file", (p.returncode, "and 2980 more" in p.stdout), (0, True))
    with open(many, "a", encoding="ascii") as f:
        f.write("\n\r\n12,x\n")
    p = subprocess.run([TOOL, "--root", s.root, "object", "join", "seg", "--file", many],
                       capture_output=True, text=True)
    ok("a bad line is named", p.returncode == 2 and "line 3004" in p.stderr)
    before = s.get("/api/layers/seg/edits").json()
    for line in (f"{big[1]},{big[2]}\r{big[0]},{big[1]}\n", f"{big[1]}\r,{big[2]}\r\n"):
        with open(many, "w", encoding="ascii", newline="") as f:
            f.write(line)
        p = subprocess.run([TOOL, "--root", s.root, "object", "join", "seg", "--file", many],
                           capture_output=True, text=True)
        ok("a carriage return within a line is no end", p.returncode == 2 and
           "line 1" in p.stderr)
    is_("nothing was decided", s.get("/api/layers/seg/edits").json(), before)
    with open(many, "w", encoding="ascii", newline="") as f:
        f.write(f"{big[1]},{big[2]}\r\n" * 2)
    p = subprocess.run([TOOL, "--root", s.root, "object", "join", "seg", "--file", many],
                       capture_output=True, text=True)
    is_("before the end of one it is", (p.returncode, p.stdout.count("edit ")), (0, 2))
done()
