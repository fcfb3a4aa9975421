#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Jobs: good, bad and hostile orders, dry runs, overlap, pause, cancel, failures and retry,
# kill -9 at random times, and the stream of events.
import json
import os
import random
import sqlite3
import threading
import time

from lib import Server, Volume, done, has, is_, ok, tiny_ffn, wait_for, write, \
    write_tiny_model

WHOLE = [8, 0, -16, 108, 80, 56]
OVER = ("done", "failed", "cancelled")


def prepare(s, **ffn):
    model = os.path.join(s.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(s.root, "em"))
    s.add_layer("em", em.path)
    r = s.call("POST", "/api/layers", {"name": "seg", "ffn": tiny_ffn(model, **ffn)})
    is_("a generated layer", r.status, 201)
    return em


def submit(s, **spec):
    r = s.call("POST", "/api/jobs", {"layer": "seg", **spec})
    if r.status != 202:
        print("#", r.status, r.body)
    return r.json()["url"]


def end_of(s, url):
    def over():
        j = s.get(url).json()
        return j if j["state"] in OVER else None
    return wait_for(f"the end of {url}", over)


def state_of(s, url):
    return s.get(url).json()["state"]


def silence(s):
    wait_for("running blocks to end", lambda: (lambda m: m["floodgate_tasks_running"] +
                                               m["floodgate_tasks_committing"] == 0)(
        s.metrics()))


def made(s):
    """{block: times it was computed}, from the runs that the index keeps."""
    db = sqlite3.connect(f"file:{s.root}/index.sqlite?mode=ro", uri=True)
    rows = db.execute("SELECT at, count(*) FROM runs WHERE kind = 2 AND error IS NULL "
                      "GROUP BY at").fetchall()
    db.close()
    return dict(rows)


def chunks(s):
    """All chunks of all scales."""
    out = {}
    for scale in s.get("/seg/info").json()["scales"]:
        o, n, c = scale["voxel_offset"], scale["size"], scale["chunk_sizes"][0]
        cuts = [[(a, min(a + c[d], n[d])) for a in range(0, n[d], c[d])] for d in range(3)]
        for z in cuts[2]:
            for y in cuts[1]:
                for x in cuts[0]:
                    name = "_".join(f"{a + o[d]}-{b + o[d]}"
                                    for d, (a, b) in enumerate((x, y, z)))
                    r = s.get(f"/seg/{scale['key']}/{name}")
                    out[scale["key"], name] = (r.status, r.body)
    return out


def bad(s):
    for what, spec, status, part in (
            ("no layer", {}, 400, "layer"), ("an unknown one", {"layer": "x"}, 404, "x"),
            ("one with a strange name", {"layer": "../../etc"}, 404, "etc"),
            ("a layer that is no text", {"layer": 5}, 400, "layer"),
            ("a passive layer", {"layer": "em"}, 400, "served as it is"),
            ("a box outside", {"layer": "seg", "box": [0, 0, 0, 10, 10, 10]}, 400, "inside"),
            ("an empty box", {"layer": "seg", "box": [20, 20, 20, 20, 30, 30]}, 400, "empty"),
            ("a box upside down", {"layer": "seg", "box": [30, 20, 20, 20, 30, 30]}, 400,
             "empty"),
            ("five numbers", {"layer": "seg", "box": [8, 0, -16, 72, 64]}, 400, "six"),
            ("seven", {"layer": "seg", "box": [8, 0, -16, 72, 64, 48, 1]}, 400, "six"),
            ("texts", {"layer": "seg", "box": ["a"] * 6}, 400, "six"),
            ("parts of voxels", {"layer": "seg", "box": [8.5, 0, -16, 72, 64, 48]}, 400,
             "whole"),
            ("a box that is an object", {"layer": "seg", "box": {"lo": 1}}, 400, "six"),
            ("huge numbers", {"layer": "seg", "box": [-2**62, 0, 0, 2**62, 1, 1]}, 400,
             "range"),
            ("huge nanometres", {"layer": "seg", "unit": "nm",
                                 "box": [-1e300, 0, 0, 1e300, 1, 1]}, 400, "range"),
            ("a unit of its own", {"layer": "seg", "unit": "ell", "box": WHOLE}, 400, "unit"),
            ("no such scale", {"layer": "seg", "scale": "1_1_1", "box": WHOLE}, 400, "scale"),
            ("an unknown stage", {"layer": "seg", "stages": ["dance"]}, 400, "dance"),
            ("no stage", {"layer": "seg", "stages": []}, 400, "stages"),
            ("stages as text", {"layer": "seg", "stages": "segment"}, 400, "stages"),
            ("a stage twice", {"layer": "seg", "stages": ["segment", "segment"]}, 400,
             "twice"),
            ("a stage that there is not", {"layer": "seg", "stages": ["skeletons"]}, 400,
             "no stage"),
            ("a class of viewers", {"layer": "seg", "class": "interactive"}, 400, "class"),
            ("an unknown key", {"layer": "seg", "cube": 1}, 400, "cube"),
            ("a dry run that is no truth value", {"layer": "seg", "dry_run": "yes"}, 400,
             "dry_run"),
            ("a list", [1], 400, "object")):
        r = s.call("POST", "/api/jobs", spec)
        is_(f"{what}: {status}", r.status, status)
        has("with the reason", r.json()["error"], part)
    for what, body in (("nothing", b""), ("half an object", b'{"layer": "seg"'),
                       ("a key twice", b'{"layer": "seg", "layer": "seg"}'),
                       ("deep nesting", b"[" * 5000), ("bytes", b"\xff\xfe\0"),
                       ("infinity", b'{"layer": "seg", "box": [1e999,0,0,1,1,1]}')):
        r = s.request("POST", "/api/jobs", body, {"Authorization": "Bearer " + TOKEN})
        is_(f"a body of {what}", r.status, 400)
    has("a body that is too large is not waited for", s.raw(
        "POST /api/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2097152\r\n\r\n"),
        b" 413 ")
    for method, path, status in (
            ("GET", "/api/jobs/99", 404), ("GET", "/api/jobs/x", 404),
            ("GET", "/api/jobs/-1", 404), ("DELETE", "/api/jobs/99", 404),
            ("POST", "/api/jobs/99/retry", 404), ("POST", "/api/jobs/99/pause", 404),
            ("POST", "/api/jobs/1/dance", 404), ("GET", "/api/jobs/1/pause", 405),
            ("GET", "/api/jobs/999999999999999999", 404),
            ("GET", "/api/jobs/99999999999999999999", 404), ("DELETE", "/api/jobs", 405),
            ("POST", "/api/events", 405), ("POST", "/api/layers/seg/segment", 404)):
        is_(f"{method} {path}: {status}", s.call(method, path).status, status)
    for method, path in (("POST", "/api/jobs"), ("DELETE", "/api/jobs/1"),
                         ("POST", "/api/jobs?dry=1"), ("POST", "/api/jobs/1/retry")):
        is_(f"{method} {path} needs the token", s.request(method, path, "{}").status, 401)
    is_("nothing came of it", s.get("/api/jobs").json(), [])


def dry(s):
    r = s.call("POST", "/api/jobs?dry=1", {"layer": "seg", "box": [8, 0, -16, 72, 64, 48]})
    j = r.json()
    is_("a dry run", (r.status, j["blocks"], j["present"], j["to_make"]), (200, 1, 0, 1))
    ok("says how much and how long", j["bytes"] > 0 and j["device_hours"] > 0 and
       j["hours"] > 0)
    is_("and how it knows", (j["bytes_basis"], j["time_basis"]), ("assumed", "estimated"))
    for value in ("", "yes", "2", "0" * 1000):
        is_(f"?dry={value[:5]} orders nothing", s.call(
            "POST", f"/api/jobs?dry={value}", {"layer": "seg"}).status, 400)
    j = s.call("POST", "/api/jobs", {"layer": "seg", "dry_run": True}).json()
    is_("all of the volume", (j["box"], j["blocks"], j["stages"]),
        (WHOLE, 8, ["segment", "stitch", "downsample"]))
    for box, spec in (([8, 0, -16, 9, 1, -15], {"unit": "nm", "box": [64, 0, -128, 72, 8, -120]}),
                      ([8, 0, -16, 10, 1, -15], {"unit": "nm",
                                                 "box": [65.5, 0, -128, 72.1, 0.1, -120]}),
                      ([8, 0, -16, 16, 8, -8], {"scale": "32_32_32",
                                                "box": [2, 0, -4, 4, 2, -2]}),
                      (WHOLE, {"unit": "nm", "box": [0, 0, -1000, 9999, 9999, 9999]})):
        j = s.call("POST", "/api/jobs?dry=1", {"layer": "seg", **spec}).json()
        is_(f"the box {spec}", j.get("box", j), box)
    is_("nothing came of it", s.get("/api/jobs").json(), [])


def whole(s):
    """Two boxes that overlap, at once; what they share is made once."""
    a = submit(s, box=[8, 0, -16, 108, 64, 48])  # blocks 0 0 0 and 1 0 0
    b = submit(s, box=[72, 0, -16, 108, 80, 48], stages=["segment"])  # 1 0 0 and 1 1 0
    ja, jb = end_of(s, a), end_of(s, b)
    is_("both end well", (ja["state"], jb["state"], ja["error"], jb["error"]),
        ("done", "done", "", ""))
    is_("they counted", (ja["all"], ja["done"] + ja["skipped"], jb["all"],
                         jb["done"] + jb["skipped"]), (2, 2, 2, 2))
    is_("three blocks were made, each once", sorted(made(s).values()), [1, 1, 1])
    is_("the first had its coarse chunks made", [
        (x["name"], x["state"], x["all"] == x["done"] + x["present"]) for x in ja["stages"]],
        [("segment", "done", True), ("stitch", "done", True),
         ("downsample", "done", True)])
    is_("the second has one stage", [x["name"] for x in jb["stages"]], ["segment"])
    is_("its share of the work", (ja["fraction"], jb["fraction"], ja["failures"]), (1, 1, []))
    is_("its blocks are served", s.get("/seg/8_8_8/8-40_0-32_-16-16").status, 200)
    is_("so are the coarse ones", s.get(
        "/seg/16_16_16/4-36_0-32_-8-24").status, 200)
    j = s.call("POST", "/api/jobs?dry=1", {"layer": "seg"}).json()
    is_("a dry run knows them", (j["present"], j["to_make"], j["time_basis"],
                                 j["bytes_basis"]), (3, 5, "measured", "measured"))
    again = end_of(s, submit(s, box=[8, 0, -16, 108, 64, 48]))
    is_("the same again skips them", (again["state"], again["done"], again["skipped"]),
        ("done", 0, 2))
    is_("none was made again", sorted(made(s).values()), [1, 1, 1])
    jobs = s.get("/api/jobs").json()
    is_("jobs are listed, newest first", [j["id"] for j in jobs], [3, 2, 1])
    is_("a job that is done is not cancelled", s.call("DELETE", a).status, 409)
    has("the reason", s.call("DELETE", a).json()["error"], "is done")
    for word in ("pause", "resume", "retry"):
        is_(f"nor is there a {word}", s.call("POST", f"{a}/{word}").status, 409)
    r = s.call("POST", "/api/jobs", {"layer": "seg", "box": [8, 0, -16, 9, 1, -15]})
    is_("202 says where", (r.status, r["Location"]), (202, r.json()["url"]))
    end_of(s, r.json()["url"])
    is_("the status page lists them", len(s.get("/api/status").json()["jobs"]), 4)


def orders(s):
    url = submit(s)
    wait_for("its first block", lambda: s.get(url).json()["done"] >= 1)
    j = s.call("POST", url + "/pause").json()
    is_("pause; no end is in sight", (j["state"], j["left_s"]), ("paused", None))
    is_("twice is a conflict", s.call("POST", url + "/pause").status, 409)
    silence(s)
    n = len(made(s))
    j = s.get(url).json()
    ok("it is not over", j["state"] == "paused" and n < 8)
    is_("paused survives a restart", (s.stop(), s.start(), state_of(s, url)),
        (0, None, "paused"))
    is_("nothing is made meanwhile", len(made(s)), n)
    r = s.get("/seg/8_8_8/72-104_64-80_48-56?wait=100")
    is_("viewers are still served", r.status, 200)
    r = s.call("POST", url + "/resume")
    ok("resume", r.json()["state"] in ("waiting", "running"))
    wait_for("it to run", lambda: state_of(s, url) in ("running", "done"))
    r = s.call("DELETE", url)
    if r.status == 409:  # it was quick
        is_("it was done", state_of(s, url), "done")
    else:
        is_("cancel", (r.json()["state"], r.json()["left_s"]), ("cancelled", None))
    silence(s)
    is_("no block was made twice", set(made(s).values()), {1})
    other = submit(s)
    is_("the rest", end_of(s, other)["state"], "done")
    is_("each block was made once", sorted(made(s).values()), [1] * 8)


def layer_paused(s):
    """A layer that is paused under a job: the job waits, and goes on."""
    url = submit(s)
    wait_for("its first block", lambda: s.get(url).json()["done"] >= 1)
    is_("pause the layer", s.call("POST", "/api/layers/seg/pause").status, 200)
    j = wait_for("the job to wait", lambda: (lambda j: j if j["state"] == "waiting" else None)(
        s.get(url).json()))
    has("with the reason", j["error"], "paused")
    is_("no new job meanwhile", s.call("POST", "/api/jobs", {"layer": "seg"}).status, 503)
    is_("resume the layer", s.call("POST", "/api/layers/seg/resume").status, 200)
    is_("it goes on by itself", end_of(s, url)["state"], "done")
    is_("each block was made once", sorted(made(s).values()), [1] * 8)


def failures(s, em):
    """An image chunk that is broken: its blocks fail, the others are made."""
    path = os.path.join(em.path, "8_8_8", "72-108_64-80_48-56")
    with open(path, "rb") as f:
        good = f.read()
    write(path, good[:100])
    url = submit(s)
    j = end_of(s, url)
    is_("a job with failures fails", j["state"], "failed")
    ok("and says how many", 1 <= j["failed"] == len(j["failures"]) < 8 and
       j["done"] + j["failed"] == 8)
    f = j["failures"][-1]
    is_("which", f["block"], [1, 1, 1])
    ok("why, and how often it was tried", f["error"] and 1 <= f["tries"] <= 3)
    ok("without the server's paths", s.root not in s.get(url).body.decode() and
       s.root not in s.get("/api/jobs").body.decode())
    runs = dict(made(s))
    k = end_of(s, submit(s))
    is_("the same again fails at once", (k["state"], k["failed"], k["done"]),
        ("failed", j["failed"], 0))
    is_("failed survives a restart", (s.stop(), s.start(), state_of(s, url)),
        (0, None, "failed"))
    is_("with its failures", len(s.get(url).json()["failures"]), j["failed"])
    write(path, good)
    r = s.call("POST", url + "/retry")
    ok("retry", r.status == 200 and r.json()["state"] in ("waiting", "running"))
    j = end_of(s, url)
    is_("now it is done", (j["state"], j["error"], j["failures"]), ("done", "", []))
    is_("and only the failed ones were made", (len(made(s)), set(made(s).values())), (8, {1}))
    ok("the others stayed", all(made(s)[b] == 1 for b in runs))


def overtake(s):
    """A viewer's block is made before the rest of a bulk job."""
    url = submit(s, **{"class": "idle"})
    wait_for("it to run", lambda: s.get(url).json()["stages"][0]["running"] >= 1)
    r = s.get("/seg/8_8_8/72-104_64-80_48-56?wait=100")  # the last block in Morton order
    n = len(made(s))
    is_("a viewer is served", r.status, 200)
    ok("before the job is over", n < 8 or state_of(s, url) != "done") or print("#", n)
    is_("the job ends well", end_of(s, url)["state"], "done")
    is_("each block was made once", sorted(made(s).values()), [1] * 8)


def removed(s):
    url = submit(s)
    is_("a layer is removed under its job", s.call("DELETE", "/api/layers/seg").status, 200)
    is_("the job is gone with it", s.get(url).status, 404)
    is_("stops cleanly", s.stop(), 0)
    s.start()
    is_("and stays so", s.get("/api/jobs").json(), [])


# ------------------------------------------------------------------ events


class Events:
    """A client of /api/events that reads in a thread."""

    def __init__(self, s):
        self.events = []
        self.connection = s.connect()
        self.connection.request("GET", "/api/events")
        self.reply = self.connection.getresponse()
        self.ended = False
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        name = None
        try:
            for line in self.reply:
                line = line.decode().rstrip("\n")
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    self.events.append((name, json.loads(line[6:])))
        except (OSError, ValueError, AttributeError):
            pass
        self.ended = True

    def of(self, name):
        return [data for n, data in list(self.events) if n == name]


def events(s):
    a = Events(s)
    is_("events", (a.reply.status, a.reply.getheader("Content-Type"),
                   a.reply.getheader("Cache-Control")), (200, "text/event-stream", "no-store"))
    wait_for("hello", lambda: a.of("hello"))
    ok("it says who is there", a.of("hello")[0]["uuid"] == s.get("/api/status").json()["uuid"])
    is_("HEAD has no stream", s.request("HEAD", "/api/events").status, 200)
    wait_for("its end", lambda: s.metrics()["floodgate_event_streams"] == 1)
    url = submit(s)
    id = int(url.rsplit("/", 1)[1])
    b = Events(s)
    end_of(s, url)

    def last(c, what):
        jobs = [j for j in c.of("job") if j["id"] == id]
        return jobs and jobs[-1]["state"] == what

    wait_for("the job's end as an event", lambda: last(a, "done") and last(b, "done"))
    states = {}
    for e in a.of("block"):
        states.setdefault(tuple(e["at"]), []).append(e["state"])
    is_("every block is told", len(states), 8)
    ok("in order", all(x == ["queued", "running", "present"] for x in states.values())) or \
        print("#", states)
    ok("coarse chunks, too", {"16_16_16", "32_32_32"} <= {e["scale"] for e in a.of("chunk")})
    wait_for("stitching", lambda: len({tuple(e["at"]) for e in a.of("stitch")}) == 8)
    ok("blocks are stitched", all(e["layer"] == "seg" for e in a.of("stitch")))
    s.call("POST", "/api/layers/seg/retry", {"block": [1, 0, 0]})
    s.call("POST", "/api/layers/seg/retry")
    wait_for("retries", lambda: len(a.of("retry")) == 2)
    is_("retries are told", a.of("retry"), [{"layer": "seg", "at": [1, 0, 0]},
                                            {"layer": "seg", "at": None}])
    fractions = [j["fraction"] for j in a.of("job") if j["id"] == id]
    ok("the job's progress grows", fractions == sorted(fractions) and len(fractions) > 2)
    ok("its URL is whole", all(j["url"] == url for j in a.of("job") if j["id"] == id))
    # A client that leaves, one that never reads, and too many of them.
    b.connection.sock.close() if b.connection.sock else None
    b.reply.close()
    slow = [s.socket() for _ in range(7)]
    for c in slow:
        c.sendall(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    wait_for("the streams", lambda: s.metrics()["floodgate_event_streams"] >= 8)
    r = s.get("/api/events")
    is_("one address gets so many and no more", (r.status, bool(r["Retry-After"])),
        (503, True))
    is_("others are still served", s.get("/healthz").status, 200)
    for c in slow:
        c.close()
    is_("the end of the server ends the stream", s.stop(), 0)
    wait_for("it", lambda: a.ended)


# ------------------------------------------------------------------ kill -9


def killed(wanted, block_s):
    """kill -9 at random times, on average one block's time apart, until it is done."""
    seed = int.from_bytes(os.urandom(4), "little")
    rnd = random.Random(seed)
    print(f"# seed {seed}, a block takes {block_s:.2f} s")
    with Server() as s:
        prepare(s)
        url = submit(s)
        kills = 0
        while True:
            end = time.monotonic() + rnd.uniform(0, (2 if kills else 1) * block_s)
            while time.monotonic() < end and state_of(s, url) not in OVER:
                time.sleep(0.002)
            if state_of(s, url) in OVER:
                break
            s.stop(hard=True)
            s.start()
            kills += 1
            if kills == 30:  # bad luck must not go on for ever
                end_of(s, url)
        print(f"# {kills} kills")
        ok("it was killed on the way", kills)
        is_("it is done in the end", state_of(s, url), "done")
        is_("nothing that was committed was made again", sorted(made(s).values()), [1] * 8)
        ok("the result is that of an undisturbed run", chunks(s) == wanted)
        is_("stops cleanly", s.stop(), 0)


TOKEN = "0123456789abcdef"
with Server(start=False) as server:
    write(os.path.join(server.own.name, "token"), TOKEN + "\n")
    server.options = ("--token-file", os.path.join(server.own.name, "token"))
    server.start()
    prepare(server)
    bad(server)
    dry(server)
    whole(server)
    is_("stops cleanly", server.stop(), 0)
for part in (orders, layer_paused, overtake, removed, events):
    with Server("--retry-ms", "10", "--devices", "cpu:0") as server:
        prepare(server)
        part(server)
        if server.process.poll() is None:
            is_("stops cleanly", server.stop(), 0)
with Server("--retry-ms", "10") as server:
    failures(server, prepare(server, halo=[0, 0, 0]))
    is_("stops cleanly", server.stop(), 0)
with Server() as server:
    prepare(server)
    begin = time.monotonic()
    is_("an undisturbed run", end_of(server, submit(server))["state"], "done")
    each = (time.monotonic() - begin) / 8
    expected = chunks(server)
    ok("has all chunks", all(status == 200 for status, _ in expected.values()))
    is_("stops cleanly", server.stop(), 0)
# A new process loads the network first; two blocks are made at a time.
killed(expected, 2 * each + 0.2)
done()
