#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Every encoding, sharded and not, in a real Neuroglancer, see encodings.mjs: a computed
# specimen and its labels, served as they are and in other encodings, and exported in
# shards. Screenshots (encodings-*.png) are left in the build folder.
import os
import shutil
import subprocess
import sys

SOURCE = os.environ.get("srcdir") or os.path.join(os.path.dirname(__file__), "..", "..")
sys.path.insert(0, os.path.join(SOURCE, "tests", "http"))
from lib import BUILD, Server, missing  # noqa: E402

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


def layer(s, name, source, **more):
    r = s.call("POST", "/api/layers", {"name": name, "source": source, **more})
    if r.status != 201:
        print(f"Bail out! layer {name}: {r.status} {r.body!r}")
        sys.exit(1)


def export(s, name, enc, dest, *more):
    p = subprocess.run([os.path.join(BUILD, "floodgate"), "--root", s.root, "export", name, dest,
                        "--encoding", enc, *more], capture_output=True, text=True, check=False)
    if p.returncode:
        print(f"Bail out! export: {p.stderr}")
        sys.exit(1)


with Server() as s:
    em = "phantom:seed=4,size=200x180x160"
    seg = em + ",labels=1"
    pairs = []
    layer(s, "em-raw", em)
    layer(s, "seg-raw", seg, encoding="raw")
    for enc in ("compressed_segmentation", "compresso"):
        layer(s, f"seg-{enc}", seg, encoding=enc)
        pairs += [f"seg-{enc}", "seg-raw"]
    layer(s, "em-png", em, encoding="png")
    pairs += ["seg-raw", "seg-raw", "em-raw", "em-raw", "em-png", "em-raw"]
    for enc in ("raw", "compressed_segmentation", "compresso"):
        dest = os.path.join(s.root, "exports", enc)
        export(s, "seg-raw", enc, dest, "--sharded")
        layer(s, f"shards-{enc}", dest)
        pairs += [f"shards-{enc}", "seg-raw"]
    p = subprocess.run(["node", os.path.join(SOURCE, "tests", "browser", "encodings.mjs"), s.url,
                        PACKAGES, VIEWER, BUILD, "100,90,80", *pairs],
                       env={**os.environ, "CHROMIUM": CHROMIUM}, check=False)
    s.stop()
sys.exit(p.returncode)
