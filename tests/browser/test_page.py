#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The page and the viewer in a real browser, see page.mjs and watch.mjs: a daemon with a
# computed specimen and its small network, whose blocks take seconds, and a tiny network
# on a small image, one chunk of which is broken at first. Screenshots (page-*.png,
# watch-*.png) are left in the build folder; look at them after a change.
import os
import shutil
import subprocess
import sys
import threading
import time

SOURCE = os.environ.get("srcdir") or os.path.join(os.path.dirname(__file__), "..", "..")
sys.path.insert(0, os.path.join(SOURCE, "tests", "http"))
from lib import BUILD, Server, Volume, missing, tiny_ffn, write, write_tiny_model  # noqa: E402

PACKAGES = os.environ.get("FLOODGATE_BROWSER") or os.path.join(BUILD, "browser")
VIEWER = os.environ.get("FLOODGATE_VIEWER") or os.path.join(BUILD, "viewer")
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or \
    shutil.which("chromium-browser")
TOKEN = "0123456789abcdef"
BROKEN = "72-108_64-80_-16-48"
numbered = 0


def passed_on(process):
    """The results of a script, numbered on; its exit status."""
    global numbered
    for line in process.stdout:
        word = line.split(" ", 2)
        if line.startswith("1.."):
            continue
        if line.startswith(("ok ", "not ok ")):
            numbered += 1
            head, text = line.split(" - ", 1)
            line = f"{head.rsplit(' ', 1)[0]} {numbered} - {text}"
        print(line, end="", flush=True)
        if word[0] == "Bail":
            break
    return process.wait()


def run(script, *args):
    return passed_on(subprocess.Popen(
        ["node", os.path.join(SOURCE, "tests", "browser", script), *args],
        stdout=subprocess.PIPE, text=True))


class Cells:
    """A small image with a broken chunk, that is mended when a script says so."""

    def __init__(self, s, image, labels):
        self.path = os.path.join(Volume(os.path.join(s.root, image)).path, "8_8_8", BROKEN)
        self.sign = os.path.join(s.own.name, f"mend-{image}")
        with open(self.path, "rb") as f:
            self.good = f.read()
        write(self.path, self.good[:100])
        add(s, image, {"source": os.path.join(s.root, image)})
        add(s, labels, {"ffn": tiny_ffn(os.path.join(s.own.name, "tiny"), image=image,
                                        halo=[0, 0, 0])})
        threading.Thread(target=self.wait, daemon=True).start()

    def wait(self):
        while not os.path.exists(self.sign):
            time.sleep(0.05)
        write(self.path + ".new", self.good)
        os.rename(self.path + ".new", self.path)


def add(s, name, spec):
    r = s.call("POST", "/api/layers", {"name": name, **spec})
    if r.status != 201:
        print(f"Bail out! layer {name}: {r.status} {r.body!r}")
        sys.exit(1)


if not os.path.exists(os.path.join(PACKAGES, ".made-from")):
    missing(f"no Playwright in {PACKAGES} (tests/browser/build.sh, which needs npm)")
if not os.path.exists(os.path.join(VIEWER, ".made-from")):
    missing(f"no viewer in {VIEWER} (make viewer)")
if not shutil.which("node") or not CHROMIUM:
    missing("node and Chromium")
os.environ["CHROMIUM"] = CHROMIUM
with Server(start=False) as server:
    folder = server.own.name
    write(os.path.join(folder, "token"), TOKEN + "\n")
    server.options = ("--token-file", os.path.join(folder, "token"), "--retry-ms", "10",
                      "--viewer-dir", os.path.join(VIEWER, "dist"))
    server.start()
    write_tiny_model(os.path.join(folder, "tiny"))
    for_page = Cells(server, "cells", "made")
    for_viewer = Cells(server, "cells2", "made2")
    add(server, "em", {"source": "phantom:seed=1,size=256"})
    add(server, "seg", {"ffn": {
        "image": "em", "model": os.path.join(SOURCE, "seg", "models",
                                             "phantom-small.safetensors"),
        "block": [32, 32, 32], "halo": [10, 10, 10], "chunk": [32, 32, 32],
        "min_segment_size": 200}})
    with Server(*server.options, "--anonymous", "none") as locked:
        Volume(os.path.join(locked.root, "cells"))
        add(locked, "cells", {"source": os.path.join(locked.root, "cells")})
        status = run("page.mjs", server.url, TOKEN, PACKAGES, BUILD, for_page.sign, locked.url)
    if status == 0:
        status = run("watch.mjs", server.url, TOKEN, PACKAGES, VIEWER, BUILD, for_viewer.sign)
    if status == 0:
        status = server.stop()
print(f"1..{numbered}")
sys.exit(1 if status else 0)
