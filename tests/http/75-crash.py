#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# The daemon is killed at each step of a commit, and at random, while clients wait: after a
# restart no chunk that was answered is lost, none is wrong, and the rest is made again.
import glob
import os
import random
import re
import shutil
import subprocess
import threading
import time

from lib import BUILD, SOURCE, Server, Volume, done, is_, ok, tiny_ffn, wait_for, \
    write_tiny_model

# Of a commit, but for "dir-synced", which only a new slab passes.
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


def verified(s):
    """The exit status of `floodgate verify` beside the daemon."""
    p = subprocess.run([os.path.join(BUILD, "floodgate"), "verify", "-q", "--root", s.root],
                       stdout=subprocess.PIPE, text=True)
    if p.returncode:
        print("# " + p.stdout.replace("\n", "\n# "))
    return p.returncode


def all_points():
    """The points of the sources are those at which tests kill."""
    there = set()
    for path in glob.glob(os.path.join(SOURCE, "store", "*.c")):
        with open(path) as f:
            there |= set(re.findall(r'fg_crash_(?:at|is_due)\([^"]*"([^"]+)"', f.read()))
    of_commit = {p for p in there if not p.startswith(
        ("edit-", "gc-", "prune-"))}
    is_("the points of a commit", of_commit, {*POINTS, "dir-synced"})
    for test, some in (("test_crash.c", of_commit),
                       ("test_object.c", {p for p in there if p.startswith("edit-")}),
                       ("test_gc.c", {p for p in there if p.startswith("gc-")}),
                       ("test_prune.c", {p for p in there if p.startswith("prune-")})):
        with open(os.path.join(SOURCE, "tests", "store", test)) as f:
            named = set(re.findall(r'"([a-z-]+)"', f.read()))
        is_(f"the store is killed at each of them too ({test})", some - named, set())


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
    is_("verify is content", verified(s), 0)
    is_("what was answered before is there", get(s, FIRST), before)
    if last is not None:
        is_("what was answered last too", get(s, SECOND), last)
    is_("what was lost is made again, the same", get(s, SECOND + "?wait=100"), want[SECOND])
    is_("one row per block", s.get("/api/layers/seg").json()["counts"]["blocks_done"],
        2)
    is_("stops cleanly", s.stop(), 0)


def new_slab(s, em):
    """The first layer of a data directory makes its first slab."""
    s.stop()
    shutil.rmtree(s.root)
    s.env = {"FG_CRASH_AT": "dir-synced"}
    s.start()
    try:
        s.call("POST", "/api/layers", {"name": "em", "source": em.path})
    except (ConnectionError, OSError):
        pass
    s.process.wait(100)
    is_("dir-synced: killed there", s.process.returncode, -9)
    s.process.stdout.close()
    s.env = {}
    s.start()
    is_("ready again", s.get("/readyz").json(), {"ready": True, "wrong": []})
    is_("verify is content", verified(s), 0)
    # It was not acknowledged: both are right.
    ok("the layer is there or can be added", s.get("/em/info").status == 200 or
       s.call("POST", "/api/layers", {"name": "em", "source": em.path}).status == 201)
    is_("stops cleanly", s.stop(), 0)


def asking(s, paths, got, stop):
    """A client: one chunk after another until the daemon dies."""
    for path in paths:
        body = None if stop.is_set() else get(s, path + "?wait=100")
        if body is None:
            return
        got[path] = body


def at_random(s, model, want, kills, layers=20):
    """Layers with one recipe; want: the chunks of one of them, made in peace."""
    rnd = random.Random(75)
    names = [f"l{i}" for i in range(layers)]
    for name in names:
        is_("a layer", s.call("POST", "/api/layers", {"name": name, "ffn": tiny_ffn(
            model, delta=[4, 4, 4])}).status, 201)
    everything = [f"/{name}{path}" for name in names for path in want]
    rnd.shuffle(everything)
    acked, wrong, lost, unready, unclean = {}, [], [], 0, 0
    for i in range(kills):
        got = [{} for _ in range(4)]
        # Each client begins where nothing is made yet.
        new = [p for p in everything if p not in acked]
        stop = threading.Event()
        clients = [threading.Thread(target=asking, args=(s, new[k::4], got[k], stop))
                   for k in range(4)]
        for c in clients:
            c.start()
        # After some answers, and at a moment that is meant to be arbitrary.
        least = min(rnd.randrange(12), len(new))
        wait_for("answers", lambda: sum(map(len, got)) >= least)
        time.sleep(rnd.random() * 0.05)
        s.process.kill()
        stop.set()
        for c in clients:
            c.join()
        s.stop(hard=True)
        s.start()
        unready += s.get("/readyz").json() != {"ready": True, "wrong": []}
        unclean += verified(s) != 0
        for g in got:
            wrong += [p for p, body in g.items() if body != want["/" + p.split("/", 2)[2]]]
            lost += [p for p, body in g.items() if get(s, p + "?wait=0") != body]
            acked.update(g)
    made = s.metrics()['floodgate_chunks_total{from="made"}']
    lost += [p for p in acked if get(s, p + "?wait=0") != acked[p]]
    print(f"# {len(acked)} of {len(everything)} chunks were answered between {kills} kills")
    ok("something was made between the kills", len(acked) >= kills)
    is_("ready after each", unready, 0)
    is_("verify is content after each", unclean, 0)
    is_("no chunk was wrong", wrong, [])
    is_("no chunk that was answered is lost", lost, [])
    is_("or made a second time", s.metrics()['floodgate_chunks_total{from="made"}'], made)
    rest = [p for p in everything if p not in acked]
    is_("what was never answered is made", [
        p for p in rest if get(s, p + "?wait=100") != want["/" + p.split("/", 2)[2]]], [])


all_points()
with Server() as base:
    model = os.path.join(base.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(base.own.name, "em"))
    chunks = [name for name, _ in Volume(os.path.join(base.own.name, "grid"),
                                         chunk=(32, 32, 32)).boxes()]
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
    shutil.rmtree(base.root)
    shutil.copytree(one, base.root)
    base.start()
    peace = {"/8_8_8/" + name: get(base, f"/seg/8_8_8/{name}?wait=100")
             for name in chunks}
    ok("every chunk in peace", all(peace.values()))
    at_random(base, model, peace, 10 if base.is_instrumented() else 50)
    new_slab(base, em)
done()
