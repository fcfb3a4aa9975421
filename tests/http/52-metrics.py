#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# /metrics as another program reads it (prometheus_client's parser): names, types, histograms
# that add up, numbers that follow what happens; and the Grafana dashboard asks for nothing
# that is not there.
import json
import os
import re

from lib import SOURCE, Server, Volume, done, is_, missing, ok, tiny_ffn, wait_for, \
    write_tiny_model

try:
    from prometheus_client.parser import text_string_to_metric_families
except ImportError:
    missing("Python package prometheus_client")


def scrape(s):
    r = s.get("/metrics")
    is_("/metrics", (r.status, r["Content-Type"]),
        (200, "text/plain; version=0.0.4; charset=utf-8"))
    return r.body.decode(), {f.name: f for f in text_string_to_metric_families(
        r.body.decode())}


def value(families, name, **labels):
    family = families[re.sub("_total$|_bucket$|_sum$|_count$", "", name)]
    found = [x.value for x in family.samples if x.name == name and
             all(x.labels.get(k) == v for k, v in labels.items())]
    return sum(found)


def form(text, families):
    """What a linter of the format would say."""
    lines = text.splitlines()
    ok("the text ends with a line", text.endswith("\n"))
    names = [x.split()[2] for x in lines if x.startswith("# TYPE ")]
    is_("each name has one TYPE and one HELP, and its samples behind it",
        (len(names), names), (len(set(names)),
                              [x.split()[2] for x in lines if x.startswith("# HELP ")]))
    here, wrong = None, []
    for line in lines:
        if line.startswith("#"):
            here = line.split()[2]
        elif re.sub("(_bucket|_sum|_count)$", "", re.split("[ {]", line)[0]) != here and \
                re.split("[ {]", line)[0] != here:
            wrong.append(line)
    is_("samples stand below their name", wrong, [])
    is_("no sample is there twice", len(lines), len(set(lines)))
    is_("counters end with _total", [n for n, f in families.items() if f.type == "counter" and
                                     not all(x.name.endswith(("_total", "_created"))
                                             for x in f.samples)], [])
    is_("others do not", [n for n, f in families.items() if f.type != "counter" and
                          n.endswith("_total")], [])
    is_("nothing without a type", [n for n, f in families.items() if f.type == "unknown"], [])
    is_("base units", [n for n in families if re.search("_(ms|milliseconds|kb|mb)$", n)], [])
    ok("a sentence for each", all(f.documentation.endswith(".") for f in families.values()))


def histograms(families):
    found = [f for f in families.values() if f.type == "histogram"]
    ok("there are histograms", len(found) >= 2)
    for f in found:
        series = {}
        for x in f.samples:
            key = tuple(sorted((k, v) for k, v in x.labels.items() if k != "le"))
            series.setdefault(key, {"buckets": []})
            if x.name.endswith("_bucket"):
                series[key]["buckets"].append((float(x.labels["le"]), x.value))
            else:
                series[key][x.name.rsplit("_", 1)[1]] = x.value
        good = True
        for h in series.values():
            b = h["buckets"]
            good = good and b == sorted(b) and [v for _, v in b] == sorted(v for _, v in b) and \
                b[-1] == (float("inf"), h["count"]) and h["sum"] >= 0
        ok(f"{f.name} adds up in {len(series)} series", good)


def follows(s, before):
    """Every kind of event moves its number."""
    _, after = scrape(s)

    def more(name, least=1, **labels):
        ok(f"{name} {labels} has grown", value(after, name, **labels) >=
           value(before, name, **labels) + least)

    more("floodgate_requests_total", 3, kind="chunk", code="200")
    more("floodgate_requests_total", 1, kind="made", code="200")
    more("floodgate_requests_total", 1, kind="file", code="404")
    more("floodgate_requests_total", 1, kind="api", code="401")
    more("floodgate_request_seconds_count", 3, kind="chunk")
    more("floodgate_request_seconds_sum", 0.001, kind="made")
    more("floodgate_chunks_total", 2, **{"from": "ram"})
    more("floodgate_chunks_total", 1, **{"from": "source"})
    more("floodgate_chunks_total", 1, **{"from": "made"})
    more("floodgate_parked_total", 1, end="answered")
    more("floodgate_denied_requests_total")
    more("floodgate_foreign_requests_total")
    more("floodgate_body_bytes_total", 100000)
    more("floodgate_cache_hits_total", 2)
    more("floodgate_cache_misses_total", 1)
    more("floodgate_tasks_total", 1, end="done")
    more("floodgate_block_seconds_count")
    more("floodgate_commits_total")
    more("floodgate_commit_results_total")
    more("floodgate_device_steps_total", 100)
    more("floodgate_device_busy_seconds_total", 0.001)
    more("floodgate_store_bytes", 1000, kind="slabs")
    is_("gauges of now", [value(after, n) for n in (
        "floodgate_tasks_running", "floodgate_parked_requests", "floodgate_waiters",
        "floodgate_slabs")], [0, 0, 0, 1])
    # seg.agg comes and goes with seg
    is_("layers", value(after, "floodgate_layers", state="ok"), 3)
    is_("jobs", value(after, "floodgate_jobs", state="done"), 1)
    ok("the process", value(after, "process_resident_memory_bytes") > 1e6 and
       value(after, "process_open_fds") > 5 and value(after, "process_cpu_seconds_total") > 0)
    is_("the version", value(after, "floodgate_build_info"), 1)
    is_("the API tells the same", s.get("/api/status").json()["numbers"]["slabs"], 1)


def dashboard(families):
    names = set()
    for f in families.values():
        names |= {f.name} | {x.name for x in f.samples}
    with open(os.path.join(SOURCE, "docs", "grafana.json"), encoding="utf-8") as f:
        board = json.load(f)
    asked = set()
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            asked |= set(re.findall(r"\b(?:floodgate|process)_[a-z_]+", target["expr"]))
    ok("the dashboard asks for much", len(asked) > 25)
    is_("and for nothing that is not there", sorted(asked - names), [])
    ids = [p["id"] for p in board["panels"]]
    is_("its panels have ids of their own", len(ids), len(set(ids)))


with Server() as server:
    model = os.path.join(server.own.name, "tiny")
    write_tiny_model(model)
    em = Volume(os.path.join(server.root, "em"))
    server.add_layer("em", em.path)
    is_("a generated layer", server.call("POST", "/api/layers", {
        "name": "seg", "ffn": tiny_ffn(model)}).status, 201)
    text, families = scrape(server)
    form(text, families)
    for _ in range(3):
        server.get("/em/8_8_8/8-72_0-64_-16-48")
    server.get("/em/nothing")
    server.get("/em/info", Origin="https://evil.example")
    server.request("POST", "/api/jobs", "{}")
    is_("a chunk is made", server.get("/seg/8_8_8/8-40_0-32_-16-16?wait=100").status, 200)
    r = server.call("POST", "/api/jobs", {"layer": "seg", "box": [8, 0, -16, 40, 32, 16]})
    wait_for("a job", lambda: server.get(r.json()["url"]).json()["state"] == "done")
    wait_for("coarse chunks", lambda: server.metrics()["floodgate_tasks_running"] +
             server.metrics()["floodgate_tasks_committing"] == 0)
    follows(server, families)
    text, families = scrape(server)
    form(text, families)
    histograms(families)
    dashboard(families)
    is_("stops cleanly", server.stop(), 0)
done()
