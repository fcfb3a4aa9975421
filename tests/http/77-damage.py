#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# A data directory that was damaged or put together from different times, and disks that are
# full: the daemon says what is wrong and where, serves the rest, and destroys nothing;
# `floodgate reindex` and `repair` bring back what can be brought back.
import glob
import os
import shutil
import subprocess

from lib import BUILD, DAEMON, Server, Volume, done, has, is_, missing, ok, tiny_ffn, \
    wait_for, write, write_tiny_model

IMAGE = "/em/8_8_8/8-72_0-64_-16-48"
FIRST = "/seg/8_8_8/8-40_0-32_-16-16"
SECOND = "/seg/8_8_8/72-104_0-32_-16-16"


def tool(s, *words):
    """Exit status and words of the tool."""
    p = subprocess.run([os.path.join(BUILD, "floodgate"), words[0], "-q", "--root", s.root,
                        *words[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                       text=True)
    return p.returncode, p.stdout


def slab(s):
    path, = glob.glob(s.root + "/slabs/*.slab")
    return path


def contents(path):
    with open(path, "rb") as f:
        return f.read()


def served(s, what, want):
    """These bytes, from the disk; nothing is made."""
    is_(what, {p: s.get(p + "?wait=0").body for p in want}, want)
    is_("not made anew", s.metrics()['floodgate_chunks_total{from="made"}'], 0)


def degraded(s, what, why):
    r = s.get("/readyz")
    is_(f"{what}: not ready", r.status, 503)
    has("the layer and the reason are named", r.body.decode(), f"layer seg: {why}")
    r = s.get(FIRST)
    is_("its chunks are for later", (r.status, bool(r["Retry-After"])), (503, True))
    has("which says why", r.json()["error"], why)
    is_("the image is served", s.get(IMAGE).status, 200)
    has("the log has it", s.errors(), "degraded")


def refused(s, what, *words):
    """The daemon does not start."""
    p = subprocess.run([DAEMON, "--root", s.root, "--listen", "127.0.0.1:0"],
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    is_(f"{what}: no start", (p.returncode, p.stdout), (1, ""))
    for word in words:
        has("the reason", p.stderr, word)


def slabs(s, want):
    whole = contents(slab(s))
    away = os.path.join(s.own.name, "away.slab")
    path = slab(s)
    os.rename(path, away)
    s.start()
    degraded(s, "an empty folder of slabs", "slab 000001 is missing")
    is_("stops cleanly", s.stop(), 0)
    code, text = tool(s, "reindex")
    ok("no index is made of nothing", code == 3 and "is its disk mounted?" in text)
    os.rename(away, path)
    s.start()
    served(s, "with its slab back all is there", want)
    s.stop()
    # What follows a block (coarser chunks, faces) may have been made only now.
    before, whole = whole, contents(path)
    ok("not a byte of it has changed", whole[:len(before)] == before)

    os.truncate(path, len(whole) // 2)
    s.start()
    degraded(s, "a slab cut short", f"slab 000001 has {len(whole) // 2} bytes of "
             f"{len(whole)}")
    s.stop()
    is_("its rest was left alone", contents(path), whole[:len(whole) // 2])
    write(path, whole)
    s.start()
    served(s, "whole again, all is there", want)
    s.stop()
    os.truncate(path, len(whole) // 2)
    is_("reindex takes what is left", tool(s, "reindex")[0], 0)
    s.start()
    is_("ready", s.get("/readyz").status, 200)
    is_("the rest is made again, the same",
        {p: s.get(p + "?wait=100").body for p in want}, want)
    is_("stops cleanly", s.stop(), 0)
    is_("verify is content", tool(s, "verify")[0], 0)


def corrupt(s, want):
    place = subprocess.run([os.path.join(BUILD, "floodgate"), "why", "--root", s.root,
                            "--json", "seg", FIRST.rsplit("/", 1)[1]],
                           stdout=subprocess.PIPE, text=True).stdout
    at = int(place.split('"offset":')[1].split(",")[0])
    with open(slab(s), "r+b") as f:
        f.seek(at + 5)
        byte = f.read(1)[0]
        f.seek(at + 5)
        f.write(bytes([byte ^ 8]))
    s.start()
    r = s.get(FIRST)
    is_("a flipped bit is not served", r.status, 500)
    has("the reason", r.json()["error"], "checksum")
    is_("the other chunk is", s.get(SECOND).body, want[SECOND])
    is_("and the image", s.get(IMAGE).status, 200)
    is_("stops cleanly", s.stop(), 0)
    code, text = tool(s, "verify")
    ok("verify names the chunk", code == 6 and "chunk 0,0,0 of scale 0 of layer seg" in text)
    is_("repair", tool(s, "repair")[0], 0)
    s.start()
    is_("it is made again, the same", s.get(FIRST + "?wait=100").body, want[FIRST])
    is_("the other was kept", s.get(SECOND + "?wait=0").body, want[SECOND])
    is_("stops cleanly", s.stop(), 0)


def indices(s, older, want):
    new = contents(s.root + "/index.sqlite")
    for what, data, why in (("an index cut short", new[:5000], "malformed"),
                            ("an index that is none", b"x" * 9000, "not a database"),
                            ("no index", None, "is missing")):
        for path in glob.glob(s.root + "/index.sqlite*"):
            os.unlink(path)
        if data:
            write(s.root + "/index.sqlite", data)
        refused(s, what, why, 'floodgate reindex')
        code, text = tool(s, "reindex")
        ok("reindex", code == 0 and "in 1 slab: 0 errors" in text)
        s.start()
        is_("ready", s.get("/readyz").status, 200)
        served(s, "all is back", want)
        s.stop()
    for path in glob.glob(s.root + "/index.sqlite*"):
        os.unlink(path)
    shutil.copy(older, s.root + "/index.sqlite")
    s.start()
    has("an older index beside a newer slab", s.errors(), "recovered slab 000001")
    served(s, "what it lacked is taken in", want)
    is_("stops cleanly", s.stop(), 0)
    is_("verify is content", tool(s, "verify")[0], 0)


def own_mounts():
    """Words before a command that may mount what only it sees."""
    for how in ("-rm", "-m"):
        if subprocess.run(["unshare", how, "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
                          stderr=subprocess.DEVNULL).returncode == 0:
            return ["unshare", how]
    return missing("a mount of our own (unshare -rm, or root)")


def full(em, model, alone):
    """A data directory on a file system of its own that is soon full."""
    with Server(start=False) as s:
        os.mkdir(s.root)
        s.before = [*alone, "sh", "-c",
                    f"mount -t tmpfs -o size=700k tmpfs '{s.root}' && exec \"$@\"", "sh"]
        s.options = ("--min-free", "0")
        s.start()
        # Its files as they are seen from here, and words that run a program over there.
        s.control = f"/proc/{s.process.pid}/root{s.control}"
        there = ["nsenter", "-t", str(s.process.pid), "-m"]
        there += ["-U", "--preserve-credentials"] if "-rm" in alone else []
        s.add_layer("em", em.path)
        # Each layer makes the same eight blocks; sooner or later there is no room.
        kept, r = {}, None
        for i in range(100):
            if s.call("POST", "/api/layers", {"name": f"l{i}", "ffn": tiny_ffn(
                    model, delta=[4, 4, 4])}).status != 201:
                break
            for path in (FIRST, SECOND):
                path = path.replace("seg", f"l{i}")
                r = s.get(path + "?wait=100")
                if r.status != 200:
                    break
                kept[path] = r.body
            if r.status != 200:
                break
        ok("a full disk: several blocks fit", len(kept) >= 2)
        if r.status != 200:
            is_("then not any more", (r.status, bool(r["Retry-After"])), (503, True))
        ready = s.get("/readyz")
        is_("not ready", ready.status, 503)
        has("says so", ready.body.decode(), "is full")
        is_("the image is served", s.get(IMAGE).status, 200)
        is_("and what was made", {p: s.get(p).body for p in kept}, kept)
        is_("verify is content", subprocess.run([*there, os.path.join(
            BUILD, "floodgate"), "verify", "-q", "--root", s.root],
            stdout=subprocess.DEVNULL).returncode, 0)
        subprocess.run([*there, "mount", "-o", "remount,size=20m", s.root], check=True)
        wait_for("room", lambda: s.get("/readyz").status == 200)
        last = f"/l0{SECOND[4:]}".replace("72-104_0-32", "72-104_64-80")
        is_("with room it goes on", wait_for("a chunk", lambda: (
            lambda r: r if r.status != 503 else None)(s.get(last + "?wait=5"))).status, 200)
        is_("nothing was lost", {p: s.get(p).body for p in kept}, kept)
        is_("stops cleanly", s.stop(), 0)


def read_only(s, alone):
    """Where nothing can be written no daemon starts; what only reads works."""
    bound = f"mount --bind '{s.root}' '{s.root}' && mount -o remount,bind,ro '{s.root}' && "
    p = subprocess.run([*alone, "sh", "-c", bound + (
        f"'{DAEMON}' --root '{s.root}' --listen 127.0.0.1:0; echo started: $?; "
        f"'{BUILD}/floodgate' verify -q --root '{s.root}'; echo verified: $?; "
        f"'{BUILD}/floodgate' why --root '{s.root}' seg {FIRST.rsplit('/', 1)[1]}")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    has("a read-only directory: no start", p.stdout, "started: 1")
    has("the reason", p.stderr, "Read-only file system")
    has("verify works", p.stdout, "verified: 0")
    has("and why", p.stdout, "present")


mounts = own_mounts()
with Server() as server:
    tiny = os.path.join(server.own.name, "tiny")
    write_tiny_model(tiny)
    image = Volume(os.path.join(server.own.name, "em"))
    server.add_layer("em", image.path)
    is_("a layer", server.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(
        tiny, delta=[4, 4, 4])}).status, 201)
    chunks = {FIRST: server.get(FIRST + "?wait=100").body}
    is_("stops cleanly", server.stop(), 0)
    early = os.path.join(server.own.name, "early.sqlite")
    shutil.copy(server.root + "/index.sqlite", early)
    server.start()
    chunks[SECOND] = server.get(SECOND + "?wait=100").body
    is_("stops cleanly", server.stop(), 0)
    good = os.path.join(server.own.name, "good")
    shutil.copytree(server.root, good)
    for case in (slabs, corrupt, lambda s, want: indices(s, early, want)):
        shutil.rmtree(server.root)
        shutil.copytree(good, server.root)
        case(server, chunks)
    shutil.rmtree(server.root)
    shutil.copytree(good, server.root)
    read_only(server, mounts)
    full(image, tiny, mounts)
done()
