#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Meshes (legacy and multi-resolution) and skeletons in a real Neuroglancer, see
# objects.mjs: made because the viewer asks for them. Screenshots (objects-*.png) are
# left in the build folder.
import json
import os
import sys

from real import BUILD, bail_out, script
from lib import Server, Volume, tiny_ffn, wait_for, write_tiny_model  # after real

with Server() as s:
    model = os.path.join(s.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(s.own.name, "em"))
    s.add_layer("em", em.path)
    r = s.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(
        model, delta=[4, 4, 4], halo=[8, 8, 8], chunk=[16, 16, 16], block=[32, 32, 32])})
    if r.status != 201:
        bail_out(f"{r.status} {r.body!r}")
    job = s.call("POST", "/api/jobs", {"layer": "seg", "stages": ["segment", "stitch"]})
    wait_for("all blocks", lambda: s.get(job.json()["url"]).json()["state"] == "done")
    # Objects of the first blocks; an id says which block it is of.
    ids = [str(i) for k in range(6) for i in range(k << 20, (k << 20) + 12)
           if i and s.get(f"/seg.agg/skeleton/{i}?wait=60").status == 200]
    view = {"nm": [8, 8, 8], "position": [58, 40, 20], "extent": 150, "ids": ids}
    cases = [
        {"name": "legacy", "layer": "seg.agg@legacy", "colours": 50, "share": 0.2, **view},
        {"name": "multilod", "layer": "seg.agg@multilod", "colours": 50, "share": 0.2,
         **view},
        {"name": "skeletons", "layer": "seg.agg", "skeletons": True, "colours": 5,
         "share": 0.002, **view},
    ]
    if s.get("/seg.agg/mesh.1/info").status == 501:
        del cases[1]
    code = script("objects.mjs", s, os.path.join(BUILD, "objects"), "120", json.dumps(cases))
sys.exit(code)
