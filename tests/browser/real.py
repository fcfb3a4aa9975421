# SPDX-License-Identifier: Apache-2.0
"""What tests in a real browser share: where its parts are, and running one of the scripts."""
import os
import shutil
import subprocess
import sys

SOURCE = os.environ.get("srcdir") or os.path.join(os.path.dirname(__file__), "..", "..")
sys.path.insert(0, os.path.join(SOURCE, "tests", "http"))
from lib import BUILD, missing  # noqa: E402

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


def bail_out(what):
    print(f"Bail out! {what}")
    sys.exit(1)


def layer(s, name, **spec):
    r = s.call("POST", "/api/layers", {"name": name, **spec})
    if r.status != 201:
        bail_out(f"layer {name}: {r.status} {r.body!r}")


def tool(s, *words):
    """The tool beside the server; it has to succeed."""
    p = subprocess.run([os.path.join(BUILD, "floodgate"), "--root", s.root, *words],
                       capture_output=True, text=True, check=False)
    if p.returncode:
        bail_out(f"floodgate {' '.join(words)}: {p.stderr}")


def script(name, s, *words):
    """Run one of the scripts here on a server; its exit status."""
    return subprocess.run(
        ["node", os.path.join(SOURCE, "tests", "browser", name), s.url, PACKAGES, VIEWER, *words],
        env={**os.environ, "CHROMIUM": CHROMIUM}, check=False).returncode
