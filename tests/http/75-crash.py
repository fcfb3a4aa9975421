#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The daemon is killed at each step of a commit while clients wait: after a restart no
# chunk that was answered is lost, none is wrong, and the rest is made again.
import os
import shutil

from lib import Server, Volume, done, is_, ok, tiny_ffn, write_tiny_model

# Not "dir-synced": only a new slab passes it (tests/store/test_crash).
POINTS = ("slab-append", "slab-half", "slab-written", "slab-synced", "txn-begun",
          "txn-half", "txn-before-commit", "committed")
FIRST = "/seg/8_8_8/8-40_0-32_-16-16"
SECOND = "/seg/8_8_8/72-104_0-32_-16-16"


def get(s, path):
    """The body, or None where the daemon died."""
    try:
        r = s.get(path)
        return r.body if r.status == 200 else None
    except (ConnectionError, OSError):
        return None


def crash(s, point, want):
    """FIRST is committed in peace, SECOND while the daemon is killed."""
    before = get(s, FIRST)
    s.stop(hard=True)
    s.env = {"FG_CRASH_AT": point}
    s.start()
    last = get(s, SECOND + "?wait=100")
    s.process.wait(100)
    is_(f"{point}: killed there", s.process.returncode, -9)
    ok("what was answered by then is right", last in (None, want[SECOND]))
    s.process.stdout.close()
    s.env = {}
    s.start()
    is_("ready again", s.get("/readyz").json(), {"ready": True, "wrong": []})
    is_("what was answered before is there", get(s, FIRST), before)
    if last is not None:
        is_("what was answered last too", get(s, SECOND), last)
    is_("what was lost is made again, the same", get(s, SECOND + "?wait=100"), want[SECOND])
    is_("one row per block", s.get("/api/layers/seg").json()["counts"]["blocks_done"],
        2)
    is_("stops cleanly", s.stop(), 0)


with Server() as base:
    model = os.path.join(base.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(base.root, "em"))
    base.add_layer("em", em.path)
    made = base.call("POST", "/api/layers",
                     {"name": "seg", "ffn": tiny_ffn(model, delta=[4, 4, 4])})
    is_("a layer", made.status, 201)
    expected = {FIRST: get(base, FIRST + "?wait=100")}
    is_("stops cleanly", base.stop(), 0)
    one = os.path.join(base.own.name, "one")
    shutil.copytree(base.root, one)
    base.start()
    expected[SECOND] = get(base, SECOND + "?wait=100")
    ok("two different chunks", expected[FIRST] and expected[SECOND] and
       expected[FIRST] != expected[SECOND])
    is_("stops cleanly", base.stop(), 0)
    for name in POINTS:
        shutil.rmtree(base.root)
        shutil.copytree(one, base.root)
        base.start()
        crash(base, name, expected)
done()
