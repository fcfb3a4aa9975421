#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Meshes (legacy and multi-resolution) and skeletons in a real Neuroglancer, see
# objects.mjs: made because the viewer asks for them. Screenshots (objects-*.png) are
# left in the build folder.
import json
import os
import shutil
import subprocess
import sys

SOURCE = os.environ.get("srcdir") or os.path.join(os.path.dirname(__file__), "..", "..")
sys.path.insert(0, os.path.join(SOURCE, "tests", "http"))
from lib import BUILD, Server, Volume, missing, tiny_ffn, wait_for, \
    write_tiny_model  # noqa: E402

PACKAGES = os.environ.get("FLOODGATE_BROWSER") or os.path.join(BUILD, "browser")
VIEWER = os.environ.get("FLOODGATE_VIEWER") or os.path.join(BUILD, "viewer")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or \
    shutil.which("chromium-browser")

if not os.path.exists(os.path.join(PACKAGES, ".made-from")):
    missing(f"no Playwright in {PACKAGES} (tests/browser/build.sh, which needs npm)")
if not os.path.exists(os.path.join(VIEWER, ".made-from")):
    missing(f"no viewer in {VIEWER} (make viewer)")
if not shutil.which("node"):
    missing("node")
if not CHROMIUM:
    missing("Chromium")

with Server() as s:
    model = os.path.join(s.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(s.own.name, "em"))
    s.add_layer("em", em.path)
    r = s.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(
        model, delta=[4, 4, 4], halo=[8, 8, 8], chunk=[16, 16, 16], block=[32, 32, 32])})
    if r.status != 201:
        print(f"Bail out! {r.status} {r.body!r}")
        sys.exit(1)
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
    code = subprocess.run(["node", os.path.join(SOURCE, "tests", "browser", "objects.mjs"),
                           s.url, PACKAGES, VIEWER, os.path.join(BUILD, "objects"), "120",
                           json.dumps(cases)], check=False).returncode
sys.exit(code)
