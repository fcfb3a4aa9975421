#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Every encoding, sharded and not, in a real Neuroglancer, see encodings.mjs: a computed
# specimen and its labels, served as they are and in other encodings, and exported in
# shards. What loses something is held against the same stored bytes as the server decodes
# them: JPEG decoders may differ by 2 grey levels, JPEG XL by 1. Screenshots
# (encodings-*.png) are left in the build folder.
import os
import sys

from real import BUILD, layer, script, tool
from lib import Server  # after real, which knows where it is

with Server() as s:
    em = "phantom:seed=4,size=200x180x160"
    seg = em + ",labels=1"
    cases = []  # layer, its plain form, how far voxels may be apart
    layer(s, "em-raw", source=em)
    layer(s, "seg-raw", source=seg, encoding="raw")
    for enc in ("compressed_segmentation", "compresso"):
        layer(s, f"seg-{enc}", source=seg, encoding=enc)
        cases += [f"seg-{enc}", "seg-raw", "0"]
    layer(s, "em-png", source=em, encoding="png")
    cases += ["seg-raw", "seg-raw", "0", "em-raw", "em-raw", "0", "em-png", "em-raw", "0"]
    jxl = s.call("POST", "/api/layers", {"name": "has-jxl", "source": em, "encoding": "jxl"})
    lossy = [("jpeg", "2")]
    if jxl.status == 201:
        lossy.append(("jxl", "1"))
        tool(s, "cutout", "em-raw", "-o", os.path.join(s.own.name, "em.npy"))
        tool(s, "import", os.path.join(s.own.name, "em.npy"), "lossless", "--resolution", "8",
             "--encoding", "jxl", "--jxl-quality", "100", "--jxl-effort", "1", "--scales", "1")
        layer(s, "em-lossless", source=os.path.join(s.root, "layers", "lossless"))
        cases += ["em-lossless", "em-raw", "0"]
    else:
        print("# jxl is not in this build")
    for enc, apart in lossy:
        dest = os.path.join(s.root, "exports", enc)
        tool(s, "export", "em-raw", dest, "--encoding", enc, "--box", "64-128_64-128_64-128")
        layer(s, f"em-{enc}", source=dest)
        layer(s, f"em-{enc}-decoded", source=dest, encoding="raw")
        cases += [f"em-{enc}", f"em-{enc}-decoded", apart]
    for enc in ("raw", "compressed_segmentation", "compresso"):
        dest = os.path.join(s.root, "exports", enc)
        tool(s, "export", "seg-raw", dest, "--encoding", enc, "--sharded")
        layer(s, f"shards-{enc}", source=dest)
        cases += [f"shards-{enc}", "seg-raw", "0"]
    status = script("encodings.mjs", s, BUILD, "100,90,80", *cases)
    s.stop()
sys.exit(status)
