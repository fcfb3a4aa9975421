#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# A missing segmentation chunk is made when it is asked for, once, and is the same ever
# after: who may start work, who waits, what is counted, what a restart finds.
import gzip
import os
import threading

from lib import Server, Volume, done, has, is_, ok, tiny_ffn, wait_for, write_tiny_model

CHUNK = "/seg/8_8_8/8-40_0-32_-16-16"
BLOCK = [f"/seg/8_8_8/{x}_{y}_{z}" for x in ("8-40", "40-72") for y in ("0-32", "32-64")
         for z in ("-16-16", "16-48")]
TASKS = 'floodgate_tasks_total{end="done"}'


def work_so_far(s):
    m = s.metrics()
    return sum(m[f"floodgate_tasks_{x}"] for x in (
        'total{end="done"}', 'total{end="failed"}', 'total{end="dropped"}', "running",
        "committing", 'queued{class="interactive"}', 'queued{class="bulk"}',
        'queued{class="idle"}'))


def who_may_not(s):
    r = s.request("HEAD", CHUNK)
    is_("HEAD of a chunk that is not made", (r.status, r["Cache-Control"]),
        (404, "no-store"))
    is_("with ?wait too", s.request("HEAD", CHUNK + "?wait=9").status, 404)
    is_("If-None-Match", s.get(CHUNK, If_None_Match='"x"').status, 404)
    is_("OPTIONS", s.request("OPTIONS", CHUNK).status, 204)
    r = s.get(CHUNK, Origin="https://evil.example")
    is_("a page of an unlisted origin", (r.status, r["Access-Control-Allow-Origin"]),
        (403, None))
    is_("with ?wait too", s.get(CHUNK + "?wait=9", Origin="https://evil.example").status,
        403)
    is_("an image in it", s.get(CHUNK, Sec_Fetch_Site="cross-site").status, 403)
    is_("a wrong wait", s.get(CHUNK + "?wait=long").status, 400)
    is_("a negative one", s.get(CHUNK + "?wait=-1").status, 400)
    is_("off the grid", s.get("/seg/8_8_8/8-40_0-32_-16-17?wait=9").status, 404)
    is_("another file", s.get("/seg/props/info?wait=9").status, 404)
    is_("a coarse chunk with nothing below it", s.get("/seg/32_32_32/2-27_0-20_-4-14")
        .status, 404)
    is_("none of them started work", work_so_far(s), 0)


def forty(s):
    """Twenty ask for one chunk, twenty for the others of its block."""
    replies = {}
    paths = [CHUNK] * 20 + [BLOCK[i % 8] for i in range(20)]

    def ask(i):
        replies[i] = s.get(paths[i] + "?wait=100",
                           **({"Accept_Encoding": "gzip"} if i % 3 == 0 else {}))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(40)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    is_("forty answers", [r.status for r in replies.values()], [200] * 40)
    bodies = {}
    for i, r in replies.items():
        plain = gzip.decompress(r.body) if r["Content-Encoding"] else r.body
        bodies.setdefault(paths[i], set()).add(plain)
    is_("equal where they ask for the same", [len(x) for x in bodies.values()], [1] * 8)
    seg = s.get("/api/layers/seg").json()
    is_("one block made", seg["counts"]["blocks_done"], 1)
    # The coarse chunk above them is made when nothing else is to do.
    ok("eight chunks", seg["counts"]["chunks"] + seg["counts"]["empty"] in (8, 9))
    made = [x for x in s.get("/api/status").json()["recent"] if x["kind"] == "block"]
    is_("one run in the index", len(made), 1)
    m = s.metrics()
    ok("nobody else started one",
       m["floodgate_tasks_coalesced_total"] + m['floodgate_chunks_total{from="ram"}'] +
       m['floodgate_chunks_total{from="slab"}'] >= 39)
    is_("nobody waits any more", m["floodgate_parked_requests"], 0)
    return {path: bodies[path].pop() for path in bodies}


def codings(s, bodies):
    r = s.get(CHUNK)
    z = s.get(CHUNK, Accept_Encoding="gzip")
    is_("gzip is the same", gzip.decompress(z.body), bodies[CHUNK])
    is_("with a tag of its own", z["ETag"], r["ETag"][:-1] + '-gzip"')
    ok("and shorter", len(z.body) < len(r.body) / 2)
    has("varies", r["Vary"], "Accept-Encoding")
    z = s.get(CHUNK, Accept_Encoding="gzip, deflate, br, zstd")
    is_("zstd where it is taken", (z["Content-Encoding"], z.body[:4]),
        ("zstd", b"\x28\xb5\x2f\xfd"))
    is_("not modified in that coding", s.get(CHUNK, Accept_Encoding="gzip",
                                             If_None_Match=r["ETag"][:-1] + '-gzip"')
        .status, 304)
    c = s.get(CHUNK, Accept_Encoding="gzip", Range="bytes=4-7")
    is_("a range is one of the plain bytes", (c.status, c["Content-Encoding"], c.body),
        (206, None, bodies[CHUNK][4:8]))
    is_("HEAD knows it now", s.request("HEAD", CHUNK)["Content-Length"],
        str(len(bodies[CHUNK])))
    is_("a foreign page may see that it is there",
        s.get(CHUNK, Origin="https://evil.example").status, 200)


def coarse(s):
    before = s.get("/api/layers/seg").json()["counts"]["blocks_done"]
    r = s.get("/seg/16_16_16/4-36_0-32_-8-24?wait=60")
    is_("a coarse chunk comes from the finer one", r.status, 200)
    is_("and starts no flood",
        s.get("/api/layers/seg").json()["counts"]["blocks_done"], before)
    top = "/seg/32_32_32/2-27_0-20_-4-14"
    r = s.get(top + "?wait=60")
    is_("so does the coarsest", r.status, 200)
    is_("another block is made", s.get("/seg/8_8_8/72-104_64-80_48-56?wait=60").status, 200)
    new = wait_for("the coarsest chunk to follow", lambda: (
        lambda x: x if x["ETag"] != r["ETag"] else None)(s.get(top)))
    ok("coarse chunks follow what is made below them",
       new.status == 200 and new.body != r.body)
    is_("and say that they may change", new["Cache-Control"], "no-cache")


def empty(s):
    r = s.get("/dark/8_8_8/0-32_0-32_0-32?wait=60")
    is_("background is a chunk", r.status, 200)
    ok("of zeros", len(r.body) < 1000)
    other = s.get("/dark/8_8_8/32-64_0-32_0-32?wait=60")
    is_("the same for all of one shape", other.body, r.body)
    is_("an edge chunk has its own shape",
        s.get("/dark/8_8_8/64-70_0-32_0-32?wait=60").status, 200)
    is_("why", s.get("/api/why/dark/8_8_8/0-32_0-32_0-32").json()["state"], "empty")


def restart(s, bodies):
    tag = s.get(CHUNK)["ETag"]
    s.stop(hard=True)
    s.start()
    is_("after kill -9: the same bytes", [p for p in bodies if s.get(p).body != bodies[p]],
        [])
    is_("the same tag", s.get(CHUNK)["ETag"], tag)
    m = s.metrics()
    is_("read, not made", m['floodgate_chunks_total{from="made"}'], 0)
    ok("but for the stitching that the kill had left", m[TASKS] <= 1)
    ok("from the slab", m['floodgate_chunks_total{from="slab"}'] >= 8)


with Server() as server:
    model = os.path.join(server.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(server.root, "em"))
    server.add_layer("em", em.path)
    black = Volume(os.path.join(server.root, "black"), size=(70, 64, 40), offset=(0, 0, 0))
    for name, box in black.boxes():
        path = os.path.join(black.path, "8_8_8", name)
        with open(path, "r+b") as f:
            f.write(b"\x28" * os.path.getsize(path))
    server.add_layer("black", black.path)
    for layer, image in (("seg", "em"), ("dark", "black")):
        made = server.call("POST", "/api/layers",
                           {"name": layer, "ffn": tiny_ffn(model, image=image)})
        is_(f"layer {layer}", made.status, 201)
    who_may_not(server)
    chunks = forty(server)
    codings(server, chunks)
    coarse(server)
    empty(server)
    restart(server, chunks)
    is_("stops cleanly", server.stop(), 0)
done()
